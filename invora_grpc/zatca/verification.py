"""What of a QR code and of a stamp is true: each statement compared with the document, each signature verified.

The answers tell what agrees and what not; nothing here raises for a wrong signature. Whether the certificate's issuer
is ZATCA is not looked at: that takes ZATCA's own certificates. Needs lxml and cryptography.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from invora_grpc.errors import one_line, shown
from invora_grpc.zatca.certificates import issuer_name, public_key_of
from invora_grpc.zatca.document import RIYADH
from invora_grpc.zatca.hashing import CAC, CBC, EXT, hex_digest, parsed, require, tree_hash
from invora_grpc.zatca.qr import TAGS, code_of

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from lxml import etree

    from invora_grpc.zatca.qr import Qr

__all__ = ["Check", "check_stamp", "is_simplified", "verify"]

_DS: Final = "{http://www.w3.org/2000/09/xmldsig#}"
_XADES: Final = "{http://uri.etsi.org/01903/v1.3.2#}"
_AMOUNT: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{0,10})?")
_VAT_NUMBER: Final = re.compile(r"3[0-9]{13}3")
_EMPTY: Final = re.compile(rb"<([\w:.-]+)((?: [^<>]*)?)></\1>")
_ALONE: Final = "there is no document to compare it with"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    tag: int
    """The tag of the QR code; 0 for what only the document has."""
    name: str
    ok: bool | None
    """None if it cannot be told from what was given."""
    text: str
    """Why, in a few words."""


def is_simplified(root: etree._Element) -> bool:
    """Whether a document is a simplified one, by its root."""
    kind = root.find(f"{CBC}InvoiceTypeCode")
    return kind is not None and (kind.get("name") or "").startswith("02")


def verify(code: Qr, root: etree._Element | None) -> tuple[Check, ...]:
    """What of a code is true, tag by tag; with the document, by its root, or without."""
    own = None if root is None else code_of(root)
    return (*_particulars(code, own, root), *_proofs(code, root))


def check_stamp(xml: bytes) -> tuple[Check, ...]:
    """What of a document's stamp is as it must be, and what not: digests, certificate, signature, time.

    Raises RequestError for what is no XML, ConfigError if lxml or cryptography is missing.
    """
    root = parsed(xml)
    signature = root.find(f"{EXT}UBLExtensions//{_DS}Signature")
    if signature is None:
        return (Check(0, "stamp", False, "the document has none"),)
    certificate, problem = _certificate(root)
    checks = [_digest_check(root, signature), _properties_check(signature)]
    if certificate is None:
        return (*checks, Check(0, "certificate", False, problem))
    return (*checks, *_certificate_checks(signature, certificate), _signature_check(root, signature, certificate))


def _particulars(code: Qr, own: Qr | None, root: etree._Element | None) -> Iterator[Check]:
    """Tags 1 to 5."""
    said = ("", code.seller, code.vat_number, code.timestamp, code.total, code.tax)
    malformed = (
        "",
        "",
        "" if _VAT_NUMBER.fullmatch(code.vat_number) else "is no VAT number: 15 digits, the first and the last a 3",
        "" if _moment(code.timestamp) else "is no date with a time, as 2024-01-05T10:20:30",
        "" if _AMOUNT.fullmatch(code.total) else "is no amount, as 115.00",
        "" if _AMOUNT.fullmatch(code.tax) else "is no amount, as 15.00",
    )
    for tag in range(1, 6):
        if malformed[tag]:
            yield Check(tag, TAGS[tag], False, f"{shown(said[tag])} {malformed[tag]}")
        elif own is None or root is None:
            yield Check(tag, TAGS[tag], None, _ALONE)
        else:
            yield _compared(tag, said[tag], _held(tag, own, root))


def _held(tag: int, own: Qr, root: etree._Element) -> tuple[str, ...]:
    """What the document has for a tag; of what has been written in two ways by ZATCA's own tools, both."""
    if tag == 4:
        inclusive = root.findtext(f"{CAC}LegalMonetaryTotal/{CBC}TaxInclusiveAmount")
        return (own.total, *([inclusive] if inclusive else []))
    if tag == 5:
        return (
            own.tax,
            *(text for text in (one.text for one in root.iterfind(f"{CAC}TaxTotal/{CBC}TaxAmount")) if text),
        )
    return ((own.seller, own.vat_number, own.timestamp)[tag - 1],)


