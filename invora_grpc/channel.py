"""Channels: how a target is dialled, with options that were measured rather than guessed.

This room opens connections and guards what may cross them. It knows no tokens, no methods and no retries. A channel
does not pickle and does not survive a fork: open one per process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc
import grpc.aio

from invora_grpc.config import Target
from invora_grpc.errors import ConfigError

__all__ = ["ChannelOption", "channel_options", "guard_bearer", "open_aio_channel", "open_channel"]

ChannelOption = tuple[str, str | int | bytes]

MAX_RECEIVE_BYTES: Final = 16 * 1024 * 1024
"""One answer. Never unlimited: a compressed bomb of 512 MiB then costs 1.7 GB."""

_DEFAULTS: Final[tuple[ChannelOption, ...]] = (
    ("grpc.enable_retries", 0),  # the core's retries repeat committed calls; transparent retries of unsent ones stay
    ("grpc.service_config_disable_resolution", 1),  # nor may a DNS record switch them on
    ("grpc.http2.bdp_probe", 0),
    ("grpc.keepalive_time_ms", 60_000),  # finds half-open connections; pings more often get calls killed
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # without it, the timeout above takes a minute
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
)


def open_channel(
    target: Target, *, root_certificates: bytes | None = None, options: Sequence[ChannelOption] = ()
) -> grpc.Channel:
    """A channel to `target`; nothing is dialled before the first call.

    `root_certificates` is PEM, and replaces the built-in authorities. `options` win over the defaults of this module.
    Raises ConfigError for root certificates on a plaintext target.
    """
    address, merged = _dial(target), channel_options(target, options)
    credentials = _credentials(target, root_certificates)
    if credentials is None:
        return grpc.insecure_channel(address, options=merged)
    return grpc.secure_channel(address, credentials, options=merged)


def open_aio_channel(
    target: Target, *, root_certificates: bytes | None = None, options: Sequence[ChannelOption] = ()
) -> grpc.aio.Channel:
    """The same for asyncio. Call it where the event loop runs."""
    address, merged = _dial(target), channel_options(target, options)
    credentials = _credentials(target, root_certificates)
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=merged)
    return grpc.aio.secure_channel(address, credentials, options=merged)


def channel_options(target: Target, options: Sequence[ChannelOption] = ()) -> list[ChannelOption]:
    """The defaults for `target`, each replaced by the one of the same name in `options`, and the rest of `options`."""
    merged = dict(_DEFAULTS)
    merged["grpc.primary_user_agent"] = f"invora-grpc/{_version()}"
    if target.loopback:
        merged["grpc.enable_http_proxy"] = 0  # a proxy from http_proxy is no loopback, and would see plaintext
    merged.update(options)
    return list(merged.items())


def guard_bearer(target: Target) -> None:
    """Raises ConfigError if a bearer token would cross a network in plaintext. To call before dialling."""
    if not target.tls and not target.loopback:
        hint = f"use https://{target.host}; plaintext is for loopback hosts only"
        raise ConfigError("endpoint", target.url, hint, "would send the token in plaintext")


def _dial(target: Target) -> str:
    """The gRPC target. With its resolver named: a host called `unix` or `dns` would be taken for one."""
    return f"dns:///{target.address}"


def _credentials(target: Target, root_certificates: bytes | None) -> grpc.ChannelCredentials | None:
    if target.tls:
        return grpc.ssl_channel_credentials(root_certificates)
    if root_certificates is not None:
        hint = f"use https://{target.address}, or leave them away"
        raise ConfigError("root_certificates", None, hint, f"were given for the plaintext endpoint {target.url}")
    return None


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("invora-grpc")
    except PackageNotFoundError:
        return "0"
