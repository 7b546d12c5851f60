"""Requests as people write them: JSON, YAML, files, or fields on the command line; and where each value was written.

What comes out are plain values, of which `build` makes messages: texts have the type that the schema wants at their
place (`invora_grpc.cli.coercion`). Nothing here asks a gateway for anything.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from invora_grpc.call import bind
from invora_grpc.catalog import Method
from invora_grpc.cli.coercion import coerced
from invora_grpc.errors import RequestError
from invora_grpc.kinds import descriptor_of

__all__ = ["Written", "read_request", "steps_of"]

_STEP: Final = re.compile(r"([A-Za-z0-9_-]+)((?:\[\d+\])*)")
_JSON_STARTS: Final = re.compile(r'\s*(?:[\[{"]|-?\d+\s*\Z|(?:true|false|null)\s*\Z|\Z)')
"""What begins JSON; all other text is taken for YAML."""
_TEXT: Final = re.compile(r'"(?:\\.|[^"\\])*"')
_READ: Final = 1 << 16
"""Bytes that are read from standard input at once."""


@dataclass(frozen=True, slots=True)
class Written:
    """A request as it was given: its text, and its fields."""

    text: str | None
    """Of -d, read already; None: there is no -d, or it is a stream that is read as it comes."""
    source: str
    """What to call the text: `-d`, `standard input`, or the file's name."""
    fields: tuple[str, ...]
    live: bool = False
    """Whether standard input is to be read as it comes."""

    @classmethod
    def read(cls, data: str | None, fields: tuple[str, ...] = (), *, live: bool = False) -> Written:
        """Read what -d names: text, @file, or - for standard input, which waits if `live`. Raises RequestError."""
        if data is None or (live and data == "-" and not fields):
            return cls(None, "standard input", fields, data is not None)
        try:
            if data == "-":
                return cls(sys.stdin.read(), "standard input", fields)
            if data.startswith("@"):
                return cls(Path(data[1:]).read_text("utf-8-sig"), data[1:], fields)
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError("data", data, "give a readable UTF-8 file after @", str(error)) from None
        return cls(data, "data", fields)

    def request(self, method: Method) -> Any:
        """The request as plain values: one mapping, or, for an RPC that streams requests, several.

        Those are a list, or an iterator if standard input is read as it comes. Numbers with a decimal point stay exact.
        Raises RequestError naming the place of what cannot be read.
        """
        message = descriptor_of(bind(method).request_class)
        if self.live:
            return (coerced(message, _one(value)) for value in _standard_input())
        given = {} if self.text is None else parsed(self.text, self.source)
        for item in self.fields:
            _assign(given, *_field(item))
        if method.client_streaming:
            return [coerced(message, item) for item in (given if isinstance(given, list) else [given])]
        return coerced(message, _one(given))

    def place(self, path: str) -> str:
        """Where a field of the request was written, for a message to people; empty if it was not, or not here."""
        from invora_grpc.cli.places import place_of  # only mistakes need it

        return place_of(path, self.text, self.source, self.fields)


def read_request(method: Method, data: str | None, fields: tuple[str, ...]) -> Any:
    """The request of -d and fields, as `Written.request` has it."""
    return Written.read(data, fields).request(method)


def parsed(text: str, source: str) -> Any:
    """The JSON or YAML in a text; several values in a row become a list. Raises RequestError."""
    if not _JSON_STARTS.match(text) or source.endswith((".yaml", ".yml")):
        return _from_yaml(text, source)
    found, at = [], 0
    while (at := _space(text, at)) < len(text):
        value, at = _decoded(text, at, source)
        found.append(value)
    return found[0] if len(found) == 1 else found


def steps_of(path: str) -> list[str | int]:
    """The steps of a path like lines[0].unit_price. Raises RequestError."""
    steps: list[str | int] = []
    for part in path.split("."):
        match = _STEP.fullmatch(part)
        if not match:
            hint = "write a path like input.external_id or lines[0].unit_price"
            raise RequestError("argument", path, hint, "is no path")
        steps.append(match[1])
        steps += [int(index) for index in re.findall(r"\d+", match[2])]
    return steps


