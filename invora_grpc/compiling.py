"""Functions made to measure: source text written from a descriptor, compiled once, and then as fast as Python gets.

The room knows how to write such a function, not what it should do. Source text may hold nothing that a server chose but
field names, and those only as an attribute that was checked or as a quoted literal; every other value is bound by name.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable
from typing import Any


class Source:
    """The body of a function as it grows line by line."""

    def __init__(self, arguments: str = "m") -> None:
        self.names: dict[str, Any] = {"getattr": getattr, "__builtins__": {"ValueError": ValueError}}
        """The globals of the function. What is bound here may be replaced while the function is in use."""
        self._lines = [f"def made({arguments}):"]
        self._bound = 0

    def add(self, *lines: str, indent: int = 1) -> None:
        """Add lines at a depth, 1 for the function's own."""
        self._lines += [" " * indent + line for line in lines]

    def bind(self, value: object) -> str:
        """A name for the value, for use in lines."""
        self._bound += 1
        name = f"b{self._bound}"
        self.names[name] = value
        return name

    def function(self, name: str) -> Callable[..., Any]:
        """The function, compiled. `name` shows up in tracebacks only."""
        exec(compile("\n".join(self._lines), f"<{name}>", "exec"), self.names)
        made: Callable[..., Any] = self.names.pop("made")
        return made


def attribute(holder: str, name: str) -> str:
    """The expression for a field of what the variable `holder` holds, also for `from` and other Python keywords."""
    if name.isascii() and name.isidentifier() and not keyword.iskeyword(name):
        return f"{holder}.{name}"
    return f"getattr({holder}, {name!r})"
