"""What has changed about messages, fields, oneofs, enums and extensions.

Fields and values are followed by name, then by number: a name is what code and JSON hold on to, a number what the wire
does. Nothing here looks at services.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from invora_grpc.codegen.changes_book import Book, Place
from invora_grpc.codegen.changes_kinds import Breaks
from invora_grpc.codegen.changes_model import Enum, Field, Message, Value
from invora_grpc.codegen.changes_ranges import Reserved
from invora_grpc.codegen.changes_shapes import of_cardinality

__all__ = ["compare_enums", "compare_extensions", "compare_messages"]

_ALL = (Breaks.WIRE, Breaks.JSON, Breaks.SOURCE)


def compare_messages(book: Book) -> None:
    """Messages of both sides, with all that they hold."""
    types = book.names.types
    for name, message in book.before.messages.items():
        after = book.after.messages.get(types.get(name, ""))
        if after is None:
            if not _in_one_of(name, book.before.messages, types):
                book.say("message-removed", name, Place(message.file, type=name))
            continue
        _whereabouts(book, "message", message, after)
        _message(book, message, after)
    taken = set(types.values())
    for name, message in book.after.messages.items():
        if name not in taken and not _in_one_of(name, book.after.messages, taken):
            book.say("message-added", name, Place(message.file, type=name))


def compare_enums(book: Book) -> None:
    """Enums of both sides, with their values."""
    types = book.names.types
    for name, enum in book.before.enums.items():
        after = book.after.enums.get(types.get(name, ""))
        if after is None:
            if not _in_one_of(name, book.before.messages, types):
                book.say("enum-removed", name, Place(enum.file, type=name))
            continue
        _whereabouts(book, "enum", enum, after)
        _enum(book, enum, after)
    taken = set(types.values())
    for name, enum in book.after.enums.items():
        if name not in taken and not _in_one_of(name, book.after.messages, taken):
            book.say("enum-added", name, Place(enum.file, type=name))


def compare_extensions(book: Book) -> None:
    """Extensions of both sides."""
    known = book.names.extensions
    for name, one in book.before.extensions.items():
        place = Place(one.file, type=one.extends, member=f"[{name}]")
        after = book.after.extensions.get(known.get(name, ""))
        if after is None:
            book.say("extension-removed", name, place, _told(one))
            continue
        book.pair(name, after.full)
        if name != after.full and not _follows(book, one, after):
            book.say("extension-renamed", name, place, name, after.full)
        if not book.shapes.same(one.extends, after.extends):
            book.say("extension-moved", name, place, one.extends, after.extends)
        if one.number != after.number:
            book.say("field-renumbered", name, place, one.number, after.number)
        _field(book, one, after, place)
    for name, one in book.after.extensions.items():
        if name not in known.values():
            book.say("extension-added", name, Place(one.file, type=one.extends, member=f"[{name}]"), "", _told(one))


def _in_one_of(name: str, messages: Mapping[str, Message], kept: Container[str]) -> bool:
    """Whether a type is in a message that is told to be gone, or new, itself."""
    outer = name.rpartition(".")[0]
    return outer in messages and outer not in kept


def _whereabouts(book: Book, what: str, before: Message | Enum, after: Message | Enum) -> None:
    """Another name, or another file, that does not follow from what surrounds the type."""
    book.pair(before.full, after.full)
    outer, _, simple = before.full.rpartition(".")
    place = Place(after.file, type=before.full)
    if before.full != after.full:
        if not _follows(book, before, after) and f"{book.names.types.get(outer, '')}.{simple}" != after.full:
            book.say(f"{what}-renamed", before.full, place, before.full, after.full)
    elif (
        before.file != after.file
        and outer not in book.before.messages
        and not _has_moved(book, before.file, after.file)
    ):
        book.say(f"{what}-moved", before.full, place, before.file, after.file)


def _follows(book: Book, before: Message | Enum | Field, after: Message | Enum | Field) -> bool:
    """Whether another full name just follows from the other package of a file."""
    packages = book.before.files[before.file].package, book.after.files[after.file].package
    moved = f"{packages[1]}.{before.full.removeprefix(packages[0]).lstrip('.')}".lstrip(".")
    return book.repackaged(before.file, after.file) and moved == after.full


def _has_moved(book: Book, before: str, after: str) -> bool:
    """Whether a file as a whole is another one now, which is said of the file."""
    return before not in book.after.files and after not in book.before.files


# --- messages -----------------------------------------------------------------------------------------------------


def _message(book: Book, before: Message, after: Message) -> None:
    name, place = before.full, Place(after.file, type=before.full)
    _fields(book, before, after)
    _oneofs(book, before, after)
    _reserved(book, name, place, before.reserved, after.reserved, "reserved")
    _reserved(book, name, place, before.extendable, after.extendable, "extension-range")
    if before.message_set != after.message_set:
        words = ["message set" if one.message_set else "message" for one in (before, after)]
        book.say("message-set-changed", name, place, *words)
    if before.json != after.json:
        book.say("json-format-changed", name, place, before.json, after.json)
    book.common(name, place, before, after, "MessageOptions")
    book.comments(name, place, before.comment, after.comment)


def _reserved(book: Book, name: str, place: Place, before: Reserved, after: Reserved, what: str) -> None:
    if gone := after.lacks(before):
        book.say(f"{what}-removed", name, place, ", ".join(gone))
    if new := before.lacks(after):
        book.say(f"{what}-added", name, place, "", ", ".join(new))


def _fields(book: Book, before: Message, after: Message) -> None:
    kept = _followed(book, before, after)
    numbers = {one.number: one for one in before.fields.values()}
    for name, one in before.fields.items():
        place = Place(after.file, type=before.full, member=name)
        if name not in kept:
            who = (
                (Breaks.JSON, Breaks.SOURCE)
                if after.reserved.holds(one.number) and one.cardinality != "required"
                else None
            )
            book.say("field-removed", one.full, place, _told(one), breaks=who)
            continue
        now = after.fields[kept[name]]
        book.pair(one.full, now.full)
        if now.name != name:
            kept_json = one.json is not None and one.json == now.json
            book.say("field-renamed", one.full, place, name, now.name, breaks=(Breaks.SOURCE,) if kept_json else None)
        if now.number != one.number:
            holder = numbers.get(now.number)
            taken = f", which was that of {holder.name}" if holder is not None else ""
            book.say("field-renumbered", one.full, place, one.number, f"{now.number}{taken}")
        _field(book, one, now, place)
    for name, one in after.fields.items():
        if name not in kept.values():
            _new_field(book, one, Place(after.file, type=before.full, member=name), numbers.get(one.number))


def _new_field(book: Book, one: Field, place: Place, holder: Field | None) -> None:
    required = one.cardinality == "required"
    if holder is not None:
        who = _ALL if required else None
        book.say("number-reused", one.full, place, f"{holder.name}, {holder.shape}", _told(one), breaks=who)
    else:
        book.say("required-field-added" if required else "field-added", one.full, place, "", _told(one))


def _followed(book: Book, before: Message, after: Message) -> dict[str, str]:
    """Field before → field after: of the same name, or else of the same number, type and cardinality."""
    kept = {name: name for name in before.fields if name in after.fields}
    new = {one.number: one for name, one in after.fields.items() if name not in kept}
    for name, one in before.fields.items():
        other = new.get(one.number)
        if name not in kept and other is not None:
            same_type = Breaks.WIRE not in book.shapes.of_types(one, other) and one.type == other.type
            if same_type and one.cardinality == other.cardinality:
                kept[name] = other.name
    return kept


def _field(book: Book, before: Field, after: Field, place: Place) -> None:
    """All about a field but its name and number."""
    symbol = before.full
    if who := book.shapes.of_types(before, after):
        book.say("type-changed", symbol, place, *_types(before, after), breaks=who)
    _cardinality(book, before, after, place)
    for kind, values in (
        ("default-changed", _defaults(book, before, after)),
        ("json-name-changed", _json_names(before, after)),
        (
            "encoding-changed",
            tuple("delimited" if one.delimited else "prefixed by its length" for one in (before, after)),
        ),
        ("packing-changed", tuple("packed" if one.packed else "not packed" for one in (before, after))),
        ("utf8-changed", tuple("UTF-8 only" if one.utf8 else "any bytes" for one in (before, after))),
    ):
        comparable = kind in ("default-changed", "json-name-changed") or _same_frame(before, after)
        if values[0] != values[1] and comparable:
            book.say(kind, symbol, place, *values)
    book.common(symbol, place, before, after, "FieldOptions")
    book.comments(symbol, place, before.comment, after.comment)


def _types(before: Field, after: Field) -> tuple[str, str]:
    """What the types of two fields are called. A map is one of many by itself, others say so."""
    words = (before.shape, after.shape) if "map" in (before.type, after.type) else (before.words, after.words)
    if words[0] == words[1]:  # a message in the place of an enum
        return f"{before.type} {words[0]}", f"{after.type} {words[1]}"
    return words


def _defaults(book: Book, before: Field, after: Field) -> tuple[str, str]:
    """Two defaults; the same ones if both mean one value, which may be that of a field without default."""
    if before.default == after.default or book.before.default(before) == book.after.default(after):
        return "", ""
    return before.default, after.default


def _same_frame(before: Field, after: Field) -> bool:
    """Whether two fields have the same type and are both one or many, so that how they are encoded can be compared."""
    many = "repeated" in (before.cardinality, after.cardinality)
    return (before.type, before.key, before.value) == (after.type, after.key, after.value) and (
        not many or before.cardinality == after.cardinality
    )


def _json_names(before: Field, after: Field) -> tuple[str, ...]:
    """Names in JSON that do not just follow from another name."""
    if before.json is None or after.json is None or before.name != after.name:
        return ("", "")
    return before.json, after.json


def _cardinality(book: Book, before: Field, after: Field, place: Place) -> None:
    words = before.cardinality, after.cardinality
    maps = "map" in (before.type, after.type) and before.type != after.type
    if words[0] == words[1] or maps:
        return
    told = tuple({"optional": "optional, with presence", "implicit": "without presence"}.get(one, one) for one in words)
    if "repeated" in words:
        who = of_cardinality(before, after) if "required" not in words else _ALL
        book.say("cardinality-changed", before.full, place, *told, breaks=who)
    elif "required" in words:
        book.say("required-changed", before.full, place, *told)
    elif before.type == after.type and bool(before.oneof) == bool(after.oneof):
        book.say("presence-changed", before.full, place, *told)


def _told(one: Field) -> str:
    """A field as its .proto file has it."""
    return f"{one.shape} {one.name} = {one.number}"


def _oneofs(book: Book, before: Message, after: Message) -> None:
    called = _oneof_names(book, before, after)
    for name, oneof in before.oneofs.items():
        place = Place(after.file, type=before.full, member=name)
        now = after.oneofs.get(called.get(name, ""))
        if now is None:
            book.say("oneof-removed", oneof.full, place, ", ".join(oneof.members))
        elif now.name != name:
            book.say("oneof-renamed", oneof.full, place, name, now.name)
        if now is not None:
            book.pair(oneof.full, now.full)
            book.comments(oneof.full, place, oneof.comment, now.comment)
    for name, oneof in after.oneofs.items():
        if name not in called.values():
            place = Place(after.file, type=before.full, member=name)
            book.say("oneof-added", oneof.full, place, "", ", ".join(oneof.members))
    for one, now_field in _pairs(book, before, after):
        if called.get(one.oneof, one.oneof) != now_field.oneof:
            place = Place(after.file, type=before.full, member=one.name)
            alone = not _others(book, before, after, one, now_field)
            who = (Breaks.SOURCE,) if alone else None
            kind = "oneof-left" if one.oneof else "oneof-joined"
            book.say(kind, one.full, place, one.oneof, now_field.oneof, breaks=who)


def _others(book: Book, before: Message, after: Message, one: Field, now: Field) -> bool:
    """Whether a field shared a oneof, or shares one now, with a field that is on both sides: both can be set in one."""
    pairs = [pair for pair in _pairs(book, before, after) if pair != (one, now)]
    old = bool(one.oneof) and any(was.oneof == one.oneof for was, _ in pairs)
    return old or (bool(now.oneof) and any(other.oneof == now.oneof for _, other in pairs))


def _pairs(book: Book, before: Message, after: Message) -> Iterable[tuple[Field, Field]]:
    """The fields that are on both sides."""
    for new in after.fields.values():
        old = book.formerly.get(new.full, f"{before.full}.{new.name}").rpartition(".")[2]
        if old in before.fields:
            yield before.fields[old], new


def _oneof_names(book: Book, before: Message, after: Message) -> dict[str, str]:
    """Oneof before → after: of the same name, or else of the same members, new ones aside."""
    called = {name: name for name in before.oneofs if name in after.oneofs}
    for name in before.oneofs:
        if name not in called:
            goals = {new.oneof for old, new in _pairs(book, before, after) if old.oneof == name}
            goal = goals.pop() if len(goals) == 1 else ""
            if goal and goal not in before.oneofs and goal not in called.values():
                called[name] = goal
    return called


# --- enums --------------------------------------------------------------------------------------------------------


def _enum(book: Book, before: Enum, after: Enum) -> None:
    name, place = before.full, Place(after.file, type=before.full)
    _values(book, before, after)
    _reserved(book, name, place, before.reserved, after.reserved, "reserved")
    if before.closed != after.closed:
        words = ["closed" if one.closed else "open" for one in (before, after)]
        book.say("enum-openness-changed", name, place, *words)
    if before.json != after.json:
        book.say("json-format-changed", name, place, before.json, after.json)
    first = [next(iter(one.values.values()), None) for one in (before, after)]
    if first[0] is not None and first[1] is not None and first[0].number != first[1].number:
        book.say("enum-default-changed", name, place, *(_told_value(one) for one in first if one is not None))
    book.common(name, place, before, after, "EnumOptions")
    book.comments(name, place, before.comment, after.comment)


def _values(book: Book, before: Enum, after: Enum) -> None:
    kept = _followed_values(before, after)
    numbers = {one.number: one.name for one in reversed(list(before.values.values()))}
    left = {one.number for one in after.values.values()}
    for name, one in before.values.items():
        place = Place(after.file, type=before.full, member=name)
        if name not in kept:
            safe = after.reserved.holds(one.number) or one.number in left
            who = (Breaks.JSON, Breaks.SOURCE) if safe else None
            book.say("enum-value-removed", one.full, place, _told_value(one), breaks=who)
            continue
        now = after.values[kept[name]]
        book.pair(one.full, now.full)
        if now.name != name:
            book.say("enum-value-renamed", one.full, place, name, now.name)
        if now.number != one.number:
            holder = numbers.get(now.number)
            taken = f", which was that of {holder}" if holder is not None else ""
            book.say("enum-value-renumbered", one.full, place, one.number, f"{now.number}{taken}")
        book.common(one.full, place, one, now, "EnumValueOptions")
        book.comments(one.full, place, one.comment, now.comment)
    for name, one in after.values.items():
        if name not in kept.values():
            _new_value(book, one, before, after, kept)
    _preferred(book, before, after, kept)


def _new_value(book: Book, one: Value, before: Enum, after: Enum, kept: Mapping[str, str]) -> None:
    holders = [old for old in before.values.values() if old.number == one.number]
    alias = not holders or any(
        old.name in kept and after.values[kept[old.name]].number == one.number for old in holders
    )
    place = Place(after.file, type=before.full, member=one.name)
    added = "closed-enum-value-added" if before.closed and not holders else "enum-value-added"
    kind = added if alias else "enum-number-reused"
    book.say(kind, one.full, place, "" if alias else holders[0].name, _told_value(one))


def _preferred(book: Book, before: Enum, after: Enum, kept: Mapping[str, str]) -> None:
    """Of the names of one number, JSON gets the first. A new one there is not known to old readers."""
    firsts = {one.number: one.name for one in reversed(list(after.values.values()))}
    for one in {one.number: one for one in reversed(list(before.values.values()))}.values():
        first, now = firsts.get(one.number), after.values.get(kept.get(one.name, ""))
        if first is not None and first not in kept.values() and now is not None and now.number == one.number:
            place = Place(after.file, type=before.full, member=one.name)
            book.say("enum-alias-preferred", one.full, place, one.name, first)


def _followed_values(before: Enum, after: Enum) -> dict[str, str]:
    """Value before → value after: of the same name, or else the only new one of the same number."""
    kept = {name: name for name in before.values if name in after.values}
    for name, one in before.values.items():
        if name not in kept:
            taken = set(kept.values())
            new = [
                other.name for other in after.values.values() if other.number == one.number and other.name not in taken
            ]
            if new:
                kept[name] = new[0]
    return kept


def _told_value(one: Value) -> str:
    return f"{one.name} = {one.number}"
