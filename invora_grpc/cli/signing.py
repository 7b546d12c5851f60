"""Stored sign-ins: what a vault keeps of one, and the token source that it becomes.

A token that is still good is taken as it is, so that most commands ask no issuer. Renewals are one process at a time:
an issuer that uses refresh tokens up would take two for a theft. This room asks an issuer only by `Issuer`, and knows
neither browsers nor options.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from invora_grpc.auth import StaticToken, TokenSource
from invora_grpc.cli.configuration import Profile, config_folder
from invora_grpc.cli.vault import Vault, exclusive, vault_of
from invora_grpc.config import Secret, Settings
from invora_grpc.errors import ConfigError, InvoraError
from invora_grpc.issuer import Issuer
from invora_grpc.oidc import AccessToken, jitter, revocation_form, timed, token_form
from invora_grpc.renewal import Renewing

__all__ = ["CLIENT", "SESSION", "TOKEN", "SignIn", "StoredSignIn", "forget", "load", "store", "stored_source"]

CLIENT: Final = "client"
"""Client id and secret."""
SESSION: Final = "session"
"""A person's: with a refresh token, if the issuer gave one."""
TOKEN: Final = "token"
"""A ready token, e.g. a personal access token."""
_LEAST: Final = 30.0
"""Seconds that a stored token must still live in order to be used."""
_PLAIN: Final = ("kind", "endpoint", "issuer", "client_id", "scope", "expires_at")
_SECRET: Final = ("client_secret", "refresh_token", "access_token")
_KNOWN: Final = frozenset((*_PLAIN, *_SECRET))
_UNTIL: Final = "expires_at"


@dataclass(frozen=True, slots=True)
class SignIn:
    """What a vault keeps for a profile. Its secrets do not show themselves."""

    kind: str
    endpoint: str
    """The gateway that it is for, as `Target.url` writes it: it goes to no other."""
    issuer: str
    client_id: str | None = None
    scope: str | None = None
    client_secret: Secret | None = None
    refresh_token: Secret | None = None
    access_token: Secret | None = None
    expires_at: float | None = None
    """Seconds since the epoch, of the access token; None: unknown."""

    def renewed(self, fresh: AccessToken, lifetime: float) -> SignIn:
        """The same with a fresh token, which lives so many seconds from now on."""
        refresh = fresh.refresh_token or self.refresh_token
        return replace(self, access_token=fresh.value, refresh_token=refresh, expires_at=time.time() + lifetime)

    @property
    def left(self) -> float:
        """Seconds that the access token will do; 0 if there is none."""
        if self.access_token is None or self.expires_at is None:
            return 0.0
        left = self.expires_at - time.time()
        return left if left >= _LEAST else 0.0


def load(profile: Profile, vault: Vault | None = None) -> SignIn:
    """The sign-in of a profile. Raises ConfigError if there is none, or none that can be read."""
    kept = (vault or vault_of(profile.vault)).load(profile.name) if profile.sign_in is not None else None
    found = None if kept is None else _read(kept)
    if found is None:
        hint = f"sign in: invora login --profile {profile.name}"
        raise ConfigError("profile", profile.name, hint, "is not signed in" if kept is None else "is damaged")
    return found


def store(name: str, signed: SignIn, vault: Vault) -> None:
    """Keep the sign-in of a profile. Raises ConfigError."""
    vault.store(name, _written(signed))


def stored_source(profile: Profile, settings: Settings) -> TokenSource:
    """The tokens of a profile's sign-in. Raises ConfigError, also if it was made for another gateway."""
    vault = vault_of(profile.vault)
    signed = load(profile, vault)
    if signed.endpoint != settings.target.url:
        problem = f"was signed in for {signed.endpoint}, which {settings.target.url} is not"
        raise ConfigError("profile", profile.name, f"sign in again: invora login --profile {profile.name}", problem)
    if signed.kind == TOKEN and signed.access_token is not None:
        return StaticToken(signed.access_token)
    return StoredSignIn(profile.name, signed, vault)


