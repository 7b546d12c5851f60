"""Settings: which gateway, which issuer, which credentials, and from where each of them came.

This room reads arguments and environment variables and checks them; it dials nothing, resolves no name and must not
import grpc, protobuf or httpx. A secret is wrapped here, where it enters, and stays wrapped.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NoReturn

from invora_grpc.errors import ConfigError, shown

__all__ = [
    "ABSENT",
    "ENVIRONMENTS",
    "NO_TOKEN",
    "Environment",
    "Secret",
    "Settings",
    "Target",
    "header_safe",
    "load_settings",
    "parse_endpoint",
    "parse_issuer",
    "parse_url",
    "require_credentials",
    "secret_header_safe",
    "variable",
    "wrapped",
]


_VISIBLE_ASCII: Final = re.compile(r"[\x21-\x7e]+")
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_SETTINGS: Final[tuple[str, ...]] = ("env", "endpoint", "issuer", "client_id", "client_secret", "token", "org_id")
_SECRET_VARIABLES: Final[tuple[str, ...]] = ("client_secret", "token")


class Secret:
    """A string that does not show itself: repr, str and format give `***`, pickle and JSON refuse.

    Compares in constant time and hashes like a value. Raises ConfigError if the text is not a string or is empty.
    """

    __slots__ = ("_text",)
    _text: str

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or not text:
            raise ConfigError("secret", "***", "give a string that is not empty", problem="is no secret")
        object.__setattr__(self, "_text", text)

    def reveal(self) -> str:
        """The plain text. Unwrap it inside the expression that writes it out: a variable ends up in tracebacks."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(
            self._text.encode("utf-8", "surrogatepass"), other._text.encode("utf-8", "surrogatepass")
        )

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change; make a new one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret does not change; make a new one")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret does not pickle; read it again in the other process, e.g. from INVORA_CLIENT_SECRET")


class _Absent(Secret):
    """The secret of those who have none; its text is empty."""

    __slots__ = ()

    def __init__(self) -> None:
        object.__setattr__(self, "_text", "")


ABSENT: Final[Secret] = _Absent()
"""In place of a token where none is to be sent: calls go without the metadata `authorization` then."""


