"""ZATCA's own rules about a document as a whole: type, dates, references, notes, currencies.

Ids and severities are those of ZATCA's SDK R3.4.8; the words are this project's. Parties, taxes, amounts and
what the platform adds have rooms of their own. Rules read an `Invoice`; they change nothing and raise nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import Final

from invora_grpc.zatca.codes import CURRENCIES, PAYMENT_MEANS
from invora_grpc.zatca.document import RIYADH
from invora_grpc.zatca.engine import Invoice, Node, Rulebook, lengths, trimmed

__all__ = ["BOOK"]

BOOK: Final = Rulebook()

_TIME: Final = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z?").fullmatch
_ANY_TIME: Final = re.compile(
    r"(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?|24:00:00(?:\.0+)?)"
    r"(?:Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])?"
).fullmatch
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_ZONED_DATE: Final = re.compile(r"([0-9]{4,}-[0-9]{2}-[0-9]{2})(Z|[+-][0-9]{2}:[0-9]{2})?").fullmatch
_MIME_TYPES: Final = (
    *("text/csv", "text/plain", "application/pdf", "image/png", "image/jpeg", "image/tiff"),
    *("application/acad", "application/dwg", "drawing/dwg"),
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.oasis.opendocument.spreadsheet",
)
_DAYS: Final = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_WHOLE_DAY: Final = timedelta(hours=24)


# --- process, identifiers, type ------------------------------------------------------------------------------------


@BOOK.rule("BR-KSA-EN16931-01", "the business process must be reporting:1.0: set cbc:ProfileID to it")
def another_process(invoice: Invoice) -> Iterator[Node]:
    if trimmed(invoice.root.value("cbc:ProfileID")) != "reporting:1.0":
        yield invoice.root


@BOOK.rule("BR-KSA-03", "the document needs a UUID of letters, digits and dashes: add cbc:UUID")
def no_uuid(invoice: Invoice) -> Iterator[Node]:
    text = invoice.root.value("cbc:UUID")
    # As ZATCA's pattern has it, only the first character counts: a letter, digit or symbol, a dot or a dash.
    if not text or not (text[0] in ".-" or unicodedata.category(text[0])[0] not in "PZC"):
        yield invoice.root


@BOOK.rule("BR-KSA-05", "the type code must be 388, 381, 383 or 386: correct cbc:InvoiceTypeCode")
def unknown_type(invoice: Invoice) -> Iterator[Node]:
    for node in invoice.every("cbc:InvoiceTypeCode"):
        if trimmed(node.text) not in ("388", "381", "383", "386", ""):
            yield node


@BOOK.rule(
    "BR-KSA-06",
    "the flags of the type code must be 01 or 02 and then five to seven of 0 and 1: correct its name attribute",
)
def bad_flags(invoice: Invoice) -> Iterator[Node]:
    for node in invoice.every("cbc:InvoiceTypeCode"):
        name = node.attributes.get("name", "")
        if not (7 <= len(name) <= 9 and name[:2] in ("01", "02") and set(name[2:]) <= {"0", "1"}):
            yield node


@BOOK.rule(
    "BR-KSA-F-06-C40",
    "the flags of the type code have 7 to 9 characters: correct its name attribute",
    severity="warning",
)
def flags_of_another_length(invoice: Invoice) -> Iterator[Node]:
    for node in invoice.every("cbc:InvoiceTypeCode"):
        if not 7 <= len(node.attributes.get("name", "")) <= 9:
            yield node


@BOOK.rule("BR-KSA-07", "an export invoice cannot be self-billed: clear flag 5 or flag 7 of the type code")
def self_billed_export(invoice: Invoice) -> Iterator[Node]:
    if invoice.type_code is not None and invoice.type_name[4:5] == "1" and invoice.type_name[6:7] == "1":
        yield invoice.type_code


@BOOK.rule(
    "BR-KSA-31", "a simplified document cannot be self-billed: clear flag 7 of the type code, or issue a standard one"
)
def self_billed_simplified(invoice: Invoice) -> Iterator[Node]:
    name = invoice.type_name
    if invoice.type_code is not None and name[:2] == "02" and not (set(name[2:6]) <= {"0", "1"} and name[6:7] == "0"):
        yield invoice.type_code


@BOOK.rule(
    "BR-KSA-92", "a document to the government needs the contract's number: add cac:ContractDocumentReference/cbc:ID"
)
def government_without_contract(invoice: Invoice) -> Iterator[Node]:
    name = invoice.type_name
    contract = trimmed(invoice.root.value("cac:ContractDocumentReference", "cbc:ID"))
    if len(name) == 9 and name[:2] in ("01", "02") and name[8] == "1" and not contract:
        yield invoice.root


@BOOK.rule("BR-KSA-F-06-C3", "the purchase order's number has more than 127 characters: shorten it", severity="warning")
def long_order(invoice: Invoice) -> Iterable[Node]:
    return lengths(invoice.root.all("cac:OrderReference", "cbc:ID"), 0, 127)


@BOOK.rule("BR-KSA-F-06-C5", "the contract's number has more than 127 characters: shorten it", severity="warning")
def long_contract(invoice: Invoice) -> Iterable[Node]:
    return lengths(invoice.root.all("cac:ContractDocumentReference", "cbc:ID"), 0, 127)


# --- dates and times -----------------------------------------------------------------------------------------------


@BOOK.rule("BR-KSA-F-01", "a date must be written YYYY-MM-DD, without a time zone, and exist: correct it")
def malformed_date(invoice: Invoice) -> Iterator[Node]:
    for name in ("cbc:IssueDate", "cbc:DueDate", "cbc:TaxPointDate", *_DELIVERY_DATES):
        for node in invoice.every(name):
            in_delivery = node.parent is not None and node.parent.name == "cac:Delivery"
            if (name not in _DELIVERY_DATES or in_delivery) and not _is_date(node.text):
                yield node


@BOOK.rule("BR-KSA-04", "the issue date lies in the future: date the document today, or issue it on that day")
def issued_in_the_future(invoice: Invoice) -> Iterator[Node]:
    for node in invoice.every("cbc:IssueDate"):
        found = _ZONED_DATE(node.text.strip())
        if found and (len(found[1]) > 10 or (found[1] > invoice.now.date().isoformat() and _is_date(found[1]))):
            yield node


@BOOK.rule("BR-KSA-70", "the issue time must be hh:mm:ss in Saudi time, or hh:mm:ssZ in UTC: correct cbc:IssueTime")
def bad_issue_time(invoice: Invoice) -> Iterator[Node]:
    if not _TIME(invoice.root.value("cbc:IssueTime")):
        yield invoice.root.one("cbc:IssueTime") or invoice.root


@BOOK.rule("BR-KSA-98", "a simplified document must be reported within 24 hours: submit it at once", severity="warning")
def reported_late(invoice: Invoice) -> Iterator[Node]:
    day, time = invoice.root.value("cbc:IssueDate").strip(), invoice.root.value("cbc:IssueTime").strip()
    if invoice.type_name[:2] == "02" and _ANY_TIME(time):
        issued = _instant(day, time)
        if issued is not None and issued < invoice.now - _WHOLE_DAY:
            yield invoice.root.one("cbc:IssueDate") or invoice.root


@BOOK.rule(
    "BR-KSA-15",
    "a standard tax invoice needs the supply date: add cac:Delivery/cbc:ActualDeliveryDate",
    severity="warning",
)
def no_supply_date(invoice: Invoice) -> Iterator[Node]:
    has_date = any(trimmed(node.text) for node in _delivery_dates(invoice, "cbc:ActualDeliveryDate"))
    if invoice.type_name[:2] == "01" and invoice.type_code and invoice.type_code.text == "388" and not has_date:
        yield invoice.root


@BOOK.rule(
    "BR-KSA-35",
    "a supply that ends must have begun: add cbc:ActualDeliveryDate beside cbc:LatestDeliveryDate",
    severity="warning",
)
def end_without_start(invoice: Invoice) -> Iterator[Node]:
    for delivery in invoice.every("cac:Delivery"):
        if not trimmed(delivery.value("cbc:ActualDeliveryDate")):
            yield from delivery.all("cbc:LatestDeliveryDate")


@BOOK.rule("BR-KSA-36", "the supply ends before it begins: correct one of the two dates", severity="warning")
def end_before_start(invoice: Invoice) -> Iterator[Node]:
    for delivery in invoice.every("cac:Delivery"):
        start = delivery.value("cbc:ActualDeliveryDate")
        for node in delivery.all("cbc:LatestDeliveryDate"):
            if _is_date(start) and _is_date(node.text) and node.text < start:
                yield node


@BOOK.rule(
    "BR-KSA-72", "a simplified summary needs the first and the last day of supply: add both dates to cac:Delivery"
)
def summary_without_days(invoice: Invoice) -> Iterator[Node]:
    if invoice.is_simplified_summary and not all(invoice.every(name) for name in _DELIVERY_DATES):
        address = invoice.buyer.one("cac:PostalAddress", "cac:Country") if invoice.buyer else None
        if address is not None and address.value("cbc:IdentificationCode") == "SA":
            yield address


# --- credit and debit notes, payment -------------------------------------------------------------------------------


@BOOK.rule("BR-KSA-17", "a note needs the reason for it: add cac:PaymentMeans/cbc:InstructionNote")
def note_without_reason(invoice: Invoice) -> Iterator[Node]:
    if invoice.is_note:
        means = invoice.every("cac:PaymentMeans")
        yield from (node for node in means if not node.all("cbc:InstructionNote"))
        if not means:
            yield invoice.root


@BOOK.rule("BR-KSA-F-06-C13", "the reason for a note must have 1 to 1,000 characters: correct it", severity="warning")
def reason_of_another_length(invoice: Invoice) -> Iterable[Node]:
    if not invoice.is_note:
        return ()
    return lengths(
        (found for node in invoice.every("cac:PaymentMeans") for found in node.all("cbc:InstructionNote")), 1, 1000
    )


@BOOK.rule(
    "BR-KSA-56",
    "a note must say which document it corrects: add cac:BillingReference/cac:InvoiceDocumentReference/cbc:ID",
    severity="warning",
)
def note_without_original(invoice: Invoice) -> Iterator[Node]:
    if invoice.is_note:
        references = invoice.every("cac:BillingReference")
        yield from (node for node in references if not any(found.text for found in _originals(node)))
        if not references:
            yield invoice.root


@BOOK.rule("BR-KSA-F-06-C22", "the number of the corrected document must have 1 to 5,000 characters: correct it")
def original_of_another_length(invoice: Invoice) -> Iterable[Node]:
    if not invoice.is_note:
        return ()
    return lengths((found for node in invoice.every("cac:BillingReference") for found in _originals(node)), 1, 5000)


@BOOK.rule(
    "BR-KSA-16", "the payment means must be a code of UN/CL 4461 that ZATCA takes: correct it", severity="warning"
)
def unknown_payment_means(invoice: Invoice) -> Iterator[Node]:
    if invoice.type_name[:2] in ("01", "02"):
        for node in invoice.root.all("cac:PaymentMeans", "cbc:PaymentMeansCode"):
            if trimmed(node.text) not in PAYMENT_MEANS:
                yield node


@BOOK.rule("BR-KSA-F-06-C14", "the payment terms must have 1 to 1,000 characters: correct them", severity="warning")
def payment_terms_of_another_length(invoice: Invoice) -> Iterable[Node]:
    if invoice.type_name[:2] not in ("01", "02"):
        return ()
    return lengths(invoice.root.all("cac:PaymentMeans", "cac:PayeeFinancialAccount", "cbc:PaymentNote"), 1, 1000)


@BOOK.rule("BR-KSA-F-06-C15", "the payment account has more than 127 characters: shorten it", severity="warning")
def long_account(invoice: Invoice) -> Iterable[Node]:
    if invoice.type_name[:2] not in ("01", "02"):
        return ()
    return lengths(invoice.root.all("cac:PaymentMeans", "cac:PayeeFinancialAccount", "cbc:ID"), 0, 127)


# --- currencies ----------------------------------------------------------------------------------------------------


@BOOK.rule("BR-KSA-68", "the tax currency is missing: add cbc:TaxCurrencyCode SAR")
def no_tax_currency(invoice: Invoice) -> Iterator[Node]:
    if not invoice.root.value("cbc:TaxCurrencyCode"):
        yield invoice.root


@BOOK.rule("BR-KSA-EN16931-02", "the tax currency must be SAR: correct cbc:TaxCurrencyCode")
def other_tax_currency(invoice: Invoice) -> Iterator[Node]:
    for node in invoice.root.all("cbc:TaxCurrencyCode"):
        if trimmed(node.text).upper() != "SAR":
            yield node


@BOOK.rule("BR-KSA-CL-01", "the currency must be a code of ISO 4217 that ZATCA takes: correct it")
def unknown_currency(invoice: Invoice) -> Iterator[Node]:
    for node in invoice.every("cbc:DocumentCurrencyCode"):
        if trimmed(node.text) not in CURRENCIES:
            yield node
    amounts = [
        found
        for node in invoice.line_subtotals
        for name in ("cbc:TaxableAmount", "cbc:TaxAmount")
        for found in node.all(name)
    ]
    for node in [*amounts, *invoice.root.all("cac:LegalMonetaryTotal", "cbc:PayableRoundingAmount")]:
        if "currencyID" in node.attributes and trimmed(node.attributes["currencyID"]) not in CURRENCIES:
            yield node


@BOOK.rule(
    "BR-KSA-87", "an exchange rate needs both currencies and the rate: complete cac:TaxExchangeRate", severity="warning"
)
def incomplete_exchange_rate(invoice: Invoice) -> Iterator[Node]:
    for node in invoice.root.all("cac:TaxExchangeRate"):
        if not all(
            node.value(name) for name in ("cbc:SourceCurrencyCode", "cbc:TargetCurrencyCode", "cbc:CalculationRate")
        ):
            yield node


@BOOK.rule("BR-KSA-88", "the exchange rate must be from the document's currency: correct cbc:SourceCurrencyCode")
def rate_from_another_currency(invoice: Invoice) -> Iterator[Node]:
    # ZATCA looks for the code inside the currency, so that a part of it passes.
    for node in invoice.root.all("cac:TaxExchangeRate", "cbc:SourceCurrencyCode"):
        if node.text not in invoice.currency:
            yield node


@BOOK.rule("BR-KSA-89", "the exchange rate must be to the tax currency: correct cbc:TargetCurrencyCode")
def rate_to_another_currency(invoice: Invoice) -> Iterator[Node]:
    for node in invoice.root.all("cac:TaxExchangeRate", "cbc:TargetCurrencyCode"):
        if node.text not in invoice.tax_currency:
            yield node


@BOOK.rule("BR-KSA-90", "the exchange rate has more than 14 characters: round it")
def long_exchange_rate(invoice: Invoice) -> Iterator[Node]:
    for node in invoice.root.all("cac:TaxExchangeRate", "cbc:CalculationRate"):
        if len(trimmed(node.text)) > 14:
            yield node


@BOOK.rule(
    "BR-KSA-CL-03", "the attachment's media type is none that ZATCA takes: use e.g. application/pdf or text/plain"
)
def unknown_media_type(invoice: Invoice) -> Iterator[Node]:
    for reference in invoice.every("cac:AdditionalDocumentReference"):
        for node in reference.all("cac:Attachment", "cbc:EmbeddedDocumentBinaryObject"):
            if trimmed(node.attributes.get("mimeCode", "")) not in _MIME_TYPES:
                yield node


# --- small parts ---------------------------------------------------------------------------------------------------

_DELIVERY_DATES: Final = ("cbc:ActualDeliveryDate", "cbc:LatestDeliveryDate")


def _delivery_dates(invoice: Invoice, name: str) -> list[Node]:
    return [found for node in invoice.every("cac:Delivery") for found in node.all(name)]


def _is_date(text: str) -> bool:
    """Whether it is a day of 2000 or later, YYYY-MM-DD. Centuries count as leap years, as they do for ZATCA."""
    if not _DATE(text):
        return False
    year, month, day = int(text[:4]), int(text[5:7]), int(text[8:])
    return year >= 2000 and 1 <= month <= 12 and 1 <= day <= (28 if month == 2 and year % 4 else _DAYS[month])


def _instant(day: str, time: str) -> datetime | None:
    """The instant of a date and a time, which is Saudi time unless it says another zone."""
    try:
        midnight = datetime.combine(date.fromisoformat(day), datetime.min.time(), RIYADH)
        if time.startswith("24"):
            return midnight + _WHOLE_DAY
        found = datetime.fromisoformat(f"{day}T{time}")
    except ValueError:  # 30 February, a zone beyond 14:00: told by other rules
        return None
    return found if found.tzinfo else found.replace(tzinfo=RIYADH)


def _originals(node: Node) -> list[Node]:
    return node.all("cac:InvoiceDocumentReference", "cbc:ID")
