"""Invoices, credit notes and debit notes of the Simple surface: six RPCs each, one implementation.

A `Kind` says where the three differ. The room checks what callers give, keeps documents in the store and gives frozen
ones, as XML, to the tax authority. It must not do arithmetic of its own (that is `totals`), interpret filters
(`listing`), judge by ZATCA's rules (`authority`), open transactions or touch records of another tenant than the call's.

`zatca` of a frozen document is the authority's answer as it is known at the time of reading.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import grpc

from invora_api.billing.common.v2.models_pb2 import CurrencyEnum
from invora_api.parties.v2.models_pb2 import Party
from invora_api.regulations.zatca.v1 import models_pb2 as zatca_v1
from invora_api.simple.credit_notes.v1 import models_pb2 as credit_notes_v1
from invora_api.simple.debit_notes.v1 import models_pb2 as debit_notes_v1
from invora_api.simple.invoices.v1 import models_pb2 as invoices_v1
from invora_grpc import exact
from invora_grpc.sandbox import authority, listing, service
from invora_grpc.sandbox.authority import branch_of, recall, remember
from invora_grpc.sandbox.model import Record
from invora_grpc.sandbox.service import Call, Fault, Wrong, echo, expected
from invora_grpc.sandbox.simple_xml import PARTIES, document_of
from invora_grpc.sandbox.totals import UNTAXED, Line, Totals, calculate, problems
from invora_grpc.values import build, to_decimal
from invora_grpc.zatca.document import RIYADH
from invora_grpc.zatca.ubl import to_xml

_CURRENCIES = frozenset(name.removeprefix("CURRENCY_ENUM_") for name in CurrencyEnum.keys()[1:])
_VAT_NUMBER = re.compile("3[0-9]{13}3")
_COUNTRY = re.compile("[A-Z]{2}")
_SAUDI_DIGITS = {"building_number": 4, "postal_zone": 5}
_LONGEST_KEY = 128

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the three kinds of document."""

    noun: str
    records: authority.Surface
    """Kind of its records in the store, name of its counter, and surface to the authority."""
    prefix: str
    """Of the legal number."""
    code: int
    """Its type code (UN/CL 1001)."""
    effect: int
    """What a frozen one does to the claim of its invoice: -1 lowers it, 1 raises it, 0 refers to none."""
    models: Any
    """The module of its messages."""
    document: Any

    @property
    def summary(self) -> Any:
        """The class of a list's rows."""
        return getattr(self.models, f"{self.document.DESCRIPTOR.name}Summary")


INVOICES = Kind("invoice", "simple.invoices", "INV", 388, 0, invoices_v1, invoices_v1.SimpleInvoice)
CREDIT_NOTES = Kind(
    "credit note", "simple.credit_notes", "CN", 381, -1, credit_notes_v1, credit_notes_v1.SimpleCreditNote
)
DEBIT_NOTES = Kind("debit note", "simple.debit_notes", "DN", 383, 1, debit_notes_v1, debit_notes_v1.SimpleDebitNote)


@dataclass(frozen=True, slots=True)
class Links:
    """What a document's references lead to."""

    buyer_name: str
    buyer_vat: str
    branch: Record | None
    """The issuing branch; None in a tenant without a primary one."""


@dataclass(frozen=True, slots=True)
class Row:
    """A document in a list. The first line of `search` is the buyer's name at the time of the last write."""

    document: Any
    search: str
    seq: int
    answered: Callable[[], zatca_v1.ZatcaRegulationMetadata]
    """What the authority has answered by now."""


# The six RPCs


def create(kind: Kind, call: Call, request: Any) -> Any:
    """A new draft, or a frozen document with freeze_immediately."""
    changes, wrong = kind.models.ChangeBase(), []
    changes.CopyFrom(request.changes)
    if request.HasField("key") and not (request.key.isprintable() and 0 < len(request.key) <= _LONGEST_KEY):
        wrong.append(("key", f"must be 1 to {_LONGEST_KEY} printable characters, or left out"))
    totals = _check(kind, call, changes, wrong)
    key = request.key or f"{kind.prefix.lower()}_{uuid4().hex}"
    if call.store.by_key(call.org_id, kind.records, key):
        raise service.already_exists(kind.noun, key)
    document = kind.document()
    document.id.key = key
    links = _compose(kind, call, document, changes, totals)
    record = Record(id=str(uuid4()), key=key, created_at=call.now.timestamp())
    _write(kind, call, record, document, links, final=request.freeze_immediately)
    return kind.models.CreateResponse(details=document)


