"""Whether two types mean the same bytes, and who breaks where they do not.

The rules are those of protobuf's language guide for updating messages, and of its JSON mapping. Nothing here reports.
"""

from __future__ import annotations

from typing import Final

from invora_grpc.codegen.changes_kinds import Breaks
from invora_grpc.codegen.changes_model import Enum, Field, Message, Side
from invora_grpc.codegen.changes_names import Names

__all__ = ["Shapes", "of_cardinality"]

_WIRE: Final = (
    frozenset({"int32", "uint32", "int64", "uint64", "bool", "enum"}),
    frozenset({"sint32", "sint64"}),
    frozenset({"fixed32", "sfixed32"}),
    frozenset({"fixed64", "sfixed64"}),
)
"""Types that read each other's bytes; a number that the narrower one cannot hold is cut."""
_JSON: Final = (
    frozenset({"int32", "uint32", "sint32", "fixed32", "sfixed32"}),
    frozenset({"int64", "uint64", "sint64", "fixed64", "sfixed64"}),
    frozenset({"float", "double"}),
)
"""Types that are written alike: 64-bit numbers are strings in JSON."""
_WIRE_PAIRS: Final = frozenset({("string", "bytes"), ("bytes", "message"), ("message", "bytes")})
_LENGTH: Final = frozenset({"string", "bytes", "message"})
"""Types of which a reader that expects one takes the last of several; numbers may be packed."""
_ALL: Final = (Breaks.WIRE, Breaks.JSON, Breaks.SOURCE)


class Shapes:
    """Types of two sides, compared as deep as they go."""

    def __init__(self, before: Side, after: Side, names: Names) -> None:
        self._before, self._after, self._names = before, after, names
        self._known: dict[tuple[str, str], bool] = {}

    def same(self, before: str, after: str) -> bool:
        """Whether two type names mean one type, which may be called otherwise now."""
        return self._names.now(before) == after

    def alike(self, before: str, after: str) -> bool:
        """Whether two messages or enums read each other's bytes and JSON, with all that they hold."""
        pair = (before, after)
        if pair in self._known:
            return self._known[pair]
        self._known[pair] = True  # where types refer to each other, as long as nothing else speaks against it
        self._known[pair] = found = self._compared(before, after)
        return found

    def of_types(self, before: Field, after: Field) -> tuple[Breaks, ...]:
        """Who breaks by the types of two fields; nobody: they are one type."""
        if "map" in (before.type, after.type):
            if before.type != after.type:
                return _ALL
            keys = self._of_kinds(before.key, "", after.key, "")
            values = self._of_kinds(before.value, before.refers, after.value, after.refers)
            return tuple(one for one in Breaks if one in keys or one in values)
        return self._of_kinds(before.type, before.refers, after.type, after.refers)

    def of_messages(self, before: str, after: str) -> tuple[Breaks, ...]:
        """Who breaks where one message is taken for another one."""
        return self._of_kinds("message", before, "message", after)

    def _of_kinds(self, before: str, refers: str, after: str, now: str) -> tuple[Breaks, ...]:
        if before == after:
            if before not in ("message", "enum") or self.same(refers, now):
                return ()
            return (Breaks.SOURCE,) if self.alike(refers, now) else _ALL
        wire = (before, after) in _WIRE_PAIRS or any(before in kinds and after in kinds for kinds in _WIRE)
        json = any(before in kinds and after in kinds for kinds in _JSON)
        return tuple(one for one, fine in zip(_ALL, (wire, json, False), strict=True) if not fine)

    def _compared(self, before: str, after: str) -> bool:
        messages = self._before.messages.get(before), self._after.messages.get(after)
        if messages[0] is not None and messages[1] is not None:
            return self._messages(messages[0], messages[1])
        enums = self._before.enums.get(before), self._after.enums.get(after)
        if enums[0] is not None and enums[1] is not None:
            return _enums(enums[0], enums[1])
        return before == after

    def _messages(self, before: Message, after: Message) -> bool:
        if before.fields.keys() != after.fields.keys() or before.message_set != after.message_set:
            return False
        return all(self._fields(one, after.fields[name]) for name, one in before.fields.items())

    def _fields(self, before: Field, after: Field) -> bool:
        facts = (
            (one.number, one.type, one.key, one.value, one.cardinality, one.oneof, one.default, one.delimited)
            for one in (before, after)
        )
        if len(set(facts)) > 1 or (before.json and after.json and before.json != after.json):
            return False
        return not before.refers or self.same(before.refers, after.refers) or self.alike(before.refers, after.refers)


def of_cardinality(before: Field, after: Field) -> tuple[Breaks, ...]:
    """Who breaks where one value becomes many, or many one."""
    fine = before.type == after.type and before.type in _LENGTH
    return (Breaks.JSON, Breaks.SOURCE) if fine else _ALL


def _enums(before: Enum, after: Enum) -> bool:
    """Whether all values of one are in the other one, under the same names."""
    if before.closed != after.closed:
        return False
    kept = (after.values.get(name) for name in before.values)
    return all(
        value is not None and value.number == one.number
        for value, one in zip(kept, before.values.values(), strict=True)
    )
