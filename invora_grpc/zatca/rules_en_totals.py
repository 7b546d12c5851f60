"""EN 16931 about the totals of the document, and about allowances and charges on all of it.

What belongs to one VAT category is in `rules_en_vat`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

from invora_grpc.zatca.engine import Invoice, Node, Rulebook
from invora_grpc.zatca.rules_en_forms import below, is_charge, is_filled, is_too_fine, is_vat, rounded, too_fine

__all__ = ["BOOK"]

BOOK: Final = Rulebook()
_rule = BOOK.rule

_ZERO: Final = Decimal(0)


def _totals(invoice: Invoice) -> list[Node]:
    return invoice.root.all("cac:LegalMonetaryTotal")


def _allowances(invoice: Invoice) -> list[Node]:
    return [allowance for allowance in invoice.allowances if not is_charge(allowance)]


def _charges(invoice: Invoice) -> list[Node]:
    return [allowance for allowance in invoice.allowances if is_charge(allowance)]


def _sum(nodes: list[Node], *path: str) -> Decimal:
    """What is at the end of the paths, added up; what is no number counts as nothing."""
    return sum((node.number(*path) or _ZERO for node in nodes), _ZERO)


def _without(pick: Callable[[Invoice], list[Node]], *path: str) -> Callable[[Invoice], Iterator[Node]]:
    """A rule: the picked elements have something at the end of the path."""

    def broken(invoice: Invoice) -> Iterator[Node]:
        for node in pick(invoice):
            if not node.all(*path):
                yield node

    return broken


_rule("BR-13", "the total without VAT is missing: give cbc:TaxExclusiveAmount", severity="warning")(
    _without(_totals, "cbc:TaxExclusiveAmount")
)
_rule("BR-14", "the total with VAT is missing: give cbc:TaxInclusiveAmount")(
    _without(_totals, "cbc:TaxInclusiveAmount")
)
_rule("BR-15", "the amount due is missing: give cbc:PayableAmount")(_without(_totals, "cbc:PayableAmount"))
_rule("BR-31", "the allowance has no amount: give cbc:Amount")(_without(_allowances, "cbc:Amount"))
_rule("BR-36", "the charge has no amount: give cbc:Amount", severity="warning")(_without(_charges, "cbc:Amount"))
_rule("BR-37", "the charge has no VAT category: give cac:TaxCategory/cbc:ID", severity="warning")(
    _without(_charges, "cac:TaxCategory", "cbc:ID")
)

for _id, _name in (
    ("BR-DEC-09", "cbc:LineExtensionAmount"),
    ("BR-DEC-10", "cbc:AllowanceTotalAmount"),
    ("BR-DEC-11", "cbc:ChargeTotalAmount"),
    ("BR-DEC-12", "cbc:TaxExclusiveAmount"),
    ("BR-DEC-14", "cbc:TaxInclusiveAmount"),
    ("BR-DEC-16", "cbc:PrepaidAmount"),
    ("BR-DEC-17", "cbc:PayableRoundingAmount"),
    ("BR-DEC-18", "cbc:PayableAmount"),
):
    _rule(_id, f"{_name} has more than two decimals: round it", severity="warning")(too_fine(below(_totals, _name)))

_rule("BR-DEC-01", "the allowance has more than two decimals: round cbc:Amount", severity="warning")(
    too_fine(below(_allowances, "cbc:Amount"))
)
_rule("BR-DEC-02", "the allowance's base has more than two decimals: round cbc:BaseAmount", severity="warning")(
    too_fine(below(_allowances, "cbc:BaseAmount"))
)
_rule("BR-DEC-05", "the charge has more than two decimals: round cbc:Amount", severity="warning")(
    too_fine(below(_charges, "cbc:Amount"))
)
_rule("BR-DEC-06", "the charge's base has more than two decimals: round cbc:BaseAmount", severity="warning")(
    too_fine(below(_charges, "cbc:BaseAmount"))
)


@_rule("BR-32", "the allowance has no VAT category: give cac:TaxCategory/cbc:ID")
def _allowances_without_category(invoice: Invoice) -> Iterator[Node]:
    for allowance in _allowances(invoice):
        categories = allowance.all("cac:TaxCategory")
        if not any(is_filled(category, "cbc:ID") and is_vat(category) for category in categories):
            yield allowance


@_rule("BR-CO-10", "cbc:LineExtensionAmount is not the sum of the lines: add them up", severity="warning")
def _wrong_line_sum(invoice: Invoice) -> Iterator[Node]:
    expected = rounded(sum((line.net or _ZERO for line in invoice.lines), _ZERO))
    for totals in _totals(invoice):
        if totals.number("cbc:LineExtensionAmount") != expected:
            yield totals


def _sums_differ(totals: Node, name: str, allowances: list[Node]) -> bool:
    """Whether the sum of allowances or charges is wrong; it may only be missing where there are none."""
    if not totals.all(name):
        return bool(allowances)
    return totals.number(name) != rounded(_sum(allowances, "cbc:Amount"))


@_rule("BR-CO-11", "cbc:AllowanceTotalAmount is not the sum of the document's allowances: add them up")
def _wrong_allowance_sum(invoice: Invoice) -> Iterator[Node]:
    for totals in _totals(invoice):
        if _sums_differ(totals, "cbc:AllowanceTotalAmount", _allowances(invoice)):
            yield totals


@_rule("BR-CO-12", "cbc:ChargeTotalAmount is not the sum of the document's charges: add them up")
def _wrong_charge_sum(invoice: Invoice) -> Iterator[Node]:
    for totals in _totals(invoice):
        if _sums_differ(totals, "cbc:ChargeTotalAmount", _charges(invoice)):
            yield totals


@_rule("BR-CO-13", "cbc:TaxExclusiveAmount is not lines - allowances + charges: add them up", severity="warning")
def _wrong_exclusive(invoice: Invoice) -> Iterator[Node]:
    """Without allowances and charges, ZATCA compares with the sum that is written, not with the lines."""
    for totals in _totals(invoice):
        expected = totals.number("cbc:LineExtensionAmount")
        off, added = totals.number("cbc:AllowanceTotalAmount"), totals.number("cbc:ChargeTotalAmount")
        if off is not None or added is not None:
            expected = rounded(_binary_line_sum(invoice) - (off or _ZERO) + (added or _ZERO))
        if expected is None or totals.number("cbc:TaxExclusiveAmount") != expected:
            yield totals


def _binary_line_sum(invoice: Invoice) -> Decimal:
    """The lines added up as binary numbers, as ZATCA's sheet does it: it shows where a line has a third decimal."""
    total = 0.0
    for line in invoice.lines:
        if line.net is not None:
            total += float(line.net)
    return Decimal(total)


