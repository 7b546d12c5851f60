"""Which deliveries were handled: in memory and in a file, over threads, processes, crashes and time."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from webhook_bodies import NOW, SECRET, body_of, signed

from invora_grpc.errors import ConfigError
from invora_grpc.webhooks import BeingHandled, Deliveries, Receiver, StoreUnavailable


class Clock:
    """Seconds since the epoch that pass when a test says so."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "webhooks" / "handled.sqlite"


@pytest.fixture(params=["memory", "file"])
def make(request: pytest.FixtureRequest, path: Path, clock: Clock) -> Callable[..., Deliveries]:
    """Makes a store of the kind that the test is run for."""

    def make(**options: float) -> Deliveries:
        where = path if request.param == "file" else None
        return Deliveries(where, ttl=options.get("ttl", 1000.0), lease=20.0, clock=clock)

    return make


@pytest.fixture
def deliveries(make: Callable[..., Deliveries]) -> Deliveries:
    return make()


def handled(deliveries: Deliveries, key: str = "k") -> bool:
    with deliveries.once(key) as first:
        return first


def test_only_the_first_time_is_handled(deliveries: Deliveries) -> None:
    assert [handled(deliveries), handled(deliveries), handled(deliveries, "other")] == [True, False, True]


def test_a_delivery_its_event_and_its_key_are_one(deliveries: Deliveries) -> None:
    body = body_of()
    delivery = Receiver(secret=SECRET, clock=lambda: NOW).receive(body, signed(body))
    with deliveries.once(delivery) as first, pytest.raises(BeingHandled):
        assert first
        with deliveries.once(delivery.event):
            pass
    assert handled(deliveries, delivery.key) is False


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_handler_that_fails_is_called_again(deliveries: Deliveries, failure: type[BaseException]) -> None:
    with pytest.raises(failure), deliveries.once("k"):
        raise failure
    assert handled(deliveries) is True


def test_while_one_worker_is_at_it_no_other_gets_an_answer(deliveries: Deliveries, clock: Clock) -> None:
    with deliveries.once("k"):
        clock.now += 19.9
        with pytest.raises(BeingHandled) as caught:
            handled(deliveries)
        assert caught.value.status == 409
        assert deliveries.seen("k")
    assert handled(deliveries) is False


def test_a_claim_whose_worker_died_lapses(deliveries: Deliveries, clock: Clock) -> None:
    dead = deliveries.once("k")
    dead.__enter__()
    clock.now += 20.0
    assert handled(deliveries) is True


def test_a_late_failure_does_not_take_the_claim_of_the_next_worker(deliveries: Deliveries, clock: Clock) -> None:
    with pytest.raises(ValueError), deliveries.once("k"):
        clock.now += 20.0
        with deliveries.once("k") as taken_over:
            assert taken_over
        raise ValueError
    assert handled(deliveries) is False


def test_what_was_handled_is_forgotten_after_its_time(deliveries: Deliveries, clock: Clock) -> None:
    handled(deliveries)
    clock.now += 999.9
    assert handled(deliveries) is False
    clock.now += 0.1
    assert handled(deliveries) is True


def test_seen_is_one_step(deliveries: Deliveries) -> None:
    assert [deliveries.seen("k"), deliveries.seen("k")] == [False, True]
    assert handled(deliveries) is False


def test_of_many_threads_one_is_first(deliveries: Deliveries) -> None:
    barrier = threading.Barrier(16)

    def one() -> bool:
        barrier.wait(10)
        return deliveries.seen("k")

    with ThreadPoolExecutor(16) as pool:
        seen = [future.result(20) for future in [pool.submit(one) for _ in range(16)]]
    assert seen.count(False) == 1


def test_memory_is_bounded_and_keeps_what_was_used_last(clock: Clock) -> None:
    deliveries = Deliveries(capacity=2, clock=clock)
    for key in ("a", "b", "a", "c"):
        deliveries.seen(key)
    assert [deliveries.seen("a"), deliveries.seen("c")] == [True, True]
    assert deliveries.seen("b") is False


@pytest.mark.parametrize("option", [{"ttl": 0.0}, {"lease": -1.0}, {"capacity": 0}, {"ttl": float("nan")}])
def test_a_limit_that_makes_no_sense_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        Deliveries(**option)


