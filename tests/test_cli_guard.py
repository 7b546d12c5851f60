"""The guard before changes in production, as a person and as a script meet it.

The gateway of the tests is reached as https://gateway.example through a proxy on loopback: only what looks like a real
gateway is production.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import forked
import pytest
from certificates import authority
from faulty_servers import accepting
from gateway import Gateway, running_gateway
from terminal import program

NAME = "gateway.example"
CHANGE = ("billing.customers.create", "input.external_id=acme")
LOOK = ("billing.customers.get", "external_id=acme")


@dataclass(frozen=True)
class Production:
    """A gateway, and what makes commands take it for the one of production."""

    gateway: Gateway
    variables: dict[str, str]
    options: list[str]

    def invora(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command that nobody watches."""
        return forked.run(*words, *self.options, environment=self.variables)

    def line(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "invora_grpc.cli", *words, *self.options]

    def asked(self, answer: str) -> tuple[str, int]:
        """What a terminal shows of a change, and its exit code, if a person answers this to the question."""
        with program(*self.line("call", *CHANGE), columns=300, **self.variables) as terminal:
            terminal.see("Send it? [y/N]:")
            shown = "\n".join(terminal.lines)
            assert self.gateway.received == []
            terminal.enter(answer)
            return shown, terminal.end()


def _through(port: int, line: socket.socket) -> None:
    """Connect a client of a proxy with this port, whatever it asks for."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += line.recv(10_000)
    assert head.startswith(f"CONNECT {NAME}:443 ".encode())
    with socket.create_connection(("127.0.0.1", port)) as server:
        line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        back = threading.Thread(target=_copy, args=(server, line), daemon=True)
        back.start()
        _copy(line, server)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    folder, ours = tmp_path_factory.mktemp("production"), authority()
    roots: Path = folder / "roots.pem"
    roots.write_bytes(ours.pem)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INVORA_")}
    kept = {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}
    with running_gateway(*ours.issue(NAME)) as gateway:
        port = int(gateway.address.rpartition(":")[2])
        with accepting(lambda line: _through(port, line)) as proxy:
            variables = {"INVORA_TOKEN": "t0k3n-t0k3n", "grpc_proxy": f"http://127.0.0.1:{proxy}"}
            home = {"XDG_CONFIG_HOME": str(folder), "XDG_STATE_HOME": str(folder)}
            options = ["--endpoint", f"https://{NAME}", "--schema", "trust", "--cacert", str(roots)]
            yield Production(gateway, kept | home | variables, options)


@pytest.fixture
def production(one: Production) -> Production:
    one.gateway.received.clear()
    return one


def test_a_script_changes_nothing_in_production_unless_it_says_yes(production: Production) -> None:
    refused = production.invora("call", *CHANGE)
    assert (refused.returncode, production.gateway.received) == (2, [])
    assert f"changes production (production, {NAME}:443, the caller's own organization)" in refused.stderr
    assert "give --yes if that is meant; nothing was sent" in refused.stderr
    meant = production.invora("call", *CHANGE, "--yes")
    assert (meant.returncode, meant.stderr) == (0, "")
    assert [received.request.input.external_id for received in production.gateway.received] == ["acme"]


def test_what_only_reads_needs_no_yes_in_production(production: Production) -> None:
    assert production.invora("call", *LOOK).returncode == 0
    assert len(production.gateway.received) == 1


def test_commands_that_repeat_calls_send_changes_to_production_with_yes_only(
    production: Production, tmp_path: Path
) -> None:
    file = str(tmp_path / "calls.yaml")
    for words in (["record", file, *CHANGE], ["bench", *CHANGE, "-n", "1", "--warm-up", "0"]):
        production.gateway.received.clear()
        assert (production.invora(*words).returncode, production.gateway.received) == (2, [])
        assert production.invora(*words, "--yes").returncode == 0
        assert len(production.gateway.received) == 1
    production.gateway.received.clear()
    assert (production.invora("replay", file).returncode, production.gateway.received) == (2, [])
    assert production.invora("replay", file, "--yes").returncode == 0
    assert len(production.gateway.received) == 1


def test_a_person_is_asked_and_a_no_sends_nothing(production: Production) -> None:
    shown, code = production.asked("n")
    assert f"billing.customers.create changes production: production, {NAME}:443" in shown
    assert (code, production.gateway.received) == (130, [])


def test_a_person_who_says_yes_has_it_sent(production: Production) -> None:
    assert production.asked("y")[1] == 0
    assert len(production.gateway.received) == 1