def _one(given: Any) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        return given
    if given is None or given == []:
        raise RequestError("data", "", "write {} for a request without fields", "is empty")
    raise RequestError(
        "data", given, "give one JSON object", f"is {'a JSON list' if isinstance(given, list) else 'none'}"
    )


# --- JSON and YAML ------------------------------------------------------------------------------------------------


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


_SPACE: Final = re.compile(r"\s*")


def _decoded(text: str, at: int, source: str) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise RequestError(
            source, text[at : at + 40], f"correct the JSON at {place}", f"is no JSON: {error.msg}"
        ) from None
    except RecursionError:
        raise RequestError(source, text[:40], "nest it less deeply", "is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises RequestError for a name that is given twice, of which Python would drop one."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError("data", twice, "give each name once", "is given twice in one object")
    return made


_DECODER: Final = json.JSONDecoder(parse_float=Decimal, object_pairs_hook=_object)


def _from_yaml(text: str, source: str) -> Any:
    from invora_grpc.cli.yamls import documents  # PyYAML is slow to load

    found = documents(text, source)
    return found[0] if len(found) == 1 else found


def _standard_input() -> Iterator[Any]:
    """The JSON values of standard input, each as soon as its last line is there.

    Read past Python's own buffer: gRPC takes requests in a thread of its own, and one that waits with the buffer's lock
    kills the process at its end.
    """
    waiting, depth = "", 0
    for line in _lines():
        bare = _TEXT.sub("", line)
        depth += bare.count("{") + bare.count("[") - bare.count("}") - bare.count("]")
        waiting += line
        if depth > 0:
            continue
        at = 0
        while (at := _space(waiting, at)) < len(waiting):
            value, at = _decoded(waiting, at, "standard input")
            yield value
        waiting, depth = "", 0
    if waiting.strip():
        _decoded(waiting, _space(waiting, 0), "standard input")


def _lines() -> Iterator[str]:
    rest = b""
    while chunk := os.read(0, _READ):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield _text(line + b"\n")
    if rest:
        yield _text(rest)


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError("standard input", line[:40], "give UTF-8", str(error)) from None


# --- fields -------------------------------------------------------------------------------------------------------


def _field(item: str) -> tuple[str, Any]:
    """Path and value of a field: path=text, path:=JSON, path=@file, path:=@file."""
    path, separator, text = item.partition("=")
    if not separator:
        raise RequestError("argument", item, "write a field as path=value, or the whole request with -d", "has no =")
    raw, value = path.endswith(":"), text.encode("utf-8", "surrogateescape")
    path = path.removesuffix(":")
    if text.startswith("@"):
        try:
            value = Path(text[1:]).read_bytes()
        except OSError as error:
            hint = f"give a readable file after @; a text that begins with @ is {path}:='\"@…\"'"
            raise RequestError(path, text, hint, str(error)) from None
        if not raw:
            return path, value
    if not raw:
        return path, text
    try:
        return path, parsed(value.decode("utf-8-sig"), path)
    except UnicodeDecodeError as error:
        raise RequestError(path, text, "give UTF-8", str(error)) from None


def _assign(target: Any, path: str, value: Any) -> None:
    """Put a value at a path like lines[0].unit_price, making the objects and lists on the way."""
    steps = steps_of(path)
    for step, following in itertools.pairwise(steps):
        target = _child(target, step, [] if isinstance(following, int) else {}, path)
    fresh = _Box(value)
    if _child(target, steps[-1], fresh, path) is not fresh:
        raise RequestError("argument", path, "give each field once", "is given twice")
    target[steps[-1]] = value


class _Box:
    """A value that is like no other, even where Python keeps one object for all equal ones."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


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
