"""What issuing does when something goes wrong on the way: nothing twice, nothing half, and always a way to go on.

Faults are real ones: a proxy that loses answers, an authority that is away, other documents under the key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count as numbers
from typing import Any

import grpc
import pytest
from conftest import client_of
from door import Door
from fault_proxy import PASS, REPLY_LOST, RESET_BEFORE, FaultProxy, running_proxy
from google.protobuf.message import Message
from sandbox_fixture import running_sandbox
from zatca_deals import BUSINESS, FEE, PLATFORM, PROVIDER, SERVICE, option
from zatca_tenants import Tenants, agreement_of, connect, handled, issue, onboard, ready, send, today_deal

from invora_api.simple.invoices.v1.models_pb2 import UpdateRequest
from invora_grpc.catalog import catalog
from invora_grpc.errors import RequestError
from invora_grpc.sandbox import server
from invora_grpc.sandbox.service import Call, Fault, failed_precondition, stale_stamp
from invora_grpc.status import FailedPrecondition, NotFound
from invora_grpc.values import build
from invora_grpc.zatca.agreement import PreconditionError
from invora_grpc.zatca.chain import check_chain
from invora_grpc.zatca.deal import Deal
from invora_grpc.zatca.issuing import KeyTaken, NotAccepted, NotFinal, TotalsDiffer
from invora_grpc.zatca.monthly import usage_events
from invora_grpc.zatca.requests import RuleError
from invora_grpc.zatca.requests import build as build_leg
from invora_grpc.zatca.supply import Role

Count = Callable[[], tuple[int, int]]
NUMBERS = numbers(1)
CHECKS = (PASS, PASS)
"""Whose tenants these are is asked first, of each of the two."""


@pytest.fixture(scope="module")
def tenants() -> Iterator[Tenants]:
    with running_sandbox(seed="demo") as running:
        yield ready(running)


@pytest.fixture
def proxy(tenants: Tenants) -> Iterator[FaultProxy]:
    with running_proxy(tenants.running.grpc) as running:
        yield running


@pytest.fixture
def count(tenants: Tenants) -> Count:
    """How many documents the provider and the platform have frozen since the test began."""

    def now() -> tuple[int, int]:
        return len(tenants.submissions(Role.SP)), len(tenants.submissions(Role.P))

    before = now()
    return lambda: (now()[0] - before[0], now()[1] - before[1])


@pytest.fixture
def key() -> str:
    """A key for the test's own deal."""
    return f"deal-{next(NUMBERS)}"


@pytest.fixture
def away(tenants: Tenants) -> Iterator[Callable[[bool], None]]:
    """Lets the authority be away, or not."""
    conditions = tenants.running.sandbox.authority

    def be(gone: bool) -> None:
        conditions.reachable = not gone

    yield be
    be(False)


def keys_of(tenants: Tenants, role: Role, kind: str) -> set[str]:
    return {str(record.key) for record in tenants.running.store.all(tenants.org(role), kind)}


# Answers that are lost


@pytest.mark.parametrize(
    ("passed", "fault"),
    [(0, REPLY_LOST), (1, REPLY_LOST), (2, REPLY_LOST), (3, REPLY_LOST), (0, RESET_BEFORE), (1, RESET_BEFORE)],
    ids=["answer to create", "to freeze", "to create 2", "to freeze 2", "request to create", "to freeze itself"],
)
def test_what_is_lost_on_the_way_is_neither_missing_nor_done_twice(
    tenants: Tenants, door: Door, proxy: FaultProxy, count: Count, key: str, passed: int, fault: Any
) -> None:
    clients = tenants.of(door, proxy.url)
    proxy.script(*CHECKS, *[PASS] * passed, fault)
    issued = issue(door, clients, option(1), today_deal(key))
    assert [one.status for one in issued.legs] == ["REPORTED", "CLEARED"]
    assert (count(), proxy.counts.faults.total()) == ((1, 1), 1)


@pytest.mark.parametrize("passed", [0, 1], ids=["create", "freeze"])
def test_the_documents_surface_finds_its_own_too(
    tenants: Tenants, door: Door, proxy: FaultProxy, count: Count, key: str, passed: int
) -> None:
    clients = tenants.of(door, proxy.url)
    proxy.script(*CHECKS, *[PASS] * passed, REPLY_LOST)
    issued = issue(door, clients, option(3), today_deal(key), agreement_of(3))
    assert [one.status for one in issued.legs] == ["REPORTED", "CLEARED"]
    assert (count(), proxy.counts.faults.total()) == ((1, 1), 1)


