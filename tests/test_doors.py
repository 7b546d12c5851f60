"""What both clients do: the surface is the same, and each behaviour is shown for both."""

from __future__ import annotations

import inspect
import pydoc
from typing import Any

import grpc
import pytest
from door import Door
from gateway import Gateway, abort, empty, in_turn
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from invora_grpc import (
    AlreadyExists,
    AsyncInvora,
    CallableToken,
    ClosedError,
    ConfigError,
    DeadlineExceeded,
    Invora,
    NotFound,
    OutcomeUnknown,
    RequestError,
    ResourceExhausted,
    Retry,
    RpcError,
    StaticToken,
    Unauthenticated,
    Unavailable,
)
from invora_grpc.catalog import catalog

TOKEN = "s3cr3t-t0k3n"
CUSTOMERS = "/invora.billing.customers.v2.CustomerService/"
INVOICES = "/invora.simple.invoices.v1.SimpleInvoiceService/"
LIST_STREAM = "/invora.documents.v2.DocumentsService/ListStream"
STREAM_CREATE = "/invora.documents.v2.DocumentsService/StreamCreate"
QUICK = Retry(initial=0.001, budget=False)


@pytest.fixture
def client(door: Door, gateway: Gateway) -> Any:
    return door.open(endpoint=gateway.url, token=TOKEN).with_options(retry=QUICK)


# --- the surface --------------------------------------------------------------------------------------------------


def members(kind: type) -> dict[str, Any]:
    return {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}


def parameters(member: Any) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(member).parameters.values()
    return [(one.name, one.kind, one.default) for one in found]


@pytest.mark.parametrize("pair", ["client", "unary", "stream", "client-stream", "stream object", "items", "pages"])
def test_both_doors_have_the_same_surface(pair: str) -> None:
    from invora_grpc import aio, client, paging, streaming, streaming_aio

    one, other = {
        "client": (Invora, AsyncInvora),
        "unary": (client.UnaryRpc, aio.AsyncUnaryRpc),
        "stream": (streaming.StreamRpc, streaming_aio.AsyncStreamRpc),
        "client-stream": (streaming.ClientStreamRpc, streaming_aio.AsyncClientStreamRpc),
        "stream object": (streaming.Stream, streaming_aio.AsyncStream),
        "items": (paging.Items, paging.AsyncItems),
        "pages": (paging.Pages, paging.AsyncPages),
    }[pair]
    mine, theirs = members(one), members(other)
    assert mine.keys() - {"end_idle", "idle_left"} == theirs.keys()
    for name in theirs:
        if callable(mine[name]):
            assert parameters(mine[name]) == parameters(theirs[name]), name
    assert parameters(one.__init__)[1:4] == parameters(other.__init__)[1:4] or pair == "stream object"
    if "__call__" in vars(one):
        assert parameters(vars(one)["__call__"]) == parameters(vars(other)["__call__"])


def test_the_constructors_take_the_same_settings() -> None:
    assert parameters(Invora.__init__) == parameters(AsyncInvora.__init__)


def test_both_trees_have_every_rpc_of_the_catalog(client: Any) -> None:
    for method in catalog().methods:
        rpc = getattr(getattr(getattr(client, method.module), method.area), method.rpc)
        assert rpc.method is method
        assert type(rpc) is type(client)._kinds[method.streaming]


def test_help_shows_what_the_schema_says_about_an_rpc(client: Any) -> None:
    shown = pydoc.render_doc(client.simple.invoices.create)
    assert catalog().method("simple.invoices.create").doc.splitlines()[0] in shown
    assert "Scope: Invora.Simple.Invoices.v1.Modify.Create" in shown


# --- options ------------------------------------------------------------------------------------------------------


def test_a_derived_client_acts_in_another_organization_over_the_same_connection(
    door: Door, client: Any, gateway: Gateway
) -> None:
    door.call(client.for_org("tnt_1").billing.customers.list)
    door.call(client.billing.customers.list)
    assert [call.metadata.get("x-target-org-id") for call in gateway.received] == ["tnt_1", None]
    assert client.for_org("tnt_1")._connection is client._connection


