"""Where the calls of a command go, and as whom: options, variables and profiles put together, and the tenant guard."""

from __future__ import annotations

from pathlib import Path

import pytest

from invora_grpc.catalog import catalog
from invora_grpc.cli import guard
from invora_grpc.cli.configuration import Profile, config_path, read, save_profile, use, without
from invora_grpc.cli.options import target_of
from invora_grpc.cli.targets import Target, resolve
from invora_grpc.config import Secret
from invora_grpc.errors import ConfigError, RequestError

A, B = "http://127.0.0.1:1111", "http://127.0.0.1:2222"
CREATE, LIST = "billing.customers.create", "billing.customers.list"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INVORA_CONFIG_DIR", str(tmp_path))
    return tmp_path


def signed_in(name: str = "shop", **place: str) -> Profile:
    return save_profile(Profile(name, sign_in="client", vault="file", client_id="abc", **place))


def told(target: Target) -> tuple[str | None, str, str | None, bool, bool]:
    return target.profile, target.settings.endpoint, target.settings.org_id, target.signed_in, target.anonymous


# --- precedence ---


def test_the_profile_in_use_is_the_default() -> None:
    signed_in(endpoint=A, org="7")
    assert told(resolve(environ={})) == ("shop", A, "7", True, False)


def test_variables_that_name_another_gateway_set_the_profile_in_use_aside() -> None:
    signed_in(endpoint=A, org="7")
    variables = {"INVORA_ENDPOINT": B, "INVORA_TOKEN": "t"}
    target = resolve(environ=variables)
    assert told(target) == (None, B, None, False, False)
    assert target.settings.token == Secret("t")


def test_a_profile_that_is_named_wins_over_variables_and_their_credentials() -> None:
    signed_in(endpoint=A)
    variables = {"INVORA_ENDPOINT": B, "INVORA_TOKEN": "t", "INVORA_ORG_ID": "9", "INVORA_ENV": "staging"}
    target = resolve("shop", environ=variables)
    assert told(target) == ("shop", A, None, True, False)
    assert target.settings.token is None


def test_an_option_wins_over_the_profile_that_is_named() -> None:
    signed_in(endpoint=A, env="staging")
    assert told(resolve("shop", endpoint=B, environ={})) == ("shop", B, None, False, True)
    assert resolve("shop", env="sandbox", environ={}).settings.endpoint == "http://127.0.0.1:50551"


def test_credentials_of_variables_win_over_the_sign_in_of_the_profile_in_use() -> None:
    signed_in(endpoint=A)
    assert told(resolve(environ={"INVORA_TOKEN": "t"})) == ("shop", A, None, False, False)


def test_a_variable_names_the_profile() -> None:
    signed_in("one", endpoint=A)
    signed_in("two", endpoint=B)
    assert resolve(environ={"INVORA_PROFILE": "two"}).settings.endpoint == B


def test_a_sign_in_goes_to_no_other_gateway_and_to_no_other_issuer() -> None:
    signed_in(endpoint=A, issuer="http://127.0.0.1:3")
    assert not resolve("shop", endpoint=B, environ={}).signed_in
    assert not resolve("shop", issuer="http://127.0.0.1:4", environ={}).signed_in
    assert resolve("shop", endpoint=A, issuer="http://127.0.0.1:3", environ={}).signed_in


# --- no token ---


def test_a_gateway_that_is_named_is_called_without_a_token_if_there_are_no_credentials() -> None:
    assert resolve(endpoint=A, environ={}).tokens() is None
    with pytest.raises(ConfigError, match="credentials: missing"):
        resolve(environ={}).tokens()
    with pytest.raises(ConfigError, match="INVORA_CLIENT_SECRET"):
        resolve(endpoint=A, environ={"INVORA_CLIENT_ID": "abc"}).tokens()


def test_no_auth_sends_no_token_whatever_there_is() -> None:
    signed_in(endpoint=A)
    assert resolve(no_auth=True, environ={"INVORA_TOKEN": "t"}).tokens() is None


def a_target(*header: str) -> Target:
    return target_of(
        timeout=3.0,
        schema=None,
        header=header,
        reflect_header=("x-r: 1",),
        no_auth=False,
        profile=None,
        env=None,
        endpoint=A,
        issuer=None,
        org=None,
        cacert=None,
        cert=None,
        key=None,
    )


