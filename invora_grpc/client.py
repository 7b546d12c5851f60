"""`Invora`, the synchronous client: a thin door to the rooms that do the work.

The tree `client.<module>.<area>.<rpc>` comes from the catalog; classes and channel are loaded by the first call. A
derived client (`for_org`, `with_options`) shares channel, token and loaded methods with the one that it came from.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from invora_grpc.auth import TokenSource, token_source
from invora_grpc.call import Binding, CallOptions, bind, metadata, request, stub_arguments
from invora_grpc.catalog import Method, Service, catalog
from invora_grpc.channel import guard_bearer, open_channel
from invora_grpc.config import Secret, Settings, header_safe, load_settings, require_credentials
from invora_grpc.errors import ConfigError
from invora_grpc.status import RpcError, Unauthenticated, from_rpc_error

__all__ = ["Area", "Invora", "Module", "Rpc"]


class _Core:
    """What all clients of one connection share: settings, channel, tokens, and the methods loaded so far."""

    def __init__(self, settings: Settings, tokens: TokenSource, channel: grpc.Channel) -> None:
        self.settings = settings
        self.tokens = tokens
        self.channel = channel
        self._methods: dict[str, tuple[Binding, Callable[..., Any]]] = {}

    def callable(self, method: Method) -> tuple[Binding, Callable[..., Any]]:
        """The method's classes and its multi-callable on the channel."""
        found = self._methods.get(method.path)
        if found is None:
            binding = bind(method)
            kind = (
                f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
            )
            opened = getattr(self.channel, kind)(method.path, **stub_arguments(binding))
            found = self._methods[method.path] = (binding, opened)
        return found


class Rpc:
    """One RPC of a client. Call it with a request: keyword arguments, a mapping, or a message.

    A unary RPC returns the response message. A server-streaming RPC returns an iterator of messages; a client-streaming
    or bidirectional one takes an iterable of requests. Raises RequestError before anything is sent if the request does
    not fit the schema, SignInError if no token can be had, and a subclass of RpcError for every other status than OK.
    """

    def __init__(self, core: _Core, options: CallOptions, method: Method) -> None:
        self._core = core
        self._options = options
        self.method = method
        """The RPC in the catalog: path, types, HTTP rule, scope and origin."""
        self.__doc__ = f"{method.doc}\n\n{method.path}\nScope: {method.scope}".strip()

    def __call__(self, given: object = None, /, **fields: object) -> Any:
        binding, send = self._core.callable(self.method)
        if self.method.client_streaming:
            if fields:
                raise TypeError(f"{self.method.attribute} streams requests: give an iterable of them")
            requests = _requests(binding, given)
            return (
                self._stream(send, requests) if self.method.server_streaming else self._unary(send, requests, once=True)
            )
        message = request(binding, given, fields)
        return self._stream(send, message) if self.method.server_streaming else self._unary(send, message)

    def __repr__(self) -> str:
        return f"<rpc {self.method.attribute} {self.method.path}>"

    def _unary(self, send: Callable[..., Any], message: object, *, once: bool = False) -> Any:
        tokens = self._core.tokens
        token = tokens.token()
        try:
            return self._attempt(send, message, token)
        except Unauthenticated:
            # The server answers before the method runs, so that one repeat with a fresh token is safe.
            fresh = token if once else tokens.token(force=True, rejected=token)
            if fresh == token:
                raise
        return self._attempt(send, message, fresh)

    def _attempt(self, send: Callable[..., Any], message: object, token: Secret) -> Any:
        options = self._options
        failure: RpcError
        try:
            return send(message, timeout=options.timeout, metadata=metadata(token.reveal(), options))
        except grpc.RpcError as error:
            failure = self._failure(error)
        raise failure

    def _stream(self, send: Callable[..., Any], message: object) -> Iterator[Any]:
        call = send(message, metadata=metadata(self._core.tokens.token().reveal(), self._options))
        failure: RpcError
        try:
            yield from call
        except grpc.RpcError as error:
            failure = self._failure(error)
        else:
            return
        finally:
            call.cancel()
        raise failure

    def _failure(self, error: grpc.RpcError) -> RpcError:
        return from_rpc_error(
            error,
            method=self.method.path,
            scope=self.method.scope,
            org=self._options.org,
            token_source=self._core.tokens.describe,
        )


def _requests(binding: Binding, given: object) -> Iterator[Message]:
    if not isinstance(given, Iterable) or isinstance(given, Mapping | str | bytes):
        raise TypeError(f"{binding.method.attribute} streams requests: give an iterable of messages or mappings")
    return (request(binding, item, {}) for item in given)


class _Node(ABC):
    """A branch of the client's tree: children by name, made once, when they are first asked for."""

    @abstractmethod
    def _children(self) -> Iterable[str]:
        """Names of the attributes that __getattr__ answers."""

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *self._children()]

    def _no(self, name: str) -> AttributeError:
        known = list(self._children())
        near = difflib.get_close_matches(name, known, 3) or sorted(known)[:12]
        return AttributeError(f"{self!r} has no {name!r}; did you mean {', '.join(near)}?", name=name, obj=self)


