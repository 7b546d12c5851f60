"""What a signed body says: strict JSON, an event of this schema or a newer one, and the key that tells repeats."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webhook_bodies import NOW, SECRET, body_of, signed

from invora_api.billing.webhooks.v2.events_pb2 import BillingWebhookEvent
from invora_grpc.webhooks import Delivery, MalformedBody, Receiver, WebhookError, dedupe_key

RECEIVER = Receiver(secret=SECRET, clock=lambda: NOW)


def received(body: bytes) -> Delivery:
    return RECEIVER.receive(body, signed(body))


# --- the key ---


def test_the_key_is_type_id_and_time() -> None:
    delivery = received(body_of())
    assert delivery.key == dedupe_key(delivery.event) == "invoice.created:inv-1:2026-01-01T00:00:00Z"


@pytest.mark.parametrize("written", ["2026-01-01T00:00:00.000Z", "2026-01-01T03:00:00+03:00"])
def test_the_key_does_not_depend_on_how_the_time_is_written(written: str) -> None:
    assert received(body_of(createdAt=written)).key == received(body_of()).key


@pytest.mark.parametrize(
    "changes",
    [
        {"webhookType": "invoice.voided"},
        {"invoice": {"id": "inv-2"}},
        {"createdAt": "2026-01-01T00:00:00.000000001Z"},
    ],
)
def test_another_type_id_or_time_is_another_key(changes: dict[str, object]) -> None:
    assert received(body_of(**changes)).key != received(body_of()).key


@pytest.mark.parametrize("member", [field.json_name for field in BillingWebhookEvent.DESCRIPTOR.oneofs[0].fields])
def test_every_kind_of_payload_has_a_key(member: str) -> None:
    content = {"transactionId": "x-1", "externalSubscriptionId": "s-1"} if member == "eventError" else {"id": "x-1"}
    delivery = received(body_of(**{"invoice": None, member: content}))
    assert "x-1" in delivery.key == dedupe_key(delivery.event)


def test_the_same_transaction_of_two_subscriptions_is_two_errors() -> None:
    keys = {
        received(body_of(invoice=None, eventError={"transactionId": "t", "externalSubscriptionId": s})).key
        for s in ("a", "b")
    }
    assert len(keys) == 2


def test_a_payload_of_a_newer_schema_is_known_by_its_id() -> None:
    first, second = (received(body_of(invoice=None, webhookType="plan.created", plan={"id": i})) for i in "ab")
    assert (first.key, first.event.WhichOneof("payload")) == ("plan.created:a:2026-01-01T00:00:00Z", None)
    assert first.key != second.key
    with pytest.raises(MalformedBody, match="use the key of the Delivery"):
        dedupe_key(first.event)


def test_what_has_no_id_anywhere_is_known_by_its_hash() -> None:
    bare = received(body_of(invoice=None))
    assert bare.key.startswith("invoice.created:sha256-")
    assert bare.key != received(body_of(invoice=None, objectType="other")).key


# --- newer senders ---


def test_what_this_schema_does_not_have_is_left_out_and_named() -> None:
    body = body_of(
        neu=1,
        invoice={
            "id": "inv-1",
            "status": "INVOICE_STATUS_TYPE_ENUM_NEWEST",
            "[odd]": {},
            "customer": {"name": "N", "planet": "Mars"},
            "fees": [{"id": "f-1"}, {"id": "f-2", "itemType": "NEWEST", "weight": {"grams": 1}}],
        },
    )
    delivery = received(body)
    assert delivery.unknown == (
        *("invoice.status", "invoice.[odd]", "invoice.customer.planet"),
        *("invoice.fees[1].itemType", "invoice.fees[1].weight", "neu"),
    )
    invoice = delivery.event.invoice
    assert (invoice.customer.name, [fee.id for fee in invoice.fees], invoice.status) == ("N", ["f-1", "f-2"], 0)


def test_names_of_the_proto_file_are_read_too() -> None:
    body = json.dumps(
        {"webhook_type": "invoice.created", "created_at": "2026-01-01T00:00:00Z", "invoice": {"id": "inv-1"}}
    ).encode()
    assert (received(body).key, received(body).unknown) == (received(body_of()).key, ())


def test_an_enum_may_come_as_its_number_even_if_that_is_new() -> None:
    delivery = received(body_of(invoice={"id": "inv-1", "status": 4711}))
    assert (delivery.event.invoice.status, delivery.unknown) == (4711, ())


def test_content_is_in_no_repr() -> None:
    assert repr(received(body_of(invoice={"id": "inv-1", "number": "personal"}))) == (
        "Delivery(key='invoice.created:inv-1:2026-01-01T00:00:00Z', unknown=())"
    )


# --- malformed ---


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "no JSON in UTF-8"),
        (b"\xff{}", "no JSON in UTF-8"),
        (b"\xef\xbb\xbf{}", "no JSON in UTF-8"),
        ("{}".encode("utf-16"), "no JSON in UTF-8"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (b'{"webhookType": "a", "webhookType": "b"}', "a name twice"),
        (b'{"invoice": {"id": "a", "id": "b"}}', "a name twice"),
        (b'{"webhookType": "a", "webhook_type": "b"}', "webhook_type is there under two names"),
        (b'{"invoice": {"fileUrl": "a", "file_url": "b"}}', "invoice.file_url is there under two names"),
        (b'{"x": NaN}', "NaN"),
        (b'{"x": ' + b"9" * 5000 + b"}", "no JSON in UTF-8"),
        (body_of(webhookType=None), "webhookType is missing"),
        (body_of(webhookType="invoice:created"), "webhookType is missing or no plain name"),
        (body_of(createdAt=None), "createdAt is missing"),
        (body_of(createdAt="yesterday"), "does not fit at createdAt;"),
        (body_of(createdAt=5), "does not fit"),
        (body_of(invoice=[]), "does not fit at invoice"),
        (body_of(invoice="id"), "does not fit at invoice"),
        (body_of(invoice={"fees": {}}), "does not fit at fees;"),
        (body_of(invoice={"fees": ["id"]}), "does not fit at invoice.fees[0]"),
        (body_of(invoice={"metadata": []}), "does not fit"),
        (body_of(invoice={"metadata": {"k": 1}}), "does not fit"),
        (body_of(invoice={"totalAmountCents": {"units": "secret-number"}}), "fit at totalAmountCents.units;"),
        (body_of(wallet={"id": "w"}), "does not fit"),
        (b'{"webhookType": "\\ud800"}', "does not fit"),
    ],
    ids=range(26),
)
def test_what_is_no_event_is_refused_without_quoting_it(body: bytes, problem: str) -> None:
    with pytest.raises(MalformedBody) as caught:
        received(body)
    assert problem in str(caught.value)
    assert not any(word in str(caught.value) for word in ("secret-number", "yesterday"))


@pytest.mark.parametrize("depth", [33, 200, 100_000])
@pytest.mark.parametrize("pair", ["[]", "{}"])
def test_deep_nesting_is_refused_clearly(depth: int, pair: str) -> None:
    opening, closing = ('{"a":' if pair == "{}" else "["), pair[1]
    deep = opening * (depth - 2) + "1" + closing * (depth - 2)
    body = f'{{"webhookType": "event.error", "eventError": {{"error": {{"deep": {deep}}}}}}}'.encode()
    with pytest.raises(MalformedBody, match="nested deeper than 32 levels"):
        received(body)


def test_the_deepest_event_that_is_accepted_can_be_stored_and_read_again() -> None:
    deep: object = 1
    for _ in range(29):
        deep = {"a": deep}
    event = received(body_of(invoice=None, eventError={"transactionId": "t", "error": {"deep": deep}})).event
    assert BillingWebhookEvent.FromString(event.SerializeToString()) == event


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *(name for field in BillingWebhookEvent.DESCRIPTOR.fields for name in (field.name, field.json_name)),
        *("id", "status", "customer", "metadata", "fees", "error", "units", "nanos"),
    ]
)
LIKELY = st.recursive(
    st.none() | st.integers() | st.sampled_from(["", "1", "2026-01-01T00:00:00Z", "invoice.created"]) | JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
)


@given(st.binary() | JSON.map(json.dumps).map(str.encode) | LIKELY.map(json.dumps).map(str.encode))
def test_a_body_becomes_a_delivery_or_a_webhook_error_and_nothing_else(body: bytes) -> None:
    try:
        assert received(body).key
    except WebhookError as error:
        assert "\n" not in str(error)
