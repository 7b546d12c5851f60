"""The scene of the six cases: a platform, a service provider that becomes its connected business, and their customers.

Without settings a sandbox is started, and ends with the program. With INVORA_ENDPOINT, INVORA_ISSUER, INVORA_CLIENT_ID
and INVORA_CLIENT_SECRET the examples run in yours, as its platform (seed ``demo``): only on this machine, as they make
tenants and branches there.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from invora_grpc import AlreadyExists, Invora
from invora_grpc.zatca import (
    Address,
    Customer,
    Deal,
    Issuance,
    Issued,
    IssuedLeg,
    Line,
    Party,
    Qr,
    Role,
    TypeCode,
    stamped_xml,
    tenants,
)
from invora_grpc.zatca.document import RIYADH

OTP = "123456"
"""The one-time password that the sandbox's authority takes. The real one is on the provider's page at FATOORA."""

PLATFORM = Party(
    "The Platform LLC",
    "322222222200003",
    "CRN",
    "1010222222",
    Address("طريق الملك عبد العزيز", "4321", "الصحافة", "الرياض", "13321"),
)
PROVIDER = Party(
    "Speedy Services LLC",
    "311111111100003",
    "CRN",
    "1010111111",
    Address("King Fahd Road", "1234", "Al Olaya", "Riyadh", "12214"),
)
CUSTOMERS = {
    Customer.consumer: Party("سارة أحمد"),
    Customer.business: Party(
        "Customer Trading Co.",
        "333333333300003",
        address=Address("Prince Sultan Road", "1111", "Al Murjan", "Jeddah", "23333"),
    ),
}
SERVICE = Line("Home cleaning visit", Decimal(1), Decimal(200), "HUR")
FEE = Line("Platform fee, 10 %", Decimal(1), Decimal(20))
COST = Line("Cleaning supplied to the platform", Decimal(1), Decimal(180), "HUR")


# The platform and its provider


@dataclass(frozen=True)
class Row:
    """A document that was issued, or a leg without one, as the table shows it."""

    case: str
    customer: str
    leg: str
    role: Role
    parties: str
    type_code: TypeCode | None
    issued: IssuedLeg
    xml: bytes = b""
    """As it was stamped."""

    @classmethod
    def of(cls, case: str, customer: str, leg: str, issuance: Issuance, issued: IssuedLeg) -> Row:
        """Of a note, a summary or a usage event."""
        document = issuance.document
        parties = f"{_who(document.seller)} → {_who(document.buyer)}" if document else "P → SP"
        return cls(case, customer, leg, issuance.role, parties, document.type_code if document else None, issued)

    @property
    def checked(self) -> bool:
        """Whether all that the QR code says is true of the document, signatures included."""
        return bool(self.xml) and all(check.ok for check in Qr.decode(self.issued.qr).verify(self.xml))


def _who(party: Party | None) -> str:
    known = {PLATFORM.vat_number: "P", PROVIDER.vat_number: "SP"}
    return known.get(party.vat_number, "C") if party else "C"


@dataclass
class Scene:
    """Two tenants that may issue, and what was issued in them."""

    clients: Mapping[Role, Invora]
    """The platform's client for each tenant: it acts in the provider's by x-target-org-id."""
    own: Mapping[Role, Invora]
    """The same, with the provider's own credentials in the provider's tenant."""
    branches: Mapping[Role, str]
    run: str
    """Makes the keys of this run its own."""
    rows: list[Row] = field(default_factory=list)

    @property
    def today(self) -> date:
        """In Saudi Arabia."""
        return datetime.now(RIYADH).date()

    def deal(self, key: str, customer: Customer, **facts: Any) -> Deal:
        """A transaction of this moment. `facts`: what is owed, and whatever else a Deal says."""
        given: dict[str, Any] = {
            "issued_at": datetime.now(UTC),
            "supply_date": self.today,
            "provider": PROVIDER,
            "platform": PLATFORM,
            "customer": CUSTOMERS[customer],
            "branches": self.branches,
        }
        return Deal(f"{self.run}-{key}", **given | facts)

    def subscription(self) -> str:
        """The external id of a subscription of the provider to a plan of the platform: its fees are metered by it."""
        billing = self.clients[Role.P].billing
        name = f"fees-{self.run}"
        with suppress(AlreadyExists):  # made by an earlier run
            billing.metering.create(
                input={"code": "platform_fee", "name": "Fees", "aggregation_type": "SUM_AGG", "field_name": "amount"}
            )
        plan = billing.plans.create(
            input={"code": name, "name": name, "interval": "MONTHLY", "amount_cents": 0, "amount_currency": "SAR"}
        ).plan
        customer = billing.customers.create(
            input={"external_id": f"speedy-{self.run}", "name": PROVIDER.name, "currency": "SAR", "country": "SA"}
        ).customer
        billing.subscriptions.create(input={"external_id": name, "customer_id": customer.id, "plan_id": plan.id})
        return name

    def show(self, issued: Issued, provider: str = "registered") -> None:
        """Print what became of a deal."""
        label, customer = issued.option.label, str(issued.option.customer)
        print(f"\nCase {label}, SP is {provider}, C is a {customer}: {issued.option.legs[0].represents}")
        for each in issued.legs:
            leg = each.leg
            if leg is not None:
                parties = f"{leg.seller.upper()} → {leg.buyer.upper()}"
                self.tell(Row(label, customer, str(leg.number), leg.tenant, parties, leg.type_code, each))

    def tell(self, row: Row) -> None:
        """Print one document, and keep it for the table."""
        issued = row.issued
        if not issued.hash:
            why = issued.leg.none_because if issued.leg else "metered: billed at the end of the month"
            print(f"  {row.leg:9} {row.parties}  {issued.status}: {why}")
            self.rows.append(row)
            return
        row = Row(**vars(row) | {"xml": stamped_xml(self.clients[row.role], issued)})
        self.rows.append(row)
        told = f"{issued.number}, counter {issued.counter}, QR {'verified' if row.checked else 'IS WRONG'}"
        print(f"  {row.leg:9} {row.parties}  in {row.role.upper()}'s tenant: {row.type_code} {issued.status}, {told}")


@contextmanager
def on_stage() -> Iterator[Scene]:
    """A platform with one provider, both onboarded with the authority, each with a branch of its own."""
    run = secrets.token_hex(3)
    with _sandbox() as settings, Invora("sandbox", **settings) as platform:
        business = platform.identity.connected_business.create_connected_business(
            name=f"{PROVIDER.name} {run}", admin_email="admin@speedy.example"
        )
        provider_org = business.connected_business.tenant_id
        print(f"{PROVIDER.name} is the connected business {provider_org}")
        acting = tenants(platform, provider_org)
        branches = {Role.P: f"platform-{run}", Role.SP: "riyadh"}
        acting[Role.SP].invoicing.settings.update_self_party(my_info={"party": particulars(PROVIDER)})
        set_up(acting[Role.P], PLATFORM, branches[Role.P])
        set_up(acting[Role.SP], PROVIDER, branches[Role.SP])
        onboard(acting[Role.SP], OTP)
        credentials = {"client_id": business.client_id, "client_secret": business.client_secret}
        with Invora("sandbox", **settings | credentials) as provider:
            yield Scene(acting, {Role.P: platform, Role.SP: provider}, branches, run)


def set_up(client: Invora, party: Party, branch: str) -> None:
    """Make the branch that issues. It has particulars, a counter, a chain and a certificate of its own."""
    client.invoicing.branches.create(key=branch, changes={"name": party.name, "party": particulars(party)})


def particulars(party: Party) -> Any:
    """A party as the platform keeps it: the UBL type PartyType."""
    address = party.address or Address()
    return {
        "party_identification": [{"id": {"value": party.id_value, "scheme_id": party.id_scheme}}],
        "party_legal_entity": [{"registration_name": {"value": party.name}}],
        "party_tax_scheme": [{"company_id": {"value": party.vat_number}, "tax_scheme": {"id": {"value": "VAT"}}}],
        "postal_address": {
            "street_name": {"value": address.street},
            "building_number": {"value": address.building_number},
            "city_subdivision_name": {"value": address.district},
            "city_name": {"value": address.city},
            "postal_zone": {"value": address.postal_code},
            "country": {"identification_code": {"value": address.country}},
        },
    }


def onboard(client: Invora, otp: str) -> None:
    """Onboard a tenant with the authority: each step is told as it ends. Exits if one of them fails."""
    with client.invoicing.zatca.initiate_onboarding(otp=otp, environment="PHASE2_SANDBOX") as steps:
        for step in steps:
            print(f"  {_named(step, 'step')}: {_named(step, 'disposition')}")
            if step.errors:
                sys.exit("; ".join(f"{error.code}: {error.message}" for error in step.errors))


def _named(step: Any, name: str) -> str:
    """An enum's value in words."""
    value: str = step.DESCRIPTOR.fields_by_name[name].enum_type.values_by_number[getattr(step, name)].name
    return value.removeprefix("ZATCA_ONBOARDING_STEP_").removeprefix("ZATCA_DISPOSITION_").replace("_", " ").lower()


