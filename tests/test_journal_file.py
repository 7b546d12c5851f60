"""The file of a journal: who may read it, what is taken for one, and what is said when it cannot be used."""

from __future__ import annotations

import logging
import os
import pickle
import sqlite3
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_journal import killed, process
from test_ledgers import in_child, take

from invora_grpc.errors import ClosedError, ConfigError, shown
from invora_grpc.journal import Journal, JournalError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "own" / "journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with Journal(path) as opened:
        yield opened


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else in the middle of a transaction that does not end."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


# --- the file ---


def test_the_file_is_for_its_owners_eyes_only(path: Path, journal: Journal) -> None:
    take(journal)
    modes = {entry.name.partition(".")[0]: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert set(modes.values()) == {0o600}


def test_closing_leaves_nothing_but_the_file(path: Path, journal: Journal) -> None:
    take(journal)
    journal.close()
    journal.close()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_what_the_killed_left_beside_the_file_is_cleared_away(path: Path) -> None:
    killed(path, "")
    Journal(path).close()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        Journal(path)
    assert caught.value.setting == "journal"
    return str(caught.value).removeprefix(f"journal: {shown(str(path))} ")


def test_a_symbolic_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    target = tmp_path / "target"
    path.symlink_to(target)
    assert refusal(path) == "is no regular file; name the file itself, and no link, folder or device"
    assert not target.exists()


def test_a_folder_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "is no regular file" in refusal(tmp_path / "folder")


def test_a_folder_that_others_can_write_to_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o777)
    assert refusal(path) == "is in a folder that others can write to; use a folder of your own, with mode 0700"
    assert list(path.parent.iterdir()) == []


def test_a_file_that_others_can_read_is_refused(path: Path) -> None:
    Journal(path).close()
    path.chmod(0o644)
    assert refusal(path) == "is open to others; make it yours with mode 0600, or name another file"


@pytest.mark.parametrize("content", [b"", b"precious notes " * 1000], ids=["empty", "text"])
def test_another_file_is_refused_and_stays_as_it_is(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(content)
    path.chmod(0o600)
    assert "is no journal" in refusal(path)
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_refused_and_stays_as_it_is(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE mine (id)")
    path.chmod(0o600)
    before = path.read_bytes()
    assert refusal(path) == "is no journal; name another file, or one that is to be made"
    assert path.read_bytes() == before


def test_a_journal_of_a_newer_version_is_refused(path: Path) -> None:
    Journal(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 2")
    assert refusal(path) == "has the format 2; this version knows 1; upgrade invora-grpc, or name another file"


def test_a_damaged_file_is_told_when_it_is_opened(path: Path) -> None:
    Journal(path).close()
    whole = path.read_bytes()
    path.write_bytes(b"\0" * 64 + whole[64:])
    assert "is no journal, or is damaged" in refusal(path)


def test_a_place_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert refusal(tmp_path / "file" / "journal").startswith("cannot be used (")


def test_a_folder_that_cannot_be_written_to_is_told(path: Path) -> None:
    path.parent.mkdir(mode=0o500)

    def work() -> str:
        if os.geteuid() == 0:  # who may write anywhere
            os.chown(path.parent, 65534, 65534)
            path.parents[1].chmod(0o755)
            path.parents[2].chmod(0o755)
            path.parents[3].chmod(0o755)
            os.setuid(65534)
        return refusal(path)

    assert in_child(work).startswith("cannot be used (Permission denied); check who owns the file and its folder")


@pytest.mark.parametrize(
    ("name", "value"), [("keep", 0), ("keep", "long"), ("limit", 0), ("limit", True), ("wait", -1), ("wait", None)]
)
def test_a_number_out_of_bounds_is_refused(path: Path, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"journal.{name}"):
        Journal(path, **{name: value})


@pytest.mark.parametrize("nonsense", ["", None, 7])
def test_a_path_is_needed(nonsense: Any) -> None:
    with pytest.raises(ConfigError, match="is no path"):
        Journal(nonsense)


def test_a_system_without_flock_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    assert refusal(path) == (
        "needs flock, which this system does not have; leave the journal away: keys are then remembered in memory"
    )


# --- trouble while it is in use ---


def test_a_file_that_is_locked_for_too_long_refuses_a_claim(path: Path) -> None:
    with Journal(path, wait=0.05) as journal:
        with locked(path), pytest.raises(JournalError) as caught:
            take(journal)
        assert not take(journal).resumed
    assert str(caught.value) == (
        f"journal {path}: was locked by another process all the time (database is locked); nothing was sent; "
        "see who holds it, or raise `wait`"
    )
    assert pickle.loads(pickle.dumps(caught.value)) == caught.value


def test_a_claim_waits_for_a_lock_that_goes_away(path: Path, journal: Journal) -> None:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.05, other.execute, ["ROLLBACK"])
    release.start()
    assert not take(journal).resumed
    release.join()
    other.close()


def test_what_came_of_a_call_is_written_later_if_it_cannot_be_now(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Journal(path, wait=0.05) as journal:
        done, doubt, void = take(journal, key="done"), take(journal, "B"), take(journal, key="void")
        with locked(path), caplog.at_level(logging.WARNING):
            journal.done(done)
            journal.unknown(doubt)
            journal.failed(void)
        assert "is locked" in caplog.text
        take(journal, "C")
    with Journal(path) as journal:
        assert take(journal, key="done").resumed
        assert take(journal, "B").keys == doubt.keys
        assert not take(journal, "D", key="void").resumed


def test_a_full_disk_refuses_a_claim_and_leaves_the_file_whole(path: Path) -> None:
    code = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal.done(take(journal, key="before"))
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
told = ""
for number in range(2000):
    try:
        journal.done(take(journal, key=f"order-{number}"))
    except Exception as error:
        told = f"{type(error).__name__} {error}"
        break
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.done(take(journal, key="after"))
print(told)
"""
    with process(path, code) as child:
        out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert out.startswith("JournalError") and "nothing was sent" in out
    with Journal(path) as journal:
        assert take(journal, key="before").resumed and take(journal, key="after").resumed


def test_a_file_that_was_removed_is_not_written_to_any_more(path: Path, journal: Journal) -> None:
    path.unlink()
    with pytest.raises(JournalError, match="was moved or removed while it was in use"):
        take(journal)


def test_a_file_that_is_damaged_while_it_is_in_use_refuses_a_claim(path: Path) -> None:
    with Journal(path) as journal:
        for number in range(50):
            journal.done(take(journal, key=f"order-{number}"))
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with Journal(path) as journal, pytest.raises(JournalError, match="is damaged"):
        take(journal)


def test_a_closed_journal_refuses_a_claim_and_takes_note_of_nothing(path: Path, journal: Journal) -> None:
    claim = take(journal)
    journal.close()
    journal.done(claim)
    with pytest.raises(ClosedError, match="it is closed; make a new one"):
        take(journal)
