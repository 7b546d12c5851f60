"""One version of a schema as flat facts, by full name: what `changes` compares.

Everything that a language feature or a syntax decides (presence, packing, open enums) is resolved here, so that the
same meaning gives the same facts in proto2, proto3 and every edition. Read from descriptors as they are; nothing enters
a descriptor pool, so that two versions of the same file never meet, and nothing here compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from google.protobuf import descriptor_pb2

from invora_grpc.codegen.changes_options import Features, features_of, inherited, options_of
from invora_grpc.codegen.changes_ranges import Reserved, reserved
from invora_grpc.schema.annotations import SCOPE_EXTENSION, http_rule, scope

__all__ = ["Enum", "Field", "File", "Message", "Oneof", "Rpc", "Service", "Side", "Value"]

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final[Mapping[int, str]] = {
    number: name.removeprefix("TYPE_").lower() for name, number in _Field.Type.items()
}
_NAMED: Final = (_Field.TYPE_MESSAGE, _Field.TYPE_ENUM, _Field.TYPE_GROUP)
_HTTP_EXTENSION: Final = 72295728
_MESSAGES, _ENUMS, _SERVICES, _EXTENSIONS = 4, 5, 6, 7  # steps of a comment's path, from a file
_FIELDS, _NESTED, _NESTED_ENUMS, _NESTED_EXTENSIONS, _ONEOFS, _VALUES, _RPCS = 2, 3, 4, 6, 8, 2, 2  # and onward

Comments = Mapping[tuple[int, ...], str]
Options = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Field:
    """A field, or an extension."""

    full: str
    file: str
    name: str
    number: int
    type: str
    """A scalar's name, "message", "enum", or "map"."""
    refers: str
    """Full name of the message or enum; of a map, of its values. "" for scalars."""
    key: str
    """Scalar type of a map's keys, "" for others."""
    value: str
    """Type of a map's values, as `type` says it."""
    cardinality: str
    """required, repeated, "optional" (tells unset from zero), or "implicit" (does not)."""
    oneof: str
    """Name of its oneof, "" for none; that of proto3's `optional` is none."""
    json: str | None
    """Name in JSON; None where the descriptor does not say it, as in generated code."""
    default: str
    delimited: bool
    """Whether a message is encoded as a group."""
    packed: bool
    utf8: bool
    """Whether a string has to be valid UTF-8."""
    extends: str
    """Full name of the message that an extension extends."""
    deprecated: bool
    comment: str | None
    """None where the file has no comments at all, as in generated code."""
    options: Options

    @property
    def shape(self) -> str:
        """Type and cardinality as a .proto file has them."""
        label = {"implicit": "", "optional": ""}.get(self.cardinality, f"{self.cardinality} ")
        return f"{label if self.type != 'map' else ''}{self.words}"

    @property
    def words(self) -> str:
        """Its type alone."""
        if self.type == "map":
            return f"map<{self.key}, {self.refers or self.value}>"
        return self.refers or self.type


@dataclass(frozen=True, slots=True)
class Oneof:
    """A oneof that somebody wrote."""

    full: str
    name: str
    members: tuple[str, ...]
    comment: str | None


@dataclass(frozen=True, slots=True)
class Message:
    full: str
    file: str
    fields: Mapping[str, Field]
    oneofs: Mapping[str, Oneof]
    reserved: Reserved
    extendable: Reserved
    """Numbers that extensions may have."""
    message_set: bool
    json: str
    """How sure it is that messages can be written as JSON."""
    deprecated: bool
    comment: str | None
    options: Options


@dataclass(frozen=True, slots=True)
class Value:
    """A value of an enum. Its full name is below its enum here."""

    full: str
    name: str
    number: int
    deprecated: bool
    comment: str | None
    options: Options


@dataclass(frozen=True, slots=True)
class Enum:
    full: str
    file: str
    values: Mapping[str, Value]
    reserved: Reserved
    closed: bool
    json: str
    deprecated: bool
    comment: str | None
    options: Options


