"""What the gateway's own schema means for each call of one connection: send as it is, convert by name, or refuse.

A connection has one `Truth`. It says what has to be asked of the gateway first, takes in what came, and decides for
each RPC once; decisions expire, since gateways are redeployed under running clients. It does no I/O but the disk cache;
asking is `invora_grpc.driver`'s.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from types import MappingProxyType
from typing import Final, NoReturn

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message

from invora_grpc.call import Binding, descriptor
from invora_grpc.catalog import COMPILED, Method, catalog
from invora_grpc.errors import SchemaDriftError, UnconfirmedSchema
from invora_grpc.schema.adapting import adapter_of
from invora_grpc.schema.cache import Entry, SchemaCache
from invora_grpc.schema.compare import Comparer
from invora_grpc.schema.descriptors import Schema
from invora_grpc.schema.files import File, FileSet, definitions, with_json_names
from invora_grpc.schema.reflection import ReflectionError, Served
from invora_grpc.schema.renames import Found, find
from invora_grpc.schema.verdicts import Verdict

__all__ = ["MAX_AGE", "Decision", "Truth"]

MAX_AGE: Final = 900.0
"""Seconds that the gateway's descriptors are believed while its connection stands, before they are fetched again."""
MAX_AGE_ON_DISK: Final = 300.0
"""Seconds after which a new process no longer begins with the descriptors that another one has fetched."""
_SETTLED: Final = 30.0
"""Seconds after fetching in which nothing, not even a refused call, is a reason to fetch again."""

_ONCE: Final = 0.0
"""The `until` of a decision for one call only."""

_Refusal = tuple[str, tuple[str, ...], str]
"""Verdict, differences and hint of a SchemaDriftError."""

_log = logging.getLogger("invora_grpc.schema")


@dataclass(frozen=True, slots=True)
class Decision:
    """How an RPC is to be sent."""

    path: str
    """What travels as :path: another than the method's own if the gateway calls it otherwise."""
    encode: Callable[[Message], bytes] | None
    """The request as the gateway reads it; None: as it is. Raises SchemaDriftError."""
    decode: Callable[[bytes], Message] | None
    """The response from the gateway's bytes; None: as it is."""
    until: float
    """By the connection's clock."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A service as the gateway has described it."""

    schema: Schema
    listed: tuple[str, ...]
    until: float
    """By the connection's clock."""
    fetched: float
    """By the connection's clock."""
    comparer: Comparer = field(default_factory=Comparer)
    _same: dict[str, bool] = field(default_factory=dict)

    def same(self, ours: FileDescriptor) -> bool:
        """Whether the gateway's copy of a file, and of all that it imports, is the client's own, byte for byte."""
        found = self._same.get(ours.name)
        if found is None:
            found = self._same[ours.name] = all(self._is_same(one) for one in _with_imports(ours))
        return found

    def _is_same(self, ours: FileDescriptor) -> bool:
        files = self.schema.files
        served = files.files.get(ours.name)
        if served is None or ours.name in files.problems:
            return False
        own = File.FromString(ours.serialized_pb)  # whose own order of options may be another one
        sides = [with_json_names(one).SerializeToString(deterministic=True) for one in (served, own)]
        return sides[0] == sides[1]