# The sandbox


@contextmanager
def _sandbox() -> Iterator[dict[str, Any]]:
    """The settings of a client: those of the environment, or of a sandbox that ends with the program."""
    if endpoint := os.environ.get("INVORA_ENDPOINT"):
        if not any(here in endpoint for here in ("127.0.0.1", "localhost", "[::1]")):
            sys.exit(f"{endpoint} is no sandbox on this machine: these examples make tenants and issue invoices")
        yield {}
        return
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder, "ready.json")
        command = [sys.executable, "-m", "invora_grpc.cli", "sandbox", "--grpc-port", "0", "--http-port", "0"]
        process = subprocess.Popen([*command, "--ready-file", str(ready)], stdout=subprocess.DEVNULL)
        try:
            while not ready.exists():
                if process.poll() is not None:
                    sys.exit("the sandbox did not start; its message is above")
                time.sleep(0.02)
            told = json.loads(ready.read_text())
            settings = {name: told[name] for name in ("issuer", "client_id", "client_secret")}
            yield {"endpoint": f"http://{told['grpc']}"} | settings
        finally:
            process.terminate()
            process.wait()


# Words


def table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Columns under their titles."""
    lines = (titles, *rows)
    widths = [max(_width(line[column]) for line in lines) for column in range(len(titles))]
    padded = (
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


def _width(text: str) -> int:
    return sum(not unicodedata.combining(letter) for letter in text)


def days_ago(days: int, today: date) -> date:
    """The day so many days before."""
    return today - timedelta(days)
