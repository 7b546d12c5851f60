"""Descriptors from .proto sources, by a compiler that is installed: grpcio-tools, protoc, or buf.

The compiler runs as a process of its own. What it makes is read like any other descriptor file, bounds included.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from invora_grpc.codegen.buf import search_path
from invora_grpc.codegen.googleapis import bundled
from invora_grpc.errors import one_line
from invora_grpc.schema.descriptors import Schema
from invora_grpc.schema.files import MAX_FILES, DescriptorError, FileSet, content_of

__all__ = ["bundled", "compiled", "described"]

_BUF: Final = ("buf.yaml", "buf.work.yaml")
_SECONDS: Final = 60.0


def compiled(paths: Sequence[str]) -> Schema:
    """The schema in .proto sources. Raises DescriptorError as `described` does."""
    return Schema(FileSet.parse(described(paths), ", ".join(paths)), source=", ".join(paths))


def described(paths: Sequence[str]) -> bytes:
    """The FileDescriptorSet, with comments, of .proto sources: of folders that imports start from, with all that is in
    them, and of files.

    A folder that is a module or workspace of buf is built by buf, if that is installed. Raises DescriptorError with the
    compiler's first complaint.
    """
    sources = ", ".join(paths)
    roots, files = _inputs(paths)
    buf = _tool("buf")
    if len(paths) == 1 and buf is not None and any((roots[0] / name).is_file() for name in _BUF):
        return _by_buf(buf, roots[0])
    protoc = _protoc()
    if protoc is not None:
        return _by_protoc(protoc, roots, files, sources)
    if buf is not None and len(roots) == 1:
        return _by_buf(buf, roots[0])
    raise DescriptorError(sources, "cannot be compiled here", "pip install grpcio-tools, or install protoc")


def _inputs(paths: Iterable[str]) -> tuple[list[Path], list[str]]:
    """The folders that imports start from, and the files to compile as they are called from there."""
    roots: dict[Path, None] = {}
    names: dict[str, None] = {}
    for given in paths:
        path = Path(given)
        if path.is_file():
            root, found = path.parent, [path]
        elif path.is_dir():
            root, found = path, sorted(path.rglob("*.proto"))
        else:
            raise DescriptorError(given, "is no file and no folder")
        if not found:
            raise DescriptorError(given, "holds no .proto file")
        roots[root] = None
        names.update((file.relative_to(root).as_posix(), None) for file in found)
    for name in names:
        if name.startswith(("-", "@")):
            raise DescriptorError(name, "would be read as an option of the compiler", "rename it")
    if len(names) > MAX_FILES:
        raise DescriptorError(", ".join(paths), f"are more than {MAX_FILES} files")
    return list(roots), list(names)


def _tool(name: str) -> str | None:
    """A program, of this interpreter's environment first."""
    return shutil.which(name, path=search_path())


def _protoc() -> list[str] | None:
    if importlib.util.find_spec("grpc_tools") is not None:
        return [sys.executable, "-m", "grpc_tools.protoc"]
    found = _tool("protoc")
    return [found] if found is not None else None


def _by_protoc(protoc: Sequence[str], roots: Iterable[Path], files: Sequence[str], sources: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "descriptors"
        imports = [f"-I{root}" for root in (*roots, *bundled())]
        wanted = [f"--descriptor_set_out={out}", "--include_imports", "--include_source_info"]
        _run([*protoc, *imports, *wanted, *files], sources)
        return content_of(out)


def _by_buf(buf: str, folder: Path) -> bytes:
    return _run([buf, "build", str(folder), "--as-file-descriptor-set", "-o", "-"], str(folder))


def _run(command: Sequence[str], sources: str) -> bytes:
    """The output of a compiler. Raises DescriptorError with its first complaint."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise DescriptorError(sources, f"was not compiled within {_SECONDS:g} s") from None
    except OSError as error:
        raise DescriptorError(sources, f"cannot be compiled: {error}") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if "warning:" not in line]
        told = next((line for line in lines if line.strip()), f"exit code {done.returncode}")
        hint = "imports are looked up from the folders that --proto names"
        raise DescriptorError(sources, f"does not compile: {one_line(told, 300)}", hint)
    return done.stdout
