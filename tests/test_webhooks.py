"""Which deliveries a receiver accepts: their size, their signature by HMAC, and their age."""

from __future__ import annotations

import hmac
import os
import pickle
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webhook_bodies import NOW, SECRET, body_of, signed, text_with_locals

from invora_grpc import webhooks
from invora_grpc.config import Secret
from invora_grpc.errors import ConfigError
from invora_grpc.webhooks import (
    MAX_BODY,
    RETRY_SPAN,
    BadSignature,
    BodyTooLarge,
    MissingSignature,
    Receiver,
    TooNew,
    TooOld,
    UnknownAlgorithm,
    WebhookError,
    sign,
    verify,
)

BODY = body_of()
DIGEST = hmac.new(SECRET.encode(), BODY, sha256)


def receiver(at: float = NOW, **options: Any) -> Receiver:
    return Receiver(secret=SECRET, clock=lambda: at, **options)


# --- HMAC ---


def test_a_signed_body_becomes_a_typed_event() -> None:
    event = verify(BODY, signed(BODY), secret=SECRET, clock=lambda: NOW)
    assert (event.webhook_type, event.WhichOneof("payload"), event.invoice.number) == (
        "invoice.created",
        "invoice",
        "INV-1",
    )
    assert (event.invoice.total_amount_cents.units, event.invoice.total_amount_cents.nanos) == (1150, 250_000_000)


@pytest.mark.parametrize("signature", [DIGEST.hexdigest(), b64encode(DIGEST.digest()).decode()])
def test_the_digest_may_be_hex_or_base64(signature: str) -> None:
    assert receiver().receive(BODY, {"X-Invora-Signature": f" {signature}\t"}).key.startswith("invoice.created:inv-1:")


@pytest.mark.parametrize(
    "signature",
    [
        DIGEST.hexdigest().upper(),
        DIGEST.hexdigest()[:-1],
        f"sha256={DIGEST.hexdigest()}",
        b64encode(DIGEST.digest()).decode().rstrip("="),
        b64encode(DIGEST.digest()).decode()[:-2] + "9=",
        "",
        "ключ",
        "\ud800",
    ],
)
def test_no_other_form_of_the_digest_is_accepted(signature: str) -> None:
    with pytest.raises(BadSignature):
        receiver().receive(BODY, {"X-Invora-Signature": signature})


