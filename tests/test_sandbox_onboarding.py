"""Onboarding with the sandbox's authority: its steps, what stops them, and who may issue before and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import client_of
from sandbox_fixture import Running, running_sandbox

from invora_api.regulations.v2 import enrollment_service_pb2 as enrollment
from invora_api.regulations.zatca.v1 import models_pb2 as zatca_v1
from invora_api.regulations.zatca.v1 import service_pb2 as zatca_service
from invora_grpc import FailedPrecondition, Invora, NotFound, PermissionDenied
from invora_grpc.auth import StaticToken
from invora_grpc.catalog import catalog
from invora_grpc.config import Secret
from invora_grpc.errors import InvoraError
from invora_grpc.sandbox import onboarding
from invora_grpc.sandbox.idp import Caller
from invora_grpc.sandbox.model import Record
from invora_grpc.sandbox.onboarding import expect_onboarding
from invora_grpc.sandbox.sellers import branch_of
from invora_grpc.sandbox.service import Call, Fault
from invora_grpc.sandbox.standing import conditions
from invora_grpc.sandbox.store import Store

OTP = "123456"
LINE = {"description": "Repair", "quantity": {"value": 1, "unit_code": "C62"}, "unit_price": 9, "tax": {"tax_rate": 15}}
INVOICE = {"currency_code": "SAR", "buyer": {"inline": {"legal_name": "Layla"}}, "lines": [LINE]}
STEPS = ["CSR_GENERATION", "COMPLIANCE_CSID", "PRODUCTION_CSID"]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with running_sandbox(seed="demo") as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def platform(running: Running) -> Iterator[Invora]:
    with client_of(running) as client:
        yield client


_NUMBERS = iter(range(1000))


@pytest.fixture
def business(platform: Invora) -> Any:
    """A new connected business, as its creation answers it."""
    name = f"Business {next(_NUMBERS)}"
    return platform.identity.connected_business.create_connected_business(name=name, admin_email="a@b.example")


def inside(platform: Invora, business: Any) -> Invora:
    return platform.for_org(business.connected_business.tenant_id)


def frozen(client: Invora, key: str, **changes: Any) -> Any:
    return client.simple.invoices.create(key=key, changes={**INVOICE, **changes}, freeze_immediately=True).details


def told(steps: Any) -> list[tuple[str, str, bool]]:
    """Name, disposition and finality of the steps of an onboarding."""
    step, disposition = zatca_service.ZatcaOnboardingStep, zatca_service.ZatcaDisposition
    return [
        (
            step.Name(one.step).removeprefix("ZATCA_ONBOARDING_STEP_"),
            disposition.Name(one.disposition).removeprefix("ZATCA_DISPOSITION_"),
            one.is_final,
        )
        for one in steps
    ]


# The whole tenant


def test_a_new_connected_business_issues_nothing_until_it_is_onboarded(platform: Invora, business: Any) -> None:
    client = inside(platform, business)
    with pytest.raises(FailedPrecondition) as caught:
        frozen(client, "k")
    assert caught.value.error_info is not None
    assert caught.value.error_info.reason == "NOT_ONBOARDED"
    assert not client.invoicing.zatca.get_integration_status().onboarded
    steps = told(client.invoicing.zatca.initiate_onboarding(otp=OTP))
    assert steps == [(STEPS[0], "ISSUED", False), (STEPS[1], "ISSUED", False), (STEPS[2], "ISSUED", True)]
    made = frozen(client, "k").zatca
    assert (made.status, made.invoice_counter_value) == (zatca_v1.ZATCA_SUBMISSION_STATUS_REPORTED, 1)
    status = client.invoicing.zatca.get_integration_status()
    assert (status.onboarded, status.environment) == (True, zatca_v1.ZATCA_ENVIRONMENT_PHASE2_SANDBOX)
    assert (status.details.total_submitted, status.details.total_accepted) == (1, 1)
    assert status.details.production_csid_expiry.ToDatetime().year > 2026


def test_a_wrong_password_is_a_refused_last_step_and_the_right_one_works_afterwards(
    platform: Invora, business: Any
) -> None:
    client = inside(platform, business)
    steps = list(client.invoicing.zatca.initiate_onboarding(otp="000000"))
    assert told(steps) == [(STEPS[0], "ISSUED", False), (STEPS[1], "REJECTED", True)]
    assert [error.code for error in steps[-1].errors] == ["Invalid-OTP"]
    progress = client.invoicing.zatca.get_onboarding_progress()
    assert (progress.completed, list(progress.history)) == (False, steps)
    assert progress.last_disposition == zatca_service.ZATCA_DISPOSITION_REJECTED
    with pytest.raises(FailedPrecondition):
        frozen(client, "k")
    list(client.invoicing.zatca.initiate_onboarding(otp=OTP))
    progress = client.invoicing.zatca.get_onboarding_progress()
    assert (progress.completed, len(progress.history)) == (True, 5)


def test_onboarding_again_renews_the_certificate_and_the_chain_goes_on(platform: Invora, business: Any) -> None:
    client = inside(platform, business)
    list(client.invoicing.zatca.initiate_onboarding(otp=OTP))
    first = frozen(client, "1").zatca
    list(client.invoicing.zatca.initiate_onboarding(otp=OTP, environment="PHASE2_SIMULATION"))
    second = frozen(client, "2").zatca
    assert (second.invoice_counter_value, second.previous_invoice_hash) == (2, first.invoice_hash)
    explained = client.invoicing.zatca.explain_qr_code(input=[first.qr_code, second.qr_code]).items
    assert explained[0].details.ecdsa_public_key != explained[1].details.ecdsa_public_key
    environment = client.invoicing.zatca.get_integration_status().environment
    assert environment == zatca_v1.ZATCA_ENVIRONMENT_PHASE2_SIMULATION


def test_the_seeds_businesses_and_the_platform_itself_are_onboarded(running: Running, platform: Invora) -> None:
    for client in (platform, *(platform.for_org(one.org_id) for one in running.store.connected(running.org_id)[:2])):
        assert client.invoicing.zatca.get_integration_status().onboarded
        assert client.invoicing.zatca.get_onboarding_progress().completed


# Who acts


def test_a_platform_freezes_in_a_business_by_every_way_that_it_has(
    running: Running, platform: Invora, business: Any
) -> None:
    org_id = business.connected_business.tenant_id
    list(inside(platform, business).invoicing.zatca.initiate_onboarding(otp=OTP))
    counters = [frozen(platform.for_org(org_id), "by-header").zatca.invoice_counter_value]
    with client_of(running, business.client_id, business.client_secret) as own:
        counters.append(frozen(own, "by-own-credentials").zatca.invoice_counter_value)
    begun = platform.identity.impersonation.begin_impersonation(target_user_id=business.client_id, target_org_id=org_id)
    token = StaticToken(Secret(begun.access_token))
    with Invora(endpoint=f"http://{running.grpc}", tokens=token) as impersonating:
        counters.append(frozen(impersonating, "by-impersonation").zatca.invoice_counter_value)
        listed = impersonating.invoicing.regulation_info.list_document_regulations(document_key="by-header").items
        assert [item.regulation_id for item in listed] == ["zatca"]
    assert counters == [1, 2, 3]


def test_no_tenant_reads_or_changes_anothers_regulation_state(
    running: Running, platform: Invora, business: Any
) -> None:
    bakery = running.store.connected(running.org_id)[0].org_id
    with client_of(running, business.client_id, business.client_secret) as own:
        for rpc in (own.invoicing.regulation_info.list_document_regulations,):
            with pytest.raises(NotFound):
                rpc(document_key="demo-1")
        foreign = own.for_org(bakery)
        for call in (
            lambda: foreign.invoicing.regulation_info.list_document_regulations(document_key="demo-1"),
            lambda: foreign.invoicing.zatca.get_integration_status(),
            lambda: list(foreign.invoicing.zatca.initiate_onboarding(otp=OTP)),
        ):
            with pytest.raises(PermissionDenied):
                call()
    assert platform.for_org(bakery).invoicing.regulation_info.list_document_regulations(document_key="demo-1").items


# One branch


def branch(client: Invora, key: str, primary: bool = False) -> None:
    client.invoicing.branches.create(key=key, changes={"name": key.title(), "is_primary": primary})


def enrolled(client: Invora, branch_id: str, rpc: str = "begin_enrollment", **config: Any) -> list[tuple[str, str]]:
    request = {"regulation_id": "zatca", "branch_id": branch_id, "config": config}
    disposition = enrollment.EnrollmentDisposition
    answers = getattr(client.invoicing.regulation_enrollment, rpc)(request)
    steps = [answer.step for answer in answers]
    assert [step.is_final for step in steps] == [False] * (len(steps) - 1) + [True]
    return [
        (step.step_name, disposition.Name(step.disposition).removeprefix("ENROLLMENT_DISPOSITION_")) for step in steps
    ]


def state(client: Invora, branch_id: str) -> str:
    answer = client.invoicing.regulation_enrollment.get_enrollment_state(regulation_id="zatca", branch_id=branch_id)
    return enrollment.RegulationEnrollmentState.Name(answer.state).removeprefix("REGULATION_ENROLLMENT_STATE_")


def test_enrolling_a_branch_lets_that_branch_issue_and_no_other(platform: Invora, business: Any) -> None:
    client = inside(platform, business)
    branch(client, "north", primary=True)
    branch(client, "south")
    assert state(client, "north") == "NOT_STARTED"
    assert enrolled(client, "north", otp=OTP) == [(step, "ISSUED") for step in STEPS]
    assert (state(client, "north"), state(client, "south")) == ("ACTIVE", "NOT_STARTED")
    assert frozen(client, "n", branch_id="north").zatca.invoice_counter_value == 1
    with pytest.raises(FailedPrecondition) as caught:
        frozen(client, "s", branch_id="south")
    assert "'south'" in caught.value.message
    listed = client.invoicing.regulation_info.list_branch_regulation_statuses(regulation_id="zatca").items
    assert [(one.branch_id, one.branch_name, one.onboarded) for one in listed] == [
        ("north", "North", True),
        ("south", "South", False),
    ]


def test_without_a_password_it_waits_and_is_resumed_where_it_stopped(platform: Invora, business: Any) -> None:
    client = inside(platform, business)
    branch(client, "main")
    assert enrolled(client, "main") == [(STEPS[0], "ISSUED"), (STEPS[1], "PENDING_EXTERNAL_ACTION")]
    assert state(client, "main") == "PENDING_EXTERNAL_ACTION"
    assert enrolled(client, "main", "resume_enrollment", otp="1") == [(STEPS[1], "REJECTED")]
    assert state(client, "main") == "FAILED"
    assert enrolled(client, "main", "resume_enrollment", otp=OTP) == [(STEPS[1], "ISSUED"), (STEPS[2], "ISSUED")]
    with pytest.raises(FailedPrecondition) as caught:
        enrolled(client, "main", "resume_enrollment", otp=OTP)
    assert "is complete" in caught.value.message


@pytest.mark.parametrize(
    ("request_", "wrong"),
    [
        ({"regulation_id": "vat"}, "regulation"),
        ({"regulation_id": "peppol"}, "does not serve"),
        ({"branch_id": "nowhere"}, "branch"),
        ({"branch_id": ""}, "branch_id"),
        ({"config": {"otp": 123456}}, "config.otp"),
        ({"config": {"otp": OTP, "environment": "MOON"}}, "config.environment"),
        ({"config": {"otp": OTP, "vat": "3"}}, "config.vat"),
    ],
)
def test_what_cannot_be_enrolled_is_refused_before_the_first_step(
    running: Running, platform: Invora, request_: dict[str, Any], wrong: str
) -> None:
    bakery = platform.for_org(running.store.connected(running.org_id)[0].org_id)
    request = {"regulation_id": "zatca", "branch_id": "main", "config": {"otp": OTP}, **request_}
    with pytest.raises(InvoraError) as caught:
        list(bakery.invoicing.regulation_enrollment.begin_enrollment(request))
    assert wrong in str(caught.value)


def test_the_input_schema_names_what_an_enrollment_takes(platform: Invora) -> None:
    schema = platform.invoicing.regulation_enrollment.get_input_schema(regulation_id="zatca").schema
    assert set(schema["properties"].keys()) == {"otp", "environment"}
    assert list(schema["required"]) == ["otp"]


# What a broken stream leaves behind


@pytest.fixture
def call() -> Iterator[Call]:
    """A call in a tenant with a branch that is to be onboarded."""
    with Store.open(":memory:") as store:
        store.create_organization("Acme", org_id="acme")
        store.insert("acme", "invoicing.branches", Record("b", "main"))
        expect_onboarding(store, "acme")
        method, caller = catalog().method("simple.invoices.get"), Caller("u", "c", "acme", "acme", {}, None, 0)
        yield Call(store, method, caller, "acme", "", datetime.fromtimestamp(store.clock(), UTC))


def test_a_stream_that_broke_is_resumed_after_the_step_that_was_told(call: Call) -> None:
    main = branch_of(call, "main")
    stream = onboarding.begin(call, main, OTP, "")
    assert next(stream).name == STEPS[0]
    del stream
    assert not onboarding.is_onboarded(call, main)
    assert [step.name for step in onboarding.resume(call, main, OTP)] == STEPS[1:]
    assert onboarding.is_onboarded(call, main)
    assert not onboarding.is_onboarded(call, None)


def test_an_unreachable_authority_ends_the_stream_with_an_error(call: Call) -> None:
    conditions(call.store).reachable = False
    steps = list(onboarding.begin(call, None, OTP, ""))
    assert [(step.disposition, step.is_final) for step in steps] == [("ISSUED", False), ("ERROR", True)]
    conditions(call.store).reachable = True
    assert [step.name for step in onboarding.resume(call, None, OTP)] == STEPS[1:]


def test_the_later_of_two_runs_at_once_counts_and_leaves_a_key_that_is_certified(call: Call) -> None:
    list(onboarding.begin(call, None, OTP, ""))
    earlier = onboarding.begin(call, None, OTP, "")
    assert [next(earlier).name for _ in range(2)] == STEPS[:2]
    assert [step.disposition for step in onboarding.begin(call, None, "000000", "")] == ["ISSUED", "REJECTED"]
    assert [(step.disposition, step.code, step.is_final) for step in earlier] == [("ERROR", "OVERTAKEN", True)]
    key, certificate = onboarding.credentials(call, branch_of(call, ""))
    assert certificate.public_key() == key.public_key()


@pytest.mark.parametrize("reachable", [True, False])
def test_a_renewal_that_fails_leaves_the_former_certificate_in_force(call: Call, reachable: bool) -> None:
    main = branch_of(call, "main")
    list(onboarding.begin(call, main, OTP, ""))
    before = onboarding.credentials(call, main)[1]
    conditions(call.store).reachable = reachable
    renewal = onboarding.begin(call, main, "000000", "")
    for _ in renewal:
        assert onboarding.is_onboarded(call, main)
    assert onboarding.credentials(call, main)[1] == before


def test_a_tenant_that_the_sandbox_made_still_issues_after_a_wrong_password(call: Call) -> None:
    call.store.create_organization("Seeded", org_id="seeded")
    seeded = replace(call, org_id="seeded")
    list(onboarding.begin(seeded, None, "000000", ""))
    onboarding.require_onboarded(seeded, None)


def test_nothing_is_resumed_before_it_began(call: Call) -> None:
    with pytest.raises(Fault) as caught:
        list(onboarding.resume(call, None, OTP))
    assert caught.value.reason == "NOTHING_TO_RESUME"
