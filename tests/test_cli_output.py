"""What `invora` prints: JSON, YAML, tables and text, safe on every terminal; and messages with all that is in them."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from typing import Any

import pytest
import yaml
from google.protobuf import any_pb2, descriptor_pool, message_factory, text_format, timestamp_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import given
from hypothesis import strategies as some

from invora_grpc.cli.answers import Stranger, json_of
from invora_grpc.cli.output import colours, dumps, render
from invora_grpc.cli.tables import columns, display_width, fitted, table
from invora_grpc.cli.yamls import UNSAFE, documents
from invora_grpc.errors import RequestError

JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=8,
)
INVOICES = {
    "items": [
        {"key": "a", "total": "20.50", "buyer": {"name": "شركة المثال"}, "tags": ["x", "y"]},
        {"key": "bb", "total": "3.5", "buyer": {"name": "株式会社"}},
    ],
    "next_page_cursor": "abc",
}


@given(JSON)
def test_json_says_the_same_and_shows_no_control_characters(value: Any) -> None:
    text = dumps(value, 2)
    assert json.loads(text) == value
    assert UNSAFE.search(text.replace("\n", "")) is None


def test_marks_that_reorder_text_are_escapes() -> None:
    assert dumps("a\u202eb\x9b") == '"a\\u202eb\\u009b"'
    assert render({"x": "a\u202eb\x9b"}, "yaml") == 'x: "a\\u202eb\\x9B"'


@given(JSON)
def test_yaml_says_the_same_and_shows_no_control_characters(value: Any) -> None:
    text = render(value, "yaml")
    assert UNSAFE.search(text.replace("\n", "").replace("\ufeff", "")) is None
    assert yaml.safe_load(text) == value


@given(JSON)
def test_every_value_has_a_table_and_a_text(value: Any) -> None:
    shown = table(value, 40)
    assert UNSAFE.search(shown.replace("\n", "").replace("\ufeff", "")) is None
    assert all(display_width(line) <= 40 for line in shown.split("\n"))
    render(value, "text")


def test_yaml_keeps_amounts_dates_and_words_as_text() -> None:
    assert (
        render({"price": "20.50", "on": "2026-11-21", "word": "no"}, "yaml")
        == "price: '20.50'\n'on': '2026-11-21'\nword: 'no'"
    )


def test_a_table_has_a_row_for_each_item_and_numbers_to_the_right() -> None:
    assert table(INVOICES).split("\n") == [
        "key  total  buyer.name   tags",
        "a    20.50  شركة المثال  x, y",
        "bb     3.5  株式会社",
        "next_page_cursor: abc",
    ]


def test_a_table_fits_a_narrow_terminal() -> None:
    lines = table(INVOICES, 24).split("\n")
    assert all(display_width(line) <= 24 for line in lines)
    assert "…" in lines[1]


def test_one_object_is_a_table_of_its_fields() -> None:
    assert (
        table({"customer": {"name": "a", "lines": [{"price": "1"}]}})
        == "customer.name            a\ncustomer.lines[0].price  1"
    )


@pytest.mark.parametrize(("text", "size"), [("abc", 3), ("عربي", 4), ("株", 2), ("e\u0301", 1), ("\u200bx", 1)])
def test_widths_are_those_of_terminals(text: str, size: int) -> None:
    assert display_width(text) == size


def test_a_cut_text_says_so() -> None:
    assert (fitted("株式会社", 5), fitted("abc", 3)) == ("株式…", "abc")


def test_columns_without_rows_say_so() -> None:
    assert columns([]) == table({"items": []}) == "(empty)"


def test_text_is_bare_for_scripts() -> None:
    assert render(INVOICES, "text", query="items[].key") == "a\nbb"
    assert render(INVOICES, "text", query="items[].[key,total]") == "a\t20.50\nbb\t3.5"
    assert render(INVOICES, "text", query="items[0].buyer") == "name\tشركة المثال"
    assert render("a\x1b[2Jb", "text", width=80) == "a\\x1b[2Jb"


def test_colours_are_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert colours(Terminal()) and not colours(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours(Terminal())


def test_colours_leave_the_text_as_it_is() -> None:
    text = render({"a": ["x: 1", 2, True, None]}, colour=True)
    assert '\x1b[34m"a"\x1b[0m' in text
    for code in ("34", "32", "36", "35", "0"):
        text = text.replace(f"\x1b[{code}m", "")
    assert text == render({"a": ["x: 1", 2, True, None]})


@pytest.mark.parametrize("query", ["items[", "nope(@)", "length(`5`)"])
def test_a_query_that_cannot_be_used_says_why(query: str) -> None:
    with pytest.raises(RequestError, match="query: ") as caught:
        render({"items": []}, query=query)
    assert "\n" not in str(caught.value)


# --- messages -----------------------------------------------------------------------------------------------------

TYPES = """
name: "answers.proto" package: "answers" syntax: "proto3"
dependency: "google/protobuf/any.proto" dependency: "google/protobuf/timestamp.proto"
message_type { name: "Leaf" field { name: "id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL } }
message_type { name: "Top"
  field { name: "leaf" number: 1 type: TYPE_MESSAGE type_name: ".answers.Leaf" label: LABEL_OPTIONAL }
  field { name: "leaves" number: 2 type: TYPE_MESSAGE type_name: ".answers.Leaf" label: LABEL_REPEATED }
  field { name: "packed" number: 3 type: TYPE_MESSAGE type_name: ".google.protobuf.Any" label: LABEL_OPTIONAL }
  field { name: "at" number: 4 type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" label: LABEL_OPTIONAL } }
"""
VARINT, UNKNOWN = b"\x90\x03\x05", {"number": 50, "wire": "varint", "value": 5}


@pytest.fixture(scope="module")
def top() -> Any:
    """The class of answers.Top, in a pool of its own."""
    pool = descriptor_pool.DescriptorPool()
    for file in (any_pb2.DESCRIPTOR, timestamp_pb2.DESCRIPTOR):
        pool.AddSerializedFile(file.serialized_pb)
    pool.AddSerializedFile(text_format.Parse(TYPES, FileDescriptorProto()).SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("answers.Top"))


def test_unknown_fields_stand_where_they_were_found(top: Any) -> None:
    message = top(leaves=[{"id": "a"}, {"id": "b"}])
    message.leaves[1].MergeFromString(VARINT)
    found: list[Stranger] = []
    assert json_of(message, found) == {"leaves": [{"id": "a"}, {"id": "b", "@unknown": [UNKNOWN]}]}
    assert [str(one) for one in found] == ["leaves[1]: field 50 (varint): 5"]


def test_unknown_fields_of_what_is_no_object_stand_at_what_holds_it(top: Any) -> None:
    message = top(at={"seconds": 0})
    message.at.MergeFromString(VARINT)
    assert json_of(message) == {"at": "1970-01-01T00:00:00Z", "@unknown": [{"path": "at", **UNKNOWN}]}


def test_unknown_fields_of_an_any_itself_stand_in_it(top: Any) -> None:
    message = top(leaf={"id": "a"}, packed={"type_url": "t/answers.Leaf"})
    message.packed.MergeFromString(VARINT)
    shown = {"@type": "t/answers.Leaf", "@unknown": [UNKNOWN]}
    assert json_of(message) == {"leaf": {"id": "a"}, "packed": shown}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\x92\x03\x02hi", {"number": 50, "wire": "bytes", "base64": "aGk="}),
        (b"\x95\x03\x01\x00\x00\x00", {"number": 50, "wire": "fixed32", "value": 1}),
        (b"\x91\x03\x01" + bytes(7), {"number": 50, "wire": "fixed64", "value": 1}),
        (
            b"\x93\x03\x08\x07\x94\x03",
            {"number": 50, "wire": "group", "fields": [{"number": 1, "wire": "varint", "value": 7}]},
        ),
    ],
)
def test_every_wire_type_is_shown(top: Any, raw: bytes, shown: dict[str, Any]) -> None:
    assert json_of(top.FromString(raw)) == {"@unknown": [shown]}


def test_the_content_of_an_any_is_looked_into(top: Any) -> None:
    url = "type.googleapis.com/answers.Leaf"
    message = top(packed={"type_url": url, "value": b"\x0a\x01x" + VARINT})
    assert json_of(message) == {"packed": {"@type": url, "id": "x", "@unknown": [UNKNOWN]}}


def test_an_any_of_unknown_type_is_kept_with_its_bytes_and_told(top: Any) -> None:
    message = top(packed={"type_url": "t/acme.Strange", "value": b"hi"})
    found: list[Stranger] = []
    assert json_of(message, found) == {"packed": {"type_url": "t/acme.Strange", "value": "aGk="}}
    assert [str(one) for one in found] == ["packed: an Any of type acme.Strange: aGk="]


def test_the_types_of_an_any_may_be_of_another_schema(top: Any) -> None:
    leaf = message_factory.GetMessageClass(top.DESCRIPTOR.fields_by_name["leaf"].message_type)
    packed = any_pb2.Any(type_url="t/answers.Leaf", value=b"\x0a\x01x")
    assert json_of(packed, None, {"answers.Leaf": leaf}.__getitem__) == {"@type": "t/answers.Leaf", "id": "x"}


def test_yaml_of_people_has_the_types_of_json() -> None:
    (read,) = documents(
        "price: 20.10\nword: no\ntime: 12:30\ncode: 010\non: 2026-11-21\nn: 5\nt: true\nx: ~\n", "x.yaml"
    )
    assert read == {
        "price": Decimal("20.10"),
        "word": "no",
        "time": "12:30",
        "code": "010",
        "on": "2026-11-21",
        "n": 5,
        "t": True,
        "x": None,
    }
    assert str(read["price"]) == "20.10"


def test_bad_yaml_names_its_line() -> None:
    with pytest.raises(RequestError, match="line 2, column"):
        documents("a: 1\nb: [", "x.yaml")
