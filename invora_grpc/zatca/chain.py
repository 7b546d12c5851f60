"""Whether documents form an unbroken chain: counters without gaps, each naming the hash of the one before.

One chain is that of one branch (one unit that stamps). Nothing here checks what the documents say otherwise. Needs
lxml.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from invora_grpc.errors import RequestError, shown
from invora_grpc.zatca.hashing import CAC, CBC, FIRST_HASH, parsed, tree_hash

__all__ = ["Break", "Kind", "check_chain"]

_TWO_CHAINS: Final = "check the documents of each branch by themselves; in one branch, two systems have issued at once"

Kind = Literal["unreadable", "counter", "duplicate-counter", "gap", "previous-hash", "fork", "uuid", "duplicate-uuid"]


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain is broken."""

    index: int
    """Of the document in what was given, from 0."""
    kind: Kind
    text: str
    """What is wrong."""
    hint: str
    """What to do."""


@dataclass(frozen=True, slots=True)
class _Link:
    """What of a document concerns the chain."""

    index: int
    id: str
    uuid: str
    counter: int | None
    counted: str
    previous_hash: str
    hash: str


def check_chain(
    documents: Sequence[bytes], *, previous_hash: str = FIRST_HASH, previous_counter: int = 0
) -> tuple[Break, ...]:
    """The breaks of a chain, in the order of its counters; none if it is whole.

    The documents may come in any order, if all have counters. `previous_hash` and `previous_counter` are those of the
    document before the first one that is given; left out, the chain is to begin with the first of all. Raises
    ConfigError if lxml is missing.
    """
    links: list[_Link] = []
    breaks: list[Break] = []
    for index, xml in enumerate(documents):
        try:
            links.append(_link(index, xml))
        except RequestError as error:
            breaks.append(Break(index, "unreadable", str(error), "give the document as the platform returned it"))
    links.sort(key=lambda link: (link.counter is None, link.counter or 0))
    breaks += _identity(links)
    once = {link.hash: link for link in reversed(links)}  # a copy is told once, by its UUID
    breaks += _sequence([link for link in links if once[link.hash] is link], previous_hash, previous_counter)
    place = {link.index: at for at, link in enumerate(links)}
    return tuple(sorted(breaks, key=lambda one: place.get(one.index, len(place))))


def _link(index: int, xml: bytes) -> _Link:
    root = parsed(xml, f"documents[{index}]")
    held = {
        (reference.findtext(f"{CBC}ID") or ""): reference
        for reference in root.iterchildren(f"{CAC}AdditionalDocumentReference")
    }
    counter, previous = held.get("ICV"), held.get("PIH")
    counted = "" if counter is None else (counter.findtext(f"{CBC}UUID") or "").strip()
    before = None if previous is None else previous.findtext(f"{CAC}Attachment/{CBC}EmbeddedDocumentBinaryObject")
    return _Link(
        index,
        (root.findtext(f"{CBC}ID") or "").strip(),
        (root.findtext(f"{CBC}UUID") or "").strip().lower(),
        int(counted) if counted.isascii() and counted.isdigit() and len(counted) <= 18 else None,
        counted,
        "".join((before or "").split()),
        tree_hash(root),
    )


def _identity(links: list[_Link]) -> Iterator[Break]:
    """Documents without a UUID, or with one that another has."""
    seen: dict[str, _Link] = {}
    for link in links:
        first = seen.setdefault(link.uuid, link)
        if not link.uuid:
            yield Break(link.index, "uuid", f"{_called(link)} has no cbc:UUID", "issue it with one")
        elif first is not link:
            same = "the same document, twice" if first.hash == link.hash else f"that of {_called(first)} too"
            text = f"the UUID {shown(link.uuid)} of {_called(link)} is {same}"
            hint = "leave the copy out" if first.hash == link.hash else "every document needs a UUID of its own"
            yield Break(link.index, "duplicate-uuid", text, hint)


def _sequence(links: list[_Link], previous_hash: str, previous_counter: int) -> Iterator[Break]:
    """Counters and hashes, each compared with those before."""
    by_hash = {link.hash: link for link in links}
    named: dict[str, _Link] = {}
    last: _Link | None = None
    for link in links:
        counter = previous_counter if last is None else last.counter
        if link.counter is None:
            text = f"{_called(link)} has no counter (ICV)" if not link.counted else _no_number(link)
            yield Break(link.index, "counter", text, "give the document as the platform returned it, once it is frozen")
        elif last is not None and link.counter == last.counter:
            text = f"{_called(link)} has the counter {link.counter}, as has {_called(last)}"
            yield Break(link.index, "duplicate-counter", text, _TWO_CHAINS)
        elif counter is not None and link.counter != counter + 1:
            yield _gap(link, link.counter, counter, last)
        yield from _hashes(link, previous_hash if last is None else last.hash, last, by_hash, named)
        named.setdefault(link.previous_hash, link)
        last = link


def _hashes(
    link: _Link, wanted: str, last: _Link | None, by_hash: dict[str, _Link], named: dict[str, _Link]
) -> Iterator[Break]:
    """Whether a document names the hash of the one before."""
    if link.previous_hash == wanted:
        return
    before = "the hash that the chain begins with" if last is None else f"the hash of {_called(last)}"
    if not link.previous_hash:
        text = f"{_called(link)} names no previous hash (PIH)"
        yield Break(
            link.index, "previous-hash", text, "give the document as the platform returned it, once it is frozen"
        )
    elif link.previous_hash in named:
        text = f"{_called(link)} names the same previous hash as {_called(named[link.previous_hash])}"
        yield Break(link.index, "fork", text, _TWO_CHAINS)
    elif link.previous_hash in by_hash:
        text = f"{_called(link)} names the hash of {_called(by_hash[link.previous_hash])}, not {before}"
        hint = "the counters do not go as the hashes do: ask the platform which of them it assigned"
        yield Break(link.index, "previous-hash", text, hint)
    else:
        text = f"{_called(link)} names {shown(link.previous_hash)}, not {before}, {shown(wanted)}"
        changed = f"{_called(last)} was changed after it was issued, or a document is missing" if last else ""
        hint = changed or "give the documents before it too, or say `previous_hash`"
        yield Break(link.index, "previous-hash", text, hint)


def _gap(link: _Link, counter: int, before: int, last: _Link | None) -> Break:
    """A counter that is not the next one after `before`."""
    if counter <= before:
        text = f"{_called(link)} has the counter {counter}, and the chain goes on after {before}"
        return Break(link.index, "gap", text, "say the counter before it as `previous_counter`")
    missing = f"{before + 1}" if counter == before + 2 else f"{before + 1} to {counter - 1}"
    text = f"before {_called(link)}, which has the counter {counter}, there is no {missing}"
    hint = f"give what is missing too{'' if last else ', or say `previous_hash` and `previous_counter`'}"
    return Break(link.index, "gap", text, hint)


def _no_number(link: _Link) -> str:
    return f"the counter (ICV) of {_called(link)} is {shown(link.counted)}, no number"


def _called(link: _Link) -> str:
    """A document in words."""
    return shown(link.id) if link.id else f"document {link.index}"
