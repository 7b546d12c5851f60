"""The steps of issuing, one generator for blocking and asynchronous clients; ``issuing`` and ``issuing_aio`` run them.

A step is a call to be made or a time to be let pass. This room decides the order, what a failure means and when a
document is final. It builds no request (``requests``), knows no rule of tax, and sends nothing itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.struct_pb2 import Struct

from invora_api.documents.v2 import models_pb2 as documents_v2
from invora_api.regulations.v2.service_pb2 import ListDocumentArtifactsRequest
from invora_api.regulations.zatca.v1 import models_pb2 as zatca_v1
from invora_grpc.errors import RequestError, one_line
from invora_grpc.reading import to_decimal
from invora_grpc.status import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    Unavailable,
    Unimplemented,
)
from invora_grpc.zatca.advice_options import Leg, Option
from invora_grpc.zatca.agreement import Agreement
from invora_grpc.zatca.deal import Deal
from invora_grpc.zatca.engine import number
from invora_grpc.zatca.hashing import CAC, CBC, invoice_hash, parsed
from invora_grpc.zatca.issued import (
    NO_DOCUMENT,
    RECORDED,
    REFUSED,
    Issued,
    IssuedLeg,
    IssuingError,
    KeyTaken,
    NotAccepted,
    NotFinal,
    TotalsDiffer,
)
from invora_grpc.zatca.requests import Issuance, RuleError, build
from invora_grpc.zatca.supply import Role
from invora_grpc.zatca.ubl import from_xml

WAIT: Final = 120.0
"""Seconds that a document's submission may take before NotFinal is raised."""
_FAILED: Final = "FAILED"
_LATE: Final = "BR-KSA-98"
"""The rule that a simplified document is reported within 24 hours."""
_ERROR: Final = documents_v2.REGULATION_DIAGNOSTIC_SEVERITY_ERROR
_REGULATION: Final = "zatca"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds
_GENERIC: Final[Mapping[int, str]] = {
    documents_v2.REGULATION_SUBMISSION_STATUS_ACCEPTED: "ACCEPTED",
    documents_v2.REGULATION_SUBMISSION_STATUS_ACCEPTED_WITH_WARNINGS: "ACCEPTED",
    documents_v2.REGULATION_SUBMISSION_STATUS_REJECTED: "REJECTED",
    documents_v2.REGULATION_SUBMISSION_STATUS_ERROR: _FAILED,
}
"""What stands for ZATCA's own status where a gateway tells only the general one."""
_BY_SUBMISSION: Final[Mapping[tuple[str, str], str]] = {
    ("ACCEPTED", "clearance"): "CLEARED",
    ("ACCEPTED", "reporting"): "REPORTED",
    ("REJECTED", "clearance"): "NOT_CLEARED",
    ("REJECTED", "reporting"): "NOT_REPORTED",
}

T = TypeVar("T")


# The steps, for clients of both kinds


@dataclass(frozen=True, slots=True)
class Call:
    """An RPC to be made by a client; what it answers, or raises, is sent back into the generator."""

    client: Any
    area: str
    """ "module.area"."""
    rpc: str
    request: Any
    key: str = ""
    """If given: a create that takes a record of the same content under this key for its answer."""

    @property
    def bound(self) -> Callable[[Any], Any]:
        """The method to be called with the request."""
        client = self.client.with_options(idempotency_key=self.key) if self.key else self.client
        method: Callable[[Any], Any] = getattr(client.service(self.area), self.rpc)
        return method


@dataclass(frozen=True, slots=True)
class Pause:
    """Time to be let pass."""

    seconds: float


Steps = Generator[Call | Pause, Any, T]
"""What issuing does, one step at a time; returns what comes out."""


