"""Token sources: where a client's bearer token comes from.

One token at a time is the business of `invora_grpc.renewal`, the talk with an issuer that of `invora_grpc.issuer`;
asyncio is served by `invora_grpc.auth_aio`. This room must not import grpc, protobuf, httpx or asyncio, and writes no
file.

A secret is wrapped where it enters, and unwrapped only inside the expression that sends it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable, iscoroutinefunction
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from invora_grpc.arguments import one_with
from invora_grpc.config import ABSENT, NO_TOKEN, Secret, Settings, header_safe, require_credentials, secret_header_safe
from invora_grpc.errors import ClosedError, ConfigError, SignInError
from invora_grpc.issuer import Issuer
from invora_grpc.oidc import AccessToken, jitter, read_grant, timed, token_form
from invora_grpc.renewal import Renewing

if TYPE_CHECKING:
    import httpx

    from invora_grpc.client import Invora

__all__ = [
    "CallableToken",
    "ClientCredentials",
    "Impersonation",
    "NoToken",
    "RefreshToken",
    "StaticToken",
    "TokenSource",
    "a_source",
    "peek_of",
    "token_source",
]


class TokenSource(Protocol):
    """Where a client gets its bearer token from. Called for every call, by any number of threads.

    A source may also have `peek() -> Secret | None`: the token to send now if that needs no waiting, else None. Clients
    then ask that first.
    """

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


def a_source(value: Any) -> Any:
    """The value, if it is a token source. Raises ConfigError, e.g. for a bare token or a bare function."""
    hint = "give a TokenSource: StaticToken(token), CallableToken(function), ClientCredentials(…)"
    if not isinstance(getattr(one_with(("token",), "tokens", value, hint), "describe", None), str):
        raise ConfigError("tokens", None, "give it the property describe, a word for error messages", "has no name")
    return value


def peek_of(source: TokenSource) -> Callable[[], Secret | None]:
    """The `peek` of a source; for one that has none, a function that always answers None."""
    peek: Callable[[], Secret | None] | None = getattr(source, "peek", None)
    return peek if callable(peek) else _unknown


def _unknown() -> Secret | None:
    return None


class ClientCredentials(Renewing):
    """Server to server: client id and secret for a token (RFC 6749, 4.4). Raises ConfigError for bad arguments.

    If the issuer is down for a moment it is asked up to two more times within ten seconds, unless there is a token to
    go on with.

    `http` is an `httpx.Client` of your own, e.g. for a private certificate authority; it must not be one that logs
    bodies. `clock` gives seconds that never run backwards, `sleep` waits for some, and `jitter` gives random numbers
    from 0 to 1.
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
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = jitter,
    ) -> None:
        client_secret = _wrap(client_secret)
        self._issuer = Issuer(issuer, "client_credentials", http, clock, sleep, jitter)
        self._client_id, self._secret, self._scope = header_safe("client_id", client_id), client_secret, scope
        super().__init__(clock)

    @property
    def describe(self) -> str:
        return f"client credentials of {self._client_id!r} at {self._issuer.url}"

    def _fetch(self, patient: bool) -> AccessToken:
        form = token_form(self._issuer.grant, self._client_id, client_secret=self._secret, scope=self._scope)
        return self._issuer.ask(form, repeatable=patient)


