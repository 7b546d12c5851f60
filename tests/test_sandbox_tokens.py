"""Texts that are no tokens of the sandbox, however much they look like one."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from invora_grpc.sandbox.idp import InvalidToken, verify_token
from invora_grpc.sandbox.store import Store

PEM = RSAKey.generate_key(2048).as_pem(private=True)


def part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=6,
)
HEADERS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("crit", "kid", "b64", "typ", "jwk", "zip", "enc"), JSON) | {"alg": st.just("RS256")}
)
PARTS = st.text(max_size=12) | JSON.map(part) | HEADERS.map(part)
STRANGE = st.text(max_size=40) | st.lists(PARTS, max_size=6).map(".".join)


@settings(deadline=None)
@given(STRANGE)
def test_whatever_is_no_token_is_an_invalid_one(text: str) -> None:
    with Store.open(":memory:") as store:
        store.key("signing", PEM.__bytes__)
        with pytest.raises(InvalidToken):
            verify_token(store, "https://idp", text)


@pytest.mark.parametrize("text", [f"{part({'alg': 'RS256', 'crit': 1})}.e30.x", "\ud800", "a.b.c", "[" * 20_000])
def test_these_are_invalid_too(text: str) -> None:
    with Store.open(":memory:") as store, pytest.raises(InvalidToken):
        verify_token(store, "https://idp", text)
