"""What could stand at the place where somebody types: commands, options and their values, RPCs, symbols, fields.

Shells ask for it at every press of a key: nothing here may take time, fail loudly, or ask a gateway anything. Where a
gateway's own schema is known from earlier, it counts too.
"""

from __future__ import annotations

import os

from invora_grpc.cli.lookup import Index, compiled, served
from invora_grpc.cli.offered import OFFERED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

__all__ = ["candidates", "completed"]

VALUE: Final = "*"
"""In OFFERED: an option that takes any value. Choices are separated by "|", and "" is an option that takes none."""
_METHOD_AT: Final = {"call": 0, "watch": 0, "bench": 0, "record": 1, "template": 0}
"""Commands that are given an RPC: behind how many other arguments."""
_WITHOUT_FIELDS: Final = ("template",)
_PLAIN_MESSAGES: Final = ("kernel.DecimalValue", "kernel.StringList")
"""Messages that stand for one value. Those of google.* are in no index."""


def completed(words: list[str]) -> str:
    """One line per candidate for the last word: the candidate, a tab, and what it is."""
    return "\n".join(f"{word}\t{what}" if what else word for word, what in candidates(words))


def candidates(words: list[str]) -> list[tuple[str, str]]:
    """What the last word could become, each with words about it. A candidate that ends with ".", "=" or "[" goes on."""
    *before, current = words or [""]
    command, told, before = _command(before)
    if told is None:
        names = [(name.rpartition(" ")[2], one[0]) for name, one in OFFERED.items() if _is_below(name, command)]
        return _matching([*names, *([("--help", ""), ("--version", "")] if not command else [])], current)
    options = told[1]
    last = before[-1] if before else ""
    if options.get(last):
        return _matching([(choice, "") for choice in options[last].split("|") if choice != VALUE], current)
    if current.startswith("-"):
        name, separator, value = current.partition("=")
        if separator and options.get(name):
            choices = [(f"{name}={choice}", "") for choice in options[name].split("|") if choice != VALUE]
            return _matching(choices, f"{name}={value}")
        return _matching([(name, "") for name in [*options, "--help"]], current)
    return _positional(command, _arguments(before, options), current, _schemas(before))


def _command(words: list[str]) -> tuple[str, tuple[str, dict[str, str]] | None, list[str]]:
    """The command that is already typed, what it offers, and the words after it; None: it is not complete."""
    name = ""
    for number, word in enumerate(words):
        name = f"{name} {word}".lstrip()
        if not any(_is_below(other, name) for other in OFFERED):
            return name, OFFERED.get(name, ("", {})), words[number + 1 :]
    return name, None, []


def _is_below(name: str, group: str) -> bool:
    """Whether a command is one of this group, "" for the top."""
    return name.rpartition(" ")[0] == group


def _arguments(words: list[str], options: dict[str, str]) -> list[str]:
    """The words that are no options, and no values of options."""
    found, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-") and word != "-":
            skip = bool(options.get(word))
        else:
            found.append(word)
    return found


def _schemas(words: list[str]) -> list[Index]:
    """The gateway's own schema, if one is named and known, and the compiled one."""
    endpoint = os.environ.get("INVORA_ENDPOINT", "")
    for number, word in enumerate(words):
        if word == "--endpoint" and number + 1 < len(words):
            endpoint = words[number + 1]
        elif word.startswith("--endpoint="):
            endpoint = word[len("--endpoint=") :]
    own = served(endpoint) if endpoint else None
    return [compiled()] if own is None else [own, compiled()]


def _positional(command: str, given: list[str], current: str, schemas: list[Index]) -> list[tuple[str, str]]:
    at = _METHOD_AT.get(command)
    if at is not None and len(given) == at:
        return _methods(schemas, current)
    if at is not None and len(given) > at and command not in _WITHOUT_FIELDS:
        return _fields(schemas, given[at], current)
    if command == "describe" and not given:
        return _methods(schemas, current) + _types(schemas, current)
    if command == "ls" and not given:
        return _methods(schemas, current)
    if command == "completion" and not given:
        return _matching([("bash", ""), ("zsh", ""), ("fish", "")], current)
    return []


