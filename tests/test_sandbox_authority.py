"""The sandbox's tax authority: chain, counter and stamp of what is frozen, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from test_sandbox_simple import BUSINESS, CONSUMER, INVOICE, LINE, NOTE, TRADER, Desk

from invora_api.branches.v2.models_pb2 import Branch
from invora_api.documents.v2 import models_pb2 as documents_v2
from invora_api.exchange_rates.v2.models_pb2 import ExchangeRateEntry
from invora_api.parties.v2.models_pb2 import Party
from invora_api.regulations.zatca.v1 import models_pb2 as zatca_v1
from invora_api.settings.v2.service_pb2 import LegalInfo
from invora_grpc.sandbox import authority
from invora_grpc.sandbox.authority import Submission, Surface, conditions
from invora_grpc.sandbox.model import Record
from invora_grpc.sandbox.onboarding import expect_onboarding
from invora_grpc.sandbox.service import Fault
from invora_grpc.sandbox.simple import CREDIT_NOTES, DEBIT_NOTES, INVOICES
from invora_grpc.sandbox.simple_xml import SAR_RATES
from invora_grpc.sandbox.store import Store
from invora_grpc.values import build
from invora_grpc.zatca.chain import check_chain
from invora_grpc.zatca.checking import check
from invora_grpc.zatca.document import Document
from invora_grpc.zatca.stamping import check_stamp
from invora_grpc.zatca.ubl import from_xml

DISTRICT = {**TRADER, "address": {**TRADER["address"], "city_subdivision_name": "Al Olaya"}}
WHOLE = {"inline": DISTRICT}
"""A business of which ZATCA wants no more particulars."""
PARTY = {
    "party_legal_entity": [{"registration_name": {"value": "Najd Services"}}],
    "party_tax_scheme": [{"company_id": {"value": "310405060700003"}}],
    "party_identification": [{"id": {"value": "7001020304", "scheme_id": "700"}}],
    "postal_address": {
        "street_name": {"value": "Tahlia"},
        "building_number": {"value": "7788"},
        "city_subdivision_name": {"value": "Al Andalus"},
        "city_name": {"value": "Jeddah"},
        "postal_zone": {"value": "23326"},
        "country": {"identification_code": {"value": "SA"}},
    },
}


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.open(":memory:") as opened:
        opened.create_organization("Acme", org_id="acme")
        opened.create_organization("Bolt", org_id="bolt")
        yield opened


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store, "acme")


def submission(desk: Desk, key: str = "k", surface: Surface = "simple.invoices") -> Submission:
    found = authority.submission_of(desk.call(), surface, key)
    assert found is not None
    return found


def written(desk: Desk, key: str = "k", surface: Surface = "simple.invoices") -> Document:
    """The tax document that the authority got."""
    return from_xml(authority.signed_xml(desk.call(), submission(desk, key, surface)))


def statuses(desk: Desk, key: str = "k") -> tuple[str, str]:
    """ZATCA's status and the generic one, shortened."""
    found = submission(desk, key)
    return (
        zatca_v1.ZatcaSubmissionStatus.Name(found.status).removeprefix("ZATCA_SUBMISSION_STATUS_"),
        documents_v2.RegulationSubmissionStatus.Name(found.regulation_status).removeprefix(
            "REGULATION_SUBMISSION_STATUS_"
        ),
    )


# The answer


@pytest.mark.parametrize(
    ("buyer", "expected"), [(CONSUMER, ("REPORTED", "ACCEPTED")), (WHOLE, ("CLEARED", "ACCEPTED"))]
)
def test_what_is_right_is_accepted_stamped_and_without_a_finding(
    desk: Desk, buyer: dict[str, Any], expected: tuple[str, str]
) -> None:
    desk.create(key="k", frozen=True, buyer=buyer)
    assert statuses(desk) == expected
    xml = authority.signed_xml(desk.call(), submission(desk))
    assert check(xml, now=desk.now) == ()
    assert not [one for one in check_stamp(xml) if one.ok is False]


def test_a_warning_is_told_and_the_document_counts_all_the_same(desk: Desk) -> None:
    made = desk.create(key="k", frozen=True, buyer=BUSINESS)
    assert statuses(desk) == ("CLEARED", "ACCEPTED_WITH_WARNINGS")
    assert "BR-KSA-63" in [one.code for one in made.zatca.warnings]


