"""`invora zatca chain`: whether documents form an unbroken chain. Nothing here calls a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from invora_grpc.cli.output import dumps
from invora_grpc.cli.zatca_files import content
from invora_grpc.errors import one_line

if TYPE_CHECKING:
    from invora_grpc.zatca.chain import Break

__all__ = ["chain"]


@click.command(epilog="Exit codes: 0 the chain is whole, 1 it is broken, 2 a file cannot be read.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--previous-hash", help="The hash of the document before the first one.  [default: that of a new chain]")
@click.option(
    "--previous-counter",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="The counter of the document before the first one.",
)
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def chain(files: tuple[str, ...], previous_hash: str | None, previous_counter: int, form: str) -> None:
    """Check the chain of one branch's documents: counters without gaps, each with the hash of the one before.

    Give the stamped documents, in any order. Without --previous-hash and --previous-counter the first of them is to be
    the first of the branch.

    \b
    Examples:
      invora zatca chain *.xml
      invora zatca chain invoice.xml --previous-counter 7  # exit code 1
    """
    from invora_grpc.zatca.chain import check_chain
    from invora_grpc.zatca.hashing import FIRST_HASH

    documents = [content(name) for name in files]
    found = check_chain(documents, previous_hash=previous_hash or FIRST_HASH, previous_counter=previous_counter)
    breaks = [_fields(files, one) for one in found]
    if form == "json":
        click.echo(dumps({"ok": not found, "documents": len(files), "breaks": breaks}, 2))
    else:
        for told in breaks:
            click.echo(f"{told['file']}: {told['text']} ({told['kind']})\n  → {told['hint']}")
        if not breaks:
            click.echo(f"{len(files)} document{'s' * (len(files) != 1)}, the chain is whole")
    if breaks:
        click.get_current_context().exit(1)


def _fields(files: tuple[str, ...], one: Break) -> dict[str, Any]:
    """A break in the words of the command line: files by their names, options as they are typed."""
    text = one_line(one.text).removeprefix(f"documents[{one.index}]: ")
    hint = one_line(one.hint)
    for option in ("previous_hash", "previous_counter"):
        hint = hint.replace(f"`{option}`", f"--{option.replace('_', '-')}")
    return {"file": files[one.index], "index": one.index, "kind": one.kind, "text": text, "hint": hint}
