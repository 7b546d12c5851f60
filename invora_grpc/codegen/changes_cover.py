"""What buf finds brought together with what was found here, so that nothing that buf flags is lost.

A finding that one of the changes explains (a rule that this kind of change breaks, at the same place) is noted with
that change. What none explains becomes a change of its own, in buf's words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from invora_grpc.codegen.changes_book import Book
from invora_grpc.codegen.changes_buf import Finding
from invora_grpc.codegen.changes_kinds import Breaks, Change

__all__ = ["covered", "who"]

_WIRE: Final = frozenset(
    {
        *("FIELD_SAME_DEFAULT", "FIELD_SAME_ONEOF", "FILE_SAME_PACKAGE", "MESSAGE_SAME_REQUIRED_FIELDS"),
        *("RESERVED_ENUM_NO_DELETE", "RESERVED_MESSAGE_NO_DELETE", "RPC_SAME_CLIENT_STREAMING"),
        *("RPC_SAME_IDEMPOTENCY_LEVEL", "RPC_SAME_REQUEST_TYPE", "RPC_SAME_RESPONSE_TYPE", "RPC_SAME_SERVER_STREAMING"),
        *("ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED", "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED"),
        *("FIELD_WIRE_COMPATIBLE_CARDINALITY", "FIELD_WIRE_COMPATIBLE_TYPE"),
    }
)
_JSON: Final = frozenset(
    {
        *("ENUM_SAME_JSON_FORMAT", "ENUM_VALUE_SAME_NAME", "FIELD_SAME_JSON_NAME", "FIELD_SAME_NAME"),
        *("MESSAGE_SAME_JSON_FORMAT", "ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED"),
        *("FIELD_NO_DELETE_UNLESS_NAME_RESERVED", "FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY"),
        "FIELD_WIRE_JSON_COMPATIBLE_TYPE",
    }
)
"""Rules by the strictest of buf's categories that they are in; all others are about source."""

