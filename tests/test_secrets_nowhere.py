"""No secret shows anywhere: every kind of failure, seen through logs, spans, metrics, errors, tracebacks and pickles.

Tokens and client secrets are looked for even in the local variables of tracebacks. The caller's data is not: the frame
of the call itself has it as its arguments, and so has the caller's own. Everywhere else it must not turn up either.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from auth_issuer import Issuer, as_json, running_issuer
from door import AsyncDoor, Door
from gateway import Gateway, running_gateway
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from reflection_server import scripted
from secret_watch import Watch, watching

from invora_api.documents.v2 import service_pb2 as documents
from invora_grpc import CallableToken, ClientCredentials, ConfigError, RefreshToken, RequestError, Secret, SignInError
from invora_grpc.status import OutcomeUnknown, RpcError

CLIENT_SECRET, REFRESH, TOKEN, BODY = "cl1ent-s3cret", "r3fresh-t0ken", "acc3ss-t0ken", "b0dy-m4rker"
SECRETS = (CLIENT_SECRET, REFRESH, TOKEN)
CREATE = "/invora.billing.customers.v2.CustomerService/Create"
CREATE_INVOICE = "/invora.simple.invoices.v1.SimpleInvoiceService/Create"
LIST_STREAM = "/invora.documents.v2.DocumentsService/ListStream"
FAILURES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running_gateway() as running:
        yield running


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as running:
        running.on_token = lambda number: as_json(
            running.grant(number, access_token=f"{TOKEN}-{number}", refresh_token=f"{REFRESH}-{number}")
        )
        yield running


@pytest.fixture(params=[Door, AsyncDoor])
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    """The synchronous client, then the asynchronous one."""
    made = request.param()
    yield made
    made.close()


def credentials(issuer: Issuer) -> ClientCredentials:
    return ClientCredentials(issuer.url, "abc", CLIENT_SECRET)


def create(door: Door, client: Any) -> Callable[[], Any]:
    """A call that carries the body."""
    return lambda: door.call(client.billing.customers.create, input={"external_id": BODY, "name": BODY})


def refusing(code: grpc.StatusCode) -> Any:
    """A server's answer: this status, with details and a request id."""
    details = [any_pb2.Any(), any_pb2.Any()]
    details[0].Pack(error_details_pb2.ErrorInfo(reason="BECAUSE", domain="test"))
    violation = error_details_pb2.BadRequest.FieldViolation(field="input.name", description="is bad")
    details[1].Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    binary = status_pb2.Status(code=code.value[0], message="no", details=details).SerializeToString()

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("x-request-id", "req-7"), ("grpc-status-details-bin", binary)))
        context.abort(code, "no")

    return answer


def repeating(request: Any, context: grpc.ServicerContext) -> Any:
    """A server's answer that repeats the caller's token wherever there is room."""
    token = dict(context.invocation_metadata())["authorization"]
    violation = error_details_pb2.BadRequest.FieldViolation(field="authorization", description=f"{token} is bad")
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    binary = status_pb2.Status(code=3, message=token, details=[detail]).SerializeToString()
    context.set_trailing_metadata((("x-request-id", token), ("x-any", token), ("grpc-status-details-bin", binary)))
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"cannot use {token}")


# --- the watch itself ---


def test_the_watch_finds_what_it_looks_for() -> None:
    def careless(token: str) -> None:
        raise ValueError("no")

    outside = {"careless": careless}
    exec(compile("def through(token): careless(token)", "elsewhere.py", "exec"), outside)
    for leak in (
        lambda watch: logging.getLogger("any").debug("sent %s", TOKEN),
        lambda watch: watch.error(ValueError(TOKEN)),
        lambda watch: watch.failure(lambda: outside["through"](TOKEN)),
        lambda watch: watch.pickled([TOKEN]),
    ):
        with pytest.raises(AssertionError, match=TOKEN), watching(*SECRETS) as watch:
            leak(watch)


# --- calls that fail ---


