"""Pieces of stub text: imports under short names, docstrings, blocks of parameters.

Nothing here knows what is written about; the same calls in the same order give the same text.
"""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Collection, Iterable
from functools import cache

_WIDTH = 120
_STANDARD = ("abc", "builtins", "collections", "datetime", "decimal", "typing", "uuid")


def free(name: str, taken: Collection[str]) -> str:
    """The name, with as many underscores behind it as it takes to be no other's."""
    while name in taken:
        name += "_"
    return name


@cache
def is_importable(module: str) -> bool:
    """Whether an import statement can name the module."""
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in module.split("."))


class Imports:
    """The imports of one stub, gathered while its text is written."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        """`taken`: what the stub itself names, at its top or in a class; what is imported is then called otherwise."""
        self._taken = set(taken)
        self._names: dict[tuple[str, str], str] = {}
        self._aliases: dict[str, str] = {}

    def name(self, module: str, name: str) -> str:
        """A name imported from a module, as it is if the stub has no such name itself."""
        known = self._names.get((module, name))
        if known is None:
            wanted = f"_{name}" if name in self._taken else name
            known = self._names[module, name] = free(wanted, self._taken | {*self._names.values()})
        return known

    def builtin(self, name: str) -> str:
        """A name that needs no import, unless the stub has the same one."""
        return self.member("builtins", name) if name in self._taken else name

    def member(self, module: str, name: str) -> str:
        """A member of a module that is imported."""
        return f"{self.alias(module)}.{name}"

    def alias(self, module: str) -> str:
        """A module, imported under the shortest tail of its path that is still free."""
        alias = self._aliases.get(module)
        if alias is None:
            parts = module.split(".")
            tails = ["_" + "_".join(parts[-count:]) for count in range(1, len(parts) + 1)]
            taken = {*self._aliases.values(), *self._taken}
            alias = next((tail for tail in tails if tail not in taken), None) or free(tails[-1], taken)
            self._aliases[module] = alias
        return alias

    def __str__(self) -> str:
        members: dict[str, list[str]] = {}
        for (module, name), alias in sorted(self._names.items()):
            members.setdefault(module, []).append(name if alias == name else f"{name} as {alias}")
        lines = {module: f"from {module} import {', '.join(names)}\n" for module, names in members.items()}
        for module, alias in self._aliases.items():
            package, _, last = module.rpartition(".")
            lines[f"{module} "] = f"{f'from {package} ' * bool(package)}import {last} as {alias}\n"
        standard = [line for module, line in sorted(lines.items()) if module.strip().split(".")[0] in _STANDARD]
        others = [line for module, line in sorted(lines.items()) if module.strip().split(".")[0] not in _STANDARD]
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
    given = list(parameters)
    items = [free_self(item.partition(":")[0] for item in given), *given]
    line = f"{pad}{head} {name}({', '.join(items)}) -> {result}:"
    if len(line) + 4 <= _WIDTH:
        return line
    inner = "".join(f"{pad}    {item},\n" for item in items)
    return f"{pad}{head} {name}(\n{inner}{pad}) -> {result}:"


def free_self(names: Iterable[str]) -> str:
    """What a method's first parameter is called beside parameters of these names: `self`, or `_self`."""
    taken = set(names)
    return free("self" if "self" not in taken else "_self", taken)
