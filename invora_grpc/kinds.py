"""What the descriptors say: which types stand for one Python value, which fields are maps, how enum values are called.

Types are recognised by full name and shape, never by generated class, so that classes of private pools are known too.
The room only answers questions about descriptors and fields: it must not change a message, and it keeps nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from invora_grpc import exact


@dataclass(frozen=True, slots=True)
class ExactKind:
    """A message that stands for one Python value and carries it as whole numbers."""

    parts: tuple[str, ...]
    """The fields that hold the whole numbers."""
    encode: Callable[[object], tuple[int, ...]]
    """Python value or text to parts; ValueError with the way out."""
    decode: Callable[..., object]
    """Parts to the Python value; ValueError where there is none."""
    text: Callable[..., str]
    """Parts to text for JSON; ValueError where there is none."""
    check: Callable[..., None]
    """ValueError with the way out for parts that must not be sent."""


DECIMAL = "kernel.DecimalValue"
ANY = "google.protobuf.Any"
FIELD_MASK = "google.protobuf.FieldMask"
VALUE = "google.protobuf.Value"
STRUCT = "google.protobuf.Struct"
LIST_VALUE = "google.protobuf.ListValue"

_SINCE = ("seconds", "nanos")
_DAY = ("year", "month", "day")
_CLOCK = ("hours", "minutes", "seconds", "nanos")
EXACT: Mapping[str, ExactKind] = {
    DECIMAL: ExactKind(
        ("units", "nanos"), exact.decimal_parts, exact.decimal_of, exact.decimal_text, exact.check_decimal
    ),
    "google.protobuf.Timestamp": ExactKind(
        _SINCE, exact.instant_parts, exact.instant_of, exact.instant_text, exact.check_instant
    ),
    "google.protobuf.Duration": ExactKind(
        _SINCE, exact.duration_parts, exact.duration_of, exact.duration_text, exact.check_duration
    ),
    "google.type.Date": ExactKind(_DAY, exact.date_parts, exact.date_of, exact.date_text, exact.check_date),
    "google.type.TimeOfDay": ExactKind(_CLOCK, exact.time_parts, exact.time_of, exact.time_text, exact.check_time),
}
"""Types that are one Python value, by full name."""

_WRAPPED_SCALARS = ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
WRAPPED: Mapping[str, str] = {
    **{f"google.protobuf.{scalar}Value": "value" for scalar in _WRAPPED_SCALARS},
    "kernel.StringList": "items",
}
"""Types that only wrap one field, by full name: the name of that field."""

_SHAPES: Mapping[str, tuple[str, ...]] = {
    **{name: kind.parts for name, kind in EXACT.items()},
    **{name: (field,) for name, field in WRAPPED.items()},
    ANY: ("type_url", "value"),
    FIELD_MASK: ("paths",),
    VALUE: ("null_value", "number_value", "string_value", "bool_value", "struct_value", "list_value"),
    STRUCT: ("fields",),
    LIST_VALUE: ("values",),
}
_WHOLE = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)


def enum_names(enum: EnumDescriptor) -> dict[str, int]:
    """Short name to number, in the enum's order: `SAR` for `CURRENCY_ENUM_SAR`.

    Left out is the enum's own name in capitals, or else the prefix up to an underscore that all names share. A value
    whose short form is another value's full name keeps its full name.
    """
    full = {value.name: value.number for value in enum.values}
    prefix = _common_prefix(enum)
    names: dict[str, int] = {}
    for name, number in full.items():
        short = name.removeprefix(prefix)
        names[short if short and full.get(short, number) == number else name] = number
    return names


def _common_prefix(enum: EnumDescriptor) -> str:
    names = [value.name for value in enum.values]
    own = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", enum.name).upper() + "_"
    if all(name.startswith(own) for name in names):
        return own
    first, last = min(names), max(names)  # what these two share, all between them share
    end = next((at for at, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1), len(first))
    return first[: first.rfind("_", 0, end) + 1] if len(names) > 1 else ""


def descriptor_of(source: Message | type[Message]) -> Descriptor:
    """The descriptor of a message or message class, under one type for all of protobuf's implementations."""
    return cast(Descriptor, source.DESCRIPTOR)


def map_entry(field: FieldDescriptor) -> Descriptor | None:
    """The type of a map's entries, with the fields `key` and `value`; None for a field that is no map."""
    of = field.message_type
    if of is None or not field.is_repeated or not of.has_options:
        return None
    return of if of.GetOptions().map_entry else None


def is_map(field: FieldDescriptor) -> bool:
    """Whether a repeated field is a map."""
    return map_entry(field) is not None


def inner_type(field: FieldDescriptor) -> Descriptor | None:
    """The type of the messages that a field holds, one by one or as the values of a map; None for scalars."""
    entry = map_entry(field)
    return entry.fields_by_name["value"].message_type if entry is not None else field.message_type


def kind_of(descriptor: Descriptor) -> str:
    """The full name of a type that stands for a Python value; empty for others, and for that name in another shape."""
    fields = descriptor.fields_by_name
    shape = _SHAPES.get(descriptor.full_name)
    if shape is None or not all(name in fields for name in shape):
        return ""
    if descriptor.full_name in EXACT and not all(
        fields[name].cpp_type in _WHOLE and not fields[name].is_repeated for name in shape
    ):
        return ""
    return descriptor.full_name


def messages_in(field: FieldDescriptor, value: Any) -> Iterator[tuple[str, Message]]:
    """The messages in what a field holds, each with what its path has after the field's name; none for scalars."""
    if inner_type(field) is None:
        return
    if not field.is_repeated:
        yield "", value
    elif is_map(field):
        yield from ((f"[{key!r}]", value[key]) for key in value)
    else:
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
