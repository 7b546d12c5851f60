"""A family of gateways whose schemas have drifted from the stubs: not one value is misplaced.

500 pairs of schemas, every RPC of each called over the wire, with each policy that looks at them; what comes of
not looking is shown on some. One in five is called through the asynchronous client. What has to come of a call is told
by `drifted_truth`, which knows the two schemas as plain data and compares by names.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from door import AsyncDoor, Door
from drifted import World
from drifted_calls import Said, Shard, calls, sharded
from drifted_truth import UNKNOWN, conflicts, crowded, must_go_through, named, undescribed, without_defaults
from drifting import MUTATIONS, family

from invora_grpc import SchemaDriftError

COUNT = 500
SHARDS = 5
"""No factor of the number of mutations, so that each part has all of them."""
ASYNC = 3
"""The part that goes through the asynchronous client."""
RELOCATIONS = ("rename_service", "rename_call", "move_call")
NEUTRAL = ("lay_out", "dress", "add_call")
PAIRS = list(family(COUNT))


@pytest.fixture(scope="module", params=range(SHARDS))
def shard(request: pytest.FixtureRequest) -> Iterator[Shard]:
    """Each part of the family in turn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("INVORA_CACHE_DIR", raising=False)
        door = AsyncDoor() if request.param == ASYNC else Door()
        with sharded(door, PAIRS[request.param :: SHARDS]) as made:
            yield made


def final(said: Said) -> list[str]:
    """Why an RPC can have no call at all."""
    ours, theirs = said.pair
    served = theirs.calls.get(said.identity)
    if served is None:
        return ["it is gone"]
    if served.streaming != said.call.streaming:
        return ["its kind is another"]
    return conflicts(said.call, ours, theirs)


def open_to_doubt(said: Said) -> bool:
    """Whether a client may as well refuse, though a call could be made."""
    ours, theirs = said.pair
    story = [line.partition(":")[0] for line in (*ours.story, *theirs.story)]
    moved = (
        theirs.calls[said.identity].service != said.call.service or theirs.calls[said.identity].name != said.call.name
    )
    elsewhere = moved and len([name for name in story if name not in NEUTRAL]) > 1
    renamed = "rename_type" in story and len(story) > 1
    return elsewhere or renamed or crowded(said.call, ours, theirs) or undescribed(said.call, ours, theirs)


# --- the family ---------------------------------------------------------------------------------------------------


def test_there_are_at_least_500_pairs_of_schemas_and_everything_happens_to_many_of_them() -> None:
    stories = [tuple(ours.story or theirs.story) for ours, theirs in PAIRS]
    assert len({_described(pair) for pair in PAIRS}) == COUNT >= 500
    happened = Counter(line.partition(":")[0] for story in stories for line in story)
    assert set(happened) == set(MUTATIONS)
    assert min(happened.values()) >= COUNT // len(MUTATIONS)
    assert sum(len(story) > 1 for story in stories) > COUNT // 4
    assert sum(bool(ours.story) for ours, _ in PAIRS) > COUNT // 5


def _described(pair: tuple[World, World]) -> bytes:
    return b"".join(file.SerializeToString(deterministic=True) for world in pair for file in world.files())


def test_the_family_is_the_same_every_time() -> None:
    assert [str(pair) for pair in family(40)] == [str(pair) for pair in PAIRS[:40]]


# --- adapt --------------------------------------------------------------------------------------------------------


def test_adapt_brings_every_value_to_its_own_name_or_refuses_before_anything_is_sent(shard: Shard) -> None:
    seen: Counter[str] = Counter()
    for said in calls(shard, "adapt"):
        assert said.failure is None, str(said)
        if said.refusal is not None:
            seen["refused"] += 1
            _was_not_misread(said)
            assert final(said) or said.lost or said.unsure or open_to_doubt(said), f"needlessly refused: {said}"
            continue
        seen["carried"] += 1
        assert not final(said), f"{said} must not be sent: {final(said)}"
        assert not said.lost, f"{said} lost {said.lost}"
        (heard,) = said.heard
        assert heard.identity == said.identity, str(said)
        assert heard.requests == [one.value for one in said.wanted], str(said)
        assert said.got == said.answers, str(said)
    assert seen["carried"] > len(shard.pairs)
    assert seen["refused"] > len(shard.pairs) // 4