_NEW_NUMBERS: Final = frozenset({"field-renumbered", "number-reused", "field-removed"})
"""Kinds of change after which another field has the number, so that buf, which follows numbers, compares two fields."""
_CARDINALITY: Final = _NEW_NUMBERS | {
    *("cardinality-changed", "required-changed", "presence-changed", "oneof-joined", "oneof-left", "type-changed")
}
_TYPE: Final = _NEW_NUMBERS | {
    *("type-changed", "encoding-changed", "message-renamed", "enum-renamed", "package-changed", "cardinality-changed"),
    "field-renamed",  # of a map, whose entries are of another type then
}
_FIELD_GONE: Final = frozenset({"field-removed", "field-renumbered", "field-renamed"})
_VALUE_GONE: Final = frozenset({"enum-value-removed", "enum-value-renumbered"})
_RPC_TYPE: Final = frozenset({"request-type-changed", "response-type-changed", "message-renamed", "package-changed"})
_OPTION: Final = frozenset({"option-changed"})
_EXPLAINED_BY: Final[Mapping[str, frozenset[str]]] = {
    "ENUM_NO_DELETE": frozenset({"enum-removed", "enum-renamed", "enum-moved", "file-moved"}),
    "ENUM_SAME_JSON_FORMAT": frozenset({"json-format-changed"}),
    "ENUM_SAME_TYPE": frozenset({"enum-openness-changed"}),
    "ENUM_VALUE_NO_DELETE": _VALUE_GONE,
    "ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED": _VALUE_GONE,
    "ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED": _VALUE_GONE,
    "ENUM_VALUE_SAME_NAME": frozenset(
        {"enum-value-renamed", "enum-value-renumbered", "enum-value-removed", "enum-number-reused"}
    ),
    "EXTENSION_MESSAGE_NO_DELETE": frozenset({"extension-range-removed"}),
    "EXTENSION_NO_DELETE": frozenset({"extension-removed", "extension-renamed", "file-moved"}),
    "FIELD_NO_DELETE": _FIELD_GONE,
    "FIELD_NO_DELETE_UNLESS_NAME_RESERVED": _FIELD_GONE,
    "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED": _FIELD_GONE,
    "FIELD_SAME_CARDINALITY": _CARDINALITY,
    "FIELD_SAME_CPP_STRING_TYPE": _OPTION,
    "FIELD_SAME_DEFAULT": _NEW_NUMBERS | {"default-changed", "enum-default-changed"},
    "FIELD_SAME_JAVA_UTF8_VALIDATION": _NEW_NUMBERS | {"utf8-changed", "type-changed"},
    "FIELD_SAME_JSON_NAME": _NEW_NUMBERS | {"json-name-changed", "field-renamed", "extension-renamed"},
    "FIELD_SAME_JSTYPE": _OPTION,
    "FIELD_SAME_NAME": _NEW_NUMBERS | {"field-renamed", "extension-renamed"},
    "FIELD_SAME_ONEOF": _NEW_NUMBERS | {"oneof-joined", "oneof-left", "oneof-renamed"},
    "FIELD_SAME_TYPE": _TYPE,
    "FIELD_SAME_UTF8_VALIDATION": _NEW_NUMBERS | {"utf8-changed", "type-changed"},
    "FIELD_WIRE_COMPATIBLE_CARDINALITY": _CARDINALITY,
    "FIELD_WIRE_COMPATIBLE_TYPE": _TYPE,
    "FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY": _CARDINALITY,
    "FIELD_WIRE_JSON_COMPATIBLE_TYPE": _TYPE,
    "FILE_NO_DELETE": frozenset({"file-removed", "file-moved"}),
    "FILE_SAME_PACKAGE": frozenset({"package-changed"}),
    "FILE_SAME_SYNTAX": frozenset({"syntax-changed"}),
    "MESSAGE_NO_DELETE": frozenset(
        {
            *("message-removed", "message-renamed", "message-moved", "file-moved"),
            *(
                "type-changed",
                "field-removed",
                "field-renamed",
                "number-reused",
            ),  # of a map, whose entries are messages
        }
    ),
    "MESSAGE_NO_REMOVE_STANDARD_DESCRIPTOR_ACCESSOR": _OPTION,
    "MESSAGE_SAME_JSON_FORMAT": frozenset({"json-format-changed"}),
    "ONEOF_NO_DELETE": frozenset({"oneof-removed", "oneof-renamed"}),
    "RESERVED_ENUM_NO_DELETE": frozenset({"reserved-removed"}),
    "RESERVED_MESSAGE_NO_DELETE": frozenset({"reserved-removed"}),
    "RPC_NO_DELETE": frozenset({"rpc-removed", "rpc-renamed", "rpc-moved"}),
    "RPC_SAME_CLIENT_STREAMING": frozenset({"streaming-changed"}),
    "RPC_SAME_IDEMPOTENCY_LEVEL": frozenset({"idempotency-changed"}),
    "RPC_SAME_REQUEST_TYPE": _RPC_TYPE,
    "RPC_SAME_RESPONSE_TYPE": _RPC_TYPE,
    "RPC_SAME_SERVER_STREAMING": frozenset({"streaming-changed"}),
    "SERVICE_NO_DELETE": frozenset({"service-removed", "service-renamed", "service-moved", "file-moved"}),
}
"""Rule of buf → the kinds of change of which it is a part. A rule that is not here is always told in buf's words."""
_REQUIRED: Final = frozenset(
    {"required-field-added", "required-changed", "field-removed", "field-renumbered", "number-reused"}
)


def who(rule: str) -> tuple[Breaks, ...]:
    """Whom a rule of buf is about."""
    if rule in _WIRE:
        return (Breaks.WIRE, Breaks.SOURCE)
    return (Breaks.JSON, Breaks.SOURCE) if rule in _JSON else (Breaks.SOURCE,)


def covered(book: Book, found: Iterable[Finding]) -> None:
    """Note each finding in the book: with the changes that explain it, or as one more."""
    by_symbol: dict[str, list[int]] = {}
    for index, change in enumerate(book.found):
        by_symbol.setdefault(change.symbol, []).append(index)
    for finding in found:
        subjects = _subjects(book, finding)
        near = [index for subject in _with_outer(subjects) for index in by_symbol.get(subject, ())]
        if finding.rule == "MESSAGE_SAME_REQUIRED_FIELDS":
            near += [index for index, one in enumerate(book.found) if one.type in subjects]
        explaining = [index for index in dict.fromkeys(near) if _explains(book.found[index], finding)]
        for index in explaining:
            one = book.found[index]
            rules = tuple(sorted({*one.rules, finding.rule}))
            book.found[index] = replace(one, rules=rules, breaks=one.breaks or who(finding.rule))
        if not explaining:
            _tell(book, finding, by_symbol)


