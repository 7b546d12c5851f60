"""Retry classes, backoff, budget: which call may be sent again, when, and what to do about an outcome in doubt.

Pure: `recover` and `reconcile` are generators that say what to do next (pause, send, look up, renew the token) and are
told how it went; the two clients only carry it out. Nothing here sends, sleeps, or knows asyncio.

Why not gRPC's own retries: a `retryPolicy` of the service config repeats calls that a server has already carried out,
and knows neither RetryInfo nor keys. The channel therefore has them switched off, and this room decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import Enum, auto
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from grpc import StatusCode

from invora_grpc.catalog import Method
from invora_grpc.errors import ClosedError, ConfigError, shown
from invora_grpc.status import AlreadyExists, NotFound, OutcomeUnknown, RpcError, Unauthenticated

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from invora_grpc.idempotency import KeyPlan

__all__ = [
    "GRACE",
    "REFUSALS",
    "Budget",
    "Effect",
    "Look",
    "Outcome",
    "Pause",
    "Reconciliation",
    "Renew",
    "Retry",
    "RetryClass",
    "Send",
    "effect_of",
    "reconcile",
    "recover",
    "retry_class",
]

GRACE: Final = 30.0
"""Seconds after a deadline in which a write may still land: before, a look-up that finds nothing proves nothing."""
LONGEST_WAIT: Final = 60.0
"""Seconds of a server's RetryInfo that a call waits for; a longer one ends the call."""


RECONNECT: Final = 2.5
"""Seconds before the last try without a connection: longer than the channel waits between its attempts to connect."""


class RetryClass(Enum):
    """What a failed call allows."""

    READ = auto()
    """Changes nothing: sent again on UNAVAILABLE, and on RESOURCE_EXHAUSTED when the server says how long to wait."""
    KEYED = auto()
    """A create under a key of its own: sent again under the same key, so that at most one record comes out of it."""
    WRITE = auto()
    """Everything else: sent again only if it certainly was not sent before."""


_PURE: Final = frozenset({"get", "list", "validate", "calculate", "explain", "preview", "plan", "check"})
_CHANGING: Final = frozenset(
    {"accept", "activate", "add", "apply", "assign", "begin", "cancel", "clone", "complete", "confirm", "connect"}
    | {"create", "deactivate", "decline", "delete", "destroy", "disconnect", "download", "end", "export", "finalize"}
    | {"fetch", "fix", "freeze", "generate", "import", "initiate", "link", "lose", "move", "override", "pay", "refresh"}
    | {"regenerate", "remove", "resend", "resume", "retry", "revoke", "rotate", "select", "send", "set", "share"}
    | {"submit", "suspend", "sync", "terminate", "trigger", "unlink", "update", "upload", "void"}
)
"""Words of an RPC's name that say that it changes something, whatever its HTTP verb claims: the schema has GETs such
as LoseInvoiceDispute and BillingEntityApplyTaxes."""

_TWO_THINGS: Final = frozenset({"and", "or"})
"""Words between what an RPC does and what else it does, as in GetAndIncrement."""


def _chance() -> float:
    """A random number from 0 to 1."""
    from random import random  # only failures need it

    return random()


def retry_class(method: Method, keyed: bool, harmless: bool = False) -> RetryClass:
    """The class of an RPC, from its name and its HTTP rule; `keyed`: its request carries a key of its own; `harmless`:
    its schema says that it has no side effects."""
    if keyed:
        return RetryClass.KEYED
    words = method.rpc.strip("_").split("_")
    if harmless:
        return RetryClass.READ
    if not method.promised:
        return RetryClass.READ if _reads(words, method) else RetryClass.WRITE
    if _CHANGING.intersection(words[:1] if words[0] in _PURE else words):
        return RetryClass.WRITE
    return RetryClass.READ if words[0] in _PURE or (method.http and method.http.verb == "GET") else RetryClass.WRITE


