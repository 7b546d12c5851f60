"""The rules of the advice: what refuses a case, whether the platform is the deemed supplier, and what stays open.

Each rule names its article, of the VAT Implementing Regulations unless it says otherwise. Nothing here decides what
only a lawyer can: where a fact is not known, no rule speaks.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from invora_grpc.zatca.advice_options import Case, Option
from invora_grpc.zatca.supply import CONTROLS, Role, SpStatus, Supply

__all__ = ["DEEMED_SINCE", "DeemedVerdict", "Question", "Refusal", "barred", "declined", "questions", "verdict"]

DEEMED_SINCE: Final = datetime.date(2026, 1, 1)
"""The first day of the deemed-supplier rule for electronic marketplaces, Art. 47(3)."""
AGENTS: Final = "VAT Agents Guideline 4.2, 6.1, 6.2"
_STANDS_ON: Final[Mapping[Case, str]] = MappingProxyType(
    {1: "Art. 53(1)", 2: "Art. 53(2)", 3: "Art. 53(3)", 4: "Art. 53(1)", 5: "Art. 53(2)", 6: "Art. 53(4)"}
)
_SPOKEN: Final = MappingProxyType(
    dict(zip(CONTROLS, ("terms", "price", "payment", "complaints", "promotions"), strict=True))
)


@dataclass(frozen=True, slots=True)
class DeemedVerdict:
    """Whether the platform is the deemed supplier (Art. 47(3))."""

    applies: bool | None
    """None if the facts that are known do not tell."""
    article: str
    why: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A case that is not among the lawful ones."""

    case: Case
    article: str
    """What refuses it; where the caller chose otherwise, what the case stands on."""
    why: str
    ground: Literal["law", "choice"]
    """`law`: the facts exclude it. `choice`: it would be lawful, but an issuer or the period was chosen otherwise."""


@dataclass(frozen=True, slots=True)
class Question:
    """A legal judgement that is open. docs/zatca.md has all six under these numbers."""

    number: int
    text: str


def verdict(supply: Supply) -> DeemedVerdict:
    """Whether P is the deemed supplier, if it is an electronic marketplace at all (which is question 2)."""
    article = "Art. 47(3)"
    if supply.registered:
        return DeemedVerdict(False, article, "SP is a resident registered for VAT: the rule does not reach it")
    if supply.date < DEEMED_SINCE:
        return DeemedVerdict(False, article, f"the rule is in force since {DEEMED_SINCE}, after this supply")
    if done := _controls(supply, True):
        return DeemedVerdict(True, article, f"SP is {supply.sp.value}, and P has a hand in: {', '.join(done)}")
    if supply.disclosed is False:
        return DeemedVerdict(
            True, article, f"SP is {supply.sp.value}, and the agreement does not name it as the principal"
        )
    if unknown := _unknown(supply):
        return DeemedVerdict(None, article, f"SP is {supply.sp.value}; the exception hangs on: {', '.join(unknown)}")
    return DeemedVerdict(
        False, article, "the exception is met: SP is named as the principal, and P does none of the five"
    )


def barred(case: Case, parent: Case | None, supply: Supply, deemed: bool | None) -> Refusal | None:
    """What the law has against the case, given the facts; None if nothing."""
    if not supply.registered:
        return _barred_unregistered(case, supply, deemed)
    base = parent or case
    if supply.disclosed is True and base in (2, 4):
        return Refusal(case, AGENTS, "the agency is disclosed: C buys from SP, so P cannot be the supplier", "law")
    if supply.disclosed is False and base in (1, 3):
        return Refusal(case, AGENTS, "the agency is not disclosed: P counts as the supplier of C, not SP", "law")
    return None


def _barred_unregistered(case: Case, supply: Supply, deemed: bool | None) -> Refusal | None:
    if case == 2:
        if deemed is False and supply.disclosed is True:
            why = (
                "P is not the deemed supplier, and the agency is disclosed: C buys from SP, so P cannot be the supplier"
            )
            return Refusal(2, f"Art. 47(3); {AGENTS}", why, "law")
        return None
    article, why = _STANDS_ON[case], _CANNOT[case].format(sp=_described(supply.sp))
    if deemed and case in (1, 3, 5):
        article, why = f"Art. 47(3), {article.removeprefix('Art. ')}", f"{why}; the supply to C counts as P's"
    return Refusal(case, article, why, "law")


_CANNOT: Final[Mapping[Case, str]] = MappingProxyType(
    {
        1: "SP is {sp} and cannot issue a tax invoice",
        3: "SP is {sp} and no valid supplier of record; issuing through another does not make it one",
        4: "SP is {sp} and cannot invoice P",
        5: "SP is {sp}, and self-billing wants both parties registered",
        6: "SP is {sp}, so that no case is open whose fee could be summed up (1, 3 or 4)",
    }
)


