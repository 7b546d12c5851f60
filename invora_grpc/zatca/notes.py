"""Credit and debit notes: what corrects an issued document, built on that document.

A note inherits its original's leg: parties, subtype, flags, currency, surface, tenant and branch. This room says what
else a note needs (a reason, positive amounts, no more credit than is left, its time); it must not know the six cases.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal

from invora_grpc.errors import RequestError
from invora_grpc.zatca.agreement import (
    NOTE_ARTICLE,
    NOTE_DAYS,
    Agreement,
    PreconditionError,
    note_deadline,
    require_day,
    statement,
)
from invora_grpc.zatca.deal import require_instant, require_key
from invora_grpc.zatca.document import RIYADH, Document, Line, Reference
from invora_grpc.zatca.requests import Issuance, issuance, uuid_of
from invora_grpc.zatca.supply import Role
from invora_grpc.zatca.totals import Totals, totals

LONGEST_KEY: Final = 127
"""Characters of a note's key, which is its number on the documents surface (BR-KSA-F-06)."""


@dataclass(frozen=True, slots=True)
class _Original:
    """What is corrected, and where it lives."""

    document: Document
    surface: Literal["simple", "documents"]
    role: Role
    key: str
    branch: str


def note(
    original: Issuance | Document,
    kind: Literal[381, 383],
    lines: tuple[Line, ...],
    *,
    reason: str,
    key: str,
    issued_at: datetime,
    event: date,
    number: str = "",
    earlier: Iterable[Issuance] = (),
    agreement: Agreement | None = None,
    deadline_days: int | None = NOTE_DAYS,
    tenant: Role | None = None,
    branch: str = "",
    now: datetime | None = None,
) -> Issuance:
    """A credit note (381) or debit note (383) on a document that was issued.

    `original`: what `build` or `summary` gave and was frozen since; or, for the documents surface, the document itself
    (as `ubl.from_xml` reads it), with the `tenant` that issued it and its `branch`. `lines` are positive amounts: what
    is credited, or charged in addition. `reason` says why, in words (BR-KSA-17). `key` is the note's own, and its
    number on the documents surface. `number` is the original's legal number, where the platform assigned it (Simple).
    `earlier` are the notes that were issued on the same original before: a credit note is at most what they leave of
    it, in sum and per tax category; the note itself may be among them, so that it can be built again. `agreement` is
    wanted if the original is self-billed or third-party.

    `event` is the Saudi day on which happened what the note is for (return, cancellation, new price). A credit note is
    to be issued within 15 days after the end of that day's month; sources differ on when these days begin and how many
    they are, hence `deadline_days`. None issues a late note all the same.

    Raises PreconditionError for a late credit note and where Art. 53 is not kept, RuleError for what breaks a rule of
    ZATCA, RequestError for everything else that is wrong.
    """
    source = _original_of(original, tenant, branch)
    corrected, given = source.document, _others(earlier, key, kind)
    _check_text(source, key, reason)
    _check_days(corrected, kind, issued_at, event, deadline_days)
    _check_lines(lines)
    made = replace(
        corrected,
        type_code=corrected.type_code.note(kind),
        id=key,
        uuid=uuid_of(corrected.seller, key),
        issued_at=issued_at.replace(microsecond=0),
        lines=lines,
        allowances=(),
        prepayments=(),
        rounding=Decimal(0),
        counter=None,
        previous_hash=None,
        notes=_statement(corrected),
        originals=(_reference(source, number),),
        reason=reason,
    )
    sums = totals(made)
    if sums.tax_inclusive <= 0:
        raise RequestError("lines", sums.tax_inclusive, "give an amount above zero", "comes to nothing")
    if kind == 381:
        _check_left(corrected, {source.key, corrected.id, number} - {""}, given, sums)
    invoice_key = source.key if source.surface == "simple" else ""
    return issuance(made, source.surface, source.role, source.branch, key, agreement, now, invoice_key)


def _original_of(original: Issuance | Document, tenant: Role | None, branch: str) -> _Original:
    if isinstance(original, Document):
        if tenant is None:
            raise RequestError("tenant", None, "say in whose tenant the document was issued", "is missing")
        if tenant not in (Role.SP, Role.P):
            raise RequestError("tenant", tenant, "say Role.SP or Role.P", "issues no document")
        found = _Original(original, "documents", Role(tenant), original.id, branch)
    elif original.document is None or original.surface == "billing":
        hint = "correct it in the Billing module"
        raise RequestError("original", original.key, hint, "is a usage event, no document")
    else:
        found = _Original(original.document, original.surface, original.role, original.key, original.branch)
    if found.document.type_code.is_note:
        hint = "correct the invoice that it is on by another note"
        raise RequestError("original", found.key, hint, "is a note itself")
    return found


