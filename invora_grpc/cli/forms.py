"""The options that write a call down instead of making it. Only they are here: the writing is in `snippets`, which
loads protobuf."""

from __future__ import annotations

from typing import Any, Final

import click

__all__ = ["FORMS", "snippet_options"]

FORMS: Final = {
    "dry_run": "Show what would be sent, and send nothing.",
    "curl": "Print the call for curl, over REST, and send nothing.",
    "grpcurl": "Print the call for grpcurl, and send nothing.",
    "python": "Print the call as Python, and send nothing.",
}
"""Name of a form → the help of its option."""


def snippet_options(command: Any) -> Any:
    """Add --dry-run, --curl, --grpcurl and --python to a command, which is given `snippet`, a name of FORMS or None."""
    for name, told in reversed(FORMS.items()):
        command = click.option(f"--{name.replace('_', '-')}", "snippet", flag_value=name, help=told)(command)
    return command
