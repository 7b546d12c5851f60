"""Random .proto files as protoc would describe them: what one file can say, in all its syntaxes and orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    Edition,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from hypothesis import strategies as st

Field = FieldDescriptorProto
WORDS = ("order", "Order", "message", "string", "M", "x_", "map", "stream", "a", "optional")
KEYS = [Field.TYPE_INT32, Field.TYPE_STRING, Field.TYPE_BOOL, Field.TYPE_SFIXED64]
NUMBERS = (Field.TYPE_INT32, Field.TYPE_INT64, Field.TYPE_UINT32, Field.TYPE_SINT64, Field.TYPE_FIXED32)
SCALARS = [*NUMBERS, Field.TYPE_DOUBLE, Field.TYPE_FLOAT, Field.TYPE_BOOL, Field.TYPE_STRING, Field.TYPE_BYTES]
DEFAULTS: dict[int, list[str]] = {
    **{number: ["0", "7"] for number in NUMBERS},
    Field.TYPE_DOUBLE: ["inf", "-inf", "nan", "1.5", "1e+100", "-0.25"],
    Field.TYPE_FLOAT: ["inf", "nan", "2", "1.5e-10"],
    Field.TYPE_BOOL: ["true", "false"],
    Field.TYPE_STRING: ["", 'a "quoted" \\ one', "line\nbreak\x00\t", "é→\u202e'", "inf"],
    Field.TYPE_BYTES: ["", '\\000\\377\\"\\\\x', "plain"],
}


class _Maker:
    """Makes one file. Names are never used twice, and numbers rise."""

    def __init__(self, draw: Callable[..., Any], syntax: str, name: str, known: list[tuple[str, bool]]) -> None:
        self.draw = draw
        self.syntax = syntax
        self.types = known
        """Full name of each type, and whether it is an enum."""
        self.extendable: list[str] = []
        self._count = 0
        self._stem = name
        self.file = FileDescriptorProto(name=f"{name}.proto", syntax=None if syntax == "proto2" else syntax)
        if syntax == "editions":
            self.file.edition = Edition.Value("EDITION_2023")

    def name(self) -> str:
        self._count += 1
        return f"{self.draw(st.sampled_from(WORDS))}{self._stem}{self._count}"

    def some(self, largest: int) -> range:
        return range(self.draw(st.integers(0, largest)))

    def chance(self) -> bool:
        return bool(self.draw(st.integers(0, 3)) == 3)

    def make(self) -> None:
        file, prefix = self.file, ""
        if package := self.draw(st.sampled_from(["", "a", "a.b", "message", "google"])):
            file.package, prefix = package, f"{package}."
        pairs = []
        for _ in self.some(3):
            file.message_type.append(self.skeleton(prefix, 2))
        for message in file.message_type:
            pairs += self.messages(prefix, message)
        for _ in self.some(2):
            file.enum_type.append(self.enum(prefix))
        for full, message in pairs:
            self.fill(full, message)
        if self.extendable:
            self.extend(file, file.message_type, prefix)
        for _ in self.some(2) if any(not enum for _, enum in self.types) else ():
            self.service()
        if self.chance():
            file.options.java_package = self.draw(st.text(max_size=5))
            file.options.optimize_for = 2

    def messages(self, prefix: str, message: DescriptorProto) -> list[tuple[str, DescriptorProto]]:
        full = prefix + message.name
        inner = [pair for one in message.nested_type for pair in self.messages(f"{full}.", one)]
        return [*inner, (full, message)]  # filling a message copies those in it

    def skeleton(self, prefix: str, depth: int) -> DescriptorProto:
        message = DescriptorProto(name=self.name())
        full = prefix + message.name
        self.types.append((full, False))
        message.nested_type.extend(self.skeleton(f"{full}.", depth - 1) for _ in (self.some(2) if depth else ()))
        message.enum_type.extend(self.enum(f"{full}.") for _ in self.some(1))
        return message

    def enum(self, prefix: str) -> EnumDescriptorProto:
        enum = EnumDescriptorProto(name=self.name())
        self.types.append((prefix + enum.name, True))
        numbers = [0, *self.draw(st.lists(st.integers(-5, 5), max_size=2))]
        for number in numbers:
            enum.value.add(name=self.name(), number=number)
        if len(set(numbers)) < len(numbers):
            enum.options.allow_alias = True
        if self.chance():
            enum.value[-1].options.deprecated = True
            enum.reserved_range.add(start=-20, end=-10)
            enum.reserved_range.add(start=100, end=self.draw(st.sampled_from([100, 200, 2**31 - 1])))
            enum.reserved_name.append("gone")
        return enum

    def fill(self, full: str, message: DescriptorProto) -> None:
        """Fields, maps, groups, oneofs and what is reserved."""
        oneof, place, optional = False, 0, []
        for number in range(1, 1 + len(self.some(6))):
            oneof = self.draw(st.sampled_from(["same", "new", ""])) if message.field and oneof else self.chance()
            kind = self.draw(st.sampled_from(["plain", "plain", "type", "map", "group"]))
            if kind == "map" and not oneof:
                place = self.map(full, message, number, place)
                continue
            if kind == "group" and self.syntax == "proto2":
                last = place if oneof == "same" else None
                field, place = self.group(full, message.field.add(), message.nested_type, number, place, last)
            else:
                field = self.field(message.field.add(), number, kind)
            if oneof:
                if oneof != "same":
                    message.oneof_decl.add(name=self.name())
                field.oneof_index, field.label = len(message.oneof_decl) - 1, Field.LABEL_OPTIONAL
                field.ClearField("options")
            elif self.syntax == "proto3" and field.label == Field.LABEL_OPTIONAL and self.chance():
                optional.append(field)
        for field in optional:
            field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field.name}")
        if self.chance():
            message.reserved_range.add(start=5000, end=self.draw(st.sampled_from([5001, 5002, 6000, 2**29])))
            message.reserved_name.extend(["gone", "gone_too"])
            message.options.deprecated = True
        if self.syntax != "proto3" and self.chance():
            message.extension_range.add(start=1000, end=self.draw(st.sampled_from([1500, 2000, 5000])))
            self.extendable.append(full)
        if self.extendable and self.chance():
            self.extend(message, message.nested_type, f"{full}.", place)

    def field(self, field: Any, number: int, kind: str) -> Any:
        field.name, field.number = self.name(), number
        field.label = Field.LABEL_REPEATED if self.chance() else Field.LABEL_OPTIONAL
        if kind == "type" and self.types:
            full, enum = self.draw(st.sampled_from(self.types))
            field.type, field.type_name = (Field.TYPE_ENUM if enum else Field.TYPE_MESSAGE), f".{full}"
        else:
            field.type = self.draw(st.sampled_from(SCALARS))
            packable = field.type not in (Field.TYPE_STRING, Field.TYPE_BYTES) and self.syntax != "editions"
            if field.label == Field.LABEL_REPEATED and packable and self.chance():
                field.options.packed = self.draw(st.booleans())
            if field.label == Field.LABEL_OPTIONAL and self.syntax != "proto3" and self.chance():
                field.default_value = self.draw(st.sampled_from(DEFAULTS[field.type]))
        if (
            self.syntax == "proto2"
            and field.label == Field.LABEL_OPTIONAL
            and not field.default_value
            and self.chance()
        ):
            field.label = Field.LABEL_REQUIRED if not field.HasField("default_value") else field.label
        if self.chance():
            field.options.deprecated = True
        if self.chance():
            field.json_name = f"json {number}'"
        return field

    def map(self, full: str, message: DescriptorProto, number: int, place: int) -> int:
        name = f"map_{self.name()}"
        entry = DescriptorProto(name="".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=1, type=self.draw(st.sampled_from(KEYS)))
        value = entry.field.add(name="value", number=2, label=1, type=self.draw(st.sampled_from(SCALARS)))
        if self.types and self.chance():
            type_name, enum = self.draw(st.sampled_from(self.types))
            value.type, value.type_name = (Field.TYPE_ENUM if enum else Field.TYPE_MESSAGE), f".{type_name}"
        message.field.add(name=name, number=number, label=3, type=11, type_name=f".{full}.{entry.name}")
        return self.insert(message.nested_type, entry, place)

    def group(
        self, full: str, field: Any, nested: Any, number: int, place: int, last: int | None = None
    ) -> tuple[Any, int]:
        made = DescriptorProto(name=self.name().capitalize())
        label = Field.LABEL_REPEATED if self.chance() else Field.LABEL_OPTIONAL
        field.MergeFrom(Field(name=made.name.lower(), number=number, label=label, type=Field.TYPE_GROUP))
        field.type_name = f".{full}.{made.name}" if full else f".{made.name}"
        self.fill(f"{full}.{made.name}" if full else made.name, made)
        return field, self.insert(nested, made, place, last)

    def insert(self, nested: Any, made: DescriptorProto, place: int, last: int | None = None) -> int:
        """Put a type somewhere behind the one before, in a oneof right behind it; the place behind it."""
        place = self.draw(st.integers(place, len(nested) if last is None else last))
        copies = [*nested[:place], made, *nested[place:]]
        copies = [DescriptorProto.FromString(one.SerializeToString()) for one in copies]
        del nested[:]
        nested.extend(copies)
        return place + 1

    def extend(self, owner: Any, nested: Any, prefix: str, place: int = 0) -> None:
        for _ in self.some(3):
            self._count += 1
            number = 1000 + self._count
            field = owner.extension.add()
            if self.syntax == "proto2" and self.chance():
                _, place = self.group(prefix.rstrip("."), field, nested, number, place)
            else:
                self.field(field, number, "plain")
                field.ClearField("json_name")
                if field.label == Field.LABEL_REQUIRED:
                    field.label = Field.LABEL_OPTIONAL
            field.extendee = f".{self.draw(st.sampled_from(self.extendable))}"

    def service(self) -> None:
        service = self.file.service.add(name=self.name())
        messages = [full for full, enum in self.types if not enum]
        for _ in self.some(3):
            method = service.method.add(name=self.name())
            method.input_type, method.output_type = (f".{self.draw(st.sampled_from(messages))}" for _ in range(2))
            if self.chance():
                method.client_streaming = True
            if self.chance():
                method.server_streaming = True
            if self.chance():
                method.options.deprecated = True
                method.options.idempotency_level = 1


@st.composite
def random_files(draw: Callable[..., Any]) -> list[FileDescriptorProto]:
    """Two files of one syntax, the second of which imports the first."""
    syntax = draw(st.sampled_from(["proto2", "proto3", "editions"]))
    known: list[tuple[str, bool]] = []
    first, second = _Maker(draw, syntax, "p", known), _Maker(draw, syntax, "q", known)
    first.make()
    second.file.dependency.append(first.file.name)
    second.make()
    return [first.file, second.file]
