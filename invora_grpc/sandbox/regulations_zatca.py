"""ZATCA's own service: onboarding of a whole tenant, its state, and QR codes explained."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from google.protobuf.message import Message

from invora_api.kernel.decimal_pb2 import DecimalValue
from invora_api.regulations.zatca.v1 import models_pb2 as zatca_v1
from invora_api.regulations.zatca.v1 import service_pb2 as pb
from invora_grpc.errors import RequestError
from invora_grpc.sandbox import onboarding
from invora_grpc.sandbox.onboarding import TENANT, Progress, Step, is_onboarded, progress_of
from invora_grpc.sandbox.regulations import tenant_status
from invora_grpc.sandbox.sellers import branch_of
from invora_grpc.sandbox.service import Call, Registry, invalid, registry
from invora_grpc.values import from_decimal
from invora_grpc.zatca.document import RIYADH
from invora_grpc.zatca.qr import Qr

_SANDBOX: Final = "ZATCA_ENVIRONMENT_PHASE2_SANDBOX"


# QR codes


def _explain(call: Call, request: pb.ExplainQrCodeRequest) -> pb.ExplainQrCodeResponse:
    return pb.ExplainQrCodeResponse(items=[_explained(text) for text in request.input])


def _explained(text: str) -> pb.ZatcaQrExplanation:
    try:
        return pb.ZatcaQrExplanation(input=text, is_valid=True, details=_details(Qr.decode(text)))
    except (RequestError, ValueError, InvalidOperation):
        return pb.ZatcaQrExplanation(input=text)


def _details(qr: Qr) -> pb.ZatcaQrDetails:
    details = pb.ZatcaQrDetails(
        seller_name=qr.seller,
        vat_registration_number=qr.vat_number,
        total_with_vat=from_decimal(Decimal(qr.total), DecimalValue),
        vat_total=from_decimal(Decimal(qr.tax), DecimalValue),
        ecdsa_xml_hash_signature=qr.signature.encode(),
        ecdsa_public_key=qr.public_key,
        zatca_stamp=qr.certificate_signature,
    )
    moment = datetime.fromisoformat(qr.timestamp)
    details.timestamp.FromDatetime(moment if moment.tzinfo else moment.replace(tzinfo=RIYADH).astimezone(UTC))
    if qr.hash:
        details.xml_hash = qr.hash
    return details


# Onboarding


def _status(call: Call, request: pb.GetIntegrationStatusRequest) -> pb.GetIntegrationStatusResponse:
    kept, onboarded = progress_of(call, TENANT), is_onboarded(call, branch_of(call, ""))
    held = tenant_status(call, None)
    told = pb.GetIntegrationStatusResponse(
        onboarded=onboarded,
        environment=kept.environment if kept and kept.environment else _SANDBOX,
        details=pb.ZatcaIntegrationDetails(
            is_compliant=held.compliance_csid_issued,
            total_submitted=held.total_submitted,
            total_accepted=held.total_accepted,
            total_rejected=held.total_rejected,
        ),
    )
    for name in ("compliance_csid_expiry", "production_csid_expiry"):
        if held.HasField(name):
            getattr(told.details, name).CopyFrom(getattr(held, name))
    return told


def _onboard(call: Call, request: pb.InitiateOnboardingRequest) -> Iterator[pb.InitiateOnboardingResponse]:
    if not request.otp:
        raise invalid("otp", f"is required: the one-time password, {onboarding.OTP} in the sandbox")
    environment = zatca_v1.ZatcaEnvironment.Name(request.environment) if request.environment else _SANDBOX
    for step in onboarding.begin(call, None, request.otp, environment):
        yield _told(step)


def _progress(call: Call, request: pb.GetOnboardingProgressRequest) -> Message:
    """A tenant that was never asked to onboard is complete, and has no history."""
    kept = progress_of(call, TENANT)
    if kept is None:
        kept = Progress("ACTIVE")
    told = pb.GetOnboardingProgressResponse(
        completed=kept.state == "ACTIVE", history=[_told(step) for step in kept.steps]
    )
    if kept.steps:
        told.current_step, told.last_disposition = told.history[-1].step, told.history[-1].disposition
    return told


def _told(step: Step) -> pb.InitiateOnboardingResponse:
    told = pb.InitiateOnboardingResponse(
        step=f"ZATCA_ONBOARDING_STEP_{step.name}",
        disposition=f"ZATCA_DISPOSITION_{step.disposition}",
        request_id=step.request_id,
        message=step.message,
        is_final=step.is_final,
    )
    if step.code:
        told.errors.add(code=step.code, category="ONBOARDING", message=step.message)
    return told


REGISTRY: Final[Registry] = registry(
    "invora.regulations.zatca.v1.ZatcaRegulationService",
    ExplainQrCode=_explain,
    GetIntegrationStatus=_status,
    InitiateOnboarding=_onboard,
    GetOnboardingProgress=_progress,
)
