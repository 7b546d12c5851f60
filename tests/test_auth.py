"""Where tokens come from, when they are renewed, and who waits for whom. Against a real HTTP server on loopback."""

import gzip
import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

import httpx
import pytest

from invora_grpc import auth
from invora_grpc.auth import ClientCredentials, RefreshToken
from invora_grpc.config import Secret
from invora_grpc.errors import ConfigError, SignInError

PLAIN = "cl1ent" + "-s3cret&="
Reply = tuple[int, dict[str, str], bytes]


class Issuer:
    """An identity provider: what it is asked is counted, what it answers can be replaced."""

    def __init__(self) -> None:
        self.discoveries = 0
        self.forms: list[dict[str, str]] = []
        self.on_discovery: Callable[[], Reply] = lambda: as_json(self.document())
        self.on_token: Callable[[int], Reply] = lambda number: as_json(self.grant(number))
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.discoveries += self.path == "/.well-known/openid-configuration"
                self.reply(outer.on_discovery())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                outer.forms.append(dict(parse_qsl(body, strict_parsing=True)))
                self.reply(outer.on_token(len(outer.forms)))

            def reply(self, reply: Reply) -> None:
                status, headers, body = reply
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
        return {"issuer": self.url, "token_endpoint": f"{self.url}/oauth/v2/token", **changes}

    def grant(self, number: int, **changes: object) -> dict[str, object]:
        return {"access_token": f"token-{number}", "token_type": "Bearer", "expires_in": 43_200, **changes}


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
def source(issuer: Issuer, clock: Clock) -> ClientCredentials:
    return ClientCredentials(issuer.url, "abc", PLAIN, clock=clock)


def text_with_locals(error: BaseException) -> str:
    """All that a traceback with local variables shows, below the test's own frame."""
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


# --- client credentials ---


def test_a_token_costs_one_discovery_and_one_form(issuer: Issuer, source: ClientCredentials) -> None:
    assert source.token() == Secret("token-1")
    assert issuer.discoveries == 1
    assert issuer.forms == [
        {"grant_type": "client_credentials", "client_id": "abc", "client_secret": PLAIN, "scope": "openid"}
    ]


def test_a_good_token_is_used_again(issuer: Issuer, source: ClientCredentials) -> None:
    assert {source.token() for _ in range(5)} == {Secret("token-1")}
    assert len(issuer.forms) == 1


def test_discovery_is_asked_once(issuer: Issuer, source: ClientCredentials) -> None:
    source.token()
    source.token(force=True)
    assert (issuer.discoveries, len(issuer.forms)) == (1, 2)


def test_a_token_endpoint_that_is_gone_is_looked_up_again(issuer: Issuer, source: ClientCredentials) -> None:
    source.token()
    issuer.on_token = lambda number: (404, {}, b"")
    with pytest.raises(SignInError):
        source.token(force=True)
    issuer.on_token = lambda number: as_json(issuer.grant(number))
    assert source.token(force=True) == Secret("token-3")
    assert issuer.discoveries == 2


def test_an_http_client_of_the_callers_own_is_used(issuer: Issuer) -> None:
    seen: list[str] = []
    with httpx.Client(event_hooks={"request": [lambda request: seen.append(request.url.path)]}) as http:
        ClientCredentials(issuer.url, "abc", PLAIN, http=http).token()
    assert seen == ["/.well-known/openid-configuration", "/oauth/v2/token"]


