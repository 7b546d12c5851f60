"""The file of a journal: made and opened safely, locked between processes, and told apart from other files.

This room knows paths, permissions, locks and SQLite's ways to fail. What the rows mean is the business of `journal`.

Who is alive: whoever opens the file holds a lock (flock) on an owner file of its own beside it. The kernel releases
the lock when the process ends, however it ends.
"""

from __future__ import annotations

import importlib
import os
import sqlite3
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

from invora_grpc.errors import ConfigError, InvoraError, escaped

__all__ = ["JournalError", "JournalFile"]

_APPLICATION: Final = 0x494E564A
"""The mark in the header of a journal's file: "INVJ"."""
_VERSION: Final = 1
_SCHEMA: Final = f"""
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE claims (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  owner TEXT,  -- who has it under way; NULL: it is in doubt, and may be resumed
  doubtful INTEGER NOT NULL, at REAL NOT NULL,
  payload BLOB NOT NULL, place BLOB NOT NULL, scope BLOB NOT NULL, fingerprint BLOB NOT NULL,
  given TEXT NOT NULL, keys TEXT NOT NULL
);
CREATE INDEX owners ON claims (owner) WHERE owner IS NOT NULL;
CREATE INDEX payloads ON claims (payload) WHERE owner IS NULL;
CREATE INDEX places ON claims (place) WHERE owner IS NULL;
CREATE TABLE known (
  scope BLOB NOT NULL, key TEXT NOT NULL, fingerprint BLOB NOT NULL,
  settled INTEGER NOT NULL, doubtful INTEGER NOT NULL, under_way INTEGER NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE INDEX ages ON known (at);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_PERMISSIONS: Final = "check who owns the file and its folder, and what they permit"
_TROUBLE: Final = {
    sqlite3.SQLITE_BUSY: ("was locked by another process all the time", "see who holds it, or raise `wait`"),
    sqlite3.SQLITE_FULL: ("cannot be written, the disk is full", "free some space"),
    sqlite3.SQLITE_IOERR: ("cannot be written or read", "check the disk, its quota and its limits"),
    sqlite3.SQLITE_READONLY: ("cannot be written", _PERMISSIONS),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", _PERMISSIONS),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "move it away, and look up the records that were being created"),
    sqlite3.SQLITE_NOTADB: ("is no journal, or is damaged", "name another file, or move this one away"),
}
"""SQLite's primary result codes: the problem and the way out."""


class JournalError(InvoraError):
    """The journal's file cannot be used now. The create for which it was needed was not sent."""

    path: str
    """The file."""
    problem: str
    hint: str
    """The way out."""

    def __init__(self, path: str, problem: str, hint: str) -> None:
        super().__init__(escaped(f"journal {path}: {problem}; nothing was sent; {hint}"))
        self.path, self.problem, self.hint = path, problem, hint


