"""The sandbox's tax authority: what becomes of a document from the moment it is frozen.

`issue` gives a document its place in its branch's chain, stamps it, checks it by ZATCA's rules, and keeps what the
authority answers. Both surfaces use it; a branch has one chain and one counter for both. This room must not know what a
document looked like before it was XML, nor open transactions: it runs in the caller's, so that a counter is never used
up by a document that was not kept.

A submission is kept with the answer that the authority gives in the end. Until `submitted_at` the answer has not come
yet: what is read before is PENDING / NOT_SUBMITTED. Whether the authority can be reached is settled at freezing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal
from uuid import NAMESPACE_OID, uuid5

import grpc
from google.protobuf.json_format import MessageToDict

from invora_api.documents.v2 import models_pb2 as documents_v2
from invora_api.regulations.zatca.v1 import models_pb2 as zatca_v1
from invora_grpc.errors import RequestError
from invora_grpc.sandbox.model import Record
from invora_grpc.sandbox.onboarding import credentials, require_onboarded
from invora_grpc.sandbox.sellers import REGULATION as REGULATION
from invora_grpc.sandbox.sellers import branch_of as branch_of
from invora_grpc.sandbox.service import Call, Fault, failed_precondition
from invora_grpc.sandbox.standing import conditions as conditions
from invora_grpc.sandbox.ubl_facts import Facts, chained, facts_of
from invora_grpc.zatca.hashing import FIRST_HASH
from invora_grpc.zatca.stamping import stamp

Surface = Literal["simple.invoices", "simple.credit_notes", "simple.debit_notes", "documents"]
"""Where a document's key is unique. The same key on two surfaces names two documents."""
SURFACES: Final[tuple[Surface, ...]] = ("simple.invoices", "simple.credit_notes", "simple.debit_notes", "documents")

SIGNED_XML: Final = "signed-xml"
QR_CODE: Final = "qr-code"
_SUBMISSIONS = "regulations.submissions"
_SIGNED = "regulations.signed_xml"
LEDGER: Final = "simple.ledger"
"""Records of this kind hold the last hash of each branch's chain, and what each corrected invoice still claims."""
_UNREACHABLE = "AUTHORITY_UNREACHABLE"

