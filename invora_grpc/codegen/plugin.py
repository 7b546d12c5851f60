"""protoc-gen-invora-python: a plugin for buf and protoc that makes a Python package of any schema.

The package holds the messages and grpc stubs, a catalog of all services, and typed clients. All of it is under one
name, so that the schema's own packages (`kernel`, `un`, …) do not litter site-packages. What comes out is a function of
the request and its options: no time, no path of the machine, no order of a set.

In buf.gen.yaml:

    version: v2
    plugins:
      - local: protoc-gen-invora-python
        out: gen
        strategy: all
        opt:
          - package=acme_api

With protoc: protoc --invora-python_out=package=acme_api:gen …

Options:
  package=NAME   the Python package, which may be within others: acme.api. Default: invora_api.
  parts=A+B      what to write, of messages, grpc and client: *_pb2.py with *_pb2.pyi and the folders of the package;
                 *_pb2_grpc.py; the catalog and the typed clients, which run on invora-grpc. Default: all three.
  origins=FILE   JSON with the module of the client that each file belongs to ("modules": {proto path: module}), and how
                 sure files and methods are ("default", "files", "methods"). Default: the module is the first word of
                 the proto package, and everything is published.
  protos=DIR     the same from a folder that holds origins.json and a folder with proto files for each module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2

from invora_grpc import __version__
from invora_grpc.catalog import COMPILED, service_of
from invora_grpc.codegen import (
    catalog_source,
    client_source,
    client_stubs,
    grpc_stubs,
    input_stubs,
    message_stubs,
    protoc,
)
from invora_grpc.codegen.catalog_source import ServiceRow
from invora_grpc.codegen.origins import Origins
from invora_grpc.codegen.packages import HEADER, TYPED, checked_name
from invora_grpc.codegen.schema import Schema
from invora_grpc.errors import ConfigError, InvoraError, closest
from invora_grpc.schema import index

PARTS: Final = ("messages", "grpc", "client")
"""What the plugin writes."""
_NAMES: Final = ("package", "parts", "origins", "protos")
_Answer = plugin_pb2.CodeGeneratorResponse
_FEATURES: Final = _Answer.FEATURE_PROTO3_OPTIONAL | _Answer.FEATURE_SUPPORTS_EDITIONS


@dataclass(frozen=True, slots=True)
class Options:
    """What a run was told."""

    package: str = COMPILED
    """The dotted name of the package."""
    parts: frozenset[str] = frozenset(PARTS)
    """Some of PARTS."""
    origins: Path | None = None
    protos: Path | None = None

    @classmethod
    def parse(cls, parameter: str) -> Options:
        """Read "name=value,name=value". Raises ConfigError naming the option."""
        given: dict[str, str] = {}
        for item in filter(None, parameter.split(",")):
            name, _, value = item.partition("=")
            if name not in _NAMES:
                near = closest(name, _NAMES) or _NAMES
                raise ConfigError("opt", item, f"did you mean {' or '.join(near)}?", "is no option of this plugin")
            if not value:
                raise ConfigError(name, value, f"write {name}=…", "has no value")
            if name in given:
                raise ConfigError(name, value, "give it once", f"is {given[name]!r} already")
            given[name] = value
        if "origins" in given and "protos" in given:
            raise ConfigError("protos", given["protos"], "give one of the two", "says the same as origins")
        paths = {name: Path(given[name]) for name in ("origins", "protos") if name in given}
        return cls(checked_name(given.get("package", COMPILED)), _parts(given.get("parts", "+".join(PARTS))), **paths)

    def known(self) -> Origins:
        """Origins and modules of the files. Raises ConfigError."""
        if self.protos is not None:
            return Origins.load(self.protos)
        return Origins.plain() if self.origins is None else Origins.read(self.origins)


def _parts(text: str) -> frozenset[str]:
    parts = text.split("+")
    for part in parts:
        if part not in PARTS:
            raise ConfigError("parts", part, f"write some of {', '.join(PARTS)} with + between", "is no part")
    return frozenset(parts)


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """Answer one request of buf or protoc. What the caller can put right comes back as the answer's error."""
    response = _Answer(
        supported_features=_FEATURES,
        minimum_edition=descriptor_pb2.EDITION_PROTO2,
        maximum_edition=descriptor_pb2.EDITION_2024,
    )
    try:
        outputs = _outputs(request, Options.parse(request.parameter))
    except InvoraError as error:
        response.error = str(error)
        return response
    for name in sorted(outputs):
        response.file.add(name=name, content=outputs[name])
    return response


