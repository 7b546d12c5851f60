"""One token at a time: kept while it is good, renewed by one thread while the others wait, or go on with a good one.

What a token costs to get is the business of the sources that build on this, in `invora_grpc.auth`. This room does no
I/O, starts no thread, and must not import grpc, protobuf, httpx or asyncio.

Locks and fetches do not survive a fork, tokens do: a lock that another thread held at that moment would stay locked in
the child for ever, and a fetch has nobody there who could end it.
"""

from __future__ import annotations

import logging
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from threading import Event, Lock
from typing import Final, NoReturn, Protocol
from weakref import WeakSet

from invora_grpc.config import Secret
from invora_grpc.errors import InvoraError
from invora_grpc.oidc import AccessToken, Verdict, verdict

__all__ = ["Forkable", "Renewing", "fresh_after_fork"]

RETRY_PAUSE: Final = 10.0
"""Seconds until the next try after a renewal ahead of time failed."""
_NOTHING: Final[tuple[Secret | None, float]] = (None, float("-inf"))
_LOG: Final = logging.getLogger("invora_grpc.auth")


class Forkable(Protocol):
    """Something with locks or work under way."""

    def after_fork(self) -> None:
        """In the child: make the locks anew, and forget what is under way. No other thread runs yet."""
        ...


_FORKABLE: Final[WeakSet[Forkable]] = WeakSet()


def fresh_after_fork(one: Forkable) -> None:
    """Have `one.after_fork()` called in the child of every fork, as long as `one` lives."""
    _FORKABLE.add(one)


def _after_fork() -> None:
    for one in list(_FORKABLE):
        one.after_fork()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork)


class _Flight:
    """One fetch that is under way, and how it ended: None if it was broken off."""

    __slots__ = ("landed", "outcome")

    def __init__(self) -> None:
        self.landed = Event()
        self.outcome: AccessToken | InvoraError | None = None


class Renewing(ABC):
    """A token source that keeps one token and renews it. Shared by any number of threads, and by `AsyncTokens`.

    Times are seconds of `clock`, which must not run backwards.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._current: AccessToken | None = None
        self._flight: _Flight | None = None
        self._pause_until = float("-inf")
        self._ready = _NOTHING
        """The token to send without asking, and until when. Replaced as a whole, so that reading it needs no lock."""
        fresh_after_fork(self)

    @property
    @abstractmethod
    def describe(self) -> str:
        """A word for error messages; no secret."""

    @abstractmethod
    def _fetch(self, patient: bool) -> AccessToken:
        """Another token, from wherever it comes. Raises InvoraError if there is none.

        `patient`: there is no good token to go on with, so that it is worth to try more than once.
        """

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name}: {self.describe}>" if "_ready" in self.__dict__ else f"<{name}>"  # in its own constructor

    def peek(self) -> Secret | None:
        """The token to send now, if that needs no waiting and nobody has to renew it; else None: ask `token()`.

        Takes no lock and does no I/O. While somebody renews, it is the token that is still good.
        """
        value, until = self._ready
        return value if self._clock() < until else None

    def meanwhile(self) -> Secret | None:
        """The token to go on with while another one is fetched: due for renewal maybe, but still good. Else None."""
        current = self._current
        return current.value if current is not None and self._clock() < current.expires_at else None

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        """As `TokenSource.token`. Raises what `_fetch` raises; those who waited for it get a copy."""
        while True:
            with self._lock:
                now, current, flight = self._clock(), self._current, self._flight
                due = verdict(current, now, force, rejected)
                fallback = None if current is None or due is Verdict.FETCH else current
                if fallback is not None and (due is Verdict.USE or flight is not None or now < self._pause_until):
                    return fallback.value
                if flight is None:
                    mine = self._flight = _Flight()
                    if fallback is not None:
                        self._ready = fallback.value, fallback.expires_at
                    break
            flight.landed.wait()
            if isinstance(flight.outcome, AccessToken):
                return flight.outcome.value
            if flight.outcome is not None:
                raise copy(flight.outcome)
        return self._lead(mine, fallback)

    def _lead(self, flight: _Flight, fallback: AccessToken | None) -> Secret:
        """Fetch for everybody who waits. A failed renewal ahead of time is no failure: the fallback is still good."""
        try:
            fresh = flight.outcome = self._fetch(fallback is None)
        except InvoraError as error:
            flight.outcome = copy(error)
            _LOG.debug("no token: %s", error)
            if fallback is None:
                raise
            return fallback.value
        finally:
            self._land(flight)
        _LOG.debug("token renewed")
        return fresh.value

    def _land(self, flight: _Flight) -> None:
        with self._lock:
            if self._flight is flight:
                self._flight = None
            if isinstance(flight.outcome, AccessToken):
                self._current = flight.outcome
            else:
                self._pause_until = self._clock() + RETRY_PAUSE
            self._ready = self._next_ready()
        flight.landed.set()

    def _next_ready(self) -> tuple[Secret | None, float]:
        """What `peek` answers while nothing is under way: until the renewal is due, or may be tried again."""
        current = self._current
        if current is None:
            return _NOTHING
        return current.value, min(current.expires_at, max(current.refresh_at, self._pause_until))

    def _retire(self) -> Secret | None:
        """Give the current token up, and return it if it is still good. Waits for a fetch that is under way."""
        while True:
            with self._lock:
                flight = self._flight
                if flight is None:
                    last = self.meanwhile()
                    self._current, self._ready = None, _NOTHING
                    return last
            flight.landed.wait()

    def after_fork(self) -> None:
        """The child keeps the token, and nothing else."""
        self._lock, self._flight = Lock(), None
        self._ready = self._next_ready()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        name = type(self).__name__
        raise TypeError(f"a {name} holds secrets and does not pickle; make it again in the other process")