class Area(_Node):
    """One service of a client: its RPCs are attributes."""

    def __init__(self, core: _Core, options: CallOptions, service: Service) -> None:
        self._core = core
        self._options = options
        self.service = service
        """The service in the catalog."""
        self.__doc__ = service.doc or None

    def _children(self) -> Iterable[str]:
        return [method.rpc for method in self.service.methods]

    def __getattr__(self, name: str) -> Rpc:
        method = next((m for m in self.service.methods if m.rpc == name), None)
        if method is None:
            raise self._no(name)
        rpc = Rpc(self._core, self._options, method)
        self.__dict__[name] = rpc
        return rpc

    def __repr__(self) -> str:
        return f"<service {self.service.name}>"


class Module(_Node):
    """One registry module of a client: its services are attributes."""

    def __init__(self, core: _Core, options: CallOptions, name: str, services: Mapping[str, Service]) -> None:
        self._core = core
        self._options = options
        self._name = name
        self._services = services

    def _children(self) -> Iterable[str]:
        return self._services

    def __getattr__(self, name: str) -> Area:
        service = self._services.get(name)
        if service is None:
            raise self._no(name)
        area = self.__dict__[name] = Area(self._core, self._options, service)
        return area

    def __repr__(self) -> str:
        return f"<module {self._name}>"


class Invora(_Node):
    """A client of an Invora gateway. Safe to share between threads; nothing is dialled before the first call.

    Settings come from the arguments, else from INVORA_ENV, INVORA_ENDPOINT, INVORA_ISSUER, INVORA_CLIENT_ID,
    INVORA_CLIENT_SECRET, INVORA_TOKEN and INVORA_ORG_ID, else from the environment's own (`production`, `staging`,
    `sandbox`; default `production`).

    `timeout` is in seconds, for each unary call. `root_certificates` is PEM. Raises ConfigError, naming setting, value
    and way out, for a bad or missing setting, and for an endpoint to which a token would travel in plaintext.
    """

    def __init__(
        self,
        env: str | None = None,
        *,
        endpoint: str | None = None,
        issuer: str | None = None,
        client_id: str | None = None,
        client_secret: str | Secret | None = None,
        token: str | Secret | None = None,
        org_id: str | None = None,
        tokens: TokenSource | None = None,
        timeout: float | None = 30.0,
        root_certificates: bytes | None = None,
    ) -> None:
        settings = load_settings(env, endpoint, issuer, client_id, client_secret, token, org_id)
        if tokens is None:
            require_credentials(settings)
            tokens = token_source(settings)
        guard_bearer(settings.target)
        channel = open_channel(settings.target, root_certificates=root_certificates)
        self._core = _Core(settings, tokens, channel)
        self._options = CallOptions(settings.org_id, _seconds(timeout))

    @classmethod
    def _derived(cls, core: _Core, options: CallOptions) -> Self:
        client = cls.__new__(cls)
        client._core = core
        client._options = options
        return client

    def for_org(self, org_id: str) -> Self:
        """The same client acting in another organization: shares channel and token, costs next to nothing.

        The caller needs roles there, as a platform has in its connected businesses. Raises ConfigError for an id that
        cannot be a header.
        """
        return self._derived(self._core, replace(self._options, org=_org(org_id)))

    def with_options(self, *, timeout: float | None) -> Self:
        """The same client with another timeout: seconds for each unary call, None for no deadline."""
        return self._derived(self._core, replace(self._options, timeout=_seconds(timeout)))

    def service(self, name: str) -> Area:
        """A service by its full name, e.g. "invora.billing.customers.v2.CustomerService".

        Raises RequestError, with the nearest names, if the catalog has no such service.
        """
        return Area(self._core, self._options, catalog().service(name))

    def close(self) -> None:
        """Close the channel, of this client and of all that were derived from it."""
        self._core.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _children(self) -> Iterable[str]:
        return catalog().modules

    def __getattr__(self, name: str) -> Module:
        services = catalog().modules.get(name)
        if services is None:
            raise self._no(name)
        module = self.__dict__[name] = Module(self._core, self._options, name, services)
        return module

    def __repr__(self) -> str:
        org = f" org={self._options.org}" if self._options.org else ""
        return f"<Invora {self._core.settings.target.url}{org}>"


def _org(org_id: object) -> str:
    if not isinstance(org_id, str) or not org_id:
        raise ConfigError("org_id", org_id, "give the organization's id as a string", "is no organization id")
    return header_safe("org_id", org_id)


def _seconds(timeout: object) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < 1e7:
        raise ConfigError("timeout", timeout, "give seconds above 0, or None for no deadline", "is no timeout")
    return float(timeout)
