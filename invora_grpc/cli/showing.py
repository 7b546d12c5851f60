"""How a command shows what comes of a call: answers on standard output, all else on standard error; or one envelope.

Values are shown as they come where their form allows it, so that a long list needs no memory. What the schema does not
know is never dropped. It calls nothing.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from invora_grpc.call import no_token
from invora_grpc.cli import failures
from invora_grpc.cli.answers import UNKNOWN, Stranger, json_of
from invora_grpc.cli.output import colours, dumps, render, terminal_width
from invora_grpc.cli.session import answered
from invora_grpc.errors import InvoraError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from invora_grpc.catalog import Method
    from invora_grpc.cli.requests import Written
    from invora_grpc.cli.sources import Source
    from invora_grpc.cli.targets import Target
    from invora_grpc.cli.timing import Watch
    from invora_grpc.client import Invora
    from invora_grpc.config import Secret

__all__ = ["Ask", "Showing", "StrangersError"]

_KEPT: Final = 1000
"""Messages of a stream that a shell keeps."""
_TOLD: Final = 20
"""Unknown fields that one note or error tells; the answer itself has all of them."""


@dataclass(frozen=True, slots=True)
class Ask:
    """How the answer is to be shown."""

    form: str | None = None
    """One of FORMS; None: JSON, with errors for people."""
    query: str | None = None
    envelope: bool = False
    strict: bool = False
    verbose: bool = False


class StrangersError(InvoraError):
    """An answer holds what the schema does not know, where that was not to be."""

    def __init__(self, found: list[Stranger]) -> None:
        super().__init__(
            f"the answer holds what the schema does not know: {_words(found)}; update the schema, or see "
            "what the gateway has with --reflect"
        )


class Showing:
    """One call, and what is shown of it."""

    def __init__(self, ask: Ask, target: Target, source: Source) -> None:
        self.ask, self.target, self.source = ask, target, source
        self.method: Method | None = None
        """Known as soon as it is found."""
        self.written: Written | None = None
        """The request as it was typed, once it was read."""
        self._strangers: list[Stranger] = []
        self._values: Any = None
        """What an envelope holds as the answer: {"response": …} or {"responses": […]}."""
        self._watch: Watch | None = None
        self._peek: Callable[[], Secret | None] = no_token
        self._colour, self._width = colours(sys.stdout), terminal_width(sys.stdout)

    def watch(self, stack: ExitStack, client: Invora) -> Invora:
        """The client to call with: one that is looked at if that is to be shown."""
        self._peek = client._options.peek
        if not (self.ask.verbose or self.ask.envelope):
            return client
        from invora_grpc.cli.timing import Watch

        self._watch = watch = Watch(client)
        stack.enter_context(watch)
        return watch.client

    def _secrets(self) -> list[Secret]:
        """What must not be shown, even if a server says it."""
        settings = self.target.settings
        return [secret for secret in (settings.token, settings.client_secret, self._peek()) if secret is not None]

    # --- answers

    def answer(self, message: Message) -> None:
        """Show the one answer of a call."""
        value = self._json(message)
        answered(value)
        self._whole(value)

    def pages(self, found: Iterable[Any]) -> None:
        """Show pages of a list as one, in the form of the list's own answer: {"items": […], "total_count": …}."""
        rest: dict[str, Any] = {}
        items = self._items(found, rest)
        if self.ask.envelope or self.ask.query is not None or self.ask.form not in (None, "json"):
            values = list(items)
            answered(values)
            self._whole({"items": values, **rest})
            return
        kept: deque[Any] = deque(maxlen=_KEPT)
        try:
            for index, one in enumerate(items):
                kept.append(one)
                text = render({"items": [one]}, colour=self._colour)  # as it stands in the whole
                head, _, tail = text.partition("[\n")
                print(f"{head}[\n" if index == 0 else ",\n", tail.rpartition("\n  ]")[0], sep="", end="", flush=True)
        except BaseException:
            print(end="\n" if kept else "", flush=True)  # and no end of the list: it is not whole
            raise
        end = ",\n" + render(rest, colour=self._colour).removeprefix("{\n") if rest else "\n}"
        print("\n  ]" + end if kept else render({"items": [], **rest}, colour=self._colour))
        answered(list(kept))
        self._end()

    def _items(self, pages: Iterable[Any], rest: dict[str, Any]) -> Iterator[Any]:
        """The items of all pages; `rest` gets what pages say besides, the last one being right. No page has a cursor:
        where to go on from is not known if a limit has cut a page."""
        for page in pages:
            for one in page.items:
                yield self._json(one)
            del page.items[:]
            page.ClearField("next_page_cursor")
            value = self._json(page)
            strange = [
                *rest.get(UNKNOWN, []),
                *(one for one in value.get(UNKNOWN, []) if one not in rest.get(UNKNOWN, [])),
            ]
            rest |= {name: held for name, held in value.items() if name != "items"}
            if strange:
                rest[UNKNOWN] = strange

    def stream(self, found: Iterable[Any]) -> None:
        """Show the messages of a stream as they come: a line each; a table at the end."""
        ask = self.ask
        kept: deque[Any] = deque(maxlen=None if ask.envelope or ask.form == "table" else _KEPT)
        try:
            for one in found:
                kept.append(value := self._json(one))
                if not ask.envelope and ask.form != "table":
                    self._print(("---\n" if ask.form == "yaml" else "") + self._rendered(value, compact=True))
        finally:
            self._values = {"responses": list(kept)}
            answered(list(kept)[-_KEPT:])
            if ask.form == "table":
                self._print(render(list(kept), "table", width=self._width))
        self._end()

    def _whole(self, value: Any) -> None:
        self._values = {"response": value}
        if not self.ask.envelope:
            self._print(self._rendered(value))
        self._end()

    def _rendered(self, value: Any, compact: bool = False) -> str:
        form = self.ask.form or "json"
        how: Any = {"query": self.ask.query, "colour": self._colour, "width": self._width, "compact": compact}
        return render(value, form, **how)

    def _json(self, message: Message) -> Any:
        schema = self.method.schema if self.method is not None else None
        return json_of(message, self._strangers, None if schema is None else schema.message_class)

    def _print(self, text: str) -> None:
        print(text, flush=True)

    # --- the end

    def _end(self) -> None:
        """After the answer: strangers, what -v shows, or the envelope. Raises StrangersError."""
        strangers = self._strangers
        if strangers and self.ask.strict:
            raise StrangersError(strangers)
        if strangers and not self.ask.envelope and (self.ask.form in ("table", "text") or self.ask.query is not None):
            print(f"note: the answer holds what the schema does not know: {_words(strangers)}", file=sys.stderr)
        self._told(None)

    def failed(self, error: InvoraError) -> int:
        """Show what went wrong, and return the exit code."""
        self._told(error)
        if self.ask.envelope:
            return failures.exit_code(error)
        return failures.report(error, self.ask.form, self.written, full=self.ask.verbose, secrets=self._secrets())

    def _told(self, error: InvoraError | None) -> None:
        if self.ask.envelope:
            self._print(failures.masked(dumps(self._envelope(error)), self._secrets()))
        elif self.ask.verbose and self._watch is not None:
            for line in self._lines(self._watch):
                print(line, file=sys.stderr)

    def _lines(self, watch: Watch) -> Iterable[str]:
        yield f"* {self.target.describe()}"
        yield f"* schema: {self._schema()['source']}"
        for exchange in watch.exchanges:
            yield from exchange.lines()
        yield "* " + ", ".join(f"{name.replace('_', ' ')} {ms:.1f} ms" for name, ms in watch.timings().items())

    def _schema(self) -> dict[str, Any]:
        method, source = self.method, self.source
        if method is None:
            return {"source": source.described}
        return {
            "source": "the compiled stubs" if method.schema is None else method.schema.source,
            "origin": method.origin,
        }

    def _envelope(self, error: InvoraError | None) -> dict[str, Any]:
        """Everything about the call as one JSON object."""
        watch, settings = self._watch, self.target.settings
        last = watch.exchanges[-1] if watch is not None and watch.exchanges else None
        code = getattr(error, "code", None)
        status = {"code": 0, "name": "OK"} if error is None or isinstance(error, StrangersError) else None
        if code is not None:
            status = {"code": code.value[0], "name": code.name}
        told: dict[str, Any] = {"method": self.method.path if self.method is not None else None, "status": status}
        told |= self._queried()
        if error is not None:
            told["error"] = failures.facts(error, self.written)
        told["target"] = {"profile": self.target.profile, "environment": settings.environment.name}
        told["target"] |= {"endpoint": settings.target.url, "organization": settings.org_id}
        told["schema"] = self._schema()
        if last is not None and watch is not None:
            told |= {"request_metadata": last.sent, "metadata": last.headers, "trailers": last.trailers}
            told["sizes"] = {"request": sum(one.request_bytes for one in watch.exchanges)}
            told["sizes"] |= {"response": sum(one.response_bytes for one in watch.exchanges)}
            told["calls"] = len(watch.exchanges)
        if watch is not None:
            told["timings_ms"] = watch.timings()
        told["unknown"] = [str(one) for one in self._strangers]
        return told

    def _queried(self) -> dict[str, Any]:
        if self._values is None:
            return {}
        if self.ask.query is None:
            return dict(self._values)
        from invora_grpc.cli.output import searched

        return {name: searched(value, self.ask.query) for name, value in self._values.items()}


def _words(found: list[Stranger]) -> str:
    more = f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    return "; ".join(map(str, found[:_TOLD])) + more
