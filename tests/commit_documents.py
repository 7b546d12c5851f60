"""Valid requests for the RPCs of the commit matrix that are about tax documents: documents/v2, and what became of them.

Documents are simplified ones of today, each under a number of its own, so that ZATCA's rules have nothing against them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

from sandbox_fixture import Running
from zatca_documents import SIMPLIFIED

from invora_grpc.zatca.ubl import to_xml

AREAS = {"documents", "regulation_info"}
"""Of the module invoicing."""


class Desk(Protocol):
    """What of the matrix's world is needed here."""

    running: Running

    def unique(self, prefix: str = "n") -> str: ...

    def call(self, name: str, /, token: str | None = None, **fields: Any) -> Any: ...


def document_fields(world: Desk, rpc: str) -> dict[str, Any]:
    """A request of DocumentsService or RegulationInfoService that will succeed, for a document of its own."""
    match rpc:
        case "create":
            return new(world)
        case "bulk_create":
            return {"items": [new(world), new(world)]}
        case "update":
            return changed(world)
        case "bulk_update":
            return {"items": [changed(world), changed(world)]}
        case "freeze":
            draft = stored(world)
            return {"key": draft.id.key, "concurrency_stamp": draft.concurrency_stamp}
        case "delete" | "bulk_delete" | "bulk_freeze":
            return {"keys": [stored(world).id.key, stored(world).id.key]}
        case "clone":
            return {"source_key": stored(world).id.key, "new_key": world.unique("copy-")}
        case "fix":
            return {"key": stored(world).id.key}
        case "retry_submission":
            return {"regulation_id": "zatca", "document_key": failed(world)}
    assert rpc == "override_submission_status", rpc
    key = stored(world, freeze_immediately=True).id.key
    status = "REGULATION_SUBMISSION_STATUS_REJECTED"
    return {"regulation_id": "zatca", "document_key": key, "new_status": status, "reason": "told on the phone"}


def new(world: Desk) -> dict[str, Any]:
    return {"key": world.unique("document-"), "changes": content(world)}


def content(world: Desk) -> dict[str, Any]:
    now = datetime.now(UTC).replace(microsecond=0)
    document = replace(SIMPLIFIED, id=world.unique("INV-"), uuid=str(uuid4()), issued_at=now - timedelta(minutes=1))
    return {"xml_content": to_xml(document, now=now).decode()}


def stored(world: Desk, **fields: Any) -> Any:
    """A new document, a draft unless it is to be frozen."""
    return world.call("invoicing.documents.create", **new(world), **fields).details


def changed(world: Desk) -> dict[str, Any]:
    draft = stored(world)
    return {"key": draft.id.key, "concurrency_stamp": draft.concurrency_stamp, "changes": content(world)}


def failed(world: Desk) -> str:
    """The key of a document that could not be submitted when it was frozen, and can be by now."""
    authority = world.running.sandbox.authority
    authority.reachable = False
    try:
        return str(stored(world, freeze_immediately=True).id.key)
    finally:
        authority.reachable = True
