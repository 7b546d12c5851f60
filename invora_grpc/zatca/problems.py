"""What keeps a `Document` from becoming a valid tax document, told before any XML is written.

The counterpart of `checking`, which judges finished XML: here the data is judged, so that errors name the field that a
caller filled in. Whether a document is the right one (which case, which flags, whose turn it is to issue) is not asked.
The rules are those of ZATCA's SDK R3.4.8, warnings included, as far as they concern what a document says.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, date, datetime
from typing import Final

from invora_grpc.errors import RequestError
from invora_grpc.zatca import codes
from invora_grpc.zatca.document import RIYADH, Document, Reference
from invora_grpc.zatca.problems_lines import allowance_problems, line_problems, prepayment_problems
from invora_grpc.zatca.problems_parties import buyer_problems, seller_problems
from invora_grpc.zatca.problems_types import require_document, type_problems
from invora_grpc.zatca.problems_values import (
    LARGEST_TOTAL,
    Problems,
    amount_problem,
    instant_problem,
    number_problem,
    text_problem,
)
from invora_grpc.zatca.totals import Totals, totals

__all__ = ["problems", "require_valid"]

FIRST_YEAR, LAST_YEAR = 2000, 2099
"""ZATCA's rules take no other year for a date (BR-KSA-F-01, BR-KSA-36)."""
LONGEST_RATE: Final = 14
"""Characters of an exchange rate (BR-KSA-90)."""
USUAL_NAME: Final = 7
"""Characters of a type code's name without the flags of newer standards."""
MOST_LINES: Final = 999_999
"""A line's identifier has at most six characters (BR-KSA-F-06-C17)."""
_UUID: Final = re.compile(r"[0-9A-Za-z-]{1,127}")


def require_valid(document: Document, now: datetime | None = None) -> Totals:
    """The sums of a document that can become valid XML; for another, RequestError is raised with its first problem."""
    require_document(document)
    for problem in _field_problems(document, now or datetime.now(UTC)):
        raise problem
    sums = totals(document)
    for problem in _sum_problems(document, sums):
        raise problem
    return sums


def problems(document: Document, now: datetime | None = None) -> tuple[RequestError, ...]:
    """All problems of a document, each naming field, value and way out. None: `ubl.to_xml` writes it.

    The sums are looked at only if every field is right in itself. `now` (aware) is the moment that the issue date must
    not lie after (BR-KSA-04); None asks the clock.
    """
    require_document(document)
    found = tuple(_field_problems(document, now or datetime.now(UTC)))
    return found or tuple(_sum_problems(document, totals(document)))


def _field_problems(document: Document, now: datetime) -> Problems:
    if found := tuple(type_problems(document)):
        yield from found
        return
    yield from _identity_problems(document, now)
    yield from _text_problems(document)
    yield from _date_problems(document)
    yield from seller_problems(document.seller)
    yield from buyer_problems(document)
    yield from _note_problems(document)
    yield from _currency_problems(document)
    yield from _assigned_problems(document)
    yield from _line_list_problems(document)
    for number, allowance in enumerate(document.allowances):
        yield from allowance_problems(f"allowances[{number}]", allowance, on_document=True)
    for number, prepayment in enumerate(document.prepayments):
        yield from prepayment_problems(f"prepayments[{number}]", prepayment)
        yield from _later_problems(f"prepayments[{number}].issued_at", prepayment.issued_at, document)
    if problem := amount_problem("rounding", document.rounding, signed=True):
        yield problem


def _identity_problems(document: Document, now: datetime) -> Problems:
    if problem := text_problem("id", document.id, 127, required=True):
        yield problem
    if not _UUID.fullmatch(document.uuid):
        yield RequestError("uuid", document.uuid, "use str(uuid.uuid4())", "is not of letters, digits and dashes")
    if problem := instant_problem("issued_at", document.issued_at):
        yield problem
        return
    issued, today = document.issued_at.astimezone(RIYADH).date(), now.astimezone(RIYADH).date()
    if issued > today:
        hint = f"issue it when the day has come (today is {today} in Riyadh)"
        yield RequestError("issued_at", document.issued_at, hint, "is in the future (BR-KSA-04)")
    if issued.year < FIRST_YEAR:
        yield RequestError("issued_at", document.issued_at, f"use a date from {FIRST_YEAR} on", "is too long ago")