def get(kind: Kind, call: Call, request: Any) -> Any:
    """One document, whole or as far as the mask says."""
    _, document = _found(kind, call, request.key)
    return kind.models.GetResponse(details=listing.apply_mask(document, request.mask))


def update(kind: Kind, call: Call, request: Any) -> Any:
    """A draft with other contents. A path of the mask whose field is not set in `changes` is cleared."""
    record, document = _draft(kind, call, request)
    changes = kind.models.ChangeBase()
    listing.check_mask(changes, request.mask)
    _take(document, changes, _names(changes))
    given = {field.name for field, _ in request.changes.ListFields()}
    for path in _names(changes) if "*" in request.mask.paths else request.mask.paths or given:
        listing.copy_path(request.changes, changes, path.split("."))
    if kind.effect and changes.invoice_key != document.invoice_key:  # another invoice, hence its buyer and currency
        _take(kind.models.ChangeBase(), changes, {"buyer", "currency_code"} - given)
    totals = _check(kind, call, changes, [])
    links = _compose(kind, call, document, changes, totals)
    _write(kind, call, record, document, links)
    return kind.models.UpdateResponse(details=document)


def delete(kind: Kind, call: Call, request: Any) -> Any:
    """Drafts, all of them or none."""
    found = [_found(kind, call, key) for key in dict.fromkeys(request.keys)]
    for _, document in found:
        _refuse_frozen(kind, document)
    for record, _ in found:
        call.store.delete(call.org_id, kind.records, record.id)
    return kind.models.DeleteResponse()


def freeze(kind: Kind, call: Call, request: Any) -> Any:
    """A draft becomes final."""
    record, document = _draft(kind, call, request)
    links = _links(call, document, grpc.StatusCode.FAILED_PRECONDITION, "")
    _write(kind, call, record, document, links, final=True)
    return kind.models.FreezeResponse(details=document)


def list_documents(kind: Kind, call: Call, request: Any) -> Any:
    """A page of summaries."""
    records = call.store.all(call.org_id, kind.records)
    documents = [(record, kind.document.FromString(record.body)) for record in records]
    rows = [Row(one, record.search, record.seq, partial(_answered, kind, call, one)) for record, one in documents]
    page = listing.page_of(call, rows, request, value=lambda row, name: _VALUES[name](row), text=lambda row: row.search)
    listing.check_mask(kind.summary(), request.mask)
    items = [listing.apply_mask(_summary(kind, row), request.mask) for row in page.items]
    return listing.fill(kind.models.ListResponse, page, items)


# Reading


def _found(kind: Kind, call: Call, key: str) -> tuple[Record, Any]:
    record = call.store.by_key(call.org_id, kind.records, key)
    if record is None:
        raise service.not_found(kind.noun, key)
    document = kind.document.FromString(record.body)
    if document.frozen:
        document.zatca.CopyFrom(_answered(kind, call, document))
    return record, document


def _answered(kind: Kind, call: Call, document: Any) -> zatca_v1.ZatcaRegulationMetadata:
    """What the authority has answered by now; empty for a draft."""
    submission = authority.submission_of(call, kind.records, document.id.key) if document.frozen else None
    told: zatca_v1.ZatcaRegulationMetadata = submission.metadata() if submission else document.zatca
    return told


def _draft(kind: Kind, call: Call, request: Any) -> tuple[Record, Any]:
    """The draft that the request names, provided that its caller has seen the latest version."""
    record, document = _found(kind, call, request.key)
    _refuse_frozen(kind, document)
    if not request.concurrency_stamp:
        raise service.invalid("concurrency_stamp", "is required: the one of the version that was read last")
    if request.concurrency_stamp != record.stamp:
        raise service.stale_stamp(kind.noun, request.key)
    return record, document


def _refuse_frozen(kind: Kind, document: Any) -> None:
    if document.frozen:
        text = f"the {kind.noun} {document.id.key!r} is frozen: correct it by a credit note or a debit note"
        raise service.failed_precondition(text, "DOCUMENT_FROZEN")


