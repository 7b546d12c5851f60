"""The sandbox's connected businesses: a platform makes, changes, suspends and deletes them.

A connected business is an organization whose parent is the platform; what it was created with is kept in its data. Its
status is PROVISIONING in the answer to its creation and ACTIVE from then on. A deleted one stays in the store as
"destroying", where nobody finds it. This room lets a platform see its own businesses only: whatever else exists is
NOT_FOUND.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Final

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from invora_api.branches.v2 import models_pb2 as branches
from invora_api.identity.v2 import platform_enrollment_service_pb2 as pb
from invora_grpc.sandbox.gate import IMPERSONATOR, OWNER
from invora_grpc.sandbox.listing import fill, page_of
from invora_grpc.sandbox.model import Organization
from invora_grpc.sandbox.onboarding import expect_onboarding
from invora_grpc.sandbox.registration import (
    MACHINE,
    business_name,
    grant_connected,
    live_businesses,
    plan_limit,
    profile,
)
from invora_grpc.sandbox.service import (
    Call,
    Fault,
    Registry,
    Wrong,
    echo,
    failed_precondition,
    invalid,
    not_found,
    noting,
    refuse,
    registry,
    stale_stamp,
)
from invora_grpc.sandbox.store import Store

_BRANCHES = "invoicing.branches"
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_LONGEST_EMAIL = 254
_STATUSES = {
    "active": pb.CONNECTED_BUSINESS_STATUS_ACTIVE,
    "suspended": pb.CONNECTED_BUSINESS_STATUS_SUSPENDED,
}


def connect(
    store: Store, parent: Organization, name: str, admin_email: str, creator: str
) -> tuple[Organization, str, str]:
    """Add a connected business to a platform: the organization, its client's id and secret.

    Every client of the platform gets the roles there that it has at home.
    """
    data = {
        "admin_email": admin_email,
        "profile": parent.data.get("profile", profile("SA", ())),
        "creator": creator,
        "modifier": creator,
    }
    business = store.create_organization(name, "connected", parent_org_id=parent.org_id, data=data)
    client_id, secret = store.create_client(business.org_id, roles=(OWNER,), name=MACHINE)
    for client in store.clients(parent.org_id):
        grant_connected(store, client, (business,))
    return business, client_id, secret


def _create(call: Call, request: pb.CreateConnectedBusinessRequest) -> pb.CreateConnectedBusinessResponse:
    platform = _platform(call)
    name, wrong = request.name, Wrong()
    with noting(wrong):
        name = business_name("name", request.name)
    with noting(wrong):
        check_email("admin_email", request.admin_email)
    refuse(wrong)
    _check_name_free(call, name)
    _check_plan(call, platform)
    business, client_id, secret = connect(call.store, platform, name, request.admin_email, call.caller.subject)
    expect_onboarding(call.store, business.org_id)
    told = _business(business)
    told.status = pb.CONNECTED_BUSINESS_STATUS_PROVISIONING
    return pb.CreateConnectedBusinessResponse(connected_business=told, client_id=client_id, client_secret=secret)


def _update(call: Call, request: pb.UpdateConnectedBusinessRequest) -> pb.UpdateConnectedBusinessResponse:
    """The schema gives a connected business no stamp of its own, so the time of its last change is taken for one.

    An empty concurrency_stamp is accepted; another must be audit.last_modification_time as JSON writes it.
    """
    business = _child(call, request.tenant_id)
    if request.concurrency_stamp not in ("", _modified(business).ToJsonString()):
        raise stale_stamp("connected business", business.org_id)
    for path in request.mask.paths:
        if path != "name":
            raise invalid("mask", f"{echo(path)} cannot be changed; only name can")
    if not request.HasField("name") and not request.mask.paths:
        return pb.UpdateConnectedBusinessResponse(connected_business=_business(business))
    name = business_name("name", request.name)
    _check_name_free(call, name, but=business.org_id)
    changed = _change(call, business, name=name)
    return pb.UpdateConnectedBusinessResponse(connected_business=_business(changed))


def _delete(call: Call, request: pb.DeleteConnectedBusinessRequest) -> pb.DeleteConnectedBusinessResponse:
    business = _child(call, request.tenant_id)
    _change(call, business, state="destroying")
    for client in call.store.clients(business.org_id):
        call.store.set_client_active(client.client_id, False)
    for client in call.store.clients(call.org_id):
        call.store.revoke_roles(client.client_id, business.org_id)
    return pb.DeleteConnectedBusinessResponse()


def _list(call: Call, request: pb.ListConnectedBusinessesRequest) -> Message:
    _platform(call)
    every = call.store.connected(call.org_id)
    places = {business.org_id: place for place, business in enumerate(every)}
    live = [business for business in every if business.state != "destroying"]
    page = page_of(
        call, live, request, value=_filtered, text=lambda one: one.name, order=lambda one: places[one.org_id]
    )
    return fill(pb.ListConnectedBusinessesResponse, page, [_business(business) for business in page.items])


def _filtered(business: Organization, field: str) -> object:
    if field == "status":
        return _STATUSES[business.state]
    if field == "country":
        return business.data["profile"]["country"]
    if field == "created_at":
        return _timestamp(business.created_at).ToDatetime(UTC)
    raise KeyError(field)


def _get(call: Call, request: pb.GetConnectedBusinessRequest) -> pb.GetConnectedBusinessResponse:
    return pb.GetConnectedBusinessResponse(connected_business=_business(_child(call, request.tenant_id)))


def _suspend(call: Call, request: pb.SuspendConnectedBusinessRequest) -> pb.SuspendConnectedBusinessResponse:
    """Ends the impersonations in the business, too: they do not come back when it is reactivated."""
    business = _child(call, request.tenant_id)
    if not request.reason.strip():
        raise invalid("reason", "a reason is required, for the audit trail")
    if business.state == "suspended":
        raise failed_precondition("this connected business is suspended already", "SUSPENDED_ALREADY")
    for client in call.store.clients(business.org_id):
        if IMPERSONATOR in client.roles:
            call.store.set_client_active(client.client_id, False)
    suspended = _change(call, business, state="suspended", suspension_reason=request.reason.strip())
    return pb.SuspendConnectedBusinessResponse(connected_business=_business(suspended))


def _reactivate(call: Call, request: pb.ReactivateConnectedBusinessRequest) -> pb.ReactivateConnectedBusinessResponse:
    business = _child(call, request.tenant_id)
    if business.state != "suspended":
        raise failed_precondition("this connected business is not suspended", "NOT_SUSPENDED")
    active = _change(call, business, state="active")
    return pb.ReactivateConnectedBusinessResponse(connected_business=_business(active))


def _rotate(call: Call, request: pb.RotateCredentialsRequest) -> pb.RotateCredentialsResponse:
    """The secret changes at once; tokens issued with the former one stay valid until they expire."""
    business = _child(call, request.tenant_id)
    machine = next(client for client in call.store.clients(business.org_id) if client.name == MACHINE)
    secret = call.store.rotate_secret(machine.client_id)
    return pb.RotateCredentialsResponse(client_id=machine.client_id, client_secret=secret)


@dataclass(frozen=True, slots=True)
class _Branch:
    """A branch of a connected business, with its place in the list."""

    place: int
    told: pb.ConnectedBusinessBranch


def _list_branches(call: Call, request: pb.ListConnectedBusinessBranchesRequest) -> Message:
    _platform(call)
    only = _child(call, request.tenant_id).org_id if request.HasField("tenant_id") else None
    wanted = request.text_search.casefold().split()
    rows = [
        branch
        for branch in _branches_of(call)
        if only in (None, branch.told.tenant_id)
        and all(word in f"{branch.told.branch_name} {branch.told.tenant_name}".casefold() for word in wanted)
    ]
    page = page_of(call, rows, request, value=_no_filter, text=lambda _: "", order=lambda row: row.place)
    return fill(pb.ListConnectedBusinessBranchesResponse, page, [row.told for row in page.items])


def _branches_of(call: Call) -> Iterator[_Branch]:
    for index, business in enumerate(call.store.connected(call.org_id)):
        if business.state == "destroying":
            continue
        for record in call.store.all(business.org_id, _BRANCHES):
            branch = branches.Branch.FromString(record.body)
            told = pb.ConnectedBusinessBranch(
                tenant_id=business.org_id,
                tenant_name=business.name,
                branch_id=branch.id.key,
                branch_name=branch.name,
                is_primary=branch.is_primary,
                country=branch.party.postal_address.country.identification_code.value,
            )
            yield _Branch((index << 40) + record.seq, told)


def _no_filter(row: _Branch, field: str) -> object:
    raise KeyError(field)


def _platform(call: Call) -> Organization:
    organization = call.store.organization(call.org_id)
    if organization.kind != "platform":
        raise Fault(
            grpc.StatusCode.PERMISSION_DENIED,
            "only a platform has connected businesses; apply with SubmitPlatformApplication",
            reason="NOT_A_PLATFORM",
        )
    return organization


def _child(call: Call, tenant_id: str) -> Organization:
    """A connected business of the calling platform. Raises NOT_FOUND for every other organization."""
    _platform(call)
    if not tenant_id:
        raise invalid("tenant_id", "name a connected business")
    found = live_child(call, tenant_id)
    if found is None:
        raise not_found("connected business", tenant_id)
    return found


def live_child(call: Call, tenant_id: str) -> Organization | None:
    """The connected business of the calling organization with this id, unless it was deleted."""
    live = live_businesses(call.store, call.org_id)
    return next((business for business in live if business.org_id == tenant_id), None)


def _change(
    call: Call, business: Organization, *, name: str | None = None, state: str | None = None, **told: str
) -> Organization:
    data = {**business.data, **told, "modifier": call.caller.subject, "modified_at": call.now.timestamp()}
    return call.store.update_organization(business.org_id, name=name, state=state, data=data)


def _business(business: Organization) -> pb.ConnectedBusiness:
    told = pb.ConnectedBusiness(
        tenant_id=business.org_id,
        name=business.name,
        parent_tenant_id=business.parent_org_id or "",
        status=_STATUSES[business.state],
    )
    audit = told.audit
    audit.creation_info.created_at.CopyFrom(_timestamp(business.created_at))
    audit.creation_info.creator_id.value = business.data["creator"]
    audit.last_modification_time.CopyFrom(_modified(business))
    audit.last_modifier_id.value = business.data["modifier"]
    return told


def _modified(business: Organization) -> Timestamp:
    return _timestamp(business.data.get("modified_at", business.created_at))


def _timestamp(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromMicroseconds(round(seconds * 1_000_000))
    return moment


def check_email(field: str, text: str) -> None:
    """Raises INVALID_ARGUMENT for what is no e-mail address."""
    if len(text) > _LONGEST_EMAIL or not _EMAIL.fullmatch(text):
        raise invalid(field, "is not an e-mail address")


def _check_name_free(call: Call, name: str, but: str = "") -> None:
    for business in live_businesses(call.store, call.org_id):
        if business.name.casefold() == name.casefold() and business.org_id != but:
            raise Fault(
                grpc.StatusCode.ALREADY_EXISTS,
                f"a connected business with the name {echo(business.name)} exists already",
                reason="NAME_TAKEN",
                metadata={"tenant_id": business.org_id},
            )


def _check_plan(call: Call, platform: Organization) -> None:
    limit = plan_limit(platform)
    if len(live_businesses(call.store, platform.org_id)) < limit:
        return
    text = f"the plan allows {limit} connected businesses; select a larger plan or delete unused ones"
    violation = error_details_pb2.QuotaFailure.Violation(
        subject=f"organization:{platform.org_id}/connected-businesses", description=text
    )
    raise Fault(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        text,
        reason="PLAN_LIMIT",
        metadata={"limit": str(limit)},
        details=(error_details_pb2.QuotaFailure(violations=[violation]),),
    )


REGISTRY: Final[Registry] = registry(
    "invora.identity.v2.ConnectedBusinessService",
    CreateConnectedBusiness=_create,
    UpdateConnectedBusiness=_update,
    DeleteConnectedBusiness=_delete,
    ListConnectedBusinesses=_list,
    GetConnectedBusiness=_get,
    SuspendConnectedBusiness=_suspend,
    ReactivateConnectedBusiness=_reactivate,
    RotateCredentials=_rotate,
    ListConnectedBusinessBranches=_list_branches,
)
