"""A platform and a connected business that may issue, made by the API as a platform engineer makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import zatca_deals
from conftest import client_of
from door import Door
from google.protobuf.message import Message
from sandbox_fixture import Running
from zatca_deals import BUSINESS, PLATFORM, PROVIDER

from invora_grpc import Invora
from invora_grpc.catalog import catalog
from invora_grpc.sandbox import server
from invora_grpc.sandbox.model import Record
from invora_grpc.sandbox.service import Call
from invora_grpc.zatca import issuing, issuing_aio
from invora_grpc.zatca.agreement import Agreement
from invora_grpc.zatca.deal import Deal
from invora_grpc.zatca.document import RIYADH, Party
from invora_grpc.zatca.supply import Role

OTP = "123456"
Clients = Mapping[Role, Any]


def today_deal(key: str, kind: str = "consumer", **facts: Any) -> Deal:
    """A deal of this moment that fits every case."""
    now = datetime.now(UTC)
    sample = zatca_deals.deal(kind, key)
    return replace(sample, **({"issued_at": now, "supply_date": now.astimezone(RIYADH).date()} | facts))


def agreement_of(case: int) -> Agreement:
    """All arrangements that a case may need, made long before today."""
    made = zatca_deals.agreement(case)
    assert made.self_billing
    before = datetime.now(RIYADH).date() - timedelta(days=90)
    return replace(made, self_billing=replace(made.self_billing, agreed_on=before, certified_on=before))


def particulars(party: Party) -> dict[str, Any]:
    """A party as UBL has it."""
    address = party.address
    assert address
    return {
        "party_identification": [{"id": {"value": party.id_value, "scheme_id": party.id_scheme}}],
        "party_legal_entity": [{"registration_name": {"value": party.name}}],
        "party_tax_scheme": [{"company_id": {"value": party.vat_number}}],
        "postal_address": {
            "street_name": {"value": address.street},
            "building_number": {"value": address.building_number},
            "city_subdivision_name": {"value": address.district},
            "city_name": {"value": address.city},
            "postal_zone": {"value": address.postal_code},
            "country": {"identification_code": {"value": address.country}},
        },
    }


def add_branch(client: Invora, key: str, party: Party) -> None:
    client.invoicing.branches.create(key=key, changes={"name": key, "party": particulars(party)})


@dataclass
class Tenants:
    """Both tenants of a running sandbox, with the branches that the sample deals name."""

    running: Running
    provider_org: str
    provider_id: str
    provider_secret: str

    def of(self, door: Door, endpoint: str = "", **options: Any) -> Clients:
        """The platform's client for each of them, of the door's kind, by another endpoint if one is given."""
        platform = door.open(endpoint=endpoint or f"http://{self.running.grpc}", token=self.running.token(), **options)
        return issuing.tenants(platform, self.provider_org)

    def own(self, door: Door) -> Clients:
        """The same, with the provider's own credentials in the provider's tenant."""
        own = self.running.token(self.provider_id, self.provider_secret)
        provider = door.open(endpoint=f"http://{self.running.grpc}", token=own)
        return {**self.of(door), Role.SP: provider}

    def org(self, role: Role) -> str:
        return self.running.sandbox.org_id if role is Role.P else self.provider_org

    def submissions(self, role: Role) -> list[Record]:
        """What was frozen in a tenant, whatever the surface."""
        return [*self.running.store.all(self.org(role), "regulations.submissions")]

    def chain(self, role: Role, branch: str) -> list[bytes]:
        """The stamped XML of all that a branch has issued, on all surfaces, by the API."""
        with client_of(self.running) as client:
            acting = client.for_org(self.org(role))
            days = {name: {"year": 2000 + at, "month": 1, "day": 1} for name, at in (("from", 0), ("to", 99))}
            request = {"regulation_id": "zatca", "branch_id": branch, "artifact_ids": ["signed-xml"]}
            told = acting.invoicing.regulation_info.export_artifacts(
                **request, issue_date_from=days["from"], issue_date_to=days["to"]
            )
            return [one.artifact_bytes for one in told]


def issue(door: Door, *arguments: Any, **options: Any) -> Any:
    """`issue` of the door's kind."""
    room: Any = issuing if type(door) is Door else issuing_aio
    return door.call(room.issue, *arguments, **options)


def send(door: Door, *arguments: Any, **options: Any) -> Any:
    """`send` of the door's kind."""
    room: Any = issuing if type(door) is Door else issuing_aio
    return door.call(room.send, *arguments, **options)


def connect(running: Running, name: str = PROVIDER.name) -> Tenants:
    """A connected business of the platform, not onboarded yet."""
    with client_of(running) as platform:
        made = platform.identity.connected_business.create_connected_business(
            name=name, admin_email="admin@speedy.example"
        )
        provider = platform.for_org(made.connected_business.tenant_id)
        provider.invoicing.settings.update_self_party(my_info={"party": particulars(PROVIDER)})
        add_branch(provider, "sp-main", PROVIDER)
        return Tenants(running, made.connected_business.tenant_id, made.client_id, made.client_secret)


def onboard(tenants: Tenants) -> list[Any]:
    """Onboard the connected business; what the steps tell."""
    with client_of(tenants.running) as platform:
        provider = platform.for_org(tenants.provider_org)
        return list(provider.invoicing.zatca.initiate_onboarding(otp=OTP, environment="PHASE2_SANDBOX"))


def ready(running: Running) -> Tenants:
    """Both tenants as they are when the first deal comes. `p-as-…` and `p-set-up` have another's VAT number."""
    tenants = connect(running)
    onboard(tenants)
    with client_of(running) as platform:
        add_branch(platform, "p-main", PLATFORM)
        add_branch(platform, "p-as-sp", replace(PLATFORM, vat_number=PROVIDER.vat_number))
        add_branch(platform, "p-as-c", replace(PLATFORM, vat_number=BUSINESS.vat_number))
        settings = {"zatca": {"config": {"vatRegistrationNumber": BUSINESS.vat_number}}}
        changes = {"name": "p", "party": particulars(PLATFORM), "regulation_configs": settings}
        platform.invoicing.branches.create(key="p-set-up", changes=changes)
    return tenants


@contextmanager
def handled(path: str, changed: Callable[[Call, Any, Callable[[Call, Any], Any]], Message]) -> Iterator[None]:
    """The gateway answers an RPC by this, which is given the real handler."""
    name = catalog().method(path).path
    real: Any = server.HANDLERS[name]
    handlers: Any = server.HANDLERS
    handlers[name] = lambda call, request: changed(call, request, real)
    try:
        yield
    finally:
        handlers[name] = real
