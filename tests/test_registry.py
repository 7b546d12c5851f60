"""The schema from the registry: the real buf against a stand-in that answers what it asks for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from registry_server import Commit, running_tunnel
from registry_world import BOOKS, PLANS, ROOT, World, modules_of, names, running_world, shop, whole_schema

from invora_grpc.cli.app import main
from invora_grpc.codegen import buf
from invora_grpc.codegen.inputs import from_protos
from invora_grpc.codegen.registry import Pin, from_registry, pins_of, render
from invora_grpc.errors import ConfigError


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with running_world(tmp_path, monkeypatch) as running:
        yield running


def test_the_schema_from_the_registry_is_the_one_in_the_source_tree(world: World) -> None:
    world.registry.push(*whole_schema())
    here, there = from_protos(ROOT / "proto", ()), world.read(renew=True)
    assert {file.name: file for file in there.files} == {file.name: file for file in here.files}
    assert there.wanted == here.wanted
    assert [there.origins.folders[name] for name in here.wanted] == [here.origins.folders[name] for name in here.wanted]
    assert {there.origins.of_file(name) for name in there.wanted} == {"published"}


def test_a_chosen_module_brings_what_it_imports_and_nothing_else(world: World) -> None:
    world.read("billing", "common", renew=True)
    found = world.read("common")
    assert found.wanted == ("kernel/money.proto",)
    found = world.read("billing")
    assert found.wanted == ("invora/billing/plans.proto", "kernel/money.proto")
    assert names(found).index("google/type/date.proto") < names(found).index("kernel/money.proto")
    assert found.origins.folders["kernel/money.proto"] == "common"


def test_a_pinned_module_that_is_not_asked_for_need_not_compile(world: World) -> None:
    google, common, billing = shop(b"this is no proto file")
    world.registry.push(billing)
    pins = [
        Pin(f"{world.registry.host}/{commit.owner}/{commit.module}", commit.id, f"b5:{commit.digest.hex()}")
        for commit in (google, common, billing)
    ]
    world.lock.write_text(render(pins))
    assert world.read("common").wanted == ("kernel/money.proto",)


def test_what_is_installed_anyway_is_generated_only_if_it_is_asked_for(world: World) -> None:
    assert "google/type/date.proto" in names(world.read("common", renew=True))
    assert "google/type/date.proto" not in world.read("common").wanted
    assert "google/type/date.proto" in world.read("googleapis/googleapis").wanted


def test_comments_come_along(world: World) -> None:
    money = next(file for file in world.read("common", renew=True).files if file.name == "kernel/money.proto")
    assert " An amount on a day.\n" in [at.leading_comments for at in money.source_code_info.location]


def test_without_pins_nothing_is_fetched_and_the_error_says_what_to_do(world: World) -> None:
    with pytest.raises(ConfigError, match=r"buf\.lock.* does not pin .*/invora/billing; add --lock to pin"):
        world.read("billing")
    assert world.registry.calls == []
    assert not world.lock.exists()


def test_a_pin_that_is_missing_among_others_is_named(world: World) -> None:
    world.read("common", renew=True)
    with pytest.raises(ConfigError, match=r"does not pin .*/invora/billing, .*/invora/identity, .* and 2 more"):
        world.read()


def test_the_lock_is_byte_for_byte_what_buf_writes(world: World) -> None:
    world.read("billing", "common", renew=True)
    (world.folder / "plain").mkdir()
    deps = f'["{world.registry.host}/invora/billing", "{world.registry.host}/invora/common"]'
    (world.folder / "plain/buf.yaml").write_text(f"version: v2\ndeps: {deps}\n")
    (world.folder / "plain/own.proto").write_bytes(BOOKS)
    buf.run("dep", "update", cwd=world.folder / "plain")
    assert (world.folder / "plain/buf.lock").read_bytes() == world.lock.read_bytes()


def test_pins_hold_until_they_are_renewed(world: World) -> None:
    world.read("billing", renew=True)
    before = world.lock.read_bytes()
    world.registry.push(*shop(PLANS.replace(b"string id = 1", b"string id = 4")))
    assert world.read("billing").files[-1].message_type[0].field[0].number == 1
    assert world.lock.read_bytes() == before
    assert world.read("billing", renew=True).files[-1].message_type[0].field[0].number == 4
    assert world.lock.read_bytes() != before


def test_pinned_content_that_buf_has_in_its_cache_needs_no_network(world: World) -> None:
    first = world.read("billing", renew=True)
    asked = len(world.registry.calls)
    assert world.read("billing") == first
    assert len(world.registry.calls) == asked


def test_an_empty_cache_is_filled_from_the_pins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.read("billing", renew=True)
    asked = len(world.registry.calls)
    monkeypatch.setenv("BUF_CACHE_DIR", str(world.folder / "another cache"))
    assert world.read("billing") == first
    assert "DownloadService/Download" in [procedure for procedure, _ in world.registry.calls[asked:]]


def test_a_lock_of_its_own_holds_what_was_asked_for_and_no_more(world: World) -> None:
    world.read("billing", renew=True)
    world.read("common", renew=True)
    assert modules_of(world.lock) == ["googleapis/googleapis", "invora/common"]


def test_a_workspace_keeps_its_other_pins(world: World) -> None:
    other = Pin("buf.example/acme/store", "0" * 32, f"b5:{'a' * 128}")
    deps = f'["{world.registry.host}/invora/common:main", "buf.example/acme/store"]'
    (world.folder / "buf.yaml").write_text(f"version: v2\ndeps: {deps}\n")
    world.lock.write_text(render([other]))
    world.read("common", renew=True)
    assert other in pins_of(world.lock)
    assert modules_of(world.lock) == ["acme/store", "googleapis/googleapis", "invora/common"]


@pytest.mark.parametrize("workspace", ["version: v2\n", "version: v2\ndeps: [127.0.0.1/invora/common]\n", "- a list"])
def test_a_workspace_is_not_given_pins_that_it_does_not_depend_on(world: World, workspace: str) -> None:
    (world.folder / "buf.yaml").write_text(workspace)
    with pytest.raises(
        ConfigError, match=r"which does not depend on .*/invora/common; name another file with --lock-file"
    ):
        world.read("common", renew=True)
    assert world.registry.calls == []
    assert not world.lock.exists()


def test_anybody_s_module_can_be_read(world: World) -> None:
    world.registry.push(Commit("acme", "store", {"acme/store/v1/book.proto": BOOKS}))
    for name in ("acme/store", f"{world.registry.host}/acme/store"):
        found = world.read(name, renew=True)
        assert found.wanted == ("acme/store/v1/book.proto",)
        assert found.origins.folders["acme/store/v1/book.proto"] == "store"


def test_modules_of_one_name_are_told_apart_by_their_owners(world: World) -> None:
    world.registry.push(Commit("acme", "common", {"acme/store/v1/book.proto": BOOKS}))
    found = world.read("common", "acme/common", renew=True)
    assert found.origins.folders["kernel/money.proto"] == "common"
    assert found.origins.folders["acme/store/v1/book.proto"] == "acme_common"


def test_buf_build_itself_is_asked_unless_another_host_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_tunnel(world.registry.host) as (proxy, asked):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        found = from_registry(["billing"], lock=world.lock, renew=True)
    assert set(asked) == {"buf.build:443"}
    assert found.wanted == ("invora/billing/plans.proto", "kernel/money.proto")
    assert [pin.module for pin in pins_of(world.lock)][1:] == ["buf.build/invora/billing", "buf.build/invora/common"]


def gen(world: World, *options: str) -> Result:
    """`invora gen`, in the project's folder."""
    with contextlib.chdir(world.folder):
        return CliRunner().invoke(main, ["gen", "--package", "shop_api", *options])


