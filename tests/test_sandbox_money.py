"""Amounts in the sandbox: minor units by currency, a wallet's credits, and the ids of lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from invora_api.billing.wallets.v2 import service_pb2 as wallets
from invora_grpc.call import message_class
from invora_grpc.catalog import catalog
from invora_grpc.sandbox import engine, engine_shapes, simple
from invora_grpc.sandbox.dispatch import load_messages
from invora_grpc.sandbox.idp import Caller
from invora_grpc.sandbox.service import Call, Fault
from invora_grpc.sandbox.store import Store
from invora_grpc.sandbox.totals import Line, calculate
from invora_grpc.values import build, to_decimal

load_messages()
HANDLERS = {**engine.REGISTRY, **simple.REGISTRY}
LINE = {
    "description": "Consulting",
    "quantity": {"value": 1, "unit_code": "HUR"},
    "unit_price": Decimal("1.2345"),
    "tax": {"tax_rate": 10},
}
BUYER = {"inline": {"legal_name": "Layla"}}


class World:
    """Calls into the handlers, by names and plain values."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __call__(self, name: str, request: Any = None, **values: Any) -> Any:
        method = catalog().method(name)
        caller = Caller("user", "client", "acme", "acme", {}, None, 0.0)
        call = Call(self.store, method, caller, "acme", "", datetime(2026, 3, 1, tzinfo=UTC))
        with self.store.transaction():
            return HANDLERS[method.path](call, request or build(message_class(method.request), values))

    def refused(self, name: str, **values: Any) -> Fault:
        with pytest.raises(Fault) as caught:
            self(name, **values)
        return caught.value

    def wallet(self, **given: Any) -> dict[str, Any]:
        customer = self("billing.customers.create", input={"external_id": f"c-{time.monotonic_ns()}"}).customer
        return {"customer_id": customer.id, **given}


@pytest.fixture
def world() -> Iterator[World]:
    with Store.open(":memory:") as store:
        store.create_organization("Acme", org_id="acme")
        yield World(store)


@pytest.mark.parametrize(
    ("currency", "net", "tax"),
    [("SAR", "1.23", "0.12"), ("KWD", "1.235", "0.124"), ("JPY", "1", "0"), ("CLF", "1.2345", "0.1235")],
)
def test_amounts_have_the_decimals_of_their_currency(currency: str, net: str, tax: str) -> None:
    totals = calculate([Line("1", Decimal(1), Decimal("1.2345"), "S", Decimal(10))], currency)
    assert (str(totals.tax_exclusive_amount), str(totals.tax_amount)) == (net, tax)
    assert str(totals.lines[0].net_amount) == net


def test_documents_and_their_notes_have_the_currencys_decimals(world: World) -> None:
    changes = {"currency_code": "KWD", "buyer": BUYER, "lines": [LINE]}
    made = world("simple.invoices.create", key="inv", changes=changes, freeze_immediately=True).details
    assert to_decimal(made.calculations.payable_amount) == Decimal("1.359")
    note = {"invoice_key": "inv", "reason": "Returned", "lines": [LINE]}
    credit = world("simple.credit_notes.create", changes=note).details
    assert (credit.currency_code, to_decimal(credit.calculations.payable_amount)) == ("KWD", Decimal("1.359"))


@pytest.mark.parametrize(
    ("given", "ids"),
    [([None, None], ["1", "2"]), (["2", None], ["2", "1"]), ([None, "1", None], ["2", "1", "3"])],
)
def test_automatic_line_ids_skip_those_that_were_given(world: World, given: list[str | None], ids: list[str]) -> None:
    lines = [{**LINE, "id": id} if id else LINE for id in given]
    made = world("simple.invoices.create", changes={"currency_code": "SAR", "buyer": BUYER, "lines": lines}).details
    assert [line.id for line in made.lines] == ids


@pytest.mark.parametrize("field", ["granted_credits", "rate_amount"])
@pytest.mark.parametrize("text", ["1e999990", "1e-999990", "0e999990", "-1", "9" * 5000, "1e40000", "Infinity"])
def test_a_number_that_takes_long_or_makes_no_sense_is_refused_at_once(world: World, field: str, text: str) -> None:
    begun = time.monotonic()
    given = world.wallet(**{"rate_amount": "1", "granted_credits": "1", field: text})
    fault = world.refused("wallets.create_customer_wallet", input=given)
    assert time.monotonic() - begun < 2
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [path for path, _ in fault.violations] == [f"input.{field}"]


@pytest.mark.parametrize(
    ("rate", "credits", "field"),
    [("0", "1", "rate_amount"), ("", "1", "rate_amount"), ("0.01", "0.5", "granted_credits"), ("1", "1e18", None)],
)
def test_a_wallet_holds_a_whole_number_of_cents(world: World, rate: str, credits: str, field: str | None) -> None:
    given = world.wallet(rate_amount=rate, granted_credits=credits)
    fault = world.refused("wallets.create_customer_wallet", input=given)
    assert fault.violations[0][0] == f"input.{field or 'granted_credits'}"


@pytest.mark.parametrize(("currency", "cents"), [("SAR", 150), ("KWD", 1500)])
def test_a_wallets_balance_is_in_the_currencys_minor_unit(world: World, currency: str, cents: int) -> None:
    given = world.wallet(rate_amount="1.5", granted_credits="1", currency=currency)
    assert world("wallets.create_customer_wallet", input=given).wallet.balance_cents == cents


def test_a_currency_of_a_later_schema_is_taken_for_one_of_two_decimals(world: World) -> None:
    request = wallets.CreateCustomerWalletRequest(input=world.wallet(rate_amount="1.5", granted_credits="1"))
    request.input.MergeFromString(b"\x18\x8f\x4e")  # currency 9999
    assert world("wallets.create_customer_wallet", request).wallet.balance_cents == 150


@pytest.mark.parametrize("text", ["1e999990", "9" * 5000, str(2**63), "0.5", "NaN"])
def test_a_whole_number_in_text_is_bounded(text: str) -> None:
    field = Timestamp.DESCRIPTOR.fields_by_name["seconds"]
    with pytest.raises(Fault) as caught:
        engine_shapes._number(field, text, "input.amount")
    assert caught.value.violations[0][0] == "input.amount"
    assert engine_shapes._number(field, "-12e3", "input.amount") == -12_000
