"""Checks of the lines, allowances, charges and prepayments of a `Document`, each by itself."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from invora_grpc.errors import RequestError
from invora_grpc.zatca import codes
from invora_grpc.zatca.document import Allowance, Line, Prepayment
from invora_grpc.zatca.problems_values import (
    Problems,
    amount_problem,
    instant_problem,
    number_problem,
    tax_problems,
    text_problem,
)
from invora_grpc.zatca.totals import allowance_amount, tax_on

__all__ = ["allowance_problems", "line_problems", "prepayment_problems"]

NOT_PREPAID: Final = ("VATEX-SA-32(bis)", "VATEX-SA-ROYALDECREE")
"""Reasons that ZATCA's rules take on documents, but not on the line of a prepayment (BR-KSA-CL-07)."""
CENT: Final = Decimal("0.01")


def line_problems(path: str, line: Line) -> Problems:
    """What is wrong with a line by itself."""
    if problem := text_problem(f"{path}.name", line.name, 1000, required=True):
        yield problem
    elif line.name.strip().isdecimal():
        yield RequestError(f"{path}.name", line.name, "say what is supplied", "is but a number (BR-KSA-F-C-01)")
    elif len(line.name) < 3:
        yield RequestError(f"{path}.name", line.name, "use at least 3 characters", "is too short (BR-KSA-F-06-C19)")
    if problem := number_problem(f"{path}.quantity", line.quantity, zero=False):
        yield problem
    if problem := number_problem(f"{path}.unit_price", line.unit_price, zero=True):
        yield problem
    if problem := number_problem(f"{path}.base_quantity", line.base_quantity, zero=False):
        yield problem
    if problem := text_problem(f"{path}.unit_code", line.unit_code, 127, required=True):
        yield problem
    if line.id and (problem := text_problem(f"{path}.id", line.id, 6)):
        yield problem
    yield from tax_problems(f"{path}.tax", line.tax)
    for number, allowance in enumerate(line.allowances):
        yield from allowance_problems(f"{path}.allowances[{number}]", allowance, on_document=False)


def allowance_problems(path: str, allowance: Allowance, *, on_document: bool) -> Problems:
    """What is wrong with an allowance or charge (BR-KSA-19 to -22, -CL-06, -DEC-01, -EN16931-03 to -05)."""
    if problem := amount_problem(f"{path}.amount", allowance.amount):
        yield problem
        return
    if problem := text_problem(f"{path}.reason", allowance.reason, 1000, required=allowance.charge):
        yield problem
    yield from _reason_code_problems(path, allowance)
    yield from _share_problems(path, allowance)
    if on_document:
        yield from tax_problems(f"{path}.tax", allowance.tax)
    elif allowance.tax is not None:
        yield RequestError(
            f"{path}.tax", allowance.tax.category, "leave it away", "is given, but the line's tax counts"
        )


def _reason_code_problems(path: str, allowance: Allowance) -> Problems:
    code = allowance.reason_code
    if allowance.charge and code not in codes.CHARGE_REASONS:
        hint = "use a code of UN/CL 7161, e.g. FC for freight"
        yield RequestError(f"{path}.reason_code", code, hint, "is no reason of a charge (BR-KSA-19, -20, -CL-06)")
    elif not allowance.charge and code and code not in codes.ALLOWANCE_REASONS:
        hint = "use a code of UN/CL 5189, e.g. 95 for a discount, or none"
        yield RequestError(f"{path}.reason_code", code, hint, "is no reason of an allowance")


def _share_problems(path: str, allowance: Allowance) -> Problems:
    base, percent = allowance.base_amount, allowance.percent
    if base is None and percent is None:
        return
    if base is None or percent is None:
        name = "base_amount" if base is None else "percent"
        hint = "give both base_amount and percent, or none of them"
        yield RequestError(f"{path}.{name}", None, hint, "is missing beside the other (BR-KSA-EN16931-04, -05)")
        return
    if problem := amount_problem(f"{path}.base_amount", base) or amount_problem(f"{path}.percent", percent):
        yield problem
    elif percent > 100:
        yield RequestError(f"{path}.percent", percent, "use 0 to 100", "is more than all (BR-KSA-DEC-01)")
    elif allowance.amount != (due := allowance_amount(base, percent)):
        hint = f"use {due}, or leave base_amount and percent away"
        yield RequestError(f"{path}.amount", allowance.amount, hint, "is not base × percent (BR-KSA-EN16931-03)")


def prepayment_problems(path: str, prepayment: Prepayment) -> Problems:
    """What is wrong with a prepayment (BR-KSA-73 to -82, BR-KSA-93 to -96)."""
    if problem := text_problem(f"{path}.id", prepayment.id, 127, required=True):
        yield problem
    if problem := text_problem(f"{path}.uuid", prepayment.uuid, 127):
        yield problem
    if problem := instant_problem(f"{path}.issued_at", prepayment.issued_at):
        yield problem
    tax_wrong = tuple(tax_problems(f"{path}.tax", prepayment.tax))
    yield from tax_wrong
    if prepayment.tax.exemption_code in NOT_PREPAID:
        hint = "ask ZATCA how to state it"
        yield RequestError(f"{path}.tax.exemption_code", prepayment.tax.exemption_code, hint, "is refused there")
    amount_wrong = amount_problem(f"{path}.taxable_amount", prepayment.taxable_amount) or amount_problem(
        f"{path}.tax_amount", prepayment.tax_amount
    )
    if amount_wrong:
        yield amount_wrong
    elif not prepayment.taxable_amount:
        yield RequestError(
            f"{path}.taxable_amount", prepayment.taxable_amount, "leave it away", "is nothing (BR-KSA-80)"
        )
    elif not tax_wrong:
        due = tax_on(prepayment.taxable_amount, prepayment.tax.rate)
        if abs(due - prepayment.tax_amount) > (CENT if prepayment.tax.rate else 0):
            hint = f"use {due}, as the prepayment invoice has it"
            yield RequestError(f"{path}.tax_amount", prepayment.tax_amount, hint, "is not amount × rate (BR-KSA-79)")
