"""A REST gateway for tests: it turns HTTP requests into RPCs by their google.api.http rules, and sends these by gRPC.

Written from the rules of google/api/http.proto and with protobuf's own JSON, apart from the code under test. Behind it
is a gRPC server with reflection that keeps the bytes of each request.
"""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message
from reflection_server import reflecting

from invora_grpc.call import bind
from invora_grpc.catalog import Method

# --- from HTTP to a request ---------------------------------------------------------------------------------------


class NotFound(LookupError):
    """No RPC, or more than one, has this HTTP path."""


@dataclass
class Rest:
    """The routes of RPCs."""

    methods: Iterable[Method]
    _routes: list[tuple[tuple[int, ...], str, re.Pattern[str], Method]] = field(init=False)

    def __post_init__(self) -> None:
        rules = [(method, method.http) for method in self.methods if method.http is not None]
        self._routes = [(_weights(rule.path), rule.verb, _pattern(rule.path), method) for method, rule in rules]

    def request(self, verb: str, target: str, body: str | None) -> tuple[Method, Any]:
        """The RPC and its request message."""
        path, _, query = target.partition("?")
        routes = sorted(
            ((weights, found, method) for weights, own, shape, method in self._routes if own == verb
             for found in [shape.fullmatch(path)] if found),
            key=lambda one: one[0],
        )  # fmt: skip
        if not routes or (len(routes) > 1 and routes[0][0] == routes[1][0]):
            raise NotFound(f"{verb} {path} is of {len(routes)} RPCs")
        _, found, method = routes[0]
        message = bind(method).request_class()
        assert method.http is not None
        if method.http.body == "*":
            assert not query, "with body * there are no query parameters"
            json_format.Parse(body or "{}", message)
        elif method.http.body and body:
            json_format.Parse(f'{{"{method.http.body}": {body}}}', message)
        names = re.findall(r"\{([\w.]+)", method.http.path)
        pairs = [(name, _decoded(text)) for name, text in zip(names, found.groups(), strict=True)]
        for name, text in (*pairs, *parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))):
            _put(message, name.split("."), text)
        return method, message


def _weights(path: str) -> tuple[int, ...]:
    flat = re.sub(r"\{[\w.]+\}", "*", re.sub(r"\{[\w.]+=([^}]*)\}", r"\1", path))
    return tuple(2 if "**" in one else int("*" in one) for one in flat.split("/"))


def _pattern(path: str) -> re.Pattern[str]:
    def variable(match: re.Match[str]) -> str:
        inner = re.escape(match[1] or "*").replace(r"\*\*", ".+").replace(r"\*", "[^/:]+")
        return f"({inner})"

    parts = re.split(r"(\{[\w.]+(?:=[^}]*)?\})", path)
    return re.compile(
        "".join(re.sub(r"\{[\w.]+=?([^}]*)\}", variable, p) if p[:1] == "{" else re.escape(p) for p in parts)
    )


def _decoded(text: str) -> str:
    return unquote(text, errors="strict")


def _put(message: Any, names: list[str], text: str) -> None:
    """Set a field from the text of a parameter; a repeated one gets one more item."""
    descriptor: Descriptor = message.DESCRIPTOR
    found = {name: one for one in descriptor.fields for name in (one.name, one.json_name)}[names[0]]
    if len(names) > 1:
        getattr(message, found.name).SetInParent()
        return _put(getattr(message, found.name), names[1:], text)
    assert (
        found.is_repeated
        or found.message_type is not None
        or not found.has_presence
        or not message.HasField(found.name)
    )
    value = _value(found, text)
    fresh = type(message)()
    json_format.ParseDict({found.name: [value] if found.is_repeated else value}, fresh)
    if not found.is_repeated and not found.has_presence:
        setattr(message, found.name, getattr(fresh, found.name))
    else:
        message.MergeFrom(fresh)


def _value(found: FieldDescriptor, text: str) -> Any:
    scalar = found
    if found.message_type is not None and found.message_type.full_name.endswith("Value"):
        scalar = found.message_type.fields_by_name["value"]
    if scalar.type == FieldDescriptor.TYPE_BOOL:
        return {"true": True, "false": False}[text]
    if scalar.enum_type is not None and re.fullmatch(r"-?\d+", text):
        return int(text)
    return text