@given(place=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_no_bit_of_the_body_may_change(place: int, bit: int) -> None:
    tampered = bytearray(BODY)
    tampered[place] ^= 1 << bit
    with pytest.raises(BadSignature):
        receiver().receive(tampered, signed(BODY))


def test_the_same_json_written_in_another_way_is_another_body() -> None:
    with pytest.raises(BadSignature, match="raw bytes"):
        receiver().receive(BODY.replace(b": ", b":"), signed(BODY))


def test_several_secrets_are_good_while_one_is_rotated() -> None:
    rotating = Receiver(secret=["new" * 5, Secret(SECRET)], clock=lambda: NOW)
    assert rotating.receive(BODY, signed(BODY)).key == rotating.receive(BODY, signed(BODY, "new" * 5)).key
    with pytest.raises(BadSignature):
        rotating.receive(BODY, signed(BODY, "newest" * 5))


def test_a_token_is_refused_where_only_a_secret_is_known() -> None:
    with pytest.raises(UnknownAlgorithm, match="give jwks"):
        receiver().receive(BODY, {"X-Invora-Signature": "aaaa.bbbb.cccc"})


@given(st.text())
def test_no_signature_from_outside_does_more_than_be_refused(signature: str) -> None:
    with pytest.raises(WebhookError):
        receiver().receive(BODY, {"X-Invora-Signature": signature})


# --- headers ---

SIGNATURE = sign(BODY, SECRET)


class Several:
    """Headers of a framework that keeps repeats."""

    def items(self) -> Iterator[tuple[str, str]]:
        yield "Host", "example"
        yield "X-INVORA-SIGNATURE", SIGNATURE


@pytest.mark.parametrize(
    "headers",
    [
        {"x-invora-signature": SIGNATURE},
        {"X-Invora-Signature": [SIGNATURE]},
        {"Host": "x", "X-INVORA-SIGNATURE": SIGNATURE.encode()},
        [("Host", "x"), ("X-Invora-Signature", SIGNATURE)],
        [(b"host", b"x"), (b"x-invora-signature", SIGNATURE.encode())],
        {"REQUEST_METHOD": "POST", "wsgi.input": object(), "HTTP_X_INVORA_SIGNATURE": SIGNATURE},
        Several(),
    ],
    ids=["lower case", "list of values", "bytes", "pairs", "ASGI", "WSGI", "items"],
)
def test_the_header_is_found_wherever_servers_put_it(headers: webhooks.signature.Headers) -> None:
    assert receiver().receive(BODY, headers).unknown == ()


def test_a_missing_header_is_told_from_a_bad_one() -> None:
    with pytest.raises(MissingSignature, match="no X-Invora-Signature"):
        receiver().receive(BODY, {"Signature": SIGNATURE})


@pytest.mark.parametrize(
    "headers",
    [
        [("x-invora-signature", SIGNATURE), ("X-Invora-Signature", "other")],
        [("x-invora-signature", SIGNATURE), ("X-Invora-Signature", SIGNATURE)],
        {"HTTP_X_INVORA_SIGNATURE": f"{SIGNATURE},{SIGNATURE}"},
        {"X-Invora-Signature": [SIGNATURE, SIGNATURE]},
    ],
)
def test_two_signatures_are_refused_even_if_both_are_good(headers: webhooks.signature.Headers) -> None:
    with pytest.raises(BadSignature, match="several"):
        receiver().receive(BODY, headers)


@pytest.mark.parametrize("headers", [5, None, "X-Invora-Signature", [("a", "b", "c")]])
def test_what_is_no_headers_is_the_callers_mistake(headers: webhooks.signature.Headers) -> None:
    with pytest.raises(ConfigError, match="headers: "):
        receiver().receive(BODY, headers)


def test_a_parsed_body_is_the_callers_mistake() -> None:
    parsed: Any = BODY.decode()
    with pytest.raises(ConfigError, match="raw bytes") as caught:
        receiver().receive(parsed, signed(BODY))
    assert "INV-1" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [BODY.decode(), None, {"webhookType": "invoice.created"}], ids=["text", "none", "dict"]
)
def test_signing_what_is_no_bytes_is_the_callers_mistake_and_shows_neither_body_nor_secret(body: Any) -> None:
    with pytest.raises(ConfigError, match=r"body: is (str|NoneType|dict), not bytes; give the raw bytes") as caught:
        sign(body, SECRET)
    assert "INV-1" not in str(caught.value)
    assert SECRET not in text_with_locals(caught.value)


# --- size and age ---


def test_the_size_is_checked_before_anything_else() -> None:
    with pytest.raises(BodyTooLarge, match=f"over {MAX_BODY} bytes") as caught:
        receiver().receive(bytes(MAX_BODY + 1), {})
    assert caught.value.status == 413


def test_a_body_of_exactly_the_limit_is_accepted() -> None:
    assert receiver(max_bytes=len(BODY)).receive(BODY, signed(BODY))
    with pytest.raises(BodyTooLarge):
        receiver(max_bytes=len(BODY) - 1).receive(BODY, signed(BODY))


@pytest.mark.parametrize("age", [-300.0, 0.0, 300.0])
def test_five_minutes_either_way_are_accepted(age: float) -> None:
    assert receiver(NOW + age).receive(BODY, signed(BODY))


def test_an_older_event_is_refused_and_says_how_late_retries_get_through() -> None:
    with pytest.raises(
        TooOld, match=r"301 s old, over 300 s; a retry has the time of its event: set max_age=RETRY_SPAN"
    ):
        receiver(NOW + 301).receive(BODY, signed(BODY))


def test_an_event_that_is_older_than_all_retries_was_sent_again_by_hand() -> None:
    with pytest.raises(TooOld, match=r"over 28800 s; if it was sent again by hand, raise max_age"):
        receiver(NOW + RETRY_SPAN + 1, max_age=RETRY_SPAN).receive(BODY, signed(BODY))


