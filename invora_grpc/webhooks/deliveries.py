"""Which deliveries were handled: the first one wins, and only a handler that succeeded counts.

The platform delivers at least once, so a repeat has to be told from a first time, also by another worker process and
after a restart. This room keeps hashes of dedupe keys and nothing of the events. It verifies nothing.

A delivery is claimed while its handler runs and done when that has succeeded. A handler that raises gives the claim
back; a process that dies leaves one that lapses after `lease` seconds. Either way the platform's next try is handled.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from enum import Enum, auto
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from invora_grpc.arguments import a_number, a_path
from invora_grpc.errors import ConfigError
from invora_grpc.webhooks.errors import BeingHandled, StoreUnavailable
from invora_grpc.webhooks.events import Delivery, dedupe_key

if TYPE_CHECKING:
    from invora_api.billing.webhooks.v2.events_pb2 import BillingWebhookEvent

__all__ = ["Deliveries"]

TTL: Final = 7 * 86_400.0
"""Seconds for which a handled delivery is remembered."""
LEASE: Final = 20.0
"""Seconds that a handler may take: the platform waits for 15, and tries again after 30."""
CAPACITY: Final = 100_000
"""Deliveries kept in memory."""
BUSY_SECONDS: Final = 5.0
"""Seconds to wait for other processes at the file."""
APPLICATION_ID: Final = 0x49574844
"""Marks a SQLite file as one of these: IWHD."""
_PURGED_AT_ONCE: Final = 100
_DONE: Final = b""
"""In place of a claim's token: the delivery was handled."""
_SCHEMA: Final = (
    "CREATE TABLE deliveries (key BLOB PRIMARY KEY, until REAL NOT NULL, token BLOB NOT NULL) WITHOUT ROWID",
    "CREATE INDEX deliveries_until ON deliveries (until)",
    f"PRAGMA application_id = {APPLICATION_ID}",
)


class _State(Enum):
    NEW = auto()
    CLAIMED = auto()
    DONE = auto()


class _Store(Protocol):
    """Keys with a time until which they hold, in seconds since the epoch, and whose claim they are."""

    def claim(self, key: bytes, token: bytes, now: float, until: float) -> _State:
        """What the key was; if it was new it is now the token's, in one step."""
        ...

    def finish(self, key: bytes, until: float) -> None:
        """The key is done, whoever holds it."""
        ...

    def release(self, key: bytes, token: bytes) -> None:
        """The key is new again, if it is still the token's."""
        ...


class Deliveries:
    """A store of handled deliveries. Threads may share one, processes a file.

    `path`: a SQLite file, made with mode 0600, in a folder that is made with mode 0700 if it is missing; without a
    path it is kept in memory, for one process, the most recent `capacity` of them. `ttl`: seconds that a handled
    delivery is remembered; keep it above a receiver's `max_age` and `max_ahead` together. `lease`: seconds after
    which a claim lapses, for a worker that died. `clock`: seconds since the epoch.

    Raises ConfigError for bad arguments, a file of something else, or a folder that others may write to.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        ttl: float = TTL,
        lease: float = LEASE,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for name, value in (("ttl", ttl), ("lease", lease), ("capacity", capacity)):
            a_number(name, value, above=True)
        self._ttl, self._lease, self._clock = ttl, lease, clock
        self._store: _Store = _Memory(capacity) if path is None else _File(Path(a_path("path", path)))

    @contextmanager
    def once(self, delivery: Delivery | BillingWebhookEvent | str) -> Iterator[bool]:
        """Whether to handle this delivery, in a `with` statement around the handler.

        True: nobody has; when the block ends well it is done, when it raises it is not. False: it was handled before,
        answer with success. `delivery` may be its dedupe key.

        Raises BeingHandled if another worker is at it (no success may be answered: that one may fail yet), and
        StoreUnavailable.
        """
        key, token, now = _hash(delivery), secrets.token_bytes(16), self._clock()
        state = self._store.claim(key, token, now, now + self._lease)
        if state is _State.CLAIMED:
            raise BeingHandled("another worker is at this delivery", "answer no success; the platform tries again")
        if state is _State.DONE:
            yield False
            return
        try:
            yield True
        except BaseException:
            with suppress(StoreUnavailable):  # the claim lapses by itself; what the handler raised matters more
                self._store.release(key, token)
            raise
        self._store.finish(key, self._clock() + self._ttl)

    def seen(self, delivery: Delivery | BillingWebhookEvent | str) -> bool:
        """Whether this delivery was seen before; it now was. One step: of any number of callers, one gets False.

        It counts as handled from here on, whatever comes of it: prefer `once`. Raises StoreUnavailable.
        """
        now = self._clock()
        return self._store.claim(_hash(delivery), _DONE, now, now + self._ttl) is not _State.NEW


def _hash(delivery: Delivery | BillingWebhookEvent | str) -> bytes:
    if isinstance(delivery, Delivery):
        key = delivery.key
    else:
        key = delivery if isinstance(delivery, str) else dedupe_key(delivery)
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


def _state_of(token: bytes) -> _State:
    return _State.DONE if token == _DONE else _State.CLAIMED


class _Memory:
    """The most recently used, in this process."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._held: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    def claim(self, key: bytes, token: bytes, now: float, until: float) -> _State:
        with self._lock:
            held = self._held.get(key)
            if held is not None and now < held[0]:
                self._held.move_to_end(key)
                return _state_of(held[1])
            self._put(key, until, token)
            return _State.NEW

    def finish(self, key: bytes, until: float) -> None:
        with self._lock:
            self._put(key, until, _DONE)

    def release(self, key: bytes, token: bytes) -> None:
        with self._lock:
            held = self._held.get(key)
            if held is not None and held[1] == token:
                del self._held[key]

    def _put(self, key: bytes, until: float, token: bytes) -> None:
        self._held[key] = until, token
        self._held.move_to_end(key)
        while len(self._held) > self._capacity:
            self._held.popitem(last=False)