def _text_problems(document: Document) -> Problems:
    for number, note in enumerate(document.notes):
        if problem := text_problem(f"notes[{number}]", note, 1000, required=True):
            yield problem
    for name, text in (("purchase_order", document.purchase_order), ("contract", document.contract)):
        if problem := text_problem(name, text, 127):
            yield problem
    if problem := text_problem("reason", document.reason, 1000):
        yield problem
    if document.type_code.name[:4] == "0201" and len(document.type_code.name) > USUAL_NAME:
        hint = "leave nominal away, or continuous and government: ZATCA's rules find 01 in it and take it for standard"
        yield RequestError("type_code.name", document.type_code.name, hint, "is ambiguous to ZATCA")
    if document.type_code.government and not document.contract:
        hint = "give the number of the contract (BR-KSA-92)"
        yield RequestError("contract", document.contract, hint, "is empty on a document to the government")
    means = document.payment_means
    if means and means not in codes.PAYMENT_MEANS:
        yield RequestError("payment_means", means, "use a code of UN/CL 4461, e.g. 10, 30, 42, 48", "is none")
    if document.reason and not means:
        hint = "give payment_means, e.g. '10': the reason is written beside it"
        yield RequestError("payment_means", means, hint, "is missing although there is a reason")
    if document.type_code.self_billed and not document.notes:
        hint = "add the statement that the customer issues the document on the supplier's behalf (Art. 53(2))"
        yield RequestError("notes", document.notes, hint, "is empty on a self-billed document")


def _date_problems(document: Document) -> Problems:
    start, end = document.supply_date, document.supply_end
    for name, day in (("supply_date", start), ("supply_end", end)):
        if day is not None and (type(day) is not date or not FIRST_YEAR <= day.year <= LAST_YEAR):
            yield RequestError(name, day, f"give a date in {FIRST_YEAR} to {LAST_YEAR}", "is no such date")
            return
    code = document.type_code
    if start is None:
        if end is not None:
            yield RequestError("supply_date", start, "give the first day too", "is missing beside an end (BR-KSA-35)")
        elif code.subtype == "standard" and code.code == 388:
            hint = "give the day of the supply"
            yield RequestError("supply_date", start, hint, "is missing on a standard invoice (BR-KSA-15)")
    elif end is not None and end < start:
        yield RequestError("supply_end", end, f"use {start} or later", "is before supply_date (BR-KSA-36)")
    if code.subtype == "simplified" and code.summary and (start is None or end is None):
        hint = "give supply_date and supply_end"
        yield RequestError("supply_end", end, hint, "a simplified summary needs both dates (BR-KSA-72)")


def _note_problems(document: Document) -> Problems:
    if document.type_code.is_note:
        if not document.originals:
            hint = "name the document that is corrected"
            yield RequestError("originals", document.originals, hint, "is empty on a note (BR-KSA-56)")
        if not document.reason:
            yield RequestError("reason", document.reason, "say why it is issued", "is missing on a note (BR-KSA-17)")
    for number, original in enumerate(document.originals):
        yield from reference_problems(f"originals[{number}]", original, 5000, document)


def reference_problems(path: str, reference: Reference, longest: int, document: Document) -> Problems:
    """What is wrong with a reference to another document, which cannot be from after this one (BR-KSA-04)."""
    if problem := text_problem(f"{path}.id", reference.id, longest, required=True):
        yield problem
    if problem := text_problem(f"{path}.uuid", reference.uuid, 127):
        yield problem
    day = reference.issue_date
    if day is not None and (type(day) is not date or day.year < FIRST_YEAR):
        yield RequestError(f"{path}.issue_date", day, f"give a date from {FIRST_YEAR} on, or None", "is no such date")
    elif day is not None:
        yield from _later_problems(f"{path}.issue_date", day, document)


def _later_problems(path: str, other: date | datetime, document: Document) -> Problems:
    """A document refers to none that was issued after it."""
    if instant_problem(path, document.issued_at):
        return
    if isinstance(other, datetime):
        if instant_problem(path, other):
            return
        other = other.astimezone(RIYADH).date()
    if other > document.issued_at.astimezone(RIYADH).date():
        hint = "give the day on which that document was issued"
        yield RequestError(path, other, hint, "is after this document's own day")


def _currency_problems(document: Document) -> Problems:
    currency, rate = document.currency, document.sar_rate
    if currency not in codes.CURRENCIES:
        yield RequestError("currency", currency, "use a code of ISO 4217, e.g. SAR", "is no currency (BR-KSA-CL-01)")
    elif rate is None:
        if currency != "SAR":
            hint = f"say how many riyals one {currency} is, e.g. Decimal('3.75')"
            yield RequestError("sar_rate", rate, hint, "is missing: VAT is stated in SAR too (BR-53)")
    elif problem := number_problem("sar_rate", rate, zero=False):
        yield problem
    elif currency == "SAR" and rate != 1:
        yield RequestError("sar_rate", rate, "leave it away", "is not 1 although the currency is SAR")
    elif len(f"{rate:f}") > LONGEST_RATE:
        hint = f"round it to at most {LONGEST_RATE} characters"
        yield RequestError("sar_rate", rate, hint, "is too long (BR-KSA-90)")


def _assigned_problems(document: Document) -> Problems:
    counter = document.counter
    if counter is not None and (type(counter) is not int or counter < 0):
        yield RequestError("counter", counter, "give a whole number from 0, or None", "is no counter (BR-KSA-34)")
    if document.previous_hash is not None and not _is_base64(document.previous_hash):
        hint = "give the base64 text of the hash, or None"
        yield RequestError("previous_hash", document.previous_hash, hint, "is no hash (BR-KSA-26)")


