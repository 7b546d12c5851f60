"""Tax documents as XML: what is written, that it comes back, and what is refused before anything is written."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import HealthCheck, assume, given, settings
from lxml import etree
from zatca_documents import (
    ASSIGNED,
    BUYER,
    CITIZEN,
    EXEMPT,
    FOREIGN_BUYER,
    ISSUED,
    SAMPLES,
    SELLER,
    SIMPLIFIED,
    STANDARD,
    STANDARD_RATE,
    TEA,
    ZERO_RATE,
    D,
    documents,
)

from invora_api.oasis.names.specification.ubl.schema.xsd.invoice_2.models_pb2 import InvoiceType
from invora_grpc.errors import RequestError
from invora_grpc.zatca.document import Address, Allowance, Document, Line, Party, Prepayment, Reference, Tax
from invora_grpc.zatca.problems import problems
from invora_grpc.zatca.typecode import TypeCode
from invora_grpc.zatca.ubl import from_xml, to_xml

NAMES = {
    "cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
    "cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
}
FEW = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))


def texts(document: Document, path: str) -> list[str | None]:
    """The values at a path in a document's XML."""
    return [element.text for element in etree.fromstring(to_xml(document)).iterfind(path, NAMES)]


def check_order(element: etree._Element, message: Descriptor) -> None:
    """Elements are those of the schema, in its order, once unless they may repeat. The protos number them by it."""
    known = {field.name.replace("_", ""): field for field in message.fields}
    last = 0
    for child in element:
        field = known[etree.QName(child).localname.lower()]
        assert field.number > last or (field.number == last and field.is_repeated), (element.tag, child.tag)
        last = field.number
        check_order(child, field.message_type)


def without_shares(document: Document) -> Document:
    """The document without what allowances are a share of, which is left out of some XML."""

    def bare(allowances: tuple[Allowance, ...]) -> tuple[Allowance, ...]:
        return tuple(replace(each, base_amount=None, percent=None) for each in allowances)

    lines = tuple(replace(line, allowances=bare(line.allowances)) for line in document.lines)
    return replace(document, lines=lines, allowances=bare(document.allowances))


@pytest.mark.parametrize("name", SAMPLES)
def test_what_was_written_comes_back(name: str) -> None:
    assert from_xml(to_xml(SAMPLES[name])) == SAMPLES[name]


@given(documents())
@FEW
def test_every_document_is_in_the_order_of_the_schema_and_comes_back(document: Document) -> None:
    assume(not problems(document))
    xml = to_xml(document)
    check_order(etree.fromstring(xml), InvoiceType.DESCRIPTOR)
    read = from_xml(xml)
    assert without_shares(read) == without_shares(document)
    assert to_xml(read) == xml


def test_the_same_document_gives_the_same_bytes() -> None:
    digests = {hashlib.sha256(to_xml(SAMPLES["allowances"])).hexdigest() for _ in range(3)}
    assert len(digests) == 1


def test_date_and_time_are_those_of_riyadh() -> None:
    late = replace(STANDARD, issued_at=datetime(2026, 10, 31, 22, 15, 9, 999_999, tzinfo=UTC))
    assert texts(late, "cbc:IssueDate") == ["2026-11-01"]
    assert texts(late, "cbc:IssueTime") == ["01:15:09"]


def test_a_time_in_utc_is_read_as_such() -> None:
    xml = to_xml(STANDARD).replace(b"12:30:00<", b"12:30:00Z<")
    assert from_xml(xml).issued_at == datetime(2026, 11, 2, 12, 30, tzinfo=UTC)


def test_notes_follow_the_type_code() -> None:
    root = etree.fromstring(to_xml(SAMPLES["self-billed"]))
    names = [etree.QName(child).localname for child in root]
    assert names[names.index("InvoiceTypeCode") + 1 :][:2] == ["Note", "Note"]


