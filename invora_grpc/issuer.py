"""An OpenID Connect issuer over HTTP: where its token endpoint is, and what that answers.

Each request is bounded, in time and in bytes, and follows no redirect. This room knows nothing about renewal, keeps no
connection open, and loads httpx only when something is really asked.

A secret is unwrapped only inside the expression that sends it. Nothing that httpx raises leaves this room: it carries
the request, and that carries the secret.
"""

from __future__ import annotations

import functools
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, nullcontext, suppress
from contextvars import copy_context
from threading import Thread
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from invora_grpc.config import Secret, parse_issuer, parse_url
from invora_grpc.errors import SignInError, one_line
from invora_grpc.oidc import (
    AccessToken,
    Answer,
    NoAnswer,
    check_discovery,
    discovery_url,
    offers,
    parse_retry_after,
    parse_token,
    refused,
    retry_pause,
)

if TYPE_CHECKING:
    import ssl

    import httpx

__all__ = ["SHARED", "Discoveries", "Issuer"]

HTTP_TIMEOUT: Final = 5.0
"""Seconds for one answer of the issuer, from looking its name up to the last byte."""
ASK_TIMEOUT: Final = 10.0
"""Seconds for a token, all tries and the pauses between them included."""
TRIES: Final = 3
"""How often one thing is asked at most, if the issuer is down for a moment and the question may be repeated."""
MAX_BODY: Final = 1024 * 1024
"""Bytes of an issuer's answer."""
DISCOVERY_LIFETIME: Final = 3600.0
"""Seconds that a token endpoint is believed to stay where it is."""
MAX_DISCOVERIES: Final = 256
"""Issuers that are remembered."""
CUT_GRACE: Final = 1.0
"""Seconds for a request whose connection was cut to notice it."""
_REVOCATION: Final = "revocation_endpoint"
_MOVED: Final = (301, 302, 307, 308, 404, 405, 410)


class Discoveries:
    """Token endpoints by issuer, for all sources that reach it in the same way. Failures are not kept.

    There is no lock that a fork could leave locked: each step is a single one of a dict, and two threads that look the
    same issuer up at once find the same.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, tuple[str, float]] = {}

    def get(self, issuer: str) -> str | None:
        """The token endpoint, if it was looked up within the last hour."""
        endpoint, until = self._known.get(issuer, (None, 0.0))
        return endpoint if self._clock() < until else None

    def put(self, issuer: str, endpoint: str) -> None:
        """Remember a token endpoint that was checked."""
        if len(self._known) >= MAX_DISCOVERIES:
            self._known = {}
        self._known[issuer] = endpoint, self._clock() + DISCOVERY_LIFETIME

    def forget(self, issuer: str) -> None:
        """It is not there any more."""
        self._known.pop(issuer, None)


SHARED: Final = Discoveries()
"""What all sources without an HTTP client of their own know."""
_BY_CLIENT: Final[WeakKeyDictionary[httpx.Client, Discoveries]] = WeakKeyDictionary()
"""An HTTP client of the user's own may have a certificate authority of its own: its findings are its own, too."""


