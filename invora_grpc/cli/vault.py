"""Where the secrets of sign-ins are: in the keyring of the operating system, else in a file only its owner can read.

A vault maps the name of a profile to one text. This room knows nothing about tokens, writes no secret anywhere else,
and shows none: what a keyring raises may quote one, hence does not leave it.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from invora_grpc.cli.configuration import config_folder, write_safely
from invora_grpc.config import Secret
from invora_grpc.errors import ConfigError

__all__ = ["FileVault", "KeyringVault", "Vault", "choose", "exclusive", "vault_of"]

_SERVICE: Final = "invora-grpc"
_PROBE: Final = ".probe"
"""No name of a profile."""
_FIRST_REAL: Final = 1
"""The priority from which on keyring's backends are ones of the operating system; others keep plain files."""


class Vault(Protocol):
    """Keeps one secret text for each profile."""

    kind: str
    """How the config file names it."""

    @property
    def where(self) -> str:
        """In words, for people."""
        ...

    def load(self, name: str) -> Secret | None:
        """The text of a profile; None if there is none. Raises ConfigError."""
        ...

    def store(self, name: str, text: Secret) -> None:
        """Keep a text, in place of an earlier one. Raises ConfigError."""
        ...

    def remove(self, name: str) -> None:
        """Forget the text of a profile, if there is one. Raises ConfigError."""
        ...


class KeyringVault:
    """The keyring of the operating system, by way of the package keyring."""

    kind = "keyring"

    @property
    def where(self) -> str:
        return f"the keyring ({_backend_name()})"

    def load(self, name: str) -> Secret | None:
        import keyring

        return _asked("cannot be read", lambda: keyring.get_password(_SERVICE, name))

    def store(self, name: str, text: Secret) -> None:
        import keyring

        _asked("cannot be written", lambda: keyring.set_password(_SERVICE, name, text.reveal()))

    def remove(self, name: str) -> None:
        import keyring

        if self.load(name) is not None:
            _asked("cannot be written", lambda: keyring.delete_password(_SERVICE, name))

    @property
    def works(self) -> bool:
        """Whether it keeps what it is given, which is tried out. Loads the package; False without it."""
        try:
            import keyring
        except ModuleNotFoundError:
            return False
        try:
            if keyring.get_keyring().priority < _FIRST_REAL:
                return False
            self.store(_PROBE, Secret("probe"))
            kept = self.load(_PROBE) == Secret("probe")
            self.remove(_PROBE)
        except Exception:  # backends raise whatever their systems do
            return False
        return kept


class FileVault:
    """One JSON file beside the config file, of mode 0600. Safe against other processes that write at the same time."""

    kind = "file"

    def __init__(self, folder: Path | None = None) -> None:
        self._path = (folder or config_folder()) / "secrets.json"

    @property
    def where(self) -> str:
        return f"the file {self._path} (mode 0600)"

    def load(self, name: str) -> Secret | None:
        return self._all().get(name)

    def store(self, name: str, text: Secret) -> None:
        with self._changing() as texts:
            texts[name] = text

    def remove(self, name: str) -> None:
        if name in self._all():
            with self._changing() as texts:
                texts.pop(name, None)

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Secret]]:
        try:
            with exclusive(self._path.parent, "secrets"):
                texts = self._all()
                yield texts
                write_safely(self._path, _joined(texts))
        except OSError as error:
            problem = f"cannot be written: {error.strerror or type(error).__name__}"
            raise ConfigError("vault", str(self._path), "make its folder writable", problem) from None

    def _all(self) -> dict[str, Secret]:
        try:
            with open(self._path, "rb") as file:
                if sys.platform != "win32" and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                    hint = f"others may have read it: chmod 600 {self._path}, and better renew what is in it"
                    raise ConfigError("vault", str(self._path), hint, "can be read by others")
                texts = _parted(Secret(file.read().decode("utf-8", "replace") or "{}"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigError("vault", str(self._path), "make it readable", error.strerror or "") from None
        if texts is None:
            raise ConfigError("vault", str(self._path), "move it away and sign in again", "is damaged")
        return texts


def choose(wanted: str | None = None) -> tuple[Vault, str]:
    """The vault to put new secrets in, and what a person must know about it.

    `wanted`: "keyring" or "file"; None: the keyring if it works, else the file. Raises ConfigError if the keyring is
    wanted and does not work.
    """
    if wanted == "file":
        return FileVault(), f"secrets are kept in {FileVault().where}"
    keyring = KeyringVault()
    if keyring.works:
        return keyring, f"secrets are kept in {keyring.where}"
    if wanted == "keyring":
        raise ConfigError("vault", "keyring", "use --vault file", "does not work on this machine")
    return FileVault(), f"no keyring works on this machine: secrets are kept in {FileVault().where}"


def vault_of(kind: str | None) -> Vault:
    """The vault that the config file names."""
    return KeyringVault() if kind == "keyring" else FileVault()


@contextmanager
def exclusive(folder: Path, name: str) -> Iterator[None]:
    """One process at a time, for what reads and then writes. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield  # no advisory locks; the files themselves are replaced as a whole
        return
    import fcntl

    with open(os.open(folder / f".{name}.lock", os.O_RDWR | os.O_CREAT, 0o600), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _asked(problem: str, question: Callable[[], str | None]) -> Secret | None:
    """What a keyring answers. Raises a ConfigError that is not chained: a keyring's own holds what it was given."""
    answer, failure = _tried(question)
    if failure:
        raise ConfigError("vault", "keyring", "unlock it, or use --vault file", f"{problem} ({failure})")
    return answer


def _tried(question: Callable[[], str | None]) -> tuple[Secret | None, str]:
    """The answer, and how the exception is called that came instead. Never raises: its locals are plain."""
    try:
        text = question()
    except Exception as error:  # backends raise whatever their systems do
        return None, type(error).__name__
    return (Secret(text) if isinstance(text, str) and text else None), ""


def _backend_name() -> str:
    import keyring

    return str(getattr(keyring.get_keyring(), "name", "keyring"))


def _joined(texts: Mapping[str, Secret]) -> Secret:
    return Secret(json.dumps({name: text.reveal() for name, text in texts.items()}, indent=1))


def _parted(text: Secret) -> dict[str, Secret] | None:
    """The texts in the file's content; None if it is damaged. Never raises: its locals are plain."""
    try:
        document: Any = json.loads(text.reveal())
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not all(isinstance(each, str) and each for each in document.values()):
        return None
    return {name: Secret(each) for name, each in document.items()}
