"""`invora zatca check`: what it prints, in both forms, and its exit codes."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from zatca_documents import ASSIGNED, SAMPLES
from zatca_examples import Edit, edited, put

from invora_grpc.cli.app import main
from invora_grpc.zatca.hashing import MAX_BYTES
from invora_grpc.zatca.ubl import to_xml

TODAY = f"{datetime.now(UTC):%Y}-01-01"
"""A day that has been: the command compares with the clock."""
GOOD = edited(to_xml(ASSIGNED), put("cbc:IssueDate", TODAY))


def check(*arguments: object, text: bytes | None = None) -> Result:
    settings = {name: None for name in os.environ if name.startswith("INVORA_")} | {"XDG_CONFIG_HOME": "/nowhere"}
    return CliRunner().invoke(main, ["zatca", "check", *map(str, arguments)], input=text, env=settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    without = edited(to_xml(SAMPLES["standard"]), put("cbc:IssueDate", TODAY))
    written = {
        "good": GOOD,
        "warned": _broken(put("cac:InvoiceLine/cac:TaxTotal/cbc:RoundingAmount", "1.00")),
        "wrong": _broken(put("cbc:UUID", ""), put("cbc:DocumentCurrencyCode", "XXZ")),
        "unassigned": without,
    }
    for name, xml in written.items():
        (tmp_path / f"{name}.xml").write_bytes(xml)
    return tmp_path


def _broken(*edits: Edit) -> bytes:
    return edited(GOOD, *edits)


def test_a_good_document_is_told_in_one_line(folder: Path) -> None:
    done = check(folder / "good.xml")
    assert (done.exit_code, done.stdout) == (0, f"{folder}/good.xml: nothing is wrong\n")


def test_an_error_is_told_with_its_place_and_ends_with_1(folder: Path) -> None:
    done = check(folder / "wrong.xml")
    assert done.exit_code == 1
    assert done.stdout.startswith(f"{folder}/wrong.xml: ")
    assert "  error    BR-KSA-03  the document needs a UUID" in done.stdout
    assert "           /ubl:Invoice/cbc:DocumentCurrencyCode\n" in done.stdout


def test_a_warning_is_shown_and_ends_with_0(folder: Path) -> None:
    done = check(folder / "warned.xml")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0].endswith(": 1 warning")
    assert "  warning  BR-KSA-51  " in done.stdout
    assert "           /ubl:Invoice/cac:InvoiceLine[1]/cac:TaxTotal\n" in done.stdout


def test_what_the_platform_adds_is_shown_apart_and_is_no_error(folder: Path) -> None:
    done = check(folder / "unassigned.xml")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        f"{folder}/unassigned.xml: nothing is wrong",
        "  left to the platform:",
        "    BR-KSA-33  the invoice counter is missing: the platform adds it",
        "    BR-KSA-61  the previous document's hash is missing: the platform adds it",
    ]


def test_what_the_platform_adds_counts_for_complete_documents(folder: Path) -> None:
    done = check("--complete", folder / "unassigned.xml")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0].endswith(": 1 error and 1 warning")
    assert check("--complete", folder / "good.xml").exit_code == 0


def test_several_files_are_told_one_by_one_and_one_error_is_enough(folder: Path) -> None:
    done = check(folder / "good.xml", folder / "wrong.xml", folder / "warned.xml")
    assert done.exit_code == 1
    heads = [row for row in done.stdout.splitlines() if not row.startswith(" ")]
    assert [Path(row.partition(": ")[0]).name for row in heads] == ["good.xml", "wrong.xml", "warned.xml"]


def test_what_was_checked_before_a_file_that_cannot_be_read_is_told(folder: Path) -> None:
    done = check(folder / "good.xml", folder / "missing.xml")
    assert (done.exit_code, done.stdout) == (2, f"{folder}/good.xml: nothing is wrong\n")
    assert "missing.xml' cannot be read: No such file or directory" in done.stderr


def test_a_hyphen_reads_standard_input() -> None:
    assert check("-", text=GOOD).stdout == "-: nothing is wrong\n"


def test_standard_input_can_be_read_only_once() -> None:
    done = check("-", "-", text=GOOD)
    assert done.exit_code == 2
    assert "only once" in done.stderr


def test_json_has_an_object_for_each_file(folder: Path) -> None:
    done = check("-o", "json", folder / "warned.xml", folder / "unassigned.xml")
    warned, unassigned = json.loads(done.stdout)
    assert (warned["errors"], warned["warnings"], unassigned["errors"]) == (0, 1, 0)
    assert warned["findings"] == [
        {
            "rule": "BR-KSA-51",
            "severity": "warning",
            "place": "/ubl:Invoice/cac:InvoiceLine[1]/cac:TaxTotal",
            "text": "a line's amount with tax must be its net amount plus its tax: correct one of them",
            "assigned": False,
        }
    ]
    assert [(one["rule"], one["assigned"]) for one in unassigned["findings"]] == [
        ("BR-KSA-33", True),
        ("BR-KSA-61", True),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no XML"),
        (b"<order/>", "is not the root of an invoice"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "has a DOCTYPE"),
        (b" " * (MAX_BYTES + 1), "too many"),
    ],
)
def test_what_is_no_invoice_ends_with_2_and_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "order.xml").write_bytes(content)
    done = check(tmp_path / "order.xml")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path}/order.xml: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_is_not_there_ends_with_2(tmp_path: Path) -> None:
    done = check(tmp_path / "none.xml")
    assert done.exit_code == 2
    assert "No such file" in done.stderr


def test_names_in_a_document_cannot_steer_the_terminal(folder: Path) -> None:
    strange = GOOD.replace(b"<cbc:UUID>", "<\u202e>x</\u202e><cbc:UUID>".encode())
    assert "\u202e" not in check("-", text=strange).stdout
    named = GOOD.replace(b"<cbc:UUID>", "<cbc:\u0645\u0627\u0644/><cbc:UUID>".encode())
    done = check("-", text=named)
    assert done.exit_code == 1
    assert "UBL 2.1 has no cbc:\u0645\u0627\u0644 in ubl:Invoice" in done.stdout
