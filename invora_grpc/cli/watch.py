"""`invora watch`: the command only; its work is in `invora_grpc.cli.watching`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from invora_grpc.cli.options import Seconds, target_options
from invora_grpc.cli.sources import source_options

if TYPE_CHECKING:
    from invora_grpc.cli.sources import Source
    from invora_grpc.cli.targets import Target

__all__ = ["watch"]


@click.command()
@click.argument("method")
@click.argument("fields", nargs=-1)
@click.option("-d", "--data", help="Request as JSON or YAML: text, @file, or - for standard input.")
@click.option(
    "--interval",
    type=Seconds(0.1, 86_400),
    default=2.0,
    show_default=True,
    help="Seconds between an answer and the next call.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many calls, or messages of a stream.")
@click.option("--query", metavar="JMESPATH", help="Watch only this part of an answer.")
@click.option("--until", metavar="JMESPATH", help="End as soon as this is true of it.")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: lines.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask; repeat also what may change something.")
@source_options
@target_options
def watch(
    method: str,
    fields: tuple[str, ...],
    data: str | None,
    interval: float,
    count: int | None,
    query: str | None,
    until: str | None,
    form: str,
    yes: bool,
    source: Source,
    target: Target,
) -> None:
    """Call METHOD again and again, and show what changed; a stream of the server is shown as it comes.

    Items of lists are told apart by their key or id. A failure after the first answer is shown, and the watch goes on,
    unless it will not pass by itself. A stream has no deadline here: it ends when the server ends it, with --count or
    --until, or with Ctrl-C.

    \b
    Examples:
      invora watch simple.invoices.list --count 2 --interval 0.5
      invora watch simple.invoices.list --query 'items[].number' --count 1 -o json
      invora watch billing.customers.list --until 'items[0]' --timeout 5
    """
    from invora_grpc.cli.watching import Plan, work

    work(method, fields, data, Plan(interval, count, query, until, form == "json", yes), source, target)
