"""EN 16931 about codes: each must be in its list, as ZATCA has the list (`invora_grpc.zatca.codes`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from invora_grpc.zatca.codes import (
    COUNTRIES,
    CURRENCIES,
    DOCUMENT_TYPES,
    PAYMENT_MEANS_EN,
    TAX_CATEGORIES,
)
from invora_grpc.zatca.engine import Invoice, Node, Rulebook, trimmed

__all__ = ["BOOK"]

BOOK: Final = Rulebook()
_rule = BOOK.rule

_AMOUNTS: Final = (
    "cbc:Amount",
    "cbc:BaseAmount",
    "cbc:PriceAmount",
    "cbc:TaxAmount",
    "cbc:TaxableAmount",
    "cbc:LineExtensionAmount",
    "cbc:TaxExclusiveAmount",
    "cbc:TaxInclusiveAmount",
    "cbc:AllowanceTotalAmount",
    "cbc:ChargeTotalAmount",
    "cbc:PrepaidAmount",
    "cbc:PayableRoundingAmount",
    "cbc:PayableAmount",
)
"""Whose currencies are looked at; an advance's amount and a line's cbc:RoundingAmount are not among them."""


def _unlisted(nodes: Iterable[Node], codes: frozenset[str]) -> Iterator[Node]:
    for node in nodes:
        if node.text not in codes and trimmed(node.text) not in codes:
            yield node


@_rule("BR-CL-01", "the type code is none of UN/CL 1001: use 388, 381, 383 or 386")
def _unknown_type(invoice: Invoice) -> Iterator[Node]:
    return _unlisted(invoice.root.all("cbc:InvoiceTypeCode"), DOCUMENT_TYPES)


@_rule("BR-CL-03", "the amount's currencyID is no currency of ISO 4217: use that of the document")
def _unknown_currencies(invoice: Invoice) -> Iterator[Node]:
    for name in _AMOUNTS:
        for amount in invoice.every(name):
            currency = amount.attributes.get("currencyID")
            if currency and currency not in CURRENCIES and trimmed(currency) not in CURRENCIES:
                yield amount


@_rule("BR-CL-04", "the document's currency is none of ISO 4217: use SAR or another code of the list")
def _unknown_document_currency(invoice: Invoice) -> Iterator[Node]:
    return _unlisted(invoice.root.all("cbc:DocumentCurrencyCode"), CURRENCIES)


@_rule("BR-CL-05", "the tax currency is none of ISO 4217: use SAR")
def _unknown_tax_currency(invoice: Invoice) -> Iterator[Node]:
    return _unlisted(invoice.root.all("cbc:TaxCurrencyCode"), CURRENCIES)


@_rule("BR-CL-14", "the country is none of ISO 3166-1: use a code of two letters, such as SA", severity="warning")
def _unknown_countries(invoice: Invoice) -> Iterator[Node]:
    for country in invoice.every("cac:Country"):
        yield from _unlisted(country.all("cbc:IdentificationCode"), COUNTRIES)


@_rule("BR-CL-16", "the means of payment is none of UN/CL 4461: use a code of the list, such as 10", severity="warning")
def _unknown_payment_means(invoice: Invoice) -> Iterator[Node]:
    for means in invoice.every("cac:PaymentMeans"):
        yield from _unlisted(means.all("cbc:PaymentMeansCode"), PAYMENT_MEANS_EN)


@_rule("BR-CL-18", "the VAT category is none of UN/CL 5305: use S, Z, E or O")
def _unknown_categories(invoice: Invoice) -> Iterator[Node]:
    prepaid = [category for subtotal in invoice.line_subtotals for category in subtotal.all("cac:TaxCategory")]
    for categories in (
        invoice.breakdown_categories,
        invoice.allowance_categories,
        invoice.line_categories,
        prepaid,
    ):
        for category in categories:
            yield from _unlisted(category.all("cbc:ID"), TAX_CATEGORIES)
