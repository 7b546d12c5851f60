"""The options of descriptors as source text: what is known by name, and words for everything else.

Options are looked up in the pool of the files that they came with, so that a gateway's own ones have their names too.
The room writes text and changes nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from google.protobuf import descriptor_pool, text_encoding, text_format, unknown_fields
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from invora_grpc.call import load

__all__ = ["Option", "OptionReader", "quoted", "unknown_in"]

_SHOWN: Final = 2000
"""Bytes of an unknown value that are shown."""
_WIRE_TYPES: Final = ("varint", "fixed64", "bytes", "group", "group end", "fixed32")


@dataclass(frozen=True, slots=True)
class Option:
    """One setting of an option. A repeated option is several."""

    name: str
    number: int
    value: list[str]
    """The lines of its value."""

    @property
    def inline(self) -> str:
        """As it stands in brackets behind a field."""
        return f"{self.name} = {' '.join(line.strip() for line in self.value)}"

    @property
    def statement(self) -> list[str]:
        """As it stands in a body."""
        lines = [f"option {self.name} = {self.value[0]}", *self.value[1:]]
        return [*lines[:-1], f"{lines[-1]};"]


class OptionReader:
    """Reads options by the definitions in a pool, else by those that are compiled in."""

    def __init__(self, pool: descriptor_pool.DescriptorPool | None) -> None:
        self._classes: dict[str, type[Message]] = {}
        self._pool = pool
        if pool is None:
            import_module("google.api.annotations_pb2")
            with suppress(ImportError):  # another copy of the schema is loaded, and knows
                load("kernel/options.proto")

    def read(self, options: Message, reference: Callable[[str], str]) -> tuple[list[Option], list[str]]:
        """What is set, and words for what cannot be set by name. `reference` writes the name of an extension."""
        known = self._known(options)
        found, notes = [], [f"option {text}" for text in unknown_in(known)]
        for field, value in known.ListFields():
            name = f"({reference(field.full_name)})" if field.is_extension else str(field.name)
            for one in value if field.is_repeated else [value]:
                notes += [f"option {name}: field {text}" for text in _unknown_below(field, one)]
                if field.enum_type is not None and one not in field.enum_type.values_by_number:
                    notes.append(f"option {name} = {one}, a number without a name")
                else:
                    found.append(Option(name, field.number, _value(field, one)))
        return found, notes

    def _known(self, options: Message) -> Message:
        """The options as a message that knows the extensions."""
        name = options.DESCRIPTOR.full_name
        if name not in self._classes:
            self._classes[name] = _class_of(name, self._pool) or type(options)
        known = self._classes[name]()
        try:
            known.ParseFromString(options.SerializePartialToString())
        except DecodeError:
            return options  # its own pool does not fit it
        return known


def _class_of(name: str, pool: descriptor_pool.DescriptorPool | None) -> type[Message] | None:
    if pool is None:
        return None
    try:
        return GetMessageClass(pool.FindMessageTypeByName(name))
    except KeyError:
        return None


def _value(field: FieldDescriptor, value: Any) -> list[str]:
    """The lines of a value."""
    if isinstance(value, str | bytes):
        return [quoted(value)]
    text = _written(field, value, as_utf8=True)
    if not all(line.isprintable() for line in text.split("\n")):
        text = _written(field, value, as_utf8=False)
    return text.split("\n")


def _written(field: FieldDescriptor, value: Any, *, as_utf8: bool) -> str:
    out = io.StringIO()
    text_format.PrintFieldValue(field, value, out, as_utf8=as_utf8)
    return out.getvalue()


def quoted(value: str | bytes) -> str:
    """A literal. What is not printable is escaped."""
    if isinstance(value, str) and value.isprintable():
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f'"{text_encoding.CEscape(value.encode() if isinstance(value, str) else value, False)}"'


def unknown_in(message: Message) -> list[str]:
    """Words for the fields of a message that its type does not know: number, wire type, value."""
    fields: Any = unknown_fields.UnknownFieldSet(message)
    return [f"{field.field_number} ({_WIRE_TYPES[field.wire_type]}) = {_shown(field.data)}" for field in fields]


def _shown(data: Any) -> str:
    if isinstance(data, bytes):
        return data[:_SHOWN].hex() + (f"… ({len(data)} bytes)" if len(data) > _SHOWN else "")
    if isinstance(data, int):
        return str(data)
    return "{" + ", ".join(f"{field.field_number} = {_shown(field.data)}" for field in data) + "}"


def _unknown_below(field: FieldDescriptor, value: Any) -> Iterator[str]:
    """Words for the unknown fields in a value of an option, however deep."""
    if field.message_type is None:
        return
    yield from unknown_in(value)
    for inner, content in value.ListFields():
        if not inner.is_repeated:
            several = [content]
        elif inner.message_type is not None and inner.message_type.GetOptions().map_entry:
            inner, several = inner.message_type.fields_by_name["value"], list(content.values())
        else:
            several = content
        for one in several:
            yield from _unknown_below(inner, one)
