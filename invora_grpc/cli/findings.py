"""What `invora doctor` finds: one line per look, the fault if there is one, and the time that is left.

The words only. Looking is done by `invora_grpc.cli.probing` (sockets) and `invora_grpc.cli.checks` (calls); this room
opens nothing and must not import grpc or protobuf.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum, IntEnum
from threading import Thread
from typing import TypeVar

from invora_grpc.errors import one_line

__all__ = ["Deadline", "Fault", "Finding", "Mark", "Trouble", "root_cause", "within"]

T = TypeVar("T")


class Fault(IntEnum):
    """What is wrong; the number is the exit code. Codes of other commands (1, 2, 64 to 80, 130) are not among them."""

    CONFIG = 40
    """A setting is missing or wrong."""
    DNS = 41
    """A host name does not resolve."""
    TCP = 42
    """Nothing accepts connections there."""
    PLAINTEXT = 43
    """One end speaks TLS, and the other one does not."""
    ALPN = 44
    """TLS without HTTP/2 (RFC 7301; gRPC needs the protocol h2)."""
    CERTIFICATE = 45
    """A certificate is not trusted, is for another host, has expired, or is asked of the client."""
    AUTH = 46
    """There is no token to be had, or the gateway refuses it."""
    TENANT = 47
    """The caller may not act in the organization."""
    REFLECTION = 48
    """The gateway does not say what it serves."""
    CLOCK = 49
    """This machine's clock is not the issuer's."""
    TLS = 50
    """The TLS handshake fails for another reason."""
    PROTOCOL = 51
    """What listens speaks no HTTP/2, or says nothing."""
    CALL = 52
    """The connection is fine, and calls fail all the same."""
    SCHEMA = 53
    """The gateway's schema does not fit this package's."""


class Mark(Enum):
    """How a look went."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One look at one thing."""

    subject: str
    """What was looked at, e.g. `gateway tcp`."""
    mark: Mark
    text: str
    """One line, safe to print."""
    hint: str = ""
    """The way out."""
    fault: Fault | None = None
    seconds: float | None = None
    timely: bool = False
    """Whether a wrong clock on this machine would look the same."""

    @classmethod
    def fine(cls, subject: str, text: str, seconds: float | None = None) -> Finding:
        """Nothing is wrong."""
        return cls(subject, Mark.OK, one_line(text, 500), seconds=seconds)

    @classmethod
    def skipped(cls, subject: str, why: str) -> Finding:
        """Nobody looked."""
        return cls(subject, Mark.SKIPPED, one_line(why, 500))

    @classmethod
    def warning(cls, subject: str, text: str, hint: str = "", seconds: float | None = None) -> Finding:
        """Worth knowing, and no fault."""
        return cls(subject, Mark.WARNING, one_line(text, 500), hint, seconds=seconds)


class Trouble(Exception):
    """A look that found a fault. `problem` and `hint` are words for people."""

    def __init__(self, fault: Fault, problem: str, hint: str, *, timely: bool = False) -> None:
        super().__init__(problem)
        self.fault, self.problem, self.hint, self.timely = fault, problem, hint, timely

    def finding(self, subject: str, seconds: float | None = None) -> Finding:
        """The same as a line of the page."""
        text, hint = one_line(self.problem, 500), one_line(self.hint, 500)
        return Finding(subject, Mark.FAULT, text, hint, self.fault, seconds, self.timely)


def root_cause(findings: Iterable[Finding]) -> Finding | None:
    """The fault to begin with: the first one, or the clock if that would explain it. None if there is no fault."""
    faults = [one for one in findings if one.mark is Mark.FAULT]
    clock = next((one for one in faults if one.fault is Fault.CLOCK), None)
    return clock if faults and faults[0].timely and clock is not None else next(iter(faults), None)


class Deadline:
    """Seconds for everything together, counted from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left; never quite none, since a socket takes 0 for "do not wait"."""
        return max(self._end - time.monotonic(), 0.001)

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return time.monotonic() >= self._end


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns. Raises TimeoutError if that takes longer, and leaves it behind in its thread.

    For what cannot be bounded from outside: a resolver, and a token source that waits as it likes.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, name="invora-doctor", daemon=True).start()
    return done.result(seconds)
