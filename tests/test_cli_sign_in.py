"""Signing in from the command line, as people do it: processes, a sandbox, and a browser that follows redirects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import forked
import httpx
import pytest
from auth_issuer import as_json, running_issuer
from gateway import running_gateway
from sandbox_fixture import Running
from terminal import terminal

from invora_grpc.sandbox.authorize import person_of

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """An environment without settings, and with a configuration folder and a file vault of its own."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("INVORA_")}
    keyring = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    return {**plain, **keyring, "INVORA_CONFIG_DIR": str(tmp_path / "config")}


@pytest.fixture
def invora(variables: dict[str, str]) -> Run:
    """Runs a command and returns it ended."""

    def run(*arguments: str, input: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return forked.run(*arguments, environment=variables | more, typed=input)

    return run


def place(demo: Running) -> tuple[str, ...]:
    return "--endpoint", f"http://{demo.grpc}", "--issuer", demo.issuer


def good(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stderr
    return result.stdout


# --- client credentials ---


def test_a_sign_in_serves_the_calls_after_it_and_ends_with_logout(invora: Run, demo: Running, tmp_path: Path) -> None:
    arguments = ("login", "--profile", "shop", *place(demo), "--client-id", demo.client_id)
    result = invora(*arguments, input=f"{demo.client_secret}\n")
    assert f"profile shop: signed in as {demo.client_id}" in good(result)
    assert "no keyring works on this machine: secrets are kept in the file" in result.stderr
    who = json.loads(good(invora("whoami", "-o", "json")))
    assert (who["profile"], who["organization"], who["roles"]) == ("shop", demo.org_id, {"owner": [demo.org_id]})
    good(invora("call", "simple.invoices.list", "pagination.limit=1"))
    good(invora("logout"))
    assert not json.loads((tmp_path / "config" / "secrets.json").read_text())
    assert "sign in with `invora login`" in invora("token").stderr


def test_a_secret_that_is_wrong_keeps_nothing(invora: Run, demo: Running, tmp_path: Path) -> None:
    result = invora("login", *place(demo), "--client-id", demo.client_id, INVORA_CLIENT_SECRET="guess-of-mine")
    assert (result.returncode, "guess-of-mine" in result.stderr + result.stdout) == (2, False)
    assert "invalid_client" in result.stderr
    assert not (tmp_path / "config" / "config.toml").exists()


def test_the_config_file_has_no_secret_and_the_vault_is_its_owners(invora: Run, demo: Running, tmp_path: Path) -> None:
    result = invora("login", *place(demo), "--client-id", demo.client_id, INVORA_CLIENT_SECRET=demo.client_secret)
    token = good(invora("token")).strip()
    text = (tmp_path / "config" / "config.toml").read_text()
    shown = good(result) + result.stderr + text + good(invora("whoami")) + good(invora("profiles", "list"))
    assert (demo.client_secret in shown, token in shown, token.count(".")) == (False, False, 2)
    assert tomllib.loads(text)["profiles"]["default"]["sign_in"] == "client"
    assert (tmp_path / "config" / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_a_profile_that_nobody_named_is_not_turned_into_one_for_another_gateway(invora: Run, demo: Running) -> None:
    good(invora("profiles", "set", "shop", "env=staging"))
    result = invora("login", *place(demo), "--client-id", "abc", input="x\n")
    assert (result.returncode, "'shop' is for another gateway than" in result.stderr) == (2, True)


def test_a_ready_token_is_kept_too(invora: Run, demo: Running) -> None:
    good(invora("login", *place(demo), "--token", input=f"{demo.token()}\n"))
    assert good(invora("token")).strip() == demo.token()


# --- a person, in a browser ---


def visited(address: str) -> httpx.Response:
    """What a browser shows at this address, after its redirects."""
    return httpx.get(address, follow_redirects=True, trust_env=False)


def by_hand(variables: dict[str, str], demo: Running, *more: str) -> tuple[subprocess.Popen[str], str]:
    """A login that waits, and the address that it wants to be opened."""
    command = [sys.executable, "-m", "invora_grpc.cli", "login", *place(demo), "--client-id", demo.client_id, *more]
    pipe = subprocess.PIPE
    waiting = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=variables)
    assert waiting.stderr is not None
    assert waiting.stderr.readline() == "Open this address in a browser:\n"
    return waiting, waiting.stderr.readline().strip()


def test_a_person_signs_in_by_the_address_and_the_session_renews(
    invora: Run, demo: Running, variables: dict[str, str], tmp_path: Path
) -> None:
    waiting, address = by_hand(variables, demo, "--no-browser")
    page = visited(address)
    assert (page.status_code, "You are signed in" in page.text) == (200, True)
    told, _ = waiting.communicate(timeout=30)
    assert f"signed in as {person_of(demo.client_id)}" in told
    first = good(invora("token"))
    vault = tmp_path / "config" / "secrets.json"
    kept = json.loads(vault.read_text())
    session = json.loads(kept["default"]) | {"expires_at": 1.0}
    vault.write_text(json.dumps({"default": json.dumps(session)}))
    assert good(invora("token")) != first
    assert json.loads(json.loads(vault.read_text())["default"])["refresh_token"] != session["refresh_token"]


def session(config: Path, issuer: str) -> None:
    """A person's sign-in as it is kept."""
    config.mkdir()
    kept = {"kind": "session", "endpoint": "http://127.0.0.1:1", "issuer": issuer, "client_id": "c"}
    (config / "secrets.json").write_text(json.dumps({"me": json.dumps(kept | {"refresh_token": "r3fresh"})}))
    (config / "secrets.json").chmod(0o600)
    table = {"endpoint": "http://127.0.0.1:1", "issuer": issuer, "sign_in": "session", "vault": "file"}
    (config / "config.toml").write_text("[profiles.me]\n" + "".join(f'{k} = "{v}"\n' for k, v in table.items()))


@pytest.mark.parametrize("command", [("logout", "--profile"), ("profiles", "remove")])
def test_a_sign_out_ends_the_session_at_the_issuer(
    invora: Run, demo: Running, variables: dict[str, str], tmp_path: Path, command: tuple[str, str]
) -> None:
    waiting, address = by_hand(variables, demo, "--no-browser", "--profile", "me")
    visited(address)
    waiting.communicate(timeout=30)
    kept = json.loads(json.loads((tmp_path / "config" / "secrets.json").read_text())["me"])["refresh_token"]
    result = invora(*command, "me")
    assert (result.returncode, f"its session at {demo.issuer} has ended" in result.stderr) == (0, True), result.stderr
    form = {"grant_type": "refresh_token", "client_id": demo.client_id, "refresh_token": kept}
    assert httpx.post(f"{demo.issuer}/oauth/v2/token", data=form, trust_env=False).status_code == 400
    assert kept not in result.stdout + result.stderr


def test_a_sign_out_sends_the_refresh_token_to_the_endpoint_of_rfc_7009(invora: Run, tmp_path: Path) -> None:
    with running_issuer() as issuer:
        there = f"{issuer.url}/revoke"
        issuer.on_discovery = lambda: as_json(issuer.document(revocation_endpoint=there))
        issuer.on_token = lambda _: (200, {}, b"")
        session(tmp_path / "config", issuer.url)
        good(invora("logout", "--profile", "me"))
    assert issuer.forms == [{"token_type_hint": "refresh_token", "client_id": "c", "token": "r3fresh"}]


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        (None, "which offers no way to end it"),
        ("http://127.0.0.1:1/revoke", "names a revocation endpoint that is not on the issuer's own origin"),
        ("{}/revoke", "refused (HTTP 400, unsupported_token_type)"),
    ],
)
def test_a_session_that_the_issuer_does_not_end_is_forgotten_here_all_the_same(
    invora: Run, tmp_path: Path, endpoint: str | None, words: str
) -> None:
    with running_issuer() as issuer:
        there = None if endpoint is None else endpoint.format(issuer.url)
        issuer.on_discovery = lambda: as_json(issuer.document(revocation_endpoint=there))
        issuer.on_token = lambda _: as_json({"error": "unsupported_token_type"}, 400)
        session(tmp_path / "config", issuer.url)
        result = invora("logout", "--profile", "me")
    assert (result.returncode, words in result.stderr, "r3fresh" in result.stderr) == (0, True, False), result.stderr
    assert json.loads((tmp_path / "config" / "secrets.json").read_text()) == {}
    assert "sign_in" not in (tmp_path / "config" / "config.toml").read_text()


