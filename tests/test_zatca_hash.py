"""The hash of a tax document: ZATCA's canonical form, the same as the oracle's, and hostile XML refused."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from lxml import etree
from zatca_documents import SAMPLES, STANDARD
from zatca_stamps import simplified, standard, xml_of

from invora_grpc.errors import ConfigError, RequestError
from invora_grpc.zatca.hashing import FIRST_HASH, MAX_BYTES, invoice_hash, parsed, tree_hash

fatoora = pytest.importorskip("fatoora")
XML = xml_of(STANDARD)
TEXT = XML.decode()
QR = "<cac:AdditionalDocumentReference><cbc:ID>QR</cbc:ID></cac:AdditionalDocumentReference>"
LETTERS = some.characters(exclude_categories=("Cs", "Cc"), include_characters="\t\n\r")


def oracle(xml: bytes) -> str:
    told: str = fatoora.invoice_hash_base64_from_xml_str(xml.decode())
    return told


def test_the_first_hash_is_the_hexadecimal_text_of_sha256_of_zero() -> None:
    assert base64.b64decode(FIRST_HASH).decode() == hashlib.sha256(b"0").hexdigest()


@pytest.mark.parametrize("name", SAMPLES)
def test_the_hash_is_the_oracles(name: str) -> None:
    xml = xml_of(SAMPLES[name])
    assert invoice_hash(xml) == oracle(xml)


@settings(max_examples=60)
@given(some.text(LETTERS, min_size=1, max_size=30), some.text(LETTERS, max_size=20))
def test_the_hash_is_the_oracles_whatever_the_text_and_the_whitespace(name: str, between: str) -> None:
    root = etree.fromstring(XML)
    root[0].tail = "".join(char for char in between if char.isspace() and char in " \t\r\n")
    found = root.find(".//{*}RegistrationName")
    assert found is not None
    try:
        found.text = name
    except ValueError:
        return  # XML has no such character
    xml = etree.tostring(root, encoding="utf-8", xml_declaration=True)
    assert invoice_hash(xml) == oracle(xml)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<cbc:UUID>", "<!-- said --><cbc:UUID>"),
        ("<cbc:UUID>", "<?said so?><cbc:UUID>"),
        ("<Invoice", "<?said so?>\n<!-- said -->\n<Invoice"),
        ("\n", "\r\n"),
        ("Tea, green", "<![CDATA[Tea, <green> & black]]>"),
        ("Tea, green", "Tea,&#13;&#9;green &#x1F375;"),
        ('<cbc:ID schemeID="CRN">', '<cbc:ID xmlns:z="urn:z" z:a="1" schemeID="CRN" schemeAgencyID="6">'),
        ("<cac:Price>", "<cac:Signature><cbc:ID>1</cbc:ID></cac:Signature>\n<cac:Price>"),
        ("<cac:AccountingSupplierParty>", "<cbc:Note/><cac:AccountingSupplierParty>"),
        ("<cac:AccountingSupplierParty>", f"{QR}\n   <cac:AccountingSupplierParty>"),
        ("<cac:AccountingSupplierParty>", f"{QR.replace('QR', ' QR ')}<cac:AccountingSupplierParty>"),
    ],
)
def test_the_hash_is_the_oracles_whatever_the_writing(old: str, new: str) -> None:
    assert old in TEXT
    changed = TEXT.replace(old, new).encode()
    assert invoice_hash(changed) == oracle(changed)


def test_the_hash_does_not_depend_on_stamp_and_qr_code() -> None:
    for made in (simplified(), standard()):
        assert b"<ext:UBLExtensions" in made.xml
        assert b">QR<" in made.xml
        bare = re.sub(
            rb"<ext:UBLExtensions.*?</ext:UBLExtensions>|<cac:Signature.*?</cac:Signature>", b"", made.xml, flags=re.S
        )
        assert invoice_hash(made.xml) == invoice_hash(bare) == made.hash == oracle(made.xml)


def test_the_hash_of_a_parsed_document_leaves_the_document_as_it_is() -> None:
    root = parsed(simplified().xml)
    before = etree.tostring(root)
    assert tree_hash(root) == simplified().hash
    assert etree.tostring(root) == before


def test_the_declaration_does_not_count() -> None:
    assert invoice_hash(XML) == invoice_hash(b'<?xml version="1.0" encoding="UTF-8"?>' + XML.partition(b"?>")[2])


def test_any_other_change_changes_the_hash() -> None:
    changed = replace(STANDARD, id="INV-2")
    assert invoice_hash(xml_of(changed)) != invoice_hash(XML)
    assert invoice_hash(XML.replace(b"<cbc:UUID>", b" <cbc:UUID>", 1)) != invoice_hash(XML)


LEVELS = "".join(f"<!ENTITY b{n} '{f'&b{n - 1};' * 10}'>" for n in range(1, 10))
ENTITIES = f"<!DOCTYPE a [<!ENTITY b0 'bbbbbbbbbb'>{LEVELS}]><a c='&b9;'>&b9;</a>"


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        (b"", "is no XML"),
        (b"ARRB", "is no XML"),
        (b"<a><b></a>", "is no XML"),
        (b"<a>" * 5000, "is no XML"),
        (b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>', "has a DOCTYPE"),
        (b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><a/>', "has a DOCTYPE"),
        (ENTITIES.encode(), "DOCTYPE|is no XML"),
        ("<!DOCTYPE a [<!ENTITY e 'x'>]><a/>".encode("utf-16"), "has a DOCTYPE"),
        (b" " * (MAX_BYTES + 1), "too many"),
    ],
)
def test_hostile_xml_is_refused(xml: bytes, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        parsed(xml, "documents[3]")
    assert caught.value.path == "documents[3]"
    assert len(str(caught.value).splitlines()) == 1
    assert "root:" not in str(caught.value)


def test_a_missing_package_is_named_with_what_installs_it() -> None:
    code = """
import sys
sys.modules.update(dict.fromkeys(("lxml", "cryptography", "segno")))
from invora_grpc.errors import ConfigError
from invora_grpc.zatca import chain, hashing, qr, rendering, stamping
for call in (lambda: hashing.invoice_hash(b"<a/>"), stamping.new_key, lambda: rendering.render("a")):
    try:
        call()
    except ConfigError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        f"{package}: is not installed here; pip install 'invora-grpc[zatca]'"
        for package in ("lxml", "cryptography", "segno")
    ], done.stderr
    assert issubclass(ConfigError, ValueError)


def test_no_package_of_the_extra_is_loaded_before_it_is_needed() -> None:
    code = """
import sys
from invora_grpc.zatca import chain, hashing, qr, rendering, stamping
qr.Qr.decode(qr.Qr("Acme", "399999999900003", "2024-01-05T10:20:30", "115.00", "15.00").encode())
print([name for name in ("lxml", "cryptography", "segno", "grpc", "google.protobuf") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
