"""Typed UBL content and UBL XML, each made from the other by the schema's descriptors alone.

The room knows how names, order, attributes and values correspond, for every document type alike. It must not know rules
of any tax authority, compute amounts or touch the store.

An element's name is its field's in camel case with UBL's acronyms (``uuid`` → ``UUID``); its namespace follows from the
package of its type; elements come in the order of the field numbers. Reading is strict: what has no field is refused,
as the typed form would be without it. Three things typed content cannot hold, so they are lost in it, though never in
the XML as it was sent: a time zone of a date or time, comments, and zeros at the end of a number.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from lxml import etree

from invora_api.documents.v2.content_pb2 import DocumentContent
from invora_grpc import exact
from invora_grpc.errors import RequestError
from invora_grpc.sandbox.service import Wrong, shortened
from invora_grpc.zatca.hashing import parsed

CAC: Final = "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2"
CBC: Final = "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2"
EXT: Final = "urn:oasis:names:specification:ubl:schema:xsd:CommonExtensionComponents-2"
_DOCUMENT: Final = "urn:oasis:names:specification:ubl:schema:xsd:{}-2"
_PACKAGES: Final = MappingProxyType(
    {"commonaggregatecomponents_2": CAC, "commonbasiccomponents_2": CBC, "commonextensioncomponents_2": EXT}
)
_ACRONYMS: Final = MappingProxyType(
    {
        word.lower(): word
        for word in (
            "ID",
            "UUID",
            "URI",
            "UBL",
            "CV2",
            "UNDG",
            "UN",
            "IMO",
            "ISPS",
            "ISSC",
            "MMSI",
            "SME",
            "SSP",
            "OID",
        )
    }
)
_EXTENSIONS: Final = "ubl_extensions"
_SCHEMA_INSTANCE: Final = "{http://www.w3.org/2001/XMLSchema-instance}"
_DECLARATION = re.compile(r"\s*<\?xml\b[^>]*\?>")
_DECIMAL = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)", re.ASCII)
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
_TIME = re.compile(r"(\d\d:\d\d:\d\d(?:\.\d{1,9})?)(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
_STEP = re.compile(r"@?(?:[\w.-]+:)?([\w-]+)(?:\[(\d+)\])?", re.ASCII)
_TRUTH: Final = MappingProxyType({"true": True, "1": True, "false": False, "0": False})


class UnreadableContent(ValueError):
    """Content that has no other form: not XML, not UBL, or a value that cannot be written."""

    def __init__(self, wrong: Wrong) -> None:
        super().__init__("; ".join(f"{path}: {why}" for path, why in wrong))
        self.wrong = wrong
        """Paths inside the content, such as `invoice.invoice_line[0].id`, and why; "" is the content as a whole."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the elements of one message type look like."""

    by_tag: Mapping[str, FieldDescriptor]
    """Child elements by their name in Clark notation."""
    tags: Mapping[str, str]
    """The names by field."""
    value: FieldDescriptor | None
    """The field of the element's own text; None for an element that holds others."""
    attributes: Mapping[str, FieldDescriptor]


# Names


def element_name(field: FieldDescriptor) -> str:
    """The local name of a field's element."""
    words = field.name.split("_")
    assert field.message_type is not None
    if words[-1] == "property" and field.message_type.name == "".join(map(str.capitalize, words[:-1])) + "Type":
        words = words[:-1]  # the suffix keeps a field apart from its own type
    return "".join(_ACRONYMS.get(word, word.capitalize()) for word in words)


def _attribute_name(field: FieldDescriptor) -> str:
    first, *others = field.name.split("_")
    return first + "".join(_ACRONYMS.get(word, word.capitalize()) for word in others)


@cache
def shape_of(kind: Descriptor) -> Shape:
    """The shape of a message type of UBL."""
    value = kind.fields_by_name.get("value")
    if value is not None and (value.message_type is None or value.message_type.full_name in _MESSAGES):
        others = [field for field in kind.fields if field is not value and field.name != "value"]
        return Shape({}, {}, value, {_attribute_name(field): field for field in others})
    tags = {}
    for field in kind.fields:
        if field.message_type is not None:
            package = field.message_type.file.package.rpartition(".")[2]
            name = "UBLExtensions" if field.name == _EXTENSIONS else element_name(field)
            tags[field.name] = f"{{{_PACKAGES.get(package, '')}}}{name}"
    return Shape({tag: kind.fields_by_name[name] for name, tag in tags.items()}, tags, None, {})


