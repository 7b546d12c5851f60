"""The call plan: from a method of the catalog and Python values to what goes over the wire.

Pure and shared by both clients: message classes, the request, options, metadata. Nothing here sends anything, and
nothing here knows a channel.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from invora_grpc.catalog import COMPILED, Method, catalog, generated_path
from invora_grpc.config import header_safe
from invora_grpc.errors import ConfigError, RequestError, is_utf8
from invora_grpc.metadata import TARGET_ORG_KEY, Pair, fitting
from invora_grpc.retry import NEVER, Retry
from invora_grpc.values import build
from invora_grpc.verifying import verifier_of

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor
    from grpc import Compression

    from invora_grpc.config import Secret

__all__ = [
    "DEFAULT_IDLE_TIMEOUT",
    "DEFAULT_TIMEOUT",
    "TARGET_ORG_KEY",
    "UNSET",
    "Binding",
    "CallOptions",
    "bind",
    "changed",
    "descriptor",
    "harmless",
    "load",
    "message_class",
    "metadata",
    "no_token",
    "organization",
    "question",
    "request",
    "seconds",
    "siblings",
]

DEFAULT_TIMEOUT: Final = 30.0
"""Seconds that a unary call may take, all in all."""
DEFAULT_IDLE_TIMEOUT: Final = 120.0
"""Seconds that a stream may stay silent."""
LONGEST_ORG: Final = 255
"""Characters of an organization's id. Over 16 KB, gRPC calls a header an answer that is too large."""


UNSET: Final[Any] = ...
"""The default of an option that may be None."""


def no_token() -> None:
    """A peek that knows no token."""


@dataclass(frozen=True)
class CallOptions:
    """What holds for every call of a client, and is no part of a request."""

    source: Any = None
    """Where the bearer token comes from: a TokenSource."""
    tokens: Any = None
    """The same as the client asks it: itself, or AsyncTokens around it."""
    peek: Callable[[], Any] = no_token
    """The token, if it is known without waiting."""
    org: str | None = None
    """The organization to act in; None: the token's own."""
    timeout: float | None = DEFAULT_TIMEOUT
    """Seconds until the deadline of a unary call, all tries included; None: no deadline."""
    stream_timeout: float | None = None
    """Seconds until the deadline of a streaming call; None: no deadline."""
    idle_timeout: float | None = DEFAULT_IDLE_TIMEOUT
    """Seconds that a stream may stay silent while it is waited for; None: for ever."""
    metadata: tuple[Pair, ...] = ()
    """More metadata of the caller's own."""
    idempotency_key: str | None = None
    """The key for the creates of this client."""
    retry: Retry = field(default_factory=Retry)
    wait_for_ready: bool | None = None
    compression: Compression | None = None
    pairs: tuple[Pair, ...] = field(init=False, default=())
    """All metadata but the bearer token."""

    def __post_init__(self) -> None:
        self.__dict__["pairs"] = self._all_pairs()

    def but(self, **new: Any) -> CallOptions:
        """The same options, with these new. Not checked: see `changed`."""
        made = object.__new__(CallOptions)
        made.__dict__.update(self.__dict__, **new)
        made.__dict__["pairs"] = made._all_pairs()
        return made

    def _all_pairs(self) -> tuple[Pair, ...]:
        return self.metadata if self.org is None else ((TARGET_ORG_KEY, self.org), *self.metadata)


def changed(
    options: CallOptions,
    *,
    timeout: object = UNSET,
    stream_idle_timeout: object = UNSET,
    metadata: object = UNSET,
    idempotency_key: object = UNSET,
    retry: object = UNSET,
    wait_for_ready: object = UNSET,
    compression: object = UNSET,
) -> CallOptions:
    """The options with what was given changed; UNSET leaves one as it is. Raises ConfigError naming the option."""
    new: dict[str, Any] = {}
    if timeout is not UNSET:
        new["timeout"] = new["stream_timeout"] = seconds("timeout", timeout)
    if stream_idle_timeout is not UNSET:
        new["idle_timeout"] = seconds("stream_idle_timeout", stream_idle_timeout)
    if metadata is not UNSET:
        new["metadata"] = fitting(metadata)
    if idempotency_key is not UNSET:
        new["idempotency_key"] = _key(idempotency_key)
    if retry is not UNSET:
        new["retry"] = _retry(retry)
    if wait_for_ready is not UNSET:
        if wait_for_ready is not None and not isinstance(wait_for_ready, bool):
            raise ConfigError("wait_for_ready", wait_for_ready, "give True, False or None")
        new["wait_for_ready"] = wait_for_ready
    if compression is not UNSET:
        new["compression"] = _compression(compression)
    return options.but(**new)


def organization(org_id: object) -> str:
    """An organization's id as it may stand in a header. Raises ConfigError for all else: a call without its
    organization would act in the caller's own."""
    if not isinstance(org_id, str) or not org_id.strip():
        raise ConfigError("org_id", org_id, "give the organization's id as a string", "is no organization id")
    if len(org_id) > LONGEST_ORG:
        raise ConfigError("org_id", org_id, f"give at most {LONGEST_ORG} characters", "is too long for an id")
    return header_safe("org_id", org_id)


