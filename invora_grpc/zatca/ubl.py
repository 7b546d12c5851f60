"""Tax documents as UBL 2.1 XML in the form that ZATCA asks for, and back.

The only place where a `Document` becomes XML, so what cannot become a valid document is refused here, by `problems`.
Elements come in the order of the UBL schema. What the platform assigns (counter, previous hash) is written only if the
document has it; QR code and stamp never. Reading is `ubl_reading`'s.
"""

from __future__ import annotations

import math
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from invora_grpc.errors import ConfigError, RequestError
from invora_grpc.zatca.document import RIYADH, Address, Allowance, Document, Line, Party, Prepayment, Reference, Tax
from invora_grpc.zatca.problems import require_valid
from invora_grpc.zatca.totals import CategoryTotal, LineTotals, Totals, totals
from invora_grpc.zatca.ubl_names import (
    INVOICE,
    NAMESPACES,
    PREPAYMENT_CODE,
    PREPAYMENT_NAME,
    PROFILE,
    aggregate,
    basic,
)

try:
    from lxml import etree
except ImportError:
    raise ConfigError("lxml", None, "pip install 'invora-grpc[zatca]'", "is not installed here") from None

from invora_grpc.zatca.ubl_reading import from_xml

__all__ = ["from_xml", "to_xml"]

Attributes = dict[str, str]
_child = etree.SubElement

AMOUNT: Final = basic("Amount")
ID: Final = basic("ID")
INVOICED_QUANTITY: Final = basic("InvoicedQuantity")
INVOICE_LINE: Final = aggregate("InvoiceLine")
ITEM: Final = aggregate("Item")
ITEM_TAX: Final = aggregate("ClassifiedTaxCategory")
LINE_AMOUNT: Final = basic("LineExtensionAmount")
NAME: Final = basic("Name")
PERCENT: Final = basic("Percent")
PRICE: Final = aggregate("Price")
PRICE_AMOUNT: Final = basic("PriceAmount")
ROUNDING_AMOUNT: Final = basic("RoundingAmount")
TAX_AMOUNT: Final = basic("TaxAmount")
TAX_SCHEME: Final = aggregate("TaxScheme")
TAX_TOTAL: Final = aggregate("TaxTotal")


def to_xml(document: Document, *, now: datetime | None = None, checked: bool = True) -> bytes:
    """The document as UBL XML: UTF-8 with an XML declaration, the same bytes for the same document.

    `now` (aware) is the moment that the issue date must not lie after (BR-KSA-04); None asks the clock. Fractions of a
    second of `issued_at` are left away, as the format has no place for them (BR-KSA-70). Raises RequestError for what
    cannot become a valid document, naming the field. `checked=False` writes what is there as it is, right or wrong, for
    those who let the finished XML be judged.
    """
    sums = require_valid(document, now) if checked else totals(document)
    try:
        return _written(document, sums)
    except ValueError as error:  # lxml's word for characters that XML does not have
        raise RequestError("document", document.id, "leave control characters away", str(error)) from None


def _written(document: Document, sums: Totals) -> bytes:
    root = etree.Element(f"{{{INVOICE}}}Invoice", nsmap=NAMESPACES)
    amounts = {"currencyID": document.currency}
    _head(root, document)
    _references(root, document)
    _party(_child(root, aggregate("AccountingSupplierParty")), document.seller)
    customer = _child(root, aggregate("AccountingCustomerParty"))
    if document.buyer is not None:
        _party(customer, document.buyer)
    _delivery(root, document)
    _payment(root, document)
    for allowance in document.allowances:
        _allowance(root, allowance, amounts)
    _exchange_rate(root, document)
    _taxes(root, sums, amounts)
    _monetary_total(root, document, sums, amounts)
    for number, (line, line_sums) in enumerate(zip(document.lines, sums.lines, strict=True), 1):
        _line(root, number, line, line_sums, amounts)
    for number, prepayment in enumerate(document.prepayments, len(document.lines) + 1):
        _prepayment(root, number, prepayment, amounts)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def _text(parent: etree._Element, name: str, text: str, attributes: Attributes | None = None) -> None:
    """Add an element with a value."""
    _child(parent, basic(name), attributes).text = text


def _optional(parent: etree._Element, name: str, text: str) -> None:
    """Add an element with a value, if there is one."""
    if text:
        _child(parent, basic(name)).text = text


def _amount(parent: etree._Element, name: str, amount: Decimal, attributes: Attributes) -> None:
    """Add an amount with two decimals. It has no more: `problems` saw to that, or `totals` rounded it."""
    _child(parent, basic(name), attributes).text = f"{amount:.2f}"


def _head(root: etree._Element, document: Document) -> None:
    issued = document.issued_at.astimezone(RIYADH)
    code = document.type_code
    _text(root, "ProfileID", PROFILE)
    _text(root, "ID", document.id)
    _text(root, "UUID", document.uuid)
    _text(root, "IssueDate", f"{issued:%Y-%m-%d}")
    _text(root, "IssueTime", f"{issued:%H:%M:%S}")
    _text(root, "InvoiceTypeCode", str(code.code), {"name": code.name})
    for note in document.notes:
        _text(root, "Note", note)
    _text(root, "DocumentCurrencyCode", document.currency)
    _text(root, "TaxCurrencyCode", "SAR")


