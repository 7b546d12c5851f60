"""Python values → messages: the one door through which requests are built.

A builder is made per message type from its descriptor, field by field as fields turn up, and stays with the message
class. It works alike for generated and for dynamic classes and must not import generated modules. Building is pure: no
input or output, no clock, and either a whole valid message comes out or a RequestError that names the path, the value
and the way out. Reading lives in `reading`, the check of ready messages in `verifying`.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from invora_grpc import kinds, structs
from invora_grpc.compiling import Source
from invora_grpc.errors import ConfigError, RequestError, closest
from invora_grpc.kinds import descriptor_of, enum_names, kind_of, map_entry
from invora_grpc.reading import to_decimal, to_json, to_python
from invora_grpc.scalars import ROOT, Convert, Refused, RefusedInside, converter, some, to_text
from invora_grpc.unknown import unknown_fields
from invora_grpc.verifying import refuse_bad_amounts, verifier_of

__all__ = [
    "build",
    "enum_names",
    "from_decimal",
    "to_decimal",
    "to_json",
    "to_python",
    "unknown_fields",
    "verifier_of",
]

M = TypeVar("M", bound=Message)
Fill = Callable[[Any, object], None]
"""Writes a value into a message or a container; refuses by `Refused`."""
Put = Callable[[Any, object], None]
"""Writes a value into one field of a message; None leaves the field as it is."""
_FILLER = "__invora_filler__"


def build(message_class: type[M], values: Mapping[str, object] | Message | None = None) -> M:
    """A new message from plain values, whole and checked.

    Keys are proto field names (`unit_price`), JSON names (`unitPrice`), or `from_` for a field that is a Python
    keyword. None leaves a field unset, except for `google.protobuf.Value`, whose null it is. Nested messages are
    mappings or messages of the same type, which are copied; a repeated field takes any iterable but text and
    mappings. An object with a method `__invora_build__(descriptor)` stands for the mapping or message that it returns.

    Decimals are Decimal, int or numeric text (units in 64 bits, at most 9 decimal places); instants aware datetimes
    or RFC 3339 text; dates, times and durations Python's own types or text; masks lists of paths or comma-separated
    text; wrappers their plain value; enums a full or short name in any case, a number or an Enum; structs JSON-like
    dicts. What `to_python` gives is accepted, but for enum numbers without a name and for parts that must not be sent.

    Raises RequestError for the first value that does not fit, ConfigError for what is no message class.
    """
    try:
        message, fill = message_class(), filler_of(message_class)
    except (AttributeError, TypeError):
        raise _no_message_class(message_class) from None
    if values is None:
        return message
    try:
        fill(message, values)
    except Refused as refused:
        raise refused.at("") from None
    except RecursionError:
        raise RequestError(ROOT, type(values), "nested too deep: does a value contain itself?") from None
    return message


def _no_message_class(given: object) -> ConfigError:
    said = f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"
    return ConfigError("message_class", None, "give a generated message class, e.g. ChangeBase", f"is {said}")


def from_decimal(value: object, target: M | type[M], path: str = "") -> M:
    """A decimal as a `kernel.DecimalValue`: written into `target`, or into a new one if that is the class.

    Raises RequestError at `path`.
    """
    message: M = target() if isinstance(target, type) else target
    try:
        filler_of(type(message))(message, value)
    except Refused as refused:
        raise refused.at(path) from None
    return message


# --- messages -----------------------------------------------------------------------------------------------------


def filler_of(message_class: type[Message]) -> Fill:
    """The filler of a message class, made once. Two threads that make one at the same time make two equal ones."""
    filler: Fill | None = getattr(message_class, _FILLER, None)
    if filler is None:
        filler = _make_filler(message_class)
        setattr(message_class, _FILLER, filler)
    return filler


def _make_filler(message_class: type[Message]) -> Fill:
    kind = kind_of(descriptor_of(message_class))
    fields = _FieldsFiller(message_class).fill
    if kind in kinds.EXACT:
        return _exact_filler(message_class, kinds.EXACT[kind], fields)
    if kind in kinds.WRAPPED:
        return _wrapped_filler(descriptor_of(message_class), kinds.WRAPPED[kind], fields)
    if kind == kinds.FIELD_MASK:
        return partial(_fill_mask, fields)
    if kind == kinds.ANY:
        return partial(_fill_any, descriptor_of(message_class), fields)
    return _STRUCTURED.get(kind, fields)


class _FieldsFiller:
    """Fills the messages of one type from mappings, by a putter per key."""

    def __init__(self, message_class: type[Message]) -> None:
        self._descriptor = descriptor_of(message_class)
        self._names = _names(self._descriptor)
        self._puts: dict[str, Put] = {}
        """By proto name: these keys need no look at the other keys."""
        self._aliases: dict[str, tuple[Put, list[str]]] = {}
        """By another name, with the other names of that field."""

    def fill(self, message: Any, values: object) -> None:
        if type(values) is not dict and not isinstance(values, Mapping):
            return self._fill_from_object(message, values)
        puts = self._puts
        key = ""
        try:
            for key, value in values.items():
                put = puts.get(key)
                if put is None:
                    put = self._putter(key, values)
                put(message, value)
        except Refused as refused:
            refused.steps.append(f".{key}")
            raise
        message.SetInParent()

    def _putter(self, key: str, values: Mapping[str, object]) -> Put:
        if key not in self._aliases:
            field = self._names.get(key)
            if field is None:
                raise Refused(values[key], _unknown_field(key, self._names, self._descriptor))
            put = _put(field)
            if key == field.name:
                self._puts[key] = put
                return put
            self._aliases[key] = put, [name for name, same in self._names.items() if same is field and name != key]
        put, others = self._aliases[key]
        if values[key] is not None:
            for other in others:
                if values.get(other) is not None:
                    raise Refused(values[key], f"{other} and {key} are one field: give it once")
        return put

    def _fill_from_object(self, message: Any, value: object) -> None:
        """From a message of the very same type, which is copied, or from what an object builds."""
        if not isinstance(value, Message):
            return self.fill(message, _built(self._descriptor, value))
        theirs = descriptor_of(type(value))
        if theirs is not self._descriptor:
            name = self._descriptor.full_name
            same = theirs.full_name == name
            which = "one of that name from another descriptor pool" if same else theirs.full_name
            raise Refused(value, f"this is a {name}, not {which}: write a dict" + " (see to_python())" * same)
        refuse_bad_amounts(value)
        message.CopyFrom(value)
        message.SetInParent()


def _built(descriptor: Descriptor, value: object) -> Mapping[str, object] | Message:
    builder = getattr(type(value), "__invora_build__", None)
    if builder is None:
        raise Refused(value, f"write a dict with the fields of {descriptor.full_name}, or a message of that type")
    try:
        built = builder(value, descriptor)
    except RequestError as error:
        raise RefusedInside(error) from None
    if isinstance(built, (Mapping, Message)):
        return built
    raise Refused(value, f"its __invora_build__ gave {type(built).__name__}: it must give a mapping or a message")


def _names(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """Every key that stands for a field; a proto name wins over another field's alias."""
    names = {field.name: field for field in descriptor.fields}
    for field in descriptor.fields:
        names.setdefault(field.json_name, field)
        if keyword.iskeyword(field.name):
            names.setdefault(f"{field.name}_", field)
    return names


