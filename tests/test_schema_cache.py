"""Served descriptors on disk: what comes back, what is not believed, and what several processes do to each other."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import given
from hypothesis import strategies as st

from invora_grpc.schema import cache as room
from invora_grpc.schema.cache import MAX_TOTAL, UNTOUCHED, Entry, SchemaCache
from invora_grpc.schema.files import FileSet

TARGET, SERVICE = "https://gateway.example:443 org 7", "shop.v1.Orders"


def file(name: str = "shop/orders.proto", *imports: str, filler: str = "") -> FileDescriptorProto:
    made = FileDescriptorProto(name=name, package="shop.v1", syntax="proto3", dependency=imports)
    made.message_type.add(name="Order").field.add(
        name="price", number=1, type="TYPE_INT64", json_name=filler or "price"
    )
    return made


def entry(*files: FileDescriptorProto, at: float | None = None) -> Entry:
    return Entry((SERVICE, "shop.v1.Öl"), FileSet.of(files or [file()]), "v1", time.time() if at is None else at)


@pytest.fixture
def cache(tmp_path: Path) -> SchemaCache:
    return SchemaCache(tmp_path / "own" / "schema")


def path_of(cache: SchemaCache) -> Path:
    assert cache.folder is not None
    (found,) = cache.folder.iterdir()
    return found


# --- what comes back ---


def test_an_entry_comes_back_as_it_was(cache: SchemaCache) -> None:
    stored = entry(file("b.proto", "a.proto"), file("a.proto"), at=1700000000.25)
    cache.store(TARGET, SERVICE, stored)
    loaded = cache.load(TARGET, SERVICE)
    assert loaded is not None
    assert (loaded.listed, loaded.protocol, loaded.fetched_at) == (stored.listed, "v1", 1700000000.25)
    assert loaded.files.digest() == stored.files.digest()
    assert list(loaded.files.files) == ["a.proto", "b.proto"]


def test_what_was_wrong_with_the_files_comes_back_too(cache: SchemaCache) -> None:
    cache.store(TARGET, SERVICE, entry(file("a.proto"), file("a.proto", "b.proto"), file("c.proto", "c.proto")))
    loaded = cache.load(TARGET, SERVICE)
    assert loaded is not None
    assert loaded.files.problems == {
        "a.proto": "came twice, with different content",
        "c.proto": "imports itself: c.proto → c.proto",
    }


def test_an_entry_without_files_comes_back(cache: SchemaCache) -> None:
    cache.store(TARGET, SERVICE, replace(entry(), files=FileSet.of(())))
    loaded = cache.load(TARGET, SERVICE)
    assert loaded is not None and not loaded.files.files


def test_what_was_never_stored_is_none(cache: SchemaCache) -> None:
    assert cache.load(TARGET, SERVICE) is None
    cache.drop(TARGET, SERVICE)


def test_the_last_one_stored_wins(cache: SchemaCache) -> None:
    cache.store(TARGET, SERVICE, entry(file("a.proto")))
    cache.store(TARGET, SERVICE, entry(file("b.proto")))
    loaded = cache.load(TARGET, SERVICE)
    assert loaded is not None and list(loaded.files.files) == ["b.proto"]


def test_targets_and_services_have_entries_of_their_own(cache: SchemaCache) -> None:
    for target, service in (("a", "b c"), ("a b", "c"), ("a", "../../c"), ("a\n", "\ud800")):
        cache.store(target, service, replace(entry(), listed=(target + service,)))
        loaded = cache.load(target, service)
        assert loaded is not None and loaded.listed == (target + service,)
    assert cache.folder is not None
    assert len(list(cache.folder.iterdir())) == 4


def test_a_dropped_entry_is_gone(cache: SchemaCache) -> None:
    cache.store(TARGET, SERVICE, entry())
    cache.drop(TARGET, SERVICE)
    assert cache.load(TARGET, SERVICE) is None


# --- what is not believed ---


def test_folder_and_file_are_for_their_owners_eyes_only(cache: SchemaCache) -> None:
    cache.store(TARGET, SERVICE, entry())
    assert cache.folder is not None
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path_of(cache).stat().st_mode) == 0o600


def signed(content: bytes) -> bytes:
    """A file with a digest that fits its content."""
    return b"invora-schema 1 sha256:" + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


@given(data=st.data())
def test_no_change_of_a_file_is_believed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    cache = SchemaCache(tmp_path_factory.mktemp("cache"))
    cache.store(TARGET, SERVICE, entry(at=1.7e9))
    path = path_of(cache)
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    length = data.draw(st.integers(0, 3))
    changed = content[:at] + data.draw(st.binary(max_size=3)) + content[at + length :]
    if changed != content:
        path.write_bytes(changed)
        assert cache.load(TARGET, SERVICE) is None


@given(content=st.binary(max_size=200) | st.binary(max_size=200).map(signed))
def test_anything_may_be_in_the_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    cache = SchemaCache(tmp_path_factory.mktemp("cache"))
    cache.store(TARGET, SERVICE, entry())
    path_of(cache).write_bytes(content)
    assert cache.load(TARGET, SERVICE) is None


@pytest.mark.parametrize("header", [b"[" * 100_000, b"{}", b"[]", b"null", b"9" * 5000, b"\xff", b""])
def test_a_header_that_is_none_is_not_believed(cache: SchemaCache, header: bytes) -> None:
    cache.store(TARGET, SERVICE, entry())
    path_of(cache).write_bytes(signed(header + b"\n"))
    assert cache.load(TARGET, SERVICE) is None


def test_every_truncated_file_is_not_believed(cache: SchemaCache) -> None:
    cache.store(TARGET, SERVICE, entry())
    path = path_of(cache)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert cache.load(TARGET, SERVICE) is None


def test_the_entry_of_another_service_is_not_believed_under_this_ones_name(cache: SchemaCache) -> None:
    cache.store(TARGET, SERVICE, entry())
    content = path_of(cache).read_bytes()
    cache.drop(TARGET, SERVICE)
    cache.store(TARGET, "shop.v1.Other", entry())
    path_of(cache).write_bytes(content)
    assert cache.load(TARGET, "shop.v1.Other") is None


def test_an_entry_of_a_later_version_is_left_alone(cache: SchemaCache) -> None:
    cache.store(TARGET, SERVICE, entry())
    path = path_of(cache)
    path.write_bytes(path.read_bytes().replace(b"schema 1 ", b"schema 2 ", 1))
    assert cache.load(TARGET, SERVICE) is None
    assert path.exists()


def test_an_entry_from_the_future_is_not_believed(cache: SchemaCache) -> None:
    cache.store(TARGET, SERVICE, entry(at=time.time() + 3600))
    assert cache.load(TARGET, SERVICE) is None


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_is_not_believed(cache: SchemaCache, mode: int) -> None:
    cache.store(TARGET, SERVICE, entry())
    path_of(cache).chmod(mode)
    assert cache.load(TARGET, SERVICE) is None


def test_a_folder_that_others_may_write_is_not_used(cache: SchemaCache, caplog: pytest.LogCaptureFixture) -> None:
    cache.store(TARGET, SERVICE, entry())
    assert cache.folder is not None
    cache.folder.chmod(0o777)
    assert cache.load(TARGET, SERVICE) is None
    with caplog.at_level(logging.INFO):
        cache.store(TARGET, SERVICE, entry())
    assert "others may write to it" in caplog.text


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", [Path.resolve, lambda path: path.parent], ids=["file", "folder"])
def test_what_belongs_to_another_user_is_not_believed(cache: SchemaCache, what: Callable[[Path], Path]) -> None:
    cache.store(TARGET, SERVICE, entry())
    os.chown(what(path_of(cache)), 12345, -1)
    assert cache.load(TARGET, SERVICE) is None


def test_a_link_in_place_of_a_file_is_not_followed_but_replaced(cache: SchemaCache, tmp_path: Path) -> None:
    cache.store(TARGET, SERVICE, entry())
    path, elsewhere = path_of(cache), tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    content = elsewhere.read_bytes()
    assert cache.load(TARGET, SERVICE) is None
    cache.store(TARGET, SERVICE, entry(at=1.0))
    assert cache.load(TARGET, SERVICE) is not None
    assert (path.is_symlink(), elsewhere.read_bytes()) == (False, content)


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path, cache: SchemaCache) -> None:
    cache.store(TARGET, SERVICE, entry())
    assert cache.folder is not None
    (tmp_path / "link").symlink_to(cache.folder)
    assert SchemaCache(tmp_path / "link").load(TARGET, SERVICE) is None


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_folder_in_place_of_a_file_is_not_read(cache: SchemaCache, make: Callable[[Path], None]) -> None:
    cache.store(TARGET, SERVICE, entry())
    path = path_of(cache)
    path.unlink()
    make(path)
    assert cache.load(TARGET, SERVICE) is None


def test_a_huge_file_is_not_read(cache: SchemaCache) -> None:
    cache.store(TARGET, SERVICE, entry())
    os.truncate(path_of(cache), 1 << 40)
    assert cache.load(TARGET, SERVICE) is None


# --- where ---


def test_the_variable_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INVORA_CACHE_DIR", str(tmp_path))
    assert SchemaCache().folder == tmp_path / "schema"


@pytest.mark.parametrize("value", ["", "off"])
def test_the_variable_can_switch_it_off(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("INVORA_CACHE_DIR", value)
    cache = SchemaCache()
    cache.store(TARGET, SERVICE, entry())
    cache.drop(TARGET, SERVICE)
    assert (cache.folder, cache.load(TARGET, SERVICE)) == (None, None)


@pytest.mark.skipif(sys.platform != "linux", reason="where caches are is each system's own")
def test_without_the_variable_it_is_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("INVORA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert SchemaCache().folder == tmp_path / "invora-grpc" / "schema"


def test_a_folder_that_cannot_be_made_is_said_once_and_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            cache = SchemaCache(tmp_path / "file" / "schema")
            cache.store(TARGET, SERVICE, entry())
            assert cache.load(TARGET, SERVICE) is None
            cache.drop(TARGET, SERVICE)
    (record,) = caplog.records
    assert (record.levelno, "INVORA_CACHE_DIR" in record.getMessage()) == (logging.INFO, True)


# --- others at work ---

CHILD = """
import os, resource, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_schema_cache import SERVICE, TARGET, SchemaCache, entry, file
cache = SchemaCache(Path(sys.argv[1]))
"""


def process(cache: SchemaCache, code: str) -> subprocess.Popen[str]:
    """Another Python with the same cache."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD + code, str(cache.folder), str(Path(__file__).parent)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_store_and_load_at_once_see_whole_entries_only(cache: SchemaCache) -> None:
    cache.store(TARGET, SERVICE, entry(file("start.proto")))
    code = """
name = f"{os.getpid()}.proto"
mine, seen = entry(file(name, filler="x" * 300_000)), set()
until = time.monotonic() + 1.5
while time.monotonic() < until:
    cache.store(TARGET, SERVICE, mine)
    loaded = cache.load(TARGET, SERVICE)
    assert loaded is not None, "an entry was torn"
    seen.update(loaded.files.files)
print(*seen)
"""
    children = [process(cache, code) for _ in range(3)]
    seen = [set(child.communicate(timeout=30)[0].split()) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert all(f"{child.pid}.proto" in names for child, names in zip(children, seen, strict=True))
    assert any(len(names) > 1 for names in seen), "they never saw each other"
    assert path_of(cache).stat().st_size > 300_000


@pytest.mark.parametrize(
    "death",
    [
        "sys.addaudithook(lambda event, _: event == 'os.rename' and os.kill(os.getpid(), signal.SIGKILL))",
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL); resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))",
    ],
    ids=["written", "half written"],
)
def test_a_process_that_is_killed_while_it_stores_leaves_the_earlier_entry(cache: SchemaCache, death: str) -> None:
    cache.store(TARGET, SERVICE, entry(file("earlier.proto")))
    child = process(cache, f"{death}\ncache.store(TARGET, SERVICE, entry(file('later.proto', filler='x' * 100_000)))")
    assert child.wait(30) in (-signal.SIGKILL, -signal.SIGXFSZ)
    loaded = cache.load(TARGET, SERVICE)
    assert loaded is not None and list(loaded.files.files) == ["earlier.proto"]

    assert cache.folder is not None
    (left,) = cache.folder.glob("*.new")
    cache.store(TARGET, SERVICE, entry())
    assert left.exists(), "its writer may still live"
    os.utime(left, (time.time() - 7200,) * 2)
    cache.store(TARGET, SERVICE, entry())
    assert not left.exists()


