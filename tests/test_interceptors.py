"""Sign-in and log for channels of one's own: all four kinds of RPC, threads and asyncio, over real servers."""

from __future__ import annotations

import asyncio
import logging
import queue
import re
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from logging.handlers import QueueHandler
from typing import Any

import grpc
import grpc.aio
import pytest

from invora_grpc.auth import StaticToken
from invora_grpc.config import Secret
from invora_grpc.errors import ConfigError, SignInError
from invora_grpc.interceptors import AuthInterceptor, LoggingInterceptor, aio_auth, aio_logging

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
OLD, NEW = "0ld-t0ken", "n3w-t0ken"


class Gate(grpc.GenericRpcHandler):
    """A server whose methods are called like their kinds: it wants a token, notes the metadata, and echoes."""

    def __init__(self) -> None:
        self.valid = {OLD, NEW}
        self.calls: list[list[tuple[str, str | bytes]]] = []
        self.port = 0

    def seen(self, key: str) -> list[list[str | bytes]]:
        """The values of a metadata key, call by call."""
        return [[value for name, value in call if name == key] for call in self.calls]

    def service(self, handler_call_details: Any) -> Any:
        kind = handler_call_details.method.rpartition("/")[2]

        def run(request: Any, context: grpc.ServicerContext) -> Any:
            metadata = [(str(key), value) for key, value in context.invocation_metadata()]
            self.calls.append(metadata)
            sent = request if isinstance(request, bytes) else b"".join(request)
            if dict(metadata).get("authorization") not in {f"Bearer {token}" for token in self.valid}:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
            return sent

        def stream(request: Any, context: grpc.ServicerContext) -> Any:
            yield run(request, context)

        return getattr(grpc, f"{kind}_rpc_method_handler")(stream if kind.endswith("stream") else run)


@contextmanager
def running() -> Iterator[Gate]:
    gate = Gate()
    server = grpc.server(ThreadPoolExecutor(4), handlers=[gate])
    gate.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield gate
    finally:
        server.stop(None).wait()


@pytest.fixture
def gate() -> Iterator[Gate]:
    with running() as found:
        yield found


class Rotating:
    """A source that has another token when asked for one."""

    describe = "the rotating source"

    def __init__(self) -> None:
        self.current, self.forced = Secret(OLD), 0

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        if force:
            assert rejected == Secret(OLD)
            self.forced += 1
            self.current = Secret(NEW)
        return self.current


class Without:
    """A source that has no token."""

    describe = "nothing"

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        raise SignInError("no", issuer="i", grant="g")


Call = Callable[..., Any]
"""call(gate, kind, tokens=…, org=…, metadata=…): what the server echoes, or what it raises."""


def with_threads(gate: Gate, kind: str, tokens: Any = None, org: str | None = None, metadata: Any = None) -> Any:
    tokens = tokens or StaticToken(OLD)
    with grpc.insecure_channel(f"127.0.0.1:{gate.port}") as plain:
        channel = grpc.intercept_channel(plain, AuthInterceptor(tokens, org), LoggingInterceptor())
        request = iter([b"a", b"b"]) if kind.startswith("stream") else b"ab"
        answer = getattr(channel, kind)(f"/test.Gate/{kind}")(request, timeout=10, metadata=metadata)
        return b"".join(answer) if kind.endswith("stream") else answer


def with_asyncio(gate: Gate, kind: str, tokens: Any = None, org: str | None = None, metadata: Any = None) -> Any:
    async def requests() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async def run() -> Any:
        interceptors = [*aio_auth(tokens or StaticToken(OLD), org), *aio_logging()]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{gate.port}", interceptors=interceptors) as channel:
            request = requests() if kind.startswith("stream") else b"ab"
            call = getattr(channel, kind)(f"/test.Gate/{kind}")(request, timeout=10, metadata=metadata)
            return b"".join([part async for part in call]) if kind.endswith("stream") else await call

    return asyncio.run(run())


