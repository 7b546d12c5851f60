"""How a person signs in at the sandbox's identity provider: codes with PKCE, over HTTP as a browser sees it."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sandbox_fixture import Running

from invora_grpc.sandbox.authorize import CODE_LIFETIME, person_of

VERIFIER = "v" * 64
BACK = "http://127.0.0.1:1/callback"


def asked(demo: Running, **changed: str | None) -> httpx.Response:
    """The answer of the authorization endpoint; None takes a parameter away."""
    query: dict[str, Any] = {
        "response_type": "code",
        "client_id": demo.client_id,
        "redirect_uri": BACK,
        "scope": "openid offline_access",
        "state": "s t",
        "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    kept = {name: value for name, value in (query | changed).items() if value is not None}
    return httpx.get(f"{demo.issuer}/oauth/v2/authorize", params=kept, trust_env=False)


def brought(answer: httpx.Response) -> dict[str, str]:
    """What the browser brings back."""
    assert answer.status_code == 302
    assert answer.headers["location"].startswith(f"{BACK}?")
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def redeemed(demo: Running, **changed: str) -> httpx.Response:
    form = {"grant_type": "authorization_code", "client_id": demo.client_id, "redirect_uri": BACK}
    form |= {"code_verifier": VERIFIER}
    return httpx.post(f"{demo.issuer}/oauth/v2/token", data=form | changed, trust_env=False)


def a_code(demo: Running) -> str:
    return brought(asked(demo))["code"]


def test_a_code_with_its_verifier_is_a_session_of_the_clients_person(demo: Running) -> None:
    told = brought(asked(demo))
    assert (told["state"], told["iss"]) == ("s t", demo.issuer)
    grant = redeemed(demo, code=told["code"]).json()
    bearer = {"authorization": f"Bearer {grant['access_token']}"}
    who = httpx.get(f"{demo.issuer}/oidc/v1/userinfo", headers=bearer, trust_env=False).json()
    assert (who["sub"], who["org_id"]) == (person_of(demo.client_id), demo.org_id)


def test_a_person_s_session_renews_without_a_secret(demo: Running) -> None:
    grant = redeemed(demo, code=a_code(demo)).json()
    form = {"grant_type": "refresh_token", "client_id": demo.client_id, "refresh_token": grant["refresh_token"]}
    renewed = httpx.post(f"{demo.issuer}/oauth/v2/token", data=form, trust_env=False)
    assert renewed.status_code == 200
    assert renewed.json()["refresh_token"] != grant["refresh_token"]


def test_a_machine_s_refresh_token_needs_the_secret_and_stays_unspent_without(demo: Running) -> None:
    client = {"client_id": demo.client_id, "client_secret": demo.client_secret}
    first = {"grant_type": "client_credentials", "scope": "openid offline_access"}
    token = httpx.post(f"{demo.issuer}/oauth/v2/token", data=client | first, trust_env=False).json()["refresh_token"]
    again = {"grant_type": "refresh_token", "refresh_token": token}
    answers = [
        httpx.post(f"{demo.issuer}/oauth/v2/token", data=form, trust_env=False)
        for form in (again | {"client_id": demo.client_id}, again | client)
    ]
    assert [answer.status_code for answer in answers] == [401, 200]


@pytest.mark.parametrize(
    "changed",
    [
        {"code_verifier": "w" * 64},
        {"code_verifier": ""},
        {"redirect_uri": "http://127.0.0.1:2/callback"},
    ],
)
def test_a_code_is_used_up_by_a_try_without_what_belongs_to_it(demo: Running, changed: dict[str, str]) -> None:
    code = a_code(demo)
    answers = [redeemed(demo, code=code, **changed), redeemed(demo, code=code)]
    assert [answer.json()["error"] for answer in answers] == ["invalid_grant", "invalid_grant"]


def test_a_code_is_good_once(demo: Running) -> None:
    code = a_code(demo)
    assert [redeemed(demo, code=code).status_code for _ in range(2)] == [200, 400]


def test_a_code_of_one_client_is_none_of_another(demo: Running) -> None:
    other = demo.credentials.viewer_client_id
    assert redeemed(demo, code=a_code(demo), client_id=other).json()["error"] == "invalid_grant"


def test_a_code_ends_after_a_minute(sandbox: Running) -> None:
    code, clock = a_code(sandbox), sandbox.store.clock
    sandbox.store.clock = lambda: clock() + CODE_LIFETIME
    try:
        assert redeemed(sandbox, code=code).json()["error"] == "invalid_grant"
    finally:
        sandbox.store.clock = clock


@pytest.mark.parametrize(
    "uri",
    [
        "https://127.0.0.1:1/callback",
        "http://example.com:1/callback",
        "http://localhost:1/callback",
        "http://user@127.0.0.1:1/",
        "http://127.0.0.1/callback",
        "http://127.0.0.1:1/#fragment",
        "",
    ],
)
def test_nothing_is_sent_to_an_address_that_may_not_be_the_client_s(demo: Running, uri: str) -> None:
    answer = asked(demo, redirect_uri=uri)
    assert (answer.status_code, "location" in answer.headers) == (400, False)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
    ],
)
def test_a_bad_request_comes_back_with_its_error_and_no_code(
    demo: Running, changed: dict[str, str | None], error: str
) -> None:
    told = brought(asked(demo, **changed))
    assert (told["error"], told["state"], "code" in told) == (error, "s t", False)


def test_an_unknown_client_is_refused_on_the_spot(demo: Running) -> None:
    assert asked(demo, client_id="nobody").status_code == 400


def revoked(demo: Running, **form: str) -> tuple[int, str]:
    answer = httpx.post(f"{demo.issuer}/oauth/v2/revoke", data=form, trust_env=False)
    return answer.status_code, answer.json()["error"] if answer.content else ""


def test_a_revoked_session_ends_with_all_of_its_family(demo: Running) -> None:
    first = redeemed(demo, code=a_code(demo)).json()["refresh_token"]
    own = {"client_id": demo.client_id}
    second = redeemed(demo, grant_type="refresh_token", refresh_token=first).json()["refresh_token"]
    assert revoked(demo, token=first, client_id=demo.sandbox.credentials.viewer_client_id) == (
        200,
        "",
    )  # is none of its own
    assert revoked(demo, token="unknown", **own) == (200, "")
    third = redeemed(demo, grant_type="refresh_token", refresh_token=second).json()["refresh_token"]
    assert revoked(demo, token=first, token_type_hint="refresh_token", **own) == (200, "")
    assert redeemed(demo, grant_type="refresh_token", refresh_token=third).json()["error"] == "invalid_grant"


def test_a_revocation_needs_a_client_and_a_token(demo: Running) -> None:
    assert revoked(demo, token="x", client_id="nobody") == (401, "invalid_client")
    assert revoked(demo, token="x", client_id=demo.client_id, client_secret="wrong") == (401, "invalid_client")
    assert revoked(demo, client_id=demo.client_id) == (400, "invalid_request")
