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
from invora_grpc.call import DEFAULT_TIMEOUT, Binding, CallOptions, bind, metadata, request, stub_arguments
from invora_grpc.catalog import Method, Service, catalog
from invora_grpc.channel import guard_bearer, open_channel
from invora_grpc.config import Secret, Settings, header_safe, load_settings, require_credentials
from invora_grpc.errors import ClosedError, ConfigError, RequestError, UnconfirmedSchema
from invora_grpc.status import Unauthenticated, from_rpc_error

__all__ = ["Area", "Invora", "Module", "Rpc"]


class _Core:
    """What all clients of one connection share: settings, channel, tokens, and the methods loaded so far."""

    def __init__(self, settings: Settings, tokens: TokenSource, channel: grpc.Channel, trust: bool) -> None:
        self.settings = settings
        self.tokens = tokens
        self.channel = channel
        self.closed = False
        self._trust = trust
        self._methods: dict[str, tuple[Binding, Callable[..., Any]]] = {}

    def callable(self, method: Method) -> tuple[Binding, Callable[..., Any]]:
        """The method's classes and its multi-callable on the channel. Raises ClosedError, UnconfirmedSchema."""
        if self.closed:
            raise ClosedError(f"{method.path}: the client is closed; make a new one")
        found = self._methods.get(method.path)
        if found is None:
            if method.origin == "documented" and not self._trust:
                raise UnconfirmedSchema(method.path)
            binding = bind(method)
            incoming = "stream" if method.client_streaming else "unary"
            outgoing = "stream" if method.server_streaming else "unary"
            opened = getattr(self.channel, f"{incoming}_{outgoing}")(method.path, **stub_arguments(binding))
            found = self._methods[method.path] = (binding, opened)
        return found


class _Requests:
    """The requests of a stream, built one by one as they are sent, and what went wrong with one of them.

    gRPC reads them in a thread of its own and tells no more of an exception there than that there was one.
    """

    def __init__(self, binding: Binding, given: object) -> None:
        if not isinstance(given, Iterable) or isinstance(given, Mapping | str | bytes):
            hint = "give an iterable of messages or mappings"
            raise RequestError("requests", given, hint, f"is not what {binding.method.attribute} streams")
        self._binding = binding
        self._given = iter(given)
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[Message]:
        try:
            for item in self._given:
                yield request(self._binding, item, {})
        except BaseException as error:
            self.failure = error
            raise


