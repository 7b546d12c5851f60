"""What a comparison of two schemas says: how bad it is, what differs, where.

Plain data for people and programs. "Ours" is what is compiled in, or the first of two; "theirs" is what the gateway
serves, or the second. Nothing here looks at a descriptor; that is `matching` and `compare`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from invora_grpc.errors import one_line

__all__ = ["KINDS", "Comparison", "Difference", "Direction", "Verdict"]


class Verdict(enum.IntEnum):
    """How two schemas stand to each other, the better the smaller."""

    IDENTICAL = 0
    """The same bytes mean the same on both sides."""
    ADDITIVE = 1
    """Theirs has more; what ours knows means the same on both sides."""
    ADAPTABLE = 2
    """The same bytes mean something else, but values can be carried over by their names."""
    INCOMPATIBLE = 3
    """There are values that cannot be carried over."""

    def __str__(self) -> str:
        return self.name.lower()


class Direction(enum.Enum):
    """Who writes and who reads: a request is written with ours and read with theirs, a response the other way."""

    REQUEST = "request"
    RESPONSE = "response"

    def __str__(self) -> str:
        return str(self.value)


KINDS: Final = MappingProxyType(
    {
        "field-added": "is new: {theirs}",
        "field-removed": "is gone; it was {ours}",
        "field-renumbered": "had number {ours} and has {theirs}",
        "fields-swapped": "had number {ours} and has {theirs}; the two fields changed places",
        "number-reused": "is new and has the number of {ours}: {theirs}",
        "required-added": "is new and required: {theirs}",
        "required-changed": "was {ours} and is {theirs}",
        "label-changed": "was {ours} and is {theirs}",
        "presence-changed": "had {ours} presence and has {theirs}",
        "default-changed": "had the default {ours} and has {theirs}",
        "type-changed": "was {ours} and is {theirs}",
        "type-renamed": "is called {theirs}",
        "type-missing": "is referred to, but defined nowhere",
        "encoding-changed": "was a {ours} on the wire and is a {theirs}",
        "oneof-joined": "excluded {ours} and excludes {theirs}",
        "oneof-left": "excluded {ours} and excludes {theirs}",
        "enum-value-added": "is new: {theirs}",
        "enum-value-removed": "is gone; it was {ours}",
        "enum-value-renumbered": "had number {ours} and has {theirs}",
        "enum-number-reused": "is new and has the number of {ours}: {theirs}",
        "enum-aliases-split": "was the same as {ours}, which are {theirs}",
        "enum-openness-changed": "was {ours} and is {theirs}",
        "streaming-changed": "was {ours} and is {theirs}",
        "http-changed": "was {ours} over HTTP and is {theirs}",
        "scope-changed": "needed {ours} and needs {theirs}",
        "method-added": "is new",
        "method-removed": "is gone",
        "service-added": "is new",
        "service-removed": "is gone",
        "service-undescribed": "cannot be described: {theirs}",
        "service-renamed": "is called {theirs}",
        "rpc-renamed": "is called {theirs}",
        "rpc-moved": "is in {theirs}",
    }
)
"""Kind of difference → what is said of its symbol."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same in two schemas."""

    verdict: Verdict
    kind: str
    """One of KINDS."""
    symbol: str
    """The full name of what differs: a field, enum value, type, method or service."""
    path: str = ""
    """One place in the call where it matters, e.g. `request.lines[].price`; empty if it is about the call itself."""
    ours: str = ""
    """What it is, or was, with ours."""
    theirs: str = ""
    """What it is with theirs."""

    @property
    def text(self) -> str:
        """A sentence for people, in one line that is safe to print."""
        said = KINDS.get(self.kind, self.kind).format(ours=self.ours or "nothing", theirs=self.theirs or "nothing")
        return one_line(f"{self.symbol} {said}", 400)

    def as_json(self) -> dict[str, str]:
        """For programs. The keys are part of the interface."""
        return {
            "verdict": str(self.verdict),
            "kind": self.kind,
            "symbol": self.symbol,
            "path": self.path,
            "ours": self.ours,
            "theirs": self.theirs,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found for one RPC or type."""

    subject: str
    """The path of an RPC, `/package.Service/Method`, or the full name of a service or type."""
    verdict: Verdict
    """The worst of the differences."""
    differences: tuple[Difference, ...] = ()
    """The worst first; each symbol once per kind."""

    @classmethod
    def of(cls, subject: str, differences: list[Difference]) -> Comparison:
        """The comparison with these differences, in order, the worst of each kind and symbol only."""
        kept: dict[tuple[str, str], Difference] = {}
        for one in differences:
            earlier = kept.get((one.kind, one.symbol))
            if earlier is None or earlier.verdict < one.verdict:
                kept[one.kind, one.symbol] = one
        ordered = sorted(kept.values(), key=lambda one: -one.verdict)
        return cls(subject, ordered[0].verdict if ordered else Verdict.IDENTICAL, tuple(ordered))

    def as_json(self) -> dict[str, object]:
        """For programs. The keys are part of the interface."""
        return {
            "subject": self.subject,
            "verdict": str(self.verdict),
            "differences": [one.as_json() for one in self.differences],
        }