@pytest.mark.parametrize(("tries", "accepted"), [((0, 30, 120), True), ((0, 30, 120, 900), False)])
def test_the_default_age_is_too_little_for_the_platforms_later_retries(tries: tuple[int, ...], accepted: bool) -> None:
    late = receiver(NOW + sum(tries))
    if accepted:
        assert late.receive(BODY, signed(BODY))
    else:
        with pytest.raises(TooOld):
            late.receive(BODY, signed(BODY))


def test_an_event_of_the_future_is_refused() -> None:
    with pytest.raises(TooNew, match=r"301 s in the future.*clock"):
        receiver(NOW - 301).receive(BODY, signed(BODY))


def test_the_retry_span_covers_the_platforms_last_retry() -> None:
    last = sum((0, 30, 120, 900, 3600, 21_600)) + 6 * 15
    assert receiver(NOW + last, max_age=RETRY_SPAN).receive(BODY, signed(BODY))


def test_age_is_only_looked_at_once_the_signature_is_good() -> None:
    with pytest.raises(BadSignature):
        receiver(NOW + 10_000).receive(BODY, {"X-Invora-Signature": "0" * 64})


# --- settings and secrets ---


@pytest.mark.parametrize("secret", ["", [], ["good-secret", ""], b"bytes", 5, ["good-secret", None]])
def test_a_secret_that_is_none_is_refused_when_the_receiver_is_made(secret: str) -> None:
    for make in (partial(Receiver, secret=secret), partial(verify, BODY, signed(BODY), secret=secret)):
        with pytest.raises(ConfigError, match=r"secret: '\*\*\*' is no secret") as caught:
            make()
        text = text_with_locals(caught.value)
        assert "ConfigError" in text
        assert "good-secret" not in text


def test_neither_secret_nor_keys_is_a_missing_setting() -> None:
    with pytest.raises(ConfigError, match=r"give the endpoint's secret, or jwks=Jwks\(issuer\)"):
        Receiver()


@pytest.mark.parametrize("limit", [{"max_age": -1}, {"max_ahead": float("nan")}, {"max_bytes": 0}])
def test_a_limit_that_makes_no_sense_is_refused(limit: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(limit))):
        receiver(**limit)


@pytest.mark.parametrize(
    ("body", "headers"),
    [(BODY, {"X-Invora-Signature": "0" * 64}), (BODY, {}), (b"[" + BODY, signed(b"[" + BODY)), (BODY, signed(BODY))],
    ids=["bad signature", "none", "malformed", "too old"],
)
def test_no_failure_holds_the_secret_not_even_with_locals(body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(WebhookError) as caught:
        verify(body, headers, secret=SECRET, clock=lambda: NOW + 1000)
    text = text_with_locals(caught.value)
    assert type(caught.value).__name__ in text
    assert SECRET not in text
    assert hmac.new(SECRET.encode(), body, sha256).hexdigest() not in str(caught.value)


def test_an_error_survives_a_pickle() -> None:
    with pytest.raises(TooOld) as caught:
        receiver(NOW + 1000).receive(BODY, signed(BODY))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again), again.hint, again.status) == (TooOld, str(caught.value), caught.value.hint, 400)


def test_every_error_has_a_status_that_makes_the_platform_try_again() -> None:
    kinds = [kind for name in webhooks.__all__ if isinstance(kind := getattr(webhooks, name), type)]
    statuses = {kind.__name__: kind.status for kind in kinds if issubclass(kind, WebhookError)}
    assert len(statuses) == 12
    assert all(400 <= status < 600 for status in statuses.values())


def test_importing_the_room_loads_nothing_heavy() -> None:
    heavy = ("grpc", "google.protobuf", "httpx", "joserfc", "cryptography")
    code = f"import sys, invora_grpc.webhooks; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert ran.stdout.strip() == "[]"


def test_an_error_is_one_line_whatever_it_names() -> None:
    assert str(BadSignature("a\nb\x1b[31m", "c")) == r"webhook: a\nb\x1b[31m; c"
