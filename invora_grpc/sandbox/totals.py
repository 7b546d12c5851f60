"""What a document's lines come to: net, tax and gross, per line, per tax category and in sum.

The room holds exact decimal arithmetic, and which numbers it is meant for; it knows no protobuf, store or request. The
results carry the names of the schema's fields, so that they can be written into its messages as they are.

Amounts have as many decimals as their currency has, rounded half up. Tax is rounded once per category and rate, on the
sum of the net amounts; the tax of a single line is for display, and the lines' taxes need not add up to the document's.
"""

from __future__ import annotations

import decimal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from invora_grpc.exact import INT64_MAX

UNTAXED: Final = ("Z", "E", "O")
CATEGORIES: Final = ("S", *UNTAXED)
_DECIMALS: Final = MappingProxyType(
    {
        **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
        **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
        **dict.fromkeys(("RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
        **dict.fromkeys(("CLF", "UYW"), 4),
    }
)
"""Currency → decimals of its minor unit (ISO 4217), where these are not two."""
TOO_LARGE: Final = Decimal(INT64_MAX) + 1
"""The first amount whose whole part no longer fits the 64 bits of a DecimalValue."""

_WIDE: Final = decimal.Context(
    prec=160,  # a product of three wire decimals has at most 84 digits; the rest is room for sums
    rounding=decimal.ROUND_HALF_UP,
    traps=[decimal.InvalidOperation, decimal.Overflow],
)


class AmountTooLarge(ValueError):
    """An amount does not fit a DecimalValue."""

    def __init__(self) -> None:
        super().__init__("comes to an amount that is too large: its whole part must be at most 9223372036854775807")


@dataclass(frozen=True, slots=True)
class Line:
    """What one line gives to the calculation. Numbers are as large and as fine as a DecimalValue can hold."""

    id: str
    quantity: Decimal
    unit_price: Decimal
    category: str
    """UN/CL 5305: S standard rate, Z zero rate, E exempt, O outside the scope of tax."""
    rate: Decimal
    """Per cent."""


@dataclass(frozen=True, slots=True)
class LineAmounts:
    """What one line comes to."""

    line_id: str
    net_amount: Decimal
    tax_amount: Decimal
    gross_amount: Decimal


@dataclass(frozen=True, slots=True)
class Subtotal:
    """The lines of one tax category and rate together."""

    category_code: str
    tax_rate: Decimal
    taxable_amount: Decimal
    tax_amount: Decimal


@dataclass(frozen=True, slots=True)
class Totals:
    """What a document comes to."""

    line_extension_amount: Decimal
    tax_exclusive_amount: Decimal
    tax_amount: Decimal
    tax_inclusive_amount: Decimal
    payable_amount: Decimal
    tax_subtotals: tuple[Subtotal, ...]
    """In the order in which the lines name them first."""
    lines: tuple[LineAmounts, ...]


def problems(line: Line) -> Iterator[tuple[str, str]]:
    """What is wrong with a line's numbers: the field, as the schema names it below a line, and why."""
    if line.quantity <= 0:
        yield "quantity.value", "must be greater than zero"
    if line.unit_price < 0:
        yield "unit_price", "must not be negative"
    if not 0 <= line.rate <= 100:
        yield "tax.tax_rate", "must be 0 to 100 per cent"
    if line.category not in CATEGORIES:
        yield "tax.category_code", f"must be one of {', '.join(CATEGORIES)}"
    elif line.category == "S" and not line.rate:
        yield "tax.tax_rate", "must be above zero in category S"
    elif line.category != "S" and line.rate:
        yield "tax.tax_rate", f"must be zero in category {line.category}"


def decimals_of(currency: str) -> int:
    """How many decimals amounts of a currency have."""
    return _DECIMALS.get(currency, 2)


def calculate(lines: Iterable[Line], currency: str = "SAR") -> Totals:
    """The totals of these lines, in their order. Raises AmountTooLarge."""
    unit = Decimal(1).scaleb(-decimals_of(currency))
    with decimal.localcontext(_WIDE):
        amounts: list[LineAmounts] = []
        taxable: dict[tuple[str, Decimal], Decimal] = {}
        for line in lines:
            made = _line(line, unit)
            amounts.append(made)
            group = (line.category, line.rate)
            taxable[group] = taxable.get(group, Decimal(0)) + made.net_amount
        subtotals = tuple(
            Subtotal(category, rate, _fitting(net), _fitting(_share(net, rate, unit)))
            for (category, rate), net in taxable.items()
        )
        net = _fitting(sum((part.taxable_amount for part in subtotals), Decimal(0)))
        tax = _fitting(sum((part.tax_amount for part in subtotals), Decimal(0)))
        gross = _fitting(net + tax)
        return Totals(net, net, tax, gross, gross, subtotals, tuple(amounts))


def _line(line: Line, unit: Decimal) -> LineAmounts:
    net = _fitting((line.quantity * line.unit_price).quantize(unit))
    tax = _fitting(_share(net, line.rate, unit))
    return LineAmounts(line.id, net, tax, _fitting(net + tax))


def _share(amount: Decimal, rate: Decimal, unit: Decimal) -> Decimal:
    return (amount * rate).scaleb(-2).quantize(unit)


def _fitting(amount: Decimal) -> Decimal:
    if abs(amount) >= TOO_LARGE:
        raise AmountTooLarge()
    return amount
