"""ZATCA's edition of EN 16931, rule by rule: what breaks each, where it is told, and that the oracle says the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import cache

import fatoora
import pytest
from lxml import etree
from zatca_documents import EXEMPT, SAMPLES, STANDARD, STANDARD_RATE, TEA, ZERO_RATE
from zatca_mutants import NOW, verdict

from invora_grpc.zatca import codes, rules_en
from invora_grpc.zatca.checking import SCHEMA_RULE, check
from invora_grpc.zatca.document import Allowance, Document
from invora_grpc.zatca.ubl import to_xml

NAMES = {
    "cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
    "cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
}
Break = Callable[[etree._Element], None]

TEN = Allowance(Decimal("10.00"), "Discount", "95", tax=STANDARD_RATE)
FEE = Allowance(Decimal("10.00"), "Freight", "FC", charge=True, tax=STANDARD_RATE)
DOCUMENTS: dict[str, Document] = SAMPLES | {
    "allowances of all categories": replace(
        STANDARD,
        lines=tuple(replace(TEA, tax=tax) for tax in (STANDARD_RATE, ZERO_RATE, EXEMPT)),
        allowances=tuple(replace(TEN, tax=tax) for tax in (STANDARD_RATE, ZERO_RATE, EXEMPT)),
    ),
    "zero rated charge": replace(
        STANDARD, lines=(replace(TEA, tax=ZERO_RATE),), allowances=(replace(FEE, tax=ZERO_RATE),)
    ),
    "exempt charge": replace(STANDARD, lines=(replace(TEA, tax=EXEMPT),), allowances=(replace(FEE, tax=EXEMPT),)),
}


def at(root: etree._Element, path: str) -> etree._Element:
    """The first element at an XPath."""
    found = root.xpath(path, namespaces=NAMES)
    assert isinstance(found, list)
    assert isinstance(found[0], etree._Element), path
    return found[0]


def removing(path: str) -> Break:
    def change(root: etree._Element) -> None:
        while root.xpath(path, namespaces=NAMES):
            element = at(root, path)
            parent = element.getparent()
            assert parent is not None
            parent.remove(element)

    return change


def writing(path: str, text: str) -> Break:
    def change(root: etree._Element) -> None:
        at(root, path).text = text

    return change


def adding(path: str, amount: str) -> Break:
    """Adds to the number at the path."""

    def change(root: etree._Element) -> None:
        element = at(root, path)
        element.text = str(Decimal(element.text or "") + Decimal(amount))

    return change


def marking(path: str, name: str, value: str) -> Break:
    def change(root: etree._Element) -> None:
        at(root, path).set(name, value)

    return change


def inserting(path: str, snippet: str) -> Break:
    """Puts new elements after the one at the path."""

    def change(root: etree._Element) -> None:
        declared = " ".join(f'xmlns:{prefix}="{name}"' for prefix, name in NAMES.items())
        for element in reversed([*etree.fromstring(f"<new {declared}>{snippet}</new>")]):
            at(root, path).addnext(element)

    return change


SELLER = "cac:AccountingSupplierParty/cac:Party"
BUYER = "cac:AccountingCustomerParty/cac:Party"
TOTAL = "cac:LegalMonetaryTotal"
SUBTOTAL = "cac:TaxTotal/cac:TaxSubtotal"
LINE = "cac:InvoiceLine"
NAME = f"{LINE}/cac:Item/cbc:Name"
CATEGORY = f"{LINE}/cac:Item/cac:ClassifiedTaxCategory"
ALLOWANCE = "cac:AllowanceCharge[cbc:ChargeIndicator='false']"
CHARGE = "cac:AllowanceCharge[cbc:ChargeIndicator='true']"
BASE = '<cbc:BaseAmount currencyID="SAR">10.001</cbc:BaseAmount>'


def of(code: str) -> str:
    """The path of the breakdown of a category."""
    return f"{SUBTOTAL}[cac:TaxCategory/cbc:ID='{code}']"


def relabelled(code: str, tag: str) -> Break:
    """Takes a category's breakdown away by giving it another code."""
    return writing(f"{of(code)}/cac:TaxCategory/cbc:ID", tag)


