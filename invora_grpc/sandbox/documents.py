"""DocumentsService (documents/v2): invoices, notes, self-billed and other documents of UBL, typed or as XML.

The handlers of its RPCs; what a document is and how it is kept tell `documents_records`, what is wrong with it
`documents_checks`. A refused item of a bulk call or stream leaves nothing behind, and the others as they are. Send,
Share and the watching streams are not served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, Final
from uuid import uuid4

import grpc
from google.protobuf.message import Message

from invora_api.documents.v2 import models_pb2 as documents_v2
from invora_api.documents.v2 import service_pb2 as service_v2
from invora_api.documents.v2.content_pb2 import ChangeBase, Document, DocumentContent
from invora_grpc.sandbox import authority, listing, service
from invora_grpc.sandbox import documents_records as records
from invora_grpc.sandbox.documents_checks import (
    check_profile,
    errors_of,
    fixed,
    given_in,
    is_valid,
    typed,
    unreadable,
)
from invora_grpc.sandbox.documents_forms import body_of, calculated
from invora_grpc.sandbox.documents_list import Row, check_filter, value_of
from invora_grpc.sandbox.model import Record
from invora_grpc.sandbox.service import Call, Fault, invalid

_LONGEST_KEY: Final = 128
_STATUSES: Final = grpc.StatusCode


# One document


def create(call: Call, request: service_v2.CreateRequest) -> service_v2.CreateResponse:
    """A new draft, or a frozen document with freeze_immediately."""
    return service_v2.CreateResponse(details=records.shown(call, _create(call, request)))


def _create(call: Call, request: Any) -> Document:
    _check_key(request, "key")
    given = records.compose(call, request.changes, "changes", calculate=request.auto_calculate)
    key = request.key or f"doc_{uuid4().hex}"
    document = Document()
    document.id.key = key
    if request.branch_id:
        branch = authority.branch_of(call, request.branch_id)
        if branch is None:
            raise records.leads_nowhere(_STATUSES.NOT_FOUND, request.branch_id)
        document.branch_id = branch.key or branch.id
    records.put(document, given)
    return _add(call, document, frozen=request.freeze_immediately)


def _add(call: Call, document: Document, *, frozen: bool = False) -> Document:
    """Store a new document, provided that its key is free."""
    key = document.id.key
    if call.store.by_key(call.org_id, records.RECORDS, key):
        raise service.already_exists(records.NOUN, key)
    if frozen:
        records.freeze(call, document, _STATUSES.INVALID_ARGUMENT)
    records.write(call, Record(id=str(uuid4()), key=key, created_at=call.now.timestamp()), document)
    return document


def _check_key(request: Any, name: str) -> None:
    key = getattr(request, name)
    if request.HasField(name) and not (key.isprintable() and 0 < len(key) <= _LONGEST_KEY):
        raise invalid(name, f"must be 1 to {_LONGEST_KEY} printable characters, or left out")


def get(call: Call, request: service_v2.GetRequest) -> service_v2.GetResponse:
    """One document, whole or as far as the mask says."""
    _, document = records.found(call, request.key)
    shown: Any = listing.apply_mask(records.shown(call, document), request.mask)
    return service_v2.GetResponse(details=shown)


def list_documents(call: Call, request: Any) -> Message:
    """A page of documents."""
    listing.check_mask(Document(), request.mask)
    check_filter(request.filter.part)
    rows = list(map(Row, call.store.all(call.org_id, records.RECORDS)))
    page = listing.page_of(call, rows, request, value=value_of, text=lambda row: row.search)
    items = [listing.apply_mask(records.shown(call, row.document), request.mask) for row in page.items]
    return listing.fill(service_v2.ListResponse, page, items)


def update(call: Call, request: service_v2.UpdateRequest) -> service_v2.UpdateResponse:
    """A draft with other content. Without a mask the content is replaced as a whole."""
    return service_v2.UpdateResponse(details=_update(call, request))


def _update(call: Call, request: Any) -> Document:
    record, document = records.draft(call, request.key, request.concurrency_stamp)
    changes = _changed(document, request)
    records.put(document, records.compose(call, changes, "changes", calculate=request.auto_calculate))
    records.write(call, record, document)
    return document


def _changed(document: Document, request: Any) -> ChangeBase:
    """What the document is to be: the masked fields as in the request, the others as they were."""
    listing.check_mask(request.changes, request.mask)
    if not request.mask.paths or "*" in request.mask.paths:
        whole: ChangeBase = request.changes
        return whole
    changes, held = ChangeBase(content=document.content), document.content.WhichOneof("type")
    for path in request.mask.paths:
        steps = path.split(".")
        if path == "xml_content" and not request.changes.HasField(path):
            raise invalid("changes.xml_content", "is required, as the mask names it")
        if len(steps) > 2 and steps[1] != held:
            raise invalid("mask", f"{path!r} is a field of another document type: this document is of type {held}")
        listing.copy_path(request.changes, changes, steps)
    if changes.HasField("content") and changes.content.WhichOneof("type") is None:
        raise invalid("mask", "would leave no content")
    return changes


def delete(call: Call, request: Any) -> service_v2.DeleteResponse:
    """Documents that are not frozen, all of them or none."""
    held = [records.draft(call, key, None) for key in dict.fromkeys(request.keys)]
    for record, _ in held:
        call.store.delete(call.org_id, records.RECORDS, record.id)
    return service_v2.DeleteResponse()


def freeze(call: Call, request: service_v2.FreezeRequest) -> service_v2.FreezeResponse:
    """A draft becomes final."""
    return service_v2.FreezeResponse(details=_freeze(call, request.key, request.concurrency_stamp))


def _freeze(call: Call, key: str, stamp: str | None) -> Document:
    record, document = records.draft(call, key, stamp)
    records.freeze(call, document, _STATUSES.FAILED_PRECONDITION)
    records.write(call, record, document)
    return records.shown(call, document)


# Many documents


def _tried(call: Call, index: int, attempt: Callable[[], str]) -> documents_v2.BulkItemResult:
    """The outcome of one item, which leaves nothing behind if it is refused."""
    result = documents_v2.BulkItemResult(index=index)
    try:
        with call.store.transaction():
            result.success_key = attempt()
    except Fault as fault:
        result.error.code, result.error.message = fault.reason, fault.message
        for detail in fault.details:
            if isinstance(detail, documents_v2.ValidationError):
                result.error.validation_errors.append(detail)
    return result


def _delete_one(call: Call, key: str) -> str:
    record, _ = records.draft(call, key, None)
    call.store.delete(call.org_id, records.RECORDS, record.id)
    return key


def _created(call: Call, item: Any) -> str:
    return str(_create(call, item).id.key)


def _updated(call: Call, item: Any) -> str:
    return str(_update(call, item).id.key)


def _frozen(call: Call, key: str) -> str:
    return str(_freeze(call, key, None).id.key)


def _bulk(response: Any, field: str, act: Callable[[Call, Any], str], call: Call, request: Any) -> Any:
    items: Iterable[Any] = getattr(request, field)
    return response(items=[_tried(call, index, partial(act, call, item)) for index, item in enumerate(items)])


def _streamed(response: Any, field: str, act: Callable[[Call, Any], str], call: Call, request: Any) -> Any:
    return response(result=_tried(call, call.index, partial(act, call, getattr(request, field))))


# Copies and links


def clone(call: Call, request: service_v2.CloneRequest) -> service_v2.CloneResponse:
    """A draft with the content of another document, but without its ID and UUID: they are given anew at freezing."""
    _check_key(request, "new_key")
    source, original = records.found(call, request.source_key)
    content = DocumentContent.FromString(original.content.SerializeToString())
    body = body_of(content)
    body.ClearField("id")
    if "uuid" in body.DESCRIPTOR.fields_by_name:
        body.ClearField("uuid")
    document = Document(branch_id=original.branch_id)
    document.id.key = request.new_key or f"doc_{uuid4().hex}"
    records.put(document, typed(content))
    _add(call, document)
    copy = call.store.by_key(call.org_id, records.RECORDS, document.id.key)
    assert copy is not None
    call.store.insert(call.org_id, records.ORIGINS, Record(id=copy.id, body=source.id.encode()))
    return service_v2.CloneResponse(details=document)


def related(call: Call, request: Any) -> service_v2.GetRelatedDocumentsResponse:
    """The tenant's documents that this one refers to, was cloned from, or was the source of."""
    record, document = records.found(call, request.key)
    held = list(records.every(call))
    refs = {one.id: _ref(other) for one, other in held}
    origins = {one.id: one.body.decode() for one in call.store.all(call.org_id, records.ORIGINS)}
    answer = service_v2.GetRelatedDocumentsResponse(
        billing_references=_numbered(held, records.billed_numbers(document.content)),
        order_references=_numbered(held, _ordered(document.content)),
        clones=[refs[copy] for copy, source in origins.items() if source == record.id and copy in refs],
    )
    if origins.get(record.id) in refs:
        answer.cloned_from.CopyFrom(refs[origins[record.id]])
    return answer


