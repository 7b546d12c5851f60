"""The messages of server reflection, made here, in a private pool.

v1 and v1alpha are the same bytes under two names, so one set of classes does for both. Only fields that the client
reads or writes are in it; protobuf keeps the others as unknown ones.
"""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass

__all__ = ["CODES", "PROTOCOLS", "Ask", "ask_bytes", "path", "response_class"]

PROTOCOLS: Final = ("v1", "v1alpha")
"""The versions, the better one first."""

CODES: Final = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
"""The names of gRPC's status codes, by number."""

_PACKAGE: Final = "grpc.reflection.v1"
_MESSAGES: Final = MappingProxyType(
    {
        "ExtensionRequest": "containing_type=1 string, extension_number=2 int32",
        "ServerReflectionRequest": "file_by_filename=3 string, file_containing_symbol=4 string, "
        "file_containing_extension=5 ExtensionRequest, all_extension_numbers_of_type=6 string, list_services=7 string",
        "FileDescriptorResponse": "file_descriptor_proto=1 bytes*",
        "ExtensionNumberResponse": "base_type_name=1 string, extension_number=2 int32*",
        "ServiceResponse": "name=1 string",
        "ListServiceResponse": "service=1 ServiceResponse*",
        "ErrorResponse": "error_code=1 int32, error_message=2 string",
        "ServerReflectionResponse": "file_descriptor_response=4 FileDescriptorResponse, "
        "all_extension_numbers_response=5 ExtensionNumberResponse, list_services_response=6 ListServiceResponse, "
        "error_response=7 ErrorResponse",
    }
)
"""Message → its fields: name, number, type, and a star if it is repeated. All in the two envelopes are in a oneof."""


class Ask(NamedTuple):
    """One request: a field of ServerReflectionRequest, and its value."""

    kind: str
    """list_services, file_by_filename, file_containing_symbol, file_containing_extension or
    all_extension_numbers_of_type."""
    name: str = ""
    number: int = 0
    """The extension's number."""


def path(protocol: str) -> str:
    """The full path of the method, for one of `PROTOCOLS`."""
    return f"/grpc.reflection.{protocol}.ServerReflection/ServerReflectionInfo"


def ask_bytes(ask: Ask) -> bytes:
    """The request on the wire."""
    value: object = ask.name
    if ask.kind == "file_containing_extension":
        value = {"containing_type": ask.name, "extension_number": ask.number}
    data: bytes = _class("ServerReflectionRequest")(**{ask.kind: value}).SerializeToString()
    return data


def response_class() -> Any:
    """The class of ServerReflectionResponse."""
    return _class("ServerReflectionResponse")


@cache
def _class(name: str) -> Any:
    return GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="reflection.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if name.startswith("ServerReflection"):
            message.oneof_decl.add(name="message")
        for words in fields.split(", "):
            _add_field(message, *words.replace("=", " ").split())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _add_field(message: descriptor_pb2.DescriptorProto, name: str, number: str, kind: str) -> None:
    single = kind.removesuffix("*")
    field = message.field.add(name=name, number=int(number))
    field.label = field.LABEL_OPTIONAL if kind == single else field.LABEL_REPEATED
    if single in _MESSAGES:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{single}"
    else:
        field.type = {"string": field.TYPE_STRING, "bytes": field.TYPE_BYTES, "int32": field.TYPE_INT32}[single]
    if message.oneof_decl:
        field.oneof_index = 0
