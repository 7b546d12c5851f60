"""Lists: one page of rows by a request's filter, sort and pagination, whatever the list is of.

Everything is read off the request's descriptor (field names and shapes), so that this file knows no service, imports no
generated module and works for every list of the schema. What a row holds is told by the caller's `value` function.
This room reads no store and builds no entities: rows come in, a page of the same rows goes out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from invora_grpc.sandbox.service import Call, Fault, echo, invalid

Row = TypeVar("Row")
Read = Callable[[Any], object]
"""The value of one row by the name of a filter or sort field; by a comparison of its content, whether that holds."""
Test = Callable[[Read], bool]
"""Whether a row is wanted."""
Key = tuple[Decimal | str | None, ...]
"""A row's values by the sort rules; None where it has none."""

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CHECKSUM: Final = 12
_DESCENDING: Final = 2  # kernel.SortDirection


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """A filter that compares a field of a row's content: `message` has a `field_path` and an `op`."""

    message: Any


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """One page of a list."""

    items: list[Row]
    total_count: int
    """All rows that the filter lets through, on whatever page."""
    next_cursor: str
    """For the next page's request; "" on the last page."""


def page_of(
    call: Call,
    rows: Sequence[Row],
    request: Message,
    *,
    value: Callable[[Row, Any], object],
    text: Callable[[Row], str],
    order: Callable[[Row], int] | None = None,
) -> Page[Row]:
    """The page of ``rows`` (oldest first) that the request asks for.

    ``value(row, name)`` is what a filter or sort field of this name sees in the row: str, int, bool, Decimal, datetime,
    date, time, enum number, None, or a list of these of which any may fit (KeyError: not supported, answered as
    UNIMPLEMENTED; `x_contains`, `x_from` and `x_to` ask for x). For a filter with `field_path` and `op` the name is a
    Comparison, and the value whether it holds. ``text(row)`` is what text_search looks through.
    ``order(row)`` is the row's place in the order of creation, a number that is never given twice; without it the row's
    own ``seq`` is taken, as a Record has one. Cursors rest on it: a row made or removed between two pages makes no
    other row appear twice or not at all.
    """
    content: Any = request
    fields = request.DESCRIPTOR.fields_by_name
    place = order or _sequence
    wanted = _filter(content.filter) if "filter" in fields and content.HasField("filter") else None
    kept = [row for row in rows if wanted is None or wanted(_reader(row, value))]
    needles = content.filter.text_search.casefold().split() if _has(request, "filter", "text_search") else []
    if needles:
        kept = [row for row in kept if all(needle in text(row).casefold() for needle in needles)]
    rules = _rules(content.sort) if "sort" in fields else []
    keyed = sorted(((_key(_reader(row, value), rules), place(row), row) for row in kept), key=lambda entry: entry[1])
    keyed = _sorted(keyed, rules)
    if "pagination" not in fields:
        return Page([row for _, _, row in keyed], len(keyed), "")
    start, limit = _start(call, content, keyed, rules), _limit(content.pagination)
    chosen = keyed[start : start + limit]
    more = bool(chosen) and start + limit < len(keyed)
    cursor = _cursor(_binding(call, content), chosen[-1][0], chosen[-1][1]) if more else ""
    return Page([row for _, _, row in chosen], len(keyed), cursor)


def fill(response_class: type[Message], page: Page[Any], items: Iterable[Message]) -> Message:
    """A list response with the page's ``items``; its cursor is absent on the last page."""
    message = response_class()
    response: Any = message
    response.items.extend(items)
    response.total_count = page.total_count
    if page.next_cursor:
        if response.DESCRIPTOR.fields_by_name["next_page_cursor"].message_type is None:
            response.next_page_cursor = page.next_cursor
        else:
            response.next_page_cursor.value = page.next_cursor
    return message


def apply_mask(message: Message, mask: FieldMask, *, field: str = "mask") -> Message:
    """A copy of ``message`` with the named paths only; a mask without paths, or with "*", keeps everything.

    INVALID_ARGUMENT names ``field``, the mask's own name in the request.
    """
    check_mask(message, mask, field=field)
    if not mask.paths or "*" in mask.paths:
        return message
    kept = type(message)()
    for path in mask.paths:
        copy_path(message, kept, path.split("."))
    return kept


def check_mask(message: Message, mask: FieldMask, *, field: str = "mask") -> None:
    """INVALID_ARGUMENT for the first path that the type of ``message`` does not have."""
    descriptor: Any = message.DESCRIPTOR
    for path in mask.paths:
        if path != "*" and not FieldMask(paths=[path]).IsValidForDescriptor(descriptor):
            raise invalid(field, f"{echo(path)} is not a field of {descriptor.name}")


