"""What a new version of a schema changes: each change named, with its place and whom it breaks, and no false alarm."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from changed_calls import CALLS, HARMLESS
from changed_schema import BASE, Edit, File, compiled, edited
from changed_types import TYPES
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from invora_grpc.codegen import changes_buf
from invora_grpc.codegen.changes import KINDS, Breaks, Change, changes
from invora_grpc.codegen.changes_buf import Finding
from invora_grpc.codegen.changes_cover import who
from invora_grpc.codegen.embedded import descriptors_of
from invora_grpc.codegen.inputs import from_image
from invora_grpc.codegen.origins import Origins
from invora_grpc.errors import ConfigError

ROOT = Path(__file__).parent.parent
SCALARS = (
    *("double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32"),
    *("sfixed64", "bool", "string", "bytes", "Kind", "Part"),
)
"""All types that a field can have; Kind is an enum, Part a message."""


def found(*edits: Edit, base: Mapping[str, str] = BASE) -> tuple[Change, ...]:
    """The changes that edits of the sources make."""
    return changes(compiled(base), compiled(edited(*edits, sources=base)))


def told(some: tuple[Change, ...]) -> list[str]:
    """Changes as the cases have them."""
    return [
        f"{one.kind} {one.symbol.replace('acme.store.v1.', '')}: {' '.join(map(str, one.breaks)) or 'nobody'}"
        for one in some
    ]


def one(some: tuple[Change, ...], kind: str) -> Change:
    """The only change of a kind."""
    (change,) = (each for each in some if each.kind == kind)
    return change


# --- the seeded set -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [*CALLS, *TYPES])
def test_a_breaking_change_is_named_with_its_place_and_with_whom_it_breaks(case: str) -> None:
    edits, expected = {**CALLS, **TYPES}[case]
    assert told(found(*edits)) == expected
    assert not all(line.endswith(": nobody") for line in expected)


@pytest.mark.parametrize("case", HARMLESS)
def test_a_harmless_change_is_named_and_raises_no_alarm(case: str) -> None:
    edits, expected = HARMLESS[case]
    assert told(found(*edits)) == expected
    assert all(line.endswith(": nobody") for line in expected)


def test_all_at_once_every_change_is_still_found() -> None:
    edits = [TYPES[case][0][0] for case in ("a field is renumbered", "an int32 becomes an int64", "a oneof is renamed")]
    edits += [CALLS[case][0][0] for case in ("a URL changes", "a service gets a plural")]
    edits += [("rpc WatchItems(", "rpc WatchAllItems(")]
    assert told(found(*edits)) == [
        "field-renumbered Item.note: wire",
        "rpc-renamed ItemService/WatchItems: wire source",
        "service-renamed OrderService: wire source",
        "type-changed Item.count: json source",
        "http-rule-changed ItemService/GetItem: rest",
        "oneof-renamed Item.code: source",
        "client-path-changed OrderService: source",
    ]


def test_a_message_that_is_hardly_like_one_that_is_gone_is_new() -> None:
    old = "message Address { string street = 1; string city = 2; string country = 3; }"
    new = "message Shop { string street = 1; string city = 2; int32 floor = 3; bool open = 4; }"
    assert told(found((old, new))) == ["message-removed Address: source", "message-added Shop: nobody"]


def test_of_two_messages_that_are_equally_like_one_that_is_gone_none_is_taken_for_it() -> None:
    fields = "{ string street = 1; string city = 2; string country = 3; }"
    some = found((f"message Address {fields}", f"message AddressA {fields} message AddressB {fields}"))
    assert told(some) == [
        "message-removed Address: source",
        "message-added AddressA: nobody",
        "message-added AddressB: nobody",
    ]


def test_the_fields_of_a_renamed_message_are_compared_too() -> None:
    some = found(
        ("message Address {", "message PostalAddress { bool checked = 4;"), ("string city = 2", "bytes city = 2")
    )
    assert told(some) == [
        "message-removed Address: source",
        "message-added PostalAddress: nobody",
    ], "half of its fields are no strong likeness"
    some = found(("message Address {", "message PostalAddress { bool checked = 4;"))
    assert told(some) == ["message-renamed Address: source", "field-added PostalAddress.checked: nobody"]


# --- several at once, and what only seems to be worse -------------------------------------------------------------

OLD = """
message Kept {
  int32 fooBar = 1;
  string note = 2;
  map<string, int32> stock = 3;
  optional int32 size = 4;
  int32 width = 5;
  oneof only { string alone = 6; }
  oneof code { string ean = 7; string isbn = 8; }
  Color color = 9;
  map<string, int32> list = 10;
  string left = 11; string right = 12;
}
enum Color { RED = 0; BLUE = 1; GREEN = 2; }
enum Mood { option allow_alias = true; BAD = 0; GOOD = 1; FINE = 1; }
"""
NEW = """
message Kept {
  int32 foo_bar = 1;
  string remark = 2 [json_name = "note"];
  map<string, int32> shelf = 3;
  oneof dim { int32 size = 4; int32 depth = 20; }
  oneof wide { int32 width = 5; }
  optional string alone = 6;
  oneof code { string ean = 7; }
  string isbn = 8;
  Color color = 9;
  repeated string list = 10;
  oneof side { string left = 11; string right = 12; }
}
message Color { string name = 1; }
enum Mood { option allow_alias = true; BAD = 0; WELL = 1; GOOD = 1; FINE = 1; SAD = 0; }
"""


def test_names_kept_in_json_lone_members_of_oneofs_and_maps_are_told_no_worse_than_they_are() -> None:
    some = changes(*(compiled({"p.proto": f'syntax = "proto3"; package p; {text}'}) for text in (OLD, NEW)))
    assert told(tuple(one for one in some if one.breaking)) == [
        "type-changed p.Kept.color: wire json source",
        "oneof-left p.Kept.isbn: wire source",
        "oneof-joined p.Kept.left: wire source",
        "type-changed p.Kept.list: wire json source",
        "oneof-joined p.Kept.right: wire source",
        "field-renamed p.Kept.stock: json source",
        "enum-alias-preferred p.Mood.GOOD: json",
        "enum-removed p.Color: source",
        "oneof-left p.Kept.alone: source",
        "field-renamed p.Kept.fooBar: source",
        "field-renamed p.Kept.note: source",
        "oneof-removed p.Kept.only: source",
        "oneof-joined p.Kept.size: source",
        "oneof-joined p.Kept.width: source",
    ]
    texts = {one.member: one.text for one in some if one.kind == "type-changed"}
    assert texts == {
        "color": "was enum p.Color and is message p.Color",
        "list": "was map<string, int32> and is repeated string",
    }
    alias = one(some, "enum-alias-preferred")
    assert (alias.before, alias.after) == ("GOOD", "WELL")


def test_a_default_that_is_only_written_otherwise_breaks_nobody() -> None:
    head = 'syntax = "proto2"; package p; enum Grade { LOW = 1; HIGH = 2; }'
    old = f"{head} message M {{ optional Grade a = 1; optional Grade b = 2 [default = HIGH]; optional int32 c = 3; "
    new = f"{head} message M {{ optional Grade a = 1 [default = LOW]; optional Grade b = 2 [default = TOP]; "
    old += "optional bool d = 4 [default = false]; optional int32 e = 5; }"
    new += "optional int32 c = 3 [default = 0]; optional bool d = 4; optional int32 e = 5 [default = 1]; }"
    some = changes(compiled({"p.proto": old}), compiled({"p.proto": new.replace("HIGH", "TOP")}))
    assert told(some) == ["default-changed p.M.e: wire json source", "enum-value-renamed p.Grade.HIGH: json source"]


def test_a_new_version_in_another_folder_and_package_is_told_once_for_each_file() -> None:
    again = {name: text.replace("acme.store.v1", "acme.store.v2") for name, text in BASE.items()}
    again = {name.replace("/v1/", "/v2/"): text.replace("/v1/types", "/v2/types") for name, text in again.items()}
    assert told(changes(compiled(BASE), compiled(again))) == [
        "package-changed acme/store/v1/store.proto: wire source",
        "package-changed acme/store/v1/types.proto: wire source",
        "file-moved acme/store/v1/store.proto: source",
        "file-moved acme/store/v1/types.proto: source",
    ]


def test_what_a_file_that_is_gone_had_is_told_where_it_is_now() -> None:
    types, calls = "message A { int32 x = 1; }", "service S { rpc G(A) returns (A); }"
    head = 'syntax = "proto3"; package p;'
    apart = {"p.proto": f"{head} {types}", "q.proto": f'{head} import "p.proto"; {calls}'}
    assert told(changes(compiled(apart), compiled({"p.proto": f"{head} {types} {calls}"}))) == [
        "file-removed q.proto: source",
        "service-moved p.S: source",
    ]


# --- files --------------------------------------------------------------------------------------------------------


def test_a_file_that_moves_is_moved_and_nothing_in_it_is_gone() -> None:
    moved = {name.replace("modern", "newest"): text for name, text in BASE.items()}
    some = changes(compiled(BASE), compiled(moved))
    assert told(some) == ["file-moved acme/modern.proto: source"]
    assert (some[0].after, some[0].file) == ("acme/newest.proto", "acme/newest.proto")


def test_a_file_that_is_gone_is_told_with_all_that_was_in_it() -> None:
    left = {name: text for name, text in BASE.items() if "modern" not in name}
    assert told(changes(compiled(BASE), compiled(left))) == [
        "file-removed acme/modern.proto: source",
        "message-removed acme.modern.Inner: source",
        "enum-removed acme.modern.Mood: source",
        "message-removed acme.modern.Thing: source",
    ]


def test_imports_are_told_and_only_one_that_passed_on_its_types_breaks() -> None:
    base = {
        **BASE,
        "acme/all.proto": 'syntax = "proto3"; import public "acme/modern.proto"; import "acme/legacy.proto";',
    }
    kept = found((' import "acme/legacy.proto";', ""), base=base)
    assert told(kept) == ["import-removed acme/all.proto: nobody"]
    assert told(found(("import public", "import"), base=base)) == ["public-import-removed acme/all.proto: source"]


def test_against_nothing_all_is_new_and_nobody_breaks() -> None:
    some = changes([], compiled(BASE))
    assert {one.kind for one in some} >= {
        "file-added",
        "service-added",
        "message-added",
        "enum-added",
        "extension-added",
    }
    assert not any(one.breaking for one in some)


def test_if_all_is_gone_all_of_it_breaks() -> None:
    some = changes(compiled(BASE), [])
    assert all(one.breaking for one in some)
    assert {one.kind for one in some} >= {"file-removed", "service-removed", "message-removed", "enum-removed"}


# --- places, users, the client's tree -----------------------------------------------------------------------------


def test_a_change_says_its_module_file_type_and_field_and_the_rpcs_that_carry_it() -> None:
    nested = one(found(("string label = 1;", "string label = 3;")), "field-renumbered")
    assert (nested.module, nested.file) == ("acme", "acme/store/v1/store.proto")
    assert (nested.type, nested.member) == ("acme.store.v1.Item.Part", "label")
    assert nested.rpcs == tuple(
        f"acme.store.v1.{rpc}"
        for rpc in (
            *("ItemService/CreateItem", "ItemService/GetItem", "ItemService/WatchItems"),
            *("OrderService/FindOrder", "OrderService/PlaceOrder"),
        )
    )


def test_a_change_of_an_rpc_says_its_service_and_name() -> None:
    change = one(found(*CALLS["a scope is gone"][0]), "scope-changed")
    assert (change.service, change.rpc) == ("acme.store.v1.ItemService", "GetItem")
    assert change.text == "needed Acme.Items.Get as its scope and needs nothing"


def test_a_service_that_comes_beside_another_one_and_takes_its_place_on_the_client_is_told() -> None:
    base = edited((CALLS["a service is gone"][0][0][0], ""))
    some = changes(compiled(base), compiled(BASE))
    path = one(some, "client-path-changed")
    assert (path.before, path.after) == ("client.acme.store", "client.acme.item")


def test_another_module_and_an_origin_that_becomes_unsure_break_code() -> None:
    files = compiled(BASE)
    folders = {file.name: "store" for file in files}
    sure = Origins("published", {}, {}, folders)
    unsure = Origins(
        "published", {}, {"acme.store.v1.OrderService/FindOrder": "documented"}, {**folders, "acme/modern.proto": "new"}
    )
    assert told(changes(files, files, sure, unsure)) == [
        "module-changed acme/modern.proto: source",
        "origin-changed OrderService/FindOrder: source",
    ]
    assert told(changes(files, files, unsure, sure))[-1] == "origin-changed OrderService/FindOrder: nobody"


# --- what the two sides do not have -------------------------------------------------------------------------------


def test_generated_code_says_nothing_of_comments_and_json_names_and_so_nothing_is_told() -> None:
    bare = []
    for file in compiled(edited(("int32 page_size = 2", 'int32 page_size = 2 [json_name = "size"]'))):
        stripped = File.FromString(file.SerializeToString())
        stripped.ClearField("source_code_info")
        for message in stripped.message_type:
            for field in message.field:
                field.ClearField("json_name")
        bare.append(stripped)
    assert changes(bare, compiled(edited(*HARMLESS["a comment of a message changes"][0]))) == ()


def test_our_own_stubs_hold_the_schema_that_they_were_generated_from() -> None:
    stubs = descriptors_of(ROOT / "gen/invora_api")
    assert changes(stubs, [File.FromString(file.SerializeToString()) for file in reversed(stubs)]) == ()


def test_files_that_are_installed_are_not_compared() -> None:
    files = compiled(BASE)
    http = next(file for file in files if file.name == "google/api/http.proto")
    other = File.FromString(http.SerializeToString())
    other.message_type[0].field[0].number = 77
    assert changes(files, [other if file is http else file for file in files]) == ()


def test_it_does_not_matter_that_an_option_became_known_after_one_side_was_read(tmp_path: Path) -> None:
    (tmp_path / "before").write_bytes(FileDescriptorSet(file=compiled(BASE)).SerializeToString())
    script = """
