"""The text of `*_pb2.pyi`: the messages, enums and extensions of a file for type checkers, with the schema's comments.

Written here and not by protoc, whose stubs have no comments, no syntax for names that are Python keywords, and lose a
type where a field is called like one (`bool bool = 1`). What no stub can declare is left out, and reached by `getattr`
at run time: a field called `from`, a message called `None`.
"""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterable, Iterator, Sequence

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor

from invora_grpc.codegen.schema import Schema, is_hidden, stub_name
from invora_grpc.codegen.stub_text import Imports, docstring, free, signature
from invora_grpc.kinds import map_entry

_CONTAINERS = "google.protobuf.internal.containers"
_WRAPPER = "google.protobuf.internal.enum_type_wrapper"
_SCALARS = {
    FieldDescriptor.CPPTYPE_BOOL: "bool",
    FieldDescriptor.CPPTYPE_DOUBLE: "float",
    FieldDescriptor.CPPTYPE_FLOAT: "float",
    FieldDescriptor.CPPTYPE_STRING: "str",
}
_INITIAL = {"google.protobuf.Timestamp": "datetime", "google.protobuf.Duration": "timedelta"}
"""Messages that a constructor also takes as an object of Python's datetime."""
_ENUM_NAMES = frozenset({*dir(int), "DESCRIPTOR", "Name", "Value", "items", "keys", "values"})
"""What every enum has, and so no stub can declare as one of its values."""
_BUILTINS = frozenset({*dir(builtins), "PythonFinalizationError"})
"""Names that mypy takes for Python's own before it comes to a class of the stub. The last is new in Python 3.13."""


def render(schema: Schema, file: FileDescriptor) -> str:
    """The text of the stub of one file."""
    return _Stub(schema, file).text()


