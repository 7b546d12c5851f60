"""The cryptographic stamp of a tax document: signature block, `cac:Signature` and QR code, and their verification.

By ZATCA's security features standard (2022-06-24): XAdES, enveloped, ECDSA on secp256k1 over the hash of the document.
For the sandbox's own authority and for tests: with Invora, the platform stamps. Nothing here talks to ZATCA. Needs lxml
and cryptography.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Final

from invora_grpc.errors import RequestError
from invora_grpc.zatca.certificates import (
    Authority,
    Unit,
    certificate,
    csr,
    issuer_name,
    new_authority,
    new_key,
    public_key_of,
    read_certificate,
    read_key,
    unit_of,
    written,
)
from invora_grpc.zatca.document import RIYADH
from invora_grpc.zatca.hashing import CAC, CBC, EXT, cut, hex_digest, is_qr, parsed, tree_hash
from invora_grpc.zatca.qr import code_of
from invora_grpc.zatca.verification import Check, check_stamp, is_simplified

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate
    from lxml import etree

__all__ = [
    "Authority",
    "Check",
    "Stamped",
    "Unit",
    "certificate",
    "check_stamp",
    "csr",
    "new_authority",
    "new_key",
    "read_certificate",
    "read_key",
    "stamp",
    "unit_of",
    "written",
]

_REFERENCE: Final = f"{CAC}AdditionalDocumentReference"
_NAMESPACES: Final = " ".join(
    f'xmlns:{prefix}="{space[1:-1]}"' for prefix, space in (("cac", CAC), ("cbc", CBC), ("ext", EXT))
)


@dataclass(frozen=True, slots=True)
class Stamped:
    """A stamped document."""

    xml: bytes
    hash: str
    """Base64 of the document's SHA-256, which its stamp does not change."""
    qr: str
    """The QR code as base64 text."""
    signature: str
    """Base64 of the signature (DER)."""


def stamp(xml: bytes, key: EllipticCurvePrivateKey, certificate: Certificate, *, at: datetime | None = None) -> Stamped:
    """The document with its stamp. One that it has already is replaced; the hash stays what it was.

    Counter (ICV) and previous hash (PIH) must be in it. `at` is the time of signing (aware; now if left out), written
    in Riyadh's time. Raises RequestError for what is no document, or lacks what its QR code tells, and ConfigError if
    lxml or cryptography is missing.
    """
    root = parsed(xml)
    _require_chain(root)
    hashed = tree_hash(root)
    signature = base64.b64encode(_sign(key, base64.b64decode(hashed))).decode()
    code = replace(
        code_of(root),
        hash=hashed,
        signature=signature,
        public_key=public_key_of(certificate),
        certificate_signature=certificate.signature if is_simplified(root) else b"",
    ).encode()
    _unstamp(root)
    _insert(root, _block(hashed, signature, certificate, at or datetime.now(UTC)), code)
    return Stamped(_serialised(root), hashed, code, signature)


def _require_chain(root: etree._Element) -> None:
    """Raise RequestError if the document has no counter or previous hash: adding them later would void the stamp."""
    named = {reference.findtext(f"{CBC}ID") for reference in root.iterchildren(_REFERENCE)}
    for name, what in (("ICV", "counter"), ("PIH", "previous hash")):
        if name not in named:
            hint = f"give the document its {what} before it is stamped"
            raise RequestError("document", root.findtext(f"{CBC}ID"), hint, f"has no {what} ({name})")


