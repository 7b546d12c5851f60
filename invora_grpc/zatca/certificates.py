"""Keys, certificate requests and certificates of the units that stamp tax documents, as ZATCA's onboarding has them.

For the sandbox's own authority and for tests: with Invora, the platform keeps the keys and stamps. Nothing here talks
to ZATCA, and a certificate made here is worth nothing outside. Needs cryptography.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from invora_grpc.errors import RequestError
from invora_grpc.zatca.hashing import require

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = [
    "TEMPLATES",
    "Authority",
    "Unit",
    "certificate",
    "csr",
    "issuer_name",
    "new_authority",
    "new_key",
    "public_key_of",
    "read_certificate",
    "read_key",
    "unit_of",
    "written",
]

TEMPLATES: Final = ("ZATCA-Code-Signing", "PREZATCA-Code-Signing", "TSTZATCA-Code-Signing")
"""Names of the certificate template: for production, simulation, and the developer portal."""
_TEMPLATE_NAME: Final = "1.3.6.1.4.1.311.20.2"
"""Microsoft's extension for the name of a certificate template."""
_SUBJECT: Final = (
    ("country", "2.5.4.6"),
    ("branch", "2.5.4.11"),
    ("organization", "2.5.4.10"),
    ("common_name", "2.5.4.3"),
)
"""The subject of a certificate: attributes of the unit with their OIDs, in ZATCA's order."""
_IDENTITY: Final = (
    ("serial_number", "2.5.4.4"),
    ("vat_number", "0.9.2342.19200300.100.1.1"),
    ("invoice_types", "2.5.4.12"),
    ("address", "2.5.4.26"),
    ("category", "2.5.4.15"),
)
"""Its alternative name. The serial number stands under `surname`, which ZATCA's own configuration calls SN."""
_LIFETIME: Final = timedelta(days=5 * 365)


@dataclass(frozen=True, slots=True)
class Unit:
    """Who stamps: one e-invoicing unit (EGS) of a taxpayer, as its certificate names it."""

    common_name: str
    """The unit's own name; at most 64 characters, as X.509 has it for all names."""
    serial_number: str
    """ `1-<maker>|2-<model>|3-<serial number>`."""
    vat_number: str
    organization: str
    branch: str
    """Organizational unit: the branch's name, or the TIN of a VAT group's member."""
    address: str
    """Of the branch: its national short address."""
    category: str
    """Line of business."""
    invoice_types: str = "1100"
    """Four digits, 1 for yes: standard, simplified, and two that are reserved."""
    country: str = "SA"


@dataclass(frozen=True, slots=True)
class Authority:
    """Who issues certificates."""

    key: EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate


def new_key() -> EllipticCurvePrivateKey:
    """A key on secp256k1. Raises ConfigError if cryptography is not installed, like all here."""
    require("cryptography")
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256K1())


def csr(key: EllipticCurvePrivateKey, unit: Unit, template: str = TEMPLATES[0]) -> bytes:
    """The request for a unit's certificate, PEM, with the extensions that ZATCA wants.

    `template` is one of TEMPLATES. Raises RequestError for a particular that X.509 cannot hold.
    """
    require("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    asked = x509.CertificateSigningRequestBuilder().subject_name(_name(unit, _SUBJECT))
    asked = asked.add_extension(_template(template), critical=False).add_extension(_alternative(unit), critical=False)
    return asked.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def new_authority(name: str = "Invora Sandbox CA", *, at: datetime | None = None) -> Authority:
    """A new authority, valid for five years from `at` (aware; now if left out) on."""
    require("cryptography")
    from cryptography import x509

    key = new_key()
    oid = x509.NameOID
    parts = ((oid.DOMAIN_COMPONENT, "sandbox"), (oid.DOMAIN_COMPONENT, "invora"), (oid.COMMON_NAME, name))
    subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])
    builder = _builder(subject, subject, key, at).add_extension(x509.BasicConstraints(True, 0), critical=True)
    return Authority(key, _signed(builder, key))


