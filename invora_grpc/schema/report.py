"""Comparisons of many RPCs as text for a terminal, Markdown for a pull request, JSON for a program.

By service, the worst first; what is identical is only counted. One type that differs usually differs in many RPCs: each
difference is told once, with a number, and named by that number from then on. Names come from gateways: nothing here
lets them do anything to a terminal or a page.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from invora_grpc.errors import one_line
from invora_grpc.schema.verdicts import Comparison, Difference, Verdict

__all__ = ["as_json", "as_markdown", "as_text"]

_SPECIAL: Final = frozenset("\\`*_[]<>#|~&!")
_NARROW: Final = max(len(str(verdict)) for verdict in Verdict)


@dataclass(frozen=True, slots=True)
class _Row:
    """One RPC that is not identical, or a service of which no RPC is known."""

    rpc: str
    verdict: Verdict
    new: tuple[tuple[int, Difference], ...]
    """What is told here, with its number."""
    known: tuple[int, ...]
    """The numbers of what was told before."""


@dataclass(frozen=True, slots=True)
class _Group:
    service: str
    verdict: Verdict
    rows: tuple[_Row, ...]


def as_text(comparisons: Sequence[Comparison]) -> str:
    """For people at a terminal."""
    lines = [_summary(comparisons)]
    for group in _groups(comparisons):
        lines += ["", f"{group.verdict!s:<{_NARROW}}  {group.service}"]
        for row in group.rows:
            lines.append(f"  {row.verdict!s:<{_NARROW}}  {row.rpc}".rstrip())
            lines += [f"      [{number}] {_sentence(difference)}" for number, difference in row.new]
            if row.known:
                lines.append(f"      as told in {_references(row.known)}")
    return "\n".join(lines)


def as_markdown(comparisons: Sequence[Comparison]) -> str:
    """For a comment on a pull request."""
    lines = [f"**{_summary(comparisons)}**"]
    for group in _groups(comparisons):
        lines += ["", f"### {_plain(group.service)}: {group.verdict}", ""]
        for row in group.rows:
            told = f" (as told in {_references(row.known, '', '')})" if row.known else ""
            lines.append(f"- {_plain(row.rpc or group.service)}: **{row.verdict}**{told}")
            lines += [f"  - ({number}) {_plain(_sentence(difference))}" for number, difference in row.new]
    return "\n".join(lines)


def as_json(comparisons: Sequence[Comparison]) -> str:
    """For programs: the worst verdict, how many there are of each, and all that is not identical, the worst first."""
    counts = Counter(one.verdict for one in comparisons)
    ordered = sorted(comparisons, key=lambda one: (-one.verdict, one.subject))
    whole = {
        "verdict": str(max(counts, default=Verdict.IDENTICAL)),
        "counts": {str(verdict): counts[verdict] for verdict in Verdict},
        "differing": [one.as_json() for one in ordered if one.verdict is not Verdict.IDENTICAL],
    }
    return json.dumps(whole, indent=2)


def _summary(comparisons: Sequence[Comparison]) -> str:
    counts = Counter(one.verdict for one in comparisons)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in sorted(counts, reverse=True))
    return f"{len(comparisons)} RPC{'s' * (len(comparisons) != 1)}: {told}" if told else "nothing to compare"


def _groups(comparisons: Iterable[Comparison]) -> Iterator[_Group]:
    """By service, each with its worst RPC first. Numbers are given in the order in which they are read."""
    services: dict[str, list[Comparison]] = {}
    for one in comparisons:
        if one.verdict is not Verdict.IDENTICAL:
            services.setdefault(_service(one), []).append(one)
    numbers: dict[Difference, int] = {}
    for service, members in sorted(services.items(), key=lambda item: (-_worst(item[1]), item[0])):
        members.sort(key=lambda one: (-one.verdict, one.subject))
        yield _Group(one_line(service, 200), _worst(members), tuple(_row(one, numbers) for one in members))


def _row(one: Comparison, numbers: dict[Difference, int]) -> _Row:
    new, known = [], []
    for difference in one.differences:
        key = replace(difference, path="")
        if key in numbers:
            known.append(numbers[key])
        else:
            numbers[key] = len(numbers) + 1
            new.append((numbers[key], difference))
    rpc = one_line(one.subject.lstrip("/").partition("/")[2], 200)
    return _Row(rpc, one.verdict, tuple(new), tuple(sorted(known)))


def _service(one: Comparison) -> str:
    return one.subject.lstrip("/").partition("/")[0]


def _worst(comparisons: Iterable[Comparison]) -> Verdict:
    return max(one.verdict for one in comparisons)


def _sentence(difference: Difference) -> str:
    at = f", at {one_line(difference.path, 200)}" if difference.path else ""
    return f"{difference.verdict}: {difference.text}{at}"


def _references(numbers: Sequence[int], before: str = "[", after: str = "]") -> str:
    return ", ".join(f"{before}{number}{after}" for number in numbers)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{char}" if char in _SPECIAL else char for char in text)
