"""Token sources for asyncio: many tasks, one fetch, and a loop that never waits for it.

Any source serves here. One that renews fetches in a thread of the loop's executor, so that an asynchronous client and
a synchronous one can share it. This room starts no task, so that none is left over, and must not import grpc, protobuf
or httpx.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from copy import copy
from functools import partial
from typing import TypeAlias

from invora_grpc.auth import CallableToken, TokenSource, peek_of, taken
from invora_grpc.config import Secret
from invora_grpc.errors import InvoraError
from invora_grpc.renewal import Renewing, fresh_after_fork

__all__ = ["AsyncTokens"]

_Question: TypeAlias = tuple[asyncio.AbstractEventLoop, bool, Secret | None]
_Outcome: TypeAlias = Secret | BaseException


class AsyncTokens:
    """The tokens of `source` for the tasks of any event loop, also of several loops one after another.

    Of a source that renews (`ClientCredentials`, `RefreshToken`, `Impersonation`) all tasks of a loop share one fetch,
    and while a token is due for renewal but good they go on with it. A token function is called for every call, as it
    may have a token per context: a coroutine function in the loop, another one in a thread. So is a source of your own,
    in a thread, unless its `peek` knows the token.
    """

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self.peek: Callable[[], Secret | None] = peek_of(source)
        """The source's own `peek`: the token to send now if that needs no waiting, else None."""
        self._called_in_loop = isinstance(source, CallableToken) and source.asynchronous
        self._flights: dict[_Question, asyncio.Future[_Outcome]] = {}
        fresh_after_fork(self)

    @property
    def describe(self) -> str:
        """A word for error messages; no secret."""
        return self._source.describe

    async def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        """The token to send now; `force` and `rejected` as in `TokenSource.token`, and so is what it raises.

        Cancelling it ends the waiting of this task only; the fetch goes on for the others.
        """
        source = self._source
        if isinstance(source, Renewing):
            return await self._renewed(source, force, rejected)
        if isinstance(source, CallableToken):
            return await self._called(source)
        ready = None if force else self.peek()
        return await asyncio.to_thread(source.token, force, rejected) if ready is None else ready

    async def _renewed(self, source: Renewing, force: bool, rejected: Secret | None) -> Secret:
        ready = source.peek()
        if ready is not None and (not force or (rejected is not None and rejected != ready)):
            return ready
        good = None if force else source.meanwhile()
        flight = self._flight(source, force, rejected)
        if good is not None:
            return good
        outcome = await asyncio.shield(flight)
        if isinstance(outcome, Secret):
            return outcome
        raise copy(outcome) if isinstance(outcome, InvoraError) else outcome.with_traceback(None)

    def _flight(self, source: Renewing, force: bool, rejected: Secret | None) -> asyncio.Future[_Outcome]:
        """The answer to this question, asked for once at a time."""
        loop = asyncio.get_running_loop()
        question = loop, force, rejected
        flight = self._flights.get(question)
        if flight is None:
            for other in [other for other in self._flights if other[0].is_closed()]:
                self._flights.pop(other, None)
            context = copy_context()
            flight = loop.run_in_executor(None, context.run, partial(_outcome, source, force, rejected))
            self._flights[question] = flight
            flight.add_done_callback(lambda _: self._flights.pop(question, None))
        return flight

    async def _called(self, source: CallableToken) -> Secret:
        answer: Secret | Awaitable[object] | None
        answer = source.ask() if self._called_in_loop else await asyncio.to_thread(source.ask)
        if isinstance(answer, Awaitable):
            self._called_in_loop = True  # it does not block, and may need a running loop
            answer = taken(await answer)
        return source.checked(None if isinstance(answer, Awaitable) else answer)

    def after_fork(self) -> None:
        """The child has none of the parent's loops."""
        self._flights = {}


def _outcome(source: Renewing, force: bool, rejected: Secret | None) -> _Outcome:
    """The token or what was raised, as a value: nobody may be waiting any more who could retrieve an exception."""
    try:
        return source.token(force, rejected)
    except BaseException as error:
        return error
