"""YAML in and out, with the types of JSON and nothing more. PyYAML comes with the extra `cli`.

Plain PyYAML would take `no` for false, `12:30` for 750, `010` for 8, dates for objects, and 20.10 for a binary float,
which is not twenty and a tenth. Here they stay text, and numbers with a point stay exact (YAML 1.2, 10.3, core schema).
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

import yaml

from invora_grpc.errors import RequestError

__all__ = ["UNSAFE", "documents", "dumped", "marks"]

UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
"""Characters that no terminal should get to see raw: controls, and the marks that reorder text."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the types of JSON."""


class _Dumper(yaml.SafeDumper):
    """SafeDumper without aliases, and with lists under their key set in."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)


def _number(loader: Any, node: Any) -> Any:
    text = loader.construct_scalar(node)
    return Decimal(text)


_TYPES: Final = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
)
"""Tag, what has it, and how that begins: what is read as something else than text."""


def _text(dumper: Any, text: str) -> Any:
    """Text in quotes where it would be read as something else, e.g. the invoice number 12E5."""
    other = any(re.fullmatch(pattern, text) for _, pattern, _ in _TYPES)
    style = '"' if UNSAFE.search(text) else "'" if other else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _TYPES:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)
_Dumper.add_representer(str, _text)


def documents(text: str, source: str) -> list[Any]:
    """The documents of a YAML text. Raises RequestError with line and column."""
    try:
        return list(yaml.load_all(text, _Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "the beginning"
        raise RequestError(source, text[:40], f"correct the YAML at {place}", f"is no YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise RequestError(source, text[:40], "correct the YAML", f"is no YAML: {error}") from None
    except RecursionError:
        raise RequestError(source, text[:40], "nest it less deeply", "is nested too deeply") from None


def marks(text: str) -> Any:
    """The first document as PyYAML's nodes, which know their lines; None if there is none that can be read."""
    try:
        return next(iter(yaml.compose_all(text, _Loader)), None)
    except (yaml.YAMLError, ValueError):
        return None


def dumped(value: Any) -> str:
    """A JSON value as YAML, ending with a line break. What a terminal should not see raw is escaped."""
    text = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=120)
    return UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text.removesuffix("...\n"))
