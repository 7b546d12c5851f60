"""How calls end that neither worked nor failed by a status: closed, cancelled, out of time, without a token."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import grpc
import pytest
from door import AsyncDoor, Door
from gateway import Gateway, abort, empty, in_turn
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from invora_grpc import (
    AsyncInvora,
    CallableToken,
    Cancelled,
    ClosedError,
    DeadlineExceeded,
    Invora,
    NotFound,
    OutcomeUnknown,
    ResourceExhausted,
    Retry,
)
from invora_grpc.config import Secret
from invora_grpc.idempotency import Claim, Keys

CUSTOMERS = "/invora.billing.customers.v2.CustomerService/"
INVOICES = "/invora.simple.invoices.v1.SimpleInvoiceService/"
QUICK = Retry(initial=0.001, budget=False)
SAR = {"currency_code": "SAR"}
LOST = abort(grpc.StatusCode.UNAVAILABLE, "reset")
EXPIRED = abort(grpc.StatusCode.UNAUTHENTICATED, "expired")


class Silence:
    """An answer that does not come as long as the call is there."""

    def __init__(self) -> None:
        self.entered = threading.Event()

    def __call__(self, _: Any, context: grpc.ServicerContext) -> Any:
        over = threading.Event()
        context.add_callback(over.set)
        self.entered.set()
        over.wait(20)


class NoToken(Exception):
    """What a token function of the caller's own raises."""


def tokens(*given: str) -> CallableToken:
    """A source of these tokens, one per call, and of none after them."""
    left = iter(given)

    def next_token() -> str:
        for token in left:
            return token
        raise NoToken

    return CallableToken(next_token)


class SlowLedger:
    """A ledger that is not in memory, and takes its time. It notes how claims end."""

    def __init__(self) -> None:
        self.asked, self.go_on, self.given_back = threading.Event(), threading.Event(), threading.Event()
        self.ends: list[str] = []

    def claim(self, scope: str, plan_name: str, keys: Keys, fingerprint: bytes) -> Claim:
        self.asked.set()
        self.go_on.wait(10)
        return Claim(("K",), False, False)

    def done(self, claim: Claim) -> None:
        self.asked.set()
        self.go_on.wait(10)
        self.ends.append("done")

    def failed(self, claim: Claim) -> None:
        self.ends.append("failed")
        self.given_back.set()

    def unknown(self, claim: Claim) -> None:
        self.ends.append("unknown")


class Watching:
    """An observer that counts how often a call ends."""

    metadata = ()

    def __init__(self) -> None:
        self.ended = 0

    def call(self, *_: Any) -> Watching:
        return self

    def attempt(self, *_: Any) -> None:
        pass

    def end(self, error: BaseException | None) -> None:
        self.ended += 1


@pytest.fixture
def client(door: Door, gateway: Gateway) -> Any:
    return door.open(endpoint=gateway.url, token="t0k3n").with_options(retry=QUICK)


def found() -> Any:
    """The invoice that a look-up finds."""
    answer = empty("simple.invoices.get")
    answer.details.currency_code = "SAR"
    return answer


# --- closed -------------------------------------------------------------------------------------------------------


def test_a_keyed_create_that_closing_cuts_off_is_of_unknown_outcome(door: Door, client: Any, gateway: Gateway) -> None:
    silence = gateway.answers[INVOICES + "Create"] = Silence()
    with pytest.raises(OutcomeUnknown) as caught:
        door.cut_off(client, silence.entered, client.simple.invoices.create, key="K", changes=SAR)
    assert (caught.value.keys, caught.value.code) == (("K",), grpc.StatusCode.CANCELLED)


def test_a_write_that_closing_cuts_off_is_of_unknown_outcome(door: Door, client: Any, gateway: Gateway) -> None:
    silence = gateway.answers[CUSTOMERS + "Create"] = Silence()
    with pytest.raises(OutcomeUnknown):
        door.cut_off(client, silence.entered, client.billing.customers.create, input={"name": "Acme"})


def test_a_read_that_closing_cuts_off_is_cancelled(door: Door, client: Any, gateway: Gateway) -> None:
    silence = gateway.answers[CUSTOMERS + "List"] = Silence()
    with pytest.raises(Cancelled):
        door.cut_off(client, silence.entered, client.billing.customers.list)


def closing_in_the_pause(door: Door, client: Any) -> None:
    """Have the client closed when it pauses between two tries."""

    async def aclose(_: float) -> None:
        await client.close()

    client._connection.sleep = aclose if isinstance(door, AsyncDoor) else lambda _: client.close()