def _was_not_misread(said: Said) -> None:
    """What is refused was not sent; of a stream, what was sent before is as it has to be."""
    if said.call.streaming in ("client", "bidi") and not final(said):
        for heard in said.heard:
            assert heard.identity == said.identity
            assert heard.requests == [one.value for one in said.wanted[: len(heard.requests)]], str(said)
            assert len(heard.requests) < len(said.requests)
    else:
        assert said.heard == [], str(said)


def test_what_only_the_gateway_knows_comes_back_to_it_from_a_message_that_was_read(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, gateway, client, rng = shard.door, shard.running.gateway, shard.client("adapt"), random.Random("back")
    monkeypatch.setattr(gateway, "answer", lambda side, call, heard: side.random(rng, call.response, 0.6, strange=()))
    returned = kept = 0
    for pair in shard.pairs:
        ours, theirs = pair.pair
        if not (_exchanges_plans(ours) and _exchanges_plans(theirs)):
            continue
        area = client.service(f"{ours.package}.{ours.calls['Exchange'].service}", schema=pair.stubs)
        try:
            read = door.call(area.exchange)
            (heard,) = gateway.taken(theirs.package)
            if "plan" not in heard.answers[0]:
                continue
            door.call(area.exchange, plan=read.plan)
        except SchemaDriftError as error:
            zero = "is set to its default" in str(error)  # an enum value that is the gateway's zero
            assert "request." not in str(error) or zero, f"{ours.story} {theirs.story} {error}"
            continue
        (again,) = gateway.taken(theirs.package)
        told = f"{ours.package} {theirs.story or ours.story}"
        assert without_defaults(again.requests[0].get("plan")) == without_defaults(heard.answers[0]["plan"]), told
        returned += 1
        kept += UNKNOWN in str(named(read))
    assert returned > len(shard.pairs) // 5
    assert kept > 0


def _exchanges_plans(world: World) -> bool:
    call = world.calls.get("Exchange")
    plans = [world.records[record].fields.get("plan") for record in ("ExchangeRequest", "ExchangeResponse")]
    return (
        call is not None and not call.streaming and all(one and (one.of, one.label) == ("Plan", "one") for one in plans)
    )


# --- verify -------------------------------------------------------------------------------------------------------


def test_verify_sends_only_what_the_gateway_reads_as_it_was_meant(shard: Shard) -> None:
    seen: Counter[str] = Counter()
    for said in calls(shard, "verify"):
        assert said.failure is None, str(said)
        if said.refusal is not None:
            seen["refused"] += 1
            assert said.heard == [], str(said)
            assert not must_go_through(said.call, *said.pair), f"needlessly refused: {said}"
            continue
        seen["sent"] += 1
        assert not final(said), f"{said} must not be sent: {final(said)}"
        assert not said.lost, f"{said} lost {said.lost}"
        (heard,) = said.heard
        assert heard.identity == said.identity, str(said)
        assert heard.requests == [one.value for one in said.wanted], str(said)
        assert said.got == said.answers, str(said)
    assert seen["sent"] > len(shard.pairs) // 2
    assert seen["refused"] > len(shard.pairs) // 2


# --- trust --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shard", [0, ASYNC], indirect=True)
def test_trust_misplaces_values_without_a_word(shard: Shard) -> None:
    misplaced = {"request": 0, "response": 0}
    for said in calls(shard, "trust"):
        assert said.refusal is None
        if said.failure is None and not final(said) and len(said.heard) == 1:
            misplaced["request"] += said.heard[0].requests != [one.value for one in said.wanted]
            misplaced["response"] += said.got != said.answers
    assert misplaced["request"] > len(shard.pairs) // 20
    assert misplaced["response"] > len(shard.pairs) // 20
