"""What a person may write into a message, a list, a map and a scalar field, and what is refused with which words."""

from __future__ import annotations

import enum
import gc
import math
import threading
import uuid
import weakref
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, struct_pb2, timestamp_pb2, type_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from values_schema import (
    Choice,
    Decimals,
    Kinds,
    Lists,
    Maps,
    Nothing,
    Order,
    Present,
    Scalars,
    private_pool,
    refusal,
)

from invora_grpc.errors import ConfigError
from invora_grpc.values import build, enum_names, to_python

# --- messages -------------------------------------------------------------------------------------------------------


class TestMessages:
    def test_are_built_from_nested_dicts(self) -> None:
        order = build(Order, {"order_id": "A-1", "lines": [{"product_name": "Tea", "quantity": 2}], "currency": "SAR"})
        assert order.order_id == "A-1"
        assert order.lines[0].product_name == "Tea"
        assert order.currency == 1

    def test_take_json_names_too(self) -> None:
        assert build(Order, {"orderId": "A-1"}) == build(Order, {"order_id": "A-1"})

    def test_take_a_trailing_underscore_for_a_python_keyword(self) -> None:
        assert build(Order, {"from_": 3}) == build(Order, {"from": 3})

    @pytest.mark.parametrize("values", [{"order_id": "a", "orderId": "b"}, {"orderId": "b", "order_id": "a"}])
    def test_refuse_both_names_of_one_field(self, values: dict[str, object]) -> None:
        assert "order_id and orderId are one field" in refusal(Order, values).hint

    def test_take_the_second_name_when_the_first_is_none(self) -> None:
        assert build(Order, {"order_id": None, "orderId": "b"}).order_id == "b"

    def test_leave_a_field_unset_for_none(self) -> None:
        assert build(Order, {"order_id": None, "lines": None, "parent": None, "currency": None}) == Order()

    def test_without_values_are_empty(self) -> None:
        assert build(Order, None) == Order() == build(Order, {})

    def test_keep_the_presence_of_an_empty_dict(self) -> None:
        assert build(Order, {"parent": {}}).HasField("parent")

    def test_take_any_mapping(self) -> None:
        assert build(Order, MappingProxyType({"parent": MappingProxyType({"order_id": "A"})})).parent.order_id == "A"

    def test_of_the_same_type_are_copied(self) -> None:
        parent = Order(order_id="A")
        order = build(Order, {"parent": parent})
        parent.order_id = "changed"
        assert order.parent.order_id == "A"

    def test_of_the_request_type_are_copied_whole(self) -> None:
        order = Order(order_id="A")
        copy = build(Order, order)
        assert copy == order
        assert copy is not order

    def test_of_another_type_are_refused(self) -> None:
        error = refusal(Order, {"parent": Choice()})
        assert error.path == "parent"
        assert "shop.Order" in error.hint
        assert "shop.Choice" in error.hint

    def test_of_another_pool_are_refused(self) -> None:
        foreign = GetMessageClass(private_pool().FindMessageTypeByName("shop.Order"))
        assert "another descriptor pool" in refusal(Order, {"parent": foreign()}).hint

    def test_of_a_known_kind_are_taken_from_any_pool(self) -> None:
        struct = struct_pb2.Struct()
        struct.update({"a": [1, None]})
        built = build(Kinds, {"instant": timestamp_pb2.Timestamp(seconds=5), "struct": struct})
        assert built.instant.seconds == 5
        assert to_python(built)["struct"] == {"a": [1, None]}

    def test_with_bad_decimals_in_them_are_refused(self) -> None:
        order = Order()
        order.lines.add()
        order.lines.add().unit_price.CopyFrom(Decimals(units=1, nanos=-5))
        order.lines_by_name["x"].unit_price.units = 1
        assert refusal(Order, order).path == "lines[1].unit_price"

    def test_that_are_no_messages_are_refused(self) -> None:
        assert "write a dict" in refusal(Order, {"parent": 3}).hint
        assert refusal(Order, 3).path == "request"

    def test_of_generated_classes_are_built_alike(self) -> None:
        built = build(
            type_pb2.Type, {"name": "T", "fields": [{"kind": "TYPE_BOOL", "jsonName": "b"}], "syntax": "proto3"}
        )
        expected = type_pb2.Type(name="T", syntax=type_pb2.SYNTAX_PROTO3)
        expected.fields.add(kind=type_pb2.Field.TYPE_BOOL, json_name="b")
        assert built == expected

    def test_that_contain_themselves_are_refused(self) -> None:
        values: dict[str, object] = {}
        values["parent"] = values
        assert "nested too deep" in refusal(Order, values).hint

    def test_stay_untouched_by_a_refusal(self) -> None:
        values = {"order_id": "A", "lines": [{"unit_price": 1.5}]}
        refusal(Order, values)
        assert values == {"order_id": "A", "lines": [{"unit_price": 1.5}]}

    def test_are_built_by_many_threads_at_once(self) -> None:
        fresh = GetMessageClass(private_pool().FindMessageTypeByName("shop.Order"))
        values = {"order_id": "A", "lines": [{"unit_price": "1.5"}], "parent": {"currency": "sar"}}
        results: list[Message] = []
        threads = [threading.Thread(target=lambda: results.append(build(fresh, values))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 16
        assert all(result == results[0] for result in results)

    def test_of_a_private_pool_leave_with_it(self) -> None:
        fresh = GetMessageClass(private_pool().FindMessageTypeByName("shop.Order"))
        to_python(build(fresh, {"lines": [{"unit_price": 1}], "parent": {"parent": {}}}))
        alive = weakref.ref(fresh)
        del fresh
        gc.collect()
        assert alive() is None


class TestErrors:
    def test_name_the_whole_path(self) -> None:
        error = refusal(Order, {"parent": {"lines": [{}, {"unit_price": "1,000"}]}})
        assert error.path == "parent.lines[1].unit_price"
        assert error.value == "1,000"
        assert str(error).startswith("parent.lines[1].unit_price: '1,000'")

    def test_name_the_key_of_a_map(self) -> None:
        assert refusal(Order, {"lines_by_name": {"tea": {"quantity": -1}}}).path == "lines_by_name['tea'].quantity"

    def test_name_the_closest_field_and_those_there_are(self) -> None:
        error = refusal(Order, {"lines": [{"unit_prize": 1}]})
        assert error.path == "lines[0].unit_prize"
        assert "did you mean unit_price?" in error.hint
        assert "product_name, unit_price, quantity" in error.hint

    def test_list_only_some_of_many_fields(self) -> None:
        assert "and 4 more" in refusal(Scalars, {"zzz": 1}).hint

    def test_say_when_there_are_no_fields(self) -> None:
        assert "has no fields" in refusal(Nothing, {"a": 1}).hint

    def test_name_an_unknown_field_also_when_it_is_none(self) -> None:
        assert refusal(Order, {"nonsense": None}).path == "nonsense"

    def test_take_keys_that_are_no_names(self) -> None:
        assert refusal(Order, {1: "a"}).path == "1"

    def test_show_a_long_value_short(self) -> None:
        assert len(str(refusal(Order, {"from": "x" * 100_000}))) < 500


class TestOneofs:
    def test_take_one_member(self) -> None:
        assert build(Choice, {"number": 0, "text": None}).WhichOneof("pick") == "number"

    def test_refuse_a_second_member_and_name_both(self) -> None:
        error = refusal(Choice, {"text": "a", "nested": {}})
        assert error.path == "nested"
        assert "text" in error.hint
        assert "pick" in error.hint

    def test_count_null_as_a_member(self) -> None:
        assert build(Choice, {"value": None, "note": "x"}).WhichOneof("pick") == "value"
        assert refusal(Choice, {"text": "a", "value": None}).path == "value"

    def test_of_one_member_are_optional_fields(self) -> None:
        built = build(Present, {"a_int32": 0, "a_string": ""})
        assert built.HasField("a_int32")
        assert built.HasField("a_string")
        assert not built.HasField("a_bool")


class TestRepeatedFields:
    @pytest.mark.parametrize("values", [[1, 2], (1, 2), range(1, 3), iter([1, 2]), {1: "", 2: ""}.keys()])
    def test_take_any_iterable(self, values: object) -> None:
        assert build(Lists, {"ints": values}).ints == [1, 2]

    @pytest.mark.parametrize("value", ["ab", b"ab", {"a": 1}, 3, Order()])
    def test_refuse_text_mappings_and_single_values(self, value: object) -> None:
        assert "write a list" in refusal(Lists, {"texts": value}).hint

    def test_refuse_none_inside(self) -> None:
        assert refusal(Lists, {"ints": [1, None]}).path == "ints[1]"
        assert refusal(Lists, {"lists": [None]}).path == "lists[0]"

    def test_take_the_list_of_another_message(self) -> None:
        assert build(Lists, {"decimals": Lists(decimals=[Decimals(units=1)]).decimals}).decimals[0].units == 1


class TestMaps:
    def test_take_a_mapping(self) -> None:
        built = build(Maps, {"by_bool": {True: "yes"}, "by_fixed32": {7: "1.5"}})
        assert built.by_bool[True] == "yes"
        assert built.by_fixed32[7].nanos == 500_000_000

    def test_refuse_what_is_no_mapping(self) -> None:
        assert "write a dict" in refusal(Maps, {"by_string": [("a", "b")]}).hint

    def test_check_keys(self) -> None:
        assert refusal(Maps, {"by_int32": {"1": 2.0}}).path == "by_int32['1']"
        assert refusal(Maps, {"by_int32": {True: 2.0}}).path == "by_int32[True]"
        assert refusal(Maps, {"by_uint32": {-1: True}}).path == "by_uint32[-1]"

    def test_refuse_none_as_a_value(self) -> None:
        assert "leave its key out" in refusal(Maps, {"by_string": {"a": None}}).hint

    def test_refuse_keys_that_are_one_on_the_wire(self) -> None:
        key = uuid.UUID(int=1)
        assert "same on the wire" in refusal(Maps, {"by_string": {key: "a", str(key): "b"}}).hint


# --- scalars --------------------------------------------------------------------------------------------------------


class TestWholeNumbers:
    class Level(enum.IntEnum):
        LOW = 1
        HIGH = 2

    RANGES = MappingProxyType(
        {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1), "uint32": (0, 2**32 - 1)}
    )

    @pytest.mark.parametrize("kind", RANGES)
    def test_reach_to_the_ends_of_their_type(self, kind: str) -> None:
        for value in self.RANGES[kind]:
            assert to_python(build(Scalars, {f"a_{kind}": value})).get(f"a_{kind}", 0) == value

    @pytest.mark.parametrize("kind", RANGES)
    def test_refuse_what_is_past_them(self, kind: str) -> None:
        least, most = self.RANGES[kind]
        for value in (least - 1, most + 1):
            assert refusal(Scalars, {f"a_{kind}": value}).hint == f"{kind} holds {least} to {most}"

    @pytest.mark.parametrize("value", [True, 1.0, "1", Decimal(1), b"1"])
    def test_refuse_other_types(self, value: object) -> None:
        assert "write an int" in refusal(Scalars, {"a_uint64": value}).hint

    def test_take_an_int_enum(self) -> None:
        assert build(Scalars, {"a_int32": self.Level.HIGH}).a_int32 == 2


class TestBools:
    def test_are_true_or_false(self) -> None:
        assert build(Scalars, {"a_bool": True}).a_bool is True

    @pytest.mark.parametrize("value", [1, 0, "true", 1.0])
    def test_are_nothing_else(self, value: object) -> None:
        assert "write True or False" in refusal(Scalars, {"a_bool": value}).hint


class TestText:
    def test_takes_every_script(self) -> None:
        assert build(Scalars, {"a_string": "فاتورة 🧾"}).a_string == "فاتورة 🧾"

    def test_takes_a_uuid(self) -> None:
        assert build(Scalars, {"a_string": uuid.UUID(int=5)}).a_string == "00000000-0000-0000-0000-000000000005"

    @pytest.mark.parametrize("value", [1, b"a", True, ["a"], Decimal(1)])
    def test_refuses_other_types(self, value: object) -> None:
        assert "write a str" in refusal(Scalars, {"a_string": value}).hint

    def test_refuses_a_lone_surrogate(self) -> None:
        assert "lone surrogate" in refusal(Scalars, {"a_string": "a\ud800"}).hint


class TestBytes:
    @pytest.mark.parametrize("value", [b"ab", bytearray(b"ab"), memoryview(b"ab")])
    def test_take_what_holds_bytes(self, value: object) -> None:
        assert build(Scalars, {"a_bytes": value}).a_bytes == b"ab"

    @pytest.mark.parametrize("value", ["ab", 3, [1, 2]])
    def test_refuse_other_types(self, value: object) -> None:
        assert "write bytes" in refusal(Scalars, {"a_bytes": value}).hint


class TestFloats:
    @pytest.mark.parametrize("value", [20.5, Decimal("20.5"), -3, 0])
    def test_take_numbers_that_they_hold(self, value: float | Decimal) -> None:
        built = build(Scalars, {"a_double": value, "a_float": value})
        assert built.a_double == built.a_float == value

    @pytest.mark.parametrize("text", ["0.1", "14.5", "1234567.89"])
    def test_take_a_decimal_that_their_shortest_text_gives_back(self, text: str) -> None:
        assert str(build(Scalars, {"a_double": Decimal(text)}).a_double) == text

    @pytest.mark.parametrize("value", [Decimal("0.12345678901234567890"), 2**53 + 1, Decimal("NaN")])
    def test_refuse_a_number_that_they_would_change(self, value: object) -> None:
        assert "exactly" in refusal(Scalars, {"a_double": value}).hint

    @pytest.mark.parametrize("value", [10**400, Decimal("1e999")])
    def test_refuse_what_is_too_large(self, value: object) -> None:
        refusal(Scalars, {"a_double": value})

    def test_of_32_bits_refuse_what_would_become_infinite(self) -> None:
        assert "32 bits" in refusal(Scalars, {"a_float": 1e300}).hint

    def test_take_the_infinities(self) -> None:
        assert build(Scalars, {"a_double": math.inf, "a_float": -math.inf}).a_double == math.inf

    @pytest.mark.parametrize("value", [True, "1.5", None.__class__])
    def test_refuse_other_types(self, value: object) -> None:
        assert "write a float" in refusal(Scalars, {"a_double": value}).hint


def units() -> type[Message]:
    """A message whose enum has names that differ in case only: not protoc's work, but a server may bring it."""
    file = descriptor_pb2.FileDescriptorProto(name="unit.proto", syntax="proto3")
    choices = file.enum_type.add(name="Unit")
    for number, name in enumerate(["UNIT_NONE", "UNIT_Kg", "UNIT_KG"]):
        choices.value.add(name=name, number=number)
    field = file.message_type.add(name="Weight").field.add(name="unit", number=1, type_name=".Unit")
    field.type, field.label = field.TYPE_ENUM, field.LABEL_OPTIONAL
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("Weight"))


