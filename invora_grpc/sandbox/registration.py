"""The sandbox's registration: a business completes its profile, gives its details and selects a plan.

What a business told is kept in its organization's data under "profile", "details" and "plan"; each of the three is one
step of the onboarding checklist. This room changes the calling organization only; nothing is billed.
"""

from __future__ import annotations

import functools
import re
import secrets
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc

from invora_api.billing.common.v2 import models_pb2 as common
from invora_api.identity.v2 import public_registration_service_pb2 as pb
from invora_grpc.sandbox.gate import OWNER
from invora_grpc.sandbox.model import Client, Organization
from invora_grpc.sandbox.service import (
    Call,
    Fault,
    Registry,
    Wrong,
    echo,
    failed_precondition,
    invalid,
    noting,
    refuse,
    registry,
    shortened,
)
from invora_grpc.sandbox.store import Store

MACHINE: Final = "business"
"""Name of the client that an organization is given with its registration."""

_EINVOICING: Final = pb.BUSINESS_CAPABILITY_EINVOICING
_BILLING: Final = pb.BUSINESS_CAPABILITY_BILLING
_ORG_TYPES = {
    "standalone": pb.ORG_TYPE_BUSINESS,
    "platform": pb.ORG_TYPE_PLATFORM,
    "connected": pb.ORG_TYPE_CONNECTED_BUSINESS,
}
_STEPS = (
    ("profile", "Complete the business profile"),
    ("details", "Add tax, address and currency"),
    ("plan", "Select a plan"),
)
_DETAILS = ("tax_id", "address_line", "city", "postal_code", "country", "currency", "timezone")
_LONGEST_NAME = 200
_SAUDI_VAT_NUMBER = re.compile(r"3\d{13}3", re.ASCII)


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of the sandbox's catalogue."""

    code: str
    name: str
    description: str
    prices: Mapping[str, int]
    """Currency → amount in its hundredth part, per interval."""
    yearly: bool
    capabilities: frozenset[int]
    connected_businesses: int
    """How many a platform may have."""
    recommended: bool = False


_BOTH = frozenset((_EINVOICING, _BILLING))
PLANS: Final = {
    plan.code: plan
    for plan in (
        Plan(
            "starter-monthly",
            "Starter",
            "E-invoicing for one business",
            {"SAR": 9_900, "USD": 2_600},
            False,
            frozenset((_EINVOICING,)),
            2,
        ),
        Plan(
            "business-monthly",
            "Business",
            "E-invoicing and billing, paid by the month",
            {"SAR": 39_900, "USD": 10_600},
            False,
            _BOTH,
            10,
            True,
        ),
        Plan(
            "business-yearly",
            "Business",
            "E-invoicing and billing, paid by the year",
            {"SAR": 399_000, "USD": 106_000},
            True,
            _BOTH,
            10,
        ),
        Plan(
            "platform-monthly",
            "Platform",
            "For those who manage other businesses",
            {"SAR": 199_900, "USD": 53_300},
            False,
            _BOTH,
            1_000,
        ),
    )
}


def checklist(organization: Organization) -> pb.OnboardingChecklist:
    """How far the onboarding of this organization is."""
    done = {
        "profile": "profile" in organization.data,
        "details": all(organization.data.get("details", {}).get(name) for name in _DETAILS if name != "postal_code"),
        "plan": "plan" in organization.data or organization.kind == "connected",
    }
    steps = [pb.OnboardingStep(key=key, title=title, completed=done[key]) for key, title in _STEPS]
    return pb.OnboardingChecklist(steps=steps, completion_ratio=sum(done.values()) / len(done))


def profile(country: str, capabilities: Iterable[int]) -> dict[str, Any]:
    """The "profile" of an organization's data."""
    return {"country": country, "capabilities": sorted(set(capabilities))}


def plan(code: str) -> dict[str, str]:
    """The "plan" of an organization's data: a new subscription to the plan with this code."""
    return {"code": code, "subscription_id": f"sub_{secrets.token_hex(12)}"}


