"""The work of `invora watch`: calls one after the other and what changed between them, or a stream as it comes.

What stays goes to standard output line by line; on a terminal a last line says that the watch is alive.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import click
from grpc import StatusCode

from invora_grpc.catalog import Method
from invora_grpc.cli.answers import json_of
from invora_grpc.cli.changes import MISSING, changes
from invora_grpc.cli.guard import check
from invora_grpc.cli.output import check_query, colours, dumps, render, searched
from invora_grpc.cli.repeating import refuse_writes
from invora_grpc.cli.requests import read_request
from invora_grpc.cli.session import answered
from invora_grpc.cli.sources import Source, find_method, known_method, rpc_of
from invora_grpc.cli.tables import fitted
from invora_grpc.cli.targets import Target
from invora_grpc.client import Invora
from invora_grpc.errors import one_line
from invora_grpc.status import RpcError

__all__ = ["Plan", "work"]

_LASTING: Final = frozenset(
    {
        StatusCode.INVALID_ARGUMENT,
        StatusCode.PERMISSION_DENIED,
        StatusCode.UNAUTHENTICATED,
        StatusCode.UNIMPLEMENTED,
    }
)
"""Failures that the same call meets again."""
_COLOURS: Final = {"+": "green", "-": "red", "~": "yellow", "!": "red"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How to watch."""

    interval: float
    """Seconds between an answer and the next call."""
    count: int | None
    """Calls or messages after which to end."""
    query: str | None
    """JMESPath of the part of an answer that is watched."""
    until: str | None
    """JMESPath of what ends the watch when it is true of that part."""
    machine: bool
    """Whether to print JSON lines."""
    yes: bool
    """Whether to repeat also what may change something."""


def work(name: str, fields: tuple[str, ...], data: str | None, plan: Plan, source: Source, target: Target) -> None:
    """Watch until the plan, the stream or Ctrl-C ends it. Raises InvoraError, also for a first call that fails."""
    check_query(plan.query)
    check_query(plan.until)
    with ExitStack() as stack:
        client, method = None, known_method(name, source)
        if method is None:
            client = stack.enter_context(target.open())
            method = find_method(name, source, client, target.reflect_headers)
        request = read_request(method, data, fields)
        if not method.server_streaming:
            refuse_writes(method, plan.yes)
        check(target, method, plan.yes)
        if client is None:  # mistakes that need no gateway come before there is one
            client = stack.enter_context(target.open())
        screen = Screen(plan.machine)
        stack.callback(screen.clear)
        if method.server_streaming:
            _follow(client, method, request, plan, screen)
        else:
            screen.note(f"{method.attribute} every {plan.interval:g} s; {target.describe()}; Ctrl-C ends")
            _Poll(rpc_of(client, method), request, plan, screen).run()


def _part(message: Any, plan: Plan) -> Any:
    """What is watched of an answer."""
    value = json_of(message)
    return value if plan.query is None else searched(value, plan.query)


def _holds(answer: object, until: str | None) -> bool:
    return until is not None and bool(searched(answer, until))


# --- a stream -----------------------------------------------------------------------------------------------------


def _follow(client: Invora, method: Method, request: Any, plan: Plan, screen: Screen) -> None:
    unbounded = client.with_options(timeout=None)
    count = 0
    screen.status("waiting for the first message")
    with rpc_of(unbounded, method)(request) as stream:
        for message in stream:
            value, count = _part(message, plan), count + 1
            answered(value)
            screen.event({"message": value}, "", [dumps(value)])
            if count == plan.count or _holds(value, plan.until):
                return
            screen.status(f"{count} message{'s' * (count != 1)}, the last at {_clock()}")


# --- calls one after the other ------------------------------------------------------------------------------------


class _Poll:
    """The same call again and again."""

    def __init__(self, rpc: Callable[[Any], Any], request: Any, plan: Plan, screen: Screen) -> None:
        self._rpc, self._request, self._plan, self._screen = rpc, request, plan, screen
        self._answer: object = MISSING
        self._failure = ""
        self._changes = 0

    def run(self) -> None:
        for number in itertools.count(1):
            if self._once() or number == self._plan.count:
                return
            times = "no change yet" if not self._changes else f"{self._changes} changed"
            self._screen.status(f"{_clock()}  call {number}, {times}")
            time.sleep(self._plan.interval)

    def _once(self) -> bool:
        """Call once, show what is new; whether the watch has reached its end."""
        try:
            value = _part(self._rpc(self._request), self._plan)
        except RpcError as error:
            if self._answer is MISSING or error.code in _LASTING:
                raise
            self._failed(error)
            return False
        if self._failure:
            self._failure = ""
            self._screen.event({"answering": True}, "+", ["answers again"])
        answered(value)
        self._show(value)
        self._answer = value
        return _holds(value, self._plan.until)

    def _failed(self, error: RpcError) -> None:
        text = one_line(f"{error.code.name}: {error.message}", 300)
        if text != self._failure:
            self._failure = text
            self._screen.event({"error": {"code": error.code.name, "message": error.message}}, "!", [text])

    def _show(self, value: Any) -> None:
        if self._answer is MISSING:
            self._screen.event({"answer": value}, "", [render(value, "json", colour=self._screen.colour)], timed=False)
            return
        found = changes(self._answer, value)
        self._changes += bool(found)
        if not found:
            return
        if self._plan.machine:
            self._screen.event({"changes": [change.as_json() for change in found]}, "", [])
        for change in found if not self._plan.machine else ():
            self._screen.event({}, change.sign, [str(change).removeprefix(change.sign).lstrip()])


# --- the screen ---------------------------------------------------------------------------------------------------


class Screen:
    """Lines that stay, and on a terminal a last one that changes."""

    def __init__(self, machine: bool) -> None:
        self._machine = machine
        terminal = sys.stdout.isatty() and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._live = terminal and not machine
        self._shown = False
        self.colour = colours(sys.stdout) and not machine
        """Whether to print in colours."""

    def event(self, facts: dict[str, Any], sign: str, lines: list[str], *, timed: bool = True) -> None:
        """Print what happened: `facts` for machines, else `lines` after the time and a sign."""
        self.clear()
        if self._machine:
            stamp = datetime.now().astimezone().isoformat(timespec="milliseconds")
            click.echo(dumps({"time": stamp, **facts}))
        else:
            for line in lines:
                click.echo(self._line(sign, line) if timed else line)
        sys.stdout.flush()

    def _line(self, sign: str, line: str) -> str:
        mark = f"{sign} " if sign else ""
        if self.colour and sign:
            mark = click.style(mark, fg=_COLOURS[sign])
        return f"{_clock()} {mark}{line}"

    def note(self, text: str) -> None:
        """Tell a person what is going on; nothing for machines."""
        if self._live:
            click.echo(fitted(one_line(text), _width()), err=True)

    def status(self, text: str) -> None:
        """Put this into the last line."""
        if self._live:
            self.clear()
            self._shown = True  # before it is: Ctrl-C may come in between
            sys.stderr.write(fitted(one_line(text), _width() - 1))
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the last line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


def _width() -> int:
    return max(10, shutil.get_terminal_size().columns)


def _clock() -> str:
    return datetime.now().strftime("%H:%M:%S")
