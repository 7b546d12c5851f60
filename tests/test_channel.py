"""What a channel is opened with, and what it refuses to carry. Against real servers on loopback."""

import asyncio
import datetime
import ipaddress
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from invora_grpc.channel import channel_options, guard_bearer, open_aio_channel, open_channel
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
def serving(host: str = "127.0.0.1", credentials: grpc.ServerCredentials | None = None) -> Iterator[int]:
    unlimited = [("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Echo()], options=unlimited)
    if credentials is None:
        port = server.add_insecure_port(f"{host}:0")
    else:
        port = server.add_secure_port(f"{host}:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def call(channel: Any, request: bytes = b"") -> Any:
    return channel.unary_unary(METHOD)(request, timeout=10)


def certificate() -> tuple[bytes, bytes]:
    """Key and self-signed certificate of `localhost`, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    signed = (
        builder.not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, signed.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("server", "host"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("[::1]", "[::1]")]
)
def test_a_plaintext_loopback_target_is_reached(server: str, host: str) -> None:
    with serving(server) as port, open_channel(parse_endpoint(f"{host}:{port}")) as channel:
        assert call(channel, b"3") == b"xxx"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_tls_target_is_reached_by_its_name(host: str) -> None:
    private, public = certificate()
    with serving(credentials=grpc.ssl_server_credentials([(private, public)])) as port:
        target = parse_endpoint(f"https://{host}:{port}")
        with open_channel(target, root_certificates=public) as channel:
            assert call(channel, b"3") == b"xxx"


def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    private, public = certificate()
    with (
        serving(credentials=grpc.ssl_server_credentials([(private, public)])) as port,
        open_channel(parse_endpoint(f"https://localhost:{port}")) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        call(channel)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE


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


def test_a_proxy_of_the_surroundings_never_sees_loopback_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as port, open_channel(parse_endpoint(f"127.0.0.1:{port}")) as channel:
        assert call(channel, b"1") == b"x"


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
        "grpc.keepalive_time_ms": 60_000,
        "grpc.keepalive_timeout_ms": 10_000,
        "grpc.http2.ping_timeout_ms": 10_000,
        "grpc.keepalive_permit_without_calls": 0,
        "grpc.max_receive_message_length": 16 * 1024 * 1024,
    }


def test_root_certificates_for_plaintext_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match="root_certificates"):
        open_channel(parse_endpoint("localhost:1"), root_certificates=b"")


def test_a_token_does_not_cross_a_network_in_plaintext() -> None:
    with pytest.raises(ConfigError, match=r"http://gw\.example:80.* use https://gw\.example"):
        guard_bearer(parse_endpoint("http://gw.example"))


@pytest.mark.parametrize("text", ["https://gw.example", "gw.example:1", "localhost:1", "http://127.0.0.1", "[::1]:1"])
def test_a_token_may_cross_tls_and_loopback(text: str) -> None:
    guard_bearer(parse_endpoint(text))
