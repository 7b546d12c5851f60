"""Bodies and tokens as the platform sends them, for the tests of every webhook room."""

from __future__ import annotations

import json
import traceback
from typing import Any

from joserfc import jws
from joserfc.jwk import RSAKey

from invora_grpc.webhooks import sign

SECRET = "wh" + "-s3cret-ключ"
NOW = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""
ISSUER = "https://auth.example"


def body_of(**changes: object) -> bytes:
    """An `invoice.created` event of NOW; a change of None leaves the member out."""
    document = {
        "webhookType": "invoice.created",
        "createdAt": "2026-01-01T00:00:00Z",
        "objectType": "invoice",
        "invoice": {"id": "inv-1", "number": "INV-1", "totalAmountCents": {"units": "1150", "nanos": 250_000_000}},
        **changes,
    }
    present = {name: value for name, value in document.items() if value is not None}
    return json.dumps(present, ensure_ascii=False).encode()


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """The headers of a delivery for an HMAC endpoint."""
    return {"X-Invora-Signature": sign(body, secret)}


def token_of(body: bytes, key: RSAKey, header: dict[str, Any] | None = None, **changes: object) -> str:
    """The signature of a delivery for a JWT endpoint; a change of None leaves the claim out."""
    claims = {"data": body.decode(), "iss": ISSUER, **changes}
    return token_over({name: value for name, value in claims.items() if value is not None}, key, header)


def token_over(claims: object, key: RSAKey, header: dict[str, Any] | None = None) -> str:
    """A signed token over whatever JSON this is."""
    kid = {"kid": key.kid} if key.kid else {}
    registry = jws.JWSRegistry(algorithms=["RS256", "HS256", "PS256", "none"], strict_check_header=False)
    content = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return jws.serialize_compact({"alg": "RS256", **kid, **(header or {})}, content, key, registry=registry)


def text_with_locals(error: BaseException) -> str:
    """All that a traceback with local variables shows, below the test's own frame."""
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