def _methods(schemas: list[Index], current: str) -> list[tuple[str, str]]:
    """RPCs, part by part: modules, areas, names. By what is written behind a client, else by shorter or full names."""
    rpcs = [(record.attribute, record.name) for index in schemas for record in index.records if record.kind == "rpc"]
    names = [attribute for attribute, _ in rpcs]
    if not any(name and name.startswith(current) for name in names):
        short = [name.partition(".")[2] for name in names]
        names += [name for name in short if short.count(name) == 1]
        names += [name for _, name in rpcs]
    return _parts([*names, *(name for attribute, name in rpcs if not attribute)], current)


def _types(schemas: list[Index], current: str) -> list[tuple[str, str]]:
    return _parts([name for index in schemas for name in index.type_names], current) if current else []


def _parts(names: Iterable[str], current: str) -> list[tuple[str, str]]:
    """Names that begin so, each up to its next dot."""
    found: dict[str, str] = {}
    for name in names:
        if name and name.startswith(current):
            end = name.find(".", len(current))
            found[name if end < 0 else name[: end + 1]] = ""
    return sorted(found.items())


def _matching(offers: Iterable[tuple[str, str]], current: str) -> list[tuple[str, str]]:
    return [offer for offer in offers if offer[0].startswith(current)]


# --- fields of requests -------------------------------------------------------------------------------------------


def _fields(schemas: list[Index], method: str, current: str) -> list[tuple[str, str]]:
    """Paths into the request of an RPC, and what stands after "=" where the type has only so many values."""
    for index in schemas:
        record = index.method(method)
        if record is not None:
            path, separator, value = current.partition("=")
            *steps, last = path.split(".")
            message = record.parts[5]
            for step in steps:
                message = _members(index, message).get(step.partition("[")[0], ("", ""))[1]
            prefix = "".join(f"{step}." for step in steps)
            fields = _members(index, message)
            if separator:
                kind = fields.get(last.partition("[")[0], ("", ""))[1]
                return [(f"{path}={one}", "") for one in _values(index, kind) if one.startswith(value)]
            offers = (_offer(index, prefix + name, *told) for name, told in fields.items())
            return _matching(offers, prefix + last) if "[" not in last else _after_item(index, current, fields)
    return []


def _offer(index: Index, path: str, label: str, kind: str) -> tuple[str, str]:
    inside = _is_message(index, kind)
    if label == "repeated":
        return f"{path}[0]{'.' if inside else '='}", f"{label} {kind}"
    return f"{path}{'.' if inside else '='}", f"{label} {kind}".lstrip()


def _after_item(index: Index, current: str, fields: dict[str, tuple[str, str]]) -> list[tuple[str, str]]:
    """Behind "lines[3]": the dot or the equals sign."""
    name, _, rest = current.rpartition(".")[2].partition("[")
    if name not in fields or not rest.endswith("]"):
        return []
    return [(f"{current}{'.' if _is_message(index, fields[name][1]) else '='}", fields[name][1])]


def _is_message(index: Index, kind: str) -> bool:
    record = index.type(kind) if kind not in _PLAIN_MESSAGES else None
    return record is not None and record.kind == "message"


def _members(index: Index, message: str) -> dict[str, tuple[str, str]]:
    """Field → label and type."""
    record = index.type(message) if message else None
    found = {}
    for line in record.lines if record is not None and record.kind == "message" else []:
        head, equals, _ = line.strip().partition(" = ")
        if equals and not head.startswith(("//", "map<")):
            *label, kind, name = head.split(" ")
            found[name] = ("".join(label), kind)
    return found


def _values(index: Index, kind: str) -> list[str]:
    if kind == "bool":
        return ["true", "false"]
    record = index.type(kind) if kind else None
    if record is None or record.kind != "enum":
        return []
    names = [line.split()[0] for line in record.lines if " = " in line and not line.strip().startswith("//")]
    return _short(record.name.rpartition(".")[2], names)


def _short(enum: str, names: list[str]) -> list[str]:
    """The short names of an enum's values: without its own name in capitals; else as they are."""
    own = ""
    for number, char in enumerate(enum):
        lower_before = number and not enum[number - 1].isupper()
        lower_after = number and enum[number + 1 : number + 2].islower()
        own += "_" + char if char.isupper() and (lower_before or lower_after) else char
    prefix = own.upper() + "_"
    return [name.removeprefix(prefix) for name in names] if all(name.startswith(prefix) for name in names) else names
