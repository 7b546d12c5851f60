"""Money is moved once: every RPC of the catalog that the sandbox serves and that changes something, times every way to
lose its reply. At most one effect, and an outcome that says what is known.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from commit_world import (
    AFTER,
    BEFORE,
    CHANGING,
    KEYED,
    NO_READS,
    PROPOSALS,
    QUICK,
    SERVED,
    WITH_KEY_FIELD,
    WRITES,
    World,
    a_sandbox,
    judge,
    named,
    prepare,
)
from fault_proxy import (
    INTERNAL_ERROR,
    PASS,
    REFUSED_STREAM,
    REPLY_LOST,
    RESET_BEFORE,
    TORN_REPLY,
    Fault,
    rst_after,
    rst_before,
)

from invora_grpc import AlreadyExists, Invora, OutcomeUnknown, RpcError, Unavailable
from invora_grpc.catalog import Method


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with a_sandbox() as made:
        yield made


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[Invora]:
    with client_with(world, world.running.token()) as made:
        yield made


def client_with(world: World, token: str) -> Invora:
    return Invora(endpoint=world.proxy.url, token=token, timeout=10)


def rpc_of(client: Invora, method: Method) -> Any:
    return getattr(client.service(method.service), method.rpc)


def outcome_of(world: World, client: Invora, method: Method, fault: Fault, fields: dict[str, Any]) -> Any:
    """The response or the error of a call whose first try has this fate."""
    world.proxy.script()
    client.with_options(retry=QUICK).identity.public_registration.get_onboarding_status()  # a connection that lives
    while not world.proxy.happened.empty():
        world.proxy.happened.get()
    world.executed.clear()
    world.effects.clear()
    world.proxy.script(fault)
    try:
        return rpc_of(client, method)(fields)
    except RpcError as error:
        return error
    finally:
        assert world.proxy.happened.get(timeout=5) == fault


def perform(world: World, client: Invora, method: Method, fault: Fault) -> Any:
    """The outcome of a request that would have succeeded, judged by the rules that hold for every RPC."""
    prepared = prepare(world, method)
    if prepared.token is None:
        outcome = outcome_of(world, client.with_options(retry=QUICK), method, fault, prepared.fields)
    else:
        with client_with(world, prepared.token) as own:
            outcome = outcome_of(world, own.with_options(retry=QUICK), method, fault, prepared.fields)
    judge(world, method, outcome)
    return outcome


@pytest.mark.parametrize("fault", [*BEFORE, *AFTER], ids=named)
@pytest.mark.parametrize("method", KEYED, ids=lambda m: m.attribute)
def test_a_create_with_a_key_succeeds_and_is_carried_out_once(
    world: World, client: Invora, method: Method, fault: Fault
) -> None:
    outcome = perform(world, client, method, fault)
    assert not isinstance(outcome, RpcError), outcome
    assert len(world.effects) == 1


@pytest.mark.parametrize("fault", AFTER, ids=named)
@pytest.mark.parametrize("method", WRITES, ids=lambda m: m.attribute)
def test_a_write_that_was_carried_out_is_not_sent_again_and_its_outcome_is_unknown(
    world: World, client: Invora, method: Method, fault: Fault
) -> None:
    outcome = perform(world, client, method, fault)
    assert isinstance(outcome, OutcomeUnknown)
    assert world.executed.count(method.path) == len(world.effects) == 1


@pytest.mark.parametrize("fault", BEFORE, ids=named)
@pytest.mark.parametrize("method", WRITES, ids=lambda m: m.attribute)
def test_a_write_whose_request_was_lost_is_never_reported_as_done(
    world: World, client: Invora, method: Method, fault: Fault
) -> None:
    outcome = perform(world, client, method, fault)
    if world.effects == []:
        assert isinstance(outcome, RpcError)
    assert world.executed.count(method.path) == len(world.effects)


@pytest.mark.parametrize("fault", AFTER, ids=named)
@pytest.mark.parametrize("method", PROPOSALS, ids=lambda m: m.attribute)
def test_what_only_has_the_name_of_a_write_changes_nothing_and_is_not_sent_again_either(
    world: World, client: Invora, method: Method, fault: Fault
) -> None:
    prepared = prepare(world, method)
    outcome = outcome_of(world, client.with_options(retry=QUICK), method, fault, prepared.fields)
    assert isinstance(outcome, OutcomeUnknown)
    assert world.effects == []
    assert world.executed.count(method.path) == 1


@pytest.mark.parametrize("fault", [RESET_BEFORE, REPLY_LOST, TORN_REPLY], ids=named)
@pytest.mark.parametrize("method", WITH_KEY_FIELD, ids=lambda m: m.attribute)
def test_a_create_without_a_key_gets_one_before_it_is_first_sent(
    world: World, client: Invora, method: Method, fault: Fault
) -> None:
    fields = prepare(world, method).fields
    fields.pop("key")
    outcome = outcome_of(world, client.with_options(retry=QUICK), method, fault, fields)
    assert not isinstance(outcome, RpcError), outcome
    (effect,) = world.effects
    assert effect.response == outcome
    request: Any = effect.request
    assert request.key == outcome.details.id.key != ""


@pytest.mark.parametrize("method", KEYED, ids=lambda m: m.attribute)
def test_without_retries_a_create_whose_request_was_lost_can_be_repeated_under_its_key(
    world: World, client: Invora, method: Method
) -> None:
    fields = prepare(world, method).fields
    once = client.with_options(retry=False)
    outcome = outcome_of(world, once, method, RESET_BEFORE, fields)
    assert isinstance(outcome, OutcomeUnknown) and world.effects == []
    assert looked_up(outcome).happened is None, "it may still land"
    answer = rpc_of(once, method)(fields)
    assert [effect.response for effect in world.effects] == [answer]


@pytest.mark.parametrize("fault", AFTER, ids=named)
@pytest.mark.parametrize("method", KEYED, ids=lambda m: m.attribute)
def test_without_retries_a_create_whose_reply_was_lost_is_read_back(
    world: World, client: Invora, method: Method, fault: Fault
) -> None:
    outcome = outcome_of(world, client.with_options(retry=False), method, fault, prepare(world, method).fields)
    if isinstance(outcome, OutcomeUnknown):
        found = looked_up(outcome)
        assert found.happened is True
        outcome = found.response
    assert [effect.response for effect in world.effects] == [outcome]


@pytest.mark.parametrize("fault", [RESET_BEFORE, REPLY_LOST], ids=named)
@pytest.mark.parametrize("method", [m for m in WRITES if m.module != "identity"], ids=lambda m: m.attribute)
def test_looking_at_the_record_of_a_write_never_claims_what_it_cannot_tell(
    world: World, client: Invora, method: Method, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long after the call, too, when nothing can land any more: a record does not tell which call made it so."""
    late = 0.0
    monkeypatch.setattr(client._connection, "clock", lambda: time.monotonic() + late)
    outcome = outcome_of(world, client.with_options(retry=QUICK), method, fault, prepare(world, method).fields)
    assert isinstance(outcome, OutcomeUnknown)
    if not outcome.keys:
        return
    assert looked_up(outcome).happened in (None, bool(world.effects))
    late = 3600.0
    assert looked_up(outcome).happened in (None, bool(world.effects))


