"""What `--help` and docs/cli.md say of the command is true: every example runs, and nothing is left unsaid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import grpc
import pytest
from command_lines import Home, Line, lines, settings_of
from conftest import client_of
from sandbox_fixture import Running, running_sandbox

from invora_grpc.cli.app import COMMANDS, main
from invora_grpc.cli.findings import Fault

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
TEXT = PAGE.read_text("utf-8")
BLOCKS = [
    pytest.param(match[1], id=f"line {TEXT[: match.start()].count(chr(10)) + 1}")
    for match in re.finditer(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
]


@pytest.fixture(scope="module")
def shop() -> Iterator[Running]:
    """A sandbox that examples may fill, with a draft to begin with, and an invoice."""
    with running_sandbox(seed="demo") as running:
        with client_of(running) as client:
            line = {
                "description": "x",
                "quantity": {"value": 1, "unit_code": "HUR"},
                "unit_price": "20.50",
                "tax": {"tax_rate": 15},
            }
            buyer = {"inline": {"legal_name": "Acme"}}
            changes: Any = {"currency_code": "SAR", "buyer": buyer, "lines": [line]}
            client.simple.invoices.create(changes=changes)
            client.simple.invoices.create(key="stamped", changes=changes, freeze_immediately=True)
        yield running


@pytest.fixture(scope="module")
def stamped(shop: Running) -> bytes:
    """The first document of its branch, as the tax authority knows it."""
    with client_of(shop) as client:
        found = client.invoicing.regulation_info.list_document_artifacts(document_key="stamped").items
    return next(bytes(item.artifact) for item in found if item.content_type == "application/xml")


@pytest.fixture
def home(shop: Running, stamped: bytes, tmp_path: Path) -> Home:
    """A person's own, signed in by variables, with a tax document among the files."""
    home = Home(tmp_path / "home", settings_of(shop))
    (home.work / "invoice.xml").write_bytes(stamped)
    return home


def leaves(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """The commands that do something, with their names: those of a group are `group command`."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for inner in command.list_commands(context):
        found = command.get_command(context, inner)
        if found is not None and not found.hidden:
            yield from leaves(found, f"{name} {inner}")


def commands_of(name: str) -> list[tuple[str, click.Command]]:
    """The command of this name, or those below it."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return list(leaves(command, name))


def help_of(name: str, command: click.Command) -> str:
    return command.get_help(click.Context(command, info_name=f"invora {name}", terminal_width=1000))


def examples_of(name: str, command: click.Command) -> list[Line]:
    """What stands below "Examples:" in the help of a command."""
    block = re.search(r"^ *Examples:\n((?: +\S.*\n?)+)", help_of(name, command), re.MULTILINE)
    return lines(block[1]) if block else []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_in_its_help_and_they_run(name: str, home: Home) -> None:
    for full, command in commands_of(name):
        examples = examples_of(full, command)
        assert examples, f"invora {full} --help has no examples"
        assert [line.text for line in examples if f"invora {full}" in line.text], f"none of invora {full}: {examples}"
        with home.from_scratch():
            wrong = home.run_all(examples[:1])
        assert wrong + home.run_all(examples[1:]) == []


@pytest.mark.parametrize("block", BLOCKS)
def test_the_examples_of_the_page_run(block: str, home: Home) -> None:
    assert home.run_all(lines(block)) == []


def test_an_example_that_fails_is_seen(home: Home) -> None:
    (wrong,) = home.run_all(lines("invora describe NoSuchThing"))
    assert "ends with 2" in wrong
    assert home.run_all(lines("invora describe NoSuchThing  # exit code 2")) == []


def test_examples_on_the_page_are_of_this_command() -> None:
    """A block in another language is no way to keep an example from being run."""
    others = re.sub(r"^```sh\n.*?^```", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", others, re.MULTILINE | re.DOTALL)
    assert [text for language, text in fenced if language != "text" or re.search(r"^\W*invora ", text)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_tells_of_every_command_and_shows_it(name: str) -> None:
    shown = "".join(str(block.values[0]) for block in BLOCKS)
    for full, _ in commands_of(name):
        assert f"`invora {full}" in TEXT or f"| `{full}" in TEXT, full
        assert re.search(rf"\binvora {full}\b", shown), f"no example of {full}"


def test_the_page_names_no_option_that_does_not_exist() -> None:
    prose = re.sub(r"^```.*?^```", "", TEXT.partition("## Beside other tools")[0], flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`(--[a-z-]+)", prose))
    known = {"--help", "--version", *(option for name in COMMANDS for option in options_of(name))}
    assert named and named <= known, named - known


def options_of(name: str) -> Iterator[str]:
    for _, command in commands_of(name):
        for parameter in command.params:
            yield from (*parameter.opts, *parameter.secondary_opts)


def table(heading: str) -> dict[str, str]:
    """The first table below a heading: first column → second one."""
    text = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| *`?([^|`]+?)`? *\| *([^|]+?) *\|", text, re.MULTILINE)
    return {first: second for first, second in rows if not first.startswith("-")}


def test_the_exit_codes_on_the_page_are_those_of_the_command() -> None:
    told = table("Exit codes")
    for status in grpc.StatusCode:
        number: Any = status.value[0]
        if number:
            assert status.name in told[str(64 + number)]
    for fault in Fault:
        assert fault.name.lower() in told[str(int(fault))].lower()
