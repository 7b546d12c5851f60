"""ZATCA's own rules about amounts: lines, allowances and charges, prices, signs, currencies of amounts, tax totals.

Ids and severities are those of ZATCA's SDK R3.4.8; the words are this project's. Where ZATCA computes with binary
floating point, so do these rules, lest a half of a halala be judged another way here than there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Final

from invora_grpc.zatca.codes import CHARGE_REASONS
from invora_grpc.zatca.engine import Invoice, Line, Node, Rulebook, is_charge, lengths, number, trimmed
from invora_grpc.zatca.rules_ksa_taxes import formatted, has_long_fraction, is_percentage, rounded

__all__ = ["BOOK"]

BOOK: Final = Rulebook()

_CENT: Final = Decimal("0.01")
_THOUSANDTH: Final = Decimal("0.001")
_CHARGE_REASONS: Final = " ".join(sorted(CHARGE_REASONS))
_IN_DOCUMENT_CURRENCY: Final = (
    *("cbc:Amount", "cbc:BaseAmount", "cbc:LineExtensionAmount", "cbc:PriceAmount", "cbc:TaxExclusiveAmount"),
    *("cbc:TaxInclusiveAmount", "cbc:AllowanceTotalAmount", "cbc:ChargeTotalAmount", "cbc:PrepaidAmount"),
    *("cbc:PayableRoundingAmount", "cbc:PayableAmount", "cbc:TaxableAmount", "cbc:TaxAmount", "cbc:RoundingAmount"),
)
_TAXES: Final = ("cbc:TaxableAmount", "cbc:TaxAmount", "cbc:RoundingAmount")
_TAXES_IN_DOCUMENT_CURRENCY: Final = frozenset(
    (
        "cac:TaxTotal/cac:TaxSubtotal/cbc:TaxableAmount",
        "cac:TaxTotal/cac:TaxSubtotal/cbc:TaxAmount",
        "cac:InvoiceLine/cac:TaxTotal/cbc:TaxAmount",
        "cac:InvoiceLine/cac:TaxTotal/cbc:RoundingAmount",
        "cac:InvoiceLine/cac:TaxTotal/cac:TaxSubtotal/cbc:TaxableAmount",
        "cac:InvoiceLine/cac:TaxTotal/cac:TaxSubtotal/cbc:TaxAmount",
    )
)
_NOT_NEGATIVE: Final = frozenset(
    (
        "cac:LegalMonetaryTotal/cbc:LineExtensionAmount",
        "cac:LegalMonetaryTotal/cbc:TaxExclusiveAmount",
        "cac:LegalMonetaryTotal/cbc:TaxInclusiveAmount",
        "cac:LegalMonetaryTotal/cbc:AllowanceTotalAmount",
        "cac:LegalMonetaryTotal/cbc:ChargeTotalAmount",
        "cac:LegalMonetaryTotal/cbc:PrepaidAmount",
        "cac:AllowanceCharge/cbc:Amount",
        "cac:AllowanceCharge/cbc:BaseAmount",
        "cac:TaxTotal/cbc:TaxAmount",
        "cac:TaxTotal/cac:TaxSubtotal/cbc:TaxAmount",
        "cac:TaxTotal/cac:TaxSubtotal/cbc:TaxableAmount",
        "cac:TaxExchangeRate/cbc:CalculationRate",
        "cac:InvoiceLine/cbc:InvoicedQuantity",
        "cac:InvoiceLine/cac:AllowanceCharge/cbc:Amount",
        "cac:InvoiceLine/cac:AllowanceCharge/cbc:BaseAmount",
        "cac:InvoiceLine/cac:TaxTotal/cbc:TaxAmount",
        "cac:InvoiceLine/cac:TaxTotal/cac:TaxSubtotal/cbc:TaxableAmount",
        "cac:InvoiceLine/cac:TaxTotal/cac:TaxSubtotal/cbc:TaxAmount",
        "cac:InvoiceLine/cac:Price/cbc:PriceAmount",
        "cac:InvoiceLine/cac:Price/cac:AllowanceCharge/cbc:Amount",
        "cac:InvoiceLine/cac:Price/cac:AllowanceCharge/cbc:BaseAmount",
    )
)
"""Where the root is left out."""


# --- all amounts ---------------------------------------------------------------------------------------------------


@BOOK.rule("BR-KSA-CL-02", "an amount is in another currency than the document: correct its currencyID")
def amount_in_another_currency(invoice: Invoice) -> Iterator[Node]:
    currency = invoice.currency
    for name in _IN_DOCUMENT_CURRENCY:
        for node in invoice.every(name):
            found = node.attributes.get("currencyID", "")
            # ZATCA looks for the amount's code inside the document's, so that a part of it passes.
            if found != currency and (not found or found not in currency) and not _is_other_tax(node):
                yield node


@BOOK.rule("BR-KSA-F-04", "an amount or quantity is negative: write it positive; a credit note says the direction")
def negative_amount(invoice: Invoice) -> Iterator[Node]:
    for name in sorted({path.rpartition("/")[2] for path in _NOT_NEGATIVE}):
        for node in invoice.every(name):
            is_negative = "-" in node.text and (number(node.text) or 0) < 0
            if is_negative and _path(node) in _NOT_NEGATIVE and not _is_out_of_scope(node):
                yield node


@BOOK.rule(
    "BR-KSA-EN16931-08", "the tax totals need exactly one with breakdowns: correct cac:TaxTotal", severity="warning"
)
def another_count_of_broken_down_totals(invoice: Invoice) -> Iterator[Node]:
    if sum("cac:TaxSubtotal" in node.children for node in invoice.tax_totals) != 1:
        yield invoice.root


@BOOK.rule(
    "BR-KSA-EN16931-09",
    "the tax totals need exactly one without breakdowns, in SAR: correct cac:TaxTotal",
    severity="warning",
)
def another_count_of_bare_totals(invoice: Invoice) -> Iterator[Node]:
    if sum("cac:TaxSubtotal" not in node.children for node in invoice.tax_totals) != 1:
        yield from invoice.root.all("cbc:TaxCurrencyCode")


@BOOK.rule("BR-KSA-97", "tax in a foreign currency cannot be the same number in SAR: convert it", severity="warning")
def unconverted_tax(invoice: Invoice) -> Iterator[Node]:
    if invoice.root.value("cbc:DocumentCurrencyCode") in ("", "SAR"):
        return
    amounts: dict[bool, Decimal | None] = {}
    for node in invoice.tax_totals:
        amounts.setdefault("cac:TaxSubtotal" in node.children, node.number("cbc:TaxAmount"))
    foreign, local = amounts.get(True), amounts.get(False)
    if foreign and local and foreign > 0 and local > 0 and _rounded(foreign) == _rounded(local):
        yield invoice.root


# --- lines ---------------------------------------------------------------------------------------------------------


@BOOK.rule("BR-KSA-52", "a line of a standard document needs its tax: add cac:TaxTotal/cbc:TaxAmount")
def line_without_tax(invoice: Invoice) -> Iterator[Node]:
    if invoice.is_standard:
        yield from (
            line.node for line in invoice.lines if not line.tax_total or not line.tax_total.value("cbc:TaxAmount")
        )


@BOOK.rule("BR-KSA-53", "a line of a standard document needs its amount with tax: add cac:TaxTotal/cbc:RoundingAmount")
def line_without_total(invoice: Invoice) -> Iterator[Node]:
    if invoice.is_standard:
        for line in invoice.lines:
            if not line.tax_total or not line.tax_total.value("cbc:RoundingAmount"):
                yield line.node


@BOOK.rule(
    "BR-KSA-51", "a line's amount with tax must be its net amount plus its tax: correct one of them", severity="warning"
)
def another_line_total(invoice: Invoice) -> Iterator[Node]:
    for line in invoice.lines:
        for node in line.node.all("cac:TaxTotal"):
            is_first = node is line.tax_total
            total = line.inclusive if is_first else node.number("cbc:RoundingAmount")
            tax = line.tax if is_first else node.number("cbc:TaxAmount")
            if tax is None or line.net is None:
                continue  # told by the schema
            if total is None or (total != tax + line.net and not _is_sum(total, tax, line.net)):
                yield node


@BOOK.rule(
    "BR-KSA-EN16931-11",
    "a line's net amount must be quantity times price, plus charges, less allowances: correct one of them",
    severity="warning",
)
def another_line_net(invoice: Invoice) -> Iterator[Node]:
    yield from (line.node for line in invoice.lines if not _is_net(line))


@BOOK.rule("BR-KSA-DEC-03", "a line's tax has two decimals at most: round it", severity="warning")
def long_line_tax(invoice: Invoice) -> Iterator[Node]:
    for line in invoice.lines:
        if line.tax_total and has_long_fraction(line.tax_total.value("cbc:TaxAmount")):
            yield line.node


@BOOK.rule("BR-KSA-DEC-04", "a line's amount with tax has two decimals at most: round it", severity="warning")
def long_line_total(invoice: Invoice) -> Iterator[Node]:
    for line in invoice.lines:
        if line.tax_total and has_long_fraction(line.tax_total.value("cbc:RoundingAmount")):
            yield line.node


# --- prices --------------------------------------------------------------------------------------------------------


@BOOK.rule("BR-KSA-EN16931-12", "the base quantity of a price must be more than 0: correct it")
def base_quantity_of_zero(invoice: Invoice) -> Iterator[Node]:
    for line in invoice.lines:
        if line.base_quantity is not None and line.base_quantity <= 0:
            yield from line.node.all("cac:Price", "cbc:BaseQuantity")


@BOOK.rule(
    "BR-KSA-F-06-C21", "the unit of the base quantity has more than 127 characters: correct it", severity="warning"
)
def long_base_unit(invoice: Invoice) -> Iterator[Node]:
    for line in invoice.lines:
        for node in line.node.all("cac:Price", "cbc:BaseQuantity"):
            if len(node.attributes.get("unitCode", "")) > 127:
                yield line.node


@BOOK.rule("BR-KSA-EN16931-06", "a price has no charges: set cbc:ChargeIndicator to false, or charge the line")
def charge_on_a_price(invoice: Invoice) -> Iterator[Node]:
    yield from (node for node in _on_prices(invoice) if is_charge(node))


@BOOK.rule("BR-KSA-EN16931-07", "the net price must be the gross price less its allowance: correct one of them")
def another_net_price(invoice: Invoice) -> Iterator[Node]:
    for node in _on_prices(invoice):
        for base in node.all("cbc:BaseAmount"):
            net = node.parent.number("cbc:PriceAmount") if node.parent else None
            gross, off = number(base.text), node.number("cbc:Amount")
            if net is None or gross is None or off is None or net != gross - off:
                yield base


# --- allowances and charges ----------------------------------------------------------------------------------------


@BOOK.rule(
    "BR-KSA-EN16931-03",
    "an allowance or charge must be its base times its percentage: correct one of them",
    severity="warning",
)
def another_allowance(invoice: Invoice) -> Iterator[Node]:
    for node in _on_document_and_lines(invoice):
        amount, base = node.number("cbc:Amount"), node.number("cbc:BaseAmount")
        if amount is not None and base is not None:
            percent = node.number("cbc:MultiplierFactorNumeric")
            if percent is None:
                yield node
                continue
            expected = math.floor(float(base) * float(percent) / 100.0 * 100.0 + 0.5) / 100.0
            if formatted(float(amount)) != formatted(expected):
                yield node


@BOOK.rule("BR-KSA-EN16931-04", "a percentage needs the base that it is of: add cbc:BaseAmount", severity="warning")
def percentage_without_base(invoice: Invoice) -> Iterator[Node]:
    for node in invoice.every("cac:AllowanceCharge"):
        if "cbc:MultiplierFactorNumeric" in node.children and "cbc:BaseAmount" not in node.children:
            yield node


@BOOK.rule(
    "BR-KSA-EN16931-05",
    "a base needs its percentage: add cbc:MultiplierFactorNumeric, or leave the base out",
    severity="warning",
)
def base_without_percentage(invoice: Invoice) -> Iterator[Node]:
    for node in _on_document_and_lines(invoice):
        if "cbc:BaseAmount" in node.children and "cbc:MultiplierFactorNumeric" not in node.children:
            yield node


@BOOK.rule(
    "BR-KSA-DEC-01", "an allowance's percentage must be from 0.00 to 100.00, with two decimals at most: correct it"
)
def malformed_percentage(invoice: Invoice) -> Iterator[Node]:
    for node in invoice.every("cac:AllowanceCharge"):
        if is_charge(node) is False and not (node.parent and node.parent.name == "cac:Price"):
            yield from (n for n in node.all("cbc:MultiplierFactorNumeric") if n.text and not is_percentage(n.text))


@BOOK.rule("BR-KSA-CL-06", "the reason of a charge must be a code of UN/CL 7161: correct it", severity="warning")
def unknown_charge_reason(invoice: Invoice) -> Iterator[Node]:
    # ZATCA looks for the code inside its list, so that a part of a code passes.
    for node in invoice.every("cac:AllowanceCharge"):
        on_price = node.parent is not None and node.parent.name == "cac:Price"
        if is_charge(node) and not on_price and node.value("cbc:AllowanceChargeReasonCode") not in _CHARGE_REASONS:
            yield node


@BOOK.rule(
    "BR-KSA-19",
    "a charge on the document needs the code of its reason: add cbc:AllowanceChargeReasonCode",
    severity="warning",
)
def charge_without_code(invoice: Invoice) -> Iterable[Node]:
    return _without(invoice.allowances, "cbc:AllowanceChargeReasonCode")


@BOOK.rule("BR-KSA-21", "a charge on the document needs its reason: add cbc:AllowanceChargeReason", severity="warning")
def charge_without_reason(invoice: Invoice) -> Iterable[Node]:
    return _without(invoice.allowances, "cbc:AllowanceChargeReason")


@BOOK.rule(
    "BR-KSA-20",
    "a charge on a line needs the code of its reason: add cbc:AllowanceChargeReasonCode",
    severity="warning",
)
def line_charge_without_code(invoice: Invoice) -> Iterable[Node]:
    return _without(invoice.line_allowances, "cbc:AllowanceChargeReasonCode")


@BOOK.rule("BR-KSA-22", "a charge on a line needs its reason: add cbc:AllowanceChargeReason", severity="warning")
def line_charge_without_reason(invoice: Invoice) -> Iterable[Node]:
    return _without(invoice.line_allowances, "cbc:AllowanceChargeReason")


@BOOK.rule("BR-KSA-F-06-C33", "the reason of a charge must have 1 to 1,000 characters: correct it", severity="warning")
def charge_reason_of_another_length(invoice: Invoice) -> Iterable[Node]:
    return _reasons(invoice.allowances, charge=True)


@BOOK.rule(
    "BR-KSA-F-06-C34", "the reason of a line's charge must have 1 to 1,000 characters: correct it", severity="warning"
)
def line_charge_reason_of_another_length(invoice: Invoice) -> Iterable[Node]:
    return _reasons(invoice.line_allowances, charge=True)


@BOOK.rule(
    "BR-KSA-F-06-C35", "the reason of an allowance must have 1 to 1,000 characters: correct it", severity="warning"
)
def allowance_reason_of_another_length(invoice: Invoice) -> Iterable[Node]:
    return _reasons(invoice.allowances, charge=False)


@BOOK.rule(
    "BR-KSA-F-06-C36",
    "the reason of a line's allowance must have 1 to 1,000 characters: correct it",
    severity="warning",
)
def line_allowance_reason_of_another_length(invoice: Invoice) -> Iterable[Node]:
    return _reasons(invoice.line_allowances, charge=False)


# --- small parts ---------------------------------------------------------------------------------------------------


def _is_other_tax(node: Node) -> bool:
    """Whether it is a tax that may be in another currency: of the document, which is in SAR too, or withheld."""
    return node.name in _TAXES and _path(node) not in _TAXES_IN_DOCUMENT_CURRENCY


def _is_out_of_scope(node: Node) -> bool:
    """Whether it is the taxable amount of a breakdown of the document that is outside the scope of VAT."""
    breakdown = node.parent
    if breakdown is None or _path(node) != "cac:TaxTotal/cac:TaxSubtotal/cbc:TaxableAmount":
        return False
    return trimmed(breakdown.value("cac:TaxCategory", "cbc:ID")) == "O"


def _path(node: Node) -> str:
    """The names from below the root to an element."""
    above = node.parent
    return f"{_path(above)}/{node.name}" if above is not None and above.parent is not None else node.name


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, ROUND_HALF_UP)


def _is_sum(total: Decimal, tax: Decimal, net: Decimal) -> bool:
    return formatted(float(total)) == formatted(rounded((float(tax) + float(net)) * 100.0) / 100.0)


def _is_net(line: Line) -> bool:
    """Whether the net amount is what quantity, price, allowances and charges make, give or take a halala."""
    if line.net is None or line.quantity is None or line.price is None:
        return False
    if line.base_quantity == 0:
        return True  # told by BR-KSA-EN16931-12
    expected = line.quantity * line.price
    if line.base_quantity is not None:
        expected /= line.base_quantity
    if not line.allowances and line.net == expected:
        return True
    expected = expected.quantize(_THOUSANDTH, ROUND_FLOOR)
    for node in line.allowances:
        amount = node.number("cbc:Amount") or Decimal(0)
        expected += amount if is_charge(node) else -amount
    return abs(line.net - _rounded(expected)) in (0, _CENT)


def _on_prices(invoice: Invoice) -> list[Node]:
    return [node for line in invoice.lines for node in line.node.all("cac:Price", "cac:AllowanceCharge")]


def _on_document_and_lines(invoice: Invoice) -> Iterator[Node]:
    yield from invoice.allowances
    yield from invoice.line_allowances


def _without(nodes: Iterable[Node], name: str) -> Iterator[Node]:
    return (node for node in nodes if is_charge(node) and not trimmed(node.value(name)))


def _reasons(nodes: Iterable[Node], *, charge: bool) -> Iterable[Node]:
    return lengths(
        (n for node in nodes if is_charge(node) is charge for n in node.all("cbc:AllowanceChargeReason")), 1, 1000
    )
