"""A `Watch` sees what goes over the wire and where the time goes, changes nothing, and keeps no secret."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from certificates import authority
from gateway import Gateway, abort, empty, running_gateway

from invora_grpc import Invora
from invora_grpc.auth import CallableToken
from invora_grpc.catalog import catalog
from invora_grpc.cli.timing import Watch, line_times
from invora_grpc.config import parse_endpoint
from invora_grpc.status import NotFound

TOKEN = "t0k3n-of-the-tests"


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """One of the test's own."""
    with running_gateway() as running:
        yield running


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Invora]:
    """A client of it, whose token comes from a function."""
    with Invora(endpoint=gateway.url, tokens=CallableToken(lambda: TOKEN), org_id="931") as opened:
        yield opened


def test_the_same_goes_over_the_wire_whether_or_not_somebody_watches(gateway: Gateway, client: Invora) -> None:
    plain = client.billing.customers.list(pagination={"limit": 3})
    with Watch(client) as watch:
        watched = watch.client.billing.customers.list(pagination={"limit": 3})
    after = client.billing.customers.list(pagination={"limit": 3})
    assert plain == watched == after
    first, second, third = gateway.received
    assert (first.request, first.metadata) == (second.request, second.metadata) == (third.request, third.metadata)
    assert len(watch.exchanges) == 1


def test_nobody_watches_any_more_when_it_is_left(client: Invora) -> None:
    with Watch(client) as watch:
        pass
    client.billing.customers.list()
    watch.client.billing.customers.list()
    assert watch.exchanges == []


def test_an_exchange_has_sizes_times_and_metadata(gateway: Gateway, client: Invora) -> None:
    with Watch(client) as watch:
        watch.client.billing.customers.list(pagination={"limit": 3})
    (exchange,) = watch.exchanges
    assert (exchange.requests, exchange.request_bytes) == (1, gateway.received[0].request.ByteSize())
    assert (exchange.responses, exchange.status) == (1, "OK")
    assert exchange.first_byte is not None and exchange.seconds is not None
    assert 0 < exchange.first_byte <= exchange.seconds
    assert exchange.sent == {"authorization": "Bearer ***", "x-target-org-id": "931"}
    assert exchange.timeout is not None and 29 < exchange.timeout <= 30


def test_a_stream_is_counted_both_ways(gateway: Gateway, client: Invora) -> None:
    method = catalog().method("invoicing.documents.stream_freeze")
    gateway.answers[method.path] = lambda requests, context: iter([empty(method.attribute)] * 2)
    with Watch(client) as watch:
        answers = list(watch.client.invoicing.documents.stream_freeze([{"key": "a"}, {"key": "bc"}, {}]))
    (exchange,) = watch.exchanges
    assert len(answers) == exchange.responses == 2
    assert (exchange.requests, exchange.request_bytes) == (3, 3 + 4)


def test_an_error_is_the_same_and_its_trailers_are_seen(gateway: Gateway, client: Invora) -> None:
    method = catalog().method("simple.invoices.get")
    gateway.answers[method.path] = abort(grpc.StatusCode.NOT_FOUND, f"nothing for {TOKEN}")
    with Watch(client) as watch, pytest.raises(NotFound):
        watch.client.simple.invoices.get(key="a")
    (exchange,) = watch.exchanges
    assert (exchange.status, exchange.message) == ("NOT_FOUND", "nothing for ***")
    assert TOKEN not in repr(exchange) + "\n".join(exchange.lines())


def test_the_wait_for_a_token_is_told_apart(client: Invora) -> None:
    with Watch(client) as watch:
        watch.client.billing.customers.list()
    timings = watch.timings()
    assert {"dns", "connect", "token", "first_byte", "total"} <= set(timings)
    assert timings["token"] + timings["first_byte"] <= timings["total"]
    assert "tls" not in timings


def test_the_handshake_of_tls_has_a_time_of_its_own() -> None:
    pair = authority().issue("localhost", "127.0.0.1")
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    try:
        assert list(line_times(parse_endpoint(f"https://127.0.0.1:{port}"))) == ["dns", "connect", "tls"]
    finally:
        server.stop(None).wait()


def test_what_does_not_answer_leaves_the_rest_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(line_times(parse_endpoint("http://127.0.0.1:1"))) == ["dns"]
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    assert line_times(parse_endpoint("https://gateway.example")) == {}


def test_metadata_with_a_secret_name_is_masked_whoever_sends_it(client: Invora) -> None:
    shown = Watch(client).shown([("x-api-key", "s3cr3t"), ("Set-Cookie", "s3cr3t"), ("x-ok", "a"), ("x-bin", b"\x00")])
    assert shown == {"x-api-key": "***", "Set-Cookie": "***", "x-ok": "a", "x-bin": "AA=="}


def test_values_of_a_name_that_comes_twice_are_both_shown(client: Invora) -> None:
    pairs: Any = [("x-a", "1"), ("x-a", "2\x1b[2J")]
    assert Watch(client).shown(pairs) == {"x-a": "1, 2"}
