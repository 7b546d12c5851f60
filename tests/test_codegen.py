"""The wire schema and what is generated from it: guarded, and importable."""

from __future__ import annotations

import importlib
import json
import pickle
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from invora_grpc.catalog import snake_case
from invora_grpc.codegen.__main__ import compare, compiled, fingerprints
from invora_grpc.codegen.catalog_source import areas

ROOT = Path(__file__).parent.parent
SERVICE = "proto/billing/invora/billing/salesforce/v2"
PART = ("proto/common", SERVICE)
GREETER = {"file": "kernel/decimal.proto", "package": "kernel", "origin": "published", "imports": []}
DECIMAL = [{"n": 1, "name": "units", "type": "int64"}, {"n": 2, "name": "nanos", "type": "sfixed32"}]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small part of the schema that needs nothing of the rest, and the working directory."""
    head, *modules = re.split(r"^(?=  - path: )", (ROOT / "buf.yaml").read_text(), flags=re.MULTILINE)
    kept = [one for one in modules if one.split()[2] in ("proto/common", "proto/billing", "build/googleapis")]
    (tmp_path / "buf.yaml").write_text("".join([head, *kept]))
    for folder in PART:
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "proto/origins.json", tmp_path / "proto")
    own = {path.relative_to(tmp_path).as_posix().split("/", 2)[2] for path in tmp_path.rglob("*.proto")}
    lines = (ROOT / "proto/fingerprints.txt").read_text().splitlines(keepends=True)
    (tmp_path / "proto/fingerprints.txt").write_text("".join(line for line in lines if line.split()[2] in own))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def changed() -> set[str]:
    """The files whose wire surface is not the recorded one."""
    recorded = Path("proto/fingerprints.txt").read_text().splitlines()
    return {line.split()[2] for line in {*recorded} ^ {*fingerprints().splitlines()}}


def codegen(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "invora_grpc.codegen", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_wire_surface_is_what_the_fingerprints_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert fingerprints() == (ROOT / "proto/fingerprints.txt").read_text()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("int64 units = 1", "int64 units = 3"),
        ("int64 units = 1", "sint64 units = 1"),
        ("int64 units = 1", "int64 unit = 1"),
        ("int64 units = 1", "optional int64 units = 1"),
        ("int64 units = 1", "repeated int64 units = 1"),
        ("int64 units = 1", 'int64 units = 1 [json_name = "whole"]'),
        ("sfixed32 nanos = 2", "repeated sfixed32 nanos = 2 [packed = false]"),
    ],
)
def test_any_change_of_the_wire_surface_is_reported(tree: Path, before: str, after: str) -> None:
    proto = tree / "proto/common/kernel/decimal.proto"
    assert before in proto.read_text()
    proto.write_text(proto.read_text().replace(before, after))
    assert changed() == {"kernel/decimal.proto"}


def test_a_changed_wire_surface_is_told_as_it_was_and_as_it_is(tree: Path) -> None:
    proto = tree / "proto/common/kernel/decimal.proto"
    proto.write_text(proto.read_text().replace("int64 units = 1", "int64 units = 3"))
    result = codegen("fingerprint")
    assert result.returncode == 1
    told = [line.split() for line in result.stdout.splitlines()[:-1]]
    assert sorted((line[0], line[-1]) for line in told) == [(w, "kernel/decimal.proto") for w in ("is", "was")]
    assert "python -m invora_grpc.codegen fingerprint --write" in result.stdout


@pytest.mark.parametrize("rare", ['additional_bindings {get: "/other"}', 'response_body: "item"'])
def test_rare_parts_of_an_http_rule_belong_to_the_wire_surface(tree: Path, rare: str) -> None:
    proto = tree / SERVICE / "service.proto"
    before = 'option (google.api.http) = {get: "/api/v2/billing/salesforce-integrations/{id}"};'
    assert before in proto.read_text()
    proto.write_text(proto.read_text().replace(before, before.replace('{id}"', '{id}" ' + rare)))
    assert changed() == {"invora/billing/salesforce/v2/service.proto"}


def test_a_proto_that_does_not_compile_is_shown_with_its_place(tree: Path) -> None:
    proto = tree / "proto/common/kernel/decimal.proto"
    proto.write_text(proto.read_text() + "message {")
    result = codegen("fingerprint")
    assert result.returncode == 1
    assert "proto/common/kernel/decimal.proto:" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_changed_comment_is_no_change_of_the_wire_surface(tree: Path) -> None:
    proto = tree / "proto/common/kernel/decimal.proto"
    proto.write_text(proto.read_text().replace("message Dec", "// Other words.\nmessage Dec"))
    assert codegen("fingerprint").returncode == 0


def test_added_methods_do_not_touch_the_fingerprint_of_a_published_file() -> None:
    lines = [line.split() for line in (ROOT / "proto/fingerprints.txt").read_text().splitlines()]
    origin = {path: origin for origin, _, path in lines}
    plans = "invora/billing/plans/v2/service.proto"
    assert (origin[plans], origin[f"{plans}#additions"]) == ("published", "documented")
    files = [o for path, o in origin.items() if "#" not in path]
    assert (files.count("published"), files.count("derived")) == (181, 1)


def test_recorded_facts_that_agree_count_as_equal(tree: Path) -> None:
    (tree / "facts").mkdir()
    (tree / "facts/x.json").write_text(json.dumps([{**GREETER, "messages": {"DecimalValue": {"fields": DECIMAL}}}]))
    total, equal, lines = compare(tree / "facts")
    assert (total, equal) == (1, 1)
    assert [line for line in lines if line.startswith("kernel/decimal.proto")] == []


def test_recorded_facts_that_differ_are_named(tree: Path) -> None:
    (tree / "facts").mkdir()
    other = [DECIMAL[0], {**DECIMAL[1], "type": "int32"}]
    (tree / "facts/x.json").write_text(json.dumps([{**GREETER, "messages": {"DecimalValue": {"fields": other}}}]))
    line = "kernel/decimal.proto: messages.DecimalValue.fields[nanos].type: expected 'int32', found 'sfixed32'"
    total, equal, lines = compare(tree / "facts")
    assert (total, equal) == (1, 0)
    assert line in lines


def test_a_published_file_without_recorded_facts_is_named(tree: Path) -> None:
    (tree / "facts").mkdir()
    (tree / "facts/x.json").write_text(json.dumps([{**GREETER, "messages": {"DecimalValue": {"fields": DECIMAL}}}]))
    assert "kernel/audit.proto: is published, but no facts are recorded of it" in compare(tree / "facts")[2]


def test_comparing_with_nothing_fails(tree: Path) -> None:
    (tree / "facts").mkdir()
    result = codegen("compare", str(tree / "facts"))
    assert result.returncode == 1
    assert "no facts in this folder" in result.stdout


def test_every_generated_module_imports_under_its_own_package() -> None:
    import invora_api

    names = [m.name for m in pkgutil.walk_packages(invora_api.__path__, "invora_api.")]
    modules = [importlib.import_module(name) for name in names]
    assert len(modules) > 400
    assert not {"kernel", "oasis", "un", "org", "invora"} & set(sys.modules)


def test_generated_messages_pickle() -> None:
    from invora_api.kernel.decimal_pb2 import DecimalValue

    value = DecimalValue(units=20, nanos=500_000_000)
    assert DecimalValue.__module__ == "invora_api.kernel.decimal_pb2"
    assert pickle.loads(pickle.dumps(value)) == value


def test_every_workspace_module_carries_its_registry_name() -> None:
    text = (ROOT / "buf.yaml").read_text()
    for module in ("common", "simple", "invoicing", "billing", "identity", "ubl-2-1"):
        assert f"name: buf.build/invora/{module}\n" in text


def test_the_extension_number_of_the_scope_is_the_published_one(tree: Path) -> None:
    file = compiled()["kernel/options.proto"]
    assert [(x.name, x.number, x.extendee) for x in file.extension] == [
        ("options", 53036, ".google.protobuf.MethodOptions")
    ]


@pytest.mark.parametrize(
    ("name", "snake"),
    [("ListAvailablePlans", "list_available_plans"), ("APIKeys", "api_keys"), ("V2Go", "v2_go")],
)
def test_rpc_names_become_snake_case(name: str, snake: str) -> None:
    assert snake_case(name) == snake


def test_a_published_service_keeps_the_area_when_a_documented_one_joins_its_package() -> None:
    late, sure = (
        ("a.hooks.v2.HooksService", "a.hooks.v2", "documented"),
        ("a.hooks.v2.HookService", "a.hooks.v2", "published"),
    )
    assert areas([late, sure]) == {"a.hooks.v2.HookService": "hooks", "a.hooks.v2.HooksService": "hooks_service"}


def test_services_that_share_a_package_are_called_after_themselves() -> None:
    services = [(f"a.id.v2.{name}Service", "a.id.v2", "published") for name in ("ConnectedBusiness", "Impersonation")]
    assert list(areas(services).values()) == ["connected_business", "impersonation"]
