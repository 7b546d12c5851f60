"""The issuer's public keys: fetched when a token needs one, kept, and asked for again when a new key turns up.

With threads, one fetch at a time; the others go on with the keys that there are. This room checks no signature and
must not load httpx or joserfc before a token came in. Only RSA keys for RS256 of 2048 bits and more are kept.

Rules: OpenID Connect Discovery 1.0, section 4; RFC 7517. HTTPS only except for loopback, the keys on the issuer's own
origin, no redirects, answers of at most 1 MiB, all in 5 s: a delivery has to be answered in 15.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from invora_grpc.config import parse_issuer, parse_url
from invora_grpc.errors import ConfigError, one_line, shown
from invora_grpc.oidc import discovery_url
from invora_grpc.webhooks.errors import KeysUnavailable, UnknownKey
from invora_grpc.webhooks.events import NotStrict, strict_json

if TYPE_CHECKING:
    import httpx
    from joserfc.jwk import RSAKey

__all__ = ["Jwks"]

LIFETIME: Final = 3600.0
"""Seconds after which the keys are fetched anew, so that a key that was withdrawn is not trusted for long."""
MAX_STALE: Final = 86_400.0
"""Seconds for which the keys are still used when fetching them anew fails."""
RETRY_PAUSE: Final = 10.0
"""Seconds until the next try after a fetch that failed, and between two fetches for keys that were not known."""
COOLDOWN: Final = 300.0
"""Seconds for which a key that the issuer did not have is not asked for again."""
FETCH_TIMEOUT: Final = 5.0
"""Seconds for discovery and keys together, until the last read begins."""
MAX_ANSWER: Final = 1024 * 1024
"""Bytes of an answer."""
_MISSING_KEPT: Final = 256
_LEAST_BITS: Final = 2048


@dataclass(frozen=True, slots=True)
class _Keys:
    by_id: Mapping[str, RSAKey]
    alone: RSAKey | None
    """The only key of the set, for tokens that name none."""
    fetched_at: float


class Jwks:
    """The keys of one issuer. Any number of threads may share it; make one and keep it.

    `issuer`: the OpenID Connect issuer's URL, e.g. `https://auth.invora.app`. `url`: where the keys are, if discovery
    is not to be asked. `iss`: what tokens call their issuer, if not so. `http`: an `httpx.Client` of your own, e.g. for
    a private certificate authority. `clock`: seconds that never run backwards.

    Raises ConfigError for bad arguments, and if joserfc is not installed. Nothing is fetched yet.
    """

    def __init__(
        self,
        issuer: str,
        *,
        url: str | None = None,
        iss: str | None = None,
        http: httpx.Client | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = parse_issuer(issuer)
        if url is not None:
            parse_url("url", url)
        if find_spec("joserfc") is None:
            raise ConfigError("jwks", None, "pip install 'invora-grpc[webhooks]'", "needs the package joserfc")
        self._url, self._http, self._clock = url, http, clock
        self.iss = iss or self._issuer
        """What a token's `iss` has to be."""
        self._lock = Lock()
        self._keys: _Keys | None = None
        self._missing: OrderedDict[str, float] = OrderedDict()
        self._failure: KeysUnavailable | None = None
        self._asked_at = float("-inf")

    def key(self, kid: object) -> RSAKey:
        """The key of this id; for None the only key of the issuer, if it has just one.

        Raises UnknownKey if the issuer has no such key, KeysUnavailable if it cannot be asked.
        """
        if kid is not None and not isinstance(kid, str):
            raise UnknownKey("the token's key id is no text", "the platform names its keys by text")
        held = self._keys
        found = _find(held, kid)
        if found is not None and held is not None and self._clock() < held.fetched_at + LIFETIME:
            return found
        if found is not None and held is not None and self._clock() < held.fetched_at + MAX_STALE:
            return self._renewed(kid, found)
        with self._lock:
            return self._looked_up(kid)

    def _renewed(self, kid: str | None, found: RSAKey) -> RSAKey:
        """A key that is due: one thread asks again, the others, and everybody if that fails, go on with it."""
        if not self._lock.acquire(blocking=False):
            return found
        try:
            return self._looked_up(kid)
        except KeysUnavailable:
            return found
        finally:
            self._lock.release()

    def _looked_up(self, kid: str | None) -> RSAKey:
        """The key, from the issuer unless it was asked a moment ago. With the lock held."""
        now = self._clock()
        held = self._keys
        fresh = held is not None and now < held.fetched_at + LIFETIME
        if fresh and (found := _find(held, kid)) is not None:
            return found
        if now < self._asked_at + RETRY_PAUSE and self._failure is not None:
            raise copy(self._failure)
        if fresh and (now < self._asked_at + RETRY_PAUSE or now < self._missing.get(kid or "", now)):
            raise _unknown(kid)
        held = self._fetched()
        found = _find(held, kid)
        if found is None:
            self._missing[kid or ""] = now + COOLDOWN
            while len(self._missing) > _MISSING_KEPT:
                self._missing.popitem(last=False)
            raise _unknown(kid)
        self._missing.pop(kid or "", None)
        return found

    def _fetched(self) -> _Keys:
        self._asked_at = self._clock()
        answer = self._ask()
        if isinstance(answer, str):
            self._failure = KeysUnavailable(f"no keys of {self._issuer}: {answer}", "check the issuer and the network")
            raise copy(self._failure)
        self._failure, self._keys = None, _usable_keys(answer, self._asked_at)
        return self._keys

    def _ask(self) -> dict[str, Any] | str:
        """The key set, or in words why there is none."""
        if self._http is not None:
            return self._ask_with(self._http)
        import httpx

        # a loopback issuer is not asked through a proxy, which would see it in plaintext and could answer for it
        with httpx.Client(trust_env=parse_url("issuer", self._issuer).tls) as client:
            return self._ask_with(client)

    def _ask_with(self, client: httpx.Client) -> dict[str, Any] | str:
        deadline = time.monotonic() + FETCH_TIMEOUT
        url = self._url or ""
        if not url:
            document = _get(client, discovery_url(self._issuer), deadline)
            if isinstance(document, str):
                return f"discovery: {document}"
            if document.get("issuer") != self._issuer:
                return "discovery names another issuer"
            url = document.get("jwks_uri", "")
            if not _same_origin(url, self._issuer):
                return "discovery names keys that are not on the issuer's own origin"
        return _get(client, url, deadline)