def looked_up(outcome: OutcomeUnknown) -> Any:
    """What reconcile() finds once the broken connection has been noticed."""
    for _ in range(50):
        with suppress(Unavailable):
            return outcome.reconcile()
        time.sleep(0.05)
    raise AssertionError("no look-up succeeds")


def test_a_create_that_exists_by_now_and_cannot_be_read_back_is_not_reported_as_refused(
    world: World, client: Invora
) -> None:
    """The reply is lost, the second try meets its own record, and reading that back fails as well."""
    create = client.with_options(retry=QUICK).invoicing.parties.create
    fields = prepare(world, create.method).fields
    world.proxy.script()
    client.identity.public_registration.get_onboarding_status()
    world.effects.clear()
    lost = rst_after(INTERNAL_ERROR)
    world.proxy.script(lost, PASS, *[lost] * QUICK.tries)
    try:
        answer = create(fields)
    except OutcomeUnknown as unknown:
        world.proxy.script()
        answer = looked_up(unknown).response
    assert [effect.response for effect in world.effects] == [answer]


@pytest.mark.parametrize("fault", [RESET_BEFORE, rst_before(INTERNAL_ERROR)], ids=named)
def test_a_second_try_that_meets_somebody_elses_record_is_refused(world: World, client: Invora, fault: Fault) -> None:
    """The key is taken by other content: that is no success of this call, and nothing came of it."""
    create = client.invoicing.parties.create
    fields = prepare(world, create.method).fields
    world.call(create.method.path, key=fields["key"], changes={"name": {"assignments": [{"value": "Somebody else"}]}})
    outcome = outcome_of(world, client.with_options(retry=QUICK), create.method, fault, fields)
    assert isinstance(outcome, AlreadyExists)
    assert world.effects == []


@pytest.mark.parametrize("said", [{"freeze_immediately": True}, {"auto_calculate": True}], ids=str)
def test_a_document_in_xml_that_was_rewritten_when_it_was_stored_is_not_reported_as_refused(
    world: World, client: Invora, said: dict[str, bool]
) -> None:
    """Stamped or calculated, it differs from what was sent: "use another key" would issue it twice."""
    create = client.with_options(retry=QUICK).invoicing.documents.create
    fields = prepare(world, create.method).fields
    outcome = outcome_of(world, client.with_options(retry=QUICK), create.method, REPLY_LOST, fields | said)
    judge(world, create.method, outcome)
    assert isinstance(outcome, OutcomeUnknown)
    (effect,) = world.effects
    found = looked_up(outcome)
    assert (found.happened, found.record.details) == (None, effect.response.details)
    with client_with(world, world.running.token()) as other, pytest.raises(AlreadyExists):
        rpc_of(other, create.method)(fields | said)


def test_a_look_up_is_made_again_as_any_read_is(world: World, client: Invora) -> None:
    create = client.with_options(retry=QUICK).invoicing.parties.create
    fields = prepare(world, create.method).fields
    world.proxy.script()
    client.identity.public_registration.get_onboarding_status()
    world.effects.clear()
    world.proxy.script(rst_after(INTERNAL_ERROR), PASS, rst_before(REFUSED_STREAM), rst_before(REFUSED_STREAM))
    answer = create(fields)
    assert [effect.response for effect in world.effects] == [answer]


def test_the_matrix_holds_every_rpc_that_changes_something() -> None:
    assert len(CHANGING) >= 98 and len(KEYED) >= 12
    assert {method.module for method in CHANGING} == {"billing", "identity", "invoicing", "simple"}
    words = {method.rpc.partition("_")[0] for method in SERVED if method not in NO_READS}
    assert words <= {"get", "list", "applied", "validate", "calculate", "explain"}, words
