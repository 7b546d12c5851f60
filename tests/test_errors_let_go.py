"""A refused call leaves nothing behind: its error, and with it the call's token, goes when the caller lets it go."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import grpc
import pytest
from gateway import Gateway, abort

from invora_grpc import AsyncInvora, FailedPrecondition, Invora

FREEZE = "/invora.simple.invoices.v1.SimpleInvoiceService/Freeze"


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def refusing(gateway: Gateway) -> Gateway:
    gateway.answers[FREEZE] = abort(grpc.StatusCode.FAILED_PRECONDITION, "frozen already")
    return gateway


def test_the_error_of_a_refused_call_needs_no_garbage_collector(refusing: Gateway) -> None:
    with Invora(endpoint=refusing.url, token="t") as client:
        try:
            client.simple.invoices.freeze(key="K")
        except FailedPrecondition as error:
            left = weakref.ref(error)
        assert left() is None


def test_the_error_of_a_refused_asynchronous_call_needs_no_garbage_collector(refusing: Gateway) -> None:
    async def main() -> None:
        async with AsyncInvora(endpoint=refusing.url, token="t") as client:
            try:
                await client.simple.invoices.freeze(key="K")
            except FailedPrecondition as error:
                left = weakref.ref(error)
            assert left() is None

    asyncio.run(main())
