"""Where the secrets of sign-ins are, and how they are renewed by several processes at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import keyring
import pytest
from auth_issuer import PLAIN, as_json, running_issuer, text_with_locals
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from invora_grpc.cli.configuration import Profile
from invora_grpc.cli.signing import CLIENT, SESSION, TOKEN, SignIn, load, store, stored_source
from invora_grpc.cli.vault import FileVault, KeyringVault, choose
from invora_grpc.config import Secret, load_settings
from invora_grpc.errors import ConfigError

HOME = "http://127.0.0.1:1"
SHOP = Profile("shop", endpoint=HOME, sign_in=CLIENT, vault="file")
SETTINGS = load_settings(endpoint=HOME, environ={})


class Memory(KeyringBackend):
    """A keyring of the operating system, as the package keyring sees one; it can be locked."""

    priority = 5
    name = "the test's keyring"
    kept: ClassVar[dict[tuple[str, str], str]] = {}
    locked = False

    def get_password(self, service: str, name: str) -> str | None:
        return self.kept.get((service, name))

    def set_password(self, service: str, name: str, text: str) -> None:
        if Memory.locked:
            raise KeyringLocked("cannot unlock for " + text)
        self.kept[service, name] = text

    def delete_password(self, service: str, name: str) -> None:
        del self.kept[service, name]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INVORA_CONFIG_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def keyring_backend() -> Iterator[Any]:
    """A keyring of the operating system, as the package keyring sees one."""
    before = keyring.get_keyring()
    keyring.set_keyring(Memory())
    Memory.kept, Memory.locked = {}, False
    yield Memory
    keyring.set_keyring(before)


def signed(kind: str = CLIENT, issuer: str = "http://127.0.0.1:2", **more: object) -> SignIn:
    secret = {} if kind == TOKEN else {"client_secret": Secret(PLAIN)}
    return replace(SignIn(kind, HOME, issuer, "abc", "openid", **secret), **more)


# --- the file ---


def test_the_file_gives_back_what_it_took_and_only_its_owner_reads_it(folder: Path) -> None:
    FileVault().store("a", Secret("1"))
    FileVault().store("b", Secret("2"))
    FileVault().remove("a")
    assert (FileVault().load("a"), FileVault().load("b")) == (None, Secret("2"))
    assert (folder / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_can_read_is_refused(folder: Path) -> None:
    FileVault().store("a", Secret("1"))
    (folder / "secrets.json").chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others; others may have read it: chmod 600"):
        FileVault().load("a")


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', "[" * 100_000])
def test_a_damaged_file_is_named_and_shows_nothing(folder: Path, text: str) -> None:
    FileVault().store("a", Secret("1"))
    (folder / "secrets.json").write_text(text)
    with pytest.raises(ConfigError, match="is damaged"):
        FileVault().load("a")


def test_processes_that_write_at_once_lose_nothing(folder: Path) -> None:
    code = "import sys; from invora_grpc.cli.vault import FileVault; from invora_grpc.config import Secret\n"
    code += "for n in range(20): FileVault().store(f'{sys.argv[1]}-{n}', Secret('x'))"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(n)], env=dict(os.environ)) for n in range(3)]
    assert [writer.wait(30) for writer in writers] == [0, 0, 0]
    assert all(FileVault().load(f"{writer}-{n}") for writer in range(3) for n in range(20))


# --- the keyring ---


def test_a_keyring_that_works_is_taken_and_said(keyring_backend: Any) -> None:
    vault, note = choose()
    assert (vault.kind, note) == ("keyring", "secrets are kept in the keyring (the test's keyring)")
    vault.store("a", Secret("1"))
    assert vault.load("a") == Secret("1")
    vault.remove("a")
    vault.remove("a")
    assert (vault.load("a"), keyring_backend.kept) == (None, {})


def test_without_one_the_file_is_taken_and_that_is_said(keyring_backend: Any) -> None:
    keyring_backend.locked = True
    vault, note = choose()
    assert vault.kind == "file"
    assert note.startswith("no keyring works on this machine: secrets are kept in the file ")
    with pytest.raises(ConfigError, match="does not work on this machine"):
        choose("keyring")


def test_what_a_keyring_raises_leaves_no_secret(keyring_backend: Any) -> None:
    keyring_backend.locked = True
    with pytest.raises(ConfigError, match=r"cannot be written \(KeyringLocked\)") as caught:
        KeyringVault().store("a", Secret(PLAIN))
    assert PLAIN not in text_with_locals(caught.value)


# --- sign-ins ---


def test_a_stored_sign_in_is_read_as_it_was_and_shows_nothing() -> None:
    full = signed(refresh_token=Secret("r"), access_token=Secret("t"), expires_at=5.0)
    store("shop", full, FileVault())
    assert load(SHOP) == full
    assert PLAIN not in repr(full)


def test_a_sign_in_for_another_gateway_is_refused() -> None:
    store("shop", signed(endpoint="http://127.0.0.1:9"), FileVault())
    with pytest.raises(ConfigError, match=r"was signed in for http://127\.0\.0\.1:9, which"):
        stored_source(SHOP, SETTINGS)


def test_a_profile_without_its_secrets_says_how_to_sign_in() -> None:
    with pytest.raises(ConfigError, match="'shop' is not signed in; sign in: invora login --profile shop"):
        stored_source(SHOP, SETTINGS)


def test_a_token_that_still_lives_asks_no_issuer_and_loads_no_http() -> None:
    store("shop", signed(access_token=Secret("t"), expires_at=time.time() + 60), FileVault())
    code = "import sys; from invora_grpc.cli.configuration import Profile\n"
    code += "from invora_grpc.cli.signing import stored_source; from invora_grpc.config import load_settings\n"
    code += f"s = stored_source(Profile('shop', endpoint={HOME!r}, sign_in='client', vault='file'),"
    code += f" load_settings(endpoint={HOME!r})); print(s.token().reveal(), 'httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout == "t False\n", done.stderr


def test_a_token_that_has_ended_is_renewed_and_kept() -> None:
    with running_issuer() as issuer:
        store("shop", signed(issuer=issuer.url, access_token=Secret("t"), expires_at=time.time() + 20), FileVault())
        assert stored_source(SHOP, SETTINGS).token() == Secret("token-1")
        assert stored_source(SHOP, SETTINGS).token() == Secret("token-1")
        assert len(issuer.forms) == 1
    assert load(SHOP).access_token == Secret("token-1")


def test_a_rotated_refresh_token_is_kept() -> None:
    with running_issuer() as issuer:
        issuer.on_token = lambda number: as_json(issuer.grant(number, refresh_token=f"refresh-{number}"))
        session = SignIn(SESSION, HOME, issuer.url, "abc", "openid", refresh_token=Secret("first"))
        store("shop", session, FileVault())
        source = stored_source(SHOP, SETTINGS)
        source.token()
        source.token(force=True)
        assert [form["refresh_token"] for form in issuer.forms] == ["first", "refresh-1"]
    assert load(SHOP).refresh_token == Secret("refresh-2")


def test_processes_that_renew_at_once_spend_a_refresh_token_once() -> None:
    with running_issuer() as issuer:
        issuer.on_token = lambda number: as_json(issuer.grant(number, refresh_token=f"refresh-{number}"))
        session = SignIn(SESSION, HOME, issuer.url, "abc", "openid", refresh_token=Secret("first"))
        store("shop", session, FileVault())
        sources = [stored_source(SHOP, SETTINGS) for _ in range(4)]  # as each process has its own
        found: list[Secret] = []
        threads = [threading.Thread(target=lambda one=one: found.append(one.token())) for one in sources]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert (len(found), set(found), len(issuer.forms)) == (4, {Secret("token-1")}, 1)
