"""Where an RPC has gone that the gateway does not serve under its name: found by package, names and types, or not.

A wrong guess would send a document to another operation, so what is not certain is not found: the types of request and
response have to have the very same names, an RPC that the client knows as another one is never taken, and two
candidates are none. What differs inside the types is `compare`'s to judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from invora_grpc.catalog import Method, Service, snake_case
from invora_grpc.schema.descriptors import Schema
from invora_grpc.schema.verdicts import Difference, Verdict

__all__ = ["Found", "find"]


@dataclass(frozen=True, slots=True)
class Found:
    """An RPC as the gateway has it."""

    method: Method
    """In the gateway's own schema."""
    differences: tuple[Difference, ...]
    """What it is called there, if that differs."""


def find(method: Method, siblings: Mapping[str, Service], places: Iterable[Schema]) -> Found | None:
    """The one RPC of a gateway that `method` has become, among the services of its package; None if none is certain.

    `siblings`: the services that the client knows. `places`: the gateway's schemas in which to look.
    """
    known = {one.path for service in siblings.values() for one in service.methods}
    package = method.service.rpartition(".")[0]
    served = {
        name: service
        for schema in places
        for name, service in schema.services.items()
        if name.rpartition(".")[0] == package
    }
    candidates = [
        one
        for service in served.values()
        for one in service.methods
        if one.path not in known and one.path != method.path and _same_types(method, one)
    ]
    for kind, fits in _WAYS.items():
        found = [one for one in candidates if fits(method, one, served)]
        if len(found) == 1:
            return Found(found[0], (_difference(kind, method, found[0]),))
        if found:
            return None
    return None


def _same_types(ours: Method, theirs: Method) -> bool:
    return (ours.request, ours.response, ours.streaming) == (theirs.request, theirs.response, theirs.streaming)


def _in_renamed_service(ours: Method, theirs: Method, served: Mapping[str, Service]) -> bool:
    """PlanService/Create → PlansService/Create."""
    gone = ours.service not in served
    return gone and ours.name == theirs.name and _singular(_words(ours.service)) == _singular(_words(theirs.service))


def _in_same_service(ours: Method, theirs: Method, served: Mapping[str, Service]) -> bool:
    """PlanService/Create → PlanService/CreatePlan, and back."""
    return ours.service == theirs.service and _says_its_noun(ours, theirs)


def _moved(ours: Method, theirs: Method, served: Mapping[str, Service]) -> bool:
    """FeatureService/CreateFeature → PlanService/CreateFeature. A bare verb, as in Delete, says too little."""
    return ours.service != theirs.service and ours.name == theirs.name and len(_words(ours.name)) > 1


def _says_its_noun(ours: Method, theirs: Method) -> bool:
    short, long = sorted((_words(ours.name), _words(theirs.name)), key=len)
    return long[: len(short)] == short != long and _singular(long[len(short) :]) == _singular(_words(ours.service))


def _words(name: str) -> list[str]:
    """The words of a name, without package and without "Service"."""
    words = snake_case(name.rpartition(".")[2]).split("_")
    return words[:-1] if words[-1] in ("service", "services") else words


def _singular(words: Sequence[str]) -> list[str]:
    return [word.removesuffix("s") for word in words]


def _difference(kind: str, ours: Method, theirs: Method) -> Difference:
    return Difference(Verdict.ADAPTABLE, kind, ours.full_name, "", ours.full_name, theirs.full_name)


_WAYS: Final = MappingProxyType(
    {"service-renamed": _in_renamed_service, "rpc-renamed": _in_same_service, "rpc-moved": _moved}
)
"""Kind of difference → whether one RPC has become another in this way. The first that finds any has the word."""
