"""Python values ⇄ messages: the one door through which requests are built and answers become plain Python.

A builder is compiled per message type from its descriptor, field by field as fields turn up, and stays with the
message class. It works alike for generated and for dynamic classes and must not import generated modules. Building is
pure: no input or output, no clock, and either a whole valid message comes out or a RequestError that names the path,
the value and the way out. Reading lives in `reading`.
"""

from __future__ import annotations

import difflib
import keyword
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from invora_grpc import reading
from invora_grpc.errors import RequestError
from invora_grpc.reading import descriptor_of, enum_names, is_map, kind_of, read, to_decimal, to_json
from invora_grpc.scalars import ROOT, Convert, Refused, converter, exact_float, some, to_text

__all__ = ["build", "enum_names", "from_decimal", "read", "to_decimal", "to_json"]

M = TypeVar("M", bound=Message)
Fill = Callable[[Any, object], None]
"""Writes a value into a message or a container; refuses by `Refused`."""
_FILLER = "__invora_filler__"
_DEEPEST_STRUCT = 30  # parsers stop at messages nested 100 deep, and a level of a Struct takes three of them


def build(message_class: type[M], values: Mapping[str, object] | Message | None = None) -> M:
    """A new message from plain values, whole and checked.

    Keys are proto field names (`unit_price`), JSON names (`unitPrice`), or `from_` for a field that is a Python
    keyword. None leaves a field unset, except for `google.protobuf.Value`, whose null it is. Nested messages are
    mappings or messages of the same type, which are copied; a repeated field takes any iterable but text and
    mappings.

    Decimals are Decimal, int or numeric text (units in 64 bits, at most 9 decimal places); instants aware datetimes
    or RFC 3339 text; dates, times and durations Python's own types or text; masks lists of paths or comma-separated
    text; wrappers their plain value; enums a full or short name in any case, a number or an Enum; structs JSON-like
    dicts. What `read` gives is accepted, but for enum numbers without a name and for parts that must not be sent.

    Raises RequestError for the first value that does not fit.
    """
    message = message_class()
    if values is None:
        return message
    try:
        _filler_of(message_class)(message, values)
    except Refused as refused:
        raise refused.at("") from None
    except RecursionError:
        raise RequestError(ROOT, type(values), "nested too deep: does a value contain itself?") from None
    return message


def from_decimal(value: object, target: M | type[M], path: str = "") -> M:
    """A decimal as a `kernel.DecimalValue`: written into `target`, or into a new one if that is the class.

    Raises RequestError at `path`.
    """
    message: M = target() if isinstance(target, type) else target
    try:
        _filler_of(type(message))(message, value)
    except Refused as refused:
        raise refused.at(path) from None
    return message


# --- messages -----------------------------------------------------------------------------------------------------


class _Entry(NamedTuple):
    """What a builder knows about one key of a message's values."""

    name: str
    convert: Convert | None
    """For a singular scalar: the value to assign. Otherwise `fill` writes into what the field holds."""
    fill: Fill
    guard: Callable[[Any, Mapping[str, object]], None] | None
    """Refuses a second name for the field, or a second member of its oneof."""
    takes_none: bool


def _filler_of(message_class: type[Message]) -> Fill:
    """The filler of a message class, compiled once. Two threads that compile at the same time make two equal ones."""
    filler: Fill | None = getattr(message_class, _FILLER, None)
    if filler is None:
        filler = _compile(message_class)
        setattr(message_class, _FILLER, filler)
    return filler


def _compile(message_class: type[Message]) -> Fill:
    kind = kind_of(descriptor_of(message_class))
    fields = _fields_filler(message_class)
    if kind in reading.EXACT:
        return _exact_filler(message_class, reading.EXACT[kind], fields)
    if kind in reading.WRAPPED:
        return _wrapped_filler(descriptor_of(message_class), reading.WRAPPED[kind], fields)
    if kind == reading.FIELD_MASK:
        return partial(_fill_mask, fields)
    if kind == reading.ANY:
        return partial(_fill_any, descriptor_of(message_class), fields)
    return _STRUCTURED.get(kind, fields)


