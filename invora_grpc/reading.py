"""Messages as plain Python values, and as JSON for people and the command line.

A message type is read field by field as protobuf lists them, until it has been seen often enough to tell that a reader
compiled for it would be faster; both ways give the same. Readers stay with the message class, so they go when a private
pool goes. The room works alike for generated and for dynamic classes, and must not import generated modules. Reading
never fails on what a server sent: a value that Python's own type cannot hold stays in its parts.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from invora_grpc import exact, kinds, structs
from invora_grpc.compiling import Source, attribute
from invora_grpc.errors import ConfigError
from invora_grpc.kinds import descriptor_of, enum_names, inner_type, is_map, kind_of, map_entry
from invora_grpc.structs import json_float
from invora_grpc.unknown import refuse_unknown

Reader = Callable[[Any], Any]
"""Takes a message or a scalar of one field, returns its plain form."""

_units_and_nanos = attrgetter("units", "nanos")
_READERS = "__invora_readers__"
_REAL = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)


class _Style(NamedTuple):
    """How messages are read. A reader is kept per message class and style."""

    json: bool = False
    short_enums: bool = False
    json_names: bool = False
    defaults: bool = False


_PLAIN = _Style()
_STYLES = {
    (names, defaults): _Style(json_names=names == "json", defaults=defaults)
    for names in ("wire", "json")
    for defaults in (False, True)
}
_JSON_SHORT = _Style(json=True, short_enums=True)
_JSON_LONG = _Style(json=True)


def to_python(
    message: Message,
    *,
    names: Literal["wire", "json"] = "wire",
    defaults: bool = False,
    unknown: Literal["ignore", "error"] = "ignore",
) -> dict[str, Any]:
    """The message as a dict of plain Python values; what is not set is left out.

    Keys are proto field names (`unit_price`), or with `names="json"` JSON names (`unitPrice`); `build` takes both.

    Decimals become Decimal, timestamps aware UTC datetimes, dates date, times of day time, durations timedelta,
    wrappers their value, masks lists of paths, structs dicts, enums their full name (a number that has no name stays
    int). What Python's own type would cut short is text: a timestamp, duration or time with nanoseconds, and the time
    24:00:00. What it cannot hold at all is a dict of its parts: partial dates, instants outside the years 1 to 9999,
    decimals whose parts disagree in sign. An Any is a dict with "@type", or with its raw `type_url` and `value` when
    its type is not in the message's pool.

    `defaults=True` adds every other field: zero values and empty lists, and None where a field has presence and is
    absent.

    Fields that the schema does not know have no name to be read by and are left out; `unknown="error"` raises
    UnknownFieldsError instead, with their place and numbers. `unknown_fields` counts them.
    """
    style = _STYLES.get((names, bool(defaults)))
    if style is None or unknown not in ("ignore", "error"):
        raise ConfigError(
            "names, unknown", (names, unknown), "names are 'wire' or 'json'; unknown is 'ignore' or 'error'"
        )
    if unknown == "error":
        refuse_unknown(message)
    plain = reader_of(type(message), style)(message)
    return plain if isinstance(plain, dict) else _FieldsReader(type(message), style).read(message)


def to_json(message: Message, *, short_enums: bool = True) -> Any:
    """The message in JSON's own types, with proto field names.

    Decimals are plain digits, dates and instants ISO text, bytes base64. Enums are short names (`SAR`) or, with
    `short_enums=False`, full ones; 64-bit numbers stay numbers; NaN and the infinities are text.
    """
    return reader_of(type(message), _JSON_SHORT if short_enums else _JSON_LONG)(message)


def to_decimal(message: Message) -> Decimal:
    """The Decimal of a `kernel.DecimalValue`, without trailing zeros; ValueError if its parts disagree in sign.

    Raises ConfigError for what is no such message.
    """
    try:
        units, nanos = _units_and_nanos(message)
    except AttributeError:
        raise ConfigError("message", None, "give a kernel.DecimalValue", f"is a {type(message).__name__}") from None
    return exact.decimal_of(units, nanos)


# --- readers ------------------------------------------------------------------------------------------------------


def reader_of(message_class: type[Message], style: _Style = _PLAIN) -> Reader:
    """The reader of a message class, made once. Two threads that make one at the same time make two equal ones."""
    reader = _kept(message_class, style)
    return reader.read if isinstance(reader, _FieldsReader) else reader


def _kept(message_class: type[Message], style: _Style) -> Reader | _FieldsReader:
    readers: dict[_Style, Reader | _FieldsReader] | None = getattr(message_class, _READERS, None)
    if readers is None:
        if not issubclass(message_class, Message):
            hint = "give one generated message; of a list, its items one by one"
            raise ConfigError("message", None, hint, f"is a {message_class.__name__}")
        readers = {}
        setattr(message_class, _READERS, readers)
    reader = readers.get(style)
    if reader is None:
        reader = readers[style] = _special_reader(message_class, style) or _FieldsReader(message_class, style)
    return reader


def _follow(message_class: type[Message], style: _Style, use: Callable[[Reader], None]) -> None:
    """Hand over the reader of a message class, and later on any better one."""
    reader = _kept(message_class, style)
    if isinstance(reader, _FieldsReader):
        reader.users.append(use)
        reader = reader.read
    use(reader)


def _special_reader(message_class: type[Message], style: _Style) -> Reader | None:
    descriptor = descriptor_of(message_class)
    kind = kind_of(descriptor)
    if kind in kinds.EXACT:
        return _exact_reader(kinds.EXACT[kind], style)
    if kind in kinds.WRAPPED:
        return _wrapped_reader(descriptor.fields_by_name[kinds.WRAPPED[kind]], style)
    if kind == kinds.ANY:
        return _any_reader(descriptor.file.pool, style)
    if kind == kinds.FIELD_MASK:
        return _read_mask
    structured = _STRUCTURED.get(kind)
    return partial(structured, json=True) if structured is not None and style.json else structured


class _FieldsReader:
    """Reads the messages of one type as dicts; replaces its own `read` by a compiled one once that pays."""

    WARM = 100  # messages; compiling a type costs about as much as reading three hundred of it
    # What reading costs, in nanoseconds, so that a wide type of which little is set stays listed.
    LISTED, DECLARED, FOUND = 100, 3, 170  # ListFields(), for each field of the type, and for each that is set
    PRESENT, SCALAR, REPEATED = 30, 40, 110  # asking for one field in compiled code, set or not

    def __init__(self, message_class: type[Message], style: _Style) -> None:
        self.read: Reader = self._read_listed
        self.users: list[Callable[[Reader], None]] = []
        self._class, self._style = message_class, style
        self._descriptor = descriptor_of(message_class)
        self._list = message_class.ListFields  # of the class: a field may have this name too
        self._known: dict[FieldDescriptor, tuple[str, Reader | None]] = {}
        self._absent = [_absent(field, style) for field in self._descriptor.fields] if style.defaults else []
        self._left = 0 if style.defaults or self._descriptor.is_extendable else self.WARM
        self._found = 0

    def _read_listed(self, message: Message) -> dict[str, Any]:
        plain: dict[str, Any] = {name: make() for name, make in self._absent}
        found = self._list(message)
        for field, value in found:
            entry = self._known.get(field)
            if entry is None:
                entry = self._enter(field)
            name, convert = entry
            plain[name] = value if convert is None else convert(value)
        if self._left > 0:
            self._warm_up(len(found))
        return plain

    def _warm_up(self, found: int) -> None:
        self._found += found
        self._left -= 1
        if self._left == 0 and self._compiling_pays():
            self.read = _compiled(self._class, self._style)
            while self.users:
                self.users.pop()(self.read)

    def _enter(self, field: FieldDescriptor) -> tuple[str, Reader | None]:
        name = f"[{field.full_name}]" if field.is_extension else _name(field, self._style)

        def enter(reader: Reader) -> None:
            self._known[field] = (name, _field_reader(field, self._style, reader))

        if (inner := _inner(field)) is not None:
            _follow(inner, self._style, enter)
        else:
            self._known[field] = (name, _field_reader(field, self._style, None))
        return self._known[field]

    def _compiling_pays(self) -> bool:
        found = self._found / self.WARM
        asked = 0
        for field in self._descriptor.fields:
            asked += self.REPEATED if field.is_repeated else self.PRESENT if field.has_presence else self.SCALAR
        listed = self.LISTED + self.DECLARED * len(self._descriptor.fields) + self.FOUND * found
        return asked + found * self.SCALAR < listed


def _name(field: FieldDescriptor, style: _Style) -> str:
    return field.json_name if style.json_names else field.name


def _inner(field: FieldDescriptor) -> type[Message] | None:
    """The class of the messages that a field holds, or that are the values of a map."""
    of = inner_type(field)
    return GetMessageClass(of) if of is not None else None


def _absent(field: FieldDescriptor, style: _Style) -> tuple[str, Callable[[], Any]]:
    """The key of a field, and what makes its plain form when it is not set."""
    name = _name(field, style)
    if field.is_repeated:
        return name, dict if is_map(field) else list
    if field.has_presence:
        return name, lambda: None
    convert = _scalar_reader(field, style)
    zero = field.default_value if convert is None else convert(field.default_value)
    return name, lambda: zero


def _field_reader(field: FieldDescriptor, style: _Style, read: Reader | None) -> Reader | None:
    """The reader of all that a field holds, where `read` reads one message; None if it is plain as it is."""
    if (entry := map_entry(field)) is not None:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        return _map_reader(_key_reader(key, style), read or _scalar_reader(value, style))
    convert = read or _scalar_reader(field, style)
    if not field.is_repeated:
        return convert
    if convert is None:
        return list
    return lambda values: [convert(value) for value in values[:]]


def _map_reader(read_key: Reader | None, read_value: Reader | None) -> Reader:
    if read_key is None and read_value is None:
        return dict
    if read_key is None and read_value is not None:
        return lambda pairs: {key: read_value(pairs[key]) for key in pairs}

    def read_map(pairs: Mapping[Any, Any]) -> dict[Any, Any]:
        return {
            read_key(key) if read_key else key: read_value(pairs[key]) if read_value else pairs[key] for key in pairs
        }

    return read_map


def _key_reader(field: FieldDescriptor, style: _Style) -> Reader | None:
    """JSON's keys are text; Python's keep their type."""
    if not style.json or field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return None
    return lambda key: str(key).lower()


def _scalar_reader(field: FieldDescriptor, style: _Style) -> Reader | None:
    """The reader of one scalar of the field; None where protobuf's own value is the plain one."""
    if field.enum_type is not None:
        return _enum_reader(field.enum_type, style)
    if style.json and field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode("ascii")
    if style.json and field.cpp_type in _REAL:
        return json_float
    return None


