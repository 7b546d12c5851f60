"""What note() makes: credit and debit notes that inherit their original's leg, and those that are refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from zatca_deals import (
    EXEMPT,
    FEE,
    ISSUED,
    SERVICE,
    SUPPLIED,
    agreement,
    built,
    credit,
)

from invora_grpc.errors import RequestError
from invora_grpc.zatca.agreement import PreconditionError, note_deadline
from invora_grpc.zatca.document import Tax
from invora_grpc.zatca.notes import note
from invora_grpc.zatca.supply import Role
from invora_grpc.zatca.typecode import IllegalTypeCode
from invora_grpc.zatca.ubl import from_xml

DOCUMENTS = "invoicing.documents.create"


def test_a_note_on_the_simple_surface_names_its_invoice_and_inherits_buyer_and_currency() -> None:
    for kind, method in ((381, "simple.credit_notes.create"), (383, "simple.debit_notes.create")):
        made = credit(built(1, 1), kind=kind, number="INV-000007")
        request: Any = made.request
        assert (made.role, made.method, made.key, made.branch) == (Role.SP, method, "CN-1", "sp-main")
        changes = request.changes
        assert (changes.invoice_key, changes.reason) == ("INV-100-1", "Visit was shorter")
        assert not changes.HasField("buyer") and not changes.currency_code
        assert made.document is not None and made.document.originals[0].id == "INV-000007"
        assert made.document.type_code.code == kind


@pytest.mark.parametrize(
    ("case", "leg", "name"), [(2, 2, "0100001"), (3, 1, "0210000"), (5, 2, "0100001"), (5, 1, "0210000")]
)
def test_a_note_on_the_documents_surface_inherits_parties_flags_and_tenant(case: int, leg: int, name: str) -> None:
    original = built(case, leg, parent=3 if case == 5 else None)
    assert original.document is not None
    made = credit(original, FEE, agreement=agreement(case))
    assert made.document is not None
    assert (made.role, made.method, made.branch) == (original.role, DOCUMENTS, original.branch)
    assert (made.document.seller, made.document.buyer) == (original.document.seller, original.document.buyer)
    assert (made.document.type_code.name, made.document.type_code.code) == (name, 381)
    assert made.document.notes == original.document.notes
    assert made.document.originals[0].id == original.key
    request: Any = made.request
    assert from_xml(request.changes.xml_content.encode()) == made.document


def test_a_note_corrects_a_document_that_was_read_from_xml() -> None:
    first: Any = built(3, 1, "business").request
    stored = from_xml(first.changes.xml_content.encode())
    made = note(
        stored,
        383,
        (FEE,),
        reason="More hours",
        key="DN-1",
        issued_at=ISSUED.replace(day=20),
        event=SUPPLIED,
        agreement=agreement(3),
        tenant=Role.SP,
        branch="sp-main",
    )
    assert (made.role, made.branch, made.totals.payable) == (Role.SP, "sp-main", 23)
    assert made.document is not None and made.document.type_code.name == "0110000"


def test_credit_notes_take_at_most_what_is_left_of_the_original() -> None:
    original = built(1, 1)
    half = replace(SERVICE, unit_price=Decimal(100))
    first = credit(original, half)
    raised = credit(original, replace(SERVICE, unit_price=Decimal(50)), 383, key="DN-1")
    assert credit(original, half, key="CN-2", earlier=[first]).totals.payable == 115
    assert credit(original, replace(half, unit_price=Decimal(150)), key="CN-2", earlier=[first, raised])
    cent_more = replace(half, unit_price=Decimal("100.01"))
    with pytest.raises(RequestError, match=r"lines: Decimal\('100.01'\) is more than what is left"):
        credit(original, cent_more, key="CN-2", earlier=[first])
    with pytest.raises(RequestError, match="at most 0 is left in category S at 5 per cent"):
        credit(original, replace(half, tax=Tax("S", Decimal(5))))
    with pytest.raises(RequestError, match="is no note on it"):
        credit(original, half, key="CN-2", earlier=[credit(built(1, 1, key="INV-9"), half)])


def test_a_note_is_counted_once_and_not_against_itself() -> None:
    original, half = built(1, 1), replace(SERVICE, unit_price=Decimal(100))
    first = credit(original, half)
    second = credit(original, half, key="CN-2", earlier=[first, first])
    assert credit(original, half, key="CN-2", earlier=[first, second]) == second
    with pytest.raises(RequestError, match="earlier: 'CN-1' is the key of two notes"):
        credit(original, half, key="CN-3", earlier=[first, credit(original)])


def test_a_credit_is_for_the_exemption_of_its_original() -> None:
    original = built(1, 2, fee=(FEE, replace(FEE, tax=EXEMPT)))
    assert credit(original, replace(FEE, tax=EXEMPT)).totals.payable == 20
    with pytest.raises(RequestError, match=r"at most 0 is left in category E at 0 per cent \(VATEX-SA-30\)"):
        credit(original, replace(FEE, tax=Tax("E", Decimal(0), "VATEX-SA-30", "Rent of a home")))


def test_the_customer_issues_no_note() -> None:
    original = built(3, 1).document
    assert original
    with pytest.raises(RequestError, match=r"tenant: .* issues no document"):
        note(original, 381, (SERVICE,), reason="r", key="N", issued_at=ISSUED, event=SUPPLIED, tenant=Role.C)


def test_rounding_does_not_let_credit_notes_take_more_than_the_original() -> None:
    original = built(1, 1, service=(replace(SERVICE, unit_price=Decimal("0.12")),))  # 0.14 with VAT
    part = replace(SERVICE, unit_price=Decimal("0.04"))  # 0.05 with VAT
    first, second = credit(original, part), credit(original, part, key="CN-2")
    with pytest.raises(RequestError, match=r"at most 0\.04 SAR with VAT is left"):
        credit(original, part, key="CN-3", earlier=[first, second])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reason": " "}, "BR-KSA-17"),
        ({"key": "INV-100-1"}, "is the original's"),
        ({"key": ""}, "key: ''"),
        ({"issued_at": ISSUED.replace(day=11), "event": date(2026, 6, 11)}, "is before the document"),
        ({"event": date(2026, 6, 15)}, "has not happened yet"),
        ({"issued_at": datetime(2026, 6, 14)}, "has no time zone"),
        ({"event": datetime(2026, 6, 13)}, "event: .* is no day"),
        ({"deadline_days": -1}, "deadline_days: -1; give a whole number"),
        ({"deadline_days": float("nan")}, "deadline_days: nan"),
        ({"line": replace(SERVICE, unit_price=Decimal(-1))}, "is negative"),
        ({"line": replace(SERVICE, quantity=Decimal(0))}, "above zero"),
        ({"line": replace(SERVICE, unit_price=Decimal(0))}, "comes to nothing"),
    ],
)
def test_a_note_that_is_not_in_order_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        credit(built(1, 1), **changes)


def test_a_note_on_a_note_or_of_another_kind_is_refused() -> None:
    original = built(1, 1)
    with pytest.raises(RequestError, match="is a note itself"):
        credit(credit(original), key="CN-2")
    invoice: Any = 388
    with pytest.raises(IllegalTypeCode):
        credit(original, kind=invoice)


def test_a_credit_note_is_due_fifteen_days_after_the_end_of_the_events_month() -> None:
    assert note_deadline(date(2026, 6, 1)) == note_deadline(date(2026, 6, 30)) == date(2026, 7, 15)
    assert note_deadline(date(2026, 12, 31)) == date(2027, 1, 15)
    original = built(1, 1)
    last = datetime(2026, 7, 15, 20, 59, tzinfo=UTC)  # a minute before midnight in Riyadh
    late = datetime(2026, 7, 15, 21, 0, tzinfo=UTC)
    assert credit(original, issued_at=last)
    with pytest.raises(PreconditionError, match="was due by 2026-07-15"):
        credit(original, issued_at=late)
    assert credit(original, issued_at=late, deadline_days=None)
    assert credit(original, issued_at=late, deadline_days=30)
    assert credit(original, kind=383, issued_at=late)
