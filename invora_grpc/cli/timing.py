"""What happens on the wire while a command calls: metadata, trailers, sizes, and where the time went.

A `Watch` looks on and changes nothing: the same bytes go out, and the same errors come back. No secret gets out of it:
tokens are masked where they are noted down, also where a server sends them back. It prints nothing.
"""

from __future__ import annotations

import base64
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from invora_grpc.auth import peek_of
from invora_grpc.cli.failures import masked
from invora_grpc.cli.secrecy import is_secret
from invora_grpc.config import Secret, Target
from invora_grpc.errors import one_line
from invora_grpc.status import DETAILS_KEY

if TYPE_CHECKING:
    from invora_grpc.client import Invora
    from invora_grpc.metadata import Pair

__all__ = ["Exchange", "Watch", "line_times"]

_PROXIES: Final = ("grpc_proxy", "https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY")
_PROBE: Final = 2.0
"""Seconds for looking at name, connection and TLS, in all."""
_REFLECTION: Final = "/grpc.reflection."


@dataclass(slots=True)
class Exchange:
    """One try of one call, as it went over the wire."""

    path: str
    sent: dict[str, str]
    """Metadata of the request, secrets masked."""
    timeout: float | None
    """Seconds."""
    began: float
    requests: int = 0
    request_bytes: int = 0
    responses: int = 0
    response_bytes: int = 0
    first_byte: float | None = None
    """Seconds from the beginning to the answer's headers or, if it came without, its first message."""
    seconds: float | None = None
    """How long it took; None: it is not over."""
    status: str = ""
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """As `-v` shows it: what was sent behind >, what came behind <."""
        yield f"> {self.path}"
        yield from (f"> {name}: {value}" for name, value in self.sent.items())
        if self.timeout is not None:
            yield f"> deadline in {self.timeout:.3g} s"
        yield f"> {_messages(self.requests, self.request_bytes)}"
        yield from (f"< {name}: {value}" for name, value in self.headers.items())
        yield f"< {_messages(self.responses, self.response_bytes)}"
        yield f"< {self.status}" + (f": {self.message}" if self.message else "")
        yield from (f"< {name}: {value}" for name, value in self.trailers.items())


def _messages(count: int, size: int) -> str:
    return f"{count} message{'s' * (count != 1)}, {size:,} bytes"


class Watch:
    """Looks on while a client calls, until it is left: `with Watch(client) as watch: … watch.client …`."""

    def __init__(self, client: Invora) -> None:
        self._connection: Any = client._connection
        self._tokens = _Timed(client._options.source)
        self.client = client.with_options(tokens=self._tokens)
        """The client to call with."""
        self.exchanges: list[Exchange] = []
        """Every try, the first one first; questions for the schema do not count."""
        self._secrets: set[Secret] = set()
        self._line: dict[str, float] = {}
        self._began = time.perf_counter()

    def __enter__(self) -> Self:
        connection = self._connection
        self._line = line_times(connection.settings.target)
        self._began = time.perf_counter()
        self._opener = connection._opener
        connection._opener = lambda *args, **options: _Tap(self._opener(*args, **options), self)
        if connection._channel is not None:
            connection._channel = _Tap(connection._channel, self)
        connection.forget_links()
        return self

    def __exit__(self, *error: object) -> None:
        connection = self._connection
        connection._opener = self._opener
        if isinstance(connection._channel, _Tap):
            connection._channel = connection._channel.channel
        connection.forget_links()

    def timings(self) -> dict[str, float]:
        """Milliseconds by step, those that are known: dns, connect and tls of a second connection, made to measure
        them; token; first_byte of the last try; total of everything but the second connection."""
        steps = {**self._line, "token": self._tokens.seconds}
        if self.exchanges and self.exchanges[-1].first_byte is not None:
            steps["first_byte"] = self.exchanges[-1].first_byte
        steps["total"] = time.perf_counter() - self._began
        return {name: round(seconds * 1000, 3) for name, seconds in steps.items()}

    def begin(self, path: str, metadata: Sequence[Pair], timeout: float | None) -> Exchange:
        """Note down that a call begins."""
        self._secrets.update(
            Secret(str(value)[len("Bearer ") :])
            for name, value in metadata
            if name == "authorization" and len(value) > 7
        )
        exchange = Exchange(path, self.shown(metadata), timeout, time.perf_counter())
        self.exchanges.append(exchange)
        return exchange

    def shown(self, metadata: Iterable[Pair] | None) -> dict[str, str]:
        """Metadata to be shown: secrets masked, bytes as base64, several values of one name with commas."""
        found: dict[str, str] = {}
        for name, value in metadata or ():
            shown = self._shown(name, value)
            found[name] = f"{found[name]}, {shown}" if name in found else shown
        return found

    def _shown(self, name: str, value: str | bytes) -> str:
        if name == DETAILS_KEY:
            return f"{len(value)} bytes"
        if is_secret(name):
            return hidden if (hidden := masked(str(value))) in ("Bearer ***", "Basic ***") else "***"
        text = base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
        return one_line(masked(text, self._secrets), 4000)

    def end(self, exchange: Exchange, call: Any) -> None:
        """Note down how it ended: `call` is a grpc.Call that is over."""
        exchange.seconds = time.perf_counter() - exchange.began
        code = call.code()
        exchange.status = code.name if code is not None else "CANCELLED"
        exchange.message = one_line(masked(call.details() or "", self._secrets))
        exchange.headers = self.shown(call.initial_metadata())
        exchange.trailers = self.shown(call.trailing_metadata())


