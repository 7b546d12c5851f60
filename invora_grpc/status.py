"""What a server answered instead of a result: one exception class per gRPC status, with its details decoded.

This room reads a failed call and says what to do about it. It sends nothing, decides no retry and prints nothing. It
is the only one of the error rooms that imports grpc; protobuf is loaded once an answer really carries details.

Rules: the canonical codes of gRPC; details as `google.rpc.Status` under `grpc-status-details-bin`; what each code
means on the gateway as its public guides say.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import grpc

from invora_grpc.config import NO_TOKEN
from invora_grpc.errors import InvoraError, RequestError, one_line

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from invora_grpc.config import Secret

    GrpcError = Exception  # the stubs give grpc.RpcError the methods of grpc.Call, which at run time it has not
else:
    GrpcError = grpc.RpcError

__all__ = [
    "Aborted",
    "AlreadyExists",
    "Cancelled",
    "DataLoss",
    "DeadlineExceeded",
    "ErrorInfo",
    "FailedPrecondition",
    "FieldViolation",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "OutcomeUnknown",
    "PermissionDenied",
    "ResourceExhausted",
    "RpcError",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "from_rpc_error",
    "from_status",
    "masked",
]

DETAILS_KEY: Final = "grpc-status-details-bin"
REQUEST_ID_KEY: Final = "x-request-id"
SHORT: Final = 12
"""Characters from which on a token is looked for in what a server says; shorter ones may be words."""
SHOWN_VIOLATIONS: Final = 20
"""Field violations that the one line of an error shows; `field_violations` has all of them."""

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of the request that the server refused."""

    field: str
    """The field's path in the request."""
    description: str
    """Why."""
    code: str = ""
    """The machine-readable reason, if the server gave one, e.g. `AMOUNT_MISMATCH`."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """`google.rpc.ErrorInfo`: the cause as data."""

    reason: str
    domain: str
    metadata: Mapping[str, str]


class _Details(NamedTuple):  # made at every failure, and quicker so than a frozen class
    """What `grpc-status-details-bin` held."""

    message: str = ""
    messages: tuple[Message, ...] = ()
    error_info: ErrorInfo | None = None
    violations: tuple[FieldViolation, ...] = ()
    retry_after: float | None = None


class RpcError(InvoraError, GrpcError):
    """A call failed with a status. Catch this one, or the subclass of one status.

    The error that grpc raised is `__cause__`, and its `.code()` and `.details()` work; its traceback is dropped, since
    the frames inside grpc hold the call's metadata, and with it the access token. Words of the server come without
    control characters.
    """

    code: grpc.StatusCode
    """The status. An attribute, where grpc's own errors have a method."""
    message: str
    details: tuple[Message, ...]
    """The decoded details. One whose type is not known here stays the `google.protobuf.Any` that it came in."""
    error_info: ErrorInfo | None
    field_violations: tuple[FieldViolation, ...]
    """All fields that the details complain about: of `google.rpc.BadRequest` and the platform's validation errors."""
    retry_after: float | None
    """Seconds to wait before another try, of `google.rpc.RetryInfo`."""
    method: str
    """The full path, `/package.Service/Method`."""
    org: str | None
    request_id: str | None
    """`x-request-id` of the answer: quote it to support."""
    trailing_metadata: Metadata
    retryable: bool
    """Whether the same request may succeed later: UNAVAILABLE, or the server named a wait. This try may have worked."""
    hint: str
    """The way out, in words."""
    unsent: bool = False
    """Whether the request is known not to have left, since what had to come before it failed."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str = "",
        *,
        method: str = "",
        scope: str | None = None,
        org: str | None = None,
        token_source: str | None = None,
        request_id: str | None = None,
        trailing_metadata: Metadata = (),
        details_bin: bytes = b"",
    ) -> None:
        found = _decode(details_bin)
        self._details_bin = details_bin
        self.code = code
        self.message = one_line(message or found.message)
        self.details, self.error_info, self.field_violations = found.messages, found.error_info, found.violations
        self.retry_after = found.retry_after
        self.method, self.org = method, org
        self.request_id = one_line(request_id, 200) if request_id else None
        self.trailing_metadata = trailing_metadata
        self.retryable = code is grpc.StatusCode.UNAVAILABLE or (
            code is grpc.StatusCode.RESOURCE_EXHAUSTED and self.retry_after is not None
        )
        self.hint = _hint(self, scope, token_source)
        super().__init__(_line(self, self.hint))

    def _state(self) -> dict[str, Any]:
        """Details travel as their bytes: classes made from descriptors at run time do not pickle."""
        return {key: value for key, value in self.__dict__.items() if key != "details"}

    def _set_state(self, state: Mapping[str, Any]) -> None:
        super()._set_state({**state, "details": _decode(state["_details_bin"]).messages})


class Cancelled(RpcError):
    """CANCELLED: the call was given up, by this side as a rule."""


class Unknown(RpcError):
    """UNKNOWN: the server failed without saying how."""


class InvalidArgument(RpcError):
    """INVALID_ARGUMENT: the request is wrong whatever the state; see `field_violations`."""


class DeadlineExceeded(RpcError):
    """DEADLINE_EXCEEDED: no answer in time. The server may have done it, or may do it yet."""


class NotFound(RpcError):
    """NOT_FOUND: no such record for this tenant."""


class AlreadyExists(RpcError):
    """ALREADY_EXISTS: the key is taken."""


class PermissionDenied(RpcError):
    """PERMISSION_DENIED: known, but not allowed: scope, tenant or plan."""


class ResourceExhausted(RpcError):
    """RESOURCE_EXHAUSTED: a rate or plan limit, or a message over a size limit. No proof that nothing happened."""


class FailedPrecondition(RpcError):
    """FAILED_PRECONDITION: the record is in the wrong state for this."""


class Aborted(RpcError):
    """ABORTED: somebody else changed the record; its concurrency stamp is stale."""


class OutOfRange(RpcError):
    """OUT_OF_RANGE: an expired cursor, or a page that is too large."""


class Unimplemented(RpcError):
    """UNIMPLEMENTED: this server does not serve the method."""


class Internal(RpcError):
    """INTERNAL: the server broke, or the two sides do not understand each other."""


class Unavailable(RpcError):
    """UNAVAILABLE: no connection, or something that the server depends on is down."""


class DataLoss(RpcError):
    """DATA_LOSS: data is lost or corrupt."""


class Unauthenticated(RpcError):
    """UNAUTHENTICATED: the token is missing, wrong or expired."""


class OutcomeUnknown(RpcError):
    """A write failed in a way that leaves open whether it was carried out: neither success nor failure.

    `code`, `message` and `details` are those of the failure, which is `__cause__`; `retryable` is False. Do not simply
    send the call again, unless it has a key: `reconcile()` looks up what is stored. After a pickle, `reconcile` is no
    longer possible.
    """

    keys: tuple[str, ...]
    """The keys that the call's records were to have; empty for calls without one."""

    def __init__(self, cause: RpcError, *, keys: tuple[str, ...] = ()) -> None:
        self.__dict__.update(cause.__dict__)
        self.keys = keys
        self._look: Callable[[], Any] | None = None
        way = f"the key is {', '.join(keys[:3])}{'…' if len(keys) > 3 else ''}: " if keys else ""
        way += "reconcile() looks it up" if keys else "look at the record before you repeat it"
        # Without the hint of the failure, which may be "try again": that could carry it out twice.
        InvoraError.__init__(self, f"outcome unknown, it may have been carried out ({way}): {_line(cause, hint='')}")
        self.hint, self.retryable = way, False
        self.__cause__ = cause

    @property
    def key(self) -> str | None:
        """The key, if it is one."""
        return self.keys[0] if len(self.keys) == 1 else None

    def reconcile(self) -> Any:
        """Look at what is stored now: a `Reconciliation`. With the asynchronous client, await it.

        Raises the RpcError of a look-up that failed, and RequestError if the call had no key to look up.
        """
        if self._look is None:
            hint = "get the record yourself, by what identifies it"
            raise RequestError("reconcile", self.method, hint, "has no key to look up, or comes out of a pickle")
        return self._look()

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "_look": None}


