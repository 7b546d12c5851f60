"""What changed between two answers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invora_grpc.cli.changes import changes

Json = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "فاتورة"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["key", "id", "lines"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def told(before: Any, after: Any) -> list[str]:
    return [str(change) for change in changes(before, after)]


def test_a_field_is_told_with_its_place() -> None:
    assert told({"a": {"b": "1"}}, {"a": {"b": "2"}}) == ['~ a.b: "1" → "2"']


def test_what_is_new_and_what_is_gone_have_signs() -> None:
    assert told({"a": 1}, {"b": None}) == ["+ b: null", "- a: 1"]


@pytest.mark.parametrize("name", ["key", "id", "external_id", "number"])
def test_items_are_told_apart_by_what_names_them(name: str) -> None:
    before = [{name: "A", "status": "DRAFT"}, {name: "B", "status": "DRAFT"}]
    after = [{name: "NEW"}, {name: "A", "status": "DRAFT"}, {name: "B", "status": "FROZEN"}]
    assert told(before, after) == [
        f'+ [{name}=NEW]: {{"{name}": "NEW"}}',
        f'~ [{name}=B].status: "DRAFT" → "FROZEN"',
    ]


def test_an_id_of_key_and_version_names_an_item_by_its_key() -> None:
    before = [{"id": {"key": "A", "version": "1"}}, {"id": {"key": "B", "version": "1"}}]
    after = [{"id": {"key": "B", "version": "2"}}]
    assert told(before, after)[0] == '~ [id.key=B].id.version: "1" → "2"'


def test_another_order_is_a_change_of_its_own() -> None:
    assert told([{"key": "A"}, {"key": "B"}], [{"key": "B"}, {"key": "A"}]) == [
        '~ [order by key]: ["A", "B"] → ["B", "A"]'
    ]


def test_items_without_a_name_are_told_apart_by_their_place() -> None:
    assert told([1, 2], [1, 3, 4]) == ["~ [1]: 2 → 3", "+ [2]: 4"]


def test_items_of_one_name_are_told_apart_by_their_place() -> None:
    assert told([{"key": "A"}, {"key": "A"}], [{"key": "A"}, {"key": "A"}, {"key": "A"}]) == ['+ [2]: {"key": "A"}']


def test_arabic_stays_readable_and_escapes_do_not_reach_the_terminal() -> None:
    assert told({"name": "قديم"}, {"name": "\x1b[31mجديد\u202e\x9b"}) == [
        '~ name: "قديم" → "\\u001b[31mجديد\\u202e\\u009b"'
    ]
    assert told([{"key": "a"}], [{"key": "a"}, {"key": "\x1b[2J"}])[0].startswith("+ [key=\\x1b[2J]: ")


@given(Json)
def test_equal_answers_have_no_changes(value: Any) -> None:
    assert changes(value, copy.deepcopy(value)) == ()


@given(Json, Json)
def test_answers_without_changes_are_equal(before: Any, after: Any) -> None:
    if not changes(before, after):
        assert before == after


@given(Json, Json)
def test_each_change_is_one_line(before: Any, after: Any) -> None:
    assert all(line.isprintable() for line in told(before, after))
