"""From an input to a package of generated code in a folder, and the question whether one is still current.

Everything goes one way: the input becomes a buf image, `buf generate` runs our plugin over it in a folder of its own,
and only what differs is written. The result depends on the input, the package's name and the versions of buf and
grpcio-tools; not on paths, on the Python version, or on what is in the folder. Files that were not generated are never
overwritten or deleted.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

import invora_grpc
from invora_grpc.catalog import COMPILED, python_path
from invora_grpc.codegen import buf
from invora_grpc.codegen.inputs import Input
from invora_grpc.codegen.packages import checked_name, is_generated, own_files, package_folder
from invora_grpc.errors import ConfigError

__all__ = ["Written", "check_package", "generated", "install", "stale"]

_STAGE: Final = ".invora-gen-"
"""How the folder begins that new files are first written to."""
_TAIL: Final = re.compile(r"_(pb2(_grpc)?|dicts|client)\.pyi?$")
"""What a generated file's name has behind the name of its proto file."""
_IS_IMPORT: Final = b"\xd2\xf6\x03\x02\x08\x01"
"""A file's field 8042, in which a buf image says of it that it is only imported: `{1: true}`."""


@dataclass(frozen=True, slots=True)
class Written:
    """What installing a package did, in numbers of files."""

    written: int
    removed: int
    unchanged: int


@contextmanager
def generated(source: Input, package: str) -> Iterator[Path]:
    """The package as generated now, below a temporary folder that goes with the context.

    Raises ConfigError, and BufError if buf or the plugin fails.
    """
    check_package(source, package)
    with tempfile.TemporaryDirectory(prefix="invora-gen-") as name:
        folder = Path(name)
        (folder / "image.binpb").write_bytes(_image(source))
        (folder / "origins.json").write_text(source.origins.text(), "utf-8")
        try:
            buf.run("generate", "image.binpb", "--template", _template(package), cwd=folder)
        except buf.BufError as error:
            raise buf.BufError(error.command, tuple(map(_without_command, error.complaints))) from None
        yield folder / "out"


def install(fresh: Path, out: Path, package: str) -> Written:
    """Make the package below `out` what it is below `fresh`. Equal files stay as they are, times included.

    All that is new is written beside first and then put in place, so that an end on the way leaves no half of a file;
    of several runs, one installs at a time. Raises ConfigError, and changes nothing, if a file is in the way that was
    not generated, or if the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _alone(out):
            return _install(fresh, out, package)
    except OSError as error:
        hint, place = "name a folder that can be written with --out", str(error.filename2 or error.filename or out)
        raise ConfigError("out", place, hint, f"cannot be written: {error.strerror or error}") from None


def _install(fresh: Path, out: Path, package: str) -> Written:
    new, old = _files(fresh, package), _files(out, package)
    changed = {name: path for name, path in new.items() if not _equal(path, out / name)}
    for name in changed:
        if _is_in_the_way(out / name):
            raise ConfigError("out", str(out / name), "move it away, or choose another --package", "was not generated")
    surplus = [path for name, path in old.items() if name not in new and is_generated(path)]
    if changed:
        with tempfile.TemporaryDirectory(prefix=_STAGE, dir=out) as stage:
            _replace(changed, Path(stage), out)
    for path in surplus:
        path.unlink()
        _prune(path.parent, out)
    return Written(len(changed), len(surplus), len(new) - len(changed))


def _replace(files: Mapping[str, Path], stage: Path, out: Path) -> None:
    """Put the files below `out`, after everything that can fail has been done below `stage`."""
    for name, path in files.items():
        for folder in (stage, out):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, stage / name)
    for name in files:
        (stage / name).replace(out / name)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One run at a time, where the system and the folder's file system know such locks. What a run left that was killed
    goes."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    folder = os.open(out, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
            for left in out.glob(f"{_STAGE}*"):
                shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(folder)


def stale(fresh: Path, out: Path, source: Input, package: str) -> Iterator[str]:
    """Say which files below `out` differ from those below `fresh`, one line each, with the proto that each is of.

    What was not generated and is not in the way is not named: generating would leave it as it is.
    """
    origin = {python_path(name, package): name for name in source.wanted}
    new, old = _files(fresh, package), _files(out, package)
    for name in sorted(new.keys() | old.keys()):
        proto = origin.get(_TAIL.sub("", name))
        told = f"{out / name}" + (f" (from {proto})" if proto else "")
        if name not in old:
            yield f"missing  {told}"
        elif name not in new:
            if is_generated(old[name]):
                yield f"surplus  {told}: nothing generates it"
        elif not _equal(new[name], old[name]):
            yield f"stale    {told}"


def check_package(source: Input, package: str) -> None:
    """Raises ConfigError if the package's name is none, or that of Invora's own stubs for the schema of others."""
    if checked_name(package) == COMPILED and source.foreign:
        raise ConfigError("package", package, "give yours a name with --package", "is that of Invora's own stubs")


# --- what buf is given --------------------------------------------------------------------------------------------


def _image(source: Input) -> bytes:
    wanted, files = set(source.wanted), []
    for file in source.files:
        one = FileDescriptorProto.FromString(file.SerializeToString(deterministic=True))
        if file.name not in wanted:
            one.MergeFromString(_IS_IMPORT)
        files.append(one)
    return FileDescriptorSet(file=files).SerializeToString(deterministic=True)


def _without_command(line: str) -> str:
    """A complaint of buf's without the command line by which the plugin was started here."""
    return line.replace(f"plugin {' '.join(_plugin())}: ", "")


def _plugin() -> list[str]:
    """The command that runs the plugin: in this interpreter, and with this package wherever it is."""
    home = str(Path(invora_grpc.__file__).parent.parent)
    code = f"import sys; sys.path.append({home!r}); from invora_grpc.codegen.plugin import main; sys.exit(main())"
    return [sys.executable, "-c", code]


def _template(package: str) -> str:
    """A buf.gen.yaml.

    buf looks at the template as YAML, of which JSON is a part.
    """
    plugin = {
        "local": _plugin(),
        "out": "out",
        "strategy": "all",
        "opt": [f"package={package}", "origins=origins.json"],
    }
    return json.dumps({"version": "v2", "plugins": [plugin]})


# --- files --------------------------------------------------------------------------------------------------------


def _files(root: Path, package: str) -> dict[str, Path]:
    """The files of a package by their path below `root`, without what Python caches."""
    return {path.relative_to(root).as_posix(): path for path in own_files(package_folder(root, package))}


def _equal(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def _is_in_the_way(path: Path) -> bool:
    """Whether something is where a generated file goes that would be lost."""
    return path.is_dir() or (path.is_file() and path.stat().st_size > 0 and not is_generated(path))


def _prune(folder: Path, root: Path) -> None:
    """Remove a folder, and those above it up to `root`, as long as nothing is left in them but what Python caches."""
    while folder != root and all(one.name == "__pycache__" for one in folder.iterdir()):
        for cached in (folder / "__pycache__").glob("*.pyc"):
            cached.unlink()
        for one in folder.iterdir():
            one.rmdir()
        folder.rmdir()
        folder = folder.parent