import sys
from pathlib import Path
from google.protobuf.descriptor_pb2 import FileDescriptorSet
data = Path(sys.argv[1]).read_bytes()
before = FileDescriptorSet.FromString(data).file
import google.api.annotations_pb2
import invora_api.kernel.options_pb2
from invora_grpc.codegen.changes import changes
print(changes(before, FileDescriptorSet.FromString(data).file))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "before")], check=True, capture_output=True, text=True
    )
    assert done.stdout == "()\n"


# --- buf ----------------------------------------------------------------------------------------------------------


def test_a_rule_of_buf_is_noted_with_the_change_that_it_is_about() -> None:
    assert one(found(*TYPES["a JSON name changes"][0]), "json-name-changed").rules == ("FIELD_SAME_JSON_NAME",)


def test_what_only_buf_knows_is_told_in_its_words() -> None:
    some = found(
        ("inner = 2", "inner = 2"),
        ("string title = 3", "string title = 3 [features.(pb.cpp).string_type = CORD]"),
        base=CPP,
    )
    change = one(some, "buf-flagged")
    assert change.rules == ("FIELD_SAME_CPP_STRING_TYPE",)
    assert (change.symbol, change.breaks) == ("acme.modern.Thing.title", (Breaks.SOURCE,))
    assert "FIELD_SAME_CPP_STRING_TYPE" in change.text


