"""For each of ZATCA's own rules the smallest change to a good document that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lxml import etree
from zatca_documents import SAMPLES

from invora_grpc.zatca.elements import models
from invora_grpc.zatca.ubl import to_xml
from invora_grpc.zatca.ubl_names import CAC, CBC, EXT

NAMES: Final = {"cac": CAC, "cbc": CBC, "ext": EXT}
Edit = Callable[[etree._Element], None]

SELLER: Final = "cac:AccountingSupplierParty/cac:Party/"
BUYER: Final = "cac:AccountingCustomerParty/cac:Party/"
LINE: Final = "cac:InvoiceLine/"
PRICE: Final = "cac:InvoiceLine/cac:Price"
CATEGORY: Final = "cac:TaxTotal/cac:TaxSubtotal/cac:TaxCategory"
PREPAID: Final = "cac:InvoiceLine[3]/cac:TaxTotal/cac:TaxSubtotal"
LONG, LONGER, LONGEST = "x" * 128, "x" * 1001, "x" * 5001


@dataclass(frozen=True, slots=True)
class Example:
    """What breaks a rule."""

    rule: str
    base: str
    """Name of the good document in `SAMPLES`."""
    edits: tuple[Edit, ...]

    def xml(self) -> bytes:
        return edited(to_xml(SAMPLES[self.base]), *self.edits)


def edited(xml: bytes, *edits: Edit) -> bytes:
    """The document after some changes."""
    root = etree.fromstring(xml)
    for edit in edits:
        edit(root)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def put(path: str, text: str) -> Edit:
    """Give an element, or with `path/@name` an attribute, another value."""

    def edit(root: etree._Element) -> None:
        element, _, name = path.partition("/@")
        found = one(root, element)
        if name:
            found.set(name, text)
        else:
            found.text = text

    return edit


def drop(path: str) -> Edit:
    """Take an element out."""

    def edit(root: etree._Element) -> None:
        found = one(root, path)
        found.getparent().remove(found)

    return edit


def add(parent: str, content: str) -> Edit:
    """Put an element where the schema wants it, after those of its name."""

    def edit(root: etree._Element) -> None:
        around = one(root, parent) if parent else root
        declared = "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in NAMES.items())
        (new,) = etree.fromstring(f"<x{declared}>{content}</x>")
        slots = model_of(around).slots
        order = slots[new.tag].order
        before = [child for child in around if child.tag in slots and slots[child.tag].order <= order]
        around.insert(around.index(before[-1]) + 1 if before else 0, new)

    return edit


def one(root: etree._Element, path: str) -> etree._Element:
    """The first element at a path."""
    return root.xpath(path, namespaces=NAMES)[0]


def model_of(element: etree._Element):
    """What may stand in an element."""
    parent = element.getparent()
    return models()["Invoice"] if parent is None else model_of(parent).slots[element.tag].model


def example(rule: str, *edits: Edit, of: str = "assigned") -> Example:
    return Example(rule, of, edits)


def charge(of_line: bool = False, **values: str) -> str:
    """A charge, or with ChargeIndicator="false" an allowance, of the values that are given in the schema's order."""
    fields = {"ChargeIndicator": "true", "AllowanceChargeReasonCode": "FC", "AllowanceChargeReason": "Freight"}
    fields |= {"Amount": "1.00"} | values
    order = "ChargeIndicator AllowanceChargeReasonCode AllowanceChargeReason MultiplierFactorNumeric Amount BaseAmount"
    inner = "".join(
        f"<cbc:{name}{' currencyID=' + chr(34) + 'SAR' + chr(34) if name.endswith('Amount') else ''}>"
        f"{fields[name]}</cbc:{name}>"
        for name in order.split()
        if name in fields and fields[name] != "-"
    )
    return f"<cac:AllowanceCharge>{inner}{'' if of_line else tax_category()}</cac:AllowanceCharge>"


def tax_category(code: str = "S", percent: str = "15") -> str:
    scheme = "<cac:TaxScheme><cbc:ID>VAT</cbc:ID></cac:TaxScheme>"
    return f"<cac:TaxCategory><cbc:ID>{code}</cbc:ID><cbc:Percent>{percent}</cbc:Percent>{scheme}</cac:TaxCategory>"


