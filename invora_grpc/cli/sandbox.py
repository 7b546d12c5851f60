"""`invora sandbox`: the embedded sandbox as a process. Only its options; the work is in `invora_grpc.sandbox`."""

from __future__ import annotations

import sys
from typing import Any

import click

from invora_grpc.sandbox import launch

__all__ = ["sandbox"]


@click.command()
@click.option("--grpc-port", type=int, default=launch.GRPC_PORT, show_default=True, help="0 takes a free one.")
@click.option("--http-port", type=int, default=launch.HTTP_PORT, show_default=True, help="Of the identity provider.")
@click.option("--data", default=":memory:", show_default=True, help="SQLite file that keeps the state.")
@click.option("--seed", type=click.Choice(launch.SEEDS), default=launch.SEEDS[0], show_default=True)
@click.option(
    "--reporting-delay",
    type=click.FloatRange(0, launch.LONGEST_DELAY),
    default=0.0,
    show_default=True,
    help="Seconds until the tax authority answers for a simplified document.",
)
@click.option(
    "--authority",
    type=click.Choice(launch.AUTHORITY),
    default=launch.AUTHORITY[0],
    show_default=True,
    help="Whether the tax authority can be reached.",
)
@click.option(
    "--ready-file", help="Written (mode 0600) as soon as calls are answered: JSON with addresses and credentials."
)
def sandbox(**arguments: Any) -> None:
    """Run the embedded sandbox: a real gRPC gateway with an identity provider, on 127.0.0.1.

    \b
    Examples:
      invora sandbox --grpc-port 0 --http-port 0 --ready-file ready.json &
    """
    try:
        sys.exit(launch.main(**arguments))
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; the sandbox needs: pip install 'invora-grpc[sandbox]'") from None
