"""Completion: what `invora __complete` offers, and that the scripts of shells make use of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from reflection_server import reflecting
from test_cli_explore import shop

from invora_grpc.catalog import catalog
from invora_grpc.cli.app import COMMANDS, main
from invora_grpc.cli.completing import candidates
from invora_grpc.cli.completion import table
from invora_grpc.cli.indexing import ask
from invora_grpc.cli.targets import resolve
from invora_grpc.kinds import enum_names

ROOT = Path(__file__).parent.parent


def offered(*words: str) -> list[str]:
    return [word for word, _ in candidates(list(words))]


def test_the_table_of_commands_and_options_is_current() -> None:
    current = (ROOT / "invora_grpc/cli/offered.py").read_text("utf-8")
    assert table() == current, "run: python -m invora_grpc.cli.completion"


def test_commands_come_first() -> None:
    assert offered("") == [*COMMANDS, "--help", "--version"]
    assert offered("des") == ["describe"]
    assert set(offered("schema", "")) == {"fetch", "diff", "verify"}


def test_rpcs_come_part_by_part() -> None:
    assert offered("call", "") == sorted({f"{service.module}." for service in catalog()})
    assert offered("call", "simple.inv") == ["simple.invoices."]
    assert offered("call", "simple.invoices.f") == ["simple.invoices.freeze"]
    assert offered("template", "simple.invoices.f") == ["simple.invoices.freeze"]


def test_every_rpc_is_reached_by_its_full_and_by_its_short_name() -> None:
    for method in list(catalog().methods)[::20]:
        assert method.attribute in offered("call", method.attribute)
        assert f"{method.service}.{method.name}" in offered("call", f"{method.service}.{method.name}")


def test_a_short_name_is_offered_if_it_fits_one_rpc() -> None:
    assert offered("call", "credit_notes.fr") == ["credit_notes.freeze"]
    assert "invoices.create" not in offered("call", "invoices.crea")  # it is one of billing, and one of simple


def test_fields_of_the_request_come_after_the_rpc() -> None:
    create = ("call", "simple.invoices.create")
    assert offered(*create, "") == ["key=", "changes.", "freeze_immediately="]
    assert "changes.lines[0]." in offered(*create, "key=a", "changes.")
    assert offered(*create, "changes.lines[3]") == ["changes.lines[3]."]
    assert offered(*create, "changes.lines[3].u") == ["changes.lines[3].unit_price="]
    assert offered(*create, "changes.notes[0]") == ["changes.notes[0]="]
    assert offered(*create, "changes.buyer.inline.vat") == ["changes.buyer.inline.vat_registration_number="]
    assert offered(*create, "nosuchfield.") == []
    assert offered("call", "nosuchrpc", "") == []


def test_values_are_offered_where_there_are_only_so_many() -> None:
    assert offered("call", "simple.invoices.create", "freeze_immediately=") == [
        "freeze_immediately=true",
        "freeze_immediately=false",
    ]
    from invora_api.billing.account.v2 import service_pb2

    view = service_pb2.DESCRIPTOR.pool.FindMessageTypeByName("invora.billing.account.v2.GetUserRequest").fields_by_name
    names = list(enum_names(view["view"].enum_type))
    assert offered("call", "billing.account.get_user", "view=") == [f"view={name}" for name in names]


def test_options_and_their_values_are_offered() -> None:
    assert "--endpoint" in offered("call", "-")
    assert offered("schema", "fetch", "--format", "") == ["binpb", "proto"]
    assert offered("schema", "fetch", "--format=b") == ["--format=binpb"]
    assert offered("call", "--org", "5", "simple.invoices.f") == ["simple.invoices.freeze"]
    assert offered("completion", "") == ["bash", "zsh", "fish"]


def test_symbols_are_offered_to_describe() -> None:
    assert offered("describe", "kernel.Dec") == ["kernel.DecimalValue"]
    assert "simple.invoices." in offered("describe", "simple.inv")


def test_what_a_gateway_said_earlier_is_offered_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INVORA_CACHE_DIR", str(tmp_path))
    with reflecting(shop()) as server:
        ask(server.url, resolve(endpoint=server.url, no_auth=True))
    assert offered("call", "--endpoint", server.url, "shop.") == ["shop.order."]
    monkeypatch.setenv("INVORA_ENDPOINT", server.url)
    assert offered("call", "shop.order.pl") == ["shop.order.place", "shop.order.place_all"]
    assert offered("call", "shop.order.place", "li") == ["lines[0]."]
    assert offered("call", "simple.invoices.f") == ["simple.invoices.freeze"]


@pytest.mark.parametrize("words", [["call", "\udcff"], ["call", "a" * 5000], ["schema", "x", "y"], ["--", "x"], []])
def test_nothing_that_is_typed_makes_completion_fail(words: list[str]) -> None:
    command = [sys.executable, "-m", "invora_grpc.cli", "__complete", "--", *words]
    result = subprocess.run(command, check=False, capture_output=True)
    assert result.stderr == b""


# --- the scripts ---


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A folder with the command, as installing the package makes it."""
    script = tmp_path / "invora"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m invora_grpc.cli "$@"\n')
    script.chmod(0o755)
    return tmp_path


def in_bash(bin_folder: Path, line: str) -> list[str]:
    """What bash would offer after this line."""
    program = (
        'eval "$(invora completion bash)"; complete -p invora >/dev/null || exit 1\n'
        'compopt() { :; }\nCOMP_LINE="$1"; COMP_POINT=${#COMP_LINE}\n_invora\nprintf "%s\\n" "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", program, "bash", line]
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert result.stderr == ""
    return result.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes_commands_rpcs_and_fields(bin_folder: Path) -> None:
    assert in_bash(bin_folder, "invora des") == ["describe"]
    assert in_bash(bin_folder, "invora call simple.inv") == ["simple.invoices."]
    assert in_bash(bin_folder, "invora schema ") == ["diff", "fetch", "verify"]
    assert in_bash(bin_folder, "invora call simple.invoices.create changes.bu") == ["changes.buyer."]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_gets_only_what_stands_after_its_word_break(bin_folder: Path) -> None:
    assert in_bash(bin_folder, "invora call simple.invoices.create freeze_immediately=t") == ["true"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_script(shell: str, bin_folder: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    script = subprocess.run([bin_folder / "invora", "completion", shell], check=True, capture_output=True).stdout
    (bin_folder / "script").write_bytes(script)
    subprocess.run([shell, "-n", bin_folder / "script"], check=True)


def test_every_command_is_where_the_table_says() -> None:
    context = main.make_context("invora", [], resilient_parsing=True)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        assert command.name == name
