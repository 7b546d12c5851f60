"""One call from the command line: request in, answer out."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from invora_grpc.cli.doubt import in_doubt, interrupted, own_key
from invora_grpc.cli.forms import snippet_options
from invora_grpc.cli.guard import check
from invora_grpc.cli.options import target_options
from invora_grpc.cli.output import FORMS, check_query, dumps
from invora_grpc.cli.requests import Written, read_request
from invora_grpc.cli.showing import Ask, Showing
from invora_grpc.cli.sources import Source, find_method, known_method, rpc_of, source_options
from invora_grpc.cli.targets import Target
from invora_grpc.errors import InvoraError, RequestError
from invora_grpc.status import OutcomeUnknown

if TYPE_CHECKING:
    from invora_grpc.catalog import Method
    from invora_grpc.client import Invora

__all__ = ["Extent", "answers", "call", "read_request"]


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of an answer that comes in parts is wanted."""

    everything: bool = False
    """All pages of a list."""
    limit: int | None = None
    """Items of a list, or messages of a stream, at most."""

    @property
    def given(self) -> bool:
        """Whether anything was said."""
        return self.everything or self.limit is not None


@click.command()
@click.argument("method")
@click.argument("fields", nargs=-1)
@click.option("-d", "--data", help="Request as JSON or YAML: text, @file, or - for standard input.")
@click.option("--all", "everything", is_flag=True, help="All pages of a list.")
@click.option("--max-items", type=click.IntRange(0), help="At most so many items of a list, or messages of a stream.")
@click.option("--idempotency-key", help="Key of a create: repeated with the same content, it makes no second record.")
@click.option("-o", "--output", "form", type=click.Choice(FORMS), help="Form of the answer; json: errors too.")
@click.option("--query", help="JMESPath expression: what to show of the answer.")
@click.option("--envelope", is_flag=True, help="One JSON line with status, answer, details, metadata and timings.")
@click.option("--strict", is_flag=True, help="Fail if the answer holds what the schema does not know.")
@click.option("-v", "--verbose", is_flag=True, help="Show metadata, trailers, sizes and timings on standard error.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before a change in production.")
@snippet_options
@source_options
@target_options
@click.pass_context
def call(
    ctx: click.Context,
    method: str,
    fields: tuple[str, ...],
    data: str | None,
    everything: bool,
    max_items: int | None,
    idempotency_key: str | None,
    form: str | None,
    query: str | None,
    envelope: bool,
    strict: bool,
    verbose: bool,
    yes: bool,
    snippet: str | None,
    source: Source,
    target: Target,
) -> None:
    """Call METHOD and print the answer as JSON.

    METHOD is a full name (package.Service/Method) or a short one that is unique (simple.invoices.list). The request is
    JSON or YAML (-d), or FIELDS: path=text, path:=JSON, path=@file. A stream of requests is JSON values one after the
    other. Decimals are plain numbers, enums short names, dates ISO. A stream is answered with one JSON line a message.

    \b
    Examples:
      invora call simple.invoices.list --max-items 3 -o table
      invora call billing.customers.create input.external_id=acme input.currency=SAR
      invora call billing.customers.list --all --query 'items[].external_id' -o text
      invora call simple.invoices.get -d '{"key": "order-7"}' --dry-run
      echo 'key: order-7' | invora call simple.invoices.get -d - -v  # exit code 69
    """
    if envelope and form not in (None, "json"):
        raise click.UsageError("--envelope is JSON; leave -o away")
    showing = Showing(Ask(form, query, envelope, strict, verbose), target, source)
    try:
        check_query(query)
        with ExitStack() as stack:
            plan = _Plan(method, data, fields, Extent(everything, max_items), idempotency_key, snippet, yes)
            _carry_out(stack, showing, plan)
    except InvoraError as error:
        ctx.exit(showing.failed(error))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be done, as it was typed."""

    name: str
    data: str | None
    fields: tuple[str, ...]
    extent: Extent
    key: str | None
    """The idempotency key."""
    snippet: str | None
    """What to show in place of calling."""
    yes: bool
    """Whether a change in production is meant."""


def _carry_out(stack: ExitStack, showing: Showing, plan: _Plan) -> None:
    """Find the RPC, read the request, call, and show: mistakes that need no gateway come before there is one."""
    source, target = showing.source, showing.target
    client, method = None, known_method(plan.name, source)
    if method is None:
        client = stack.enter_context(target.open())
        method = find_method(plan.name, source, client, target.reflect_headers)
    showing.method = method
    live = method.client_streaming and plan.snippet is None
    written = showing.written = Written.read(plan.data, plan.fields, live=live)
    request = written.request(method)
    if plan.snippet is not None:
        click.echo(_snippet(showing, method, request, plan))
        return
    check(target, method, plan.yes)
    if client is None:
        client = stack.enter_context(target.open())
    key, new = (plan.key, True) if plan.key is not None else own_key(method, request)
    if key is not None and new:
        client = client.with_options(idempotency_key=key)
    _show(showing, showing.watch(stack, client), method, request, plan.extent, key)


def _snippet(showing: Showing, method: Method, request: Any, plan: _Plan) -> str:
    """The call in another form: for people to see, or for other tools."""
    from invora_grpc.cli.snippets import call_of, planned, text_of

    target = showing.target
    made = call_of(
        method,
        request,
        target.settings,
        key=plan.key,
        source=showing.source,
        timeout=target.timeout,
        headers=target.headers,
        reflect_headers=target.reflect_headers,
        files=target.files,
        authorized=target.authorized,
        policy=target.schema,
        where=target.describe(),
    )
    if plan.snippet == "dry_run" and (showing.ask.envelope or showing.ask.form == "json"):
        return dumps(planned(made), None if showing.ask.envelope else 2)
    return text_of(str(plan.snippet), made)


def _show(showing: Showing, client: Invora, method: Method, request: Any, extent: Extent, key: str | None) -> None:
    """Call, and show what comes. Raises InDoubt in place of OutcomeUnknown."""
    try:
        if method.server_streaming or extent.given:
            with closing(answers(client, method, request, extent)) as found:
                if method.server_streaming:
                    showing.stream(found)
                else:
                    showing.pages(found)
        else:
            showing.answer(rpc_of(client, method)(request))
    except OutcomeUnknown as error:
        raise in_doubt(method, error) from error
    except KeyboardInterrupt:
        if (told := interrupted(method, key)) is not None:
            click.echo(told, err=True)
        raise


def answers(client: Invora, method: Method, request: Any, extent: Extent) -> Generator[Any]:
    """The messages of a stream, or the pages of a list, with as many messages or items as are wanted.

    Raises RequestError for an RPC that answers neither.
    """
    rpc = rpc_of(client, method)
    if method.server_streaming:
        with rpc(request) as stream:
            yield from islice(stream, extent.limit)
    elif method.client_streaming:
        raise RequestError("max_items", method.attribute, "leave --max-items and --all away", "answers once")
    else:
        items = rpc.items(request)
        yield from (items if extent.limit is None else items.limit(extent.limit))._pages()
