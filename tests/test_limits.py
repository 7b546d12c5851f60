"""Where a client must not hang, grow or give up: dead connections, replies that are too large, servers that come back.

Against real servers on loopback. The reply that unpacks to a gibibyte comes from a server that is written by hand here,
since no library sends one, and is met in a process of its own, whose memory is measured.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import pytest
from fault_proxy import FROZEN_AFTER, FROZEN_BEFORE, Fault, FaultProxy, running_proxy
from gateway import Gateway, running_gateway

from invora_grpc import Invora, OutcomeUnknown, ResourceExhausted, Unavailable
from invora_grpc.call import DEFAULT_IDLE_TIMEOUT, bind
from invora_grpc.catalog import catalog
from invora_grpc.channel import MAX_RECEIVE_BYTES, channel_options
from invora_grpc.config import parse_endpoint

GET = catalog().method("invoicing.parties.get").path
UPDATE = catalog().method("invoicing.parties.update").path


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running_gateway() as running:
        yield running


@pytest.fixture
def proxy(gateway: Gateway) -> Iterator[FaultProxy]:
    with running_proxy(gateway.address) as running:
        yield running


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[Invora]:
    with Invora(endpoint=proxy.url, token="t") as made:
        yield made


# A connection that is dead without saying so


PAUSE, PATIENCE = "grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms"


def test_a_frozen_connection_is_noticed_in_half_a_minute_by_its_pings() -> None:
    options = dict(channel_options(parse_endpoint("http://127.0.0.1:1")))
    assert int(options[PAUSE]) + int(options[PATIENCE]) < 30_000


def test_a_connection_that_answers_no_pings_is_given_up_while_a_call_is_under_way(proxy: FaultProxy) -> None:
    """A read, which is made again on a new connection, and a write are waiting for it. The first ping comes sooner here
    than by default, so that the wait is short; gRPC gives up 10 s later whatever it is told (measured: 1.85)."""
    with Invora(endpoint=proxy.url, token="t", timeout=100, channel_options=[(PAUSE, 1000)]) as client:
        client.invoicing.parties.get(key="warm")
        proxy.script(FROZEN_BEFORE)
        begun = time.monotonic()
        with futures.ThreadPoolExecutor(2) as callers:
            read = callers.submit(client.invoicing.parties.get, key="k")
            proxy.happened.get(timeout=5)
            write = callers.submit(client.invoicing.parties.update, key="k")
            assert read.result(60) is not None
            assert isinstance(write.exception(60), OutcomeUnknown)
    assert time.monotonic() - begun < 20
    assert proxy.counts.connections == 2


@pytest.mark.parametrize("fault", [FROZEN_BEFORE, FROZEN_AFTER], ids=["before", "after"])
@pytest.mark.parametrize("rpc", ["update", "create"])
def test_a_deadline_ends_a_write_on_a_frozen_connection_whose_outcome_is_then_unknown(
    client: Invora, proxy: FaultProxy, rpc: str, fault: Fault
) -> None:
    client.invoicing.parties.get(key="warm")
    proxy.script(fault)
    begun = time.monotonic()
    with pytest.raises(OutcomeUnknown) as caught:
        getattr(client.with_options(timeout=0.5).invoicing.parties, rpc)(key="k")
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.key == "k"
    assert 0.4 < time.monotonic() - begun < 5


# Pings

PINGS_WITHOUT_DATA = 2
"""What gRPC sends at its own pace; further ones at most once a minute (measured: grpcio 1.85)."""
MOST_PINGS = 4
"""On a connection that is silent otherwise: the fifth one makes a gRPC server hang up, since it minds pings that come
more often than every five minutes, forgives two, and began to count at the third."""


def test_a_stream_that_is_silent_as_long_as_it_may_be_is_not_ended_for_its_pings() -> None:
    options = dict(channel_options(parse_endpoint("http://127.0.0.1:1")))
    pause = int(options["grpc.keepalive_time_ms"]) / 1000
    assert options["grpc.keepalive_permit_without_calls"] == 0
    early = min(PINGS_WITHOUT_DATA, DEFAULT_IDLE_TIMEOUT // pause)
    late = max(0.0, DEFAULT_IDLE_TIMEOUT - PINGS_WITHOUT_DATA * pause) // max(60.0, pause)
    assert early + late <= MOST_PINGS


def test_busy_connections_are_not_pinged(client: Invora, proxy: FaultProxy) -> None:
    for _ in range(300):
        client.invoicing.parties.get(key="k")
    assert proxy.counts.requests == 300
    assert proxy.counts.pings <= 1


# Replies that are too large


def large(request: Any, context: grpc.ServicerContext) -> Any:
    response: Any = bind(catalog().method("invoicing.parties.get")).response_class()
    response.details.id.key = "x" * MAX_RECEIVE_BYTES
    return response


def test_a_reply_over_the_limit_is_a_typed_error_that_names_the_way_out(client: Invora, gateway: Gateway) -> None:
    gateway.answers[GET] = large
    with pytest.raises(ResourceExhausted, match="smaller pages") as caught:
        client.invoicing.parties.get(key="k")
    assert "message larger than max" in caught.value.message
    assert len(gateway.received) == 1, "it would be as large the next time"


def test_a_write_whose_reply_is_over_the_limit_may_have_been_carried_out(client: Invora, gateway: Gateway) -> None:
    gateway.answers[UPDATE] = large
    with pytest.raises(OutcomeUnknown) as caught:
        client.invoicing.parties.update(key="k")
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(gateway.received) == 1


BOMB = 1 << 30
"""Bytes that the reply unpacks to."""
MOST_GROWTH = 150 * 1024
"""KiB of memory."""
MEASURED = """
import json, resource, sys
from invora_grpc import Invora, RpcError
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with Invora(endpoint=sys.argv[1], token="t", timeout=60) as client:
    try:
        client.billing.customers.get(id="warm")
    except RpcError as error:
        pass
    before = peak()
    try:
        client.invoicing.parties.get(key="k")
        told = "an answer"
    except RpcError as error:
        told = f"{type(error).__name__}: {error}"