def _compared(tag: int, said: str, held: tuple[str, ...]) -> Check:
    if any(_same(tag, said, one) for one in held):
        return Check(tag, TAGS[tag], True, "agrees with the document")
    return Check(tag, TAGS[tag], False, f"the code says {shown(said)}, the document {shown(held[0])}")


def _same(tag: int, said: str, held: str) -> bool:
    if tag == 3:
        mine, other = _moment(said), _moment(held)
        # A Z was often written after Riyadh's time, in ZATCA's samples too: the same digits are the same time.
        alike = mine is not None and other is not None and mine.replace(tzinfo=None) == other.replace(tzinfo=None)
        return alike or (mine is not None and other is not None and _instant(mine) == _instant(other))
    if tag > 3:
        return _AMOUNT.fullmatch(held.strip()) is not None and Decimal(said) == Decimal(held)
    return said.strip() == held.strip()


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if "T" in text else None
    except ValueError:
        return None


def _instant(moment: datetime) -> datetime:
    return (moment if moment.tzinfo else moment.replace(tzinfo=RIYADH)).astimezone(UTC)


def _proofs(code: Qr, root: etree._Element | None) -> Iterator[Check]:
    """Tags 6 to 9."""
    signature = None if root is None else root.find(f"{EXT}UBLExtensions//{_DS}Signature")
    if code.phase == 1:
        if signature is not None:
            yield Check(6, TAGS[6], False, "is missing, as are the tags after it, though the document is stamped")
        return
    yield _hash_check(code.hash, root)
    proven = _verified(code.public_key, code.signature, code.hash)
    held = None if signature is None else "".join((signature.findtext(f"{_DS}SignatureValue") or "").split())
    if proven is None and held is not None and held != code.signature:
        yield Check(7, TAGS[7], False, "is that of the hash, but not the one that the document carries")
    else:
        yield Check(7, TAGS[7], proven is None, proven or "is that of the hash, by the public key")
    certificate, problem = (None, "") if root is None else _certificate(root)
    yield _key_check(code.public_key, certificate, problem)
    yield from _authority_check(code.certificate_signature, certificate, root)


def _hash_check(said: str, root: etree._Element | None) -> Check:
    if root is None:
        return Check(6, TAGS[6], *((None, _ALONE) if len(_decoded(said)) == 32 else (False, "is no SHA-256 in base64")))
    held = tree_hash(root)
    if said == held:
        return Check(6, TAGS[6], True, "agrees with the document")
    return Check(6, TAGS[6], False, f"the code says {shown(said)}, the document's is {shown(held)}: it was changed")


def _key_check(said: bytes, certificate: Certificate | None, problem: str) -> Check:
    if certificate is None:
        return Check(8, TAGS[8], False if problem else None, problem or "there is no certificate to compare it with")
    if said == public_key_of(certificate):
        return Check(8, TAGS[8], True, "is the certificate's")
    return Check(8, TAGS[8], False, "is not that of the document's certificate")


def _authority_check(said: bytes, certificate: Certificate | None, root: etree._Element | None) -> Iterator[Check]:
    if not said:
        if root is not None and is_simplified(root):
            yield Check(9, TAGS[9], False, "is missing: the code of a simplified document has it")
    elif certificate is None:
        yield Check(9, TAGS[9], None, "there is no certificate to compare it with")
    elif said == certificate.signature:
        yield Check(9, TAGS[9], True, "is the one under the certificate")
    else:
        yield Check(9, TAGS[9], False, "is not the one under the document's certificate")


def _digest_check(root: etree._Element, signature: etree._Element) -> Check:
    said, held = _reference(signature, 0), tree_hash(root)
    if said == held:
        return Check(0, "document's digest", True, "is its hash")
    return Check(
        0, "document's digest", False, f"is {shown(said)}, and the hash {shown(held)}: the document was changed"
    )


