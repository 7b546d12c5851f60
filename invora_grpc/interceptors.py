"""Interceptors for people with gRPC channels of their own: the client's sign-in and its log, over plain stubs.

    channel = grpc.intercept_channel(grpc.secure_channel(...), AuthInterceptor(tokens, "tnt_1"), LoggingInterceptor())
    channel = grpc.aio.secure_channel(..., interceptors=[*aio_auth(tokens, "tnt_1"), *aio_logging()])

An interceptor sees no channel and so cannot know whether it is encrypted: **over a plaintext channel the token is sent
in the clear.** Use a channel with TLS, or one to loopback. This room opens no channels, retries nothing but a refused
token, and must leave no token in an error: it is in the metadata, and that is in the frames of a traceback.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from invora_grpc.auth import a_source
from invora_grpc.auth_aio import AsyncTokens
from invora_grpc.call import TARGET_ORG_KEY, CallOptions, metadata, organization
from invora_grpc.errors import ConfigError
from invora_grpc.observer import CALL_LOGGER, LoggedCall

if TYPE_CHECKING:
    from invora_grpc.auth import TokenSource
    from invora_grpc.config import Secret

__all__ = ["AuthInterceptor", "LoggingInterceptor", "aio_auth", "aio_logging"]

_CALLS: Final = logging.getLogger(CALL_LOGGER)
_OURS: Final = ("authorization", TARGET_ORG_KEY)
_UNAUTHENTICATED: Final = grpc.StatusCode.UNAUTHENTICATED
_WRITING: Final[set[asyncio.Task[None]]] = set()
"""Tasks that write to the log: somebody has to hold them."""

Pairs = tuple[tuple[str, str | bytes], ...]
Continue = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True)
class _Details(grpc.ClientCallDetails):
    """A call's details with other metadata, which its repr does not show."""

    method: str
    timeout: float | None
    metadata: tuple[tuple[str, str | bytes], ...] | None = field(repr=False)
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _EveryKind(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
    ABC,
):
    """The four kinds of RPC as two: with one answer, and with a stream of answers."""

    @abstractmethod
    def _one(self, continuation: Continue, details: Any, request: Any) -> Any: ...

    @abstractmethod
    def _many(self, continuation: Continue, details: Any, request: Any) -> Any: ...

    def intercept_unary_unary(self, continuation: Continue, client_call_details: Any, request: Any) -> Any:
        return self._one(continuation, client_call_details, request)

    def intercept_unary_stream(self, continuation: Continue, client_call_details: Any, request: Any) -> Any:
        return self._many(continuation, client_call_details, request)

    def intercept_stream_unary(self, continuation: Continue, client_call_details: Any, request_iterator: Any) -> Any:
        return self._one(continuation, client_call_details, request_iterator)

    def intercept_stream_stream(self, continuation: Continue, client_call_details: Any, request_iterator: Any) -> Any:
        return self._many(continuation, client_call_details, request_iterator)


class AuthInterceptor(_EveryKind):
    """Adds the bearer token and the organization to act in (`x-target-org-id`) to every call of a channel with TLS.

    `tokens` is a TokenSource; `org` is None for the token's own organization. A unary call that is refused with
    UNAUTHENTICATED is repeated once with a renewed token, if the source has another one; a stream or a future is not.
    The caller's other metadata is kept. Where the result is read, raises ConfigError for a call that brings its own
    authorization or x-target-org-id, and SignInError if there is no token. Raises ConfigError for a bad `org`, and for
    `tokens` that are no TokenSource.
    """

    def __init__(self, tokens: TokenSource, org: str | None = None) -> None:
        self._tokens, self._options = a_source(tokens), _options(org)

    def __repr__(self) -> str:
        return f"<AuthInterceptor {self._tokens.describe}>"

    def intercept_unary_unary(self, continuation: Continue, client_call_details: Any, request: Any) -> Any:
        given = _given(client_call_details.metadata)
        token = self._tokens.token()
        outcome = _framed_off(self._send(continuation, client_call_details, request, given, token))
        if outcome.done() and outcome.code() is _UNAUTHENTICATED:  # answered before the method ran: safe to repeat
            fresh = self._tokens.token(force=True, rejected=token)
            if fresh != token:
                return _framed_off(self._send(continuation, client_call_details, request, given, fresh))
        return outcome

    def _one(self, continuation: Continue, details: Any, request: Any) -> Any:
        return _framed_off(self._many(continuation, details, request))

    def _many(self, continuation: Continue, details: Any, request: Any) -> Any:
        return self._send(continuation, details, request, _given(details.metadata), self._tokens.token())

    def _send(self, continuation: Continue, details: Any, request: Any, given: Pairs, token: Secret) -> Any:
        failure: BaseException
        try:
            return continuation(_authorized(details, token, self._options, given), request)
        except BaseException as error:
            failure = error.with_traceback(None)  # its frames hold the metadata
        raise failure


class LoggingInterceptor(_EveryKind):
    """Writes every call to the logger `invora_grpc.call` at DEBUG: method, organization, status, milliseconds.

    Never metadata, bodies, tokens or the words of an error. Behind an AuthInterceptor it writes every try, and knows
    the organization; before it, both tries are one call. Costs one look at the logger's level when that is off.
    """

    def _one(self, continuation: Continue, details: Any, request: Any) -> Any:
        logged, outcome = _logged(details), continuation(details, request)
        if logged is not None:
            outcome.add_done_callback(lambda done: logged.ended(done.code().name))
        return outcome

    def _many(self, continuation: Continue, details: Any, request: Any) -> Any:
        logged, stream = _logged(details), continuation(details, request)
        if logged is not None and not stream.add_callback(lambda: logged.ended(stream.code().name)):
            logged.ended(stream.code().name)
        return stream