def steps_of(
    clients: Mapping[Role, Any],
    option: Option,
    deal: Deal,
    agreement: Agreement | None,
    wait: float,
    now: datetime | None,
) -> Steps[Issued]:
    """The steps of `issue`. All documents are built and checked before the first is sent."""
    _check_wait(wait)
    plans = [_planned(option, leg, deal, agreement, now) for leg in option.legs if leg.period == "transaction"]
    for plan in plans:
        if plan.issuance is not None:
            _client_of(clients, plan.issuance)
    yield from _check_tenants(clients, [plan.issuance for plan in plans if plan.issuance])
    for plan in plans:
        if plan.issuance is not None and plan.late is not None and not (yield from _is_issued(clients, plan.issuance)):
            raise plan.late
    done: list[IssuedLeg] = []
    for plan in plans:
        with _among(done):
            done.append((yield from _issued(clients, plan, wait)))
    for place, plan in enumerate(plans):
        if plan.issuance is not None and not done[place].final:
            with _among(done[:place], done[place + 1 :]):
                done[place] = yield from _followed(clients, plan.issuance, done[place], wait)
    return Issued(option, tuple(done))


def steps_of_one(clients: Mapping[Role, Any], issuance: Issuance, wait: float) -> Steps[IssuedLeg]:
    """The steps of `send`."""
    _check_wait(wait)
    _client_of(clients, issuance)
    yield from _check_tenants(clients, [issuance])
    issued = yield from _issue(clients, None, issuance, wait)
    return issued if issued.final else (yield from _followed(clients, issuance, issued, wait))


@dataclass(frozen=True, slots=True)
class _Plan:
    """A leg and what is sent for it."""

    leg: Leg
    issuance: Issuance | None = None
    """None: nothing follows from this leg."""
    late: RuleError | None = None
    """Why it may not be issued any more, unless it was before."""


def _planned(option: Option, leg: Leg, deal: Deal, agreement: Agreement | None, now: datetime | None) -> _Plan:
    if leg.type_code is None:
        return _Plan(leg)
    try:
        return _Plan(leg, build(option, leg.number, deal, agreement, now=now))
    except RuleError as error:
        if error.rule != _LATE:
            raise
        return _Plan(leg, build(option, leg.number, deal, agreement, now=deal.issued_at), error)


@contextmanager
def _among(before: Sequence[IssuedLeg], behind: Sequence[IssuedLeg] = ()) -> Iterator[None]:
    """Errors of issuing tell of the other legs that were issued, too."""
    try:
        yield
    except IssuingError as error:
        error.legs = (*before, *error.legs, *behind)
        raise


def require_clients(clients: object, kind: type) -> None:
    """Raise RequestError for what is no mapping of roles to clients of this kind: blocking, or asynchronous."""
    if not isinstance(clients, Mapping):
        hint = "give {Role.P: client, Role.SP: client}, e.g. by tenants(client, provider_org_id)"
        raise RequestError("clients", type(clients).__name__, hint, "is no mapping")
    for role, client in clients.items():
        if not isinstance(client, kind):
            hint = f"give an {kind.__name__}; zatca.issuing is for Invora, zatca.issuing_aio for AsyncInvora"
            raise RequestError(f"clients[{str(role).upper()}]", type(client).__name__, hint, "is of another kind")


def _check_wait(wait: object) -> None:
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not wait >= 0:
        raise RequestError("wait", wait, "give seconds, 0 or more; float('inf') waits without end")


def _client_of(clients: Mapping[Role, Any], issuance: Issuance) -> Any:
    client = clients.get(issuance.role)
    if client is None:
        hint = f"give a client for the tenant of {issuance.role.upper()} too, e.g. by tenants(client, provider_org_id)"
        raise RequestError("clients", [str(role).upper() for role in clients], hint, f"lack {issuance.role.upper()}")
    return client


def _check_tenants(clients: Mapping[Role, Any], issuances: Sequence[Issuance]) -> Steps[None]:
    """Raise RequestError if a client acts in another tenant than it should: a document would have another seller, or
    stand in the chain of somebody else.

    A tenant that does not tell its VAT number is taken for the right one; but where nothing may be read,
    PermissionDenied is raised now, and not when the other tenant has issued already.
    """
    for each in {(one.role, one.branch, one.vat_number): one for one in issuances}.values():
        role, branch, wanted = each.role, each.branch, each.vat_number
        try:
            number = (yield from _vat_number(clients[role], branch)) if wanted else ""
        except PermissionDenied:
            number = ""
            if each.document is not None:
                yield from _is_issued(clients, each)
        if number and number != wanted:
            where = f"branch {branch!r} of its tenant" if branch else "its tenant"
            hint = f"in the deal {role.upper()} has {wanted!r}: give the client of that tenant"
            raise RequestError(f"clients[{role.upper()}]", number, hint, f"is the VAT number of {where}")


