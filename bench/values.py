"""What values cost both ways: `build` against `json_format.ParseDict`, `to_python` against `json_format.MessageToDict`.

CPU time of one process. Each pair is interleaved in small rounds and each round gives one ratio; the median counts.
Messages are read as a gateway sends them: parsed from bytes, so that no Python object of theirs exists beforehand.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from invora_api.billing.customers.v2 import service_pb2 as customers
from invora_api.billing.events.v2 import service_pb2 as events
from invora_api.documents.v2 import service_pb2 as documents
from invora_api.simple.invoices.v1 import models_pb2 as invoices
from invora_grpc.values import build, to_python, unknown_fields, verifier_of

Figures = dict[str, dict[str, float]]
MOMENT = datetime(2026, 11, 21, 9, 30, 15, 123456, tzinfo=UTC)
AUDIT = {
    "creation_info": {"created_at": MOMENT, "creator_id": "u-1"},
    "last_modification_time": MOMENT,
    "last_modifier_id": "u-2",
}
PAGE = 50
WARM = 150  # readings until every compiled reader is in place


def invoice_row(number: int) -> dict[str, Any]:
    """A row of the list of simple invoices."""
    return {
        "id": {"version_id": f"v-{number}", "key": f"k-{number}", "version": 3},
        "concurrency_stamp": f"s-{number}",
        "frozen": True,
        "number": f"INV-{number}",
        "issue_at": MOMENT,
        "currency_code": "SAR",
        "buyer_name": "شركة التوريد",
        "tax_amount": number * Decimal("1.15"),
        "payable_amount": number * Decimal("9.23"),
        "zatca_status": 1,
        "audit": AUDIT,
    }


def customer_row(number: int) -> dict[str, Any]:
    """A billing customer."""
    return {
        "account_type": 1,
        "active_subscriptions_count": 2,
        "address_line1": "King Fahd Road",
        "applicable_timezone": 1,
        "billing_configuration": {"document_locale": "en"},
        "can_edit_attributes": True,
        "city": "Riyadh",
        "country": "SA",
        "created_at": MOMENT,
        "credit_notes_balance_amount_cents": 100 * number,
        "currency": "SAR",
        "customer_type": 1,
        "display_name": f"Acme {number}",
        "email": "a@acme.example",
        "external_id": f"acme-{number}",
        "has_active_wallet": True,
        "id": f"c-{number}",
        "legal_name": "Acme",
        "metadata": [{"key": "region", "value": "central"}, {"key": "tier", "value": "gold"}],
        "name": "Acme",
        "net_payment_term": 30,
        "shipping_address": {"address_line1": "Corniche", "city": "Jeddah", "country": "SA", "zipcode": "21411"},
        "slug": "ACM",
        "taxes": [{"code": "vat", "rate": 15.0, "name": "VAT"}],
        "updated_at": MOMENT,
    }


def document_row(number: int) -> dict[str, Any]:
    """A document without its content, as a list with a mask gives it."""
    entry = {"status": "ACCEPTED", "submitted_at": MOMENT, "metadata": {"hash": "x", "attempts": 1}}
    return {
        "id": {"version_id": f"v-{number}", "key": f"k-{number}", "version": 3},
        "concurrency_stamp": f"s-{number}",
        "edit_state": "FROZEN",
        "regulation_metadata": {"entries": {"zatca": entry}},
        "document_type": "INVOICE",
        "prefix": "INV",
        "sequence_id": number,
        "audit": AUDIT,
        "frozen_at": MOMENT,
        "branch_id": "main",
    }


def amount(value: str) -> dict[str, Any]:
    """An amount in UBL."""
    return {"value": Decimal(value), "currency_id": "SAR"}


def ubl_invoice() -> dict[str, Any]:
    """A UBL invoice with two lines."""
    vat = {"id": {"value": "S"}, "percent": {"value": Decimal(15)}, "tax_scheme": {"id": {"value": "VAT"}}}
    party = {
        "party_identification": [{"id": {"value": "1010010000", "scheme_id": "CRN"}}],
        "postal_address": {"city_name": {"value": "Riyadh"}, "country": {"identification_code": {"value": "SA"}}},
        "party_tax_scheme": [{"company_id": {"value": "3"}, "tax_scheme": {"id": {"value": "VAT"}}}],
        "party_legal_entity": [{"registration_name": {"value": "Acme"}}],
    }
    line = {
        "id": {"value": "1"},
        "invoiced_quantity": {"value": Decimal(2), "unit_code": "C62"},
        "line_extension_amount": amount("41"),
        "tax_total": [{"tax_amount": amount("6.15")}],
        "item": {"name": {"value": "Tea"}, "classified_tax_category": [vat]},
        "price": {"price_amount": amount("20.50")},
    }
    return {
        "id": {"value": "INV-1"},
        "issue_date": {"value": date(2026, 11, 21)},
        "invoice_type_code": {"value": "388", "name": "0100000"},
        "document_currency_code": {"value": "SAR"},
        "accounting_supplier_party": {"party": party},
        "accounting_customer_party": {"party": party},
        "tax_total": [{"tax_amount": amount("12.30")}],
        "legal_monetary_total": {"tax_inclusive_amount": amount("94.30"), "payable_amount": amount("94.30")},
        "invoice_line": [line, line],
    }


def simple_invoice() -> dict[str, Any]:
    """A simple invoice with five lines, to create."""
    line = {
        "description": "Tea",
        "quantity": {"value": Decimal(2), "unit_code": "C62"},
        "unit_price": Decimal("20.50"),
        "tax": {"tax_rate": Decimal(15), "category_code": "S"},
    }
    address = {"building_number": "1", "street_name": "King Fahd", "city_name": "Riyadh", "country_code": "SA"}
    changes = {
        "issue_at": MOMENT,
        "currency_code": "SAR",
        "buyer": {"inline": {"legal_name": "Acme", "address": address}},
        "lines": [line] * 5,
    }
    return {"key": "K-1", "changes": changes}


EVENT = {"transaction_id": "t-1", "external_subscription_id": "sub-1", "code": "api_calls", "timestamp": MOMENT}
CUSTOMER = {
    "external_id": "acme",
    "name": "Acme Trading",
    "email": "a@acme.example",
    "currency": "SAR",
    "country": "SA",
    "net_payment_term": 30,
    "tax_codes": ["vat"],
    "shipping_address": {"address_line1": "Corniche", "city": "Jeddah", "country": "SA", "zipcode": "21411"},
    "metadata": [{"key": "region", "value": "central"}],
}
PAGES: Mapping[str, tuple[type[Message], Callable[[int], dict[str, Any]]]] = {
    "simple invoices": (invoices.ListResponse, invoice_row),
    "billing customers": (customers.ListResponse, customer_row),
    "documents, masked": (documents.ListResponse, document_row),
    "documents with UBL": (
        documents.ListResponse,
        lambda number: {**document_row(number), "content": {"invoice": ubl_invoice()}},
    ),
}
REQUESTS: Mapping[str, tuple[type[Message], dict[str, Any]]] = {
    "usage event": (events.CreateRequest, {"event": EVENT}),
    "usage event, 2 properties": (
        events.CreateRequest,
        {"event": {**EVENT, "properties": {"calls": 3, "region": "riyadh"}}},
    ),
    "customer": (customers.CreateRequest, {"input": CUSTOMER}),
    "simple invoice, 5 lines": (invoices.CreateRequest, simple_invoice()),
    "UBL document, 2 lines": (documents.CreateRequest, {"changes": {"content": {"invoice": ubl_invoice()}}}),
}


def compared(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int, loops: int) -> dict[str, float]:
    """Microseconds of ours, and the median of how many times longer theirs takes."""
    figures: list[tuple[float, float]] = []
    for _ in range(rounds):
        times = []
        for call, count in ((ours, loops * 4), (theirs, loops)):
            start = time.process_time()
            for _ in range(count):
                call()
            times.append((time.process_time() - start) / count * 1e6)
        figures.append((times[0], times[1]))
    ratios = [own / other for own, other in figures]
    return {
        "us": statistics.median(own for own, _ in figures),
        "ratio": statistics.median(ratios),
        "times_faster": 1 / statistics.median(ratios),
    }


def page_of(name: str) -> Message:
    """A page as it comes off the wire, read often enough for every compiled reader to be in place."""
    message_class, row = PAGES[name]
    built = build(message_class, {"items": [row(number) for number in range(PAGE)], "total_count": 900})
    page = message_class.FromString(built.SerializeToString())
    for _ in range(WARM):
        to_python(page)
    return page


def reading(rounds: int) -> Figures:
    """Pages of 50 items: `to_python` against `MessageToDict` with proto field names."""
    table: Figures = {}
    for name in PAGES:
        page = page_of(name)
        table[name] = compared(
            lambda page=page: to_python(page),
            lambda page=page: json_format.MessageToDict(page, preserving_proto_field_name=True),
            rounds,
            2,
        )
    return table


def counting(rounds: int) -> Figures:
    """The same pages, none with unknown fields: `unknown_fields` against `to_python`."""
    table: Figures = {}
    for name in PAGES:
        page = page_of(name)
        table[name] = compared(lambda page=page: unknown_fields(page), lambda page=page: to_python(page), rounds, 4)
    return table


def building(rounds: int) -> Figures:
    """Requests: `build` from Python values against `ParseDict` from the same in JSON's types."""
    table: Figures = {}
    for name, (message_class, values) in REQUESTS.items():
        json_values = json_format.MessageToDict(build(message_class, values), preserving_proto_field_name=True)
        table[name] = compared(
            lambda message_class=message_class, values=values: build(message_class, values),
            lambda message_class=message_class, values=json_values: json_format.ParseDict(values, message_class()),
            rounds,
            20,
        )
    return table


def verifying(rounds: int) -> Figures:
    """Ready messages: the check before sending, against serialising them."""
    table: Figures = {}
    for name, (message_class, values) in REQUESTS.items():
        verify = verifier_of(message_class)
        if verify is not None:
            message = build(message_class, values)
            verify(message)
            table[name] = compared(lambda m=message, v=verify: v(m), message.SerializeToString, rounds, 50)
    return table


def results(rounds: int = 21) -> dict[str, Figures]:
    """All comparisons, by the name of their table. `ratio` is ours to theirs."""
    return {
        "values: reading a page of 50, to MessageToDict": reading(rounds),
        "values: counting unknown fields, to to_python": counting(rounds),
        "values: building a request, to ParseDict": building(rounds),
        "values: checking a ready request, to serialising it": verifying(rounds),
    }


def main() -> None:
    """Measure and print."""
    for title, figures in results().items():
        print(f"{title}\n  {'':44} {'µs':>9} {'ratio':>8} {'times faster':>14}")
        for name, figure in figures.items():
            print(f"  {name:44} {figure['us']:9.1f} {figure['ratio']:8.3f} {figure['times_faster']:14.1f}")


if __name__ == "__main__":
    main()
