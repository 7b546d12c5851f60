"""The sandbox's impersonation and platform enrollment, and the registry of all four identity services.

An impersonation is a short-lived token for a user of one of the caller's connected businesses. An application for
platform status is decided in the call that makes it, by a rule that a test can steer. Registration and connected
businesses have rooms of their own.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Final

import grpc

from invora_api.identity.v2 import impersonation_service_pb2 as impersonation
from invora_api.identity.v2 import platform_application_service_pb2 as application
from invora_grpc.sandbox import businesses, registration
from invora_grpc.sandbox.businesses import check_email, live_child
from invora_grpc.sandbox.gate import IMPERSONATOR
from invora_grpc.sandbox.idp import issue_token
from invora_grpc.sandbox.model import MissingRecord, Organization, Record
from invora_grpc.sandbox.service import (
    Call,
    Fault,
    Registry,
    Wrong,
    failed_precondition,
    invalid,
    not_found,
    noting,
    refuse,
    registry,
)

IMPERSONATION_SECONDS: Final = 900
MOST_CONNECTED_BUSINESSES: Final = 1000
"""An application that expects more is rejected."""

_APPLICATION = "identity.platform_application"


# Impersonation


def _begin(call: Call, request: impersonation.BeginImpersonationRequest) -> impersonation.BeginImpersonationResponse:
    """A token for a user of a connected business. The sandbox's users are its clients: the user's id is a client id.

    The token belongs to a client of its own that nobody can sign in with, so that ending it ends nothing else.
    """
    if call.caller.impersonator:
        raise failed_precondition("an impersonation cannot begin another one; end it first", "IMPERSONATING")
    if not request.target_user_id:
        raise invalid("target_user_id", "name a user: the client id of a connected business")
    user = call.store.client(request.target_user_id)
    target = live_child(call, user.org_id) if user and user.active else None
    if user is None or target is None or request.target_org_id not in ("", target.org_id):
        raise not_found("user to impersonate", request.target_user_id)
    if target.state == "suspended":
        raise failed_precondition("the user's organization is suspended; reactivate it first", "ORGANIZATION_SUSPENDED")
    roles = [role for role, orgs in user.roles.items() if target.org_id in orgs]
    client_id, _ = call.store.create_client(target.org_id, roles=(*roles, IMPERSONATOR), name="impersonation")
    client = call.store.client(client_id)
    assert client is not None
    token = issue_token(
        call.store,
        call.issuer,
        client=client,
        lifetime=IMPERSONATION_SECONDS,
        subject=user.client_id,
        act={"sub": call.caller.subject},
    )
    return impersonation.BeginImpersonationResponse(
        access_token=token,
        expires_in=IMPERSONATION_SECONDS,
        token_type="Bearer",
        actor_email=_email_of(call.store.organization(call.caller.org_id), call.caller.subject),
        target_email=_email_of(target, user.client_id),
        target_org_id=target.org_id,
    )


def _email_of(organization: Organization, user_id: str) -> str:
    return str(organization.data.get("admin_email") or f"{user_id}@sandbox.invalid")


def _end(call: Call, request: impersonation.EndImpersonationRequest) -> impersonation.EndImpersonationResponse:
    """Works while the business is suspended, too, which has ended the impersonation already."""
    if not call.caller.impersonator:
        raise failed_precondition("call this with the impersonation's own token", "NOT_IMPERSONATING")
    call.store.set_client_active(call.caller.client_id, False)
    return impersonation.EndImpersonationResponse()


# Platform enrollment


def _submit(
    call: Call, request: application.SubmitPlatformApplicationRequest
) -> application.SubmitPlatformApplicationResponse:
    kind = call.store.organization(call.org_id).kind
    if kind != "standalone":
        raise failed_precondition(f"a {kind} organization cannot apply for platform status", "NOT_STANDALONE")
    held = _application(call)
    if held and held.decision == application.PLATFORM_APPLICATION_DECISION_INFO_REQUESTED:
        raise Fault(
            grpc.StatusCode.ALREADY_EXISTS,
            "an application waits for more information; amend it with ResubmitPlatformApplication",
            reason="APPLICATION_OPEN",
            metadata={"application_id": held.application_id},
        )
    decided = _decide(call, request.input, f"app_{secrets.token_hex(12)}")
    return application.SubmitPlatformApplicationResponse(application=decided)


def _resubmit(
    call: Call, request: application.ResubmitPlatformApplicationRequest
) -> application.ResubmitPlatformApplicationResponse:
    held = _application(call)
    if held is None or held.decision != application.PLATFORM_APPLICATION_DECISION_INFO_REQUESTED:
        raise failed_precondition("no application waits for more information", "NO_INFORMATION_REQUESTED")
    decided = _decide(call, request.input, held.application_id)
    return application.ResubmitPlatformApplicationResponse(application=decided)


def _get_application(
    call: Call, request: application.GetPlatformApplicationRequest
) -> application.GetPlatformApplicationResponse:
    held = _application(call)
    if held is None:
        raise not_found("platform application", call.org_id)
    return application.GetPlatformApplicationResponse(application=held)


def _decide(
    call: Call, asked: application.PlatformApplicationInput, application_id: str
) -> application.PlatformApplication:
    """Decide at once, as nobody reviews a sandbox's applications, and keep the application with its decision."""
    _check(asked)
    decision, reason = _decision(asked)
    decided = application.PlatformApplication(
        application_id=application_id, input=asked, decision=decision, decision_reason=reason
    )
    decided.submitted_at.FromDatetime(call.now)
    decided.decided_at.FromDatetime(call.now)
    body = decided.SerializeToString()
    try:
        record = replace(call.store.get(call.org_id, _APPLICATION, "current"), body=body)
        call.store.replace(call.org_id, _APPLICATION, record)
    except MissingRecord:
        call.store.insert(call.org_id, _APPLICATION, Record("current", body=body))
    if decision == application.PLATFORM_APPLICATION_DECISION_APPROVED:
        call.store.update_organization(call.org_id, kind="platform")
    return decided