def _ref(document: Document) -> documents_v2.DocumentRef:
    return documents_v2.DocumentRef(key=document.id.key, document_type=document.document_type)


def _numbered(held: list[tuple[Record, Document]], numbers: list[str]) -> list[documents_v2.DocumentRef]:
    """The documents that carry these numbers."""
    return [_ref(other) for number in numbers for _, other in held if body_of(other.content).id.value == number]


def _ordered(content: DocumentContent) -> list[str]:
    body: Any = body_of(content)
    if "order_reference" not in body.DESCRIPTOR.fields_by_name:
        return []
    several = body.DESCRIPTOR.fields_by_name["order_reference"].is_repeated
    references = body.order_reference if several else [body.order_reference]
    return [reference.id.value for reference in references if reference.id.value]


# Content


def validate(call: Call, request: Any) -> service_v2.ValidateResponse:
    """What is wrong with a stored document. A draft that passes is marked as validated, under the same stamp."""
    check_profile(request)
    record, document = records.found(call, request.key)
    errors = errors_of(call, records.forms_of(document))
    if document.edit_state == documents_v2.EDIT_STATE_DRAFT and is_valid(errors):
        document.edit_state = documents_v2.EDIT_STATE_VALIDATED
        records.keep(call, record, document)
    return service_v2.ValidateResponse(is_valid=is_valid(errors), errors=errors)


