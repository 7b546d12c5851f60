"""Writes whose outcome is unknown, as a shell is told of them: the way out is a command, not a method call."""

from __future__ import annotations

import shlex
from typing import Any

from invora_grpc.attempt import record_plan
from invora_grpc.catalog import Method
from invora_grpc.errors import InvoraError
from invora_grpc.idempotency import key_plan
from invora_grpc.status import OutcomeUnknown

__all__ = ["InDoubt", "in_doubt"]


class InDoubt(InvoraError):
    """`OutcomeUnknown` with a command as its way out."""

    kind = "OutcomeUnknown"
    code: Any
    """The gRPC status of the failure."""

    def __init__(self, error: OutcomeUnknown, way: str) -> None:
        self.__dict__.update({name: value for name, value in error.__dict__.items() if name != "_look"})
        super().__init__(str(error).replace(error.hint, way, 1))
        self.hint = way


def in_doubt(method: Method, error: OutcomeUnknown) -> InDoubt:
    """The same for a shell, which has no `reconcile()`."""
    return InDoubt(error, _way_on(method, error))


def _way_on(method: Method, error: OutcomeUnknown) -> str:
    """What to run in order to find out, and, for a create under one key, what makes no second record."""
    keyed, written = key_plan(method), record_plan(method)
    if not error.keys:
        return error.hint
    if keyed is None:
        return _looks(written.lookup, written.field, error.keys) if written is not None else error.hint
    look = _looks(keyed.lookup, keyed.name, error.keys)
    if keyed.many:
        return look
    place = f"{keyed.holder}.{keyed.name}" if keyed.holder else keyed.name
    return f"{look}; the same call with {shlex.quote(f'{place}={error.keys[0]}')} makes no second record"


def _looks(lookup: Method, field: str, keys: tuple[str, ...]) -> str:
    """The command that shows the record; of several the first."""
    command = f"invora call {lookup.attribute} {shlex.quote(f'{field}={keys[0]}')}"
    others = f", and so on for {len(keys) - 1} more" if len(keys) > 1 else ""
    return f"`{command}` looks it up{others}"