def certificate(
    key: EllipticCurvePrivateKey, unit: Unit, authority: Authority | None = None, *, at: datetime | None = None
) -> x509.Certificate:
    """A certificate of a unit's key, issued by the authority (a new one if none is given), for five years from `at` on.

    Raises RequestError for a particular that X.509 cannot hold.
    """
    require("cryptography")
    from cryptography import x509

    authority = authority or new_authority(at=at)
    builder = _builder(_name(unit, _SUBJECT), authority.certificate.subject, key, at)
    builder = builder.add_extension(_alternative(unit), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
    return _signed(builder, authority.key)


def unit_of(request: bytes) -> Unit:
    """The unit that a request for a certificate (PEM) names. Raises RequestError if it is not one of ZATCA's kind."""
    require("cryptography")
    from cryptography import x509

    try:
        asked = x509.load_pem_x509_csr(request)
        held = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = held.get_values_for_type(x509.DirectoryName)[0]
        told = {name: _of(names, oid) for name, oid in _IDENTITY} | {
            name: _of(asked.subject, oid) for name, oid in _SUBJECT
        }
    except (ValueError, x509.ExtensionNotFound, IndexError) as error:
        hint = "make it with `csr`"
        raise RequestError("csr", request[:40], hint, f"is no request for a unit's certificate: {error}") from None
    return Unit(**told)


def written(thing: EllipticCurvePrivateKey | x509.Certificate) -> bytes:
    """A key or a certificate as PEM, to be kept. A key's is a secret."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    pem = serialization.Encoding.PEM
    if isinstance(thing, x509.Certificate):
        return thing.public_bytes(pem)
    return thing.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def read_key(pem: bytes) -> EllipticCurvePrivateKey:
    """The key that `written` wrote. Raises RequestError, which does not tell it, for anything else."""
    require("cryptography")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    hint = "give a key on secp256k1 as PEM (PKCS 8), without a password"
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise RequestError("key", "***", hint, "cannot be read") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256K1):
        raise RequestError("key", "***", hint, "is of another kind")
    return key


def read_certificate(pem: bytes) -> x509.Certificate:
    """The certificate that `written` wrote. Raises RequestError for anything else."""
    require("cryptography")
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise RequestError("certificate", pem[:40], "give it as PEM", f"cannot be read: {error}") from None


def issuer_name(issued: x509.Certificate) -> str:
    """Who issued a certificate, as a stamp names it: RFC 4514, with a space after each comma."""
    return ", ".join(part.rfc4514_string() for part in reversed(list(issued.issuer.rdns)))


def public_key_of(issued: x509.Certificate) -> bytes:
    """A certificate's key as the QR code has it: SubjectPublicKeyInfo, DER."""
    from cryptography.hazmat.primitives import serialization

    info = serialization.PublicFormat.SubjectPublicKeyInfo
    return issued.public_key().public_bytes(serialization.Encoding.DER, info)


def _of(name: x509.Name, oid: str) -> str:
    """A part of a name. Raises ValueError if it is not there."""
    for part in name:
        if part.oid.dotted_string == oid:
            return part.value if isinstance(part.value, str) else part.value.decode()
    raise ValueError(f"{oid} is missing")


def _name(unit: Unit, fields: tuple[tuple[str, str], ...]) -> x509.Name:
    """A name of attributes of the unit, each with its OID. Raises RequestError for what cannot stand in one."""
    from cryptography import x509

    made = []
    for field_name, oid in fields:
        value = getattr(unit, field_name)
        if not value:
            raise RequestError(f"unit.{field_name}", value, "fill it", "cannot stand in a certificate")
        try:
            made.append(x509.NameAttribute(x509.ObjectIdentifier(oid), value))
        except ValueError as error:
            problem = f"cannot stand in a certificate: {error}"
            raise RequestError(f"unit.{field_name}", value, "give another", problem) from None
    return x509.Name(made)


def _alternative(unit: Unit) -> x509.SubjectAlternativeName:
    from cryptography import x509

    return x509.SubjectAlternativeName([x509.DirectoryName(_name(unit, _IDENTITY))])


def _template(name: str) -> x509.UnrecognizedExtension:
    """The name of the certificate's template, as an ASN.1 UTF8String."""
    from cryptography import x509

    if name not in TEMPLATES:
        raise RequestError("template", name, f"use one of {', '.join(TEMPLATES)}", "is not known")
    text = name.encode()
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(_TEMPLATE_NAME), bytes((0x0C, len(text))) + text)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, at: datetime | None
) -> x509.CertificateBuilder:
    from cryptography import x509

    start = at or datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(start - timedelta(minutes=5)).not_valid_after(start + _LIFETIME)


def _signed(builder: x509.CertificateBuilder, key: EllipticCurvePrivateKey) -> x509.Certificate:
    from cryptography.hazmat.primitives import hashes

    return builder.sign(key, hashes.SHA256())