def lines_of(code: str) -> str:
    return f"{CATEGORY}[cbc:ID='{code}']"


BREAKS: list[tuple[str, str, str, Break]] = [
    ("BR-02", "warning", "standard", writing("cbc:ID", "")),
    ("BR-03", "error", "standard", removing("cbc:IssueDate")),
    ("BR-04", "error", "standard", removing("cbc:InvoiceTypeCode")),
    ("BR-05", "error", "standard", removing("cbc:DocumentCurrencyCode")),
    ("BR-06", "warning", "standard", writing(f"{SELLER}/cac:PartyLegalEntity/cbc:RegistrationName", "")),
    ("BR-08", "warning", "standard", removing(f"{SELLER}/cac:PostalAddress")),
    ("BR-09", "warning", "standard", writing(f"{SELLER}//cbc:IdentificationCode", "")),
    ("BR-13", "warning", "standard", removing(f"{TOTAL}/cbc:TaxExclusiveAmount")),
    ("BR-14", "error", "standard", removing(f"{TOTAL}/cbc:TaxInclusiveAmount")),
    ("BR-15", "error", "standard", removing(f"{TOTAL}/cbc:PayableAmount")),
    ("BR-16", "error", "standard", removing(LINE)),
    ("BR-21", "warning", "standard", writing(f"{LINE}/cbc:ID", "")),
    ("BR-22", "error", "standard", writing(f"{LINE}/cbc:InvoicedQuantity", "0")),
    ("BR-22", "error", "standard", removing(f"{LINE}/cbc:InvoicedQuantity")),
    ("BR-24", "error", "standard", removing(f"{LINE}/cbc:LineExtensionAmount")),
    ("BR-25", "warning", "standard", writing(NAME, "")),
    ("BR-26", "error", "standard", removing(f"{LINE}/cac:Price/cbc:PriceAmount")),
    ("BR-31", "error", "allowances", removing(f"{ALLOWANCE}/cbc:Amount")),
    ("BR-32", "error", "allowances", removing(f"{ALLOWANCE}/cac:TaxCategory/cbc:ID")),
    ("BR-36", "warning", "allowances", removing(f"{CHARGE}/cbc:Amount")),
    ("BR-37", "warning", "allowances", removing(f"{CHARGE}/cac:TaxCategory/cbc:ID")),
    ("BR-43", "warning", "allowances", removing(f"{LINE}/{CHARGE}/cbc:Amount")),
    ("BR-45", "error", "standard", removing(f"{SUBTOTAL}/cbc:TaxableAmount")),
    ("BR-46", "error", "standard", removing(f"{SUBTOTAL}/cbc:TaxAmount")),
    ("BR-47", "error", "standard", removing(f"{SUBTOTAL}/cac:TaxCategory/cbc:ID")),
    ("BR-47", "error", "standard", writing(f"{SUBTOTAL}/cac:TaxCategory/cac:TaxScheme/cbc:ID", "GST")),
    ("BR-48", "error", "standard", removing(f"{SUBTOTAL}/cac:TaxCategory/cbc:Percent")),
    ("BR-49", "warning", "standard", removing("cac:PaymentMeans/cbc:PaymentMeansCode")),
    ("BR-52", "warning", "assigned", writing("cac:AdditionalDocumentReference/cbc:ID", "")),
    ("BR-53", "warning", "standard", marking("cac:TaxTotal[not(cac:TaxSubtotal)]/cbc:TaxAmount", "currencyID", "USD")),
    (
        "BR-54",
        "error",
        "standard",
        inserting(NAME, "<cac:AdditionalItemProperty><cbc:Name>Colour</cbc:Name></cac:AdditionalItemProperty>"),
    ),
    ("BR-55", "error", "credit note on standard", writing("cac:BillingReference//cbc:ID", "")),
    ("BR-CO-04", "error", "standard", removing(f"{CATEGORY}/cbc:ID")),
    ("BR-CO-10", "warning", "standard", adding(f"{TOTAL}/cbc:LineExtensionAmount", "0.01")),
    ("BR-CO-11", "error", "allowances", adding(f"{TOTAL}/cbc:AllowanceTotalAmount", "0.01")),
    ("BR-CO-11", "error", "allowances", removing(f"{TOTAL}/cbc:AllowanceTotalAmount")),
    ("BR-CO-12", "error", "allowances", adding(f"{TOTAL}/cbc:ChargeTotalAmount", "0.01")),
    ("BR-CO-13", "warning", "allowances", adding(f"{TOTAL}/cbc:TaxExclusiveAmount", "0.01")),
    ("BR-CO-13", "warning", "standard", adding(f"{TOTAL}/cbc:TaxExclusiveAmount", "0.01")),
    ("BR-CO-14", "error", "standard", adding("cac:TaxTotal[cac:TaxSubtotal]/cbc:TaxAmount", "0.01")),
    ("BR-CO-15", "error", "standard", adding(f"{TOTAL}/cbc:TaxInclusiveAmount", "0.01")),
    ("BR-CO-16", "warning", "standard", adding(f"{TOTAL}/cbc:PayableAmount", "0.01")),
    ("BR-CO-16", "warning", "rounded", adding(f"{TOTAL}/cbc:PayableRoundingAmount", "0.01")),
    ("BR-CO-16", "warning", "prepaid", adding(f"{TOTAL}/cbc:PrepaidAmount", "0.01")),
    ("BR-CO-17", "warning", "standard", adding(f"{SUBTOTAL}/cbc:TaxAmount", "0.03")),
    ("BR-CO-18", "error", "standard", removing(SUBTOTAL)),
    ("BR-DEC-01", "warning", "allowances", writing(f"{ALLOWANCE}/cbc:Amount", "10.000")),
    ("BR-DEC-02", "warning", "allowances", inserting(f"{ALLOWANCE}/cbc:Amount", BASE)),
    ("BR-DEC-05", "warning", "allowances", writing(f"{CHARGE}/cbc:Amount", "25.500")),
    ("BR-DEC-06", "warning", "allowances", inserting(f"{CHARGE}/cbc:Amount", BASE)),
    ("BR-DEC-09", "warning", "standard", adding(f"{TOTAL}/cbc:LineExtensionAmount", "0.000")),
    ("BR-DEC-10", "warning", "allowances", adding(f"{TOTAL}/cbc:AllowanceTotalAmount", "0.000")),
    ("BR-DEC-11", "warning", "allowances", adding(f"{TOTAL}/cbc:ChargeTotalAmount", "0.000")),
    ("BR-DEC-12", "warning", "standard", adding(f"{TOTAL}/cbc:TaxExclusiveAmount", "0.000")),
    ("BR-DEC-13", "warning", "standard", adding("cac:TaxTotal[cac:TaxSubtotal]/cbc:TaxAmount", "0.000")),
    ("BR-DEC-14", "warning", "standard", adding(f"{TOTAL}/cbc:TaxInclusiveAmount", "0.000")),
    ("BR-DEC-15", "warning", "foreign currency", adding("cac:TaxTotal[not(cac:TaxSubtotal)]/cbc:TaxAmount", "0.000")),
    ("BR-DEC-16", "warning", "prepaid", adding(f"{TOTAL}/cbc:PrepaidAmount", "0.000")),
    ("BR-DEC-17", "warning", "rounded", adding(f"{TOTAL}/cbc:PayableRoundingAmount", "0.000")),
    ("BR-DEC-18", "warning", "standard", adding(f"{TOTAL}/cbc:PayableAmount", "0.000")),
    ("BR-DEC-19", "warning", "standard", adding(f"{SUBTOTAL}/cbc:TaxableAmount", "0.000")),
    ("BR-DEC-20", "warning", "standard", adding(f"{SUBTOTAL}/cbc:TaxAmount", "0.000")),
    ("BR-DEC-23", "warning", "standard", adding(f"{LINE}/cbc:LineExtensionAmount", "0.000")),
    ("BR-DEC-27", "warning", "allowances", adding(f"{LINE}/{CHARGE}/cbc:Amount", "0.000")),
    ("BR-DEC-28", "warning", "allowances", inserting(f"{LINE}/{CHARGE}/cbc:Amount", BASE)),
    ("BR-S-01", "warning", "standard", relabelled("S", "Z")),
    ("BR-S-05", "warning", "standard", writing(f"{CATEGORY}/cbc:Percent", "0")),
    ("BR-S-06", "error", "allowances", writing(f"{ALLOWANCE}/cac:TaxCategory/cbc:Percent", "0")),
    ("BR-S-07", "warning", "allowances", writing(f"{CHARGE}/cac:TaxCategory/cbc:Percent", "0")),
    ("BR-S-08", "warning", "standard", adding(f"{SUBTOTAL}/cbc:TaxableAmount", "0.01")),
    ("BR-S-09", "warning", "standard", adding(f"{SUBTOTAL}/cbc:TaxAmount", "0.03")),
    (
        "BR-S-10",
        "warning",
        "standard",
        inserting(f"{SUBTOTAL}/cac:TaxCategory/cbc:Percent", "<cbc:TaxExemptionReason>Why</cbc:TaxExemptionReason>"),
    ),
    ("BR-Z-01", "warning", "zero rate", relabelled("Z", "S")),
    ("BR-Z-05", "error", "all categories", writing(f"{lines_of('Z')}/cbc:Percent", "15")),
    ("BR-Z-06", "error", "allowances of all categories", writing(f"{ALLOWANCE}[2]/cac:TaxCategory/cbc:Percent", "5")),
    ("BR-Z-07", "error", "zero rated charge", writing(f"{CHARGE}/cac:TaxCategory/cbc:Percent", "5")),
    ("BR-Z-08", "warning", "all categories", adding(f"{of('Z')}/cbc:TaxableAmount", "0.01")),
    ("BR-Z-09", "error", "all categories", writing(f"{of('Z')}/cbc:TaxAmount", "0.01")),
    ("BR-E-01", "warning", "exempt", relabelled("E", "S")),
    ("BR-E-05", "error", "all categories", writing(f"{lines_of('E')}/cbc:Percent", "15")),
    ("BR-E-06", "error", "allowances of all categories", writing(f"{ALLOWANCE}[3]/cac:TaxCategory/cbc:Percent", "5")),
    ("BR-E-07", "error", "exempt charge", writing(f"{CHARGE}/cac:TaxCategory/cbc:Percent", "5")),
    ("BR-E-08", "warning", "all categories", adding(f"{of('E')}/cbc:TaxableAmount", "0.01")),
    ("BR-E-09", "error", "all categories", writing(f"{of('E')}/cbc:TaxAmount", "0.01")),
    ("BR-O-01", "warning", "out of scope", relabelled("O", "S")),
    ("BR-O-08", "warning", "all categories", adding(f"{of('O')}/cbc:TaxableAmount", "0.01")),
    ("BR-O-09", "error", "all categories", writing(f"{of('O')}/cbc:TaxAmount", "0.01")),
    ("BR-CL-01", "error", "standard", writing("cbc:InvoiceTypeCode", "999")),
    ("BR-CL-03", "error", "standard", marking(f"{LINE}/cac:Price/cbc:PriceAmount", "currencyID", "MRU")),
    ("BR-CL-04", "error", "standard", writing("cbc:DocumentCurrencyCode", "sar")),
    ("BR-CL-05", "error", "standard", writing("cbc:TaxCurrencyCode", "SR")),
    ("BR-CL-14", "warning", "standard", writing(f"{BUYER}//cbc:IdentificationCode", "KSA")),
    ("BR-CL-16", "warning", "standard", writing("cac:PaymentMeans/cbc:PaymentMeansCode", "71")),
    ("BR-CL-18", "error", "standard", writing(f"{CATEGORY}/cbc:ID", "X")),
    ("BR-KSA-F-06-C1", "warning", "standard", writing("cbc:ID", "N" * 128)),
    ("BR-KSA-F-06-C2", "warning", "arabic", writing("cbc:Note", "ن" * 1001)),
    (
        "BR-KSA-F-06-C8",
        "warning",
        "standard",
        inserting(f"{SELLER}//cbc:PostalZone", f"<cbc:CountrySubentity>{'P' * 128}</cbc:CountrySubentity>"),
    ),
    (
        "BR-KSA-F-06-C10",
        "warning",
        "standard",
        writing(f"{SELLER}/cac:PartyLegalEntity/cbc:RegistrationName", "س" * 1001),
    ),
    ("BR-KSA-F-06-C17", "error", "standard", writing(f"{LINE}/cbc:ID", "1234567")),
    (
        "BR-KSA-F-06-C18",
        "warning",
        "standard",
        marking(f"{LINE}/cbc:InvoicedQuantity", "unitCode", "U" * 128),
    ),
    ("BR-KSA-F-06-C19", "warning", "standard", writing(NAME, "ab")),
    (
        "BR-KSA-F-06-C20",
        "warning",
        "standard",
        inserting(
            NAME,
            f"<cac:StandardItemIdentification><cbc:ID>{'1' * 128}</cbc:ID></cac:StandardItemIdentification>",
        ),
    ),
    (
        "BR-KSA-F-06-C27",
        "warning",
        "standard",
        inserting(f"{BUYER}//cbc:PostalZone", f"<cbc:CountrySubentity>{'P' * 128}</cbc:CountrySubentity>"),
    ),
    (
        "BR-KSA-F-06-C30",
        "warning",
        "standard",
        inserting(NAME, f"<cac:BuyersItemIdentification><cbc:ID>{'1' * 128}</cbc:ID></cac:BuyersItemIdentification>"),
    ),
    (
        "BR-KSA-F-06-C31",
        "warning",
        "standard",
        inserting(NAME, f"<cac:SellersItemIdentification><cbc:ID>{'1' * 128}</cbc:ID></cac:SellersItemIdentification>"),
    ),
    ("BR-KSA-F-C-01", "warning", "standard", writing(NAME, "٠١٢٣")),
]


