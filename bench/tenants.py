"""What a throttled organization costs its neighbour: p99 of B's calls beside A, whose calls are all refused.

One client, one channel, `for_org` for both. The server refuses everything of A with RESOURCE_EXHAUSTED and RetryInfo,
as a gateway does that throttles it to nothing, and A's callers go on calling. Wall time: what a caller of B waits.
Each round measures B alone, B alone once more (how far two equal figures lie apart on this machine), and B beside A
that is told to wait long or short, in changing order. It gives one ratio of p99s each; the median counts.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import grpc
from call import Figures, serve, serving, shown
from google.rpc import error_details_pb2, status_pb2

from invora_api.simple.invoices.v1 import models_pb2, service_pb2_grpc
from invora_grpc import AsyncInvora, Invora, ResourceExhausted

CALLERS = 8  # of A, at once
PATIENCE = 1.5  # seconds that a call of A may take
ORGANIZATIONS = {"A-1000": 1000, "A-50": 50}  # milliseconds that the server tells A to wait: the usual, and a hostile
ALONE, AGAIN = "B alone", "B alone, again"
CASES: Mapping[str, str | None] = {ALONE: None, AGAIN: None} | {
    f"B beside A that has to wait {wait} ms": org for org, wait in ORGANIZATIONS.items()
}


def _refusal(wait: int) -> bytes:
    status, retry = status_pb2.Status(code=8, message="slow down"), error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(wait)
    status.details.add().Pack(retry)
    packed: bytes = status.SerializeToString()
    return packed


class _Throttling(service_pb2_grpc.SimpleInvoiceServiceServicer):
    """Refuses whatever organization A asks; answers all others at once."""

    def __init__(self) -> None:
        self._refusals = {org: _refusal(wait) for org, wait in ORGANIZATIONS.items()}

    def Get(self, request: Any, context: grpc.ServicerContext) -> Any:
        refusal = self._refusals.get(str(dict(context.invocation_metadata())["x-target-org-id"]))
        if refusal is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", refusal),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
        return models_pb2.GetResponse()


def compared(
    measured: Callable[[], list[float]], beside: Callable[[str], AbstractContextManager[Any]], rounds: int
) -> Figures:
    """p99 and p50 of B in microseconds, and the ratio of its p99 to that of B alone, in the median of the rounds."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    for number in range(rounds + 1):
        first = number % len(CASES)
        for name, org in (list(CASES.items()) * 2)[first : first + len(CASES)]:
            with nullcontext() if org is None else beside(org):
                cuts = statistics.quantiles(measured(), n=100)
            if number:  # the first round warms up
                taken[name].append((cuts[98] * 1e6, cuts[49] * 1e6))
    return {
        name: {
            "us": statistics.median(p99 for p99, _ in figures),
            "ratio": statistics.median(p99 / alone for (p99, _), (alone, _) in zip(figures, taken[ALONE], strict=True)),
            "p50_us": statistics.median(p50 for _, p50 in figures),
        }
        for name, figures in taken.items()
    }


def threads(address: str, rounds: int, calls: int) -> Figures:
    """B's caller is one thread, A's are others."""
    client = Invora(endpoint=f"http://{address}", token="token")
    request = models_pb2.GetRequest(key="K")
    served = client.for_org("B").simple.invoices.get

    def measured() -> list[float]:
        times = []
        for _ in range(calls):
            start = time.perf_counter()
            served(request)
            times.append(time.perf_counter() - start)
        return times

    @contextmanager
    def beside(org: str) -> Iterator[None]:
        throttled = client.for_org(org).with_options(timeout=PATIENCE).simple.invoices.get
        over, refused = threading.Event(), threading.Event()

        def calling() -> None:
            while not over.is_set():
                try:
                    throttled(request)
                except ResourceExhausted:
                    refused.set()

        callers = [threading.Thread(target=calling) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        refused.wait()
        try:
            yield
        finally:
            over.set()
            for caller in callers:
                caller.join()

    figures = compared(measured, beside, rounds)
    client.close()
    return figures


def tasks(address: str, rounds: int, calls: int) -> Figures:
    """The same in one event loop."""
    loop = asyncio.new_event_loop()
    client = AsyncInvora(endpoint=f"http://{address}", token="token")
    request = models_pb2.GetRequest(key="K")
    served = client.for_org("B").simple.invoices.get

    async def each() -> list[float]:
        times = []
        for _ in range(calls):
            start = time.perf_counter()
            await served(request)
            times.append(time.perf_counter() - start)
        return times

    @contextmanager
    def beside(org: str) -> Iterator[None]:
        throttled = client.for_org(org).with_options(timeout=PATIENCE).simple.invoices.get
        over, refused = asyncio.Event(), asyncio.Event()

        async def calling() -> None:
            while not over.is_set():
                try:
                    await throttled(request)
                except ResourceExhausted:
                    refused.set()

        callers = [loop.create_task(calling()) for _ in range(CALLERS)]
        loop.run_until_complete(refused.wait())
        try:
            yield
        finally:
            over.set()
            loop.run_until_complete(asyncio.gather(*callers))

    figures = compared(lambda: loop.run_until_complete(each()), beside, rounds)
    loop.run_until_complete(client.close())
    loop.close()
    return figures


def results(rounds: int = 7, calls: int = 1500) -> Mapping[str, Figures]:
    """Both clients. Microseconds are p99s."""
    with serving(__file__) as address:
        return {
            "p99 of B beside a throttled A, threads": threads(address, rounds, calls),
            "p99 of B beside a throttled A, async": tasks(address, rounds, calls),
        }


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve(_Throttling())
    else:
        print("\n".join(shown(results(*map(int, sys.argv[1:])))))