def plan_limit(organization: Organization) -> int:
    """How many connected businesses this organization may have; before a plan is selected, as many as in the first."""
    code = organization.data.get("plan", {}).get("code", "starter-monthly")
    return PLANS[code].connected_businesses


def live_businesses(store: Store, org_id: str) -> list[Organization]:
    """The connected businesses that a platform has not deleted, oldest first."""
    return [organization for organization in store.connected(org_id) if organization.state != "destroying"]


def grant_connected(store: Store, client: Client, businesses: Iterable[Organization]) -> None:
    """Grant a platform's client its home roles in these connected businesses."""
    held = [role for role, orgs in client.roles.items() if client.org_id in orgs]
    for business in businesses:
        for role in held:
            store.grant_role(client.client_id, role, business.org_id)


def business_name(field: str, text: str) -> str:
    """A business's name, trimmed. Raises the Fault for an empty or overlong one."""
    name = text.strip()
    if not name:
        raise invalid(field, "a name is required")
    if len(name) > _LONGEST_NAME:
        raise invalid(field, f"at most {_LONGEST_NAME} characters")
    return name


def _complete_profile(call: Call, request: pb.CompleteBusinessProfileRequest) -> pb.CompleteBusinessProfileResponse:
    held = call.store.organization(call.org_id)
    if "profile" in held.data:
        raise Fault(
            grpc.StatusCode.ALREADY_EXISTS,
            "the business profile of this organization is complete already; change it with UpdateBusinessDetails",
            reason="PROFILE_COMPLETE",
        )
    name, wrong = request.business_name, Wrong()
    with noting(wrong):
        name = business_name("business_name", request.business_name)
    with noting(wrong):
        _check_country("country", request.country)
    if not request.capabilities:
        wrong.append(("capabilities", "name at least one capability"))
    for index, capability in enumerate(request.capabilities):
        if capability not in _BOTH:
            wrong.append((f"capabilities[{index}]", "is not a capability; use EINVOICING or BILLING"))
    refuse(wrong)
    told = {**held.data, "profile": profile(request.country, request.capabilities)}
    organization = call.store.update_organization(call.org_id, name=name, data=told)
    client_id, secret = call.store.create_client(call.org_id, roles=(OWNER,), name=MACHINE)
    if client := call.store.client(client_id):
        grant_connected(call.store, client, live_businesses(call.store, call.org_id))
    return pb.CompleteBusinessProfileResponse(
        tenant_id=call.org_id,
        business_name=name,
        checklist=checklist(organization),
        client_id=client_id,
        client_secret=secret,
    )


def _update_details(call: Call, request: pb.UpdateBusinessDetailsRequest) -> pb.UpdateBusinessDetailsResponse:
    """Progressive: what the request leaves empty stays as it was."""
    held = _profiled(call)
    given = {name: value for name in _DETAILS if (value := getattr(request, name).strip())}
    wrong: Wrong = []
    if "country" in given:
        with noting(wrong):
            _check_country("country", given["country"])
    if "currency" in given and given["currency"] not in _codes("CurrencyEnum"):
        wrong.append(("currency", "is not a currency code of ISO 4217, e.g. SAR"))
    if "timezone" in given and given["timezone"] not in _timezones():
        wrong.append(("timezone", "is not a time zone of the IANA database, e.g. Asia/Riyadh"))
    details = {**held.data.get("details", {}), **given}
    country = details.get("country") or held.data["profile"]["country"]
    if country == "SA" and "tax_id" in details and not _SAUDI_VAT_NUMBER.fullmatch(details["tax_id"]):
        wrong.append(("tax_id", "a Saudi VAT number has 15 digits, the first and the last of them 3"))
    refuse(wrong)
    organization = call.store.update_organization(call.org_id, data={**held.data, "details": details})
    return pb.UpdateBusinessDetailsResponse(checklist=checklist(organization))


