"""The invoice type code: what ZATCA allows can be made and read, what it refuses names the rule."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zatca_documents import ASSIGNED, ISSUED

from invora_grpc.errors import RequestError
from invora_grpc.zatca.typecode import FLAGS, KINDS, IllegalTypeCode, TypeCode
from invora_grpc.zatca.ubl import to_xml

NAMES = ["".join(parts) for parts in itertools.product(("01", "02"), *["01"] * 5)]
LEGAL = [name for name in NAMES if name[6] == "0" or (name[:2] == "01" and name[4] == "0")]
CODES = (388, 381, 383, 386)

PUBLISHED = {
    "0100000": TypeCode(),
    "0200000": TypeCode("simplified"),
    "0110000": TypeCode(third_party=True),
    "0210000": TypeCode("simplified", third_party=True),
    "0100001": TypeCode(self_billed=True),
    "0100010": TypeCode(summary=True),
    "0101000": TypeCode(nominal=True),
    "0100100": TypeCode(export=True),
}


def refusal(name: Any, code: Any = 388) -> IllegalTypeCode:
    with pytest.raises(IllegalTypeCode) as caught:
        TypeCode.parse(name, code)
    assert "\n" not in str(caught.value)
    assert f"({caught.value.rule})" in str(caught.value)
    return caught.value


@pytest.mark.parametrize(("name", "code"), PUBLISHED.items())
def test_the_names_in_use_are_read_and_built(name: str, code: TypeCode) -> None:
    assert TypeCode.parse(name) == code
    assert code.name == name


@pytest.mark.parametrize("position", range(3, 10))
def test_each_position_is_one_flag(position: int) -> None:
    length = 7 if position <= 7 else 9
    name = f"01{'0' * (position - 3)}1{'0' * (length - position)}"
    assert TypeCode.parse(name).flags == (FLAGS[position - 3],)


@pytest.mark.parametrize("code", CODES)
def test_every_legal_name_comes_back_as_it_was(code: int) -> None:
    assert len(LEGAL) == 24 + 16
    for name in LEGAL:
        assert TypeCode.parse(name, code).name == name
        assert TypeCode.parse(name, str(code)) == TypeCode.parse(name, code)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LEGAL])
def test_self_billing_excludes_exports_and_simplified_documents(name: str) -> None:
    assert refusal(name).rule == ("BR-KSA-31" if name.startswith("02") else "BR-KSA-07")


def test_an_illegal_combination_cannot_be_constructed_either() -> None:
    with pytest.raises(IllegalTypeCode, match="BR-KSA-07"):
        TypeCode(export=True, self_billed=True)
    with pytest.raises(IllegalTypeCode, match="BR-KSA-31"):
        TypeCode("simplified", self_billed=True)


@pytest.mark.parametrize(
    "name",
    ["", "0", "010000", "01000000", "0300000", "0000000", "0100002", "01 0000", "٠١٠٠٠٠٠", "0100000\n", None, 100000],
)
def test_a_name_of_another_form_is_refused(name: Any) -> None:
    assert refusal(name).rule == "BR-KSA-06"


def test_the_longer_names_of_newer_standards_have_two_more_flags() -> None:
    assert TypeCode.parse("011000010") == TypeCode(third_party=True, continuous=True)
    assert TypeCode.parse("020000001", 381) == TypeCode("simplified", code=381, government=True)
    assert TypeCode(government=True).name == "010000001"
    assert TypeCode(government=True).note(383) == TypeCode.parse("010000001", 383)
    assert TypeCode.parse("010000000") == TypeCode(), "without them the usual form says the same"
    assert refusal("010010111").rule == "BR-KSA-07"


@pytest.mark.parametrize("code", ["", "38", "0388", "380", "389", "x", "٣٨٨", "388 ", 0, -388, 380, 388.0, True, None])
def test_another_type_code_is_refused(code: Any) -> None:
    assert refusal("0100000", code).rule == "BR-KSA-05"


def test_flags_and_subtypes_of_another_kind_are_refused() -> None:
    wrong: list[dict[str, Any]] = [{"subtype": "01"}, {"summary": 1}, {"export": "0"}, {"third_party": None}]
    for given_ in wrong:
        with pytest.raises(IllegalTypeCode) as caught:
            TypeCode(**given_)
        assert caught.value.rule == "BR-KSA-06"
        assert caught.value.path == f"type_code.{next(iter(given_))}"


@given(st.text(max_size=10) | st.from_regex(r"[0-3]{5,9}", fullmatch=True), st.sampled_from(CODES))
def test_any_text_is_either_read_unchanged_or_refused_by_a_rule(name: str, code: int) -> None:
    try:
        found = TypeCode.parse(name, code)
    except IllegalTypeCode as error:
        assert error.rule in {"BR-KSA-06", "BR-KSA-07", "BR-KSA-31"}
        assert name not in LEGAL
    else:
        assert found.name == (name.removesuffix("00") if len(name) == 9 else name)
        assert name[:7] in LEGAL


@pytest.mark.parametrize("name", LEGAL)
def test_a_note_inherits_subtype_and_flags(name: str) -> None:
    for code in (381, 383):
        note = TypeCode.parse(name).note(code)
        assert (note.name, note.code, note.is_note) == (name, code, True)
        assert note.note(code) == note


@pytest.mark.parametrize("code", [388, 386, 0, "381"])
def test_only_credit_and_debit_notes_are_notes(code: Any) -> None:
    with pytest.raises(IllegalTypeCode) as caught:
        TypeCode().note(code)
    assert caught.value.rule == "BR-KSA-05"
    assert not TypeCode(code=386).is_note


@pytest.mark.parametrize("code", CODES)
def test_the_explanation_has_a_line_for_the_kind_the_subtype_and_each_flag(code: int) -> None:
    for name in LEGAL:
        kind, subtype, *flags = TypeCode.parse(name, code).explain()
        assert kind == f"{code}: {KINDS[code]}"
        assert subtype.startswith("standard:" if name.startswith("01") else "simplified:")
        assert len(flags) == name[2:].count("1")


def test_the_flags_are_explained_in_the_order_of_their_positions() -> None:
    words = [line.partition(":")[0] for line in TypeCode.parse("0211110").explain()[2:]]
    assert words == ["third-party", "nominal", "export", "summary"]


def test_a_refusal_survives_pickling_and_is_a_request_error() -> None:
    error = refusal("0100101")
    copy: IllegalTypeCode = pickle.loads(pickle.dumps(error))
    assert issubclass(IllegalTypeCode, RequestError)
    assert (copy, copy.rule, copy.path) == (error, "BR-KSA-07", "type_code.name")


def test_a_code_reads_as_code_and_name() -> None:
    assert str(TypeCode(summary=True, code=381)) == "381 0100010"


def test_zatcas_own_rules_allow_and_refuse_the_same_names() -> None:
    oracle = pytest.importorskip("fatoora")
    good = to_xml(ASSIGNED, now=ISSUED).decode()
    assert 'name="0100000"' in good
    for name in [*NAMES, "0300000", "0100002", "010000"]:
        report = oracle.validate_zatca_invoice_from_str(
            oracle.Config(), good.replace('name="0100000"', f'name="{name}"'), evaluated_at="2026-11-03T09:00:00Z"
        )
        found = {finding["code"] for stage in report["stages"] for finding in stage["findings"]}
        assert name in LEGAL or refusal(name).rule in found, name
        assert name not in LEGAL or not found & {"BR-KSA-06", "BR-KSA-07", "BR-KSA-31"}, name
