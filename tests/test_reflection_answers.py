"""What the reflection client survives in answers, point by point. Against real servers, by both drivers."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from certificates import authority
from google.protobuf import descriptor_pool
from reflected import SHOP, Ask, File, aasked, asked, failing, file, silent, unused_port
from reflection_server import Answers, Response, answering, reflecting, refusal, refusing, scripted

from invora_grpc.errors import InvoraError
from invora_grpc.schema.asking import reflect
from invora_grpc.schema.pool import pooled
from invora_grpc.schema.reflection import ReflectionError

Code = grpc.StatusCode


@pytest.fixture(params=[asked, aasked], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Each of the two drivers in turn."""
    return request.param


# --- points 4 to 6: files ---


@pytest.mark.parametrize("whole", [False, True], ids=["one file an answer", "all imports in each answer"])
def test_point_4_imports_that_do_not_come_along_are_fetched_and_those_that_do_are_not(ask: Ask, whole: bool) -> None:
    with reflecting(SHOP, whole=whole) as server:
        served = ask(server.address, services=["a.Shop"])
        assert len(server.asked) == (2 if whole else 4)
    assert set(served.files.files) == {"shop.proto", "order.proto", "money.proto"}


def test_point_4_files_in_any_order_and_twice_are_one_set(ask: Ask) -> None:
    shuffled = Response(
        file_descriptor_response={"file_descriptor_proto": [SHOP[i].SerializeToString() for i in (0, 2, 0, 1, 2)]}
    )
    honest = Answers(SHOP)
    script = answering(lambda one: shuffled if one.file_containing_symbol else honest(one))
    with scripted({"v1": script}) as server:
        served = ask(server.address, services=["a.Shop"])
    assert list(served.files.files) == ["money.proto", "order.proto", "shop.proto"]
    assert not served.files.problems


def test_point_4_files_in_conflict_are_told_and_neither_is_used(ask: Ask) -> None:
    honest, other = Answers(SHOP), file("money.proto", Money="", Extra="")

    def answer(request: Any) -> Any:
        return honest_and_other if request.file_by_filename == "order.proto" else honest(request)

    honest_and_other = honest.found(SHOP[1])
    honest_and_other.file_descriptor_response.file_descriptor_proto.append(other.SerializeToString())
    script = answering(answer)
    with scripted({"v1": script}) as server:
        served = ask(server.address, services=["a.Shop"])
    assert served.files.problems["money.proto"] == "came twice, with different content"
    pool = pooled(served.files)
    assert "money.proto" not in pool.files
    assert "which came twice" in pool.problems["order.proto"]


def test_point_5_a_missing_import_is_named_with_its_importer_and_the_rest_is_served(ask: Ask) -> None:
    with reflecting(SHOP, unfound=["money.proto", "a.Money"]) as server:
        served = ask(server.address)
    assert served.failures == {
        "money.proto": "NOT_FOUND: there is no money.proto (imported by order.proto, shop.proto)"
    }
    pool = pooled(served.files)
    assert pool.stand_ins == {"a.Money"}
    assert pool.files == {"order.proto", "shop.proto", "other.proto"}


def test_point_5_the_types_of_protobuf_itself_need_not_be_served(ask: Ask) -> None:
    dated = file("dated.proto", "google/protobuf/timestamp.proto", service="S", M="google.protobuf.Timestamp")
    with reflecting([dated]) as server:
        served = ask(server.address)
    assert not served.failures
    pool = pooled(served.files)
    assert (pool.files, pool.stand_ins) == ({"dated.proto"}, frozenset())


def test_point_6_what_an_unknown_import_path_should_bring_is_found_by_symbol(ask: Ask) -> None:
    moved = [file("shop.proto", "old/money.proto", service="Shop", Buy="a.Money"), file("new/money.proto", Money="")]
    with reflecting(moved) as server:
        served = ask(server.address)
        assert server.asked == ["list", "a.Shop", "old/money.proto", "a.Money"]
    pool = pooled(served.files)
    assert (pool.files, pool.stand_ins) == ({"shop.proto", "new/money.proto"}, frozenset())


