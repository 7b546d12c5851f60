"""Issuing for asynchronous clients: the same steps as ``issuing``, awaited. Nothing is decided here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from invora_grpc.aio import AsyncInvora
from invora_grpc.errors import InvoraError
from invora_grpc.zatca.advice_options import Option
from invora_grpc.zatca.agreement import Agreement
from invora_grpc.zatca.deal import Deal
from invora_grpc.zatca.issued import Issued, IssuedLeg
from invora_grpc.zatca.issuing_steps import (
    WAIT,
    Pause,
    Steps,
    artifact_request,
    require_clients,
    steps_of,
    steps_of_one,
    xml_in,
)
from invora_grpc.zatca.requests import Issuance
from invora_grpc.zatca.supply import Role

__all__ = ["issue", "send", "stamped_xml", "tenants"]

T = TypeVar("T")


def tenants(platform: AsyncInvora, provider_org_id: str) -> dict[Role, AsyncInvora]:
    """See `issuing.tenants`."""
    return {Role.P: platform, Role.SP: platform.for_org(provider_org_id)}


async def issue(
    clients: Mapping[Role, AsyncInvora],
    option: Option,
    deal: Deal,
    agreement: Agreement | None = None,
    *,
    wait: float = WAIT,
    now: datetime | None = None,
) -> Issued:
    """See `issuing.issue`."""
    require_clients(clients, AsyncInvora)
    return await _run(steps_of(clients, option, deal, agreement, wait, now))


async def send(clients: Mapping[Role, AsyncInvora], issuance: Issuance, *, wait: float = WAIT) -> IssuedLeg:
    """See `issuing.send`."""
    require_clients(clients, AsyncInvora)
    return await _run(steps_of_one(clients, issuance, wait))


async def stamped_xml(client: AsyncInvora, issued: IssuedLeg) -> bytes:
    """See `issuing.stamped_xml`."""
    return xml_in(await client.invoicing.regulation_info.list_document_artifacts(artifact_request(issued)), issued)


async def _run(steps: Steps[T]) -> T:
    answer: Any = None
    failure: InvoraError | None = None
    while True:
        try:
            step = steps.throw(failure) if failure else steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        answer = failure = None
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            continue
        try:
            answer = await step.bound(step.request)
        except InvoraError as error:
            failure = error
