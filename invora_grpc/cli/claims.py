"""What an access token says of its bearer, without showing it.

The claims are read, not verified: that is the gateway's business, and nothing here is decided by them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from invora_grpc.config import Secret

__all__ = ["Identity", "identity_of"]

_TENANT: Final = "urn:zitadel:iam:user:resourceowner:id"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token is for. What it does not say is None or empty."""

    subject: str | None
    organization: str | None
    """The home organization."""
    tenant: str | None
    """The organization that calls are scoped to."""
    roles: Mapping[str, tuple[str, ...]]
    """Role → organizations that it is granted in."""
    scopes: tuple[str, ...]
    impersonator: str | None
    client: str | None
    issued_at: float | None
    expires_at: float | None
    """Seconds since the epoch."""


def identity_of(token: Secret) -> Identity | None:
    """What the token says; None if it is no JWT. Claims of an unexpected type count as absent."""
    claims = _claims(token)
    if claims is None:
        return None
    roles, act = claims.get("roles"), claims.get("act")
    return Identity(
        subject=_text(claims.get("sub")),
        organization=_text(claims.get("org_id")),
        tenant=_text(claims.get(_TENANT)),
        roles={str(role): _texts(where) for role, where in roles.items()} if isinstance(roles, Mapping) else {},
        scopes=_texts(claims.get("scope") or claims.get("scopes")),
        impersonator=_text(act.get("sub")) if isinstance(act, Mapping) else None,
        client=_text(claims.get("client_id") or claims.get("azp")),
        issued_at=_seconds(claims.get("iat")),
        expires_at=_seconds(claims.get("exp")),
    )


def _claims(token: Secret) -> Mapping[str, Any] | None:
    """The claims of a JWT (RFC 7519, section 7.2). Never raises: its locals are plain."""
    parts = token.reveal().split(".")
    if len(parts) != 3:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, Mapping):  # a Zitadel's roles: organization id → its domain
        return tuple(str(each) for each in value)
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e11 else None