class TestEnums:
    class Coin(enum.Enum):
        SAR = "SAR"
        EGP = 3

    @pytest.mark.parametrize("value", ["CURRENCY_ENUM_SAR", "SAR", "sar", "currency_enum_sar", 1, Coin.SAR])
    def test_take_full_and_short_names_and_numbers(self, value: object) -> None:
        assert build(Order, {"currency": value}).currency == 1

    def test_take_an_enum_of_numbers(self) -> None:
        assert build(Order, {"currency": self.Coin.EGP}).currency == 3

    def test_refuse_an_unknown_name_and_tell_the_closest(self) -> None:
        hint = refusal(Order, {"currency": "SAAR"}).hint
        assert "SAR" in hint
        assert "4 choices" in hint

    def test_refuse_an_unknown_number(self) -> None:
        assert "no number 99" in refusal(Order, {"currency": 99}).hint

    @pytest.mark.parametrize("value", [True, 1.0, b"SAR"])
    def test_refuse_other_types(self, value: object) -> None:
        assert "write one of the names" in refusal(Order, {"currency": value}).hint

    def test_leave_out_the_prefix_of_the_type(self) -> None:
        assert enum_names(Order.DESCRIPTOR.fields_by_name["currency"].enum_type) == {
            "UNSPECIFIED": 0,
            "SAR": 1,
            "SEK": 2,
            "EGP": 3,
        }

    def test_leave_out_a_prefix_that_all_names_share(self) -> None:
        names = enum_names(Order.DESCRIPTOR.fields_by_name["shared"].enum_type)
        assert names == {"ROUND": 0, "SQUARE": 1, "SQUARE_LONG": -7}

    def test_without_a_prefix_keep_their_names(self) -> None:
        assert enum_names(Order.DESCRIPTOR.fields_by_name["bare"].enum_type) == {"RED": 0, "GREEN": 1}

    def test_prefer_the_exact_full_name(self) -> None:
        assert build(Order, {"odd": "ODD_NONE"}).odd == 0
        assert build(Order, {"odd": "ODD_ODD_NONE"}).odd == 3

    def test_tell_names_apart_by_case_where_a_server_does(self) -> None:
        unit: Any = units()
        assert build(unit, {"unit": "Kg"}).unit == 1
        assert build(unit, {"unit": "KG"}).unit == 2
        assert "UNIT_Kg, UNIT_KG" in refusal(unit, {"unit": "kg"}).hint

    def test_take_every_alias(self) -> None:
        assert build(Order, {"alias": "BEE"}).alias == 1

    def test_read_as_full_names_and_unknown_numbers_as_they_are(self) -> None:
        assert to_python(Order(currency=1, alias=1)) == {"currency": "CURRENCY_ENUM_SAR", "alias": "ALIAS_B"}
        assert to_python(Order(currency=99)) == {"currency": 99}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("x", "a str"),
        (Order(), "a Order"),
        (dict, "the class dict"),
        (None, "a NoneType"),
        (Message, "the class Message"),
    ],
)
@pytest.mark.parametrize("values", [{}, {"order_id": "A"}, None])
def test_only_message_classes_are_built(given: Any, words: str, values: Any) -> None:
    with pytest.raises(ConfigError, match=f"^message_class: is {words}; give a generated message class"):
        build(given, values)
