"""Descriptors out of generated modules, read from their text: nothing is imported, and no descriptor pool is touched.

Every `*_pb2.py` carries its file's descriptor as a literal. A package in a folder, at another commit, or in
site-packages is so read alike, whatever this process has imported. Comments and default JSON names are not in there.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError

from invora_grpc.codegen.packages import own_files
from invora_grpc.errors import ConfigError
from invora_grpc.schema.files import ordered

__all__ = ["catalog_rows", "descriptors_of", "installed", "with_installed"]

_LOADER: Final = "AddSerializedFile"
_SAFE: Final = "google/"
"""Below this, files are looked for among what is installed: googleapis-common-protos and protobuf itself."""


def descriptors_of(package: Path) -> list[FileDescriptorProto]:
    """The descriptors in the generated modules of a package's folder, imports first; none if there is no such folder.

    Installed files of Google's that they import come along. Raises ConfigError for a module that cannot be read.
    """
    found = {}
    for path in own_files(package, "*_pb2.py"):
        file = _embedded(path)
        if file is not None:
            found[file.name] = file
    return list(with_installed(found).values())


def with_installed(files: Mapping[str, FileDescriptorProto]) -> dict[str, FileDescriptorProto]:
    """The files, and what they import of Google's as it is installed, imports first.

    The installed ones are taken also where the files have others of the same name: they are what generated code uses.
    """
    found = {name: file for name, file in files.items() if installed(name) is None}
    waiting = [one for file in found.values() for one in file.dependency] + [
        name for name in files if name not in found
    ]
    while waiting:
        name = waiting.pop()
        if name not in found and (file := installed(name)) is not None:
            found[name] = file
            waiting.extend(file.dependency)
    return ordered(dict(sorted(found.items())), {})


def installed(name: str) -> FileDescriptorProto | None:
    """The file of this proto path as a generated module of google's that is installed has it; None if none has it."""
    if not name.startswith(_SAFE) or not name.endswith(".proto") or ".." in name:
        return None
    spec = importlib.util.find_spec("google")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder, name.removeprefix(_SAFE).removesuffix(".proto").replace("-", "_") + "_pb2.py")
        if path.is_file():
            return _embedded(path)
    return None


def catalog_rows(package: Path) -> tuple[tuple[Any, ...], ...]:
    """SERVICES of a generated package's catalog; empty if it has none. Raises ConfigError if it cannot be read."""
    for path in (package / "catalog.py", package / "catalog" / "__init__.py"):
        if not path.is_file():
            continue
        for node in _parsed(path).body:
            if not isinstance(node, ast.AnnAssign) or node.value is None:
                continue
            if isinstance(node.target, ast.Name) and node.target.id == "SERVICES":
                rows: tuple[tuple[Any, ...], ...] = ast.literal_eval(node.value)
                return rows
    return ()


def _embedded(path: Path) -> FileDescriptorProto | None:
    """The descriptor in one generated module; None if it has none."""
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == _LOADER:
            data = _literal(node.args)
            if data is None:
                continue
            try:
                return FileDescriptorProto.FromString(data)
            except DecodeError:
                raise ConfigError("package", str(path), "generate it anew", "holds a broken descriptor") from None
    return None


def _literal(arguments: Iterable[ast.expr]) -> bytes | None:
    first = next(iter(arguments), None)
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, bytes) else None


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError, OSError) as error:
        raise ConfigError("package", str(path), "generate it anew", f"cannot be read: {error}") from None