def _get(client: httpx.Client, url: str, deadline: float) -> dict[str, Any] | str:
    """The JSON object at `url`, or in words why there is none."""
    import httpx

    left = deadline - time.monotonic()
    if left <= 0:
        return f"took over {FETCH_TIMEOUT:g} s"
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    try:
        with client.stream("GET", url, headers=headers, follow_redirects=False, timeout=left) as response:
            return _read(response, deadline)
    except httpx.ConnectError as error:
        return f"no connection: {one_line(str(error), 200)}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"no answer: {type(error).__name__}"


def _read(response: httpx.Response, deadline: float) -> dict[str, Any] | str:
    if response.is_redirect:
        return f"HTTP {response.status_code}, and redirects are not followed"
    if response.status_code != 200:
        return f"HTTP {response.status_code}"
    body = bytearray()
    for chunk in response.iter_raw():  # as sent: what inflates to a gigabyte is not inflated
        body += chunk
        if len(body) > MAX_ANSWER:
            return f"the answer is over {MAX_ANSWER} bytes"
        if time.monotonic() > deadline:
            return f"took over {FETCH_TIMEOUT:g} s"
    try:
        document = strict_json(bytes(body))
    except NotStrict as error:
        return f"the answer {error}"
    return document if isinstance(document, dict) else "the answer is no JSON object"


def _same_origin(url: object, issuer: str) -> bool:
    try:
        return isinstance(url, str) and parse_url("jwks_uri", url) == parse_url("issuer", issuer)
    except ConfigError:
        return False


def _usable_keys(document: dict[str, Any], now: float) -> _Keys:
    """The keys of a set that may sign deliveries; of two with one id the first. The others are not an error."""
    entries = document.get("keys")
    keys = [key for entry in (entries if isinstance(entries, list) else []) if (key := _rsa_key(entry)) is not None]
    by_id: dict[str, RSAKey] = {}
    for key in keys:
        if isinstance(kid := key.get("kid"), str):
            by_id.setdefault(kid, key)
    return _Keys(by_id, keys[0] if len(keys) == 1 else None, now)


def _rsa_key(entry: object) -> RSAKey | None:
    """A public RSA key, of nothing but its numbers and its id."""
    from joserfc.jwk import RSAKey

    if not isinstance(entry, dict) or entry.get("kty") != "RSA":
        return None
    if entry.get("use", "sig") != "sig" or entry.get("alg", "RS256") != "RS256":
        return None
    numbers = {name: entry[name] for name in ("kty", "n", "e", "kid") if isinstance(entry.get(name), str)}
    try:
        key = RSAKey.import_key(numbers)
        return key if key.public_key.key_size >= _LEAST_BITS else None
    except Exception:  # a number that is none, or no key
        return None


def _find(keys: _Keys | None, kid: str | None) -> RSAKey | None:
    if keys is None:
        return None
    return keys.alone if kid is None else keys.by_id.get(kid)


def _unknown(kid: str | None) -> UnknownKey:
    if kid is None:
        return UnknownKey("the token names no key, and the issuer has several or none", "the platform sends a `kid`")
    return UnknownKey(f"the issuer has no key {shown(kid, 60)}", "is this the issuer of the platform that sends?")
