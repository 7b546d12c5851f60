"""What must be true before a document is built: Art. 53(2) to (4), and that no illegal input builds one."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zatca_deals import (
    AGREEMENT_COST,
    AGREEMENT_FEE,
    BUSINESS,
    COST,
    OPTIONS,
    PLATFORM,
    PROVIDER,
    SUPPLIED,
    THIRD_PARTY,
    UNREGISTERED,
    agreement,
    attempt,
    customers,
    deal,
    deals,
    month_of_deals,
    option,
)

from invora_grpc.errors import RequestError
from invora_grpc.zatca.advice_options import Leg, Option
from invora_grpc.zatca.agreement import Agreement, PreconditionError, assure
from invora_grpc.zatca.deal import Deal
from invora_grpc.zatca.document import RIYADH, Address, Line, Party, Tax
from invora_grpc.zatca.monthly import summary, usage_events
from invora_grpc.zatca.requests import Issuance, build
from invora_grpc.zatca.supply import Customer, Role
from invora_grpc.zatca.typecode import TypeCode

ABROAD = Address("Sheikh Zayed Road", city="Dubai", country="AE")
SELF_BILLED = [(2, None, 2), (5, 1, 2), (5, 3, 2)]
THIRD = [(3, None, 1), (5, 3, 1)]


def refusal(make: Callable[[], object]) -> PreconditionError:
    """The precondition that it fails on; nothing may have been built."""
    with pytest.raises(PreconditionError) as caught:
        make()
    return caught.value


def self_billing(case: int, **changes: Any) -> Agreement:
    """The arrangements of a case, with these changes in the one on self-billing."""
    return Agreement(replace(AGREEMENT_FEE if case == 5 else AGREEMENT_COST, **changes), THIRD_PARTY)


# Art. 53(2): the customer issues


@pytest.mark.parametrize(("case", "parent", "leg"), SELF_BILLED)
@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"reference": " "}, "reference"),
        ({"agreed_on": date(2026, 6, 13)}, "agreed_on"),
        ({"certified_on": None}, "certified_on"),
        ({"certified_on": date(2026, 6, 13)}, "certified_on"),
        ({"approval": ""}, "approval"),
        ({"supplier_vat": BUSINESS.vat_number}, "supplier_vat"),
        ({"customer_vat": BUSINESS.vat_number}, "customer_vat"),
    ],
)
def test_self_billing_wants_a_prior_agreement_of_these_two_a_certification_and_an_approval(
    case: int, parent: int | None, leg: int, changes: dict[str, Any], path: str
) -> None:
    error = refusal(lambda: attempt(option(case, parent), leg, deal(), self_billing(case, **changes)))
    assert (error.article, error.path) == ("VAT IR Art. 53(2)", f"agreement.self_billing.{path}")
    assert error.hint and "\n" not in str(error)


@pytest.mark.parametrize(("case", "parent", "leg"), SELF_BILLED)
def test_self_billing_without_any_agreement_is_refused(case: int, parent: int | None, leg: int) -> None:
    for given_agreement in (None, Agreement(), Agreement(third_party=THIRD_PARTY)):
        error = refusal(lambda given=given_agreement: attempt(option(case, parent), leg, deal(), given))
        assert (error.article, error.path) == ("VAT IR Art. 53(2)", "agreement.self_billing")


@pytest.mark.parametrize(("case", "parent", "leg"), SELF_BILLED)
@pytest.mark.parametrize("who", ["provider", "platform"])
@pytest.mark.parametrize("number", ["", "123", "311111111100004", "٣١١١١١١١١١٠٠٠٠٣"])
def test_self_billing_wants_both_registered(case: int, parent: int | None, leg: int, who: str, number: str) -> None:
    party = replace(PROVIDER if who == "provider" else PLATFORM, vat_number=number)
    error = refusal(lambda: attempt(option(case, parent), leg, replace(deal(), **{who: party}), agreement(case)))
    assert error.article == "VAT IR Art. 53(2)" and "registered for VAT" in str(error)


def test_self_billing_wants_two_different_taxable_persons() -> None:
    same = replace(PLATFORM, vat_number=PROVIDER.vat_number)
    error = refusal(lambda: attempt(option(2), 2, replace(deal(), platform=same), agreement(2)))
    assert (error.article, error.path) == ("VAT IR Art. 53(2)", "buyer.vat_number")


def test_an_export_is_never_self_billed() -> None:
    exported = replace(COST, tax=Tax("Z", Decimal(0), "VATEX-SA-33", "Export of services"))
    abroad = replace(PLATFORM, address=ABROAD)
    for changes in ({"cost": (COST, exported)}, {"platform": abroad}):
        error = refusal(lambda changes=changes: attempt(option(2), 2, replace(deal(), **changes), agreement(2)))
        assert error.article == "VAT IR Art. 53(2)" and "an export cannot be self-billed" in str(error)


def test_a_self_billed_document_without_the_statement_is_refused() -> None:
    made = attempt(option(2), 2, deal(), agreement(2)).document
    assert made is not None
    for notes in ((), made.notes[:1], made.notes[1:], ("Self-billed",)):
        error = refusal(lambda notes=notes: assure(replace(made, notes=notes), agreement(2)))
        assert (error.article, error.path) == ("VAT IR Art. 53(2)", "notes")


def test_the_agreement_is_prior_by_the_saudi_day() -> None:
    evening = datetime(2026, 6, 12, 21, 30, tzinfo=UTC)  # half past midnight of the 13th in Riyadh
    late = self_billing(2, agreed_on=date(2026, 6, 13), certified_on=date(2026, 6, 13))
    assert attempt(option(2), 2, replace(deal(), issued_at=evening), late)
    before = replace(deal(), issued_at=evening - timedelta(minutes=31))
    assert refusal(lambda: attempt(option(2), 2, before, late)).path == "agreement.self_billing.agreed_on"


# Art. 53(3): a third party issues


@pytest.mark.parametrize(("case", "parent", "leg"), THIRD)
@pytest.mark.parametrize("customer", ["consumer", "business"])
def test_a_third_party_wants_an_approval_for_this_registered_supplier(
    case: int, parent: int | None, leg: int, customer: str
) -> None:
    wanted = option(case, parent, customer)
    for changed in (None, replace(THIRD_PARTY, approval=" "), replace(THIRD_PARTY, supplier_vat=PLATFORM.vat_number)):
        papers = Agreement(AGREEMENT_FEE, changed)
        error = refusal(lambda papers=papers: attempt(wanted, leg, deal(customer), papers))
        assert error.article == "VAT IR Art. 53(3)" and error.path.startswith("agreement.third_party")
    unregistered = replace(deal(customer), provider=UNREGISTERED)
    error = refusal(lambda: attempt(wanted, leg, unregistered, agreement(case)))
    assert (error.article, error.path) == ("VAT IR Art. 53(3)", "seller.vat_number")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (PROVIDER.vat_number, "is the supplier's"),
        (BUSINESS.vat_number, "is the customer's"),
        ("", "must be registered"),
    ],
)
@pytest.mark.parametrize(("case", "parent", "leg"), THIRD)
def test_a_third_party_is_a_taxable_person_other_than_supplier_and_customer(
    case: int, parent: int | None, leg: int, number: str, words: str
) -> None:
    spoiled = replace(deal("business"), platform=replace(PLATFORM, vat_number=number))
    error = refusal(lambda: attempt(option(case, parent, "business"), leg, spoiled, agreement(case)))
    assert (error.article, error.path) == ("VAT IR Art. 53(3)", "platform.vat_number")
    assert words in str(error)


@pytest.mark.parametrize("sp", ["non-registered", "non-resident"])
def test_the_option_for_an_unregistered_provider_is_not_for_one_with_a_vat_number(sp: str) -> None:
    """Its own document to the platform would silently be left out."""
    with pytest.raises(RequestError, match=r"deal\.provider\.vat_number: '3.*' is registered, and the option is for"):
        attempt(option(2, sp=sp), 1, deal())


@pytest.mark.parametrize("day", [datetime(2026, 1, 5), "2026-01-05", None])
@pytest.mark.parametrize("name", ["agreed_on", "certified_on"])
def test_the_days_of_an_agreement_are_days(name: str, day: Any) -> None:
    wanted = "is no certification yet" if (name, day) == ("certified_on", None) else "is no day; give a datetime.date"
    with pytest.raises(RequestError, match=rf"self_billing\.{name}: .*{wanted}"):
        attempt(option(2), 2, deal(), self_billing(2, **{name: day}))


def test_what_is_no_agreement_no_option_no_key_or_no_moment_is_named() -> None:
    anything: Any = THIRD_PARTY
    with pytest.raises(RequestError, match="agreement: 'ThirdParty' is no Agreement"):
        attempt(option(3), 1, deal(), anything)
    with pytest.raises(RequestError, match="approval: None the Authority's approval is missing"):
        attempt(option(2), 2, deal(), self_billing(2, approval=None))
    anything = 1
    with pytest.raises(RequestError, match="option: 1 is none"):
        attempt(anything, 1, deal())
    with pytest.raises(RequestError, match=r"deal\.key: 5; use 1 to 100"):
        attempt(option(1), 1, replace(deal(), key=anything + 4))
    anything = SUPPLIED
    with pytest.raises(RequestError, match=r"deal\.issued_at: .* is no moment"):
        build(option(1), 1, replace(deal(), issued_at=anything))
    with pytest.raises(RequestError, match=r"now: .* has no time zone"):
        build(option(1), 1, deal(), now=datetime(2026, 6, 12, 9))


def test_a_supplier_who_is_not_a_registered_resident_issues_nothing_of_its_own() -> None:
    error = refusal(lambda: attempt(option(1), 1, replace(deal(), provider=UNREGISTERED)))
    assert error.article == "VAT IR Art. 53(1)"
    abroad = replace(PROVIDER, address=ABROAD)
    error = refusal(lambda: attempt(option(1), 1, replace(deal(), provider=abroad)))
    assert error.article == "VAT IR Art. 47(3)"


# Art. 53(4): a month in one invoice


def summed(deals_: list[Deal], issued_at: datetime, month: date = SUPPLIED) -> Issuance:
    """The summary of these deals."""
    return summary(option(6, 1), month, deals_, key="FEES", issued_at=issued_at)


JULY_1 = datetime(2026, 7, 1, 9, tzinfo=RIYADH)


def test_a_summary_is_issued_by_the_15th_of_the_next_month_in_saudi_time() -> None:
    last = datetime(2026, 7, 15, 23, 59, 59, tzinfo=RIYADH)
    assert summed(month_of_deals(), last)
    error = refusal(lambda: summed(month_of_deals(), (last + timedelta(seconds=1)).astimezone(UTC)))
    assert (error.article, error.path) == ("VAT IR Art. 53(4)", "issued_at")
    new_year = datetime(2026, 1, 1, tzinfo=RIYADH)
    december = [replace(each, supply_date=date(2025, 12, 3), issued_at=new_year) for each in month_of_deals()]
    assert summed(december, datetime(2026, 1, 15, 12, tzinfo=RIYADH), date(2025, 12, 31))
    assert refusal(lambda: summed(december, datetime(2026, 1, 16, tzinfo=RIYADH), date(2025, 12, 31)))


def test_a_summary_is_not_issued_before_its_last_supply() -> None:
    assert summed(month_of_deals(3), datetime(2026, 6, 3, 9, tzinfo=RIYADH))
    error = refusal(lambda: summed(month_of_deals(3), datetime(2026, 6, 2, 9, tzinfo=RIYADH)))
    assert "before the last supply" in str(error)


@pytest.mark.parametrize(
    "changes",
    [
        {"supply_date": date(2026, 5, 31)},
        {"supply_date": date(2026, 7, 1)},
        {"supply_date": date(2025, 6, 12)},
        {"supply_date": date(2026, 6, 30), "supply_end": date(2026, 7, 1)},
        {"provider": replace(PROVIDER, vat_number="399999999900003")},
    ],
)
def test_a_summary_is_of_one_customer_and_one_calendar_month(changes: dict[str, Any]) -> None:
    for place in range(3):
        months = month_of_deals(3)
        months[place] = replace(months[place], **changes)
        error = refusal(lambda months=months: summed(months, JULY_1))
        assert (error.article, error.path) == ("VAT IR Art. 53(4)", "deals")


def test_a_summary_covers_more_than_one_supply() -> None:
    for count in (0, 1):
        assert "more than one supply" in str(refusal(lambda count=count: summed(month_of_deals(count), JULY_1)))


def test_a_summary_wants_its_customer_registered() -> None:
    unregistered = [replace(each, provider=UNREGISTERED) for each in month_of_deals()]
    assert refusal(lambda: summed(unregistered, JULY_1)).article == "VAT IR Art. 53(4)"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": "INV-100"}, "charged twice"),
        ({"currency": "USD", "sar_rate": Decimal("3.75")}, "charged otherwise"),
        ({"platform": replace(PLATFORM, vat_number="399999999900003")}, "another seller"),
        ({"branches": {Role.P: "p-other"}}, "another branch"),
        ({"fee": ()}, "deal.fee"),
        ({"supply_date": date(2026, 6, 9), "supply_end": date(2026, 6, 3)}, "is before supply_date"),
        ({"supply_date": datetime(2026, 6, 9)}, "deals: .* is no day"),
    ],
)
def test_deals_that_do_not_fit_into_one_document_are_refused(changes: dict[str, Any], words: str) -> None:
    months = month_of_deals(3)
    months[1] = replace(months[1], **changes)
    with pytest.raises(RequestError, match=words):
        summed(months, JULY_1)


# 0 illegal inputs build a document


BAD_PARTIES = [
    {"vat_number": ""},
    {"vat_number": "12"},
    {"vat_number": "411111111100003"},
    {"name": ""},
    {"address": None},
    {"address": ABROAD},
    {"address": replace(PROVIDER.address or ABROAD, district="")},
    {"address": replace(PROVIDER.address or ABROAD, postal_code="1234")},
]
BAD_SELLERS = [
    *BAD_PARTIES,
    {"id_scheme": "NAT"},
    {"id_value": ""},
    {"address": replace(PROVIDER.address or ABROAD, building_number="12")},
]
BAD_LINES = [
    {"quantity": Decimal(0)},
    {"quantity": Decimal(-1)},
    {"quantity": Decimal("NaN")},
    {"unit_price": Decimal(-1)},
    {"unit_price": Decimal("Infinity")},
    {"name": ""},
    {"unit_code": ""},
    {"base_quantity": Decimal(0)},
    {"tax": Tax("S", Decimal(0))},
    {"tax": Tax("S", Decimal(16))},
    {"tax": Tax("Z", Decimal(0))},
    {"tax": Tax("E", Decimal(15), "VATEX-SA-29", "Financial services")},
    {"tax": Tax("E", Decimal(0), "VATEX-SA-32", "Export of goods")},
]
BAD_DEALS: list[dict[str, Any]] = [
    {"key": ""},
    {"key": "a\nb"},
    {"key": "x" * 101},
    {"key": " INV-1"},
    {"issued_at": datetime(2026, 6, 12)},
    {"issued_at": datetime(2999, 1, 1, tzinfo=UTC)},
    {"supply_end": date(2026, 1, 1), "supply_date": date(2026, 1, 2)},
    {"currency": "XXQ", "sar_rate": Decimal(1)},
    {"currency": "USD", "sar_rate": None},
    {"currency": "USD", "sar_rate": Decimal(-1)},
]


def _party_of(made: Deal, leg: Leg, role: Role) -> tuple[str, Party]:
    name = {Role.SP: "provider", Role.P: "platform", Role.C: "customer"}[role]
    return name, getattr(made, name)


@st.composite
def spoiled(draw: st.DrawFn, made: Deal, leg: Leg, customer: str) -> Deal:
    """A good deal with one thing in it that keeps this leg's document from being legal."""
    kind = draw(st.sampled_from(["seller", "buyer", "line", "deal", "lines", "same"]))
    if kind == "seller" or (kind in ("buyer", "same") and leg.buyer is Role.C and customer == "consumer"):
        name, party = _party_of(made, leg, leg.seller)
        return replace(made, **{name: replace(party, **draw(st.sampled_from(BAD_SELLERS)))})
    seller, (name, buyer) = _party_of(made, leg, leg.seller)[1], _party_of(made, leg, leg.buyer)
    if kind == "same":
        return replace(made, **{name: replace(buyer, vat_number=seller.vat_number)})
    if kind == "buyer":
        bad = draw(st.sampled_from([each for each in BAD_PARTIES if each.get("address") is not ABROAD]))
        return replace(made, **{name: replace(buyer, **bad)})
    if kind == "deal":
        return replace(made, **draw(st.sampled_from(BAD_DEALS)))
    charged = "service" if leg.buyer is Role.C else "fee" if leg.seller is Role.P else "cost"
    if kind == "lines":
        return replace(made, **{charged: ()})
    lines: list[Line] = list(getattr(made, charged))
    place = draw(st.integers(0, len(lines) - 1))
    lines[place] = replace(lines[place], **draw(st.sampled_from(BAD_LINES)))
    return replace(made, **{charged: tuple(lines)})


