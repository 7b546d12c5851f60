"""Servers with reflection for tests: an honest one over any descriptors, and the parts of dishonest ones.

The messages of the protocol are grpcio-reflection's, so that the client's own are checked against them. v1 and v1alpha
differ in nothing but the name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

Request = reflection_pb2.ServerReflectionRequest
Response = reflection_pb2.ServerReflectionResponse
Script = Callable[[Iterator[Any], grpc.ServicerContext], Iterator[Any]]
"""What a server does with a stream: yields Responses, or bytes that are sent as they are."""

PATH = "/grpc.reflection.{}.ServerReflection/ServerReflectionInfo"
BOTH = ("v1", "v1alpha")


# --- what is served -----------------------------------------------------------------------------------------------


def symbols(file: FileDescriptorProto) -> Iterator[str]:
    """All that a file defines and a server finds by name: types, fields, services, methods, extensions."""
    prefix = f"{file.package}." if file.package else ""

    def inside(outer: str, message: DescriptorProto) -> Iterator[str]:
        name = outer + message.name
        yield name
        for one in (message.field, message.enum_type, message.extension):
            yield from (f"{name}.{part.name}" for part in one)
        for nested in message.nested_type:
            yield from inside(f"{name}.", nested)

    for message in file.message_type:
        yield from inside(prefix, message)
    for part in (*file.enum_type, *file.extension):
        yield prefix + part.name
    for service in file.service:
        yield prefix + service.name
        for method in service.method:
            yield f"{prefix}{service.name}.{method.name}"


def refusal(code: grpc.StatusCode, message: str = "") -> Any:
    """An error_response."""
    return Response(error_response={"error_code": code.value[0], "error_message": message})


@dataclass
class Answers:
    """Answers one request as an honest server does.

    `whole`: each answer brings all imports too, as servers in Python and C++ do; else the one file. `listed`: other
    names than those of the services in the files. `unfound`: file names and symbols that it does not find.
    """

    files: Sequence[FileDescriptorProto]
    whole: bool = False
    listed: Sequence[str] | None = None
    unfound: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._files = {file.name: file for file in self.files}
        self._homes = {symbol: file for file in self.files for symbol in symbols(file)}

    def __call__(self, request: Any) -> Any:
        kind = request.WhichOneof("message_request")
        wanted: Any = getattr(request, kind) if kind else ""
        if kind == "list_services":
            return Response(list_services_response={"service": [{"name": name} for name in self._services()]})
        if kind == "file_by_filename" and wanted not in self.unfound and wanted in self._files:
            return self.found(self._files[wanted])
        if kind == "file_containing_symbol" and wanted not in self.unfound and wanted in self._homes:
            return self.found(self._homes[wanted])
        if kind == "file_containing_extension":
            for number, file in self._extensions(wanted.containing_type):
                if number == wanted.extension_number:
                    return self.found(file)
        if kind == "all_extension_numbers_of_type":
            numbers = [number for number, _ in self._extensions(wanted)]
            return Response(all_extension_numbers_response={"base_type_name": wanted, "extension_number": numbers})
        return refusal(grpc.StatusCode.NOT_FOUND, f"there is no {wanted}")

    def found(self, file: FileDescriptorProto) -> Any:
        """The answer that brings a file."""
        files = {file.name: file}
        waiting = [file] if self.whole else []
        while waiting:
            for name in waiting.pop().dependency:
                if name in self._files and name not in files:
                    files[name] = self._files[name]
                    waiting.append(files[name])
        return Response(
            file_descriptor_response={"file_descriptor_proto": [one.SerializeToString() for one in files.values()]}
        )

    def _services(self) -> Sequence[str]:
        if self.listed is not None:
            return self.listed
        return [f"{file.package}.{one.name}".lstrip(".") for file in self.files for one in file.service]

    def _extensions(self, extendee: str) -> Iterator[tuple[int, FileDescriptorProto]]:
        for file in self.files:
            waiting = list(file.message_type)
            found = list(file.extension)
            while waiting:
                message = waiting.pop()
                waiting.extend(message.nested_type)
                found.extend(message.extension)
            for one in found:
                if one.extendee == f".{extendee}":
                    yield one.number, file


def answering(answer: Callable[[Any], Any]) -> Script:
    """A stream on which each request gets the answer of a function."""

    def script(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for request in requests:
            yield answer(request)

    return script


def refusing(code: grpc.StatusCode, message: str = "", *, reads: bool = False) -> Script:
    """A stream that ends with a status; `reads`: only once it was asked something."""

    def script(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        if reads:
            next(requests)
        context.abort(code, message)
        yield from ()

    return script


# --- the server ---------------------------------------------------------------------------------------------------


@dataclass
class Reflecting:
    """A running server as tests see it."""

    address: str = ""
    requests: list[tuple[str, Any]] = field(default_factory=list)
    """Each request: version and message, in the order in which the server took them in."""
    streams: list[tuple[str, dict[str, str]]] = field(default_factory=list, repr=False)
    """Each stream: version and metadata."""
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    @property
    def url(self) -> str:
        """As an endpoint setting."""
        return f"http://{self.address}"

    @property
    def asked(self) -> list[str]:
        """What was asked for, in words: `list`, or the file, symbol or type."""
        return [_words(request) for _, request in self.requests]

    def handler(self, version: str, script: Script) -> Any:
        """grpc's handler of one version of the protocol."""

        def respond(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._lock:
                self.streams.append((version, {key: str(value) for key, value in context.invocation_metadata()}))
            yield from script(self._recorded(version, requests), context)

        method = grpc.stream_stream_rpc_method_handler(
            respond,
            request_deserializer=Request.FromString,
            response_serializer=lambda one: one if isinstance(one, bytes) else one.SerializeToString(),
        )
        return grpc.method_handlers_generic_handler(
            f"grpc.reflection.{version}.ServerReflection", {"ServerReflectionInfo": method}
        )

    def _recorded(self, version: str, requests: Iterator[Any]) -> Iterator[Any]:
        for request in requests:
            with self._lock:
                self.requests.append((version, request))
            yield request


def _words(request: Any) -> str:
    kind = request.WhichOneof("message_request")
    if kind == "list_services":
        return "list"
    wanted: Any = getattr(request, kind)
    return str(wanted) if isinstance(wanted, str) else f"{wanted.containing_type}#{wanted.extension_number}"


@contextmanager
def scripted(
    scripts: Mapping[str, Script],
    *,
    handlers: Sequence[grpc.GenericRpcHandler] = (),
    credentials: grpc.ServerCredentials | None = None,
    workers: int = 8,
) -> Iterator[Reflecting]:
    """A server that does with reflection streams what `scripts` (version → script) say, and serves `handlers` besides.

    It runs until the block is left, on a free port of 127.0.0.1, in plaintext unless there are credentials.
    """
    reflecting = Reflecting()
    options = [("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
    with futures.ThreadPoolExecutor(workers) as pool:
        server = grpc.server(pool, options=options)
        own = tuple(reflecting.handler(version, script) for version, script in scripts.items())
        server.add_generic_rpc_handlers((*own, *handlers))
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        reflecting.address = f"127.0.0.1:{port}"
        server.start()
        try:
            yield reflecting
        finally:
            server.stop(0).wait()


@contextmanager
def reflecting(
    files: Iterable[FileDescriptorProto],
    *,
    versions: Iterable[str] = BOTH,
    whole: bool = False,
    listed: Sequence[str] | None = None,
    unfound: Sequence[str] = (),
    handlers: Sequence[grpc.GenericRpcHandler] = (),
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[Reflecting]:
    """An honest server of these files, by v1 and v1alpha or one of them; see `Answers` and `scripted`."""
    honest = answering(Answers(list(files), whole=whole, listed=listed, unfound=unfound))
    with scripted(dict.fromkeys(versions, honest), handlers=handlers, credentials=credentials) as running:
        yield running
