"""The call plan: from a method of the catalog and Python values to what goes over the wire.

Pure and shared by both clients: message classes, the request, metadata, deadline. Nothing here sends anything, and
nothing here knows a channel.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from invora_grpc.catalog import Method, catalog
from invora_grpc.errors import RequestError
from invora_grpc.values import build

__all__ = [
    "DEFAULT_TIMEOUT",
    "TARGET_ORG_KEY",
    "Binding",
    "CallOptions",
    "bind",
    "load",
    "message_class",
    "metadata",
    "request",
    "stub_arguments",
]

DEFAULT_TIMEOUT: Final = 30.0
"""Seconds that a unary call may take, all in all."""
TARGET_ORG_KEY: Final = "x-target-org-id"
"""The metadata key that names the organization to act in."""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What holds for every call of a client, and is no part of a request."""

    org: str | None = None
    """The organization to act in; None: the token's own."""
    timeout: float | None = DEFAULT_TIMEOUT
    """Seconds until the deadline of a unary call; None: no deadline."""
    stream_timeout: float | None = None
    """Seconds until the deadline of a streaming call; None: no deadline."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A method with its message classes: everything about it that does not change from call to call."""

    method: Method
    request_class: type[Message]
    response_class: type[Message]

    @property
    def serialize(self) -> Callable[[Message], bytes]:
        """Request → bytes."""
        return self.request_class.SerializeToString

    @property
    def parse(self) -> Callable[[bytes], Message]:
        """Bytes → response."""
        return self.response_class.FromString


@functools.cache
def bind(method: Method) -> Binding:
    """Load the message classes of a compiled method.

    Raises ImportError with an explanation if another package has already registered the same proto files with other
    content: one process can hold a proto file only once.
    """
    load(catalog().service(method.service).file)
    return Binding(method, message_class(method.request), message_class(method.response))


@functools.cache
def message_class(full_name: str) -> type[Message]:
    """The class of a compiled message by its full name; its module must have been loaded. Raises KeyError."""
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(full_name))


def load(file: str) -> None:
    """Import the generated module of a proto file and, through it, everything that it refers to."""
    name = "invora_api." + file.removeprefix("invora/").removesuffix(".proto").replace("/", ".") + "_pb2"
    try:
        importlib.import_module(name)
    except TypeError as error:
        raise ImportError(
            f"{name} cannot be loaded: another package in this process has registered the same proto file with other "
            f"content ({error}). Use only one generated copy of the Invora schema per process; other stubs need a "
            "process of their own."
        ) from error


def request(binding: Binding, given: object, fields: Mapping[str, object]) -> Message:
    """Build the request from a message or mapping, or from keyword arguments.

    Raises RequestError, before anything is sent, for what does not fit the schema or for both at once.
    """
    if given is None:
        return build(binding.request_class, fields)
    if fields:
        name = next(iter(fields))
        raise RequestError(name, fields[name], "give the request, or its fields as keyword arguments", "came with both")
    if not isinstance(given, Message | Mapping):
        hint = f"give a {binding.method.request}, a mapping of its fields, or keyword arguments"
        raise RequestError("request", given, hint, f"is a {type(given).__name__}")
    return build(binding.request_class, given)


def metadata(token: str, options: CallOptions) -> tuple[tuple[str, str], ...]:
    """What a call carries: the bearer token and the organization to act in."""
    bearer = ("authorization", f"Bearer {token}")
    return (bearer, (TARGET_ORG_KEY, options.org)) if options.org is not None else (bearer,)


def stub_arguments(binding: Binding) -> dict[str, Any]:
    """Keyword arguments for the multi-callables of a grpc channel."""
    return {"request_serializer": binding.serialize, "response_deserializer": binding.parse}
