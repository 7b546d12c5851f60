"""The filter language: what expressions look like, what they become for a service, and what is refused.

That they mean what they say is in test_filters_truth.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from invora_api.billing.activity_logs.v2 import service_pb2 as activity_logs
from invora_api.billing.add_ons.v2 import service_pb2 as add_ons
from invora_api.billing.customers.v2 import service_pb2 as customers
from invora_api.billing.invoices.v2 import service_pb2 as billing_invoices
from invora_api.documents.v2 import service_pb2 as documents
from invora_api.kernel import query_pb2 as query
from invora_api.parties.v2 import models_pb2 as parties
from invora_api.regulations.zatca.v1 import models_pb2 as zatca
from invora_api.simple.invoices.v1 import models_pb2 as invoices
from invora_grpc.call import bind
from invora_grpc.catalog import catalog
from invora_grpc.errors import RequestError
from invora_grpc.filter_parts import filterable
from invora_grpc.filters import Expression, F, Field

DAY = date(2026, 1, 31)
MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)
REPORTED = zatca.ZATCA_SUBMISSION_STATUS_REPORTED


def built(expression: Any, module: Any = invoices) -> Any:
    """The filter that the expression becomes, as a dict."""
    return plain(expression.__invora_build__(module.ListFilter.DESCRIPTOR))


def part(expression: Any, module: Any = invoices) -> Any:
    found = built(expression, module)
    assert set(found) == {"part"}
    return found["part"]


def plain(value: Any) -> Any:
    """A message as dicts; dates, instants and decimals as their own types."""
    if not isinstance(value, Message):
        return value
    name = value.DESCRIPTOR.full_name
    message: Any = value
    if name == "google.type.Date":
        return date(message.year, message.month, message.day)
    if name == "google.protobuf.Timestamp":
        return message.ToDatetime(UTC)
    if name == "kernel.DecimalValue":
        return message.units + Decimal(message.nanos).scaleb(-9)
    return {
        field.name: [plain(one) for one in content] if field.is_repeated else plain(content)
        for field, content in value.ListFields()
    }


def said(value: object) -> str | None:
    """An expression as the name of a test."""
    return repr(value) if isinstance(value, Expression | Field) else ""


def refusal(expression: Any, module: Any = invoices) -> RequestError:
    with pytest.raises(RequestError) as caught:
        built(expression, module)
    assert str(caught.value).isprintable()
    return caught.value


# What conditions become


@pytest.mark.parametrize(
    ("expression", "module", "wanted"),
    [
        (F.key("a", "b"), invoices, {"key": {"in_values": ["a", "b"]}}),
        (F.key == "a", invoices, {"key": {"in_values": ["a"]}}),
        (F.key != "a", invoices, {"not": {"key": {"in_values": ["a"]}}}),
        (F.key.in_(f"k{i}" for i in range(2)), invoices, {"key": {"in_values": ["k0", "k1"]}}),
        (
            F.zatca_status("reported"),
            invoices,
            {"zatca_status": {"in_values": [REPORTED]}},
        ),
        (F.frozen(False), invoices, {"frozen": False}),
        (F.number.contains("INV"), invoices, {"number_contains": "INV"}),
        (F.number_contains("INV"), invoices, {"number_contains": "INV"}),
        (F.issue_at == DAY, invoices, {"issue_at": {"exact": DAY}}),
        (F.issue_at >= DAY, invoices, {"issue_at": {"range": {"from_inclusive": DAY}}}),
        (F.issue_at < DAY, invoices, {"issue_at": {"range": {"to_exclusive": DAY}}}),
        (F.issue_at > DAY, invoices, {"issue_at": {"range": {"from_inclusive": date(2026, 2, 1)}}}),
        (F.issue_at <= DAY, invoices, {"issue_at": {"range": {"to_exclusive": date(2026, 2, 1)}}}),
        (operator.gt(DAY, F.issue_at), invoices, {"issue_at": {"range": {"to_exclusive": DAY}}}),
        (F.issue_at >= MOMENT, invoices, {"issue_at": {"range_timestamp": {"from_inclusive": MOMENT}}}),
        (F.issue_at < MOMENT, invoices, {"issue_at": {"range_timestamp": {"to_exclusive": MOMENT}}}),
        (F.payable_amount >= 10, invoices, {"payable_amount": {"from_inclusive": 10}}),
        (F.payable_amount < Decimal("0.5"), invoices, {"payable_amount": {"to_exclusive": Decimal("0.5")}}),
        (F.customer_id("c"), billing_invoices, {"customer_id": "c"}),
        (F.status("DRAFT", "FINALIZED"), billing_invoices, {"status": {"in_values": [2, 4]}}),
        (F.customer_type("company"), customers, {"customer_type": 1}),
        (F.active_subscriptions_count >= 2, customers, {"active_subscriptions_count_from": 2}),
        (F.active_subscriptions_count > 2, customers, {"active_subscriptions_count_from": 3}),
        (F.active_subscriptions_count <= 2, customers, {"active_subscriptions_count_to": 2}),
        (F.active_subscriptions_count < 2, customers, {"active_subscriptions_count_to": 1}),
        (
            F.metadata({"key": "k", "value": "v"}),
            customers,
            {"metadata": {"in_values": [{"key": "k", "value": "v"}]}},
        ),
        (F.from_date(DAY), activity_logs, {"from_date": DAY}),
        (F.from_datetime(MOMENT), activity_logs, {"from_datetime": MOMENT}),
        (F["key"]("a"), invoices, {"key": {"in_values": ["a"]}}),
        (F.field({"field_path": "a", "op": "EQUAL"}), documents, {"field": {"field_path": "a", "op": 1}}),
    ],
    ids=said,
)
def test_a_condition_becomes_the_typed_one(expression: Any, module: Any, wanted: dict[str, Any]) -> None:
    assert part(expression, module) == wanted


@pytest.mark.parametrize(
    ("expression", "op", "value"),
    [
        (F.content("a.b") == "x", 1, {"string_value": "x"}),
        (F.content("a.b") < 3, 2, {"int_value": 3}),
        (F.content("a.b") <= Decimal("0.1"), 3, {"decimal_value": Decimal("0.1")}),
        (F.content("a.b") > DAY, 4, {"date_value": DAY}),
        (F.content("a.b") >= MOMENT, 5, {"timestamp_value": MOMENT}),
        (F.content("a.b")(True), 1, {"bool_value": True}),
        (F.content("a.b")(0.5), 1, {"number_value": 0.5}),
        (F.content("a.b")(1, 2), 6, {"list_value": {"values": [{"int_value": 1}, {"int_value": 2}]}}),
        (F.content("a.b").contains("x"), 7, {"string_value": "x"}),
        (F.content("a.b").starts_with("x"), 8, {"string_value": "x"}),
        (F.content("a.b").ends_with("x"), 9, {"string_value": "x"}),
        (F.content("a.b").matches("^x"), 10, {"string_value": "^x"}),
        (F.content("a.b").has("x"), 11, {"string_value": "x"}),
        (F.content("a.b").has_all("x"), 12, {"list_value": {"values": [{"string_value": "x"}]}}),
    ],
    ids=said,
)
def test_the_content_of_documents_is_compared_by_path(expression: Any, op: int, value: dict[str, Any]) -> None:
    assert part(expression, documents) == {"field": {"field_path": "a.b", "op": op, "value": value}}


@pytest.mark.parametrize(("method", "op"), [("is_null", 1), ("is_set", 2), ("is_empty", 3)])
def test_content_can_be_asked_for_without_a_value(method: str, op: int) -> None:
    wanted = {"unary_field": {"field_path": "a.b", "op": op}}
    assert part(getattr(F.content("a.b"), method)(), documents) == wanted


def test_what_holds_for_the_whole_list_stands_beside_the_part() -> None:
    assert built(F.text("blue")) == {"text_search": "blue"}
    assert built(F.frozen(True) & F.text("blue")) == {"text_search": "blue", "part": {"frozen": True}}
    assert built(F.as_of(MOMENT)) == {"time_reference": {"reference_date": MOMENT}}
    assert built(F.history() & F.frozen(True)) == {
        "time_reference": {"historical_data": True},
        "part": {"frozen": True},
    }


# How conditions join


def test_conditions_nest_by_and_or_and_not() -> None:
    expression = F.frozen(True) & (F.number.contains("1") | ~F.key("a"))
    operands = [{"number_contains": "1"}, {"not": {"key": {"in_values": ["a"]}}}]
    assert part(expression) == {"and": {"operands": [{"frozen": True}, {"or": {"operands": operands}}]}}


def test_chains_stay_flat_and_double_negation_goes() -> None:
    one, two, three = F.frozen(True), F.number.contains("1"), F.key("a")
    assert (one & two) & three == one & (two & three)
    assert (one | two) | three == one | (two | three)
    assert ~~one == one and len(part(one | two | three)["or"]["operands"]) == 3


def test_bounds_of_one_field_become_the_tightest_range() -> None:
    days = [date(2026, 1, day) for day in (1, 5, 20, 25)]
    expression = (F.issue_at >= days[0]) & (F.issue_at >= days[1]) & (F.issue_at < days[3]) & (F.issue_at < days[2])
    assert part(expression) == {"issue_at": {"range": {"from_inclusive": days[1], "to_exclusive": days[2]}}}


def test_bounds_of_different_kinds_stay_apart() -> None:
    expression = (F.issue_at >= DAY) & (F.issue_at < MOMENT)
    assert len(part(expression)["and"]["operands"]) == 2


def test_instants_are_ordered_as_instants_and_not_by_the_clock() -> None:
    zone = ZoneInfo("Europe/Berlin")
    earlier = datetime(2026, 10, 25, 2, 45, tzinfo=zone)
    later = datetime(2026, 10, 25, 2, 15, fold=1, tzinfo=zone)
    assert later < earlier and later.astimezone(UTC) > earlier.astimezone(UTC)
    expression = (F.issue_at >= earlier) & (F.issue_at >= later)
    assert part(expression) == {"issue_at": {"range_timestamp": {"from_inclusive": later.astimezone(UTC)}}}


def test_values_of_one_field_become_one_list() -> None:
    assert part(F.role("customer") | F.role("supplier", "both"), parties) == {"role": {"in_values": [2, 1, 3]}}


def test_values_of_a_field_that_takes_one_are_joined_by_or() -> None:
    wanted = [{"exact": DAY}, {"exact": DAY + timedelta(days=1)}]
    assert [one["issue_at"] for one in part(F.issue_at(DAY, DAY + timedelta(days=1)))["or"]["operands"]] == wanted


# What a service cannot say


@pytest.mark.parametrize(
    ("expression", "module", "words"),
    [
        (
            F.sttus("x"),
            billing_invoices,
            r"cannot filter by sttus so; did you mean F\.status\? it takes F\.customer_id,",
        ),
        (F.tax_id("3"), parties, r"did you mean F\.tax_id\.contains\(\)\?"),
        (F.name.contains("x"), parties, r"cannot filter by name so; it takes F\.key, F\.created_at"),
        (F.key.contains("x"), invoices, r"cannot say that of key"),
        (F.active_subscriptions_count(2), customers, r"F\.active_subscriptions_count >= or F\.active"),
        (F.active_subscriptions_count >= 2.5, customers, r"with an int"),
        (F.status("DRAFTED"), billing_invoices, r"status\.in_values\[0\]: 'DRAFTED'; .*closest: .*DRAFT.*ListFilter"),
        (F.frozen("yes"), invoices, r"frozen: 'yes'; write True or False"),
        (F["and"]("x"), invoices, r"cannot filter by and so"),
        (F.created_at > MOMENT, invoices, r"has no such bound for created_at: write >= and the first value that fits"),
        (F.created_at <= MOMENT, invoices, r"write < and the first value that does not"),
        (F.created_at == MOMENT, invoices, r"takes created_at by range only: give both ends, with >= and <"),
        (F.payable_amount > 10, invoices, r"has no such bound"),
        (F.payable_amount == 10, invoices, r"by range only"),
        (F.payable_amount >= 0.5, invoices, r"compares payable_amount with a Decimal or an int"),
        (F.created_at >= "2026-01-01", invoices, r"compares created_at with a date or an aware datetime"),
        (F.created_at >= 5, invoices, r"compares created_at with a date or an aware datetime"),
        (F.created_at >= time(9), invoices, r"compares created_at with"),
        (F.created_at <= date.max, invoices, r"no day after 9999-12-31"),
        (F.key >= "a", invoices, r"cannot compare key"),
        (F.frozen >= True, invoices, r"cannot say that of frozen"),
        (F.from_date >= DAY, activity_logs, r"cannot compare from_date"),
        (F.from_date(MOMENT), activity_logs, r"from_date: .*a datetime is not a date"),
        (F.created_at.is_null(), invoices, r"cannot say that of created_at"),
        (F.key.starts_with("a"), invoices, r"cannot say that of key"),
        (F.key("a") & F.role("both"), parties, r"has no `and`: it takes one condition, beside which F\.text\(\)"),
        (F.key("a") | F.role("both"), parties, r"has no `or`"),
        (F.created_at(DAY, MOMENT.date() + timedelta(9)), parties, r"has no `or`"),
        (~F.role("both"), parties, r"has no `not`"),
        (F.frozen(True) & ~F.text("x"), invoices, r"for the list as a whole"),
        (F.text("a") | F.frozen(True), invoices, r"join it with & at the outermost level"),
        (~(F.text("a") & F.frozen(True)), invoices, r"join it with & at the outermost level"),
        (F.text("a") & F.text("b"), invoices, r"takes one text_search, and F\.text\('a'\) is there too"),
        (F.as_of(MOMENT) & F.history(), invoices, r"takes one time_reference"),
        (F.as_of(MOMENT), customers, r"knows no other time than now"),
        (F.text("x"), activity_logs, r"has no text search; it takes F\.activity_id,"),
        (F.name("x"), add_ons, r"cannot filter by fields; it takes F\.text\(\)$"),
        (F.content("a") == 1, invoices, r"does not filter by content"),
        (F.content("a") == time(9), documents, r"cannot compare content with a time"),
        (F.frozen, invoices, r"is a field, no filter; compare it"),
    ],
    ids=said,
)
def test_what_a_service_cannot_say_exactly_is_refused(expression: Any, module: Any, words: str) -> None:
    error = refusal(expression, module)
    with pytest.raises(RequestError, match=words):
        raise error


def test_a_refusal_names_the_filters_type() -> None:
    assert "invora.parties.v2.ListFilter" in str(refusal(F.x("y"), parties))


def test_an_expression_is_no_part_and_no_other_message() -> None:
    for descriptor in (invoices.ListFilterPart.DESCRIPTOR, invoices.ChangeBase.DESCRIPTOR):
        with pytest.raises(RequestError, match="give the expression as `filter` itself"):
            F.frozen(True).__invora_build__(descriptor)


# Every filter of the catalog


def filter_types() -> Iterator[Any]:
    seen = set()
    for method in catalog().methods:
        field = bind(method).request_class.DESCRIPTOR.fields_by_name.get("filter")
        if field is not None and field.message_type.full_name not in seen:
            seen.add(field.message_type.full_name)
            yield field.message_type


TYPES = list(filter_types())


def sample(field: Any) -> Any:
    """A condition on this field of a part, made from its type alone."""
    own, message = F[field.name], field.message_type
    if message is None:
        scalars = {field.TYPE_BOOL: True, field.TYPE_STRING: "x", field.TYPE_INT32: 3, field.TYPE_ENUM: 1}
        return own(scalars[field.type])
    names = set(message.fields_by_name)
    if "in_values" in names:
        member = message.fields_by_name["in_values"]
        scalars = {member.TYPE_STRING: "x", member.TYPE_INT32: 3, member.TYPE_ENUM: 1}
        return own({"key": "k", "value": "v"} if member.message_type else scalars[member.type])
    if "field_path" in names:
        return F.content("a.b") == 1 if "value" in names else F.content("a.b").is_set()
    if message.full_name == "google.type.Date":
        return own(DAY)
    if message.full_name == "google.protobuf.Timestamp":
        return own(MOMENT)
    if message.full_name == "kernel.ListRequestFilterPartDecimalValue":
        return own >= Decimal("1.5")
    return own >= MOMENT


@pytest.mark.parametrize("descriptor", TYPES, ids=lambda descriptor: descriptor.full_name)
def test_every_field_of_every_filter_can_be_said(descriptor: Any) -> None:
    assert len(TYPES) == 38
    part_field = descriptor.fields_by_name.get("part")
    fields = part_field.message_type.fields if part_field else []
    for field in fields:
        if field.name in ("and", "or", "not"):
            continue
        message: Any = sample(field).__invora_build__(descriptor)
        assert message.part.WhichOneof("type") == field.name
        assert type(message).FromString(message.SerializeToString()) == message
    if "text_search" in descriptor.fields_by_name:
        assert plain(F.text("x").__invora_build__(descriptor)) == {"text_search": "x"}
    assert {"F.text()"} & set(filterable(descriptor)) or "text_search" not in descriptor.fields_by_name


def test_no_field_of_the_catalog_hides_behind_a_word_of_the_language() -> None:
    fields = {
        field.name
        for descriptor in TYPES
        if "part" in descriptor.fields_by_name
        for field in descriptor.fields_by_name["part"].message_type.fields
    }
    assert not fields & {name for name in dir(type(F)) if not name.startswith("_")}
    assert not any(name.startswith("_") for name in fields)


# Filters of types that no service has yet


@functools.cache
def shelf_filter() -> Any:
    """A filter whose part holds the kernel's other ranges, in a pool of its own."""
    pool = descriptor_pool.DescriptorPool()
    source: Any = query.DESCRIPTOR
    add_with_imports(pool, source)
    file = FileDescriptorProto(name="shelf.proto", package="shelf", syntax="proto3", dependency=[source.name])
    outer, inner = file.message_type.add(name="Filter"), file.message_type.add(name="Part")
    outer.field.add(name="part", number=1, type=11, label=1, type_name=".shelf.Part")
    inner.oneof_decl.add(name="type")
    kinds = ("UInt64", "Int64Nullable", "Time", "DateV2Nullable")
    for number, kind in enumerate(kinds, 1):
        name = f".kernel.ListRequestFilterPart{kind}"
        inner.field.add(
            name=kind.lower(), number=number, type=FieldDescriptorProto.TYPE_MESSAGE, type_name=name, oneof_index=0
        )
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("shelf.Filter"))