class _Stub:
    """One stub while it is written."""

    def __init__(self, schema: Schema, file: FileDescriptor) -> None:
        self._schema = schema
        self._file = file
        self._inner = {name for message in _all(file.message_types_by_name.values()) for name in _names_in(message)}
        self._inner |= {value.name for enum in file.enum_types_by_name.values() for value in enum.values}
        top = {*file.message_types_by_name, *file.enum_types_by_name, *file.extensions_by_name}
        self._imports = Imports({*self._inner, *top, "DESCRIPTOR"})

    def text(self) -> str:
        """The whole text."""
        file = self._file
        blocks = [self._enum(enum, 0) for enum in file.enum_types_by_name.values()]
        blocks += [self._message(message, 0) for message in file.message_types_by_name.values()]
        extensions = list(file.extensions_by_name.values())
        blocks += [self._extensions(extensions, 0)] * bool(extensions)
        again = list(dict.fromkeys(line for one in file.public_dependencies for line in self._public(one)))
        blocks.insert(0, f"DESCRIPTOR: {self._imports.member('google.protobuf.descriptor', 'FileDescriptor')}\n")
        head = docstring(f"Messages of {file.name}.", 0)
        return "\n".join([head, str(self._imports) + "".join(again), *blocks])

    def _public(self, file: FileDescriptor) -> Iterator[str]:
        """What a publicly imported file has is there in the importing module, too."""
        if not self._schema.can_import(file):
            return
        names = [*file.message_types_by_name, *file.enum_types_by_name, *file.extensions_by_name]
        names += [name for enum in file.enum_types_by_name.values() for name in enum.values_by_name]
        for name in names:
            if not keyword.iskeyword(name) and not name.startswith("_"):  # import * takes no private names
                yield f"from {self._schema.module(file)} import {name} as {name}\n"
        for further in file.public_dependencies:
            yield from self._public(further)

    # --- types --------------------------------------------------------------------------------------------------------

    def _class(self, element: Descriptor | EnumDescriptor) -> str:
        """The class of a message or enum, also where a class has a field of that name, or Python a builtin."""
        name = self._schema.stub_type(element)
        own = element.file.name == self._file.name
        if own and name.partition(".")[0] not in self._inner | _BUILTINS:
            return name
        if not own and not self._schema.can_import(element.file):
            return self._imports.member("google.protobuf.message", "Message")
        return self._imports.member(self._schema.module(element.file), name)

    def _item(self, field: FieldDescriptor) -> str:
        """What one value of a field is when it is read."""
        element = field.message_type or field.enum_type
        if element is not None:
            return self._class(element)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self._imports.builtin("bytes")
        return self._imports.builtin(_SCALARS.get(field.cpp_type, "int"))

    def _type(self, field: FieldDescriptor) -> str:
        """What a field is when it is read."""
        entry = map_entry(field)
        if entry is not None:
            key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
            kind = "ScalarMap" if value.message_type is None else "MessageMap"
            return self._imports.member(_CONTAINERS, f"{kind}[{self._item(key)}, {self._item(value)}]")
        if field.is_repeated:
            kind = "RepeatedScalarFieldContainer" if field.message_type is None else "RepeatedCompositeFieldContainer"
            return self._imports.member(_CONTAINERS, f"{kind}[{self._item(field)}]")
        return self._item(field)

    def _given(self, field: FieldDescriptor) -> str:
        """What a constructor takes for one value."""
        item = self._item(field)
        if field.enum_type is not None:
            return f"{item} | {self._imports.builtin('str')}"
        if field.message_type is None:
            return item
        plain = _INITIAL.get(field.message_type.full_name)
        mapping = self._imports.name("collections.abc", "Mapping")
        loose = f"{mapping}[{self._imports.builtin('str')}, {self._imports.name('typing', 'Any')}]"
        also = [self._imports.name("datetime", plain)] if plain else []
        return " | ".join([*also, item, loose])

    def _parameter(self, field: FieldDescriptor) -> str:
        """A keyword argument of a constructor. None leaves a field out."""
        entry = map_entry(field)
        if entry is not None:
            key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
            kind = f"{self._imports.name('collections.abc', 'Mapping')}[{self._item(key)}, {self._item(value)}]"
        elif field.is_repeated:
            kind = f"{self._imports.name('collections.abc', 'Iterable')}[{self._given(field)}]"
        else:
            kind = self._given(field)
        return f"{field.name}: {kind} | None = ..."

    # --- declarations ---------------------------------------------------------------------------------------------

    def _enum(self, enum: EnumDescriptor, indent: int) -> str:
        """The class of an enum, and its values where it is declared."""
        pad, name = " " * indent, stub_name(enum)
        meta = self._imports.member(_WRAPPER, "EnumTypeWrapper")
        text = f"{pad}class {name.rpartition('.')[2]}({self._imports.builtin('int')}, metaclass={meta}):\n"
        text += docstring(self._schema.comment(enum.full_name), indent + 4) + f"{pad}    __slots__ = ()\n"
        kind = self._class(enum)
        for value in enum.values:
            if not keyword.iskeyword(value.name) and value.name not in _ENUM_NAMES:
                text += f"{pad}    {value.name}: {self._imports.name('typing', 'ClassVar')}[{kind}]\n"
                text += docstring(self._schema.comment(f"{enum.full_name}.{value.name}"), indent + 4)
        for value in enum.values:
            if not is_hidden(value.name, nested=indent > 0):
                text += f"{pad}{value.name}: {self._constant(kind, indent)}\n"
        return text

    def _constant(self, kind: str, indent: int) -> str:
        return f"{self._imports.name('typing', 'ClassVar')}[{kind}]" if indent else kind

    def _message(self, message: Descriptor, indent: int) -> str:
        """The class of a message with all that is declared in it."""
        pad = " " * indent
        base = self._imports.member("google.protobuf.message", "Message")
        said = [self._schema.comment(message.full_name), *oneofs(message)]
        text = f"{pad}class {stub_name(message).rpartition('.')[2]}({base}):\n"
        text += docstring("\n".join(filter(None, said)), indent + 4)
        text += "".join(self._enum(enum, indent + 4) for enum in message.enum_types_by_name.values())
        text += "".join(self._message(nested, indent + 4) for nested in message.nested_types_by_name.values())
        text += self._extensions(message.extensions, indent + 4)
        taken = _names_in(message)
        number = f"{self._imports.name('typing', 'ClassVar')}[{self._imports.builtin('int')}]"
        for name in dict.fromkeys(f"{field.name.upper()}_FIELD_NUMBER" for field in message.fields):
            text += f"{pad}    {name}: {number}\n" * (name not in taken)
        for field in message.fields:
            if not is_hidden(field.name, nested=True):
                text += f"{pad}    {field.name}: {self._type(field)}\n"
                text += docstring(self._schema.comment(field.full_name), indent + 4)
        return text + self._constructor(message, indent + 4)

    def _constructor(self, message: Descriptor, indent: int) -> str:
        named = [field for field in message.fields if not keyword.iskeyword(field.name)]
        parameters = ["*", *map(self._parameter, named)] if named else []
        if len(named) < len(message.fields):
            taken = [field.name for field in message.fields]
            parameters.append(f"**{free('kwargs', taken)}: {self._imports.name('typing', 'Any')}")
        return signature("__init__", parameters, "None", indent=indent) + " ...\n"

    def _extensions(self, extensions: Sequence[FieldDescriptor], indent: int) -> str:
        pad, text = " " * indent, ""
        for extension in extensions:
            if is_hidden(extension.name, nested=indent > 0):
                continue
            of = extension.containing_type
            extended = self._class(of) if of is not None else self._imports.name("typing", "Any")
            kind = f"_ExtensionFieldDescriptor[{extended}, {self._type(extension)}]"
            number = self._imports.builtin("int")
            text += f"{pad}{extension.name.upper()}_FIELD_NUMBER: {self._constant(number, indent)}\n"
            place = self._imports.member("google.protobuf.internal.extension_dict", kind)
            text += f"{pad}{extension.name}: {self._constant(place, indent)}\n"
            text += docstring(self._schema.comment(extension.full_name), indent)
        return text


def oneofs(message: Descriptor) -> list[str]:
    """A line for each choice between fields, which no type can tell."""
    groups = [(oneof.name, [field.name for field in oneof.fields]) for oneof in message.oneofs]
    return [f"At most one of {', '.join(group)} ({name})." for name, group in groups if len(group) > 1]


def _all(messages: Iterable[Descriptor]) -> Iterator[Descriptor]:
    for message in messages:
        yield message
        yield from _all(message.nested_types)


def _names_in(message: Descriptor) -> set[str]:
    """What the class of a message declares, but the numbers of its fields."""
    names = {*message.fields_by_name, *message.nested_types_by_name, *message.enum_types_by_name}
    return names | {*message.enum_values_by_name, *message.extensions_by_name}
