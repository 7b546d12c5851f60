"""What to ask a gateway about its schema, in which order, and what to make of its answers.

The protocol of server reflection (gRPC's docs/server-reflection.md), v1 or v1alpha, over one stream. There is no I/O
here: `session` is a generator that says what to send and is told what came, and `invora_grpc.schema.asking` carries
that out. Nothing that comes is believed: it is bounded while it comes, and what is broken is told by name while the
rest stays usable. Nothing enters a descriptor pool here.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.message import DecodeError

from invora_grpc.errors import SchemaError, one_line, shown
from invora_grpc.schema.bounds import MAX_PARTS, TooManyParts, count_parts
from invora_grpc.schema.files import (
    MAX_BYTES,
    MAX_FILES,
    DescriptorError,
    File,
    FileSet,
    definitions,
    parsed_file,
    references,
)
from invora_grpc.schema.pool import BUNDLED
from invora_grpc.schema.protocol import CODES, PROTOCOLS, Ask, ask_bytes, response_class

__all__ = ["Ended", "Open", "Read", "ReflectionError", "Send", "Served", "Steps", "Wanted", "session"]

EVERYTHING: Final = "*"
"""The key of `Served.failures` for the list of services itself."""

_WINDOW: Final = 16
"""Requests under way. With more, servers that send all imports each time would send more of them in vain."""
_STREAMS: Final = 8
"""Streams that one session may take: servers in doubt end them at what they cannot answer."""
_MAX_ASKED: Final = 4 * MAX_FILES
_MAX_NAME: Final = 1000
"""Characters of a name that is asked for."""
_MAX_RECEIVED: Final = 4 * MAX_BYTES
"""Bytes of all answers, also of what comes again and again."""
_SERVICE_NAME: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_SYNTAXES: Final = frozenset({"", "proto2", "proto3", "editions"})
_FATAL: Final = frozenset({"UNIMPLEMENTED", "UNAUTHENTICATED", "PERMISSION_DENIED"})
"""Codes that are about the caller or the protocol, also in the answer to a single request."""

_SAID: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "too-large": (
            "sends more descriptors than can be taken in",
            "tell who runs it, or use descriptors from a file",
        ),
        "malformed": (
            "sends what is no answer to server reflection",
            "tell who runs it, or use descriptors from a file",
        ),
        "timeout": ("does not answer server reflection in time", "try again, or raise the timeout"),
        "unreachable": ("cannot be reached for server reflection", "check the endpoint, or try again later"),
        "throttled": ("is asked too often for server reflection", "try again later, or use descriptors from a file"),
        "failed": ("fails at server reflection", "try again later, or use descriptors from a file"),
        "unauthenticated": ("wants to know who asks for server reflection", "check the token, or the client's secret"),
        "denied": ("does not allow this caller server reflection", "ask for the permission, or use another account"),
        "not-offered": ("offers no server reflection", "use descriptors from a file, or check the endpoint"),
    }
)
"""Reason → what it means, and the way out. Of two reasons, the one that comes first here is told."""

_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "UNIMPLEMENTED": "not-offered",
        "PERMISSION_DENIED": "denied",
        "UNAUTHENTICATED": "unauthenticated",
        "UNAVAILABLE": "unreachable",
        "DEADLINE_EXCEEDED": "timeout",
        "RESOURCE_EXHAUSTED": "throttled",
    }
)


class ReflectionError(SchemaError):
    """A gateway's descriptors could not be had. Nothing else was sent."""

    endpoint: str
    """The gateway's URL."""
    reason: str
    """not-offered, denied, unauthenticated, unreachable, timeout, throttled, malformed, too-large
    or failed."""
    causes: tuple[str, ...]
    """What went wrong with each version of the protocol that was tried, e.g. `v1: UNIMPLEMENTED: unknown service`."""
    hint: str
    """The way out."""

    def __init__(self, endpoint: str, reason: str, causes: Iterable[str], hint: str = "") -> None:
        problem, way_out = _SAID[reason]
        self.endpoint, self.reason, self.hint = endpoint, reason, hint or way_out
        self.causes = tuple(one_line(cause, 300) for cause in causes)
        super().__init__(one_line(f"{endpoint} {problem} ({'; '.join(_once(self.causes))}); {self.hint}"))


