"""Fetching the next page while the caller works on this one: what runs when, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from list_shelf import ONE_PAGE, Shelf, numbers, shape_of

from invora_grpc.paging import AsyncItems, CursorExpired, CursorLoop, MoreExists
from invora_grpc.status import Unavailable, from_status

WORD: contextvars.ContextVar[str] = contextvars.ContextVar("WORD", default="")
SECONDS = 10.0
"""Longest wait of a test for another thread."""


def failure(code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> Any:
    return from_status(code, "not now")


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("invora-prefetch")]


class Signals:
    """Tells a test that a request was made, and holds requests back until the test lets them go."""

    def __init__(self, hold: int | None = None) -> None:
        self.hold = hold
        self.made = [threading.Event() for _ in range(9)]
        self.go = threading.Event()

    def __call__(self, number: int) -> None:
        self.made[number].set()
        if number == self.hold:
            assert self.go.wait(SECONDS)


# Blocking


def test_the_next_page_is_fetched_while_the_caller_holds_this_one() -> None:
    signals = Signals()
    shelf = Shelf(9, page=3, on_fetch=signals)
    pages = iter(shelf.pages().prefetch())
    assert not signals.made[1].is_set()
    assert numbers(next(pages).items) == [0, 1, 2]
    assert signals.made[2].wait(SECONDS)
    assert not signals.made[3].is_set()
    assert [numbers(page.items) for page in pages] == [[3, 4, 5], [6, 7, 8]]


def test_without_prefetch_no_thread_is_started() -> None:
    seen: list[Any] = []
    shelf = Shelf(9, page=3, on_fetch=lambda number: seen.append(threading.current_thread()))
    assert len(list(shelf.items())) == 9 and set(seen) == {threading.current_thread()}


def test_a_prefetch_uses_one_thread_that_ends_with_the_iteration() -> None:
    seen: list[Any] = []
    shelf = Shelf(9, page=3, on_fetch=lambda number: seen.append(threading.current_thread()))
    items = iter(shelf.items().prefetch())
    next(items)
    assert len(workers()) == 1
    assert len(list(items)) == 8
    assert len(set(seen)) == 1 and workers() == []


def test_an_iteration_that_is_broken_off_leaves_no_thread() -> None:
    for _ in Shelf(9, page=3).items().prefetch():
        break
    assert workers() == []


def test_an_iterator_that_is_closed_waits_for_the_page_under_way() -> None:
    signals = Signals(hold=2)
    shelf = Shelf(9, page=3, on_fetch=signals)
    pages: Any = iter(shelf.pages().prefetch())
    next(pages)
    assert signals.made[2].wait(SECONDS)
    closing = threading.Thread(target=pages.close)
    closing.start()
    assert closing.is_alive() and workers() != []
    signals.go.set()
    closing.join(SECONDS)
    assert not closing.is_alive() and workers() == [] and len(shelf.asked) == 2


def test_a_prefetched_failure_comes_where_its_page_would_have_come() -> None:
    cause = failure()
    shelf = Shelf(9, page=3, failing={2: cause})
    taken: list[int] = []
    with pytest.raises(Unavailable) as caught:
        for item in shelf.items().prefetch():
            taken += numbers([item])
    assert taken == [0, 1, 2] and caught.value is cause and workers() == []


def test_a_prefetched_failure_that_is_never_reached_is_nobodys_business() -> None:
    signals = Signals()
    pages: Any = iter(Shelf(9, page=3, failing={2: failure()}, on_fetch=signals).pages().prefetch())
    next(pages)
    assert signals.made[2].wait(SECONDS)
    pages.close()
    assert workers() == []


def test_a_prefetched_loop_comes_after_its_page() -> None:
    taken: list[int] = []
    with pytest.raises(CursorLoop):
        for item in Shelf(9, page=3, cursor=lambda after: "after 3").items().prefetch():
            taken += numbers([item])
    assert taken == [0, 1, 2, 3, 4, 5]


def test_a_prefetched_page_whose_cursor_expired_counts_what_was_delivered() -> None:
    shelf = Shelf(9, page=3, failing={3: failure(grpc.StatusCode.OUT_OF_RANGE)})
    with pytest.raises(CursorExpired) as caught:
        list(shelf.items().prefetch())
    assert (caught.value.cursor, caught.value.pages, caught.value.items) == ("after 6", 2, 6)


def test_a_limit_is_not_prefetched_beyond() -> None:
    shelf = Shelf(90, page=3)
    assert len(list(shelf.items().page_size(3).limit(6).prefetch())) == 6 and len(shelf.asked) == 2
    assert len(list(shelf.pages().limit(1).prefetch())) == 1 and len(shelf.asked) == 3


def test_the_thread_sees_the_callers_context() -> None:
    seen: list[str] = []
    shelf = Shelf(6, page=3, on_fetch=lambda number: seen.append(WORD.get()))
    WORD.set("mine")
    assert len(list(shelf.items().prefetch())) == 6 and seen == ["mine", "mine"]


# Asynchronous


async def others() -> set[Any]:
    """The tasks that are left once everything that is due has run."""
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)
    return asyncio.all_tasks() - {asyncio.current_task()}


@dataclass
class Gate(Shelf):
    """A list whose second page does not come before the test lets it."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: bool = False

    async def fetch(self, request: Any) -> Any:
        if self.asked:
            self.begun.set()
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        return await super().fetch(request)


