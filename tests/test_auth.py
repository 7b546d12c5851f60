"""When tokens are renewed, who waits for whom, and what shows no secret. Against a real HTTP server on loopback."""

import logging
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from auth_issuer import PLAIN, Clock, Issuer, Reply, as_json, never, running_issuer, text_with_locals

from invora_grpc import renewal
from invora_grpc.auth import ClientCredentials, RefreshToken
from invora_grpc.config import Secret
from invora_grpc.errors import SignInError


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
    issuer.on_token = lambda number: as_json({}, 400) if number == 1 else as_json(issuer.grant(number))
    with pytest.raises(SignInError):
        source.token()
    assert source.token() == Secret("token-2")


@pytest.mark.parametrize(("lifetime", "due"), [(43_200, 38_580), (600, 240), (60, 24)])
def test_renewal_is_up_to_a_tenth_of_the_life_earlier(issuer: Issuer, clock: Clock, lifetime: int, due: int) -> None:
    issuer.on_token = lambda number: as_json(issuer.grant(number, expires_in=lifetime))
    source = ClientCredentials(issuer.url, "abc", PLAIN, clock=clock, jitter=lambda: 1.0)
    source.token()
    clock.now = 1000.0 + due - 1
    assert source.token() == Secret("token-1")
    clock.now = 1000.0 + due
    assert source.token() == Secret("token-2")


def test_a_fleet_that_started_together_does_not_renew_together(issuer: Issuer, clock: Clock) -> None:
    chance = random.Random(1)
    fleet = [ClientCredentials(issuer.url, "abc", PLAIN, clock=clock, jitter=chance.random) for _ in range(20)]
    for one in fleet:
        one.token()
    clock.now += 42_900 - 4_320 / 2
    assert 5 <= sum(one.peek() is None for one in fleet) <= 15


def test_the_times_inside_of_a_token_do_not_count(issuer: Issuer, source: ClientCredentials, clock: Clock) -> None:
    ended_long_ago = "eyJhbGciOiJub25lIn0.eyJpYXQiOjAsImV4cCI6MX0."
    issuer.on_token = lambda number: as_json(issuer.grant(number, access_token=ended_long_ago))
    source.token()
    clock.now += 42_000
    assert source.token() == source.peek() == Secret(ended_long_ago)
    assert len(issuer.forms) == 1


def test_the_life_of_a_token_counts_from_when_it_was_asked_for(
    issuer: Issuer, source: ClientCredentials, clock: Clock
) -> None:
    def slow(number: int) -> Reply:
        clock.now += 4
        return as_json(issuer.grant(number, expires_in=100))

    issuer.on_token = slow
    source.token()
    clock.now = 1000.0 + 99.9
    assert source.meanwhile() == Secret("token-1")
    clock.now = 1000.0 + 100
    assert source.meanwhile() is None


# --- looking before asking ---


def test_there_is_nothing_to_peek_at_before_the_first_token(issuer: Issuer, source: ClientCredentials) -> None:
    assert source.peek() is None
    assert issuer.discoveries == 0


def test_a_good_token_can_be_peeked_at_until_it_is_due(issuer: Issuer, source: ClientCredentials, clock: Clock) -> None:
    source.token()
    clock.now = 1000.0 + 42_899
    assert source.peek() == Secret("token-1")
    clock.now += 1
    assert source.peek() is None
    assert source.meanwhile() == Secret("token-1")


def test_after_a_failed_early_renewal_the_good_token_can_be_peeked_at_until_the_next_try(
    issuer: Issuer, source: ClientCredentials, clock: Clock
) -> None:
    issuer.on_token = lambda number: as_json(issuer.grant(number, expires_in=12)) if number == 1 else (503, {}, b"")
    source.token()
    clock.now += 6
    source.token()
    clock.now += 5.9
    assert source.peek() == Secret("token-1")
    clock.now += 0.1
    assert source.peek() is None


def test_peeking_waits_for_no_lock(issuer: Issuer) -> None:
    inside, release = threading.Event(), threading.Event()

    def clock() -> float:
        if threading.current_thread() is stuck:
            inside.set()
            release.wait(10)
        return 0.0

    source = ClientCredentials(issuer.url, "abc", PLAIN, clock=clock)
    stuck = threading.Thread(target=source.token)
    source.token()
    stuck.start()
    assert inside.wait(10)
    try:
        assert source.peek() == Secret("token-1")
    finally:
        release.set()
        stuck.join(10)


# --- threads ---


def test_200_threads_with_an_expired_token_cause_one_request(
    issuer: Issuer, source: ClientCredentials, clock: Clock
) -> None:
    barrier = threading.Barrier(200)
    source.token()
    clock.now += 43_200

    def one() -> Secret:
        barrier.wait(10)
        return source.token()

    with ThreadPoolExecutor(200) as pool:
        tokens = {future.result(20) for future in [pool.submit(one) for _ in range(200)]}
    assert tokens == {Secret("token-2")}
    assert len(issuer.forms) == 2


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

    monkeypatch.setattr(renewal, "Event", Observed)
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
        assert source.token() == source.peek() == Secret("token-1")
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
