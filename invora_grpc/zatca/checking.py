"""Checking of tax documents against ZATCA's rules, before they are sent: `check`.

The rules are those of ZATCA's SDK, by their ids; what they say is said in this project's words. They live in the rooms
`rules_ksa*` and `rules_en`, work on `invora_grpc.zatca.engine`, and are run here. Nothing is changed, sent or signed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import localcontext
from typing import Final

from invora_grpc.errors import RequestError
from invora_grpc.zatca import (
    rules_en,
    rules_ksa,
    rules_ksa_amounts,
    rules_ksa_assigned,
    rules_ksa_parties,
    rules_ksa_taxes,
    rules_single,
)
from invora_grpc.zatca.document import RIYADH
from invora_grpc.zatca.elements import ROOT_TAG
from invora_grpc.zatca.engine import PRECISION, Invoice, Rule, Rulebook, Severity, Tree, read, undisturbed
from invora_grpc.zatca.hashing import parsed

__all__ = ["SCHEMA_RULE", "Finding", "check", "rules"]

SCHEMA_RULE: Final = "UBL-XSD"
"""The id of findings about the UBL schema, which is no rule of ZATCA's: order, unknown elements, forms of values."""

_BOOKS: Final[tuple[Rulebook, ...]] = (
    rules_en.BOOK,
    rules_ksa.BOOK,
    rules_ksa_parties.BOOK,
    rules_ksa_taxes.BOOK,
    rules_ksa_amounts.BOOK,
    rules_ksa_assigned.BOOK,
    rules_single.BOOK,
)
_RULES: Final[tuple[Rule, ...]] = tuple(rule for book in _BOOKS for rule in book.rules)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a document that breaks a rule."""

    rule: str
    """ZATCA's id, e.g. `BR-KSA-08`; or `UBL-XSD`; or `ZATCA-SINGLE`, where ZATCA's own checker gives up."""
    severity: Severity
    """A document with an error is refused; one with a warning is accepted, with the warning on record."""
    place: str
    """XPath of the element, with the usual prefixes ubl, cac, cbc and ext, whatever the document's own are."""
    text: str
    """What is wrong and what to do, one line."""
    assigned: bool = False
    """Concerns only what the platform adds (counter, previous hash, QR code, stamp): nothing that the caller can do."""


def check(xml: bytes, *, now: datetime | None = None, name: str = "xml") -> tuple[Finding, ...]:
    """What is wrong with a document, in the order of the schema first, then of the rules; () if nothing is.

    `now` is the instant (aware) that issue dates are compared with; by default, that of the call. Days are Saudi days.
    `name` is what errors call the document.
    Raises RequestError for what is no UBL invoice at all: not XML, with a DOCTYPE, too large, or of another root.
    """
    if now is not None and now.utcoffset() is None:
        raise RequestError("now", now, "give an aware datetime, e.g. datetime.now(UTC)", "has no time zone")
    root = parsed(xml, name)
    if root.tag != ROOT_TAG:
        hint = "give a UBL 2.1 document whose root is Invoice, as notes and self-billed documents have it too"
        raise RequestError(name, root.tag, hint, "is not the root of an invoice")
    with undisturbed(), localcontext(prec=PRECISION):
        tree = read(root)
        findings = tuple(_findings(tree, (now or datetime.now(RIYADH)).astimezone(RIYADH)))
        tree.release()
    return findings


def _findings(tree: Tree, now: datetime) -> Iterator[Finding]:
    for node, text in tree.problems:
        yield Finding(SCHEMA_RULE, "error", node.place, text)
    invoice = Invoice(tree, now)
    for rule in _RULES:
        for node in rule.broken_by(invoice):
            yield Finding(rule.id, rule.severity, node.place, rule.text, rule.assigned)


def rules() -> tuple[Rule, ...]:
    """All rules that `check` runs, in its order. One id can be of several."""
    return _RULES
