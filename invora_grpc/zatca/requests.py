"""From an option and a deal to the typed request of each leg, checked before it is handed out.

What is built here can be sent as it is: the document behind it keeps ZATCA's rules and the preconditions of Art. 53.
Nothing is sent from here, and nothing is made up that the platform assigns: no counter, hash, QR code or stamp, and no
number on the Simple surface. The legs themselves come from ``advice``; notes and summaries have rooms of their own.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import product
from typing import Any, Final, Literal, cast

from google.protobuf.message import Message

from invora_api.billing.events.v2 import service_pb2 as events_v2
from invora_api.documents.v2 import service_pb2 as documents_v2
from invora_api.simple.credit_notes.v1 import models_pb2 as credit_notes_v1
from invora_api.simple.debit_notes.v1 import models_pb2 as debit_notes_v1
from invora_api.simple.invoices.v1 import models_pb2 as invoices_v1
from invora_grpc.errors import RequestError
from invora_grpc.values import build as message_of
from invora_grpc.zatca.advice_options import Leg, Option, Surface, option_of
from invora_grpc.zatca.agreement import Agreement, assure, assure_third, is_registered, statement
from invora_grpc.zatca.checking import check
from invora_grpc.zatca.deal import Deal, checked, lines_of, party_of, require_instant
from invora_grpc.zatca.document import Document, Line, Party, Reference
from invora_grpc.zatca.supply import Role, SpStatus, Supply
from invora_grpc.zatca.totals import Totals, totals
from invora_grpc.zatca.typecode import TypeCode
from invora_grpc.zatca.ubl import to_xml

NAMESPACE: Final = uuid.UUID("6f1c7f0e-0b7c-5d0a-9a51-2f6d6c3c8a11")
"""Of the UUIDs of documents (RFC 9562, version 5)."""
DOCUMENTS_METHOD: Final = "invoicing.documents.create"
EVENTS_METHOD: Final = "billing.events.create"
FEE_METRIC: Final = "platform_fee"
"""Code of the billable metric that fees are metered by."""

_SIMPLE: Final[Mapping[int, tuple[str, Any]]] = {
    388: ("simple.invoices.create", invoices_v1.CreateRequest),
    381: ("simple.credit_notes.create", credit_notes_v1.CreateRequest),
    383: ("simple.debit_notes.create", debit_notes_v1.CreateRequest),
}


@dataclass(frozen=True, slots=True)
class Issuance:
    """One document ready to be issued: what to send, and in whose tenant."""

    role: Role
    """Whose tenant sends it."""
    surface: Surface
    method: str
    """The RPC in the catalog, e.g. `simple.invoices.create`."""
    request: Message
    """Makes a draft: the caller compares its totals before it freezes."""
    key: str
    """The caller's key in the request; the same again cannot issue twice."""
    document: Document | None
    """What was checked; None for a usage event. On the Simple surface its number is the key, as the legal number is the
    platform's."""
    totals: Totals
    branch: str = ""
    """The branch that issues; "" for the tenant's primary one."""
    vat_number: str = ""
    """That of the tenant, by which a client of another tenant is found out; "" where it is not told."""

    @property
    def area(self) -> str:
        """Module and area of the RPC, e.g. `simple.invoices`."""
        return self.method.rpartition(".")[0]

    @property
    def rpc(self) -> str:
        """The RPC's own name, e.g. `create`."""
        return self.method.rpartition(".")[2]

    def keyless(self) -> Message:
        """A copy of the request without its key, for a client that sets `key` itself."""
        copy: Any = type(self.request)()
        copy.CopyFrom(self.request)
        if self.surface == "billing":
            copy.event.ClearField("transaction_id")
        else:
            copy.ClearField("key")
        return cast(Message, copy)


class NoDocument(RequestError):
    """The leg is a supply that no tax document follows from: out of scope, or a reverse charge. Nothing to send."""

    because: str
    """Why, in words."""

    def __init__(self, leg: int, because: str) -> None:
        self.because = because
        super().__init__("leg", leg, "issue nothing for it", f"has no document: {because}")


class RuleError(RequestError):
    """A document that breaks one of ZATCA's rules, be it one that only warns. Nothing was built."""

    rule: str
    """E.g. `BR-KSA-63`."""

    def __init__(self, rule: str, place: str, text: str) -> None:
        super().__init__(place, rule, text)
        self.rule = rule


def build(
    option: Option, leg_number: int, deal: Deal, agreement: Agreement | None = None, *, now: datetime | None = None
) -> Issuance:
    """The request of one leg of a deal.

    The same deal gives the same bytes, hence a retry cannot issue twice: the key and, on the documents surface, the
    number of the document are `{deal.key}-{leg}`, its UUID derives from that and the seller's VAT number.

    `now` (aware) is the moment that the issue must not lie after, and for a simplified document not more than 24 hours
    before (BR-KSA-98); None asks the clock. Who resumes a deal of long ago passes its `issued_at`.

    Raises NoDocument for a leg without a document, PreconditionError where Art. 53 is not kept, RuleError for what
    breaks a rule of ZATCA, and RequestError for a deal that does not fit the option, an option that no case has, and
    the summary of case 6, which `summary` makes of a month's deals.
    """
    leg = leg_of(option, leg_number)
    if leg.none_because is not None or leg.type_code is None:
        raise NoDocument(leg.number, leg.none_because or "no document follows")
    if leg.period == "month":
        hint = "make it of the month's deals by summary(), or meter each deal's fee by usage_events()"
        raise RequestError("leg", leg.number, hint, "is a monthly summary")
    document = draft(option, leg, leg.type_code, deal)
    return issuance(document, leg.surface, leg.tenant, deal.branches.get(leg.tenant, ""), document.id, agreement, now)


