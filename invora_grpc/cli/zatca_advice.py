"""`invora zatca advise` and `invora zatca flags`: the advisor and the type codes on the command line.

The words on the screen only: what is lawful is said by `invora_grpc.zatca.advice`, what is legal by its `typecode`.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from invora_grpc.cli.tables import columns

if TYPE_CHECKING:
    from invora_grpc.zatca.advice import Advice, Leg, Option, Supply
    from invora_grpc.zatca.typecode import TypeCode

__all__ = ["NOTICE", "advise", "flags"]

NOTICE: Final = (
    "This is not legal or tax advice: have the classification confirmed by a qualified Saudi VAT adviser before you "
    "rely on it."
)
_RIYADH: Final = datetime.timezone(datetime.timedelta(hours=3))
_CONTROLS: Final = (
    ("terms", "sets_terms", "P sets the terms of the supply."),
    ("price", "sets_price", "P determines the consideration."),
    ("payment", "collects_payment", "P collects the customer's payment."),
    ("complaints", "handles_complaints", "P handles customers' complaints."),
    ("promotions", "runs_promotions", "P offers promotions or compensation."),
    ("disclosed", "disclosed", "The agreement names SP as the principal, and C knows that it buys from SP."),
)
_ANSWERS: Final = {True: "yes", False: "no", None: "open"}
_EXPOSURES: Final = {
    "fee": "P owes output tax on its fee only in",
    "service": "P owes output tax on the whole service in",
}
_FORM: Final = click.option(
    "-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)


def _day(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime.date:
    """The day that an option names in ISO 8601; today in Riyadh by default."""
    if value is None:
        return datetime.datetime.now(_RIYADH).date()
    try:
        return datetime.date.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no day; write it like 2026-06-12", ctx, param) from None


def _facts(command: Any) -> Any:
    """An option for each fact that is true, false, or left open."""
    for word, name, words in reversed(_CONTROLS):
        command = click.option(f"--{word}/--no-{word}", name, default=None, help=words)(command)
    return command


@click.command()
@click.option(
    "--sp",
    type=click.Choice(["registered", "non-registered", "non-resident"]),
    required=True,
    help="Whether SP is registered for VAT and resident.",
)
@click.option(
    "--customer",
    type=click.Choice(["consumer", "business"]),
    required=True,
    help="Who C is; a business is registered for VAT.",
)
@_facts
@click.option("--service-issuer", type=click.Choice(["sp", "p"]), help="Who is to issue the invoice to C.")
@click.option("--fee-issuer", type=click.Choice(["sp", "p"]), help="Who is to issue the invoice between SP and P.")
@click.option("--fee-period", type=click.Choice(["transaction", "month"]), help="How often P's fee is invoiced.")
@click.option("--date", callback=_day, metavar="YYYY-MM-DD", help="Day of the supply in Riyadh.  [default: today]")
@_FORM
def advise(form: str, **given: Any) -> None:
    """Say which of the six cases are lawful for a supply, with their documents, and what refuses the others.

    SP is the service provider, P the platform (resident, registered for VAT), C the customer. A fact that is left out
    is not known: all that remains possible is shown, and what it hangs on is an open question.

    \b
    Examples:
      invora zatca advise --sp registered --customer consumer --disclosed --service-issuer p
      invora zatca advise --sp non-resident --customer business --payment -o json
    """
    from invora_grpc.zatca.advice import Supply
    from invora_grpc.zatca.advice import advise as work

    supply = Supply(**given)
    advice = work(supply)
    click.echo(_json(_advice_fields(supply, advice)) if form == "json" else "\n".join(_page(supply, advice)))


@click.command()
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--code", default="388", show_default=True, help="388 invoice, 381 credit, 383 debit, 386 prepayment.")
@click.option("--simplified", is_flag=True, help="Simplified (02) in place of standard (01).")
@click.option("--third-party", is_flag=True, help="Position 3: issued by a third party.")
@click.option("--nominal", is_flag=True, help="Position 4: without consideration.")
@click.option("--export", is_flag=True, help="Position 5: leaves the country.")
@click.option("--summary", is_flag=True, help="Position 6: sums up supplies of a month.")
@click.option("--self-billed", is_flag=True, help="Position 7: issued by the buyer.")
@click.option("--continuous", is_flag=True, help="Position 8 of newer standards: over a period.")
@click.option("--government", is_flag=True, help="Position 9 of newer standards: under a government contract.")
@_FORM
def flags(name: str | None, code: str, simplified: bool, form: str, **chosen: bool) -> None:
    """Explain the type code NAME, e.g. 0110000, or build one from flags. Illegal ones name the rule that refuses them.

    \b
    Examples:
      invora zatca flags 0110000
      invora zatca flags --simplified --third-party --code 381 -o json
      invora zatca flags 0200001  # exit code 2
    """
    from invora_grpc.zatca.typecode import FLAGS, TypeCode

    if name is not None and (simplified or any(chosen.values())):
        raise click.UsageError("NAME holds the flags already; give one of them")
    digits = "".join("1" if chosen[flag] else "0" for flag in FLAGS)
    found = TypeCode.parse(name if name is not None else ("02" if simplified else "01") + digits, code)
    if form == "json":
        click.echo(_json(_type_fields(found)))
        return
    click.echo("\n".join((f"{found.name}", *(f"  {line}" for line in found.explain()))))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


# --- for programs -------------------------------------------------------------------------------------------------


def _advice_fields(supply: Supply, advice: Advice) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "supply": {**asdict(supply), "date": supply.date.isoformat()},
        "deemed_supplier": asdict(advice.deemed),
        "lawful": [_option_fields(option) for option in advice.lawful],
        "refused": [asdict(refusal) for refusal in advice.refused],
        "questions": [asdict(question) for question in advice.questions],
        "notice": NOTICE,
    }


def _option_fields(option: Option) -> dict[str, Any]:
    from dataclasses import asdict

    legs = [
        {**asdict(leg), "type_code": None if leg.type_code is None else _type_fields(leg.type_code)}
        for leg in option.legs
    ]
    derived = {"supplier": option.supplier, "exposure": option.exposure, "margin": option.margin, "legs": legs}
    return {"case": option.case, "parent": option.parent, "customer": option.customer, **derived}


def _type_fields(code: TypeCode) -> dict[str, Any]:
    words = list(code.explain())
    return {"name": code.name, "code": code.code, "subtype": code.subtype, "flags": list(code.flags), "meaning": words}


# --- for people ---------------------------------------------------------------------------------------------------


def _page(supply: Supply, advice: Advice) -> Iterator[str]:
    yield f"Supply of {supply.date}: SP {supply.sp}, C {supply.customer}"
    yield f"Deemed supplier ({advice.deemed.article}): {_ANSWERS[advice.deemed.applies]}: {advice.deemed.why}"
    yield "\nLawful, as far as the open questions allow:" if advice.questions else "\nLawful:"
    yield from _options(advice.lawful)
    if not advice.lawful and any(one.ground == "choice" for one in advice.refused):
        yield "No case has the issuers and the period that you chose; those refused by choice are open to another one."
    if advice.refused:
        yield "\nRefused:"
        rows = [[str(one.case), one.ground, one.article, one.why] for one in advice.refused]
        yield columns(rows, ["case", "by", "article", "why"])
    if advice.questions:
        yield "\nOpen questions:"
        yield from (f"{question.number}. {question.text}" for question in advice.questions)
    yield "\nArticles without a name are those of the VAT Implementing Regulations."
    yield NOTICE


def _options(options: Sequence[Option]) -> Iterator[str]:
    """A row for each document; then the supplies that no document follows from."""
    pairs = [(option, leg) for option in options for leg in option.legs]
    if not pairs:
        yield "(none)"
        return
    names = ["case", "leg", "document", "seller", "buyer", "issuer", "tenant", "surface", "type", "model", "basis"]
    yield columns([_row(option, leg) for option, leg in pairs], names)
    for option, leg in pairs:
        if leg.none_because is not None:
            yield f"case {option.label}, leg {leg.number}: no document: {leg.none_because}"
    for exposure, words in _EXPOSURES.items():
        if cases := [option.label for option in options if option.exposure == exposure]:
            yield f"{words}: {', '.join(cases)}"


def _row(option: Option, leg: Leg) -> list[str]:
    head = [option.label, str(leg.number), leg.represents, leg.seller.upper(), leg.buyer.upper()]
    if leg.type_code is None:
        return [*head, "-", "-", "-", "none", "-", leg.basis]
    surface = leg.surface if leg.also is None else f"{leg.surface}, {leg.also}"
    where = [leg.issuer.upper(), leg.tenant.upper(), surface]
    return [*head, *where, leg.type_code.name, leg.submission or "-", leg.basis]
