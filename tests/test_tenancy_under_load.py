"""Whose call it is: ten thousand interleaved calls for fifty organizations over one channel, and not one of them in
another organization's name. And an organization that the server slows down slows down nobody else.

Every request has its organization in its body, too, so that it can be compared with the header that came with it.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from gateway import Gateway, running_gateway
from google.rpc import error_details_pb2, status_pb2

from invora_grpc import AsyncInvora, Invora, ResourceExhausted
from invora_grpc.call import bind
from invora_grpc.catalog import catalog
from invora_grpc.retry import Retry
from invora_grpc.values import build

ORGS = [f"org-{number:02}" for number in range(50)]
ROUNDS = 15
"""How often each organization makes each of the calls from threads, and as often from tasks."""
WORKERS = 8
MOST_SECONDS = 60.0
HEADER = "x-target-org-id"
TAG = re.compile(rb"org-\d\d")
KEYED = {"details": {"id": {"key": "{org}"}}}
ANSWERS: dict[str, dict[str, Any]] = {
    "billing.customers.create": {"customer": {"external_id": "{org}"}},
    "billing.customers.list": {"items": [{"external_id": "{org}"}]},
    "invoicing.parties.get": KEYED,
    "invoicing.parties.create": KEYED,
    "invoicing.documents.get_stream": KEYED,
    "invoicing.documents.stream_freeze": {"result": {"success_key": "{org}"}},
}
"""What each RPC answers, with the header's organization for `{org}`."""
FAILING = {"billing.customers.list": 7, "invoicing.parties.get": 5, "invoicing.parties.create": 5}
"""Each so-manieth of these calls fails, and is made again."""
QUICK = Retry(tries=10, initial=0.0, budget=False)


def filled(shape: Any, org: str) -> Any:
    """The answer's shape with the organization put in."""
    if isinstance(shape, dict):
        return {name: filled(part, org) for name, part in shape.items()}
    return [filled(part, org) for part in shape] if isinstance(shape, list) else shape.format(org=org)


def answering(name: str) -> Callable[..., Any]:
    """What the gateway does for this RPC: fail now and then, else tell which organization the header named."""
    method, counter = catalog().method(name), itertools.count(1)

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        if name in FAILING and next(counter) % FAILING[name] == 0:
            context.abort(grpc.StatusCode.UNAVAILABLE, "come again")
        (org,) = [str(value) for key, value in context.invocation_metadata() if key == HEADER]
        fields = filled(ANSWERS[name], org)
        if name.endswith(".list") and not request.pagination.cursor:
            fields["next_page_cursor"] = "second"
        response = build(bind(method).response_class, fields)
        return iter([response, response]) if method.server_streaming else response

    return answer


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running_gateway() as running:
        running.answers |= {catalog().method(name).path: answering(name) for name in ANSWERS}
        yield running


def calls(client: Any, org: str, number: int) -> dict[str, Callable[[], Any]]:
    """The calls of one organization, each with its name in the request, by a client derived for the occasion."""
    own = client.with_options(retry=QUICK).for_org(org)
    documents, parties, customers = own.invoicing.documents, own.invoicing.parties, own.billing.customers
    return {
        "billing.customers.create": lambda: customers.create(input={"external_id": org}),
        "billing.customers.list": lambda: customers.list.items(filter={"text_search": org}),
        "invoicing.parties.get": lambda: parties.get(key=org),
        "invoicing.parties.create": lambda: parties.create(key=f"{org}-{number}"),
        "invoicing.documents.get_stream": lambda: documents.get_stream(key=org),
        "invoicing.documents.stream_freeze": lambda: documents.stream_freeze([{"key": org}, {"key": org}]),
    }


def jobs(seed: int) -> list[tuple[str, int, str]]:
    """Organization, number, RPC: in an order that mixes them, the same in every run."""
    made = [(org, number, name) for org in ORGS for number in range(ROUNDS) for name in ANSWERS]
    random.Random(seed).shuffle(made)
    return made


def orgs_in(answers: list[Any]) -> set[bytes]:
    return {tag for answer in answers for tag in TAG.findall(answer.SerializeToString())}


def check(gateway: Gateway) -> None:
    """Every request that arrived was for the organization that its header named."""
    wrong = [one for one in gateway.received if tags_of(one.request) != {one.metadata[HEADER].encode()}]
    assert wrong == []
    seen = Counter(one.path for one in gateway.received)
    assert set(seen) == {catalog().method(name).path for name in ANSWERS}
    assert sum(seen.values()) >= 5_000
    for name, rate in FAILING.items():
        method = catalog().method(name)
        pages = 2 if name.endswith(".list") else 1
        assert seen[method.path] > len(ORGS) * ROUNDS * pages * (1 + 0.9 / rate), f"{name} was not retried"


def tags_of(request: Any) -> set[bytes]:
    return orgs_in(request if isinstance(request, list) else [request])


