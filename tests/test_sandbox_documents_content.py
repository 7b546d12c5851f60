"""documents/v2 content: the five document types as the one form of ZATCA, sums, checks, fixes, copies and links."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from documents_desk import Desk, changes_of, root_of, text_at, typed, wrong_xml, xml_of
from google.protobuf.message import Message
from zatca_documents import SAMPLES, STANDARD

from invora_api.documents.v2 import models_pb2 as documents_v2
from invora_api.documents.v2.content_pb2 import DocumentContent
from invora_grpc.sandbox.documents_forms import KINDS, as_invoice, calculated, path_in
from invora_grpc.sandbox.store import Store
from invora_grpc.sandbox.ubl_content import UnreadableContent, read, write
from invora_grpc.zatca.checking import check
from invora_grpc.zatca.hashing import FIRST_HASH

STATUSES = grpc.StatusCode
INVOICE = "{urn:oasis:names:specification:ubl:schema:xsd:Invoice-2}Invoice"
FORMS = [
    ("credit_note", "381", "0100000", documents_v2.DOCUMENT_TYPE_CREDIT_NOTE),
    ("debit_note", "383", "0100000", documents_v2.DOCUMENT_TYPE_DEBIT_NOTE),
    ("self_billed_invoice", "388", "0100001", documents_v2.DOCUMENT_TYPE_SELF_BILLED_INVOICE),
    ("self_billed_credit_note", "381", "0100001", documents_v2.DOCUMENT_TYPE_SELF_BILLED_CREDIT_NOTE),
]


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Store.open(":memory:") as store:
        store.create_organization("Acme", org_id="acme")
        yield Desk(store, "acme")


def rules(answer: Any) -> list[str]:
    return [error.code for error in answer.errors]


# ZATCA's form


@pytest.mark.parametrize(("kind", "code", "flags", "document_type"), FORMS, ids=[form[0] for form in FORMS])
def test_every_typed_note_and_self_billed_document_becomes_an_invoice_that_is_cleared(
    desk: Desk, kind: str, code: str, flags: str, document_type: int
) -> None:
    content = typed(kind)
    draft = desk.create(content, key="k", auto_calculate=True)
    type_code = root_of(draft).find("{*}InvoiceTypeCode")
    assert (root_of(draft).tag, type_code.text, type_code.get("name")) == (INVOICE, code, flags)
    assert (draft.content.WhichOneof("type"), draft.document_type) == (kind, document_type)
    assert text_at(draft, "InvoiceLine/InvoicedQuantity") == "2"
    assert text_at(draft, "LegalMonetaryTotal/PayableAmount") == "47.15"
    assert list(desk.ask("Validate", key="k").errors) == []
    frozen = desk.ask("Freeze", key="k", concurrency_stamp=draft.concurrency_stamp).details
    assert frozen.regulation_metadata.entries["zatca"].status == documents_v2.REGULATION_SUBMISSION_STATUS_ACCEPTED
    assert frozen.content == draft.content
    assert root_of(frozen).tag == INVOICE


@pytest.mark.parametrize("kind", [form[0] for form in FORMS])
def test_another_implementation_of_the_rules_accepts_the_stamped_form_of_typed_documents(desk: Desk, kind: str) -> None:
    fatoora = pytest.importorskip("fatoora")
    xml = desk.create(typed(kind), auto_calculate=True, frozen=True).xml_content
    assert fatoora.validate_xml_invoice_from_str(fatoora.Config(), xml)
    report = fatoora.validate_zatca_invoice_from_str(
        fatoora.Config(), xml, previous_invoice_hash=FIRST_HASH, evaluated_at=desk.now.isoformat()
    )
    assert {stage["stage"] for stage in report["stages"] if stage["status"] == "completed"} >= {"xsd", "cen", "ksa"}
    findings = [
        finding["code"] for stage in report["stages"] if stage["stage"] != "signature" for finding in stage["findings"]
    ]
    assert findings == []  # it trusts no certificate of a sandbox


def test_the_description_of_a_discrepancy_becomes_the_reason_of_a_note(desk: Desk) -> None:
    draft = desk.create(typed("credit_note"))
    assert text_at(draft, "PaymentMeans/InstructionNote") == "Goods returned"
    assert text_at(draft, "PaymentMeans/PaymentMeansCode") == "10"


def test_a_reason_that_the_note_states_itself_stays(desk: Desk) -> None:
    means = [{"payment_means_code": {"value": "42"}, "instruction_note": [{"value": "Wrong price"}]}]
    draft = desk.create(typed("credit_note", payment_means=means))
    assert text_at(draft, "PaymentMeans/InstructionNote") == "Wrong price"


def test_a_typed_note_inherits_the_flags_of_the_invoice_that_it_corrects(desk: Desk) -> None:
    desk.create(SAMPLES["third-party"])
    note = root_of(desk.create(typed("debit_note")))
    assert note.find("{*}InvoiceTypeCode").get("name") == "0110000"


def test_a_typed_note_to_a_buyer_without_vat_number_is_simplified() -> None:
    note = typed("credit_note")
    del note.credit_note.accounting_customer_party.party.party_tax_scheme[:]
    assert as_invoice(note).invoice.invoice_type_code.name == "0200000"


def test_codes_of_other_lists_are_not_kept() -> None:
    code = {"value": "389", "name": "0110000"}
    made = as_invoice(typed("self_billed_invoice", invoice_type_code=code)).invoice.invoice_type_code
    assert (made.value, made.name) == ("388", "0110001")


def test_what_an_invoice_has_no_place_for_is_refused_and_not_dropped(desk: Desk) -> None:
    note = typed("credit_note")
    note.credit_note.credit_note_line[0].discrepancy_response.add().reference_id.value = "1"
    fault = desk.refusal("Create", changes=changes_of(note))
    assert fault.code is STATUSES.INVALID_ARGUMENT
    assert [path for path, _ in fault.violations] == [
        "changes.content.credit_note.credit_note_line[0].discrepancy_response"
    ]


def test_a_credit_note_as_xml_of_its_own_type_is_turned_into_an_invoice_as_well(desk: Desk) -> None:
    note = typed("credit_note")
    draft = desk.ask("Create", changes={"xml_content": write(note)}).details
    assert (draft.content, root_of(draft).tag) == (note, INVOICE)


def test_an_invoice_of_the_type_code_381_stays_the_invoice_that_it_is(desk: Desk) -> None:
    note = SAMPLES["credit note on standard"]
    draft = desk.create(note)
    assert (draft.content.WhichOneof("type"), draft.xml_content) == ("invoice", xml_of(note))


@pytest.mark.parametrize("kind", KINDS)
def test_places_are_told_in_the_authors_own_content(kind: str) -> None:
    line, quantity = f"{kind}.{KINDS[kind].lines}[0]", KINDS[kind].quantity
    assert path_in(typed(kind), "invoice.invoice_line[0].invoiced_quantity") == f"{line}.{quantity}"
    assert path_in(typed(kind), "invoice.id") == f"{kind}.id"


# Sums


@pytest.mark.parametrize("name", SAMPLES)
def test_calculation_comes_to_what_the_document_builder_comes_to(name: str) -> None:
    content = read(xml_of(SAMPLES[name]))
    bare = DocumentContent.FromString(content.SerializeToString())
    for line in bare.invoice.invoice_line:
        if not line.document_reference:  # a prepayment's sums are facts, not results
            line.ClearField("tax_total")
            line.ClearField("line_extension_amount")
    reasons = [part.tax_category for part in content.invoice.tax_total[0].tax_subtotal]
    del bare.invoice.tax_total[1:]
    for part in bare.invoice.tax_total[0].tax_subtotal:
        part.ClearField("taxable_amount")
    rounding = bare.invoice.legal_monetary_total.payable_rounding_amount
    kept = type(rounding).FromString(rounding.SerializeToString())
    had_rounding = bare.invoice.legal_monetary_total.HasField("payable_rounding_amount")
    bare.invoice.ClearField("legal_monetary_total")
    if had_rounding:
        bare.invoice.legal_monetary_total.payable_rounding_amount.CopyFrom(kept)
    done = calculated(bare)
    assert done.content == content
    assert [part.tax_category for part in done.content.invoice.tax_total[0].tax_subtotal] == reasons


def test_calculate_lists_what_it_computed_with_paths_and_decimal_text(desk: Desk) -> None:
    answer = desk.ask("Calculate", content=changes_of(typed("debit_note")))
    values = {one.field_path: one.computed_value.string_value for one in answer.computed_fields}
    assert values["debit_note.requested_monetary_total.payable_amount.value"] == "47.15"
    assert values["debit_note.debit_note_line[0].line_extension_amount.value"] == "41.00"
    assert values["debit_note.tax_total[0].tax_subtotal[0].tax_amount.value"] == "6.15"
    for path, value in values.items():
        assert value == amount_at(answer.calculated_content, path)
    assert desk.keys() == []


def amount_at(content: Message, path: str) -> str:
    found: Any = content
    for step in path.split("."):
        name, _, index = step.partition("[")
        found = getattr(found, name)
        found = found[int(index.rstrip("]"))] if index else found
    return f"{found.units}.{found.nanos // 10_000_000:02}"


def test_an_allowance_in_per_cent_is_calculated_from_its_base(desk: Desk) -> None:
    content = typed("invoice")
    allowance = content.invoice.allowance_charge.add()
    allowance.charge_indicator.value = False
    allowance.multiplier_factor_numeric.value.units = 10
    allowance.base_amount.value.units = 41
    allowance.tax_category.add().percent.value.units = 15
    total = calculated(content).content.invoice
    assert (total.allowance_charge[0].amount.value.units, total.allowance_charge[0].amount.value.nanos) == (4, 10**8)
    assert amount_at(total, "legal_monetary_total.payable_amount.value") == "42.44"  # 36.90 and 5.535 of tax


@pytest.mark.parametrize(
    ("alter", "field"),
    [
        (lambda line: line.ClearField("invoiced_quantity"), "invoice.invoice_line[0].invoiced_quantity"),
        (lambda line: line.ClearField("price"), "invoice.invoice_line[0].price.price_amount"),
        (lambda line: line.item.ClearField("classified_tax_category"), "invoice.invoice_line[0].item."),
        (lambda line: line.allowance_charge.add(), "invoice.invoice_line[0].allowance_charge[0].amount"),
    ],
    ids=["quantity", "price", "category", "allowance"],
)
def test_what_the_sums_need_and_do_not_have_is_told(desk: Desk, alter: Any, field: str) -> None:
    content = typed("invoice")
    alter(content.invoice.invoice_line[0])
    fault = desk.refusal("Calculate", content=changes_of(content))
    assert fault.code is STATUSES.INVALID_ARGUMENT
    assert fault.violations[0][0].startswith(f"content.content.{field}")


def test_a_foreign_currency_without_a_rate_gets_no_sum_in_riyals() -> None:
    content = typed("invoice", document_currency_code={"value": "USD"})
    assert len(calculated(content).content.invoice.tax_total) == 1


def test_an_order_has_no_sums(desk: Desk) -> None:
    order = DocumentContent()
    order.order.id.value = "PO-1"
    with pytest.raises(UnreadableContent):
        calculated(order)
    fault = desk.refusal("Create", changes=changes_of(order), auto_calculate=True)
    assert (fault.code, fault.violations[0][0]) == (STATUSES.INVALID_ARGUMENT, "changes.content.order")


def test_wrong_sums_are_mended_by_auto_calculate_at_creation_and_at_update(desk: Desk) -> None:
    made = desk.ask("Create", key="k", changes={"xml_content": wrong_xml()}, auto_calculate=True).details
    assert text_at(made, "TaxTotal/TaxAmount") == "51.15"
    changed = desk.ask(
        "Update",
        key="k",
        concurrency_stamp=made.concurrency_stamp,
        changes={"xml_content": wrong_xml()},
        auto_calculate=True,
    ).details
    assert text_at(changed, "TaxTotal/TaxAmount") == "51.15"


# Checks


def test_a_good_document_is_valid_and_then_marked_so_under_the_same_stamp(desk: Desk) -> None:
    made = desk.create(key="k")
    answer = desk.ask("Validate", key="k")
    assert (answer.is_valid, list(answer.errors)) == (True, [])
    seen = desk.ask("Get", key="k").details
    assert (seen.edit_state, seen.concurrency_stamp) == (documents_v2.EDIT_STATE_VALIDATED, made.concurrency_stamp)
    changed = desk.ask("Update", key="k", concurrency_stamp=seen.concurrency_stamp, changes=changes_of(STANDARD))
    assert changed.details.edit_state == documents_v2.EDIT_STATE_DRAFT
    desk.ask("Delete", keys=["k"])


def test_errors_are_an_answer_with_rule_and_path_and_change_nothing(desk: Desk) -> None:
    made = desk.ask("Create", key="k", changes={"xml_content": wrong_xml()}).details
    answer = desk.ask("Validate", key="k")
    assert (answer.is_valid, rules(answer)) == (False, ["BR-CO-14"])
    assert answer.errors[0].field == "invoice.tax_total[0]"
    assert answer.errors[0].message
    assert desk.ask("Get", key="k").details == made


def test_what_the_platform_adds_at_freezing_is_nobodys_error(desk: Desk) -> None:
    assert any(finding.assigned for finding in check(xml_of(STANDARD).encode()))
    assert rules(desk.ask("ValidateContent", content=changes_of(STANDARD))) == []


def test_content_is_checked_without_being_stored(desk: Desk) -> None:
    answer = desk.ask("ValidateContent", content={"xml_content": wrong_xml()})
    assert (answer.is_valid, rules(answer), desk.keys()) == (False, ["BR-CO-14"], [])
    assert desk.refusal("ValidateContent", content={}).violations[0][0] == "content"


def test_errors_of_typed_content_have_its_own_paths(desk: Desk) -> None:
    answer = desk.ask("ValidateContent", content=changes_of(typed("debit_note")))  # without sums
    assert not answer.is_valid
    fields = {error.field for error in answer.errors}
    assert all(field.startswith("debit_note") for field in fields), fields


def test_only_known_profiles_are_checked_against(desk: Desk) -> None:
    desk.create(key="k")
    assert desk.ask("Validate", key="k", profile_id="zatca").is_valid
    assert desk.refusal("Validate", key="k", profile_id="peppol").violations[0][0] == "profile_id"


def test_fix_proposes_what_needs_no_decision_and_stores_nothing(desk: Desk) -> None:
    broken = wrong_xml().replace("<cbc:ProfileID>reporting:1.0</cbc:ProfileID>", "")
    made = desk.ask("Create", key="k", changes={"xml_content": broken}).details
    answer = desk.ask("Fix", key="k")
    assert "BR-CO-14" in [fix.code for fix in answer.applied_fixes]
    assert all(fix.error_description and fix.fix_description for fix in answer.applied_fixes)
    assert rules(desk.ask("ValidateContent", content={"content": answer.fixed_content})) == []
    assert desk.ask("Get", key="k").details == made


def test_sums_that_cannot_be_calculated_do_not_keep_other_fixes_back(desk: Desk) -> None:
    content = typed("invoice", profile_id={"value": "other"})
    content.invoice.invoice_line[0].ClearField("price")
    desk.create(content, key="k")
    assert desk.ask("Fix", key="k").fixed_content.invoice.profile_id.value == "reporting:1.0"


def test_a_good_document_needs_no_fix(desk: Desk) -> None:
    made = desk.create(key="k")
    answer = desk.ask("Fix", key="k")
    assert (list(answer.applied_fixes), answer.fixed_content) == ([], made.content)


# Copies and links


def test_a_clone_is_a_draft_with_other_numbers_that_can_be_frozen(desk: Desk) -> None:
    source = desk.create(key="a", frozen=True)
    copy = desk.ask("Clone", source_key="a", new_key="b").details
    assert (copy.id.key, copy.edit_state, copy.id.version) == ("b", documents_v2.EDIT_STATE_DRAFT, 1)
    assert copy.content.invoice.invoice_line == source.content.invoice.invoice_line
    frozen = desk.ask("Freeze", key="b", concurrency_stamp=copy.concurrency_stamp).details
    assert text_at(frozen, "UUID") != text_at(source, "UUID")
    assert text_at(frozen, "ID") == "INV-000002"


def test_a_clone_takes_a_free_key_only(desk: Desk) -> None:
    desk.create(key="a")
    assert desk.refusal("Clone", source_key="a", new_key="a").code is STATUSES.ALREADY_EXISTS
    assert desk.refusal("Clone", source_key="a", new_key="").violations[0][0] == "new_key"
    assert desk.ask("Clone", source_key="a").details.id.key not in ("", "a")


def test_related_documents_are_originals_notes_orders_and_clones(desk: Desk) -> None:
    order = DocumentContent()
    order.order.id.value = "PO-7"
    desk.create(order, key="order")
    desk.create(SAMPLES["references"], key="invoice")
    desk.create(SAMPLES["credit note on standard"], key="note")
    desk.ask("Clone", source_key="invoice", new_key="copy")
    desk.ask("Clone", source_key="invoice", new_key="gone")
    desk.ask("Delete", keys=["gone"])
    invoice = desk.ask("GetRelatedDocuments", key="invoice")
    assert [(ref.key, ref.document_type) for ref in invoice.order_references] == [
        ("order", documents_v2.DOCUMENT_TYPE_ORDER)
    ]
    assert [ref.key for ref in invoice.clones] == ["copy"]
    assert not invoice.HasField("cloned_from")
    note = desk.ask("GetRelatedDocuments", key="note")
    assert [(ref.key, ref.document_type) for ref in note.billing_references] == [
        ("invoice", documents_v2.DOCUMENT_TYPE_INVOICE)
    ]
    assert desk.ask("GetRelatedDocuments", key="copy").cloned_from.key == "invoice"
