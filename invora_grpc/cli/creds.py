"""`invora creds save`: the one-time secret of a connected business, from the call straight into the vault.

The gateway tells such a secret once. So all that can go wrong is looked for before the call, and what was answered is
shown without it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from invora_grpc.cli.configuration import Profile, checked_name, read, save_profile
from invora_grpc.cli.options import target_options
from invora_grpc.cli.sources import source_options
from invora_grpc.config import Secret
from invora_grpc.errors import ConfigError, InvoraError, RequestError

if TYPE_CHECKING:
    from invora_grpc.catalog import Method
    from invora_grpc.cli.options import Target
    from invora_grpc.cli.signing import SignIn
    from invora_grpc.cli.sources import Source
    from invora_grpc.cli.vault import Vault

__all__ = ["creds"]

_ID, _SECRET = "client_id", "client_secret"


@dataclass(frozen=True, slots=True)
class _Found:
    """What an answer tells."""

    client_id: str
    secret: Secret | None
    org: str | None
    shown: Any
    """The answer as JSON values, without the secret."""


@click.group()
def creds() -> None:
    """Keep one-time secrets straight from a call."""


@creds.command()
@click.argument("method")
@click.argument("fields", nargs=-1)
@click.option("-d", "--data", help="Request as JSON or YAML: text, @file, or - for standard input.")
@click.option("--as", "name", required=True, metavar="NAME", help="Profile to keep them as; made by this.")
@click.option("--replace", is_flag=True, help="The profile may exist: its sign-in is replaced.")
@click.option("--vault", type=click.Choice(["keyring", "file"]), help="Where the secret goes.  [default: what works]")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before a change in production.")
@source_options
@target_options
def save(
    method: str,
    fields: tuple[str, ...],
    data: str | None,
    name: str,
    replace: bool,
    vault: str | None,
    yes: bool,
    source: Source,
    target: Target,
) -> None:
    """Call METHOD, which answers with client id and secret, and keep them as the profile NAME.

    The profile is bound to the new organization and signed in at once. The answer is printed without the secret.

    \b
    Examples:
      invora creds save create_connected_business --as acme name=Acme admin_email=admin@acme.example
      invora whoami --profile acme
    """
    from invora_grpc.cli.guard import check
    from invora_grpc.cli.requests import read_request
    from invora_grpc.cli.sources import find_method, rpc_of
    from invora_grpc.cli.vault import choose

    if name in read().profiles and not replace:
        raise ConfigError("profile", name, "give another name, or --replace", "exists; nothing was sent")
    keeping, note = choose(vault)
    with target.open() as client:
        found = find_method(checked_method(method), source, client)
        _check_answer(found)
        request = read_request(found, data, fields)
        check(target, found, yes)
        _prepare(keeping, checked_name(name))
        told = _told(rpc_of(client, found)(request), request)
    try:
        _keep(target, name, told, keeping)  # first: whoever reads the answer may have gone
    finally:
        click.echo(json.dumps(told.shown, ensure_ascii=False, indent=2))
    click.echo(f"profile {name}: client {told.client_id}; {note}", err=True)


def checked_method(name: str) -> str:
    """The name, if it is no option that went astray. Raises RequestError."""
    if "=" in name:
        raise RequestError("method", name, "give the method first, then its fields", "is no method")
    return name


def _check_answer(method: Method) -> None:
    """Raises RequestError, before anything is sent, for a method that does not answer with client id and secret."""
    from invora_grpc.call import bind

    fields = bind(method).response_class.DESCRIPTOR.fields_by_name
    if method.streaming or _ID not in fields or _SECRET not in fields:
        hint = "use one whose answer has client_id and client_secret, e.g. create_connected_business"
        raise RequestError("method", method.attribute, hint, "answers no credentials; nothing was sent")


def _prepare(vault: Vault, name: str) -> None:
    """Try out that the vault takes something under this name, and nothing that is there gets lost by it."""
    before = vault.load(name)
    vault.store(name, before if before is not None else Secret("{}"))


def _told(answer: Any, request: Any) -> _Found:
    """What the answer tells; the secret wrapped. Never raises after it is plain."""
    from invora_grpc.cli.answers import json_of

    business = getattr(answer, "connected_business", None)
    org = getattr(business, "tenant_id", "") or (request.get("tenant_id") if isinstance(request, dict) else None)
    secret = Secret(answer.client_secret) if answer.client_secret else None
    if secret is not None:
        answer.client_secret = "***"
    return _Found(answer.client_id, secret, org or None, json_of(answer))


def _keep(target: Target, name: str, told: _Found, vault: Vault) -> None:
    from invora_grpc.cli.signing import CLIENT, SignIn, store

    if told.secret is None:
        raise ConfigError("client_secret", None, "rotate the credentials to get one", "was not in the answer")
    settings = target.settings
    signed = SignIn(CLIENT, settings.target.url, settings.issuer, told.client_id, "openid", client_secret=told.secret)
    try:
        store(name, signed, vault)
        env = settings.environment.name if target.named else None
        place = Profile(name, env, settings.endpoint, settings.issuer, told.org)
        save_profile(_signed(place, signed, vault), take=False)  # whoever calls goes on as before
    except (InvoraError, OSError) as error:
        hint = "rotate the credentials: the secret was told once"
        raise ConfigError("profile", name, hint, f"could not be kept ({error})") from None


def _signed(profile: Profile, signed: SignIn, vault: Vault) -> Profile:
    from dataclasses import replace

    return replace(profile, sign_in=signed.kind, vault=vault.kind, client_id=signed.client_id)
