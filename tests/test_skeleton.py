"""Skeletons: requests that are filled to show what they take."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any, cast

from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from proto_text import rpc

from invora_grpc.schema.skeleton import arguments, as_json, path_variables, skeleton


def filled(body: str, *, syntax: str = "proto3", **options: Any) -> dict[str, Any]:
    return skeleton(rpc(body, syntax=syntax).input_type, **options).values


def test_each_type_has_a_value_that_shows_what_it_takes() -> None:
    body = (
        "enum E { E_NONE = 0; E_SOME = 1; } "
        "message Root { string key = 1; string text = 2; int64 limit = 3; bool on = 4; bytes data = 5; E e = 6; "
        "double d = 7; google.protobuf.Timestamp at = 8; google.protobuf.Duration time = 9; "
        "google.protobuf.StringValue maybe = 10; repeated string many = 11; map<string, E> marks = 12; }"
    )
    assert filled(body) == {
        "key": "KEY",
        "text": "text",
        "limit": 20,
        "on": True,
        "data": b"bytes",
        "e": "SOME",
        "d": 1.5,
        "at": datetime.datetime(2026, 1, 31, 9, 30, tzinfo=datetime.UTC),
        "time": datetime.timedelta(seconds=90),
        "maybe": "text",
        "many": ["text"],
        "marks": {"text": "SOME"},
    }


def test_a_message_within_one_of_its_own_type_is_left_out() -> None:
    leaf = "message Leaf { repeated Root roots = 1; int32 b = 2; }"
    tree = "message Root { string a = 1; Root child = 2; Leaf leaf = 3; }" + leaf
    assert filled(tree) == {"a": "text", "leaf": {"b": 1}}


def test_of_a_oneof_the_first_field_is_filled() -> None:
    assert filled("message Root { oneof x { string a = 1; string b = 2; } optional string c = 3; }") == {
        "a": "text",
        "c": "text",
    }


def test_what_is_optional_is_not_required() -> None:
    body = (
        "message Root { string a = 1; optional string b = 2; repeated Part parts = 3; } message Part { int32 c = 1; }"
    )
    assert filled(body, required_only=True) == {"a": "text", "parts": [{"c": 1}]}
    assert filled(body, required_only=True, always=["b"]) == {"a": "text", "b": "text", "parts": [{"c": 1}]}


def test_where_some_fields_are_marked_as_required_the_others_are_not() -> None:
    proto2 = "message Root { required string a = 1; optional string b = 2; repeated string c = 3; }"
    assert filled(proto2, syntax="proto2", required_only=True) == {"a": "text"}


def test_the_behaviour_that_a_schema_declares_counts() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="behaving.proto", syntax="proto3")
    message = file.message_type.add(name="M")
    behaviour = cast(Any, field_behavior_pb2)
    for number, name in enumerate(("REQUIRED", "OUTPUT_ONLY", "IMMUTABLE"), 1):
        field = message.field.add(name=name.lower(), number=number, type=9, label=1)
        marks = cast(Any, field.options).Extensions[behaviour.field_behavior]
        marks.append(behaviour.FieldBehavior.Value(name))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("M")
    assert skeleton(found).values == {"required": "text", "immutable": "text"}
    assert skeleton(found, required_only=True).values == {"required": "text"}


def test_what_is_too_much_is_named() -> None:
    body = "message Root { A a = 1; A b = 2; } message A { B x = 1; B y = 2; } message B { int32 z = 1; }"
    made = skeleton(rpc(body).input_type, most=4)
    assert made.values == {"a": {"x": {"z": 1}, "y": {"z": 1}}, "b": {}}
    assert made.left_out == ("b.x", "b.y")


def test_json_has_decimals_dates_and_bytes_as_text() -> None:
    values = {"a": Decimal("20.50"), "b": datetime.time(9, 30), "c": b"hi", "d": [datetime.timedelta(seconds=1.5)]}
    assert as_json(values) == {"a": "20.50", "b": "09:30:00", "c": "aGk=", "d": ["1.5s"]}


def test_arguments_are_paths_and_texts() -> None:
    values = {"a": {"b": [{"c": True}, {"c": False}]}, "d": Decimal("1.5"), "e": []}
    assert list(arguments(values)) == [("a.b[0].c", "true"), ("a.b[1].c", "false"), ("d", "1.5")]


def test_the_variables_of_a_path_are_fields() -> None:
    assert path_variables("/v1/{key}/lines/{line.id=*}:do") == ["key", "line.id"]
    assert path_variables("/v1/things") == []
