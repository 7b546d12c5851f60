"""What a client does about a gateway whose schema is another, case by case, with both clients.

The whole family of cases is `test_drift`'s. Here a reader finds what an operator meets: amounts that change places, a
redeployment under a running client, descriptors on disk, a gateway without reflection.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from door import AsyncDoor, Door
from drifted_server import Running, drifted_gateway
from drifted_shop import PACKAGE, echo, invoices, renamed_service, renumbered_status, shop, swapped, with_new, without
from fault_proxy import REPLY_LOST, running_proxy
from gateway import Gateway
from grpc import ChannelConnectivity

from invora_grpc import AsyncInvora, Invora, InvoraError, RpcError, SchemaDriftError, UnconfirmedSchema
from invora_grpc.schema.policy import MAX_AGE

BOUGHT = {"number": "I-1", "amount": 700, "balance": 20}
POLICIES = ("verify", "adapt")


@pytest.fixture(autouse=True)
def _no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INVORA_CACHE_DIR", raising=False)


@pytest.fixture
def running() -> Iterator[Running]:
    """A gateway of the shop that answers with what it was sent."""
    with drifted_gateway(shop()) as found:
        found.gateway.answer = echo
        yield found


def a_client(door: Door, running: Any, schema: str | None = None, **options: Any) -> Any:
    return door.open(endpoint=running.url, token="token", schema=schema, timeout=20.0, **options)


def age(client: Any, seconds: float) -> None:
    """Let time pass for a client."""
    client._connection.clock = lambda: time.monotonic() + seconds


def await_cut(door: Door, client: Any) -> None:
    """Wait until a client's channel has noticed that its connection is gone."""
    until = time.monotonic() + 10
    while _is_ready(client._connection):
        assert time.monotonic() < until
        door.call(asyncio.sleep if isinstance(door, AsyncDoor) else time.sleep, 0.001)


def _is_ready(connection: Any) -> bool:
    """Whether a channel of either kind has a connection, by what it says itself."""
    channel = connection._channel
    if hasattr(channel, "get_state"):
        return channel.get_state() is ChannelConnectivity.READY
    return int(channel._channel.check_connectivity_state(False)) == ChannelConnectivity.READY.value[0]


def refused(door: Door, rpc: Any, **fields: Any) -> SchemaDriftError:
    with pytest.raises(SchemaDriftError) as caught:
        door.call(rpc, **fields)
    assert "\n" not in str(caught.value)
    return caught.value


# --- what differs ----------------------------------------------------------------------------------------------------


def test_amount_and_balance_that_changed_places_are_not_sent_to_each_other(door: Door, running: Running) -> None:
    running.deploy(swapped())
    error = refused(door, invoices(a_client(door, running, "verify")).create, invoice=BOUGHT)
    assert error.verdict == "adaptable"
    assert "amount" in str(error) and "balance" in str(error) and "schema='adapt'" in error.hint
    assert running.heard == []

    answer = door.call(invoices(a_client(door, running, "adapt")).create, invoice=BOUGHT)
    assert running.heard[0].requests[0]["invoice"] == {**BOUGHT, "status": ("enum", "STATUS_UNKNOWN")}
    assert (answer.invoice.amount, answer.invoice.balance) == (700, 20)


def test_a_client_that_trusts_pays_the_balance_for_the_amount_and_asks_nobody(door: Door, running: Running) -> None:
    running.deploy(swapped())
    answer = door.call(invoices(a_client(door, running)).create, invoice=BOUGHT)  # on loopback, trust is the default
    heard = running.heard[0].requests[0]["invoice"]
    assert (heard["amount"], heard["balance"]) == (20, 700)
    assert (answer.invoice.amount, answer.invoice.balance) == (700, 20)  # and nobody sees it
    assert running.rounds == 0


def test_an_enum_value_that_moved_keeps_its_name(door: Door, running: Running) -> None:
    running.deploy(renumbered_status())
    running.gateway.answer = None
    assert "STATUS_PAID" in str(refused(door, invoices(a_client(door, running, "verify")).create, invoice=BOUGHT))
    rpc = invoices(a_client(door, running, "adapt")).create
    door.call(rpc, invoice={"status": "STATUS_PAID"})
    assert running.heard[0].requests[0]["invoice"]["status"] == ("enum", "STATUS_PAID")


