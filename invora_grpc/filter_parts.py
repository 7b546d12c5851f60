"""From a filter expression to the typed filter message of one service, all read off the descriptor.

A part of a filter is a oneof: one condition, or `and`, `or`, `not` where the service has them. What a condition looks
like follows from its field's type: values to be one of, a half-open range, a day, a plain value, or a comparison of a
document's content. This room has no table of services, sends nothing, and approximates nothing: days and whole numbers
are counted, so that `>` can be said with a bound that is included; instants and decimals are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from invora_grpc.errors import RequestError, closest
from invora_grpc.filters import Condition, Either, Every, Expression, Not, Whole
from invora_grpc.scalars import ROOT, some
from invora_grpc.values import build

__all__ = ["filter_of", "filterable"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "google.protobuf.Timestamp": "instant",
        "google.type.Date": "day",
        "google.type.TimeOfDay": "time",
        "google.protobuf.Int64Value": "whole",
        "google.protobuf.UInt64Value": "whole",
        "kernel.DecimalValue": "decimal",
    }
)
"""What the bounds of a range are, by their type."""
_PYTHON: Final[Mapping[str, str]] = MappingProxyType(
    {
        "instant": "an aware datetime",
        "day": "a date",
        "time": "a time",
        "whole": "an int",
        "decimal": "a Decimal or an int",
    }
)
_NEXT: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {"day": lambda day: day + timedelta(days=1), "whole": lambda number: number + 1}
)
"""The next value of the kinds that are counted."""
_CONTENT_OPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "<": "LESS_THAN",
        "<=": "LESS_THAN_OR_EQUAL",
        ">": "GREATER_THAN",
        ">=": "GREATER_THAN_OR_EQUAL",
        "contains": "CONTAINS",
        "starts_with": "STARTS_WITH",
        "ends_with": "ENDS_WITH",
        "matches": "REGEX",
        "has": "ARRAY_CONTAINS",
        "has_all": "ARRAY_CONTAINS_ALL",
        "is_null": "IS_NULL",
        "is_set": "IS_SET",
        "is_empty": "IS_EMPTY",
    }
)
_CONTENT_VALUES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "truth": "bool_value",
        "whole": "int_value",
        "decimal": "decimal_value",
        "float": "number_value",
        "instant": "timestamp_value",
        "day": "date_value",
        "text": "string_value",
    }
)
_COMPARING: Final = (">=", ">", "<=", "<")
_UNARY: Final = ("is_null", "is_set", "is_empty")
_STRUCTURE: Final = ("and", "or", "not")
_INTEGERS: Final = frozenset({FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64})


def filter_of(expression: Expression, descriptor: Descriptor) -> Message:
    """The filter message of this type that says what the expression says.

    Raises RequestError, its path beginning at the filter, if the type cannot say exactly that.
    """
    if not {"part", "text_search"} & set(descriptor.fields_by_name):
        raise _refused(ROOT, expression, descriptor, "is no list's filter: give the expression as `filter` itself")
    message: Message = GetMessageClass(descriptor)()
    conditions: list[Expression] = []
    taken: dict[str, Whole] = {}
    for operand in expression.operands if isinstance(expression, Every) else (expression,):
        if not isinstance(operand, Whole):
            conditions.append(operand)
            continue
        slot = operand.slot if operand.slot == "text_search" else "time_reference"
        if slot in taken:
            raise _refused(slot, operand, descriptor, f"takes one {slot}, and {taken[slot]!r} is there too")
        taken[slot] = operand
        _put_whole(message, operand, slot, descriptor)
    if conditions:
        field = descriptor.fields_by_name.get("part")
        if field is None or field.message_type is None:
            first = _first_name(conditions[0])
            raise _refused(first, conditions[0], descriptor, f"cannot filter by fields; {_offer(descriptor)}")
        message.MergeFrom(type(message)(part=_Parts(descriptor, field.message_type).every(conditions, expression)))
    return message


def filterable(descriptor: Descriptor) -> list[str]:
    """What expressions may say to a filter of this type, as it is written: `F.status`, `F.number.contains()`, ..."""
    part = descriptor.fields_by_name.get("part")
    fields = _fields_of(part.message_type) if part is not None and part.message_type is not None else ()
    names = [_written(field) for field in fields]
    names += ["F.text()"] if "text_search" in descriptor.fields_by_name else []
    names += ["F.as_of()"] if "time_reference" in descriptor.fields_by_name else []
    return list(dict.fromkeys(names))


def _written(field: FieldDescriptor) -> str:
    if _is_content(field):
        return "F.content()"
    stem, _, suffix = field.name.rpartition("_")
    if field.type == FieldDescriptor.TYPE_STRING and suffix == "contains":
        return f"F.{stem}.contains()"
    bound = {"from": ">=", "to": "<="}.get(suffix) if field.cpp_type in _INTEGERS else None
    return f"F.{stem} {bound}" if bound else f"F.{field.name}"


def _fields_of(part: Descriptor) -> Iterable[Any]:
    return (field for field in part.fields if not (field.name in _STRUCTURE and field.message_type is not None))


def _is_content(field: FieldDescriptor) -> bool:
    return field.message_type is not None and {"field_path", "op"} <= set(field.message_type.fields_by_name)


def _offer(descriptor: Descriptor, name: str = "") -> str:
    """What the filter takes, after a guess if the name is near to something."""
    names = filterable(descriptor)
    stems = {one: re.split(r"\W", one)[1] for one in names}
    near = closest(name, stems.values(), 2) if name else []
    guesses = [one for one, stem in stems.items() if stem in near]
    guess = f"did you mean {' or '.join(guesses)}? " if guesses else ""
    return f"{guess}it takes {some(names)}"


def _refused(path: str, value: object, descriptor: Descriptor, problem: str) -> RequestError:
    return RequestError(path, value, f"{descriptor.full_name} {problem}")


def _first_name(expression: Expression) -> str:
    """What an expression begins with: the name that an error about it gives."""
    if isinstance(expression, Condition):
        return expression.name
    if isinstance(expression, Not):
        return _first_name(expression.operand)
    return _first_name(expression.operands[0]) if isinstance(expression, Every | Either) else ROOT


def _put_whole(message: Any, operand: Whole, slot: str, descriptor: Descriptor) -> None:
    if slot not in descriptor.fields_by_name:
        said = "has no text search" if slot == "text_search" else "knows no other time than now"
        raise _refused(slot, operand, descriptor, f"{said}; {_offer(descriptor)}")
    content = operand.value if slot == "text_search" else {operand.slot: operand.value}
    message.MergeFrom(build(type(message), {slot: content}))


@dataclass(frozen=True, slots=True)
class _Range:
    """The bounds that a conjunction sets to one field."""

    name: str
    kind: str
    steps: tuple[str, ...]
    """Where in the field's message the range is."""
    low: Any = None
    """The first value that fits; None for no bound."""
    high: Any = None
    """The first value that no longer fits; None for no bound."""

    def narrowed(self, other: _Range) -> _Range:
        """What fits both."""
        order = _since if self.kind == "instant" else None
        lows = [bound for bound in (self.low, other.low) if bound is not None]
        highs = [bound for bound in (self.high, other.high) if bound is not None]
        low, high = max(lows, key=order, default=None), min(highs, key=order, default=None)
        return _Range(self.name, self.kind, self.steps, low, high)

    def content(self) -> object:
        """The value of the field."""
        ends = {"from_inclusive": self.low, "to_exclusive": self.high}
        content: dict[str, Any] = {name: bound for name, bound in ends.items() if bound is not None}
        for step in reversed(self.steps):
            content = {step: content}
        return content


