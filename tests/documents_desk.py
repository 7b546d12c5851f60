"""documents/v2 without a server: handlers called as the server calls them, and documents to call them with."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from lxml import etree
from zatca_documents import BUYER, SELF_BILLING_NOTES, SELLER, STANDARD

from invora_api.documents.v2 import service_pb2 as service_v2
from invora_api.documents.v2.content_pb2 import DocumentContent
from invora_grpc.catalog import catalog
from invora_grpc.sandbox.documents import REGISTRY
from invora_grpc.sandbox.idp import Caller
from invora_grpc.sandbox.service import Call, Fault
from invora_grpc.sandbox.store import Store
from invora_grpc.values import build
from invora_grpc.zatca.document import Document, Party
from invora_grpc.zatca.ubl import to_xml

SERVICE = "/invora.documents.v2.DocumentsService"
NOW = STANDARD.issued_at + timedelta(minutes=5)


class Desk:
    """Calls handlers as the server does, each inside a transaction, for one tenant."""

    def __init__(self, store: Store, org_id: str, subject: str = "user-1") -> None:
        self.store, self.org_id, self.now = store, org_id, NOW
        self.caller = Caller(subject, "client", org_id, org_id, {}, None, 0)

    def ask(self, rpc: str, /, _index: int = 0, **values: Any) -> Any:
        path = f"{SERVICE}/{rpc}"
        call = Call(self.store, catalog().method(path), self.caller, self.org_id, "https://idp", self.now, _index)
        with self.store.transaction():
            return REGISTRY[path](call, build(getattr(service_v2, f"{rpc}Request"), values))

    def refusal(self, rpc: str, **values: Any) -> Fault:
        with pytest.raises(Fault) as caught:
            self.ask(rpc, **values)
        return caught.value

    def create(self, document: Document | DocumentContent = STANDARD, frozen: bool = False, **fields: Any) -> Any:
        """Create from XML made of a `Document`, or from typed content."""
        return self.ask("Create", changes=changes_of(document), freeze_immediately=frozen, **fields).details

    def keys(self, **request: Any) -> list[str]:
        return [item.id.key for item in self.ask("List", **request).items]

    def counters(self) -> list[int]:
        """The next place in the chain and the next number of an invoice, without using them up."""
        found: list[int] = []
        with suppress(_Undo), self.store.transaction():
            found += [self.store.next_number(self.org_id, name) for name in ("simple.chain/", "documents//1")]
            raise _Undo
        return found


class _Undo(Exception):
    pass


def changes_of(document: Document | DocumentContent) -> dict[str, Any]:
    if isinstance(document, DocumentContent):
        return {"content": document}
    return {"xml_content": xml_of(document)}


def xml_of(document: Document) -> str:
    return to_xml(document, now=NOW).decode()


def wrong_xml() -> str:
    """A document whose sum of tax is not that of its breakdown."""
    return xml_of(STANDARD).replace(
        ">51.15</cbc:TaxAmount><cac:TaxSubtotal>", ">50.15</cbc:TaxAmount><cac:TaxSubtotal>"
    )


def numbered(number: int, **changes: Any) -> Document:
    """The standard document under another number."""
    return replace(STANDARD, id=f"INV-{number}", uuid=f"8e6000cf-1a98-4174-b3e7-{number:012}", **changes)


def root_of(document: Any) -> Any:
    """The parsed XML of a document/v2 Document."""
    return etree.fromstring(document.xml_content.encode())


def text_at(document: Any, path: str) -> str:
    """The text at a path of local names below the root of its XML."""
    steps = "/".join(f"*[local-name()='{step}']" for step in path.split("/"))
    found = root_of(document).xpath(steps)
    return found[0].text if found else ""


# Typed content, by hand


def typed(kind: str, **changes: Any) -> DocumentContent:
    """A small document of one of the five types, typed; without sums, which auto_calculate fills in."""
    lines = {"credit_note": "credit_note_line", "debit_note": "debit_note_line"}
    quantities = {"credit_note": "credited_quantity", "debit_note": "debited_quantity"}
    base = kind.removeprefix("self_billed_")
    line = {
        "id": {"value": "1"},
        quantities.get(base, "invoiced_quantity"): {"value": 2, "unit_code": "C62"},
        "item": {
            "name": {"value": "Tea, green"},
            "classified_tax_category": [
                {"id": {"value": "S"}, "percent": {"value": 15}, "tax_scheme": {"id": {"value": "VAT"}}}
            ],
        },
        "price": {"price_amount": {"value": "20.50", "currency_id": "SAR"}},
    }
    fields: dict[str, Any] = {
        "profile_id": {"value": "reporting:1.0"},
        "id": {"value": f"T-{kind}"},
        "uuid": {"value": "8e6000cf-1a98-4174-b3e7-b5d5954bc10d"},
        "issue_date": {"value": "2026-11-02"},
        "issue_time": {"value": "12:30:00"},
        "document_currency_code": {"value": "SAR"},
        "tax_currency_code": {"value": "SAR"},
        "accounting_supplier_party": {"party": party(SELLER)},
        "accounting_customer_party": {"party": party(BUYER)},
        lines.get(base, "invoice_line"): [line],
    }
    if "note" not in kind:
        fields["delivery"] = [{"actual_delivery_date": {"value": "2026-11-01"}}]
        fields["note"] = [{"value": text} for text in SELF_BILLING_NOTES] if kind.startswith("self") else []
    else:
        fields["note"] = [{"value": text} for text in SELF_BILLING_NOTES] if kind.startswith("self") else []
        fields["billing_reference"] = [{"invoice_document_reference": {"id": {"value": "INV-1"}}}]
        fields["discrepancy_response"] = [{"description": [{"value": "Goods returned"}]}]
    return build(DocumentContent, {kind: fields | changes})


def party(given: Party) -> dict[str, Any]:
    address = given.address
    assert address is not None
    found: dict[str, Any] = {
        "postal_address": {
            "street_name": {"value": address.street},
            "building_number": {"value": address.building_number},
            "city_subdivision_name": {"value": address.district},
            "city_name": {"value": address.city},
            "postal_zone": {"value": address.postal_code},
            "country": {"identification_code": {"value": address.country}},
        },
        "party_tax_scheme": [{"company_id": {"value": given.vat_number}, "tax_scheme": {"id": {"value": "VAT"}}}],
        "party_legal_entity": [{"registration_name": {"value": given.name}}],
    }
    if given.id_value:
        found["party_identification"] = [{"id": {"value": given.id_value, "scheme_id": given.id_scheme}}]
    return found
