"""Onboarding with the sandbox's tax authority: of a whole tenant, or of one branch, step by step; and its certificates.

A tenant that the sandbox made itself counts as onboarded; a connected business that a platform made does not, until
this has run. The steps are ZATCA's: a request for a certificate (CSR), a certificate for compliance checks, and the one
that documents are stamped with. Keys and certificates belong to a branch and are made when they are first needed; no
key ever leaves the store. Whoever may issue goes on issuing with the former certificate until a new one is there, also
if its renewal fails. This room knows no RPC: `regulations_zatca` and `regulations_enrollment` stream its steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal
from uuid import uuid4

from invora_grpc.sandbox.model import Record
from invora_grpc.sandbox.sellers import branch_of, seller_of
from invora_grpc.sandbox.service import Call, failed_precondition
from invora_grpc.sandbox.standing import conditions
from invora_grpc.sandbox.store import Store
from invora_grpc.zatca import stamping

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

OTP: Final = "123456"
"""The one-time password that the sandbox's authority takes."""
STEPS: Final = ("CSR_GENERATION", "COMPLIANCE_CSID", "PRODUCTION_CSID")
TENANT: Final = "tenant"
"""Name of the onboarding of a whole tenant; that of a branch is `branch/` and its record's id."""
_KIND = "regulations.onboarding"
_KEYS = "regulations.keys"
_AUTHORITY = "zatca/authority"
_CATEGORY = "Sandbox"

Disposition = Literal["ISSUED", "REJECTED", "ERROR", "PENDING_EXTERNAL_ACTION"]
State = Literal["NOT_STARTED", "IN_PROGRESS", "PENDING_EXTERNAL_ACTION", "ACTIVE", "FAILED"]