def _enum_reader(enum: EnumDescriptor, style: _Style) -> Reader:
    names = _names_of(enum, style)
    return lambda number: names.get(number, number)


def _names_of(enum: EnumDescriptor, style: _Style) -> dict[int, str]:
    pairs: Iterable[tuple[str, int]]
    pairs = enum_names(enum).items() if style.short_enums else ((value.name, value.number) for value in enum.values)
    names: dict[int, str] = {}
    for name, number in pairs:
        names.setdefault(number, name)
    return names


# --- compiled readers ---------------------------------------------------------------------------------------------


def _compiled(message_class: type[Message], style: _Style) -> Reader:
    """A reader that asks for field by field: no list of fields, no descriptors, no dispatch."""
    source = Source()
    source.add("d = {}")
    has = source.bind(message_class.HasField)  # of the class: a field may have this name too
    for field in descriptor_of(message_class).fields:
        held = attribute("m", field.name)
        if field.has_presence:
            source.add(f"if {has}(m, {field.name!r}):", f" v = {held}")
        else:
            test = "v"
            if field.cpp_type in _REAL and not field.is_repeated:
                test += f" or {source.bind(_is_negative_zero)}(v)"
            source.add(f"v = {held}", f"if {test}:")
        _write_field(source, field, style)
    source.add("return d")
    return source.function(descriptor_of(message_class).full_name)