def leg_of(option: Option, number: int) -> Leg:
    """The leg of that number. Raises RequestError if there is none, or if the option is none of the six cases."""
    hint = "take an option from advise(...).lawful as it is"
    if not isinstance(option, Option):
        raise RequestError("option", option, hint, "is none")
    if not _is_known(option):
        raise RequestError("option", option.label, hint, "has other legs than this case has")
    return option.leg(number)


@lru_cache(64)
def _is_known(option: Option) -> bool:
    """Whether advice could have given this option: legs that somebody put together may be unlawful."""
    parents = {5: (1, 3), 6: (1, 3, 4)}.get(option.case, (None,))
    if option.parent not in parents:
        return False
    day = datetime.min.date()
    return any(
        option == option_of(option.case, option.parent, Supply(sp, option.customer, date=day), deemed)
        for sp, deemed in product(SpStatus, (True, False, None))
    )


def draft(option: Option, leg: Leg, type_code: TypeCode, deal: Deal) -> Document:
    """The document of a leg, not checked yet. Raises RequestError for what the deal lacks."""
    checked(deal)
    if is_registered(deal.provider) and any(other.none_because for other in option.legs):
        hint = "leave the number out, or ask for advice with sp=registered"
        problem = "is registered, and the option is for a provider who is not"
        raise RequestError("deal.provider.vat_number", deal.provider.vat_number, hint, problem)
    seller, buyer = party_of(deal, leg.seller, option.customer), party_of(deal, leg.buyer, option.customer)
    if type_code.third_party:
        assure_third(seller, buyer, deal.platform)
    number = f"{deal.key}-{leg.number}"
    return Document(
        type_code=type_code,
        id=number,
        uuid=uuid_of(seller, number),
        issued_at=deal.issued_at.replace(microsecond=0),
        seller=seller,
        buyer=buyer,
        lines=lines_of(deal, leg),
        supply_date=deal.supply_date,
        supply_end=deal.supply_end,
        currency=deal.currency,
        sar_rate=deal.sar_rate,
        notes=statement(seller, buyer) if type_code.self_billed else (),
    )


def uuid_of(seller: Party, number: str) -> str:
    """The UUID of a seller's document: the same for the same number."""
    return str(uuid.uuid5(NAMESPACE, f"{seller.vat_number}/{number}"))


def issuance(
    document: Document,
    surface: Literal["simple", "documents", "billing"],
    role: Role,
    branch: str,
    key: str,
    agreement: Agreement | None,
    now: datetime | None,
    invoice_key: str = "",
) -> Issuance:
    """The request that makes this document. `invoice_key` names what a note on the Simple surface corrects."""
    if now is not None:
        require_instant("now", now)
    if surface == "simple":
        document = _as_simple(document)
    assure(document, agreement)
    xml = verified(document, now)
    if surface == "simple":
        method, request = _simple_request(document, key, branch, invoice_key)
    else:
        method, request = DOCUMENTS_METHOD, _documents_request(xml, key, branch)
    return Issuance(
        role, surface, method, request, key, document, totals(document), branch, _number_of_tenant(document, role)
    )


def _number_of_tenant(document: Document, role: Role) -> str:
    if document.type_code.third_party and role is Role.P:
        return ""
    issuer = document.buyer if document.type_code.self_billed else document.seller
    return issuer.vat_number if issuer else ""


def verified(document: Document, now: datetime | None = None) -> bytes:
    """The document as XML without any finding but those that wait for what the platform assigns. Raises RuleError."""
    xml = to_xml(document, now=now)
    for finding in check(xml, now=now):
        if not finding.assigned:
            raise RuleError(finding.rule, finding.place, finding.text)
    return xml


def source_of(option: Option, deal: Deal) -> Reference:
    """The transaction that a fee is for: its document, where we number it; else the deal, by the caller's own key."""
    service = option.leg(1)
    if service.surface == "documents":
        number = f"{deal.key}-1"
        return Reference(number, uuid_of(party_of(deal, service.seller, option.customer), number), deal.issue_day)
    return Reference(deal.key, "", deal.issue_day)


