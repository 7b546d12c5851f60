"""Streams: messages as they come, requests as they are taken, and what ends both.

A stream is opened by its first use, and ended by its last message, by `cancel`, or by leaving its `with` block.
Requests are pulled one by one as the connection takes them, so that a slow server slows down whoever feeds it. What
was not answered before the stream broke is not sent again: only a read that brought nothing yet is opened anew.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import grpc
from google.protobuf.message import Message

from invora_grpc.attempt import Attempt, broken
from invora_grpc.call import Binding, request
from invora_grpc.driver import end, recovered, send, verified, waited
from invora_grpc.errors import RequestError
from invora_grpc.status import RpcError
from invora_grpc.tree import Rpc, documented

__all__ = ["ClientStreamRpc", "Feed", "Stream", "StreamRpc", "checked_requests"]

R = TypeVar("R")
FEED_LIMIT: Final = 16
"""Requests that `send` takes before it waits for the connection."""
_END: Final = object()
"""What stands for a stream's end, where a message could stand."""


def checked_requests(binding: Binding, given: object, kinds: tuple[type, ...] = (Iterable,)) -> Any:
    """`given`, if it is something to stream from. Raises RequestError."""
    if not isinstance(given, kinds) or isinstance(given, Mapping | str | bytes | Message):
        hint = "give an iterable of messages or mappings"
        raise RequestError("requests", given, hint, f"is not what {binding.method.attribute} streams")
    return given


def refuse_fields(fields: Mapping[str, object]) -> None:
    """Raises RequestError for keyword arguments, where a stream of requests is asked for."""
    if fields:
        name = next(iter(fields))
        raise RequestError(name, fields[name], "give one iterable of requests", "is no stream of requests")


class Requests:
    """The requests of an iterable, built one by one as they are sent, and what went wrong with one of them.

    gRPC reads them in a thread of its own and tells no more of an exception there than that there was one.
    """

    def __init__(self, binding: Binding, given: Iterable[object]) -> None:
        self._binding = binding
        self._given = iter(given)
        self.encode: Callable[[Message], bytes] = Message.SerializeToString
        self.failure: BaseException | None = None
        self.sent = 0
        self.active_at = 0.0
        """When the last request was sent, by time.monotonic; infinity while the caller's iterable is waited for."""

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.active_at = float("inf")
        try:
            data = self.encode(request(self._binding, next(self._given), {}))
        except StopIteration:
            raise
        except BaseException as error:
            self.failure = error
            if isinstance(error, Exception):
                raise
            raise RuntimeError("there are no more requests") from None  # what is no Exception, gRPC lets the call hang
        finally:
            self.active_at = time.monotonic()
        self.sent += 1
        return data


class Feed:
    """The requests that `send` is given, handed on to gRPC's own thread as it asks for them."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self.finished = False
        """Whether there are no more requests."""
        self._over = False
        self.failure: BaseException | None = None
        self.sent = 0
        self.active_at = 0.0
        self.full_since: float | None = None
        """Since when, by time.monotonic, one request more waits for the connection to take another one."""

    def put(self, data: bytes) -> bool:
        """Hand on one request, waiting while too many are. False if the stream is over."""
        with self._changed:
            if len(self._waiting) >= FEED_LIMIT:
                self.full_since = time.monotonic()
            try:
                self._changed.wait_for(lambda: self._over or len(self._waiting) < FEED_LIMIT)
            finally:
                self.full_since = None
            if self._over:
                return False
            self._waiting.append(data)
            self._changed.notify_all()
            return True

    def done(self) -> None:
        """No more requests come."""
        with self._changed:
            self.finished = True
            self._changed.notify_all()

    def over(self) -> None:
        """No more requests are taken."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.finished or self._over)
            if not self._waiting or self._over:
                raise StopIteration
            data = self._waiting.popleft()
            self._changed.notify_all()
        self.active_at = time.monotonic()
        self.sent += 1
        return data