_VALUES: dict[str, Callable[[Row], object]] = {
    "key": lambda row: row.document.id.key,
    "created_at": lambda row: row.document.audit.creation_info.created_at.ToDatetime(UTC),
    "updated_at": lambda row: row.document.audit.last_modification_time.ToDatetime(UTC),
    "issue_at": lambda row: row.document.issue_at.ToDatetime(UTC),
    "frozen": lambda row: row.document.frozen,
    "number": lambda row: row.document.number,
    "buyer_name": lambda row: row.search.partition("\n")[0],
    "currency_code": lambda row: row.document.currency_code,
    "payable_amount": lambda row: to_decimal(row.document.calculations.payable_amount),
    "zatca_status": lambda row: row.answered().status or zatca_v1.ZATCA_SUBMISSION_STATUS_NOT_SUBMITTED,
    "invoice_key": lambda row: row.document.invoice_key,
}


def _summary(kind: Kind, row: Row) -> Any:
    """The list's view of a document; a draft counts as not submitted."""
    summary = kind.summary(**{name: _VALUES[name](row) for name in ("buyer_name", "zatca_status")})
    _take(row.document.calculations, summary, ("tax_amount", "payable_amount"))
    _take(row.document, summary, _names(summary) & _names(row.document))
    return summary


# Writing


def _names(message: Any) -> set[str]:
    return set(message.DESCRIPTOR.fields_by_name)


def _take(source: Any, target: Any, names: Iterable[str]) -> None:
    """Make these fields of `target` what they are in `source`; a name means the same type in all messages here."""
    for name in names:
        listing.copy_path(source, target, [name])


def _compose(kind: Kind, call: Call, document: Any, changes: Any, totals: Totals) -> Links:
    """Write checked changes and their totals into the document."""
    if kind.effect:
        document.invoice_number = _settle(call, changes)
    links = _links(call, changes, grpc.StatusCode.NOT_FOUND, "changes.")
    _take(changes, document, _names(changes))
    document.calculations.CopyFrom(build(invoices_v1.SimpleCalculations, asdict(totals)))
    return links


def _write(kind: Kind, call: Call, record: Record, document: Any, links: Links, *, final: bool = False) -> None:
    """Mark the document as written now by the caller, freeze it if it is final, and put it into the store."""
    document.id.version += 1
    document.id.version_id, document.concurrency_stamp = str(uuid4()), uuid4().hex
    audit = document.audit
    audit.last_modification_time.FromDatetime(call.now)
    audit.last_modifier_id.value = call.caller.subject
    if not audit.HasField("creation_info"):
        audit.creation_info.created_at.CopyFrom(audit.last_modification_time)
        audit.creation_info.creator_id.CopyFrom(audit.last_modifier_id)
    if final:
        _issue(kind, call, document, links)
    words = [links.buyer_name, document.number, document.id.key, *(line.description for line in document.lines)]
    search = "\n".join(" ".join(word.split()) for word in words)
    state, stamp, body = "frozen" if final else "draft", document.concurrency_stamp, document.SerializeToString()
    put = call.store.replace if record.seq else call.store.insert
    put(call.org_id, kind.records, replace(record, stamp=stamp, state=state, body=body, search=search))


# What a document refers to


def _settle(call: Call, changes: Any) -> str:
    """Let a note take buyer and currency from its invoice where it has none; the invoice's number."""
    path, key = "changes.invoice_key", changes.invoice_key
    record = call.store.by_key(call.org_id, INVOICES.records, key)
    if record is None:
        raise _leads_nowhere(grpc.StatusCode.NOT_FOUND, [(path, f"there is no invoice {echo(key)}")])
    invoice = invoices_v1.SimpleInvoice.FromString(record.body)
    if not invoice.frozen:
        raise service.failed_precondition(f"{path}: the invoice {echo(key)} is still a draft", "INVOICE_NOT_FROZEN")
    if not changes.HasField("buyer"):
        changes.buyer.CopyFrom(invoice.buyer)
    changes.currency_code = changes.currency_code or invoice.currency_code
    if changes.currency_code != invoice.currency_code:
        raise service.invalid("changes.currency_code", f"must be the invoice's, {invoice.currency_code}")
    return invoice.number


def _links(call: Call, content: Any, code: grpc.StatusCode, root: str) -> Links:
    """Follow the references to party and branch; raises `code` with all that lead nowhere."""
    missing: Wrong = []
    buyer, branch = content.buyer, branch_of(call, content.branch_id)
    name, vat = buyer.inline.legal_name, buyer.inline.vat_registration_number
    if buyer.WhichOneof("type") == "party_key":
        if party := call.store.by_key(call.org_id, PARTIES, buyer.party_key):
            name, vat = _particulars(Party.FromString(party.body), buyer.party_key)
        else:
            missing.append((f"{root}buyer.party_key", f"there is no party {echo(buyer.party_key)}"))
    if content.branch_id and branch is None:
        missing.append((f"{root}branch_id", f"there is no branch {echo(content.branch_id)}"))
    if missing:
        raise _leads_nowhere(code, missing)
    return Links(name, vat, branch)


