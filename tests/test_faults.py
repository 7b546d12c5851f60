"""Keyed creates through a broken network: a thousand of them, and every record is there once, with its own content.

A call that returned has its record; one whose outcome was unknown can be resolved under its key; one that failed
definitely has left nothing. And callers that meet a dead server do not flood it.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from fault_proxy import (
    CANCEL,
    GOAWAY_GRACEFUL,
    GOAWAY_UNPROCESSED,
    INTERNAL_ERROR,
    REPLY_LOST,
    RESET_BEFORE,
    TORN_REPLY,
    Fault,
    FaultProxy,
    Kind,
    rst_after,
    rst_before,
    running_proxy,
)
from gateway import running_gateway
from sandbox_fixture import Running, running_sandbox

from invora_api.parties.v2.models_pb2 import Party
from invora_grpc import AsyncInvora, Invora, OutcomeUnknown, RpcError, Unavailable
from invora_grpc.retry import Retry

CREATES = 1000
WORKERS = 8
MOST_SECONDS = 25.0
SEED = 20_261_121
RATE = 0.15
FAULTS = (
    *(RESET_BEFORE, REPLY_LOST, TORN_REPLY, GOAWAY_UNPROCESSED, GOAWAY_GRACEFUL, Fault(Kind.REPLY_LOST, delay=0.005)),
    *(rst_before(CANCEL), rst_before(INTERNAL_ERROR), rst_after(CANCEL), rst_after(INTERNAL_ERROR)),
)
QUICK = Retry(initial=0.001, cap=0.01)
TIRELESS = Retry(initial=0.001, cap=0.01, budget=False)
KIND = "invoicing.parties"


@pytest.fixture
def sandbox() -> Iterator[Running]:
    with running_sandbox(seed="demo") as running:
        yield running


@pytest.fixture
def proxy(sandbox: Running) -> Iterator[FaultProxy]:
    with running_proxy(sandbox.grpc) as running:
        yield running


@dataclass
class Ledger:
    """What the callers were told, by the number of the create."""

    answers: dict[int, Any] = field(default_factory=dict)
    refused: dict[int, RpcError] = field(default_factory=dict)
    in_doubt: dict[int, OutcomeUnknown] = field(default_factory=dict)
    """Outcomes that a look at the records did not tell, either."""
    found: int = 0
    """Outcomes that it did tell."""


def request_of(number: int) -> dict[str, Any]:
    """Every other one has a key of its own; the client makes one for the rest."""
    changes = {"name": {"assignments": [{"locale": "en", "value": name_of(number)}]}, "role": "customer"}
    return {"key": f"party-{number}", "changes": changes} if number % 2 else {"changes": changes}


def name_of(number: int) -> str:
    return f"Party number {number}"


def repeats(told: Ledger) -> Iterator[tuple[int, dict[str, Any]]]:
    """The requests in doubt, under the keys that their calls had: to send once the network is well again."""
    for number, unknown in told.in_doubt.items():
        assert unknown.key
        assert number % 2 == 0 or unknown.key == f"party-{number}"
        yield number, {**request_of(number), "key": unknown.key}


def check(sandbox: Running, proxy: FaultProxy, told: Ledger) -> None:
    """What is stored is what the callers were told, and each create is there once."""
    records = {record.key: record for record in sandbox.store.all(sandbox.org_id, KIND)}
    stored = {key: Party.FromString(record.body) for key, record in records.items()}
    names = Counter(party.name.assignments[0].value.value for party in stored.values())
    assert told.refused == {}, "the requests are right, and the server was there"
    assert set(told.answers) == set(range(CREATES))
    assert names == Counter({name_of(number): 1 for number in range(CREATES)})
    for number, answer in told.answers.items():
        assert answer.details == stored[answer.details.id.key]
        assert answer.details.name.assignments[0].value.value == name_of(number)
        assert number % 2 == 0 or answer.details.id.key == f"party-{number}"
    assert sum(proxy.counts.faults.values()) >= RATE * 0.8 * CREATES
    assert set(proxy.counts.faults) >= {fault.kind.name for fault in FAULTS}
    looks = 2 * (len(told.in_doubt) + told.found)  # the call's own, and the one that was asked for
    assert proxy.counts.requests <= QUICK.tries * CREATES + looks


def in_threads(work: Callable[[], None], count: int) -> None:
    """Run it in so many threads, to the end; fails if that takes too long, or if one of them raised."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(MOST_SECONDS)
    assert not any(thread.is_alive() for thread in threads), "callers hang"
    assert failures == []


@pytest.mark.parametrize("retry", [TIRELESS, QUICK], ids=["tireless", "with a budget"])
def test_a_thousand_creates_from_threads_make_a_thousand_records(
    sandbox: Running, proxy: FaultProxy, retry: Retry
) -> None:
    told, numbers, lock = Ledger(), iter(range(CREATES)), threading.Lock()
    proxy.scatter(random.Random(SEED), RATE, FAULTS)
    with Invora(endpoint=proxy.url, token=sandbox.token(), timeout=10) as client:
        create = client.with_options(retry=retry).invoicing.parties.create

        def look(unknown: OutcomeUnknown, number: int) -> None:
            try:
                found = unknown.reconcile()
            except RpcError:
                found = None
            if found is not None and found.happened:
                told.answers[number] = found.response
                told.found += 1
            else:
                told.in_doubt[number] = unknown

        def work() -> None:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                try:
                    told.answers[number] = create(request_of(number))
                except OutcomeUnknown as unknown:
                    look(unknown, number)
                except RpcError as error:
                    told.refused[number] = error

        in_threads(work, WORKERS)
        proxy.script()
        for number, request in repeats(told):
            told.answers[number] = client.with_options(retry=TIRELESS).invoicing.parties.create(request)
    check(sandbox, proxy, told)
    assert retry.budget is False or told.in_doubt