# --- growth ---


def aged(cache: SchemaCache, service: str, days: float) -> Path:
    """The file of a new entry that was not touched for so long."""
    assert cache.folder is not None
    before = set(cache.folder.iterdir()) if cache.folder.exists() else set()
    cache.store(TARGET, service, entry())
    (path,) = set(cache.folder.iterdir()) - before
    os.utime(path, (time.time() - days * 86_400,) * 2)
    return path


def test_entries_that_nobody_loads_for_a_month_are_removed(cache: SchemaCache) -> None:
    month = UNTOUCHED / 86_400
    old, young = aged(cache, "old", month + 0.1), aged(cache, "young", month - 0.1)
    foreign = old.with_name("notes.txt")
    foreign.write_text("not ours")
    os.utime(foreign, (0, 0))
    cache.store(TARGET, SERVICE, entry())
    assert (old.exists(), young.exists(), foreign.exists()) == (False, True, True)


def test_loading_keeps_an_entry_alive(cache: SchemaCache) -> None:
    used = aged(cache, "used", 29)
    assert cache.load(TARGET, "used") is not None
    assert time.time() - used.stat().st_mtime < 60


def test_all_entries_together_are_bounded_and_the_least_used_go_first(cache: SchemaCache) -> None:
    first, second, third = (aged(cache, name, days) for name, days in (("a", 3), ("b", 2), ("c", 1)))
    os.truncate(second, MAX_TOTAL - 2000)
    os.utime(second, (time.time() - 2 * 86_400,) * 2)
    os.truncate(first, 3000)
    os.utime(first, (time.time() - 3 * 86_400,) * 2)
    cache.store(TARGET, SERVICE, entry())
    assert (first.exists(), second.exists(), third.exists()) == (False, True, True)


def test_more_than_a_set_may_hold_is_not_kept(
    cache: SchemaCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(room, "_MAX_ENTRY", 4000)
    with caplog.at_level(logging.INFO):
        cache.store(TARGET, SERVICE, entry(file(filler="x" * 5000)))
    assert cache.load(TARGET, SERVICE) is None
    assert "too large to keep" in caplog.text
