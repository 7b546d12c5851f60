"""Pieces of stub text: imports under short names, docstrings, blocks of parameters.

Nothing here knows what is written about; the same calls in the same order give the same text.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

_WIDTH = 120
_STANDARD = ("abc", "collections", "datetime", "decimal", "typing", "uuid")


class Imports:
    """The imports of one stub, gathered while its text is written."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}
        self._aliases: dict[str, str] = {}

    def name(self, module: str, name: str) -> str:
        """A name imported from a module, as it is."""
        self._names.setdefault(module, set()).add(name)
        return name

    def member(self, module: str, name: str) -> str:
        """A member of a module that is imported under the shortest tail of its path that is still free."""
        alias = self._aliases.get(module)
        if alias is None:
            parts = module.split(".")
            tails = ("_" + "_".join(parts[-count:]) for count in range(1, len(parts) + 1))
            taken = set(self._aliases.values())
            alias = self._aliases[module] = next(tail for tail in tails if tail not in taken)
        return f"{alias}.{name}"

    def __str__(self) -> str:
        lines = {module: f"from {module} import {', '.join(sorted(self._names[module]))}\n" for module in self._names}
        for module, alias in self._aliases.items():
            package, _, last = module.rpartition(".")
            lines[f"{module} "] = f"from {package} import {last} as {alias}\n"
        standard = [line for module, line in sorted(lines.items()) if module.split(".")[0] in _STANDARD]
        others = [line for module, line in sorted(lines.items()) if module.split(".")[0] not in _STANDARD]
        return "".join([*standard, *["\n"] * bool(standard and others), *others])


def docstring(text: str, indent: int) -> str:
    """A docstring of its own lines; "" for no text."""
    if not text.strip():
        return ""
    pad = " " * indent
    safe = text.strip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if "\n" not in safe and len(safe) + indent + 6 <= _WIDTH and not safe.endswith('"'):
        return f'{pad}"""{safe}"""\n'
    return textwrap.indent(f'"""{safe}\n"""\n', pad, lambda line: bool(line.strip()))


def entry(name: str, text: str) -> str:
    """One line of a docstring's list of fields, its further lines set in."""
    return f"{name}: " + " ".join(text.split()) if text else ""


def signature(name: str, parameters: Iterable[str], result: str, *, indent: int = 4, head: str = "def") -> str:
    """`def name(self, …) -> result:`, on one line if it fits, else with one parameter per line."""
    pad = " " * indent
    items = ["self", *parameters]
    line = f"{pad}{head} {name}({', '.join(items)}) -> {result}:"
    if len(line) + 4 <= _WIDTH:
        return line
    inner = "".join(f"{pad}    {item},\n" for item in items)
    return f"{pad}{head} {name}(\n{inner}{pad}) -> {result}:"
