"""Keyed creates: which requests carry a key of their own, what counts as the same payload, and who remembers keys.

A gateway makes at most one record under a key, so a create that has one can be sent again. This room finds the keys of
a request, sets them, compares what was sent with what is stored, and remembers in memory which keys are in use. It
sends nothing and touches no disk (that is `journal`), and what to do with a failed call is decided in `retry`.
"""

from __future__ import annotations

import functools
import os
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import attrgetter
from threading import Lock
from typing import Any, Final, Protocol

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from invora_grpc.call import bind, siblings
from invora_grpc.catalog import Method
from invora_grpc.errors import ConfigError, RequestError
from invora_grpc.kinds import descriptor_of, is_map
from invora_grpc.likeness import agrees, copy_shared, holds, record_in

__all__ = ["FINGERPRINT", "Claim", "KeyPlan", "Keys", "Ledger", "RecentKeys", "clash", "key_plan", "new_key", "pieces"]

FINGERPRINT: Final = 16
"""Bytes of the fingerprint of one keyed thing."""
_KEY_FIELDS: Final = ("key", "transaction_id")
"""What the schema calls the keys that make a create safe to repeat. An `external_id` is a name, not a key."""
_CREATES: Final = ("Create", "BatchCreate")

Keys = tuple[str | None, ...]
"""The keys of a request as its caller gave them; None or "" where there is none."""


def new_key() -> str:
    """A key that nobody can guess and that sorts by the time it was made: a UUID of version 7 (RFC 9562, 5.7)."""
    head = f"{time.time_ns() // 1_000_000:012x}"
    tail = os.urandom(10).hex()
    return f"{head[:8]}-{head[8:]}-7{tail[:3]}-{'89ab'[int(tail[3], 16) & 3]}{tail[4:7]}-{tail[7:19]}"


