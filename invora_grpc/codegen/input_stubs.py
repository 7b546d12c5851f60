"""Stubs of what requests take: a TypedDict per message, the names of enums, and the types that stand for one value.

They mirror what `invora_grpc.values.build` accepts, a little narrower: canonical names only, no numbers for enums.
Written are the messages that a request can hold, one `*_dicts.pyi` beside the generated module of each proto file, and
in the package also for files that are not generated.
"""

from __future__ import annotations

import keyword
from collections.abc import Collection, Iterable, Mapping

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from invora_grpc import kinds
from invora_grpc.codegen.catalog_source import ServiceRow, literal
from invora_grpc.codegen.schema import Schema, stub_name
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
_READ: Mapping[int, str] = {**_SCALARS, FieldDescriptor.CPPTYPE_STRING: "str"}
_NOTHING = "    ...\n"
_LIKE_MESSAGES: Mapping[str, tuple[str, str]] = {
    "AnyMessage": (kinds.ANY, "any"),
    "Duration": (f"{_GOOGLE}Duration", "duration"),
    "FieldMask": (kinds.FIELD_MASK, "field_mask"),
    "ListValue": (kinds.LIST_VALUE, "struct"),
    "Struct": (kinds.STRUCT, "struct"),
    "Timestamp": (f"{_GOOGLE}Timestamp", "timestamp"),
    "Value": (kinds.VALUE, "struct"),
}
"""Messages of Google's that stand for one value: the name in `likes.pyi`, the message, and the file that has it."""
_OWN_MESSAGES: Mapping[str, str] = {"DecimalValue": kinds.DECIMAL, "StringList": "kernel.StringList"}
"""Messages that stand for one value in some schemas only."""
_LIKES = '''"""What stands for one value in a request: the plain Python type, its text, or the message itself."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Protocol, TypeAlias, TypeVar
from uuid import UUID

from google.protobuf.message import Message
{imports}
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
DecimalLike: TypeAlias = Decimal | int | str{DecimalValue}
"""An exact number. A float is not exact."""
InstantLike: TypeAlias = datetime | str | {Timestamp}
"""A datetime with a time zone, or RFC 3339 text."""
DurationLike: TypeAlias = timedelta | str | {Duration}
"""A timedelta, or text such as "3.5s"."""
DateLike: TypeAlias = date | str | _Date
"""A date, or text such as "2026-11-21"."""
TimeLike: TypeAlias = time | str | _TimeOfDay
"""A time without zone, or text such as "09:30:00"."""
TextsLike: TypeAlias = Texts[str | UUID]{StringList}
MaskLike: TypeAlias = str | Texts[str] | {FieldMask}
"""Paths of fields: a list of them, or text with commas between them."""
StructLike: TypeAlias = Mapping[str, Any] | {Struct}
"""What JSON holds, as a dict."""
ListLike: TypeAlias = Sequence[Any] | {ListValue}
ValueLike: TypeAlias = str | float | Decimal | Mapping[str, Any] | Sequence[Any] | {Value} | None
AnyLike: TypeAlias = Message | Mapping[str, Any] | {AnyMessage}
'''


def render(schema: Schema, services: Iterable[ServiceRow]) -> dict[str, str]:
    """Path → text of every `*_dicts.pyi`, and of the types that they share."""
    messages, enums = _reachable(schema, services)
    files = {thing.file.name: thing.file for thing in (*messages, *enums)}
    outputs = {f"{schema.package.replace('.', '/')}/likes.pyi": _likes(schema)}
    for name in sorted(files):
        held = [message for message in messages if message.file.name == name]
        keys = {argument(field) for message in held for field in message.fields}
        own = Fields(schema, Imports({*keys, *schema.input_names(files[name]).values()}), name, keys)
        parts = [_names(own, enum) for enum in enums if enum.file.name == name]
        parts += [_dict(own, message) for message in held]
        head = docstring(f"What requests take for the messages of {name}, for type checkers only.", 0)
        path = schema.module(files[name], "dicts").replace(".", "/")
        outputs[f"{path}.pyi"] = "\n".join([head, str(own.imports), *parts])
    return outputs


def _likes(schema: Schema) -> str:
    """The types that stand for one value, with the messages where this schema has them."""
    imports, text = Imports(), _LIKES
    for name, (full_name, file) in _LIKE_MESSAGES.items():
        message = schema.known(full_name)
        known = message is not None and schema.can_import(message.file)
        module = schema.module(message.file) if message is not None and known else f"google.protobuf.{file}_pb2"
        text = text.replace(f"{{{name}}}", imports.member(module, full_name.rpartition(".")[2]))
    for name, full_name in _OWN_MESSAGES.items():
        message = schema.known(full_name)
        known = message is not None and schema.can_import(message.file)
        own = f" | {imports.member(schema.module(message.file), name)}" if message is not None and known else ""
        text = text.replace(f"{{{name}}}", own)
    return text.replace("{imports}", str(imports))


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


