"""What differs between two schemas, and how bad it is. A good verdict never holds where bytes would be misread."""

import dataclasses
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from proto_text import rpc

from invora_grpc.schema import survey
from invora_grpc.schema.compare import Comparer, Direction, Verdict, compare_messages, compare_methods, same_files
from invora_grpc.schema.descriptors import Schema
from invora_grpc.schema.files import File, FileSet
from invora_grpc.schema.verdicts import KINDS

IDENTICAL, ADDITIVE, ADAPTABLE, INCOMPATIBLE = Verdict
REQUEST, RESPONSE = Direction


def found(ours: str, theirs: str, direction: Direction, syntax: str = "proto3") -> list[tuple[str, str, Verdict]]:
    """Kind, symbol and verdict of what differs in one direction."""
    first, second = rpc(ours, syntax=syntax), rpc(theirs, syntax=syntax)
    comparison = compare_messages(first.input_type, second.input_type, direction)
    assert comparison.verdict == max((one.verdict for one in comparison.differences), default=IDENTICAL)
    return [(one.kind, one.symbol.removeprefix("p."), one.verdict) for one in comparison.differences]


# --- each kind of difference --------------------------------------------------------------------------------------

Case = tuple[str, str, str, str, Verdict, Verdict]
"""Ours, theirs, kind, symbol, verdict as a request, verdict as a response."""

FIELDS: list[Case] = [
    ("int32 a = 1;", "int32 a = 1; int32 b = 2;", "field-added", "b", ADDITIVE, ADDITIVE),
    ("int32 a = 1; int32 b = 2;", "int32 a = 1;", "field-removed", "b", ADAPTABLE, ADAPTABLE),
    ("int32 a = 1;", "int32 a = 2;", "field-renumbered", "a", ADAPTABLE, ADAPTABLE),
    ("int32 a = 1; int32 b = 2;", "int32 a = 2; int32 b = 1;", "fields-swapped", "a", ADAPTABLE, ADAPTABLE),
    ("int32 a = 1;", "int32 a = 2; int32 b = 1;", "number-reused", "b", ADAPTABLE, ADAPTABLE),
    ("int32 a = 300000000;", "int32 b = 300000000;", "number-reused", "b", ADAPTABLE, INCOMPATIBLE),
    ("int32 a = 1;", "repeated int32 a = 1;", "label-changed", "a", ADAPTABLE, INCOMPATIBLE),
    ("repeated int32 a = 1;", "int32 a = 1;", "label-changed", "a", ADAPTABLE, ADAPTABLE),
    ("int32 a = 1;", "optional int32 a = 1;", "presence-changed", "a", ADAPTABLE, ADAPTABLE),
    ("optional int32 a = 1;", "int32 a = 1;", "presence-changed", "a", ADAPTABLE, ADAPTABLE),
    *[
        (f"{first} a = 1;", f"{second} a = 1;", "type-changed", "a", INCOMPATIBLE, INCOMPATIBLE)
        for first, second in [
            *(("int32", "int64"), ("int32", "sint32"), ("int32", "bool"), ("string", "bytes"), ("int32", "E")),
            *(("string", "Line"), ("Line", "Party"), ("map<string, string>", "string"), ("Line", "repeated Party")),
            *(("map<string, string>", "repeated Line"), ("map<string, string>", "map<int32, string>")),
            *(("map<string, string>", "map<string, bytes>"), ("map<string, Line>", "map<string, Party>")),
            *(("google.protobuf.Timestamp", "google.protobuf.Duration"), ("Line", "google.protobuf.StringValue")),
        ]
    ],
    (
        "oneof o { string a = 1; string b = 2; }",
        "optional string a = 1; optional string b = 2;",
        *("oneof-left", "a", ADAPTABLE, INCOMPATIBLE),
    ),
    (
        "optional string a = 1; optional string b = 2;",
        "oneof o { string a = 1; string b = 2; }",
        *("oneof-joined", "a", ADAPTABLE, ADAPTABLE),
    ),
]
TYPES = "enum E { E_A = 0; } message Line { string text = 1; } message Party { int32 id = 1; }"


