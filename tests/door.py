"""The two clients behind one handle, so that a test says once what both have to do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from invora_grpc import AsyncInvora, Invora


class Door:
    """The synchronous client: every call is just made."""

    client_class: Any = Invora

    def __init__(self) -> None:
        self._opened: list[Any] = []

    def open(self, **options: Any) -> Any:
        """A client, closed with the door."""
        client = self.client_class(**options)
        self._opened.append(client)
        return client

    def call(self, rpc: Callable[..., Any], *arguments: Any, **fields: Any) -> Any:
        """The response of a unary call."""
        return rpc(*arguments, **fields)

    def every(self, iterable: Any) -> list[Any]:
        """All that a stream or a list gives."""
        return list(iterable)

    def first(self, stream: Any) -> Any:
        """The first message of a stream, which is then left."""
        with stream:
            return next(stream)

    def converse(self, stream: Any, *requests: Any) -> list[Any]:
        """Send requests one by one, taking an answer after each, then the rest."""
        with stream:
            answers = []
            for request in requests:
                stream.send(request)
                answers.append(next(stream))
            stream.done()
            return [*answers, *stream]

    def cut_off(self, client: Any, entered: threading.Event, rpc: Callable[..., Any], **fields: Any) -> Any:
        """The response of a unary call whose client is closed as soon as the server has it."""
        closing = threading.Thread(target=lambda: entered.wait(10) and client.close())
        closing.start()
        try:
            return rpc(**fields)
        finally:
            closing.join(10)

    def reconcile(self, error: Any) -> Any:
        """What an error of unknown outcome finds out."""
        return error.reconcile()

    def end(self, client: Any, **options: Any) -> None:
        """Close a client."""
        client.close(**options)

    def close(self) -> None:
        """Close all of them."""
        for client in self._opened:
            self.end(client)


class AsyncDoor(Door):
    """The asynchronous client: the same, in an event loop of its own."""

    client_class = AsyncInvora

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 30))

    def call(self, rpc: Callable[..., Any], *arguments: Any, **fields: Any) -> Any:
        async def awaited() -> Any:
            return await rpc(*arguments, **fields)

        return self.run(awaited())

    def every(self, iterable: Any) -> list[Any]:
        async def gathered() -> list[Any]:
            return [item async for item in iterable]

        return self.run(gathered())

    def first(self, stream: Any) -> Any:
        async def taken() -> Any:
            async with stream:
                return await anext(stream)

        return self.run(taken())

    def converse(self, stream: Any, *requests: Any) -> list[Any]:
        async def held() -> list[Any]:
            async with stream:
                answers = []
                for request in requests:
                    await stream.send(request)
                    answers.append(await anext(stream))
                await stream.done()
                return [*answers, *[item async for item in stream]]

        return self.run(held())

    def cut_off(self, client: Any, entered: threading.Event, rpc: Callable[..., Any], **fields: Any) -> Any:
        async def closed() -> Any:
            task = asyncio.ensure_future(rpc(**fields))
            await asyncio.to_thread(entered.wait, 10)
            await client.close()
            return await task

        return self.run(closed())

    def reconcile(self, error: Any) -> Any:
        return self.run(error.reconcile())

    def end(self, client: Any, **options: Any) -> None:
        self.run(client.close(**options))

    def close(self) -> None:
        super().close()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
