"""Whether a stored record is what a create sent: the comparison that settles a call whose outcome was in doubt.

Pure, and by names and types only: it knows no service. The two sides are different messages (`ChangeBase` and
`Party`), so that fields are paired by name, and what only the record has is the server's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from invora_grpc.kinds import EXACT, descriptor_of, is_map

__all__ = ["agrees", "copy_shared", "holds", "is_rewritten", "record_in"]

_FREEZING: Final = "freeze_immediately"
_FROZEN: Final = ("frozen", "frozen_at")
_REWRITTEN: Final = "xml_content"
_BILLION: Final = 10**9
_TOTALS: Final[Mapping[str, Callable[[Any], tuple[int, int]]]] = {
    name: attrgetter(*kind.parts) for name, kind in EXACT.items() if len(kind.parts) == 2
}
"""Types whose value is one number in two parts, wholes and billionths: decimals, timestamps, durations."""


def agrees(record: Message, request: Message, key: str) -> bool:
    """Whether the record is what the request asked for; `key` is the name of the request's key field.

    A message in the request (`changes`, `event`) holds fields of the record, and so may the request itself
    (`branch_id`). Whatever else it has says how to create the record, and only freezing leaves a trace there.
    """
    own = descriptor_of(record).fields_by_name
    for descriptor, value in request.ListFields():
        name = descriptor.name
        if name == key:
            continue
        if name in own:
            agreed = _equal(descriptor, value, own[name], record)
        elif name == _FREEZING:
            agreed = not value or _is_frozen(record)
        else:
            agreed = not isinstance(value, Message) or holds(record, value)
        if not agreed:
            return False
    return True


def holds(record: Message, sent: Message) -> bool:
    """Whether the record has all that is set in `sent`, field by field, whatever else it has.

    A field without anything to compare it with counts as different. Absent and zero are the same; decimals and
    instants compare by value; lists and maps have to be as long as they were sent.
    """
    mine, own = descriptor_of(sent), descriptor_of(record)
    for descriptor, value in sent.ListFields():
        field = own.fields_by_name.get(descriptor.name) or _namesake(descriptor, mine, own)
        if field is None or not _equal(descriptor, value, field, record):
            return False
    return True


def is_rewritten(request: Message) -> bool:
    """Whether the request has a document as XML, which is stored with sums, number and stamp in it: a record that
    differs may then be the request's own for all that."""
    return any(
        field.name == _REWRITTEN
        for _, part in request.ListFields()
        if isinstance(part, Message)
        for field, _ in part.ListFields()
    )


def record_in(answer: Message, key: str) -> Message | None:
    """What a Get found: the one message in its response, or the response itself if it has the record's key."""
    if key in descriptor_of(answer).fields_by_name:
        return answer
    inside = [value for _, value in answer.ListFields() if isinstance(value, Message)]
    return inside[0] if len(inside) == 1 else None


def _is_frozen(record: Message) -> bool:
    return any(descriptor.name in _FROZEN for descriptor, _ in record.ListFields())


def _namesake(field: FieldDescriptor, mine: Descriptor, own: Descriptor) -> FieldDescriptor | None:
    """The record's field for one of the input that has another name there: the only one of its message type.

    An event is sent with `properties` and read with `payload`.
    """
    if field.message_type is None:
        return None
    fitting = [
        one
        for one in own.fields
        if one.name not in mine.fields_by_name and _message(one) == _message(field) and not one.is_repeated
    ]
    return fitting[0] if len(fitting) == 1 else None


def _equal(field: FieldDescriptor, value: Any, own: FieldDescriptor, record: Message) -> bool:
    """Whether the record has this value in its field `own`, which for the member of a oneof is the one that is set."""
    if field.is_repeated != own.is_repeated or _enum(field) != _enum(own):
        return False
    if own.containing_oneof is not None and record.WhichOneof(own.containing_oneof.name) not in (None, own.name):
        return False
    kept = getattr(record, own.name)
    if not field.is_repeated:
        return _same(value, kept)
    if len(value) != len(kept):
        return False
    if is_map(field):
        return all(key in kept and _same(value[key], kept[key]) for key in value)
    return all(map(_same, value, kept))


def _message(field: FieldDescriptor) -> str | None:
    return None if field.message_type is None else field.message_type.full_name


def _enum(field: FieldDescriptor) -> str | None:
    return None if field.enum_type is None else field.enum_type.full_name


def _same(sent: Any, kept: Any) -> bool:
    if not isinstance(sent, Message) or not isinstance(kept, Message):
        return bool(sent == kept)
    parts = _TOTALS.get(descriptor_of(sent).full_name)
    if parts is None or descriptor_of(kept).full_name != descriptor_of(sent).full_name:
        return holds(kept, sent)
    (sent_whole, sent_nanos), (whole, nanos) = parts(sent), parts(kept)
    return bool((sent_whole - whole) * _BILLION == nanos - sent_nanos)


def copy_shared(source: Message, target: Message) -> None:
    """Copy the fields that both messages have under one name and type; all, if they are of one type."""
    if type(source) is type(target):
        return target.CopyFrom(source)
    own = descriptor_of(target).fields_by_name
    for descriptor, value in source.ListFields():
        field = own.get(descriptor.name)
        if field is None or field.is_repeated or not isinstance(value, Message):
            continue
        if field.message_type is not None and field.message_type.full_name == descriptor_of(value).full_name:
            getattr(target, field.name).CopyFrom(value)
