"""After a whole session with `-v`, nothing secret is anywhere but in the vault, and where it was asked for."""

from __future__ import annotations

import base64
import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_lines import Home, settings_of
from sandbox_fixture import Running, running_sandbox
from terminal import CTRL_D, terminal

JWT = re.compile(rb"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""A signed token, whichever it is."""
NAMED = re.compile(rb"client_secret[\"']?[:=] *[\"']?([^\s\"',}]+)")
"""What stands behind the name of a secret: those that a server makes up are known to nobody else."""
SAVE = "identity.connected_business.create_connected_business"
ONE_TIME = f"invora record calls.yaml {SAVE} name=Other admin_email=it@other.example"
"""Is answered with the only copy of a secret, which is not to be kept, and hence not to be seen either."""
SESSION = [
    "invora login --profile demo --env sandbox",
    "invora whoami",
    "invora profiles list -o json",
    f"invora creds save {SAVE} --as acme name=Acme admin_email=it@acme.example",
    "invora whoami --profile acme",
    "BROWSER='browser %s' invora login --browser --profile person --env sandbox",
    "invora call simple.invoices.list --profile person -v",
    "invora call simple.invoices.list -v",
    "invora call simple.invoices.list -v --envelope",
    "invora call simple.invoices.list --all -v -o table",
    "invora call simple.invoices.get key=nothing -v -o json",
    "invora call simple.invoices.list --profile acme -v",
    "invora call simple.invoices.list --org 1 -v",
    'invora call simple.invoices.list -v -H "authorization: Bearer $HANDED"',
    'invora call simple.invoices.list -v -H "x-api-key: $API_KEY" -H "cookie: session=$API_KEY"',
    "invora call simple.invoices.list --no-auth -v",
    'invora call simple.invoices.list "--tokn=$HANDED"',
    'INVORA_CLIENT_SECRET="$WRONG" invora call simple.invoices.list -v',
    'INVORA_TOKEN="$HANDED-" invora call simple.invoices.list -v',
    "invora call simple.invoices.list --dry-run",
    "invora call simple.invoices.list --curl",
    "invora call simple.invoices.list --grpcurl",
    "invora call simple.invoices.list --python",
    "invora record calls.yaml simple.invoices.list pagination.limit=1",
    ONE_TIME,
    "invora replay calls.yaml --check --ignore '*.tenant_id' --yes",
    "invora watch simple.invoices.list --count 1",
    "invora bench simple.invoices.list -n 5 -c 1",
    "invora doctor --within 10",
    "invora ls --reflect --refresh freeze",
    "printf '%s\\n' 'simple.invoices.list -v' whoami 'profiles list' | invora shell",
]


@pytest.fixture(scope="module")
def shop() -> Iterator[Running]:
    with running_sandbox(seed="demo") as running:
        yield running


@pytest.fixture(scope="module")
def home(shop: Running, tmp_path_factory: pytest.TempPathFactory) -> Home:
    own = {"HANDED": shop.token(), "API_KEY": "k3y-k3y-k3y-k3y", "WRONG": "wr0ng-wr0ng-wr0ng"}
    made = Home(tmp_path_factory.mktemp("secrets") / "home", settings_of(shop) | own)
    made.program("browser", "-c", "import httpx, sys; httpx.get(sys.argv[1], follow_redirects=True)")
    return made


@pytest.fixture(scope="module")
def heard(home: Home) -> dict[str, bytes]:
    """What the session wrote, by line: standard output and standard error, and all of a terminal's screen."""
    said = {}
    for line in SESSION:
        ended = home.run(line)
        said[line] = f"exit code {ended.returncode}\n{ended.stdout}\n{ended.stderr}".encode()
    with terminal("shell", "--profile", "demo", columns=120, **home.environment) as screen:
        for line in (
            "simple.invoices.list -v",
            f"call simple.invoices.list -H 'x-api-key: {home.variables['API_KEY']}'",
            "whoami",
        ):
            screen.at("invora demo>")
            screen.enter(line)
            screen.see(line.split()[0])
        screen.see("expires in")
        screen.at("invora demo>")
        screen.type(CTRL_D)
        assert screen.end() == 0
        said["on a terminal"] = screen.raw.replace(home.variables["API_KEY"], "as typed", 99).encode()
    return said


def vault(home: Home) -> Path:
    return home.folder / ".config" / "invora" / "secrets.json"


def secrets(home: Home, heard: dict[str, bytes]) -> list[bytes]:
    """All that must not be seen: what was handed in, and what the vault got during the session."""
    assert heard
    own = home.variables
    plain = [own[name] for name in ("INVORA_CLIENT_SECRET", "HANDED", "API_KEY", "WRONG")]
    kept = json.loads(vault(home).read_text())
    plain += [text for text in texts(kept) if len(text) >= 20 and not text.startswith("http")]
    basic = f"{own['INVORA_CLIENT_ID']}:{own['INVORA_CLIENT_SECRET']}"
    plain.append(base64.b64encode(basic.encode()).decode())
    public = (own["INVORA_CLIENT_ID"], *re.findall(r'client_id = "(.+)"', config(home)))
    return [text.encode() for text in plain if text not in public]


def texts(value: object) -> Iterator[str]:
    """The texts in a JSON value, also in JSON that is a text in it."""
    if isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        if value.startswith("{"):
            yield from texts(json.loads(value))
        else:
            yield value


def config(home: Home) -> str:
    return (home.folder / ".config" / "invora" / "config.toml").read_text()


def test_the_session_worked(heard: dict[str, bytes]) -> None:
    """Silence keeps secrets, too; it is not what is asked for."""
    codes = {line: int(said.split()[2]) for line, said in heard.items() if said.startswith(b"exit code")}
    failed = {line: code for line, code in codes.items() if code}
    refused = [line for line in failed if re.search(r"nothing|--org 1|--no-auth|--tokn|WRONG|HANDED-|replay", line)]
    assert list(failed) == refused, {line: heard[line] for line in failed if line not in refused}
    assert len(refused) == 7  # the business exists when it is made again
    assert sum(b"authorization: Bearer ***" in said for said in heard.values()) >= 8


def test_nothing_secret_is_in_what_was_written(home: Home, heard: dict[str, bytes]) -> None:
    assert [line for line, said in heard.items() for secret in secrets(home, heard) if secret in said] == []
    assert {line: JWT.findall(said) for line, said in heard.items() if JWT.search(said)} == {}
    assert {value for said in heard.values() for value in NAMED.findall(said)} == {b"***"}
    assert b"client_secret is left out as ***; `invora creds save` keeps" in heard[ONE_TIME]  # said out loud


def test_nothing_secret_is_in_history_recordings_config_or_cache(home: Home, heard: dict[str, bytes]) -> None:
    kept = {path: path.read_bytes() for path in home.folder.rglob("*") if path.is_file() and path != vault(home)}
    assert {"history", "calls.yaml", "config.toml"} <= {path.name for path in kept}
    assert [path for path, content in kept.items() for secret in secrets(home, heard) if secret in content] == []
    assert [path for path, content in kept.items() if JWT.search(content)] == []
    (recording,) = (content for path, content in kept.items() if path.name == "calls.yaml")
    assert NAMED.findall(recording) == [b"***"]


def test_the_history_has_the_other_lines(home: Home, heard: dict[str, bytes]) -> None:
    (history,) = (path for path in home.folder.rglob("history") if path.is_file())
    assert heard and "simple.invoices.list -v" in history.read_text()
    assert "x-api-key" not in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_the_vault_is_for_its_owner_only(home: Home, heard: dict[str, bytes]) -> None:
    assert len(secrets(home, heard)) >= 6  # that of the environment and of the new business among them
    assert stat.S_IMODE(vault(home).stat().st_mode) == 0o600
    assert b"0600" in heard[SESSION[0]]  # said out loud


def test_the_token_comes_only_where_it_is_asked_for(home: Home, heard: dict[str, bytes]) -> None:
    assert heard
    ended = home.run("invora token")
    assert JWT.fullmatch(ended.stdout.strip().encode()) and not JWT.search(ended.stderr.encode())