CPP = {
    "acme/modern.proto": BASE["acme/modern.proto"].replace(
        "package", 'import "google/protobuf/cpp_features.proto";\npackage'
    )
}


def test_what_buf_finds_breaking_is_not_harmless_even_where_it_would_be_here(monkeypatch: pytest.MonkeyPatch) -> None:
    edit = ("repeated Part parts = 11", "repeated Part parts = 11 [lazy = true]")
    assert told(found(edit)) == ["option-changed Item.parts: nobody"]
    later = Finding(
        "FIELD_SAME_LAZY", 'Field changed "lazy"', "acme/store/v1/store.proto", "acme.store.v1.Item.parts", ""
    )
    monkeypatch.setattr("invora_grpc.codegen.changes.findings", lambda *_: [later])
    assert told(found(edit)) == ["option-changed Item.parts: source"]


def test_every_rule_of_buf_is_known_or_told_in_its_words() -> None:
    assert who("A_RULE_OF_THE_FUTURE") == (Breaks.SOURCE,)
    assert who("FIELD_WIRE_COMPATIBLE_TYPE")[0] is Breaks.WIRE
    assert who("FIELD_SAME_JSON_NAME")[0] is Breaks.JSON


def test_without_buf_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(ConfigError, match=r"invora-grpc\[codegen\]"):
        found(("string note = 12", "string note = 16"))


