"""Lists: page after page, or item after item, fetched while they are taken.

What to ask for next, when to stop and what a failure means is decided once, in `_Walk`, which does no input or output.
Four thin iterables drive it, blocking and asynchronous. This room sends nothing itself (it is given a `fetch`), retries
nothing, and knows no service: the shape of a list is read off its descriptors.

Rules, from the public guides: `items` with `next_page_cursor`, a string or a StringValue; null, absent and empty all
mean the last page; cursors expire with OUT_OF_RANGE; a few lists take no pagination.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Final, Generic, NoReturn, Self, TypeVar, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from invora_grpc.errors import InvoraError, RequestError, escaped, is_utf8, shown
from invora_grpc.status import OutOfRange

__all__ = [
    "EMPTY_PAGES",
    "AsyncItems",
    "AsyncPages",
    "CursorExpired",
    "CursorLoop",
    "Items",
    "ListShape",
    "MoreExists",
    "Pages",
    "list_shape",
]

F = TypeVar("F", bound=Callable[[Any], Any])
R = TypeVar("R", bound=Message)
T_co = TypeVar("T_co", covariant=True)

SURE_SIZE: Final = 50
"""Items of a page that every list is taken to allow; larger ones are asked for only if the caller names the size."""
LARGEST_SIZE: Final = 2**63 - 1
EMPTY_PAGES: Final = 100
"""Pages without items in a row, each with a new cursor, after which a walk is given up: a server that filters what it
has read may send some, one that sends them for ever would keep a caller for ever."""
_STRING_VALUE: Final = "google.protobuf.StringValue"
_WHOLE: Final = tuple(getattr(FieldDescriptor, f"CPPTYPE_{kind}") for kind in ("INT32", "INT64", "UINT32", "UINT64"))


# --- errors -------------------------------------------------------------------------------------------------------


class CursorLoop(InvoraError):
    """The list does not get on: a cursor came for the second time in one walk, or too many pages in a row were empty.

    What was read up to here has been delivered, and nothing was fetched twice.
    """

    cursor: str
    """The cursor that came with the page."""
    page: int
    """The page at which the walk was given up; the first page is 1."""
    empty: int
    """Pages without items that came one after another, EMPTY_PAGES of them; 0 if it was given up for its cursor."""

    def __init__(self, cursor: str, page: int, empty: int = 0) -> None:
        if empty:
            hint = "report it; narrow the filter, or go on from there with start(error.cursor)"
            line = (
                f"{shown(cursor)} came with page {page}, and no item with the last {empty} pages: this may have no end"
            )
        else:
            hint = "report it, or try another page size or sort"
            line = f"{shown(cursor)} came with page {page} and once before: the list has no end"
        super().__init__(f"next_page_cursor: {line}; {hint}")
        self.cursor, self.page, self.empty = cursor, page, empty


class MoreExists(InvoraError):
    """The server has more than one page of a list whose request has no field to ask for the others.

    The first page has been delivered. Raised in place of an end, which would look as if that were everything.
    """

    request: str
    """Full name of the request message."""
    items: int
    """Items that were delivered."""

    def __init__(self, request: str, items: int) -> None:
        hint = "take what is enough with limit(), or call the RPC itself for its one page"
        line = f"next_page_cursor: the list goes on after {items} items, but {request} takes no cursor"
        super().__init__(f"{line}; {hint}")
        self.request, self.items = request, items


class CursorExpired(OutOfRange):
    """OUT_OF_RANGE in the middle of a list: the cursor is no longer valid. The original error is `__cause__`."""

    cursor: str
    """The cursor that was refused."""
    pages: int
    """Pages delivered before."""
    items: int
    """Items delivered before."""

    def __init__(self, cause: OutOfRange, *, cursor: str, pages: int, items: int) -> None:
        self.__dict__.update(cause.__dict__)
        self.cursor, self.pages, self.items = cursor, pages, items
        self.hint = "begin the list again, and pass over by key what you have already seen"
        where = f"the list's cursor expired after {pages} pages with {items} items ({escaped(self.hint)})"
        InvoraError.__init__(self, f"{where}: {cause}")
        self.__cause__ = cause


# --- shapes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListShape:
    """How one RPC's messages carry pages."""

    paginated: bool
    """Whether the request has `pagination`; without it there is one page."""
    wrapped: bool
    """Whether the cursor of the response is a StringValue; otherwise it is a plain string."""

    def cursor_of(self, page: Message) -> str:
        """The cursor for the page after this one; "" on the last page."""
        content: Any = page
        return str(content.next_page_cursor.value if self.wrapped else content.next_page_cursor)