@cache
def xml_of(name: str) -> bytes:
    return to_xml(DOCUMENTS[name])


def broken(name: str, change: Break) -> str:
    root = etree.fromstring(xml_of(name))
    change(root)
    return etree.tostring(root, encoding="unicode")


@pytest.mark.parametrize(
    ("rule", "severity", "name", "change"),
    BREAKS,
    ids=[f"{index}-{case[0]}" for index, case in enumerate(BREAKS)],
)
def test_a_broken_rule_is_told_with_its_severity_and_its_place(
    rule: str, severity: str, name: str, change: Break
) -> None:
    assert all(finding.rule != rule for finding in check(xml_of(name), now=NOW))

    xml = broken(name, change)
    findings = check(xml.encode(), now=NOW)

    told = [finding for finding in findings if finding.rule == rule]
    assert told
    assert {finding.severity for finding in told} == {severity}
    assert all(finding.place.startswith("/ubl:Invoice") and "\n" not in finding.text for finding in told)
    if all(finding.rule != SCHEMA_RULE for finding in findings):
        assert (rule, severity) in verdict(xml).findings


def test_every_rule_has_a_document_here_that_breaks_it() -> None:
    assert {rule.id for rule in rules_en.BOOK.rules} == {case[0] for case in BREAKS}


def test_every_rule_of_the_oracles_sheet_is_known_or_silent() -> None:
    report = fatoora.validate_zatca_invoice_from_str(
        fatoora.Config(fatoora.Environment.NON_PRODUCTION), xml_of("standard").decode(), evaluated_at=NOW.isoformat()
    )
    sheet = next(stage for stage in report["stages"] if stage["stage"] == "cen")["evaluated_assertions"]
    ids = {assertion.split(":")[2] for assertion in sheet}
    assert len(sheet) == 105
    assert ids == {rule.id for rule in rules_en.BOOK.rules} | rules_en.SILENT


