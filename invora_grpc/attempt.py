"""One call under way: its request, its token, its deadline, and what to make of how it ended.

The same for threads and asyncio. Nothing here sends or waits; the clients do, and ask this room what they need to know.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import Message

from invora_grpc.call import Binding, CallOptions, bind, siblings
from invora_grpc.catalog import Method
from invora_grpc.config import ABSENT
from invora_grpc.connection import READY
from invora_grpc.errors import ClosedError, RequestError, SchemaError
from invora_grpc.metadata import Pair
from invora_grpc.observer import Observation, begin
from invora_grpc.paging import ListShape, list_shape
from invora_grpc.retry import GRACE, REFUSALS, Effect, Look, Outcome, RetryClass, effect_of
from invora_grpc.status import OutcomeUnknown, ResourceExhausted, RpcError, from_rpc_error, from_status

if TYPE_CHECKING:
    from invora_grpc.config import Secret
    from invora_grpc.connection import Connection, Link
    from invora_grpc.idempotency import Claim, KeyPlan
    from invora_grpc.schema.reflection import ReflectionError

LONGEST_QUESTION: Final = 20.0
"""Seconds that a call waits for the gateway's schema, at most."""
_UNSEEN: Final = {
    "unreachable": grpc.StatusCode.UNAVAILABLE,
    "unauthenticated": grpc.StatusCode.UNAUTHENTICATED,
    "timeout": grpc.StatusCode.DEADLINE_EXCEEDED,
    "throttled": grpc.StatusCode.RESOURCE_EXHAUSTED,
}
"""Why the gateway's schema could not be had → the status of the call for which it was asked for."""
ALWAYS: Final = float("inf")
"""The `until` of a link that is never verified."""

__all__ = ["ALWAYS", "Attempt", "RecordPlan", "broken", "keys_of", "record_plan", "scope_of", "shape_of"]


def keys_of(link: Link, options: CallOptions, message: Message, values: object) -> tuple[str | None, ...]:
    """The keys of a keyed create: those in the request, and the client's idempotency key where there is none.

    `values`: what the request was built from. Raises RequestError for a key that is given but empty or blank, if the
    two contradict each other, or if the RPC is no create that could take a key.
    """
    own = options.idempotency_key
    if link.plan is None:
        if own is None or link.kind is RetryClass.READ:
            return ()
        hint = "use a client without it for this RPC; only creates whose request has a key of its own take one"
        raise RequestError("idempotency_key", own, hint, f"cannot be the key of {link.method.attribute}")
    keys = link.plan.keys(message)
    if any(key is not None and not key.strip() for key in keys) or _is_empty(link.plan, values):
        raise RequestError(link.plan.name, "", "leave it out to have one made, or give the key", "is empty")
    if own is None:
        return keys
    wanted = (own,) if len(keys) == 1 else tuple(f"{own}-{index}" for index in range(len(keys)))
    for given, derived in zip(keys, wanted, strict=True):
        if given and given != derived:
            hint = "leave the key out of the request, or the idempotency key out of the client"
            raise RequestError("key", given, hint, f"is not the client's idempotency key {derived!r}")
    return wanted


def _is_empty(plan: KeyPlan, values: object) -> bool:
    """Whether a key was given as an empty text, which on the wire is the same as none."""
    held = values.get(plan.holder) if plan.holder and isinstance(values, Mapping) else values
    things = held if plan.many and isinstance(held, list | tuple) else [held]
    return any(isinstance(thing, Mapping) and thing.get(plan.name) == "" for thing in things)


def scope_of(link: Link, connection: Connection, options: CallOptions) -> str:
    """Within what keys are compared: target, organization (or the credential that stands for it), and RPC."""
    org = options.org if options.org is not None else f"token of {options.source.describe}"
    return f"{connection.settings.target.address}|{org}|{link.method.path}"


def shape_of(binding: Binding) -> ListShape:
    """How this RPC pages. Raises RequestError if it is no list."""
    classes: Any = (binding.request_class, binding.response_class)  # the stubs of protobuf call them unhashable
    shape = list_shape(*classes)
    if shape is None:
        hint = "call it for its one response"
        raise RequestError("rpc", binding.method.attribute, hint, "is no list with pages")
    return shape


