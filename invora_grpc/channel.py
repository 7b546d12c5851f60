"""Channels: how a target is dialled, with options that were measured rather than guessed.

This room opens connections and guards what may cross them. It knows no tokens, no methods and no retries. A channel
does not pickle and does not survive a fork: open one per process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NoReturn, cast

import grpc
import grpc.aio

from invora_grpc import __version__
from invora_grpc.config import Target
from invora_grpc.errors import ConfigError

__all__ = [
    "AIO_FORK_OBSTACLE",
    "ChannelOption",
    "ClientCertificate",
    "channel_options",
    "check_certificates",
    "check_options",
    "fork_obstacle",
    "guard_bearer",
    "open_aio_channel",
    "open_channel",
    "sealed",
]

ChannelOption = tuple[str, str | int | bytes]

MAX_RECEIVE_BYTES: Final = 16 * 1024 * 1024
"""One answer. Never unlimited: a compressed bomb of 512 MiB then costs 1.7 GB."""

AIO_FORK_OBSTACLE: Final = (
    "this process was forked while an asynchronous client was open, after which no asynchronous call works here; await "
    "client.close() before the fork, use Invora, or start workers with multiprocessing's spawn or forkserver"
)
"""Why gRPC for asyncio cannot work in the child of a fork, if an asyncio channel was open before: its one thread that
waits for answers stays behind. Measured with grpcio 1.85: calls hang or kill the process; synchronous ones work."""
_LABELS: Final = (rb"(?<!ENCRYPTED )PRIVATE KEY", b"CERTIFICATE")
_LOADED_IN: Final = os.getpid()
_NO: Final = frozenset({"0", "false", "no", "n", "f", "off"})

_DEFAULTS: Final[tuple[ChannelOption, ...]] = (
    ("grpc.enable_retries", 0),  # the core's retries repeat committed calls; see invora_grpc.retry
    ("grpc.service_config_disable_resolution", 1),  # nor may a DNS record switch them on
    ("grpc.http2.bdp_probe", 0),
    ("grpc.keepalive_time_ms", 15_000),  # with the two below, a frozen connection is found in 25 s
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # without it, the timeout above takes a minute
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),  # gRPC's own pauses grow to two minutes: longer than a restart takes
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.min_reconnect_backoff_ms", 10_000),  # what one attempt to connect may take
    ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
)


class ClientCertificate:
    """A private key and its certificate chain, both PEM, that do not show themselves: repr `***`, and no pickle.

    Never raises, since its own frame has them in plain: what is wrong with them is `problem`.
    """

    __slots__ = ("_pair", "problem")

    def __init__(self, given: object) -> None:
        self._pair = cast("tuple[bytes, bytes]", given)
        self.problem = _problem(given)
        """What is wrong with the pair, in words; None if nothing is."""

    def reveal(self) -> tuple[bytes, bytes]:
        """Private key and chain. Unwrap them inside the expression that needs them."""
        return self._pair

    def __repr__(self) -> str:
        return "***"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a client certificate does not pickle, since its private key would travel along")


def sealed(given: ClientCertificate | tuple[bytes, bytes] | None) -> ClientCertificate | None:
    """The certificate so that it does not show itself. For the first line of every function that is given one."""
    return given if given is None or isinstance(given, ClientCertificate) else ClientCertificate(given)


def check_certificates(target: Target, roots: bytes | None, own: ClientCertificate | None) -> None:
    """Raises ConfigError for certificates on a plaintext target, and for ones that cannot be read.

    gRPC itself takes any bytes here, and fails at the first call without saying why.
    """
    for setting, value in (("root_certificates", roots), ("client_certificate", own)):
        if value is not None and not target.tls:
            hint = f"use https://{target.address}, or leave it away"
            raise ConfigError(setting, None, hint, f"was given for the plaintext endpoint {target.url}")
    if roots is not None and (problem := _unreadable(roots)) is not None:
        raise ConfigError("root_certificates", None, "give the bytes of a PEM file with certificates", problem)
    if own is not None and own.problem is not None:
        hint = "give the bytes of two PEM files, the private key first; the key must not be encrypted"
        raise ConfigError("client_certificate", None, hint, own.problem)


def check_options(given: object) -> tuple[ChannelOption, ...]:
    """The options, if gRPC will take them. Raises ConfigError; gRPC itself only fails at the first call."""
    hint = "give pairs of name and value, such as ('grpc.keepalive_time_ms', 60_000)"
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
        raise ConfigError("channel_options", None, hint, f"is a {type(given).__name__}")
    options = tuple(given)
    for option in options:
        if not isinstance(option, tuple) or len(option) != 2 or not isinstance(option[0], str):
            raise ConfigError("channel_options", None, hint, f"has a {type(option).__name__} that is no such pair")
        name, value = option
        if isinstance(value, float) or not isinstance(value, int | str | bytes):
            hint = "gRPC takes whole numbers, text and bytes"
            raise ConfigError(f"channel_options.{name}", None, hint, f"is a {type(value).__name__}")
    return options


def open_channel(
    target: Target,
    *,
    root_certificates: bytes | None = None,
    client_certificate: ClientCertificate | tuple[bytes, bytes] | None = None,
    options: Sequence[ChannelOption] = (),
) -> grpc.Channel:
    """A channel to `target`; nothing is dialled before the first call.

    `root_certificates` is PEM, and replaces the built-in authorities. `client_certificate` is the private key and the
    certificate chain, both PEM, for gateways that ask who dials (mutual TLS). `options` win over the defaults of this
    module. Raises ConfigError for certificates on a plaintext target, and for ones that are no PEM.
    """
    client_certificate, merged = sealed(client_certificate), channel_options(target, options)
    credentials = _credentials(target, root_certificates, client_certificate)
    if credentials is None:
        return grpc.insecure_channel(_dial(target), options=merged)
    return grpc.secure_channel(_dial(target), credentials, options=merged)


def open_aio_channel(
    target: Target,
    *,
    root_certificates: bytes | None = None,
    client_certificate: ClientCertificate | tuple[bytes, bytes] | None = None,
    options: Sequence[ChannelOption] = (),
) -> grpc.aio.Channel:
    """The same for asyncio. Call it where the event loop runs."""
    client_certificate, merged = sealed(client_certificate), channel_options(target, options)
    credentials = _credentials(target, root_certificates, client_certificate)
    if credentials is None:
        return grpc.aio.insecure_channel(_dial(target), options=merged)
    return grpc.aio.secure_channel(_dial(target), credentials, options=merged)


def channel_options(target: Target, options: Sequence[ChannelOption] = ()) -> list[ChannelOption]:
    """The defaults for `target`, each replaced by the one of the same name in `options`, and the rest of `options`."""
    merged: dict[str, str | int | bytes] = dict(_DEFAULTS)
    merged["grpc.primary_user_agent"] = f"invora-grpc/{__version__}"
    if target.loopback:
        merged["grpc.enable_http_proxy"] = 0  # a proxy from http_proxy is no loopback, and would see plaintext
    if os.getpid() != _LOADED_IN:  # forked since
        merged["grpc.use_local_subchannel_pool"] = 1  # a connection shared with the parent's channels kills the process
    merged.update(options)
    return list(merged.items())


def guard_bearer(target: Target) -> None:
    """Raises ConfigError if a bearer token would cross a network in plaintext. To call before dialling."""
    if not target.tls and not target.loopback:
        hint = f"use https://{target.host}; plaintext is for loopback hosts only"
        raise ConfigError("endpoint", target.url, hint, "would send the token in plaintext")


def fork_obstacle(busy: bool) -> str | None:
    """Why gRPC cannot work in the child of a fork, if it had channels open before; None if it can.

    Measured with grpcio 1.85: a child that opens channels of its own works. With GRPC_ENABLE_FORK_SUPPORT=0 every call
    hangs for good, also on a new channel; and where calls were under way at the fork (`busy`), a child hangs with that
    variable set, and now and then crashes without.
    """
    way_out = "start workers with multiprocessing's spawn or forkserver"
    said = os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "").lower()
    if said in _NO:
        return (
            f"this process was forked from one that had used gRPC with GRPC_ENABLE_FORK_SUPPORT={said}, after which no "
            f"call works here; unset that variable, or {way_out}"
        )
    if busy:
        return (
            "this process was forked while gRPC calls were under way, after which calls hang or crash here; fork "
            f"between calls, or {way_out}"
        )
    return None


def _dial(target: Target) -> str:
    """The gRPC target. With its resolver named: a host called `unix` or `dns` would be taken for one."""
    return f"dns:///{target.address}"


def _credentials(target: Target, roots: bytes | None, own: ClientCertificate | None) -> grpc.ChannelCredentials | None:
    """None for plaintext."""
    check_certificates(target, roots, own)
    if not target.tls:
        return None
    return grpc.ssl_channel_credentials(roots) if own is None else grpc.ssl_channel_credentials(roots, *own.reveal())


def _unreadable(roots: object) -> str | None:
    """What is wrong with root certificates; None if nothing is."""
    import ssl  # for this only, and slow to load

    if not isinstance(roots, bytes):
        return f"is a {type(roots).__name__}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=roots.decode("ascii"))
    except (ssl.SSLError, ValueError):
        return "cannot be read"
    return None


def _problem(given: object) -> str | None:
    """What is wrong with a private key and its chain; None if nothing is."""
    if not (isinstance(given, tuple | list) and len(given) == 2):
        return f"is no pair, but a {type(given).__name__}"
    names = ("private key", "certificate chain")
    found = [_has_pem(part, label) for part, label in zip(given, _LABELS, strict=True)]
    return next((f"has no {name} in that place" for name, fine in zip(names, found, strict=True) if not fine), None)


def _has_pem(part: object, label: bytes) -> bool:
    """Whether this has a PEM block of that kind. An encrypted key does not count: there is nobody to ask."""
    return isinstance(part, bytes) and re.search(rb"-----BEGIN [A-Z0-9 ]*" + label + rb"-----", part) is not None