@pytest.mark.parametrize(("buyer", "status"), [(CONSUMER, "NOT_REPORTED"), (WHOLE, "NOT_CLEARED")])
def test_an_error_is_a_rejection_that_names_the_rule_and_keeps_its_place_in_the_chain(
    desk: Desk, buyer: dict[str, Any], status: str
) -> None:
    tomorrow = f"{desk.now + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    made = desk.create(key="k", frozen=True, buyer=buyer, issue_at=tomorrow)
    assert statuses(desk) == (status, "REJECTED")
    assert "BR-KSA-04" in [one.code for one in made.zatca.errors]
    assert not made.zatca.clearance_id
    after = desk.create(frozen=True).zatca
    assert (after.invoice_counter_value, after.previous_invoice_hash) == (2, made.zatca.invoice_hash)


@pytest.mark.parametrize("rate", [16, 99])
def test_a_rate_that_the_kingdom_does_not_have_is_rejected(desk: Desk, rate: int) -> None:
    desk.create(key="k", frozen=True, lines=[{**LINE, "tax": {"tax_rate": rate}}])
    assert statuses(desk) == ("NOT_REPORTED", "REJECTED")


def test_a_party_may_not_sell_to_itself(desk: Desk, store: Store) -> None:
    store.update_organization("acme", data={"details": {"tax_id": TRADER["vat_registration_number"]}})
    desk.create(key="k", frozen=True, buyer=WHOLE)
    assert statuses(desk)[0] == "NOT_CLEARED"


def test_letters_that_xml_cannot_hold_do_not_stop_a_document(desk: Desk) -> None:
    desk.create(key="k", frozen=True, lines=[{**LINE, "description": "a\x00b"}], notes=["\x1f"])
    assert written(desk).lines[0].name == "a\ufffdb"


# What becomes of a Simple document's contents


def test_lines_totals_dates_and_notes_are_those_of_the_simple_document(desk: Desk) -> None:
    made = desk.create(key="k", frozen=True, buyer=WHOLE, notes=["Thanks"], issue_at="2026-11-20T22:30:00Z")
    document = written(desk)
    assert (document.id, document.uuid, document.notes) == (made.number, made.zatca.uuid, ("Thanks",))
    assert str(document.type_code) == "388 0100000"
    assert document.issued_at.date() == date(2026, 11, 21), "the day in Riyadh"
    assert document.supply_date == date(2026, 11, 20)
    assert [(line.name, line.quantity, line.unit_price, line.unit_code) for line in document.lines] == [
        ("Consulting", Decimal(2), Decimal(50), "HUR")
    ]
    assert document.buyer and document.buyer.vat_number == TRADER["vat_registration_number"]


def test_notes_name_their_invoice_and_their_reason_and_inherit_its_subtype(desk: Desk) -> None:
    desk.create(key="inv", frozen=True, buyer=WHOLE)
    for kind, code in ((CREDIT_NOTES, 381), (DEBIT_NOTES, 383)):
        desk.create(kind, key="n", frozen=True)
        document = written(desk, "n", kind.records)
        assert str(document.type_code) == f"{code} 0100000"
        assert ([one.id for one in document.originals], document.reason) == (["INV-000001"], NOTE["reason"])
        assert submission(desk, "n", kind.records).errors == ()


def test_a_supply_without_a_date_was_on_the_day_of_issue(desk: Desk) -> None:
    desk.create(key="k", frozen=True, supply_date=None, issue_at="2026-11-20T22:30:00Z")
    assert written(desk).supply_date == date(2026, 11, 21)


def test_the_seller_is_the_self_party_and_the_branch_comes_before_it(desk: Desk, store: Store) -> None:
    body = build(LegalInfo, {"party": PARTY}).SerializeToString()
    store.insert("acme", "invoicing.self_party", Record("self", body=body))
    desk.create(key="k", frozen=True)
    seller = written(desk).seller
    assert (seller.name, seller.vat_number, seller.id_scheme, seller.id_value) == (
        *("Najd Services", "310405060700003"),
        *("700", "7001020304"),
    )
    assert seller.address and (seller.address.street, seller.address.postal_code) == ("Tahlia", "23326")
    config = {"vatRegistrationNumber": "310203040500003", "crn": "1010203040", "buildingNumber": "1111"}
    branch = build(Branch, {"is_primary": True, "regulation_configs": {"zatca": {"config": config}}})
    store.insert("acme", "invoicing.branches", Record("b", "main", body=branch.SerializeToString()))
    desk.create(key="later", frozen=True)
    seller = written(desk, "later").seller
    assert (seller.name, seller.vat_number, seller.id_value) == ("Najd Services", "310203040500003", "1010203040")
    assert seller.address and (seller.address.street, seller.address.building_number) == ("Tahlia", "1111")
    assert not submission(desk, "later").errors + submission(desk, "later").warnings


