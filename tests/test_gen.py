"""`invora gen` as it is typed: every source gives the same package, on every path and Python, and says what it did."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from reflected import file
from reflection_server import reflecting
from sandbox_fixture import Running

from invora_grpc.cli.app import main
from invora_grpc.cli.options import target_options
from invora_grpc.codegen.embedded import catalog_rows
from invora_grpc.codegen.packages import HEADER, package_folder

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
STORE = """syntax = "proto3";
package acme.store.v1;
import "acme/money.proto";
// Keeps things.
service StoreService {
  // Finds one.
  rpc Get(GetRequest) returns (Thing);
}
message GetRequest { string id = 1; }
message Thing { string id = 1; acme.Money price = 2; }
"""
MONEY = 'syntax = "proto3"; package acme; message Money { int64 units = 1; }'
TARGET = {one.name for one in click.command()(target_options(lambda **_: None)).params}
"""The options that every command has that talks to a gateway."""
SHIM = '''"""protoc of another interpreter: it is compiled code, and the same for all of them."""
import subprocess
def main(argv):
    return subprocess.run([{python!r}, "-I", "-m", "grpc_tools.protoc", *argv[1:]]).returncode
'''


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INVORA_")}
    path = os.pathsep.join([str(BIN), kept["PATH"]])
    return {**kept, "PATH": path, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen")]), **more}


def gen(cwd: Path, *arguments: str, **env: str) -> Result:
    """The command in this process; buf, protoc and the plugin are processes of their own."""
    settings: dict[str, str | None] = {name: None for name in os.environ if name.startswith("INVORA_")}
    with contextlib.chdir(cwd):
        return CliRunner().invoke(main, ["gen", *arguments], env={**settings, **env})


def gen_apart(cwd: Path, *arguments: str, python: str = sys.executable, **env: str) -> subprocess.CompletedProcess[str]:
    """The command as it is typed, in a process of its own, which knows no options of any schema."""
    command = [python, "-m", "invora_grpc.cli", "gen", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, env=environment(**env))


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def checkout(folder: Path) -> Path:
    """A clean checkout, as far as generation reads it."""
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "buf.yaml", folder)
    shutil.copytree(ROOT / "proto", folder / "proto")
    return folder


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    """Somebody's project with protos of its own."""
    (tmp_path / "proto/acme").mkdir(parents=True)
    (tmp_path / "proto/acme/store.proto").write_text(STORE)
    (tmp_path / "proto/acme/money.proto").write_text(MONEY)
    return tmp_path


