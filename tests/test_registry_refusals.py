"""What a registry, its credentials and a lock can be wrong about, and that no token is ever shown."""

from __future__ import annotations

import contextlib
import pickle
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest
from registry_server import Commit
from registry_world import MONEY, World, googleapis, running_world, shop

from invora_grpc.codegen.registry import Pin, RegistryError, from_registry, pins_of, render
from invora_grpc.errors import ConfigError

SECRET = "hunter2-of-the-registry"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with running_world(tmp_path, monkeypatch) as running:
        yield running


@pytest.mark.parametrize("renew", [False, True])
def test_content_that_differs_from_its_digest_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, renew: bool
) -> None:
    world.read("billing", renew=True)
    before = world.lock.read_bytes()
    monkeypatch.setenv("BUF_CACHE_DIR", str(world.folder / "another cache"))
    world.registry.tampered["kernel/money.proto"] = MONEY.replace(b"units", b"cents")
    world.registry.deprecated = True
    with pytest.raises(RegistryError, match="digest") as refused:
        world.read("billing", renew=renew)
    assert "deprecated" not in str(refused.value), "a warning is not the reason"
    assert "not what was pinned" in refused.value.hint
    assert world.lock.read_bytes() == before


def test_a_digest_in_the_lock_that_the_registry_does_not_know_is_refused(world: World) -> None:
    world.read("billing", renew=True)
    pins = [Pin(pin.module, pin.commit, f"b5:{'0' * 128}") for pin in pins_of(world.lock)]
    world.lock.write_text(render(pins))
    with pytest.raises(RegistryError, match="digest"):
        world.read("billing")


def test_a_failed_renewal_leaves_the_lock_as_it_is(world: World) -> None:
    world.read("billing", renew=True)
    before = world.lock.read_bytes()
    world.registry.push(*shop(b"this is no proto file"))
    with pytest.raises(RegistryError, match=r"invora/billing/plans\.proto.*; these commits do not fit together"):
        world.read("billing", renew=True)
    assert world.lock.read_bytes() == before
    assert [path.name for path in world.folder.iterdir()] == ["buf.lock"]


def test_the_token_travels_in_the_environment_and_the_header_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUF_TOKEN", SECRET)
    world.registry.token = SECRET
    with _commands_started() as commands:
        world.read("billing", renew=True)
    assert {header for _, header in world.registry.calls} == {f"Bearer {SECRET}"}
    assert [command[1] for command, _ in commands] == ["dep", "ls-files", "build"]
    assert SECRET not in repr([command for command, _ in commands])
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in world.folder.rglob("*") if path.is_file())


def test_the_token_of_the_netrc_file_is_used(world: World, tmp_path: Path) -> None:
    machine = f"machine {world.registry.host}\nlogin me\npassword {SECRET}\n"
    (tmp_path / "home/netrc").write_text(machine)
    world.registry.token = SECRET
    world.read("billing", renew=True)
    assert {header for _, header in world.registry.calls} == {f"Bearer {SECRET}"}


@pytest.mark.parametrize("token", [None, SECRET])
def test_a_refusal_says_how_to_sign_in(world: World, monkeypatch: pytest.MonkeyPatch, token: str | None) -> None:
    world.registry.token = "another"
    if token:
        monkeypatch.setenv("BUF_TOKEN", token)
    with pytest.raises(RegistryError, match="BUF_TOKEN") as refused:
        world.read("billing", renew=True)
    assert f"buf registry login {world.registry.host}" in refused.value.hint
    assert SECRET not in _all_that_is_told(refused.value)


