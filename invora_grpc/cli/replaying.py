"""The work of `invora record` and `invora replay`: calls go out, and are kept, or compared with what was kept.

Files are `invora_grpc.cli.tape`'s. What is written is without secrets, and so are both sides of what is compared.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from invora_grpc.call import bind
from invora_grpc.call import request as built
from invora_grpc.catalog import Method
from invora_grpc.cli.answers import json_of
from invora_grpc.cli.changes import Change, changes
from invora_grpc.cli.coercion import coerced
from invora_grpc.cli.failures import report
from invora_grpc.cli.guard import check as guard
from invora_grpc.cli.output import dumps
from invora_grpc.cli.redaction import HIDDEN, hidden
from invora_grpc.cli.requests import read_request
from invora_grpc.cli.sources import Source, find_method, rpc_of
from invora_grpc.cli.tape import Recorded, adding, filled, read, variable, without
from invora_grpc.client import Invora
from invora_grpc.config import Secret
from invora_grpc.errors import InvoraError, RequestError, one_line
from invora_grpc.kinds import descriptor_of
from invora_grpc.status import RpcError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from invora_grpc.cli.options import Target

__all__ = ["DIFFERS", "record", "replay"]

DIFFERS: Final = 3
"""The exit code of `replay --check` if something differs."""
_TOLD: Final = 5
"""Places of secrets that one note tells."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a call ended."""

    answer: Any = None
    """JSON; a list of a stream, also what came of it before it failed."""
    error: RpcError | None = None

    @property
    def status(self) -> str:
        """The name of the gRPC status."""
        return "OK" if self.error is None else self.error.code.name


def record(
    file: Path,
    name: str,
    fields: tuple[str, ...],
    data: str | None,
    ignore: tuple[str, ...],
    yes: bool,
    source: Source,
    target: Target,
) -> int:
    """Call and keep; the exit code is that of the call. Raises InvoraError if there was none, and OSError."""
    with target.open() as client:
        method = find_method(name, source, client)
        request = _messages(method, read_request(method, data, fields))
        guard(target, method, yes)
        with adding(file) as add:
            outcome = _called(client, method, request)
            known = _known(client, target)
            try:
                add(_recorded(method, request, outcome, known, ignore))
                click.echo(f"recorded in {file}: {method.full_name}, {outcome.status}", err=True)
            finally:  # whatever becomes of the file: the call was made, and its answer may not come again
                code = _printed(outcome, known)
    return code