def test_a_create_in_doubt_whose_client_is_closed_in_the_pause_is_of_unknown_outcome(
    door: Door, client: Any, gateway: Gateway
) -> None:
    gateway.answers[INVOICES + "Create"] = LOST
    closing_in_the_pause(door, client)
    with pytest.raises(OutcomeUnknown):
        door.call(client.simple.invoices.create, key="K", changes=SAR)


def test_a_read_whose_client_is_closed_in_the_pause_says_that(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[CUSTOMERS + "List"] = LOST
    closing_in_the_pause(door, client)
    with pytest.raises(ClosedError, match="was closed"):
        door.call(client.billing.customers.list)


def test_a_task_that_is_cancelled_while_its_client_closes_is_cancelled(gateway: Gateway) -> None:
    silence = gateway.answers[CUSTOMERS + "List"] = Silence()

    async def work() -> None:
        client = AsyncInvora(endpoint=gateway.url, token="t0k3n")
        task = asyncio.ensure_future(client.billing.customers.list())
        await asyncio.to_thread(silence.entered.wait, 10)
        closing = asyncio.ensure_future(client.close(grace=10))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await closing

    asyncio.run(work())


def test_an_interrupt_while_the_client_closes_is_an_interrupt(gateway: Gateway) -> None:
    client = Invora(endpoint=gateway.url, token="t0k3n")
    client.billing.customers.list()
    connection = client._connection

    def interrupted(*_: Any) -> Any:
        connection.closed = True
        raise KeyboardInterrupt

    connection.links[CUSTOMERS + "List"] = replace(connection.links[CUSTOMERS + "List"], send=interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.billing.customers.list()
    client.close()


def test_closing_waits_for_no_call_that_is_over(gateway: Gateway) -> None:
    gateway.answers[CUSTOMERS + "Get"] = abort(grpc.StatusCode.NOT_FOUND, "no such customer")
    client = Invora(endpoint=gateway.url, token="t0k3n")
    client.billing.customers.list()
    with pytest.raises(NotFound):
        client.billing.customers.get()
    list(client.invoicing.documents.list_stream())
    started = time.monotonic()
    client.close(grace=10)
    assert time.monotonic() - started < 5


# --- no token -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [[LOST], [LOST, EXPIRED]], ids=["for the look-up", "for another try"])
def test_a_create_in_doubt_for_which_there_is_no_token_is_of_unknown_outcome(
    door: Door, gateway: Gateway, answers: list[Any]
) -> None:
    gateway.answers[INVOICES + "Create"] = in_turn(*answers)
    client = door.open(endpoint=gateway.url, tokens=tokens("one")).with_options(retry=QUICK)
    with pytest.raises(OutcomeUnknown) as caught:
        door.call(client.simple.invoices.create, key="K", changes=SAR)
    assert caught.value.keys == ("K",)


def test_a_create_that_was_refused_for_its_token_alone_leaves_its_key_free(door: Door, gateway: Gateway) -> None:
    gateway.answers[INVOICES + "Create"] = in_turn(EXPIRED, empty("simple.invoices.create"))
    client = door.open(endpoint=gateway.url, tokens=tokens("one")).with_options(retry=QUICK)
    with pytest.raises(NoToken):
        door.call(client.simple.invoices.create, key="K", changes=SAR)
    other = client.with_options(tokens=tokens("two"))
    door.call(other.simple.invoices.create, key="K", changes={"currency_code": "USD"})


class Renewable:
    """A source that has another token only for those who say which one was refused."""

    describe = "a source of the test's"

    def __init__(self) -> None:
        self._now = Secret("old")

    def peek(self) -> Secret | None:
        return self._now

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        if force and rejected == self._now:
            self._now = Secret("new")
        return self._now


def test_a_refused_token_is_what_the_source_is_asked_to_replace(door: Door, gateway: Gateway) -> None:
    gateway.answers[CUSTOMERS + "List"] = in_turn(EXPIRED, empty("billing.customers.list"))
    client = door.open(endpoint=gateway.url, tokens=Renewable())
    door.call(client.billing.customers.list)
    assert [call.metadata["authorization"] for call in gateway.received] == ["Bearer old", "Bearer new"]


def test_a_create_in_doubt_that_is_refused_when_it_is_repeated_stays_in_doubt(
    door: Door, client: Any, gateway: Gateway
) -> None:
    denied = abort(grpc.StatusCode.PERMISSION_DENIED, "role changed")
    gateway.answers[INVOICES + "Create"] = in_turn(LOST, denied)
    gateway.answers[INVOICES + "Get"] = abort(grpc.StatusCode.NOT_FOUND, "not yet")
    once = client.with_options(retry=False)
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED):
        with pytest.raises(OutcomeUnknown) as caught:
            door.call(once.simple.invoices.create, key="K", changes=SAR)
        assert caught.value.code is code


# --- out of time --------------------------------------------------------------------------------------------------


def slow(door: Door, seconds: float) -> CallableToken:
    """A token that takes so long."""

    async def later() -> str:
        await asyncio.sleep(seconds)
        return "late"

    def now() -> str:
        time.sleep(seconds)
        return "late"

    return CallableToken(later if isinstance(door, AsyncDoor) else now)


def taken_by(step: Callable[[], Any]) -> float:
    """Seconds until the step ends by its deadline."""
    started = time.monotonic()
    with pytest.raises((DeadlineExceeded, OutcomeUnknown)):
        step()
    return time.monotonic() - started


def test_the_wait_for_the_token_is_part_of_the_timeout(door: Door, gateway: Gateway) -> None:
    gateway.answers[CUSTOMERS + "List"] = Silence()
    client = door.open(endpoint=gateway.url, tokens=slow(door, 0.5), timeout=0.7)
    assert taken_by(lambda: door.call(client.billing.customers.list)) < 1.0


def test_a_call_whose_token_comes_too_late_is_not_sent(door: Door, gateway: Gateway) -> None:
    client = door.open(endpoint=gateway.url, tokens=slow(door, 0.3), timeout=0.1)
    with pytest.raises(DeadlineExceeded, match=r"not sent: within 0\.1 s there was no token from the token function"):
        door.call(client.simple.invoices.create, key="K", changes=SAR)
    assert gateway.received == []
    door.call(client.with_options(timeout=5).simple.invoices.create, key="K", changes={"currency_code": "USD"})


def test_a_task_does_not_wait_for_its_token_beyond_the_deadline(gateway: Gateway) -> None:
    async def work() -> None:
        async with AsyncInvora(endpoint=gateway.url, tokens=slow(AsyncDoor(), 60), timeout=0.1) as client:
            with pytest.raises(DeadlineExceeded, match="not sent"):
                await client.billing.customers.list()

    started = time.monotonic()
    asyncio.run(work())
    assert time.monotonic() - started < 5


def test_the_pause_that_a_server_asked_for_is_part_of_the_timeout(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[CUSTOMERS + "List"] = Silence()
    client._connection.pause(None, 0.5)
    assert taken_by(lambda: door.call(client.with_options(timeout=0.7).billing.customers.list)) < 1.0


def test_looking_up_a_create_in_doubt_ends_with_its_deadline(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[INVOICES + "Create"] = gateway.answers[INVOICES + "Get"] = LOST
    hasty = client.with_options(timeout=0.5, retry=Retry(tries=20, initial=0.1, budget=False))
    assert taken_by(lambda: door.call(hasty.simple.invoices.create, key="K", changes=SAR)) < 0.8


def test_a_look_up_that_is_not_answered_ends_with_the_deadline_of_the_create(
    door: Door, client: Any, gateway: Gateway
) -> None:
    def lost_after_a_while(request: Any, context: grpc.ServicerContext) -> Any:
        time.sleep(0.5)
        return LOST(request, context)

    gateway.answers[INVOICES + "Create"], gateway.answers[INVOICES + "Get"] = lost_after_a_while, Silence()
    hasty = client.with_options(timeout=0.7, retry=False)
    assert taken_by(lambda: door.call(hasty.simple.invoices.create, key="K", changes=SAR)) < 1.0


def test_a_throttled_write_keeps_its_tenant_back(door: Door, client: Any, gateway: Gateway) -> None:
    info = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=40))
    gateway.answers[CUSTOMERS + "Create"] = abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", info)
    for words in ("slow down", "not sent"):
        with pytest.raises(ResourceExhausted, match=words):
            door.call(client.billing.customers.create, input={})
    assert len(gateway.received) == 1


# --- tasks and loops ----------------------------------------------------------------------------------------------


def test_a_claim_that_is_made_for_a_cancelled_task_is_given_back(gateway: Gateway) -> None:
    ledger = SlowLedger()

    async def work() -> None:
        async with AsyncInvora(endpoint=gateway.url, token="t0k3n", journal=ledger) as client:
            task = asyncio.ensure_future(client.simple.invoices.create(key="K", changes=SAR))
            await asyncio.to_thread(ledger.asked.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            ledger.go_on.set()
            assert await asyncio.to_thread(ledger.given_back.wait, 10)

    asyncio.run(work())
    assert (ledger.ends, gateway.received) == (["failed"], [])


def test_observers_hear_of_the_end_though_the_task_is_cancelled_while_the_ledger_is_told(gateway: Gateway) -> None:
    ledger, watching = SlowLedger(), Watching()
    ledger.go_on.set()

    async def work() -> None:
        async with AsyncInvora(endpoint=gateway.url, token="t0k3n", journal=ledger, observer=watching) as client:

            def created(*_: Any) -> Any:
                ledger.asked.clear()
                ledger.go_on.clear()
                return empty("simple.invoices.create")

            gateway.answers[INVOICES + "Create"] = created
            task = asyncio.ensure_future(client.simple.invoices.create(key="K", changes=SAR))
            await asyncio.to_thread(lambda: (waited_until(lambda: bool(gateway.received)), ledger.asked.wait(10)))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            ledger.go_on.set()

    asyncio.run(work())
    assert (ledger.ends, watching.ended) == (["done"], 1)


def test_a_ledger_is_told_the_end_of_a_cancelled_call_that_has_to_wait_for_a_thread(
    gateway: Gateway,
) -> None:
    ledger, go_on = SlowLedger(), threading.Event()
    ledger.go_on.set()

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))

        def created(*_: Any) -> Any:
            loop.call_soon_threadsafe(loop.run_in_executor, None, go_on.wait, 10)
            return empty("simple.invoices.create")

        gateway.answers[INVOICES + "Create"] = created
        async with AsyncInvora(endpoint=gateway.url, token="t0k3n", journal=ledger) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await client.simple.invoices.create(key="K", changes=SAR)
            go_on.set()

    asyncio.run(work())
    assert ledger.ends == ["done"]


