"""Streams of `AsyncInvora`: the same as `streaming`, for asyncio.

A stream is opened by its first use, and ended by its last message, by `cancel`, or by leaving its `async with` block.
Requests are pulled one by one as the connection takes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import grpc.aio
from google.protobuf.message import Message

from invora_grpc.attempt import Attempt, broken
from invora_grpc.call import Binding, bind, request
from invora_grpc.driver import aend, arecovered, asend, averified, awaited, cancelled_by_others, linked
from invora_grpc.errors import RequestError
from invora_grpc.status import RpcError
from invora_grpc.streaming import checked_requests, refuse_fields
from invora_grpc.tree import Rpc, documented

__all__ = ["AsyncClientStreamRpc", "AsyncStream", "AsyncStreamRpc"]

R = TypeVar("R")
_END: Final = object()  # stands for a stream's end, where a message could stand
_ITERABLE: Final = (AsyncIterable, Iterable)


class AsyncRequests:
    """The requests of an iterable, of either kind, built one by one as they are sent."""

    def __init__(self, binding: Binding, given: AsyncIterable[object] | Iterable[object]) -> None:
        self._binding = binding
        self._given = given
        self.encode: Callable[[Message], bytes] = Message.SerializeToString
        self.failure: BaseException | None = None
        self.sent = 0
        self.active_at = 0.0
        """When the last request was sent, by the loop's clock; infinity while the caller's iterable is waited for."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        self.active_at = float("inf")
        try:
            async for item in _each(self._given):
                data = self.encode(request(self._binding, item, {}))
                self.active_at = clock()
                self.sent += 1
                yield data
                self.active_at = float("inf")
        except BaseException as error:
            if cancelled_by_others(error) or not isinstance(error, asyncio.CancelledError | GeneratorExit):
                self.failure = error
            raise
        finally:
            self.active_at = clock()


async def _each(given: AsyncIterable[object] | Iterable[object]) -> AsyncIterator[object]:
    if isinstance(given, AsyncIterable):
        async for item in given:
            yield item
    else:
        for item in given:
            yield item


