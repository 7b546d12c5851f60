"""The ready file: where a running sandbox tells its addresses and credentials, for as long as it answers.

A path is taken before anything slow happens: what a killed sandbox left there is read and removed, so that nobody takes
it for the one that is about to start. Only a sandbox's own file is ever removed or written over. This room knows files
and nothing of what a sandbox is; it imports nothing that takes time.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

CREDENTIALS: Final = ("org_id", "client_id", "client_secret", "viewer_client_id", "viewer_client_secret")
FIELDS: Final = ("grpc", "http", "issuer", *CREDENTIALS)
_LONGEST = 64 * 1024
_PATIENCE = 0.5  # seconds


class NotAReadyFile(ValueError):
    """The path cannot be a ready file: something else is there."""


@dataclass(frozen=True, slots=True)
class ReadyFile:
    """A path that was taken for a ready file. Nothing is there until ``write``."""

    path: Path
    former: Mapping[str, str] | None = field(repr=False)
    """What a former sandbox left there, or None."""

    @classmethod
    def take(cls, path: str | os.PathLike[str], data: str | os.PathLike[str]) -> ReadyFile:
        """Read and remove what a former sandbox left at ``path``. Raises NotAReadyFile, and then touches nothing."""
        where = Path(path)
        real, file = os.path.realpath(where), os.path.realpath(data)
        if os.fspath(data) != ":memory:" and real in (file, f"{file}-wal", f"{file}-shm"):
            raise NotAReadyFile(f"{where}: the data file cannot be the ready file, too; name another path")
        former = _read(where)
        try:
            if former is not None:
                where.unlink(missing_ok=True)
        except OSError as error:
            raise NotAReadyFile(f"{where}: cannot be removed ({error.strerror}); name another path") from error
        return cls(where, former)

    def write(self, content: Mapping[str, str]) -> str:
        """Write the file at once and whole, for its owner's eyes only, and answer its text. Raises NotAReadyFile."""
        _read(self.path)
        text = json.dumps(dict(content), indent=2) + "\n"
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(6)}")
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)
        return text

    def remove(self, text: str) -> None:
        """Remove the file unless another sandbox has written its own there since."""
        with contextlib.suppress(OSError, ValueError):
            if self.path.read_text(encoding="utf-8") == text:
                self.path.unlink()

    def give_back(self) -> None:
        """Leave things as they were found if the former sandbox is still running."""
        if self.former and _answers(self.former["grpc"]) and not self.path.exists():
            with contextlib.suppress(OSError, NotAReadyFile):
                self.write(self.former)


def _read(path: Path) -> Mapping[str, str] | None:
    """What a ready file tells, None if nothing is there. Raises NotAReadyFile for everything else."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise NotAReadyFile(f"{path}: not a regular file, left untouched; name a path of the sandbox's own")
        with open(path, "rb") as file:
            content = json.loads(file.read(_LONGEST))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise NotAReadyFile(f"{path}: cannot be read ({error.strerror}); name another path") from error
    except NotAReadyFile:
        raise
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not all(isinstance(content.get(name), str) for name in FIELDS):
        raise NotAReadyFile(f"{path}: not a ready file of the sandbox, left untouched; name a path of its own")
    return {name: content[name] for name in FIELDS}


def _answers(target: str) -> bool:
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _PATIENCE).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True
