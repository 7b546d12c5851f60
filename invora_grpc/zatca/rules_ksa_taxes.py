"""ZATCA's own rules about VAT: categories, rates, exemptions, and prepayments that are taken off.

Ids and severities are those of ZATCA's SDK R3.4.8; the words are this project's. Where ZATCA computes with binary
floating point, so do these rules, lest a half of a halala be judged another way here than there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Final

from invora_grpc.zatca.codes import EXEMPTIONS
from invora_grpc.zatca.engine import Invoice, Node, Rulebook, is_charge, is_vat, lengths, number, trimmed

__all__ = ["BOOK", "formatted", "has_long_fraction", "rounded"]

BOOK: Final = Rulebook()

_CENT: Final = Decimal("0.01")
_UNTAXED: Final = ("Z", "E", "O")
_PREPAYMENT: Final = "386"
_PREPAYMENT_EXEMPTIONS: Final = {**EXEMPTIONS, "Z": EXEMPTIONS["Z"] - {"VATEX-SA-32(bis)", "VATEX-SA-ROYALDECREE"}}


# --- categories and rates ------------------------------------------------------------------------------------------


@BOOK.rule("BR-KSA-18", "a VAT category must be S, Z, E or O: correct it")
def unknown_category(invoice: Invoice) -> Iterator[Node]:
    for category in (
        *_breakdowns(invoice),
        *_prepaid(invoice),
        *invoice.allowance_categories,
        *invoice.line_categories,
    ):
        yield from (node for node in category.all("cbc:ID") if node.text not in " S Z E O ")


@BOOK.rule("BR-KSA-84", "the standard rate is 15 or 5 per cent: correct the rate or the category")
def another_standard_rate(invoice: Invoice) -> Iterator[Node]:
    for category in (
        *invoice.allowance_categories,
        *_breakdowns(invoice),
        *invoice.line_categories,
        *_prepaid(invoice),
    ):
        percent = category.number("cbc:Percent")
        # ZATCA looks at the whole number of 15, and at 5 itself.
        is_wrong = percent is not None and percent != 5 and math.floor(percent) != 15
        if is_wrong and _code(category) == "S" and is_vat(category):
            yield category


@BOOK.rule("BR-KSA-DEC-02", "a VAT rate must be from 0.00 to 100.00, with two decimals at most: correct it")
def malformed_rate(invoice: Invoice) -> Iterator[Node]:
    for name, parents in _RATED:
        for category in invoice.every(name):
            if category.parent is not None and category.parent.name in parents:
                yield from (
                    node for node in category.all("cbc:Percent") if not is_percentage(node.text) and trimmed(node.text)
                )


@BOOK.rule("BR-KSA-11", "what is outside the scope of VAT has no rate but 0: correct the line's rate")
def rated_line_out_of_scope(invoice: Invoice) -> Iterable[Node]:
    return _rated_out_of_scope(invoice.line_categories)


@BOOK.rule(
    "BR-KSA-12", "what is outside the scope of VAT has no rate but 0: correct the allowance's rate", severity="warning"
)
def rated_allowance_out_of_scope(invoice: Invoice) -> Iterable[Node]:
    return _rated_out_of_scope(_categories_of(invoice, charge=False))


@BOOK.rule(
    "BR-KSA-13", "what is outside the scope of VAT has no rate but 0: correct the charge's rate", severity="warning"
)
def rated_charge_out_of_scope(invoice: Invoice) -> Iterable[Node]:
    return _rated_out_of_scope(_categories_of(invoice, charge=True))


# --- exemptions ----------------------------------------------------------------------------------------------------


@BOOK.rule("BR-KSA-69", "zero-rated tax needs the exemption code: add cbc:TaxExemptionReasonCode", severity="warning")
def zero_rated_without_code(invoice: Invoice) -> Iterable[Node]:
    return _without_code(_breakdowns(invoice), "Z")


@BOOK.rule("BR-KSA-23", "exempt tax needs the exemption code: add cbc:TaxExemptionReasonCode", severity="warning")
def exempt_without_code(invoice: Invoice) -> Iterable[Node]:
    return _without_code(_breakdowns(invoice), "E")


@BOOK.rule("BR-KSA-24", "what is outside the scope of VAT needs the code VATEX-SA-OOS: add it", severity="warning")
def out_of_scope_without_code(invoice: Invoice) -> Iterable[Node]:
    return _without_code(_breakdowns(invoice), "O")


@BOOK.rule("BR-KSA-CL-04", "the exemption code is none of its VAT category's: correct one of them", severity="warning")
def unknown_exemption(invoice: Invoice) -> Iterator[Node]:
    for category in _untaxed(_breakdowns(invoice)):
        code = trimmed(category.value("cbc:TaxExemptionReasonCode"))
        if code and code not in EXEMPTIONS[_code(category)]:
            yield category


@BOOK.rule("BR-KSA-83", "an exemption needs its reason in words: add cbc:TaxExemptionReason", severity="warning")
def exemption_without_words(invoice: Invoice) -> Iterable[Node]:
    return _without_words(_untaxed(_breakdowns(invoice)))


@BOOK.rule(
    "BR-KSA-F-06-C16", "the reason of an exemption must have 1 to 1,000 characters: correct it", severity="warning"
)
def exemption_words_of_another_length(invoice: Invoice) -> Iterable[Node]:
    return lengths((n for c in _untaxed(_breakdowns(invoice)) for n in c.all("cbc:TaxExemptionReason")), 1, 1000)


# --- prepayments ---------------------------------------------------------------------------------------------------


@BOOK.rule(
    "BR-KSA-80",
    "the prepaid amount must be the sum of what the prepayment lines say, tax included: correct one of them",
    severity="warning",
)
def another_prepaid_amount(invoice: Invoice) -> Iterator[Node]:
    subtotals = invoice.line_subtotals
    prepaid = (invoice.totals.number("cbc:PrepaidAmount") if invoice.totals else None) or Decimal(0)
    taxable, tax = (
        sum(float(number(n.value(name)) or 0) for n in subtotals) for name in ("cbc:TaxableAmount", "cbc:TaxAmount")
    )
    types = [
        node.text for line in invoice.lines for node in line.node.all("cac:DocumentReference", "cbc:DocumentTypeCode")
    ]
    if prepaid == 0:
        broken = bool(subtotals)
    elif taxable > 0 and tax > 0 and any(text != _PREPAYMENT for text in types):
        broken = True
    else:
        broken = prepaid.quantize(_CENT, ROUND_HALF_EVEN) != formatted(taxable + tax)
    if broken:
        yield invoice.root


@BOOK.rule(
    "BR-KSA-73",
    "a prepaid amount needs a line with the prepayment invoice's number, date, time and type: add it",
    severity="warning",
)
def incomplete_prepayment(invoice: Invoice) -> Iterator[Node]:
    if _is_prepaid(invoice):
        found = _prepayments(invoice)
        names = ("cbc:ID", "cbc:IssueDate", "cbc:IssueTime", "cbc:DocumentTypeCode")
        yield from (node for node in found if not all(name in node.children for name in names))
        if not found:
            yield from (line.node for line in invoice.lines)


@BOOK.rule("BR-KSA-74", "the type of a prepayment invoice is 386: correct cbc:DocumentTypeCode")
def another_prepayment_type(invoice: Invoice) -> Iterator[Node]:
    if _is_prepaid(invoice):
        for node in _prepayments(invoice):
            yield from (code for code in node.all("cbc:DocumentTypeCode") if trimmed(code.text) != _PREPAYMENT)


@BOOK.rule(
    "BR-KSA-75",
    "a prepayment line needs the prepayment's taxable amount, tax, category and rate: add cac:TaxSubtotal to its tax",
    severity="warning",
)
def prepayment_without_tax(invoice: Invoice) -> Iterator[Node]:
    paths = (
        ("cbc:TaxAmount",),
        ("cbc:TaxableAmount",),
        ("cac:TaxCategory", "cbc:Percent"),
        ("cac:TaxCategory", "cbc:ID"),
    )
    if _is_prepaid(invoice):
        for node in _prepayments(invoice):
            line = node.parent
            if line is not None and not all(line.all("cac:TaxTotal", "cac:TaxSubtotal", *path) for path in paths):
                yield node


@BOOK.rule("BR-KSA-82", "a prepayment line has no amounts of its own: price, net, tax and total must be 0")
def prepayment_with_amounts(invoice: Invoice) -> Iterator[Node]:
    amounts = (
        ("cbc:LineExtensionAmount",),
        ("cac:TaxTotal", "cbc:TaxAmount"),
        ("cac:TaxTotal", "cbc:RoundingAmount"),
        ("cac:Price", "cbc:PriceAmount"),
    )
    if _is_prepaid(invoice):
        for node in _prepayments(invoice):
            line = node.parent
            if line is None or any(code.text != _PREPAYMENT for code in node.all("cbc:DocumentTypeCode")):
                continue
            found = [line.all(*path) for path in amounts]
            if "cac:AllowanceCharge" in line.children:
                found.append(line.all("cac:AllowanceCharge", "cbc:Amount"))
            if not all(any(number(amount.text) == 0 for amount in group) for group in found):
                yield node


@BOOK.rule(
    "BR-KSA-79", "a prepayment's tax must be its taxable amount times the rate: correct one of them", severity="warning"
)
def another_prepayment_tax(invoice: Invoice) -> Iterator[Node]:
    for node in invoice.line_subtotals:
        if not (_is_untaxed_rightly(node) if _is_untaxed(node) else _is_taxed_rightly(node)):
            yield node


@BOOK.rule("BR-KSA-DEC-06", "a prepayment's amounts have two decimals at most: round them", severity="warning")
def long_prepayment_fraction(invoice: Invoice) -> Iterator[Node]:
    if _is_prepaid(invoice):
        for node in invoice.line_subtotals:
            if any(has_long_fraction(node.value(name)) for name in ("cbc:TaxableAmount", "cbc:TaxAmount")):
                yield node


@BOOK.rule("BR-KSA-76", "the rate of a zero-rated prepayment is 0: correct it", severity="warning")
def rated_zero_prepayment(invoice: Invoice) -> Iterable[Node]:
    return _rated_prepayments(invoice, "Z")


@BOOK.rule("BR-KSA-77", "the rate of an exempt prepayment is 0: correct it", severity="warning")
def rated_exempt_prepayment(invoice: Invoice) -> Iterable[Node]:
    return _rated_prepayments(invoice, "E")


@BOOK.rule("BR-KSA-78", "the rate of a prepayment outside the scope of VAT is 0: correct it", severity="warning")
def rated_out_of_scope_prepayment(invoice: Invoice) -> Iterable[Node]:
    return _rated_prepayments(invoice, "O")


@BOOK.rule("BR-KSA-93", "a zero-rated prepayment needs the exemption code: add it", severity="warning")
def zero_rated_prepayment_without_code(invoice: Invoice) -> Iterable[Node]:
    return _without_code(_untaxed_prepayments(invoice), "Z")


@BOOK.rule("BR-KSA-94", "an exempt prepayment needs the exemption code: add it", severity="warning")
def exempt_prepayment_without_code(invoice: Invoice) -> Iterable[Node]:
    return _without_code(_untaxed_prepayments(invoice), "E")


@BOOK.rule("BR-KSA-95", "a prepayment outside the scope of VAT needs the code VATEX-SA-OOS: add it", severity="warning")
def out_of_scope_prepayment_without_code(invoice: Invoice) -> Iterable[Node]:
    return _without_code(_untaxed_prepayments(invoice), "O")


@BOOK.rule("BR-KSA-96", "the exemption of a prepayment needs its reason in words: add it", severity="warning")
def prepayment_without_words(invoice: Invoice) -> Iterable[Node]:
    return _without_words(_untaxed_prepayments(invoice))


@BOOK.rule(
    "BR-KSA-CL-07",
    "the exemption code of a prepayment is none of its category's: correct one of them",
    severity="warning",
)
def unknown_prepayment_exemption(invoice: Invoice) -> Iterator[Node]:
    for category in _untaxed_prepayments(invoice):
        code = trimmed(category.value("cbc:TaxExemptionReasonCode"))
        if code and code not in _PREPAYMENT_EXEMPTIONS[_code(category)]:
            yield category


@BOOK.rule(
    "BR-KSA-F-06-C39",
    "the reason of a prepayment's exemption must have 1 to 1,000 characters: correct it",
    severity="warning",
)
def prepayment_words_of_another_length(invoice: Invoice) -> Iterable[Node]:
    return lengths((n for c in _untaxed_prepayments(invoice) for n in c.all("cbc:TaxExemptionReason")), 1, 1000)


# --- small parts ---------------------------------------------------------------------------------------------------

_RATED: Final = (
    ("cac:TaxCategory", ("cac:AllowanceCharge", "cac:TaxSubtotal")),
    ("cac:ClassifiedTaxCategory", ("cac:Item",)),
)


def formatted(amount: float) -> Decimal:
    """A floating-point amount as ZATCA writes it before it compares: with two decimals, halves to even."""
    return Decimal(repr(amount)).quantize(_CENT, ROUND_HALF_EVEN)


def rounded(amount: float) -> float:
    """XPath's round of a floating-point number."""
    return math.floor(amount + 0.5)