def _references(root: etree._Element, document: Document) -> None:
    if document.purchase_order:
        _text(_child(root, aggregate("OrderReference")), "ID", document.purchase_order)
    for original in document.originals:
        _billing_reference(root, original)
    if document.contract:
        _text(_child(root, aggregate("ContractDocumentReference")), "ID", document.contract)
    if document.counter is not None:
        reference = _child(root, aggregate("AdditionalDocumentReference"))
        _text(reference, "ID", "ICV")
        _text(reference, "UUID", str(document.counter))
    if document.previous_hash is not None:
        reference = _child(root, aggregate("AdditionalDocumentReference"))
        _text(reference, "ID", "PIH")
        attachment = _child(reference, aggregate("Attachment"))
        _text(attachment, "EmbeddedDocumentBinaryObject", document.previous_hash, {"mimeCode": "text/plain"})


def _billing_reference(parent: etree._Element, reference: Reference) -> None:
    """Name another document: the original of a note, or the source of a line."""
    element = _child(_child(parent, aggregate("BillingReference")), aggregate("InvoiceDocumentReference"))
    _text(element, "ID", reference.id)
    _optional(element, "UUID", reference.uuid)
    _date(element, "IssueDate", reference.issue_date)


def _date(parent: etree._Element, name: str, day: date | None) -> None:
    if day is not None:
        _text(parent, name, day.isoformat())


def _party(parent: etree._Element, party: Party) -> None:
    element = _child(parent, aggregate("Party"))
    if party.id_value:
        _text(_child(element, aggregate("PartyIdentification")), "ID", party.id_value, {"schemeID": party.id_scheme})
    if party.address is not None:
        _address(_child(element, aggregate("PostalAddress")), party.address)
    if party.vat_number:
        scheme = _child(element, aggregate("PartyTaxScheme"))
        _text(scheme, "CompanyID", party.vat_number)
        _child(_child(scheme, TAX_SCHEME), ID).text = "VAT"
    if party.name:
        _text(_child(element, aggregate("PartyLegalEntity")), "RegistrationName", party.name)


def _address(element: etree._Element, address: Address) -> None:
    _optional(element, "StreetName", address.street)
    _optional(element, "AdditionalStreetName", address.additional_street)
    _optional(element, "BuildingNumber", address.building_number)
    _optional(element, "CitySubdivisionName", address.district)
    _optional(element, "CityName", address.city)
    _optional(element, "PostalZone", address.postal_code)
    _optional(element, "CountrySubentity", address.province)
    _text(_child(element, aggregate("Country")), "IdentificationCode", address.country)


def _delivery(root: etree._Element, document: Document) -> None:
    if document.supply_date is not None:
        delivery = _child(root, aggregate("Delivery"))
        _date(delivery, "ActualDeliveryDate", document.supply_date)
        _date(delivery, "LatestDeliveryDate", document.supply_end)


def _payment(root: etree._Element, document: Document) -> None:
    if document.payment_means:
        payment = _child(root, aggregate("PaymentMeans"))
        _text(payment, "PaymentMeansCode", document.payment_means)
        _optional(payment, "InstructionNote", document.reason)


def _allowance(parent: etree._Element, allowance: Allowance, amounts: Attributes) -> None:
    """Add an allowance or charge; one of a line has no category of its own."""
    element = _child(parent, aggregate("AllowanceCharge"))
    _text(element, "ChargeIndicator", "true" if allowance.charge else "false")
    _optional(element, "AllowanceChargeReasonCode", allowance.reason_code)
    _optional(element, "AllowanceChargeReason", allowance.reason)
    base, percent = allowance.base_amount, allowance.percent
    told = base is not None and percent is not None and _is_confirmed(allowance.amount, base, percent)
    if percent is not None and told:
        _text(element, "MultiplierFactorNumeric", f"{percent:f}")
    _amount(element, "Amount", allowance.amount, amounts)
    if base is not None and told:
        _amount(element, "BaseAmount", base, amounts)
    if allowance.tax is not None:
        _category(_child(element, aggregate("TaxCategory")), allowance.tax)


def _is_confirmed(amount: Decimal, base: Decimal, percent: Decimal) -> bool:
    """Whether ZATCA's check of base × percent (BR-KSA-EN16931-03) comes to the amount.

    It computes in binary floating point, as is repeated here, and so takes 0.57 for 1 % of 57.50. What would be refused
    is stated without base and percent, which are optional.
    """
    product = float(base) * float(percent) / 100.0 * 100.0
    return Decimal(math.floor(product + 0.5)) == amount * 100


def _category(element: etree._Element, tax: Tax, reasons: bool = False) -> None:
    """Fill a tax category; with the reasons of an exemption where those belong."""
    _child(element, ID).text = tax.category
    _child(element, PERCENT).text = f"{tax.rate:.2f}"
    if reasons:
        _optional(element, "TaxExemptionReasonCode", tax.exemption_code)
        _optional(element, "TaxExemptionReason", tax.exemption_text)
    _child(_child(element, TAX_SCHEME), ID).text = "VAT"