class StoredSignIn(Renewing):
    """The tokens of a sign-in that a vault keeps, which gets every new one. One renewal at a time on this machine."""

    def __init__(self, name: str, signed: SignIn, vault: Vault, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._signed, self._vault = name, signed, vault
        super().__init__(clock)
        self._current = self._kept(signed)
        self._ready = self._next_ready()

    @property
    def describe(self) -> str:
        return f"the sign-in of profile {self._name}"

    def _kept(self, signed: SignIn) -> AccessToken | None:
        """The stored token, if it will do."""
        if signed.access_token is None or not signed.left:
            return None
        return timed(signed.access_token, signed.left, self._clock())

    def _fetch(self, patient: bool) -> AccessToken:
        with exclusive(config_folder(), f"renewing-{self._name}"):
            kept = self._vault.load(self._name)
            now = None if kept is None else _read(kept)
            if now is None:
                raise ConfigError(
                    "profile", self._name, f"invora login --profile {self._name}", "was signed out meanwhile"
                )
            other = self._kept(now)
            used, self._signed = self._signed.access_token, now
            if other is not None and other.value != used:  # another process has just renewed it
                return other
            fresh, lifetime = ask(now, patient, self._clock)
            self._signed = now.renewed(fresh, lifetime)
            store(self._name, self._signed, self._vault)
        return fresh


def ask(signed: SignIn, patient: bool, clock: Callable[[], float] = time.monotonic) -> tuple[AccessToken, float]:
    """Another token for a sign-in, and its lifetime in seconds. Raises SignInError, and ConfigError if it has none."""
    if signed.client_id is None or (signed.client_secret is None and signed.refresh_token is None):
        raise ConfigError("sign-in", None, "sign in again: invora login", "has ended, and cannot be renewed")
    grant = "client_credentials" if signed.kind == CLIENT else "refresh_token"
    issuer = Issuer(signed.issuer, grant, None, clock, time.sleep, jitter)
    form = token_form(
        grant,
        signed.client_id,
        client_secret=signed.client_secret,
        refresh_token=signed.refresh_token if signed.kind == SESSION else None,
        scope=signed.scope if signed.kind == CLIENT else None,
    )
    fresh = issuer.ask(form, repeatable=patient and signed.kind == CLIENT)
    return fresh, fresh.expires_at - clock()


def forget(profile: Profile, forgotten: Callable[[], None]) -> str:
    """Remove the sign-in of a profile from its vault, then have its issuer end the session; what became of that.

    `forgotten` is called in between: whatever the issuer does, or fails to do, this machine has forgotten before.
    Raises ConfigError for a vault that cannot be changed.
    """
    vault = vault_of(profile.vault)
    kept = vault.load(profile.name)
    vault.remove(profile.name)
    forgotten()
    gone = f"its secrets are gone from {vault.where}"
    signed = None if kept is None else _read(kept)
    if signed is None or signed.client_id is None or signed.refresh_token is None:
        return gone
    form = revocation_form(signed.client_id, signed.refresh_token, signed.client_secret)
    try:
        issuer = Issuer(signed.issuer, "revocation", None, time.monotonic, time.sleep, jitter)
        ended = issuer.revoke(form)
    except InvoraError as error:
        return f"{gone}; warning: its session goes on at the issuer until it expires: {error}"
    if not ended:
        return f"{gone}; its session goes on at {signed.issuer} until it expires, which offers no way to end it"
    return f"{gone}, and its session at {signed.issuer} has ended"


def _written(signed: SignIn) -> Secret:
    """Never raises: plain only inside of its expression."""
    return Secret(
        json.dumps(
            {name: getattr(signed, name) for name in _PLAIN}
            | {name: each.reveal() for name in _SECRET if (each := getattr(signed, name)) is not None}
        )
    )


def _read(text: Secret) -> SignIn | None:
    """The sign-in of a vault's text; None if it is damaged. Never raises: its locals are plain."""
    try:
        document: Any = json.loads(text.reveal())
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not {"kind", "endpoint", "issuer"} <= document.keys() <= _KNOWN:
        return None
    if not all(each is None or (isinstance(each, str) and each) for name, each in document.items() if name != _UNTIL):
        return None
    until = document.get(_UNTIL)
    if until is not None and (isinstance(until, bool) or not isinstance(until, int | float)):
        return None
    known: dict[str, Any] = {
        name: Secret(each) if name in _SECRET and each else each for name, each in document.items()
    }
    return SignIn(**known)