def test_no_call_from_a_thread_is_made_in_another_organizations_name(gateway: Gateway) -> None:
    left, lock = iter(jobs(1)), threading.Lock()
    wrong: list[Any] = []

    def work() -> None:
        while True:
            with lock:
                job = next(left, None)
            if job is None:
                return
            org, number, name = job
            try:
                answer = calls(client, org, number)[name]()
                answers = [answer] if hasattr(answer, "SerializeToString") else list(answer)
                if orgs_in(answers) != {org.encode()}:
                    wrong.append((job, answers))
            except Exception as error:
                wrong.append((job, error))

    with Invora(endpoint=gateway.url, token="t", timeout=MOST_SECONDS) as client:
        threads = [threading.Thread(target=work, daemon=True) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(MOST_SECONDS)
        assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    check(gateway)


def test_no_call_from_a_task_is_made_in_another_organizations_name(gateway: Gateway) -> None:
    async def answers_of(work: Any) -> list[Any]:
        if not hasattr(work, "__aiter__"):
            return [await work]
        return [answer async for answer in work]

    async def run() -> None:
        left = iter(jobs(2))

        async def work() -> None:
            for org, number, name in left:
                answers = await answers_of(calls(client, org, number)[name]())
                assert orgs_in(answers) == {org.encode()}, name

        async with AsyncInvora(endpoint=gateway.url, token="t", timeout=MOST_SECONDS) as client:
            await asyncio.gather(*(work() for _ in range(4 * WORKERS)))

    asyncio.run(asyncio.wait_for(run(), MOST_SECONDS))
    check(gateway)


# One organization is throttled

SLOW, QUIET = ORGS[:2]
WAIT = 5
"""Seconds that the server wants the throttled organization to wait: several times what the test takes."""


def throttle(request: Any, context: grpc.ServicerContext) -> Any:
    """RESOURCE_EXHAUSTED with RetryInfo for one organization, an answer for all others."""
    metadata = dict(context.invocation_metadata())
    if metadata[HEADER] == SLOW:
        status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="slow down")
        wait = error_details_pb2.RetryInfo()
        wait.retry_delay.seconds = WAIT
        status.details.add().Pack(wait)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, status.message)
    return build(bind(catalog().method("invoicing.parties.get")).response_class, filled(KEYED, metadata[HEADER]))


@pytest.fixture
def throttling(gateway: Gateway) -> Gateway:
    gateway.answers[catalog().method("invoicing.parties.get").path] = throttle
    return gateway


def test_a_throttled_organization_waits_and_no_other_one_does(throttling: Gateway) -> None:
    """Counted, not timed: who waits is seen by the sleeps that the client asks for."""
    slept: dict[str, list[float]] = {org: [] for org in ORGS}
    acting = threading.local()
    with Invora(endpoint=throttling.url, token="t") as client:
        client._connection.sleep = lambda seconds: slept[acting.org].append(seconds)
        for number in range(400):
            for org in (SLOW, QUIET, ORGS[2 + number % 48]):
                acting.org = org
                get = client.for_org(org).invoicing.parties.get
                if org != SLOW:
                    assert get(key=org).details.id.key == org
                else:
                    with pytest.raises(ResourceExhausted):
                        get(key=org)
    assert {org for org, waits in slept.items() if waits} == {SLOW}
    assert min(slept[SLOW]) > WAIT / 2


def test_an_organizations_calls_end_while_those_of_a_throttled_one_still_wait(throttling: Gateway) -> None:
    """In tasks of one loop and over one channel: nothing that waits for one organization holds up another."""

    async def run() -> None:
        async with AsyncInvora(endpoint=throttling.url, token="t") as client:
            slow = client.with_options(retry=Retry(budget=False)).for_org(SLOW).invoicing.parties.get
            waiting = [asyncio.ensure_future(slow(key=SLOW)) for _ in range(20)]
            while sum(one.metadata[HEADER] == SLOW for one in throttling.received) == 0:
                await asyncio.sleep(0)
            quiet = client.for_org(QUIET).invoicing.parties.get
            for _ in range(200):
                assert (await quiet(key=QUIET)).details.id.key == QUIET
            assert not any(task.done() for task in waiting)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), MOST_SECONDS))


def test_what_one_organization_is_refused_does_not_use_up_the_retries_of_another(throttling: Gateway) -> None:
    """The budget protects a server that is down. One that asks a single organization to slow down is not."""
    with Invora(endpoint=throttling.url, token="t") as client:
        client._connection.sleep = lambda seconds: None
        for _ in range(20):
            with pytest.raises(ResourceExhausted):
                client.for_org(SLOW).invoicing.parties.get(key=SLOW)
        throttling.answers[catalog().method("billing.customers.list").path] = failing_once()
        assert client.for_org(QUIET).billing.customers.list() is not None


def failing_once() -> Callable[..., Any]:
    """An answer that is UNAVAILABLE the first time."""
    left = iter([None])
    response = bind(catalog().method("billing.customers.list")).response_class()

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        if next(left, response) is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "come again")
        return response

    return answer