# --- the keys of a request ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """Where the requests of a keyed create have their keys, and how to look one up. Made by `key_plan`."""

    lookup: Method
    """The Get RPC that finds a record by its key."""
    name: str
    """The key's field, e.g. `transaction_id`."""
    holder: str = ""
    """The request's field whose message has the key, e.g. `event`; "": the request itself."""
    many: bool = False
    """Whether `holder` is repeated: each of its messages has a key."""
    _key_of: Callable[[Any], str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        path = f"{self.holder}.{self.name}" if self.holder and not self.many else self.name
        object.__setattr__(self, "_key_of", attrgetter(path))

    def keys(self, message: Message) -> Keys:
        """The key of each keyed thing in the request, in order; None where it is absent or empty."""
        if self.many:
            return tuple([self._key_of(thing) or None for thing in getattr(message, self.holder)])
        return (self._key_of(message) or None,)

    def with_keys(self, message: Message, keys: tuple[str, ...]) -> Message:
        """A copy of the request with these keys, or the request itself if it has them.

        A batch that is shorter than `keys` is filled up with things that have nothing but their key.
        """
        if keys == self.keys(message):
            return message
        changed = type(message)()
        changed.CopyFrom(message)
        if self.many:
            things = getattr(changed, self.holder)
            while len(things) < len(keys):
                things.add()
        for thing, key in zip(self._things(changed), keys, strict=True):
            setattr(thing, self.name, key)
        return changed

    def fingerprint(self, message: Message) -> bytes:
        """What tells this payload from others, keys left out: 16 bytes for each keyed thing.

        A BLAKE2b hash of the deterministic serialization: equal in another process with the same schema.
        """
        bare = type(message)()
        bare.CopyFrom(message)
        hashes = []
        for thing in self._things(bare):
            thing.ClearField(self.name)
            payload = thing if self.many else bare
            hashes.append(blake2b(payload.SerializeToString(deterministic=True), digest_size=FINGERPRINT).digest())
        return b"".join(hashes)

    def lookup_request(self, key: str) -> Message:
        """The request of `lookup` that asks for the whole record under this key."""
        request: Any = bind(self.lookup).request_class()
        setattr(request, self.name, key)
        view = descriptor_of(request).fields_by_name.get("view")
        if view is not None and view.enum_type is not None and "VIEW_FULL" in view.enum_type.values_by_name:
            request.view = view.enum_type.values_by_name["VIEW_FULL"].number
        found: Message = request
        return found

    def response_from(self, sent: Message, found: tuple[Message, ...], response_class: type[Message]) -> Message | None:
        """The response of the create whose request was `sent`, from the Get responses for each of its keys.

        None if what was found is not what was sent: a field that the request sets has another value in the record, or
        none to compare it with. What the request does not set is the server's to fill in; lists and maps have to be as
        long as they were sent, and a document that was to be frozen has to be.
        """
        things = list(self._things(sent)) if self.many else [sent]
        if len(things) != len(found):
            return None
        for thing, answer in zip(things, found, strict=True):
            record = record_in(answer, self.name)
            if record is None or not (holds(record, thing) if self.many else agrees(record, thing, self.name)):
                return None
        response = response_class()
        if not self.many:
            copy_shared(found[0], response)
        return response

    def _things(self, message: Any) -> Iterator[Any]:
        """The messages that have the keys."""
        if self.many:
            yield from getattr(message, self.holder)
        else:
            yield getattr(message, self.holder) if self.holder else message


@functools.lru_cache(4096)
def key_plan(method: Method) -> KeyPlan | None:
    """Where the method's requests have their keys; None if it is no create whose key its caller may choose.

    Read off the schema: a unary Create or BatchCreate that is POSTed to a collection, whose service has a Get by `key`
    or `transaction_id`, and whose request has that field itself, or one message with it. Not in anybody else's schema:
    that there is at most one record under a key is Invora's promise.
    """
    if not method.promised:
        return None
    rule = method.http
    if method.name not in _CREATES or method.streaming or rule is None or rule.verb != "POST" or "{" in rule.path:
        return None
    lookup = next((m for m in siblings(method) if m.name == "Get" and not m.streaming), None)
    if lookup is None:
        return None
    request, asked = (descriptor_of(kind) for kind in (bind(method).request_class, bind(lookup).request_class))
    for name in _KEY_FIELDS:
        if not _has_text(asked, name):
            continue
        if _has_text(request, name):
            return KeyPlan(lookup, name)
        for holder in request.fields:
            if holder.message_type is not None and not is_map(holder) and _has_text(holder.message_type, name):
                return KeyPlan(lookup, name, holder.name, bool(holder.is_repeated))
    return None


def _has_text(descriptor: Descriptor, name: str) -> bool:
    found = descriptor.fields_by_name.get(name)
    return found is not None and found.type == FieldDescriptor.TYPE_STRING and not found.is_repeated


# --- who remembers keys -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Claim:
    """One create under way, as its ledger knows it.

    Hand it back to `done`, `failed` or `unknown`, once; after `unknown` once more, should it turn out what came of it.
    """

    keys: tuple[str, ...]
    """The key of each keyed thing: the caller's own, or one that was made for it."""
    resumed: bool
    """Whether an earlier call with these keys was left in doubt: what exists under them may be this very payload."""
    generated: bool
    """Whether all keys are the ledger's own."""
    ticket: Any = field(default=None, repr=False)
    """The ledger's own business."""


class Ledger(Protocol):
    """Remembers keys, so that one is never used for two payloads and a call in doubt is resumed under its own.

    Two equal payloads without keys are two records, and get two keys: only what ended `unknown` is resumed, by one
    later claim. All methods are safe across threads.
    """

    def claim(self, scope: str, plan_name: str, keys: Keys, fingerprint: bytes) -> Claim:
        """Take keys for a create that is about to be sent. `scope` is where keys are unique: target, organization and
        method; `plan_name` is what errors call the method; `fingerprint` has 16 bytes for each key.

        Raises RequestError if a given key is known with another payload. Nothing is to be sent then.
        """
        ...

    def done(self, claim: Claim) -> None:
        """The record exists."""
        ...

    def failed(self, claim: Claim) -> None:
        """Nothing came of this claim: things are as they were before it, and a new key is forgotten."""
        ...

    def unknown(self, claim: Claim) -> None:
        """It cannot be told. The next claim of the same payload and given keys gets these keys again, resumed."""
        ...


def clash(key: str, plan_name: str) -> RequestError:
    """The error for a key that is known with another payload."""
    hint = "give this one another key; to repeat the earlier call, send what it sent"
    return RequestError("key", key, hint, f"is in use by a {plan_name} with other content; nothing was sent")


def pieces(keys: Keys, fingerprint: bytes, plan_name: str) -> list[bytes]:
    """The fingerprint of each key's thing. Raises RequestError if a key stands for two things in one request."""
    parts = _parts(fingerprint)
    seen: dict[str, bytes] = {}
    for key, part in zip(keys, parts, strict=True):
        if key and seen.setdefault(key, part) != part:
            raise clash(key, plan_name)
    return parts


_Payload = tuple[str, bytes, Keys]
"""Scope, fingerprint and given keys: what a call has to have in common with one in doubt to resume it."""


class _Known:
    """What is known about a key."""

    __slots__ = ("doubtful", "fingerprint", "place", "settled", "under_way")

    def __init__(self, place: tuple[str, str], fingerprint: bytes) -> None:
        self.place = place
        """Scope and key."""
        self.fingerprint = fingerprint
        self.settled = False
        """Whether a record exists under it."""
        self.doubtful = False
        """Whether the last claim that ended ended `unknown`."""
        self.under_way = 0
        """Claims that have not ended."""


_Ticket = tuple[_Payload, _Payload | None, Sequence[_Known] | None]
"""A claim's payload, what the claim in doubt that it resumes was parked under, and its keys that are known; None in
place of these once it has ended `unknown`."""


class RecentKeys:
    """The ledger of one process, in memory. It knows the last `limit` keys, and forgets them with the process.

    It keeps the keys that callers gave, and of those that it made the ones whose call was left in doubt. After a fork
    the child resumes nothing of its parent's.
    """

    def __init__(self, limit: int = 10_000) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ConfigError("limit", limit, "give a whole number of keys, at least 1")
        self._limit = limit
        self._lock = Lock()
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        """By place, the one used last at the end."""
        self._parked: OrderedDict[tuple[str, tuple[str, ...]], _Payload] = OrderedDict()
        """Claims in doubt, at least one of whose keys is the ledger's own, by scope and keys."""
        self._waiting: dict[_Payload, list[tuple[str, ...]]] = {}
        """The same by payload."""
        _LEDGERS.add(self)

    def claim(self, scope: str, plan_name: str, keys: Keys, fingerprint: bytes) -> Claim:
        """See `Ledger.claim`. A key whose record exists is not `resumed`: there the server says ALREADY_EXISTS."""
        if len(keys) == 1 and not self._parked:
            return self._claim_one(scope, plan_name, keys[0], fingerprint)
        keys = tuple([key or None for key in keys])
        payload = (scope, fingerprint, keys)
        parts = pieces(keys, fingerprint, plan_name)
        with self._lock:
            for key, part in zip(keys, parts, strict=True):
                if key and (known := self._known.get((scope, key))) is not None and known.fingerprint != part:
                    raise clash(key, plan_name)
            waiting = self._waiting.get(payload)
            taken = waiting[0] if waiting else tuple([key or new_key() for key in keys])
            parked = self._unpark(scope, taken)
            begun = [
                self._begin((scope, key), part)
                for key, given, part in zip(taken, keys, parts, strict=True)
                if given or parked
            ]
        doubtful = parked is not None or any(known.doubtful for known in begun)
        return Claim(taken, doubtful, not any(keys), (payload, parked, begun))

    def _claim_one(self, scope: str, plan_name: str, key: str | None, fingerprint: bytes) -> Claim:
        """What `claim` does for one key while no claim is in doubt: the usual case, at half the cost."""
        if not key:
            return Claim((new_key(),), False, True, ((scope, fingerprint, (None,)), None, ()))
        with self._lock:
            known = self._begin((scope, key), fingerprint)
            if known.fingerprint != fingerprint:
                known.under_way -= 1
                raise clash(key, plan_name)
        return Claim((key,), known.doubtful, False, ((scope, fingerprint, (key,)), None, (known,)))

    def done(self, claim: Claim) -> None:
        """See `Ledger.done`."""
        begun: Sequence[_Known] | None = claim.ticket[2]
        if begun is None:
            return self._decide(claim, True)
        if begun:
            with self._lock:
                for known in begun:
                    known.under_way -= 1
                    known.settled = True
                    known.doubtful = False

    def failed(self, claim: Claim) -> None:
        """See `Ledger.failed`."""
        ticket: _Ticket = claim.ticket
        _, parked, begun = ticket
        if begun is None:
            return self._decide(claim, False)
        with self._lock:
            for known in begun:
                known.under_way -= 1
                self._forget(known)
            if parked is not None:
                self._park(claim.keys, parked)

    def unknown(self, claim: Claim) -> None:
        """See `Ledger.unknown`."""
        ticket: _Ticket = claim.ticket
        payload, parked, begun = ticket
        scope, fingerprint, given = payload
        with self._lock:
            for known in begun or ():
                known.under_way -= 1
            for key, part in zip(claim.keys, _parts(fingerprint), strict=True):
                known = self._begin((scope, key), part)
                known.under_way -= 1
                known.doubtful = True
            if parked is not None or not all(given):
                self._park(claim.keys, parked or payload)
        claim.ticket = (payload, parked, None)

    def _decide(self, claim: Claim, exists: bool) -> None:
        """It has turned out what came of a claim that ended `unknown`; by now, another one may have resumed it."""
        ticket: _Ticket = claim.ticket
        (scope, _, given), parked, _ = ticket
        with self._lock:
            waited = self._unpark(scope, claim.keys) is not None
            if not exists and not waited and (parked is not None or not all(given)):
                return
            for key in claim.keys:
                if (known := self._known.get((scope, key))) is not None:
                    known.settled, known.doubtful = known.settled or exists, False
                    self._forget(known)

    def _forget(self, known: _Known) -> None:
        """Drop a key that stands for nothing."""
        if not (known.under_way or known.settled or known.doubtful):
            self._known.pop(known.place, None)

    def _begin(self, place: tuple[str, str], fingerprint: bytes) -> _Known:
        """Count a claim of this key, which is from now on the one used last."""
        known = self._known.get(place)
        if known is None:
            known = self._known[place] = _Known(place, fingerprint)
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(place)
        known.under_way += 1
        return known

    def _park(self, keys: tuple[str, ...], payload: _Payload) -> None:
        """Let a later claim of this payload resume the one with these keys."""
        self._parked[payload[0], keys] = payload
        self._waiting.setdefault(payload, []).append(keys)
        if len(self._parked) > self._limit:
            self._unpark(*next(iter(self._parked)))

    def _unpark(self, scope: str, keys: tuple[str, ...]) -> _Payload | None:
        payload = self._parked.pop((scope, keys), None)
        if payload is not None:
            self._waiting[payload].remove(keys)
            if not self._waiting[payload]:
                del self._waiting[payload]
        return payload

    def _forked(self) -> None:
        """In a child: another thread of the parent may have held the lock, and its claims in doubt stay with it."""
        self._lock = Lock()
        self._parked.clear()
        self._waiting.clear()


def _parts(fingerprint: bytes) -> list[bytes]:
    return [fingerprint[at : at + FINGERPRINT] for at in range(0, len(fingerprint), FINGERPRINT)]


_LEDGERS: Final[weakref.WeakSet[RecentKeys]] = weakref.WeakSet()


def _after_fork() -> None:
    for ledger in list(_LEDGERS):
        ledger._forked()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_after_fork)
