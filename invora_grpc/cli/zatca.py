"""`invora zatca`: what ZATCA's e-invoicing asks of a platform. Nothing here calls a gateway.

The group only. It loads the one command that runs: some need lxml or cryptography, and the advice needs neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

import click

__all__ = ["zatca"]

_COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "advise": ("zatca_advice:advise", "Say which of the six cases are lawful for a supply."),
    "check": ("zatca_check:check", "Check a document against the rules of ZATCA."),
    "qr": ("zatca_qr:qr", "Read, verify and draw the QR code of a document."),
    "chain": ("zatca_chain:chain", "Check that documents follow each other without a gap."),
    "flags": ("zatca_advice:flags", "Explain or build an invoice type code."),
}
"""Name → "module:attribute" below `invora_grpc.cli`, and the line of the help."""


class _Commands(click.Group):
    """Loads a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"invora_grpc.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in _COMMANDS.items()])


@click.group(cls=_Commands)
def zatca() -> None:
    """Find the lawful case of a platform's supply, and check documents, QR codes and type codes of ZATCA."""
