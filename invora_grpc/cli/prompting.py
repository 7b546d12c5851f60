"""The shell on a terminal: prompt, completion, history, Ctrl-C. The only room that loads prompt_toolkit.

Ctrl-C takes back what is typed, or ends what runs; Ctrl-D leaves.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Final

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, get_common_complete_suffix
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from invora_grpc.catalog import Catalog, Method, catalog
from invora_grpc.cli.app import main
from invora_grpc.cli.history import CleanHistory, history_path
from invora_grpc.cli.repl import Leave, Shell
from invora_grpc.cli.sources import Source, catalog_of
from invora_grpc.cli.suggesting import Vocabulary, suggestions
from invora_grpc.cli.tables import fitted
from invora_grpc.cli.targets import Target
from invora_grpc.cli.words import is_open, split
from invora_grpc.config import Secret
from invora_grpc.errors import InvoraError, RequestError, one_line

__all__ = ["interact"]

_PATIENCE: Final = 10.0
"""Seconds for a gateway to say what it serves; else completion goes on without."""


def interact(shell: Shell) -> int:
    """Read and run lines until the person leaves; 0. What a command's exit code was is of no interest then."""
    completer = _Completer(shell)
    prompt: PromptSession[str] = PromptSession(
        history=_history(shell),
        completer=completer,
        key_bindings=_keys(completer),
        auto_suggest=AutoSuggestFromHistory(),
        multiline=Condition(lambda: is_open(get_app().current_buffer.text)),
        prompt_continuation=_continuation,
        reserve_space_for_menu=6,
    )
    greeting = f"{shell.target().describe()}. Tab completes, `help` lists the commands, Ctrl-D leaves."
    click.echo(click.wrap_text(one_line(greeting), shutil.get_terminal_size().columns), err=True)
    while True:
        try:
            completer.schemas.look()
            shell.run(prompt.prompt(partial(_prompt, *_place(shell))))
        except KeyboardInterrupt:
            continue
        except (EOFError, Leave):
            return 0


def _place(shell: Shell) -> tuple[str, str]:
    """Where the next command goes, and in what style to say it: production stands out."""
    try:
        target = shell.target()
    except (InvoraError, click.ClickException):
        return "?", "ansired"
    settings = target.settings
    named = settings.endpoint == settings.environment.endpoint
    place = target.profile or (settings.environment.name if named else settings.target.address)
    label = one_line(f"{place}/{settings.org_id}" if settings.org_id else place)
    return label, "ansired bold" if target.production else "ansigreen"


def _prompt(label: str, style: str) -> StyleAndTextTuples:
    """The prompt; in a narrow terminal it is short, since most of the line belongs to the person."""
    columns = shutil.get_terminal_size().columns
    place = (style, fitted(label, max(8, columns // 3)))
    return [("", "invora "), place, ("", "> ")] if columns >= 60 else [place, ("", "> ")]


def _continuation(width: int, line: int, wrapped: int) -> str:
    """What stands before a line of several; nothing before the rest of a long one."""
    return "" if wrapped else "… "


def _keys(completer: Completer) -> KeyBindings:
    """Tab as in other shells: it writes as much as there is no doubt about, and then goes through the menu.

    prompt_toolkit's own does nothing while the menu is still being made, and one types faster than that.
    """
    keys = KeyBindings()

    @keys.add("tab")
    def complete(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state is not None:
            buffer.complete_next()
            return
        found = list(completer.get_completions(buffer.document, CompleteEvent(completion_requested=True)))
        common = get_common_complete_suffix(buffer.document, found)
        if len(found) == 1:
            buffer.apply_completion(found[0])
        elif common:
            buffer.insert_text(common)
        else:
            buffer.start_completion()

    return keys


def _history(shell: Shell) -> History:
    try:
        return CleanHistory(history_path(), lambda: _secrets(shell))
    except OSError as error:
        click.echo(f"warning: there is no history: {one_line(str(error))}", err=True)
        return InMemoryHistory()


def _secrets(shell: Shell) -> Iterator[Secret]:
    settings = shell.target().settings
    return (secret for secret in (settings.token, settings.client_secret) if secret is not None)


# --- completion ---------------------------------------------------------------------------------------------------


class _Completer(Completer):
    """What `suggestions` knows, for prompt_toolkit."""

    def __init__(self, shell: Shell) -> None:
        self.schemas = schemas = _Schemas(shell)
        self._known = Vocabulary(
            commands=shell.commands,
            command=lambda name: main.get_command(click.Context(main), name),
            methods=schemas.methods,
            method=schemas.method,
            settings=shell.defaults.settable,
        )

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        before = document.text_before_cursor
        words = split(before)
        typed, start = "", len(before)
        if words and (words[-1].open or not before[-1].isspace()):
            last = words.pop()
            typed, start = last.text, last.start
        if words and words[0].text == "invora":
            del words[0]
        with suppress(Exception):  # whatever is wrong, one can go on typing
            for one in suggestions(words, typed, self._known):
                yield Completion(one.text, start - len(before), display_meta=one.meta)


class _Schemas:
    """The RPCs that completion knows: the compiled ones, and those that the gateway serves besides or instead.

    The gateway is asked in the background: nobody waits for a completion.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._served: dict[tuple[Source, Target], _Served] = {}

    def look(self) -> None:
        """Begin to ask the gateway that commands go to now, unless it was asked."""
        try:
            source, target = self._shell.defaults.where()
        except (InvoraError, click.ClickException):
            return
        if source.schema is None and (source, target) not in self._served:
            self._served[source, target] = _Served()
            Thread(target=self._ask, args=(source, target), daemon=True).start()

    def methods(self) -> Iterator[Method]:
        for one in self._catalogs():
            yield from one.methods

    def method(self, name: str) -> Method:
        """The RPC of a name. Raises RequestError."""
        problem = RequestError("method", name, "`ls` shows all", "is not known")
        for one in self._catalogs():
            try:
                return one.method(name)
            except RequestError as error:
                problem = error
        raise problem

    def _catalogs(self) -> list[Catalog]:
        source, target = self._shell.defaults.where()
        if source.schema is not None:
            return [catalog_of(source.schema)]
        served = self._served.get((source, target), _Served())
        compiled = [] if served.foreign or source.kind == "reflection" else [catalog()]
        return compiled + ([served.others] if served.others is not None else [])

    def _ask(self, source: Source, target: Target) -> None:
        known = {service.name for service in catalog()}
        with suppress(Exception):  # calls will say what is wrong
            client = self._shell.session.client(target, target.open).with_options(timeout=_PATIENCE)
            listed = set(client.reflect(()).listed)
            own = sorted(listed if source.kind == "reflection" else listed - known)
            others = catalog_of(client.reflect(own)) if own else None
            self._served[source, target] = _Served(others, bool(listed) and not listed & known)


@dataclass(frozen=True, slots=True)
class _Served:
    """What a gateway said."""

    others: Catalog | None = None
    """Its services that are not compiled in."""
    foreign: bool = False
    """Whether it serves nothing of what is."""