def _sign(key: EllipticCurvePrivateKey, hashed: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return key.sign(hashed, ec.ECDSA(hashes.SHA256()))


def _unstamp(root: etree._Element) -> None:
    """Take out the stamp that a document has."""
    for element in list(root.iterchildren(f"{EXT}UBLExtensions", f"{CAC}Signature", _REFERENCE)):
        if element.tag != _REFERENCE or is_qr(element):
            cut(element)


def _insert(root: etree._Element, block: str, code: str) -> None:
    """Put the parts of a stamp where the XSD has them. No whitespace is added beside them, so the hash stays."""
    references = list(root.iterchildren(_REFERENCE))
    references[-1].addnext(_element(_QR.format(code=code)))
    root.insert(0, _element(block))
    seller = root.find(f"{CAC}AccountingSupplierParty")
    if seller is not None:  # code_of has found it
        before = seller.getprevious()
        if before is not None:
            tail, before.tail = before.tail, None
            made = _element(_SIGNATURE)
            before.addnext(made)
            made.tail = tail


def _element(text: str) -> etree._Element:
    from lxml import etree

    return etree.fromstring(text, etree.XMLParser(ns_clean=True, resolve_entities=False, no_network=True))


def _serialised(root: etree._Element) -> bytes:
    from lxml import etree

    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(root.getroottree(), encoding="utf-8")


def _block(hashed: str, signature: str, certificate: Certificate, at: datetime) -> str:
    """The extension with the signature."""
    from cryptography.hazmat.primitives import serialization

    text = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
    properties = _PROPERTIES.format(
        time=at.astimezone(RIYADH).strftime("%Y-%m-%dT%H:%M:%S"),
        digest=hex_digest(text.encode()),
        issuer=escape(issuer_name(certificate), quote=False),
        serial=certificate.serial_number,
    )
    return _EXTENSION.format(
        hash=hashed,
        properties_digest=hex_digest(properties.encode()),
        signature=signature,
        certificate=text,
        properties=properties,
    )


_SIGNATURE: Final = f"""<cac:Signature {_NAMESPACES}>
    <cbc:ID>urn:oasis:names:specification:ubl:signature:Invoice</cbc:ID>
    <cbc:SignatureMethod>urn:oasis:names:specification:ubl:dsig:enveloped:xades</cbc:SignatureMethod>
</cac:Signature>"""
_QR: Final = f"""<cac:AdditionalDocumentReference {_NAMESPACES}>
    <cbc:ID>QR</cbc:ID>
    <cac:Attachment>
        <cbc:EmbeddedDocumentBinaryObject mimeCode="text/plain">{{code}}</cbc:EmbeddedDocumentBinaryObject>
    </cac:Attachment>
</cac:AdditionalDocumentReference>"""
_DS: Final = 'xmlns:ds="http://www.w3.org/2000/09/xmldsig#"'
_XADES: Final = 'xmlns:xades="http://uri.etsi.org/01903/v1.3.2#"'
_SHA256: Final = "http://www.w3.org/2001/04/xmlenc#sha256"
_PROPERTIES: Final = f"""\
<xades:SignedProperties {_XADES} Id="xadesSignedProperties">
                                    <xades:SignedSignatureProperties>
                                        <xades:SigningTime>{{time}}</xades:SigningTime>
                                        <xades:SigningCertificate>
                                            <xades:Cert>
                                                <xades:CertDigest>
                                                    <ds:DigestMethod {_DS} Algorithm="{_SHA256}"/>
                                                    <ds:DigestValue {_DS}>{{digest}}</ds:DigestValue>
                                                </xades:CertDigest>
                                                <xades:IssuerSerial>
                                                    <ds:X509IssuerName {_DS}>{{issuer}}</ds:X509IssuerName>
                                                    <ds:X509SerialNumber {_DS}>{{serial}}</ds:X509SerialNumber>
                                                </xades:IssuerSerial>
                                            </xades:Cert>
                                        </xades:SigningCertificate>
                                    </xades:SignedSignatureProperties>
                                </xades:SignedProperties>"""
"""What is signed besides the document. Its digest is over exactly this text, namespaces and whitespace included."""
_C14N: Final = "http://www.w3.org/2006/12/xml-c14n11"
_XPATH: Final = "http://www.w3.org/TR/1999/REC-xpath-19991116"


def _left_out(condition: str) -> str:
    """A transform that leaves elements out of what is hashed."""
    return f"""
                                <ds:Transform Algorithm="{_XPATH}">
                                    <ds:XPath>not(//ancestor-or-self::{condition})</ds:XPath>
                                </ds:Transform>"""


_UBL: Final = "urn:oasis:names:specification:ubl"
_EXTENSION: Final = f"""\
<ext:UBLExtensions {_NAMESPACES}>
    <ext:UBLExtension>
        <ext:ExtensionURI>{_UBL}:dsig:enveloped:xades</ext:ExtensionURI>
        <ext:ExtensionContent>
            <sig:UBLDocumentSignatures xmlns:sig="{_UBL}:schema:xsd:CommonSignatureComponents-2" \
xmlns:sac="{_UBL}:schema:xsd:SignatureAggregateComponents-2" xmlns:sbc="{_UBL}:schema:xsd:SignatureBasicComponents-2">
                <sac:SignatureInformation>
                    <cbc:ID>{_UBL}:signature:1</cbc:ID>
                    <sbc:ReferencedSignatureID>{_UBL}:signature:Invoice</sbc:ReferencedSignatureID>
                    <ds:Signature {_DS} Id="signature">
                        <ds:SignedInfo>
                            <ds:CanonicalizationMethod Algorithm="{_C14N}"/>
                            <ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"/>
                            <ds:Reference Id="invoiceSignedData" URI="">
                                <ds:Transforms>{_left_out("ext:UBLExtensions")}{_left_out("cac:Signature")}\
{_left_out("cac:AdditionalDocumentReference[cbc:ID='QR']")}
                                <ds:Transform Algorithm="{_C14N}"/>
                                </ds:Transforms>
                                <ds:DigestMethod Algorithm="{_SHA256}"/>
                                <ds:DigestValue>{{hash}}</ds:DigestValue>
                            </ds:Reference>
                            <ds:Reference Type="http://www.w3.org/2000/09/xmldsig#SignatureProperties" \
URI="#xadesSignedProperties">
                                <ds:DigestMethod Algorithm="{_SHA256}"/>
                                <ds:DigestValue>{{properties_digest}}</ds:DigestValue>
                            </ds:Reference>
                        </ds:SignedInfo>
                        <ds:SignatureValue>{{signature}}</ds:SignatureValue>
                        <ds:KeyInfo>
                            <ds:X509Data>
                                <ds:X509Certificate>{{certificate}}</ds:X509Certificate>
                            </ds:X509Data>
                        </ds:KeyInfo>
                        <ds:Object>
                            <xades:QualifyingProperties {_XADES} Target="signature">
                                {{properties}}
                            </xades:QualifyingProperties>
                        </ds:Object>
                    </ds:Signature>
                </sac:SignatureInformation>
            </sig:UBLDocumentSignatures>
        </ext:ExtensionContent>
    </ext:UBLExtension>
</ext:UBLExtensions>"""
