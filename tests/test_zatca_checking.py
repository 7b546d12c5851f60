"""Checking of tax documents: each of ZATCA's own rules, the UBL schema, places, hostile input, speed."""

from __future__ import annotations

import gc
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from zatca_documents import ASSIGNED, SAMPLES
from zatca_examples import EXAMPLES, LINE, NAMES, SELLER, Edit, Example, add, drop, edited, put

from invora_api.oasis.names.specification.ubl.schema.xsd.invoice_2 import models_pb2
from invora_grpc.errors import RequestError
from invora_grpc.zatca.checking import SCHEMA_RULE, Finding, check, rules
from invora_grpc.zatca.elements import models, table
from invora_grpc.zatca.engine import Node, number
from invora_grpc.zatca.hashing import MAX_BYTES
from invora_grpc.zatca.ubl import to_xml
from invora_grpc.zatca.ubl_names import INVOICE

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
"""The instant of the examples."""
GOOD = to_xml(ASSIGNED)
OWN_BOOKS = "invora_grpc.zatca.rules_ksa"


def findings(*edits: Edit, xml: bytes = GOOD) -> tuple[Finding, ...]:
    return check(edited(xml, *edits), now=NOW)


def problem(*edits: Edit) -> str:
    """The one finding about the schema that a changed document has."""
    (found,) = (finding for finding in findings(*edits) if finding.rule == SCHEMA_RULE)
    assert found.severity == "error"
    return f"{found.place}: {found.text}"


# --- the rules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_a_good_document_breaks_no_rule_but_what_the_platform_and_the_clock_see_to(name: str) -> None:
    document = SAMPLES[name]
    at_once = document.issued_at + timedelta(minutes=1)
    assert [finding for finding in check(to_xml(document), now=at_once) if not finding.assigned] == []


def test_a_good_document_with_all_that_the_platform_adds_breaks_nothing() -> None:
    assert check(GOOD, now=NOW) == ()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.rule)
def test_each_rule_is_broken_by_its_example(example: Example) -> None:
    found = [finding for finding in check(example.xml(), now=NOW) if finding.rule == example.rule]
    assert found
    assert "\n" not in found[0].text
    assert len(found[0].text) < 200


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.rule)
def test_the_examples_break_the_same_rules_with_the_same_severity_for_the_oracle(example: Example) -> None:
    pytest.importorskip("fatoora")
    from zatca_mutants import NOW as AT
    from zatca_mutants import verdict

    xml = example.xml()
    told = verdict(xml.decode())
    assert told.fits_schema and not told.gave_up
    assert {(finding.rule, finding.severity) for finding in check(xml, now=AT)} == told.findings


def test_every_rule_of_zatcas_own_has_an_example() -> None:
    own = {rule.id for rule in rules() if rule.broken_by.__module__.startswith(OWN_BOOKS)}
    assert own == {example.rule for example in EXAMPLES}
    assert len(own) > 120


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.rule)
def test_places_are_xpath_that_finds_the_element(example: Example) -> None:
    root = etree.fromstring(example.xml())
    for finding in check(example.xml(), now=NOW):
        assert len(root.xpath(finding.place, namespaces=NAMES | {"ubl": INVOICE})) == 1, finding.place


def test_a_place_tells_lines_apart() -> None:
    (found,) = findings(put("cac:InvoiceLine[2]/cac:TaxTotal/cbc:RoundingAmount", "1.00"))
    assert found.place == "/ubl:Invoice/cac:InvoiceLine[2]/cac:TaxTotal"


def test_every_place_that_breaks_a_rule_is_told() -> None:
    found = findings(*(put(f"cac:InvoiceLine[{n}]/cac:TaxTotal/cbc:RoundingAmount", "1.00") for n in (1, 2)))
    assert [finding.rule for finding in found] == ["BR-KSA-51", "BR-KSA-51"]


def test_only_what_the_platform_adds_is_marked_as_assigned() -> None:
    missing = {finding.rule for finding in check(to_xml(SAMPLES["simplified"]), now=NOW) if finding.assigned}
    assert missing == {"BR-KSA-33", "BR-KSA-61", "BR-KSA-27", "BR-KSA-60"}
    assert not any(finding.assigned for finding in findings(put("cbc:UUID", "")))


def test_days_are_saudi_days() -> None:
    late = datetime(2026, 11, 1, 21, 30, tzinfo=UTC)  # half past midnight of the next day in Riyadh
    assert "BR-KSA-04" not in {finding.rule for finding in check(GOOD, now=late)}
    assert "BR-KSA-04" in {finding.rule for finding in check(GOOD, now=late - timedelta(hours=1))}