def attached(name: str, content: str = "UVI=", mime: str = "text/plain") -> str:
    """An additional document reference with content."""
    binary = f'<cbc:EmbeddedDocumentBinaryObject mimeCode="{mime}">{content}</cbc:EmbeddedDocumentBinaryObject>'
    return (
        f"<cac:AdditionalDocumentReference><cbc:ID>{name}</cbc:ID><cac:Attachment>{binary}</cac:Attachment>"
        "</cac:AdditionalDocumentReference>"
    )


def contact(**values: str) -> str:
    inner = "".join(f"<cbc:{name}>{value}</cbc:{name}>" for name, value in values.items())
    return f"<cac:Contact>{inner}</cac:Contact>"


def identified(value: str, scheme: str) -> str:
    return f'<cac:PartyIdentification><cbc:ID schemeID="{scheme}">{value}</cbc:ID></cac:PartyIdentification>'


def exchange_rate(source: str = "USD", target: str = "SAR", rate: str = "3.75") -> str:
    return (
        f"<cac:TaxExchangeRate><cbc:SourceCurrencyCode>{source}</cbc:SourceCurrencyCode><cbc:TargetCurrencyCode>"
        f"{target}</cbc:TargetCurrencyCode><cbc:CalculationRate>{rate}</cbc:CalculationRate></cac:TaxExchangeRate>"
    )


def prepaid(code: str, reason_code: str = "", reason: str = "") -> tuple[Edit, ...]:
    """The prepayment line with another category, at no tax."""
    edits = [put(f"{PREPAID}/cac:TaxCategory/cbc:ID", code), put(f"{PREPAID}/cac:TaxCategory/cbc:Percent", "0")]
    if reason_code:
        category = f"{PREPAID}/cac:TaxCategory"
        edits.append(add(category, f"<cbc:TaxExemptionReasonCode>{reason_code}</cbc:TaxExemptionReasonCode>"))
    if reason:
        edits.append(add(f"{PREPAID}/cac:TaxCategory", f"<cbc:TaxExemptionReason>{reason}</cbc:TaxExemptionReason>"))
    return tuple(edits)


FLAGS: Final = "cbc:InvoiceTypeCode/@name"
CHARGES: Final = "allowances"
NOTE: Final = "credit note on standard"
SIMPLE: Final = "assigned, simplified"
PAYMENT_MEANS: Final = "cac:PaymentMeans"
ACCOUNT: Final = "<cac:PayeeFinancialAccount>{}</cac:PayeeFinancialAccount>"
PRICE_ALLOWANCE: Final = (
    "<cac:AllowanceCharge><cbc:ChargeIndicator>{}</cbc:ChargeIndicator>"
    '<cbc:Amount currencyID="SAR">1.00</cbc:Amount><cbc:BaseAmount currencyID="SAR">{}</cbc:BaseAmount>'
    "</cac:AllowanceCharge>"
)

