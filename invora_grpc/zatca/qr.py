"""The QR code of a tax document: tags, lengths and values as ZATCA's standards have them, and what they prove.

Phase 1 has tags 1 to 5; phase 2 adds hash, signature and public key and, on simplified documents, the certificate's own
signature. Nothing here draws it (`rendering`) or makes signatures (`stamping`). Verifying needs lxml and cryptography.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from invora_grpc.errors import RequestError, is_utf8
from invora_grpc.zatca.hashing import CAC, CBC, is_qr, parsed

if TYPE_CHECKING:
    from lxml import etree

    from invora_grpc.zatca.verification import Check

__all__ = ["FIELDS", "TAGS", "Qr", "code_of", "qr_of", "text_of"]

TAGS: Final = (
    "",
    "seller's name",
    "VAT number",
    "time of issue",
    "total with VAT",
    "VAT total",
    "hash",
    "signature",
    "public key",
    "certificate's signature",
)
"""What a tag holds, by its number."""
FIELDS: Final = (
    "",
    "seller",
    "vat_number",
    "timestamp",
    "total",
    "tax",
    "hash",
    "signature",
    "public_key",
    "certificate_signature",
)
"""The attribute of `Qr` that a tag is, by its number."""
_BYTES: Final = 8
"""The first tag whose value is bytes, not text."""
_MOST: Final = 255
"""Bytes of a value: its length is one byte."""
_LONGEST: Final = 9 * (_MOST + 2)
"""Bytes of the longest code."""


@dataclass(frozen=True, slots=True)
class Qr:
    """What a QR code says. Time and amounts are text, as they are written in it."""

    seller: str
    vat_number: str
    timestamp: str
    """`2024-01-05T10:20:30`, with or without a Z."""
    total: str
    """What is payable, VAT included, as a decimal number."""
    tax: str
    """VAT, as a decimal number."""
    hash: str = ""
    """Phase 2: the hash of the document, base64."""
    signature: str = ""
    """Phase 2: the signature of the hash, base64 of DER."""
    public_key: bytes = b""
    """Phase 2: the key that signed (SubjectPublicKeyInfo, DER)."""
    certificate_signature: bytes = b""
    """Phase 2, simplified documents: the signature that the authority put under the certificate (DER)."""

    @property
    def phase(self) -> int:
        """1 or 2."""
        return 2 if self.hash or self.signature or self.public_key or self.certificate_signature else 1

    @classmethod
    def decode(cls, text: str) -> Qr:
        """What a code says, from the base64 text that a scanner reads.

        Raises RequestError, naming the tag, for what is no base64, cut off, out of order, not UTF-8 or unknown.
        """
        values = _values(_bytes_of(text))
        for tag in _wanted(values):
            if tag not in values:
                raise RequestError("qr", text, "have the code made anew", f"has no tag {tag} ({TAGS[tag]})")
            if not values[tag]:
                raise _bad(tag, "", "is empty")
        texts = ["", *(_text(tag, values.get(tag, b"")) for tag in range(1, _BYTES))]
        _, seller, vat_number, timestamp, total, tax, hashed, signature = texts
        return cls(seller, vat_number, timestamp, total, tax, hashed, signature, values.get(8, b""), values.get(9, b""))

    def encode(self) -> str:
        """The code as base64 text, to be drawn.

        Raises RequestError, naming the tag, for a value that is empty, or longer than 255 bytes of UTF-8.
        """
        values = {tag: value for tag in range(1, 10) if (value := self._value(tag))}
        for tag in _wanted(values):
            if tag not in values:
                raise _bad(tag, getattr(self, FIELDS[tag]), "is empty", "fill it")
        out = bytearray()
        for tag, value in values.items():
            if len(value) > _MOST:
                problem = f"has {len(value)} bytes, and a tag holds {_MOST}"
                raise _bad(tag, getattr(self, FIELDS[tag]), problem, "shorten it: Arabic letters have two bytes each")
            out += bytes((tag, len(value))) + value
        return base64.b64encode(out).decode()

    def verify(self, xml: bytes | None = None) -> tuple[Check, ...]:
        """What of the code is true: by itself only the signature under the hash; with the document every tag.

        Raises RequestError if the document is no XML or lacks what a code tells, ConfigError if lxml or cryptography
        is missing.
        """
        from invora_grpc.zatca.verification import verify

        return verify(self, None if xml is None else parsed(xml))

    def _value(self, tag: int) -> bytes:
        value: str | bytes = getattr(self, FIELDS[tag])
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str) or not is_utf8(value):
            raise _bad(tag, value, "cannot be written as UTF-8")
        return value.encode()


def qr_of(xml: bytes) -> Qr:
    """What the QR code says that a document carries. Raises RequestError if it has none or a bad one, or is no XML."""
    return Qr.decode(text_of(parsed(xml)))


def text_of(root: etree._Element, path: str = "document") -> str:
    """The QR code that a document carries, as base64 text. Raises RequestError, with this path, if it has none."""
    for reference in root.iterchildren(f"{CAC}AdditionalDocumentReference"):
        if is_qr(reference):
            held = reference.findtext(f"{CAC}Attachment/{CBC}EmbeddedDocumentBinaryObject") or ""
            return "".join(held.split())
    hint = "take the document as the platform returns it once it is frozen"
    raise RequestError(path, _name_of(root), hint, "has no QR code")


def code_of(root: etree._Element) -> Qr:
    """The code of phase 1 that belongs to a document, by its root.

    Total is `PayableAmount` and VAT the total in the document's currency, as in ZATCA's own samples. Raises
    RequestError for what the document lacks.
    """
    seller = f"{CAC}AccountingSupplierParty/{CAC}Party"
    taxes = list(root.iterchildren(f"{CAC}TaxTotal"))
    broken_down = [one for one in taxes if one.find(f"{CAC}TaxSubtotal") is not None] or taxes or [root]
    return Qr(
        _needed(root, f"{seller}/{CAC}PartyLegalEntity/{CBC}RegistrationName"),
        _needed(root, f"{seller}/{CAC}PartyTaxScheme/{CBC}CompanyID"),
        f"{_needed(root, f'{CBC}IssueDate')}T{_needed(root, f'{CBC}IssueTime')}",
        _needed(root, f"{CAC}LegalMonetaryTotal/{CBC}PayableAmount"),
        (broken_down[0].findtext(f"{CBC}TaxAmount") or "").strip() or _needed(root, f"{CAC}TaxTotal/{CBC}TaxAmount"),
    )


def _needed(root: etree._Element, path: str) -> str:
    """The text of an element. Raises RequestError if it is not there."""
    found = (root.findtext(path) or "").strip()
    if not found:
        place = path.replace(CAC, "cac:").replace(CBC, "cbc:")
        hint = "complete the document: its QR code tells this"
        raise RequestError("document", _name_of(root), hint, f"has no {place}")
    return found


def _name_of(root: etree._Element) -> str:
    """The number of a document; the name of its root if it has none."""
    return (root.findtext(f"{CBC}ID") or "").strip() or str(root.tag).rpartition("}")[2]


def _bytes_of(text: str) -> bytes:
    """The bytes of a code's base64."""
    if not isinstance(text, str):
        raise RequestError("qr", text, "give the text that a scanner reads from the code", "is no text")
    plain = "".join(text.split())
    if not plain:
        raise RequestError("qr", text, "give the text that a scanner reads from the code", "is empty")
    try:
        data = base64.b64decode(plain.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        hint = "give the text that a scanner reads from the code"
        raise RequestError("qr", text, hint, f"is no base64: {error}") from None
    if len(data) > _LONGEST:
        hint = f"nine tags have at most {_LONGEST} bytes; is this a QR code of ZATCA?"
        raise RequestError("qr", text, hint, f"is too long with {len(data)} bytes")
    return data


def _values(data: bytes) -> dict[int, bytes]:
    """The values by their tags, which come in order and once."""
    values: dict[int, bytes] = {}
    at = last = 0
    while at < len(data):
        tag = data[at]
        if not 1 <= tag <= 9:
            raise RequestError(
                f"tag {tag}", data[at : at + 8], "ZATCA's codes have tags 1 to 9", f"at byte {at} is not known"
            )
        if tag in values:
            raise _bad(tag, data[at : at + 8], f"comes twice, again at byte {at}")
        if tag < last:
            raise _bad(tag, data[at : at + 8], f"comes after tag {last}", "tags come in order")
        if at + 1 == len(data):
            raise _bad(tag, data[at:], "is cut off before its length", "scan the whole code")
        length, start = data[at + 1], at + 2
        if start + length > len(data):
            problem = f"is cut off: {length} bytes are announced, and {len(data) - start} are left"
            raise _bad(tag, data[start : start + 8], problem, "scan the whole code")
        values[tag] = data[start : start + length]
        at, last = start + length, tag
    return values


def _wanted(values: dict[int, bytes]) -> tuple[int, ...]:
    """The tags that a code with these has to have."""
    most = max(values, default=0)
    return (1, 2, 3, 4, 5, *((6, 7, 8) if most > 5 else ()), *((9,) if most == 9 else ()))


def _text(tag: int, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise _bad(tag, value, f"is no UTF-8 from byte {error.start} on") from None


def _bad(tag: int, value: object, problem: str, hint: str = "have the code made anew") -> RequestError:
    return RequestError(f"tag {tag} ({TAGS[tag]})", value, hint, problem)
