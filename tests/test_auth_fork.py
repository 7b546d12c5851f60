"""What a forked child gets of a token source: the token, and no lock or fetch of a thread that is not there.

Each test forks in a Python of its own, which has no threads but those that it is about.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from auth_issuer import PLAIN, Issuer, Reply, as_json, running_issuer

from invora_grpc.auth import ClientCredentials
from invora_grpc.auth_aio import AsyncTokens
from invora_grpc.config import Secret

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        yield issuer


def alone(scene: Callable[[str], None], issuer: Issuer) -> str:
    """Play a scene in a fresh Python: what its child and then its parent wrote."""
    script = f"import test_auth_fork as here; here.{scene.__name__}({issuer.url!r})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def forked(child: Callable[[], Secret], after: Callable[[], object] = lambda: None) -> None:
    """Fork; write what `child` finds there, or that it hung; then go on here with `after`."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(15)
        try:
            found = child().reveal()
        except BaseException as error:
            found = repr(error)
        os.write(1, f"child {found}\n".encode())
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    after()
    if status:
        print(f"the child ended with {status}", flush=True)


def while_another_thread_holds_the_lock(url: str) -> None:
    def clock() -> float:
        if threading.current_thread() is holder:
            inside.set()
            release.wait(20)
        return 0.0

    inside, release = threading.Event(), threading.Event()
    source = ClientCredentials(url, "abc", PLAIN, clock=clock)
    holder = threading.Thread(target=source.token)
    source.token()
    holder.start()
    inside.wait(10)
    forked(source.token, release.set)
    holder.join()
    print("parent", source.token().reveal())


def test_the_child_does_not_wait_for_a_lock_that_nobody_holds_there(issuer: Issuer) -> None:
    assert alone(while_another_thread_holds_the_lock, issuer) == "child token-1\nparent token-1\n"


def while_another_thread_fetches(url: str) -> None:
    source = _after_a_first_one(url)
    fetching = _in_a_flight(source)
    forked(source.token)
    fetching.join()
    print("parent", source.token().reveal())


def while_another_thread_renews(url: str) -> None:
    now = [0.0]
    source = ClientCredentials(url, "abc", PLAIN, clock=lambda: now[0])
    source.token()
    _settled()
    now[0] = 43_000.0
    fetching = _in_a_flight(source)
    forked(lambda: source.token() if source.peek() is None else Secret("peeked"))
    fetching.join()
    print("parent", source.token().reveal())


def while_a_loop_fetches(url: str) -> None:
    source = _after_a_first_one(url)
    tokens = AsyncTokens(source)

    async def ask() -> None:
        asking = asyncio.ensure_future(tokens.token())
        await asyncio.to_thread(_flight_of_worker)
        fork()
        await asking

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            signal.alarm(15)
            os.write(1, f"child {asyncio.run(tokens.token()).reveal()}\n".encode())
            os._exit(0)
        os.waitpid(pid, 0)

    asyncio.run(ask())
    print("parent", source.token().reveal())


def _after_a_first_one(url: str) -> ClientCredentials:
    """A source without a token. All that a fetch imports is there: an import that a fork cut short stays broken."""
    ClientCredentials(url, "first", PLAIN).token()
    _settled()
    return ClientCredentials(url, "abc", PLAIN)


def _in_a_flight(source: ClientCredentials) -> threading.Thread:
    fetching = threading.Thread(target=source.token)
    fetching.start()
    _flight_of_worker()
    return fetching


def _flight_of_worker() -> None:
    """Until a request of the token source is under way."""
    while not _workers():
        os.sched_yield()


def _settled() -> None:
    """Until none is."""
    for worker in _workers():
        worker.join()


def _workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "invora-sign-in"]


@pytest.mark.parametrize(
    "scene",
    [while_another_thread_fetches, while_another_thread_renews, while_a_loop_fetches],
    ids=lambda scene: scene.__name__,
)
def test_the_child_makes_its_own_fetch_instead_of_waiting_for_one_that_is_not_there(
    issuer: Issuer, scene: Callable[[str], None]
) -> None:
    """The issuer answers the second request when the third one is there, so that both are under way at once."""
    third = threading.Event()

    def answer(number: int) -> Reply:
        if number == 3:
            third.set()
        if number == 2:
            third.wait(4)
        return as_json(issuer.grant(number))

    issuer.on_token = answer
    found = alone(scene, issuer)
    assert found in ("child token-3\nparent token-2\n", "child token-2\nparent token-3\n")
