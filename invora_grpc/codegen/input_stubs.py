"""Stubs of what requests take: a TypedDict per message, the names of enums, and the types that stand for one value.

They mirror what `invora_grpc.values.build` accepts, a little narrower: canonical names only, no numbers for enums.
Written are the messages that a request can hold, one `*_dicts.pyi` beside the generated module of each proto file.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from invora_grpc import kinds
from invora_grpc.codegen.catalog_source import ServiceRow
from invora_grpc.codegen.schema import Schema, python_name
from invora_grpc.codegen.stub_text import Imports, docstring, entry
from invora_grpc.kinds import enum_names, is_map, kind_of

MANY_VALUES = 40
"""An enum with more values than this is a list of codes, which programs read from elsewhere: any str is taken too."""

_GOOGLE = "google.protobuf."
_LIKE: Mapping[str, str] = {
    kinds.DECIMAL: "DecimalLike",
    f"{_GOOGLE}Timestamp": "InstantLike",
    f"{_GOOGLE}Duration": "DurationLike",
    "google.type.Date": "DateLike",
    "google.type.TimeOfDay": "TimeLike",
    "kernel.StringList": "TextsLike",
    kinds.FIELD_MASK: "MaskLike",
    kinds.STRUCT: "StructLike",
    kinds.LIST_VALUE: "ListLike",
    kinds.VALUE: "ValueLike",
    kinds.ANY: "AnyLike",
}
_SCALARS: Mapping[int, str] = {
    FieldDescriptor.CPPTYPE_INT32: "int",
    FieldDescriptor.CPPTYPE_INT64: "int",
    FieldDescriptor.CPPTYPE_UINT32: "int",
    FieldDescriptor.CPPTYPE_UINT64: "int",
    FieldDescriptor.CPPTYPE_BOOL: "bool",
}
_NOTHING = "    ...\n"
_LIKES = '''"""What stands for one value in a request: the plain Python type, its text, or the message itself."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Protocol, TypeAlias, TypeVar
from uuid import UUID

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from {package}.kernel.decimal_pb2 import DecimalValue
from {package}.kernel.wrappers_pb2 import StringList

_T_co = TypeVar("_T_co", covariant=True)

class _Collection(Protocol[_T_co]):
    """A list, tuple, set or the like. A str is none: it looks only for text in itself."""
    def __iter__(self) -> Iterator[_T_co]: ...
    def __contains__(self, item: object, /) -> bool: ...

class _Date(Protocol):
    """google.type.Date, whose package has no types of its own."""
    DESCRIPTOR: Any
    year: int
    month: int
    day: int

class _TimeOfDay(Protocol):
    """google.type.TimeOfDay, whose package has no types of its own."""
    DESCRIPTOR: Any
    hours: int
    minutes: int
    seconds: int
    nanos: int

