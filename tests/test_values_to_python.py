"""`to_python` against protobuf's own JSON form, value by value, and its ways of reading against each other."""

from __future__ import annotations

import base64
import gc
import math
import re
import struct
import threading
import weakref
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, json_format, timestamp_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from values_random import messages
from values_schema import Everything, Kinds, Order, Scalars, private_pool

from invora_grpc.call import load
from invora_grpc.errors import ConfigError
from invora_grpc.reading import reader_of
from invora_grpc.values import build, to_json, to_python

MANY = 150  # readings after which every reader that pays to compile is compiled
CATALOG = {
    "invora/simple/invoices/v1/service.proto": (
        "invora.simple.invoices.v1.ListResponse",
        "invora.simple.invoices.v1.GetResponse",
        "invora.simple.invoices.v1.CreateRequest",
        "invora.simple.invoices.v1.ListRequest",
    ),
    "invora/billing/customers/v2/service.proto": (
        "invora.billing.customers.v2.ListResponse",
        "invora.billing.customers.v2.CreateRequest",
        "invora.billing.customers.v2.ListRequest",
    ),
    "invora/billing/events/v2/service.proto": (
        "invora.billing.events.v2.BatchCreateRequest",
        "invora.billing.events.v2.Event",
    ),
    "invora/documents/v2/service.proto": (
        "invora.documents.v2.ListResponse",
        "invora.documents.v2.ListRequest",
        "oasis.names.specification.ubl.schema.xsd.invoice_2.InvoiceType",
        "oasis.names.specification.ubl.schema.xsd.commonaggregatecomponents_2.PartyType",
    ),
}


def catalog_class(name: str) -> type[Message]:
    load(next(file for file, names in CATALOG.items() if name in names))
    return GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


def is_compiled(message_class: type[Message]) -> bool:
    return reader_of(message_class).__code__.co_filename == f"<{message_class.DESCRIPTOR.full_name}>"


def full(message: Any, depth: int = 0) -> None:
    """Every field set, so that compiling the reader pays."""
    for field in message.DESCRIPTOR.fields:
        inner, held = field.message_type, getattr(message, field.name)
        if inner is not None and inner.GetOptions().map_entry:
            continue
        if inner is None:
            one = {str: "x", bytes: b"x", bool: True, float: 1.0}.get(type(field.default_value), 1)
            one = "x" if field.type == field.TYPE_STRING else b"x" if field.type == field.TYPE_BYTES else one
            held.append(one) if field.is_repeated else setattr(message, field.name, one)
        elif depth < 3:
            full(held.add() if field.is_repeated else held, depth + 1)


def warmed(message_class: type[Message], read: Callable[[Message], Any] = to_python) -> type[Message]:
    message = message_class()
    full(message)
    for _ in range(MANY):
        read(message)
    return message_class


def cold(message_class: type[Message]) -> type[Message]:
    """The same class, but never read, from a pool of its own."""
    pool, done = DescriptorPool(), set[str]()

    def add(file: Any) -> None:
        if file.name not in done:
            done.add(file.name)
            for needed in file.dependencies:
                add(needed)
            pool.AddSerializedFile(file.serialized_pb)

    add(message_class.DESCRIPTOR.file)
    return GetMessageClass(pool.FindMessageTypeByName(message_class.DESCRIPTOR.full_name))


# --- protobuf's JSON form, as the values that stand for it -----------------------------------------------------------


def from_json(descriptor: Descriptor, value: Any) -> Any:
    """What `to_python` owes for a message whose JSON form this is."""
    special = SPECIAL.get(descriptor.full_name)
    if special is not None:
        return special(value)
    if descriptor.full_name.endswith("Value") and descriptor.full_name.startswith("google.protobuf."):
        return scalar_from_json(descriptor.fields_by_name["value"], value)
    fields = descriptor.fields_by_name
    return {name: field_from_json(fields[name], held) for name, held in value.items()}


def field_from_json(field: FieldDescriptor, value: Any) -> Any:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        key, held = inner.fields_by_name["key"], inner.fields_by_name["value"]
        return {scalar_from_json(key, name): one_from_json(held, one) for name, one in value.items()}
    return [one_from_json(field, one) for one in value] if field.is_repeated else one_from_json(field, value)


