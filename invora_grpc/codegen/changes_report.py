"""Changes as Markdown for a pull request, and as JSON for a program.

The worst first: who breaks, then by module and place. Names and defaults come from schemas that others write, so they
are shown in code spans, where they can do nothing to a page and call nobody. The room only shows; what changed is found
in `changes`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import Final

from invora_grpc.codegen.changes_kinds import KINDS, Breaks, Change
from invora_grpc.errors import one_line

__all__ = ["report_json", "report_markdown"]

_TITLES: Final = {
    Breaks.WIRE: "Breaks the wire",
    Breaks.JSON: "Breaks JSON",
    Breaks.REST: "Breaks callers over HTTP",
    Breaks.RIGHTS: "Changes who may call",
    Breaks.SOURCE: "Breaks source code",
}
_NEW: Final = "New"
_HARMLESS: Final = "Harmless"
_SHOWN_RPCS: Final = 3
"""RPCs that are named of those in which a type can travel; the others are counted."""
_VERSION: Final = 1
_CLOSING: Final = 200
"""Characters for the lines that say what was left out."""


def report_json(changes: Sequence[Change], approved: Collection[str] = frozenset()) -> str:
    """For programs: counts, and all changes, the worst first. The keys are part of the interface."""
    counts = Counter(who for change in changes for who in change.breaks)
    whole = {
        "version": _VERSION,
        "total": len(changes),
        "breaking": sum(change.breaking for change in changes),
        "unapproved": sum(change.breaking and change.id not in approved for change in changes),
        "breaks": {str(who): counts[who] for who in Breaks},
        "changes": [{**change.as_json(), "approved": change.breaking and change.id in approved} for change in changes],
    }
    return json.dumps(whole, indent=2) + "\n"


def report_markdown(changes: Sequence[Change], approved: Collection[str] = frozenset(), limit: int = 60_000) -> str:
    """For the text of a pull request: at most `limit` characters, of which GitHub takes 65,536.

    What does not fit is counted; the harmless goes first. Ends with the ids of the breaking changes that are not
    approved, to be copied into the file of approvals.
    """
    if not changes:
        return "**Nothing changes.**\n"
    head = [f"**{_summary(changes, approved)}**"]
    tail = _to_approve([one.id for one in changes if one.breaking and one.id not in approved], limit // 3)
    room = limit - _CLOSING - sum(len(line) + 1 for line in (*head, *tail))
    body, shown = list[str](), 0
    for block, count in _blocks(changes, approved):
        room -= sum(len(line) + 1 for line in block)
        if room < 0:
            break
        body += block
        shown += count
    if shown < len(changes):
        body += ["", f"… and {len(changes) - shown} more changes, which are in the report in JSON."]
    return "\n".join([*head, *body, *tail]) + "\n"


def _summary(changes: Sequence[Change], approved: Collection[str]) -> str:
    breaking = [one for one in changes if one.breaking]
    open_ = sum(one.id not in approved for one in breaking)
    counts = Counter(who for one in breaking for who in one.breaks)
    told = ", ".join(f"{who} {counts[who]}" for who in Breaks if counts[who])
    parts = [f"{_number(len(breaking), 'breaks', 'break')} somebody ({told}; {open_} not approved)"] if breaking else []
    titles = Counter(_title(one) for one in changes)
    parts += [f"{titles[title]} {title.lower()}" for title in (_NEW, _HARMLESS) if titles[title]]
    return f"{len(changes)} change{'s' * (len(changes) != 1)}: {', '.join(parts)}."


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _title(change: Change) -> str:
    """The section that a change is told in."""
    if change.breaking:
        return _TITLES[change.breaks[0]]
    return _NEW if change.kind.endswith("-added") else _HARMLESS


def _blocks(changes: Sequence[Change], approved: Collection[str]) -> Iterator[tuple[list[str], int]]:
    """The parts of the report, each with how many changes it tells."""
    order = [*_TITLES.values(), _NEW, _HARMLESS]
    ordered = sorted(changes, key=lambda one: (order.index(_title(one)), one.module, _container(one)))
    for title, group in groupby(ordered, _title):
        section = list(group)
        before = ["", f"## {title}"]
        for module, inside in groupby(section, lambda one: one.module):
            before += ["", f"### {_code(module)}" if module else "### Without a module", ""]
            for _, members in groupby(inside, _container):
                together = list(members)
                yield [*before, *_told(together, approved)], len(together)
                before = []
        yield _advice(section), 0


def _container(change: Change) -> str:
    """What a change is told under: a service, a message or enum, or a file."""
    return change.service or change.type or change.file


def _told(changes: Sequence[Change], approved: Collection[str]) -> list[str]:
    users = max((one.rpcs for one in changes), key=len)
    named = ", ".join(map(_code, users[:_SHOWN_RPCS]))
    more = f" and {len(users) - _SHOWN_RPCS} more" if len(users) > _SHOWN_RPCS else ""
    used = f", in {_number(len(users), 'RPC', 'RPCs')}: {named}{more}" if users else ""
    return [f"- **{_code(_container(changes[0]))}**{used}", *(f"  - {_sentence(one, approved)}" for one in changes)]


def _sentence(change: Change, approved: Collection[str]) -> str:
    part = change.rpc or change.member or ("" if change.symbol == _container(change) else change.symbol)
    subject = f"{_code(part)} " if part else ""
    said = [f"{subject}{change.told(_code)}."]
    if change.breaking:
        said.append(f"Breaks {', '.join(map(str, change.breaks))}.")
        said.append(f"({'; '.join([change.kind, *_of_buf(change)])})")
    if change.breaking and change.id in approved:
        said.append("*Approved.*")
    return " ".join(said)


def _of_buf(change: Change) -> list[str]:
    return [f"buf: {', '.join(change.rules)}"] if change.rules else []


def _advice(section: Sequence[Change]) -> list[str]:
    """What to do, once for each kind that a section has."""
    kinds = [kind for kind in KINDS if any(one.kind == kind and one.advice for one in section)]
    lines = [f"- *{kind}*: {KINDS[kind].advice}" for kind in kinds]
    return ["", "What to do:", "", *lines] if lines else []


def _to_approve(ids: Sequence[str], limit: int) -> list[str]:
    if not ids:
        return []
    shown, room = list[str](), limit
    for one in ids:
        room -= len(one) + 1
        if room < 0:
            break
        shown.append(one)
    left = len(ids) - len(shown)
    more = ["", f"… and {_number(left, 'id', 'ids')} more, which are in the report in JSON."] if left else []
    title = "To accept these changes, add their ids to the file of approvals:"
    return ["", "## To approve", "", title, "", "```text", *shown, "```", *more]


def _code(text: str) -> str:
    """Text that a page shows as it is."""
    if text.isdecimal():
        return text
    return f"`{one_line(text, 400).replace('`', chr(39))}`"
