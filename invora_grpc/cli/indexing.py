"""The index of a schema that was not compiled in: made from its descriptors, and kept for an hour.

This is the slow side of `lookup`, and loads protobuf. What is kept is descriptors in words, no tokens and no data.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import click
from google.protobuf.descriptor import Descriptor, EnumDescriptor

from invora_grpc.catalog import Method, Service, catalog
from invora_grpc.cli.lookup import VERSION, Index, index_path
from invora_grpc.cli.sources import catalog_of
from invora_grpc.errors import one_line
from invora_grpc.schema.descriptors import Schema
from invora_grpc.schema.index import render, types_of

if TYPE_CHECKING:
    from invora_grpc.cli.targets import Target

__all__ = ["ask", "index_of"]


def index_of(
    schema: Schema,
    source: str = "",
    verdicts: Mapping[str, str] | None = None,
    comments: Mapping[str, str] = MappingProxyType({}),
) -> Index:
    """The index of a schema. `source`: the endpoint that it is of, for what is said about it. `comments`: what is said
    of services, RPCs, types, fields and values, by their full names."""
    now = int(time.time())  # whole seconds, and none of them to come
    services = (_told(service, comments) for service in _services(schema))
    text = render(services, _types(schema), schema.message, lambda name: comments.get(name, ""), verdicts or {})
    return Index(f"{VERSION}\t{source}\t{now}\n{text}".encode(), source, now)


def ask(name: str, target: Target) -> Index:
    """Ask a gateway for its schema, compare it with the compiled one, and keep the index under this name.

    Raises InvoraError.
    """
    from invora_grpc.cli.drift import Unanswered
    from invora_grpc.schema.reflection import ReflectionError

    try:
        with target.open() as client:
            schema = client.reflect(metadata=target.reflect_headers)
    except ReflectionError as error:
        raise Unanswered(error) from error
    for service, why in schema.problems.items():
        click.echo(f"warning: {one_line(f'{service}: {why}', 500)}", err=True)
    index = index_of(schema, name, _verdicts(schema))
    _keep(name, index)
    return index


def _verdicts(schema: Schema) -> Mapping[str, str]:
    """The :path of each RPC that the stubs know → how far the gateway's differs."""
    if not any(service.name in schema.services for service in catalog()):
        return {}
    from invora_grpc.schema.survey import compiled_schema, survey

    paths = {method.path for method in catalog().methods}
    return {row.subject: str(row.verdict) for row in survey(compiled_schema(), schema) if row.subject in paths}


def _services(schema: Schema) -> Iterator[Service]:
    """The services that can be called, those that were compiled in under the names that they have there."""
    ours = {service.name: service for service in catalog()}
    for service in sorted(catalog_of(schema), key=lambda service: service.name):
        if schema.listed and service.name not in schema.listed:
            continue
        known = ours.get(service.name)
        if known is None:
            yield service
        else:
            methods = tuple(_known(known, method) for method in service.methods)
            yield replace(known, file=service.file, methods=methods)


def _known(service: Service, method: Method) -> Method:
    """The gateway's RPC with what the compiled schema says about it."""
    compiled = {one.name: one for one in service.methods}.get(method.name)
    if compiled is None:
        return replace(method, module=service.module, area=service.area)
    named = replace(method, module=compiled.module, area=compiled.area, rpc=compiled.rpc)
    return replace(named, origin=compiled.origin, doc=compiled.doc)


def _told(service: Service, comments: Mapping[str, str]) -> Service:
    """The service with the comments of its own source, where it has some."""
    methods = tuple(replace(one, doc=comments.get(f"{service.name}.{one.name}", one.doc)) for one in service.methods)
    return replace(service, doc=comments.get(service.name, service.doc), methods=methods)


def _types(schema: Schema) -> Iterator[Descriptor | EnumDescriptor]:
    for _, file in sorted(schema.pool.linked.items()):
        yield from types_of(file.message_types_by_name.values())
        yield from file.enum_types_by_name.values()


def _keep(source: str, index: Index) -> None:
    """Write the index where `lookup.served` looks for it. What cannot be written is asked for again, that is all."""
    path = index_path(source)
    if path is None or "\t" in source or "\n" in source:
        return
    target = Path(path)
    fresh = target.with_name(f"{target.name[:180]}.{secrets.token_hex(8)}.new")
    with suppress(OSError):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(index.data)
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)