@pytest.mark.parametrize("change", [removing, lambda path: writing(path, "4.1000")], ids=["no amount", "too fine"])
def test_allowances_on_lines_are_never_told_as_zatca_never_tells_them(change: Callable[[str], Break]) -> None:
    xml = broken("allowances", change(f"{LINE}/{ALLOWANCE}/cbc:Amount"))
    assert not {finding.rule for finding in check(xml.encode(), now=NOW)} & rules_en.SILENT
    assert not {rule for rule, _ in verdict(xml).findings} & rules_en.SILENT


@pytest.mark.parametrize("name", sorted(set(DOCUMENTS) - set(SAMPLES)))
def test_allowances_and_charges_of_all_categories_break_no_rule(name: str) -> None:
    assert not [finding for finding in check(xml_of(name), now=NOW) if not finding.assigned]


def test_a_place_leads_to_the_line_that_is_wrong() -> None:
    xml = broken("standard", writing(f"{LINE}[2]/cac:Item/cbc:Name", ""))
    places = [finding.place for finding in check(xml.encode(), now=NOW) if finding.rule == "BR-25"]
    assert places == ["/ubl:Invoice/cac:InvoiceLine[2]"]


@pytest.mark.parametrize(("off", "told"), [("0.01", False), ("0.02", False), ("0.03", True), ("-0.02", False)])
def test_a_breakdowns_tax_may_be_off_by_a_cent_a_line(off: str, told: bool) -> None:
    xml = broken("standard", adding(f"{SUBTOTAL}/cbc:TaxAmount", off))
    assert ("BR-CO-17" in {finding.rule for finding in check(xml.encode(), now=NOW)}) is told
    assert ("BR-CO-17" in {rule for rule, _ in verdict(xml).findings}) is told


