"""Forks a process for each `invora` command that it is asked for: it has the modules loaded that commands need.

Who asks connects to the socket whose path is the argument, sends three streams, and what the command is as `request`
makes it. The answer is the exit code, as a letter of two bytes. A command whose asker goes away is ended. The server
ends when its standard input does. This room runs by itself: it must load nothing of the tests.
"""

from __future__ import annotations

import atexit
import gc
import io
import marshal
import os
import selectors
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

LOADED = (
    *("calling", "login", "whoami", "profiles", "creds", "watch", "shell", "explore", "schema", "recording", "load"),
    *("app", "opening"),
)
"""The modules of the command line that it loads."""
ELSEWHERE = (
    *("grpc._channel", "httpx", "httpcore", "encodings.idna"),
    *("invora_api.catalog", "invora_api.simple.invoices.v1.service_pb2"),
)
"""What most commands load besides."""


def request(arguments: Sequence[str], environment: Mapping[str, str], folder: str) -> bytes:
    """What to send for a command."""
    body = marshal.dumps((list(arguments), dict(environment), folder))
    return len(body).to_bytes(4) + body


def answer(code: int) -> bytes:
    """What is sent when a command has ended; negative for a signal."""
    return code.to_bytes(2, signed=True)


class Forking:
    """The server."""

    def __init__(self, path: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(64)
        self._ended, wakeup = socket.socketpair()
        for one in (self._ended, wakeup):
            one.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup.fileno())
        self._wakeup = wakeup
        self._selector = selectors.DefaultSelector()
        for source in (self._listener, self._ended, sys.stdin):
            self._selector.register(source, selectors.EVENT_READ)
        self._running: dict[int, socket.socket] = {}

    def serve(self) -> list[str] | None:
        """Fork until standard input ends. Returns in each child, with the arguments of its command, too."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is sys.stdin:
                    return None
                if key.fileobj is self._listener:
                    if (arguments := self._begin()) is not None:
                        return arguments
                elif key.fileobj is self._ended:
                    self._reap()
                else:
                    os.kill(key.data, signal.SIGTERM)
                    self._selector.unregister(key.fileobj)

    def _begin(self) -> list[str] | None:
        """Take what was asked for; the arguments in the child."""
        asking, _ = self._listener.accept()
        size, streams, _, _ = socket.recv_fds(asking, 4, 3)
        with asking.makefile("rb") as file:
            arguments, environment, folder = marshal.loads(file.read(int.from_bytes(size)))
        child = os.fork()
        if child:
            for one in streams:
                os.close(one)
            self._running[child] = asking
            self._selector.register(asking, selectors.EVENT_READ, child)
            return None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for other in (self._listener, self._ended, self._wakeup, asking, *self._running.values()):
            other.close()
        _become(streams, environment, folder)
        return list(arguments)

    def _reap(self) -> None:
        """Tell of the commands that have ended."""
        self._ended.recv(4096)
        while self._running:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                break
            asking = self._running.pop(child)
            if asking in self._selector.get_map():
                self._selector.unregister(asking)
                asking.send(answer(os.waitstatus_to_exitcode(status)))
            asking.close()


def _become(streams: list[int], environment: dict[str, str], folder: str) -> None:
    """Be a process with these streams and variables, in this folder."""
    for number, opened in enumerate(streams):
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8")
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(io.FileIO(2, "w", closefd=False)), "utf-8", line_buffering=True)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)


def _main() -> int:
    """Load, serve, and be a command in the children."""
    from invora_grpc.cli import main

    for name in (*(f"invora_grpc.cli.{one}" for one in LOADED), *ELSEWHERE):
        import_module(name)
    gc.freeze()  # memory that no child touches is shared by all
    forking = Forking(sys.argv[1])
    print("ready", flush=True)
    arguments = forking.serve()
    if arguments is None:
        return 0
    sys.argv = ["invora", *arguments]
    code = main()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # to take everything down in order is 40 ms of work, and seen where a command is started anew


if __name__ == "__main__":
    sys.exit(_main())