@settings(max_examples=250, deadline=None)
@given(st.data(), customers)
def test_no_spoiled_deal_builds_a_document(data: st.DataObject, customer: str) -> None:
    case, parent = data.draw(st.sampled_from(OPTIONS))
    wanted = option(case, parent, customer)
    leg = data.draw(st.sampled_from([each for each in wanted.legs if each.period != "month"]))
    good = data.draw(deals(customer))
    bad = data.draw(spoiled(good, leg, customer))
    assert build(wanted, leg.number, good, agreement(case), now=good.issued_at)
    with pytest.raises(RequestError) as caught:
        build(wanted, leg.number, bad, agreement(case), now=good.issued_at)
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


legs = st.builds(
    Leg,
    number=st.sampled_from([1, 2, 3]),
    represents=st.just("a supply"),
    seller=st.sampled_from(Role),
    buyer=st.sampled_from(Role),
    issuer=st.sampled_from(Role),
    tenant=st.sampled_from(Role),
    surface=st.sampled_from(["simple", "documents", "billing"]),
    type_code=st.sampled_from(
        [None, TypeCode(), TypeCode("simplified"), TypeCode(self_billed=True), TypeCode(export=True)]
    ),
    submission=st.sampled_from([None, "clearance", "reporting"]),
    basis=st.just("Art. 53(1)"),
)


