"""Calls of one schema to a gateway of another: each value under its own name, or refused before a byte is returned."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from name_oracle import unknown_numbers
from proto_text import message, request_of, response_of, rpc

from invora_grpc.errors import SchemaDriftError
from invora_grpc.schema import wire
from invora_grpc.schema.adapting import RELOCATED, Adapter, adapter_of


class Books:
    """The two sides of one RPC, and what stands between them."""

    def __init__(self, ours: str, theirs: str, syntax: str = "proto3") -> None:
        self.ours, self.theirs = rpc(ours, syntax=syntax), rpc(theirs, syntax=syntax)
        self.adapter = adapter(self.ours, self.theirs)

    def send(self, given: Any = None, **values: Any) -> Any:
        """What the gateway reads of a request."""
        data = self.adapter.encode(request_of(self.ours, **values) if given is None else given)
        return request_of(self.theirs).FromString(data)

    def receive(self, given: Any = None, **values: Any) -> Any:
        """What the client reads of a response."""
        sent = response_of(self.theirs, **values) if given is None else given
        return self.adapter.decode(sent.SerializePartialToString())

    def refusal(self, given: Any = None, **values: Any) -> str:
        """What is said of a request that is not sent."""
        with pytest.raises(SchemaDriftError) as caught:
            self.send(given, **values)
        assert len(caught.value.differences) == 1
        return caught.value.differences[0]


def adapter(ours: MethodDescriptor, theirs: MethodDescriptor) -> Adapter:
    return adapter_of(ours, theirs, method="/p.Books/Keep", endpoint="https://gateway")


def books(ours: str, theirs: str, types: str = "", syntax: str = "proto3") -> Books:
    """Of the fields of the root message on both sides, and of types that both have."""
    return Books(*[f"{types} message Root {{ {fields} }}" for fields in (ours, theirs)], syntax)


# --- requests: what arrives ---------------------------------------------------------------------------------------


def test_swapped_fields_arrive_under_their_names() -> None:
    shelf = books("int64 amount = 1; int64 balance = 2;", "int64 balance = 1; int64 amount = 2;")
    sent = shelf.send(amount=5, balance=7)
    assert (sent.amount, sent.balance) == (5, 7)
    back = shelf.receive(amount=5, balance=7)
    assert (back.amount, back.balance) == (5, 7)


def test_renumbered_fields_of_every_sort_arrive_at_every_depth() -> None:
    body = """
        message Root {{ Line line = {0}; repeated Line lines = {1}; map<string, Line> by_name = {2}; Root next = {3}; }}
        message Line {{
            int32 a = {0}; repeated string texts = {1}; optional bytes raw = {2}; map<int32, bool> flags = {3};
            google.protobuf.StringValue word = {4}; google.protobuf.Timestamp at = {5};
            oneof o {{ double d = {6}; bool b = 9; }}
        }}
    """
    shelf = Books(body.format(1, 2, 3, 4, 5, 6, 7), body.format(7, 6, 5, 3, 4, 2, 1))
    line = {
        "a": 3,
        "texts": ["x", ""],
        "raw": b"",
        "flags": {4: True},
        "word": {"value": ""},
        "at": {"nanos": 1},
        "d": 0.0,
    }
    values: dict[str, Any] = {"line": line, "lines": [line, {}], "by_name": {"k": line, "": {}}}
    values["next"] = {"lines": [{}], "next": {}}
    sent = shelf.send(**values)
    assert sent == request_of(shelf.theirs, **values)
    assert shelf.receive(**values) == response_of(shelf.ours, **values)


def test_types_that_mean_the_same_are_carried_over_as_bytes_with_what_is_unknown_in_them() -> None:
    line = "message Line { int32 a = 1; }"
    shelf = books("int32 x = 1; Line line = 2;", "int32 x = 3; Line line = 2;", line)
    given: Any = request_of(shelf.ours, x=1)
    given.line.MergeFromString(b"\x50\x07")  # number 10
    assert unknown_numbers(shelf.send(given).line) == [10]


def test_an_empty_message_that_is_set_stays_set() -> None:
    shelf = books("Line line = 1; Line other = 2;", "Line line = 3; Line other = 2;", "message Line { int32 a = 1; }")
    assert shelf.send(line={}).HasField("line")
    assert not shelf.send(line={}).HasField("other")


def test_one_value_fits_into_a_list_and_back() -> None:
    shelf = books("repeated string tags = 1; repeated Line lines = 2;", "string tags = 1; Line lines = 2;", LINE)
    sent = shelf.send(tags=["a"], lines=[{"a": 1}])
    assert (sent.tags, sent.lines.a) == ("a", 1)
    back = shelf.receive(tags="b", lines={"a": 2})
    assert (list(back.tags), [line.a for line in back.lines]) == (["b"], [2])


LINE = "message Line { int32 a = 1; }"


def test_enum_values_arrive_by_their_names_in_every_place() -> None:
    fields = "E e = 1; repeated E es = 2; map<string, E> by_name = 3; optional E maybe = 4;"
    body = "enum E {{ NONE = 0; A = {}; B = {}; }} message Root {{ {} }}"
    shelf = Books(body.format(1, 2, fields), body.format(2, 1, fields))
    values: dict[str, Any] = {"e": "A", "es": ["B", "NONE", "A"], "by_name": {"k": "B"}, "maybe": "NONE"}
    assert shelf.send(**values) == request_of(shelf.theirs, **values)
    assert shelf.receive(**values) == response_of(shelf.ours, **values)


def test_a_zero_that_has_another_number_there_is_sent_since_unset_would_read_as_another_value() -> None:
    shelf = Books(
        "enum E { A = 0; B = 1; } message Root { E e = 1; }", "enum E { B = 0; A = 1; } message Root { E e = 1; }"
    )
    assert shelf.send().e == 1
    assert shelf.receive().e == 1  # B
    assert "cannot be told from unset" in shelf.refusal(e="B")


def test_extensions_that_both_sides_know_are_carried_and_others_are_refused() -> None:
    body = "message Root {{ extensions 100 to 200; }} extend Root {{ optional int32 x = {}; {} }}"
    shelf = Books(body.format(100, "optional int32 y = 120;"), body.format(110, ""), "proto2")
    pools: Any = [method.containing_service.file.pool for method in (shelf.ours, shelf.theirs)]
    x, y, there = (
        pools[0].FindExtensionByName("p.x"),
        pools[0].FindExtensionByName("p.y"),
        pools[1].FindExtensionByName("p.x"),
    )
    given = request_of(shelf.ours)
    given.Extensions[x] = 5
    assert shelf.send(given).Extensions[there] == 5
    given.Extensions[y] = 6
    assert shelf.refusal(given) == "request.[p.y] is gone"


# --- requests: what is refused ------------------------------------------------------------------------------------

REFUSED = [
    ("int32 a = 1; int32 b = 2;", "int32 a = 1;", {"b": 1}, "request.b is gone"),
    ("repeated Line l = 1;", "repeated Line l = 1;", {"l": [{}, {"b": 1}]}, "request.l[1].b is gone"),
    ("map<string, Line> l = 1;", "map<string, Line> l = 1;", {"l": {"k": {"b": 1}}}, "request.l{}.b is gone"),
    ("string a = 1;", "int32 a = 1;", {"a": "secret"}, "request.a has another type"),
    (
        "repeated int32 a = 1;",
        "int32 a = 1;",
        {"a": [1, 2]},
        "request.a holds more than one value, and can hold one there",
    ),
    (
        *("optional int32 a = 1;", "int32 a = 1;", {"a": 0}),
        "request.a is set to its default, which cannot be told from unset there",
    ),
    (
        *("optional int32 a = 1; optional int32 b = 2;", "oneof o { int32 a = 1; int32 b = 2; }", {"a": 1, "b": 2}),
        "request.b excludes a there, and both are set",
    ),
    ("E e = 1;", "E e = 1;", {"e": 2}, "request.e is GONE, which cannot be said there"),
    ("repeated E e = 1;", "repeated E e = 1;", {"e": [1, 9]}, "request.e is an enum value without a name"),
]
SIDES = [
    "message Line { int32 a = 1; int32 b = 2; } enum E { NONE = 0; A = 1; GONE = 2; }",
    "message Line { int32 a = 1; } enum E { NONE = 0; A = 3; }",
]


def one_way(ours: str, theirs: str) -> tuple[MethodDescriptor, MethodDescriptor]:
    """An RPC whose response is empty, so that only the request can be a matter of doubt."""
    call = "rpc Keep(Root) returns (google.protobuf.Empty);"
    first, second = (
        f"{types} message Root {{ {fields} }}" for types, fields in zip(SIDES, (ours, theirs), strict=True)
    )
    return rpc(first, call=call), rpc(second, call=call)


@pytest.mark.parametrize(("ours", "theirs", "values", "why"), REFUSED)
def test_what_would_be_lost_is_refused_with_its_place_and_without_its_value(
    ours: str, theirs: str, values: dict[str, Any], why: str
) -> None:
    sides = one_way(ours, theirs)
    made = adapter(*sides)
    with pytest.raises(SchemaDriftError) as caught:
        made.encode(request_of(sides[0], **values))
    error = caught.value
    assert error.differences == (why,)
    assert (error.method, error.endpoint, error.verdict) == (
        "/p.Books/Keep",
        "https://gateway",
        str(made.comparison.verdict),
    )
    assert "secret" not in str(error)
    assert pickle.loads(pickle.dumps(error)) == error
    assert made.encode(request_of(sides[0])) == b""  # what is not set does no harm


def test_a_field_that_is_required_there_is_missed() -> None:
    line = "message Line { optional int32 a = 1; }"
    shelf = books("optional int32 a = 1;", "optional int32 a = 1; required int32 b = 2;", line, "proto2")
    assert shelf.refusal(a=1) == "p.Root.b is required there, and is not set"


def test_a_field_that_would_read_as_another_default_is_refused_while_it_is_unset() -> None:
    call = "rpc Keep(Root) returns (google.protobuf.Empty);"
    sides = [
        rpc(f"message Root {{ optional int32 a = 1 [default = {n}]; }}", syntax="proto2", call=call) for n in (3, 4)
    ]
    made = adapter(*sides)
    with pytest.raises(SchemaDriftError, match="would read as another default"):
        made.encode(request_of(sides[0]))
    assert request_of(sides[1]).FromString(made.encode(request_of(sides[0], a=3))).a == 3


def test_an_unset_enum_that_would_read_as_a_value_known_by_another_number_is_refused() -> None:
    call = "rpc Keep(Root) returns (google.protobuf.Empty);"
    ours = rpc("enum E { DRAFT = 0; PAID = 1; } message Root { E e = 1; }", call=call)
    theirs = rpc("enum E { PAID = 0; OPEN = 1; } message Root { E e = 1; }", call=call)
    with pytest.raises(SchemaDriftError, match="is unset, and would read as another value"):
        adapter(ours, theirs).encode(request_of(ours))


@pytest.mark.parametrize(
    ("ours", "theirs", "kind"),
    [
        ("int32 a = 1;", "string a = 1;", "was int32 and is string"),
        ("int32 a = 1;", "repeated int32 a = 1;", "was singular and is repeated"),
        ("oneof o { int32 a = 1; int32 b = 2; }", "optional int32 a = 1; optional int32 b = 2;", "excluded b"),
    ],
)
def test_a_response_that_could_not_be_read_refuses_every_call(ours: str, theirs: str, kind: str) -> None:
    with pytest.raises(SchemaDriftError, match=kind):
        books(ours, theirs)


def test_another_kind_of_streaming_refuses_every_call() -> None:
    ours, theirs = rpc("message Root {}"), rpc("message Root {}", call="rpc Keep(Root) returns (stream Root);")
    with pytest.raises(SchemaDriftError, match="was unary and is server streaming"):
        adapter(ours, theirs)


def test_a_message_of_another_type_is_a_mistake_of_the_caller() -> None:
    shelf = books("int32 a = 1;", "int32 a = 2;", LINE)
    with pytest.raises(TypeError, match=r"takes a p\.Root, not a p\.Line"):
        shelf.adapter.encode(message(shelf.ours, "p.Line"))
    with pytest.raises(TypeError):  # the same name, in another pool
        shelf.adapter.encode(request_of(shelf.theirs))


# --- what only the gateway knows ----------------------------------------------------------------------------------


def test_a_served_field_is_kept_as_an_unknown_one_and_goes_back() -> None:
    shelf = books(
        "int32 a = 1;", "int32 a = 2; string more = 3; repeated Line lines = 4; map<string, E> m = 5;", SIDES[1]
    )
    sent = response_of(shelf.theirs, a=1, more="x", lines=[{"a": 1}, {}], m={"k": "A"})
    got = shelf.receive(sent)
    assert got.a == 1
    assert unknown_numbers(got) == [3, 4, 4, 5]
    got.a = 9
    sent.a = 9
    assert shelf.send(got) == sent


def test_a_served_field_whose_number_is_another_with_ours_is_kept_under_a_number_that_is_moved_and_goes_back() -> None:
    shelf = books("int32 amount = 1; int32 gone = 2;", "int32 fee = 1; int32 amount = 2; optional bytes note = 3;")
    sent = response_of(shelf.theirs, fee=5, amount=7, note=b"")
    got = shelf.receive(sent)
    assert (got.amount, got.gone) == (7, 0)
    assert unknown_numbers(got) == [3, RELOCATED + 1]
    assert shelf.send(got) == sent


def test_fields_that_not_even_the_gateways_schema_knows_are_kept_and_go_back() -> None:
    shelf = books("int32 a = 1; int32 b = 20;", "int32 a = 2; int32 b = 21;")
    sent = response_of(shelf.theirs, a=1)
    sent.MergeFromString(
        bytes([0xA0, 0x01, 0x07, 0xF2, 0x01, 0x01, 0x41, 0xFB, 0x01, 0x08, 0x01, 0xFC, 0x01])
    )  # 20, 30, 31
    got = shelf.receive(sent)
    assert (got.a, got.b) == (1, 0)
    assert unknown_numbers(got) == [30, 31, RELOCATED + 20]
    assert shelf.send(got) == sent


def test_unknown_fields_that_did_not_come_with_a_response_are_refused_where_they_could_mean_something() -> None:
    shelf = books("int32 a = 1;", "int32 a = 2;")
    given = request_of(shelf.ours)
    given.MergeFromString(b"\x10\x07")  # 2, which is another field's there
    assert shelf.refusal(given) == "request holds an unknown field, number 2, that cannot be carried over"
    shelf = books("int32 a = 1;", "int32 a = 2; string s = 1;")
    given = request_of(shelf.ours)
    given.MergeFromString(b"\x0a\x01x")  # 1, but no int32
    assert "number 1," in shelf.refusal(given)


def test_a_member_of_a_oneof_that_only_the_gateway_knows_excludes_ours_on_the_way_back() -> None:
    shelf = books(
        "int32 x = 1; oneof o { int32 a = 2; int32 b = 3; }",
        "int32 x = 9; oneof o { int32 a = 2; int32 b = 3; int32 c = 4; }",
    )
    got = shelf.receive(c=5)
    assert shelf.send(got).c == 5
    got.b = 1
    assert "excludes c there" in shelf.refusal(got)


def test_a_default_that_was_set_there_goes_back_as_set_unless_it_was_changed() -> None:
    shelf = books("int32 a = 1; string s = 2;", "optional int32 a = 1; optional string s = 3;")
    got = shelf.receive(a=0, s="")
    assert (got.a, got.s) == (0, "")
    assert shelf.send(got) == request_of(shelf.theirs, a=0, s="")
    got.a = 4
    assert shelf.send(got) == request_of(shelf.theirs, a=4, s="")


def test_a_new_enum_value_is_read_as_its_number_and_goes_back() -> None:
    types = "enum E {{ NONE = 0; A = {}; {} }} message Root {{ E e = 1; repeated E es = 2; }}"
    shelf = Books(types.format(1, ""), types.format(3, "B = 7;"))
    got = shelf.receive(e="B", es=["A", "B"])
    assert (got.e, list(got.es)) == (7, [1, 7])
    assert shelf.send(got) == request_of(shelf.theirs, e="B", es=["A", "B"])


def test_a_nameless_enum_value_with_the_number_of_a_value_of_ours_is_not_misread() -> None:
    types = "enum E {{ NONE = 0; A = {}; }} message Root {{ E e = 1; }}"
    shelf = Books(types.format(1), types.format(3))
    with pytest.raises(
        DecodeError, match=r"response\.e is an enum value without a name, and has the number of another"
    ):
        shelf.receive(e=1)
    assert shelf.receive(e=9).e == 9


# --- google.protobuf.Any ------------------------------------------------------------------------------------------

ANY = (
    "message Root {{ google.protobuf.Any any = 1; repeated google.protobuf.Any more = 2; }}"
    "message Line {{ int32 a = {}; int32 b = {}; }}"
)


def packed(method: MethodDescriptor, name: str, **values: Any) -> dict[str, Any]:
    return {"type_url": f"type.example/{name}", "value": message(method, name, **values).SerializeToString()}


def test_what_is_packed_is_converted_like_all_else() -> None:
    shelf = Books(ANY.format(1, 2), ANY.format(2, 1))
    ours, theirs = (packed(method, "p.Line", a=5, b=7) for method in (shelf.ours, shelf.theirs))
    assert ours != theirs
    assert shelf.send(any=ours, more=[ours]) == request_of(shelf.theirs, any=theirs, more=[theirs])
    assert shelf.receive(any=theirs, more=[theirs]) == response_of(shelf.ours, any=ours, more=[ours])


def test_what_is_packed_in_what_is_packed_is_converted_a_hundred_deep_and_refused_beyond() -> None:
    body = ANY + " message Box {{ google.protobuf.Any any = 1; }}"
    shelf = Books(body.format(1, 2), body.format(2, 1))

    def nested(method: MethodDescriptor, depth: int) -> dict[str, Any]:
        inner = packed(method, "p.Line", a=5)
        for _ in range(depth):
            inner = packed(method, "p.Box", any=inner)
        return inner

    assert shelf.send(any=nested(shelf.ours, 20)) == request_of(shelf.theirs, any=nested(shelf.theirs, 20))
    assert shelf.refusal(any=nested(shelf.ours, 60)).endswith("is nested more than 100 deep")


def test_what_is_packed_and_not_known_to_both_sides_is_passed_as_it_is() -> None:
    shelf = Books(ANY.format(1, 2) + "message Own { int32 a = 1; }", ANY.format(2, 1))
    for one in ({"type_url": "x/p.Stranger", "value": b"\xff"}, packed(shelf.ours, "p.Own", a=1), {}):
        assert shelf.send(any=one) == request_of(shelf.theirs, any=one)


def test_what_is_packed_and_would_be_lost_is_refused_and_what_cannot_be_read_too() -> None:
    shelf = Books(ANY.format(1, 2), ANY.format(2, 1).replace("int32 b = 1;", ""))
    assert shelf.refusal(any=packed(shelf.ours, "p.Line", b=1)) == "request.any.value.b is gone"
    assert "holds no readable p.Line" in shelf.refusal(any={"type_url": "x/p.Line", "value": b"\xff"})


def test_what_is_packed_in_a_response_and_has_another_type_is_kept_and_not_misread() -> None:
    shelf = Books(ANY.format(1, 2), ANY.format(1, 2).replace("int32 a", "string a"))
    got = shelf.receive(any=packed(shelf.theirs, "p.Line", a="x", b=3))
    line: Any = message(shelf.ours, "p.Line")
    line.ParseFromString(got.any.value)
    assert (line.a, line.b, unknown_numbers(line)) == (0, 3, [RELOCATED + 1])


# --- bounds -------------------------------------------------------------------------------------------------------


def test_messages_are_converted_a_hundred_deep_and_refused_beyond() -> None:
    shelf = books("Root next = 1; int32 a = 2;", "Root next = 1; int32 a = 3;")

    def nested(depth: int) -> Any:
        root = inner = request_of(shelf.ours)
        for _ in range(depth - 1):
            inner = inner.next
        inner.a = 1
        return root

    assert shelf.send(nested(100)).ByteSize() == nested(100).ByteSize()
    assert shelf.refusal(nested(101)).endswith(".next is nested more than 100 deep")


def test_types_nested_deeper_than_protobuf_can_handle_are_refused() -> None:
    chain = " ".join(f"message M{index} {{ M{(index + 1) % 3000} next = 1; }}" for index in range(3000))
    body = "message Root {{ M0 next = 1; int32 a = {}; }} {}"
    with pytest.raises(SchemaDriftError, match="more types than protobuf can handle"):
        Books(body.format(2, chain), body.format(3, chain))


def test_an_adapter_is_shared_by_threads_from_its_first_call() -> None:
    body = ANY + "message Page {{ repeated Line lines = 1; Page next = 2; }}"
    for _ in range(20):
        shelf = Books(body.format(1, 2), body.format(2, 1))
        given = packed(shelf.ours, "p.Page", lines=[{"a": 1}], next={"lines": [{"b": 2}]})
        expected = request_of(
            shelf.theirs, any=packed(shelf.theirs, "p.Page", lines=[{"a": 1}], next={"lines": [{"b": 2}]})
        )
        with ThreadPoolExecutor(8) as threads:
            assert all(sent == expected for sent in threads.map(lambda _, s=shelf, g=given: s.send(any=g), range(16)))


def test_bytes_that_are_no_message_are_told_as_protobuf_does() -> None:
    for shelf in (books("int32 a = 1;", "int32 a = 2;"), books("int32 a = 1;", "int32 a = 1;")):
        with pytest.raises(DecodeError):
            shelf.adapter.decode(b"\xff")


@given(
    st.lists(st.tuples(st.integers(1, 2**29 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=20), st.integers(0, 3)))
)
def test_unknown_fields_are_written_as_they_came(fields: list[tuple[int, int, bytes, int]]) -> None:
    data = b""
    for number, value, text, kind in fields:
        if kind == 0:
            data += wire.varint_field(number, value)
        elif kind == 1:
            data += wire.encoded(number, Raw(1, value))
        elif kind == 2:
            data += wire.encoded(number, Raw(2, text))
        else:
            data += wire.encoded(number, Raw(5, value & 0xFFFF_FFFF))
    known: Any = message(rpc("message Root {}"), "p.Root")
    known.ParseFromString(data)
    assert b"".join(wire.encoded(number, field) for number, field in wire.unknown_in(known)) == data


class Raw:
    """A field as protobuf hands it out."""

    def __init__(self, wire_type: int, data: Any) -> None:
        self.wire_type, self.data = wire_type, data
