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
from typing import TYPE_CHECKING, Any, Final, Literal

from invora_grpc.arguments import a_number, one_with
from invora_grpc.auth import NoToken, TokenSource, token_source
from invora_grpc.call import Binding, bind, harmless
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
from invora_grpc.config import Settings, load_settings, require_credentials, variable
from invora_grpc.errors import ClosedError, ConfigError
from invora_grpc.idempotency import KeyPlan, Ledger, RecentKeys, key_plan
from invora_grpc.retry import Budget, RetryClass, retry_class

if TYPE_CHECKING:
    import asyncio

    from google.protobuf.message import Message

    from invora_grpc.observer import Observer
    from invora_grpc.schema.policy import Decision, Truth

__all__ = ["READY", "SCHEMA_POLICIES", "Connection", "Link", "SchemaPolicy"]

SchemaPolicy = Literal["verify", "adapt", "trust"]
"""What is done about a gateway whose schema is another than the compiled one: refuse what differs, convert by name what
can be without loss, or take no notice."""
SCHEMA_POLICIES: Final[tuple[SchemaPolicy, ...]] = ("verify", "adapt", "trust")


@dataclass(frozen=True, slots=True)
class Link:
    """An RPC as it is called over one channel."""

    binding: Binding
    path: str
    """What travels as :path."""
    send: Callable[..., Any]
    """The channel's multi-callable. It takes the request as bytes."""
    kind: RetryClass
    plan: KeyPlan | None
    """How its requests carry their keys, if its class is KEYED."""
    until: float
    """Until when, by the connection's clock, the gateway is known to understand it; -inf: not yet, inf: not asked."""
    epoch: int
    """The connection's, when it was made: see `Connection.suspect`."""
    decode: Callable[[bytes], Message]
    """The response from its bytes; the synchronous channel does it by itself."""
    encode: Callable[[Message], bytes] | None = None
    """The request as the gateway reads it, if that is not as it is."""

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
        schema: SchemaPolicy | None = None,
        root_certificates: bytes | None = None,
        client_certificate: ClientCertificate | None = None,
        channel_options: Sequence[ChannelOption] = (),
        ledger: Ledger | None = None,
        observer: Observer | None = None,
    ) -> None:
        if tokens is None:
            require_credentials(settings)
        if not isinstance(tokens, NoToken):
            guard_bearer(settings.target)
        check_certificates(settings.target, root_certificates, client_certificate)
        self.settings = settings
        self.given_tokens = tokens
        self.tokens: TokenSource = tokens if tokens is not None else token_source(settings)
        """Where the token comes from, unless a derived client has a source of its own."""
        self.given_schema = schema
        self.schema = checked_policy(schema, settings)
        if ledger is not None:
            one_with(_LEDGER, "journal", ledger, "give Journal(path)")
        self.ledger: Ledger = ledger if ledger is not None else RecentKeys()
        if observer is not None:
            one_with(("call",), "observer", observer, "give an object with the method call, e.g. OpenTelemetry()")
        self.observer = observer
        self.closed = False
        self.links: dict[object, Link] = {}
        """What `link` has made, by the key of the method: empty again once the channel is no longer to be used."""
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
        self.epoch = 0
        """Grows whenever what was verified no longer counts."""
        self.asking: asyncio.Lock | None = None
        """Held by the task that asks for the gateway's schema."""
        self.identity = os.urandom(16).hex()
        self._opener = opener
        self._tls = {"root_certificates": root_certificates, "client_certificate": client_certificate}
        self._channel_options = check_options(channel_options)
        self._channel: Any = None
        self.state: Callable[[bool], int] = _untold
        """Asks the channel for its state; READY is 2. False: and does not have it connect."""
        self._truth: Truth | None = None
        self.broken = False
        """Whether a call has failed as it does if the connection breaks, since the schema was asked for."""
        self._lock = Lock()
        _CONNECTIONS[self.identity] = self

    @property
    def truth(self) -> Truth:
        """What the gateway's own schema means for calls; for connections that do not trust the compiled one."""
        from invora_grpc.schema.cache import VARIABLE, SchemaCache
        from invora_grpc.schema.policy import Truth

        with self._lock:
            if self._truth is None:
                target = self.settings.target
                # The port of a server on loopback belongs to another one tomorrow, so that needs to be asked for.
                disk = None if target.loopback and VARIABLE not in os.environ else SchemaCache()
                self._truth = Truth(self.schema, target.url, target.address, lambda: self.clock(), disk)
            return self._truth

    def link(self, method: Method) -> Link:
        """The RPC over this connection's channel, which is opened for the first one.

        Unless the compiled schema is trusted, `verified` has the last word before it is sent. Raises ClosedError, and
        ImportError where the message classes cannot be loaded.
        """
        found = self.links.get(method.key)
        if found is not None:
            return found
        until = float("inf") if self.schema == "trust" else float("-inf")
        return self._linked(method, method.path, until)

    def verified(self, method: Method) -> Link:
        """The RPC as the gateway understands it, all that `truth` wanted being known. Raises SchemaError, and
        ClosedError."""
        found = self.links.get(method.key)
        if found is not None and found.until > self.clock():
            return found
        decision = self.truth.decision(bind(method))
        return self._linked(method, decision.path, decision.until, decision)

    def _linked(self, method: Method, path: str, until: float, decision: Decision | None = None) -> Link:
        binding, plan = bind(method), key_plan(method)
        decode = (decision.decode if decision is not None else None) or binding.response_class.FromString
        # Where reading fails, asyncio's channel tells nobody, and hands out None for the answer.
        deserializer = decode if self.loop is None else None
        with self._lock:
            send = getattr(self._opened(path), method.arity)(path, response_deserializer=deserializer)
            kind = retry_class(method, plan is not None, not method.promised and harmless(method))
            encode = decision.encode if decision is not None else None
            link = Link(binding, path, send, kind, plan, until, self.epoch, decode, encode)
            self.links[method.key] = link
        return link

    def channel(self) -> Any:
        """The channel, opened if it is not yet. Raises ClosedError."""
        with self._lock:
            return self._opened(self.settings.target.url)

    def _opened(self, subject: str) -> Any:
        if self.closed:
            raise ClosedError(f"{subject}: the client is closed; make a new one")
        obstacles = _OBSTACLES if self.loop is None else _OBSTACLES + _AIO_OBSTACLES
        if obstacles:
            raise ClosedError(f"{subject}: {obstacles[0]}")
        if self._channel is None:
            self._channel = self._opener(self.settings.target, **self._tls, options=self._channel_options)
            self.state = getattr(getattr(self._channel, "_channel", None), "check_connectivity_state", _untold)
        return self._channel

    def broke(self) -> None:
        """Note that the connection may have broken: before anything else is sent, the schema is asked for again."""
        self.broken = True
        self.forget_links()

    def about_to_ask(self) -> None:
        """Note that something else than a call is about to be sent, which connects again if need be."""
        if self.schema != "trust" and not self.connected():
            self.broke()

    def stands(self) -> bool:
        """Whether the connection is up, and is, as far as can be told, the one over which the schema was asked for."""
        return not self.broken and self.connected()

    def suspect(self) -> None:
        """Forget what the gateway's schema is unless its connection stands: the next one may lead to another gateway.
        To be called while nobody else asks."""
        if not self.stands():
            self.broken = False  # first, since it may break again meanwhile
            self.truth.forget()
            self.forget_links()

    def forget_links(self) -> None:
        """Have all calls verified anew, also those under way that wait for another try."""
        self.epoch += 1
        self.links.clear()

    def connected(self) -> bool:
        """Whether the channel is up; True where that cannot be told, as the answer that promises less."""
        try:
            return bool(self.state(False) == READY)
        except Exception:  # of a closed channel: ValueError, or asyncio's UsageError
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
            self.state = _untold  # which would keep the channel
        return channel

    def forget_channel(self) -> None:
        """Let the next call open another channel: this one belongs to an event loop that is closed."""
        self.links = {}
        self.asking = None
        self._channel = None
        self.state = _untold
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
        self._truth = None  # its lock may be held for ever
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
            own = load_settings(endpoint=settings.endpoint, package=settings.package)
            source = variable(name, settings.package)
            if secret is not None and secret != getattr(own, name):
                raise TypeError(
                    f"a client whose {name} was given as an argument does not pickle, since the secret would travel "
                    f"along; set {source} in both processes, or make the client in the other one"
                )
        plain = {
            "tokens": self.given_tokens,
            "env": settings.environment.name if settings.package is None else None,
            "package": settings.package,
            "endpoint": settings.endpoint,
            "issuer": settings.issuer or None,
            "client_id": settings.client_id
            if settings.token is None
            else None,  # as an argument it would hide the token
            "root_certificates": self._tls["root_certificates"],
            "channel_options": self._channel_options,
            "schema": self.given_schema,
            "ledger": None if isinstance(self.ledger, RecentKeys) else self.ledger,
            "observer": self.observer,
        }
        return _restore, (self.identity, self._opener, self.sleep, plain)


