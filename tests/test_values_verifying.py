"""Messages that a caller built by hand: checked for bad amounts before they are sent, where there can be any."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from values_random import messages
from values_schema import (
    Choice,
    Decimals,
    Everything,
    Kinds,
    Lists,
    Maps,
    Nothing,
    Order,
    Scalars,
    Wrapped,
    private_pool,
)

from invora_grpc.errors import RequestError
from invora_grpc.values import build, verifier_of

BAD = Decimals(units=1, nanos=-5)


def refusal(message: Any) -> RequestError:
    verify = verifier_of(type(message))
    assert verify is not None
    with pytest.raises(RequestError) as caught:
        verify(message)
    return caught.value


def wide(fields: int) -> type[Any]:
    """A message of a private pool with this many amounts, and as many lists of a message with an amount."""
    kernel = descriptor_pb2.FileDescriptorProto(name="kernel.proto", package="kernel", syntax="proto3")
    amount = kernel.message_type.add(name="DecimalValue")
    for number, (name, kind) in enumerate((("units", 3), ("nanos", 15)), 1):
        amount.field.add(name=name, number=number, type=kind, label=1)
    file = descriptor_pb2.FileDescriptorProto(name="w.proto", package="w", syntax="proto3", dependency=["kernel.proto"])
    message = file.message_type.add(name="Wide")
    for number in range(1, fields + 1):
        message.field.add(name=f"a{number}", number=number, type=11, label=1, type_name=".kernel.DecimalValue")
    message.field.add(name="inner", number=fields + 1, type=11, label=3, type_name=".w.Wide")
    pool = DescriptorPool()
    for one in (kernel, file):
        pool.AddSerializedFile(one.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("w.Wide"))


@pytest.mark.parametrize("message_class", [Scalars, Wrapped, Nothing])
def test_types_that_hold_no_amount_have_no_verifier(message_class: type[Message]) -> None:
    assert verifier_of(message_class) is None


@pytest.mark.parametrize("message_class", [Decimals, Order, Kinds, Lists, Maps, Choice, Everything])
def test_types_that_hold_one_at_any_depth_have_a_verifier(message_class: type[Message]) -> None:
    verify = verifier_of(message_class)
    assert verify is not None
    assert verify(message_class()) is None


def test_types_that_contain_themselves_have_none_without_an_amount() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="loop.proto", package="loop", syntax="proto3")
    for name, other in (("A", "B"), ("B", "A")):
        file.message_type.add(name=name).field.add(name="x", number=1, type=11, label=1, type_name=f".loop.{other}")
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    assert verifier_of(GetMessageClass(pool.FindMessageTypeByName("loop.A"))) is None


def test_an_amount_of_another_shape_is_no_amount() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="odd.proto", package="kernel", syntax="proto3")
    file.message_type.add(name="DecimalValue").field.add(name="units", number=1, type=9, label=1)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    assert verifier_of(GetMessageClass(pool.FindMessageTypeByName("kernel.DecimalValue"))) is None


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (BAD, "request"),
        (Kinds(decimal=BAD), "decimal"),
        (Lists(decimals=[Decimals(), BAD]), "decimals[1]"),
        (Lists(lists=[Lists(), Lists(decimals=[BAD])]), "lists[1].decimals[0]"),
        (Maps(by_fixed32={7: BAD}), "by_fixed32[7]"),
        (Maps(by_sfixed64={-1: Maps(by_fixed32={7: BAD})}), "by_sfixed64[-1].by_fixed32[7]"),
        (Choice(nested=Choice(amount=BAD)), "nested.amount"),
        (Order(parent=Order(lines=[{}, {"unit_price": BAD}])), "parent.lines[1].unit_price"),
        (Everything(everything=Everything(kinds=Kinds(decimal=BAD))), "everything.kinds.decimal"),
    ],
)
def test_a_bad_amount_is_refused_with_its_path(message: Message, path: str) -> None:
    error = refusal(message)
    assert error.path == path
    assert "one sign" in error.hint


def test_nanos_that_make_a_unit_are_refused() -> None:
    assert "999999999" in refusal(Kinds(decimal=Decimals(nanos=10**9))).hint


def test_good_amounts_pass_and_stay_as_they_are() -> None:
    order = build(Order, {"lines": [{"unit_price": "-1.5"}, {"unit_price": 0}], "lines_by_name": {"x": {}}})
    before = order.SerializeToString(deterministic=True)
    verify = verifier_of(Order)
    assert verify is not None
    verify(order)
    assert order.SerializeToString(deterministic=True) == before


@given(messages(Everything))
@settings(max_examples=60, deadline=None)
def test_whatever_build_would_copy_passes(message: Message) -> None:
    verify = verifier_of(Everything)
    assert verify is not None
    verify(message)


@given(messages(Everything), st.integers(-(10**10), 10**10), st.integers(-(2**31), 2**31 - 1))
@settings(max_examples=60, deadline=None)
def test_a_message_passes_if_and_only_if_build_would_copy_it(message: Any, units: int, nanos: int) -> None:
    message.order.parent.lines.add().unit_price.MergeFrom(Decimals(units=units, nanos=nanos))
    verify = verifier_of(Everything)
    assert verify is not None
    assert outcome(verify, message) == outcome(lambda given: build(Everything, given), message)


def outcome(check: Callable[[Message], object], message: Message) -> str:
    try:
        check(message)
    except RequestError as error:
        return str(error)
    return "passed"


@pytest.mark.parametrize("fields", [2, 11, 12, 40])
def test_wide_types_are_checked_like_narrow_ones(fields: int) -> None:
    message_class = wide(fields)
    message = message_class()
    getattr(message, f"a{fields}").units = 3
    message.inner.add().a2.nanos = 5
    verify = verifier_of(message_class)
    assert verify is not None
    verify(message)
    message.inner.add().a1.MergeFrom(message_class.FromString(b"").a1)
    message.inner[1].a1.units, message.inner[1].a1.nanos = 1, -1
    assert refusal(message).path == "inner[1].a1"


def test_many_threads_may_ask_at_once() -> None:
    fresh = GetMessageClass(private_pool().FindMessageTypeByName("shop.Order"))
    message = build(fresh, {"parent": {"lines": [{"unit_price": "1.5"}]}})
    passed: list[bool] = []

    def work() -> None:
        verify = verifier_of(fresh)
        assert verify is not None
        verify(message)
        passed.append(True)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 16


def test_verifiers_leave_with_their_pool() -> None:
    fresh = GetMessageClass(private_pool().FindMessageTypeByName("shop.Order"))
    verify = verifier_of(fresh)
    assert verify is not None
    verify(build(fresh, {"lines": [{"unit_price": 1}]}))
    alive = weakref.ref(fresh)
    del fresh, verify
    gc.collect()
    assert alive() is None