@dataclass(frozen=True, slots=True)
class Rpc:
    full: str
    """package.Service/Method."""
    name: str
    request: str
    response: str
    streaming: str
    """unary, client streaming, server streaming or bidirectional streaming."""
    http: tuple[str, ...]
    """The words of its google.api.http rule, as `annotations.http_rule` gives them."""
    scope: str
    idempotency: str
    deprecated: bool
    comment: str | None
    options: Options


@dataclass(frozen=True, slots=True)
class Service:
    full: str
    file: str
    rpcs: Mapping[str, Rpc]
    deprecated: bool
    comment: str | None
    options: Options


@dataclass(frozen=True, slots=True)
class File:
    name: str
    package: str
    syntax: str
    imports: frozenset[str]
    public: frozenset[str]
    deprecated: bool
    options: Options
    content: bytes
    """All of it except comments and JSON names."""


@dataclass(frozen=True)
class Side:
    """All of one version."""

    files: dict[str, File] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)
    enums: dict[str, Enum] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    extensions: dict[str, Field] = field(default_factory=dict)
    entries: dict[str, str] = field(default_factory=dict)
    """Full name of the message that a map's entries are → full name of the field."""

    @classmethod
    def of(cls, files: Iterable[descriptor_pb2.FileDescriptorProto]) -> Side:
        """The facts of these files."""
        side = cls()
        for file in files:
            _Reader(file, side).read()
        return side

    @cached_property
    def rpcs(self) -> Mapping[str, Rpc]:
        """All RPCs, by "package.Service/Method"."""
        return {rpc.full: rpc for service in self.services.values() for rpc in service.rpcs.values()}

    def default(self, one: Field) -> object:
        """What a field reads as that is not set. An enum's value is told by its number."""
        if one.type == "enum" and one.refers in self.enums:
            values = self.enums[one.refers].values
            first = next(iter(values.values()), None)
            found = values.get(one.default, None if one.default else first)
            return one.default if found is None else found.number
        if one.type in ("string", "bytes") or one.default:
            return one.default
        return "false" if one.type == "bool" else "0"

    def users(self, type_name: str) -> tuple[str, ...]:
        """The RPCs in whose request or response a message or enum can travel, sorted."""
        seen, waiting = {type_name}, [type_name]
        while waiting:
            for holder in self._holders.get(waiting.pop(), ()):
                if holder not in seen:
                    seen.add(holder)
                    waiting.append(holder)
        return tuple(sorted({rpc for one in seen for rpc in self._carriers.get(one, ())}))

    @cached_property
    def _holders(self) -> Mapping[str, list[str]]:
        """Type → the messages that have a field of it."""
        found: dict[str, list[str]] = {}
        for message in self.messages.values():
            for one in message.fields.values():
                if one.refers:
                    found.setdefault(one.refers, []).append(message.full)
        for one in self.extensions.values():
            if one.refers:
                found.setdefault(one.refers, []).append(one.extends)
        return found

    @cached_property
    def _carriers(self) -> Mapping[str, list[str]]:
        """Message → the RPCs that take or give it."""
        found: dict[str, list[str]] = {}
        for rpc in self.rpcs.values():
            for name in {rpc.request, rpc.response}:
                found.setdefault(name, []).append(rpc.full)
        return found


