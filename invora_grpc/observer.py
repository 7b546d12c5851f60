"""Observers: who is told about calls, and the one that writes them to the log.

This room defines what a client tells, guards calls against what an observer does wrong, and logs. It must not import
grpc or protobuf, and must never be given a token, the metadata of a call, or a body: nothing that leaves here can hold
one. Spans and metrics live in `invora_grpc.telemetry`.

In the call path it is one line, and None means that nobody looks: `seen = begin(observer, method, org, target)`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from invora_grpc.metadata import Pair, pairs_of

if TYPE_CHECKING:
    from invora_grpc.catalog import Method
    from invora_grpc.config import Target
    from invora_grpc.status import RpcError

__all__ = ["LoggingObserver", "Observation", "Observer", "begin"]

CALL_LOGGER: Final = "invora_grpc.call"
"""The logger of calls: at DEBUG one line per call, and one per failed try."""
_CALLS: Final = logging.getLogger(CALL_LOGGER)
_LOG: Final = logging.getLogger("invora_grpc.observer")
T = TypeVar("T")


class Observation(Protocol):
    """One call under observation, from before its first try to its end. May be used from several threads in turn."""

    @property
    def metadata(self) -> tuple[Pair, ...]:
        """What to add to the call's metadata, e.g. `traceparent`. Asked once, when the call begins. What the client
        sets itself (token, organization) or gRPC cannot send is left out, and worth a warning in the log."""
        ...

    def attempt(self, number: int, error: RpcError | None) -> None:
        """A try is over: its number, from 1, and its error; None if it worked."""
        ...

    def end(self, error: BaseException | None) -> None:
        """The call is over. Told once; of a stream when the stream ends, with None also if it was given up early.

        `error` is what the caller gets to see: an RpcError, but also a SignInError if there was no token to send.
        """
        ...


class Observer(Protocol):
    """Told about every call of a client. Shared between threads. What it raises never reaches the call."""

    def call(self, method: Method, org: str | None, target: Target) -> Observation:
        """A call begins: which RPC, in which organization (None: the token's own), on which gateway."""
        ...


def begin(observer: Observer | None, method: Method, org: str | None, target: Target) -> Observation | None:
    """The observation of one call: by `observer`, and by the log if `invora_grpc.call` is at DEBUG. None: by nobody.

    What comes back does not raise. Without an observer and without DEBUG this costs one look at the logger's level.
    """
    logged = _CALLS.isEnabledFor(logging.DEBUG)
    if observer is None and not logged:
        return None
    watchers = [one for one in (observer, _TO_THE_LOG if logged else None) if one is not None]
    seen = [_tried(partial(one.call, method, org, target), None) for one in watchers]
    return _Guarded([one for one in seen if one is not None])


class LoggingObserver:
    """Writes calls to a logger at DEBUG: method, organization, try, status, milliseconds, request id of an error.

    Clients use it by themselves as soon as the logger `invora_grpc.call` is at DEBUG; nobody has to pass it.
    """

    def __init__(self, logger: logging.Logger = _CALLS) -> None:
        self._logger = logger

    def call(self, method: Method, org: str | None, target: Target) -> Observation:
        """Begin to measure; nothing is written yet."""
        return LoggedCall(self._logger, method.path, org)


class LoggedCall:
    """A call that is written to the log. Also for the interceptors, which know no catalog."""

    metadata: tuple[tuple[str, str], ...] = ()

    def __init__(self, logger: logging.Logger, path: str, org: str | None) -> None:
        self._logger, self._subject = logger, f"{path} org={org or '-'}"
        self._started = self._try_started = time.monotonic()
        self._tries = 0

    def attempt(self, number: int, error: RpcError | None) -> None:
        """One line per failed try; the one that worked is part of the line of the end."""
        self._tries, began = number, self._try_started
        self._try_started = time.monotonic()
        if error is not None:
            self._write(began, f"try={number} {outcome(error)}", error.request_id)

    def end(self, error: BaseException | None) -> None:
        """One line per call."""
        said = f"tries={tries_of(self._tries, error)} {outcome(error)}"
        self._write(self._started, said, getattr(error, "request_id", None))

    def ended(self, status: str) -> None:
        """The same where tries are not known of."""
        self._write(self._started, status)

    def _write(self, began: float, said: str, request_id: str | None = None) -> None:
        milliseconds = (time.monotonic() - began) * 1000
        tail = f" request_id={request_id}" if request_id else ""
        self._logger.debug("%s %s %.1f ms%s", self._subject, said, milliseconds, tail)


def tries_of(told: int, error: BaseException | None) -> int:
    """How many tries a call took. One that worked took one at least: of streams, only failed tries are told."""
    return max(told, 1) if error is None else told


def outcome(error: BaseException | None) -> str:
    """`OK`, the name of the error's gRPC status, or the error's class. Never its words: they may quote anything."""
    code = getattr(error, "code", None)
    name = getattr(code, "name", None)
    return name if isinstance(name, str) else "OK" if error is None else type(error).__name__


class _Guarded:
    """Passes on what happens to those who watch, and lets nothing that they raise come back."""

    __slots__ = ("_seen", "metadata")

    def __init__(self, seen: list[Observation]) -> None:
        self._seen = seen
        nothing: tuple[Pair, ...] = ()
        self.metadata = tuple(pair for one in seen for pair in _tried(partial(_added, one), nothing))

    def attempt(self, number: int, error: RpcError | None) -> None:
        for one in self._seen:
            _tried(partial(one.attempt, number, error), None)

    def end(self, error: BaseException | None) -> None:
        for one in self._seen:
            _tried(partial(one.end, error), None)


def _added(one: Observation) -> tuple[Pair, ...]:
    """What an observation adds. Raises ConfigError for what is not free to use: one that could name another token or
    organization would act for somebody else."""
    return tuple(pairs_of(one.metadata))


def _tried(step: Callable[[], T], otherwise: T) -> T:
    """What the step of an observer gives; `otherwise` if it raises, which is worth a warning, without its words."""
    try:
        return step()
    except Exception as error:
        _LOG.warning("an observer failed and is ignored: %s", type(error).__name__)
        return otherwise


_TO_THE_LOG: Final = LoggingObserver()