def test_a_field_that_is_gone_refuses_only_the_calls_that_set_it(door: Door, running: Running) -> None:
    running.deploy(without("note"))
    rpc = invoices(a_client(door, running, "adapt")).create
    error = refused(door, rpc, invoice={**BOUGHT, "note": "for Alice"})
    assert "request.invoice.note" in str(error)
    assert "Alice" not in repr(error) and running.heard == []
    assert door.call(rpc, invoice=BOUGHT).invoice.amount == 700
    assert refused(door, rpc, invoice={"note": ""})  # set, though to nothing


def test_a_renamed_service_is_found_and_said_once(
    door: Door, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.deploy(renamed_service())
    caplog.set_level(logging.INFO, "invora_grpc.schema")
    client = a_client(door, running, "adapt")
    for _ in range(3):
        assert door.call(invoices(client).create, invoice=BOUGHT).invoice.amount == 700
    said = [one.getMessage() for one in caplog.records if one.name == "invora_grpc.schema"]
    assert len(said) == 1 and "InvoicesService" in said[0] and "\n" not in said[0]
    assert refused(door, invoices(a_client(door, running, "verify")).create).verdict == "adaptable"


@pytest.mark.parametrize("schema", POLICIES)
def test_what_the_gateway_has_more_changes_nothing_and_comes_back_to_it(
    door: Door, running: Running, schema: str
) -> None:
    running.deploy(with_new("discount", 9))
    running.gateway.answer = lambda side, call, heard: (
        echo(side, call, heard) if heard.requests[0] else _discounted(side.message(call.response))
    )
    rpc = invoices(a_client(door, running, schema)).create
    read = door.call(rpc)
    assert read.invoice.amount == 5
    read.invoice.amount = 6
    door.call(rpc, invoice=read.invoice)
    assert running.heard[1].requests[0]["invoice"].items() >= {"amount": 6, "discount": 44}.items()


def _discounted(message: Any) -> Any:
    message.invoice.amount, message.invoice.discount = 5, 44
    return message


def test_a_new_field_under_a_number_of_ours_is_kept_apart_and_comes_back_to_it(door: Door, running: Running) -> None:
    """Balance has gone, and discount has its number."""
    world = without("balance")
    world.records["Invoice"].fields["discount"] = with_new("discount", 3).records["Invoice"].fields["discount"]
    running.deploy(world)
    running.gateway.answer = lambda side, call, heard: _discounted(side.message(call.response))
    rpc = invoices(a_client(door, running, "adapt")).create
    read = door.call(rpc)
    assert (read.invoice.amount, read.invoice.balance) == (5, 0)
    door.call(rpc, invoice=read.invoice)
    assert running.heard[1].requests[0]["invoice"]["discount"] == 44
    assert refused(door, rpc, invoice=BOUGHT)  # there is no balance any more


# --- streams and lists -----------------------------------------------------------------------------------------------


def test_streams_of_every_kind_are_converted_message_by_message(door: Door, running: Running) -> None:
    running.deploy(swapped())
    area = invoices(a_client(door, running, "adapt"))
    requests = [{"invoice": {**BOUGHT, "amount": number}} for number in (1, 2, 3)]
    for one in door.every(area.watch(requests[0])):
        assert (one.invoice.amount, one.invoice.balance) == (1, 20)
    gathered = door.call(area.gather, requests)
    assert (gathered.invoice.amount, gathered.invoice.balance) == (3, 20)
    for answers in (door.every(area.sync(requests)), door.converse(area.sync(), *requests)):
        assert [(one.invoice.amount, one.invoice.balance) for one in answers] == [(1, 20), (2, 20), (3, 20)]
    assert all(one["invoice"]["balance"] == 20 for heard in running.heard for one in heard.requests)


def test_streams_are_refused_before_anything_is_sent(door: Door, running: Running) -> None:
    running.deploy(swapped())
    area = invoices(a_client(door, running, "verify"))
    requests = [{"invoice": BOUGHT}]
    for attempt in (
        lambda: door.every(area.watch(requests[0])),
        lambda: door.call(area.gather, requests),
        lambda: door.every(area.sync(requests)),
        lambda: door.converse(area.sync(), *requests),
    ):
        with pytest.raises(SchemaDriftError):
            attempt()
    assert running.heard == []


def test_a_list_is_read_page_by_page_through_the_conversion(door: Door, running: Running) -> None:
    running.deploy(swapped())
    area = invoices(a_client(door, running, "adapt"))
    found = door.every(area.list.items())
    assert [(one.amount, one.balance) for one in found] == [(1, 10), (2, 20), (3, 30)]
    assert [one.requests[0].get("pagination", {}).get("cursor") for one in running.heard] == [None, "more"]


# --- gateways without reflection -------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", POLICIES)
def test_without_reflection_published_rpcs_go_on_and_documented_ones_are_refused(
    door: Door, gateway: Gateway, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "invora_grpc.schema")
    client = a_client(door, gateway, schema)
    for _ in range(3):
        door.call(client.billing.customers.get, id="K")
        with pytest.raises(UnconfirmedSchema, match="nothing was sent"):
            door.call(client.billing.account.get_my_subscription)
    assert {one.path for one in gateway.received} == {"/invora.billing.customers.v2.CustomerService/Get"}
    said = [one.getMessage() for one in caplog.records if one.name == "invora_grpc.schema"]
    assert len(said) == 1 and "no server reflection" in said[0]


# --- asking ----------------------------------------------------------------------------------------------------------


def test_the_gateway_is_asked_once_per_service_with_token_and_organization(door: Door, running: Running) -> None:
    client = a_client(door, running, "verify").for_org("org-7")
    for _ in range(5):
        door.call(invoices(client).create, invoice=BOUGHT)
        door.call(invoices(client).get, invoice=BOUGHT)
        door.every(invoices(client).watch(invoice=BOUGHT))
    assert running.rounds == 1
    metadata = running.reflecting.streams[0][1]
    assert metadata["authorization"] == "Bearer token"
    assert metadata["x-target-org-id"] == "org-7"


@pytest.mark.parametrize("schema", POLICIES)
def test_an_undrifted_service_costs_nothing_per_call(door: Door, running: Running, schema: str) -> None:
    client = a_client(door, running, schema)
    door.call(invoices(client).create, invoice=BOUGHT)
    (link,) = client._connection.links.values()
    assert link.encode is None  # requests go as they are


@pytest.mark.parametrize("schema", POLICIES)
def test_fifty_first_calls_at_once_ask_once(running: Running, schema: str) -> None:
    with (
        Invora(endpoint=running.url, token="token", schema=schema) as client,
        ThreadPoolExecutor(50) as pool,
    ):
        ready = threading.Barrier(50)

        def call(number: int) -> int:
            ready.wait(30)
            return int(invoices(client).create(invoice={"amount": number}).invoice.amount)

        assert list(pool.map(call, range(50))) == list(range(50))
    assert running.rounds == 1


@pytest.mark.parametrize("schema", POLICIES)
def test_fifty_first_tasks_at_once_ask_once(running: Running, schema: str) -> None:
    async def work() -> list[int]:
        async with AsyncInvora(endpoint=running.url, token="token", schema=schema) as client:
            area = invoices(client)
            found = await asyncio.gather(*(area.create(invoice={"amount": number}) for number in range(50)))
            return [one.invoice.amount for one in found]

    assert asyncio.run(work()) == list(range(50))
    assert running.rounds == 1


# --- redeployments ---------------------------------------------------------------------------------------------------


def test_a_service_that_moves_away_under_a_running_client_is_looked_for_once_and_the_call_goes_on(
    door: Door, running: Running
) -> None:
    client = a_client(door, running, "adapt")
    door.call(invoices(client).create, invoice=BOUGHT)
    running.gateway.forget(PACKAGE)
    running.deploy(renamed_service())
    age(client, 60)
    assert door.call(invoices(client).create, invoice=BOUGHT).invoice.amount == 700
    assert len(running.heard) == 2
    rounds = running.rounds
    assert door.call(invoices(client).create, invoice=BOUGHT).invoice.amount == 700
    assert running.rounds == rounds


@pytest.mark.parametrize("schema", POLICIES)
def test_an_rpc_that_is_gone_for_good_is_not_asked_for_over_and_over(door: Door, running: Running, schema: str) -> None:
    client = a_client(door, running, schema)
    door.call(invoices(client).create, invoice=BOUGHT)
    gone = shop()
    del gone.calls["Create"]
    running.gateway.forget(PACKAGE)
    running.deploy(gone)
    age(client, 60)
    for _ in range(4):
        with pytest.raises(SchemaDriftError, match="Create"):
            door.call(invoices(client).create, invoice=BOUGHT)
    assert running.rounds <= 3
    assert len(running.heard) == 1


def test_a_redeployment_that_changes_numbers_is_noticed_when_the_verdict_expires(door: Door, running: Running) -> None:
    client = a_client(door, running, "verify")
    door.call(invoices(client).create, invoice=BOUGHT)
    running.deploy(swapped())
    age(client, MAX_AGE + 1)
    refused(door, invoices(client).create, invoice=BOUGHT)
    assert len(running.heard) == 1
    adapting = a_client(door, running, "adapt")
    assert door.call(invoices(adapting).create, invoice=BOUGHT).invoice.amount == 700
    assert running.heard[1].requests[0]["invoice"]["amount"] == 700
    running.deploy(shop())
    age(adapting, MAX_AGE + 1)
    assert door.call(invoices(adapting).create, invoice=BOUGHT).invoice.amount == 700
    assert running.heard[2].requests[0]["invoice"]["amount"] == 700


@pytest.mark.parametrize("schema", POLICIES)
def test_a_redeployment_between_two_calls_that_fails_none_is_noticed_by_its_new_connection(
    door: Door, running: Running, schema: str
) -> None:
    """As gateways are updated: the connection ends while nobody calls, and the next one leads to the new version."""
    with running_proxy(running.reflecting.address) as proxy:
        client = door.open(endpoint=proxy.url, token="token", schema=schema, timeout=20.0)
        rpc = invoices(client).create
        door.call(rpc, invoice=BOUGHT)
        running.deploy(swapped())
        proxy.cut()
        age(client, 60)
        await_cut(door, client)
        if schema == "verify":
            refused(door, rpc, invoice=BOUGHT)
        else:
            assert door.call(rpc, invoice=BOUGHT).invoice.amount == 700
    assert all(heard.requests[0]["invoice"]["amount"] == 700 for heard in running.heard)


@pytest.mark.parametrize("schema", POLICIES)
def test_a_call_that_waited_while_another_reconnected_is_verified_anew(
    door: Door, running: Running, schema: str
) -> None:
    """Its try is lost with the connection; before the next one, another call has led to the new version."""
    with running_proxy(running.reflecting.address) as proxy:
        client = door.open(endpoint=proxy.url, token="token", schema=schema, timeout=20.0)
        area = invoices(client)
        door.call(area.get, invoice=BOUGHT)

        connection = client._connection

        def sleep(seconds: float) -> None:
            running.deploy(swapped())
            while _is_ready(connection):
                time.sleep(0.001)
            with suppress(InvoraError):
                area.create(invoice={})

        async def asleep(seconds: float) -> None:
            running.deploy(swapped())
            while _is_ready(connection):
                await asyncio.sleep(0.001)
            with suppress(InvoraError):
                await area.create(invoice={})

        connection.sleep = asleep if isinstance(door, AsyncDoor) else sleep
        age(client, 60)
        proxy.script(REPLY_LOST)
        with suppress(SchemaDriftError):
            assert door.call(area.get, invoice=BOUGHT).invoice.amount == 700
    reads = [heard.requests[0]["invoice"] for heard in running.heard if heard.identity == "Get"]
    assert [one["amount"] for one in reads] == [700] * len(reads)


@pytest.mark.parametrize("schema", POLICIES)
def test_an_answer_that_cannot_be_read_is_an_error(door: Door, running: Running, schema: str) -> None:
    running.deploy(swapped())
    running.gateway.raw = b"\xff\xff\xff"
    rpc = invoices(a_client(door, running, schema)).create
    with pytest.raises(SchemaDriftError if schema == "verify" else RpcError):
        door.call(rpc, invoice=BOUGHT)


# --- descriptors on disk ---------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from drifted_shop import invoices
from invora_grpc import Invora, SchemaDriftError
with Invora(endpoint=sys.argv[1], token="token", schema="verify") as client:
    try:
        print(invoices(client).create(invoice={"amount": 700}).invoice.amount)
    except SchemaDriftError:
        print("refused")
"""


def in_another_process(running: Running, folder: Path) -> str:
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "INVORA_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", SCRIPT, running.url]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def test_a_second_process_starts_from_the_disk(running: Running, tmp_path: Path) -> None:
    assert in_another_process(running, tmp_path) == "700"
    assert running.rounds == 1
    assert in_another_process(running, tmp_path) == "700"
    assert running.rounds == 1


def test_a_drifted_gateway_is_refused_from_the_disk_too(running: Running, tmp_path: Path) -> None:
    running.deploy(swapped())
    assert in_another_process(running, tmp_path) == in_another_process(running, tmp_path) == "refused"
    assert running.heard == []


@pytest.mark.parametrize(
    "harm", [lambda data: b"", lambda data: data[:-20], lambda data: data.replace(b"amount", b"amounx")]
)
def test_a_damaged_entry_on_disk_is_fetched_again(running: Running, tmp_path: Path, harm: Any) -> None:
    assert in_another_process(running, tmp_path) == "700"
    entries = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert entries
    for file in entries:
        file.write_bytes(harm(file.read_bytes()))
    assert in_another_process(running, tmp_path) == "700"
    assert running.rounds == 2
