"""What must be true outside a document before it may be issued: Art. 53(2), (3) and (4) of the VAT regulations.

The platform's rules do not see agreements, approvals and calendar months, so nobody else would refuse a self-billed,
third-party or summary document that lacks them. This room only compares facts that the caller states; whether a
statement is true, and what it is worth, is no question for software.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from invora_grpc.errors import RequestError
from invora_grpc.zatca.document import RIYADH, Document, Party

ART_47_3: Final = "VAT IR Art. 47(3)"
"""The platform supplies in place of a supplier who is not a registered resident."""
ART_53_1: Final = "VAT IR Art. 53(1)"
"""The supplier, a taxable person, issues."""
ART_53_2: Final = "VAT IR Art. 53(2)"
"""The customer issues on behalf of the supplier."""
ART_53_3: Final = "VAT IR Art. 53(3)"
"""A third party issues on behalf of the supplier."""
ART_53_4: Final = "VAT IR Art. 53(4)"
"""One invoice for several supplies to one customer."""
NOTE_ARTICLE: Final = "VAT IR on credit notes"
SUMMARY_DAY: Final = 15
"""Day of the following month by which a summary invoice must be issued."""
NOTE_DAYS: Final = 15
"""Days after the end of the event's month in which a credit note is to be issued."""
EXPORTS: Final = frozenset(("VATEX-SA-32", "VATEX-SA-33"))
"""Exemption codes of exported goods and services."""

_VAT_NUMBER = re.compile("3[0-9]{13}3")


class PreconditionError(RequestError):
    """A document may not be issued, because of a fact outside it. Nothing was built."""

    article: str
    """What demands it, e.g. `VAT IR Art. 53(2)`."""

    def __init__(self, article: str, path: str, value: object, hint: str, fact: str) -> None:
        super().__init__(path, value, hint, f"{fact} ({article})")
        self.article = article


@dataclass(frozen=True, slots=True)
class SelfBilling:
    """An arrangement in which the customer issues the supplier's tax invoices (Art. 53(2))."""

    supplier_vat: str
    """VAT number of whose supply it is: the seller on the document."""
    customer_vat: str
    """VAT number of who issues: the buyer on the document."""
    reference: str
    """Number or name of the agreement."""
    agreed_on: date
    """Day in Saudi Arabia; a document from before it has no prior agreement."""
    certified_on: date | None
    """Day on which the supplier certified that it will not itself invoice these supplies; None: it has not."""
    approval: str
    """Reference of the Authority's approval."""


@dataclass(frozen=True, slots=True)
class ThirdParty:
    """An arrangement in which another than supplier and customer issues the supplier's tax invoices (Art. 53(3))."""

    supplier_vat: str
    """VAT number of the supplier, who answers for the document and its tax."""
    approval: str
    """Reference of the Authority's approval."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The arrangements under which documents are issued for others. Case 5 with a third party needs both."""

    self_billing: SelfBilling | None = None
    third_party: ThirdParty | None = None


def assure(document: Document, agreement: Agreement | None) -> None:
    """Raise PreconditionError unless what the document's flags demand is so: of invoices and of notes alike."""
    if not isinstance(agreement, Agreement | None):
        hint = "give Agreement(self_billing=..., third_party=...)"
        raise RequestError("agreement", type(agreement).__name__, hint, "is no Agreement")
    given = agreement or Agreement()
    if document.type_code.self_billed:
        _assure_self_billing(document, given.self_billing)
    if document.type_code.third_party:
        _assure_third_party(document, given.third_party)
    if document.type_code.summary:
        _registered(ART_53_4, "buyer", document.buyer)
    _registered(ART_53_1, "seller", document.seller)
    address = document.seller.address
    if address is not None and address.country != "SA":
        hint = "ask for advice with sp=non-resident: the platform may be the supplier"
        fact = "a supplier abroad issues no Saudi tax invoice"
        raise PreconditionError(ART_47_3, "seller.address.country", address.country, hint, fact)


def statement(seller: Party, buyer: Party) -> tuple[str, str]:
    """What a self-billed document must say (Art. 53(2)), in English and in Arabic."""
    supplier, customer = seller.vat_number, buyer.vat_number
    return (
        f"Self-billed: issued by the customer (VAT {customer}) on behalf of the supplier (VAT {supplier}).",
        f"فوترة ذاتية: أصدر العميل (الرقم الضريبي {customer}) هذا المستند نيابة عن المورد (الرقم الضريبي {supplier}).",
    )


def assure_summary(month: date, issue_day: date, days: Iterable[date], customers: Iterable[str]) -> None:
    """Raise PreconditionError unless Art. 53(4) is kept.

    `month` is any day of the month that is summed up, `issue_day` the Saudi day of issue, `days` those of the supplies,
    `customers` the VAT number of the buyer of each.
    """
    days, numbers = list(days), list(customers)
    require_day("month", month)
    if len(numbers) < 2:
        hint = "issue a single fee as an invoice of its own"
        raise PreconditionError(ART_53_4, "deals", len(numbers), hint, "a summary covers more than one supply")
    if len(set(numbers)) > 1:
        hint = "make one summary per customer"
        raise PreconditionError(ART_53_4, "deals", sorted(set(numbers)), hint, "a summary is for one customer")
    for day in days:
        require_day("deals", day)
        if (day.year, day.month) != (month.year, month.month):
            hint = f"sum up only supplies of {month:%Y-%m}"
            raise PreconditionError(ART_53_4, "deals", day, hint, "is a supply of another month")
    if issue_day < max(days):
        hint = f"issue it on {max(days)} or later"
        raise PreconditionError(ART_53_4, "issued_at", issue_day, hint, "is before the last supply that it covers")
    last = month_end(month) + timedelta(days=SUMMARY_DAY)
    if issue_day > last:
        hint = f"a summary of {month:%Y-%m} had to be issued by {last}; ask your VAT adviser how to mend that"
        raise PreconditionError(ART_53_4, "issued_at", issue_day, hint, "is too late")


