"""documents/v2 over gRPC: bulk calls, streams, and errors as they travel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import client_of
from documents_desk import numbered, wrong_xml, xml_of
from sandbox_fixture import running_sandbox
from zatca_documents import STANDARD

from invora_api.documents.v2 import models_pb2 as documents_v2
from invora_grpc import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from invora_grpc.zatca.hashing import invoice_hash
from invora_grpc.zatca.qr import qr_of


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A client without types, as requests are made of mappings here."""
    issued = STANDARD.issued_at.timestamp()
    with running_sandbox(seed="empty", clock=lambda: issued + 60) as sandbox, client_of(sandbox) as opened:
        yield opened


def new(number: int, key: str = "", **fields: Any) -> dict[str, Any]:
    return {"key": key or f"k{number}", "changes": {"xml_content": xml_of(numbered(number))}, **fields}


BAD = {"key": "bad", "changes": {"xml_content": wrong_xml()}, "freeze_immediately": True}


def outcomes(results: Any) -> list[tuple[int, str]]:
    """Index of each result, with its key or the reason of its error."""
    return [(one.index, one.success_key or one.error.code) for one in results]


def test_a_document_is_created_frozen_and_read(client: Any) -> None:
    documents = client.invoicing.documents
    made = documents.create(new(1, "wire", freeze_immediately=True)).details
    assert documents.get(key="wire").details == made
    assert qr_of(made.xml_content.encode()) is not None
    with pytest.raises(FailedPrecondition):
        documents.freeze(key="wire", concurrency_stamp=made.concurrency_stamp)


def test_a_bad_document_is_refused_with_validation_errors_in_the_details(client: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.invoicing.documents.create(BAD)
    (error,) = [one for one in caught.value.details if isinstance(one, documents_v2.ValidationError)]
    assert (error.code, error.field) == ("BR-CO-14", "invoice.tax_total[0]")
    assert "BR-CO-14" in str(caught.value)
    with pytest.raises(NotFound):
        client.invoicing.documents.get(key="bad")


def test_bulk_calls_have_a_result_per_item_and_refuse_each_on_its_own(client: Any) -> None:
    documents = client.invoicing.documents
    created = documents.bulk_create(items=[new(10), BAD, new(10), new(11, freeze_immediately=True)]).items
    assert outcomes(created) == [(0, "k10"), (1, "INVALID_DOCUMENT"), (2, "KEY_TAKEN"), (3, "k11")]
    assert [error.code for error in created[1].error.validation_errors] == ["BR-CO-14"]
    stamp = documents.get(key="k10").details.concurrency_stamp
    change = {"changes": {"xml_content": xml_of(numbered(12))}}
    updates = [
        {"key": "k10", "concurrency_stamp": stamp, **change},
        {"key": "k10", "concurrency_stamp": stamp, **change},
        {"key": "k11", "concurrency_stamp": "x", **change},
    ]
    assert outcomes(documents.bulk_update(items=updates).items) == [
        (0, "k10"),
        (1, "STALE_STAMP"),
        (2, "DOCUMENT_FROZEN"),
    ]
    assert outcomes(documents.bulk_freeze(keys=["k10", "none"]).items) == [(0, "k10"), (1, "NOT_FOUND")]
    documents.create(new(13))
    assert outcomes(documents.bulk_delete(keys=["k13", "k13", "k10"]).items) == [
        (0, "k13"),
        (1, "NOT_FOUND"),
        (2, "DOCUMENT_FROZEN"),
    ]


def test_a_refused_item_of_a_bulk_call_uses_up_no_number(client: Any) -> None:
    documents = client.invoicing.documents
    items = [new(20, freeze_immediately=True), BAD, new(21, freeze_immediately=True)]
    documents.bulk_create(items=items)
    first, second = (documents.get(key=key).details for key in ("k20", "k21"))
    assert second.sequence_id == first.sequence_id + 1
    assert invoice_hash(first.xml_content.encode()) in second.xml_content


def test_documents_stream_in_and_each_gets_its_answer_by_its_index(client: Any) -> None:
    documents = client.invoicing.documents
    requests = [{"item": item} for item in (new(30), BAD, new(31))]
    created = [answer.result for answer in documents.stream_create(iter(requests))]
    assert outcomes(created) == [(0, "k30"), (1, "INVALID_DOCUMENT"), (2, "k31")]
    assert [error.code for error in created[1].error.validation_errors] == ["BR-CO-14"]
    stamp = documents.get(key="k31").details.concurrency_stamp
    updates = [{"item": {"key": "k31", "concurrency_stamp": stamp, "changes": new(32)["changes"]}}] * 2
    changed = [answer.result for answer in documents.stream_update(iter(updates))]
    assert outcomes(changed) == [(0, "k31"), (1, "STALE_STAMP")]
    frozen = [
        answer.result for answer in documents.stream_freeze(iter([{"key": "k30"}, {"key": "k30"}, {"key": "k31"}]))
    ]
    assert outcomes(frozen) == [(0, "k30"), (1, "DOCUMENT_FROZEN"), (2, "k31")]


def test_what_a_stream_has_answered_is_stored_before_the_stream_ends(client: Any) -> None:
    documents = client.invoicing.documents
    with documents.stream_create() as stream:
        stream.send(item=new(40))
        assert next(stream).result.success_key == "k40"
        assert documents.get(key="k40").details.id.version == 1


def test_all_documents_can_be_listed_page_by_page(client: Any) -> None:
    keys = {document.id.key for document in client.invoicing.documents.list.items(pagination={"limit": 3})}
    assert {"wire", "k10", "k30"} <= keys


def test_rpcs_that_the_sandbox_does_not_serve_say_so(client: Any) -> None:
    with pytest.raises(Unimplemented):
        client.invoicing.documents.send(key="k10", concurrency_stamp="x")