_KINDS: Final[tuple[type[RpcError], ...]] = (
    *(Cancelled, Unknown, InvalidArgument, DeadlineExceeded, NotFound, AlreadyExists, PermissionDenied, Aborted),
    *(ResourceExhausted, FailedPrecondition, OutOfRange, Unimplemented, Internal, Unavailable, DataLoss),
    Unauthenticated,
)
_CLASSES: Final[Mapping[grpc.StatusCode, type[RpcError]]] = {
    grpc.StatusCode[re.sub("(?<=[a-z])(?=[A-Z])", "_", kind.__name__).upper()]: kind for kind in _KINDS
}

_HINTS: Final[Mapping[grpc.StatusCode, str]] = {
    grpc.StatusCode.CANCELLED: "the call was given up; a write may have happened all the same",
    grpc.StatusCode.UNKNOWN: "report the request id to support",
    grpc.StatusCode.INVALID_ARGUMENT: "correct the request; sent again unchanged it fails again",
    grpc.StatusCode.DEADLINE_EXCEEDED: "a write may still land: look before you repeat it; for reads raise the timeout",
    grpc.StatusCode.NOT_FOUND: "check the id and the organization; records of other tenants are not visible",
    grpc.StatusCode.ALREADY_EXISTS: "the key is taken: get the existing record, or use another key",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "a rate or plan limit is reached: slow down, or raise the plan",
    grpc.StatusCode.FAILED_PRECONDITION: "the record's state forbids this: get it and check its state first",
    grpc.StatusCode.ABORTED: "the concurrency stamp is stale: get the record again and repeat the change on it",
    grpc.StatusCode.OUT_OF_RANGE: "the cursor has expired or the page is too large: begin the list again",
    grpc.StatusCode.UNIMPLEMENTED: "this gateway does not serve the method: check its version and the endpoint",
    grpc.StatusCode.INTERNAL: "report the request id to support",
    grpc.StatusCode.UNAVAILABLE: "try again later, with growing pauses",
    grpc.StatusCode.DATA_LOSS: "report the request id to support",
}

