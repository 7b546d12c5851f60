"""`invora profiles`: the gateways that a person works with, by name."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import click

from invora_grpc.cli.configuration import SETTINGS, Profile, checked_name, config_path, read, save_profile, use, without
from invora_grpc.cli.targets import environment_of, profile_settings
from invora_grpc.errors import ConfigError, closest

__all__ = ["profiles"]


@click.group()
def profiles() -> None:
    """List, choose and change profiles.

    A profile is a gateway (env, endpoint, issuer), the organization that its calls are bound to (org), and a sign-in.
    """


@profiles.command("list")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def list_profiles(form: str) -> None:
    """List the profiles; * marks the one in use.

    \b
    Examples:
      invora profiles list
      invora profiles list -o json
    """
    known = read()
    rows = [_row(profile, profile.name == known.current) for profile in known.profiles.values()]
    if form == "json":
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    wide = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        bound = f", bound to organization {row['org']}" if row["org"] else ""
        signed = f"signed in ({row['sign_in']}, {row['vault']})" if row["sign_in"] else "not signed in"
        mark = "*" if row["in_use"] else " "
        click.echo(f"{mark} {row['name']:<{wide}}  {row['env'] or '-'}  {row['endpoint']}{bound}, {signed}")
    click.echo(f"{len(rows)} profile{'s' * (len(rows) != 1)} in {config_path()}", err=True)


@profiles.command("use")
@click.argument("name")
def use_profile(name: str) -> None:
    """Make NAME the profile that commands use.

    \b
    Examples:
      invora profiles set shop env=staging
      invora profiles use shop
    """
    found = use(name)
    click.echo(f"in use: profile {found.name}, {profile_settings(found).target.url}", err=True)


@profiles.command("set")
@click.argument("name")
@click.argument("values", nargs=-1, metavar="KEY=VALUE...")
def set_profile(name: str, values: tuple[str, ...]) -> None:
    """Make or change the profile NAME: env=, endpoint=, issuer=, org=. An empty value takes the setting away.

    \b
    Examples:
      invora profiles set shop env=staging org=301847561234567890
      invora profiles set shop org=
    """
    old = read().profiles.get(checked_name(name)) or Profile(name)
    told: dict[str, Any] = dict(_setting(each) for each in values)
    changed = replace(old, **told)
    profile_settings(changed)  # refuses what makes no settings
    save_profile(changed)
    moved = old.sign_in is not None and profile_settings(old) != profile_settings(replace(changed, org=old.org))
    click.echo(f"profile {name}: {profile_settings(changed).target.url}", err=True)
    if moved:
        click.echo(f"its sign-in is for another gateway: invora login --profile {name}", err=True)


@profiles.command("remove")
@click.argument("name")
def remove_profile(name: str) -> None:
    """Forget the profile NAME, with the secrets of its sign-in.

    \b
    Examples:
      invora profiles set shop env=staging
      invora profiles remove shop
    """
    found = read().profile(name)
    if found.sign_in is None:
        without(name)
        click.echo(f"profile {name} is removed", err=True)
        return
    from invora_grpc.cli.signing import forget

    click.echo(f"profile {name} is removed; {forget(found, partial(without, name))}", err=True)


def _setting(text: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError("argument", text, f"write it as KEY=VALUE, with a key of {', '.join(SETTINGS)}", "has no =")
    if key not in SETTINGS:
        near = closest(key, SETTINGS)
        raise ConfigError("key", key, f"use {', '.join(near or SETTINGS)}", "is no setting of a profile")
    return key, value or None


def _row(profile: Profile, in_use: bool) -> dict[str, Any]:
    settings = profile_settings(profile)
    return {
        "name": profile.name,
        "in_use": in_use,
        "env": profile.env or environment_of(profile.endpoint),
        "endpoint": settings.target.url,
        "issuer": settings.issuer,
        "org": profile.org,
        "sign_in": profile.sign_in,
        "vault": profile.vault,
        "client_id": profile.client_id,
    }
