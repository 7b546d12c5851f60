"""Server reflection in both of its versions, v1 and v1alpha, over the compiled descriptors.

The two protocols differ in their package name only, and grpcio-reflection ships v1alpha: its servicer answers both. The
v1 descriptor that ``describe grpc.reflection.v1.ServerReflection`` needs is derived from the v1alpha one and kept in a
pool of its own, so that this process can still load another package's copy of it. This room serves descriptors and
asks for no sign-in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeVar

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from invora_grpc.schema.files import with_json_names

T = TypeVar("T")

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"
_V1_FILE = "grpc/reflection/v1/reflection.proto"


def reflection_handlers(services: Iterable[str]) -> tuple[grpc.GenericRpcHandler, grpc.GenericRpcHandler]:
    """The handlers of both reflection services; they list ``services`` and themselves."""
    servicer = aio.ReflectionServicer((*services, V1, V1ALPHA), pool=_Pools())
    behaviour = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    v1, v1alpha = (
        grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": behaviour}) for name in (V1, V1ALPHA)
    )
    return v1, v1alpha


def v1_descriptor() -> descriptor_pb2.FileDescriptorProto:
    """The file of reflection v1: that of v1alpha under the other package name, without its language options."""
    text = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(text)
    text.name, text.package = _V1_FILE, text.package.replace("v1alpha", "v1")
    text.ClearField("options")
    for message in text.message_type:
        for field in (field for field in message.field if field.type_name):
            field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for method in text.service[0].method:
        method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
        method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    return text


class _File:
    """A file as compilers tell it to servers: with all JSON names, which Python's generated code leaves out.

    Clients such as grpcurl know no other names for JSON than these.
    """

    def __init__(self, file: FileDescriptor) -> None:
        self._file = file
        self.name = file.name

    @property
    def dependencies(self) -> list[_File]:
        return [_File(file) for file in self._file.dependencies]

    def CopyToProto(self, proto: descriptor_pb2.FileDescriptorProto) -> None:
        proto.CopyFrom(_told(self._file))


@lru_cache(maxsize=1024)
def _told(file: FileDescriptor) -> descriptor_pb2.FileDescriptorProto:
    """Made once: a client that asks for each service in turn is told the files that they share again each time."""
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    return with_json_names(proto)


class _Pools:
    """The default descriptor pool, with reflection v1 added where the default pool has none."""

    def __init__(self) -> None:
        self._default = descriptor_pool.Default()
        self._v1 = descriptor_pool.DescriptorPool()
        self._v1.Add(v1_descriptor())

    def FindFileByName(self, name: str) -> Any:
        return _File(self._first(lambda pool: pool.FindFileByName(name)))

    def FindFileContainingSymbol(self, name: str) -> Any:
        return _File(self._containing(name))

    def _containing(self, name: str) -> FileDescriptor:
        try:
            return self._first(lambda pool: pool.FindFileContainingSymbol(name))
        except KeyError:  # a pool finds no methods by name
            service, _, method = name.rpartition(".")
            found = self._first(lambda pool: pool.FindServiceByName(service))
            home: FileDescriptor = found.methods_by_name[method].containing_service.file
            return home

    def FindMessageTypeByName(self, name: str) -> Any:
        return self._first(lambda pool: pool.FindMessageTypeByName(name))

    def FindExtensionByNumber(self, message: Any, number: int) -> Any:
        return self._default.FindExtensionByNumber(message, number)

    def FindAllExtensions(self, message: Any) -> Any:
        return self._default.FindAllExtensions(message)

    def _first(self, find: Callable[[descriptor_pool.DescriptorPool], T]) -> T:
        try:
            return find(self._default)
        except KeyError:
            return find(self._v1)