DOCUMENT_EXAMPLES: Final = (
    example("BR-KSA-EN16931-01", put("cbc:ProfileID", "reporting:2.0")),
    example("BR-KSA-03", put("cbc:UUID", "(1)")),
    example("BR-KSA-05", put("cbc:InvoiceTypeCode", "380")),
    example("BR-KSA-06", put(FLAGS, "0300000")),
    example("BR-KSA-F-06-C40", put(FLAGS, "010000")),
    example("BR-KSA-07", put(FLAGS, "0100101")),
    example("BR-KSA-31", put(FLAGS, "0200001"), of=SIMPLE),
    example("BR-KSA-92", put(FLAGS, "010000001")),
    example("BR-KSA-F-06-C3", put("cac:OrderReference/cbc:ID", LONG), of="references"),
    example("BR-KSA-F-06-C5", put("cac:ContractDocumentReference/cbc:ID", LONG), of="references"),
    example("BR-KSA-F-01", put("cbc:IssueDate", "2026-11-02Z")),
    example("BR-KSA-04", put("cbc:IssueDate", "2026-11-21")),
    example("BR-KSA-70", put("cbc:IssueTime", "12:30:00.5")),
    example("BR-KSA-98", of=SIMPLE),
    example("BR-KSA-15", drop("cac:Delivery")),
    example("BR-KSA-35", drop("cac:Delivery/cbc:ActualDeliveryDate"), of="summary"),
    example("BR-KSA-36", put("cac:Delivery/cbc:LatestDeliveryDate", "2026-01-01"), of="summary"),
    example(
        "BR-KSA-72",
        drop("cac:Delivery"),
        put(FLAGS, "0200010"),
    ),
    example("BR-KSA-17", drop("cac:PaymentMeans/cbc:InstructionNote"), of=NOTE),
    example("BR-KSA-17", drop("cac:PaymentMeans"), of=NOTE),
    example("BR-KSA-F-06-C13", put("cac:PaymentMeans/cbc:InstructionNote", LONGER), of=NOTE),
    example("BR-KSA-56", drop("cac:BillingReference"), of=NOTE),
    example("BR-KSA-56", put("cac:BillingReference/cac:InvoiceDocumentReference/cbc:ID", ""), of=NOTE),
    example("BR-KSA-F-06-C22", put("cac:BillingReference/cac:InvoiceDocumentReference/cbc:ID", LONGEST), of=NOTE),
    example("BR-KSA-16", put("cac:PaymentMeans/cbc:PaymentMeansCode", "69")),
    example("BR-KSA-F-06-C14", add(PAYMENT_MEANS, ACCOUNT.format(f"<cbc:PaymentNote>{LONGER}</cbc:PaymentNote>"))),
    example("BR-KSA-F-06-C15", add(PAYMENT_MEANS, ACCOUNT.format(f"<cbc:ID>{LONG}</cbc:ID>"))),
    example("BR-KSA-68", drop("cbc:TaxCurrencyCode")),
    example("BR-KSA-EN16931-02", put("cbc:TaxCurrencyCode", "USD")),
    example("BR-KSA-CL-01", put("cbc:DocumentCurrencyCode", "XXZ")),
    example(
        "BR-KSA-87",
        add("", exchange_rate()),
        drop("cac:TaxExchangeRate/cbc:CalculationRate"),
    ),
    example("BR-KSA-88", add("", exchange_rate(source="EUR"))),
    example("BR-KSA-89", add("", exchange_rate(target="EUR"))),
    example("BR-KSA-90", add("", exchange_rate(rate="3.7500000000001"))),
    example("BR-KSA-CL-03", add("", attached("Manual", mime="text/xml"))),
)

