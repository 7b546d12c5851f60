"""Which of the six cases is lawful for a supply, and why the others are not.

Puts the rules of ``advice_rules`` to the cases of ``advice_options``. What is a legal judgement is never decided here:
it comes back as an open question, and every option that remains possible is kept. It is no legal advice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from invora_grpc.errors import RequestError
from invora_grpc.zatca.advice_options import CASES, Case, Leg, Option, option_of
from invora_grpc.zatca.advice_rules import DeemedVerdict, Question, Refusal, barred, declined, questions, verdict
from invora_grpc.zatca.supply import Customer, Role, SpStatus, Supply

__all__ = [
    "Advice",
    "Customer",
    "DeemedVerdict",
    "Leg",
    "Option",
    "Question",
    "Refusal",
    "Role",
    "SpStatus",
    "Supply",
    "advise",
]

_SHAPES: Final[tuple[tuple[Case, Case | None], ...]] = (
    (1, None),
    (2, None),
    (3, None),
    (4, None),
    (5, 1),
    (5, 3),
    (6, 1),
    (6, 3),
    (6, 4),
)
"""Every case with every parent that it can have."""


@dataclass(frozen=True, slots=True)
class Advice:
    """The answer to a supply. Each of the six cases is either among the lawful options or among the refused."""

    deemed: DeemedVerdict
    lawful: tuple[Option, ...]
    refused: tuple[Refusal, ...]
    questions: tuple[Question, ...]

    def option(self, case: int, parent: int | None = None) -> Option:
        """The lawful option of that case.

        Raises `RequestError` if the case is refused, naming the article, or has several parents and none is named.
        """
        found = [option for option in self.lawful if option.case == case and parent in (None, option.parent)]
        if len(found) == 1:
            return found[0]
        if found:
            parents = ", ".join(str(option.parent) for option in found)
            raise RequestError("case", case, f"say which parent: {parents}", "has several parents")
        known = ", ".join(option.label for option in self.lawful)
        hint = f"lawful here: {known}" if known else "no case is lawful here; see the open questions"
        for refusal in self.refused:
            if refusal.case == case:
                raise RequestError("case", case, hint, f"is refused: {refusal.why} ({refusal.article})")
        raise RequestError("case", case, hint, "is unknown" if case not in CASES else f"has no parent {parent} here")


def advise(supply: Supply) -> Advice:
    """The lawful cases for a supply with their legs, the refused ones each with what refuses it, and what stays open.

    Where the law leaves a choice, the issuers and the period that the supply names narrow it down.
    """
    deemed = verdict(supply)
    lawful: list[Option] = []
    refusals: list[Refusal] = []
    for case, parent in _SHAPES:
        refusal = barred(case, parent, supply, deemed.applies) or declined(case, parent, supply)
        if refusal is None:
            lawful.append(option_of(case, parent, supply, deemed.applies))
        else:
            refusals.append(refusal)
    open_cases = {option.case for option in lawful}
    refused = tuple(_main(refusals, case) for case in CASES if case not in open_cases)
    return Advice(deemed, tuple(lawful), refused, questions(supply, deemed, lawful))


def _main(refusals: list[Refusal], case: Case) -> Refusal:
    """The refusal of a case with several parents: what a choice closed, another choice opens, so that one is said."""
    mine = [refusal for refusal in refusals if refusal.case == case]
    return next((refusal for refusal in mine if refusal.ground == "choice"), mine[0])