def checked_policy(schema: str | None, settings: Settings) -> SchemaPolicy:
    """The schema policy: what was given, else "trust" for a gateway on loopback and "verify" for all others.

    Raises ConfigError for an unknown one.
    """
    if schema is None:
        return "trust" if settings.target.loopback else "verify"
    for policy in SCHEMA_POLICIES:
        if schema == policy:
            return policy
    raise ConfigError("schema", schema, f"use {', '.join(SCHEMA_POLICIES)}", "is no policy")


_LEDGER: Final = ("claim", "done", "failed", "unknown")


def _untold(connect: bool) -> int:
    """The state of a channel that does not tell it."""
    return READY


READY: Final = 2
"""GRPC_CHANNEL_READY: the public API of the synchronous channel tells its state to a thread that polls only."""
_CONNECTIONS: Final[weakref.WeakValueDictionary[str, Connection]] = weakref.WeakValueDictionary()


def _restore(
    identity: str, opener: Callable[..., Any], sleep: Callable[[float], Any], plain: dict[str, Any]
) -> Connection:
    """The connection of a pickle: the very same one in the process where it was made, else one of its own."""
    known = _CONNECTIONS.get(identity)
    if known is not None:
        return known
    names = ("env", "endpoint", "issuer", "client_id", "package")
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
