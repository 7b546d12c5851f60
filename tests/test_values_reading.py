"""Masks, wrappers, structs and Any both ways, and messages as plain Python and as JSON."""

from __future__ import annotations

import math
from datetime import date, timedelta
from decimal import Decimal
from types import MappingProxyType

import pytest
from google.protobuf import descriptor_pb2, struct_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from values_schema import (
    Decimals,
    Everything,
    Kinds,
    Lists,
    Maps,
    Order,
    Present,
    Wrapped,
    refusal,
)

from invora_grpc.values import build, to_json, to_python

# --- masks, wrappers, structs, Any ----------------------------------------------------------------------------------


class TestMasks:
    @pytest.mark.parametrize(
        "value", [["name", "unit_price.units"], ("name", "unitPrice.units"), "name,unitPrice.units"]
    )
    def test_take_snake_and_camel_paths(self, value: object) -> None:
        assert to_python(build(Kinds, {"mask": value})) == {"mask": ["name", "unit_price.units"]}

    def test_take_the_star(self) -> None:
        assert list(build(Kinds, {"mask": "*"}).mask.paths) == ["*"]

    def test_may_be_empty(self) -> None:
        assert build(Kinds, {"mask": []}).HasField("mask")

    @pytest.mark.parametrize("value", ["", "a,", "a b", "a..b", ["a,b"], [3], 3, b"a"])
    def test_refuse_what_is_no_path(self, value: object) -> None:
        assert refusal(Kinds, {"mask": value}).path == "mask"


class TestWrappers:
    PLAIN = MappingProxyType(
        {
            "double": 1.5,
            "float": 0.5,
            "int64": -1,
            "uint64": 2**64 - 1,
            "int32": 5,
            "uint32": 6,
            "bool": False,
            "string": "",
        }
    )

    def test_take_and_give_their_plain_value(self) -> None:
        assert to_python(build(Wrapped, {**self.PLAIN, "bytes": b""})) == {**self.PLAIN, "bytes": b""}

    @pytest.mark.parametrize(("field", "value"), [("bool", 1), ("uint32", -1), ("string", 5), ("int64", True)])
    def test_check_its_type(self, field: str, value: object) -> None:
        assert refusal(Wrapped, {field: value}).path == field

    def test_of_a_list_take_and_give_a_list(self) -> None:
        assert to_python(build(Kinds, {"names": ["a", "b"]})) == {"names": ["a", "b"]}
        assert build(Kinds, {"names": []}).HasField("names")
        assert refusal(Kinds, {"names": ["a", 1]}).path == "names[1]"


class TestStructs:
    def test_take_what_json_holds(self) -> None:
        value = {"a": None, "b": True, "c": [1, 2.5, "x", {"d": {}}], "e": Decimal("20.5")}
        back = to_python(build(Kinds, {"struct": value}))["struct"]
        assert back == value
        assert type(back["c"][0]) is int

    def test_of_generated_classes_are_built_alike(self) -> None:
        expected = struct_pb2.Struct()
        expected.update({"a": [1, None, {"b": "x"}]})
        assert build(struct_pb2.Struct, {"a": [1, None, {"b": "x"}]}) == expected

    @pytest.mark.parametrize(
        ("value", "path"),
        [
            ({"a": {"b": [1, math.nan]}}, "struct['a']['b'][1]"),
            ({"a": Decimal("0.12345678901234567890")}, "struct['a']"),
            ({"a": 2**53 + 1}, "struct['a']"),
            ({"a": -(2**53) - 1}, "struct['a']"),
            ({"a": {1: 2}}, "struct['a'][1]"),
            ({"a": date(2026, 1, 1)}, "struct['a']"),
            ({"a": {1, 2}}, "struct['a']"),
            ({"a": "\udfff"}, "struct['a']"),
            ([1], "struct"),
        ],
    )
    def test_refuse_the_rest_and_say_where(self, value: object, path: str) -> None:
        assert refusal(Kinds, {"struct": value}).path == path

    @pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
    def test_read_a_number_that_json_lacks_as_a_float_and_do_not_write_it_back_as_text(self, number: float) -> None:
        message = Kinds()
        message.struct["a"] = [number]
        plain = to_python(message)
        assert type(plain["struct"]["a"][0]) is float
        assert "JSON has no NaN and no Infinity" in refusal(Kinds, plain).hint
        assert to_json(message)["struct"]["a"] == [str(number).replace("nan", "NaN").replace("inf", "Infinity")]

    def test_refuse_depths_that_could_not_be_parsed(self) -> None:
        deep: object = 1
        for _ in range(29):
            deep = {"a": deep}
        Kinds.FromString(build(Kinds, {"struct": {"a": deep}}).SerializeToString())
        assert "nested deeper" in refusal(Kinds, {"struct": {"a": {"a": deep}}}).hint

    def test_values_take_none_as_null(self) -> None:
        assert build(Kinds, {"value": None}).value.WhichOneof("kind") == "null_value"
        assert to_python(build(Lists, {"values": [None, 1]})) == {"values": [None, 1]}

    def test_lists_take_lists(self) -> None:
        assert to_python(build(Kinds, {"list": [1, (True,)]})) == {"list": [1, [True]]}
        assert refusal(Kinds, {"list": "ab"}).path == "list"