@settings(max_examples=200, deadline=None)
@given(st.data(), customers)
def test_no_option_that_advice_would_not_give_builds_a_document(data: st.DataObject, customer: str) -> None:
    case: Any = data.draw(st.integers(0, 7))
    parent: Any = data.draw(st.sampled_from([None, 1, 2, 3, 4, 5, 6]))
    made: Any = data.draw(st.tuples(legs, legs))
    forged = Option(case, parent, Customer(customer), made, data.draw(st.booleans()))
    with pytest.raises(RequestError, match=r"option: .* has other legs than this case has"):
        attempt(forged, data.draw(st.sampled_from([1, 2])), deal(customer), agreement(case))


def test_a_leg_of_a_known_option_with_one_fact_changed_builds_nothing() -> None:
    changes: list[dict[str, Any]] = [{"seller": role} for role in Role] + [{"buyer": role} for role in Role]
    changes += [{"issuer": role} for role in Role] + [{"tenant": role} for role in Role]
    changes += [{"surface": surface} for surface in ("simple", "documents", "billing")]
    changes += [{"type_code": code} for code in (TypeCode(), TypeCode("simplified"), TypeCode(third_party=True))]
    for (case, parent), customer, change in product(OPTIONS, ("consumer", "business"), changes):
        genuine = option(case, parent, customer)
        forged = replace(genuine, legs=(replace(genuine.legs[0], **change), *genuine.legs[1:]))
        if forged == genuine:
            continue
        with pytest.raises(RequestError, match="has other legs"):
            attempt(forged, 1, deal(customer), agreement(case))


def test_a_customer_of_the_other_kind_builds_nothing() -> None:
    for case, parent in OPTIONS:
        with pytest.raises(RequestError, match=r"deal\.customer.*is not a consumer's"):
            attempt(option(case, parent, "consumer"), 1, deal("business"), agreement(case))
        with pytest.raises(RequestError, match=r"deal\.customer.*is missing"):
            attempt(option(case, parent, "business"), 1, deal("consumer"), agreement(case))


def test_an_unregistered_provider_is_not_metered() -> None:
    for changes in ({"provider": UNREGISTERED}, {"subscription": ""}, {"fee": ()}, {"key": ""}):
        with pytest.raises(RequestError):
            usage_events(option(6, 1), [replace(deal(), **changes)])
    with pytest.raises(RequestError, match="charged twice"):
        usage_events(option(6, 1), [deal(), deal()])
    with pytest.raises(RequestError, match="metric"):
        usage_events(option(6, 1), [deal()], metric=" ")


def test_a_precondition_error_travels() -> None:
    error = refusal(lambda: attempt(option(3), 1, deal()))
    assert pickle.loads(pickle.dumps(error)) == error
    assert error.article == "VAT IR Art. 53(3)"
