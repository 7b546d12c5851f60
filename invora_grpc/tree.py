"""The tree behind a client: `client.<module>.<area>.<rpc>`, and how clients are derived from one another.

The same for both clients: a door says which class stands for an RPC. Nothing here sends, and nothing here loads a
message class: that is left to the first call.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from invora_grpc.arguments import one_with
from invora_grpc.auth import NoToken, a_source, peek_of
from invora_grpc.call import UNSET, CallOptions, changed, no_token, organization, seconds
from invora_grpc.catalog import COMPILED, Catalog, Method, Service, catalog
from invora_grpc.channel import guard_bearer
from invora_grpc.connection import Connection
from invora_grpc.errors import ConfigError, closest

if TYPE_CHECKING:
    from collections.abc import Callable

    from grpc import Compression

    from invora_grpc.auth import TokenSource
    from invora_grpc.config import Settings
    from invora_grpc.retry import Retry
    from invora_grpc.schema.descriptors import Schema

__all__ = ["Area", "Client", "Module", "Rpc", "documented"]


class _Documentation:
    """`__doc__` of an RPC: the class's own words on the class, the schema's on an instance."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __get__(self, rpc: Rpc | None, owner: type[Rpc]) -> str:
        if rpc is None:
            return self._text
        from invora_grpc.explain import explain  # reads the stubs: for people who ask, not for those who call

        return explain(rpc.method)


def documented(text: str | None) -> Any:
    """The `__doc__` of a class of RPCs: `text` on the class, the schema's own words on its instances."""
    return _Documentation(text or "")


class Rpc:
    """One RPC of a client."""

    __slots__ = ("__weakref__", "_connection", "_key", "_options", "method")

    method: Method
    """The RPC in the catalog: path, types, HTTP rule, scope and origin."""

    def __init__(self, connection: Connection, options: CallOptions, method: Method) -> None:
        self._connection = connection
        self._options = options
        self._key = method.key
        self.method = method

    def __repr__(self) -> str:
        return f"<rpc {self.method.attribute} {self.method.path}>"


class _Node(ABC):
    """A branch of the client's tree: children by name, made once, when they are first asked for."""

    @abstractmethod
    def _children(self) -> Iterable[str]:
        """Names of the attributes that __getattr__ answers."""

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *self._children()})

    def _no(self, name: str) -> AttributeError:
        known = list(self._children())
        near = closest(name, known) or sorted(known)[:12]
        return AttributeError(f"{self!r} has no {name!r}; did you mean {', '.join(near)}?", name=name, obj=self)


def _public(node: object, name: str) -> None:
    """No branch has a private name: asking for one, as copy and pickle do, finds nothing."""
    if name.startswith("_"):
        raise AttributeError(name, name=name, obj=node)


@functools.cache
def _rpcs(service: Service) -> Mapping[str, Method]:
    return {method.rpc: method for method in service.methods}


class Area(_Node):
    """One service of a client: its RPCs are attributes."""

    def __init__(self, client: Client, service: Service) -> None:
        self._client = client
        self.service = service
        """The service in the catalog."""
        self.__doc__ = service.doc or None

    def _children(self) -> Iterable[str]:
        return _rpcs(self.service)

    def __getattr__(self, name: str) -> Any:
        _public(self, name)
        method = _rpcs(self.service).get(name)
        if method is None:
            raise self._no(name)
        rpc = vars(self)[name] = self._client._rpc(method)
        return rpc

    def __repr__(self) -> str:
        return f"<service {self.service.name}>"


class Module(_Node):
    """One registry module of a client: its services are attributes."""

    def __init__(self, client: Client, name: str, services: Mapping[str, Service]) -> None:
        self._client = client
        self._name = name
        self._services = services

    def _children(self) -> Iterable[str]:
        return self._services

    def __getattr__(self, name: str) -> Area:
        _public(self, name)
        service = self._services.get(name)
        if service is None:
            raise self._no(name)
        area = vars(self)[name] = Area(self._client, service)
        return area

    def __repr__(self) -> str:
        return f"<module {self._name}>"


