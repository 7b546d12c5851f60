"""Two message types, or two enums, side by side: what differs between them, not looking into the types of their fields.

By name, and by direction. These are the rules; `compare` follows them through whole calls, and `adapting` converts by
them. Nothing here follows a reference, so nothing can be endless.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from invora_grpc.errors import shown
from invora_grpc.kinds import map_entry
from invora_grpc.schema.verdicts import Difference, Direction, Verdict

__all__ = [
    "RELOCATED",
    "Found",
    "Step",
    "alike",
    "defaults_of",
    "enum_differences",
    "fields_of",
    "fit",
    "is_stand_in",
    "message_differences",
    "named_type",
    "names_of",
    "numbers_of",
    "oneof_of",
    "relocatable",
]

RELOCATED: Final = 2**28
"""Added to the number of a served field that is another field's with ours, while a message of ours carries it along."""
_LAST_NUMBER: Final = 2**29 - 1
_SCALARS: Final = {
    getattr(FieldDescriptor, f"TYPE_{name.upper()}"): name
    for name in (
        *("double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "bytes", "uint32"),
        *("sfixed32", "sfixed64", "sint32", "sint64"),
    )
}
_NESTED: Final = (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP)

Type = Descriptor | EnumDescriptor


@dataclass(frozen=True, slots=True)
class Step:
    """A field whose types on both sides are to be compared too."""

    path: str
    """E.g. `.lines[]`."""
    ours: Type
    theirs: Type


@dataclass(frozen=True, slots=True)
class Found:
    """What differs between two types, and where to go on. The paths of the differences start at these types."""

    differences: tuple[Difference, ...]
    steps: tuple[Step, ...] = ()


# --- messages -----------------------------------------------------------------------------------------------------


def fields_of(message: Descriptor) -> dict[str, FieldDescriptor]:
    """The fields of a message by name, and the extensions of it that its pool knows, by `[full.name]`."""
    found: dict[str, FieldDescriptor] = dict(message.fields_by_name)
    if message.is_extendable:
        pool: Any = message.file.pool
        extensions = sorted(pool.FindAllExtensions(message), key=lambda one: one.number)
        found.update((f"[{one.full_name}]", one) for one in extensions)
    return found


def relocatable(number: int, taken: Iterable[int]) -> bool:
    """Whether a served field of this number can be carried along under another number."""
    return number + RELOCATED <= _LAST_NUMBER and number + RELOCATED not in taken


def message_differences(ours: Descriptor, theirs: Descriptor, direction: Direction) -> Found:
    """What differs between two message types, for messages that travel in this direction."""
    if is_stand_in(ours) or is_stand_in(theirs):
        return Found((Difference(Verdict.INCOMPATIBLE, "type-missing", ours.full_name),))
    return _Messages(ours, theirs, direction).found()


class _Messages:
    def __init__(self, ours: Descriptor, theirs: Descriptor, direction: Direction) -> None:
        self._types = (ours, theirs)
        self._request = direction is Direction.REQUEST
        self._ours, self._theirs = fields_of(ours), fields_of(theirs)
        self._our_numbers = {field.number: field for field in self._ours.values()}
        self._their_numbers = {field.number: field for field in self._theirs.values()}
        self._differences: list[Difference] = []
        self._steps: list[Step] = []

    def found(self) -> Found:
        common = {}
        for name, field in self._ours.items():
            other = self._theirs.get(name)
            if other is None:
                self._gone(name, field)
            else:
                common[name] = (field, other)
                self._both(name, field, other)
        for name, field in self._theirs.items():
            if name not in self._ours:
                self._new(name, field)
        if self._types[0].oneofs or self._types[1].oneofs:
            self._oneofs(common)
        ours, theirs = (one.is_extendable and one.GetOptions().message_set_wire_format for one in self._types)
        if bool(ours) != bool(theirs):
            self._say(
                Verdict.ADAPTABLE, "encoding-changed", self._types[0], "", *_words(ours, "message set", "message")
            )
        return Found(tuple(self._differences), tuple(self._steps))

    def _say(
        self, verdict: Verdict, kind: str, of: FieldDescriptor | Descriptor, path: str, ours: str = "", theirs: str = ""
    ) -> None:
        self._differences.append(Difference(verdict, kind, of.full_name, path, ours, theirs))

    def _gone(self, name: str, field: FieldDescriptor) -> None:
        verdict = Verdict.INCOMPATIBLE if field.is_required else Verdict.ADAPTABLE
        self._say(verdict, "field-removed", field, f".{name}", _told(field))

    def _new(self, name: str, field: FieldDescriptor) -> None:
        earlier = self._our_numbers.get(field.number)
        if earlier is not None:
            taken = {*self._our_numbers, *self._their_numbers}
            lost = field.is_required if self._request else not relocatable(field.number, taken)
            verdict = Verdict.INCOMPATIBLE if lost else Verdict.ADAPTABLE
            self._say(verdict, "number-reused", field, f".{name}", earlier.name, _told(field))
        elif self._request and field.is_required:
            self._say(Verdict.INCOMPATIBLE, "required-added", field, f".{name}", "", _told(field))
        else:
            self._say(Verdict.ADDITIVE, "field-added", field, f".{name}", "", _told(field))

    def _both(self, name: str, ours: FieldDescriptor, theirs: FieldDescriptor) -> None:
        path = f".{name}"
        if ours.number != theirs.number:
            self._renumbered(path, ours, theirs)
        if not fit(ours, theirs):
            self._say(Verdict.INCOMPATIBLE, "type-changed", ours, path, _type(ours), _type(theirs))
            return
        self._inside(path, ours, theirs)
        if ours.is_repeated != theirs.is_repeated:
            lossless = self._request or ours.is_repeated
            verdict = Verdict.ADAPTABLE if lossless else Verdict.INCOMPATIBLE
            self._say(verdict, "label-changed", ours, path, *_words(ours.is_repeated, "repeated", "singular"))
        elif not ours.is_repeated:
            self._singular(path, ours, theirs)
        if ours.is_required != theirs.is_required:
            reader = theirs if self._request else ours
            verdict = Verdict.INCOMPATIBLE if reader.is_required else Verdict.ADDITIVE
            self._say(verdict, "required-changed", ours, path, *_words(ours.is_required, "required", "optional"))

    def _renumbered(self, path: str, ours: FieldDescriptor, theirs: FieldDescriptor) -> None:
        partner, back = self._our_numbers.get(theirs.number), self._their_numbers.get(ours.number)
        swapped = partner is not None and back is not None and partner.full_name.rpartition(".")[2] == back.name
        kind = "fields-swapped" if swapped else "field-renumbered"
        self._say(Verdict.ADAPTABLE, kind, ours, path, str(ours.number), str(theirs.number))

    def _inside(self, path: str, ours: FieldDescriptor, theirs: FieldDescriptor) -> None:
        """Where to look further from two fields that fit, and what their types are called now."""
        entries = map_entry(ours), map_entry(theirs)
        if entries[0] is not None and entries[1] is not None:
            values = [entry.fields_by_name["value"] for entry in entries if entry]
            self._inside(f"{path}{{}}", values[0], values[1])
            return
        if ours.type != theirs.type:
            words = _words(ours.type == FieldDescriptor.TYPE_GROUP, "group", "message")
            self._say(Verdict.ADAPTABLE, "encoding-changed", ours, path, *words)
        before, after = named_type(ours), named_type(theirs)
        if before is None or after is None:
            return
        if before.full_name != after.full_name:
            names = before.full_name, after.full_name
            self._differences.append(Difference(Verdict.ADAPTABLE, "type-renamed", names[0], path, *names))
        self._steps.append(Step(path + ("[]" if ours.is_repeated else ""), before, after))

    def _singular(self, path: str, ours: FieldDescriptor, theirs: FieldDescriptor) -> None:
        if ours.has_presence != theirs.has_presence:
            words = _words(ours.has_presence, "explicit", "implicit")
            self._say(Verdict.ADAPTABLE, "presence-changed", ours, path, *words)
        defaults = defaults_of(ours, theirs)
        if defaults[0] != defaults[1]:
            self._say(Verdict.INCOMPATIBLE, "default-changed", ours, path, *defaults)

    def _oneofs(self, common: Mapping[str, tuple[FieldDescriptor, FieldDescriptor]]) -> None:
        """Fields that exclude each other on one side only. What only one side has does not count: it cannot meet."""
        ours, theirs = (_partners({name: both[side] for name, both in common.items()}) for side in (0, 1))
        for name, (field, _) in common.items():
            before, after = ours[name], theirs[name]
            if before == after:
                continue
            writer, reader = (before, after) if self._request else (after, before)
            joined = bool(reader - writer)  # two that the writer may set, of which the reader keeps one
            verdict = Verdict.INCOMPATIBLE if joined and not self._request else Verdict.ADAPTABLE
            kind = "oneof-joined" if after - before else "oneof-left"
            self._say(verdict, kind, field, f".{name}", ", ".join(sorted(before)), ", ".join(sorted(after)))


def oneof_of(field: FieldDescriptor) -> str | None:
    """The name of the oneof that a field shares with others. Alone in one, it is a field with presence like others."""
    oneof = field.containing_oneof
    return oneof.name if oneof is not None and len(oneof.fields) > 1 else None


def fit(ours: FieldDescriptor, theirs: FieldDescriptor) -> bool:
    """Whether what one field holds can be held by the other, one by one: their types agree, whatever their labels."""
    entries = map_entry(ours), map_entry(theirs)
    if entries[0] is not None and entries[1] is not None:
        keys, values = ([entry.fields_by_name[part] for entry in entries if entry] for part in ("key", "value"))
        return keys[0].type == keys[1].type and fit(values[0], values[1])
    if entries[0] is not None or entries[1] is not None:
        return False
    if ours.type != theirs.type and not (ours.type in _NESTED and theirs.type in _NESTED):
        return False
    before, after = named_type(ours), named_type(theirs)
    return before is None or after is None or alike(before, after)


def defaults_of(ours: FieldDescriptor, theirs: FieldDescriptor) -> tuple[str, str]:
    """What two singular fields read as while they are unset, as text, if either may read as anything but zero.

    A closed enum's default is its first value. The zero value of open enums is `enum_differences`' matter.
    """
    if not any(one.has_default_value or (one.enum_type and one.enum_type.is_closed) for one in (ours, theirs)):
        return "", ""
    return _default(ours), _default(theirs)


def _default(field: FieldDescriptor) -> str:
    if field.enum_type is None:
        return shown(field.default_value)
    return str(field.enum_type.values_by_number[field.default_value].name)


def _partners(fields: Mapping[str, FieldDescriptor]) -> dict[str, frozenset[str]]:
    members: dict[str, set[str]] = defaultdict(set)
    homes = {name: oneof_of(field) for name, field in fields.items()}
    for name, home in homes.items():
        if home is not None:
            members[home].add(name)
    return {name: frozenset(members[home] - {name}) if home else frozenset() for name, home in homes.items()}


# --- types --------------------------------------------------------------------------------------------------------


def is_stand_in(of: Type) -> bool:
    """Whether a type was put into its pool only because something refers to it: see `pool`."""
    return bool(of.file.name == f"{of.full_name} (stand-in)")


def alike(ours: Type, theirs: Type, *, bound: bool = False) -> bool:
    """Whether two types are one, or one under two names.

    Two names are taken for one type if their last words agree and something in them does; or if all in them agrees and
    each side knows only its own name. Google's types mean something, whatever their shape: a Duration is no Timestamp.
    `bound` is for what stands at the same place of one RPC, where something in common, or nothing at all, will do.
    """
    if ours.full_name == theirs.full_name or is_stand_in(ours) or is_stand_in(theirs):
        return True
    before, after = _shape(ours), _shape(theirs)
    some = before == after or bool(before & after)
    if bound:
        return some or not before or not after
    namesakes = ours.full_name.rpartition(".")[2] == theirs.full_name.rpartition(".")[2]
    if ours.full_name.startswith("google.") or theirs.full_name.startswith("google."):
        return namesakes and before == after
    if namesakes:
        return some
    return (
        bool(before) and before == after and not _knows(theirs, ours.full_name) and not _knows(ours, theirs.full_name)
    )


def _shape(of: Type) -> set[tuple[Any, ...]]:
    if isinstance(of, EnumDescriptor):
        return {(value.name,) for value in of.values}
    return {(field.name, field.type, field.is_repeated) for field in of.fields}


def _knows(side: Type, name: str) -> bool:
    """Whether a side has a type of this name."""
    pool: Any = side.file.pool
    try:
        (pool.FindEnumTypeByName if isinstance(side, EnumDescriptor) else pool.FindMessageTypeByName)(name)
    except KeyError:
        return False
    return True


def named_type(field: FieldDescriptor) -> Type | None:
    """The message or enum type of a field; None for other scalars."""
    return field.message_type if field.message_type is not None else field.enum_type


def _type(field: FieldDescriptor) -> str:
    entry = map_entry(field)
    if entry is not None:
        return f"map<{_type(entry.fields_by_name['key'])}, {_type(entry.fields_by_name['value'])}>"
    named = named_type(field)
    name = named.full_name if named is not None else _SCALARS[field.type]
    return f"repeated {name}" if field.is_repeated else name


def _told(field: FieldDescriptor) -> str:
    return f"{_type(field)} = {field.number}"


def _words(first: object, yes: str, no: str) -> tuple[str, str]:
    return (yes, no) if first else (no, yes)


# --- enums --------------------------------------------------------------------------------------------------------


def enum_differences(ours: EnumDescriptor, theirs: EnumDescriptor, direction: Direction) -> Found:
    """What differs between two enums, for values that travel in this direction."""
    if is_stand_in(ours) or is_stand_in(theirs):
        return Found((Difference(Verdict.INCOMPATIBLE, "type-missing", ours.full_name),))
    found = [*_known_values(ours, theirs), *_new_values(ours, theirs, direction), *_split(ours, theirs, direction)]
    if ours.is_closed != theirs.is_closed:
        words = _words(ours.is_closed, "closed", "open")
        found.append(Difference(Verdict.ADAPTABLE, "enum-openness-changed", ours.full_name, "", *words))
    return Found(tuple(found))


def numbers_of(enum: EnumDescriptor) -> dict[str, int]:
    """Name → number."""
    return {value.name: value.number for value in enum.values}


def names_of(enum: EnumDescriptor) -> dict[int, set[str]]:
    """Number → the names that it has."""
    names: dict[int, set[str]] = defaultdict(set)
    for value in enum.values:
        names[value.number].add(value.name)
    return names


def _known_values(ours: EnumDescriptor, theirs: EnumDescriptor) -> Iterator[Difference]:
    after, aliases = numbers_of(theirs), names_of(ours)
    for name, number in numbers_of(ours).items():
        symbol = f"{ours.full_name}.{name}"
        if name not in after:
            kept = any(after.get(alias) == number for alias in aliases[number])
            verdict = Verdict.ADDITIVE if kept else Verdict.ADAPTABLE
            yield Difference(verdict, "enum-value-removed", symbol, "", str(number))
        elif after[name] != number:
            yield Difference(Verdict.ADAPTABLE, "enum-value-renumbered", symbol, "", str(number), str(after[name]))


def _new_values(ours: EnumDescriptor, theirs: EnumDescriptor, direction: Direction) -> Iterator[Difference]:
    before, taken, aliases = numbers_of(ours), names_of(ours), names_of(theirs)
    for name, number in numbers_of(theirs).items():
        if name in before:
            continue
        symbol = f"{theirs.full_name}.{name}"
        alias = any(before.get(one) == number for one in aliases[number])
        if alias or number not in taken:
            # A closed enum has no place for it: it would read as unset, and be missing from lists.
            verdict = Verdict.ADAPTABLE if ours.is_closed and not alias else Verdict.ADDITIVE
            yield Difference(verdict, "enum-value-added", symbol, "", "", str(number))
            continue
        by_name = any(one in before for one in aliases[number])
        lost = direction is Direction.RESPONSE and not by_name
        verdict = Verdict.INCOMPATIBLE if lost else Verdict.ADAPTABLE
        yield Difference(verdict, "enum-number-reused", symbol, "", ", ".join(sorted(taken[number])), str(number))


def _split(ours: EnumDescriptor, theirs: EnumDescriptor, direction: Direction) -> Iterator[Difference]:
    """Names of one number that are several numbers at the reader: nobody can say which was meant."""
    writer, reader = (ours, theirs) if direction is Direction.REQUEST else (theirs, ours)
    numbers = numbers_of(reader)
    for names in names_of(writer).values():
        found = {name: numbers[name] for name in sorted(names) if name in numbers}
        if len(set(found.values())) > 1:
            first, *others = found
            told = ", ".join(f"{name} = {number}" for name, number in found.items())
            symbol = f"{writer.full_name}.{first}"
            yield Difference(Verdict.INCOMPATIBLE, "enum-aliases-split", symbol, "", ", ".join(others), told)
