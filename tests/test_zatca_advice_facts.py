"""The advisor over all combinations of facts: the deemed supplier, open questions, and what cannot be asked."""

from __future__ import annotations

import datetime
import itertools
from typing import Any, get_args

import pytest
from test_zatca_advice import (
    BEFORE,
    DAY,
    EXCEPTION,
    NOTHING_DONE,
    SP,
    UNREGISTERED,
    C,
    P,
    advice,
    labels,
    numbers,
    refused,
)

from invora_grpc.errors import RequestError
from invora_grpc.zatca.advice import Customer, Option, Role, SpStatus, Supply, advise
from invora_grpc.zatca.supply import CONTROLS, FeePeriod

# --- the deemed supplier --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fact", CONTROLS)
@pytest.mark.parametrize("sp", UNREGISTERED)
def test_one_thing_that_the_platform_does_makes_it_the_deemed_supplier(sp: SpStatus, fact: str) -> None:
    found = advice(sp, **{**EXCEPTION, fact: True})
    assert found.deemed.applies is True
    assert found.deemed.article == "Art. 47(3)"
    assert fact.rpartition("_")[2] in found.deemed.why
    assert labels(found) == ["2"]


@pytest.mark.parametrize("fact", [*CONTROLS, "disclosed"])
@pytest.mark.parametrize("sp", UNREGISTERED)
def test_one_thing_that_is_not_known_leaves_the_verdict_open(sp: SpStatus, fact: str) -> None:
    found = advice(sp, **{**EXCEPTION, fact: None})
    assert found.deemed.applies is None
    assert labels(found) == ["2"]
    assert found.option(2).leg(1).basis == "Art. 47(3), if it applies"
    assert 2 in numbers(found)


@pytest.mark.parametrize("sp", UNREGISTERED)
def test_the_exception_wants_an_agreement_that_names_the_provider_as_principal(sp: SpStatus) -> None:
    found = advice(sp, **NOTHING_DONE, disclosed=False)
    assert found.deemed.applies is True
    assert labels(found) == ["2"]


@pytest.mark.parametrize("customer", Customer)
@pytest.mark.parametrize("sp", UNREGISTERED)
def test_where_the_exception_is_met_no_case_is_invented(sp: SpStatus, customer: Customer) -> None:
    found = advice(sp, customer, **EXCEPTION)
    assert found.deemed.applies is False
    assert found.lawful == ()
    assert list(refused(found)) == [1, 2, 3, 4, 5, 6]
    assert numbers(found) == [2, 3]
    assert "none of the six cases" in found.questions[1].text


@pytest.mark.parametrize("sp", UNREGISTERED)
def test_the_rule_begins_with_the_year_2026(sp: SpStatus) -> None:
    facts: dict[str, Any] = dict.fromkeys(CONTROLS, True)
    before, since = advice(sp, **facts, date=BEFORE), advice(sp, **facts, date=BEFORE + datetime.timedelta(days=1))
    assert (before.deemed.applies, since.deemed.applies) == (False, True)
    assert "2026-01-01" in before.deemed.why
    assert {1, 2} <= set(numbers(before))
    assert since.option(2).leg(1).basis == "Art. 47(3)"


@pytest.mark.parametrize("sp", UNREGISTERED)
@pytest.mark.parametrize(("disclosed", "lawful"), [(True, []), (False, ["2"]), (None, ["2"])])
def test_before_the_rule_the_platform_is_the_supplier_only_as_an_undisclosed_agent(
    sp: SpStatus, disclosed: bool | None, lawful: list[str]
) -> None:
    found = advice(sp, disclosed=disclosed, collects_payment=True, date=BEFORE)
    assert labels(found) == lawful
    assert [option.leg(1).basis for option in found.lawful] == ["VAT Agents Guideline 6.2"] * len(lawful)


@pytest.mark.parametrize("day", [BEFORE, DAY])
def test_the_rule_does_not_reach_registered_providers_whatever_the_platform_does(day: datetime.date) -> None:
    facts: dict[str, Any] = dict.fromkeys(CONTROLS, True)
    found = advice(**facts, date=day)
    assert found.deemed.applies is False
    assert len(found.lawful) == 9
    assert 2 not in numbers(found)