class AsyncStream(Generic[R]):
    """A stream of responses: `async for` over it, at best in an `async with` block, which ends the call when left.

    Raises what a call raises, from the iteration. With an RPC that takes a stream of requests and was called without
    one, requests go by `await send(…)`, and `await done()` says that there are no more.
    """

    def __init__(self, rpc: Rpc, message: Message | None, requests: AsyncRequests | None) -> None:
        self._rpc = rpc
        self._message = message
        self._requests = requests
        self._interactive = message is None and requests is None
        self._call: Attempt
        self._stream: Any = None
        self._refusal: RpcError | None = None
        self._opening = asyncio.Lock()
        self._inflight: deque[None] | None = None
        """Where this stream is counted as under way."""
        self._over = self._cancelled = self._timed_out = self._done = False
        self._started = 0.0
        self._sent = 0
        self._active_at = 0.0
        self._waiting_since: float | None = None
        self._writing_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __aiter__(self) -> AsyncIterator[R]:
        return self

    async def __anext__(self) -> R:
        first = self._stream is None
        if first:
            await self._open()
        if self._over:
            raise StopAsyncIteration
        try:
            answer = await self._receive()
            if isinstance(answer, RpcError):
                if not first or self._requests is not None or self._interactive:
                    raise broken(self._call, answer, self._requests.sent if self._requests is not None else self._sent)
                if self._call.elsewhere(answer):
                    answer = await self._reopen(self._call.options.stream_timeout)
                if isinstance(answer, RpcError):
                    answer = await arecovered(self._call, answer, self._started, self._reopen)
        except BaseException as error:
            self._finish(error)
            raise
        if first:
            self._call.worked()
        if answer is _END:
            self._finish(None)
            raise StopAsyncIteration
        message: R = answer
        return message

    async def send(self, given: object = None, /, **fields: object) -> None:
        """Send one request: a message, a mapping, or keyword arguments. Waits while the connection takes no more.

        Raises RequestError for a request that does not fit, which leaves the stream open, and what ended the stream,
        if it has ended.
        """
        self._check_interactive()
        if self._done:
            raise RequestError("request", type(given), "open another stream", "came after done()")
        message = request(bind(self._rpc.method), given, fields)
        stream = await self._opened()
        if stream is not None and not stream.done() and await self._written(stream, self._call.encoded(message)):
            return
        async for _ in self:
            pass
        raise RequestError("request", type(given), "open another stream", "came after the end of the stream")

    async def done(self) -> None:
        """Say that no more requests come. The server may still send."""
        self._check_interactive()
        stream = await self._opened()
        self._done = True
        if stream is not None and not stream.done():
            await stream.done_writing()

    def cancel(self) -> None:
        """Give the stream up. Iterating over it ends."""
        self._cancelled = True
        if self._stream is not None:
            self._stream.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
        self._finish(None)

    def __del__(self) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop may be closed
            self._finish(None)

    def __repr__(self) -> str:
        return f"<stream of {self._rpc.method.attribute}>"

    def _check_interactive(self) -> None:
        if not self._interactive:
            hint = "call the RPC without requests to send them one by one"
            raise RequestError("request", self._rpc.method.attribute, hint, "takes its requests from an iterable")

    async def _opened(self) -> Any:
        """gRPC's call, begun if it was not yet; None if the stream is over."""
        await self._open()
        return None if self._over else self._stream

    async def _open(self) -> None:
        """Send it, unless it was sent already, by another task maybe, or was given up."""
        async with self._opening:
            if self._stream is not None or self._over:
                return
            try:
                if self._cancelled:
                    return self._finish(None)
                call = self._call = self._attempt()
                call.watch()
                self._started = call.connection.clock()
                await self._start(await awaited(call, self._started))
                if self._over:  # while it was opened
                    self._release()
            except BaseException as error:
                self._finish(error)
                raise

    def _attempt(self) -> Attempt:
        rpc, sent = self._rpc, None if self._requests is None else aiter(self._requests)
        link = linked(rpc._connection, rpc.method)
        call = Attempt(rpc._connection, rpc._options, link, self._message, None, sent)
        if self._requests is not None:
            self._requests.encode = call.encoded
        return call

    async def _start(self, timeout: float | None) -> None:
        call, options = self._call, self._call.options
        begun = call.connection.clock()
        if call.unsure(begun):
            if (refusal := await averified(call, timeout)) is not None:
                if self._message is None:
                    raise refusal
                self._refusal = refusal
                return
            timeout = call.rest(timeout, begun)
        data = call.data if call.link.encode is None else call.encoded()
        try:
            opened = partial(
                call.link.send,
                timeout=timeout,
                metadata=call.metadata(),
                wait_for_ready=options.wait_for_ready,
                compression=options.compression,
            )
            self._stream = opened() if self._interactive else opened(data)
        except BaseException as error:
            failure = error
        else:
            if self._inflight is None:
                self._inflight = call.connection.inflight
                self._inflight.append(None)
            if self._cancelled:  # while it was opened
                self._stream.cancel()
            return
        raise call.failed(failure)

    async def _receive(self) -> Any:
        """The next message, _END, or the typed error."""
        failure: BaseException
        if self._refusal is not None:
            refusal, self._refusal = self._refusal, None
            return refusal
        self._waiting_since = self._watched()
        try:
            answer = await self._stream.read()
        except BaseException as error:
            failure = error
        else:
            return _END if answer is grpc.aio.EOF else self._call.read(answer)
        finally:
            self._waiting_since = None
        by_others = cancelled_by_others(failure)
        if not by_others and not isinstance(failure, grpc.RpcError):
            return self._call.failed(failure)
        if self._requests is not None and self._requests.failure is not None:
            raise self._requests.failure
        if self._timed_out:
            return self._call.idle()
        if self._cancelled:
            return _END
        return self._call.cut() if by_others else self._call.failed(failure)

    async def _written(self, stream: Any, data: bytes) -> bool:
        """Whether the connection took a request; if not, the stream has ended."""
        self._writing_since = self._watched()
        try:
            await stream.write(data)
        except (grpc.RpcError, asyncio.InvalidStateError):
            return False
        except asyncio.CancelledError as error:
            if not cancelled_by_others(error):
                raise
            return False
        finally:
            self._writing_since = None
        self._active_at = asyncio.get_running_loop().time()
        self._sent += 1
        return True

    async def _reopen(self, timeout: float | None) -> Any:
        if self._cancelled:
            return _END
        await self._start(timeout)
        return await self._receive()

    def _watched(self) -> float:
        """Now, by the loop's clock, after seeing to it that somebody looks when what begins now takes too long."""
        loop, limit = asyncio.get_running_loop(), self._rpc._options.idle_timeout
        if limit is not None and self._timer is None:
            self._timer = loop.call_later(limit, AsyncStream._check, weakref.ref(self), loop, limit)
        return loop.time()

    @staticmethod
    def _check(found: Callable[[], AsyncStream[Any] | None], loop: asyncio.AbstractEventLoop, limit: float) -> None:
        stream = found()
        if stream is None or stream._over:
            return
        stream._timer = None
        since = stream._waiting_since if stream._waiting_since is not None else stream._writing_since
        if since is None:
            return
        sent = stream._requests.active_at if stream._requests is not None else stream._active_at
        left = min(limit, max(since, sent) + limit - loop.time())
        if left <= 0:
            stream._timed_out = True
            stream._stream.cancel()
        else:
            stream._timer = loop.call_later(left, AsyncStream._check, found, loop, limit)

    def _finish(self, error: BaseException | None) -> None:
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        call = getattr(self, "_call", None)
        if call is not None and call.seen is not None:
            call.seen.end(error)
        self._release()

    def _release(self) -> None:
        inflight, self._inflight = self._inflight, None
        if inflight is not None:
            inflight.pop()
        if self._stream is not None:
            self._stream.cancel()


