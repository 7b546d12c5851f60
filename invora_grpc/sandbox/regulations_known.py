"""The regulations that the sandbox knows, with what each demands. Data only.

ZATCA's is served. The two others have messages of their own in the schema, so they are listed, switched off.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

from invora_api.regulations.v2 import service_pb2 as pb
from invora_grpc.sandbox.sellers import REGULATION
from invora_grpc.sandbox.service import Fault, failed_precondition, not_found
from invora_grpc.values import build

PROFILE_URI: Final = "urn:invora:sandbox:zatca:e-invoicing"
"""The one rule set that documents are validated against."""
RULES_VERSION: Final = "3.4.8"
"""Of ZATCA's SDK, whose rules these are."""

_TEXT: Final = {"type": "string"}
CONFIG_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "environment": {
            "type": "string",
            "enum": [
                "ZATCA_ENVIRONMENT_PHASE1",
                "ZATCA_ENVIRONMENT_PHASE2_SANDBOX",
                "ZATCA_ENVIRONMENT_PHASE2_SIMULATION",
                "ZATCA_ENVIRONMENT_PHASE2_PRODUCTION",
            ],
        },
        "vatRegistrationNumber": {"type": "string", "pattern": "^3[0-9]{13}3$"},
        "buildingNumber": {"type": "string", "pattern": "^[0-9]{4}$"},
        "additionalStreet": _TEXT,
        "citySubdivision": _TEXT,
        "crn": {"type": "string", "pattern": "^[0-9]{10}$"},
        "autoReportSimplified": {"type": "boolean"},
        "autoClearStandard": {"type": "boolean"},
    },
}
"""JSON Schema of ZatcaConfig, by its JSON names."""
INPUT_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "otp": {"type": "string", "description": "One-time password from the authority's portal; 123456 here."},
        "environment": CONFIG_SCHEMA["properties"]["environment"],
    },
    "required": ["otp"],
}
"""JSON Schema of what an enrollment takes."""
_METADATA_SCHEMA: Final = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("status", "clearanceId", "invoiceHash", "zatcaReferenceId", "submittedAt"), _TEXT),
        **dict.fromkeys(("qrCode", "uuid", "invoiceCounterValue", "previousInvoiceHash"), _TEXT),
        "warnings": {"type": "array"},
        "errors": {"type": "array"},
    },
}
_ZATCA: Final = {
    "id": REGULATION,
    "display_name": "ZATCA (Fatoora)",
    "country_codes": ["SA"],
    "description": "E-invoicing of Saudi Arabia, phase 2: standard documents are cleared, simplified ones reported.",
    "enabled": True,
    "config_schema": CONFIG_SCHEMA,
    "submission_model": "PRE_CLEARANCE",
    "supported_document_types": [
        "INVOICE",
        "CREDIT_NOTE",
        "DEBIT_NOTE",
        "SELF_BILLED_INVOICE",
        "SELF_BILLED_CREDIT_NOTE",
    ],
    "authority_format": "UBL 2.1",
    "requires_format_transformation": True,
    "validation_profile_uris": [PROFILE_URI],
    "requires_signing": True,
    "signing_standard": "XAdES, ECDSA secp256k1",
    "requires_qr_code": True,
    "metadata_schema": _METADATA_SCHEMA,
    "environments": [
        {
            "id": "sandbox",
            "display_name": "The sandbox's own authority",
            "certificate_requirement": "ONBOARDING",
        }
    ],
}
_OTHERS: Final = (
    {"id": "egypt_eta", "display_name": "ETA (Egypt)", "country_codes": ["EG"]},
    {"id": "peppol", "display_name": "Peppol"},
)
_UNSERVED: Final = {"description": "The sandbox does not serve this regulation.", "enabled": False}
REGULATIONS: Final = MappingProxyType(
    {one["id"]: build(pb.Regulation, one) for one in (_ZATCA, *({**other, **_UNSERVED} for other in _OTHERS))}
)
"""Every regulation by its id."""
PROFILE: Final = pb.ValidationProfile(
    uri=PROFILE_URI,
    display_name="ZATCA e-invoicing",
    description="UBL 2.1 order, EN 16931 as ZATCA adapts it, and ZATCA's own rules.",
    regulation_id=REGULATION,
    rule_set_versions=[RULES_VERSION],
    is_default=True,
)


def regulation_of(id: str) -> pb.Regulation:
    """A regulation by its id. Raises NOT_FOUND."""
    if id not in REGULATIONS:
        raise not_found("regulation", id)
    return REGULATIONS[id]


def require_served(id: str) -> None:
    """Raises NOT_FOUND for a regulation that is unknown, FAILED_PRECONDITION for one that is switched off."""
    if not regulation_of(id).enabled:
        raise _switched_off(id)


def _switched_off(id: str) -> Fault:
    return failed_precondition(f"the sandbox does not serve the regulation {id!r}", "REGULATION_NOT_ENABLED")