@pytest.mark.parametrize(("ours", "theirs", "kind", "symbol", "request_", "response"), FIELDS)
def test_a_field_that_differs_is_told_and_judged_by_direction(
    ours: str, theirs: str, kind: str, symbol: str, request_: Verdict, response: Verdict
) -> None:
    bodies = [f"{TYPES} message Root {{ {fields} }}" for fields in (ours, theirs)]
    assert (kind, f"Root.{symbol}", request_) in found(*bodies, REQUEST)
    assert (kind, f"Root.{symbol}", response) in found(*bodies, RESPONSE)


ENUMS: list[Case] = [
    ("A = 0; B = 1;", "A = 0; B = 1; C = 2;", "enum-value-added", "C", ADDITIVE, ADDITIVE),
    ("A = 0; B = 1;", "A = 0;", "enum-value-removed", "B", ADAPTABLE, ADAPTABLE),
    ("A = 0; B = 1;", "A = 0; B = 2;", "enum-value-renumbered", "B", ADAPTABLE, ADAPTABLE),
    ("A = 0; B = 1;", "B = 0; A = 1;", "enum-value-renumbered", "A", ADAPTABLE, ADAPTABLE),
    ("A = 0; B = 1;", "A = 0; C = 1;", "enum-number-reused", "C", ADAPTABLE, INCOMPATIBLE),
    ("A = 0; B = 1;", "A = 0; B = 1; option allow_alias = true; C = 1;", "enum-value-added", "C", ADDITIVE, ADDITIVE),
    (
        "option allow_alias = true; A = 0; B = 1; C = 1;",
        "A = 0; B = 1; C = 2;",
        *("enum-aliases-split", "B", INCOMPATIBLE, IDENTICAL),
    ),
    (
        "A = 0; B = 1; C = 2;",
        "option allow_alias = true; A = 0; B = 1; C = 1;",
        *("enum-aliases-split", "B", IDENTICAL, INCOMPATIBLE),
    ),
]


@pytest.mark.parametrize(("ours", "theirs", "kind", "symbol", "request_", "response"), ENUMS)
def test_an_enum_value_that_differs_is_told_and_judged_by_direction(
    ours: str, theirs: str, kind: str, symbol: str, request_: Verdict, response: Verdict
) -> None:
    bodies = [f"message Root {{ E e = 1; }} enum E {{ {values} }}" for values in (ours, theirs)]
    for direction, verdict in ((REQUEST, request_), (RESPONSE, response)):
        assert ((kind, f"E.{symbol}", verdict) in found(*bodies, direction)) == (verdict is not IDENTICAL)


PROTO2: list[Case] = [
    ("optional int32 a = 1;", "required int32 a = 1;", "required-changed", "a", INCOMPATIBLE, ADDITIVE),
    ("required int32 a = 1;", "optional int32 a = 1;", "required-changed", "a", ADDITIVE, INCOMPATIBLE),
    ("", "required int32 a = 1;", "required-added", "a", INCOMPATIBLE, IDENTICAL),
    ("", "required int32 a = 1;", "field-added", "a", IDENTICAL, ADDITIVE),
    ("required int32 a = 1;", "", "field-removed", "a", INCOMPATIBLE, INCOMPATIBLE),
    (
        "optional int32 a = 1 [default = 3];",
        "optional int32 a = 1 [default = 4];",
        *("default-changed", "a", INCOMPATIBLE, INCOMPATIBLE),
    ),
    (
        "optional int32 a = 1;",
        "optional int32 a = 1 [default = 4];",
        *("default-changed", "a", INCOMPATIBLE, INCOMPATIBLE),
    ),
    ("optional E a = 1;", "optional E a = 1 [default = B];", "default-changed", "a", INCOMPATIBLE, INCOMPATIBLE),
    (
        "optional group A = 1 { optional int32 b = 1; }",
        "optional A a = 1; message A { optional int32 b = 1; }",
        *("encoding-changed", "a", ADAPTABLE, ADAPTABLE),
    ),
]


