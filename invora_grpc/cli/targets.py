"""Where a command's calls go, and as whom: options, variables and profile, put together.

What an option says wins over an INVORA_* variable, and that over the profile in use; a profile that is named with
--profile is an option, and so wins over variables. A sign-in goes only to the gateway that it was made for, and calls
bound to one organization go to no other. This room reads the config file; it reads no secret but those of variables,
opens no vault, and dials nothing before `Target.open`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from invora_grpc.cli.configuration import Profile, read
from invora_grpc.config import ENVIRONMENTS, NO_TOKEN, Settings, load_settings, parse_endpoint
from invora_grpc.errors import ConfigError

if TYPE_CHECKING:
    from invora_grpc.auth import TokenSource
    from invora_grpc.client import Invora
    from invora_grpc.config import Secret
    from invora_grpc.connection import SchemaPolicy
    from invora_grpc.metadata import Pair

__all__ = ["Files", "Target", "environment_of", "profile_settings", "resolve"]

_VARIABLES: Final[Mapping[str, str]] = {
    "env": "INVORA_ENV",
    "endpoint": "INVORA_ENDPOINT",
    "issuer": "INVORA_ISSUER",
    "org": "INVORA_ORG_ID",
}
_CREDENTIALS: Final = ("INVORA_TOKEN", "INVORA_CLIENT_ID", "INVORA_CLIENT_SECRET")


@dataclass(frozen=True, slots=True)
class Files:
    """The certificates of a connection, as paths of PEM files; None: the built-in authorities, no certificate."""

    cacert: str | None = None
    cert: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway, as whom to call it, and the options that hold for every call. Hashable; made by `resolve`."""

    settings: Settings
    """Endpoint, issuer, organization; credentials if they are arguments or variables."""
    profile: str | None = None
    """The profile that this comes from; None: none, or one that was set aside for another gateway."""
    timeout: float = 30.0
    """Seconds until the deadline, of streams too."""
    schema: SchemaPolicy | None = None
    headers: tuple[Pair, ...] = field(default=(), repr=False)
    """Metadata of every call, and of questions for the schema."""
    reflect_headers: tuple[Pair, ...] = field(default=(), repr=False)
    """Metadata only of questions for the schema."""
    signed_in: bool = False
    """Whether the token comes from the sign-in of the profile."""
    anonymous: bool = False
    """Whether calls go without a token."""
    named: bool = True
    """Whether somebody said which environment this is, so that it is not only production by default."""
    files: Files = Files()

    @property
    def authorized(self) -> bool:
        """Whether a token would be sent."""
        return not self.anonymous

    @property
    def production(self) -> bool:
        """Whether a change here is one to real business: all that is not loopback, and not said to be something else.

        Other gRPC servers, which are called without a token and without a word about the environment, are not.
        """
        settings = self.settings
        if settings.target.loopback or settings.environment.name != "production":
            return False
        return self.authorized or self.named

    def tokens(self) -> TokenSource | None:
        """Where tokens come from; None: calls go without. Reads the vault. Raises ConfigError."""
        if self.anonymous:
            return None
        if self.signed_in and self.profile is not None:
            from invora_grpc.cli.signing import stored_source

            return stored_source(read().profile(self.profile), self.settings)
        from invora_grpc.auth import token_source

        return token_source(self.settings)

    def open(self) -> Invora:
        """A client to use and to close. Raises ConfigError, naming what is missing. Nothing is dialled yet."""
        from invora_grpc.cli.session import opened

        return opened(self, self._fresh)

    def _fresh(self) -> Invora:
        from invora_grpc.auth import NoToken
        from invora_grpc.cli.opening import client_of

        tokens = self.tokens()
        return client_of(self, NoToken() if tokens is None else tokens)

    def describe(self) -> str:
        """In words: profile, environment, gateway, organization."""
        settings = self.settings
        parts = [f"profile {self.profile}"] if self.profile is not None else []
        parts += [settings.environment.name] if self.named or self.production else []
        parts += [settings.target.url if not settings.target.tls else settings.target.address]
        if settings.org_id is not None:
            parts += [f"organization {settings.org_id}"]
        elif self.authorized:
            parts += ["the caller's own organization"]
        return ", ".join(parts if self.authorized else [*parts, NO_TOKEN])


