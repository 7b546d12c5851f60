"""The config file: named profiles, and which of them is in use.

One TOML file in the user's configuration folder, or in the folder that INVORA_CONFIG_DIR names. It holds no secret: of
a sign-in it says only of which kind it is, and which vault keeps it. Only the standard library reads it; writing takes
tomlkit, which leaves comments and order as they are. This room dials nothing and asks nobody.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from invora_grpc.config import Secret
from invora_grpc.errors import ConfigError, closest

__all__ = [
    "DEFAULT_PROFILE",
    "EMPTY",
    "SETTINGS",
    "Configuration",
    "Profile",
    "checked_name",
    "config_folder",
    "config_path",
    "read",
    "save_profile",
    "use",
    "without",
    "write_safely",
]

DEFAULT_PROFILE: Final = "default"
"""The profile that `invora login` makes if none is named and none is in use."""
SETTINGS: Final = ("env", "endpoint", "issuer", "org")
"""What of a profile a person sets; the rest is kept by login and logout."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Profile:
    """One gateway, with the organization that calls are bound to and the sign-in that goes with it. No secrets."""

    name: str
    env: str | None = None
    endpoint: str | None = None
    issuer: str | None = None
    org: str | None = None
    """The organization that calls of this profile are bound to; None: any."""
    sign_in: str | None = None
    """"client", "session" or "token"; None: not signed in."""
    vault: str | None = None
    """"keyring" or "file": where the secrets of the sign-in are."""
    client_id: str | None = None
    """The OAuth client of the sign-in, for people to read; the vault has its own copy."""

    @property
    def values(self) -> Mapping[str, str]:
        """All that is set, by its name in the file."""
        pairs = ((each.name, getattr(self, each.name)) for each in fields(self) if each.name != "name")
        return {name: value for name, value in pairs if value is not None}


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the file says."""

    current: str | None = None
    """The profile in use."""
    profiles: Mapping[str, Profile] = field(default_factory=dict)

    def profile(self, name: str) -> Profile:
        """The profile of this name. Raises ConfigError with the nearest names."""
        found = self.profiles.get(name)
        if found is None:
            near = closest(name, self.profiles)
            hint = f"did you mean {', '.join(near)}?" if near else f"make it: invora profiles set {name} env=sandbox"
            raise ConfigError("profile", name, hint, "is no profile")
        return found


EMPTY: Final = Configuration()


def config_folder() -> Path:
    """Where this user's configuration is."""
    said = os.environ.get("INVORA_CONFIG_DIR")
    if said:
        return Path(said)
    if sys.platform == "linux":  # as platformdirs has it, which costs ten milliseconds of every call
        base = os.environ.get("XDG_CONFIG_HOME", "").strip()
        return (Path(base) if base else Path.home() / ".config") / "invora"
    import platformdirs

    return Path(platformdirs.user_config_dir("invora", appauthor=False))


def config_path() -> Path:
    """The config file, which need not be there."""
    return config_folder() / "config.toml"


def checked_name(name: str) -> str:
    """The name, if a profile may be called so. Raises ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError("profile", name, "use letters, digits, '.', '_' and '-', at most 64", "is no profile name")
    return name


def read() -> Configuration:
    """The config file; empty if there is none. Raises ConfigError naming the file, and what in it is wrong."""
    path = config_path()
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return EMPTY
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            "config file", str(path), "make it a readable UTF-8 file", f"cannot be read: {problem}"
        ) from None
    import tomllib

    try:
        return _understood(tomllib.loads(text), path)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("config file", str(path), "correct it, or move it away", f"is no TOML: {error}") from None


def _understood(document: Mapping[str, Any], path: Path) -> Configuration:
    def bad(what: str, hint: str) -> ConfigError:
        return ConfigError("config file", str(path), hint, what)

    current, tables = document.get("profile"), document.get("profiles", {})
    unknown = [name for name in document if name not in ("profile", "profiles")]
    if unknown:
        raise bad(f"has the unknown key {unknown[0]!r}", "it may have profile, and tables [profiles.NAME]")
    if not isinstance(tables, Mapping) or not all(isinstance(table, Mapping) for table in tables.values()):
        raise bad("has a profile that is no table", "write [profiles.NAME]")
    known = [each.name for each in fields(Profile) if each.name != "name"]
    profiles = {}
    for name, table in tables.items():
        for key, value in table.items():
            if key not in known:
                raise bad(f"has the unknown key {key!r} in profile {name!r}", f"use {', '.join(known)}")
            if not isinstance(value, str) or not value:
                raise bad(f"has no text for {key} in profile {name!r}", f'write {key} = "…", or leave it away')
        profiles[checked_name(name)] = Profile(name, **table)
    if current is not None and current not in profiles:
        raise bad(f"uses the profile {current!r}, which it does not have", "invora profiles use NAME")
    return Configuration(current, MappingProxyType(profiles))


# --- changes ------------------------------------------------------------------------------------------------------


def save_profile(profile: Profile, *, take: bool = True) -> Profile:
    """Write a profile, in place of the one of its name if there is one. `take`: if none is in use, this one is then.

    Raises ConfigError, and OSError where the file cannot be written.
    """
    known, document = _opened()
    table = document.setdefault("profiles", _super_table()).setdefault(checked_name(profile.name), {})
    for name in [name for name in table if name not in profile.values]:
        del table[name]
    table.update(profile.values)
    if take and known.current is None:
        document["profile"] = profile.name
    _write(document)
    return profile


def use(name: str) -> Profile:
    """Make a profile the one in use. Raises ConfigError if there is none of this name."""
    known, document = _opened()
    found = known.profile(name)
    document["profile"] = name
    _write(document)
    return found


def without(name: str, *, sign_in_only: bool = False) -> None:
    """Remove a profile, or only what it says of a sign-in. Raises ConfigError if there is none of this name."""
    known, document = _opened()
    profile = known.profile(name)
    if sign_in_only:
        save_profile(replace(profile, sign_in=None, vault=None, client_id=None), take=False)
        return
    del document["profiles"][name]
    if known.current == name:
        del document["profile"]
    _write(document)


def _opened() -> tuple[Configuration, Any]:
    """What the file says, and the document to change, which keeps its comments."""
    known, path = read(), config_path()
    import tomlkit

    return known, tomlkit.parse(path.read_text("utf-8") if path.exists() else "# Written by `invora`. No secrets.\n")


def _super_table() -> Any:
    """A table of tables, which needs no line of its own."""
    import tomlkit

    return tomlkit.table(is_super_table=True)


def _write(document: Any) -> None:
    import tomlkit

    write_safely(config_path(), Secret(tomlkit.dumps(document) or "\n"))


def write_safely(path: Path, content: Secret) -> None:
    """Put a file in place as a whole, readable for its owner only. Raises OSError.

    A crash leaves the old file or the new one, and the content is never in a file that others can read.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content.reveal().encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