def test_a_create_that_is_cancelled_in_its_second_try_is_in_doubt(gateway: Gateway) -> None:
    ledger = SlowLedger()
    ledger.go_on.set()
    gateway.answers[INVOICES + "Create"] = in_turn(EXPIRED, Silence())

    async def work() -> None:
        async with AsyncInvora(endpoint=gateway.url, tokens=tokens("one", "two"), journal=ledger) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await client.simple.invoices.create(key="K", changes=SAR)

    asyncio.run(work())
    assert (len(gateway.received), ledger.ends) == (2, ["unknown"])


def waited_until(condition: Callable[[], bool]) -> None:
    """Until the condition holds, ten seconds at most."""
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.005)


def test_an_unknown_outcome_can_be_reconciled_in_another_event_loop(gateway: Gateway) -> None:
    one, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    gateway.answers[INVOICES + "Create"] = gateway.answers[INVOICES + "Get"] = LOST
    client = AsyncInvora(endpoint=gateway.url, token="t0k3n").with_options(retry=QUICK)

    async def create() -> None:
        await client.simple.invoices.create(key="K", changes=SAR)

    with pytest.raises(OutcomeUnknown) as caught:
        one.run_until_complete(create())
    one.close()
    gateway.answers[INVOICES + "Get"] = lambda *_: found()
    assert other.run_until_complete(caught.value.reconcile()).happened is True
    other.run_until_complete(client.close())
    other.close()