_ZATCA = zatca_v1.ZatcaSubmissionStatus
_GENERIC = documents_v2.RegulationSubmissionStatus


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that the authority found in a document."""

    code: str
    """The rule, e.g. BR-KSA-63."""
    category: str
    """KSA, EN_16931, XSD; SUBMISSION where it is not about the document."""
    message: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a submission produced."""

    id: str
    content_type: str
    content: bytes

    @property
    def hash(self) -> str:
        """SHA-256 of the bytes, hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of one frozen document, as known at one moment."""

    surface: Surface
    key: str
    branch_id: str
    """Id of the branch's record; "" in a tenant without branches."""
    document_type: documents_v2.DocumentType
    standard: bool
    """Cleared before it is handed over; a simplified document is reported."""
    issue_date: date
    """In Riyadh."""
    uuid: str
    counter: int
    previous_hash: str
    hash: str
    qr: str
    xml_hash: str
    xml_size: int
    updated_at: datetime
    status: zatca_v1.ZatcaSubmissionStatus = zatca_v1.ZATCA_SUBMISSION_STATUS_NOT_SUBMITTED
    regulation_status: documents_v2.RegulationSubmissionStatus = documents_v2.REGULATION_SUBMISSION_STATUS_NOT_SUBMITTED
    warnings: tuple[Notice, ...] = ()
    errors: tuple[Notice, ...] = ()
    submitted_at: datetime | None = None
    overridden: str = ""
    """Why the status was set by hand."""

    def metadata(self) -> zatca_v1.ZatcaRegulationMetadata:
        """As Simple documents carry it in `zatca`."""
        told = zatca_v1.ZatcaRegulationMetadata(
            status=self.status,
            invoice_hash=self.hash,
            warnings=[zatca_v1.ZatcaValidationResult(**asdict(one)) for one in self.warnings],
            errors=[zatca_v1.ZatcaValidationResult(**asdict(one)) for one in self.errors],
            qr_code=self.qr,
            uuid=self.uuid,
            invoice_counter_value=self.counter,
            previous_invoice_hash=self.previous_hash,
        )
        if self.submitted_at:
            told.submitted_at.FromDatetime(self.submitted_at)
        if self.regulation_status in ACCEPTED:
            told.zatca_reference_id = str(uuid5(NAMESPACE_OID, self.hash))
            told.clearance_id = told.zatca_reference_id if self.standard else ""
        return told

    def entry(self) -> documents_v2.RegulationEntry:
        """As documents/v2 carry it in `regulation_metadata.entries["zatca"]`, and ListDocumentRegulations tells it."""
        told = documents_v2.RegulationEntry(status=self.regulation_status, diagnostics=self._diagnostics())
        told.metadata.update(MessageToDict(self.metadata()))
        if self.submitted_at:
            told.submitted_at.FromDatetime(self.submitted_at)
        qr = Artifact(QR_CODE, "text/plain", self.qr.encode())
        for id, kind, digest, size in (
            (SIGNED_XML, "application/xml", self.xml_hash, self.xml_size),
            (qr.id, qr.content_type, qr.hash, len(qr.content)),
        ):
            artifact = told.artifacts.add(id=id, content_type=kind, hash=digest, size_bytes=size)
            document_type = documents_v2.DocumentType.Name(self.document_type)
            artifact.metadata.update({"surface": self.surface, "documentType": document_type})
        return told

    def _diagnostics(self) -> list[documents_v2.RegulationDiagnostic]:
        severities = (
            (self.errors, documents_v2.REGULATION_DIAGNOSTIC_SEVERITY_ERROR),
            (self.warnings, documents_v2.REGULATION_DIAGNOSTIC_SEVERITY_WARNING),
        )
        told = [
            documents_v2.RegulationDiagnostic(code=one.code, message=one.message, severity=severity)
            for notices, severity in severities
            for one in notices
        ]
        if self.overridden:
            info = documents_v2.REGULATION_DIAGNOSTIC_SEVERITY_INFO
            told.append(documents_v2.RegulationDiagnostic(code="OVERRIDDEN", message=self.overridden, severity=info))
        return told


ACCEPTED: Final = (
    documents_v2.REGULATION_SUBMISSION_STATUS_ACCEPTED,
    documents_v2.REGULATION_SUBMISSION_STATUS_ACCEPTED_WITH_WARNINGS,
)
_FINAL: Final = {
    (True, True): zatca_v1.ZATCA_SUBMISSION_STATUS_CLEARED,
    (True, False): zatca_v1.ZATCA_SUBMISSION_STATUS_NOT_CLEARED,
    (False, True): zatca_v1.ZATCA_SUBMISSION_STATUS_REPORTED,
    (False, False): zatca_v1.ZATCA_SUBMISSION_STATUS_NOT_REPORTED,
}
"""(standard, accepted) → ZATCA's status."""


# Freezing


def issue(call: Call, *, surface: Surface, key: str, xml: bytes, branch: Record | None) -> Submission:
    """Number, chain, stamp, check and submit a document: UBL Invoice XML with ID and UUID.

    Counter, previous hash, QR code and stamp are written here, over those that it has. Errors that the check finds do
    not raise: the submission is NOT_CLEARED / NOT_REPORTED. A surface that refuses such documents checks them first.
    Raises Fault, FAILED_PRECONDITION: NOT_ONBOARDED, or CANNOT_BE_STAMPED as what a QR code must hold is missing or too
    long.
    """
    require_onboarded(call, branch)
    place = branch.id if branch else ""
    previous = recall(call, f"chain/{place}") or FIRST_HASH
    counter = call.store.next_number(call.org_id, f"simple.chain/{place}")
    try:
        stamped = stamp(chained(xml, counter, previous), *credentials(call, branch), at=call.now)
    except RequestError as problem:
        raise failed_precondition(f"the document cannot be stamped: {problem}", "CANNOT_BE_STAMPED") from None
    facts = facts_of(stamped.xml)
    remember(call, f"chain/{place}", stamped.hash)
    submission = Submission(
        surface=surface,
        key=key,
        branch_id=place,
        document_type=_document_type(facts),
        standard=facts.standard,
        issue_date=facts.issue_date or call.now.date(),
        uuid=facts.uuid,
        counter=counter,
        previous_hash=previous,
        hash=stamped.hash,
        qr=stamped.qr,
        xml_hash=hashlib.sha256(stamped.xml).hexdigest(),
        xml_size=len(stamped.xml),
        updated_at=call.now,
    )
    id = _id(surface, key)
    call.store.insert(call.org_id, _SIGNED, Record(id, id, body=stamped.xml))
    submission = _submitted(call, submission, stamped.xml)
    call.store.insert(call.org_id, _SUBMISSIONS, _record(submission))
    return _seen(submission, call.now)


