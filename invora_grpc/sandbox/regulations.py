"""What the regulations demand, and what became of the documents that were submitted: RegulationInfoService.

A document's key is unique on its surface only, so one key may name several documents of a tenant. What lists answers
all of them, the latest first; what is about one document refuses such a key. This room tells what `authority` knows and
decides nothing itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from invora_api.branches.v2.models_pb2 import Branch
from invora_api.documents.v2 import models_pb2 as documents_v2
from invora_api.regulations.v2 import service_pb2 as pb
from invora_api.regulations.zatca.v1 import models_pb2 as zatca_v1
from invora_grpc import exact
from invora_grpc.sandbox import authority
from invora_grpc.sandbox.authority import Artifact, Submission
from invora_grpc.sandbox.listing import fill, page_of
from invora_grpc.sandbox.model import Record
from invora_grpc.sandbox.onboarding import certificates_of, is_onboarded
from invora_grpc.sandbox.regulations_known import PROFILE, REGULATIONS, regulation_of, require_served
from invora_grpc.sandbox.sellers import BRANCHES, REGULATION, branch_of
from invora_grpc.sandbox.service import Call, Registry, failed_precondition, invalid, not_found, registry

_NAME = REGULATIONS[REGULATION].display_name


# Regulations


def _list_regulations(call: Call, request: pb.ListRegulationsRequest) -> Message:
    words = request.text_search.casefold().split()
    rows = [
        one
        for one in REGULATIONS.values()
        if (one.enabled or not request.enabled_only)
        and all(word in f"{one.id} {one.display_name} {one.description}".casefold() for word in words)
    ]
    places = {id: place for place, id in enumerate(REGULATIONS)}
    page = page_of(call, rows, request, value=_no_filter, text=lambda _: "", order=lambda one: places[one.id])
    return fill(pb.ListRegulationsResponse, page, page.items)


def _no_filter(row: pb.Regulation, field: str) -> object:
    raise KeyError(field)


def _get_regulation(call: Call, request: pb.GetRegulationRequest) -> pb.GetRegulationResponse:
    return pb.GetRegulationResponse(regulation=regulation_of(request.regulation_id))


def _list_profiles(call: Call, request: pb.ListValidationProfilesRequest) -> pb.ListValidationProfilesResponse:
    if request.HasField("regulation_id") and regulation_of(request.regulation_id).id != REGULATION:
        return pb.ListValidationProfilesResponse()
    return pb.ListValidationProfilesResponse(items=[PROFILE])


# Status of the tenant and its branches


def _get_status(call: Call, request: pb.GetRegulationStatusRequest) -> pb.GetRegulationStatusResponse:
    regulation = regulation_of(request.regulation_id)
    branch = _branch(call, request.branch_id) if request.branch_id else None
    if not regulation.enabled:
        return pb.GetRegulationStatusResponse(status=pb.RegulationStatus(regulation_id=regulation.id))
    return pb.GetRegulationStatusResponse(status=_status(call, branch))


def _list_branches(call: Call, request: Any) -> pb.ListBranchRegulationStatusesResponse:
    require_served(request.regulation_id)
    branches = call.store.all(call.org_id, BRANCHES)
    return pb.ListBranchRegulationStatusesResponse(items=[_status(call, branch) for branch in branches])


def _branch(call: Call, branch_id: str) -> Record:
    found = branch_of(call, branch_id)
    if found is None:
        raise not_found("branch", branch_id)
    return found


def _status(call: Call, branch: Record | None) -> pb.RegulationStatus:
    """The regulation's state in a branch, or (None) in the whole tenant."""
    issuing = branch or branch_of(call, "")
    status = pb.RegulationStatus(regulation_id=REGULATION, enabled=True, onboarded=is_onboarded(call, issuing))
    if branch is not None:
        status.branch_id, status.branch_name = branch.key or branch.id, Branch.FromString(branch.body).name
    status.status_details.update(MessageToDict(tenant_status(call, branch)))
    return status


def tenant_status(call: Call, branch: Record | None) -> zatca_v1.ZatcaTenantStatus:
    """Certificates and numbers of documents of a branch, or (None) of the whole tenant."""
    issuing = branch or branch_of(call, "")
    ends, onboarded = certificates_of(call, issuing), is_onboarded(call, issuing)
    told = zatca_v1.ZatcaTenantStatus(
        compliance_csid_issued=onboarded or ends.compliance is not None, production_csid_issued=onboarded
    )
    if ends.compliance:
        told.compliance_csid_expiry.FromDatetime(ends.compliance)
    if ends.production:
        told.production_csid_expiry.FromDatetime(ends.production)
    statuses = Counter(
        one.regulation_status for one in authority.submissions(call) if branch is None or one.branch_id == branch.id
    )
    told.total_accepted = sum(statuses[status] for status in authority.ACCEPTED)
    told.total_rejected = statuses[documents_v2.REGULATION_SUBMISSION_STATUS_REJECTED]
    told.total_submitted = told.total_accepted + told.total_rejected
    return told


# Documents


def _found(call: Call, key: str) -> list[Submission]:
    """What was submitted under this key, the latest first. Raises NOT_FOUND."""
    told = [authority.submission_of(call, surface, key) for surface in authority.SURFACES]
    found = sorted((one for one in told if one), key=lambda one: (one.updated_at, one.counter), reverse=True)
    if not found:
        raise not_found("frozen document", key)
    return found


def _one(call: Call, regulation_id: str, key: str) -> Submission:
    """The only document with this key. Raises NOT_FOUND, FAILED_PRECONDITION if there are several."""
    require_served(regulation_id)
    found = _found(call, key)
    if len(found) > 1:
        surfaces = ", ".join(one.surface for one in found)
        text = f"several documents have the key {key!r} ({surfaces}); ListDocumentArtifacts tells about all of them"
        raise failed_precondition(text, "AMBIGUOUS_KEY")
    return found[0]


