"""Breaking changes that somebody has looked at and accepted: a file with one change's id per line.

The file is kept with the schema and reviewed like it. An id is of one change of one thing: another change of the same
thing, or the same change of another thing, is not approved by it. Nothing here decides what is breaking.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from invora_grpc.codegen.changes_kinds import KINDS, Change
from invora_grpc.errors import ConfigError, closest

__all__ = ["read", "unapproved", "unused"]

_ID: Final = re.compile(r"([a-z0-9-]+):(\S+):([0-9a-f]{8})")


def read(path: Path) -> frozenset[str]:
    """The ids in a file. No file, empty lines and what follows a "#" count as nothing.

    Raises ConfigError for a line that is no id: a typo there would be found only when it is too late.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError("approved", str(path), "name a text file", f"cannot be read: {reason}") from None
    found = set()
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if entry:
            _check(entry, f"{path}:{number}")
            found.add(entry)
    return frozenset(found)


def _check(entry: str, place: str) -> None:
    match = _ID.fullmatch(entry)
    if match is None:
        raise ConfigError(
            "approved", entry, "copy it from the report: kind:symbol:digest", f"at {place} is no change's id"
        )
    if match[1] not in KINDS:
        near = closest(match[1], KINDS)
        hint = f"did you mean {' or '.join(near)}?" if near else "copy it from the report"
        raise ConfigError("approved", entry, hint, f"at {place} is of no known kind of change")


def unapproved(changes: Iterable[Change], approved: Path | Collection[str]) -> tuple[Change, ...]:
    """The breaking changes that are not in the file, or among the ids. Raises ConfigError for a file that is wrong."""
    ids = read(approved) if isinstance(approved, Path) else approved
    return tuple(one for one in changes if one.breaking and one.id not in ids)


def unused(changes: Iterable[Change], approved: Path | Collection[str]) -> tuple[str, ...]:
    """The ids that approve none of the changes: done with, and to be taken out of the file."""
    ids = read(approved) if isinstance(approved, Path) else approved
    return tuple(sorted(set(ids) - {one.id for one in changes if one.breaking}))
