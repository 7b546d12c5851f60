"""Descriptors as readable .proto sources, from which protoc makes the same descriptors again.

Nothing is left out silently: what .proto source has no words for, such as options of unknown extensions, becomes a
comment. Names that are no names come out in quotes, and no compiler takes them. The room writes text, no files.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from dataclasses import field as field_of
from typing import Any, Final

from google.protobuf import descriptor_pb2 as d
from google.protobuf.message import Message

from invora_grpc.schema.files import DescriptorError, File, FileSet, definitions
from invora_grpc.schema.options import Option, OptionReader, quoted, unknown_in
from invora_grpc.schema.pool import pooled
from invora_grpc.schema.words import (
    DOTTED,
    Lines,
    as_it_was,
    block,
    brackets,
    comment,
    dotted,
    joined,
    name_of,
    pseudo_options,
    range_of,
    trailed,
)

__all__ = ["Printer", "proto_text"]

Field = d.FieldDescriptorProto
Path = tuple[int, ...]

_SCALARS: Final = {
    getattr(Field, f"TYPE_{name.upper()}"): name
    for name in (
        *("double", "float", "int32", "int64", "uint32", "uint64", "fixed32", "fixed64", "sfixed32", "sfixed64"),
        *("sint32", "sint64", "bool", "string", "bytes"),
    )
}
_KEYWORDS: Final = frozenset(
    [
        *(*_SCALARS.values(), "message", "enum", "extend", "extensions", "reserved", "option", "oneof", "group", "map"),
        *("optional", "required", "repeated", "stream", "export", "local"),
    ]
)
"""Words that a parser takes for something else where a type's name stands."""
_LABELS: Final = {
    Field.LABEL_OPTIONAL: "optional ",
    Field.LABEL_REQUIRED: "required ",
    Field.LABEL_REPEATED: "repeated ",
}
_VISIBILITY: Final = {0: "", 1: "local ", 2: "export "}
_END: Final = 536_870_912
"""One more than the largest number of a field; of a message set, that of an int32."""


def proto_text(file: File, files: FileSet | None = None) -> str:
    """The source of a file. `files` are those that it came with: they know its options, and which names are taken.

    Raises DescriptorError for names that are no UTF-8.
    """
    return Printer(files).text(file)


class Printer:
    """Writes sources of the files of one set."""

    def __init__(self, files: FileSet | None = None) -> None:
        self._options = OptionReader(None if files is None else pooled(files).pool)
        self._taken: set[str] | None = None
        if files is not None:
            self._taken = {name for file in files.files.values() for name in definitions(file)}
            self._taken.update(prefix for file in files.files.values() for prefix in _prefixes(file.package))

    def text(self, file: File) -> str:
        """The source of a file. Raises DescriptorError for names that are no UTF-8."""
        if not _is_text(file):
            raise DescriptorError(file.name if isinstance(file.name, str) else "file", "has names that are no UTF-8")
        return "\n".join(_Source(file, self._options, self._taken).lines()) + "\n"


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a file or a message declares."""

    name: str
    """Full name: the package, or that of the message."""
    path: Path
    """As comments name the place."""
    tags: tuple[int, int, int]
    """The numbers of the next three lists."""
    nested: Sequence[d.DescriptorProto]
    enums: Sequence[d.EnumDescriptorProto]
    extensions: Sequence[Field]
    fields: Sequence[Field] = ()
    oneofs: Sequence[d.OneofDescriptorProto] = ()

    _types: dict[str, int] = field_of(init=False)
    """Name of each nested type, as fields refer to it → its index."""
    members: dict[int, list[int]] = field_of(init=False)
    """Index of each oneof → those of its fields."""

    def __post_init__(self) -> None:
        prefix = f".{self.name}." if self.name else "."
        object.__setattr__(self, "_types", {prefix + one.name: index for index, one in enumerate(self.nested)})
        members: dict[int, list[int]] = {}
        for index, one in enumerate(self.fields):
            if one.HasField("oneof_index"):
                members.setdefault(one.oneof_index, []).append(index)
        object.__setattr__(self, "members", members)

    def made(self, field: Field) -> int | None:
        """The index of the type that the declaration of a map or group makes along with the field."""
        index = self._types.get(field.type_name)
        if index is None:
            return None
        made = self.nested[index]
        return index if _is_map(field, made) or _is_group(field, made) else None

    def is_synthetic(self, field: Field) -> bool:
        """Whether the field's oneof is only how proto3 spells `optional`."""
        return field.proto3_optional and len(self.members[field.oneof_index]) == 1


