"""Completion: what `invora __complete` offers, and that the scripts of shells make use of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from reflection_server import reflecting
from terminal import TAB, Terminal, program
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


SHELLS = {
    "bash": (("bash", "--norc", "-i"), 'PS1="> "; eval "$(invora completion bash)"'),
    "zsh": (("zsh", "-f"), "autoload -U compinit; compinit -u -D; PS1='> '; eval \"$(invora completion zsh)\""),
    "fish": (
        ("fish", "--no-config", "-i"),
        "set -g fish_autosuggestion_enabled 0; function fish_prompt; echo -n '> '; end;invora completion fish | source",
    ),
}
"""How a shell is started without anybody's settings, and what is typed first."""
CREATE = "invora call simple.invoices.create"


@pytest.fixture(params=SHELLS)
def prompt(request: pytest.FixtureRequest, bin_folder: Path) -> Iterator[Terminal]:
    """A shell that waits, with completion of `invora`."""
    command, first = SHELLS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} here")
    path = f"{bin_folder}:{os.environ['PATH']}"
    with program(*command, columns=200, HOME=str(bin_folder), PATH=path, LC_ALL="C.UTF-8") as shell:
        shell.enter(f"{first}; echo rea''dy")
        shell.see("\nready")
        shell.at(">")
        yield shell


def press_tab(shell: Terminal, typed: str, *lines: str) -> None:
    """Type and press Tab; the line is then one of these. Quotes and backslashes around brackets are the shell's."""
    shell.type(typed)
    shell.type(TAB)
    shell.until(
        lambda: " ".join(shell.line.replace("\\", "").split()) in {f"> {line}" for line in lines},
        f"{lines} at the cursor",
    )


def test_shells_complete_commands_rpcs_fields_and_values(prompt: Terminal) -> None:
    press_tab(prompt, "invora des", "invora describe")
    prompt.type("\x15")
    press_tab(prompt, "invora call simple.invoices.cre", CREATE)
    press_tab(prompt, " freeze_imm", f"{CREATE} freeze_immediately=")
    press_tab(prompt, "t", f"{CREATE} freeze_immediately=true")
    press_tab(prompt, " changes.li", f"{CREATE} freeze_immediately=true changes.lines[0].")
    press_tab(prompt, "unit", f"{CREATE} freeze_immediately=true changes.lines[0].unit_price=")


def test_shells_complete_within_and_after_quotes(prompt: Terminal) -> None:
    typed = f"{CREATE} changes.buyer.inline.legal_name='a b'"
    press_tab(prompt, f"{typed} freeze_imm", f"{typed} freeze_immediately=")
    prompt.type("\x15")
    field = "changes.lines[0].unit_price="
    quoted = (f'{CREATE} "{field}', f'{CREATE} "{field}"')
    press_tab(prompt, f'{CREATE} "changes.lines[0].unit', *quoted)


def test_shells_complete_files_where_nothing_else_fits(prompt: Terminal, bin_folder: Path) -> None:
    (bin_folder / "authorities.pem").touch()
    press_tab(prompt, f"invora call --cacert {bin_folder}/autho", f"invora call --cacert {bin_folder}/authorities.pem")


def test_every_command_is_where_the_table_says() -> None:
    context = main.make_context("invora", [], resilient_parsing=True)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        assert command.name == name