def _write_field(source: Source, field: FieldDescriptor, style: _Style) -> None:
    """The lines that read what the field holds, `v`, into `d`."""
    to = f"d[{_name(field, style)!r}]"
    inner = _inner(field)
    if inner is None or is_map(field):
        source.add(f"{to} = {_plain(source, field, inner, style)}", indent=2)
        return
    kind = kind_of(descriptor_of(inner))
    if field.is_repeated:
        items = source.bind(None)
        source.add(f"{to} = l = []", "for v in v[:]:", f" l.append({items}(v))", indent=2)
        _follow(inner, style, _rebinding(source, items))
    elif kind in kinds.EXACT:
        parts = kinds.EXACT[kind].parts
        decode = source.bind(kinds.EXACT[kind].text if style.json else kinds.EXACT[kind].decode)
        whole = ", ".join(f"{name!r}: v.{name}" for name in parts)
        source.add(f"try: {to} = {decode}({', '.join(f'v.{name}' for name in parts)})", indent=2)
        source.add(f"except ValueError: {to} = {{{whole}}}", indent=2)
    elif kind in kinds.WRAPPED:
        wrapped = descriptor_of(inner).fields_by_name[kinds.WRAPPED[kind]]
        source.add(f"v = v.{wrapped.name}", f"{to} = {_plain(source, wrapped, None, style)}", indent=2)
    else:
        read = source.bind(None)
        source.add(f"{to} = {read}(v)", indent=2)
        _follow(inner, style, _rebinding(source, read))