def test_a_stored_party_is_the_buyer_with_its_address(desk: Desk, store: Store) -> None:
    body = build(Party, {"details": PARTY}).SerializeToString()
    store.insert("acme", "invoicing.parties", Record("p", "najd", body=body))
    desk.create(key="k", frozen=True, buyer={"party_key": "najd"})
    buyer = written(desk).buyer
    assert buyer and buyer.address and (buyer.name, buyer.address.city) == ("Najd Services", "Jeddah")
    assert statuses(desk) == ("CLEARED", "ACCEPTED")


def test_foreign_currency_takes_the_tenants_latest_rate_else_the_sandboxes_else_one(desk: Desk, store: Store) -> None:
    for number, (day, rate) in enumerate((("2026-01-01", "3.7"), ("2026-11-01", "3.8"), ("2027-01-01", "9"))):
        entry = {"source_currency": "USD", "target_currency": "SAR", "rate": rate, "effective_date": day}
        body = build(ExchangeRateEntry, entry).SerializeToString()
        store.insert("acme", "invoicing.exchange_rates", Record(f"r{number}", f"r{number}", body=body))
    rates = []
    for currency in ("USD", "EUR", "CAD"):
        desk.create(key=currency, frozen=True, currency_code=currency)
        rates.append(written(desk, currency).sar_rate)
    assert rates == [Decimal("3.8"), SAR_RATES["EUR"], Decimal(1)]
    told = [[one.code for one in submission(desk, currency).warnings] for currency in ("USD", "EUR", "CAD")]
    assert told == [[], [], ["BR-KSA-97"]], "a rate of one is no rate"


# Counter and chain


def test_counter_and_chain_go_over_both_surfaces_and_all_kinds(desk: Desk) -> None:
    desk.create(key="inv", frozen=True)
    xml = authority.signed_xml(desk.call(), submission(desk, "inv"))
    with desk.store.transaction():
        issued = authority.issue(desk.call(), surface="documents", key="inv", xml=xml, branch=None)
    desk.create(CREDIT_NOTES, key="note", frozen=True)
    chain = [submission(desk, "inv"), issued, submission(desk, "note", "simple.credit_notes")]
    assert [one.counter for one in chain] == [1, 2, 3]
    breaks = check_chain([authority.signed_xml(desk.call(), one) for one in chain])
    assert [one.kind for one in breaks] == ["duplicate-uuid"], "the same document was given twice"


def test_counter_and_stamp_that_a_document_brings_are_replaced(desk: Desk) -> None:
    desk.create(key="k", frozen=True)
    xml = authority.signed_xml(desk.call(), submission(desk))
    with desk.store.transaction():
        again = authority.issue(desk.call(), surface="documents", key="k", xml=xml, branch=None)
    signed = authority.signed_xml(desk.call(), again)
    assert (from_xml(signed).counter, from_xml(signed).previous_hash) == (2, submission(desk).hash)
    assert signed.count(b">ICV<") == signed.count(b">PIH<") == signed.count(b"<ext:UBLExtensions") == 1
    assert check(signed, now=desk.now) == ()


def test_a_freeze_that_is_rolled_back_uses_up_no_counter(desk: Desk, store: Store) -> None:
    def stopped() -> None:
        with store.transaction():
            desk.create(key="k", frozen=True)
            raise KeyError

    with pytest.raises(KeyError):
        stopped()
    assert authority.submission_of(desk.call(), "simple.invoices", "k") is None
    made = desk.create(key="k", frozen=True).zatca
    assert (made.invoice_counter_value, check_chain([authority.signed_xml(desk.call(), submission(desk))])) == (1, ())


def test_what_a_qr_code_cannot_hold_is_refused_and_uses_up_nothing(desk: Desk, store: Store) -> None:
    store.update_organization("acme", name="شركة" * 40)
    assert desk.refusal(INVOICES, "Create", changes=INVOICE, freeze_immediately=True).reason == "CANNOT_BE_STAMPED"
    store.update_organization("acme", name="شركة")
    made = desk.create(frozen=True)
    assert (made.number, made.zatca.invoice_counter_value) == ("INV-000001", 1)


