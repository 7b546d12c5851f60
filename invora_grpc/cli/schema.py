"""`invora schema`: a gateway's own schema, fetched, compared and verified.

The commands only; their work is in `invora_grpc.cli.drift`, which loads grpc and protobuf.
"""

from __future__ import annotations

from typing import Any

import click

from invora_grpc.cli.options import gateway

__all__ = ["schema"]

_VERDICTS = ("identical", "additive", "adaptable", "incompatible")


def _judging(command: Any) -> Any:
    """The options of the commands that compare."""
    for option in (
        click.option(
            "--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True
        ),
        click.option(
            "--allow",
            type=click.Choice(_VERDICTS),
            default=_VERDICTS[0],
            help="Exit with 0 up to this verdict.",
        ),
    ):
        command = option(command)
    return command


@click.group()
def schema() -> None:
    """Fetch, compare and verify the schema that a gateway serves.

    The exit code of diff and verify is the verdict: 0 identical, 10 additive, 20 adaptable, 30 incompatible.
    """


@schema.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("--out", required=True, help="File, or folder for --format proto; - for standard output.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["binpb", "proto"]),
    default="binpb",
    show_default=True,
    help="binpb: a FileDescriptorSet; proto: readable sources.",
)
@gateway
def fetch(services: tuple[str, ...], out: str, form: str, **connection: Any) -> None:
    """Write the descriptors of SERVICEs, and of all that they need, to a file or folder; of all services by default.

    \b
    Examples:
      invora schema fetch invora.simple.invoices.v1.SimpleInvoiceService --format proto --out protos
    """
    from invora_grpc.cli.drift import fetch as work

    click.get_current_context().exit(work(services, out, form, connection))


@schema.command()
@click.argument("a")
@click.argument("b")
@_judging
@gateway
def diff(a: str, b: str, form: str, allow: str, **connection: Any) -> None:
    """Compare schema A, which clients were built with, with schema B, which is served.

    Each is "compiled" (what this package was built with), an endpoint (https://host, host:port), an environment's name,
    or a file: a FileDescriptorSet or a buf image, also gzipped; - for standard input.

    \b
    Examples:
      invora schema diff compiled "$INVORA_ENDPOINT" --allow additive
    """
    from invora_grpc.cli.drift import diff as work

    click.get_current_context().exit(_code(work(a, b, form, connection), allow))


@schema.command()
@click.argument("url", metavar="[ENDPOINT]", required=False)
@_judging
@gateway
def verify(url: str | None, form: str, allow: str, **connection: Any) -> None:
    """Show every service and RPC of this package and of the gateway at ENDPOINT, and how the two differ.

    The services of gRPC itself, such as reflection, do not count.

    \b
    Examples:
      invora schema verify --format json
    """
    from invora_grpc.cli.drift import verify as work

    if url is not None and connection["endpoint"] is not None:
        raise click.UsageError("ENDPOINT and --endpoint say the same; give one of them")
    connection["endpoint"] = url or connection["endpoint"]
    click.get_current_context().exit(_code(work(form, connection), allow))


def _code(verdict: int, allowed: str) -> int:
    return 0 if verdict <= _VERDICTS.index(allowed) else 10 * verdict