class Issuer:
    """Asks one issuer for tokens of one grant.

    `http` is a client to use instead of one per question; `clock` gives seconds that never run backwards, `sleep`
    waits for some, and `jitter` gives random numbers from 0 to 1. Raises ConfigError for a bad URL.
    """

    __slots__ = ("_clock", "_discoveries", "_http", "_jitter", "_sleep", "grant", "url")

    def __init__(
        self,
        url: str,
        grant: str,
        http: httpx.Client | None,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        jitter: Callable[[], float],
    ) -> None:
        self.url, self.grant = parse_issuer(url), grant
        self._http, self._clock, self._sleep, self._jitter = http, clock, sleep, jitter
        self._discoveries = SHARED if http is None else _BY_CLIENT.setdefault(http, Discoveries())

    def ask(self, form: Secret, repeatable: bool) -> AccessToken:
        """One token for `form`. Raises SignInError.

        `repeatable`: if the issuer is down for a moment, it is asked up to two more times within ten seconds.
        """
        tries, deadline = TRIES if repeatable else 1, self._clock() + ASK_TIMEOUT
        with self._client() as client:
            endpoint = self._discoveries.get(self.url)
            if endpoint is None:
                answer, _ = self._answer(client, discovery_url(self.url), None, tries, deadline)
                endpoint = check_discovery(self.url, self.grant, answer)
                self._discoveries.put(self.url, endpoint)
            answer, asked = self._answer(client, endpoint, form, tries, deadline)
        if answer.status in _MOVED:
            self._discoveries.forget(self.url)  # the next question looks again
        return parse_token(self.url, self.grant, answer, asked, self._jitter())

    def authorization_endpoint(self) -> str:
        """Where people sign in, as discovery says now. Raises SignInError."""
        with self._client() as client:
            answer, _ = self._answer(client, discovery_url(self.url), None, TRIES, self._clock() + ASK_TIMEOUT)
        return check_discovery(self.url, self.grant, answer, "authorization_endpoint")

    def revoke(self, form: Secret) -> bool:
        """Have a token ended that is not needed any more (RFC 7009); False if the issuer has no way to do so.

        Raises SignInError. A token that the issuer does not know has ended.
        """
        deadline = self._clock() + ASK_TIMEOUT
        with self._client() as client:
            answer, _ = self._answer(client, discovery_url(self.url), None, TRIES, deadline)
            if answer.status == 200 and not offers(answer, _REVOCATION):
                return False
            endpoint = check_discovery(self.url, self.grant, answer, _REVOCATION)
            answer, _ = self._answer(client, endpoint, form, TRIES, deadline)
        if answer.status != 200:
            raise refused(self.url, self.grant, answer)
        return True

    def _client(self) -> AbstractContextManager[httpx.Client]:
        """A client for one question, so that no socket stays open for the hours in between."""
        if self._http is not None:
            return nullcontext(self._http)
        import httpx

        # no proxy on the way to a loopback issuer: the secret would cross it in plaintext
        return httpx.Client(trust_env=parse_url("issuer", self.url).tls, verify=_tls())

    def _answer(
        self, client: httpx.Client, url: str, form: Secret | None, tries: int, deadline: float
    ) -> tuple[Answer, float]:
        """The answer, and when it was asked for. Raises SignInError if there is none."""
        while True:
            asked, tries = self._clock(), tries - 1
            limit = min(HTTP_TIMEOUT, deadline - asked)
            answer = _exchange(client, url, form, limit) if limit > 0 else NoAnswer(f"over {ASK_TIMEOUT:g} s in all")
            pause = retry_pause(answer, self._jitter()) if tries else None
            if pause is None or self._clock() + pause >= deadline:
                break
            self._sleep(pause)
        if isinstance(answer, NoAnswer):
            hint = "check the issuer's URL and the network"
            raise SignInError(answer.problem, issuer=self.url, grant=self.grant, hint=hint)
        return answer, asked


@functools.cache
def _tls() -> ssl.SSLContext:
    """The trusted certificates, read once: that takes some 30 ms, twenty times as long as all the rest of a client."""
    import httpx

    return httpx.create_ssl_context()


class _Line:
    """The connection of one request, so that it can be cut from another thread."""

    def __init__(self) -> None:
        self._socket: Any = None
        self._given_up = False

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """As httpx's request extension `trace` has it: notes the socket, as it is and then with TLS around it."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._given_up:
                self.cut()

    def cut(self) -> bool:
        """End the connection, or have it end as soon as it is there. Returns whether there is one.

        It is shut down, not closed: its thread may be reading, and would go on with whatever gets that number next.
        """
        self._given_up = True
        if self._socket is None:
            return False
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        return True


def _exchange(client: httpx.Client, url: str, form: Secret | None, limit: float) -> Answer | NoAnswer:
    """The answer, if it is there within `limit` seconds.

    In a thread of its own: httpx bounds each step, so that an issuer which drips its headers, or a name that nobody
    resolves, would take as long as it likes.
    """
    line = _Line()
    done: Future[Answer | NoAnswer] = Future()
    context = copy_context()

    def work() -> None:
        try:
            done.set_result(context.run(_transfer, client, url, form, limit, line))
        except BaseException as error:
            done.set_exception(error)

    try:
        Thread(target=work, name="invora-sign-in", daemon=True).start()
    except RuntimeError:  # no thread to be had, as in Python's last moments: then without the outer bound
        work()
    try:
        return done.result(limit)
    except TimeoutError:
        return NoAnswer(f"the answer took over {limit:g} s")
    finally:
        if not done.done() and line.cut():
            wait([done], CUT_GRACE)


def _transfer(client: httpx.Client, url: str, form: Secret | None, limit: float, line: _Line) -> Answer | NoAnswer:
    """The answer, or in words why there is none. Does not raise: any exception would hang on to the secret."""
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
            timeout=limit,
            extensions={"trace": line.trace},
        ) as response:
            body = bytearray()
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > MAX_BODY:
                    return NoAnswer(f"the answer is over {MAX_BODY} bytes")
                if time.monotonic() - started > limit:
                    return NoAnswer(f"the answer took over {limit:g} s")
            return Answer(response.status_code, bytes(body), parse_retry_after(response.headers.get("retry-after")))
    except httpx.ConnectError as error:
        return NoAnswer(f"no connection: {one_line(str(error), 200)}", transient=not _is_about_tls(error))
    except Exception as error:
        return NoAnswer(f"no answer: {type(error).__name__}")


def _is_about_tls(error: BaseException | None) -> bool:
    """Whether something is there that is not trusted: that will not change by itself."""
    import ssl

    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error is not None
