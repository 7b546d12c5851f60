"""What the sandbox has acknowledged survives the death of its process: a real process, a real SIGKILL."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from invora_grpc import Invora, RpcError

CREATES = 200
KILL_AFTER = 80


@contextmanager
def sandbox_process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """`invora sandbox` on free ports with its state in `folder`; ready as soon as its first line is out."""
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "invora_grpc.cli", "sandbox", "--grpc-port", "0", "--http-port", "0"]
    command += ["--data", str(folder / "state.sqlite"), "--seed", "demo", "--ready-file", str(ready)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), "the sandbox ended before it was ready"
        yield process, json.loads(ready.read_text())
    finally:
        process.kill()
        process.communicate()


def client_of(ready: dict[str, str]) -> Invora:
    return Invora(
        endpoint=f"http://{ready['grpc']}",
        issuer=ready["issuer"],
        client_id=ready["client_id"],
        client_secret=ready["client_secret"],
        timeout=20,
    )


def create_until_killed(client: Invora, process: subprocess.Popen[str]) -> set[str]:
    """Create from four threads; kill the server in the middle; return the keys that it acknowledged."""
    acknowledged: set[str] = set()
    lock = threading.Lock()
    numbers = iter(range(CREATES))
    changes = {"currency_code": "SAR", "buyer": {"inline": {"legal_name": "Acme"}}}
    line = {"description": "x", "quantity": {"value": 1, "unit_code": "C62"}, "unit_price": 1, "tax": {"tax_rate": 15}}

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            key = f"order-{number}"
            try:
                client.simple.invoices.create(key=key, changes={**changes, "lines": [line]})
            except RpcError:
                return  # the server is gone; what was not acknowledged may or may not be there
            with lock:
                acknowledged.add(key)
                if len(acknowledged) == KILL_AFTER:
                    process.kill()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return acknowledged


def keys_of(client: Invora) -> set[str]:
    found: set[str] = set()
    pagination: dict[str, Any] = {"limit": 100}
    while True:
        page = client.simple.invoices.list(pagination=pagination)
        found |= {item.id.key for item in page.items}
        if not page.next_page_cursor:
            return found
        pagination["cursor"] = page.next_page_cursor


def test_every_acknowledged_create_is_there_after_kill_9(tmp_path: Path) -> None:
    with sandbox_process(tmp_path) as (process, ready), client_of(ready) as client:
        acknowledged = create_until_killed(client, process)
        assert process.wait() == -9
    assert KILL_AFTER <= len(acknowledged) < CREATES, "the kill did not come in the middle"
    with sandbox_process(tmp_path) as (_, ready), client_of(ready) as client:
        assert acknowledged - keys_of(client) == set()


def test_credentials_survive_a_restart(tmp_path: Path) -> None:
    with sandbox_process(tmp_path) as (process, before):
        process.kill()
        process.wait()
    with sandbox_process(tmp_path) as (_, after):
        assert (after["org_id"], after["client_id"]) == (before["org_id"], before["client_id"])
        with client_of({**after, "client_secret": before["client_secret"]}) as client:
            client.simple.invoices.list()


def test_two_sandboxes_cannot_take_one_port(tmp_path: Path) -> None:
    with sandbox_process(tmp_path) as (_, ready):
        port = ready["grpc"].rpartition(":")[2]
        command = [sys.executable, "-m", "invora_grpc.cli", "sandbox", "--grpc-port", port, "--http-port", "0"]
        second = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert port in second.stderr
    assert "Traceback" not in second.stderr
