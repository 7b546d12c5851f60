"""Where settings come from, what they may be, and that secrets stay secret."""

import copy
import json
import logging
import pickle
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invora_grpc.config import (
    ENVIRONMENTS,
    Secret,
    Target,
    load_settings,
    parse_endpoint,
    parse_issuer,
    require_credentials,
)
from invora_grpc.errors import ConfigError

PLAIN = "s3cr" + "et-value"


# --- endpoints ---


@pytest.mark.parametrize(
    ("text", "address", "tls"),
    [
        ("https://gw.example", "gw.example:443", True),
        ("https://gw.example/", "gw.example:443", True),
        ("https://gw.example:8443", "gw.example:8443", True),
        ("HTTPS://GW.example", "gw.example:443", True),
        ("http://gw.example", "gw.example:80", False),
        ("http://gw.example:81", "gw.example:81", False),
        ("gw.example", "gw.example:443", True),
        ("gw.example:50051", "gw.example:50051", True),
        ("localhost", "localhost:443", True),
        ("localhost:50051", "localhost:50051", False),
        ("127.0.0.1:50051", "127.0.0.1:50051", False),
        ("127.9.9.9:1", "127.9.9.9:1", False),
        ("[::1]:50051", "[::1]:50051", False),
        ("https://localhost:50051", "localhost:50051", True),
        ("[2001:DB8::1]:9", "[2001:db8::1]:9", True),
        ("https://[2001:db8::1]", "[2001:db8::1]:443", True),
    ],
)
def test_an_endpoint_is_a_url_or_a_bare_host(text: str, address: str, tls: bool) -> None:
    target = parse_endpoint(text)
    assert (target.address, target.tls) == (address, tls)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ftp://x", "has the scheme 'ftp'; use https://host, http://host, or host:port"),
        ("dns:///gw.example:443", "scheme 'dns'"),
        ("unix:/tmp/socket", "bad port"),
        ("", "is empty"),
        ("https://", "names no host"),
        ("https://gw.example/api", "has a path"),
        ("gw.example:443/api", "has a path"),
        ("https://gw.example?x=1", "query"),
        ("https://gw.example#x", "fragment"),
        ("https:\\\\gw.example", "backslash"),
        ("gw.example:", "bad port ''"),
        ("gw.example:0", "bad port '0'"),
        ("gw.example:65536", "bad port '65536'"),
        ("gw.example:٤٤٣", "visible ASCII"),
        ("gw.example:-1", "bad port '-1'"),
        ("gw.example\n", "control characters"),
        (" gw.example", "spaces"),
        ("fäktura.example", "xn--"),
        ("1.2.3.999:443", "bad host '1.2.3.999'"),
        ("::1", "names no host"),
        ("[::1", "bad host"),
        ("[fe80::1%eth0]:1", "bad host"),
        ("-gw.example", "bad host"),
        ("https://a://b", "bad port"),
    ],
)
def test_anything_else_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_endpoint(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.setting == "endpoint"


def test_a_password_in_an_endpoint_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_endpoint(f"https://user:{PLAIN}@gw.example/?token={PLAIN}")
    assert "user info" in str(caught.value)
    assert PLAIN not in str(caught.value)
    assert PLAIN not in str(caught.value.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost.example", False),
        ("10.0.0.1", False),
        ("gw.example", False),
    ],
)
def test_loopback_is_decided_by_the_host_itself(host: str, loopback: bool) -> None:
    assert Target(host, 1, tls=False).loopback is loopback


@given(st.text() | st.from_regex(r"(https?://)?[\[\]a-z0-9.:@/-]{0,20}(:[0-9]{0,6})?", fullmatch=True))
def test_whatever_the_text_it_is_a_target_or_a_config_error(text: str) -> None:
    try:
        target = parse_endpoint(text)
    except ConfigError:
        return
    assert parse_endpoint(target.url) == target