def test_the_24_hours_of_a_simplified_document_end_to_the_second() -> None:
    document = SAMPLES["assigned, simplified"]
    last = document.issued_at + timedelta(hours=24)
    assert "BR-KSA-98" not in {finding.rule for finding in check(to_xml(document), now=last)}
    assert "BR-KSA-98" in {finding.rule for finding in check(to_xml(document), now=last + timedelta(seconds=1))}


def test_a_second_identifier_of_the_seller_is_an_error_and_stops_nothing() -> None:
    second = '<cac:PartyIdentification><cbc:ID schemeID="OTH">7</cbc:ID></cac:PartyIdentification>'
    assert "BR-KSA-08" in {finding.rule for finding in findings(add(SELLER[:-1], second))}


def test_the_prefixes_of_the_document_do_not_matter() -> None:
    renamed = GOOD.replace(b"cbc:", b"b:").replace(b":cbc=", b":b=").replace(b"<Invoice", b"<i:Invoice")
    renamed = renamed.replace(b"</Invoice", b"</i:Invoice").replace(b"xmlns=", b"xmlns:i=")
    assert check(renamed, now=NOW) == ()


def test_comments_and_instructions_are_not_seen() -> None:
    commented = GOOD.replace(b"<cbc:UUID>8e60", b"<!-- a --><cbc:UUID>8<!-- b -->e6<?c d?>0")
    assert commented != GOOD
    assert check(commented, now=NOW) == ()


# --- the schema ----------------------------------------------------------------------------------------------------


@cache
def _messages():
    """Type of the table → its message in the project's protos."""
    found, todo = {}, [models_pb2.DESCRIPTOR.message_types_by_name["InvoiceType"]]
    while todo:
        message = todo.pop()
        name = message.name.removesuffix("Type")
        if name not in found:
            found[name] = message
            todo += [f.message_type for f in message.fields if "commonaggregate" in f.message_type.file.package]
    return found


_ACRONYMS = {"id": "ID", "uuid": "UUID", "ubl": "UBL", "uri": "URI", "cv2": "CV2", "undg": "UNDG", "mmsi": "MMSI"}
_ACRONYMS |= {"inf": "INF"}


def _element(field) -> str:
    name = field.name.removesuffix("_property") if field.name.endswith("_type_property") else field.name
    return "".join(_ACRONYMS.get(part, part.capitalize()) for part in name.split("_"))


def test_the_table_of_elements_is_that_of_the_protos() -> None:
    types, _ = table()
    for name, words in types.items():
        fields = [f for f in _messages()[name].fields if name == "Invoice" or f.name != "ubl_extensions"]
        assert [f.number for f in fields] == sorted(f.number for f in fields)
        assert [word.rstrip("*1+").rstrip("!").partition(":")[0] for word in words] == [_element(f) for f in fields]
        for word, found in zip(words, fields, strict=True):
            inner = word.rstrip("*1+!").partition(":")[2]
            assert not inner or inner == found.message_type.name.removesuffix("Type")
            if name != "Invoice" or found.name != "ubl_extensions":  # one wrapper in XML, which the protos leave out
                assert ("*" in word or "1" in word[len(_element(found)) :]) == found.is_repeated


def test_the_kinds_of_values_are_those_of_the_protos() -> None:
    _, kinds = table()
    by_value = {"DecimalValue": ("amount", "decimal", "measure"), "Date": ("date",), "TimeOfDay": ("time",)}
    for message in map(_messages().__getitem__, table()[0]):
        for found in message.fields:
            value = found.message_type.fields_by_name.get("value")
            if "commonbasic" not in found.message_type.file.package or value is None:
                continue
            if value.message_type is not None:
                expected = by_value[value.message_type.name]
            else:
                expected = {value.TYPE_BOOL: ("boolean",), value.TYPE_BYTES: ("binary",)}.get(value.type, ("text",))
            assert kinds.get(_element(found), "text") in expected


def test_an_element_out_of_order_is_told_with_what_it_must_precede() -> None:
    def move(root: etree._Element) -> None:
        root.append(root.find(f"{{{NAMES['cbc']}}}IssueDate"))

    assert problem(move) == "/ubl:Invoice/cbc:IssueDate: cbc:IssueDate must come before cac:InvoiceLine: move it up"


def test_a_note_before_the_type_code_is_out_of_order() -> None:
    def note_first(root: etree._Element) -> None:
        note = etree.Element(f"{{{NAMES['cbc']}}}Note")
        root.find(f"{{{NAMES['cbc']}}}InvoiceTypeCode").addprevious(note)

    assert "must come before cbc:Note" in problem(note_first)


