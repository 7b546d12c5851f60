"""Carrying out a session of server reflection: once with blocking streams, once with asyncio.

This room opens streams, sends and waits, all within one deadline. What to ask, and what the answers mean, is
`invora_grpc.schema.reflection`'s. It starts no thread. Metadata holds tokens: no frame that an error passes through
keeps any, and no error does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final

import grpc
import grpc.aio

from invora_grpc.config import Secret
from invora_grpc.schema.protocol import path
from invora_grpc.schema.reflection import Ended, Open, Send, Served, Wanted, session
from invora_grpc.status import from_status, masked

__all__ = ["areflect", "reflect"]

Metadata = Sequence[tuple[str, str | bytes]]

_CLOSED: Final = Ended("CANCELLED", "the channel is closed")
_CORE: Final = "Internal error from Core"
"""What grpc.aio puts in place of the status if a server ends a stream while something is being sent."""


def reflect(
    channel: grpc.Channel,
    *,
    metadata: Metadata = (),
    timeout: float,
    endpoint: str,
    services: Iterable[str] | None = None,
    symbols: Iterable[str] = (),
    file_names: Iterable[str] = (),
    extensions_of: Iterable[str] = (),
    protocol: str | None = None,
    wait_for_ready: bool | None = None,
) -> Served:
    """What the gateway behind a channel serves, with the descriptors of `services` and of all that they need.

    `services` None: of all that it lists; (): of none. Besides, descriptors by symbol, by file name, and of the
    extensions of a message type. `timeout`: seconds for everything. `endpoint`: what errors call it. `protocol`: the
    version (`v1` or `v1alpha`) that it spoke the last time, which is tried first. `wait_for_ready`: wait for a
    connection instead of failing without one. Raises ReflectionError.
    """
    streams = _Streams(channel, metadata, timeout, wait_for_ready)
    del metadata  # the traceback of an error keeps this frame
    steps = session(endpoint, _wanted(services, symbols, file_names, extensions_of), protocol)
    answer: bytes | Ended | None = None
    try:
        while True:
            step = steps.send(answer)
            answer = None
            if isinstance(step, Open):
                streams.open(step.protocol)
            elif isinstance(step, Send):
                streams.send(step.requests)
            else:
                answer = streams.read()
    except StopIteration as over:
        served: Served = over.value
        return served
    finally:
        streams.close()


async def areflect(
    channel: grpc.aio.Channel,
    *,
    metadata: Metadata = (),
    timeout: float,
    endpoint: str,
    services: Iterable[str] | None = None,
    symbols: Iterable[str] = (),
    file_names: Iterable[str] = (),
    extensions_of: Iterable[str] = (),
    protocol: str | None = None,
    wait_for_ready: bool | None = None,
) -> Served:
    """As `reflect`, on a channel of grpc.aio."""
    streams = _AsyncStreams(channel, metadata, timeout, wait_for_ready)
    del metadata  # the traceback of an error keeps this frame
    steps = session(endpoint, _wanted(services, symbols, file_names, extensions_of), protocol)
    answer: bytes | Ended | None = None
    try:
        while True:
            step = steps.send(answer)
            answer = None
            if isinstance(step, Open):
                streams.open(step.protocol)
            elif isinstance(step, Send):
                await streams.send(step.requests)
            else:
                answer = await streams.read()
    except StopIteration as over:
        served: Served = over.value
        return served
    finally:
        streams.close()


def _wanted(
    services: Iterable[str] | None, symbols: Iterable[str], file_names: Iterable[str], extensions_of: Iterable[str]
) -> Wanted:
    named = None if services is None else tuple(services)
    return Wanted(named, tuple(symbols), tuple(file_names), tuple(extensions_of))


class _Deadline:
    """What the streams of one session share: where to, with which metadata, and until when."""

    def __init__(self, channel: Any, metadata: Metadata, timeout: float, wait_for_ready: bool | None) -> None:
        self._channel = channel
        self._metadata = tuple(metadata)
        self._timeout = timeout
        self._wait_for_ready = wait_for_ready
        self._end = time.monotonic() + timeout

    def _left(self) -> float:
        return max(self._end - time.monotonic(), 0.0)

    def _ended(self, code: grpc.StatusCode, message: str) -> Ended:
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and not self._left():
            message = f"no answer within {self._timeout:g} s"
        for name, value in self._metadata:
            if name == "authorization" and value:
                message = masked(message, Secret(str(value).rpartition(" ")[2]))
        hint = from_status(code, message).hint if code is grpc.StatusCode.UNAVAILABLE else ""
        return Ended(code.name, message, hint)


class _Streams(_Deadline):
    """The streams of a session, one at a time. What fails is told by `read`."""

    _call: Any = None
    _requests: SimpleQueue[bytes | None]

    def open(self, protocol: str) -> None:
        """Give up the stream before, and open one."""
        self.close()
        self._requests = SimpleQueue()
        method = self._channel.stream_stream(path(protocol))
        with suppress(ValueError):  # the channel is closed
            requests = iter(self._requests.get, None)
            self._call = method(
                requests, timeout=self._left(), metadata=self._metadata, wait_for_ready=self._wait_for_ready
            )

    def send(self, requests: Iterable[bytes]) -> None:
        """Send these soon."""
        for request in requests:
            self._requests.put(request)

    def read(self) -> bytes | Ended:
        """The next answer, or how the stream has ended."""
        if self._call is None:
            return _CLOSED
        try:
            answer: bytes = next(self._call)
        except StopIteration:
            return Ended("OK")
        except grpc.RpcError:
            return self._ended(self._call.code(), self._call.details() or "")
        return answer

    def close(self) -> None:
        """Give up the stream. May be called again."""
        if self._call is not None:
            self._requests.put(None)  # lets go of the thread in which grpc waits for requests
            self._call.cancel()
            self._call = None


class _AsyncStreams(_Deadline):
    """The same for grpc.aio."""

    _call: Any = None
    _path = ""
    _first = b""
    _heard = False

    def open(self, protocol: str) -> None:
        """Give up the stream before, and open one."""
        self.close()
        self._path, self._first, self._heard = path(protocol), b"", False
        method = self._channel.stream_stream(self._path)
        with suppress(grpc.aio.UsageError):  # the channel is closed
            self._call = method(timeout=self._left(), metadata=self._metadata, wait_for_ready=self._wait_for_ready)

    async def send(self, requests: Sequence[bytes]) -> None:
        """Send these."""
        if self._call is None:
            return
        self._first = self._first or requests[0]
        try:
            for request in requests:
                await self._call.write(request)
        except (grpc.RpcError, asyncio.InvalidStateError):
            return  # it has ended
        except asyncio.CancelledError:
            if not _by_others():
                raise

    async def read(self) -> bytes | Ended:
        """The next answer, or how the stream has ended."""
        if self._call is None:
            return _CLOSED
        try:
            answer = await self._call.read()
        except grpc.RpcError:
            return await self._status()
        except asyncio.CancelledError:
            if not _by_others():
                raise
            return _CLOSED
        self._heard = self._heard or isinstance(answer, bytes)
        return answer if isinstance(answer, bytes) else Ended("OK")

    async def _status(self) -> Ended:
        """How the stream has ended. If grpc.aio has lost the status, a stream of one request is to bring it."""
        if await self._call.details() == _CORE:
            self.close()
            self._call = self._channel.unary_stream(self._path)(
                self._first, timeout=self._left(), metadata=self._metadata
            )
            with suppress(grpc.RpcError):
                while isinstance(await self._call.read(), bytes):
                    pass
                code = "UNKNOWN" if self._heard else "UNAVAILABLE"  # for a while, since now there is an answer
                return Ended(code, "the stream was ended while requests were sent")
        return self._ended(await self._call.code(), await self._call.details() or "")

    def close(self) -> None:
        """Give up the stream. May be called again."""
        if self._call is not None:
            self._call.cancel()
            self._call = None


def _by_others() -> bool:
    """Whether gRPC's call was cancelled, as by closing the channel, and not the task that waits for it."""
    task = asyncio.current_task()
    return task is None or not task.cancelling()