def _since(moment: datetime) -> timedelta:
    """Instants in order: datetimes of one zone compare by their clocks, which an hour that comes twice makes wrong."""
    return moment - _EPOCH


def _ranges(descriptor: Descriptor, deepest: int = 2) -> dict[str, tuple[str, ...]]:
    """The ranges that a condition's type can hold: kind of their bounds → names of the fields that lead there."""
    low = descriptor.fields_by_name.get("from_inclusive")
    if low is not None and low.message_type is not None and "to_exclusive" in descriptor.fields_by_name:
        kind = _KINDS.get(low.message_type.full_name)
        return {kind: ()} if kind else {}
    found: dict[str, tuple[str, ...]] = {}
    for field in descriptor.fields if deepest else ():
        if field.message_type is not None and not field.is_repeated:
            for kind, steps in _ranges(field.message_type, deepest - 1).items():
                found.setdefault(kind, (field.name, *steps))
    return found


def _kind_of(value: object) -> str:
    for kind, types in _KINDS_OF_VALUES:
        if isinstance(value, types):
            return kind
    return "other"


_KINDS_OF_VALUES: Final[tuple[tuple[str, type], ...]] = (
    *(("truth", bool), ("instant", datetime), ("day", date), ("time", time)),
    *(("whole", int), ("decimal", Decimal), ("float", float), ("text", str)),
)
"""In this order, since a bool is an int and a datetime a date."""


