"""`invora zatca advise` and `invora zatca flags`: what they print, and how they refuse."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner, Result

from invora_grpc.cli.app import main
from invora_grpc.cli.zatca_advice import NOTICE
from invora_grpc.zatca.advice import Advice, Supply
from invora_grpc.zatca.advice import advise as advised

DAY = datetime.date(2026, 6, 12)
PLAIN = ("--sp", "registered", "--customer", "consumer", "--date", "2026-06-12")
FORCED = ("--sp", "non-resident", "--customer", "business", "--payment", "--date", "2026-06-12")


def invora(*words: str) -> Result:
    return CliRunner().invoke(main, ["zatca", *words])


def advise(*words: str) -> str:
    found = invora("advise", *words)
    assert (found.exit_code, found.stderr) == (0, "")
    return found.stdout


def answer(*words: str) -> Any:
    return json.loads(advise(*words, "-o", "json"))


def library(sp: Any, customer: Any, **facts: Any) -> Advice:
    return advised(Supply(sp, customer, **{"date": DAY, **facts}))


def refused(*words: str) -> str:
    found = invora(*words)
    assert found.exit_code == 2
    assert found.stdout == ""
    assert found.stderr.startswith("error: ")
    assert found.stderr.count("\n") == 1
    return found.stderr


def labels(found: Any) -> list[str]:
    return [str(one["case"]) + (f" over {one['parent']}" if one["parent"] else "") for one in found["lawful"]]


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        ((), {}),
        (("--disclosed",), {"disclosed": True}),
        (("--no-disclosed", "--fee-issuer", "sp"), {"disclosed": False, "fee_issuer": "sp"}),
        (("--service-issuer", "p", "--fee-period", "month"), {"service_issuer": "p", "fee_period": "month"}),
        (("--fee-period", "transaction"), {"fee_period": "transaction"}),
        (("--sp", "non-registered", "--terms"), {"sp": "non-registered", "sets_terms": True}),
        (("--sp", "non-registered", "--price"), {"sp": "non-registered", "sets_price": True}),
        (("--sp", "non-registered", "--payment"), {"sp": "non-registered", "collects_payment": True}),
        (("--sp", "non-registered", "--complaints"), {"sp": "non-registered", "handles_complaints": True}),
        (("--sp", "non-registered", "--no-promotions"), {"sp": "non-registered", "runs_promotions": False}),
        (("--sp", "non-resident", "--payment"), {"sp": "non-resident", "collects_payment": True}),
        (("--sp", "non-resident", "--date", "2025-12-31"), {"sp": "non-resident", "date": datetime.date(2025, 12, 31)}),
        (("--customer", "business"), {"customer": "business"}),
    ],
)
def test_every_option_is_a_fact_that_the_advisor_gets(words: tuple[str, ...], facts: dict[str, Any]) -> None:
    given: dict[str, Any] = {"sp": "registered", "customer": "consumer", **facts}
    told, expected = answer(*PLAIN, *words), library(**given)
    assert labels(told) == [option.label for option in expected.lawful]
    assert [one["case"] for one in told["refused"]] == [one.case for one in expected.refused]
    assert [one["number"] for one in told["questions"]] == [one.number for one in expected.questions]
    assert told["deemed_supplier"]["applies"] is expected.deemed.applies
    for name, value in given.items():
        assert told["supply"][name] == (str(value) if name == "date" else value)


def test_the_json_of_a_leg_has_all_that_a_program_needs() -> None:
    (option,) = answer(*FORCED)["lawful"]
    first, second = option["legs"]
    assert (option["case"], option["supplier"], option["exposure"], option["margin"]) == (2, "p", "service", True)
    assert first["type_code"]["name"] == "0100000"
    parties = [first[name] for name in ("seller", "buyer", "issuer", "tenant")]
    assert parties == ["p", "c", "p", "p"]
    assert [first[name] for name in ("surface", "submission", "basis")] == ["simple", "clearance", "Art. 47(3)"]
    assert second["type_code"] is None
    assert second["none_because"].startswith("reverse charge")


def test_the_page_shows_the_verdict_documents_refusals_and_questions() -> None:
    page = advise(*FORCED)
    assert page.startswith("Supply of 2026-06-12: SP non-resident, C business\nDeemed supplier (Art. 47(3)): yes: ")
    assert "case 2, leg 2: no document: reverse charge" in page
    assert "Art. 47(3), 53(1)" in page
    assert "\n3. Is SP's supply to P a reverse-charge import" in page
    assert "P owes output tax on the whole service in: 2" in page


def test_the_page_has_a_row_for_each_document() -> None:
    page = advise(*PLAIN, "--disclosed", "--service-issuer", "p", "--fee-issuer", "sp", "--fee-period", "transaction")
    rows = [" ".join(row.split()) for row in page.splitlines()]
    assert "5 over 3 1 SP's service to C SP C P SP documents 0210000 reporting Art. 53(3)" in rows
    assert "5 over 3 2 P's commission to SP P SP SP SP documents 0100001 clearance Art. 53(2)" in rows
    assert len([row for row in rows if row.startswith("5 over 3 ")]) == 2
    assert "P owes output tax on its fee only in: 5 over 3" in rows


def test_where_nothing_is_lawful_the_page_says_so() -> None:
    page = advise(*PLAIN, "--disclosed", "--fee-issuer", "sp", "--fee-period", "month")
    assert "Lawful:\n(none)" in page


def test_that_it_is_no_legal_advice_is_said_once() -> None:
    page = advise(*PLAIN)
    assert page.endswith(f"\n{NOTICE}\n")
    assert page.lower().count("advice") == 1
    assert answer(*PLAIN)["notice"] == NOTICE


def test_the_day_is_today_in_riyadh_by_default() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=3))
    before = datetime.datetime.now(zone).date()
    told = answer("--sp", "registered", "--customer", "consumer")["supply"]["date"]
    assert before.isoformat() <= told <= datetime.datetime.now(zone).date().isoformat()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--customer", "consumer"), "Missing option '--sp'"),
        (("--sp", "registered"), "Missing option '--customer'"),
        (("--sp", "foreign", "--customer", "consumer"), "'foreign' is not one of"),
        ((*PLAIN, "--date", "12.06.2026"), "'12.06.2026' is no day; write it like 2026-06-12"),
        ((*PLAIN, "--date", "2026-02-30"), "is no day"),
        ((*PLAIN, "--service-issuer", "c"), "'c' is not one of"),
        ((*PLAIN, "--fee-period", "year"), "'year' is not one of"),
        ((*PLAIN, "--term"), "No such option"),
    ],
)
def test_bad_input_of_advise_is_one_clear_line(words: tuple[str, ...], part: str) -> None:
    assert part in refused("advise", *words)


def test_flags_explains_a_name() -> None:
    found = invora("flags", "0210010", "--code", "381")
    assert found.exit_code == 0
    name, kind, subtype, *flags = found.stdout.splitlines()
    assert (name, kind) == ("0210010", "  381: credit note")
    assert subtype.startswith("  simplified: ")
    assert [line.strip().partition(":")[0] for line in flags] == ["third-party", "summary"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ((), "0100000"),
        (("--simplified",), "0200000"),
        (("--self-billed",), "0100001"),
        (("--summary", "--third-party"), "0110010"),
        (("--export", "--nominal", "--simplified"), "0201100"),
    ],
)
def test_flags_builds_a_name_whatever_their_order(words: tuple[str, ...], name: str) -> None:
    assert json.loads(invora("flags", *words, "-o", "json").stdout)["name"] == name


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("0100101",), "BR-KSA-07"),
        (("--export", "--self-billed"), "BR-KSA-07"),
        (("0200001",), "BR-KSA-31"),
        (("010000",), "BR-KSA-06"),
        (("0100000", "--code", "380"), "BR-KSA-05"),
        (("0100000", "--code", "x"), "BR-KSA-05"),
    ],
)
def test_flags_refuses_in_one_line_that_names_the_rule(words: tuple[str, ...], rule: str) -> None:
    assert rule in refused("flags", *words)


def test_flags_takes_a_name_or_flags() -> None:
    assert "give one of them" in refused("flags", "0100000", "--summary")


def test_the_advice_loads_neither_grpc_nor_lxml_nor_another_command() -> None:
    code = (
        "import sys; from invora_grpc.cli.app import main\n"
        "main(['zatca', 'advise', '--sp', 'registered', '--customer', 'consumer'], standalone_mode=False)\n"
        "names = ('grpc', 'google.protobuf', 'httpx', 'lxml', 'cryptography', 'segno', 'invora_grpc.cli.zatca_qr')\n"
        "print([name for name in names if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.splitlines()[-1] == "[]"


def test_the_help_of_the_group_loads_no_command() -> None:
    code = (
        "import sys; from invora_grpc.cli.app import main; main(['zatca', '--help'], standalone_mode=False)\n"
        "print([name for name in sys.modules if name.startswith('invora_grpc.cli.zatca_')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.splitlines()[-1] == "[]"
    for name in ("advise", "check", "qr", "chain", "flags"):
        assert f"\n  {name} " in shown


def test_where_only_choices_are_in_the_way_the_page_says_so() -> None:
    chosen = ("--disclosed", "--fee-issuer", "sp", "--fee-period", "month")
    assert "those refused by choice are open to another one" in advise(*PLAIN, *chosen)
    assert "refused by choice" not in advise(*PLAIN)
