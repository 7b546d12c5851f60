"""EN 16931 about the lines: what each must have, and their charges.

ZATCA's sheet has rules about a line's allowances too (BR-41, BR-DEC-24, BR-DEC-25) that never speak: left out here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from invora_grpc.zatca.engine import Invoice, Node, Rulebook
from invora_grpc.zatca.rules_en_forms import below, below_root, is_charge, is_vat, misfit, too_fine

__all__ = ["BOOK"]

BOOK: Final = Rulebook()
_rule = BOOK.rule

_DIGITS: Final = re.compile(r"\d+").fullmatch
_LINE: Final = "cac:InvoiceLine"
_ITEM_NAME: Final = ("cac:Item", "cbc:Name")


def _lines(invoice: Invoice) -> list[Node]:
    return invoice.root.all(_LINE)


def _charges(invoice: Invoice) -> list[Node]:
    return [allowance for allowance in invoice.line_allowances if is_charge(allowance)]


def _without(*path: str) -> Callable[[Invoice], Iterator[Node]]:
    """A rule: each line has something at the end of the path."""

    def broken(invoice: Invoice) -> Iterator[Node]:
        for line in _lines(invoice):
            if not line.all(*path):
                yield line

    return broken


def _empty(*path: str) -> Callable[[Invoice], Iterator[Node]]:
    """A rule: each line has some text at the end of the path."""

    def broken(invoice: Invoice) -> Iterator[Node]:
        for line in _lines(invoice):
            if not line.value(*path):
                yield line

    return broken


_rule("BR-21", "the line has no id: give cbc:ID", severity="warning")(_empty("cbc:ID"))
_rule("BR-24", "the line has no net amount: give cbc:LineExtensionAmount")(_without("cbc:LineExtensionAmount"))
_rule("BR-25", "the item has no name: give cac:Item/cbc:Name", severity="warning")(_empty(*_ITEM_NAME))
_rule("BR-26", "the line has no price: give cac:Price/cbc:PriceAmount")(_without("cac:Price", "cbc:PriceAmount"))
_rule("BR-DEC-23", "the line's net amount has more than two decimals: round it", severity="warning")(
    too_fine(below_root(_LINE, "cbc:LineExtensionAmount"))
)
_rule("BR-KSA-F-06-C17", "the line's id must have 1 to 6 characters")(misfit(below_root(_LINE, "cbc:ID"), 1, 6))
_rule("BR-KSA-F-06-C19", "the item's name must have 3 to 1000 characters", severity="warning")(
    misfit(below_root(_LINE, *_ITEM_NAME), 3, 1000)
)
_rule("BR-KSA-F-06-C20", "the item's standard number is longer than 127 characters: shorten it", severity="warning")(
    misfit(below_root(_LINE, "cac:Item", "cac:StandardItemIdentification", "cbc:ID"), 0, 127)
)
_rule("BR-KSA-F-06-C30", "the buyer's item number is longer than 127 characters: shorten it", severity="warning")(
    misfit(below_root(_LINE, "cac:Item", "cac:BuyersItemIdentification", "cbc:ID"), 0, 127)
)
_rule("BR-KSA-F-06-C31", "the seller's item number is longer than 127 characters: shorten it", severity="warning")(
    misfit(below_root(_LINE, "cac:Item", "cac:SellersItemIdentification", "cbc:ID"), 0, 127)
)


@_rule("BR-22", "the line has no quantity, or 0: give cbc:InvoicedQuantity")
def _no_quantity(invoice: Invoice) -> Iterator[Node]:
    """0 is only seen when it is written just so; 0.0 passes."""
    for line in _lines(invoice):
        quantities = line.all("cbc:InvoicedQuantity")
        if not quantities or any(quantity.text == "0" for quantity in quantities):
            yield line


@_rule("BR-CO-04", "the item has no VAT category: give cac:ClassifiedTaxCategory/cbc:ID")
def _no_category(invoice: Invoice) -> Iterator[Node]:
    for line in invoice.lines:
        for category in line.categories:
            if "cbc:ID" in category.children and is_vat(category):
                break
        else:
            yield line.node


@_rule(
    "BR-KSA-F-06-C18",
    "the unit of measure is longer than 127 characters: use a code of UN/ECE Rec. 20",
    severity="warning",
)
def _long_units(invoice: Invoice) -> Iterator[Node]:
    for quantity in invoice.root.all(_LINE, "cbc:InvoicedQuantity"):
        if len(quantity.attributes.get("unitCode", "")) > 127:
            yield quantity


@_rule("BR-KSA-F-C-01", "the item's name is only digits: say what it is (Art. 53)", severity="warning")
def _numbers_for_names(invoice: Invoice) -> Iterator[Node]:
    for name in invoice.root.all(_LINE, *_ITEM_NAME):
        if _DIGITS(name.text):
            yield name


@_rule("BR-43", "the charge on the line has no amount: give cbc:Amount", severity="warning")
def _charges_without_amount(invoice: Invoice) -> Iterator[Node]:
    for charge in _charges(invoice):
        if not charge.all("cbc:Amount"):
            yield charge


_rule("BR-DEC-27", "the charge on the line has more than two decimals: round cbc:Amount", severity="warning")(
    too_fine(below(_charges, "cbc:Amount"))
)
_rule("BR-DEC-28", "the base of the charge on the line has more than two decimals: round it", severity="warning")(
    too_fine(below(_charges, "cbc:BaseAmount"))
)
