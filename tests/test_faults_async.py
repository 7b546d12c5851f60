"""The commit matrix once more, for the asynchronous client: every RPC that changes something, and every lost reply."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from commit_world import AFTER, BEFORE, CHANGING, KEYED, QUICK, World, a_sandbox, judge, named, prepare
from fault_proxy import FROZEN_AFTER, Fault

from invora_grpc import AsyncInvora, OutcomeUnknown, RpcError
from invora_grpc.catalog import Method


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with a_sandbox() as made:
        yield made


async def outcome_of(world: World, client: AsyncInvora, method: Method, fault: Fault, fields: dict[str, Any]) -> Any:
    """The response or the error of a call whose first try has this fate."""
    world.proxy.script()
    await client.identity.public_registration.get_onboarding_status()  # a connection that lives
    while not world.proxy.happened.empty():
        world.proxy.happened.get()
    world.executed.clear()
    world.effects.clear()
    world.proxy.script(fault)
    try:
        return await getattr(client.service(method.service), method.rpc)(fields)
    except RpcError as error:
        return error
    finally:
        assert world.proxy.happened.get(timeout=5) == fault


@pytest.mark.parametrize("fault", [*BEFORE, *AFTER], ids=named)
def test_every_rpc_has_at_most_one_effect_and_an_outcome_that_says_what_is_known(world: World, fault: Fault) -> None:
    async def run() -> None:
        for method in CHANGING:
            prepared = prepare(world, method)
            token = prepared.token or world.running.token()
            async with AsyncInvora(endpoint=world.proxy.url, token=token, timeout=10) as client:
                own = client.with_options(retry=QUICK)
                outcome = await outcome_of(world, own, method, fault, prepared.fields)
            judge(world, method, outcome)
            if method not in KEYED:
                assert world.executed.count(method.path) == len(world.effects)
            else:
                assert not isinstance(outcome, RpcError), outcome
            if method not in KEYED and fault in AFTER:
                assert isinstance(outcome, OutcomeUnknown), outcome

    asyncio.run(run())


def test_a_create_whose_task_was_cancelled_is_made_once_when_it_is_repeated(world: World) -> None:
    """Cancelled after the server has done it; the same request without a key then resumes the call in doubt."""

    async def run() -> None:
        async with AsyncInvora(endpoint=world.proxy.url, token=world.running.token(), timeout=10) as client:
            create = client.with_options(retry=QUICK).invoicing.parties.create
            fields = prepare(world, create.method).fields
            fields.pop("key")
            world.proxy.script()
            await client.identity.public_registration.get_onboarding_status()
            world.effects.clear()
            world.proxy.script(FROZEN_AFTER)
            lost = asyncio.ensure_future(create(fields))
            assert await asyncio.to_thread(world.proxy.happened.get, timeout=5) == FROZEN_AFTER
            lost.cancel()
            with pytest.raises(asyncio.CancelledError):
                await lost
            world.proxy.cut()
            answer = await create(fields)
            assert [effect.response for effect in world.effects] == [answer]

    asyncio.run(run())
