"""What drifted schemas must do to a call, by the model of the two and by names alone: the oracle.

It compares dicts of values by name and knows neither field numbers nor anything of `invora_grpc.schema`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from drifted import WELL_KNOWN, Call, Choice, Field, World
from google.protobuf import unknown_fields
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

UNKNOWN = "(unknown fields)"
_EDGES: dict[int, tuple[Any, ...]] = {
    FieldDescriptor.CPPTYPE_INT32: (0, 1, -1, 2**31 - 1, -(2**31)),
    FieldDescriptor.CPPTYPE_INT64: (0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 1, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 1, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: (0.0, -0.0, 0.1, float("inf"), float("nan")),
    FieldDescriptor.CPPTYPE_FLOAT: (0.0, -0.0, 0.5, float("-inf"), float("nan")),
    FieldDescriptor.CPPTYPE_BOOL: (False, True),
}


# --- values -------------------------------------------------------------------------------------------------------


def fill(
    rng: random.Random, message: Any, density: float, depth: int = 0, strange: tuple[int, ...] = (7, 21, 77)
) -> Any:
    """Random content: so much of all fields, edges and explicit defaults among the values.

    `strange`: numbers that are set where an enum is, whether or not they have names. Enums are open.
    """
    for one in message.DESCRIPTOR.fields:
        if rng.random() >= (density if depth < 3 else density / 4) or (one.message_type is not None and depth > 4):
            continue
        target, inner = getattr(message, one.name), one.message_type
        if inner is not None and inner.GetOptions().map_entry:
            for _ in range(rng.randint(1, 2)):
                key, value = _scalar(rng, inner.fields_by_name["key"], strange), inner.fields_by_name["value"]
                if value.message_type is not None:
                    fill(rng, target[key], density, depth + 1, strange)
                else:
                    target[key] = _scalar(rng, value, strange)
        elif one.is_repeated:
            for _ in range(rng.randint(1, 2)):
                if inner is not None:
                    fill(rng, target.add(), density, depth + 1, strange)
                else:
                    target.append(_scalar(rng, one, strange))
        elif inner is not None:
            target.SetInParent()
            fill(rng, target, density, depth + 1, strange)
        else:
            setattr(message, one.name, _scalar(rng, one, strange))
    return message


def _scalar(rng: random.Random, one: FieldDescriptor, strange: tuple[int, ...]) -> Any:
    if one.enum_type is not None:
        known = [value.number for value in one.enum_type.values]
        return rng.choice([*known, *known, *known, *strange])
    if one.cpp_type in _EDGES:
        edges = _EDGES[one.cpp_type]
        return rng.choice([*edges, type(edges[0])(rng.randint(2, 10**6))])
    text = "".join(rng.choices("abcdefgh é", k=rng.randint(0, 6)))
    return text if one.type == one.TYPE_STRING else text.encode()


def named(message: Any) -> dict[str, Any]:
    """A message as a dict by field names: what is set in it, told by its own class. Enum values by their names.

    An enum without presence is always there: not to be set is to be what zero is called, on either side.
    Floating point values as text, so that -0.0 and NaN count; a bool is no int.
    """
    found: dict[str, Any] = {}
    for one, value in message.ListFields():
        inner = one.message_type
        if inner is not None and inner.GetOptions().map_entry:
            item = inner.fields_by_name["value"]
            found[one.name] = {_plain(key): _value(item, value[key]) for key in value}
        elif one.is_repeated:
            found[one.name] = [_value(one, item) for item in value]
        else:
            found[one.name] = _value(one, value)
    for one in message.DESCRIPTOR.fields:
        if one.enum_type is not None and not one.is_repeated and not one.has_presence:
            found[one.name] = _value(one, getattr(message, one.name))
    if unknown := list(_unknown(message)):
        found[UNKNOWN] = unknown
    return found


def _value(one: FieldDescriptor, value: Any) -> Any:
    if one.message_type is not None:
        return named(value)
    if one.enum_type is not None:
        known = one.enum_type.values_by_number.get(value)
        return ("enum", known.name if known is not None else value)
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return ("bool", value)
    return ("float", value.hex()) if isinstance(value, float) else value


def _unknown(message: Message) -> Iterator[int]:
    fields: Any = unknown_fields.UnknownFieldSet(message)
    return (one.field_number for one in fields)


def without_unknown(value: Any) -> Any:
    """The same without the marks of unknown fields."""
    if isinstance(value, dict):
        return {key: without_unknown(item) for key, item in value.items() if key != UNKNOWN}
    return [without_unknown(item) for item in value] if isinstance(value, list) else value


def without_defaults(value: Any) -> Any:
    """The same without fields that say what they would say if they were not set."""
    if isinstance(value, dict):
        return {key: without_defaults(item) for key, item in value.items() if item not in _DEFAULTS}
    return [without_defaults(item) for item in value] if isinstance(value, list) else value


_DEFAULTS = (0, "", b"", ("bool", False), ("float", (0.0).hex()))


# --- by name ------------------------------------------------------------------------------------------------------


@dataclass
class Carried:
    """What becomes of a value between two worlds."""

    answer: bool
    value: Any = None
    """As the reader has it to see."""
    lost: list[str] = field(default_factory=list)
    """What the reader has no place for."""
    unsure: list[str] = field(default_factory=list)
    """What may be refused or carried, so long as it is not misplaced."""
    aside: list[str] = field(default_factory=list)
    """Fields that only the writer knows."""


def carried(value: dict[str, Any], identity: str, writer: World, reader: World, *, answer: bool = False) -> Carried:
    """A message of `writer`, named, as `reader` has to see it. In an answer, what only the writer knows is no loss."""
    whole = Carried(answer)
    whole.value = _message(whole, value, identity, writer, reader, identity)
    return whole


def _message(
    whole: Carried, value: dict[str, Any], identity: str, writer: World, reader: World, at: str
) -> dict[str, Any]:
    if identity not in writer.records:  # one of protobuf's own: the same everywhere
        return value
    if identity not in reader.records:
        whole.lost.append(f"{at}: no such type")
        return {}
    found: dict[str, Any] = {}
    oneofs: set[str] = set()
    for name, item in value.items():
        if name == UNKNOWN:
            continue
        ours, theirs = writer.records[identity].fields[name], reader.records[identity].fields.get(name)
        where = f"{at}.{name}"
        if (theirs is None or ours.type != theirs.type) and ours.implicit and _is_default(item, ours, writer):
            continue
        if theirs is None:
            whole.aside.append(where)
        elif ours.type != theirs.type or (ours.label == "map") != (theirs.label == "map"):
            whole.lost.append(f"{where}: type")
        else:
            for made in _field(whole, item, ours, theirs, writer, reader, where):
                found[name] = made
                if theirs.oneof in oneofs:
                    whole.lost.append(f"{where}: oneof")
                oneofs.update([theirs.oneof] if theirs.oneof else [])
    for name, theirs in reader.records[identity].fields.items():
        if theirs.kind == "enum" and theirs.implicit and name not in found:
            found[name] = ("enum", _zero(reader.choices[theirs.of]))
    return found


def _field(
    whole: Carried, item: Any, ours: Field, theirs: Field, writer: World, reader: World, at: str
) -> Iterator[Any]:
    """The field as the reader sees it; nothing if it is not there for it."""

    def one(value: Any) -> Any:
        if ours.kind == "message":
            return _message(whole, value, ours.of, writer, reader, at)
        if ours.kind == "enum":
            return _enum(whole, value, writer.choices.get(ours.of), reader.choices.get(ours.of), at)
        return value

    if ours.kind == "enum" and ours.implicit and _is_default(item, ours, writer):
        if not theirs.implicit:
            return
        known, names = writer.choices[ours.of].values, reader.choices[theirs.of].values
        if item[1] not in names and _zero(reader.choices[theirs.of]) not in known:  # zero has a new name
            whole.unsure.append(f"{at}: zero")
            yield ("enum", _zero(reader.choices[theirs.of]))
            return
    if ours.label == "map":
        yield {key: one(value) for key, value in item.items()}
        return
    items = [one(value) for value in (item if ours.label == "many" else [item])]
    if theirs.label == "many":
        yield items
    elif len(items) > 1:
        whole.lost.append(f"{at}: several")
    elif theirs.implicit and not ours.implicit and _is_default(items[0], theirs, reader):
        if not whole.answer:
            whole.lost.append(f"{at}: explicit default")
        if theirs.kind == "enum":
            yield items[0]
    else:
        if theirs.kind == "enum" and theirs.implicit and _is_default(items[0], theirs, reader):
            whole.unsure.append(f"{at}: is zero there")
        yield items[0]


def _is_default(value: Any, one: Field, world: World) -> bool:
    if one.kind == "enum":
        return world.choices[one.of].values.get(value[1], value[1]) == 0
    return value in _DEFAULTS


def _enum(whole: Carried, value: Any, ours: Choice | None, theirs: Choice | None, at: str) -> Any:
    if ours is None or theirs is None:
        whole.lost.append(f"{at}: no such enum")
        return value
    name = value[1]
    if isinstance(name, int):  # a number without a name, which is nobody's in either
        if ours.values != theirs.values:
            known = [one for one, number in theirs.values.items() if number == name]
            if not known:
                whole.unsure.append(f"{at}: number {name}")
            elif known[0] in ours.values:
                whole.lost.append(f"{at}: number {name}")
            else:
                whole.unsure.append(f"{at}: number {name}")
                return ("enum", known[0])
    elif name not in theirs.values:
        if whole.answer and ours.values[name] not in theirs.values.values():
            return ("enum", ours.values[name])
        whole.lost.append(f"{at}: {name}")
    return value


def _zero(choice: Choice) -> str:
    return next(name for name, number in choice.values.items() if number == 0)


# --- whole RPCs ---------------------------------------------------------------------------------------------------


def conflicts(call: Call, ours: World, theirs: World) -> list[str]:
    """Why no answer of `call` may be read, whatever is in it: the served side could say what ours cannot."""
    found = []
    for identity in sorted(met(call.response, ours, theirs)):
        if identity in theirs.unknown:
            found.append(f"{identity} is not described")
        if identity in ours.records and identity in theirs.records:
            found += _record_conflicts(identity, ours, theirs)
        if identity in ours.choices and identity in theirs.choices:
            known, numbers = ours.choices[identity].values, set(ours.choices[identity].values.values())
            new = {name: number for name, number in theirs.choices[identity].values.items() if name not in known}
            found += [f"{identity}.{name} = {number}" for name, number in new.items() if number in numbers]
    return found


def met(identity: str, ours: World, theirs: World) -> set[str]:
    """The types that both sides meet on the way from a message, by fields that both have."""
    found: set[str] = set()
    waiting = [identity]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in ours.records and name in theirs.records:
            here, there = ours.records[name].fields, theirs.records[name].fields
            waiting += [
                one.of for one in here.values() if one.of and one.name in there and there[one.name].of == one.of
            ]
    return found


def _record_conflicts(identity: str, ours: World, theirs: World) -> Iterator[str]:
    here, there = ours.records[identity].fields, theirs.records[identity].fields
    known = [(here[name], there[name]) for name in here if name in there]
    for one, other in known:
        if one.type != other.type or (one.label == "map") != (other.label == "map"):
            yield f"{identity}.{one.name}: type"
        if other.label == "many" and one.label in ("one", "optional"):
            yield f"{identity}.{one.name}: may be several"
    for oneof in {one.oneof for one, _ in known if one.oneof}:
        members = [other for one, other in known if one.oneof == oneof]
        if len(members) > 1 and (not all(one.oneof for one in members) or len({one.oneof for one in members}) > 1):
            yield f"{identity}.{oneof}: may be several"


def undescribed(call: Call, ours: World, theirs: World) -> bool:
    """Whether types of the RPC are missing in the server's reflection."""
    return bool(set(theirs.unknown) & (theirs.closure(call.request) | theirs.closure(call.response)))