def copy_path(source: Message, target: Message, path: Sequence[str]) -> None:
    """Make the field at ``path`` in ``target`` what it is in ``source`` of the same type, unset included."""
    field, *below = path
    descriptor = source.DESCRIPTOR.fields_by_name[field]
    if below:
        if source.HasField(field) or target.HasField(field):
            copy_path(getattr(source, field), getattr(target, field), below)
    else:
        target.ClearField(field)
        if descriptor.is_repeated:
            getattr(target, field).MergeFrom(getattr(source, field))
        elif descriptor.message_type is not None:
            if source.HasField(field):
                getattr(target, field).CopyFrom(getattr(source, field))
        elif not descriptor.has_presence or source.HasField(field):
            setattr(target, field, getattr(source, field))


def _has(request: Message, field: str, below: str) -> bool:
    descriptor: Any = request.DESCRIPTOR.fields_by_name.get(field)
    return descriptor is not None and below in descriptor.message_type.fields_by_name


def _sequence(row: object) -> int:
    place = getattr(row, "seq", None)
    if not isinstance(place, int):
        raise TypeError(f"page_of needs order= for {type(row).__name__} rows, which have no seq")
    return place


def _reader(row: Row, value: Callable[[Row, Any], object]) -> Read:
    return lambda name: value(row, name)


def _unsupported(path: str, why: str = "the sandbox does not support this field here") -> Fault:
    return Fault(grpc.StatusCode.UNIMPLEMENTED, f"{path}: {why}", reason="NOT_SERVED", metadata={"field": path})


# Filters


def _filter(content: Any) -> Test:
    for field, _ in content.ListFields():
        if field.name not in ("part", "text_search", "time_reference"):
            raise _unsupported(f"filter.{field.name}")
    if "time_reference" in content.DESCRIPTOR.fields_by_name and content.HasField("time_reference"):
        reference = content.time_reference
        if reference.historical_data or reference.WhichOneof("reference_type") == "reference_date":
            raise _unsupported("filter.time_reference", "the sandbox keeps no history; ask without it")
    if "part" not in content.DESCRIPTOR.fields_by_name:
        return lambda read: True
    return _part(content.part, "filter.part")


def _part(part: Any, path: str) -> Test:
    """A part has one field set, as they are alternatives; an empty one lets everything through."""
    tests = [_field(field, content, f"{path}.{field.name}") for field, content in part.ListFields()]
    return lambda read: all(_verdicts(tests, read))


def _verdicts(tests: Sequence[Test], read: Read) -> list[bool]:
    """What every test says, even if one would do: an unsupported field is reported whatever the rows hold."""
    return [test(read) for test in tests]


def _field(field: FieldDescriptor, content: Any, path: str) -> Test:
    if field.name in ("and", "or") and field.message_type is not None:
        operands = [_part(part, f"{path}.operands[{i}]") for i, part in enumerate(content.operands)]
        join = all if field.name == "and" else any
        return lambda read: join(_verdicts(operands, read))
    if field.name == "not" and field.message_type is not None:
        denied = _part(content, path)
        return lambda read: not denied(read)
    if field.message_type is None:
        return _scalar(field, content, path)
    return _message(field.name, content, path)


def _scalar(field: FieldDescriptor, content: Any, path: str) -> Test:
    name = field.name
    if field.type == FieldDescriptor.TYPE_BOOL:
        return lambda read: content in ([bool(one) for one in _values(read, name, path)] or [False])
    if field.type == FieldDescriptor.TYPE_STRING and name.endswith("_contains"):
        needle = content.casefold()
        return lambda read: any(needle in str(one).casefold() for one in _values(read, name[:-9], path))
    if field.type in _INTEGERS and name.endswith("_from"):
        return lambda read: any(one >= content for one in _values(read, name[:-5], path))
    if field.type in _INTEGERS and name.endswith("_to"):
        return lambda read: any(one <= content for one in _values(read, name[:-3], path))
    return lambda read: content in _values(read, name, path)


_INTEGERS: Final = frozenset(
    {FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64}
)


