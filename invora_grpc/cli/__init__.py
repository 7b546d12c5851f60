"""The `invora` command: discover a gateway, describe it, call it; and run the sandbox.

A door: it reads arguments, prints, and leaves the work to the rooms. What lists and describes must not load grpc or
protobuf, so each command imports what it needs when it runs.
"""

from __future__ import annotations

import errno
import sys
from typing import Any

import click

from invora_grpc.cli.options import connection
from invora_grpc.cli.schema import schema
from invora_grpc.errors import InvoraError
from invora_grpc.sandbox import launch

EXIT_STATUS = 64
"""Exit code of a call that the server refused: this plus the number of the gRPC status (NOT_FOUND: 69)."""


class _Commands(click.Group):
    """Turns the package's own errors into one line on standard error."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InvoraError as error:
            click.echo(f"error: {error}", err=True)
            code = getattr(getattr(error, "code", None), "value", None)
            ctx.exit(EXIT_STATUS + code[0] if code else 2)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader has gone; click ends quietly
            click.echo(f"error: {error}", err=True)
            ctx.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="invora-grpc", prog_name="invora")
def main() -> None:
    """Work with an Invora gateway over gRPC.

    Settings come from INVORA_ENV, INVORA_ENDPOINT, INVORA_ISSUER, INVORA_CLIENT_ID, INVORA_CLIENT_SECRET, INVORA_TOKEN
    and INVORA_ORG_ID, or from the options of a command.
    """


main.add_command(schema)


@main.command("ls")
@click.argument("pattern", required=False, default="")
def list_methods(pattern: str) -> None:
    """List services and RPCs of the compiled schema; PATTERN keeps those whose name contains it."""
    from invora_grpc.catalog import catalog

    shown = services = 0
    for service in catalog():
        methods = [m for m in service.methods if pattern.lower() in f"{m.attribute} {m.full_name}".lower()]
        if not methods:
            continue
        click.echo(f"{service.name}{_mark(service.origin)}")
        click.echo("\n".join(_row(m.attribute, m.streaming, m.origin, service.origin) for m in methods))
        shown, services = shown + len(methods), services + 1
    if not shown:
        raise click.ClickException(f"no service or RPC has {pattern!r} in its name; `invora ls` shows all")
    click.echo(f"{shown} RPC{'s' * (shown != 1)} in {services} service{'s' * (services != 1)}", err=True)


def _row(attribute: str, streaming: str, origin: str, of_service: str) -> str:
    marks = (f"  ({streaming} streaming)" if streaming else "") + (_mark(origin) if origin != of_service else "")
    return f"  {attribute}{marks}"


def _mark(origin: str) -> str:
    return "" if origin == "published" else f"  [{origin}]"


@main.command()
@click.argument("symbol")
def describe(symbol: str) -> None:
    """Describe a service, RPC, message or enum: SYMBOL is a full name, or a short one like invoices.list."""
    from invora_grpc.cli.describe import text_of

    click.echo(text_of(symbol))


@main.command()
@click.argument("method")
@click.argument("fields", nargs=-1)
@click.option("-d", "--data", help="Request as JSON: text, @file, or - for standard input.")
@connection
def call(method: str, fields: tuple[str, ...], data: str | None, **settings: Any) -> None:
    """Call METHOD and print the answer as JSON.

    METHOD is a full name (package.Service/Method) or a short one that is unique (simple.invoices.list). The request is
    JSON (-d) or FIELDS of the form path=value, e.g. input.external_id=acme. Decimals are plain numbers, enums short
    names, dates ISO.
    """
    from invora_grpc.catalog import catalog
    from invora_grpc.cli.calling import open_client, print_answer, read_request

    found = catalog().method(method)
    request = read_request(found, data, fields)
    with open_client(**settings) as client:
        print_answer(client, found, request)


@main.command()
@click.option("--grpc-port", type=int, default=launch.GRPC_PORT, show_default=True, help="0 takes a free one.")
@click.option("--http-port", type=int, default=launch.HTTP_PORT, show_default=True, help="Of the identity provider.")
@click.option("--data", default=":memory:", show_default=True, help="SQLite file that keeps the state.")
@click.option("--seed", type=click.Choice(launch.SEEDS), default=launch.SEEDS[0], show_default=True)
@click.option(
    "--ready-file", help="Written (mode 0600) as soon as calls are answered: JSON with addresses and credentials."
)
def sandbox(**arguments: Any) -> None:
    """Run the embedded sandbox: a real gRPC gateway with an identity provider, on 127.0.0.1."""
    try:
        sys.exit(launch.main(**arguments))
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; the sandbox needs: pip install 'invora-grpc[sandbox]'") from None