@pytest.mark.parametrize(("ours", "theirs", "kind", "symbol", "request_", "response"), PROTO2)
def test_what_only_proto2_has_is_told_and_judged_by_direction(
    ours: str, theirs: str, kind: str, symbol: str, request_: Verdict, response: Verdict
) -> None:
    bodies = [f"message Root {{ {fields} }} enum E {{ A = 0; B = 1; }}" for fields in (ours, theirs)]
    for direction, verdict in ((REQUEST, request_), (RESPONSE, response)):
        assert ((kind, f"Root.{symbol}", verdict) in found(*bodies, direction, "proto2")) == (verdict is not IDENTICAL)


def test_a_new_value_of_a_closed_enum_is_no_addition_since_it_would_read_as_unset() -> None:
    bodies = [f"message Root {{ repeated E e = 1; }} enum E {{ A = 0; {more} }}" for more in ("", "B = 1;")]
    assert found(*bodies, RESPONSE, "proto2") == [("enum-value-added", "E.B", ADAPTABLE)]


def test_another_first_value_of_a_closed_enum_is_another_default() -> None:
    bodies = [f"message Root {{ optional E e = 1; }} enum E {{ {v} }}" for v in ("A = 1; B = 2;", "B = 2; A = 1;")]
    assert found(*bodies, REQUEST, "proto2") == [("default-changed", "Root.e", INCOMPATIBLE)]


def test_extensions_are_compared_as_fields_are() -> None:
    body = "message Root {{ extensions 100 to 200; {} }} extend Root {{ {} }}"
    ours = body.format("", "optional int32 x = 100; optional int32 y = 101;")
    theirs = body.format("", "optional int32 x = 102; optional int32 z = 101;")
    assert found(ours, theirs, REQUEST, "proto2") == [
        ("field-renumbered", "x", ADAPTABLE),
        ("field-removed", "y", ADAPTABLE),
        ("number-reused", "z", ADAPTABLE),
    ]


def test_a_new_member_of_a_oneof_is_an_addition() -> None:
    bodies = [f"message Root {{ oneof o {{ int32 a = 1; {more} }} }}" for more in ("", "int32 b = 2;")]
    assert found(*bodies, REQUEST) == found(*bodies, RESPONSE) == [("field-added", "Root.b", ADDITIVE)]


# --- types under other names --------------------------------------------------------------------------------------

LINE = "{ string text = 1; int32 count = 2; }"


@pytest.mark.parametrize(
    ("ours", "theirs", "kind"),
    [
        (f"message Line {LINE}", f"message Row {LINE}", "type-renamed"),  # the same shape
        (f"message Line {LINE}", "message X { message Line { string text = 1; } }", "type-renamed"),  # the last word
        (f"message Line {LINE}", "message X { message Line { string other = 1; } }", "type-changed"),
        (f"message Line {LINE}", "message Row { string text = 1; }", "type-changed"),
        (f"message Line {LINE} message Row {LINE}", f"message Line {LINE} message Row {LINE}", "type-changed"),
        ("enum Line { A = 0; }", "enum Row { A = 0; }", "type-renamed"),
        ("enum Line { A = 0; }", "enum Row { A = 0; B = 1; }", "type-changed"),
    ],
)
def test_a_type_under_another_name_is_the_same_by_its_last_word_or_its_shape_unless_both_are_known(
    ours: str, theirs: str, kind: str
) -> None:
    name = "X.Line" if "X" in theirs else "Row"
    bodies = [f"message Root {{ Line a = 1; }} {ours}", f"message Root {{ {name} a = 1; }} {theirs}"]
    assert kind in [one[0] for one in found(*bodies, REQUEST)]


def test_the_messages_of_an_rpc_may_have_any_name_if_they_have_something_in_common() -> None:
    ours = rpc("message A { int32 a = 1; } message B { int32 a = 1; }", call="rpc Keep(A) returns (A);")
    theirs = rpc("message C { int32 a = 1; string s = 2; } message D { int32 d = 1; }", call="rpc Keep(C) returns (D);")
    assert [(one.kind, one.path, one.verdict) for one in compare_methods(ours, theirs).differences] == [
        ("type-changed", "response", INCOMPATIBLE),
        ("type-renamed", "request", ADAPTABLE),
        ("field-added", "request.s", ADDITIVE),
    ]


