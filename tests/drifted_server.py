"""A real gateway that speaks drifted schemas: it reads and answers by its own classes, and records by names.

One server holds a whole family, each pair in a package of its own, and describes itself by reflection.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import grpc
from drifted import Call, World
from drifted_truth import fill, named
from google.protobuf import descriptor_pool, duration_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from reflection_server import Answers, Reflecting, answering, scripted

from invora_grpc.schema.descriptors import Schema
from invora_grpc.schema.files import FileSet

DENSITIES = (0.0, 0.1, 0.25, 0.5)
"""How much of a random message is set."""


@cache
def bundled() -> tuple[FileDescriptorProto, ...]:
    """The descriptors of protobuf's own types."""
    modules = (duration_pb2, timestamp_pb2, wrappers_pb2)
    return tuple(FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb) for module in modules)


def as_compiled(world: World) -> Schema:
    """The world as a client knows it that was built with it."""
    return Schema(FileSet.of([*bundled(), *world.files()]), source="the stubs")


class Side:
    """One world with its message classes, made by protobuf alone.

    All of them are made at once and kept: protobuf dies of two threads that make a class that nobody keeps.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        pool = descriptor_pool.DescriptorPool()
        for file in (*bundled(), *world.files()):
            pool.Add(file)
        self._classes: dict[str, Any] = {}
        waiting = [pool.FindMessageTypeByName(world.full_name(identity)) for identity in world.records]
        while waiting:
            descriptor = waiting.pop()
            if descriptor.full_name not in self._classes:
                self._classes[descriptor.full_name] = GetMessageClass(descriptor)
                waiting += [one.message_type for one in descriptor.fields if one.message_type is not None]

    def message(self, identity: str) -> Any:
        """An empty message."""
        return self._classes[self.world.full_name(identity)]()

    def random(self, rng: random.Random, identity: str, density: float | None = None, **options: Any) -> Any:
        """A message with random content, see `fill`."""
        return fill(rng, self.message(identity), rng.choice(DENSITIES) if density is None else density, **options)

    def parsed(self, identity: str, data: bytes) -> dict[str, Any]:
        """What bytes mean here, by names."""
        message = self.message(identity)
        message.ParseFromString(data)
        return named(message)


@dataclass
class Heard:
    """One call as the server took it in."""

    package: str
    identity: str
    """Of the RPC, whatever it is called now."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """By names."""
    answers: list[dict[str, Any]] = field(default_factory=list)
    """By names."""


class DriftedGateway(grpc.GenericRpcHandler):
    """Serves RPCs of many worlds with random answers."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        """All calls, in the order in which they came."""
        self.answer: Callable[[Side, Call, Heard], Any] | None = None
        """What to answer, if it is not to be random."""
        self.raw: bytes | None = None
        """What to answer instead of any message, if anything."""
        self._calls: dict[str, tuple[Side, str, Call]] = {}
        self._taken: dict[str, int] = {}
        self._lock = threading.Lock()
        self._rng = random.Random("answers")

    def serve(self, world: World) -> Side:
        """Serve a world, in place of what its package was before."""
        side = Side(world)
        prefix = f"/{world.package}."
        kept = {path: found for path, found in self._calls.items() if not path.startswith(prefix)}
        self._calls = kept | {world.path(call): (side, name, call) for name, call in world.calls.items()}
        return side

    def forget(self, package: str) -> None:
        """Serve a package no more."""
        self._calls = {path: found for path, found in self._calls.items() if not path.startswith(f"/{package}.")}

    def taken(self, package: str) -> list[Heard]:
        """The calls to a package since this was last asked."""
        with self._lock:
            found = [one for one in self.heard[self._taken.get(package, 0) :] if one.package == package]
            self._taken[package] = len(self.heard)
        return found

    def service(self, handler_call_details: Any) -> Any:
        """The handler of grpc's own interface."""
        found = self._calls.get(handler_call_details.method)
        if found is None:
            return None
        side, identity, call = found
        incoming = "stream" if call.streaming in ("client", "bidi") else "unary"
        outgoing = "stream" if call.streaming in ("server", "bidi") else "unary"

        def respond(given: Any, context: grpc.ServicerContext) -> Any:
            heard = Heard(side.world.package, identity)
            with self._lock:
                self.heard.append(heard)

            def hear(data: bytes) -> None:
                try:
                    heard.requests.append(side.parsed(call.request, data))
                except DecodeError:
                    context.abort(grpc.StatusCode.INTERNAL, "these bytes mean nothing here")

            def each() -> Iterator[bytes]:
                for data in given:
                    hear(data)
                    yield self._answer(side, call, heard)

            if incoming == "unary":
                hear(given)
                return (
                    (self._answer(side, call, heard) for _ in range(3))
                    if outgoing == "stream"
                    else self._answer(side, call, heard)
                )
            if outgoing == "stream":
                return each()
            for data in given:
                hear(data)
            return self._answer(side, call, heard)

        return getattr(grpc, f"{incoming}_{outgoing}_rpc_method_handler")(respond)  # bytes in, bytes out

    def _answer(self, side: Side, call: Call, heard: Heard) -> bytes:
        with self._lock:
            message = self.answer(side, call, heard) if self.answer else side.random(self._rng, call.response)
        heard.answers.append(named(message))
        data: bytes = message.SerializeToString() if self.raw is None else self.raw
        return data


@dataclass
class Running:
    """A gateway that runs, and what it describes of itself."""

    gateway: DriftedGateway
    reflecting: Reflecting
    answers: Answers

    @property
    def url(self) -> str:
        return self.reflecting.url

    @property
    def heard(self) -> list[Heard]:
        return self.gateway.heard

    @property
    def rounds(self) -> int:
        """Streams of reflection so far."""
        return len(self.reflecting.streams)

    def deploy(self, *worlds: World) -> list[Side]:
        """Serve these worlds and describe them, and nothing else in reflection."""
        sides = [self.gateway.serve(world) for world in worlds]
        files = {one.name: one for one in bundled()}
        files |= {one.name: one for world in worlds for one in world.files()}
        self.answers = Answers(list(files.values()), unfound=[name for world in worlds for name in _unfound(world)])
        return sides


def _unfound(world: World) -> list[str]:
    """The file and symbols that reflection does not find."""
    return [world.common, *map(world.full_name, world.unknown)] if world.unserved else []


@contextmanager
def drifted_gateway(*worlds: World, reflection: bool = True) -> Iterator[Running]:
    """A gateway of these worlds on a free port of 127.0.0.1."""
    gateway = DriftedGateway()
    running: Any = None
    honest = answering(lambda request: running.answers(request))
    with scripted({"v1": honest} if reflection else {}, handlers=[gateway], workers=16) as reflecting:
        running = Running(gateway, reflecting, Answers([]))
        running.deploy(*worlds)
        yield running
