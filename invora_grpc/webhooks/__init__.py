"""Webhooks: is a delivery from the platform, is it fresh, what does it say, and was it handled before?

    receiver = Receiver(secret=os.environ["INVORA_WEBHOOK_SECRET"], max_age=RETRY_SPAN)
    deliveries = Deliveries("/var/lib/shop/webhooks/seen.sqlite")

    delivery = receiver.receive(body, headers)      # the body as it came in, before anything parses it
    with deliveries.once(delivery) as first:
        if first:
            handle(delivery.event)                  # a BillingWebhookEvent

This room answers no HTTP request and must not be tied to a framework: it takes bytes and headers, and every error
says by its `status` what to answer. Importing it loads neither protobuf nor httpx nor joserfc.

Rules: the platform's webhook guide (signature, dedupe key, retries); RFC 2104 for HMAC; RFC 7515, 7517 and 7519 for
JWT and JWKS.
"""

from invora_grpc.webhooks.deliveries import Deliveries
from invora_grpc.webhooks.errors import (
    BadSignature,
    BeingHandled,
    BodyTooLarge,
    KeysUnavailable,
    MalformedBody,
    MissingSignature,
    StoreUnavailable,
    TooNew,
    TooOld,
    UnknownAlgorithm,
    UnknownKey,
    WebhookError,
)
from invora_grpc.webhooks.events import Delivery, dedupe_key
from invora_grpc.webhooks.jwks import Jwks
from invora_grpc.webhooks.receiver import MAX_AGE, MAX_AHEAD, MAX_BODY, RETRY_SPAN, Receiver, verify
from invora_grpc.webhooks.signature import SIGNATURE_HEADER, sign

__all__ = [
    "MAX_AGE",
    "MAX_AHEAD",
    "MAX_BODY",
    "RETRY_SPAN",
    "SIGNATURE_HEADER",
    "BadSignature",
    "BeingHandled",
    "BodyTooLarge",
    "Deliveries",
    "Delivery",
    "Jwks",
    "KeysUnavailable",
    "MalformedBody",
    "MissingSignature",
    "Receiver",
    "StoreUnavailable",
    "TooNew",
    "TooOld",
    "UnknownAlgorithm",
    "UnknownKey",
    "WebhookError",
    "dedupe_key",
    "sign",
    "verify",
]