class Client(_Node):
    """What both clients have in common: the tree, derived clients, and how they travel in a pickle."""

    _kinds: ClassVar[Mapping[str, Callable[[Connection, CallOptions, Method], Rpc]]]
    """The class of an RPC by the kind of its streaming: "", "client", "server" or "bidi"."""
    _package: ClassVar[str] = COMPILED
    """The package of generated code whose services are its tree."""
    _connection: Connection
    _options: CallOptions

    def _connect(
        self,
        settings: Settings,
        opener: Callable[..., Any],
        sleep: Callable[[float], Any],
        timeout: float | None,
        **given: Any,
    ) -> None:
        """Begin with a connection of its own; `given`: what `Connection` takes besides."""
        self._connection = Connection(settings, opener, sleep, **given)
        org = None if settings.org_id is None else organization(settings.org_id)
        options = CallOptions(org=org, timeout=seconds("timeout", timeout))
        self._options = self._with_source(options, self._connection.tokens)

    @classmethod
    def _derived(cls, connection: Connection, options: CallOptions) -> Self:
        client = cls.__new__(cls)
        client._connection = connection
        client._options = options
        return client

    @staticmethod
    @abstractmethod
    def _source(tokens: TokenSource) -> Any:
        """The token source as this client asks it."""

    @staticmethod
    def _peek(tokens: TokenSource) -> Callable[[], Any]:
        return peek_of(tokens)

    @classmethod
    def _with_source(cls, options: CallOptions, tokens: TokenSource) -> CallOptions:
        a_source(tokens)
        return options.but(source=tokens, tokens=cls._source(tokens), peek=cls._peek(tokens))

    def for_org(self, org_id: str, *, rebind: bool = False) -> Self:
        """The same client acting in another organization: shares channel and token, costs next to nothing.

        The caller needs roles there, as a platform has in its connected businesses. A client that is bound to one
        organization is not bound to another by accident: that takes `rebind=True`. Raises ConfigError, also for an id
        that is empty, blank, or cannot be a header.
        """
        org, bound = organization(org_id), self._options.org
        if bound is not None and bound != org and not rebind:
            hint = f"use for_org({org!r}, rebind=True) if that is meant, or derive from a client without one"
            raise ConfigError("org_id", org_id, hint, f"is not the organization {bound} that this client is bound to")
        return self._derived(self._connection, self._options.but(org=org))

    def with_options(
        self,
        *,
        org: str = UNSET,
        timeout: float | None = UNSET,
        stream_idle_timeout: float | None = UNSET,
        metadata: Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]] = UNSET,
        idempotency_key: str | None = UNSET,
        retry: bool | Retry = UNSET,
        wait_for_ready: bool | None = UNSET,
        compression: Literal["gzip", "deflate", "none"] | Compression | None = UNSET,
        tokens: TokenSource = UNSET,
    ) -> Self:
        """The same client with other options for every call; what is not given stays as it is.

        `org`: as `for_org`. `timeout`: seconds for a unary call with all its tries, and for a whole stream; None: none.
        `stream_idle_timeout`: seconds that a stream may stay silent. `metadata`: more metadata, in place of earlier
        metadata of this kind. `idempotency_key`: the key of the creates of this client; a repeat of a create with the
        same content is answered with what exists. `retry`: False for never, or a `Retry`. `wait_for_ready`: wait for a
        connection instead of failing without one. `compression`: "gzip", "deflate", "none". `tokens`: another token
        source, e.g. the credentials of one tenant. Raises ConfigError naming the option.
        """
        client = self if org is UNSET else self.for_org(org)
        options = changed(
            client._options,
            timeout=timeout,
            stream_idle_timeout=stream_idle_timeout,
            metadata=metadata,
            idempotency_key=idempotency_key,
            retry=retry,
            wait_for_ready=wait_for_ready,
            compression=compression,
        )
        if tokens is not UNSET:
            options = self._with_source(options, tokens)
            if not isinstance(tokens, NoToken):
                guard_bearer(self._connection.settings.target)
        return self._derived(self._connection, options)

    def _area(self, name: str, schema: Schema | None) -> Area:
        """A service of the catalog, or of a schema that was not compiled in."""
        if schema is None:
            return Area(self, self._catalog.service(name))
        one_with(("service", "message_class"), "schema", schema, 'give "server", or a Schema as reflect() returns it')
        return Area(self, _called_from(self._package, schema.service(name)))

    @property
    def _catalog(self) -> Catalog:
        return catalog(self._package)

    def _rpc(self, method: Method) -> Rpc:
        return self._kinds[method.streaming](self._connection, self._options, method)

    def _children(self) -> Iterable[str]:
        return self._catalog.modules

    if not TYPE_CHECKING:  # type checkers know the tree from the generated stubs

        def __getattr__(self, name: str) -> Module:
            _public(self, name)
            services = self._catalog.modules.get(name)
            if services is None:
                raise self._no(name)
            module = self.__dict__[name] = Module(self, name, services)
            return module

    def __reduce__(self) -> tuple[Any, ...]:
        given = None if self._options.source is self._connection.tokens else self._options.source
        plain = self._options.but(source=None, tokens=None, peek=no_token)
        return _restored, (type(self), self._connection, plain, given)

    def __repr__(self) -> str:
        if "_options" not in self.__dict__:  # in the traceback of its own constructor
            return f"<{type(self).__name__}>"
        org = f" org={self._options.org}" if self._options.org else ""
        return f"<{type(self).__name__} {self._connection.settings.target.url}{org}>"


def _called_from(package: str, service: Service) -> Service:
    """A service that was not compiled in, for the client of a package: that decides what is promised about it."""
    if package == service.package:
        return service
    methods = tuple(replace(method, package=package) for method in service.methods)
    return replace(service, methods=methods, package=package)


def _restored(cls: type[Client], connection: Connection, options: CallOptions, given: TokenSource | None) -> Client:
    """The client of a pickle."""
    return cls._derived(connection, cls._with_source(options, given if given is not None else connection.tokens))