def test_a_proxy_never_sees_the_secret_on_its_way_to_loopback(
    issuer: Issuer, source: ClientCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert source.token() == Secret("token-1")


# --- time ---


@pytest.mark.parametrize(
    ("lifetime", "good", "due"), [(43_200, 42_899, 42_900), (600, 299, 300), (400, 199, 200), (60, 29, 30)]
)
def test_renewal_is_five_minutes_early_or_at_half_life_whichever_is_later(
    issuer: Issuer, source: ClientCredentials, clock: Clock, lifetime: int, good: int, due: int
) -> None:
    issuer.on_token = lambda number: as_json(issuer.grant(number, expires_in=lifetime))
    source.token()
    clock.now = 1000.0 + good
    assert source.token() == Secret("token-1")
    clock.now = 1000.0 + due
    assert source.token() == Secret("token-2")


def test_a_failed_early_renewal_keeps_the_good_token_and_pauses(
    issuer: Issuer, source: ClientCredentials, clock: Clock
) -> None:
    source.token()
    issuer.on_token = lambda number: (503, {}, b"")
    clock.now += 43_000
    assert source.token() == source.token() == Secret("token-1")
    assert len(issuer.forms) == 2
    clock.now += 9.9
    assert source.token() == Secret("token-1")
    assert len(issuer.forms) == 2
    clock.now += 0.1
    assert source.token() == Secret("token-1")
    assert len(issuer.forms) == 3


def test_an_expired_token_is_never_returned(issuer: Issuer, source: ClientCredentials, clock: Clock) -> None:
    source.token()
    issuer.on_token = lambda number: (503, {}, b"")
    clock.now += 43_200
    with pytest.raises(SignInError, match="HTTP 503"):
        source.token()


def test_the_next_call_after_a_failure_tries_again(issuer: Issuer, source: ClientCredentials) -> None:
    issuer.on_token = lambda number: as_json({}, 500) if number == 1 else as_json(issuer.grant(number))
    with pytest.raises(SignInError):
        source.token()
    assert source.token() == Secret("token-2")


# --- threads ---


def test_32_threads_cause_one_request(issuer: Issuer, source: ClientCredentials) -> None:
    barrier = threading.Barrier(32)

    def one() -> Secret:
        barrier.wait(10)
        return source.token()

    with ThreadPoolExecutor(32) as pool:
        tokens = {future.result(20) for future in [pool.submit(one) for _ in range(32)]}
    assert tokens == {Secret("token-1")}
    assert len(issuer.forms) == 1


def test_32_threads_whose_token_was_refused_cause_one_renewal(issuer: Issuer, source: ClientCredentials) -> None:
    refused = source.token()
    barrier = threading.Barrier(32)

    def one() -> Secret:
        barrier.wait(10)
        return source.token(force=True, rejected=refused)

    with ThreadPoolExecutor(32) as pool:
        tokens = {future.result(20) for future in [pool.submit(one) for _ in range(32)]}
    assert tokens == {Secret("token-2")}
    assert len(issuer.forms) == 2


def test_those_who_wait_for_a_fetch_share_its_failure_each_with_an_exception_of_its_own(
    issuer: Issuer, source: ClientCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, release = threading.Semaphore(0), threading.Event()

    class Observed(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waiting.release()
            return super().wait(timeout)

    def refuse(number: int) -> Reply:
        release.wait(10)
        return as_json({"error": "invalid_client"}, 401)

    monkeypatch.setattr(auth, "Event", Observed)
    issuer.on_token = refuse
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(source.token) for _ in range(8)]
        assert all(waiting.acquire(timeout=10) for _ in range(7))
        release.set()
        failures = [future.exception(20) for future in futures]
    assert {str(failure) for failure in failures} == {str(failures[0])}
    assert "invalid_client" in str(failures[0])
    assert len({id(failure) for failure in failures}) == 8
    assert len(issuer.forms) == 1


def test_while_one_renews_early_the_others_go_on(issuer: Issuer, source: ClientCredentials, clock: Clock) -> None:
    source.token()
    asked, release = threading.Event(), threading.Event()

    def slow(number: int) -> Reply:
        asked.set()
        release.wait(10)
        return as_json(issuer.grant(number))

    issuer.on_token = slow
    clock.now += 43_000
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(source.token)
        assert asked.wait(10)
        assert source.token() == Secret("token-1")
        release.set()
        assert renewing.result(10) == Secret("token-2")
    assert source.token() == Secret("token-2")
    assert len(issuer.forms) == 2


def test_a_fetch_that_is_broken_off_leaves_nobody_waiting(issuer: Issuer) -> None:
    def interrupt(request: httpx.Request) -> None:
        if not issuer.discoveries:
            issuer.discoveries = 100
            raise KeyboardInterrupt

    with httpx.Client(event_hooks={"request": [interrupt]}) as http:
        source = ClientCredentials(issuer.url, "abc", PLAIN, http=http)
        with pytest.raises(KeyboardInterrupt):
            source.token()
        assert source.token() == Secret("token-1")


def test_a_token_that_is_no_longer_in_use_forces_nothing(issuer: Issuer, source: ClientCredentials) -> None:
    source.token()
    assert source.token(force=True, rejected=Secret("older")) == Secret("token-1")
    assert len(issuer.forms) == 1


# --- discovery ---


def test_an_issuer_must_be_https_unless_loopback() -> None:
    with pytest.raises(ConfigError, match="is plaintext; use https://"):
        ClientCredentials("http://auth.example", "abc", PLAIN)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(issuer: Issuer, source: ClientCredentials, status: int) -> None:
    issuer.on_discovery = lambda: (status, {"location": f"{issuer.url}/elsewhere"}, b"")
    with pytest.raises(SignInError, match="redirect"):
        source.token()
    issuer.on_discovery = lambda: as_json(issuer.document())
    issuer.on_token = lambda number: (status, {"location": f"{issuer.url}/elsewhere"}, b"")
    with pytest.raises(SignInError, match=str(status)):
        source.token()
    assert len(issuer.forms) == 1


def test_a_huge_answer_is_cut_off(issuer: Issuer, source: ClientCredentials) -> None:
    issuer.on_discovery = lambda: (200, {}, b" " * (1024 * 1024 + 1))
    with pytest.raises(SignInError, match="over 1048576 bytes"):
        source.token()


def test_a_compressed_answer_is_not_inflated(issuer: Issuer, source: ClientCredentials) -> None:
    issuer.on_discovery = lambda: (200, {"content-encoding": "gzip"}, gzip.compress(b" " * 50_000_000))
    with pytest.raises(SignInError, match="no JSON object"):
        source.token()


def test_no_compression_is_asked_for(issuer: Issuer) -> None:
    seen: set[str] = set()
    with httpx.Client(event_hooks={"request": [lambda request: seen.add(request.headers["accept-encoding"])]}) as http:
        ClientCredentials(issuer.url, "abc", PLAIN, http=http).token()
    assert seen == {"identity"}


def test_an_issuer_that_is_not_there_is_named(issuer: Issuer) -> None:
    with pytest.raises(SignInError, match=r"http://127\.0\.0\.1:9 .*no connection.*check the issuer's URL"):
        ClientCredentials("http://127.0.0.1:9", "abc", PLAIN).token()


def test_a_silent_issuer_is_given_up(
    issuer: Issuer, source: ClientCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    issuer.on_discovery = lambda: (200, {}, str(release.wait(10)).encode())
    monkeypatch.setattr(auth, "HTTP_TIMEOUT", 0.05)
    with pytest.raises(SignInError, match="ReadTimeout"):
        source.token()
    release.set()


# --- refusals ---


def test_a_refusal_quotes_the_code_and_nothing_that_could_echo(issuer: Issuer, source: ClientCredentials) -> None:
    issuer.on_token = lambda number: as_json({"error": "invalid_client", "error_description": f"not {PLAIN}"}, 401)
    with pytest.raises(SignInError) as caught:
        source.token()
    error = caught.value
    assert (error.issuer, error.grant, error.status, error.oauth_error) == (
        issuer.url,
        "client_credentials",
        401,
        "invalid_client",
    )
    assert "check the client id and secret" in str(error)
    assert PLAIN not in str(error)


def test_an_error_code_that_is_no_plain_word_is_not_quoted(issuer: Issuer, source: ClientCredentials) -> None:
    issuer.on_token = lambda number: as_json({"error": PLAIN}, 400)
    with pytest.raises(SignInError) as caught:
        source.token()
    assert caught.value.oauth_error is None


# --- refresh tokens ---


def test_a_refresh_token_is_used_up_and_replaced(issuer: Issuer) -> None:
    rotated: list[Secret] = []
    issuer.on_token = lambda number: as_json(issuer.grant(number, refresh_token=f"refresh-{number}"))
    source = RefreshToken(issuer.url, "abc", "refresh-0", on_rotated=rotated.append)
    assert [source.token(), source.token(force=True)] == [Secret("token-1"), Secret("token-2")]
    assert rotated == [Secret("refresh-1"), Secret("refresh-2")]
    assert issuer.forms == [
        {"grant_type": "refresh_token", "client_id": "abc", "refresh_token": f"refresh-{number}"} for number in (0, 1)
    ]


def test_a_refresh_token_stays_if_the_issuer_sends_no_other(issuer: Issuer) -> None:
    source = RefreshToken(issuer.url, "abc", "refresh-0", client_secret=PLAIN)
    source.token()
    source.token(force=True)
    assert [form["refresh_token"] for form in issuer.forms] == ["refresh-0", "refresh-0"]
    assert issuer.forms[0]["client_secret"] == PLAIN


def test_a_used_up_refresh_token_says_sign_in_again(issuer: Issuer) -> None:
    issuer.on_token = lambda number: as_json({"error": "invalid_grant"}, 400)
    with pytest.raises(SignInError, match="sign in again"):
        RefreshToken(issuer.url, "abc", "old").token()


# --- secrets ---


def test_nothing_that_is_logged_holds_a_secret(
    issuer: Issuer, source: ClientCredentials, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source.token()
    issuer.on_token = lambda number: as_json({"error": "invalid_client"}, 401)
    with pytest.raises(SignInError):
        source.token(force=True)
    assert "invora_grpc.auth" in caplog.text
    assert all(word not in caplog.text for word in (PLAIN, "cl1ent", "token-1"))


def _refused(issuer: Issuer) -> None:
    issuer.on_token = lambda number: as_json({"error": "invalid_client"}, 401)


def _odd(issuer: Issuer) -> None:
    issuer.on_token = lambda number: as_json({**issuer.grant(number, token_type="mac"), "echo": PLAIN})


def _broken_off(issuer: Issuer) -> None:
    issuer.on_token = lambda number: (200, {"transfer-encoding": "chunked"}, b"zz not a chunk")


def _gone(issuer: Issuer) -> None:
    issuer.server.server_close()


@pytest.mark.parametrize("spoil", [_refused, _odd, _broken_off, _gone])
def test_no_failure_holds_a_secret_not_even_with_locals(
    issuer: Issuer, source: ClientCredentials, spoil: Callable[[Issuer], None]
) -> None:
    spoil(issuer)
    with pytest.raises(SignInError) as caught:
        source.token()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    text = text_with_locals(caught.value)
    assert "SignInError" in text
    assert "cl1ent" not in text
    assert "token-1" not in text
