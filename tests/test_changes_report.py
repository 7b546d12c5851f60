"""The change report as text, and the approvals of what breaks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from changed_calls import CALLS
from changed_schema import BASE, compiled, edited
from changed_types import TYPES

from invora_grpc.codegen.approvals import read, unapproved, unused
from invora_grpc.codegen.changes import KINDS, Breaks, Change, changes
from invora_grpc.codegen.changes_report import report_json, report_markdown
from invora_grpc.errors import ConfigError

WIRE = Change("field-renumbered", "a.M.x", "1", "2", (Breaks.WIRE,), file="a.proto", module="a", type="a.M", member="x")
SOURCE = Change("message-removed", "a.N", breaks=(Breaks.SOURCE,), file="a.proto", module="a", type="a.N")
NEW = Change("field-added", "a.M.y", "", "string y = 3", file="a.proto", module="a", type="a.M", member="y")
QUIET = Change("comment-changed", "a.M", file="a.proto", module="a", type="a.M")


@pytest.fixture(scope="module")
def several() -> tuple[Change, ...]:
    """Changes of all sorts, of real schemas."""
    edits = [*TYPES["a field is renumbered"][0], *TYPES["a JSON name changes"][0], *CALLS["a scope is gone"][0]]
    edits += [("STATUS_SENT = 3", "STATUS_SENT = 3; STATUS_BACK = 4"), ("// A thing.", "// Some thing.")]
    return changes(compiled(BASE), compiled(edited(*edits)))


def test_the_report_begins_with_how_many_break_whom(several: tuple[Change, ...]) -> None:
    head = report_markdown(several).splitlines()[0]
    expected = "5 changes: 3 break somebody (wire 1, json 1, rights 1; 3 not approved), 1 new, 1 harmless."
    assert head == f"**{expected}**"


def test_the_report_goes_from_who_breaks_to_module_place_and_what_to_do(several: tuple[Change, ...]) -> None:
    lines = report_markdown(several).splitlines()
    titles = [line for line in lines if line.startswith("## ")]
    assert titles == [
        *("## Breaks the wire", "## Breaks JSON", "## Changes who may call", "## New", "## Harmless", "## To approve"),
    ]
    at = lines.index("## Breaks the wire")
    assert lines[at + 2] == "### `acme`"
    assert lines[at + 4].startswith("- **`acme.store.v1.Item`**, in 5 RPCs: `acme.store.v1.ItemService/CreateItem`, ")
    assert lines[at + 4].endswith(" and 2 more")
    assert lines[at + 5].startswith(
        "  - `note` had number 12 and has 16. Breaks wire. (field-renumbered; buf: FIELD_NO_DELETE"
    )
    assert lines[at + 9].startswith("- *field-renumbered*: Give the field its old number back.")


def test_where_nothing_changes_the_report_says_so_and_nothing_else() -> None:
    assert report_markdown([]) == "**Nothing changes.**\n"
    assert json.loads(report_json([]))["changes"] == []


def test_the_report_fits_into_its_limit_leaves_out_the_least_important_and_says_how_many() -> None:
    many = [Change("field-added", f"a.M{n}.y", "", "string y = 3", type=f"a.M{n}", member="y") for n in range(500)]
    text = report_markdown([WIRE, *many], limit=5000)
    assert len(text) <= 5000
    assert "`x` had number 1 and has 2" in text
    shown = text.count("is new")
    assert 0 < shown < 500
    assert f"… and {500 - shown} more changes" in text
    assert WIRE.id in text


def test_ids_that_do_not_fit_are_counted() -> None:
    many = [
        Change("message-removed", f"a.Message{n}", breaks=(Breaks.SOURCE,), type=f"a.Message{n}") for n in range(300)
    ]
    text = report_markdown(many, limit=3000)
    assert len(text) <= 3000
    shown = sum(one.id in text.splitlines() for one in many)
    assert 0 < shown < 300
    assert f"… and {300 - shown} ids more" in text


def test_names_from_elsewhere_do_nothing_to_the_page() -> None:
    hostile = "x` @team <img src=x> [a](b)\n# Title\x1b[31m"
    change = Change(
        "default-changed", "a.M.x", hostile, hostile, (Breaks.WIRE,), module=hostile, type="a.M", member="x"
    )
    text = report_markdown([change])
    assert "\n# Title" not in text and "\x1b" not in text
    outside = "".join(part for line in text.splitlines() for part in line.split("`")[::2])
    assert "@team" not in outside and "<img" not in outside and "[a]" not in outside


def test_the_json_has_counts_and_every_change_with_its_id_and_approval(several: tuple[Change, ...]) -> None:
    approved = next(change.id for change in several if change.kind == "scope-changed")
    whole = json.loads(report_json(several, {approved}))
    assert (whole["version"], whole["total"], whole["breaking"], whole["unapproved"]) == (1, 5, 3, 2)
    assert whole["breaks"] == {"wire": 1, "json": 1, "rest": 0, "rights": 1, "source": 0}
    first = whole["changes"][0]
    assert (first["kind"], first["symbol"], first["breaks"]) == (
        "field-renumbered",
        "acme.store.v1.Item.note",
        ["wire"],
    )
    assert {change["id"] for change in whole["changes"] if change["approved"]} == {approved}


def test_what_is_approved_is_marked_and_not_asked_for_again() -> None:
    text = report_markdown([WIRE, SOURCE], {WIRE.id})
    asked = text.partition("```text\n")[2]
    assert SOURCE.id in asked and WIRE.id not in asked
    assert text.count("*Approved.*") == 1
    assert "To approve" not in report_markdown([WIRE, SOURCE], {WIRE.id, SOURCE.id})


def test_the_page_names_every_kind_of_change_and_no_other() -> None:
    page = (Path(__file__).parent.parent / "docs/changes.md").read_text().partition("## Kinds")[2].partition("##")[0]
    assert set(re.findall(r"`([a-z0-9-]+)`", page)) == set(KINDS)


# --- approvals ----------------------------------------------------------------------------------------------------


def test_the_ids_that_the_report_offers_approve_everything(several: tuple[Change, ...], tmp_path: Path) -> None:
    path = tmp_path / "approved.txt"
    path.write_text(report_markdown(several).partition("```text\n")[2].partition("```")[0])
    assert unapproved(several, path) == ()
    assert unused(several, path) == ()


def test_only_what_breaks_has_to_be_approved(tmp_path: Path) -> None:
    assert unapproved([WIRE, NEW, QUIET], tmp_path / "none.txt") == (WIRE,)


def test_an_approval_is_of_one_change_and_not_of_another_one_of_the_same_thing(tmp_path: Path) -> None:
    path = tmp_path / "approved.txt"
    path.write_text(f"# looked at by us\n\n  {WIRE.id}  # in version 3\n")
    again = Change("field-renumbered", "a.M.x", "1", "3", (Breaks.WIRE,))
    assert unapproved([WIRE, again], path) == (again,)
    assert unused([again], path) == (WIRE.id,)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("a.M.x", "kind:symbol:digest"),
        ("field-renumbered:a.M.x", "kind:symbol:digest"),
        ("field-renumbered:a.M.x:123", "kind:symbol:digest"),
        ("field-renumberd:a.M.x:12345678", "did you mean field-renumbered"),
    ],
)
def test_a_line_that_is_no_id_is_refused_with_its_place(tmp_path: Path, line: str, hint: str) -> None:
    path = tmp_path / "approved.txt"
    path.write_text(f"{WIRE.id}\n{line}\n")
    with pytest.raises(ConfigError, match=hint) as caught:
        read(path)
    assert f"{path}:2" in str(caught.value)


def test_approvals_that_cannot_be_read_are_no_empty_approvals(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        read(tmp_path / "binary")
