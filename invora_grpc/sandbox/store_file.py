"""The file that a store lives in: taken only if it is new, or a sandbox's. Nothing else is ever written to.

This room creates and probes the file; what is in it is the store's.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from invora_grpc.sandbox.model import APPLICATION_ID, NotASandboxFile


def claim_file(path: Path) -> None:
    """Create the file for its owner's eyes only, or check that the existing one is ours, without writing to it."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        return
    except FileExistsError:
        pass
    except OSError as error:
        raise NotASandboxFile(f"{path}: cannot be created ({error.strerror})") from error
    if not path.is_file():
        raise NotASandboxFile(f"{path}: not a regular file; name a file of the sandbox's own")
    if path.stat().st_size and _mark(path) != APPLICATION_ID:
        raise NotASandboxFile(
            f"{path}: not a sandbox database, left untouched; name another file, or one to be created"
        )
    path.chmod(0o600)


def _mark(path: Path) -> int | None:
    """The application id in a database's header, read through SQLite so that no lock of this process is lost."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as probe:
            return int(probe.execute("PRAGMA application_id").fetchone()[0])
    except sqlite3.DatabaseError:
        return None
