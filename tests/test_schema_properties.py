"""Random schemas, what happened to them, and random messages: nothing is ever misplaced, whatever the verdict.

What is right is told by `name_oracle`, which knows nothing of comparing or adapting.
"""

from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from name_oracle import fill, misplaced, unknown_numbers
from proto_text import request_of, response_of
from schema_pairs import pair

from invora_grpc.errors import SchemaDriftError
from invora_grpc.schema.adapting import Adapter, adapter_of
from invora_grpc.schema.compare import Comparer, Direction, Verdict, compare_messages, compare_methods

IDENTICAL, ADDITIVE, ADAPTABLE, INCOMPATIBLE = Verdict
REQUEST, RESPONSE = Direction


# --- verdicts -----------------------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(st.integers(0, 10**9))
def test_bytes_are_never_misread_where_the_verdict_is_identical_or_additive(seed: int) -> None:
    dice, ours, theirs = pair(seed)
    for direction in Direction:
        if compare_messages(ours.input_type, theirs.input_type, direction).verdict > ADDITIVE:
            continue
        writer, reader = (ours, theirs) if direction is REQUEST else (theirs, ours)
        for _ in range(3):
            sent = fill(dice, request_of(writer))
            got = response_of(reader)
            got.MergeFromString(sent.SerializePartialToString())
            assert list(misplaced(sent, got, may_lack=direction is RESPONSE)) == []
            back = request_of(writer)
            back.MergeFromString(got.SerializePartialToString())
            assert list(misplaced(sent, back, may_lack=False)) == []


def test_bytes_are_often_misread_where_the_verdict_is_worse() -> None:
    misread = 0
    for seed in range(300):
        dice, ours, theirs = pair(seed)
        if compare_messages(ours.input_type, theirs.input_type, REQUEST).verdict > ADDITIVE:
            sent, got = fill(dice, request_of(ours)), request_of(theirs)
            try:
                got.MergeFromString(sent.SerializePartialToString())
            except DecodeError:
                continue
            misread += bool(list(misplaced(sent, got, may_lack=False)))
    assert misread > 20


@settings(max_examples=100)
@given(st.integers(0, 10**9))
def test_a_schema_is_identical_to_itself_and_a_verdict_is_the_same_however_it_is_asked(seed: int) -> None:
    _, ours, theirs = pair(seed)
    twin = GetMessageClass(ours.input_type).DESCRIPTOR
    assert compare_messages(ours.input_type, twin, REQUEST).verdict is IDENTICAL
    comparer, direct = Comparer(), compare_methods(ours, theirs)
    for direction in Direction:
        assert comparer.verdict(ours.input_type, theirs.input_type, direction) <= direct.verdict
    assert comparer.methods(ours, theirs) == direct


# --- adapting -----------------------------------------------------------------------------------------------------


def adapter(ours: MethodDescriptor, theirs: MethodDescriptor) -> Adapter:
    return adapter_of(ours, theirs, method="/p.Books/Keep", endpoint="https://gateway")


def lossless(ours: Any, theirs: MethodDescriptor) -> bool:
    """Whether the message's own text, names and all, says the same there: another way to convert by name."""
    there = request_of(theirs)
    pool: Any = theirs.containing_service.file.pool
    try:
        text_format.Parse(text_format.MessageToString(ours), there, descriptor_pool=pool)
    except text_format.ParseError:
        return False
    whole = there.IsInitialized() and not unknown_numbers(ours)
    return whole and not [*misplaced(ours, there, may_lack=False), *misplaced(there, ours, may_lack=False)]


CAUTIOUS = ("cannot be told from unset", "is an enum value without a name", "holds an unknown field")
"""Refusals of what could be said there, but would be taken for something else, or is not sure to mean anything."""


@settings(max_examples=500)
@given(st.integers(0, 10**9))
def test_every_value_arrives_under_its_name_or_nothing_is_sent(seed: int) -> None:
    dice, ours, theirs = pair(seed)
    try:
        made = adapter(ours, theirs)
    except SchemaDriftError as error:
        assert error.verdict == "incompatible"
        return
    for _ in range(3):
        given = fill(dice, request_of(ours))
        try:
            data = made.encode(given)
        except SchemaDriftError as error:
            assert not lossless(given, theirs) or any(why in str(error) for why in CAUTIOUS), str(error)
            continue
        assert list(misplaced(given, request_of(theirs).FromString(data), may_lack=False)) == []
        assert made.decode(data) == given


@settings(max_examples=500)
@given(st.integers(0, 10**9))
def test_every_response_is_read_by_name_and_goes_back_whole_or_is_refused(seed: int) -> None:
    dice, ours, theirs = pair(seed)
    try:
        made = adapter(ours, theirs)
    except SchemaDriftError:
        return
    for _ in range(3):
        sent = fill(dice, response_of(theirs))
        try:
            got = made.decode(sent.SerializeToString())
        except DecodeError as error:
            assert "enum value" in str(error)
            continue
        assert list(misplaced(sent, got, may_lack=True)) == []
        try:
            assert request_of(theirs).FromString(made.encode(got)) == sent
        except SchemaDriftError as error:
            assert any(why in str(error) for why in (*CAUTIOUS, "is required there", "excludes"))


def test_most_messages_are_carried_over() -> None:
    carried = refused = 0
    for seed in range(400):
        dice, ours, theirs = pair(seed)
        try:
            made = adapter(ours, theirs)
            if made.comparison.verdict >= 2:
                made.encode(fill(dice, request_of(ours)))
                carried += 1
        except SchemaDriftError:
            refused += 1
    assert carried > 60
    assert refused > 60