# --- Invora's schema ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, float]]:
    """A clean checkout with its generated package, and the seconds of processor time that this took.

    What is committed was generated elsewhere, by another Python.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    folder = tmp_path_factory.mktemp("one")
    tree = checkout(folder / "another, longer path/é/tree")
    python = [sys.executable, *others()][-1]
    settings = {"PYTHONPATH": path_of_others(folder), "PYTHONHASHSEED": "7", "LC_ALL": "C"}
    result = gen_apart(tree, python=python, **settings)
    assert result.returncode == 0, result.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    yield tree, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_clean_checkout_on_another_path_and_python_generates_what_is_committed_byte_for_byte(
    whole: tuple[Path, float],
) -> None:
    assert contents(whole[0] / "gen") == contents(ROOT / "gen"), "gen/ is stale: run `make gen`"


def test_the_whole_schema_is_generated_within_ten_seconds(whole: tuple[Path, float]) -> None:
    assert whole[1] < 10


def others() -> list[str]:
    """The other Pythons that are here and that this package supports: on PATH, or installed beside this one."""
    found = dict[str, str]()
    on_path = (shutil.which(f"python3.{minor}") for minor in range(11, 20))
    beside = Path(sys.base_prefix).parent.glob("3.*/bin/python3")
    for path in (*filter(None, on_path), *sorted(beside)):
        code = "import sys; print(*sys.version_info[:2], sys.executable)"
        told = subprocess.run([str(path), "-c", code], check=False, capture_output=True, text=True).stdout.split(
            maxsplit=2
        )
        if told and (3, 11) <= (int(told[0]), int(told[1])) != sys.version_info[:2]:
            found.setdefault(told[1], told[2].strip())
    return list(found.values())


def path_of_others(folder: Path) -> str:
    """PYTHONPATH by which another Python runs all but protoc from here."""
    (folder / "shim/grpc_tools").mkdir(parents=True)
    (folder / "shim/grpc_tools/__init__.py").write_text("")
    (folder / "shim/grpc_tools/protoc.py").write_text(SHIM.format(python=sys.executable))
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    return os.pathsep.join([str(folder / "shim"), str(ROOT), packages])


def test_plain_buf_generate_writes_the_same_bytes_on_yet_another_python(
    whole: tuple[Path, float], tmp_path: Path
) -> None:
    python = [sys.executable, *others()][-2:][0]
    script = tmp_path / "bin/protoc-gen-invora-python"  # as pip installs it
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\nexec {python} -m invora_grpc.codegen.plugin\n")
    script.chmod(0o755)
    shutil.copy(ROOT / "buf.gen.yaml", whole[0])
    env = environment(PYTHONPATH=path_of_others(tmp_path))
    env["PATH"] = os.pathsep.join([str(script.parent), env["PATH"]])
    command = [str(BIN / "buf"), "generate", "--output", str(tmp_path)]
    result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=whole[0], env=env)
    assert result.returncode == 0, result.stderr
    assert contents(tmp_path / "gen") == contents(whole[0] / "gen")


def test_reflection_gives_the_same_catalog_and_messages_as_the_protos(
    demo: Running, whole: tuple[Path, float], tmp_path: Path
) -> None:
    where = {"INVORA_ENDPOINT": f"http://{demo.grpc}", "INVORA_TOKEN": demo.token()}
    result = gen(tmp_path, "--source", "reflection", **where)
    assert result.exit_code == 0, result.stderr
    ours, theirs = whole[0] / "gen/invora_api", tmp_path / "gen/invora_api"
    assert without_comments(catalog_rows(theirs)) == without_comments(catalog_rows(ours))
    served = {name: data for name, data in contents(theirs).items() if name.endswith("_pb2.py")}
    compiled = contents(ours)
    assert len(served) == 175
    assert served == {name: compiled[name] for name in served}


def without_comments(rows: tuple[tuple[Any, ...], ...]) -> list[object]:
    """The rows of a catalog without what only sources have."""
    return [(*head, [method[:-1] for method in methods]) for *head, _, methods in rows]


def test_one_module_comes_with_what_it_needs_of_others(tmp_path: Path) -> None:
    result = gen(ROOT, "--module", "simple", "--out", str(tmp_path / "gen"))
    assert result.exit_code == 0, result.stderr
    folder = tmp_path / "gen/invora_api"
    assert {row[1] for row in catalog_rows(folder)} == {"simple"}
    code = "import invora_api.simple.invoices.v1.service_pb2 as m; print(m.__file__)"
    paths = os.pathsep.join([str(tmp_path / "gen"), str(ROOT)])
    told = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment(PYTHONPATH=paths)
    )
    assert told.stdout.startswith(str(folder))


# --- the schema of others -----------------------------------------------------------------------------------------


def test_every_source_of_a_schema_gives_the_same_package(acme: Path) -> None:
    options = ("--package", "acme_api")
    assert gen(acme, *options).exit_code == 0
    first = contents(acme / "gen")
    assert {"acme_api/acme/store_pb2.py", "acme_api/catalog.py", "acme_api/clients.pyi"} <= first.keys()
    (acme / "proto/buf.yaml").write_text("version: v2\n")
    assert gen(acme, *options).stdout == f"gen: 0 files written, 0 removed, {len(first)} as they were\n"
    subprocess.run([BIN / "buf", "build", "proto", "-o", "image.binpb"], check=True, cwd=acme)
    result = gen(acme, *options, "--image", "image.binpb", "--out", "other")
    assert result.exit_code == 0, result.stderr
    assert contents(acme / "other") == first


def test_a_live_server_that_is_not_invora_becomes_a_package(tmp_path: Path) -> None:
    shop = file("läden/shop é.proto", package="acme.v1", service="Shop", Buy="")
    health = file("grpc/health/v1/health.proto", package="grpc.health.v1", service="Health", Check="")
    with reflecting([shop, health]) as server:
        options = ("--source", "reflection", "--endpoint", server.url, "--package", "acme.api")
        result = gen(tmp_path, *options)
        assert result.exit_code == 0, result.stderr
        assert gen(tmp_path, *options, "--check").stdout == "gen is current\n"
    folder = package_folder(tmp_path / "gen", "acme.api")
    assert [row[:2] for row in catalog_rows(folder)] == [("acme.v1.Shop", "acme")]
    code = "import acme.api.l_den.shop___pb2 as m; print(m.Buy.__module__)"
    told = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path / "gen"
    )
    assert told.stdout == "acme.api.l_den.shop___pb2\n"


def test_the_check_lists_what_is_stale_and_writes_nothing(acme: Path) -> None:
    options = ("--package", "acme_api")
    assert gen(acme, *options).exit_code == 0
    (acme / "proto/acme/money.proto").write_text(MONEY.replace("units", "cents"))
    (acme / "gen/acme_api/left_pb2.py").write_text(HEADER)
    before = contents(acme / "gen")
    result = gen(acme, *options, "--check")
    assert result.exit_code == 1
    assert "stale    gen/acme_api/acme/money_pb2.py (from acme/money.proto)\n" in result.stdout
    assert "surplus  gen/acme_api/left_pb2.py: nothing generates it\n" in result.stdout
    assert "gen is stale, " in result.stderr
    assert contents(acme / "gen") == before
    assert gen(acme, *options).exit_code == 0
    assert gen(acme, *options, "--check").stdout == "gen is current\n"


# --- the report ---------------------------------------------------------------------------------------------------


def test_the_report_says_what_a_generation_changes_and_stops_what_nobody_approved(acme: Path) -> None:
    options = ("--package", "acme_api", "--report", "json", "--approved", "approved.txt")
    first = gen(acme, *options)
    assert first.exit_code == 0, first.stderr
    (acme / "proto/acme/money.proto").write_text(MONEY.replace("units = 1", "units = 7"))
    before = contents(acme / "gen")
    checked = gen(acme, *options, "--check")
    assert checked.exit_code == 1
    assert contents(acme / "gen") == before
    breaking = [change["id"] for change in json.loads(checked.stdout)["changes"] if change["breaks"]]
    assert breaking
    assert "not approved: put the ids into the file of --approved" in checked.stderr
    (acme / "approved.txt").write_text("\n".join(breaking))
    assert gen(acme, *options).exit_code == 0
    assert contents(acme / "gen") != before
    again = gen(acme, *options)
    assert (again.exit_code, json.loads(again.stdout)["changes"]) == (0, [])
    since = gen(acme, *options[:-2], "--against", "proto")
    assert (since.exit_code, json.loads(since.stdout)["changes"]) == (0, [])


def test_nothing_is_written_if_the_report_cannot_be_made(acme: Path) -> None:
    result = gen(acme, "--package", "acme_api", "--report", "md", "--against", "no-such-commit")
    assert result.exit_code == 2
    assert "is no file, no folder, and no commit here" in result.stderr
    assert not (acme / "gen").exists()


def test_options_of_an_rpc_that_stay_are_no_change(acme: Path) -> None:
    rule = 'returns (Thing) { option (google.api.http) = {get: "/v1/things/{id}"}; option (scope) = "things:read"; }'
    imports = "".join(f'import "google/{name}.proto"; ' for name in ("api/annotations", "protobuf/descriptor"))
    option = "extend google.protobuf.MethodOptions { string scope = 53036; }"
    store = STORE.replace("returns (Thing);", rule).replace("import", f"{imports} import") + option
    (acme / "proto/acme/store.proto").write_text(store)
    options = ("--package", "acme_api", "--report", "json")
    first = gen_apart(acme, *options)
    assert first.returncode == 0, first.stderr
    assert json.loads(gen_apart(acme, *options).stdout)["changes"] == []


def test_what_code_does_not_keep_of_the_sources_is_no_change(acme: Path) -> None:
    option = "extend google.protobuf.FieldOptions { string why = 50001 [retention = RETENTION_SOURCE]; }"
    money = MONEY.replace("message", f'import "google/protobuf/descriptor.proto"; {option} message')
    (acme / "proto/acme/money.proto").write_text(money.replace("units = 1", 'units = 1 [(why) = "whole ones"]'))
    options = ("--package", "acme_api", "--report", "json")
    assert gen(acme, *options).exit_code == 0
    assert json.loads(gen(acme, *options).stdout)["changes"] == []


# --- the page ----------------------------------------------------------------------------------------------------


def test_the_page_tells_of_every_option_and_its_examples_are_command_lines() -> None:
    page = (ROOT / "docs/codegen.md").read_text("utf-8")
    command = main.get_command(click.Context(main), "gen")
    assert command is not None
    examples = re.findall(r"^invora gen *([^#\n]*)", page, re.MULTILINE)
    assert len(examples) > 4
    for line in examples:
        command.make_context("gen", shlex.split(line))
    own = [option for one in command.params for option in one.opts if one.name not in TARGET]
    assert [option for option in own if f"`{option}" not in page] == []


# --- mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--source", "proto", "--image", "x"), "--image is no option of --source proto"),
        (("--proto", "x", "--lock"), "--lock is no option of --proto"),
        (("--source", "image"), "--source image needs --image FILE"),
        (("--source", "registry", "--lock", "--check"), "--check writes nothing, and --lock does"),
        (("--approved", "x"), "--approved needs --report md or json"),
        (("--against", "x"), "--against needs --report md or json"),
        ((), "is that of Invora's own stubs; give yours a name with --package"),
        (("--source", "reflection", "--package", "a-b"), "package: 'a-b' is no name of a Python package"),
        (("--module", "acne", "--package", "a"), "module: 'acne' is no module of this source; did you mean acme?"),
    ],
)
def test_mistakes_are_told_in_a_line_with_the_way_out(acme: Path, arguments: tuple[str, ...], told: str) -> None:
    result = gen(acme, *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert not (acme / "gen").exists()


def test_without_a_schema_it_is_asked_for_one(tmp_path: Path) -> None:
    result = gen(tmp_path)
    assert result.exit_code == 2
    assert "there is neither ./proto nor ./buf.yaml: say --source" in result.stderr


def test_all_complaints_of_the_compiler_are_shown(acme: Path) -> None:
    (acme / "proto/acme/store.proto").write_text(STORE.replace("Thing)", "Think)").replace("string", "text"))
    result = gen(acme, "--package", "acme_api")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert [line.partition(": ")[2] for line in lines[:-1]] == [
        f'"{name}" is not defined.' for name in ("text", "text", "Think")
    ]
    assert lines[-1].startswith("error: protoc failed: ")


def test_a_gateway_that_does_not_answer_is_an_error_of_the_connection(tmp_path: Path) -> None:
    options = ("--source", "reflection", "--endpoint", "http://127.0.0.1:1", "--package", "acme_api", "--timeout", "5")
    result = gen(tmp_path, *options)
    assert result.exit_code == 64 + 14
    assert "127.0.0.1:1" in result.stderr
    assert not (tmp_path / "gen").exists()