def one_from_json(field: FieldDescriptor, value: Any) -> Any:
    return scalar_from_json(field, value) if field.message_type is None else from_json(field.message_type, value)


def scalar_from_json(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None or field.type == field.TYPE_STRING:
        return value
    if field.cpp_type == field.CPPTYPE_BOOL:
        return {"true": True, "false": False}.get(value, value)
    if field.type == field.TYPE_BYTES:
        return base64.b64decode(value)
    if field.cpp_type == field.CPPTYPE_FLOAT:
        return struct.unpack("<f", struct.pack("<f", float(value)))[0]
    return float(value) if field.cpp_type == field.CPPTYPE_DOUBLE else int(value)


def decimal_from_json(value: dict[str, Any]) -> Decimal:
    return Decimal(f"{int(value.get('units', 0)) * 10**9 + value.get('nanos', 0)}e-9")


def instant_from_json(value: str) -> datetime | str:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromJsonString(value)
    return value if stamp.nanos % 1000 else stamp.ToDatetime(tzinfo=UTC)


def span_from_json(value: str) -> timedelta | str:
    span = duration_pb2.Duration()
    span.FromJsonString(value)
    return value if span.nanos % 1000 else span.ToTimedelta()


def day_from_json(value: dict[str, int]) -> date | dict[str, int]:
    parts = {"year": 0, "month": 0, "day": 0, **value}
    return date(**parts) if all(parts.values()) else parts


def clock_from_json(value: dict[str, int]) -> Any:
    parts = {"hours": 0, "minutes": 0, "seconds": 0, "nanos": 0, **value}
    nanos = parts.pop("nanos")
    if parts["hours"] == 24 or nanos % 1000:
        text = "{hours:02}:{minutes:02}:{seconds:02}".format(**parts)
        digits = f"{nanos:09}"
        return text + (f".{digits.removesuffix('000').removesuffix('000')}" if nanos else "")
    return time(parts["hours"], parts["minutes"], parts["seconds"], nanos // 1000)


SPECIAL: dict[str, Callable[[Any], Any]] = {
    "kernel.DecimalValue": decimal_from_json,
    "kernel.StringList": lambda value: value.get("items", []),
    "google.protobuf.Timestamp": instant_from_json,
    "google.protobuf.Duration": span_from_json,
    "google.protobuf.FieldMask": lambda value: re.sub("([A-Z])", r"_\1", value).lower().split(",") if value else [],
    "google.protobuf.Struct": lambda value: value,
    "google.protobuf.Value": lambda value: value,
    "google.protobuf.ListValue": lambda value: value,
    "google.type.Date": day_from_json,
    "google.type.TimeOfDay": clock_from_json,
}


def same(ours: Any, theirs: Any) -> bool:
    """Equal in value and in type, where JSON's own numbers may be int or float."""
    if isinstance(ours, dict):
        return isinstance(theirs, dict) and ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, (int, float)) and not isinstance(ours, bool):
        return isinstance(theirs, (int, float)) and ours == theirs
    return type(ours) is type(theirs) and ours == theirs


@pytest.mark.parametrize("name", [name for names in CATALOG.values() for name in names])
@given(data=st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_content_is_that_of_protobufs_json_form(name: str, data: st.DataObject) -> None:
    message_class = catalog_class(name)
    message = data.draw(messages(message_class))
    json_form = json_format.MessageToDict(message, preserving_proto_field_name=True)
    assert same(to_python(message), from_json(message_class.DESCRIPTOR, json_form))


@pytest.mark.parametrize("name", [name for names in CATALOG.values() for name in names])
def test_the_content_stays_the_same_when_the_reader_is_compiled(name: str) -> None:
    message_class = warmed(catalog_class(name))
    fresh = cold(message_class)

    @given(messages(message_class))
    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def compare(message: Message) -> None:
        json_form = json_format.MessageToDict(message, preserving_proto_field_name=True)
        assert same(to_python(message), from_json(message_class.DESCRIPTOR, json_form))
        listed = to_python(fresh.FromString(message.SerializeToString()))
        assert same(to_python(message), listed)
        assert list(to_python(message)) == list(listed)

    compare()
    assert not is_compiled(fresh)
    assert is_compiled(message_class) or name.startswith("oasis.")  # these are wide, and asking for all costs more


@pytest.mark.parametrize(
    "read",
    [to_python, partial(to_python, names="json"), to_json, partial(to_json, short_enums=False)],
    ids=["wire names", "json names", "json", "json with full enum names"],
)
def test_every_kind_of_field_is_read_alike_before_and_after_compiling(read: Callable[[Message], Any]) -> None:
    message_class = warmed(GetMessageClass(private_pool().FindMessageTypeByName("shop.Everything")), read)

    @given(messages(Everything))
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def compare(message: Message) -> None:
        data = message.SerializeToString()
        assert same(read(message_class.FromString(data)), read(cold(message_class).FromString(data)))

    compare()


# --- names ----------------------------------------------------------------------------------------------------------


def test_json_names_are_given_on_demand_all_the_way_down() -> None:
    order = build(Order, {"order_id": "A", "lines": [{"unit_price": "1.5"}], "lines_by_name": {"the_tea": {}}})
    assert to_python(order, names="json") == {
        "orderId": "A",
        "lines": [{"unitPrice": Decimal("1.5")}],
        "linesByName": {"the_tea": {}},
    }


def test_json_names_are_taken_back() -> None:
    order = build(Order, {"order_id": "A", "lines": [{"product_name": "Tea"}]})
    assert build(Order, to_python(order, names="json")) == order


def test_json_names_go_with_defaults() -> None:
    assert to_python(Order(), names="json", defaults=True)["orderId"] == ""


def test_a_raw_any_has_json_names_too() -> None:
    raw = build(Kinds, {"any": {"type_url": "x/no.Such", "value": b"\x01"}})
    assert to_python(raw, names="json") == {"any": {"typeUrl": "x/no.Such", "value": b"\x01"}}


@pytest.mark.parametrize("wrong", [{"names": "camel"}, {"unknown": "count"}])
def test_other_choices_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="'wire' or 'json'"):
        to_python(Order(), **wrong)


# --- compiled readers -----------------------------------------------------------------------------------------------


def odd(*names: str) -> type[Any]:
    """A message of text fields with these names, as a server may have them."""
    file = descriptor_pb2.FileDescriptorProto(name="odd.proto", package="odd", syntax="proto3")
    message = file.message_type.add(name="Odd")
    for number, name in enumerate(names, 1):
        field = message.field.add(name=name, number=number)
        field.type, field.label = field.TYPE_STRING, field.LABEL_OPTIONAL
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("odd.Odd"))