# --- the file ---


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_file_and_folder_are_for_their_owner_only_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        Deliveries(path).seen("k")
    finally:
        os.umask(before)
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


def test_what_was_handled_is_known_after_a_restart(path: Path) -> None:
    assert [handled(Deliveries(path)), handled(Deliveries(path))] == [True, False]


def test_the_file_holds_no_key(path: Path) -> None:
    Deliveries(path).seen("invoice.created:inv-personal:2026")
    assert b"inv-personal" not in path.read_bytes()


def test_the_file_does_not_grow_with_what_is_forgotten(path: Path, clock: Clock) -> None:
    deliveries = Deliveries(path, ttl=10, clock=clock)
    for number in range(150):
        deliveries.seen(str(number))
    clock.now += 10
    deliveries.seen("next")
    deliveries.seen("and the one after")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM deliveries").fetchone() == (2,)
    connection.close()


CLAIM = """
import sys
from invora_grpc.webhooks import Deliveries
deliveries = Deliveries(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(sum(not deliveries.seen(str(number)) for number in range(50)), flush=True)
"""

DIE = """
import os, signal, sys
from invora_grpc.webhooks import Deliveries
with Deliveries(sys.argv[1]).once(sys.argv[2]) as first:
    assert first
    if sys.argv[2] == "half":
        os.kill(os.getpid(), signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_of_many_processes_one_is_first(path: Path) -> None:
    command = [sys.executable, "-c", CLAIM, str(path)]
    pipe = subprocess.PIPE
    workers = [subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe) for _ in range(3)]  # all make the file
    try:
        assert [worker.stdout and worker.stdout.readline() for worker in workers] == ["ready\n"] * 3
        for worker in workers:
            assert worker.stdin
            worker.stdin.write("\n")
            worker.stdin.flush()
        won = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert sum(won) == 50


def test_a_process_that_is_killed_in_its_handler_leaves_the_delivery_to_the_next(path: Path, clock: Clock) -> None:
    for key in ("half", "whole"):
        killed = subprocess.run([sys.executable, "-c", DIE, str(path), key], timeout=60)
        assert killed.returncode == -signal.SIGKILL
    later = Deliveries(path, clock=lambda: time.time() + 21)
    assert (handled(later, "half"), handled(later, "whole")) == (True, False)


def test_a_child_after_a_fork_uses_the_store_like_anybody(path: Path) -> None:
    deliveries = Deliveries(path)
    deliveries.seen("before")
    child = os.fork()
    if child == 0:
        os._exit(0 if deliveries.seen("before") and not deliveries.seen("child") else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert deliveries.seen("child")


def test_a_file_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    other.chmod(0o600)
    text = tmp_path / "notes.txt"
    text.write_text("no database, and longer than a header: " + "x" * 200)
    text.chmod(0o600)
    for path, problem in ((other, "no store of deliveries"), (text, "not a database")):
        before = path.read_bytes()
        with pytest.raises(ConfigError, match=problem):
            Deliveries(path)
        assert path.read_bytes() == before


def test_a_link_is_not_followed(tmp_path: Path, path: Path) -> None:
    Deliveries(path)
    link = tmp_path / "link.sqlite"
    for target in (path, tmp_path / "nowhere"):
        link.symlink_to(target)
        with pytest.raises(ConfigError, match="no regular file"):
            Deliveries(link)
        link.unlink()
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_or_file_that_others_can_use_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="others may write"):
        Deliveries(path)
    path.parent.chmod(0o755)
    Deliveries(path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Deliveries(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        Deliveries(tmp_path / "file" / "handled.sqlite")


def test_a_file_that_vanished_is_no_new_start(path: Path) -> None:
    deliveries = Deliveries(path)
    path.unlink()
    with pytest.raises(StoreUnavailable) as caught:
        handled(deliveries)
    assert caught.value.status == 503
    assert not path.exists()


def test_a_file_that_is_held_too_long_is_unavailable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invora_grpc.webhooks.deliveries.BUSY_SECONDS", 0.05)
    deliveries = Deliveries(path)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        handled(deliveries)
    holder.close()
    assert handled(deliveries) is True