def test_a_draft_that_somebody_else_has_touched_is_read_again_before_it_is_frozen(
    tenants: Tenants, door: Door, count: Count, key: str
) -> None:
    stamps = []

    def stale_at_first(call: Call, request: Any, real: Any) -> Any:
        stamps.append(request.concurrency_stamp)
        if len(stamps) == 1:
            raise stale_stamp("invoice", request.key)
        return real(call, request)

    with handled("simple.invoices.freeze", stale_at_first):
        issued = issue(door, tenants.of(door), option(1), today_deal(key))
    assert ([one.valid for one in issued.legs], count(), len(stamps)) == ([True, True], (1, 1), 3)


@pytest.mark.parametrize("changes", [{"buyer": {"inline": {"legal_name": "Nobody"}}}, {"currency_code": "USD"}])
def test_a_draft_that_somebody_else_has_changed_is_not_frozen(
    tenants: Tenants, door: Door, count: Count, key: str, changes: dict[str, Any]
) -> None:
    """It was changed after it was made, and before it was frozen: its stamp is another one by then."""

    def changed_after(call: Call, request: Any, real: Any) -> Any:
        answer = real(call, request)
        path = catalog().method("simple.invoices.update").path
        update = {"key": request.key, "mask": [*changes], "changes": changes}
        server.HANDLERS[path](
            call, build(UpdateRequest, update | {"concurrency_stamp": answer.details.concurrency_stamp})
        )
        return answer

    with handled("simple.invoices.create", changed_after), pytest.raises(KeyTaken):
        issue(door, tenants.of(door), option(1), today_deal(key))
    assert count() == (0, 0)


def test_warnings_of_the_authority_are_told(tenants: Tenants, door: Door, key: str) -> None:
    """The platform knows no rate of this currency."""
    issued = issue(door, tenants.of(door), option(1), today_deal(key, currency="CAD", sar_rate=Decimal("2.7")))
    assert [(one.valid, [text[:9] for text in one.warnings]) for one in issued.legs] == [(True, ["BR-KSA-97"])] * 2


# The authority


def test_reports_that_take_time_are_waited_for(tenants: Tenants, door: Door, key: str) -> None:
    conditions = tenants.running.sandbox.authority
    conditions.reporting_delay = 0.2
    try:
        issued = issue(door, tenants.of(door), option(1), today_deal(key))
    finally:
        conditions.reporting_delay = 0.0
    assert [one.status for one in issued.legs] == ["REPORTED", "CLEARED"]


def test_a_report_that_does_not_come_in_time_is_found_by_a_later_run(door: Door, key: str) -> None:
    ahead = 0.0
    with running_sandbox(seed="demo", reporting_delay=60.0, clock=lambda: datetime.now(UTC).timestamp() + ahead) as it:
        tenants = ready(it)
        clients, deal = tenants.of(door), today_deal(key)
        with pytest.raises(NotFinal, match="is NOT_SUBMITTED after 0 seconds") as caught:
            issue(door, clients, option(1), deal, wait=0)
        waiting, cleared = caught.value.legs
        assert (waiting.final, waiting.may_be_handed_over, cleared.status) == (False, True, "CLEARED")
        assert (waiting.key, waiting.counter, bool(waiting.qr)) == (f"{key}-1", 1, True)
        assert len(tenants.submissions(Role.P)) == 1, "a simplified document does not hold up the next leg"
        ahead = 61.0
        first, second = issue(door, clients, option(1), deal).legs
    assert (first.status, first.number, first.hash) == ("REPORTED", waiting.number, waiting.hash)
    assert second.status == "CLEARED"


def test_an_authority_that_is_away_holds_up_what_must_be_cleared(
    tenants: Tenants, door: Door, away: Callable[[bool], None], count: Count, key: str
) -> None:
    deal, chosen, clients = today_deal(key, "business"), option(1, customer="business"), tenants.of(door)
    away(True)
    with pytest.raises(NotFinal, match=r"is FAILED \(AUTHORITY_UNREACHABLE") as caught:
        issue(door, clients, chosen, deal, wait=0.5)
    told = [(leg.status, leg.valid, leg.may_be_handed_over) for leg in caught.value.legs]
    assert told == [("FAILED", False, False)]
    assert count() == (1, 0), "leg 2 waits for leg 1"
    away(False)
    issued = issue(door, clients, chosen, deal)
    assert [one.status for one in issued.legs] == ["CLEARED", "CLEARED"]
    assert issued.leg(1).counter == caught.value.legs[0].counter
    assert count() == (1, 1)


