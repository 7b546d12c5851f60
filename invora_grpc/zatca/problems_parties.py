"""Checks of the parties of a `Document`: numbers, identifiers, addresses, and who must be named on which document."""

from __future__ import annotations

import re
from typing import Final

from invora_grpc.errors import RequestError
from invora_grpc.zatca import codes
from invora_grpc.zatca.document import Address, Document, Party
from invora_grpc.zatca.problems_values import Problems, text_problem

__all__ = ["buyer_problems", "seller_problems"]

SELLER_SCHEMES: Final = ("CRN", "MOM", "MLS", "700", "SAG", "OTH")
BUYER_SCHEMES: Final = ("TIN", "NAT", "IQA", "PAS", "CRN", "MOM", "MLS", "700", "SAG", "GCC", "OTH")
FIRST_DIGITS: Final = {"CRN": "", "700": "7", "TIN": "3", "NAT": "1", "IQA": "2"}
"""Schemes whose identifiers have ten digits, and the digit that those begin with (BR-KSA-F-07 to -11)."""
_VAT_NUMBER: Final = re.compile("3[0-9]{13}3")
_MADE_UP: Final = re.compile("|".join(["01234567", "12345678", "23456789", *(str(digit) * 8 for digit in range(10))]))


def seller_problems(seller: Party) -> Problems:
    """What is wrong with the seller, of whom ZATCA wants everything (BR-KSA-08, -09, -37, -39, -40, -66)."""
    if problem := text_problem("seller.name", seller.name, 1000, required=True):
        yield problem
    if not _is(_VAT_NUMBER, seller.vat_number):
        yield _no_vat_number("seller.vat_number", seller.vat_number)
    yield from _identifier_problems("seller", seller, SELLER_SCHEMES)
    address = seller.address
    if address is None:
        yield RequestError("seller.address", address, "give an Address", "is missing (BR-08)")
        return
    yield from _address_problems("seller.address", address)
    yield from _national_address_problems("seller.address", address)
    if not _is(re.compile("[0-9]{4}"), address.building_number):
        yield RequestError("seller.address.building_number", address.building_number, "use 4 digits", "(BR-KSA-37)")


def buyer_problems(document: Document) -> Problems:
    """What is wrong with the buyer, and whether the document can do without one."""
    buyer, code = document.buyer, document.type_code
    standard = code.subtype == "standard"
    if buyer is None:
        if standard or code.summary:
            hint = "name the buyer"
            yield RequestError("buyer", buyer, hint, "is missing on a standard or summary document (BR-KSA-42, -71)")
        return
    if problem := text_problem("buyer.name", buyer.name, 1000, required=standard or code.summary):
        yield problem
    if buyer.vat_number:
        yield from _buyer_vat_problems(document, buyer)
    elif code.self_billed:
        hint = "give the number: only who is registered may issue for a supplier"
        yield RequestError("buyer.vat_number", buyer.vat_number, hint, "is missing on a self-billed document")
    elif standard and not buyer.id_value:
        hint = "give vat_number, or id_scheme and id_value"
        yield RequestError("buyer.id_value", buyer.id_value, hint, "is missing beside the VAT number (BR-KSA-81)")
    if buyer.id_value or buyer.id_scheme:
        yield from _identifier_problems("buyer", buyer, BUYER_SCHEMES)
    if buyer.address is not None:
        yield from _address_problems("buyer.address", buyer.address)
    if standard:
        yield from _standard_address_problems(buyer.address)


def _buyer_vat_problems(document: Document, buyer: Party) -> Problems:
    if not _is(_VAT_NUMBER, buyer.vat_number):
        yield _no_vat_number("buyer.vat_number", buyer.vat_number)
    elif buyer.vat_number == document.seller.vat_number:
        hint = "a document is between two parties"
        yield RequestError("buyer.vat_number", buyer.vat_number, hint, "is the seller's (BR-CUSTOM-VALIDATION-01)")


def _standard_address_problems(address: Address | None) -> Problems:
    """A business buyer has a street, a city and a country; in SA the whole national address (BR-KSA-10, -63, -67)."""
    if address is None:
        yield RequestError("buyer.address", address, "give an Address", "is missing on a standard document (BR-KSA-10)")
    elif address.country == "SA":
        yield from _national_address_problems("buyer.address", address)
    else:
        for name in ("street", "city"):
            if not getattr(address, name):
                yield RequestError(f"buyer.address.{name}", "", "fill it in", "is missing (BR-KSA-10)")


def _national_address_problems(path: str, address: Address) -> Problems:
    for name in ("street", "building_number", "district", "city"):
        if not getattr(address, name):
            yield RequestError(f"{path}.{name}", "", "fill it in", "is missing (BR-KSA-09, -63)")
    if not _is(re.compile("[0-9]{5}"), address.postal_code):
        yield RequestError(f"{path}.postal_code", address.postal_code, "use 5 digits", "is no postal code (BR-KSA-66)")


def _address_problems(path: str, address: Address) -> Problems:
    if problem := text_problem(f"{path}.street", address.street, 1000):
        yield problem
    for name in ("building_number", "district", "city", "postal_code", "additional_street", "province"):
        if problem := text_problem(f"{path}.{name}", getattr(address, name), 127):
            yield problem
    if address.country not in codes.COUNTRIES:
        hint = "use two letters of ISO 3166-1, e.g. SA"
        yield RequestError(f"{path}.country", address.country, hint, "is no country (BR-CL-14)")


def _identifier_problems(path: str, party: Party, schemes: tuple[str, ...]) -> Problems:
    scheme, value = party.id_scheme, party.id_value
    if scheme not in schemes:
        yield RequestError(
            f"{path}.id_scheme", scheme, f"use one of {', '.join(schemes)}", "is no scheme (BR-KSA-08, -14)"
        )
    elif problem := text_problem(f"{path}.id_value", value, 127, required=True):
        yield problem
    elif not value.isalnum():
        yield RequestError(f"{path}.id_value", value, "use letters and digits only", "has others (BR-KSA-08, -14)")
    elif scheme in FIRST_DIGITS and not _is(re.compile(f"{FIRST_DIGITS[scheme]}[0-9]*"), value, 10):
        first = f" beginning with {FIRST_DIGITS[scheme]}" if FIRST_DIGITS[scheme] else ""
        yield RequestError(f"{path}.id_value", value, f"use ten digits{first}", f"is no {scheme} number")
    elif value.isdecimal() and (_MADE_UP.search(value) or _MADE_UP.search(value[::-1])):
        hint = "give the real number"
        yield RequestError(f"{path}.id_value", value, hint, "looks made up: ZATCA refuses rows of digits (BR-KSA-F-13)")


def _no_vat_number(path: str, value: str) -> RequestError:
    hint = "use 15 digits, the first and the last a 3"
    return RequestError(path, value, hint, "is no VAT number (BR-KSA-39, -40, -44)")


def _is(pattern: re.Pattern[str], value: str, length: int | None = None) -> bool:
    return bool(pattern.fullmatch(value)) and length in (None, len(value))
