"""Unknown fields of a message: taken out, given another number, put into another message.

Protobuf hands them out parsed and takes them in as bytes only, so this room writes their bytes. It knows nothing of
schemas.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

__all__ = ["encoded", "unknown_in", "varint_field"]

_VARINT, _FIXED64, _LENGTH, _GROUP, _END, _FIXED32 = range(6)


def unknown_in(message: Message) -> Iterator[tuple[int, Any]]:
    """The number of each unknown field of the message itself, in the order in which they came, and the field."""
    fields: Any = UnknownFieldSet(message)
    for field in fields:
        yield field.field_number, field


def encoded(number: int, field: Any) -> bytes:
    """An unknown field as bytes, under this number."""
    return b"".join(_parts(number, field))


def varint_field(number: int, value: int) -> bytes:
    """A field that holds a varint as bytes; a negative value in ten of them, as enums and int32 are written."""
    return _tag(number, _VARINT) + _varint(value)


def _parts(number: int, field: Any) -> Iterable[bytes]:
    """The bytes of one field, groups from the outside in without recursion: their end comes after their content."""
    waiting: list[tuple[int, Any] | bytes] = [(number, field)]
    while waiting:
        one = waiting.pop()
        if isinstance(one, bytes):
            yield one
            continue
        number, field = one
        kind, data = field.wire_type, field.data
        yield _tag(number, kind)
        if kind == _VARINT:
            yield _varint(data)
        elif kind == _FIXED64:
            yield data.to_bytes(8, "little")
        elif kind == _FIXED32:
            yield data.to_bytes(4, "little")
        elif kind == _LENGTH:
            yield _varint(len(data)) + data
        else:
            waiting.append(_tag(number, _END))
            waiting.extend(reversed([(inner.field_number, inner) for inner in data]))


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