PARTY_EXAMPLES: Final = (
    example("BR-KSA-08", put(f"{SELLER}cac:PartyIdentification/cbc:ID/@schemeID", "NAT")),
    example("BR-KSA-39", drop(f"{SELLER}cac:PartyTaxScheme")),
    example("BR-KSA-40", put(f"{SELLER}cac:PartyTaxScheme/cbc:CompanyID", "12345")),
    example("BR-CUSTOM-VALIDATION-01", put(f"{BUYER}cac:PartyTaxScheme/cbc:CompanyID", "399999999900003")),
    example("BR-KSA-09", drop(f"{SELLER}cac:PostalAddress/cbc:CitySubdivisionName")),
    example("BR-KSA-37", put(f"{SELLER}cac:PostalAddress/cbc:BuildingNumber", "12")),
    example("BR-KSA-66", put(f"{SELLER}cac:PostalAddress/cbc:PostalZone", "123456")),
    example("BR-KSA-F-06-C4", put(f"{SELLER}cac:PostalAddress/cbc:StreetName", LONGER)),
    example(
        "BR-KSA-F-06-C6",
        add(f"{SELLER}cac:PostalAddress", f"<cbc:AdditionalStreetName>{LONG}</cbc:AdditionalStreetName>"),
    ),
    example("BR-KSA-F-06-C7", put(f"{SELLER}cac:PostalAddress/cbc:CityName", LONG)),
    example("BR-KSA-F-06-C9", put(f"{SELLER}cac:PostalAddress/cbc:CitySubdivisionName", LONG)),
    example("BR-KSA-42", drop(f"{BUYER}cac:PartyLegalEntity")),
    example("BR-KSA-44", put(f"{BUYER}cac:PartyTaxScheme/cbc:CompanyID", "12345")),
    example("BR-KSA-99", put(f"{BUYER}cac:PartyTaxScheme/cbc:CompanyID", "")),
    example("BR-KSA-81", drop(f"{BUYER}cac:PartyTaxScheme")),
    example("BR-KSA-14", add(BUYER[:-1], identified("12345", "XYZ"))),
    example("BR-KSA-49", put(f"{BUYER}cac:PartyIdentification/cbc:ID/@schemeID", "PAS"), of="private education"),
    example("BR-KSA-25", drop(f"{BUYER}cac:PartyLegalEntity"), of="private education"),
    example("BR-KSA-71", drop(f"{BUYER}cac:PartyLegalEntity"), of="summary, simplified"),
    example("BR-KSA-10", drop(f"{BUYER}cac:PostalAddress")),
    example("BR-KSA-63", drop(f"{BUYER}cac:PostalAddress/cbc:BuildingNumber")),
    example("BR-KSA-67", put(f"{BUYER}cac:PostalAddress/cbc:PostalZone", "123")),
    example("BR-KSA-F-06-C28", drop(f"{BUYER}cac:PostalAddress/cbc:CitySubdivisionName")),
    example("BR-KSA-F-06-C29", put(f"{BUYER}cac:PostalAddress/cbc:CitySubdivisionName", LONG)),
    example("BR-KSA-F-06-C23", put(f"{BUYER}cac:PostalAddress/cbc:StreetName", LONGER)),
    example("BR-KSA-F-06-C24", put(f"{BUYER}cac:PostalAddress/cbc:StreetName", LONGER), put(FLAGS, "0200000")),
    example("BR-KSA-F-06-C25", drop(f"{BUYER}cac:PostalAddress/cbc:CityName")),
    example("BR-KSA-F-06-C26", put(f"{BUYER}cac:PostalAddress/cbc:CityName", LONG)),
    example(
        "BR-KSA-F-06-C11",
        add(f"{BUYER}cac:PostalAddress", f"<cbc:AdditionalStreetName>{LONG}</cbc:AdditionalStreetName>"),
    ),
    example("BR-KSA-F-06-C12", put(f"{BUYER}cac:PartyLegalEntity/cbc:RegistrationName", LONGER)),
    example(
        "BR-KSA-F-06-C32",
        put(f"{BUYER}cac:PartyLegalEntity/cbc:RegistrationName", LONGER),
        of="simplified, named buyer",
    ),
    example("BR-KSA-85", add(BUYER[:-1], contact(Telephone="12345"))),
    example("BR-KSA-F-06-C37", add(BUYER[:-1], contact(Name=LONGER))),
    example("BR-KSA-F-06-C38", add(BUYER[:-1], contact(Note=LONGER))),
    example("BR-KSA-F-08", put(f"{SELLER}cac:PartyIdentification/cbc:ID", "12")),
    example("BR-KSA-F-09", add(BUYER[:-1], identified("1001234567", "700"))),
    example("BR-KSA-F-07", add(BUYER[:-1], identified("1001234567", "TIN"))),
    example("BR-KSA-F-10", add(BUYER[:-1], identified("2001234567", "NAT"))),
    example("BR-KSA-F-11", add(BUYER[:-1], identified("1001234567", "IQA"))),
    example("BR-KSA-F-12", put(f"{SELLER}cac:PartyIdentification/cbc:ID/@schemeID", " CRN")),
    example("BR-KSA-F-13", put(f"{SELLER}cac:PartyIdentification/cbc:ID", "1012345678")),
)

