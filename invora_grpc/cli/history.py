"""The history of the shell on disk: readable by its owner only, and without the lines that hold a secret.

Such a line can be called back while the shell runs, and is nowhere afterwards. A line that begins with a blank is not
kept either, as in other shells.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import click
from platformdirs import user_state_path
from prompt_toolkit.history import FileHistory

from invora_grpc.config import Secret
from invora_grpc.errors import InvoraError

__all__ = ["CleanHistory", "has_secret", "history_path"]

_NAME: Final = (
    r"(?:secret|token|passw|passphrase|pwd|api[_-]?key|authori[sz]ation|cookie|credential|private[_-]?key|assertion"
    r"|otp|code[_-]?verifier)[\w.\[\]-]*"
)
_SECRETS: Final = re.compile(
    rf"""{_NAME}[\\"']*\s*:?[=:]"""  # a field, a header, a part of JSON
    rf"""|--[\w-]*{_NAME}\s"""  # an option with its value
    rf"""|\bset\s+[\w-]*{_NAME}"""
    r"""|\bbearer\s|\bbasic\s+[\w+/=]"""
    r"""|\bey[JI][\w-]{8,}\.[\w-]+"""  # a JSON Web Token begins with {" in base64
    r"""|-----BEGIN|://[^/\s@]*:[^/\s@]*@""",
    re.IGNORECASE,
)


def history_path() -> Path:
    """Where the history is: in the user's folder for state."""
    return user_state_path("invora-grpc") / "history"


def has_secret(line: str, known: Iterable[Secret] = ()) -> bool:
    """Whether a line holds one of the secrets that are known, or looks as if it held another one."""
    return _SECRETS.search(line) is not None or any(secret.reveal() in line for secret in known)


class CleanHistory(FileHistory):
    """A file of lines, mode 0600. `known` gives the secrets of the moment. Raises OSError if it cannot be made."""

    def __init__(self, path: Path, known: Callable[[], Iterable[Secret]]) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        path.chmod(0o600)
        self._known = known
        super().__init__(path)

    def store_string(self, string: str) -> None:
        """Write a line, unless it begins with a blank or holds a secret, or nobody can tell whether it does.

        Never raises: an error would go through the line editor, which prints its traceback.
        """
        if string.startswith((" ", "\t")):
            return
        with suppress(OSError, InvoraError, click.ClickException):
            if not has_secret(string, self._known()):
                super().store_string(string)
