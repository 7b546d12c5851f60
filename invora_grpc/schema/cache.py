"""Served descriptors on disk, so that the next process starts without asking for them again.

A cache and nothing more: it may be deleted at any time, whatever is wrong with it is as if it were not there, and it
never decides how old an entry may be. It holds descriptors and names, no tokens. Processes may share the folder:
entries are replaced as a whole, and none is believed whose digest does not fit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from platformdirs import user_cache_path

from invora_grpc.errors import escaped
from invora_grpc.schema.files import MAX_BYTES, DescriptorError, FileSet

__all__ = ["MAX_TOTAL", "UNTOUCHED", "VARIABLE", "Entry", "SchemaCache"]

VARIABLE: Final = "INVORA_CACHE_DIR"
"""The environment variable that names the folder of all caches; empty or "off": nothing is kept on disk."""
UNTOUCHED: Final = 30 * 86_400.0
"""Seconds after which an entry that nobody loads is removed."""
MAX_TOTAL: Final = 128 * 1024 * 1024
"""Bytes of all entries together. Those that were not loaded for the longest time go first."""

_log = logging.getLogger(__name__)
_VERSION: Final = b"invora-schema 1 sha256:"
_MAX_ENTRY: Final = MAX_BYTES + MAX_BYTES // 8
_SLACK: Final = 60.0
"""Seconds by which the clocks of those who share a folder may differ."""
_ABANDONED: Final = 3600.0
"""Seconds after which a file that is still being written is one whose writer was killed."""
_TOUCH: Final = 3600.0
"""Seconds between two marks of use: an entry that is loaded all the time is not written to all the time."""
_OURS: Final = re.compile(r"[0-9a-f]{64}(\.[0-9a-f]{16}\.new)?")
_FLAGS: Final = sum(getattr(os, f"O_{name}", 0) for name in ("NOFOLLOW", "NONBLOCK", "CLOEXEC", "BINARY"))
_told: set[Path] = set()


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """What a gateway said about one service."""

    listed: tuple[str, ...]
    """The services that it listed then."""
    files: FileSet
    """The service's file and all that it imports."""
    protocol: str
    """The version of reflection that it was asked with: "v1" or "v1alpha"."""
    fetched_at: float
    """When, in seconds since the epoch."""


