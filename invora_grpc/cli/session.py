"""What a shell keeps from one command to the next: open connections, and the last answer.

Commands tell it by `opened` and `answered`, and need not know whether a shell started them; without one, both do
nothing besides. It prints nothing and knows no command.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from invora_grpc.client import Invora

__all__ = ["NOTHING", "Session", "answered", "opened", "running"]

NOTHING = object()
"""The last answer before there is one."""


class _Kept(Invora):
    """A client that stays open when a command closes it."""

    def close(self, grace: float | None = None) -> None:
        """Nothing: the session closes it."""


class Session:
    """The state of one shell."""

    def __init__(self) -> None:
        self.answer: object = NOTHING
        """The last answer as plain JSON values; a list for a stream. NOTHING before there is one."""
        self._clients: dict[Hashable, Invora] = {}

    def client(self, key: Hashable, make: Callable[[], Invora]) -> Invora:
        """The client of these settings, opened once."""
        if key not in self._clients:
            self._clients[key] = make()
        client = self._clients[key]
        return _Kept._derived(client._connection, client._options)

    def close(self) -> None:
        """Close all clients."""
        while self._clients:
            self._clients.popitem()[1].close()


_SESSION: ContextVar[Session | None] = ContextVar("invora_session", default=None)


def opened(key: Hashable, make: Callable[[], Invora]) -> Invora:
    """A client to use and to close: a new one, or in a shell one that is open already if `key` is the same."""
    session = _SESSION.get()
    return make() if session is None else session.client(key, make)


def answered(value: object) -> None:
    """Let a shell have this answer, in plain JSON values, as `_`."""
    session = _SESSION.get()
    if session is not None:
        session.answer = value


@contextmanager
def running() -> Iterator[Session]:
    """The session of a shell; its clients are closed at the end."""
    session = Session()
    token = _SESSION.set(session)
    try:
        yield session
    finally:
        _SESSION.reset(token)
        session.close()
