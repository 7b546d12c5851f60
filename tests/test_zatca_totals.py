"""Sums of tax documents: exact, rounded half up, VAT once per category."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import floor

import pytest
from hypothesis import HealthCheck, given, settings
from zatca_documents import (
    EXEMPT,
    ISSUED,
    LOWER_RATE,
    STANDARD,
    STANDARD_RATE,
    TEA,
    ZERO_RATE,
    D,
    documents,
)

from invora_grpc.errors import RequestError
from invora_grpc.zatca.document import Allowance, Document, Line, Prepayment
from invora_grpc.zatca.totals import CategoryTotal, LineTotals, allowance_amount, line_totals, totals


def half_up(amount: Fraction) -> Fraction:
    """The same rounding from first principles, for amounts of any sign: halves go away from zero."""
    cents = floor(abs(amount) * 100 + Fraction(1, 2))
    return Fraction(cents if amount >= 0 else -cents, 100)


def with_lines(*lines: Line, **others: object) -> Document:
    return replace(STANDARD, lines=lines, **others)


def test_a_line_is_quantity_times_price_with_its_vat() -> None:
    assert line_totals(replace(TEA, quantity=D("1.5"), unit_price=D("199.99"))) == LineTotals(
        D("299.99"), D("45.00"), D("344.99")
    )


def test_a_price_may_be_for_several_units() -> None:
    assert line_totals(replace(TEA, quantity=D(5), unit_price=D(10), base_quantity=D(3))).net == D("16.67")


def test_halves_are_rounded_up() -> None:
    assert line_totals(replace(TEA, quantity=D(1), unit_price=D("0.125"))).net == D("0.13")
    assert allowance_amount(D("57.50"), D(1)) == D("0.58")


def test_allowances_and_charges_change_a_line_before_its_vat() -> None:
    off, on = Allowance(D("4.10"), "Discount"), Allowance(D("1.00"), "Packing", "PC", charge=True)
    assert line_totals(replace(TEA, allowances=(off, on))) == LineTotals(D("37.90"), D("5.69"), D("43.59"))


def test_vat_is_computed_once_for_a_category_and_not_added_up_from_lines() -> None:
    sums = totals(with_lines(*[replace(TEA, quantity=D(1), unit_price=D("0.03"))] * 10))
    assert sum(line.tax for line in sums.lines) == 0
    assert sums.breakdown == (CategoryTotal(STANDARD_RATE, D("0.30"), D("0.05")),)
    assert (sums.tax, sums.tax_inclusive) == (D("0.05"), D("0.35"))


def test_each_category_and_rate_has_one_entry() -> None:
    taxes = (STANDARD_RATE, ZERO_RATE, LOWER_RATE, EXEMPT, STANDARD_RATE)
    sums = totals(with_lines(*[replace(TEA, tax=tax) for tax in taxes]))
    assert [(entry.tax, entry.taxable, entry.amount) for entry in sums.breakdown] == [
        (STANDARD_RATE, D("82.00"), D("12.30")),
        (ZERO_RATE, D("41.00"), D("0.00")),
        (LOWER_RATE, D("41.00"), D("2.05")),
        (EXEMPT, D("41.00"), D("0.00")),
    ]
    assert (sums.line_total, sums.tax, sums.payable) == (D("205.00"), D("14.35"), D("219.35"))


def test_allowances_on_the_document_count_in_their_own_category() -> None:
    off = Allowance(D("10.00"), "Loyalty", tax=STANDARD_RATE)
    on = Allowance(D("25.50"), "Freight", "FC", charge=True, tax=ZERO_RATE)
    sums = totals(with_lines(TEA, allowances=(off, on)))
    assert (sums.allowance_total, sums.charge_total, sums.tax_exclusive) == (D("10.00"), D("25.50"), D("56.50"))
    assert [(entry.taxable, entry.amount) for entry in sums.breakdown] == [
        (D("31.00"), D("4.65")),
        (D("25.50"), D("0.00")),
    ]


def test_an_allowance_on_the_document_without_a_category_is_refused() -> None:
    with pytest.raises(RequestError, match=r"allowances\.tax"):
        totals(with_lines(TEA, allowances=(Allowance(D(1)),)))


def test_prepayments_with_their_vat_and_rounding_change_what_is_payable() -> None:
    paid = Prepayment("PRE-1", ISSUED, D("10.00"), D("1.50"))
    sums = totals(with_lines(TEA, prepayments=(paid, paid), rounding=D("-0.15")))
    assert (sums.tax_inclusive, sums.prepaid, sums.rounding, sums.payable) == (
        D("47.15"),
        D("23.00"),
        D("-0.15"),
        D("24.00"),
    )


def test_vat_in_riyals_is_the_vat_times_the_rate() -> None:
    sums = totals(with_lines(TEA, currency="USD", sar_rate=D("3.7501")))
    assert (sums.tax, sums.tax_sar) == (D("6.15"), D("23.06"))
    assert totals(with_lines(TEA)).tax_sar == D("6.15")


@given(documents(most_lines=8))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_sums_are_those_of_fractions(document: Document) -> None:
    sums = totals(document)
    taxable: dict[tuple[str, Fraction], Fraction] = {}
    for line, line_sums in zip(document.lines, sums.lines, strict=True):
        net = half_up(Fraction(line.quantity) * Fraction(line.unit_price) / Fraction(line.base_quantity))
        net += sum(Fraction(each.amount) * (1 if each.charge else -1) for each in line.allowances)
        tax = half_up(net * Fraction(line.tax.rate) / 100)
        assert [*map(Fraction, (line_sums.net, line_sums.tax, line_sums.gross))] == [net, tax, net + tax]
        key = (line.tax.category, Fraction(line.tax.rate))
        taxable[key] = taxable.get(key, Fraction(0)) + net
    for each in document.allowances:
        assert each.tax is not None
        key = (each.tax.category, Fraction(each.tax.rate))
        taxable[key] = taxable.get(key, Fraction(0)) + Fraction(each.amount) * (1 if each.charge else -1)
    taxes = {key: half_up(amount * key[1] / 100) for key, amount in taxable.items()}
    assert {(entry.tax.category, Fraction(entry.tax.rate)): entry.taxable for entry in sums.breakdown} == taxable
    assert sums.tax == sum(taxes.values())
    assert sums.tax_sar == half_up(Fraction(sums.tax) * Fraction(document.sar_rate or 1))
    assert Fraction(sums.tax_inclusive) == sum(taxable.values()) + Fraction(sums.tax)
    paid = sum(Fraction(each.taxable_amount) + Fraction(each.tax_amount) for each in document.prepayments)
    assert Fraction(sums.payable) == Fraction(sums.tax_inclusive) - paid + Fraction(document.rounding)