def has_long_fraction(text: str) -> bool:
    """Whether there are more than two characters behind the point."""
    return len(text.partition(".")[2]) > 2


@lru_cache(256)
def is_percentage(text: str) -> bool:
    """Whether it is a number from 0 to 100 with two decimals at most."""
    found = number(text)
    return found is not None and 0 <= found <= 100 and not has_long_fraction(text)


def _code(category: Node) -> str:
    return trimmed(category.value("cbc:ID"))


def _breakdowns(invoice: Invoice) -> list[Node]:
    return invoice.breakdown_categories


def _prepaid(invoice: Invoice) -> list[Node]:
    return [category for node in invoice.line_subtotals for category in node.all("cac:TaxCategory")]


def _untaxed(categories: Iterable[Node]) -> list[Node]:
    return [category for category in categories if _code(category) in _UNTAXED]


def _untaxed_prepayments(invoice: Invoice) -> list[Node]:
    """Of prepayments, the VAT categories without tax; ZATCA looks at them only if something is at standard rate."""
    found = [category for category in _untaxed(_prepaid(invoice)) if is_vat(category)]
    if not found:
        return found
    others = (*invoice.allowance_categories, *_breakdowns(invoice), *_prepaid(invoice), *invoice.line_categories)
    return found if any(_code(category) == "S" and is_vat(category) for category in others) else []


