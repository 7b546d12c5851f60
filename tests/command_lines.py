"""Command lines as people type them: run by bash, in a home folder of their own, against a sandbox."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import forked
from sandbox_fixture import Running

BIN = Path(sys.executable).parent
"""Where the tools of the environment are: grpcurl, buf."""
PATIENCE = 30.0
"""Seconds that one line may take."""
_CODE = "  # exit code "


@dataclass(frozen=True, slots=True)
class Line:
    """One example."""

    text: str
    code: int = 0
    """The exit code that is right."""
    beside: bool = False
    """Whether it goes on while the lines after it run."""


def lines(text: str) -> list[Line]:
    """The examples of a block: those that go on over several lines are one; comments are left out."""
    found, begun = [], ""
    for row in text.splitlines():
        begun = f"{begun}\n{row}" if begun else row
        if not _whole(begun):
            continue
        typed, begun = begun.strip(), ""
        if typed and not typed.startswith("#"):
            found.append(_line(typed))
    assert not begun, f"an example without its end: {begun}"
    return found


def _whole(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return not text.endswith("\\")


def _line(text: str) -> Line:
    command, _, code = text.partition(_CODE)
    bare = " ".join(shlex.split(command, comments=True)[-1:])
    return Line(command, int(code or 0), bare == "&")


@dataclass
class Home:
    """A home folder, and what is set in its shells."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.work.mkdir(parents=True)
        self.program("invora", *forked.shell_command())

    def program(self, name: str, *arguments: str) -> None:
        """Make a command that runs Python with these arguments, and those that it is given."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, *arguments])} "$@"\n')
        path.chmod(0o755)

    @contextmanager
    def from_scratch(self) -> Iterator[None]:
        """Meanwhile, `invora` is a program that loads all that it needs, as it is for everybody else."""
        self.program("invora", "-m", "invora_grpc.cli")
        yield
        self.program("invora", *forked.shell_command())

    @property
    def work(self) -> Path:
        """The folder in which lines run."""
        return self.folder / "work"

    @property
    def environment(self) -> dict[str, str]:
        """All variables: none of the person's own settings, and no keyring of the machine."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("INVORA_", "XDG_"))}
        own = {
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder / ".config"),
            "XDG_CACHE_HOME": str(self.folder / ".cache"),
            "XDG_STATE_HOME": str(self.folder / ".state"),
            "PATH": f"{self.folder / 'bin'}:{BIN}:{kept.get('PATH', '')}",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            "NO_COLOR": "1",
        }
        return kept | own | self.variables

    def run(self, text: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run a line to its end."""
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", text],
            input=typed,
            check=False,
            capture_output=True,
            text=True,
            cwd=self.work,
            env=self.environment,
            timeout=PATIENCE,
        )

    def run_all(self, examples: Iterable[Line]) -> list[str]:
        """Run examples one after the other; what is wrong with those that end otherwise than they should."""
        wrong = []
        with self._aside() as aside:
            for example in examples:
                if example.beside:
                    aside.append(self._start(example.text.rstrip("& ")))
                    continue
                try:
                    ended = self.run(example.text)
                except subprocess.TimeoutExpired:
                    wrong.append(f"{example.text}\ndoes not end")
                    continue
                if ended.returncode != example.code or "Traceback" in ended.stderr:
                    wrong.append(f"{example.text}\nends with {ended.returncode}: {ended.stderr or ended.stdout}")
            wrong += [f"{process.args!r} has ended by itself" for process in aside if process.poll() is not None]
        return wrong

    @contextmanager
    def _aside(self) -> Iterator[list[subprocess.Popen[bytes]]]:
        """What goes on beside the rest; ended at the end."""
        started: list[subprocess.Popen[bytes]] = []
        try:
            yield started
        finally:
            for process in started:
                process.terminate()
                process.wait(PATIENCE)

    def _start(self, text: str) -> subprocess.Popen[bytes]:
        """Start a line; it has started when its ready file is there."""
        words = shlex.split(text)
        started = subprocess.Popen(
            ["bash", "-c", f"exec {text}"],
            cwd=self.work,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ready = self.work / words[words.index("--ready-file") + 1]
        deadline = time.monotonic() + PATIENCE
        while not ready.exists() and started.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return started


def settings_of(demo: Running) -> dict[str, str]:
    """The variables by which commands find a sandbox and sign in to it."""
    return {
        "INVORA_ENV": "sandbox",
        "INVORA_ENDPOINT": f"http://{demo.grpc}",
        "INVORA_ISSUER": demo.issuer,
        "INVORA_CLIENT_ID": demo.client_id,
        "INVORA_CLIENT_SECRET": demo.client_secret,
    }