class _Timed:
    """A token source that takes the time of another one."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.seconds = 0.0

    @property
    def describe(self) -> str:
        return str(self._source.describe)

    def peek(self) -> Secret | None:
        return peek_of(self._source)()

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        began = time.perf_counter()
        try:
            token: Secret = self._source.token(force=force, rejected=rejected)
        finally:
            self.seconds += time.perf_counter() - began
        return token


class _Tap:
    """A channel that tells a `Watch` about the calls that go over it."""

    def __init__(self, channel: Any, watch: Watch) -> None:
        self.channel, self._watch = channel, watch

    def __getattr__(self, name: str) -> Any:
        made = getattr(self.channel, name)
        if name not in ("unary_unary", "stream_unary", "unary_stream", "stream_stream"):
            return made
        kind = _Once if name.endswith("unary") else _Streamed
        return lambda path, **how: (
            made(path, **how) if path.startswith(_REFLECTION) else kind(made, path, how, self._watch)
        )


class _Callable:
    """An RPC over a tapped channel."""

    def __init__(self, make: Any, path: str, how: Mapping[str, Any], watch: Watch) -> None:
        self._decode = how["response_deserializer"]
        self._inner = make(path, **{**how, "response_deserializer": self._read})
        self._path, self._watch = path, watch

    def _read(self, data: bytes) -> Any:
        exchange = self._watch.exchanges[-1]
        exchange.responses += 1
        exchange.response_bytes += len(data)
        return self._decode(data)

    def _begin(self, data: Any, timeout: float | None, metadata: Sequence[Pair]) -> tuple[Exchange, Any]:
        exchange = self._watch.begin(self._path, metadata, timeout)
        if not isinstance(data, bytes):
            return exchange, _counted(data, exchange)
        exchange.requests, exchange.request_bytes = 1, len(data)
        return exchange, data


class _Once(_Callable):
    """One that answers once."""

    def __call__(self, data: Any, timeout: float | None, metadata: Sequence[Pair], *how: Any) -> Any:
        exchange, data = self._begin(data, timeout, metadata)
        call = self._inner.future(data, timeout, metadata, *how)
        try:
            call.initial_metadata()  # waits for it
            exchange.first_byte = time.perf_counter() - exchange.began
            return call.result()
        finally:
            call.cancel()  # if it is not over: somebody pressed Ctrl-C
            self._watch.end(exchange, call)


class _Streamed(_Callable):
    """One that answers with a stream."""

    def __call__(self, data: Any, timeout: float | None, metadata: Sequence[Pair], *how: Any) -> Any:
        exchange, data = self._begin(data, timeout, metadata)
        return _Stream(self._inner(data, timeout, metadata, *how), exchange, self._watch)


class _Stream:
    """The answers of a call, one by one, and its end."""

    def __init__(self, call: Any, exchange: Exchange, watch: Watch) -> None:
        self._call, self._exchange, self._watch = call, exchange, watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        exchange = self._exchange
        try:
            message = next(self._call)
        except BaseException:
            self._watch.end(exchange, self._call)
            raise
        if exchange.first_byte is None:
            exchange.first_byte = time.perf_counter() - exchange.began
        return message

    def cancel(self) -> Any:
        given_up = self._call.cancel()
        if self._exchange.seconds is None:
            self._watch.end(self._exchange, self._call)
        return given_up


def _counted(requests: Iterable[bytes], exchange: Exchange) -> Iterator[bytes]:
    for data in requests:
        exchange.requests += 1
        exchange.request_bytes += len(data)
        yield data


def line_times(target: Target) -> dict[str, float]:
    """Seconds that the name, a connection and TLS take, as far as they work; nothing behind a proxy.

    gRPC tells none of them, so this makes a connection of its own, over which nothing is sent.
    """
    if not target.loopback and any(os.environ.get(name) for name in _PROXIES):
        return {}
    found, until = {}, time.perf_counter() + _PROBE
    try:
        began = time.perf_counter()
        family, kind, protocol, _, address = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)[0]
        found["dns"] = time.perf_counter() - began
        with socket.socket(family, kind, protocol) as plain:
            plain.settimeout(max(0.1, until - time.perf_counter()))
            began = time.perf_counter()
            plain.connect(address)
            found["connect"] = time.perf_counter() - began
            if target.tls:
                began = time.perf_counter()
                _shake_hands(plain, target.host)
                found["tls"] = time.perf_counter() - began
    except (OSError, UnicodeError):  # the call itself says what is wrong
        pass
    return found


def _shake_hands(plain: socket.socket, host: str) -> None:
    """TLS without a look at the certificate, since nothing is sent; gRPC looks at it on its own connection."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    context.wrap_socket(plain, server_hostname=host).close()