class Stream(Generic[R]):
    """A stream of responses: iterate over it, at best in a `with` block, which ends the call when it is left.

    Raises what a call raises, from the iteration. With an RPC that takes a stream of requests and was called without
    one, requests go by `send`, and `done` says that there are no more. Not to be shared by threads, except that one
    may send while another iterates, and any may cancel.
    """

    def __init__(self, call: Attempt, requests: Requests | Feed | None) -> None:
        self._call = call
        self._requests = requests
        self._rendezvous: Any = None
        self._refusal: RpcError | None = None
        """Why it could not be opened, until whoever waits for it is told."""
        self._opening = threading.Lock()
        self._inflight: deque[None] | None = None
        """Where this stream is counted as under way."""
        self._over = False
        self._cancelled = False
        self._started = 0.0
        self._waiting_since: float | None = None
        self._timed_out = False

    def __iter__(self) -> Iterator[R]:
        return self

    def __next__(self) -> R:
        first = self._rendezvous is None
        if first:
            self._open()
        if self._over:
            raise StopIteration
        try:
            answer = self._receive()
            if isinstance(answer, RpcError):
                if self._requests is not None or not first:
                    raise broken(self._call, answer, 1 if self._requests is None else self._requests.sent)
                if self._call.elsewhere(answer):
                    answer = self._reopen(self._call.options.stream_timeout)
                if isinstance(answer, RpcError):
                    answer = recovered(self._call, answer, self._started, self._reopen)
        except BaseException as error:
            self._finish(error)
            raise
        if first:
            self._call.worked()
        if answer is _END:
            self._finish(None)
            raise StopIteration
        message: R = answer
        return message

    def send(self, given: object = None, /, **fields: object) -> None:
        """Send one request: a message, a mapping, or keyword arguments. Waits while the connection takes no more.

        Raises RequestError for a request that does not fit, which leaves the stream open, and what ended the stream,
        if it has ended.
        """
        feed = self._feed()
        if feed.finished:
            raise RequestError("request", type(given), "open another stream", "came after done()")
        message = request(self._call.link.binding, given, fields)
        self._open()
        if not feed.put(self._call.encoded(message)):
            for _ in self:  # what comes now is the error that ended the stream, if it was one
                pass
            raise RequestError("request", type(given), "open another stream", "came after the end of the stream")

    def done(self) -> None:
        """Say that no more requests come. The server may still send."""
        feed = self._feed()
        self._open()
        feed.done()

    def cancel(self) -> None:
        """Give the stream up. Iterating over it ends."""
        self._cancelled = True
        if self._rendezvous is not None:
            self._rendezvous.cancel()
        if isinstance(self._requests, Feed):
            self._requests.over()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
        self._finish(None)

    def __del__(self) -> None:
        self._finish(None)

    def __repr__(self) -> str:
        return f"<stream of {self._call.link.method.attribute}>"

    def idle_left(self, now: float) -> float | None:
        """Seconds that the server may go on being silent; None if the stream is over."""
        limit = self._call.options.idle_timeout
        if self._over or limit is None:
            return None
        since, sent = self._waiting_since, self._requests.active_at if self._requests is not None else 0.0
        if since is None and isinstance(self._requests, Feed):
            since = self._requests.full_since
        return limit if since is None else min(limit, max(since, sent) + limit - now)

    def end_idle(self) -> None:
        """End it, since it was silent for too long: whoever waits for it gets DeadlineExceeded."""
        self._timed_out = True
        self._rendezvous.cancel()

    def _feed(self) -> Feed:
        if not isinstance(self._requests, Feed):
            hint = "call the RPC without requests to send them one by one"
            raise RequestError("request", self._call.link.method.attribute, hint, "takes its requests from an iterable")
        return self._requests

    def _open(self) -> None:
        """Send it, unless it was sent already, by another thread maybe, or was given up."""
        with self._opening:
            if self._rendezvous is not None or self._over:
                return
            call = self._call
            try:
                if self._cancelled:
                    return self._finish(None)
                call.watch()
                self._started = call.connection.clock()
                self._start(waited(call, self._started))
                if self._over:  # while it was opened
                    self._release()
            except BaseException as error:
                self._finish(error)
                raise

    def _start(self, timeout: float | None) -> None:
        call, options = self._call, self._call.options
        begun = call.connection.clock()
        if call.unsure(begun):
            if (refusal := verified(call, timeout)) is not None:
                if self._requests is not None:
                    raise refusal
                self._refusal = refusal  # a read is tried again, as after any failure
                return
            timeout = call.rest(timeout, begun)
        data = call.data if call.link.encode is None else call.encoded()
        try:
            self._rendezvous = call.link.send(
                data, timeout, call.metadata(), None, options.wait_for_ready, options.compression
            )
        except BaseException as error:
            failure = error
        else:
            if self._inflight is None:
                self._inflight = call.connection.inflight
                self._inflight.append(None)
            if self._cancelled:  # while it was opened
                self._rendezvous.cancel()
            if isinstance(self._requests, Feed):
                self._rendezvous.add_callback(self._requests.over)
            if options.idle_timeout is not None:
                _WATCH.add(self)
            return
        raise call.failed(failure)

    def _receive(self) -> Any:
        """The next message, _END, or the typed error."""
        failure: BaseException
        if self._refusal is not None:
            refusal, self._refusal = self._refusal, None
            return refusal
        self._waiting_since = time.monotonic()
        try:
            return next(self._rendezvous)
        except StopIteration:
            return _END
        except BaseException as error:
            failure = error
        finally:
            self._waiting_since = None
        if not isinstance(failure, grpc.RpcError):
            return self._call.failed(failure)
        if self._requests is not None and self._requests.failure is not None:
            raise self._requests.failure
        if self._timed_out:
            return self._call.idle()
        return _END if self._cancelled else self._call.failed(failure)

    def _reopen(self, timeout: float | None) -> Any:
        if self._cancelled:
            return _END
        self._start(timeout)
        return self._receive()

    def _finish(self, error: BaseException | None) -> None:
        if self._over:
            return
        self._over = True
        self._release()
        if isinstance(self._requests, Feed):
            self._requests.over()
        if self._call.seen is not None:
            end(self._call, error, "")

    def _release(self) -> None:
        inflight, self._inflight = self._inflight, None
        if inflight is not None:
            inflight.pop()
        if self._rendezvous is not None:
            self._rendezvous.cancel()


