"""The sandbox's memory: organizations, OIDC clients and every tenant's records, in one SQLite database.

This room knows SQL and nothing else: no gRPC, no HTTP, no protobuf (bodies are opaque bytes), no tokens. Services
translate its exceptions into statuses. Every statement about tenant data names the tenant (``org_id = ?``).

One connection serves one asyncio loop. Calls are short and block; never ``await`` inside ``transaction()``. A write is
committed when its outermost transaction ends: it then survives the end of the process (``synchronous=NORMAL``; a power
cut may lose the last writes of a file, never its consistency). Times are seconds since the epoch, from ``clock``.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from invora_grpc.sandbox.model import (
    APPLICATION_ID,
    BUSY_SECONDS,
    CLIENT,
    ORGANIZATION,
    ORGANIZATION_KINDS,
    RECORD,
    SCHEMA,
    SCHEMA_VERSION,
    Client,
    DuplicateKey,
    MissingRecord,
    NotASandboxFile,
    Organization,
    Record,
    RefreshGrant,
    StaleStamp,
    StoreError,
    UnknownOrganization,
    client_of,
    dump_roles,
    load_roles,
    organization_of,
)
from invora_grpc.sandbox.store_file import claim_file

T = TypeVar("T")


class Store:
    """The database of one sandbox. Make it with ``Store.open``; it is a context manager that closes itself."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._connection = connection
        self._lock = threading.RLock()
        self._depth = 0
        self._owner: asyncio.Task[Any] | None = None
        self._companions: dict[object, Any] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> Store:
        """Open or create the database at ``path`` (``:memory:`` for none on disk).

        Raises NotASandboxFile, before anything is written, for any file that this version did not make.
        """
        where = os.fspath(path)
        if where != ":memory:":
            claim_file(Path(where))
        connection = sqlite3.connect(where, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        store = cls(connection, clock)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            store._prepare(where)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.DatabaseError as error:
            connection.close()
            raise NotASandboxFile(f"{where}: not usable as a sandbox database ({error})") from error
        except BaseException:
            connection.close()
            raise
        return store

    def _prepare(self, where: str) -> None:
        with self.transaction():
            if not self._rows("SELECT 1 FROM sqlite_master LIMIT 1"):
                for statement in SCHEMA.split(";\n"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self._connection.execute("INSERT INTO schema_version VALUES (?)", (SCHEMA_VERSION,))
            found = self._rows("SELECT version FROM schema_version")
        if found != [(SCHEMA_VERSION,)]:
            version = found[0][0] if found else "unknown"
            raise NotASandboxFile(
                f"{where}: a sandbox database of version {version}, this one reads version {SCHEMA_VERSION}; "
                "start with another file, or remove this one if its data is no longer needed"
            )

    def close(self) -> None:
        """Close the connection. Closing twice is harmless."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def companion(self, make: Callable[[Store], T]) -> T:
        """The one object that ``make`` built for this store; built at first use, forgotten with the store."""
        if make not in self._companions:
            self._companions[make] = make(self)
        made: T = self._companions[make]
        return made

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Inside another transaction it joins it: its own failure undoes only its own part.

        Raises RuntimeError when another asyncio task is inside one, i.e. when that task awaited there.
        """
        with self._lock:
            task = _current_task()
            if self._depth and task is not self._owner:
                raise RuntimeError("another task is inside a store transaction; never await inside one")
            name = f"level_{self._depth}"
            begin, commit, undo = (
                (f"SAVEPOINT {name}", f"RELEASE {name}", (f"ROLLBACK TO {name}", f"RELEASE {name}"))
                if self._depth
                else ("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",))
            )
            self._connection.execute(begin)
            self._depth, self._owner = self._depth + 1, task
            try:
                yield
                self._connection.execute(commit)
            except BaseException:
                if self._connection.in_transaction:
                    for statement in undo:
                        self._connection.execute(statement)
                raise
            finally:
                self._depth -= 1
                self._owner = self._owner if self._depth else None

    def _rows(self, sql: str, *values: object) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def _change(self, sql: str, *values: object) -> int:
        with self.transaction():
            return self._connection.execute(sql, values).rowcount

    # Organizations

    def create_organization(
        self,
        name: str,
        kind: str = "standalone",
        *,
        org_id: str | None = None,
        parent_org_id: str | None = None,
        state: str = "active",
        data: Mapping[str, Any] | None = None,
    ) -> Organization:
        """Add a tenant. Raises ValueError (kind without its parent), DuplicateKey, UnknownOrganization (the parent)."""
        if kind not in ORGANIZATION_KINDS or (kind == "connected") != (parent_org_id is not None):
            raise ValueError(
                f"kind is one of {', '.join(ORGANIZATION_KINDS)}, and exactly a connected one has a parent"
            )
        made = Organization(org_id or _new_id(), name, kind, parent_org_id, state, dict(data or {}), self.clock())
        with _refusals(parent_org_id or made.org_id, "organization", made.org_id):
            self._change(
                f"INSERT INTO organizations({ORGANIZATION}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                *(made.org_id, name, kind, parent_org_id, state, json.dumps(made.data), made.created_at),
            )
        return made

    def organization(self, org_id: str) -> Organization:
        """One tenant. Raises UnknownOrganization."""
        rows = self._rows(f"SELECT {ORGANIZATION} FROM organizations WHERE org_id = ?", org_id)
        if not rows:
            raise UnknownOrganization(f"no organization {org_id!r}")
        return organization_of(rows[0])

    def organizations(self) -> list[Organization]:
        """Every tenant, oldest first (for the sandbox's own start-up and listings, not for a tenant's eyes)."""
        return [organization_of(row) for row in self._rows(f"SELECT {ORGANIZATION} FROM organizations ORDER BY rowid")]

    def connected(self, parent_org_id: str) -> list[Organization]:
        """The connected businesses of a platform, oldest first."""
        sql = f"SELECT {ORGANIZATION} FROM organizations WHERE parent_org_id = ? ORDER BY rowid"
        return [organization_of(row) for row in self._rows(sql, parent_org_id)]

    def update_organization(
        self,
        org_id: str,
        *,
        name: str | None = None,
        kind: str | None = None,
        state: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Organization:
        """Change what is given; ``data`` is replaced as a whole. Raises UnknownOrganization.

        ``kind`` turns a standalone organization into a platform or back; a connected one stays what it is.
        """
        with self.transaction():
            self._change(
                "UPDATE organizations SET name = COALESCE(?, name), kind = COALESCE(?, kind), "
                "state = COALESCE(?, state), data = COALESCE(?, data) WHERE org_id = ?",
                *(name, kind, state, None if data is None else json.dumps(dict(data)), org_id),
            )
            return self.organization(org_id)

    def delete_organization(self, org_id: str) -> None:
        """Remove a tenant with its clients, records and counters. Raises UnknownOrganization, StoreError (children)."""
        try:
            gone = self._change("DELETE FROM organizations WHERE org_id = ?", org_id)
        except sqlite3.IntegrityError as error:
            raise StoreError(f"organization {org_id!r} still has connected businesses") from error
        if not gone:
            raise UnknownOrganization(f"no organization {org_id!r}")

    # OIDC clients and their tokens

    def create_client(
        self,
        org_id: str,
        *,
        roles: Iterable[str] | Mapping[str, Iterable[str]] = (),
        client_id: str | None = None,
        secret: str | None = None,
        name: str = "",
    ) -> tuple[str, str]:
        """Add a client and answer (client_id, secret): the only time that the secret is given.

        Plain role names are granted in ``org_id``; a mapping names the organizations of each role.
        Raises DuplicateKey, UnknownOrganization.
        """
        granted = roles if isinstance(roles, Mapping) else dict.fromkeys(roles, (org_id,))
        client_id, secret = client_id or f"sandbox-{secrets.token_hex(8)}", secret or secrets.token_urlsafe(32)
        with _refusals(org_id, "client", client_id):
            self._change(
                "INSERT INTO clients(client_id, org_id, secret_hash, name, roles, created_at) VALUES (?,?,?,?,?,?)",
                *(client_id, org_id, _hashed(secret), name, dump_roles(granted), self.clock()),
            )
        return client_id, secret

    def client(self, client_id: str) -> Client | None:
        """One client, active or not."""
        rows = self._rows(f"SELECT {CLIENT} FROM clients WHERE client_id = ?", client_id)
        return client_of(rows[0]) if rows else None

    def clients(self, org_id: str) -> list[Client]:
        """A tenant's clients, oldest first."""
        rows = self._rows(f"SELECT {CLIENT} FROM clients WHERE org_id = ? ORDER BY rowid", org_id)
        return [client_of(row) for row in rows]

    def verify_client(self, client_id: str, secret: str) -> Client | None:
        """The active client that this secret belongs to; takes as long for an unknown client as for a wrong secret."""
        rows = self._rows("SELECT secret_hash FROM clients WHERE client_id = ? AND active = 1", client_id)
        return self.client(client_id) if _matches(secret, rows[0][0] if rows else _NO_HASH) and rows else None

    def rotate_secret(self, client_id: str) -> str:
        """Replace the secret and answer the new one. Tokens stay valid. Raises MissingRecord."""
        secret = secrets.token_urlsafe(32)
        self._change_client("secret_hash = ?1", _hashed(secret), client_id)
        return secret

    def set_client_active(self, client_id: str, active: bool) -> None:
        """Switch a client off, for which all its tokens die for good, or on again. Raises MissingRecord."""
        with self.transaction():
            self._change_client("active = ?1, generation = generation + (active AND NOT ?1)", int(active), client_id)
            if not active:
                self._change("DELETE FROM refresh_tokens WHERE client_id = ?", client_id)

    def grant_role(self, client_id: str, role: str, org_id: str) -> None:
        """Grant a role in one more organization. Raises MissingRecord."""
        with self.transaction():
            client = self.client(client_id)
            held = dict(client.roles) if client else {}
            held[role] = (*(org for org in held.get(role, ()) if org != org_id), org_id)
            self._change_client("roles = ?1", dump_roles(held), client_id)

    def revoke_roles(self, client_id: str, org_id: str) -> None:
        """Take from a client whatever was granted to it in this organization. Raises MissingRecord."""
        with self.transaction():
            client = self.client(client_id)
            held = client.roles if client else {}
            left = {role: [org for org in orgs if org != org_id] for role, orgs in held.items()}
            self._change_client("roles = ?1", dump_roles(left), client_id)

    def _change_client(self, assignment: str, value: object, client_id: str) -> None:
        if not self._change(f"UPDATE clients SET {assignment} WHERE client_id = ?2", value, client_id):
            raise MissingRecord(f"no client {client_id!r}")

    def add_refresh_token(self, grant: RefreshGrant, lifetime: float) -> str:
        """A new one-time refresh token for ``grant``, valid for ``lifetime`` seconds. Drops what has expired."""
        token, now = secrets.token_urlsafe(32), self.clock()
        with self.transaction():
            self._change("DELETE FROM refresh_tokens WHERE expires_at <= ?", now)
            self._change(
                "INSERT INTO refresh_tokens(token_hash, family, client_id, subject, org_id, roles, scope, expires_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                *(_digest(token), grant.family, grant.client_id, grant.subject, grant.org_id),
                *(dump_roles(grant.roles), grant.scope, now + lifetime),
            )
        return token

    def use_refresh_token(self, token: str, client_id: str) -> RefreshGrant | None:
        """Spend a token of this client; None when it is unknown, expired or spent. Spending twice ends its family."""
        with self.transaction():
            rows = self._rows(
                "SELECT subject, org_id, roles, scope, family, used FROM refresh_tokens "
                "WHERE token_hash = ? AND client_id = ? AND expires_at > ?",
                *(_digest(token), client_id, self.clock()),
            )
            if not rows:
                return None
            subject, org_id, roles, scope, family, used = rows[0]
            if used:
                self._change("DELETE FROM refresh_tokens WHERE family = ?", family)
                return None
            self._change("UPDATE refresh_tokens SET used = 1 WHERE token_hash = ?", _digest(token))
            return RefreshGrant(client_id, subject, org_id, load_roles(roles), scope, family)

    def revoke_refresh_token(self, token: str, client_id: str) -> None:
        """End the family of a token of this client; one that is not its own, or unknown, is left alone."""
        family = "SELECT family FROM refresh_tokens WHERE token_hash = ? AND client_id = ?"
        with self.transaction():
            self._change(f"DELETE FROM refresh_tokens WHERE family IN ({family})", _digest(token), client_id)

    def key(self, name: str, generate: Callable[[], bytes]) -> bytes:
        """The secret of this name, e.g. a private key as PEM, generated and kept at first use."""
        with self.transaction():
            rows = self._rows("SELECT pem FROM keys WHERE name = ?", name)
            if rows:
                return bytes(rows[0][0])
            pem = generate()
            self._change("INSERT INTO keys VALUES (?, ?, ?)", name, pem, self.clock())
            return pem

    # Records, one tenant at a time

    def insert(self, org_id: str, kind: str, record: Record) -> Record:
        """Add an object and answer it as stored. Raises DuplicateKey (its id or key), UnknownOrganization."""
        now = self.clock()
        with self.transaction():
            last = "SELECT COALESCE(MAX(seq), 0) + 1 FROM records WHERE org_id = ? AND kind = ?"
            record = replace(
                record,
                created_at=record.created_at or now,
                updated_at=record.updated_at or record.created_at or now,
                seq=self._rows(last, org_id, kind)[0][0],
            )
            with _refusals(org_id, kind, record.id, record.key):
                self._change(
                    f"INSERT INTO records(org_id, kind, {RECORD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    *(org_id, kind, record.id, record.key, record.stamp, record.state, record.body, record.search),
                    *(record.created_at, record.updated_at, record.seq),
                )
        return record

    def get(self, org_id: str, kind: str, id: str) -> Record:
        """One object. Raises MissingRecord, also for another tenant's object."""
        found = self._select("id = ?", org_id, kind, id)
        if not found:
            raise MissingRecord(f"no {kind} {id!r}")
        return found[0]

    def by_key(self, org_id: str, kind: str, key: str) -> Record | None:
        """The live object with this key."""
        found = self._select("key = ?", org_id, kind, key)
        return found[0] if found else None

    def replace(self, org_id: str, kind: str, record: Record, expected_stamp: str | None = None) -> Record:
        """Store a new version of an object and answer it; ``created_at`` and ``seq`` stay as they were.

        Raises MissingRecord, DuplicateKey (its new key), StaleStamp (``expected_stamp`` given and not the stored one).
        """
        with self.transaction():
            held = self._current(org_id, kind, record.id, expected_stamp)
            record = replace(record, created_at=held.created_at, updated_at=self.clock(), seq=held.seq)
            with _refusals(org_id, kind, record.id, record.key):
                self._change(
                    "UPDATE records SET key = ?, stamp = ?, state = ?, body = ?, search = ?, updated_at = ? "
                    "WHERE org_id = ? AND kind = ? AND id = ?",
                    *(record.key, record.stamp, record.state, record.body, record.search, record.updated_at),
                    *(org_id, kind, record.id),
                )
        return record

    def delete(self, org_id: str, kind: str, id: str, expected_stamp: str | None = None) -> None:
        """Remove an object: its content goes, its id stays taken, its key is free. Raises MissingRecord, StaleStamp."""
        with self.transaction():
            self._current(org_id, kind, id, expected_stamp)
            self._change(
                "UPDATE records SET deleted = 1, body = x'', search = '', updated_at = ? "
                "WHERE org_id = ? AND kind = ? AND id = ?",
                *(self.clock(), org_id, kind, id),
            )

    def all(self, org_id: str, kind: str) -> list[Record]:
        """Every live object of a kind, oldest first."""
        return self._select("1", org_id, kind)

    def page(self, org_id: str, kind: str, after_seq: int, limit: int) -> list[Record]:
        """At most ``limit`` live objects with a higher ``seq`` than ``after_seq`` (0 to begin), oldest first."""
        return self._select("seq > ?", org_id, kind, after_seq, limit=limit)

    def count(self, org_id: str, kind: str) -> int:
        """How many live objects of a kind there are."""
        sql = "SELECT COUNT(*) FROM records WHERE org_id = ? AND kind = ? AND deleted = 0"
        return int(self._rows(sql, org_id, kind)[0][0])

    def next_number(self, org_id: str, name: str) -> int:
        """The tenant's next number of this name, from 1 without gaps: a rolled-back transaction gives it back."""
        sql = (
            "INSERT INTO counters(org_id, name, value) VALUES (?, ?, 1) "
            "ON CONFLICT(org_id, name) DO UPDATE SET value = value + 1 RETURNING value"
        )
        with _refusals(org_id, "counter", name), self.transaction():
            return int(self._rows(sql, org_id, name)[0][0])

    def _select(self, condition: str, org_id: str, kind: str, *values: object, limit: int = -1) -> list[Record]:
        sql = f"SELECT {RECORD} FROM records WHERE org_id = ? AND kind = ? AND deleted = 0 AND {condition}"
        return [Record(*row) for row in self._rows(f"{sql} ORDER BY seq LIMIT ?", org_id, kind, *values, limit)]

    def _current(self, org_id: str, kind: str, id: str, expected_stamp: str | None) -> Record:
        held = self.get(org_id, kind, id)
        if expected_stamp is not None and expected_stamp != held.stamp:
            raise StaleStamp(f"{kind} {id!r} changed since it was read")
        return held


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


@contextmanager
def _refusals(org_id: str, kind: str, id: str, key: str | None = None) -> Iterator[None]:
    """Tell what a failed constraint means."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        if "FOREIGN KEY" in str(error):
            raise UnknownOrganization(f"no organization {org_id!r}") from error
        if "records.key" in str(error):
            raise DuplicateKey(f"a {kind} with the key {key!r} exists") from error
        raise DuplicateKey(f"a {kind} with the id {id!r} exists") from error


def _new_id() -> str:
    return str(10**17 + secrets.randbelow(9 * 10**17))  # 18 digits, the shape of the identity provider's ids


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()  # enough for a token of 256 random bits


def _hashed(secret: str, salt: bytes | None = None) -> str:
    salt = salt or secrets.token_bytes(16)
    # A low cost on purpose: a few milliseconds of the loop per sign-in. A person may choose the secret, hence scrypt.
    digest = hashlib.scrypt(secret.encode(), salt=salt, n=2**11, r=8, p=1, dklen=32)
    return f"{salt.hex()}${digest.hex()}"


def _matches(secret: str, hashed: str) -> bool:
    return hmac.compare_digest(_hashed(secret, bytes.fromhex(hashed.partition("$")[0])), hashed)


_NO_HASH = f"{'00' * 16}${'00' * 32}"
