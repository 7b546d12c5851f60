"""Numbers and names that a message or enum keeps free, and what of them one version has that another one has not.

Ranges that touch are one here, however a source writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Reserved", "reserved"]


@dataclass(frozen=True, slots=True)
class Reserved:
    """Numbers and names that nothing may have."""

    numbers: frozenset[tuple[int, int]]
    """First and last number, both included."""
    names: frozenset[str]

    def holds(self, number: int) -> bool:
        """Whether a number is reserved."""
        return any(first <= number <= last for first, last in self.numbers)

    def lacks(self, other: Reserved) -> tuple[str, ...]:
        """What of `other` is not reserved here, as words."""
        gone = _without(_merged(other.numbers), _merged(self.numbers))
        return (*(_range(*one) for one in gone), *sorted(other.names - self.names))


def reserved(numbers: Iterable[tuple[int, int]], names: Iterable[str]) -> Reserved:
    """First and last numbers, and names, in any order."""
    return Reserved(frozenset(numbers), frozenset(names))


def _merged(ranges: Iterable[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    """The same numbers, with ranges that touch made one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def _without(ranges: Iterable[tuple[int, int]], others: Sequence[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """The numbers of some ranges that are not in others, which are in order."""
    for first, last in ranges:
        for low, high in others:
            if first <= high and low <= last:
                if first < low:
                    yield first, low - 1
                first = high + 1
        if first <= last:
            yield first, last


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"