def resolve(
    profile: str | None = None,
    env: str | None = None,
    endpoint: str | None = None,
    issuer: str | None = None,
    org: str | None = None,
    *,
    token: Secret | None = None,
    no_auth: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Target:
    """The target of these options, with all else as it is by default. Raises ConfigError.

    `token`: to be sent in place of every other. Calls go without a token if `no_auth` says so, or if there are no
    credentials at all and the gateway was named, so that it may be a server that needs none.
    """
    used, explicit = _profile(profile, environ)
    layers = {name: environ[name] for name in (*_VARIABLES.values(), *_CREDENTIALS) if environ.get(name)}
    del environ  # holds plain secrets, and so do the layers
    if used is not None and not explicit and _elsewhere(used, env, endpoint, layers):
        used = None
    if used is not None:
        layers = _with_profile(layers, used, explicit, with_place=env is None)
    env = env or layers.get("INVORA_ENV")
    endpoint = endpoint or layers.get("INVORA_ENDPOINT")
    settings = load_settings(env or environment_of(endpoint), endpoint, issuer, token=token, org_id=org, environ=layers)
    del layers
    _check_bound(used, settings, org is None)
    own = any(each is not None for each in (settings.token, settings.client_id, settings.client_secret))
    stored = used is not None and used.sign_in is not None and not own and _made_for(used, settings)
    return Target(
        settings,
        None if used is None else used.name,
        signed_in=stored and not no_auth,
        anonymous=no_auth or (endpoint is not None and not stored and not own),
        named=env is not None or environment_of(endpoint) is not None,
    )


def profile_settings(profile: Profile) -> Settings:
    """The gateway of a profile, without credentials and whatever variables say. Raises ConfigError."""
    env = profile.env or environment_of(profile.endpoint)
    return load_settings(env, profile.endpoint, profile.issuer, org_id=profile.org, environ={})


def _profile(name: str | None, environ: Mapping[str, str]) -> tuple[Profile | None, bool]:
    """The profile that is named or in use, and whether an option names it. Raises ConfigError."""
    said = name or environ.get("INVORA_PROFILE")
    del environ
    known = read()
    said = said or known.current
    return (known.profile(said) if said else None), name is not None


def _elsewhere(profile: Profile, env: str | None, endpoint: str | None, layers: dict[str, str]) -> bool:
    """Whether options or variables name another gateway than the profile's."""
    env, endpoint = env or layers.get("INVORA_ENV"), endpoint or layers.get("INVORA_ENDPOINT")
    del layers
    if env is None and endpoint is None:
        return False
    return load_settings(env, endpoint, environ={}).target != profile_settings(profile).target


def _with_profile(layers: dict[str, str], profile: Profile, explicit: bool, *, with_place: bool) -> dict[str, str]:
    """Variables and profile as one set of variables. Never raises: holds plain secrets."""
    told = {_VARIABLES[name]: value for name, value in profile.values.items() if name in _VARIABLES}
    if not with_place:  # another environment comes with its own gateway and issuer
        told = {name: value for name, value in told.items() if name == _VARIABLES["org"]}
    if not explicit:
        return {**told, **layers}
    hidden = (*_VARIABLES.values(), *(_CREDENTIALS if profile.sign_in is not None else ()))
    return {**{name: value for name, value in layers.items() if name not in hidden}, **told}


def environment_of(endpoint: str | None) -> str | None:
    """The environment whose gateway this is; that of None, which is the default, is production."""
    if endpoint is None:
        return "production"
    target = parse_endpoint(endpoint)
    return next((name for name, one in ENVIRONMENTS.items() if parse_endpoint(one.endpoint) == target), None)


def _made_for(profile: Profile, settings: Settings) -> bool:
    """Whether the profile's sign-in is for this gateway: it goes to no other."""
    made = profile_settings(profile)
    return made.target == settings.target and made.issuer == settings.issuer


def _check_bound(profile: Profile | None, settings: Settings, by_variable: bool) -> None:
    """Raises ConfigError if the profile is bound to another organization than the one to act in."""
    if profile is None or profile.org is None or settings.org_id == profile.org:
        return
    way = "unset INVORA_ORG_ID" if by_variable else "leave --org away"
    hint = f"{way}, or use a profile that is not bound; nothing was sent"
    problem = f"is not the organization {profile.org} that profile {profile.name} is bound to"
    raise ConfigError("org", settings.org_id, hint, problem)
