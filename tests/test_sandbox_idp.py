"""The sandbox's identity provider, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

from invora_grpc.sandbox.idp import (
    AUDIENCE,
    CACHED_TOKENS,
    TENANT_CLAIM,
    TOKEN_LIFETIME,
    CannotListen,
    InvalidToken,
    RunningHttp,
    bind_http,
    identity_provider,
    issue_token,
    serve_http,
    verify_token,
)
from invora_grpc.sandbox.model import Client
from invora_grpc.sandbox.store import Store

SECRET = "a secret chosen by a person"
NOW = 1_800_000_000.25


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Served:
    """The provider in a loop of its own thread; its clock and store are the test's to turn."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        bound = bind_http("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        serving = serve_http(identity_provider(store, self.url), "127.0.0.1", 0, bound=bound)
        self.running: RunningHttp = asyncio.run_coroutine_threadsafe(serving, self.loop).result(10)
        self.http = httpx.Client(base_url=self.url, trust_env=False)

    def client(self) -> Client:
        """A new client of Acme whose secret is SECRET."""
        client_id, _ = self.store.create_client("acme", roles=["owner"], secret=SECRET)
        client = self.store.client(client_id)
        assert client is not None
        return client

    def post(self, **form: str) -> httpx.Response:
        return self.http.post("/oauth/v2/token", data=form)

    def post_as(self, user: str, secret: str, /, **form: str) -> httpx.Response:
        return self.http.post("/oauth/v2/token", data=form, auth=httpx.BasicAuth(user, secret))

    def sign_in(self, client: Client, scope: str = "openid") -> dict[str, Any]:
        answer = self.post(
            grant_type="client_credentials", client_id=client.client_id, client_secret=SECRET, scope=scope
        )
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        body: dict[str, Any] = answer.json()
        return body

    def refresh(self, client: Client, token: str, **form: str) -> httpx.Response:
        credentials = {"client_id": client.client_id, "client_secret": SECRET}
        return self.post(grant_type="refresh_token", refresh_token=token, **credentials, **form)

    def stop(self) -> None:
        self.http.close()
        asyncio.run_coroutine_threadsafe(self.running.stop(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture(scope="module")
def provider() -> Iterator[Served]:
    clock = Clock()
    with Store.open(":memory:", clock=clock) as store:
        store.create_organization("Acme", org_id="acme")
        served = Served(store, clock)
        yield served
        served.stop()


@pytest.fixture
def idp(provider: Served) -> Served:
    """One provider for all tests, since each makes its own client; the clock starts anew."""
    provider.clock.now = NOW
    return provider


@pytest.fixture
def client(idp: Served) -> Client:
    return idp.client()


def refused(idp: Served, token: str) -> str:
    """Why the token is refused."""
    with pytest.raises(InvalidToken) as caught:
        verify_token(idp.store, idp.url, token)
    assert token not in str(caught.value)
    return caught.value.reason


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


# Discovery and keys


def test_discovery_names_endpoints_and_abilities(idp: Served) -> None:
    found = idp.http.get("/.well-known/openid-configuration").json()
    assert {name: found[name] for name in found if name.endswith(("issuer", "endpoint", "uri"))} == {
        "issuer": idp.url,
        "authorization_endpoint": f"{idp.url}/oauth/v2/authorize",
        "token_endpoint": f"{idp.url}/oauth/v2/token",
        "revocation_endpoint": f"{idp.url}/oauth/v2/revoke",
        "jwks_uri": f"{idp.url}/oauth/v2/keys",
        "userinfo_endpoint": f"{idp.url}/oidc/v1/userinfo",
    }
    assert found["grant_types_supported"] == ["authorization_code", "client_credentials", "refresh_token"]
    assert found["id_token_signing_alg_values_supported"] == ["RS256"]
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["token_endpoint_auth_methods_supported"] == ["client_secret_post", "client_secret_basic", "none"]


def test_the_published_keys_are_public(idp: Served) -> None:
    (key,) = idp.http.get("/oauth/v2/keys").json()["keys"]
    assert set(key) == {"kty", "kid", "use", "alg", "n", "e"}


# Client credentials


def test_client_credentials_give_a_token_that_the_published_keys_verify(idp: Served, client: Client) -> None:
    answer = idp.sign_in(client)
    assert (answer["token_type"], answer["expires_in"], set(answer)) == (
        "Bearer",
        TOKEN_LIFETIME,
        {"access_token", "token_type", "expires_in"},
    )
    keys = KeySet.import_key_set(idp.http.get("/oauth/v2/keys").json())
    token = jwt.decode(answer["access_token"], keys, algorithms=["RS256"])
    assert token.header["kid"] == keys.keys[0].kid
    expected = {
        "iss": idp.url,
        "sub": client.client_id,
        "client_id": client.client_id,
        "aud": [client.client_id, AUDIENCE],
        "iat": int(NOW),
        "exp": int(NOW) + 43_200,
        "org_id": "acme",
        "roles": {"owner": ["acme"]},
        TENANT_CLAIM: "acme",
    }
    assert {name: token.claims[name] for name in expected} == expected


def test_basic_authentication_works(idp: Served, client: Client) -> None:
    encoded = SECRET.replace(" ", "+")
    answer = idp.post_as(client.client_id, encoded, grant_type="client_credentials", scope="openid")
    assert answer.status_code == 200


def test_wrong_basic_credentials_are_challenged(idp: Served, client: Client) -> None:
    answer = idp.post_as(client.client_id, "guess", grant_type="client_credentials", scope="openid")
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic bm9jb2xvbg==", "Bearer abc"])
def test_an_unreadable_authorization_header_is_an_invalid_client(idp: Served, header: str) -> None:
    form = {"grant_type": "client_credentials", "scope": "openid"}
    answer = idp.http.post("/oauth/v2/token", data=form, headers={"authorization": header})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_credentials_in_both_places_are_refused(idp: Served, client: Client) -> None:
    form = {"grant_type": "client_credentials", "client_id": client.client_id, "client_secret": SECRET}
    assert idp.post_as(client.client_id, SECRET, **form).json()["error"] == "invalid_request"


@pytest.mark.parametrize("secret", ["guess", ""])
def test_a_wrong_secret_is_an_invalid_client(idp: Served, client: Client, secret: str) -> None:
    answer = idp.post(grant_type="client_credentials", client_id=client.client_id, client_secret=secret, scope="openid")
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert secret == "" or secret not in answer.text


@pytest.mark.parametrize("scope", ["", "profile", "openidx"])
def test_a_scope_without_openid_is_refused(idp: Served, client: Client, scope: str) -> None:
    form = {"grant_type": "client_credentials", "client_id": client.client_id, "client_secret": SECRET}
    answer = idp.post(**form, scope=scope)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


def test_an_unknown_grant_is_refused(idp: Served) -> None:
    answer = idp.post(grant_type="password")
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"grant_type": "client_credentials"}'),
        ("application/x-www-form-urlencoded", b""),
        ("application/x-www-form-urlencoded", b"grant_type=a&grant_type=b"),
        ("application/x-www-form-urlencoded", b"grant_type=%ff"),
        ("application/x-www-form-urlencoded", b"grant_type=\xff"),
        ("application/x-www-form-urlencoded", b"a=b" + b"&a=b" * 100),
    ],
)
def test_a_body_that_is_no_proper_form_is_refused(idp: Served, content_type: str, body: bytes) -> None:
    answer = idp.http.post("/oauth/v2/token", content=body, headers={"content-type": content_type})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_an_endless_body_is_refused(idp: Served) -> None:
    answer = idp.post(grant_type="x" * 100_000)
    assert answer.status_code == 413


