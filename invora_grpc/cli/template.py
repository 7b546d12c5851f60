"""`invora template`: a request to start from, as JSON, as YAML, or as the call of a client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import click

from invora_grpc.call import bind
from invora_grpc.catalog import Method
from invora_grpc.cli.options import Target, target_options
from invora_grpc.cli.sources import Source, find_method, known_method, source_options
from invora_grpc.kinds import descriptor_of
from invora_grpc.schema.skeleton import as_json, path_variables, skeleton

__all__ = ["template"]

_IMPORTS: Final = {"datetime.": "import datetime", "Decimal(": "from decimal import Decimal"}
"""What a program imports that has this in it."""


@click.command()
@click.argument("method")
@click.option("--required-only", is_flag=True, help="Leave out what the schema says may be missing.")
@click.option(
    "-o", "--output", type=click.Choice(["json", "yaml"]), default="json", show_default=True, help="How to print it."
)
@click.option("--python", is_flag=True, help="Print the call of the Python client instead.")
@source_options
@target_options
def template(method: str, required_only: bool, output: str, python: bool, source: Source, target: Target) -> None:
    """Print a request of METHOD with a value in every field, to be filled in and sent.

    The values show what each field takes, and no more. Of alternatives (oneof), the first is filled.

    \b
    Examples:
      invora template simple.invoices.create --required-only
      invora template simple.invoices.get -o yaml
      invora template simple.invoices.get --python
    """
    found = known_method(method, source)
    if found is None:
        with target.open() as client:
            found = find_method(method, source, client)
    named = path_variables(found.http.path) if found.http else []
    filled = skeleton(descriptor_of(bind(found).request_class), required_only=required_only, always=named)
    if python:
        click.echo(python_call(found, filled.values))
    elif output == "yaml":
        from invora_grpc.cli.output import render

        click.echo(render(as_json(filled.values), "yaml").rstrip("\n"))
    else:
        click.echo(json.dumps(as_json(filled.values), ensure_ascii=False, indent=2))
    if filled.left_out:
        more = f" and {len(filled.left_out) - 3} more" if len(filled.left_out) > 3 else ""
        click.echo(f"left out, since there is too much of it: {', '.join(filled.left_out[:3])}{more}", err=True)


def python_call(method: Method, values: Mapping[str, Any]) -> str:
    """A program that calls an RPC with these values and prints what comes; settings are those of the environment."""
    from invora_grpc.cli.snippets_python import arguments, literal

    area = (
        f"{method.module}.{method.area}" if method.schema is None else f'service("{method.service}", schema="server")'
    )
    given = literal([dict(values)], 1) if method.client_streaming else arguments(values, 1)
    call = f"client.{area}.{method.rpc}({given})"
    shown = f"    for answer in {call}:\n        print(answer)" if method.server_streaming else f"    print({call})"
    imports = "".join(f"{line}\n" for word, line in _IMPORTS.items() if word in shown)
    imports += "\n" if imports else ""
    return f"{imports}from invora_grpc import Invora\n\nwith Invora() as client:\n{shown}"
