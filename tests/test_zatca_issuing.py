"""All six cases by the wire: in the right tenants, accepted by the authority, in one unbroken chain for each branch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from conftest import client_of
from door import AsyncDoor, Door
from sandbox_fixture import running_sandbox
from zatca_deals import OPTIONS, PROVIDER, SERVICE, option
from zatca_tenants import Tenants, agreement_of, issue, ready, send, today_deal

from invora_grpc.errors import RequestError
from invora_grpc.status import PermissionDenied
from invora_grpc.zatca.advice import Option
from invora_grpc.zatca.chain import check_chain
from invora_grpc.zatca.deal import Deal
from invora_grpc.zatca.issuing import Issued, IssuedLeg, stamped_xml
from invora_grpc.zatca.monthly import summary, usage_events
from invora_grpc.zatca.notes import note
from invora_grpc.zatca.qr import Qr
from invora_grpc.zatca.requests import build
from invora_grpc.zatca.supply import Role
from invora_grpc.zatca.ubl import from_xml

BRANCHES = {Role.P: "p-main", Role.SP: "sp-main"}
MATRIX = [(case, parent, customer) for case, parent in OPTIONS for customer in ("consumer", "business")]


@pytest.fixture(scope="module")
def tenants() -> Iterator[Tenants]:
    with running_sandbox(seed="demo") as running:
        yield ready(running)


@pytest.fixture(scope="module")
def desk() -> Iterator[Door]:
    """A door for the module."""
    opened = Door()
    yield opened
    opened.close()


@dataclass
class Whole:
    """Every option, issued once for each kind of customer."""

    tenants: Tenants
    clients: Any
    issued: dict[tuple[int, int | None, str], Issued]

    def xml(self, role: Role, leg: IssuedLeg) -> bytes:
        return stamped_xml(self.clients[role], leg)


def case_of(case: int, parent: int | None, customer: str) -> tuple[Option, Deal]:
    return option(case, parent, customer), today_deal(f"m-{case}-{parent}-{customer}", customer)


@pytest.fixture(scope="module")
def whole(tenants: Tenants, desk: Door) -> Whole:
    clients = tenants.of(desk)
    issued = {row: issue(desk, clients, *case_of(*row), agreement_of(row[0])) for row in MATRIX}
    return Whole(tenants, clients, issued)


@pytest.mark.parametrize("row", MATRIX, ids=str)
def test_every_case_ends_cleared_or_reported_as_its_legs_say(whole: Whole, row: tuple[int, int | None, str]) -> None:
    issued = whole.issued[row]
    assert [one.leg for one in issued.legs] == [leg for leg in issued.option.legs if leg.period == "transaction"]
    for each in issued.legs:
        assert each.leg
        expected = "CLEARED" if each.leg.submission == "clearance" else "REPORTED"
        assert (each.status, each.final, each.errors, each.warnings) == (expected, True, (), ())


@pytest.mark.parametrize("row", MATRIX, ids=str)
def test_every_document_is_stamped_as_its_leg_says_and_its_qr_code_proves_it(
    whole: Whole, row: tuple[int, int | None, str]
) -> None:
    for each in whole.issued[row].legs:
        assert each.leg
        xml = whole.xml(each.leg.tenant, each)
        document = from_xml(xml)
        assert document.type_code == each.leg.type_code
        assert (document.id, document.uuid.lower()) == (each.number, each.uuid.lower())
        assert document.counter == each.counter
        assert (document.seller.vat_number == PROVIDER.vat_number) == (each.leg.seller is Role.SP)
        checks = Qr.decode(each.qr).verify(xml)
        assert checks and all(check.ok for check in checks)


@pytest.mark.parametrize("role", [Role.P, Role.SP])
def test_the_chain_of_a_branch_is_unbroken_over_both_surfaces(whole: Whole, role: Role) -> None:
    chain = whole.tenants.chain(role, BRANCHES[role])
    legs = [leg for one in whole.issued.values() for leg in one.legs if leg.leg and leg.leg.tenant is role]
    assert {leg.leg.surface for leg in legs if leg.leg} == {"simple", "documents"}
    assert len(chain) >= len(legs)
    assert check_chain(chain) == ()
    counters = [leg.counter for leg in legs]
    assert counters == sorted(set(counters))


def test_with_the_providers_own_credentials_the_same_documents_follow(tenants: Tenants, door: Door) -> None:
    key = f"own-{type(door).__name__}"
    deal = today_deal(key, "business")
    issued = issue(door, tenants.own(door), option(3, customer="business"), deal, agreement_of(3))
    assert [one.status for one in issued.legs] == ["CLEARED", "CLEARED"]
    (xml,) = [one for one in tenants.chain(Role.SP, "sp-main") if from_xml(one).id == f"{key}-1"]
    assert from_xml(xml).seller.vat_number == PROVIDER.vat_number
    again = issue(door, tenants.of(door), option(3, customer="business"), deal, agreement_of(3))
    assert again == issued, "x-target-org-id leads to the same tenant"


@pytest.mark.parametrize("sp", ["non-registered", "non-resident"])
def test_for_an_unregistered_provider_only_the_platforms_invoice_follows(tenants: Tenants, door: Door, sp: str) -> None:
    deal = today_deal(f"u-{sp}-{type(door).__name__}", provider=replace(PROVIDER, vat_number=""))
    before = len(tenants.submissions(Role.SP))
    issued = issue(door, {Role.P: tenants.of(door)[Role.P]}, option(2, sp=sp), deal)
    assert [(one.status, one.valid) for one in issued.legs] == [("REPORTED", True), ("NO_DOCUMENT", True)]
    assert len(tenants.submissions(Role.SP)) == before


def test_issuing_a_deal_twice_answers_the_same_and_issues_nothing(tenants: Tenants, door: Door) -> None:
    deal, chosen = today_deal(f"twice-{type(door).__name__}"), option(5, 3)
    first = issue(door, tenants.of(door), chosen, deal, agreement_of(5))
    frozen = [len(tenants.submissions(role)) for role in BRANCHES]
    assert issue(door, tenants.of(door), chosen, deal, agreement_of(5)) == first
    assert [len(tenants.submissions(role)) for role in BRANCHES] == frozen


def test_one_key_may_name_a_document_on_each_surface(tenants: Tenants, desk: Door) -> None:
    deal, clients = today_deal("both"), tenants.of(desk)
    simple = issue(desk, clients, option(1), deal).leg(1)
    ubl = issue(desk, clients, option(3), deal, agreement_of(3)).leg(1)
    assert simple.key == ubl.key and simple.uuid != ubl.uuid
    assert issue(desk, clients, option(1), deal).leg(1) == simple
    for leg, flags in ((simple, "0200000"), (ubl, "0210000")):
        assert from_xml(stamped_xml(clients[Role.SP], leg)).type_code.name == flags


# The right tenants


def frozen(tenants: Tenants) -> list[int]:
    """How many documents each tenant has issued."""
    return [len(tenants.submissions(role)) for role in BRANCHES]


@pytest.mark.parametrize("made", ["summary", "fee", "commission", "event"])
def test_what_was_built_before_is_not_sent_to_another_tenant(tenants: Tenants, door: Door, made: str) -> None:
    """The gateway itself would put the platform's summary into the provider's chain."""
    key = f"sent-{made}-{type(door).__name__}"
    deal, right, before = today_deal(key, branches={}), tenants.of(door), frozen(tenants)
    swapped = {Role.P: right[Role.SP], Role.SP: right[Role.P]}
    two = [deal, replace(deal, key=f"{key}-b")]
    made_before: Any = {
        "summary": lambda: summary(option(6, 1), deal.supply_date, two, key=key, issued_at=deal.issued_at),
        "fee": lambda: build(option(1), 2, deal),
        "commission": lambda: build(option(5, 1), 2, deal, agreement_of(5)),
        "event": lambda: usage_events(option(6, 1), [deal])[0],
    }[made]()
    with pytest.raises(RequestError, match="is the VAT number of its tenant"):
        send(door, swapped, made_before)
    assert frozen(tenants) == before


@pytest.mark.parametrize("case", [1, 4])
def test_a_tenant_in_which_the_client_may_do_nothing_is_found_out_before_the_other_one_issues(
    tenants: Tenants, door: Door, case: int
) -> None:
    clients, before = tenants.of(door), frozen(tenants)
    first, other = (Role.SP, Role.P) if case == 1 else (Role.P, Role.SP)
    theirs = {first: clients[first], other: clients[Role.P].for_org("404", rebind=True)}
    with pytest.raises(PermissionDenied):
        issue(door, theirs, option(case), today_deal(f"denied-{case}-{type(door).__name__}"))
    assert frozen(tenants) == before


@pytest.mark.parametrize("wait", [float("nan"), -1.0, None, "5"])
def test_a_wait_that_is_no_time_is_refused_before_anything_is_sent(tenants: Tenants, door: Door, wait: Any) -> None:
    with pytest.raises(RequestError, match=r"wait: .*; give seconds, 0 or more"):
        issue(door, tenants.of(door), option(1), today_deal("w"), wait=wait)
    drafts = tenants.running.store.all(tenants.org(Role.SP), "simple.invoices")
    assert "w-1" not in {draft.key for draft in drafts}


def test_clients_of_the_other_kind_are_named(tenants: Tenants) -> None:
    blocking, waiting = Door(), AsyncDoor()
    for door, other, kind in ((blocking, waiting, "Invora"), (waiting, blocking, "AsyncInvora")):
        with pytest.raises(RequestError, match=rf"clients\[P\]: '.*' is of another kind; give an {kind};"):
            issue(door, tenants.of(other), option(1), today_deal("k"))
        alone: Any = tenants.of(door)[Role.P]
        with pytest.raises(RequestError, match=f"clients: '{kind}' is no mapping"):
            issue(door, alone, option(1), today_deal("k"))
        door.close()


# Notes


@pytest.mark.parametrize("kind", [381, 383])
@pytest.mark.parametrize(("case", "number"), [(1, 1), (1, 2), (2, 2), (3, 1), (5, 2)])
def test_notes_are_accepted_in_the_tenant_of_their_original_with_its_flags(
    tenants: Tenants, desk: Door, case: int, number: int, kind: Any
) -> None:
    chosen = option(case, 1 if case == 5 else None)
    deal, clients, agreement = today_deal(f"n-{case}-{number}-{kind}"), tenants.of(desk), agreement_of(case)
    issued = issue(desk, clients, chosen, deal, agreement).leg(number)
    original = build(chosen, number, deal, agreement)
    made = note(
        original,
        kind,
        (replace(SERVICE, unit_price=Decimal(5)),),
        reason="The price was wrong",
        key=f"{deal.key}-note",
        issued_at=datetime.now(UTC),
        event=deal.supply_date,
        number=issued.number,
        agreement=agreement,
    )
    sent = send(desk, clients, made)
    assert (sent.status, made.role) == (issued.status, original.role)
    document = from_xml(stamped_xml(clients[made.role], sent))
    assert original.document and document.type_code == original.document.type_code.note(kind)
    assert [one.id for one in document.originals] == [issued.number]
    assert send(desk, clients, made) == sent


# The month


def month_of(key: str, issued: datetime) -> list[Deal]:
    return [today_deal(f"{key}-{number}", issued_at=issued, subscription="sub-speedy") for number in (1, 2)]


@pytest.mark.parametrize("parent", [1, 3, 4])
def test_the_summary_of_a_month_is_cleared_in_the_platforms_chain(tenants: Tenants, door: Door, parent: int) -> None:
    now, key = datetime.now(UTC), f"sum-{parent}-{type(door).__name__}"
    deals = month_of(key, now)
    made = summary(option(6, parent), deals[0].supply_date, deals, key=key, issued_at=now)
    sent = send(door, tenants.of(door), made)
    assert (sent.status, sent.number, sent.leg) == ("CLEARED", key, None)
    document = from_xml(tenants.chain(Role.P, "p-main")[-1])
    assert (document.id, document.type_code.name, len(document.lines)) == (key, "0100010", 2)
    assert send(door, tenants.of(door), made) == sent


def test_usage_events_are_recorded_once_however_often_they_are_sent(tenants: Tenants, door: Door) -> None:
    key = f"event-{type(door).__name__}"
    events = usage_events(option(6, 1), month_of(key, datetime.now(UTC)))
    for _ in range(2):
        assert [send(door, tenants.of(door), event).status for event in events] == ["RECORDED", "RECORDED"]
    with client_of(tenants.running) as platform:
        found = [one for one in platform.billing.events.list.items() if one.transaction_id.startswith(key)]
    assert sorted(one.transaction_id for one in found) == [f"{key}-1-2", f"{key}-2-2"]
    assert {one.payload.fields["amount"].string_value for one in found} == {"20.00"}


def test_the_async_steps_are_those_of_the_blocking_client(tenants: Tenants) -> None:
    """One deal, begun by one client, is gone on with by the other."""
    deal, told = today_deal("switch", "business"), []
    for door in (Door(), AsyncDoor()):
        told.append(issue(door, tenants.of(door), option(4, customer="business"), deal))
        door.close()
    assert told[0] == told[1]