def test_nothing_secret_is_logged(idp: Served, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    body = idp.sign_in(client, "openid offline_access")
    idp.refresh(client, body["refresh_token"])
    secrets = (SECRET, "a+secret", body["access_token"], body["refresh_token"])
    assert [secret for secret in secrets if secret in caplog.text] == []


# Refresh tokens


def test_refreshing_rotates_both_tokens(idp: Served, client: Client) -> None:
    first = idp.sign_in(client, "openid offline_access")
    second = idp.refresh(client, first["refresh_token"]).json()
    assert second["access_token"] != first["access_token"] and second["refresh_token"] != first["refresh_token"]
    assert verify_token(idp.store, idp.url, second["access_token"]).client_id == client.client_id


def test_reusing_a_refresh_token_revokes_its_family(idp: Served, client: Client) -> None:
    first = idp.sign_in(client, "openid offline_access")["refresh_token"]
    second = idp.refresh(client, first).json()["refresh_token"]
    answers = [idp.refresh(client, token) for token in (first, second)]
    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(400, "invalid_grant")] * 2


def test_a_wider_scope_is_refused_and_spends_nothing(idp: Served, client: Client) -> None:
    token = idp.sign_in(client, "openid offline_access")["refresh_token"]
    assert idp.refresh(client, token, scope="openid admin").json()["error"] == "invalid_scope"
    assert idp.refresh(client, token, scope="openid").status_code == 200