class SchemaCache:
    """Entries by target and service. Nothing here raises for what is, or cannot be, on disk. Safe between threads.

    The folder is `schema` in what INVORA_CACHE_DIR names, else in the user's own cache folder (on Linux that of the
    XDG Base Directory Specification). It must belong to the user, and nobody else may write to it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder: Path | None = _default_folder() if folder is None else folder
        """Where the entries are, None: nowhere."""

    def __repr__(self) -> str:
        return f"<schema cache in {self.folder}>" if self.folder else "<no schema cache>"

    def load(self, target: str, service: str) -> Entry | None:
        """What was stored last, None if there is nothing that can be believed."""
        path = self._path(target, service)
        if path is None:
            return None
        try:
            _check_folder(path.parent)
            return _parsed(_read(path), target, service)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, DescriptorError) as error:
            _log.debug("schema cache: %s is not used: %s", path, escaped(str(error)))
            return None

    def store(self, target: str, service: str, entry: Entry) -> None:
        """Keep this in place of what was stored before. A process that loads meanwhile gets the one or the other."""
        path = self._path(target, service)
        if path is None:
            return
        try:
            data = _serialized(target, service, entry)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_folder(path.parent)
            _replace(path, data)
            _sweep(path.parent)
        except (OSError, ValueError) as error:
            self._cannot_write(error)

    def drop(self, target: str, service: str) -> None:
        """Forget what was stored."""
        path = self._path(target, service)
        if path is None:
            return
        try:
            _check_folder(path.parent)
            path.unlink()
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self._cannot_write(error)

    def _path(self, target: str, service: str) -> Path | None:
        """The file of an entry. The names of gateways and services stay out of its own: they may be anything."""
        if self.folder is None:
            return None
        return self.folder / hashlib.sha256(json.dumps([target, service]).encode()).hexdigest()

    def _cannot_write(self, error: Exception) -> None:
        """Say so, loud enough to be seen once per folder and process."""
        if self.folder is None:
            return
        level = logging.DEBUG if self.folder in _told else logging.INFO
        _told.add(self.folder)
        hint = f"served descriptors are fetched by every process; {VARIABLE} names another folder, or is 'off'"
        _log.log(level, "schema cache %s cannot be written: %s; %s", self.folder, escaped(str(error)), hint)


def _default_folder() -> Path | None:
    said = os.environ.get(VARIABLE)
    if said is None:
        root = user_cache_path("invora-grpc", appauthor=False)
        return root / "schema" if root.is_absolute() else None  # a user without a home has no cache
    return Path(said).absolute() / "schema" if said not in ("", "off") else None


# --- content ------------------------------------------------------------------------------------------------------


def _serialized(target: str, service: str, entry: Entry) -> bytes:
    """Version and digest, header, FileDescriptorSet: a line, a line, and the rest. Raises ValueError if it is much."""
    header = {
        "target": target,
        "service": service,
        "listed": list(entry.listed),
        "protocol": entry.protocol,
        "fetched_at": entry.fetched_at,
        "problems": dict(entry.files.problems),
    }
    content = json.dumps(header).encode() + b"\n" + entry.files.to_bytes()
    data = _first_line(content) + content
    if len(data) > _MAX_ENTRY:
        raise ValueError(f"the descriptors of {service} are too large to keep")
    return data


def _first_line(content: bytes) -> bytes:
    return _VERSION + hashlib.sha256(content).hexdigest().encode() + b"\n"


def _parsed(data: bytes, target: str, service: str) -> Entry:
    """The entry in a file. Raises ValueError or DescriptorError if it is none, or that of something else."""
    first, newline, content = data.partition(b"\n")
    if not first.startswith(_VERSION):
        raise ValueError("it is of another version")
    if first + newline != _first_line(content):
        raise ValueError("its digest does not fit")
    line, _, body = content.partition(b"\n")
    header: Any = json.loads(line)
    if (header["target"], header["service"]) != (target, service):
        raise ValueError("it belongs to another target or service")
    if header["fetched_at"] > time.time() + _SLACK:
        raise ValueError("it comes from the future")
    files = FileSet.parse(body) if body else FileSet.of(())
    problems = MappingProxyType({**header["problems"], **files.problems})
    listed, protocol = tuple(header["listed"]), str(header["protocol"])
    return Entry(listed, FileSet(files.files, problems), protocol, float(header["fetched_at"]))


# --- files --------------------------------------------------------------------------------------------------------


def _check_folder(folder: Path) -> None:
    """Raises ValueError for a folder in which another user could put entries, FileNotFoundError if there is none."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ValueError("it is no folder, or a link to one")
    _check_owner(found)


def _check_owner(found: os.stat_result) -> None:
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        raise ValueError("it belongs to another user")
    if os.name == "posix" and found.st_mode & 0o022:
        raise ValueError("others may write to it")


def _read(path: Path) -> bytes:
    """The bytes of a file of our own, which is marked as used. Raises OSError or ValueError."""
    handle = os.open(path, os.O_RDONLY | _FLAGS)
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no regular file")
        _check_owner(found)
        if found.st_size > _MAX_ENTRY:
            raise ValueError("it is too large")
        data = file.read(_MAX_ENTRY)
    if abs(time.time() - found.st_mtime) > _TOUCH:
        with suppress(OSError):
            os.utime(path)
    return data


def _replace(path: Path, data: bytes) -> None:
    """Write a file beside the other and put it in its place at once."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    try:
        with open(handle, "wb") as file:
            file.write(data)
        fresh.replace(path)
    except BaseException:
        with suppress(OSError):
            fresh.unlink()
        raise


def _sweep(folder: Path) -> None:
    """Remove what nobody uses, what the killed left behind, and, if all is too large, what was used least recently."""
    now, total = time.time(), 0
    found = []
    with os.scandir(folder) as listing:
        for file in listing:
            if _OURS.fullmatch(file.name):
                with suppress(FileNotFoundError):
                    found.append((file.stat(follow_symlinks=False), file))
    for status, file in sorted(found, key=lambda one: one[0].st_mtime, reverse=True):
        limit = _ABANDONED if file.name.endswith(".new") else UNTOUCHED
        total += status.st_size
        if now - status.st_mtime > limit or total > MAX_TOTAL:
            with suppress(OSError):
                os.unlink(file.path)
