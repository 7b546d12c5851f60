"""The sandbox's Simple surface: what is refused, what freezing does, and that tenants and totals stay straight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from invora_api.branches.v2.models_pb2 import Branch
from invora_api.parties.v2.models_pb2 import Party
from invora_api.regulations.zatca.v1 import models_pb2 as zatca_v1
from invora_grpc.catalog import catalog
from invora_grpc.sandbox import authority
from invora_grpc.sandbox.idp import Caller
from invora_grpc.sandbox.model import Record
from invora_grpc.sandbox.sellers import SANDBOX_VAT
from invora_grpc.sandbox.service import Call, Fault
from invora_grpc.sandbox.simple import CREDIT_NOTES, DEBIT_NOTES, INVOICES, REGISTRY, Kind
from invora_grpc.sandbox.store import Store
from invora_grpc.values import build, to_decimal
from invora_grpc.zatca.chain import check_chain
from invora_grpc.zatca.hashing import FIRST_HASH, invoice_hash
from invora_grpc.zatca.qr import Qr

NOW = datetime(2026, 11, 21, 9, 30, 0, 250_000, UTC)
ADDRESS = {"building_number": "1234", "street_name": "King Fahd Road", "city_name": "Riyadh"}
ADDRESS |= {"postal_zone": "11564", "country_code": "SA"}
CONSUMER = {"inline": {"legal_name": "Layla"}}
TRADER = {"legal_name": "Olaya Trading", "vat_registration_number": "310000000000003", "address": ADDRESS}
BUSINESS = {"inline": TRADER}
HOURS = {"value": 2, "unit_code": "HUR"}
LINE = {"description": "Consulting", "quantity": HOURS, "unit_price": 50, "tax": {"tax_rate": 15}}
INVOICE = {"currency_code": "SAR", "buyer": CONSUMER, "lines": [LINE], "supply_date": "2026-11-20"}
NOTE = {"invoice_key": "inv", "reason": "Returned", "lines": [LINE]}
ALL_KINDS = pytest.mark.parametrize("kind", [INVOICES, CREDIT_NOTES, DEBIT_NOTES], ids=lambda kind: kind.prefix)
STATUSES = grpc.StatusCode


class Desk:
    """Calls handlers as the server does, each inside a transaction, for one tenant."""

    def __init__(self, store: Store, org_id: str, subject: str = "user-1") -> None:
        self.store, self.org_id, self.now = store, org_id, NOW
        self.caller = Caller(subject, "client", org_id, org_id, {}, None, 0)

    def call(self, path: str = "simple.invoices.get") -> Call:
        return Call(self.store, catalog().method(path), self.caller, self.org_id, "https://idp", self.now)

    def ask(self, kind: Kind, rpc: str, alter: Callable[[Any], object] = bool, **values: Any) -> Any:
        path = f"/{kind.document.DESCRIPTOR.full_name}Service/{rpc}"
        call = self.call(path)
        request = build(getattr(kind.models, f"{rpc}Request"), values)
        alter(request)
        with self.store.transaction():
            return REGISTRY[path](call, request)

    def create(self, kind: Kind = INVOICES, frozen: bool = False, key: str | None = None, **changes: Any) -> Any:
        given = {**(NOTE if kind.effect else INVOICE), **changes}
        return self.ask(kind, "Create", key=key, changes=given, freeze_immediately=frozen).details

    def refusal(self, kind: Kind, rpc: str, **values: Any) -> Fault:
        with pytest.raises(Fault) as caught:
            self.ask(kind, rpc, **values)
        return caught.value

    def wrong(self, **changes: Any) -> list[str]:
        """The fields that Create finds wrong in an invoice with these changes."""
        fault = self.refusal(INVOICES, "Create", changes={**INVOICE, **changes})
        assert fault.code is STATUSES.INVALID_ARGUMENT
        return [path for path, _ in fault.violations]

    def wrong_line(self, **changes: Any) -> list[str]:
        return [path.removeprefix("changes.lines[0].") for path in self.wrong(lines=[{**LINE, **changes}])]

    def keys(self, kind: Kind = INVOICES, **request: Any) -> list[str]:
        return [item.id.key for item in self.ask(kind, "List", **request).items]


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.open(":memory:") as opened:
        opened.create_organization("Acme", org_id="acme")
        opened.create_organization("Bolt", org_id="bolt")
        yield opened


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store, "acme")


def with_invoice(desk: Desk) -> Desk:
    """The desk with the frozen invoice `inv` of 115.00 that notes refer to."""
    desk.create(key="inv", frozen=True)
    return desk


# Every kind alike


@ALL_KINDS
def test_a_draft_lives_and_ends_as_a_frozen_document(desk: Desk, kind: Kind) -> None:
    draft = with_invoice(desk).create(kind, key="k")
    assert (draft.id.key, draft.id.version, draft.frozen, draft.number) == ("k", 1, False, "")
    other = desk.ask(kind, "Update", key="k", concurrency_stamp=draft.concurrency_stamp, changes={"notes": ["x"]})
    frozen = desk.ask(kind, "Freeze", key="k", concurrency_stamp=other.details.concurrency_stamp).details
    assert (frozen.frozen, frozen.id.version, list(frozen.notes)) == (True, 3, ["x"])
    assert desk.ask(kind, "Get", key="k").details == frozen


@ALL_KINDS
@pytest.mark.parametrize("rpc", ["Update", "Freeze"])
def test_a_stamp_is_required_and_must_be_the_latest(desk: Desk, kind: Kind, rpc: str) -> None:
    with_invoice(desk).create(kind, key="k")
    assert desk.refusal(kind, rpc, key="k").violations[0][0] == "concurrency_stamp"
    assert desk.refusal(kind, rpc, key="k", concurrency_stamp="old").code is STATUSES.ABORTED


@ALL_KINDS
def test_a_frozen_document_refuses_every_change_even_with_a_wrong_stamp(desk: Desk, kind: Kind) -> None:
    before = with_invoice(desk).create(kind, key="k", frozen=True)
    for rpc in ("Update", "Freeze"):
        assert desk.refusal(kind, rpc, key="k", concurrency_stamp="old").reason == "DOCUMENT_FROZEN"
    assert desk.refusal(kind, "Delete", keys=["k"]).reason == "DOCUMENT_FROZEN"
    assert desk.ask(kind, "Get", key="k").details == before


@ALL_KINDS
def test_another_tenants_document_is_not_found(desk: Desk, store: Store, kind: Kind) -> None:
    with_invoice(desk).create(kind, key="k")
    other = Desk(store, "bolt")
    for rpc in ("Get", "Update", "Freeze"):
        assert other.refusal(kind, rpc, key="k").code is STATUSES.NOT_FOUND
    assert other.refusal(kind, "Delete", keys=["k"]).code is STATUSES.NOT_FOUND
    assert other.keys(kind) == []


@ALL_KINDS
def test_a_key_can_be_used_once_whatever_else_the_request_holds(desk: Desk, kind: Kind) -> None:
    with_invoice(desk).create(kind, key="k")
    again = {**NOTE, "invoice_key": "gone"} if kind.effect else {**INVOICE, "branch_id": "gone"}
    assert desk.refusal(kind, "Create", key="k", changes=again).code is STATUSES.ALREADY_EXISTS


@ALL_KINDS
def test_numbers_have_no_gaps_although_a_freeze_fails(desk: Desk, kind: Kind) -> None:
    first = with_invoice(desk).create(kind, frozen=True, lines=[{**LINE, "unit_price": 1}])
    desk.refusal(kind, "Create", changes={"lines": []}, freeze_immediately=True)
    second = desk.create(kind, frozen=True, lines=[{**LINE, "unit_price": 1}])
    assert int(second.number[-6:]) - int(first.number[-6:]) == 1
    assert first.number.startswith(f"{kind.prefix}-00000")


# Creating


def test_totals_are_computed_from_the_lines(desk: Desk) -> None:
    made = desk.create(lines=[LINE, {**LINE, "unit_price": "0.1"}]).calculations
    assert to_decimal(made.payable_amount) == Decimal("115.23")
    assert [line.line_id for line in made.lines] == ["1", "2"]
    assert [to_decimal(part.taxable_amount) for part in made.tax_subtotals] == [Decimal("100.2")]


def test_the_audit_tells_who_and_when_and_a_missing_issue_time_is_now(desk: Desk, store: Store) -> None:
    draft = desk.create(key="k")
    later = Desk(store, "acme", "user-2")
    later.now = NOW + timedelta(hours=1)
    audit = later.ask(INVOICES, "Update", key="k", concurrency_stamp=draft.concurrency_stamp).details.audit
    assert (audit.creation_info.creator_id.value, audit.last_modifier_id.value) == ("user-1", "user-2")
    assert audit.creation_info.created_at.ToDatetime(UTC) == draft.issue_at.ToDatetime(UTC) == NOW
    assert audit.last_modification_time.ToDatetime(UTC) == later.now


@pytest.mark.parametrize("key", ["", "a\nb", "k" * 129])
def test_an_unusable_key_is_refused(desk: Desk, key: str) -> None:
    assert desk.refusal(INVOICES, "Create", key=key, changes=INVOICE).violations[0][0] == "key"


def test_everything_wrong_is_told_at_once(desk: Desk) -> None:
    bad = {"quantity": {"value": 0}, "tax": {"tax_rate": 101}}
    assert desk.wrong(currency_code="SAX", buyer={"inline": {}}, lines=[LINE, bad]) == [
        "changes.currency_code",
        "changes.buyer.inline.legal_name",
        "changes.lines[1].description",
        "changes.lines[1].quantity.unit_code",
        "changes.lines[1].unit_price",
        "changes.lines[1].quantity.value",
        "changes.lines[1].tax.tax_rate",
    ]


@pytest.mark.parametrize(
    ("tax", "wrong"),
    [
        ({}, ["tax.tax_rate"]),
        ({"tax_rate": 0}, ["tax.exemption_reason_code"]),
        ({"tax_rate": 15, "category_code": "X"}, ["tax.category_code"]),
        ({"tax_rate": 0, "category_code": "S"}, ["tax.tax_rate"]),
        ({"tax_rate": 5, "category_code": "Z", "exemption_reason": "Export"}, ["tax.tax_rate"]),
        ({"category_code": "O"}, ["tax.exemption_reason_code"]),
    ],
)
def test_rate_category_and_reason_must_fit_together(desk: Desk, tax: dict[str, Any], wrong: list[str]) -> None:
    assert desk.wrong_line(tax=tax)[-1:] == wrong


def test_the_category_follows_from_the_rate(desk: Desk) -> None:
    zero = {"tax_rate": 0, "exemption_reason_code": "VATEX-SA-32"}
    lines = desk.create(lines=[LINE, {**LINE, "tax": zero}]).lines
    assert [line.tax.category_code for line in lines] == ["S", "Z"]


def test_a_malformed_decimal_or_day_is_refused_with_its_path(desk: Desk) -> None:
    with pytest.raises(Fault) as caught:
        desk.ask(INVOICES, "Create", alter=spoil, changes=INVOICE)
    assert [name for name, _ in caught.value.violations] == ["changes.supply_date", "changes.lines[0].unit_price"]


def spoil(request: Any) -> None:
    """What `build` would refuse to send: parts of two signs, and 30 February."""
    request.changes.lines[0].unit_price.nanos = -1
    request.changes.supply_date.month, request.changes.supply_date.day = 2, 30


def test_an_amount_beyond_64_bits_is_refused(desk: Desk) -> None:
    huge = {**LINE, "unit_price": 2**62}
    assert desk.wrong(lines=[huge]) == ["changes.lines[0]"]
    assert desk.wrong(lines=[{**huge, "quantity": {"value": 1, "unit_code": "C62"}}] * 2) == ["changes.lines"]


def test_lines_with_one_id_are_refused(desk: Desk) -> None:
    assert desk.wrong(lines=[{**LINE, "id": "2"}, {**LINE, "id": "2"}]) == ["changes.lines"]


# Buyers and branches


def inline(**changes: Any) -> dict[str, Any]:
    return {"inline": {**TRADER, **changes}}


@pytest.mark.parametrize(
    ("buyer", "wrong"),
    [
        ({}, ""),
        (inline(vat_registration_number="310000000000004"), "inline.vat_registration_number"),
        (inline(vat_registration_number=""), "inline.vat_registration_number"),
        (inline(address=None), "inline.address.street_name"),
        (inline(address={**ADDRESS, "building_number": "12"}), "inline.address.building_number"),
        (inline(address={**ADDRESS, "postal_zone": "1156"}), "inline.address.postal_zone"),
        (inline(address={**ADDRESS, "country_code": "Saudi"}), "inline.address.country_code"),
    ],
)
def test_a_buyer_must_be_complete(desk: Desk, buyer: dict[str, Any], wrong: str) -> None:
    assert desk.wrong(buyer=buyer)[0] == f"changes.buyer.{wrong}".rstrip(".")


def test_an_address_abroad_needs_no_saudi_digits(desk: Desk) -> None:
    desk.create(buyer=inline(address={"street_name": "Strand", "city_name": "London", "country_code": "GB"}))


def test_a_stored_party_lends_its_name_and_vat_number(desk: Desk, store: Store) -> None:
    entity = build(Party, {"details": {"party_legal_entity": [{"registration_name": {"value": "Najd Co"}}]}})
    entity.details.party_tax_scheme.add().company_id.value = "310000000000003"
    store.insert("acme", "invoicing.parties", Record("p", "najd", body=entity.SerializeToString()))
    made = desk.create(buyer={"party_key": "najd"}, frozen=True)
    assert made.zatca.status == zatca_v1.ZATCA_SUBMISSION_STATUS_CLEARED
    assert desk.ask(INVOICES, "List").items[0].buyer_name == "Najd Co"


def test_a_moment_after_the_last_year_in_riyadh_is_refused(desk: Desk) -> None:
    assert desk.wrong(issue_at="9999-12-31T22:00:00Z") == ["changes.issue_at"]
    assert desk.create(frozen=True, issue_at="9999-12-31T20:59:59Z").frozen


def test_a_party_or_branch_of_another_tenant_is_not_found(desk: Desk, store: Store) -> None:
    store.insert("bolt", "invoicing.parties", Record("p", "najd"))
    store.insert("bolt", "invoicing.branches", Record("b", "main"))
    foreign = {"buyer": {"party_key": "najd"}, "branch_id": "main"}
    fault = desk.refusal(INVOICES, "Create", changes={**INVOICE, **foreign})
    assert fault.code is STATUSES.NOT_FOUND
    assert [path for path, _ in fault.violations] == ["changes.buyer.party_key", "changes.branch_id"]


def test_each_branch_has_its_own_chain_and_the_primary_one_is_the_default(desk: Desk, store: Store) -> None:
    for key, primary in (("main", True), ("north", False)):
        body = Branch(is_primary=primary).SerializeToString()
        store.insert("acme", "invoicing.branches", Record(f"id-{key}", key, body=body))
    made = [desk.create(frozen=True, branch_id=branch) for branch in (None, "north", "main", "id-north")]
    assert [document.branch_id for document in made] == ["main", "north", "main", "id-north"]
    assert [document.zatca.invoice_counter_value for document in made] == [1, 1, 2, 2]
    assert made[3].zatca.previous_invoice_hash == made[1].zatca.invoice_hash


# Updating and deleting


def update(desk: Desk, changes: dict[str, Any], *mask: str, **create: Any) -> Any:
    stamp = desk.create(key="k", **create).concurrency_stamp
    values = {"key": "k", "concurrency_stamp": stamp, "changes": changes, "mask": list(mask)}
    return desk.ask(INVOICES, "Update", **values).details


def test_without_a_mask_what_is_set_replaces_and_the_rest_stays(desk: Desk) -> None:
    made = update(desk, {"lines": [{**LINE, "unit_price": 10}]}, lines=[LINE, LINE], notes=["kept"])
    assert (len(made.lines), list(made.notes)) == (1, ["kept"])
    assert to_decimal(made.calculations.payable_amount) == 23


def test_a_mask_limits_what_is_taken_and_clears_what_is_not_set(desk: Desk) -> None:
    made = update(desk, {"currency_code": "USD"}, "notes", "supply_date", notes=["gone"])
    assert (made.currency_code, list(made.notes), made.HasField("supply_date")) == ("SAR", [], False)


def test_a_mask_reaches_into_the_buyer(desk: Desk) -> None:
    mask = "buyer.inline.vat_registration_number"
    made = update(desk, {"buyer": {"inline": {"legal_name": "No"}}}, mask, buyer=BUSINESS)
    assert made.buyer.inline.legal_name == "Olaya Trading"
    assert not made.buyer.inline.HasField("vat_registration_number")


def test_an_unknown_mask_path_is_refused(desk: Desk) -> None:
    with pytest.raises(Fault) as caught:
        update(desk, {}, "total")
    assert caught.value.code is STATUSES.INVALID_ARGUMENT


def test_an_update_is_checked_as_a_whole(desk: Desk) -> None:
    with pytest.raises(Fault) as caught:
        update(desk, {}, "lines")
    assert [path for path, _ in caught.value.violations] == ["changes.lines"]


def test_all_drafts_are_deleted_or_none(desk: Desk) -> None:
    for key in ("a", "b"):
        desk.create(key=key)
    desk.create(key="c", frozen=True)
    assert desk.refusal(INVOICES, "Delete", keys=["a", "c"]).code is STATUSES.FAILED_PRECONDITION
    assert desk.refusal(INVOICES, "Delete", keys=["a", "x"]).code is STATUSES.NOT_FOUND
    desk.ask(INVOICES, "Delete", keys=["a", "b", "a"])
    assert desk.keys() == ["c"]


# Freezing


def test_without_a_vat_number_it_is_reported_and_with_one_cleared(desk: Desk) -> None:
    simplified, standard = desk.create(frozen=True), desk.create(frozen=True, buyer=BUSINESS)
    assert simplified.zatca.status == zatca_v1.ZATCA_SUBMISSION_STATUS_REPORTED
    assert standard.zatca.status == zatca_v1.ZATCA_SUBMISSION_STATUS_CLEARED
    assert simplified.zatca.submitted_at == simplified.frozen_at


def test_documents_of_all_kinds_make_one_chain(desk: Desk) -> None:
    chain = [with_invoice(desk).ask(INVOICES, "Get", key="inv").details]
    chain += [desk.create(kind, frozen=True) for kind in (DEBIT_NOTES, CREDIT_NOTES, INVOICES)]
    assert [document.zatca.invoice_counter_value for document in chain] == [1, 2, 3, 4]
    before = [FIRST_HASH, *(document.zatca.invoice_hash for document in chain)]
    assert [document.zatca.previous_invoice_hash for document in chain] == before[:-1]


def test_the_hash_is_that_of_the_signed_xml_which_has_the_stated_place_in_the_chain(desk: Desk) -> None:
    told = desk.create(frozen=True, key="k").zatca
    found = authority.submission_of(desk.call(), "simple.invoices", "k")
    assert found is not None
    xml = authority.signed_xml(desk.call(), found)
    assert invoice_hash(xml) == told.invoice_hash
    assert check_chain([xml]) == ()


def test_the_qr_code_holds_seller_totals_hash_and_a_signature_that_fits(desk: Desk) -> None:
    made = desk.create(frozen=True, issue_at="2026-11-20T08:00:00Z").zatca
    qr = Qr.decode(made.qr_code)
    assert (qr.seller, qr.vat_number, qr.timestamp) == ("Acme", SANDBOX_VAT, "2026-11-20T11:00:00")
    assert (qr.total, qr.tax, qr.hash) == ("115.00", "15.00", made.invoice_hash)
    assert not [check for check in qr.verify() if check.ok is False]


def test_a_draft_whose_party_is_gone_cannot_be_frozen(desk: Desk, store: Store) -> None:
    store.insert("acme", "invoicing.parties", Record("p", "najd"))
    stamp = desk.create(key="k", buyer={"party_key": "najd"}).concurrency_stamp
    store.delete("acme", "invoicing.parties", "p")
    fault = desk.refusal(INVOICES, "Freeze", key="k", concurrency_stamp=stamp)
    assert (fault.code, fault.violations[0][0]) == (STATUSES.FAILED_PRECONDITION, "buyer.party_key")


# Credit and debit notes


def test_a_note_takes_buyer_currency_and_number_from_its_invoice(desk: Desk) -> None:
    note = with_invoice(desk).create(CREDIT_NOTES)
    assert (note.currency_code, note.invoice_number) == ("SAR", "INV-000001")
    assert note.buyer.inline.legal_name == "Layla"


def test_a_note_needs_a_frozen_invoice_of_its_tenant(desk: Desk) -> None:
    assert desk.refusal(CREDIT_NOTES, "Create", changes=NOTE).code is STATUSES.NOT_FOUND
    desk.create(key="inv")
    assert desk.refusal(CREDIT_NOTES, "Create", changes=NOTE).reason == "INVOICE_NOT_FROZEN"


def test_a_note_needs_a_reason_and_its_invoices_currency(desk: Desk) -> None:
    with_invoice(desk)
    for wrong, field in (({"reason": " "}, "reason"), ({"currency_code": "USD"}, "currency_code")):
        fault = desk.refusal(DEBIT_NOTES, "Create", changes={**NOTE, **wrong})
        assert [path for path, _ in fault.violations] == [f"changes.{field}"]


def test_a_note_that_moves_to_another_invoice_takes_that_ones_buyer(desk: Desk) -> None:
    note = with_invoice(desk).create(CREDIT_NOTES, key="k")
    desk.create(key="usd", currency_code="USD", buyer=BUSINESS, frozen=True)
    values = {"key": "k", "concurrency_stamp": note.concurrency_stamp, "changes": {"invoice_key": "usd"}}
    moved = desk.ask(CREDIT_NOTES, "Update", **values).details
    assert (moved.currency_code, moved.buyer.inline.legal_name) == ("USD", "Olaya Trading")


def test_credit_ends_where_the_claim_ends(desk: Desk) -> None:
    with_invoice(desk).create(CREDIT_NOTES, frozen=True)
    cent = [{**LINE, "quantity": {"value": 1, "unit_code": "C62"}, "unit_price": "0.01"}]
    draft = desk.create(CREDIT_NOTES, key="more", lines=cent)
    freeze = {"key": "more", "concurrency_stamp": draft.concurrency_stamp}
    assert desk.refusal(CREDIT_NOTES, "Freeze", **freeze).reason == "CREDIT_EXCEEDS_INVOICE"
    desk.create(DEBIT_NOTES, frozen=True, lines=cent)
    assert desk.ask(CREDIT_NOTES, "Freeze", **freeze).details.number == "CN-000002"


# Reading


def test_a_mask_limits_what_get_answers(desk: Desk) -> None:
    desk.create(key="k")
    details = desk.ask(INVOICES, "Get", key="k", mask=["currency_code"]).details
    assert json_format.MessageToDict(details) == {"currencyCode": "SAR"}


def test_a_summary_shows_what_the_document_holds(desk: Desk) -> None:
    document = with_invoice(desk).create(CREDIT_NOTES, key="k", frozen=True)
    (row,) = desk.ask(CREDIT_NOTES, "List").items
    assert (row.id, row.number, row.buyer_name, row.audit) == (document.id, "CN-000001", "Layla", document.audit)
    assert (row.invoice_key, to_decimal(row.tax_amount), row.zatca_status) == (
        "inv",
        Decimal(15),
        document.zatca.status,
    )


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ({"key": {"in_values": ["a"]}}, ["a"]),
        ({"frozen": True}, ["b"]),
        ({"number_contains": "0001"}, ["b"]),
        ({"buyer_name_contains": "OLAYA"}, ["b"]),
        ({"currency_code": {"in_values": ["SAR"]}}, ["b"]),
        ({"payable_amount": {"from_inclusive": "115.01"}}, ["a"]),
        ({"zatca_status": {"in_values": ["NOT_SUBMITTED"]}}, ["a"]),
        ({"issue_at": {"exact": "2026-11-21"}}, ["a", "b"]),
        ({"not": {"created_at": {"exact": "2026-11-21"}}}, []),
        ({"or": {"operands": [{"frozen": True}, {"updated_at": {"exact": "2026-11-21"}}]}}, ["a", "b"]),
    ],
)
def test_every_filter_part_finds_its_documents(desk: Desk, part: dict[str, Any], found: list[str]) -> None:
    desk.create(key="a", currency_code="USD", lines=[{**LINE, "unit_price": 60}])
    desk.create(key="b", buyer=BUSINESS, frozen=True)
    assert desk.keys(filter={"part": part}) == found


def test_notes_are_found_by_their_invoice(desk: Desk) -> None:
    with_invoice(desk).create(DEBIT_NOTES, key="k")
    assert desk.keys(DEBIT_NOTES, filter={"part": {"invoice_key": {"in_values": ["inv"]}}}) == ["k"]


@pytest.mark.parametrize("text", ["inv-000001", "K-1", "layla", "CONSULT"])
def test_text_search_looks_into_number_key_buyer_and_lines(desk: Desk, text: str) -> None:
    desk.create(key="k-1", frozen=True)
    desk.create(key="other", buyer=BUSINESS, lines=[{**LINE, "description": "Bread"}])
    assert desk.keys(filter={"text_search": text}) == ["k-1"]


@pytest.mark.parametrize("rule", ["created_at", "updated_at", "issue_at", "number", "payable_amount"])
def test_every_sort_rule_orders(desk: Desk, rule: str) -> None:
    for hour, key in enumerate("ab"):
        desk.now = NOW + timedelta(hours=hour)
        desk.create(key=key, frozen=True, lines=[{**LINE, "unit_price": hour}])
    assert desk.keys(sort={"rules": [{rule: "DESCENDING"}]}) == ["b", "a"]


def test_pages_follow_each_other(desk: Desk) -> None:
    for key in "abc":
        desk.create(key=key)
    first = desk.ask(INVOICES, "List", pagination={"limit": 2})
    assert (len(first.items), first.total_count) == (2, 3)
    assert desk.keys(pagination={"limit": 2, "cursor": first.next_page_cursor}) == ["c"]
