"""The run of protoc: proto files in, the text of `*_pb2.py` out, with every module in its place.

protoc derives the names of modules, and of all that is imported, from the paths of proto files. So it is given the
files under the paths that their modules shall have, and what it wrote gets the true paths back: a message is known by
its file's, and that must be the same as in everybody else's code. The room knows protoc's text and no stub of ours.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from google.protobuf import descriptor_pb2

from invora_grpc.errors import ConfigError, InvoraError, one_line
from invora_grpc.schema.bounds import fields

_File = descriptor_pb2.FileDescriptorProto
_PATHS: Mapping[int, Callable[[str], _File]] = {
    1: lambda path: _File(name=path),
    3: lambda path: _File(dependency=[path]),
    15: lambda path: _File(option_dependency=[path]),
}
"""The fields of a file that hold paths, by number."""
_FIRST_MESSAGE = 4
"""The number of the first field whose place a module tells; those with lower numbers come before it."""
_DESCRIPTOR = re.compile(r"AddSerializedFile\((b'.*')\)$", re.MULTILINE)
_OFFSET = re.compile(r"^(  _globals\['\w+'\]\._serialized_(?:start|end)=)(\d+)$", re.MULTILINE)


_OPTIONS_FIELD = 8
_FILE_OPTIONS = re.compile(
    r"^(  _globals\['DESCRIPTOR'\])\._loaded_options = None\n\1\._serialized_options = b'.*'\n", re.MULTILINE
)
"""Lines for Python without the C extension, as are the offsets."""
_HARMLESS = re.compile(r"[\w./+@ -]+")


class ProtocError(InvoraError):
    """protoc could not make code of a schema."""


def compiled(files: Sequence[_File], paths: Mapping[str, str]) -> dict[str, str]:
    """Path → text of the modules of the files that `paths` names: proto path → module path without `_pb2`.

    Raises ProtocError with protoc's own words, ConfigError if it is not installed.
    """
    new = {name: f"{path}.proto" for name, path in paths.items()}
    moved = descriptor_pb2.FileDescriptorSet(file=[_moved(file, new) for file in files])
    old = {path: name for name, path in new.items()}
    originals = {file.name: file for file in files}
    outputs: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        if new:
            _run(moved, sorted(new.values()), Path(folder))
        for name, path in sorted(paths.items()):
            text = Path(folder, f"{path}_pb2.py").read_text("utf-8")
            outputs[f"{path}_pb2.py"] = _restored(_sourced(text, new[name], name), originals[name], old)
    return outputs


def _moved(file: _File, new: Mapping[str, str]) -> _File:
    """The file, and what it imports, under other paths.

    Whoever asks for code has checked names and visibility; what they had to say about that has gone from descriptors
    by now (options with RETENTION_SOURCE), so that protoc would check by rules that were switched off.
    """
    moved = _File()
    moved.CopyFrom(file)
    moved.name = new.get(file.name, file.name)
    moved.dependency[:] = [new.get(name, name) for name in file.dependency]
    moved.option_dependency[:] = [new.get(name, name) for name in file.option_dependency]
    moved.ClearField("source_code_info")  # half of all bytes, and of no use for Python
    if moved.edition >= descriptor_pb2.EDITION_2024:
        features = moved.options.features
        features.enforce_naming_style = descriptor_pb2.FeatureSet.STYLE_LEGACY
        features.default_symbol_visibility = descriptor_pb2.FeatureSet.VisibilityFeature.EXPORT_ALL
    return moved


def _run(files: descriptor_pb2.FileDescriptorSet, wanted: list[str], folder: Path) -> None:
    try:
        from grpc_tools import protoc
    except ImportError:
        hint = "pip install 'invora-grpc[codegen]'"
        raise ConfigError("grpcio-tools", None, hint, "is not installed, and the code comes from its protoc") from None
    descriptors = folder / "descriptors.binpb"
    descriptors.write_bytes(files.SerializeToString())
    with _complaints() as said:
        status = protoc.main(["protoc", f"--descriptor_set_in={descriptors}", f"--python_out={folder}", *wanted])
        said.seek(0)
        words = one_line(said.read().decode("utf-8", "replace"))
    if status != 0:
        raise ProtocError(f"protoc: {words or f'ended with status {status}'}")


@contextlib.contextmanager
def _complaints() -> Iterator[IO[bytes]]:
    """What protoc, which is no Python, writes to standard error."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield file
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _sourced(text: str, path: str, name: str) -> str:
    """The text with a file's true path where it says what it was made from, if no letter of that can end a literal."""
    return text.replace(path, name, 2) if _HARMLESS.fullmatch(name) else text


def _restored(text: str, file: _File, old: Mapping[str, str]) -> str:
    """The text of a module whose descriptor says what the file says."""
    found = _DESCRIPTOR.search(text)
    if found is None:
        raise ProtocError("protoc: wrote a module without descriptor, which is none of this version of grpcio-tools")
    data, shift = _original(ast.literal_eval(found[1]), file, old)
    head, tail = text[: found.start(1)], text[found.end(1) :]
    if file.edition >= descriptor_pb2.EDITION_2024:
        tail = _FILE_OPTIONS.sub(lambda _: _options_lines(file.options.SerializeToString()), tail)
    return f"{head}{data!r}{_OFFSET.sub(lambda offset: f'{offset[1]}{int(offset[2]) + shift}', tail)}"


def _options_lines(options: bytes) -> str:
    if not options:
        return "  DESCRIPTOR._loaded_options = None\n"
    name = "  _globals['DESCRIPTOR']"
    return f"{name}._loaded_options = None\n{name}._serialized_options = {options!r}\n"


def _original(data: bytes, file: _File, old: Mapping[str, str]) -> tuple[bytes, int]:
    """A serialized file with its true paths and options, and by how many bytes its messages moved.

    Nothing else changes, not even the order: options that this process does not know stay as they are.
    """
    parts: list[bytes] = []
    before = shift = 0
    for number, _, start, stop in fields(data):
        whole = data[before:stop]
        if number in _PATHS:
            path = data[start:stop].decode("utf-8")
            whole = _PATHS[number](old.get(path, path)).SerializeToString()
        elif number == _OPTIONS_FIELD and file.edition >= descriptor_pb2.EDITION_2024:
            whole = _File(options=file.options if file.HasField("options") else None).SerializeToString()
        if number < _FIRST_MESSAGE:
            shift += len(whole) - (stop - before)
        parts.append(whole)
        before = stop
    return b"".join(parts), shift