def test_the_command_pins_generates_and_checks(world: World) -> None:
    source = ("--source", "registry", "--registry", world.registry.host, "--module", "billing")
    assert "--lock" in gen(world, *source).stderr
    made = gen(world, *source, "--lock", "--lock-file", "pins/buf.lock")
    assert (made.exit_code, made.stderr) == (0, "")
    pinned = (*source, "--lock-file", "pins/buf.lock")
    world.registry.push(*shop(PLANS.replace(b"string id = 1", b"string id = 4")))
    assert gen(world, *pinned, "--check").exit_code == 0
    assert gen(world, *pinned, "--lock", "--out", "newer").exit_code == 0
    stale = gen(world, *pinned, "--check")
    assert stale.exit_code == 1
    assert "gen/shop_api/billing/plans_pb2.py" in stale.stdout


def test_the_pins_do_not_move_if_the_package_cannot_be_written(world: World) -> None:
    (world.folder / "gen/shop_api").mkdir(parents=True)
    (world.folder / "gen/shop_api/catalog.py").write_text("# mine\n")
    made = gen(world, "--registry", world.registry.host, "--module", "billing", "--lock")
    assert (made.exit_code, "catalog.py' was not generated" in made.stderr) == (2, True)
    assert not world.lock.exists()


def test_stubs_from_the_registry_are_those_of_the_same_sources(world: World) -> None:
    source = ("--registry", world.registry.host, "--module", "billing")
    assert gen(world, *source, "--lock", "--out", "pulled").exit_code == 0
    for commit in shop()[1:]:
        for path, data in commit.files.items():
            (world.folder / "proto" / path).parent.mkdir(parents=True, exist_ok=True)
            (world.folder / "proto" / path).write_bytes(data)
    local = gen(world, "--proto", "proto", "--module", "billing", "--out", "local")
    assert (local.exit_code, local.stderr) == (0, "")
    assert contents(world.folder / "pulled") == contents(world.folder / "local")