class JournalFile:
    """An open journal file, and the lock that says that its owner lives. Made by `open`; not safe across threads."""

    def __init__(self, path: Path, wait: float) -> None:
        self.owner = uuid.uuid4().hex
        """Who opened the file, as claims name it."""
        self._path = path
        self._wait = wait
        self._flock = _flock(path)
        self._inode = path.lstat().st_ino
        self._lock = -1
        self._connection: sqlite3.Connection | None = None

    @classmethod
    def open(cls, path: Path, wait: float) -> Self:
        """Open the file, or make it; `wait` is in seconds, for other processes. Raises ConfigError."""
        opened = None
        try:
            _check_folder(path)
            if not os.path.lexists(path):
                _make(path)
            _check_file(path)
            opened = cls(path, wait)
            _check_content(path, opened._connected())
            with opened._transaction():
                opened._enter()
        except BaseException as error:
            if opened is not None:
                opened.close()
            if not isinstance(error, sqlite3.Error | OSError):
                raise
            problem, hint = _trouble(error)
            raise ConfigError("journal", str(path), hint, problem) from error
        return opened

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all or nothing, and nobody else meanwhile. Raises JournalError for trouble with the file."""
        try:
            self._check_place()
            with self._transaction() as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            problem, hint = _trouble(error)
            raise JournalError(str(self._path), problem, hint) from error

    def alive(self, owner: str) -> bool:
        """Whether this owner still has the file open. To be asked inside a transaction."""
        try:
            lock = os.open(self._owner_file(owner), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            self._flock.flock(lock, self._flock.LOCK_SH | self._flock.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def bury(self, owner: str) -> None:
        """Remove what a dead owner left beside the file."""
        self._owner_file(owner).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file and let go of the lock: claims under way are in doubt from now on."""
        self.rest()
        self.let_go()
        with suppress(OSError):
            self.bury(self.owner)

    def rest(self) -> None:
        """Close the connection until the next transaction, and stay its owner. SQLite wants none open at a fork."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def let_go(self) -> None:
        """Close this process's descriptor of the lock. After a fork the parent still has its own."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def _check_place(self) -> None:
        """SQLite would go on writing to a file that is gone from its place."""
        try:
            in_place = self._path.lstat().st_ino == self._inode
        except FileNotFoundError:
            in_place = False
        if not in_place:
            raise JournalError(str(self._path), "was moved or removed while it was in use", "make a new Journal")

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _connect(self._path, self._wait)
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connected()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _enter(self) -> None:
        """Clear away what dead owners left, and lock a file of our own."""
        prefix = self._owner_file("").name
        for entry in self._path.parent.iterdir():
            if entry.name.startswith(prefix) and not self.alive(entry.name.removeprefix(prefix)):
                entry.unlink(missing_ok=True)
        self._lock = _create(self._owner_file(self.owner))
        self._flock.flock(self._lock, self._flock.LOCK_EX | self._flock.LOCK_NB)

    def _owner_file(self, owner: str) -> Path:
        return self._path.with_name(f"{self._path.name}.owner-{owner}")


# --- making and checking ------------------------------------------------------------------------------------------


def _check_folder(path: Path) -> None:
    """Make the folder for its owner only, or check that nobody else can put a file there. Raises ConfigError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = path.parent.stat()
    if folder.st_mode & 0o022 or folder.st_uid not in (0, os.geteuid()):
        hint = "use a folder of your own, with mode 0700"
        raise ConfigError("journal", str(path), hint, "is in a folder that others can write to")


def _check_file(path: Path) -> None:
    """By its name and not by a descriptor: closing one drops the locks that this process has on the file (POSIX)."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        hint = "name the file itself, and no link, folder or device"
        raise ConfigError("journal", str(path), hint, "is no regular file")
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        hint = "make it yours with mode 0600, or name another file"
        raise ConfigError("journal", str(path), hint, "is open to others")


def _check_content(path: Path, connection: sqlite3.Connection) -> None:
    """Nothing is ever written to another program's file. Raises ConfigError."""
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    if mark != _APPLICATION:
        raise ConfigError("journal", str(path), "name another file, or one that is to be made", "is no journal")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != _VERSION:
        hint = "upgrade invora-grpc, or name another file"
        raise ConfigError("journal", str(path), hint, f"has the format {version}; this version knows {_VERSION}")


def _make(path: Path) -> None:
    """Make the file under another name first: whoever finds it under its own name finds it whole."""
    draft = path.with_name(f"{path.name}.new-{uuid.uuid4().hex}")
    os.close(_create(draft))
    try:
        connection = _connect(draft, 0)
        try:
            connection.executescript(_SCHEMA)
        finally:
            connection.close()
        with suppress(FileExistsError):  # somebody else was faster
            os.link(draft, path, follow_symlinks=False)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _create(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _connect(path: Path, wait: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _trouble(error: Exception) -> tuple[str, str]:
    """The problem and the way out."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    problem, hint = _TROUBLE.get(code & 0xFF, ("cannot be used", _PERMISSIONS))
    said = error.strerror if isinstance(error, OSError) else error
    return f"{problem} ({said})", hint


def _flock(path: Path) -> Any:
    """The module with flock; Windows has none. Raises ConfigError."""
    try:
        return importlib.import_module("fcntl")
    except ImportError:
        hint = "leave the journal away: keys are then remembered in memory"
        raise ConfigError("journal", str(path), hint, "needs flock, which this system does not have") from None
