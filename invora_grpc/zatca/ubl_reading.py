"""UBL 2.1 XML as tax documents: the way back of `ubl`.

Takes what a `Document` has a field for, from documents of any origin, and leaves the rest. Amounts that follow from
others are not read, and nothing is judged here: that is `checking`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from invora_grpc.errors import RequestError
from invora_grpc.zatca.document import (
    RIYADH,
    Address,
    Allowance,
    Category,
    Document,
    Line,
    Party,
    Prepayment,
    Reference,
    Tax,
)
from invora_grpc.zatca.hashing import parsed
from invora_grpc.zatca.totals import EXACT, rounded
from invora_grpc.zatca.typecode import TypeCode
from invora_grpc.zatca.ubl_names import CAC, CBC, INVOICE, PREPAYMENT_CODE

if TYPE_CHECKING:
    from lxml import etree

__all__ = ["from_xml"]

PREFIXES: Final = {"cac": CAC, "cbc": CBC}
CATEGORIES: Final[Mapping[str, Category]] = {"S": "S", "Z": "Z", "E": "E", "O": "O"}
REFERENCE: Final = "cac:BillingReference/cac:InvoiceDocumentReference"
LONGEST_NUMBER: Final = 40
"""Characters. Nobody counts so far, and arithmetic stays exact (`totals.EXACT`)."""
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)")
_TIME: Final = re.compile(r"([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?(Z?)")

Taxes = Mapping[tuple[str, Decimal], Tax]
"""The categories of the breakdown, which say why something is not taxed."""


def from_xml(xml: bytes) -> Document:
    """Read a UBL invoice or note. What `to_xml` wrote comes back as it was.

    Lines that are numbered by their position have no `id`. Without an exchange rate in the document, the rate is what
    its two tax totals say. Raises RequestError for what is no UBL invoice or lacks what a `Document` cannot be without,
    naming the element.
    """
    root = parsed(xml)
    if root.tag != f"{{{INVOICE}}}Invoice":
        raise RequestError("xml", root.tag, f"give a document of {INVOICE}", "is not the root of a UBL invoice")
    code = _required(root, "cbc:InvoiceTypeCode")
    taxes = _taxes(root)
    lines, prepayments = _lines(root, taxes)
    rounding = _optional_number(root, "cac:LegalMonetaryTotal/cbc:PayableRoundingAmount")
    currency = _code(root, "cbc:DocumentCurrencyCode")
    return Document(
        TypeCode.parse(code.get("name", ""), _own_text(code)),
        _text(root, "cbc:ID"),
        _text(root, "cbc:UUID"),
        _moment(root),
        _party(_required(root, "cac:AccountingSupplierParty/cac:Party")),
        lines,
        _buyer(root),
        _optional_day(root, "cac:Delivery/cbc:ActualDeliveryDate"),
        _optional_day(root, "cac:Delivery/cbc:LatestDeliveryDate"),
        currency,
        _sar_rate(root, currency),
        tuple(_allowance(each, taxes) for each in root.iterfind("cac:AllowanceCharge", PREFIXES)),
        tuple(note.text or "" for note in root.iterfind("cbc:Note", PREFIXES)),
        tuple(_reference(each) for each in root.iterfind(REFERENCE, PREFIXES)),
        _text(root, "cac:PaymentMeans/cbc:InstructionNote"),
        _code(root, "cac:PaymentMeans/cbc:PaymentMeansCode"),
        _text(root, "cac:OrderReference/cbc:ID"),
        _text(root, "cac:ContractDocumentReference/cbc:ID"),
        prepayments,
        Decimal(0) if rounding is None else rounding,
        _counter(root),
        _assigned(root, "PIH", "cac:Attachment/cbc:EmbeddedDocumentBinaryObject"),
    )


def _own_text(element: etree._Element) -> str:
    return (element.text or "").strip()


def _text(parent: etree._Element, path: str) -> str:
    """The text of the first element at a path, as it is; "" if there is none."""
    return parent.findtext(path, "", PREFIXES) or ""


def _code(parent: etree._Element, path: str) -> str:
    """The code at a path: no spaces around it."""
    return _text(parent, path).strip()


def _required(parent: etree._Element, path: str) -> etree._Element:
    element = parent.find(path, PREFIXES)
    if element is None:
        raise RequestError(path, None, "give a complete document", "is missing")
    return element


def _number(parent: etree._Element, path: str) -> Decimal:
    text = _own_text(_required(parent, path))
    if len(text) > LONGEST_NUMBER or not _DECIMAL.fullmatch(text):
        raise RequestError(path, text, "write digits, with a point before decimals", "is no decimal number")
    return Decimal(text)


def _optional_number(parent: etree._Element, path: str) -> Decimal | None:
    return None if parent.find(path, PREFIXES) is None else _number(parent, path)


def _day(parent: etree._Element, path: str) -> date:
    text = _own_text(_required(parent, path))
    try:
        if len(text) == 10:
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise RequestError(path, text, "write YYYY-MM-DD", "is no date")


def _optional_day(parent: etree._Element, path: str) -> date | None:
    return None if parent.find(path, PREFIXES) is None else _day(parent, path)


def _moment(parent: etree._Element) -> datetime:
    """Date and time of issue: Riyadh's, unless a Z says UTC. Fractions of a second are dropped."""
    text = _code(parent, "cbc:IssueTime")
    parts = _TIME.fullmatch(text)
    try:
        clock = time.fromisoformat(parts[1] if parts else "")
    except ValueError:
        raise RequestError("cbc:IssueTime", text, "write hh:mm:ss", "is no time of day") from None
    return datetime.combine(_day(parent, "cbc:IssueDate"), clock, UTC if parts and parts[3] else RIYADH)