@pytest.mark.parametrize("token", [f"{SECRET}@one@two", f"{SECRET},", f"other@host,{SECRET}"])
def test_a_malformed_token_is_not_shown_though_buf_shows_it(
    world: World, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("BUF_TOKEN", token)
    with pytest.raises(RegistryError, match="invalid token") as refused:
        world.read("billing", renew=True)
    assert SECRET not in _all_that_is_told(refused.value)


def test_a_module_that_is_not_there_is_named(world: World) -> None:
    with pytest.raises(RegistryError, match=r"invora/identity.* check its name"):
        world.read("identity", renew=True)


def test_a_pinned_commit_that_is_gone_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.read("common", renew=True)
    monkeypatch.setenv("BUF_CACHE_DIR", str(world.folder / "another cache"))
    world.registry.commits.clear()
    with pytest.raises(RegistryError, match=r"googleapis/googleapis.* check its name and commit"):
        world.read("common")


def test_files_that_two_modules_hold_are_named_with_both(world: World) -> None:
    world.registry.push(Commit("acme", "twin", {"kernel/money.proto": MONEY}, (googleapis(),)))
    with pytest.raises(RegistryError, match=r"kernel/money\.proto is contained in .*acme/twin; .*invora/common"):
        world.read("common", "acme/twin", renew=True)


def test_a_registry_that_is_not_there_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RegistryError, match=r"registry 127\.0\.0\.1:1: .*check the host, the network"):
        from_registry(["billing"], lock=world.lock, renew=True, host="127.0.0.1:1")
    assert not world.lock.exists()


def test_a_silent_registry_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUF_TIMEOUT", "0.3s")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RegistryError, match=r"deadline.* check the host, the network"):
            from_registry(["billing"], lock=world.lock, renew=True, host=host)


def test_a_silent_registry_is_given_up_also_if_no_time_is_set(world: World) -> None:
    with _commands_started() as commands:
        world.read("billing", renew=True)
    assert {environment["BUF_TIMEOUT"] for _, environment in commands} == {"120s"}


def test_a_certificate_of_nobody_s_trust_is_told_as_that(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    monkeypatch.setenv("SSL_CERT_DIR", str(world.folder))
    with pytest.raises(RegistryError, match=r"certificate.* SSL_CERT_FILE"):
        world.read("billing", renew=True)


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("biling", "did you mean billing"),
        ("zzz", "say one of billing, common"),
        ("a/b/c/d", "owner/name"),
        ("", "owner/name"),
    ],
)
def test_a_module_that_is_none_is_refused_before_anything_is_asked(world: World, module: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        world.read(module, renew=True)
    assert world.registry.calls == []


@pytest.mark.parametrize("host", ["", "https://buf.build", "buf.build/invora", "a\nb", "--help x"])
def test_a_host_that_is_none_is_refused(world: World, host: str) -> None:
    with pytest.raises(ConfigError, match=r"registry: .* is no host"):
        from_registry(["billing"], lock=world.lock, renew=True, host=host)


@pytest.mark.parametrize(
    "text",
    [
        "version: v1\n",
        "",
        "[]",
        "a: [",
        "version: v2\ndeps: [1]",
        "version: v2\ndeps: [{name: a, commit: b, digest: c}]",
    ],
)
def test_a_lock_of_another_kind_is_refused(world: World, text: str) -> None:
    world.lock.write_text(text)
    with pytest.raises(ConfigError, match=r"is not a buf\.lock of version v2; remove it and add --lock"):
        world.read("billing")


def _all_that_is_told(error: BaseException) -> str:
    """All forms that an error is shown in: also a traceback with the locals of our own frames, not of the test's."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    told = "".join(traceback.TracebackException(type(error), error, frames, capture_locals=True).format())
    behind = _all_that_is_told(error.__context__) if error.__context__ else ""
    return f"{error!r} {error} {error.__dict__} {pickle.dumps(error)!r} {told} {behind}"


@contextlib.contextmanager
def _commands_started() -> Iterator[list[tuple[Sequence[str], Mapping[str, str]]]]:
    """Arguments and environment of all processes that are started meanwhile, as the interpreter reports them."""
    seen: list[tuple[Sequence[str], Mapping[str, str]]] = []
    listening = True

    def listen(event: str, arguments: tuple[object, ...]) -> None:
        if listening and event == "subprocess.Popen":
            seen.append(cast(tuple[Sequence[str], Mapping[str, str]], (arguments[1], arguments[3])))

    sys.addaudithook(listen)  # there is no way to take one back
    yield seen
    listening = False
