"""The regulations services: regulations, submissions, artifacts, QR codes; and the chain after a crash."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from conftest import client_of
from google.protobuf.json_format import MessageToDict, ParseDict
from sandbox_fixture import Running, running_sandbox
from test_durability import client_of as client_of_process
from test_durability import sandbox_process

from invora_api.documents.v2 import models_pb2 as documents_v2
from invora_api.regulations.zatca.v1.models_pb2 import ZatcaConfig, ZatcaRegulationMetadata
from invora_grpc import FailedPrecondition, InvalidArgument, Invora, NotFound, RpcError
from invora_grpc.sandbox.regulations_known import CONFIG_SCHEMA, PROFILE_URI, REGULATIONS
from invora_grpc.sandbox.server import Sandbox
from invora_grpc.zatca.chain import check_chain
from invora_grpc.zatca.hashing import invoice_hash

ZATCA = "zatca"
LINE = {"description": "Repair", "quantity": {"value": 1, "unit_code": "C62"}, "unit_price": 9, "tax": {"tax_rate": 15}}
INVOICE = {"currency_code": "SAR", "buyer": {"inline": {"legal_name": "Layla"}}, "lines": [LINE]}
ALWAYS = {"issue_date_from": "2020-01-01", "issue_date_to": "2099-01-01"}
SUBMISSION = documents_v2.RegulationSubmissionStatus


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with running_sandbox(seed="empty") as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[Invora]:
    with client_of(running) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _an_authority_as_usual(running: Running) -> Iterator[None]:
    yield
    running.authority.reachable, running.authority.reporting_delay = True, 0.0


_KEYS = (f"doc-{number}" for number in range(1000))


def frozen(client: Invora, **changes: Any) -> Any:
    given = {**INVOICE, **changes}
    return client.simple.invoices.create(key=next(_KEYS), changes=given, freeze_immediately=True).details


def listed(client: Invora, key: str) -> Any:
    """The one entry about a document."""
    (item,) = client.invoicing.regulation_info.list_document_regulations(document_key=key).items
    return item


def submission_status(client: Invora, key: str) -> str:
    return SUBMISSION.Name(listed(client, key).submission_status).removeprefix("REGULATION_SUBMISSION_STATUS_")


# Regulations


def test_zatca_is_served_and_the_others_are_listed_as_switched_off(client: Invora) -> None:
    every = client.invoicing.regulation_info.list_regulations().items
    assert [(one.id, one.enabled) for one in every] == [(ZATCA, True), ("egypt_eta", False), ("peppol", False)]
    assert [one.id for one in client.invoicing.regulation_info.list_regulations(enabled_only=True).items] == [ZATCA]
    assert [one.id for one in client.invoicing.regulation_info.list_regulations(text_search="ZATCA").items] == [ZATCA]
    first = client.invoicing.regulation_info.list_regulations(pagination={"limit": 1})
    rest = client.invoicing.regulation_info.list_regulations(pagination={"cursor": first.next_page_cursor})
    assert (first.total_count, [one.id for one in rest.items]) == (3, ["egypt_eta", "peppol"])


def test_a_regulation_tells_what_it_demands(client: Invora) -> None:
    told = client.invoicing.regulation_info.get_regulation(regulation_id=ZATCA).regulation
    assert (told.requires_signing, told.requires_qr_code, list(told.country_codes)) == (True, True, ["SA"])
    assert [one.is_legally_binding for one in told.environments] == [False]
    with pytest.raises(NotFound):
        client.invoicing.regulation_info.get_regulation(regulation_id="vat")


def test_the_schema_of_the_settings_has_the_fields_of_zatcas_own_message() -> None:
    names = {field.json_name for field in ZatcaConfig.DESCRIPTOR.fields}
    assert set(CONFIG_SCHEMA["properties"]) == names
    metadata = REGULATIONS[ZATCA].metadata_schema["properties"]
    assert set(metadata.keys()) == {field.json_name for field in ZatcaRegulationMetadata.DESCRIPTOR.fields}


def test_there_is_one_validation_profile(client: Invora) -> None:
    profiles = client.invoicing.regulation_info.list_validation_profiles
    assert [one.uri for one in profiles().items] == [PROFILE_URI]
    assert [one.uri for one in profiles(regulation_id=ZATCA).items] == [PROFILE_URI]
    assert not profiles(regulation_id="peppol").items


def test_the_tenants_status_counts_what_was_submitted(client: Invora) -> None:
    def totals() -> tuple[int, int]:
        status = client.invoicing.regulation_info.get_regulation_status(regulation_id=ZATCA).status
        assert status.onboarded
        told = MessageToDict(status.status_details)
        return int(told.get("totalAccepted", 0)), int(told.get("totalRejected", 0))

    accepted, rejected = totals()
    frozen(client)
    frozen(client, lines=[{**LINE, "tax": {"tax_rate": 16}}])
    assert totals() == (accepted + 1, rejected + 1)
    other = client.invoicing.regulation_info.get_regulation_status(regulation_id="peppol").status
    assert (other.enabled, other.onboarded) == (False, False)


# A document


def test_the_metadata_is_that_of_the_document_by_its_json_names(client: Invora) -> None:
    made = frozen(client)
    item = listed(client, made.id.key)
    assert (item.regulation_id, submission_status(client, made.id.key)) == (ZATCA, "ACCEPTED")
    assert ParseDict(MessageToDict(item.metadata), ZatcaRegulationMetadata()) == made.zatca
    assert item.submitted_at == made.zatca.submitted_at


def test_findings_are_diagnostics_with_their_severity(client: Invora) -> None:
    made = frozen(client, lines=[{**LINE, "tax": {"tax_rate": 16}}])
    severity = documents_v2.REGULATION_DIAGNOSTIC_SEVERITY_ERROR
    assert severity in {one.severity for one in listed(client, made.id.key).diagnostics}
    assert submission_status(client, made.id.key) == "REJECTED"


def test_a_draft_or_an_unknown_document_is_not_found(client: Invora) -> None:
    client.simple.invoices.create(key="draft", changes=INVOICE)
    for key in ("draft", "nothing", ""):
        with pytest.raises(NotFound):
            client.invoicing.regulation_info.list_document_regulations(document_key=key)


def test_a_delayed_report_is_pending(running: Running, client: Invora) -> None:
    running.authority.reporting_delay = 3600
    assert submission_status(client, frozen(client).id.key) == "PENDING"


def test_what_failed_is_retried_once_the_authority_is_back(running: Running, client: Invora) -> None:
    running.authority.reachable = False
    key = frozen(client).id.key
    assert submission_status(client, key) == "ERROR"
    with pytest.raises(RpcError) as caught:
        client.with_options(retry=False).invoicing.regulation_info.retry_submission(
            regulation_id=ZATCA, document_key=key
        )
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    running.authority.reachable = True
    client.invoicing.regulation_info.retry_submission(regulation_id=ZATCA, document_key=key)
    assert submission_status(client, key) == "ACCEPTED"
    with pytest.raises(FailedPrecondition):
        client.invoicing.regulation_info.retry_submission(regulation_id=ZATCA, document_key=key)


def test_a_status_is_set_by_hand_for_a_reason_only(client: Invora) -> None:
    key = frozen(client).id.key
    override = client.invoicing.regulation_info.override_submission_status
    for wrong in ({"reason": "By phone"}, {"new_status": "REJECTED"}):
        with pytest.raises(InvalidArgument):
            override(regulation_id=ZATCA, document_key=key, **wrong)
    override(regulation_id=ZATCA, document_key=key, new_status="REJECTED", reason="By phone")
    assert submission_status(client, key) == "REJECTED"
    assert [one.message for one in listed(client, key).diagnostics] == ["By phone"]


def test_a_key_of_several_documents_is_told_for_all_and_refused_for_one(client: Invora) -> None:
    invoice = frozen(client)
    note = {"invoice_key": invoice.id.key, "reason": "Returned", "lines": [LINE]}
    client.simple.credit_notes.create(key=invoice.id.key, changes=note, freeze_immediately=True)
    both = client.invoicing.regulation_info.list_document_regulations(document_key=invoice.id.key).items
    kinds = [item.artifacts[0].metadata["documentType"] for item in both]
    assert kinds == ["DOCUMENT_TYPE_CREDIT_NOTE", "DOCUMENT_TYPE_INVOICE"], "the latest first"
    with pytest.raises(FailedPrecondition) as caught:
        client.invoicing.regulation_info.get_artifact(regulation_id=ZATCA, document_key=invoice.id.key)
    assert caught.value.error_info is not None
    assert caught.value.error_info.reason == "AMBIGUOUS_KEY"
    assert len(client.invoicing.regulation_info.list_document_artifacts(document_key=invoice.id.key).items) == 4


# Artifacts


def test_the_signed_xml_and_the_qr_code_can_be_fetched_and_have_the_hashes_that_are_told(client: Invora) -> None:
    made = frozen(client)
    told = {artifact.id: artifact for artifact in listed(client, made.id.key).artifacts}
    get = client.invoicing.regulation_info.get_artifact
    xml = get(regulation_id=ZATCA, document_key=made.id.key)
    qr = get(regulation_id=ZATCA, document_key=made.id.key, artifact_id="qr-code")
    assert invoice_hash(xml.artifact) == made.zatca.invoice_hash
    assert (qr.artifact.decode(), qr.content_type) == (made.zatca.qr_code, "text/plain")
    for id, got in (("signed-xml", xml), ("qr-code", qr)):
        assert got.artifact_hash == told[id].hash == hashlib.sha256(got.artifact).hexdigest()
        assert told[id].size_bytes == len(got.artifact)
    items = client.invoicing.regulation_info.list_document_artifacts(document_key=made.id.key).items
    assert [item.artifact for item in items] == [xml.artifact, qr.artifact]
    none = client.invoicing.regulation_info.list_document_artifacts(document_key=made.id.key, regulation_ids=["peppol"])
    assert not none.items
    with pytest.raises(NotFound):
        get(regulation_id=ZATCA, document_key=made.id.key, artifact_id="pdf")


def exported(client: Invora, **request: Any) -> list[tuple[str, str]]:
    days = {
        "issue_date_from": {"year": 2020, "month": 1, "day": 1},
        "issue_date_to": {"year": 2099, "month": 1, "day": 1},
    }
    answers = client.invoicing.regulation_info.export_artifacts({"regulation_id": ZATCA, **days, **request})
    return [(answer.document_key, answer.artifact_id) for answer in answers]


def test_an_export_streams_the_artifacts_of_a_range_of_days(client: Invora) -> None:
    good = frozen(client, issue_at="2026-01-31T22:00:00Z").id.key
    bad = frozen(client, issue_at="2026-02-02T08:00:00Z", lines=[{**LINE, "tax": {"tax_rate": 16}}]).id.key
    february = {
        "issue_date_from": {"year": 2026, "month": 2, "day": 1},
        "issue_date_to": {"year": 2026, "month": 2, "day": 28},
    }
    both = [(key, artifact) for key in (good, bad) for artifact in ("signed-xml", "qr-code")]
    assert exported(client, **february) == both, "1 February in Riyadh"
    assert exported(client, **february, artifact_ids=["qr-code"]) == [(good, "qr-code"), (bad, "qr-code")]
    assert exported(client, **february, statuses=["REJECTED"]) == both[2:]
    assert exported(client, **february, document_types=["CREDIT_NOTE"]) == []
    assert len(exported(client)) > len(both)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"issue_date_from": None}, "issue_date_from"),
        ({"issue_date_to": {"year": 2026, "month": 2}}, "issue_date_to"),
        ({"issue_date_from": "2099-01-02"}, "issue_date_to"),
    ],
)
def test_an_export_wants_days_in_order(client: Invora, request_: dict[str, Any], field: str) -> None:
    with pytest.raises(RpcError) as caught:
        exported(client, **request_)
    assert [violation.field for violation in caught.value.field_violations] == [field]


# QR codes


def test_a_qr_code_is_explained_and_a_bad_one_is_no_error(client: Invora) -> None:
    made = frozen(client, issue_at="2026-11-20T08:00:00Z")
    good, bad, empty = client.invoicing.zatca.explain_qr_code(input=[made.zatca.qr_code, "AQ==", ""]).items
    assert (good.is_valid, bad.is_valid, empty.is_valid) == (True, False, False)
    assert not bad.HasField("details")
    assert good.details.xml_hash == made.zatca.invoice_hash
    assert (good.details.total_with_vat.units, good.details.total_with_vat.nanos) == (10, 350_000_000)
    assert good.details.timestamp == made.issue_at
    assert good.details.ecdsa_public_key
    assert good.details.zatca_stamp


# How the authority is told to behave


@pytest.mark.parametrize("wrong", [{"authority": "sideways"}, {"reporting_delay": -1.0}])
def test_a_sandbox_refuses_an_authority_that_it_does_not_know(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="say"):
        asyncio.run(Sandbox.start(seed="empty", **wrong))


def test_a_sandbox_starts_with_the_authority_that_it_is_told(tmp_path: Path) -> None:
    with running_sandbox(seed="demo", authority="down", reporting_delay=5.0) as sandbox, client_of(sandbox) as client:
        assert (sandbox.authority.reachable, sandbox.authority.reporting_delay) == (False, 5.0)
        assert submission_status(_bakery(client), "demo-1") == "ACCEPTED", "the seed is not concerned"
        assert submission_status(client, frozen(client).id.key) == "ERROR"


# Many at once, and a crash


def chain_of(client: Invora) -> list[bytes]:
    """The signed XML of everything that was frozen."""
    request = {
        "regulation_id": ZATCA,
        "artifact_ids": ["signed-xml"],
        "issue_date_from": {"year": 2020, "month": 1, "day": 1},
    }
    request["issue_date_to"] = {"year": 2099, "month": 1, "day": 1}
    return [answer.artifact_bytes for answer in client.invoicing.regulation_info.export_artifacts(request)]


def test_freezing_from_many_threads_leaves_one_unbroken_chain(client: Invora) -> None:
    with ThreadPoolExecutor(8) as pool:
        counters = [made.zatca.invoice_counter_value for made in pool.map(lambda _: frozen(client), range(40))]
    assert len(set(counters)) == 40
    assert max(counters) - min(counters) == 39
    assert check_chain(chain_of(client)) == ()


def test_the_chain_is_whole_after_kill_9_and_goes_on(tmp_path: Path) -> None:
    with sandbox_process(tmp_path) as (process, ready), client_of_process(ready) as client:
        bakery = _bakery(client)
        acknowledged: set[str] = set()
        lock = threading.Lock()

        def work(number: int) -> None:
            try:
                made = _frozen(bakery, f"order-{number}")
            except RpcError:
                return  # the server is gone
            with lock:
                acknowledged.add(made.zatca.uuid)
                if len(acknowledged) == 30:
                    process.kill()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(60)))
    assert 30 <= len(acknowledged) < 60, "the kill did not come in the middle"
    with sandbox_process(tmp_path) as (_, ready), client_of_process(ready) as client:
        bakery = _bakery(client)
        last = _frozen(bakery, "after").zatca
        chain = chain_of(bakery)
    assert check_chain(chain) == ()
    assert last.invoice_counter_value == len(chain), "none was skipped, none used twice"
    text = b"".join(chain)
    assert all(uuid.encode() in text for uuid in acknowledged)


def _bakery(client: Invora) -> Invora:
    businesses = client.identity.connected_business.list_connected_businesses().items
    return client.for_org(businesses[0].tenant_id)


def _frozen(client: Invora, key: str) -> Any:
    return (
        client.with_options(retry=False)
        .simple.invoices.create(key=key, changes=INVOICE, freeze_immediately=True)
        .details
    )
