"""Asking an issuer: where, how long, how often, and what is believed. Against a real HTTP server on loopback."""

import gzip
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import ContextVar
from pathlib import Path

import httpx
import pytest
from auth_issuer import PLAIN, Clock, Issuer, as_json, never, running_issuer, text_with_locals
from certificates import Authority, authority

from invora_grpc import issuer as room
from invora_grpc.auth import ClientCredentials, RefreshToken
from invora_grpc.config import Secret
from invora_grpc.errors import ConfigError, SignInError
from invora_grpc.issuer import DISCOVERY_LIFETIME, MAX_DISCOVERIES, SHARED, Discoveries


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(issuer: Issuer, clock: Clock) -> ClientCredentials:
    return ClientCredentials(issuer.url, "abc", PLAIN, clock=clock, sleep=clock.sleep, jitter=never)


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


def test_an_issuer_that_is_not_there_is_named(clock: Clock) -> None:
    with pytest.raises(SignInError, match=r"http://127\.0\.0\.1:9 .*no connection.*check the issuer's URL"):
        ClientCredentials("http://127.0.0.1:9", "abc", PLAIN, clock=clock, sleep=clock.sleep).token()


def test_a_redirect_to_another_origin_gets_neither_secret_nor_request(issuer: Issuer, clock: Clock) -> None:
    with running_issuer() as other:
        source = ClientCredentials(issuer.url, "abc", PLAIN, clock=clock)
        issuer.on_discovery = lambda: (307, {"location": f"{other.url}/.well-known/openid-configuration"}, b"")
        with pytest.raises(SignInError, match="redirects are not followed"):
            source.token()
        issuer.on_discovery = lambda: as_json(issuer.document())
        issuer.on_token = lambda number: (307, {"location": f"{other.url}/oauth/v2/token"}, b"")
        with pytest.raises(SignInError, match="307"):
            source.token()
        assert (other.discoveries, other.forms) == (0, [])


# --- bounds ---


class Drip:
    """Writes a beginning, and then a byte now and then, until the other side hangs up."""

    def __init__(self, beginning: bytes) -> None:
        self._beginning, self.hung_up = beginning, threading.Event()

    def __call__(self, connection: socket.socket) -> None:
        try:
            connection.sendall(self._beginning)
            while not self.hung_up.wait(0.01):
                connection.sendall(b"a")
        except OSError:
            self.hung_up.set()


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "HTTP_TIMEOUT", 0.2)


@pytest.mark.usefixtures("in_a_hurry")
@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n", id="body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx-slow: ", id="headers"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", id="chunk"),
    ],
)
def test_an_answer_that_drips_is_given_up_and_its_connection_ended(
    issuer: Issuer, source: ClientCredentials, beginning: bytes
) -> None:
    drip = Drip(beginning)
    issuer.on_token = lambda number: drip
    with pytest.raises(SignInError, match=r"the answer took over 0\.2 s|no answer"):
        source.token()
    assert drip.hung_up.wait(10)
    assert len(issuer.forms) == 1


def test_a_silent_issuer_is_given_up(issuer: Issuer, source: ClientCredentials, in_a_hurry: None) -> None:
    release = threading.Event()
    issuer.on_discovery = lambda: (200, {}, str(release.wait(10)).encode())
    with pytest.raises(SignInError, match=r"ReadTimeout|took over 0\.2 s"):
        source.token()
    release.set()


def test_what_was_given_up_before_it_was_sent_is_not_sent_later(issuer: Issuer, in_a_hurry: None) -> None:
    release = threading.Event()
    workers: list[threading.Thread] = []

    def stall(request: httpx.Request) -> None:
        if request.method == "POST":
            workers.append(threading.current_thread())
            release.wait(10)

    with httpx.Client(event_hooks={"request": [stall]}) as http:
        with pytest.raises(SignInError, match=r"took over 0\.2 s"):
            RefreshToken(issuer.url, "abc", "refresh-0", http=http).token()
        release.set()
        for worker in workers:
            worker.join(10)
    assert (len(workers), issuer.forms) == (1, [])


