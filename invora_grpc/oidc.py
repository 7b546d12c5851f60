"""Access tokens as OpenID Connect has them, without I/O: what to ask an issuer, and what its answers mean.

This room fetches nothing, locks nothing, reads no clock and must not import grpc, protobuf or httpx;
`invora_grpc.issuer` does the fetching. Rules: OpenID Connect Discovery 1.0, section 4, RFC 6749, sections 4.4, 5 and
6, and RFC 9110, section 10.2.3. Secrets are wrapped before anything here can raise: tracebacks show local variables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

from invora_grpc.config import Secret, parse_url
from invora_grpc.errors import ConfigError, SignInError

__all__ = [
    "AccessToken",
    "Answer",
    "NoAnswer",
    "Verdict",
    "check_discovery",
    "discovery_url",
    "jitter",
    "parse_retry_after",
    "parse_token",
    "read_grant",
    "retry_pause",
    "timed",
    "token_form",
    "verdict",
]

DEFAULT_LIFETIME: Final = 43_200.0
"""Seconds that a token lives if the issuer does not say: the platform's 12 hours."""
REFRESH_MARGIN: Final = 300.0
"""Seconds before the end at which a long-lived token is renewed; a short-lived one at half its life."""
SPREAD: Final = 0.1
"""The part of its life by which a token is renewed earlier still, at most: a fleet that started at the same second
does not renew at the same second."""
MIN_PAUSE: Final = 0.1
MAX_PAUSE: Final = 0.5
"""Seconds between two tries at an issuer that is down for a moment."""
MAX_RETRY_AFTER: Final = 5.0
"""Seconds that an issuer may ask for between two tries; it is not asked again if it wants more."""
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
    retry_after: float | None = None
    """Seconds that the issuer wants to be left alone."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Why there is no HTTP answer."""

    problem: str
    transient: bool = False
    """Nothing was listening: nothing arrived there, and it may be different in a moment."""


def discovery_url(issuer: str) -> str:
    """Where the issuer publishes its configuration."""
    return f"{issuer.removesuffix('/')}/.well-known/openid-configuration"


def check_discovery(issuer: str, grant: str, answer: Answer, name: str = "token_endpoint") -> str:
    """An endpoint of a discovery answer. Raises SignInError unless everything about it is right.

    The document's issuer must be exactly ours (without our trailing slash), and the endpoint on its origin: a secret
    goes nowhere else.
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
    endpoint = document.get(name)
    if not isinstance(endpoint, str) or not _same_origin(endpoint, issuer):
        kind = name.removesuffix("_endpoint")
        raise bad(
            f"names {'an' if kind[:1] in 'aeiou' else 'a'} {kind} endpoint that is not on the issuer's own origin"
        )
    return endpoint


def offers(answer: Answer, name: str) -> bool:
    """Whether a discovery answer names such an endpoint at all."""
    return (_json_object(answer.body) or {}).get(name) is not None


def revocation_form(client_id: str, token: Secret, client_secret: Secret | None = None) -> Secret:
    """The body of a revocation request for a refresh token (RFC 7009, 2.1). Wrapped as a whole."""
    return _form(
        [("token_type_hint", "refresh_token"), ("client_id", client_id)], token=token, client_secret=client_secret
    )


def token_form(grant: str, client_id: str, **fields: str | Secret | None) -> Secret:
    """The body of a token request, `application/x-www-form-urlencoded`. Wrapped as a whole; None is left out."""
    return _form([("grant_type", grant), ("client_id", client_id)], **fields)


def _form(pairs: list[tuple[str, str]], **fields: str | Secret | None) -> Secret:
    given = [(name, value) for name, value in fields.items() if value is not None]
    from urllib.parse import urlencode

    return Secret(
        urlencode([*pairs, *((name, value.reveal() if isinstance(value, Secret) else value) for name, value in given)])
    )


def parse_token(issuer: str, grant: str, answer: Answer, now: float, fraction: float = 0.0) -> AccessToken:
    """The token of a token answer. Raises SignInError if it holds none.

    `now` is when it was asked for, in seconds, and `fraction` as in `timed`.
    """
    if answer.status != 200:
        raise refused(issuer, grant, answer)
    value, lifetime, refresh, problem = _read_token(answer.body)
    if value is None or problem:
        hint = "the issuer is no OpenID provider as expected: check its URL"
        raise SignInError(f"the token answer {problem}", issuer=issuer, grant=grant, status=answer.status, hint=hint)
    return timed(value, lifetime, now, fraction, refresh)


def jitter() -> float:
    """A random number from 0 to 1."""
    from random import random  # only a client that signs in needs it

    return random()


def timed(
    value: Secret, lifetime: float, now: float, fraction: float = 0.0, refresh: Secret | None = None
) -> AccessToken:
    """A token that lives `lifetime` seconds from `now`, when it was asked for.

    A long-lived token is due for renewal five minutes before its end, one of less than ten minutes at half-life; both
    up to a tenth of its life earlier, by `fraction`, a random number from 0 to 1. Only seconds since the request
    count: the issuer's wall clock may be wrong, and so may ours, hence the times inside of a JWT are not looked at.
    """
    ahead = max(lifetime - REFRESH_MARGIN, lifetime / 2) - SPREAD * lifetime * fraction
    return AccessToken(value, now + lifetime, now + ahead, refresh)


def parse_retry_after(text: str | None) -> float | None:
    """Seconds of a `Retry-After` header; None if there is none, or a date, which would need clocks that agree."""
    return float(text) if text is not None and re.fullmatch("[0-9]{1,9}", text) else None


def retry_pause(answer: Answer | NoAnswer, fraction: float) -> float | None:
    """Seconds until another try is worth it; None if it is not.

    It is if nothing was listening, and after HTTP 429 and 5xx, unless the issuer wants to be left alone for long.
    `fraction` is a random number from 0 to 1.
    """
    pause = MIN_PAUSE + (MAX_PAUSE - MIN_PAUSE) * fraction
    if isinstance(answer, NoAnswer):
        return pause if answer.transient else None
    wanted = answer.retry_after or 0.0
    overloaded = answer.status == 429 or answer.status >= 500
    return wanted + pause if overloaded and wanted <= MAX_RETRY_AFTER else None


def refused(issuer: str, grant: str, answer: Answer) -> SignInError:
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
    """As `read_grant`, of a body. Never raises: its locals are plain."""
    document = _json_object(body)
    return (None, 0.0, None, "is no JSON object") if document is None else read_grant(document)


def read_grant(document: Mapping[str, object]) -> tuple[Secret | None, float, Secret | None, str]:
    """Token, lifetime in seconds, refresh token, and what is wrong (RFC 6749, 5.1). Never raises: its locals are plain.

    The lifetime is the platform's default if the document does not say.
    """
    kind, lifetime = document.get("token_type"), document.get("expires_in", DEFAULT_LIFETIME)
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return None, 0.0, None, "is for no bearer token"
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not 0 < lifetime <= _MAX_LIFETIME:
        return None, 0.0, None, "has a bad expires_in"
    value, refresh = _token(document.get("access_token")), _token(document.get("refresh_token"))
    if value is None:
        return None, 0.0, None, "has no usable access_token"
    if refresh is None and document.get("refresh_token") is not None:
        return None, 0.0, None, "has a bad refresh_token"
    return value, float(lifetime), refresh, ""


def _token(value: object) -> Secret | None:
    return Secret(value) if isinstance(value, str) and re.fullmatch(r"[\x21-\x7e]+", value) else None


def _json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in `body`, or None. Hostile nesting and numbers count as no JSON."""
    import json

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
