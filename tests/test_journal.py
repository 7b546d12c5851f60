"""The ledger on disk: what survives a kill, a fork and a restart, and what many processes make of it at once."""

from __future__ import annotations

import copy
import json
import os
import pickle
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from test_ledgers import NAME, SCOPE, in_child, payload, take, together

from invora_grpc.errors import RequestError
from invora_grpc.journal import Journal

CHILD = """
import sys
from invora_grpc.journal import Journal
from test_ledgers import *

journal = Journal(sys.argv[1], wait=60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "own" / "journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with Journal(path) as opened:
        yield opened


def process(path: Path, code: str) -> subprocess.Popen[str]:
    """Another Python with a journal of its own at `path`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD + code, str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def killed(path: Path, code: str) -> list[Any]:
    """What a process says before it is killed (-9) at the end of `code`."""
    with process(path, code + "\nprint('', flush=True)\nsys.stdin.read()") as child:
        assert child.stdout is not None
        said = [json.loads(line) for line in iter(child.stdout.readline, "\n")]
        child.kill()
    return said


# --- deaths ---


def test_a_killed_process_is_resumed_under_the_key_it_had_claimed_and_once_only(path: Path) -> None:
    ((key,),) = killed(path, "import json; print(json.dumps(take(journal).keys))")
    with Journal(path) as journal:
        again, other = take(journal), take(journal)
    assert (again.keys, again.resumed, again.generated) == ((key,), True, True)
    assert other.keys != (key,) and not other.resumed


def test_what_a_killed_process_had_finished_is_not_resumed(path: Path) -> None:
    killed(path, "journal.done(take(journal)); journal.failed(take(journal)); journal.failed(take(journal, key='k'))")
    with Journal(path) as journal:
        assert not take(journal).resumed
        assert not take(journal, "B", key="k").resumed


def test_a_given_key_of_a_killed_process_is_in_doubt(path: Path) -> None:
    killed(path, "take(journal, key='order-1')")
    with Journal(path) as journal:
        with pytest.raises(RequestError, match="'order-1'"):
            take(journal, "B", key="order-1")
        assert take(journal, key="order-1").resumed


def test_a_resumed_call_whose_process_is_killed_again_is_resumed_again(path: Path) -> None:
    first = killed(path, "import json; print(json.dumps(take(journal).keys))")
    second = killed(path, "import json; print(json.dumps(take(journal).keys))")
    with Journal(path) as journal:
        assert [list(take(journal).keys)] == first == second


def test_a_batch_of_a_killed_process_is_resumed_whole(path: Path) -> None:
    keys = killed(
        path, "import json; print(json.dumps(journal.claim(SCOPE, NAME, (None, 'b'), payload('A', 'B')).keys))"
    )
    with Journal(path) as journal:
        assert [list(journal.claim(SCOPE, NAME, (None, "b"), payload("A", "B")).keys)] == keys


def test_a_process_that_lives_is_not_resumed(path: Path, journal: Journal) -> None:
    with process(path, "take(journal)\nprint('claimed', flush=True)\nsys.stdin.read()") as child:
        assert child.stdout is not None and child.stdout.readline()
        assert not take(journal).resumed
        child.kill()
        child.wait()
        assert take(journal).resumed


def test_a_journal_that_is_closed_leaves_its_claims_in_doubt(path: Path) -> None:
    with Journal(path) as first:
        claim = take(first)
    with Journal(path) as second:
        assert take(second).keys == claim.keys


def test_two_journals_of_one_process_are_two_owners(path: Path, journal: Journal) -> None:
    with Journal(path) as other:
        claim = take(other)
        assert not take(journal).resumed
    assert take(journal).keys == claim.keys


def test_doubt_and_done_keys_outlive_a_restart(path: Path) -> None:
    with Journal(path) as first:
        first.done(take(first, key="order-1"))
        first.unknown(doubt := take(first))
    with Journal(path) as second:
        assert take(second, key="order-1").resumed
        with pytest.raises(RequestError):
            take(second, "B", key="order-1")
        assert take(second).keys == doubt.keys


def test_the_lock_of_a_parent_does_not_live_on_in_its_child(path: Path) -> None:
    code = """
import json, os
claim = take(journal)
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
print(json.dumps(claim.keys))
"""
    child_lives = process(path, code + "\nprint('', flush=True)\nos.kill(os.getpid(), 9)")
    with child_lives as child:
        assert child.stdout is not None
        keys = json.loads(child.stdout.readline())
        child.wait()
        with Journal(path) as journal:
            assert list(take(journal).keys) == keys
        child.communicate("")


def test_parent_and_child_of_a_fork_go_on_writing(path: Path, journal: Journal) -> None:
    mine = take(journal)

    def work() -> str:
        journal.done(mine)
        keys = take(journal, key="k").keys
        journal.done(take(journal, "C", key="c"))
        journal.done(mine)  # which is its parent's
        return str(keys)

    assert in_child(work) == "('k',)"
    assert take(journal, key="k").resumed
    assert take(journal, "C", key="c").resumed
    journal.unknown(mine)
    assert take(journal).keys == mine.keys


