"""Calls of our schema made to a gateway of another one: requests out and responses in, by name and without loss.

An adapter stands between the typed messages of a caller and the bytes of one RPC. What is not the same by name is
refused before anything is sent; what only the gateway knows stays in our messages as unknown fields, under its own
number or, if that is another field's with ours, under one that is `RELOCATED` higher, and goes back from there. Nothing
here sends, and nothing decides whether to adapt at all; that is `policy`.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message

from invora_grpc.errors import SchemaDriftError
from invora_grpc.kinds import messages_in
from invora_grpc.schema.compare import Comparer, Comparison, Direction, Verdict
from invora_grpc.schema.converting import Conversion, Unfit, class_of
from invora_grpc.schema.matching import RELOCATED

__all__ = ["RELOCATED", "Adapter", "adapter_of"]

_UNSET: Final = "Leave it unset, or generate the stubs again from this gateway"
_FINAL: Final = ("streaming-changed", "type-missing")
"""Kinds of differences with which there can be no call, wherever they are."""
_AGAIN: Final = "Generate the stubs again from this gateway"


class Adapter:
    """Requests and responses of one RPC, between our schema and a gateway's. Safe to share between threads."""

    def __init__(
        self,
        ours: MethodDescriptor,
        theirs: MethodDescriptor,
        comparison: Comparison,
        comparer: Comparer,
        *,
        method: str,
        endpoint: str,
    ) -> None:
        self.comparison = comparison
        """What differs."""
        self._method, self._endpoint = method, endpoint
        self._input, self._output = ours.input_type, class_of(ours.output_type)
        self._their_input, self._their_output = class_of(theirs.input_type), class_of(theirs.output_type)
        request, response = Conversion(comparer, Direction.REQUEST), Conversion(comparer, Direction.RESPONSE)
        self._same_request = request.carries_bytes(ours.input_type, theirs.input_type)
        self._same_response = response.carries_bytes(theirs.output_type, ours.output_type)
        self._write = request.of(ours.input_type, theirs.input_type)
        self._read = response.of(theirs.output_type, ours.output_type)

    def encode(self, message: Message) -> bytes:
        """A request of ours as the gateway reads it.

        Raises SchemaDriftError, and so sends nothing, for what the gateway would not read as it is meant, and TypeError
        for a message of another type.
        """
        if message.DESCRIPTOR is not self._input:
            raise TypeError(f"{self._method} takes a {self._input.full_name}, not a {message.DESCRIPTOR.full_name}")
        target: Any = message
        if not self._same_request:
            target = self._their_input()
            try:
                self._write(message, target, 1)
            except Unfit as unfit:
                raise self._refused(f"request{unfit.path} {unfit.why}") from None
        if not target.IsInitialized():
            raise self._refused(f"{_missing(target)} is required there, and is not set", _AGAIN)
        data: bytes = target.SerializeToString()
        return data

    def decode(self, data: bytes) -> Message:
        """A response of ours from the gateway's bytes.

        Raises DecodeError for bytes that are none, and if the gateway sent what its own schema does not say and ours
        would misread.
        """
        if self._same_response:
            return self._output.FromString(data)
        source = self._their_output.FromString(data)
        target = self._output()
        try:
            self._read(source, target, 1)
        except Unfit as unfit:
            raise DecodeError(f"response{unfit.path} {unfit.why}") from None
        return target

    def _refused(self, why: str, hint: str = _UNSET) -> SchemaDriftError:
        return SchemaDriftError(self._method, self._endpoint, str(self.comparison.verdict), [why], hint)


def adapter_of(
    ours: MethodDescriptor, theirs: MethodDescriptor, *, method: str, endpoint: str, comparer: Comparer | None = None
) -> Adapter:
    """The adapter of an RPC; `method` and `endpoint` are what its errors show, `comparer` may know some of it.

    Raises SchemaDriftError if no call can be made without loss, whatever is in it: the response holds something
    incompatible, the kind of streaming differs, or types are missing or cannot be handled.
    """
    comparer = comparer or Comparer()
    comparison = comparer.methods(ours, theirs)
    response = comparer.messages(ours.output_type, theirs.output_type, Direction.RESPONSE)
    final = [one for one in comparison.differences if one.kind in _FINAL or one.path == str(Direction.REQUEST)]
    lost = [one for one in (*final, *response.differences) if one.verdict is Verdict.INCOMPATIBLE]
    if lost:
        raise SchemaDriftError(
            method, endpoint, str(comparison.verdict), dict.fromkeys(one.text for one in lost), _AGAIN
        )
    try:
        return Adapter(ours, theirs, comparison, comparer, method=method, endpoint=endpoint)
    except Unfit as unfit:
        raise SchemaDriftError(method, endpoint, str(comparison.verdict), [f"it {unfit.why}"], _AGAIN) from None


def _missing(message: Message) -> str:
    """The full name of a required field that is not set. Protobuf's own search for them crashes on some messages."""
    waiting: list[Any] = [message]
    for one in waiting:
        for field in one.DESCRIPTOR.fields:
            if field.is_required and not one.HasField(field.name):
                return str(field.full_name)
        waiting.extend(inner for field, value in one.ListFields() for _, inner in messages_in(field, value))
    return "a field"
