"""What `buf breaking` says about two versions, each finding brought to the thing that it is about.

buf tells places as lines of a source. The images that it is given here have lines of their own, one for each element,
so that a line says exactly which element is meant. What its findings amount to is for `changes` to say.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2

from invora_grpc.codegen import buf
from invora_grpc.errors import one_line
from invora_grpc.schema.files import camel_case

__all__ = ["Finding", "findings"]

_CONFIG: Final = json.dumps({"version": "v2", "breaking": {"use": ["FILE", "WIRE_JSON", "WIRE"]}})
_FOUND: Final = 100
"""buf's exit code if something breaks."""
_IS_IMPORT: Final = b"\xd2\xf6\x03\x02\x08\x01"
"""The extension of an image's file (8042) that says that it is there for others only."""
_NAMED: Final = (
    "message_type",
    "nested_type",
    "field",
    "extension",
    "enum_type",
    "value",
    "oneof_decl",
    "service",
    "method",
)
"""Parts of a descriptor that have names of their own."""
_GONE: Final = re.compile(
    r'Previously present (?:field "\d+" with name|RPC|oneof|message|enum value|enum|service|extension|file) "([^"]+)"'
)

_RPC: Final = re.compile(r'RPC "([^"]+)" on service "([^"]+)" changed')

File = descriptor_pb2.FileDescriptorProto


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that buf objects to."""

    rule: str
    """E.g. FIELD_SAME_TYPE."""
    message: str
    """What buf says, in one line."""
    file: str
    """The file after; "" if buf names none."""
    symbol: str
    """Full name of the element after that it is about, or that lacks something; the file's path if it is a file."""
    gone: str
    """What is missing in it, as buf calls it; "" if nothing is."""


def findings(before: Sequence[File], after: Sequence[File], skipped: Iterable[str]) -> list[Finding]:
    """All that buf finds breaking by the rules of FILE, WIRE_JSON and WIRE. `skipped`: files not to compare.

    Both sides with all that they import. Raises ConfigError if buf is not installed, BufError if it cannot read them.
    """
    names = _json_names((*after, *before))
    sides = [_named(file, names) for file in before], [_named(file, names) for file in after]
    targets = _targets(*sides, set(skipped))
    if not targets[0] or not after:
        return []
    owners: dict[str, list[str]] = {}
    old = [file if file.name in targets[0] else _import(file) for file in sides[0]]
    new = [_located(file, owners) if file.name in targets[1] else _import(file) for file in sides[1]]
    images = [descriptor_pb2.FileDescriptorSet(file=files).SerializeToString() for files in (old, new)]
    return [_finding(json.loads(line), owners) for line in _run(*images).splitlines() if line]


def _run(before: bytes, after: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, "before.binpb"), Path(folder, "after.binpb")]
        for path, content in zip(paths, (before, after), strict=True):
            path.write_bytes(content)
        options = ("--config", _CONFIG, "--error-format", "json", "--exclude-imports")
        return buf.run(
            "breaking", paths[1].name, "--against", paths[0].name, *options, cwd=Path(folder), accepted=(0, _FOUND)
        )


def _targets(before: Iterable[File], after: Iterable[File], skipped: set[str]) -> tuple[set[str], set[str]]:
    """The files of each side that buf is to look at: those that are not the same on both."""
    contents = [{file.name: file.SerializeToString(deterministic=True) for file in side} for side in (before, after)]
    same = {name for name, content in contents[0].items() if contents[1].get(name) == content}
    return contents[0].keys() - same - skipped, contents[1].keys() - same - skipped


def _named(file: File, json_names: Mapping[str, str]) -> File:
    """The file without comments, and with all JSON names."""
    found = File()
    found.CopyFrom(file)
    found.ClearField("source_code_info")
    for full, field in _fields(found):
        if not field.HasField("json_name"):
            field.json_name = json_names.get(full) or camel_case(field.name)
    return found


def _import(file: File) -> File:
    return File.FromString(file.SerializeToString() + _IS_IMPORT)


# --- places -------------------------------------------------------------------------------------------------------


def _located(file: File, owners: dict[str, list[str]]) -> File:
    """The file with a line of its own for each element; `owners`: path → line → element."""
    lines = owners[file.name] = []
    places = [*_elements(file, (), file.name, file.package, lines)]
    for path, line in places:
        file.source_code_info.location.add(path=path, span=(line, 0, 1))
    return file


def _elements(
    message: Any, path: tuple[int, ...], symbol: str, prefix: str, lines: list[str]
) -> Iterator[tuple[tuple[int, ...], int]]:
    """The path of everything in a descriptor, and the line of the element that it belongs to."""
    line = len(lines)
    lines.append(symbol)
    yield path, line
    yield from _inside(message, path, prefix, line, lines)


def _inside(
    message: Any, path: tuple[int, ...], prefix: str, line: int, lines: list[str]
) -> Iterator[tuple[tuple[int, ...], int]]:
    for field, value in message.ListFields():
        if field.name == "source_code_info":
            continue
        at = (*path, field.number)
        for index, one in enumerate(value if field.is_repeated else [value]):
            place = (*at, index) if field.is_repeated else at
            if field.name in _NAMED and field.message_type is not None:
                full = f"{prefix}{'/' if field.name == 'method' else '.'}{one.name}".lstrip(".")
                yield from _elements(one, place, full, full, lines)
            elif field.message_type is not None:
                yield place, line
                yield from _inside(one, place, prefix, line, lines)
            else:
                yield place, line


def _fields(file: File) -> Iterator[tuple[str, descriptor_pb2.FieldDescriptorProto]]:
    """All fields of messages, by full name."""
    waiting = [(f"{file.package}.{one.name}".lstrip("."), one) for one in file.message_type]
    while waiting:
        full, message = waiting.pop()
        waiting += [(f"{full}.{one.name}", one) for one in message.nested_type]
        for field in message.field:
            yield f"{full}.{field.name}", field


def _json_names(files: Iterable[File]) -> dict[str, str]:
    """Name in JSON of each field, where any side says it: generated code does not."""
    return {full: field.json_name for file in files for full, field in _fields(file) if field.HasField("json_name")}


def _finding(said: Mapping[str, Any], owners: Mapping[str, list[str]]) -> Finding:
    file = str(said.get("path", ""))
    lines = owners.get(file, [])
    line = int(said.get("start_line", 1)) - 1
    message = one_line(str(said["message"]), 500)
    gone = _GONE.match(message)
    symbol = lines[line] if 0 <= line < len(lines) else file
    rpc = _RPC.match(message)
    if rpc is not None and symbol == file:  # where an option is not set any more, buf knows no line
        symbol = next((one for one in lines if f".{one}".endswith(f".{rpc[2]}/{rpc[1]}")), file)
    return Finding(str(said["type"]), message, file, symbol, gone[1] if gone else "")
