"""One value of a scalar or enum field, checked against the field's own type before protobuf sees it.

Protobuf's setters take True for a number, a number for a bool and any number for an enum; this room does not, and
says what to write instead. It knows fields, not messages: nesting, paths and presence belong to `values`.
"""

from __future__ import annotations

import enum
import struct
import sys
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from invora_grpc.errors import RequestError, closest
from invora_grpc.kinds import enum_names

Convert = Callable[[object], Any]
"""Turns a value into what protobuf's setter takes; refuses by `Refused`."""

ROOT = "request"
"""The path of the request itself."""

_SHOWN_NAMES = 12
_WHOLE_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: ("int32", -(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: ("int64", -(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: ("uint32", 0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: ("uint64", 0, 2**64 - 1),
}


class Refused(Exception):
    """A value that cannot be sent. The steps of its path gather, innermost first, while the error climbs."""

    def __init__(self, value: object, hint: str, *steps: str) -> None:
        super().__init__(hint)
        self.value, self.hint, self.steps = value, hint, list(steps)

    def at(self, root: str) -> RequestError:
        """The error for the caller, whose path starts at `root`."""
        path = (root + "".join(reversed(self.steps))).removeprefix(".")
        return RequestError(path or ROOT, self.value, self.hint)


class RefusedInside(Refused):
    """What a value that builds itself refused: an error for the caller already, but with the path inside that value."""

    def __init__(self, error: RequestError) -> None:
        own_path = "" if error.path == ROOT else error.path
        super().__init__(error.value, error.hint, *([f".{own_path}".replace(".[", "[")] if own_path else []))
        self._told = str(error).removeprefix(error.path)

    def at(self, root: str) -> RequestError:
        """The same error at its place in the whole request."""
        error = super().at(root)
        error.args = (error.path + self._told,)
        return error


def converter(field: FieldDescriptor) -> Convert:
    """The converter of a scalar or enum field's values, one at a time."""
    kind = field.cpp_type
    if kind in _WHOLE_RANGES:
        return _whole(*_WHOLE_RANGES[kind])
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return _real(single=kind == FieldDescriptor.CPPTYPE_FLOAT)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return _truth
    if field.enum_type is not None:
        return _choice(field.enum_type)
    return to_bytes if field.type == FieldDescriptor.TYPE_BYTES else to_text


def some(names: Iterable[str]) -> str:
    """A short list of the names, with the number of those left out."""
    every = list(names)
    left_out = len(every) - _SHOWN_NAMES
    return ", ".join(every[:_SHOWN_NAMES]) + (f" and {left_out} more" if left_out > 0 else "")


def to_text(value: object) -> str:
    """A str that UTF-8 can carry; a UUID becomes its text."""
    if type(value) is not str:
        uuid = sys.modules.get("uuid")  # whoever has a UUID has loaded it
        if uuid is not None and isinstance(value, uuid.UUID):
            return str(value)
        if not isinstance(value, str):
            raise Refused(value, f"write a str, not {_type_of(value)}")
        value = str.__str__(value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refused(
                value, "a lone surrogate is no character: decode the text properly before it gets here"
            ) from None
    return value


def to_bytes(value: object) -> bytes:
    """Bytes, a bytearray or a memoryview."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise Refused(value, f"write bytes, not {_type_of(value)}" + (": text.encode()" if isinstance(value, str) else ""))


def exact_float(value: object, *, single: bool = False) -> float:
    """A float as it is; an int or a Decimal when a float (of 32 bits, if `single`) gives the same number back.

    A Decimal counts as given back when the shortest text of the float is the Decimal's: `Decimal("0.1")` passes, though
    no float is a tenth exactly.
    """
    if isinstance(value, bool) or not isinstance(value, (float, int, Decimal)):
        raise Refused(value, f"write a float, an int or a Decimal, not {_type_of(value)}")
    try:
        number = float(value)
        kept = struct.unpack("<f", struct.pack("<f", number))[0] if single else number
    except (OverflowError, ValueError):
        raise Refused(value, f"the number is too large for a float of {32 if single else 64} bits") from None
    if not isinstance(value, float) and kept != value and not _gives_back(kept, value, single):
        raise Refused(
            value, f"a float cannot hold this number exactly: write float({value!r}) if the nearest one will do"
        )
    return number


def _gives_back(kept: float, value: int | Decimal, single: bool) -> bool:
    return isinstance(value, Decimal) and Decimal(f"{kept:.6g}" if single else repr(kept)) == value


def _type_of(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _truth(value: object) -> bool:
    if value is True or value is False:
        return value
    raise Refused(value, f"write True or False, not {_type_of(value)}")


def _whole(name: str, least: int, most: int) -> Convert:
    def to_whole(value: object) -> int:
        if type(value) is not int:
            if isinstance(value, bool) or not isinstance(value, int):
                raise Refused(value, f"write an int, not {_type_of(value)}")
            value = int(value)
        if least <= value <= most:
            return value
        raise Refused(value, f"{name} holds {least} to {most}")

    return to_whole


def _real(*, single: bool) -> Convert:
    def to_real(value: object) -> float:
        if type(value) is float and not single:
            return value
        return exact_float(value, single=single)

    return to_real


def _choice(enum_type: EnumDescriptor) -> Convert:
    full = {value.name: value.number for value in enum_type.values}
    short = enum_names(enum_type)
    exactly = {**short, **full}
    numbers = frozenset(full.values())
    folded: dict[str, set[int]] = {}
    for name, number in exactly.items():
        folded.setdefault(name.upper(), set()).add(number)

    def to_number(value: object) -> int:
        if type(value) is str and (number := exactly.get(value)) is not None:
            return number
        if isinstance(value, enum.Enum):
            value = value.value
        if isinstance(value, str):
            number = exactly.get(value)
            if number is not None:
                return number
            matches = folded.get(value.upper(), ())
            if len(matches) == 1:
                return next(iter(matches))
            raise Refused(value, _no_choice(value, enum_type, list(short), ambiguous=bool(matches)))
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refused(value, f"write one of the names of {enum_type.name}, not {_type_of(value)}: {some(short)}")
        if value not in numbers:
            raise Refused(
                value, f"{enum_type.name} has no number {value}: write one of its {len(short)} names: {some(short)}"
            )
        return int(value)

    return to_number


def _no_choice(value: str, enum_type: EnumDescriptor, names: list[str], *, ambiguous: bool) -> str:
    if ambiguous:
        meant = [choice.name for choice in enum_type.values if choice.name.upper().endswith(value.upper())]
        return f"more than one choice of {enum_type.name} is written so: write the full name, one of {some(meant)}"
    upper = {name.upper(): name for name in names} | {choice.name.upper(): choice.name for choice in enum_type.values}
    close = [upper[match] for match in closest(value.upper(), upper)]
    told = f"the closest: {', '.join(close)}" if close else f"such as {some(names)}"
    return f"{enum_type.name} has no such name among its {len(names)} choices, {told}"
