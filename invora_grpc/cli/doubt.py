"""Writes whose outcome is unknown, as a shell is told of them: the way out is a command, not a method call.

For that, a create has its key before it is sent: who interrupts it can look whether it was made. Nothing is sent here.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from invora_grpc.attempt import record_plan
from invora_grpc.catalog import Method
from invora_grpc.cli.guard import changes
from invora_grpc.errors import InvoraError
from invora_grpc.idempotency import key_plan, new_key
from invora_grpc.status import OutcomeUnknown

__all__ = ["InDoubt", "in_doubt", "interrupted", "own_key"]


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
    return InDoubt(error, _way_on(method, error.keys) or error.hint)


def own_key(method: Method, request: Any) -> tuple[str | None, bool]:
    """The key of a create's request, which has one field for it: that which it has, or a new one; and whether it is
    new. None for all other requests."""
    keyed = None if method.streaming else key_plan(method)
    if keyed is None or keyed.many:
        return None, False
    holder = request.get(keyed.holder) if keyed.holder else request
    if isinstance(holder, Mapping) and keyed.name in holder:
        return str(holder[keyed.name]), False
    return new_key(), True


def interrupted(method: Method, key: str | None) -> str | None:
    """What to tell who gives up waiting for an answer; None where nothing can have changed."""
    if method.streaming or not changes(method):
        return None
    way = _way_on(method, () if key is None else (key,)) or "look before you repeat it"
    return f"interrupted: it may have been carried out; {way}"


def _way_on(method: Method, keys: tuple[str, ...]) -> str:
    """What to run in order to find out, and, for a create under one key, what makes no second record; "" if there is
    nothing to look it up by."""
    keyed, written = key_plan(method), record_plan(method)
    if not keys:
        return ""
    if keyed is None:
        return _looks(written.lookup, written.field, keys) if written is not None else ""
    look = _looks(keyed.lookup, keyed.name, keys)
    if keyed.many:
        return look
    place = f"{keyed.holder}.{keyed.name}" if keyed.holder else keyed.name
    return f"{look}; the same call with {shlex.quote(f'{place}={keys[0]}')} makes no second record"


def _looks(lookup: Method, field: str, keys: tuple[str, ...]) -> str:
    """The command that shows the record; of several the first."""
    command = f"invora call {lookup.attribute} {shlex.quote(f'{field}={keys[0]}')}"
    others = f", and so on for {len(keys) - 1} more" if len(keys) > 1 else ""
    return f"`{command}` looks it up{others}"