@functools.lru_cache(maxsize=512)
def list_shape(request_class: type[Message], response_class: type[Message]) -> ListShape | None:
    """The shape of the list that an RPC with these messages answers; None if it answers no list."""
    answer = response_class.DESCRIPTOR.fields_by_name
    items, cursor = answer.get("items"), answer.get("next_page_cursor")
    if items is None or not items.is_repeated or cursor is None or cursor.is_repeated:
        return None
    wrapped = cursor.message_type is not None and cursor.message_type.full_name == _STRING_VALUE
    if not wrapped and cursor.type != FieldDescriptor.TYPE_STRING:
        return None
    return ListShape(_takes_pagination(request_class.DESCRIPTOR.fields_by_name.get("pagination")), wrapped)


def _takes_pagination(field: Any) -> bool:
    if field is None or field.message_type is None:
        return False
    known = field.message_type.fields_by_name
    cursor, limit = known.get("cursor"), known.get("limit")
    if cursor is None or cursor.type != FieldDescriptor.TYPE_STRING or limit is None or limit.is_repeated:
        return False
    return limit.message_type is not None or limit.cpp_type in _WHOLE


# --- the walk -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Options:
    limit: int | None = None
    """Items, or pages, at most."""
    size: int | None = None
    """Items of a page."""
    start: str | None = None
    """The cursor to begin with."""
    prefetch: bool = False


class _Walk:
    """One walk over a list: what to ask for next, and what to make of what comes. No input or output.

    The size of a page stays the same from the first page to the last, since a cursor may count in pages.
    """

    def __init__(self, shape: ListShape, request: Message, options: _Options, *, by_items: bool) -> None:
        self._shape = shape
        self._template = _sized(shape, request, options, by_items=by_items)
        self._cursor = options.start or _given_cursor(shape, request)
        self._items_left = options.limit if by_items else None
        self._pages_left = None if by_items else options.limit
        self._seen = {_digest(self._cursor)}
        self._problem: InvoraError | None = None
        self._empty = 0
        """Pages without items since the latest item."""
        self.pages = 0
        """Pages taken so far."""
        self.items = 0
        """Items taken so far."""
        self.kept = 0
        """Items of the latest page that are within the limit."""

    def first(self) -> Message | None:
        """The first request; None if nothing is wanted."""
        return None if 0 in (self._items_left, self._pages_left) else self._request()

    def follow(self, page: Message) -> Message | None:
        """Take a page, and say what to ask for next; None if this is the end, for whatever reason: see `end`."""
        content: Any = page
        self.kept = len(content.items)
        self._empty = 0 if self.kept else self._empty + 1
        if self._items_left is not None:
            self.kept = min(self.kept, self._items_left)
            self._items_left -= self.kept
        if self._pages_left is not None:
            self._pages_left -= 1
        self.pages += 1
        self.items += self.kept
        cursor = self._shape.cursor_of(page)
        if not cursor or 0 in (self._items_left, self._pages_left):
            return None
        return self._go_on(cursor)

    def cut(self, page: Message) -> Iterable[Any]:
        """The items of the latest page that are within the limit."""
        content: Any = page
        return islice(content.items, self.kept)

    def refused(self, error: OutOfRange) -> NoReturn:
        """Raise what OUT_OF_RANGE means here: the first page is too large, or the cursor of a later one is old."""
        if not self.pages:
            raise error
        raise CursorExpired(error, cursor=self._cursor, pages=self.pages, items=self.items) from error

    def end(self) -> None:
        """Call it after the last page: raises if the list ended without being at its end."""
        if self._problem is not None:
            raise self._problem

    def _go_on(self, cursor: str) -> Message | None:
        mark = _digest(cursor)
        if not self._shape.paginated:
            self._problem = MoreExists(self._template.DESCRIPTOR.full_name, self.items)
        elif mark in self._seen:
            self._problem = CursorLoop(cursor, self.pages)
        elif self._empty >= EMPTY_PAGES:
            self._problem = CursorLoop(cursor, self.pages, self._empty)
        else:
            self._seen.add(mark)
            self._cursor = cursor
            return self._request()
        return None

    def _request(self) -> Message:
        request = _copy(self._template)
        if self._cursor:
            content: Any = request
            content.pagination.cursor = self._cursor
        return request


