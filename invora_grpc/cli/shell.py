"""`invora shell`: the command only; its work is in `invora_grpc.cli.repl` and `invora_grpc.cli.prompting`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from invora_grpc.cli.options import target_options
from invora_grpc.cli.sources import source_options

if TYPE_CHECKING:
    from invora_grpc.cli.sources import Source
    from invora_grpc.cli.targets import Target

__all__ = ["shell"]


@click.command()
@source_options
@target_options
@click.pass_context
def shell(ctx: click.Context, source: Source, target: Target) -> None:
    """Read commands and run them, one after the other, on one connection.

    Every command of `invora` is one of the shell; the name of an RPC stands for a call of it. `org ID` and `set NAME
    VALUE` hold for all that follows. `_` is the last answer and `_.customer.id` a part of it, as a line and as the
    value of a field. Tab completes commands, RPCs, fields and values. Lines that hold a secret are not kept in the
    history.

    Without a terminal, lines are read from standard input, and the first that fails ends the shell with its exit code.

    \b
    Examples:
      echo 'ls freeze' | invora shell
      printf '%s\\n' 'billing.customers.list' '_.items[0].external_id' | invora shell --timeout 5
    """
    del source, target  # checked; every command makes its own of them from what was set
    from invora_grpc.cli.repl import work

    given = {
        name: value
        for name, value in ctx.params.items()
        if ctx.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
    }
    ctx.exit(work({option: given[name] for name, option in _long(ctx) if name in given}))


def _long(ctx: click.Context) -> list[tuple[str, str]]:
    """Parameter → its long name, without the dashes."""
    return [(str(one.name), option[2:]) for one in ctx.command.params for option in one.opts if option[:2] == "--"]
