"""Commands as processes of their own, forked from one that has the modules of `invora` loaded already.

They have arguments, environment, standard streams and exit codes as others have, and begin 0.3 s of work later. What a
command loads by itself, and how it ends, is to be seen where it is started anew: in test_cli_docs, for one.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import forking_server

PATIENCE = 60.0
"""Seconds that a command may take."""
_FOLDER = Path(__file__).parent


@cache
def address() -> str:
    """Where the server that forks listens: one for this process, begun when it is first asked for."""
    place = TemporaryDirectory(prefix="forked-")
    path = os.path.join(place.name, "socket")
    server = subprocess.Popen(
        [sys.executable, str(_FOLDER / "forking_server.py"), path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    def end() -> None:
        server.communicate()
        place.cleanup()

    atexit.register(end)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    return path


def shell_command() -> list[str]:
    """What Python has to run, by its arguments, to be such a command: 20 ms of work."""
    return ["-ISE", str(_FOLDER / "forked_command.py"), address()]


def run(*arguments: str, environment: Mapping[str, str], typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run `invora` with these arguments to its end."""
    with TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as server:
        typed_in, out, err = (Path(place, name) for name in ("stdin", "stdout", "stderr"))
        typed_in.write_text(typed, "utf-8")
        server.settimeout(PATIENCE)
        server.connect(address())
        request = forking_server.request(arguments, environment, os.getcwd())
        with typed_in.open("rb") as first, out.open("wb") as second, err.open("wb") as third:
            socket.send_fds(server, [request[:4]], [one.fileno() for one in (first, second, third)])
        server.sendall(request[4:])
        try:
            code = int.from_bytes(server.recv(2), signed=True)
        except TimeoutError:
            raise subprocess.TimeoutExpired(arguments, PATIENCE) from None
        return subprocess.CompletedProcess(arguments, code, *(path.read_text("utf-8") for path in (out, err)))
