"""The source text of the catalog: services and methods as literals that load without protobuf."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from google.protobuf import descriptor_pb2

from invora_grpc.catalog import attribute
from invora_grpc.codegen.origins import Origins
from invora_grpc.codegen.schema import comment
from invora_grpc.schema.annotations import http_rule, scope

_PREAMBLE = '''"""Every service and method of the schema, as literals.

SERVICES holds (service, module, area, file, origin, doc, methods); a method is
(name, rpc, request, response, streaming, http, scope, origin, doc) where streaming is "", "client", "server" or
"bidi" and http is "" or "VERB path" or "VERB path body".
"""

SERVICES: tuple[tuple[str, str, str, str, str, str, tuple[tuple[str, ...], ...]], ...] = (
'''


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
    """
    services = list(services)
    count = Counter(package for _, package, _ in services)
    sure = Counter(package for _, package, origin in services if origin != "documented")
    names: dict[str, str] = {}
    for full, package, origin in sorted(services, key=lambda service: service[2] == "documented"):
        word = [part for part in package.split(".") if not re.fullmatch(r"v\d+\w*", part)][-1]
        name = full.rpartition(".")[2]
        main = count[package] == 1 or (sure[package] == 1 and origin != "documented")
        choices = ([word] if main else []) + [attribute(name.removesuffix("Service")), attribute(name)]
        names[full] = next(choice for choice in [*choices, full.replace(".", "_")] if choice not in names.values())
    return names


def rows(files: Sequence[descriptor_pb2.FileDescriptorProto], origins: Origins) -> list[ServiceRow]:
    """What the catalog says of every service of the files, in its order."""
    found = [(file, index, f"{file.package}.{s.name}") for file in files for index, s in enumerate(file.service)]
    attributes: dict[str, str] = {}
    for module in sorted({origins.folders.get(file.name, "") for file, _, _ in found}):
        of_module = [(file, full) for file, _, full in found if origins.folders.get(file.name, "") == module]
        attributes |= areas((full, file.package, origins.of_file(file.name)) for file, full in of_module)
    services = [
        _service(file, index, full, origins.folders.get(file.name, ""), attributes[full], origins)
        for file, index, full in found
    ]
    return sorted(services, key=lambda service: (service.module, service.area))


def render(services: Iterable[ServiceRow]) -> str:
    """The whole text of catalog.py."""
    return _PREAMBLE + "".join(map(_source, services)) + ")\n"


def _service(
    file: descriptor_pb2.FileDescriptorProto, index: int, full: str, module: str, area: str, origins: Origins
) -> ServiceRow:
    comments = {tuple(at.path): comment(at) for at in file.source_code_info.location if at.leading_comments}
    methods = []
    for number, method in enumerate(file.service[index].method):
        rule = http_rule(method)
        row = MethodRow(
            method.name,
            attribute(method.name),
            method.input_type.lstrip("."),
            method.output_type.lstrip("."),
            _streaming(method),
            " ".join(rule) if rule else "",
            scope(method),
            origins.of_method(file.name, full, method.name),
            comments.get((6, index, 2, number), ""),
        )
        methods.append(row)
    doc = comments.get((6, index), "")
    return ServiceRow(full, module, area, file.name, origins.of_file(file.name), doc, tuple(methods))


def _source(service: ServiceRow) -> str:
    *head, methods = service
    lines = ["    (\n", *(f"        {_literal(str(item))},\n" for item in head), "        (\n"]
    for method in methods:
        lines += ["            (\n", *(f"                {_literal(item)},\n" for item in method), "            ),\n"]
    return "".join([*lines, "        ),\n", "    ),\n"])


def _streaming(method: descriptor_pb2.MethodDescriptorProto) -> str:
    if method.client_streaming:
        return "bidi" if method.server_streaming else "client"
    return "server" if method.server_streaming else ""


def _literal(text: str) -> str:
    """A Python literal in double quotes, the same on every Python version."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