def _exchange_rate(root: etree._Element, document: Document) -> None:
    if document.currency != "SAR" and document.sar_rate is not None:
        element = _child(root, aggregate("TaxExchangeRate"))
        _text(element, "SourceCurrencyCode", document.currency)
        _text(element, "TargetCurrencyCode", "SAR")
        _text(element, "CalculationRate", f"{document.sar_rate:f}")


def _taxes(root: etree._Element, sums: Totals, amounts: Attributes) -> None:
    """Add the two tax totals: one with its breakdown, one in riyals."""
    element = _child(root, TAX_TOTAL)
    _amount(element, "TaxAmount", sums.tax, amounts)
    for entry in sums.breakdown:
        _subtotal(element, entry, amounts)
    _amount(_child(root, TAX_TOTAL), "TaxAmount", sums.tax_sar, {"currencyID": "SAR"})


def _subtotal(parent: etree._Element, entry: CategoryTotal, amounts: Attributes) -> None:
    element = _child(parent, aggregate("TaxSubtotal"))
    _amount(element, "TaxableAmount", entry.taxable, amounts)
    _amount(element, "TaxAmount", entry.amount, amounts)
    _category(_child(element, aggregate("TaxCategory")), entry.tax, reasons=True)


def _monetary_total(root: etree._Element, document: Document, sums: Totals, amounts: Attributes) -> None:
    element = _child(root, aggregate("LegalMonetaryTotal"))
    _amount(element, "LineExtensionAmount", sums.line_total, amounts)
    _amount(element, "TaxExclusiveAmount", sums.tax_exclusive, amounts)
    _amount(element, "TaxInclusiveAmount", sums.tax_inclusive, amounts)
    if not all(each.charge for each in document.allowances):
        _amount(element, "AllowanceTotalAmount", sums.allowance_total, amounts)
    if any(each.charge for each in document.allowances):
        _amount(element, "ChargeTotalAmount", sums.charge_total, amounts)
    if document.prepayments:
        _amount(element, "PrepaidAmount", sums.prepaid, amounts)
    if sums.rounding:
        _amount(element, "PayableRoundingAmount", sums.rounding, amounts)
    _amount(element, "PayableAmount", sums.payable, amounts)


def _line(root: etree._Element, number: int, line: Line, sums: LineTotals, amounts: Attributes) -> None:
    element = _child(root, INVOICE_LINE)
    _child(element, ID).text = line.id or str(number)
    _child(element, INVOICED_QUANTITY, {"unitCode": line.unit_code}).text = f"{line.quantity:f}"
    _child(element, LINE_AMOUNT, amounts).text = f"{sums.net:.2f}"
    if line.source is not None:
        _billing_reference(element, line.source)
    for allowance in line.allowances:
        _allowance(element, allowance, amounts)
    tax = _child(element, TAX_TOTAL)
    _child(tax, TAX_AMOUNT, amounts).text = f"{sums.tax:.2f}"
    _child(tax, ROUNDING_AMOUNT, amounts).text = f"{sums.gross:.2f}"
    item = _child(element, ITEM)
    _child(item, NAME).text = line.name
    _category(_child(item, ITEM_TAX), line.tax)
    price = _child(element, PRICE)
    _child(price, PRICE_AMOUNT, amounts).text = f"{line.unit_price:f}"
    if line.base_quantity != 1:
        _text(price, "BaseQuantity", f"{line.base_quantity:f}", {"unitCode": line.unit_code})


def _prepayment(root: etree._Element, number: int, prepayment: Prepayment, amounts: Attributes) -> None:
    """Add the line of nothing that names what was paid in advance (BR-KSA-73, -75, -82)."""
    nothing = Decimal(0)
    issued = prepayment.issued_at.astimezone(RIYADH)
    element = _child(root, INVOICE_LINE)
    _text(element, "ID", str(number))
    _text(element, "InvoicedQuantity", "0.00", {"unitCode": "C62"})  # a bare 0 counts as none (BR-22)
    _amount(element, "LineExtensionAmount", nothing, amounts)
    reference = _child(element, aggregate("DocumentReference"))
    _text(reference, "ID", prepayment.id)
    _optional(reference, "UUID", prepayment.uuid)
    _text(reference, "IssueDate", f"{issued:%Y-%m-%d}")
    _text(reference, "IssueTime", f"{issued:%H:%M:%S}")
    _text(reference, "DocumentTypeCode", PREPAYMENT_CODE)
    tax = _child(element, TAX_TOTAL)
    _amount(tax, "TaxAmount", nothing, amounts)
    _amount(tax, "RoundingAmount", nothing, amounts)
    _subtotal(tax, CategoryTotal(prepayment.tax, prepayment.taxable_amount, prepayment.tax_amount), amounts)
    item = _child(element, ITEM)
    _text(item, "Name", PREPAYMENT_NAME)
    _category(_child(item, ITEM_TAX), prepayment.tax)
    _amount(_child(element, PRICE), "PriceAmount", nothing, amounts)