def _recorded(
    method: Method, request: Sequence[Message], outcome: _Outcome, known: Iterable[Secret], ignore: tuple[str, ...]
) -> Recorded:
    """The call as it is kept, without secrets."""
    sent = [json_of(message) for message in request]
    return Recorded(
        method.full_name,
        hidden(sent if method.client_streaming else sent[0], known, variable),
        outcome.status,
        hidden(outcome.answer, known) if outcome.error is None else None,
        None if outcome.error is None else hidden(_facts(outcome.error), known),
        ignore,
        datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def replay(
    files: Sequence[Path],
    check: bool,
    ignore: tuple[str, ...],
    machine: bool,
    yes: bool,
    source: Source,
    target: Target,
) -> int:
    """Call again and print, or compare. Raises InvoraError for what cannot be called, and OSError."""
    tapes = {file: read(file) for file in files}
    total = differing = 0
    with target.open() as client:
        asked: set[str] = set()
        for file, tape in tapes.items():
            answers: list[Any] = []
            for number, one in enumerate(tape, 1):
                method = find_method(one.method, source, client)
                request = _again(method, one, f"{file}, call {number}", answers)
                if method.path not in asked:
                    guard(target, method, yes)
                    asked.add(method.path)
                began = time.monotonic()
                outcome = _called(client, method, request)
                answers.append(outcome.answer)
                known = _known(client, target)
                if not check:
                    code = _printed(outcome, known)
                    if code:
                        return code
                    continue
                found = _differences(one, outcome, known, (*one.ignore, *ignore))
                click.echo(_line(file, number, one, found, time.monotonic() - began, machine))
                total, differing = total + 1, differing + bool(found)
    if check and not machine:
        told = f"{differing} differ{'s' * (differing == 1)}" if differing else "none differs"
        click.echo(f"{total} call{'s' * (total != 1)}, {told}", err=True)
    return DIFFERS if differing else 0


# --- calling ------------------------------------------------------------------------------------------------------


def _messages(method: Method, given: Any) -> list[Message]:
    """The request as messages: one, or, of a stream, several. Raises RequestError."""
    binding = bind(method)
    return [built(binding, one, {}) for one in (given if method.client_streaming else [given])]


def _again(method: Method, one: Recorded, place: str, answers: Sequence[Any]) -> list[Message]:
    """The request of a recording. Raises RequestError, naming the file and the call."""
    descriptor = descriptor_of(bind(method).request_class)
    if isinstance(one.request, list) != method.client_streaming:
        wanted = "a list of requests" if method.client_streaming else "one mapping"
        raise RequestError(f"{place}, request", one.request, f"write {wanted}", f"does not fit {one.method}")
    try:
        given = filled(one.request, answers, os.environ)
        plain = [coerced(descriptor, item) for item in (given if isinstance(given, list) else [given])]
        return _messages(method, plain if method.client_streaming else plain[0])
    except RequestError as error:
        raise InvoraError(f"{place}: {error}") from None


def _called(client: Invora, method: Method, request: Sequence[Message]) -> _Outcome:
    """The outcome of a call. Raises InvoraError if nothing was sent."""
    rpc = rpc_of(client, method)
    answers: list[Any] = []
    try:
        answer = rpc(iter(request) if method.client_streaming else request[0])
        if not method.server_streaming:
            return _Outcome(json_of(answer))
        answers.extend(json_of(message) for message in answer)  # keeps what came before a failure
    except RpcError as error:
        return _Outcome(answers or None, error)
    return _Outcome(answers)


def _known(client: Invora, target: Target) -> list[Secret]:
    """The secrets of this caller: none of them gets into a file, wherever an answer repeats it."""
    settings = target.settings
    found = [settings.token, settings.client_secret]
    with suppress(InvoraError):
        found.append(client._options.peek())
    return [one for one in found if one is not None]


def _facts(error: RpcError) -> dict[str, Any]:
    """What a failure says that is worth keeping."""
    info = error.error_info
    facts = {
        "message": one_line(error.message),
        "reason": info.reason if info else "",
        "fields": [violation.field for violation in error.field_violations],
    }
    return {name: value for name, value in facts.items() if value}


# --- comparing and telling ----------------------------------------------------------------------------------------


def _differences(
    one: Recorded, outcome: _Outcome, known: Iterable[Secret], ignore: Sequence[str]
) -> tuple[Change, ...]:
    """What is not as it was. Messages of errors are for people, and may be worded anew."""
    if one.status != outcome.status:
        return (Change("status", one.status, outcome.status),)
    if outcome.error is None:
        return changes(without(one.answer, ignore), without(hidden(outcome.answer, known), ignore))
    before = {name: value for name, value in (one.error or {}).items() if name != "message"}
    after = {name: value for name, value in _facts(outcome.error).items() if name in before}
    return changes(before, hidden(after, known))


def _line(file: Path, number: int, one: Recorded, found: Sequence[Change], seconds: float, machine: bool) -> str:
    if machine:
        facts: Mapping[str, Any] = {
            "file": str(file),
            "number": number,
            "call": one.method,
            "ok": not found,
            "milliseconds": round(seconds * 1000, 1),
            "changes": [change.as_json() for change in found],
        }
        return dumps(facts)
    mark = click.style("differs", fg="red") if found else click.style("same   ", fg="green")
    lines = [f"{mark} {file} {number}  {one.method}  [{seconds * 1000:.0f} ms]"]
    return "\n".join([*lines, *(f"  {change}" for change in found)])


def _printed(outcome: _Outcome, known: Sequence[Secret]) -> int:
    """Print an answer as `call` does, but without secrets, as it is kept; the exit code."""
    several, places = isinstance(outcome.answer, list), dict[str, None]()

    def leave_out(path: str) -> str:
        places[path] = None
        return HIDDEN

    answer = hidden(outcome.answer, known, leave_out)
    for value in answer if several else [answer] if answer is not None else []:
        click.echo(dumps(value, None if several else 2))
    if places:
        told = ", ".join(list(places)[:_TOLD])
        way = "`invora creds save` keeps what is told only once, and `invora call` shows it"
        click.echo(f"note: {told} {'is' if len(places) == 1 else 'are'} left out as {HIDDEN}; {way}", err=True)
    if outcome.error is None:
        return 0
    return report(outcome.error, secrets=known)
