"""From a lawful option and a deal to documents that the authority has accepted, leg by leg, in the right tenants.

    option = advise(supply).option(1)
    issued = issue(tenants(client, provider_org_id), option, deal)

Every document is created as a draft under its key, compared with what was asked for, frozen, and followed until its
submission is final. A standard document blocks: the next leg is issued only when it is cleared. A simplified one is
valid at once, so that the next leg does not wait for its report. All of it can be repeated after any failure: the same
deal finds its own drafts and documents by their keys, and goes on where it stopped.

The steps themselves are in ``issuing_steps``; this room runs them for blocking clients, ``issuing_aio`` for others.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from invora_grpc.client import Invora
from invora_grpc.errors import InvoraError
from invora_grpc.zatca.advice_options import Option
from invora_grpc.zatca.agreement import Agreement
from invora_grpc.zatca.deal import Deal
from invora_grpc.zatca.issued import (
    Issued,
    IssuedLeg,
    IssuingError,
    KeyTaken,
    NotAccepted,
    NotFinal,
    TotalsDiffer,
)
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

__all__ = ["Issued", "IssuedLeg", "IssuingError", "KeyTaken", "NotAccepted", "NotFinal", "TotalsDiffer", "issue"]
__all__ += ["send", "stamped_xml", "tenants"]

T = TypeVar("T")


def tenants(platform: Invora, provider_org_id: str) -> dict[Role, Invora]:
    """The clients of both tenants, where the platform acts in the provider's tenant (x-target-org-id).

    With the provider's own credentials it is ``{Role.P: platform, Role.SP: Invora(client_id=…, …)}``.
    """
    return {Role.P: platform, Role.SP: platform.for_org(provider_org_id)}


def issue(
    clients: Mapping[Role, Invora],
    option: Option,
    deal: Deal,
    agreement: Agreement | None = None,
    *,
    wait: float = WAIT,
    now: datetime | None = None,
) -> Issued:
    """Issue the documents of a deal, and return when their submissions are final.

    `clients`: one for each tenant that issues, see `tenants`; each is first asked for the VAT number that it issues
    under. `wait`: seconds for each document's submission; what is frozen by then stays frozen, and issuing the same
    deal again goes on. `now`: see `build`; a document that was frozen already may be older than a new one. Legs of the
    month are left to `summary` and `usage_events`.

    Raises RequestError, PreconditionError and RuleError for what cannot be built and for a client that is missing or of
    another tenant (no document of any leg is sent then), NotAccepted, NotFinal, KeyTaken, TotalsDiffer, and RpcError as
    calls do.
    """
    require_clients(clients, Invora)
    return _run(steps_of(clients, option, deal, agreement, wait, now))


def send(clients: Mapping[Role, Invora], issuance: Issuance, *, wait: float = WAIT) -> IssuedLeg:
    """Issue what was built before: a note, the summary of a month, a usage event. Raises what `issue` does."""
    require_clients(clients, Invora)
    return _run(steps_of_one(clients, issuance, wait))


def stamped_xml(client: Invora, issued: IssuedLeg) -> bytes:
    """The document as the authority knows it: stamped, with its QR code. `client` is of the tenant that issued it.

    Raises RequestError if there is none yet.
    """
    return xml_in(client.invoicing.regulation_info.list_document_artifacts(artifact_request(issued)), issued)


def _run(steps: Steps[T]) -> T:
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
            time.sleep(step.seconds)
            continue
        try:
            answer = step.bound(step.request)
        except InvoraError as error:
            failure = error
