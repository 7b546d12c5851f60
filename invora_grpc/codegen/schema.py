"""The schema as the writers of stubs look at it: descriptors, comments, and where generated modules are.

Descriptors live in a pool of the run's own, so that generating does not depend on what this process has imported.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from invora_grpc.catalog import python_path
from invora_grpc.codegen.stub_text import free, is_importable
from invora_grpc.errors import SchemaError, one_line, shown
from invora_grpc.schema.comments import comments_of
from invora_grpc.schema.files import camel_case, fields_of

_File = descriptor_pb2.FileDescriptorProto
_REPLACED = re.compile(r"[^\w/]", re.ASCII)
"""Characters that `python_path` replaces."""
_MESSAGE_NAMES = frozenset(dir(Message))


def python_paths(files: Iterable[str], package: str) -> dict[str, str]:
    """Where the modules of each proto file go, as `python_path` has it, and no two at the same place.

    Of files that would be (a-b.proto, a_b.proto), the one that is closest to it keeps it; the others get underscores.
    """
    paths: dict[str, str] = {}
    for name in sorted(files, key=lambda name: (len(_REPLACED.findall(name)), name)):
        paths[name] = free(python_path(name, package), paths.values())
    return paths


def as_written(file: _File) -> _File:
    """The file without the JSON names that follow from a field's own, which whoever asks for code has added to it.

    protobuf takes each for one that the source gives, and the file for another one than what plain protoc embeds; but a
    process can have only one file of a name.
    """
    written = _File()
    written.CopyFrom(file)
    for field in fields_of(written):
        if field.json_name == camel_case(field.name):
            field.ClearField("json_name")
    return written


def python_name(element: Descriptor | EnumDescriptor) -> str:
    """The name within its generated module: "Outer.Inner" for a nested one."""
    outer: Descriptor | None = element.containing_type
    name: str = element.name
    return f"{python_name(outer)}.{name}" if outer is not None else name


def stub_name(element: Descriptor | EnumDescriptor) -> str:
    """As `python_name`, with an underscore in front of what no stub can declare: `class None` is `_None` there."""
    outer: Descriptor | None = element.containing_type
    name: str = element.name
    if is_hidden(name, nested=outer is not None):
        name = free(f"_{name}", _beside(element))
    return f"{stub_name(outer)}.{name}" if outer is not None else name


def is_hidden(name: str, *, nested: bool) -> bool:
    """Whether a stub cannot declare the name: a keyword, or within a message what every message has."""
    return keyword.iskeyword(name) or (nested and name in _MESSAGE_NAMES)


def _beside(element: Descriptor | EnumDescriptor) -> Collection[str]:
    """What else is declared where an element is."""
    place: Any = element.containing_type
    if place is None:
        return {*element.file.message_types_by_name, *element.file.enum_types_by_name}
    return {*place.fields_by_name, *place.nested_types_by_name, *place.enum_types_by_name}


class Schema:
    """All files of a run, linked, with their comments."""

    def __init__(self, files: Sequence[_File], package: str, wanted: Collection[str]) -> None:
        """`files`: each after what it imports; `wanted`: the paths of those that are generated.

        Raises SchemaError for a file that protobuf refuses: names or numbers that another one has, missing imports.
        """
        self.package = package
        """The Python package of everything that is generated."""
        self.wanted = frozenset(wanted)
        self.paths = python_paths((file.name for file in files), package)
        """Proto path → where its modules are, without `_pb2`."""
        self.files = tuple(map(as_written, files))
        """All files, as `as_written` has them."""
        self._pool = DescriptorPool()
        self._linked: dict[str, FileDescriptor] = {}
        self._comments: dict[str, str] = {}
        self._inputs: dict[str, Mapping[str, str]] = {}
        for file in self.files:
            try:
                self._linked[file.name] = self._pool.AddSerializedFile(file.SerializeToString())
            except TypeError as error:
                raise SchemaError(f"{shown(file.name)}: {one_line(str(error))}") from None
            self._comments.update(comments_of(file))

    @property
    def renamed(self) -> dict[str, str]:
        """Proto path → where its modules are, for generated files that could not have the path that `python_path`
        says."""
        paths = {name: self.paths[name] for name in sorted(self.wanted)}
        return {name: path for name, path in paths.items() if path != python_path(name, self.package)}

    def message(self, name: str) -> Descriptor:
        """A message by its full name, with or without a leading dot."""
        return self._pool.FindMessageTypeByName(name.lstrip("."))

    def known(self, name: str) -> Descriptor | None:
        """A message by its full name; None if the schema has none."""
        try:
            return self.message(name)
        except KeyError:
            return None

    def file(self, name: str) -> FileDescriptor:
        """A file by its path."""
        return self._linked[name]  # the pool itself finds no file whose path is not ASCII

    def extensions(self, message: Descriptor) -> list[FieldDescriptor]:
        """All extensions of a message that the files define."""
        return self._pool.FindAllExtensions(message)

    def comment(self, full_name: str) -> str:
        """The comment of a message, field, enum or value; "" where there is none."""
        return self._comments.get(full_name, "")

    def module(self, file: FileDescriptor, suffix: str = "pb2") -> str:
        """The dotted name of a generated module of a file: suffix "pb2" → "invora_api.a.v2.x_pb2".

        The messages of a file that is not generated are where protoc puts them; all else is in the package.
        """
        if suffix == "pb2" and file.name not in self.wanted:
            return file.name.removesuffix(".proto").replace("-", "_").replace("/", ".") + "_pb2"
        return self.paths[file.name].replace("/", ".") + f"_{suffix}"

    def input_names(self, file: FileDescriptor) -> Mapping[str, str]:
        """Full name → name in `*_dicts.pyi` of all in a file: `AddressDict` for a message, `CurrencyName` for an enum.

        A nested one has the outer name in front. Of those that would be called the same, the outer ones keep the name.
        """
        known = self._inputs.get(file.name)
        if known is None:
            known = self._inputs[file.name] = _input_names(file)
        return known

    def stub_type(self, element: Descriptor | EnumDescriptor) -> str:
        """What a stub calls the type within its module.

        The stubs of protobuf's own modules are not from protoc: there, an enum's values have a type of their own.
        """
        own = element.file.name in self.wanted or not element.file.name.startswith("google/protobuf/")
        return stub_name(element) + ("" if own or isinstance(element, Descriptor) else ".ValueType")

    def can_import(self, file: FileDescriptor) -> bool:
        """Whether an import statement can name the module of a file's messages."""
        return is_importable(self.module(file))


def _input_names(file: FileDescriptor) -> dict[str, str]:
    names: dict[str, str] = {}
    taken = {"TypedDict"}
    level: list[Descriptor | EnumDescriptor] = [*file.message_types_by_name.values(), *file.enum_types_by_name.values()]
    while level:
        for thing in level:
            plain = python_name(thing).replace(".", "") + ("Dict" if isinstance(thing, Descriptor) else "Name")
            names[thing.full_name] = free(plain, taken)
            taken.add(names[thing.full_name])
        outer = [thing for thing in level if isinstance(thing, Descriptor)]
        level = [nested for thing in outer for nested in thing.nested_types]
        level += [enum for thing in outer for enum in thing.enum_types]
    return names