class Attempt:
    """A call and its tries. Its repr shows neither request nor token."""

    __slots__ = ("claim", "connection", "data", "deadline", "link", "message", "options", "outcome", "secret", "seen")

    def __init__(
        self,
        connection: Connection,
        options: CallOptions,
        link: Link,
        message: Message | None,
        claim: Claim | None,
        requests: Any = None,
    ) -> None:
        self.connection = connection
        self.options = options
        self.link = link
        self.message = message
        self.data = requests if message is None else message.SerializeToString()
        """The request as it is sent, the same for every try; for a stream of requests, their iterator."""
        self.claim = claim
        self.secret: Secret
        """The token to send."""
        self.deadline: float | None = None
        """By the connection's clock; known once a try has failed."""
        self.outcome: Outcome | None = None
        self.seen: Observation | None = None

    def watch(self) -> None:
        """Tell the observers, if there are any, that the call begins."""
        connection, options = self.connection, self.options
        self.seen = begin(connection.observer, self.link.method, options.org, connection.settings.target)

    def metadata(self) -> tuple[Pair, ...]:
        """What this try carries: bearer token, organization, the caller's own pairs, and what observers add."""
        seen = () if self.seen is None else self.seen.metadata
        if self.secret is ABSENT:
            return (*self.options.pairs, *seen)
        return (("authorization", f"Bearer {self.secret.reveal()}"), *self.options.pairs, *seen)

    def timeout(self) -> float | None:
        """Seconds that the call may take, all in all; None: no deadline."""
        return self.options.stream_timeout if self.link.method.server_streaming else self.options.timeout

    def pause(self) -> float:
        """Seconds to wait before the first try, since the server wants this tenant to. Raises ResourceExhausted,
        instead of sending, if that is longer than the call may take."""
        connection, options, timeout = self.connection, self.options, self.timeout()
        left = connection.paused(options.org)
        if timeout is not None and left >= timeout:
            error = ResourceExhausted(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"not sent: the server wants no calls for this organization in the next {left:.1f} s",
                method=self.link.method.path,
                org=options.org,
            )
            error.retry_after = left
            raise error
        return left

    def first_left(self, started: float) -> float | None:
        """Seconds that are left for the first try, after a wait for the token; None: no deadline. `started`: by the
        connection's clock. Raises DeadlineExceeded, instead of sending, if nothing is left."""
        timeout = self.timeout()
        if timeout is None:
            return None
        left = timeout - (self.connection.clock() - started)
        if left <= 0:
            raise self.too_late()
        return left

    def too_late(self) -> RpcError:
        """The error of a call that waited for its token until the deadline."""
        return self.unsent(f"within {self.timeout():g} s there was no token from {self.options.source.describe}")

    def left(self) -> float | None:
        """Seconds of the deadline that are left for another try; None: no deadline."""
        return None if self.deadline is None else max(0.001, self.deadline - self.connection.clock())

    def worked(self) -> None:
        """Note that a try worked."""
        budget = self.connection.budget
        if budget.tokens < budget.FULL:
            budget.succeeded()
        if self.seen is not None:
            self.seen.attempt(1 if self.outcome is None else self.outcome.tries, None)

    def look(self, link: Link, step: Look) -> Attempt:
        """The call that a look-up makes: in the same organization, with the same credentials."""
        return Attempt(self.connection, self.options, link, step.request, None)

    def encoded(self, message: Message | None = None) -> Any:
        """The request, or this one of a stream, as the gateway reads it. Raises SchemaDriftError if something would be
        lost."""
        encode, message = self.link.encode, message if message is not None else self.message
        if message is None:
            return self.data  # the iterator of a stream, whose requests are encoded one by one
        return message.SerializeToString() if encode is None else encode(message)

    def question(self, services: tuple[str, ...], timeout: float | None, begun: float) -> dict[str, Any]:
        """How to ask the gateway for the schema of these services, within so many seconds since `begun`."""
        left = self.rest(timeout, begun)
        return {
            "services": services,
            "metadata": self.metadata(),
            "timeout": LONGEST_QUESTION if left is None else min(left, LONGEST_QUESTION),
            "endpoint": self.connection.settings.target.url,
            "protocol": self.connection.truth.protocol,
            "wait_for_ready": self.options.wait_for_ready,
        }

    @property
    def caller(self) -> object:
        """With whose rights the gateway is asked for its schema."""
        return self.options.source, self.options.pairs

    def rest(self, timeout: float | None, begun: float) -> float | None:
        """What is left of so many seconds since `begun`, by the connection's clock."""
        return None if timeout is None else max(0.001, timeout - (self.connection.clock() - begun))

    def elsewhere(self, error: RpcError) -> bool:
        """Whether a request that the gateway did not know may go to another place, since the gateway was another one
        when it was asked for its schema. It is verified anew before it is sent again."""
        unknown = error.code is grpc.StatusCode.UNIMPLEMENTED
        return unknown and self.message is not None and self.link.until == float("-inf")

    def _doubt(self) -> None:
        """Have the schema verified again, since the gateway does not know the RPC, and may be another one by now."""
        if self.link.until != ALWAYS and self.connection.truth.doubted():
            self.connection.forget_links()
            self.link = replace(self.link, until=float("-inf"))

    def unsure(self, now: float) -> bool:
        """Whether the schema has to be verified before anything is sent: that was not yet done, or too long before
        `now`, by the connection's clock, or over a connection that is gone, as the gateway behind it may be. Another
        call may have found that out while this one waited: then this one's link is of an earlier epoch."""
        link, connection = self.link, self.connection
        if link.until == ALWAYS:
            return False
        try:
            gone = connection.broken or connection.state(False) != READY
        except Exception:
            return False  # the channel is closed, as the call itself will say
        return gone or link.until < now or link.epoch != connection.epoch

    def unseen(self, error: ReflectionError) -> RpcError:
        """What it means for the call that the gateway's schema could not be had: the typed error of a try that sent
        nothing. Raises `error` itself if there is no status for it, and ClosedError if the client was closed."""
        method, code = self.link.method, _UNSEEN.get(error.reason)
        if self.connection.closed:
            raise ClosedError(f"{method.path}: the client was closed; make a new one") from None
        if code is None:
            raise error.with_traceback(None)
        return self._told(self._unsent(code, str(error)))

    def cut_short(self) -> RpcError:
        """The error of a try whose connection broke after the gateway was asked for its schema, before it was sent."""
        text = "the connection broke while the gateway was asked for its schema"
        return self._told(self._unsent(grpc.StatusCode.UNAVAILABLE, text))

    def unsent(self, text: str) -> RpcError:
        """The error of a call that was not sent within its deadline."""
        return self._unsent(grpc.StatusCode.DEADLINE_EXCEEDED, text)

    def _unsent(self, code: grpc.StatusCode, text: str) -> RpcError:
        method, options = self.link.method, self.options
        facts = {"scope": method.scope, "org": options.org, "token_source": options.source.describe}
        error = from_status(code, f"not sent: {text}", method=method.path, **facts)
        error.unsent = True
        return error

    def failed(self, error: BaseException) -> RpcError:
        """The typed error of a failed try. Raises what is no RPC error, without the traceback whose frames hold the
        token; ClosedError if nothing was sent, since the client was closed."""
        if isinstance(error, grpc.RpcError):
            return self._told(
                from_rpc_error(
                    error,
                    method=self.link.method.path,
                    scope=self.link.method.scope,
                    org=self.options.org,
                    token_source=self.options.source.describe,
                    secret=self.secret,
                )
            )
        if self.connection.closed and isinstance(error, Exception):
            raise ClosedError(f"{self.link.method.path}: the client was closed; make a new one") from None
        raise error.with_traceback(None)

    def cut(self) -> RpcError:
        """The error of a call that asyncio's channel cancelled under way, which it does when it is closed."""
        text = "the client was closed" if self.connection.closed else "cancelled by its channel"
        facts = {"method": self.link.method.path, "org": self.options.org}
        return self._told(from_status(grpc.StatusCode.CANCELLED, text, **facts))

    def _told(self, error: RpcError) -> RpcError:
        """`error`, after the observers know that a try failed."""
        if error.code is grpc.StatusCode.UNIMPLEMENTED:
            self._doubt()
        elif error.code is grpc.StatusCode.UNAVAILABLE and not error.trailing_metadata and self.link.until != ALWAYS:
            self.connection.broke()  # gRPC may be connecting again already, and then nothing else tells
        if self.seen is not None:
            self.seen.attempt(1 if self.outcome is None else self.outcome.tries, error)
        return error

    def read(self, data: bytes) -> Any:
        """The response in these bytes, or the typed error if they hold none, as gRPC's synchronous channel has it."""
        try:
            return self.link.decode(data)
        except Exception as error:
            text = f"Exception deserializing response! {type(error).__name__}"
            facts = {"method": self.link.method.path, "org": self.options.org}
            return self._told(from_status(grpc.StatusCode.INTERNAL, text, **facts))

    def idle(self) -> RpcError:
        """The error of a stream that was silent for too long."""
        limit = self.options.idle_timeout
        text = f"no message for {limit:g} s; raise stream_idle_timeout if the server may be silent that long"
        return from_status(grpc.StatusCode.DEADLINE_EXCEEDED, text, method=self.link.method.path, org=self.options.org)

    def settled(self, error: RpcError) -> bool:
        """Whether the first try's error leaves nothing to recover."""
        return error.code in REFUSALS and (self.claim is None or not self.claim.resumed)

    def in_doubt(self, started: float) -> Outcome:
        """What `recover` needs to know, after the first try has failed; `started`: by the connection's clock."""
        connection, options, link = self.connection, self.options, self.link
        timeout = self.timeout()
        self.deadline = None if timeout is None else started + timeout
        plan: Any = link.plan
        keys: tuple[str, ...] = self.claim.keys if self.claim is not None else ()
        if plan is None and link.kind is RetryClass.WRITE and self.message is not None:
            plan = record_plan(link.method)
            keys = plan.keys(self.message) if plan is not None else ()
        self.outcome = Outcome(
            method=link.method,
            kind=link.kind,
            retry=options.retry,
            budget=connection.budget,
            port=connection.settings.target.port,
            connected=connection.connected,
            closed=lambda: connection.closed,
            deadline=self.deadline,
            sent=self.message,
            response_class=link.binding.response_class,
            plan=plan,
            keys=keys,
            generated=self.claim is not None and self.claim.generated,
            resumed=self.claim is not None and self.claim.resumed,
            adopts=options.idempotency_key is not None,
            pause=functools.partial(connection.pause, options.org),
            clock=connection.clock,
        )
        return self.outcome

    def standing(self, error: BaseException, sent: bool) -> str:
        """What the ledger is to know of a call that ended with `error`; `sent`: a try was made."""
        if isinstance(error, OutcomeUnknown):
            return "unknown"
        if sent and not isinstance(error, RpcError | ClosedError | SchemaError):
            # After a try that nothing came of, e.g. for want of another token; or broken off, no matter where.
            sure = isinstance(error, Exception) and self.outcome is not None and not self.outcome.doubt
            return "failed" if sure else "unknown"
        return "failed"

    def restart(self) -> None:
        """Give what follows a deadline of its own."""
        timeout = self.options.timeout
        self.deadline = None if timeout is None else self.connection.clock() + timeout
        if self.outcome is not None:
            self.outcome.deadline = self.deadline

    def settled_at(self) -> float:
        """From when on, by the connection's clock, nothing that was sent can land any more."""
        return max(self.deadline or 0.0, self.connection.clock()) + GRACE


