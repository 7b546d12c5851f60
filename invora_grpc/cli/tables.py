"""JSON values as aligned tables, and as plain text for scripts that read lines.

Widths are those of terminals: East Asian letters take two columns, combining marks none. Cells are cut to a terminal,
and never cut in a pipe.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from invora_grpc.cli.output import dumps
from invora_grpc.errors import escaped, one_line

__all__ = ["columns", "display_width", "fitted", "plain", "table"]

_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
_NARROW: Final = 8
"""Columns below which a cell is not cut."""
_GAP: Final = "  "


def table(value: Any, width: int | None = None) -> str:
    """Rows of a list, or of the one list that an answer holds; else the fields of an object, one a line.

    `width`: columns to cut to; None: nothing is cut.
    """
    rows, rest = _rows(value)
    if rows is None:
        return columns([[_cell(name), _cell(held)] for name, held in _flat(value, "")], None, width)
    flat = [dict(_row(row)) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    text = columns([[row.get(name, "") for name in names] for row in flat], names, width)
    tail = [f"{_cell(name)}: {_cell(held)}" for name, held in _flat(rest, "")]
    return "\n".join([text, *(tail if width is None else [fitted(line, width) for line in tail])])


def plain(value: Any, *, safe: bool = False) -> str:
    """Bare text: a string without quotes, a list with an item a line, an object with a field a line; cells by tabs.

    `safe` writes what a terminal should not see as escapes.
    """
    if isinstance(value, Mapping):
        lines = ["\t".join((name, _bare(held))) for name, held in _flat(value, "")]
    elif isinstance(value, list):
        lines = ["\t".join(map(_bare, _cells(item))) for item in value]
    else:
        lines = [_bare(value)]
    text = "\n".join(lines)
    return "\n".join("\t".join(map(escaped, line.split("\t"))) for line in text.split("\n")) if safe else text


def columns(rows: Sequence[Sequence[str]], names: Sequence[str] | None = None, width: int | None = None) -> str:
    """Aligned columns under their names, if there are names; numbers to the right."""
    everything = [list(names), *rows] if names is not None else list(rows)
    if not everything or not everything[0]:
        return "(empty)"
    sizes = [max(map(display_width, column)) for column in zip(*everything, strict=True)]
    right = [all(map(_NUMBER.fullmatch, filter(None, column))) and any(column) for column in zip(*rows, strict=True)]
    if width is not None:
        sizes = _narrowed(sizes, width)
    lines = []
    for row in everything:
        cells = [_padded(cell, size, at_right) for cell, size, at_right in zip(row, sizes, right or sizes, strict=True)]
        line = _GAP.join(cells).rstrip()
        lines.append(line if width is None else fitted(line, width))
    return "\n".join(lines)


def display_width(text: str) -> int:
    """The columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(map(_columns_of, text))


def fitted(text: str, size: int) -> str:
    """The text, cut to so many columns, the last of which says so."""
    if display_width(text) <= size:
        return text
    taken, used = [], 0
    for char in text:
        used += _columns_of(char)
        if used > size - 1:
            break
        taken.append(char)
    return "".join(taken) + "…"


def _columns_of(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _padded(cell: str, size: int, right: object) -> str:
    cell = fitted(cell, size)
    space = " " * (size - display_width(cell))
    return space + cell if right is True else cell + space


def _narrowed(sizes: list[int], width: int) -> list[int]:
    """The widths of columns that fit into so many in all, taken from the widest ones."""
    sizes, left = list(sizes), width - len(_GAP) * (len(sizes) - 1)
    while sum(sizes) > left and (widest := max(sizes)) > _NARROW:
        second = max((size for size in sizes if size < widest), default=_NARROW)
        at = [index for index, size in enumerate(sizes) if size == widest]
        step = max(1, min(widest - max(second, _NARROW), -(-(sum(sizes) - left) // len(at))))
        for index in at:
            sizes[index] -= step
    return sizes


def _rows(value: Any) -> tuple[list[Any] | None, Mapping[str, Any]]:
    """The rows of a table, and what stands beside them."""
    if isinstance(value, list):
        return value, {}
    if isinstance(value, Mapping):
        lists = [name for name, held in value.items() if _is_rows(held)]
        name = "items" if "items" in lists else lists[0] if len(lists) == 1 and len(value) <= 3 else None
        if name is not None:
            return value[name], {key: held for key, held in value.items() if key != name}
    return None, {}


def _is_rows(held: Any) -> bool:
    return isinstance(held, list) and all(isinstance(item, Mapping) for item in held)


def _row(row: Any) -> Iterable[tuple[str, str]]:
    if isinstance(row, Mapping):
        return ((_cell(name), _cell(held)) for name, held in _flat(row, "", lists=False))
    if isinstance(row, list):
        return ((str(index), _cell(held)) for index, held in enumerate(row, 1))
    return (("value", _cell(row)),)


def _flat(value: Any, path: str, *, lists: bool = True) -> Iterator[tuple[str, Any]]:
    """The fields of an object with their paths, those inside it too; with `lists`, also those in lists of objects."""
    if isinstance(value, Mapping) and value:
        for name, held in value.items():
            yield from _flat(held, f"{path}.{name}" if path else str(name), lists=lists)
    elif lists and path and _is_rows(value) and value:
        for index, held in enumerate(value):
            yield from _flat(held, f"{path}[{index}]")
    elif path or not isinstance(value, Mapping):
        yield path, value


def _cell(value: Any) -> str:
    """A value on one line that is safe to print."""
    return one_line(_bare(value), 4000)


def _cells(item: Any) -> list[Any]:
    if isinstance(item, Mapping):
        return list(item.values())
    return item if isinstance(item, list) else [item]


def _bare(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list) and not any(isinstance(item, Mapping | list) for item in value):
        return ", ".join(map(_bare, value))
    return dumps(value)