def add_with_imports(pool: Any, file: Any) -> None:
    for dependency in file.dependencies:
        add_with_imports(pool, dependency)
    pool.AddSerializedFile(file.serialized_pb)


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        (F.uint64 == 3, {"uint64": {"from_inclusive": {"value": 3}, "to_exclusive": {"value": 4}}}),
        ((F.uint64 > 3) & (F.uint64 <= 7), {"uint64": {"from_inclusive": {"value": 4}, "to_exclusive": {"value": 8}}}),
        (F.int64nullable < -3, {"int64nullable": {"value": {"to_exclusive": {"value": -3}}}}),
        (F.time >= time(9, 30), {"time": {"range": {"from_inclusive": {"hours": 9, "minutes": 30}}}}),
        (F.time >= MOMENT, {"time": {"range_timestamp": {"from_inclusive": MOMENT}}}),
        (F.datev2nullable >= DAY, {"datev2nullable": {"value": {"range": {"from_inclusive": DAY}}}}),
        (
            F.datev2nullable == DAY,
            {"datev2nullable": {"value": {"range": {"from_inclusive": DAY, "to_exclusive": date(2026, 2, 1)}}}},
        ),
    ],
    ids=said,
)
def test_filters_follow_from_descriptors_alone(expression: Any, wanted: dict[str, Any]) -> None:
    message = expression.__invora_build__(shelf_filter().DESCRIPTOR)
    assert isinstance(message, shelf_filter()) and plain(message)["part"] == wanted


def test_a_decimal_is_no_whole_number() -> None:
    with pytest.raises(RequestError, match="compares uint64 with an int"):
        (F.uint64 >= Decimal(3)).__invora_build__(shelf_filter().DESCRIPTOR)