def _list_document(call: Call, request: pb.ListDocumentRegulationsRequest) -> pb.ListDocumentRegulationsResponse:
    return pb.ListDocumentRegulationsResponse(items=[_summary(one) for one in _found(call, request.document_key)])


def _summary(submission: Submission) -> pb.DocumentRegulationSummary:
    entry = submission.entry()
    told = pb.DocumentRegulationSummary(
        regulation_id=REGULATION,
        regulation_name=_NAME,
        submission_status=entry.status,
        diagnostics=entry.diagnostics,
        artifacts=entry.artifacts,
        metadata=entry.metadata,
    )
    if entry.HasField("submitted_at"):
        told.submitted_at.CopyFrom(entry.submitted_at)
    told.last_updated_at.FromDatetime(submission.updated_at)
    return told


def _retry(call: Call, request: pb.RetrySubmissionRequest) -> pb.RetrySubmissionResponse:
    made = authority.retry(call, _one(call, request.regulation_id, request.document_key))
    return pb.RetrySubmissionResponse(status=_status_of(call, made))


def _override(call: Call, request: pb.OverrideSubmissionStatusRequest) -> pb.OverrideSubmissionStatusResponse:
    if not request.reason.strip():
        raise invalid("reason", "is required: why the status is set by hand")
    if request.new_status not in documents_v2.RegulationSubmissionStatus.values()[1:]:
        raise invalid("new_status", "is required: the status to set")
    submission = _one(call, request.regulation_id, request.document_key)
    made = authority.override(call, submission, request.new_status, request.reason.strip())
    return pb.OverrideSubmissionStatusResponse(status=_status_of(call, made))


def _status_of(call: Call, submission: Submission) -> pb.RegulationStatus:
    return _status(call, branch_of(call, submission.branch_id) if submission.branch_id else None)


# Artifacts


def _get_artifact(call: Call, request: pb.GetArtifactRequest) -> pb.GetArtifactResponse:
    submission = _one(call, request.regulation_id, request.document_key)
    wanted = request.artifact_id or authority.SIGNED_XML
    for artifact in authority.artifacts_of(call, submission):
        if artifact.id == wanted:
            return pb.GetArtifactResponse(
                artifact=artifact.content, content_type=artifact.content_type, artifact_hash=artifact.hash
            )
    raise not_found("artifact", wanted)


def _list_artifacts(call: Call, request: pb.ListDocumentArtifactsRequest) -> pb.ListDocumentArtifactsResponse:
    found = _found(call, request.document_key)
    if request.regulation_ids and REGULATION not in request.regulation_ids:
        return pb.ListDocumentArtifactsResponse()
    return pb.ListDocumentArtifactsResponse(
        items=[
            _artifact(submission, artifact)
            for submission in found
            for artifact in authority.artifacts_of(call, submission)
        ]
    )


def _artifact(submission: Submission, artifact: Artifact) -> pb.DocumentArtifact:
    return pb.DocumentArtifact(
        regulation_id=REGULATION,
        artifact=artifact.content,
        content_type=artifact.content_type,
        artifact_hash=artifact.hash,
        submission_status=submission.regulation_status,
        artifact_id=artifact.id,
    )


def _export(call: Call, request: pb.ExportArtifactsRequest) -> Iterator[pb.ExportArtifactsResponse]:
    """One message per artifact, in the order in which the documents were frozen."""
    require_served(request.regulation_id)
    first, last = _day(request, "issue_date_from"), _day(request, "issue_date_to")
    if last < first:
        raise invalid("issue_date_to", f"must not be before issue_date_from, {first}")
    branch = _branch(call, request.branch_id).id if request.branch_id else None
    for submission in authority.submissions(call):
        if (
            first <= submission.issue_date <= last
            and branch in (None, submission.branch_id)
            and submission.document_type in (request.document_types or (submission.document_type,))
            and submission.regulation_status in (request.statuses or (submission.regulation_status,))
        ):
            for artifact in authority.artifacts_of(call, submission):
                if artifact.id in (request.artifact_ids or (artifact.id,)):
                    yield _exported(submission, artifact)


def _day(request: pb.ExportArtifactsRequest, field: str) -> date:
    day = getattr(request, field)
    try:
        return exact.date_of(day.year, day.month, day.day)
    except ValueError as problem:
        raise invalid(field, f"must be a day: {problem}") from None


def _exported(submission: Submission, artifact: Artifact) -> pb.ExportArtifactsResponse:
    told = pb.ExportArtifactsResponse(
        document_key=submission.key,
        document_type=submission.document_type,
        submission_status=submission.regulation_status,
        artifact_id=artifact.id,
        content_type=artifact.content_type,
        artifact_hash=artifact.hash,
        artifact_bytes=artifact.content,
    )
    told.metadata.update(MessageToDict(submission.metadata()))
    return told


REGISTRY: Final[Registry] = registry(
    "invora.regulations.v2.RegulationInfoService",
    ListRegulations=_list_regulations,
    GetRegulation=_get_regulation,
    GetRegulationStatus=_get_status,
    ListBranchRegulationStatuses=_list_branches,
    RetrySubmission=_retry,
    OverrideSubmissionStatus=_override,
    GetArtifact=_get_artifact,
    ListDocumentRegulations=_list_document,
    ListDocumentArtifacts=_list_artifacts,
    ListValidationProfiles=_list_profiles,
    ExportArtifacts=_export,
)