_CONNECTION_HINTS: Final[tuple[tuple[str, str], ...]] = (
    ("connection refused", "nothing listens there: check host and port of the endpoint"),
    ("wrong_version_number", "that port does not speak TLS: check the endpoint's scheme and port"),
    ("hostname verification check failed", "the certificate is for another host: check the endpoint's host name"),
    ("certificate has expired", "the certificate has expired: tell who runs the server, and check your clock"),
    ("failed to create security handshaker", "key and certificate do not fit together: check the client certificate"),
    ("certificate_verify_failed", "the server's certificate is not trusted here: check host and root certificates"),
    ("handshake", "the TLS handshake failed: check the endpoint's scheme, port and root certificates"),
    ("dns resolution failed", "the host name does not resolve: check the endpoint"),
    ("errors resolving", "the host name does not resolve: check the endpoint"),
    (": socket closed", "the server hung up: check the endpoint's scheme, and whether it wants a client certificate"),
)
"""Words of gRPC's own UNAVAILABLE messages, and what they mean: different causes need different cures."""


def from_rpc_error(
    err: grpc.RpcError,
    *,
    method: str,
    scope: str | None = None,
    org: str | None = None,
    token_source: str | None = None,
    secret: Secret | None = None,
) -> RpcError:
    """The typed error of a failed call, with `err` as its `__cause__`.

    Takes what grpc raises (a `grpc.Call` at the same time) and `grpc.aio.AioRpcError`. `method` is the full path,
    `scope` the permission that the method needs, `token_source` a word about where the token came from, `secret` the
    token: if the server repeats it, asterisks stand in its place, and there is no `__cause__`, which would show it.
    Never raises: an error without a status is UNKNOWN, broken details count as none.
    """
    told = _metadata(err, "trailing_metadata")
    trailers = tuple([(key, masked(value, secret)) for key, value in told])
    binary, request_id = _first(trailers, DETAILS_KEY), _first(trailers, REQUEST_ID_KEY)
    if request_id is None:
        request_id = masked(_first(_metadata(err, "initial_metadata"), REQUEST_ID_KEY), secret)
    code, said = _ask(err, "code"), _ask(err, "details")
    message = masked(said, secret)
    error = from_status(
        code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN,
        message if isinstance(message, str) else "",
        method=method,
        scope=scope,
        org=org,
        token_source=token_source,
        request_id=request_id if isinstance(request_id, str) else None,
        trailing_metadata=trailers,
        details_bin=binary if isinstance(binary, bytes) else b"",
    )
    if message == said and trailers == told:
        err.__traceback__ = None
        error.__cause__ = err
    return error