def test_a_key_is_free_again_once_reconciling_shows_that_nothing_came_of_it(
    door: Door, client: Any, gateway: Gateway
) -> None:
    ahead = [0.0]
    client._connection.clock = lambda: time.monotonic() + ahead[0]
    gateway.answers[INVOICES + "Create"] = in_turn(LOST, empty("simple.invoices.create"))
    gateway.answers[INVOICES + "Get"] = abort(grpc.StatusCode.NOT_FOUND, "no such invoice")
    with pytest.raises(OutcomeUnknown) as caught:
        door.call(client.with_options(retry=False).simple.invoices.create, key="K", changes=SAR)
    assert door.reconcile(caught.value).happened is None
    ahead[0] = 100.0
    assert door.reconcile(caught.value).happened is False
    door.call(client.simple.invoices.create, key="K", changes={"currency_code": "USD"})


def test_reconciling_has_a_deadline_of_its_own(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[INVOICES + "Create"] = gateway.answers[INVOICES + "Get"] = LOST
    hasty = client.with_options(timeout=0.3, retry=Retry(tries=2, initial=0.001, budget=False))
    with pytest.raises(OutcomeUnknown) as caught:
        door.call(hasty.simple.invoices.create, key="K", changes=SAR)
    time.sleep(0.4)
    gateway.answers[INVOICES + "Get"] = in_turn(LOST, lambda *_: found())
    assert door.reconcile(caught.value).happened is True
