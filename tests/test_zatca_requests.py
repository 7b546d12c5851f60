"""What build(), note(), summary() and usage_events() make: the request of every leg of the six cases."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zatca_deals import (
    BUSINESS,
    CONSUMER,
    EXEMPT,
    FEE,
    ISSUED,
    OPTIONS,
    PLATFORM,
    PROVIDER,
    SERVICE,
    SUPPLIED,
    UNREGISTERED,
    agreement,
    attempt,
    built,
    credit,
    customers,
    deal,
    deals,
    month_of_deals,
    option,
)

from invora_grpc.catalog import catalog
from invora_grpc.errors import RequestError
from invora_grpc.sandbox import engine, simple
from invora_grpc.sandbox.dispatch import load_messages
from invora_grpc.sandbox.idp import Caller
from invora_grpc.sandbox.service import Call
from invora_grpc.sandbox.store import Store
from invora_grpc.values import to_decimal
from invora_grpc.zatca.deal import WALK_IN, Deal
from invora_grpc.zatca.document import RIYADH, Allowance, Line, Reference, Tax
from invora_grpc.zatca.hashing import FIRST_HASH
from invora_grpc.zatca.monthly import summary, usage_events
from invora_grpc.zatca.requests import Issuance, NoDocument, RuleError, build
from invora_grpc.zatca.supply import Role
from invora_grpc.zatca.ubl import from_xml, to_xml

load_messages()
STAMP_RULES = {"BR-KSA-27", "BR-KSA-60"}
SP, P, C = "sp", "p", "c"
SIMPLE, DOCUMENTS = "simple.invoices.create", "invoicing.documents.create"

# Of the two tables per case: case, parent, leg, seller, buyer, tenant, RPC, @name to a consumer, @name to a business.
LEGS = [
    (1, None, 1, SP, C, SP, SIMPLE, "0200000", "0100000"),
    (1, None, 2, P, SP, P, SIMPLE, "0100000", "0100000"),
    (2, None, 1, P, C, P, SIMPLE, "0200000", "0100000"),
    (2, None, 2, SP, P, P, DOCUMENTS, "0100001", "0100001"),
    (3, None, 1, SP, C, SP, DOCUMENTS, "0210000", "0110000"),
    (3, None, 2, P, SP, P, SIMPLE, "0100000", "0100000"),
    (4, None, 1, P, C, P, SIMPLE, "0200000", "0100000"),
    (4, None, 2, SP, P, SP, SIMPLE, "0100000", "0100000"),
    (5, 1, 1, SP, C, SP, SIMPLE, "0200000", "0100000"),
    (5, 3, 1, SP, C, SP, DOCUMENTS, "0210000", "0110000"),
    (5, 1, 2, P, SP, SP, DOCUMENTS, "0100001", "0100001"),
    (5, 3, 2, P, SP, SP, DOCUMENTS, "0100001", "0100001"),
    (6, 1, 1, SP, C, SP, SIMPLE, "0200000", "0100000"),
    (6, 3, 1, SP, C, SP, DOCUMENTS, "0210000", "0110000"),
    (6, 4, 1, P, C, P, SIMPLE, "0200000", "0100000"),
    (6, 4, 3, SP, P, SP, SIMPLE, "0100000", "0100000"),
]
AMOUNTS = {(SP, C): 230, (P, C): 230, (P, SP): 23, (SP, P): 207}


@pytest.mark.parametrize("customer", ["consumer", "business"])
@pytest.mark.parametrize(("case", "parent", "leg", "seller", "buyer", "tenant", "method", "b2c", "b2b"), LEGS)
def test_every_leg_has_the_parties_tenant_surface_and_type_code_of_its_case(
    case: int,
    parent: int | None,
    leg: int,
    seller: str,
    buyer: str,
    tenant: str,
    method: str,
    b2c: str,
    b2b: str,
    customer: str,
) -> None:
    made = built(case, leg, customer, parent)
    document = made.document
    assert document is not None and document.buyer is not None
    parties = {SP: PROVIDER, P: PLATFORM, C: BUSINESS if customer == "business" else WALK_IN}
    assert (made.role, made.method) == (tenant, method)
    assert catalog().method(made.method).request == made.request.DESCRIPTOR.full_name
    assert document.seller == parties[seller]
    assert (document.buyer.name, document.buyer.vat_number) == (parties[buyer].name, parties[buyer].vat_number)
    assert document.type_code.name == (b2b if customer == "business" else b2c)
    assert document.type_code.code == 388
    assert made.totals.payable == AMOUNTS[seller, buyer]
    assert made.branch == {SP: "sp-main", P: "p-main"}[tenant]


def test_the_request_on_the_simple_surface_says_all_that_it_can_say() -> None:
    line = Line("Visit", Decimal("1.5"), Decimal("199.999999"), "HUR", Tax("Z", Decimal(0), "VATEX-SA-34-1", "Transit"))
    request: Any = built(1, 1, "business", service=(line,)).request
    assert (request.key, request.freeze_immediately) == ("INV-100-1", False)
    changes = request.changes
    assert changes.issue_at.ToDatetime(UTC) == ISSUED
    assert (changes.supply_date.year, changes.supply_date.month, changes.supply_date.day) == (2026, 6, 12)
    assert (changes.currency_code, changes.tax_currency_code, changes.branch_id) == ("SAR", "SAR", "sp-main")
    inline = changes.buyer.inline
    assert (inline.legal_name, inline.vat_registration_number) == (BUSINESS.name, BUSINESS.vat_number)
    address = inline.address
    assert (address.street_name, address.building_number) == ("Prince Sultan Road", "1111")
    assert (address.city_subdivision_name, address.city_name) == ("Al Murjan", "Jeddah")
    assert (address.postal_zone, address.country_code) == ("23333", "SA")
    (sent,) = changes.lines
    assert (sent.description, sent.quantity.unit_code) == ("Visit", "HUR")
    assert (to_decimal(sent.quantity.value), to_decimal(sent.unit_price)) == (Decimal("1.5"), Decimal("199.999999"))
    assert (sent.tax.category_code, sent.tax.exemption_reason_code) == ("Z", "VATEX-SA-34-1")
    assert (to_decimal(sent.tax.tax_rate), sent.tax.exemption_reason) == (Decimal(0), "Transit")


def test_a_consumer_goes_without_a_vat_number_to_the_simple_surface() -> None:
    named: Any = built(1, 1).request
    assert not named.changes.buyer.inline.HasField("vat_registration_number")
    other: Any = attempt(option(1), 1, replace(deal(), customer=CONSUMER)).request
    assert other.changes.buyer.inline.legal_name == CONSUMER.name


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("supply_end", date(2026, 6, 20)),
        ("service", (replace(SERVICE, allowances=(Allowance(Decimal(1), "Discount", "95"),)),)),
        ("service", (replace(SERVICE, base_quantity=Decimal(2)),)),
    ],
)
def test_what_the_simple_surface_cannot_say_is_refused_not_lost(part: str, value: object) -> None:
    with pytest.raises(RequestError, match="Simple surface has no field"):
        built(1, 1, **{part: value})


def test_a_business_without_a_vat_number_goes_only_to_the_documents_surface() -> None:
    charity = replace(BUSINESS, vat_number="", id_scheme="700", id_value="7003159426")
    with pytest.raises(RequestError, match="without it the Simple surface makes a simplified invoice"):
        built(1, 1, "business", customer=charity)
    assert built(3, 1, "business", customer=charity)


def test_the_request_on_the_documents_surface_holds_the_document_that_was_checked() -> None:
    made = built(3, 1, "business")
    request: Any = made.request
    assert (request.key, request.branch_id) == ("INV-100-1", "sp-main")
    assert (request.freeze_immediately, request.auto_calculate) == (False, False)
    assert from_xml(request.changes.xml_content.encode()) == made.document


def test_nothing_that_the_platform_assigns_is_in_a_document() -> None:
    request: Any = built(2, 2).request
    for word in ("ICV", "PIH", "QR", "UBLExtensions", "Signature"):
        assert word not in request.changes.xml_content


def test_a_self_billed_document_says_so_in_english_and_arabic_right_after_its_type_code() -> None:
    request: Any = built(2, 2).request
    _, after = request.changes.xml_content.split("</cbc:InvoiceTypeCode>")
    english, arabic = after.split("</cbc:Note>")[:2]
    assert english.startswith("<cbc:Note>Self-billed: issued by the customer")
    assert arabic.startswith("<cbc:Note>فوترة ذاتية")
    for text in (english, arabic):
        assert PLATFORM.vat_number in text and PROVIDER.vat_number in text


@settings(max_examples=25, deadline=None)
@given(st.data(), customers)
def test_the_same_deal_gives_the_same_bytes_for_every_leg(data: st.DataObject, customer: str) -> None:
    drawn = data.draw(deals(customer))
    case, parent = data.draw(st.sampled_from(OPTIONS))
    wanted = option(case, parent, customer)
    for leg in wanted.legs:
        if leg.period == "month":
            continue
        made, again = (attempt(wanted, leg.number, drawn, agreement(case)) for _ in range(2))
        assert made.request.SerializeToString(deterministic=True) == again.request.SerializeToString(deterministic=True)
        assert made.key == f"{drawn.key}-{leg.number}"
        assert made.document is not None and made.document.issued_at == drawn.issued_at.replace(microsecond=0)
        assert pickle.loads(pickle.dumps(made)) == made
        assert (made.area, made.rpc) == (made.method.removesuffix(".create"), "create")
    assert pickle.loads(pickle.dumps(replace(drawn, branches={}))) == replace(drawn, branches={})


def test_a_request_can_go_without_its_key() -> None:
    (event,) = usage_events(option(6, 1), month_of_deals(1))
    for made in (built(1, 1), built(2, 2), event):
        keyless: Any = made.keyless()
        whole: Any = made.request
        inside = (keyless.event, whole.event) if made.surface == "billing" else (keyless, whole)
        name = "transaction_id" if made.surface == "billing" else "key"
        assert (getattr(inside[0], name), getattr(inside[1], name)) == ("", made.key)
        setattr(inside[0], name, made.key)
        assert keyless == whole


def test_uuids_differ_between_legs_and_sellers() -> None:
    other = replace(PROVIDER, vat_number="311111111200003")
    made = [built(1, 1), built(1, 2), built(1, 1, provider=other), built(1, 1, key="INV-101")]
    assert len({each.document.uuid for each in made if each.document}) == 4


@pytest.mark.parametrize(("sp", "why"), [("non-registered", "out of scope"), ("non-resident", "reverse charge")])
def test_a_leg_without_a_document_says_why_and_builds_nothing(sp: str, why: str) -> None:
    unregistered = replace(deal(), provider=UNREGISTERED)
    with pytest.raises(NoDocument, match=f"leg: 2 has no document: {why}") as caught:
        attempt(option(2, sp=sp), 2, unregistered)
    assert why in caught.value.because
    assert attempt(option(2, sp=sp), 1, unregistered).totals.payable == 230


def test_a_document_that_breaks_a_rule_is_not_handed_out() -> None:
    assert BUSINESS.address is not None
    homeless = replace(BUSINESS, address=replace(BUSINESS.address, district=""))
    for case in (1, 3):
        with pytest.raises(RequestError, match=r"buyer\.address\.district.*-63"):
            built(case, 1, "business", customer=homeless)


def test_a_mere_warning_is_not_handed_out_either() -> None:
    moment = ISSUED + timedelta(hours=25)
    with pytest.raises(RuleError, match=r"IssueTime|IssueDate") as caught:
        build(option(1), 1, deal(), now=moment)
    assert (caught.value.rule, bool(caught.value.hint)) == ("BR-KSA-98", True)
    assert build(option(1, customer="business"), 1, deal("business"), now=moment)


def objections(made: Issuance, now: datetime) -> set[str]:
    """The rules of ZATCA that an oracle sees broken, but for those that want a stamp."""
    fatoora = pytest.importorskip("fatoora")
    assert made.document is not None
    text = to_xml(replace(made.document, counter=1, previous_hash=FIRST_HASH), now=now).decode()
    report = fatoora.validate_zatca_invoice_from_str(
        fatoora.Config(), text, previous_invoice_hash=FIRST_HASH, evaluated_at=now.astimezone(RIYADH).isoformat()
    )
    stages = {stage["stage"]: stage for stage in report["stages"]}
    assert all(stages[name]["status"] == "completed" for name in ("xsd", "cen", "ksa"))
    return {each["code"] for name in ("xsd", "cen", "ksa") for each in stages[name]["findings"]} - STAMP_RULES


@settings(max_examples=20, deadline=None)
@given(st.data(), customers)
def test_an_oracle_finds_nothing_in_any_leg_its_notes_and_its_summary(data: st.DataObject, customer: str) -> None:
    case, parent = data.draw(st.sampled_from(OPTIONS))
    wanted, drawn = option(case, parent, customer), data.draw(deals(customer))
    for leg in wanted.legs:
        if leg.period == "month":
            drawn = replace(drawn, supply_date=drawn.issue_day)
            month = [replace(drawn, key=f"{drawn.key}-{number}") for number in range(2)]
            made = summary(wanted, drawn.supply_date, month, key="S-1", issued_at=drawn.issued_at, now=drawn.issued_at)
        else:
            made = attempt(wanted, leg.number, drawn, agreement(case))
        assert not objections(made, drawn.issued_at)
        assert made.document is not None
        whole = replace(made.document.lines[0], source=None, unit_price=Decimal(1), quantity=Decimal(1))
        moment = drawn.issued_at
        correction = credit(made, whole, 383, issued_at=moment, event=drawn.issue_day, agreement=agreement(case))
        assert not objections(correction, moment)


# Case 6


@pytest.mark.parametrize("parent", [1, 3, 4])
def test_a_summary_is_one_document_of_the_platform_with_a_source_for_every_line(parent: int) -> None:
    months = month_of_deals(3)
    made = summary(option(6, parent), SUPPLIED, months, key="FEES-2026-06", issued_at=datetime(2026, 7, 15, tzinfo=UTC))
    document = made.document
    assert document is not None
    assert (made.role, made.method, made.key, document.id) == (Role.P, DOCUMENTS, "FEES-2026-06", "FEES-2026-06")
    assert (document.type_code.name, document.seller, document.buyer) == ("0100010", PLATFORM, PROVIDER)
    assert (document.supply_date, document.supply_end) == (date(2026, 6, 1), date(2026, 6, 3))
    suffix = "-1" if parent == 3 else ""
    sources = [line.source.id for line in document.lines if line.source]
    assert sources == [f"INV-{100 + number}{suffix}" for number in range(3)]
    assert made.totals.payable == 69
    request: Any = made.request
    assert from_xml(request.changes.xml_content.encode()) == document


def test_a_source_that_the_caller_names_stays() -> None:
    months = [replace(each, fee=(replace(FEE, source=Reference("INV-000001")),)) for each in month_of_deals(2)]
    made = summary(option(6, 1), SUPPLIED, months, key="FEES", issued_at=datetime(2026, 7, 1, tzinfo=UTC))
    assert made.document is not None
    assert [line.source for line in made.document.lines] == [Reference("INV-000001")] * 2


def test_the_day_of_a_source_is_the_saudi_one() -> None:
    evening = datetime(2026, 6, 12, 21, 30, tzinfo=UTC)
    months = [replace(each, issued_at=evening) for each in month_of_deals(2)]
    made = summary(option(6, 1), SUPPLIED, months, key="FEES", issued_at=datetime(2026, 7, 1, tzinfo=UTC))
    assert made.document is not None
    assert {line.source.issue_date for line in made.document.lines if line.source} == {date(2026, 6, 13)}


def test_a_deal_without_a_time_zone_is_refused_by_its_name() -> None:
    naive = [replace(each, issued_at=datetime(2026, 6, 12)) for each in month_of_deals(2)]
    with pytest.raises(RequestError, match=r"deal\.issued_at.*has no time zone"):
        summary(option(6, 1), SUPPLIED, naive, key="FEES", issued_at=datetime(2026, 7, 1, tzinfo=UTC))
    with pytest.raises(RequestError, match=r"deal\.issued_at.*has no time zone"):
        build(option(1), 1, naive[0], now=ISSUED)


def test_the_summary_leg_is_not_built_deal_by_deal() -> None:
    with pytest.raises(RequestError, match=r"summary\(\).*usage_events\(\)"):
        built(6, 2, parent=1)
    with pytest.raises(RequestError, match="has no monthly summary"):
        summary(option(1), SUPPLIED, month_of_deals(), key="F", issued_at=datetime(2026, 7, 1, tzinfo=UTC))
    with pytest.raises(RequestError, match="has no fee that is metered"):
        usage_events(option(1), month_of_deals())


def test_usage_events_add_up_to_the_summary() -> None:
    months = month_of_deals(4)
    events = usage_events(option(6, 1), months)
    made = summary(option(6, 1), SUPPLIED, months, key="F", issued_at=datetime(2026, 7, 1, tzinfo=UTC))
    requests: list[Any] = [each.request for each in events]
    amounts = [Decimal(request.event.properties["amount"]) for request in requests]
    assert sum(amounts) == made.totals.tax_exclusive == 80
    assert [each.key for each in events] == [f"INV-{100 + number}-2" for number in range(4)]
    assert {(each.role, each.method, each.document) for each in events} == {(Role.P, "billing.events.create", None)}


def test_a_sum_of_usage_events_is_of_one_currency_and_one_tax() -> None:
    """The metric adds numbers, whatever they are."""
    dollars = replace(deal(key="INV-2"), currency="USD", sar_rate=Decimal("3.75"))
    with pytest.raises(RequestError, match=r"deals: \['SAR', 'USD'\] are charged in several currencies"):
        usage_events(option(6, 1), [deal(), dollars])
    mixed = replace(deal(), fee=(FEE, replace(FEE, tax=EXEMPT)))
    with pytest.raises(RequestError, match=r"deal\.fee: 2 is in several tax categories"):
        usage_events(option(6, 1), [mixed])


# The sandbox takes them


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with Store.open(":memory:") as opened:
        opened.create_organization("Acme", org_id="acme")
        yield opened


def sent(store: Store, made: Issuance) -> Any:
    """Give the request to the sandbox's handler of its RPC."""
    method = catalog().method(made.method)
    caller = Caller("user", "client", "acme", "acme", {}, None, 0.0)
    call = Call(store, method, caller, "acme", "", datetime(2026, 7, 1, tzinfo=UTC))
    with store.transaction():
        return {**engine.REGISTRY, **simple.REGISTRY}[method.path](call, made.request)


def test_the_sandbox_records_a_usage_event_once(store: Store) -> None:
    (event,) = usage_events(option(6, 1), month_of_deals(1))
    sent(store, event)
    sent(store, event)
    assert len(store.all("acme", "billing.events")) == 1


@pytest.mark.parametrize("customer", ["consumer", "business"])
def test_the_sandbox_comes_to_the_same_totals_on_the_simple_surface(store: Store, customer: str) -> None:
    lines = (SERVICE, Line("Tea", Decimal(3), Decimal("0.333333")), Line("Box", Decimal(1), Decimal("9.99")))
    drawn: Deal = replace(deal(customer, f"T-{customer}"), service=lines, branches={})
    made = attempt(option(1, customer=customer), 1, drawn)
    answer = sent(store, made).details
    assert to_decimal(answer.calculations.payable_amount) == made.totals.payable
    assert to_decimal(answer.calculations.tax_amount) == made.totals.tax
    assert not answer.frozen