def _categories_of(invoice: Invoice, *, charge: bool) -> list[Node]:
    return [c for node in invoice.allowances if is_charge(node) is charge for c in node.all("cac:TaxCategory")]


def _rated_out_of_scope(categories: Iterable[Node]) -> Iterator[Node]:
    for category in categories:
        if _code(category) == "O" and category.number("cbc:Percent"):
            yield category


def _without_code(categories: Iterable[Node], code: str) -> Iterator[Node]:
    for category in categories:
        if _code(category) == code and not trimmed(category.value("cbc:TaxExemptionReasonCode")):
            yield category


def _without_words(categories: Iterable[Node]) -> Iterator[Node]:
    for category in categories:
        if "cbc:TaxExemptionReasonCode" in category.children and not trimmed(category.value("cbc:TaxExemptionReason")):
            yield category


def _is_prepaid(invoice: Invoice) -> bool:
    return invoice.totals is not None and (invoice.totals.number("cbc:PrepaidAmount") or 0) > 0


def _prepayments(invoice: Invoice) -> list[Node]:
    return [node for line in invoice.lines for node in line.node.all("cac:DocumentReference")]


def _rated_prepayments(invoice: Invoice, code: str) -> Iterator[Node]:
    if _is_prepaid(invoice):
        for node in invoice.line_subtotals:
            fits = any(_code(category) == code and is_vat(category) for category in node.all("cac:TaxCategory"))
            if fits and node.number("cac:TaxCategory", "cbc:Percent") != 0:
                yield node


