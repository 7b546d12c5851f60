"""`invora login` and `logout`: who the calls of a profile are made as.

No secret is an option: it would stay in the history of the shell, and show in the list of processes. Passwords of
people are never asked for here, only at their issuer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

import click

from invora_grpc.cli.configuration import DEFAULT_PROFILE, Profile, checked_name, config_path, read, save_profile
from invora_grpc.cli.configuration import without as without_profile
from invora_grpc.cli.options import Seconds
from invora_grpc.cli.targets import profile_settings
from invora_grpc.config import Secret, Settings, header_safe, secret_header_safe
from invora_grpc.errors import ConfigError

__all__ = ["login", "logout"]

_SCOPE: Final = "openid"
_PERSON_SCOPE: Final = "openid profile offline_access"


@click.command()
@click.option("--profile", metavar="NAME", help="Profile to sign in; made if there is none.  [default: the one in use]")
@click.option("--env", help="production, staging or sandbox.")
@click.option("--endpoint", help="Gateway: https://host, http://host or host:port.")
@click.option("--issuer", help="OpenID Connect issuer URL.")
@click.option("--org", help="Organization to bind the profile to: its calls go to no other.")
@click.option("--client-id", metavar="ID", help="OAuth client.  [default: INVORA_CLIENT_ID]")
@click.option("--browser", "way", flag_value="browser", help="Sign in as a person, in a browser (code with PKCE).")
@click.option("--no-browser", "way", flag_value="address", help="The same, and only print the address to open.")
@click.option("--token", "way", flag_value="token", help="Keep a ready token, e.g. a personal access token.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    help="Port that the browser comes back to.  [default: a free one]",
)
@click.option(
    "--wait", type=Seconds(0.1, 86_400), default=300.0, show_default=True, help="Seconds for the person to sign in."
)
@click.option("--scope", help=f"Scopes to ask for.  [default: {_SCOPE}; for people {_PERSON_SCOPE}]")
@click.option("--vault", type=click.Choice(["keyring", "file"]), help="Where the secrets go.  [default: what works]")
def login(
    profile: str | None,
    client_id: str | None,
    way: str | None,
    port: int,
    wait: float,
    scope: str | None,
    vault: str | None,
    **place: str | None,
) -> None:
    """Sign in, and keep the sign-in for the calls of a profile.

    With client id and secret (client credentials) unless --browser, --no-browser or --token says otherwise. The secret
    comes from INVORA_CLIENT_SECRET (a token from INVORA_TOKEN), else from a hidden question, else, without a terminal,
    from the first line of standard input. It is tried out before anything is kept.

    \b
    Examples:
      invora login
      invora login --profile shop --env sandbox --endpoint "$INVORA_ENDPOINT" --issuer "$INVORA_ISSUER"
      echo "$INVORA_CLIENT_SECRET" | env -u INVORA_CLIENT_SECRET invora login --profile shop --vault file

    For a person, in a browser: invora login --profile me --client-id ID --browser
    """
    from invora_grpc.cli.signing import store
    from invora_grpc.cli.vault import choose

    wanted = _profile(profile, place)
    settings = profile_settings(wanted)
    keeping, note = choose(vault)
    client_id = client_id or os.environ.get("INVORA_CLIENT_ID") or wanted.client_id
    if way == "token":
        signed = _ready_token(settings)
    elif way is None:
        signed = _client(settings, _named(client_id), scope or _SCOPE)
    else:
        signed = _person(settings, _named(client_id), scope or _PERSON_SCOPE, way == "browser", port, wait)
    store(wanted.name, signed, keeping)
    save_profile(replace(wanted, sign_in=signed.kind, vault=keeping.kind, client_id=signed.client_id))
    _report(wanted, settings, signed.access_token)
    click.echo(f"{note}; the profile itself in {config_path()}", err=True)


@click.command()
@click.option("--profile", metavar="NAME", help="Profile to sign out.  [default: the one in use]")
@click.option("--all", "everything", is_flag=True, help="Sign all profiles out.")
def logout(profile: str | None, everything: bool) -> None:
    """Forget the secrets of a profile, and end its session. The profile itself stays.

    The issuer, if it can, revokes the refresh token of a person; whatever it answers, nothing is left here. An access
    token that was handed out before stays good until it expires: see `invora whoami`.

    \b
    Examples:
      invora login --profile shop
      invora logout --profile shop
      invora logout --all
    """
    known = read()
    if everything:
        _sign_out(known.profiles.values())
        return
    name = profile or os.environ.get("INVORA_PROFILE") or known.current
    if name is None:
        raise ConfigError("profile", None, "name one with --profile", "is in use none")
    _sign_out([known.profile(name)])


def _sign_out(profiles: Iterable[Profile]) -> None:
    from invora_grpc.cli.signing import forget

    for profile in profiles:
        if profile.sign_in is None:
            click.echo(f"profile {profile.name} is not signed in", err=True)
            continue
        told = forget(profile, partial(without_profile, profile.name, sign_in_only=True))
        click.echo(f"signed out of profile {profile.name}; {told}", err=True)


# --- the profile --------------------------------------------------------------------------------------------------


def _profile(name: str | None, place: dict[str, str | None]) -> Profile:
    """The profile to sign in, with what options change in it; a new one also has what variables say.

    Raises ConfigError rather than turn a profile that nobody named into one for another gateway.
    """
    known = read()
    wanted = checked_name(name or os.environ.get("INVORA_PROFILE") or known.current or DEFAULT_PROFILE)
    given = {key: value for key, value in place.items() if value is not None}
    said = {key: os.environ.get(f"INVORA_{'ORG_ID' if key == 'org' else key.upper()}") or None for key in place}
    old = known.profiles.get(wanted)
    if old is None:
        return Profile(wanted, **(said | given))
    if name is None:
        asked = {key: value for key, value in (said | given).items() if key in ("env", "endpoint") and value}
        other = profile_settings(Profile(wanted, **asked)).target if asked else None
        if other is not None and other != profile_settings(old).target:
            hint = f"give --profile {wanted} to change it, or --profile with a new name"
            raise ConfigError("profile", wanted, hint, f"is for another gateway than {other.url}")
    if "env" in given:  # which comes with a gateway and an issuer of its own
        old = replace(old, env=None, endpoint=None, issuer=None)
    changed: dict[str, Any] = dict(given)
    return replace(old, **changed)


def _named(client_id: str | None) -> str:
    if client_id is None:
        raise ConfigError("client_id", None, "give --client-id, or set INVORA_CLIENT_ID", "is missing")
    return header_safe("client_id", client_id)


# --- ways to sign in ----------------------------------------------------------------------------------------------


def _client(settings: Settings, client_id: str, scope: str) -> Any:
    from invora_grpc.cli.signing import CLIENT, SignIn, ask

    secret = _asked("INVORA_CLIENT_SECRET", f"Secret of the client {client_id}")
    signed = SignIn(CLIENT, settings.target.url, settings.issuer, client_id, scope, client_secret=secret)
    return signed.renewed(*ask(signed, True))


def _person(settings: Settings, client_id: str, scope: str, browser: bool, port: int, wait: float) -> Any:
    from invora_grpc.cli.browser import session_of
    from invora_grpc.cli.signing import SESSION, SignIn

    def show(address: str) -> None:
        if browser:
            _open(address)
        click.echo("Sign in in the browser, or open there:" if browser else "Open this address in a browser:", err=True)
        click.echo(address, err=True)

    fresh, lifetime = session_of(settings.issuer, client_id, scope, show=show, port=port, wait=wait)
    signed = SignIn(SESSION, settings.target.url, settings.issuer, client_id, scope).renewed(fresh, lifetime)
    if signed.refresh_token is None:
        click.echo("the issuer gave no refresh token: this sign-in ends with its token", err=True)
    return signed


def _ready_token(settings: Settings) -> Any:
    from invora_grpc.cli.signing import TOKEN, SignIn

    token = secret_header_safe("token", _asked("INVORA_TOKEN", "Token"))
    return SignIn(TOKEN, settings.target.url, settings.issuer, access_token=token)


def _open(address: str) -> None:
    """Open a browser, in a thread: some run until the page is closed, and the redirect has to be answered before."""
    import threading
    import webbrowser

    def work() -> None:
        with suppress(webbrowser.Error, OSError):
            webbrowser.open(address)

    threading.Thread(target=work, name="invora-browser", daemon=True).start()


def _asked(variable: str, question: str) -> Secret:
    """A secret from its variable, a hidden question, or standard input. Raises ConfigError if there is none."""
    found = _given(variable) or _typed(question)
    if found is None:
        raise ConfigError(variable, None, f"set {variable}, or give it on standard input", "is missing")
    return found


def _given(variable: str) -> Secret | None:
    """Never raises: its locals are plain."""
    text = os.environ.get(variable)
    return Secret(text) if text else None


def _typed(question: str) -> Secret | None:
    """What a person types, or the first line of standard input. Its locals are plain only after the last that raises.

    Raises click.Abort after Ctrl-C or Ctrl-D.
    """
    if sys.stdin.isatty():
        text = click.prompt(question, hide_input=True, err=True, default="", show_default=False)
    else:
        text = sys.stdin.readline().strip()
    return Secret(text) if text else None


def _report(profile: Profile, settings: Settings, token: Secret | None) -> None:
    from invora_grpc.cli.claims import identity_of

    who = identity_of(token) if token is not None else None
    name = f" as {who.subject}" if who is not None and who.subject else ""
    home = f", organization {who.organization}" if who is not None and who.organization else ""
    click.echo(f"profile {profile.name}: signed in{name} at {settings.issuer} for {settings.target.url}{home}")
    current = read().current
    if current != profile.name:
        click.echo(f"in use is profile {current}; to change: invora profiles use {profile.name}", err=True)
