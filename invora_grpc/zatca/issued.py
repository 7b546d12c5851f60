"""What comes out of issuing: each leg with its status, number and place in the chain; and the errors that stop it.

Data only: who waits for what, and which error is raised when, is decided in ``issuing_steps``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from invora_grpc.errors import InvoraError, RequestError
from invora_grpc.zatca.advice_options import Leg, Option
from invora_grpc.zatca.typecode import TypeCode

ACCEPTED: Final = frozenset({"CLEARED", "REPORTED", "ACCEPTED_WITH_WARNING"})
"""Statuses with which a document is final and valid."""
REFUSED: Final = frozenset({"NOT_CLEARED", "NOT_REPORTED"})
"""Statuses with which it is final and not valid."""
RECORDED: Final = "RECORDED"
"""What a usage event has for a status: the Billing module keeps it, and bills it later."""
NO_DOCUMENT: Final = "NO_DOCUMENT"
"""What a leg has for a status that is out of scope, or that the buyer accounts for."""


@dataclass(frozen=True, slots=True)
class IssuedLeg:
    """What became of one leg, or of another document: a note, a summary."""

    leg: Leg | None
    """None for a document that was issued by `send`."""
    key: str
    """Under which it is found again; "" where there is no document."""
    status: str
    """ZATCA's, e.g. CLEARED, REPORTED or NOT_SUBMITTED; RECORDED for a usage event, NO_DOCUMENT for none."""
    number: str = ""
    """The number that the buyer sees."""
    type_code: TypeCode | None = None
    """None where there is no document."""
    uuid: str = ""
    counter: int = 0
    """ICV: its place in the chain of the branch."""
    hash: str = ""
    previous_hash: str = ""
    qr: str = ""
    """Base64 of the QR code's fields; empty until the submission has produced it."""
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    """What the authority refused it for."""

    @property
    def final(self) -> bool:
        """Whether nothing is awaited any more."""
        return self.valid or self.status in REFUSED

    @property
    def valid(self) -> bool:
        """Whether the authority has accepted it, or never gets to see it."""
        return self.status in ACCEPTED or self.status in (RECORDED, NO_DOCUMENT)

    @property
    def may_be_handed_over(self) -> bool:
        """Whether the buyer may get the document: a standard one once it is cleared, a simplified one once it is
        frozen, as its report follows within 24 hours."""
        if self.type_code is None:
            return False
        is_pending = bool(self.uuid) and self.status not in REFUSED
        return self.status in ACCEPTED or (is_pending and self.type_code.subtype == "simplified")


@dataclass(frozen=True, slots=True)
class Issued:
    """What became of a deal."""

    option: Option
    legs: tuple[IssuedLeg, ...]
    """In the order of issue; without the legs of the month, which `summary` makes."""

    def leg(self, number: int) -> IssuedLeg:
        """The leg of that number. Raises RequestError if none was issued."""
        numbers = {issued.leg.number: issued for issued in self.legs if issued.leg}
        if number in numbers:
            return numbers[number]
        known = ", ".join(map(str, numbers))
        raise RequestError("leg", number, f"issued were the legs {known}", "was not issued")


class IssuingError(InvoraError):
    """A deal was not issued to its end. Issuing it again goes on where it stopped; nothing is issued twice."""

    def __init__(self, text: str, key: str = "", legs: Sequence[IssuedLeg] = ()) -> None:
        super().__init__(text)
        self.key = key
        """Of the document that it stopped at."""
        self.legs = tuple(legs)
        """What was issued, with the leg that it stopped at where that was frozen; in the order of issue."""


class NotAccepted(IssuingError):
    """The authority refused the document: it is final and not valid.

    Build this leg anew, corrected and under another key, and `send` it. A whole deal under another key would issue
    again what was accepted of this one: `legs` tells what that is.
    """


class NotFinal(IssuingError):
    """The document is frozen, and its submission was not final in time."""


class KeyTaken(IssuingError):
    """Under the key there is another document than the one that was to be issued. Nothing was changed."""


class TotalsDiffer(IssuingError):
    """The platform's totals of the draft are others than ours: it was not frozen."""
