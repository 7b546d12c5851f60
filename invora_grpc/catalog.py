"""The catalog: every service and RPC of the schema as plain data.

The ground floor. It loads neither grpc nor protobuf, so that the command line can list and describe without them, and
it must stay so. What a call needs beyond it (message classes) is loaded by `invora_grpc.call`.
"""

from __future__ import annotations

import functools
import importlib
import keyword
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from invora_grpc.errors import RequestError, closest

COMPILED: Final = "invora_api"
"""The package of generated code that this client is made for."""
MODULE_NAMES_TAKEN: Final = frozenset({"close", "for_org", "reflect", "service", "with_options"})
"""What a client itself has, and so no module can be called."""
RPC_NAMES_TAKEN: Final = frozenset({"service"})
"""What every service of a client has, and so no RPC can be called."""
FOLDER_NAMES_TAKEN: Final = frozenset({"catalog", "client", "clients", "likes"})
"""What modules of every generated package are called, and so no folder of it can be."""


@dataclass(frozen=True, slots=True)
class HttpRule:
    """The google.api.http rule of an RPC."""

    verb: str
    """GET, POST, PUT, PATCH or DELETE."""
    path: str
    """With variables in braces, e.g. /api/v2/parties/{key}."""
    body: str
    """"*" for the whole request, "" for none."""


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC."""

    service: str
    """Full name of the service."""
    name: str
    """As in the schema, e.g. "Create"."""
    module: str
    """First attribute on the client, e.g. "billing"."""
    area: str
    """Second attribute, e.g. "customers"."""
    rpc: str
    """Third attribute, e.g. "create"."""
    path: str
    """What travels as :path, e.g. /invora.billing.customers.v2.CustomerService/Create."""
    request: str
    """Full name of the request message."""
    response: str
    """Full name of the response message."""
    client_streaming: bool
    server_streaming: bool
    http: HttpRule | None
    scope: str
    """The permission that the caller needs; "" where none is known."""
    origin: str
    """published, derived or documented: how sure names and numbers are; served: from elsewhere than the stubs."""
    doc: str
    schema: Any = None
    """The `invora_grpc.schema.Schema` that it is of; None: the compiled one."""
    package: str = COMPILED
    """The package of generated code of the client that calls it; without `schema`, its messages are from there."""

    @property
    def full_name(self) -> str:
        """package.Service/Method."""
        return f"{self.service}/{self.name}"

    @property
    def attribute(self) -> str:
        """module.area.rpc, as it is written behind a client."""
        return f"{self.module}.{self.area}.{self.rpc}".lstrip(".")

    @property
    def key(self) -> object:
        """What tells it from all other RPCs: its path, and the schema that it is of if that is not the compiled one."""
        return self.path if self.schema is None else (self.path, self.schema)

    @property
    def promised(self) -> bool:
        """Whether Invora's rules hold for it: a create's key is unique, and words of its name say what it does.

        That is so for Invora's own client, and for Invora's services in another generated package. About anybody
        else's schema nothing is known but what it says itself.
        """
        return self.package == COMPILED or self.service.startswith("invora.")

    @property
    def arity(self) -> str:
        """unary_unary, unary_stream, stream_unary or stream_stream, as gRPC says it."""
        return f"{'stream' if self.client_streaming else 'unary'}_{'stream' if self.server_streaming else 'unary'}"

    @property
    def streaming(self) -> str:
        """ "", "client", "server" or "bidi"."""
        if self.client_streaming:
            return "bidi" if self.server_streaming else "client"
        return "server" if self.server_streaming else ""


@dataclass(frozen=True, slots=True)
class Service:
    """One service."""

    name: str
    """Full name, e.g. invora.billing.customers.v2.CustomerService."""
    module: str
    area: str
    file: str
    """Path of the proto file."""
    origin: str
    doc: str
    methods: tuple[Method, ...]
    package: str = COMPILED
    """The package of generated code that it is of."""

    def method(self, name: str) -> Method:
        """The RPC with this schema name or attribute name; raises RequestError with the nearest names."""
        for method in self.methods:
            if name in (method.name, method.rpc):
                return method
        raise _unknown("rpc", name, [m.rpc for m in self.methods], f"an RPC of {self.name}", self.package)


class Catalog:
    """All services, by full name and by module and area."""

    __slots__ = ("_by_name", "_package", "_tree")

    def __init__(self, services: Iterable[Service], package: str = COMPILED) -> None:
        self._package = package
        self._by_name = {service.name: service for service in services}
        tree: dict[str, dict[str, Service]] = {}
        for service in self._by_name.values():
            tree.setdefault(service.module, {})[service.area] = service
        self._tree = {module: MappingProxyType(areas) for module, areas in sorted(tree.items())}

    def __iter__(self) -> Iterator[Service]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def modules(self) -> Mapping[str, Mapping[str, Service]]:
        """module → area → service."""
        return MappingProxyType(self._tree)

    @property
    def methods(self) -> Iterator[Method]:
        """All RPCs of all services."""
        for service in self:
            yield from service.methods

    def service(self, name: str) -> Service:
        """By full name, or by "module.area"; raises RequestError with the nearest names."""
        if not isinstance(name, str):
            raise RequestError("service", name, "give its full name, or module.area", "is no name")
        if found := self._by_name.get(name):
            return found
        module, _, area = name.partition(".")
        if module in self._tree and area in self._tree[module]:
            return self._tree[module][area]
        raise _unknown("service", name, self._by_name, "a service of the catalog", self._package)

    def method(self, name: str) -> Method:
        """One RPC by any unambiguous name.

        Full ("package.Service/Method", "package.Service.Method", with or without a leading slash) or short: the last
        words of "module.area.rpc" or of the full name, e.g. "invoices.create" or "CustomerService.Create". Raises
        RequestError if nothing or more than one thing has the name.
        """
        plain = name.lstrip("/").replace("/", ".")
        service, _, rpc = plain.rpartition(".")
        if service in self._by_name:
            return self._by_name[service].method(rpc)
        found = [m for m in self.methods if plain in _names(m)]
        if not found:
            found = [m for m in self.methods if any(_ends(name, plain) for name in _names(m))]
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(m.attribute for m in found[:6])
            raise RequestError("method", name, f"write one of {several}", f"fits {len(found)} RPCs")
        raise _unknown("method", name, [m.attribute for m in self.methods], "an RPC of the catalog", self._package)


def _names(method: Method) -> tuple[str, str, str]:
    return (
        method.attribute,
        f"{method.module}.{method.area}.{method.name}",
        f"{method.service}.{method.name}",
    )


def _ends(full: str, tail: str) -> bool:
    return full.endswith(tail) and full[: -len(tail)].endswith(".")


def _unknown(what: str, name: str, known: Iterable[str], kind: str, package: str) -> RequestError:
    known = list(known)
    near = closest(name, known) or closest(name.rpartition(".")[2], [k.rpartition(".")[2] for k in known])
    hint = "`invora ls` shows all" if package == COMPILED else f"there are {', '.join(known[:6])}"
    hint = f"did you mean {' or '.join(dict.fromkeys(near))}?" if near else hint
    return RequestError(what, name, hint, f"is not {kind}")


def snake_case(name: str) -> str:
    """ "ListAvailablePlans" → "list_available_plans"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def attribute(name: str, taken: Collection[str] = ()) -> str:
    """The Python attribute of an RPC, service or module: snake case, with an underscore behind a keyword and behind
    what is `taken`, and none in front, since no branch of a client's tree has private names."""
    snake = snake_case(name).lstrip("_")
    snake = snake if snake.isidentifier() else f"x{snake}"
    return f"{snake}_" if keyword.iskeyword(snake) or snake in taken else snake