def _leads_nowhere(code: grpc.StatusCode, missing: Wrong) -> Fault:
    return Fault(
        code, f"{service.first_of(missing)} in this organization", reason="REFERENCE_NOT_FOUND", violations=missing
    )


def _particulars(party: Party, key: str) -> tuple[str, str]:
    """Name and VAT number of a stored party; its key and "" where it has none."""
    names = [party.name.value.value, *(each.value.value for each in party.name.assignments)]
    names += [entity.registration_name.value for entity in party.details.party_legal_entity]
    numbers = [scheme.company_id.value for scheme in party.details.party_tax_scheme]
    return next(filter(None, names), key), next(filter(None, numbers), "")


# Freezing


def _issue(kind: Kind, call: Call, document: Any, links: Links) -> None:
    """Give the document its number and its place in the branch's chain. Nothing may change in it afterwards."""
    if kind.effect:
        _book(kind, call, document)
    document.frozen = True
    document.number = f"{kind.prefix}-{call.store.next_number(call.org_id, kind.records):06}"
    document.frozen_at.FromDatetime(call.now)
    document.tax_currency_code = document.tax_currency_code or document.currency_code
    if links.branch:
        document.branch_id = document.branch_id or links.branch.key or links.branch.id
    buyer = links.buyer_name, links.buyer_vat
    content = document_of(call, document, code=kind.code, buyer=buyer, branch=links.branch, uuid=str(uuid4()))
    xml = to_xml(content, checked=False)
    issued = authority.issue(call, surface=kind.records, key=document.id.key, xml=xml, branch=links.branch)
    document.zatca.CopyFrom(issued.metadata())


def _book(kind: Kind, call: Call, note: Any) -> None:
    """Change what the note's invoice still claims; a credit note may not take more than that."""
    name = f"claim/{note.invoice_key}"
    _, invoice = _found(INVOICES, call, note.invoice_key)
    claim = Decimal(recall(call, name) or to_decimal(invoice.calculations.payable_amount))
    left = claim + kind.effect * to_decimal(note.calculations.payable_amount)
    if left < 0:
        text = f"the invoice {note.invoice_key!r} claims {claim} {note.currency_code}, less than would be credited"
        raise service.failed_precondition(text, "CREDIT_EXCEEDS_INVOICE")
    remember(call, name, str(left))


# Rules


def _check(kind: Kind, call: Call, changes: Any, wrong: Wrong) -> Totals:
    """Fill in defaults and answer the totals; raises everything that is wrong, with what was found before, at once."""
    if not changes.HasField("issue_at"):
        changes.issue_at.FromDatetime(call.now)
    _check_head(kind, changes, wrong)
    _check_buyer(kind, changes, wrong)
    lines = [_line(line, f"changes.lines[{index}]", wrong) for index, line in enumerate(changes.lines)]
    currency = changes.currency_code or _currency_of(call, changes)
    totals = _tried(wrong, "changes.lines", lambda: calculate((line for line in lines if line), currency))
    if totals is None or wrong:
        raise service.invalid_fields(wrong)
    return totals


def _currency_of(call: Call, changes: Any) -> str:
    """The currency of the invoice that a note is for; "" where there is none."""
    record = call.store.by_key(call.org_id, INVOICES.records, getattr(changes, "invoice_key", ""))
    return str(invoices_v1.SimpleInvoice.FromString(record.body).currency_code) if record else ""


def _check_head(kind: Kind, changes: Any, wrong: Wrong) -> None:
    expect = partial(expected, wrong)
    code, tax_code, day = changes.currency_code, changes.tax_currency_code, changes.supply_date
    iso = "must be a code of ISO 4217, such as SAR"
    expect(code in _CURRENCIES or (kind.effect and not code), "changes.currency_code", iso)
    expect(not tax_code or tax_code in _CURRENCIES, "changes.tax_currency_code", iso)
    _tried(wrong, "changes.issue_at", partial(_check_moment, changes.issue_at))
    if changes.HasField("supply_date"):
        _tried(wrong, "changes.supply_date", lambda: exact.date_of(day.year, day.month, day.day))
    expect(changes.lines, "changes.lines", "at least one is required")
    given = {line.id for line in changes.lines}
    free = (id for number in itertools.count(1) if (id := str(number)) not in given)
    for line in changes.lines:
        line.id = line.id or next(free)
    expect(len({line.id for line in changes.lines}) == len(changes.lines), "changes.lines", "must have different ids")
    if kind.effect:
        expect(changes.invoice_key, "changes.invoice_key")
        expect(changes.reason.strip(), "changes.reason")


