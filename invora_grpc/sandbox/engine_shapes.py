"""Shapes: how an input's fields become an entity's, and how an entity is read, told by descriptors alone.

Fields go by name. Where the types of a name differ they are converted if that is lossless and plain to see: a number
in text, localized text, a message of the same fields, an id or code for the record that it names. What has no
counterpart in the entity is dropped; `dropped` lists it. This room knows no service, no store and no tenant.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from invora_grpc.sandbox.listing import copy_path
from invora_grpc.sandbox.service import Wrong, echo, invalid, noting, refuse

Refer = Callable[[str, str, str, str], Message]
"""The record that a reference names: by its type's full name, "id" or "code", the value, and the path to blame."""

RENAMED: Final = {"feature_code": "code", "privilege_code": "code", "properties": "payload"}
"""Input field → entity field, where the input's own name is not a field of the entity."""
GROUPS: Final = frozenset({"invoice_custom_section", "payment_method", "applies_to"})
"""Input messages whose fields are the entity's own, unless a field of the group's name takes them."""
_LONGEST_SEARCHED: Final = 200
_LONGEST_NUMBER: Final = 64  # characters
_LARGEST_EXPONENT: Final = 300  # every double has this
_INTEGERS: Final = frozenset({FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64})


@dataclass(frozen=True, slots=True)
class Step:
    """One input field and what it becomes."""

    source: Any
    target: Any
    how: str
    """same, message, number, localized, reference, references or group."""


@dataclass(frozen=True, slots=True)
class Copying:
    """What a copy needs to know beyond the two messages."""

    now: datetime
    refer: Refer
    entities: frozenset[str]
    """Full names of the message types that a reference can name."""


@functools.cache
def steps(source: Any, target: Any, entities: frozenset[str]) -> tuple[Step, ...]:
    """What becomes of each field of one message type in another."""
    found = (_step(field, target, entities) for field in source.fields)
    return tuple(step for step in found if step)


def dropped(source: Any, target: Any, entities: frozenset[str]) -> Iterator[str]:
    """Paths of the input fields that the entity has no place for."""
    taken = {step.source.name: step for step in steps(source, target, entities)}
    for field in source.fields:
        step = taken.get(field.name)
        if step is None:
            yield field.name
        elif step.how in ("message", "group"):
            below = step.target if step.how == "group" else step.target.message_type
            yield from (f"{field.name}.{path}" for path in dropped(field.message_type, below, entities))


def _step(field: Any, target: Any, entities: frozenset[str]) -> Step | None:
    named = target.fields_by_name.get(field.name) or target.fields_by_name.get(RENAMED.get(field.name, ""))
    how = _conversion(field, named, entities) if named is not None else ""
    if how:
        return Step(field, named, how)
    if field.name in GROUPS and field.message_type is not None and steps(field.message_type, target, entities):
        return Step(field, target, "group")
    if field.type != FieldDescriptor.TYPE_STRING:
        return None
    stem, _, by = field.name.rpartition("_")
    if not field.is_repeated and by == "id":
        referred = target.fields_by_name.get(stem)
        return Step(field, referred, "reference") if _refers(referred, entities) else None
    if field.is_repeated and by in ("ids", "codes"):
        plural = target.fields_by_name.get(f"{stem}s") or target.fields_by_name.get(f"{stem}es")
        return Step(field, plural, "references") if _refers(plural, entities) else None
    return None


def _refers(field: Any, entities: frozenset[str]) -> bool:
    return field is not None and field.message_type is not None and field.message_type.full_name in entities


def _conversion(field: Any, target: Any, entities: frozenset[str]) -> str:
    if field.is_repeated != target.is_repeated:
        return ""
    if field.message_type is not None and target.message_type is not None:
        pair = (field.message_type.full_name, target.message_type.full_name)
        if pair[0] == pair[1] or _is_map(field):
            return "same" if not _is_map(field) or _same_map(field, target) else ""
        if pair == ("entity_localization.v1.SetLocalizedValue", "entity_localization.v1.LocalizedValue"):
            return "localized"
        return "message" if steps(field.message_type, target.message_type, entities) else ""
    if field.message_type is not None or target.message_type is not None or field.enum_type is not target.enum_type:
        return ""
    if field.cpp_type == target.cpp_type or {field.cpp_type, target.cpp_type} == _INTEGERS:
        return "same"
    return "number" if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated else ""


def _is_map(field: Any) -> bool:
    return bool(field.is_repeated and field.message_type and field.message_type.GetOptions().map_entry)


def _same_map(field: Any, target: Any) -> bool:
    ends = [one.message_type.fields_by_name["value"] for one in (field, target)] if _is_map(target) else []
    return bool(ends) and ends[0].type == ends[1].type and ends[0].message_type is ends[1].message_type