def declined(case: Case, parent: Case | None, supply: Supply) -> Refusal | None:
    """What the caller chose against the case: issuers, and the period of the fee; None if nothing.

    Nothing is declined where SP is not registered: it cannot issue, and the law leaves no choice.
    """
    why = _issuer_declined(parent or case, supply) or _fee_declined(case, parent, supply)
    return Refusal(case, _STANDS_ON[case], why, "choice") if why and supply.registered else None


def _issuer_declined(base: Case, supply: Supply) -> str:
    if supply.service_issuer is Role.P and base == 1:
        return "SP issues the invoice to C here, and P was chosen"
    if supply.service_issuer is Role.SP and base == 3:
        return "P issues the invoice to C here, and SP was chosen"
    if supply.service_issuer is Role.SP and base in (2, 4):
        return "P is the supplier here and issues the invoice to C itself, and SP was chosen"
    return ""


def _fee_declined(case: Case, parent: Case | None, supply: Supply) -> str:
    chosen = supply.fee_issuer
    if chosen is Role.SP and (case in (1, 2, 3) or (case == 6 and parent != 4)):
        return "P issues the invoice between SP and P here, and SP was chosen"
    if chosen is Role.P and case in (4, 5):
        return "SP issues the invoice between SP and P here, and P was chosen"
    if supply.fee_period == "transaction" and case == 6:
        return "it sums up a month of fees, and an invoice for each transaction was chosen"
    if supply.fee_period == "month" and case in (1, 3):
        return f"it has a fee invoice for each transaction, and one a month was chosen: case 6 over {case}"
    if supply.fee_period == "month" and case in (2, 4):
        return "P's fee is its margin here, so there is no fee to invoice by the month"
    if supply.fee_period == "month" and case == 5:
        return "a summary of self-billed commissions wants a self-billing agreement of its own that covers summaries"
    return ""


def questions(supply: Supply, deemed: DeemedVerdict, lawful: Iterable[Option]) -> tuple[Question, ...]:
    """The judgements that this advice hangs on and that are open, in the order of their numbers."""
    options = tuple(lawful)
    texts = {
        1: _agency(supply, deemed),
        2: "" if supply.registered else _marketplace(supply, deemed),
        3: "" if supply.registered else _unregistered(supply, options),
        4: _expression(options),
        5: _approvals(options),
        6: _signing(options),
    }
    return tuple(Question(number, text) for number, text in texts.items() if text)


def _agency(supply: Supply, deemed: DeemedVerdict) -> str:
    if supply.disclosed is not None or deemed.applies:
        return ""
    return "By contracts, branding and payment flow: does C buy from SP (disclosed agency) or from P (undisclosed)?"


def _marketplace(supply: Supply, deemed: DeemedVerdict) -> str:
    if supply.date < DEEMED_SINCE:
        return f"Which rule held for marketplaces before {DEEMED_SINCE}, and does it reach this supply?"
    if deemed.applies:
        return "Is P an electronic marketplace in the sense of Art. 47(3)? The verdict takes it for one."
    if deemed.applies is None:
        known = "Is P an electronic marketplace in the sense of Art. 47(3), and is the exception met?"
        return f"{known} Not known: {', '.join(_unknown(supply))}."
    return "Does the exception of Art. 47(3) hold in practice, by the agreements and by what P really does?"


def _unregistered(supply: Supply, options: tuple[Option, ...]) -> str:
    if not options:
        return (
            "How are the supply to C and P's fee to be billed? SP can issue no tax invoice and self-bill nothing, P is "
            "not the supplier, and none of the six cases covers that."
        )
    treatment = "a reverse-charge import" if supply.sp is SpStatus.non_resident else "out of scope"
    return f"Is SP's supply to P {treatment}, and how is it recorded? It has no e-invoice."


def _expression(options: tuple[Option, ...]) -> str:
    if not any(option.margin or option.parent == 4 for option in options):
        return ""
    return "Is P's fee the margin between two prices, or an invoice of its own? It must not be counted twice."


def _approvals(options: tuple[Option, ...]) -> str:
    wanted = []
    if any(option.self_billed for option in options):
        wanted.append("self-billing (Art. 53(2): approval, prior agreement, the supplier's no-duplicate certification)")
    if any(option.third_party for option in options):
        wanted.append("third-party issuance (Art. 53(3): approval)")
    return f"Is there what the Authority wants for {' and '.join(wanted)}?" if wanted else ""


def _signing(options: tuple[Option, ...]) -> str:
    if not any(option.self_billed or option.third_party for option in options):
        return ""
    return "Whose certificate signs, and whose counter and chain move, where issuer and seller differ? Ask Invora."


def _described(sp: SpStatus) -> str:
    return "not registered for VAT" if sp is SpStatus.non_registered else "not resident"


def _controls(supply: Supply, value: bool | None) -> list[str]:
    """Those of the five in their short names that have this value."""
    return [word for name, word in _SPOKEN.items() if getattr(supply, name) is value]


def _unknown(supply: Supply) -> list[str]:
    """What the exception hangs on and is not known."""
    return _controls(supply, None) + (["disclosed agency"] if supply.disclosed is None else [])