def _is_untaxed(subtotal: Node) -> bool:
    """Whether ZATCA expects a tax of zero: zero-rated, exempt, out of scope without rate, or without any rate."""
    codes = [_code(category) for category in subtotal.all("cac:TaxCategory")]
    if "S" in codes:
        return False
    rates = subtotal.all("cac:TaxCategory", "cbc:Percent")
    return ("O" in codes and not rates) or "E" in codes or "Z" in codes or not any(trimmed(node.text) for node in rates)


def _is_untaxed_rightly(subtotal: Node) -> bool:
    tax, taxable = subtotal.number("cbc:TaxAmount"), subtotal.number("cbc:TaxableAmount")
    rate = subtotal.number("cac:TaxCategory", "cbc:Percent")
    if tax is None or taxable is None or rate is None:
        return False
    expected = (taxable * rate / 100).quantize(_CENT, ROUND_HALF_UP)
    return tax.quantize(_CENT, ROUND_HALF_EVEN) == 0 == expected


def _is_taxed_rightly(subtotal: Node) -> bool:
    tax, taxable = subtotal.number("cbc:TaxAmount"), subtotal.number("cbc:TaxableAmount")
    rates = [category.number("cbc:Percent") for category in subtotal.all("cac:TaxCategory") if is_vat(category)]
    if tax is None or taxable is None or not rates or rates[0] is None:
        return False
    expected = rounded(float(taxable) * float(rates[0]) / 100.0 * 100.0 + 0.01) / 100.0
    return formatted(float(tax)) in {formatted(expected + cent) for cent in (-0.01, 0.0, 0.01)}
