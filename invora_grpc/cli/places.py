"""Where in what was typed a field of a request stands: which argument, or which line and column.

For messages about mistakes only. Servers name fields in either spelling (unit_price, unitPrice), and now and then
without the one field that holds the rest; both are understood. A place that is not sure is not named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from invora_grpc.errors import InvoraError

__all__ = ["place_of"]

_PART: Final = re.compile(r"\[\d+\]|[^.\[\]]+")
_LARGEST_YAML: Final = 200_000
"""Characters of YAML that are looked at; PyYAML would take seconds for more."""
_SKIP: Final = json.JSONDecoder()

Steps = Sequence[str | int]
Members = Callable[[Any], Iterator[tuple[str | int, Any, Any]]]
"""What an object or list holds: name or index, place, and the value to go on with."""


def place_of(path: str, text: str | None, source: str, fields: Sequence[str]) -> str:
    """`argument lines[0].unit_price=…`, `-d, line 3, column 5`, or nothing."""
    steps = _steps(path)
    if not steps:
        return ""
    if (found := _argument(steps, fields)) is not None:
        return f"argument {found}=…"
    if text is None:
        return ""
    try:
        at = _located(text, steps)
    except (
        ValueError,
        IndexError,
        RecursionError,
        InvoraError,
    ):  # no JSON: that was said elsewhere
        return ""
    where = "-d" if source == "data" else source
    return "" if at is None else f"{where}, line {at[0]}, column {at[1]}"


def _steps(path: str) -> list[str | int]:
    parts = [part.strip("[]") for part in _PART.findall(path)]
    return [int(part) if part.isdecimal() else _plain(part) for part in parts]


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _argument(steps: Steps, fields: Sequence[str]) -> str | None:
    """The argument that gives the field, or all of what it is in, or a part of it."""
    given = [item.partition("=")[0].removesuffix(":") for item in fields]
    places = [(_steps(path), path) for path in given]
    known = [(path, name) for path, name in places if path and _agree(path, steps)]
    if not known:
        below = [(path, name) for path, name in places if len(path) > 1 and _agree(path[1:], steps)]
        known = below if len({path[0] for path, _ in below}) == 1 else []
    return max(known, key=lambda one: len(one[0]))[1] if known else None


def _agree(one: Steps, other: Steps) -> bool:
    return all(left == right for left, right in zip(one, other, strict=False))


def _located(text: str, steps: Steps) -> tuple[int, int] | None:
    """Line and column, from 1, of the deepest field on the way that there is."""
    start = _after_space(text, 0)
    members: Members
    if text[start : start + 1] in ("{", "["):
        members, root = partial(_in_json, text), start
    elif len(text) <= _LARGEST_YAML:
        from invora_grpc.cli.yamls import marks

        members, root = _in_yaml, marks(text)
    else:
        return None
    if root is None:
        return None
    found = _walked(members, root, steps)
    if found is None:
        below = [place for _, _, child in members(root) if (place := _walked(members, child, steps)) is not None]
        found = below[0] if len(below) == 1 else None
    return _line_and_column(text, found) if isinstance(found, int) else found


def _walked(members: Members, node: Any, steps: Steps) -> Any:
    """Where the last of the steps is that can be taken; None if not even the first can."""
    reached = None
    for step in steps:
        found = next(((place, child) for name, place, child in members(node) if name == step), None)
        if found is None:
            break
        reached, node = found
    return reached


def _in_json(text: str, at: int) -> Iterator[tuple[str | int, int, int]]:
    """Name or index, place, and the value's place, of what an object or a list holds. Raises ValueError."""
    is_object, index = text[at] == "{", 0
    if text[at] not in "{[":
        return
    at = _after_space(text, at + 1)
    while text[at] not in "}]":
        place: int = at
        name: str | int = index
        if is_object:
            key, at = _SKIP.raw_decode(text, at)
            name, at = _plain(str(key)), _after_space(text, _after_space(text, at) + 1)
        yield name, place, at
        at = _after_space(text, _SKIP.raw_decode(text, at)[1])
        at, index = (_after_space(text, at + 1) if text[at] == "," else at), index + 1


def _in_yaml(node: Any) -> Iterator[tuple[str | int, tuple[int, int], Any]]:
    """The same of a YAML node; places are line and column."""
    for index, held in enumerate(node.value if not isinstance(node.value, str) else ()):
        key, value = held if isinstance(held, tuple) else (held, held)
        name = index if key is value else _plain(str(key.value))
        yield name, (key.start_mark.line + 1, key.start_mark.column + 1), value


def _line_and_column(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at