def test_a_type_that_nobody_defines_is_incompatible_where_it_is_met() -> None:
    file = File(name="books.proto", package="p", syntax="proto3", dependency=["lines.proto"])
    file.message_type.add(name="Root").field.add(name="line", number=1, label=1, type=11, type_name=".q.Line")
    file.service.add(name="Books").method.add(name="Keep", input_type=".p.Root", output_type=".p.Root")
    lines = File(name="lines.proto", package="q", syntax="proto3")
    lines.message_type.add(name="Line").field.add(name="a", number=1, label=1, type=5)
    ours, theirs = (
        Schema(FileSet.of(files), source="a file").pool.pool.FindServiceByName("p.Books").methods_by_name["Keep"]
        for files in ([file, lines], [file])
    )
    (difference,) = compare_methods(ours, theirs).differences
    assert (difference.kind, difference.symbol, difference.verdict) == ("type-missing", "q.Line", INCOMPATIBLE)


# --- what does not count ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("repeated int32 a = 1;", "repeated int32 a = 1 [packed = false];"),
        ("int32 a = 1;", 'int32 a = 1 [json_name = "x", deprecated = true];'),
        ("int32 a = 1; int32 b = 2;", "int32 b = 2; int32 a = 1;"),
        ("oneof o { int32 a = 1; int32 b = 2; }", "oneof other { int32 a = 1; int32 b = 2; }"),
        ("oneof o { int32 a = 1; }", "optional int32 a = 1;"),
        ("int32 a = 1;", "int32 a = 1; reserved 7 to 9; message Unused { int32 b = 1; }"),
    ],
)
def test_what_bytes_do_not_show_is_identical(ours: str, theirs: str) -> None:
    comparison = compare_methods(*[rpc(f"message Root {{ {fields} }}") for fields in (ours, theirs)])
    assert (comparison.verdict, comparison.differences) == (IDENTICAL, ())


# --- the RPC itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["stream Root) returns (Root", "Root) returns (stream Root"])
def test_another_kind_of_streaming_is_incompatible(call: str) -> None:
    ours, theirs = rpc("message Root {}"), rpc("message Root {}", call=f"rpc Keep({call});")
    (difference,) = compare_methods(ours, theirs).differences
    assert (difference.kind, difference.symbol, difference.path) == ("streaming-changed", "p.Books.Keep", "")
    assert difference.verdict is INCOMPATIBLE
    assert "was unary and is" in difference.text


def test_http_rule_and_scope_are_notes_that_leave_a_call_as_it_is() -> None:
    plain = rpc("message Root {}")
    file = descriptor_pb2.FileDescriptorProto()
    plain.containing_service.file.CopyToProto(file)
    options = file.service[0].method[0].options
    options.MergeFromString(b"\x82\xd3\xe4\x93\x02\x04\x12\x02/x")  # google.api.http, get: "/x"
    options.MergeFromString(b"\xe2\xf2\x19\x03\x0a\x01r")  # kernel.options, scope: "r"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    annotated = pool.FindServiceByName("p.Books").methods_by_name["Keep"]
    comparison = compare_methods(plain, annotated)
    assert comparison.verdict is ADDITIVE
    assert [(one.kind, one.ours, one.theirs) for one in comparison.differences] == [
        ("http-changed", "", "GET /x"),
        ("scope-changed", "", "r"),
    ]


# --- paths and order ----------------------------------------------------------------------------------------------


def test_a_difference_is_told_once_with_the_shortest_way_to_it_and_the_worst_comes_first() -> None:
    body = (
        "message Root {{ Page page = 1; map<string, Line> by_name = 2; Root parent = 3; }}"
        "message Page {{ repeated Line lines = 1; }} message Line {{ {} }}"
    )
    ours, theirs = (
        rpc(body.format("int32 a = 1; int32 b = 2;")),
        rpc(body.format("int32 a = 1; string b = 2; bool c = 3;")),
    )
    assert [(str(one.verdict), one.symbol, one.path) for one in compare_methods(ours, theirs).differences] == [
        ("incompatible", "p.Line.b", "request.by_name{}.b"),
        ("additive", "p.Line.c", "request.by_name{}.c"),
    ]