def validate_content(call: Call, request: Any) -> service_v2.ValidateContentResponse:
    """What is wrong with content that is not stored."""
    check_profile(request)
    errors = errors_of(call, records.compose(call, request.content, "content", calculate=False))
    return service_v2.ValidateContentResponse(is_valid=is_valid(errors), errors=errors)


def fix(call: Call, request: Any) -> service_v2.FixResponse:
    """A stored document's content as it could be."""
    _, document = records.found(call, request.key)
    content, fixes = fixed(call, records.forms_of(document))
    return service_v2.FixResponse(fixed_content=content, applied_fixes=fixes)


def calculate(call: Call, request: Any) -> service_v2.CalculateResponse:
    """Content with its sums, and which fields these are: their values are decimal text."""
    given = given_in(request.content, "content")
    with unreadable(f"content.{request.content.WhichOneof('input')}"):
        done = calculated(given.content)
    response = service_v2.CalculateResponse(calculated_content=done.content)
    for path, amount in done.computed:
        computed = response.computed_fields.add(field_path=path)
        computed.computed_value.string_value = _decimal_text(amount)
    return response


def _decimal_text(amount: Decimal) -> str:
    return format(amount, "f")


_UNARY: Final[Mapping[str, Callable[[Call, Any], Message]]] = {
    "Create": create,
    "Get": get,
    "List": list_documents,
    "Update": update,
    "Delete": delete,
    "Freeze": freeze,
    "Clone": clone,
    "GetRelatedDocuments": related,
    "Validate": validate,
    "ValidateContent": validate_content,
    "Fix": fix,
    "Calculate": calculate,
    "BulkCreate": partial(_bulk, service_v2.BulkCreateResponse, "items", _created),
    "BulkFreeze": partial(_bulk, service_v2.BulkFreezeResponse, "keys", _frozen),
    "BulkDelete": partial(_bulk, service_v2.BulkDeleteResponse, "keys", _delete_one),
    "BulkUpdate": partial(_bulk, service_v2.BulkUpdateResponse, "items", _updated),
}
_STREAMS: Final[Mapping[str, Callable[[Call, Any], Message]]] = {
    "StreamCreate": partial(_streamed, service_v2.StreamCreateResponse, "item", _created),
    "StreamFreeze": partial(_streamed, service_v2.StreamFreezeResponse, "key", _frozen),
    "StreamUpdate": partial(_streamed, service_v2.StreamUpdateResponse, "item", _updated),
}
REGISTRY: Final[service.Registry] = service.registry("invora.documents.v2.DocumentsService", **_UNARY, **_STREAMS)
"""The handlers of the service, by path."""
