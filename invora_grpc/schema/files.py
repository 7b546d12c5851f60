"""Files of descriptors: read, bounded, and brought into an order in which each comes after what it imports.

They come from gateways and from disk, so nothing about them is believed: files that are missing, sent twice, in
conflict or import each other in a circle become problems that are told, and the others stay usable. Nothing here enters
a descriptor pool; that is `pool`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError

from invora_grpc.errors import SchemaError, one_line, shown
from invora_grpc.schema.bounds import MAX_PARTS, TooManyParts, count_parts, fields, without_source

__all__ = [
    "MAX_BYTES",
    "MAX_FILES",
    "DescriptorError",
    "FileSet",
    "definitions",
    "ordered",
    "parsed_file",
    "references",
]

MAX_FILES: Final = 2000
"""Files that one set may have: a schema as large as all of Invora's has under 200."""
MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of all files of a set together."""

_VARINT: Final = 0
_GROUPS: Final = (3, 4)

File = descriptor_pb2.FileDescriptorProto


class DescriptorError(SchemaError):
    """Descriptors cannot be used: unreadable, too many, in conflict, or in a circle. Nothing was sent with them."""

    subject: str
    """The file, symbol or source that the problem is with."""
    problem: str
    """What is wrong with it."""

    def __init__(self, subject: str, problem: str, hint: str = "") -> None:
        super().__init__(one_line(f"{subject}: {problem}" + (f"; {hint}" if hint else "")))
        self.subject, self.problem = one_line(subject), one_line(problem)


@dataclass(frozen=True, slots=True, eq=False)
class FileSet:
    """Descriptor files by name, each after what it imports, and what is wrong with those that cannot be used."""

    files: Mapping[str, File]
    """All that were given and are in order, dependencies first."""
    problems: Mapping[str, str]
    """File name → why it cannot be used. Such a file may be in `files` or not."""

    @classmethod
    def of(cls, files: Iterable[File], *, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES) -> FileSet:
        """The set of these files. Raises DescriptorError if they are more, or larger, than they may be.

        A file that comes twice with the same content counts once; with other content, it is a problem, since nobody
        can say which of the two is meant.
        """
        known: dict[str, File] = {}
        problems: dict[str, str] = {}
        size = 0
        for file in files:
            earlier = known.get(file.name)
            if earlier is None:
                size += file.ByteSize()
                known[file.name] = file
            elif earlier != file:
                problems[file.name] = "came twice, with different content"
            if len(known) > max_files:
                raise DescriptorError("descriptors", f"are more than {max_files} files")
            if size > max_bytes:
                raise DescriptorError("descriptors", f"are larger than {max_bytes} bytes")
        order = ordered(known, problems)
        return cls(MappingProxyType(order), MappingProxyType(problems))

    @classmethod
    def parse(cls, data: bytes, source: str = "descriptors") -> FileSet:
        """The set in the bytes of a FileDescriptorSet or of a buf image, also gzipped, without comments.

        Raises DescriptorError.
        """
        whole = _unzipped(data, source)
        files: list[File] = []
        left = MAX_PARTS
        try:
            for number, kind, start, end in fields(whole):
                if kind in _GROUPS or (number, kind) == (1, _VARINT):
                    raise ValueError("no FileDescriptorSet has that")
                if number == 1:
                    file, parts = parsed_file(whole[start:end], left)
                    files.append(file)
                    left -= parts
        except TooManyParts:
            raise DescriptorError(source, f"has descriptors of more than {MAX_PARTS} parts") from None
        except (DecodeError, ValueError):
            raise DescriptorError(source, "is no FileDescriptorSet and no buf image") from None
        if not files:
            raise DescriptorError(source, "holds no descriptors")
        return cls.of(files)

    @classmethod
    def read(cls, path: str | Path) -> FileSet:
        """As `parse`, from a file. Raises DescriptorError, also if it cannot be read."""
        return cls.parse(content_of(path), str(path))

    def to_bytes(self) -> bytes:
        """The set as a serialized FileDescriptorSet, the same bytes for the same files."""
        return descriptor_pb2.FileDescriptorSet(file=self.files.values()).SerializeToString(deterministic=True)

    def closure(self, names: Iterable[str]) -> FileSet:
        """The set of these files and of all that they import, directly or not."""
        wanted: set[str] = set()
        waiting = deque(names)
        while waiting:
            name = waiting.popleft()
            if name not in wanted and name in self.files:
                wanted.add(name)
                waiting.extend(self.files[name].dependency)
        kept = {name: file for name, file in self.files.items() if name in wanted}
        problems = {name: text for name, text in self.problems.items() if name in wanted}
        return FileSet(MappingProxyType(kept), MappingProxyType(problems))

    def digest(self) -> str:
        """SHA-256, in hex, over names and contents: equal for equal files in any order."""
        whole = hashlib.sha256()
        for name in sorted(self.files):
            content = self.files[name].SerializeToString(deterministic=True)
            whole.update(hashlib.sha256(content).digest())
        return whole.hexdigest()

    def missing(self) -> Mapping[str, tuple[str, ...]]:
        """Imported file that is not here → the files that import it."""
        found: dict[str, list[str]] = {}
        for name, file in self.files.items():
            for imported in file.dependency:
                if imported not in self.files:
                    found.setdefault(imported, []).append(name)
        return MappingProxyType({name: tuple(importers) for name, importers in found.items()})


def parsed_file(data: bytes, limit: int = MAX_PARTS) -> tuple[File, int]:
    """The file in these bytes, without its comments, and of how many parts it is.

    Raises TooManyParts if they are more than `limit`, DecodeError or ValueError if it is none.
    """
    parts = count_parts(data, File.DESCRIPTOR, limit)
    file = File.FromString(without_source(data))
    if not file.IsInitialized():  # in options that no compiler leaves behind; protobuf would not serialize it
        raise DecodeError("required fields are missing")
    return file, parts


def content_of(path: str | Path) -> bytes:
    """The bytes of a descriptor file, unzipped. Raises DescriptorError if it cannot be read, or is too large."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(4 * MAX_BYTES + 1)
    except OSError as error:
        raise DescriptorError(str(path), f"cannot be read: {error.strerror or error}") from None
    return _unzipped(data, str(path))