@pytest.mark.parametrize("amount", ["9" * 60, "0." + "1" * 60, "-" + "9" * 60])
def test_monstrous_amounts_are_findings_and_no_crash(amount: str) -> None:
    xml = broken("allowances", writing(f"{LINE}/cbc:LineExtensionAmount", amount))
    assert "BR-CO-10" in {finding.rule for finding in check(xml.encode(), now=NOW)}


@pytest.mark.parametrize(
    ("path", "codes_of"),
    [
        ("cbc:DocumentCurrencyCode", codes.CURRENCIES),
        (f"{BUYER}//cbc:IdentificationCode", codes.COUNTRIES),
        ("cac:PaymentMeans/cbc:PaymentMeansCode", codes.PAYMENT_MEANS_EN),
        ("cbc:InvoiceTypeCode", codes.DOCUMENT_TYPES),
    ],
)
def test_a_list_has_the_codes_that_the_oracle_takes(path: str, codes_of: frozenset[str]) -> None:
    """A sample of each list, and codes that are in none."""
    rules = {"BR-CL-01", "BR-CL-04", "BR-CL-14", "BR-CL-16"}
    for code in [*sorted(codes_of)[::12], "QQQ", "00"]:
        told = {rule for rule, _ in verdict(broken("standard", writing(path, code))).findings} & rules
        assert bool(told) is (code not in codes_of)
