"""What stubs are generated from, whatever it came from: descriptors, which of them to generate, and their modules.

Sources differ (folders of protos, images, a gateway's reflection, the registry); an `Input` does not say which it was,
so that all that follows is the same for all. Nothing here writes, and nothing here talks to a gateway.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError

from invora_grpc.catalog import catalog
from invora_grpc.codegen import buf
from invora_grpc.codegen.embedded import installed
from invora_grpc.codegen.googleapis import bundled, materialise
from invora_grpc.codegen.origins import Origins
from invora_grpc.errors import ConfigError, closest
from invora_grpc.schema.bounds import fields
from invora_grpc.schema.files import DescriptorError, ordered

if TYPE_CHECKING:
    from invora_grpc.schema.descriptors import Schema

__all__ = ["Input", "files_of", "from_files", "from_image", "from_protos", "from_schema", "known_origins"]

_LAYOUT: Final = (
    *(("invora/billing/", "billing"), ("invora/identity/", "identity"), ("invora/simple/", "simple")),
    *(("invora/", "invoicing"), ("kernel/", "common"), ("entity_localization/", "common")),
    *(("oasis/", "ubl"), ("un/unece/", "ubl"), ("org/etsi/", "ubl"), ("org/w3/", "ubl")),
)
"""Where Invora's own files are: the beginning of a proto path → its module. The first that fits counts."""
_OWN: Final = "invora/"
_GRPCS_OWN: Final = "grpc."
"""The services of gRPC itself (reflection, health), which no API consists of."""
_IMAGE_FILE: Final = 8042
"""The number of the field in which a buf image says more about a file than descriptors can."""
_BUNDLED: Final = "build/googleapis"
"""The module of a workspace that is made from the installed googleapis-common-protos."""


@dataclass(frozen=True, slots=True)
class Input:
    """All that a generation depends on. Equal inputs give equal bytes."""

    files: tuple[FileDescriptorProto, ...]
    """The files to generate and all that they import, imports before importers, else by name."""
    wanted: tuple[str, ...]
    """The proto paths to generate, sorted."""
    origins: Origins
    """The module of each file, and how sure files and RPCs are."""

    @property
    def foreign(self) -> bool:
        """Whether none of Invora's own files is among those to generate."""
        return not any(name.startswith(_OWN) for name in self.wanted)


# --- sources ------------------------------------------------------------------------------------------------------


def from_protos(folder: Path, modules: Sequence[str] = ()) -> Input:
    """The .proto sources in a folder: a module or workspace of buf, a folder below one, or just a folder.

    An origins.json in the folder says what the modules are; they are its subfolders then. Raises ConfigError, and
    BufError with the compiler's complaints.
    """
    if not folder.is_dir():
        raise ConfigError("proto", str(folder), "name a folder of .proto files", "is no folder")
    root = next((each for each in (folder, folder.absolute().parent) if (each / "buf.yaml").is_file()), None)
    files, targets = _by_protoc(folder) if root is None else _by_buf(root, folder)
    if not targets:
        foreign = root is not None and next(folder.rglob("*.proto"), None) is not None
        problem = f"is in no module of {root}/buf.yaml" if foreign else "holds no .proto file"
        raise ConfigError("proto", str(folder), "name a folder of .proto files", problem)
    own = (folder / "origins.json").is_file()
    return from_files(files, Origins.load(folder) if own else known_origins(files), modules, targets)


