"""documents/v2 in the sandbox: the life of a document, what is refused, and what freezing does."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
from documents_desk import Desk, changes_of, numbered, text_at, typed, wrong_xml, xml_of
from zatca_documents import ISSUED, SAMPLES, SIMPLIFIED, STANDARD

from invora_api.branches.v2.models_pb2 import Branch
from invora_api.documents.v2 import models_pb2 as documents_v2
from invora_api.regulations.zatca.v1 import models_pb2 as zatca_v1
from invora_api.settings.v2.service_pb2 import InvoraSettings
from invora_grpc.catalog import catalog
from invora_grpc.sandbox import authority
from invora_grpc.sandbox.model import Record
from invora_grpc.sandbox.onboarding import expect_onboarding
from invora_grpc.sandbox.service import Call
from invora_grpc.sandbox.store import Store
from invora_grpc.sandbox.ubl_content import read
from invora_grpc.zatca.hashing import FIRST_HASH, invoice_hash

STATUSES = grpc.StatusCode
DRAFT, VALIDATED, FROZEN = 1, 2, 3
ACCEPTED = documents_v2.REGULATION_SUBMISSION_STATUS_ACCEPTED
CLEARED = zatca_v1.ZATCA_SUBMISSION_STATUS_CLEARED


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.open(":memory:") as opened:
        opened.create_organization("Acme", org_id="acme")
        opened.create_organization("Bolt", org_id="bolt")
        yield opened


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store, "acme")


def branch(store: Store, key: str, *, primary: bool = False) -> None:
    body = Branch(is_primary=primary).SerializeToString()
    store.insert("acme", "invoicing.branches", Record(id=f"id-{key}", key=key, body=body))


def submission(desk: Desk, document: Any) -> Any:
    """What the tax authority knows of a document."""
    method = catalog().method("/invora.documents.v2.DocumentsService/Get")
    call = Call(desk.store, method, desk.caller, desk.org_id, "https://idp", desk.now)
    return authority.submission_of(call, "documents", document.id.key)


# Drafts


def test_a_document_made_from_xml_shows_its_xml_as_it_was_sent_and_the_same_typed(desk: Desk) -> None:
    xml = xml_of(STANDARD).replace("><cbc:ID>INV-1", ">\n  <!-- ours -->\n  <cbc:ID>INV-1")
    made = desk.ask("Create", changes={"xml_content": xml}, key="k").details
    assert (made.id.key, made.id.version, made.edit_state, made.xml_content) == ("k", 1, DRAFT, xml)
    assert made.content == read(xml)
    assert made.document_type == documents_v2.DOCUMENT_TYPE_INVOICE
    assert not made.HasField("frozen_at") and not made.regulation_metadata.entries
    assert desk.ask("Get", key="k").details == made


def test_a_document_made_from_typed_content_shows_it_and_its_xml(desk: Desk) -> None:
    content = read(xml_of(STANDARD))
    made = desk.create(content)
    assert made.content == content
    assert read(made.xml_content) == content


@pytest.mark.parametrize("name", ["standard", "credit note on simplified", "debit note on standard", "self-billed"])
def test_the_type_of_a_document_follows_its_type_code_and_flags(desk: Desk, name: str) -> None:
    expected = {"standard": "INVOICE", "self-billed": "SELF_BILLED_INVOICE"}
    kind = expected.get(name, name.partition(" on ")[0].replace(" ", "_").upper())
    made = desk.create(SAMPLES[name])
    assert documents_v2.DocumentType.Name(made.document_type) == f"DOCUMENT_TYPE_{kind}"


def test_who_wrote_a_document_and_when_is_on_record(desk: Desk, store: Store) -> None:
    made = desk.create(key="k")
    second = Desk(store, "acme", "user-2")
    second.now = desk.now.replace(hour=20)
    changed = second.ask(
        "Update", key="k", concurrency_stamp=made.concurrency_stamp, changes=changes_of(numbered(2))
    ).details
    audit = changed.audit
    assert audit.creation_info == made.audit.creation_info
    assert (audit.creation_info.creator_id.value, audit.last_modifier_id.value) == ("user-1", "user-2")
    assert audit.last_modification_time.ToDatetime(second.now.tzinfo) == second.now
    assert (changed.id.version, changed.id.version_id != made.id.version_id) == (2, True)


def test_a_key_is_given_where_none_is_said_and_taken_only_once(desk: Desk) -> None:
    assert desk.create().id.key != desk.create().id.key
    desk.create(key="k")
    fault = desk.refusal("Create", key="k", changes=changes_of(STANDARD))
    assert (fault.code, fault.reason) == (STATUSES.ALREADY_EXISTS, "KEY_TAKEN")
    assert len(desk.keys()) == 3


@pytest.mark.parametrize("key", ["", "x" * 129, "line\nbreak"])
def test_a_key_is_printable_and_short(desk: Desk, key: str) -> None:
    assert desk.refusal("Create", key=key, changes=changes_of(STANDARD)).violations[0][0] == "key"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "changes"),
        ({"xml_content": "no xml"}, "changes.xml_content"),
        ({"xml_content": "<a/>"}, "changes.xml_content"),
        ({"content": {}}, "changes.content"),
        ({"content": {"invoice": {"id": {"value": "\x01"}}}}, "changes.content.invoice.id"),
    ],
)
def test_content_that_has_no_other_form_is_refused_with_its_field(
    desk: Desk, changes: dict[str, Any], field: str
) -> None:
    fault = desk.refusal("Create", changes=changes)
    assert (fault.code, fault.violations[0][0]) == (STATUSES.INVALID_ARGUMENT, field)
    assert desk.keys() == []


def test_a_mask_leaves_out_what_it_does_not_name(desk: Desk) -> None:
    desk.create(key="k")
    shown = desk.ask("Get", key="k", mask=["id.key", "document_type"]).details
    assert (shown.id.key, shown.xml_content, shown.HasField("content")) == ("k", "", False)
    assert desk.refusal("Get", key="k", mask=["colour"]).code is STATUSES.INVALID_ARGUMENT


# Changes


def test_an_update_replaces_the_content_as_a_whole(desk: Desk) -> None:
    made = desk.create(key="k")
    changed = desk.ask(
        "Update", key="k", concurrency_stamp=made.concurrency_stamp, changes=changes_of(SAMPLES["self-billed"])
    ).details
    assert changed.xml_content == xml_of(SAMPLES["self-billed"])
    assert changed.document_type == documents_v2.DOCUMENT_TYPE_SELF_BILLED_INVOICE


def test_an_update_with_a_mask_changes_these_fields_in_both_forms(desk: Desk) -> None:
    made = desk.create(key="k")
    changed = desk.ask(
        "Update",
        key="k",
        concurrency_stamp=made.concurrency_stamp,
        mask=["content.invoice.note", "content.invoice.id.value"],
        changes={"content": {"invoice": {"note": [{"value": "Thanks"}], "id": {"value": "INV-9"}}}},
    ).details
    assert (text_at(changed, "Note"), text_at(changed, "ID")) == ("Thanks", "INV-9")
    assert changed.content.invoice.invoice_line == made.content.invoice.invoice_line
    cleared = desk.ask(
        "Update", key="k", concurrency_stamp=changed.concurrency_stamp, mask=["content.invoice.note"], changes={}
    ).details
    assert not cleared.content.invoice.note and "Note" not in cleared.xml_content


@pytest.mark.parametrize(
    "request_fields",
    [
        {"mask": ["colour"]},
        {"mask": ["content.credit_note.note"], "changes": {"content": {"credit_note": {"note": [{"value": "x"}]}}}},
        {"mask": ["content"], "changes": {}},
        {"mask": ["xml_content"], "changes": {}},
        {"changes": {}},
    ],
    ids=["unknown field", "another type", "no content", "no xml", "nothing"],
)
def test_an_update_that_leaves_no_document_is_refused(desk: Desk, request_fields: dict[str, Any]) -> None:
    made = desk.create(key="k")
    fault = desk.refusal("Update", key="k", concurrency_stamp=made.concurrency_stamp, **request_fields)
    assert fault.code is STATUSES.INVALID_ARGUMENT
    assert desk.ask("Get", key="k").details == made


@pytest.mark.parametrize("rpc", ["Update", "Freeze"])
def test_a_stamp_is_required_and_must_be_the_latest(desk: Desk, rpc: str) -> None:
    desk.create(key="k")
    assert desk.refusal(rpc, key="k").violations[0][0] == "concurrency_stamp"
    assert desk.refusal(rpc, key="k", concurrency_stamp="old").code is STATUSES.ABORTED


def test_drafts_are_deleted_together_or_not_at_all(desk: Desk) -> None:
    desk.create(key="a")
    desk.create(numbered(2), key="b", frozen=True)
    assert desk.refusal("Delete", keys=["a", "none"]).code is STATUSES.NOT_FOUND
    assert desk.refusal("Delete", keys=["a", "b"]).reason == "DOCUMENT_FROZEN"
    assert desk.keys() == ["a", "b"]
    desk.ask("Delete", keys=["a", "a"])
    assert desk.keys() == ["b"]
    assert desk.create(key="a").id.version == 1


# Freezing


def test_a_document_that_declares_another_encoding_than_it_travels_in_is_cleared(desk: Desk) -> None:
    xml = xml_of(STANDARD).replace("encoding='UTF-8'", "encoding='UTF-16'")
    assert "UTF-16" in xml
    frozen = desk.ask("Create", changes={"xml_content": xml}, freeze_immediately=True).details
    assert frozen.regulation_metadata.entries["zatca"].status == ACCEPTED


def test_freezing_numbers_stamps_and_submits_the_document(desk: Desk) -> None:
    draft = desk.create(key="k")
    frozen = desk.ask("Freeze", key="k", concurrency_stamp=draft.concurrency_stamp).details
    assert (frozen.edit_state, frozen.prefix, frozen.sequence_id, frozen.id.version) == (FROZEN, "INV", 1, 2)
    assert frozen.frozen_at.ToDatetime(desk.now.tzinfo) == desk.now
    entry = frozen.regulation_metadata.entries["zatca"]
    assert entry.status == ACCEPTED
    assert {artifact.content_type for artifact in entry.artifacts} == {"application/xml", "text/plain"}
    assert desk.ask("Get", key="k").details == frozen


def test_a_frozen_document_shows_the_stamped_xml_and_the_content_as_it_was_typed(desk: Desk) -> None:
    frozen = desk.create(frozen=True)
    known = submission(desk, frozen)
    assert (known.status, known.counter, known.previous_hash) == (CLEARED, 1, FIRST_HASH)
    assert invoice_hash(frozen.xml_content.encode()) == known.hash
    assert known.qr in frozen.xml_content and "UBLExtensions" in frozen.xml_content
    assert frozen.content == read(xml_of(STANDARD))


def test_documents_of_a_branch_are_one_chain(desk: Desk) -> None:
    known = [submission(desk, desk.create(numbered(n), frozen=True)) for n in (1, 2, 3)]
    assert [one.counter for one in known] == [1, 2, 3]
    assert [one.previous_hash for one in known] == [FIRST_HASH, known[0].hash, known[1].hash]


def test_each_branch_has_its_own_numbers_and_chain(desk: Desk, store: Store) -> None:
    branch(store, "riyadh", primary=True)
    branch(store, "jeddah")
    first = desk.create(numbered(1), frozen=True)
    second = desk.create(numbered(2), frozen=True, branch_id="jeddah")
    third = desk.create(numbered(3), frozen=True, branch_id="id-jeddah")
    assert [one.branch_id for one in (first, second, third)] == ["riyadh", "jeddah", "jeddah"]
    assert [one.sequence_id for one in (first, second, third)] == [1, 1, 2]
    assert [submission(desk, one).counter for one in (first, second, third)] == [1, 1, 2]


def test_a_branch_that_the_tenant_does_not_have_is_refused(desk: Desk, store: Store) -> None:
    fault = desk.refusal("Create", branch_id="none", changes=changes_of(STANDARD))
    assert (fault.code, fault.violations[0][0]) == (STATUSES.NOT_FOUND, "branch_id")
    branch(store, "gone")
    draft = desk.create(key="k", branch_id="gone")
    store.delete("acme", "invoicing.branches", "id-gone")
    fault = desk.refusal("Freeze", key="k", concurrency_stamp=draft.concurrency_stamp)
    assert (fault.code, fault.reason) == (STATUSES.FAILED_PRECONDITION, "REFERENCE_NOT_FOUND")


def test_numbers_count_per_type_with_the_tenants_own_prefix(desk: Desk, store: Store) -> None:
    settings = InvoraSettings(credit_note_prefix="GS").SerializeToString()
    store.insert("acme", "invoicing.settings", Record(id="only", body=settings))
    names = ["standard", "credit note on standard", "debit note on standard", "self-billed", "export"]
    made = [desk.create(SAMPLES[name], frozen=True) for name in names]
    assert [(one.prefix, one.sequence_id) for one in made] == [
        ("INV", 1),
        ("GS", 1),
        ("DN", 1),
        ("SBI", 1),
        ("INV", 2),
    ]


def test_id_and_uuid_are_given_at_freezing_where_the_author_gave_none(desk: Desk) -> None:
    content = read(xml_of(STANDARD))
    content.invoice.ClearField("id")
    content.invoice.ClearField("uuid")
    draft = desk.create(content, key="k")
    assert desk.ask("Validate", key="k").is_valid
    frozen = desk.ask("Freeze", key="k", concurrency_stamp=draft.concurrency_stamp).details
    assert text_at(frozen, "ID") == frozen.content.invoice.id.value == "INV-000001"
    assert text_at(frozen, "UUID") == frozen.content.invoice.uuid.value == submission(desk, frozen).uuid


@pytest.mark.parametrize("rpc", ["Create", "Freeze"])
def test_a_bad_document_is_refused_with_its_errors_and_nothing_is_written_or_counted(desk: Desk, rpc: str) -> None:
    before = desk.counters()
    if rpc == "Create":
        fault = desk.refusal("Create", key="k", changes={"xml_content": wrong_xml()}, freeze_immediately=True)
        assert (fault.code, desk.keys()) == (STATUSES.INVALID_ARGUMENT, [])
    else:
        draft = desk.ask("Create", key="k", changes={"xml_content": wrong_xml()}).details
        fault = desk.refusal("Freeze", key="k", concurrency_stamp=draft.concurrency_stamp)
        assert fault.code is STATUSES.FAILED_PRECONDITION
        assert desk.ask("Get", key="k").details == draft
    assert fault.reason == "INVALID_DOCUMENT"
    (error,) = fault.details
    assert isinstance(error, documents_v2.ValidationError)
    assert (error.code, error.severity) == ("BR-CO-14", documents_v2.VALIDATION_SEVERITY_ERROR)
    assert error.field == "invoice.tax_total[0]"
    assert desk.counters() == before


REFERENCE = "<cac:AdditionalDocumentReference><cbc:ID>{}</cbc:ID>{}</cac:AdditionalDocumentReference>"
CODE = (
    "<cac:Attachment><cbc:EmbeddedDocumentBinaryObject mimeCode='text/plain'>QQ=="
    "</cbc:EmbeddedDocumentBinaryObject></cac:Attachment>"
)


def with_reference(id: str, inside: str) -> str:
    """The standard document with one more reference."""
    seller = "<cac:AccountingSupplierParty>"
    return xml_of(STANDARD).replace(seller, REFERENCE.format(id, inside) + seller)


def test_a_uuid_that_will_stand_beside_the_counters_is_refused_before_anything_is_counted(desk: Desk) -> None:
    before, changes = desk.counters(), {"xml_content": with_reference("CONTRACT", "<cbc:UUID>7</cbc:UUID>")}
    fault = desk.refusal("Create", changes=changes, freeze_immediately=True)
    (error,) = fault.details
    assert isinstance(error, documents_v2.ValidationError)
    assert (error.code, error.field) == ("ZATCA-SINGLE", "invoice.additional_document_reference[0].uuid")
    assert not desk.ask("ValidateContent", content=changes).is_valid
    assert desk.counters() == before


def test_a_qr_code_that_white_space_hides_is_replaced(desk: Desk) -> None:
    xml = with_reference(" QR ", CODE)
    frozen = desk.ask("Create", changes={"xml_content": xml}, freeze_immediately=True).details
    assert frozen.regulation_metadata.entries["zatca"].status == ACCEPTED
    assert frozen.xml_content.count("<cac:AdditionalDocumentReference>") == 3


def test_a_document_that_no_answer_could_hold_is_refused(desk: Desk) -> None:
    xml = xml_of(STANDARD).replace("<cbc:ID>", f"<cbc:ID schemeName='{'x' * 8 * 2**20}'>", 1)
    fault = desk.refusal("Create", key="k", changes={"xml_content": xml})
    assert (fault.code, desk.keys()) == (STATUSES.INVALID_ARGUMENT, [])
    assert "bytes" in fault.message


def test_who_is_not_onboarded_can_draft_but_not_freeze(desk: Desk, store: Store) -> None:
    expect_onboarding(store, "acme")
    before, draft = desk.counters(), desk.create(key="k")
    fault = desk.refusal("Freeze", key="k", concurrency_stamp=draft.concurrency_stamp)
    assert (fault.code, fault.reason) == (STATUSES.FAILED_PRECONDITION, "NOT_ONBOARDED")
    assert (desk.ask("Get", key="k").details, desk.counters()) == (draft, before)


def test_warnings_do_not_stop_a_document(desk: Desk) -> None:
    xml = xml_of(STANDARD).replace("<cbc:CitySubdivisionName>المرجان</cbc:CitySubdivisionName>", "")
    frozen = desk.ask("Create", changes={"xml_content": xml}, freeze_immediately=True).details
    entry = frozen.regulation_metadata.entries["zatca"]
    assert entry.status == documents_v2.REGULATION_SUBMISSION_STATUS_ACCEPTED_WITH_WARNINGS
    assert "BR-KSA-63" in [one.code for one in entry.diagnostics]


def test_a_seller_whose_name_the_qr_code_cannot_hold_is_refused_too(desk: Desk) -> None:
    xml = xml_of(STANDARD).replace("Salam Services LLC", "س" * 128)
    fault = desk.refusal("Create", changes={"xml_content": xml}, freeze_immediately=True)
    assert (fault.code, fault.reason) == (STATUSES.FAILED_PRECONDITION, "CANNOT_BE_STAMPED")
    assert desk.keys() == []


def test_a_frozen_document_refuses_every_change_even_with_a_wrong_stamp(desk: Desk) -> None:
    frozen = desk.create(key="k", frozen=True)
    for rpc in ("Update", "Freeze"):
        fault = desk.refusal(rpc, key="k", concurrency_stamp="old")
        assert (fault.code, fault.reason) == (STATUSES.FAILED_PRECONDITION, "DOCUMENT_FROZEN")
    assert desk.ask("Get", key="k").details == frozen


def test_what_the_authority_answers_later_shows_at_the_next_reading(desk: Desk, store: Store) -> None:
    authority.conditions(store).reporting_delay = 60.0
    frozen = desk.create(replace(SIMPLIFIED, issued_at=ISSUED), key="k", frozen=True)
    pending, reported = (
        documents_v2.REGULATION_SUBMISSION_STATUS_PENDING,
        documents_v2.REGULATION_SUBMISSION_STATUS_ACCEPTED,
    )
    assert frozen.regulation_metadata.entries["zatca"].status == pending
    desk.now = desk.now.replace(minute=desk.now.minute + 2)
    assert desk.ask("Get", key="k").details.regulation_metadata.entries["zatca"].status == reported
    assert desk.ask("List").items[0].regulation_metadata.entries["zatca"].status == reported


def test_document_types_that_no_tax_authority_asks_for_are_frozen_without_one(desk: Desk) -> None:
    order = typed("invoice").__class__()
    order.order.id.value = "PO-1"
    frozen = desk.create(order, frozen=True)
    assert (frozen.edit_state, frozen.prefix, frozen.sequence_id) == (FROZEN, "DOC", 1)
    assert frozen.document_type == documents_v2.DOCUMENT_TYPE_ORDER
    assert not frozen.regulation_metadata.entries


def test_the_qr_code_is_base64_of_what_the_seller_says(desk: Desk) -> None:
    frozen = desk.create(frozen=True)
    assert b"Salam Services LLC" in base64.b64decode(submission(desk, frozen).qr)


# Tenants


def test_no_tenant_reaches_a_document_of_another(desk: Desk, store: Store) -> None:
    made = desk.create(key="k")
    other = Desk(store, "bolt")
    assert other.keys() == []
    stamp = made.concurrency_stamp
    requests: list[tuple[str, dict[str, Any]]] = [
        ("Get", {"key": "k"}),
        ("Update", {"key": "k", "concurrency_stamp": stamp}),
        ("Freeze", {"key": "k", "concurrency_stamp": stamp}),
        ("Delete", {"keys": ["k"]}),
        ("Clone", {"source_key": "k"}),
        ("Validate", {"key": "k"}),
        ("Fix", {"key": "k"}),
        ("GetRelatedDocuments", {"key": "k"}),
    ]
    for rpc, request in requests:
        assert other.refusal(rpc, **request).code is STATUSES.NOT_FOUND, rpc
    assert other.create(key="k").id.key == "k"
    assert desk.ask("Get", key="k").details == made
