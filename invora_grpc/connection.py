"""What all clients of one connection share: settings, channel, retry budget, paused tenants, RPCs linked so far.

The same for threads and asyncio: only how a channel is opened differs. This room sends nothing. A connection survives
a fork (the child opens a channel of its own) and travels in a pickle as its settings, never with a secret in it.
"""

from __future__ import annotations

import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from invora_grpc.arguments import a_number, one_with
from invora_grpc.auth import TokenSource, token_source
from invora_grpc.call import Binding, bind
from invora_grpc.catalog import Method
from invora_grpc.channel import (
    AIO_FORK_OBSTACLE,
    ChannelOption,
    ClientCertificate,
    check_certificates,
    check_options,
    fork_obstacle,
    guard_bearer,
)
from invora_grpc.config import Settings, load_settings, require_credentials
from invora_grpc.errors import ClosedError, ConfigError, UnconfirmedSchema
from invora_grpc.idempotency import KeyPlan, Ledger, RecentKeys, key_plan
from invora_grpc.retry import Budget, RetryClass, retry_class

if TYPE_CHECKING:
    from invora_grpc.observer import Observer

__all__ = ["Connection", "Link", "trusts"]


@dataclass(frozen=True, slots=True)
class Link:
    """An RPC as it is called over one channel."""

    binding: Binding
    send: Callable[..., Any]
    """The channel's multi-callable. It takes the request as bytes."""
    kind: RetryClass
    plan: KeyPlan | None
    """How its requests carry their keys, if its class is KEYED."""

    @property
    def method(self) -> Method:
        """The RPC in the catalog."""
        return self.binding.method


class Connection:
    """One target, one channel, one credential unless a derived client brings another. Safe across threads."""

    def __init__(
        self,
        settings: Settings,
        opener: Callable[..., Any],
        sleep: Callable[[float], Any],
        *,
        tokens: TokenSource | None = None,
        trust: bool = False,
        root_certificates: bytes | None = None,
        client_certificate: ClientCertificate | None = None,
        channel_options: Sequence[ChannelOption] = (),
        ledger: Ledger | None = None,
        observer: Observer | None = None,
    ) -> None:
        if tokens is None:
            require_credentials(settings)
        guard_bearer(settings.target)
        check_certificates(settings.target, root_certificates, client_certificate)
        self.settings = settings
        self.given_tokens = tokens
        self.tokens: TokenSource = tokens if tokens is not None else token_source(settings)
        """Where the token comes from, unless a derived client has a source of its own."""
        self.trust = trust or settings.target.loopback
        if ledger is not None:
            one_with(_LEDGER, "journal", ledger, "give Journal(path)")
        self.ledger: Ledger = ledger if ledger is not None else RecentKeys()
        if observer is not None:
            one_with(("call",), "observer", observer, "give an object with the method call, e.g. OpenTelemetry()")
        self.observer = observer
        self.closed = False
        self.links: dict[str, Link] = {}
        """What `link` has made, by path: empty again once the channel is no longer to be used."""
        self.budget = Budget()
        self.pauses: dict[str | None, float] = {}
        """Organization → until when, by `clock`, the server wants to be left alone with it."""
        self.inflight: deque[None] = deque()
        """One entry for each call that is under way."""
        self.clock: Callable[[], float] = time.monotonic
        self.sleep = sleep
        """Waits so many seconds; with asyncio, to be awaited."""
        self.loop: Any = None
        """The event loop that the channel belongs to, if it is asyncio's."""
        self.identity = os.urandom(16).hex()
        self._opener = opener
        self._tls = {"root_certificates": root_certificates, "client_certificate": client_certificate}
        self._channel_options = check_options(channel_options)
        self._channel: Any = None
        self._lock = Lock()
        _CONNECTIONS[self.identity] = self

    def link(self, method: Method) -> Link:
        """The RPC over this connection's channel, which is opened for the first one.

        Raises ClosedError, UnconfirmedSchema, and ImportError where the message classes cannot be loaded.
        """
        found = self.links.get(method.path)
        if found is not None:
            return found
        if method.origin == "documented" and not self.trust and not self.closed:
            raise UnconfirmedSchema(method.path)
        binding = bind(method)
        plan = key_plan(method)
        incoming = "stream" if method.client_streaming else "unary"
        outgoing = "stream" if method.server_streaming else "unary"
        with self._lock:
            if self.closed:
                raise ClosedError(f"{method.path}: the client is closed; make a new one")
            obstacles = _OBSTACLES if self.loop is None else _OBSTACLES + _AIO_OBSTACLES
            if obstacles:
                raise ClosedError(f"{method.path}: {obstacles[0]}")
            if self._channel is None:
                self._channel = self._opener(self.settings.target, **self._tls, options=self._channel_options)
            open_call = getattr(self._channel, f"{incoming}_{outgoing}")
            send = open_call(method.path, response_deserializer=binding.response_class.FromString)
            link = Link(binding, send, retry_class(method, plan is not None), plan)
            self.links[method.path] = link
        return link

    def connected(self) -> bool:
        """Whether the channel is up; True where that cannot be told, as the answer that promises less."""
        channel: Any = getattr(self._channel, "_channel", None)
        try:
            return int(channel.check_connectivity_state(False)) == _READY
        except (AttributeError, ValueError):
            return True

    def close(self, grace: float | None = None) -> Any:
        """Refuse calls from now on. Returns the channel, for the client to close; None if none was opened.

        Raises ConfigError, and closes nothing, if `grace` is no number of seconds to close it in.
        """
        if grace is not None:
            a_number("grace", grace)
        with self._lock:
            self.closed = True
            self.links = {}
            channel, self._channel = self._channel, None
        return channel

    def forget_channel(self) -> None:
        """Let the next call open another channel: this one belongs to an event loop that is closed."""
        self.links = {}
        self._channel = None
        self.inflight = deque()  # calls that are left over from before count down their own

    def after_fork(self) -> None:
        """Let the child open a channel of its own, or say why none can work there."""
        if self._channel is not None:
            _ABANDONED.append((self._channel, self.links))
            if (obstacle := fork_obstacle(bool(self.inflight))) is not None:
                _OBSTACLES.append(obstacle)
            if self.loop is not None:
                _AIO_OBSTACLES.append(AIO_FORK_OBSTACLE)
        self._lock = Lock()
        self.budget = Budget()
        self.forget_channel()

    # --- tenants that a server wants to be left alone -------------------------------------------------------------

    def pause(self, org: str | None, seconds: float) -> None:
        """Keep calls for one organization back. Others go on."""
        self.pauses[org] = max(self.pauses.get(org, 0.0), self.clock() + seconds)

    def paused(self, org: str | None) -> float:
        """Seconds that calls for this organization are kept back."""
        until = self.pauses.get(org)
        left = 0.0 if until is None else until - self.clock()
        if until is not None and left <= 0:
            self.pauses.pop(org, None)
        return max(0.0, left)

    # --- pickles --------------------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        settings = self.settings
        if self._tls["client_certificate"] is not None:
            raise TypeError(
                "a client with a client certificate does not pickle, since its private key would travel along; "
                "make the client in the other process"
            )
        for name in ("client_secret", "token"):
            secret = getattr(settings, name)
            if secret is not None and secret != getattr(load_settings(endpoint=settings.endpoint), name):
                raise TypeError(
                    f"a client whose {name} was given as an argument does not pickle, since the secret would travel "
                    f"along; set INVORA_{name.upper()} in both processes, or make the client in the other one"
                )
        plain = {
            "tokens": self.given_tokens,
            "env": settings.environment.name,
            "endpoint": settings.endpoint,
            "issuer": settings.issuer,
            "client_id": settings.client_id
            if settings.token is None
            else None,  # as an argument it would hide the token
            "root_certificates": self._tls["root_certificates"],
            "channel_options": self._channel_options,
            "trust": self.trust,
            "ledger": None if isinstance(self.ledger, RecentKeys) else self.ledger,
            "observer": self.observer,
        }
        return _restore, (self.identity, self._opener, self.sleep, plain)


