"""The sandbox's registration of a business, called over real gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from sandbox_fixture import Running, running_sandbox

from invora_api.identity.v2 import public_registration_service_pb2 as registration

EINVOICING = registration.BUSINESS_CAPABILITY_EINVOICING
BILLING = registration.BUSINESS_CAPABILITY_BILLING
Code = grpc.StatusCode


@pytest.fixture
def fresh() -> Iterator[Running]:
    """A business that has told nothing yet."""
    with running_sandbox(seed="empty") as running:
        yield running


def profile(**changes: Any) -> registration.CompleteBusinessProfileRequest:
    told = {"business_name": "Acme Trading", "country": "SA", "capabilities": [EINVOICING, BILLING], **changes}
    return registration.CompleteBusinessProfileRequest(**told)


def details(**changes: Any) -> registration.UpdateBusinessDetailsRequest:
    told = {"tax_id": "300000000000003", "address_line": "King Fahd Road", "city": "Riyadh", "country": "SA"}
    return registration.UpdateBusinessDetailsRequest(
        **{**told, "currency": "SAR", "timezone": "Asia/Riyadh", **changes}
    )


def select(plan: str) -> registration.SelectPlanRequest:
    return registration.SelectPlanRequest(plan_code=plan)


def steps(checklist: registration.OnboardingChecklist) -> dict[str, bool]:
    return {step.key: step.completed for step in checklist.steps}


def test_a_new_business_has_done_nothing(fresh: Running) -> None:
    status = fresh.call("GetOnboardingStatus")
    assert status.tenant_id == fresh.org_id
    assert status.org_type == registration.ORG_TYPE_BUSINESS
    assert steps(status.checklist) == {"profile": False, "details": False, "plan": False}
    assert all(step.title for step in status.checklist.steps)
    assert status.checklist.completion_ratio == 0


def test_profile_details_and_plan_complete_the_checklist(fresh: Running) -> None:
    first = fresh.call("CompleteBusinessProfile", profile())
    assert (first.tenant_id, first.business_name) == (fresh.org_id, "Acme Trading")
    assert first.checklist.completion_ratio == pytest.approx(1 / 3)
    second = fresh.call("UpdateBusinessDetails", details())
    assert second.checklist.completion_ratio == pytest.approx(2 / 3)
    third = fresh.call("SelectPlan", select("starter-monthly"))
    assert third.subscription_id
    assert third.checklist.completion_ratio == 1


def test_the_profile_gives_credentials_that_sign_in(fresh: Running) -> None:
    made = fresh.call("CompleteBusinessProfile", profile())
    token = fresh.token(made.client_id, made.client_secret)
    assert fresh.call("GetOnboardingStatus", token=token).tenant_id == fresh.org_id


def test_the_profile_is_completed_once(fresh: Running) -> None:
    fresh.call("CompleteBusinessProfile", profile())
    refusal = fresh.refusal("CompleteBusinessProfile", profile(business_name="Another"))
    assert (refusal.code, refusal.reason) == (Code.ALREADY_EXISTS, "PROFILE_COMPLETE")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"business_name": "  "}, "business_name"),
        ({"business_name": "x" * 201}, "business_name"),
        ({"country": "sa"}, "country"),
        ({"country": "XX"}, "country"),
        ({"country": ""}, "country"),
        ({"capabilities": []}, "capabilities"),
        ({"capabilities": [EINVOICING, 0]}, "capabilities[1]"),
        ({"capabilities": [77]}, "capabilities[0]"),
    ],
)
def test_a_profile_is_checked(fresh: Running, changes: dict[str, Any], field: str) -> None:
    refusal = fresh.refusal("CompleteBusinessProfile", profile(**changes))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, [field])
    assert fresh.call("GetOnboardingStatus").checklist.completion_ratio == 0


def test_details_come_bit_by_bit(fresh: Running) -> None:
    fresh.call("CompleteBusinessProfile", profile())
    first = fresh.call("UpdateBusinessDetails", registration.UpdateBusinessDetailsRequest(city="Jeddah"))
    assert not steps(first.checklist)["details"]
    second = fresh.call("UpdateBusinessDetails", details(city=""))
    assert steps(second.checklist)["details"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"currency": "sar"}, "currency"),
        ({"currency": "XXZ"}, "currency"),
        ({"currency": "UNSPECIFIED"}, "currency"),
        ({"timezone": "Asia/Nowhere"}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"country": "ZZ"}, "country"),
        ({"tax_id": "300000000000004"}, "tax_id"),
        ({"tax_id": "30000000000003"}, "tax_id"),
        ({"tax_id": "3٠٠٠٠٠٠٠٠٠٠٠٠٠3"}, "tax_id"),
    ],
)
def test_details_are_checked(fresh: Running, changes: dict[str, Any], field: str) -> None:
    fresh.call("CompleteBusinessProfile", profile())
    refusal = fresh.refusal("UpdateBusinessDetails", details(**changes))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, [field])


def test_only_saudi_tax_ids_are_vat_numbers_of_fifteen_digits(fresh: Running) -> None:
    fresh.call("CompleteBusinessProfile", profile(country="EG"))
    fresh.call("UpdateBusinessDetails", details(country="EG", tax_id="123-456-789"))


@pytest.mark.parametrize(
    ("rpc", "request_"), [("UpdateBusinessDetails", details()), ("SelectPlan", select("starter-monthly"))]
)
def test_the_profile_comes_first(fresh: Running, rpc: str, request_: Any) -> None:
    refusal = fresh.refusal(rpc, request_)
    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "PROFILE_INCOMPLETE")


def test_an_unknown_plan_is_not_found(fresh: Running) -> None:
    fresh.call("CompleteBusinessProfile", profile())
    refusal = fresh.refusal("SelectPlan", select("enterprise-daily"))
    assert refusal.code is Code.NOT_FOUND
    assert refusal.info.metadata["key"] == "enterprise-daily"


def test_the_catalogue_has_four_plans(demo: Running) -> None:
    plans = demo.call("public_registration.list_available_plans").plans
    assert [plan.code for plan in plans] == [
        *("starter-monthly", "business-monthly", "business-yearly", "platform-monthly")
    ]
    assert all(plan.amount_cents > 0 and plan.features for plan in plans)
    assert [plan.recommended for plan in plans].count(True) == 1


def test_plans_are_chosen_by_capability_and_currency(demo: Running) -> None:
    request = registration.ListAvailablePlansRequest(capabilities=[BILLING])
    request.currency = registration.AvailablePlan(amount_currency="CURRENCY_ENUM_USD").amount_currency
    plans = demo.call("public_registration.list_available_plans", request).plans
    assert "starter-monthly" not in {plan.code for plan in plans}
    assert {plan.amount_currency for plan in plans} == {request.currency}


def test_an_unpriced_currency_has_no_plans(demo: Running) -> None:
    request = registration.ListAvailablePlansRequest()
    request.currency = registration.AvailablePlan(amount_currency="CURRENCY_ENUM_JPY").amount_currency
    assert not demo.call("public_registration.list_available_plans", request).plans