class Truth:
    """What one gateway serves, as far as it is known. Its methods are to be called under `lock`."""

    def __init__(
        self, policy: str, url: str, address: str, clock: Callable[[], float], disk: SchemaCache | None
    ) -> None:
        self.policy = policy
        """verify or adapt."""
        self.lock = Lock()
        self.protocol: str | None = None
        """The version of the reflection protocol that this gateway speaks."""
        self._url = url
        self._address = address
        self._clock = clock
        self._disk = disk
        self._disk_from = 0.0
        """Entries on disk that are older, in seconds since the epoch, are not believed."""
        self._known: dict[str, _Known] = {}
        self._decided: dict[object, Decision | _Refusal] = {}
        self._silent: dict[object, float] = {}
        """Caller → until when, by the clock, the gateway is not asked for it, since it does not offer it reflection;
        None: any caller."""
        self._said: set[str] = set()

    # --- asking -----------------------------------------------------------------------------------------------------

    def wanted(self, method: Method, caller: object = None) -> tuple[str, ...]:
        """The services whose descriptors have to be fetched before there can be a decision; empty: none.

        `caller`: with whose rights the gateway is asked, as it may tell one and not another.
        """
        known = self._fresh(method.service)
        if self._is_silent(caller):
            return ()
        if known is None or (self._is_refused(method) and self._clock() - known.fetched >= _SETTLED):
            return (method.service,)
        if method.service in known.schema.services and _has(known.schema, method):
            return ()
        return tuple(name for name in _neighbours(method, known.listed) if self._fresh(name) is None)

    def learn(self, names: tuple[str, ...], served: Served) -> None:
        """Take in what the gateway said about these services."""
        now, self.protocol = self._clock(), served.protocol
        for name in names:
            entry = Entry(served.listed, _closure(served.files, name), served.protocol, time.time())
            failures = {name: served.failures[name]} if name in served.failures else {}
            self._remember(name, entry, now, failures)
            if self._disk is not None:
                if entry.files.files:
                    self._disk.store(self._address, name, entry)
                else:  # else what was there before would be believed again
                    self._disk.drop(self._address, name)

    def refused(self, error: ReflectionError, caller: object = None) -> bool:
        """Whether the gateway offers this caller no reflection: then it is not asked again for a while.

        What it has told others holds for this one too, and that it tells this one nothing says nothing about others.
        """
        if error.reason not in ("not-offered", "denied"):
            return False
        now = self._clock()
        self._silent = {one: until for one, until in self._silent.items() if until > now}
        self._silent[None if error.reason == "not-offered" else caller] = now + MAX_AGE
        what = "offers no server reflection" if error.reason == "not-offered" else "denies a caller server reflection"
        self._say(f"{self._url} {what}: published RPCs are sent unverified, documented ones are refused")
        return True

    def forget(self) -> None:
        """Believe nothing any more that was fetched until now, since the gateway may be another one."""
        if self._known or self._silent:
            self._known.clear()
            self._silent.clear()
            self._decided.clear()
            self._disk_from = time.time()

    def doubted(self) -> bool:
        """Forget everything, since the gateway did not know an RPC that it has served. False if it was asked a moment
        ago, or is being asked: then it is no other one. To be called without `lock`."""
        if not self.lock.acquire(blocking=False):
            return False
        try:
            old = any(self._clock() - known.fetched >= _SETTLED for known in self._known.values())
            if old:
                self.forget()
            return old
        finally:
            self.lock.release()

    def _fresh(self, service: str) -> _Known | None:
        known, now = self._known.get(service), self._clock()
        if known is not None and known.until > now:
            return known
        entry = self._disk.load(self._address, service) if self._disk is not None else None
        if entry is None or entry.fetched_at < self._disk_from:
            return None
        age = time.time() - entry.fetched_at
        if not 0 <= age < MAX_AGE_ON_DISK:
            return None
        self.protocol = self.protocol or entry.protocol
        return self._remember(service, entry, now - age)

    def _remember(
        self, service: str, entry: Entry, fetched: float, failures: Mapping[str, str] = MappingProxyType({})
    ) -> _Known:
        schema = Schema(entry.files, source=self._url, listed=entry.listed, failures=failures)
        until = fetched + (MAX_AGE if entry.files.files else _SETTLED)
        known = self._known[service] = _Known(schema, entry.listed, until, fetched)
        self._decided.clear()
        return known

    def _is_silent(self, caller: object) -> bool:
        now = self._clock()
        return any(self._silent.get(one, now) > now for one in (None, caller))

    def _is_refused(self, method: Method) -> bool:
        return isinstance(self._decided.get(method.key), tuple)

    # --- deciding ---------------------------------------------------------------------------------------------------

    def decision(self, binding: Binding) -> Decision:
        """How to send an RPC for which nothing is `wanted`.

        Raises SchemaDriftError if it must not be sent as the policy is, and UnconfirmedSchema for a documented RPC of a
        gateway that offers no reflection.
        """
        method = binding.method
        known = self._known.get(method.service)
        if known is None or known.until <= self._clock():
            return self._unseen(method)
        made = self._decided.get(method.key)
        if made is None or (isinstance(made, Decision) and made.until <= self._clock()):
            try:
                made = self._decide(method, known)
            except SchemaDriftError as error:
                made = (error.verdict, error.differences, error.hint)  # an exception kept would gather tracebacks
            self._decided[method.key] = made
        if isinstance(made, Decision):
            return made
        verdict, differences, hint = made
        raise SchemaDriftError(method.path, self._url, verdict, differences, hint)

    def _unseen(self, method: Method) -> Decision:
        """The decision if the gateway does not tell the caller its schema, and has not told anybody."""
        if method.origin == "documented":
            raise UnconfirmedSchema(method.path)
        return Decision(method.path, None, None, self._silent.get(None, _ONCE))

    def _decide(self, method: Method, known: _Known) -> Decision:
        found = self._found(method, known)
        if found is None:
            self._refuse(method, "incompatible", (self._absence(method, known),))
        ours = descriptor(method)
        if not found.differences and known.same(ours.containing_service.file):
            return Decision(method.path, None, None, known.until)
        theirs = found.method.schema.method(found.method)
        comparison = known.comparer.methods(ours, theirs)
        verdict = max([comparison.verdict, *(difference.verdict for difference in found.differences)])
        told = tuple(one.text for one in (*found.differences, *comparison.differences))
        if verdict <= Verdict.ADDITIVE:
            _log.debug("%s: %s has more than the stubs: %s", method.path, self._url, "; ".join(told))
            return Decision(method.path, None, None, known.until)
        if self.policy != "adapt":
            self._refuse(method, str(verdict), told)
        adapter = adapter_of(ours, theirs, method=method.path, endpoint=self._url, comparer=known.comparer)
        until = min(known.until, self._known[found.method.service].until)
        self._say(f"{method.path}: converted by name for {self._url}: {'; '.join(told[:5])}")
        return Decision(found.method.path, adapter.encode, adapter.decode, until)

    def _found(self, method: Method, known: _Known) -> Found | None:
        """The RPC as the gateway has it, in its own service or, under another name, next to it."""
        if _has(known.schema, method):
            (served,) = (one for one in known.schema.service(method.service).methods if one.name == method.name)
            return Found(served, ())
        others = [self._known.get(name) for name in _neighbours(method, known.listed)]
        places = [known.schema, *(other.schema for other in others if other is not None)]
        if len(places) <= len(others):
            return None  # not all could be asked for, and the only candidate that is seen may be one of two
        known_here = method.schema.services.values() if method.schema is not None else catalog(method.package)
        return find(method, {one.name: one for one in known_here}, places)

    def _absence(self, method: Method, known: _Known) -> str:
        problem = known.schema.problems.get(method.service)
        if problem is not None:
            return f"its descriptors cannot be used: {problem}"
        if method.service in known.schema.services:
            return f"{method.service} has no RPC {method.name} there"
        return f"{method.service} is not served there"

    def _refuse(self, method: Method, verdict: str, differences: tuple[str, ...]) -> NoReturn:
        shows = "`invora schema diff compiled ENDPOINT`"
        if method.package != COMPILED:
            shows = f"`invora gen --source reflection --package {method.package} --report md`"
        hint = f"Generate the stubs again from this gateway ({shows} shows all)"
        if verdict == "adaptable":
            hint = "A client made with schema='adapt' converts by name, and refuses only what would be lost"
        raise SchemaDriftError(method.path, self._url, verdict, differences, hint)

    def _say(self, text: str) -> None:
        """Log once."""
        if text not in self._said:
            self._said.add(text)
            _log.info("%s", text)


def _with_imports(file: FileDescriptor) -> Iterable[FileDescriptor]:
    found = {file.name: file}
    waiting = [file]
    while waiting:
        new = {one.name: one for one in waiting.pop().dependencies if one.name not in found}
        found.update(new)
        waiting.extend(new.values())
    return found.values()


def _has(schema: Schema, method: Method) -> bool:
    service = schema.services.get(method.service)
    return service is not None and any(one.name == method.name for one in service.methods)


def _neighbours(method: Method, listed: tuple[str, ...]) -> tuple[str, ...]:
    """The other services of the same package."""
    package = method.service.rpartition(".")[0]
    return tuple(name for name in listed if name != method.service and name.rpartition(".")[0] == package)


def _closure(files: FileSet, service: str) -> FileSet:
    """The files that a service needs; none if it is not there."""
    return files.closure([name for name, file in files.files.items() if service in set(definitions(file))])
