"""Clients without a token: what they send, and where they may."""

from __future__ import annotations

import asyncio
import pickle

import grpc
import pytest
from gateway import abort, running_gateway

from invora_grpc import AsyncInvora, Invora
from invora_grpc.auth import NoToken, StaticToken
from invora_grpc.config import ABSENT
from invora_grpc.errors import ConfigError
from invora_grpc.status import Unauthenticated


def test_without_a_token_there_is_no_authorization_and_all_else_is_sent() -> None:
    with running_gateway() as gateway, Invora(endpoint=gateway.url, tokens=NoToken(), org_id="7") as client:
        client.with_options(metadata={"x-a": "b"}).simple.invoices.get(key="k")
    sent = gateway.received[0].metadata
    assert "authorization" not in sent
    assert (sent["x-target-org-id"], sent["x-a"]) == ("7", "b")


def test_the_asynchronous_client_sends_none_either() -> None:
    async def calls(url: str) -> None:
        async with AsyncInvora(endpoint=url, tokens=NoToken()) as client:
            await client.simple.invoices.get(key="k")

    with running_gateway() as gateway:
        asyncio.run(calls(gateway.url))
    assert [("authorization" in each.metadata) for each in gateway.received] == [False]


def test_a_refusal_says_that_there_was_no_token_and_is_not_tried_again() -> None:
    with running_gateway() as gateway, Invora(endpoint=gateway.url, tokens=NoToken()) as client:
        path = "/invora.simple.invoices.v1.SimpleInvoiceService/Get"
        gateway.answers[path] = abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
        with pytest.raises(Unauthenticated, match="the call went without a token"):
            client.simple.invoices.get(key="k")
    assert len(gateway.received) == 1


def test_plaintext_to_other_hosts_is_for_calls_without_a_token_only() -> None:
    with Invora(endpoint="http://example.com", tokens=NoToken()) as client:
        with pytest.raises(ConfigError, match="would send the token in plaintext"):
            client.with_options(tokens=StaticToken("t"))
        assert client.with_options(tokens=NoToken())
    with pytest.raises(ConfigError, match="would send the token in plaintext"):
        Invora(endpoint="http://example.com", token="t")


def test_it_travels_in_a_pickle_and_shows_itself() -> None:
    assert repr(pickle.loads(pickle.dumps(NoToken()))) == "<NoToken>"
    assert pickle.loads(pickle.dumps(NoToken())).token() is ABSENT