def test_async_pages_come_in_order_to_the_end() -> None:
    async def run(prefetch: bool) -> list[list[int]]:
        pages = Shelf(7, page=3).async_pages()
        return [numbers(page.items) async for page in (pages.prefetch() if prefetch else pages)]

    for prefetch in (False, True):
        assert asyncio.run(run(prefetch)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_an_async_prefetch_is_under_way_while_the_caller_holds_a_page() -> None:
    async def run() -> None:
        shelf = Gate(6, page=3)
        pages = aiter(shelf.async_pages().prefetch())
        assert numbers((await anext(pages)).items) == [0, 1, 2]
        await asyncio.wait_for(shelf.begun.wait(), SECONDS)
        assert len(await others()) == 1
        shelf.go.set()
        assert [numbers(page.items) async for page in pages] == [[3, 4, 5]]
        assert await others() == set()

    asyncio.run(run())


def test_breaking_off_an_async_iteration_cancels_the_page_under_way() -> None:
    async def run() -> None:
        shelf = Gate(6, page=3)
        async for _ in shelf.async_items().prefetch():
            await asyncio.wait_for(shelf.begun.wait(), SECONDS)
            break
        assert await others() == set() and shelf.cancelled

    asyncio.run(run())


def test_closing_an_async_iterator_leaves_no_task_at_once() -> None:
    async def run() -> None:
        shelf = Gate(6, page=3)
        async with aclosing(aiter(shelf.async_items().prefetch())) as items:
            await anext(items)
            await asyncio.wait_for(shelf.begun.wait(), SECONDS)
        assert asyncio.all_tasks() == {asyncio.current_task()} and shelf.cancelled

    asyncio.run(run())


def test_cancelling_the_caller_cancels_the_page_that_it_waits_for() -> None:
    async def run() -> None:
        shelf = Gate(6, page=3)

        async def read() -> None:
            async for _ in shelf.async_items().prefetch():
                pass

        reading = asyncio.create_task(read())
        await asyncio.wait_for(shelf.begun.wait(), SECONDS)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert shelf.cancelled and await others() == set()

    asyncio.run(run())


def test_an_async_failure_that_is_never_reached_is_not_complained_about() -> None:
    complaints: list[Any] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        shelf = Shelf(9, page=3, failing={2: failure()})
        async with aclosing(aiter(shelf.async_pages().prefetch())) as pages:
            await anext(pages)
            while len(shelf.asked) < 2:
                await asyncio.sleep(0)
        assert await others() == set()
        gc.collect()

    asyncio.run(run())
    assert complaints == []


def test_an_async_failure_comes_where_its_page_would_have_come() -> None:
    async def run(prefetch: bool) -> None:
        items = Shelf(9, page=3, failing={3: failure(grpc.StatusCode.OUT_OF_RANGE)}).async_items()
        taken: list[int] = []
        with pytest.raises(CursorExpired) as caught:
            async for item in items.prefetch() if prefetch else items:
                taken += numbers([item])
        assert taken == [0, 1, 2, 3, 4, 5] and (caught.value.pages, caught.value.items) == (2, 6)
        assert await others() == set()

    for prefetch in (False, True):
        asyncio.run(run(prefetch))


def test_async_lists_end_honestly_too() -> None:
    async def run(error: type[Exception], shelf: Shelf) -> None:
        with pytest.raises(error):
            async for _ in shelf.async_items():
                pass

    asyncio.run(run(MoreExists, Shelf(60, ONE_PAGE)))
    asyncio.run(run(CursorLoop, Shelf(9, page=3, cursor=lambda after: "after 3")))


def test_the_first_async_item_costs_one_item() -> None:
    shelf = Shelf(9)
    found = asyncio.run(shelf.async_items().first())
    assert found is not None and numbers([found]) == [0] and shelf.sizes == [1]
    assert asyncio.run(Shelf(0).async_items().first()) is None


def test_async_pages_tell_where_to_go_on() -> None:
    async def run() -> None:
        pages = Shelf(9, page=4).async_pages()
        cursor = pages.cursor_after(await anext(aiter(pages)))
        assert [number async for number in numbered_from(cursor)] == [4, 5, 6, 7, 8]

    async def numbered_from(cursor: str) -> Any:
        async for item in Shelf(9, page=4).async_items().start(cursor):
            yield numbers([item])[0]

    asyncio.run(run())


def test_any_awaitable_will_do_as_a_fetch() -> None:
    shelf = Shelf(5, page=2)

    def fetch(request: Any) -> Any:
        future = asyncio.get_running_loop().create_future()
        future.set_result(shelf(request))
        return future

    async def run(prefetch: bool) -> list[int]:
        items = AsyncItems[Any](fetch, shape_of(shelf.messages), shelf.messages[0]())
        return numbers([item async for item in (items.prefetch() if prefetch else items)])

    assert asyncio.run(run(False)) == asyncio.run(run(True)) == [0, 1, 2, 3, 4]
