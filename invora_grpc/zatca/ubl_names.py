"""The names of UBL 2.1 that tax documents use, for those who write and read them. Nothing but constants."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["CAC", "CBC", "EXT", "INVOICE", "NAMESPACES", "aggregate", "basic"]

INVOICE: Final = "urn:oasis:names:specification:ubl:schema:xsd:Invoice-2"
"""Namespace of the root, which is `Invoice` for notes and self-billed documents too."""
CAC: Final = "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2"
CBC: Final = "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2"
EXT: Final = "urn:oasis:names:specification:ubl:schema:xsd:CommonExtensionComponents-2"
NAMESPACES: Final[dict[Any, str]] = {None: INVOICE, "cac": CAC, "cbc": CBC, "ext": EXT}
"""Prefixes as all of ZATCA's samples have them. `ext` is declared for the stamp: declaring it later would change the
canonical form, and so the hash. The type is loose because lxml's stubs know no default namespace."""

PROFILE: Final = "reporting:1.0"
PREPAYMENT_CODE: Final = "386"
PREPAYMENT_NAME: Final = "Prepayment adjustment"
"""Item name of the line that takes a prepayment off."""


def basic(name: str) -> str:
    """The full name of an element that holds a value."""
    return f"{{{CBC}}}{name}"


def aggregate(name: str) -> str:
    """The full name of an element that holds elements."""
    return f"{{{CAC}}}{name}"