def _vat_number(client: Any, branch: str) -> Steps[str]:
    """The VAT number that a branch, or the tenant's primary one, issues under; "" if that is not told."""
    try:
        for place in (yield from _branches(client, branch)):
            configs = place.regulation_configs
            settings = MessageToDict(configs[_REGULATION].config) if _REGULATION in configs else {}
            if number := settings.get("vatRegistrationNumber") or _number_of(place.party):
                return str(number)
        return _number_of((yield Call(client, "invoicing.settings", "get_self_party", {})).my_info.party)
    except (NotFound, Unimplemented):
        return ""


def _branches(client: Any, key: str) -> Steps[Sequence[Any]]:
    """The branch of that key, if there is one; without a key the primary one."""
    if not key:
        primary = {"filter": {"part": {"is_primary": True}}}
        return list((yield Call(client, "invoicing.branches", "list", primary)).items)
    try:
        return [(yield Call(client, "invoicing.branches", "get", {"key": key})).details]
    except NotFound:
        return []


def _number_of(party: Any) -> str:
    return next((scheme.company_id.value for scheme in party.party_tax_scheme if scheme.company_id.value), "")


def _is_issued(clients: Mapping[Role, Any], issuance: Issuance) -> Steps[bool]:
    """Whether the document is frozen already."""
    try:
        return _is_frozen(issuance, (yield from _read(_client_of(clients, issuance), issuance)))
    except NotFound:
        return False


def _issued(clients: Mapping[Role, Any], plan: _Plan, wait: float) -> Steps[IssuedLeg]:
    if plan.issuance is None:
        return IssuedLeg(plan.leg, "", NO_DOCUMENT)
    return (yield from _issue(clients, plan.leg, plan.issuance, wait))


def _issue(clients: Mapping[Role, Any], leg: Leg | None, issuance: Issuance, wait: float) -> Steps[IssuedLeg]:
    """Create, compare and freeze; a standard document is followed until it is cleared, as nothing may go out before."""
    client = _client_of(clients, issuance)
    if issuance.surface == "billing":
        return (yield from _metered(client, leg, issuance))
    draft = yield from _created(client, issuance)
    _compare_totals(issuance, draft)
    frozen = yield from _frozen(client, issuance, draft, time.monotonic() + wait)
    number, uuid = _identity(issuance, frozen)
    code = issuance.document.type_code if issuance.document else None
    issued = IssuedLeg(leg, issuance.key, "NOT_SUBMITTED", number=number, type_code=code, uuid=uuid)
    return (yield from _followed(clients, issuance, issued, wait)) if _is_cleared(issuance) else issued


def _metered(client: Any, leg: Leg | None, issuance: Issuance) -> Steps[IssuedLeg]:
    try:
        yield Call(client, issuance.area, issuance.rpc, issuance.keyless(), issuance.key)
    except AlreadyExists as error:
        raise _taken(issuance) from error
    except RequestError as error:
        if error.path != "transaction_id":
            raise
        raise _taken(issuance) from error
    return IssuedLeg(leg, issuance.key, RECORDED)


def _is_cleared(issuance: Issuance) -> bool:
    """Whether the document is of the kind that is not valid before it is cleared."""
    return issuance.document is not None and issuance.document.type_code.subtype == "standard"


def _created(client: Any, issuance: Issuance) -> Steps[Any]:
    """The draft or document under the key, made now or before."""
    try:
        if issuance.surface == "simple":
            return (yield Call(client, issuance.area, issuance.rpc, issuance.keyless(), issuance.key)).details
        return (yield Call(client, issuance.area, issuance.rpc, issuance.request)).details
    except AlreadyExists as error:
        if issuance.surface == "simple":  # the client has compared it
            raise _taken(issuance) from error
    except RequestError as error:
        if error.path != "key":
            raise
        raise _taken(issuance) from error  # the client knows the key already
    return _same(issuance, (yield from _read(client, issuance)))


def _read(client: Any, issuance: Issuance) -> Steps[Any]:
    return (yield Call(client, issuance.area, "get", {"key": issuance.key})).details


