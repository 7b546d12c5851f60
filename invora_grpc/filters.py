"""A small language for the filters of lists: `F.text("blue") & (F.created_at >= date(2026, 1, 1)) & ~F.frozen(True)`.

An expression is plain, immutable data that says what is wanted, for any service. `filter_parts` turns it into the typed
filter of the service at hand when the request is built, and refuses what that service cannot filter exactly. This room
knows no service and loads no protobuf.

Rules, from the public guides: a filter is a `part`, nested by `and`, `or` and `not`, with `text_search` and
`time_reference` beside it.
"""

from __future__ import annotations

import copy
import keyword
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from invora_grpc.errors import RequestError

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

__all__ = ["DEEPEST", "Condition", "Either", "Every", "Expression", "F", "Field", "Not", "Whole"]

DEEPEST: Final = 30
"""Levels of & | ~ within one another; parsers stop at messages nested 100 deep, and a level takes two of them."""
_COMPARING: Final = (">=", ">", "<=", "<")


class Expression:
    """What a list is to hold. Combine with & (and), | (or) and ~ (not), and give it as a list's `filter`.

    It has no truth value of its own: `and`, `or`, `not`, `in` and chains like `a < F.x < b` cannot be overloaded.
    """

    __slots__ = ()
    depth: int
    """Levels of expressions below this one."""

    def __and__(self, other: Expression) -> Expression:
        if not isinstance(other, Expression):
            return NotImplemented
        return Every((*_operands(self, Every), *_operands(other, Every)))

    def __or__(self, other: Expression) -> Expression:
        if not isinstance(other, Expression):
            return NotImplemented
        return Either((*_operands(self, Either), *_operands(other, Either)))

    def __invert__(self) -> Expression:
        return self.operand if isinstance(self, Not) else Not(self)

    def __bool__(self) -> bool:
        raise TypeError("a filter has no truth value: combine with & | ~ in place of and, or, not, in and a < x < b")

    def __invora_build__(self, descriptor: Descriptor) -> Message:
        """The filter message of this type that says the same.

        Raises RequestError, with a path from the filter on, for what the type cannot say exactly.
        """
        from invora_grpc.filter_parts import filter_of

        return filter_of(self, descriptor)


@dataclass(frozen=True, slots=True, repr=False)
class Condition(Expression):
    """One comparison of one field."""

    name: str
    """The field's name; with `content`, a path inside the document."""
    op: str
    """`in`, a comparison sign, or the name of the method of `Field`."""
    values: tuple[object, ...]
    content: bool = False
    depth: int = field(default=0, init=False)

    def __repr__(self) -> str:
        given = repr(Field(self.name, content=self.content))
        if self.op in _COMPARING:
            return f"{given} {self.op} {self.values[0]!r}"
        method = "" if self.op == "in" else f".{self.op}"
        return f"{given}{method}({', '.join(map(repr, self.values))})"


@dataclass(frozen=True, slots=True, repr=False)
class Whole(Expression):
    """What holds for the list as a whole, and stands beside the conditions: text search, or a moment of the past."""

    slot: str
    """Where it goes: text_search, reference_date or historical_data."""
    value: object
    depth: int = field(default=0, init=False)

    def __repr__(self) -> str:
        if self.slot == "text_search":
            return f"F.text({self.value!r})"
        return "F.history()" if self.slot == "historical_data" else f"F.as_of({self.value!r})"