def _check_moment(moment: Any) -> None:
    """ValueError for a moment that there is not, or not in Riyadh's calendar."""
    exact.check_instant(moment.seconds, moment.nanos)
    try:
        moment.ToDatetime(RIYADH)
    except OverflowError:
        raise ValueError("is in the year 10000 in Riyadh: give an earlier one") from None


def _tried(wrong: Wrong, path: str, make: Callable[[], T]) -> T | None:
    try:
        return make()
    except ValueError as problem:
        wrong.append((path, str(problem)))
        return None


def _check_buyer(kind: Kind, changes: Any, wrong: Wrong) -> None:
    expect, path = partial(expected, wrong), "changes.buyer"
    if changes.buyer.WhichOneof("type") != "inline":
        from_invoice = kind.effect and not changes.HasField("buyer")
        expect(changes.buyer.party_key or from_invoice, path, "is required: party_key or inline")
        return
    inline, path = changes.buyer.inline, f"{path}.inline"
    address = inline.address
    expect(inline.legal_name.strip(), f"{path}.legal_name")
    two_letters = _COUNTRY.fullmatch(address.country_code or "SA")
    expect(two_letters, f"{path}.address.country_code", "must be two letters of ISO 3166-1, such as SA")
    if not inline.HasField("vat_registration_number"):
        return
    fifteen = _VAT_NUMBER.fullmatch(inline.vat_registration_number)
    expect(fifteen, f"{path}.vat_registration_number", "must be 15 digits, the first and the last a 3")
    for name in ("street_name", "city_name", "country_code"):
        given = getattr(address, name).strip()
        expect(given, f"{path}.address.{name}", "is required of a buyer with a VAT number")
    for name, digits in _SAUDI_DIGITS.items() if address.country_code == "SA" else ():
        fits = re.fullmatch(f"[0-9]{{{digits}}}", getattr(address, name))
        expect(fits, f"{path}.address.{name}", f"must be {digits} digits for a buyer with a VAT number in SA")


def _line(line: Any, path: str, wrong: Wrong) -> Line | None:
    """The line for the calculation, with its category filled in; None when it cannot be calculated."""
    expect, tax = partial(expected, wrong), line.tax
    expect(line.description.strip(), f"{path}.description")
    expect(line.quantity.unit_code.strip(), f"{path}.quantity.unit_code")
    expect(line.HasField("unit_price"), f"{path}.unit_price")
    rated = tax.HasField("tax_rate") or tax.category_code in UNTAXED
    expect(rated, f"{path}.tax.tax_rate")
    quantity = _tried(wrong, f"{path}.quantity.value", partial(to_decimal, line.quantity.value))
    price = _tried(wrong, f"{path}.unit_price", partial(to_decimal, line.unit_price))
    rate = _tried(wrong, f"{path}.tax.tax_rate", partial(to_decimal, tax.tax_rate))
    if rate is None or not rated:
        return None
    tax.category_code = tax.category_code or ("S" if rate > 0 else "Z")
    made = Line(line.id, Decimal(1) if quantity is None else quantity, price or Decimal(0), tax.category_code, rate)
    wrong += [(f"{path}.{field}", description) for field, description in problems(made)]
    reason = tax.category_code not in UNTAXED or tax.exemption_reason_code.strip() or tax.exemption_reason.strip()
    expect(reason, f"{path}.tax.exemption_reason_code", f"is required in category {tax.category_code}")
    return made if _tried(wrong, path, lambda: calculate([made])) else None


_RPCS = {"Create": create, "Get": get, "Update": update, "Delete": delete, "Freeze": freeze, "List": list_documents}

REGISTRY: service.Registry = {
    f"/{kind.document.DESCRIPTOR.full_name}Service/{name}": partial(rpc, kind)
    for kind in (INVOICES, CREDIT_NOTES, DEBIT_NOTES)
    for name, rpc in _RPCS.items()
}
"""The handlers of the three services, by path."""