@given(
    st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z]{1,8}){0,3}", fullmatch=True)
    | st.ip_addresses().map(lambda ip: f"[{ip}]" if ip.version == 6 else str(ip)),
    st.integers(1, 65535),
    st.booleans(),
)
def test_every_good_target_survives_the_way_to_a_url_and_back(host: str, port: int, tls: bool) -> None:
    target = parse_endpoint(f"{'https' if tls else 'http'}://{host}:{port}")
    assert (target.port, target.tls) == (port, tls)
    assert parse_endpoint(target.url) == target


# --- issuers ---


@pytest.mark.parametrize(
    ("text", "issuer"),
    [
        ("https://auth.example", "https://auth.example"),
        ("https://auth.example/", "https://auth.example"),
        ("https://auth.example/realms/a", "https://auth.example/realms/a"),
        ("http://127.0.0.1:50580", "http://127.0.0.1:50580"),
    ],
)
def test_an_issuer_loses_its_trailing_slash_only(text: str, issuer: str) -> None:
    assert parse_issuer(text) == issuer


@pytest.mark.parametrize(
    "text", ["http://auth.example", "auth.example", "https://u@auth.example", "ftp://x", "https://a?b"]
)
def test_an_issuer_is_https_or_loopback(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^issuer: "):
        parse_issuer(text)


# --- where settings come from ---


def test_production_is_the_default() -> None:
    settings = load_settings(environ={})
    assert settings.environment is ENVIRONMENTS["production"]
    assert settings.target == Target("gateway.invora.app", 443, tls=True)
    assert settings.issuer == "https://auth.invora.app"
    assert (settings.client_id, settings.client_secret, settings.token, settings.org_id) == (None,) * 4


@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_every_environment_is_usable(name: str) -> None:
    settings = load_settings(name, environ={})
    assert settings.endpoint == ENVIRONMENTS[name].endpoint
    assert settings.target.loopback is (name == "sandbox")


def test_an_unknown_environment_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings("prod", environ={})
    assert str(caught.value) == "env: 'prod' is no environment; use one of production, staging, sandbox"


def test_arguments_win_over_variables_and_variables_over_the_environment() -> None:
    environ = {"INVORA_ENV": "staging", "INVORA_ENDPOINT": "from.env", "INVORA_ORG_ID": "org-env"}
    settings = load_settings(org_id="org-argument", environ=environ)
    assert (settings.environment.name, settings.endpoint, settings.org_id) == ("staging", "from.env", "org-argument")
    assert settings.issuer == ENVIRONMENTS["staging"].issuer


def test_every_setting_has_a_variable() -> None:
    settings = load_settings(
        environ={
            "INVORA_ENDPOINT": "gw.example",
            "INVORA_ISSUER": "https://auth.example/",
            "INVORA_CLIENT_ID": "id",
            "INVORA_CLIENT_SECRET": PLAIN,
            "INVORA_TOKEN": "token",
            "INVORA_ORG_ID": "org",
        }
    )
    assert (settings.endpoint, settings.issuer) == ("gw.example", "https://auth.example")
    assert (settings.client_id, settings.org_id) == ("id", "org")
    assert settings.client_secret == Secret(PLAIN)
    assert settings.token == Secret("token")


def test_an_empty_variable_is_no_variable() -> None:
    assert load_settings(environ={"INVORA_ENV": "", "INVORA_TOKEN": "", "INVORA_ORG_ID": ""}) == load_settings(
        environ={}
    )


@pytest.mark.parametrize("name", ["env", "endpoint", "issuer", "client_id", "client_secret", "token", "org_id"])
def test_an_empty_argument_is_a_mistake(name: str) -> None:
    empty: dict[str, Any] = {name: ""}
    with pytest.raises(ConfigError, match=f"^{name}: "):
        load_settings(**empty, environ={})


def test_client_arguments_hide_the_token_variable() -> None:
    settings = load_settings(client_id="id", client_secret=PLAIN, environ={"INVORA_TOKEN": "stale"})
    assert settings.token is None


def test_a_token_argument_hides_the_client_variables() -> None:
    settings = load_settings(token="t", environ={"INVORA_CLIENT_ID": "id", "INVORA_CLIENT_SECRET": PLAIN})
    assert settings.client_id is None
    assert settings.client_secret is None


def test_a_token_and_a_client_as_arguments_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="came together with a client"):
        load_settings(client_id="id", token=PLAIN, environ={})


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a b", "ä", "a\0", "a\n"])
@pytest.mark.parametrize("name", ["org_id", "client_id", "token"])
def test_what_ends_up_in_headers_is_visible_ascii(name: str, value: str) -> None:
    smuggling: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError, match=f"^{name}: "):
        load_settings(**smuggling, environ={})


