"""Documents of documents/v2 as the store keeps them: found, composed, written, shown.

A stored document has both forms of its content. Typed content stays what its author said. The XML is the author's own
text as long as it needs no change, else it is written from the content; ZATCA's form always, where ZATCA is concerned.
Once a document is frozen its XML is the stamped one that was submitted: counter, previous hash, QR code and stamp are
in it and not in the typed content. The state of the submission is not stored here: it is asked of the authority
whenever a document is shown, as it can change later.

The room opens no transactions and touches records of the call's tenant only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

import grpc

from invora_api.documents.v2 import models_pb2 as documents_v2
from invora_api.documents.v2.content_pb2 import ChangeBase, Document, DocumentContent
from invora_api.settings.v2.service_pb2 import InvoraSettings
from invora_grpc.sandbox import authority, service
from invora_grpc.sandbox.documents_checks import (
    Given,
    errors_of,
    given_in,
    refuse_errors,
    typed,
    unreadable,
    with_numbers,
)
from invora_grpc.sandbox.documents_forms import body_of, calculated, kind_of, type_of
from invora_grpc.sandbox.engine_shapes import search_text
from invora_grpc.sandbox.model import MissingRecord, Record
from invora_grpc.sandbox.service import Call, Fault, echo
from invora_grpc.sandbox.ubl_content import encoded

RECORDS: Final = "documents"
ORIGINS: Final = "documents.origins"
"""Records of this kind tell what a document was cloned from: its record's id as key, the source's as body."""
NOUN: Final = "document"
_MOST_BYTES: Final = 15 * 1024 * 1024
"""Of a document: a client takes messages of 16 MiB, and freezing adds its stamp."""
_SETTINGS: Final = "invoicing.settings"
_PREFIXES: Final[Mapping[int, tuple[str, str]]] = {
    documents_v2.DOCUMENT_TYPE_INVOICE: ("INV", "invoice_prefix"),
    documents_v2.DOCUMENT_TYPE_CREDIT_NOTE: ("CN", "credit_note_prefix"),
    documents_v2.DOCUMENT_TYPE_DEBIT_NOTE: ("DN", "debit_note_prefix"),
    documents_v2.DOCUMENT_TYPE_SELF_BILLED_INVOICE: ("SBI", ""),
    documents_v2.DOCUMENT_TYPE_SELF_BILLED_CREDIT_NOTE: ("SBCN", ""),
}
"""Prefix of the number by document type, and the tenant's setting for it."""
_OTHERS: Final = ("DOC", "")


# Reading


def found(call: Call, key: str) -> tuple[Record, Document]:
    """The document of this key. NOT_FOUND if the tenant has none."""
    record = call.store.by_key(call.org_id, RECORDS, key)
    if record is None:
        raise service.not_found(NOUN, key)
    return record, Document.FromString(record.body)


def every(call: Call) -> Iterator[tuple[Record, Document]]:
    """All documents of the tenant, oldest first."""
    for record in call.store.all(call.org_id, RECORDS):
        yield record, Document.FromString(record.body)


def draft(call: Call, key: str, stamp: str | None) -> tuple[Record, Document]:
    """The document of this key, not frozen, in the version that the caller has seen; None asks for no stamp."""
    record, document = found(call, key)
    refuse_frozen(document)
    if stamp is not None:
        if not stamp:
            raise service.invalid("concurrency_stamp", "is required: the one of the version that was read last")
        if stamp != record.stamp:
            raise service.stale_stamp(NOUN, key)
    return record, document


def refuse_frozen(document: Document) -> None:
    """FAILED_PRECONDITION for a frozen document."""
    if document.edit_state == documents_v2.EDIT_STATE_FROZEN:
        text = f"the document {echo(document.id.key)} is frozen: correct it by a credit note or a debit note"
        raise service.failed_precondition(text, "DOCUMENT_FROZEN")


def shown(call: Call, document: Document) -> Document:
    """The document with what became of its submission until now."""
    if document.edit_state == documents_v2.EDIT_STATE_FROZEN:
        submission = authority.submission_of(call, "documents", document.id.key)
        if submission:
            document.regulation_metadata.entries[authority.REGULATION].CopyFrom(submission.entry())
    return document


def forms_of(document: Document) -> Given:
    """Both forms of a stored document."""
    return Given(document.content, document.xml_content)


# Composing


def compose(call: Call, changes: ChangeBase, path: str, *, calculate: bool) -> Given:
    """Both forms of what a request says, with its sums calculated if that is wanted."""
    flags = _flags_of_original(call, changes)
    given = given_in(changes, path, flags)
    if not calculate:
        return given
    with unreadable(f"{path}.{changes.WhichOneof('input')}"):
        return typed(calculated(given.content).content, flags)


