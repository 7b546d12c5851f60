"""Options and language features of a schema, as words that can be compared.

Features are resolved as the language says: the defaults of the syntax or edition, and what a file, message and field
set over them. All other options are read from their bytes, so that what this process has imported changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from google.protobuf import descriptor_pb2
from google.protobuf.message import Message

from invora_grpc.schema.bounds import fields

__all__ = ["Features", "features_of", "inherited", "options_of"]

_HANDLED: Final = frozenset(
    {"deprecated", "features", "idempotency_level", "map_entry", "message_set_wire_format", "packed"}
)
"""Options that facts of their own tell."""
_Set = descriptor_pb2.FeatureSet


@dataclass(frozen=True, slots=True)
class Features:
    """What the features of an element come to."""

    presence: str = "explicit"
    """explicit, implicit or required."""
    closed: bool = False
    """Of an enum: whether numbers that it does not list are refused."""
    packed: bool = True
    utf8: bool = True
    delimited: bool = False
    json_format: str = "allowed"


_PROTO2: Final = Features(closed=True, packed=False, utf8=False, json_format="best effort")
_PROTO3: Final = Features(presence="implicit")
_PRESENCE: Final[Mapping[int, str]] = {
    _Set.EXPLICIT: "explicit",
    _Set.IMPLICIT: "implicit",
    _Set.LEGACY_REQUIRED: "required",
}


def features_of(file: descriptor_pb2.FileDescriptorProto) -> Features:
    """The features that hold for all of a file."""
    if file.syntax == "editions":
        return inherited(Features(), file.options)
    return _PROTO3 if file.syntax == "proto3" else _PROTO2


def inherited(outer: Features, options: Any) -> Features:
    """The features of an element in another one's, with what its own options say."""
    if not options.HasField("features"):
        return outer
    said: descriptor_pb2.FeatureSet = options.features
    changed: dict[str, Any] = {}
    if said.field_presence in _PRESENCE:
        changed["presence"] = _PRESENCE[said.field_presence]
    if said.enum_type:
        changed["closed"] = said.enum_type == _Set.CLOSED
    if said.repeated_field_encoding:
        changed["packed"] = said.repeated_field_encoding == _Set.PACKED
    if said.utf8_validation:
        changed["utf8"] = said.utf8_validation == _Set.VERIFY
    if said.message_encoding:
        changed["delimited"] = said.message_encoding == _Set.DELIMITED
    if said.json_format:
        changed["json_format"] = "allowed" if said.json_format == _Set.ALLOW else "best effort"
    return replace(outer, **changed)


def options_of(options: Message, without: Collection[int] = ()) -> dict[str, str]:
    """The options that are set, by name, except those that have facts of their own and the numbers in `without`.

    An extension is called by its number, e.g. "(1052)", and its value told by a digest.
    """
    data = options.SerializeToString(deterministic=True)
    if not data:
        return {}
    names = {one.number: one.name for one in options.DESCRIPTOR.fields}
    found: dict[int, list[bytes]] = {}
    for number, _, start, end in fields(data):
        if number not in without and names.get(number) not in _HANDLED:
            found.setdefault(number, []).append(data[start:end])
    return {
        names.get(number, f"({number})"): _told(options, names.get(number), parts) for number, parts in found.items()
    }


def _told(options: Any, name: str | None, parts: list[bytes]) -> str:
    value = getattr(options, name) if name is not None else None
    if isinstance(value, str | bool | int):
        field = options.DESCRIPTOR.fields_by_name[name]
        number = field.enum_type.values_by_number.get(value) if field.enum_type is not None else None
        return number.name if number is not None else str(value)
    return "#" + hashlib.sha256(b"\0".join(parts)).hexdigest()[:8]
