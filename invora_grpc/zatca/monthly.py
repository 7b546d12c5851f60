"""Case 6: a month's fees of one service provider, as one summary invoice or as usage events of the Billing module.

Take one of the two for a fee, never both: each would charge it. Which deals belong together is the caller's to say;
this room refuses what Art. 53(4) does not let stand in one invoice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime

from invora_grpc.errors import RequestError
from invora_grpc.zatca.advice_options import Leg, Option
from invora_grpc.zatca.agreement import assure_summary
from invora_grpc.zatca.deal import Deal, checked, lines_of, require_instant, require_key
from invora_grpc.zatca.document import RIYADH, Line
from invora_grpc.zatca.requests import FEE_METRIC, Issuance, draft, issuance, leg_of, source_of, usage_event, uuid_of
from invora_grpc.zatca.supply import Role


def summary(
    option: Option,
    month: date,
    deals: Iterable[Deal],
    *,
    key: str,
    issued_at: datetime,
    now: datetime | None = None,
) -> Issuance:
    """One summary invoice (0100010) of the fees that P charges one SP for a calendar month, in P's tenant.

    `option` is of case 6; `month` is any day of the month; `deals` are the month's transactions, at least two. `key` is
    the summary's own key and number, `issued_at` (aware) its moment of issue: by the 15th of the next month in Saudi
    Arabia. Every line names its transaction: what its `source` says, else the document or key of the deal.

    Raises PreconditionError where Art. 53(4) is not kept, RuleError for what breaks a rule of ZATCA, RequestError for a
    deal that is named twice or charged in another currency, and for an option that is not of case 6.
    """
    leg = leg_of(option, 2)
    if leg.type_code is None or not leg.type_code.summary:
        hint = "take an option of case 6, or build() this leg for each deal"
        raise RequestError("option", option.label, hint, "has no monthly summary")
    require_instant("issued_at", issued_at)
    deals = tuple(deals)
    _check_keys(key, deals)
    days = [day for deal in deals for day in (deal.supply_date, deal.supply_end or deal.supply_date)]
    customers = [deal.provider.vat_number for deal in deals]
    assure_summary(month, issued_at.astimezone(RIYADH).date(), days, customers)
    for place, deal in enumerate(deals):
        if deal.supply_end is not None and deal.supply_end < deal.supply_date:
            hint = f"use {deal.supply_date} or later"
            raise RequestError(f"deals[{place}].supply_end", deal.supply_end, hint, "is before supply_date")
    last = deals[-1]
    _check_alike(deals, last)
    whole = replace(
        last, fee=_lines(option, leg, deals), supply_date=min(days), supply_end=max(days), issued_at=issued_at
    )
    document = draft(option, leg, leg.type_code, whole)
    document = replace(document, id=key, uuid=uuid_of(document.seller, key))
    return issuance(document, leg.surface, leg.tenant, last.branches.get(leg.tenant, ""), key, None, now)


def usage_events(
    option: Option, deals: Iterable[Deal], *, metric: str = FEE_METRIC, now: datetime | None = None
) -> tuple[Issuance, ...]:
    """One usage event for the fee of each deal, in P's tenant; the Billing module makes the month's invoice of them.

    Each is keyed `{deal.key}-2`: sent again it is not counted again. Raises as `requests.usage_event` does, and
    RequestError for a deal that is named twice or charged in another currency: events are added up as numbers.
    """
    given = tuple(deals)
    _check_twice(given)
    if len(currencies := sorted({deal.currency for deal in given})) > 1:
        hint = "meter each currency by a subscription and a metric of its own"
        raise RequestError("deals", currencies, hint, "are charged in several currencies: the metric adds numbers")
    return tuple(usage_event(option, deal, metric, now) for deal in given)


def _check_keys(key: str, deals: Sequence[Deal]) -> None:
    require_key("key", key)
    for deal in deals:
        checked(deal)
    _check_twice(deals)


def _check_twice(deals: Sequence[Deal]) -> None:
    seen: set[str] = set()
    for place, deal in enumerate(deals):
        if deal.key in seen:
            raise RequestError(f"deals[{place}].key", deal.key, "name every deal once", "would be charged twice")
        seen.add(deal.key)


def _check_alike(deals: Sequence[Deal], last: Deal) -> None:
    """Raise RequestError unless one document can say all of it; particulars of SP and P are the last deal's."""
    for place, deal in enumerate(deals):
        if (deal.currency, deal.sar_rate) != (last.currency, last.sar_rate):
            hint = f"make one summary per currency and rate; the last deal has {last.currency} at {last.sar_rate or 1}"
            raise RequestError(
                f"deals[{place}].currency", deal.currency, hint, "is charged otherwise than the last deal"
            )
        if deal.platform.vat_number != last.platform.vat_number:
            hint = "make one summary per platform"
            number = deal.platform.vat_number
            raise RequestError(f"deals[{place}].platform.vat_number", number, hint, "is another seller")
        if deal.branches.get(Role.P, "") != last.branches.get(Role.P, ""):
            hint = "make one summary per branch of the platform"
            raise RequestError(f"deals[{place}].branches", deal.branches.get(Role.P), hint, "is another branch")


def _lines(option: Option, leg: Leg, deals: Sequence[Deal]) -> tuple[Line, ...]:
    """The fees of all deals, each line with its transaction, numbered anew."""
    return tuple(
        replace(line, id="", source=line.source or source_of(option, deal))
        for deal in deals
        for line in lines_of(deal, leg)
    )