def _outputs(request: plugin_pb2.CodeGeneratorRequest, options: Options) -> dict[str, str]:
    """Path → text of all that is generated."""
    wanted = sorted(request.file_to_generate)
    schema = Schema(request.proto_file, options.package, wanted)
    files = {file.name: file for file in request.proto_file}
    services = catalog_source.rows([files[name] for name in wanted], options.known())
    outputs = {}
    writers: Mapping[str, Callable[[], Mapping[str, str]]] = {
        "messages": lambda: _messages(schema),
        "grpc": lambda: _grpc(schema, services),
        "client": lambda: _client(schema, services),
    }
    for part, write in writers.items():
        if part in options.parts:
            outputs.update({path: HEADER + text for path, text in write().items()})
    if "messages" in options.parts:  # what all parts share is of one of them, so that two runs can write one package
        root = options.package.replace(".", "/")
        outputs[f"{root}/{TYPED}"] = ""
        outputs.update({f"{folder}/__init__.py": HEADER for folder in _folders(outputs, root)})
    return outputs


def _messages(schema: Schema) -> dict[str, str]:
    paths = {name: schema.paths[name] for name in schema.wanted}
    stubs = {f"{path}_pb2.pyi": message_stubs.render(schema, schema.file(name)) for name, path in paths.items()}
    return protoc.compiled(schema.files, paths) | stubs


def _grpc(schema: Schema, services: Sequence[ServiceRow]) -> dict[str, str]:
    by_file: dict[str, list[ServiceRow]] = {}
    for service in sorted(services, key=lambda service: service.name):
        by_file.setdefault(service.file, []).append(service)
    return {
        f"{schema.paths[name]}_pb2_grpc.py": grpc_stubs.render(schema, schema.file(name), rows)
        for name, rows in by_file.items()
    }


def _client(schema: Schema, services: Sequence[ServiceRow]) -> dict[str, str]:
    root = schema.package.replace(".", "/")
    outputs = {
        f"{root}/catalog.py": catalog_source.render(services, schema.renamed),
        f"{root}/index.txt": _index(schema, services),
    }
    if schema.package != COMPILED:  # whose clients are invora_grpc's own
        outputs[f"{root}/client.py"] = client_source.render(schema.package)
    return outputs | input_stubs.render(schema, services) | client_stubs.render(schema, services)


def _index(schema: Schema, services: Iterable[ServiceRow]) -> str:
    """The index of all that is generated, by which the command line describes it without protobuf."""
    files = [schema.file(name) for name in sorted(schema.wanted)]
    types = [one for file in files for one in index.types_of(file.message_types_by_name.values())]
    enums = [one for file in files for one in file.enum_types_by_name.values()]
    return index.render([service_of(*row) for row in services], [*types, *enums], schema.message, schema.comment, {})


def _folders(outputs: Iterable[str], root: str) -> list[str]:
    """The folders of the package. Those above it belong to whoever made them."""
    folders = {str(parent) for name in outputs for parent in PurePosixPath(name).parents}
    return sorted(folder for folder in folders if folder == root or folder.startswith(f"{root}/"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Speak the plugin protocol of protoc on standard input and output; 0 if there is an answer, errors included."""
    match list(sys.argv[1:] if arguments is None else arguments):
        case []:
            pass
        case ["--help" | "-h"]:
            print(__doc__, end="")
            return 0
        case ["--version"]:
            print(f"protoc-gen-invora-python {__version__}")
            return 0
        case [first, *_]:
            print(f"protoc-gen-invora-python: no argument {first!r} is known; see --help", file=sys.stderr)
            return 2
    if sys.stdin.isatty():
        print("protoc-gen-invora-python: buf or protoc starts this program; see --help", file=sys.stderr)
        return 2
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(generate(request).SerializeToString(deterministic=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
