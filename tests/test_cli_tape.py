"""Recordings as files: what is written, what is read, what may differ, and that no secret gets in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invora_grpc.cli.redaction import HIDDEN, hidden, is_secret_name
from invora_grpc.cli.tape import Recorded, append, filled, read, variable, without
from invora_grpc.config import Secret
from invora_grpc.errors import RequestError

TEXT = st.text(st.characters(codec="utf-8"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, JSON, max_size=5), JSON)
def test_what_is_written_is_read_again(tmp_path_factory: Any, request: dict[str, Any], answer: Any) -> None:
    file = tmp_path_factory.mktemp("tape") / "calls.yaml"
    calls = [
        Recorded("a.B/C", request, "OK", answer, ignore=("id", "*.at"), at="2026-01-02T03:04:05+00:00"),
        Recorded("a.B/D", [request], "NOT_FOUND", None, {"reason": "GONE"}),
    ]
    for one in calls:
        append(file, one)
    assert read(file) == calls


def test_a_file_is_for_its_owner_only(tmp_path: Path) -> None:
    append(tmp_path / "calls.yaml", Recorded("a.B/C", {}, "OK", {}))
    assert (tmp_path / "calls.yaml").stat().st_mode & 0o777 == 0o600


def test_a_file_reads_like_what_it_is(tmp_path: Path) -> None:
    append(tmp_path / "calls.yaml", Recorded("a.B/C", {"price": "20.50", "on": "no"}, "OK", {"name": "شركة"}, at="now"))
    lines = (tmp_path / "calls.yaml").read_text("utf-8").splitlines()
    assert lines[0].startswith("# Recorded by `invora record`, without secrets.")
    assert lines[1:] == [
        *("---", "call: a.B/C", "recorded: now", "request:", "  price: '20.50'", "  'on': 'no'"),
        *("status: OK", "answer:", "  name: شركة"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no calls"),
        ("a: [", "line 1"),
        ("- 1", "call 1: "),
        ("call: 3", "is no recorded call"),
        ("call: a.B/C\nrequest: 7", "request: 7 is no request"),
        ("call: a.B/C\nignore: id", "ignore: 'id' is no list"),
        ("call: a.B/C\nerror: no", "error: 'no' is no mapping"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "calls.yaml").write_text(text)
    with pytest.raises(RequestError) as caught:
        read(tmp_path / "calls.yaml")
    assert words in str(caught.value) and "\n" not in str(caught.value)


# --- secrets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("client_secret", "clientSecret", "webhook_secret", "secret_key", "api_key", "apiKey", "access_token", "otp"),
        *("token", "refresh_token", "password", "token_secret", "private_key", "Authorization", "x-api-key"),
    ],
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["next_page_token", "pageToken", "token_type", "token_expires_at", "key", "shipping_address", "monkey"]
)
def test_other_names_stay_readable(name: str) -> None:
    assert not is_secret_name(name)


def test_a_secret_is_hidden_wherever_an_answer_has_it() -> None:
    jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.sig"
    answer = {
        "client": {"client_id": "c1", "client_secret": "pl41n"},
        "api_keys": [{"id": "1", "api_key": {"value": "pl41n"}}],
        "note": "call me with known-s3cret, please",
        "log": f"authorization: Bearer {jwt}",
        "url": "https://user:pw@host/file?id=7&X-Amz-Signature=abc",
        "pem": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "active": True,
    }
    clean = hidden(answer, [Secret("known-s3cret")])
    assert clean == {
        "client": {"client_id": "c1", "client_secret": HIDDEN},
        "api_keys": [{"id": "1", "api_key": {"value": HIDDEN}}],
        "note": f"call me with {HIDDEN}, please",
        "log": f"authorization: Bearer {HIDDEN}",
        "url": f"https://{HIDDEN}@host/file?id=7&{HIDDEN}",
        "pem": f"{HIDDEN}\n",
        "active": True,
    }


@given(JSON, st.text(st.sampled_from("abXY01"), min_size=6))
def test_no_known_secret_is_left_in_any_text(value: Any, secret: str) -> None:
    told = {"before": value, "inside": [f"x{secret}y", {"deep": secret}]}
    texts = json.dumps(hidden(told, [Secret(secret)])["inside"])
    assert secret not in texts


# --- variables and references -------------------------------------------------------------------------------------


def test_a_secret_of_a_request_becomes_a_variable_and_comes_back_from_it() -> None:
    request = {"input": {"name": "a", "apiKeys": [{"api_key": "pl41n"}]}}
    kept = hidden(request, (), variable)
    assert kept["input"]["apiKeys"] == [{"api_key": "${INVORA_SECRET_INPUT_APIKEYS_0_API_KEY}"}]
    assert filled(kept, [], {"INVORA_SECRET_INPUT_APIKEYS_0_API_KEY": "pl41n"}) == request
    with pytest.raises(RequestError, match="set the variable INVORA_SECRET_INPUT_APIKEYS_0_API_KEY"):
        filled(kept, [], {})


def test_no_other_variable_is_read() -> None:
    assert filled({"a": "${HOME} ${PATH}"}, [], {"HOME": "x", "PATH": "y"}) == {"a": "${HOME} ${PATH}"}


def test_a_value_can_be_that_of_an_earlier_answer() -> None:
    answers = [{"customer": {"id": "c7", "tags": ["a", "b"], "age": 3}}, None]
    request = {"id": "${1.customer.id}", "tag": "tag ${1.customer.tags[1]}", "age": "${1.customer.age}"}
    assert filled(request, answers, {}) == {"id": "c7", "tag": "tag b", "age": 3}
    for wrong, words in (("${3.id}", "no earlier call"), ("${1.id}", "answer of call 1"), ("${2.id}", "call 2")):
        with pytest.raises(RequestError, match=words):
            filled({"id": wrong}, answers, {})


# --- what may differ ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "left"),
    [
        ("id", {"at": 1, "items": [{"id": 2, "at": 3, "in": {"at": 4}}, {"id": 5}]}),
        ("items[].id", {"id": 0, "at": 1, "items": [{"at": 3, "in": {"at": 4}}, {}]}),
        ("items[1].id", {"id": 0, "at": 1, "items": [{"id": 2, "at": 3, "in": {"at": 4}}, {}]}),
        ("items[0]", {"id": 0, "at": 1, "items": [{"id": 5}]}),
        ("items[0].in.at", {"id": 0, "at": 1, "items": [{"id": 2, "at": 3, "in": {}}, {"id": 5}]}),
        ("*.at", {"id": 0, "items": [{"id": 2, "in": {}}, {"id": 5}]}),
        ("*.in.at", {"id": 0, "at": 1, "items": [{"id": 2, "at": 3, "in": {}}, {"id": 5}]}),
        ("nothing.here", {"id": 0, "at": 1, "items": [{"id": 2, "at": 3, "in": {"at": 4}}, {"id": 5}]}),
    ],
)
def test_places_that_may_differ_are_left_out(place: str, left: dict[str, Any]) -> None:
    answer = {"id": 0, "at": 1, "items": [{"id": 2, "at": 3, "in": {"at": 4}}, {"id": 5}]}
    before = json.dumps(answer)
    assert without(answer, [place]) == left
    assert json.dumps(answer) == before