def test_what_failed_is_submitted_again_until_the_authority_is_back(
    tenants: Tenants, door: Door, away: Callable[[bool], None], count: Count, key: str
) -> None:
    tries = 0

    def back_at_the_second(call: Call, request: Any, real: Any) -> Any:
        nonlocal tries
        tries += 1
        away(tries < 2)
        return real(call, request)

    away(True)
    with handled("invoicing.regulation_info.retry_submission", back_at_the_second):
        deal = today_deal(key, "business")
        issued = issue(door, tenants.of(door), option(1, customer="business"), deal)
    assert [one.status for one in issued.legs] == ["CLEARED", "CLEARED"]
    assert (tries, count()) == (2, (1, 1))


def test_a_refused_document_is_told_with_its_rule_and_stays_refused(
    tenants: Tenants, door: Door, count: Count, key: str
) -> None:
    """The platform's branch was set up with the provider's VAT number, which this client may not see."""
    deal = today_deal(key, branches={Role.SP: "sp-main", Role.P: "p-as-sp"})
    for _ in range(2):
        rule = r"NOT_CLEARED: BR-[A-Z0-9-]+: .*same VAT number.*what else the deal has issued stands"
        with unseen_branches(), pytest.raises(NotAccepted, match=rule) as caught:
            issue(door, tenants.of(door), option(1), deal)
        assert caught.value.key == f"{key}-2"
        first, second = caught.value.legs
        assert (first.key, second.status, second.final, second.valid) == (f"{key}-1", "NOT_CLEARED", True, False)
    assert count() == (1, 1)
    corrected = replace(deal, key=f"{key}-b", branches={Role.P: "p-main"})
    assert send(door, tenants.of(door), build_leg(option(1), 2, corrected)).status == "CLEARED"
    assert count() == (1, 2), "the customer has one invoice"


def test_if_the_customers_invoice_is_not_cleared_the_next_leg_is_not_issued(
    tenants: Tenants, door: Door, count: Count, key: str
) -> None:
    deal = today_deal(key, "business", branches={Role.SP: "sp-main", Role.P: "p-as-c"})
    with unseen_branches(), pytest.raises(NotAccepted) as caught:
        issue(door, tenants.of(door), option(4, customer="business"), deal)
    assert (caught.value.key, [leg.status for leg in caught.value.legs]) == (f"{key}-1", ["NOT_CLEARED"])
    assert count() == (0, 1)
    assert f"{key}-2" not in keys_of(tenants, Role.SP, "simple.invoices")


def unseen_branches() -> AbstractContextManager[None]:
    """The gateway lets nobody read branches."""

    def forbidden(call: Call, request: Any, real: Any) -> Message:
        raise Fault(grpc.StatusCode.PERMISSION_DENIED, "not yours to read", reason="SCOPE")

    return handled("invoicing.branches.get", forbidden)


def test_a_tenant_that_is_not_onboarded_is_told_so_and_the_deal_goes_on_after_that(
    tenants: Tenants, door: Door, key: str
) -> None:
    fresh = connect(tenants.running, f"Fresh {key}")
    deal, clients = today_deal(key), fresh.of(door)
    with pytest.raises(FailedPrecondition, match="InitiateOnboarding"):
        issue(door, clients, option(1), deal)
    onboard(fresh)
    assert issue(door, clients, option(1), deal).leg(1).counter == 1


# Gateways that tell less


def test_without_the_regulations_service_the_simple_surface_tells_its_own_status(
    tenants: Tenants, door: Door, key: str
) -> None:
    deal = today_deal(key)

    def unserved(call: Call, request: Any, real: Any) -> Message:
        raise Fault(grpc.StatusCode.UNIMPLEMENTED, "not served", reason="UNIMPLEMENTED")

    with handled("invoicing.regulation_info.list_document_regulations", unserved):
        issued = issue(door, tenants.of(door), option(1), deal)
    assert issued == issue(door, tenants.of(door), option(1), deal)


