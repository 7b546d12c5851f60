"""Every list of the catalog, over real gRPC: to the end, in order, its cursor sent back exactly."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from gateway import Gateway, running_gateway
from list_shelf import Shelf, numbers

from invora_grpc.aio import AsyncInvora
from invora_grpc.call import Binding, bind
from invora_grpc.catalog import catalog
from invora_grpc.client import Invora
from invora_grpc.paging import Items, ListShape, list_shape

COUNT, PAGE = 7, 3
CURSOR = "opaque/ü\u2028+= {}".format
"""What a cursor may hold: anything."""


def lists() -> Iterator[tuple[Binding, ListShape]]:
    for method in catalog().methods:
        binding = bind(method)
        shape = list_shape(binding.request_class, binding.response_class)
        if shape is not None:
            yield binding, shape


LISTS = list(lists())
IDS = [binding.method.attribute for binding, _ in LISTS]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """Answers every list with numbered items in pages; a list without pagination has one."""
    with running_gateway() as running:
        for binding, shape in LISTS:
            messages = (binding.request_class, binding.response_class)
            count = COUNT if shape.paginated else PAGE
            shelf = Shelf(count, messages, page=PAGE, cursor=CURSOR)
            running.answers[binding.method.path] = lambda request, context, shelf=shelf: shelf.answer(request)
        yield running


@pytest.fixture(scope="module")
def channel(gateway: Gateway) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(gateway.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[Invora]:
    with Invora(endpoint=gateway.url, token="t") as client:
        yield client


def rpc_of(client: Any, binding: Binding) -> Any:
    method = binding.method
    return getattr(getattr(getattr(client, method.module), method.area), method.rpc)


def sent(gateway: Gateway, binding: Binding) -> list[str]:
    """The cursors of the requests that arrived, which are forgotten."""
    assert {one.path for one in gateway.received} == {binding.method.path}
    requests = [one.request for one in gateway.received]
    gateway.received.clear()
    return [getattr(request, "pagination", None) and request.pagination.cursor for request in requests]


def wanted(shape: ListShape) -> tuple[list[int], list[Any]]:
    if not shape.paginated:
        return list(range(PAGE)), [None]
    return list(range(COUNT)), ["", CURSOR(PAGE), CURSOR(2 * PAGE)]


def test_the_catalog_has_lists_of_all_three_kinds() -> None:
    assert Counter((shape.paginated, shape.wrapped) for _, shape in LISTS) == {
        (True, True): 78,
        (True, False): 20,
        (False, True): 4,
    }
    assert {binding.method.streaming for binding, _ in LISTS} == {""}


def test_every_request_that_takes_a_pagination_is_of_a_list() -> None:
    with_pagination = {
        method.attribute
        for method in catalog().methods
        if "pagination" in bind(method).request_class.DESCRIPTOR.fields_by_name
    }
    assert with_pagination <= set(IDS)


@pytest.mark.parametrize(("binding", "shape"), LISTS, ids=IDS)
def test_every_list_pages_to_the_end(
    binding: Binding, shape: ListShape, gateway: Gateway, channel: grpc.Channel
) -> None:
    stub: Any = channel.unary_unary(
        binding.method.path,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=binding.response_class.FromString,
    )
    gateway.received.clear()
    assert numbers(Items(stub, shape, binding.request_class())) == wanted(shape)[0]
    assert sent(gateway, binding) == wanted(shape)[1]


@pytest.mark.parametrize(("binding", "shape"), LISTS, ids=IDS)
def test_every_list_pages_to_the_end_through_the_client(
    binding: Binding, shape: ListShape, gateway: Gateway, client: Invora
) -> None:
    rpc = rpc_of(client, binding)
    gateway.received.clear()
    assert numbers(rpc.items()) == wanted(shape)[0]
    assert sent(gateway, binding) == wanted(shape)[1]
    pages = list(rpc.pages({}).prefetch())
    assert {type(page) for page in pages} == {binding.response_class}
    assert numbers(item for page in pages for item in page.items) == wanted(shape)[0]
    assert sent(gateway, binding) == wanted(shape)[1]


def test_every_list_pages_to_the_end_through_the_asynchronous_client(gateway: Gateway) -> None:
    async def run() -> None:
        async with AsyncInvora(endpoint=gateway.url, token="t") as client:
            for binding, shape in LISTS:
                rpc = rpc_of(client, binding)
                gateway.received.clear()
                assert numbers([item async for item in rpc.items()]) == wanted(shape)[0]
                assert sent(gateway, binding) == wanted(shape)[1]
                pages = [page async for page in rpc.pages({}).prefetch()]
                assert numbers(item for page in pages for item in page.items) == wanted(shape)[0]
                assert sent(gateway, binding) == wanted(shape)[1]

    asyncio.run(run())