@dataclass(frozen=True, slots=True)
class Step:
    """One finished step."""

    name: str
    """One of STEPS."""
    disposition: Disposition
    message: str
    request_id: str
    at: float
    """Seconds since the epoch."""
    is_final: bool
    code: str = ""
    """Of the error, if the step failed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an onboarding has come."""

    state: State = "NOT_STARTED"
    environment: str = ""
    """What was asked for, as ZatcaEnvironment names it; "" if nothing was."""
    steps: tuple[Step, ...] = ()
    issued: tuple[str, ...] = field(default=())
    """The steps that are through in the present run."""
    run: str = ""
    """Which run that is: of two that were begun at the same time the later one counts."""
    enrolled: bool = False
    """Whether a certificate is in force, of this run or of one before."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """When the certificates of a branch end, as far as it has them."""

    compliance: datetime | None
    production: datetime | None


# State


def expect_onboarding(store: Store, org_id: str) -> None:
    """Let a new tenant issue nothing until it is onboarded."""
    store.insert(org_id, _KIND, _record(TENANT, Progress()))


def progress_of(call: Call, name: str) -> Progress | None:
    """The onboarding of this name (TENANT or a branch's); None if there was none, nor is any expected."""
    record = call.store.by_key(call.org_id, _KIND, name)
    return _kept(record) if record else None


def name_of(branch: Record) -> str:
    """Name of the onboarding of a branch."""
    return f"branch/{branch.id}"


def is_onboarded(call: Call, branch: Record | None) -> bool:
    """Whether the branch may issue: it is enrolled itself, or its tenant is onboarded."""
    own = progress_of(call, name_of(branch)) if branch else None
    if own and own.enrolled:
        return True
    tenant = progress_of(call, TENANT)
    return tenant is None or tenant.enrolled


def require_onboarded(call: Call, branch: Record | None) -> None:
    """Raises FAILED_PRECONDITION, NOT_ONBOARDED, and tells what to call."""
    if is_onboarded(call, branch):
        return
    whose = f"the branch {branch.key!r}" if branch and branch.key else "this organization"
    text = (
        f"{whose} is not onboarded with ZATCA: call ZatcaRegulationService.InitiateOnboarding, "
        "or RegulationEnrollmentService.BeginEnrollment for one branch, with a one-time password"
    )
    raise failed_precondition(text, "NOT_ONBOARDED")


# Steps


def begin(call: Call, branch: Record | None, otp: str, environment: str) -> Iterator[Step]:
    """Onboard a branch, or (None) the whole tenant, from the first step on; whatever was before is done anew.

    Each step is in the store before it is told.
    """
    name, run = name_of(branch) if branch else TENANT, str(uuid4())
    kept = progress_of(call, name) or Progress(enrolled=branch is None)
    _keep(call, name, Progress("IN_PROGRESS", environment, kept.steps, run=run, enrolled=kept.enrolled))
    yield from _steps(call, branch, name, run, otp)


def resume(call: Call, branch: Record | None, otp: str) -> Iterator[Step]:
    """Continue after the last step that was issued. Raises FAILED_PRECONDITION if there is nothing to continue."""
    name = name_of(branch) if branch else TENANT
    kept = progress_of(call, name)
    if kept is None or kept.state in ("NOT_STARTED", "ACTIVE"):
        state = "has not begun" if kept is None or kept.state == "NOT_STARTED" else "is complete"
        raise failed_precondition(f"there is nothing to resume: the onboarding {state}", "NOTHING_TO_RESUME")
    yield from _steps(call, branch, name, kept.run, otp)


def _steps(call: Call, branch: Record | None, name: str, run: str, otp: str) -> Iterator[Step]:
    for step_name in STEPS:
        kept = progress_of(call, name) or Progress()
        if kept.run != run:
            yield _overtaken(call, step_name)
            return
        if step_name in kept.issued:
            continue
        step = _step(call, branch, name, step_name, otp)
        issued = (*kept.issued, step_name) if step.disposition == "ISSUED" else kept.issued
        state, steps = _state(step), (*kept.steps, step)
        enrolled = kept.enrolled or state == "ACTIVE"
        _keep(call, name, replace(kept, state=state, steps=steps, issued=issued, enrolled=enrolled))
        yield step
        if step.is_final:
            return


def _state(step: Step) -> State:
    if step.disposition == "PENDING_EXTERNAL_ACTION":
        return "PENDING_EXTERNAL_ACTION"
    if step.disposition != "ISSUED":
        return "FAILED"
    return "ACTIVE" if step.is_final else "IN_PROGRESS"


def _overtaken(call: Call, name: str) -> Step:
    """The end of a run after which another one was begun; it changes nothing."""
    message = "another onboarding was begun meanwhile, and goes on instead of this one"
    return Step(name, "ERROR", message, str(uuid4()), call.store.clock(), True, "OVERTAKEN")


def _step(call: Call, branch: Record | None, onboarding: str, name: str, otp: str) -> Step:
    """Do one step of the onboarding of this name."""

    def ended(disposition: Disposition, message: str, code: str = "") -> Step:
        final = disposition != "ISSUED" or name == STEPS[-1]
        return Step(name, disposition, message, str(uuid4()), call.store.clock(), final, code)

    issuing = branch or branch_of(call, "")
    if name == "CSR_GENERATION":
        key = stamping.new_key()
        stamping.csr(key, _unit(call, issuing))
        _keep_key(call, _next(onboarding), stamping.written(key))
        return ended("ISSUED", "a key was made, and the request for its certificate")
    if not conditions(call.store).reachable:
        return ended("ERROR", "the authority cannot be reached; wait and try again", "AUTHORITY_UNREACHABLE")
    if name == "COMPLIANCE_CSID":
        if not otp:
            return ended("PENDING_EXTERNAL_ACTION", "get a one-time password from the authority's portal, then resume")
        if otp != OTP:
            return ended("REJECTED", "the one-time password is wrong or has expired; get another one", "Invalid-OTP")
        _certify(call, issuing, onboarding)
        return ended("ISSUED", "the certificate for compliance checks was issued, and the checks were passed")
    _renew(call, issuing, onboarding)
    return ended("ISSUED", "the certificate that documents are stamped with was issued")


# Keys and certificates


def credentials(call: Call, branch: Record | None) -> tuple[EllipticCurvePrivateKey, Certificate]:
    """What a branch stamps with, made at first use."""
    record = call.store.by_key(call.org_id, _KEYS, _present(branch))
    if record is None:
        key = stamping.new_key()
        made = _certificate(call, branch, key)
        _keep_key(call, _present(branch), stamping.written(key), stamping.written(made))
        return key, made
    pem, certificate = record.body.split(b"\0")
    return stamping.read_key(pem), stamping.read_certificate(certificate)


def certificates_of(call: Call, branch: Record | None) -> Certificates:
    """When the branch's certificates end. The one for checks ends with the one for documents."""
    record = call.store.by_key(call.org_id, _KEYS, _present(branch))
    if record is None:
        names = [_next(name_of(branch))] if branch else []
        waiting = [call.store.by_key(call.org_id, _KEYS, name) for name in (*names, _next(TENANT))]
        return Certificates(next((end for one in waiting if one and (end := _end(one))), None), None)
    return Certificates(_end(record), _end(record))


def _end(record: Record) -> datetime | None:
    certificate = record.body.partition(b"\0")[2]
    return stamping.read_certificate(certificate).not_valid_after_utc if certificate else None


def _certify(call: Call, branch: Record | None, onboarding: str) -> None:
    """Let the authority certify the key that waits."""
    pem = call.store.get(call.org_id, _KEYS, _next(onboarding)).body.partition(b"\0")[0]
    made = _certificate(call, branch, stamping.read_key(pem))
    _keep_key(call, _next(onboarding), pem, stamping.written(made))


def _renew(call: Call, branch: Record | None, onboarding: str) -> None:
    """Let the branch stamp with the key that waited; the chain goes on."""
    waiting = call.store.get(call.org_id, _KEYS, _next(onboarding))
    _keep_key(call, _present(branch), *waiting.body.split(b"\0"))


def _certificate(call: Call, branch: Record | None, key: EllipticCurvePrivateKey) -> Certificate:
    unit = _unit(call, branch)
    return stamping.certificate(key, unit, _authority(call), at=call.now)


def _authority(call: Call) -> stamping.Authority:
    def generate() -> bytes:
        made = stamping.new_authority(at=call.now)
        return stamping.written(made.key) + b"\0" + stamping.written(made.certificate)

    key, certificate = call.store.key(_AUTHORITY, generate).split(b"\0")
    return stamping.Authority(stamping.read_key(key), stamping.read_certificate(certificate))


def _unit(call: Call, branch: Record | None) -> stamping.Unit:
    """How a certificate names the branch."""
    seller = seller_of(call, branch)
    place = (branch.key or branch.id) if branch else "main"
    address = seller.address
    return stamping.Unit(
        common_name=f"SANDBOX-{place}"[:64],
        serial_number=f"1-Invora|2-Sandbox|3-{branch.id if branch else call.org_id}",
        vat_number=seller.vat_number,
        organization=seller.name[:64],
        branch=place[:64],
        address=(address.city if address else "") or "Riyadh",
        category=_CATEGORY,
    )


def _present(branch: Record | None) -> str:
    return f"present/{branch.id if branch else ''}"


def _next(onboarding: str) -> str:
    return f"next/{onboarding}"


def _keep_key(call: Call, name: str, *parts: bytes) -> None:
    known = call.store.by_key(call.org_id, _KEYS, name)
    write = call.store.replace if known else call.store.insert
    write(call.org_id, _KEYS, Record(name, name, body=b"\0".join(parts)))


def _keep(call: Call, name: str, progress: Progress) -> None:
    known = call.store.by_key(call.org_id, _KIND, name)
    write = call.store.replace if known else call.store.insert
    write(call.org_id, _KIND, _record(name, progress))


def _record(name: str, progress: Progress) -> Record:
    return Record(name, name, state=progress.state, body=json.dumps(asdict(progress)).encode())


def _kept(record: Record) -> Progress:
    told = json.loads(record.body)
    told["steps"], told["issued"] = tuple(Step(**step) for step in told["steps"]), tuple(told["issued"])
    return Progress(**told)