def _reads(words: list[str], method: Method) -> bool:
    """Whether an RPC of anybody's schema changes nothing, as far as a name can tell: Get and List of one thing only
    (google.aip.dev/131, 132), the Check of a health service, and HTTP GETs (RFC 9110, 9.2.1)."""
    if _CHANGING.intersection(words) or _TWO_THINGS.intersection(words):
        return False
    return words[0] in ("get", "list") or words == ["check"] or (method.http is not None and method.http.verb == "GET")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently a call is sent again, within its one deadline. Raises ConfigError for nonsense.

    The pause before try n is random between 0 and min(cap, initial × factor^(n−2)) seconds ("full jitter"), or what the
    server asks for if that is longer.
    """

    tries: int = 4
    """Sends in all; 1: never again."""
    initial: float = 0.25
    """Seconds."""
    factor: float = 2.0
    cap: float = 8.0
    """Seconds."""
    budget: bool = True
    """Whether repeats are taken from the connection's retry budget, which keeps callers from flooding a dead server."""

    def __post_init__(self) -> None:
        if isinstance(self.tries, bool) or not isinstance(self.tries, int) or not 1 <= self.tries <= 100:
            raise ConfigError("retry.tries", self.tries, "give a whole number from 1 to 100")
        if not isinstance(self.budget, bool):
            raise ConfigError("retry.budget", self.budget, "give True or False")
        for name, least in (("initial", 0.0), ("factor", 1.0), ("cap", 0.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= 3600:
                raise ConfigError(f"retry.{name}", value, f"give a number from {least:g} to 3600")


NEVER: Final = Retry(tries=1)


class Budget:
    """The retry budget of one connection, as gRFC A6 has it: a failure takes 1 token, a success gives 0.1 back, and
    calls are sent again only while more than half of the 10 tokens are there. Safe across threads."""

    __slots__ = ("_lock", "tokens")
    FULL: Final = 10.0

    def __init__(self) -> None:
        self._lock = Lock()
        self.tokens = self.FULL

    def failed(self) -> bool:
        """Take a token. Whether another try is allowed."""
        with self._lock:
            self.tokens = max(0.0, self.tokens - 1.0)
            return self.tokens > self.FULL / 2

    def succeeded(self) -> None:
        """Give back a tenth. To be called only while `tokens` is below `FULL`."""
        with self._lock:
            self.tokens = min(self.FULL, self.tokens + 0.1)


class Effect(Enum):
    """What a failure says about what the server did."""

    UNSENT = auto()
    """No connection: the request did not leave."""
    NONE = auto()
    """The server refused: nothing happened."""
    MAYBE = auto()
    """It may have happened, or may happen yet."""


_DOUBTFUL: Final = frozenset(
    {StatusCode.CANCELLED, StatusCode.UNKNOWN, StatusCode.DEADLINE_EXCEEDED}
    | {StatusCode.INTERNAL, StatusCode.UNAVAILABLE, StatusCode.DATA_LOSS}
)


def effect_of(error: RpcError, port: int, connected: Callable[[], bool]) -> Effect:
    """What `error` says about the server's work; `port` is the target's, `connected` whether its channel is up.

    "failed to connect" is what this side's gRPC says, but a gateway may pass on the same words about a server behind
    it. Ours names our own port, came without any metadata, and leaves us without a connection.
    """
    if error.unsent:
        return Effect.UNSENT
    if error.code is StatusCode.UNAVAILABLE and not error.trailing_metadata and not error.details:
        said = error.message
        ours = said.startswith("failed to connect to all addresses; last error: ") and f":{port}:" in said
        if (ours or (said.startswith("errors resolving ") and f":{port}: " in said)) and not connected():
            return Effect.UNSENT
    if error.code in _DOUBTFUL:
        return Effect.MAYBE
    # Over a size limit, gRPC itself says RESOURCE_EXHAUSTED after the server has done its work: without details.
    return Effect.MAYBE if error.code is StatusCode.RESOURCE_EXHAUSTED and not error.details else Effect.NONE


REFUSALS: Final = frozenset(
    {StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND, StatusCode.PERMISSION_DENIED, StatusCode.FAILED_PRECONDITION}
    | {StatusCode.ABORTED, StatusCode.OUT_OF_RANGE, StatusCode.UNIMPLEMENTED}
)
"""Codes that settle a call on its first try: nothing happened, and the same again fails again."""


# --- what the clients are asked to do -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds. Told: nothing."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request once more, within what is left of the deadline. Told: the response or an RpcError."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Have the refused token renewed. Told: whether there is another one now."""


@dataclass(frozen=True, slots=True)
class Look:
    """Call another RPC, a read. Told: the response or an RpcError."""

    method: Method
    request: Message


Step = Pause | Send | Renew | Look
Steps = Generator[Step, Any, Any]


@dataclass(slots=True)
class Outcome:
    """A call that failed, and all that recovering it needs."""

    method: Method
    kind: RetryClass
    retry: Retry
    budget: Budget
    port: int
    connected: Callable[[], bool]
    """Whether the channel is up."""
    closed: Callable[[], bool]
    """Whether the client was closed meanwhile."""
    deadline: float | None
    """By `clock`; None: no deadline."""
    sent: Message | None = None
    """The request, if its class is KEYED."""
    response_class: Any = None
    plan: KeyPlan | None = None
    keys: tuple[str, ...] = ()
    generated: bool = False
    """The keys are this client's own: whatever is found under them is this call's."""
    resumed: bool = False
    """An earlier call with these keys was left in doubt."""
    adopts: bool = False
    """The keys stand for what is created: a record of the same content that exists already is the answer."""
    pause: Callable[[float], None] = lambda seconds: None
    """Told how long the server wants this tenant to wait."""
    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = _chance
    tries: int = field(default=1, init=False)
    doubt: bool = field(default=False, init=False)
    """Whether something that was sent may have been carried out."""
    error: Any = field(default=None, init=False)
    """The RpcError of the last try."""

    def left(self) -> float:
        """Seconds until the deadline."""
        return float("inf") if self.deadline is None else self.deadline - self.clock()

    def in_time(self, pause: float) -> bool:
        """Whether the deadline is still to come after a pause. Compares instants: their difference may be rounded."""
        return self.deadline is None or self.clock() + pause < self.deadline


def recover(call: Outcome, error: RpcError) -> Steps:
    """What to do about a failed call. Returns the response; raises `error` or a later one, or OutcomeUnknown.

    What a step raises may be thrown in: no token for another try, or a client that was closed. It says nothing about
    what was sent before, and is raised again only if there is nothing in doubt.
    """
    call.error, call.doubt = error, call.resumed
    try:
        answer = yield from _sent_again(call)
        if answer is None and call.kind is RetryClass.KEYED and (call.doubt or call.adopts):
            answer = yield from _resolve(call)
    except Exception as trouble:
        if trouble is call.error or not call.doubt or call.kind is RetryClass.READ:
            raise
        answer = None
    if answer is not None:
        return answer
    if not call.doubt or call.kind is RetryClass.READ:
        raise call.error
    raise OutcomeUnknown(call.error, keys=call.keys)


def _sent_again(call: Outcome) -> Steps:
    """The response to another try, as many as the class, the retry policy and the deadline allow; None without one."""
    renewed = False
    while True:
        error = call.error
        if isinstance(error, Unauthenticated) and not renewed:
            # The server answers before the method runs, so that one repeat with a fresh token is safe.
            renewed = True
            if (yield Renew()):
                answer = yield Send()
                if not isinstance(answer, RpcError):
                    return answer
                call.error = answer
                continue
        effect = effect_of(error, call.port, call.connected)
        call.doubt = call.doubt or effect is Effect.MAYBE
        if error.code is StatusCode.RESOURCE_EXHAUSTED and error.retry_after:
            call.pause(min(error.retry_after, LONGEST_WAIT))
        wait = _wait(call, error, effect) if _again(call, error, effect) else None
        if wait is None:
            return None
        yield Pause(wait)
        call.tries += 1
        answer = yield Send()
        if not isinstance(answer, RpcError):
            return answer
        call.error = answer


def _again(call: Outcome, error: RpcError, effect: Effect) -> bool:
    """Whether the retry class allows another try after this failure."""
    if call.closed():
        return False
    if effect is Effect.UNSENT:
        return True
    if call.kind is RetryClass.WRITE:
        return False
    if error.code is StatusCode.RESOURCE_EXHAUSTED:
        return error.retry_after is not None
    if call.kind is RetryClass.READ:
        return error.code is StatusCode.UNAVAILABLE
    return effect is Effect.MAYBE


def _wait(call: Outcome, error: RpcError, effect: Effect) -> float | None:
    """Seconds until the next try; None if there is none: no tries, no time or no budget left."""
    asked = error.retry_after or 0.0
    if call.tries >= call.retry.tries:
        return None
    if call.retry.budget and error.code is not StatusCode.RESOURCE_EXHAUSTED and not call.budget.failed():
        return None
    backoff = min(call.retry.cap, call.retry.initial * call.retry.factor ** (call.tries - 1))
    last = call.tries + 1 == call.retry.tries
    wait = max(asked, call.random() * backoff, RECONNECT if last and effect is Effect.UNSENT else 0.0)
    return wait if wait <= LONGEST_WAIT and call.in_time(wait) else None


def _resolve(call: Outcome) -> Steps:
    """Read back what is stored under the keys. The response if it is this call's; None if that cannot be told.

    Raises the last try's error if it was ALREADY_EXISTS, and what exists is not what this call sent. XML in doubt is an
    exception: it is stored with a stamp in it, so that the record may be this call's although it differs.
    """
    if not call.doubt and not isinstance(call.error, AlreadyExists):
        return None
    found = yield from _look_up(call)
    if found is None or any(isinstance(one, RpcError) for one in found):
        return None
    answer = _answer_from(call, found)
    if answer is None and isinstance(call.error, AlreadyExists):
        from invora_grpc.likeness import is_rewritten  # only failures need it

        if not (call.doubt and call.sent is not None and is_rewritten(call.sent)):
            raise call.error
    return answer


def _look_up(call: Outcome) -> Generator[Step, Any, tuple[Any, ...] | None]:
    """The record, or NotFound, for each key; None if one of the look-ups failed, or there is no time for them."""
    found: list[Any] = []
    if call.plan is None or not call.keys:
        return None
    for key in call.keys:
        if call.left() <= 0:
            return None
        answer = yield from _looked(call, call.plan, key)
        if isinstance(answer, RpcError) and not isinstance(answer, NotFound):
            return None
        found.append(answer)
    return tuple(found)


def _looked(call: Outcome, plan: KeyPlan, key: str) -> Steps:
    """One look-up, made again as any read is, as long as there is time."""
    tries = 1
    while True:
        answer = yield Look(plan.lookup, plan.lookup_request(key))
        again = isinstance(answer, RpcError) and answer.code is StatusCode.UNAVAILABLE
        wait = call.random() * min(call.retry.cap, call.retry.initial * call.retry.factor**tries)
        if not again or tries >= call.retry.tries or not call.in_time(wait):
            return answer
        yield Pause(wait)
        tries += 1


def _answer_from(call: Outcome, found: tuple[Any, ...]) -> Message | None:
    """The response that the create would have had. Under a key of our own making nothing needs to be compared."""
    if call.plan is None or call.sent is None:
        return None
    sent = call.plan.with_keys(type(call.sent)(), call.keys) if call.generated else call.sent
    return call.plan.response_from(sent, found, call.response_class)


# --- afterwards ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What a look at the records says about a call whose outcome was unknown.

    `response` and `record` are of the RPC's own messages. They are Any, since an error has no type parameter that could
    carry which: as a bare Message, every field would need a cast.
    """

    happened: bool | None
    """True: it was carried out. False: it was not, and will not be. None: that cannot be told from the records."""
    response: Any = None
    """What the call would have returned, if it happened."""
    record: Any = None
    """The record that the call was about as it is now: the response of the Get. None if there is none."""
    retry_after: float | None = None
    """Seconds until a record that is missing proves something; None: no need to wait."""


def reconcile(call: Outcome, settled_at: float) -> Generator[Step, Any, Reconciliation]:
    """Look at what is stored under the call's keys; `settled_at`: from then on, by the clock, nothing lands any more.

    Raises the RpcError of a look-up that failed, and ClosedError, with another way, if the client is closed.
    """
    found: list[Any] = []
    for key in call.keys if call.plan is not None else ():
        assert call.plan is not None
        try:
            answer = yield from _looked(call, call.plan, key)
        except ClosedError as closed:
            raise ClosedError(f"{closed}. {_without_client(call, call.plan)}") from closed
        if isinstance(answer, RpcError) and not isinstance(answer, NotFound):
            raise answer
        found.append(answer)
    present = [one for one in found if not isinstance(one, RpcError)]
    record = present[0] if present else None
    if found and len(present) == len(found):
        response = _answer_from(call, tuple(found))
        return Reconciliation(True if response is not None else None, response, record)
    if call.kind is not RetryClass.KEYED:
        return Reconciliation(None, None, record)
    wait = settled_at - call.clock()
    if present or not found or wait > 0:
        return Reconciliation(None, None, record, wait if wait > 0 and found else None)
    return Reconciliation(False)


def _without_client(call: Outcome, plan: KeyPlan) -> str:
    """How to find out what came of a call whose client can no longer be asked."""
    keys = ", ".join(shown(key) for key in call.keys[:3]) + ("…" if len(call.keys) > 3 else "")
    way = f"look {keys} up with {plan.lookup.attribute}"
    if call.kind is RetryClass.KEYED:
        same = "that key, e.g. by with_options(idempotency_key=…)" if len(call.keys) == 1 else "those keys"
        way += f", or send the same create again under {same}: it makes no second record"
    return f"The outcome is still unknown; with a new client, {way}"
