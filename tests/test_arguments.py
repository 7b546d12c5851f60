"""What is given in the wrong place, or is of the wrong kind, is refused where it is given: in one line, unsent."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from gateway import Gateway, running_gateway

import invora_grpc as package
from invora_grpc import ConfigError, F, OutcomeUnknown, RequestError
from invora_grpc.arguments import a_path
from invora_grpc.interceptors import AuthInterceptor, aio_auth
from invora_grpc.status import from_status
from invora_grpc.telemetry import OpenTelemetry
from invora_grpc.webhooks import Deliveries, Receiver

SECRET = "pat-5b2f"
ISSUER = "https://auth.invora.app"
SYNC: Any = package.Invora
ASYNC: Any = package.AsyncInvora
ANY: Any = package
SLIPS: dict[str, Any] = {
    "a bare token": SECRET,
    "a bare function": lambda: SECRET,
    "a class": package.StaticToken,
    "a number": 5,
    "an object": object(),
}
SOMEWHERE: dict[str, Any] = {"endpoint": "http://127.0.0.1:1", "token": SECRET}


def client(**given: Any) -> Any:
    return SYNC(**{**SOMEWHERE, **given})


GIVEN: dict[str, tuple[str, Callable[[Any], object]]] = {
    "Invora(tokens=)": ("tokens", lambda slip: client(tokens=slip)),
    "AsyncInvora(tokens=)": ("tokens", lambda slip: ASYNC(**SOMEWHERE, tokens=slip)),
    "with_options(tokens=)": ("tokens", lambda slip: client().with_options(tokens=slip)),
    "AuthInterceptor": ("tokens", AuthInterceptor),
    "aio_auth": ("tokens", aio_auth),
    "Invora(journal=)": ("journal", lambda slip: client(journal=slip)),
    "Invora(observer=)": ("observer", lambda slip: client(observer=slip)),
    "Invora(channel_options=)": ("channel_options", lambda slip: client(channel_options=slip)),
    "Impersonation(client)": ("client", lambda slip: ANY.Impersonation(slip, "user")),
    "Receiver(jwks=)": ("jwks", lambda slip: Receiver(jwks=slip)),
    "to_python": ("message", ANY.to_python),
    "to_json": ("message", ANY.to_json),
    "to_decimal": ("message", ANY.to_decimal),
}


def refused(given: Callable[[], object], setting: str) -> str:
    """The one line with which it is refused."""
    with pytest.raises((ConfigError, RequestError)) as caught:
        given()
    line = str(caught.value)
    assert line.startswith(setting) and "; " in line
    assert "\n" not in line and len(line) < 400 and SECRET not in line
    return line


@pytest.mark.parametrize("slip", SLIPS.values(), ids=SLIPS.keys())
@pytest.mark.parametrize("place", GIVEN.values(), ids=GIVEN.keys())
def test_what_is_of_another_kind_is_refused_at_once(place: tuple[str, Callable[[Any], object]], slip: Any) -> None:
    setting, give = place
    refused(lambda: give(slip), setting)


def test_the_way_out_is_named() -> None:
    assert "StaticToken(token)" in refused(lambda: client().with_options(tokens=None), "tokens: is a NoneType")
    assert "the class OpenTelemetry" in refused(lambda: client(observer=OpenTelemetry), "observer")


@pytest.mark.parametrize(
    "options",
    [None, 5, "grpc.x", {"grpc.keepalive_time_ms": 5}, [("grpc.x",)], [(1, 1)], [("grpc.x", None)], [("grpc.x", 1.5)]],
)
def test_channel_options_that_grpc_cannot_take_are_refused_before_the_first_call(options: Any) -> None:
    refused(lambda: client(channel_options=options), "channel_options")


@pytest.mark.parametrize("number", ["5", None, [], True, float("nan"), -1])
def test_a_number_is_a_number(number: Any) -> None:
    refused(lambda: Receiver(secret="s", max_age=number), "max_age")
    refused(lambda: Deliveries(ttl=number), "ttl")
    if number is not None:
        refused(lambda: client().close(number), "grace")
    if number is not None and number is not True:
        refused(lambda: package.Retry(budget=number), "retry.budget")


@pytest.mark.parametrize("path", ["", " ", "a\0b", "\ud800", 5, b"x", None])
def test_a_path_is_a_path(path: Any) -> None:
    refused(lambda: a_path("journal", path), "journal")


def test_a_refused_close_leaves_the_client_open(gateway: Gateway) -> None:
    with client(endpoint=gateway.url) as ours:
        refused(lambda: ours.close("now"), "grace")
        ours.simple.invoices.list()


def test_text_that_has_no_utf8_is_refused() -> None:
    ours = client()
    refused(lambda: ours.with_options(idempotency_key="\ud800"), "idempotency_key")
    refused(lambda: ours.simple.invoices.list.items().start("\ud800"), "start")


def test_what_is_far_too_long_is_refused_in_a_short_line() -> None:
    refused(lambda: client().for_org("x" * 10_000), "org_id")
    refused(lambda: client(endpoint="x" * 100_000), "endpoint")


def test_other_slips() -> None:
    values: Any = 5
    refused(lambda: F.currency_code.in_(values), "currency_code")
    refused(lambda: ANY.ClientCredentials(ISSUER, None, SECRET), "client_id")
    refused(lambda: ANY.RefreshToken(ISSUER, "id", SECRET, on_rotated="store"), "on_rotated")


# --- what an observer adds ------------------------------------------------------------------------------------------


class Adding:
    """An observer that adds metadata."""

    def __init__(self, metadata: Any) -> None:
        self.metadata = metadata

    def call(self, *about: object) -> Any:
        return self

    def attempt(self, *about: object) -> None: ...

    def end(self, *about: object) -> None: ...


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running_gateway() as gateway:
        yield gateway


@pytest.mark.parametrize(
    "metadata",
    [
        (("x-target-org-id", "other"),),
        (("authorization", "Bearer other"),),
        (("Bad Key", "x"),),
        (("x-a", "a\nb"),),
        (("x-a", 5),),
        (("x-a",),),
        None,
        5,
    ],
)
def test_an_observer_can_neither_change_who_acts_nor_break_the_call(
    gateway: Gateway, metadata: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, "invora_grpc.observer"),
        client(endpoint=gateway.url, org_id="ours", observer=Adding(metadata)) as ours,
    ):
        ours.simple.invoices.list()
    (call,) = gateway.received
    assert (call.metadata["x-target-org-id"], call.metadata["authorization"]) == ("ours", f"Bearer {SECRET}")
    assert "other" not in str(call.metadata) and "observer failed" in caplog.text


def test_what_an_observer_may_add_is_sent(gateway: Gateway) -> None:
    with client(endpoint=gateway.url, observer=Adding((("traceparent", "00-1"),))) as ours:
        ours.simple.invoices.list()
    assert gateway.received[0].metadata["traceparent"] == "00-1"


# --- how things show themselves ---------------------------------------------------------------------------------------


def test_an_unknown_outcome_does_not_advise_to_try_again() -> None:
    cause = from_status(grpc.StatusCode.UNAVAILABLE, "gone", method="/p.S/Update")
    unknown = OutcomeUnknown(cause)
    assert cause.retryable and "try again" in str(cause)
    assert not unknown.retryable and "try again" not in str(unknown)


def test_completion_names_each_child_once() -> None:
    ours = client()
    assert ours.simple.invoices.list
    for node in (ours, ours.simple, ours.simple.invoices):
        assert len(dir(node)) == len(set(dir(node)))


def test_a_token_source_says_what_it_is_and_no_secret() -> None:
    made = ANY.ClientCredentials(ISSUER, "id", SECRET)
    assert repr(made) == "<ClientCredentials: client credentials of 'id' at https://auth.invora.app>"
    for one in (made, package.StaticToken(SECRET), package.CallableToken(str), ANY.RefreshToken(ISSUER, "id", SECRET)):
        assert " object at " not in repr(one) and SECRET not in repr(one)
        half_made = type(one).__new__(type(one))
        assert type(one).__name__ in repr(half_made)  # as in a traceback of its constructor


def test_importing_the_package_loads_nothing_but_itself() -> None:
    script = (
        "import sys; known = set(sys.modules); import invora_grpc; "
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - known}))"
    )
    loaded = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "['__future__', 'invora_grpc']"