class _Reader:
    """Reads one file into a side."""

    def __init__(self, file: descriptor_pb2.FileDescriptorProto, side: Side) -> None:
        self._file, self._side = file, side
        said = {tuple(at.path): _comment(at) for at in file.source_code_info.location}
        self._comments: Comments | None = said if file.HasField("source_code_info") else None
        self._prefix = f"{file.package}." if file.package else ""

    def read(self) -> None:
        file = self._file
        features = features_of(file)
        bare = descriptor_pb2.FileDescriptorProto()
        bare.CopyFrom(file)
        bare.ClearField("source_code_info")
        _forget_json_names(bare.message_type)
        _forget_json_names(bare.extension)
        self._side.files[file.name] = File(
            file.name,
            file.package,
            _syntax(file),
            frozenset(file.dependency),
            frozenset(file.dependency[index] for index in file.public_dependency),
            file.options.deprecated,
            options_of(file.options),
            bare.SerializeToString(deterministic=True),
        )
        self._messages(file.message_type, self._prefix, (_MESSAGES,), features)
        self._enums(file.enum_type, self._prefix, (_ENUMS,), features)
        self._extensions(file.extension, self._prefix, (_EXTENSIONS,), features)
        for index, service in enumerate(file.service):
            self._service(service, (_SERVICES, index))

    def _said(self, path: tuple[int, ...]) -> str | None:
        return None if self._comments is None else self._comments.get(path, "")

    def _messages(self, messages: Any, prefix: str, at: tuple[int, ...], outer: Features) -> None:
        for index, message in enumerate(messages):
            if not message.options.map_entry:
                self._message(message, prefix + message.name, (*at, index), inherited(outer, message.options))

    def _message(
        self, message: descriptor_pb2.DescriptorProto, full: str, path: tuple[int, ...], features: Features
    ) -> None:
        entries = {f".{full}.{one.name}": one for one in message.nested_type if one.options.map_entry}
        fields = {
            one.name: self._field(one, f"{full}.{one.name}", (*path, _FIELDS, index), features, message, entries)
            for index, one in enumerate(message.field)
        }
        oneofs = {}
        for index, oneof in enumerate(message.oneof_decl):
            members = tuple(sorted(one.name for one in fields.values() if one.oneof == oneof.name))
            if members:
                said = self._said((*path, _ONEOFS, index))
                oneofs[oneof.name] = Oneof(f"{full}.{oneof.name}", oneof.name, members, said)
        self._side.messages[full] = Message(
            full,
            self._file.name,
            fields,
            oneofs,
            reserved(((one.start, one.end - 1) for one in message.reserved_range), message.reserved_name),
            reserved(((one.start, one.end - 1) for one in message.extension_range), ()),
            message.options.message_set_wire_format,
            features.json_format,
            message.options.deprecated,
            self._said(path),
            options_of(message.options),
        )
        self._messages(message.nested_type, f"{full}.", (*path, _NESTED), features)
        self._enums(message.enum_type, f"{full}.", (*path, _NESTED_ENUMS), features)
        self._extensions(message.extension, f"{full}.", (*path, _NESTED_EXTENSIONS), features)

    def _extensions(self, extensions: Any, prefix: str, at: tuple[int, ...], outer: Features) -> None:
        for index, one in enumerate(extensions):
            full = f"{prefix}{one.name}"
            self._side.extensions[full] = self._field(one, full, (*at, index), outer, None, {})

    def _field(
        self,
        one: _Field,
        full: str,
        path: tuple[int, ...],
        outer: Features,
        message: descriptor_pb2.DescriptorProto | None,
        entries: Mapping[str, descriptor_pb2.DescriptorProto],
    ) -> Field:
        features = inherited(outer, one.options)
        entry = entries.get(one.type_name)
        if entry is not None:
            self._side.entries[one.type_name.lstrip(".")] = full
        value = entry.field[1] if entry is not None else one
        has_oneof = message is not None and one.HasField("oneof_index")
        oneof = message.oneof_decl[one.oneof_index].name if message is not None and has_oneof else ""
        return Field(
            full=full,
            file=self._file.name,
            name=one.name,
            number=one.number,
            type="map" if entry is not None else _type(one),
            refers=value.type_name.lstrip("."),
            key=_type(entry.field[0]) if entry is not None else "",
            value=_type(value) if entry is not None else "",
            cardinality=_cardinality(one, features, has_oneof),
            oneof="" if one.proto3_optional else oneof,
            json=one.json_name if one.HasField("json_name") and not one.extendee else None,
            default=one.default_value,
            delimited=one.type == one.TYPE_GROUP
            or (one.type == one.TYPE_MESSAGE and features.delimited and entry is None),
            packed=_packed(one, features),
            utf8=value.type == one.TYPE_STRING and features.utf8,
            extends=one.extendee.lstrip("."),
            deprecated=one.options.deprecated,
            comment=self._said(path),
            options=options_of(one.options),
        )

    def _enums(self, enums: Any, prefix: str, at: tuple[int, ...], outer: Features) -> None:
        for index, enum in enumerate(enums):
            full, path = prefix + enum.name, (*at, index)
            features = inherited(outer, enum.options)
            values = {
                one.name: Value(
                    f"{full}.{one.name}",
                    one.name,
                    one.number,
                    one.options.deprecated,
                    self._said((*path, _VALUES, number)),
                    options_of(one.options),
                )
                for number, one in enumerate(enum.value)
            }
            self._side.enums[full] = Enum(
                full,
                self._file.name,
                values,
                reserved(((one.start, one.end) for one in enum.reserved_range), enum.reserved_name),
                features.closed,
                features.json_format,
                enum.options.deprecated,
                self._said(path),
                options_of(enum.options),
            )

    def _service(self, service: descriptor_pb2.ServiceDescriptorProto, path: tuple[int, ...]) -> None:
        full = self._prefix + service.name
        rpcs = {
            one.name: self._rpc(one, f"{full}/{one.name}", (*path, _RPCS, index))
            for index, one in enumerate(service.method)
        }
        self._side.services[full] = Service(
            full,
            self._file.name,
            rpcs,
            service.options.deprecated,
            self._said(path),
            options_of(service.options),
        )

    def _rpc(self, one: descriptor_pb2.MethodDescriptorProto, full: str, path: tuple[int, ...]) -> Rpc:
        needed = scope(one)
        known = {_HTTP_EXTENSION} | ({SCOPE_EXTENSION} if needed else set())
        return Rpc(
            full,
            one.name,
            one.input_type.lstrip("."),
            one.output_type.lstrip("."),
            _streaming(one),
            tuple(http_rule(one) or ()),
            needed,
            descriptor_pb2.MethodOptions.IdempotencyLevel.Name(one.options.idempotency_level),
            one.options.deprecated,
            self._said(path),
            options_of(one.options, known),
        )


