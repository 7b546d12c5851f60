"""ZATCA's own rules about seller and buyer: identification, VAT numbers, addresses, names, contact.

Ids and severities are those of ZATCA's SDK R3.4.8; the words are this project's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from invora_grpc.zatca.engine import Invoice, Node, Rulebook, lengths, trimmed

__all__ = ["BOOK"]

BOOK: Final = Rulebook()

_SELLER_SCHEMES: Final = frozenset(("CRN", "MOM", "MLS", "SAG", "OTH", "700"))
_BUYER_SCHEMES: Final = _SELLER_SCHEMES | {"TIN", "NAT", "IQA", "PAS", "GCC"}
_VAT_NUMBER: Final = re.compile(r"3[0-9]{13}3").fullmatch
_POSTAL_CODE: Final = re.compile(r"[0-9]{5}").fullmatch
_BUILDING: Final = re.compile(r"[0-9]{4}").fullmatch
_PHONE: Final = re.compile(r"[0+][0-9]{4,15}").fullmatch
_IDENTIFIERS: Final = {
    "CRN": re.compile(r"[0-9]{10}").fullmatch,
    "700": re.compile(r"7[0-9]{9}").fullmatch,
    "TIN": re.compile(r"3[0-9]{9}").fullmatch,
    "NAT": re.compile(r"1[0-9]{9}").fullmatch,
    "IQA": re.compile(r"2[0-9]{9}").fullmatch,
}
_RUNS: Final = (
    *("0123456789"[start : start + 8] for start in range(3)),
    *("9876543210"[start : start + 8] for start in range(3)),
    *(digit * 8 for digit in "0123456789"),
)
"""Eight digits in a row that nobody was given: counted up, counted down, all the same."""
_EDUCATION_AND_HEALTH: Final = ("VATEX-SA-EDU", "VATEX-SA-HEA")


# --- the seller ----------------------------------------------------------------------------------------------------


@BOOK.rule(
    "BR-KSA-08",
    "the seller needs exactly one other identifier, of scheme CRN, MOM, MLS, SAG, OTH or 700: correct "
    "cac:PartyIdentification",
    severity="warning",
)
def seller_without_identifier(invoice: Invoice) -> Iterator[Node]:
    found = _identifiers(invoice.seller)
    if len(found) != 1 or _scheme(found[0]) not in _SELLER_SCHEMES:
        yield invoice.seller or invoice.root


@BOOK.rule(
    "BR-KSA-39", "the seller's VAT number is missing: add cac:PartyTaxScheme with cbc:CompanyID and the scheme VAT"
)
def seller_without_vat_number(invoice: Invoice) -> Iterator[Node]:
    schemes = invoice.seller.all("cac:PartyTaxScheme", "cac:TaxScheme", "cbc:ID") if invoice.seller else []
    if not (any(node.text for node in _vat_numbers(invoice.seller)) and any(trimmed(s.text) == "VAT" for s in schemes)):
        yield invoice.seller or invoice.root


@BOOK.rule("BR-KSA-40", "the seller's VAT number must have 15 digits, the first and the last a 3: correct it")
def malformed_seller_vat_number(invoice: Invoice) -> Iterator[Node]:
    schemes = invoice.seller.all("cac:PartyTaxScheme", "cac:TaxScheme", "cbc:ID") if invoice.seller else []
    if any(scheme.text == "VAT" for scheme in schemes):
        yield from (node for node in _vat_numbers(invoice.seller) if not _VAT_NUMBER(node.text))


@BOOK.rule(
    "BR-CUSTOM-VALIDATION-01", "seller and buyer have the same VAT number: nobody invoices themselves; correct one"
)
def seller_is_buyer(invoice: Invoice) -> Iterator[Node]:
    sellers = {node.text for node in _vat_numbers(invoice.seller)} - {""}
    yield from (node for node in _vat_numbers(invoice.buyer)[:1] if node.text in sellers)


@BOOK.rule(
    "BR-KSA-09",
    "the seller's address needs street, building number, district, city, postal code and country: add what is missing",
    severity="warning",
)
def incomplete_seller_address(invoice: Invoice) -> Iterator[Node]:
    names = ("StreetName", "BuildingNumber", "CityName", "PostalZone", "CitySubdivisionName")
    for node in _addresses(invoice.seller):
        if not (
            all(f"cbc:{name}" in node.children for name in names) and node.all("cac:Country", "cbc:IdentificationCode")
        ):
            yield node


@BOOK.rule("BR-KSA-37", "the seller's building number must have 4 digits: correct it", severity="warning")
def bad_seller_building(invoice: Invoice) -> Iterator[Node]:
    if invoice.seller is not None and not _BUILDING(invoice.seller.value("cac:PostalAddress", "cbc:BuildingNumber")):
        yield invoice.seller


@BOOK.rule("BR-KSA-66", "the seller's postal code must have 5 digits: correct it", severity="warning")
def bad_seller_postal_code(invoice: Invoice) -> Iterator[Node]:
    yield from (node for node in _addresses(invoice.seller) if not _POSTAL_CODE(node.value("cbc:PostalZone")))


@BOOK.rule("BR-KSA-F-06-C4", "the seller's street must have 1 to 1,000 characters: correct it", severity="warning")
def seller_street_of_another_length(invoice: Invoice) -> Iterable[Node]:
    return lengths(_of_address(invoice.seller, "cbc:StreetName"), 1, 1000)


@BOOK.rule(
    "BR-KSA-F-06-C6", "the seller's additional street has more than 127 characters: shorten it", severity="warning"
)
def long_seller_additional_street(invoice: Invoice) -> Iterable[Node]:
    return lengths(_of_address(invoice.seller, "cbc:AdditionalStreetName"), 0, 127)


@BOOK.rule("BR-KSA-F-06-C7", "the seller's city must have 1 to 127 characters: correct it", severity="warning")
def seller_city_of_another_length(invoice: Invoice) -> Iterable[Node]:
    return lengths(_of_address(invoice.seller, "cbc:CityName"), 1, 127)


@BOOK.rule("BR-KSA-F-06-C9", "the seller's district must have 1 to 127 characters: correct it", severity="warning")
def seller_district_of_another_length(invoice: Invoice) -> Iterable[Node]:
    # ZATCA looks at it only where the buyer is in Saudi Arabia.
    return lengths(_of_address(invoice.seller, "cbc:CitySubdivisionName"), 1, 127) if _countries(invoice) else ()


# --- the buyer -----------------------------------------------------------------------------------------------------


@BOOK.rule("BR-KSA-42", "a standard document needs the buyer's name: add cac:PartyLegalEntity", severity="warning")
def buyer_without_name(invoice: Invoice) -> Iterator[Node]:
    if invoice.is_standard and invoice.buyer is not None and not any(node.text for node in _names(invoice)):
        yield invoice.buyer


@BOOK.rule("BR-KSA-44", "the buyer's VAT number must have 15 digits, the first and the last a 3: correct it")
def malformed_buyer_vat_number(invoice: Invoice) -> Iterator[Node]:
    yield from (node for node in _vat_numbers(invoice.buyer) if node.text and not _VAT_NUMBER(node.text))


@BOOK.rule("BR-KSA-99", "the buyer's VAT number is empty: fill it, or leave the element out", severity="warning")
def empty_buyer_vat_number(invoice: Invoice) -> Iterator[Node]:
    if invoice.is_standard:
        yield from (node for node in _vat_numbers(invoice.buyer) if not trimmed(node.text))


@BOOK.rule(
    "BR-KSA-81",
    "a buyer of a standard document without VAT number needs another identifier: add cac:PartyIdentification",
    severity="warning",
)
def unidentified_buyer(invoice: Invoice) -> Iterator[Node]:
    identifiers = (*_vat_numbers(invoice.buyer), *(node for node in _identifiers(invoice.buyer) if trimmed(node.text)))
    if invoice.is_standard and not identifiers:
        yield invoice.buyer or invoice.root


@BOOK.rule(
    "BR-KSA-14", "the scheme of the buyer's identifier is none that ZATCA takes: use e.g. CRN, NAT, IQA, PAS or OTH"
)
def unknown_buyer_scheme(invoice: Invoice) -> Iterator[Node]:
    yield from (node for node in _identifiers(invoice.buyer) if _scheme(node) not in _BUYER_SCHEMES)


@BOOK.rule(
    "BR-KSA-49", "private education and health care at zero rate want the buyer's national ID: add it, scheme NAT"
)
def no_national_id(invoice: Invoice) -> Iterator[Node]:
    if not any(node.attributes.get("schemeID") == "NAT" for node in _identifiers(invoice.buyer)):
        for node in _exemption_codes(invoice):
            if node.text in _EDUCATION_AND_HEALTH:
                yield node


@BOOK.rule(
    "BR-KSA-25", "private education and health care at zero rate want the buyer's name: add it", severity="warning"
)
def no_name_of_the_citizen(invoice: Invoice) -> Iterator[Node]:
    codes = {node.text for node in _exemption_codes(invoice)}
    has_name = any(node.text for node in _names(invoice))
    if invoice.type_name[:2] == "02" and codes and codes <= {*_EDUCATION_AND_HEALTH, ""} and not has_name:
        yield invoice.buyer or invoice.root


@BOOK.rule("BR-KSA-71", "a simplified summary needs the buyer's name: add cac:PartyLegalEntity", severity="warning")
def summary_without_name(invoice: Invoice) -> Iterator[Node]:
    has_name = any(trimmed(node.text) for node in _names(invoice))
    if invoice.type_name[:2] == "02" and invoice.is_simplified_summary and not has_name:
        yield invoice.buyer or invoice.root


@BOOK.rule("BR-KSA-10", "the buyer's address needs street, city and country: add what is missing", severity="warning")
def incomplete_buyer_address(invoice: Invoice) -> Iterator[Node]:
    if invoice.is_standard:
        country = _of_address(invoice.buyer, "cac:Country", "cbc:IdentificationCode")
        wanted = [_of_address(invoice.buyer, "cbc:StreetName"), _of_address(invoice.buyer, "cbc:CityName"), country]
        if not all(any(node.text for node in nodes) for nodes in wanted):
            yield invoice.buyer or invoice.root


@BOOK.rule(
    "BR-KSA-63",
    "a buyer in Saudi Arabia needs street, building number, district, city and postal code: add what is missing",
    severity="warning",
)
def incomplete_saudi_address(invoice: Invoice) -> Iterator[Node]:
    names = ("StreetName", "BuildingNumber", "PostalZone", "CityName", "CitySubdivisionName")
    found = (_of_address(invoice.buyer, f"cbc:{name}") for name in names)
    if invoice.is_standard and not all(any(trimmed(node.text) for node in nodes) for nodes in found):
        yield from _countries(invoice)


@BOOK.rule("BR-KSA-67", "the postal code of a buyer in Saudi Arabia must have 5 digits: correct it", severity="warning")
def bad_buyer_postal_code(invoice: Invoice) -> Iterator[Node]:
    codes = _of_address(invoice.buyer, "cbc:PostalZone")
    if invoice.is_standard and not (codes and _POSTAL_CODE(codes[0].text)):
        yield from _countries(invoice)


@BOOK.rule("BR-KSA-F-06-C28", "the buyer's district is missing: add cbc:CitySubdivisionName", severity="warning")
def no_buyer_district(invoice: Invoice) -> Iterator[Node]:
    if invoice.is_standard and not any(node.text for node in _of_address(invoice.buyer, "cbc:CitySubdivisionName")):
        yield from _countries(invoice)


@BOOK.rule("BR-KSA-F-06-C29", "the buyer's district has more than 127 characters: shorten it", severity="warning")
def long_buyer_district(invoice: Invoice) -> Iterable[Node]:
    if not (invoice.is_standard and _countries(invoice)):
        return ()
    return lengths(_of_address(invoice.buyer, "cbc:CitySubdivisionName"), 0, 127)


@BOOK.rule("BR-KSA-F-06-C23", "the buyer's street must have 1 to 1,000 characters: correct it", severity="warning")
def buyer_street_of_another_length(invoice: Invoice) -> Iterator[Node]:
    found = _of_address(invoice.buyer, "cbc:StreetName")
    if invoice.is_standard:
        yield from lengths(found, 1, 1000)
        if not found:
            yield invoice.buyer or invoice.root


@BOOK.rule("BR-KSA-F-06-C24", "the buyer's street has more than 1,000 characters: shorten it", severity="warning")
def long_consumer_street(invoice: Invoice) -> Iterable[Node]:
    return lengths(_of_address(invoice.buyer, "cbc:StreetName"), 0, 1000) if invoice.is_simplified else ()


@BOOK.rule("BR-KSA-F-06-C25", "the buyer's city is missing: add cbc:CityName", severity="warning")
def no_buyer_city(invoice: Invoice) -> Iterator[Node]:
    if invoice.is_standard and not any(node.text for node in _of_address(invoice.buyer, "cbc:CityName")):
        yield invoice.buyer or invoice.root


@BOOK.rule("BR-KSA-F-06-C26", "the buyer's city has more than 127 characters: shorten it", severity="warning")
def long_buyer_city(invoice: Invoice) -> Iterable[Node]:
    return lengths(_of_address(invoice.buyer, "cbc:CityName"), 0, 127) if invoice.type_name[:2] in ("01", "02") else ()


@BOOK.rule(
    "BR-KSA-F-06-C11", "the buyer's additional street has more than 127 characters: shorten it", severity="warning"
)
def long_buyer_additional_street(invoice: Invoice) -> Iterable[Node]:
    # ZATCA looks at it only where the seller has an address.
    return lengths(_of_address(invoice.buyer, "cbc:AdditionalStreetName"), 0, 127) if _addresses(invoice.seller) else ()


@BOOK.rule("BR-KSA-F-06-C12", "the buyer's name must have 1 to 1,000 characters: correct it", severity="warning")
def buyer_name_of_another_length(invoice: Invoice) -> Iterable[Node]:
    return lengths(_names(invoice), 1, 1000) if invoice.is_standard else ()


@BOOK.rule("BR-KSA-F-06-C32", "the buyer's name has more than 1,000 characters: shorten it", severity="warning")
def long_consumer_name(invoice: Invoice) -> Iterable[Node]:
    return lengths(_names(invoice), 0, 1000) if invoice.is_simplified else ()


@BOOK.rule("BR-KSA-85", "the buyer's telephone must be 0 or + and 4 to 15 digits: correct it", severity="warning")
def bad_telephone(invoice: Invoice) -> Iterator[Node]:
    yield from (node for node in _contact(invoice, "cbc:Telephone") if node.text and not _PHONE(node.text))


@BOOK.rule(
    "BR-KSA-F-06-C37", "the name of the buyer's contact has more than 1,000 characters: shorten it", severity="warning"
)
def long_contact_name(invoice: Invoice) -> Iterable[Node]:
    return lengths(_contact(invoice, "cbc:Name"), 0, 1000)


@BOOK.rule(
    "BR-KSA-F-06-C38", "the note of the buyer's contact has more than 1,000 characters: shorten it", severity="warning"
)
def long_contact_note(invoice: Invoice) -> Iterable[Node]:
    return lengths(_contact(invoice, "cbc:Note"), 0, 1000)


# --- identifiers of both -------------------------------------------------------------------------------------------


@BOOK.rule("BR-KSA-F-08", "a commercial registration (CRN) has 10 digits: correct it", severity="warning")
def bad_registration(invoice: Invoice) -> Iterable[Node]:
    return _malformed((*_identifiers(invoice.seller), *_identifiers(invoice.buyer)), "CRN")


@BOOK.rule("BR-KSA-F-09", "a unified number (700) has 10 digits and begins with 7: correct it", severity="warning")
def bad_unified_number(invoice: Invoice) -> Iterable[Node]:
    return _malformed((*_identifiers(invoice.seller), *_identifiers(invoice.buyer)), "700")


@BOOK.rule(
    "BR-KSA-F-07", "a tax identification number (TIN) has 10 digits and begins with 3: correct it", severity="warning"
)
def bad_tax_number(invoice: Invoice) -> Iterable[Node]:
    return _malformed(_identifiers(invoice.buyer), "TIN")


@BOOK.rule("BR-KSA-F-10", "a national ID (NAT) has 10 digits and begins with 1: correct it", severity="warning")
def bad_national_id(invoice: Invoice) -> Iterable[Node]:
    return _malformed(_identifiers(invoice.buyer), "NAT")


@BOOK.rule("BR-KSA-F-11", "a residence permit (IQA) has 10 digits and begins with 2: correct it", severity="warning")
def bad_residence_permit(invoice: Invoice) -> Iterable[Node]:
    return _malformed(_identifiers(invoice.buyer), "IQA")


@BOOK.rule("BR-KSA-F-12", "the scheme of an identifier contains spaces: remove them", severity="warning")
def spaces_in_scheme(invoice: Invoice) -> Iterator[Node]:
    for party, known in ((invoice.seller, _SELLER_SCHEMES), (invoice.buyer, _BUYER_SCHEMES)):
        for node in _identifiers(party):
            raw = node.attributes.get("schemeID", "")
            if raw != trimmed(raw) and trimmed(raw).upper() in known:
                yield node


@BOOK.rule(
    "BR-KSA-F-13", "an identifier looks invented (eight digits in a row or the same): correct it", severity="warning"
)
def invented_identifier(invoice: Invoice) -> Iterator[Node]:
    for party, known in ((invoice.seller, _SELLER_SCHEMES), (invoice.buyer, _BUYER_SCHEMES)):
        for node in _identifiers(party):
            value = trimmed(node.text)
            if _scheme(node).upper() in known and value.isdecimal() and any(run in value for run in _RUNS):
                yield node


# --- small parts ---------------------------------------------------------------------------------------------------


def _identifiers(party: Node | None) -> list[Node]:
    return party.all("cac:PartyIdentification", "cbc:ID") if party else []


def _scheme(node: Node) -> str:
    return trimmed(node.attributes.get("schemeID", ""))


def _malformed(nodes: Iterable[Node], scheme: str) -> Iterator[Node]:
    fits = _IDENTIFIERS[scheme]
    return (node for node in nodes if _scheme(node) == scheme and not fits(node.text))


def _vat_numbers(party: Node | None) -> list[Node]:
    return party.all("cac:PartyTaxScheme", "cbc:CompanyID") if party else []


def _addresses(party: Node | None) -> list[Node]:
    return party.all("cac:PostalAddress") if party else []


def _of_address(party: Node | None, *names: str) -> list[Node]:
    return party.all("cac:PostalAddress", *names) if party else []


def _names(invoice: Invoice) -> list[Node]:
    return invoice.buyer.all("cac:PartyLegalEntity", "cbc:RegistrationName") if invoice.buyer else []


def _contact(invoice: Invoice, name: str) -> list[Node]:
    return invoice.buyer.all("cac:Contact", name) if invoice.buyer else []


def _countries(invoice: Invoice) -> list[Node]:
    """The country of a buyer in Saudi Arabia, where ZATCA tells what is wrong with the address; else nothing."""
    found = _of_address(invoice.buyer, "cac:Country")
    return [node for node in found if any(code.text == "SA" for code in node.all("cbc:IdentificationCode"))]


def _exemption_codes(invoice: Invoice) -> list[Node]:
    """The exemption codes of all breakdowns, those of prepaid lines too."""
    subtotals = [*invoice.breakdowns, *invoice.line_subtotals]
    return [found for node in subtotals for found in node.all("cac:TaxCategory", "cbc:TaxExemptionReasonCode")]
