"""How the reflection client asks, and what it makes of refusals. Against real servers on loopback, by both drivers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pool
from reflected import SHOP, Ask, File, aasked, asked, failing
from reflection_server import BOTH, Answers, Reflecting, answering, reflecting, refusal, refusing, scripted
from sandbox_fixture import Running
from secret_watch import Watch

from invora_grpc.schema.asking import areflect, reflect
from invora_grpc.schema.files import with_json_names
from invora_grpc.schema.pool import pooled
from invora_grpc.schema.reflection import ReflectionError

Code = grpc.StatusCode
TOKEN = "ey-very-secret-token"


@pytest.fixture(params=[asked, aasked], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Each of the two drivers in turn."""
    return request.param


# --- what is asked for ---


def test_everything_is_the_list_and_all_files_of_all_services(ask: Ask) -> None:
    with reflecting(SHOP) as server:
        served = ask(server.address)
    assert served.listed == ("a.Shop", "b.Other")
    assert set(served.files.files) == {one.name for one in SHOP}
    assert not served.failures


def test_one_service_is_its_file_and_all_imports_over_one_stream(ask: Ask) -> None:
    with reflecting(SHOP) as server:
        served = ask(server.address, services=["a.Shop"])
        assert len(server.streams) == 1
        assert server.asked == ["list", "a.Shop", "order.proto", "money.proto"]
    assert list(served.files.files) == ["money.proto", "order.proto", "shop.proto"]
    assert served.listed == ("a.Shop", "b.Other")


def test_without_services_only_the_list_is_asked_for(ask: Ask) -> None:
    with reflecting(SHOP) as server:
        served = ask(server.address, services=())
        assert server.asked == ["list"]
    assert (served.listed, dict(served.files.files)) == (("a.Shop", "b.Other"), {})


def test_files_are_found_by_name_and_by_symbol(ask: Ask) -> None:
    with reflecting(SHOP) as server:
        served = ask(server.address, services=(), symbols=["b.Thing"], file_names=["order.proto"])
    assert set(served.files.files) == {"order.proto", "money.proto", "other.proto"}


def test_the_sandbox_is_read_whole_and_enters_a_pool(demo: Running, ask: Ask) -> None:
    served = ask(demo.grpc)
    pool = pooled(served.files)
    assert len(served.listed) > 50
    assert set(served.listed) <= {
        service.full_name for name in pool.files for service in pool.pool.FindFileByName(name).services_by_name.values()
    }
    assert (dict(served.failures), dict(pool.problems), pool.stand_ins) == ({}, {}, frozenset())


def test_the_descriptors_that_come_are_those_that_are_compiled_in(demo: Running, ask: Ask) -> None:
    served = ask(demo.grpc, services=["invora.billing.plans.v2.PlanService"])
    for name, one in served.files.files.items():
        compiled = File.FromString(descriptor_pool.Default().FindFileByName(name).serialized_pb)
        assert one == with_json_names(compiled)


def test_comments_and_positions_are_left_behind(ask: Ask) -> None:
    commented = File()
    commented.CopyFrom(SHOP[2])
    commented.source_code_info.location.add(path=[4, 0], leading_comments="Money makes the world go round.")
    commented.options.java_package = "stays"
    with reflecting([commented]) as server:
        (got,) = ask(server.address, file_names=["money.proto"]).files.files.values()
    commented.ClearField("source_code_info")
    assert got == commented


# --- point 1: versions ---


@pytest.mark.parametrize("versions", [("v1",), ("v1alpha",), BOTH])
def test_point_1_v1_is_taken_where_it_is_and_v1alpha_where_it_is_not(ask: Ask, versions: tuple[str, ...]) -> None:
    with reflecting(SHOP, versions=versions) as server:
        assert ask(server.address).protocol == versions[0]


def test_point_1_a_server_with_neither_offers_no_reflection(ask: Ask) -> None:
    error = failing(ask, {})
    assert error.reason == "not-offered"
    assert [cause.split(":")[:2] for cause in error.causes] == [["v1", " UNIMPLEMENTED"], ["v1alpha", " UNIMPLEMENTED"]]
    assert "http://gateway offers no server reflection (v1 and v1alpha: UNIMPLEMENTED" in str(error)


def test_point_1_the_status_is_told_however_early_the_server_ends_the_stream() -> None:
    with scripted({}) as server:
        reasons = set()
        for _ in range(20):
            with pytest.raises(ReflectionError) as caught:
                aasked(server.address, services=["a.Shop", "b.Other"])
            reasons.add(caught.value.reason)
    assert reasons == {"not-offered"}


# --- point 2: falling back ---

CODES = [
    *(Code.UNIMPLEMENTED, Code.UNAVAILABLE, Code.UNKNOWN, Code.INTERNAL, Code.UNAUTHENTICATED),
    Code.PERMISSION_DENIED,
]


