"""A platform's connected businesses at scale, and what suspension does to impersonations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sandbox_fixture import Running, running_sandbox

from invora_api.identity.v2 import impersonation_service_pb2 as impersonation
from invora_api.identity.v2 import platform_enrollment_service_pb2 as pb
from invora_grpc.sandbox.businesses import connect

STATUS, END = "GetOnboardingStatus", "EndImpersonation"


@pytest.fixture
def demo() -> Iterator[Running]:
    with running_sandbox() as running:
        yield running


def create(demo: Running, name: str = "Branch") -> pb.CreateConnectedBusinessResponse:
    request = pb.CreateConnectedBusinessRequest(name=name, admin_email="admin@branch.example")
    made = demo.call("CreateConnectedBusiness", request)
    assert isinstance(made, pb.CreateConnectedBusinessResponse)
    return made


def impersonate(demo: Running, client_id: str) -> str:
    request = impersonation.BeginImpersonationRequest(target_user_id=client_id)
    return str(demo.call("BeginImpersonation", request).access_token)


def test_a_platform_of_many_businesses_can_still_call(demo: Running) -> None:
    platform = demo.store.organization(demo.org_id)
    with demo.store.transaction():
        made = [connect(demo.store, platform, f"Branch {i}", "a@b.example", "test")[0] for i in range(700)]
    token = demo.token()
    assert len(token) < 2000
    assert demo.call(STATUS, token=token).tenant_id == demo.org_id
    assert demo.call(STATUS, token=token, org=made[-1].org_id).tenant_id == made[-1].org_id
    assert demo.call(STATUS, token=demo.viewer(), org=made[0].org_id).tenant_id == made[0].org_id
    assert demo.refusal("SelectPlan", token=demo.viewer(), org=made[0].org_id).reason == "SCOPE_MISSING"


def test_large_metadata_is_taken(demo: Running) -> None:
    assert demo.call(STATUS, metadata=[("x-note", "n" * 40_000)]).tenant_id == demo.org_id


def test_a_deleted_business_leaves_no_grants(demo: Running) -> None:
    tenant_id = create(demo).connected_business.tenant_id
    assert any(tenant_id in orgs for one in demo.store.clients(demo.org_id) for orgs in one.roles.values())
    demo.call("DeleteConnectedBusiness", pb.DeleteConnectedBusinessRequest(tenant_id=tenant_id))
    assert not any(tenant_id in orgs for one in demo.store.clients(demo.org_id) for orgs in one.roles.values())
    assert all(demo.org_id in orgs for one in demo.store.clients(demo.org_id) for orgs in one.roles.values())


def test_suspension_ends_impersonations_for_good(demo: Running) -> None:
    child = create(demo)
    tenant_id = child.connected_business.tenant_id
    own, token = demo.token(child.client_id, child.client_secret), impersonate(demo, child.client_id)
    demo.call("SuspendConnectedBusiness", pb.SuspendConnectedBusinessRequest(tenant_id=tenant_id, reason="unpaid"))
    assert demo.refusal(STATUS, token=token).reason == "INVALID_TOKEN"
    assert demo.refusal(END, token=own).reason == "ORGANIZATION_SUSPENDED"
    demo.call(END, token=token)
    demo.call("ReactivateConnectedBusiness", pb.ReactivateConnectedBusinessRequest(tenant_id=tenant_id))
    for name in (STATUS, END):
        assert demo.refusal(name, token=token).reason == "INVALID_TOKEN"
    assert demo.call(STATUS, token=own).tenant_id == tenant_id
    demo.call(STATUS, token=impersonate(demo, child.client_id))
