"""Tokens for tasks: many ask, one fetch, and nobody's failure is another one's. Against a real issuer on loopback."""

import asyncio
import gc
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
from auth_issuer import PLAIN, Clock, Issuer, Reply, as_json, never, running_issuer, text_with_locals

from invora_grpc.auth import CallableToken, ClientCredentials, RefreshToken, StaticToken
from invora_grpc.auth_aio import AsyncTokens
from invora_grpc.config import Secret
from invora_grpc.errors import ConfigError, SignInError


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(issuer: Issuer, clock: Clock) -> ClientCredentials:
    return ClientCredentials(issuer.url, "abc", PLAIN, clock=clock, sleep=clock.sleep, jitter=never)


class Held:
    """Makes the issuer wait with its answers: `await held.asked()`, look around, `held.release()`."""

    def __init__(self, issuer: Issuer, reply: Callable[[int], Reply] | None = None) -> None:
        self._asked, self._released = threading.Event(), threading.Event()
        self._reply = reply or (lambda number: as_json(issuer.grant(number)))
        issuer.on_token = self._answer

    def _answer(self, number: int) -> Reply:
        self._asked.set()
        self._released.wait(10)
        return self._reply(number)

    async def asked(self) -> None:
        assert await asyncio.to_thread(self._asked.wait, 10)

    def release(self) -> None:
        self._released.set()


class Counting(ThreadPoolExecutor):
    """The loop's executor, counting what is handed to it."""

    handed = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        self.handed += 1
        return super().submit(fn, *args, **kwargs)


@asynccontextmanager
async def quiet() -> AsyncIterator[Counting]:
    """Fails if the loop has anything to complain about in the end, or if a task is left over."""
    loop, complaints = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
    executor = Counting()
    loop.set_default_executor(executor)
    yield executor
    await asyncio.to_thread(lambda: None)
    gc.collect()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert complaints == []


# --- one fetch ---


def test_2000_tasks_with_an_expired_token_cause_one_request_and_one_thread(
    issuer: Issuer, source: ClientCredentials, clock: Clock
) -> None:
    async def main() -> set[Secret]:
        async with quiet() as executor:
            found = set(await asyncio.gather(*(tokens.token() for _ in range(2000))))
            assert executor.handed == 1
        return found

    tokens = AsyncTokens(source)
    source.token()
    clock.now += 43_200
    assert asyncio.run(main()) == {Secret("token-2")}
    assert len(issuer.forms) == 2


def test_2000_tasks_whose_token_was_refused_cause_one_renewal(issuer: Issuer, source: ClientCredentials) -> None:
    async def main() -> set[Secret]:
        async with quiet() as executor:
            refused = source.token()
            found = set(await asyncio.gather(*(tokens.token(force=True, rejected=refused) for _ in range(2000))))
            assert await tokens.token(force=True, rejected=refused) in found
            assert executor.handed == 1
        return found

    tokens = AsyncTokens(source)
    assert asyncio.run(main()) == {Secret("token-2")}
    assert len(issuer.forms) == 2


def test_a_good_token_needs_no_thread(issuer: Issuer, source: ClientCredentials) -> None:
    async def main() -> None:
        async with quiet() as executor:
            assert await tokens.token() == tokens.peek() == Secret("token-1")
            assert executor.handed == 0

    tokens = AsyncTokens(source)
    source.token()
    asyncio.run(main())


def test_threads_and_tasks_share_one_request(issuer: Issuer, source: ClientCredentials) -> None:
    async def main(held: Held) -> set[Secret]:
        async with quiet():
            threads = [asyncio.to_thread(source.token) for _ in range(4)]
            everybody = asyncio.gather(*threads, *(tokens.token() for _ in range(50)))
            await held.asked()
            held.release()
            return set(await everybody)

    tokens = AsyncTokens(source)
    assert asyncio.run(main(Held(issuer))) == {Secret("token-1")}
    assert len(issuer.forms) == 1


def test_two_loops_at_once_share_one_request(issuer: Issuer, source: ClientCredentials) -> None:
    async def ask() -> set[Secret]:
        async with quiet():
            return set(await asyncio.gather(*(tokens.token() for _ in range(100))))

    tokens = AsyncTokens(source)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: asyncio.run(ask()), range(2)))
    assert found == [{Secret("token-1")}] * 2
    assert len(issuer.forms) == 1


# --- failure and cancellation ---


def test_a_shared_failure_is_raised_in_every_task_as_one_of_its_own(issuer: Issuer, source: ClientCredentials) -> None:
    async def main() -> list[Secret | BaseException]:
        async with quiet():
            return await asyncio.gather(*(tokens.token() for _ in range(100)), return_exceptions=True)

    tokens = AsyncTokens(source)
    issuer.on_token = lambda number: as_json({"error": "invalid_client"}, 401)
    failures = asyncio.run(main())
    assert {str(failure) for failure in failures} == {str(failures[0])}
    assert "invalid_client" in str(failures[0])
    assert len({id(failure) for failure in failures}) == 100
    assert len(issuer.forms) == 1


