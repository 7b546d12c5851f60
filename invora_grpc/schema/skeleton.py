"""What a request may look like: a message type filled with values that show what each field takes.

For templates and examples. The values are made up from types and names and fit the schema, and that is all they do: a
server may well refuse them. The room reads descriptors and builds no message.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, cast

from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from invora_grpc.kinds import DECIMAL, EXACT, WRAPPED, enum_names, inner_type, is_map, kind_of

__all__ = ["Skeleton", "arguments", "as_json", "is_optional", "path_variables", "skeleton"]

_MOST: Final = 2000
"""Fields that a skeleton has, however much its type could hold: some types of UBL could hold millions."""
_WORDS: Final[Mapping[str, str]] = {
    "country_code": "SA",
    "currency": "SAR",
    "currency_code": "SAR",
    "currency_key": "SAR",
    "email": "name@example.com",
    "key": "KEY",
    "language": "en",
    "unit_code": "C62",
    "url": "https://example.com",
}
"""What a text is that ends with such a name."""
_NUMBERS: Final[Mapping[str, int]] = {"limit": 20, "page_size": 20, "skip": 0, "offset": 0}
"""What a number is that has such a name; others are 1."""
_EXACT_VALUES: Final[Mapping[str, object]] = {
    DECIMAL: Decimal("20.50"),
    "google.protobuf.Timestamp": datetime(2026, 1, 31, 9, 30, tzinfo=UTC),
    "google.protobuf.Duration": timedelta(seconds=90),
    "google.type.Date": date(2026, 1, 31),
    "google.type.TimeOfDay": time(9, 30),
}
_KIND_VALUES: Final[Mapping[str, object]] = {
    "google.protobuf.Any": {"@type": "type.googleapis.com/google.protobuf.Empty"},
    "google.protobuf.FieldMask": [],  # any name would be a guess, and a wrong one is refused
    "google.protobuf.Struct": {"name": "value"},
    "google.protobuf.Value": "value",
    "google.protobuf.ListValue": ["value"],
}
_BEHAVIOUR: Final = cast(Any, field_behavior_pb2)


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Values for all fields of a message type."""

    values: dict[str, Any]
    """As `build` takes them: field name → Decimal, date, text, …, list or dict."""
    left_out: tuple[str, ...]
    """The paths of fields that were left empty, as there would be too many."""


def skeleton(
    message: Descriptor, *, required_only: bool = False, always: Collection[str] = (), most: int = _MOST
) -> Skeleton:
    """Fill a message type, level by level, until it has `most` fields.

    Of a oneof, the first field is filled; a message within one of its own type is left out, and so is what only the
    server sets. `required_only` leaves out what the schema says may be missing: if some field of a message is marked as
    required (google.api.field_behavior, proto2), all that are not; else those with `optional`. `always`: the paths of
    fields that are required in any case, such as the variables of an HTTP path.
    """
    values: dict[str, Any] = {}
    left_out, count = [], 0
    waiting: deque[tuple[Descriptor, dict[str, Any], str, frozenset[str]]] = deque([(message, values, "", frozenset())])
    while waiting:
        of, target, path, above = waiting.popleft()
        above |= {of.full_name}
        for field in _fields(of, required_only, {name.removeprefix(path) for name in always if name.startswith(path)}):
            count += 1
            inner = inner_type(field)
            if inner is None or kind_of(inner):
                target[field.name] = _many(field, _leaf(field, inner))
            elif count > most:
                left_out.append(path + field.name)
            elif inner.full_name not in above:
                held: dict[str, Any] = {}
                target[field.name] = _many(field, held)
                waiting.append((inner, held, f"{path}{field.name}.", above))
    return Skeleton(values, tuple(left_out))


def path_variables(path: str) -> list[str]:
    """The fields that an HTTP path names: "/v1/{key}/lines/{line.id=*}" → ["key", "line.id"]."""
    return [part.partition("}")[0].partition("=")[0] for part in path.split("{")[1:]]


