"""The contract between the sandbox's server and the services that it serves.

A handler is a plain function from a call and a request to a response. It runs inside one transaction of the store: if
it raises, nothing was written. That of a server stream is a generator of responses: what it wrote before each of them
is committed when the response leaves. That of a two-way stream answers each request on its own. The server has already
checked sign-in, scope and tenant; a handler reads and writes only records of `call.org_id`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import Message

if TYPE_CHECKING:
    from invora_grpc.catalog import Method
    from invora_grpc.sandbox.idp import Caller
    from invora_grpc.sandbox.store import Store

ERROR_DOMAIN: Final = "sandbox.invora.app"
"""`domain` of every ErrorInfo that the sandbox sends."""
_LONGEST_ECHO: Final = 100

Wrong = list[tuple[str, str]]
"""Paths of the fields that cannot be accepted, and why."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler knows about the call that it answers."""

    store: Store
    method: Method
    caller: Caller
    org_id: str
    """The tenant that the call acts in: the caller's own, or the one in x-target-org-id."""
    issuer: str
    """The identity provider's issuer URL, for handlers that hand out tokens."""
    now: datetime
    """Aware UTC time of the call, to the microsecond; one value for everything that the call writes."""
    index: int = 0
    """Position of the request on a two-way stream."""


class Fault(Exception):
    """An answer that is not OK: becomes google.rpc.Status with ErrorInfo and, given violations, BadRequest."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str,
        violations: Sequence[tuple[str, str]] = (),
        metadata: Mapping[str, str] | None = None,
        details: Sequence[Message] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        """UPPER_SNAKE_CASE word for ErrorInfo.reason, e.g. STALE_STAMP."""
        self.violations = tuple(violations)
        """(field path, description) pairs."""
        self.metadata = dict(metadata or {})
        """Key and value pairs for ErrorInfo.metadata."""
        self.details = tuple(details)
        """Further detail messages, sent after ErrorInfo and BadRequest."""


def invalid(field: str, description: str) -> Fault:
    """INVALID_ARGUMENT for one field of the request (path as in the schema, e.g. "changes.lines[0].tax")."""
    return invalid_fields([(field, description)])


def invalid_fields(wrong: Sequence[tuple[str, str]]) -> Fault:
    """INVALID_ARGUMENT for all these fields; the details list them, the message tells the first."""
    return Fault(grpc.StatusCode.INVALID_ARGUMENT, first_of(wrong), reason="INVALID_FIELD", violations=wrong)


def first_of(wrong: Sequence[tuple[str, str]]) -> str:
    """The first of these violations in words, and how many more there are."""
    field, description = wrong[0]
    return f"{field}: {description}" + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else "")


@contextmanager
def noting(wrong: Wrong) -> Iterator[None]:
    """Note which fields the INVALID_ARGUMENT raised inside names, and go on; other exceptions pass."""
    try:
        yield
    except Fault as fault:
        if fault.code is not grpc.StatusCode.INVALID_ARGUMENT or not fault.violations:
            raise
        wrong += fault.violations


def expected(wrong: Wrong, holds: object, path: str, description: str = "is required") -> None:
    """Note that the field is wrong unless something holds."""
    if not holds:
        wrong.append((path, description))


def refuse(wrong: Wrong) -> None:
    """Raises INVALID_ARGUMENT if any field is wrong."""
    if wrong:
        raise invalid_fields(wrong)


def echo(text: str) -> str:
    """What a caller sent, quoted as an error repeats it: shortened, as a status has little room."""
    return repr(shortened(text))


def shortened(text: str) -> str:
    """At most 100 characters of a text."""
    return text if len(text) <= _LONGEST_ECHO else f"{text[: _LONGEST_ECHO - 1]}…"


def not_found(what: str, key: str) -> Fault:
    """NOT_FOUND for a record of this tenant; never tells whether another tenant has it."""
    return Fault(
        grpc.StatusCode.NOT_FOUND,
        f"there is no {what} with the key {echo(key)} in this organization",
        reason="NOT_FOUND",
        metadata={"resource": what, "key": shortened(key)},
    )


def already_exists(what: str, key: str) -> Fault:
    """ALREADY_EXISTS: the tenant has a record with this key."""
    return Fault(
        grpc.StatusCode.ALREADY_EXISTS,
        f"a {what} with the key {echo(key)} exists already in this organization",
        reason="KEY_TAKEN",
        metadata={"resource": what, "key": shortened(key)},
    )


def stale_stamp(what: str, key: str) -> Fault:
    """ABORTED: the concurrency stamp is not the record's latest."""
    return Fault(
        grpc.StatusCode.ABORTED,
        f"the {what} {echo(key)} has changed since this concurrency_stamp was read",
        reason="STALE_STAMP",
        metadata={"resource": what, "key": shortened(key)},
    )


def failed_precondition(message: str, reason: str) -> Fault:
    """FAILED_PRECONDITION: the record is in the wrong state."""
    return Fault(grpc.StatusCode.FAILED_PRECONDITION, message, reason=reason)


Handler = Callable[[Call, Message], Message | Iterator[Message]]
"""Answers one RPC: a response, or the responses of a server stream."""

Registry = dict[str, Handler]
"""gRPC path ("/package.Service/Method") → handler."""


def registry(service: str, **handlers: Callable[[Call, Any], Message | Iterator[Message]]) -> Registry:
    """The registry of one service's handlers, given by RPC name; each may name the class of its own request."""
    return {f"/{service}/{name}": handler for name, handler in handlers.items()}
