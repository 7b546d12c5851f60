"""How streams begin and end: given up, closed, out of requests, left lying, used by two threads or tasks at once."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from door import AsyncDoor, Door
from gateway import Gateway, abort, in_turn

from invora_api.documents.v2 import service_pb2 as documents
from invora_grpc import (
    AsyncInvora,
    CallableToken,
    Cancelled,
    ClosedError,
    DeadlineExceeded,
    Invora,
    OutcomeUnknown,
    RequestError,
    Retry,
    Unavailable,
)

LIST_STREAM = "/invora.documents.v2.DocumentsService/ListStream"
STREAM_CREATE = "/invora.documents.v2.DocumentsService/StreamCreate"
QUICK = Retry(initial=0.001, budget=False)
LOST = abort(grpc.StatusCode.UNAVAILABLE, "reset")
ONE = documents.ListStreamResponse()
A, B, C = ({"item": {"key": key}} for key in "abc")


@pytest.fixture
def client(door: Door, gateway: Gateway) -> Any:
    return door.open(endpoint=gateway.url, token="t0k3n").with_options(retry=QUICK)


def echo(requests: Any, _: Any) -> Iterator[Any]:
    """An answer for each request, with its key."""
    for request in requests:
        yield documents.StreamCreateResponse(result={"success_key": request.item.key})


def keys(answers: list[Any]) -> list[str]:
    return [answer.result.success_key for answer in answers]


def silent_after(*messages: Any) -> Any:
    """An answer that stays open after these messages, until the call is given up."""

    def answer(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        over = threading.Event()
        context.add_callback(over.set)
        yield from messages
        over.wait(20)

    return answer


class Watching:
    """An observer that counts calls."""

    metadata = ()

    def __init__(self) -> None:
        self.begun = self.ended = 0

    def call(self, *_: Any) -> Watching:
        self.begun += 1
        return self

    def attempt(self, *_: Any) -> None:
        pass

    def end(self, error: BaseException | None) -> None:
        self.ended += 1


def in_the_pause(door: Door, client: Any, step: Any) -> None:
    """Have something done when a call pauses between two tries."""

    async def asleep(_: float) -> None:
        if (waiting := step()) is not None:
            await waiting

    client._connection.sleep = asleep if isinstance(door, AsyncDoor) else lambda _: step()


# --- given up -----------------------------------------------------------------------------------------------------


def test_a_stream_that_is_given_up_before_its_first_use_is_not_sent(door: Door, client: Any, gateway: Gateway) -> None:
    stream = client.invoicing.documents.list_stream()
    stream.cancel()
    assert (door.every(stream), gateway.received) == ([], [])


def test_a_stream_that_is_given_up_in_a_pause_is_not_sent_again(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[LIST_STREAM] = in_turn(LOST, lambda *_: iter([ONE]))
    stream = client.invoicing.documents.list_stream()
    in_the_pause(door, client, stream.cancel)
    assert door.every(stream) == []
    assert (len(gateway.received), len(client._connection.inflight)) == (1, 0)


def test_a_stream_whose_client_is_closed_in_a_pause_says_that(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[LIST_STREAM] = LOST
    in_the_pause(door, client, client.close)
    with pytest.raises(ClosedError, match="was closed"):
        door.every(client.invoicing.documents.list_stream())
    assert len(client._connection.inflight) == 0


def test_a_reader_whose_stream_somebody_else_gives_up_is_at_its_end(gateway: Gateway) -> None:
    gateway.answers[LIST_STREAM] = silent_after(ONE)

    async def work() -> list[Any]:
        async with AsyncInvora(endpoint=gateway.url, token="t0k3n") as client:
            stream = client.invoicing.documents.list_stream()
            first = await anext(stream)
            asyncio.get_running_loop().call_later(0.1, stream.cancel)
            return [first, *[item async for item in stream]]

    assert asyncio.run(work()) == [ONE]
    with Invora(endpoint=gateway.url, token="t0k3n") as client:
        stream = client.invoicing.documents.list_stream()
        first = next(stream)
        threading.Timer(0.1, stream.cancel).start()
        assert [first, *stream] == [ONE]


def test_a_reader_that_is_itself_cancelled_is_cancelled(gateway: Gateway) -> None:
    gateway.answers[LIST_STREAM] = silent_after(ONE)

    async def work() -> None:
        async with AsyncInvora(endpoint=gateway.url, token="t0k3n") as client:
            stream = client.invoicing.documents.list_stream()
            await anext(stream)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await anext(stream)
            assert [item async for item in stream] == []

    asyncio.run(work())


@pytest.mark.parametrize(("path", "error"), [(LIST_STREAM, Cancelled), (STREAM_CREATE, OutcomeUnknown)])
def test_a_stream_that_closing_cuts_off_says_what_that_means(
    door: Door, client: Any, gateway: Gateway, path: str, error: type[Exception]
) -> None:
    gateway.answers[path] = silent_after(ONE if path == LIST_STREAM else documents.StreamCreateResponse())
    rpcs = client.invoicing.documents
    stream = rpcs.list_stream() if path == LIST_STREAM else rpcs.stream_create([A])
    door.call(stream.__anext__ if isinstance(door, AsyncDoor) else stream.__next__)
    entered = threading.Event()
    entered.set()
    with pytest.raises(error):
        door.cut_off(client, entered, stream.__anext__ if isinstance(door, AsyncDoor) else stream.__next__)


@pytest.mark.parametrize("kind", [Invora, AsyncInvora])
def test_a_stream_that_is_left_lying_ends_on_the_server(gateway: Gateway, kind: type) -> None:
    ended, watching = threading.Event(), Watching()

    def endless(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(ended.set)
        while context.is_active():
            yield ONE

    gateway.answers[LIST_STREAM] = endless

    async def work() -> None:
        async with AsyncInvora(endpoint=gateway.url, token="t0k3n", observer=watching) as client:
            async for _ in client.invoicing.documents.list_stream():
                break
            gc.collect()
            assert await asyncio.to_thread(ended.wait, 10)
            assert (len(client._connection.inflight), watching.ended) == (0, 1)

    if kind is AsyncInvora:
        return asyncio.run(work())
    with Invora(endpoint=gateway.url, token="t0k3n", observer=watching) as client:
        for _ in client.invoicing.documents.list_stream():
            break
        gc.collect()
        assert ended.wait(10)
        assert (len(client._connection.inflight), watching.ended) == (0, 1)


# --- requests -----------------------------------------------------------------------------------------------------


def test_a_request_after_the_last_one_is_refused_and_loses_no_answer(gateway: Gateway, door: Door, client: Any) -> None:
    gateway.streams[STREAM_CREATE] = echo
    stream = client.invoicing.documents.stream_create()
    door.call(stream.send, A)
    door.call(stream.done)
    door.call(stream.done)
    with pytest.raises(RequestError, match=r"came after done\(\)"):
        door.call(stream.send, B)
    assert keys(door.every(stream)) == ["a"]


def test_one_may_send_while_another_reads_before_the_stream_is_open(gateway: Gateway) -> None:
    opened = []

    def counted(requests: Any, context: Any) -> Iterator[Any]:
        opened.append(context)
        return echo(requests, context)

    def token() -> str:
        time.sleep(0.2)
        return "t0k3n"

    async def atoken() -> str:
        await asyncio.sleep(0.2)
        return "t0k3n"

    async def work() -> list[str]:
        async with AsyncInvora(endpoint=gateway.url, tokens=CallableToken(atoken)) as client:
            stream = client.invoicing.documents.stream_create()
            reading = asyncio.ensure_future(gathered(stream))
            await asyncio.sleep(0)
            for request in (A, B, C):
                await stream.send(request)
            await stream.done()
            return keys(await reading)

    async def gathered(stream: Any) -> list[Any]:
        return [answer async for answer in stream]

    gateway.streams[STREAM_CREATE] = counted
    with Invora(endpoint=gateway.url, tokens=CallableToken(token)) as client:
        stream, answers = client.invoicing.documents.stream_create(), []
        reading = threading.Thread(target=lambda: answers.extend(stream))
        reading.start()
        for request in (A, B, C):
            stream.send(request)
        stream.done()
        reading.join(10)
        assert (keys(answers), len(opened)) == (["a", "b", "c"], 1)
    assert (asyncio.run(work()), len(opened)) == (["a", "b", "c"], 2)


def test_an_iterable_that_takes_its_time_is_no_silent_server(door: Door, client: Any, gateway: Gateway) -> None:
    def requests() -> Iterator[Any]:
        yield A
        time.sleep(0.7)
        yield B

    async def arequests() -> AsyncIterator[Any]:
        yield A
        await asyncio.sleep(0.7)
        yield B

    gateway.streams[STREAM_CREATE] = echo
    given = arequests() if isinstance(door, AsyncDoor) else requests()
    hasty = client.with_options(stream_idle_timeout=0.3)
    assert keys(door.every(hasty.invoicing.documents.stream_create(given))) == ["a", "b"]


def test_a_stream_of_writes_that_breaks_before_the_first_request_has_done_nothing(
    door: Door, client: Any, gateway: Gateway
) -> None:
    broken = threading.Event()

    def breaking(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(broken.set)
        context.abort(grpc.StatusCode.UNAVAILABLE, "reset")
        yield

    def requests() -> Iterator[Any]:
        broken.wait(10)
        time.sleep(0.2)
        yield A

    async def arequests() -> AsyncIterator[Any]:
        await asyncio.to_thread(broken.wait, 10)
        await asyncio.sleep(0.2)
        yield A

    gateway.streams[STREAM_CREATE] = breaking
    given = arequests() if isinstance(door, AsyncDoor) else requests()
    with pytest.raises(Unavailable):
        door.every(client.invoicing.documents.stream_create(given))


def test_sending_to_a_server_that_takes_nothing_ends_with_the_idle_timeout(
    door: Door, client: Any, gateway: Gateway
) -> None:
    gateway.streams[STREAM_CREATE] = silent_after()
    stream = client.with_options(stream_idle_timeout=0.3).invoicing.documents.stream_create()
    big = {"item": {"key": "x" * 200_000}}
    with pytest.raises(OutcomeUnknown) as caught:
        for _ in range(100):
            door.call(stream.send, big)
    assert isinstance(caught.value.__cause__, DeadlineExceeded)


def test_what_is_no_plain_exception_in_the_callers_iterable_ends_the_stream_too(
    door: Door, client: Any, gateway: Gateway
) -> None:
    gateway.streams[STREAM_CREATE] = echo

    def requests() -> Iterator[Any]:
        yield A
        raise SystemExit

    async def arequests() -> AsyncIterator[Any]:
        yield A
        raise asyncio.CancelledError

    given, kind = (arequests(), asyncio.CancelledError) if isinstance(door, AsyncDoor) else (requests(), SystemExit)
    started = time.monotonic()
    with pytest.raises(kind):
        door.every(client.with_options(stream_idle_timeout=5).invoicing.documents.stream_create(given))
    assert time.monotonic() - started < 4


# --- no token -----------------------------------------------------------------------------------------------------


def test_a_stream_without_a_token_ends_once_for_its_observer(door: Door, gateway: Gateway) -> None:
    def token() -> str:
        raise ZeroDivisionError

    watching = Watching()
    client = door.open(endpoint=gateway.url, tokens=CallableToken(token), observer=watching)
    stream = client.invoicing.documents.stream_create()
    with pytest.raises(ZeroDivisionError):
        door.call(stream.send, A)
    with pytest.raises(RequestError, match="after the end of the stream"):
        door.call(stream.send, A)
    with pytest.raises(ZeroDivisionError):
        door.every(client.invoicing.documents.list_stream())
    assert (watching.begun, watching.ended) == (2, 2)
    assert len(client._connection.inflight) == 0


def test_a_stream_that_is_left_while_it_is_opened_is_given_up(gateway: Gateway) -> None:
    asked, go_on, errors = threading.Event(), threading.Event(), []

    def token() -> str:
        asked.set()
        go_on.wait(10)
        return "t0k3n"

    with Invora(endpoint=gateway.url, tokens=CallableToken(token)) as client:
        stream = client.invoicing.documents.list_stream()
        reading = threading.Thread(target=lambda: errors.extend(stream))
        with stream:
            reading.start()
            asked.wait(10)
        go_on.set()
        reading.join(10)
        assert (errors, len(client._connection.inflight), reading.is_alive()) == ([], 0, False)