def _fields_filler(message_class: type[Message]) -> Fill:
    descriptor = descriptor_of(message_class)
    names = _names(descriptor)
    known: dict[str, _Entry] = {}

    def fill_fields(message: Any, values: object) -> None:
        if not isinstance(values, (dict, Mapping)):
            return _copy(descriptor, message, values)
        step = ""
        try:
            for step, value in values.items():
                entry = known.get(step)
                if entry is None:
                    entry = known[step] = _entry(step, value, names, descriptor)
                name, convert, fill, guard, takes_none = entry
                if value is None and not takes_none:
                    continue
                if guard is not None:
                    guard(message, values)
                if convert is not None:
                    setattr(message, name, convert(value))
                else:
                    fill(getattr(message, name), value)
        except Refused as refused:
            refused.steps.append(f".{step}")
            raise
        message.SetInParent()

    return fill_fields


def _names(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """Every key that stands for a field; a proto name wins over another field's alias."""
    names = {field.name: field for field in descriptor.fields}
    for field in descriptor.fields:
        names.setdefault(field.json_name, field)
        if keyword.iskeyword(field.name):
            names.setdefault(f"{field.name}_", field)
    return names


def _entry(key: str, value: object, names: Mapping[str, FieldDescriptor], descriptor: Descriptor) -> _Entry:
    field = names.get(key)
    if field is None:
        raise Refused(value, _unknown_field(key, names, descriptor))
    convert: Convert | None = None
    if field.message_type is not None and is_map(field):
        fill = _map_filler(field.message_type)
    elif field.is_repeated:
        fill = _list_filler(field)
    else:
        convert, fill = _value_writer(field)
    others = [name for name, same in names.items() if same is field and name != key]
    takes_none = not field.is_repeated and _kind(field) == reading.VALUE
    return _Entry(field.name, convert, fill, _guard(key, field, others), takes_none)


def _kind(field: FieldDescriptor) -> str:
    return kind_of(field.message_type) if field.message_type is not None else ""


def _unknown_field(key: object, names: Mapping[str, FieldDescriptor], descriptor: Descriptor) -> str:
    fields = [field.name for field in descriptor.fields]
    if not fields:
        return f"{descriptor.full_name} has no fields"
    close = difflib.get_close_matches(str(key), names, 1, 0.6)
    guess = f"did you mean {names[close[0]].name}? " if close else ""
    return f"no such field in {descriptor.full_name}; {guess}it has {some(fields)}"


def _guard(key: str, field: FieldDescriptor, others: list[str]) -> Callable[[Any, Mapping[str, object]], None] | None:
    """Canonical names outside a oneof need no guard: a second name for the field is found by that name's own."""
    oneof = field.containing_oneof
    group = oneof.name if oneof is not None and len(oneof.fields) > 1 else ""  # proto3 optional is a oneof of one
    if not group and key == field.name:
        return None

    def check(message: Any, values: Mapping[str, object]) -> None:
        for other in others:
            if values.get(other) is not None:
                raise Refused(values[key], f"{other} and {key} are one field: give it once")
        if group and (earlier := message.WhichOneof(group)) is not None:
            raise Refused(values[key], f"{earlier} is set too, and the oneof {group} takes one of them: leave one out")

    return check


def _copy(descriptor: Descriptor, message: Any, value: object) -> None:
    """A message of the very same type is copied, once the decimals in it are found good."""
    if not isinstance(value, Message):
        raise Refused(value, f"write a dict with the fields of {descriptor.full_name}, or a message of that type")
    theirs = value.DESCRIPTOR
    if theirs is not descriptor:
        same = theirs.full_name == descriptor.full_name
        which = "one of that name from another descriptor pool" if same else theirs.full_name
        raise Refused(value, f"this is a {descriptor.full_name}, not {which}: write a dict" + " (see read())" * same)
    _verify(value)
    message.CopyFrom(value)
    message.SetInParent()


def _verify(message: Message) -> None:
    """Refuses decimals that must not be sent, wherever they are in the message."""
    if kind_of(descriptor_of(message)) == reading.DECIMAL:
        kind = reading.EXACT[reading.DECIMAL]
        return _checked(message, partial(kind.check, *attrgetter(*kind.parts)(message)))
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if not field.is_repeated:
            parts = [("", value)]
        elif not is_map(field):
            parts = [(f"[{index}]", item) for index, item in enumerate(value)]
        else:
            parts = [(f"[{key!r}]", item) for key, item in value.items() if isinstance(item, Message)]
        for step, part in parts:
            try:
                _verify(part)
            except Refused as refused:
                refused.steps.append(f".{field.name}{step}")
                raise


def _checked(value: object, check: Callable[[], None]) -> None:
    try:
        check()
    except ValueError as problem:
        raise Refused(value, str(problem)) from None


# --- repeated and map fields --------------------------------------------------------------------------------------


def _list_filler(field: FieldDescriptor) -> Fill:
    convert, fill = _value_writer(field)
    takes_none = _kind(field) == reading.VALUE

    def fill_list(container: Any, values: object) -> None:
        if isinstance(values, (str, bytes, bytearray, Mapping, Message)) or not isinstance(values, Iterable):
            raise Refused(values, "write a list, also for one item: [...]")
        for index, item in enumerate(values):
            try:
                if item is None and not takes_none:
                    raise Refused(item, "an item of a list cannot be None: leave it out")
                if convert is not None:
                    container.append(convert(item))
                else:
                    fill(container.add(), item)
            except Refused as refused:
                refused.steps.append(f"[{index}]")
                raise

    return fill_list


def _map_filler(entry_type: Descriptor) -> Fill:
    entry = entry_type.fields_by_name
    convert_key = converter(entry["key"])
    convert, fill = _value_writer(entry["value"])
    takes_none = _kind(entry["value"]) == reading.VALUE

    def fill_map(container: Any, pairs: object) -> None:
        if not isinstance(pairs, Mapping):
            raise Refused(pairs, "write a dict of keys and values")
        for key, value in pairs.items():
            try:
                if value is None and not takes_none:
                    raise Refused(value, "a value of a map cannot be None: leave its key out")
                name = convert_key(key)
                if name in container:
                    raise Refused(key, "another key of this map is the same on the wire: give it once")
                if convert is not None:
                    container[name] = convert(value)
                else:
                    fill(container[name], value)
            except Refused as refused:
                refused.steps.append(f"[{key!r}]")
                raise

    return fill_map


def _value_writer(field: FieldDescriptor) -> tuple[Convert | None, Fill]:
    """How one value of the field is written: by assigning what is converted, or by filling the message there."""
    if field.message_type is not None:
        return None, _filler_of(GetMessageClass(field.message_type))
    return converter(field), _no_fill


def _no_fill(message: Any, value: object) -> None:
    raise Refused(value, "a scalar is assigned, not filled")


# --- types that stand for a Python value --------------------------------------------------------------------------

_TEXT_OR_NUMBERS = (str, Decimal, int, float, date, time, timedelta)
_MASK_PATH = re.compile(r"\*|[A-Za-z_]\w*(?:\.(?:[A-Za-z_]\w*|\*))*", re.ASCII)


def _exact_filler(message_class: type[Message], kind: reading.ExactKind, fields: Fill) -> Fill:
    own_kind = kind_of(descriptor_of(message_class))
    parts_of = attrgetter(*kind.parts)

    def given_parts(value: object) -> tuple[int, ...]:
        if isinstance(value, Message) and kind_of(descriptor_of(value)) == own_kind:
            return tuple(parts_of(value))  # also from another pool: the parts say everything
        scratch = message_class()
        fields(scratch, value)
        return tuple(parts_of(scratch))

    def fill_exact(message: Any, value: object) -> None:
        try:
            if isinstance(value, _TEXT_OR_NUMBERS) or not isinstance(value, (Mapping, Message)):
                parts = kind.encode(value)
            else:
                parts = given_parts(value)
                kind.check(*parts)
        except ValueError as problem:
            raise Refused(value, str(problem)) from None
        for name, part in zip(kind.parts, parts, strict=True):
            setattr(message, name, part)

    return fill_exact


def _wrapped_filler(descriptor: Descriptor, name: str, fields: Fill) -> Fill:
    field = descriptor.fields_by_name[name]
    convert = None if field.is_repeated else converter(field)
    fill_items = _list_filler(field) if field.is_repeated else _no_fill

    def fill_wrapped(message: Any, value: object) -> None:
        if isinstance(value, Message) and value.DESCRIPTOR.full_name == descriptor.full_name:
            value = getattr(value, name)
        if isinstance(value, (Mapping, Message)):
            fields(message, value)
        elif convert is not None:
            setattr(message, name, convert(value))
        else:
            fill_items(getattr(message, name), value)
            message.SetInParent()

    return fill_wrapped


def _fill_mask(fields: Fill, message: Any, value: object) -> None:
    if isinstance(value, Message) and kind_of(descriptor_of(value)) == reading.FIELD_MASK:
        value = reading.reader_of(type(value))(value)
    if isinstance(value, (Mapping, Message)):
        return fields(message, value)
    if not isinstance(value, (str, Iterable)) or isinstance(value, (bytes, bytearray)):
        raise Refused(value, "write a list of field paths, or text such as 'name,address.city'")
    for path in value.split(",") if isinstance(value, str) else value:
        if not isinstance(path, str) or not _MASK_PATH.fullmatch(path):
            raise Refused(path, "a field path is names joined by dots, such as 'address.city'")
        message.paths.append(re.sub(r"(?<!^)(?<![._])([A-Z])", r"_\1", path).lower())
    message.SetInParent()


def _fill_any(descriptor: Descriptor, fields: Fill, message: Any, value: object) -> None:
    if isinstance(value, Message) and value.DESCRIPTOR.full_name != reading.ANY:
        message.type_url = f"type.googleapis.com/{value.DESCRIPTOR.full_name}"
        message.value = value.SerializeToString(deterministic=True)
        return
    if not isinstance(value, Mapping) or "@type" not in value:
        return fields(message, value)
    url = to_text(value["@type"])
    try:
        inner = GetMessageClass(descriptor.file.pool.FindMessageTypeByName(url.rpartition("/")[2]))
    except KeyError:
        raise Refused(url, "this type is not known here: write type_url and value instead", "['@type']") from None
    packed = inner()
    content = {key: part for key, part in value.items() if key != "@type"}
    _filler_of(inner)(packed, content.get("value") if kind_of(descriptor_of(inner)) else content)
    message.type_url, message.value = url, packed.SerializeToString(deterministic=True)


def _fill_struct(message: Any, value: object, depth: int = 0) -> None:
    if isinstance(value, Message):
        return _fill_from_message(message, value, partial(_fill_struct, depth=depth))
    if not isinstance(value, Mapping):
        raise Refused(value, "write a dict whose keys are text and whose values are what JSON holds")
    entries = message.fields
    for key, item in value.items():
        try:
            if not isinstance(key, str):
                raise Refused(key, "the keys of a struct are text")
            _fill_value(entries[to_text(key)], item, depth + 1)
        except Refused as refused:
            refused.steps.append(f"[{key!r}]")
            raise
    message.SetInParent()


def _fill_list(message: Any, value: object, depth: int = 0) -> None:
    if isinstance(value, Message):
        return _fill_from_message(message, value, partial(_fill_list, depth=depth))
    if not isinstance(value, (list, tuple)):
        raise Refused(value, "write a list of what JSON holds")
    for index, item in enumerate(value):
        try:
            _fill_value(message.values.add(), item, depth + 1)
        except Refused as refused:
            refused.steps.append(f"[{index}]")
            raise
    message.SetInParent()


def _fill_value(message: Any, value: object, depth: int = 0) -> None:
    if isinstance(value, str):
        message.string_value = to_text(value)
    elif value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, (int, float, Decimal)):
        message.number_value = _json_number(value)
    elif depth >= _DEEPEST_STRUCT:
        raise Refused(
            value, f"nested deeper than {_DEEPEST_STRUCT} levels: whoever receives it would refuse to parse it"
        )
    elif isinstance(value, Mapping):
        _fill_struct(message.struct_value, value, depth)
    elif isinstance(value, (list, tuple)):
        _fill_list(message.list_value, value, depth)
    elif isinstance(value, Message):
        _fill_from_message(message, value, partial(_fill_value, depth=depth))
    else:
        raise Refused(
            value,
            f"write what JSON holds: text, numbers, True, False, None, lists and dicts, not {type(value).__name__}",
        )


def _json_number(value: float | Decimal) -> float:
    number = exact_float(value)
    if math.isfinite(number):
        return number
    raise Refused(value, "JSON has no NaN and no Infinity: write a finite number, text or None")


def _fill_from_message(message: Any, value: Message, fill: Fill) -> None:
    """A Struct, Value or ListValue: copied, or carried over by content when it comes from another pool."""
    if value.DESCRIPTOR.full_name != message.DESCRIPTOR.full_name:
        raise Refused(
            value, f"this is a {message.DESCRIPTOR.full_name}, not {value.DESCRIPTOR.full_name}: write what JSON holds"
        )
    if value.DESCRIPTOR is message.DESCRIPTOR:
        message.CopyFrom(value)
        message.SetInParent()
    else:
        fill(message, reading.reader_of(type(value))(value))


_STRUCTURED: Mapping[str, Fill] = {
    reading.STRUCT: _fill_struct,
    reading.LIST_VALUE: _fill_list,
    reading.VALUE: _fill_value,
}
