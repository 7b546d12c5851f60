"""The options that several commands share, and what becomes of them: a `Target`."""

from __future__ import annotations

import binascii
import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

import click

from invora_grpc.cli.targets import Files, Target, resolve
from invora_grpc.config import Secret
from invora_grpc.errors import ConfigError
from invora_grpc.metadata import Pair, fitting

__all__ = ["Seconds", "Target", "gateway", "target_of", "target_options"]

_PLACE: Final = (
    click.option("--profile", metavar="NAME", help="Profile to use, in place of INVORA_* and of the one in use."),
    click.option("--env", help="production, staging or sandbox."),
    click.option("--endpoint", help="Gateway: https://host, http://host or host:port."),
    click.option("--issuer", help="OpenID Connect issuer URL."),
    click.option("--org", help="Organization to act in (x-target-org-id)."),
    click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds until the deadline."),
)
_SCHEMA: Final = click.option(
    "--schema",
    type=click.Choice(["verify", "adapt", "trust"]),
    help="If the gateway has another schema: refuse, convert by name, or do not look.  [default: verify; trust on "
    "loopback]",
)
_TARGET: Final = (
    *_PLACE,
    _SCHEMA,
    click.option("-H", "--header", "header", multiple=True, metavar="NAME:VALUE", help="More metadata. Repeatable."),
    click.option(
        "--reflect-header",
        multiple=True,
        metavar="NAME:VALUE",
        help="More metadata for questions about the schema only. Repeatable.",
    ),
    click.option("--no-auth", is_flag=True, help="Send no token, e.g. to a server that is not Invora."),
    click.option("--cacert", metavar="FILE", help="PEM file of the authorities to trust, in place of the built-in."),
    click.option("--cert", metavar="FILE", help="PEM file of the client certificate."),
    click.option("--key", metavar="FILE", help="PEM file of the client certificate's private key."),
)
_BEARER: Final = "bearer "


class Seconds(click.FloatRange):
    """A time in seconds that can be waited for: infinity and what is no number at all are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is no time; give seconds.", param, ctx)
        return found


def gateway(command: Any) -> Any:
    """The options that every command takes that talks to a gateway."""
    for option in reversed(_PLACE):
        command = option(command)
    return command


def target_options(command: Callable[..., Any]) -> Any:
    """All options of a command that calls; it gets them as one argument, `target`."""

    @functools.wraps(command)
    def work(*args: Any, **given: Any) -> Any:
        mine = {name: given.pop(name) for name in _NAMES}
        return command(*args, target=target_of(**mine), **given)

    decorated: Any = work
    for option in reversed(_TARGET):
        decorated = option(decorated)
    return decorated


_NAMES: Final = (
    *("profile", "env", "endpoint", "issuer", "org", "timeout", "schema"),
    *("header", "reflect_header", "no_auth", "cacert", "cert", "key"),
)


def target_of(
    *,
    timeout: float,
    schema: Any,
    header: Iterable[str],
    reflect_header: Iterable[str],
    cacert: str | None,
    cert: str | None,
    key: str | None,
    no_auth: bool,
    profile: str | None,
    env: str | None,
    endpoint: str | None,
    issuer: str | None,
    org: str | None,
) -> Target:
    """The target of the options. Raises ConfigError: `-H 'authorization: Bearer …'` is the token to send."""
    if not 0 < timeout < math.inf:
        raise ConfigError("timeout", timeout, "give seconds above 0", "is no timeout")
    headers, token = _headers(header)
    target = resolve(profile, env, endpoint, issuer, org, token=token, no_auth=no_auth)
    return replace(
        target,
        timeout=timeout,
        schema=schema,
        headers=headers,
        reflect_headers=_headers(reflect_header)[0],
        files=Files(cacert, cert, key),
    )


def _headers(written: Iterable[str]) -> tuple[tuple[Pair, ...], Secret | None]:
    """Metadata from `name: value`, that of a name which ends with -bin being base64; and the token among it."""
    pairs: list[Pair] = []
    token = None
    for name, value in map(_pair, written):
        if name == "authorization" and value.lower().startswith(_BEARER) and value[len(_BEARER) :].strip():
            token = Secret(value[len(_BEARER) :].strip())
        elif name.endswith("-bin"):
            pairs.append((name, _decoded(name, value)))
        else:
            pairs.append((name, value))
    return fitting(pairs), token


def _pair(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise ConfigError("header", None, "write it as NAME:VALUE", "has no colon")
    return name.strip().lower(), value.strip()


def _decoded(name: str, text: str) -> bytes:
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        raise ConfigError(f"header.{name}", None, "write the bytes as base64", "is no base64") from None