def _message(name: str, content: Any, path: str) -> Test:
    """A filter that is a message: membership, a range, a choice of ranges, or one of these that may be null."""
    shape = set(content.DESCRIPTOR.fields_by_name)
    if shape == {"value"}:
        if not content.HasField("value"):
            return lambda read: not _values(read, name, path)
        return _message(name, content.value, path)
    if shape == {"in_values"}:
        members = {_member(member) for member in content.in_values}
        return lambda read: any(one in members for one in _values(read, name, path))
    if shape == {"from_inclusive", "to_exclusive"}:
        accepts = _range(content, path)
    elif shape <= {"exact", "range", "range_timestamp"}:
        choice = content.WhichOneof("value")
        if choice == "exact":
            accepts = _exact(content.exact, f"{path}.exact")
        elif choice is None:
            return lambda read: bool(_values(read, name, path))
        else:
            accepts = _range(getattr(content, choice), f"{path}.{choice}")
    elif {"field_path", "op"} <= shape:  # the row itself compares a field of its content
        return lambda read: any(_values(read, Comparison(content), path))
    else:
        raise _unsupported(path)
    return lambda read: any(accepts(one) for one in _values(read, name, path))


def _values(read: Read, name: Any, path: str) -> list[Any]:
    try:
        found = read(name)
    except KeyError as error:
        raise _unsupported(path) from error
    if found is None:
        return []
    return [one for one in found if one is not None] if isinstance(found, list) else [found]


def _member(member: Any) -> object:
    """A value to compare with; a message is the tuple of its fields, e.g. (key, value)."""
    if isinstance(member, Message):
        return tuple(getattr(member, field.name) for field in member.DESCRIPTOR.fields)
    return member


def _exact(bound: Message, path: str) -> Callable[[object], bool]:
    point, seen = _POINTS[bound.DESCRIPTOR.full_name]
    wanted = _pointed(point, bound, path)
    return lambda one: seen(one) == wanted


def _range(content: Any, path: str) -> Callable[[object], bool]:
    kind = content.DESCRIPTOR.fields_by_name["from_inclusive"].message_type
    if kind is None or kind.full_name not in _POINTS:
        raise _unsupported(path)
    point, seen = _POINTS[kind.full_name]
    low, high = (
        _pointed(point, getattr(content, end), f"{path}.{end}") if content.HasField(end) else None
        for end in ("from_inclusive", "to_exclusive")
    )
    return lambda one: (low is None or seen(one) >= low) and (high is None or seen(one) < high)


def _pointed(point: Callable[[Any], Any], bound: Message, path: str) -> Any:
    try:
        return point(bound)
    except ValueError as error:
        raise invalid(path, str(error)) from error


def _instant(one: Any) -> int:
    """Nanoseconds since the epoch; a day begins at midnight UTC."""
    if not isinstance(one, datetime):
        one = datetime(one.year, one.month, one.day, tzinfo=UTC)
    gone: timedelta = one - _EPOCH
    return ((gone.days * 86_400 + gone.seconds) * 1_000_000 + gone.microseconds) * 1000


def _day(one: Any) -> date:
    return one.astimezone(UTC).date() if isinstance(one, datetime) else one


def _time(one: Any) -> int:
    """Nanoseconds since midnight."""
    clock: time = one.astimezone(UTC).time() if isinstance(one, datetime) else one
    return (((clock.hour * 60 + clock.minute) * 60 + clock.second) * 1_000_000 + clock.microsecond) * 1000


def _number(one: Any) -> Any:
    return one


_POINTS: Final[Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]] = MappingProxyType(
    {
        "google.protobuf.Timestamp": (lambda m: m.seconds * 1_000_000_000 + m.nanos, _instant),
        "google.type.Date": (lambda m: date(m.year, m.month, m.day), _day),
        "google.type.TimeOfDay": (
            lambda m: ((m.hours * 60 + m.minutes) * 60 + m.seconds) * 1_000_000_000 + m.nanos,
            _time,
        ),
        "google.protobuf.UInt64Value": (lambda m: m.value, _number),
        "google.protobuf.Int64Value": (lambda m: m.value, _number),
        "kernel.DecimalValue": (lambda m: Decimal(m.units * 10**9 + m.nanos).scaleb(-9), _number),
    }
)
"""Type of a bound → the bound as something comparable, and a row's value as the same."""


# Order


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    path: str
    descending: bool


def _rules(sort: Any) -> list[_Rule]:
    rules = []
    for i, rule in enumerate(sort.rules):
        for field, direction in rule.ListFields():
            path = f"sort.rules[{i}].{field.name}"
            if not direction:
                raise invalid(path, "needs a direction, ascending or descending")
            rules.append(_Rule(field.name, path, direction == _DESCENDING))
    return rules


