"""Messages as plain Python values, and as JSON for people and the command line.

A reader is compiled per message type from its descriptor, field by field as fields turn up, and stays with the
message class, so it goes when a private pool goes. The room works alike for generated and for dynamic classes: it
recognises types by full name and shape, and must not import generated modules. Reading never fails on what a server
sent: a value that Python's own type cannot hold stays in its parts.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from invora_grpc import exact

Reader = Callable[[Any], Any]
"""Takes a message or a scalar of one field, returns its plain form."""


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
_units_and_nanos = attrgetter("units", "nanos")
_WHOLE = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
_READERS = "__invora_readers__"
_EXACT_FLOAT_LIMIT = 2**53


class _Style(NamedTuple):
    """How messages are read. A reader is kept per message class and style."""

    json: bool
    short_enums: bool
    defaults: bool


_PLAIN = _Style(json=False, short_enums=False, defaults=False)
_FULL = _Style(json=False, short_enums=False, defaults=True)
_JSON_SHORT = _Style(json=True, short_enums=True, defaults=False)
_JSON_LONG = _Style(json=True, short_enums=False, defaults=False)


def read(message: Message, *, defaults: bool = False) -> dict[str, Any]:
    """The message as a dict of plain Python values, keyed by proto field names; what is not set is left out.

    Decimals become Decimal, timestamps aware UTC datetimes, dates date, times of day time, durations timedelta,
    wrappers their value, masks lists of paths, structs dicts, enums their full name (a number that has no name stays
    int). What Python's own type would cut short is text: a timestamp, duration or time with nanoseconds, and the time
    24:00:00. What it cannot hold at all is a dict of its parts: partial dates, instants outside the years 1 to 9999,
    decimals whose parts disagree in sign. An Any is a dict with "@type", or with its raw `type_url` and `value` when
    its type is not in the message's pool. Unknown fields are not read.

    `defaults=True` adds every other field: zero values and empty lists, and None where a field has presence and is
    absent.
    """
    style = _FULL if defaults else _PLAIN
    plain = reader_of(type(message), style)(message)
    return plain if isinstance(plain, dict) else _fields_reader(type(message), style)(message)


def to_json(message: Message, *, short_enums: bool = True) -> Any:
    """The message in JSON's own types, with proto field names.

    Decimals are plain digits, dates and instants ISO text, bytes base64. Enums are short names (`SAR`) or, with
    `short_enums=False`, full ones; 64-bit numbers stay numbers; NaN and the infinities are text.
    """
    return reader_of(type(message), _JSON_SHORT if short_enums else _JSON_LONG)(message)


def to_decimal(message: Message) -> Decimal:
    """The Decimal of a `kernel.DecimalValue`, without trailing zeros; ValueError if its parts disagree in sign."""
    units, nanos = _units_and_nanos(message)
    return exact.decimal_of(units, nanos)


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


def is_map(field: FieldDescriptor) -> bool:
    """Whether a repeated field is a map."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


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


# --- readers, compiled --------------------------------------------------------------------------------------------


def reader_of(message_class: type[Message], style: _Style = _PLAIN) -> Reader:
    """The reader of a message class, compiled once. Two threads that compile at the same time make two equal ones."""
    readers: dict[_Style, Reader] | None = getattr(message_class, _READERS, None)
    if readers is None:
        readers = {}
        setattr(message_class, _READERS, readers)
    reader = readers.get(style)
    if reader is None:
        reader = readers[style] = _compile(message_class, style)
    return reader


def _compile(message_class: type[Message], style: _Style) -> Reader:
    descriptor = descriptor_of(message_class)
    kind = kind_of(descriptor)
    if kind in EXACT:
        return _exact_reader(EXACT[kind], style)
    if kind in WRAPPED:
        return _wrapped_reader(descriptor.fields_by_name[WRAPPED[kind]], style)
    if kind == ANY:
        return _any_reader(descriptor.file.pool, style)
    if kind == FIELD_MASK:
        return _read_mask
    return _STRUCTURED.get(kind) or _fields_reader(message_class, style)


def _fields_reader(message_class: type[Message], style: _Style) -> Reader:
    known: dict[FieldDescriptor, tuple[str, Reader | None]] = {}

    def read_fields(message: Message) -> dict[str, Any]:
        plain = {}
        for field, value in message.ListFields():
            entry = known.get(field)
            if entry is None:
                name = f"[{field.full_name}]" if field.is_extension else field.name
                entry = known[field] = (name, _field_reader(field, style))
            name, convert = entry
            plain[name] = value if convert is None else convert(value)
        return plain

    if not style.defaults:
        return read_fields
    absent = {field.name: _absent(field, style) for field in descriptor_of(message_class).fields}
    return lambda message: {name: make() for name, make in absent.items()} | read_fields(message)