def _unknown_field(key: object, names: Mapping[str, FieldDescriptor], descriptor: Descriptor) -> str:
    fields = [field.name for field in descriptor.fields]
    if not fields:
        return f"{descriptor.full_name} has no fields"
    close = closest(str(key), names, 1)
    guess = f"did you mean {names[close[0]].name}? " if close else ""
    return f"no such field in {descriptor.full_name}; {guess}it has {some(fields)}"


# --- fields -------------------------------------------------------------------------------------------------------


def _put(field: FieldDescriptor) -> Put:
    """What writes a value into the field. Attributes are set by name: a name may be a Python keyword."""
    entry = map_entry(field)
    if entry is not None:
        put = _put_into(field, _map_filler(entry))
    else:
        put = _put_into(field, _list_filler(field)) if field.is_repeated else _put_one(field)
    oneof = field.containing_oneof
    if oneof is None or len(oneof.fields) < 2:  # proto3 optional is a oneof of one
        return put
    group, takes_none = oneof.name, _is_json_value(field)

    def put_member(message: Any, value: object) -> None:
        if (value is not None or takes_none) and (earlier := type(message).WhichOneof(message, group)) is not None:
            raise Refused(value, f"{earlier} is set too, and the oneof {group} takes one of them: leave one out")
        put(message, value)

    return put_member