def _key(read: Read, rules: Sequence[_Rule]) -> Key:
    return tuple(_sortable(_values(read, rule.name, rule.path)) for rule in rules)


def _sortable(values: list[Any]) -> Decimal | str | None:
    """The least of the values as text or as a number, which a cursor can carry without loss."""
    least: Decimal | str | None = min((_plain(one) for one in values), default=None)
    return least


def _plain(one: Any) -> Any:
    if isinstance(one, str):
        return one
    if isinstance(one, time):
        one = _time(one)
    elif isinstance(one, date):
        one = _instant(one)
    return Decimal(one)


def _sorted(keyed: list[tuple[Key, int, Row]], rules: Sequence[_Rule]) -> list[tuple[Key, int, Row]]:
    """By the rules in their priority; rows without a value come last in either direction, ties in order of creation."""
    for i in reversed(range(len(rules))):
        present = [entry for entry in keyed if entry[0][i] is not None]
        present = _stable(present, i, rules[i].descending)
        keyed = present + [entry for entry in keyed if entry[0][i] is None]
    return keyed


def _stable(entries: list[tuple[Key, int, Row]], i: int, descending: bool) -> list[tuple[Key, int, Row]]:
    def by_rule(entry: tuple[Key, int, Row]) -> Any:
        return entry[0][i]

    return sorted(entries, key=by_rule, reverse=descending)


def _after(key: Key, place: int, last: Key, last_place: int, rules: Sequence[_Rule]) -> bool:
    """Whether a row comes after the one that the last page ended with."""
    for one, other, rule in zip(key, last, rules, strict=True):
        if one == other:
            continue
        if one is None or other is None:
            return one is None
        larger = bool(Decimal(one) > Decimal(other)) if isinstance(one, Decimal) else str(one) > str(other)
        return larger != rule.descending
    return place > last_place


# Pagination


def _limit(pagination: Any) -> int:
    if not pagination.HasField("limit"):
        return DEFAULT_LIMIT
    limit: int = pagination.limit.value
    if limit == 0:
        raise invalid("pagination.limit", f"is at least 1; leave it out for {DEFAULT_LIMIT}")
    if limit > MAX_LIMIT:
        why = f"a page holds at most {MAX_LIMIT} items"
        raise _out_of_range("pagination.limit", why, "PAGE_TOO_LARGE")
    return limit


def _start(call: Call, content: Any, keyed: Sequence[tuple[Key, int, Row]], rules: Sequence[_Rule]) -> int:
    if not content.pagination.cursor:
        return int(content.pagination.skip)
    last, last_place = _opened(_binding(call, content), content.pagination.cursor)
    later = (i for i, (key, place, _) in enumerate(keyed) if _after(key, place, last, last_place, rules))
    return next(later, len(keyed))


def _binding(call: Call, content: Any) -> bytes:
    """What seals a cursor: the store's own secret, the tenant, the list, and what it is filtered and sorted by."""
    secret = call.store.key("cursors", partial(secrets.token_bytes, 32))
    digest = hmac.new(secret, f"{call.org_id}\0{call.method.path}".encode(), "sha256")
    for name in ("filter", "sort"):
        if name in content.DESCRIPTOR.fields_by_name:
            part = getattr(content, name).SerializeToString(deterministic=True)
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def _cursor(binding: bytes, key: Key, place: int) -> str:
    """The position after a row as opaque text that only the same list of the same tenant understands."""
    values = [None if one is None else f"{'n' if isinstance(one, Decimal) else 's'}{one}" for one in key]
    body = json.dumps([place, *values], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_checksum(binding, body) + body).decode().rstrip("=")


def _opened(binding: bytes, cursor: str) -> tuple[Key, int]:
    try:
        sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        sealed = b""
    if not hmac.compare_digest(_checksum(binding, sealed[_CHECKSUM:]), sealed[:_CHECKSUM]):
        why = "is not, or no longer, a cursor of this list with this filter and sort; begin the list again without it"
        raise _out_of_range("pagination.cursor", why, "CURSOR_INVALID")
    place, *values = json.loads(sealed[_CHECKSUM:])
    key = [one if one is None else Decimal(one[1:]) if one[0] == "n" else one[1:] for one in values]
    return tuple(key), place


def _checksum(binding: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, key=binding, digest_size=_CHECKSUM).digest()


def _out_of_range(field: str, why: str, reason: str) -> Fault:
    return Fault(grpc.StatusCode.OUT_OF_RANGE, f"{field}: {why}", reason=reason, violations=[(field, why)])
