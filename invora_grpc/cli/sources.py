"""Where the schema of a command comes from: compiled stubs, the gateway itself, a descriptor file, or .proto sources.

A command takes the options of `source_options` and asks `find_method` for the RPC that a name means. Nothing here calls
an RPC; the gateway is asked for its schema only if the name is not to be found without it, or if that was said.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from invora_grpc.catalog import Catalog, Method, Service, catalog, snake_case
from invora_grpc.errors import ConfigError, RequestError, closest

if TYPE_CHECKING:
    from invora_grpc.client import Invora
    from invora_grpc.metadata import Pair
    from invora_grpc.schema.descriptors import Schema

__all__ = ["AUTO", "Source", "catalog_of", "find_method", "known_method", "rpc_of", "source_of", "source_options"]

Kind = Literal["auto", "reflection", "descriptors", "proto"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where names and types are looked up."""

    kind: Kind = "auto"
    """auto: the compiled stubs, then the gateway's own schema. The others: nowhere else."""
    schema: Schema | None = None
    """What was read from files; None for the other kinds."""
    paths: tuple[str, ...] = ()
    """The files and folders that it was read from, as they were given."""
    content: tuple[bytes, ...] = field(default=(), repr=False, compare=False)
    """What was read: FileDescriptorSets, with their comments, which `schema` has not."""

    @property
    def described(self) -> str:
        """In words, for output that says what was used."""
        if self.schema is not None:
            return self.schema.source
        return "server reflection" if self.kind == "reflection" else "the compiled stubs"


AUTO = Source()
_NOWHERE: Final = "is no RPC of the compiled stubs, nor of the gateway"


def source_options(command: Any) -> Any:
    """Add --reflect, --descriptors and --proto to a command, which is given `source`, a `Source`."""

    @functools.wraps(command)
    def with_source(
        *args: Any, reflect: bool, descriptors: tuple[str, ...], proto: tuple[str, ...], **others: Any
    ) -> Any:
        return command(*args, source=source_of(reflect, descriptors, proto), **others)

    changed: Any = with_source
    for option in (
        click.option(
            "--proto",
            multiple=True,
            metavar="PATH",
            help="Take the schema from .proto sources: a folder that imports start from, or a file. Repeatable.",
        ),
        click.option(
            "--descriptors",
            multiple=True,
            metavar="FILE",
            help="Take the schema from a FileDescriptorSet or buf image. Repeatable.",
        ),
        click.option("--reflect", is_flag=True, help="Take the schema from the gateway, by server reflection."),
    ):
        changed = option(changed)
    return changed


def source_of(reflect: bool = False, descriptors: Sequence[str] = (), proto: Sequence[str] = ()) -> Source:
    """The source that options name; files are read. Raises ConfigError for two kinds, DescriptorError for bad files."""
    given = [name for name, on in (("reflect", reflect), ("descriptors", descriptors), ("proto", proto)) if on]
    if len(given) > 1:
        raise ConfigError(given[1], None, f"leave --{given[0]} or --{given[1]} away", f"came with --{given[0]}")
    if descriptors:
        from invora_grpc.schema.files import content_of

        return _read("descriptors", descriptors, [content_of(path) for path in descriptors])
    if proto:
        from invora_grpc.cli.protos import described

        return _read("proto", proto, [described(proto)])
    return Source("reflection") if reflect else AUTO


def _read(kind: Kind, paths: Sequence[str], content: Sequence[bytes]) -> Source:
    """The source in these FileDescriptorSets. Raises DescriptorError, naming the path of what is none."""
    from invora_grpc.schema.descriptors import Schema
    from invora_grpc.schema.files import FileSet

    told = ", ".join(paths)
    names = paths if len(paths) == len(content) else [told]
    sets = [FileSet.parse(data, name) for data, name in zip(content, names, strict=True)]
    files = sets[0] if len(sets) == 1 else FileSet.of(file for one in sets for file in one.files.values())
    return Source(kind, Schema(files, source=told), tuple(paths), tuple(content))


# --- names --------------------------------------------------------------------------------------------------------


def known_method(name: str, source: Source = AUTO) -> Method | None:
    """The RPC of this name as far as it can be told without the gateway; None: the gateway must be asked.

    Raises RequestError if the name fits several RPCs, or if the source is a file that has none of that name.
    """
    if source.kind == "reflection":
        return None
    if source.schema is not None:
        return _in_schema(name, source.schema)
    try:
        return catalog().method(name)
    except RequestError:
        if _ambiguous(name):
            raise
        return None