def _reference(source: _Original, number: str) -> Reference:
    document = source.document
    day = document.issued_at.astimezone(RIYADH).date()
    if source.surface == "simple":  # the platform has chosen number and UUID
        return Reference(number or source.key, "", day)
    return Reference(document.id, document.uuid, day)


def _statement(corrected: Document) -> tuple[str, ...]:
    if not corrected.type_code.self_billed or corrected.buyer is None:
        return ()
    return statement(corrected.seller, corrected.buyer)


def _check_text(source: _Original, key: str, reason: str) -> None:
    require_key("key", key, LONGEST_KEY)
    if key in (source.key, source.document.id):
        raise RequestError("key", key, "give the note a key of its own", "is the original's")
    if not reason.strip():
        raise RequestError("reason", reason, "say in words why the document is corrected", "is missing (BR-KSA-17)")


def _check_days(corrected: Document, kind: int, issued_at: datetime, event: date, deadline_days: int | None) -> None:
    require_instant("issued_at", issued_at)
    require_day("event", event)
    if deadline_days is not None and (type(deadline_days) is not int or deadline_days < 0):
        raise RequestError("deadline_days", deadline_days, "give a whole number of days, or None for no deadline")
    if issued_at < corrected.issued_at:
        hint = f"the original is of {corrected.issued_at}"
        raise RequestError("issued_at", issued_at, hint, "is before the document that it corrects")
    day = issued_at.astimezone(RIYADH).date()
    if event > day:
        raise RequestError("event", event, f"the note is of {day}; name a day up to then", "has not happened yet")
    if kind == 381 and deadline_days is not None and day > (last := note_deadline(event, deadline_days)):
        hint = f"it was due by {last}; deadline_days=None issues it all the same"
        raise PreconditionError(NOTE_ARTICLE, "issued_at", day, hint, f"is too late for an event of {event}")


def _check_lines(lines: tuple[Line, ...]) -> None:
    if not lines:
        raise RequestError("lines", (), "give at least one line", "is empty")
    for place, line in enumerate(lines):
        if not line.quantity > 0:
            raise RequestError(f"lines[{place}].quantity", line.quantity, "give a quantity above zero")
        if not line.unit_price >= 0:
            hint = "amounts of a note are positive: 381 credits them, 383 charges them"
            raise RequestError(f"lines[{place}].unit_price", line.unit_price, hint, "is negative")


def _check_left(corrected: Document, names: set[str], earlier: Iterable[Issuance], wanted: Totals) -> None:
    """Raise RequestError if a credit note takes more than its original still claims, in sum or in a category."""
    claimed = totals(corrected)
    left, taxable = claimed.tax_inclusive, _taxable(claimed)
    for each in earlier:
        sums, sign = each.totals, _effect(each, corrected, names)
        left += sign * sums.tax_inclusive
        for tax, amount in _taxable(sums).items():
            taxable[tax] = taxable.get(tax, Decimal(0)) + sign * amount
    for tax, amount in _taxable(wanted).items():
        if amount > taxable.get(tax, Decimal(0)):
            category = f"{tax[0]} at {tax[1]} per cent" + (f" ({tax[2]})" if tax[2] else "")
            hint = f"at most {taxable.get(tax, Decimal(0))} is left in category {category}"
            raise RequestError("lines", amount, hint, "is more than what is left of the original")
    if wanted.tax_inclusive > left:
        hint = f"at most {left} {corrected.currency} with VAT is left"
        raise RequestError("lines", wanted.tax_inclusive, hint, "is more than what is left of the original")


def _taxable(sums: Totals) -> dict[tuple[str, Decimal, str], Decimal]:
    """What is taxed of each category, rate and reason of exemption."""
    return {(entry.tax.category, entry.tax.rate, entry.tax.exemption_code): entry.taxable for entry in sums.breakdown}


def _others(earlier: Iterable[Issuance], key: str, kind: int) -> list[Issuance]:
    """The notes before this one, each once. Raises RequestError if two of them have one key."""
    told: dict[tuple[str, int], Issuance] = {}
    for each in earlier:
        name = (each.key, each.document.type_code.code if each.document else 0)
        if told.setdefault(name, each) != each:
            raise RequestError("earlier", each.key, "name every note once", "is the key of two notes")
    told.pop((key, kind), None)
    return list(told.values())


def _effect(each: Issuance, corrected: Document, names: set[str]) -> int:
    """What an earlier note did to the claim of the original, which has these names: 1 raised it, -1 lowered it."""
    document = each.document
    corrects = {original.id for original in document.originals} if document else set()
    if document is None or document.seller.vat_number != corrected.seller.vat_number or not corrects & names:
        hint = "give the credit and debit notes on the same original"
        raise RequestError("earlier", each.key, hint, "is no note on it")
    return -1 if document.type_code.code == 381 else 1
