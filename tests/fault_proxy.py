"""A TCP proxy on loopback that breaks gRPC calls on purpose: which one, where and how is the test's decision.

It reads HTTP/2 frame headers (RFC 9113, 4.1) and nothing else: it counts streams, knows where a request and a reply
begin and end, and can therefore lose a reply after the server has done its work, without any timing. It must not look
into header blocks: they are HPACK, and both ends keep state about them. A frame with headers is therefore dropped only
on a connection that carries no others afterwards.

    with running_proxy(sandbox.grpc) as proxy:
        proxy.script(REPLY_LOST)          # the next request; those after it pass
        proxy.scatter(Random(7), 0.2, (RESET_BEFORE, TORN_REPLY))       # or at random, the same in every run
"""

from __future__ import annotations

import asyncio
import queue
import random
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

_PREFACE: Final = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_DATA, _HEADERS, _RST_STREAM, _PING, _GOAWAY = 0x0, 0x1, 0x3, 0x6, 0x7
_END_STREAM, _ACK = 0x1, 0x1
_LINGER_NONE: Final = struct.pack("ii", 1, 0)  # close() then sends RST instead of FIN

INTERNAL_ERROR: Final = 0x2
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
ENHANCE_YOUR_CALM: Final = 0xB


class Kind(Enum):
    """What happens to a request."""

    PASS = auto()
    RESET_BEFORE = auto()
    """The client has sent all of it, the server gets nothing, the connection is reset."""
    REPLY_LOST = auto()
    """The server has answered in full, the client gets nothing, the connection is reset."""
    TORN_REPLY = auto()
    """Half of the reply's first data frame arrives, then the connection ends."""
    FROZEN_BEFORE = auto()
    """The server gets nothing, the client hears nothing; both connections stay open."""
    FROZEN_AFTER = auto()
    """The server has begun to answer; from then on nothing passes in either direction, and all stays open."""
    RST_BEFORE = auto()
    """The server gets headers without the request and a cancellation; the client gets RST_STREAM with `code`."""
    RST_AFTER = auto()
    """The server has answered in full; the client gets RST_STREAM with `code` instead. The connection goes on."""
    GOAWAY_UNPROCESSED = auto()
    """The client is told that the server goes away and has not touched this request; it has not."""
    GOAWAY_GRACEFUL = auto()
    """The client is told that the server goes away after this request, and gets its reply."""


_BEFORE: Final = frozenset({Kind.RESET_BEFORE, Kind.FROZEN_BEFORE, Kind.GOAWAY_UNPROCESSED})
"""Nothing of the request passes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One request's fate."""

    kind: Kind
    code: int = 0
    """The HTTP/2 error code of an RST_STREAM (RFC 9113, 7)."""
    delay: float = 0.0
    """Seconds for which the end of the request, and all behind it on the connection, is held back first."""


PASS: Final = Fault(Kind.PASS)
RESET_BEFORE: Final = Fault(Kind.RESET_BEFORE)
REPLY_LOST: Final = Fault(Kind.REPLY_LOST)
TORN_REPLY: Final = Fault(Kind.TORN_REPLY)
FROZEN_BEFORE: Final = Fault(Kind.FROZEN_BEFORE)
FROZEN_AFTER: Final = Fault(Kind.FROZEN_AFTER)
GOAWAY_UNPROCESSED: Final = Fault(Kind.GOAWAY_UNPROCESSED)
GOAWAY_GRACEFUL: Final = Fault(Kind.GOAWAY_GRACEFUL)


def rst_before(code: int) -> Fault:
    """RST_STREAM with this error code, before the server has the request."""
    return Fault(Kind.RST_BEFORE, code)


def rst_after(code: int) -> Fault:
    """RST_STREAM with this error code, after the server has answered."""
    return Fault(Kind.RST_AFTER, code)


@dataclass(slots=True)
class Counts:
    """What has been seen so far."""

    connections: int = 0
    requests: int = 0
    """Begun by clients."""
    delivered: int = 0
    """Forwarded to the server in full."""
    answered: int = 0
    """Whose reply was forwarded to the client in full, errors included."""
    pings: int = 0
    """Sent by clients, without their answers to the server's."""
    faults: Counter[str] = field(default_factory=Counter)
    """By the name of their kind, counted when they have happened."""


