"""What the sandbox's authority reads from a document's XML, and the two references that it writes into it.

Nothing here judges a document (that is `zatca.checking`) or stamps it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final

from lxml import etree

from invora_grpc.zatca.hashing import parsed
from invora_grpc.zatca.ubl_names import aggregate, basic

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_REFERENCE: Final = aggregate("AdditionalDocumentReference")
_FOLLOWING: Final = frozenset(map(aggregate, ("ProjectReference", "Signature", "AccountingSupplierParty")))
"""What comes after the references in the order of the schema; the last of them is always there."""
_ID: Final = basic("ID")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a document says of itself."""

    uuid: str
    code: str
    """388, 381, 383 or 386."""
    standard: bool
    self_billed: bool
    issue_date: date | None


def facts_of(xml: bytes) -> Facts:
    """The facts of a document. Raises RequestError for what is no XML."""
    root = parsed(xml)
    kind = root.find(basic("InvoiceTypeCode"))
    name = "" if kind is None else kind.get("name", "")
    issued = None
    with suppress(ValueError):
        issued = date.fromisoformat(_text(root, "IssueDate"))
    return Facts(
        uuid=_text(root, "UUID"),
        code=_text(root, "InvoiceTypeCode"),
        standard=name.startswith("01"),
        self_billed=name[6:7] == "1",
        issue_date=issued,
    )


def chained(xml: bytes, counter: int, previous_hash: str) -> bytes:
    """The document with this counter (ICV) and hash of the document before it (PIH), in place of those that it has.

    A reference to a QR code goes, also one that white space hides from the stamping.
    """
    root = parsed(xml)
    for reference in root.findall(_REFERENCE):
        if reference.findtext(_ID, "").strip() in ("ICV", "PIH", "QR"):
            root.remove(reference)
    place = _place(root)
    root.insert(place, _previous(previous_hash))
    root.insert(place, _counter(counter))
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def _place(root: Element) -> int:
    """Where the first of the references belongs."""
    after = (*_FOLLOWING, _REFERENCE)
    return next((index for index, element in enumerate(root) if element.tag in after), len(root))


def _counter(counter: int) -> Element:
    reference = etree.Element(_REFERENCE)
    etree.SubElement(reference, _ID).text = "ICV"
    etree.SubElement(reference, basic("UUID")).text = str(counter)
    return reference


def _previous(digest: str) -> Element:
    reference = etree.Element(_REFERENCE)
    etree.SubElement(reference, _ID).text = "PIH"
    attachment = etree.SubElement(reference, aggregate("Attachment"))
    binary = etree.SubElement(attachment, basic("EmbeddedDocumentBinaryObject"), {"mimeCode": "text/plain"})
    binary.text = digest
    return reference


def _text(root: Element, name: str) -> str:
    return root.findtext(basic(name), "").strip()
