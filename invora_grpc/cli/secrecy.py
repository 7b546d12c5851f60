"""Which metadata is not to be shown, by its name: what a person adds with -H may be another system's password.

Loads nothing, so that every command can ask.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_secret", "variable"]

_SECRET: Final = re.compile(r"auth|cookie|token|secret|passw|credential|api-?key|signature|session", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether metadata of this name is likely to hold a secret."""
    return _SECRET.search(name) is not None


def variable(name: str) -> str:
    """The name of an environment variable for secret metadata: X_API_KEY for x-api-key."""
    text = re.sub(r"[^A-Z0-9]", "_", name.upper())
    return f"_{text}" if text[:1].isdigit() else text