class FaultProxy:
    """Made by `running_proxy`. Its methods may be called from any thread; it decides in a thread of its own."""

    def __init__(self, target: str) -> None:
        self.target = target
        """host:port that new connections go to. May be changed, as when a server has come back elsewhere."""
        self.counts = Counts()
        self.happened: queue.SimpleQueue[Fault] = queue.SimpleQueue()
        """Faults in the order in which they have happened: `get(timeout=…)` waits for the next one."""
        self._choose: Callable[[], Fault] = lambda: PASS
        self._links: dict[_Link, asyncio.Task[Any] | None] = {}
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def address(self) -> str:
        """host:port for clients."""
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """As an endpoint setting."""
        return f"http://{self.address}"

    def script(self, *faults: Fault) -> None:
        """These are the fates of the next requests, in the order in which they begin; all after them pass."""
        left = deque(faults)
        self._choose = lambda: left.popleft() if left else PASS

    def scatter(self, source: random.Random, rate: float, faults: Sequence[Fault]) -> None:
        """From now on, hit this share of all requests with one of these faults."""
        self._choose = lambda: source.choice(faults) if source.random() < rate else PASS

    def cut(self) -> None:
        """Reset every connection, whatever it is doing."""
        self._run(self._cut())

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Inside, nobody listens: existing connections are reset, new ones are refused."""
        self._run(self._close())
        try:
            yield
        finally:
            self._run(self._listen())

    # In the loop's thread

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        for link in list(self._links):
            link.abort()

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._cut()
        await asyncio.gather(*(task for task in self._links.values() if task), return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        host, _, port = self.target.rpartition(":")
        try:
            server = await asyncio.open_connection(host, int(port))
        except OSError:
            return _reset(writer)
        link = _Link(self, (reader, writer), server)
        self._links[link] = asyncio.current_task()
        try:
            await link.run()
        finally:
            del self._links[link]

    def begin(self) -> Fault:
        """The fate of a request that begins."""
        self.counts.requests += 1
        return self._choose()

    def tell(self, fault: Fault) -> None:
        """A fault has happened."""
        self.counts.faults[fault.kind.name] += 1
        self.happened.put(fault)


@dataclass(frozen=True, slots=True)
class _Frame:
    """One HTTP/2 frame as it travels."""

    kind: int
    flags: int
    stream: int
    raw: bytes

    @property
    def ends(self) -> bool:
        """Whether it is the last one of its direction of its stream."""
        return self.kind in (_DATA, _HEADERS) and bool(self.flags & _END_STREAM)


def _frame(kind: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, 0)) + stream.to_bytes(4, "big") + payload


async def _read(reader: asyncio.StreamReader) -> _Frame:
    head = await reader.readexactly(9)
    raw = head + await reader.readexactly(int.from_bytes(head[:3], "big"))
    return _Frame(head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, raw)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    writer.transport.abort()


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One client's connection and the one to the server that it is forwarded to."""

    def __init__(self, proxy: FaultProxy, client: Ends, server: Ends) -> None:
        self._proxy = proxy
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._fates: dict[int, Fault] = {}
        self._gone = False  # told the client to go away: what it begins now is not processed
        self._deaf = False  # nothing goes to the client any more
        self._frozen = False
        self._aborted = asyncio.Event()

    async def run(self) -> None:
        """Forward both ways until one end closes or a fault ends the connection."""
        work = [asyncio.ensure_future(one) for one in (self._outward(), self._inward(), self._aborted.wait())]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in work:
                one.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            self._to_server.close()
            self._to_client.close()

    def abort(self) -> None:
        """Reset both connections."""
        _reset(self._to_client)
        _reset(self._to_server)
        self._aborted.set()

    async def _outward(self) -> None:
        with suppress(OSError, EOFError):
            self._to_server.write(await self._from_client.readexactly(_PREFACE))
            while True:
                frame = await _read(self._from_client)
                if self._frozen:
                    await asyncio.Event().wait()
                await self._request(frame)
                await self._to_server.drain()

    async def _inward(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                frame = await _read(self._from_server)
                if self._frozen:
                    await asyncio.Event().wait()
                await self._reply(frame)
                await self._to_client.drain()

    async def _request(self, frame: _Frame) -> None:
        if frame.kind == _PING and not frame.flags & _ACK:
            self._proxy.counts.pings += 1
        begins = frame.kind == _HEADERS and frame.stream not in self._fates
        if begins:
            self._fates[frame.stream] = Fault(Kind.GOAWAY_UNPROCESSED) if self._gone else self._proxy.begin()
        fate = self._fates.get(frame.stream, PASS)
        if frame.ends and fate.delay:
            await asyncio.sleep(fate.delay)
        if fate.kind not in _BEFORE and (fate.kind is not Kind.RST_BEFORE or begins):
            self._to_server.write(frame.raw)
            self._proxy.counts.delivered += frame.ends
        if frame.ends:
            self._break_request(frame.stream, fate)

    def _break_request(self, stream: int, fate: Fault) -> None:
        """The client has sent the whole request: what happens before the server has it."""
        if fate.kind is Kind.RESET_BEFORE:
            self.abort()
        elif fate.kind is Kind.FROZEN_BEFORE:
            self._frozen = True
        elif fate.kind is Kind.RST_BEFORE:
            self._to_server.write(_frame(_RST_STREAM, stream, CANCEL.to_bytes(4, "big")))
            self._to_client.write(_frame(_RST_STREAM, stream, fate.code.to_bytes(4, "big")))
        elif fate.kind in (Kind.GOAWAY_UNPROCESSED, Kind.GOAWAY_GRACEFUL):
            if self._gone:
                return  # it has been told already
            self._gone = True
            last = stream if fate.kind is Kind.GOAWAY_GRACEFUL else stream - 2
            self._to_client.write(_frame(_GOAWAY, 0, max(last, 0).to_bytes(4, "big") + bytes(4)))
        else:
            return
        self._proxy.tell(fate)

    async def _reply(self, frame: _Frame) -> None:
        fate = self._fates.get(frame.stream, PASS)
        if fate.kind is Kind.FROZEN_AFTER and not self._frozen:
            self._frozen = True
            self._proxy.tell(fate)
            return
        if fate.kind is Kind.REPLY_LOST:
            self._deaf = True
        if self._deaf:
            self._lose(frame, fate)
        elif fate.kind is Kind.TORN_REPLY and (frame.kind == _DATA or frame.ends):
            await self._tear(frame, fate)
        elif fate.kind is Kind.RST_AFTER and frame.kind in (_DATA, _HEADERS):
            self._answer_with_rst(frame, fate)
        elif fate.kind is not Kind.RST_BEFORE or frame.kind == _HEADERS:
            self._to_client.write(frame.raw)
            self._proxy.counts.answered += frame.ends

    def _lose(self, frame: _Frame, fate: Fault) -> None:
        """Keep everything from the client, as later headers cannot be read without earlier ones; reset at the end."""
        if frame.ends and fate.kind is Kind.REPLY_LOST:
            self._proxy.tell(fate)
            self.abort()

    async def _tear(self, frame: _Frame, fate: Fault) -> None:
        """Half a frame, then the end of the stream of bytes: no reset, which could overtake that half."""
        self._to_client.write(frame.raw[: 9 + (len(frame.raw) - 9) // 2])
        self._to_client.write_eof()
        self._deaf = True
        self._proxy.tell(fate)

    def _answer_with_rst(self, frame: _Frame, fate: Fault) -> None:
        """Headers pass, for the sake of HPACK; the last of them behind the RST_STREAM, where nobody minds them."""
        if frame.ends:
            self._to_client.write(_frame(_RST_STREAM, frame.stream, fate.code.to_bytes(4, "big")))
            self._proxy.tell(fate)
        if frame.kind == _HEADERS:
            self._to_client.write(frame.raw)


@contextmanager
def running_proxy(target: str) -> Iterator[FaultProxy]:
    """A proxy to `target` (host:port) on a free port of 127.0.0.1."""
    proxy = FaultProxy(target)
    thread = threading.Thread(target=proxy._loop.run_forever, name="fault proxy", daemon=True)
    thread.start()
    try:
        proxy._run(proxy._listen())
        yield proxy
    finally:
        proxy._run(proxy._close())
        proxy._loop.call_soon_threadsafe(proxy._loop.stop)
        thread.join()
        proxy._loop.close()
