"""The source text of the catalog: services and methods as literals that load without protobuf."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from google.protobuf import descriptor_pb2

from invora_grpc.catalog import RPC_NAMES_TAKEN, attribute
from invora_grpc.codegen.origins import Origins
from invora_grpc.codegen.stub_text import free
from invora_grpc.schema.annotations import http_rule, scope
from invora_grpc.schema.comments import comment

_PREAMBLE = '''"""Every service and method of the schema, as literals.

SERVICES holds (service, module, area, file, origin, doc, methods); a method is
(name, rpc, request, response, streaming, http, scope, origin, doc) where streaming is "", "client", "server" or
"bidi" and http is "" or "VERB path" or "VERB path body". RENAMED: proto file → where its generated modules are, for
files whose own path another file has.
"""

RENAMED: dict[str, str] = {renamed}

SERVICES: tuple[tuple[str, str, str, str, str, str, tuple[tuple[str, ...], ...]], ...] = (
'''
_SERVICES, _METHODS = 6, 2  # field numbers: the steps of a comment's path
_VERSION = re.compile(r"v\d+\w*")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class MethodRow(NamedTuple):
    """One RPC, as the catalog holds it."""

    name: str
    rpc: str
    request: str
    response: str
    streaming: str
    http: str
    scope: str
    origin: str
    doc: str


class ServiceRow(NamedTuple):
    """One service, as the catalog holds it."""

    name: str
    module: str
    area: str
    file: str
    origin: str
    doc: str
    methods: tuple[MethodRow, ...]


def areas(services: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Name the client's attribute of each service (full name, package, origin) of one module.

    The last word of the package, if the package has one service; among several, the only one that is not
    `documented` keeps it, and the others are called after themselves without "Service", or with it where that is taken.
    A package of one word has said it all with its module, so its services are called after themselves. Of packages that
    differ in their version only, the first keeps the plain word, and the others have the version behind it.
    """
    services = list(services)
    count = Counter(package for _, package, _ in services)
    sure = Counter(package for _, package, origin in services if origin != "documented")
    names: dict[str, str] = {}
    for full, package, origin in sorted(services, key=lambda service: service[2] == "documented"):
        words = [part for part in package.split(".") if not _VERSION.fullmatch(part)]
        versions = [part for part in package.split(".") if _VERSION.fullmatch(part)]
        name = full.rpartition(".")[2]
        main = len(words) > 1 and (count[package] == 1 or (sure[package] == 1 and origin != "documented"))
        choices = [words[-1], "_".join([words[-1], *versions])] if main else []
        short = name.removesuffix("Service") or name
        choices += [short, name, "_".join([short, *versions]), full.replace(".", "_")]
        found = [attribute(choice) for choice in choices]
        names[full] = next((one for one in found if one not in names.values()), free(found[-1], names.values()))
    return names


def rows(files: Sequence[descriptor_pb2.FileDescriptorProto], origins: Origins) -> list[ServiceRow]:
    """What the catalog says of every service of the files, in its order."""
    found = [(file, index, _full(file, service.name)) for file in files for index, service in enumerate(file.service)]
    modules = {file.name: origins.module(file) for file, _, _ in found}
    attributes: dict[str, str] = {}
    for module in sorted({*modules.values()}):
        of_module = [(file, full) for file, _, full in found if modules[file.name] == module]
        attributes |= areas((full, file.package, origins.of_file(file.name)) for file, full in of_module)
    services = [
        _service(file, index, full, modules[file.name], attributes[full], origins) for file, index, full in found
    ]
    return sorted(services, key=lambda service: (service.module, service.area))


def render(services: Iterable[ServiceRow], renamed: Mapping[str, str]) -> str:
    """The whole text of catalog.py. `renamed`: see there."""
    items = "".join(f"    {literal(name)}: {literal(path)},\n" for name, path in renamed.items())
    head = _PREAMBLE.replace("{renamed}", f"{{\n{items}}}" if items else "{}")
    return head + "".join(map(_source, services)) + ")\n"


def _full(file: descriptor_pb2.FileDescriptorProto, name: str) -> str:
    return f"{file.package}.{name}".lstrip(".")


def _service(
    file: descriptor_pb2.FileDescriptorProto, index: int, full: str, module: str, area: str, origins: Origins
) -> ServiceRow:
    comments = {tuple(at.path): comment(at) for at in file.source_code_info.location if at.path[:1] == [_SERVICES]}
    methods = []
    names: list[str] = []
    for number, method in enumerate(file.service[index].method):
        rule = http_rule(method)
        names.append(free(attribute(method.name, RPC_NAMES_TAKEN), names))
        row = MethodRow(
            method.name,
            names[-1],
            method.input_type.lstrip("."),
            method.output_type.lstrip("."),
            _streaming(method),
            " ".join(rule) if rule else "",
            scope(method),
            origins.of_method(file.name, full, method.name),
            comments.get((_SERVICES, index, _METHODS, number), ""),
        )
        methods.append(row)
    doc = comments.get((_SERVICES, index), "")
    return ServiceRow(full, module, area, file.name, origins.of_file(file.name), doc, tuple(methods))


def _source(service: ServiceRow) -> str:
    *head, methods = service
    lines = ["    (\n", *(f"        {literal(str(item))},\n" for item in head), "        (\n"]
    for method in methods:
        lines += ["            (\n", *(f"                {literal(item)},\n" for item in method), "            ),\n"]
    return "".join([*lines, "        ),\n", "    ),\n"])


def _streaming(method: descriptor_pb2.MethodDescriptorProto) -> str:
    if method.client_streaming:
        return "bidi" if method.server_streaming else "client"
    return "server" if method.server_streaming else ""


def literal(text: str) -> str:
    """A Python literal in double quotes, the same on every Python version."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    plain = _UNPRINTABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", escaped)
    return f'"{plain}"'
