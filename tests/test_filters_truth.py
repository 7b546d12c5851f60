"""Filter expressions mean what they say: the sandbox's answers against Python's own evaluation of the same records."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from conftest import client_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_fixture import Running, running_sandbox

from invora_api.regulations.zatca.v1.models_pb2 import ZatcaSubmissionStatus
from invora_grpc.call import message_class
from invora_grpc.catalog import catalog
from invora_grpc.errors import RequestError
from invora_grpc.filters import Condition, Either, Every, Expression, F, Not, Whole
from invora_grpc.values import build, to_decimal

START = datetime(2026, 1, 30, 22, tzinfo=UTC)
BUYERS = ("Layla", "Olaya Trading", "Blue Lagoon")
STEP = timedelta(hours=5)
COUNT = 18
PREFIX = "ZATCA_SUBMISSION_STATUS_"
COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt, "in": operator.eq}


def ask(running: Running, name: str, **fields: Any) -> Any:
    return running.call(name, build(message_class(catalog().method(name).request), fields))


@pytest.fixture(scope="module")
def books() -> Iterator[Running]:
    """A sandbox with invoices of all sorts, and with credit notes to some of them."""
    with running_sandbox(seed="empty") as running:
        for number in range(COUNT):
            line = {"description": "Goods", "quantity": {"value": 1, "unit_code": "C62"}, "tax": {"tax_rate": 15}}
            line |= {"unit_price": number * 10}
            buyer = {"inline": {"legal_name": BUYERS[number % 3]}}
            changes = {"currency_code": ("SAR", "USD")[number % 2], "buyer": buyer, "issue_at": START + number * STEP}
            frozen = number % 4 == 0
            changes["lines"] = [line]
            ask(running, "simple.invoices.create", key=f"k{number}", changes=changes, freeze_immediately=frozen)
        yield running


def listed(running: Running, expression: Expression | None) -> list[Any]:
    """The invoices that the sandbox lets through."""
    request: Any = message_class("invora.simple.invoices.v1.ListRequest")()
    if expression is not None:
        request.filter.CopyFrom(expression.__invora_build__(request.filter.DESCRIPTOR))
    return list(running.call("simple.invoices.list", request).items)


@pytest.fixture(scope="module")
def records(books: Running) -> list[dict[str, Any]]:
    """The invoices as filters see them."""
    return [
        {
            "key": item.id.key,
            "issue_at": item.issue_at.ToDatetime(UTC),
            "frozen": item.frozen,
            "number": item.number,
            "buyer_name": item.buyer_name,
            "currency_code": item.currency_code,
            "payable_amount": to_decimal(item.payable_amount),
            "zatca_status": ZatcaSubmissionStatus.Name(item.zatca_status).removeprefix(PREFIX),
        }
        for item in listed(books, None)
    ]


def true(expression: Expression, record: dict[str, Any]) -> bool:
    """The expression in Python's own words."""
    if isinstance(expression, Every):
        return all(true(operand, record) for operand in expression.operands)
    if isinstance(expression, Either):
        return any(true(operand, record) for operand in expression.operands)
    if isinstance(expression, Not):
        return not true(expression.operand, record)
    if isinstance(expression, Whole):
        words = str(expression.value).casefold().split()
        return all(any(word in str(value).casefold() for value in record.values()) for word in words)
    assert isinstance(expression, Condition)
    own = record[expression.name]
    if expression.op == "contains":
        return str(expression.values[0]).casefold() in own.casefold()
    return any(COMPARE[expression.op](as_kind_of(value, own), value) for value in expression.values)


def as_kind_of(value: object, own: Any) -> Any:
    is_day = isinstance(value, date) and not isinstance(value, datetime)
    return own.date() if is_day else own


