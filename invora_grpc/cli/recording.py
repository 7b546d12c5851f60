"""`invora record` and `invora replay`: the commands only; their work is in `invora_grpc.cli.replaying`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from invora_grpc.cli.options import target_options
from invora_grpc.cli.sources import source_options

if TYPE_CHECKING:
    from invora_grpc.cli.options import Target
    from invora_grpc.cli.sources import Source

__all__ = ["record", "replay"]

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@click.argument("method")
@click.argument("fields", nargs=-1)
@click.option("-d", "--data", help="Request as JSON or YAML: text, @file, or - for standard input.")
@click.option(
    "--ignore", multiple=True, metavar="PLACE", help="What may differ later: id, items[].id, *.created_at. Repeatable."
)
@click.option("--yes", is_flag=True, help="Do not ask before something changes in production.")
@source_options
@target_options
def record(
    file: Path,
    method: str,
    fields: tuple[str, ...],
    data: str | None,
    ignore: tuple[str, ...],
    yes: bool,
    source: Source,
    target: Target,
) -> None:
    """Call METHOD, print its answer as JSON, and add both to FILE, a YAML file for `invora replay`.

    A refusal is recorded, too. Secrets are left out: of the answer as ***, in FILE and in what is printed, of the
    request as ${INVORA_SECRET_…}, which replay takes from the environment. A secret that is told only once is lost by
    that: `invora creds save` keeps it. By hand, a value of a later request can be ${1.customer.id}: what the first call
    answered there.

    \b
    Examples:
      invora record calls.yaml simple.invoices.list pagination.limit=1
      invora record calls.yaml billing.customers.get external_id=nobody  # exit code 69
    """
    from invora_grpc.cli.replaying import record as work

    click.get_current_context().exit(work(file, method, fields, data, ignore, yes, source, target))


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=_FILE)
@click.option("--check", is_flag=True, help="Compare with what was recorded, and print what differs.")
@click.option("--ignore", multiple=True, metavar="PLACE", help="What may differ besides: id, items[].id, *.created_at.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--yes", is_flag=True, help="Do not ask before something changes in production.")
@source_options
@target_options
def replay(
    files: tuple[Path, ...],
    check: bool,
    ignore: tuple[str, ...],
    form: str,
    yes: bool,
    source: Source,
    target: Target,
) -> None:
    """Make the calls of FILEs again, in their order.

    Without --check, answers are printed, secrets as ***, and the first failure ends it with its exit code. With
    --check, everything is called and compared, status and answer: exit code 0 if nothing differs, 3 if something does.

    \b
    Examples:
      invora record calls.yaml billing.plans.list
      invora replay --check calls.yaml
      invora replay calls.yaml
    """
    from invora_grpc.cli.replaying import replay as work

    click.get_current_context().exit(work(files, check, ignore, form == "json", yes, source, target))