@pytest.mark.parametrize("org", ["", " ", "\t", None, 7, b"tnt_1", "a b", "tnt_\u00e9", ["tnt_1"]])
def test_an_organization_that_is_none_sends_nothing(door: Door, client: Any, gateway: Gateway, org: Any) -> None:
    with pytest.raises(ConfigError, match=r"^org_id: "):
        door.call(client.for_org(org).billing.customers.list)
    with pytest.raises(ConfigError, match=r"^org_id: "):
        door.call(client.with_options(org=org).billing.customers.list)
    assert gateway.received == []


def test_a_client_that_is_bound_to_an_organization_is_bound_to_another_only_on_purpose(client: Any) -> None:
    bound = client.for_org("tnt_1")
    with pytest.raises(ConfigError, match=r"org_id: 'tnt_2' is not the organization tnt_1 .*rebind=True"):
        bound.for_org("tnt_2")
    with pytest.raises(ConfigError, match="rebind=True"):
        bound.with_options(org="tnt_2")
    assert "tnt_2" in repr(bound.for_org("tnt_2", rebind=True))
    assert "tnt_1" in repr(bound.for_org("tnt_1"))


def test_metadata_of_the_callers_own_is_sent_along(door: Door, client: Any, gateway: Gateway) -> None:
    door.call(client.with_options(metadata={"x-trace": "1", "x-raw-bin": b"\x00"}).billing.customers.list)
    assert gateway.received[0].metadata["x-trace"] == "1"


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"authorization": "Bearer x"}, "token source"),
        ({"x-target-org-id": "tnt_1"}, "for_org"),
        ({"grpc-timeout": "1"}, "gRPC sets it itself"),
        ({"X-Upper": "1"}, "lower-case"),
        ({"x-a": b"1"}, "-bin"),
        ({"x-a-bin": "1"}, "-bin"),
        ({"x-a": "line\nbreak"}, "printable ASCII"),
        ("x-a", "mapping"),
    ],
)
def test_metadata_that_must_not_be_sent_is_refused_without_showing_its_value(
    client: Any, metadata: Any, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        client.with_options(metadata=metadata)
    assert "break" not in str(caught.value)


def test_metadata_may_be_as_large_as_leaves_room_for_the_clients_own(client: Any) -> None:
    pairs = [("x-big", "secret" * 1000), ("x-raw-bin", b"\0" * 6210)]  # 12 288 bytes, as each pair counts 32 more
    client.with_options(metadata=pairs)
    said = r"^metadata: has 12289 bytes, most of them in x-raw-bin; give at most 12288 bytes in all"
    with pytest.raises(ConfigError, match=said) as caught:
        client.with_options(metadata=[*pairs[:1], ("x-raw-bin", b"\0" * 6211)])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        *({"timeout": 0}, {"timeout": "5"}, {"stream_idle_timeout": -1}, {"retry": 3}, {"wait_for_ready": 1}),
        *({"compression": "zip"}, {"idempotency_key": ""}, {"idempotency_key": 7}),
    ],
    ids=str,
)
def test_an_option_that_makes_no_sense_is_named(client: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"^{next(iter(options))}: "):
        client.with_options(**options)


def test_what_is_not_given_stays_as_it_is(door: Door, client: Any, gateway: Gateway) -> None:
    derived = client.with_options(timeout=5).with_options(metadata={"x-a": "1"}).for_org("tnt_1")
    door.call(derived.billing.customers.list)
    (call,) = gateway.received
    assert (call.metadata["x-a"], call.metadata["x-target-org-id"]) == ("1", "tnt_1")
    assert call.time_remaining is not None and call.time_remaining < 5.5


def test_requests_can_be_compressed(door: Door, client: Any, gateway: Gateway) -> None:
    door.call(client.with_options(compression="gzip").billing.customers.list)
    assert len(gateway.received) == 1


def test_a_call_can_wait_for_a_connection(door: Door, gateway: Gateway) -> None:
    nobody = door.open(endpoint="http://127.0.0.1:1", token=TOKEN).with_options(retry=False, timeout=0.3)
    with pytest.raises(Unavailable):
        door.call(nobody.billing.customers.list)
    with pytest.raises(DeadlineExceeded):
        door.call(nobody.with_options(wait_for_ready=True).billing.customers.list)


