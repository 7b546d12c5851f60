"""Acting as a user of another organization: against the sandbox, and against a gateway that says what it is told."""

import gc
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from auth_issuer import Clock, never, text_with_locals
from conftest import client_of
from gateway import Gateway, running_gateway
from sandbox_fixture import Running

from invora_api.identity.v2.impersonation_service_pb2 import BeginImpersonationResponse
from invora_grpc import ClosedError, Invora, NotFound, PermissionDenied, SignInError, Unauthenticated, renewal
from invora_grpc.auth import Impersonation
from invora_grpc.config import Secret
from invora_grpc.errors import ConfigError

BEGIN = "/invora.identity.v2.ImpersonationService/BeginImpersonation"
END = "/invora.identity.v2.ImpersonationService/EndImpersonation"


class Child:
    """A connected business of the sandbox's platform, and its own user."""

    def __init__(self, owner: Invora) -> None:
        made = owner.identity.connected_business.create_connected_business(name="Child", admin_email="a@child.example")
        self.user_id, self.org_id = made.client_id, made.connected_business.tenant_id


# --- with the sandbox ---


@pytest.mark.parametrize("named", [True, False], ids=["in a named organization", "wherever the user is at home"])
def test_an_impersonation_acts_as_the_user_until_it_ends(owner: Invora, named: bool) -> None:
    child = Child(owner)
    with Impersonation(owner, child.user_id, child.org_id if named else None) as them:
        theirs = owner.with_options(tokens=them)
        assert theirs.identity.public_registration.get_onboarding_status().tenant_id == child.org_id
        last = them.token()
    with pytest.raises(Unauthenticated):
        owner.with_options(tokens=_Fixed(last)).identity.public_registration.get_onboarding_status()
    with pytest.raises(ClosedError, match="has ended; make a new Impersonation"):
        theirs.identity.public_registration.get_onboarding_status()


def test_an_impersonation_ends_also_for_a_client_that_is_bound_to_its_own_organization(
    sandbox: Running, owner: Invora
) -> None:
    child = Child(owner)
    them = Impersonation(owner.for_org(sandbox.org_id), child.user_id)
    last = them.token()
    them.end()
    with pytest.raises(Unauthenticated):
        owner.with_options(tokens=_Fixed(last)).identity.public_registration.get_onboarding_status()


def test_what_the_gateway_refuses_passes_through(sandbox: Running, owner: Invora) -> None:
    with pytest.raises(NotFound) as caught:
        Impersonation(owner, "nobody").token()
    assert caught.value.method == BEGIN
    own = sandbox.credentials
    user_id = Child(owner).user_id
    with (
        client_of(sandbox, own.viewer_client_id, own.viewer_client_secret) as viewer,
        pytest.raises(PermissionDenied, match=r"Invora\.Admin\.Impersonate"),
    ):
        Impersonation(viewer, user_id).token()


class _Fixed:
    """A token that is never renewed, as long as it was."""

    describe = "a fixed token"

    def __init__(self, token: Secret) -> None:
        self._token = token

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        return self._token


# --- with a gateway that does as it is told ---


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running_gateway() as gateway:
        gateway.answers[BEGIN] = lambda request, context: begun(len(of(gateway, BEGIN)))
        yield gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Invora]:
    with Invora(endpoint=gateway.url, token="own-token", timeout=10) as client:
        yield client


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def them(client: Invora, clock: Clock) -> Impersonation:
    return Impersonation(client, "user-1", "org-1", clock=clock, jitter=never)


def begun(number: int, **changes: Any) -> BeginImpersonationResponse:
    told = {"access_token": f"theirs-{number}", "expires_in": 900, "token_type": "Bearer", "target_org_id": "org-1"}
    return BeginImpersonationResponse(**{**told, **changes})


def of(gateway: Gateway, path: str) -> list[Any]:
    return [one for one in gateway.received if one.path == path]


def test_it_asks_for_the_user_and_the_organization_as_oneself(gateway: Gateway, them: Impersonation) -> None:
    assert them.token() == them.token() == them.peek() == Secret("theirs-1")
    (asked,) = of(gateway, BEGIN)
    assert (asked.request.target_user_id, asked.request.target_org_id) == ("user-1", "org-1")
    assert asked.metadata["authorization"] == "Bearer own-token"
    assert them.describe == "impersonation of 'user-1' in org-1"


def test_without_an_organization_none_is_asked_for(gateway: Gateway, client: Invora) -> None:
    them = Impersonation(client, "user-1")
    them.token()
    assert not of(gateway, BEGIN)[0].request.HasField("target_org_id")
    assert them.describe == "impersonation of 'user-1'"


