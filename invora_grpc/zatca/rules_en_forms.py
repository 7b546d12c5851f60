"""Questions that several rules of EN 16931 ask of an element: how long, how fine, is it VAT, is it a charge.

Knows elements, no rule. The answers are to the text as it is written, white space included, where ZATCA's sheet takes
it so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from invora_grpc.zatca.engine import Invoice, Node, trimmed

__all__ = [
    "CENT",
    "below",
    "below_root",
    "has_category",
    "has_vat_category",
    "is_charge",
    "is_filled",
    "is_of",
    "is_too_fine",
    "is_vat",
    "misfit",
    "rounded",
    "too_fine",
]

CENT: Final = Decimal("0.01")


def is_filled(node: Node, *path: str) -> bool:
    """Whether an element at the end of the path has text, be it only a blank."""
    return any(found.text for found in node.all(*path))


def is_too_fine(text: str) -> bool:
    """Whether more than two characters stand after the decimal point."""
    return len(text.partition(".")[2]) > 2


def is_charge(allowance: Node) -> bool:
    """Whether a cac:AllowanceCharge is a charge."""
    return allowance.value("cbc:ChargeIndicator").strip() in ("true", "1")


def is_vat(category: Node) -> bool:
    """Whether a tax category is one of VAT, in capitals or not."""
    for scheme in category.all("cac:TaxScheme", "cbc:ID"):
        if scheme.text == "VAT" or trimmed(scheme.text.upper()) == "VAT":
            return True
    return False


def is_of(category: Node, code: str) -> bool:
    """Whether a tax category has the code, whatever the tax."""
    ids = category.children.get("cbc:ID")
    return ids is not None and (ids[0].text == code or trimmed(ids[0].text) == code)


def has_category(categories: Iterable[Node], code: str) -> bool:
    """Whether one of the tax categories has the code, whatever the tax."""
    return any(is_of(category, code) for category in categories)


def has_vat_category(categories: Iterable[Node], code: str) -> bool:
    """Whether one of the tax categories is of VAT and has the code."""
    return any(is_of(category, code) and is_vat(category) for category in categories)


def rounded(amount: Decimal) -> Decimal:
    """To two decimals, halves up: away from zero for positive amounts, towards it for negative ones, as XPath does."""
    quantized = amount.quantize(CENT, ROUND_HALF_UP)
    return quantized + CENT if amount - quantized == CENT / 2 else quantized


def too_fine(pick: Callable[[Invoice], Iterable[Node]]) -> Callable[[Invoice], Iterator[Node]]:
    """A rule: the picked values have at most two decimals."""

    def broken(invoice: Invoice) -> Iterator[Node]:
        for node in pick(invoice):
            if is_too_fine(node.text):
                yield node

    return broken


def misfit(pick: Callable[[Invoice], Iterable[Node]], least: int, most: int) -> Callable[[Invoice], Iterator[Node]]:
    """A rule: the picked values have from ``least`` to ``most`` characters."""

    def broken(invoice: Invoice) -> Iterator[Node]:
        for node in pick(invoice):
            if not least <= len(node.text) <= most:
                yield node

    return broken


def below_root(*path: str) -> Callable[[Invoice], list[Node]]:
    """Picks what is at the end of a path from the root."""

    def pick(invoice: Invoice) -> list[Node]:
        return invoice.root.all(*path)

    return pick


def below(parents: Callable[[Invoice], Iterable[Node]], name: str) -> Callable[[Invoice], Iterator[Node]]:
    """Picks what has the name below the elements that are picked."""

    def pick(invoice: Invoice) -> Iterator[Node]:
        for parent in parents(invoice):
            yield from parent.all(name)

    return pick
