"""Walking over lists: limits, page sizes, cursors, and what goes wrong with them. See also test_paging_prefetch."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from list_shelf import ONE_PAGE, PLAIN, WRAPPED, Shelf, numbers, put_cursor, shape_of

from invora_api.parties.v2 import models_pb2 as parties
from invora_grpc.call import bind
from invora_grpc.catalog import catalog
from invora_grpc.errors import InvoraError, RequestError
from invora_grpc.paging import (
    EMPTY_PAGES,
    SURE_SIZE,
    CursorExpired,
    CursorLoop,
    Items,
    ListShape,
    MoreExists,
    Pages,
    list_shape,
)
from invora_grpc.status import InvalidArgument, OutOfRange, from_status

KINDS = pytest.mark.parametrize("messages", [PLAIN, WRAPPED], ids=["string", "StringValue"])


def out_of_range(words: str = "cursor expired") -> OutOfRange:
    method = "/invora.parties.v2.PartyService/List"
    error = from_status(grpc.StatusCode.OUT_OF_RANGE, words, method=method, org="acme")
    assert isinstance(error, OutOfRange)
    return error


async def collected(items: Any) -> list[int]:
    return numbers([item async for item in items])


# The end


@KINDS
def test_items_come_in_order_to_the_end(messages: Any) -> None:
    shelf = Shelf(120, messages)
    assert numbers(shelf.items()) == list(range(120))
    assert shelf.cursors == ["", "after 50", "after 100"]


@KINDS
def test_pages_come_as_they_were_answered(messages: Any) -> None:
    shelf = Shelf(120, messages)
    pages = list(shelf.pages())
    assert [len(page.items) for page in pages] == [50, 50, 20]
    assert {type(page) for page in pages} == {messages[1]} and {page.total_count for page in pages} == {120}


@KINDS
def test_null_absent_and_empty_cursors_all_mean_the_last_page(messages: Any) -> None:
    absent, empty = messages[1](), messages[1]()
    put_cursor(empty, "")
    for last in (absent, empty):
        fetch = iter([last]).__next__
        assert list(Pages(lambda request, fetch=fetch: fetch(), shape_of(messages), messages[0]())) == [last]


def test_a_page_without_items_is_not_the_end() -> None:
    shelf = Shelf(3, page=1)
    empty = shelf.messages[1]()
    put_cursor(empty, "after 0")
    answers = [empty]
    items = Items(lambda request: answers.pop() if answers else shelf(request), shape_of(PLAIN), PLAIN[0]())
    assert numbers(items) == [0, 1, 2]


def test_an_empty_list_is_one_page() -> None:
    shelf = Shelf(0)
    assert list(shelf.items()) == [] and len(shelf.asked) == 1


def test_nothing_is_fetched_before_it_is_taken() -> None:
    shelf = Shelf(120)
    items = iter(shelf.items())
    assert shelf.asked == []
    for _ in range(50):
        next(items)
    assert len(shelf.asked) == 1
    next(items)
    assert len(shelf.asked) == 2


def test_every_iteration_is_a_walk_of_its_own() -> None:
    shelf = Shelf(60)
    items = shelf.items()
    first, second = iter(items), iter(items)
    assert numbers([next(first), next(second), next(first)]) == [0, 0, 1]
    assert numbers(items) == list(range(60))


# The request


def test_the_request_is_neither_changed_nor_watched() -> None:
    request = parties.ListRequest(filter={"text_search": "blue"})
    shelf = Shelf(3, page=1)
    items = Items(shelf, shape_of(PLAIN), request).page_size(2)
    before = request.SerializeToString()
    request.filter.text_search = "red"
    assert len(list(items)) == 3
    assert request.filter.text_search == "red" and not request.HasField("pagination")
    request.filter.text_search = "blue"
    assert request.SerializeToString() == before
    assert {one.filter.text_search for one in shelf.asked} == {"blue"}


def test_a_request_that_skips_begins_there_and_goes_on_by_cursor() -> None:
    shelf = Shelf(10, page=3)
    assert numbers(shelf.items(pagination={"skip": 4})) == [4, 5, 6, 7, 8, 9]
    assert [one.pagination.WhichOneof("type") for one in shelf.asked] == ["skip", "cursor"]


def test_a_request_with_a_cursor_begins_there() -> None:
    shelf = Shelf(10)
    assert numbers(shelf.items(pagination={"cursor": "after 8"})) == [8, 9]


def test_start_goes_on_where_another_walk_stopped() -> None:
    shelf = Shelf(10, WRAPPED, page=4)
    pages = shelf.pages()
    cursor = pages.cursor_after(next(iter(pages)))
    assert cursor == "after 4"
    assert numbers(shelf.items().start(cursor)) == [4, 5, 6, 7, 8, 9]
    assert pages.cursor_after(list(pages)[-1]) == ""


def test_the_page_size_is_asked_for_on_every_page() -> None:
    shelf = Shelf(10)
    assert len(list(shelf.items().page_size(4))) == 10
    assert shelf.sizes == [4, 4, 4]


def test_the_page_size_of_the_request_is_kept() -> None:
    shelf = Shelf(10)
    assert len(list(shelf.items(pagination={"limit": {"value": 5}}))) == 10
    assert shelf.sizes == [5, 5]


# Limits


def test_a_limit_of_items_asks_for_no_larger_page() -> None:
    shelf = Shelf(1000)
    assert numbers(shelf.items().limit(7)) == list(range(7))
    assert shelf.sizes == [7]


def test_a_large_limit_leaves_the_page_size_to_the_server() -> None:
    shelf = Shelf(1000)
    assert len(list(shelf.items().limit(SURE_SIZE + 1))) == SURE_SIZE + 1
    assert shelf.sizes == [None, None]


def test_the_page_size_stays_the_same_to_the_last_page() -> None:
    shelf = Shelf(1000)
    assert len(list(shelf.items().page_size(10).limit(25))) == 25
    assert shelf.sizes == [10, 10, 10]


def test_a_limit_above_the_requests_own_page_size_leaves_that_as_it_is() -> None:
    shelf = Shelf(1000)
    assert len(list(shelf.items(pagination={"limit": {"value": 5}}).limit(12))) == 12
    assert shelf.sizes == [5, 5, 5]


def test_a_limit_of_pages_counts_pages() -> None:
    shelf = Shelf(1000)
    assert len(list(shelf.pages().limit(3))) == 3
    assert shelf.sizes == [None, None, None]


def test_a_limit_of_nothing_asks_for_nothing() -> None:
    shelf = Shelf(5)
    assert list(shelf.items().limit(0)) == [] and list(shelf.pages().limit(0)) == [] and shelf.asked == []


def test_a_second_limit_does_not_widen_the_first() -> None:
    shelf = Shelf(100)
    assert len(list(shelf.items().limit(3).limit(9))) == 3
    assert len(list(shelf.items().limit(9).limit(3))) == 3


def test_the_first_item_costs_one_item() -> None:
    shelf = Shelf(100)
    assert numbers([shelf.items().first()]) == [0] and shelf.sizes == [1]
    assert Shelf(0).items().first() is None


def test_an_option_makes_a_new_iterable() -> None:
    shelf = Shelf(5)
    items = shelf.items()
    items.limit(1).page_size(1).start("after 3").prefetch()
    assert numbers(items) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("value", [-1, 1.5, "3", True, None, 2**63])
def test_a_limit_that_is_no_count_is_refused(value: Any) -> None:
    with pytest.raises(RequestError, match=r"^limit: .*; give a whole number, 0 or more$"):
        Shelf(1).items().limit(value)


def test_a_page_size_is_at_least_one() -> None:
    with pytest.raises(RequestError, match="page_size: 0"):
        Shelf(1).items().page_size(0)


@pytest.mark.parametrize("value", ["", None, 3])
def test_an_empty_cursor_does_not_begin_the_list_again(value: Any) -> None:
    with pytest.raises(RequestError, match="leave start out"):
        Shelf(1).items().start(value)


def test_the_repr_names_the_request_and_shows_no_content() -> None:
    assert repr(Shelf(1).items(filter={"text_search": "x"})) == "<Items of invora.parties.v2.ListRequest>"


# Lists without pagination


def test_a_list_without_pagination_is_one_page() -> None:
    shelf = Shelf(7, ONE_PAGE)
    assert numbers(shelf.items()) == list(range(7)) and len(shelf.asked) == 1
    assert numbers(shelf.items().limit(3)) == [0, 1, 2]


def test_a_list_without_pagination_takes_no_page_size_and_no_start() -> None:
    for option, value in (("page_size", 5), ("start", "x")):
        with pytest.raises(RequestError, match=r"invora\.billing\.events\.v2\.ListRequest; leave it out"):
            getattr(Shelf(1, ONE_PAGE).items(), option)(value)


def test_more_items_than_can_be_asked_for_are_no_silent_end() -> None:
    taken: list[Any] = []
    with pytest.raises(MoreExists, match="goes on after 50 items") as caught:
        for page in Shelf(60, ONE_PAGE).pages():
            taken += page.items
    assert numbers(taken) == list(range(50)) and caught.value.items == 50
    assert pickle.loads(pickle.dumps(caught.value)) == caught.value
    assert len(list(Shelf(60, ONE_PAGE).items().limit(50))) == 50


# Cursors that go wrong


@KINDS
def test_a_cursor_that_comes_again_is_an_error_and_nothing_is_fetched_twice(messages: Any) -> None:
    shelf = Shelf(9, messages, page=2, cursor=lambda after: f"after {after % 6}")
    taken: list[Any] = []
    with pytest.raises(CursorLoop) as caught:
        for page in shelf.pages():
            taken += page.items
    assert numbers(taken) == [0, 1, 2, 3, 4, 5, 0, 1]
    assert shelf.cursors == ["", "after 2", "after 4", "after 0"]
    assert (caught.value.cursor, caught.value.page) == ("after 2", 4)


def test_a_cursor_that_stands_still_is_an_error() -> None:
    shelf = Shelf(9, page=2, cursor=lambda after: "after 2")
    with pytest.raises(CursorLoop):
        list(shelf.items())
    assert shelf.cursors == ["", "after 2"]


def test_the_cursor_that_a_walk_began_with_counts() -> None:
    shelf = Shelf(9, page=2, cursor=lambda after: "after 4")
    with pytest.raises(CursorLoop):
        list(shelf.items().start("after 4"))
    assert len(shelf.asked) == 1


def test_a_loop_beyond_the_limit_is_nobodys_business() -> None:
    assert len(list(Shelf(9, page=2, cursor=lambda after: "after 2").items().limit(4))) == 4


def test_a_loop_is_named_in_one_line_whatever_the_cursor_holds() -> None:
    error = CursorLoop("a\nb\x1b[31m" + "x" * 999, 3)
    assert str(error).isprintable() and len(str(error)) < 300 and "page 3" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert again == error and again.cursor == error.cursor and again.page == 3


@dataclass
class Sparse(Shelf):
    """A shelf where so many pages without items, each with a cursor of its own, come before the first item."""

    empty: int = 0

    def answer(self, request: Any) -> Any:
        if len(self.asked) > self.empty:
            return super().answer(request)
        page = self.messages[1]()
        put_cursor(page, f"page {len(self.asked)} after 0")
        return page


def walk_of(shelf: Shelf, way: str) -> Any:
    """Takes a list in one of the ways there are."""

    async def taken() -> Any:
        listed: Any = getattr(shelf, way.removesuffix("_first"))()
        return await listed.first() if way.endswith("first") else [one async for one in listed]

    if way.startswith("async"):
        return asyncio.run(taken())
    listed: Any = getattr(shelf, way.removesuffix("_first"))()
    return listed.first() if way.endswith("first") else list(listed)


WAYS = ["items", "pages", "items_first", "async_items", "async_pages", "async_items_first"]


@pytest.mark.parametrize("way", WAYS)
def test_pages_without_items_that_never_end_are_given_up(way: str) -> None:
    shelf = Sparse(3, empty=10**9)
    with pytest.raises(CursorLoop, match=rf"with page {EMPTY_PAGES}.*start\(error.cursor\)") as caught:
        walk_of(shelf, way)
    assert len(shelf.asked) == EMPTY_PAGES
    assert (caught.value.page, caught.value.empty) == (EMPTY_PAGES, EMPTY_PAGES)
    assert pickle.loads(pickle.dumps(caught.value)) == caught.value


@pytest.mark.parametrize("way", WAYS)
def test_pages_without_items_are_passed_over_while_they_are_not_too_many(way: str) -> None:
    assert walk_of(Sparse(3, empty=EMPTY_PAGES - 1), way)


def test_only_pages_without_items_that_follow_each_other_count() -> None:
    shelf = Shelf(2 * EMPTY_PAGES, page=1)

    def every_other(request: Any) -> Any:
        page = shelf(request)
        if len(shelf.asked) % 2:
            page.ClearField("items")
        return page

    assert len(list(Items(every_other, shape_of(PLAIN), PLAIN[0]()))) == EMPTY_PAGES


def test_a_walk_that_was_given_up_for_its_empty_pages_can_be_gone_on_with() -> None:
    shelf = Sparse(3, empty=EMPTY_PAGES + 5)
    with pytest.raises(CursorLoop) as caught:
        list(shelf.items())
    assert numbers(shelf.items().start(caught.value.cursor)) == [0, 1, 2]


def test_a_cursor_that_expires_says_how_far_the_list_came() -> None:
    cause = out_of_range()
    shelf = Shelf(9, page=2, failing={3: cause})
    taken: list[Any] = []
    with pytest.raises(OutOfRange) as caught:
        for page in shelf.pages():
            taken += page.items
    error = caught.value
    assert isinstance(error, CursorExpired) and error.__cause__ is cause
    assert (error.cursor, error.pages, error.items) == ("after 4", 2, 4) and numbers(taken) == [0, 1, 2, 3]
    assert error.code is grpc.StatusCode.OUT_OF_RANGE and error.org == "acme" and error.method == cause.method
    assert "after 2 pages with 4 items (begin the list again" in str(error) and str(error).isprintable()


def test_an_expired_cursor_survives_a_pickle() -> None:
    error = CursorExpired(out_of_range(), cursor="c", pages=2, items=4)
    again = pickle.loads(pickle.dumps(error))
    assert again == error and (again.cursor, again.pages, again.items) == ("c", 2, 4)


def test_the_first_pages_out_of_range_passes_as_it_is() -> None:
    cause = out_of_range("a page holds at most 1000 items")
    with pytest.raises(OutOfRange) as caught:
        list(Shelf(9, failing={1: cause}).items().page_size(5000))
    assert caught.value is cause


def test_other_failures_pass_as_they_are() -> None:
    cause = from_status(grpc.StatusCode.INVALID_ARGUMENT, "no")
    with pytest.raises(InvalidArgument) as caught:
        list(Shelf(9, page=2, failing={2: cause}).items())
    assert caught.value is cause


# Shapes


def test_a_response_without_items_or_without_a_cursor_is_no_list() -> None:
    for name in ("parties.get", "documents.bulk_create"):
        binding = bind(catalog().method(name))
        assert list_shape(binding.request_class, binding.response_class) is None


def test_the_shape_is_read_off_the_descriptors() -> None:
    assert shape_of(PLAIN) == ListShape(paginated=True, wrapped=False)
    assert shape_of(WRAPPED) == ListShape(paginated=True, wrapped=True)
    assert shape_of(ONE_PAGE) == ListShape(paginated=False, wrapped=True)
    assert shape_of(PLAIN) is shape_of(PLAIN)


# Any list, any options


@given(
    count=st.integers(0, 40),
    page=st.integers(1, 9),
    largest=st.integers(1, 9),
    size=st.none() | st.integers(1, 12),
    limit=st.none() | st.integers(0, 45),
    start=st.none() | st.integers(1, 40),
    prefetch=st.booleans(),
    messages=st.sampled_from([PLAIN, WRAPPED]),
)
def test_a_walk_gives_each_item_once_and_no_request_too_many(
    count: int,
    page: int,
    largest: int,
    size: int | None,
    limit: int | None,
    start: int | None,
    prefetch: bool,
    messages: Any,
) -> None:
    def options(items: Any) -> Any:
        items = items.page_size(size) if size is not None else items
        items = items.limit(limit) if limit is not None else items
        items = items.start(f"after {start}") if start is not None else items
        return items.prefetch() if prefetch else items

    shelf, other = (Shelf(count, messages, page, largest) for _ in range(2))
    wanted = list(range(start or 0, count))[:limit]
    assert numbers(options(shelf.items())) == wanted
    assert asyncio.run(collected(options(other.async_items()))) == wanted
    assert shelf.asked == other.asked
    assert len(set(shelf.cursors)) == len(shelf.asked) and len(set(shelf.sizes)) <= 1
    actual = min(shelf.sizes[0] or page, largest) if shelf.asked else 1
    assert len(shelf.asked) == (0 if limit == 0 else max(1, -(-len(wanted) // actual)))


@given(st.lists(st.sampled_from("abcdef"), max_size=12))
def test_no_cursor_is_ever_sent_twice(given_cursors: list[str]) -> None:
    answers, asked = iter([*given_cursors, ""]), []

    def fetch(request: Any) -> Any:
        asked.append(request.pagination.cursor)
        response = parties.ListResponse()
        put_cursor(response, next(answers))
        return response

    pages = Pages(fetch, shape_of(PLAIN), parties.ListRequest())
    if len(set(given_cursors)) == len(given_cursors):
        assert len(list(pages)) == len(given_cursors) + 1
    else:
        with pytest.raises(InvoraError, match="no end"):
            list(pages)
    assert len(set(asked)) == len(asked)