def test_a_change_between_any_two_types_is_told_no_milder_than_buf_does_but_where_protobufs_guide_is_milder() -> None:
    finer = {frozenset(pair) for pair in (("Kind", "int32"), ("Kind", "uint32"), ("Kind", "int64"), ("Kind", "uint64"))}
    finer |= {frozenset(pair) for pair in (("Kind", "bool"), ("bytes", "Part"))}
    pairs = [(old, new) for old in SCALARS for new in SCALARS]
    sides = [compiled(_all_types([pair[side] for pair in pairs])) for side in (0, 1)]
    by_field = {change.member: change for change in changes(*sides) if change.kind == "type-changed"}
    flagged = changes_buf.findings(*sides, ())
    assert len(flagged) > 500
    for finding in flagged:
        old, new = pairs[int(finding.symbol.rpartition("f")[2])]
        breaks = by_field[finding.symbol.rpartition(".")[2]].breaks
        wire = finding.rule == "FIELD_WIRE_COMPATIBLE_TYPE" and frozenset((old, new)) not in finer
        assert Breaks.WIRE in breaks or not wire, (old, new)
        assert Breaks.JSON in breaks or Breaks.WIRE in breaks or finding.rule != "FIELD_WIRE_JSON_COMPATIBLE_TYPE"
    assert {pairs[int(name[1:])] for name in by_field} == {pair for pair in pairs if pair[0] != pair[1]}