def find_method(
    name: str, source: Source = AUTO, client: Invora | None = None, metadata: Iterable[Pair] = ()
) -> Method:
    """The RPC of any name that is unique in the source.

    Full ("package.Service/Method", with a dot too), or the last words of it ("OrderService.Place"), or of its short
    form ("order.place", and for a compiled service "billing.customers.create" also in other sources). Without a client,
    the gateway is not asked; `metadata`: to be sent when it is. Raises RequestError with the nearest names, and
    ReflectionError.
    """
    found = known_method(name, source)
    if found is not None:
        return found
    if source.kind != "reflection":
        return _compiled_or_served(name, client, metadata)
    if client is None:
        raise ConfigError("reflect", None, "name an endpoint", "asks a gateway, and there is none")
    return _served(name, client, metadata)


def rpc_of(client: Invora, method: Method) -> Any:
    """The callable of an RPC, of whatever source; see `invora_grpc.client` for what it takes."""
    return client._rpc(method)  # not by its name: an RPC may be called as an attribute of its area is


def catalog_of(schema: Schema) -> Catalog:
    """The services of a schema with short names: `shop.v1.OrderService` is "shop.v1" and "order"."""
    return Catalog(_shortened(service) for service in schema.services.values())


def _shortened(service: Service) -> Service:
    package, _, simple = service.name.rpartition(".")
    area = snake_case(simple.removesuffix("Service") or simple)
    methods = tuple(replace(method, module=package, area=area) for method in service.methods)
    return replace(service, module=package, area=area, methods=methods)


def _ambiguous(name: str) -> bool:
    """Whether the name is one of the compiled stubs, though not of one RPC only."""
    words = "." + name.lstrip("/").replace("/", ".")
    return any(f".{full}".endswith(words) for m in catalog().methods for full in (m.attribute, f"{m.service}.{m.name}"))


def _in_schema(name: str, schema: Schema) -> Method:
    """The RPC of a schema by any name, also by the one that the compiled stubs have for it. Raises RequestError."""
    try:
        return _own(catalog_of(schema).method(name), schema)
    except RequestError as error:
        compiled = _quietly(lambda: catalog().method(name))
        if compiled is None or compiled.service not in schema.services:
            several = error.hint.startswith("write one of")
            problem = "fits several RPCs" if several else f"is no RPC of {schema.source}"
            raise RequestError("method", name, error.hint, problem) from None
    return schema.services[compiled.service].method(compiled.name)


def _own(method: Method, schema: Schema) -> Method:
    """The schema's own RPC for one with a short name."""
    return next(one for one in schema.services[method.service].methods if one.name == method.name)


def _quietly(find: Callable[[], Method]) -> Method | None:
    try:
        return find()
    except RequestError:
        return None


# --- the gateway's own schema -------------------------------------------------------------------------------------


def _compiled_or_served(name: str, client: Invora | None, metadata: Iterable[Pair]) -> Method:
    """The RPC in the gateway's schema; if that is not to be had, it is only a name that the stubs do not know."""
    if client is None:
        return catalog().method(name)
    from invora_grpc.schema.reflection import ReflectionError

    try:
        return _served(name, client, metadata)
    except ReflectionError as error:
        if error.reason in ("not-offered", "denied"):
            return catalog().method(name)
        raise
    except RequestError as error:
        near = closest(name, [method.attribute for method in catalog().methods])
        if not near or error.hint.startswith("write one of"):
            raise
        raise RequestError("method", name, f"did you mean {' or '.join(near)}?", _NOWHERE) from None


def _served(name: str, client: Invora, metadata: Iterable[Pair]) -> Method:
    """The RPC in the gateway's schema, of which no more is fetched than the name requires."""
    listed = client.reflect((), metadata=metadata).listed
    return _in_schema(name, client.reflect(_named(name, listed), metadata=metadata))


def _named(name: str, listed: Sequence[str]) -> list[str] | None:
    """The services that a name can mean; None: any."""
    compiled = _quietly(lambda: catalog().method(name))
    head = name.lstrip("/").replace("/", ".").rpartition(".")[0].lower()
    found = [one for one in listed if head and f".{one}".lower().endswith(f".{head}")]
    found += [compiled.service] if compiled is not None and compiled.service in listed else []
    return list(dict.fromkeys(found)) or None
