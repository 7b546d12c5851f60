"""Random messages, and an oracle that compares two messages of two schemas by names only.

The oracle knows nothing of the code under test: it reads both messages side by side, each with its own schema, and says
where a value has another name, is missing, or came from nowhere.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet


def fill(dice: random.Random, message: Any, depth: int = 0) -> Any:
    """Random values in about half of the fields; set defaults, and enum numbers without a name, among them."""
    descriptor: Descriptor = message.DESCRIPTOR
    share = 0.6 if depth < 3 else 0.0
    for one in all_fields(descriptor).values():
        if one.is_required or dice.random() < share:
            _fill_field(dice, message, one, depth)
    if dice.random() < 0.03 and descriptor.full_name.startswith("p."):
        message.MergeFromString(bytes([0xF8, 0x07, 0x01]))  # number 127, which no schema has
    return message


def _fill_field(dice: random.Random, message: Any, one: FieldDescriptor, depth: int) -> None:
    if is_map(one):
        entries = getattr(message, one.name)
        key, value = (one.message_type.fields_by_name[part] for part in ("key", "value"))
        for _ in range(dice.randint(0, 2)):
            if value.message_type is not None:
                fill(dice, entries[_scalar(dice, key)], depth + 1)
            else:
                entries[_scalar(dice, key)] = _scalar(dice, value)
    elif one.is_repeated:
        items = getattr(message, one.name)
        for _ in range(dice.choice([0, 1, 1, 2, 3])):
            if one.message_type is not None:
                fill(dice, items.add(), depth + 1)
            else:
                items.append(_scalar(dice, one))
    elif one.message_type is not None:
        getattr(message, one.name).SetInParent()
        fill(dice, getattr(message, one.name), depth + 1)
    elif one.is_extension:
        message.Extensions[one] = _scalar(dice, one)
    else:
        setattr(message, one.name, _scalar(dice, one))


def _scalar(dice: random.Random, one: FieldDescriptor) -> Any:
    if one.enum_type is not None:
        numbers = [value.number for value in one.enum_type.values]
        return dice.choice([*numbers, *([] if one.enum_type.is_closed else [77])] if dice.random() < 0.2 else numbers)
    if one.type == FieldDescriptor.TYPE_BOOL:
        return dice.random() < 0.5
    if one.type == FieldDescriptor.TYPE_DOUBLE:
        return dice.choice([0.0, -0.0, 1.5, -2.25])
    if one.type == FieldDescriptor.TYPE_STRING:
        return dice.choice(["", "a", "blue", "ä"])
    if one.type == FieldDescriptor.TYPE_BYTES:
        return dice.choice([b"", b"a", b"\xff\x00"])
    signed = one.type in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_INT64)
    return dice.choice([0, 1, 2, 3, 150, *([-1, -7] if signed else [])])


# --- the oracle ---------------------------------------------------------------------------------------------------


def all_fields(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """Fields by name, extensions by `[full.name]`."""
    found = dict(descriptor.fields_by_name)
    if descriptor.is_extendable:
        pool: Any = descriptor.file.pool
        found.update((f"[{one.full_name}]", one) for one in pool.FindAllExtensions(descriptor))
    return found


def is_map(one: FieldDescriptor) -> bool:
    return one.message_type is not None and one.message_type.GetOptions().map_entry


def unknown_numbers(message: Message) -> list[int]:
    """The numbers of the unknown fields of a message itself."""
    fields: Any = UnknownFieldSet(message)
    return sorted(one.field_number for one in fields)


def misplaced(source: Any, target: Any, *, may_lack: bool, path: str = "") -> Iterator[str]:
    """What in `target`, read with its schema, is not what `source` says with its own: nothing, if all arrived.

    `may_lack`: target's schema may not know a field or enum value, and then has it as an unknown field or number.
    """
    there = all_fields(target.DESCRIPTOR)
    written = {_name(one): (one, value) for one, value in source.ListFields()}
    read = {_name(one): (one, value) for one, value in target.ListFields()}
    for name, (one, value) in written.items():
        where = f"{path}.{name}"
        if name not in there:
            if not may_lack:
                yield f"{where} is lost"
        elif name not in read:
            if not _is_left_to_unknown(one, there[name], value, may_lack) and not _reads_as(
                one, value, target, there[name]
            ):
                yield f"{where} did not arrive"
        else:
            yield from _values(one, value, *read[name], may_lack, where)
    for name, (one, value) in read.items():
        if name not in written and not _is_same_default(all_fields(source.DESCRIPTOR).get(name), source, one, value):
            yield f"{path}.{name} came from nowhere"
    if not may_lack and set(unknown_numbers(target)) - set(unknown_numbers(source)):
        yield f"{path} has fields that its schema does not know"
    yield from _unset(source, target, written, read, path)


def _name(one: FieldDescriptor) -> str:
    return f"[{one.full_name}]" if one.is_extension else one.name


def _unset(source: Any, target: Any, written: Any, read: Any, path: str) -> Iterator[str]:
    """Singular scalars that are set on neither side and read as different things."""
    there = all_fields(target.DESCRIPTOR)
    for name, one in all_fields(source.DESCRIPTOR).items():
        other = there.get(name)
        if other is None or one.is_repeated or other.is_repeated or one.message_type or other.message_type:
            continue
        if name in written or name in read or one.is_extension or one.has_presence != other.has_presence:
            continue
        if one.enum_type is not None and other.enum_type is not None:
            first, second = _enum_names(one, one.default_value), _enum_names(other, other.default_value)
            known = second & {value.name for value in one.enum_type.values}
            explicit = one.has_default_value or other.has_default_value or one.enum_type.is_closed
            if (not one.has_presence or explicit) and known and not first & second:
                yield f"{path}.{name} is unset and reads as {second}, not {first}"
        elif one.default_value != other.default_value:
            yield f"{path}.{name} is unset and reads as {other.default_value}, not {one.default_value}"


def _enum_names(one: FieldDescriptor, number: int) -> set[str]:
    return {value.name for value in one.enum_type.values if value.number == number}


def _is_left_to_unknown(one: FieldDescriptor, other: FieldDescriptor, value: Any, may_lack: bool) -> bool:
    """Whether a closed enum without the value has it as an unknown field; of a map, the whole entry."""
    if is_map(one) and is_map(other):
        inner, into = (each.message_type.fields_by_name["value"] for each in (one, other))
        return all(_is_left_to_unknown(inner, into, item, may_lack) for item in value.values())
    if not may_lack or other.enum_type is None or not other.enum_type.is_closed or one.enum_type is None:
        return False
    values = value if one.is_repeated else [value]
    return not any(_enum_names(other, item) for item in values)


def _reads_as(one: FieldDescriptor, value: Any, target: Any, other: FieldDescriptor) -> bool:
    """Whether a field that is not listed reads as what was set, for fields without presence."""
    if other.is_repeated or other.has_presence:
        return False
    got = getattr(target, other.name)
    if one.enum_type is not None and other.enum_type is not None:
        return bool(_enum_names(one, value) & _enum_names(other, got))
    return bool(got == value)


def _is_same_default(writer: FieldDescriptor | None, source: Any, one: FieldDescriptor, value: Any) -> bool:
    """Whether a field that was not set reads as what arrived: the zero of an enum that has another number there."""
    if writer is None or writer.enum_type is None or writer.has_presence or one.enum_type is None or one.is_repeated:
        return False
    return bool(_enum_names(writer, getattr(source, writer.name)) & _enum_names(one, value))


def _values(
    one: FieldDescriptor, value: Any, other: FieldDescriptor, got: Any, may_lack: bool, path: str
) -> Iterator[str]:
    if is_map(one) != is_map(other):
        yield f"{path} is no map on one side"
        return
    if is_map(one):
        inner, into = (each.message_type.fields_by_name["value"] for each in (one, other))
        may_go = {key for key in value if _is_left_to_unknown(inner, into, value[key], may_lack)}
        if not set(got) <= set(value) <= set(got) | may_go:
            yield f"{path} has other keys"
        for key in value:
            if key in got:
                yield from _one(inner, value[key], into, got[key], may_lack, f"{path}[{key!r}]")
        return
    before, after = (list(of) if each.is_repeated else [of] for each, of in ((one, value), (other, got)))
    if may_lack and other.enum_type is not None and other.enum_type.is_closed:
        before = [item for item in before if _enum_names(other, item) or len(before) == len(after)]
    if len(before) != len(after):
        yield f"{path} has {len(after)} values, not {len(before)}"
    for index, (first, second) in enumerate(zip(before, after, strict=False)):
        yield from _one(one, first, other, second, may_lack, f"{path}[{index}]")


def _one(
    one: FieldDescriptor, value: Any, other: FieldDescriptor, got: Any, may_lack: bool, path: str
) -> Iterator[str]:
    if (one.message_type is None) != (other.message_type is None) or (one.enum_type is None) != (
        other.enum_type is None
    ):
        yield f"{path} has another kind"
    elif one.message_type is not None:
        yield from misplaced(value, got, may_lack=may_lack, path=path)
    elif one.enum_type is not None:
        first, second = _enum_names(one, value), _enum_names(other, got)
        known = second & {each.name for each in one.enum_type.values}
        if first and not first & second and (second or not may_lack):
            yield f"{path} is {second or got}, not {first}"
        if not first and (known or value != got):
            yield f"{path} is {second or got}, not the nameless {value}"
    elif one.type != other.type or repr(value) != repr(got):
        yield f"{path} is {got!r}, not {value!r}"