def _is_base64(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) in (32, 64)
    except (binascii.Error, ValueError):
        return False


def _line_list_problems(document: Document) -> Problems:
    lines = document.lines
    if not 1 <= len(lines) + len(document.prepayments) <= MOST_LINES or not lines:
        hint = f"give 1 to {MOST_LINES:,} lines"
        yield RequestError("lines", f"{len(lines)} lines", hint, "too few or too many (BR-16)")
    seen: set[str] = {str(number) for number in range(len(lines) + 1, len(lines) + len(document.prepayments) + 1)}
    for number, line in enumerate(lines):
        path = f"lines[{number}]"
        yield from line_problems(path, line)
        name = line.id or str(number + 1)
        if name in seen:
            yield RequestError(f"{path}.id", name, "give each line its own, or none to any", "is another line's")
        seen.add(name)
        if line.source is not None:
            yield from reference_problems(f"{path}.source", line.source, 127, document)


def _sum_problems(document: Document, sums: Totals) -> Problems:
    negative = tuple(_negative_problems(sums))
    yield from negative
    if not negative:
        yield from _exemption_problems(document, sums)
        yield from _prepaid_problems(document, sums)
        yield from _payable_problems(document, sums)


def _negative_problems(sums: Totals) -> Problems:
    for number, line in enumerate(sums.lines):
        if line.net < 0:
            hint = "make its allowances smaller; what is given back belongs on a credit note"
            yield RequestError(f"lines[{number}]", line.net, hint, "comes to less than nothing (BR-KSA-F-04)")
            return
    for entry in sums.breakdown:
        if entry.taxable < 0:
            place = f"{entry.tax.category} {entry.tax.rate:f} %"
            hint = "make the document's allowances in that category smaller"
            yield RequestError("allowances", entry.taxable, hint, f"leave less than nothing to tax at {place}")


def _exemption_problems(document: Document, sums: Totals) -> Problems:
    """One breakdown entry holds one reason; another one for the same category would get lost."""
    told = {(entry.tax.category, entry.tax.rate): entry.tax for entry in sums.breakdown}
    places = [(f"lines[{number}].tax", line.tax) for number, line in enumerate(document.lines)]
    places += [(f"allowances[{number}].tax", each.tax) for number, each in enumerate(document.allowances) if each.tax]
    for path, tax in places:
        first = told[tax.category, tax.rate]
        if tax is not first and tax != first:
            hint = f"put what is taxed as {first.exemption_code} and {tax.exemption_code} on two documents"
            problem = f"a document has one reason for category {tax.category}"
            yield RequestError(path, tax.exemption_code or tax.exemption_text, hint, problem)
    buyer = document.buyer
    for entry in sums.breakdown:
        if entry.tax.exemption_code in ("VATEX-SA-EDU", "VATEX-SA-HEA") and (
            buyer is None or buyer.id_scheme != "NAT" or not buyer.name
        ):
            hint = "name the buyer and give the national id (id_scheme 'NAT')"
            problem = f"{entry.tax.exemption_code} is for citizens (BR-KSA-25, -49)"
            yield RequestError("buyer", None if buyer is None else buyer.id_scheme, hint, problem)


def _prepaid_problems(document: Document, sums: Totals) -> Problems:
    known = {(entry.tax.category, entry.tax.rate) for entry in sums.breakdown}
    for number, prepayment in enumerate(document.prepayments):
        tax = prepayment.tax
        if (tax.category, tax.rate) not in known:
            hint = "use the category and rate of a line"
            yield RequestError(f"prepayments[{number}].tax", f"{tax.category} {tax.rate:f} %", hint, "is no line's")


def _payable_problems(document: Document, sums: Totals) -> Problems:
    if sums.payable < 0:
        hint = "take no more off than the document comes to; give the rest back by a credit note"
        path, value = ("prepayments", sums.prepaid) if document.prepayments else ("rounding", sums.rounding)
        yield RequestError(path, value, hint, f"takes off so much that {sums.payable} is payable")
    if max(sums.line_total, sums.tax_inclusive, sums.prepaid) > LARGEST_TOTAL:
        hint = "use several documents"
        problem = f"come to more than {LARGEST_TOTAL:,}: ZATCA's checks are not exact beyond that"
        yield RequestError("lines", max(sums.line_total, sums.tax_inclusive, sums.prepaid), hint, problem)
    if document.currency != "SAR" and sums.tax == sums.tax_sar > 0:
        hint = "check sar_rate, or state the document in SAR"
        problem = (
            f"makes VAT the same number in {document.currency} and SAR ({sums.tax}), which ZATCA refuses (BR-KSA-97)"
        )
        yield RequestError("sar_rate", document.sar_rate, hint, problem)
