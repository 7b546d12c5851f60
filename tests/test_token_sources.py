"""The token sources before they fetch anything: what they take, what they show, and which one the settings mean."""

import os
import pickle
import traceback
import tracemalloc
import weakref
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from invora_grpc.auth import (
    CallableToken,
    ClientCredentials,
    RefreshToken,
    StaticToken,
    TokenSource,
    peek_of,
    token_source,
)
from invora_grpc.config import Secret, load_settings
from invora_grpc.errors import ConfigError

PLAIN = "cl1ent" + "-s3cret&="


def test_a_fixed_token_stays_the_same_even_by_force() -> None:
    source = StaticToken("pat")
    assert source.token() == source.token(force=True, rejected=Secret("pat")) == Secret("pat")


@pytest.mark.parametrize("value", ["Bearer abc", "a\nb", "ä", ""])
def test_a_fixed_token_is_the_bare_value(value: str) -> None:
    with pytest.raises(ConfigError):
        StaticToken(value)


def test_a_fixed_token_can_be_peeked_at() -> None:
    assert StaticToken("pat").peek() == Secret("pat")


class Vault:
    """A source of one's own, as it was before `peek` was there."""

    describe = "a vault"

    def token(self, force: bool = False, rejected: Secret | None = None) -> Secret:
        return Secret("from-the-vault")


def test_a_source_without_a_peek_never_knows_the_token() -> None:
    assert peek_of(Vault())() is None
    assert peek_of(StaticToken("pat"))() == Secret("pat")


def test_nobody_can_peek_at_what_a_function_will_return() -> None:
    source = CallableToken(lambda: "t")
    source.token()
    assert source.peek() is None


@pytest.mark.parametrize("fn", [None, "s3cret-token", 1])
def test_a_token_function_is_a_function(fn: Any) -> None:
    with pytest.raises(ConfigError, match="is no function; give a function") as caught:
        CallableToken(fn)
    assert "s3cret" not in str(caught.value)


def from_a_module() -> str:
    return f"token-of-{os.getpid()}"


def test_a_function_that_can_be_imported_pickles() -> None:
    source = pickle.loads(pickle.dumps(CallableToken(from_a_module)))
    assert source.token() == Secret(f"token-of-{os.getpid()}")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        described, other = pool.submit(_asked, CallableToken(from_a_module)).result(30)
    assert described == "the token function from_a_module"
    assert other


def _asked(source: CallableToken) -> tuple[str, bool]:
    return source.describe, source.token() == Secret(f"token-of-{os.getpid()}")


def test_a_function_is_asked_every_time() -> None:
    numbers = iter(range(9))
    source = CallableToken(lambda: f"token-{next(numbers)}")
    assert [source.token(), source.token()] == [Secret("token-0"), Secret("token-1")]


def test_what_a_function_returns_is_checked() -> None:
    with pytest.raises(ConfigError):
        CallableToken(lambda: "a\r\nx-evil: 1").token()


def test_the_settings_decide_the_source() -> None:
    by_token = token_source(load_settings(token="t", environ={}))
    by_client = token_source(load_settings("staging", client_id="abc", client_secret=PLAIN, environ={}))
    assert isinstance(by_token, StaticToken)
    assert isinstance(by_client, ClientCredentials)
    assert by_client.describe == "client credentials of 'abc' at https://auth.invora.app"
    with pytest.raises(ConfigError, match="INVORA_CLIENT_ID"):
        token_source(load_settings(environ={}))


def test_no_source_shows_its_secret_or_pickles() -> None:
    sources: list[TokenSource] = [
        StaticToken(PLAIN),
        ClientCredentials("https://auth.example", "abc", PLAIN),
        RefreshToken("https://auth.example", "abc", PLAIN, PLAIN),
    ]
    for source in sources:
        assert PLAIN not in f"{source!r} {source} {source.describe} {vars(source)!r}"
        with pytest.raises(TypeError, match=r"does not pickle; .* in the other process"):
            pickle.dumps(source)


def test_a_bad_issuer_does_not_show_the_secret_that_came_with_it() -> None:
    for make in (ClientCredentials, RefreshToken):
        with pytest.raises(ConfigError) as caught:
            make("ftp://x", "abc", PLAIN)
        error = caught.value
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        assert "cl1ent" not in shown


def test_a_source_takes_less_than_4_kb() -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        sources = [ClientCredentials("https://auth.example", f"tenant-{number}", PLAIN) for number in range(500)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(sources) < 4096


def test_sources_that_nobody_uses_any_more_are_let_go() -> None:
    seen = weakref.ref(ClientCredentials("https://auth.example", "abc", PLAIN))
    assert seen() is None