print(json.dumps({"told": told, "growth": peak() - before}))
"""


def test_a_reply_that_unpacks_to_a_gibibyte_is_refused_in_little_memory() -> None:
    with serving_bombs() as port:
        command = [sys.executable, "-c", MEASURED, f"http://127.0.0.1:{port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["told"].startswith("ResourceExhausted"), result
    assert "larger than max" in result["told"]
    assert result["growth"] < MOST_GROWTH


def bomb() -> bytes:
    """A gzip stream of a gibibyte of zeros: one block, as often as it takes, as each begins afresh."""
    block = bytes(1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    one = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(BOMB // len(block)):
        checksum = zlib.crc32(block, checksum)
    head = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    tail = packer.flush(zlib.Z_FINISH) + struct.pack("<II", checksum, BOMB & 0xFFFFFFFF)
    return head + one * (BOMB // len(block)) + tail


DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0x0, 0x1, 0x4, 0x6, 0x8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
INITIAL_WINDOW_SIZE = 0x4


class Windows:
    """How much a peer takes at the moment (RFC 9113, 5.2)."""

    def __init__(self) -> None:
        self.initial = 65_535
        self.connection = 65_535
        self.streams: dict[int, int] = {}

    def grown(self, stream: int, by: int) -> None:
        if stream:
            self.streams[stream] = self.streams.get(stream, self.initial) + by
        else:
            self.connection += by

    def take(self, stream: int, wanted: int) -> int:
        granted = max(0, min(wanted, 16_384, self.connection, self.streams.setdefault(stream, self.initial)))
        self.connection -= granted
        self.streams[stream] -= granted
        return granted


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header field that no table remembers (RFC 7541, 6.2.2)."""
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


def answer_with(reply: bytes, connection: socket.socket) -> None:
    """Answer every call of one connection with this message, flagged as gzip, for as long as the peer listens."""
    stream_of_bytes = connection.makefile("rb")
    stream_of_bytes.read(len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
    connection.sendall(frame(SETTINGS, 0, 0))
    head = b"\x88" + literal(b"content-type", b"application/grpc") + literal(b"grpc-encoding", b"gzip")
    body = b"\x01" + len(reply).to_bytes(4, "big") + reply
    windows, sent = Windows(), dict[int, int]()
    while header := stream_of_bytes.read(9):
        payload = stream_of_bytes.read(int.from_bytes(header[:3], "big"))
        kind, flags, stream = header[3], header[4], int.from_bytes(header[5:], "big")
        if kind == SETTINGS and not flags & ACK:
            for number, value in struct.iter_unpack(">HI", payload):
                windows.initial = value if number == INITIAL_WINDOW_SIZE else windows.initial
            connection.sendall(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            connection.sendall(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            windows.grown(stream, int.from_bytes(payload, "big"))
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            connection.sendall(frame(HEADERS, END_HEADERS, stream, head))
            sent[stream] = 0
        for one, begun in sent.items():
            while granted := windows.take(one, len(body) - begun):
                connection.sendall(frame(DATA, 0, one, body[begun : begun + granted]))
                sent[one] = begun = begun + granted


@contextmanager
def serving_bombs() -> Iterator[int]:
    """A port where every call is answered with the bomb."""
    reply = bomb()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        answer_with(reply, connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]


# A server that comes back


@contextmanager
def gateway_on(port: int) -> Iterator[Gateway]:
    """A gateway on this port."""
    gateway = Gateway()
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[gateway], options=[("grpc.so_reuseport", 0)])
    gateway.address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    server.start()
    try:
        yield gateway
    finally:
        server.stop(0).wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_after_a_restart_of_the_server_the_next_call_succeeds() -> None:
    port = free_port()
    with Invora(endpoint=f"http://127.0.0.1:{port}", token="t") as client:
        for _ in range(5):
            with gateway_on(port) as gateway:
                client.invoicing.parties.get(key="k")
                client.invoicing.parties.create(key="k")
            assert len(gateway.received) == 2


def test_calls_that_failed_while_the_server_was_down_do_not_delay_those_after_it_is_back() -> None:
    port = free_port()
    with Invora(endpoint=f"http://127.0.0.1:{port}", token="t") as client:
        for _ in range(10):
            with pytest.raises(Unavailable):
                client.with_options(retry=False).invoicing.parties.get(key="k")
        with gateway_on(port):
            begun = time.monotonic()
            client.with_options(wait_for_ready=True).invoicing.parties.get(key="k")
            assert time.monotonic() - begun < 10


def test_a_call_under_way_when_the_server_restarts_is_made_again_if_it_is_a_read(
    client: Invora, gateway: Gateway, proxy: FaultProxy
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def stall(request: Any, context: grpc.ServicerContext) -> Any:
        reached.set()
        go_on.wait(10)
        context.abort(grpc.StatusCode.INTERNAL, "nobody hears this")

    gateway.answers[GET] = stall
    with futures.ThreadPoolExecutor(1) as caller, gateway_on(0) as other:
        answer = caller.submit(client.invoicing.parties.get, key="k")
        assert reached.wait(10)
        proxy.target = other.address
        proxy.cut()
        assert answer.result(20) is not None
        go_on.set()
        assert [one.path for one in other.received] == [GET]