def test_an_unknown_element_is_told_with_its_place() -> None:
    def rename(root: etree._Element) -> None:
        root.find(f"{{{NAMES['cbc']}}}ProfileID").tag = f"{{{NAMES['cbc']}}}Profile"

    assert problem(rename).startswith("/ubl:Invoice/cbc:Profile: UBL 2.1 has no cbc:Profile in ubl:Invoice")


def test_the_place_of_an_element_of_another_vocabulary_leads_to_it() -> None:
    def add_two(root: etree._Element) -> None:
        root.extend([etree.Element("{urn:x}own"), etree.Element("{urn:x}own")])

    xml = edited(GOOD, add_two)
    *_, last = (finding for finding in check(xml, now=NOW) if finding.rule == SCHEMA_RULE)
    (found,) = etree.fromstring(xml).xpath(last.place, namespaces={"ubl": INVOICE})
    assert found.tag == "{urn:x}own" and found.getnext() is None
    assert "UBL 2.1 has no own in ubl:Invoice" in last.text


def test_an_attribute_that_ubl_does_not_have_there_is_told() -> None:
    def put_on(place: str, name: str, text: str) -> Edit:
        return lambda root: root.find(place, NAMES).set(name, text)

    assert problem(put_on("cbc:ID", "currencyID", "SAR")) == (
        "/ubl:Invoice/cbc:ID: cbc:ID has no attribute currencyID in UBL 2.1: remove it"
    )
    assert "cac:Delivery has no attribute id" in problem(put_on("cac:Delivery", "id", "x"))
    assert "ubl:Invoice has no attribute lang" in problem(lambda root: root.set("{urn:x}lang", "ar"))
    assert "that is no language" in problem(put_on(f"{LINE}cac:Item/cbc:Name", "languageID", "\u0639"))
    assert findings(put_on(f"{LINE}cac:Item/cbc:Name", "languageID", "ar-SA")) == ()
    assert findings(lambda root: root.set("{http://www.w3.org/2001/XMLSchema-instance}schemaLocation", "a b")) == ()


def test_text_between_elements_is_told() -> None:
    def strew(root: etree._Element) -> None:
        root.find("cac:Delivery/cbc:ActualDeliveryDate", NAMES).tail = "\u00a0"

    assert problem(strew).endswith("cac:Delivery holds elements, not text: remove the text")
    assert problem(lambda root: setattr(root, "text", "1")).startswith("/ubl:Invoice: ubl:Invoice holds elements")


def test_an_issue_date_beyond_the_year_9999_is_in_the_future() -> None:
    assert "BR-KSA-04" in {finding.rule for finding in findings(put("cbc:IssueDate", "12026-01-01"))}


def test_what_is_no_document_or_no_moment_is_refused() -> None:
    texts: tuple[Any, ...] = (GOOD.decode(), None, ["a"])
    for text in texts:
        with pytest.raises(RequestError, match="give the bytes of the document"):
            check(text)
    with pytest.raises(RequestError, match=r"now.*has no time zone"):
        check(GOOD, now=NOW.replace(tzinfo=None))


@pytest.mark.parametrize("collects", [True, False])
def test_a_check_leaves_the_collector_as_it_was_and_no_garbage_to_it(collects: bool) -> None:
    was = gc.isenabled()
    gc.collect()
    (gc.enable if collects else gc.disable)()
    try:
        check(GOOD, now=NOW)
        with pytest.raises(RequestError):
            check(b"<a/>")
        assert gc.isenabled() is collects
        assert not [found for found in gc.get_objects() if isinstance(found, Node)]
    finally:
        (gc.enable if was else gc.disable)()


def test_an_element_of_a_later_ubl_is_told() -> None:
    def later(root: etree._Element) -> None:
        etree.SubElement(root.find("cac:PaymentMeans", NAMES), f"{{{NAMES['cbc']}}}PaymentMeansDescription")

    assert "UBL 2.1 has no cbc:PaymentMeansDescription in cac:PaymentMeans" in problem(later)


def test_an_element_that_stands_twice_is_told() -> None:
    assert problem(add("", "<cbc:UUID>x</cbc:UUID>")) == (
        "/ubl:Invoice/cbc:UUID[2]: cbc:UUID may stand here only once: remove the others"
    )