def _decision(
    asked: application.PlatformApplicationInput,
) -> tuple[application.PlatformApplicationDecision, str]:
    if asked.expected_connected_businesses > MOST_CONNECTED_BUSINESSES:
        reason = f"a platform has at most {MOST_CONNECTED_BUSINESSES} connected businesses"
        return application.PLATFORM_APPLICATION_DECISION_REJECTED, reason
    if asked.expected_monthly_volume == 0:
        reason = "tell how many documents a month you expect over all connected businesses"
        return application.PLATFORM_APPLICATION_DECISION_INFO_REQUESTED, reason
    return application.PLATFORM_APPLICATION_DECISION_APPROVED, ""


def _check(asked: application.PlatformApplicationInput) -> None:
    wrong: Wrong = []
    if not asked.reason.strip():
        wrong.append(("input.reason", "tell why the business needs to manage others"))
    if asked.expected_connected_businesses == 0:
        wrong.append(("input.expected_connected_businesses", "is at least 1"))
    with noting(wrong):
        check_email("input.technical_contact_email", asked.technical_contact_email)
    if not asked.terms_accepted:
        wrong.append(("input.terms_accepted", "the terms must be accepted"))
    refuse(wrong)


def _application(call: Call) -> application.PlatformApplication | None:
    try:
        record = call.store.get(call.org_id, _APPLICATION, "current")
    except MissingRecord:
        return None
    return application.PlatformApplication.FromString(record.body)


REGISTRY: Final[Registry] = {
    **registration.REGISTRY,
    **businesses.REGISTRY,
    **registry(
        "invora.identity.v2.ImpersonationService",
        BeginImpersonation=_begin,
        EndImpersonation=_end,
    ),
    **registry(
        "invora.identity.v2.PlatformEnrollmentService",
        SubmitPlatformApplication=_submit,
        ResubmitPlatformApplication=_resubmit,
        GetPlatformApplication=_get_application,
    ),
}