def _once(causes: Iterable[str]) -> Iterable[str]:
    """The same words of several versions told once: `v1 and v1alpha: UNAVAILABLE: …`."""
    versions: dict[str, list[str]] = {}
    for cause in causes:
        version, _, words = cause.partition(": ")
        versions.setdefault(words, []).append(version)
    return [f"{' and '.join(named)}: {words}" for words, named in versions.items()]


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """What a gateway says that it serves."""

    listed: tuple[str, ...]
    """The names of its services, sorted."""
    files: FileSet
    """The files of what was asked for, and of all that they import."""
    failures: Mapping[str, str]
    """Service, symbol or file → why it could not be fetched; "*": why there is no list."""
    protocol: str
    """The version of the protocol that it was asked in: "v1" or "v1alpha"."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to ask for besides the list of services. `services` None: all that are listed."""

    services: tuple[str, ...] | None = None
    symbols: tuple[str, ...] = ()
    file_names: tuple[str, ...] = ()
    extensions_of: tuple[str, ...] = ()
    """Message types whose extensions to find."""


# --- what the driver is asked to do -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Open:
    """Open a stream, and give up the one before."""

    protocol: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send these on the stream, without waiting."""

    requests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """Wait for the next answer."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What the driver says to `Read` if the stream has ended instead."""

    code: str
    """The name of the status: OK if the server ended it without an error."""
    message: str = ""
    hint: str = ""
    """The way out, if more is known than the code says."""

    @property
    def reason(self) -> str:
        """The reason for a ReflectionError."""
        if self.code == "RESOURCE_EXHAUSTED" and "larger than max" in self.message:
            return "too-large"
        return _REASONS.get(self.code, "failed")

    def __str__(self) -> str:
        if self.code == "OK":
            return self.message or "the stream was ended without an answer"
        return f"{self.code}: {self.message}" if self.message else self.code


Steps = Generator[Open | Send | Read, "bytes | Ended | None", Served]


