"""One call from the command line: request in, answer out."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from invora_grpc.attempt import record_plan
from invora_grpc.call import bind
from invora_grpc.catalog import Method
from invora_grpc.cli.coercion import coerced
from invora_grpc.client import Invora
from invora_grpc.errors import InvoraError, RequestError
from invora_grpc.idempotency import key_plan
from invora_grpc.kinds import descriptor_of
from invora_grpc.reading import to_json
from invora_grpc.status import OutcomeUnknown


class InDoubt(InvoraError):
    """A write whose outcome is unknown, as a shell is told it: the way out is a command."""

    code: Any
    """The gRPC status of the failure."""

    def __init__(self, error: OutcomeUnknown, way: str) -> None:
        super().__init__(str(error).replace(error.hint, way, 1))
        self.code = error.code


_STEP = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)((?:\[\d+\])*)")


def open_client(*, org: str | None, timeout: float, **settings: Any) -> Invora:
    """A client from the options of a command; the deadline holds for streams too. Raises ConfigError."""
    return Invora(org_id=org, **settings).with_options(timeout=timeout)


def read_request(method: Method, data: str | None, fields: tuple[str, ...]) -> Any:
    """The request as plain values: one mapping, or a list of them for an RPC that streams requests.

    Numbers with a decimal point stay exact. Raises RequestError naming the place of what cannot be read.
    """
    given = _json(data) if data is not None else {}
    for item in fields:
        path, separator, value = item.partition("=")
        if not separator:
            raise RequestError(
                "argument", item, "write a field as path=value, or the whole request with -d", "has no ="
            )
        _assign(given, path, value)
    message = descriptor_of(bind(method).request_class)
    if method.client_streaming:
        return [coerced(message, item) for item in (given if isinstance(given, list) else [given])]
    return coerced(message, _one(given))


def _one(given: Any) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        return given
    raise RequestError("data", given, "give one JSON object", f"is a JSON {type(given).__name__}")


def _json(data: str) -> Any:
    """Parse -d: text, @file or - (standard input); several objects in a row become a list."""
    text, source = data, "data"
    try:
        if data == "-":
            text, source = sys.stdin.read(), "standard input"
        elif data.startswith("@"):
            text, source = Path(data[1:]).read_text("utf-8-sig"), data[1:]
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError("data", data, "give a readable UTF-8 file after @", str(error)) from None
    decoder = json.JSONDecoder(parse_float=Decimal)
    found, at = [], 0
    try:
        while text[at:].strip():
            at += len(text[at:]) - len(text[at:].lstrip())
            value, at = decoder.raw_decode(text, at)
            found.append(value)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise RequestError(
            source, text[at : at + 40], f"correct the JSON at {place}", f"is no JSON: {error.msg}"
        ) from None
    except RecursionError:
        raise RequestError(source, text[:40], "nest it less deeply", "is nested too deeply") from None
    return found[0] if len(found) == 1 else found


def _assign(target: Any, path: str, value: str) -> None:
    """Put a value at a path like lines[0].unit_price, making the objects and lists on the way."""
    steps: list[str | int] = []
    for part in path.split("."):
        match = _STEP.fullmatch(part)
        if not match:
            raise RequestError(
                "argument", path, "write a path like input.external_id or lines[0].unit_price", "is no path"
            )
        steps.append(match[1])
        steps += [int(index) for index in re.findall(r"\d+", match[2])]
    for step, following in itertools.pairwise(steps):
        target = _child(target, step, [] if isinstance(following, int) else {}, path)
    if _child(target, steps[-1], value, path) is not value:
        raise RequestError("argument", path, "give each field once", "is given twice")


def _child(target: Any, step: str | int, fresh: Any, path: str) -> Any:
    """What the place holds, or `fresh`, put there."""
    if isinstance(step, str):
        if not isinstance(target, dict):
            raise RequestError("argument", path, f"leave {step!r} away, or the other value", "has a value on its way")
        return target.setdefault(step, fresh)
    if not isinstance(target, list):
        raise RequestError("argument", path, f"leave [{step}] away, or the other value", "has a value on its way")
    if step > len(target):
        raise RequestError(
            "argument", path, f"give the items in order; the next one is [{len(target)}]", "skips an item"
        )
    if step == len(target):
        target.append(fresh)
    return target[step]


def print_answer(client: Invora, method: Method, request: Any) -> None:
    """Call and print: one JSON document, or one JSON line per message of a stream.

    Raises InDoubt in place of OutcomeUnknown: a shell has no `reconcile()`.
    """
    rpc = getattr(client.service(method.service), method.rpc)
    try:
        answer = rpc(request)
    except OutcomeUnknown as error:
        raise InDoubt(error, _way_on(method, error)) from error
    if method.server_streaming:
        for message in answer:
            click.echo(json.dumps(to_json(message), ensure_ascii=False))
    else:
        click.echo(json.dumps(to_json(answer), ensure_ascii=False, indent=2))


def _way_on(method: Method, error: OutcomeUnknown) -> str:
    """What to run in order to find out, and, for a create under one key, what makes no second record."""
    keyed, written = key_plan(method), record_plan(method)
    if not error.keys:
        return error.hint
    if keyed is None:
        return _looks(written.lookup, written.field, error.keys) if written is not None else error.hint
    look = _looks(keyed.lookup, keyed.name, error.keys)
    if keyed.many:
        return look
    place = f"{keyed.holder}.{keyed.name}" if keyed.holder else keyed.name
    return f"{look}; the same call with {shlex.quote(f'{place}={error.keys[0]}')} makes no second record"


def _looks(lookup: Method, field: str, keys: tuple[str, ...]) -> str:
    """The command that shows the record; of several the first."""
    command = f"invora call {lookup.attribute} {shlex.quote(f'{field}={keys[0]}')}"
    others = f", and so on for {len(keys) - 1} more" if len(keys) > 1 else ""
    return f"`{command}` looks it up{others}"
