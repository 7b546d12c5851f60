"""A gateway for tests of the client: a real gRPC server on loopback that records what arrives and answers as told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2

from invora_grpc.call import bind
from invora_grpc.catalog import catalog

Answer = Callable[[Any, grpc.ServicerContext], Any]


@dataclass
class Received:
    """One call as the server saw it. Its repr shows no token, since tests look for tokens in tracebacks."""

    path: str
    metadata: dict[str, str] = field(repr=False)
    request: Any
    time_remaining: float | None


@dataclass
class Gateway(grpc.GenericRpcHandler):
    """Answers every method of the catalog with an empty response, or with what `answers` has for its path."""

    answers: dict[str, Answer] = field(default_factory=dict)
    streams: dict[str, Answer] = field(default_factory=dict)
    """Answers that get the requests as they come, and are not recorded with them."""
    received: list[Received] = field(default_factory=list)
    address: str = ""
    _lock: Any = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """As an endpoint setting."""
        return f"http://{self.address}"

    def service(self, handler_call_details: Any) -> Any:
        """The handler of grpc's own interface."""
        try:
            binding = bind(catalog().method(handler_call_details.method))
        except ValueError:
            return None
        method = binding.method
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        make = getattr(grpc, f"{kind}_rpc_method_handler")

        def respond(request: Any, context: grpc.ServicerContext) -> Any:
            if method.path in self.streams:
                return self.streams[method.path](request, context)
            metadata = {key: str(value) for key, value in context.invocation_metadata()}
            got = request if isinstance(request, Message) else list(request)
            with self._lock:
                self.received.append(Received(method.path, metadata, got, context.time_remaining()))
            answer = self.answers.get(method.path)
            if answer is not None:
                return answer(got, context)
            return iter(()) if method.server_streaming else binding.response_class()

        return make(
            respond,
            request_deserializer=binding.request_class.FromString,
            response_serializer=binding.response_class.SerializeToString,
        )


def abort(code: grpc.StatusCode, message: str = "", *details: Any) -> Any:
    """An answer that refuses, with details if there are any."""

    def answer(_: Any, context: grpc.ServicerContext) -> Any:
        if details:
            status = status_pb2.Status(code=code.value[0], message=message)
            for detail in details:
                status.details.add().Pack(detail)
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, message)

    return answer


def in_turn(*answers: Any) -> Any:
    """An answer that is another one each time; the last one stays."""
    waiting = list(answers)

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        now = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return now(request, context) if callable(now) else now

    return answer


def empty(name: str) -> Any:
    """The empty response of an RPC."""
    return bind(catalog().method(name)).response_class()


@contextmanager
def running_gateway(*pair: bytes) -> Iterator[Gateway]:
    """A gateway that listens on a free port of 127.0.0.1; with TLS if it gets a private key and a certificate."""
    gateway = Gateway()
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[gateway])
    if pair:
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pair[0], pair[1])]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    gateway.address = f"127.0.0.1:{port}"
    server.start()
    try:
        yield gateway
    finally:
        server.stop(None).wait()
