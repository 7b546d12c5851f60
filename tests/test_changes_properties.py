"""What holds for the change report of any two schemas."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from changed_schema import File
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Proto
from google.protobuf.message_factory import GetMessageClass
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from proto_random import random_files
from schema_pairs import BUNDLED, Side, drifted, finished, schema

from invora_grpc.codegen.buf import BufError
from invora_grpc.codegen.changes import Breaks, changes
from invora_grpc.codegen.changes_buf import findings
from invora_grpc.schema.compare import compare_methods
from invora_grpc.schema.verdicts import Verdict

VALUES: dict[str, Any] = {"bool": True, "string": "a", "bytes": b"a", "Kind": 1, "float": 1.0, "double": 1.0}
TYPES = ("bool", "string", "bytes", "Kind", "float", "double", "int32", "int64", "uint32", "uint64", "sint32", "sint64")
TYPES += ("fixed32", "fixed64", "sfixed32", "sfixed64")
"""All types of one value."""


def files(side: Side) -> list[File]:
    """The descriptors of a random schema, with the members of a oneof behind each other, as compilers have them."""
    whole = [File.FromString(file.serialized_pb) for file in BUNDLED]
    types = File.FromString(side.types.SerializeToString())
    for message in types.message_type:
        message.field.sort(key=lambda field: field.HasField("oneof_index") and not field.proto3_optional)
    return [*whole, side.enums, types]


@st.composite
def pairs(draw: Callable[..., Any]) -> tuple[Side, Side]:
    """A random schema, and the same after something happened to it; a compiler takes both."""
    dice = random.Random(draw(st.integers(0, 2**32)))
    base = schema(dice)
    twin, _ = drifted(dice, base)
    sides = finished(base), finished(twin)
    try:
        for side in sides:
            side.method()
        findings(*map(files, sides), ())
    except (TypeError, BufError):
        assume(False)
    return sides


@given(random_files())
@settings(max_examples=25)
def test_what_is_the_same_has_no_changes(some: list[File]) -> None:
    assert changes(some, [File.FromString(file.SerializeToString()) for file in reversed(some)]) == ()


@given(pairs())
@settings(max_examples=15)
def test_nothing_that_buf_finds_is_lost_and_none_of_it_is_harmless(sides: tuple[Side, Side]) -> None:
    before, after = map(files, sides)
    told = changes(before, after)
    assert {finding.rule for finding in findings(before, after, ())} == {rule for one in told for rule in one.rules}
    assert all(one.breaking for one in told if one.rules)


@given(pairs())
@settings(max_examples=15)
def test_whatever_differs_is_told_and_the_other_comparison_of_this_project_finds_nothing_worse(
    sides: tuple[Side, Side],
) -> None:
    told = changes(*map(files, sides))
    assert bool(told) == (files(sides[0]) != files(sides[1]))
    verdict = compare_methods(sides[0].method(), sides[1].method()).verdict
    assert verdict < Verdict.ADAPTABLE or any(one.breaking for one in told)


@given(pairs())
@settings(max_examples=8)
def test_the_order_in_which_files_come_changes_nothing_and_ids_tell_all_changes_apart(sides: tuple[Side, Side]) -> None:
    before, after = map(files, sides)
    told = changes(before, after)
    assert changes(before[::-1], after[::-1]) == told
    assert len({one.id for one in told}) == len(told)


@pytest.mark.parametrize("old", TYPES)
def test_a_value_survives_each_change_of_type_that_is_said_not_to_break_the_wire(old: str) -> None:
    before, after = (_of_types([kind] * len(TYPES) if at == 0 else list(TYPES)) for at, kind in ((0, old), (1, "")))
    broken = {one.member for one in changes([before], [after]) if Breaks.WIRE in one.breaks}
    message, other = (_message(file) for file in (before, after))
    value = VALUES.get(old, 1)
    for index, new in enumerate(TYPES):
        if f"f{index}" not in broken:
            whole = message()
            setattr(whole, f"f{index}", value)
            read = getattr(other.FromString(whole.SerializeToString()), f"f{index}")
            assert read == value or read == VALUES[new], (old, new)


def _of_types(types: list[str]) -> File:
    file = File(name="t.proto", package="t", syntax="proto3")
    enum = file.enum_type.add(name="Kind")
    enum.value.add(name="KIND_NONE", number=0)
    enum.value.add(name="KIND_ONE", number=1)
    message = file.message_type.add(name="All")
    for index, kind in enumerate(types):
        field = message.field.add(name=f"f{index}", number=index + 1, label=Proto.LABEL_OPTIONAL)
        if kind == "Kind":
            field.type, field.type_name = Proto.TYPE_ENUM, ".t.Kind"
        else:
            field.type = Proto.Type.Value(f"TYPE_{kind.upper()}")
    return file


def _message(file: File) -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("t.All"))
