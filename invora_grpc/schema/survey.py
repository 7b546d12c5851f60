"""Every service and RPC of one schema against another: for a table, a pull request or a nightly job.

The first schema is what clients were built with, the second what is served. The room compares, and neither asks nor
prints. The services of gRPC itself (reflection, health) are no part of an API and left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from google.protobuf import descriptor_pool

from invora_grpc.call import load
from invora_grpc.catalog import Method, Service, catalog
from invora_grpc.schema.compare import Comparer, Comparison, Difference, Verdict
from invora_grpc.schema.descriptors import Schema
from invora_grpc.schema.files import File, FileSet
from invora_grpc.schema.renames import Found, find

__all__ = ["compiled_schema", "survey"]


def compiled_schema() -> Schema:
    """The schema that this package was built with, whole."""
    waiting = []
    for service in catalog():
        load(service.file)
        waiting.append(descriptor_pool.Default().FindFileByName(service.file))
    found = {}
    while waiting:
        file = waiting.pop()
        if file.name not in found:
            found[file.name] = File.FromString(file.serialized_pb)
            waiting.extend(file.dependencies)
    return Schema(FileSet.of(found.values()), source="the compiled stubs")


def survey(ours: Schema, theirs: Schema) -> tuple[Comparison, ...]:
    """One comparison per RPC that either side has, in the order of their names.

    A service of which no RPC is known, since it cannot be described, is a comparison of its own.
    """
    comparer, taken, served = Comparer(), set[str](), _served(theirs)
    rows: dict[str, Comparison] = {}
    for method in _methods(ours.services):
        found = _found(method, served) or find(method, ours.services, [theirs])
        if found is None:
            rows[method.path] = _missing(method, served, theirs.problems)
            continue
        taken.add(found.method.path)
        inside = comparer.methods(ours.method(method), theirs.method(found.method))
        rows[method.path] = Comparison.of(method.path, [*found.differences, *inside.differences])
    for method in _methods(served):
        if method.path not in rows and method.path not in taken:
            kind = "method-added" if method.service in ours.services else "service-added"
            rows[method.path] = _row(method.path, Verdict.ADDITIVE, kind)
    for name, why in ours.problems.items():
        rows[name] = _row(name, Verdict.INCOMPATIBLE, "service-undescribed", why)
    for name, why in theirs.problems.items():
        if name not in ours.services and name not in rows:
            rows[name] = _row(name, Verdict.ADDITIVE, "service-undescribed", why)
    kept = {subject.lstrip("/"): row for subject, row in rows.items() if not _is_grpcs_own(subject.lstrip("/"))}
    return tuple(kept[name] for name in sorted(kept))


def _served(theirs: Schema) -> Mapping[str, Service]:
    """The services that can be called. A gateway's files may define others, which it does not list."""
    if not theirs.listed:
        return theirs.services
    return {name: service for name, service in theirs.services.items() if name in theirs.listed}


def _found(method: Method, served: Mapping[str, Service]) -> Found | None:
    """The RPC under its own name."""
    service = served.get(method.service)
    for one in service.methods if service is not None else ():
        if one.name == method.name:
            return Found(one, ())
    return None


def _missing(method: Method, served: Mapping[str, Service], problems: Mapping[str, str]) -> Comparison:
    if method.service in served:
        return _row(method.path, Verdict.INCOMPATIBLE, "method-removed")
    if method.service in problems:
        return _row(method.path, Verdict.INCOMPATIBLE, "service-undescribed", problems[method.service])
    return _row(method.path, Verdict.INCOMPATIBLE, "service-removed")


def _methods(services: Mapping[str, Service]) -> Iterator[Method]:
    for service in services.values():
        yield from service.methods


def _is_grpcs_own(service: str) -> bool:
    return service.startswith("grpc.")


def _row(subject: str, verdict: Verdict, kind: str, theirs: str = "") -> Comparison:
    symbol = subject.lstrip("/")
    if kind.startswith("service-"):
        symbol = symbol.partition("/")[0]
    return Comparison(subject, verdict, (Difference(verdict, kind, symbol.replace("/", "."), theirs=theirs),))