@pytest.mark.parametrize("facts", [{}, EXCEPTION, {"date": BEFORE}])
def test_art_47_refuses_nothing_where_it_is_not_known_to_apply(facts: dict[str, Any]) -> None:
    found = refused(advice("non-resident", **facts))
    assert (found[1], found[3], found[5]) == ("Art. 53(1)", "Art. 53(3)", "Art. 53(2)")


@pytest.mark.parametrize("sp", UNREGISTERED)
def test_wishes_do_not_count_where_the_law_leaves_no_choice(sp: SpStatus) -> None:
    forced = advice(sp, collects_payment=True)
    for service, fee, period in itertools.product(ISSUERS, ISSUERS, PERIODS):
        wished = advice(sp, collects_payment=True, service_issuer=service, fee_issuer=fee, fee_period=period)
        assert (wished.lawful, wished.refused) == (forced.lawful, forced.refused)


# --- all combinations -----------------------------------------------------------------------------------------------

OPEN: tuple[bool | None, ...] = (None, False, True)
ISSUERS = (None, SP, P)
PERIODS: tuple[FeePeriod | None, ...] = (None, *get_args(FeePeriod))


def every_supply() -> list[Supply]:
    """All combinations of facts; of the five facts about control those that lead to each of the verdicts."""
    five: list[dict[str, Any]] = [
        {},
        NOTHING_DONE,
        dict.fromkeys(CONTROLS, True),
        {**NOTHING_DONE, "sets_price": True},
        {**NOTHING_DONE, "sets_terms": None},
    ]
    rest = itertools.product(SpStatus, Customer, OPEN, ISSUERS, ISSUERS, PERIODS, (BEFORE, DAY), five)
    names = ("disclosed", "service_issuer", "fee_issuer", "fee_period", "date")
    made = []
    for sp, customer, *others, facts in rest:
        given: dict[str, Any] = {**dict(zip(names, others, strict=True)), **facts}
        made.append(Supply(sp, customer, **given))
    return made


def is_sound(option: Option, about: Supply) -> bool:
    """What holds of every option, by the rules on the documents themselves."""
    for leg in option.legs:
        code = leg.type_code
        if code is None:
            if about.registered or leg.none_because is None or leg.submission is not None:
                return False
            continue
        to_consumer = leg.buyer is C and about.customer is Customer.consumer
        if code.subtype != ("simplified" if to_consumer else "standard"):
            return False
        if leg.submission != ("reporting" if to_consumer else "clearance"):
            return False
        if code.self_billed != (leg.issuer is leg.buyer):
            return False
        if code.third_party != (leg.issuer not in (leg.seller, leg.buyer)):
            return False
        if not about.registered and SP in (leg.seller, leg.issuer, leg.tenant):
            return False
        if (leg.surface == "simple") != (leg.seller is leg.issuer is leg.tenant and not code.flags):
            return False
    return True


def test_every_combination_of_facts_has_an_answer_that_holds_together() -> None:
    everything = every_supply()
    assert len(everything) == 4860
    for about in everything:
        found = advise(about)
        lawful, no = {option.case for option in found.lawful}, {one.case for one in found.refused}
        assert lawful | no == {1, 2, 3, 4, 5, 6}
        assert not lawful & no
        assert all(one.article and one.why for one in found.refused)
        assert all(is_sound(option, about) for option in found.lawful), about
        assert numbers(found) == sorted(set(numbers(found)))
        if not about.registered:
            assert lawful <= {2}
            assert {2, 3} <= set(numbers(found))
        elif about.service_issuer is about.fee_issuer is about.fee_period is None:
            assert lawful


def test_learning_a_fact_only_ever_takes_options_away() -> None:
    """What is not known keeps everything open that any answer would leave open."""
    for sp, customer, day in itertools.product(SpStatus, Customer, (BEFORE, DAY)):
        for name, answers in (("disclosed", (True, False)), ("service_issuer", (SP, P)), ("fee_issuer", (SP, P))):
            before = set(labels(advice(sp, customer, date=day)))
            after = [set(labels(advice(sp, customer, date=day, **{name: answer}))) for answer in answers]
            assert set().union(*after) == before