def assure_third(supplier: Party, customer: Party | None, issuer: Party) -> None:
    """Raise PreconditionError unless who issues for the supplier is a third taxable person (Art. 53(3))."""
    number = _registered(ART_53_3, "platform", issuer)
    for party, name, hint in (
        (supplier, "supplier", "what a supplier issues itself is case 1"),
        (customer, "customer", "what a customer issues itself is self-billed; let the supplier issue this one"),
    ):
        if party is not None and party.vat_number == number:
            raise PreconditionError(ART_53_3, "platform.vat_number", number, hint, f"is the {name}'s: no third party's")


def require_day(path: str, day: object) -> None:
    """Raise RequestError for what is no date: a datetime is none, as its day depends on the time zone."""
    if type(day) is not date:
        raise RequestError(path, day, "give a datetime.date, the day in Riyadh", "is no day")


def note_deadline(event: date, days: int = NOTE_DAYS) -> date:
    """The last day for a credit note: `days` after the end of the month of the event that calls for it."""
    return month_end(event) + timedelta(days=days)


def month_end(day: date) -> date:
    """The last day of the month of this day."""
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def is_registered(party: Party | None) -> bool:
    """Whether the party has what can be a Saudi VAT number."""
    return party is not None and _VAT_NUMBER.fullmatch(party.vat_number) is not None


def _registered(article: str, name: str, party: Party | None) -> str:
    if party is None or not is_registered(party):
        number = party.vat_number if party else None
        hint = "give the 15 digits of its VAT number; who has none cannot take part"
        raise PreconditionError(article, f"{name}.vat_number", number, hint, f"the {name} must be registered for VAT")
    return party.vat_number


def _assure_self_billing(document: Document, given: SelfBilling | None) -> None:
    seller = _registered(ART_53_2, "seller", document.seller)
    buyer = _registered(ART_53_2, "buyer", document.buyer)
    if seller == buyer:
        hint = "supplier and customer must be two taxable persons"
        raise PreconditionError(ART_53_2, "buyer.vat_number", buyer, hint, "is the seller's own")
    if document.buyer is None or _is_export(document, document.buyer):
        hint = "let the supplier issue it as an ordinary invoice"
        raise PreconditionError(ART_53_2, "lines", document.id, hint, "an export cannot be self-billed")
    if given is None:
        hint = "give Agreement(self_billing=SelfBilling(...)) between supplier and customer"
        raise PreconditionError(ART_53_2, "agreement.self_billing", None, hint, "there is no prior agreement")
    for name, stated, is_so in (("supplier", given.supplier_vat, seller), ("customer", given.customer_vat, buyer)):
        if stated != is_so:
            hint = f"give the agreement with {is_so}"
            path = f"agreement.self_billing.{name}_vat"
            raise PreconditionError(ART_53_2, path, stated, hint, f"is another {name} than the document's")
    _assure_papers(document, given)


def _assure_papers(document: Document, given: SelfBilling) -> None:
    path, day = "agreement.self_billing", document.issued_at.astimezone(RIYADH).date()
    require_day(f"{path}.agreed_on", given.agreed_on)
    if given.certified_on is not None:
        require_day(f"{path}.certified_on", given.certified_on)
    if _is_blank(given.reference):
        hint = "name the agreement"
        raise PreconditionError(ART_53_2, f"{path}.reference", given.reference, hint, "there is no prior agreement")
    if given.agreed_on > day:
        hint = f"the document is of {day}; the agreement must come first"
        raise PreconditionError(
            ART_53_2, f"{path}.agreed_on", given.agreed_on, hint, "the agreement is not a prior one"
        )
    if given.certified_on is None or given.certified_on > day:
        hint = "have the supplier certify that it will not invoice these supplies itself"
        raise PreconditionError(ART_53_2, f"{path}.certified_on", given.certified_on, hint, "is no certification yet")
    _assure_approval(ART_53_2, f"{path}.approval", given.approval)
    if not set(statement(document.seller, document.buyer or document.seller)) <= set(document.notes):
        hint = "put both lines of statement(seller, buyer) among the notes"
        fact = "the document does not state that the customer issued it"
        raise PreconditionError(ART_53_2, "notes", document.notes, hint, fact)


def _assure_third_party(document: Document, given: ThirdParty | None) -> None:
    seller = _registered(ART_53_3, "seller", document.seller)
    if given is None:
        hint = "give Agreement(third_party=ThirdParty(...)) with the Authority's approval"
        raise PreconditionError(
            ART_53_3, "agreement.third_party", None, hint, "issuing through a third party is not approved"
        )
    if given.supplier_vat != seller:
        path, hint = "agreement.third_party.supplier_vat", f"give the approval of {seller}"
        raise PreconditionError(ART_53_3, path, given.supplier_vat, hint, "is another supplier than the document's")
    _assure_approval(ART_53_3, "agreement.third_party.approval", given.approval)


def _assure_approval(article: str, path: str, approval: str) -> None:
    if _is_blank(approval):
        raise PreconditionError(article, path, approval, "give its reference", "the Authority's approval is missing")


def _is_blank(text: object) -> bool:
    return not isinstance(text, str) or not text.strip()


def _is_export(document: Document, buyer: Party) -> bool:
    abroad = buyer.address is not None and buyer.address.country != "SA"
    exported = any(line.tax.exemption_code in EXPORTS for line in document.lines)
    return document.type_code.export or abroad or exported