def test_every_status_of_a_server(door: Door, gateway: Gateway, issuer: Issuer) -> None:
    with watching(*SECRETS, bodies=(BODY,)) as watch:
        client = door.open(endpoint=gateway.url, tokens=credentials(issuer), observer=watch.observer)
        for code in FAILURES:
            gateway.answers[CREATE] = refusing(code)
            error = watch.failure(create(door, client.with_options(retry=False).for_org("tnt_1")))
            assert isinstance(error, RpcError) and error.code is code
    assert gateway.received[0].metadata["authorization"] == f"Bearer {TOKEN}-1"


def test_a_server_that_repeats_the_token(door: Door, gateway: Gateway, issuer: Issuer) -> None:
    with watching(*SECRETS, bodies=(BODY,)) as watch:
        client = door.open(endpoint=gateway.url, tokens=credentials(issuer), observer=watch.observer)
        gateway.answers[CREATE] = repeating
        error = watch.failure(create(door, client))
        gateway.streams[LIST_STREAM] = repeating
        watch.failure(lambda: door.every(client.documents.documents.list_stream()))
    assert isinstance(error, RpcError)
    assert error.message == "cannot use Bearer **************"
    assert [(one.field, one.description) for one in error.field_violations] == [
        ("authorization", "Bearer ************** is bad")
    ]