def _buyer(root: etree._Element) -> Party | None:
    party = root.find("cac:AccountingCustomerParty/cac:Party", PREFIXES)
    return None if party is None else _party(party)


def _party(element: etree._Element) -> Party:
    identifier = element.find("cac:PartyIdentification/cbc:ID", PREFIXES)
    address = element.find("cac:PostalAddress", PREFIXES)
    return Party(
        _text(element, "cac:PartyLegalEntity/cbc:RegistrationName"),
        _code(element, "cac:PartyTaxScheme/cbc:CompanyID"),
        "" if identifier is None else identifier.get("schemeID", ""),
        "" if identifier is None else _own_text(identifier),
        None if address is None else _address(address),
    )


def _address(element: etree._Element) -> Address:
    return Address(
        _text(element, "cbc:StreetName"),
        _text(element, "cbc:BuildingNumber"),
        _text(element, "cbc:CitySubdivisionName"),
        _text(element, "cbc:CityName"),
        _text(element, "cbc:PostalZone"),
        _code(element, "cac:Country/cbc:IdentificationCode"),
        _text(element, "cbc:AdditionalStreetName"),
        _text(element, "cbc:CountrySubentity"),
    )


def _reference(element: etree._Element) -> Reference:
    return Reference(_text(element, "cbc:ID"), _text(element, "cbc:UUID"), _optional_day(element, "cbc:IssueDate"))


def _sar_rate(root: etree._Element, currency: str) -> Decimal | None:
    rate = _optional_number(root, "cac:TaxExchangeRate/cbc:CalculationRate")
    if rate is not None or currency == "SAR":
        return None if currency == "SAR" else rate
    totals = {
        total.find("cac:TaxSubtotal", PREFIXES) is None: _number(total, "cbc:TaxAmount")
        for total in root.iterfind("cac:TaxTotal", PREFIXES)
    }
    tax, in_riyals = totals.get(False), totals.get(True)
    if not tax or not in_riyals:
        return None
    return _shortest_rate(tax, in_riyals)


def _shortest_rate(tax: Decimal, in_riyals: Decimal) -> Decimal | None:
    """The rate with the fewest decimals that turns one amount into the other."""
    exact = EXACT.divide(in_riyals, tax)
    for places in range(10):
        rate = exact.quantize(Decimal(1).scaleb(-places), context=EXACT)
        if rounded(EXACT.multiply(tax, rate)) == in_riyals:
            return rate
    return None


def _taxes(root: etree._Element) -> Taxes:
    found: dict[tuple[str, Decimal], Tax] = {}
    for element in root.iterfind("cac:TaxTotal/cac:TaxSubtotal/cac:TaxCategory", PREFIXES):
        tax = _tax(element, {})
        found.setdefault((tax.category, tax.rate), tax)
    return found


