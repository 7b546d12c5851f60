"""`invora bench`: the command only; its work is in `invora_grpc.cli.measuring`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from invora_grpc.cli.options import target_options
from invora_grpc.cli.sources import source_options

if TYPE_CHECKING:
    from invora_grpc.cli.options import Target
    from invora_grpc.cli.sources import Source

__all__ = ["bench"]


@click.command()
@click.argument("method")
@click.argument("fields", nargs=-1)
@click.option("-d", "--data", help="Request as JSON or YAML: text, @file, or - for standard input.")
@click.option("-n", "--calls", type=click.IntRange(1, 10_000_000), default=200, show_default=True, help="Calls in all.")
@click.option(
    "-c", "--workers", type=click.IntRange(1, 512), default=10, show_default=True, help="Calls at the same time."
)
@click.option("--warm-up", type=click.IntRange(0), default=1, show_default=True, help="Calls before, not measured.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--yes", is_flag=True, help="Do not ask; repeat also what may change something.")
@source_options
@target_options
def bench(
    method: str,
    fields: tuple[str, ...],
    data: str | None,
    calls: int,
    workers: int,
    warm_up: int,
    form: str,
    yes: bool,
    source: Source,
    target: Target,
) -> None:
    """Call METHOD many times, and show how long answers took: percentiles, a histogram, calls per second, statuses.

    Over one connection, without retries; connecting and signing in are part of the warm-up. Of a stream, the time is
    that to its last message. This client's own time is in the figures. The exit code is 0 if all calls were answered,
    else that of the most frequent failure. Ctrl-C shows what was measured until then.

    \b
    Examples:
      invora bench simple.invoices.list pagination.limit=1 -n 20 -c 2
      invora bench billing.plans.list -n 10 -o json
    """
    from invora_grpc.cli.measuring import Plan, work

    plan = Plan(calls, workers, warm_up, form == "json", yes)
    click.get_current_context().exit(work(method, fields, data, plan, source, target))