def _flags_of_original(call: Call, changes: ChangeBase) -> str:
    """The flags of the invoice that a typed note corrects, if the tenant has it: notes inherit them."""
    name = changes.content.WhichOneof("type") if changes.HasField("content") else None
    if name not in ("credit_note", "debit_note", "self_billed_credit_note"):
        return ""
    for number in billed_numbers(changes.content):
        for _, document in every(call):
            if document.content.WhichOneof("type") in _FLAGGED and body_of(document.content).id.value == number:
                return str(body_of(document.content).invoice_type_code.name)
    return ""


_FLAGGED: Final = ("invoice", "self_billed_invoice")


def billed_numbers(content: DocumentContent) -> list[str]:
    """The numbers of the documents that the content refers to in its billing references."""
    references = getattr(body_of(content), "billing_reference", ())
    return [
        value.id.value
        for reference in references
        for field, value in reference.ListFields()
        if field.name.endswith("_document_reference") and value.id.value
    ]


def put(document: Document, given: Given) -> None:
    """Write content into the document, which is then a draft."""
    document.content.CopyFrom(given.content)
    document.xml_content = given.xml
    document.document_type = type_of(given.content)
    document.edit_state = documents_v2.EDIT_STATE_DRAFT
    if document.ByteSize() > _MOST_BYTES:
        text = f"comes to {document.ByteSize()} bytes, typed and as XML together; at most {_MOST_BYTES} can be answered"
        raise service.invalid("changes", text)


# Writing


def write(call: Call, record: Record, document: Document) -> None:
    """Mark the document as written now by the caller, and put it into the store."""
    document.id.version += 1
    document.id.version_id, document.concurrency_stamp = str(uuid4()), uuid4().hex
    audit = document.audit
    audit.last_modification_time.FromDatetime(call.now)
    audit.last_modifier_id.value = call.caller.subject
    if not audit.HasField("creation_info"):
        audit.creation_info.created_at.CopyFrom(audit.last_modification_time)
        audit.creation_info.creator_id.CopyFrom(audit.last_modifier_id)
    keep(call, record, document)


def keep(call: Call, record: Record, document: Document) -> None:
    """Put the document into the store as it is."""
    search = f"{document.id.key}\n{search_text(document.content)}"
    state = documents_v2.EditState.Name(document.edit_state)
    body = document.SerializeToString()
    store = call.store.replace if record.seq else call.store.insert
    stamped = replace(record, stamp=document.concurrency_stamp, state=state, body=body, search=search)
    store(call.org_id, RECORDS, stamped)


# Freezing


def freeze(call: Call, document: Document, refusal: grpc.StatusCode) -> None:
    """Make the document final: numbered, checked, stamped and submitted. It has still to be written.

    Raises `refusal` with ValidationErrors for content that breaks a rule, FAILED_PRECONDITION for a tenant or branch
    that is not onboarded or gone; nothing is written or counted then, as the call's transaction ends.
    """
    branch = authority.branch_of(call, document.branch_id)
    if document.branch_id and branch is None:
        raise leads_nowhere(grpc.StatusCode.FAILED_PRECONDITION, document.branch_id)
    if branch:
        document.branch_id = branch.key or branch.id
    document.prefix = _prefix(call, document.document_type)
    chain = f"{RECORDS}/{branch.id if branch else ''}/{document.document_type}"
    document.sequence_id = call.store.next_number(call.org_id, chain)
    document.edit_state = documents_v2.EDIT_STATE_FROZEN
    document.frozen_at.FromDatetime(call.now)
    if kind_of(document.content) is None:
        return
    given = with_numbers(forms_of(document), f"{document.prefix}-{document.sequence_id:06}")
    refuse_errors(errors_of(call, given), refusal)
    document.content.CopyFrom(given.content)
    submission = authority.issue(call, surface="documents", key=document.id.key, xml=encoded(given.xml), branch=branch)
    document.xml_content = authority.signed_xml(call, submission).decode()


def leads_nowhere(code: grpc.StatusCode, branch_id: str) -> Fault:
    """For a branch that the tenant does not have."""
    wrong = [("branch_id", f"there is no branch {echo(branch_id)}")]
    text = f"{service.first_of(wrong)} in this organization"
    return Fault(code, text, reason="REFERENCE_NOT_FOUND", violations=wrong)


def _prefix(call: Call, document_type: int) -> str:
    default, setting = _PREFIXES.get(document_type, _OTHERS)
    try:
        record = call.store.get(call.org_id, _SETTINGS, "only")
    except MissingRecord:
        return default
    settings: Any = InvoraSettings.FromString(record.body)
    own = str(getattr(settings, setting)) if setting else ""
    return own or default
