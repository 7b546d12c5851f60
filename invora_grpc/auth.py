"""Token sources: where a client's bearer token comes from, and who fetches the next one.

With threads, one lock and one fetch at a time; what is asked and answered is in `invora_grpc.oidc`. This room must
not import grpc or protobuf, starts no thread, writes no file, and loads httpx only when a token is really fetched.

A secret is unwrapped only inside the expression that sends it. Errors are raised outside of the handlers that caught
httpx's own, because those carry the request, and that carries the secret.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from copy import copy
from threading import Event, Lock
from typing import TYPE_CHECKING, Final, Protocol

from invora_grpc.config import (
    Secret,
    Settings,
    header_safe,
    parse_issuer,
    parse_url,
    require_credentials,
    secret_header_safe,
)
from invora_grpc.errors import ConfigError, SignInError, one_line
from invora_grpc.oidc import (
    AccessToken,
    Answer,
    Verdict,
    check_discovery,
    discovery_url,
    parse_token,
    token_form,
    verdict,
)

if TYPE_CHECKING:
    import httpx

__all__ = ["CallableToken", "ClientCredentials", "RefreshToken", "StaticToken", "TokenSource", "token_source"]

RETRY_PAUSE: Final = 10.0
"""Seconds until the next try after a renewal ahead of time failed."""
HTTP_TIMEOUT: Final = 5.0
"""Seconds for one answer of the issuer."""
MAX_BODY: Final = 1024 * 1024
"""Bytes of an issuer's answer."""
_LOG: Final = logging.getLogger("invora_grpc.auth")


class TokenSource(Protocol):
    """Where a client gets its bearer token from. Called for every call, by any number of threads."""

    @property
    def describe(self) -> str:
        """A word for error messages; no secret."""
        ...

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        """The token to send now. Raises SignInError if there is none.

        `force` asks for another one; with `rejected`, the token that a server just refused, only if that is still the
        one in use, so that many refused calls cause one renewal. A source that cannot renew returns what it has.
        """
        ...


class _Flight:
    """One fetch that is under way, and how it ended: None if it was broken off."""

    __slots__ = ("landed", "outcome")

    def __init__(self) -> None:
        self.landed = Event()
        self.outcome: AccessToken | SignInError | None = None


class _Renewing:
    """The current token, renewed by one thread at a time while the others wait for it, or go on with a good one."""

    def __init__(self, fetch: Callable[[], AccessToken], clock: Callable[[], float]) -> None:
        self._fetch, self._clock = fetch, clock
        self._lock = Lock()
        self._current: AccessToken | None = None
        self._flight: _Flight | None = None
        self._pause_until = float("-inf")

    def token(self, force: bool, rejected: Secret | None) -> Secret:
        while True:
            with self._lock:
                now, current, flight = self._clock(), self._current, self._flight
                due = verdict(current, now, force, rejected)
                fallback = current.value if current is not None and due is not Verdict.FETCH else None
                if fallback is not None and (due is Verdict.USE or flight is not None or now < self._pause_until):
                    return fallback
                if flight is None:
                    mine = self._flight = _Flight()
                    break
            flight.landed.wait()
            if flight.outcome is not None:
                return _landed(flight.outcome)
        return self._lead(mine, fallback)

    def _lead(self, flight: _Flight, fallback: Secret | None) -> Secret:
        """Fetch for everybody who waits. A failed renewal ahead of time is no failure: the fallback is still good."""
        try:
            outcome = flight.outcome = self._attempt()
        finally:
            with self._lock:
                self._flight = None
                if isinstance(flight.outcome, AccessToken):
                    self._current = flight.outcome
                else:
                    self._pause_until = self._clock() + RETRY_PAUSE
            flight.landed.set()
        return fallback if fallback is not None and isinstance(outcome, SignInError) else _landed(outcome)

    def _attempt(self) -> AccessToken | SignInError:
        try:
            token = self._fetch()
        except SignInError as error:
            _LOG.debug("no token: %s", error)
            return error
        _LOG.debug("token renewed")
        return token


def _landed(outcome: AccessToken | SignInError) -> Secret:
    """The token, or the failure as an exception of this thread's own."""
    if isinstance(outcome, AccessToken):
        return outcome.value
    raise copy(outcome)


class _Issuer:
    """Discovery, once, and token requests, over httpx."""

    def __init__(self, issuer: str, grant: str, http: httpx.Client | None, clock: Callable[[], float]) -> None:
        self.url, self.grant = parse_issuer(issuer), grant
        self._http, self._clock = http, clock
        self._endpoint: str | None = None

    def ask(self, form: Secret) -> AccessToken:
        """One token. Raises SignInError."""
        if self._http is not None:
            return self._ask(self._http, form)
        import httpx

        # no proxy on the way to a loopback issuer: the secret would cross it in plaintext
        with httpx.Client(trust_env=parse_url("issuer", self.url).tls) as client:
            return self._ask(client, form)

    def _ask(self, client: httpx.Client, form: Secret) -> AccessToken:
        if self._endpoint is None:
            answer = self._answer(client, discovery_url(self.url), None)
            self._endpoint = check_discovery(self.url, self.grant, answer)
        now = self._clock()
        answer = self._answer(client, self._endpoint, form)
        if answer.status in (301, 302, 307, 308, 404, 405, 410):
            self._endpoint = None  # it has moved: the next try looks again
        return parse_token(self.url, self.grant, answer, now)

    def _answer(self, client: httpx.Client, url: str, form: Secret | None) -> Answer:
        answer = _exchange(client, url, form)
        if isinstance(answer, str):
            hint = "check the issuer's URL and the network"
            raise SignInError(answer, issuer=self.url, grant=self.grant, hint=hint)
        return answer


