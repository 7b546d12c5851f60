"""A small schema for readable cases of drift, and a client and a gateway that know it."""

from __future__ import annotations

import copy
from typing import Any

from drifted import Call, Choice, Field, World, record
from drifted_server import as_compiled

PACKAGE = "shop.v1"


def shop() -> World:
    """Invoices with an amount and a balance, and RPCs of every kind."""
    wrapper = "google.protobuf.Int64Value"
    records = [
        record("Invoice", "string number", "int64 amount", "int64 balance", "Status status", "optional string note"),
        record("InvoiceRequest", "Invoice invoice"),
        record("InvoiceResponse", "Invoice invoice"),
        record("Pagination", f"{wrapper} limit", "int32 skip", "string cursor"),
        record("ListRequest", "Pagination pagination"),
        record("ListResponse", "many Invoice items", "string next_page_cursor"),
    ]
    calls = [
        Call("InvoiceService", "Create", "InvoiceRequest", "InvoiceResponse"),
        Call("InvoiceService", "Get", "InvoiceRequest", "InvoiceResponse"),
        Call("InvoiceService", "List", "ListRequest", "ListResponse"),
        Call("InvoiceService", "Watch", "InvoiceRequest", "InvoiceResponse", "server"),
        Call("InvoiceService", "Gather", "InvoiceRequest", "InvoiceResponse", "client"),
        Call("InvoiceService", "Sync", "InvoiceRequest", "InvoiceResponse", "bidi"),
    ]
    values = {"STATUS_UNKNOWN": 0, "STATUS_DRAFT": 1, "STATUS_PAID": 2, "STATUS_VOID": 3}
    made = {one.name: one for one in records}
    return World(PACKAGE, made, {"Status": Choice("Status", values)}, {call.name: call for call in calls}, separate=())


def swapped(world: World | None = None) -> World:
    """Amount and balance have changed numbers."""
    made = copy.deepcopy(world or shop())
    fields = made.records["Invoice"].fields
    fields["amount"].number, fields["balance"].number = fields["balance"].number, fields["amount"].number
    return made


def without(name: str) -> World:
    """A field of the invoice is gone."""
    made = shop()
    del made.records["Invoice"].fields[name]
    return made


def with_new(name: str, number: int) -> World:
    """The invoice has one field more."""
    made = shop()
    made.records["Invoice"].fields[name] = Field(name, number, "int64")
    return made


def renumbered_status() -> World:
    """Paid and void have changed numbers."""
    made = shop()
    made.choices["Status"].values |= {"STATUS_PAID": 3, "STATUS_VOID": 2}
    return made


def renamed_service() -> World:
    """The service has another name; all else is the same."""
    made = shop()
    for call in made.calls.values():
        call.service = "InvoicesService"
    return made


def invoices(client: Any) -> Any:
    """The RPCs of the shop, as a client calls them that was built with it."""
    return client.service(f"{PACKAGE}.InvoiceService", schema=STUBS)


def echo(side: Any, call: Call, heard: Any) -> Any:
    """Answers with the invoice of the latest request, as far as it is numbers and text; lists two pages of invoices."""
    message = side.message(call.response)
    if call.name == "List":
        first = not heard.requests[-1].get("pagination", {}).get("cursor")
        for number in (1, 2) if first else (3,):
            message.items.add(number=f"I-{number}", amount=number, balance=10 * number)
        message.next_page_cursor = "more" if first else ""
        return message
    message.invoice.SetInParent()
    for name, value in heard.requests[-1].get("invoice", {}).items():
        setattr(message.invoice, name, value[1] if isinstance(value, tuple) else value)
    return message


STUBS = as_compiled(shop())
