"""Lists of documents/v2: filters over the document and over any field of its content, order, and pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest
from documents_desk import NOW, Desk, numbered, typed
from zatca_documents import SAMPLES

from invora_api.documents.v2 import models_pb2 as documents_v2
from invora_api.documents.v2.content_pb2 import DocumentContent
from invora_grpc.sandbox.store import Store

STATUSES = grpc.StatusCode
ID = "invoice.id"
UP, DOWN = "SORT_DIRECTION_ASCENDING", "SORT_DIRECTION_DESCENDING"


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    """Five documents: a frozen invoice, one over 47.15 typed as draft, a note, a self-billed one, an order."""
    with Store.open(":memory:", clock=lambda: NOW.timestamp()) as store:
        store.create_organization("Acme", org_id="acme")
        made = Desk(store, "acme")
        made.create(numbered(7), key="frozen", frozen=True)
        made.now = NOW + timedelta(hours=1)
        made.create(typed("invoice", due_date={"value": "2026-12-01"}), key="draft", auto_calculate=True)
        made.now = NOW + timedelta(hours=2)
        made.create(SAMPLES["credit note on standard"], key="note")
        made.create(replace(SAMPLES["self-billed"], id="SB-1"), key="self")
        order = DocumentContent()
        order.order.id.value = "PO-1"
        made.create(order, key="order")
        yield made


def kept(desk: Desk, **part: Any) -> list[str]:
    return desk.keys(filter={"part": part})


def where(desk: Desk, path: str, op: str, **value: Any) -> list[str]:
    """The documents that a comparison of a field lets through."""
    return kept(desk, field={"field_path": path, "op": f"FIELD_FILTER_OPERATOR_{op}", "value": value})


def state(desk: Desk, path: str, op: str) -> list[str]:
    return kept(desk, unary_field={"field_path": path, "op": f"UNARY_FIELD_FILTER_OPERATOR_{op}"})


ALL = ["frozen", "draft", "note", "self", "order"]


@pytest.mark.parametrize(
    ("part", "keys"),
    [
        ({"key": {"in_values": ["note", "order"]}}, ["note", "order"]),
        ({"document_type": {"in_values": [documents_v2.DOCUMENT_TYPE_INVOICE]}}, ["frozen", "draft"]),
        ({"edit_state": {"in_values": [documents_v2.EDIT_STATE_FROZEN]}}, ["frozen"]),
        ({"is_deactivated": True}, []),
        ({"is_deactivated": False}, ALL),
        ({"frozen_at": {"range": {"from_inclusive": "2026-11-01"}}}, ["frozen"]),
        ({"created_at": {"range_timestamp": {"from_inclusive": NOW + timedelta(hours=2)}}}, ["note", "self", "order"]),
        ({"not": {"edit_state": {"in_values": [documents_v2.EDIT_STATE_FROZEN]}}}, ALL[1:]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_filters_of_the_document_itself(desk: Desk, part: dict[str, Any], keys: list[str]) -> None:
    assert kept(desk, **part) == keys


@pytest.mark.parametrize(
    ("path", "op", "value", "keys"),
    [
        (ID, "EQUAL", {"string_value": "INV-7"}, ["frozen"]),
        ("id", "EQUAL", {"string_value": "PO-1"}, ["order"]),
        ("order.id.value", "EQUAL", {"string_value": "PO-1"}, ["order"]),
        ("id", "STARTS_WITH", {"string_value": "INV"}, ["frozen"]),
        ("id", "ENDS_WITH", {"string_value": "-1"}, ["note", "self", "order"]),
        ("id", "CONTAINS", {"string_value": "inv"}, ["frozen", "draft", "note"]),
        ("id", "REGEX", {"string_value": "^[A-Z]{2}-1$"}, ["self", "order"]),
        (
            "id",
            "IN",
            {"list_value": {"values": [{"string_value": "SB-1"}, {"string_value": "PO-1"}]}},
            ["self", "order"],
        ),
        ("invoiceTypeCode.name", "EQUAL", {"string_value": "0100001"}, ["self"]),
        ("legal_monetary_total.payable_amount", "LESS_THAN", {"decimal_value": "47.16"}, ["draft", "note"]),
        ("legal_monetary_total.payable_amount", "EQUAL", {"number_value": 47.15}, ["draft", "note"]),
        ("legal_monetary_total.payable_amount", "GREATER_THAN_OR_EQUAL", {"int_value": 48}, ["frozen", "self"]),
        ("due_date", "LESS_THAN_OR_EQUAL", {"date_value": "2026-12-01"}, ["draft"]),
        ("due_date", "GREATER_THAN", {"date_value": "2026-12-01"}, []),
        ("issue_date", "EQUAL", {"string_value": "2026-11-02"}, ["frozen", "draft", "note", "self"]),
        (
            "invoice_line.item.name",
            "ARRAY_CONTAINS",
            {"string_value": "Tea, green"},
            ["frozen", "draft", "note", "self"],
        ),
        (
            "invoice_line.id",
            "ARRAY_CONTAINS_ALL",
            {"list_value": {"values": [{"string_value": "1"}, {"string_value": "2"}]}},
            ["frozen", "self"],
        ),
        ("issue_date", "EQUAL", {"bool_value": True}, []),
        ("id", "LESS_THAN", {"int_value": 5}, []),
    ],
)
def test_a_field_of_the_content_is_compared(
    desk: Desk, path: str, op: str, value: dict[str, Any], keys: list[str]
) -> None:
    assert where(desk, path, op, **value) == keys


def test_a_field_of_the_content_may_be_there_or_not(desk: Desk) -> None:
    assert state(desk, "due_date", "IS_SET") == ["draft"]
    assert state(desk, "due_date", "IS_NULL") == ["frozen", "note", "self", "order"]
    assert state(desk, "accounting_customer_party.party", "IS_SET") == ALL[:4]
    assert state(desk, "note", "IS_EMPTY") == ["frozen", "draft", "note", "order"]


def test_comparisons_of_content_nest_like_any_other(desk: Desk) -> None:
    cheap = {
        "field": {
            "field_path": "legal_monetary_total.payable_amount",
            "op": "FIELD_FILTER_OPERATOR_LESS_THAN",
            "value": {"int_value": 50},
        }
    }
    dated = {"unary_field": {"field_path": "due_date", "op": "UNARY_FIELD_FILTER_OPERATOR_IS_SET"}}
    assert kept(desk, **{"and": {"operands": [cheap, {"not": dated}]}}) == ["note"]
    assert kept(desk, **{"or": {"operands": [dated, {"key": {"in_values": ["order"]}}]}}) == ["draft", "order"]


@pytest.mark.parametrize(
    ("field", "place"),
    [
        ({"field_path": "colour", "op": 1, "value": {"int_value": 1}}, "field_path"),
        ({"field_path": "id", "value": {"int_value": 1}}, "op"),
        ({"field_path": "id", "op": 1}, "value"),
        ({"field_path": "id", "op": 1, "value": {"number_value": float("nan")}}, "value.number_value"),
        ({"field_path": "id", "op": "FIELD_FILTER_OPERATOR_IN", "value": {"int_value": 1}}, "value"),
        ({"field_path": "id", "op": 1, "value": {"list_value": {}}}, "value"),
        (
            {"field_path": "id", "op": "FIELD_FILTER_OPERATOR_REGEX", "value": {"string_value": "("}},
            "value.string_value",
        ),
    ],
    ids=["path", "no operator", "no value", "no number", "no list", "a list", "expression"],
)
def test_a_comparison_that_makes_no_sense_is_refused_wherever_it_stands(
    desk: Desk, field: dict[str, Any], place: str
) -> None:
    part = {"or": {"operands": [{"not": {"field": field}}]}}
    fault = desk.refusal("List", filter={"part": part})
    assert fault.code is STATUSES.INVALID_ARGUMENT
    assert fault.violations[0][0] == f"filter.part.or.operands[0].not.field.{place}"


@pytest.mark.parametrize(
    ("rule", "first"),
    [
        ({"created_at": DOWN}, "note"),
        ({"updated_at": UP}, "frozen"),
        ({"issue_date": UP}, "frozen"),
        ({"due_date": UP}, "draft"),
        ({"payable_amount": UP}, "draft"),
        ({"payable_amount": DOWN}, "frozen"),
        ({"tax_amount": DOWN}, "frozen"),
        ({"frozen_at": DOWN}, "frozen"),
        ({"sequence_id": UP}, "frozen"),
        ({"actual_date": UP}, "frozen"),
        ({"validity_end_date": UP}, "frozen"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_every_sort_rule_orders_the_documents(desk: Desk, rule: dict[str, str], first: str) -> None:
    keys = desk.keys(sort={"rules": [rule]})
    assert (keys[0], sorted(keys)) == (first, sorted(ALL))


def test_pages_follow_one_another_without_loss(desk: Desk) -> None:
    request: dict[str, Any] = {"sort": {"rules": [{"payable_amount": UP}]}}
    seen: list[str] = []
    cursor = None
    while True:
        page = desk.ask("List", **request, pagination={"limit": 2, "cursor": cursor})
        seen += [item.id.key for item in page.items]
        cursor = page.next_page_cursor
        if not cursor:
            break
    assert seen == desk.keys(**request)
    assert page.total_count == 5


def test_a_page_reads_its_own_documents_only(desk: Desk) -> None:
    last = desk.store.all(desk.org_id, "documents")[-1]
    desk.store.replace(desk.org_id, "documents", replace(last, body=b"unreadable"))
    try:
        assert desk.keys(pagination={"limit": 1}) == ALL[:1]
    finally:
        desk.store.replace(desk.org_id, "documents", last)


def test_text_search_finds_what_is_in_the_content(desk: Desk) -> None:
    assert desk.keys(filter={"text_search": "tea goods"}) == ["note"]
    assert desk.keys(filter={"text_search": "po-1"}) == ["order"]


def test_a_mask_applies_to_every_item(desk: Desk) -> None:
    page = desk.ask("List", mask=["id", "edit_state"])
    assert [item.id.key for item in page.items] == ALL
    assert not any(item.xml_content or item.HasField("content") for item in page.items)
    assert desk.refusal("List", mask=["colour"]).code is STATUSES.INVALID_ARGUMENT