@cache
def _roots() -> Mapping[str, FieldDescriptor]:
    """The document types by the name of their root element in Clark notation."""
    kind: Any = DocumentContent.DESCRIPTOR
    fields: list[FieldDescriptor] = list(kind.fields)
    return {f"{{{_DOCUMENT.format(_title(field))}}}{_title(field)}": field for field in fields}


def _title(field: FieldDescriptor) -> str:
    assert field.message_type is not None
    return field.message_type.name.removesuffix("Type")


# XML to typed content


def read(xml: str | bytes) -> DocumentContent:
    """The typed form of a document. Raises UnreadableContent with everything that has none."""
    root = _root_of(xml)
    field = _roots().get(str(root.tag))
    if field is None:
        raise UnreadableContent([("", f"{_spoken(root)} is not the root of a UBL document such as ubl:Invoice")])
    content = DocumentContent()
    wrong: Wrong = []
    document = getattr(content, field.name)
    document.SetInParent()
    _read_children(root, document, field.name, wrong)
    if wrong:
        raise UnreadableContent(wrong)
    return content


def encoded(xml: str) -> bytes:
    """XML text as bytes. Its declaration goes: a text has no encoding, whatever it says there."""
    return _DECLARATION.sub("", xml, count=1).encode("utf-8", "surrogatepass")


def _root_of(xml: str | bytes) -> Any:
    try:
        return parsed(encoded(xml) if isinstance(xml, str) else xml, "xml_content")
    except RequestError as error:
        raise UnreadableContent([("", str(error).removeprefix(f"{error.path}: "))]) from error


def _spoken(element: Any) -> str:
    name = etree.QName(element)
    return f"{shortened(name.localname)!r} of the namespace {shortened(name.namespace or '')!r}"


def _read_children(element: Any, target: Any, path: str, wrong: Wrong) -> None:
    shape = shape_of(target.DESCRIPTOR)
    _refuse_attributes(element, shape, path, wrong)
    if (element.text or "").strip() or any((child.tail or "").strip() for child in element):
        wrong.append((path, "must not have text between its elements"))
    for child in element:
        if not isinstance(child.tag, str):
            continue  # comments and processing instructions
        field = shape.by_tag.get(child.tag)
        if field is None:
            wrong.append((path, f"{_spoken(child)} is no element that UBL has here"))
        elif field.name == _EXTENSIONS:
            _read_extensions(child, getattr(target, field.name), f"{path}.{field.name}", wrong)
        elif field.is_repeated:
            place = f"{path}.{field.name}[{len(getattr(target, field.name))}]"
            _read_element(child, getattr(target, field.name).add(), place, wrong)
        elif target.HasField(field.name):
            wrong.append((f"{path}.{field.name}", "may be given once only"))
        else:
            getattr(target, field.name).SetInParent()
            _read_element(child, getattr(target, field.name), f"{path}.{field.name}", wrong)


def _read_element(element: Any, target: Any, path: str, wrong: Wrong) -> None:
    if shape_of(target.DESCRIPTOR).value is None:
        _read_children(element, target, path, wrong)
    else:
        _read_basic(element, target, path, wrong)


def _refuse_attributes(element: Any, shape: Shape, path: str, wrong: Wrong) -> None:
    for name in element.attrib:
        if name not in shape.attributes and not str(name).startswith(_SCHEMA_INSTANCE):
            wrong.append((path, f"{shortened(str(name))!r} is no attribute that UBL has here"))


def _read_basic(element: Any, target: Any, path: str, wrong: Wrong) -> None:
    shape = shape_of(target.DESCRIPTOR)
    _refuse_attributes(element, shape, path, wrong)
    if any(isinstance(child.tag, str) for child in element):
        wrong.append((path, "must not have elements inside"))
        return
    for name, field in shape.attributes.items():
        if (given := element.get(name)) is not None:
            setattr(target, field.name, given)
    text = _text_around(element)
    try:
        _set_value(target, text)
    except (ValueError, binascii.Error) as problem:
        wrong.append((path, f"{shortened(text)!r}: {problem}"))