def _tax(element: etree._Element, known: Taxes) -> Tax:
    name = _code(element, "cbc:ID")
    category = CATEGORIES.get(name)
    if category is None:
        raise RequestError(f"{_local(element)}/cbc:ID", name, "use S, Z, E or O", "is no tax category")
    rate = Decimal(0) if category == "O" and element.find("cbc:Percent", PREFIXES) is None else _percent(element)
    code, text = _code(element, "cbc:TaxExemptionReasonCode"), _text(element, "cbc:TaxExemptionReason")
    if code or text:
        return Tax(category, rate, code, text)
    return known.get((category, rate)) or Tax(category, rate)


def _percent(element: etree._Element) -> Decimal:
    return _number(element, "cbc:Percent")


def _local(element: etree._Element) -> str:
    return "cac:" + str(element.tag).rpartition("}")[2]


def _allowance(element: etree._Element, taxes: Taxes) -> Allowance:
    category = element.find("cac:TaxCategory", PREFIXES)
    return Allowance(
        _number(element, "cbc:Amount"),
        _text(element, "cbc:AllowanceChargeReason"),
        _code(element, "cbc:AllowanceChargeReasonCode"),
        _code(element, "cbc:ChargeIndicator") in ("true", "1"),
        None if category is None else _tax(category, taxes),
        _optional_number(element, "cbc:BaseAmount"),
        _optional_number(element, "cbc:MultiplierFactorNumeric"),
    )


def _lines(root: etree._Element, taxes: Taxes) -> tuple[tuple[Line, ...], tuple[Prepayment, ...]]:
    lines: list[Line] = []
    prepayments: list[Prepayment] = []
    by_position = True
    for number, element in enumerate(root.iterfind("cac:InvoiceLine", PREFIXES), 1):
        by_position = by_position and _text(element, "cbc:ID") == str(number)
        if _code(element, "cac:DocumentReference/cbc:DocumentTypeCode") == PREPAYMENT_CODE:
            prepayments += _prepayments(element)
        else:
            lines.append(_line(element, taxes))
    if by_position:
        lines = [_without_id(line) for line in lines]
    return tuple(lines), tuple(prepayments)


def _without_id(line: Line) -> Line:
    return Line(
        line.name,
        line.quantity,
        line.unit_price,
        line.unit_code,
        line.tax,
        line.allowances,
        line.base_quantity,
        line.source,
    )


def _line(element: etree._Element, taxes: Taxes) -> Line:
    base = _optional_number(element, "cac:Price/cbc:BaseQuantity")
    source = element.find(REFERENCE, PREFIXES)
    return Line(
        _text(element, "cac:Item/cbc:Name"),
        _number(element, "cbc:InvoicedQuantity"),
        _number(element, "cac:Price/cbc:PriceAmount"),
        _required(element, "cbc:InvoicedQuantity").get("unitCode", ""),
        _tax(_required(element, "cac:Item/cac:ClassifiedTaxCategory"), taxes),
        tuple(_allowance(each, taxes) for each in element.iterfind("cac:AllowanceCharge", PREFIXES)),
        Decimal(1) if base is None else base,
        None if source is None else _reference(source),
        _text(element, "cbc:ID"),
    )


def _prepayments(line: etree._Element) -> list[Prepayment]:
    """What a line takes off: one prepayment for each tax category that it lists."""
    reference = _required(line, "cac:DocumentReference")
    return [
        Prepayment(
            _text(reference, "cbc:ID"),
            _moment(reference),
            _number(subtotal, "cbc:TaxableAmount"),
            _number(subtotal, "cbc:TaxAmount"),
            _tax(_required(subtotal, "cac:TaxCategory"), {}),
            _text(reference, "cbc:UUID"),
        )
        for subtotal in line.iterfind("cac:TaxTotal/cac:TaxSubtotal", PREFIXES)
    ]


def _assigned(root: etree._Element, name: str, path: str) -> str | None:
    """What the platform put into the reference of that name."""
    for reference in root.iterfind("cac:AdditionalDocumentReference", PREFIXES):
        if _code(reference, "cbc:ID") == name:
            return _code(reference, path) or None
    return None


def _counter(root: etree._Element) -> int | None:
    text = _assigned(root, "ICV", "cbc:UUID")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise RequestError("cac:AdditionalDocumentReference/cbc:UUID", text, "write digits only", "is no counter")
    return int(text)