def trusts(schema: str) -> bool:
    """Whether a schema policy trusts the compiled schema. Raises ConfigError for an unknown one."""
    if schema not in ("verify", "trust"):
        raise ConfigError("schema", schema, "use verify or trust", "is no policy")
    return schema == "trust"


_LEDGER: Final = ("claim", "done", "failed", "unknown")
_READY: Final = 2
"""GRPC_CHANNEL_READY: the public API of the synchronous channel tells its state to a thread that polls only."""
_CONNECTIONS: Final[weakref.WeakValueDictionary[str, Connection]] = weakref.WeakValueDictionary()


def _restore(
    identity: str, opener: Callable[..., Any], sleep: Callable[[float], Any], plain: dict[str, Any]
) -> Connection:
    """The connection of a pickle: the very same one in the process where it was made, else one of its own."""
    known = _CONNECTIONS.get(identity)
    if known is not None:
        return known
    names = ("env", "endpoint", "issuer", "client_id")
    settings = load_settings(**{name: plain.pop(name) for name in names})
    connection = Connection(settings, opener, sleep, **plain)
    del _CONNECTIONS[connection.identity]
    connection.identity = identity
    _CONNECTIONS[identity] = connection
    return connection


_ABANDONED: Final[list[Any]] = []
"""Channels of the process that this one was forked from. Kept for ever: to close one here hangs."""
_OBSTACLES: Final[list[str]] = []
"""Why no gRPC call works in this process, if it was forked at a bad time."""
_AIO_OBSTACLES: Final[list[str]] = []
"""Why none works with asyncio, if it was forked while an asynchronous client was open."""


def _after_fork() -> None:
    for connection in list(_CONNECTIONS.values()):
        connection.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
