"""Enrollment of single branches: RegulationEnrollmentService, over the steps of `onboarding`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from invora_api.regulations.v2 import enrollment_service_pb2 as pb
from invora_api.regulations.zatca.v1 import models_pb2 as zatca_v1
from invora_grpc.sandbox import onboarding
from invora_grpc.sandbox.model import Record
from invora_grpc.sandbox.onboarding import Progress, Step, is_onboarded, name_of, progress_of
from invora_grpc.sandbox.regulations_known import INPUT_SCHEMA, require_served
from invora_grpc.sandbox.sellers import branch_of
from invora_grpc.sandbox.service import Call, Registry, Wrong, echo, expected, invalid, not_found, refuse, registry


def _begin(call: Call, request: pb.BeginEnrollmentRequest) -> Iterator[pb.BeginEnrollmentResponse]:
    branch, (otp, environment) = _branch(call, request), _input(request)
    for step in onboarding.begin(call, branch, otp, environment):
        yield pb.BeginEnrollmentResponse(step=_told(step))


def _resume(call: Call, request: pb.ResumeEnrollmentRequest) -> Iterator[pb.ResumeEnrollmentResponse]:
    branch, (otp, _) = _branch(call, request), _input(request)
    for step in onboarding.resume(call, branch, otp):
        yield pb.ResumeEnrollmentResponse(step=_told(step))


def _state(call: Call, request: pb.GetEnrollmentStateRequest) -> pb.GetEnrollmentStateResponse:
    """A branch without an enrollment of its own is as far as its tenant."""
    branch = _branch(call, request)
    own = progress_of(call, name_of(branch))
    if own is None:
        own = progress_of(call, onboarding.TENANT) or Progress(
            "ACTIVE" if is_onboarded(call, branch) else "NOT_STARTED"
        )
    told = pb.GetEnrollmentStateResponse(state=f"REGULATION_ENROLLMENT_STATE_{own.state}")
    if own.steps:
        last = own.steps[-1]
        told.last_step_name = last.name
        told.last_step_at.FromMilliseconds(round(last.at * 1000))
        told.details.update({"disposition": last.disposition, "message": last.message, "requestId": last.request_id})
    if own.environment:
        told.details.update({"environment": own.environment})
    return told


def _input_schema(call: Call, request: pb.GetInputSchemaRequest) -> pb.GetInputSchemaResponse:
    require_served(request.regulation_id)
    told = pb.GetInputSchemaResponse()
    told.schema.update(INPUT_SCHEMA)
    return told


def _branch(call: Call, request: Any) -> Record:
    require_served(request.regulation_id)
    if not request.branch_id:
        raise invalid("branch_id", "name a branch, by its key")
    found = branch_of(call, request.branch_id)
    if found is None:
        raise not_found("branch", request.branch_id)
    return found


def _input(request: Any) -> tuple[str, str]:
    """One-time password ("" if there is none) and environment of a config. Raises INVALID_ARGUMENT."""
    config, wrong = MessageToDict(request.config), Wrong()
    otp = config.pop("otp", "")
    environment = config.pop("environment", "ZATCA_ENVIRONMENT_PHASE2_SANDBOX")
    expected(wrong, isinstance(otp, str), "config.otp", "must be text")
    known = environment in zatca_v1.ZatcaEnvironment.keys()[1:]
    expected(wrong, known, "config.environment", "must be a value of ZatcaEnvironment by its name")
    for name in config:
        wrong.append((f"config.{name}", f"{echo(name)} is no input; GetInputSchema tells what is"))
    refuse(wrong)
    return otp, environment


def _told(step: Step) -> pb.EnrollmentStep:
    failed = step.disposition in ("REJECTED", "ERROR")
    return pb.EnrollmentStep(
        step_name=step.name,
        disposition=f"ENROLLMENT_DISPOSITION_{step.disposition}",
        message=step.message,
        is_final=step.is_final,
        errors=[f"{step.code}: {step.message}"] if failed else [],
        request_id=step.request_id,
    )


REGISTRY: Final[Registry] = registry(
    "invora.regulations.v2.RegulationEnrollmentService",
    BeginEnrollment=_begin,
    ResumeEnrollment=_resume,
    GetEnrollmentState=_state,
    GetInputSchema=_input_schema,
)
