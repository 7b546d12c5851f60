"""Schemas that nobody here wrote, for the plugin: Google's APIs, gRPC's own services, and protobuf's tests of itself.

The first two come out of installed packages. protobuf's unittest and conformance protos come out of the source archive
of grpcio-tools, which `make` fetches; its hash is the one in requirements.txt.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import google.protobuf
import grpc_tools
import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).parent.parent
ARCHIVE = ROOT / "build" / "protos" / f"grpcio_tools-{importlib.metadata.version('grpcio-tools')}.tar.gz"
GRPC = ("grpc_health.v1.health_pb2", "grpc_reflection.v1alpha.reflection_pb2", "grpc_channelz.v1.channelz_pb2")
UNSTABLE = re.compile(r"test_protos/|/test_custom_options\.proto|weak|ruby|benchmark|invalid_features")
"""Files in protobuf's folders that protoc refuses without special switches, or that contradict others."""


@dataclass(frozen=True)
class Others:
    """One set of proto files."""

    name: str
    files: tuple[FileDescriptorProto, ...]
    """With all that they import, each after what it imports."""
    wanted: tuple[str, ...]
    """Those to generate."""
    plain: Path
    """The folder of what plain protoc makes of them."""


def grpc_schemas(folder: Path) -> Others:
    """The services that every gRPC server may have: health, reflection, channelz. Their packages bring no sources."""
    found: dict[str, FileDescriptorProto] = {}
    wanted = [import_module(name).DESCRIPTOR for name in GRPC]
    for file in wanted:
        _closure(file, found)
    names = tuple(file.name for file in wanted)
    (folder / "in.binpb").write_bytes(FileDescriptorSet(file=found.values()).SerializeToString())
    return _described("grpc_api", folder, [f"--descriptor_set_in={folder / 'in.binpb'}"], names)


def _closure(file: FileDescriptor, found: dict[str, FileDescriptorProto]) -> None:
    if file.name not in found:
        for other in file.dependencies:
            _closure(other, found)
        found[file.name] = FileDescriptorProto.FromString(file.serialized_pb)


def google_apis(folder: Path) -> Others:
    """All of googleapis-common-protos."""
    listed = importlib.metadata.files("googleapis-common-protos") or []
    protos = sorted(file for file in listed if file.suffix == ".proto")
    root = Path(str(protos[0].locate())).parents[len(protos[0].parts) - 1]
    return _described("google_api", folder, _places(root), [file.as_posix() for file in protos])


def protobuf_tests(folder: Path) -> Others:
    """The unittest and conformance protos: proto2, proto3 and editions up to 2024."""
    source = _unpacked(folder, r"third_party/protobuf/src/.*\.proto")
    names = [name for name in _protos(source, "google") if not UNSTABLE.search(name) and not _is_installed(name)]
    return _described("protobuf_api", folder, _places(source), names)


def protobuf_services(folder: Path) -> tuple[list[FileDescriptorProto], list[str]]:
    """The services in protobuf's unittest protos: all files that they need, and those to generate."""
    source, out = _unpacked(folder, r"third_party/protobuf/src/google/protobuf/unittest.*\.proto"), folder / "services"
    wanted = [f"google/protobuf/{name}.proto" for name in ("unittest", "unittest_no_generic_services")]
    command = ["protoc", *_places(source), "--include_imports", f"--descriptor_set_out={out}", *wanted]
    assert protoc.main(command) == 0
    files = list(FileDescriptorSet.FromString(out.read_bytes()).file)
    return files, [file.name for file in files if not _is_installed(file.name)]


def java_tests(folder: Path) -> Others:
    """The protos that test protobuf's generators for Java and Kotlin, with names that are evil there, and upb."""
    whole = _unpacked(folder, r"third_party/protobuf/(src|java|upb)/.*\.proto").parent
    roots = [whole / part / "src/test/proto" for part in ("java/core", "java/kotlin", "java/util")]
    names = [*(name for root in roots for name in _protos(root)), *_protos(whole, "upb")]
    names = [name for name in names if not UNSTABLE.search(name)]
    return _described("java_api", folder, _places(whole / "src", *roots, whole), names)


def _is_installed(proto: str) -> bool:
    """Whether protobuf itself brings the module, so that nobody generates it."""
    module = proto.removeprefix("google/protobuf/").removesuffix(".proto") + "_pb2.py"
    return proto.startswith("google/protobuf/") and (Path(google.protobuf.__file__).parent / module).exists()


def _places(*roots: Path) -> list[str]:
    return [f"-I{root}" for root in (*roots, Path(grpc_tools.__file__).parent / "_proto")]


def _protos(root: Path, below: str = "") -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in (root / below).rglob("*.proto"))


def _unpacked(folder: Path, wanted: str) -> Path:
    """The folder `src` of protobuf, out of the archive."""
    if not ARCHIVE.exists():
        missing = f"{ARCHIVE.relative_to(ROOT)} is not there: `make {ARCHIVE.parent.relative_to(ROOT)}` fetches it"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    digest = hashlib.sha256(ARCHIVE.read_bytes()).hexdigest()
    assert f"--hash=sha256:{digest}" in (ROOT / "requirements.txt").read_text(), f"{ARCHIVE.name} is another file"
    with tarfile.open(ARCHIVE) as archive:
        top = archive.getnames()[0].partition("/")[0]
        members = [one for one in archive.getmembers() if re.fullmatch(f"{re.escape(top)}/{wanted}", one.name)]
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4
        archive.extractall(folder, members)
    return folder / top / "third_party/protobuf/src"


def _described(name: str, folder: Path, sources: Sequence[str], protos: Sequence[str]) -> Others:
    out, plain = folder / "out.binpb", folder / "plain"
    plain.mkdir()
    options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={out}"]
    assert protoc.main(["protoc", *sources, *options, *protos]) == 0
    files = tuple(FileDescriptorSet.FromString(out.read_bytes()).file)
    wanted = [file.name for file in files if file.name in protos or not _is_installed(file.name)]
    assert protoc.main(["protoc", *sources, f"--python_out={plain}", *wanted]) == 0
    return Others(name, files, tuple(wanted), plain)
