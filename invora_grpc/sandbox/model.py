"""What the sandbox's store holds and refuses: its tables, its records, its exceptions. Data only; no SQL runs here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

SCHEMA_VERSION = 1
APPLICATION_ID = 0x1A70_5A4B  # marks the file's header as ours; SQLite reserves the field for this
ORGANIZATION_KINDS = ("standalone", "platform", "connected")
BUSY_SECONDS = 5.0

SCHEMA: Final = """
CREATE TABLE schema_version(version INTEGER NOT NULL);
CREATE TABLE keys(name TEXT PRIMARY KEY, pem BLOB NOT NULL, created_at REAL NOT NULL);
CREATE TABLE organizations(
  org_id TEXT PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, parent_org_id TEXT REFERENCES organizations(org_id),
  state TEXT NOT NULL, data TEXT NOT NULL, created_at REAL NOT NULL,
  CHECK ((kind = 'connected') = (parent_org_id IS NOT NULL)));
CREATE INDEX organizations_parent ON organizations(parent_org_id);
CREATE TABLE clients(
  client_id TEXT PRIMARY KEY, org_id TEXT NOT NULL REFERENCES organizations(org_id) ON DELETE CASCADE,
  secret_hash TEXT NOT NULL, name TEXT NOT NULL, roles TEXT NOT NULL, active INTEGER NOT NULL DEFAULT 1,
  generation INTEGER NOT NULL DEFAULT 1, created_at REAL NOT NULL);
CREATE INDEX clients_org ON clients(org_id);
CREATE TABLE refresh_tokens(
  token_hash TEXT PRIMARY KEY, family TEXT NOT NULL,
  client_id TEXT NOT NULL REFERENCES clients(client_id) ON DELETE CASCADE, subject TEXT NOT NULL, org_id TEXT NOT NULL,
  roles TEXT NOT NULL, scope TEXT NOT NULL, expires_at REAL NOT NULL, used INTEGER NOT NULL DEFAULT 0);
CREATE INDEX refresh_family ON refresh_tokens(family);
CREATE INDEX refresh_client ON refresh_tokens(client_id);
CREATE TABLE records(
  org_id TEXT NOT NULL REFERENCES organizations(org_id) ON DELETE CASCADE, kind TEXT NOT NULL, id TEXT NOT NULL,
  key TEXT, stamp TEXT NOT NULL, state TEXT NOT NULL, body BLOB NOT NULL, search TEXT NOT NULL,
  created_at REAL NOT NULL, updated_at REAL NOT NULL, seq INTEGER NOT NULL, deleted INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(org_id, kind, id));
CREATE UNIQUE INDEX records_key ON records(org_id, kind, key) WHERE key IS NOT NULL AND deleted = 0;
CREATE UNIQUE INDEX records_seq ON records(org_id, kind, seq);
CREATE TABLE counters(
  org_id TEXT NOT NULL REFERENCES organizations(org_id) ON DELETE CASCADE, name TEXT NOT NULL, value INTEGER NOT NULL,
  PRIMARY KEY(org_id, name));
"""
RECORD: Final = "id, key, stamp, state, body, search, created_at, updated_at, seq"
ORGANIZATION: Final = "org_id, name, kind, parent_org_id, state, data, created_at"
CLIENT: Final = "client_id, org_id, name, roles, active, generation, created_at"


class StoreError(Exception):
    """What the store refuses; the text is for people and holds no secret."""


class NotASandboxFile(StoreError):
    """The path cannot be used: not a sandbox database, one of another version, or not reachable."""


class DuplicateKey(StoreError):
    """A live object of this tenant and kind already has this id or key."""


class MissingRecord(StoreError):
    """The tenant has no such object."""


class StaleStamp(StoreError):
    """The object changed since the caller read it."""


class UnknownOrganization(StoreError):
    """No organization has this id."""


@dataclass(frozen=True, slots=True)
class Organization:
    """A tenant. ``kind`` is one of ORGANIZATION_KINDS; only a connected one has a parent."""

    org_id: str
    name: str
    kind: str
    parent_org_id: str | None
    state: str
    data: Mapping[str, Any]
    created_at: float


@dataclass(frozen=True, slots=True)
class Client:
    """An OIDC client without its secret. ``roles`` maps each role to the organizations it is granted in."""

    client_id: str
    org_id: str
    name: str
    roles: Mapping[str, tuple[str, ...]]
    active: bool
    generation: int
    """Rises when the client is deactivated: tokens of an earlier generation are dead, even after a reactivation."""
    created_at: float


@dataclass(frozen=True, slots=True)
class Record:
    """One business object. ``key`` is unique among the live objects of its tenant and kind, or None.

    The store sets ``seq`` (1, 2, 3 … per tenant and kind), the times left at 0.0, and ``updated_at`` on replace.
    """

    id: str
    key: str | None = None
    stamp: str = ""
    state: str = ""
    body: bytes = field(default=b"", repr=False)
    """May be a private key."""
    search: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0
    seq: int = 0


@dataclass(frozen=True, slots=True)
class RefreshGrant:
    """What a refresh token stands for; its successor joins the same ``family``."""

    client_id: str
    subject: str
    org_id: str
    roles: Mapping[str, tuple[str, ...]]
    scope: str
    family: str


def organization_of(row: Any) -> Organization:
    """An organization from a row of ORGANIZATION."""
    org_id, name, kind, parent, state, data, created_at = row
    return Organization(org_id, name, kind, parent, state, json.loads(data), created_at)


def client_of(row: Any) -> Client:
    """A client from a row of CLIENT."""
    client_id, org_id, name, roles, active, generation, created_at = row
    return Client(client_id, org_id, name, load_roles(roles), bool(active), generation, created_at)


def dump_roles(roles: Mapping[str, Iterable[str]]) -> str:
    """Roles as the JSON text that a row holds."""
    return json.dumps({role: list(orgs) for role, orgs in roles.items()}, sort_keys=True)


def load_roles(text: str) -> Mapping[str, tuple[str, ...]]:
    """Roles from the JSON text of a row."""
    return MappingProxyType({role: tuple(orgs) for role, orgs in json.loads(text).items()})
