"""Why a delivery is not handled, and what to answer then.

This room holds the exceptions only. No message has a secret, a signature or a value of the body in it: it may be
logged, and sent back to the platform, which shows it in the record of the delivery.
"""

from __future__ import annotations

from typing import ClassVar

from invora_grpc.errors import InvoraError, escaped

__all__ = [
    "BadSignature",
    "BeingHandled",
    "BodyTooLarge",
    "KeysUnavailable",
    "MalformedBody",
    "MissingSignature",
    "StoreUnavailable",
    "TooNew",
    "TooOld",
    "UnknownAlgorithm",
    "UnknownKey",
    "WebhookError",
]


class WebhookError(InvoraError):
    """A delivery that must not be handled, or not now. Answer with `status`: the platform tries again later."""

    status: ClassVar[int] = 400
    """The HTTP status to answer with."""
    hint: str
    """The way out."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(escaped(f"webhook: {problem}; {hint}"))
        self.hint = hint


class MissingSignature(WebhookError):
    """There is no X-Invora-Signature header."""

    status = 401


class BadSignature(WebhookError):
    """The signature is not one of this body by a known key, or not meant for this receiver."""

    status = 401


class UnknownAlgorithm(BadSignature):
    """The signature is made in a way that this receiver was not set up for, or that nobody should accept."""


class UnknownKey(BadSignature):
    """The issuer does not publish the key that the token names."""


class KeysUnavailable(WebhookError):
    """The issuer's keys could not be fetched; nothing is known about the signature."""

    status = 503


class TooOld(WebhookError):
    """The event arose longer ago than `max_age` allows: a late retry, or a replay."""


class TooNew(WebhookError):
    """The event arose further in the future than clocks may differ."""


class BodyTooLarge(WebhookError):
    """The body has more bytes than `max_bytes`."""

    status = 413


class MalformedBody(WebhookError):
    """The body is signed, but no billing event in JSON form."""


class BeingHandled(WebhookError):
    """Another worker is at this very delivery. Answer no success: that one may still fail."""

    status = 409


class StoreUnavailable(WebhookError):
    """The store of handled deliveries cannot be read or written."""

    status = 503
