"""JWT signatures: an RS256 token of the issuer that carries this very body.

This room takes the algorithm from its own list and the key from the issuer's published set, never from the token.
It fetches nothing itself. joserfc checks the signature; it is loaded with the first token.

What is known from the guide is RS256 and the issuer's JWKS. That the token is a compact JWS whose claim `data` is the
body as text, with the issuer in `iss`, is taken from Lago, whose billing events these are. A token without `data`
proves nothing about a body and is refused. Rules: RFC 7515 for the token, RFC 7519, section 4.1, for the claims.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, Final

from invora_grpc.errors import shown
from invora_grpc.webhooks.errors import BadSignature, TooNew, TooOld, UnknownAlgorithm
from invora_grpc.webhooks.events import NotStrict, strict_json

if TYPE_CHECKING:
    from joserfc.jws import CompactSignature, JWSRegistry

    from invora_grpc.webhooks.jwks import Jwks

__all__ = ["check_token"]

ALGORITHM: Final = "RS256"
_MAX_HEADER: Final = 4096
_MAX_SIGNATURE: Final = 4096
_GROWTH: Final = 9
"""A body of n bytes is at most 6 n as escaped JSON text, and that 8 n as base64; the other claims take the rest."""
_SPARE: Final = 65_536
_HINT: Final = "is the endpoint registered for JWT, and the issuer the right one?"


def check_token(token: str, body: bytes, jwks: Jwks, audience: str | None, now: float, leeway: float) -> None:
    """Raises WebhookError unless the token is the issuer's, of this time, and for exactly this body.

    `now` in seconds since the epoch; `leeway`: seconds that clocks may differ.
    """
    claims = _verified(token, len(body), jwks)
    if claims.get("iss") != jwks.iss:
        raise BadSignature(f"the token is of another issuer than {jwks.iss}", "give Jwks the `iss` of the tokens")
    data = claims.get("data")
    if not isinstance(data, str) or not hmac.compare_digest(data.encode("utf-8", "surrogatepass"), body):
        raise BadSignature("the token is not for this body", "verify the raw bytes as they came in")
    _check_times(claims, now, leeway)
    _check_audience(claims.get("aud"), audience)


def _verified(token: str, body_size: int, jwks: Jwks) -> dict[str, Any]:
    """The claims of a token that the issuer signed."""
    from joserfc import jws

    registry = _registry(body_size * _GROWTH + _SPARE)
    parts = _parsed(token, registry)
    header = parts.headers() if parts is not None else None
    if parts is None or not isinstance(header, dict):
        raise BadSignature("the token cannot be read", _HINT)
    if header.get("alg") != ALGORITHM:
        raise UnknownAlgorithm(
            f"the token is signed with {shown(header.get('alg'), 20)}", f"only {ALGORITHM} is accepted"
        )
    if "crit" in header or "b64" in header:
        raise BadSignature("the token needs an extension of RFC 7515 that is not supported", _HINT)
    key = jwks.key(header.get("kid"))
    try:
        valid = jws.validate_compact(parts, key, registry=registry)
    except Exception:  # whatever a stranger's header comes to
        valid = False
    if not valid:
        raise BadSignature("the token's signature does not fit the issuer's key", _HINT)
    try:
        claims = strict_json(parts.payload)
    except NotStrict as error:
        raise BadSignature(f"the token's content {error}", _HINT) from None
    if not isinstance(claims, dict):
        raise BadSignature("the token's content is no JSON object", _HINT)
    return claims


def _parsed(token: str, registry: JWSRegistry) -> CompactSignature | None:
    from joserfc import jws

    try:
        return jws.extract_compact(token.encode("ascii"), registry=registry)
    except Exception:  # whatever reading a stranger's text comes to
        return None


def _registry(max_payload: int) -> JWSRegistry:
    from joserfc.jws import JWSRegistry

    registry = JWSRegistry(algorithms=[ALGORITHM], strict_check_header=False)
    registry.max_header_length, registry.max_signature_length = _MAX_HEADER, _MAX_SIGNATURE
    registry.max_payload_length = max_payload
    return registry


def _check_times(claims: dict[str, Any], now: float, leeway: float) -> None:
    """`exp`, `nbf` and `iat`, where they are there."""
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadSignature(f"the token's {name} is no number", _HINT)
        if name == "exp" and now - leeway >= value:
            raise TooOld("the token has expired", "check this clock; the platform signs each try anew")
        if name != "exp" and now + leeway < value:
            raise TooNew(f"the token's {name} is in the future", "check this clock")


def _check_audience(given: object, audience: str | None) -> None:
    """A token that names audiences is for these only; one that names none is for anybody (RFC 7519, 4.1.3)."""
    if given is None and audience is None:
        return
    names = given if isinstance(given, list) else [given]
    if audience is None or audience not in names:
        told = shown(given) if given is not None else "nobody in particular"
        raise BadSignature(f"the token is for {told}", "if that is you, give it as `audience`")