def _properties_check(signature: etree._Element) -> Check:
    from lxml import etree

    name = "signed properties' digest"
    held = signature.find(f".//{_XADES}SignedProperties")
    if held is None:
        return Check(0, name, False, "the stamp has no signed properties")
    # The digest is over the text that DOM writers make of it: canonical, but with empty elements closed in one.
    text = _EMPTY.sub(rb"<\1\2/>", etree.tostring(held, method="c14n", exclusive=True, with_tail=False))
    if _reference(signature, 1) == hex_digest(text):
        return Check(0, name, True, "is theirs")
    return Check(0, name, False, "is that of other properties: time or certificate were changed")


def _certificate_checks(signature: etree._Element, certificate: Certificate) -> Iterator[Check]:
    """Whether the signed properties name the certificate that the stamp carries, and a time at which it was valid."""
    text = "".join((signature.findtext(f".//{_DS}X509Certificate") or "").split())
    said = signature.findtext(f".//{_XADES}CertDigest/{_DS}DigestValue")
    same = said == hex_digest(text.encode())
    yield Check(0, "certificate's digest", same, "is its own" if same else "is that of another certificate")
    serial = signature.findtext(f".//{_DS}X509SerialNumber")
    issuer = signature.findtext(f".//{_DS}X509IssuerName") or ""
    wanted = issuer_name(certificate)
    same = serial == str(certificate.serial_number) and _plain(issuer) == _plain(wanted)
    told = (
        "are the certificate's"
        if same
        else f"{shown(issuer)}, {shown(serial)} are not {shown(wanted)}, {certificate.serial_number}"
    )
    yield Check(0, "issuer and serial number", same, told)
    time = signature.findtext(f".//{_XADES}SigningTime") or ""
    moment = _moment(time)
    valid = (
        moment is not None and certificate.not_valid_before_utc <= _instant(moment) <= certificate.not_valid_after_utc
    )
    told = (
        "is within the certificate's lifetime" if valid else f"{shown(time)} is not within the certificate's lifetime"
    )
    yield Check(0, "signing time", valid, told)


def _signature_check(root: etree._Element, signature: etree._Element, certificate: Certificate) -> Check:
    value = "".join((signature.findtext(f"{_DS}SignatureValue") or "").split())
    problem = _verified(public_key_of(certificate), value, tree_hash(root))
    return Check(0, "signature", problem is None, problem or "is that of the hash, by the certificate's key")


def _reference(signature: etree._Element, index: int) -> str | None:
    found = signature.findall(f"{_DS}SignedInfo/{_DS}Reference/{_DS}DigestValue")
    return found[index].text if index < len(found) else None


def _plain(name: str) -> str:
    """An issuer's name without the spaces between its parts."""
    return re.sub(r"\s*,\s*", ",", name.strip())


def _certificate(root: etree._Element) -> tuple[Certificate | None, str]:
    """The certificate in a document's stamp, or what is wrong with it; None and "" if there is no stamp."""
    require("cryptography")
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    text = root.findtext(f"{EXT}UBLExtensions//{_DS}X509Certificate")
    if text is None:
        return None, ""
    try:
        found = x509.load_der_x509_certificate(base64.b64decode("".join(text.split()), validate=True))
        public_key_of(found)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return None, one_line(f"the document's certificate cannot be read: {error}")
    return found, ""


def _verified(public_key: bytes, signature: str, hashed: str) -> str | None:
    """Why the signature of a hash is not by the key; None if it is."""
    require("cryptography")
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        return "cannot be verified: the public key cannot be read"
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256K1):
        return "cannot be verified: the public key is not on secp256k1"
    try:
        key.verify(_decoded(signature), _decoded(hashed), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return "is not that of the hash, by the public key"
    return None


def _decoded(text: str) -> bytes:
    """The bytes of base64; none for what is no base64."""
    try:
        return base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, ValueError):
        return b""