def test_a_browser_that_stays_open_does_not_hold_the_sign_in_up(
    invora: Run, demo: Running, tmp_path: Path, variables: dict[str, str]
) -> None:
    browser = tmp_path / "browser.py"
    browser.write_text("import sys, httpx\nhttpx.get(sys.argv[1], follow_redirects=True, trust_env=False)\n")
    arguments = ("login", *place(demo), "--client-id", demo.client_id, "--browser")
    assert "signed in" in good(invora(*arguments, BROWSER=f"{sys.executable} {browser} %s"))


def test_another_page_can_neither_end_nor_take_over_the_sign_in(variables: dict[str, str], demo: Running) -> None:
    waiting, address = by_hand(variables, demo, "--no-browser")
    back = parse_qs(urlsplit(address).query)["redirect_uri"][0]
    strangers = (
        f"{back}?state=guess&code=x",
        f"{back}?code=x",
        f"{back}?state=a&state=b",
        back.replace("callback", "x"),
    )
    assert [visited(stranger).status_code for stranger in strangers] == [400, 400, 404, 404]
    assert visited(address).status_code == 200
    assert waiting.wait(30) == 0


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"error": "access_denied"}, "access_denied; the person, or the issuer, has refused"),
        ({"error": "<script>"}, "no code came back"),
        ({"code": "x", "iss": "http://127.0.0.1:1"}, "another issuer has answered"),
        ({"code": "x"}, "invalid_grant"),
    ],
)
def test_what_comes_back_wrong_is_told_and_keeps_nothing(
    variables: dict[str, str], demo: Running, changed: dict[str, str], words: str, tmp_path: Path
) -> None:
    waiting, address = by_hand(variables, demo, "--no-browser")
    query = parse_qs(urlsplit(address).query)
    httpx.get(query["redirect_uri"][0], params={"state": query["state"][0], **changed}, trust_env=False)
    _, said = waiting.communicate(timeout=30)
    assert (waiting.returncode, words in said, "Traceback" in said) == (2, True, False)
    assert not (tmp_path / "config" / "secrets.json").exists()


