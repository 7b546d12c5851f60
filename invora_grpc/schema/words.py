"""The words of .proto sources: names, numbers, defaults, blocks and comments, each as text that is safe to print.

What a name or a comment holds was chosen elsewhere: nothing here lets it become another statement, or reach a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

from google.protobuf import text_encoding
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from invora_grpc.errors import escaped
from invora_grpc.schema.options import quoted

__all__ = [
    "DOTTED",
    "Lines",
    "as_it_was",
    "block",
    "brackets",
    "comment",
    "dotted",
    "joined",
    "name_of",
    "pseudo_options",
    "range_of",
    "trailed",
]

Field = FieldDescriptorProto
Lines = list[str]

DOTTED: Final = re.compile(r"\.?[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
"""A full or relative name of a type."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER: Final = re.compile(r"-?(inf|nan|[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?)")


def pseudo_options(field: Field) -> Iterator[str]:
    """What stands between the options, and is none."""
    if field.HasField("default_value"):
        yield f"default = {_default(field)}"
    if field.HasField("json_name") and not field.extendee and field.json_name != _json_name(field.name):
        yield f"json_name = {quoted(field.json_name)}"


def _default(field: Field) -> str:
    text = field.default_value
    if field.type == Field.TYPE_BYTES:
        with suppress(ValueError):
            return quoted(text_encoding.CUnescape(text))
        return quoted(text)
    if field.type in (Field.TYPE_ENUM, Field.TYPE_BOOL):
        return name_of(text)
    return text if _NUMBER.fullmatch(text) and field.type != Field.TYPE_STRING else quoted(text)


def _json_name(name: str) -> str:
    """The name in JSON that a field has if it is given none."""
    return re.sub("_+(.?)", lambda match: match[1].upper(), name)


def name_of(text: str) -> str:
    """A name; in quotes if it is none, where no compiler takes it."""
    return text if _NAME.fullmatch(text) else quoted(text)


def dotted(text: str) -> str:
    """The same for one with dots."""
    return text if DOTTED.fullmatch(text) else quoted(text)


def range_of(first: int, last: int, largest: int) -> str:
    """A range of numbers, both ends included."""
    if first == last:
        return str(first)
    return f"{first} to {'max' if last == largest else last}"


def brackets(settings: Iterable[str]) -> str:
    """What stands in brackets behind a field."""
    found = ", ".join(settings)
    return f" [{found}]" if found else ""


def comment(notes: Iterable[str]) -> Lines:
    """Notes as comment lines."""
    return [f"// {escaped(note)}" for note in notes]


def as_it_was(text: str) -> Lines:
    """A comment of the source, as comment lines."""
    lines = text.removesuffix("\n").split("\n") if text else []
    return [f"//{escaped(line.expandtabs(4))}".rstrip() for line in lines]


def trailed(lines: Lines, said: Lines) -> Lines:
    """Lines with the comment that followed their statement, or the brace that opens their block."""
    if not said:
        return lines
    if lines[-1].endswith(";"):
        return [*lines[:-1], f"{lines[-1]}  {said[0]}"] if len(said) == 1 else lines + said
    for index, line in enumerate(lines):
        if line.endswith("{") and not line.startswith("//"):
            return [*lines[: index + 1], *(f"  {one}" for one in said), "", *lines[index + 1 :]]
    return lines + said


def block(head: str, content: Lines) -> Lines:
    """A statement with braces."""
    return [f"{head} {{", *(f"  {line}" if line else "" for line in content), "}"] if content else [f"{head} {{}}"]


def joined(items: Iterable[Lines], *, apart: bool = False) -> Lines:
    """The lines of all items, with an empty line beside those of more than one line, or (`apart`) between all."""
    found: Lines = []
    before = 0
    for lines in items:
        if found and lines and (apart or len(lines) > 1 or before > 1):
            found.append("")
        found += lines
        before = len(lines) or before
    return found
