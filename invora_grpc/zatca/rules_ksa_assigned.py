"""ZATCA's own rules about what the platform adds to a document: counter, previous hash, QR code, stamp.

Ids and severities are those of ZATCA's SDK R3.4.8; the words are this project's. Here is only whether they are there
and of the right form; whether hash, QR code and signature are true is for `hashing`, `chain` and `verification`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from invora_grpc.zatca.engine import Invoice, Node, Rulebook, lengths, trimmed

__all__ = ["BOOK"]

BOOK: Final = Rulebook()

_SIGNATURE: Final = ("ext:UBLExtensions", "ext:UBLExtension", "ext:ExtensionContent", "sig:UBLDocumentSignatures")
_STAMP_ID: Final = "urn:oasis:names:specification:ubl:signature:1"
_REFERENCED_ID: Final = "urn:oasis:names:specification:ubl:signature:Invoice"
_METHOD: Final = "urn:oasis:names:specification:ubl:dsig:enveloped:xades"


@BOOK.rule("BR-KSA-33", "the invoice counter is missing: the platform adds it", assigned=True)
def no_counter(invoice: Invoice) -> Iterator[Node]:
    if not (_references(invoice, "ICV") and any(node.text for node in _uuids(invoice))):
        yield invoice.root


@BOOK.rule("BR-KSA-34", "the invoice counter must be of digits only: the platform counts", assigned=True)
def counter_of_other_characters(invoice: Invoice) -> Iterator[Node]:
    for node in _uuids(invoice)[:1]:
        if node.text and not (node.text.isascii() and node.text.isdigit()):
            yield node


@BOOK.rule(
    "BR-KSA-61", "the previous document's hash is missing: the platform adds it", severity="warning", assigned=True
)
def no_previous_hash(invoice: Invoice) -> Iterator[Node]:
    if not _is_plain([node for reference in _references(invoice, "PIH") for node in _binaries(reference)]):
        yield invoice.root


@BOOK.rule(
    "BR-KSA-26",
    "the previous document's hash must be plain text in base64: the platform adds it",
    severity="warning",
    assigned=True,
)
def malformed_previous_hash(invoice: Invoice) -> Iterator[Node]:
    for reference in _references(invoice, "PIH"):
        for node in reference.all("cac:Attachment"):
            if not _is_plain(node.all("cbc:EmbeddedDocumentBinaryObject")):
                yield node


@BOOK.rule(
    "BR-KSA-27", "a simplified document needs its QR code: the platform adds it", severity="warning", assigned=True
)
def no_qr_code(invoice: Invoice) -> Iterator[Node]:
    if invoice.is_simplified:
        found = [node for reference in _references(invoice, "QR") for node in _binaries(reference)]
        if not (any(trimmed(node.text) for node in found) and _is_plain(found)):
            yield invoice.root


@BOOK.rule("BR-CL-KSA-14", "the QR code must have 1 to 1,000 characters: the platform makes it", assigned=True)
def qr_code_of_another_length(invoice: Invoice) -> Iterable[Node]:
    return lengths((node for reference in _references(invoice, "QR") for node in _binaries(reference)), 1, 1000)


@BOOK.rule(
    "BR-KSA-60", "a simplified document needs its stamp: the platform adds it", severity="warning", assigned=True
)
def no_stamp(invoice: Invoice) -> Iterator[Node]:
    if invoice.type_name[:2] == "02" and not invoice.every("cac:Signature"):
        yield invoice.root


@BOOK.rule("BR-KSA-28", "the stamp lacks the id of its signature information: the platform adds it", assigned=True)
def stamp_without_id(invoice: Invoice) -> Iterator[Node]:
    fits = any(node.text == _STAMP_ID for node in invoice.root.all(*_SIGNATURE, "sac:SignatureInformation", "cbc:ID"))
    yield from _attachments(invoice, fits, needs_content=True)


@BOOK.rule(
    "BR-KSA-29", "the stamp lacks the id of the signature: the platform adds it", severity="warning", assigned=True
)
def stamp_without_reference(invoice: Invoice) -> Iterator[Node]:
    referenced = invoice.root.all(*_SIGNATURE, "sac:SignatureInformation", "sbc:ReferencedSignatureID")
    fits = any(trimmed(node.text) == _REFERENCED_ID for node in referenced) and any(
        node.text == _REFERENCED_ID for node in invoice.root.all("cac:Signature", "cbc:ID")
    )
    yield from _attachments(invoice, fits, needs_content=False)


@BOOK.rule("BR-KSA-30", "the stamp lacks its signature method: the platform adds it", assigned=True)
def stamp_without_method(invoice: Invoice) -> Iterator[Node]:
    fits = any(node.text == _METHOD for node in invoice.root.all("cac:Signature", "cbc:SignatureMethod"))
    yield from _attachments(invoice, fits, needs_content=True)


# --- small parts ---------------------------------------------------------------------------------------------------


def _references(invoice: Invoice, name: str) -> list[Node]:
    """The additional document references of an id: ICV, PIH, QR."""
    found = invoice.root.all("cac:AdditionalDocumentReference")
    return [node for node in found if trimmed(node.value("cbc:ID")) == name]


def _uuids(invoice: Invoice) -> list[Node]:
    return invoice.root.all("cac:AdditionalDocumentReference", "cbc:UUID")


def _binaries(reference: Node) -> list[Node]:
    return reference.all("cac:Attachment", "cbc:EmbeddedDocumentBinaryObject")


def _is_plain(nodes: list[Node]) -> bool:
    """Whether there is content, and content of plain text."""
    return any(node.text for node in nodes) and any(
        trimmed(node.attributes.get("mimeCode", "")) == "text/plain" for node in nodes
    )


def _attachments(invoice: Invoice, fits: bool, *, needs_content: bool) -> Iterator[Node]:
    """Where ZATCA tells a bad stamp of a simplified document: at every attachment but the previous hash."""
    if not invoice.is_simplified:
        return
    for reference in invoice.root.all("cac:AdditionalDocumentReference"):
        if trimmed(reference.value("cbc:ID")) == "PIH":
            continue
        for node in reference.all("cac:Attachment"):
            content = node.all("cbc:EmbeddedDocumentBinaryObject")
            if not fits or (needs_content and not any(found.text for found in content)):
                yield node