@dataclass(frozen=True, slots=True)
class _Piece:
    """Lines that belong together."""

    lines: Lines
    makes: frozenset[int] = frozenset()
    """Indexes of the nested types that they make along the way."""


class _Source:
    """One file being written."""

    def __init__(self, file: File, options: OptionReader, taken: set[str] | None) -> None:
        self._file = file
        self._reader = options
        self._taken = taken
        self._own = set(_symbols(file))
        self._syntax = file.syntax or "proto2"
        self._comments = {tuple(place.path): place for place in file.source_code_info.location}

    def lines(self) -> Lines:
        file = self._file
        head = [self._commented((14 if file.syntax == "editions" else 12,), [self._syntax_line()])]
        if file.package:
            head.append(self._commented((2,), [f"package {dotted(file.package)};"]))
        imports = [line for index in range(len(file.dependency)) for line in self._import(index)]
        imports += [f"import option {quoted(name)};" for name in file.option_dependency]
        options = self._statements(file.options, (8,), file.package)
        notes = [f"// field {text}" for text in unknown_in(file)]
        services = [self._service(one, (6, index)) for index, one in enumerate(file.service)]
        scope = _Scope(file.package, (), (4, 5, 7), file.message_type, file.enum_type, file.extension)
        return joined([*head, imports, [*notes, *options], *services, *self._declared(scope)], apart=True)

    def _syntax_line(self) -> str:
        if self._syntax != "editions":
            return f"syntax = {quoted(self._syntax)};"
        known = d.Edition.DESCRIPTOR.values_by_number.get(self._file.edition)
        return f"edition = {quoted(known.name.removeprefix('EDITION_') if known else str(self._file.edition))};"

    def _import(self, index: int) -> Lines:
        kind = "public " if index in self._file.public_dependency else ""
        kind = "weak " if index in self._file.weak_dependency else kind
        return self._commented((3, index), [f"import {kind}{quoted(self._file.dependency[index])};"])

    # --- messages ---------------------------------------------------------------------------------------------------

    def _message(self, message: d.DescriptorProto, outer: str, path: Path) -> Lines:
        head = f"{_VISIBILITY.get(message.visibility, '')}message {name_of(message.name)}"
        return self._commented(path, block(head, self._content(message, outer, path)))

    def _content(self, message: d.DescriptorProto, outer: str, path: Path) -> Lines:
        """What stands between the braces of a message or group."""
        name = _join(outer, message.name)
        scope = _Scope(
            *(name, path, (3, 4, 6), message.nested_type, message.enum_type, message.extension),
            fields=message.field,
            oneofs=message.oneof_decl,
        )
        end = 2**31 - 1 if message.options.message_set_wire_format else _END
        ranges = [line for part in message.extension_range for line in self._extension_range(part, name, end)]
        reserved = self._reserved(((one.start, one.end - 1) for one in message.reserved_range), message, end - 1)
        notes = [f"// field {text}" for text in unknown_in(message)]
        options = self._statements(message.options, (*path, 7), name)
        return joined([[*notes, *options], [*ranges, *reserved], *self._declared(scope)])

    def _declared(self, scope: _Scope) -> list[Lines]:
        """Fields, types and extensions, such that the compiler's lists get their order back.

        A map or a group makes a type where its field stands, so that the types before it have to stand before it.
        """
        fields, extensions = deque(self._fields(scope)), deque(self._extends(scope))
        sources = {index: queue for queue in (fields, extensions) for piece in queue for index in piece.makes}
        items: list[Lines] = []
        waiting: list[Lines] = []
        written: set[int] = set()
        for index, message in enumerate(scope.nested):
            if (source := sources.get(index)) is None:
                waiting.append(self._message(message, scope.name, (*scope.path, scope.tags[0], index)))
                continue
            while index not in written:
                items, waiting = items + waiting, []
                piece = source.popleft()
                items.append(piece.lines)
                written |= piece.makes
        enums = [self._enum(one, scope, index) for index, one in enumerate(scope.enums)]
        return [*items, *(one.lines for one in fields), *enums, *waiting, *(one.lines for one in extensions)]

    def _fields(self, scope: _Scope) -> Iterator[_Piece]:
        """A piece for each field, and for each oneof where its first field stands."""
        done: set[int] = set()
        for index, field in enumerate(scope.fields):
            if not field.HasField("oneof_index") or scope.is_synthetic(field):
                yield self._field(field, scope, (*scope.path, 2, index))
            elif field.oneof_index not in done:
                done.add(field.oneof_index)
                yield self._oneof(field.oneof_index, scope)
        for index in range(len(scope.oneofs)):
            if index not in scope.members:
                yield _Piece([f"// oneof {name_of(scope.oneofs[index].name)} has no fields"])

    def _oneof(self, index: int, scope: _Scope) -> _Piece:
        members = [
            self._field(scope.fields[at], scope, (*scope.path, 2, at), labelled=False) for at in scope.members[index]
        ]
        path = (*scope.path, 8, index)
        if not 0 <= index < len(scope.oneofs):
            head, content = f"oneof {quoted(str(index))}", []
        else:
            oneof = scope.oneofs[index]
            notes = [f"// field {text}" for text in unknown_in(oneof)]
            head, content = (
                f"oneof {name_of(oneof.name)}",
                notes + self._statements(oneof.options, (*path, 2), scope.name),
            )
        lines = block(head, joined([content, *(one.lines for one in members)]))
        return _Piece(self._commented(path, lines), frozenset().union(*(one.makes for one in members)))

    def _extends(self, scope: _Scope) -> Iterator[_Piece]:
        """A piece for each run of extensions of one message; groups have one of their own."""
        run: list[_Piece] = []
        for index, field in enumerate(scope.extensions):
            piece = self._field(field, scope, (*scope.path, scope.tags[2], index))
            before = scope.extensions[index - 1] if run else field
            if run and (before.extendee != field.extendee or piece.makes or run[0].makes):
                yield self._extend(before, scope, run)
                run = []
            run.append(piece)
        if run:
            yield self._extend(scope.extensions[-1], scope, run)

    def _extend(self, field: Field, scope: _Scope, run: list[_Piece]) -> _Piece:
        head = f"extend {self._reference(field.extendee, scope.name)}"
        return _Piece(block(head, joined([one.lines for one in run])), run[0].makes)

    def _extension_range(self, part: d.DescriptorProto.ExtensionRange, scope: str, end: int) -> Lines:
        options, notes = self._read(part.options, scope)
        notes += [f"field {text}" for text in unknown_in(part)]
        numbers = range_of(part.start, part.end - 1, end - 1)
        return [*comment(notes), f"extensions {numbers}{brackets(one.inline for one in options)};"]

    def _reserved(self, ranges: Iterable[tuple[int, int]], owner: Any, largest: int) -> Lines:
        numbers = ", ".join(range_of(first, last, largest) for first, last in ranges)
        names = ", ".join(name_of(one) if self._syntax == "editions" else quoted(one) for one in owner.reserved_name)
        return [f"reserved {one};" for one in (numbers, names) if one]

    # --- fields -----------------------------------------------------------------------------------------------------

    def _field(self, field: Field, scope: _Scope, path: Path, *, labelled: bool = True) -> _Piece:
        options, notes = self._read(field.options, scope.name)
        notes += [f"field {text}" for text in unknown_in(field)]
        settings = brackets([*pseudo_options(field), *(one.inline for one in options)])
        label = self._label(field) if labelled else ""
        assigned = f"= {field.number}{settings}"
        if (made := scope.made(field)) is None:
            lines = [f"{label}{self._type(field, scope.name)} {name_of(field.name)} {assigned};"]
        elif field.type == Field.TYPE_GROUP:
            content = self._content(scope.nested[made], scope.name, (*scope.path, scope.tags[0], made))
            lines = block(f"{label}group {name_of(scope.nested[made].name)} {assigned}", content)
        else:
            key, value = (self._type(one, scope.name) for one in scope.nested[made].field)
            lines = [f"map<{key}, {value}> {name_of(field.name)} {assigned};"]
        makes = frozenset() if made is None else frozenset([made])
        return _Piece(self._commented(path, [*comment(notes), *lines]), makes)

    def _label(self, field: Field) -> str:
        if self._syntax == "proto2" or field.proto3_optional or field.label != Field.LABEL_OPTIONAL:
            return _LABELS.get(field.label, "optional ")
        return ""

    def _type(self, field: Field, scope: str) -> str:
        if field.type in _SCALARS and not field.type_name:
            return _SCALARS[field.type]
        group = "group " if field.type == Field.TYPE_GROUP else ""
        return group + self._reference(field.type_name, scope)

    def _reference(self, name: str, scope: str) -> str:
        """A type's name as short as it can be without naming something else, seen from a scope."""
        if not name.startswith(".") or not DOTTED.fullmatch(name):
            return dotted(name)
        full, package = name[1:], self._file.package
        inside = not package or full.startswith(f"{package}.")
        short, places = full, []  # and where, from the scope outwards, the compiler looks in vain for its first word
        for place in _prefixes(scope):
            if inside and len(place) >= len(package) and full.startswith(f"{place}."):
                short = full[len(place) + 1 :]
                break
            places.append(place)
        first = short.partition(".")[0]
        if first in _KEYWORDS or (self._taken is None and not inside):
            return name
        others = self._taken if self._taken is not None and not inside else frozenset()
        shadowed = any((one := f"{place}.{first}") in self._own or one in others for place in places)
        return name if shadowed else short

    # --- enums, services --------------------------------------------------------------------------------------------

    def _enum(self, enum: d.EnumDescriptorProto, scope: _Scope, index: int) -> Lines:
        path = (*scope.path, scope.tags[1], index)
        notes = [f"// field {text}" for text in unknown_in(enum)]
        options = self._statements(enum.options, (*path, 3), scope.name)
        values = [line for at, one in enumerate(enum.value) for line in self._enum_value(one, scope, (*path, 2, at))]
        reserved = self._reserved(((one.start, one.end) for one in enum.reserved_range), enum, 2**31 - 1)
        head = f"{_VISIBILITY.get(enum.visibility, '')}enum {name_of(enum.name)}"
        return self._commented(path, block(head, [*notes, *options, *reserved, *values]))

    def _enum_value(self, value: d.EnumValueDescriptorProto, scope: _Scope, path: Path) -> Lines:
        options, notes = self._read(value.options, scope.name)
        notes += [f"field {text}" for text in unknown_in(value)]
        line = f"{name_of(value.name)} = {value.number}{brackets(one.inline for one in options)};"
        return self._commented(path, [*comment(notes), line])

    def _service(self, service: d.ServiceDescriptorProto, path: Path) -> Lines:
        name = _join(self._file.package, service.name)
        notes = [f"// field {text}" for text in unknown_in(service)]
        options = self._statements(service.options, (*path, 3), name)
        methods = [self._method(one, name, (*path, 2, index)) for index, one in enumerate(service.method)]
        return self._commented(path, block(f"service {name_of(service.name)}", joined([notes + options, *methods])))

    def _method(self, method: d.MethodDescriptorProto, scope: str, path: Path) -> Lines:
        request = ("stream " if method.client_streaming else "") + self._reference(method.input_type, scope)
        response = ("stream " if method.server_streaming else "") + self._reference(method.output_type, scope)
        head = f"rpc {name_of(method.name)}({request}) returns ({response})"
        notes = [f"// field {text}" for text in unknown_in(method)]
        content = notes + self._statements(method.options, (*path, 4), scope)
        return self._commented(path, block(head, content) if content else [f"{head};"])

    # --- options, comments ------------------------------------------------------------------------------------------

    def _read(self, options: Message, scope: str) -> tuple[list[Option], Lines]:
        return self._reader.read(options, lambda name: self._reference(f".{name}", scope))

    def _statements(self, options: Message, path: Path, scope: str) -> Lines:
        found, notes = self._read(options, scope)
        settings = [line for one in found for line in self._commented((*path, one.number), one.statement)]
        return comment(notes) + settings

    def _commented(self, path: Path, lines: Lines) -> Lines:
        """Lines with the comments that the source had at a place."""
        place = self._comments.get(path)
        if place is None:
            return lines
        detached = [line for text in place.leading_detached_comments for line in [*as_it_was(text), ""]]
        return [*detached, *as_it_was(place.leading_comments), *trailed(lines, as_it_was(place.trailing_comments))]


