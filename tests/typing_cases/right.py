"""Calls that are right: no type checker finds anything here, and every request is one that the client builds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, assert_type
from uuid import UUID

from grpc import Compression

from invora_api.billing.common.v2.models_pb2 import CURRENCY_ENUM_SAR
from invora_api.billing.customers.v2 import service_pb2 as customers
from invora_api.billing.subscriptions.v2 import service_pb2 as subscriptions
from invora_api.documents.v2 import service_pb2 as documents
from invora_api.kernel.decimal_pb2 import DecimalValue
from invora_api.simple.invoices.v1 import models_pb2 as invoices
from invora_grpc import AsyncInvora, Invora
from invora_grpc.catalog import Method, Service
from invora_grpc.filters import F
from invora_grpc.streaming import Stream
from invora_grpc.streaming_aio import AsyncStream

if TYPE_CHECKING:
    from invora_api.billing.customers.v2.service_dicts import CreateCustomerInputDict
    from invora_api.billing.events.v2.service_dicts import UsageEventInputDict
    from invora_api.branches.v2.models_dicts import ChangeBaseDict as BranchDict
    from invora_api.documents.v2.service_dicts import StreamFreezeRequestDict
    from invora_api.kernel.query_dicts import PaginationInfoDict
    from invora_api.simple.invoices.v1.models_dicts import ChangeBaseDict, ListFilterDict, SimpleLineDict


# --- requests as dicts; the test builds each of them ------------------------------------------------------------------


def line() -> SimpleLineDict:
    return {
        "description": "Consulting",
        "quantity": {"value": 3, "unit_code": "HUR"},
        "unit_price": Decimal("20.50"),
        "tax": {"tax_rate": "15"},
        "id": None,
    }


def invoice() -> ChangeBaseDict:
    return {
        "issue_at": datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
        "supply_date": date(2026, 11, 20),
        "currency_code": "SAR",
        "buyer": {"inline": {"legal_name": "Buyer", "address": invoices.SimpleAddress(city_name="Riyadh")}},
        "lines": [line(), invoices.SimpleLine(description="Ready made")],
        "notes": ("one", "two"),
    }


def customer(currency: str = "SAR") -> CreateCustomerInputDict:
    return {
        "external_id": UUID(int=7),
        "name": "Buyer",
        "currency": currency,  # a list of codes: any str is taken
        "country": "SA",
        "customer_type": "COMPANY",
        "account_type": "CUSTOMER_ACCOUNT_TYPE_ENUM_CUSTOMER",
        "net_payment_term": 30,
        "metadata": [{"key": "tier", "value": "gold", "display_in_invoice": True}],
        "tax_codes": {"vat"},
    }


def event() -> UsageEventInputDict:
    return {"transaction_id": "t1", "code": "calls", "properties": {"n": 3}, "timestamp": "2026-11-21T09:30:00Z"}


def page() -> PaginationInfoDict:
    return {"limit": 50, "cursor": "next"}


def filtered() -> ListFilterDict:
    return {"part": {"and": {"operands": [{"frozen": True}, {"not": {"number_contains": "7"}}]}}}


def filtered_without_reserved_words() -> ListFilterDict:
    return {"part": {"not_": {"or_": {"operands": [{"payable_amount": {"from_inclusive": 5}}]}}}}


def branch() -> BranchDict:
    return {"name": "Main", "regulation_configs": {"zatca": {}}, "is_primary": True}


# --- the sync door ----------------------------------------------------------------------------------------------------


def unary(client: Invora) -> None:
    created = client.simple.invoices.create(key="K", changes=invoice(), freeze_immediately=False)
    assert_type(created, invoices.CreateResponse)
    created.details.number.upper()
    client.simple.invoices.create({"key": "K", "changes": {"lines": [line() for _ in range(2)]}})
    client.simple.invoices.create(invoices.CreateRequest(key="K"))
    client.simple.invoices.create(changes={"lines": (line() for _ in range(2))})
    client.simple.invoices.create(changes={"lines": [{"unit_price": price} for price in (1, "2", DecimalValue())]})
    client.simple.invoices.delete(keys=(key for key in ("a", "b")))
    client.simple.invoices.get(key="K", mask=["number", "lines"])
    client.simple.invoices.get(key="K", mask="number,lines")
    assert_type(client.billing.customers.create(input=customer()), customers.CreateResponse)
    client.billing.customers.create(input={"currency": CURRENCY_ENUM_SAR, "external_id": None})
    client.billing.events.create(event=event())
    client.billing.events.list()
    client.invoicing.branches.create(changes=branch())
    client.billing.subscriptions.get({"id": "1"}).subscription.id.upper()
    assert_type(client.simple.invoices.create.method, Method)
    assert_type(client.simple.invoices.service, Service)


def derived(client: Invora) -> None:
    client.for_org("other").simple.invoices.get(key="K")
    client.with_options(timeout=5).billing.customers.get(external_id="c1")


def lists(client: Invora) -> Iterator[str]:
    assert_type(client.simple.invoices.list(pagination=page(), filter=filtered()), invoices.ListResponse)
    for item in client.simple.invoices.list.items(filter={"text_search": "INV"}).limit(10):
        assert_type(item, invoices.SimpleInvoiceSummary)
        yield item.number
    for item in client.simple.invoices.list.items(filter=F.text("INV") & ~F.frozen(True) & (F.payable_amount >= 100)):
        yield item.number
    for answer in client.billing.subscriptions.list.pages({"pagination": {"limit": 5}}).prefetch():
        assert_type(answer, subscriptions.ListResponse)
    client.simple.invoices.list(sort={"rules": [{"issue_at": "DESCENDING"}, {"number": "SORT_DIRECTION_ASCENDING"}]})


def streams(client: Invora) -> None:
    with client.invoicing.documents.get_stream(key="K") as watched:
        assert_type(watched, Stream[documents.GetStreamResponse])
        for answer in watched:
            assert_type(answer, documents.GetStreamResponse)
    freeze: StreamFreezeRequestDict = {"key": "K"}
    many = client.invoicing.documents.stream_freeze([freeze, documents.StreamFreezeRequest(key="L")])
    assert_type(next(iter(many)), documents.StreamFreezeResponse)
    with client.invoicing.documents.stream_freeze() as talk:
        talk.send(key="K")
        talk.send({"key": "L"})
        talk.done()
        talk.cancel()


# --- the async door ---------------------------------------------------------------------------------------------------


async def unary_async(client: AsyncInvora) -> None:
    assert_type(await client.simple.invoices.create(key="K", changes=invoice()), invoices.CreateResponse)
    await client.billing.customers.create({"input": customer()})
    (await client.billing.subscriptions.get(id="1")).subscription.id.upper()
    await client.with_options(timeout=5, compression="gzip").billing.events.create(event=event())
    client.with_options(compression=Compression.Gzip).with_options(compression=None)


async def lists_async(client: AsyncInvora) -> AsyncIterator[str]:
    assert_type(await client.simple.invoices.list(pagination=page()), invoices.ListResponse)
    async for item in client.simple.invoices.list.items(filter=filtered()).limit(10):
        assert_type(item, invoices.SimpleInvoiceSummary)
        yield item.number
    async for answer in client.billing.subscriptions.list.pages():
        assert_type(answer, subscriptions.ListResponse)


async def keys() -> AsyncIterator[documents.StreamFreezeRequest]:
    yield documents.StreamFreezeRequest(key="K")


async def streams_async(client: AsyncInvora) -> None:
    async with client.invoicing.documents.get_stream(key="K") as watched:
        assert_type(watched, AsyncStream[documents.GetStreamResponse])
        async for answer in watched:
            assert_type(answer, documents.GetStreamResponse)
    client.invoicing.documents.stream_freeze([{"key": "K"}])
    async for frozen in client.invoicing.documents.stream_freeze(keys()):
        assert_type(frozen, documents.StreamFreezeResponse)
    async with client.invoicing.documents.stream_freeze() as talk:
        await talk.send(key="K")
        await talk.done()