def test_what_the_platform_assigns_is_left_out_unless_given() -> None:
    path = "cac:AdditionalDocumentReference/cbc:ID"
    assert texts(STANDARD, path) == []
    assert texts(ASSIGNED, path) == ["ICV", "PIH"]


def test_vat_is_stated_twice_the_second_time_in_riyals() -> None:
    root = etree.fromstring(to_xml(SAMPLES["foreign currency"]))
    amounts = root.findall("cac:TaxTotal/cbc:TaxAmount", NAMES)
    assert [(each.text, each.get("currencyID")) for each in amounts] == [("51.15", "USD"), ("191.81", "SAR")]


def test_a_prepayment_becomes_a_line_of_nothing() -> None:
    document = SAMPLES["prepaid"]
    assert texts(document, "cac:InvoiceLine/cac:DocumentReference/cbc:DocumentTypeCode") == ["386"]
    assert texts(document, "cac:InvoiceLine/cbc:LineExtensionAmount")[-1] == "0.00"
    assert texts(document, "cac:LegalMonetaryTotal/cbc:PrepaidAmount") == ["115.00"]


def test_a_share_that_zatca_would_compute_otherwise_is_not_stated() -> None:
    def shares(base: str, percent: int, amount: str) -> list[str | None]:
        off = Allowance(D(amount), base_amount=D(base), percent=D(percent))
        return texts(replace(STANDARD, lines=(replace(TEA, unit_price=D(99), allowances=(off,)),)), ".//cbc:BaseAmount")

    assert shares("57.00", 1, "0.57") == ["57.00"]
    assert shares("57.50", 1, "0.58") == []


def test_markup_in_texts_stays_text() -> None:
    line = replace(TEA, name="<b>&amp; ]]> \u202eevil")
    assert from_xml(to_xml(replace(STANDARD, lines=(line,)))).lines == (line,)


def test_the_rate_follows_from_both_taxes_if_it_is_not_stated() -> None:
    xml = to_xml(SAMPLES["foreign currency"])
    start, end = xml.index(b"<cac:TaxExchangeRate>"), xml.index(b"</cac:TaxExchangeRate>") + 22
    assert from_xml(xml[:start] + xml[end:]).sar_rate == D("3.75")


def test_lines_that_are_not_numbered_by_position_keep_their_ids() -> None:
    line = replace(TEA, id="A1")
    assert from_xml(to_xml(replace(STANDARD, lines=(line,)))).lines[0].id == "A1"


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (b"<cbc:IssueDate>2026-11-02<", b"<cbc:IssueDate>2026-13-02<", "cbc:IssueDate"),
        (b"<cbc:IssueDate>2026-11-02<", b"<cbc:IssueDate>20261102<", "cbc:IssueDate"),
        (b"12:30:00<", b"25:30:00<", "cbc:IssueTime"),
        (b"12:30:00<", b"12:30:00+03:00<", "cbc:IssueTime"),
        (b">20.50<", b">2e1<", "cac:Price/cbc:PriceAmount"),
        (b">20.50<", b">" + b"1" * 41 + b"<", "cac:Price/cbc:PriceAmount"),
        (b'name="0100000"', b'name="0300000"', "type_code.name"),
        (b">388<", b">380<", "type_code.code"),
        (b"cac:AccountingSupplierParty>", b"cac:SellerSupplierParty>", "cac:AccountingSupplierParty/cac:Party"),
        (b"<cbc:ID>S</cbc:ID>", b"<cbc:ID>B</cbc:ID>", "cac:TaxCategory/cbc:ID"),
        (b"xsd:Invoice-2", b"xsd:CreditNote-2", "xml"),
        (b"<cbc:ProfileID>", b"<cbc:ProfileID", "xml"),
    ],
)
def test_xml_that_is_no_document_is_refused_with_its_place(old: bytes, new: bytes, place: str) -> None:
    xml = to_xml(STANDARD)
    assert old in xml
    with pytest.raises(RequestError) as caught:
        from_xml(xml.replace(old, new))
    assert caught.value.path == place
    assert caught.value.hint


