"""Whether every value in a `Document` is of the type that its field says: what the other checks rely on.

Python does not ask: a list as a currency, or a float as a price, is found here first. Nothing is known here of what a
value means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType, UnionType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from invora_grpc.errors import RequestError
from invora_grpc.zatca.document import Address, Allowance, Document, Line, Party, Prepayment, Reference, Tax

__all__ = ["require_document", "type_problems"]

_WAYS_OUT: Final[Mapping[type, str]] = MappingProxyType(
    {
        str: "give a str",
        int: "give an int",
        bool: "say True or False",
        tuple: "give a tuple",
        Decimal: "give a Decimal, e.g. Decimal('12.50')",
        date: "give a datetime.date",
        datetime: "give an aware datetime, e.g. datetime.now(UTC)",
    }
)

_Fields = tuple[tuple[str, tuple[type, ...], type | None], ...]


def require_document(document: object) -> None:
    """Raise RequestError for what is no `Document` at all."""
    if not isinstance(document, Document):
        raise RequestError("document", document, "give a zatca.Document", "is none")


def type_problems(document: Document) -> Iterator[RequestError]:
    """The values of another type in a document, and in all that it holds."""
    yield from _problems("", document, Document)


def _problems(path: str, value: object, kind: type) -> Iterator[RequestError]:
    """Those of a dataclass of that kind. `path` is put before the names of its fields."""
    for name, kinds, item in _FIELDS[kind]:
        found = getattr(value, name)
        if not _is(found, kinds):
            yield _another_type(f"{path}{name}", found, kinds)
        elif item is not None:
            for number, each in enumerate(found):
                if not isinstance(each, item):
                    yield _another_type(f"{path}{name}[{number}]", each, (item,))
                elif item in _FIELDS:
                    yield from _problems(f"{path}{name}[{number}].", each, item)
        elif kinds[0] in _FIELDS and found is not None:
            yield from _problems(f"{path}{name}.", found, kinds[0])


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds)


def _another_type(path: str, found: object, kinds: tuple[type, ...]) -> RequestError:
    hint = _WAYS_OUT.get(kinds[0]) or f"give a zatca.{kinds[0].__name__}"
    if type(None) in kinds:
        hint += ", or None"
    return RequestError(path, found, hint, "is missing" if found is None else f"is of the type {type(found).__name__}")


def _fields(kind: type[Any]) -> _Fields:
    """Name, types, and for a tuple the type of what is in it, of each field."""
    hints = get_type_hints(kind)
    return tuple((field.name, *_types(hints[field.name])) for field in fields(kind))


def _types(hint: Any) -> tuple[tuple[type, ...], type | None]:
    if isinstance(hint, UnionType):
        return get_args(hint), None
    if get_origin(hint) is Literal:
        return (str,), None
    if get_origin(hint) is tuple:
        return (tuple,), get_args(hint)[0]
    return (hint,), None


_FIELDS: Final[Mapping[type, _Fields]] = MappingProxyType(
    {kind: _fields(kind) for kind in (Document, Party, Address, Line, Tax, Allowance, Reference, Prepayment)}
)
"""What is looked into. A `TypeCode` is not: it has checked its own."""