# --- shapes and names -----------------------------------------------------------------------------------------------


def _is_group(field: Field, made: d.DescriptorProto) -> bool:
    return field.type == Field.TYPE_GROUP and made.name.lower() == field.name and not made.options.map_entry


def _is_map(field: Field, made: d.DescriptorProto) -> bool:
    """Whether `map<…>` makes just this type of this field."""
    if field.type != Field.TYPE_MESSAGE or field.label != Field.LABEL_REPEATED or field.extendee:
        return False
    if made.name != re.sub("(?:^|_)_*([a-z]?)", lambda match: match[1].upper(), field.name) + "Entry":
        return False
    bare = d.DescriptorProto(name=made.name, options=d.MessageOptions(map_entry=True))
    for name, number, one in zip(("key", "value"), (1, 2), made.field, strict=False):
        bare.field.add(name=name, number=number, label=Field.LABEL_OPTIONAL, type=one.type)
        if one.type_name:
            bare.field[-1].type_name = one.type_name
        if one.HasField("json_name"):
            bare.field[-1].json_name = name
        if field.options.HasField("features") and one.options.HasField("features"):
            bare.field[-1].options.features.CopyFrom(one.options.features)
    return len(bare.field) == 2 and bare == made


def _symbols(file: File) -> Iterator[str]:
    """All names that a file defines, of whatever kind."""
    scopes: deque[tuple[str, Any, Any]] = deque([(file.package, file.message_type, file)])
    for service in file.service:
        name = _join(file.package, service.name)
        yield name
        yield from (_join(name, method.name) for method in service.method)
    while scopes:
        scope, messages, owner = scopes.popleft()
        fields = [] if owner is file else [*owner.field, *owner.oneof_decl]
        values = [value for enum in owner.enum_type for value in enum.value]
        yield from (_join(scope, one.name) for one in [*fields, *values, *owner.enum_type, *owner.extension, *messages])
        scopes.extend((_join(scope, one.name), one.nested_type, one) for one in messages)


def _prefixes(name: str) -> Iterator[str]:
    """a.b.c → a.b.c, a.b, a."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _is_text(message: Message) -> bool:
    """Whether all strings are text: those of a message that came from elsewhere need not be UTF-8."""
    for field, value in message.ListFields():
        several = value if field.is_repeated else [value]
        if field.cpp_type == field.CPPTYPE_STRING and field.type == field.TYPE_STRING:
            if not all(isinstance(one, str) for one in several):
                return False
        elif field.message_type is not None and not all(_is_text(one) for one in several):
            return False
    return True


def _join(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name