class RefreshToken(Renewing):
    """A person's session: a refresh token for an access token, both new each time (RFC 6749, 6).

    The platform uses a refresh token up, so `on_rotated` gets every new one, before its access token is used: store
    it there. It is called in the thread that fetched. For the same reason nothing is asked twice by itself, and a
    session belongs to one process: after a fork, let one side make a new source.

    `http`, `clock` and `jitter` are those of `ClientCredentials`.
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
        jitter: Callable[[], float] = jitter,
    ) -> None:
        refresh_token = _wrap(refresh_token)
        client_secret = None if client_secret is None else _wrap(client_secret)
        self._issuer = Issuer(issuer, "refresh_token", http, clock, time.sleep, jitter)
        self._client_id, self._secret = header_safe("client_id", client_id), client_secret
        if on_rotated is not None and not callable(on_rotated):
            raise ConfigError("on_rotated", None, "give a function that stores the new token", "is no function")
        self._refresh, self._on_rotated = refresh_token, on_rotated
        super().__init__(clock)

    @property
    def describe(self) -> str:
        return f"refresh token of {self._client_id!r} at {self._issuer.url}"

    def _fetch(self, patient: bool) -> AccessToken:
        secrets = {"client_secret": self._secret, "refresh_token": self._refresh}
        form = token_form(self._issuer.grant, self._client_id, **secrets)
        fresh = self._issuer.ask(form, repeatable=False)
        if fresh.refresh_token is not None and fresh.refresh_token != self._refresh:
            self._refresh = fresh.refresh_token
            if self._on_rotated is not None:
                self._on_rotated(self._refresh)
        return fresh


class Impersonation(Renewing):
    """Acts for a while as a user of another organization, with short-lived tokens of BeginImpersonation.

    `client` begins, and begins again before a token ends; it needs the scope Invora.Admin.Impersonate. What its RPCs
    raise passes through as it is; SignInError if the gateway's answer holds no usable token.

        with Impersonation(client, user_id, org_id) as them:
            theirs = client.with_options(tokens=them, org=org_id)

    `clock` gives seconds that never run backwards, and `jitter` random numbers from 0 to 1.
    """

    def __init__(
        self,
        client: Invora,
        user_id: str,
        org_id: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = jitter,
    ) -> None:
        self._client = one_with(("with_options",), "client", client, "give the Invora that impersonates")
        self._jitter = jitter
        self._user_id = header_safe("user_id", user_id)
        self._org_id = self._home = None if org_id is None else header_safe("org_id", org_id)
        self._ended = False
        super().__init__(clock)

    @property
    def describe(self) -> str:
        where = f" in {self._org_id}" if self._org_id else ""
        return f"impersonation of {self._user_id!r}{where}"

    def end(self) -> None:
        """End the impersonation at the gateway, as the user, and here: `token()` raises ClosedError from now on.

        Ends the latest token; an earlier one that was renewed ends by itself. Does nothing if there is no token, or
        no longer. What EndImpersonation raises passes through.
        """
        self._ended = True
        last = self._retire()
        if last is not None:
            acting = self._client.with_options(tokens=StaticToken(last))
            if self._home is not None:  # the client may be bound to an organization where the user is nobody
                acting = acting.for_org(self._home, rebind=True)
            acting.identity.impersonation.end_impersonation()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _fetch(self, patient: bool) -> AccessToken:
        if self._ended:
            raise ClosedError(f"the {self.describe} has ended; make a new Impersonation")
        begin, asked = self._client.identity.impersonation.begin_impersonation, self._clock()
        org = {} if self._org_id is None else {"target_org_id": self._org_id}
        value, lifetime, self._home, problem = _begun(begin(target_user_id=self._user_id, **org))
        if value is None:
            hint = "check that the gateway serves ImpersonationService as the schema has it"
            raise SignInError(f"the answer {problem}", issuer="the gateway", grant="impersonation", hint=hint)
        return timed(value, lifetime, asked, self._jitter())


def _begun(answer: Any) -> tuple[Secret | None, float, str | None, str]:
    """Token, lifetime in seconds, organization, and what is wrong. Never raises: `answer` holds the token in plain."""
    told = {name: getattr(answer, name) for name in ("access_token", "expires_in", "token_type")}
    value, lifetime, _, problem = read_grant(told)
    return value, lifetime, answer.target_org_id or None, problem


class StaticToken:
    """A ready token, e.g. a personal access token for development. It cannot renew: `force` returns the same one."""

    def __init__(self, token: str | Secret) -> None:
        token = _wrap(token)
        self._token = secret_header_safe("token", token)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.describe}>"

    @property
    def describe(self) -> str:
        return "a fixed token"

    def peek(self) -> Secret | None:
        """The token."""
        return self._token

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        return self._token


class NoToken:
    """No token: calls go without authorization, to servers that ask for none, e.g. other gRPC servers.

    Since there is no token that could be read on the way, such a client may also speak plaintext to other hosts.
    """

    def __repr__(self) -> str:
        return "<NoToken>"

    @property
    def describe(self) -> str:
        return NO_TOKEN

    def peek(self) -> Secret | None:
        """What stands for no token."""
        return ABSENT

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        return ABSENT


class CallableToken:
    """A function of yours that returns the token to send. It is called for every call, and keeps tokens itself.

    What it raises passes through as it is; ConfigError if what it returns is no token. A coroutine function, or one
    that returns an awaitable, is for `AsyncInvora` only. Pickles if the function does.
    """

    def __init__(self, fn: Callable[[], str | Secret | Awaitable[str | Secret]]) -> None:
        if not callable(fn):
            raise ConfigError("tokens", None, "give a function; a ready token is for StaticToken", "is no function")
        self._fn = fn
        self.asynchronous = iscoroutinefunction(fn) or iscoroutinefunction(type(fn).__call__)
        """Whether it has to be awaited, as far as one can tell without calling it."""

    def __repr__(self) -> str:
        return f"<CallableToken: {self.describe}>" if "_fn" in self.__dict__ else "<CallableToken>"

    @property
    def describe(self) -> str:
        return f"the token function {getattr(self._fn, '__name__', type(self._fn).__name__)}"

    def peek(self) -> Secret | None:
        """Always None: only the function knows."""
        return None

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        answer = None if self.asynchronous else self.ask()
        if self.asynchronous or isawaitable(answer):
            getattr(answer, "close", _unknown)()  # a coroutine that nobody will await
            hint = "use AsyncInvora, or give a function that returns the token itself"
            raise ConfigError("tokens", None, hint, f"{self.describe} has to be awaited")
        return self.checked(answer)

    def ask(self) -> Secret | Awaitable[object] | None:
        """Call the function: its token, or what to await for it; None if it is neither."""
        return taken(self._fn())

    def checked(self, answer: Secret | None) -> Secret:
        """The token, if it is one. Raises ConfigError."""
        if answer is None:
            hint = "return a string that is not empty, or a Secret"
            raise ConfigError("token", None, hint, f"{self.describe} returned no token")
        return secret_header_safe("token", answer)


def taken(value: object) -> Secret | Awaitable[object] | None:
    """A token that a function gave, wrapped; or what to await for it; or None. Never raises: `value` may be plain."""
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        return Secret(value) if value else None
    return value if isawaitable(value) else None


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
