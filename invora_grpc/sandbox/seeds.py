"""What a new sandbox begins with, and who may sign in to it.

``empty`` is one business that has not told anything yet; ``demo`` is a platform with two connected businesses, each of
them with a few documents. Only
hashes of secrets are stored: credentials exist as text here once, when they are made. This room knows no server and
opens no file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from invora_api.identity.v2 import public_registration_service_pb2 as pb
from invora_grpc.call import message_class
from invora_grpc.catalog import catalog
from invora_grpc.sandbox import engine, simple
from invora_grpc.sandbox.businesses import connect
from invora_grpc.sandbox.gate import OWNER, VIEWER
from invora_grpc.sandbox.idp import Caller
from invora_grpc.sandbox.launch import SEEDS
from invora_grpc.sandbox.model import Organization
from invora_grpc.sandbox.registration import grant_connected, live_businesses, plan, profile
from invora_grpc.sandbox.service import Call
from invora_grpc.sandbox.store import Store
from invora_grpc.values import build


@dataclass(frozen=True, slots=True)
class Credentials:
    """An organization, and two clients that may sign in to it: one that may do everything, one that may only read."""

    org_id: str
    client_id: str
    client_secret: str = field(repr=False)
    viewer_client_id: str
    viewer_client_secret: str = field(repr=False)


def seed(store: Store, name: str) -> Credentials:
    """Fill an empty store with the seed of this name, or nothing if it raises."""
    with store.transaction():
        if name == "demo":
            org_id = seed_demo(store)
        elif name == "empty":
            org_id = store.create_organization("Sandbox").org_id
        else:
            raise ValueError(f"no seed {name!r}; use one of {', '.join(SEEDS)}")
        return new_credentials(store, org_id)


def seed_demo(store: Store) -> str:
    """Add the platform with its connected businesses, and answer its id."""
    details = {
        "tax_id": "300000000000003",
        "address_line": "King Fahd Road",
        "city": "Riyadh",
        "postal_code": "11564",
        "country": "SA",
        "currency": "SAR",
        "timezone": "Asia/Riyadh",
    }
    capabilities = (pb.BUSINESS_CAPABILITY_EINVOICING, pb.BUSINESS_CAPABILITY_BILLING)
    told = {
        "profile": profile("SA", capabilities),
        "details": details,
        "plan": plan("platform-monthly"),
        "admin_email": "admin@demo-platform.example",
    }
    platform = store.create_organization("Demo Platform", "platform", data=told)
    connected = tuple(
        connect(store, platform, name, email, "sandbox")[0].org_id
        for name, email in (
            ("Demo Bakery", "admin@demo-bakery.example"),
            ("Demo Pharmacy", "admin@demo-pharmacy.example"),
        )
    )
    _fill_billing(store, platform.org_id, connected)
    for business in connected:
        _fill_invoicing(store, business)
    return platform.org_id


def _fill_billing(store: Store, platform: str, connected: tuple[str, ...]) -> None:
    """What the platform sells to its connected businesses: one metric, one plan, a subscription each."""
    metric = {"code": "documents", "name": "Documents issued", "aggregation_type": "count_agg"}
    _call(store, platform, "billing.metering.create", input=metric)
    monthly = {
        "code": "member",
        "name": "Membership",
        "amount_cents": 9900,
        "amount_currency": "SAR",
        "interval": "monthly",
    }
    plan_id = _call(store, platform, "billing.plans.create", input=monthly).plan.id
    for business in connected:
        name = store.organization(business).name
        customer = {"external_id": business, "name": name, "currency": "SAR", "country": "SA"}
        customer_id = _call(store, platform, "billing.customers.create", input=customer).customer.id
        _call(store, platform, "billing.subscriptions.create", input={"customer_id": customer_id, "plan_id": plan_id})


def _fill_invoicing(store: Store, business: str) -> None:
    """A branch, a customer, a frozen invoice with a credit note in draft, and two drafts."""
    _call(store, business, "invoicing.branches.create", key="main", changes={"name": "Main branch"})
    party = {"name": {"assignments": [{"locale": "en", "value": "Regular customer"}]}, "role": "customer"}
    _call(store, business, "invoicing.parties.create", key="regular", changes=party)
    for number, price in enumerate(("120.00", "35.50", "9.99"), 1):
        changes = {"currency_code": "SAR", "buyer": {"party_key": "regular"}, "lines": [_line(price)]}
        key, frozen = f"demo-{number}", number == 1
        _call(store, business, "simple.invoices.create", key=key, changes=changes, freeze_immediately=frozen)
    note = {"invoice_key": "demo-1", "reason": "Returned", "lines": [_line("20.00")]}
    _call(store, business, "simple.credit_notes.create", key="demo-return", changes=note)


def _line(price: str) -> dict[str, Any]:
    quantity = {"value": 1, "unit_code": "C62"}
    return {"description": "Goods", "quantity": quantity, "unit_price": price, "tax": {"tax_rate": 15}}


def _call(store: Store, org_id: str, name: str, **fields: Any) -> Any:
    """Answer an RPC by its handler, as the organization itself."""
    method = catalog().method(name)
    handler = {**simple.REGISTRY, **engine.REGISTRY}[method.path]
    caller = Caller("sandbox", "sandbox", org_id, org_id, {OWNER: (org_id,)}, None, 0.0)
    now = datetime.fromtimestamp(store.clock(), UTC)
    return handler(Call(store, method, caller, org_id, "", now), build(message_class(method.request), fields))


def new_credentials(store: Store, org_id: str) -> Credentials:
    """Two more clients of an organization, which may act in its connected businesses as they may in itself."""
    with store.transaction():
        owner = _client(store, org_id, OWNER)
        viewer = _client(store, org_id, VIEWER)
    return Credentials(org_id, *owner, *viewer)


def _client(store: Store, org_id: str, role: str) -> tuple[str, str]:
    client_id, secret = store.create_client(org_id, roles=(role,), name=f"sandbox {role}")
    if client := store.client(client_id):
        grant_connected(store, client, live_businesses(store, org_id))
    return client_id, secret


def main_organization(store: Store) -> Organization | None:
    """The oldest organization that has no parent; None in an empty store."""
    return next((organization for organization in store.organizations() if organization.parent_org_id is None), None)


def still_valid(store: Store, credentials: Credentials) -> bool:
    """Whether both of these clients can sign in to this organization with these secrets."""
    pairs = (
        (credentials.client_id, credentials.client_secret),
        (credentials.viewer_client_id, credentials.viewer_client_secret),
    )
    clients = [store.verify_client(client_id, secret) for client_id, secret in pairs]
    return all(client is not None and client.org_id == credentials.org_id for client in clients)