@_rule("BR-CO-14", "cbc:TaxAmount of the tax total is not the sum of the breakdowns' taxes: add them up")
def _wrong_tax_sum(invoice: Invoice) -> Iterator[Node]:
    for total in invoice.tax_totals:
        breakdowns = total.all("cac:TaxSubtotal")
        if breakdowns and total.number("cbc:TaxAmount") != rounded(_sum(breakdowns, "cbc:TaxAmount")):
            yield total


@_rule("BR-CO-15", "cbc:TaxInclusiveAmount is not cbc:TaxExclusiveAmount plus the breakdowns' taxes: add them up")
def _wrong_inclusive(invoice: Invoice) -> Iterator[Node]:
    """Also told if no tax total is in the document's currency."""
    tax = _sum(invoice.breakdowns, "cbc:TaxAmount")
    for currency in invoice.root.all("cbc:DocumentCurrencyCode"):
        amounts = invoice.root.all("cac:TaxTotal", "cbc:TaxAmount")
        in_currency = any(amount.attributes.get("currencyID") == currency.text for amount in amounts)
        totals = invoice.totals
        exclusive = totals.number("cbc:TaxExclusiveAmount") if totals else None
        inclusive = totals.number("cbc:TaxInclusiveAmount") if totals else None
        if not in_currency or exclusive is None or inclusive != rounded(exclusive + tax):
            yield totals or invoice.root
            return


@_rule("BR-CO-16", "cbc:PayableAmount is not total with VAT - prepaid + rounding: add them up", severity="warning")
def _wrong_payable(invoice: Invoice) -> Iterator[Node]:
    for totals in _totals(invoice):
        payable, inclusive = totals.number("cbc:PayableAmount"), totals.number("cbc:TaxInclusiveAmount")
        prepaid, rounding = totals.number("cbc:PrepaidAmount"), totals.number("cbc:PayableRoundingAmount")
        if payable is None or inclusive is None:
            yield totals
            continue
        left = payable if rounding is None else rounded(payable - rounding)
        right = inclusive if prepaid is None else rounded(inclusive - prepaid)
        if left != right:
            yield totals


@_rule("BR-CO-18", "the document has no VAT breakdown: give cac:TaxTotal/cac:TaxSubtotal")
def _no_breakdown(invoice: Invoice) -> Iterator[Node]:
    if not invoice.breakdowns:
        yield invoice.root


def _fine_in(invoice: Invoice, currency: str) -> Iterator[Node]:
    """The tax totals in a currency of the document with more than two decimals."""
    currencies = {code.text for code in invoice.root.all(currency)}
    for amount in invoice.root.all("cac:TaxTotal", "cbc:TaxAmount"):
        if amount.attributes.get("currencyID") in currencies and is_too_fine(amount.text):
            yield amount


@_rule("BR-DEC-13", "the VAT total has more than two decimals: round cbc:TaxAmount", severity="warning")
def _fine_tax(invoice: Invoice) -> Iterator[Node]:
    return _fine_in(invoice, "cbc:DocumentCurrencyCode")


@_rule("BR-DEC-15", "the VAT total in SAR has more than two decimals: round cbc:TaxAmount", severity="warning")
def _fine_accounting_tax(invoice: Invoice) -> Iterator[Node]:
    return _fine_in(invoice, "cbc:TaxCurrencyCode")
