"""What a channel is opened with, and what it refuses to carry. Against real servers on loopback."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from certificates import authority

from invora_grpc.channel import channel_options, fork_obstacle, guard_bearer, open_aio_channel, open_channel
from invora_grpc.config import Target, parse_endpoint
from invora_grpc.errors import ConfigError

METHOD = "/invora.test.v1.Things/Echo"


class _Echo(grpc.GenericRpcHandler):
    """Answers with as many bytes as asked for, or with the caller's user agent if asked for none."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        def run(request: bytes, context: grpc.ServicerContext) -> bytes:
            agent = dict(context.invocation_metadata())["user-agent"]
            return b"x" * int(request) if request else str(agent).encode()

        return grpc.unary_unary_rpc_method_handler(run)


@contextmanager
def serving(host: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None) -> Iterator[int]:
    unlimited = [("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Echo()], options=unlimited)
    port = server.add_secure_port(host, credentials) if credentials else server.add_insecure_port(host)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


class Proxy:
    """An HTTP proxy that knows CONNECT only, and leads everywhere to one server of this machine."""

    def __init__(self, port: int) -> None:
        self.asked: list[str] = []
        self._server, self._port = socket.create_server(("127.0.0.1", 0)), port
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            self.asked.append(head.split(b"\r\n")[0].decode())
            upstream = socket.create_connection(("127.0.0.1", self._port))
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            for pair in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one side has gone, and the other will


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nobody has named a proxy, or an exception from one."""
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def call(channel: Any, request: bytes = b"") -> Any:
    return channel.unary_unary(METHOD)(request, timeout=10)


@pytest.mark.parametrize(
    ("server", "host"), [("127.0.0.1:0", "127.0.0.1"), ("127.0.0.1:0", "localhost"), ("[::1]:0", "[::1]")]
)
def test_a_plaintext_loopback_target_is_reached(server: str, host: str) -> None:
    with serving(server) as port, open_channel(parse_endpoint(f"{host}:{port}")) as channel:
        assert call(channel, b"3") == b"xxx"


def test_the_asyncio_twin_does_the_same() -> None:
    async def run(port: int) -> bytes:
        async with open_aio_channel(parse_endpoint(f"127.0.0.1:{port}")) as channel:
            answer: bytes = await call(channel)
            return answer

    with serving() as port:
        assert asyncio.run(run(port)).startswith(b"invora-grpc/")


def test_the_server_is_told_who_calls() -> None:
    with serving() as port, open_channel(parse_endpoint(f"127.0.0.1:{port}")) as channel:
        assert call(channel).startswith(b"invora-grpc/")


def test_an_answer_may_have_16_mib_and_no_more() -> None:
    with serving() as port, open_channel(parse_endpoint(f"127.0.0.1:{port}")) as channel:
        limit = 16 * 1024 * 1024
        assert len(call(channel, str(limit).encode())) == limit
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, str(limit + 1).encode())
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_options_of_the_caller_win() -> None:
    options = [("grpc.max_receive_message_length", 10)]
    with serving() as port, open_channel(parse_endpoint(f"127.0.0.1:{port}"), options=options) as channel:
        assert len(call(channel, b"10")) == 10
        with pytest.raises(grpc.RpcError):
            call(channel, b"11")


@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "http_proxy"])
def test_a_tls_target_is_reached_through_the_proxy_that_the_environment_names(
    no_proxies: pytest.MonkeyPatch, variable: str
) -> None:
    ours = authority()
    with serving(credentials=grpc.ssl_server_credentials([ours.issue("gw.invalid")])) as port:
        proxy = Proxy(port)
        no_proxies.setenv(variable, proxy.url)
        with open_channel(parse_endpoint("https://gw.invalid:8443"), root_certificates=ours.pem) as channel:
            assert call(channel, b"2") == b"xx"
        proxy.close()
    assert proxy.asked == ["CONNECT gw.invalid:8443 HTTP/1.1"]


@pytest.mark.parametrize("variable", ["no_proxy", "no_grpc_proxy"])
def test_a_host_that_is_excepted_is_dialled_without_the_proxy(no_proxies: pytest.MonkeyPatch, variable: str) -> None:
    proxy = Proxy(9)
    no_proxies.setenv("https_proxy", proxy.url)
    no_proxies.setenv(variable, "other.invalid,.invalid")
    with open_channel(parse_endpoint("https://gw.invalid:8443")) as channel, pytest.raises(grpc.RpcError) as caught:
        call(channel)
    proxy.close()
    error: Any = caught.value
    assert "resol" in error.details()
    assert proxy.asked == []


def test_a_proxy_of_the_surroundings_never_sees_loopback_calls(no_proxies: pytest.MonkeyPatch) -> None:
    proxy = Proxy(9)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        no_proxies.setenv(name, proxy.url)
    with serving() as port, open_channel(parse_endpoint(f"127.0.0.1:{port}")) as channel:
        assert call(channel, b"1") == b"x"
    proxy.close()
    assert proxy.asked == []


def test_a_server_that_comes_back_is_found_within_seconds() -> None:
    down = socket.create_server(("127.0.0.1", 0))
    port = down.getsockname()[1]
    with open_channel(parse_endpoint(f"127.0.0.1:{port}")) as channel:
        waiting = channel.unary_unary(METHOD).future(b"1", timeout=30, wait_for_ready=True)
        began = time.monotonic()
        for _ in range(4):  # what gRPC's own pauses would take five seconds for
            down.accept()[0].close()
        down.close()
        with serving(f"127.0.0.1:{port}"):
            assert waiting.result() == b"x"
        assert time.monotonic() - began < 4


def test_a_host_is_a_host_even_if_it_is_called_like_a_resolver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    server = grpc.server(ThreadPoolExecutor(1), handlers=[_Echo()])
    server.add_insecure_port("unix:50051")  # the socket that the bare target `unix:50051` would reach
    server.start()
    channel: Any
    with open_channel(Target("unix", 50051, tls=False)) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary(METHOD)(b"", timeout=1)
    server.stop(None).wait()


def test_the_measured_options_are_all_there() -> None:
    options = dict(channel_options(Target("gw.example", 443, tls=True)))
    agent = options.pop("grpc.primary_user_agent")
    assert str(agent).startswith("invora-grpc/")
    assert options == {
        "grpc.enable_retries": 0,
        "grpc.service_config_disable_resolution": 1,
        "grpc.http2.bdp_probe": 0,
        "grpc.keepalive_time_ms": 15_000,
        "grpc.keepalive_timeout_ms": 10_000,
        "grpc.http2.ping_timeout_ms": 10_000,
        "grpc.keepalive_permit_without_calls": 0,
        "grpc.initial_reconnect_backoff_ms": 200,
        "grpc.max_reconnect_backoff_ms": 2_000,
        "grpc.min_reconnect_backoff_ms": 10_000,
        "grpc.max_receive_message_length": 16 * 1024 * 1024,
    }


def test_a_token_does_not_cross_a_network_in_plaintext() -> None:
    with pytest.raises(ConfigError, match=r"http://gw\.example:80.* use https://gw\.example"):
        guard_bearer(parse_endpoint("http://gw.example"))


@pytest.mark.parametrize("text", ["https://gw.example", "gw.example:1", "localhost:1", "http://127.0.0.1", "[::1]:1"])
def test_a_token_may_cross_tls_and_loopback(text: str) -> None:
    guard_bearer(parse_endpoint(text))


@pytest.mark.parametrize(
    ("variable", "busy", "works"),
    [
        ("", True, False),
        ("", False, True),
        ("1", False, True),
        ("1", True, False),
        ("0", False, False),
        ("No", True, False),
    ],
)
def test_a_fork_that_grpc_does_not_survive_is_told(
    monkeypatch: pytest.MonkeyPatch, variable: str, busy: bool, works: bool
) -> None:
    monkeypatch.setenv("GRPC_ENABLE_FORK_SUPPORT", variable)
    said = fork_obstacle(busy)
    assert (said is None) is works
    assert said is None or (
        ("under way" if busy and variable != "No" else "GRPC_ENABLE_FORK_SUPPORT") in said and "spawn" in said
    )
