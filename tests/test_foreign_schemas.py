"""Clients of schemas that nobody here wrote: gRPC's own services, Google's and protobuf's, each RPC against an echo.

The descriptors of the first two come out of the packages that bring their stubs, which stay loaded beside the generated
ones; those of protobuf's unittest protos out of its sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest
from door import AsyncDoor, Door
from foreign import Echo, generated, serving
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import given, settings
from hypothesis import strategies as st
from others import protobuf_services
from values_random import messages

from invora_grpc import to_python
from invora_grpc.call import bind
from invora_grpc.catalog import Method, catalog

PACKAGE = "others_api"
MODULES = (
    "grpc_health.v1.health_pb2",
    "grpc_reflection.v1alpha.reflection_pb2",
    "grpc_channelz.v1.channelz_pb2",
    "google.cloud.location.locations_pb2",
)
SERVICES = (
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
    "grpc.channelz.v1.Channelz",
    "google.cloud.location.Locations",
)
DOORS = {Door: "Client", AsyncDoor: "AsyncClient"}


@dataclass
class World:
    """A server of all the services, and a client of it."""

    server: Echo
    door: Door
    client: Any


def closure(file: FileDescriptor, found: dict[str, FileDescriptorProto]) -> None:
    """Add a file to what was found, behind all that it imports."""
    if file.name not in found:
        for other in file.dependencies:
            closure(other, found)
        found[file.name] = FileDescriptorProto.FromString(file.serialized_pb)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a package with these schemas."""
    found: dict[str, FileDescriptorProto] = {}
    wanted = [import_module(name).DESCRIPTOR for name in MODULES]
    for file in wanted:
        closure(file, found)
    generated(tmp_path_factory.mktemp("others"), PACKAGE, found.values(), [file.name for file in wanted])
    return PACKAGE


@pytest.fixture(scope="module", params=DOORS, ids=["sync", "async"])
def world(request: pytest.FixtureRequest, package: str) -> Iterator[World]:
    door = request.param()
    door.client_class = getattr(import_module(f"{package}.client"), DOORS[request.param])
    with serving(package) as server:
        yield World(server, door, door.open(endpoint=server.url))
        door.close()


def call(world: World, method: Method, requests: list[Any]) -> list[Any]:
    """What an RPC answers to the request, or to the stream of them."""
    rpc = getattr(world.client.service(method.service), method.rpc)
    answer = rpc(iter(requests)) if method.client_streaming else None
    if method.server_streaming:
        return world.door.every(answer if answer is not None else rpc(requests[0]))
    return [world.door.call(rpc, iter(requests) if method.client_streaming else requests[0])]


def test_every_service_is_in_the_tree(world: World) -> None:
    assert {service.name for service in catalog(PACKAGE)} == set(SERVICES)
    for service in catalog(PACKAGE):
        area = getattr(getattr(world.client, service.module), service.area)
        assert area.service == service
        assert {method.rpc for method in service.methods} <= set(dir(area))


@pytest.mark.parametrize("service", SERVICES)
@settings(max_examples=10)
@given(data=st.data())
def test_what_is_sent_arrives_and_what_is_answered_comes_back(world: World, service: str, data: st.DataObject) -> None:
    for method in catalog(PACKAGE).service(service).methods:
        binding, several = bind(method), st.lists(st.integers(), min_size=1, max_size=3)
        request = data.draw(messages(binding.request_class))
        sent = [request] * (len(data.draw(several)) if method.client_streaming else 1)
        answers = [data.draw(messages(binding.response_class))] * (
            len(data.draw(several)) if method.server_streaming else 1
        )
        world.server.answers[method.path] = lambda _, __, method=method, answers=answers: (
            iter(answers) if method.server_streaming else answers[0]
        )
        assert call(world, method, sent) == answers
        assert world.server.calls[-1].requests == sent


@settings(max_examples=25)
@given(data=st.data())
def test_what_is_read_as_plain_python_can_be_sent_as_it_is(world: World, data: st.DataObject) -> None:
    method = data.draw(st.sampled_from([one for one in catalog(PACKAGE).methods if not one.client_streaming]))
    binding = bind(method)
    request = data.draw(messages(binding.request_class))
    response = binding.response_class()
    world.server.answers[method.path] = lambda *_: iter([response]) if method.server_streaming else response
    assert call(world, method, [to_python(request)]) == [response]
    assert world.server.calls[-1].requests == [request]


@pytest.fixture(scope="module")
def unittests(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a package with the services of protobuf's tests of itself."""
    files, wanted = protobuf_services(tmp_path_factory.mktemp("sources"))
    generated(tmp_path_factory.mktemp("unittests"), "unittest_api", files, wanted)
    return "unittest_api"


@pytest.mark.parametrize("make", DOORS, ids=["sync", "async"])
def test_the_services_of_protobufs_own_tests_are_called_extensions_included(unittests: str, make: type[Door]) -> None:
    pb2 = import_module(f"{unittests}.google.protobuf.unittest_no_generic_services_pb2")
    message = pb2.TestMessage(a=7)
    message.Extensions[pb2.test_extension] = 8
    requests = {service.name: message if "no_generic" in service.name else None for service in catalog(unittests)}
    assert [name.rpartition(".")[2] for name in requests] == ["TestService", "TestService"]
    door = make()
    door.client_class = getattr(import_module(f"{unittests}.client"), DOORS[make])
    with serving(unittests) as server:
        world = World(server, door, door.open(endpoint=server.url))
        for method in catalog(unittests).methods:
            binding, sent = bind(method), requests[method.service]
            answers = [binding.response_class() if sent is None else sent]
            assert call(world, method, [binding.request_class() if sent is None else sent]) == answers
            assert server.calls[-1].path == method.path
        door.close()
