"""The comments of descriptor files that a user named, by full name. Schemas are kept without them; only `describe` and
`search` want them. Nothing is read here, and what a gateway serves does not come here: its comments are not taken in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, SourceCodeInfo

__all__ = ["comments_of"]

_INSIDE: Final[Mapping[str, tuple[tuple[str, int], ...]]] = {
    "FileDescriptorProto": (("message_type", 4), ("enum_type", 5), ("service", 6)),
    "DescriptorProto": (("field", 2), ("nested_type", 3), ("enum_type", 4)),
    "EnumDescriptorProto": (("value", 2),),
    "ServiceDescriptorProto": (("method", 2),),
}
"""Kind of an element → its fields with elements that have names, and their numbers (descriptor.proto)."""


def comments_of(sets: Iterable[bytes]) -> dict[str, str]:
    """Full name → comment, of the files in these bytes of FileDescriptorSets, which were found to be good before.

    Values of enums are named below their enum.
    """
    found: dict[str, str] = {}
    for data in sets:
        for file in FileDescriptorSet.FromString(data).file:
            found.update(_of_file(file))
    return found


def _of_file(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    said = {tuple(place.path): text for place in file.source_code_info.location if (text := _text(place))}
    if said:
        for path, name in _elements(file, (), file.package):
            if path in said:
                yield name, said[path]


def _text(place: SourceCodeInfo.Location) -> str:
    """The comment before an element, or else the one behind it, without indentation."""
    comment = place.leading_comments or place.trailing_comments
    return "\n".join(line.strip() for line in comment.strip().splitlines())


def _elements(element: Any, path: tuple[int, ...], name: str) -> Iterator[tuple[tuple[int, ...], str]]:
    """Path and full name of everything in an element that has a name."""
    for field, number in _INSIDE.get(element.DESCRIPTOR.name, ()):
        for index, inner in enumerate(getattr(element, field)):
            place, full = (*path, number, index), f"{name}.{inner.name}".lstrip(".")
            yield place, full
            yield from _elements(inner, place, full)