def _explains(change: Change, finding: Finding) -> bool:
    if finding.rule == "MESSAGE_SAME_REQUIRED_FIELDS":
        return change.kind in _REQUIRED
    if change.kind == "option-changed":
        option = (change.after or change.before).partition(" ")[0]
        return f'"{option}"' in finding.message and finding.rule.startswith(
            ("FILE_SAME_", "FIELD_SAME_", "MESSAGE_NO_REMOVE_")
        )
    return change.kind in _EXPLAINED_BY.get(finding.rule, ())


def _tell(book: Book, finding: Finding, by_symbol: dict[str, list[int]]) -> None:
    symbol = book.formerly.get(finding.symbol, finding.symbol) or finding.gone
    alike = [book.found[index] for index in by_symbol.get(symbol, ())]
    outer = symbol if symbol in book.before.messages or symbol in book.before.enums else symbol.rpartition(".")[0]
    is_type = outer in book.before.messages or outer in book.before.enums
    service, _, rpc = symbol.partition("/")
    is_service = service in book.before.services
    told = Change(
        "buf-flagged",
        symbol,
        "",
        f"{finding.message} ({finding.rule})",
        who(finding.rule),
        file=finding.file or (alike[0].file if alike else ""),
        service=service if is_service else "",
        rpc=rpc if is_service else "",
        type=outer if is_type else "",
        member=symbol.removeprefix(f"{outer}.") if is_type and symbol != outer else "",
        rules=(finding.rule,),
    )
    by_symbol.setdefault(symbol, []).append(len(book.found))
    book.found.append(told)


def _subjects(book: Book, finding: Finding) -> set[str]:
    """All names, by which changes are called, of what a finding is about."""
    symbol = finding.symbol
    places = {symbol, book.names_before(symbol)}
    if finding.gone:
        return _missing(book, finding, places)
    entry = symbol if symbol in book.after.entries else symbol.rpartition(".")[0]
    if entry in book.after.entries:
        field = book.after.entries[entry]
        places |= {field, book.names_before(field), *_members(book, field)}
    places |= set(_members(book, symbol))
    rpc = book.before.rpcs.get(book.names_before(symbol))
    if rpc is not None:
        places |= {rpc.request, rpc.response}
    return places | {*_files(book, places)}


def _members(book: Book, symbol: str) -> Iterable[str]:
    """The fields or values before that have the number of one after, with the types and oneofs of the fields."""
    owner, _, name = symbol.rpartition(".")
    was = book.names_before(owner)
    messages = book.before.messages.get(was), book.after.messages.get(owner)
    if messages[0] is not None and messages[1] is not None and name in messages[1].fields:
        yield f"{was}.{name}"
        for one in messages[0].fields.values():
            if one.number == messages[1].fields[name].number:
                yield from (one.full, one.refers, f"{was}.{one.oneof}")
    enums = book.before.enums.get(was), book.after.enums.get(owner)
    if enums[0] is not None and enums[1] is not None and name in enums[1].values:
        yield f"{was}.{name}"
        yield from (one.full for one in enums[0].values.values() if one.number == enums[1].values[name].number)


def _missing(book: Book, finding: Finding, places: set[str]) -> set[str]:
    """What a finding says is gone: a part of the element that it names, or of its file."""
    if finding.rule == "FILE_NO_DELETE":
        return {finding.gone}
    found = {f"{place}.{finding.gone}" for place in places} | {f"{place}/{finding.gone}" for place in places}
    for side in (book.before, book.after):
        if finding.file in side.files:  # types are named from the file's package on
            found.add(f"{side.files[finding.file].package}.{finding.gone}".lstrip("."))
    for place in places:
        enum = book.before.enums.get(place)
        if enum is not None:
            found |= {one.full for one in enum.values.values() if str(one.number) == finding.gone}
    found |= {book.before.entries[one] for one in found if one in book.before.entries}
    return found | {*_files(book, found)}


def _files(book: Book, names: Iterable[str]) -> Sequence[str]:
    """The files before of types and services."""
    sides: tuple[Mapping[str, object], ...] = (book.before.messages, book.before.enums, book.before.services)
    return [str(getattr(side[name], "file", "")) for name in names for side in sides if name in side]


def _with_outer(names: Iterable[str]) -> Iterable[str]:
    """Each name, and what it is in."""
    for name in names:
        yield name
        while "." in name and not name.endswith(".proto"):
            name = name.rpartition(".")[0]
            yield name