TAX_EXAMPLES: Final = (
    example("BR-KSA-18", put(f"{LINE}cac:Item/cac:ClassifiedTaxCategory/cbc:ID", "K")),
    example("BR-KSA-84", put(f"{LINE}cac:Item/cac:ClassifiedTaxCategory/cbc:Percent", "10")),
    example("BR-KSA-DEC-02", put(f"{LINE}cac:Item/cac:ClassifiedTaxCategory/cbc:Percent", "15.000")),
    example("BR-KSA-11", put(f"{LINE}cac:Item/cac:ClassifiedTaxCategory/cbc:Percent", "5"), of="out of scope"),
    example("BR-KSA-12", put("cac:AllowanceCharge[1]/cac:TaxCategory/cbc:ID", "O"), of=CHARGES),
    example("BR-KSA-13", put("cac:AllowanceCharge[2]/cac:TaxCategory/cbc:ID", "O"), of=CHARGES),
    example("BR-KSA-69", drop(f"{CATEGORY}/cbc:TaxExemptionReasonCode"), of="zero rate"),
    example("BR-KSA-23", drop(f"{CATEGORY}/cbc:TaxExemptionReasonCode"), of="exempt"),
    example("BR-KSA-24", drop(f"{CATEGORY}/cbc:TaxExemptionReasonCode"), of="out of scope"),
    example("BR-KSA-CL-04", put(f"{CATEGORY}/cbc:TaxExemptionReasonCode", "VATEX-SA-29"), of="zero rate"),
    example("BR-KSA-83", drop(f"{CATEGORY}/cbc:TaxExemptionReason"), of="exempt"),
    example("BR-KSA-F-06-C16", put(f"{CATEGORY}/cbc:TaxExemptionReason", LONGER), of="exempt"),
    example("BR-KSA-80", put("cac:LegalMonetaryTotal/cbc:PrepaidAmount", "114.00"), of="prepaid"),
    example("BR-KSA-73", drop("cac:InvoiceLine[3]/cac:DocumentReference/cbc:IssueTime"), of="prepaid"),
    example("BR-KSA-73", drop("cac:InvoiceLine[3]/cac:DocumentReference"), of="prepaid"),
    example("BR-KSA-74", put("cac:InvoiceLine[3]/cac:DocumentReference/cbc:DocumentTypeCode", "388"), of="prepaid"),
    example("BR-KSA-75", drop(f"{PREPAID}/cac:TaxCategory/cbc:Percent"), of="prepaid"),
    example("BR-KSA-82", put("cac:InvoiceLine[3]/cac:Price/cbc:PriceAmount", "1.00"), of="prepaid"),
    example("BR-KSA-82", add("cac:InvoiceLine[3]", charge(of_line=True)), of="prepaid"),
    example("BR-KSA-79", put(f"{PREPAID}/cbc:TaxAmount", "14.00"), of="prepaid"),
    example("BR-KSA-79", *prepaid("Z"), of="prepaid"),
    example("BR-KSA-79", *prepaid("O"), drop(f"{PREPAID}/cac:TaxCategory/cbc:Percent"), of="prepaid"),
    example("BR-KSA-DEC-06", put(f"{PREPAID}/cbc:TaxAmount", "15.000"), of="prepaid"),
    example("BR-KSA-76", put(f"{PREPAID}/cac:TaxCategory/cbc:ID", "Z"), of="prepaid"),
    example("BR-KSA-77", put(f"{PREPAID}/cac:TaxCategory/cbc:ID", "E"), of="prepaid"),
    example("BR-KSA-78", put(f"{PREPAID}/cac:TaxCategory/cbc:ID", "O"), of="prepaid"),
    example("BR-KSA-93", *prepaid("Z"), of="prepaid"),
    example("BR-KSA-94", *prepaid("E"), of="prepaid"),
    example("BR-KSA-95", *prepaid("O"), of="prepaid"),
    example("BR-KSA-96", *prepaid("E", "VATEX-SA-29"), of="prepaid"),
    example("BR-KSA-CL-07", *prepaid("Z", "VATEX-SA-ROYALDECREE", "Decree"), of="prepaid"),
    example("BR-KSA-F-06-C39", *prepaid("E", "VATEX-SA-29", LONGER), of="prepaid"),
)