def copy_fields(source: Any, target: Any, copying: Copying, path: str) -> None:
    """Write every field that ``source`` has set to its place in ``target``; other fields stay. Raises Fault."""
    taken = {step.source.name: step for step in steps(source.DESCRIPTOR, target.DESCRIPTOR, copying.entities)}
    wrong: Wrong = []
    for field, value in source.ListFields():
        if step := taken.get(field.name):
            with noting(wrong):
                _write(step, value, target, copying, f"{path}.{field.name}")
    refuse(wrong)


def unkept(source: Any, target: Any, entities: frozenset[str]) -> Iterator[str]:
    """Paths of the fields set in ``source`` that an entity of the type ``target`` has no place for."""
    taken = {step.source.name: step for step in steps(source.DESCRIPTOR, target, entities)}
    for field, value in source.ListFields():
        step = taken.get(field.name)
        if step is None:
            yield field.name
        elif step.how in ("message", "group"):
            below = step.target if step.how == "group" else step.target.message_type
            for i, one in enumerate(value if field.is_repeated else [value]):
                name = f"{field.name}[{i}]" if field.is_repeated else field.name
                yield from (f"{name}.{path}" for path in unkept(one, below, entities))


def _write(step: Step, value: Any, target: Any, copying: Copying, path: str) -> None:
    if step.how == "group":
        copy_fields(value, target, copying, path)
        return
    name, is_message = step.target.name, step.target.message_type is not None
    if step.target.is_repeated or is_message:
        target.ClearField(name)
    if step.how == "references":
        by = step.source.name.rpartition("_")[2].removesuffix("s")
        named = step.target.message_type.full_name
        found = (copying.refer(named, by, one, f"{path}[{i}]") for i, one in enumerate(value))
        getattr(target, name).extend(found)
    elif step.how == "reference":
        if value:
            getattr(target, name).CopyFrom(copying.refer(step.target.message_type.full_name, "id", value, path))
    elif step.how == "number":
        setattr(target, name, _number(step.target, value, path))
    elif step.how == "localized":
        _localize(value, getattr(target, name))
    elif step.how == "message" and step.target.is_repeated:
        for i, one in enumerate(value):
            _nest(one, getattr(target, name).add(), copying, f"{path}[{i}]")
    elif step.how == "message":
        _nest(value, getattr(target, name), copying, path)
    elif step.target.is_repeated:
        getattr(target, name).MergeFrom(value)
    elif is_message:
        getattr(target, name).CopyFrom(value)
    else:
        setattr(target, name, value)


def _nest(source: Any, target: Any, copying: Copying, path: str) -> None:
    """Copy a message within an entity, which has an id and times of its own if its type has the fields."""
    target.SetInParent()
    copy_fields(source, target, copying, path)
    fields = target.DESCRIPTOR.fields_by_name
    if "id" in fields and fields["id"].type == FieldDescriptor.TYPE_STRING and not target.id:
        target.id = secrets.token_hex(10)
    for name in ("created_at", "updated_at"):
        if name in fields and not target.HasField(name):
            getattr(target, name).FromDatetime(copying.now)


def number_of(text: str) -> Decimal:
    """A number in text, 0 for none. ValueError for what is none, and for what would take long to calculate with."""
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("too long")
    try:
        number = Decimal(text or "0")
    except ArithmeticError as error:
        raise ValueError("not a number") from error
    if not number.is_finite() or abs(number.adjusted()) > _LARGEST_EXPONENT:
        raise ValueError("not finite, or of a size that nothing has")
    return number


def _number(field: Any, value: str, path: str) -> int | float:
    try:
        number = number_of(value)
        whole = field.cpp_type != FieldDescriptor.CPPTYPE_DOUBLE
        converted = int(number) if whole else float(number)
        low, high = _RANGES.get(field.cpp_type, (converted, converted))
        if not low <= converted <= high or (whole and converted != number):
            raise ValueError("too large, or not whole")
    except (ArithmeticError, ValueError) as error:
        raise invalid(path, f"{echo(value)} is not a number that fits") from error
    return converted


_RANGES: Final = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def _localize(source: Any, target: Any) -> None:
    """All assignments; the value is the one without a locale, or else the first."""
    target.assignments.MergeFrom(source.assignments)
    ranked = sorted(source.assignments, key=lambda one: bool(one.locale))
    target.SetInParent()
    if ranked and ranked[0].HasField("value"):
        target.value.CopyFrom(ranked[0].value)


# Reading


def look(message: Any, path: str) -> list[Any]:
    """The plain values at a dotted path, across repeated fields; of alternatives "a.b|c" the first that has any."""
    for alternative in path.split("|"):
        found = [message]
        for name in alternative.split("."):
            found = [one for holder in found for one in _held(holder, name)]
        if found:
            return [plain for plain in map(_plain, found) if plain is not None]
    return []