# --- points 7 to 11: answers ---


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "has no name"),
        (b"\x0a\xff", "cannot be read"),
        (b"\x0a\x01\xff", "cannot be read"),
        (b"not a descriptor at all", "cannot be read"),
        (File(name="money.proto", syntax="<unknown:0>").SerializeToString(), "is a placeholder"),
    ],
    ids=["empty", "cut off", "not UTF-8", "garbage", "placeholder"],
)
def test_point_7_a_broken_descriptor_is_a_failure_of_that_file_only(ask: Ask, data: bytes, why: str) -> None:
    honest, broken = Answers(SHOP), Response(file_descriptor_response={"file_descriptor_proto": [data]})
    wanted = ("money.proto", "a.Money")
    script = answering(
        lambda one: broken if {one.file_by_filename, one.file_containing_symbol}.intersection(wanted) else honest(one)
    )
    with scripted({"v1": script}) as server:
        served = ask(server.address, services=["a.Shop", "b.Other"])
    assert why in served.failures["money.proto"]
    assert "other.proto" in pooled(served.files).files


def test_point_8_a_service_that_is_listed_but_not_described_is_told(ask: Ask) -> None:
    with reflecting(SHOP, listed=["a.Shop", "b.Other", "c.Ghost", "d d"]) as server:
        served = ask(server.address)
    assert served.listed == ("a.Shop", "b.Other", "c.Ghost")
    assert served.failures == {"c.Ghost": "NOT_FOUND: there is no c.Ghost", "d d": "is no name of a service"}
    assert set(served.files.files) == {one.name for one in SHOP}


def test_point_8_an_answer_about_something_else_is_no_description(ask: Ask) -> None:
    honest = Answers(SHOP)
    script = answering(lambda one: honest.found(SHOP[2]) if one.file_containing_symbol else honest(one))
    with scripted({"v1": script}) as server:
        assert ask(server.address, services=["b.Other"]).failures == {"b.Other": "was not in the answer"}


def test_point_9_a_method_that_is_not_found_is_found_by_its_service(ask: Ask) -> None:
    with reflecting(SHOP, unfound=["a.Shop.Do", "a.Shop.Undo"]) as server:
        served = ask(server.address, services=(), symbols=["a.Shop.Do", "a.Shop.Undo"])
    assert "shop.proto" in served.files.files
    assert served.failures == {"a.Shop.Undo": "NOT_FOUND: there is no a.Shop.Undo"}


def test_point_10_an_error_in_an_answer_leaves_the_stream_usable(ask: Ask) -> None:
    honest = Answers(SHOP)
    broken = refusal(Code.INTERNAL, "\x1b[31mit\nbroke")
    script = answering(lambda one: broken if one.file_containing_symbol == "a.Shop" else honest(one))
    with scripted({"v1": script}) as server:
        served = ask(server.address)
        assert len(server.streams) == 1
    assert served.failures == {"a.Shop": "INTERNAL: it broke"}
    assert set(served.files.files) == {"other.proto"}


