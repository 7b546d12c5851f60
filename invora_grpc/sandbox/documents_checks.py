"""What is wrong with documents/v2 content, told as the surface tells it: ValidationErrors with paths of the content.

Rules are `zatca.checking`'s; the room translates, and says which findings are the caller's. What the platform itself
adds when it freezes a document (counter, previous hash, QR code, stamp) is nobody's error. It writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import grpc

from invora_api.documents.v2 import models_pb2 as documents_v2
from invora_api.documents.v2 import service_pb2 as service_v2
from invora_api.documents.v2.content_pb2 import ChangeBase, DocumentContent
from invora_grpc.sandbox import ubl_content
from invora_grpc.sandbox.documents_forms import as_invoice, body_of, calculated, kind_of, path_in
from invora_grpc.sandbox.service import Call, Fault, Wrong, first_of, invalid, invalid_fields, shortened
from invora_grpc.sandbox.ubl_content import UnreadableContent
from invora_grpc.zatca.checking import check
from invora_grpc.zatca.rules_single import SINGLE_RULE

PROFILE: Final = "reporting:1.0"
"""ZATCA's business process, BT-23."""
_RULES_PROFILES: Final = ("", "zatca", PROFILE)
_MOST_ERRORS: Final = 20
"""In the details of a status, which has little room."""
_SEVERITIES: Final = {
    "error": documents_v2.VALIDATION_SEVERITY_ERROR,
    "warning": documents_v2.VALIDATION_SEVERITY_WARNING,
}


@dataclass(frozen=True, slots=True)
class Given:
    """A document in both of its forms."""

    content: DocumentContent
    """As its author typed it."""
    xml: str
    """As UBL XML: an invoice if ZATCA is concerned with it."""


# Forms


def given_in(changes: ChangeBase, path: str, flags: str = "") -> Given:
    """Both forms of what a request says. INVALID_ARGUMENT for what has only one."""
    chosen = changes.WhichOneof("input")
    if chosen is None:
        raise invalid(path, "is required: content or xml_content")
    with unreadable(f"{path}.{chosen}"):
        if chosen == "content":
            return typed(changes.content, flags)
        content = ubl_content.read(changes.xml_content)
        if kind_of(content) is not None and content.WhichOneof("type") != "invoice":
            return Given(content, ubl_content.write(as_invoice(content, flags)))
        return Given(content, changes.xml_content)


def typed(content: DocumentContent, flags: str = "") -> Given:
    """Both forms of typed content. Raises UnreadableContent."""
    return Given(content, ubl_content.write(as_invoice(content, flags)))


@contextmanager
def unreadable(path: str) -> Iterator[None]:
    """Turn UnreadableContent into INVALID_ARGUMENT for the field of the request that holds the content."""
    try:
        yield
    except UnreadableContent as error:
        if path.endswith(".xml_content"):
            wrong: Wrong = [(path, f"{place}: {why}" if place else why) for place, why in error.wrong]
        else:
            wrong = [(f"{path}.{place}".rstrip("."), why) for place, why in error.wrong]
        raise invalid_fields(wrong) from error


# Checks


def with_numbers(given: Given, number: str) -> Given:
    """The document with what the platform gives where its author does not: ID and UUID."""
    kind = kind_of(given.content)
    body = body_of(given.content)
    if kind is None or (body.id.value and body.uuid.value):
        return given
    content = DocumentContent.FromString(given.content.SerializeToString())
    body = body_of(content)
    body.id.value = body.id.value or number
    body.uuid.value = body.uuid.value or str(uuid4())
    return typed(content, _flags_in(given))


def _flags_in(given: Given) -> str:
    """The flags that the XML form has: those of its author, or those that were found out."""
    return str(ubl_content.read(given.xml).invoice.invoice_type_code.name)


def errors_of(call: Call, given: Given) -> list[documents_v2.ValidationError]:
    """Errors and warnings of a document, by ZATCA's rules; none for document types that ZATCA is not concerned with."""
    if kind_of(given.content) is None:
        return []
    numbered = with_numbers(given, "DRAFT")
    findings = check(ubl_content.encoded(numbered.xml), now=call.now)
    errors = [
        documents_v2.ValidationError(
            field=path_in(given.content, ubl_content.path_of(finding.place)),
            code=finding.rule,
            message=finding.text,
            severity=_SEVERITIES[finding.severity],
        )
        for finding in findings
        if not finding.assigned
    ]
    return errors if any(error.code == SINGLE_RULE for error in errors) else [*errors, *_rivals(given.content)]


def _rivals(content: DocumentContent) -> Iterator[documents_v2.ValidationError]:
    """References with a UUID, on which ZATCA's rules will stop as soon as the platform has added the counter's."""
    for index, reference in enumerate(body_of(content).additional_document_reference):
        if reference.HasField("uuid") and reference.id.value.strip() != "ICV":
            yield documents_v2.ValidationError(
                field=f"{content.WhichOneof('type')}.additional_document_reference[{index}].uuid",
                code=SINGLE_RULE,
                message="ZATCA's rules stop at a UUID beside the counter's, which freezing adds: leave it out",
                severity=documents_v2.VALIDATION_SEVERITY_ERROR,
            )


def is_valid(errors: Iterable[documents_v2.ValidationError]) -> bool:
    """Whether nothing worse than a warning is among them."""
    return all(error.severity != documents_v2.VALIDATION_SEVERITY_ERROR for error in errors)


def refuse_errors(errors: list[documents_v2.ValidationError], code: grpc.StatusCode) -> None:
    """Raises `code` with the errors, not the warnings, in its details; as many as a status has room for."""
    wrong = [error for error in errors if error.severity == documents_v2.VALIDATION_SEVERITY_ERROR]
    if wrong:
        first = first_of([(error.field, f"{error.message} ({error.code})") for error in wrong])
        raise Fault(
            code,
            f"the document breaks rules of ZATCA: {first}",
            reason="INVALID_DOCUMENT",
            metadata={"errors": str(len(wrong)), "rules": ", ".join(dict.fromkeys(error.code for error in wrong))},
            details=wrong[:_MOST_ERRORS],
        )


def check_profile(request: Any) -> None:
    """INVALID_ARGUMENT for a validation profile that the sandbox does not have."""
    if request.profile_id not in _RULES_PROFILES:
        known = "leave it out for ZATCA's rules, or say 'zatca'"
        raise invalid("profile_id", f"there is no validation profile {shortened(request.profile_id)!r}: {known}")


# Fixes


def fixed(call: Call, given: Given) -> tuple[DocumentContent, list[service_v2.FixDescription]]:
    """Content with the errors mended that need no decision of a person, and which these were.

    The business process, the currency of tax and the sums can be mended; sums only where they can be calculated.
    """
    content = DocumentContent.FromString(given.content.SerializeToString())
    if kind_of(content) is None:
        return content, []
    body, done = body_of(content), []
    for name, value in (("profile_id", PROFILE), ("tax_currency_code", "SAR")):
        if getattr(body, name).value != value:
            getattr(body, name).value = value
            done.append(f"set {name} to {value}")
    with suppress(UnreadableContent):
        sums = calculated(content).content
        if sums != content:
            content = sums
            done.append("calculated the sums from lines, allowances and rates")
    left = {(error.code, error.field) for error in errors_of(call, typed(content, _flags_in(given)))}
    mended = [error for error in errors_of(call, given) if (error.code, error.field) not in left]
    return content, [
        service_v2.FixDescription(code=error.code, error_description=error.message, fix_description="; ".join(done))
        for error in mended
    ]
