"""Access tokens as OpenID Connect has them, without I/O: what to ask an issuer, and what its answers mean.

The same for threads and asyncio. This room fetches nothing, locks nothing and must not import grpc, protobuf or httpx;
`invora_grpc.auth` does the fetching. Rules: OpenID Connect Discovery 1.0, section 4, and RFC 6749, sections 4.4, 5 and
6. Secrets are wrapped before anything here can raise: tracebacks show local variables.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final
from urllib.parse import urlencode

from invora_grpc.config import Secret, parse_url
from invora_grpc.errors import ConfigError, SignInError

__all__ = [
    "AccessToken",
    "Answer",
    "Verdict",
    "check_discovery",
    "discovery_url",
    "parse_token",
    "token_form",
    "verdict",
]

DEFAULT_LIFETIME: Final = 43_200.0
"""Seconds that a token lives if the issuer does not say: the platform's 12 hours."""
REFRESH_MARGIN: Final = 300.0
"""Seconds before the end at which a long-lived token is renewed; a short-lived one at half its life."""
_MAX_LIFETIME: Final = 10 * 366 * 86_400


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token and its times, in seconds of the clock that it was made with."""

    value: Secret
    expires_at: float
    refresh_at: float
    """From here on it is renewed while it is still good."""
    refresh_token: Secret | None = None
    """The next refresh token, where the grant has them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer of the issuer. Its body may hold tokens and hence is in no repr."""

    status: int
    body: bytes = field(repr=False)


def discovery_url(issuer: str) -> str:
    """Where the issuer publishes its configuration."""
    return f"{issuer.removesuffix('/')}/.well-known/openid-configuration"


def check_discovery(issuer: str, grant: str, answer: Answer) -> str:
    """The token endpoint of a discovery answer. Raises SignInError unless everything about it is right.

    The document's issuer must be exactly ours (without our trailing slash), and the token endpoint on its origin: a
    secret goes nowhere else.
    """

    def bad(problem: str, hint: str = "check the issuer's URL") -> SignInError:
        return SignInError(f"discovery {problem}", issuer=issuer, grant=grant, status=answer.status, hint=hint)

    if 300 <= answer.status < 400:
        raise bad("answers with a redirect", "redirects are not followed: set the issuer to its final URL")
    if answer.status != 200:
        raise bad("failed")
    document = _json_object(answer.body)
    if document is None:
        raise bad("is no JSON object")
    if document.get("issuer") != issuer.removesuffix("/"):
        raise bad("names another issuer", "set the issuer to exactly the URL that the provider calls itself")
    endpoint = document.get("token_endpoint")
    if not isinstance(endpoint, str) or not _same_origin(endpoint, issuer):
        raise bad("names a token endpoint that is not on the issuer's own origin")
    return endpoint


def token_form(grant: str, client_id: str, **fields: str | Secret | None) -> Secret:
    """The body of a token request, `application/x-www-form-urlencoded`. Wrapped as a whole; None is left out."""
    pairs = [("grant_type", grant), ("client_id", client_id)]
    given = [(name, value) for name, value in fields.items() if value is not None]
    return Secret(
        urlencode([*pairs, *((name, value.reveal() if isinstance(value, Secret) else value) for name, value in given)])
    )


def parse_token(issuer: str, grant: str, answer: Answer, now: float) -> AccessToken:
    """The token of a token answer; `now` is when it was asked for, in seconds. Raises SignInError if it holds none.

    A long-lived token is due for renewal five minutes before its end, one of less than ten minutes at half-life.
    """
    if answer.status != 200:
        raise _refused(issuer, grant, answer)
    value, lifetime, refresh, problem = _read_token(answer.body)
    if value is None or problem:
        hint = "the issuer is no OpenID provider as expected: check its URL"
        raise SignInError(f"the token answer {problem}", issuer=issuer, grant=grant, status=answer.status, hint=hint)
    ahead = now + max(lifetime - REFRESH_MARGIN, lifetime / 2)
    return AccessToken(value, now + lifetime, ahead, refresh)


def _refused(issuer: str, grant: str, answer: Answer) -> SignInError:
    """The error of a refusal. Only a plain error code is quoted: a description could echo the request."""
    code = (_json_object(answer.body) or {}).get("error")
    code = code if isinstance(code, str) and re.fullmatch("[a-z_]{1,40}", code) else None
    hint = {
        "invalid_client": "check the client id and secret, and that they belong to this environment",
        "unauthorized_client": "allow this grant for the client",
        "invalid_grant": "the refresh token is used up or expired: sign in again",
        "invalid_scope": "ask for a scope that the client may have",
    }.get(code or "", "try again later" if answer.status >= 500 or answer.status == 429 else "check the issuer's URL")
    return SignInError("refused", issuer=issuer, grant=grant, status=answer.status, oauth_error=code, hint=hint)


def _read_token(body: bytes) -> tuple[Secret | None, float, Secret | None, str]:
    """Token, lifetime in seconds, refresh token, and what is wrong. Never raises: its locals are plain."""
    document = _json_object(body)
    if document is None:
        return None, 0.0, None, "is no JSON object"
    kind, lifetime = document.get("token_type"), document.get("expires_in", DEFAULT_LIFETIME)
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return None, 0.0, None, "is for no bearer token"
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not 0 < lifetime <= _MAX_LIFETIME:
        return None, 0.0, None, "has a bad expires_in"
    if not _is_token(document.get("access_token")):
        return None, 0.0, None, "has no usable access_token"
    refresh = document.get("refresh_token")
    if refresh is not None and not _is_token(refresh):
        return None, 0.0, None, "has a bad refresh_token"
    return Secret(document["access_token"]), float(lifetime), refresh and Secret(refresh), ""


def _is_token(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\x21-\x7e]+", value) is not None


def _json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in `body`, or None. Hostile nesting and numbers count as no JSON."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _same_origin(endpoint: str, issuer: str) -> bool:
    try:
        return parse_url("token_endpoint", endpoint) == parse_url("issuer", issuer)
    except ConfigError:
        return False


class Verdict(Enum):
    """What to do with the current token."""

    USE = auto()
    AHEAD = auto()
    """Good, but due for renewal: one caller renews, the others go on with it."""
    FETCH = auto()


def verdict(current: AccessToken | None, now: float, force: bool, rejected: Secret | None) -> Verdict:
    """Whether `current` will do at `now`; `force` and `rejected` as in `TokenSource.token`."""
    if current is None or now >= current.expires_at:
        return Verdict.FETCH
    if force and (rejected is None or rejected == current.value):
        return Verdict.FETCH
    return Verdict.AHEAD if now >= current.refresh_at else Verdict.USE