def _copy(message: Message) -> Message:
    copy: Message = type(message)()
    copy.CopyFrom(message)
    return copy


def _digest(cursor: str) -> bytes:
    """A cursor in 16 bytes, however long it is: a walk remembers all of its cursors."""
    return hashlib.blake2b(cursor.encode(), digest_size=16).digest()


def _given_cursor(shape: ListShape, request: Any) -> str:
    return str(request.pagination.cursor) if shape.paginated else ""


def _sized(shape: ListShape, request: Message, options: _Options, *, by_items: bool) -> Message:
    """The request with the page size that it asks for: the caller's, but not more than what is wanted in all."""
    sized = _copy(request)
    if not shape.paginated:
        return sized
    page = cast("Any", sized).pagination
    wrapped = page.DESCRIPTOR.fields_by_name["limit"].message_type is not None
    own = (page.limit.value if page.HasField("limit") else None) if wrapped else page.limit or None
    size = options.size if options.size is not None else own
    if by_items and options.limit and options.limit <= (SURE_SIZE if size is None else size):
        size = options.limit
    if size is not None:
        setattr(page.limit if wrapped else page, "value" if wrapped else "limit", size)
    return sized


# --- the drivers --------------------------------------------------------------------------------------------------


@contextmanager
def _fetching(fetch: Callable[[Any], R], prefetch: bool) -> Iterator[Callable[[Message], Callable[[], R]]]:
    """How a page is begun, and later waited for. The one thread of a prefetch ends with the block."""
    if not prefetch:
        yield lambda request: partial(fetch, request)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, "invora-prefetch") as worker:
        yield lambda request: worker.submit(copy_context().run, fetch, request).result


def _walked(fetch: Callable[[Any], R], walk: _Walk, prefetch: bool) -> Generator[R, None, None]:
    with _fetching(fetch, prefetch) as begin:
        request = walk.first()
        answer = begin(request) if request is not None else None
        while answer is not None:
            try:
                page = answer()
            except OutOfRange as error:
                walk.refused(error)
            request = walk.follow(page)
            answer = begin(request) if request is not None else None
            yield page
    walk.end()


@asynccontextmanager
async def _fetching_async(
    fetch: Callable[[Any], Awaitable[R]], prefetch: bool
) -> AsyncIterator[Callable[[Message], Callable[[], Awaitable[R]]]]:
    """How a page is begun, and later waited for. The task of a prefetch is over, and its error seen, with the block."""
    if not prefetch:
        yield lambda request: partial(fetch, request)
        return
    latest: list[asyncio.Task[R]] = []

    async def run(request: Message) -> R:
        return await fetch(request)

    def begin(request: Message) -> Callable[[], Awaitable[R]]:
        task = asyncio.create_task(run(request))
        latest[:] = [task]
        return lambda: task

    try:
        yield begin
    finally:
        for task in latest:
            task.cancel()
        await asyncio.gather(*latest, return_exceptions=True)


async def _walked_async(fetch: Callable[[Any], Awaitable[R]], walk: _Walk, prefetch: bool) -> AsyncGenerator[R, None]:
    async with _fetching_async(fetch, prefetch) as begin:
        request = walk.first()
        answer = begin(request) if request is not None else None
        while answer is not None:
            try:
                page = await answer()
            except OutOfRange as error:
                walk.refused(error)
            request = walk.follow(page)
            answer = begin(request) if request is not None else None
            yield page
    walk.end()


# --- what callers hold --------------------------------------------------------------------------------------------