@pytest.mark.parametrize(("customer", "status"), [("consumer", "REPORTED"), ("business", "CLEARED")])
def test_where_only_the_general_status_is_told_zatcas_follows_from_the_kind_of_document(
    tenants: Tenants, door: Door, key: str, customer: str, status: str
) -> None:
    def general(call: Call, request: Any, real: Any) -> Any:
        answer = real(call, request)
        for item in answer.items:
            item.ClearField("metadata")
        return answer

    with handled("invoicing.regulation_info.list_document_regulations", general):
        deal = today_deal(key, customer)
        issued = issue(door, tenants.of(door), option(3, customer=customer), deal, agreement_of(3))
    assert [one.status for one in issued.legs] == [status, "CLEARED"]


# What is under the key already


@pytest.mark.parametrize("case", [1, 3], ids=["simple", "documents"])
@pytest.mark.parametrize("frozen", [True, False])
def test_another_document_under_the_key_is_left_alone(
    tenants: Tenants, door: Door, count: Count, key: str, case: int, frozen: bool
) -> None:
    deal, chosen, agreement, clients = today_deal(key), option(case), agreement_of(case), tenants.of(door)
    dearer = replace(deal, service=(replace(SERVICE, unit_price=SERVICE.unit_price + 1),))
    if frozen:
        issue(door, clients, chosen, deal, agreement)
    else:
        with (
            handled("simple.invoices.freeze", refused),
            handled("invoicing.documents.freeze", refused),
            pytest.raises(FailedPrecondition),
        ):
            issue(door, clients, chosen, deal, agreement)
    before = count()
    for each in (clients, tenants.of(door)):  # one that knows the key itself, and one that the gateway tells
        hint = "issue the deal as it was when it was begun"  # under another key a leg would be issued twice
        with pytest.raises(KeyTaken, match=f"'{key}-1' is that of another document; nothing was changed; {hint}"):
            issue(door, each, chosen, dearer, agreement)
    assert count() == before


def refused(call: Call, request: Any, real: Any) -> Message:
    raise failed_precondition("not now", "NOT_NOW")


def test_another_fee_under_the_key_of_a_usage_event_is_not_recorded(tenants: Tenants, door: Door, key: str) -> None:
    deal = today_deal(key, subscription="sub")
    (event,) = usage_events(option(6, 1), [deal])
    (dearer,) = usage_events(option(6, 1), [replace(deal, fee=(replace(FEE, unit_price=FEE.unit_price + 1),))])
    send(door, tenants.of(door), event)
    with pytest.raises(KeyTaken):
        send(door, tenants.of(door), dearer)


def test_totals_that_the_platform_computes_otherwise_are_not_frozen(
    tenants: Tenants, door: Door, count: Count, key: str
) -> None:
    def rounded_otherwise(call: Call, request: Any, real: Any) -> Any:
        answer = real(call, request)
        answer.details.calculations.tax_amount.nanos = 10_000_000
        return answer

    deal = today_deal(key)
    with (
        handled("simple.invoices.create", rounded_otherwise),
        pytest.raises(TotalsDiffer, match=r"tax_amount: the platform computes 30.01 where 30.00 was expected"),
    ):
        issue(door, tenants.of(door), option(1), deal)
    assert count() == (0, 0)
    assert issue(door, tenants.of(door), option(1), deal).leg(1).valid, "the draft itself was right"


def test_a_document_that_the_platform_stores_with_other_amounts_is_not_frozen(
    tenants: Tenants, door: Door, count: Count, key: str
) -> None:
    def recalculated(call: Call, request: Any, real: Any) -> Any:
        answer = real(call, request)
        answer.details.xml_content = answer.details.xml_content.replace(
            ">30.00</cbc:TaxAmount>", ">30.01</cbc:TaxAmount>"
        )
        return answer

    deal, chosen, agreement = today_deal(key), option(3), agreement_of(3)
    with (
        handled("invoicing.documents.create", recalculated),
        pytest.raises(TotalsDiffer, match=r"tax_amount: the platform computes 30.01 where 30.00 was expected"),
    ):
        issue(door, tenants.of(door), chosen, deal, agreement)
    assert count() == (0, 0)
    assert issue(door, tenants.of(door), chosen, deal, agreement).leg(1).valid, "the draft itself was right"


# Before anything is sent


def test_a_missing_client_is_named_and_nothing_is_sent(tenants: Tenants, door: Door, proxy: FaultProxy) -> None:
    clients = tenants.of(door, proxy.url)
    with pytest.raises(RequestError, match=r"clients: \['SP'\] lack P; give a client for the tenant of P"):
        issue(door, {Role.SP: clients[Role.SP]}, option(1), today_deal("k"))
    assert proxy.counts.requests == 0