def _all_types(types: list[str]) -> dict[str, str]:
    fields = "".join(f"{kind} f{index} = {index + 1};" for index, kind in enumerate(types))
    parts = "enum Kind { KIND_NONE = 0; KIND_ONE = 1; } message Part { string a = 1; }"
    return {"types.proto": f'syntax = "proto3"; package t; {parts} message All {{ {fields} }}'}


# --- kinds and ids ------------------------------------------------------------------------------------------------


def test_every_kind_that_breaks_somebody_says_what_to_do() -> None:
    assert all(kind.advice for kind in KINDS.values() if kind.breaks)


def test_an_id_is_the_same_in_every_run_and_another_one_for_another_change_of_the_same_thing() -> None:
    first, second = (found(("int32 count = 2", f"{kind} count = 2"))[0] for kind in ("int64", "string"))
    assert first.id == "type-changed:acme.store.v1.Item.count:" + first.id[-8:]
    assert found(("int32 count = 2", "int64 count = 2"), ("note = 12", "note = 40"))[1].id == first.id != second.id


def test_an_image_of_buf_is_compared_like_sources(tmp_path: Path) -> None:
    image = tmp_path / "image.binpb"
    image.write_bytes(FileDescriptorSet(file=compiled(BASE)).SerializeToString())
    assert told(changes(from_image(image).files, compiled(edited(("note = 12", "note = 16"))))) == [
        "field-renumbered Item.note: wire"
    ]
