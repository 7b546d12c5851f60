"""How tests ask a reflection server: by both drivers; and a small schema to ask about."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from reflection_server import scripted

from invora_grpc.schema.asking import areflect, reflect
from invora_grpc.schema.reflection import ReflectionError, Served

File = FileDescriptorProto
Code = grpc.StatusCode
Ask = Callable[..., Served]


def asked(address: str, *, credentials: grpc.ChannelCredentials | None = None, **options: Any) -> Served:
    channel = grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
    with channel:
        return reflect(channel, **{"timeout": 10.0, "endpoint": "http://gateway", **options})


def aasked(address: str, *, credentials: grpc.ChannelCredentials | None = None, **options: Any) -> Served:
    async def ask() -> Served:
        channel = grpc.aio.secure_channel(address, credentials) if credentials else grpc.aio.insecure_channel(address)
        async with channel:
            return await areflect(channel, **{"timeout": 10.0, "endpoint": "http://gateway", **options})

    return asyncio.run(ask())


def file(name: str, *imports: str, package: str = "a", service: str = "", **types: str) -> File:
    """A file with a message per keyword, whose only field is of the type that is said, if any."""
    made = File(name=name, package=package, syntax="proto3", dependency=imports)
    for message, kind in types.items():
        one = made.message_type.add(name=message)
        if kind:
            one.field.add(name="x", number=1, type=11, label=1, type_name=f".{kind}")
    if service:
        first = next(iter(types))
        prefix = f".{package}.{first}" if package else f".{first}"
        made.service.add(name=service).method.add(name="Do", input_type=prefix, output_type=prefix)
    return made


SHOP = (
    file("shop.proto", "order.proto", "money.proto", service="Shop", Buy="a.Order"),
    file("order.proto", "money.proto", Order="a.Money"),
    file("money.proto", Money=""),
    file("other.proto", package="b", service="Other", Thing=""),
)


def failing(ask: Ask, scripts: Any, **options: Any) -> ReflectionError:
    with scripted(scripts) as server, pytest.raises(ReflectionError) as caught:
        ask(server.address, **options)
    return caught.value


def silent(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
    """Accepts, and never answers."""
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(60)
    yield from ()


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