# --- open questions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sp", "facts", "expected"),
    [
        ("registered", {}, [1, 4, 5, 6]),
        ("registered", {"disclosed": True, "service_issuer": SP, "fee_issuer": P}, []),
        ("registered", {"disclosed": True, "service_issuer": P, "fee_issuer": P}, [5, 6]),
        ("registered", {"disclosed": False, "fee_issuer": P}, [4, 5, 6]),
        ("registered", {"disclosed": False, "fee_issuer": SP}, [4]),
        ("registered", {"disclosed": True, "service_issuer": SP, "fee_issuer": SP}, [5, 6]),
        ("non-registered", {"collects_payment": True}, [2, 3, 4]),
        ("non-resident", {}, [1, 2, 3, 4]),
    ],
)
def test_judgements_come_back_as_questions(sp: str, facts: dict[str, Any], expected: list[int]) -> None:
    assert numbers(advice(sp, **facts)) == expected


def test_the_question_of_approvals_names_the_articles_that_are_used() -> None:
    def text(**facts: Any) -> str:
        (found,) = [one.text for one in advice(**facts).questions if one.number == 5]
        return found

    assert "53(2)" in text(disclosed=False)
    assert "53(3)" not in text(disclosed=False)
    third = text(disclosed=True, service_issuer=P, fee_issuer=P)
    assert "53(3)" in third
    assert "53(2)" not in third


def test_the_open_facts_are_named() -> None:
    found = advice("non-resident", **{**EXCEPTION, "sets_price": None})
    assert "price" in found.deemed.why
    assert "terms" not in found.deemed.why
    assert "Not known: price." in found.questions[0].text


# --- what is asked for ----------------------------------------------------------------------------------------------


def test_a_case_that_is_refused_says_by_what() -> None:
    with pytest.raises(
        RequestError, match=r"case: 2 is refused: .* \(VAT Agents Guideline.*lawful here: 1, 3"
    ) as caught:
        advice(disclosed=True).option(2)
    assert caught.value.path == "case"
    with pytest.raises(RequestError, match="no case is lawful here; see the open questions"):
        advice("non-resident", **EXCEPTION).option(1)


def test_a_case_over_several_others_wants_its_parent() -> None:
    with pytest.raises(RequestError, match="case: 6 has several parents; say which parent: 1, 3"):
        advice(disclosed=True).option(6)
    assert advice(disclosed=True).option(6, 3).parent == 3
    assert advice(disclosed=False).option(6).parent == 4
    with pytest.raises(RequestError, match="has no parent 4 here"):
        advice(disclosed=True).option(6, 4)
    with pytest.raises(RequestError, match="case: 7 is unknown"):
        advice().option(7)


def test_a_leg_that_is_not_there_is_refused() -> None:
    with pytest.raises(RequestError, match="leg: 3 is no leg of this case; case 1 has the legs 1, 2"):
        advice().option(1).leg(3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sp", "unknown"),
        ("sp", None),
        ("customer", "state"),
        ("sets_price", "no"),
        ("collects_payment", 1),
        ("disclosed", "yes"),
        ("service_issuer", "c"),
        ("fee_issuer", Role.C),
        ("fee_issuer", "x"),
        ("fee_period", "year"),
        ("date", "2026-06-12"),
        ("date", datetime.datetime(2026, 6, 12, tzinfo=datetime.UTC)),
    ],
)
def test_a_fact_of_another_kind_is_one_clear_line(name: str, value: Any) -> None:
    facts: dict[str, Any] = {"sp": "registered", "customer": "consumer", "date": DAY, name: value}
    with pytest.raises(RequestError, match=f"^supply.{name}: ") as caught:
        Supply(**facts)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_texts_do_as_well_as_members() -> None:
    words: dict[str, Any] = {"sp": "non-resident", "customer": "business", "service_issuer": "p", "date": DAY}
    made = Supply(**words)
    assert (made.sp, made.customer, made.service_issuer) == (SpStatus.non_resident, Customer.business, Role.P)