def _same(issuance: Issuance, found: Any) -> Any:
    """What was found under the key, provided that it says what was to be issued."""
    if issuance.surface == "documents":
        kept = replace(from_xml(found.xml_content.encode()), counter=None, previous_hash=None)
        request: Any = issuance.request
        if kept != from_xml(request.changes.xml_content.encode()):
            raise _taken(issuance)
    return found


def _taken(issuance: Issuance) -> KeyTaken:
    hint = "issue the deal as it was when it was begun; only another transaction gets another key"
    text = f"key: {issuance.key!r} is that of another document; nothing was changed; {hint}"
    return KeyTaken(text, issuance.key)


def _compare_totals(issuance: Issuance, draft: Any) -> None:
    """Raise TotalsDiffer unless the draft has the amounts that were expected."""
    if _is_frozen(issuance, draft):
        return
    own = (issuance.totals.tax_exclusive, issuance.totals.tax, issuance.totals.payable)
    for name, theirs, ours in zip(_AMOUNTS, _amounts_of(issuance, draft), own, strict=True):
        if theirs != ours:
            text = f"{name}: the platform computes {theirs} where {ours} was expected; the draft was not frozen"
            raise TotalsDiffer(f"{text}; look at it under the key {issuance.key!r}, then delete it", issuance.key)


_AMOUNTS: Final[Mapping[str, str]] = {
    "tax_exclusive_amount": f"{CAC}LegalMonetaryTotal/{CBC}TaxExclusiveAmount",
    "tax_amount": f"{CAC}TaxTotal[{CAC}TaxSubtotal]/{CBC}TaxAmount",
    "payable_amount": f"{CAC}LegalMonetaryTotal/{CBC}PayableAmount",
}
"""The amounts that are compared, and where a document states them."""


def _amounts_of(issuance: Issuance, draft: Any) -> list[Decimal | None]:
    if issuance.surface == "simple":
        return [to_decimal(getattr(draft.calculations, name)) for name in _AMOUNTS]
    root = parsed(draft.xml_content.encode(), "xml_content")
    return [number(root.findtext(place, "")) for place in _AMOUNTS.values()]


def _is_frozen(issuance: Issuance, details: Any) -> bool:
    if issuance.surface == "simple":
        return bool(details.frozen)
    return bool(details.edit_state == documents_v2.EDIT_STATE_FROZEN)