def test_a_symbol_that_differs_both_ways_is_told_with_the_worse_verdict() -> None:
    ours, theirs = rpc("message Root { int32 a = 1; }"), rpc("message Root { repeated int32 a = 1; }")
    (difference,) = compare_methods(ours, theirs).differences
    assert (difference.verdict, difference.path) == (INCOMPATIBLE, "response.a")


def test_every_kind_has_words_and_every_difference_is_a_line_that_is_safe_to_print() -> None:
    ours = rpc("message Root { optional string a = 1 [default = 'x\\033[31m\\ny']; }", syntax="proto2")
    theirs = rpc("message Root { optional string a = 1; }", syntax="proto2")
    (difference,) = compare_methods(ours, theirs).differences
    assert difference.text.isprintable()
    for kind in KINDS:
        text = dataclasses.replace(difference, kind=kind, ours="{0}\x1b[2J", theirs="\n").text
        assert text.isprintable() and "{ours}" not in text


def test_a_difference_is_plain_data_for_programs() -> None:
    ours, theirs = rpc("message Root { int32 a = 1; }"), rpc("message Root { int32 a = 2; }")
    comparison = compare_methods(ours, theirs)
    assert comparison.as_json() == {
        "subject": "/p.Books/Keep",
        "verdict": "adaptable",
        "differences": [
            {
                "verdict": "adaptable",
                "kind": "field-renumbered",
                "symbol": "p.Root.a",
                "path": "request.a",
                "ours": "1",
                "theirs": "2",
                "text": "p.Root.a had number 1 and has 2",
            }
        ],
    }


# --- size and shape -----------------------------------------------------------------------------------------------


def test_types_that_refer_to_each_other_in_circles_are_compared_to_the_end() -> None:
    body = (
        "message Root {{ B b = 1; Root again = 2; }} message B {{ repeated C c = 1; }} message C {{ Root r = 1; {} }}"
    )
    comparison = compare_methods(rpc(body.format("")), rpc(body.format("int32 n = 2;")))
    assert [one.path for one in comparison.differences] == ["request.b.c[].n"]


def test_types_nested_thousands_deep_are_compared_without_recursion() -> None:
    chain = " ".join(f"message M{index} {{ M{index + 1} next = 1; }}" for index in range(5000))
    body = "message Root {{ M0 next = 1; }} {} message M5000 {{ int32 a = {}; }}"
    comparison = compare_methods(rpc(body.format(chain, 1)), rpc(body.format(chain, 2)))
    assert [one.symbol for one in comparison.differences] == ["p.M5000.a"]


def test_files_that_import_each_other_a_thousand_deep_are_told_apart_without_recursion() -> None:
    def chain(package: str) -> Any:
        pool = descriptor_pool.DescriptorPool()
        for index in range(1000):
            file = descriptor_pb2.FileDescriptorProto(name=f"f{index}.proto")
            file.package = package if index == 0 else "p"
            file.dependency.extend([f"f{index - 1}.proto"] if index else [])
            pool.Add(file)
        return pool.FindFileByName("f999.proto")

    assert same_files(chain("p"), chain("p"))
    assert not same_files(chain("p"), chain("q"))


def test_the_whole_compiled_schema_is_identical_to_its_copy_by_bytes_and_by_walking() -> None:
    ours = survey.compiled_schema()
    copies = [Schema(type(ours.files).parse(ours.files.to_bytes()), source="a copy") for _ in range(2)]
    dressed = []
    for file in copies[1].files.files.values():
        twin = type(file).FromString(file.SerializeToString())
        twin.options.java_package = "other." + file.options.java_package  # other bytes, the same meaning
        dressed.append(twin)
    walked = Schema(type(ours.files).of(dressed), source="a dressed copy")
    for theirs in (copies[0], walked):
        comparer = Comparer()
        verdicts = [
            comparer.methods(ours.method(method), theirs.method(method)).verdict
            for service in ours.services.values()
            for method in service.methods
        ]
        assert len(verdicts) > 400
        assert set(verdicts) == {IDENTICAL}
