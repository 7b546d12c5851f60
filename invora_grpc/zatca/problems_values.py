"""Checks of single values in a `Document`: text, amounts, tax, moments. What they mean together is for `problems`,
and of which type they are was seen to by `problems_types`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Final

from invora_grpc.errors import RequestError
from invora_grpc.zatca import codes
from invora_grpc.zatca.document import Tax

__all__ = [
    "LARGEST_TOTAL",
    "Problems",
    "amount_problem",
    "instant_problem",
    "number_problem",
    "tax_problems",
    "text_problem",
]

Problems = Iterator[RequestError]

LARGEST_TOTAL: Final = Decimal(10) ** 11
"""ZATCA's rules add up in binary floating point; up to here that is sure to confirm exact sums to the halala."""
MOST_DIGITS: Final = 12
"""Of quantities and prices, before the point and behind it."""
RATES: Final = {"S": (Decimal(15), Decimal(5)), "Z": (Decimal(0),), "E": (Decimal(0),), "O": (Decimal(0),)}
_BAD_CHARACTER: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text_problem(path: str, value: str, longest: int, *, required: bool = False) -> RequestError | None:
    """What is wrong with a text: too long, blank, or with characters that XML does not have."""
    if len(value) > longest:
        return RequestError(path, value, f"use at most {longest} characters", f"has {len(value)}")
    if not value.isprintable() and (bad := _BAD_CHARACTER.search(value)):
        return RequestError(path, value, f"leave U+{ord(bad[0]):04X} away", "has a character that XML does not have")
    if not value.strip() and (required or value):
        return RequestError(path, value, "fill it in", "is blank")
    return None


def amount_problem(path: str, value: Decimal, *, signed: bool = False) -> RequestError | None:
    """What is wrong with an amount of money in a document, which has at most two decimals."""
    if not value.is_finite():
        return RequestError(path, value, "give a finite amount, e.g. Decimal('12.50')", "is no amount")
    if not signed and value < 0:
        return RequestError(path, value, "use 0 or more", "is negative (BR-KSA-F-04)")
    if abs(value) > LARGEST_TOTAL:
        return RequestError(path, value, f"use at most {LARGEST_TOTAL:,}", "is too large")
    if value != round(value, 2):
        return RequestError(path, value, "round it to two decimals", "has more than two decimals")
    return None


def number_problem(path: str, value: Decimal, *, zero: bool) -> RequestError | None:
    """What is wrong with a quantity or a price, which may have many decimals."""
    if not value.is_finite():
        return RequestError(path, value, "give a finite number, e.g. Decimal('2')", "is no number")
    if value < 0 or not (zero or value):
        return RequestError(path, value, "use " + ("0 or more" if zero else "more than 0"), "is too small")
    _, digits, exponent = value.as_tuple()
    if int(exponent) < -MOST_DIGITS or len(digits) + int(exponent) > MOST_DIGITS:
        return RequestError(
            path, value, f"use at most {MOST_DIGITS} digits before the point, and behind it", "has too many digits"
        )
    return None


def instant_problem(path: str, value: datetime) -> RequestError | None:
    """What is wrong with a moment."""
    if value.utcoffset() is None:
        return RequestError(path, value, "give an aware datetime, e.g. datetime.now(UTC)", "has no time zone")
    if not 2 <= value.year <= 9998:
        return RequestError(path, value, "give the moment of issue", "is no such moment")
    return None


def tax_problems(path: str, tax: Tax | None) -> Problems:
    """What is wrong with a tax category (BR-KSA-18, -84, -69, -23, -24, -83, BR-KSA-CL-04, BR-S-10)."""
    if tax is None:
        yield RequestError(path, tax, "give a Tax", "is missing")
        return
    rates = RATES.get(tax.category)
    if rates is None:
        yield RequestError(f"{path}.category", tax.category, "use S, Z, E or O", "is no category (BR-KSA-18)")
        return
    if not tax.rate.is_finite() or tax.rate not in rates:
        hint = "use " + " or ".join(f"Decimal({rate})" for rate in rates)
        yield RequestError(f"{path}.rate", tax.rate, hint, f"is no rate of category {tax.category} (BR-KSA-84)")
    if tax.category == "S":
        for name in ("exemption_code", "exemption_text"):
            if getattr(tax, name):
                hint = "leave it away, or use Z, E or O"
                yield RequestError(
                    f"{path}.{name}", getattr(tax, name), hint, "is given at the standard rate (BR-S-10)"
                )
        return
    allowed = codes.EXEMPTIONS[tax.category]
    if tax.exemption_code not in allowed:
        hint = f"use one of {', '.join(sorted(allowed))}"
        yield RequestError(f"{path}.exemption_code", tax.exemption_code, hint, "is no reason of that category")
    if problem := text_problem(f"{path}.exemption_text", tax.exemption_text, 1000, required=True):
        yield problem