def test_headers_are_metadata_and_a_bearer_token_is_the_token() -> None:
    target = a_target("X-Team: a:b", "x-trace-bin: AAE=", "Authorization: Bearer abc")
    assert target.headers == (("x-team", "a:b"), ("x-trace-bin", b"\0\1"))
    assert target.reflect_headers == (("x-r", "1"),)
    assert target.settings.token == Secret("abc")
    assert "abc" not in repr(target)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("x-team", "has no colon"),
        ("x-a-bin: %", "no base64"),
        ("authorization: Basic abc", "is not free to use"),
        ("x-target-org-id: 7", "use for_org"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_without_showing_its_value(header: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        a_target(header)
    assert "Basic abc" not in str(caught.value)


# --- the tenant guard ---


def test_a_profile_that_is_bound_sends_nothing_to_another_organization() -> None:
    signed_in(endpoint=A, org="7")
    assert resolve(org="7", environ={}).settings.org_id == "7"
    with pytest.raises(ConfigError, match="'8' is not the organization 7 that profile shop is bound to; leave --org"):
        resolve(org="8", environ={})
    with pytest.raises(ConfigError, match="unset INVORA_ORG_ID"):
        resolve(environ={"INVORA_ORG_ID": "8"})


def test_what_would_be_sent_says_profile_environment_and_organization() -> None:
    signed_in(env="staging", org="7")
    assert resolve(environ={}).describe() == "profile shop, staging, stg-gateway.invora.app:443, organization 7"
    assert resolve(endpoint=A, environ={}).describe() == f"{A}, no token"
    other = resolve(env="sandbox", environ={"INVORA_TOKEN": "t"})
    assert other.describe() == "sandbox, http://127.0.0.1:50551, the caller's own organization"


@pytest.mark.parametrize(
    ("place", "asks"),
    [
        ({}, True),
        ({"env": "production"}, True),
        ({"endpoint": "gateway.invora.app"}, True),
        ({"endpoint": "https://invora.example"}, True),
        ({"endpoint": "https://invora.example", "env": "staging"}, False),
        ({"env": "staging"}, False),
        ({"endpoint": "stg-gateway.invora.app:443"}, False),
        ({"env": "sandbox"}, False),
        ({"endpoint": A}, False),
    ],
)
def test_changes_are_asked_about_wherever_it_may_be_production(place: dict[str, str], asks: bool) -> None:
    target = resolve(**place, environ={"INVORA_TOKEN": "t"})
    guard.check(target, catalog().method(LIST))
    guard.check(target, catalog().method(CREATE), yes=True)
    if asks:
        with pytest.raises(RequestError, match=r"changes production .*; give --yes if that is meant; nothing was sent"):
            guard.check(target, catalog().method(CREATE))
    else:
        guard.check(target, catalog().method(CREATE))


def test_another_grpc_server_without_a_token_is_not_production() -> None:
    guard.check(resolve(endpoint="https://grpc.example", environ={}), catalog().method(CREATE))


# --- the config file ---


def test_the_file_keeps_its_comments_and_only_its_owner_reads_it() -> None:
    config_path().write_text('# mine\nprofile = "a"\n\n[profiles.a]\nenv = "staging" # test data\n')
    signed_in("b", endpoint=A)
    text = config_path().read_text()
    assert ("# mine" in text, "# test data" in text) == (True, True)
    assert config_path().stat().st_mode & 0o777 == 0o600
    assert read().current == "a"


def test_profiles_are_used_and_removed() -> None:
    signed_in("a", endpoint=A)
    signed_in("b", endpoint=B)
    assert use("b").endpoint == B
    without("b", sign_in_only=True)
    assert read().profile("b") == Profile("b", endpoint=B)
    without("b")
    assert (read().current, list(read().profiles)) == (None, ["a"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "is no TOML"),
        ("x = 1", "unknown key 'x'"),
        ("[profiles.a]\ntoken = 'x'", "unknown key 'token' in profile 'a'"),
        ("[profiles.a]\norg = 7", "no text for org"),
        ("[profiles]\na = 1", "is no table"),
        ("profile = 'a'", "which it does not have"),
        ("[profiles.'a b']", "is no profile name"),
    ],
)
def test_a_file_that_makes_no_sense_is_named_with_what_is_wrong(text: str, words: str) -> None:
    config_path().write_text(text)
    with pytest.raises(ConfigError, match=words):
        resolve(environ={})


def test_an_unknown_profile_suggests_the_nearest() -> None:
    signed_in("staging", endpoint=A)
    with pytest.raises(ConfigError, match="'stagin' is no profile; did you mean staging"):
        resolve("stagin", environ={})
