"""Fields that the schema does not know: how many a message holds, and where.

They come from a gateway that is newer than the compiled schema. Protobuf keeps their numbers and bytes and sends them
back when the message is sent; only their names and meaning are not known here. The room looks and counts: it must not
change a message, and it does not look into the packed content of an Any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from invora_grpc.errors import ConfigError, InvoraError
from invora_grpc.kinds import messages_in


class UnknownFieldsError(InvoraError):
    """A message holds fields that the schema does not know, where none may be lost."""

    path: str
    """Where in the message, e.g. `items[3].audit`; empty for the message itself."""
    numbers: tuple[int, ...]
    """The field numbers, in the order in which they came."""

    def __init__(self, path: str, type_name: str, numbers: Iterable[int]) -> None:
        self.path, self.numbers = path, tuple(numbers)
        told = ", ".join(map(str, self.numbers[:12])) + (" and more" if len(self.numbers) > 12 else "")
        super().__init__(
            f"{path or 'message'}: {type_name} came with fields that the schema does not know, number {told}; update "
            "invora-grpc, or read it with unknown='ignore'"
        )


def unknown_fields(message: Message) -> int:
    """How many fields of the message, and of everything in it, the schema does not know.

    An unknown group counts as one. Messages nested more than 60 deep are not looked into. When there are none, counting
    costs about a fifth of what `to_python` does. Raises ConfigError for what is no message.
    """
    if not isinstance(message, Message):
        hint = "give one generated message; of a list, its items one by one"
        raise ConfigError("message", None, hint, f"is a {type(message).__name__}")
    if _none(message):
        return 0
    return sum(len(numbers) for _, _, numbers in _found(message, ""))


def refuse_unknown(message: Message) -> None:
    """Raises UnknownFieldsError for the first message, from the outside in, that holds an unknown field."""
    if _none(message):
        return
    for path, type_name, numbers in _found(message, ""):
        raise UnknownFieldsError(path.removeprefix("."), type_name, numbers)


def _none(message: Message) -> bool:
    """Whether nothing is lost when a copy forgets its unknown fields: all of it in protobuf's own compiled code."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return known.ByteSize() == message.ByteSize()


def _found(message: Message, path: str) -> Iterator[tuple[str, str, list[int]]]:
    unknown: Any = UnknownFieldSet(message)
    numbers = [field.field_number for field in unknown]
    if numbers:
        yield path, type(message).DESCRIPTOR.full_name, numbers
    for field, value in type(message).ListFields(message):
        for step, inner in messages_in(field, value):
            yield from _found(inner, f"{path}.{field.name}{step}")