class _List(Generic[F]):
    """What the four iterables have in common. Immutable: an option makes a new one, and each iteration a new walk."""

    __slots__ = ("_fetch", "_options", "_request", "_shape")

    def __init__(self, fetch: F, shape: ListShape, request: Message) -> None:
        self._fetch = fetch
        self._shape = shape
        self._request = _copy(request)
        self._options = _Options()

    def limit(self, n: int) -> Self:
        """At most `n` of them in all, items or pages; a second limit does not widen the first.

        Raises RequestError unless `n` is 0 or more. Items also ask for no larger page than `n`.
        """
        _check_count("limit", n, 0)
        earlier = self._options.limit
        return self._with(limit=n if earlier is None else min(n, earlier))

    def page_size(self, n: int) -> Self:
        """Ask for `n` items per page, in place of what the request says. A server may refuse (OUT_OF_RANGE) or cap it.

        Raises RequestError unless `n` is 1 or more, and for a list that takes no pagination.
        """
        _check_count("page_size", n, 1)
        self._need_pagination("page_size", n)
        return self._with(size=n)

    def start(self, cursor: str) -> Self:
        """Begin at a cursor that an earlier walk was given, with the same filter, sort and page size.

        Raises RequestError for an empty cursor, which would begin at the beginning, and for a list without pagination.
        """
        if not isinstance(cursor, str) or not cursor or not is_utf8(cursor):
            raise RequestError("start", cursor, "leave start out to begin at the beginning", "is no cursor")
        self._need_pagination("start", cursor)
        return self._with(start=cursor)

    def prefetch(self) -> Self:
        """Fetch the next page while the caller works on this one.

        A failure is raised where its page would have come. Ending an iteration early waits for the page under way
        (blocking client) or cancels it (asynchronous client).
        """
        return self._with(prefetch=True)

    def _with(self, **changes: Any) -> Self:
        changed = type(self)(self._fetch, self._shape, self._request)
        changed._options = replace(self._options, **changes)
        return changed

    def _walk(self, *, by_items: bool) -> _Walk:
        return _Walk(self._shape, self._request, self._options, by_items=by_items)

    def _need_pagination(self, option: str, value: object) -> None:
        if not self._shape.paginated:
            name = self._request.DESCRIPTOR.full_name
            raise RequestError(option, value, "leave it out: the list has one page", f"has no place in {name}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._request.DESCRIPTOR.full_name}>"


def _check_count(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST_SIZE:
        raise RequestError(name, value, f"give a whole number, {least} or more")


class Pages(_List[Callable[[Any], R]]):
    """The pages of a list, one response message each. Every `iter()` is a new walk from the first page on."""

    __slots__ = ()

    def __iter__(self) -> Iterator[R]:
        return _walked(self._fetch, self._walk(by_items=False), self._options.prefetch)

    def cursor_after(self, page: R) -> str:
        """The cursor to give to `start` so as to go on after this page; "" if it is the last."""
        return self._shape.cursor_of(page)


class Items(_List[Callable[[Any], Message]], Generic[T_co]):
    """The items of a list. Every `iter()` is a new walk from the first item on."""

    __slots__ = ()

    def __iter__(self) -> Iterator[T_co]:
        walk = self._walk(by_items=True)
        with closing(_walked(self._fetch, walk, self._options.prefetch)) as pages:
            for page in pages:
                yield from walk.cut(page)

    def first(self) -> T_co | None:
        """The first item; None if there is none."""
        return next(iter(list(self.limit(1))), None)

    def _pages(self) -> Iterator[Message]:
        """The answers that the items come in, without the items that are beyond the limit: they say more than items."""
        walk = self._walk(by_items=True)
        with closing(_walked(self._fetch, walk, self._options.prefetch)) as pages:
            for page in pages:
                content: Any = page
                del content.items[walk.kept :]
                yield page


class AsyncPages(_List[Callable[[Any], Awaitable[R]]]):
    """The pages of a list, one response message each. Every `async for` is a new walk from the first page on."""

    __slots__ = ()

    def __aiter__(self) -> AsyncIterator[R]:
        return _walked_async(self._fetch, self._walk(by_items=False), self._options.prefetch)

    def cursor_after(self, page: R) -> str:
        """The cursor to give to `start` so as to go on after this page; "" if it is the last."""
        return self._shape.cursor_of(page)


class AsyncItems(_List[Callable[[Any], Awaitable[Message]]], Generic[T_co]):
    """The items of a list. Every `async for` is a new walk from the first item on."""

    __slots__ = ()

    async def __aiter__(self) -> AsyncIterator[T_co]:
        walk = self._walk(by_items=True)
        async with aclosing(_walked_async(self._fetch, walk, self._options.prefetch)) as pages:
            async for page in pages:
                for item in walk.cut(page):
                    yield item

    async def first(self) -> T_co | None:
        """The first item; None if there is none."""
        return next(iter([item async for item in self.limit(1)]), None)
