"""The signature header, and HMAC-SHA256 over the raw body.

This room compares bytes: it does not parse the body and must not know about tokens. Rules: the platform's webhook
guide, RFC 2104. The guide does not say how the digest is written, so the two usual forms are accepted, each exactly:
64 lower-case hex digits, and 44 characters of padded standard base64.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final, Literal, Protocol

from invora_grpc.config import Secret
from invora_grpc.errors import ConfigError
from invora_grpc.webhooks.errors import BadSignature, MissingSignature

__all__ = [
    "SIGNATURE_HEADER",
    "HeaderItems",
    "Headers",
    "Secrets",
    "check_hmac",
    "looks_like_hmac",
    "raw_bytes",
    "secrets_of",
    "sign",
    "signature_of",
]

SIGNATURE_HEADER: Final = "X-Invora-Signature"
_NAME: Final = SIGNATURE_HEADER.lower()
_ENVIRON_NAME: Final = "HTTP_X_INVORA_SIGNATURE"
_FORMS: Final = re.compile(r"[0-9a-f]{64}|[A-Za-z0-9+/]{43}=")


class HeaderItems(Protocol):
    """A mapping of headers, also one that has a name several times."""

    def items(self) -> Iterable[tuple[Any, Any]]: ...


Headers = HeaderItems | Iterable[tuple[str | bytes, str | bytes]]
"""A mapping, pairs (as in an ASGI scope), or a WSGI environ."""
Secrets = str | Secret | Iterable[str | Secret]
"""One secret, or several while they are rotated."""


def signature_of(headers: Headers) -> str:
    """The one value of the signature header, its name in any case.

    Raises MissingSignature if there is none, BadSignature if there are several: proxies and frameworks do not agree
    on which one counts. ConfigError if these are no headers.
    """
    values = _values(headers)
    if not values:
        raise MissingSignature(f"no {SIGNATURE_HEADER} header", "pass the request's headers on as they came in")
    if len(values) > 1 or "," in values[0]:
        raise BadSignature(f"several {SIGNATURE_HEADER} headers", "a delivery has exactly one")
    return values[0].strip(" \t")


def _values(headers: Any) -> list[str]:
    pairs = headers.items() if hasattr(headers, "items") else headers
    found: list[object] = []
    try:
        for name, value in pairs:
            text = name.decode("latin-1") if isinstance(name, bytes) else name
            if isinstance(text, str) and (text.lower() == _NAME or text == _ENVIRON_NAME):
                found.extend(value if isinstance(value, list | tuple) else [value])
    except (TypeError, ValueError):
        hint = "give a mapping, pairs of name and value, a WSGI environ or an ASGI scope's headers"
        raise ConfigError("headers", None, hint, f"of type {type(headers).__name__} cannot be read") from None
    return [value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in found]


def looks_like_hmac(signature: str) -> bool:
    """Whether this has one of the two forms of a digest. A token, with its dots, never has."""
    return _FORMS.fullmatch(signature) is not None


def check_hmac(signature: str, body: bytes, secrets: tuple[Secret, ...]) -> None:
    """Raises BadSignature unless one of the secrets made the signature for exactly this body. In constant time."""
    good = [
        hmac.compare_digest(signature.encode("utf-8", "surrogatepass"), sign(body, secret, form).encode())
        for secret in secrets
        for form in ("hex", "base64")
    ]
    if not any(good):
        raise BadSignature(
            "the signature is not that of the body by the endpoint's secret",
            "verify the raw bytes as they came in, with the secret of this very endpoint",
        )


def sign(body: bytes | bytearray | memoryview, secret: str | Secret, form: Literal["hex", "base64"] = "hex") -> str:
    """What the platform puts into the header for an HMAC endpoint: for tests, and for senders of your own.

    Raises ConfigError if the secret is not text, or empty, and if the body is not bytes.
    """
    secret = _wrapped(secret)
    body = raw_bytes(body)
    code = hmac.new(secret.reveal().encode("utf-8", "surrogatepass"), body, sha256)
    return b64encode(code.digest()).decode() if form == "base64" else code.hexdigest()


def raw_bytes(body: object) -> bytes:
    """The body, if it is bytes. Raises ConfigError, which shows nothing of it."""
    if not isinstance(body, bytes | bytearray | memoryview):
        hint = "give the raw bytes of the request; parsed and written again they are not what was signed"
        raise ConfigError("body", None, hint, f"is {type(body).__name__}, not bytes")
    return bytes(body)


def secrets_of(secret: Secrets | None) -> tuple[Secret | None, ...]:
    """Each secret wrapped, None for one that is none. Never raises for a plain secret: its locals are plain."""
    if secret is None:
        return ()
    if isinstance(secret, str | bytes | Secret) or not isinstance(secret, Iterable):
        return (_usable(secret),)
    return tuple(map(_usable, secret))


def _usable(secret: object) -> Secret | None:
    if isinstance(secret, Secret):
        return secret
    return Secret(secret) if isinstance(secret, str) and secret else None


def _wrapped(secret: str | Secret) -> Secret:
    return secret if isinstance(secret, Secret) else Secret(secret)