def broken(call: Attempt, error: RpcError, sent: int) -> RpcError:
    """What it means that a call broke under way, after so many requests: for a write in doubt, OutcomeUnknown."""
    doubtful = effect_of(error, call.connection.settings.target.port, call.connection.connected) is Effect.MAYBE
    return OutcomeUnknown(error) if call.link.kind is not RetryClass.READ and doubtful and sent else error


# --- the record that a write is about -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RecordPlan:
    """How to look at the record that a write without a key of its own is about: by the Get of the same service."""

    lookup: Method
    field: str
    """The field of the Get's request that names the record, and of the write's request or its `input`."""

    def keys(self, message: Any) -> tuple[str, ...]:
        """The record's name in the write's request; empty if it is not there."""
        for part in (message, getattr(message, "input", None)):
            value = getattr(part, self.field, None)
            if isinstance(value, str) and value:
                return (value,)
        return ()

    def lookup_request(self, key: str) -> Message:
        """The request of the look-up."""
        message = bind(self.lookup).request_class()
        setattr(message, self.field, key)
        return message

    def with_keys(self, message: Message, keys: tuple[str, ...]) -> Message:
        """The message as it is: writes carry no key that could be added."""
        return message

    def response_from(self, sent: Message, found: tuple[Message, ...], response_class: object) -> Message | None:
        """Nothing: a record does not tell which call made it what it is."""
        return None


_NAMING: Final = ("key", "id", "tenant_id")


@functools.lru_cache(4096)
def record_plan(method: Method) -> RecordPlan | None:
    """The plan for a write: by the Get of what it writes, e.g. GetFeature for UpdateFeature. None if there is none."""
    thing = method.rpc.partition("_")[2]
    other = next((one for one in siblings(method) if one.rpc == f"get_{thing}".strip("_")), None)
    if other is None:
        return None
    fields = bind(other).request_class.DESCRIPTOR.fields_by_name
    named = [name for name in _NAMING if name in fields and fields[name].cpp_type == fields[name].CPPTYPE_STRING]
    return RecordPlan(other, named[0]) if named else None
