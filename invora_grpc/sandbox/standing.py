"""How the sandbox's tax authority behaves: whether it can be reached, and how long its answers take. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from invora_grpc.sandbox.launch import AUTHORITY, LONGEST_DELAY
from invora_grpc.sandbox.store import Store


@dataclass(slots=True)
class Conditions:
    """How the authority behaves. One per store; may be changed while the sandbox runs."""

    reachable: bool = True
    """What is frozen while it is not ends as FAILED / ERROR, until RetrySubmission."""
    reporting_delay: float = 0.0
    """Seconds from freezing a simplified document to the authority's answer."""


def conditions(store: Store) -> Conditions:
    """The conditions of this store's authority, to read and to change."""
    return store.companion(_usual)


def set_conditions(store: Store, authority: str, reporting_delay: float) -> None:
    """Let the authority be "up" or "down", and take so many seconds to answer. Raises ValueError for anything else."""
    if authority not in AUTHORITY:
        raise ValueError(f"no authority {authority!r}; say one of {', '.join(AUTHORITY)}")
    if not 0 <= reporting_delay <= LONGEST_DELAY:
        raise ValueError(f"a reporting delay of {reporting_delay} seconds; say 0 to {LONGEST_DELAY}")
    standing = conditions(store)
    standing.reachable, standing.reporting_delay = authority == "up", reporting_delay


def _usual(_: Store) -> Conditions:
    return Conditions()
