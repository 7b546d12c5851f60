"""Random messages of any type, written with protobuf's own setters only, for Hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st
from values_schema import Kinds, Order

DEEPEST = 3
INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
}
NANOS = st.one_of(st.just(0), st.integers(0, 999_999).map(lambda micros: micros * 1000), st.integers(0, 999_999_999))
MASK_PATHS = st.from_regex(r"[a-z]{1,5}(_[a-z]{1,4})?(\.[a-z]{1,5})?", fullmatch=True)
SIGNS = st.sampled_from([1, -1])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
Draw = Callable[[st.SearchStrategy[Any]], Any]


def scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    kind = field.cpp_type
    if kind in INTEGERS:
        return INTEGERS[kind]
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return st.floats(allow_nan=False, width=32 if kind == FieldDescriptor.CPPTYPE_FLOAT else 64)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return st.binary(max_size=6) if field.type == FieldDescriptor.TYPE_BYTES else TEXT


def fill_instant(draw: Draw, message: Any) -> None:
    message.seconds, message.nanos = draw(st.integers(-62_135_596_800, 253_402_300_799)), draw(NANOS)


def fill_span(draw: Draw, message: Any) -> None:
    sign = draw(SIGNS)
    message.seconds, message.nanos = sign * draw(st.integers(0, 315_576_000_000)), sign * draw(NANOS)


def fill_decimal(draw: Draw, message: Any) -> None:
    sign = draw(SIGNS)
    message.units, message.nanos = sign * draw(st.integers(0, 2**63 - 1)), sign * draw(NANOS)


def fill_day(draw: Draw, message: Any) -> None:
    day = draw(st.dates())
    known = draw(st.integers(0, 3))
    message.year, message.month, message.day = (day.year, day.month * (known > 1), day.day * (known > 2))


def fill_clock(draw: Draw, message: Any) -> None:
    if draw(st.booleans()):
        message.hours = 24
    else:
        message.hours, message.minutes = draw(st.integers(0, 23)), draw(st.integers(0, 59))
        message.seconds, message.nanos = draw(st.integers(0, 59)), draw(NANOS)


def fill_mask(draw: Draw, message: Any) -> None:
    message.paths.extend(draw(st.lists(MASK_PATHS, max_size=3)))


def fill_value(draw: Draw, message: Any) -> None:
    write_json(message, draw(JSON))


def write_json(message: Any, value: Any) -> None:
    if value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, float):
        message.number_value = value
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, list):
        message.list_value.SetInParent()
        for item in value:
            write_json(message.list_value.values.add(), item)
    else:
        message.struct_value.SetInParent()
        for key, item in value.items():
            write_json(message.struct_value.fields[key], item)


def fill_any(draw: Draw, message: Any) -> None:
    kind = draw(st.sampled_from([None, Order, Kinds]))
    if kind is None:
        message.type_url, message.value = draw(st.sampled_from(["", "x/not.Known"])), draw(st.binary(max_size=4))
    else:
        inner = kind()
        fill(draw, inner, DEEPEST)
        message.type_url = f"type.googleapis.com/{kind.DESCRIPTOR.full_name}"
        message.value = inner.SerializeToString(deterministic=True)


SPECIAL: dict[str, Callable[[Draw, Any], None]] = {
    "kernel.DecimalValue": fill_decimal,
    "google.protobuf.Timestamp": fill_instant,
    "google.protobuf.Duration": fill_span,
    "google.protobuf.FieldMask": fill_mask,
    "google.protobuf.Value": fill_value,
    "google.protobuf.Any": fill_any,
    "google.type.Date": fill_day,
    "google.type.TimeOfDay": fill_clock,
}


def fill(draw: Draw, message: Any, depth: int = 0) -> None:
    """Random content, written with protobuf's own setters only."""
    special = SPECIAL.get(message.DESCRIPTOR.full_name)
    if special is not None:
        message.SetInParent()
        return special(draw, message)
    fields = [field for field in message.DESCRIPTOR.fields if field.message_type is None or depth < DEEPEST]
    for field in draw(st.lists(st.sampled_from(fields), max_size=4, unique=True)) if fields else ():
        write(draw, message, field, depth + 1)
    message.SetInParent()


def write(draw: Draw, message: Any, field: FieldDescriptor, depth: int) -> None:
    target = getattr(message, field.name)
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        key, value = inner.fields_by_name["key"], inner.fields_by_name["value"]
        for name in draw(st.lists(scalar(key), max_size=2, unique=True)):
            if value.message_type is not None:
                fill(draw, target[name], depth)
            else:
                target[name] = draw(scalar(value))
    elif field.is_repeated:
        for _ in range(draw(st.integers(0, 2))):
            if inner is not None:
                fill(draw, target.add(), depth)
            else:
                target.append(draw(scalar(field)))
    elif inner is not None:
        fill(draw, target, depth)
    else:
        setattr(message, field.name, draw(scalar(field)))


@st.composite
def messages(draw: Draw, message_class: type[Any]) -> Any:
    message = message_class()
    fill(draw, message)
    return message
