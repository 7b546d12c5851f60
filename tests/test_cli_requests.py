"""Requests as they are typed: JSON, YAML, files, fields; the place of a mistake; and errors for people and scripts."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as some

from invora_grpc.catalog import catalog
from invora_grpc.cli.doubt import InDoubt
from invora_grpc.cli.failures import exit_code, explain, facts, masked, report
from invora_grpc.cli.places import place_of
from invora_grpc.cli.requests import Written, parsed, read_request
from invora_grpc.config import ABSENT, Secret
from invora_grpc.errors import ConfigError, RequestError
from invora_grpc.status import OutcomeUnknown, from_status

CREATE, LIST, IMPORT = "simple.invoices.create", "simple.invoices.list", "invoicing.parties.import_"

JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=8,
)


def request(method: str, data: str | None = None, *fields: str) -> Any:
    """The plain values of a request."""
    return read_request(catalog().method(method), data, fields)


@given(some.dictionaries(some.text(), JSON))
def test_json_is_read_as_json_and_not_as_yaml(value: Any) -> None:
    for indent in (None, "\t", 2):
        assert parsed(json.dumps(value, indent=indent), "data") == value


def test_yaml_may_stand_for_json() -> None:
    assert request(CREATE, "key: a\nchanges:\n  lines:\n    - unit_price: 20.10") == {
        "key": "a",
        "changes": {"lines": [{"unit_price": Decimal("20.10")}]},
    }


def test_yaml_documents_are_the_requests_of_a_stream() -> None:
    assert request("invoicing.documents.stream_freeze", "key: a\n---\nkey: b\n") == [{"key": "a"}, {"key": "b"}]


def test_a_name_that_is_given_twice_is_refused() -> None:
    with pytest.raises(RequestError, match="data: 'key' is given twice in one object"):
        request(CREATE, '{"key": "a", "key": "b"}')


def test_a_field_may_be_json() -> None:
    assert request(CREATE, None, 'changes:={"lines": [{"unit_price": 0.1}]}', "changes.currency_code=SAR") == {
        "changes": {"lines": [{"unit_price": Decimal("0.1")}], "currency_code": "SAR"}
    }


def test_a_value_may_hold_whatever_it_likes_behind_the_first_equals_sign() -> None:
    assert request(CREATE, None, "key=a:=b=@c") == {"key": "a:=b=@c"}


def test_a_field_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"\xff\x00")
    (tmp_path / "key.txt").write_text("k1")
    assert request(IMPORT, None, f"data=@{tmp_path}/data.bin") == {"data": b"\xff\x00"}
    assert request(CREATE, None, f"key=@{tmp_path}/key.txt") == {"key": "k1"}
    with pytest.raises(RequestError, match="give a UTF-8 file"):
        request(CREATE, None, f"key=@{tmp_path}/data.bin")
    with pytest.raises(RequestError, match="give a readable file after @"):
        request(CREATE, None, "key=@/nowhere")


@pytest.mark.parametrize("data", ["- 1\n- 2", "5", "true", "just words", "[{}]"])
def test_what_is_no_object_is_no_request(data: str) -> None:
    with pytest.raises(RequestError, match="give one JSON object"):
        request(CREATE, data)


# --- places -------------------------------------------------------------------------------------------------------

TYPED = '{\n  "key": "a",\n  "changes": {"lines": [{"unitPrice": 3},\n    {"unit_price": 4}]}}'
YAML = "key: a\nchanges:\n  lines:\n  - unitPrice: 3\n  - unit_price: 5\n"


@pytest.mark.parametrize(
    ("path", "json_place", "yaml_place"),
    [
        ("key", "line 2, column 3", "line 1, column 1"),
        ("changes.lines[1].unit_price", "line 4, column 6", "line 5, column 5"),
        ("changes.lines[1].unitPrice", "line 4, column 6", "line 5, column 5"),
        ("changes.lines.0.unit_price", "line 3, column 26", "line 4, column 5"),
        ("lines[1].unit_price", "line 4, column 6", "line 5, column 5"),  # as a server may name it
        ("changes.lines[7].tax", "line 3, column 15", "line 3, column 3"),  # what of it there is
        ("nothing.at.all", "", ""),
    ],
)
def test_a_field_is_found_in_the_text(path: str, json_place: str, yaml_place: str) -> None:
    assert place_of(path, TYPED, "data", ()) == (f"-d, {json_place}" if json_place else "")
    assert place_of(path, YAML, "a.yaml", ()) == (f"a.yaml, {yaml_place}" if yaml_place else "")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("changes.lines[0].unit_price", "changes.lines[0].unit_price"),
        ("lines[0].unitPrice", "changes.lines[0].unit_price"),
        ("changes.lines[1].tax.rate", "changes.lines[1]:"),
        ("changes.lines[2]", ""),
        ("key", "key"),
    ],
)
def test_a_field_is_found_among_the_arguments(path: str, place: str) -> None:
    fields = ("key=a", "changes.lines[0].unit_price=3", "changes.lines[1]:={}")
    assert place_of(path, None, "data", fields) == (f"argument {place.rstrip(':')}=…" if place else "")


@given(some.text(), some.text())
def test_no_text_and_no_path_makes_looking_for_a_place_fail(path: str, text: str) -> None:
    place_of(path, text, "data", (text,))
    place_of(path, "{" + text, "data", ())


# --- errors -------------------------------------------------------------------------------------------------------


def test_exit_codes_are_those_of_the_status() -> None:
    assert [exit_code(from_status(code)) for code in (grpc.StatusCode.CANCELLED, grpc.StatusCode.NOT_FOUND)] == [65, 69]
    assert exit_code(ConfigError("endpoint", None, "give one", "missing")) == 2


def test_a_mistake_in_the_input_names_its_place() -> None:
    error = RequestError("changes.lines[1].unit_price", 5, "give a decimal")
    written = Written(TYPED, "data", ())
    assert explain(error, written=written, full=True) == f"error: {error}\n  at -d, line 4, column 6"
    assert facts(error, written)["place"] == "-d, line 4, column 6"
    assert explain(error, written=written) == f"error: {error}"


def test_a_missing_scope_is_named() -> None:
    method = catalog().method(CREATE)
    error = from_status(grpc.StatusCode.PERMISSION_DENIED, "no", method=method.path, scope=method.scope, org="931")
    assert facts(error)["scope"] == method.scope
    shown = explain(error, full=True)
    assert f"scope needed  {method.scope}" in shown and "organization  931" in shown


def test_a_write_in_doubt_is_called_so_and_keeps_its_keys() -> None:
    failed = from_status(grpc.StatusCode.UNAVAILABLE, "gone", method=catalog().method(CREATE).path)
    told = facts(InDoubt(OutcomeUnknown(failed, keys=("k1",)), "run this"))
    assert (told["kind"], told["keys"], told["hint"], told["exit_code"]) == ("OutcomeUnknown", ["k1"], "run this", 78)


def test_no_token_is_shown_whoever_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert masked("nothing to hide", [ABSENT]) == "nothing to hide"
    assert masked("authorization: Bearer abc.def, Basic eHg=") == "authorization: Bearer ***, Basic ***"
    error = from_status(grpc.StatusCode.UNAUTHENTICATED, "no token abc.def here, nor bearer xyz")
    for form in (None, "json"):
        assert report(error, form, secrets=[Secret("abc.def")]) == 80
        said = capsys.readouterr().err
        assert "abc.def" not in said and "xyz" not in said and "***" in said