def python_path(file: str, package: str) -> str:
    """Where the generated modules of a proto file are, below the folder of packages: what they are called without
    `_pb2`, e.g. "invora/a/v2/x-y.proto" → "invora_api/a/v2/x_y".

    Dots are folders, as protoc has it. What Python could not import gets underscores: `class/` is `class_`, `2024/` is
    `_2024`, and a first folder that a generated module of the package is called like is `catalog_`.
    """
    parts = file.removeprefix("invora/").removesuffix(".proto").replace(".", "/").split("/")
    names = [re.sub(r"^(?=\d|$)", "_", re.sub(r"\W", "_", part, flags=re.ASCII)) for part in parts]
    folders = [f"{name}_" if keyword.iskeyword(name) else name for name in names[:-1]]
    if folders and folders[0] in FOLDER_NAMES_TAKEN:
        folders[0] += "_"
    return "/".join([package.replace(".", "/"), *folders, names[-1]])


def generated_path(file: str, package: str) -> str:
    """`python_path` as it is in this package: RENAMED of its catalog has the files that could not keep theirs."""
    renamed: Mapping[str, str] = getattr(importlib.import_module(f"{package}.catalog"), "RENAMED", {})
    return renamed.get(file) or python_path(file, package)


def catalog(package: str = COMPILED) -> Catalog:
    """The catalog of a package of generated code. Loaded once, without protobuf."""
    return _catalog(package)


@functools.cache
def _catalog(package: str) -> Catalog:
    source: Any = importlib.import_module(f"{package}.catalog")
    return Catalog((service_of(*entry, package=package) for entry in source.SERVICES), package)


def service_of(
    name: str,
    module: str,
    area: str,
    file: str,
    origin: str,
    doc: str,
    methods: tuple[tuple[str, ...], ...],
    *,
    package: str = COMPILED,
) -> Service:
    """A service of the generated catalog, from its entry there."""
    found = tuple(_method(package, name, module, area, *entry) for entry in methods)
    return Service(name, module, area, file, origin, doc, found, package)


def _method(
    package: str,
    service: str,
    module: str,
    area: str,
    name: str,
    rpc: str,
    request: str,
    response: str,
    streaming: str,
    http: str,
    scope: str,
    origin: str,
    doc: str,
) -> Method:
    rule = HttpRule(*[*http.split(" "), ""][:3]) if http else None
    client, server = streaming in ("client", "bidi"), streaming in ("server", "bidi")
    path = f"/{service}/{name}"
    return Method(
        *(service, name, module, area, rpc, path, request, response, client, server, rule, scope, origin, doc),
        package=package,
    )
