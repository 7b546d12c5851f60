"""`invora ls`, `describe` and `search`: what a schema holds. The commands with all their options.

What is shown is made by `quick`, from an index; here is where that comes from: the compiled schema, a gateway that is
asked by reflection (its index is kept, so that the next question needs no gateway), or files.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from invora_grpc.cli.lookup import FRESH, Ambiguous, Index, Record, compiled, served
from invora_grpc.cli.options import Target, target_options
from invora_grpc.cli.quick import age, coloured, described, found, listed, tell, told
from invora_grpc.cli.sources import Source, source_options
from invora_grpc.errors import RequestError, closest

__all__ = ["describe", "list_methods", "search"]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a command is to look into."""

    source: Source
    target: Target
    served: bool
    """Whether a gateway's own schema is meant: who names an endpoint, or asks anew, means that."""
    refresh: bool
    name: str
    """What the caller calls the gateway: its index is kept under this name."""

    def index(self) -> Index:
        """The index: made now, or kept from earlier. Raises InvoraError if it cannot be had."""
        if self.source.schema is not None:
            from invora_grpc.cli.indexing import index_of

            return index_of(self.source.schema, comments=_comments(self.source.content))
        if not self.served:
            return compiled()
        kept = None if self.refresh else served(self.name)
        if kept is not None and 0 <= age(kept) < FRESH:
            return kept
        from invora_grpc.cli.indexing import ask

        return ask(self.name, self.target)


def _comments(sets: Iterable[bytes]) -> dict[str, str]:
    """Full name → comment, of FileDescriptorSets that were found to be good before."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    from invora_grpc.schema.comments import comments_of

    files = (file for data in sets for file in FileDescriptorSet.FromString(data).file)
    return {name: text for file in files for name, text in comments_of(file).items()}


def _looking(command: Any) -> Any:
    """The options by which a command is told where to look; it is given `asked`."""

    @functools.wraps(command)
    def with_options(*args: Any, source: Source, target: Target, refresh: bool, **others: Any) -> Any:
        given = click.get_current_context().params
        meant = source.kind == "reflection" or given["endpoint"] is not None or refresh
        variable = os.environ.get("INVORA_ENDPOINT") if given["profile"] is None and given["env"] is None else None
        name = given["endpoint"] or variable or target.settings.target.url
        return command(*args, asked=_Asked(source, target, meant, refresh, name), **others)

    refresh = click.option("--refresh", is_flag=True, help="Ask the gateway, however short ago it was asked.")
    return source_options(refresh(target_options(with_options)))


@click.command("ls")
@click.argument("pattern", required=False, default="")
@_looking
def list_methods(pattern: str, asked: _Asked) -> None:
    """List services and RPCs; PATTERN keeps those whose name contains it.

    Those of the compiled schema, or with --endpoint or --reflect those that a gateway serves. Marks in brackets: how
    sure names and numbers are, if they are not published; and how far the gateway's RPC differs from the compiled one.

    \b
    Examples:
      invora ls
      invora ls invoices
    """
    index = asked.index()
    text, count = listed(index, pattern, colour=coloured())
    if not text:
        raise click.ClickException(f"no service or RPC has {pattern!r} in its name; `invora ls` shows all")
    _exit(tell(text, f"{count}{told(index)}"))


@click.command()
@click.argument("symbol")
@_looking
def describe(symbol: str, asked: _Asked) -> None:
    """Describe a service, RPC, message or enum as its proto, with HTTP rule, scope, comments and an example.

    SYMBOL is a full name, or the last words of one that fit nothing else.

    \b
    Examples:
      invora describe simple.invoices.create
      invora describe SimpleLine
    """
    index = asked.index()
    record = _find(index, symbol)
    _exit(tell(described(index, record, colour=coloured()), told(index).lstrip()))


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="WORD...")
@_looking
def search(words: Sequence[str], asked: _Asked) -> None:
    """Search names, fields and comments for what contains every WORD.

    \b
    Examples:
      invora search vat
      invora search concurrency stamp
    """
    index = asked.index()
    text, count = found(index, words, colour=coloured())
    if not text:
        raise click.ClickException(f"nothing has {' and '.join(map(repr, words))} in name, fields or comment")
    _exit(tell(text, f"{count}{told(index)}"))


def _exit(code: int) -> None:
    if code:
        click.get_current_context().exit(code)


def _find(index: Index, symbol: str) -> Record:
    """What a symbol means. Raises RequestError with the nearest names."""
    try:
        record = index.find(symbol)
    except Ambiguous as several:
        names = ", ".join(map(str, several.args[:6]))
        raise RequestError("symbol", symbol, f"write one of {names}", f"fits {len(several.args)} things") from None
    if record is not None:
        return record
    known = [name for one in index.records for name in (one.attribute, one.name) if name]
    near = closest(symbol, known) or _by_last_word(symbol, [*known, *index.type_names])
    hint = f"did you mean {' or '.join(near)}?" if near else "`invora ls` shows services and RPCs"
    raise RequestError("symbol", symbol, hint, "is no service, RPC, message or enum of the schema")


def _by_last_word(symbol: str, known: Sequence[str]) -> list[str]:
    """The names whose last word is the most similar one."""
    words = {name.rpartition(".")[2]: name for name in known}
    return [words[word] for word in closest(symbol.rpartition(".")[2], words)]