def _text_around(element: Any) -> str:
    """The text of an element, which comments may divide."""
    return (element.text or "") + "".join(child.tail or "" for child in element)


def _read_extensions(element: Any, target: Any, path: str, wrong: Wrong) -> None:
    """The container has no message of its own: its extensions are the field's members."""
    if len(target):
        wrong.append((path, "may be given once only"))
        return
    for child in element:
        if not isinstance(child.tag, str):
            continue
        place = f"{path}[{len(target)}]"
        if child.tag != f"{{{EXT}}}UBLExtension":
            wrong.append((path, f"{_spoken(child)} is no extension"))
            continue
        _read_extension(child, target.add(), place, wrong)


def _read_extension(element: Any, target: Any, path: str, wrong: Wrong) -> None:
    content = element.find(f"{{{EXT}}}ExtensionContent")
    for child in element:
        if isinstance(child.tag, str) and child is not content:
            field = shape_of(target.DESCRIPTOR).by_tag.get(child.tag)
            if field is None:
                wrong.append((path, f"{_spoken(child)} is no element that UBL has here"))
            else:
                _read_basic(child, getattr(target, field.name), f"{path}.{field.name}", wrong)
    inside = [] if content is None else [child for child in content if isinstance(child.tag, str)]
    if len(inside) != 1:
        wrong.append((f"{path}.extension_content", "must hold exactly one element"))
        return
    target.extension_content.any = etree.tostring(inside[0], method="c14n", exclusive=True, with_tail=False).decode()


# Typed content to XML


def write(content: DocumentContent) -> str:
    """The XML form of typed content, with elements in the order of the schema. Raises UnreadableContent."""
    name = content.WhichOneof("type")
    if name is None:
        raise UnreadableContent([("", "has no document in it")])
    tag, field = next((tag, field) for tag, field in _roots().items() if field.name == name)
    root = etree.Element(tag, nsmap=_namespaces(tag))
    wrong: Wrong = []
    _write_children(getattr(content, field.name), root, field.name, wrong)
    if wrong:
        raise UnreadableContent(wrong)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True).decode()


def _namespaces(tag: str) -> Any:
    return {None: etree.QName(tag).namespace, "cac": CAC, "cbc": CBC, "ext": EXT}


def _write_children(message: Any, element: Any, path: str, wrong: Wrong) -> None:
    tags = shape_of(message.DESCRIPTOR).tags
    for field, given in message.ListFields():  # in the order of their numbers
        place, tag = f"{path}.{field.name}", tags[field.name]
        if field.name == _EXTENSIONS:
            container = etree.SubElement(element, tag)
            for index, one in enumerate(given):
                _write_extension(one, etree.SubElement(container, f"{{{EXT}}}UBLExtension"), f"{place}[{index}]", wrong)
        elif field.is_repeated:
            for index, one in enumerate(given):
                _write_element(one, etree.SubElement(element, tag), f"{place}[{index}]", wrong)
        else:
            _write_element(given, etree.SubElement(element, tag), place, wrong)


def _write_element(message: Any, element: Any, path: str, wrong: Wrong) -> None:
    shape = shape_of(message.DESCRIPTOR)
    if shape.value is None:
        _write_children(message, element, path, wrong)
        return
    try:
        for name, field in shape.attributes.items():
            if message.HasField(field.name):
                element.set(name, getattr(message, field.name))
        element.text = _text_of(message)
    except ValueError as problem:
        wrong.append((path, str(problem)))


def _write_extension(message: Any, element: Any, path: str, wrong: Wrong) -> None:
    tags = shape_of(message.DESCRIPTOR).tags
    for field, given in message.ListFields():
        inside = etree.SubElement(element, tags[field.name])
        if field.name != "extension_content":
            _write_element(given, inside, f"{path}.{field.name}", wrong)
            continue
        try:
            inside.append(_root_of(given.any))
        except UnreadableContent as problem:
            wrong += [(f"{path}.extension_content.any", why) for _, why in problem.wrong]


