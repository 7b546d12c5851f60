"""What a new sandbox begins with, and who may sign in to it.

``empty`` is one business that has not told anything yet; ``demo`` is a platform with two connected businesses. Only
hashes of secrets are stored: credentials exist as text here once, when they are made. This room knows no server and
opens no file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from invora_api.identity.v2 import public_registration_service_pb2 as pb
from invora_grpc.sandbox.businesses import connect
from invora_grpc.sandbox.gate import OWNER, VIEWER
from invora_grpc.sandbox.model import Organization
from invora_grpc.sandbox.registration import grant_connected, live_businesses, plan, profile
from invora_grpc.sandbox.store import Store

SEEDS: Final = ("demo", "empty")

Seeder = Callable[[Store, str, tuple[str, ...]], None]
"""Adds demo records: the store, the platform's id, the ids of its connected businesses."""

SEEDERS: Final[tuple[Seeder, ...]] = ()
"""What ``seed_demo`` calls, in this order, inside its transaction."""


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
    for seeder in SEEDERS:
        seeder(store, platform.org_id, connected)
    return platform.org_id


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
