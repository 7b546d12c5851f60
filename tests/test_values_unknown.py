"""Fields that the schema does not know: counted wherever they are, and refused where none may be lost."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from values_schema import FILES, Everything, Order, private_pool

from invora_grpc.errors import ConfigError
from invora_grpc.unknown import UnknownFieldsError
from invora_grpc.values import to_python, unknown_fields

EXTRA = b"\xa8\x1f\x05"  # field 501, the number 5
GROUP = b"\xb3\x1f\xa8\x1f\x05\xa8\x1f\x06\xb4\x1f"  # group 502 with two fields in it


NEW_FIELDS = {"Line": (501, 502), "Order": (501,)}


def newer_order() -> type[Message]:
    """shop.Order as a later release may have it, with more fields."""
    pool = DescriptorPool()
    for original in FILES:
        file = descriptor_pb2.FileDescriptorProto.FromString(original.SerializeToString())
        for message in file.message_type if file.package == "shop" else ():
            for number in NEW_FIELDS.get(message.name, ()):
                field = message.field.add(name=f"new_{number}", number=number)
                field.type, field.label = field.TYPE_STRING, field.LABEL_OPTIONAL
        pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("shop.Order"))


def from_newer(**fields: object) -> Message:
    return Order.FromString(newer_order()(**fields).SerializeToString())


@pytest.mark.parametrize("given", ["x", None, {"a": 1}, [Order()], Order])
def test_they_are_looked_for_in_one_message(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"^message: is a \w+; give one generated message; of a list, its items"):
        unknown_fields(given)


def test_none_are_found_where_there_are_none() -> None:
    assert unknown_fields(Order(order_id="A", parent=Order(lines=[{"quantity": 1}]))) == 0
    assert unknown_fields(Everything()) == 0


def test_those_of_the_message_itself_are_counted() -> None:
    assert unknown_fields(Order.FromString(EXTRA + EXTRA)) == 2


def test_those_of_messages_in_fields_lists_and_maps_are_counted() -> None:
    line = {"new_501": "x", "new_502": "y"}
    message = from_newer(
        order_id="A", new_501="z", lines=[{}, line], lines_by_name={"tea": line}, parent={"parent": {"new_501": "q"}}
    )
    assert unknown_fields(message) == 6


def test_a_group_counts_as_one() -> None:
    assert unknown_fields(Order.FromString(GROUP)) == 1


def test_counting_changes_nothing() -> None:
    message = Order.FromString(EXTRA)
    unknown_fields(message)
    assert message.SerializeToString() == EXTRA


def test_messages_of_private_pools_are_looked_into_too() -> None:
    fresh = GetMessageClass(private_pool().FindMessageTypeByName("shop.Order"))
    assert unknown_fields(fresh.FromString(EXTRA)) == 1


def test_they_are_left_out_of_plain_values() -> None:
    assert to_python(Order.FromString(b"\x0a\x01A" + EXTRA)) == {"order_id": "A"}


def test_they_are_refused_on_demand_with_place_and_numbers() -> None:
    message = from_newer(lines=[{}, {"new_501": "x", "new_502": "y"}])
    with pytest.raises(UnknownFieldsError) as caught:
        to_python(message, unknown="error")
    assert caught.value.path == "lines[1]"
    assert caught.value.numbers == (501, 502)
    assert str(caught.value).startswith("lines[1]: shop.Line came with fields that the schema does not know")
    assert "501, 502" in str(caught.value)


def test_the_message_itself_has_an_empty_path() -> None:
    with pytest.raises(UnknownFieldsError, match=r"^message: shop\.Order came with") as caught:
        to_python(Order.FromString(EXTRA), unknown="error")
    assert caught.value.path == ""


def test_a_long_list_of_numbers_is_told_short() -> None:
    message = Order.FromString(EXTRA * 50)
    with pytest.raises(UnknownFieldsError, match="and more") as caught:
        to_python(message, unknown="error")
    assert len(caught.value.numbers) == 50
    assert len(str(caught.value)) < 300


def test_the_error_survives_a_pickle() -> None:
    error = UnknownFieldsError("items[3]", "shop.Order", [501])
    assert pickle.loads(pickle.dumps(error)) == error


def test_without_unknown_fields_nothing_is_refused() -> None:
    assert to_python(Order(order_id="A"), unknown="error") == {"order_id": "A"}