def _submitted(call: Call, submission: Submission, xml: bytes) -> Submission:
    """The submission with the authority's answer to it."""
    standing = conditions(call.store)
    if not standing.reachable:
        notice = Notice(_UNREACHABLE, "SUBMISSION", "the authority could not be reached; call RetrySubmission later")
        failed, error = zatca_v1.ZATCA_SUBMISSION_STATUS_FAILED, documents_v2.REGULATION_SUBMISSION_STATUS_ERROR
        return replace(submission, status=failed, regulation_status=error, errors=(notice,))
    from invora_grpc.zatca.checking import check  # loading the rules takes time that a start should not

    findings = check(xml, now=call.now)
    errors = tuple(_notice(one) for one in findings if one.severity == "error")
    warnings = tuple(_notice(one) for one in findings if one.severity != "error")
    generic = documents_v2.REGULATION_SUBMISSION_STATUS_REJECTED if errors else ACCEPTED[bool(warnings)]
    delay = timedelta(seconds=0 if submission.standard else standing.reporting_delay)
    return replace(
        submission,
        status=_FINAL[submission.standard, not errors],
        regulation_status=generic,
        warnings=warnings,
        errors=errors,
        submitted_at=call.now + delay,
        updated_at=call.now + delay,
    )


def _notice(finding: Any) -> Notice:
    family = "KSA" if finding.rule.startswith("BR-KSA") else "XSD" if "XSD" in finding.rule else "EN_16931"
    return Notice(finding.rule, family, f"{finding.text} ({finding.place})" if finding.place else finding.text)


def _document_type(facts: Facts) -> documents_v2.DocumentType:
    if facts.code == "383":
        return documents_v2.DOCUMENT_TYPE_DEBIT_NOTE
    kinds = {
        (False, False): documents_v2.DOCUMENT_TYPE_INVOICE,
        (False, True): documents_v2.DOCUMENT_TYPE_SELF_BILLED_INVOICE,
        (True, False): documents_v2.DOCUMENT_TYPE_CREDIT_NOTE,
        (True, True): documents_v2.DOCUMENT_TYPE_SELF_BILLED_CREDIT_NOTE,
    }
    return kinds[facts.code == "381", facts.self_billed]


# Reading


def submission_of(call: Call, surface: Surface, key: str) -> Submission | None:
    """The submission of a frozen document of the call's tenant, as of the call's time."""
    record = call.store.by_key(call.org_id, _SUBMISSIONS, _id(surface, key))
    return _seen(_kept(record), call.now) if record else None


def submissions(call: Call) -> list[Submission]:
    """All submissions of the call's tenant, oldest first, as of the call's time."""
    return [_seen(_kept(record), call.now) for record in call.store.all(call.org_id, _SUBMISSIONS)]


def signed_xml(call: Call, submission: Submission) -> bytes:
    """The stamped XML of a submission."""
    return call.store.get(call.org_id, _SIGNED, _id(submission.surface, submission.key)).body


def artifacts_of(call: Call, submission: Submission) -> tuple[Artifact, ...]:
    """The files of a submission: its stamped XML, and the text of its QR code."""
    return (
        Artifact(SIGNED_XML, "application/xml", signed_xml(call, submission)),
        Artifact(QR_CODE, "text/plain", submission.qr.encode()),
    )


