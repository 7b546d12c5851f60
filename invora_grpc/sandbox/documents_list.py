"""Lists of documents: what the filters and sort rules of documents/v2 see in a document.

Filtering, sorting and paging are `listing`'s; here are the values that they work on, and the comparisons of fields of
the content. The room reads no store.

A `field_path` names a field as the schema does, in snake or camel case, from the content
(`invoice.accounting_supplier_party.party.party_tax_scheme.company_id`) or from the document in it, whatever its type
(`document_currency_code`). A basic component stands for its value; of repeated fields any may fit. A path that no
document type has is refused; a document whose type does not have it has no value there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from functools import cache, cached_property, lru_cache
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from invora_api.documents.v2 import service_pb2 as service_v2
from invora_api.documents.v2.content_pb2 import Document, DocumentContent
from invora_grpc.sandbox.documents_forms import body_of
from invora_grpc.sandbox.engine_shapes import look
from invora_grpc.sandbox.listing import Comparison
from invora_grpc.sandbox.model import Record
from invora_grpc.sandbox.service import echo, invalid
from invora_grpc.sandbox.ubl_content import shape_of


@dataclass(frozen=True)
class Row:
    """A document in a list, read when something is asked of it: most rows are only counted."""

    record: Record

    @cached_property
    def document(self) -> Document:
        """The document, for this list alone."""
        return Document.FromString(self.record.body)

    @property
    def search(self) -> str:
        """What text_search looks through."""
        return self.record.search

    @property
    def seq(self) -> int:
        """Its place in the order of creation."""
        return self.record.seq


def value_of(row: Row, name: Any) -> object:
    """What a filter or sort rule of this name sees; of a comparison, whether it holds. KeyError: not supported."""
    if isinstance(name, Comparison):
        return holds(row.document.content, name.message)
    return _VALUES[name](row.document)


def check_filter(part: Any, path: str = "filter.part") -> None:
    """Refuse what no document could be compared with, also where there is no document. INVALID_ARGUMENT."""
    chosen = part.WhichOneof("type")
    if chosen in ("and", "or"):
        for index, operand in enumerate(getattr(part, chosen).operands):
            check_filter(operand, f"{path}.{chosen}.operands[{index}]")
    elif chosen == "not":
        check_filter(getattr(part, chosen), f"{path}.not")
    elif chosen in ("field", "unary_field"):
        _check_comparison(getattr(part, chosen), f"{path}.{chosen}")


def _check_comparison(comparison: Any, path: str) -> None:
    if not any(_steps(kind, comparison.field_path) for kind in _starts()):
        raise invalid(f"{path}.field_path", f"{echo(comparison.field_path)} is no field of a document's content")
    unary = "value" not in comparison.DESCRIPTOR.fields_by_name
    if comparison.op not in (_STATES if unary else _OPERATORS):
        raise invalid(f"{path}.op", "is required, as one of the operators that the schema names")
    if unary:
        return
    value, listed = comparison.value, comparison.op in _LISTED
    if value.WhichOneof("value") is None or listed != (value.WhichOneof("value") == "list_value"):
        raise invalid(f"{path}.value", "must be a list" if listed else "must be one value")
    if not math.isfinite(value.number_value):
        raise invalid(f"{path}.value.number_value", "must be a finite number")
    if comparison.op == service_v2.FIELD_FILTER_OPERATOR_REGEX:
        try:
            re.compile(value.string_value)
        except re.error as error:
            raise invalid(f"{path}.value.string_value", f"is no regular expression: {error}") from error


# Values


def _body_value(*paths: str) -> Callable[[Any], object]:
    """What is at the first of these paths that the document has a value at."""

    def read(document: Any) -> object:
        return next((found for path in paths if (found := values_at(document.content, path))), None)

    return read


_VALUES: Final[Mapping[str, Callable[[Any], object]]] = MappingProxyType(
    {
        "key": lambda document: document.id.key,
        "created_at": lambda document: document.audit.creation_info.created_at.ToDatetime(UTC),
        "updated_at": lambda document: document.audit.last_modification_time.ToDatetime(UTC),
        "frozen_at": lambda document: document.frozen_at.ToDatetime(UTC) if document.HasField("frozen_at") else None,
        "document_type": lambda document: document.document_type,
        "edit_state": lambda document: document.edit_state,
        "is_deactivated": lambda document: False,
        "branch_id": lambda document: document.branch_id,
        "sequence_id": lambda document: document.sequence_id or None,
        "issue_date": _body_value("issue_date"),
        "due_date": _body_value("due_date"),
        "payable_amount": _body_value("legal_monetary_total.payable_amount", "requested_monetary_total.payable_amount"),
        "tax_amount": lambda document: next(iter(values_at(document.content, "tax_total.tax_amount")), None),
        "validity_end_date": _body_value("validity_period.end_date"),
        "actual_date": _body_value("delivery.actual_delivery_date"),
    }
)


def values_at(content: DocumentContent, path: str) -> list[Any]:
    """The plain values at a path of the content; [] where it has none."""
    if content.WhichOneof("type") is None:
        return []
    for holder in (content, body_of(content)):
        if steps := _steps(holder.DESCRIPTOR, path):
            return look(holder, steps)
    return []


@cache
def _starts() -> tuple[Descriptor, ...]:
    """Where a path may begin: at the content, or at a document of any type."""
    kind: Any = DocumentContent.DESCRIPTOR
    return (kind, *(field.message_type for field in kind.fields))


@lru_cache(maxsize=1024)
def _steps(kind: Any, path: str) -> str:
    """The path in the schema's own names, down to a plain value; "" where this type has no such path."""
    names, here = [], kind
    for word in path.split("."):
        field = _named(here, word) if here is not None else None
        if field is None:
            return ""
        names.append(field.name)
        here = field.message_type
    if here is not None and here is not kind and here.file.package.startswith("oasis.") and shape_of(here).value:
        names.append("value")
    return ".".join(names)


