"""Clients in several processes: after a fork they work or say why they cannot, and they travel in pickles.

Every case runs in a process of its own, with a time limit: what goes wrong with gRPC and forks is that it hangs.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from gateway import Gateway, running_gateway

from invora_api.billing.customers.v2 import service_pb2 as customers
from invora_api.documents.v2 import service_pb2 as documents
from invora_grpc import Invora

SECRET, TOKEN = "s3cr3t-of-the-cl1ent", "t0ken-of-the-cl1ent"
ROOT = Path(__file__).parent.parent
LIST = "/invora.billing.customers.v2.CustomerService/List"
LIST_STREAM = "/invora.documents.v2.DocumentsService/ListStream"

PRELUDE = """
import asyncio, os, sys, threading, time
from invora_grpc import Invora, RpcError

def ask(client):
    client.billing.customers.list()

def forked(work):
    '''Do the work in a child, and wait for it.'''
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            work()
            print("child works")
        except Exception as error:
            print("child:", type(error).__name__, error)
        sys.exit(0)
    print("child left with", os.waitpid(child, 0)[1])

client = Invora(timeout=10)
"""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running_gateway() as running:
        yield running


def environment(gateway: Gateway, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("INVORA_", "GRPC_"))}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "gen")])
    return {**kept, "PYTHONPATH": paths, "INVORA_ENDPOINT": gateway.url, "INVORA_TOKEN": TOKEN, **more}


def lines(gateway: Gateway, code: str, **more: str) -> list[str]:
    """What a program prints; fails if it hangs or is killed. gRPC's own words go to the other stream."""
    return run([sys.executable, "-c", PRELUDE + code], environment(gateway, **more)).splitlines()


def run(command: list[str], variables: dict[str, str]) -> str:
    """What a program prints. Ends it with all its children if it hangs."""
    pipe = subprocess.PIPE
    program = subprocess.Popen(command, env=variables, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    try:
        out, err = program.communicate(timeout=40)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        pytest.fail(f"hangs: {program.communicate()}")
    assert program.returncode == 0, err
    return out


WORKS = ["child works", "child left with 0"]


# --- fork ---


@pytest.mark.parametrize("support", ["", "0", "1"])
def test_a_client_that_was_made_before_a_fork_works_in_the_child(gateway: Gateway, support: str) -> None:
    code = "forked(lambda: ask(client))"
    assert lines(gateway, code, **({"GRPC_ENABLE_FORK_SUPPORT": support} if support else {})) == WORKS


@pytest.mark.parametrize("support", ["", "1"])
def test_a_client_that_was_used_before_a_fork_works_in_child_and_parent(gateway: Gateway, support: str) -> None:
    code = "ask(client); forked(lambda: ask(client)); ask(client); print('parent works')"
    variables = {"GRPC_ENABLE_FORK_SUPPORT": support} if support else {}
    assert lines(gateway, code, **variables) == [*WORKS, "parent works"]
    assert len(gateway.received) == 3


def test_where_grpc_cannot_work_in_the_child_the_error_says_why_and_nothing_hangs(gateway: Gateway) -> None:
    code = "ask(client); forked(lambda: ask(client)); forked(lambda: ask(Invora())); ask(client); print('parent works')"
    said = lines(gateway, code, GRPC_ENABLE_FORK_SUPPORT="0")
    for told, left in (said[:2], said[2:4]):
        assert told.startswith("child: ClosedError /invora.billing.customers.v2.CustomerService/List: ")
        assert "GRPC_ENABLE_FORK_SUPPORT=0" in told and "spawn" in told
        assert left == "child left with 0"
    assert said[4:] == ["parent works"]


def test_a_derived_client_works_in_the_child(gateway: Gateway) -> None:
    code = "mine = client.for_org('tnt_1'); ask(mine); forked(lambda: ask(mine))"
    assert lines(gateway, code) == WORKS
    assert [call.metadata["x-target-org-id"] for call in gateway.received] == ["tnt_1", "tnt_1"]


def test_a_fork_of_a_fork_works(gateway: Gateway) -> None:
    code = "ask(client); forked(lambda: (ask(client), forked(lambda: ask(client))))"
    assert lines(gateway, code) == ["child works", "child left with 0", "child works", "child left with 0"]


def test_a_child_may_close_its_client_without_harm_to_the_parent(gateway: Gateway) -> None:
    code = "ask(client); forked(lambda: (ask(client), client.close())); ask(client); print('parent works')"
    assert lines(gateway, code) == [*WORKS, "parent works"]


def test_a_child_that_never_calls_leaves_as_usual(gateway: Gateway) -> None:
    code = "ask(client); forked(client.close); ask(client); print('parent works')"
    assert lines(gateway, code) == [*WORKS, "parent works"]


def test_a_fork_in_the_middle_of_a_stream_is_told_in_the_child_and_does_not_disturb_the_parent(
    gateway: Gateway,
) -> None:
    code = """
stream = iter(client.invoicing.documents.list_stream())
next(stream)
forked(lambda: ask(client))
print("parent reads", 1 + sum(1 for _ in stream))
"""
    gateway.answers[LIST_STREAM] = lambda request, context: iter([documents.ListStreamResponse()] * 200)
    child, *rest = lines(gateway, code)
    assert child.startswith("child: ClosedError") and "while gRPC calls were under way" in child
    assert rest == ["child left with 0", "parent reads 200"]


def test_a_fork_while_other_threads_call_is_told_in_the_child_and_does_not_disturb_the_parent(gateway: Gateway) -> None:
    code = """
done, calls = threading.Event(), []
def hammer():
    while not done.is_set():
        ask(client)
        calls.append(1)
threads = [threading.Thread(target=hammer) for _ in range(2)]
for thread in threads:
    thread.start()
while len(calls) < 10:
    time.sleep(0.01)
forked(lambda: ask(client))
done.set()
for thread in threads:
    thread.join()
print("parent works")
"""
    child, *rest = lines(gateway, code)
    assert child.startswith("child: ClosedError") and "spawn or forkserver" in child
    assert rest == ["child left with 0", "parent works"]


def test_a_pool_of_forked_workers_works(gateway: Gateway) -> None:
    code = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
def work(number):
    ask(client)
    return number
ask(client)
with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("fork")) as pool:
    print(sum(pool.map(work, range(10))))
