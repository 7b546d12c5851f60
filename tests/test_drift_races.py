"""What could let a call go to a gateway by the schema of another one: tenants with other rights, reconnections, forks.

The gateways are real ones, and what has arrived there tells whether a call was misled.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import pytest
from door import AsyncDoor, Door
from drifted_server import DriftedGateway, Running, drifted_gateway
from drifted_shop import PACKAGE, echo, invoices, renamed_service, shop, swapped
from fault_proxy import REPLY_LOST, running_proxy
from reflected import unused_port
from reflection_server import Answers, scripted

from invora_grpc import Invora, RpcError, SchemaDriftError
from invora_grpc.connection import READY
from invora_grpc.schema.cache import SchemaCache

BOUGHT = {"number": "I-1", "amount": 700, "balance": 20}
DENIED = "org-denied"


@pytest.fixture(autouse=True)
def _no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INVORA_CACHE_DIR", raising=False)


@contextmanager
def guarded(world: Any, gate: threading.Event | None = None) -> Iterator[Any]:
    """A gateway that denies one organization reflection, and answers the others when `gate` opens."""
    gateway, found = DriftedGateway(), Running.__new__(Running)
    gateway.answer = echo
    entered = threading.Event()

    def script(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        if any(value == DENIED for _, value in context.invocation_metadata()):
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you")
        for request in requests:
            entered.set()
            while gate is not None and context.is_active() and not gate.wait(0.01):
                pass
            yield found.answers(request)

    with scripted({"v1": script}, handlers=[gateway], workers=16) as reflecting:
        found.gateway, found.reflecting, found.answers = gateway, reflecting, Answers([])
        found.deploy(world)
        yield found, entered


@contextmanager
def two_versions() -> Iterator[tuple[Running, Running, Any]]:
    """The old version and the new one, and a proxy that leads to the old one."""
    with drifted_gateway(shop()) as old, drifted_gateway(swapped()) as new:
        old.gateway.answer = new.gateway.answer = echo
        with running_proxy(old.reflecting.address) as proxy:
            yield old, new, proxy


def await_cut(door: Door, client: Any) -> None:
    until = time.monotonic() + 10
    while client._connection.connected():
        assert time.monotonic() < until
        door.call(asyncio.sleep if isinstance(door, AsyncDoor) else time.sleep, 0.001)


# --- tenants ---------------------------------------------------------------------------------------------------------


def test_a_tenant_that_may_not_ask_does_not_blind_those_that_may(door: Door) -> None:
    with guarded(swapped()) as (running, _):
        client = door.open(endpoint=running.url, token="token", schema="verify", timeout=20.0)
        with suppress(RpcError):
            door.call(client.for_org(DENIED).billing.customers.get, id="K")
        with pytest.raises(SchemaDriftError):
            door.call(invoices(client.for_org("org-allowed")).create, invoice=BOUGHT)
        assert running.heard == []


def test_what_one_tenant_was_told_holds_for_a_tenant_that_may_not_ask(door: Door) -> None:
    with guarded(swapped()) as (running, _):
        client = door.open(endpoint=running.url, token="token", schema="verify", timeout=20.0)
        allowed, denied = invoices(client.for_org("org-allowed")), invoices(client.for_org(DENIED))
        with pytest.raises(SchemaDriftError):
            door.call(allowed.create, invoice=BOUGHT)
        with suppress(RpcError):
            door.call(client.for_org(DENIED).billing.customers.get, id="K")
        for rpc in (allowed.create, allowed.get, denied.create, denied.get):
            with pytest.raises(SchemaDriftError):
                door.call(rpc, invoice=BOUGHT)
        assert running.heard == []


def test_a_tenant_that_may_not_ask_goes_on_unverified_and_is_not_asked_for_at_each_call(door: Door) -> None:
    with guarded(shop()) as (running, _):
        denied = invoices(door.open(endpoint=running.url, token="token", schema="verify").for_org(DENIED))
        assert door.call(denied.create, invoice=BOUGHT).invoice.amount == 700
        rounds = running.rounds  # two, if grpc.aio lost the status of the first one
        for _ in range(3):
            assert door.call(denied.create, invoice=BOUGHT).invoice.amount == 700
        assert 1 <= rounds <= 2
        assert running.rounds == rounds


def test_a_gateway_that_is_asked_too_often_is_asked_again_and_nothing_is_sent_meanwhile(door: Door) -> None:
    gateway, found, refusals = DriftedGateway(), Running.__new__(Running), [1, 1]
    gateway.answer = echo

    def script(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        if refusals:
            refusals.pop()
            next(requests)
            assert found.heard == []
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too often")
        for request in requests:
            yield found.answers(request)

    with scripted({"v1": script}, handlers=[gateway]) as reflecting:
        found.gateway, found.reflecting, found.answers = gateway, reflecting, Answers([])
        found.deploy(shop())
        client = door.open(endpoint=found.url, token="token", schema="verify", timeout=20.0)
        assert door.call(invoices(client).create, invoice=BOUGHT).invoice.amount == 700
    assert refusals == [] and len(found.heard) == 1


# --- connections -----------------------------------------------------------------------------------------------------


def test_asking_for_the_schema_by_hand_does_not_hide_a_new_connection(door: Door) -> None:
    with two_versions() as (_, new, proxy):
        client = door.open(endpoint=proxy.url, token="token", schema="verify", timeout=20.0)
        rpc = invoices(client).create
        door.call(rpc, invoice=BOUGHT)
        proxy.target = new.reflecting.address
        proxy.cut()
        await_cut(door, client)
        door.call(client.reflect)
        with pytest.raises(SchemaDriftError):
            door.call(rpc, invoice=BOUGHT)
        assert new.heard == []


def test_a_call_that_fails_as_its_connection_breaks_has_the_schema_asked_for_again(door: Door) -> None:
    with two_versions() as (old, _, proxy):
        client = door.open(endpoint=proxy.url, token="token", schema="verify")
        rpc = invoices(client).create
        door.call(rpc, invoice=BOUGHT)
        client._connection.state = lambda connect: READY
        rounds = old.rounds
        proxy.script(REPLY_LOST)
        with pytest.raises(RpcError):
            door.call(invoices(client.with_options(retry=False)).create, invoice=BOUGHT)
        door.call(rpc, invoice=BOUGHT)
        assert old.rounds > rounds


def test_a_connection_that_breaks_while_the_schema_is_asked_for_sends_nothing_by_it(door: Door) -> None:
    with two_versions() as (_, new, proxy):
        client = door.open(endpoint=proxy.url, token="token", schema="verify", timeout=20.0)
        connection = client._connection
        decide = connection.verified

        def slowly(method: Any) -> Any:
            connection.verified = decide
            proxy.target = new.reflecting.address
            proxy.cut()
            connection.broke()
            return decide(method)

        connection.verified = slowly
        with pytest.raises(SchemaDriftError):
            door.call(invoices(client).create, invoice=BOUGHT)
        assert new.heard == []


def test_a_gateway_that_offered_no_reflection_is_asked_again_over_a_new_connection(door: Door) -> None:
    with drifted_gateway(shop(), reflection=False) as old, drifted_gateway(swapped()) as new:
        old.gateway.answer = new.gateway.answer = echo
        with running_proxy(old.reflecting.address) as proxy:
            client = door.open(endpoint=proxy.url, token="token", schema="verify", timeout=20.0)
            rpc = invoices(client).create
            door.call(rpc, invoice=BOUGHT)
            proxy.target = new.reflecting.address
            proxy.cut()
            await_cut(door, client)
            with pytest.raises(SchemaDriftError):
                door.call(rpc, invoice=BOUGHT)
            assert new.heard == []


def test_waiting_for_a_connection_includes_the_question_for_the_schema(door: Door) -> None:
    url = f"http://127.0.0.1:{unused_port()}"
    client = door.open(endpoint=url, token="token", schema="verify", timeout=1.5)
    began = time.monotonic()
    with pytest.raises(RpcError) as caught:
        door.call(client.with_options(wait_for_ready=True, retry=False).billing.customers.get, id="K")
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "token" not in caught.value.hint
    assert time.monotonic() - began > 1


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_while_the_schema_is_asked_for_is_one_under_a_call() -> None:
    said = b""
    for _ in range(5):  # gRPC itself may crash in a child that is forked while its threads are at work
        if said := said_by_a_child_of_a_client_that_asks():
            break
    assert said == b"ClosedError"


def said_by_a_child_of_a_client_that_asks() -> bytes:
    """What comes of a call in a child that is forked meanwhile: the name of an exception; nothing if it crashed."""
    gate = threading.Event()
    with (
        guarded(shop(), gate) as (running, entered),
        Invora(endpoint=running.url, token="token", schema="verify") as client,
    ):
        asking = threading.Thread(target=lambda: invoices(client).create(invoice=BOUGHT))
        asking.start()
        assert entered.wait(10)
        assert client._connection.inflight
        mine, its = os.pipe()
        child = os.fork()
        if child == 0:
            said = "sent"
            try:
                invoices(client.with_options(timeout=3)).create(invoice=BOUGHT)
            except BaseException as error:
                said = type(error).__name__
            os.write(its, said.encode())
            os._exit(0)
        os.close(its)
        gate.set()
        asking.join(10)
        answered, _, _ = select.select([mine], [], [], 20)
        if not answered:
            os.kill(child, 9)
        os.waitpid(child, 0)
        assert answered
        with os.fdopen(mine, "rb") as heard:
            return heard.read(100)


def test_what_a_gateway_no_longer_has_is_no_longer_on_disk(
    door: Door, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVORA_CACHE_DIR", str(tmp_path))
    with drifted_gateway(shop()) as running:
        running.gateway.answer = echo
        service = f"{PACKAGE}.InvoiceService"
        first = door.open(endpoint=running.url, token="token", schema="verify")
        door.call(invoices(first).create, invoice=BOUGHT)
        assert SchemaCache().load(running.reflecting.address, service) is not None
        running.gateway.forget(PACKAGE)
        running.deploy(renamed_service())
        first._connection.clock = lambda: time.monotonic() + 1000
        with suppress(SchemaDriftError), monkeypatch.context() as later:
            really = time.time
            later.setattr(time, "time", lambda: really() + 1000)
            door.call(invoices(first).create, invoice=BOUGHT)
        assert SchemaCache().load(running.reflecting.address, service) is None
