"""What the shell suggests at the end of a line."""

from __future__ import annotations

import click
import pytest

from invora_grpc.catalog import catalog
from invora_grpc.cli.suggesting import Vocabulary, suggestions
from invora_grpc.cli.words import split


@click.group()
def group() -> None:
    """Commands with the shapes that matter."""


@group.command()
@click.argument("method")
@click.argument("fields", nargs=-1)
@click.option("-o", "--output", type=click.Choice(["json", "table"]), help="How to print. And more.")
@click.option("--org", help="Organization.")
@click.option("--yes", is_flag=True)
def call(method: str, fields: tuple[str, ...], output: str, org: str, yes: bool) -> None:
    """Call."""


@group.group()
def schema() -> None:
    """A group in a group."""


@schema.command()
@click.option("--allow", type=click.Choice(["identical", "additive"]))
def verify(allow: str) -> None:
    """Verify."""


KNOWN = Vocabulary(
    commands={"call": "Call an RPC.", "schema": "", "set": ""},
    command=lambda name: group.get_command(click.Context(group), name),
    methods=lambda: catalog().methods,
    method=lambda name: catalog().method(name),
    settings=lambda: {str(one.name): one for one in call.params if isinstance(one, click.Option)},
)


def after(line: str) -> list[str]:
    words = split(line)
    typed = words.pop().text if line and not line.endswith(" ") else ""
    return [one.text for one in suggestions(words, typed, KNOWN)]


def test_a_line_begins_with_a_command_or_an_rpc() -> None:
    assert after("") == ["call", "schema", "set"]
    assert after("sche") == ["schema"]
    assert "simple.invoices.freeze" in after("freez")


@pytest.mark.parametrize(
    "typed", ["simple.invoices.fre", "invoices.fre", "SimpleInvoiceService.Fr", "invora.simple.invoices.v1.SimpleInv"]
)
def test_an_rpc_is_found_by_any_part_of_its_names(typed: str) -> None:
    assert "simple.invoices.freeze" in after(f"call {typed}")


def test_rpcs_are_not_found_in_the_middle_of_a_word() -> None:
    assert "simple.invoices.freeze" not in after("call reeze")


def test_options_come_with_their_values() -> None:
    assert after("call invoices.list --o") == ["--output", "--org"]
    assert after("call invoices.list --output ") == ["json", "table"]
    assert after("call invoices.list -o t") == ["table"]
    assert after("schema verify --allow a") == ["additive"]


def test_a_group_suggests_its_commands() -> None:
    assert after("schema ") == ["verify"]


def test_fields_come_from_the_schema() -> None:
    assert after("call simple.invoices.create ch") == ["changes."]
    assert after("call simple.invoices.create changes.li") == ["changes.lines[0]."]
    assert after("call --yes --org 1 simple.invoices.create changes.lines[2].unit_p") == [
        "changes.lines[2].unit_price="
    ]


def test_an_rpc_alone_is_a_call() -> None:
    assert after("simple.invoices.create changes.li") == ["changes.lines[0]."]


def test_values_of_few_are_suggested() -> None:
    assert after("call simple.invoices.create freeze_immediately=") == [
        "freeze_immediately=true",
        "freeze_immediately=false",
    ]


def test_what_can_be_set_is_suggested_with_its_values() -> None:
    assert after("set o") == ["output", "org"]
    assert after("set output ") == ["json", "table"]
    assert after("set output json ") == []


@pytest.mark.parametrize("line", ["call nosuch.rpc ", "call simple.invoices.create nosuch.", "nothing here", "ls [[["])
def test_where_nothing_is_known_nothing_is_suggested(line: str) -> None:
    assert after(line) == []