def _absent(field: FieldDescriptor, style: _Style) -> Callable[[], Any]:
    """Makes the plain form of a field that is not set."""
    if field.is_repeated:
        return dict if is_map(field) else list
    if field.has_presence:
        return lambda: None
    convert = _value_reader(field, style)
    zero = field.default_value if convert is None else convert(field.default_value)
    return lambda: zero


def _field_reader(field: FieldDescriptor, style: _Style) -> Reader | None:
    if field.message_type is not None and is_map(field):
        entry = field.message_type.fields_by_name
        return _map_reader(_key_reader(entry["key"], style), _value_reader(entry["value"], style))
    convert = _value_reader(field, style)
    if not field.is_repeated:
        return convert
    if convert is None:
        return list
    return lambda values: [convert(value) for value in values]


def _map_reader(read_key: Reader | None, read_value: Reader | None) -> Reader:
    if read_key is None and read_value is None:
        return dict
    if read_key is None and read_value is not None:
        return lambda pairs: {key: read_value(value) for key, value in pairs.items()}

    def read_map(pairs: Mapping[Any, Any]) -> dict[Any, Any]:
        return {
            read_key(key) if read_key else key: read_value(value) if read_value else value
            for key, value in pairs.items()
        }

    return read_map


def _key_reader(field: FieldDescriptor, style: _Style) -> Reader | None:
    """JSON's keys are text; Python's keep their type."""
    if not style.json or field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return None
    return lambda key: str(key).lower()


def _value_reader(field: FieldDescriptor, style: _Style) -> Reader | None:
    """The reader of one value of the field; None where protobuf's own value is the plain one."""
    if field.message_type is not None:
        return reader_of(GetMessageClass(field.message_type), style)
    if field.enum_type is not None:
        return _enum_reader(field.enum_type, style)
    if style.json and field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode("ascii")
    if style.json and field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return _json_float
    return None


def _enum_reader(enum: EnumDescriptor, style: _Style) -> Reader:
    pairs: Iterable[tuple[str, int]]
    pairs = enum_names(enum).items() if style.short_enums else ((value.name, value.number) for value in enum.values)
    names: dict[int, str] = {}
    for name, number in pairs:
        names.setdefault(number, name)
    return lambda number: names.get(number, number)


def _exact_reader(kind: ExactKind, style: _Style) -> Reader:
    parts_of = attrgetter(*kind.parts)
    decode = kind.text if style.json else kind.decode

    def read_exact(message: Message) -> object:
        parts = parts_of(message)
        try:
            return decode(*parts)
        except ValueError:
            return dict(zip(kind.parts, parts, strict=True))

    return read_exact


def _wrapped_reader(field: FieldDescriptor, style: _Style) -> Reader:
    value_of = attrgetter(field.name)
    convert = _field_reader(field, style)
    return value_of if convert is None else lambda message: convert(value_of(message))


def _any_reader(pool: Any, style: _Style) -> Reader:
    def read_any(message: Any) -> dict[str, Any]:
        url = message.type_url
        try:
            descriptor = pool.FindMessageTypeByName(url.rpartition("/")[2])
            inner = GetMessageClass(descriptor)
            plain = reader_of(inner, style)(inner.FromString(message.value))
        except (KeyError, DecodeError, RecursionError):
            raw = base64.b64encode(message.value).decode("ascii") if style.json else message.value
            return {"type_url": url, "value": raw}
        return {"@type": url, "value": plain} if kind_of(descriptor) else {"@type": url, **plain}

    return read_any


def _read_mask(message: Any) -> list[str]:
    return list(message.paths)


def _read_struct(message: Any) -> dict[str, Any]:
    return {key: _read_value(value) for key, value in message.fields.items()}


def _read_list(message: Any) -> list[Any]:
    return [_read_value(value) for value in message.values]


def _read_value(message: Any) -> Any:
    """JSON's value: whole numbers as int; None for null and for a value whose kind is not set."""
    kind = message.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    value = getattr(message, kind)
    if kind == "number_value":
        return _whole_or_float(value)
    return _read_struct(value) if kind == "struct_value" else _read_list(value) if kind == "list_value" else value


def _whole_or_float(value: float) -> int | float | str:
    if not value.is_integer():
        return _json_float(value)
    if abs(value) > _EXACT_FLOAT_LIMIT or (value == 0 and math.copysign(1, value) < 0):
        return value
    return int(value)


def _json_float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


_STRUCTURED: Mapping[str, Reader] = {STRUCT: _read_struct, LIST_VALUE: _read_list, VALUE: _read_value}