def _frozen(client: Any, issuance: Issuance, draft: Any, until: float) -> Steps[Any]:
    """The frozen document.

    Where it is in doubt whether freezing happened, or somebody else was there before, the document itself tells; it is
    compared again, as the next freezing takes it as it is.
    """
    pause = _FIRST_PAUSE
    while not _is_frozen(issuance, draft):
        try:
            request = {"key": issuance.key, "concurrency_stamp": draft.concurrency_stamp}
            return (yield Call(client, issuance.area, "freeze", request)).details
        except (Aborted, FailedPrecondition, OutcomeUnknown, Unavailable) as error:
            draft = yield from _created(client, issuance)
            if not _is_frozen(issuance, draft) and (isinstance(error, FailedPrecondition) or time.monotonic() >= until):
                raise
        _compare_totals(issuance, draft)
        yield Pause(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return draft


def _identity(issuance: Issuance, frozen: Any) -> tuple[str, str]:
    """Number and UUID: the platform's own on the Simple surface, else those of the document."""
    if issuance.surface == "simple":
        return str(frozen.number), str(frozen.zatca.uuid)
    return (issuance.document.id, issuance.document.uuid) if issuance.document else ("", "")


# The submission


def _followed(clients: Mapping[Role, Any], issuance: Issuance, issued: IssuedLeg, wait: float) -> Steps[IssuedLeg]:
    """Read the submission until it is final. One that failed for the authority's absence is submitted again."""
    client, until, pause = _client_of(clients, issuance), time.monotonic() + wait, _FIRST_PAUSE
    failure: Exception | None = None
    while True:
        issued = yield from _seen(client, issuance, issued)
        if issued.valid:
            return issued
        if issued.status in REFUSED:
            why = "; ".join(issued.errors) or "no reason was given"
            hint = "build it anew, corrected and under another key, and send() it: what else the deal has issued stands"
            text = f"{issuance.key}: {issued.status}: {why}; {hint}"
            raise NotAccepted(one_line(text), issuance.key, [issued])
        if time.monotonic() + pause >= until:
            told = "".join(f" ({error})" for error in issued.errors)
            text = (
                f"{issuance.key}: is {issued.status}{told} after {wait:g} seconds; issue the same again later to go on"
            )
            raise NotFinal(one_line(text), issuance.key, [issued]) from failure
        yield Pause(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        if issued.status == _FAILED:
            failure = yield from _submitted_again(client, issuance)


def _submitted_again(client: Any, issuance: Issuance) -> Steps[Exception | None]:
    """Let the platform submit once more. What came of it, the submission itself tells; the error is kept for that."""
    request = {"regulation_id": _REGULATION, "document_key": issuance.key}
    try:
        yield Call(client, "invoicing.regulation_info", "retry_submission", request)
    except (FailedPrecondition, OutcomeUnknown, Unavailable) as error:
        return error
    return None


def _seen(client: Any, issuance: Issuance, issued: IssuedLeg) -> Steps[IssuedLeg]:
    """The leg with the submission's present state; the Simple surface tells its own where there is no other."""
    request = {"document_key": issuance.key}
    try:
        answer = yield Call(client, "invoicing.regulation_info", "list_document_regulations", request)
    except (NotFound, Unimplemented):
        if issuance.surface != "simple":
            raise
        return _told(issuance, issued, (yield from _read(client, issuance)).zatca, "")
    for entry in answer.items:
        zatca = _metadata(entry.metadata)
        # One key may name a document on each surface; their UUIDs tell them apart.
        is_ours = not (issued.uuid and zatca.uuid) or issued.uuid.lower() == zatca.uuid.lower()
        if entry.regulation_id == _REGULATION and is_ours:
            told = _told(issuance, issued, zatca, _GENERIC.get(entry.submission_status, ""))
            return replace(told, errors=told.errors or _texts(entry.diagnostics, _ERROR))
    return issued


def _metadata(fields: Struct) -> Any:
    """ZATCA's own data of a submission, by its JSON names; what is unknown or unreadable is left out."""
    try:
        return ParseDict(MessageToDict(fields), zatca_v1.ZatcaRegulationMetadata(), ignore_unknown_fields=True)
    except (ParseError, TypeError):
        return zatca_v1.ZatcaRegulationMetadata()


def _told(issuance: Issuance, issued: IssuedLeg, zatca: Any, general: str) -> IssuedLeg:
    named = zatca_v1.ZatcaSubmissionStatus.DESCRIPTOR.values_by_number.get(zatca.status)
    status = named.name.removeprefix("ZATCA_SUBMISSION_STATUS_") if named and zatca.status else ""
    submission = "clearance" if _is_cleared(issuance) else "reporting"
    return replace(
        issued,
        status=status or _BY_SUBMISSION.get((general, submission), general or "NOT_SUBMITTED"),
        uuid=zatca.uuid or issued.uuid,
        counter=zatca.invoice_counter_value,
        hash=zatca.invoice_hash,
        previous_hash=zatca.previous_invoice_hash,
        qr=zatca.qr_code,
        warnings=tuple(f"{each.code}: {each.message}" for each in zatca.warnings),
        errors=tuple(f"{each.code}: {each.message}" for each in zatca.errors),
    )


def _texts(diagnostics: Sequence[Any], severity: int) -> tuple[str, ...]:
    return tuple(f"{each.code}: {each.message}" for each in diagnostics if each.severity == severity)


# The stamped document


def artifact_request(issued: IssuedLeg) -> ListDocumentArtifactsRequest:
    """What is asked for by `stamped_xml`."""
    return ListDocumentArtifactsRequest(document_key=issued.key, regulation_ids=[_REGULATION])


def xml_in(answer: Any, issued: IssuedLeg) -> bytes:
    """The stamped XML among the artifacts. Raises RequestError if there is none of this document."""
    for item in answer.items:
        if "xml" in item.content_type and issued.hash in ("", invoice_hash(item.artifact)):
            return bytes(item.artifact)
    hint = "freeze the document, and wait until its submission is final"
    raise RequestError("key", issued.key, hint, "has no stamped XML")
