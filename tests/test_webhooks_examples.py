"""The example endpoints, as processes of their own, with deliveries over real HTTP."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread

import pytest
from webhook_bodies import SECRET, body_of, signed

EXAMPLES = Path(__file__).parent.parent / "examples"
OLD_SECRET = "before" + "-rotation"


@dataclass
class Endpoint:
    """A running example."""

    example: str
    port: int
    store: Path
    lines: list[str]
    """What it printed, of both streams."""

    def post(self, body: bytes, headers: dict[str, str], method: str = "POST") -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, "/", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@contextmanager
def running(name: str, store: Path) -> Iterator[Endpoint]:
    environ = {**os.environ, "INVORA_WEBHOOK_SECRET": f"{SECRET} {OLD_SECRET}", "INVORA_WEBHOOK_STORE": str(store)}
    command = [sys.executable, str(EXAMPLES / name), "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ)
    assert process.stdout
    output, lines = process.stdout, list[str]()
    first = output.readline()
    reader = Thread(target=lambda: lines.extend(output))
    reader.start()
    try:
        assert first.startswith("listening on http://127.0.0.1:"), first
        yield Endpoint(name, int(first.rpartition(":")[2]), store, lines)
    finally:
        process.terminate()
        process.wait()
        reader.join()


@pytest.fixture(scope="module", params=["webhooks_wsgi.py", "webhooks_asgi.py"])
def endpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    store = tmp_path_factory.mktemp("example") / "webhooks" / "handled.sqlite"
    with running(request.param, store) as endpoint:
        yield endpoint
    assert all(word not in "".join(endpoint.lines) for word in (SECRET, OLD_SECRET, "personal"))
    assert "Traceback" not in "".join(endpoint.lines)


def fresh(name: str, age: float = 0.0) -> bytes:
    """The body of an event that arose `age` seconds ago."""
    created = datetime.fromtimestamp(time.time() - age, UTC).isoformat()
    return body_of(createdAt=created, invoice={"id": name, "number": "personal"})


def test_a_good_delivery_and_its_repeats_are_acknowledged(endpoint: Endpoint) -> None:
    body = fresh("repeated")
    assert [endpoint.post(body, signed(body)) for _ in range(3)] == [(200, "ok")] * 3
    assert stat.S_IMODE(endpoint.store.stat().st_mode) == 0o600


def test_the_secret_from_before_the_rotation_is_good_too(endpoint: Endpoint) -> None:
    body = fresh("rotated")
    assert endpoint.post(body, signed(body, OLD_SECRET)) == (200, "ok")


def test_the_platforms_last_retry_is_accepted(endpoint: Endpoint) -> None:
    body = fresh("late", age=26_250)
    assert endpoint.post(body, signed(body)) == (200, "ok")


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (fresh("a") + b" ", signed(fresh("a")), 401, "not that of the body"),
        (fresh("a"), {}, 401, "no X-Invora-Signature"),
        (b"[]", signed(b"[]"), 400, "no JSON object"),
        (fresh("a", age=100_000), None, 400, "s old"),
        (fresh("a", age=-1000), None, 400, "in the future"),
    ],
    ids=["tampered", "unsigned", "malformed", "too old", "too new"],
)
def test_a_bad_delivery_is_refused_and_says_why(
    endpoint: Endpoint, body: bytes, headers: dict[str, str] | None, status: int, said: str
) -> None:
    answer = endpoint.post(body, signed(body) if headers is None else headers)
    assert answer[0] == status
    assert said in answer[1]


def test_an_oversized_delivery_is_refused_without_being_read_to_its_end(endpoint: Endpoint) -> None:
    connection = HTTPConnection("127.0.0.1", endpoint.port, timeout=20)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", "999999999999")
    connection.endheaders()
    if endpoint.example == "webhooks_asgi.py":  # counts what comes in; the other one goes by what is announced
        connection.send(bytes(1024 * 1024 + 1))
    assert connection.getresponse().status == 413
    connection.close()


def test_only_posts_are_answered(endpoint: Endpoint) -> None:
    assert endpoint.post(b"", {}, "GET")[0] == 405


@pytest.mark.parametrize("name", ["webhooks_wsgi.py", "webhooks_asgi.py"])
def test_a_delivery_is_handled_once_also_over_a_restart(name: str, tmp_path: Path) -> None:
    body, store = fresh("kept"), tmp_path / "webhooks" / "handled.sqlite"
    handled = []
    for _ in range(2):
        with running(name, store) as endpoint:
            assert [endpoint.post(body, signed(body)) for _ in range(3)] == [(200, "ok")] * 3
        handled.append([line for line in endpoint.lines if "handled" in line])
    assert handled == [["handled invoice.created invoice\n"], []]
