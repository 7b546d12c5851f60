"""The other side of a list, for tests: numbered items of any type, answered in pages as a server answers them.

An item's number is an unknown field of it, which every message type can carry there and back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from invora_api.billing.customers.v2 import service_pb2 as customers
from invora_api.billing.events.v2 import service_pb2 as events
from invora_api.parties.v2 import models_pb2 as parties
from invora_grpc.paging import AsyncItems, AsyncPages, Items, ListShape, Pages, list_shape

PLAIN = (parties.ListRequest, parties.ListResponse)
"""A list whose cursor is a plain string."""
WRAPPED = (customers.ListRequest, customers.ListResponse)
"""A list whose cursor is a StringValue."""
ONE_PAGE = (events.ListRequest, events.ListResponse)
"""A list without pagination."""
MOST_REQUESTS = 1000
"""After so many a test fails instead of running for ever."""
_TAG = b"\x80\xea\x30"  # field 100000, a varint


def numbered(item: Any, number: int) -> None:
    """Write the number into the item."""
    digits = [number >> shift & 0x7F | 0x80 for shift in range(0, 28, 7)]
    item.MergeFromString(_TAG + bytes([*digits, number >> 28]))


def number_of(item: Message) -> int:
    """The number in the item."""
    data = item.SerializeToString()
    assert data.startswith(_TAG) and len(data) == len(_TAG) + 5
    return sum((byte & 0x7F) << 7 * i for i, byte in enumerate(data[len(_TAG) :]))


def numbers(items: Any) -> list[int]:
    return [number_of(item) for item in items]


def shape_of(messages: tuple[Any, Any]) -> ListShape:
    shape = list_shape(*messages)
    assert shape is not None
    return shape


@dataclass
class Shelf:
    """A list with so many items. It remembers every request."""

    count: int
    messages: tuple[Any, Any] = PLAIN
    page: int = 50
    """Items of a page, if the request does not say."""
    largest: int = 1000
    """Items of a page at most, whatever the request says."""
    failing: dict[int, Exception] = field(default_factory=dict)
    """What happens to the request of this number, counted from 1."""
    cursor: Callable[[int], str] = "after {}".format
    """The cursor for what follows after so many items."""
    on_fetch: Callable[[int], None] = id
    """Told the number of each request."""
    asked: list[Any] = field(default_factory=list)

    def __call__(self, request: Any) -> Any:
        self.asked.append(request)
        assert len(self.asked) < MOST_REQUESTS, "this walk has no end"
        self.on_fetch(len(self.asked))
        if error := self.failing.get(len(self.asked)):
            raise error
        return self.answer(request)

    def answer(self, request: Any) -> Any:
        """The page that the request asks for."""
        start, size = 0, self.page
        if "pagination" in request.DESCRIPTOR.fields_by_name:
            pagination = request.pagination
            start = int(pagination.cursor.rpartition(" ")[2]) if pagination.cursor else pagination.skip
            size = min(pagination.limit.value if pagination.HasField("limit") else self.page, self.largest)
        response = self.messages[1](total_count=self.count)
        for number in range(start, min(start + size, self.count)):
            numbered(response.items.add(), number)
        if start + size < self.count:
            put_cursor(response, self.cursor(start + size))
        return response

    async def fetch(self, request: Any) -> Any:
        await asyncio.sleep(0)
        return self(request)

    def items(self, **request: Any) -> Items[Any]:
        return Items(self, shape_of(self.messages), self.messages[0](**request))

    def pages(self, **request: Any) -> Pages[Any]:
        return Pages(self, shape_of(self.messages), self.messages[0](**request))

    def async_items(self, **request: Any) -> AsyncItems[Any]:
        return AsyncItems(self.fetch, shape_of(self.messages), self.messages[0](**request))

    def async_pages(self, **request: Any) -> AsyncPages[Any]:
        return AsyncPages(self.fetch, shape_of(self.messages), self.messages[0](**request))

    @property
    def sizes(self) -> list[int | None]:
        """The page sizes that were asked for."""
        return [one.pagination.limit.value if one.pagination.HasField("limit") else None for one in self.asked]

    @property
    def cursors(self) -> list[str]:
        """The cursors that were sent."""
        return [one.pagination.cursor for one in self.asked]


def put_cursor(response: Any, cursor: str) -> None:
    """Write the cursor into a response of either kind."""
    if response.DESCRIPTOR.fields_by_name["next_page_cursor"].message_type is None:
        response.next_page_cursor = cursor
    else:
        response.next_page_cursor.value = cursor
