"""Who is told about calls: observers, the log, and that neither can do a call any harm."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from gateway import Gateway, running_gateway

from invora_api.billing.customers.v2 import service_pb2 as customers
from invora_grpc import InvalidArgument, Invora, NotFound, RequestError, SignInError, Unavailable
from invora_grpc.auth import CallableToken
from invora_grpc.catalog import Method, catalog
from invora_grpc.config import Target, parse_endpoint
from invora_grpc.observer import Observation, begin

CREATE = "/invora.billing.customers.v2.CustomerService/Create"
GET = "/invora.billing.customers.v2.CustomerService/Get"
LIST = "/invora.billing.customers.v2.CustomerService/List"
LIST_STREAM = "/invora.documents.v2.DocumentsService/ListStream"


class Notes:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.metadata: tuple[tuple[str, str], ...] = (("x-seen-by", "notes"),)

    def call(self, method: Method, org: str | None, target: Target) -> Observation:
        self.told.append(("call", method.path, org, target.url))
        return self

    def attempt(self, number: int, error: BaseException | None) -> None:
        self.told.append(("attempt", number, type(error).__name__))

    def end(self, error: BaseException | None) -> None:
        self.told.append(("end", type(error).__name__))


class Broken:
    """An observer that fails in every step, or only later."""

    def __init__(self, at_once: bool) -> None:
        self._at_once = at_once

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        raise ValueError("s3cret")

    def call(self, method: Method, org: str | None, target: Target) -> Observation:
        if self._at_once:
            raise ValueError("s3cret")
        return self

    def attempt(self, number: int, error: BaseException | None) -> None:
        raise ValueError("s3cret")

    def end(self, error: BaseException | None) -> None:
        raise ValueError("s3cret")


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running_gateway() as running:
        yield running


def client_of(gateway: Gateway, **options: Any) -> Invora:
    return Invora(endpoint=gateway.url, **{"token": "t", **options})


def refuse(code: grpc.StatusCode, times: int = 1) -> Any:
    """An answer that refuses so many times, with a request id and words that no log should have."""
    left = [times]

    def answer(request: Any, context: Any) -> Any:
        context.set_trailing_metadata([("x-request-id", "req-7")])
        if left[0] > 0:
            left[0] -= 1
            context.abort(code, "words of the server")
        return customers.GetResponse()

    return answer


# --- observers ---


def test_an_observer_is_told_of_the_call_its_try_and_its_end(gateway: Gateway) -> None:
    notes = Notes()
    with client_of(gateway, observer=notes) as client:
        client.for_org("tnt_1").billing.customers.list()
    assert notes.told == [
        ("call", LIST, "tnt_1", gateway.url),
        ("attempt", 1, "NoneType"),
        ("end", "NoneType"),
    ]


def test_an_observer_is_told_of_an_error(gateway: Gateway) -> None:
    notes = Notes()
    gateway.answers[GET] = refuse(grpc.StatusCode.NOT_FOUND)
    with client_of(gateway, observer=notes) as client, pytest.raises(NotFound):
        client.billing.customers.get()
    assert notes.told[1:] == [("attempt", 1, "NotFound"), ("end", "NotFound")]


def test_an_observer_is_told_of_every_try_of_a_read(gateway: Gateway) -> None:
    notes = Notes()
    gateway.answers[GET] = refuse(grpc.StatusCode.UNAVAILABLE, times=1)
    with client_of(gateway, observer=notes) as client:
        client.billing.customers.get()
    assert notes.told[1] == ("attempt", 1, "Unavailable")
    assert notes.told[2:] == [("attempt", 2, "NoneType"), ("end", "NoneType")]


def test_what_an_observer_adds_to_the_metadata_is_sent(gateway: Gateway) -> None:
    with client_of(gateway, observer=Notes()) as client:
        client.billing.customers.list()
    assert gateway.received[0].metadata["x-seen-by"] == "notes"


def test_an_observer_is_told_when_a_stream_ends_and_not_before(gateway: Gateway) -> None:
    notes = Notes()
    with client_of(gateway, observer=notes) as client:
        stream = client.invoicing.documents.list_stream()
        began = list(notes.told)
        assert list(stream) == []
    assert [step[0] for step in began] in (["call"], [])
    assert notes.told[-1] == ("end", "NoneType")


def test_a_call_that_has_no_token_ends_with_that_error(gateway: Gateway) -> None:
    def no_token() -> str:
        raise SignInError("no", issuer="i", grant="g")

    notes = Notes()
    with (
        client_of(gateway, token=None, tokens=CallableToken(no_token), observer=notes) as client,
        pytest.raises(SignInError),
    ):
        client.billing.customers.list()
    assert notes.told in ([], [("call", LIST, None, gateway.url), ("end", "SignInError")])


def test_a_bad_request_is_no_call(gateway: Gateway) -> None:
    notes = Notes()
    with client_of(gateway, observer=notes) as client, pytest.raises(RequestError):
        client.billing.customers.list(nonsense=1)
    assert notes.told == []


@pytest.mark.parametrize("at_once", [True, False])
def test_an_observer_that_fails_breaks_no_call(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, at_once: bool
) -> None:
    gateway.answers[GET] = refuse(grpc.StatusCode.NOT_FOUND)
    with client_of(gateway, observer=Broken(at_once)) as client:
        client.billing.customers.list()
        assert list(client.invoicing.documents.list_stream()) == []
        with pytest.raises(NotFound):
            client.billing.customers.get()
    assert "an observer failed and is ignored: ValueError" in caplog.text
    assert "s3cret" not in caplog.text


def test_without_observers_nothing_is_made() -> None:
    assert begin(None, catalog().method(LIST), None, parse_endpoint("gw.example")) is None


# --- the log ---


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines about calls, with their milliseconds blanked."""
    said = [record.getMessage() for record in caplog.records if record.name == "invora_grpc.call"]
    return [re.sub(r"\d+\.\d ms", "_ ms", line) for line in said]