Texts: TypeAlias = _Collection[_T_co] | Iterator[_T_co]
"""Several pieces of text, in anything that yields them but one str, which would be taken letter by letter."""
DecimalLike: TypeAlias = Decimal | int | str | DecimalValue
"""An exact number. A float is not exact."""
InstantLike: TypeAlias = datetime | str | Timestamp
"""A datetime with a time zone, or RFC 3339 text."""
DurationLike: TypeAlias = timedelta | str | Duration
"""A timedelta, or text such as "3.5s"."""
DateLike: TypeAlias = date | str | _Date
"""A date, or text such as "2026-11-21"."""
TimeLike: TypeAlias = time | str | _TimeOfDay
"""A time without zone, or text such as "09:30:00"."""
TextsLike: TypeAlias = Texts[str | UUID] | StringList
MaskLike: TypeAlias = str | Texts[str] | FieldMask
"""Paths of fields: a list of them, or text with commas between them."""
StructLike: TypeAlias = Mapping[str, Any] | Struct
"""What JSON holds, as a dict."""
ListLike: TypeAlias = Sequence[Any] | ListValue
ValueLike: TypeAlias = str | float | Decimal | Mapping[str, Any] | Sequence[Any] | Value | None
AnyLike: TypeAlias = Message | Mapping[str, Any] | AnyMessage
'''


def render(schema: Schema, services: Iterable[ServiceRow]) -> dict[str, str]:
    """Path → text of every `*_dicts.pyi`, and of the types that they share."""
    messages, enums = _reachable(schema, services)
    files = {thing.file.name: thing.file for thing in (*messages, *enums)}
    outputs = {f"{schema.package}/likes.pyi": _LIKES.replace("{package}", schema.package)}
    for name in sorted(files):
        module = schema.module(files[name], "dicts")
        own = Fields(schema, Imports(), module)
        parts = [_names(own, enum) for enum in enums if enum.file.name == name]
        parts += [_dict(own, message) for message in messages if message.file.name == name]
        _refuse_doubles(module, [*enums, *messages], name)
        outputs[f"{module.replace('.', '/')}.pyi"] = "\n".join([_head(name), str(own.imports), *parts])
    return outputs


def _head(file: str) -> str:
    return f'"""What requests take for the messages of {file}, for type checkers only."""\n'


def _refuse_doubles(module: str, things: Sequence[Descriptor | EnumDescriptor], file: str) -> None:
    names = [stub_name(thing) for thing in things if thing.file.name == file]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise ValueError(f"{module}: two messages or enums would both be called {doubles[0]}")


def _reachable(schema: Schema, services: Iterable[ServiceRow]) -> tuple[list[Descriptor], list[EnumDescriptor]]:
    """The messages that a request can hold, and the enums in them, sorted by full name."""
    todo = [schema.message(method.request) for service in services for method in service.methods]
    messages: dict[str, Descriptor] = {}
    enums: dict[str, EnumDescriptor] = {}
    while todo:
        message = todo.pop()
        if message.full_name in messages or kind_of(message):
            continue
        messages[message.full_name] = message
        for field in message.fields:
            if field.message_type is not None:
                todo.append(field.message_type)
            if field.enum_type is not None:
                enums[field.enum_type.full_name] = field.enum_type
    plain = {name: message for name, message in messages.items() if not message.GetOptions().map_entry}
    return [plain[name] for name in sorted(plain)], [enums[name] for name in sorted(enums)]


def stub_name(element: Descriptor | EnumDescriptor) -> str:
    """The name in `*_dicts.pyi`: `AddressDict` for a message, `CurrencyName` for an enum."""
    plain = python_name(element).replace(".", "")
    return f"{plain}Dict" if isinstance(element, Descriptor) else f"{plain}Name"


class Fields:
    """Types of fields, as they are written in one stub."""

    def __init__(self, schema: Schema, imports: Imports, module: str = "") -> None:
        self.schema = schema
        self.imports = imports
        self._module = module

    def message(self, message: Descriptor) -> str:
        """The generated class of a message."""
        return self.imports.member(self.schema.module(message.file, "pb2"), python_name(message))

    def given(self, message: Descriptor) -> str:
        """A message as a request takes it: its class or its TypedDict."""
        return f"{self.message(message)} | {self._stub(message)}"

    def type(self, field: FieldDescriptor) -> str:
        """What a request takes for a field. None leaves it out."""
        imports = self.imports
        if field.message_type is not None and is_map(field):
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            return f"{imports.name('collections.abc', 'Mapping')}[{self._key(key)}, {self._item(value)}] | None"
        if not field.is_repeated:
            item = self._item(field)
            return item if item.endswith("ValueLike") else f"{item} | None"
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING and field.type == FieldDescriptor.TYPE_STRING:
            return f"{self._like('Texts')}[{self._item(field)}] | None"
        if field.enum_type is not None and len(field.enum_type.values) > MANY_VALUES:
            return f"{self._like('Texts')}[{self._item(field)}] | None"
        return f"{imports.name('collections.abc', 'Iterable')}[{self._item(field)}] | None"

    def _item(self, field: FieldDescriptor) -> str:
        if field.enum_type is not None:
            enum = field.enum_type
            module = self.schema.module(enum.file, "pb2")
            return f"{self._stub(enum)} | {self.imports.member(module, python_name(enum))}"
        if field.message_type is None:
            return self._scalar(field)
        kind = kind_of(field.message_type)
        if kind in _LIKE:
            return self._like(_LIKE[kind])
        if kind in kinds.WRAPPED:
            inner = field.message_type.fields_by_name[kinds.WRAPPED[kind]]
            return f"{self._scalar(inner)} | {self.message(field.message_type)}"
        return self.given(field.message_type)

    def _scalar(self, field: FieldDescriptor) -> str:
        if field.cpp_type in _SCALARS:
            return _SCALARS[field.cpp_type]
        if field.cpp_type != FieldDescriptor.CPPTYPE_STRING:
            return f"float | {self.imports.name('decimal', 'Decimal')}"
        if field.type == FieldDescriptor.TYPE_BYTES:
            return "bytes | bytearray | memoryview"
        return f"str | {self.imports.name('uuid', 'UUID')}"

    def _key(self, field: FieldDescriptor) -> str:
        return _SCALARS.get(field.cpp_type, "str")

    def _like(self, name: str) -> str:
        return self.imports.member(f"{self.schema.package}.likes", name)

    def _stub(self, element: Descriptor | EnumDescriptor) -> str:
        module = self.schema.module(element.file, "dicts")
        name = stub_name(element)
        return name if module == self._module else self.imports.member(module, name)


def field_docs(schema: Schema, message: Descriptor) -> list[str]:
    """A line for each field with a comment, and for each choice between fields."""
    said = [entry(argument(field), schema.comment(field.full_name)) for field in message.fields]
    return [*filter(None, said), *choices(message)]


def choices(message: Descriptor) -> list[str]:
    """A line for each oneof, which no type can tell."""
    groups = [[argument(field) for field in oneof.fields] for oneof in message.oneofs]
    return [f"At most one of {', '.join(group)}." for group in groups if len(group) > 1]


def _names(own: Fields, enum: EnumDescriptor) -> str:
    """The alias that lists the names of an enum."""
    short = list(enum_names(enum))
    many = len(enum.values) > MANY_VALUES
    names = short if many else list(dict.fromkeys([*short, *(value.name for value in enum.values)]))
    items = "".join(f'    "{name}",\n' for name in names)
    alias = own.imports.name("typing", "TypeAlias")
    text = f"{stub_name(enum)}: {alias} = {own.imports.name('typing', 'Literal')}[\n{items}]{' | str' * many}\n"
    said = [entry(value.name, own.schema.comment(f"{enum.full_name}.{value.name}")) for value in enum.values]
    return text + docstring("\n".join([own.schema.comment(enum.full_name), *filter(None, said)]), 0)


def _dict(own: Fields, message: Descriptor) -> str:
    """The TypedDict of a message. Keys that are Python keywords come from a base, which only a call can define."""
    name, base = stub_name(message), own.imports.name("typing", "TypedDict")
    reserved = [field for field in message.fields if keyword.iskeyword(field.name)]
    text = ""
    if reserved:
        items = "".join(f'        "{field.name}": {own.type(field)},\n' for field in reserved)
        text = f'_{name}Keywords = {base}(\n    "_{name}Keywords",\n    {{\n{items}    }},\n    total=False,\n)\n\n'
        base = f"_{name}Keywords"
    body = docstring("\n".join([own.schema.comment(message.full_name), *choices(message)]), 4)
    for field in message.fields:
        body += f"    {argument(field)}: {own.type(field)}\n" + docstring(own.schema.comment(field.full_name), 4)
    return f"{text}class {name}({base}, total=False):\n{body or _NOTHING}"


def argument(field: FieldDescriptor) -> str:
    """The name of a field as keyword argument: with an underscore behind a Python keyword."""
    name: str = field.name
    return f"{name}_" if keyword.iskeyword(name) else name