DAYS = st.dates(START.date() - timedelta(days=1), (START + COUNT * STEP).date() + timedelta(days=1))
MOMENTS = st.integers(-1, COUNT).map(lambda number: START + number * STEP)
AMOUNTS = st.integers(-1, COUNT).map(lambda number: number * Decimal("11.5")) | st.integers(0, 210)
KEYS = st.lists(st.integers(0, COUNT).map("k{}".format), min_size=1, max_size=4)
STATUSES = st.lists(
    st.sampled_from([name.removeprefix(PREFIX) for name in ZatcaSubmissionStatus.DESCRIPTOR.values_by_name]),
    min_size=1,
    max_size=2,
)
EXACT_BOUNDS = st.sampled_from([operator.ge, operator.lt])
CONDITIONS: st.SearchStrategy[Expression] = st.one_of(
    KEYS.map(F.key.in_),
    STATUSES.map(F.zatca_status.in_),
    st.sampled_from([F.frozen(True), F.frozen(False), F.zatca_status != "REPORTED", F.currency_code != "SAR"]),
    st.sampled_from(["SAR", "USD", "AED"]).map(F.currency_code),
    st.sampled_from(["a", "OLAYA", "blue l", "x"]).map(F.buyer_name.contains),
    st.sampled_from(["INV-", "00001", "x"]).map(F.number.contains),
    st.builds(
        lambda sign, day: sign(F.issue_at, day),
        st.sampled_from([operator.ge, operator.gt, operator.le, operator.lt, operator.eq, operator.ne]),
        DAYS,
    ),
    st.builds(lambda sign, moment: sign(F.issue_at, moment), EXACT_BOUNDS, MOMENTS),
    st.builds(lambda sign, amount: sign(F.payable_amount, amount), EXACT_BOUNDS, AMOUNTS),
)
EXPRESSIONS = st.recursive(
    CONDITIONS,
    lambda below: (
        st.builds(operator.and_, below, below) | st.builds(operator.or_, below, below) | below.map(operator.invert)
    ),
    max_leaves=10,
)


def test_the_records_differ_in_all_that_is_filtered_by(records: list[dict[str, Any]]) -> None:
    assert len(records) == COUNT
    assert all(len({record[name] for record in records}) > 1 for name in records[0])


@settings(max_examples=200, deadline=None)
@given(expression=EXPRESSIONS)
def test_the_sandbox_answers_what_the_expression_says(
    books: Running, records: list[dict[str, Any]], expression: Expression
) -> None:
    wanted = [record["key"] for record in records if true(expression, record)]
    assert [item.id.key for item in listed(books, expression)] == wanted


@settings(max_examples=30, deadline=None)
@given(words=st.sampled_from(["layla", "LAGOON blue", "nobody", "k1"]), expression=CONDITIONS)
def test_text_search_stands_beside_the_conditions(
    books: Running, records: list[dict[str, Any]], words: str, expression: Expression
) -> None:
    searched = [{name: record[name] for name in ("key", "number", "buyer_name")} for record in records]
    wanted = [
        record["key"]
        for record, text in zip(records, searched, strict=True)
        if true(F.text(words), text) and true(expression, record)
    ]
    assert [item.id.key for item in listed(books, F.text(words) & expression)] == wanted


@settings(max_examples=30, deadline=None)
@given(days=st.lists(DAYS, min_size=4, max_size=4))
def test_bounds_of_one_field_are_one_range(books: Running, records: list[dict[str, Any]], days: list[date]) -> None:
    expression = (F.issue_at >= days[0]) & (F.issue_at > days[1]) & (F.issue_at <= days[2]) & (F.issue_at < days[3])
    wanted = [record["key"] for record in records if true(expression, record)]
    assert [item.id.key for item in listed(books, expression)] == wanted
    part = expression.__invora_build__(message_class("invora.simple.invoices.v1.ListFilter").DESCRIPTOR)
    assert "and" not in str(part)


def test_a_list_that_takes_one_condition_answers_it(books: Running) -> None:
    for key, role in (("c", "customer"), ("s", "supplier"), ("b", "both")):
        name = {"assignments": [{"locale": "en", "value": f"Party {key}"}]}
        ask(books, "invoicing.parties.create", key=key, changes={"name": name, "role": role})

    def keys(expression: Expression) -> set[str]:
        request: Any = message_class("invora.parties.v2.ListRequest")()
        request.filter.CopyFrom(expression.__invora_build__(request.filter.DESCRIPTOR))
        return {item.id.key for item in books.call("invoicing.parties.list", request).items} & {"c", "s", "b"}

    today = datetime.now(UTC)
    assert keys(F.role("customer", "both")) == {"c", "b"} == keys(F.role("customer") | F.role("both"))
    assert keys(F.role("both") & F.text("party")) == {"b"}
    assert keys((F.created_at >= today - timedelta(days=1)) & (F.created_at < today + timedelta(days=1))) == {*"csb"}
    assert keys(F.created_at < today - timedelta(days=1)) == set()


def test_a_list_of_the_client_takes_an_expression(books: Running, records: list[dict[str, Any]]) -> None:
    expression = (F.issue_at >= START + 4 * STEP) & (F.currency_code("USD") | F.frozen(True))
    wanted = [record["key"] for record in records if true(expression, record)]
    with client_of(books) as client:
        rpc = client.simple.invoices.list
        assert [item.id.key for item in rpc.items(filter=expression).page_size(3)] == wanted
        assert [item.id.key for item in rpc(filter=expression).items] == wanted
        with pytest.raises(RequestError, match=r"^filter\.frosen: F\.frosen\(True\); .*did you mean F\.frozen\?"):
            rpc.items(filter=F.frosen(True))