def masked(value: Any, secret: Secret | None) -> Any:
    """A text or bytes with as many asterisks in the place of the secret; anything else as it is."""
    if secret is None or len(secret.reveal()) < SHORT:
        return value
    if isinstance(value, str):
        return value.replace(secret.reveal(), "*" * len(secret.reveal()))
    if isinstance(value, bytes):  # lengths in it stay right
        return value.replace(secret.reveal().encode(), b"*" * len(secret.reveal().encode()))
    return value


def from_status(code: grpc.StatusCode, message: str = "", **facts: Any) -> RpcError:
    """The typed error of a status, whatever carried it; `facts` are the keyword arguments of `RpcError`."""
    return _CLASSES.get(code, RpcError)(code, message, **facts)


def _ask(err: object, name: str) -> Any:
    """What a method of grpc's error returns; None where there is no such method."""
    method = getattr(err, name, None)
    return method() if callable(method) else None


def _metadata(err: object, name: str) -> Metadata:
    return tuple([(str(key), value) for key, value in _ask(err, name) or ()])


def _first(pairs: Metadata, name: str) -> str | bytes | None:
    for key, value in pairs:
        if key == name:
            return value
    return None


def _line(error: RpcError, hint: str) -> str:
    """`NOT_FOUND /p.S/M: message (hint); field: description`."""
    line = f"{error.code.name} {error.method}".rstrip() + f": {error.message}".rstrip(": ")
    line += f" ({hint})" if hint and hint.partition(", ")[0] not in error.message else ""  # once is enough
    violations = [item for item in error.field_violations if f"{item.field}: {item.description}" not in error.message]
    line += "".join(f"; {item.field}: {item.description}" for item in violations[:SHOWN_VIOLATIONS])
    return line + (f"; and {len(violations) - SHOWN_VIOLATIONS} more" if len(violations) > SHOWN_VIOLATIONS else "")


