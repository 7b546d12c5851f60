"""Streams, lists, and how calls and clients end: each behaviour shown for both clients."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from door import AsyncDoor, Door
from gateway import Gateway, abort, empty, in_turn

from invora_api.documents.v2 import service_pb2 as documents
from invora_grpc import (
    AsyncInvora,
    ClosedError,
    ConfigError,
    DeadlineExceeded,
    Invora,
    OutcomeUnknown,
    RequestError,
    Retry,
    Unavailable,
)

TOKEN = "s3cr3t-t0k3n"
CUSTOMERS = "/invora.billing.customers.v2.CustomerService/"
INVOICES = "/invora.simple.invoices.v1.SimpleInvoiceService/"
LIST_STREAM = "/invora.documents.v2.DocumentsService/ListStream"
STREAM_CREATE = "/invora.documents.v2.DocumentsService/StreamCreate"
QUICK = Retry(initial=0.001, budget=False)


@pytest.fixture
def client(door: Door, gateway: Gateway) -> Any:
    return door.open(endpoint=gateway.url, token=TOKEN).with_options(retry=QUICK)


# --- streams ------------------------------------------------------------------------------------------------------


def test_a_server_stream_is_iterated(door: Door, client: Any, gateway: Gateway) -> None:
    answers = [documents.ListStreamResponse(), documents.ListStreamResponse()]
    gateway.answers[LIST_STREAM] = lambda *_: iter(answers)
    assert door.every(client.invoicing.documents.list_stream()) == answers


def test_a_stream_of_requests_is_taken_from_an_iterable(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[STREAM_CREATE] = lambda requests, _: (documents.StreamCreateResponse() for _ in requests)
    given = ({"item": {"key": str(number)}} for number in range(5))
    assert len(door.every(client.invoicing.documents.stream_create(given))) == 5
    assert [request.item.key for request in gateway.received[0].request] == ["0", "1", "2", "3", "4"]


def test_requests_can_be_sent_one_by_one(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.streams[STREAM_CREATE] = lambda requests, _: (
        documents.StreamCreateResponse(result={"success_key": request.item.key}) for request in requests
    )
    answers = door.converse(client.invoicing.documents.stream_create(), {"item": {"key": "a"}}, {"item": {"key": "b"}})
    assert [answer.result.success_key for answer in answers] == ["a", "b"]


def test_a_stream_that_is_left_early_is_cancelled_on_the_server(door: Door, client: Any, gateway: Gateway) -> None:
    ended = threading.Event()

    def endless(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(ended.set)
        while context.is_active():
            yield documents.ListStreamResponse()

    gateway.answers[LIST_STREAM] = endless
    door.first(client.invoicing.documents.list_stream())
    assert ended.wait(10)


def test_a_slow_reader_holds_the_server_back(door: Door, client: Any, gateway: Gateway) -> None:
    big = documents.ListStreamResponse(initial={"next_page_cursor": "x" * 100_000})
    sent = []

    def flood(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for number in range(1000):
            sent.append(number)
            yield big

    gateway.answers[LIST_STREAM] = flood
    door.first(client.invoicing.documents.list_stream())
    assert len(sent) < 500


def test_a_silent_stream_ends_with_a_deadline_error(door: Door, client: Any, gateway: Gateway) -> None:
    released = threading.Event()

    def silent(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield documents.ListStreamResponse()
        released.wait(20)

    gateway.answers[LIST_STREAM] = silent
    try:
        with pytest.raises(DeadlineExceeded, match="stream_idle_timeout"):
            door.every(client.with_options(stream_idle_timeout=0.2).invoicing.documents.list_stream())
    finally:
        released.set()


def test_a_reader_that_takes_its_time_is_no_silent_server(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[LIST_STREAM] = lambda *_: iter([documents.ListStreamResponse()] * 3)
    stream = client.with_options(stream_idle_timeout=0.2).invoicing.documents.list_stream()
    taken = [door.call(stream.__anext__ if isinstance(door, AsyncDoor) else stream.__next__)]
    time.sleep(0.5)
    assert len(taken + door.every(stream)) == 3


def test_a_read_stream_that_brought_nothing_is_opened_again(door: Door, client: Any, gateway: Gateway) -> None:
    down = abort(grpc.StatusCode.UNAVAILABLE, "reset")
    gateway.answers[LIST_STREAM] = in_turn(down, iter([documents.ListStreamResponse()]))
    assert len(door.every(client.invoicing.documents.list_stream())) == 1
    assert len(gateway.received) == 2


def test_a_stream_that_breaks_under_way_says_so_and_is_not_opened_again(
    door: Door, client: Any, gateway: Gateway
) -> None:
    def breaking(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield documents.ListStreamResponse()
        context.abort(grpc.StatusCode.UNAVAILABLE, "reset")

    gateway.answers[LIST_STREAM] = breaking
    with pytest.raises(Unavailable):
        door.every(client.invoicing.documents.list_stream())
    assert len(gateway.received) == 1


def test_a_stream_of_writes_that_breaks_is_of_unknown_outcome(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[STREAM_CREATE] = abort(grpc.StatusCode.UNAVAILABLE, "reset")
    with pytest.raises(OutcomeUnknown):
        door.every(client.invoicing.documents.stream_create([{}]))


def test_a_bad_request_in_a_stream_is_named(door: Door, client: Any) -> None:
    with pytest.raises(RequestError, match=r"^nope: 1; no such field"):
        door.every(client.invoicing.documents.stream_create([{}, {"nope": 1}]))


def test_the_callers_own_exception_in_a_stream_of_requests_comes_through(door: Door, client: Any) -> None:
    def requests() -> Iterator[dict[str, Any]]:
        yield {}
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        door.every(client.invoicing.documents.stream_create(requests()))


# --- lists --------------------------------------------------------------------------------------------------------


def test_items_go_through_all_pages_in_the_organization_that_they_were_asked_in(
    door: Door, client: Any, gateway: Gateway
) -> None:
    def page(request: Any, _: Any) -> Any:
        answer = empty("simple.invoices.list")
        number = int(request.pagination.cursor or 0)
        answer.items.add(number=str(number))
        if number < 3:
            answer.next_page_cursor = str(number + 1)
        return answer

    gateway.answers[INVOICES + "List"] = page
    items = client.for_org("tnt_1").simple.invoices.list.items()
    assert [item.number for item in door.every(items)] == ["0", "1", "2", "3"]
    assert {call.metadata["x-target-org-id"] for call in gateway.received} == {"tnt_1"}


def test_an_rpc_that_is_no_list_has_no_items(client: Any) -> None:
    with pytest.raises(RequestError, match="is no list with pages"):
        client.simple.invoices.get.items(key="K")


# --- ends ---------------------------------------------------------------------------------------------------------


def test_a_closed_client_says_so(door: Door, client: Any, gateway: Gateway) -> None:
    door.call(client.billing.customers.list)
    door.end(client)
    for closed in (client, client.for_org("tnt_1")):
        with pytest.raises(ClosedError, match="make a new one"):
            door.call(closed.billing.customers.list)


def test_closing_can_wait_for_calls_that_are_under_way(gateway: Gateway) -> None:
    entered, released = threading.Event(), threading.Event()

    def slow(*_: Any) -> Any:
        entered.set()
        released.wait(10)
        return empty("billing.customers.list")

    gateway.answers[CUSTOMERS + "List"] = slow
    client, outcome = Invora(endpoint=gateway.url, token=TOKEN), []
    thread = threading.Thread(target=lambda: outcome.append(client.billing.customers.list()))
    thread.start()
    entered.wait(10)
    closing = threading.Thread(target=client.close, kwargs={"grace": 10})
    closing.start()
    released.set()
    closing.join(10)
    thread.join(10)
    assert len(outcome) == 1


def test_a_client_of_one_event_loop_says_so_in_another(gateway: Gateway) -> None:
    one, other = AsyncDoor(), AsyncDoor()
    client = one.open(endpoint=gateway.url, token=TOKEN)
    one.call(client.billing.customers.list)
    with pytest.raises(ConfigError, match="one client per event loop"):
        other.call(client.billing.customers.list)
    one.loop.close()
    other.call(client.billing.customers.list)
    other.end(client)
    other.loop.close()


def test_a_cancelled_task_cancels_its_call(gateway: Gateway) -> None:
    import asyncio

    entered, ended = threading.Event(), threading.Event()

    def slow(_: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(ended.set)
        entered.set()
        ended.wait(10)
        return empty("billing.customers.list")

    gateway.answers[CUSTOMERS + "List"] = slow

    async def work() -> None:
        async with AsyncInvora(endpoint=gateway.url, token=TOKEN) as client:
            task = asyncio.ensure_future(client.billing.customers.list())
            await asyncio.to_thread(entered.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(work())
    assert ended.wait(10)
