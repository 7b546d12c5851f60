"""From a gRPC call to a handler and back: one generic handler for every method of the catalog.

Each call is admitted by the gate, answered by its handler inside one transaction, and refused with google.rpc.Status
in the trailers. A response leaves only after its transaction was committed; a stream has a transaction per response.
This room knows no service by name, and what it logs of a failure is a traceback with an incident number: no request, no
metadata.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NoReturn
from urllib.parse import quote

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from invora_grpc.call import load, message_class
from invora_grpc.catalog import Method, catalog
from invora_grpc.sandbox.gate import Metadata, admit
from invora_grpc.sandbox.service import ERROR_DOMAIN, Call, Fault, Handler, shortened
from invora_grpc.sandbox.store import Store

REQUEST_ID: Final = "x-request-id"
DETAILS: Final = "grpc-status-details-bin"
MOST_STATUS_BYTES: Final = 6 * 1024
"""For message and details as they travel: a peer takes 8 KB of trailers, and refuses some or all of what has more."""
_MOST_MESSAGE_BYTES = 1500
_LONGEST_VIOLATION = 300  # characters
_LONGEST_REQUEST_ID = 128
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_WRAPPING = 100  # bytes of an Any: its type's URL, tags and lengths
_log = logging.getLogger(__name__)


def load_messages() -> None:
    """Load the messages of every service, so that reflection and handlers find them in the default pool."""
    for service in catalog():
        load(service.file)


class Dispatcher(grpc.GenericRpcHandler):
    """Serves every method of the catalog; those without a handler are refused as not served yet."""

    def __init__(self, store: Store, issuer: str, handlers: Mapping[str, Handler]) -> None:
        self._store = store
        self._issuer = issuer
        self._handlers = handlers
        self._behaviours = {method.path: self._behaviour(method) for method in catalog().methods}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """What serves this path, or None for a path outside the catalog."""
        return self._behaviours.get(handler_call_details.method)

    def answer(self, method: Method, data: bytes, metadata: Metadata, index: int = 0) -> bytes:
        """The serialised response to a serialised request, which has this position on its stream. Raises Fault."""
        call, handler = self._admitted(method, metadata, index)
        request = _parsed(method, data)
        with self._store.transaction():
            return _serialised(method, handler(call, request))

    def answers(self, method: Method, data: bytes, metadata: Metadata) -> Iterator[bytes]:
        """The serialised responses of a server stream, each after what was written up to it is committed. Raises Fault.

        A handler that is left in the middle, as its caller hung up, keeps what it had committed.
        """
        call, handler = self._admitted(method, metadata)
        responses = iter(handler(call, _parsed(method, data)))
        while True:
            with self._store.transaction():
                response = next(responses, None)
                if response is None:
                    return
                serialised = _serialised(method, response)
            yield serialised

    def _admitted(self, method: Method, metadata: Metadata, index: int = 0) -> tuple[Call, Any]:
        """The call, provided that its caller may make it, and what answers it. Raises Fault."""
        caller, org_id = admit(self._store, self._issuer, method, metadata)
        handler = self._handlers.get(method.path)
        if handler is None:
            raise Fault(
                grpc.StatusCode.UNIMPLEMENTED,
                f"the sandbox does not serve {method.full_name} yet",
                reason="NOT_SERVED",
                metadata={"method": method.full_name},
            )
        now = datetime.fromtimestamp(self._store.clock(), UTC)
        return Call(self._store, method, caller, org_id, self._issuer, now, index), handler

    def _behaviour(self, method: Method) -> Any:
        makers: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
            "": (grpc.unary_unary_rpc_method_handler, self._unary),
            "server": (grpc.unary_stream_rpc_method_handler, self._server_stream),
            "bidi": (grpc.stream_stream_rpc_method_handler, self._two_way_stream),
        }
        make, behaviour = makers[method.streaming]
        return make(partial(behaviour, method))

    async def _unary(self, method: Method, data: bytes, context: Any) -> bytes:
        async with _refusing(method, context):
            return self.answer(method, data, context.invocation_metadata())

    async def _server_stream(self, method: Method, data: bytes, context: Any) -> None:
        async with _refusing(method, context):
            for response in self.answers(method, data, context.invocation_metadata()):
                await context.write(response)

    async def _two_way_stream(self, method: Method, requests: AsyncIterator[bytes], context: Any) -> None:
        """One answer per request, each in a transaction of its own; whoever is locked out meanwhile is cut off."""
        async with _refusing(method, context):
            self._admitted(method, context.invocation_metadata())
            index = 0
            async for data in requests:
                await context.write(self.answer(method, data, context.invocation_metadata(), index))
                index += 1


def _serialised(method: Method, response: Message) -> bytes:
    if response.DESCRIPTOR.full_name != method.response:
        raise TypeError(f"{method.full_name} was answered with {response.DESCRIPTOR.full_name}")
    return response.SerializeToString()


@asynccontextmanager
async def _refusing(method: Method, context: Any) -> AsyncIterator[None]:
    """Send the request's id as trailer, and end the call with the status of what is raised inside."""
    trailers = ((REQUEST_ID, _request_id(context.invocation_metadata())),)
    try:
        yield
    except Exception as error:
        await _refuse(method, error, trailers, context)
    context.set_trailing_metadata(trailers)