def usage_event(option: Option, deal: Deal, metric: str = FEE_METRIC, now: datetime | None = None) -> Issuance:
    """The usage event that meters one deal's fee (case 6 by the Billing module), in the platform's tenant.

    `metric` is the code of the billable metric that adds up the property `amount`: the fee without VAT, as exact text.
    It adds numbers: currency and VAT are the plan's. The property `documentRef` names the transaction. Raises as
    `build` does, since what could not be invoiced at the month's end is not metered, and RequestError for a fee in
    several tax categories.
    """
    leg = leg_of(option, 2)
    if leg.also != "billing" or leg.type_code is None:
        hint = "take an option of case 6, or build this leg as a document"
        raise RequestError("option", option.label, hint, "has no fee that is metered")
    if not deal.subscription.strip():
        hint = "give the external id of SP's subscription"
        raise RequestError("deal.subscription", deal.subscription, hint, "is missing")
    if not metric.strip():
        raise RequestError("metric", metric, "give the code of the billable metric", "is missing")
    fee = draft(option, leg, leg.type_code, deal)
    assure(fee, None)
    verified(fee, now)
    sums = totals(fee)
    if len(sums.breakdown) > 1:
        hint = "meter the fees of each category by a deal and a metric of their own, or sum them up by summary()"
        raise RequestError("deal.fee", len(sums.breakdown), hint, "is in several tax categories: an event has one sum")
    properties = {
        "amount": f"{sums.tax_exclusive:f}",
        "currency": deal.currency,
        "documentRef": source_of(option, deal).id,
    }
    event = {
        "transaction_id": fee.id,
        "external_subscription_id": deal.subscription,
        "code": metric,
        "properties": properties,
        "timestamp": fee.issued_at,
    }
    request = message_of(events_v2.CreateRequest, {"event": event})
    return Issuance(leg.tenant, "billing", EVENTS_METHOD, request, fee.id, None, sums, vat_number=fee.seller.vat_number)


def _documents_request(xml: bytes, key: str, branch: str) -> Message:
    values = {
        "key": key,
        "changes": {"xml_content": xml.decode()},
        "freeze_immediately": False,
        "auto_calculate": False,
        "branch_id": branch or None,
    }
    return message_of(documents_v2.CreateRequest, values)


# The Simple surface


def _as_simple(document: Document) -> Document:
    """The document as the Simple surface will have it: a buyer's other id and province have no field there.

    Raises RequestError for what would be lost and matters.
    """
    hint = "the Simple surface has no field for it: leave it out, or put it into the lines"
    if document.supply_end is not None:
        raise RequestError("deal.supply_end", document.supply_end, hint, "cannot be said")
    for number, line in enumerate(document.lines):
        lost = (
            ("allowances", line.allowances, bool(line.allowances)),
            ("base_quantity", line.base_quantity, line.base_quantity != 1),
            ("source", line.source, line.source is not None),
        )
        for name, value, is_lost in lost:
            if is_lost:
                raise RequestError(f"lines[{number}].{name}", value, hint, "cannot be said")
    buyer = document.buyer
    if buyer is None:
        raise RequestError("buyer", None, "name the buyer", "is missing")
    if document.type_code.subtype == "standard" and not is_registered(buyer):
        hint = "give the 15 digits of its VAT number: without it the Simple surface makes a simplified invoice"
        raise RequestError("buyer.vat_number", buyer.vat_number, hint)
    address = replace(buyer.address, province="") if buyer.address else None
    return replace(document, buyer=Party(buyer.name, buyer.vat_number, address=address))


def _simple_request(document: Document, key: str, branch: str, invoice_key: str) -> tuple[str, Message]:
    method, message_class = _SIMPLE[document.type_code.code]
    changes: dict[str, object] = {
        "issue_at": document.issued_at,
        "supply_date": document.supply_date,
        "lines": [_simple_line(line) for line in document.lines],
        "branch_id": branch or None,
        "notes": document.notes,
    }
    if invoice_key:  # buyer and currency are the invoice's own
        changes |= {"invoice_key": invoice_key, "reason": document.reason}
    else:
        changes |= {"currency_code": document.currency, "tax_currency_code": "SAR", "buyer": _simple_buyer(document)}
    return method, message_of(message_class, {"key": key, "changes": changes, "freeze_immediately": False})


def _simple_buyer(document: Document) -> dict[str, object]:
    buyer = document.buyer
    if buyer is None:
        return {}
    inline: dict[str, object] = {"legal_name": buyer.name, "vat_registration_number": buyer.vat_number or None}
    if buyer.address is not None:
        inline["address"] = {
            "building_number": buyer.address.building_number,
            "street_name": buyer.address.street,
            "city_name": buyer.address.city,
            "postal_zone": buyer.address.postal_code,
            "country_code": buyer.address.country,
            "city_subdivision_name": buyer.address.district or None,
            "additional_street_name": buyer.address.additional_street or None,
        }
    return {"inline": inline}


def _simple_line(line: Line) -> dict[str, object]:
    return {
        "id": line.id or None,
        "description": line.name,
        "quantity": {"value": line.quantity, "unit_code": line.unit_code},
        "unit_price": line.unit_price,
        "tax": {
            "tax_rate": line.tax.rate,
            "category_code": line.tax.category,
            "exemption_reason_code": line.tax.exemption_code or None,
            "exemption_reason": line.tax.exemption_text or None,
        },
    }
