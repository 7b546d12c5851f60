"""What happened between provider, platform and customer, as plain data: the facts from which every leg is built.

A deal says who they are and what each of them owes; which documents follow is the option's business (``advice``), and
how they are written that of ``requests``. Nothing here computes; what shows in a document is
checked there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from invora_grpc.errors import RequestError
from invora_grpc.zatca.advice import Leg
from invora_grpc.zatca.document import RIYADH, Line, Party
from invora_grpc.zatca.problems_values import instant_problem
from invora_grpc.zatca.supply import Customer, Role

WALK_IN: Final = Party("Walk-in customer")
"""The buyer of a simplified invoice whose customer is not named."""
LONGEST_KEY: Final = 100
"""Characters of a deal's key: with a leg's suffix it must fit ZATCA's 127 and the platform's 128."""


@dataclass(frozen=True, slots=True)
class Deal:
    """One transaction: the service provider (SP) serves the customer (C) over the platform (P)."""

    key: str
    """The caller's own key of the transaction, 1 to 100 printable characters. Documents are keyed ``{key}-{leg}``, so
    that a retry sends the same bytes."""
    issued_at: datetime
    """When the documents are issued; aware. Written as Riyadh's date and time, without fractions of a second."""
    supply_date: date
    """Day of the supply, in Saudi Arabia."""
    provider: Party
    platform: Party
    customer: Party | None = None
    """None: a consumer who is not named."""
    service: tuple[Line, ...] = ()
    """What C buys, at C's price."""
    fee: tuple[Line, ...] = ()
    """The platform's commission, P to SP (cases 1, 3, 5 and 6)."""
    cost: tuple[Line, ...] = ()
    """The service at SP's price, SP to P (cases 2 and 4)."""
    supply_end: date | None = None
    """Last day, if the supply took more than one."""
    currency: str = "SAR"
    """ISO 4217."""
    sar_rate: Decimal | None = None
    """SAR per one unit of ``currency``; needed where that is not SAR. The Simple surface takes no rate: there the
    platform uses the tenant's own."""
    branches: Mapping[Role, str] = field(default_factory=dict)
    """Tenant → its branch that issues; the tenant's primary branch where left out."""
    subscription: str = ""
    """External id of SP's subscription at P, where fees are metered (case 6 by the Billing module)."""

    @property
    def issue_day(self) -> date:
        """The day of issue in Riyadh."""
        return self.issued_at.astimezone(RIYADH).date()


def checked(deal: Deal) -> Deal:
    """The deal itself. Raises RequestError for a key or an instant that no document can be made of."""
    if not isinstance(deal, Deal):
        raise RequestError("deal", deal, "give a zatca.Deal", "is none")
    require_key("deal.key", deal.key)
    require_instant("deal.issued_at", deal.issued_at)
    return deal


def require_key(path: str, key: object, longest: int = LONGEST_KEY) -> None:
    """Raise RequestError for what cannot be a document's key."""
    if not isinstance(key, str) or not (key.isprintable() and key.strip() == key and 0 < len(key) <= longest):
        raise RequestError(path, key, f"use 1 to {longest} printable characters without blanks at the ends")


def require_instant(path: str, moment: object) -> None:
    """Raise RequestError for what is no aware datetime."""
    if not isinstance(moment, datetime):
        raise RequestError(path, moment, "give an aware datetime, e.g. datetime.now(UTC)", "is no moment")
    if problem := instant_problem(path, moment):
        raise problem


def party_of(deal: Deal, role: Role, customer: Customer) -> Party:
    """Who plays this role in the deal. Raises RequestError where the customer is not what the option says."""
    if role is Role.SP:
        return deal.provider
    if role is Role.P:
        return deal.platform
    if customer is Customer.business:
        if deal.customer is None:
            raise RequestError("deal.customer", None, "name the business, with VAT number and address", "is missing")
        return deal.customer
    if deal.customer is not None and deal.customer.vat_number:
        hint = "ask for advice with customer=business, or leave the number out"
        raise RequestError("deal.customer.vat_number", deal.customer.vat_number, hint, "is not a consumer's")
    return deal.customer or WALK_IN


def lines_of(deal: Deal, leg: Leg) -> tuple[Line, ...]:
    """What this leg charges. Raises RequestError where the deal does not say."""
    name, owed = _charged(deal, leg)
    if not owed:
        between = f"{leg.seller.upper()} to {leg.buyer.upper()}"
        raise RequestError(f"deal.{name}", (), f"give the lines of leg {leg.number}, {between}", "is empty")
    return owed


def _charged(deal: Deal, leg: Leg) -> tuple[str, tuple[Line, ...]]:
    if leg.buyer is Role.C:
        return "service", deal.service
    return ("fee", deal.fee) if leg.seller is Role.P else ("cost", deal.cost)