def _exchange(client: httpx.Client, url: str, form: Secret | None) -> Answer | str:
    """The answer, or in words why there is none. Does not raise, so that no httpx exception hangs on to the secret."""
    import httpx

    started = time.monotonic()
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    if form is not None:
        headers["content-type"] = "application/x-www-form-urlencoded"
    try:
        with client.stream(
            "GET" if form is None else "POST",
            url,
            content=None if form is None else form.reveal(),
            headers=headers,
            follow_redirects=False,
            timeout=HTTP_TIMEOUT,
        ) as response:
            body = bytearray()
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > MAX_BODY:
                    return f"the answer is over {MAX_BODY} bytes"
                if time.monotonic() - started > HTTP_TIMEOUT:
                    return f"the answer took over {HTTP_TIMEOUT:g} s"
            return Answer(response.status_code, bytes(body))
    except httpx.ConnectError as error:
        return f"no connection: {one_line(str(error), 200)}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"no answer: {type(error).__name__}"


class ClientCredentials:
    """Server to server: client id and secret for a token (RFC 6749, 4.4). Raises ConfigError for bad arguments.

    `http` is an `httpx.Client` of your own, e.g. for a private certificate authority; it must not be one that logs
    bodies. `clock` gives seconds that never run backwards.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str | Secret,
        scope: str = "openid",
        http: httpx.Client | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        client_secret = _wrap(client_secret)
        self._issuer = _Issuer(issuer, "client_credentials", http, clock)
        self._client_id, self._secret, self._scope = header_safe("client_id", client_id), client_secret, scope
        self._renewing = _Renewing(self._fetch, clock)

    @property
    def describe(self) -> str:
        return f"client credentials of {self._client_id!r} at {self._issuer.url}"

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        return self._renewing.token(force, rejected)

    def _fetch(self) -> AccessToken:
        form = token_form(self._issuer.grant, self._client_id, client_secret=self._secret, scope=self._scope)
        return self._issuer.ask(form)


class RefreshToken:
    """A person's session: a refresh token for an access token, both new each time (RFC 6749, 6).

    The platform uses a refresh token up, so `on_rotated` gets every new one, before its access token is used: store
    it there. It is called in the thread that fetched.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        refresh_token: str | Secret,
        client_secret: str | Secret | None = None,
        http: httpx.Client | None = None,
        *,
        on_rotated: Callable[[Secret], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        refresh_token = _wrap(refresh_token)
        client_secret = None if client_secret is None else _wrap(client_secret)
        self._issuer = _Issuer(issuer, "refresh_token", http, clock)
        self._client_id, self._secret = header_safe("client_id", client_id), client_secret
        self._refresh, self._on_rotated = refresh_token, on_rotated
        self._renewing = _Renewing(self._fetch, clock)

    @property
    def describe(self) -> str:
        return f"refresh token of {self._client_id!r} at {self._issuer.url}"

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        return self._renewing.token(force, rejected)

    def _fetch(self) -> AccessToken:
        secrets = {"client_secret": self._secret, "refresh_token": self._refresh}
        fresh = self._issuer.ask(token_form(self._issuer.grant, self._client_id, **secrets))
        if fresh.refresh_token is not None and fresh.refresh_token != self._refresh:
            self._refresh = fresh.refresh_token
            if self._on_rotated is not None:
                self._on_rotated(self._refresh)
        return fresh


class StaticToken:
    """A ready token, e.g. a personal access token for development. It cannot renew: `force` returns the same one."""

    def __init__(self, token: str | Secret) -> None:
        token = _wrap(token)
        self._token = secret_header_safe("token", token)

    @property
    def describe(self) -> str:
        return "a fixed token"

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        return self._token


class CallableToken:
    """A function of yours that returns the token to send. It is called for every call, and keeps tokens itself.

    What it raises passes through as it is; ConfigError if what it returns is no token.
    """

    def __init__(self, fn: Callable[[], str | Secret]) -> None:
        self._fn = fn

    @property
    def describe(self) -> str:
        return f"the token function {getattr(self._fn, '__name__', type(self._fn).__name__)}"

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        return secret_header_safe("token", _wrap(self._fn()))


def token_source(settings: Settings) -> TokenSource:
    """The source that the settings describe: the token if there is one, else client credentials.

    Raises ConfigError if there is neither.
    """
    require_credentials(settings)
    if settings.token is not None:
        return StaticToken(settings.token)
    if settings.client_id is None or settings.client_secret is None:
        raise ConfigError("credentials", None, "give client_id and client_secret", "missing")
    return ClientCredentials(settings.issuer, settings.client_id, settings.client_secret)


def _wrap(value: str | Secret) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)