def _unzipped(data: bytes, source: str) -> bytes:
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                data = file.read(4 * MAX_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DescriptorError(source, f"is no readable gzip: {error}") from None
    if len(data) > 4 * MAX_BYTES:
        raise DescriptorError(source, f"is larger than {4 * MAX_BYTES} bytes")
    return data


def ordered(files: Mapping[str, File], problems: dict[str, str]) -> dict[str, File]:
    """The files, dependencies first, else as they came; those in circles, or above one, at the end, as problems."""
    waiting = {name: sum(1 for one in set(file.dependency) if one in files) for name, file in files.items()}
    importers: dict[str, list[str]] = {}
    for name, file in files.items():
        for one in set(file.dependency):
            importers.setdefault(one, []).append(name)
    ready = deque(name for name, count in waiting.items() if count == 0)
    order: dict[str, File] = {}
    while ready:
        name = ready.popleft()
        order[name] = files[name]
        for importer in importers.get(name, ()):
            waiting[importer] -= 1
            if waiting[importer] == 0:
                ready.append(importer)
    for name, text in _circles({name: file for name, file in files.items() if name not in order}).items():
        problems.setdefault(name, text)
    order.update((name, file) for name, file in files.items() if name not in order)
    return order


def _circles(files: Mapping[str, File]) -> dict[str, str]:
    """What is wrong with files each of which imports another one of them."""
    onward = {name: next(one for one in file.dependency if one in files) for name, file in files.items()}
    found: dict[str, str] = {}
    for start in onward:
        path: dict[str, None] = {}
        name = start
        while name not in path and name not in found:
            path[name] = None
            name = onward[name]
        names = list(path)
        circle = names[names.index(name) :] if name in path else []
        for at, one in enumerate(circle):
            found[one] = f"imports itself: {_told(circle, at)}"
        for one in names[: len(names) - len(circle)]:
            found[one] = f"imports {_shown(onward[one])}, which cannot be used, since there are imports in a circle"
    return found


def _told(circle: list[str], at: int) -> str:
    """The way around a circle from one place in it, shortened to twelve names."""
    size = len(circle)
    steps = range(at, at + size + 1)
    names = [circle[step % size] for step in (steps if size < 12 else [*steps[:6], *steps[-5:]])]
    return " → ".join(map(_shown, names if size < 12 else [*names[:6], "…", *names[6:]]))


def _shown(name: str) -> str:
    return shown(name)[1:-1]


# --- symbols ------------------------------------------------------------------------------------------------------


def definitions(file: File) -> Iterator[str]:
    """The full names of all messages, enums and services that a file defines, nested ones too."""
    prefix = f"{file.package}." if file.package else ""
    waiting = deque((prefix, message) for message in file.message_type)
    for enum in file.enum_type:
        yield prefix + enum.name
    for service in file.service:
        yield prefix + service.name
    while waiting:
        outer, message = waiting.popleft()
        name = outer + message.name
        yield name
        for enum in message.enum_type:
            yield f"{name}.{enum.name}"
        waiting.extend((f"{name}.", inner) for inner in message.nested_type)


def references(file: File) -> Iterator[tuple[str, bool]]:
    """Each type that a file refers to, by its full name, and whether it is an enum. Relative names are left out."""
    waiting = deque(file.message_type)
    fields = deque(file.extension)
    while waiting:
        message = waiting.popleft()
        waiting.extend(message.nested_type)
        fields.extend(message.field)
        fields.extend(message.extension)
    for field in fields:
        if field.type_name.startswith("."):
            yield field.type_name[1:], field.type == field.TYPE_ENUM
        if field.extendee.startswith("."):
            yield field.extendee[1:], False
    for service in file.service:
        for method in service.method:
            for name in (method.input_type, method.output_type):
                if name.startswith("."):
                    yield name[1:], False


# --- JSON names -----------------------------------------------------------------------------------------------------


def camel_case(name: str) -> str:
    """protoc's default JSON name: underscores go, and the letter after each is raised."""
    first, *others = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others)


def fields_of(part: File | descriptor_pb2.DescriptorProto) -> Iterator[descriptor_pb2.FieldDescriptorProto]:
    """All fields and extensions in a file or message."""
    yield from part.extension
    if isinstance(part, descriptor_pb2.DescriptorProto):
        yield from part.field
    for message in part.message_type if isinstance(part, File) else part.nested_type:
        yield from fields_of(message)


def with_json_names(file: File) -> File:
    """The file with the JSON name of every field, also where it follows from the field's own."""
    full = File()
    full.CopyFrom(file)
    for field in fields_of(full):
        if not field.HasField("json_name"):
            field.json_name = camel_case(field.name)
    return full
