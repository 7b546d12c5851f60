"""TLS as it goes right and as it goes wrong, and what the error says then. Against real servers and certificates."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from certificates import Authority, authority, private_pem
from cryptography.hazmat.primitives.asymmetric import ec

from invora_grpc.channel import ClientCertificate, open_aio_channel, open_channel
from invora_grpc.config import parse_endpoint
from invora_grpc.errors import ConfigError
from invora_grpc.status import RpcError, Unavailable, from_rpc_error

METHOD = "/invora.test.v1.Things/Who"


class _Who(grpc.GenericRpcHandler):
    """Answers with the common name of the caller's certificate."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        def run(request: bytes, context: grpc.ServicerContext) -> bytes:
            return b",".join(context.auth_context().get("x509_common_name", []))

        return grpc.unary_unary_rpc_method_handler(run)


@contextmanager
def serving(*pair: bytes, clients_of: Authority | None = None) -> Iterator[int]:
    """A server with this private key and certificate; in plaintext without. It may ask for certificates of clients."""
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Who()])
    if pair:
        roots = clients_of.pem if clients_of else None
        credentials = grpc.ssl_server_credentials([(pair[0], pair[1])], roots, clients_of is not None)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@pytest.fixture(scope="module")
def ours() -> Authority:
    return authority()


@pytest.fixture(scope="module")
def localhost(ours: Authority) -> tuple[bytes, bytes]:
    return ours.issue("localhost", "127.0.0.1")


def who(endpoint: str, **options: Any) -> bytes:
    with open_channel(parse_endpoint(endpoint), **options) as channel:
        answer: bytes = channel.unary_unary(METHOD)(b"", timeout=10)
        return answer


def failure(endpoint: str, **options: Any) -> RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        who(endpoint, **options)
    error = from_rpc_error(caught.value, method=METHOD)
    assert type(error) is Unavailable
    return error


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_server_with_a_certificate_of_the_given_authority_is_reached(
    ours: Authority, localhost: tuple[bytes, bytes], host: str
) -> None:
    with serving(*localhost) as port:
        assert who(f"https://{host}:{port}", root_certificates=ours.pem) == b""


def test_an_authority_that_is_not_trusted_is_named_as_the_cause(localhost: tuple[bytes, bytes]) -> None:
    with serving(*localhost) as port:
        assert "not trusted" in failure(f"https://localhost:{port}").hint
        assert "root certificates" in failure(f"https://localhost:{port}", root_certificates=authority().pem).hint


def test_a_certificate_of_another_host_is_named_as_the_cause(ours: Authority) -> None:
    with serving(*ours.issue("gw.example")) as port:
        assert "is for another host" in failure(f"https://localhost:{port}", root_certificates=ours.pem).hint


def test_an_expired_certificate_is_named_as_the_cause(ours: Authority) -> None:
    with serving(*ours.issue("localhost", expired=True)) as port:
        assert "has expired" in failure(f"https://localhost:{port}", root_certificates=ours.pem).hint


def test_plaintext_to_a_tls_port_points_at_the_scheme(localhost: tuple[bytes, bytes]) -> None:
    with serving(*localhost) as port:
        assert "scheme" in failure(f"http://localhost:{port}").hint


def test_tls_to_a_plaintext_port_points_at_the_scheme(ours: Authority) -> None:
    with serving() as port:
        assert "does not speak TLS" in failure(f"https://localhost:{port}", root_certificates=ours.pem).hint


def test_a_client_shows_its_certificate_to_a_server_that_asks(ours: Authority, localhost: tuple[bytes, bytes]) -> None:
    with serving(*localhost, clients_of=ours) as port:
        options = {"root_certificates": ours.pem, "client_certificate": ours.issue()}
        assert who(f"https://localhost:{port}", **options) == b"a client"


def test_the_asyncio_twin_shows_it_as_well(ours: Authority, localhost: tuple[bytes, bytes]) -> None:
    async def run(port: int) -> bytes:
        target = parse_endpoint(f"https://localhost:{port}")
        channel = open_aio_channel(target, root_certificates=ours.pem, client_certificate=ours.issue())
        async with channel:
            answer: bytes = await channel.unary_unary(METHOD)(b"", timeout=10)
            return answer

    with serving(*localhost, clients_of=ours) as port:
        assert asyncio.run(run(port)) == b"a client"


def test_without_a_certificate_that_the_server_asks_for_the_error_says_so(
    ours: Authority, localhost: tuple[bytes, bytes]
) -> None:
    with serving(*localhost, clients_of=ours) as port:
        url = f"https://localhost:{port}"
        assert "client certificate" in failure(url, root_certificates=ours.pem).hint
        foreign = authority().issue()
        assert "client certificate" in failure(url, root_certificates=ours.pem, client_certificate=foreign).hint


def test_a_key_of_another_certificate_is_named_as_the_cause(ours: Authority, localhost: tuple[bytes, bytes]) -> None:
    with serving(*localhost, clients_of=ours) as port:
        mixed = (ours.issue()[0], ours.issue()[1])
        error = failure(f"https://localhost:{port}", root_certificates=ours.pem, client_certificate=mixed)
        assert "do not fit together" in error.hint


@pytest.mark.parametrize("setting", ["root_certificates", "client_certificate"])
def test_certificates_for_a_plaintext_endpoint_are_a_mistake(ours: Authority, setting: str) -> None:
    given = ours.pem if setting == "root_certificates" else ours.issue()
    with pytest.raises(ConfigError, match=rf"{setting}: was given for the plaintext endpoint http://localhost:1; use"):
        who("localhost:1", **{setting: given})


@pytest.mark.parametrize(
    "given", [b"", b"abc", b"\xff", "text", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"]
)
def test_root_certificates_that_are_none_are_refused_before_dialling(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"root_certificates: .*; give the bytes of a PEM file"):
        who("https://localhost:1", root_certificates=given)


def test_a_client_certificate_in_the_wrong_order_is_refused(ours: Authority) -> None:
    key, chain = ours.issue()
    with pytest.raises(ConfigError, match="client_certificate: has no private key in that place"):
        who("https://localhost:1", client_certificate=(chain, key))


def test_an_encrypted_private_key_is_refused(ours: Authority) -> None:
    key = private_pem(ec.generate_private_key(ec.SECP256R1()), b"password")
    with pytest.raises(ConfigError, match="must not be encrypted"):
        who("https://localhost:1", client_certificate=(key, ours.issue()[1]))


def test_a_client_certificate_without_its_key_is_refused_and_not_shown(ours: Authority) -> None:
    key, _ = ours.issue()
    with pytest.raises(ConfigError, match="client_certificate: is no pair, but a bytes") as caught:
        who("https://localhost:1", client_certificate=key)
    assert "PRIVATE" not in str(caught.value)


def test_a_private_key_does_not_show_itself(ours: Authority) -> None:
    certificate = ClientCertificate(ours.issue())
    assert repr(certificate) == "***"
    with pytest.raises(TypeError, match="does not pickle"):
        pickle.dumps(certificate)
