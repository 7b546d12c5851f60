"""The facts of one supply on an intermediary platform: who takes part, and who does what.

Plain data that ``advice`` reads. What is not known stays None; nothing here guesses, and nothing here knows the law.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from invora_grpc.errors import RequestError

__all__ = ["CONTROLS", "Customer", "FeePeriod", "Role", "SpStatus", "Supply"]


class Role(StrEnum):
    """A party of the transaction."""

    SP = "sp"
    """The service provider: performs the service."""
    P = "p"
    """The platform: brings the two together for a fee. Always resident and registered for VAT."""
    C = "c"
    """The customer."""


class SpStatus(StrEnum):
    """How the service provider stands to Saudi VAT."""

    registered = "registered"
    """Resident and registered."""
    non_registered = "non-registered"
    """Resident and not registered."""
    non_resident = "non-resident"


class Customer(StrEnum):
    """What the customer is."""

    consumer = "consumer"
    """Not registered for VAT: simplified documents."""
    business = "business"
    """Registered for VAT: standard documents."""


FeePeriod = Literal["transaction", "month"]

CONTROLS: Final = ("sets_terms", "sets_price", "collects_payment", "handles_complaints", "runs_promotions")
"""What a platform must leave alone altogether to stay outside the deemed-supplier rule (Art. 47(3))."""


@dataclass(frozen=True, slots=True)
class Supply:
    """The facts. None says that a fact is not known or not decided.

    Raises `RequestError` for a value of another kind. The texts of the enumerations do as well as their members.
    """

    sp: SpStatus
    customer: Customer
    sets_terms: bool | None = field(default=None, kw_only=True)
    """Whether P sets the terms of the supply."""
    sets_price: bool | None = field(default=None, kw_only=True)
    """Whether P determines the consideration."""
    collects_payment: bool | None = field(default=None, kw_only=True)
    """Whether P collects the customer's payment."""
    handles_complaints: bool | None = field(default=None, kw_only=True)
    """Whether P handles the customers' complaints."""
    runs_promotions: bool | None = field(default=None, kw_only=True)
    """Whether P offers promotions or compensation."""
    disclosed: bool | None = field(default=None, kw_only=True)
    """Whether the agency is disclosed: the agreement names SP as the principal, and C knows that it buys from SP."""
    service_issuer: Role | None = field(default=None, kw_only=True)
    """Who is to issue the invoice to C: SP or P."""
    fee_issuer: Role | None = field(default=None, kw_only=True)
    """Who is to issue the invoice between SP and P: SP or P."""
    fee_period: FeePeriod | None = field(default=None, kw_only=True)
    """Whether P's fee is to be invoiced for each transaction or once a month."""
    date: datetime.date = field(kw_only=True)
    """The day of the supply, in Riyadh: the law changed on 1 January 2026."""

    def __post_init__(self) -> None:
        _coerce(self, "sp", SpStatus)
        _coerce(self, "customer", Customer)
        for name in (*CONTROLS, "disclosed"):
            if (value := getattr(self, name)) is not None and not isinstance(value, bool):
                raise RequestError(f"supply.{name}", value, "say True, False, or None if it is not known")
        for name in ("service_issuer", "fee_issuer"):
            if getattr(self, name) is not None:
                _coerce(self, name, Role)
            if getattr(self, name) is Role.C:
                raise RequestError(f"supply.{name}", "c", "say 'sp' or 'p'", "issues no document in any of the cases")
        if self.fee_period not in (None, "transaction", "month"):
            raise RequestError("supply.fee_period", self.fee_period, "say 'transaction' or 'month'")
        if not isinstance(self.date, datetime.date) or isinstance(self.date, datetime.datetime):
            raise RequestError("supply.date", self.date, "give a datetime.date, the day in Riyadh", "is no day")

    @property
    def registered(self) -> bool:
        """Whether SP is a resident that is registered for VAT."""
        return self.sp is SpStatus.registered


def _coerce(supply: Supply, name: str, kind: type[StrEnum]) -> None:
    """Make a member of what may be its text."""
    value = getattr(supply, name)
    try:
        object.__setattr__(supply, name, kind(value))
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise RequestError(f"supply.{name}", value, f"use one of {known}", "is not known") from None