"""
    assert lines(gateway, code) == ["45"]
    assert len(gateway.received) == 11


AIO = """
from invora_grpc import AsyncInvora
async def once(client, close=False):
    await client.billing.customers.list()
    if close:
        await client.close()
client = AsyncInvora()
"""


def test_an_asynchronous_client_that_was_closed_before_a_fork_leaves_the_child_free(gateway: Gateway) -> None:
    code = AIO + "asyncio.run(once(client, close=True)); forked(lambda: asyncio.run(once(AsyncInvora(), close=True)))"
    assert lines(gateway, code) == WORKS


def test_an_asynchronous_client_that_was_made_before_a_fork_works_in_the_child(gateway: Gateway) -> None:
    assert lines(gateway, AIO + "forked(lambda: asyncio.run(once(client)))") == WORKS


def test_an_asynchronous_client_that_was_open_at_a_fork_says_why_it_cannot_work_in_the_child(gateway: Gateway) -> None:
    code = """
asyncio.run(once(client))
forked(lambda: asyncio.run(once(client)))
forked(lambda: asyncio.run(once(AsyncInvora())))
forked(lambda: ask(Invora()))
asyncio.run(once(client))
print("parent works")
"""
    said = lines(gateway, AIO + code)
    for told, left in (said[:2], said[2:4]):
        assert told.startswith("child: ClosedError /invora.billing.customers.v2.CustomerService/List: ")
        assert "await client.close() before the fork" in told
        assert left == "child left with 0"
    assert said[4:] == [*WORKS, "parent works"]


# --- pickle ---

WORKER = """
import multiprocessing, os, pickle, sys
from invora_grpc import Invora

def work(client):
    client.billing.customers.list()
    return os.getpid(), repr(client)

if __name__ == "__main__":
    method = sys.argv[1]
    client = Invora(timeout=10).for_org("tnt_1")
    client.billing.customers.list()
    with multiprocessing.get_context(method).Pool(1) as pool:
        pid, shown = pool.apply(work, (client,))
        assert pid != os.getpid()
        assert shown == repr(client)
    client.billing.customers.list()
    print("works")
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_client_travels_to_a_worker_and_calls_there(gateway: Gateway, tmp_path: Path, method: str) -> None:
    peers: list[str] = []

    def answer(request: object, context: grpc.ServicerContext) -> customers.ListResponse:
        peers.append(context.peer())
        return customers.ListResponse()

    gateway.answers[LIST] = answer
    program = tmp_path / "worker.py"
    program.write_text(WORKER)
    variables = environment(
        gateway, INVORA_CLIENT_ID="abc", INVORA_CLIENT_SECRET=SECRET, INVORA_ISSUER="http://127.0.0.1:9"
    )
    assert run([sys.executable, str(program), method], variables) == "works\n"
    assert [call.metadata["x-target-org-id"] for call in gateway.received] == ["tnt_1"] * 3
    assert peers[0] == peers[2] != peers[1]


@pytest.fixture
def from_environment(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Settings as a service has them: everything in the environment."""
    for name in [name for name in os.environ if name.startswith("INVORA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INVORA_ENDPOINT", gateway.url)
    monkeypatch.setenv("INVORA_CLIENT_ID", "abc")
    monkeypatch.setenv("INVORA_CLIENT_SECRET", SECRET)
    return monkeypatch


def test_no_secret_of_the_environment_is_in_the_pickle(from_environment: pytest.MonkeyPatch) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        with Invora() as client:
            assert SECRET.encode() not in pickle.dumps(client, protocol)
    from_environment.setenv("INVORA_TOKEN", TOKEN)
    with Invora() as client:
        data = pickle.dumps(client)
    assert TOKEN.encode() not in data and SECRET.encode() not in data


def test_in_its_own_process_a_pickle_shares_the_connection(from_environment: pytest.MonkeyPatch) -> None:
    from_environment.setenv("INVORA_TOKEN", TOKEN)
    with Invora() as client:
        again = pickle.loads(pickle.dumps(client.for_org("tnt_1")))
        again.billing.customers.list()
    with pytest.raises(Exception, match="closed"):
        again.billing.customers.list()


@pytest.mark.parametrize("argument", ["client_secret", "token"])
def test_a_client_whose_secret_is_an_argument_refuses_and_names_the_way_out(
    from_environment: pytest.MonkeyPatch, argument: str
) -> None:
    given = {"token": {"token": TOKEN}, "client_secret": {"client_id": "abc", "client_secret": TOKEN}}[argument]
    with Invora(**given) as client, pytest.raises(TypeError, match=f"INVORA_{argument.upper()}") as caught:
        pickle.dumps(client)
    assert TOKEN not in str(caught.value)