@pytest.fixture(params=[with_threads, with_asyncio])
def call(request: pytest.FixtureRequest) -> Call:
    """A call through the interceptors, both ways."""
    way: Call = request.param
    return way


# --- what goes along ---


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_rpc_carries_token_and_organization(gate: Gate, call: Call, kind: str) -> None:
    assert call(gate, kind, org="tnt_1") == b"ab"
    assert gate.seen("authorization") == [[f"Bearer {OLD}"]]
    assert gate.seen("x-target-org-id") == [["tnt_1"]]


def test_without_an_organization_the_token_decides(gate: Gate, call: Call) -> None:
    call(gate, "unary_unary")
    assert gate.seen("x-target-org-id") == [[]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_callers_own_metadata_is_kept(gate: Gate, call: Call, kind: str) -> None:
    call(gate, kind, metadata=(("x-own", "1"), ("x-own", "2"), ("x-own-bin", b"\x00")))
    assert (gate.seen("x-own"), gate.seen("x-own-bin")) == ([["1", "2"]], [[b"\x00"]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["authorization", "x-target-org-id"])
def test_metadata_that_is_ours_to_set_is_refused_rather_than_doubled(
    gate: Gate, call: Call, kind: str, key: str
) -> None:
    with pytest.raises(ConfigError, match=f"metadata: '{key}' is set by the AuthInterceptor"):
        call(gate, kind, metadata=((key, "s3cret"),))
    assert gate.calls == []


@pytest.mark.parametrize("org", ["", "a b", "a\r\nx: 1", 7])
def test_an_organization_that_cannot_be_a_header_is_refused(org: Any) -> None:
    with pytest.raises(ConfigError, match="org_id"):
        AuthInterceptor(StaticToken(OLD), org)
    with pytest.raises(ConfigError, match="org_id"):
        aio_auth(StaticToken(OLD), org)


# --- tokens that are refused ---


def test_a_refused_token_is_renewed_once_and_the_unary_call_repeated(gate: Gate, call: Call) -> None:
    gate.valid, tokens = {NEW}, Rotating()
    assert call(gate, "unary_unary", tokens) == b"ab"
    assert gate.seen("authorization") == [[f"Bearer {OLD}"], [f"Bearer {NEW}"]]
    assert tokens.forced == 1


def test_a_new_token_that_is_refused_too_is_not_renewed_again(gate: Gate, call: Call) -> None:
    gate.valid = set()
    with pytest.raises(grpc.RpcError) as caught:
        call(gate, "unary_unary", Rotating())
    assert _code(caught.value) is grpc.StatusCode.UNAUTHENTICATED
    assert len(gate.calls) == 2


def test_a_source_that_has_no_other_token_causes_no_repeat(gate: Gate, call: Call) -> None:
    gate.valid = set()
    with pytest.raises(grpc.RpcError):
        call(gate, "unary_unary")
    assert len(gate.calls) == 1


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_stream_is_not_repeated(gate: Gate, call: Call, kind: str) -> None:
    gate.valid, tokens = {NEW}, Rotating()
    with pytest.raises(grpc.RpcError):
        call(gate, kind, tokens)
    assert (len(gate.calls), tokens.forced) == (1, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_token_nothing_is_sent(gate: Gate, call: Call, kind: str) -> None:
    with pytest.raises(SignInError):
        call(gate, kind, Without())
    assert gate.calls == []


def test_a_future_is_signed_in_and_does_not_wait(gate: Gate) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{gate.port}") as plain:
        channel: Any = grpc.intercept_channel(plain, AuthInterceptor(StaticToken(OLD)), LoggingInterceptor())
        assert channel.unary_unary("/test.Gate/unary_unary").future(b"x").result(timeout=10) == b"x"


def test_a_cancelled_task_ends_its_call(gate: Gate) -> None:
    entered, ended = threading.Event(), threading.Event()

    class Slow(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            def run(request: bytes, context: grpc.ServicerContext) -> bytes:
                context.add_callback(ended.set)
                entered.set()
                assert ended.wait(10)
                return request

            return grpc.unary_unary_rpc_method_handler(run)

    async def run(port: int) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=aio_auth(StaticToken(OLD))) as channel:
            waiting = asyncio.ensure_future(_awaited(channel.unary_unary("/test.Gate/unary_unary")(b"")))
            assert await asyncio.to_thread(entered.wait, 10)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await asyncio.to_thread(ended.wait, 10)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Slow()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        asyncio.run(run(port))
    finally:
        server.stop(None).wait()


# --- no token in an error ---


@pytest.mark.parametrize("kind", KINDS)
def test_no_error_has_the_token_in_its_traceback_even_with_locals(gate: Gate, call: Call, kind: str) -> None:
    gate.valid = set()
    with pytest.raises(grpc.RpcError) as caught:
        call(gate, kind)
    assert OLD not in _everything(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_nor_has_one_of_a_channel_that_is_closed(gate: Gate, kind: str) -> None:
    plain = grpc.insecure_channel(f"127.0.0.1:{gate.port}")
    channel = grpc.intercept_channel(plain, AuthInterceptor(StaticToken(OLD)))
    plain.close()
    request = iter([b"a"]) if kind.startswith("stream") else b"a"
    with pytest.raises(ValueError, match=r"[Cc]losed") as caught:
        answer = getattr(channel, kind)(f"/test.Gate/{kind}")(request)
        list(answer)
    assert OLD not in _everything(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_nor_has_one_of_an_asyncio_channel_that_is_closed(gate: Gate, kind: str) -> None:
    async def run() -> None:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{gate.port}", interceptors=aio_auth(StaticToken(OLD)))
        await channel.close()
        call = getattr(channel, kind)(f"/test.Gate/{kind}")(iter([b"a"]) if kind.startswith("stream") else b"a")
        assert [part async for part in call] if kind.endswith("stream") else await call

    with pytest.raises(grpc.aio.UsageError, match=r"[Cc]losed") as caught:
        asyncio.run(run())
    assert OLD not in _everything(caught.value)


def test_interceptors_do_not_show_their_token() -> None:
    shown = repr([AuthInterceptor(StaticToken(OLD)), *aio_auth(StaticToken(OLD))])
    assert OLD not in shown
    assert "a fixed token" in shown


# --- the log ---


@pytest.fixture
def lines() -> Iterator[queue.SimpleQueue[logging.LogRecord]]:
    """The log of calls. A line may come a moment after the caller's last answer, from gRPC's own thread."""
    found: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = QueueHandler(found)
    logger = logging.getLogger("invora_grpc.call")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield found
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("valid", [True, False])
def test_every_kind_of_rpc_is_one_line_of_the_log(
    gate: Gate, call: Call, lines: queue.SimpleQueue[logging.LogRecord], kind: str, valid: bool
) -> None:
    gate.valid = {OLD} if valid else set()
    try:
        call(gate, kind, org="tnt_1", metadata=(("x-own", "pr1vate"),))
    except grpc.RpcError:
        assert not valid
    line = re.sub(r"\d+\.\d ms", "_ ms", lines.get(timeout=10).getMessage())
    assert line == f"/test.Gate/{kind} org=tnt_1 {'OK' if valid else 'UNAUTHENTICATED'} _ ms"
    assert lines.empty()


@pytest.mark.parametrize("kind", KINDS)
def test_above_debug_nothing_is_written(gate: Gate, call: Call, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    caplog.set_level(logging.INFO)
    assert call(gate, kind) == b"ab"
    assert [record for record in caplog.records if record.name.startswith("invora_grpc")] == []


async def _awaited(call: Any) -> Any:
    return await call


def _code(error: Any) -> grpc.StatusCode:
    code: grpc.StatusCode = error.code()
    return code


def _everything(error: BaseException) -> str:
    """All that a traceback with local variables shows, below the frames of the tests, with causes and contexts."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    error.__traceback__ = trace
    shown = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    return "".join(shown) + repr(error)