@pytest.mark.parametrize("case", [1, 3], ids=["simple", "documents"])
def test_clients_of_the_wrong_tenants_are_found_out_before_anything_is_sent(
    tenants: Tenants, door: Door, count: Count, key: str, case: int
) -> None:
    right, deal = tenants.of(door), today_deal(key, branches={})
    swapped = {Role.P: right[Role.SP], Role.SP: right[Role.P]}
    told = rf"clients\[SP\]: '{PLATFORM.vat_number}' is the VAT number of its tenant; in the deal SP has"
    with pytest.raises(RequestError, match=told):
        issue(door, swapped, option(case), deal, agreement_of(case))
    assert count() == (0, 0)


@pytest.mark.parametrize("branch", ["p-as-sp", "p-set-up"])
def test_a_branch_that_issues_for_somebody_else_is_found_out_before_anything_is_sent(
    tenants: Tenants, door: Door, count: Count, key: str, branch: str
) -> None:
    deal = today_deal(key, branches={Role.SP: "sp-main", Role.P: branch})
    with pytest.raises(RequestError, match=rf"is the VAT number of branch '{branch}' of its tenant"):
        issue(door, tenants.of(door), option(1), deal)
    assert count() == (0, 0)


BAD: dict[str, tuple[Any, Deal, type[Exception]]] = {
    "no fee": (option(1), today_deal("k", fee=()), RequestError),
    "no agreement for leg 2": (option(2), today_deal("k"), PreconditionError),
    "a rule broken by leg 2": (
        option(4),
        today_deal("k", cost=(replace(SERVICE, tax=replace(SERVICE.tax, rate=SERVICE.tax.rate + 1)),)),
        RequestError,
    ),
    "a provider who is not registered": (
        option(1),
        today_deal("k", provider=replace(PROVIDER, vat_number="")),
        PreconditionError,
    ),
    "a buyer without address": (
        option(1, customer="business"),
        today_deal("k", "business", customer=replace(BUSINESS, address=None)),
        RequestError,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_if_one_leg_cannot_be_built_nothing_of_any_leg_is_sent(
    tenants: Tenants, door: Door, proxy: FaultProxy, name: str
) -> None:
    chosen, deal, error = BAD[name]
    with pytest.raises(error):
        issue(door, tenants.of(door, proxy.url), chosen, deal)
    assert proxy.counts.requests == 0


# Time


def test_a_simplified_document_is_not_issued_a_day_late(tenants: Tenants, door: Door, count: Count, key: str) -> None:
    deal = today_deal(key, issued_at=datetime.now(UTC) - timedelta(hours=25))
    with handled("simple.invoices.freeze", refused), pytest.raises(FailedPrecondition):
        issue(door, tenants.of(door), option(1), deal, now=deal.issued_at)
    for _ in ("there is a draft", "and again"):
        with pytest.raises(RuleError) as caught:
            issue(door, tenants.of(door), option(1), deal)
        assert caught.value.rule == "BR-KSA-98"
    assert count() == (0, 0)
    with client_of(tenants.running) as client, pytest.raises(NotFound):
        client.simple.invoices.get(key=f"{key}-2")


def test_what_was_frozen_in_time_is_gone_on_with_at_any_later_time(
    tenants: Tenants, door: Door, count: Count, key: str
) -> None:
    deal = today_deal(key, issued_at=datetime.now(UTC) - timedelta(hours=25))
    with handled("simple.invoices.create", only_for("1")), pytest.raises(FailedPrecondition):
        issue(door, tenants.of(door), option(1), deal, now=deal.issued_at)
    assert count() == (1, 0)
    issued = issue(door, tenants.of(door), option(1), deal)
    assert ([one.valid for one in issued.legs], count()) == ([True, True], (1, 1))


def only_for(number: str) -> Callable[[Call, Any, Any], Any]:
    """A gateway that takes one leg only."""

    def answer(call: Call, request: Any, real: Any) -> Any:
        return real(call, request) if request.key.endswith(f"-{number}") else refused(call, request, real)

    return answer


def test_through_all_of_this_the_chains_are_unbroken(tenants: Tenants) -> None:
    """To be run after the others; by itself it has little to look at."""
    for role, branch in ((Role.P, "p-main"), (Role.P, "p-as-sp"), (Role.SP, "sp-main")):
        assert check_chain(tenants.chain(role, branch)) == ()