def test_without_a_thread_to_be_had_the_request_is_made_all_the_same(
    issuer: Issuer, source: ClientCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(room, "Thread", NoThread)
    assert source.token() == Secret("token-1")


def test_an_http_client_of_the_callers_own_runs_in_the_callers_context(issuer: Issuer) -> None:
    tenant: ContextVar[str] = ContextVar("tenant")
    tenant.set("acme")
    seen: set[str] = set()
    with httpx.Client(event_hooks={"request": [lambda request: seen.add(tenant.get())]}) as http:
        ClientCredentials(issuer.url, "abc", PLAIN, http=http).token()
    assert seen == {"acme"}


# --- many sources of one issuer ---


def connections_to(port: int) -> int:
    """Sockets of this process towards that port which are open, or which only the other side has closed."""
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] in ("01", "08") for row in rows)


def test_many_sources_of_one_issuer_share_its_discovery(issuer: Issuer) -> None:
    sources = [ClientCredentials(issuer.url, f"tenant-{number}", PLAIN) for number in range(50)]
    assert len({source.token().reveal() for source in sources}) == 50
    assert (issuer.discoveries, len(issuer.forms)) == (1, 50)
    RefreshToken(issuer.url, "abc", "refresh-0").token()
    assert issuer.discoveries == 1


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="the list of sockets is Linux's")
def test_no_source_keeps_a_connection_open(issuer: Issuer) -> None:
    issuer.protocol = "HTTP/1.1"  # so that it is the client that has to hang up
    sources = [ClientCredentials(issuer.url, f"tenant-{number}", PLAIN) for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(ClientCredentials.token, sources))) == 20
    assert connections_to(issuer.port) == 0
    with httpx.Client() as kept:
        kept.get(f"{issuer.url}/.well-known/openid-configuration")
        assert connections_to(issuer.port) == 1


def test_http_clients_of_ones_own_share_what_they_found_with_nobody_else(
    issuer: Issuer, source: ClientCredentials
) -> None:
    source.token()
    with httpx.Client() as http:
        for name in ("one", "two"):
            ClientCredentials(issuer.url, name, PLAIN, http=http).token()
    assert (issuer.discoveries, len(issuer.forms)) == (2, 3)


def test_a_discovery_is_believed_for_an_hour(clock: Clock) -> None:
    known = Discoveries(clock)
    known.put("https://a.example", "https://a.example/token")
    clock.now += DISCOVERY_LIFETIME - 1
    assert known.get("https://a.example") == "https://a.example/token"
    clock.now += 1
    assert known.get("https://a.example") is None


def test_discoveries_do_not_pile_up(clock: Clock) -> None:
    known = Discoveries(clock)
    issuers = [f"https://{number}.example" for number in range(MAX_DISCOVERIES + 1)]
    for issuer in issuers:
        known.put(issuer, f"{issuer}/token")
    assert [issuer for issuer in issuers if known.get(issuer)] == issuers[-1:]


@pytest.mark.parametrize("status", [307, 404, 200])
def test_a_discovery_that_failed_is_asked_again_by_the_next_call(
    issuer: Issuer, source: ClientCredentials, status: int
) -> None:
    issuer.on_discovery = lambda: as_json({}, status)
    with pytest.raises(SignInError, match="discovery"):
        source.token()
    issuer.on_discovery = lambda: as_json(issuer.document())
    assert source.token() == Secret("token-1")
    assert issuer.discoveries == 2


# --- an issuer that is down for a moment ---


@pytest.mark.parametrize("status", [429, 500, 503])
def test_client_credentials_are_sent_up_to_three_times(
    issuer: Issuer, source: ClientCredentials, clock: Clock, status: int
) -> None:
    issuer.on_token = lambda number: as_json({}, status) if number < 3 else as_json(issuer.grant(number))
    assert source.token() == Secret("token-3")
    assert clock.slept == [0.1, 0.1]


def test_after_three_times_it_is_a_failure(issuer: Issuer, source: ClientCredentials) -> None:
    issuer.on_token = lambda number: as_json({}, 503)
    with pytest.raises(SignInError, match="HTTP 503"):
        source.token()
    assert len(issuer.forms) == 3


def test_the_pauses_are_spread(issuer: Issuer, clock: Clock) -> None:
    fractions = iter([0.25, 1.0, 0.0])
    issuer.on_token = lambda number: as_json({}, 503) if number < 3 else as_json(issuer.grant(number))
    issuer.on_discovery = lambda: as_json(issuer.document())
    spread = ClientCredentials(issuer.url, "abc", PLAIN, clock=clock, sleep=clock.sleep, jitter=lambda: next(fractions))
    SHARED.put(issuer.url, f"{issuer.url}/oauth/v2/token")
    spread.token()
    assert clock.slept == [0.2, 0.5]