AMOUNT_EXAMPLES: Final = (
    example("BR-KSA-CL-02", put(f"{LINE}cbc:LineExtensionAmount/@currencyID", "USD")),
    example("BR-KSA-CL-02", put(f"{LINE}cac:TaxTotal/cbc:TaxAmount/@currencyID", "")),
    example("BR-KSA-F-04", put(f"{LINE}cbc:InvoicedQuantity", "-2")),
    example("BR-KSA-F-04", put("cac:TaxTotal/cac:TaxSubtotal/cbc:TaxableAmount", "-340.99")),
    example("BR-KSA-EN16931-08", drop("cac:TaxTotal[1]")),
    example("BR-KSA-EN16931-09", drop("cac:TaxTotal[2]")),
    example("BR-KSA-97", put("cbc:DocumentCurrencyCode", "USD")),
    example("BR-KSA-52", drop(f"{LINE}cac:TaxTotal")),
    example("BR-KSA-53", drop(f"{LINE}cac:TaxTotal/cbc:RoundingAmount")),
    example("BR-KSA-51", put(f"{LINE}cac:TaxTotal/cbc:RoundingAmount", "47.16")),
    example("BR-KSA-EN16931-11", put(f"{LINE}cbc:LineExtensionAmount", "41.02")),
    example("BR-KSA-DEC-03", put(f"{LINE}cac:TaxTotal/cbc:TaxAmount", "6.150")),
    example("BR-KSA-DEC-04", put(f"{LINE}cac:TaxTotal/cbc:RoundingAmount", "47.150")),
    example("BR-KSA-EN16931-12", add(PRICE, "<cbc:BaseQuantity>-1</cbc:BaseQuantity>")),
    example("BR-KSA-F-06-C21", add(PRICE, f'<cbc:BaseQuantity unitCode="{LONG}">1</cbc:BaseQuantity>')),
    example("BR-KSA-EN16931-06", add(PRICE, PRICE_ALLOWANCE.format("true", "21.50"))),
    example("BR-KSA-EN16931-07", add(PRICE, PRICE_ALLOWANCE.format("false", "30.00"))),
    example("BR-KSA-EN16931-03", put(f"{LINE}cac:AllowanceCharge/cbc:Amount", "4.20"), of=CHARGES),
    example("BR-KSA-EN16931-04", drop(f"{LINE}cac:AllowanceCharge/cbc:BaseAmount"), of=CHARGES),
    example("BR-KSA-EN16931-05", drop(f"{LINE}cac:AllowanceCharge/cbc:MultiplierFactorNumeric"), of=CHARGES),
    example("BR-KSA-DEC-01", put(f"{LINE}cac:AllowanceCharge/cbc:MultiplierFactorNumeric", "10.000"), of=CHARGES),
    example("BR-KSA-CL-06", put("cac:AllowanceCharge[2]/cbc:AllowanceChargeReasonCode", "QQ"), of=CHARGES),
    example("BR-KSA-19", drop("cac:AllowanceCharge[2]/cbc:AllowanceChargeReasonCode"), of=CHARGES),
    example("BR-KSA-21", drop("cac:AllowanceCharge[2]/cbc:AllowanceChargeReason"), of=CHARGES),
    example("BR-KSA-20", drop(f"{LINE}cac:AllowanceCharge[2]/cbc:AllowanceChargeReasonCode"), of=CHARGES),
    example("BR-KSA-22", drop(f"{LINE}cac:AllowanceCharge[2]/cbc:AllowanceChargeReason"), of=CHARGES),
    example("BR-KSA-F-06-C33", put("cac:AllowanceCharge[2]/cbc:AllowanceChargeReason", LONGER), of=CHARGES),
    example("BR-KSA-F-06-C34", put(f"{LINE}cac:AllowanceCharge[2]/cbc:AllowanceChargeReason", LONGER), of=CHARGES),
    example("BR-KSA-F-06-C35", put("cac:AllowanceCharge[1]/cbc:AllowanceChargeReason", LONGER), of=CHARGES),
    example("BR-KSA-F-06-C36", put(f"{LINE}cac:AllowanceCharge[1]/cbc:AllowanceChargeReason", LONGER), of=CHARGES),
)

ASSIGNED_EXAMPLES: Final = (
    example("BR-KSA-33", of="standard"),
    example("BR-KSA-34", put("cac:AdditionalDocumentReference[1]/cbc:UUID", "A-10")),
    example("BR-KSA-61", of="standard"),
    example("BR-KSA-26", put("cac:AdditionalDocumentReference[2]/cac:Attachment/cbc:EmbeddedDocumentBinaryObject", "")),
    example("BR-KSA-27", of=SIMPLE),
    example("BR-CL-KSA-14", add("", attached("QR", "QUJD" * 251)), of=SIMPLE),
    example("BR-KSA-60", of=SIMPLE),
    example("BR-KSA-28", add("", attached("QR")), of=SIMPLE),
    example("BR-KSA-29", add("", attached("QR")), of=SIMPLE),
    example("BR-KSA-30", add("", attached("QR")), of=SIMPLE),
)

EXAMPLES: Final = (*DOCUMENT_EXAMPLES, *PARTY_EXAMPLES, *TAX_EXAMPLES, *AMOUNT_EXAMPLES, *ASSIGNED_EXAMPLES)
