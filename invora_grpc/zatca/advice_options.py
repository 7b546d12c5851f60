"""The six cases as options with legs: who sells, buys and issues each document, where, with which type code, and why.

Says what each case looks like for a supply; whether it is lawful there is decided in ``advice``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from invora_grpc.errors import RequestError
from invora_grpc.zatca.supply import Customer, Role, SpStatus, Supply
from invora_grpc.zatca.typecode import TypeCode

__all__ = ["CASES", "Case", "Leg", "LegNumber", "Option", "Submission", "Surface", "option_of"]

Case = Literal[1, 2, 3, 4, 5, 6]
LegNumber = Literal[1, 2, 3]
Surface = Literal["simple", "documents", "billing"]
Submission = Literal["clearance", "reporting"]

CASES: Final[tuple[Case, ...]] = (1, 2, 3, 4, 5, 6)

SERVICE: Final = "SP's service to C"
RESALE: Final = "P's resold service to C"
COST: Final = "SP's service to P"
FEE: Final = "P's fee to SP"
COMMISSION: Final = "P's commission to SP"
SUMMARY: Final = "P's fees of one month to SP"


@dataclass(frozen=True, slots=True)
class Leg:
    """One document of a case, or, where `none_because` says so, a supply that no document follows from."""

    number: LegNumber
    """1 to C, 2 between P and SP; 3 only in case 6 over 4: SP's invoice to P, beside P's summary of fees."""
    represents: str
    seller: Role
    """The supplier of record (AccountingSupplierParty), whoever issues."""
    buyer: Role
    issuer: Role
    tenant: Role
    """In whose tenant of Invora the document is made: whose chain and certificate it takes."""
    surface: Surface
    type_code: TypeCode | None
    """None if there is no document."""
    submission: Submission | None
    """None if there is no document."""
    basis: str
    """The article, of the VAT Implementing Regulations unless it says otherwise."""
    none_because: str | None = None
    """Why no document follows; None if one does."""
    also: Surface | None = None
    """Another surface that serves as well."""
    period: Literal["transaction", "month"] = "transaction"
    """Whether each transaction has such a document, or each month."""


@dataclass(frozen=True, slots=True)
class Option:
    """A case for a supply: the documents that follow, in the order in which they are issued."""

    case: Case
    parent: Case | None
    """For case 5 the case of its leg 1 (1 or 3), for case 6 the case whose fee it sums up (1, 3 or 4); else None."""
    customer: Customer
    legs: tuple[Leg, ...]
    margin: bool
    """Whether P's fee is the margin between two prices, so that no document shows it."""

    @property
    def label(self) -> str:
        """`1`, or with the parent `6 over 4`."""
        return str(self.case) if self.parent is None else f"{self.case} over {self.parent}"

    @property
    def supplier(self) -> Role:
        """Who supplies C."""
        return self.legs[0].seller

    @property
    def exposure(self) -> Literal["fee", "service"]:
        """On what P owes output tax: its fee only, or the whole service."""
        return "service" if self.supplier is Role.P else "fee"

    @property
    def self_billed(self) -> bool:
        """Whether the buyer issues one of the documents (Art. 53(2))."""
        return any(leg.type_code is not None and leg.type_code.self_billed for leg in self.legs)

    @property
    def third_party(self) -> bool:
        """Whether a third party issues one of the documents (Art. 53(3))."""
        return any(leg.type_code is not None and leg.type_code.third_party for leg in self.legs)

    def leg(self, number: int) -> Leg:
        """The leg of that number. Raises `RequestError` if there is none."""
        for leg in self.legs:
            if leg.number == number:
                return leg
        known = ", ".join(str(leg.number) for leg in self.legs)
        raise RequestError("leg", number, f"case {self.label} has the legs {known}", "is no leg of this case")


def option_of(case: Case, parent: Case | None, supply: Supply, deemed: bool | None) -> Option:
    """What the case looks like for the supply. `deemed`: whether P is the deemed supplier; None if that is open."""
    service = _service(parent or case, supply, deemed)
    return Option(case, parent, supply.customer, (service, *_between(case, parent, supply)), case in (2, 4))


def _service(case: Case, supply: Supply, deemed: bool | None) -> Leg:
    """Leg 1, as the cases 1 to 4 have it."""
    consumer = supply.customer is Customer.consumer
    plain = TypeCode("simplified" if consumer else "standard")
    submission: Submission = "reporting" if consumer else "clearance"
    if case == 1:
        return Leg(1, SERVICE, Role.SP, Role.C, Role.SP, Role.SP, "simple", plain, submission, "Art. 53(1)")
    if case == 3:
        flagged = TypeCode(plain.subtype, third_party=True)
        return Leg(1, SERVICE, Role.SP, Role.C, Role.P, Role.SP, "documents", flagged, submission, "Art. 53(3)")
    basis = {True: "Art. 47(3)", None: "Art. 47(3), if it applies", False: "VAT Agents Guideline 6.2"}[deemed]
    return Leg(1, RESALE, Role.P, Role.C, Role.P, Role.P, "simple", plain, submission, basis)


def _between(case: Case, parent: Case | None, supply: Supply) -> tuple[Leg, ...]:
    """The legs between P and SP."""
    if case == 2:
        return (_self_billed_cost() if supply.registered else _no_cost(supply.sp),)
    if case == 4:
        return (_cost(2),)
    if case == 5:
        flagged = TypeCode(self_billed=True)
        return (Leg(2, COMMISSION, Role.P, Role.SP, Role.SP, Role.SP, "documents", flagged, "clearance", "Art. 53(2)"),)
    if case == 6:
        return (_summary(), _cost(3)) if parent == 4 else (_summary(),)
    return (Leg(2, FEE, Role.P, Role.SP, Role.P, Role.P, "simple", TypeCode(), "clearance", "Art. 53(1)"),)


def _self_billed_cost() -> Leg:
    flagged = TypeCode(self_billed=True)
    return Leg(2, COST, Role.SP, Role.P, Role.P, Role.P, "documents", flagged, "clearance", "Art. 53(2)")


def _no_cost(sp: SpStatus) -> Leg:
    """SP's supply to P where SP is not registered: nobody can issue a document for it."""
    reason = (
        "reverse charge: P accounts for the import of the service itself; self-billing wants both registered"
        if sp is SpStatus.non_resident
        else "out of scope: SP is not registered, so its supply bears no VAT; self-billing wants both registered"
    )
    return Leg(2, COST, Role.SP, Role.P, Role.P, Role.P, "documents", None, None, "Art. 53(2)", reason)


def _cost(number: LegNumber) -> Leg:
    """SP's ordinary invoice to P."""
    return Leg(number, COST, Role.SP, Role.P, Role.SP, Role.SP, "simple", TypeCode(), "clearance", "Art. 53(1)")


def _summary() -> Leg:
    return Leg(
        number=2,
        represents=SUMMARY,
        seller=Role.P,
        buyer=Role.SP,
        issuer=Role.P,
        tenant=Role.P,
        surface="documents",
        type_code=TypeCode(summary=True),
        submission="clearance",
        basis="Art. 53(4)",
        also="billing",
        period="month",
    )
