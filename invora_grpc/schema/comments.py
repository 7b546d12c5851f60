"""The comments of proto files, by full name: for stubs, for `describe` and `search`. Nothing is read from disk here."""

from __future__ import annotations

import inspect
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto, SourceCodeInfo

__all__ = ["comment", "comments_of"]

_INSIDE: Final[Mapping[str, tuple[tuple[str, int], ...]]] = {
    "FileDescriptorProto": (("message_type", 4), ("enum_type", 5), ("service", 6), ("extension", 7)),
    "DescriptorProto": (("field", 2), ("nested_type", 3), ("enum_type", 4), ("extension", 6)),
    "EnumDescriptorProto": (("value", 2),),
    "ServiceDescriptorProto": (("method", 2),),
}
"""Kind of an element → its fields with elements that have names, and their numbers (descriptor.proto)."""


def comments_of(file: FileDescriptorProto) -> dict[str, str]:
    """Full name → comment. Values of enums are named below their enum."""
    said = {tuple(at.path): text for at in file.source_code_info.location if (text := comment(at))}
    if not said:
        return {}
    return {name: said[path] for path, name in _elements(file, (), file.package) if path in said}


def comment(location: SourceCodeInfo.Location) -> str:
    """What the source says of an element, in front of it and behind it; "" where there is nothing.

    Indentation within the comment stays; control characters, which no Python source may have, go.
    """
    said = filter(None, (location.leading_comments, location.trailing_comments))
    return "\n\n".join(filter(None, map(_plain, said)))


def _plain(text: str) -> str:
    kept = "".join(c for c in text.expandtabs(4) if c == "\n" or unicodedata.category(c) not in ("Cc", "Zl", "Zp"))
    return inspect.cleandoc("\n" + kept).strip()


def _elements(element: Any, path: tuple[int, ...], name: str) -> Iterator[tuple[tuple[int, ...], str]]:
    """Path and full name of everything in an element that has a name."""
    for field, number in _INSIDE.get(element.DESCRIPTOR.name, ()):
        for index, inner in enumerate(getattr(element, field)):
            place, full = (*path, number, index), f"{name}.{inner.name}".lstrip(".")
            yield place, full
            yield from _elements(inner, place, full)