def test_nobody_coming_ends_the_wait(invora: Run, demo: Running) -> None:
    result = invora("login", *place(demo), "--client-id", demo.client_id, "--no-browser", "--wait", "0.1")
    assert (result.returncode, "nobody signed in within 0.1 s" in result.stderr) == (2, True)


# --- one-time secrets ---


def test_the_secret_of_a_new_business_goes_into_the_vault_and_onto_no_screen(
    invora: Run, sandbox: Running, tmp_path: Path
) -> None:
    own = {"INVORA_ENDPOINT": f"http://{sandbox.grpc}", "INVORA_ISSUER": sandbox.issuer}
    own |= {"INVORA_CLIENT_ID": sandbox.client_id, "INVORA_CLIENT_SECRET": sandbox.client_secret}
    fields = ("name=Acme", "admin_email=a@acme.example")
    result = invora("creds", "save", "create_connected_business", "--as", "acme", *fields, **own)
    answer: dict[str, Any] = json.loads(good(result))
    secret = json.loads(json.loads((tmp_path / "config" / "secrets.json").read_text())["acme"])["client_secret"]
    assert (answer["client_secret"], secret in result.stdout + result.stderr) == ("***", False)
    who = json.loads(good(invora("whoami", "--profile", "acme", "-o", "json")))
    assert who["organization"] == answer["connected_business"]["tenant_id"]
    rotated = ("rotate_credentials", f"tenant_id={who['organization']}", "--as", "acme")
    refused = invora("creds", "save", *rotated, **own)
    assert (refused.returncode, "'acme' exists; nothing was sent" in refused.stderr) == (2, True)
    good(invora("creds", "save", *rotated, "--replace", **own))
    assert json.loads(json.loads((tmp_path / "config" / "secrets.json").read_text())["acme"])["client_secret"] != secret


