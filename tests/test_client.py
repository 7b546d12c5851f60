"""The synchronous client against a real gRPC server on loopback."""

from __future__ import annotations

import copy
import pickle
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import grpc
import pytest
from gateway import Gateway, running_gateway

from invora_api.billing.customers.v2 import service_pb2 as customers
from invora_grpc import (
    CallableToken,
    ClosedError,
    ConfigError,
    DeadlineExceeded,
    InvalidArgument,
    Invora,
    NotFound,
    RequestError,
    RpcError,
    Unauthenticated,
    Unavailable,
    UnconfirmedSchema,
)
from invora_grpc.catalog import catalog

CREATE = "/invora.billing.customers.v2.CustomerService/Create"
LIST = "/invora.billing.customers.v2.CustomerService/List"
LIST_STREAM = "/invora.documents.v2.DocumentsService/ListStream"
STREAM_CREATE = "/invora.documents.v2.DocumentsService/StreamCreate"
SECRET = "s3cr3t-t0k3n"
NO_LOOPBACK = "https://0.0.0.0:1"
"""Counts as another machine, though nothing leaves this one."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running_gateway() as running:
        yield running


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Invora]:
    with Invora(endpoint=gateway.url, token=SECRET) as made:
        yield made


def test_every_method_of_the_catalog_is_an_attribute_of_the_client(client: Invora) -> None:
    for method in catalog().methods:
        rpc = getattr(getattr(getattr(client, method.module), method.area), method.rpc)
        assert rpc.method is method


def test_completion_offers_modules_areas_and_rpcs(client: Invora) -> None:
    assert {"billing", "simple", "identity", "invoicing"} <= set(dir(client))
    assert "customers" in dir(client.billing)
    assert {"create", "get", "list"} <= set(dir(client.billing.customers))


def test_a_wrong_attribute_suggests_the_right_one(client: Invora) -> None:
    with pytest.raises(AttributeError, match=r"has no 'custmers'; did you mean customers"):
        _ = client.billing.custmers


def test_the_docstring_of_an_rpc_says_what_it_does_and_what_it_needs(client: Invora) -> None:
    doc = client.simple.invoices.freeze.__doc__
    assert "Issues a draft invoice" in doc
    assert "Invora.Simple.Invoices.v1.Modify.Freeze" in doc


def test_keyword_arguments_become_the_request(client: Invora, gateway: Gateway) -> None:
    client.billing.customers.create(input={"external_id": "acme", "currency": "SAR"})
    assert gateway.received[0].path == CREATE
    expected = customers.CreateCustomerInput(external_id="acme", currency="CURRENCY_ENUM_SAR")
    assert gateway.received[0].request.input == expected


def test_a_mapping_or_a_message_is_taken_as_the_request(client: Invora, gateway: Gateway) -> None:
    message = customers.CreateRequest(input=customers.CreateCustomerInput(external_id="acme"))
    client.billing.customers.create(message)
    client.billing.customers.create({"input": {"externalId": "acme"}})
    assert [r.request for r in gateway.received] == [message, message]


def test_values_are_converted_by_the_type_of_the_field(client: Invora, gateway: Gateway) -> None:
    client.simple.invoices.create(
        changes={
            "issue_at": datetime(2026, 6, 12, 9, tzinfo=UTC),
            "supply_date": date(2026, 6, 12),
            "lines": [{"unit_price": Decimal("-20.50"), "quantity": {"value": "3"}, "tax": {"tax_rate": 15}}],
        }
    )
    changes = gateway.received[0].request.changes
    assert changes.issue_at.seconds == 1_781_254_800
    assert (changes.supply_date.year, changes.supply_date.month, changes.supply_date.day) == (2026, 6, 12)
    line = changes.lines[0]
    assert (line.unit_price.units, line.unit_price.nanos) == (-20, -500_000_000)
    assert (line.quantity.value.units, line.tax.tax_rate.units) == (3, 15)


def test_a_call_carries_the_bearer_token_and_a_deadline(client: Invora, gateway: Gateway) -> None:
    client.with_options(timeout=7).billing.customers.list()
    call = gateway.received[0]
    assert call.metadata["authorization"] == f"Bearer {SECRET}"
    assert "x-target-org-id" not in call.metadata
    assert call.time_remaining is not None
    assert 0 < call.time_remaining < 7.5  # gRPC rounds what it sends up


def test_for_org_routes_calls_and_leaves_the_first_client_alone(client: Invora, gateway: Gateway) -> None:
    client.for_org("tnt_1").billing.customers.list()
    client.billing.customers.list()
    assert [r.metadata.get("x-target-org-id") for r in gateway.received] == ["tnt_1", None]


def test_for_org_shares_the_channel(client: Invora) -> None:
    assert client.for_org("tnt_1")._connection is client._connection


@pytest.mark.parametrize("org", ["", "a b", "a\r\nx-admin: 1", "ünde", None, 7])
def test_an_organization_that_cannot_be_a_header_is_refused(client: Invora, org: Any) -> None:
    with pytest.raises(ConfigError, match="org_id"):
        client.for_org(org)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), True, "5"])
def test_a_timeout_that_is_none_is_refused(client: Invora, timeout: Any) -> None:
    with pytest.raises(ConfigError, match="timeout"):
        client.with_options(timeout=timeout)


def test_a_service_is_found_by_its_full_name(client: Invora, gateway: Gateway) -> None:
    client.service("invora.billing.customers.v2.CustomerService").create(input={"external_id": "acme"})
    assert gateway.received[0].path == CREATE


def test_an_unknown_service_is_refused_with_the_nearest_name(client: Invora) -> None:
    with pytest.raises(RequestError, match=r"did you mean invora\.billing\.plans\.v2\.PlanService"):
        client.service("invora.billing.plans.v2.PlansService")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"input": {"externl_id": "acme"}}, ["input.externl_id", "'acme'", "external_id"]),
        ({"inputs": {}}, ["inputs", "input"]),
        ({"input": {"external_id": 7}}, ["input.external_id", "7", "write a str"]),
        ({"input": {"currency": "SAX"}}, ["input.currency", "'SAX'", "SAR"]),
        ({"input": {"metadata": "x"}}, ["input.metadata", "'x'", "list"]),
        ({"input": [1]}, ["input", "[1]"]),
    ],
)
def test_a_bad_request_is_one_line_with_field_value_and_way_out(
    client: Invora, gateway: Gateway, request_: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(RequestError) as caught:
        client.billing.customers.create(**request_)
    text = str(caught.value)
    assert "\n" not in text
    assert [word for word in words if word not in text] == []
    assert gateway.received == []


@pytest.mark.parametrize(
    ("price", "words"),
    [
        (Decimal("0.1234567891"), ["9 decimal places"]),
        ({"units": 1, "nanos": -5}, ["sign"]),
        ({"units": 0, "nanos": 10**9}, ["999"]),
        (20.5, ["float", "Decimal"]),
        ("1,000", ["'1,000'"]),
        (Decimal("NaN"), ["NaN"]),
        (2**70, ["1180591620717411303424"]),
    ],
)
def test_a_bad_amount_is_refused_before_anything_is_sent(
    client: Invora, gateway: Gateway, price: Any, words: list[str]
) -> None:
    with pytest.raises(RequestError) as caught:
        client.simple.invoices.create(changes={"lines": [{"unit_price": price}]})
    text = str(caught.value)
    assert text.startswith("changes.lines[0].unit_price")
    assert "\n" not in text
    assert [word for word in words if word not in text] == []
    assert gateway.received == []


def test_a_naive_datetime_is_refused(client: Invora, gateway: Gateway) -> None:
    with pytest.raises(RequestError, match=r"changes\.issue_at.*tz"):
        client.simple.invoices.create(changes={"issue_at": datetime(2026, 6, 12)})
    assert gateway.received == []


def test_a_request_and_keyword_arguments_together_are_refused(client: Invora, gateway: Gateway) -> None:
    with pytest.raises(RequestError, match="came with both"):
        client.billing.customers.create({"input": {}}, input={})
    assert gateway.received == []


@pytest.mark.parametrize("endpoint", ["ftp://x", "https://", "host:0", "http://a/b", "x y", "https://u:p@h"])
def test_a_bad_endpoint_is_refused_in_one_line(endpoint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Invora(endpoint=endpoint, token=SECRET)
    assert str(caught.value).startswith("endpoint: ")
    assert "\n" not in str(caught.value)


def test_missing_credentials_are_named_with_the_ways_to_give_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INVORA_TOKEN", "INVORA_CLIENT_ID", "INVORA_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"^credentials: missing; set INVORA_CLIENT_ID and INVORA_CLIENT_SECRET"):
        Invora("staging")


def test_a_token_is_not_sent_in_plaintext_to_another_machine() -> None:
    with pytest.raises(ConfigError, match="plaintext"):
        Invora(endpoint="http://gateway.example", token=SECRET)


def test_settings_come_from_the_environment(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVORA_ENDPOINT", gateway.url)
    monkeypatch.setenv("INVORA_TOKEN", "from-environment")
    monkeypatch.setenv("INVORA_ORG_ID", "tnt_9")
    with Invora() as client:
        client.billing.customers.list()
    metadata = gateway.received[0].metadata
    assert (metadata["authorization"], metadata["x-target-org-id"]) == ("Bearer from-environment", "tnt_9")


def test_a_status_becomes_its_own_exception(client: Invora, gateway: Gateway) -> None:
    gateway.answers[CREATE] = lambda _, context: context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
    with pytest.raises(NotFound) as caught:
        client.for_org("tnt_1").billing.customers.create(input={})
    assert (caught.value.method, caught.value.org, caught.value.message) == (CREATE, "tnt_1", "no such thing")
    assert isinstance(caught.value, grpc.RpcError)


def test_an_answer_that_does_not_come_in_time_is_a_deadline_error(client: Invora, gateway: Gateway) -> None:
    released = threading.Event()
    gateway.answers[LIST] = lambda _, __: released.wait(10) and customers.ListResponse()
    try:
        with pytest.raises(DeadlineExceeded):
            client.with_options(timeout=0.2).billing.customers.list()
    finally:
        released.set()


def test_no_traceback_shows_the_token(client: Invora, gateway: Gateway) -> None:
    gateway.answers[CREATE] = lambda _, context: context.abort(grpc.StatusCode.INTERNAL, "broken")
    with pytest.raises(RpcError) as caught:
        client.billing.customers.create(input={})
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert SECRET not in shown
    assert SECRET not in repr(client) + repr(vars(client)) + repr(client._connection.settings)


class Expiring:
    """A gateway and a token source: token-1 is refused, and from then on the source hands out token-2."""

    def __init__(self, gateway: Gateway, answer: Any) -> None:
        self._gateway, self._answer, self._number = gateway, answer, 1

    def token(self) -> str:
        return f"token-{self._number}"

    def __call__(self, _: Any, context: grpc.ServicerContext) -> Any:
        if self._gateway.received[-1].metadata["authorization"] == "Bearer token-1":
            self._number = 2
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "expired")
        return self._answer

    @property
    def sent(self) -> list[str]:
        return [call.metadata["authorization"] for call in self._gateway.received]


def test_a_refused_token_is_renewed_once_and_the_call_repeated(gateway: Gateway) -> None:
    expiring = gateway.answers[CREATE] = Expiring(gateway, customers.CreateResponse())
    with Invora(endpoint=gateway.url, tokens=CallableToken(expiring.token)) as client:
        client.billing.customers.create(input={})
    assert expiring.sent == ["Bearer token-1", "Bearer token-2"]


def test_a_token_that_cannot_be_renewed_is_not_sent_again(client: Invora, gateway: Gateway) -> None:
    gateway.answers[CREATE] = lambda _, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
    with pytest.raises(Unauthenticated):
        client.billing.customers.create(input={})
    assert len(gateway.received) == 1


def test_a_server_stream_is_an_iterator_of_messages(client: Invora, gateway: Gateway) -> None:
    from invora_api.documents.v2 import service_pb2 as documents

    answers = [documents.ListStreamResponse(), documents.ListStreamResponse()]
    gateway.answers[LIST_STREAM] = lambda _, __: iter(answers)
    assert list(client.invoicing.documents.list_stream()) == answers


def test_a_bidirectional_stream_takes_an_iterable_of_requests(client: Invora, gateway: Gateway) -> None:
    from invora_api.documents.v2 import service_pb2 as documents

    gateway.answers[STREAM_CREATE] = lambda requests, _: (documents.StreamCreateResponse() for _ in requests)
    assert len(list(client.invoicing.documents.stream_create([{}, {}, {}]))) == 3
    assert len(gateway.received[0].request) == 3


def test_an_error_in_a_stream_is_typed(client: Invora, gateway: Gateway) -> None:
    gateway.answers[LIST_STREAM] = lambda _, context: context.abort(grpc.StatusCode.NOT_FOUND, "gone")
    with pytest.raises(NotFound):
        list(client.invoicing.documents.list_stream())


def test_the_names_of_the_package_are_pinned() -> None:
    import invora_grpc

    assert invora_grpc.__all__ == sorted(set(invora_grpc.__all__))
    for name in invora_grpc.__all__:
        assert getattr(getattr(invora_grpc, name), "__name__", name) == name


def test_a_documented_rpc_goes_to_no_gateway_that_offers_no_reflection_unless_it_is_trusted(gateway: Gateway) -> None:
    with (
        Invora(endpoint=gateway.url, token=SECRET, schema="verify") as client,
        pytest.raises(UnconfirmedSchema, match="nothing was sent") as caught,
    ):
        client.simple.invoices.list()
    assert gateway.received == []
    assert pickle.loads(pickle.dumps(caught.value)).method == caught.value.method
    with Invora(endpoint=gateway.url, token=SECRET, schema="trust") as trusting:
        trusting.simple.invoices.list()
    with Invora(endpoint=gateway.url, token=SECRET) as on_loopback:
        on_loopback.simple.invoices.list()
    with Invora(endpoint=gateway.url, token=SECRET, schema="verify") as client:
        client.billing.customers.list()


def test_a_real_gateway_that_cannot_be_asked_for_its_schema_is_unavailable() -> None:
    with Invora(endpoint=NO_LOOPBACK, token=SECRET) as real, pytest.raises(Unavailable, match="not sent") as caught:
        real.with_options(retry=False).billing.customers.create(input={"external_id": "acme"})
    assert caught.value.unsent


def test_a_schema_policy_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="schema: 'maybe' is no policy; use verify, adapt, trust"):
        Invora(endpoint=NO_LOOPBACK, token=SECRET, schema="maybe")


def test_a_bad_request_in_a_stream_is_named_as_such(client: Invora) -> None:
    with pytest.raises(RequestError, match=r"^nope: 1; no such field"):
        list(client.invoicing.documents.stream_create([{}, {"nope": 1}]))


def test_an_exception_of_the_callers_own_requests_comes_through(client: Invora) -> None:
    def requests() -> Iterator[dict[str, Any]]:
        yield {}
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        list(client.invoicing.documents.stream_create(requests()))


@pytest.mark.parametrize("given", [{}, "text", 7])
def test_what_is_no_stream_of_requests_is_refused(client: Invora, given: Any) -> None:
    with pytest.raises(RequestError, match="give an iterable of messages or mappings"):
        client.invoicing.documents.stream_create(given)


def test_a_stream_renews_a_refused_token_before_its_first_message(gateway: Gateway) -> None:
    expiring = gateway.answers[LIST_STREAM] = Expiring(gateway, iter(()))
    with Invora(endpoint=gateway.url, tokens=CallableToken(expiring.token)) as client:
        assert list(client.invoicing.documents.list_stream()) == []
    assert expiring.sent == ["Bearer token-1", "Bearer token-2"]


def test_a_stream_that_is_left_half_way_is_cancelled_on_the_server(client: Invora, gateway: Gateway) -> None:
    from invora_api.documents.v2 import service_pb2 as documents

    ended = threading.Event()

    def endless(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(ended.set)
        while context.is_active():
            yield documents.ListStreamResponse()

    gateway.answers[LIST_STREAM] = endless
    for _ in client.invoicing.documents.list_stream():
        break
    assert ended.wait(10)


def test_a_closed_client_says_so(gateway: Gateway) -> None:
    client = Invora(endpoint=gateway.url, token=SECRET)
    derived = client.for_org("tnt_1")
    client.billing.customers.list()
    client.close()
    for closed in (client, derived):
        with pytest.raises(ClosedError, match="make a new one") as caught:
            closed.billing.customers.list()
        shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
        assert SECRET not in shown


def test_a_copy_of_a_client_works_like_the_client(client: Invora, gateway: Gateway) -> None:
    copy.copy(client).billing.customers.list()
    copy.copy(client.billing).customers.list()
    assert len(gateway.received) == 2


def test_violations_that_the_message_already_names_are_not_repeated(client: Invora, gateway: Gateway) -> None:
    from google.rpc import error_details_pb2, status_pb2

    violations = [
        error_details_pb2.BadRequest.FieldViolation(field="a", description="is bad"),
        error_details_pb2.BadRequest.FieldViolation(field="b", description="is worse"),
    ]
    status = status_pb2.Status(code=3, message="a: is bad (and 1 more)")
    status.details.add().Pack(error_details_pb2.BadRequest(field_violations=violations))

    def answer(_: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, status.message)

    gateway.answers[CREATE] = answer
    with pytest.raises(InvalidArgument) as caught:
        client.billing.customers.create(input={})
    assert str(caught.value).count("a: is bad") == 1
    assert "b: is worse" in str(caught.value)
    assert [violation.field for violation in caught.value.field_violations] == ["a", "b"]
