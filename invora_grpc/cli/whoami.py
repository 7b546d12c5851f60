"""`invora whoami` and `invora token`: as whom calls are made, and the token for other tools."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from invora_grpc.cli.claims import Identity, identity_of
from invora_grpc.cli.options import target_options
from invora_grpc.errors import ConfigError, one_line

if TYPE_CHECKING:
    from invora_grpc.auth import TokenSource
    from invora_grpc.cli.options import Target

__all__ = ["token", "whoami"]


@click.command()
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@target_options
def whoami(form: str, target: Target) -> None:
    """Show as whom calls are made: organization, roles, scopes and expiry, without the token itself.

    What the token says is read here, not verified. If it has expired, a new one is fetched.

    \b
    Examples:
      invora whoami
      invora whoami -o json
    """
    source = _source(target)
    secret = source.token()
    facts = _facts(target, source, identity_of(secret))
    if form == "json":
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for name, value in facts.items():
        if value not in (None, [], {}):
            click.echo(f"{name.replace('_', ' ') + ':':<17}{_words(value)}")


@click.command()
@target_options
def token(target: Target) -> None:
    """Print the access token, for other tools. It is a secret: whoever has it can do all that you can.

    \b
    Examples:
      INVORA_TOKEN="$(invora token)" invora whoami
    """
    source = _source(target)
    click.echo(source.token().reveal())


def _source(target: Target) -> TokenSource:
    source = target.tokens()
    if source is None:
        hint = "sign in with `invora login`, or set INVORA_CLIENT_ID and INVORA_CLIENT_SECRET, or INVORA_TOKEN"
        raise ConfigError("credentials", None, hint, f"are missing for {target.settings.target.url}")
    return source


def _facts(target: Target, source: TokenSource, who: Identity | None) -> dict[str, Any]:
    """All that is known, in the order in which it is shown; times are ISO 8601 in UTC."""
    settings = target.settings
    facts: dict[str, Any] = {
        "profile": target.profile,
        "environment": settings.environment.name if target.named else None,
        "endpoint": settings.target.url,
        "issuer": settings.issuer,
        "signed_in_by": source.describe,
    }
    if who is None:
        return {**facts, "token": "is no JWT: only the issuer can read it", "acting_in": settings.org_id}
    until = who.expires_at
    return {
        **facts,
        "subject": who.subject,
        "client": who.client,
        "organization": who.organization,
        "tenant": who.tenant if who.tenant != who.organization else None,
        "acting_in": settings.org_id,
        "impersonated_by": who.impersonator,
        "roles": {role: list(where) for role, where in who.roles.items()},
        "scopes": list(who.scopes),
        "expires": None if until is None else datetime.fromtimestamp(until, UTC).isoformat().replace("+00:00", "Z"),
        "expires_in": None if until is None else max(0, round(until - time.time())),
    }


def _words(value: object) -> str:
    """A fact on one line: the issuer's words are not ours."""
    if isinstance(value, int):
        hours, rest = divmod(value, 3600)
        return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
    if isinstance(value, dict):
        return one_line("; ".join(f"{role} in {', '.join(where)}" for role, where in value.items()), 2000)
    return one_line(", ".join(value) if isinstance(value, list) else str(value), 2000)