def test_a_discovery_is_tried_again_too(issuer: Issuer, source: ClientCredentials) -> None:
    issuer.on_discovery = lambda: as_json({}, 503) if issuer.discoveries < 3 else as_json(issuer.document())
    assert source.token() == Secret("token-1")
    assert issuer.discoveries == 3


def test_an_issuer_that_comes_up_meanwhile_is_found(clock: Clock) -> None:
    with ExitStack() as stack:
        reserved = stack.enter_context(socket.socket())
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]

        def sleep(seconds: float) -> None:
            reserved.close()
            stack.enter_context(running_issuer(port))

        source = ClientCredentials(f"http://127.0.0.1:{port}", "abc", PLAIN, clock=clock, sleep=sleep)
        assert source.token() == Secret("token-1")


def test_an_issuer_that_is_not_trusted_is_not_asked_again(issuer: Issuer, clock: Clock, tmp_path: Path) -> None:
    known = authority()
    url = over_tls(issuer, known, tmp_path)
    source = ClientCredentials(url, "abc", PLAIN, clock=clock, sleep=clock.sleep)
    with pytest.raises(SignInError, match=r"no connection: .*CERTIFICATE_VERIFY_FAILED"):
        source.token()
    assert clock.slept == []
    trusted = ssl.create_default_context(cadata=known.pem.decode())
    with httpx.Client(verify=trusted) as http:
        assert ClientCredentials(url, "abc", PLAIN, http=http).token() == Secret("token-1")


def over_tls(issuer: Issuer, known: Authority, folder: Path) -> str:
    """Have the issuer speak TLS from now on; its new URL."""
    for name, pem in zip(("key", "chain"), known.issue("localhost"), strict=True):
        (folder / name).write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain", folder / "key")
    issuer.server.socket = context.wrap_socket(issuer.server.socket, server_side=True)
    issuer.url = f"https://localhost:{issuer.port}"
    return issuer.url


@pytest.mark.parametrize(
    ("asked", "slept"), [("0", [0.1]), ("5", [5.1]), ("6", []), ("Wed, 21 Oct 2015 07:28:00 GMT", [0.1]), ("-1", [0.1])]
)
def test_a_short_retry_after_is_waited_for_and_a_long_one_is_a_failure(
    issuer: Issuer, source: ClientCredentials, clock: Clock, asked: str, slept: list[float]
) -> None:
    issuer.on_token = lambda number: (503, {"retry-after": asked}, b"") if number < 2 else as_json(issuer.grant(number))
    if slept:
        source.token()
    else:
        with pytest.raises(SignInError, match="try again later"):
            source.token()
    assert clock.slept == slept


def test_all_tries_together_take_ten_seconds_at_most(issuer: Issuer, source: ClientCredentials, clock: Clock) -> None:
    issuer.on_token = lambda number: (503, {"retry-after": "5"}, b"")
    with pytest.raises(SignInError):
        source.token()
    assert len(issuer.forms) == 2
    assert sum(clock.slept) < 10


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_not_tried_again(issuer: Issuer, source: ClientCredentials, status: int) -> None:
    issuer.on_token = lambda number: as_json({}, status)
    with pytest.raises(SignInError):
        source.token()
    assert len(issuer.forms) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_refresh_token_is_sent_once(issuer: Issuer, clock: Clock, status: int) -> None:
    issuer.on_token = lambda number: as_json({}, status)
    with pytest.raises(SignInError):
        RefreshToken(issuer.url, "abc", "refresh-0", clock=clock).token()
    assert len(issuer.forms) == 1


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


def test_a_closed_http_client_of_the_callers_own_shows_no_secret(issuer: Issuer) -> None:
    http = httpx.Client()
    source = ClientCredentials(issuer.url, "abc", PLAIN, http=http)
    source.token()
    http.close()
    with pytest.raises(SignInError, match="no answer: RuntimeError") as caught:
        source.token(force=True)
    assert "cl1ent" not in text_with_locals(caught.value)
