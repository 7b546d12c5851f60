"""Signatures by JWT, and the issuer's keys. Against a real HTTP server on loopback."""

from __future__ import annotations

import gzip
import hmac
import json
import sys
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import RSAKey
from webhook_bodies import NOW, SECRET, body_of, signed, token_of, token_over

from invora_grpc.errors import ConfigError
from invora_grpc.webhooks import (
    BadSignature,
    Jwks,
    KeysUnavailable,
    Receiver,
    TooNew,
    TooOld,
    UnknownAlgorithm,
    UnknownKey,
    WebhookError,
    jwks,
)

FIRST, SECOND = (RSAKey.generate_key(2048, {"kid": kid}, private=True) for kid in ("first", "second"))
NAMELESS = RSAKey.import_key(FIRST.as_pem(private=True))
BODY = body_of()
Reply = tuple[int, dict[str, str], bytes]


class Issuer:
    """An OpenID provider: what it is asked is noted, what it answers can be replaced."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.keys: list[dict[str, Any]] = [FIRST.as_dict(private=False)]
        self.on_discovery: Callable[[], Reply] = lambda: as_json(self.document())
        self.on_keys: Callable[[], Reply] = lambda: as_json({"keys": self.keys})
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                status, headers, body = outer.on_keys() if self.path == "/oauth/v2/keys" else outer.on_discovery()
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None: ...

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Clients that hang up in the middle of an answer are what some tests are about."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def document(self, **changes: object) -> dict[str, object]:
        return {"issuer": self.url, "jwks_uri": f"{self.url}/oauth/v2/keys", **changes}

    def token(self, body: bytes = BODY, key: RSAKey = FIRST, **changes: Any) -> dict[str, str]:
        return {"X-Invora-Signature": token_of(body, key, **{"iss": self.url, **changes})}


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def as_json(document: object, status: int = 200) -> Reply:
    return status, {"content-type": "application/json"}, json.dumps(document).encode()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    thread = threading.Thread(target=issuer.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield issuer
    issuer.server.shutdown()
    issuer.server.server_close()
    thread.join()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(issuer: Issuer, clock: Clock) -> Jwks:
    return Jwks(issuer.url, clock=clock)


@pytest.fixture
def receiver(keys: Jwks) -> Receiver:
    return Receiver(jwks=keys, clock=lambda: NOW)


# --- tokens ---


def test_a_token_over_the_body_is_accepted(issuer: Issuer, receiver: Receiver) -> None:
    assert receiver.receive(BODY, issuer.token()).event.invoice.number == "INV-1"


@pytest.mark.parametrize("body", [BODY.replace(b"INV-1", b"INV-2"), BODY + b" "])
def test_a_token_of_another_body_is_refused(issuer: Issuer, receiver: Receiver, body: bytes) -> None:
    with pytest.raises(BadSignature, match="not for this body"):
        receiver.receive(body, issuer.token())


@pytest.mark.parametrize("data", [None, json.loads(BODY), "", "\ud800", 5])
def test_a_token_that_says_nothing_of_the_body_is_refused(issuer: Issuer, receiver: Receiver, data: object) -> None:
    with pytest.raises(BadSignature, match="not for this body"):
        receiver.receive(BODY, issuer.token(data=data))


@pytest.mark.parametrize("iss", [None, "https://evil.example", 5])
def test_a_token_of_another_issuer_is_refused(issuer: Issuer, receiver: Receiver, iss: object) -> None:
    with pytest.raises(BadSignature, match="another issuer"):
        receiver.receive(BODY, issuer.token(iss=iss))


def test_tokens_may_call_the_issuer_by_a_name_that_was_given(issuer: Issuer) -> None:
    named = Receiver(jwks=Jwks(issuer.url, iss="https://api.example"), clock=lambda: NOW)
    assert named.receive(BODY, issuer.token(iss="https://api.example"))


def test_a_token_by_another_key_of_that_name_is_refused(issuer: Issuer, receiver: Receiver) -> None:
    with pytest.raises(BadSignature, match="does not fit the issuer's key"):
        receiver.receive(BODY, issuer.token(key=SECOND, header={"kid": "first"}))


def forged(token: dict[str, str], **header: object) -> dict[str, str]:
    """The token with another header in front, and the signature of the old one."""
    head = urlsafe_b64encode(json.dumps({"alg": "RS256", "kid": "first", **header}).encode()).decode().rstrip("=")
    return {"X-Invora-Signature": f"{head}.{token['X-Invora-Signature'].partition('.')[2]}"}


@pytest.mark.parametrize("alg", ["none", "HS256", "rs256", "RS512", None, ["RS256"]])
def test_the_token_does_not_choose_the_algorithm(issuer: Issuer, receiver: Receiver, alg: object) -> None:
    with pytest.raises(UnknownAlgorithm, match="only RS256 is accepted"):
        receiver.receive(BODY, forged(issuer.token(), alg=alg))
    assert issuer.asked == []


def test_a_token_without_a_signature_is_refused(issuer: Issuer, receiver: Receiver) -> None:
    head, content, _ = forged(issuer.token(), alg="none")["X-Invora-Signature"].split(".")
    with pytest.raises(UnknownAlgorithm, match="signed with 'none'"):
        receiver.receive(BODY, {"X-Invora-Signature": f"{head}.{content}."})


def test_the_public_key_is_no_secret_to_sign_with(issuer: Issuer, receiver: Receiver) -> None:
    head, content, _ = forged(issuer.token(), alg="HS256")["X-Invora-Signature"].split(".")
    code = hmac.digest(FIRST.as_pem(private=False), f"{head}.{content}".encode(), "sha256")
    signature = urlsafe_b64encode(code).decode().rstrip("=")
    with pytest.raises(UnknownAlgorithm, match="signed with 'HS256'"):
        receiver.receive(BODY, {"X-Invora-Signature": f"{head}.{content}.{signature}"})


def test_a_key_inside_the_token_counts_for_nothing(issuer: Issuer, receiver: Receiver) -> None:
    own = {"kid": "third", "jwk": SECOND.as_dict(private=False), "jku": f"{issuer.url}/evil"}
    with pytest.raises(UnknownKey, match="no key 'third'"):
        receiver.receive(BODY, issuer.token(key=SECOND, header=own))
    assert "/evil" not in issuer.asked


@pytest.mark.parametrize("header", [{"crit": ["exp"], "exp": 1}, {"b64": True}, {"b64": False, "crit": ["b64"]}])
def test_an_extension_that_changes_what_is_signed_is_refused(
    issuer: Issuer, receiver: Receiver, header: dict[str, Any]
) -> None:
    with pytest.raises(BadSignature, match="extension"):
        receiver.receive(BODY, forged(issuer.token(), **header))


@pytest.mark.parametrize("content", [b"[]", b"no json", b'{"data": "a", "data": "b"}'])
def test_a_token_over_something_else_is_refused(receiver: Receiver, content: bytes) -> None:
    with pytest.raises(BadSignature, match="the token's content"):
        receiver.receive(BODY, {"X-Invora-Signature": token_over(content, FIRST)})


@pytest.mark.parametrize(
    ("times", "error"),
    [
        ({"exp": NOW - 300}, TooOld),
        ({"nbf": NOW + 301}, TooNew),
        ({"iat": NOW + 301}, TooNew),
        ({"exp": "soon"}, BadSignature),
        ({"exp": True}, BadSignature),
        ({"exp": -(10**400)}, TooOld),
    ],
)
def test_the_times_of_a_token_are_kept(
    issuer: Issuer, receiver: Receiver, times: dict[str, Any], error: type[WebhookError]
) -> None:
    with pytest.raises(error):
        receiver.receive(BODY, issuer.token(**times))


def test_a_token_of_this_time_is_accepted(issuer: Issuer, receiver: Receiver) -> None:
    assert receiver.receive(BODY, issuer.token(exp=NOW - 299, nbf=NOW + 300, iat=NOW + 0.5))


def test_a_token_for_somebody_is_for_nobody_else(issuer: Issuer, receiver: Receiver, keys: Jwks) -> None:
    mine = Receiver(jwks=keys, audience="me", clock=lambda: NOW)
    for audience in ("me", ["you", "me"]):
        assert mine.receive(BODY, issuer.token(aud=audience))
        with pytest.raises(BadSignature, match="give it as `audience`"):
            receiver.receive(BODY, issuer.token(aud=audience))
    for other in ("you", ["you"], None, 5):
        with pytest.raises(BadSignature, match="the token is for"):
            mine.receive(BODY, issuer.token(aud=other))


def test_a_large_body_of_letters_that_grow_fits_a_token(issuer: Issuer, receiver: Receiver) -> None:
    body = body_of(invoice={"id": "inv-1", "number": "ف" * 100_000})
    assert receiver.receive(body, issuer.token(body)).event.invoice.number == "ف" * 100_000


def test_a_digest_is_refused_where_only_tokens_are_known(receiver: Receiver) -> None:
    with pytest.raises(UnknownAlgorithm, match="give the endpoint's secret"):
        receiver.receive(BODY, signed(BODY))


def test_both_are_accepted_while_an_endpoint_moves(issuer: Issuer, keys: Jwks) -> None:
    moving = Receiver(secret=SECRET, jwks=keys, clock=lambda: NOW)
    assert moving.receive(BODY, signed(BODY)).key == moving.receive(BODY, issuer.token()).key


PARTS = st.text() | st.sampled_from(["eyJhbGciOiJSUzI1NiJ9", "W10", "NQ", "WyJhbGciXQ"])


@given(st.lists(PARTS, min_size=3, max_size=3))
def test_no_token_from_outside_does_more_than_be_refused(parts: list[str]) -> None:
    offline = Receiver(jwks=Jwks("http://127.0.0.1:9"), clock=lambda: NOW)
    with pytest.raises(WebhookError):
        offline.receive(BODY, {"X-Invora-Signature": ".".join(parts)})


# --- keys ---


def test_keys_are_fetched_once_and_not_before_a_token_came(issuer: Issuer, receiver: Receiver) -> None:
    assert issuer.asked == []
    for _ in range(3):
        receiver.receive(BODY, issuer.token())
    assert issuer.asked == ["/.well-known/openid-configuration", "/oauth/v2/keys"]


def test_discovery_is_not_asked_if_the_keys_url_is_given(issuer: Issuer) -> None:
    keys = Jwks(issuer.url, url=f"{issuer.url}/oauth/v2/keys")
    assert keys.key("first")
    assert issuer.asked == ["/oauth/v2/keys"]


def test_a_new_key_is_found_without_waiting_for_the_hour(issuer: Issuer, keys: Jwks, clock: Clock) -> None:
    keys.key("first")
    issuer.keys.append(SECOND.as_dict(private=False))
    clock.now += 10
    assert keys.key("second")


def test_unknown_keys_do_not_make_us_ask_all_the_time(issuer: Issuer, keys: Jwks, clock: Clock) -> None:
    keys.key("first")
    for number in range(50):
        with pytest.raises(UnknownKey):
            keys.key(f"made up {number}")
    assert issuer.asked.count("/oauth/v2/keys") == 1
    for _ in range(20):
        clock.now += 10
        with pytest.raises(UnknownKey):
            keys.key("made up")
    assert issuer.asked.count("/oauth/v2/keys") == 2
    clock.now += 110
    with pytest.raises(UnknownKey):
        keys.key("made up")
    assert issuer.asked.count("/oauth/v2/keys") == 3
    assert keys.key("first")


def test_a_key_that_was_withdrawn_is_refused_within_the_hour(issuer: Issuer, keys: Jwks, clock: Clock) -> None:
    keys.key("first")
    issuer.keys = [SECOND.as_dict(private=False)]
    clock.now += 3599
    assert keys.key("first")
    clock.now += 1
    with pytest.raises(UnknownKey):
        keys.key("first")


def test_known_keys_outlive_an_issuer_that_is_down_for_a_day(issuer: Issuer, keys: Jwks, clock: Clock) -> None:
    keys.key("first")
    issuer.on_keys = lambda: (503, {}, b"")
    clock.now += 86_399
    assert keys.key("first")
    assert keys.key("first")
    assert issuer.asked.count("/oauth/v2/keys") == 2
    clock.now += 1
    with pytest.raises(KeysUnavailable, match="HTTP 503"):
        keys.key("first")


def test_a_failed_fetch_is_not_repeated_at_once(issuer: Issuer, keys: Jwks, clock: Clock) -> None:
    issuer.on_keys = lambda: (503, {}, b"")
    for _ in range(5):
        with pytest.raises(KeysUnavailable) as caught:
            keys.key("first")
        assert caught.value.status == 503
    assert issuer.asked.count("/oauth/v2/keys") == 1
    issuer.on_keys = lambda: as_json({"keys": issuer.keys})
    clock.now += 10
    assert keys.key("first")


def test_many_threads_cause_one_fetch(issuer: Issuer, keys: Jwks) -> None:
    barrier = threading.Barrier(16)

    def one() -> object:
        barrier.wait(10)
        return keys.key("first").kid

    with ThreadPoolExecutor(16) as pool:
        assert {future.result(20) for future in [pool.submit(one) for _ in range(16)]} == {"first"}
    assert issuer.asked.count("/oauth/v2/keys") == 1


def test_while_one_thread_asks_again_the_others_go_on(issuer: Issuer, keys: Jwks, clock: Clock) -> None:
    keys.key("first")
    asked, release = threading.Event(), threading.Event()

    def slow() -> Reply:
        asked.set()
        release.wait(10)
        return as_json({"keys": issuer.keys})

    issuer.on_keys = slow
    clock.now += 3600
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(keys.key, "first")
        assert asked.wait(10)
        assert keys.key("first").kid == "first"
        assert not renewing.done()
        release.set()
        assert renewing.result(10).kid == "first"


def test_a_token_may_leave_out_the_name_of_an_only_key(issuer: Issuer, receiver: Receiver, clock: Clock) -> None:
    assert receiver.receive(BODY, issuer.token(key=NAMELESS))
    issuer.keys.append(SECOND.as_dict(private=False))
    clock.now += 3600
    with pytest.raises(UnknownKey, match="names no key"):
        receiver.receive(BODY, issuer.token(key=NAMELESS))


@pytest.mark.filterwarnings("ignore:Key size:UserWarning")
@pytest.mark.parametrize(
    "entry",
    [
        {**FIRST.as_dict(private=False), "use": "enc"},
        {**FIRST.as_dict(private=False), "alg": "PS256"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "first"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "first"},
        {"kty": "RSA", "n": "!", "e": [], "kid": "first"},
        {"kty": "RSA", "n": urlsafe_b64encode(b"\xff" * 128).decode().rstrip("="), "e": "AQAB", "kid": "first"},
        "first",
    ],
    ids=["for encryption", "for PS256", "symmetric", "tiny", "broken", "1024 bits", "text"],
)
def test_keys_of_another_kind_are_passed_over(issuer: Issuer, keys: Jwks, entry: dict[str, Any]) -> None:
    issuer.keys = [entry, SECOND.as_dict(private=False)]
    assert keys.key("second")
    with pytest.raises(UnknownKey):
        keys.key("first")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda: (302, {"location": "/oauth/v2/keys"}, b""), "HTTP 302, and redirects are not followed"),
        (lambda: (200, {}, b" " * (1024 * 1024 + 1)), "over 1048576 bytes"),
        (lambda: (200, {"content-encoding": "gzip"}, gzip.compress(b" " * 50_000_000)), "no JSON"),
        (lambda: (200, {}, b"[]"), "no JSON object"),
        (lambda: (200, {}, b'{"keys": [], "keys": []}'), "a name twice"),
    ],
)
def test_an_odd_answer_is_no_keys(issuer: Issuer, keys: Jwks, answer: Callable[[], Reply], problem: str) -> None:
    issuer.on_keys = answer
    with pytest.raises(KeysUnavailable, match=problem):
        keys.key("first")


def test_a_set_without_keys_has_none(issuer: Issuer, keys: Jwks) -> None:
    issuer.on_keys = lambda: as_json({"keys": {"first": 1}})
    with pytest.raises(UnknownKey):
        keys.key("first")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"issuer": "https://evil.example"}, "another issuer"),
        ({"jwks_uri": "https://evil.example/keys"}, "own origin"),
        ({"jwks_uri": 5}, "own origin"),
    ],
)
def test_discovery_leads_nowhere_else(issuer: Issuer, keys: Jwks, changes: dict[str, object], problem: str) -> None:
    issuer.on_discovery = lambda: as_json(issuer.document(**changes))
    with pytest.raises(KeysUnavailable, match=problem):
        keys.key("first")
    assert issuer.asked == ["/.well-known/openid-configuration"]


def test_a_silent_issuer_is_given_up(issuer: Issuer, keys: Jwks, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    issuer.on_keys = lambda: (200, {}, str(release.wait(10)).encode())
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT", 0.2)
    with pytest.raises(KeysUnavailable, match="ReadTimeout"):
        keys.key("first")
    release.set()


def test_an_issuer_that_is_not_there_is_named() -> None:
    with pytest.raises(KeysUnavailable, match=r"http://127\.0\.0\.1:9: discovery: no connection"):
        Jwks("http://127.0.0.1:9").key("first")


@pytest.mark.parametrize(("issuer", "url"), [("http://auth.example", None), ("https://a", "http://a/keys")])
def test_keys_are_not_fetched_in_plaintext(issuer: str, url: str | None) -> None:
    with pytest.raises(ConfigError, match="is plaintext"):
        Jwks(issuer, url=url)


def test_without_joserfc_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "joserfc", None)
    with pytest.raises(ConfigError, match=r"needs the package joserfc; pip install 'invora-grpc\[webhooks\]'"):
        Jwks("https://auth.example")