# Values


def _set_value(target: Any, text: str) -> None:
    field = target.DESCRIPTOR.fields_by_name["value"]
    if field.message_type is None:
        target.value = _SCALARS[field.type](text)
    else:
        _MESSAGES[field.message_type.full_name][0](target.value, text.strip())


def _text_of(message: Any) -> str:
    """The text of a value; "" where there is none."""
    field = message.DESCRIPTOR.fields_by_name["value"]
    if field.message_type is not None:
        if not message.HasField("value"):
            raise ValueError("has no value")
        text = _MESSAGES[field.message_type.full_name][1](message.value)
        return _with_cents(text) if "currency_id" in message.DESCRIPTOR.fields_by_name else text
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64encode(message.value).decode()
    if field.type == FieldDescriptor.TYPE_BOOL:
        return "true" if message.value else "false"
    return str(message.value)


def _with_cents(text: str) -> str:
    """An amount of money has two decimals at least."""
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<2}"


def _truth(text: str) -> bool:
    if text.strip() not in _TRUTH:
        raise ValueError("write true or false")
    return _TRUTH[text.strip()]


def _binary(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)


def _set_decimal(target: Any, text: str) -> None:
    if not _DECIMAL.fullmatch(text):
        raise ValueError("write digits and one dot")
    target.units, target.nanos = exact.decimal_parts(text)
    target.SetInParent()


def _set_date(target: Any, text: str) -> None:
    if not (found := _DATE.fullmatch(text)):
        raise ValueError("write a date such as 2026-11-21")
    target.year, target.month, target.day = exact.date_parts(found[1])


def _set_time(target: Any, text: str) -> None:
    if not (found := _TIME.fullmatch(text)):
        raise ValueError("write a time such as 09:30:00")
    target.hours, target.minutes, target.seconds, target.nanos = exact.time_parts(found[1])
    target.SetInParent()


def _decimal_text(value: Any) -> str:
    exact.check_decimal(value.units, value.nanos)
    return exact.decimal_text(value.units, value.nanos)


def _date_text(value: Any) -> str:
    exact.check_date(value.year, value.month, value.day)
    return exact.date_text(value.year, value.month, value.day)


def _time_text(value: Any) -> str:
    exact.check_time(value.hours, value.minutes, value.seconds, value.nanos)
    return exact.time_text(value.hours, value.minutes, value.seconds, value.nanos)


_SCALARS: Final[Mapping[int, Callable[[str], Any]]] = MappingProxyType(
    {FieldDescriptor.TYPE_STRING: str, FieldDescriptor.TYPE_BOOL: _truth, FieldDescriptor.TYPE_BYTES: _binary}
)
_MESSAGES: Final[Mapping[str, tuple[Callable[[Any, str], None], Callable[[Any], str]]]] = MappingProxyType(
    {
        "kernel.DecimalValue": (_set_decimal, _decimal_text),
        "google.type.Date": (_set_date, _date_text),
        "google.type.TimeOfDay": (_set_time, _time_text),
    }
)
"""Type of a value → how it is read from text and written as text."""


# Places


def path_of(place: str) -> str:
    """The field that an XPath leads to, as far as it leads.

    `/ubl:Invoice/cac:InvoiceLine[2]` leads to `invoice.invoice_line[1]`: XPath counts from one, paths from zero.
    Any prefix will do.
    """
    return ".".join(_fields_along(place))


def _fields_along(place: str) -> Iterator[str]:
    kind: Descriptor | None = None
    for step in filter(None, place.split("/")):
        found = _STEP.fullmatch(step)
        name = found[1] if found else ""
        if kind is None:
            field = next((field for field in _roots().values() if _title(field) == name), None)
        else:
            shape = shape_of(kind)
            field = next((one for tag, one in shape.by_tag.items() if tag.endswith("}" + name)), None)
            field = field or (shape.attributes.get(name) if step.startswith("@") else None)
        if field is None or found is None:
            return
        position = int(found[2]) if found[2] else 0
        yield f"{field.name}[{position - 1}]" if position and field.is_repeated else field.name
        kind = field.message_type
        if kind is None:
            return