@pytest.mark.parametrize(
    ("given", "named", "unnamed"),
    [
        ({}, ["INVORA_CLIENT_ID", "INVORA_CLIENT_SECRET", "INVORA_TOKEN"], []),
        ({"client_id": "id"}, ["INVORA_CLIENT_SECRET"], ["INVORA_CLIENT_ID"]),
        ({"client_secret": PLAIN}, ["INVORA_CLIENT_ID"], ["INVORA_CLIENT_SECRET", PLAIN]),
    ],
)
def test_missing_credentials_are_named(given: dict[str, Any], named: list[str], unnamed: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        require_credentials(load_settings(**given, environ={}))
    text = str(caught.value)
    assert all(word in text for word in named)
    assert not any(word in text for word in unnamed)
    assert "\n" not in text


@pytest.mark.parametrize("given", [{"token": "t"}, {"client_id": "id", "client_secret": PLAIN}])
def test_a_token_or_a_client_is_enough(given: dict[str, Any]) -> None:
    require_credentials(load_settings(**given, environ={}))


# --- secrets ---


@pytest.mark.parametrize("show", [repr, str, format, "{0:>20}".format, "{0!r}".format, lambda s: f"{s}", "%s".__mod__])
def test_no_way_to_print_a_secret_shows_it(show: Any) -> None:
    assert show(Secret(PLAIN)) == "***"


def test_settings_do_not_show_their_secrets() -> None:
    settings = load_settings(client_id="id", client_secret=PLAIN, environ={})
    assert PLAIN not in repr(settings)
    assert "***" in repr(settings)


def test_logging_a_secret_shows_stars(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("test").warning("with %s and %r", Secret(PLAIN), {"k": Secret(PLAIN)})
    assert caplog.messages == ["with *** and {'k': ***}"]


@pytest.mark.parametrize("leave", [pickle.dumps, json.dumps])
def test_a_secret_leaves_the_process_by_no_serialiser(leave: Any) -> None:
    with pytest.raises(TypeError):
        leave(Secret(PLAIN))


def test_a_secret_is_a_value() -> None:
    one, same, other = Secret(PLAIN), Secret(PLAIN), Secret("other")
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != PLAIN
    assert one.reveal() == PLAIN
    assert copy.deepcopy([one]) == [same]


def test_a_secret_does_not_change() -> None:
    secret: Any = Secret(PLAIN)
    with pytest.raises(AttributeError):
        secret._text = "other"


def test_no_traceback_with_locals_shows_a_secret() -> None:
    cases: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"client_secret": PLAIN}, {"INVORA_ENV": "nowhere"}),
        ({}, {"INVORA_ENV": "nowhere", "INVORA_TOKEN": PLAIN}),
        ({"token": f"a b {PLAIN}"}, {}),
    ]
    for arguments, variables in cases:
        with pytest.raises(ConfigError) as caught:
            load_settings(**arguments, environ=variables)
        caught.value.__traceback__ = caught.value.__traceback__ and caught.value.__traceback__.tb_next
        text = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
        assert "load_settings" in text
        assert PLAIN not in text