class _File:
    """A SQLite file. Each step opens it anew (about a millisecond): that is safe after a fork and in any thread.

    A step that has returned survives the end of the process and of the machine (`synchronous=FULL`).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _make_private(path)
        try:
            with closing(self._connect()) as connection, _transaction(connection):
                mine = _prepare(connection)
        except sqlite3.Error as error:
            mine, problem = False, str(error)
        else:
            problem = "is no store of deliveries"
        if not mine:
            raise ConfigError("path", str(path), "name a file of its own, or one to be created", problem)

    def claim(self, key: bytes, token: bytes, now: float, until: float) -> _State:
        with self._step() as connection:
            held = connection.execute("SELECT token FROM deliveries WHERE key = ? AND until > ?", (key, now)).fetchone()
            if held is not None:
                return _state_of(held[0])
            connection.execute("REPLACE INTO deliveries VALUES (?, ?, ?)", (key, until, token))
            lapsed = "SELECT key FROM deliveries WHERE until <= ? LIMIT ?"
            connection.execute(f"DELETE FROM deliveries WHERE key IN ({lapsed})", (now, _PURGED_AT_ONCE))
            return _State.NEW

    def finish(self, key: bytes, until: float) -> None:
        with self._step() as connection:
            connection.execute("REPLACE INTO deliveries VALUES (?, ?, ?)", (key, until, _DONE))

    def release(self, key: bytes, token: bytes) -> None:
        with self._step() as connection:
            connection.execute("DELETE FROM deliveries WHERE key = ? AND token = ?", (key, token))

    @contextmanager
    def _step(self) -> Iterator[sqlite3.Connection]:
        problem = ""
        try:
            with closing(self._connect()) as connection, _transaction(connection):
                yield connection
        except sqlite3.Error as error:
            problem = str(error)
        if problem:
            raise StoreUnavailable(f"{self._path}: {problem}", "answer no success; the platform tries again")

    def _connect(self) -> sqlite3.Connection:
        uri = f"{self._path.absolute().as_uri()}?mode=rw"  # never creates: a file that vanished is not a new start
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        connection.execute("PRAGMA synchronous = FULL")
        return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE takes the write lock first: of two processes that both look, one waits for the other."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # SQLite ends it by itself when the disk is full
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _prepare(connection: sqlite3.Connection) -> bool:
    """Make the tables in an empty file; False for a file of something else, which stays as it is."""
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if mark == 0 and empty:
        for statement in _SCHEMA:
            connection.execute(statement)
        return True
    return bool(mark == APPLICATION_ID)


def _make_private(path: Path) -> None:
    """The file for its owner's eyes only, in a folder where nobody else can swap it. Raises ConfigError."""
    problem, hint = "", "name a file in a folder of your own"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            problem, hint = "is in a folder that others may write to", "chmod go-w the folder, or name another"
        else:
            problem = _make_file(path)
    except OSError as error:
        problem = f"cannot be made ({error.strerror})"
    if problem:
        raise ConfigError("path", str(path), hint, problem)


def _make_file(path: Path) -> str:
    """Makes the file, or looks at the one that is there. What is wrong with it, in words."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        return "is no regular file"
    if found.st_mode & 0o077:
        return "can be read by others: chmod 600 it"
    return ""
