"""Calls that are wrong: type checkers find an error in every line that is marked with E, and in no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import invora_grpc
from invora_api.billing.common.v2.models_pb2 import CURRENCY_ENUM_SAR
from invora_api.billing.customers.v2 import service_pb2 as customers
from invora_api.simple.invoices.v1 import models_pb2 as invoices
from invora_grpc import AsyncInvora, Invora
from invora_grpc.filters import F

if TYPE_CHECKING:
    from invora_api.billing.customers.v2.service_dicts import CreateCustomerInputDict
    from invora_api.simple.invoices.v1.models_dicts import ChangeBaseDict, ListFilterPartDict, SimpleLineDict


def names(client: Invora) -> None:
    print(invora_grpc.OutcomeUnkown)  # E
    client.simpel.invoices.list()  # E
    client.simple.invoice.list()  # E
    client.simple.invoices.lst()  # E
    client.simple.invoices.create(change={})  # E
    client.simple.invoices.create({"change": {}})  # E
    client.simple.invoices.create(changes={"line": []})  # E
    client.simple.invoices.create(changes={"lines": [{"unit_prize": 1}]})  # E
    print(client.simple.invoices.create(key="K").details.numbr)  # E
    client.for_org("other").simple.invoices.get(id="K")  # E


def types(client: Invora) -> None:
    client.simple.invoices.create(key=7)  # E
    client.simple.invoices.create(freeze_immediately="yes")  # E
    client.simple.invoices.create(customers.CreateRequest())  # E
    client.simple.invoices.create(invoices.ChangeBase())  # E
    client.simple.invoices.create(changes=invoices.CreateRequest())  # E
    client.simple.invoices.create(changes={"lines": {"unit_price": 1}})  # E
    client.simple.invoices.create(changes={"lines": [{"unit_price": 20.5}]})  # E
    client.simple.invoices.create(changes={"issue_at": 1763717400})  # E
    client.simple.invoices.create(changes={"supply_date": 20261121})  # E
    client.simple.invoices.create(changes={"notes": "one"})  # E
    client.simple.invoices.delete(keys="a")  # E
    client.simple.invoices.get(key="K", mask=7)  # E
    client.billing.customers.create(input={"customer_type": "COMPANI"})  # E
    client.billing.customers.create(input={"customer_type": CURRENCY_ENUM_SAR})  # E
    client.billing.customers.create(input={"customer_type": 1})  # E
    client.billing.customers.create(input={"net_payment_term": "30"})  # E
    client.billing.events.create(event={"properties": [("n", 3)]})  # E
    client.invoicing.branches.create(changes={"regulation_configs": [{}]})  # E
    wrong: invoices.GetResponse = client.simple.invoices.create(key="K")  # E
    print(wrong)


def options(client: Invora, asynchronous: AsyncInvora) -> None:
    client.with_options(compression="zip")  # E
    asynchronous.with_options(compression="gz")  # E
    client.with_options(compression=1)  # E


def dicts() -> None:
    """A dict that says what it is has its errors where they are."""
    line: SimpleLineDict = {"unit_prize": "20.50"}  # E
    invoice: ChangeBaseDict = {"lines": [line], "currency": "SAR"}  # E
    customer: CreateCustomerInputDict = {"account_type": "CUSTMER"}  # E
    part: ListFilterPartDict = {"nor": {}}  # E
    print(invoice, customer, part)


def lists(client: Invora) -> None:
    client.simple.invoices.get.items(key="K")  # E
    client.simple.invoices.list.items(filtr={})  # E
    client.simple.invoices.list.items(filter="INV")  # E
    client.simple.invoices.list.items(filter={"text": "INV"})  # E
    client.simple.invoices.list.items(filter=F.frozen)  # E
    client.simple.invoices.get(key=F.key("K"))  # E
    client.simple.invoices.list(pagination={"limit": "50"})  # E
    client.simple.invoices.list(sort={"rules": [{"issue_at": "DOWN"}]})  # E
    client.simple.invoices.list.pages(page={"limit": 5})  # E
    for item in client.simple.invoices.list.items():
        print(item.numbr)  # E
    for answer in client.simple.invoices.list.pages():
        print(answer.number)  # E


def streams(client: Invora) -> None:
    for answer in client.invoicing.documents.get_stream(key="K"):
        print(answer.nothing)  # E
    client.invoicing.documents.get_stream(kee="K")  # E
    client.invoicing.documents.stream_freeze({"key": "K"})  # E
    client.invoicing.documents.stream_freeze([{"kee": "K"}])  # E
    client.invoicing.documents.stream_freeze().send(kee="K")  # E
    client.invoicing.documents.stream_freeze().send({"key": 7})  # E


async def awaits(client: AsyncInvora) -> None:
    client.simple.invoices.create(key="K")  # E
    print(client.simple.invoices.create(key="K").details)  # E
    await client.simple.invoices.list.items()  # E
    await client.invoicing.documents.get_stream(key="K")  # E
    client.invoicing.documents.stream_freeze().send(key="K")  # E
    for item in client.simple.invoices.list.items():  # E
        print(item)
    for answer in client.invoicing.documents.get_stream(key="K"):  # E
        print(answer)


async def asynchronous(client: AsyncInvora) -> None:
    await client.simple.invoices.create(change={})  # E
    await client.simple.invoices.create(changes={"lines": [{"unit_price": 20.5}]})  # E
    await client.billing.customers.create(input={"net_payment_term": "30"})  # E
    await client.simple.invoices.lst()  # E
    print((await client.simple.invoices.create(key="K")).details.numbr)  # E
    client.simple.invoices.list.items(filtr={})  # E
    async for item in client.simple.invoices.list.items():
        print(item.numbr)  # E
    async for answer in client.invoicing.documents.get_stream(key="K"):
        print(answer.nothing)  # E
    await client.invoicing.documents.stream_freeze().send(kee="K")  # E


async def doors(client: AsyncInvora, sync: Invora) -> None:
    await sync.simple.invoices.get(key="K")  # E
    client.for_org("other").simple.invoices.get(key="K")  # E
    async for item in sync.simple.invoices.list.items():  # E
        print(item)
