"""What is asked of an issuer, and which of its answers are believed. No network in here."""

import json
import traceback
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invora_grpc.config import Secret
from invora_grpc.errors import SignInError
from invora_grpc.oidc import (
    Answer,
    NoAnswer,
    Verdict,
    check_discovery,
    discovery_url,
    parse_retry_after,
    parse_token,
    retry_pause,
    timed,
    token_form,
    verdict,
)

ISSUER = "https://auth.example"
PLAIN = "cl1ent" + "-s3cret&="


# --- discovery ---


def discovered(document: object, status: int = 200, issuer: str = ISSUER) -> str:
    return check_discovery(issuer, "g", Answer(status, json.dumps(document).encode()))


def test_the_configuration_is_at_the_well_known_place() -> None:
    assert discovery_url("https://a.example/") == "https://a.example/.well-known/openid-configuration"
    assert discovery_url("https://a.example/realm") == "https://a.example/realm/.well-known/openid-configuration"


def test_the_token_endpoint_is_what_the_issuer_says() -> None:
    assert discovered({"issuer": ISSUER, "token_endpoint": f"{ISSUER}:443/t"}) == f"{ISSUER}:443/t"


@pytest.mark.parametrize("named", [f"{ISSUER}/", "https://AUTH.example", "https://other.example", None, 1])
def test_another_issuer_is_refused_however_similar(named: object) -> None:
    with pytest.raises(SignInError, match="another issuer"):
        discovered({"issuer": named, "token_endpoint": f"{ISSUER}/t"})


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://evil.example/t",
        f"{ISSUER}:8443/t",
        "http://auth.example/t",
        f"{ISSUER}@evil.example/t",
        "/t",
        None,
        "a\nb",
    ],
)
def test_a_token_endpoint_elsewhere_is_refused(endpoint: object) -> None:
    with pytest.raises(SignInError, match="own origin"):
        discovered({"issuer": ISSUER, "token_endpoint": endpoint})


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"[" * 100_000, b"\xff"])
def test_a_configuration_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(SignInError, match="no JSON object"):
        check_discovery(ISSUER, "g", Answer(200, body))


# --- token answers ---


@pytest.mark.parametrize(
    "changes",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": 1},
        {"access_token": "a\r\nx-evil: 1"},
        {"access_token": "a b"},
        {"access_token": "ä"},
        {"token_type": None},
        {"token_type": "mac"},
        {"expires_in": 0},
        {"expires_in": -1},
        {"expires_in": "43200"},
        {"expires_in": True},
        {"expires_in": None},
        {"expires_in": float("nan")},
        {"expires_in": float("inf")},
        {"expires_in": 10**400},
        {"refresh_token": "a\n"},
    ],
    ids=repr,
)
def test_a_token_answer_with_anything_odd_is_refused(changes: dict[str, object]) -> None:
    good = {"access_token": "s3cret-token", "token_type": "Bearer", "expires_in": 1}
    with pytest.raises(SignInError, match="the token answer") as caught:
        parse_token(ISSUER, "g", Answer(200, json.dumps({**good, **changes}).encode()), 0.0)
    error = caught.value
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "parse_token" in shown
    assert "s3cret-token" not in shown


@pytest.mark.parametrize("kind", ["bearer", "Bearer", "BEARER"])
def test_the_token_type_has_no_case(kind: str) -> None:
    body = json.dumps({"access_token": "t", "token_type": kind, "expires_in": 0.5}).encode()
    assert parse_token(ISSUER, "g", Answer(200, body), 0.0).expires_at == 0.5


def test_a_token_lives_12_hours_if_the_issuer_does_not_say() -> None:
    body = json.dumps({"access_token": "t", "token_type": "Bearer"}).encode()
    assert parse_token(ISSUER, "g", Answer(200, body), 1000.0).expires_at == 1000.0 + 43_200


@pytest.mark.parametrize(
    ("now", "force", "rejected", "expected"),
    [
        (0.0, False, None, Verdict.USE),
        (49.9, False, None, Verdict.USE),
        (50.0, False, None, Verdict.AHEAD),
        (100.0, False, None, Verdict.FETCH),
        (0.0, True, None, Verdict.FETCH),
        (0.0, True, Secret("t"), Verdict.FETCH),
        (0.0, True, Secret("older"), Verdict.USE),
    ],
)
def test_a_token_is_used_then_renewed_ahead_then_fetched(
    now: float, force: bool, rejected: Secret | None, expected: Verdict
) -> None:
    body = json.dumps({"access_token": "t", "token_type": "Bearer", "expires_in": 100}).encode()
    assert verdict(parse_token(ISSUER, "g", Answer(200, body), 0.0), now, force, rejected) is expected


@given(
    lifetime=st.floats(0.001, 1e8),
    now=st.floats(0, 1e9),
    fraction=st.floats(0, 1),
)
def test_a_token_is_always_due_before_its_end_and_never_before_a_third_of_its_life(
    lifetime: float, now: float, fraction: float
) -> None:
    token = timed(Secret("t"), lifetime, now, fraction)
    assert now + 0.39 * lifetime - 1e-6 <= token.refresh_at <= token.expires_at == now + lifetime


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0.0), ("120", 120.0), (None, None), ("", None), ("1.5", None), ("-1", None), ("٣", None), ("9" * 10, None)],
)
def test_retry_after_is_whole_seconds(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text) == seconds


@given(st.text())
def test_no_retry_after_is_a_surprise(text: str) -> None:
    assert (parse_retry_after(text) or 0.0) >= 0


@pytest.mark.parametrize(
    ("answer", "pause"),
    [
        (Answer(200, b""), None),
        (Answer(401, b""), None),
        (Answer(401, b"", 1.0), None),
        (Answer(429, b""), 0.3),
        (Answer(500, b""), 0.3),
        (Answer(503, b"", 5.0), 5.3),
        (Answer(503, b"", 5.1), None),
        (NoAnswer("refused", transient=True), 0.3),
        (NoAnswer("too slow"), None),
    ],
    ids=repr,
)
def test_what_may_be_different_in_a_moment_is_worth_another_try(answer: Answer | NoAnswer, pause: float | None) -> None:
    assert retry_pause(answer, 0.5) == (None if pause is None else pytest.approx(pause))


def test_without_a_token_one_is_fetched() -> None:
    assert verdict(None, 0.0, False, None) is Verdict.FETCH


def test_an_answer_does_not_show_its_body() -> None:
    assert PLAIN not in repr(Answer(200, PLAIN.encode()))


def test_a_form_is_one_secret_and_encodes_what_it_must() -> None:
    form = token_form("client_credentials", "a b", client_secret=Secret(PLAIN), scope=None)
    assert repr(form) == "***"
    assert dict(parse_qsl(form.reveal())) == {
        "grant_type": "client_credentials",
        "client_id": "a b",
        "client_secret": PLAIN,
    }