@pytest.fixture
def debug(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "invora_grpc.call")
    return caplog


def test_a_call_is_one_line(gateway: Gateway, debug: pytest.LogCaptureFixture) -> None:
    with client_of(gateway) as client:
        client.for_org("tnt_1").billing.customers.list()
        client.billing.customers.list()
    assert lines(debug) == [f"{LIST} org=tnt_1 tries=1 OK _ ms", f"{LIST} org=- tries=1 OK _ ms"]


def test_a_failed_try_is_a_line_of_its_own_with_the_request_id(
    gateway: Gateway, debug: pytest.LogCaptureFixture
) -> None:
    gateway.answers[CREATE] = refuse(grpc.StatusCode.INVALID_ARGUMENT)
    with client_of(gateway) as client, pytest.raises(InvalidArgument):
        client.billing.customers.create()
    assert lines(debug) == [
        f"{CREATE} org=- try=1 INVALID_ARGUMENT _ ms request_id=req-7",
        f"{CREATE} org=- tries=1 INVALID_ARGUMENT _ ms request_id=req-7",
    ]


def test_the_words_of_an_error_stay_out_of_the_log(gateway: Gateway, debug: pytest.LogCaptureFixture) -> None:
    gateway.answers[CREATE] = refuse(grpc.StatusCode.INVALID_ARGUMENT)
    with client_of(gateway) as client, pytest.raises(InvalidArgument):
        client.billing.customers.create()
    assert "words of the server" not in debug.text


def test_a_stream_is_one_line_when_it_ends(gateway: Gateway, debug: pytest.LogCaptureFixture) -> None:
    with client_of(gateway) as client:
        list(client.invoicing.documents.list_stream())
    assert lines(debug) == [f"{LIST_STREAM} org=- tries=1 OK _ ms"]


def test_above_debug_nothing_is_written(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "invora_grpc.call")
    with client_of(gateway) as client:
        client.billing.customers.list()
    assert lines(caplog) == []


def test_an_observer_and_the_log_can_both_look(gateway: Gateway, debug: pytest.LogCaptureFixture) -> None:
    notes = Notes()
    with client_of(gateway, observer=notes) as client:
        client.billing.customers.list()
    assert (len(lines(debug)), len(notes.told)) == (1, 3)


def test_a_gateway_that_is_gone_is_in_the_log(debug: pytest.LogCaptureFixture) -> None:
    with Invora(endpoint="http://127.0.0.1:1", token="t", timeout=1) as client, pytest.raises(Unavailable):
        client.with_options(retry=False).billing.customers.list()
    assert lines(debug)[-1] == f"{LIST} org=- tries=1 UNAVAILABLE _ ms"
