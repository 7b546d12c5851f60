"""The sandbox's store: tenants stay apart, transactions hold, secrets stay out of the file."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from invora_grpc.sandbox.model import (
    DuplicateKey,
    MissingRecord,
    NotASandboxFile,
    Record,
    RefreshGrant,
    StaleStamp,
    StoreError,
    UnknownOrganization,
)
from invora_grpc.sandbox.store import Store


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self, now: float = 1_800_000_000.25) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_record_does_not_show_its_body_which_may_be_a_key() -> None:
    assert "PRIVATE" not in repr(Record("id", body=b"PRIVATE"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sandbox.db"


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[Store]:
    with Store.open(path, clock=clock) as opened:
        opened.create_organization("Acme", org_id="acme")
        opened.create_organization("Bolt", org_id="bolt")
        yield opened


def grant(client_id: str, family: str = "f") -> RefreshGrant:
    return RefreshGrant(client_id, client_id, "acme", {}, "openid offline_access", family)


# The file


def test_the_file_is_for_its_owner_only(store: Store, path: Path) -> None:
    store.insert("acme", "invoice", Record("1"))
    files = list(path.parent.iterdir())
    assert len(files) == 3  # with -wal and -shm
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_what_was_written_is_there_after_a_restart(path: Path) -> None:
    with Store.open(path) as first:
        first.create_organization("Acme", org_id="acme")
        written = first.insert("acme", "invoice", Record("1", key="INV-1", body=b"\x00\xff"))
    with Store.open(path) as second:
        assert second.get("acme", "invoice", "1") == written


def test_a_wider_file_mode_is_narrowed(path: Path) -> None:
    Store.open(path).close()
    path.chmod(0o644)
    Store.open(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_empty_file_is_taken_over(path: Path) -> None:
    path.touch()
    with Store.open(path) as store:
        assert store.organizations() == []


def test_a_file_that_is_no_database_is_refused_and_untouched(path: Path) -> None:
    path.write_bytes(b"my notes " * 200)
    with pytest.raises(NotASandboxFile, match=re.escape(f"{path}: not a sandbox database, left untouched")):
        Store.open(path)
    assert path.read_bytes() == b"my notes " * 200


def test_another_programs_database_is_refused_and_untouched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE notes(text)")
    before = path.read_bytes()
    with pytest.raises(NotASandboxFile, match="not a sandbox database"):
        Store.open(path)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_a_file_of_another_version_is_refused_by_number(path: Path) -> None:
    Store.open(path).close()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(NotASandboxFile, match="of version 99, this one reads version 1"):
        Store.open(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotASandboxFile, match="not a regular file"):
        Store.open(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotASandboxFile, match=r"nowhere.*cannot be created \(No such file"):
        Store.open(tmp_path / "nowhere" / "sandbox.db")


def test_memory_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Store.open(":memory:") as store:
        store.create_organization("Acme")
    assert list(tmp_path.iterdir()) == []


# Transactions


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.transaction():
        store.insert("acme", "invoice", Record("1"))
        raise RuntimeError
    assert store.all("acme", "invoice") == []


def test_an_inner_transaction_ends_with_the_outer_one(store: Store) -> None:
    with pytest.raises(RuntimeError), store.transaction():
        with store.transaction():
            store.insert("acme", "invoice", Record("1"))
        raise RuntimeError
    assert store.count("acme", "invoice") == 0


def test_a_caught_inner_failure_undoes_only_its_own_part(store: Store) -> None:
    with store.transaction():
        store.insert("acme", "invoice", Record("1", key="A"))
        with pytest.raises(DuplicateKey), store.transaction():
            store.insert("acme", "invoice", Record("2"))
            store.insert("acme", "invoice", Record("3", key="A"))
    assert [record.id for record in store.all("acme", "invoice")] == ["1"]


def test_another_connection_sees_nothing_before_the_commit(store: Store, path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        with store.transaction():
            store.insert("acme", "invoice", Record("1"))
            assert other.execute("SELECT COUNT(*) FROM records").fetchall() == [(0,)]
        assert other.execute("SELECT COUNT(*) FROM records").fetchall() == [(1,)]


def test_awaiting_inside_a_transaction_is_noticed(store: Store) -> None:
    async def both() -> None:
        inside, leave = asyncio.Event(), asyncio.Event()

        async def careless() -> None:
            with store.transaction():
                inside.set()
                await leave.wait()

        task = asyncio.create_task(careless())
        await inside.wait()
        with pytest.raises(RuntimeError, match="never await inside"):
            store.insert("acme", "invoice", Record("1"))
        leave.set()
        await task

    asyncio.run(both())


# Records


def test_a_record_is_invisible_to_another_tenant(store: Store) -> None:
    store.insert("acme", "invoice", Record("1", key="A", body=b"secret of acme"))
    with pytest.raises(MissingRecord):
        store.get("bolt", "invoice", "1")
    assert store.by_key("bolt", "invoice", "A") is None
    assert (store.all("bolt", "invoice"), store.page("bolt", "invoice", 0, 9), store.count("bolt", "invoice")) == (
        [],
        [],
        0,
    )


def test_another_tenant_cannot_change_a_record(store: Store) -> None:
    written = store.insert("acme", "invoice", Record("1"))
    with pytest.raises(MissingRecord):
        store.replace("bolt", "invoice", written)
    with pytest.raises(MissingRecord):
        store.delete("bolt", "invoice", "1")
    assert store.get("acme", "invoice", "1") == written


def test_two_tenants_use_the_same_id_and_key(store: Store) -> None:
    store.insert("acme", "invoice", Record("1", key="A", body=b"acme"))
    store.insert("bolt", "invoice", Record("1", key="A", body=b"bolt"))
    assert [store.get(org, "invoice", "1").body for org in ("acme", "bolt")] == [b"acme", b"bolt"]


def test_a_key_is_unique_within_its_tenant_and_kind(store: Store) -> None:
    store.insert("acme", "invoice", Record("1", key="A"))
    store.insert("acme", "party", Record("1", key="A"))
    with pytest.raises(DuplicateKey, match="a invoice with the key 'A' exists"):
        store.insert("acme", "invoice", Record("2", key="A"))


def test_an_id_is_unique(store: Store) -> None:
    store.insert("acme", "invoice", Record("1"))
    with pytest.raises(DuplicateKey, match="the id '1'"):
        store.insert("acme", "invoice", Record("1"))


def test_records_without_a_key_do_not_collide(store: Store) -> None:
    store.insert("acme", "invoice", Record("1"))
    store.insert("acme", "invoice", Record("2"))
    assert store.count("acme", "invoice") == 2


def test_an_unknown_tenant_cannot_hold_records(store: Store) -> None:
    with pytest.raises(UnknownOrganization, match="'nobody'"):
        store.insert("nobody", "invoice", Record("1"))


def test_a_stale_stamp_is_refused(store: Store) -> None:
    store.insert("acme", "invoice", Record("1", stamp="s1", body=b"first"))
    store.replace("acme", "invoice", Record("1", stamp="s2", body=b"second"), expected_stamp="s1")
    with pytest.raises(StaleStamp):
        store.replace("acme", "invoice", Record("1", stamp="s3", body=b"third"), expected_stamp="s1")
    assert store.get("acme", "invoice", "1").body == b"second"


def test_replacing_keeps_place_and_creation_time(store: Store, clock: Clock) -> None:
    first = store.insert("acme", "invoice", Record("1"))
    clock.now += 60
    second = store.replace("acme", "invoice", Record("1", state="frozen"))
    assert (second.seq, second.created_at, second.updated_at) == (first.seq, first.created_at, first.created_at + 60)
    assert store.get("acme", "invoice", "1") == second


def test_replacing_cannot_take_anothers_key(store: Store) -> None:
    store.insert("acme", "invoice", Record("1", key="A"))
    store.insert("acme", "invoice", Record("2", key="B"))
    with pytest.raises(DuplicateKey, match="the key 'A'"):
        store.replace("acme", "invoice", Record("2", key="A"))


def test_a_deleted_record_is_gone_and_frees_its_key(store: Store) -> None:
    store.insert("acme", "invoice", Record("1", key="A"))
    store.delete("acme", "invoice", "1")
    with pytest.raises(MissingRecord):
        store.get("acme", "invoice", "1")
    store.insert("acme", "invoice", Record("2", key="A"))
    assert [record.seq for record in store.all("acme", "invoice")] == [2]


def test_pages_follow_each_other_without_gap_or_repeat(store: Store) -> None:
    for number in range(7):
        store.insert("acme", "invoice", Record(str(number)))
    store.delete("acme", "invoice", "3")
    seen, after = [], 0
    while page := store.page("acme", "invoice", after, 2):
        seen += [record.id for record in page]
        after = page[-1].seq
    assert seen == ["0", "1", "2", "4", "5", "6"]


# Counters


def test_counters_count_per_tenant_and_name(store: Store) -> None:
    assert [store.next_number("acme", "invoice") for _ in range(3)] == [1, 2, 3]
    assert (store.next_number("bolt", "invoice"), store.next_number("acme", "receipt")) == (1, 1)


def test_a_rolled_back_number_is_given_again(store: Store) -> None:
    store.next_number("acme", "invoice")
    with pytest.raises(RuntimeError), store.transaction():
        store.next_number("acme", "invoice")
        raise RuntimeError
    assert store.next_number("acme", "invoice") == 2


# Organizations


def test_connected_businesses_belong_to_their_platform(store: Store) -> None:
    store.create_organization("Hub", "platform", org_id="hub")
    store.create_organization("Shop", "connected", org_id="shop", parent_org_id="hub")
    assert [child.org_id for child in store.connected("hub")] == ["shop"]
    assert store.connected("acme") == []


@pytest.mark.parametrize(("kind", "parent"), [("connected", None), ("standalone", "acme"), ("galaxy", None)])
def test_kind_and_parent_must_agree(store: Store, kind: str, parent: str | None) -> None:
    with pytest.raises(ValueError, match="exactly a connected one has a parent"):
        store.create_organization("Odd", kind, parent_org_id=parent)


def test_an_organization_is_changed_by_what_is_given(store: Store) -> None:
    before = store.organization("acme")
    after = store.update_organization("acme", data={"country": "SA"})
    assert (after.name, after.state, after.data) == (before.name, before.state, {"country": "SA"})


def test_deleting_a_tenant_takes_everything_of_it(store: Store) -> None:
    client_id, _ = store.create_client("acme")
    store.insert("acme", "invoice", Record("1"))
    store.delete_organization("acme")
    assert store.client(client_id) is None and store.count("acme", "invoice") == 0
    with pytest.raises(UnknownOrganization):
        store.organization("acme")


def test_a_platform_with_connected_businesses_stays(store: Store) -> None:
    store.create_organization("Hub", "platform", org_id="hub")
    store.create_organization("Shop", "connected", parent_org_id="hub")
    with pytest.raises(StoreError, match="still has connected businesses"):
        store.delete_organization("hub")


# Clients


def test_a_client_is_known_by_its_secret(store: Store) -> None:
    client_id, secret = store.create_client("acme", roles=["owner"])
    client = store.verify_client(client_id, secret)
    assert client is not None and client.roles == {"owner": ("acme",)}


@pytest.mark.parametrize("wrong", ["", "guess"])
def test_a_wrong_secret_is_refused(store: Store, wrong: str) -> None:
    client_id, _ = store.create_client("acme")
    assert store.verify_client(client_id, wrong) is None


def test_an_unknown_client_is_refused(store: Store) -> None:
    assert store.verify_client("nobody", "guess") is None


def test_a_rotated_secret_replaces_the_old_one(store: Store) -> None:
    client_id, old = store.create_client("acme")
    new = store.rotate_secret(client_id)
    assert store.verify_client(client_id, old) is None
    assert store.verify_client(client_id, new) is not None


def test_a_deactivated_client_is_refused_until_it_is_active_again(store: Store) -> None:
    client_id, secret = store.create_client("acme")
    store.set_client_active(client_id, False)
    assert store.verify_client(client_id, secret) is None
    store.set_client_active(client_id, True)
    assert store.verify_client(client_id, secret) is not None


def test_a_role_is_granted_in_one_more_organization(store: Store) -> None:
    client_id, _ = store.create_client("acme", roles=["owner"])
    store.grant_role(client_id, "owner", "bolt")
    assert [client.roles for client in store.clients("acme")] == [{"owner": ("acme", "bolt")}]


def test_no_secret_is_in_the_files(store: Store, path: Path) -> None:
    client_id, secret = store.create_client("acme", secret="a secret chosen by a person")
    rotated = store.rotate_secret(client_id)
    token = store.add_refresh_token(grant(client_id), 60)
    written = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert client_id.encode() in written
    assert [text for text in (secret, rotated, token) if text.encode() in written] == []


# Refresh tokens


def test_a_refresh_token_works_once_and_reuse_ends_its_family(store: Store) -> None:
    client_id, _ = store.create_client("acme")
    first = store.add_refresh_token(grant(client_id), 60)
    stranger = store.add_refresh_token(grant(client_id, "another family"), 60)
    assert store.use_refresh_token(first, client_id) == grant(client_id)
    second = store.add_refresh_token(grant(client_id), 60)
    assert store.use_refresh_token(first, client_id) is None
    assert store.use_refresh_token(second, client_id) is None
    assert store.use_refresh_token(stranger, client_id) is not None


def test_a_refresh_token_expires(store: Store, clock: Clock) -> None:
    client_id, _ = store.create_client("acme")
    token = store.add_refresh_token(grant(client_id), 60)
    clock.now += 60
    assert store.use_refresh_token(token, client_id) is None


def test_another_client_neither_uses_nor_spends_a_refresh_token(store: Store) -> None:
    client_id, _ = store.create_client("acme")
    thief, _ = store.create_client("bolt")
    token = store.add_refresh_token(grant(client_id), 60)
    assert store.use_refresh_token(token, thief) is None
    assert store.use_refresh_token(token, client_id) is not None


# Keys


def test_a_key_is_generated_once(path: Path) -> None:
    with Store.open(path) as first:
        assert first.key("signing", lambda: b"one") == b"one"
    with Store.open(path) as second:
        assert second.key("signing", lambda: b"two") == b"one"
