"""The sandbox's gate: whether one call may be answered at all, decided before any handler runs.

Sign-in, the caller's organization, the tenant that the call acts in, the scope: in that order, and the first refusal is
the answer. This room reads organizations and clients and writes nothing; it never looks at a request's body, and no
refusal repeats a token or tells whether somebody else's organization exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import grpc

from invora_grpc.catalog import Method
from invora_grpc.sandbox.idp import Caller, Deactivated, InvalidToken, verify_token
from invora_grpc.sandbox.model import Organization, UnknownOrganization
from invora_grpc.sandbox.service import Fault, invalid
from invora_grpc.sandbox.store import Store

OWNER: Final = "owner"
ACCOUNTANT: Final = "accountant"
VIEWER: Final = "viewer"
IMPERSONATOR: Final = "impersonator"
"""Carried by impersonation tokens only: grants nothing but ending the impersonation."""

TARGET_HEADER: Final = "x-target-org-id"
ADMIN_SCOPE: Final = "Invora.Admin.Impersonate"

_END_IMPERSONATION: Final = "/invora.identity.v2.ImpersonationService/EndImpersonation"

Metadata = Sequence[tuple[str, str | bytes]]

_READING_VERBS = ("Get", "List", "Calculate", "Check", "Download", "Explain", "Export", "Fetch", "Preview", "Validate")
_READING_NOUNS = frozenset(
    {
        *("ApiKeys", "AppliedCoupons", "BillingEntityTaxes", "CustomerInvoices", "GrossRevenues"),
        *("InvoiceCollections", "InvoiceCreditNotes", "InvoicedUsages", "Mrrs", "OverdueBalances", "PaymentMethods"),
        *("Plan", "SubscriptionAlert", "SubscriptionAlerts", "SubscriptionEntitlement", "SubscriptionEntitlements"),
        *("WalletAlert", "WalletAlerts", "Webhook", "Webhooks"),
    }
)


def reads_only(scope: str) -> bool:
    """Whether this scope permits reading and nothing else, as far as its last word tells."""
    words = scope.split(".")
    word = words[-2] if words[-1] == "Stream" and len(words) > 1 else words[-1]
    return word in _READING_NOUNS or any(_begins(word, verb) for verb in _READING_VERBS)


def _begins(word: str, verb: str) -> bool:
    rest = word.removeprefix(verb)
    return rest != word and not rest[:1].islower()


def grants(role: str, scope: str) -> bool:
    """Whether a role holds a scope."""
    if role == ACCOUNTANT:
        return reads_only(scope) or not scope.startswith(("Invora.Identity.", "Invora.Admin."))
    return role == OWNER or (role == VIEWER and reads_only(scope)) or (role == IMPERSONATOR and scope == ADMIN_SCOPE)


def admit(store: Store, issuer: str, method: Method, metadata: Metadata) -> tuple[Caller, str]:
    """Who calls, and the organization that the call acts in. Raises the Fault that answers the call instead."""
    caller = _signed_in(store, issuer, method, metadata)
    home = _organization(store, caller.org_id)
    if home is None:
        raise _unauthenticated("INVALID_TOKEN", "its organization is gone")
    if not (caller.impersonator and method.path == _END_IMPERSONATION):
        _refuse_suspended(home)
    org_id = _tenant(store, caller, metadata)
    roles = _roles(store, caller, org_id)
    if not any(grants(role, method.scope) for role in roles):
        raise _out_of_scope(method, roles)
    return caller, org_id


def _signed_in(store: Store, issuer: str, method: Method, metadata: Metadata) -> Caller:
    found = _values(metadata, "authorization")
    scheme, _, bearer = found[0].strip().partition(" ") if found else ("", "", "")
    if scheme.lower() != "bearer" or not bearer.strip():
        raise _unauthenticated("MISSING_TOKEN", "the call has no bearer token")
    if len(found) > 1:
        raise _unauthenticated("INVALID_TOKEN", "the call has more than one authorization")
    try:
        caller = verify_token(store, issuer, bearer.strip())
    except Deactivated as error:
        if method.path != _END_IMPERSONATION or not _ended_by_suspension(store, error.caller):
            raise _unauthenticated("INVALID_TOKEN", f"the access token is refused ({error.reason})") from None
        caller = error.caller
    except InvalidToken as error:
        if error.reason == "expired":
            raise _unauthenticated("TOKEN_EXPIRED", "the access token has expired") from None
        raise _unauthenticated("INVALID_TOKEN", f"the access token is refused ({error.reason})") from None
    if caller.impersonator:
        actor = store.client(caller.impersonator)
        if actor is None or not actor.active:
            raise _unauthenticated("INVALID_TOKEN", "the access token's impersonator may no longer sign in")
    return caller


def _ended_by_suspension(store: Store, caller: Caller) -> bool:
    home = _organization(store, caller.org_id)
    return bool(caller.impersonator) and home is not None and home.state == "suspended"


def _unauthenticated(reason: str, what: str) -> Fault:
    way_out = "get a token at the issuer's /oauth/v2/token and send it as 'authorization: Bearer TOKEN'"
    return Fault(grpc.StatusCode.UNAUTHENTICATED, f"{what}; {way_out}", reason=reason)


def _tenant(store: Store, caller: Caller, metadata: Metadata) -> str:
    """The organization that the call acts in: the caller's own, or the one it targets and may act in."""
    targets = _values(metadata, TARGET_HEADER)
    if not targets:
        return caller.tenant
    if len(targets) > 1 or not targets[0].strip():
        raise invalid(TARGET_HEADER, "send this header once, with one organization id")
    target = targets[0].strip()
    if target == caller.tenant:
        return target
    organization = _organization(store, target)
    if (
        organization is None
        or caller.impersonator
        or organization.parent_org_id != caller.org_id
        or organization.state == "destroying"
        or not _roles(store, caller, target)
    ):
        raise Fault(
            grpc.StatusCode.PERMISSION_DENIED,
            f"this caller may not act in the organization that {TARGET_HEADER} names; leave the header out to act in "
            "its own, or name a connected business of its own in which it has a role",
            reason="TARGET_DENIED",
        )
    _refuse_suspended(organization)
    return target