class StreamRpc(Rpc):
    """One RPC that answers with a stream of messages. Returns a `Stream`.

    Called with a request, or with an iterable of requests if the RPC takes a stream of them, or, in that case, with
    nothing at all: then requests go by `Stream.send`. Raises RequestError if a request does not fit the schema.
    """

    __slots__ = ()
    __doc__ = documented(__doc__)

    def __call__(self, given: object = None, /, **fields: object) -> Stream[Any]:
        link = self._connection.link(self.method)
        new = partial(Attempt, self._connection, self._options, link)
        if not self.method.client_streaming:
            return Stream(new(request(link.binding, given, fields), None), None)
        refuse_fields(fields)
        if given is None:
            feed = Feed()
            return Stream(new(None, None, feed), feed)
        requests = Requests(link.binding, checked_requests(link.binding, given))
        call = new(None, None, requests)
        requests.encode = call.encoded
        return Stream(call, requests)


class ClientStreamRpc(Rpc):
    """One RPC that takes a stream of requests and answers once: call it with an iterable of requests.

    Returns the response. Requests are taken one by one as the connection takes them. Raises as a unary RPC does.
    """

    __slots__ = ()
    __doc__ = documented(__doc__)

    def __call__(self, given: object, /, **fields: object) -> Any:
        link = self._connection.link(self.method)
        refuse_fields(fields)
        requests = Requests(link.binding, checked_requests(link.binding, given))
        call = Attempt(self._connection, self._options, link, None, None, requests)
        requests.encode = call.encoded
        try:
            call.watch()
            answer = send(call, waited(call, call.connection.clock()))
            if requests.failure is not None:
                raise requests.failure
            if isinstance(answer, RpcError):
                raise broken(call, answer, requests.sent)
        except BaseException as error:
            end(call, error, "")
            raise
        end(call, None, "")
        return answer


class _IdleWatch:
    """Ends streams that are waited for too long. One thread for the process, which runs while there are streams."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, as after a fork: the thread is not in the child, and the lock may be held for ever."""
        self._streams: weakref.WeakSet[Stream[Any]] = weakref.WeakSet()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, stream: Stream[Any]) -> None:
        """Watch a stream until it is over."""
        with self._changed:
            self._streams.add(stream)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="invora-grpc-idle-streams", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                pause = self._check()
                if pause is None:
                    self._thread = None
                    return
                self._changed.wait(pause)

    def _check(self) -> float | None:
        """Seconds until the next look; None if there is nothing to look at. Ends what has waited too long."""
        now, pause = time.monotonic(), None
        for stream in list(self._streams):
            left = stream.idle_left(now)
            if left is None:
                self._streams.discard(stream)
            elif left <= 0:
                stream.end_idle()
                self._streams.discard(stream)
            else:
                pause = left if pause is None else min(pause, left)
        return pause


_WATCH: Final = _IdleWatch()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_WATCH.reset)
