"""Commands as processes of their own, forked from one that has the modules of `invora` loaded already.

They have arguments, environment, standard streams and exit codes as others have, and begin 0.3 s of work later. What a
command loads by itself, and how it ends, is to be seen where it is started anew: in test_cli_docs, for one.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

PATIENCE = 60.0
"""Seconds that a command may take."""
_STREAMS = ("stdin", "stdout", "stderr")
_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(
    [f"invora_grpc.cli.{name}" for name in ("calling", "login", "whoami", "profiles", "creds", "watch", "shell")]
)


def run(*arguments: str, environment: Mapping[str, str], typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run `invora` with these arguments to its end."""
    with TemporaryDirectory() as place:
        typed_in, out, err = (Path(place, name) for name in _STREAMS)
        typed_in.write_text(typed, "utf-8")
        process = _forking.Process(target=_command, args=(arguments, dict(environment), os.getcwd(), place))
        process.start()
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(arguments, PATIENCE)
        said = (path.read_text("utf-8") for path in (out, err))
        return subprocess.CompletedProcess(arguments, process.exitcode or 0, *said)


def _command(arguments: tuple[str, ...], environment: dict[str, str], folder: str, place: str) -> None:
    """Become the command: in the process that was forked for it."""
    from invora_grpc.cli import main

    for number, name in enumerate(_STREAMS):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT
        opened = os.open(Path(place, name), flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), "utf-8")
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8")
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", line_buffering=True)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["invora", *arguments]
    sys.exit(main())