def aio_auth(tokens: TokenSource, org: str | None = None) -> list[grpc.aio.ClientInterceptor]:
    """The AuthInterceptor for asyncio: one interceptor for each kind of RPC, since grpc.aio takes only such.

    Raises ConfigError for a bad `org`. The tokens are asked for without blocking the event loop.
    """
    source, options = AsyncTokens(a_source(tokens)), _options(org)
    return [kind(source, options) for kind in (_AuthUnaryUnary, _AuthUnaryStream, _AuthStreamUnary, _AuthStreamStream)]


def aio_logging() -> list[grpc.aio.ClientInterceptor]:
    """The LoggingInterceptor for asyncio: one interceptor for each kind of RPC."""
    return [_LogUnaryUnary(), _LogUnaryStream(), _LogStreamUnary(), _LogStreamStream()]


class _AioAuth:
    """What the asyncio interceptors for sign-in share."""

    def __init__(self, tokens: AsyncTokens, options: CallOptions) -> None:
        self._tokens, self._options = tokens, options

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._tokens.describe}>"

    async def _start(self, continuation: Continue, details: Any, request: Any) -> Any:
        given = _given(details.metadata)
        return await self._send(continuation, details, request, given, await self._tokens.token())

    async def _send(self, continuation: Continue, details: Any, request: Any, given: Pairs, token: Secret) -> Any:
        failure: BaseException
        try:
            return await continuation(_authorized(details, token, self._options, given), request)
        except BaseException as error:
            failure = error.with_traceback(None)
        raise failure


class _AuthUnaryUnary(_AioAuth, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Continue, client_call_details: Any, request: Any) -> Any:
        given = _given(client_call_details.metadata)
        token = await self._tokens.token()
        call = await self._send(continuation, client_call_details, request, given, token)
        try:
            refused = await call.code() is _UNAUTHENTICATED
        except asyncio.CancelledError:
            call.cancel()
            raise
        if refused:
            fresh = await self._tokens.token(force=True, rejected=token)
            if fresh != token:
                return await self._send(continuation, client_call_details, request, given, fresh)
        return call


class _AuthUnaryStream(_AioAuth, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Continue, client_call_details: Any, request: Any) -> Any:
        return await self._start(continuation, client_call_details, request)


class _AuthStreamUnary(_AioAuth, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: Continue, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await self._start(continuation, client_call_details, request_iterator)


class _AuthStreamStream(_AioAuth, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: Continue, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await self._start(continuation, client_call_details, request_iterator)


async def _start_logged(continuation: Continue, details: Any, request: Any) -> Any:
    """Begin a call of asyncio, and write it to the log when it has ended, whoever waits for it."""
    logged = _logged(details)
    call = await continuation(details, request)
    if logged is not None:

        async def write() -> None:
            logged.ended((await call.code()).name)

        def ended(done: object) -> None:
            writing = asyncio.get_running_loop().create_task(write())
            _WRITING.add(writing)
            writing.add_done_callback(_WRITING.discard)

        call.add_done_callback(ended)
    return call


class _LogUnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Continue, client_call_details: Any, request: Any) -> Any:
        return await _start_logged(continuation, client_call_details, request)


class _LogUnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Continue, client_call_details: Any, request: Any) -> Any:
        return await _start_logged(continuation, client_call_details, request)


class _LogStreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: Continue, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await _start_logged(continuation, client_call_details, request_iterator)


class _LogStreamStream(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: Continue, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await _start_logged(continuation, client_call_details, request_iterator)


def _options(org: str | None) -> CallOptions:
    return CallOptions(org=None if org is None else organization(org))


def _given(metadata: Iterable[tuple[str, str | bytes]] | None) -> Pairs:
    """The caller's own metadata. Raises ConfigError if it has what is ours to set: which of the two should count?"""
    given = tuple((key, value) for key, value in metadata or ())
    for key, _ in given:
        if key.lower() in _OURS:
            hint = "leave it out of the call, or use a channel without AuthInterceptor"
            raise ConfigError("metadata", key, hint, "is set by the AuthInterceptor, and came with the call as well")
    return given


def _authorized(details: Any, token: Secret, options: CallOptions, given: Pairs) -> Any:
    """The details with our metadata before the caller's. What comes back holds the token: it goes into no variable."""
    if isinstance(details, grpc.aio.ClientCallDetails):
        return grpc.aio.ClientCallDetails(
            details.method,
            details.timeout,
            grpc.aio.Metadata(*metadata(token.reveal(), options), *given),
            details.credentials,
            details.wait_for_ready,
        )
    return _Details(
        details.method,
        details.timeout,
        (*metadata(token.reveal(), options), *given),
        details.credentials,
        details.wait_for_ready,
        details.compression,
    )


def _framed_off(outcome: Any) -> Any:
    """A call with one answer; if it has failed already, without a traceback: its frames hold the metadata."""
    error = outcome.exception() if outcome.done() and not outcome.cancelled() else None
    if error is not None:
        error.__traceback__ = None
    return outcome


def _logged(details: Any) -> LoggedCall | None:
    """A call as it is written to the log; None if the log is off."""
    if not _CALLS.isEnabledFor(logging.DEBUG):
        return None
    path = details.method.decode() if isinstance(details.method, bytes) else details.method
    org = next((value for key, value in details.metadata or () if key == TARGET_ORG_KEY), None)
    return LoggedCall(_CALLS, path, org)
