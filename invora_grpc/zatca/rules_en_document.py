"""EN 16931 about the document as a whole: what must be there, how long names may be, its references and parties.

Amounts are in `rules_en_totals`, lines in `rules_en_lines`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from invora_grpc.zatca.engine import Invoice, Node, Rulebook
from invora_grpc.zatca.rules_en_forms import below_root, is_filled, misfit

__all__ = ["BOOK"]

BOOK: Final = Rulebook()
_rule = BOOK.rule

_SELLER: Final = ("cac:AccountingSupplierParty", "cac:Party")
_BUYER: Final = ("cac:AccountingCustomerParty", "cac:Party")
_NAME: Final = ("cac:PartyLegalEntity", "cbc:RegistrationName")
_PROVINCE: Final = ("cac:PostalAddress", "cbc:CountrySubentity")


def _unfilled(*path: str) -> Callable[[Invoice], Iterator[Node]]:
    """A rule: something stands at the end of the path below the root."""

    def broken(invoice: Invoice) -> Iterator[Node]:
        if not is_filled(invoice.root, *path):
            yield invoice.root

    return broken


_rule("BR-02", "the document has no number: give cbc:ID", severity="warning")(_unfilled("cbc:ID"))
_rule("BR-03", "the document has no issue date: give cbc:IssueDate")(_unfilled("cbc:IssueDate"))
_rule("BR-04", "the document has no type code: give cbc:InvoiceTypeCode")(_unfilled("cbc:InvoiceTypeCode"))
_rule("BR-05", "the document has no currency: give cbc:DocumentCurrencyCode")(_unfilled("cbc:DocumentCurrencyCode"))
_rule(
    "BR-06",
    "the seller has no name: give cac:PartyLegalEntity/cbc:RegistrationName",
    severity="warning",
)(_unfilled(*_SELLER, *_NAME))

_rule("BR-KSA-F-06-C1", "the document's number is longer than 127 characters: shorten it", severity="warning")(
    misfit(below_root("cbc:ID"), 0, 127)
)
_rule("BR-KSA-F-06-C10", "the seller's name must have 1 to 1000 characters", severity="warning")(
    misfit(below_root(*_SELLER, *_NAME), 1, 1000)
)
_rule("BR-KSA-F-06-C8", "the seller's province is longer than 127 characters: shorten it", severity="warning")(
    misfit(below_root(*_SELLER, *_PROVINCE), 0, 127)
)
_rule("BR-KSA-F-06-C27", "the buyer's province is longer than 127 characters: shorten it", severity="warning")(
    misfit(below_root(*_BUYER, *_PROVINCE), 0, 127)
)


@_rule("BR-KSA-F-06-C2", "a note is longer than 1000 characters: shorten it", severity="warning")
def _long_notes(invoice: Invoice) -> Iterator[Node]:
    """Told once, however many notes are too long."""
    yield from [note for note in invoice.root.all("cbc:Note") if len(note.text) > 1000][:1]


@_rule("BR-08", "the seller has no address: give cac:PostalAddress", severity="warning")
def _seller_without_address(invoice: Invoice) -> Iterator[Node]:
    if not invoice.root.all(*_SELLER, "cac:PostalAddress"):
        yield invoice.seller or invoice.root


@_rule("BR-09", "the seller's address has no country: give cac:Country/cbc:IdentificationCode", severity="warning")
def _seller_without_country(invoice: Invoice) -> Iterator[Node]:
    for address in invoice.root.all(*_SELLER, "cac:PostalAddress"):
        if not is_filled(address, "cac:Country", "cbc:IdentificationCode"):
            yield address


@_rule("BR-16", "the document has no line: give at least one cac:InvoiceLine")
def _no_lines(invoice: Invoice) -> Iterator[Node]:
    if not invoice.lines:
        yield invoice.root


@_rule("BR-49", "the means of payment has no code: give cbc:PaymentMeansCode (UN/CL 4461)", severity="warning")
def _payment_without_code(invoice: Invoice) -> Iterator[Node]:
    """Asked of standard documents only."""
    if invoice.is_standard:
        for means in invoice.every("cac:PaymentMeans"):
            if not means.all("cbc:PaymentMeansCode"):
                yield means


@_rule("BR-52", "a reference to another document has no id: give its cbc:ID", severity="warning")
def _documents_without_id(invoice: Invoice) -> Iterator[Node]:
    for reference in invoice.every("cac:AdditionalDocumentReference"):
        if not is_filled(reference, "cbc:ID"):
            yield reference


@_rule(
    "BR-53", "the bare tax total is not in the tax currency: give it in SAR, cbc:TaxCurrencyCode", severity="warning"
)
def _bare_totals_in_other_currencies(invoice: Invoice) -> Iterator[Node]:
    """Told once: each tax total without subtotals has its amount in the currency of accounting."""
    currencies = {code.text for code in invoice.root.all("cbc:TaxCurrencyCode")}
    if not currencies:
        return
    for total in invoice.tax_totals:
        if total.all("cac:TaxSubtotal"):
            continue
        amounts = total.all("cbc:TaxAmount")
        if not amounts or any(amount.attributes.get("currencyID", "SAR") not in currencies for amount in amounts):
            yield total
            return


@_rule("BR-54", "an item property needs both a name and a value: give cbc:Name and cbc:Value")
def _half_properties(invoice: Invoice) -> Iterator[Node]:
    for given in invoice.every("cac:AdditionalItemProperty"):
        if not (given.all("cbc:Name") and given.all("cbc:Value")):
            yield given


@_rule("BR-55", "the reference to an earlier invoice has no number: give cac:InvoiceDocumentReference/cbc:ID")
def _references_without_number(invoice: Invoice) -> Iterator[Node]:
    for reference in invoice.every("cac:BillingReference"):
        if not is_filled(reference, "cac:InvoiceDocumentReference", "cbc:ID"):
            yield reference
