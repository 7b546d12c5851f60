"""The sandbox's identity services, called over real gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from sandbox_fixture import Running, running_sandbox

from invora_api.branches.v2 import models_pb2 as branches
from invora_api.identity.v2 import impersonation_service_pb2 as impersonation
from invora_api.identity.v2 import platform_application_service_pb2 as application
from invora_api.identity.v2 import platform_enrollment_service_pb2 as pb
from invora_api.identity.v2 import public_registration_service_pb2 as registration
from invora_grpc.sandbox.model import Record

Code = grpc.StatusCode


@pytest.fixture
def fresh() -> Iterator[Running]:
    """A business that has told nothing yet."""
    with running_sandbox(seed="empty") as running:
        yield running


@pytest.fixture(scope="module")
def demo() -> Iterator[Running]:
    """A platform that these tests share: each makes what it changes."""
    with running_sandbox() as running:
        yield running


def select(plan: str) -> registration.SelectPlanRequest:
    return registration.SelectPlanRequest(plan_code=plan)


def create(demo: Running, name: str) -> pb.CreateConnectedBusinessResponse:
    request = pb.CreateConnectedBusinessRequest(name=name, admin_email="admin@branch.example")
    made = demo.call("CreateConnectedBusiness", request)
    assert isinstance(made, pb.CreateConnectedBusinessResponse)
    return made


def get(demo: Running, tenant_id: str) -> pb.ConnectedBusiness:
    answer = demo.call("GetConnectedBusiness", pb.GetConnectedBusinessRequest(tenant_id=tenant_id))
    found = answer.connected_business
    assert isinstance(found, pb.ConnectedBusiness)
    return found


class TestConnectedBusinesses:
    def test_one_is_provisioning_first_and_active_from_then_on(self, demo: Running) -> None:
        made = create(demo, "Newcomer").connected_business
        assert made.status == pb.CONNECTED_BUSINESS_STATUS_PROVISIONING
        assert made.parent_tenant_id == demo.org_id
        assert made.audit.creation_info.creator_id.value == demo.client_id
        found = get(demo, made.tenant_id)
        assert found.status == pb.CONNECTED_BUSINESS_STATUS_ACTIVE
        assert found.audit == made.audit

    def test_its_credentials_sign_in_to_its_own_tenant(self, demo: Running) -> None:
        made = create(demo, "Own tenant")
        status = demo.call("GetOnboardingStatus", token=demo.token(made.client_id, made.client_secret))
        assert status.tenant_id == made.connected_business.tenant_id
        assert status.org_type == registration.ORG_TYPE_CONNECTED_BUSINESS

    def test_its_platform_may_act_in_it_at_once_with_the_token_it_has(self, demo: Running) -> None:
        token = demo.token()
        tenant_id = create(demo, "At once").connected_business.tenant_id
        assert demo.call("GetOnboardingStatus", token=token, org=tenant_id).tenant_id == tenant_id

    @pytest.mark.parametrize(
        ("name", "email", "field"),
        [
            ("", "a@b.example", "name"),
            ("Fine", "", "admin_email"),
            ("Fine", "nobody", "admin_email"),
            ("Fine", "a b@c.example", "admin_email"),
            ("Fine", "a@b..example", "admin_email"),
        ],
    )
    def test_its_name_and_email_are_checked(self, demo: Running, name: str, email: str, field: str) -> None:
        refusal = demo.refusal(
            "CreateConnectedBusiness", pb.CreateConnectedBusinessRequest(name=name, admin_email=email)
        )
        assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, [field])

    def test_its_name_is_its_own(self, demo: Running) -> None:
        create(demo, "Taken")
        request = pb.CreateConnectedBusinessRequest(name=" taken ", admin_email="a@b.example")
        refusal = demo.refusal("CreateConnectedBusiness", request)
        assert (refusal.code, refusal.reason) == (Code.ALREADY_EXISTS, "NAME_TAKEN")

    def test_only_a_platform_has_them(self, fresh: Running) -> None:
        for rpc in ("CreateConnectedBusiness", "ListConnectedBusinesses", "ListConnectedBusinessBranches"):
            refusal = fresh.refusal(rpc)
            assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "NOT_A_PLATFORM")

    def test_the_plan_limits_how_many(self, sandbox: Running) -> None:
        sandbox.call("SelectPlan", select("starter-monthly"))
        request = pb.CreateConnectedBusinessRequest(name="Third", admin_email="a@b.example")
        refusal = sandbox.refusal("CreateConnectedBusiness", request)
        assert (refusal.code, refusal.reason) == (Code.RESOURCE_EXHAUSTED, "PLAN_LIMIT")
        violation = refusal.detail(error_details_pb2.QuotaFailure).violations[0]
        assert sandbox.org_id in violation.subject

    def test_a_plan_too_small_for_them_is_refused(self, sandbox: Running) -> None:
        create(sandbox, "Third")
        refusal = sandbox.refusal("SelectPlan", select("starter-monthly"))
        assert refusal.reason == "TOO_MANY_CONNECTED_BUSINESSES"

    def test_renaming_one(self, demo: Running) -> None:
        made = create(demo, "Old name").connected_business
        request = pb.UpdateConnectedBusinessRequest(tenant_id=made.tenant_id, name="New name")
        changed = demo.call("UpdateConnectedBusiness", request).connected_business
        assert changed.name == get(demo, made.tenant_id).name == "New name"
        assert changed.audit.last_modification_time.ToNanoseconds() > made.audit.last_modification_time.ToNanoseconds()

    def test_a_stamp_is_the_time_of_the_last_change(self, demo: Running) -> None:
        made = create(demo, "Stamped").connected_business
        request = pb.UpdateConnectedBusinessRequest(tenant_id=made.tenant_id, name="Stamped once")
        request.concurrency_stamp = made.audit.last_modification_time.ToJsonString()
        demo.call("UpdateConnectedBusiness", request)
        request.name = "Stamped twice"
        refusal = demo.refusal("UpdateConnectedBusiness", request)
        assert (refusal.code, refusal.reason) == (Code.ABORTED, "STALE_STAMP")
        assert get(demo, made.tenant_id).name == "Stamped once"

    def test_a_mask_may_name_only_the_name(self, demo: Running) -> None:
        tenant_id = create(demo, "Masked").connected_business.tenant_id
        request = pb.UpdateConnectedBusinessRequest(tenant_id=tenant_id, name="x", mask={"paths": ["status"]})
        assert demo.refusal("UpdateConnectedBusiness", request).fields == ["mask"]
        request.mask.paths[:] = ["name"]
        request.ClearField("name")
        assert demo.refusal("UpdateConnectedBusiness", request).fields == ["name"]

    def test_a_deleted_one_is_gone_with_its_tokens(self, demo: Running) -> None:
        made = create(demo, "Doomed")
        tenant_id, token = made.connected_business.tenant_id, demo.token(made.client_id, made.client_secret)
        demo.call("DeleteConnectedBusiness", pb.DeleteConnectedBusinessRequest(tenant_id=tenant_id))
        assert demo.refusal("GetOnboardingStatus", token=token).code is Code.UNAUTHENTICATED
        assert demo.sign_in(made.client_id, made.client_secret).status_code == 401
        assert demo.refusal("GetOnboardingStatus", org=tenant_id).reason == "TARGET_DENIED"
        for rpc in ("GetConnectedBusiness", "DeleteConnectedBusiness", "RotateCredentials"):
            request = getattr(pb, f"{rpc}Request")(tenant_id=tenant_id)
            assert demo.refusal(rpc, request).code is Code.NOT_FOUND
        create(demo, "Doomed")

    def test_a_suspended_one_is_refused_until_it_is_reactivated(self, demo: Running) -> None:
        made = create(demo, "Paused")
        tenant_id, token = made.connected_business.tenant_id, demo.token(made.client_id, made.client_secret)
        suspended = demo.call("SuspendConnectedBusiness", suspend(tenant_id)).connected_business
        assert suspended.status == pb.CONNECTED_BUSINESS_STATUS_SUSPENDED
        for who, org in ((token, None), (None, tenant_id)):
            refusal = demo.refusal("GetOnboardingStatus", token=who, org=org)
            assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "ORGANIZATION_SUSPENDED")
        demo.call("ReactivateConnectedBusiness", pb.ReactivateConnectedBusinessRequest(tenant_id=tenant_id))
        assert demo.call("GetOnboardingStatus", token=token).tenant_id == tenant_id

    def test_suspending_needs_a_reason_and_an_active_business(self, demo: Running) -> None:
        tenant_id = create(demo, "Paused twice").connected_business.tenant_id
        assert demo.refusal("SuspendConnectedBusiness", suspend(tenant_id, " ")).fields == ["reason"]
        demo.call("SuspendConnectedBusiness", suspend(tenant_id))
        refusal = demo.refusal("SuspendConnectedBusiness", suspend(tenant_id))
        assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "SUSPENDED_ALREADY")

    def test_an_active_one_cannot_be_reactivated(self, demo: Running) -> None:
        tenant_id = create(demo, "Running").connected_business.tenant_id
        request = pb.ReactivateConnectedBusinessRequest(tenant_id=tenant_id)
        assert demo.refusal("ReactivateConnectedBusiness", request).reason == "NOT_SUSPENDED"

    def test_rotated_credentials_replace_the_secret(self, demo: Running) -> None:
        made = create(demo, "Rotating")
        request = pb.RotateCredentialsRequest(tenant_id=made.connected_business.tenant_id)
        rotated = demo.call("RotateCredentials", request)
        assert rotated.client_id == made.client_id
        assert demo.sign_in(made.client_id, made.client_secret).status_code == 401
        assert demo.sign_in(rotated.client_id, rotated.client_secret).status_code == 200

    def test_another_platforms_business_is_not_found(self, demo: Running) -> None:
        stranger = demo.store.create_organization("Stranger", "platform")
        theirs = demo.store.create_organization("Theirs", "connected", parent_org_id=stranger.org_id)
        for tenant_id in (theirs.org_id, stranger.org_id, demo.org_id, "404"):
            refusal = demo.refusal("GetConnectedBusiness", pb.GetConnectedBusinessRequest(tenant_id=tenant_id))
            assert refusal.code is Code.NOT_FOUND
        assert demo.refusal("GetConnectedBusiness").fields == ["tenant_id"]


def suspend(tenant_id: str, reason: str = "Non-payment") -> pb.SuspendConnectedBusinessRequest:
    return pb.SuspendConnectedBusinessRequest(tenant_id=tenant_id, reason=reason)


class TestListingThem:
    def names(self, sandbox: Running, request: pb.ListConnectedBusinessesRequest) -> list[str]:
        return [item.name for item in sandbox.call("ListConnectedBusinesses", request).items]

    def test_pages_hold_each_once_in_order_of_creation(self, sandbox: Running) -> None:
        expected = ["Demo Bakery", "Demo Pharmacy", *(f"Branch {n}" for n in range(3))]
        for name in expected[2:]:
            create(sandbox, name)
        request, seen, pages = pb.ListConnectedBusinessesRequest(), [], 0
        request.pagination.limit.value = 2
        while True:
            page = sandbox.call("ListConnectedBusinesses", request)
            assert page.total_count == 5
            seen += [item.name for item in page.items]
            pages += 1
            if not page.HasField("next_page_cursor"):
                break
            request.pagination.cursor = page.next_page_cursor
        assert (seen, pages) == (expected, 3)

    def test_text_search_and_status(self, sandbox: Running) -> None:
        first = sandbox.call("ListConnectedBusinesses").items[0]
        sandbox.call("SuspendConnectedBusiness", suspend(first.tenant_id))
        request = pb.ListConnectedBusinessesRequest()
        request.filter.text_search = "PHARM"
        assert self.names(sandbox, request) == ["Demo Pharmacy"]
        request.filter.text_search = ""
        request.filter.part.status.in_values.append(pb.CONNECTED_BUSINESS_STATUS_SUSPENDED)
        assert self.names(sandbox, request) == [first.name]

    def test_country_and_time_of_creation(self, sandbox: Running) -> None:
        request = pb.ListConnectedBusinessesRequest()
        request.filter.part.country = "SA"
        assert len(self.names(sandbox, request)) == 2
        request.filter.part.country = "EG"
        assert not self.names(sandbox, request)
        second = sandbox.call("ListConnectedBusinesses").items[1]
        request.filter.part.created_at.from_inclusive.CopyFrom(second.audit.creation_info.created_at)
        assert self.names(sandbox, request) == [second.name]

    def test_a_strange_cursor_is_out_of_range(self, demo: Running) -> None:
        request = pb.ListConnectedBusinessesRequest()
        request.pagination.cursor = "bm90IG91cnM"
        assert demo.refusal("ListConnectedBusinesses", request).code is Code.OUT_OF_RANGE

    def test_branches_of_all_or_of_one(self, sandbox: Running) -> None:
        bakery, pharmacy = sandbox.call("ListConnectedBusinesses").items
        for tenant_id, name in ((bakery.tenant_id, "Main street"), (pharmacy.tenant_id, "Harbour")):
            branch = branches.Branch(name=name, is_primary=True, id={"key": f"branch of {tenant_id}"})
            branch.party.postal_address.country.identification_code.value = "SA"
            sandbox.store.insert(tenant_id, "invoicing.branches", Record("1", body=branch.SerializeToString()))
        request = pb.ListConnectedBusinessBranchesRequest()
        every = sandbox.call("ListConnectedBusinessBranches", request)
        assert [item.branch_name for item in every.items] == ["Main branch", "Main street", "Main branch", "Harbour"]
        request.tenant_id = pharmacy.tenant_id
        _, only = sandbox.call("ListConnectedBusinessBranches", request).items
        assert (only.tenant_name, only.branch_id) == ("Demo Pharmacy", f"branch of {pharmacy.tenant_id}")
        assert (only.is_primary, only.country) == (True, "SA")
        request.ClearField("tenant_id")
        request.text_search = "bakery"
        assert sandbox.call("ListConnectedBusinessBranches", request).total_count == 2
        request.tenant_id = sandbox.org_id
        assert sandbox.refusal("ListConnectedBusinessBranches", request).code is Code.NOT_FOUND


class TestImpersonation:
    @pytest.fixture
    def child(self, demo: Running, request: pytest.FixtureRequest) -> pb.CreateConnectedBusinessResponse:
        return create(demo, f"Child of {request.node.name}")

    def begin(self, demo: Running, user_id: str, org: str | None = None) -> Any:
        request = impersonation.BeginImpersonationRequest(target_user_id=user_id, target_org_id=org)
        return demo.call("BeginImpersonation", request)

    def test_its_token_acts_as_the_user(self, demo: Running, child: pb.CreateConnectedBusinessResponse) -> None:
        begun = self.begin(demo, child.client_id)
        tenant_id = child.connected_business.tenant_id
        assert (begun.token_type, begun.expires_in, begun.target_org_id) == ("Bearer", 900, tenant_id)
        assert begun.actor_email == "admin@demo-platform.example"
        assert begun.target_email == "admin@branch.example"
        assert demo.call("GetOnboardingStatus", token=begun.access_token).tenant_id == tenant_id

    def test_its_token_stays_in_its_target(self, demo: Running, child: pb.CreateConnectedBusinessResponse) -> None:
        token = self.begin(demo, child.client_id, child.connected_business.tenant_id).access_token
        assert demo.call("GetOnboardingStatus", token=token, org=child.connected_business.tenant_id)
        assert demo.refusal("GetOnboardingStatus", token=token, org=demo.org_id).reason == "TARGET_DENIED"

    def test_ending_it_ends_this_token_only(self, demo: Running, child: pb.CreateConnectedBusinessResponse) -> None:
        one, other = (self.begin(demo, child.client_id).access_token for _ in range(2))
        demo.call("EndImpersonation", token=one)
        assert demo.refusal("GetOnboardingStatus", token=one).code is Code.UNAUTHENTICATED
        assert demo.call("GetOnboardingStatus", token=other)
        assert demo.call("GetOnboardingStatus")

    def test_it_dies_with_its_impersonator(self, sandbox: Running) -> None:
        child = create(sandbox, "Child")
        token = self.begin(sandbox, child.client_id).access_token
        sandbox.store.set_client_active(sandbox.client_id, False)
        assert sandbox.refusal("GetOnboardingStatus", token=token).code is Code.UNAUTHENTICATED

    def test_a_user_elsewhere_is_not_found(self, demo: Running, child: pb.CreateConnectedBusinessResponse) -> None:
        stranger = demo.store.create_organization("Elsewhere")
        client_id, _ = demo.store.create_client(stranger.org_id, roles=("owner",))
        for user, org in ((client_id, None), (demo.client_id, None), ("nobody", None), (child.client_id, demo.org_id)):
            request = impersonation.BeginImpersonationRequest(target_user_id=user, target_org_id=org)
            assert demo.refusal("BeginImpersonation", request).code is Code.NOT_FOUND

    def test_a_viewer_may_not(self, demo: Running, child: pb.CreateConnectedBusinessResponse) -> None:
        request = impersonation.BeginImpersonationRequest(target_user_id=child.client_id)
        refusal = demo.refusal("BeginImpersonation", request, token=demo.viewer())
        assert refusal.info.metadata["scope"] == "Invora.Admin.Impersonate"

    def test_impersonating_a_viewer_gives_no_more_and_can_be_ended(
        self, demo: Running, child: pb.CreateConnectedBusinessResponse
    ) -> None:
        viewer, _ = demo.store.create_client(child.connected_business.tenant_id, roles=("viewer",))
        token = self.begin(demo, viewer).access_token
        assert demo.refusal("SelectPlan", token=token).reason == "SCOPE_MISSING"
        demo.call("EndImpersonation", token=token)

    def test_it_cannot_be_nested(self, demo: Running, child: pb.CreateConnectedBusinessResponse) -> None:
        token = self.begin(demo, child.client_id).access_token
        request = impersonation.BeginImpersonationRequest(target_user_id=child.client_id)
        assert demo.refusal("BeginImpersonation", request, token=token).code is Code.FAILED_PRECONDITION

    def test_ending_needs_its_token(self, demo: Running) -> None:
        assert demo.refusal("EndImpersonation").reason == "NOT_IMPERSONATING"


class TestPlatformEnrollment:
    def asked(self, **changes: Any) -> application.PlatformApplicationInput:
        told = {"reason": "We resell", "expected_connected_businesses": 20, "expected_monthly_volume": 1000}
        told |= {"technical_contact_email": "tech@acme.example", "terms_accepted": True}
        return application.PlatformApplicationInput(**{**told, **changes})

    def submit(self, sandbox: Running, **changes: Any) -> application.PlatformApplication:
        request = application.SubmitPlatformApplicationRequest(input=self.asked(**changes))
        answer = sandbox.call("SubmitPlatformApplication", request)
        assert isinstance(answer, application.SubmitPlatformApplicationResponse)
        return answer.application

    def test_a_complete_application_makes_a_platform(self, fresh: Running) -> None:
        decided = self.submit(fresh)
        assert decided.decision == application.PLATFORM_APPLICATION_DECISION_APPROVED
        assert decided.HasField("decided_at")
        assert fresh.call("GetPlatformApplication").application == decided
        assert fresh.call("GetOnboardingStatus").org_type == registration.ORG_TYPE_PLATFORM
        create(fresh, "First")

    def test_too_many_businesses_are_rejected_with_a_reason(self, fresh: Running) -> None:
        decided = self.submit(fresh, expected_connected_businesses=1001)
        assert decided.decision == application.PLATFORM_APPLICATION_DECISION_REJECTED
        assert "1000" in decided.decision_reason
        assert self.submit(fresh).decision == application.PLATFORM_APPLICATION_DECISION_APPROVED

    def test_a_missing_volume_is_asked_for_and_resubmitted(self, fresh: Running) -> None:
        first = self.submit(fresh, expected_monthly_volume=0)
        assert first.decision == application.PLATFORM_APPLICATION_DECISION_INFO_REQUESTED
        submitted = application.SubmitPlatformApplicationRequest(input=self.asked())
        assert fresh.refusal("SubmitPlatformApplication", submitted).code is Code.ALREADY_EXISTS
        request = application.ResubmitPlatformApplicationRequest(input=self.asked())
        again = fresh.call("ResubmitPlatformApplication", request).application
        assert again.application_id == first.application_id
        assert again.decision == application.PLATFORM_APPLICATION_DECISION_APPROVED

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("reason", " "),
            ("expected_connected_businesses", 0),
            ("technical_contact_email", "tech"),
            ("terms_accepted", False),
        ],
    )
    def test_an_application_is_checked(self, fresh: Running, field: str, value: Any) -> None:
        request = application.SubmitPlatformApplicationRequest(input=self.asked(**{field: value}))
        refusal = fresh.refusal("SubmitPlatformApplication", request)
        assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, [f"input.{field}"])

    def test_a_platform_need_not_apply(self, demo: Running) -> None:
        request = application.SubmitPlatformApplicationRequest(input=self.asked())
        assert demo.refusal("SubmitPlatformApplication", request).code is Code.FAILED_PRECONDITION

    def test_nothing_to_resubmit_and_nothing_to_read(self, fresh: Running) -> None:
        request = application.ResubmitPlatformApplicationRequest(input=self.asked())
        assert fresh.refusal("ResubmitPlatformApplication", request).code is Code.FAILED_PRECONDITION
        assert fresh.refusal("GetPlatformApplication").code is Code.NOT_FOUND
