"""The plugin over schemas that nobody here wrote: all import, and every message is what plain protoc makes of it.

Two processes per schema, one with the generated package and one with what plain protoc writes, are given the same
random messages of all types, with extensions, and must agree on bytes and text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from message_worker import Worker
from others import Others, google_apis, grpc_schemas, java_tests, protobuf_tests
from values_random import messages, scalar

from invora_grpc.codegen.plugin import generate
from invora_grpc.codegen.schema import Schema, python_name

SCHEMAS = {
    "googleapis": (60, google_apis),
    "grpc": (3, grpc_schemas),
    "protobuf": (60, protobuf_tests),
    "java": (60, java_tests),
}
"""How many files there are at least, and where they are from."""
DESCRIPTOR = re.compile(r"AddSerializedFile\((b'(?:[^'\\]|\\.)*'|b\"(?:[^\"\\]|\\.)*\")\)")
OFFSETS = re.compile(r"_serialized_(?:start|end)=\d+")


@dataclass(frozen=True, repr=False)
class World:
    """One schema, generated in both ways."""

    others: Others
    package: Path
    """The folder of our package."""
    ours: Worker
    theirs: Worker
    types: tuple[Descriptor, ...]
    """All messages, in a pool of their own."""
    schema: Schema

    def agreed(self, message: Any) -> None:
        """Both processes read and write a message as it was written here."""
        file, name = message.DESCRIPTOR.file, python_name(message.DESCRIPTOR)
        data = message.SerializePartialToString(deterministic=True)
        module = self.schema.module(self.schema.file(file.name))
        ours, theirs = self.ours.read(module, name, data), self.theirs.read(plain_module(file.name), name, data)
        assert ours[:3] == theirs[:3]
        assert (ours[2], ours[3]) == (True, module)


def plain_module(proto: str) -> str:
    """As protoc calls it."""
    return proto.removesuffix(".proto").replace("-", "_").replace("/", ".") + "_pb2"


def all_types(messages: Any) -> Iterator[Descriptor]:
    for message in messages:
        yield message
        yield from all_types(one for one in message.nested_types if not one.GetOptions().map_entry)


@pytest.fixture(scope="module", params=SCHEMAS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp(request.param)
    least, source = SCHEMAS[request.param]
    others = source(folder)
    assert len(others.wanted) >= least
    package, plain = folder / "package", others.plain
    response = generate(
        CodeGeneratorRequest(
            file_to_generate=others.wanted, parameter=f"package={others.name}", proto_file=others.files
        )
    )
    assert not response.error
    for file in response.file:
        (package / file.name).parent.mkdir(parents=True, exist_ok=True)
        (package / file.name).write_text(file.content, "utf-8")
    schema = Schema(others.files, others.name, others.wanted)
    pool: Any = DescriptorPool()
    for one in others.files:
        pool.AddSerializedFile(one.SerializeToString())
    order = [one.name for one in others.files if one.name in others.wanted]
    types = [one for name in order for one in all_types(pool.FindFileByName(name).message_types_by_name.values())]
    modules = sorted(path.relative_to(package).with_suffix("").as_posix() for path in package.rglob("*.py"))
    ours = Worker([(name.replace("/", ".").removesuffix(".__init__"), "") for name in modules], package)
    theirs = Worker([(plain_module(name), str(plain / module_path(name))) for name in order], plain)
    yield World(others, package, ours, theirs, tuple(types), schema)
    ours.end()
    theirs.end()


def module_path(proto: str) -> str:
    """Where protoc writes a module."""
    return plain_module(proto).replace(".", "/") + ".py"


def test_descriptors_are_byte_for_byte_those_of_plain_protoc(world: World) -> None:
    for name in world.others.wanted:
        ours = (world.package / f"{world.schema.paths[name]}_pb2.py").read_text("utf-8")
        theirs = (world.others.plain / module_path(name)).read_text("utf-8")
        both = [DESCRIPTOR.search(text) for text in (ours, theirs)]
        assert ast.literal_eval(both[0][1]) == ast.literal_eval(both[1][1]), name
        assert OFFSETS.findall(ours) == OFFSETS.findall(theirs), name


def test_a_message_of_every_type_with_every_field_is_the_same_in_both(world: World) -> None:
    for kind in world.types:
        message = GetMessageClass(kind)()
        fill_all(message)
        world.agreed(message)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_messages_of_any_type_are_the_same_in_both(world: World, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(world.types))
    message: Any = data.draw(messages(GetMessageClass(kind)))
    for one in extensions(kind):
        if one.message_type is None and not one.is_repeated and data.draw(st.booleans()):
            message.Extensions[one] = data.draw(scalar(one))
    world.agreed(message)


# --- messages with everything -----------------------------------------------------------------------------------------


def extensions(kind: Descriptor) -> list[FieldDescriptor]:
    pool: Any = kind.file.pool
    return list(pool.FindAllExtensions(kind)) if kind.is_extendable else []


def fill_all(message: Any, depth: int = 0) -> None:
    """A value in every field and extension; of a oneof, in the last one. Messages are filled two levels deep."""
    if depth > 1:
        return
    for one in message.DESCRIPTOR.fields:
        put(message, getattr(message, one.name), one, depth)
    for one in extensions(message.DESCRIPTOR):
        put(message, message.Extensions[one], one, depth)


def put(message: Any, held: Any, one: FieldDescriptor, depth: int) -> None:
    inner = one.message_type
    if inner is not None and inner.GetOptions().map_entry:
        key, value = sample(inner.fields_by_name["key"]), inner.fields_by_name["value"]
        if value.message_type is not None:
            fill_all(held[key], depth + 1)
        else:
            held[key] = sample(value)
    elif one.is_repeated:
        if inner is not None:
            fill_all(held.add(), depth + 1)
        else:
            held.append(sample(one))
    elif inner is not None:
        held.SetInParent()
        fill_all(held, depth + 1)
    elif one.is_extension:
        message.Extensions[one] = sample(one)
    else:
        setattr(message, one.name, sample(one))


def sample(one: FieldDescriptor) -> Any:
    if one.enum_type is not None:
        return one.enum_type.values[-1].number
    if one.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return b"\xff\x00" if one.type == FieldDescriptor.TYPE_BYTES else "ä"
    return 1