NO_TOKEN: Final = "no token"
"""How messages name a source that has none."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to dial. Made by `parse_endpoint`, which is what checks it."""

    host: str
    """A lower-case host name or an IP address, without brackets."""
    port: int
    """1 to 65535."""
    tls: bool
    """False: plaintext."""

    @property
    def address(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The same target as a URL, port included; `parse_endpoint(target.url) == target`."""
        return f"{'https' if self.tls else 'http'}://{self.address}"

    @property
    def loopback(self) -> bool:
        """Whether the host is this machine by its very name: `localhost`, 127.0.0.0/8 or ::1."""
        return _is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class Environment:
    """A named pair of gateway and identity provider."""

    name: str
    """What INVORA_ENV says, e.g. `staging`."""
    endpoint: str
    """The gateway, as `parse_endpoint` reads it."""
    issuer: str
    """The OpenID Connect issuer's URL."""


ENVIRONMENTS: Final[Mapping[str, Environment]] = MappingProxyType(
    {
        env.name: env
        for env in (
            Environment("production", "gateway.invora.app:443", "https://auth.invora.app"),
            Environment("staging", "stg-gateway.invora.app:443", "https://auth.invora.app"),
            Environment("sandbox", "http://127.0.0.1:50551", "http://127.0.0.1:50580"),
        )
    }
)
"""The environments that have a name: the platform's two gateways, and this package's sandbox at its default ports."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client needs to know before it dials. Made by `load_settings`; holds secrets, hence does not pickle."""

    environment: Environment
    """The environment that filled the gaps; `endpoint` and `issuer` below win over its own."""
    endpoint: str
    """The gateway as it was written; `target` is the parsed form."""
    issuer: str
    """The OpenID Connect issuer's URL, without a trailing slash."""
    client_id: str | None = None
    """The OAuth client."""
    client_secret: Secret | None = None
    """The OAuth client's secret."""
    token: Secret | None = None
    """A ready access token; it wins over client id and secret."""
    org_id: str | None = None
    """The organization to act in (`x-target-org-id`); None: the caller's own."""
    package: str | None = None
    """The package of generated code whose client these are for; None: Invora's own client."""
    target: Target = field(init=False, compare=False, repr=False)
    """`endpoint`, parsed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", parse_endpoint(self.endpoint))


def load_settings(
    env: str | None = None,
    endpoint: str | None = None,
    issuer: str | None = None,
    client_id: str | None = None,
    client_secret: str | Secret | None = None,
    token: str | Secret | None = None,
    org_id: str | None = None,
    *,
    package: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Settings from arguments, else from `INVORA_*` variables, else from the environment's own values.

    The variables are INVORA_ENV, INVORA_ENDPOINT, INVORA_ISSUER, INVORA_CLIENT_ID, INVORA_CLIENT_SECRET, INVORA_TOKEN
    and INVORA_ORG_ID; one that is set to nothing counts as unset. The default environment is `production`.

    Credentials given as arguments are not mixed with the other kind from the variables: a `token` argument hides
    INVORA_CLIENT_ID and INVORA_CLIENT_SECRET, a `client_id` or `client_secret` argument hides INVORA_TOKEN.

    `package`: for the client of a generated package, which talks to anybody's server. No token of Invora's may end up
    there, so that its variables are its own, ACME_API_TOKEN and so on for "acme_api", and there are no environments.
    Raises ConfigError for a value that is wrong. Credentials may be missing here: see `require_credentials`.
    """
    client_secret, token = wrapped("client_secret", client_secret), wrapped("token", token)
    said, hidden = _variables(environ, package)
    del environ  # holds plain secrets, and would be shown by a traceback with locals
    by_client = client_id is not None or client_secret is not None
    if token is not None and by_client:
        raise ConfigError("token", None, "give a token, or client_id and client_secret", "came together with a client")
    if token is None:
        client_id = _given("client_id", client_id, said)
        client_secret = client_secret or hidden.get("client_secret")
        token = None if by_client else hidden.get("token")
    environment = _environment(_given("env", env, said)) if package is None else Environment(package, "", "")
    endpoint = _given("endpoint", endpoint, said) or environment.endpoint
    if not endpoint:
        hint = f"set {variable('endpoint', package)}, or pass endpoint"
        raise ConfigError("endpoint", None, hint, "missing: it has no default")
    issuer = _given("issuer", issuer, said) or environment.issuer
    org_id = _given("org_id", org_id, said)
    return Settings(
        environment=environment,
        endpoint=endpoint,
        issuer=issuer and parse_issuer(issuer),
        client_id=client_id and header_safe("client_id", client_id),
        client_secret=client_secret,
        token=token and secret_header_safe("token", token),
        org_id=org_id and header_safe("org_id", org_id),
        package=package,
    )


def variable(setting: str, package: str | None = None) -> str:
    """The environment variable of a setting: INVORA_TOKEN, or ACME_API_TOKEN for a client of the package acme_api."""
    prefix = "INVORA" if package is None else package.replace(".", "_").upper()
    return f"{prefix}_{setting.upper()}"


def require_credentials(settings: Settings) -> None:
    """Raises ConfigError, naming what is missing, unless there is a token, or both client id and client secret and an
    issuer to give them to."""
    if settings.token is not None:
        return
    missing = [name for name in ("client_id", "client_secret", "issuer") if getattr(settings, name) in (None, "")]
    if missing:
        variables = " and ".join(variable(name, settings.package) for name in missing)
        arguments = " and ".join(missing)
        raise ConfigError(
            "credentials",
            None,
            f"set {variables}, or pass {arguments}; or give a token ({variable('token', settings.package)}, token)",
            "missing",
        )


def parse_endpoint(text: str) -> Target:
    """The gateway that `text` names.

    `https://host` is port 443 with TLS, `http://host` port 80 in plaintext, either takes a `:port`. A bare `host` is
    port 443 with TLS; a bare `host:port` has TLS too, unless the host is loopback (`localhost`, 127.0.0.0/8, ::1):
    then it is plaintext. IPv6 addresses stand in brackets. A gRPC target such as `dns:///host` is no endpoint.

    Raises ConfigError, and nothing else, for everything that is not exactly one of these.
    """
    target, path = _parse("endpoint", text)
    if path not in ("", "/"):
        raise ConfigError("endpoint", _masked(text), "leave the path away; a gateway is host and port", "has a path")
    return target


def parse_issuer(text: str) -> str:
    """The issuer's URL without its trailing slash.

    Raises ConfigError unless it is an `https://` URL, or an `http://` one of a loopback host, without user info,
    query and fragment.
    """
    _secure_url("issuer", text)
    return text.removesuffix("/")


def parse_url(setting: str, text: str) -> Target:
    """The origin of an `https://` URL (or a loopback `http://` one), whatever its path. Raises ConfigError."""
    return _secure_url(setting, text)


def header_safe(setting: str, value: str) -> str:
    """`value`, if it may stand in a header. Raises ConfigError unless it is visible ASCII only."""
    if not isinstance(value, str) or not _VISIBLE_ASCII.fullmatch(value):
        raise ConfigError(
            setting, value, "use visible ASCII characters only", "has spaces, control characters or worse"
        )
    return value


def secret_header_safe(setting: str, value: Secret) -> Secret:
    """Like `header_safe`, for what must not be shown."""
    if not _VISIBLE_ASCII.fullmatch(value.reveal()):
        hint = "give the bare value in visible ASCII, without 'Bearer ' and line breaks"
        raise ConfigError(setting, value, hint, "has spaces, control characters or worse")
    return value


def _environment(name: str | None) -> Environment:
    """The environment of this name; `production` if none is named. Raises ConfigError."""
    environment = ENVIRONMENTS.get(name or "production")
    if environment is None:
        raise ConfigError("env", name, f"use one of {', '.join(ENVIRONMENTS)}", "is no environment")
    return environment


def _variables(environ: Mapping[str, str], package: str | None) -> tuple[dict[str, str], dict[str, Secret]]:
    """What the variables say, by setting; secrets apart and wrapped. Never raises: its locals are not for showing."""
    said = {name: found for name in _SETTINGS if (found := environ.get(variable(name, package)))}
    hidden = {name: Secret(said.pop(name)) for name in _SECRET_VARIABLES if name in said}
    return said, hidden


def wrapped(name: str, argument: str | Secret | None) -> Secret | None:
    """The argument so that it does not show itself: a plain one in a variable ends up in tracebacks with locals."""
    if argument is None or isinstance(argument, Secret):
        return argument
    if not isinstance(argument, str) or not argument:
        raise ConfigError(name, "***", f"leave {name} away, or give a string that is not empty", "is not usable")
    return Secret(argument)


def _given(name: str, argument: str | None, said: Mapping[str, str]) -> str | None:
    """The argument if there is one, else what the variable says."""
    if argument is None:
        return said.get(name)
    if not isinstance(argument, str) or not argument:
        raise ConfigError(name, argument, f"leave {name} away, or give a string that is not empty", "is not usable")
    return argument


def _secure_url(setting: str, text: str) -> Target:
    target, _ = _parse(setting, text, hint="use https://host or https://host/path")
    if "://" not in text:
        raise ConfigError(setting, _masked(text), f"use https://{target.host}", "has no scheme")
    if not target.tls and not target.loopback:
        raise ConfigError(setting, _masked(text), "use https://; http:// is for loopback hosts only", "is plaintext")
    return target


def _parse(setting: str, text: str, hint: str = "use https://host, http://host, or host:port") -> tuple[Target, str]:
    """Host, port, TLS and path of a URL or a bare `host[:port]`. By hand: urllib drops tabs and line breaks unsaid."""

    def bad(problem: str, way_out: str = hint) -> ConfigError:
        return ConfigError(setting, _masked(text), way_out, problem)

    if not isinstance(text, str):
        raise ConfigError(setting, text, hint, "is not a string")
    if not _VISIBLE_ASCII.fullmatch(text):
        way_out = "write it in visible ASCII; an international host name in its xn-- form"
        raise bad(
            "has spaces, control characters or letters beyond ASCII" if text else "is empty", way_out if text else hint
        )
    scheme, separator, rest = text.rpartition("://") if text.count("://") == 1 else ("", "", text)
    if separator and scheme.lower() not in ("https", "http"):
        raise bad(f"has the scheme {_masked(scheme)!r}")
    if "@" in rest:
        raise bad("has user info", "leave user and password away; credentials are settings of their own")
    if "?" in rest or "#" in rest or "\\" in rest:
        raise bad("has a query, a fragment or a backslash", "leave that away")
    authority, slash, tail = rest.partition("/")
    host, colon, digits = _split_authority(authority)
    if not (checked := _checked_host(host)):
        raise bad("names no host" if not host else f"has the bad host {shown(host)}")
    if colon and not (_PORT.fullmatch(digits) and 0 < int(digits) < 65536):
        raise bad(f"has the bad port {digits!r}", "use a port from 1 to 65535")
    tls = scheme.lower() == "https" if separator else not (colon and _is_loopback(checked))
    port = int(digits) if colon else (443 if tls else 80)
    return Target(checked, port, tls), slash + tail


def _split_authority(authority: str) -> tuple[str, str, str]:
    """Host (an IPv6 address still in its brackets), colon and digits."""
    if authority.startswith("["):
        host, bracket, rest = authority.partition("]")
        return (host + bracket, rest[:1], rest[1:]) if rest[:1] in ("", ":") else ("", "", "")
    return authority.partition(":")


def _checked_host(host: str) -> str | None:
    """The host in its normal form: lower case, IPv6 short and without brackets. None if it is none."""
    if host.startswith("[") and host.endswith("]"):
        address = _ip(host[1:-1])
        return str(address) if isinstance(address, ipaddress.IPv6Address) and address.scope_id is None else None
    name = host.lower()
    labels = name.removesuffix(".").split(".")
    if labels[-1].isdigit():
        return name if isinstance(_ip(name), ipaddress.IPv4Address) else None
    return name if len(name) <= 253 and all(_LABEL.fullmatch(label) for label in labels) else None


def _is_loopback(host: str) -> bool:
    address = _ip(host)
    if isinstance(address, ipaddress.IPv6Address):
        return (address.ipv4_mapped or address).is_loopback
    return address.is_loopback if address else host.removesuffix(".") == "localhost"


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _masked(text: str) -> str:
    """A URL for a message: user info and query, where people put secrets, hidden."""
    return re.sub(r"([?#]).*", r"\1***", re.sub(r"^([^/@]*://)?.*@", r"\1***@", text, flags=re.S), flags=re.S)
