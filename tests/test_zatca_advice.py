"""The advisor says what the published tables on the six cases say: row by row, and over all combinations of facts."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from invora_grpc.errors import RequestError
from invora_grpc.zatca.advice import Advice, Customer, Leg, Role, SpStatus, Supply, advise
from invora_grpc.zatca.supply import CONTROLS

DAY = datetime.date(2026, 6, 12)
BEFORE = datetime.date(2025, 12, 31)
SP, P, C = Role.SP, Role.P, Role.C
UNREGISTERED = (SpStatus.non_registered, SpStatus.non_resident)
NOTHING_DONE: dict[str, Any] = dict.fromkeys(CONTROLS, False)
EXCEPTION: dict[str, Any] = {**NOTHING_DONE, "disclosed": True}


def supply(sp: str = "registered", customer: str = "consumer", **facts: Any) -> Supply:
    return Supply(SpStatus(sp), Customer(customer), **{"date": DAY, **facts})


def advice(sp: str = "registered", customer: str = "consumer", **facts: Any) -> Advice:
    return advise(supply(sp, customer, **facts))


def labels(found: Advice) -> list[str]:
    return [option.label for option in found.lawful]


def refused(found: Advice) -> dict[int, str]:
    return {one.case: one.article for one in found.refused}


def numbers(found: Advice) -> list[int]:
    return [question.number for question in found.questions]


def name_of(leg: Leg) -> str | None:
    return None if leg.type_code is None else leg.type_code.name


# --- §1: the parties of both documents ------------------------------------------------------------------------------

PARTIES = [
    # case, parent, leg 1 (seller, buyer, issuer), what it is, leg 2 (seller, buyer, issuer), what it is
    (1, None, (SP, C, SP), "SP's service to C", (P, SP, P), "P's fee to SP"),
    (2, None, (P, C, P), "P's resold service to C", (SP, P, P), "SP's service to P"),
    (3, None, (SP, C, P), "SP's service to C", (P, SP, P), "P's fee to SP"),
    (4, None, (P, C, P), "P's resold service to C", (SP, P, SP), "SP's service to P"),
    (5, 1, (SP, C, SP), "SP's service to C", (P, SP, SP), "P's commission to SP"),
    (5, 3, (SP, C, P), "SP's service to C", (P, SP, SP), "P's commission to SP"),
    (6, 1, (SP, C, SP), "SP's service to C", (P, SP, P), "P's fees of one month to SP"),
    (6, 3, (SP, C, P), "SP's service to C", (P, SP, P), "P's fees of one month to SP"),
    (6, 4, (P, C, P), "P's resold service to C", (P, SP, P), "P's fees of one month to SP"),
]


@pytest.mark.parametrize("customer", Customer)
@pytest.mark.parametrize(("case", "parent", "first", "what", "second", "charge"), PARTIES)
def test_seller_buyer_and_issuer_of_each_document(
    case: int, parent: int | None, first: Any, what: str, second: Any, charge: str, customer: Customer
) -> None:
    option = advice(customer=customer).option(case, parent)
    service, between = option.leg(1), option.leg(2)
    assert (service.seller, service.buyer, service.issuer) == first
    assert (between.seller, between.buyer, between.issuer) == second
    assert (service.represents, between.represents) == (what, charge)


# --- §6: subtype, model, tenant, surface and article of each document -----------------------------------------------

LEGS = [
    # case, parent, leg, name for a consumer, for a business, tenant, surface, article
    (1, None, 1, "0200000", "0100000", SP, "simple", "Art. 53(1)"),
    (1, None, 2, "0100000", "0100000", P, "simple", "Art. 53(1)"),
    (2, None, 1, "0200000", "0100000", P, "simple", "VAT Agents Guideline 6.2"),
    (2, None, 2, "0100001", "0100001", P, "documents", "Art. 53(2)"),
    (3, None, 1, "0210000", "0110000", SP, "documents", "Art. 53(3)"),
    (3, None, 2, "0100000", "0100000", P, "simple", "Art. 53(1)"),
    (4, None, 1, "0200000", "0100000", P, "simple", "VAT Agents Guideline 6.2"),
    (4, None, 2, "0100000", "0100000", SP, "simple", "Art. 53(1)"),
    (5, 1, 1, "0200000", "0100000", SP, "simple", "Art. 53(1)"),
    (5, 3, 1, "0210000", "0110000", SP, "documents", "Art. 53(3)"),
    (5, 1, 2, "0100001", "0100001", SP, "documents", "Art. 53(2)"),
    (5, 3, 2, "0100001", "0100001", SP, "documents", "Art. 53(2)"),
    (6, 1, 1, "0200000", "0100000", SP, "simple", "Art. 53(1)"),
    (6, 3, 1, "0210000", "0110000", SP, "documents", "Art. 53(3)"),
    (6, 4, 1, "0200000", "0100000", P, "simple", "VAT Agents Guideline 6.2"),
    (6, 1, 2, "0100010", "0100010", P, "documents", "Art. 53(4)"),
    (6, 3, 2, "0100010", "0100010", P, "documents", "Art. 53(4)"),
    (6, 4, 2, "0100010", "0100010", P, "documents", "Art. 53(4)"),
    (6, 4, 3, "0100000", "0100000", SP, "simple", "Art. 53(1)"),
]


@pytest.mark.parametrize(("case", "parent", "number", "consumer", "business", "tenant", "surface", "basis"), LEGS)
def test_type_code_model_tenant_surface_and_article_of_each_document(
    case: int, parent: int | None, number: int, consumer: str, business: str, tenant: Role, surface: str, basis: str
) -> None:
    for customer, name in (("consumer", consumer), ("business", business)):
        leg = advice(customer=customer).option(case, parent).leg(number)
        assert name_of(leg) == name
        assert leg.submission == ("reporting" if name.startswith("02") else "clearance")
        assert (leg.tenant, leg.surface, leg.basis) == (tenant, surface, basis)
        assert leg.none_because is None


def test_a_summary_can_also_come_from_billing_and_is_the_only_monthly_document() -> None:
    for option in advice().lawful:
        for leg in option.legs:
            summed_up = leg.type_code is not None and leg.type_code.summary
            assert (leg.also, leg.period) == (("billing", "month") if summed_up else (None, "transaction"))


def test_a_summary_over_case_4_makes_the_fee_explicit_beside_the_invoice_of_sp() -> None:
    found = advice(disclosed=False, fee_period="month")
    (option,) = found.lawful
    assert (option.label, option.margin, len(option.legs)) == ("6 over 4", False, 3)
    cost, ordinary = option.leg(3), advice().option(4).leg(2)
    assert (cost.seller, cost.buyer, cost.issuer, cost.represents) == (SP, P, SP, ordinary.represents)
    assert 4 in numbers(found)


# --- §7: the permutation matrix -------------------------------------------------------------------------------------

MATRIX = [
    # SP, C, case → names of legs 1 and 2 (None: no document), or the articles that refuse it
    ("registered", "consumer", 1, ("0200000", "0100000")),
    ("registered", "consumer", 3, ("0210000", "0100000")),
    ("registered", "consumer", 2, ("0200000", "0100001")),
    ("registered", "business", 1, ("0100000", "0100000")),
    ("registered", "business", 3, ("0110000", "0100000")),
    ("registered", "business", 2, ("0100000", "0100001")),
    ("non-registered", "consumer", 1, "Art. 47(3), 53(1)"),
    ("non-registered", "consumer", 3, "Art. 47(3), 53(3)"),
    ("non-registered", "consumer", 2, ("0200000", None)),
    ("non-registered", "business", 1, "Art. 47(3), 53(1)"),
    ("non-registered", "business", 3, "Art. 47(3), 53(3)"),
    ("non-registered", "business", 2, ("0100000", None)),
    ("non-resident", "consumer", 1, "Art. 47(3), 53(1)"),
    ("non-resident", "consumer", 3, "Art. 47(3), 53(3)"),
    ("non-resident", "consumer", 2, ("0200000", None)),
    ("non-resident", "business", 1, "Art. 47(3), 53(1)"),
    ("non-resident", "business", 3, "Art. 47(3), 53(3)"),
    ("non-resident", "business", 2, ("0100000", None)),
]


@pytest.mark.parametrize(("sp", "customer", "case", "expected"), MATRIX)
def test_each_cell_of_the_permutation_matrix(sp: str, customer: str, case: int, expected: Any) -> None:
    found = advice(sp, customer, collects_payment=True, sets_terms=True)
    if isinstance(expected, str):
        assert refused(found)[case] == expected
        with pytest.raises(RequestError, match="is refused"):
            found.option(case)
    else:
        assert tuple(map(name_of, found.option(case).legs)) == expected


@pytest.mark.parametrize("customer", Customer)
@pytest.mark.parametrize(("sp", "words"), [("non-registered", "out of scope"), ("non-resident", "reverse charge")])
def test_an_unregistered_provider_leaves_no_document_between_it_and_the_platform(
    sp: str, words: str, customer: Customer
) -> None:
    found = advice(sp, customer, collects_payment=True)
    assert found.deemed.applies is True
    assert labels(found) == ["2"]
    leg = found.option(2).leg(2)
    assert (leg.type_code, leg.submission, leg.basis) == (None, None, "Art. 53(2)")
    assert leg.none_because is not None
    assert leg.none_because.startswith(words)
    assert found.option(2).leg(1).basis == "Art. 47(3)"


@pytest.mark.parametrize("customer", Customer)
def test_the_cases_4_to_6_attach_to_registered_providers_only(customer: Customer) -> None:
    assert {4, 5, 6} <= {option.case for option in advice(customer=customer).lawful}
    for sp in UNREGISTERED:
        found = refused(advice(sp, customer, collects_payment=True))
        assert (found[4], found[5], found[6]) == ("Art. 53(1)", "Art. 47(3), 53(2)", "Art. 53(4)")


# --- §8.1: the comparison -------------------------------------------------------------------------------------------

COMPARISON = [
    # case, parent, supplier, leg 2 (seller, buyer, issuer), open to unregistered SP, P's exposure, surfaces, margin
    (1, None, SP, (P, SP, P), False, "fee", ("simple", "simple"), False),
    (2, None, P, (SP, P, P), True, "service", ("simple", "documents"), True),
    (3, None, SP, (P, SP, P), False, "fee", ("documents", "simple"), False),
    (4, None, P, (SP, P, SP), False, "service", ("simple", "simple"), True),
    (5, 1, SP, (P, SP, SP), False, "fee", ("simple", "documents"), False),
    (5, 3, SP, (P, SP, SP), False, "fee", ("documents", "documents"), False),
    (6, 1, SP, (P, SP, P), False, "fee", ("simple", "documents"), False),
    (6, 3, SP, (P, SP, P), False, "fee", ("documents", "documents"), False),
    (6, 4, P, (P, SP, P), False, "service", ("simple", "documents", "simple"), False),
]


@pytest.mark.parametrize(
    ("case", "parent", "supplier", "between", "unregistered", "exposure", "surfaces", "margin"), COMPARISON
)
def test_each_row_of_the_comparison(
    case: int,
    parent: int | None,
    supplier: Role,
    between: Any,
    unregistered: bool,
    exposure: str,
    surfaces: Any,
    margin: bool,
) -> None:
    option = advice().option(case, parent)
    leg = option.leg(2)
    assert option.supplier is supplier
    assert (leg.seller, leg.buyer, leg.issuer) == between
    assert (option.exposure, tuple(one.surface for one in option.legs), option.margin) == (exposure, surfaces, margin)
    for sp in UNREGISTERED:
        assert (str(option.label) in labels(advice(sp, collects_payment=True))) is unregistered


# --- §8.2: which case fits which situation --------------------------------------------------------------------------

SITUATIONS = [
    ("registered, each its own issuer", "registered", {"disclosed": True, "service_issuer": SP, "fee_issuer": P}, "1"),
    ("registered, P issues", "registered", {"disclosed": True, "service_issuer": P, "fee_issuer": P}, "3"),
    ("not resident", "non-resident", {"collects_payment": True}, "2"),
    ("not registered", "non-registered", {"collects_payment": True}, "2"),
    ("undisclosed principal, self-billing", "registered", {"disclosed": False, "fee_issuer": P}, "2"),
    ("principal, SP invoices P", "registered", {"disclosed": False, "fee_issuer": SP}, "4"),
    ("SP self-bills", "registered", {"disclosed": True, "service_issuer": SP, "fee_issuer": SP}, "5 over 1"),
    ("SP self-bills, P issues", "registered", {"disclosed": True, "service_issuer": P, "fee_issuer": SP}, "5 over 3"),
]


@pytest.mark.parametrize("customer", Customer)
@pytest.mark.parametrize(("sp", "facts", "case"), [row[1:] for row in SITUATIONS], ids=[row[0] for row in SITUATIONS])
def test_each_situation_has_its_one_case(sp: str, facts: dict[str, Any], case: str, customer: Customer) -> None:
    assert labels(advice(sp, customer, fee_period="transaction", **facts)) == [case]


@pytest.mark.parametrize(
    ("facts", "case"),
    [
        ({"disclosed": True, "service_issuer": SP}, "6 over 1"),
        ({"disclosed": True, "service_issuer": P}, "6 over 3"),
        ({"disclosed": False, "fee_issuer": SP}, "6 over 4"),
        ({"disclosed": False, "fee_issuer": P}, "6 over 4"),
    ],
)
def test_a_monthly_fee_is_a_summary_over_the_case_that_has_the_fee(facts: dict[str, Any], case: str) -> None:
    assert labels(advice(fee_period="month", **facts)) == [case]


def test_self_billed_commissions_are_not_summed_up() -> None:
    found = advice(disclosed=True, fee_issuer=SP, fee_period="month")
    assert found.lawful == ()
    (five,) = [one for one in found.refused if one.case == 5]
    assert (five.article, five.ground) == ("Art. 53(2)", "choice")
    assert "self-billing agreement of its own" in five.why


# --- §8.3: the two decisions ----------------------------------------------------------------------------------------

DECISIONS = [
    # disclosed, issuer of the document to C, issuer of the one between, lawful
    (True, SP, P, ["1"]),
    (True, P, P, ["3"]),
    (True, SP, SP, ["5 over 1"]),
    (True, P, SP, ["5 over 3"]),
    (True, None, None, ["1", "3", "5 over 1", "5 over 3"]),
    (True, None, P, ["1", "3"]),
    (False, None, P, ["2"]),
    (False, P, P, ["2"]),
    (False, None, SP, ["4"]),
    (False, P, SP, ["4"]),
    (False, None, None, ["2", "4"]),
    (False, SP, None, []),
    (None, None, None, ["1", "2", "3", "4", "5 over 1", "5 over 3"]),
    (None, SP, None, ["1", "5 over 1"]),
    (None, None, SP, ["4", "5 over 1", "5 over 3"]),
]


@pytest.mark.parametrize(("disclosed", "service", "fee", "lawful"), DECISIONS)
def test_the_two_decisions_lead_to_the_case(
    disclosed: bool | None, service: Role | None, fee: Role | None, lawful: list[str]
) -> None:
    found = advice(disclosed=disclosed, service_issuer=service, fee_issuer=fee, fee_period="transaction")
    assert labels(found) == lawful


def test_where_the_period_is_open_summaries_stand_beside_the_cases_that_they_sum_up() -> None:
    assert labels(advice(disclosed=True)) == ["1", "3", "5 over 1", "5 over 3", "6 over 1", "6 over 3"]
    assert labels(advice(disclosed=False)) == ["2", "4", "6 over 4"]
    assert len(advice().lawful) == 9


def test_a_choice_that_closes_a_case_is_no_refusal_by_law() -> None:
    found = {one.case: one.ground for one in advice(disclosed=True, service_issuer=SP, fee_issuer=P).refused}
    assert found == {2: "law", 3: "choice", 4: "law", 5: "choice"}


def test_a_case_that_another_choice_would_open_is_told_as_a_choice() -> None:
    (six,) = [one for one in advice(disclosed=False, fee_period="transaction").refused if one.case == 6]
    assert (six.ground, six.article) == ("choice", "Art. 53(4)")