def _select_plan(call: Call, request: pb.SelectPlanRequest) -> pb.SelectPlanResponse:
    held = _profiled(call)
    if held.kind == "connected":
        raise failed_precondition("a connected business is billed through its platform's plan", "BILLED_TO_PLATFORM")
    if not request.plan_code:
        raise invalid("plan_code", "name a plan; ListAvailablePlans has their codes")
    chosen = PLANS.get(request.plan_code)
    if chosen is None:
        raise Fault(
            grpc.StatusCode.NOT_FOUND,
            f"there is no plan with the code {echo(request.plan_code)}; ListAvailablePlans has their codes",
            reason="NOT_FOUND",
            metadata={"resource": "plan", "key": shortened(request.plan_code)},
        )
    if len(live_businesses(call.store, call.org_id)) > chosen.connected_businesses:
        raise failed_precondition(
            f"the plan {chosen.code} allows {chosen.connected_businesses} connected businesses, and there are more",
            "TOO_MANY_CONNECTED_BUSINESSES",
        )
    subscription = plan(chosen.code)
    organization = call.store.update_organization(call.org_id, data={**held.data, "plan": subscription})
    return pb.SelectPlanResponse(subscription_id=subscription["subscription_id"], checklist=checklist(organization))


def _onboarding_status(call: Call, request: pb.GetOnboardingStatusRequest) -> pb.GetOnboardingStatusResponse:
    organization = call.store.organization(call.org_id)
    return pb.GetOnboardingStatusResponse(
        tenant_id=call.org_id, org_type=_ORG_TYPES[organization.kind], checklist=checklist(organization)
    )


def _available_plans(call: Call, request: pb.ListAvailablePlansRequest) -> pb.ListAvailablePlansResponse:
    """The plans with every capability asked for, priced in the currency asked for (SAR if none is)."""
    currency = common.CurrencyEnum.Name(request.currency or common.CURRENCY_ENUM_SAR).rpartition("_")[2]
    wanted = set(request.capabilities)
    plans = [
        _available(plan, currency) for plan in PLANS.values() if currency in plan.prices and wanted <= plan.capabilities
    ]
    return pb.ListAvailablePlansResponse(plans=plans)


def _available(plan: Plan, currency: str) -> pb.AvailablePlan:
    features = [
        pb.PlanFeature(label="E-invoicing", included=_EINVOICING in plan.capabilities),
        pb.PlanFeature(label="Billing", included=_BILLING in plan.capabilities),
        pb.PlanFeature(label="Connected businesses", detail=f"up to {plan.connected_businesses}", included=True),
    ]
    return pb.AvailablePlan(
        id=f"plan_{plan.code}",
        code=plan.code,
        name=plan.name,
        description=plan.description,
        amount_cents=plan.prices[currency],
        amount_currency=f"CURRENCY_ENUM_{currency}",
        interval=common.PLAN_INTERVAL_YEARLY if plan.yearly else common.PLAN_INTERVAL_MONTHLY,
        trial_period_days=14,
        features=features,
        recommended=plan.recommended,
        cta_label="Start the trial",
    )


def _profiled(call: Call) -> Organization:
    organization = call.store.organization(call.org_id)
    if "profile" not in organization.data:
        raise failed_precondition(
            "this organization has no business profile yet; call CompleteBusinessProfile first", "PROFILE_INCOMPLETE"
        )
    return organization


def _check_country(field: str, code: str) -> None:
    if code not in _codes("CountryCode"):
        raise invalid(field, "is not a country code of ISO 3166-1 alpha-2, e.g. SA")


@functools.cache
def _codes(enum: str) -> frozenset[str]:
    """The short names of an enum of the schema: XX for COUNTRY_CODE_XX."""
    names = getattr(common, enum).keys()
    return frozenset(name.rpartition("_")[2] for name in names) - {"UNSPECIFIED"}


@functools.cache
def _timezones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


REGISTRY: Final[Registry] = registry(
    "invora.identity.v2.PublicRegistrationService",
    CompleteBusinessProfile=_complete_profile,
    UpdateBusinessDetails=_update_details,
    SelectPlan=_select_plan,
    GetOnboardingStatus=_onboarding_status,
    ListAvailablePlans=_available_plans,
)