def _rebinding(source: Source, name: str) -> Callable[[Reader], None]:
    return lambda reader: source.names.__setitem__(name, reader)


def _plain(source: Source, field: FieldDescriptor, inner: type[Message] | None, style: _Style) -> str:
    """The expression for what a field of scalars, or a map, holds."""
    if is_map(field) and inner is not None:
        read = source.bind(None)
        _follow(inner, style, lambda reader: source.names.__setitem__(read, _field_reader(field, style, reader)))
        return f"{read}(v)"
    if field.enum_type is not None and not field.is_repeated:
        return f"{source.bind(_names_of(field.enum_type, style).get)}(v, v)"
    convert = _field_reader(field, style, None)
    if field.is_repeated and convert is list:
        return "v[:]"
    return "v" if convert is None else f"{source.bind(convert)}(v)"


def _is_negative_zero(value: float) -> bool:
    """Minus zero is a value of its own on the wire, so it is set, though it is false."""
    return math.copysign(1.0, value) < 0


# --- readers of types that stand for a Python value -----------------------------------------------------------------


def _exact_reader(kind: kinds.ExactKind, style: _Style) -> Reader:
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
    convert = _field_reader(field, style, None)
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
            return {"typeUrl" if style.json_names else "type_url": url, "value": raw}
        return {"@type": url, "value": plain} if kind_of(descriptor) else {"@type": url, **plain}

    return read_any


def _read_mask(message: Any) -> list[str]:
    return list(message.paths)


_STRUCTURED: Mapping[str, Callable[..., Any]] = {
    kinds.STRUCT: structs.read_struct,
    kinds.LIST_VALUE: structs.read_list,
    kinds.VALUE: structs.read_value,
}
"""Readers that can read for JSON, too."""