def _hint(error: RpcError, scope: str | None, token_source: str | None) -> str:
    """The way out. Connection trouble is told apart by gRPC's own words."""
    said = error.message.lower()
    if error.code is grpc.StatusCode.PERMISSION_DENIED:
        where = f" in organization {error.org}" if error.org else ""
        need = f"the scope {scope}{where}" if scope else f"another permission{where}"
        return f"the method needs {need}; ask an administrator for a role that grants it, and check the plan"
    if error.code is grpc.StatusCode.UNAUTHENTICATED:
        if token_source is None:
            return "check the client id and secret, or the token"
        if token_source == NO_TOKEN:
            return "the call went without a token: sign in, e.g. with client id and secret"
        return f"the token of {token_source} was refused: check the client id and secret, or the token"
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and "metadata size exceeds" in said:
        return (
            "the answer's metadata is over the size limit, so that its real status is lost; a write may have happened"
        )
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and "message larger than max" in said:
        return "a message is over the size limit: ask for smaller pages; a write may have happened all the same"
    if error.retryable and error.retry_after is not None:
        return f"try again in {error.retry_after:g} s"
    if error.code is grpc.StatusCode.DEADLINE_EXCEEDED and said.startswith("not sent: "):
        waited_for = "the token" if "no token" in said else "the gateway's schema"
        return f"nothing happened: raise the timeout, or see why {waited_for} takes that long"
    if error.code is grpc.StatusCode.UNAVAILABLE:
        return next((hint for words, hint in _CONNECTION_HINTS if words in said), _HINTS[error.code])
    return _HINTS.get(error.code, "")


def _decode(binary: bytes) -> _Details:
    """The details of a serialised `google.rpc.Status`; empty if there are none or they are broken."""
    if not binary:
        return _Details()
    status_class, unpacked, decode_error = _decoders()
    try:
        status = status_class.FromString(binary)
    except decode_error:
        return _Details()
    messages = tuple([unpacked(item) for item in status.details])
    info = retry = None
    violations: list[FieldViolation] = []
    for message in messages:
        name = message.DESCRIPTOR.full_name
        if name == "google.rpc.ErrorInfo":  # of several, the first counts
            info = info or _error_info(message)
        elif name == "google.rpc.RetryInfo":
            retry = message if retry is None else retry
        else:
            violations += _violations(name, message)
    return _Details(status.message, messages, info, tuple(violations), _retry_after(retry))


@functools.cache
def _decoders() -> tuple[Any, Callable[[Any], Message], type[Exception]]:
    """`google.rpc.Status`, a function that unpacks an Any, and what broken bytes raise. Loads protobuf."""
    from google.protobuf import descriptor_pool, message_factory
    from google.protobuf.message import DecodeError

    importlib.import_module("google.rpc.error_details_pb2")  # registers the standard types
    pool = descriptor_pool.Default()
    parsers: dict[str, Callable[[bytes], Message]] = {}

    def unpacked(packed: Any) -> Message:
        """What is inside; the Any itself if its type is not in the default pool or its bytes are broken."""
        name = packed.type_url.rpartition("/")[2]
        try:
            parse = parsers.get(name)
            if parse is None:  # only names of the pool are kept: there are not more of them than types
                parse = message_factory.GetMessageClass(pool.FindMessageTypeByName(name)).FromString
                parsers[name] = parse
            return parse(packed.value)
        except (KeyError, DecodeError):
            return cast("Message", packed)

    return importlib.import_module("google.rpc.status_pb2").Status, unpacked, DecodeError


def _error_info(info: Any) -> ErrorInfo:
    metadata = {one_line(key): one_line(value) for key, value in info.metadata.items()}
    return ErrorInfo(one_line(info.reason), one_line(info.domain), metadata)


def _retry_after(info: Any) -> float | None:
    """Seconds; a negative wait counts as none at all."""
    if info is None or not info.HasField("retry_delay"):
        return None
    return max(0.0, float(info.retry_delay.seconds) + float(info.retry_delay.nanos) / 1e9)


def _violations(name: str, message: Any) -> Iterable[FieldViolation]:
    if name == "google.rpc.BadRequest":
        return [
            FieldViolation(_text(item, "field"), _text(item, "description"), _text(item, "reason"))
            for item in message.field_violations
        ]
    if name.startswith("invora.") and name.endswith(".ValidationError"):
        return [FieldViolation(_text(message, "field"), _text(message, "message"), _text(message, "code"))]
    return []


def _text(message: Message, name: str) -> str:
    """A string field of a message; empty if this version of the message has none."""
    value = getattr(message, name, "")
    return one_line(value) if isinstance(value, str) else ""