def test_it_begins_again_ahead_of_its_end(gateway: Gateway, them: Impersonation, clock: Clock) -> None:
    them.token()
    clock.now += 599
    assert them.token() == Secret("theirs-1")
    clock.now += 1
    assert them.peek() is None
    assert them.token() == Secret("theirs-2")


def test_100_threads_begin_once(gateway: Gateway, them: Impersonation) -> None:
    barrier = threading.Barrier(100)

    def one() -> Secret:
        barrier.wait(10)
        return them.token()

    with ThreadPoolExecutor(100) as pool:
        tokens = {future.result(20) for future in [pool.submit(one) for _ in range(100)]}
    assert tokens == {Secret("theirs-1")}
    assert len(of(gateway, BEGIN)) == 1


def test_those_who_wait_share_a_refusal(gateway: Gateway, them: Impersonation, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, release = threading.Semaphore(0), threading.Event()

    class Observed(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waiting.release()
            return super().wait(timeout)

    def refuse(request: Any, context: grpc.ServicerContext) -> Any:
        release.wait(10)
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")

    monkeypatch.setattr(renewal, "Event", Observed)
    gateway.answers[BEGIN] = refuse
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(them.token) for _ in range(8)]
        assert all(waiting.acquire(timeout=10) for _ in range(7))
        release.set()
        failures = [future.exception(20) for future in futures]
    assert {type(failure) for failure in failures} == {PermissionDenied}
    assert len({id(failure) for failure in failures}) == 8
    assert len(of(gateway, BEGIN)) == 1


def test_ending_it_is_a_call_of_the_user(gateway: Gateway, them: Impersonation) -> None:
    them.token()
    them.end()
    (ended,) = of(gateway, END)
    assert ended.metadata["authorization"] == "Bearer theirs-1"
    assert ended.metadata["x-target-org-id"] == "org-1"
    assert them.peek() is None


def test_what_has_not_begun_or_is_over_needs_no_end(
    gateway: Gateway, client: Invora, them: Impersonation, clock: Clock
) -> None:
    Impersonation(client, "user-2").end()
    them.token()
    clock.now += 900
    them.end()
    them.end()
    assert of(gateway, END) == []


def test_an_end_waits_for_a_beginning_that_is_under_way(gateway: Gateway, them: Impersonation) -> None:
    asked, release = threading.Event(), threading.Event()

    def slow(request: Any, context: grpc.ServicerContext) -> Any:
        asked.set()
        release.wait(10)
        return begun(1)

    gateway.answers[BEGIN] = slow
    with ThreadPoolExecutor(2) as pool:
        beginning = pool.submit(them.token)
        assert asked.wait(10)
        ending = pool.submit(them.end)
        release.set()
        assert beginning.result(10) == Secret("theirs-1")
        ending.result(10)
    assert [one.metadata["authorization"] for one in of(gateway, END)] == ["Bearer theirs-1"]


@pytest.mark.parametrize("value", ["", "a b", "a\nb", "ä"])
def test_ids_that_cannot_be_right_are_refused(client: Invora, value: str) -> None:
    with pytest.raises(ConfigError, match="user_id"):
        Impersonation(client, value)
    with pytest.raises(ConfigError, match="org_id"):
        Impersonation(client, "user-1", value)


@pytest.mark.parametrize(
    "changes",
    [{"token_type": "mac"}, {"token_type": ""}, {"expires_in": 0}, {"access_token": "theirs-1 "}, {"expires_in": -1}],
    ids=repr,
)
def test_an_answer_with_anything_odd_is_refused_and_not_shown(
    gateway: Gateway, them: Impersonation, changes: dict[str, Any]
) -> None:
    gateway.answers[BEGIN] = lambda request, context: begun(1, **changes)
    with pytest.raises(SignInError, match=r"sign-in at the gateway \(impersonation\): the answer") as caught:
        them.token()
    assert "theirs-1" not in text_with_locals(caught.value)


def test_the_answer_with_the_plain_token_is_not_kept(
    gateway: Gateway, them: Impersonation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    them.token()
    gateway.received.clear()
    until = time.monotonic() + 10  # the server is in this process too, and lets go of its answer in its own time
    while kept := [one for one in gc.get_objects() if isinstance(one, BeginImpersonationResponse)]:
        assert time.monotonic() < until, kept
        del kept
        gc.collect()
    assert "theirs-1" not in f"{caplog.text} {them!r} {vars(them)!r}"