def test_fields_may_be_called_like_python_keywords_and_protobuf_methods() -> None:
    names = ("from", "class", "None", "HasField", "ListFields", "WhichOneof", "DESCRIPTOR", "d", "m", "getattr", "b1")
    message_class = odd(*names)
    message = build(message_class, {name: f"is {name}" for name in names})
    first = to_python(message)
    assert first == {name: f"is {name}" for name in names}
    for _ in range(MANY):
        assert to_python(message) == first
    assert is_compiled(message_class)


def test_minus_zero_is_a_value() -> None:
    message = warmed(GetMessageClass(private_pool().FindMessageTypeByName("shop.Scalars")))(a_double=-0.0)
    plain = to_python(message)
    assert math.copysign(1, plain["a_double"]) == -1
    assert plain == to_python(Scalars(a_double=-0.0))


def test_wide_types_of_which_little_is_set_are_not_compiled() -> None:
    message_class = odd(*(f"field_{number}" for number in range(60)))
    for _ in range(MANY):
        assert to_python(message_class(field_7="x")) == {"field_7": "x"}
    assert not is_compiled(message_class)


def test_many_threads_may_read_while_readers_are_compiled() -> None:
    fresh = GetMessageClass(private_pool().FindMessageTypeByName("shop.Order"))
    values = {"order_id": "A", "lines": [{"unit_price": "1.5", "quantity": 2}] * 3, "parent": {"currency": "SAR"}}
    message = build(fresh, values)
    expected = to_python(build(Order, values))
    start, wrong = threading.Barrier(8), list[Any]()

    def work() -> None:
        start.wait()
        wrong.extend(plain for _ in range(MANY) if (plain := to_python(message)) != expected)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_compiled_readers_leave_with_their_pool() -> None:
    fresh = warmed(GetMessageClass(private_pool().FindMessageTypeByName("shop.Order")))
    assert is_compiled(fresh)
    alive = weakref.ref(fresh)
    del fresh
    gc.collect()
    assert alive() is None