class _Unheard(Exception):
    """One version of the protocol has failed. Its text is for people."""

    def __init__(self, reason: str, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.reason, self.hint = reason, hint


def session(endpoint: str, wanted: Wanted, protocol: str | None = None) -> Steps:
    """Ask for everything that is wanted, in v1 and, if that gets no answer, once in v1alpha.

    `protocol`: the version that the gateway is known to speak, to be tried first. Raises ReflectionError.
    """
    failed: dict[str, _Unheard] = {}
    for version in sorted(PROTOCOLS, key=lambda one: one != protocol):
        try:
            return (yield from _talk(wanted, version))
        except _Unheard as unheard:
            failed[version] = unheard
            if unheard.reason in ("timeout", "too-large", "malformed"):
                break
    telling = min(failed.values(), key=lambda one: list(_SAID).index(one.reason))
    causes = [f"{version}: {one}" for version, one in failed.items()]
    raise ReflectionError(endpoint, telling.reason, causes, telling.hint)


def _talk(wanted: Wanted, version: str) -> Generator[Open | Send | Read, bytes | Ended | None, Served]:
    """All of it in one version. Streams that end too early are begun anew, without what has ended two of them.

    From the beginning each time: behind a load balancer another stream may reach another build, and files of two
    builds are no schema.
    """
    avoided: dict[Ask, str] = {}
    suspects: set[Ask] = set()
    heard = False
    received, last = 0, Ended("OK")
    for _ in range(_STREAMS):
        book = _Book(wanted, avoided, received)
        yield Open(version)
        ended, unanswered = yield from _stream(book)
        if ended is None:
            return book.served(version)
        heard, received, last = heard or book.answers > 0, book.received, ended
        if not heard or ended.code in _REASONS or ended.reason == "too-large":
            break
        if book.just_refused is not None:
            avoided[book.just_refused] = book.refused[book.just_refused]
        elif unanswered[0] in suspects:
            avoided[unanswered[0]] = str(ended)
        else:
            suspects.add(unanswered[0])
    raise _Unheard(last.reason, str(last), last.hint)


def _stream(book: _Book) -> Generator[Send | Read, bytes | Ended | None, tuple[Ended | None, list[Ask]]]:
    """Ask and hear, until nothing is left to ask, or the stream has ended: how, and what had no answer yet."""
    waiting: deque[Ask] = deque()
    while True:
        asks = book.next_asks(_WINDOW - len(waiting), idle=not waiting)
        waiting.extend(asks)
        if asks:
            yield Send(tuple(map(ask_bytes, asks)))
        if not waiting:
            return None, []
        answer = yield Read()
        if isinstance(answer, Ended):
            return answer, list(waiting)
        book.take(waiting.popleft(), answer or b"")


# --- what came ----------------------------------------------------------------------------------------------------


class _Book:
    """What is known, what was asked, and what is still to ask, on one stream."""

    def __init__(self, wanted: Wanted, avoided: Mapping[Ask, str], received: int) -> None:
        self.answers = 0
        self.received = received
        """Bytes of all answers, of this stream and those before."""
        self.refused = dict(avoided)
        """Request → why it was not, or will not be, answered."""
        self.just_refused: Ask | None = None
        """The request that was answered last, if with an error."""
        self._wanted = wanted
        self._listed: tuple[str, ...] = ()
        self._unusable: dict[str, str] = {}
        self._received: list[File] = []
        self._files: set[str] = set()
        self._symbols: set[str] = set()
        self._digests: set[bytes] = set()
        self._size = self._parts = self._searched = 0
        self._asked: set[Ask] = set()
        self._queue: deque[Ask] = deque()
        self._ask("list_services", [""])
        self._ask("file_containing_symbol", (*(wanted.services or ()), *wanted.symbols))
        self._ask("file_by_filename", wanted.file_names)
        self._ask("all_extension_numbers_of_type", wanted.extensions_of)

    def _ask(self, kind: str, names: Iterable[str], number: int = 0) -> None:
        for name in names:
            ask = Ask(kind, name, number)
            if len(name) > _MAX_NAME:
                self.refused[ask] = f"is not asked for, since the name has {len(name)} characters"
            elif ask not in self._asked and ask not in self.refused:
                self._asked.add(ask)
                self._queue.append(ask)
        if len(self._asked) > _MAX_ASKED:
            raise _Unheard("too-large", f"more than {_MAX_ASKED} things would have to be asked for")

    def next_asks(self, count: int, *, idle: bool) -> list[Ask]:
        """At most so many requests, none for what has come meanwhile. `idle`: nothing else is under way."""
        asks: list[Ask] = []
        while len(asks) < count:
            if not self._queue and idle and not asks:
                self._ask_for_missing_types()
            if not self._queue:
                break
            ask = self._queue.popleft()
            known = self._files if ask.kind == "file_by_filename" else self._symbols
            if ask.name not in known or ask.kind not in ("file_by_filename", "file_containing_symbol"):
                asks.append(ask)
        return asks

    def _ask_for_missing_types(self) -> None:
        """Ask by symbol for what files refer to whose imports are not to be had: they may be under another path."""
        gone = {ask.name for ask in self.refused if ask.kind == "file_by_filename"} - self._files - BUNDLED.keys()
        for file in self._received[self._searched :]:
            if not gone.isdisjoint(file.dependency):
                self._ask("file_containing_symbol", (one for one, _ in references(file) if one not in self._symbols))
        self._searched = len(self._received)

    def take(self, ask: Ask, data: bytes) -> None:
        """Take in the answer to a request."""
        self.answers += 1
        self.received += len(data)
        if self.received > _MAX_RECEIVED:
            raise _Unheard("too-large", f"the answers are larger than {_MAX_RECEIVED} bytes together")
        answer = _parsed(data)
        kind = answer.WhichOneof("message")
        self.just_refused = ask if kind == "error_response" else None
        if kind == "error_response":
            self._take_error(ask, answer.error_response)
        elif (ask.kind, kind) == ("list_services", "list_services_response"):
            self._take_list([service.name for service in answer.list_services_response.service])
        elif ask.kind.startswith("file_") and kind == "file_descriptor_response":
            self._take_files(ask, answer.file_descriptor_response.file_descriptor_proto)
        elif (ask.kind, kind) == ("all_extension_numbers_of_type", "all_extension_numbers_response"):
            for number in answer.all_extension_numbers_response.extension_number:
                self._ask("file_containing_extension", [ask.name], number)
        else:
            self.refused[ask] = f"was answered with {kind or 'nothing'}"

    def _take_error(self, ask: Ask, error: Any) -> None:
        code = CODES[error.error_code] if 0 <= error.error_code < len(CODES) else str(error.error_code)
        ended = Ended(code, error.error_message)
        if ask.kind == "list_services" and code in _FATAL:
            raise _Unheard(ended.reason, str(ended))
        self.refused[ask] = one_line(str(ended), 300)
        outer = ask.name.rpartition(".")[0]
        if ask.kind == "file_containing_symbol" and outer and ask.name in self._wanted.symbols:
            self._ask("file_containing_symbol", [outer])  # some servers do not find methods by name, nor fields

    def _take_list(self, names: list[str]) -> None:
        if len(names) > MAX_FILES:
            raise _Unheard("too-large", f"more than {MAX_FILES} services are listed")
        good = {name for name in names if len(name) <= _MAX_NAME and _SERVICE_NAME.fullmatch(name)}
        self._unusable = {one_line(name, 200): "is no name of a service" for name in names if name not in good}
        self._listed = tuple(sorted(good))
        if self._wanted.services is None:
            self._ask("file_containing_symbol", self._listed)

    def _take_files(self, ask: Ask, answer: Iterable[bytes]) -> None:
        why = "was not in the answer"
        for data in answer:
            try:
                self._keep(data)
            except DescriptorError as error:
                why = str(error)
        known = self._files if ask.kind == "file_by_filename" else self._symbols
        if ask.name not in known and (ask.kind == "file_by_filename" or ask.name not in self._wanted.symbols):
            self.refused[ask] = why

    def _keep(self, data: bytes) -> None:
        """Take in a file, if it has not come already. Raises DescriptorError if it is broken."""
        digest = hashlib.sha256(data).digest()
        if digest in self._digests:
            return
        self._digests.add(digest)
        file, parts = _file(data, MAX_PARTS - self._parts)
        self._received.append(file)
        self._files.add(file.name)
        self._parts += parts
        self._size += file.ByteSize()
        if len(self._received) > MAX_FILES or self._size > MAX_BYTES:
            raise _Unheard("too-large", f"more than {MAX_FILES} files or {MAX_BYTES} bytes of descriptors")
        self._symbols.update(definitions(file))
        for service in file.service:
            outer = f"{file.package}.{service.name}".lstrip(".")
            self._symbols.update(f"{outer}.{method.name}" for method in service.method)
        self._ask("file_by_filename", file.dependency)

    def served(self, version: str) -> Served:
        """What has come in the end."""
        no_list = self.refused.get(Ask("list_services"))
        if no_list is not None and self._wanted.services is None:
            raise _Unheard("failed", f"no list of services: {no_list}")
        try:
            files = FileSet.of(self._received)
        except DescriptorError as error:
            raise _Unheard("too-large", str(error)) from None
        return Served(self._listed, files, MappingProxyType(self._failures(files)), version)

    def _failures(self, files: FileSet) -> dict[str, str]:
        missing, failures = files.missing(), dict(self._unusable)
        wanted = {*(self._listed if self._wanted.services is None else self._wanted.services), *self._wanted.symbols}
        for ask, why in self.refused.items():
            if ask.kind == "list_services":
                failures[EVERYTHING] = why
            elif ask.kind == "file_by_filename" and ask.name not in self._files and ask.name not in BUNDLED:
                importers = [shown(one)[1:-1] for one in missing.get(ask.name, ())[:3]]
                failures[ask.name] = f"{why} (imported by {', '.join(importers)})" if importers else why
            elif ask.kind == "file_containing_symbol" and ask.name in wanted and ask.name not in self._symbols:
                failures[ask.name] = why
            elif ask.kind == "file_containing_extension":
                failures[f"{ask.name} [{ask.number}]"] = why
            elif ask.kind == "all_extension_numbers_of_type":
                failures[ask.name] = why
        return failures


def _parsed(data: bytes) -> Any:
    """The answer in these bytes. Raises _Unheard."""
    kind = response_class()
    try:
        count_parts(data, kind.DESCRIPTOR)
        return kind.FromString(data)
    except TooManyParts as error:
        raise _Unheard("too-large", f"an answer has {error}") from None
    except (DecodeError, ValueError):
        raise _Unheard("malformed", f"an answer of {len(data)} bytes that cannot be read") from None


def _file(data: bytes, limit: int) -> tuple[File, int]:
    """The file in these bytes, and of how many parts it is. Raises DescriptorError, and _Unheard if it is too large."""
    try:
        file, parts = parsed_file(data, limit)
    except TooManyParts:
        raise _Unheard("too-large", f"the descriptors have more than {MAX_PARTS} parts") from None
    except (DecodeError, ValueError):
        raise DescriptorError("a file", f"of {len(data)} bytes cannot be read as a descriptor") from None
    if not file.name:
        raise DescriptorError("a file", "has no name")
    if file.syntax not in _SYNTAXES:
        raise DescriptorError(file.name, f"is a placeholder, of the syntax {shown(file.syntax)}")
    return file, parts
