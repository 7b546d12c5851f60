"""A terminal for tests: a program on a pseudo-terminal, and the screen as a person sees it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import pexpect
import pyte
from pexpect.fdpexpect import fdspawn

PATIENCE = 30.0
"""Seconds that a test waits for something to come onto the screen."""
_START = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
"""Makes standard input the terminal that Ctrl-C comes from. pexpect's own start forks this process, which has gRPC's
threads, and that writes warnings onto the screen."""
UP, TAB, CTRL_C, CTRL_D = "\x1b[A", "\t", "\x03", "\x04"


class Terminal:
    """A running program, with keyboard and screen."""

    def __init__(self, command: tuple[str, ...], columns: int, rows: int, variables: dict[str, str]) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("INVORA_")}
        keyboard, inside = pty.openpty()
        termios.tcsetwinsize(inside, (rows, columns))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, *command],
            env={**environment, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **variables},
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )
        os.close(inside)
        self._child: Any = fdspawn(keyboard, encoding="utf-8")
        self._screen = pyte.HistoryScreen(columns, rows, history=1000)
        self._screen.write_process_input = self._child.send  # where programs ask for the cursor's place
        self._stream = pyte.Stream(self._screen)
        self.raw = ""
        """All that was written, escapes included."""

    def type(self, keys: str) -> None:
        """Press keys."""
        self._child.send(keys)

    def enter(self, line: str) -> None:
        """Type a line."""
        self.type(f"{line}\r")

    @property
    def lines(self) -> list[str]:
        """The screen, from top to bottom."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def line(self) -> str:
        """The line that the cursor is in."""
        return self.lines[self._screen.cursor.y]

    def see(self, text: str, times: int = 1) -> None:
        """Wait until the text is on the screen so many times."""
        self.until(lambda: "\n".join(self.lines).count(text) >= times, f"{text!r} on the screen")

    def press_until(self, keys: str, text: str) -> None:
        """Press these keys again and again until the text is on the screen: for what becomes known in between."""
        for _ in range(int(PATIENCE)):
            self.type(keys)
            with suppress(AssertionError):
                return self.until(lambda: text in "\n".join(self.lines), text, 1.0)
        raise AssertionError("\n".join([f"no {text!r} on the screen:", *self.lines]))

    def at(self, line: str) -> None:
        """Wait until the cursor's line is this one."""
        self.until(lambda: self.line == line, f"{line!r} at the cursor")

    def end(self) -> int:
        """Wait until the program ends; its exit code."""
        self.until(lambda: False, "the end", at_end=True)
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        """End the program, if it has not ended."""
        self._process.kill()
        self._process.wait(PATIENCE)
        self._child.close()

    def until(self, seen: Any, what: str, patience: float = PATIENCE, at_end: bool = False) -> None:
        """Wait until this is so, or for the program's end."""
        deadline = time.monotonic() + patience
        while not seen():
            try:
                text = self._child.read_nonblocking(65536, timeout=max(0.0, deadline - time.monotonic()))
            except pexpect.TIMEOUT:
                raise AssertionError("\n".join([f"no {what}:", *self.lines])) from None
            except pexpect.EOF:
                if at_end:
                    return
                raise AssertionError("\n".join([f"ended without {what}:", *self.lines])) from None
            self.raw += text
            self._stream.feed(text)


def terminal(*arguments: str, columns: int = 80, rows: int = 24, **variables: str) -> AbstractContextManager[Terminal]:
    """`invora` with these arguments on a terminal of this size."""
    return program(sys.executable, "-m", "invora_grpc.cli", *arguments, columns=columns, rows=rows, **variables)


@contextmanager
def program(*command: str, columns: int = 80, rows: int = 24, **variables: str) -> Iterator[Terminal]:
    """Any program on a terminal of this size."""
    running = Terminal(command, columns, rows, variables)
    try:
        yield running
    finally:
        running.close()