def crowded(call: Call, ours: World, theirs: World) -> bool:
    """Whether an answer may hold what there is no number left for in ours, which is reason enough to refuse."""
    for identity in met(call.response, ours, theirs) & set(ours.records) & set(theirs.records):
        here, there = ours.records[identity].fields, theirs.records[identity].fields
        taken = {one.number for one in here.values()}
        both = taken | {one.number for one in there.values()}
        for name, one in there.items():
            if name not in here and one.number in taken and (one.number >= 2**28 or one.number + 2**28 in both):
                return True
    return False


def must_go_through(call: Call, ours: World, theirs: World) -> bool:
    """Whether nothing but additions has happened to an RPC and to all that it needs."""
    same = call in theirs.calls.values() and not undescribed(call, ours, theirs)
    return same and not any(
        _touched(name, ours, theirs) for name in ours.closure(call.request) | ours.closure(call.response)
    )


def _touched(name: str, ours: World, theirs: World) -> bool:
    if name in WELL_KNOWN:
        return False
    if name not in {**theirs.records, **theirs.choices} or ours.full_name(name) != theirs.full_name(name):
        return True
    here: Any = ours.choices[name].values if name in ours.choices else ours.records[name].fields
    there: Any = theirs.choices[name].values if name in ours.choices else theirs.records[name].fields
    if any(there.get(key) != one for key, one in here.items()):
        return True
    numbers = [one if isinstance(one, int) else one.number for one in there.values()]
    return len(set(numbers)) < len(numbers)
