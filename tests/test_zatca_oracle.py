"""Every document that is written passes ZATCA's rules in another implementation of them, without a warning too."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, assume, given, settings
from zatca_documents import SAMPLES, documents, doubtful

from invora_grpc.errors import RequestError
from invora_grpc.zatca.document import RIYADH, Document
from invora_grpc.zatca.hashing import FIRST_HASH
from invora_grpc.zatca.problems import problems
from invora_grpc.zatca.ubl import to_xml

fatoora = pytest.importorskip("fatoora")

ASSIGNED_BY_THE_PLATFORM = {"BR-KSA-27", "BR-KSA-60", "signature"}
"""All that a document without QR code (BR-KSA-27) and stamp (BR-KSA-60, the stage `signature`) may be told."""
NOT_ASSIGNED_YET = ASSIGNED_BY_THE_PLATFORM | {"BR-KSA-33", "BR-KSA-61", "previous_invoice_hash"}
"""The same for a document that has no counter (BR-KSA-33) and no previous hash (BR-KSA-61) either."""
RULES = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
FEWER = settings(RULES, max_examples=150)


def objections(document: Document, assigned: bool = True) -> set[str]:
    """The rules and stages that object to a document, within the hour of its issue."""
    if assigned:
        document = replace(document, counter=1, previous_hash=FIRST_HASH)
    text = to_xml(document).decode()
    assert fatoora.validate_xml_invoice_from_str(fatoora.Config(), text)
    now = (document.issued_at + timedelta(hours=1)).astimezone(RIYADH).isoformat()
    report = fatoora.validate_zatca_invoice_from_str(
        fatoora.Config(), text, previous_invoice_hash=FIRST_HASH, evaluated_at=now
    )
    assert {stage["stage"] for stage in report["stages"]} >= {"xsd", "cen", "ksa"}
    rules = {stage["stage"]: stage for stage in report["stages"]}
    assert all(rules[stage]["status"] == "completed" for stage in ("xsd", "cen", "ksa"))
    return {
        stage["stage"] if stage["stage"] in ("signature", "previous_invoice_hash") else finding["code"]
        for stage in report["stages"]
        for finding in stage["findings"]
    }


@pytest.mark.parametrize("name", SAMPLES)
def test_a_document_of_each_kind_passes(name: str) -> None:
    assert objections(SAMPLES[name]) <= ASSIGNED_BY_THE_PLATFORM


@given(documents())
@RULES
def test_every_valid_document_passes_without_error_or_warning(document: Document) -> None:
    found = problems(document)
    assume(not any("BR-KSA-97" in str(problem) for problem in found))
    assert not found
    assert objections(document) <= ASSIGNED_BY_THE_PLATFORM


@given(doubtful())
@FEWER
def test_a_document_with_any_wrong_value_is_refused_or_passes(document: Document) -> None:
    try:
        found = objections(document, assigned=False)
    except RequestError as error:
        assert error.path and error.hint
    else:
        assert found <= NOT_ASSIGNED_YET
