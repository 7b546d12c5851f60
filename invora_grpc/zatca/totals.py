"""The sums of a tax document, exact to the halala.

Plain arithmetic on `Document`: it reads no XML, asks no clock and decides nothing about validity (`problems` does).
Amounts are rounded half up to two decimals wherever ZATCA wants an amount with two decimals, and only there: the VAT of
a category is computed once, on the category's whole taxable amount (BR-CO-17), so the VAT amounts of the lines need not
add up to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

from invora_grpc.errors import RequestError
from invora_grpc.zatca.document import Allowance, Document, Line, Tax

__all__ = ["CategoryTotal", "LineTotals", "Totals", "allowance_amount", "line_totals", "rounded", "tax_on", "totals"]

EXACT: Final = Context(prec=120, rounding=ROUND_HALF_UP)
"""Wide enough that no product is rounded, and no quotient rounded to where it would be taken for a half."""
CENT: Final = Decimal("0.01")
ZERO: Final = Decimal("0.00")
HUNDRED: Final = Decimal(100)


@dataclass(frozen=True, slots=True)
class LineTotals:
    """What one line comes to, in the document's currency."""

    net: Decimal
    """BT-131: quantity × price ÷ base quantity, plus charges, less allowances."""
    tax: Decimal
    """KSA-11: VAT on the net amount."""
    gross: Decimal
    """KSA-12: net and VAT."""


@dataclass(frozen=True, slots=True)
class CategoryTotal:
    """The breakdown of one tax category and rate (BG-23)."""

    tax: Tax
    """The category, its rate, and why it is not taxed."""
    taxable: Decimal
    """BT-116."""
    amount: Decimal
    """BT-117: VAT on the taxable amount."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of a document, in its currency but for `tax_sar`."""

    lines: tuple[LineTotals, ...]
    """In the order of the document's lines."""
    line_total: Decimal
    """BT-106: net amounts of the lines."""
    allowance_total: Decimal
    """BT-107: allowances on the document."""
    charge_total: Decimal
    """BT-108: charges on the document."""
    tax_exclusive: Decimal
    """BT-109."""
    breakdown: tuple[CategoryTotal, ...]
    """One entry per category and rate, in order of appearance."""
    tax: Decimal
    """BT-110: VAT."""
    tax_sar: Decimal
    """BT-111: VAT in riyals, by the document's `sar_rate` (1 where that is None)."""
    tax_inclusive: Decimal
    """BT-112."""
    prepaid: Decimal
    """BT-113: prepayments with their VAT."""
    rounding: Decimal
    """BT-114."""
    payable: Decimal
    """BT-115: with VAT, less prepayments, plus rounding."""


def rounded(amount: Decimal) -> Decimal:
    """The amount with two decimals, half up."""
    return amount.quantize(CENT, context=EXACT)


def allowance_amount(base_amount: Decimal, percent: Decimal) -> Decimal:
    """The amount of an allowance or charge that is a share of something (BR-KSA-EN16931-03)."""
    return rounded(EXACT.divide(EXACT.multiply(base_amount, percent), HUNDRED))


def line_totals(line: Line) -> LineTotals:
    """What one line comes to."""
    amount = EXACT.multiply(line.quantity, line.unit_price)
    if line.base_quantity != 1:
        amount = EXACT.divide(amount, line.base_quantity)
    net = rounded(amount)
    for allowance in line.allowances:
        net = EXACT.add(net, _signed(allowance))
    tax = tax_on(net, line.tax.rate)
    return LineTotals(net, tax, EXACT.add(net, tax))


def totals(document: Document) -> Totals:
    """Add a document up. The amounts of its allowances, prepayments and rounding are taken as they are."""
    lines = tuple(map(line_totals, document.lines))
    line_total = _sum(line.net for line in lines)
    allowance_total = _sum(each.amount for each in document.allowances if not each.charge)
    charge_total = _sum(each.amount for each in document.allowances if each.charge)
    tax_exclusive = EXACT.add(EXACT.subtract(line_total, allowance_total), charge_total)
    breakdown = _breakdown(document, lines)
    tax = _sum(entry.amount for entry in breakdown)
    tax_inclusive = EXACT.add(tax_exclusive, tax)
    prepaid = _sum(EXACT.add(each.taxable_amount, each.tax_amount) for each in document.prepayments)
    rate = document.sar_rate
    return Totals(
        lines,
        line_total,
        allowance_total,
        charge_total,
        tax_exclusive,
        breakdown,
        tax,
        tax if rate is None else rounded(EXACT.multiply(tax, rate)),
        tax_inclusive,
        prepaid,
        EXACT.add(ZERO, document.rounding),
        EXACT.add(EXACT.subtract(tax_inclusive, prepaid), document.rounding),
    )


def _breakdown(document: Document, lines: tuple[LineTotals, ...]) -> tuple[CategoryTotal, ...]:
    taxes: dict[tuple[str, Decimal], Tax] = {}
    taxable: dict[tuple[str, Decimal], Decimal] = {}
    for line, line_total in zip(document.lines, lines, strict=True):
        key = (line.tax.category, line.tax.rate)
        taxes.setdefault(key, line.tax)
        taxable[key] = EXACT.add(taxable.get(key, ZERO), line_total.net)
    for allowance in document.allowances:
        tax = _own_tax(allowance)
        key = (tax.category, tax.rate)
        taxes.setdefault(key, tax)
        taxable[key] = EXACT.add(taxable.get(key, ZERO), _signed(allowance))
    return tuple(CategoryTotal(tax, taxable[key], tax_on(taxable[key], tax.rate)) for key, tax in taxes.items())


def _own_tax(allowance: Allowance) -> Tax:
    if allowance.tax is None:
        raise RequestError("allowances.tax", None, "give the category that it counts for", "is missing (BR-32, BR-37)")
    return allowance.tax


def _signed(allowance: Allowance) -> Decimal:
    return allowance.amount if allowance.charge else -allowance.amount


def tax_on(amount: Decimal, rate: Decimal) -> Decimal:
    """VAT on an amount, at a rate in per cent."""
    return rounded(EXACT.divide(EXACT.multiply(amount, rate), HUNDRED))


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = ZERO
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total
