"""What a schema was before: the descriptors that a report compares with, from a package, an image, sources or git.

Nothing is checked out, and nothing is imported: a commit's files are read out of an archive into a temporary folder.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from invora_grpc.codegen.embedded import catalog_rows, descriptors_of
from invora_grpc.codegen.inputs import Input, from_image, from_protos, known_origins
from invora_grpc.codegen.origins import Origins
from invora_grpc.codegen.packages import package_folder
from invora_grpc.errors import ConfigError, one_line
from invora_grpc.schema.files import DescriptorError

__all__ = ["Earlier", "earlier"]

_ROW_MODULE, _ROW_FILE, _ROW_ORIGIN, _ROW_METHODS = 1, 3, 4, 6
_METHOD_NAME, _METHOD_ORIGIN = 0, 7
_HINT: Final = "name an image, a folder or a git commit"


@dataclass(frozen=True, slots=True)
class Earlier:
    """A schema as it was."""

    files: Sequence[FileDescriptorProto]
    """Whole closures; none if there was nothing yet."""
    origins: Origins


def earlier(against: str | None, out: Path, package: str, now: Origins) -> Earlier:
    """What `against` names: an image, a folder (a generated package, one that holds the package, or .proto sources), or
    a git commit, at which the package in `out` is meant. None: the package in `out` as it is.

    `now` tells the modules of files that no catalog names. Raises ConfigError.
    """
    if against is None:
        return _packaged(package_folder(out, package), now)
    path = Path(against)
    if path.is_file():
        return _given(from_image, path)
    if path.is_dir():
        for folder in (package_folder(path, package), path):
            if next(folder.rglob("*_pb2.py"), None) is not None:
                return _packaged(folder, now)
        return _given(from_protos, path)
    return _committed(against, package_folder(out, package), now)


def _given(read: Callable[[Path], Input], path: Path) -> Earlier:
    try:
        source = read(path)
    except (ConfigError, DescriptorError) as error:
        raise ConfigError("against", str(path), _HINT, f"cannot be compared with: {error}") from None
    return Earlier(source.files, source.origins)


def _packaged(folder: Path, now: Origins) -> Earlier:
    """The schema of a generated package, its catalog's word on modules and origins included."""
    files = descriptors_of(folder)
    folders = dict(known_origins(files).folders)
    folders |= {name: now.folders[name] for name in folders if name in now.folders}
    of_files, of_methods = {}, {}
    for row in catalog_rows(folder):
        folders[row[_ROW_FILE]] = row[_ROW_MODULE]
        of_files[row[_ROW_FILE]] = row[_ROW_ORIGIN]
        for method in row[_ROW_METHODS]:
            of_methods[f"{row[0]}/{method[_METHOD_NAME]}"] = method[_METHOD_ORIGIN]
    return Earlier(files, Origins("published", of_files, of_methods, folders))


def _committed(commit: str, folder: Path, now: Origins) -> Earlier:
    """The schema of the package at a commit of the working directory's repository."""
    top = _git("rev-parse", "--show-toplevel")
    if top is None or _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}") is None:
        raise ConfigError("against", commit, _HINT, "is no file, no folder, and no commit here")
    root = Path(top.decode().strip()).resolve()
    if not folder.resolve().is_relative_to(root):
        raise ConfigError("against", commit, f"choose an --out below {root}", "is a commit, and --out is not in git")
    inside = folder.resolve().relative_to(root).as_posix()
    with tempfile.TemporaryDirectory() as name:
        archive = _git("archive", "--format=tar", commit, "--", inside, at=root)
        if archive is not None:  # None: the package was not there yet
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4
                tar.extractall(name)
        return _packaged(Path(name, inside), now)


def _git(*arguments: str, at: Path = Path()) -> bytes | None:
    """The output of git; None if it fails."""
    try:
        done = subprocess.run(["git", *arguments], check=False, capture_output=True, cwd=at)
    except OSError as error:
        raise ConfigError("git", None, "install it, or compare with a folder", one_line(str(error))) from None
    return done.stdout if done.returncode == 0 else None
