"""The sandbox's totals: exact to the cent, rounded half up, once per tax category and rate."""

from __future__ import annotations

import decimal
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invora_grpc.sandbox.totals import AmountTooLarge, Line, Totals, calculate, problems


def line(quantity: str, unit_price: str, rate: str = "15", category: str = "S", id: str = "1") -> Line:
    return Line(id, Decimal(quantity), Decimal(unit_price), category, Decimal(rate))


def cents(amount: Fraction) -> Fraction:
    """Half up to two decimals, in plain fractions."""
    return Fraction((amount * 100 + Fraction(1, 2)).__floor__(), 100)


numbers = st.decimals(min_value=0, max_value=10**7, places=9) | st.decimals(min_value=0, max_value=10**5, places=2)
rates = st.sampled_from([Decimal(15), Decimal("15.00"), Decimal(5), Decimal(0)]) | st.decimals(
    min_value=0, max_value=100, places=9
)
documents = st.lists(st.builds(Line, st.text(max_size=3), numbers, numbers, st.sampled_from("SZEO"), rates), min_size=1)


# Examples worked out by hand


def test_one_line_gives_net_tax_and_gross() -> None:
    totals = calculate([line("2", "50.00")])
    assert (totals.tax_exclusive_amount, totals.tax_amount, totals.payable_amount) == (
        Decimal(100),
        Decimal(15),
        Decimal(115),
    )


@pytest.mark.parametrize(
    ("quantity", "unit_price", "net"),
    [("1", "0.005", "0.01"), ("1", "0.004999999", "0.00"), ("3", "0.335", "1.01"), ("0.5", "0.25", "0.13")],
)
def test_the_net_amount_of_a_line_is_rounded_half_up(quantity: str, unit_price: str, net: str) -> None:
    assert calculate([line(quantity, unit_price)]).tax_exclusive_amount == Decimal(net)


def test_tax_is_rounded_once_per_category_not_per_line() -> None:
    totals = calculate([line("1", "0.10", id=str(number)) for number in range(3)])
    assert [amounts.tax_amount for amounts in totals.lines] == [Decimal("0.02")] * 3
    assert totals.tax_amount == Decimal("0.05")


def test_equal_rates_share_a_subtotal_however_they_are_written() -> None:
    totals = calculate([line("1", "1", "15"), line("1", "1", "15.000")])
    assert [(part.tax_rate, part.taxable_amount) for part in totals.tax_subtotals] == [(Decimal(15), Decimal(2))]


def test_equal_rates_of_different_categories_stay_apart() -> None:
    totals = calculate([line("1", "1", "0", "Z"), line("1", "2", "0", "E"), line("1", "4", "0", "Z")])
    assert [(part.category_code, part.taxable_amount) for part in totals.tax_subtotals] == [
        ("Z", Decimal(5)),
        ("E", Decimal(2)),
    ]


def test_no_lines_come_to_nothing() -> None:
    zero = Decimal(0)
    assert calculate([]) == Totals(zero, zero, zero, zero, zero, (), ())


def test_a_narrow_context_of_the_caller_does_not_matter() -> None:
    with decimal.localcontext() as context:
        context.prec, context.rounding = 3, decimal.ROUND_DOWN
        assert calculate([line("123456.789", "98765.4321")]).tax_exclusive_amount == Decimal("12193263111.26")


def test_the_largest_amount_that_fits_is_exact() -> None:
    totals = calculate([line("1", "9223372036854775807.99", "0", "Z")])
    assert totals.payable_amount == Decimal("9223372036854775807.99")


def test_a_line_that_is_too_large_is_refused() -> None:
    with pytest.raises(AmountTooLarge):
        calculate([line("9223372036854775807", "2")])


def test_a_sum_that_is_too_large_is_refused() -> None:
    with pytest.raises(AmountTooLarge):
        calculate([line("1", "9223372036854775807", "0", "Z"), line("1", "1", "0", "Z")])


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (line("0", "1"), "quantity.value"),
        (line("1", "-0.01"), "unit_price"),
        (line("1", "1", "100.000000001"), "tax.tax_rate"),
        (line("1", "1", "15", "A"), "tax.category_code"),
        (line("1", "1", "0", "S"), "tax.tax_rate"),
        (line("1", "1", "15", "E"), "tax.tax_rate"),
    ],
)
def test_a_number_out_of_place_is_named(wrong: Line, field: str) -> None:
    assert [name for name, _ in problems(wrong)] == [field]


@pytest.mark.parametrize("right", [line("0.000000001", "0"), line("1", "1", "100"), line("1", "1", "0", "O")])
def test_numbers_at_the_edge_are_accepted(right: Line) -> None:
    assert list(problems(right)) == []


# For all lines


@given(documents)
def test_every_amount_equals_that_of_plain_fractions(lines: list[Line]) -> None:
    totals = calculate(lines)
    nets = [cents(Fraction(each.quantity) * Fraction(each.unit_price)) for each in lines]
    taxes = [cents(net * Fraction(each.rate) / 100) for net, each in zip(nets, lines, strict=True)]
    assert [Fraction(made.net_amount) for made in totals.lines] == nets
    assert [Fraction(made.tax_amount) for made in totals.lines] == taxes
    groups: dict[tuple[str, Fraction], Fraction] = {}
    for net, each in zip(nets, lines, strict=True):
        group = (each.category, Fraction(each.rate))
        groups[group] = groups.get(group, Fraction(0)) + net
    assert {
        (part.category_code, Fraction(part.tax_rate)): Fraction(part.taxable_amount) for part in totals.tax_subtotals
    } == groups
    assert Fraction(totals.tax_amount) == sum(cents(net * rate / 100) for (_, rate), net in groups.items())


@given(documents)
def test_the_parts_add_up_to_the_whole(lines: list[Line]) -> None:
    totals = calculate(lines)
    assert (
        totals.tax_exclusive_amount
        == sum(made.net_amount for made in totals.lines)
        == sum(part.taxable_amount for part in totals.tax_subtotals)
    )
    assert totals.tax_amount == sum(part.tax_amount for part in totals.tax_subtotals)
    assert totals.payable_amount == totals.tax_exclusive_amount + totals.tax_amount
    assert all(made.gross_amount == made.net_amount + made.tax_amount for made in totals.lines)


@given(documents)
def test_no_amount_has_more_than_two_decimals(lines: list[Line]) -> None:
    totals = calculate(lines)
    amounts = [
        totals.tax_exclusive_amount,
        totals.tax_amount,
        totals.payable_amount,
        *(part.tax_amount for part in totals.tax_subtotals),
    ]
    amounts += [amount for made in totals.lines for amount in (made.net_amount, made.tax_amount, made.gross_amount)]
    assert all(amount == amount.quantize(Decimal("0.01")) for amount in amounts)


@given(documents)
def test_the_order_of_lines_does_not_change_the_totals(lines: list[Line]) -> None:
    there, back = calculate(lines), calculate(lines[::-1])
    assert (there.tax_exclusive_amount, there.tax_amount, there.payable_amount) == (
        back.tax_exclusive_amount,
        back.tax_amount,
        back.payable_amount,
    )
