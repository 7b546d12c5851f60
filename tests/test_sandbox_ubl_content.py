"""Typed UBL content and XML: what corresponds to what, what neither form may hold, and that nothing else is lost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from zatca_documents import SAMPLES

from invora_api.documents.v2.content_pb2 import DocumentContent
from invora_grpc.sandbox.ubl_content import CAC, CBC, EXT, UnreadableContent, path_of, read, shape_of, write
from invora_grpc.values import build
from invora_grpc.zatca.elements import models
from invora_grpc.zatca.ubl import to_xml

INVOICE = "urn:oasis:names:specification:ubl:schema:xsd:Invoice-2"
HEAD = f'<Invoice xmlns="{INVOICE}" xmlns:cac="{CAC}" xmlns:cbc="{CBC}" xmlns:ext="{EXT}">'
SIGNED = "<ext:UBLExtensions><ext:UBLExtension><ext:ExtensionURI>urn:a</ext:ExtensionURI><ext:ExtensionContent>{}"
SIGNED += "</ext:ExtensionContent></ext:UBLExtension></ext:UBLExtensions>"


def xml_of(inside: str) -> str:
    return f"{HEAD}{inside}</Invoice>"


def typed(**fields: Any) -> DocumentContent:
    return build(DocumentContent, {"invoice": fields})


def inside(content: DocumentContent) -> str:
    """The XML of an invoice without its root and declaration."""
    root = etree.fromstring(write(content).encode())
    return "".join(etree.tostring(child, method="c14n", exclusive=True).decode() for child in root).replace(
        f' xmlns:cbc="{CBC}"', ""
    )


def wrong_in(content: str | DocumentContent) -> list[str]:
    """The paths that are found wrong."""
    with pytest.raises(UnreadableContent) as caught:
        read(content) if isinstance(content, str) else write(content)
    return [path for path, _ in caught.value.wrong]


def likened(xml: str | bytes) -> list[tuple[Any, ...]]:
    """Every element with its attributes and text, in order; numbers by their value, white space aside."""
    data = xml.encode() if isinstance(xml, str) else xml
    return [(element.tag, dict(element.attrib), _plain(element.text)) for element in etree.fromstring(data).iter()]


def _plain(text: str | None) -> object:
    try:
        return Decimal(text or "")
    except ArithmeticError:
        return (text or "").strip()


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_document_means_the_same_after_both_conversions(name: str) -> None:
    xml = to_xml(SAMPLES[name])
    content = read(xml)
    assert likened(write(content)) == likened(xml)
    assert read(write(content)) == content


@pytest.mark.parametrize(
    ("fields", "xml"),
    [
        ({"ubl_version_id": {"value": "2.1"}}, "<cbc:UBLVersionID>2.1</cbc:UBLVersionID>"),
        ({"uuid": {"value": "u", "scheme_uri": "s"}}, '<cbc:UUID schemeURI="s">u</cbc:UUID>'),
        ({"id": {"value": "1", "scheme_agency_id": "6"}}, '<cbc:ID schemeAgencyID="6">1</cbc:ID>'),
        ({"note": [{"value": "فاتورة", "language_id": "ar"}]}, '<cbc:Note languageID="ar">فاتورة</cbc:Note>'),
        ({"issue_date": {"value": "2026-11-21"}}, "<cbc:IssueDate>2026-11-21</cbc:IssueDate>"),
        ({"issue_time": {"value": "09:05:00"}}, "<cbc:IssueTime>09:05:00</cbc:IssueTime>"),
        ({"issue_time": {"value": "09:05:00.25"}}, "<cbc:IssueTime>09:05:00.250</cbc:IssueTime>"),
        ({"copy_indicator": {"value": False}}, "<cbc:CopyIndicator>false</cbc:CopyIndicator>"),
        ({"line_count_numeric": {"value": "1.50"}}, "<cbc:LineCountNumeric>1.5</cbc:LineCountNumeric>"),
        (
            {"invoice_type_code": {"value": "388", "name": "0100000"}},
            '<cbc:InvoiceTypeCode name="0100000">388</cbc:InvoiceTypeCode>',
        ),
        ({"note": [{"value": "a < b & c"}]}, "<cbc:Note>a &lt; b &amp; c</cbc:Note>"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_field_and_its_element_are_the_same_both_ways(fields: dict[str, Any], xml: str) -> None:
    assert inside(typed(**fields)) == xml
    assert read(xml_of(xml)) == typed(**fields)


@pytest.mark.parametrize(("amount", "text"), [("1", "1.00"), ("1.5", "1.50"), ("1.234", "1.234"), ("-0.1", "-0.10")])
def test_money_has_two_decimals_at_least(amount: str, text: str) -> None:
    total = {"payable_amount": {"value": amount, "currency_id": "SAR"}}
    written = write(typed(legal_monetary_total=total))
    assert f'<cbc:PayableAmount currencyID="SAR">{text}</cbc:PayableAmount>' in written


def test_elements_come_in_the_order_of_the_schema_whatever_the_order_of_typing() -> None:
    content = DocumentContent()
    content.invoice.note.add().value = "last typed first"
    content.invoice.invoice_type_code.value = "388"
    content.invoice.id.value = "1"
    order = [etree.QName(child).localname for child in etree.fromstring(write(content).encode())]
    assert order == ["ID", "InvoiceTypeCode", "Note"]


def test_binary_objects_and_their_attributes_travel_as_base64() -> None:
    attachment = {"embedded_document_binary_object": {"value": b"\x00\xff", "mime_code": "text/plain"}}
    content = typed(additional_document_reference=[{"attachment": attachment}])
    tag = '<cbc:EmbeddedDocumentBinaryObject mimeCode="text/plain">AP8=</cbc:EmbeddedDocumentBinaryObject>'
    assert tag in write(content)
    assert read(write(content)) == content


def test_a_field_named_apart_from_its_own_type_has_the_elements_plain_name() -> None:
    kind: Any = DocumentContent.DESCRIPTOR.fields_by_name["invoice"].message_type
    line = kind.fields_by_name["invoice_line"].message_type
    price = line.fields_by_name["price"].message_type
    tags = shape_of(price).tags
    assert tags["price_type_property"] == f"{{{CBC}}}PriceType"
    item = line.fields_by_name["item"].message_type
    assert shape_of(item).tags["additional_item_property"] == f"{{{CAC}}}AdditionalItemProperty"


def test_the_elements_of_an_invoice_are_those_that_its_rules_know_in_the_same_order() -> None:
    root: Any = DocumentContent.DESCRIPTOR.fields_by_name["invoice"].message_type
    types = root.fields_by_name["invoice_line"].message_type.file.message_types_by_name
    for name, model in models().items():
        kind = root if name == "Invoice" else types[f"{name}Type"]
        tags = list(shape_of(kind).tags.values())
        assert [tag for tag in tags if tag in model.slots] == list(model.slots), name


def test_an_element_named_value_inside_others_is_not_their_text() -> None:
    content = typed(invoice_line=[{"item": {"additional_item_property": [{"value": {"value": "red"}}]}}])
    assert "<cac:AdditionalItemProperty><cbc:Value>red</cbc:Value></cac:AdditionalItemProperty>" in write(content)
    assert read(write(content)) == content


def test_extensions_are_kept_whole_with_their_namespaces() -> None:
    foreign = '<x:stamp xmlns:x="urn:x" a="1"><x:inner>text</x:inner> tail</x:stamp>'
    content = read(xml_of(SIGNED.format(foreign) + "<cbc:ID>1</cbc:ID>"))
    (extension,) = content.invoice.ubl_extensions
    assert (extension.extension_uri.value, extension.extension_content.any) == ("urn:a", foreign)
    assert foreign in write(content)
    assert read(write(content)) == content


def test_every_document_type_of_the_schema_has_a_root_of_its_own() -> None:
    for field in DocumentContent.DESCRIPTOR.fields:
        content = DocumentContent()
        getattr(content, field.name).SetInParent()
        assert read(write(content)) == content, field.name


def test_an_encoding_declared_for_a_text_has_no_meaning() -> None:
    text = "<?xml version='1.0' encoding='UTF-16'?>" + xml_of("<cbc:Note>ضريبة</cbc:Note>")
    assert read(text).invoice.note[0].value == "ضريبة"


def test_a_time_zone_and_comments_are_not_kept_in_typed_content() -> None:
    content = read(xml_of("<cbc:ID>A<!-- c -->1</cbc:ID><cbc:IssueTime>09:05:00Z</cbc:IssueTime>"))
    assert content == typed(id={"value": "A1"}, issue_time={"value": "09:05:00"})


@pytest.mark.parametrize(
    ("xml", "path"),
    [
        ("<cbc:Colour>red</cbc:Colour>", "invoice"),
        ('<cbc:ID colour="red">1</cbc:ID>', "invoice.id"),
        ("<cbc:ID>1</cbc:ID><cbc:ID>2</cbc:ID>", "invoice.id"),
        ("<cbc:ID><cbc:ID>1</cbc:ID></cbc:ID>", "invoice.id"),
        ("loose text", "invoice"),
        ("<cbc:ID>1</cbc:ID>loose text", "invoice"),
        ("<cbc:IssueDate>2026-02-30</cbc:IssueDate>", "invoice.issue_date"),
        ("<cbc:IssueDate>today</cbc:IssueDate>", "invoice.issue_date"),
        ("<cbc:IssueTime>25:00:00</cbc:IssueTime>", "invoice.issue_time"),
        ("<cbc:CopyIndicator>perhaps</cbc:CopyIndicator>", "invoice.copy_indicator"),
        ("<cbc:LineCountNumeric>1e3</cbc:LineCountNumeric>", "invoice.line_count_numeric"),
        ("<cbc:LineCountNumeric>0.0000000001</cbc:LineCountNumeric>", "invoice.line_count_numeric"),
        ("<cbc:LineCountNumeric/>", "invoice.line_count_numeric"),
        (
            "<cac:InvoiceLine/><cac:InvoiceLine><cac:Price><cbc:PriceAmount>x</cbc:PriceAmount></cac:Price></cac:InvoiceLine>",
            "invoice.invoice_line[1].price.price_amount",
        ),
        (SIGNED.format("") + "", "invoice.ubl_extensions[0].extension_content"),
        (SIGNED.format("<a/><b/>"), "invoice.ubl_extensions[0].extension_content"),
    ],
)
def test_what_typed_content_could_not_hold_is_refused_with_its_path(xml: str, path: str) -> None:
    assert wrong_in(xml_of(xml)) == [path]


def test_everything_wrong_is_told_at_once() -> None:
    assert wrong_in(xml_of("<cbc:Colour/><cbc:IssueDate>x</cbc:IssueDate>")) == ["invoice", "invoice.issue_date"]


def test_what_is_no_xml_is_told_in_plain_words() -> None:
    with pytest.raises(UnreadableContent) as caught:
        read("hello")
    assert caught.value.wrong[0][1].startswith("b'hello' is no XML: Start tag expected")
    assert "<string>" not in caught.value.wrong[0][1]


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "no xml",
        "<Invoice/>",
        f'<Invoices xmlns="{INVOICE}"/>',
        '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>',
        xml_of("<cbc:ID>&e;</cbc:ID>"),
        xml_of("<cbc:ID>\ud800</cbc:ID>"),
    ],
)
def test_what_is_no_ubl_document_is_refused_as_a_whole(xml: str) -> None:
    assert wrong_in(xml) == [""]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"id": {"value": "a\x00b"}}, "invoice.id"),
        ({"id": {"value": "1", "scheme_id": "\x01"}}, "invoice.id"),
        ({"issue_date": {"value": {"year": 2026}}}, "invoice.issue_date"),
        ({"line_count_numeric": {}}, "invoice.line_count_numeric"),
        ({"line_count_numeric": {"value": {"units": 1, "nanos": -1}}}, "invoice.line_count_numeric"),
        (
            {"ubl_extensions": [{"extension_content": {"any": "<open>"}}]},
            "invoice.ubl_extensions[0].extension_content.any",
        ),
    ],
)
def test_what_xml_could_not_hold_is_refused_with_its_path(fields: dict[str, Any], path: str) -> None:
    content = DocumentContent()
    _fill(content.invoice, fields)
    assert wrong_in(content) == [path]


def _fill(message: Any, fields: dict[str, Any]) -> None:
    """Set fields without the care of `build`, which would refuse some of them."""
    for name, value in fields.items():
        if isinstance(value, dict):
            getattr(message, name).SetInParent()
            _fill(getattr(message, name), value)
        elif isinstance(value, list):
            for one in value:
                _fill(getattr(message, name).add(), one)
        else:
            setattr(message, name, value)


def test_content_without_a_document_has_no_xml() -> None:
    assert wrong_in(DocumentContent()) == [""]


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("/ubl:Invoice/cbc:ID", "invoice.id"),
        ("/ubl:Invoice/cac:InvoiceLine[2]/cbc:ID", "invoice.invoice_line[1].id"),
        ("/Invoice/InvoiceTypeCode/@name", "invoice.invoice_type_code.name"),
        ("/ubl:Invoice/ext:UBLExtensions", "invoice.ubl_extensions"),
        ("/ubl:Invoice/cbc:Nothing/cbc:ID", "invoice"),
        ("/ubl:Invoice", "invoice"),
        ("", ""),
    ],
)
def test_an_xpath_leads_to_the_field_as_far_as_there_is_one(place: str, path: str) -> None:
    assert path_of(place) == path


# Any content whatever


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=8)
VALUES = {
    "string": TEXT,
    "kernel.DecimalValue": st.decimals(-(10**9), 10**9, places=3),
    "google.type.Date": st.dates(),
    "google.type.TimeOfDay": st.times(),
    "bytes": st.binary(max_size=6),
    "bool": st.booleans(),
}


def value_of(field: Any) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return VALUES[field.message_type.full_name]
    return VALUES["bytes" if field.type == field.TYPE_BYTES else "bool" if field.type == field.TYPE_BOOL else "string"]


@st.composite
def contents(draw: st.DrawFn) -> DocumentContent:
    """A document of any type with a few fields down to some depth."""
    field: Any = draw(st.sampled_from(list(DocumentContent.DESCRIPTOR.fields)))
    return build(DocumentContent, {field.name: draw(fields_of(field.message_type, 4))})


@st.composite
def fields_of(draw: st.DrawFn, kind: Any, depth: int) -> dict[str, Any]:
    shape = shape_of(kind)
    if shape.value is not None:
        attributes = (
            draw(st.lists(st.sampled_from([*shape.attributes.values()]), max_size=2)) if shape.attributes else []
        )
        return {"value": draw(value_of(shape.value)), **{field.name: draw(TEXT) for field in attributes}}
    usable: list[Any] = [
        f for f in shape.by_tag.values() if f.name != "ubl_extensions" and (depth or "value" in names_in(f))
    ]
    if not usable:
        return {}
    chosen = draw(st.lists(st.sampled_from(usable), max_size=3, unique_by=lambda field: field.name))
    below = {field.name: draw(fields_of(field.message_type, depth - 1)) for field in chosen}
    return {field.name: [below[field.name]] * 2 if field.is_repeated else below[field.name] for field in chosen}


def names_in(field: Any) -> set[str]:
    return set(field.message_type.fields_by_name)


@settings(max_examples=300)
@given(contents())
def test_content_of_any_type_comes_back_from_its_xml(content: DocumentContent) -> None:
    xml = write(content)
    assert read(xml) == content
    assert write(read(xml)) == xml