class Rpc:
    """One RPC of a client. Call it with a request: keyword arguments, a mapping, or a message.

    A unary RPC returns the response message. A server-streaming RPC returns an iterator of messages; a client-streaming
    or bidirectional one takes an iterable of requests. Raises RequestError if a request does not fit the schema, before
    it is sent, SignInError if no token can be had, and a subclass of RpcError for every other status than OK.
    """

    def __init__(self, core: _Core, options: CallOptions, method: Method) -> None:
        self._core = core
        self._options = options
        self.method = method
        """The RPC in the catalog: path, types, HTTP rule, scope and origin."""
        self.__doc__ = f"{method.doc}\n\n{method.path}\nScope: {method.scope}".strip()

    def __call__(self, given: object = None, /, **fields: object) -> Any:
        binding, send = self._core.callable(self.method)
        message: object
        if self.method.client_streaming:
            if fields:
                name = next(iter(fields))
                raise RequestError(name, fields[name], "give one iterable of requests", "is no stream of requests")
            message = _Requests(binding, given)
        else:
            message = request(binding, given, fields)
        return self._stream(send, message) if self.method.server_streaming else self._unary(send, message)

    def __repr__(self) -> str:
        return f"<rpc {self.method.attribute} {self.method.path}>"

    def _unary(self, send: Callable[..., Any], message: object) -> Any:
        token = self._core.tokens.token()
        try:
            return self._attempt(send, message, token)
        except Unauthenticated:
            # The server answers before the method runs, so that one repeat with a fresh token is safe.
            if (fresh := self._renewed(token, message)) is None:
                raise
        return self._attempt(send, message, fresh)

    def _attempt(self, send: Callable[..., Any], message: object, token: Secret) -> Any:
        options = self._options
        failure: BaseException
        try:
            return send(_sendable(message), timeout=options.timeout, metadata=metadata(token.reveal(), options))
        except BaseException as error:
            failure = self._failure(error, message)
        raise failure

    def _stream(self, send: Callable[..., Any], message: object) -> Iterator[Any]:
        token: Secret | None = self._core.tokens.token()
        while token is not None:
            begun = False
            try:
                for answer in self._answers(send, message, token):
                    begun = True
                    yield answer
                return
            except Unauthenticated:
                token = None if begun else self._renewed(token, message)
                if token is None:
                    raise

    def _answers(self, send: Callable[..., Any], message: object, token: Secret) -> Iterator[Any]:
        options = self._options
        failure: BaseException
        call = None
        try:
            call = send(_sendable(message), timeout=options.stream_timeout, metadata=metadata(token.reveal(), options))
            yield from call
        except GeneratorExit:
            raise
        except BaseException as error:
            failure = self._failure(error, message)
        else:
            return
        finally:
            if call is not None:
                call.cancel()
        raise failure

    def _renewed(self, token: Secret, message: object) -> Secret | None:
        """Another token than the one that was refused; None if there is none, or the requests were already taken."""
        if isinstance(message, _Requests):
            return None
        fresh = self._core.tokens.token(force=True, rejected=token)
        return None if fresh == token else fresh

    def _failure(self, error: BaseException, message: object) -> BaseException:
        """What to raise for what grpc raised: without its traceback, whose frames hold the token."""
        if isinstance(message, _Requests) and message.failure is not None:
            return message.failure
        if isinstance(error, grpc.RpcError):
            return from_rpc_error(
                error,
                method=self.method.path,
                scope=self.method.scope,
                org=self._options.org,
                token_source=self._core.tokens.describe,
            )
        if self._core.closed:
            return ClosedError(f"{self.method.path}: the client was closed; make a new one")
        return error.with_traceback(None)


def _sendable(message: object) -> object:
    return iter(message) if isinstance(message, _Requests) else message


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


def _public(node: object, name: str) -> None:
    """No branch has a private name: asking for one, as copy and pickle do, finds nothing."""
    if name.startswith("_"):
        raise AttributeError(name, name=name, obj=node)


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
        _public(self, name)
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
        _public(self, name)
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

    `timeout` is in seconds, for each unary call. `root_certificates` is PEM. `schema` is "verify" (documented RPCs,
    whose field numbers no gateway has confirmed, go to loopback gateways only) or "trust". Raises ConfigError, naming
    setting, value and way out, for a bad or missing setting, and for an endpoint to which a token would travel in
    plaintext.
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
        timeout: float | None = DEFAULT_TIMEOUT,
        root_certificates: bytes | None = None,
        schema: str = "verify",
    ) -> None:
        settings = load_settings(env, endpoint, issuer, client_id, client_secret, token, org_id)
        if tokens is None:
            require_credentials(settings)
            tokens = token_source(settings)
        guard_bearer(settings.target)
        if schema not in ("verify", "trust"):
            raise ConfigError("schema", schema, "use verify or trust", "is no policy")
        channel = open_channel(settings.target, root_certificates=root_certificates)
        self._core = _Core(settings, tokens, channel, schema == "trust" or settings.target.loopback)
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
        """The same client with another deadline for every call, streams included: seconds, None for no deadline."""
        seconds = _seconds(timeout)
        return self._derived(self._core, replace(self._options, timeout=seconds, stream_timeout=seconds))

    def service(self, name: str) -> Area:
        """A service by its full name, e.g. "invora.billing.customers.v2.CustomerService".

        Raises RequestError, with the nearest names, if the catalog has no such service.
        """
        return Area(self._core, self._options, catalog().service(name))

    def close(self) -> None:
        """Close the channel, of this client and of all that share it: calls end, later ones raise ClosedError."""
        self._core.closed = True
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
        _public(self, name)
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
