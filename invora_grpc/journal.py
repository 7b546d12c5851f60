"""The ledger on disk: which keys creates were sent under, so that a killed process is resumed under the same keys.

A SQLite file that all processes of a machine may share. A claim is committed before its call is sent. It holds keys
and hashes: never a payload, an address or a token. It decides nothing about calls (that is `retry`), and the rules of
claims are those of `idempotency.Ledger`.

Claims whose owner has ended without ending them are claims in doubt; who is alive is for `journal_file` to say.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Final, Self

from invora_grpc.arguments import a_path
from invora_grpc.errors import ClosedError, ConfigError
from invora_grpc.idempotency import FINGERPRINT, Claim, Keys, clash, new_key, pieces
from invora_grpc.journal_file import JournalError, JournalFile

__all__ = ["Journal", "JournalError"]

_log = logging.getLogger(__name__)
_SWEEP: Final = 1000
"""Claims between two sweeps."""
_DAY: Final = 86_400.0


class _End(Enum):
    """How a claim ends."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


_KNOWN: Final = "SELECT fingerprint, settled OR doubtful FROM known WHERE scope = ? AND key = ?"
_START: Final = (
    "INSERT INTO known VALUES (?, ?, ?, 0, 0, 1, ?)"
    " ON CONFLICT DO UPDATE SET under_way = under_way + 1, at = excluded.at"
)
_STOP: Final = {
    _End.DONE: "UPDATE known SET under_way = under_way - 1, settled = 1, doubtful = 0 WHERE scope = ? AND key = ?",
    _End.FAILED: "UPDATE known SET under_way = under_way - 1 WHERE scope = ? AND key = ?",
    _End.UNKNOWN: "UPDATE known SET under_way = under_way - 1 WHERE scope = ? AND key = ?",
}
_DECIDE: Final = {
    _End.DONE: "UPDATE known SET settled = 1, doubtful = 0 WHERE scope = ? AND key = ?",
    _End.FAILED: "UPDATE known SET doubtful = 0 WHERE scope = ? AND key = ?",
}
_FORGET: Final = "DELETE FROM known WHERE scope = ? AND key = ? AND under_way <= 0 AND NOT settled AND NOT doubtful"
_DOUBT: Final = (
    "INSERT INTO known VALUES (?, ?, ?, 0, 1, 0, ?) ON CONFLICT DO UPDATE SET doubtful = 1, at = excluded.at"
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A claim in the file."""

    id: int
    doubtful: bool
    """Whether it resumes one in doubt."""
    scope: bytes
    fingerprint: bytes
    given: Keys
    keys: tuple[str, ...]

    def places(self) -> list[tuple[bytes, str, bytes]]:
        """Scope, key and fingerprint of each keyed thing."""
        parts = [self.fingerprint[at : at + FINGERPRINT] for at in range(0, len(self.fingerprint), FINGERPRINT)]
        return [(self.scope, key, part) for key, part in zip(self.keys, parts, strict=True)]

    def known(self) -> list[tuple[bytes, str, bytes]]:
        """Those whose key was known from the beginning: the caller's own, and all that were in doubt before."""
        pairs = zip(self.places(), self.given, strict=True)
        return [place for place, given in pairs if given or self.doubtful]


@dataclass(frozen=True, slots=True)
class _Ticket:
    """What a journal keeps of a claim."""

    row: _Row
    under_way: bool = True
    """False once it has ended `unknown`: what ends it then is news about a claim in doubt."""


class Journal:
    """A ledger in a file, for all processes and threads of a machine at once. See `Ledger` for what its methods do.

    `path`: the file, made with mode 0600, in a folder that is made with mode 0700 and has to be on a local disk.
    `keep`: days for which keys are remembered, counted from their last use. `limit`: keys that are kept at most; the
    oldest go first. `wait`: seconds to wait for other processes before a claim gives up.

    Other than `RecentKeys`, it answers a key whose record exists with `resumed`: a job that runs again gets what it
    created the first time. Two equal payloads without keys are two records here, too, unless a process died with the
    first one under way.

    Raises ConfigError for a file that is no journal, is damaged, belongs to a newer version or to somebody else, for a
    symbolic link, and on systems without flock. Methods raise JournalError if the file cannot be used. A journal
    travels in a pickle as its path; the child of a fork is another owner. Close it, or use it as a context manager.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, keep: float = 30.0, limit: int = 100_000, wait: float = 10.0
    ) -> None:
        self.path = Path(os.path.abspath(a_path("journal", path)))
        """Where the file is."""
        self._keep = _number("keep", keep, 1e-9, 36_500)
        self._limit = int(_number("limit", limit, 1, 10**9))
        self._wait = _number("wait", wait, 0, 3600)
        self._lock = Lock()
        self._late: list[tuple[_Ticket, _End]] = []
        """Ends that could not be written, for the next transaction."""
        self._claims = 0
        self._closed = False
        self._file: JournalFile | None = self._opened()
        _JOURNALS.add(self)

    def claim(self, scope: str, plan_name: str, keys: Keys, fingerprint: bytes) -> Claim:
        """See `Ledger.claim`. On disk when it returns. Raises JournalError, and then nothing may be sent."""
        keys = tuple([key or None for key in keys])
        parts = pieces(keys, fingerprint, plan_name)
        hashed = _hash(scope)
        with self._writing() as (file, connection):
            _resolve_the_dead(file, connection)
            self._sweep(connection)
            resumed = False
            for key, part in zip(keys, parts, strict=True):
                if key and (known := connection.execute(_KNOWN, (hashed, key)).fetchone()) is not None:
                    if known[0] != part:
                        raise clash(key, plan_name)
                    resumed = resumed or bool(known[1])
            row = _begin(connection, file.owner, hashed, keys, fingerprint)
            connection.executemany(_START, [(*place, time.time()) for place in row.known()])
        return Claim(row.keys, resumed or row.doubtful, not any(keys), _Ticket(row))

    def done(self, claim: Claim) -> None:
        """See `Ledger.done`. Raises nothing for trouble with the file: what cannot be written waits for a claim."""
        self._end(claim, _End.DONE)

    def failed(self, claim: Claim) -> None:
        """See `Ledger.failed`. Raises nothing for trouble with the file, like `done`."""
        self._end(claim, _End.FAILED)

    def unknown(self, claim: Claim) -> None:
        """See `Ledger.unknown`. Raises nothing for trouble with the file, like `done`."""
        self._end(claim, _End.UNKNOWN)

    def close(self) -> None:
        """Close the file. Claims that have not ended are in doubt from now on. Closing twice is harmless."""
        with self._lock:
            self._closed = True
            self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Journal, keep=self._keep, limit=self._limit, wait=self._wait), (str(self.path),)

    def __repr__(self) -> str:
        return f"<Journal {self.path}>"

    @contextmanager
    def _writing(self) -> Iterator[tuple[JournalFile, sqlite3.Connection]]:
        """A transaction, in which the ends that wait are written first."""
        with self._lock:
            if self._closed:
                raise ClosedError(f"journal {self.path}: it is closed; make a new one")
            file = self._file = self._file or self._opened()
            with file.writing() as connection:
                for ticket, end in self._late:
                    _finish(connection, file.owner, ticket, end)
                yield file, connection
            self._late.clear()

    def _opened(self) -> JournalFile:
        file = JournalFile.open(self.path, self._wait)
        self._finalizer = weakref.finalize(self, file.close)
        return file

    def _end(self, claim: Claim, end: _End) -> None:
        ticket: _Ticket = claim.ticket
        if self._file is None:
            return  # since a fork, before which the claim was made: it is the parent's
        if end is _End.UNKNOWN:
            claim.ticket = _Ticket(ticket.row, under_way=False)
        try:
            with self._writing() as (file, connection):
                _finish(connection, file.owner, ticket, end)
        except ClosedError:
            _log.warning("journal %s: closed before a call was %s, whose claim stays in doubt", self.path, end.value)
        except JournalError as error:
            # The call is over, and its caller is to have what came of it.
            self._late.append((ticket, end))
            _log.warning("journal %s: %s; what came of a call is written with the next", self.path, error.problem)

    def _sweep(self, connection: sqlite3.Connection) -> None:
        """Now and then, forget what is too old or too much."""
        self._claims += 1
        if self._claims % _SWEEP != 1:
            return
        horizon = (time.time() - self._keep * _DAY,)
        connection.execute("DELETE FROM claims WHERE owner IS NULL AND at < ?", horizon)
        connection.execute(
            "DELETE FROM claims WHERE owner IS NULL AND id <= (SELECT max(id) FROM claims) - ?", (self._limit,)
        )
        connection.execute("DELETE FROM known WHERE under_way <= 0 AND at < ?", horizon)
        (count,) = connection.execute("SELECT count(*) FROM known").fetchone()
        connection.execute(
            "DELETE FROM known WHERE (scope, key) IN"
            " (SELECT scope, key FROM known WHERE under_way <= 0 ORDER BY at LIMIT ?)",
            (max(0, count - self._limit),),
        )

    def _before_fork(self) -> None:
        self._lock.acquire()
        if self._file is not None:
            self._file.rest()

    def _after_fork_in_parent(self) -> None:
        self._lock.release()

    def _after_fork_in_child(self) -> None:
        """The claims are the parent's. The next one of this process opens the file anew."""
        if self._file is not None:
            self._finalizer.detach()
            self._file.let_go()
            self._file = None
        self._late = []
        self._lock = Lock()


# --- what is in the file, inside a transaction --------------------------------------------------------------------


def _resolve_the_dead(file: JournalFile, connection: sqlite3.Connection) -> None:
    """Put the claims of owners who are gone in doubt."""
    owners = connection.execute(
        "SELECT DISTINCT owner FROM claims WHERE owner IS NOT NULL AND owner <> ?", (file.owner,)
    )
    for (owner,) in owners.fetchall():
        if not file.alive(owner):
            for row in _rows(connection, "owner = ?", owner):
                _settle(connection, row, _End.UNKNOWN)
            file.bury(owner)


def _begin(connection: sqlite3.Connection, owner: str, scope: bytes, keys: Keys, fingerprint: bytes) -> _Row:
    """Resume a claim in doubt, or make one: the oldest of this payload, or the one of exactly these keys."""
    payload = _hash([scope.hex(), fingerprint.hex(), keys])
    if all(keys):
        found = _rows(connection, "owner IS NULL AND place = ?", _hash([scope.hex(), keys]))
    else:
        found = _rows(connection, "owner IS NULL AND payload = ?", payload)
    if found:
        connection.execute("UPDATE claims SET owner = ?, at = ? WHERE id = ?", (owner, time.time(), found[0].id))
        return found[0]
    taken = tuple([key or new_key() for key in keys])
    place = _hash([scope.hex(), taken])
    values = (owner, time.time(), payload, place, scope, fingerprint, json.dumps(keys), json.dumps(taken))
    made = connection.execute("INSERT INTO claims VALUES (NULL, ?, 0, ?, ?, ?, ?, ?, ?, ?)", values)
    return _Row(made.lastrowid or 0, False, scope, fingerprint, keys, taken)


def _finish(connection: sqlite3.Connection, owner: str, ticket: _Ticket, end: _End) -> None:
    """End a claim of this owner. One that is not there has ended, or somebody else has resumed it."""
    if not ticket.under_way:
        return _decide(connection, ticket.row, end)
    for row in _rows(connection, "id = ? AND owner = ?", ticket.row.id, owner):
        _settle(connection, row, end)


def _decide(connection: sqlite3.Connection, row: _Row, end: _End) -> None:
    """It has turned out what came of a claim that ended `unknown`; by now, another one may have resumed it."""
    waited = connection.execute("DELETE FROM claims WHERE id = ? AND owner IS NULL", (row.id,)).rowcount > 0
    if end is _End.DONE or waited or (all(row.given) and not row.doubtful):
        known = [(row.scope, key) for key in row.keys]
        connection.executemany(_DECIDE[end], known)
        connection.executemany(_FORGET, known)


def _settle(connection: sqlite3.Connection, row: _Row, end: _End) -> None:
    known = [(scope, key) for scope, key, _ in row.known()]
    connection.executemany(_STOP[end], known)
    if end is _End.FAILED:
        connection.executemany(_FORGET, known)
    if end is _End.UNKNOWN:
        connection.executemany(_DOUBT, [(*place, time.time()) for place in row.places()])
    if end is not _End.DONE and (row.doubtful or (end is _End.UNKNOWN and not all(row.given))):
        connection.execute("UPDATE claims SET owner = NULL, doubtful = 1, at = ? WHERE id = ?", (time.time(), row.id))
    else:
        connection.execute("DELETE FROM claims WHERE id = ?", (row.id,))


def _rows(connection: sqlite3.Connection, condition: str, *values: object) -> list[_Row]:
    query = f"SELECT id, doubtful, scope, fingerprint, given, keys FROM claims WHERE {condition} ORDER BY id"
    return [
        _Row(id, bool(doubtful), scope, fingerprint, tuple(json.loads(given)), tuple(json.loads(keys)))
        for id, doubtful, scope, fingerprint, given, keys in connection.execute(query, values).fetchall()
    ]


def _hash(value: object) -> bytes:
    return blake2b(json.dumps(value).encode(), digest_size=FINGERPRINT).digest()


def _number(name: str, value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ConfigError(f"journal.{name}", value, f"give a number from {least:g} to {most:g}", "is out of bounds")
    return value


# --- forks --------------------------------------------------------------------------------------------------------

_JOURNALS: Final[weakref.WeakSet[Journal]] = weakref.WeakSet()
_RESTING: Final[list[Journal]] = []
"""The journals that wait for a fork to be over."""
_FORKING: Final = Lock()


def _before_fork() -> None:
    _FORKING.acquire()
    for journal in list(_JOURNALS):
        journal._before_fork()
        _RESTING.append(journal)


def _after_fork_in_parent() -> None:
    while _RESTING:
        _RESTING.pop()._after_fork_in_parent()
    _FORKING.release()


def _after_fork_in_child() -> None:
    while _RESTING:
        _RESTING.pop()._after_fork_in_child()
    _FORKING.release()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