def is_optional(field: FieldDescriptor) -> bool:
    """Whether the field is written with `optional` in proto3: its oneof is only how descriptors spell that."""
    oneof = cast(Any, field.containing_oneof)
    return oneof is not None and len(oneof.fields) == 1 and oneof.name == f"_{field.name}"


def as_json(value: Any) -> Any:
    """A value of a skeleton as JSON has it: decimals, dates and bytes are text."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, (date, time)):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, Decimal) else value


def arguments(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Path and text of each plain value, as the command line takes them: ("lines[0].unit_price", "20.50")."""
    for name, value in values.items():
        place = f"{path}.{name}" if path else name
        items = enumerate(value) if isinstance(value, list) else ()
        for at, item in [(f"{place}[{index}]", item) for index, item in items] or [(place, value)]:
            if isinstance(item, dict):
                yield from () if "@type" in item else arguments(item, at)
            elif isinstance(item, bool):
                yield at, str(item).lower()
            elif not isinstance(item, list):
                yield at, str(as_json(item))


def _fields(message: Descriptor, required_only: bool, always: Collection[str]) -> Iterator[FieldDescriptor]:
    fields: Iterable[FieldDescriptor] = message.fields
    behaviours = {field.name: _behaviours(field) for field in fields}
    some_required = any("REQUIRED" in said for said in behaviours.values())
    told: set[str] = set()
    for field in fields:
        said, oneof = behaviours[field.name], cast(Any, field.containing_oneof)
        wanted = field.name in always or any(name.startswith(f"{field.name}.") for name in always)
        if oneof is not None and not is_optional(field):
            if oneof.name in told:
                continue
            told.add(oneof.name)
        if not wanted and "OUTPUT_ONLY" in said:
            continue
        may_be_missing = "REQUIRED" not in said if some_required else is_optional(field) or "OPTIONAL" in said
        if wanted or not (required_only and may_be_missing):
            yield field


def _behaviours(field: FieldDescriptor) -> set[str]:
    """What google.api.field_behavior says of a field, and REQUIRED for what proto2 calls so."""
    said = {"REQUIRED"} if field.is_required else set[str]()
    if field.has_options:
        options = descriptor_pb2.FieldOptions.FromString(field.GetOptions().SerializeToString())
        names = _BEHAVIOUR.FieldBehavior.DESCRIPTOR.values_by_number
        numbers = cast(Any, options).Extensions[_BEHAVIOUR.field_behavior]
        said |= {names[number].name for number in numbers if number in names}
    return said


def _many(field: FieldDescriptor, value: object) -> object:
    """A value as its field holds it: in a list, or in a dict."""
    if is_map(field):
        key = cast(Any, field.message_type).fields_by_name["key"]
        return {"text" if key.type == FieldDescriptor.TYPE_STRING else _leaf(key, None): value}
    return [value] if field.is_repeated else value


def _leaf(field: FieldDescriptor, inner: Descriptor | None) -> object:
    """One value for a field that holds no message of fields."""
    if inner is not None:
        kind = kind_of(inner)
        if kind in EXACT:
            return _EXACT_VALUES[kind]
        if kind in WRAPPED:
            wrapped = inner.fields_by_name[WRAPPED[kind]]
            return _many(wrapped, _leaf(wrapped, inner_type(wrapped)))
        return _KIND_VALUES[kind]
    if is_map(field):
        field = cast(Any, field.message_type).fields_by_name["value"]
    if field.enum_type is not None:
        return _enum(field.enum_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"bytes"
    if field.type == FieldDescriptor.TYPE_STRING:
        return next((text for name, text in _WORDS.items() if f"_{field.name}".endswith(f"_{name}")), "text")
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return True
    if field.name in _NUMBERS:
        return _NUMBERS[field.name]
    return 1.5 if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT) else 1


def _enum(enum: EnumDescriptor) -> object:
    """The first value that says something: 0 is as good as unset."""
    names = enum_names(enum)
    return next((name for name, number in names.items() if number), next(iter(names), 0))
