"""Running buf: found beside the interpreter or on PATH, started without a shell, its complaints kept as data.

The one place that starts it. What it is asked to do is decided by those who call; nothing here prints, and what buf
is given in its environment gets into no error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from invora_grpc.errors import ConfigError, InvoraError, one_line

__all__ = ["BufError", "complaints", "run", "search_path"]

_SECRET: Final = 4
"""Characters that a part of a token has at least: what is shorter stands in every other word."""
_GOGC: Final = "400"
"""How far buf's memory may grow until Go collects garbage, in per cent: by Go's default of 100, a third of the time of
these short runs goes there. A GOGC in the environment counts more."""
_NOTE: Final = re.compile(r"^(Failure|Warning): ")


class BufError(InvoraError):
    """buf, or protoc in its place, said that something is wrong: with sources, with the registry, or with a plugin."""

    command: str
    """What was run, e.g. `buf build`."""
    complaints: tuple[str, ...]
    """Its lines, one each, safe to print."""

    def __init__(self, command: str, complaints: tuple[str, ...]) -> None:
        first = complaints[0] if complaints else "it gave no reason"
        more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
        super().__init__(one_line(f"{command} failed: {first}{more}"))
        self.command, self.complaints = command, complaints


def run(
    *arguments: str,
    data: bytes = b"",
    cwd: Path | None = None,
    env: Mapping[str, str] = MappingProxyType({}),
    accepted: Collection[int] = (0,),
) -> bytes:
    """Run buf and return its standard output. `data`: its standard input; `env`: variables besides this process's own;
    `accepted`: the exit codes that are no failure.

    Raises ConfigError if buf is not installed, and BufError if it fails.
    """
    path = search_path()
    found = shutil.which("buf", path=path)
    if found is None:
        raise ConfigError("buf", None, "pip install 'invora-grpc[codegen]'", "is not installed here")
    code, output, said = _run([found, *arguments], data, cwd, {"PATH": path, **env})
    if code not in accepted:
        raise BufError(f"buf {arguments[0]}", said)
    return output


def _run(
    command: Sequence[str], data: bytes, cwd: Path | None, env: Mapping[str, str]
) -> tuple[int, bytes, tuple[str, ...]]:
    """Exit code, output, and complaints. Raises nothing: what buf says may hold a token until it is masked here."""
    environ = {"GOGC": _GOGC, **os.environ, **env}
    result = subprocess.run(command, check=False, input=data, capture_output=True, cwd=cwd, env=environ)
    said = complaints(result.stdout + b"\n" + result.stderr) if result.returncode else ()
    return result.returncode, result.stdout, tuple(_masked(line, environ) for line in said)


def _masked(line: str, environ: Mapping[str, str]) -> str:
    """The line without the registry's tokens (`token@host,…`): buf repeats what it cannot read."""
    for part in re.split(r"[,@]", environ.get("BUF_TOKEN", "")):
        line = line.replace(part, "***") if len(part) >= _SECRET else line
    return line


def search_path() -> str:
    """PATH, after the folder of this interpreter: tools of a virtual environment are found without activating it."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def complaints(output: bytes) -> tuple[str, ...]:
    """What a compiler said, a line each, safe to print and each once."""
    lines = (one_line(_NOTE.sub("", line)) for line in output.decode(errors="replace").splitlines())
    return tuple(dict.fromkeys(line for line in lines if line))