class _Parts:
    """Builds the parts of one filter type."""

    def __init__(self, descriptor: Descriptor, part: Descriptor) -> None:
        self._descriptor = descriptor
        self._class = GetMessageClass(part)
        self._words = {field.name for field in part.fields if field.name in _STRUCTURE and field.message_type}
        self._fields: dict[str, Any] = {field.name: field for field in _fields_of(part)}

    # Structure

    def part(self, expression: Expression) -> Message:
        """The part that says what the expression says."""
        if isinstance(expression, Condition):
            return self._condition(expression)
        if isinstance(expression, Every):
            return self.every(expression.operands, expression)
        if isinstance(expression, Either):
            return self._either(expression)
        if isinstance(expression, Not):
            return self._not(expression)
        way = "takes it for the list as a whole: join it with & at the outermost level"
        raise _refused(_first_name(expression), expression, self._descriptor, way)

    def every(self, operands: Sequence[Expression], said: Expression) -> Message:
        """The part for a conjunction. Bounds of one field become one range."""
        gathered: dict[object, Expression | _Range] = {}
        for operand in operands:
            found = self._range(operand) if isinstance(operand, Condition) and operand.op in _COMPARING else None
            key: object = (found.name, found.kind) if found is not None else len(gathered)
            earlier = gathered.get(key)
            if found is not None and isinstance(earlier, _Range):
                found = earlier.narrowed(found)
            gathered[key] = operand if found is None else found
        parts = [self._ranged(one) if isinstance(one, _Range) else self.part(one) for one in gathered.values()]
        return self._joined("and", parts, said)

    def _either(self, expression: Either) -> Message:
        first = expression.operands[0]
        alike = [
            one
            for one in expression.operands
            if isinstance(one, Condition) and self._takes_several(one) and one.name == _first_name(first)
        ]
        if len(alike) == len(expression.operands):
            return self._condition(
                Condition(alike[0].name, "in", tuple(value for one in alike for value in one.values))
            )
        return self._joined("or", [self.part(one) for one in expression.operands], expression)

    def _not(self, expression: Not) -> Message:
        if "not" not in self._words:
            problem = "has no `not`: say what is wanted instead"
            raise _refused(_first_name(expression), expression, self._descriptor, problem)
        message: Message = self._class()
        getattr(message, "not").CopyFrom(self.part(expression.operand))
        return message

    def _joined(self, word: str, parts: Sequence[Message], said: Expression) -> Message:
        if len(parts) == 1:
            return parts[0]
        if word not in self._words:
            raise _refused(_first_name(said), said, self._descriptor, f"has no `{word}`: {_ALTERNATIVES[word]}")
        message: Message = self._class()
        getattr(message, word).operands.extend(parts)
        return message

    # Conditions

    def _condition(self, condition: Condition) -> Message:
        if condition.content:
            return self._content(condition)
        if condition.op == "contains":
            name = f"{condition.name}_contains"
            return self._built({name: condition.values[0]}) if name in self._fields else self._unknown(condition)
        if condition.op in _COMPARING:
            found = self._range(condition)
            return self._ranged(found) if found is not None else self._bound(condition)
        field = self._fields.get(condition.name)
        if field is None or condition.op != "in":
            return self._unknown(condition)
        if self._takes_several(condition):
            return self._built({field.name: {"in_values": list(condition.values)}})
        return self._joined("or", [self._single(field, value) for value in condition.values], condition)

    def _single(self, field: Any, value: object) -> Message:
        """The field has this value; its type takes no list of them."""
        if field.message_type is None or field.message_type.full_name in _KINDS or isinstance(value, Mapping):
            return self._built({field.name: value})
        exact = field.message_type.fields_by_name.get("exact")
        if exact is not None and exact.message_type and _KINDS.get(exact.message_type.full_name) == _kind_of(value):
            return self._built({field.name: {"exact": value}})
        condition = Condition(field.name, "in", (value,))
        kind, steps = self._place(condition, field)
        if kind not in _NEXT:
            raise self._no(condition, f"takes {field.name} by range only: give both ends, with >= and <")
        return self._ranged(_Range(field.name, kind, steps, value, self._after(condition, kind)))

    def _takes_several(self, condition: Condition) -> bool:
        field = self._fields.get(condition.name)
        if condition.op != "in" or condition.content or field is None or field.message_type is None:
            return False
        members = field.message_type.fields_by_name.get("in_values")
        return members is not None and bool(members.is_repeated)

    def _built(self, values: Mapping[str, object]) -> Message:
        try:
            return build(self._class, values)
        except RequestError as error:
            hint = f"{error.hint} (in {self._descriptor.full_name})"
            raise RequestError(error.path, error.value, hint) from None

    # Ranges

    def _range(self, condition: Condition) -> _Range | None:
        """A comparison as a range; None if the field is none that takes a range."""
        field = self._fields.get(condition.name)
        if condition.content or field is None or field.message_type is None:
            return None
        kind, steps = self._place(condition, field)
        value = condition.values[0]
        if condition.op in (">", "<="):
            value = self._after(condition, kind)
        if condition.op in (">", ">="):
            return _Range(field.name, kind, steps, low=value)
        return _Range(field.name, kind, steps, high=value)

    def _place(self, condition: Condition, field: Any) -> tuple[str, tuple[str, ...]]:
        """The kind of the range to compare with, and where it is."""
        places, kind = _ranges(field.message_type), _kind_of(condition.values[0])
        if kind == "whole" and "whole" not in places:
            kind = "decimal"
        if kind not in places:
            takes = " or ".join(_PYTHON[one] for one in places)
            raise self._no(
                condition, f"compares {field.name} with {takes}" if places else f"cannot compare {field.name}"
            )
        return kind, places[kind]

    def _after(self, condition: Condition, kind: str) -> object:
        """The value after the condition's own, which says `>` by `>=`, and `<=` by `<`."""
        if kind not in _NEXT:
            sign, bound = (">=", "first value that fits") if condition.op == ">" else ("<", "first value that does not")
            raise self._no(condition, f"has no such bound for {condition.name}: write {sign} and the {bound}")
        try:
            return _NEXT[kind](condition.values[0])
        except OverflowError:
            raise self._no(condition, f"can tell no day after {condition.values[0]}: leave this bound out") from None

    def _ranged(self, found: _Range) -> Message:
        return self._built({found.name: found.content()})

    def _bound(self, condition: Condition) -> Message:
        """A whole number as least or greatest value of a field that has `_from` and `_to`, both included."""
        least = condition.op in (">", ">=")
        field = self._fields.get(f"{condition.name}_{'from' if least else 'to'}")
        if field is None or field.cpp_type not in _INTEGERS:
            return self._unknown(condition)
        value: Any = condition.values[0]
        if _kind_of(value) != "whole":
            raise self._no(condition, f"compares {condition.name} with an int")
        return self._built({field.name: value + {">": 1, "<": -1}.get(condition.op, 0)})

    # Content of documents

    def _content(self, condition: Condition) -> Message:
        unary = condition.op in _UNARY
        fields = [field for field in self._fields.values() if _is_content(field)]
        field = next((one for one in fields if ("value" in one.message_type.fields_by_name) is not unary), None)
        if field is None:
            raise self._no(condition, f"does not filter by content; {_offer(self._descriptor)}")
        several = len(condition.values) > 1 or condition.op == "has_all"
        op = ("IN" if several else "EQUAL") if condition.op == "in" else _CONTENT_OPS[condition.op]
        content: dict[str, object] = {"field_path": condition.name, "op": op}
        if not unary:
            holder = field.message_type.fields_by_name["value"].message_type
            values = [self._content_value(condition, holder, value) for value in condition.values]
            content["value"] = {"list_value": {"values": values}} if several else values[0]
        return self._built({field.name: content})

    def _content_value(self, condition: Condition, holder: Descriptor, value: object) -> Mapping[str, object]:
        name = _CONTENT_VALUES.get(_kind_of(value), "")
        if name not in holder.fields_by_name:
            raise self._no(condition, f"cannot compare content with a {type(value).__name__}")
        return {name: value}

    # Refusals

    def _no(self, condition: Condition, problem: str) -> RequestError:
        return _refused(condition.name, condition, self._descriptor, problem)

    def _unknown(self, condition: Condition) -> Message:
        name = condition.name
        if name in self._fields:
            problem = f"cannot say that of {name}: call it with the values wanted; {_offer(self._descriptor)}"
        else:
            problem = f"cannot filter by {name} so; {_offer(self._descriptor, name)}"
        raise self._no(condition, problem)


_ALTERNATIVES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "and": "it takes one condition, beside which F.text() may stand",
        "or": "it takes one condition; some fields take several values, as in F.status('A', 'B')",
    }
)
