"""Messages of one schema into messages of another, field for field by name.

A converter is made once per pair of types, when it is first needed. Where bytes mean the same on both sides they are
carried over as they are. What cannot be carried over without loss raises `Unfit`, which names the place and never the
value. The rules are those of `matching`. Nothing here sends, and nothing knows what an RPC is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

from google.protobuf import empty_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from invora_grpc.kinds import map_entry
from invora_grpc.schema import matching, wire
from invora_grpc.schema.compare import Comparer
from invora_grpc.schema.matching import RELOCATED, Type
from invora_grpc.schema.verdicts import Direction, Verdict

__all__ = ["MAX_DEPTH", "Conversion", "Convert", "Unfit", "class_of"]

MAX_DEPTH: Final = 100
"""Messages in messages, those packed into an Any included: protobuf's own limit."""

Convert = Callable[[Any, Any, int], None]
"""Source, target, depth: write a message into an empty one of the other schema. Raises Unfit."""
_Put = Callable[[Any, Any, int], None]
"""Value, target, depth: write what a field holds into the message of the other schema. Raises Unfit."""
_Map = Callable[[Any], Any]
_Check = Callable[[set[int], Any], None]
"""Numbers of the fields that are set in the source, target."""


class Unfit(Exception):
    """Something in a message cannot be carried over."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.steps: list[str] = []
        """The way to it, from the inside out."""

    @property
    def path(self) -> str:
        """E.g. `.lines[3].price`; of a long one, its two ends."""
        steps = self.steps if len(self.steps) <= 16 else [*self.steps[:8], "…", *self.steps[-8:]]
        return "".join(reversed(steps))


def class_of(message: Descriptor) -> type[Message]:
    """The class of a message type. Raises Unfit for one that protobuf cannot make, since it makes them recursively."""
    try:
        return GetMessageClass(message)
    except RecursionError:
        raise Unfit(f"leads from {message.full_name} through more types than protobuf can handle") from None


class Conversion:
    """The converters of one direction between two schemas. Threads that make one at the same time make equal ones."""

    def __init__(self, comparer: Comparer, direction: Direction) -> None:
        self.comparer = comparer
        self.direction = direction
        self.request = direction is Direction.REQUEST
        self._made: dict[tuple[Type, Type], Any] = {}
        self._classes: list[type[Message]] = []
        """Held here, since protobuf makes classes of private pools again and again while nobody holds them."""

    def of(self, writer: Descriptor, reader: Descriptor) -> Convert:
        """The converter from one type to another."""
        made: Convert | None = self._made.get((writer, reader))
        if made is None:
            made = self._made[writer, reader] = self._converter(writer, reader)
        return made

    def carries_bytes(self, writer: Type, reader: Type) -> bool:
        """Whether bytes of the one type mean the same as bytes of the other."""
        pair = self.sides(writer, reader)
        if self.comparer.verdict(*pair, self.direction) > Verdict.ADDITIVE:
            return False
        return not self.comparer.opaque(*pair, self.direction)

    def enum(self, writer: EnumDescriptor, reader: EnumDescriptor) -> _Map | None:
        """From number to number; None if they mean the same."""
        pair = (writer, reader)
        if pair not in self._made:
            self._made[pair] = None if self.carries_bytes(writer, reader) else _Enum(self, writer, reader)
        made: _Map | None = self._made[pair]
        return made

    def sides(self, writer: Type, reader: Type) -> tuple[Type, Type]:
        """Ours, theirs."""
        return (writer, reader) if self.request else (reader, writer)

    def _converter(self, writer: Descriptor, reader: Descriptor) -> Convert:
        if self.carries_bytes(writer, reader):
            return _carry_bytes
        self._classes += [class_of(writer), class_of(reader)]
        if writer.full_name == reader.full_name == "google.protobuf.Any":
            return _Any(self, writer, reader)
        return _Fields(self, writer, reader)


def _carry_bytes(source: Any, target: Any, depth: int) -> None:
    target.MergeFromString(source.SerializePartialToString())


# --- messages -----------------------------------------------------------------------------------------------------


class _Fields:
    """Converts messages of one type into those of another, field by field."""

    def __init__(self, conversion: Conversion, writer: Descriptor, reader: Descriptor) -> None:
        self._conversion = conversion
        self._unknown = _Unknown(conversion, writer, reader)
        self._class = class_of(writer)
        self._puts: dict[int, tuple[str, _Put]] = {}
        self._checks: list[tuple[str, _Check]] = []
        fields = matching.fields_of(reader)
        for name, field in matching.fields_of(writer).items():
            self._puts[field.number] = f".{name}", self._put(field, fields.get(name))
            if name in fields and (check := self._check(field, fields[name])) is not None:
                self._checks.append((f".{name}", check))

    def __call__(self, source: Any, target: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise Unfit(f"is nested more than {MAX_DEPTH} deep")
        self._unknown.carry(source, target)
        present = set()
        step = ""
        try:
            for field, value in source.ListFields():
                present.add(field.number)
                step, put = self._puts[field.number]
                put(value, target, depth)
            for name, check in self._checks:
                step = name
                check(present, target)
        except Unfit as unfit:
            unfit.steps.append(step)
            raise

    def _put(self, field: FieldDescriptor, reader: FieldDescriptor | None) -> _Put:
        conversion = self._conversion
        if reader is None:
            return _refusal("is gone") if conversion.request else self._keep(field)
        if not matching.fit(*((field, reader) if conversion.request else (reader, field))):
            return _refusal("has another type") if conversion.request else self._keep(field)
        if map_entry(field) is not None:
            return _map(conversion, field, reader)
        if reader.is_repeated:
            items = _items(conversion, field, reader)
            return items if field.is_repeated else lambda value, target, depth: items([value], target, depth)
        keep = self._keep(field) if field.has_presence and not conversion.request else None
        single = _single(conversion, field, reader, keep)
        if not field.is_repeated:
            return single
        return _only(single) if conversion.request else self._keep(field)

    def _keep(self, field: FieldDescriptor) -> _Put:
        """Keep what ours does not know as an unknown field of our message."""
        number, cls, get, put = self._unknown.kept(field.number), self._class, _getter(field), _setter(field)

        def keep(value: Any, target: Any, depth: int) -> None:
            if number is None:
                raise Unfit("has a number that cannot be kept")
            part = cls()
            if field.is_repeated:
                get(part).MergeFrom(value)
            elif field.message_type is not None:
                get(part).CopyFrom(value)
            else:
                put(part, value)
            unparsed = empty_pb2.Empty.FromString(part.SerializePartialToString())
            target.MergeFromString(b"".join(wire.encoded(number, one) for _, one in wire.unknown_in(unparsed)))

        return keep

    def _check(self, field: FieldDescriptor, reader: FieldDescriptor) -> _Check | None:
        """What is to be done about a singular field that is not set, and would read as something else there."""
        if field.is_repeated or reader.is_repeated or field.type != reader.type:
            return None
        before, after = matching.defaults_of(field, reader)
        if before != after:
            return _is_set(field.number)
        if field.has_presence or reader.has_presence:
            return None
        convert = _scalar(self._conversion, field, reader)
        return convert.check(field, reader) if isinstance(convert, _Enum) else None


def _refusal(why: str) -> _Put:
    def refuse(value: Any, target: Any, depth: int) -> NoReturn:
        raise Unfit(why)

    return refuse


def _is_set(number: int) -> _Check:
    def check(present: set[int], target: Any) -> None:
        if number not in present:
            raise Unfit("is unset, and would read as another default")

    return check


class _Unknown:
    """What happens to unknown fields.

    Ours carries what only theirs has: under its own number, or under one that is `RELOCATED`, if ours has another field
    of that number. Such fields go back to where they came from. So does a default that was set in a response, if the
    field of ours cannot tell it from unset; a value that was set since then comes after it, and counts. All others may
    mean anything there, and are refused.
    """

    def __init__(self, conversion: Conversion, writer: Descriptor, reader: Descriptor) -> None:
        self._request = conversion.request
        ours, theirs = (matching.fields_of(one) for one in ((writer, reader) if self._request else (reader, writer)))
        self._ours = {field.number for field in ours.values()}
        self._theirs = {field.number for field in theirs.values()}
        pairs = [
            (own, theirs[name]) for name, own in ours.items() if name in theirs and matching.fit(own, theirs[name])
        ]
        self._shared = {field.number for _, field in pairs}
        self._vague = {
            field.number for own, field in pairs if field.has_presence and not own.has_presence and not own.is_repeated
        }
        """Their number of fields of which only theirs tells a default from unset."""

    def carry(self, source: Any, target: Any) -> None:
        """Put the unknown fields of one message into the other."""
        for number, field in wire.unknown_in(source):
            new = self._back(number) if self._request else self.kept(number)
            if new is None:
                raise Unfit(f"holds an unknown field, number {number}, that cannot be carried over")
            target.MergeFromString(wire.encoded(new, field))

    def kept(self, number: int) -> int | None:
        """The number under which our message carries a served field that it does not know; None if there is none."""
        if number not in self._ours:
            return number
        taken = {*self._ours, *self._theirs}
        return number + RELOCATED if matching.relocatable(number, taken) else None

    def _back(self, number: int) -> int | None:
        """The number under which the gateway knows what our message carries; None if `kept` did not put it there."""
        if number in self._ours:
            return None
        if number not in self._theirs and number > RELOCATED and number - RELOCATED in self._ours:
            number -= RELOCATED
        return number if number not in self._shared or number in self._vague else None


# --- fields -------------------------------------------------------------------------------------------------------


def _getter(field: FieldDescriptor) -> _Map:
    name = field.name
    if field.is_extension:
        return lambda message: message.Extensions[field]
    return lambda message: getattr(message, name)


def _setter(field: FieldDescriptor) -> Callable[[Any, Any], None]:
    name = field.name
    if field.is_extension:
        return lambda message, value: message.Extensions.__setitem__(field, value)
    return lambda message, value: setattr(message, name, value)


def _single(conversion: Conversion, field: FieldDescriptor, reader: FieldDescriptor, keep: _Put | None) -> _Put:
    """One value into a singular field. `keep` is for a set default that the reader cannot tell from unset."""
    if field.message_type is not None:
        put = _single_message(conversion, field, reader)
    else:
        put = _single_scalar(conversion, field, reader, keep)
    oneof = matching.oneof_of(reader)
    if oneof is None:
        return put

    def alone(value: Any, target: Any, depth: int) -> None:
        other = target.WhichOneof(oneof)
        if other is not None and other != reader.name:
            raise Unfit(f"excludes {other} there, and both are set")
        put(value, target, depth)

    return alone


def _single_message(conversion: Conversion, field: FieldDescriptor, reader: FieldDescriptor) -> _Put:
    get = _getter(reader)
    types: Any = field.message_type, reader.message_type

    def put(value: Any, target: Any, depth: int) -> None:
        inner = get(target)
        inner.SetInParent()
        conversion.of(*types)(value, inner, depth + 1)

    return put


def _single_scalar(conversion: Conversion, field: FieldDescriptor, reader: FieldDescriptor, keep: _Put | None) -> _Put:
    convert, put = _scalar(conversion, field, reader), _setter(reader)
    known = _closed(reader)
    default = None if reader.has_presence else repr(reader.default_value)

    def single(given: Any, target: Any, depth: int) -> None:
        value = convert(given) if convert is not None else given
        if default is not None and repr(value) == default:
            if keep is not None:
                keep(given, target, depth)
            elif conversion.request:
                raise Unfit("is set to its default, which cannot be told from unset there")
        if known is None or value in known:
            put(target, value)
        else:
            target.MergeFromString(wire.varint_field(reader.number, value))

    return single


def _only(single: _Put) -> _Put:
    """A repeated field into a singular one."""

    def put(value: Any, target: Any, depth: int) -> None:
        if len(value) != 1:
            raise Unfit("holds more than one value, and can hold one there")
        single(value[0], target, depth)

    return put


def _items(conversion: Conversion, field: FieldDescriptor, reader: FieldDescriptor) -> _Put:
    """Values into a repeated field."""
    get, convert, known = _getter(reader), _scalar(conversion, field, reader), _closed(reader)
    types: Any = field.message_type, reader.message_type

    def messages(values: Iterable[Any], target: Any, depth: int) -> None:
        items, to = get(target), conversion.of(*types)
        for index, value in enumerate(values):
            _with_step(f"[{index}]", to, value, items.add(), depth + 1)

    def scalars(values: Iterable[Any], target: Any, depth: int) -> None:
        items = get(target)
        for value in values if convert is None else map(convert, values):
            if known is None or value in known:
                items.append(value)
            else:
                target.MergeFromString(wire.varint_field(reader.number, value))

    return messages if field.message_type is not None else scalars


def _map(conversion: Conversion, field: FieldDescriptor, reader: FieldDescriptor) -> _Put:
    """The entries of a map into another. A step into one does not show its key."""
    entry_types: Any = field.message_type, reader.message_type
    value, into = (one.fields_by_name["value"] for one in entry_types)
    get, convert, known = _getter(reader), _scalar(conversion, value, into), _closed(into)

    def messages(entries: Mapping[Any, Any], target: Any, depth: int) -> None:
        items, to = get(target), conversion.of(value.message_type, into.message_type)
        for key in entries:
            _with_step("{}", to, entries[key], items[key], depth + 1)

    def scalars(entries: Mapping[Any, Any], target: Any, depth: int) -> None:
        items = get(target)
        for key, one in entries.items():
            one = convert(one) if convert is not None else one
            if known is not None and one not in known:
                raise Unfit("holds an enum value that its schema does not know")
            items[key] = one

    return messages if value.message_type is not None else scalars


def _with_step(step: str, to: Convert, value: Any, target: Any, depth: int) -> None:
    """Convert, and have the path of what is unfit lead through this step."""
    try:
        to(value, target, depth)
    except Unfit as unfit:
        unfit.steps.append(step)
        raise


# --- values -------------------------------------------------------------------------------------------------------


def _scalar(conversion: Conversion, field: FieldDescriptor, reader: FieldDescriptor) -> _Map | None:
    if field.enum_type is None or reader.enum_type is None:
        return None
    return conversion.enum(field.enum_type, reader.enum_type)


def _closed(field: FieldDescriptor) -> frozenset[int] | None:
    """The numbers that a field of a closed enum can hold; others become unknown fields, as in parsing. None: any."""
    if field.enum_type is None or not field.enum_type.is_closed:
        return None
    return frozenset(field.enum_type.values_by_number)


class _Enum:
    """From the numbers of one enum to those of another, by name."""

    def __init__(self, conversion: Conversion, writer: EnumDescriptor, reader: EnumDescriptor) -> None:
        self._request = conversion.request
        self._names, self._reader_names = matching.names_of(writer), matching.names_of(reader)
        self._writer_numbers, numbers = matching.numbers_of(writer), matching.numbers_of(reader)
        self._table: dict[int, int] = {}
        for number, names in self._names.items():
            found = {numbers[name] for name in names if name in numbers}
            if len(found) == 1:
                (self._table[number],) = found

    def __call__(self, number: int) -> int:
        found = self._table.get(number)
        if found is not None:
            return found
        names = " or ".join(sorted(self._names.get(number, ())))
        if self._request:
            if names:
                raise Unfit(f"is {names}, which cannot be said there")
            if self._is_new(number):
                return number
            raise Unfit("is an enum value without a name")
        if number in self._reader_names:
            raise Unfit(f"is {names or 'an enum value without a name'}, and has the number of another value of ours")
        return number

    def _is_new(self, number: int) -> bool:
        """Whether a number that ours has no name for is a served value: such came with a response, and goes back."""
        names = self._reader_names.get(number, set())
        return bool(names) and not any(name in self._writer_numbers for name in names)

    def check(self, field: FieldDescriptor, reader: FieldDescriptor) -> _Check | None:
        """For fields without presence on both sides: zero and unset are one, and have to mean the same there."""
        zero, put = self._table.get(0), _setter(reader)
        if zero == 0 or (
            zero is None and not any(name in self._writer_numbers for name in self._reader_names.get(0, ()))
        ):
            return None

        def check(present: set[int], target: Any) -> None:
            if field.number in present:
                return
            if zero is None:
                raise Unfit("is unset, and would read as another value")
            put(target, zero)

        return check


class _Any:
    """Converts what is packed, if both sides know its type and mean different things by it."""

    def __init__(self, conversion: Conversion, writer: Descriptor, reader: Descriptor) -> None:
        self._conversion = conversion
        self._pools: tuple[Any, Any] = (writer.file.pool, reader.file.pool)

    def __call__(self, source: Any, target: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise Unfit(f"is nested more than {MAX_DEPTH} deep")
        writer, reader = (_found(pool, source.type_url.rpartition("/")[2]) for pool in self._pools)
        if writer is None or reader is None or self._conversion.carries_bytes(writer, reader):
            _carry_bytes(source, target, depth)
            return
        if matching.is_stand_in(writer) or matching.is_stand_in(reader):
            raise Unfit(f"holds a {writer.full_name}, which is defined on one side only")
        try:
            packed = class_of(writer).FromString(source.value)
        except DecodeError:
            raise Unfit(f"holds no readable {writer.full_name}") from None
        unpacked = class_of(reader)()
        _with_step(".value", self._conversion.of(writer, reader), packed, unpacked, depth + 1)
        target.type_url, target.value = source.type_url, unpacked.SerializePartialToString()


def _found(pool: Any, name: str) -> Descriptor | None:
    try:
        found: Descriptor = pool.FindMessageTypeByName(name)
    except KeyError:
        return None
    return found
