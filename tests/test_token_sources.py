"""The token sources before they fetch anything: what they take, what they show, and which one the settings mean."""

import pickle
import traceback

import pytest

from invora_grpc.auth import CallableToken, ClientCredentials, RefreshToken, StaticToken, TokenSource, token_source
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
        with pytest.raises(TypeError):
            pickle.dumps(source)


def test_a_bad_issuer_does_not_show_the_secret_that_came_with_it() -> None:
    for make in (ClientCredentials, RefreshToken):
        with pytest.raises(ConfigError) as caught:
            make("ftp://x", "abc", PLAIN)
        error = caught.value
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        assert "cl1ent" not in shown
