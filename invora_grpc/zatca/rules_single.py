"""What UBL lets repeat and ZATCA's rules do not: they want one value there, and stop in the middle when there are two.

A document on which they stop is refused without any rule's id. So that it is not called good here, this room tells it
under an id of its own, `ZATCA-SINGLE`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from invora_grpc.zatca.engine import Invoice, Node, Rulebook, trimmed

__all__ = ["BOOK", "SINGLE_RULE"]

BOOK: Final = Rulebook()

SINGLE_RULE: Final = "ZATCA-SINGLE"
"""The id of these findings, which is none of ZATCA's."""

_OF_A_PARTY: Final = (
    ("cac:PartyIdentification", "cbc:ID"),
    ("cac:PartyTaxScheme", "cbc:CompanyID"),
    ("cac:PartyLegalEntity", "cbc:RegistrationName"),
)
_STAMP: Final = (
    "ext:UBLExtensions",
    "ext:UBLExtension",
    "ext:ExtensionContent",
    "sig:UBLDocumentSignatures",
    "sac:SignatureInformation",
)


def _values(invoice: Invoice) -> Iterator[list[Node]]:
    """What the rules read as one value, each time with all that is there.

    Beside the tax total with breakdowns, foreign currency has one other.
    """
    root = invoice.root
    for party in (invoice.seller, invoice.buyer):
        if party:
            for path in _OF_A_PARTY:
                yield party.all(*path)
    if invoice.is_standard and invoice.type_code and invoice.type_code.text == "388":
        yield root.all("cac:Delivery", "cbc:ActualDeliveryDate")
    if invoice.currency != "SAR":
        yield root.all("cac:TaxTotal")[1:]
    yield root.all("cac:ContractDocumentReference", "cbc:ID")
    if invoice.is_simplified:
        yield root.all(*_STAMP, "sbc:ReferencedSignatureID")
    for line in invoice.lines:
        yield line.node.all("cac:TaxTotal", "cbc:TaxAmount")
    for allowance in (*invoice.allowances, *invoice.line_allowances):
        yield allowance.all("cbc:AllowanceChargeReason")
    for category in invoice.breakdown_categories:
        yield category.all("cbc:TaxExemptionReason")


@BOOK.rule(SINGLE_RULE, "ZATCA's rules want one value here and stop at a second one: give one")
def _repeated(invoice: Invoice) -> Iterator[Node]:
    for values in _values(invoice):
        yield from values[1:2]


@BOOK.rule(SINGLE_RULE, "ZATCA's rules stop at a second UUID or QR code among the references: give one of each")
def _repeated_references(invoice: Invoice) -> Iterator[Node]:
    references = invoice.root.all("cac:AdditionalDocumentReference")
    codes = [reference for reference in references if trimmed(reference.value("cbc:ID")) == "QR"]
    for values in (
        [uuid for reference in references for uuid in reference.all("cbc:UUID")],
        [code for reference in codes for code in reference.all("cac:Attachment", "cbc:EmbeddedDocumentBinaryObject")],
    ):
        yield from values[1:2]