class TestAny:
    def test_takes_a_message(self) -> None:
        packed = build(Kinds, {"any": Order(order_id="A")}).any
        assert packed.type_url == "type.googleapis.com/shop.Order"
        assert Order.FromString(packed.value).order_id == "A"

    def test_takes_a_dict_with_its_type(self) -> None:
        value = {"@type": "type.googleapis.com/shop.Order", "order_id": "A"}
        message = build(Kinds, {"any": value})
        assert to_python(message) == {"any": value}
        assert message == build(Kinds, {"any": Order(order_id="A")})

    def test_wraps_a_plain_value(self) -> None:
        value = {"@type": "x/google.protobuf.Duration", "value": timedelta(seconds=3)}
        assert to_python(build(Kinds, {"any": value})) == {"any": value}

    def test_of_an_unknown_type_stays_raw(self) -> None:
        value = {"type_url": "x/no.Such", "value": b"\x01"}
        assert to_python(build(Kinds, {"any": value})) == {"any": value}
        assert to_json(build(Kinds, {"any": value})) == {"any": {"type_url": "x/no.Such", "value": "AQ=="}}

    def test_with_broken_bytes_stays_raw(self) -> None:
        value = {"type_url": "x/shop.Order", "value": b"\xff"}
        assert to_python(build(Kinds, {"any": value})) == {"any": value}

    def test_refuses_an_unknown_type(self) -> None:
        assert refusal(Kinds, {"any": {"@type": "x/no.Such"}}).path == "any['@type']"

    def test_refuses_a_bad_field_inside(self) -> None:
        assert refusal(Kinds, {"any": {"@type": "x/shop.Order", "from": "a"}}).path == "any.from"


# --- reading --------------------------------------------------------------------------------------------------------


class TestReading:
    def test_leaves_out_what_is_not_set(self) -> None:
        assert to_python(Everything()) == {}

    def test_keeps_what_is_present_though_empty(self) -> None:
        assert to_python(Present(a_int32=0, a_string="")) == {"a_int32": 0, "a_string": ""}
        assert to_python(build(Order, {"parent": {}})) == {"parent": {}}

    def test_adds_all_other_fields_on_demand(self) -> None:
        plain = to_python(Order(order_id="A"), defaults=True)
        assert plain == {
            "order_id": "A",
            "lines": [],
            "currency": "CURRENCY_ENUM_UNSPECIFIED",
            "parent": None,
            "from": 0,
            "lines_by_name": {},
            "odd": "ODD_NONE",
            "shared": "PIPE_ROUND",
            "alias": "ALIAS_A",
            "bare": "RED",
        }
        assert to_python(build(Order, {"parent": {}}), defaults=True)["parent"]["order_id"] == ""

    def test_gives_containers_of_its_own(self) -> None:
        first = to_python(Order(), defaults=True)
        first["lines"].append(1)
        assert to_python(Order(), defaults=True)["lines"] == []

    def test_of_a_single_value_gives_its_parts(self) -> None:
        assert to_python(Decimals(units=3)) == {"units": 3}
        assert to_python(struct_pb2.Struct()) == {}

    def test_as_json_is_json(self) -> None:
        order = build(Order, {"currency": "SAR", "lines": [{"unit_price": "1.50"}], "from": 2**60})
        assert to_json(order) == {"currency": "SAR", "lines": [{"unit_price": "1.5"}], "from": 2**60}
        assert to_json(order, short_enums=False)["currency"] == "CURRENCY_ENUM_SAR"

    def test_as_json_writes_times_as_text(self) -> None:
        times = {"instant": "2026-11-21T12:30:00.5+03:00", "day": "2026-11-21", "clock": "09:30", "span": "3s"}
        assert to_json(build(Kinds, times)) == {
            "instant": "2026-11-21T09:30:00.500Z",
            "day": "2026-11-21",
            "clock": "09:30:00",
            "span": "3s",
        }

    def test_as_json_writes_keys_and_odd_floats_as_text(self) -> None:
        maps = build(Maps, {"by_bool": {True: "a"}, "by_int32": {1: math.inf, 2: 0.5}})
        assert to_json(maps) == {"by_bool": {"true": "a"}, "by_int32": {"1": "Infinity", "2": 0.5}}

    def test_does_not_trust_a_known_name_with_another_shape(self) -> None:
        file = descriptor_pb2.FileDescriptorProto(name="odd.proto", package="kernel", syntax="proto3")
        field = file.message_type.add(name="DecimalValue").field.add(name="units", number=1)
        field.type, field.label = field.TYPE_STRING, field.LABEL_OPTIONAL
        pool = DescriptorPool()
        pool.AddSerializedFile(file.SerializeToString())
        odd = GetMessageClass(pool.FindMessageTypeByName("kernel.DecimalValue"))
        assert to_python(build(odd, {"units": "many"})) == {"units": "many"}