def test_a_server_that_repeats_the_token_when_it_is_asked_for_its_schema(door: Door, issuer: Issuer) -> None:
    def script(requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield repeating(requests, context)

    with scripted({"v1": script}) as server, watching(*SECRETS, bodies=(BODY,)) as watch:
        client = door.open(endpoint=server.url, tokens=credentials(issuer), observer=watch.observer, schema="verify")
        assert "Bearer ****" in str(watch.failure(lambda: door.call(client.reflect)))
        watch.failure(create(door, client))


def test_a_token_that_is_refused_and_renewed_and_refused_again(door: Door, gateway: Gateway, issuer: Issuer) -> None:
    with watching(*SECRETS, bodies=(BODY,)) as watch:
        client = door.open(endpoint=gateway.url, tokens=credentials(issuer), observer=watch.observer)
        gateway.answers[CREATE] = refusing(grpc.StatusCode.UNAUTHENTICATED)
        watch.failure(create(door, client))
    assert [call.metadata["authorization"][-1] for call in gateway.received] == ["1", "2"]


def test_a_write_of_unknown_outcome_and_its_reconciliation(door: Door, gateway: Gateway, issuer: Issuer) -> None:
    with watching(*SECRETS, bodies=(BODY,)) as watch:
        client = door.open(endpoint=gateway.url, tokens=credentials(issuer), observer=watch.observer)
        gateway.answers[CREATE_INVOICE] = refusing(grpc.StatusCode.DATA_LOSS)
        gateway.answers[CREATE] = refusing(grpc.StatusCode.UNAVAILABLE)
        watch.failure(lambda: door.call(client.simple.invoices.create, changes={"notes": [BODY]}, key="K"))
        error = watch.failure(create(door, client))
        assert isinstance(error, OutcomeUnknown)
        watch.failure(lambda: door.reconcile(error))


def test_a_deadline_that_passes(door: Door, gateway: Gateway, issuer: Issuer) -> None:
    over = threading.Event()
    gateway.answers[CREATE] = lambda request, context: over.wait(20)
    with watching(*SECRETS, bodies=(BODY,)) as watch:
        client = door.open(endpoint=gateway.url, tokens=credentials(issuer), observer=watch.observer)
        watch.failure(create(door, client.with_options(timeout=0.3)))
        over.set()


def test_a_gateway_that_is_not_there(door: Door, issuer: Issuer) -> None:
    with watching(*SECRETS, bodies=(BODY,)) as watch:
        client = door.open(endpoint="http://127.0.0.1:1", tokens=credentials(issuer), observer=watch.observer)
        watch.failure(create(door, client.with_options(retry=False)))


def test_streams_that_fail(door: Door, gateway: Gateway, issuer: Issuer) -> None:
    def breaks(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield documents.ListStreamResponse()
        refusing(grpc.StatusCode.INTERNAL)(request, context)

    gateway.answers[LIST_STREAM] = breaks
    with watching(*SECRETS, bodies=(BODY,)) as watch:
        client = door.open(endpoint=gateway.url, tokens=credentials(issuer), observer=watch.observer)
        watch.failure(lambda: door.every(client.invoicing.documents.list_stream()))
        watch.failure(lambda: door.every(client.invoicing.documents.stream_create([{"nonsense": 1}])))
        watch.failure(lambda: door.every(client.invoicing.documents.stream_create(7)))
        gateway.answers[LIST_STREAM] = refusing(grpc.StatusCode.UNAUTHENTICATED)
        watch.failure(lambda: door.every(client.invoicing.documents.list_stream()))


def test_a_client_that_is_closed(door: Door, gateway: Gateway, issuer: Issuer) -> None:
    with watching(*SECRETS, bodies=(BODY,)) as watch:
        client = door.open(endpoint=gateway.url, tokens=credentials(issuer), observer=watch.observer)
        create(door, client)()
        door.end(client)
        watch.failure(create(door, client))
        watch.failure(lambda: door.every(client.invoicing.documents.list_stream()))


def test_requests_that_do_not_fit(door: Door, gateway: Gateway, issuer: Issuer) -> None:
    with watching(*SECRETS, bodies=(BODY,)) as watch:
        client = door.open(endpoint=gateway.url, tokens=credentials(issuer), observer=watch.observer)
        for bad in ({"currency": "NONSENSE"}, {"nonsense": 1}, {"net_payment_term": "x"}):
            call = client.billing.customers.create
            error = watch.failure(lambda call=call, bad=bad: door.call(call, input={"external_id": BODY, **bad}))
            assert isinstance(error, RequestError)


# --- sign-in that fails ---


def _quoted(number: int) -> Any:
    return as_json({"error": "invalid_client", "error_description": f"{CLIENT_SECRET} {REFRESH} is wrong"}, 401)


SPOILS: list[Callable[[int], Any]] = [
    _quoted,
    lambda number: as_json({"access_token": f"{TOKEN} with spaces", "token_type": "Bearer", "expires_in": 60}),
    lambda number: as_json({"access_token": TOKEN, "token_type": "mac", "expires_in": 60, "echo": CLIENT_SECRET}),
    lambda number: as_json({"access_token": TOKEN, "token_type": "Bearer", "expires_in": "soon"}),
    lambda number: as_json({"refresh_token": REFRESH}),
    lambda number: (200, {}, f"not json {CLIENT_SECRET} {TOKEN}".encode()),
    lambda number: (302, {"location": "http://127.0.0.1:9/"}, b""),
    lambda number: (200, {"transfer-encoding": "chunked"}, TOKEN.encode()),
    lambda number: (400, {}, b"\xff" + CLIENT_SECRET.encode()),
]


@pytest.mark.parametrize("number", range(len(SPOILS)))
def test_an_issuer_that_answers_badly(door: Door, gateway: Gateway, issuer: Issuer, number: int) -> None:
    issuer.on_token = SPOILS[number]
    with watching(*SECRETS, bodies=(BODY,)) as watch:
        for source in (credentials(issuer), RefreshToken(issuer.url, "abc", REFRESH, CLIENT_SECRET)):
            client = door.open(endpoint=gateway.url, tokens=source, observer=watch.observer)
            assert isinstance(watch.failure(create(door, client)), SignInError)
            watch.failure(lambda client=client: door.every(client.invoicing.documents.list_stream()))
            watch.words += [repr(source), source.describe]
    assert gateway.received == []


def test_an_issuer_that_is_not_there(door: Door, gateway: Gateway, issuer: Issuer) -> None:
    issuer.server.server_close()
    with watching(*SECRETS, bodies=(BODY,)) as watch:
        source = RefreshToken(issuer.url, "abc", REFRESH, CLIENT_SECRET)
        client = door.open(endpoint=gateway.url, tokens=source, observer=watch.observer)
        assert isinstance(watch.failure(create(door, client)), SignInError)


def test_a_token_function_that_gives_no_token(door: Door, gateway: Gateway) -> None:
    for given in (f"{TOKEN}\nx", f"{TOKEN} x", ""):
        with watching(*SECRETS, bodies=(BODY,)) as watch:
            source = CallableToken(lambda given=given: given)
            client = door.open(endpoint=gateway.url, tokens=source, observer=watch.observer)
            assert isinstance(watch.failure(create(door, client)), ConfigError)


# --- settings, and things as they show themselves ---


@pytest.mark.parametrize(
    "bad",
    [
        {"token": f"{TOKEN}\n"},
        {"token": TOKEN, "client_secret": CLIENT_SECRET},
        {"token": TOKEN, "endpoint": "http://gw.example"},
        {"token": TOKEN, "timeout": -1},
        {"token": TOKEN, "schema": "x"},
        {"client_secret": CLIENT_SECRET},
        {"client_secret": CLIENT_SECRET, "client_id": "a b"},
        {"token": TOKEN, "client_certificate": (TOKEN.encode(), CLIENT_SECRET.encode())},
    ],
)
def test_settings_that_are_wrong(door: Door, bad: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVORA_TOKEN", f"{TOKEN}-of-the-environment")
    monkeypatch.setenv("INVORA_CLIENT_SECRET", f"{CLIENT_SECRET}-of-the-environment")
    with watching(*SECRETS) as watch:
        watch.failure(lambda: door.call(door.open(**{"endpoint": "https://localhost:1", **bad}).billing.customers.list))


@pytest.mark.parametrize(
    "endpoint", [f"https://user:{CLIENT_SECRET}@gw.example", f"https://gw.example/?{CLIENT_SECRET}"]
)
def test_an_endpoint_with_a_secret_in_it(door: Door, endpoint: str) -> None:
    with watching(TOKEN, bodies=(CLIENT_SECRET,)) as watch:
        assert isinstance(watch.failure(lambda: door.open(endpoint=endpoint, token=TOKEN)), ConfigError)


def test_what_a_client_consists_of(door: Door, gateway: Gateway, issuer: Issuer) -> None:
    with watching(*SECRETS, bodies=(BODY,)) as watch:
        options = {"endpoint": gateway.url, "observer": watch.observer}
        clients = [
            door.open(tokens=credentials(issuer), **options),
            door.open(client_id="abc", client_secret=CLIENT_SECRET, issuer=issuer.url, **options),
            door.open(token=TOKEN, **options),
            door.open(token=Secret(TOKEN), **options),
            door.open(tokens=RefreshToken(issuer.url, "abc", REFRESH, CLIENT_SECRET), **options),
        ]
        for client in clients:
            create(door, client)()
            for thing in (client, client.for_org("tnt_1"), client.billing, client.billing.customers):
                shows(watch, thing)
            shows(watch, client.billing.customers.create)
            shows(watch, client.invoicing.documents.list_stream)
            shows(watch, client._connection.settings)


def shows(watch: Watch, thing: Any) -> None:
    """Look at a thing and at what it holds, two steps deep."""
    watch.words += [repr(thing), str(thing), f"{thing!s:>10}"]
    watch.pickled(thing)
    inner = [getattr(thing, name) for name in getattr(type(thing), "__slots__", ()) if hasattr(thing, name)]
    for one in [*vars(thing).values(), *inner] if hasattr(thing, "__dict__") else inner:
        watch.words.append(repr(one))
        if hasattr(one, "__dict__") and type(one).__module__.startswith("invora_grpc"):
            watch.words += [repr(value) for value in vars(one).values()]