def test_cancelling_one_waiter_leaves_the_others_waiting(issuer: Issuer, source: ClientCredentials) -> None:
    async def main(held: Held) -> Secret:
        async with quiet():
            first, second = (asyncio.ensure_future(tokens.token()) for _ in range(2))
            await held.asked()
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            held.release()
            return await second

    tokens = AsyncTokens(source)
    assert asyncio.run(main(Held(issuer))) == Secret("token-1")
    assert len(issuer.forms) == 1


def test_a_fetch_goes_on_when_nobody_waits_any_more(issuer: Issuer, source: ClientCredentials) -> None:
    async def main(held: Held) -> Secret:
        async with quiet():
            waiting = [asyncio.ensure_future(tokens.token()) for _ in range(5)]
            await held.asked()
            for one in waiting:
                one.cancel()
            await asyncio.wait(waiting)
            held.release()
            return await tokens.token()

    tokens = AsyncTokens(source)
    assert asyncio.run(main(Held(issuer))) == Secret("token-1")
    assert len(issuer.forms) == 1


def test_a_failure_that_nobody_waits_for_is_not_complained_about(issuer: Issuer, source: ClientCredentials) -> None:
    async def main(held: Held) -> None:
        async with quiet():
            waiting = asyncio.ensure_future(tokens.token())
            await held.asked()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            held.release()
            with pytest.raises(SignInError):
                await tokens.token()

    tokens = AsyncTokens(source)
    asyncio.run(main(Held(issuer, lambda number: as_json({}, 401))))


def test_no_failure_shows_a_secret_not_even_with_locals(issuer: Issuer, source: ClientCredentials) -> None:
    issuer.on_token = lambda number: as_json({**issuer.grant(number, token_type="mac"), "echo": PLAIN})
    with pytest.raises(SignInError) as caught:
        asyncio.run(AsyncTokens(source).token())
    text = text_with_locals(caught.value)
    assert "token-1" not in text
    assert "cl1ent" not in text


# --- renewal ahead of time ---


def test_while_one_fetch_renews_early_all_tasks_go_on(issuer: Issuer, source: ClientCredentials, clock: Clock) -> None:
    async def main() -> None:
        async with quiet() as executor:
            held = Held(issuer)
            found = await asyncio.gather(*(tokens.token() for _ in range(500)))
            assert set(found) == {Secret("token-1")}
            await held.asked()
            assert await tokens.token() == tokens.peek() == Secret("token-1")
            assert executor.handed == 2  # the fetch, and the waiting for it of this test
            held.release()
            assert await tokens.token(force=True, rejected=Secret("token-1")) == Secret("token-2")

    tokens = AsyncTokens(source)
    source.token()
    clock.now += 43_000
    asyncio.run(main())
    assert tokens.peek() == Secret("token-2")
    assert len(issuer.forms) == 2


def test_an_early_renewal_that_fails_disturbs_nobody(issuer: Issuer, source: ClientCredentials, clock: Clock) -> None:
    async def main() -> None:
        async with quiet():
            held = Held(issuer, lambda number: as_json({}, 401))
            assert await tokens.token() == Secret("token-1")
            await held.asked()
            held.release()

    tokens = AsyncTokens(source)
    source.token()
    clock.now += 43_000
    asyncio.run(main())
    assert tokens.peek() == Secret("token-1")
    assert len(issuer.forms) == 2


# --- loops ---


def test_several_loops_one_after_another_are_served(issuer: Issuer, source: ClientCredentials) -> None:
    tokens = AsyncTokens(source)
    found = [asyncio.run(tokens.token(force=True)) for _ in range(3)]
    assert found == [Secret(f"token-{number}") for number in (1, 2, 3)]


def test_a_loop_that_ended_in_the_middle_of_a_fetch_leaves_nothing_to_wait_for(
    issuer: Issuer, source: ClientCredentials
) -> None:
    async def leave(held: Held) -> None:
        waiting = asyncio.ensure_future(tokens.token())
        await held.asked()
        waiting.cancel()
        asyncio.get_running_loop().call_later(0.01, held.release)

    tokens = AsyncTokens(source)
    asyncio.run(leave(Held(issuer)))
    assert asyncio.run(tokens.token()) == Secret("token-1")
    assert len(issuer.forms) == 1


# --- functions and sources of one's own ---


async def current() -> str:
    await asyncio.sleep(0)
    return "from-a-coroutine"


