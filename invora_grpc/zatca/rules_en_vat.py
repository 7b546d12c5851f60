"""EN 16931 about VAT: the breakdowns, and the categories S, Z, E and O on lines, allowances and charges.

The same questions are asked of each category; where ZATCA asks some category less or more, the table below says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from invora_grpc.zatca.engine import Invoice, Node, Rulebook, number
from invora_grpc.zatca.rules_en_forms import (
    CENT,
    below_root,
    has_category,
    has_vat_category,
    is_charge,
    is_of,
    is_vat,
    too_fine,
)

__all__ = ["BOOK"]

BOOK: Final = Rulebook()
_rule = BOOK.rule

_Rule = Callable[[Invoice], Iterator[Node]]
_ZERO: Final = Decimal(0)
_BREAKDOWN: Final = ("cac:TaxTotal", "cac:TaxSubtotal")


def _vat_categories(breakdown: Node) -> list[Node]:
    return [category for category in breakdown.all("cac:TaxCategory") if is_vat(category)]


def _of(categories: list[Node], code: str) -> Iterator[Node]:
    """The categories of VAT with the code."""
    for category in categories:
        if is_of(category, code) and is_vat(category):
            yield category


# --- every breakdown


def _without(name: str) -> _Rule:
    def broken(invoice: Invoice) -> Iterator[Node]:
        for breakdown in invoice.breakdowns:
            if not breakdown.all(name):
                yield breakdown

    return broken


_rule("BR-45", "the VAT breakdown has no taxable amount: give cbc:TaxableAmount")(_without("cbc:TaxableAmount"))
_rule("BR-46", "the VAT breakdown has no tax: give cbc:TaxAmount")(_without("cbc:TaxAmount"))


@_rule("BR-47", "the VAT breakdown has no category: give cac:TaxCategory/cbc:ID, and VAT as its cac:TaxScheme")
def _no_category(invoice: Invoice) -> Iterator[Node]:
    for breakdown in invoice.breakdowns:
        if not any(category.all("cbc:ID") for category in _vat_categories(breakdown)):
            yield breakdown


@_rule("BR-48", "the VAT breakdown has no rate: give cac:TaxCategory/cbc:Percent")
def _no_rate(invoice: Invoice) -> Iterator[Node]:
    """What is outside the scope of VAT (O) needs none."""
    for breakdown in invoice.breakdowns:
        if not any(category.all("cbc:Percent") or is_of(category, "O") for category in _vat_categories(breakdown)):
            yield breakdown


@_rule("BR-CO-17", "the breakdown's tax is not taxable amount × rate / 100: compute it anew", severity="warning")
def _wrong_tax(invoice: Invoice) -> Iterator[Node]:
    for breakdown in invoice.breakdowns:
        if not _tax_fits(breakdown, len(invoice.lines)):
            yield breakdown


def _tax_fits(breakdown: Node, lines: int) -> bool:
    """Whether tax = taxable × rate / 100 within one cent a line, which is what ZATCA grants to rounding line by line.

    ZATCA multiplies binary numbers, so we do, for the same verdict at a boundary.
    """
    tax, taxable = breakdown.number("cbc:TaxAmount"), breakdown.number("cbc:TaxableAmount")
    rates = [rate for category in _vat_categories(breakdown) for rate in category.all("cbc:Percent")]
    rate = number(rates[0].text) if rates else None
    if tax is None or taxable is None or rate is None:
        return False
    product = float(taxable) * (float(rate) / 100.0)
    if math.isinf(product):
        return False
    expected = Decimal(repr(product)).quantize(CENT, ROUND_HALF_EVEN)
    return abs(tax - expected) <= CENT * lines


_rule("BR-DEC-19", "the taxable amount has more than two decimals: round it", severity="warning")(
    too_fine(below_root(*_BREAKDOWN, "cbc:TaxableAmount"))
)
_rule("BR-DEC-20", "the breakdown's tax has more than two decimals: round it", severity="warning")(
    too_fine(below_root(*_BREAKDOWN, "cbc:TaxAmount"))
)


# --- one category


def _missing_breakdown(code: str) -> _Rule:
    """A rule: if anything has the category, a breakdown has it."""

    def broken(invoice: Invoice) -> Iterator[Node]:
        if not has_vat_category(invoice.breakdown_categories, code) and _is_used_anywhere(invoice, code):
            yield invoice.root

    return broken


def _is_used_anywhere(invoice: Invoice, code: str) -> bool:
    return has_vat_category(invoice.every("cac:ClassifiedTaxCategory"), code) or any(
        has_vat_category(allowance.all("cac:TaxCategory"), code) for allowance in invoice.every("cac:AllowanceCharge")
    )


def _wrong_taxable(code: str) -> _Rule:
    """A rule: the taxable amount is that of the lines, allowances and charges of the category.

    S has one breakdown per rate; only their sum in the tax total is compared.
    """

    def broken(invoice: Invoice) -> Iterator[Node]:
        if not has_vat_category(invoice.breakdown_categories, code):
            return
        expected = _expected(invoice, code)
        for total in invoice.tax_totals:
            parts = total.all("cac:TaxSubtotal")
            in_all = _sum_of(parts, code, "cbc:TaxableAmount")
            for part in parts:
                taxable = in_all if code == "S" else part.number("cbc:TaxableAmount")
                if expected is None or taxable != expected:
                    yield from _of(part.all("cac:TaxCategory"), code)

    return broken


def _sum_of(nodes: list[Node], code: str, name: str) -> Decimal:
    """The amounts of the elements of a category, added up."""
    chosen = (node for node in nodes if has_category(node.all("cac:TaxCategory"), code))
    return sum((node.number(name) or _ZERO for node in chosen), _ZERO)


def _expected(invoice: Invoice, code: str) -> Decimal | None:
    """Lines - allowances + charges of a category; None if none of them has it as a category of VAT."""
    if not (has_vat_category(invoice.line_categories, code) or has_vat_category(invoice.allowance_categories, code)):
        return None
    lines = sum((line.net or _ZERO for line in invoice.lines if has_category(line.categories, code)), _ZERO)
    charges = [allowance for allowance in invoice.allowances if is_charge(allowance)]
    allowances = [allowance for allowance in invoice.allowances if not is_charge(allowance)]
    return lines + _sum_of(charges, code, "cbc:Amount") - _sum_of(allowances, code, "cbc:Amount")


def _taxed(code: str) -> _Rule:
    """A rule: the breakdown of the category has no tax."""

    def broken(invoice: Invoice) -> Iterator[Node]:
        for breakdown in invoice.breakdowns:
            for category in _of(breakdown.all("cac:TaxCategory"), code):
                if breakdown.number("cbc:TaxAmount") != 0:
                    yield category

    return broken


def _wrong_rate(pick: Callable[[Invoice], list[Node]], code: str) -> _Rule:
    """A rule: the rate of the category is above 0 for S, and 0 for the others."""

    def broken(invoice: Invoice) -> Iterator[Node]:
        for category in _of(pick(invoice), code):
            rate = category.number("cbc:Percent")
            if rate is None or (rate <= 0 if code == "S" else rate != 0):
                yield category

    return broken


def _on_lines(invoice: Invoice) -> list[Node]:
    return invoice.line_categories


def _on(*, charges: bool) -> Callable[[Invoice], list[Node]]:
    """The categories of all allowances, or of all charges, on lines and prices too."""

    def pick(invoice: Invoice) -> list[Node]:
        return [
            category
            for allowance in invoice.every("cac:AllowanceCharge")
            if is_charge(allowance) == charges
            for category in allowance.all("cac:TaxCategory")
        ]

    return pick


def _charge_taxed(code: str) -> _Rule:
    """A rule: if a charge on the document has the category, some allowance or charge on it has the rate 0.

    That another one's rate will do is ZATCA's way of asking.
    """

    def broken(invoice: Invoice) -> Iterator[Node]:
        charged = [
            category for node in invoice.allowances if is_charge(node) for category in node.all("cac:TaxCategory")
        ]
        rates = [rate for category in invoice.allowance_categories for rate in category.all("cbc:Percent")]
        if has_vat_category(charged, code) and all(number(rate.text) != 0 for rate in rates):
            yield invoice.root

    return broken


_NAMES: Final = {"S": "standard rated", "Z": "zero rated", "E": "exempt", "O": "outside the scope of VAT"}

for _code, _name in _NAMES.items():
    _rule(
        f"BR-{_code}-01",
        f"something is {_name} but no VAT breakdown of {_code} is there: give one",
        severity="warning",
    )(_missing_breakdown(_code))
    _rule(
        f"BR-{_code}-08",
        f"the taxable amount of {_code} is not lines - allowances + charges of {_code}: add them up",
        severity="warning",
    )(_wrong_taxable(_code))

for _code in "ZEO":
    _rule(f"BR-{_code}-09", f"what is {_NAMES[_code]} bears no VAT: the breakdown's tax must be 0")(_taxed(_code))

for _code in "ZE":
    _rule(f"BR-{_code}-05", f"the rate of a line that is {_NAMES[_code]} must be 0")(_wrong_rate(_on_lines, _code))
    _rule(f"BR-{_code}-06", f"the rate of an allowance that is {_NAMES[_code]} must be 0")(
        _wrong_rate(_on(charges=False), _code)
    )
    _rule(f"BR-{_code}-07", f"the rate of a charge that is {_NAMES[_code]} must be 0")(_charge_taxed(_code))

_rule("BR-S-05", "the rate of a standard rated line must be above 0", severity="warning")(_wrong_rate(_on_lines, "S"))
_rule("BR-S-06", "the rate of a standard rated allowance must be above 0")(_wrong_rate(_on(charges=False), "S"))
_rule("BR-S-07", "the rate of a standard rated charge must be above 0", severity="warning")(
    _wrong_rate(_on(charges=True), "S")
)


@_rule("BR-S-09", "the tax of S is not taxable amount × rate / 100: compute it anew", severity="warning")
def _wrong_standard_tax(invoice: Invoice) -> Iterator[Node]:
    for breakdown in invoice.breakdowns:
        for category in _of(breakdown.all("cac:TaxCategory"), "S"):
            if not _tax_fits(breakdown, len(invoice.lines)):
                yield category


@_rule("BR-S-10", "a standard rated breakdown has no exemption: remove its reason and reason code", severity="warning")
def _exempted_standard(invoice: Invoice) -> Iterator[Node]:
    """Not asked if S is written with blanks everywhere."""
    if not any(code.text == "S" for category in invoice.breakdown_categories for code in category.all("cbc:ID")):
        return
    for category in _of(invoice.breakdown_categories, "S"):
        if category.all("cbc:TaxExemptionReason") or category.all("cbc:TaxExemptionReasonCode"):
            yield category