def test_a_refreshed_token_shows_roles_granted_meanwhile(idp: Served, client: Client) -> None:
    token = idp.sign_in(client, "openid offline_access")["refresh_token"]
    idp.store.grant_role(client.client_id, "auditor", "acme")
    renewed = idp.refresh(client, token).json()["access_token"]
    assert verify_token(idp.store, idp.url, renewed).roles == {"owner": ("acme",), "auditor": ("acme",)}


# Verification


def test_a_verified_token_tells_its_caller(idp: Served, client: Client) -> None:
    caller = verify_token(idp.store, idp.url, idp.sign_in(client)["access_token"])
    assert (caller.subject, caller.client_id) == (client.client_id, client.client_id)
    assert (caller.org_id, caller.tenant, caller.roles) == ("acme", "acme", {"owner": ("acme",)})
    assert (caller.impersonator, caller.expires_at) == (None, int(NOW) + TOKEN_LIFETIME)


@pytest.mark.parametrize("seen_before", [False, True])
def test_an_expired_token_is_refused_to_the_second(idp: Served, client: Client, seen_before: bool) -> None:
    token = issue_token(idp.store, idp.url, client=client, lifetime=60)
    idp.clock.now = int(NOW) + 59.999
    if seen_before:
        verify_token(idp.store, idp.url, token)
    idp.clock.now = int(NOW) + 60
    assert refused(idp, token) == "expired"


def test_an_unsigned_token_is_refused(idp: Served, client: Client) -> None:
    payload = idp.sign_in(client)["access_token"].split(".")[1]
    assert refused(idp, f"{segment({'alg': 'none', 'typ': 'JWT'})}.{payload}.") == "not signed with RS256"


def test_the_public_key_is_no_hmac_secret(idp: Served, client: Client) -> None:
    (key,) = KeySet.import_key_set(idp.http.get("/oauth/v2/keys").json()).keys
    assert isinstance(key, RSAKey)
    claims = jwt.decode(idp.sign_in(client)["access_token"], key, algorithms=["RS256"]).claims
    signer = OctKey.import_key(str(key.as_dict()["n"]))
    forged = jwt.encode({"alg": "HS256", "kid": key.kid}, claims, signer, algorithms=["HS256"])
    assert refused(idp, forged) == "not signed with RS256"


def test_a_tampered_token_is_refused(idp: Served, client: Client) -> None:
    header, payload, signature = idp.sign_in(client)["access_token"].split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["org_id"] = "bolt"
    assert refused(idp, f"{header}.{segment(claims)}.{signature}") == "bad signature"


def test_a_token_signed_by_another_sandbox_is_refused(idp: Served, client: Client) -> None:
    with Store.open(":memory:", clock=idp.clock) as other:
        token = issue_token(other, idp.url, client=client)
    assert refused(idp, token) == "bad signature"


@pytest.mark.parametrize("seen_before", [False, True])
def test_a_token_of_another_issuer_is_refused(idp: Served, client: Client, seen_before: bool) -> None:
    token = issue_token(idp.store, "http://127.0.0.1:1", client=client)
    if seen_before:
        verify_token(idp.store, "http://127.0.0.1:1", token)
    assert refused(idp, token) == "wrong issuer"


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "ä.ö.ü", "..", "Bearer abc", f"{segment([])}.e30.e30"])
def test_what_is_no_token_is_refused(idp: Served, token: str) -> None:
    with pytest.raises(InvalidToken):
        verify_token(idp.store, idp.url, token)


@pytest.mark.parametrize("seen_before", [False, True])
def test_a_deactivated_clients_token_is_refused(idp: Served, client: Client, seen_before: bool) -> None:
    token = issue_token(idp.store, idp.url, client=client)
    if seen_before:
        verify_token(idp.store, idp.url, token)
    idp.store.set_client_active(client.client_id, False)
    assert refused(idp, token) == "client deactivated"


def test_a_reactivated_clients_old_token_stays_dead(idp: Served, client: Client) -> None:
    old = idp.sign_in(client)["access_token"]
    for active in (False, True):
        idp.store.set_client_active(client.client_id, active)
    assert refused(idp, old) == "issued before its client was deactivated"
    verify_token(idp.store, idp.url, idp.sign_in(client)["access_token"])  # at the same reading of the clock


def test_a_rotated_secret_leaves_tokens_valid(idp: Served, client: Client) -> None:
    token = idp.sign_in(client)["access_token"]
    idp.store.rotate_secret(client.client_id)
    assert verify_token(idp.store, idp.url, token).client_id == client.client_id