@dataclass(frozen=True, slots=True, repr=False)
class _Joined(Expression):
    operands: tuple[Expression, ...]
    depth: int = field(default=0, init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", _deeper(*self.operands))

    def _joined(self, sign: str) -> str:
        return f" {sign} ".join(_grouped(operand) for operand in self.operands)


class Every(_Joined):
    """Every operand holds."""

    __slots__ = ()

    def __repr__(self) -> str:
        return self._joined("&")


class Either(_Joined):
    """At least one operand holds."""

    __slots__ = ()

    def __repr__(self) -> str:
        return self._joined("|")


@dataclass(frozen=True, slots=True, repr=False)
class Not(Expression):
    """The operand does not hold. So a record without a value is among what `~` lets through."""

    operand: Expression
    depth: int = field(default=0, init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", _deeper(self.operand))

    def __repr__(self) -> str:
        return f"~{_grouped(self.operand)}"


def _operands(expression: Expression, kind: type[_Joined]) -> tuple[Expression, ...]:
    return expression.operands if isinstance(expression, kind) else (expression,)


def _deeper(*operands: Expression) -> int:
    depth = 1 + max(operand.depth for operand in operands)
    if depth > DEEPEST:
        raise RequestError("filter", depth, f"combine at most {DEEPEST} levels of & | ~", "levels deep")
    return depth


def _grouped(operand: Expression) -> str:
    plain = isinstance(operand, Not | Whole) or (isinstance(operand, Condition) and operand.op not in _COMPARING)
    return repr(operand) if plain else f"({operand!r})"


class Field:
    """A field to filter by: compare it, or call it with the values that it may have, `F.status("ACTIVE", "PENDING")`.

    Which comparisons a field takes is up to the service. Each raises RequestError for a value that no filter can hold.
    """

    __slots__ = ("_content", "_name")

    def __init__(self, name: str, *, content: bool = False) -> None:
        self._name = name
        self._content = content

    def __call__(self, *values: object) -> Expression:
        """The field has one of these values."""
        if not values:
            raise RequestError(self._name, values, "name at least one value", "is no filter")
        return self._condition("in", *values)

    def in_(self, values: Iterable[object]) -> Expression:
        """The field has one of these values; for a list or a generator of them."""
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            raise RequestError(self._name, values, "give a list of values")
        return self(*values)

    def __eq__(self, value: object) -> Any:
        return self(value)

    def __ne__(self, value: object) -> Any:
        return ~self(value)

    def __ge__(self, value: object) -> Expression:
        return self._condition(">=", value)

    def __gt__(self, value: object) -> Expression:
        return self._condition(">", value)

    def __le__(self, value: object) -> Expression:
        return self._condition("<=", value)

    def __lt__(self, value: object) -> Expression:
        return self._condition("<", value)

    def contains(self, text: str) -> Expression:
        """The field's text contains this text."""
        return self._condition("contains", self._text(text))

    def starts_with(self, text: str) -> Expression:
        """The field's text starts with this text."""
        return self._condition("starts_with", self._text(text))

    def ends_with(self, text: str) -> Expression:
        """The field's text ends with this text."""
        return self._condition("ends_with", self._text(text))

    def matches(self, pattern: str) -> Expression:
        """The field's text matches this regular expression, in the server's own dialect."""
        return self._condition("matches", self._text(pattern))

    def has(self, value: object) -> Expression:
        """The field is a list that contains this value."""
        return self._condition("has", value)

    def has_all(self, *values: object) -> Expression:
        """The field is a list that contains all of these values."""
        if not values:
            raise RequestError(self._name, values, "name at least one value", "is no filter")
        return self._condition("has_all", *values)

    def is_null(self) -> Expression:
        """The field is null or absent."""
        return self._condition("is_null")

    def is_set(self) -> Expression:
        """The field has a value."""
        return self._condition("is_set")

    def is_empty(self) -> Expression:
        """The field is there, but empty."""
        return self._condition("is_empty")

    def _text(self, text: object) -> object:
        if not isinstance(text, str) or not text:
            raise RequestError(self._name, text, "give the text to look for: with an empty one there is no filter")
        return text

    def _condition(self, op: str, *values: object) -> Condition:
        return Condition(self._name, op, tuple(_held(self._name, value) for value in values), self._content)

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} is a field and has no truth value: compare it, or call it with the values wanted")

    def __invora_build__(self, descriptor: Descriptor) -> Message:
        raise RequestError(self._name, self, "compare it, or call it with the values wanted", "is a field, no filter")

    def __repr__(self) -> str:
        if self._content:
            return f"F.content({self._name!r})"
        plain = self._name.isidentifier() and not keyword.iskeyword(self._name) and not hasattr(Fields, self._name)
        plain = plain and not self._name.startswith("_")
        return f"F.{self._name}" if plain else f"F[{self._name!r}]"


class Fields:
    """The fields of whatever list the expression is given to: `F.status`, or `F["status"]`."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Field:
        if name.startswith("_"):
            raise AttributeError(name)
        return Field(name)

    def __getitem__(self, name: str) -> Field:
        if not isinstance(name, str):
            raise TypeError(f"the name of a field is text, not {type(name).__name__}")
        return Field(name)

    def content(self, path: str) -> Field:
        """A field inside the content of a document, by its path, where a service filters by content."""
        return Field(path, content=True)

    def text(self, words: str) -> Expression:
        """The service's own full-text search. Raises RequestError for blank text, which would be no filter."""
        if not isinstance(words, str) or not words.strip():
            raise RequestError("text_search", words, "give the words to look for")
        return Whole("text_search", words)

    def as_of(self, moment: datetime) -> Expression:
        """The list as it was at this moment, where a service keeps history. Raises RequestError for a naive one."""
        if not isinstance(moment, datetime):
            raise RequestError("time_reference", moment, "give an aware datetime")
        return Whole("reference_date", _held("time_reference", moment))

    def history(self) -> Expression:
        """The list's historical data, where a service keeps history."""
        return Whole("historical_data", True)

    def __repr__(self) -> str:
        return "F"


F: Final = Fields()
"""Where filter expressions begin."""


def _held(name: str, value: object) -> object:
    """The value as an expression keeps it. Raises RequestError for what no filter can hold."""
    if value is None:
        raise RequestError(name, value, "is_null() asks for records without a value, where a service can tell")
    if isinstance(value, Expression | Field):
        raise RequestError(name, value, "compare a field with a value: two fields cannot be compared")
    if isinstance(value, list | tuple | set | frozenset):
        raise RequestError(name, value, "give the values one by one, or use in_()")
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise RequestError(name, value, "add a time zone, such as tzinfo=timezone.utc", "has no time zone")
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        raise RequestError(name, value, "give a finite number")
    return copy.deepcopy(dict(value)) if isinstance(value, Mapping) else value