def seconds(name: str, value: object) -> float | None:
    """A timeout in seconds, None for none. Raises ConfigError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e7:
        raise ConfigError(name, value, "give seconds above 0, or None for no deadline", "is no timeout")
    return float(value)


def _retry(value: object) -> Retry:
    if isinstance(value, Retry):
        return value
    if not isinstance(value, bool):
        raise ConfigError("retry", value, "give True, False, or a Retry(tries=…)", "is no retry policy")
    return Retry() if value else NEVER


def _key(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > 200 or not is_utf8(value):
        hint = "give text of 1 to 200 characters that identifies what is to be created, e.g. an order number"
        raise ConfigError("idempotency_key", value, hint, "is no key")
    return value


def _compression(value: object) -> Any:
    from grpc import Compression

    if value is None or isinstance(value, Compression):
        return value
    named = {"gzip": Compression.Gzip, "deflate": Compression.Deflate, "none": Compression.NoCompression}
    if not isinstance(value, str) or value not in named:
        raise ConfigError("compression", value, f"use one of {', '.join(named)}, or a grpc.Compression")
    return named[value]


@dataclass(frozen=True, slots=True)
class Binding:
    """A method with its message classes: everything about it that does not change from call to call."""

    method: Method
    request_class: type[Message]
    response_class: type[Message]
    verify: Callable[[Message], None] | None = None
    """Refuses values of a ready message that must not be sent; None if its type can hold none."""


@functools.lru_cache(4096)
def bind(method: Method) -> Binding:
    """The message classes of a method, those of a compiled one loaded.

    Raises ImportError with an explanation if another package has already registered the same proto files with other
    content: one process can hold a proto file only once.
    """
    if method.schema is None:
        load(catalog(method.package).service(method.service).file, method.package)
    find: Callable[[str], type[Message]] = message_class if method.schema is None else method.schema.message_class
    request_class = find(method.request)
    return Binding(method, request_class, find(method.response), verifier_of(request_class))


def siblings(method: Method) -> tuple[Method, ...]:
    """All RPCs of the method's service."""
    services = catalog(method.package) if method.schema is None else method.schema
    methods: tuple[Method, ...] = services.service(method.service).methods
    return methods


@functools.cache
def message_class(full_name: str) -> type[Message]:
    """The class of a compiled message by its full name; its module must have been loaded. Raises KeyError."""
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(full_name))


def descriptor(method: Method) -> MethodDescriptor:
    """The descriptor of a method whose message classes are loaded: what the client builds its requests by."""
    if method.schema is not None:
        found: MethodDescriptor = method.schema.method(method)
        return found
    return descriptor_pool.Default().FindServiceByName(method.service).methods_by_name[method.name]


def harmless(method: Method) -> bool:
    """Whether the schema says that the method has no side effects: `option idempotency_level = NO_SIDE_EFFECTS`."""
    from google.protobuf.descriptor_pb2 import MethodOptions

    bind(method)
    return descriptor(method).GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS


def load(file: str, package: str = COMPILED) -> None:
    """Import the generated module of a proto file and, through it, everything that it refers to."""
    name = generated_path(file, package).replace("/", ".") + "_pb2"
    try:
        importlib.import_module(name)
    except TypeError as error:
        raise ImportError(
            f"{name} cannot be loaded: another package in this process has registered the same proto file with other "
            f"content ({error}). Use only one generated copy of a schema per process; other stubs need a process of "
            "their own."
        ) from error


def request(binding: Binding, given: object, fields: Mapping[str, object]) -> Message:
    """The request from a message or mapping, or from keyword arguments.

    A message of the right type is checked and taken as it is, without a copy. Raises RequestError, before anything is
    sent, for what does not fit the schema or for both at once.
    """
    if given is None:
        return build(binding.request_class, fields)
    if fields:
        name = next(iter(fields))
        raise RequestError(name, fields[name], "give the request, or its fields as keyword arguments", "came with both")
    if type(given) is binding.request_class:
        if binding.verify is not None:
            binding.verify(given)
        return given
    if not isinstance(given, Message | Mapping):
        hint = f"give a {binding.method.request}, a mapping of its fields, or keyword arguments"
        raise RequestError("request", given, hint, f"is a {type(given).__name__}")
    return build(binding.request_class, given)


def question(
    options: CallOptions, secret: Secret, services: Iterable[str] | None, more: object, endpoint: str
) -> dict[str, Any]:
    """How to ask a gateway for its schema, apart from any call. Raises ConfigError for bad metadata."""
    return {
        "services": None if services is None else tuple(services),
        "metadata": (*metadata(secret.reveal(), options), *fitting(more)),
        "timeout": options.timeout if options.timeout is not None else DEFAULT_TIMEOUT,
        "endpoint": endpoint,
        "wait_for_ready": options.wait_for_ready,
    }


def metadata(token: str, options: CallOptions) -> tuple[Pair, ...]:
    """What a call carries: the bearer token unless it is empty, the organization, and the caller's own pairs."""
    return (("authorization", f"Bearer {token}"), *options.pairs) if token else options.pairs