def _put_one(field: FieldDescriptor) -> Put:
    name, (convert, fill) = field.name, _value_writer(field)
    if convert is None:
        return _put_into(field, fill)

    def put_text(message: Any, value: object) -> None:
        if type(value) is str:
            try:
                return setattr(message, name, value)
            except UnicodeEncodeError:
                pass  # to_text says it better
        if value is not None:
            setattr(message, name, to_text(value))

    def put_scalar(message: Any, value: object) -> None:
        if value is not None:
            setattr(message, name, convert(value))

    return put_text if convert is to_text else put_scalar


def _put_into(field: FieldDescriptor, fill: Fill) -> Put:
    name = field.name

    def put_into(message: Any, value: object) -> None:
        if value is not None:
            fill(getattr(message, name), value)

    def put_json_value(message: Any, value: object) -> None:
        fill(getattr(message, name), value)

    return put_json_value if _is_json_value(field) and not field.is_repeated else put_into


def _value_writer(field: FieldDescriptor) -> tuple[Convert | None, Fill]:
    """How one value of the field is written: by assigning what is converted, or by filling the message there."""
    if field.message_type is not None:
        return None, filler_of(GetMessageClass(field.message_type))
    return converter(field), _no_fill


def _no_fill(message: Any, value: object) -> None:
    raise Refused(value, "a scalar is assigned, not filled")


def _is_json_value(field: FieldDescriptor) -> bool:
    """Whether None is a value of the field: the null of JSON."""
    return field.message_type is not None and kind_of(field.message_type) == kinds.VALUE


def _list_filler(field: FieldDescriptor) -> Fill:
    convert, fill = _value_writer(field)
    takes_none = _is_json_value(field)

    def fill_list(container: Any, values: object) -> None:
        if type(values) is not list:
            if isinstance(values, (str, bytes, bytearray, Mapping, Message)) or not isinstance(values, Iterable):
                raise Refused(values, "write a list, also for one item: [...]")
            values = list(values)
        index = 0
        try:
            for item in values:
                if item is None and not takes_none:
                    raise Refused(item, "an item of a list cannot be None: leave it out")
                if convert is not None:
                    container.append(convert(item))
                else:
                    fill(container.add(), item)
                index += 1
        except Refused as refused:
            refused.steps.append(f"[{index}]")
            raise

    return fill_list


def _map_filler(entry_type: Descriptor) -> Fill:
    entry = entry_type.fields_by_name
    convert_key = converter(entry["key"])
    convert, fill = _value_writer(entry["value"])
    takes_none = _is_json_value(entry["value"])

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


# --- types that stand for a Python value --------------------------------------------------------------------------

_TEXT_OR_NUMBERS = (str, Decimal, int, float, date, time, timedelta)
_MASK_PATH = re.compile(r"\*|[A-Za-z_]\w*(?:\.(?:[A-Za-z_]\w*|\*))*", re.ASCII)


def _exact_filler(message_class: type[Message], kind: kinds.ExactKind, fields: Fill) -> Fill:
    own_kind = kind_of(descriptor_of(message_class))
    parts_of = attrgetter(*kind.parts)
    source = Source("m, parts")
    source.add(", ".join(f"m.{name}" for name in kind.parts) + " = parts")
    write = source.function(own_kind)

    def given_parts(value: object) -> tuple[int, ...]:
        if isinstance(value, Message) and kind_of(descriptor_of(type(value))) == own_kind:
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
        write(message, parts)

    return fill_exact


def _wrapped_filler(descriptor: Descriptor, name: str, fields: Fill) -> Fill:
    field = descriptor.fields_by_name[name]
    convert = None if field.is_repeated else converter(field)
    fill_items = _list_filler(field) if field.is_repeated else _no_fill

    def fill_wrapped(message: Any, value: object) -> None:
        if isinstance(value, Message) and descriptor_of(type(value)).full_name == descriptor.full_name:
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
    if isinstance(value, Message) and kind_of(descriptor_of(type(value))) == kinds.FIELD_MASK:
        paths: Any = value
        value = list(paths.paths)
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
    if isinstance(value, Message) and descriptor_of(type(value)).full_name != kinds.ANY:
        message.type_url = f"type.googleapis.com/{descriptor_of(type(value)).full_name}"
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
    filler_of(inner)(packed, content.get("value") if kind_of(descriptor_of(inner)) else content)
    message.type_url, message.value = url, packed.SerializeToString(deterministic=True)


_STRUCTURED: Mapping[str, Fill] = {
    kinds.STRUCT: structs.fill_struct,
    kinds.LIST_VALUE: structs.fill_list,
    kinds.VALUE: structs.fill_value,
}
