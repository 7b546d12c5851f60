"""Sample deals for tests of the six cases, good ones by hand and strategies that draw good ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

from hypothesis import strategies as st

from invora_grpc.zatca.advice_options import Option, option_of
from invora_grpc.zatca.agreement import Agreement, SelfBilling, ThirdParty
from invora_grpc.zatca.deal import Deal
from invora_grpc.zatca.document import Address, Line, Party, Tax
from invora_grpc.zatca.notes import note
from invora_grpc.zatca.requests import Issuance, build
from invora_grpc.zatca.supply import Customer, Role, SpStatus, Supply

D = Decimal
ISSUED = datetime(2026, 6, 12, 9, 0, tzinfo=UTC)
"""Noon in Riyadh."""
SUPPLIED = date(2026, 6, 12)
EXEMPT = Tax("E", D(0), "VATEX-SA-29", "Financial services")

PROVIDER = Party(
    "Speedy Services LLC",
    "311111111100003",
    "CRN",
    "1010111111",
    Address("King Fahd Road", "1234", "Al Olaya", "Riyadh", "12214"),
)
PLATFORM = Party(
    "The Platform LLC",
    "322222222200003",
    "CRN",
    "1010222222",
    Address("طريق الملك عبد العزيز", "4321", "الصحافة", "الرياض", "13321"),
)
BUSINESS = Party(
    "Customer Trading Co.",
    "333333333300003",
    address=Address("Prince Sultan Road", "1111", "Al Murjan", "Jeddah", "23333"),
)
CONSUMER = Party("سارة أحمد")
UNREGISTERED = replace(PROVIDER, vat_number="")

SERVICE = Line("Home cleaning visit", D(1), D(200), "HUR")
FEE = Line("Platform fee (10%)", D(1), D(20))
COST = Line("Cleaning supplied to the platform", D(1), D(180), "HUR")

AGREEMENT_COST = SelfBilling(
    PROVIDER.vat_number, PLATFORM.vat_number, "SB-2026-001", date(2026, 1, 5), date(2026, 1, 6), "ZATCA-SB-77"
)
"""P issues SP's invoices for SP's service to P (case 2)."""
AGREEMENT_FEE = replace(AGREEMENT_COST, supplier_vat=PLATFORM.vat_number, customer_vat=PROVIDER.vat_number)
"""SP issues P's invoices for P's commission (case 5)."""
THIRD_PARTY = ThirdParty(PROVIDER.vat_number, "ZATCA-TP-12")

OPTIONS = ((1, None), (2, None), (3, None), (4, None), (5, 1), (5, 3), (6, 1), (6, 3), (6, 4))
"""Every case with every parent."""


def option(case: int, parent: int | None = None, customer: str = "consumer", sp: str = "registered") -> Option:
    """The option of a case, as advice gives it."""
    supply = Supply(SpStatus(sp), Customer(customer), date=SUPPLIED)
    return option_of(case, parent, supply, sp != "registered")


def agreement(case: int) -> Agreement:
    """All arrangements that a case may need."""
    return Agreement(AGREEMENT_FEE if case == 5 else AGREEMENT_COST, THIRD_PARTY)


def deal(customer: str = "consumer", key: str = "INV-100") -> Deal:
    """A deal that fits every case."""
    return Deal(
        key=key,
        issued_at=ISSUED,
        supply_date=SUPPLIED,
        provider=PROVIDER,
        platform=PLATFORM,
        customer=BUSINESS if customer == "business" else None,
        service=(SERVICE,),
        fee=(FEE,),
        cost=(COST,),
        branches={Role.SP: "sp-main", Role.P: "p-main"},
        subscription="sub-speedy",
    )


def attempt(option: Option, leg: int, deal: Deal, agreement: Agreement | None = None) -> Issuance:
    """Build a leg in the moment of its issue."""
    return build(option, leg, deal, agreement, now=deal.issued_at)


def built(case: int, leg: int, kind: str = "consumer", parent: int | None = None, **changes: Any) -> Issuance:
    """One leg of the sample deal with a customer of this kind."""
    return attempt(option(case, parent, kind), leg, replace(deal(kind), **changes), agreement(case))


def credit(original: Issuance, line: Line = SERVICE, kind: Literal[381, 383] = 381, **changes: Any) -> Issuance:
    """A credit note of 14 June, of one line."""
    wanted: dict[str, Any] = {
        "reason": "Visit was shorter",
        "key": "CN-1",
        "issued_at": ISSUED.replace(day=14),
        "event": date(2026, 6, 13),
    }
    wanted |= changes
    return note(original, kind, (line,), **({"now": wanted["issued_at"]} | wanted))


def month_of_deals(count: int = 3, customer: str = "consumer") -> list[Deal]:
    """Deals of June 2026, one a day."""
    return [
        replace(
            deal(customer, f"INV-{100 + number}"),
            supply_date=date(2026, 6, number % 28 + 1),
            issued_at=ISSUED.replace(day=number % 28 + 1),
        )
        for number in range(count)
    ]


names = st.sampled_from(["Home cleaning", "تنظيف منزلي", "Repair & parts <small>", "Café visit", "Fee 'A' \"B\""])
prices = st.decimals(D("0.01"), D(100_000), places=2) | st.decimals(D("0.001"), D(10), places=6)
quantities = st.decimals(D("0.01"), D(1000), places=2)
taxes = st.sampled_from([Tax(), Tax("S", D(5)), EXEMPT])
lines = st.builds(Line, names, quantities, prices, st.sampled_from(["C62", "HUR"]), taxes)
"""Lines that every surface can say."""
many_lines = st.lists(lines, min_size=1, max_size=4).map(tuple)
customers = st.sampled_from(["consumer", "business"])


@st.composite
def deals(draw: st.DrawFn, customer: str) -> Deal:
    """Good deals of all kinds, with a customer of this kind."""
    consumer = st.sampled_from([None, CONSUMER])
    currency = draw(st.sampled_from(["SAR", "SAR", "USD"]))
    return replace(
        deal(customer, draw(st.from_regex(r"[A-Z]{1,4}-[0-9]{1,8}", fullmatch=True))),
        customer=BUSINESS if customer == "business" else draw(consumer),
        service=draw(many_lines),
        fee=draw(many_lines),
        cost=draw(many_lines),
        currency=currency,
        sar_rate=None if currency == "SAR" else D("3.75"),
        issued_at=draw(st.datetimes(datetime(2026, 2, 1), datetime(2026, 10, 1), timezones=st.just(UTC))),
        supply_date=draw(st.dates(date(2026, 1, 1), date(2026, 10, 1))),
    )