def test_a_parent_that_closes_takes_nothing_from_its_child(path: Path) -> None:
    """SQLite takes parent and child for one process if a connection is open at the fork."""
    journal = Journal(path)
    take(journal)
    claimed, closed = os.pipe(), os.pipe()
    if os.fork() == 0:
        take(journal, key="before")
        os.write(claimed[1], b".")
        os.read(closed[0], 1)
        take(journal, key="after")
        os.write(claimed[1], b".")
        os._exit(0)
    os.read(claimed[0], 1)
    journal.close()
    os.write(closed[1], b".")
    os.read(claimed[0], 1)
    os.wait()
    for end in (*claimed, *closed):
        os.close(end)
    with Journal(path) as later:
        assert [take(later, key=key).resumed for key in ("before", "after")] == [True, True]
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_journal_that_was_closed_is_in_no_forks_way(path: Path) -> None:
    closed = [Journal(path) for _ in range(3)]
    for one in closed:
        one.close()
    with Journal(path) as journal:
        assert in_child(lambda: str(take(journal, key="k").keys)) == "('k',)"
        assert in_child(lambda: str(take(journal, key="k").keys)) == "('k',)"


# --- many at once ---


def test_processes_share_a_journal_and_no_claim_is_lost_or_resumed_twice(path: Path) -> None:
    doubts = killed(path, "import json\nfor _ in range(5): print(json.dumps(take(journal).keys))")
    code = """
import json
sys.stdin.readline()
for turn in range(10):
    claim = take(journal)
    print(json.dumps([claim.keys[0], claim.resumed]))
    journal.done(claim)
    journal.done(take(journal, key=f"{sys.argv[1]}-{turn}"))
journal.close()
"""
    children = [process(path, code) for _ in range(4)]
    for child in children:
        assert child.stdin is not None
        print("go", file=child.stdin, flush=True)
    told = [child.communicate(timeout=60)[0] for child in children]
    claims = [json.loads(line) for lines in told for line in lines.splitlines()]
    assert [child.returncode for child in children] == [0] * 4
    assert len({key for key, _ in claims}) == len(claims) == 40
    assert sorted(key for key, resumed in claims if resumed) == sorted(key for (key,) in doubts)


def test_processes_that_make_the_file_at_the_same_moment_get_the_same_one(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    children = [process(path, f"journal.done(take(journal, key='{name}'))") for name in "abcd"]
    assert [child.wait(60) for child in children] == [0] * 4
    for child in children:
        child.communicate()
    with Journal(path) as journal:
        assert [take(journal, key=name).resumed for name in "abcd"] == [True] * 4
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_forks_while_other_threads_claim_leave_the_file_whole(path: Path, journal: Journal) -> None:
    def claims() -> None:
        for _ in range(20):
            journal.done(take(journal))

    said: list[str] = []
    together(
        [claims, claims, lambda: said.extend(in_child(lambda: str(take(journal, key="k").keys)) for _ in range(4))]
    )
    assert said == ["('k',)"] * 4


# --- what is kept, and for how long ---


def test_a_key_is_forgotten_after_the_days_it_is_kept(path: Path) -> None:
    with Journal(path) as journal:
        journal.done(take(journal, key="order-1"))
        journal.unknown(take(journal))
    with Journal(path, keep=1e-9) as journal:
        assert not take(journal).resumed
        assert not take(journal, "B", key="order-1").resumed


def test_the_oldest_keys_go_when_there_are_too_many(path: Path) -> None:
    with Journal(path) as journal:
        for number in range(5):
            journal.done(take(journal, key=f"order-{number}"))
    with Journal(path, limit=2) as journal:
        take(journal, "C")
        assert [take(journal, key=f"order-{number}").resumed for number in range(5)] == [False] * 3 + [True] * 2


def test_the_file_holds_keys_and_hashes_only(path: Path, journal: Journal) -> None:
    journal.unknown(take(journal, key="order-4711"))
    journal.close()
    content = path.read_bytes()
    assert b"order-4711" in content
    assert b"127.0.0.1" not in content and b"org" not in content.replace(b"org.sqlite", b"")


# --- travelling ---


def test_a_journal_travels_as_its_path(path: Path, journal: Journal) -> None:
    mine = take(journal)
    for other in (pickle.loads(pickle.dumps(journal)), copy.copy(journal)):
        with other:
            assert repr(other) == repr(journal) == f"<Journal {path}>"
            other.failed(theirs := take(other))
            assert theirs.keys != mine.keys


def test_claims_know_scope_and_keys_of_any_script(journal: Journal) -> None:
    claim = journal.claim("منصة|org", NAME, ("فاتورة-١",), payload("A"))
    journal.done(claim)
    assert journal.claim("منصة|org", NAME, ("فاتورة-١",), payload("A")).resumed
    assert not journal.claim(SCOPE, NAME, ("فاتورة-١",), payload("A")).resumed