# --- servers ------------------------------------------------------------------------------------------------------


@dataclass
class Sent:
    """One call as it arrived over gRPC."""

    path: str
    metadata: dict[str, Any]
    requests: list[bytes]
    time_remaining: float | None


@dataclass
class Recorder(grpc.GenericRpcHandler):
    """Keeps each call, and answers with one empty message, or two where answers stream."""

    streaming: Mapping[str, tuple[bool, bool]]
    sent: list[Sent] = field(default_factory=list)
    address: str = ""
    http: str = ""
    scheme: str = "http"
    reflected: Any = None

    @property
    def url(self) -> str:
        """The gateway, for gRPC."""
        return f"{self.scheme}://{self.address}"

    @property
    def questions(self) -> list[dict[str, str]]:
        """The metadata of each question for the schema."""
        return [metadata for _, metadata in self.reflected.streams]

    def service(self, handler_call_details: Any) -> Any:
        """The handler of grpc's own interface."""
        path = handler_call_details.method
        if path not in self.streaming:
            return None
        client, server = self.streaming[path]

        def respond(request: Any, context: grpc.ServicerContext) -> Any:
            metadata = dict(context.invocation_metadata())
            requests = list(request) if client else [request]
            self.sent.append(Sent(path, metadata, requests, context.time_remaining()))
            return iter([b"", b""]) if server else b""

        kind = f"{'stream' if client else 'unary'}_{'stream' if server else 'unary'}"
        return getattr(grpc, f"{kind}_rpc_method_handler")(respond)


@dataclass(frozen=True)
class Pems:
    """Paths: an authority, and a certificate of it with its private key, for servers and clients."""

    cacert: str
    cert: str
    key: str

    def pair(self) -> tuple[bytes, bytes]:
        """Private key and certificate."""
        return Path(self.key).read_bytes(), Path(self.cert).read_bytes()


@contextmanager
def recording(
    files: Iterable[FileDescriptorProto], methods: Iterable[Method], tls: Pems | None = None
) -> Iterator[Recorder]:
    """A gRPC server with reflection that keeps what it is sent, and a REST gateway before it, both on loopback.

    `tls`: both want certificates of this authority from their callers.
    """
    files = list(files)
    recorder = Recorder(
        {
            f"/{file.package}.{service.name}/{method.name}": (method.client_streaming, method.server_streaming)
            for file in files
            for service in file.service
            for method in service.method
        }
    )
    own = None if tls is None else grpc.ssl_server_credentials([tls.pair()], Path(tls.cacert).read_bytes(), True)
    with reflecting(files, handlers=[recorder], credentials=own) as running, _channel(running.address, tls) as channel:
        recorder.reflected = running
        recorder.address, recorder.scheme = running.address, "http" if tls is None else "https"
        with _http(Rest(list(methods)), channel, tls) as address:
            recorder.http = f"{recorder.scheme}://{address}"
            yield recorder


def _channel(address: str, tls: Pems | None) -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(address)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(Path(tls.cacert).read_bytes(), *tls.pair()))


@contextmanager
def _http(rest: Rest, channel: grpc.Channel, tls: Pems | None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            body = self.rfile.read(length).decode()
            try:
                if body and self.headers.get_content_type() != "application/json":
                    raise NotFound(f"no RPC takes {self.headers.get_content_type()}")
                method, message = rest.request(self.command, self.path, body)
                text = json_format.MessageToJson(_called(channel, method, message, self.headers))
                status = 200
            except (NotFound, json_format.ParseError) as error:
                status, text = 404, str(error)
            self.send_response(status)
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.cacert)
        context.load_cert_chain(tls.cert, tls.key)
        context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _called(channel: grpc.Channel, method: Method, message: Message, headers: Any) -> Message:
    metadata = [(name.lower(), value) for name, value in headers.items() if name.lower().startswith(("x-", "auth"))]
    answers = bind(method).response_class.FromString
    if method.server_streaming:
        stream: Any = channel.unary_stream(method.path, response_deserializer=answers)
        return list(stream(message.SerializeToString(), metadata=metadata, timeout=10))[-1]
    call: Any = channel.unary_unary(method.path, response_deserializer=answers)
    answer: Message = call(message.SerializeToString(), metadata=metadata, timeout=10)
    return answer
