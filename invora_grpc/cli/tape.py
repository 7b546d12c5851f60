"""Recordings: calls as YAML documents, and what may differ between two answers. Reads and writes files, calls nothing.

One document per call: the RPC's full name, the request, status and answer, each in the JSON form of protobuf. Secrets
are left out of answers; in requests a variable of the environment stands in their place, `${INVORA_SECRET_…}`. Where an
earlier answer is needed, `${2.customer.id}` is that of the second call.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from invora_grpc.cli.requests import steps_of
from invora_grpc.cli.yamls import documents, dumped
from invora_grpc.errors import RequestError

__all__ = ["Recorded", "adding", "append", "filled", "read", "variable", "without"]

_HEADER: Final = "# Recorded by `invora record`, without secrets. `invora replay --check` calls again and compares.\n"
_VARIABLE: Final = re.compile(r"\$\{(INVORA_SECRET_[A-Z0-9_]+)\}")
_REFERENCE: Final = re.compile(r"\$\{([1-9][0-9]{0,3})\.([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One call."""

    method: str
    """package.Service/Method."""
    request: Any
    """A JSON object; a list of them for an RPC that streams requests."""
    status: str
    """The name of the gRPC status."""
    answer: Any = None
    """A JSON object; a list of them for a stream. None if the call failed."""
    error: Mapping[str, Any] | None = None
    """What the failure said: message, reason, fields."""
    ignore: tuple[str, ...] = ()
    """Places of the answer that may differ."""
    at: str = ""
    """When it was recorded (ISO 8601)."""

    def document(self) -> dict[str, Any]:
        """As it stands in a file."""
        said = {"call": self.method, "recorded": self.at, "request": self.request, "status": self.status}
        outcome = {"answer": self.answer} if self.error is None else {"error": dict(self.error)}
        return said | outcome | ({"ignore": list(self.ignore)} if self.ignore else {})


@contextmanager
def adding(path: Path) -> Iterator[Callable[[Recorded], None]]:
    """A file to which one call can be added within the block; made (mode 0600) if it is not there.

    It is open before the call, since an answer that cannot be kept should not be asked for. A file that stays empty is
    taken away. Raises OSError, and RequestError for a file that is no recording.
    """
    if path.exists() and path.stat().st_size:
        read(path)
    line = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(line, "w", encoding="utf-8") as file:

        def add(one: Recorded) -> None:
            file.write(("" if file.tell() else _HEADER) + f"---\n{dumped(one.document())}")
            file.flush()

        try:
            yield add
        finally:
            if path.is_file() and not path.stat().st_size:
                path.unlink()


def append(path: Path, one: Recorded) -> None:
    """Add a call to a file. Raises as `adding` does."""
    with adding(path) as add:
        add(one)


def read(path: Path) -> list[Recorded]:
    """The calls of a file. Raises RequestError for what is no recording, or cannot be read."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise RequestError("file", str(path), "make one with `invora record`", error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise RequestError("file", str(path), "give a recording", f"is no UTF-8 text: {error.reason}") from None
    found = [_recorded(one, f"{path}, call {number}") for number, one in enumerate(documents(text, str(path)), 1)]
    if not found:
        raise RequestError("file", str(path), "make one with `invora record`", "has no calls")
    return found


def _recorded(one: Any, place: str) -> Recorded:
    one = _plain(one)
    if not isinstance(one, dict) or not isinstance(one.get("call"), str):
        raise RequestError(place, one, "give a file of `invora record`", "is no recorded call")
    request, ignore, error = one.get("request", {}), one.get("ignore", []), one.get("error")
    if not isinstance(request, dict | list):
        raise RequestError(f"{place}, request", request, "write a mapping of its fields", "is no request")
    if not isinstance(ignore, list) or not all(isinstance(item, str) for item in ignore):
        raise RequestError(f"{place}, ignore", ignore, "write a list of places, such as items[].id", "is no list")
    if error is not None and not isinstance(error, dict):
        raise RequestError(f"{place}, error", error, "write what is expected of it, or leave it away", "is no mapping")
    status = str(one.get("status", "OK"))
    return Recorded(one["call"], request, status, one.get("answer"), error, tuple(ignore), str(one.get("recorded", "")))


def _plain(value: Any) -> Any:
    """YAML's values as JSON has them: exact numbers are those of doubles here, amounts of money are text."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value


# --- variables and references -------------------------------------------------------------------------------------


def variable(path: str) -> str:
    """What stands in a request where a secret was: `${INVORA_SECRET_INPUT_API_KEY}`."""
    return "${INVORA_SECRET_" + re.sub("[^A-Z0-9]+", "_", path.upper()).strip("_") + "}"


def filled(request: Any, answers: Sequence[Any], environ: Mapping[str, str]) -> Any:
    """The request with its variables and references filled in. Raises RequestError for what cannot be.

    `answers` are those of the calls before, of which a failed one has None.
    """
    if isinstance(request, dict):
        return {name: filled(item, answers, environ) for name, item in request.items()}
    if isinstance(request, list):
        return [filled(item, answers, environ) for item in request]
    if not isinstance(request, str) or "${" not in request:
        return request
    if missing := [name for name in _VARIABLE.findall(request) if name not in environ]:
        raise RequestError("request", "${" + missing[0] + "}", f"set the variable {missing[0]}", "is not set")
    whole = _REFERENCE.fullmatch(request)
    if whole is not None:
        return _earlier(whole, answers)
    text = _REFERENCE.sub(lambda match: str(_earlier(match, answers)), request)
    return _VARIABLE.sub(lambda match: environ[match[1]], text)


def _earlier(match: re.Match[str], answers: Sequence[Any]) -> Any:
    """What an earlier call answered at the place of a reference."""
    number = int(match[1])
    if number > len(answers):
        raise RequestError("request", match[0], "refer to a call that comes before", "is no earlier call")
    value = answers[number - 1]
    for step in steps_of(match[2]):
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            hint = "name a field of that answer"
            raise RequestError("request", match[0], hint, f"is not in the answer of call {number}") from None
    return value


# --- what may differ ----------------------------------------------------------------------------------------------


def without(value: Any, places: Sequence[str]) -> Any:
    """A JSON value without these places: `customer.id`, `items[].id`, or `*.created_at` at every depth."""
    for place in places:
        deep = place.startswith("*.")
        steps = [part for part in re.split(r"\.|(?=\[)", place.removeprefix("*.")) if part]
        value = _without(value, steps, deep)
    return value


def _without(value: Any, steps: Sequence[str], deep: bool) -> Any:
    head, rest = steps[0] if steps else "", steps[1:]
    if isinstance(value, dict):
        kept = {}
        for name, item in value.items():
            if name == head and not rest:
                continue
            if name == head:
                item = _without(item, rest, False)
            kept[name] = _without(item, steps, True) if deep else item
        return kept
    if isinstance(value, list):
        inner = rest if re.fullmatch(r"\[\d*\]", head) else steps if deep else None
        index = int(head[1:-1]) if re.fullmatch(r"\[\d+\]", head) else None
        if inner is None:
            return value
        if not inner:
            return [] if index is None else [item for at, item in enumerate(value) if at != index]
        return [_without(item, inner, deep) if index in (None, at) else item for at, item in enumerate(value)]
    return value