def test_the_command_tells_what_buf_reports_in_one_line(world: World) -> None:
    refused = gen(world, "--registry", world.registry.host, "--module", "identity", "--lock")
    assert refused.exit_code not in (0, 1)
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert 'module "invora/identity" was not found; check its name' in refused.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


_COMMITS = st.binary(min_size=16, max_size=16).map(bytes.hex) | st.from_regex(
    r"[0-9]{20}[0-9e][0-9]{11}", fullmatch=True
)
_PINS = st.builds(
    Pin,
    st.from_regex(r"[a-z]{1,8}\.[a-z]{2,5}(:[0-9]{2,5})?/[a-z0-9]{2,5}/[a-z0-9-]{2,9}", fullmatch=True),
    _COMMITS,
    st.binary(min_size=64, max_size=64).map(lambda digest: f"b5:{digest.hex()}"),
)


@settings(max_examples=25)
@given(st.lists(_PINS, max_size=6, unique_by=lambda pin: pin.module))
def test_a_lock_holds_the_pins_that_were_written(tmp_path_factory: pytest.TempPathFactory, pins: list[Pin]) -> None:
    lock = tmp_path_factory.getbasetemp() / "buf.lock"
    lock.write_text(render(pins))
    assert pins_of(lock) == tuple(sorted(pins, key=lambda pin: pin.module))
    read_by_others = yaml.safe_load(lock.read_text()).get("deps", [])
    assert [entry["commit"] for entry in read_by_others] == [pin.commit for pin in pins_of(lock)]


def test_a_commit_of_nothing_but_digits_is_read_as_it_stands(tmp_path: Path) -> None:
    pin = Pin("buf.build/invora/common", "0" * 30 + "10", f"b5:{'0' * 128}")
    (tmp_path / "buf.lock").write_text(render([pin]).replace('"', ""))
    assert pins_of(tmp_path / "buf.lock") == (pin,)