@pytest.mark.parametrize("code", [None, Code.UNKNOWN], ids=["without an error", "with an error"])
@pytest.mark.parametrize("tells", [True, False], ids=["after an error", "instead of an answer"])
def test_point_10_a_stream_that_ends_is_begun_anew_without_what_ended_it(
    ask: Ask, code: grpc.StatusCode | None, tells: bool
) -> None:
    honest = Answers(SHOP)

    def script(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for request in requests:
            if request.file_containing_symbol == "a.Shop":
                if tells:
                    yield refusal(Code.NOT_FOUND, "gone")
                if code is not None:
                    context.abort(code, "gone")
                return
            yield honest(request)

    with scripted({"v1": script}) as server:
        served = ask(server.address)
        assert server.asked.count("list") > 1
    assert set(served.files.files) == {"other.proto"}
    assert list(served.failures) == ["a.Shop"]


def test_point_10_a_server_that_ends_every_stream_is_given_up(ask: Ask) -> None:
    def script(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        yield Answers(SHOP, listed=[f"a.S{number}" for number in range(20)])(next(requests))

    error = failing(ask, {"v1": script})
    assert error.reason == "failed"
    assert "the stream was ended" in str(error)


def test_point_10_a_lost_connection_is_no_missing_service(ask: Ask) -> None:
    def script(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        yield Answers(SHOP)(next(requests))
        context.abort(Code.UNAVAILABLE, "going away")

    assert failing(ask, {"v1": script}, services=["a.Shop"]).reason == "unreachable"


def test_point_11_files_that_came_are_not_asked_for_again(ask: Ask) -> None:
    services = [file(f"s{i}.proto", "money.proto", package=f"s{i}", service="S", M="a.Money") for i in range(60)]
    with reflecting([*services, SHOP[2]]) as server:
        assert len(ask(server.address).files.files) == 61
        assert server.asked.count("money.proto") == 1
        assert len(server.streams) == 1


def test_point_11_what_comes_again_and_again_counts_once(ask: Ask) -> None:
    common = File(name="common.proto", package="c", syntax="proto3")
    common.options.java_package = "x" * (1024 * 1024)
    services = [file(f"s{i}.proto", "common.proto", package=f"s{i}", service="S", M="") for i in range(40)]
    with reflecting([*services, common], whole=True) as server:
        assert len(ask(server.address).files.files) == 41


def test_point_11_answers_over_four_mebibytes_come_if_the_channel_takes_them() -> None:
    large = File(name="large.proto", package="l", syntax="proto3")
    large.options.java_package = "x" * (5 * 1024 * 1024)
    with reflecting([large]) as server:
        with pytest.raises(ReflectionError) as caught:
            asked(server.address, file_names=["large.proto"])
        assert caught.value.reason == "too-large"
        options = [("grpc.max_receive_message_length", 16 * 1024 * 1024)]
        with grpc.insecure_channel(server.address, options) as channel:
            served = reflect(channel, timeout=10, endpoint="e", file_names=["large.proto"])
    assert served.files.files["large.proto"] == large


# --- point 12: silence ---


def test_point_12_a_server_that_never_answers_costs_the_timeout_and_no_more(ask: Ask) -> None:
    error = failing(ask, {"v1": silent, "v1alpha": silent}, timeout=0.3)
    assert (error.reason, error.causes) == ("timeout", ("v1: DEADLINE_EXCEEDED: no answer within 0.3 s",))


def test_point_12_one_deadline_is_for_all_answers_together(ask: Ask) -> None:
    def endless(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for number, request in enumerate(requests):
            answer = file(f"f{number}.proto", f"f{number + 1}.proto", M="")
            yield Answers(SHOP)(request) if number < 1 else Answers([answer]).found(answer)

    assert failing(ask, {"v1": endless}, timeout=0.5, services=["a.Shop"]).reason in ("timeout", "too-large")


# --- points 13 to 15: what is described ---


def extended() -> list[File]:
    base = File(name="base.proto", package="e", syntax="proto2")
    base.message_type.add(name="Base").extension_range.add(start=100, end=200)
    more = File(name="more.proto", package="e", syntax="proto2", dependency=["base.proto"])
    more.extension.add(name="extra", number=100, type=9, label=1, extendee=".e.Base")
    return [base, more]


def test_point_13_extensions_are_found_by_the_type_that_they_extend(ask: Ask) -> None:
    with reflecting(extended()) as server:
        served = ask(server.address, services=(), extensions_of=["e.Base"])
        assert server.asked == ["list", "e.Base", "e.Base#100", "base.proto"]
    assert set(served.files.files) == {"base.proto", "more.proto"}


def test_point_13_a_server_need_not_know_about_extensions(ask: Ask) -> None:
    honest = Answers(SHOP)
    no = refusal(Code.UNIMPLEMENTED, "not here")
    script = answering(lambda one: no if one.all_extension_numbers_of_type else honest(one))
    with scripted({"v1": script}) as server:
        served = ask(server.address, services=["b.Other"], extensions_of=["a.Money"])
    assert served.failures == {"a.Money": "UNIMPLEMENTED: not here"}
    assert set(served.files.files) == {"other.proto"}


def test_point_13_services_without_a_package_proto2_and_editions_are_served(ask: Ask) -> None:
    bare = file("bare.proto", package="", service="Bare", M="")
    old = file("old.proto", package="o", service="Old", M="")
    old.syntax = "proto2"
    new = file("new.proto", package="n", service="New", M="")
    new.syntax, new.edition = "editions", 1000
    with reflecting([bare, old, new]) as server:
        served = ask(server.address)
    assert served.listed == ("Bare", "n.New", "o.Old")
    assert pooled(served.files).files == {"bare.proto", "old.proto", "new.proto"}


def test_point_14_what_the_descriptors_have_that_nobody_knows_is_kept(ask: Ask) -> None:
    unknown = SHOP[2].SerializeToString() + b"\xd2\xf7\x03\x03new"
    odd = Response(file_descriptor_response={"file_descriptor_proto": [unknown]})
    honest = Answers(SHOP)
    script = answering(lambda one: odd if one.file_by_filename else honest(one))
    with scripted({"v1": script}) as server:
        served = ask(server.address, services=(), file_names=["money.proto"])
    assert served.files.files["money.proto"].SerializeToString() == unknown


def test_point_15_servers_that_contradict_each_other_live_side_by_side(ask: Ask) -> None:
    pools = []
    for kind in ("a.Money", "a.Buy"):
        with reflecting([file("shop.proto", service="Shop", Buy=kind, Money="")]) as server:
            pools.append(pooled(ask(server.address).files).pool)
    first, second = (pool.FindMessageTypeByName("a.Buy").fields_by_name["x"].message_type.name for pool in pools)
    assert (first, second) == ("Money", "Buy")
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("a.Buy")


# --- points 17 to 19 ---


def test_point_17_a_new_stream_begins_from_nothing_since_it_may_reach_another_build(ask: Ask) -> None:
    first = Answers(SHOP)
    second = Answers([file("shop.proto", service="Shop", Buy="")])
    builds = itertools.chain([first], itertools.repeat(second))

    def script(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        build = next(builds)
        for request in requests:
            if build is first and request.file_by_filename == "order.proto":
                return
            yield build(request)

    with scripted({"v1": script}) as server:
        served = ask(server.address, services=["a.Shop"])
    assert list(served.files.files) == ["shop.proto"]
    assert not served.files.problems


def test_point_18_hostile_names_are_data_and_get_into_no_terminal(ask: Ask) -> None:
    evil = "../\x1b[31mx\n.proto"
    hostile = [file("shop.proto", evil, "../y.proto", service="Shop", Buy=""), file("../y.proto", package="y", Y="")]
    with reflecting(hostile, listed=["a.Shop", "../../etc", "\x1b[2J", ""]) as server:
        served = ask(server.address)
    assert served.listed == ("a.Shop",)
    assert set(served.files.files) == {"shop.proto", "../y.proto"}
    assert all(text.isprintable() for text in served.failures.values())
    assert evil in served.failures
    assert "shop.proto" in pooled(served.files).files


def test_point_19_a_refused_connection_tls_sign_in_and_silence_are_four_messages(ask: Ask) -> None:
    errors = []
    with pytest.raises(ReflectionError) as caught:
        ask(f"127.0.0.1:{unused_port()}")
    errors.append(caught.value)
    with reflecting(SHOP) as server, pytest.raises(ReflectionError) as caught:
        ask(server.address, credentials=grpc.ssl_channel_credentials(authority().pem))
    errors.append(caught.value)
    errors.append(failing(ask, {"v1": refusing(Code.UNAUTHENTICATED, "who?")}))
    errors.append(failing(ask, {"v1": silent}, timeout=0.3))
    assert [error.reason for error in errors] == ["unreachable", "unreachable", "unauthenticated", "timeout"]
    for error, words in zip(
        errors, ("nothing listens", "does not speak TLS", "check the token", "raise the"), strict=True
    ):
        assert words in error.hint
        assert "\n" not in str(error)


def test_point_19_an_error_survives_a_pickle(ask: Ask) -> None:
    error = failing(ask, {})
    again: InvoraError = pickle.loads(pickle.dumps(error))
    assert again == error
    assert vars(again) == vars(error)
