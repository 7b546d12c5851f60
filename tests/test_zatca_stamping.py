"""Stamps as ZATCA's security features standard has them: the oracle's structure, its verdict, and our own."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from lxml import etree
from zatca_documents import SAMPLES, SIMPLIFIED, STANDARD
from zatca_stamps import UNIT, authority, credentials, simplified, stamped, standard, xml_of

from invora_grpc.errors import RequestError
from invora_grpc.zatca.hashing import FIRST_HASH
from invora_grpc.zatca.qr import Qr
from invora_grpc.zatca.stamping import (
    Check,
    certificate,
    check_stamp,
    csr,
    new_key,
    read_certificate,
    read_key,
    stamp,
    unit_of,
    written,
)

fatoora = pytest.importorskip("fatoora")
CHECKED = [
    "document's digest",
    "signed properties' digest",
    "certificate's digest",
    "issuer and serial number",
    "signing time",
    "signature",
]
CHANGING = ("DigestValue", "SignatureValue", "SigningTime", "EmbeddedDocumentBinaryObject")


def wrong(checks: Iterable[Check]) -> list[str]:
    return [check.name for check in checks if not check.ok]


def shape(xml: bytes) -> list[tuple[str, dict[str, str], str]]:
    """The elements with attributes and texts, but those that differ from one signature to the next."""
    out = []
    for element in etree.fromstring(xml).iter(etree.Element):
        name = etree.QName(element).localname
        text = "" if name in CHANGING else (element.text or "").strip()
        out.append((str(element.tag), {str(key): str(value) for key, value in element.attrib.items()}, text))
    return out


def signed_by_oracle(xml: bytes) -> bytes:
    key, own = credentials()
    signer = fatoora.Signer.from_pem(written(own).decode(), written(key).decode())
    told: str = signer.sign_xml(xml.decode())
    return told.encode()


# --- the stamp ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["standard", "simplified", "foreign currency", "prepaid", "credit note on simplified"])
def test_a_stamp_is_built_as_the_oracle_builds_it(name: str) -> None:
    xml = xml_of(SAMPLES[name])
    ours, theirs = stamp(xml, *credentials()), signed_by_oracle(xml)
    assert shape(ours.xml) == shape(theirs)
    mine, other = (fatoora.parse_signed_invoice_xml(text.decode()) for text in (ours.xml, theirs))
    for fact in ("invoice_hash", "public_key", "cert_hash", "issuer", "serial", "zatca_key_signature"):
        assert getattr(mine, fact)() == getattr(other, fact)(), fact
    codes = Qr.decode(ours.qr), Qr.decode(other.qr_code())
    assert len({replace(code, signature="") for code in codes}) == 1


@pytest.mark.parametrize("name", SAMPLES)
def test_the_oracle_accepts_a_stamped_document(name: str) -> None:
    text = stamped(replace(SAMPLES[name], issued_at=datetime.now(UTC) - timedelta(minutes=5))).xml.decode()
    report = fatoora.validate_zatca_invoice_from_str(fatoora.Config(), text, previous_invoice_hash=FIRST_HASH)
    stages = {stage["stage"]: stage for stage in report["stages"]}
    mine = [stage for name, stage in stages.items() if name not in ("cen", "ksa")]
    assert [finding for stage in mine for finding in stage["findings"]] == []
    stamps = ("BR-KSA-26", "BR-KSA-27", "BR-KSA-28", "BR-KSA-29", "BR-KSA-30", "BR-KSA-33", "BR-KSA-60", "BR-KSA-61")
    assert [one["code"] for one in stages["ksa"]["findings"] if one["code"] in stamps] == []


def test_the_oracle_sees_a_stamp_that_was_tampered_with() -> None:
    text = simplified().xml.replace(b"Tea, green", b"Tea, black").decode()
    report = fatoora.validate_zatca_invoice_from_str(fatoora.Config(), text, previous_invoice_hash=FIRST_HASH)
    assert not report["is_valid"]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_stamp_is_verified(name: str) -> None:
    checks = check_stamp(stamped(SAMPLES[name]).xml)
    assert [check.name for check in checks] == CHECKED
    assert wrong(checks) == []


def test_the_stamp_of_the_oracle_is_verified_but_for_its_time() -> None:
    # It signs with the time of issue, before which this certificate did not live.
    assert wrong(check_stamp(signed_by_oracle(xml_of(SIMPLIFIED)))) in ([], ["signing time"])


def test_what_is_returned_is_what_the_document_carries() -> None:
    made = simplified()
    read = fatoora.parse_signed_invoice_xml(made.xml.decode())
    assert (read.invoice_hash(), read.qr_code(), read.signature()) == (made.hash, made.qr, made.signature)


def test_the_digests_are_those_of_the_standard() -> None:
    def of_hex(data: bytes) -> str:
        return base64.b64encode(hashlib.sha256(data).hexdigest().encode()).decode()

    digests = re.findall(rb"<ds:DigestValue>([^<]+)<", standard().xml)
    text = re.search(rb"<ds:X509Certificate>([^<]+)<", standard().xml)
    held = re.search(rb"<xades:SignedProperties.*</xades:SignedProperties>", standard().xml, re.S)
    assert text and held
    spaces = b' xmlns:xades="http://uri.etsi.org/01903/v1.3.2#"', b' xmlns:ds="http://www.w3.org/2000/09/xmldsig#"'
    properties = held[0].replace(b"<xades:SignedProperties", b"<xades:SignedProperties" + spaces[0])
    properties = re.sub(rb"<(ds:\w+)", rb"<\1" + spaces[1], properties)
    assert [digest.decode() for digest in digests] == [standard().hash, of_hex(properties), of_hex(text[1])]


def test_the_time_of_signing_is_riyadhs() -> None:
    at = datetime(2026, 11, 30, 22, 15, 1, tzinfo=UTC)
    made = stamp(xml_of(STANDARD), *credentials(), at=at)
    assert b"<xades:SigningTime>2026-12-01T01:15:01</xades:SigningTime>" in made.xml


def test_stamping_again_replaces_the_stamp_and_keeps_the_hash() -> None:
    again = stamp(simplified().xml, *credentials())
    assert again.hash == simplified().hash
    assert shape(again.xml) == shape(simplified().xml)
    assert again.xml.count(b"\n") == simplified().xml.count(b"\n")


def test_a_stamped_document_keeps_to_the_order_of_the_xsd() -> None:
    for made in (simplified(), standard()):
        assert fatoora.validate_xml_invoice_from_str(fatoora.Config(), made.xml.decode())


@pytest.mark.parametrize(("name", "what"), [("ICV", "counter"), ("PIH", "previous hash")])
def test_a_document_without_its_place_in_the_chain_is_not_stamped(name: str, what: str) -> None:
    pattern = rb"<cac:AdditionalDocumentReference>\s*<cbc:ID>%s<.*?</cac:AdditionalDocumentReference>" % name.encode()
    bare = re.sub(pattern, b"", xml_of(STANDARD), flags=re.S)
    with pytest.raises(RequestError, match=rf"document: 'INV-1' has no {what} \({name}\); give the document"):
        stamp(bare, *credentials())


def test_a_sellers_name_that_has_no_room_in_the_code_is_told() -> None:
    seller = replace(STANDARD.seller, name="ش" * 200)
    with pytest.raises(RequestError, match=r"tag 1 \(seller's name\): 'ش.* has 400 bytes, and a tag holds 255"):
        stamped(replace(STANDARD, seller=seller))


# --- what is wrong with a stamp -----------------------------------------------------------------------------------


def test_a_document_without_a_stamp_is_told() -> None:
    assert check_stamp(xml_of(STANDARD)) == (Check(0, "stamp", False, "the document has none"),)


def test_a_document_that_was_changed_is_told() -> None:
    changed = simplified().xml.replace(b"Tea, green", b"Tea, black")
    assert wrong(check_stamp(changed)) == ["document's digest", "signature"]


def test_a_changed_digest_does_not_hide_a_changed_document() -> None:
    changed = simplified().xml.replace(b"Tea, green", b"Tea, black")
    other = stamp(changed, new_key(), credentials()[1]).hash
    assert wrong(check_stamp(changed.replace(simplified().hash.encode(), other.encode()))) == ["signature"]


def test_signed_properties_that_were_changed_are_told() -> None:
    text = re.sub(rb"(<xades:SigningTime>)[^<]*", rb"\g<1>2020-01-01T00:00:00", simplified().xml)
    assert wrong(check_stamp(text)) == ["signed properties' digest", "signing time"]


def test_a_signature_by_a_key_of_another_certificate_is_told() -> None:
    assert wrong(check_stamp(stamp(xml_of(STANDARD), new_key(), credentials()[1]).xml)) == ["signature"]


def test_another_certificate_is_told() -> None:
    other = stamp(xml_of(STANDARD), key := new_key(), certificate(key, UNIT, authority()))
    theirs = re.search(rb"<ds:X509Certificate>[^<]+<", other.xml)
    assert theirs
    swapped = re.sub(rb"<ds:X509Certificate>[^<]+<", theirs[0], standard().xml)
    assert wrong(check_stamp(swapped)) == ["certificate's digest", "issuer and serial number", "signature"]


def test_a_certificate_that_cannot_be_read_is_told() -> None:
    text = re.sub(rb"(<ds:X509Certificate>)[^<]+", rb"\g<1>AAAA", standard().xml)
    assert wrong(check_stamp(text)) == ["certificate"]


def test_a_stamp_outside_the_certificates_lifetime_is_told() -> None:
    late = datetime.now(UTC) + timedelta(days=3000)
    assert wrong(check_stamp(stamp(xml_of(STANDARD), *credentials(), at=late).xml)) == ["signing time"]


# --- keys and certificates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", list(fatoora.Environment), ids=lambda one: str(one.name))
def test_a_request_for_a_certificate_is_the_oracles(environment: int) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    key = new_key()
    theirs = fatoora.CsrProperties.new(
        UNIT.common_name,
        UNIT.serial_number,
        UNIT.vat_number,
        UNIT.branch,
        UNIT.organization,
        UNIT.country,
        UNIT.invoice_types,
        UNIT.address,
        UNIT.category,
    ).build(fatoora.SigningKey.from_pem(written(key).decode()), environment)
    template = {"NON_PRODUCTION": "TSTZATCA-Code-Signing", "SIMULATION": "PREZATCA-Code-Signing"}
    name = template.get(fatoora.Environment(environment).name, "ZATCA-Code-Signing")
    ours, other = x509.load_pem_x509_csr(csr(key, UNIT, name)), x509.load_pem_x509_csr(theirs.to_pem().encode())
    assert ours.subject == other.subject
    assert [one.oid for one in ours.extensions] == [one.oid for one in other.extensions]
    assert [one.value.public_bytes() for one in ours.extensions] == [
        one.value.public_bytes() for one in other.extensions
    ]
    info = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert ours.public_key().public_bytes(*info) == other.public_key().public_bytes(*info)
    assert ours.is_signature_valid


def test_a_request_tells_its_unit() -> None:
    assert unit_of(csr(new_key(), UNIT)) == UNIT
    with pytest.raises(RequestError, match="csr: b'nonsense' is no request for a unit's certificate"):
        unit_of(b"nonsense")


def test_a_certificate_is_the_authoritys_and_names_the_unit() -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key, own = credentials()
    own.verify_directly_issued_by(authority().certificate)
    authority().key.public_key().verify(own.signature, own.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
    names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert UNIT.vat_number in str(names.get_values_for_type(x509.DirectoryName)[0].rfc4514_string())
    assert isinstance(key.curve, ec.SECP256K1)


@pytest.mark.parametrize("name", [field.name for field in fields(UNIT)])
def test_a_particular_that_a_certificate_cannot_hold_is_named(name: str) -> None:
    with pytest.raises(RequestError, match=rf"unit\.{name}: '' cannot stand in a certificate"):
        csr(new_key(), replace(UNIT, **{name: ""}))


def test_an_unknown_template_is_refused() -> None:
    with pytest.raises(RequestError, match="template: 'other' is not known; use one of ZATCA-Code-Signing"):
        csr(new_key(), UNIT, "other")


def test_keys_and_certificates_are_kept_as_pem() -> None:
    key, own = credentials()
    assert read_certificate(written(own)) == own
    assert read_key(written(key)).private_numbers() == key.private_numbers()
    with pytest.raises(RequestError, match="certificate: b'nonsense' cannot be read"):
        read_certificate(b"nonsense")


def test_a_key_of_another_kind_is_refused_without_telling_it() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(*pem)
    for text in (other, b"nonsense", other[:60]):
        with pytest.raises(RequestError, match=r"key: '\*\*\*'") as caught:
            read_key(text)
        assert text[30:50].decode() not in str(caught.value) or text == b"nonsense"


def test_an_authority_does_not_show_its_key() -> None:
    assert "key" not in repr(authority()).partition("certificate")[0]