def _named(kind: Any, word: str) -> FieldDescriptor | None:
    found: FieldDescriptor | None = kind.fields_by_name.get(word) or kind.fields_by_camelcase_name.get(word)
    return found


# Comparisons


def holds(content: DocumentContent, comparison: Any) -> bool:
    """Whether a FieldFilter or UnaryFieldFilter fits this content."""
    values = values_at(content, comparison.field_path)
    if "value" not in comparison.DESCRIPTOR.fields_by_name:
        return _STATES[comparison.op](values)
    wanted = list(_wanted(comparison.value))
    if comparison.op == service_v2.FIELD_FILTER_OPERATOR_ARRAY_CONTAINS_ALL:
        return all(any(_equal(one, each) for one in values) for each in wanted)
    test = _TESTS[comparison.op]
    return any(_fits(test, one, each) for one in values for each in wanted)


def _wanted(value: Any) -> Iterator[object]:
    """The value, or the members of a list, as plain values."""
    chosen = value.WhichOneof("value")
    if chosen == "list_value":
        for one in value.list_value.values:
            yield from _wanted(one)
    elif chosen == "number_value":
        yield Decimal(repr(value.number_value))
    elif chosen:
        yield from look(value, chosen)


def _fits(test: Callable[[Any, Any], bool], one: Any, wanted: Any) -> bool:
    """Values of different kinds do not fit, but a number or date written as text does."""
    if isinstance(wanted, str) and not isinstance(one, str):
        one = format(one, "f") if isinstance(one, Decimal) else str(one).lower() if one in (True, False) else str(one)
    try:
        return test(one, wanted)
    except TypeError:
        return False


def _equal(one: Any, wanted: Any) -> bool:
    return _fits(lambda a, b: bool(a == b), one, wanted)


_LISTED: Final = frozenset({service_v2.FIELD_FILTER_OPERATOR_IN, service_v2.FIELD_FILTER_OPERATOR_ARRAY_CONTAINS_ALL})
_STATES: Final[Mapping[int, Callable[[list[Any]], bool]]] = MappingProxyType(
    {
        service_v2.UNARY_FIELD_FILTER_OPERATOR_IS_NULL: lambda values: not values,
        service_v2.UNARY_FIELD_FILTER_OPERATOR_IS_SET: bool,
        service_v2.UNARY_FIELD_FILTER_OPERATOR_IS_EMPTY: lambda values: not any(one != "" for one in values),
    }
)
_TESTS: Final[Mapping[int, Callable[[Any, Any], bool]]] = MappingProxyType(
    {
        service_v2.FIELD_FILTER_OPERATOR_EQUAL: lambda one, wanted: one == wanted,
        service_v2.FIELD_FILTER_OPERATOR_LESS_THAN: lambda one, wanted: one < wanted,
        service_v2.FIELD_FILTER_OPERATOR_LESS_THAN_OR_EQUAL: lambda one, wanted: one <= wanted,
        service_v2.FIELD_FILTER_OPERATOR_GREATER_THAN: lambda one, wanted: one > wanted,
        service_v2.FIELD_FILTER_OPERATOR_GREATER_THAN_OR_EQUAL: lambda one, wanted: one >= wanted,
        service_v2.FIELD_FILTER_OPERATOR_IN: lambda one, wanted: one == wanted,
        service_v2.FIELD_FILTER_OPERATOR_CONTAINS: lambda one, wanted: wanted.casefold() in one.casefold(),
        service_v2.FIELD_FILTER_OPERATOR_STARTS_WITH: lambda one, wanted: one.startswith(wanted),
        service_v2.FIELD_FILTER_OPERATOR_ENDS_WITH: lambda one, wanted: one.endswith(wanted),
        service_v2.FIELD_FILTER_OPERATOR_REGEX: lambda one, wanted: re.search(wanted, one) is not None,
        service_v2.FIELD_FILTER_OPERATOR_ARRAY_CONTAINS: lambda one, wanted: one == wanted,
    }
)
_OPERATORS: Final = frozenset({*_TESTS, service_v2.FIELD_FILTER_OPERATOR_ARRAY_CONTAINS_ALL})