def _seen(submission: Submission, now: datetime) -> Submission:
    """The submission as far as it is known at this time."""
    if submission.submitted_at is None or submission.submitted_at <= now:
        return submission
    return replace(
        submission,
        status=zatca_v1.ZATCA_SUBMISSION_STATUS_NOT_SUBMITTED,
        regulation_status=documents_v2.REGULATION_SUBMISSION_STATUS_PENDING,
        warnings=(),
        errors=(),
        submitted_at=None,
        updated_at=now,
    )


# Later


def retry(call: Call, submission: Submission) -> Submission:
    """Submit once more what could not be submitted.

    Raises Fault: UNAVAILABLE while the authority cannot be reached, FAILED_PRECONDITION if it has answered already.
    """
    if submission.regulation_status != documents_v2.REGULATION_SUBMISSION_STATUS_ERROR:
        name = _GENERIC.Name(submission.regulation_status).removeprefix("REGULATION_SUBMISSION_STATUS_")
        text = f"the submission did not fail, it is {name}: only one in ERROR can be tried again"
        raise failed_precondition(text, "SUBMISSION_NOT_FAILED")
    if not conditions(call.store).reachable:
        text = "the authority cannot be reached; wait and try again"
        raise Fault(grpc.StatusCode.UNAVAILABLE, text, reason=_UNREACHABLE)
    return _changed(call, _submitted(call, replace(submission, errors=(), overridden=""), signed_xml(call, submission)))


def override(
    call: Call, submission: Submission, status: documents_v2.RegulationSubmissionStatus, reason: str
) -> Submission:
    """Set the status by hand: ZATCA's own follows it."""
    waiting = (
        documents_v2.REGULATION_SUBMISSION_STATUS_NOT_SUBMITTED,
        documents_v2.REGULATION_SUBMISSION_STATUS_PENDING,
    )
    if status == documents_v2.REGULATION_SUBMISSION_STATUS_ERROR:
        zatca = zatca_v1.ZATCA_SUBMISSION_STATUS_FAILED
    elif status in waiting:
        zatca = zatca_v1.ZATCA_SUBMISSION_STATUS_NOT_SUBMITTED
    else:
        zatca = _FINAL[submission.standard, status in ACCEPTED]
    made = replace(submission, status=zatca, regulation_status=status, overridden=reason, updated_at=call.now)
    return _changed(call, made)


def _changed(call: Call, submission: Submission) -> Submission:
    call.store.replace(call.org_id, _SUBMISSIONS, _record(submission))
    return _seen(submission, call.now)


# Keeping


def recall(call: Call, name: str) -> str:
    """What the tenant's ledger holds under this name; "" if nothing."""
    record = call.store.by_key(call.org_id, LEDGER, name)
    return record.body.decode() if record else ""


def remember(call: Call, name: str, text: str) -> None:
    """Write it into the tenant's ledger."""
    known = call.store.by_key(call.org_id, LEDGER, name)
    write = call.store.replace if known else call.store.insert
    write(call.org_id, LEDGER, Record(id=name, key=name, body=text.encode()))


def _id(surface: Surface, key: str) -> str:
    return f"{surface}/{key}"


def _record(submission: Submission) -> Record:
    id, state = _id(submission.surface, submission.key), _ZATCA.Name(submission.status)
    return Record(id, id, state=state, body=json.dumps(asdict(submission), default=_text).encode())


def _text(value: date) -> str:
    return value.isoformat()


def _kept(record: Record) -> Submission:
    told = json.loads(record.body)
    for name in ("warnings", "errors"):
        told[name] = tuple(Notice(**one) for one in told[name])
    told["issue_date"] = date.fromisoformat(told["issue_date"])
    told["updated_at"] = datetime.fromisoformat(told["updated_at"]).astimezone(UTC)
    if told["submitted_at"]:
        told["submitted_at"] = datetime.fromisoformat(told["submitted_at"]).astimezone(UTC)
    return Submission(**told)