def test_a_tenants_own_credentials_go_over_the_same_connection(door: Door, client: Any, gateway: Gateway) -> None:
    for number in range(3):
        own = client.with_options(tokens=StaticToken(f"tenant-{number}"))
        door.call(own.billing.customers.list)
    sent = [call.metadata["authorization"] for call in gateway.received]
    assert sent == ["Bearer tenant-0", "Bearer tenant-1", "Bearer tenant-2"]


def test_every_call_has_a_deadline(door: Door, client: Any, gateway: Gateway) -> None:
    door.call(client.billing.customers.list)
    remaining = gateway.received[0].time_remaining
    assert remaining is not None and 25 < remaining < 31


# --- retries over the wire ----------------------------------------------------------------------------------------


def test_a_read_is_repeated_until_it_works(door: Door, client: Any, gateway: Gateway) -> None:
    down = abort(grpc.StatusCode.UNAVAILABLE, "upstream")
    gateway.answers[CUSTOMERS + "List"] = in_turn(down, down, empty("billing.customers.list"))
    door.call(client.billing.customers.list)
    assert len(gateway.received) == 3


def test_retries_can_be_switched_off(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[CUSTOMERS + "List"] = abort(grpc.StatusCode.UNAVAILABLE, "upstream")
    with pytest.raises(Unavailable):
        door.call(client.with_options(retry=False).billing.customers.list)
    assert len(gateway.received) == 1


def test_a_write_in_doubt_is_of_unknown_outcome_and_was_sent_once(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[CUSTOMERS + "Create"] = abort(grpc.StatusCode.UNAVAILABLE, "upstream")
    with pytest.raises(OutcomeUnknown) as caught:
        door.call(client.billing.customers.create, input={"name": "Acme"})
    assert len(gateway.received) == 1
    assert (caught.value.code, caught.value.method) == (grpc.StatusCode.UNAVAILABLE, CUSTOMERS + "Create")
    assert isinstance(caught.value, grpc.RpcError)
    with pytest.raises(RequestError, match="no key"):
        door.reconcile(caught.value)


def test_a_keyed_create_gets_one_key_for_all_its_tries(door: Door, client: Any, gateway: Gateway) -> None:
    down = abort(grpc.StatusCode.UNAVAILABLE, "reset")
    gateway.answers[INVOICES + "Create"] = in_turn(down, down, empty("simple.invoices.create"))
    door.call(client.simple.invoices.create, changes={"currency_code": "SAR"})
    keys = {call.request.key for call in gateway.received}
    assert len(gateway.received) == 3 and len(keys) == 1 and keys != {""}


def test_two_creates_have_two_keys_though_they_say_the_same(door: Door, client: Any, gateway: Gateway) -> None:
    for _ in range(2):
        door.call(client.simple.invoices.create, changes={"currency_code": "SAR"})
    assert len({call.request.key for call in gateway.received}) == 2


def test_the_callers_message_is_not_changed_by_the_key(door: Door, client: Any, gateway: Gateway) -> None:
    from invora_grpc.call import bind

    request = bind(catalog().method("simple.invoices.create")).request_class()
    door.call(client.simple.invoices.create, request)
    assert request.key == ""
    assert gateway.received[0].request.key


def test_already_exists_after_a_lost_answer_is_this_calls_own_record(door: Door, client: Any, gateway: Gateway) -> None:
    lost, exists = abort(grpc.StatusCode.UNAVAILABLE, "reset"), abort(grpc.StatusCode.ALREADY_EXISTS, "key taken")
    gateway.answers[INVOICES + "Create"] = in_turn(lost, exists)
    found = empty("simple.invoices.get")
    found.details.currency_code = "SAR"
    gateway.answers[INVOICES + "Get"] = lambda *_: found
    answer = door.call(client.simple.invoices.create, key="K", changes={"currency_code": "SAR"})
    assert answer.details.currency_code == "SAR"


def test_already_exists_on_the_first_try_stays_an_error(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[INVOICES + "Create"] = abort(grpc.StatusCode.ALREADY_EXISTS, "key taken")
    with pytest.raises(AlreadyExists):
        door.call(client.simple.invoices.create, key="K", changes={"currency_code": "SAR"})
    assert len(gateway.received) == 1


def test_an_unknown_outcome_can_be_reconciled(door: Door, client: Any, gateway: Gateway) -> None:
    down = abort(grpc.StatusCode.UNAVAILABLE, "reset")
    gateway.answers[INVOICES + "Create"] = gateway.answers[INVOICES + "Get"] = down
    with pytest.raises(OutcomeUnknown, match="reconcile") as caught:
        door.call(client.simple.invoices.create, key="K", changes={"currency_code": "SAR"})
    found = empty("simple.invoices.get")
    found.details.currency_code = "SAR"
    gateway.answers[INVOICES + "Get"] = lambda *_: found
    assert caught.value.key == "K"
    outcome = door.reconcile(caught.value)
    assert outcome.happened is True
    assert outcome.response.details.currency_code == "SAR"


def test_the_record_of_a_write_in_doubt_can_be_looked_at(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[INVOICES + "Update"] = abort(grpc.StatusCode.INTERNAL, "broken")
    with pytest.raises(OutcomeUnknown) as caught:
        door.call(client.simple.invoices.update, key="K", concurrency_stamp="1", changes={"currency_code": "SAR"})
    outcome = door.reconcile(caught.value)
    assert (outcome.happened, gateway.received[-1].request.key) == (None, "K")


@pytest.mark.parametrize(
    ("rpc", "fields", "way"),
    [
        ("create", {}, "look 'K' up with simple.invoices.get, or send the same create again under that key"),
        ("update", {"concurrency_stamp": "1"}, "look 'K' up with simple.invoices.get"),
    ],
)
def test_a_closed_client_says_how_to_find_out_without_it(
    door: Door, client: Any, gateway: Gateway, rpc: str, fields: dict[str, str], way: str
) -> None:
    gateway.answers[INVOICES + "Get"] = down = abort(grpc.StatusCode.UNAVAILABLE, "reset")
    gateway.answers[INVOICES + "Create"] = gateway.answers[INVOICES + "Update"] = down
    with pytest.raises(OutcomeUnknown) as caught:
        door.call(getattr(client.simple.invoices, rpc), key="K", changes={"currency_code": "SAR"}, **fields)
    door.end(client)
    with pytest.raises(ClosedError, match="still unknown; with a new client, ") as closed:
        door.reconcile(caught.value)
    assert way in str(closed.value)
    assert ("create again" in str(closed.value)) is (rpc == "create")


def test_a_key_with_another_payload_is_refused_before_it_is_sent(door: Door, client: Any, gateway: Gateway) -> None:
    door.call(client.simple.invoices.create, key="K", changes={"currency_code": "SAR"})
    with pytest.raises(RequestError, match="key: 'K'"):
        door.call(client.simple.invoices.create, key="K", changes={"currency_code": "USD"})
    assert len(gateway.received) == 1
    door.call(client.for_org("tnt_2").simple.invoices.create, key="K", changes={"currency_code": "USD"})


def test_the_idempotency_key_of_a_client_is_the_key_of_its_creates(door: Door, client: Any, gateway: Gateway) -> None:
    keyed = client.with_options(idempotency_key="order-7")
    door.call(keyed.simple.invoices.create, changes={"currency_code": "SAR"})
    assert gateway.received[0].request.key == "order-7"
    with pytest.raises(RequestError, match="not the client's idempotency key"):
        door.call(keyed.simple.invoices.create, key="other", changes={})
    with pytest.raises(RequestError, match=r"idempotency_key: 'order-7' cannot be the key of billing.customers.create"):
        door.call(keyed.billing.customers.create, input={})
    door.call(keyed.billing.customers.list)


@pytest.mark.parametrize("key", ["", " ", "\t"])
def test_a_key_that_is_given_but_empty_is_no_reason_to_make_one_up(
    door: Door, client: Any, gateway: Gateway, key: str
) -> None:
    for arguments, fields in (((), {"key": key}), (({"key": key},), {})):
        with pytest.raises(RequestError, match=r"key: '' is empty; leave it out"):
            door.call(client.simple.invoices.create, *arguments, **fields)
    with pytest.raises(RequestError, match="transaction_id: '' is empty"):
        door.call(client.billing.events.batch_create, events=[{"transaction_id": key, "code": "api"}])
    assert gateway.received == []


def test_a_create_under_an_idempotency_key_is_answered_with_what_exists(
    door: Door, client: Any, gateway: Gateway
) -> None:
    gateway.answers[INVOICES + "Create"] = abort(grpc.StatusCode.ALREADY_EXISTS, "key taken")
    found = empty("simple.invoices.get")
    found.details.currency_code = "SAR"
    gateway.answers[INVOICES + "Get"] = lambda *_: found
    keyed = client.with_options(idempotency_key="order-7")
    assert door.call(keyed.simple.invoices.create, changes={"currency_code": "SAR"}).details.currency_code == "SAR"


def slow_down(seconds: float) -> Any:
    wait = error_details_pb2.RetryInfo(retry_delay=Duration(nanos=int(seconds * 1e9) % 10**9, seconds=int(seconds)))
    return abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", wait)


def test_a_throttled_tenant_is_kept_back_and_no_other(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[CUSTOMERS + "List"] = in_turn(slow_down(40), empty("billing.customers.list"))
    throttled, other = client.for_org("tnt_1"), client.for_org("tnt_2")
    with pytest.raises(ResourceExhausted) as caught:
        door.call(throttled.billing.customers.list)
    assert caught.value.retry_after == 40
    with pytest.raises(ResourceExhausted, match="not sent") as local:
        door.call(throttled.billing.customers.list)
    assert local.value.retry_after is not None and 35 < local.value.retry_after <= 40
    door.call(other.billing.customers.list)
    assert [call.metadata["x-target-org-id"] for call in gateway.received] == ["tnt_1", "tnt_2"]


# --- sign-in ------------------------------------------------------------------------------------------------------


def test_a_refused_token_is_renewed_once_for_calls_and_streams(door: Door, gateway: Gateway) -> None:
    tokens = iter(["old", "new", "newer"])
    current = [next(tokens)]

    def refuse_old(_: Any, context: grpc.ServicerContext) -> Any:
        if context.invocation_metadata() and gateway.received[-1].metadata["authorization"] == "Bearer old":
            current[0] = "new"
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "expired")
        return empty("billing.customers.list")

    gateway.answers[CUSTOMERS + "List"] = refuse_old
    client = door.open(endpoint=gateway.url, tokens=CallableToken(lambda: current[0]))
    door.call(client.billing.customers.list)
    assert [call.metadata["authorization"] for call in gateway.received] == ["Bearer old", "Bearer new"]


def test_a_token_that_cannot_be_renewed_is_not_sent_again(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[CUSTOMERS + "Create"] = abort(grpc.StatusCode.UNAUTHENTICATED, "no")
    with pytest.raises(Unauthenticated, match="a fixed token"):
        door.call(client.billing.customers.create, input={})
    assert len(gateway.received) == 1


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", list(grpc.StatusCode)[1:], ids=lambda code: code.name)
def test_every_status_is_its_own_error_and_grpcs_too(
    door: Door, client: Any, gateway: Gateway, code: grpc.StatusCode
) -> None:
    info = error_details_pb2.ErrorInfo(reason="R", domain="D")
    gateway.answers[CUSTOMERS + "List"] = abort(code, "words", info)
    with pytest.raises(grpc.RpcError) as caught:
        door.call(client.with_options(retry=False).for_org("tnt_1").billing.customers.list)
    error = caught.value
    assert isinstance(error, RpcError) and type(error).__name__.upper() == code.name.replace("_", "")
    assert (error.code, error.message, error.org, error.method) == (code, "words", "tnt_1", CUSTOMERS + "List")
    assert error.error_info is not None and error.error_info.reason == "R"


def test_not_found_names_the_way_out(door: Door, client: Any, gateway: Gateway) -> None:
    gateway.answers[CUSTOMERS + "Get"] = abort(grpc.StatusCode.NOT_FOUND, "no such customer")
    with pytest.raises(NotFound, match="check the id and the organization"):
        door.call(client.billing.customers.get)