def test_the_secret_is_kept_also_if_nobody_reads_the_answer(
    variables: dict[str, str], sandbox: Running, tmp_path: Path
) -> None:
    own = {"INVORA_ENDPOINT": f"http://{sandbox.grpc}", "INVORA_ISSUER": sandbox.issuer}
    own |= {"INVORA_CLIENT_ID": sandbox.client_id, "INVORA_CLIENT_SECRET": sandbox.client_secret}
    command = f"{sys.executable} -m invora_grpc.cli creds save create_connected_business --as gone name=Gone"
    line = f"{command} admin_email=g@gone.example > /dev/full"
    ended = subprocess.run(["bash", "-c", line], env=variables | own, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, "No space left" in ended.stderr) == (1, True)
    assert "client_secret" in json.loads((tmp_path / "config" / "secrets.json").read_text())["gone"]


def test_the_schema_of_a_profile_s_gateway_is_asked_for_with_its_sign_in(invora: Run, demo: Running) -> None:
    good(invora("login", "--profile", "shop", *place(demo), "--client-id", demo.client_id, input=demo.client_secret))
    assert "461 identical" in good(invora("schema", "verify", "--profile", "shop"))
    refused = invora("schema", "verify", "--profile", "shpo")
    assert (refused.returncode, "did you mean shop?" in refused.stderr) == (2, True)


@pytest.mark.parametrize("wait", ["nan", "inf", "-1"])
def test_a_wait_that_is_no_time_is_refused(invora: Run, wait: str) -> None:
    result = invora("login", "--client-id", "c", "--no-browser", "--wait", wait)
    assert (result.returncode, "Invalid value for '--wait'" in result.stderr) == (2, True)


def test_a_method_that_answers_no_credentials_is_not_called(invora: Run) -> None:
    with running_gateway() as gateway:
        own = {"INVORA_ENDPOINT": gateway.url, "INVORA_TOKEN": "t"}
        result = invora("creds", "save", "billing.customers.create", "--as", "acme", "input.name=x", **own)
    assert (result.returncode, gateway.received) == (2, [])
    assert "answers no credentials; nothing was sent" in result.stderr


# --- the tenant guard ---


def test_a_bound_profile_sends_nothing_to_another_organization(invora: Run) -> None:
    with running_gateway() as gateway:
        good(invora("profiles", "set", "shop", f"endpoint={gateway.url}", "org=7"))
        refused = invora("call", "simple.invoices.list", "--org", "8")
        assert (refused.returncode, gateway.received) == (2, [])
        good(invora("call", "simple.invoices.list"))
    assert [each.metadata["x-target-org-id"] for each in gateway.received] == ["7"]


def test_a_change_in_production_asks_and_no_sends_nothing(variables: dict[str, str]) -> None:
    command = ("call", "billing.customers.create", "input.name=x", "--env", "production", "--org", "7")
    with terminal(*command, INVORA_TOKEN="t", INVORA_CONFIG_DIR=variables["INVORA_CONFIG_DIR"]) as shown:
        shown.see("billing.customers.create changes production")
        shown.enter("n")
        assert shown.end() == 130