def party(base: Party, **changes: Any) -> Party:
    address = {name[8:]: changes.pop(name) for name in list(changes) if name.startswith("address_")}
    changed = replace(base, **changes)
    return replace(changed, address=replace(changed.address or Address(), **address)) if address else changed


def line(**changes: Any) -> dict[str, tuple[Line, ...]]:
    return {"lines": (replace(TEA, **changes),)}


def allowance(**changes: Any) -> Allowance:
    return replace(Allowance(D(1), "Discount", tax=STANDARD_RATE), **changes)


def prepaid(**changes: Any) -> dict[str, tuple[Prepayment, ...]]:
    return {"prepayments": (replace(Prepayment("PRE-1", ISSUED, D(10), D("1.50")), **changes),)}


CHARGE = allowance(charge=True, reason_code="FC")
BAD: list[tuple[dict[str, Any], str]] = [
    ({"id": ""}, "id"),
    ({"id": "x" * 128}, "id"),
    ({"id": "a\0b"}, "id"),
    ({"uuid": "not a uuid"}, "uuid"),
    ({"issued_at": datetime(2026, 11, 2, 9)}, "issued_at"),
    ({"issued_at": datetime.now(UTC) + timedelta(days=2)}, "issued_at"),
    ({"supply_date": None}, "supply_date"),
    ({"supply_end": date(2026, 10, 31)}, "supply_end"),
    ({"type_code": TypeCode(code=381), "reason": "Returned"}, "originals"),
    ({"type_code": TypeCode(code=383), "originals": (Reference("INV-0"),)}, "reason"),
    ({"originals": (Reference("INV-0", issue_date=date(2026, 11, 3)),)}, "originals[0].issue_date"),
    ({"type_code": TypeCode(self_billed=True)}, "notes"),
    ({"type_code": TypeCode(government=True)}, "contract"),
    ({"type_code": TypeCode("simplified", nominal=True, continuous=True)}, "type_code.name"),
    ({"type_code": TypeCode(self_billed=True), "notes": ("…",), "buyer": FOREIGN_BUYER}, "buyer.vat_number"),
    ({"payment_means": "999"}, "payment_means"),
    ({"payment_means": "", "reason": "Returned"}, "payment_means"),
    ({"notes": ("x" * 1001,)}, "notes[0]"),
    ({"currency": "RIYAL"}, "currency"),
    ({"currency": "USD"}, "sar_rate"),
    ({"currency": "USD", "sar_rate": D(1)}, "sar_rate"),
    ({"currency": "USD", "sar_rate": D("3.7500000000001")}, "sar_rate"),
    ({"sar_rate": D("3.75")}, "sar_rate"),
    ({"counter": -1}, "counter"),
    ({"previous_hash": "abc"}, "previous_hash"),
    ({"seller": party(SELLER, vat_number="")}, "seller.vat_number"),
    ({"seller": party(SELLER, vat_number="123456789012345")}, "seller.vat_number"),
    ({"seller": party(SELLER, id_scheme="NAT")}, "seller.id_scheme"),
    ({"seller": party(SELLER, id_value="101001")}, "seller.id_value"),
    ({"seller": party(SELLER, id_value="1012345678")}, "seller.id_value"),
    ({"seller": party(SELLER, address=None)}, "seller.address"),
    ({"seller": party(SELLER, address_district="")}, "seller.address.district"),
    ({"seller": party(SELLER, address_building_number="12")}, "seller.address.building_number"),
    ({"seller": party(SELLER, address_postal_code="1221")}, "seller.address.postal_code"),
    ({"buyer": None}, "buyer"),
    ({"buyer": party(BUYER, name="")}, "buyer.name"),
    ({"buyer": party(BUYER, vat_number=SELLER.vat_number)}, "buyer.vat_number"),
    ({"buyer": party(BUYER, vat_number="")}, "buyer.id_value"),
    ({"buyer": party(BUYER, address=None)}, "buyer.address"),
    ({"buyer": party(BUYER, address_district="")}, "buyer.address.district"),
    ({"buyer": party(FOREIGN_BUYER, address_city="")}, "buyer.address.city"),
    ({"buyer": party(BUYER, address_country="KSA")}, "buyer.address.country"),
    ({"lines": ()}, "lines"),
    ({"lines": (replace(TEA, id="1"), replace(TEA, id="1"))}, "lines[1].id"),
    ({"lines": (TEA, replace(TEA, id="1"))}, "lines[1].id"),
    (line(name="12345"), "lines[0].name"),
    (line(name="ab"), "lines[0].name"),
    (line(quantity=D(0)), "lines[0].quantity"),
    (line(quantity=2), "lines[0].quantity"),
    (line(quantity=D("NaN")), "lines[0].quantity"),
    (line(unit_price=D(-1)), "lines[0].unit_price"),
    (line(unit_price=D("1E+13")), "lines[0].unit_price"),
    (line(base_quantity=D(0)), "lines[0].base_quantity"),
    (line(unit_code=""), "lines[0].unit_code"),
    (line(id="1234567"), "lines[0].id"),
    (line(tax=Tax("S", D(16))), "lines[0].tax.rate"),
    (line(tax=replace(ZERO_RATE, rate=D(15))), "lines[0].tax.rate"),
    (line(tax=replace(ZERO_RATE, exemption_code="")), "lines[0].tax.exemption_code"),
    (line(tax=replace(EXEMPT, exemption_code="VATEX-SA-32")), "lines[0].tax.exemption_code"),
    (line(tax=replace(EXEMPT, exemption_text="")), "lines[0].tax.exemption_text"),
    (line(tax=Tax(exemption_text="none")), "lines[0].tax.exemption_text"),
    (line(allowances=(Allowance(D("41.01")),)), "lines[0]"),
    (line(allowances=(allowance(),)), "lines[0].allowances[0].tax"),
    ({"lines": (replace(TEA, tax=ZERO_RATE), replace(TEA, tax=replace(ZERO_RATE, exemption_code="VATEX-SA-33")))},
     "lines[1].tax"),
    (line(tax=replace(ZERO_RATE, exemption_code="VATEX-SA-EDU")), "buyer"),
    ({"allowances": (allowance(amount=D("0.001")),)}, "allowances[0].amount"),
    ({"allowances": (allowance(amount=D(-1)),)}, "allowances[0].amount"),
    ({"allowances": (allowance(tax=None),)}, "allowances[0].tax"),
    ({"allowances": (allowance(amount=D(10_000)),)}, "allowances"),
    ({"allowances": (replace(CHARGE, reason_code=""),)}, "allowances[0].reason_code"),
    ({"allowances": (replace(CHARGE, reason=""),)}, "allowances[0].reason"),
    ({"allowances": (allowance(percent=D(10)),)}, "allowances[0].base_amount"),
    ({"allowances": (allowance(percent=D(10), base_amount=D(11)),)}, "allowances[0].amount"),
    (prepaid(taxable_amount=D(0), tax_amount=D(0)), "prepayments[0].taxable_amount"),
    (prepaid(tax_amount=D(2)), "prepayments[0].tax_amount"),
    (prepaid(tax=ZERO_RATE, tax_amount=D(0)), "prepayments[0].tax"),
    (prepaid(issued_at=ISSUED + timedelta(days=1)), "prepayments[0].issued_at"),
    (prepaid(taxable_amount=D(1000), tax_amount=D(150)), "prepayments"),
    ({"rounding": D("0.005")}, "rounding"),
    (line(quantity=D(10**6), unit_price=D(10**6)), "lines"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "path"), BAD, ids=[f"{number} {path}" for number, (_, path) in enumerate(BAD)])
