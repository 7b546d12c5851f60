"""QR codes of ZATCA: tags and lengths, errors that name the tag, what is true of a code, and the pictures."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as some
from zatca_documents import SAMPLES, SIMPLIFIED, STANDARD
from zatca_stamps import credentials, simplified, stamped, standard, xml_of

from invora_grpc.errors import RequestError
from invora_grpc.zatca.qr import TAGS, Qr, qr_of
from invora_grpc.zatca.rendering import FORMS, Form, render
from invora_grpc.zatca.stamping import Check, new_key

PHASE_1 = Qr("شركة توريد", "399999999900003", "2024-01-05T10:20:30", "115.00", "15.00")
SHORT = some.text(some.characters(exclude_categories=("Cs",)), min_size=1, max_size=63)
PROOFS = some.tuples(
    SHORT, SHORT, some.binary(min_size=1, max_size=255), some.just(b"") | some.binary(min_size=1, max_size=255)
)


def tlv(*values: tuple[int, bytes]) -> str:
    return base64.b64encode(b"".join(bytes((tag, len(value))) + value for tag, value in values)).decode()


def parts(code: Qr) -> list[tuple[int, bytes]]:
    data, out = base64.b64decode(code.encode()), []
    while data:
        out.append((data[0], data[2 : 2 + data[1]]))
        data = data[2 + data[1] :]
    return out


def wrong(checks: Iterable[Check]) -> dict[int, str]:
    return {check.tag: check.text for check in checks if check.ok is False}


def open_questions(checks: Iterable[Check]) -> list[int]:
    return [check.tag for check in checks if check.ok is None]


# --- tags and lengths ---------------------------------------------------------------------------------------------


def test_a_code_of_phase_1_is_read() -> None:
    # Bobs Records: the example of ZATCA's own guide to the code
    text = "AQxCb2JzIFJlY29yZHMCDzMxMDEyMjM5MzUwMDAwMwMUMjAyMi0wNC0yNVQxNTozMDowMFoEBzEwMDAuMDAFBjE1MC4wMA=="
    code = Qr.decode(text)
    assert code == Qr("Bobs Records", "310122393500003", "2022-04-25T15:30:00Z", "1000.00", "150.00")
    assert (code.phase, code.encode()) == (1, text)


@given(SHORT, SHORT, SHORT, SHORT, SHORT, some.none() | PROOFS)
def test_what_is_written_is_read_again(
    seller: str, vat: str, time: str, total: str, tax: str, proofs: tuple[str, str, bytes, bytes] | None
) -> None:
    code = Qr(seller, vat, time, total, tax, *(proofs or ()))
    assert Qr.decode(code.encode()) == code
    assert code.phase == (1 if proofs is None else 2)


@given(some.binary(max_size=300) | some.lists(some.tuples(some.integers(0, 11), some.binary(max_size=20))))
def test_whatever_is_scanned_is_a_code_or_an_error_of_one_line(data: bytes | list[tuple[int, bytes]]) -> None:
    text = base64.b64encode(data).decode() if isinstance(data, bytes) else tlv(*data)
    try:
        assert Qr.decode(text).encode() == text
    except RequestError as error:
        assert len(str(error).splitlines()) == 1


def test_a_code_that_is_cut_off_anywhere_is_refused_unless_it_is_whole_so() -> None:
    data, whole = base64.b64decode(simplified().qr), []
    for end in range(len(data)):
        try:
            whole.append(Qr.decode(base64.b64encode(data[:end]).decode()))
        except RequestError as error:
            assert re.match(r"tag \d \(|qr: .* has no tag \d|qr: '' is empty", str(error))
    # Up to tag 5 it is a code of phase 1, up to tag 8 one of a standard document.
    assert [(code.phase, code.certificate_signature) for code in whole] == [(1, b""), (2, b"")]


@pytest.mark.parametrize("tag", range(1, 10))
def test_a_value_that_is_announced_longer_than_it_is_names_its_tag(tag: int) -> None:
    values = parts(Qr.decode(simplified().qr))
    data = b"".join(bytes((number, len(value))) + value for number, value in values[: tag - 1])
    data += bytes((tag, 200)) + b"abc"
    with pytest.raises(RequestError) as caught:
        Qr.decode(base64.b64encode(data).decode())
    assert str(caught.value).startswith(f"tag {tag} ({TAGS[tag]}): b'abc' is cut off: 200 bytes are announced, and 3")


FIVE = [(tag, value) for tag, value in parts(PHASE_1)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "qr: '' is empty"),
        ("شركة", "is no base64"),
        ("AQ=A", "is no base64"),
        ("AQxCb2Jz!", "is no base64"),
        (base64.b64encode(bytes(3000)).decode(), "too long with 3000 bytes"),
        (tlv(*FIVE, (0, b"a")), r"tag 0: .* is not known; ZATCA's codes have tags 1 to 9"),
        (tlv(*FIVE, (10, b"a")), "tag 10: .* is not known"),
        (tlv(*FIVE[:4]), r"has no tag 5 \(VAT total\)"),
        (tlv(*FIVE[1:]), r"has no tag 1 \(seller's name\)"),
        (tlv((1, b""), *FIVE[1:]), r"tag 1 \(seller's name\): .*is empty"),
        (tlv(FIVE[0], *FIVE), r"tag 1 \(seller's name\): .* comes twice, again at byte 21"),
        (tlv(FIVE[1], FIVE[0], *FIVE[2:]), r"tag 1 \(seller's name\): .* comes after tag 2"),
        (tlv((1, b"ab\xff"), *FIVE[1:]), r"tag 1 \(seller's name\): .* is no UTF-8 from byte 2 on"),
        (tlv(*FIVE, (6, b"\xc3")), r"has no tag 7 \(signature\)"),
        (tlv(*FIVE, (7, b"a"), (8, b"a")), r"has no tag 6 \(hash\)"),
        (tlv(*FIVE, (6, b"a"), (7, b"\xc3"), (8, b"a")), r"tag 7 \(signature\): .* is no UTF-8 from byte 0 on"),
    ],
)
def test_a_code_that_is_none_says_why(text: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        Qr.decode(text)


def test_what_is_no_text_is_refused() -> None:
    no_texts: tuple[Any, ...] = (None, 5, b"AQ==", [])
    for value in no_texts:
        with pytest.raises(RequestError, match=r"qr.*is no text"):
            Qr.decode(value)
        if not isinstance(value, bytes):
            with pytest.raises(RequestError, match="seller's name"):
                Qr(value, "399999999900003", "2024-01-05T10:20:30", "115.00", "15.00").encode()


def test_whitespace_that_a_scanner_adds_does_not_matter() -> None:
    text = PHASE_1.encode()
    assert Qr.decode(f" {text[:40]}\r\n{text[40:]}\n") == PHASE_1


def test_a_value_counts_in_bytes_of_utf8() -> None:
    assert Qr.decode(replace(PHASE_1, seller="ش" * 127).encode()).seller == "ش" * 127
    with pytest.raises(RequestError, match=r"tag 1 \(seller's name\): .* has 256 bytes, and a tag holds 255; shorten"):
        replace(PHASE_1, seller="ش" * 128).encode()


def test_a_code_that_lacks_something_is_not_written() -> None:
    with pytest.raises(RequestError, match=r"tag 2 \(VAT number\): '' is empty; fill it"):
        replace(PHASE_1, vat_number="").encode()
    with pytest.raises(RequestError, match=r"tag 8 \(public key\): b'' is empty"):
        replace(PHASE_1, hash="a", signature="b").encode()
    with pytest.raises(RequestError, match=r"tag 1 \(seller's name\): .* cannot be written as UTF-8"):
        replace(PHASE_1, seller="\ud800").encode()


# --- what is true of it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_the_code_of_a_stamped_document_agrees_with_it(name: str) -> None:
    made = stamped(SAMPLES[name])
    code = qr_of(made.xml)
    assert code.encode() == made.qr
    last = 9 if SAMPLES[name].type_code.subtype == "simplified" else 8
    assert [check.tag for check in code.verify(made.xml)] == list(range(1, last + 1))
    assert [check for check in code.verify(made.xml) if check.ok is not True] == []


def test_only_simplified_documents_carry_the_signature_of_the_certificate() -> None:
    assert Qr.decode(standard().qr).certificate_signature == b""
    assert Qr.decode(simplified().qr).certificate_signature == credentials()[1].signature


def test_by_itself_a_code_proves_only_its_signature() -> None:
    checks = Qr.decode(simplified().qr).verify()
    assert [check.tag for check in checks if check.ok] == [7]
    assert open_questions(checks) == [1, 2, 3, 4, 5, 6, 8, 9]
    assert open_questions(PHASE_1.verify()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("tag", "change"),
    [
        (1, {"seller": "Another"}),
        (2, {"vat_number": "300000000000003"}),
        (3, {"timestamp": "2026-11-02T12:30:01"}),
        (3, {"timestamp": "2026-11-03T12:30:00"}),
        (4, {"total": "400.00"}),
        (5, {"tax": "0.00"}),
        (9, {"certificate_signature": b"\x30\x00"}),
    ],
)
def test_what_a_code_says_wrongly_is_told_by_its_tag_alone(tag: int, change: dict[str, str]) -> None:
    told = wrong(replace(Qr.decode(simplified().qr), **change).verify(simplified().xml))
    assert list(told) == [tag]


def test_a_disagreement_tells_both_sides() -> None:
    told = wrong(replace(Qr.decode(simplified().qr), seller="Another").verify(simplified().xml))
    assert told == {1: "the code says 'Another', the document 'Salam Services LLC'"}


@pytest.mark.parametrize(
    ("tag", "change"),
    [
        (2, {"vat_number": "12"}),
        (2, {"vat_number": "٣99999999900003"}),
        (3, {"timestamp": "yesterday"}),
        (3, {"timestamp": "2026-11-02"}),
        (4, {"total": "1,000.00"}),
        (4, {"total": "١٠"}),
        (5, {"tax": "-1"}),
        (5, {"tax": "NaN"}),
    ],
)
def test_values_without_sense_are_wrong_even_without_a_document(tag: int, change: dict[str, str]) -> None:
    assert list(wrong(replace(PHASE_1, **change).verify())) == [tag]


@pytest.mark.parametrize("time", ["2026-11-02T12:30:00Z", "2026-11-02T09:30:00+00:00", "2026-11-02T12:30:00.000+03:00"])
def test_one_time_is_written_in_many_ways(time: str) -> None:
    assert wrong(replace(Qr.decode(simplified().qr), timestamp=time).verify(simplified().xml)) == {}


def test_amounts_are_compared_by_value() -> None:
    code = Qr.decode(simplified().qr)
    assert wrong(replace(code, total=f"{code.total}0", tax=f"0{code.tax}").verify(simplified().xml)) == {}


def test_the_code_of_another_document_is_told_by_its_hash() -> None:
    other = stamped(replace(SIMPLIFIED, id="SIM-2"))
    assert list(wrong(Qr.decode(simplified().qr).verify(other.xml))) == [6, 7]


def test_a_document_that_was_changed_after_the_stamp_is_told() -> None:
    changed = simplified().xml.replace(b"Tea, green", b"Tea, black")
    assert list(wrong(qr_of(changed).verify(changed))) == [6]


def test_a_signature_by_another_key_is_told() -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    code = Qr.decode(standard().qr)
    forged = new_key().sign(base64.b64decode(code.hash), ec.ECDSA(hashes.SHA256()))
    told = wrong(replace(code, signature=base64.b64encode(forged).decode()).verify(standard().xml))
    assert told == {7: "is not that of the hash, by the public key"}


def test_another_key_with_its_own_signature_is_told_by_the_certificate() -> None:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    code, key = Qr.decode(standard().qr), new_key()
    signature = base64.b64encode(key.sign(base64.b64decode(code.hash), ec.ECDSA(hashes.SHA256()))).decode()
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(serialization.Encoding.DER, info)
    forged = replace(code, signature=signature, public_key=public)
    assert wrong(forged.verify()) == {}
    assert list(wrong(forged.verify(standard().xml))) == [7, 8]


@pytest.mark.parametrize("signature", ["", "nonsense", base64.b64encode(b"nonsense").decode()])
def test_a_signature_that_is_none_is_told(signature: str) -> None:
    code = replace(Qr.decode(standard().qr), signature=signature)
    assert wrong(code.verify()) == {7: "is not that of the hash, by the public key"}


def test_a_key_that_is_none_or_on_another_curve_is_told() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    code = Qr.decode(standard().qr)
    assert wrong(replace(code, public_key=b"nonsense").verify())[7].endswith("the public key cannot be read")
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    other = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(serialization.Encoding.DER, info)
    assert wrong(replace(code, public_key=other).verify())[7].endswith("is not on secp256k1")


def test_a_hash_that_is_none_is_told() -> None:
    assert list(wrong(replace(Qr.decode(standard().qr), hash="AAAA").verify())) == [6, 7]


def test_a_code_of_phase_1_under_a_stamped_document_is_told() -> None:
    code = replace(Qr.decode(standard().qr), hash="", signature="", public_key=b"")
    assert list(wrong(code.verify(standard().xml))) == [6]
    assert wrong(code.verify(xml_of(STANDARD))) == {}


def test_the_signature_of_the_certificate_is_missed_on_simplified_documents_only() -> None:
    assert list(wrong(replace(Qr.decode(simplified().qr), certificate_signature=b"").verify(simplified().xml))) == [9]
    assert wrong(Qr.decode(standard().qr).verify(standard().xml)) == {}


def test_a_document_without_a_code_says_so() -> None:
    with pytest.raises(RequestError, match="document: 'INV-1' has no QR code; take the document"):
        qr_of(xml_of(STANDARD))


def test_what_the_document_lacks_is_named() -> None:
    bare = standard().xml.replace(b"cbc:PayableAmount", b"cbc:Payable")
    with pytest.raises(RequestError, match="has no cac:LegalMonetaryTotal/cbc:PayableAmount"):
        Qr.decode(standard().qr).verify(bare)


# --- pictures -----------------------------------------------------------------------------------------------------


def scanned(modules: list[list[bool]]) -> str:
    """What a scanner reads; True is a light module."""
    zxing = pytest.importorskip("zxingcpp")
    rows = [row for row in modules for _ in range(3)]
    pixels = bytes(255 if light else 0 for row in rows for light in row for _ in range(3))
    image = memoryview(pixels).cast("B", (len(rows), len(rows[0]) * 3))
    (found,) = zxing.read_barcodes(image)
    text: str = found.text
    return text


def from_png(image: bytes) -> list[list[bool]]:
    """The pixels of a PNG of one bit each."""
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    at, data, width = 8, b"", 0
    while at < len(image):
        length, kind = struct.unpack(">I4s", image[at : at + 8])
        body = image[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, _, depth, colour = struct.unpack(">IIBB", body[:10])
            assert (depth, colour) == (1, 0)
        data += body if kind == b"IDAT" else b""
        at += 12 + length
    raw, line = zlib.decompress(data), (width + 7) // 8 + 1
    rows = [raw[start + 1 : start + line] for start in range(0, len(raw), line)]
    return [[bool(row[x // 8] >> (7 - x % 8) & 1) for x in range(width)] for row in rows]


def from_terminal(text: str) -> list[list[bool]]:
    return [[char in upper for char in line] for line in text.splitlines() for upper in ("█▀", "█▄")]


def test_the_pictures_are_read_by_a_scanner() -> None:
    text = simplified().qr
    assert scanned(from_png(render(text, "png", scale=1))) == text
    assert scanned(from_terminal(render(text, "terminal").decode())) == text


def test_the_longest_code_has_room_in_a_picture() -> None:
    name = "ش" * 127
    whole = replace(Qr.decode(simplified().qr), seller=name, signature="A" * 255, public_key=bytes(255))
    text = replace(whole, certificate_signature=bytes(255), hash="A" * 255).encode()
    assert scanned(from_png(render(text, "png", scale=1))) == text


def test_scale_is_pixels_a_module() -> None:
    small, large = from_png(render("abc", scale=1)), from_png(render("abc", scale=5))
    assert len(large) == 5 * len(small) == 5 * (21 + 8)


def test_svg_is_xml_with_the_size_in_pixels() -> None:
    from lxml import etree

    root = etree.fromstring(render("abc", "svg", scale=2))
    assert (root.tag, root.get("width")) == ("{http://www.w3.org/2000/svg}svg", str(2 * 29))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("text", "scale"), [("", 1), ("a" * 3000, 1), ("abc", 0), ("abc", 1000)])
def test_what_cannot_be_drawn_says_so(form: Form, text: str, scale: int) -> None:
    with pytest.raises(RequestError):
        render(text, form, scale=scale)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(RequestError, match="form: 'gif' is not known; use one of png, svg, terminal"):
        render("abc", cast(Form, "gif"))