@pytest.mark.parametrize("reads", [False, True], ids=["at once", "at the first read"])
@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_point_2_v1alpha_is_tried_once_whatever_v1_answers(ask: Ask, code: grpc.StatusCode, reads: bool) -> None:
    with scripted({"v1": refusing(code, "no", reads=reads), "v1alpha": answering(Answers(SHOP))}) as server:
        assert ask(server.address).protocol == "v1alpha"
        assert [version for version, _ in server.streams].count("v1alpha") == 1


def test_point_2_an_error_in_the_answer_to_the_list_counts_as_well(ask: Ask) -> None:
    denied = answering(lambda request: refusal(Code.UNIMPLEMENTED, "v1 is off"))
    with scripted({"v1": denied, "v1alpha": answering(Answers(SHOP))}) as server:
        assert ask(server.address).protocol == "v1alpha"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (Code.UNAUTHENTICATED, "unauthenticated"),
        (Code.PERMISSION_DENIED, "denied"),
        (Code.UNAVAILABLE, "unreachable"),
        (Code.INTERNAL, "failed"),
    ],
    ids=lambda one: str(one),
)
def test_point_2_both_errors_are_told_and_what_is_no_unimplemented_decides(
    ask: Ask, code: grpc.StatusCode, reason: str
) -> None:
    for scripts in (
        {"v1": refusing(code, "first"), "v1alpha": refusing(Code.UNIMPLEMENTED, "second")},
        {"v1": refusing(Code.UNIMPLEMENTED, "second"), "v1alpha": refusing(code, "first")},
    ):
        error = failing(ask, scripts)
        assert error.reason == reason
        assert "first" in str(error) and "second" in str(error)


def test_point_2_the_version_that_is_known_is_tried_first(ask: Ask) -> None:
    with reflecting(SHOP) as server:
        assert ask(server.address, protocol="v1alpha").protocol == "v1alpha"
        assert [version for version, _ in server.streams] == ["v1alpha"]


def test_point_2_a_version_that_is_known_no_more_is_left_for_the_other(ask: Ask) -> None:
    with reflecting(SHOP, versions=["v1"]) as server:
        assert ask(server.address, protocol="v1alpha").protocol == "v1"


# --- point 3: metadata ---


def test_point_3_metadata_travels_on_every_stream(ask: Ask) -> None:
    with reflecting(SHOP, versions=["v1alpha"]) as server:
        ask(server.address, metadata=[("authorization", f"Bearer {TOKEN}"), ("x-target-org-id", "o-1")])
        (_, sent), *_ = server.streams
    assert (sent["authorization"], sent["x-target-org-id"]) == (f"Bearer {TOKEN}", "o-1")


def test_point_3_no_token_is_in_an_error_or_its_traceback(ask: Ask) -> None:
    watch = Watch()
    metadata = (("authorization", f"Bearer {TOKEN}"),)
    with scripted({"v1": refusing(Code.UNAUTHENTICATED, "who?")}) as server:
        for address in (server.address, "127.0.0.1:1"):
            watch.failure(partial(ask, address, metadata=metadata))
    assert TOKEN not in "".join([*watch.words, *watch.frames])


# --- ends ---


def test_a_closed_channel_is_told() -> None:
    channel = grpc.insecure_channel("127.0.0.1:1")
    channel.close()
    with pytest.raises(ReflectionError, match="the channel is closed"):
        reflect(channel, timeout=1, endpoint="e")


def test_a_closed_channel_of_asyncio_is_told() -> None:
    async def ask() -> None:
        channel = grpc.aio.insecure_channel("127.0.0.1:1")
        await channel.close()
        await areflect(channel, timeout=1, endpoint="e")

    with pytest.raises(ReflectionError, match="the channel is closed"):
        asyncio.run(ask())


def test_a_task_that_is_cancelled_gives_up_its_stream() -> None:
    begun, over = threading.Event(), threading.Event()

    def script(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(over.set)
        begun.set()
        over.wait(60)
        yield from ()

    async def ask(server: Reflecting) -> None:
        async with grpc.aio.insecure_channel(server.address) as channel:
            task = asyncio.create_task(areflect(channel, timeout=60, endpoint="e"))
            await asyncio.to_thread(begun.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(over.wait, 10)

    with scripted({"v1": script}) as server:
        asyncio.run(ask(server))


def test_no_thread_is_left_behind() -> None:
    with reflecting(SHOP) as server, grpc.insecure_channel(server.address) as channel:
        reflect(channel, timeout=10, endpoint="e")
        before = threading.active_count()
        for _ in range(20):
            reflect(channel, timeout=10, endpoint="e")
        assert threading.active_count() <= before + 4