def from_image(path: Path, modules: Sequence[str] = ()) -> Input:
    """A buf image or a FileDescriptorSet in a file, as `buf build -o` and `protoc --descriptor_set_out` write them.

    Imports must be in it (`protoc --include_imports`). Raises ConfigError.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        hint = "name a buf image or FileDescriptorSet"
        raise ConfigError("image", str(path), hint, f"cannot be read: {error.strerror}") from None
    files = files_of(data, str(path))
    return from_files(files, known_origins(files), modules)


def from_schema(schema: Schema, modules: Sequence[str] = ()) -> Input:
    """What a gateway serves, as its reflection told: the services that it lists and all that they need.

    The services of gRPC itself are left out. Raises DescriptorError for a service that cannot be described: stubs that
    silently lack a service would be taken for the whole.
    """
    files = list(schema.files.files.values())
    listed = {name for name in schema.listed or schema.services if not name.startswith(_GRPCS_OWN)}
    for name, why in schema.problems.items():
        if name in listed and (not modules or _module_of(name) in modules):
            raise DescriptorError(name, f"cannot be generated: {why}", "choose modules without it with --module")
    services = [service for name, service in schema.services.items() if name in listed]
    if not services:
        raise DescriptorError(schema.source, "lists no services of an API")
    targets = {service.file for service in services}
    return from_files(files, known_origins(files), modules, targets)


def from_files(
    files: Iterable[FileDescriptorProto],
    origins: Origins,
    modules: Sequence[str] = (),
    targets: Iterable[str] | None = None,
) -> Input:
    """The input of these files. `targets`: the proto paths that it is about (default: all), `modules`: the modules to
    choose from them (default: all). What the chosen files import is generated with them, but for what is installed.

    Raises ConfigError for a module that there is none of, DescriptorError for imports that are missing or circular.
    """
    known = {file.name: file for file in files}
    about = sorted(known if targets is None else targets)
    of = {name: origins.module(file) for name, file in known.items()}
    have = sorted({of[name] for name in about if modules or installed(name) is None})
    for module in modules:
        if module not in have:
            near = closest(module, have, 1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(have)}"
            raise ConfigError("module", module, hint, "is no module of this source")
    chosen = [name for name in about if (of[name] in modules if modules else installed(name) is None)]
    order = _closure(known, chosen)
    wanted = sorted(name for name in order if name in chosen or installed(name) is None)
    if not wanted:
        raise ConfigError("source", None, "name one with files of your own", "has nothing to generate")
    said = Origins(origins.default, origins.files, origins.methods, {name: of.get(name, "") for name in order})
    return Input(tuple(order.values()), tuple(wanted), said)


# --- modules and origins ------------------------------------------------------------------------------------------


def known_origins(files: Iterable[FileDescriptorProto]) -> Origins:
    """What is known of files without an origins.json.

    Invora's own are in its modules and as sure as the compiled catalog says, for a gateway that serves a provisional
    RPC does not make its numbers published. Of all others, the descriptors at hand are the truth.
    """
    plain, paths = Origins.plain(), {file.name: file for file in files}
    if not any(name.startswith(_OWN) for name in paths):
        return Origins("published", {}, {}, {name: plain.module(file) for name, file in paths.items()})
    folders = {name: _laid_out(name) or plain.module(file) for name, file in paths.items()}
    services = [service for service in catalog() if service.file in paths]
    of_files = {service.file: service.origin for service in services if service.origin != "published"}
    of_methods = {
        method.path.lstrip("/"): method.origin
        for service in services
        for method in service.methods
        if method.origin != service.origin
    }
    return Origins("published", of_files, of_methods, folders)


def _module_of(service: str) -> str:
    """The module of a service of which nothing but its full name is known."""
    file = FileDescriptorProto(name=f"{service.replace('.', '/')}.proto", package=service.rpartition(".")[0])
    return known_origins([file]).module(file)


def _laid_out(name: str) -> str:
    return next((module for start, module in _LAYOUT if name.startswith(start)), "")


# --- descriptors --------------------------------------------------------------------------------------------------


def files_of(data: bytes, source: str = "image") -> list[FileDescriptorProto]:
    """The files in the bytes of a FileDescriptorSet or a buf image, with comments, without what only buf says.

    Raises DescriptorError.
    """
    try:
        files = [file for number, file in _parts(data) if number == 1]
        found = [FileDescriptorProto.FromString(_without_remarks(file)) for file in files]
    except (DecodeError, ValueError):
        raise DescriptorError(source, "is no FileDescriptorSet and no buf image") from None
    if not found:
        raise DescriptorError(source, "holds no descriptors")
    return found


def _parts(data: bytes) -> Iterable[tuple[int, bytes]]:
    for number, _, start, end in fields(data):
        yield number, data[start:end]


def _without_remarks(file: bytes) -> bytes:
    kept, before = bytearray(), 0
    for number, _, _, stop in fields(file):
        if number != _IMAGE_FILE:
            kept += file[before:stop]
        before = stop
    return bytes(kept)


def _closure(known: Mapping[str, FileDescriptorProto], chosen: Iterable[str]) -> dict[str, FileDescriptorProto]:
    """The chosen files and all that they import, in order. What is missing of Google's is taken as it is installed."""
    found: dict[str, FileDescriptorProto] = {}
    waiting = deque((name, "") for name in chosen)
    while waiting:
        name, importer = waiting.popleft()
        if name in found:
            continue
        file = known.get(name) or installed(name)
        if file is None:
            raise DescriptorError(importer, f"imports {name}, which is not in the source", "add it, with its imports")
        found[name] = file
        waiting.extend((one, name) for one in file.dependency)
    problems: dict[str, str] = {}
    order = ordered(dict(sorted(found.items())), problems)
    for name, why in problems.items():
        raise DescriptorError(name, why)
    return order


# --- compilers ----------------------------------------------------------------------------------------------------


def _by_buf(root: Path, folder: Path) -> tuple[list[FileDescriptorProto], list[str]]:
    """All files of a workspace of buf, and the paths of those in the folder."""
    if f"path: {_BUNDLED}\n" in (root / "buf.yaml").read_text("utf-8"):
        materialise(root / _BUNDLED)
    files = files_of(buf.run("build", "--as-file-descriptor-set", "-o", "-", cwd=root))
    within = os.path.relpath(folder.resolve(), root.resolve())
    listed = [json.loads(line) for line in buf.run("ls-files", "--format", "json", cwd=root).splitlines()]
    inside = [one["import_path"] for one in listed if within == "." or Path(one["path"]).is_relative_to(within)]
    return files, inside


def _by_protoc(folder: Path) -> tuple[list[FileDescriptorProto], list[str]]:
    """The files of a folder that imports start from, with what they import, and their paths."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.proto"))
    for name in names:
        if name.startswith(("-", "@")):
            raise ConfigError("proto", name, "rename it", "would be read as an option of the compiler")
    if not names:
        return [], []
    if importlib.util.find_spec("grpc_tools") is None:
        raise ConfigError("grpcio-tools", None, "pip install 'invora-grpc[codegen]'", "is not installed here")
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary, "descriptors.binpb")
        flags = ["-I.", *(f"-I{each}" for each in bundled()), "--include_imports", "--include_source_info"]
        command = [sys.executable, "-m", "grpc_tools.protoc", *flags, f"--descriptor_set_out={out}", *names]
        done = subprocess.run(command, check=False, capture_output=True, cwd=folder)
        if done.returncode != 0:
            raise buf.BufError("protoc", buf.complaints(done.stderr))
        return files_of(out.read_bytes()), names