class AsyncStreamRpc(Rpc):
    """One RPC that answers with a stream of messages. Returns an `AsyncStream`, without an await.

    Called with a request, or with an iterable of requests (asynchronous or not) if the RPC takes a stream of them, or,
    in that case, with nothing at all: then requests go by `AsyncStream.send`. Raises RequestError if a request does not
    fit the schema.
    """

    __slots__ = ()
    __doc__ = documented(__doc__)

    def __call__(self, given: object = None, /, **fields: object) -> AsyncStream[Any]:
        binding = bind(self.method)
        if not self.method.client_streaming:
            return AsyncStream(self, request(binding, given, fields), None)
        refuse_fields(fields)
        if given is None:
            return AsyncStream(self, None, None)
        return AsyncStream(self, None, AsyncRequests(binding, checked_requests(binding, given, _ITERABLE)))


class AsyncClientStreamRpc(Rpc):
    """One RPC that takes a stream of requests and answers once: await it with an iterable of requests.

    Returns the response. Requests are taken one by one as the connection takes them. Raises as a unary RPC does.
    """

    __slots__ = ()
    __doc__ = documented(__doc__)

    async def __call__(self, given: object, /, **fields: object) -> Any:
        link = linked(self._connection, self.method)
        refuse_fields(fields)
        requests = AsyncRequests(link.binding, checked_requests(link.binding, given, _ITERABLE))
        call = Attempt(self._connection, self._options, link, None, None, aiter(requests))
        requests.encode = call.encoded
        try:
            call.watch()
            answer = await asend(call, await awaited(call, call.connection.clock()))
            if requests.failure is not None:
                raise requests.failure
            if isinstance(answer, RpcError):
                raise broken(call, answer, requests.sent)
        except BaseException as error:
            await aend(call, error, "")
            raise
        await aend(call, None, "")
        return answer