def test_an_element_that_must_be_there_is_told() -> None:
    assert problem(drop("cac:AccountingCustomerParty")) == (
        "/ubl:Invoice: ubl:Invoice lacks cac:AccountingCustomerParty: add it"
    )


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (put(f"{LINE}cbc:LineExtensionAmount", "12,50"), "cbc:LineExtensionAmount must be a decimal number"),
        (put(f"{LINE}cbc:LineExtensionAmount", ""), "cbc:LineExtensionAmount must be a decimal number"),
        (put(f"{LINE}cbc:LineExtensionAmount", "1e2"), "cbc:LineExtensionAmount must be a decimal number"),
        (put(f"{LINE}cbc:LineExtensionAmount", "1" * 61), "cbc:LineExtensionAmount must be a decimal number"),
        (put("cbc:IssueDate", "2026-02-30"), "cbc:IssueDate must be a date"),
        (put("cbc:IssueDate", "2.11.2026"), "cbc:IssueDate must be a date"),
        (put("cbc:IssueTime", "25:00:00"), "cbc:IssueTime must be a time"),
        (
            put("cac:AdditionalDocumentReference[2]/cac:Attachment/cbc:EmbeddedDocumentBinaryObject", "a"),
            "cbc:EmbeddedDocumentBinaryObject must be base64",
        ),
        (put("cac:Delivery", "tomorrow"), "cac:Delivery holds elements, not text"),
    ],
)
def test_a_value_of_another_form_is_told(edit: Edit, expected: str) -> None:
    assert expected in problem(edit)


def test_an_amount_without_currency_is_told() -> None:
    def strip(root: etree._Element) -> None:
        del root.find("cac:InvoiceLine/cbc:LineExtensionAmount", NAMES).attrib["currencyID"]

    assert "cbc:LineExtensionAmount lacks its currencyID" in problem(strip)


def test_an_element_in_a_value_is_told() -> None:
    def nest(root: etree._Element) -> None:
        etree.SubElement(root.find("cbc:UUID", NAMES), "x")

    assert "cbc:UUID holds a value, not elements" in problem(nest)


def test_what_is_in_a_signature_is_not_the_schemas_business() -> None:
    extension = "<ext:UBLExtensions><ext:UBLExtension><x/></ext:UBLExtension></ext:UBLExtensions>"
    assert findings(add("", extension)) == ()


def test_the_table_knows_every_element_that_a_document_can_reach() -> None:
    assert len(models()) > 100
    assert models()["Invoice"].required == [
        "cbc:ID",
        "cbc:IssueDate",
        "cac:AccountingSupplierParty",
        "cac:AccountingCustomerParty",
        "cac:LegalMonetaryTotal",
        "cac:InvoiceLine",
    ]


# --- what is no document -------------------------------------------------------------------------------------------

LAUGHS = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><x>&b;</x>'
OUTSIDE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"no XML",
        b"<Invoice>",
        b'<Invoice xmlns="urn:other"/>',
        b"<CreditNote xmlns='urn:oasis:names:specification:ubl:schema:xsd:CreditNote-2'/>",
        LAUGHS,
        OUTSIDE,
        b"<x>&undeclared;</x>",
        b"<a>" * 5000 + b"</a>" * 5000,
        GOOD + b" " * MAX_BYTES,
        b"\xff\xfe\x00",
        GOOD.replace(b"<cbc:ID>", b"<cbc:ID>\x00", 1),
    ],
    ids=lambda xml: repr(xml[:24]),
)
def test_what_is_no_invoice_is_one_clear_error(xml: bytes) -> None:
    with pytest.raises(RequestError) as raised:
        check(xml, name="order.xml")
    assert str(raised.value).startswith("order.xml: ")
    assert "\n" not in str(raised.value)
    assert "root:" not in str(raised.value)


def test_an_invoice_of_nothing_is_told_what_it_lacks() -> None:
    found = check(f'<Invoice xmlns="{INVOICE}"/>'.encode(), now=NOW)
    assert {SCHEMA_RULE, "BR-KSA-03", "BR-KSA-08", "BR-KSA-39", "BR-KSA-68"} <= {finding.rule for finding in found}


@given(st.text(max_size=12))
@settings(max_examples=200, deadline=None)
def test_a_number_is_what_xml_schema_calls_one(text: str) -> None:
    found = number(text)
    if found is not None:
        assert found == Decimal(text.strip())
        assert set(text.strip(" \t\r\n")) <= set("0123456789.+-")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3))
@settings(max_examples=100, deadline=None)
def test_no_number_is_lost_or_rounded_on_reading(value: Decimal) -> None:
    text = format(value, "f")
    assert number(text) == (value if len(text) <= 60 else None)
