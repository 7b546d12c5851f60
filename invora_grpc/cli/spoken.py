"""Errors of the library in the command's own terms: who types a command has options, and no methods to call.

Only words are changed here, never what they mean; what is not in the table stays as it is. Loads nothing.
"""

from __future__ import annotations

from typing import Final

__all__ = ["TERMS", "spoken"]

TERMS: Final = (
    ("A client made with schema='adapt' converts", "`--schema adapt` converts"),
    ("a client made with schema='trust' if you", "`--schema trust` if you"),
    ("Generate the stubs again from this gateway", "Take the gateway's own schema with --reflect"),
    ("or generate the stubs again from this gateway", "or take the gateway's own schema with --reflect"),
    (
        "take what is enough with limit(), or call the RPC itself for its one page",
        "take what is enough with --max-items, or leave --all away for its one page",
    ),
    ("go on from there with start(error.cursor)", "go on from there with pagination.cursor"),
    ("use a client without it for this RPC; only creates", "leave --idempotency-key away; only creates"),
    ("or the idempotency key out of the client", "or leave --idempotency-key away"),
    ("sign in, e.g. with client id and secret", "leave --no-auth away, and sign in with `invora login`"),
    (", or None for no deadline", ""),
)
"""What the library says of a way out → what a command says of it."""


def spoken(text: str) -> str:
    """The text of an error, as a command says it."""
    for library, command in TERMS:
        text = text.replace(library, command)
    return text
