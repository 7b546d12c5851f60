"""How much memory descriptors would take, found out before they are parsed.

Two bytes from a stranger can become a message of 130 bytes, and that a definition of 700: 16 MiB of them would be
gigabytes. This room walks over the bytes and counts. It builds nothing, and leaves it to protobuf to say whether the
bytes are valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor

__all__ = ["MAX_PARTS", "TooManyParts", "count_parts", "fields", "without_source"]

MAX_PARTS: Final = 100_000
"""Messages and repeated values that the descriptors of one gateway may have: all of Invora's have 31,000."""

_VARINT, _I64, _BYTES, _I32 = 0, 1, 2, 5
_PACKED: Final = 16
"""Bytes of packed numbers that count as one part."""
_FIELDS_PER_PART: Final = 10
"""Fields of any kind that there may be for each part: to walk over bytes takes time. In real schemas it is 4."""
_SOURCE_CODE_INFO: Final = 9
"""The number of the field of FileDescriptorProto that holds comments and positions. It is not counted."""


class TooManyParts(ValueError):
    """The bytes have more parts than the limit."""


def fields(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, and where the content begins and ends, of each field of a message on the wire.

    Groups are walked into. Raises ValueError if the bytes are no message.
    """
    stop = len(data) if end is None else end
    at = start
    try:
        while at < stop:
            tag = data[at]  # nearly all numbers here are of one byte
            at += 1
            if tag >= 0x80:
                tag, at = _varint(data, at - 1)
            kind = tag & 7
            begin = at
            if kind == _BYTES:
                size = data[at]
                begin += 1
                if size >= 0x80:
                    size, begin = _varint(data, at)
                at = begin + size
            elif kind == _VARINT:
                at += 1
                if data[begin] >= 0x80:
                    _, at = _varint(data, begin)
            elif kind in (_I64, _I32):
                at += 8 if kind == _I64 else 4
            if at > stop:
                raise ValueError("a field ends after its message")
            yield tag >> 3, kind, begin, at
    except IndexError:
        raise ValueError("a field ends after its message") from None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where the next thing begins."""
    value = data[at]
    if value < 0x80:
        return value, at + 1
    value &= 0x7F
    for shift in range(7, 70, 7):
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
    raise ValueError("a number is too long")


class _Field(NamedTuple):
    """What a field's content is."""

    message: Descriptor | None
    is_text: bool
    is_part: bool
    """Whether each value takes memory of its own."""
    may_be_packed: bool


def count_parts(data: bytes, descriptor: Descriptor, limit: int = MAX_PARTS) -> int:
    """The messages and repeated values in the bytes of a message of this type.

    Raises TooManyParts once they are more than `limit`, and ValueError if the bytes are no message, or a text in it is
    not UTF-8: in proto2, as descriptors are, protobuf would let that pass and give bytes where a str is meant.
    """
    shapes: dict[str, dict[int, _Field]] = {}
    waiting = [(descriptor, 0, len(data))]
    count, left = 1, _FIELDS_PER_PART * limit
    while waiting:
        kind, start, end = waiting.pop()
        shape = shapes.get(kind.full_name)
        if shape is None:
            shape = shapes[kind.full_name] = _shape(kind)
        for number, wire_type, begin, stop in fields(data, start, end):
            left -= 1
            if left < 0:
                raise TooManyParts(f"more than {_FIELDS_PER_PART * limit} fields")
            field = shape.get(number)
            if field is None:
                continue
            count += field.is_part
            if wire_type == _BYTES:
                if field.message is not None:
                    waiting.append((field.message, begin, stop))
                elif field.is_text:
                    str(data[begin:stop], "utf-8")
                elif field.may_be_packed:
                    count += (stop - begin) // _PACKED
            if count > limit:
                raise TooManyParts(f"more than {limit} parts")
    return count


def _shape(kind: Descriptor) -> dict[int, _Field]:
    """The fields of a message that matter here, by number, with the extensions that are known."""
    own: list[FieldDescriptor] = [*kind.fields, *kind.file.pool.FindAllExtensions(kind)]
    found = {}
    for one in own:
        is_text, repeated = one.type == one.TYPE_STRING, bool(one.is_repeated)
        is_number = one.message_type is None and not is_text and one.type != one.TYPE_BYTES
        is_part = repeated or one.message_type is not None
        found[one.number] = _Field(one.message_type, is_text, is_part, repeated and is_number)
    if kind.full_name == "google.protobuf.FileDescriptorProto":
        del found[_SOURCE_CODE_INFO]
    return {number: field for number, field in found.items() if field.is_text or field.is_part}


def without_source(file: bytes) -> bytes:
    """The bytes of a FileDescriptorProto without comments and positions, which some servers send along."""
    kept, copied = [], 0
    before = 0
    for number, _, _, stop in fields(file):
        if number == _SOURCE_CODE_INFO:
            kept.append(file[copied:before])
            copied = stop
        before = stop
    return b"".join([*kept, file[copied:]]) if copied else file