def test_a_thousand_creates_from_tasks_make_a_thousand_records(sandbox: Running, proxy: FaultProxy) -> None:
    told, numbers = Ledger(), iter(range(CREATES))
    proxy.scatter(random.Random(SEED + 1), RATE, FAULTS)

    async def look(unknown: OutcomeUnknown, number: int) -> None:
        try:
            found = await unknown.reconcile()
        except RpcError:
            found = None
        if found is not None and found.happened:
            told.answers[number] = found.response
            told.found += 1
        else:
            told.in_doubt[number] = unknown

    async def work(create: Any) -> None:
        for number in numbers:
            try:
                told.answers[number] = await create(request_of(number))
            except OutcomeUnknown as unknown:
                await look(unknown, number)
            except RpcError as error:
                told.refused[number] = error

    async def run() -> None:
        async with AsyncInvora(endpoint=proxy.url, token=sandbox.token(), timeout=10) as client:
            create = client.with_options(retry=QUICK).invoicing.parties.create
            await asyncio.gather(*(work(create) for _ in range(2 * WORKERS)))
            proxy.script()
            for number, request in repeats(told):
                told.answers[number] = await client.with_options(retry=TIRELESS).invoicing.parties.create(request)

    asyncio.run(asyncio.wait_for(run(), MOST_SECONDS))
    check(sandbox, proxy, told)
    assert told.in_doubt


# Callers of a dead server

CALLERS = 100
MOST_REPEATS = 5
"""10 tokens, one for each failure, and none are spent once 5 are left."""


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def hasty(sandbox: Running, proxy: FaultProxy, pauses: list[float]) -> Iterator[Invora]:
    """A client that does not sleep between tries, but notes that it would have."""
    with Invora(endpoint=proxy.url, token=sandbox.token(), timeout=10) as client:
        client.identity.public_registration.get_onboarding_status()
        client._connection.sleep = pauses.append
        yield client


def all_fail(client: Invora) -> None:
    start = threading.Barrier(CALLERS)

    def work() -> None:
        start.wait(10)
        with pytest.raises(Unavailable):
            client.identity.public_registration.get_onboarding_status()

    in_threads(work, CALLERS)


def test_a_hundred_callers_repeat_no_more_than_the_budget_when_connections_break(
    hasty: Invora, proxy: FaultProxy, pauses: list[float]
) -> None:
    before = proxy.counts.requests
    proxy.scatter(random.Random(SEED), 1.0, (RESET_BEFORE,))
    all_fail(hasty)
    assert 1 <= len(pauses) <= MOST_REPEATS
    assert proxy.counts.requests - before <= CALLERS + MOST_REPEATS


def test_a_hundred_callers_repeat_no_more_than_the_budget_when_nobody_listens(
    hasty: Invora, proxy: FaultProxy, pauses: list[float]
) -> None:
    with proxy.refusing():
        all_fail(hasty)
    assert 1 <= len(pauses) <= MOST_REPEATS


def test_successes_fill_the_budget_again(hasty: Invora, proxy: FaultProxy, pauses: list[float]) -> None:
    status = hasty.identity.public_registration.get_onboarding_status
    proxy.scatter(random.Random(SEED), 1.0, (RESET_BEFORE,))
    all_fail(hasty)
    proxy.script()
    while True:
        try:
            status()
        except Unavailable:
            continue  # a connection that is about to be noticed as broken
        break
    spent = len(pauses)
    for _ in range(150):
        status()
    proxy.script(RESET_BEFORE)
    status()
    assert len(pauses) > spent


# Words that only look like one's own


def test_a_server_that_cannot_reach_another_one_is_not_taken_for_one_that_was_not_reached() -> None:
    """A gateway may pass on what its own gRPC told it about a server behind it, on the port that it has itself."""
    with running_gateway() as gateway, Invora(endpoint=gateway.url, token="t") as client:
        port = gateway.address.rpartition(":")[2]
        words = f"ipv4:198.51.100.7:{port}: Failed to connect to remote host: Connection refused"

        def half_done(request: Any, context: grpc.ServicerContext) -> Any:
            context.abort(
                grpc.StatusCode.UNAVAILABLE, f"failed to connect to all addresses; last error: UNKNOWN: {words}"
            )

        update = client.invoicing.parties.update
        gateway.answers[update.method.path] = half_done
        with pytest.raises(OutcomeUnknown):
            update(key="k")
        assert len(gateway.received) == 1


def test_a_write_that_never_left_is_a_plain_error_without_a_doubt(sandbox: Running, proxy: FaultProxy) -> None:
    proxy.target = "127.0.0.1:1"  # accepts connections, and resets them before a request can be sent
    with Invora(endpoint=proxy.url, token=sandbox.token(), timeout=10) as client:
        with pytest.raises(Unavailable) as reset:
            client.with_options(retry=QUICK).invoicing.parties.update(key="k")
        with proxy.refusing(), pytest.raises(Unavailable) as refused:
            client.with_options(retry=QUICK).invoicing.parties.update(key="k")
    assert not isinstance(reset.value, OutcomeUnknown)
    assert not isinstance(refused.value, OutcomeUnknown)
    assert proxy.counts.requests == 0
