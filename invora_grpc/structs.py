"""google.protobuf.Struct, Value and ListValue both ways: JSON-like dicts, values and lists.

The room knows these three types only. It never writes a number that would come back as another one, and never fails on
what it reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from google.protobuf.message import Message

from invora_grpc.kinds import descriptor_of
from invora_grpc.scalars import Refused, exact_float, to_text

_DEEPEST = 30  # parsers stop at messages nested 100 deep, and a level of a Struct takes three of them
_EXACT_FLOAT_LIMIT = 2**53
Fill = Callable[[Any, object], None]

# --- writing ------------------------------------------------------------------------------------------------------


def fill_struct(message: Any, value: object, depth: int = 0) -> None:
    """Write a dict, or a Struct, into a Struct."""
    if isinstance(value, Message):
        return _fill_from_message(message, value, partial(fill_struct, depth=depth), read_struct)
    if not isinstance(value, Mapping):
        raise Refused(value, "write a dict whose keys are text and whose values are what JSON holds")
    entries = message.fields
    for key, item in value.items():
        try:
            if not isinstance(key, str):
                raise Refused(key, "the keys of a struct are text")
            fill_value(entries[to_text(key)], item, depth + 1)
        except Refused as refused:
            refused.steps.append(f"[{key!r}]")
            raise
    message.SetInParent()


def fill_list(message: Any, value: object, depth: int = 0) -> None:
    """Write a list, or a ListValue, into a ListValue."""
    if isinstance(value, Message):
        return _fill_from_message(message, value, partial(fill_list, depth=depth), read_list)
    if not isinstance(value, (list, tuple)):
        raise Refused(value, "write a list of what JSON holds")
    for index, item in enumerate(value):
        try:
            fill_value(message.values.add(), item, depth + 1)
        except Refused as refused:
            refused.steps.append(f"[{index}]")
            raise
    message.SetInParent()


def fill_value(message: Any, value: object, depth: int = 0) -> None:
    """Write what JSON holds, or a Value, into a Value."""
    if isinstance(value, str):
        message.string_value = to_text(value)
    elif value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, (int, float, Decimal)):
        message.number_value = _json_number(value)
    elif depth >= _DEEPEST:
        raise Refused(value, f"nested deeper than {_DEEPEST} levels: whoever receives it would refuse to parse it")
    elif isinstance(value, Mapping):
        fill_struct(message.struct_value, value, depth)
    elif isinstance(value, (list, tuple)):
        fill_list(message.list_value, value, depth)
    elif isinstance(value, Message):
        _fill_from_message(message, value, partial(fill_value, depth=depth), read_value)
    else:
        raise Refused(
            value,
            f"write what JSON holds: text, numbers, True, False, None, lists and dicts, not {type(value).__name__}",
        )


def _json_number(value: float | Decimal) -> float:
    if type(value) is int and -_EXACT_FLOAT_LIMIT <= value <= _EXACT_FLOAT_LIMIT:
        return value
    number = exact_float(value)
    if math.isfinite(number):
        return number
    raise Refused(value, "JSON has no NaN and no Infinity: write a finite number, text or None")


def _fill_from_message(message: Any, value: Message, fill: Fill, read: Callable[[Any], Any]) -> None:
    """A Struct, Value or ListValue: copied, or carried over by content when it comes from another pool."""
    theirs, ours = descriptor_of(type(value)), descriptor_of(type(message))
    if theirs.full_name != ours.full_name:
        raise Refused(value, f"this is a {ours.full_name}, not {theirs.full_name}: write what JSON holds")
    if theirs is ours:
        message.CopyFrom(value)
        message.SetInParent()
    else:
        fill(message, read(value))


# --- reading ------------------------------------------------------------------------------------------------------


def read_struct(message: Any, json: bool = False) -> dict[str, Any]:
    """A Struct as a dict; `json`: for JSON, see `read_value`."""
    fields = message.fields
    return {key: read_value(fields[key], json) for key in fields}


def read_list(message: Any, json: bool = False) -> list[Any]:
    """A ListValue as a list; `json`: for JSON, see `read_value`."""
    return [read_value(value, json) for value in message.values[:]]


def read_value(message: Any, json: bool = False) -> Any:
    """JSON's value: whole numbers as int; None for null and for a value whose kind is not set.

    NaN and the infinities, which JSON does not have and a server may send all the same, are floats, so that writing
    them back is refused instead of making text of a number. With `json` they are that text.
    """
    kind = message.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    value = getattr(message, kind)
    if kind == "number_value":
        return _whole_or_float(value, json)
    if kind == "struct_value":
        return read_struct(value, json)
    return read_list(value, json) if kind == "list_value" else value


def _whole_or_float(value: float, json: bool) -> int | float | str:
    if not value.is_integer():
        return json_float(value) if json else value
    if abs(value) > _EXACT_FLOAT_LIMIT or (value == 0 and math.copysign(1, value) < 0):
        return value
    return int(value)


def json_float(value: float) -> float | str:
    """The float, or text for what JSON has no number for."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