def _forget_json_names(parts: Any) -> None:
    """Take JSON names out of messages, or fields: not all descriptors have them, and fields tell them."""
    for part in parts:
        if isinstance(part, _Field):
            part.ClearField("json_name")
        else:
            for inner in (part.field, part.extension, part.nested_type):
                _forget_json_names(inner)


def _comment(at: descriptor_pb2.SourceCodeInfo.Location) -> str:
    texts = (*at.leading_detached_comments, at.leading_comments, at.trailing_comments)
    return "\n".join(line.strip() for text in texts if text for line in text.strip().splitlines())


def _syntax(file: descriptor_pb2.FileDescriptorProto) -> str:
    if file.syntax == "editions":
        return descriptor_pb2.Edition.Name(file.edition).replace("EDITION_", "edition ").lower()
    return file.syntax or "proto2"


def _type(one: _Field) -> str:
    return "message" if one.type == one.TYPE_GROUP else _SCALARS[one.type]


def _cardinality(one: _Field, features: Features, in_oneof: bool) -> str:
    if one.label == one.LABEL_REPEATED:
        return "repeated"
    if one.label == one.LABEL_REQUIRED or features.presence == "required":
        return "required"
    explicit = in_oneof or one.proto3_optional or one.extendee or one.type in (one.TYPE_MESSAGE, one.TYPE_GROUP)
    return "optional" if explicit or features.presence == "explicit" else "implicit"


def _packed(one: _Field, features: Features) -> bool:
    if one.label != one.LABEL_REPEATED or one.type in (_Field.TYPE_STRING, _Field.TYPE_BYTES):
        return False
    if one.type in (_Field.TYPE_MESSAGE, _Field.TYPE_GROUP):
        return False
    return one.options.packed if one.options.HasField("packed") else features.packed


def _streaming(one: descriptor_pb2.MethodDescriptorProto) -> str:
    if one.client_streaming:
        return "bidirectional streaming" if one.server_streaming else "client streaming"
    return "server streaming" if one.server_streaming else "unary"