class Provider:
    """Something that is awaited when it is called, as SDKs of other platforms have it."""

    async def __call__(self) -> Secret:
        return Secret("from-a-provider")


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (current, "from-a-coroutine"),
        (partial(current), "from-a-coroutine"),
        (lambda: current(), "from-a-coroutine"),
        (lambda: asyncio.ensure_future(current()) if in_a_loop() else current(), "from-a-coroutine"),
        (Provider(), "from-a-provider"),
        (lambda: "plain", "plain"),
    ],
    ids=["coroutine function", "partial", "returns a coroutine", "returns a future", "object", "plain"],
)
def test_a_function_may_be_awaitable(fn: Callable[[], Any], expected: str) -> None:
    async def main() -> list[Secret]:
        async with quiet():
            return [await tokens.token(), await tokens.token(force=True)]

    tokens = AsyncTokens(CallableToken(fn))
    assert asyncio.run(main()) == [Secret(expected)] * 2
    assert tokens.peek() is None


def in_a_loop() -> bool:
    try:
        return asyncio.get_running_loop() is not None
    except RuntimeError:
        return False


def test_a_coroutine_function_is_awaited_in_the_loop_and_a_plain_one_called_in_a_thread() -> None:
    async def here() -> str:
        threads.append(threading.current_thread())
        return "t"

    def there() -> str:
        threads.append(threading.current_thread())
        return "t"

    async def main() -> None:
        async with quiet():
            await AsyncTokens(CallableToken(here)).token()
            await AsyncTokens(CallableToken(there)).token()

    threads: list[threading.Thread] = []
    asyncio.run(main())
    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


def test_a_function_sees_the_context_of_the_task_that_asks() -> None:
    user: ContextVar[str] = ContextVar("user")

    async def ask(tokens: AsyncTokens, name: str) -> Secret:
        user.set(name)
        return await tokens.token()

    async def main(tokens: AsyncTokens) -> list[Secret]:
        async with quiet():
            return await asyncio.gather(*(ask(tokens, name) for name in ("ann", "bob")))

    async def awaited() -> str:
        return user.get()

    for fn in (user.get, awaited):
        assert asyncio.run(main(AsyncTokens(CallableToken(fn)))) == [Secret("ann"), Secret("bob")]


def test_what_a_function_raises_passes_through() -> None:
    async def broken() -> str:
        raise LookupError("no vault")

    with pytest.raises(LookupError, match="no vault"):
        asyncio.run(AsyncTokens(CallableToken(broken)).token())


@pytest.mark.parametrize("value", ["s3cret\n", "", b"s3cret", None, 1])
def test_what_a_coroutine_returns_is_checked_and_not_shown(value: Any) -> None:
    async def wrong() -> Any:
        return value

    for fn in (wrong, lambda: value):
        with pytest.raises(ConfigError, match="token: ") as caught:
            asyncio.run(AsyncTokens(CallableToken(fn)).token())
        assert "s3cret" not in text_with_locals(caught.value)


@pytest.mark.parametrize("fn", [current, Provider(), lambda: current()], ids=["function", "object", "lambda"])
def test_a_synchronous_client_refuses_what_has_to_be_awaited(fn: Callable[[], Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConfigError, match=r"tokens: the token function .* has to be awaited; use AsyncInvora"):
            CallableToken(fn).token()
        gc.collect()


class Vault:
    """A source of one's own, without `peek`."""

    describe = "a vault"

    def __init__(self) -> None:
        self.asked: list[tuple[bool, Secret | None, threading.Thread]] = []

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        self.asked.append((force, rejected, threading.current_thread()))
        return Secret("from-the-vault")


def test_a_source_of_ones_own_is_asked_in_a_thread() -> None:
    vault = Vault()
    tokens = AsyncTokens(vault)
    assert asyncio.run(tokens.token(force=True, rejected=Secret("old"))) == Secret("from-the-vault")
    ((force, rejected, thread),) = vault.asked
    assert (force, rejected) == (True, Secret("old"))
    assert thread is not threading.main_thread()
    assert (tokens.describe, tokens.peek()) == ("a vault", None)


def test_a_fixed_token_needs_no_thread() -> None:
    async def main() -> None:
        async with quiet() as executor:
            assert await AsyncTokens(StaticToken("pat")).token() == Secret("pat")
            assert executor.handed == 0

    asyncio.run(main())


def test_a_new_refresh_token_is_stored_before_its_access_token_is_used(issuer: Issuer) -> None:
    rotated: list[Secret] = []
    issuer.on_token = lambda number: as_json(issuer.grant(number, refresh_token=f"refresh-{number}"))
    tokens = AsyncTokens(RefreshToken(issuer.url, "abc", "refresh-0", on_rotated=rotated.append))
    assert asyncio.run(tokens.token()) == Secret("token-1")
    assert rotated == [Secret("refresh-1")]