class Fields:
    """Types of fields, as they are written in one stub."""

    def __init__(self, schema: Schema, imports: Imports, file: str = "", keys: Collection[str] = ()) -> None:
        """`file`: the one whose `*_dicts.pyi` this is; `keys`: what its classes declare."""
        self.schema = schema
        self.imports = imports
        self._file = file
        self._keys = keys

    def message(self, message: Descriptor) -> str:
        """The generated class of a message."""
        if not self.schema.can_import(message.file):
            return self.imports.name("google.protobuf.message", "Message")
        return self.imports.member(self.schema.module(message.file), stub_name(message))

    def given(self, message: Descriptor) -> str:
        """A message as a request takes it: its class or its TypedDict."""
        if kind_of(message):
            mapping = self.imports.name("collections.abc", "Mapping")
            return f"{self.message(message)} | {mapping}[str, {self.imports.name('typing', 'Any')}]"
        return f"{self.message(message)} | {self._stub(message)}"

    def read(self, field: FieldDescriptor) -> str:
        """What one value of a field is when it is read."""
        if field.message_type is not None:
            return self.message(field.message_type)
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self.imports.builtin("bytes")
        return self.imports.builtin(_READ.get(field.cpp_type, "float"))

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
            return f"{self._stub(field.enum_type)} | {self._enum(field.enum_type)}"
        if field.message_type is None:
            return self._scalar(field)
        kind = kind_of(field.message_type)
        if kind in _LIKE:
            return self._like(_LIKE[kind])
        if kind in kinds.WRAPPED:
            inner = field.message_type.fields_by_name[kinds.WRAPPED[kind]]
            return f"{self._scalar(inner)} | {self.message(field.message_type)}"
        return self.given(field.message_type)

    def _enum(self, enum: EnumDescriptor) -> str:
        if not self.schema.can_import(enum.file):
            return self.imports.builtin("int")
        return self.imports.member(self.schema.module(enum.file), self.schema.stub_type(enum))

    def _scalar(self, field: FieldDescriptor) -> str:
        builtin = self.imports.builtin
        if field.cpp_type in _SCALARS:
            return builtin(_SCALARS[field.cpp_type])
        if field.cpp_type != FieldDescriptor.CPPTYPE_STRING:
            return f"{builtin('float')} | {self.imports.name('decimal', 'Decimal')}"
        if field.type == FieldDescriptor.TYPE_BYTES:
            return f"{builtin('bytes')} | {builtin('bytearray')} | {builtin('memoryview')}"
        return f"{builtin('str')} | {self.imports.name('uuid', 'UUID')}"

    def _key(self, field: FieldDescriptor) -> str:
        return self.imports.builtin(_SCALARS.get(field.cpp_type, "str"))

    def _like(self, name: str) -> str:
        return self.imports.member(f"{self.schema.package}.likes", name)

    def _stub(self, element: Descriptor | EnumDescriptor) -> str:
        name = self.schema.input_names(element.file)[element.full_name]
        own = element.file.name == self._file and name not in self._keys
        return name if own else self.imports.member(self.schema.module(element.file, "dicts"), name)


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
    alias, called = own.imports.name("typing", "TypeAlias"), own.schema.input_names(enum.file)[enum.full_name]
    more = f" | {own.imports.builtin('str')}" * many
    text = f"{called}: {alias} = {own.imports.name('typing', 'Literal')}[\n{items}]{more}\n"
    said = [entry(value.name, own.schema.comment(f"{enum.full_name}.{value.name}")) for value in enum.values]
    return text + docstring("\n".join([own.schema.comment(enum.full_name), *filter(None, said)]), 0)


def _dict(own: Fields, message: Descriptor) -> str:
    """The TypedDict of a message. Keys that no class can declare come from a base, which only a call can define."""
    name = own.schema.input_names(message.file)[message.full_name]
    base = own.imports.name("typing", "TypedDict")
    reserved = [field for field in message.fields if not is_declarable(field.name)]
    text = ""
    if reserved:
        items = "".join(f"        {literal(field.name)}: {own.type(field)},\n" for field in reserved)
        text = f'_{name}Keywords = {base}(\n    "_{name}Keywords",\n    {{\n{items}    }},\n    total=False,\n)\n\n'
        base = f"_{name}Keywords"
    body = docstring("\n".join([own.schema.comment(message.full_name), *choices(message)]), 4)
    for field in message.fields:
        if is_declarable(argument(field)):
            body += f"    {argument(field)}: {own.type(field)}\n" + docstring(own.schema.comment(field.full_name), 4)
    return f"{text}class {name}({base}, total=False):\n{body or _NOTHING}"


def is_declarable(name: str) -> bool:
    """Whether a class can declare the name as it is: no keyword, and no private name, which would be mangled."""
    return not keyword.iskeyword(name) and not name.startswith("__")


def argument(field: FieldDescriptor) -> str:
    """The name of a field as keyword argument: with an underscore behind a Python keyword, if no field is called so."""
    name: str = field.name
    beside = field.containing_type.fields_by_name if field.containing_type is not None else {}
    if not keyword.iskeyword(name) or f"{name}_" in beside:
        return name
    return f"{name}_"