def test_what_cannot_become_valid_is_refused_by_field(changes: dict[str, Any], path: str) -> None:
    document = replace(STANDARD, **changes)
    with pytest.raises(RequestError) as caught:
        to_xml(document)
    assert caught.value.path == path
    assert caught.value.hint
    assert [problem.path for problem in problems(document)] == [path]


def fields_of(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places of all values in a document."""
    if path:
        yield path
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from fields_of(item, (*path, index))
    elif is_dataclass(value) and not isinstance(value, TypeCode):
        for field in fields(value):
            yield from fields_of(getattr(value, field.name), (*path, field.name))


def put(value: Any, path: tuple[Any, ...], new: object) -> Any:
    """The document with another value at a place."""
    if not path:
        return new
    first, *rest = path
    if isinstance(first, int):
        return (*value[:first], put(value[first], tuple(rest), new), *value[first + 1 :])
    return replace(value, **{first: put(getattr(value, first), tuple(rest), new)})


@pytest.mark.parametrize("name", ["allowances", "prepaid", "credit note on standard", "summary"])
def test_a_value_of_another_type_is_refused_by_its_field_wherever_it_stands(name: str) -> None:
    for path in fields_of(SAMPLES[name]):
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]
        for new in ([], {"a": 1}, 1.5, object()):
            found = problems(put(SAMPLES[name], path, new))
            assert [problem.path for problem in found] == [place]


def test_what_is_no_document_at_all_is_refused() -> None:
    no_documents: tuple[Any, ...] = (None, [], "INV-1")
    for value in no_documents:
        with pytest.raises(RequestError, match=r"document.*give a zatca\.Document"):
            to_xml(value)


def test_a_rounding_that_takes_off_too_much_is_named_itself() -> None:
    cheap = replace(STANDARD, lines=(replace(TEA, quantity=D(1), unit_price=D("0.10")),), rounding=D("-0.99"))
    (found,) = problems(cheap)
    assert (found.path, found.value) == ("rounding", D("-0.99"))
    assert "-0.87 is payable" in str(found)


def test_a_simplified_summary_needs_both_dates_and_a_buyer() -> None:
    document = replace(SIMPLIFIED, type_code=TypeCode("simplified", summary=True))
    assert [problem.path for problem in problems(document)] == ["supply_end", "buyer"]
    dated = replace(document, buyer=CITIZEN, supply_date=date(2026, 10, 1), supply_end=date(2026, 10, 31))
    assert problems(dated) == ()


def test_today_is_riyadhs_and_may_be_told() -> None:
    evening = datetime(2026, 11, 1, 20, 59, tzinfo=UTC)  # 23:59 in Riyadh on the day before ISSUED
    assert [problem.path for problem in problems(STANDARD, evening)] == ["issued_at"]
    assert problems(STANDARD, evening + timedelta(minutes=1)) == ()


def test_all_problems_are_told_at_once() -> None:
    document = replace(STANDARD, id="", uuid="", lines=(replace(TEA, quantity=D(0)),))
    assert [problem.path for problem in problems(document)] == ["id", "uuid", "lines[0].quantity"]


def test_unchecked_xml_says_what_is_there() -> None:
    wrong = replace(STANDARD, lines=(replace(TEA, tax=Tax("S", D(16))),), issued_at=ISSUED + timedelta(days=900))
    assert b"<cbc:Percent>16.00<" in to_xml(wrong, checked=False)
    with pytest.raises(RequestError, match="XML"):
        to_xml(replace(STANDARD, id="a\0b"), checked=False)


def test_a_missing_lxml_names_the_extra() -> None:
    code = "import sys; sys.modules['lxml'] = None\nimport invora_grpc.zatca.ubl"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'invora-grpc[zatca]'" in done.stderr
    assert "ConfigError" in done.stderr