def test_a_deleted_tenants_token_is_refused(idp: Served) -> None:
    idp.store.create_organization("Gone", org_id="gone")
    client_id, _ = idp.store.create_client("gone")
    gone = idp.store.client(client_id)
    assert gone is not None
    token = issue_token(idp.store, idp.url, client=gone)
    idp.store.delete_organization("gone")
    assert refused(idp, token) == "unknown client"


def test_more_tokens_than_the_cache_holds_stay_valid(client: Client, idp: Served) -> None:
    first = issue_token(idp.store, idp.url, client=client)
    for number in range(CACHED_TOKENS + 1):
        verify_token(idp.store, f"http://{number}", issue_token(idp.store, f"http://{number}", client=client))
    assert verify_token(idp.store, idp.url, first).client_id == client.client_id


def test_tokens_survive_a_restart_on_the_same_file(tmp_path: Path) -> None:
    with Store.open(tmp_path / "sandbox.db") as store:
        store.create_organization("Acme", org_id="acme")
        client_id, _ = store.create_client("acme")
        client = store.client(client_id)
        assert client is not None
        token = issue_token(store, "http://idp", client=client)
    with Store.open(tmp_path / "sandbox.db") as store:
        assert verify_token(store, "http://idp", token).client_id == client_id


# Impersonation


def test_an_impersonation_names_both_people(idp: Served, client: Client) -> None:
    token = issue_token(
        idp.store, idp.url, client=client, lifetime=300, subject="user-7", org_id="bolt", act={"sub": "admin-1"}
    )
    caller = verify_token(idp.store, idp.url, token)
    assert (caller.subject, caller.org_id, caller.tenant, caller.impersonator) == ("user-7", "bolt", "bolt", "admin-1")


def test_an_impersonation_brings_only_roles_granted_there(idp: Served, client: Client) -> None:
    token = issue_token(idp.store, idp.url, client=client, subject="user-7", org_id="bolt", act={"sub": "admin-1"})
    assert verify_token(idp.store, idp.url, token).roles == {}


# Userinfo


def test_userinfo_tells_the_caller(idp: Served, client: Client) -> None:
    bearer = idp.sign_in(client)["access_token"]
    answer = idp.http.get("/oidc/v1/userinfo", headers={"authorization": f"Bearer {bearer}"})
    expected = {"sub": client.client_id, "org_id": "acme", TENANT_CLAIM: "acme", "roles": {"owner": ["acme"]}}
    assert answer.json() == expected


def test_userinfo_with_a_bad_token_says_so(idp: Served) -> None:
    answer = idp.http.get("/oidc/v1/userinfo", headers={"authorization": "Bearer a.b.c"})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


# Serving


def test_a_taken_port_is_named() -> None:
    with bind_http("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"cannot listen on 127\.0\.0\.1:{port} \(Address already in use\)"):
            bind_http("127.0.0.1", port)


def test_serving_leaves_signal_handlers_alone_and_frees_its_port(idp: Served) -> None:
    def handlers() -> list[Any]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    async def serve() -> int:
        before = handlers()
        running = await serve_http(identity_provider(idp.store, "http://idp"), "127.0.0.1", 0)
        assert handlers() == before
        await running.stop()
        await running.stop()
        return running.port

    bind_http("127.0.0.1", asyncio.run(serve())).close()


@pytest.mark.parametrize("crit", [1, None, {}, [1], [[]]])
def test_a_malformed_header_is_unauthorized(idp: Served, crit: object) -> None:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "RS256", "crit": crit}).encode()).decode().rstrip("=")
    bearer = f"{header}.e30.x"
    answer = idp.http.get("/oidc/v1/userinfo", headers={"Authorization": f"Bearer {bearer}"})
    assert answer.status_code == 401


def test_header_and_form_name_one_client(idp: Served, client: Client) -> None:
    form = {"grant_type": "client_credentials", "scope": "openid"}
    assert idp.post_as(client.client_id, SECRET, **form, client_id=client.client_id).status_code == 200
    answer = idp.post_as(client.client_id, SECRET, **form, client_id="another")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_a_token_tells_the_roles_at_home_only(idp: Served, client: Client) -> None:
    idp.store.create_organization("Bolt", org_id="bolt")
    idp.store.grant_role(client.client_id, "owner", "bolt")
    token = idp.sign_in(client)["access_token"]
    assert verify_token(idp.store, idp.url, token).roles == {"owner": ("acme",)}