def _parsed(method: Method, data: bytes) -> Message:
    try:
        return message_class(method.request).FromString(data)
    except DecodeError:
        raise Fault(
            grpc.StatusCode.INVALID_ARGUMENT, f"the request is not a readable {method.request}", reason="MALFORMED"
        ) from None


def _request_id(metadata: Metadata) -> str:
    for key, value in metadata:
        if key == REQUEST_ID and isinstance(value, str) and 0 < len(value) <= _LONGEST_REQUEST_ID:
            return value
    return secrets.token_hex(16)


async def _refuse(
    method: Method,
    error: Exception,
    trailers: tuple[tuple[str, str], ...],
    context: grpc.aio.ServicerContext[Any, Any],
) -> NoReturn:
    """End the call with the status of this exception; never returns."""
    fault = error if isinstance(error, Fault) else _incident(method, error)
    status = status_of(fault)
    await context.abort(fault.code, status.message, ((DETAILS, status.SerializeToString()), *trailers))


def _incident(method: Method, error: Exception) -> Fault:
    incident = secrets.token_hex(4)
    _log.error("incident %s in %s", incident, method.full_name, exc_info=error)
    return Fault(
        grpc.StatusCode.INTERNAL,
        f"the sandbox failed to answer {method.full_name}; its log tells more under incident {incident}",
        reason="INTERNAL",
        metadata={"incident": incident},
    )


def status_of(fault: Fault) -> status_pb2.Status:
    """A fault as google.rpc.Status: ErrorInfo always, BadRequest given violations, then its own details.

    What would not fit a peer's limit is left out: the last violations, whose number is told, then own details.
    """
    status = status_pb2.Status(code=fault.code.value[0], message=_clipped(fault.message))
    told = {name: shortened(text) for name, text in fault.metadata.items()}
    _add(status, error_details_pb2.ErrorInfo(reason=fault.reason, domain=ERROR_DOMAIN, metadata=told))
    room = MOST_STATUS_BYTES - _percent_encoded(status.message) - _base64(status.ByteSize())
    if fault.violations:
        listed = _bad_request(fault.violations, room * 3 // 4 - _WRAPPING)
        room -= _base64(listed.ByteSize() + _WRAPPING)
        _add(status, listed)
    for detail in fault.details:
        room -= _base64(detail.ByteSize() + _WRAPPING)
        if room >= 0:
            _add(status, detail)
    return status


def _add(status: status_pb2.Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def _bad_request(violations: Sequence[tuple[str, str]], room: int) -> error_details_pb2.BadRequest:
    """The first violations that fit into so many bytes; if there are more, the last one tells how many."""
    listed, violation = error_details_pb2.BadRequest(), error_details_pb2.BadRequest.FieldViolation
    for index, (field, description) in enumerate(violations):
        one = violation(field=_short(field), description=_short(description))
        more = violation(field=one.field.partition(".")[0].partition("[")[0])
        more.description = f"and {len(violations) - index} more"
        last = index == len(violations) - 1
        room -= one.ByteSize() + 4  # tag and length
        if room < (0 if last else _LONGEST_VIOLATION):
            listed.field_violations.append(more)
            break
        listed.field_violations.append(one)
    return listed


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_VIOLATION else f"{text[: _LONGEST_VIOLATION - 1]}…"


def _clipped(message: str) -> str:
    """As much of a message as may travel percent-encoded."""
    if len(message) <= _MOST_MESSAGE_BYTES and _percent_encoded(message) <= _MOST_MESSAGE_BYTES:
        return message
    sizes = itertools.accumulate(_percent_encoded(one) for one in message[:_MOST_MESSAGE_BYTES])
    kept = sum(1 for size in sizes if size <= _MOST_MESSAGE_BYTES - _percent_encoded("…"))
    return f"{message[:kept]}…"


def _percent_encoded(text: str) -> int:
    return len(quote(text, safe=_PLAIN))


def _base64(size: int) -> int:
    return -(-size // 3) * 4
