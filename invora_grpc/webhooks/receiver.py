"""From bytes and headers to a verified event: size, signature, content, age, in this order.

This room decides; how a signature is checked is in `signature` and `tokens`, what a body says in `events`. It keeps
nothing between deliveries: whether one was handled before is what `deliveries` knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from invora_grpc.arguments import a_number, one_with
from invora_grpc.errors import ConfigError
from invora_grpc.webhooks.errors import BadSignature, BodyTooLarge, TooNew, TooOld, UnknownAlgorithm
from invora_grpc.webhooks.events import Delivery, parse_event
from invora_grpc.webhooks.signature import (
    Headers,
    Secrets,
    check_hmac,
    looks_like_hmac,
    raw_bytes,
    secrets_of,
    signature_of,
)
from invora_grpc.webhooks.tokens import check_token

if TYPE_CHECKING:
    from invora_api.billing.webhooks.v2.events_pb2 import BillingWebhookEvent
    from invora_grpc.config import Secret
    from invora_grpc.webhooks.jwks import Jwks

__all__ = ["MAX_AGE", "MAX_AHEAD", "MAX_BODY", "RETRY_SPAN", "Receiver", "verify"]

MAX_AGE: Final = 300.0
"""Seconds since an event arose within which it is accepted."""
MAX_AHEAD: Final = 300.0
"""Seconds that the platform's clock may be ahead of ours."""
RETRY_SPAN: Final = 8 * 3600.0
"""Seconds that cover all of the platform's retries: at once, 30 s, 2 min, 15 min, 1 h and 6 h, each after the last."""
MAX_BODY: Final = 1024 * 1024
"""Bytes of a body."""


class Receiver:
    """What a webhook endpoint accepts. Any number of threads may use one; it does not change.

    `secret`: the endpoint's secret, for the algorithm HMAC; several while it is rotated. `jwks`: the issuer's keys,
    for the algorithm JWT. Give what the endpoint was registered with; both only while it moves from one to the other.
    `audience`: what a token's `aud` has to name, if it has one.

    `max_age` and `max_ahead`: seconds, by the event's `created_at`; a signature covers no other time, least of all that
    of the delivery. The default is for a receiver that keeps nothing: it refuses what is older than five minutes, and
    with it the platform's retries from the fourth on (15 min, 1 h, 6 h). With a store of handled deliveries, which
    stops replays better, set it to `RETRY_SPAN`. `max_bytes`: bytes of a body. `clock`: seconds since the epoch.

    Raises ConfigError for bad arguments.
    """

    __slots__ = ("_audience", "_clock", "_jwks", "_max_age", "_max_ahead", "_max_bytes", "_secrets")

    def __init__(
        self,
        *,
        secret: Secrets | None = None,
        jwks: Jwks | None = None,
        audience: str | None = None,
        max_age: float = MAX_AGE,
        max_ahead: float = MAX_AHEAD,
        max_bytes: int = MAX_BODY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        given, wrapped = secret is not None, secrets_of(secret)
        secret = None
        self._secrets = _usable(given, wrapped)
        if jwks is None and not self._secrets:
            raise ConfigError("secret", None, "give the endpoint's secret, or jwks=Jwks(issuer)", "missing")
        limits = (("max_age", max_age, 0), ("max_ahead", max_ahead, 0), ("max_bytes", max_bytes, 1))
        for name, value, least in limits:
            a_number(name, value, least)
        if jwks is not None:
            one_with(("key",), "jwks", jwks, "give Jwks(issuer)")
        self._jwks, self._audience, self._clock = jwks, audience, clock
        self._max_age, self._max_ahead, self._max_bytes = max_age, max_ahead, max_bytes

    def receive(self, body: bytes | bytearray | memoryview, headers: Headers) -> Delivery:
        """The event of a delivery. `body`: the bytes as they came in, before anything parsed or decoded them.

        `headers`: a mapping, pairs of text or bytes, a WSGI environ or the headers of an ASGI scope.
        Raises WebhookError, whose `status` is what to answer, and ConfigError if these are no bytes and headers.
        """
        raw = raw_bytes(body)
        if len(raw) > self._max_bytes:
            raise BodyTooLarge(f"the body has over {self._max_bytes} bytes", "raise max_bytes if that is a real event")
        now = self._clock()
        self._check_signature(signature_of(headers), raw, now)
        delivery = parse_event(raw)
        self._check_age(delivery, now)
        return delivery

    def _check_signature(self, signature: str, body: bytes, now: float) -> None:
        """By the shape of the signature, within what this receiver was set up for: no header chooses the algorithm."""
        if looks_like_hmac(signature):
            if not self._secrets:
                raise UnknownAlgorithm("signed with HMAC, but no secret is known", "give the endpoint's secret")
            check_hmac(signature, body, self._secrets)
        elif signature.count(".") == 2:
            if self._jwks is None:
                raise UnknownAlgorithm("signed with JWT, but only a secret is known", "give jwks=Jwks(issuer)")
            check_token(signature, body, self._jwks, self._audience, now, self._max_ahead)
        else:
            raise BadSignature(
                "the signature is neither a digest in hex or base64 nor a token", "is this the platform?"
            )

    def _check_age(self, delivery: Delivery, now: float) -> None:
        created = delivery.event.created_at
        age = now - created.seconds - created.nanos / 1e9
        if age > self._max_age:
            hint = "a retry has the time of its event: set max_age=RETRY_SPAN, with a store of handled deliveries"
            if self._max_age >= RETRY_SPAN:
                hint = "if it was sent again by hand, raise max_age, and the ttl of the store above it"
            raise TooOld(f"the event is {age:.0f} s old, over {self._max_age:g} s", hint)
        if -age > self._max_ahead:
            raise TooNew(f"the event is {-age:.0f} s in the future, over {self._max_ahead:g} s", "check this clock")


def _usable(given: bool, secrets: tuple[Secret | None, ...]) -> tuple[Secret, ...]:
    usable = tuple(one for one in secrets if one is not None)
    if given and (not usable or len(usable) < len(secrets)):
        raise ConfigError("secret", "***", "give text that is not empty, or a list of such", "is no secret")
    return usable


def verify(
    body: bytes | bytearray | memoryview,
    headers: Headers,
    *,
    secret: Secrets | None = None,
    jwks: Jwks | None = None,
    audience: str | None = None,
    max_age: float = MAX_AGE,
    max_ahead: float = MAX_AHEAD,
    max_bytes: int = MAX_BODY,
    clock: Callable[[], float] = time.time,
) -> BillingWebhookEvent:
    """The event of one delivery, verified. The arguments are those of `Receiver`, the errors those of `receive`.

    An endpoint does better with a `Receiver`: it is checked when it is made, and a `Delivery` also tells its key and
    what was left out.
    """
    given, wrapped = secret is not None, secrets_of(secret)
    secret = None
    receiver = Receiver(
        secret=_usable(given, wrapped) or None,
        jwks=jwks,
        audience=audience,
        max_age=max_age,
        max_ahead=max_ahead,
        max_bytes=max_bytes,
        clock=clock,
    )
    return receiver.receive(body, headers).event