def _refuse_suspended(organization: Organization) -> None:
    if organization.state == "suspended":
        raise Fault(
            grpc.StatusCode.PERMISSION_DENIED,
            "the organization is suspended; its platform can reactivate it with ReactivateConnectedBusiness",
            reason="ORGANIZATION_SUSPENDED",
            metadata={"organization": organization.org_id},
        )


def _roles(store: Store, caller: Caller, org_id: str) -> tuple[str, ...]:
    """The caller's roles in an organization: at home those of its token, elsewhere those that it is granted now.

    A token tells the roles at home only: with every connected business in it, it would outgrow a call's metadata.
    """
    if org_id == caller.tenant:
        return tuple(role for role, orgs in caller.roles.items() if org_id in orgs)
    client = None if caller.impersonator else store.client(caller.client_id)
    return tuple(role for role, orgs in client.roles.items() if org_id in orgs) if client else ()


def _out_of_scope(method: Method, roles: Iterable[str]) -> Fault:
    held = ", ".join(sorted(roles)) or "none"
    return Fault(
        grpc.StatusCode.PERMISSION_DENIED,
        f"{method.full_name} needs the scope {method.scope}, which the caller's roles in this organization ({held}) "
        "do not grant",
        reason="SCOPE_MISSING",
        metadata={"scope": method.scope, "method": method.full_name},
    )


def _organization(store: Store, org_id: str) -> Organization | None:
    try:
        return store.organization(org_id)
    except UnknownOrganization:
        return None


def _values(metadata: Metadata, name: str) -> list[str]:
    return [value for key, value in metadata if key == name and isinstance(value, str)]