def _held(holder: Any, name: str) -> list[Any]:
    field = holder.DESCRIPTOR.fields_by_name[name]
    if field.is_repeated:
        return list(getattr(holder, name))
    if field.has_presence and not holder.HasField(name):
        return []
    return [getattr(holder, name)]


def _plain(one: Any) -> Any:
    """A leaf as a Python value, None if it is no real date; a message of key and value as that pair."""
    if not isinstance(one, Message):
        return one
    name, fields = one.DESCRIPTOR.full_name, one.DESCRIPTOR.fields_by_name
    content: Any = one
    if name in ("google.protobuf.Timestamp", "google.type.Date"):
        with suppress(ValueError, OverflowError):
            if name == "google.type.Date":
                return date(content.year, content.month, content.day)
            return content.ToDatetime(tzinfo=UTC)
        return None
    if name == "kernel.DecimalValue":
        return Decimal(content.units * 10**9 + content.nanos).scaleb(-9)
    if name == "entity_localization.v1.LocalizedValue":
        return content.value.value
    if "key" in fields and "value" in fields:
        return content.key, content.value
    return content


def search_text(message: Message) -> str:
    """Every text that a person may look for, a line each; no stamps, no pictures."""
    return "\n".join(_texts(message))


def _texts(message: Message) -> Iterator[str]:
    for field, value in message.ListFields():
        if field.name in ("concurrency_stamp", "version_id") or _is_map(field):
            continue
        values = value if field.is_repeated else [value]
        if field.message_type is not None:
            for one in values:
                yield from _texts(one)
        elif field.type == FieldDescriptor.TYPE_STRING:
            yield from (one for one in values if len(one) <= _LONGEST_SEARCHED)


@functools.cache
def readable(entity: Any, name: str) -> str:
    """The path in an entity that a filter or sort field of this name means. Raises KeyError if none is plain to see."""
    fields = entity.fields_by_name
    versioned = "id" in fields and fields["id"].message_type is not None
    common = _VERSIONED.get(name) if versioned else None
    if common:
        return common
    for candidate in (name, f"{name[:-3]}y" if name.endswith("ies") else "", name.removesuffix("s")):
        if candidate in fields:
            return candidate
    stem = name.removesuffix("_id")
    if stem != name and stem in fields and fields[stem].message_type is not None:
        return f"{stem}.id"
    raise KeyError(name)


_VERSIONED: Final = {
    "key": "id.key",
    "created_at": "audit.creation_info.created_at",
    "updated_at": "audit.last_modification_time|audit.creation_info.created_at",
}


# What the server sets


def status_of(entity: Any, word: str) -> int | None:
    """The number of a status by the last word of its name, e.g. "ACTIVE"; None if the entity has no such status."""
    field = entity.DESCRIPTOR.fields_by_name.get("status")
    values = field.enum_type.values if field is not None and field.enum_type is not None else ()
    return next((one.number for one in values if one.name.endswith(f"_{word}")), None)


def state_of(entity: Any) -> str:
    """The status in a word, e.g. "active"; "" for an entity without one."""
    field = entity.DESCRIPTOR.fields_by_name.get("status")
    if field is None or field.enum_type is None:
        return ""
    value = field.enum_type.values_by_number.get(entity.status)
    return value.name.rpartition("_")[2].lower() if value else ""


def touch(entity: Any, *, stamp: str, now: datetime, by: str, new: bool) -> None:
    """Set stamp, times, version and audit as far as the entity has them."""
    fields = entity.DESCRIPTOR.fields_by_name
    if "concurrency_stamp" in fields:
        entity.concurrency_stamp = stamp
    for name in ("created_at", "updated_at") if new else ("updated_at",):
        if name in fields:
            getattr(entity, name).FromDatetime(now)
    if "id" in fields and fields["id"].message_type is not None:
        entity.id.version += 1
        entity.id.version_id = secrets.token_hex(16)
    if "audit" in fields and new:
        entity.audit.creation_info.created_at.FromDatetime(now)
        entity.audit.creation_info.creator_id.value = by
    elif "audit" in fields:
        entity.audit.last_modification_time.FromDatetime(now)
        entity.audit.last_modifier_id.value = by


def overwrite(content: Any, entity: Any, mask: Any, copying: Copying, path: str) -> None:
    """Make the entity's fields under the mask's paths what the input says, unset included; other fields stay."""
    fresh = type(entity)()
    copy_fields(content, fresh, copying, path)
    taken = {step.source.name: step for step in steps(content.DESCRIPTOR, entity.DESCRIPTOR, copying.entities)}
    for name in taken if "*" in mask.paths else mask.paths:
        parts = name.split(".")
        if step := taken.get(parts[0]):
            copy_path(fresh, entity, parts if step.how == "same" else [step.target.name])