def test_each_tenant_has_its_own_chain_and_sees_its_own_submissions_only(desk: Desk, store: Store) -> None:
    desk.create(key="k", frozen=True)
    other = Desk(store, "bolt")
    assert authority.submission_of(other.call(), "simple.invoices", "k") is None
    assert authority.submissions(other.call()) == []
    assert other.create(key="k", frozen=True).zatca.invoice_counter_value == 1


def test_before_onboarding_nothing_is_issued_and_the_refusal_says_what_to_call(desk: Desk, store: Store) -> None:
    expect_onboarding(store, "acme")
    fault = desk.refusal(INVOICES, "Create", changes=INVOICE, freeze_immediately=True)
    assert (fault.code.name, fault.reason) == ("FAILED_PRECONDITION", "NOT_ONBOARDED")
    assert "InitiateOnboarding" in fault.message
    desk.create(key="draft")


# Time, and an authority that is away


def test_a_delayed_report_is_pending_until_its_time_and_clearance_is_not_delayed(desk: Desk, store: Store) -> None:
    conditions(store).reporting_delay = 60
    draft = desk.create(key="k", frozen=True)
    assert draft.zatca.status == zatca_v1.ZATCA_SUBMISSION_STATUS_NOT_SUBMITTED
    assert (draft.zatca.invoice_counter_value, draft.zatca.HasField("submitted_at")) == (1, False)
    assert desk.create(frozen=True, buyer=WHOLE).zatca.status == zatca_v1.ZATCA_SUBMISSION_STATUS_CLEARED
    assert statuses(desk) == ("NOT_SUBMITTED", "PENDING")
    desk.now += timedelta(seconds=59)
    assert statuses(desk) == ("NOT_SUBMITTED", "PENDING")
    assert desk.keys(filter={"part": {"zatca_status": {"in_values": ["NOT_SUBMITTED"]}}}) == ["k"]
    desk.now += timedelta(seconds=1)
    assert statuses(desk) == ("REPORTED", "ACCEPTED")
    told = desk.ask(INVOICES, "Get", key="k").details
    assert told.zatca.status == zatca_v1.ZATCA_SUBMISSION_STATUS_REPORTED
    assert told.zatca.submitted_at.ToDatetime().second == draft.frozen_at.ToDatetime().second
    assert told.concurrency_stamp == draft.concurrency_stamp, "the document itself did not change"


def test_an_unreachable_authority_is_a_failure_that_can_be_retried(desk: Desk, store: Store) -> None:
    conditions(store).reachable = False
    desk.create(key="k", frozen=True, buyer=WHOLE)
    assert statuses(desk) == ("FAILED", "ERROR")
    before = submission(desk)
    assert [one.code for one in before.errors] == ["AUTHORITY_UNREACHABLE"]
    with pytest.raises(Fault) as caught:
        authority.retry(desk.call(), before)
    assert caught.value.code.name == "UNAVAILABLE"
    conditions(store).reachable = True
    authority.retry(desk.call(), before)
    assert statuses(desk) == ("CLEARED", "ACCEPTED")
    after = submission(desk)
    assert (after.counter, after.hash, after.errors) == (before.counter, before.hash, ())


def test_what_was_answered_is_not_submitted_again(desk: Desk) -> None:
    desk.create(key="k", frozen=True)
    with pytest.raises(Fault) as caught:
        authority.retry(desk.call(), submission(desk))
    assert (caught.value.code.name, caught.value.reason) == ("FAILED_PRECONDITION", "SUBMISSION_NOT_FAILED")


@pytest.mark.parametrize(
    ("status", "zatca"),
    [
        ("REJECTED", "NOT_REPORTED"),
        ("ACCEPTED_WITH_WARNINGS", "REPORTED"),
        ("ERROR", "FAILED"),
        ("NOT_SUBMITTED", "NOT_SUBMITTED"),
        ("PENDING", "NOT_SUBMITTED"),
    ],
)
def test_a_status_that_is_set_by_hand_shows_everywhere_with_its_reason(desk: Desk, status: str, zatca: str) -> None:
    desk.create(key="k", frozen=True)
    value: Any = documents_v2.RegulationSubmissionStatus.Value(f"REGULATION_SUBMISSION_STATUS_{status}")
    authority.override(desk.call(), submission(desk), value, "By phone")
    assert statuses(desk) == (zatca, status)
    told = desk.ask(INVOICES, "Get", key="k").details.zatca.status
    assert zatca_v1.ZatcaSubmissionStatus.Name(told).endswith(f"_{zatca}")
    assert [one.message for one in submission(desk).entry().diagnostics] == ["By phone"]
