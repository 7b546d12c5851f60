"""What changed between two answers in plain JSON values, place by place.

Pure: it compares and words, and neither calls nor prints. Items of a list are told apart by their key or id, so that
one more at the top does not make all others look new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from invora_grpc.cli.output import dumps
from invora_grpc.errors import escaped

__all__ = ["MISSING", "Change", "changes"]


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING: Final = _Missing()
"""The value of a place that is not there."""
_IDENTITIES: Final = ("key", "id", "id.key", "external_id", "number", "code", "name")
"""Places in the items of a list that tell them apart, the surest first. Invora's ids are a key and a version."""


@dataclass(frozen=True, slots=True)
class Change:
    """One place that differs."""

    path: str
    """E.g. `invoices[key=INV-1].status`; "" for the whole."""
    before: object
    """MISSING if it is new."""
    after: object
    """MISSING if it is gone."""

    @property
    def sign(self) -> str:
        """ "+" for what is new, "-" for what is gone, "~" for what is another."""
        if self.before is MISSING:
            return "+"
        return "-" if self.after is MISSING else "~"

    def __str__(self) -> str:
        """One line that is safe to print."""
        values = [dumps(value) for value in (self.before, self.after) if value is not MISSING]
        place = escaped(self.path) or "answer"
        return f"{self.sign} {place}: {' → '.join(values)}"

    def as_json(self) -> dict[str, object]:
        """The same for machines: path, and before and after where there is one."""
        sides = {"before": self.before, "after": self.after}
        return {"path": self.path, **{name: value for name, value in sides.items() if value is not MISSING}}


def changes(before: object, after: object) -> tuple[Change, ...]:
    """The places that differ, in the order of `after`; none if and only if the two are equal."""
    return tuple(_changes("", before, after))


def _changes(path: str, before: Any, after: Any) -> Iterator[Change]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _of_fields(path, before, after)
    elif isinstance(before, list) and isinstance(after, list):
        identity = _identity(before, after)
        if identity is None:
            yield from _of_places(path, before, after)
        else:
            yield from _of_items(path, identity, before, after)
    elif type(before) is not type(after) or before != after:
        yield Change(path, before, after)


def _of_fields(path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in dict.fromkeys((*after, *before)):
        place = f"{path}.{name}" if path else name
        yield from _either(place, before.get(name, MISSING), after.get(name, MISSING))


def _of_places(path: str, before: Sequence[Any], after: Sequence[Any]) -> Iterator[Change]:
    for index in range(max(len(before), len(after))):
        old, new = (side[index] if index < len(side) else MISSING for side in (before, after))
        yield from _either(f"{path}[{index}]", old, new)


def _of_items(path: str, identity: str, before: Sequence[Any], after: Sequence[Any]) -> Iterator[Change]:
    old, new = ({_at(item, identity): item for item in side} for side in (before, after))
    for value in dict.fromkeys((*new, *old)):
        yield from _either(f"{path}[{identity}={value}]", old.get(value, MISSING), new.get(value, MISSING))
    orders = [[value for value in side if value in old and value in new] for side in (old, new)]
    if orders[0] != orders[1]:
        yield Change(f"{path}[order by {identity}]", *orders)


def _either(path: str, old: object, new: object) -> Iterator[Change]:
    if old is MISSING or new is MISSING:
        yield Change(path, old, new)
    else:
        yield from _changes(path, old, new)


def _identity(before: Sequence[Any], after: Sequence[Any]) -> str | None:
    """The place that tells all items of both lists apart; None if there is none."""
    if not all(isinstance(item, Mapping) for item in (*before, *after)):
        return None
    return next((name for name in _IDENTITIES if _tells(name, before) and _tells(name, after)), None)


def _tells(name: str, items: Sequence[Mapping[str, Any]]) -> bool:
    values = [_at(item, name) for item in items]
    return all(isinstance(value, str) and value for value in values) and len(set(values)) == len(values)


def _at(item: Any, place: str) -> Any:
    for name in place.split("."):
        item = item.get(name) if isinstance(item, Mapping) else None
    return item
