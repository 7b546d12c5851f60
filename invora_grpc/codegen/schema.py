"""The schema as the writers of stubs look at it: descriptors, comments, and where generated modules are.

Descriptors live in a pool of the run's own, so that generating does not depend on what this process has imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

_FILE_MESSAGES, _FILE_ENUMS = 4, 5  # field numbers in FileDescriptorProto: the steps of a comment's path
_FIELDS, _MESSAGES, _ENUMS, _VALUES = 2, 3, 4, 2


def python_path(proto: str, package: str) -> str:
    """Where the Python module of a proto file goes: "invora/a/v2/x.proto" → "invora_api/a/v2/x"."""
    return f"{package}/{proto.removeprefix('invora/').removesuffix('.proto')}".replace("-", "_")


def comment(location: descriptor_pb2.SourceCodeInfo.Location) -> str:
    """The comment in front of an element, without indentation; "" where there is none."""
    return "\n".join(line.strip() for line in location.leading_comments.strip().splitlines())


def python_name(element: Descriptor | EnumDescriptor) -> str:
    """The name within its generated module: "Outer.Inner" for a nested one."""
    outer: Descriptor | None = element.containing_type
    name: str = element.name
    return f"{python_name(outer)}.{name}" if outer is not None else name


class Schema:
    """All files of a run, linked, with their comments."""

    def __init__(self, files: Sequence[descriptor_pb2.FileDescriptorProto], package: str) -> None:
        self.package = package
        """The Python package of everything that is generated."""
        self._pool = DescriptorPool()
        self._comments: dict[str, str] = {}
        for file in files:
            self._pool.AddSerializedFile(file.SerializeToString())
            self._comments.update(_comments(file))

    def message(self, name: str) -> Descriptor:
        """A message by its full name, with or without a leading dot."""
        return self._pool.FindMessageTypeByName(name.lstrip("."))

    def file(self, name: str) -> FileDescriptor:
        """A file by its path."""
        return self._pool.FindFileByName(name)

    def comment(self, full_name: str) -> str:
        """The comment of a message, field, enum or value; "" where there is none."""
        return self._comments.get(full_name, "")

    def module(self, file: FileDescriptor, suffix: str) -> str:
        """The dotted name of a generated module of a file: suffix "pb2" → "invora_api.a.v2.x_pb2".

        Google's own files stay where they are installed.
        """
        path = file.name if file.name.startswith("google/") else python_path(file.name, self.package)
        return f"{path.removesuffix('.proto').replace('/', '.')}_{suffix}"


def _comments(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    said = {tuple(at.path): comment(at) for at in file.source_code_info.location if at.leading_comments}
    if not said:
        return
    head = f"{file.package}." if file.package else ""
    for path, name in _elements(file, head):
        if path in said:
            yield name, said[path]


def _elements(file: descriptor_pb2.FileDescriptorProto, head: str) -> Iterator[tuple[tuple[int, ...], str]]:
    """Path and full name of every message, field, enum and value of a file. Values are named below their enum here."""
    yield from _of_enums(file.enum_type, (_FILE_ENUMS,), head)
    yield from _of_messages(file.message_type, (_FILE_MESSAGES,), head)


def _of_messages(
    messages: Iterable[descriptor_pb2.DescriptorProto], at: tuple[int, ...], head: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    for index, message in enumerate(messages):
        path, name = (*at, index), head + message.name
        yield path, name
        for number, field in enumerate(message.field):
            yield (*path, _FIELDS, number), f"{name}.{field.name}"
        yield from _of_enums(message.enum_type, (*path, _ENUMS), f"{name}.")
        yield from _of_messages(message.nested_type, (*path, _MESSAGES), f"{name}.")


def _of_enums(
    enums: Iterable[descriptor_pb2.EnumDescriptorProto], at: tuple[int, ...], head: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    for index, enum in enumerate(enums):
        path, name = (*at, index), head + enum.name
        yield path, name
        for number, value in enumerate(enum.value):
            yield (*path, _VALUES, number), f"{name}.{value.name}"
