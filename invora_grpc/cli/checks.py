"""The looks of `invora doctor`, in their order: the ways to gateway and issuer, sign-in, clock, tenant and schema.

Each look ends with one deadline for all, and each says which fault it found (`invora_grpc.cli.findings`). One harmless
call is sent, that of `PROBE`. Tokens are unwrapped only inside the expression that sends them, and are in no finding.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import ssl
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Thread
from typing import Any, Final

import grpc

from invora_grpc.auth import TokenSource
from invora_grpc.channel import ClientCertificate, guard_bearer, open_channel
from invora_grpc.cli.findings import Deadline, Fault, Finding, Mark, Trouble, within
from invora_grpc.cli.probing import Line, gateway_trust, proxy_for
from invora_grpc.cli.targets import Files
from invora_grpc.config import Secret, Settings, parse_url
from invora_grpc.errors import ConfigError, InvoraError, SignInError
from invora_grpc.metadata import TARGET_ORG_KEY, Pair
from invora_grpc.oidc import Answer, check_discovery, discovery_url
from invora_grpc.schema.asking import reflect
from invora_grpc.schema.compare import Verdict
from invora_grpc.schema.descriptors import Schema
from invora_grpc.schema.reflection import ReflectionError, Served
from invora_grpc.schema.survey import compiled_schema, survey
from invora_grpc.status import RpcError, from_rpc_error

__all__ = ["PROBE", "Subject", "examine"]

PROBE: Final = "/invora.settings.v2.SettingsService/GetSettings"
"""A call that only reads, has an empty request and one small answer."""
TOLERATED: Final = 30.0
"""Seconds by which clocks may differ: what those who check tokens allow, or less."""
_NOTEWORTHY: Final = 5.0
_COMPARING: Final = 0.3
"""Seconds without which comparing schemas is not begun."""
_TENANT_REASONS: Final = frozenset({"TARGET_DENIED", "ORGANIZATION_SUSPENDED"})
"""ErrorInfo.reason of refusals that are about the organization, whatever the caller's scopes."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined."""

    settings: Settings
    tokens: TokenSource | None
    """None: calls go without a token, and no issuer is asked."""
    headers: tuple[Pair, ...]
    """Metadata of calls."""
    reflect_headers: tuple[Pair, ...]
    """Metadata of questions for the schema."""
    files: Files
    """Certificates."""


def examine(subject: Subject, deadline: Deadline) -> Iterator[Finding]:
    """All looks, before the deadline; what depends on something that is broken is skipped."""
    return _Examination(subject, deadline).run()


class _Examination:
    """One run; what later looks need to know is kept here."""

    def __init__(self, subject: Subject, deadline: Deadline) -> None:
        self._subject, self._deadline = subject, deadline
        self._settings, self._target = subject.settings, subject.settings.target
        self._bearer: Secret | None = None
        self._offset: float | None = None
        """Seconds that the issuer's clock is ahead of this machine's."""
        self._fixed = self._settings.token is not None
        """Whether there is a ready token, so that the issuer is no condition."""
        self._faulty = False
        """Whether a fault was found."""

    def run(self) -> Iterator[Finding]:
        for finding in self._looks():
            self._faulty = self._faulty or finding.mark is Mark.FAULT
            yield finding

    def _looks(self) -> Iterator[Finding]:
        issuer: Future[list[Finding]] = Future()
        Thread(target=lambda: issuer.set_result(self._issuer()), name="invora-doctor", daemon=True).start()
        ways = self._gateway()
        yield from ways
        yield from issuer.result()
        yield from self._signed_in(issuer.result())
        yield self._clock()
        broken = any(one.mark is Mark.FAULT for one in ways)
        if broken or self._deadline.over:
            for look in ("reflection", "tenant", "schema"):
                yield Finding.skipped(look, "the gateway cannot be reached" if broken else "no time was left")
            return
        yield from self._calls()

    # --- the two ways

    def _gateway(self) -> list[Finding]:
        proxy = proxy_for(self._target)
        if proxy is not None:
            return [Finding.skipped("gateway", f"{self._target.address} is reached by the proxy {proxy}")]
        try:
            trust = gateway_trust(self._subject.files) if self._target.tls else None
        except (OSError, ValueError) as error:
            hint = "give PEM files with --cacert, --cert and --key, and with GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
            trouble = Trouble(Fault.CERTIFICATE, f"certificates or key on this machine cannot be read: {error}", hint)
            return [trouble.finding("gateway certificate")]
        return list(Line("gateway", self._target, trust, True, self._deadline).look())

    def _issuer(self) -> list[Finding]:
        """The way to the issuer, and what it says of itself. Its clock is taken on the way."""
        if self._subject.tokens is None:
            return [Finding.skipped("issuer", "calls go without a token")]
        try:
            findings = self._way_to_issuer()
            if not any(one.mark is Mark.FAULT for one in findings):
                findings.append(self._discovery())
        except Exception as error:  # also what httpx raises for certificates that SSL_CERT_FILE names
            hint = "check SSL_CERT_FILE, SSL_CERT_DIR, and the issuer's URL"
            findings = [Trouble(Fault.AUTH, f"cannot be asked: {type(error).__name__}", hint).finding("issuer")]
        return [_as_warning(one) for one in findings] if self._fixed else findings

    def _way_to_issuer(self) -> list[Finding]:
        target = parse_url("issuer", self._settings.issuer)
        proxy = proxy_for(target)
        if proxy is not None:
            return [Finding.skipped("issuer", f"{target.address} is reached by the proxy {proxy}")]
        trust: ssl.SSLContext | None = None
        if target.tls:
            import httpx

            trust = httpx.create_ssl_context()
        return list(Line("issuer", target, trust, False, self._deadline).look())

    def _discovery(self) -> Finding:
        """What the issuer publishes about itself, and its clock by the way."""
        import httpx

        issuer, began = self._settings.issuer, time.monotonic()
        secure = parse_url("issuer", issuer).tls
        try:
            answer = within(
                self._deadline.left,
                lambda: httpx.get(discovery_url(issuer), timeout=self._deadline.left, trust_env=secure),
            )
            self._offset = _offset(answer.headers.get("date"))
            check_discovery(issuer, "discovery", Answer(answer.status_code, answer.content))
        except SignInError as error:
            return Trouble(Fault.AUTH, str(error), error.hint).finding("issuer", time.monotonic() - began)
        except (TimeoutError, httpx.HTTPError) as error:
            what = "does not answer in time" if "Timeout" in type(error).__name__ else "gives no answer"
            hint = "check the issuer's URL, and whether it runs"
            return Trouble(Fault.AUTH, f"{issuer} {what}", hint).finding("issuer", time.monotonic() - began)
        return Finding.fine("issuer", f"{issuer} says where its token endpoint is", time.monotonic() - began)

    # --- the token and the clock

    def _signed_in(self, issuer: Sequence[Finding]) -> Iterator[Finding]:
        tokens = self._subject.tokens
        if tokens is None:
            yield Finding.skipped("token", "calls go without a token")
        elif any(one.mark is Mark.FAULT for one in issuer):
            yield Finding.skipped("token", "the issuer cannot be asked")
        else:
            yield self._token(tokens)

    def _token(self, tokens: TokenSource) -> Finding:
        began = time.monotonic()
        try:
            guard_bearer(self._target)
            self._bearer = within(self._deadline.left, tokens.token)
        except ConfigError as error:
            return Trouble(Fault.CONFIG, str(error), error.hint).finding("token")
        except InvoraError as error:
            return Trouble(Fault.AUTH, str(error), getattr(error, "hint", "")).finding("token")
        except TimeoutError:
            problem = f"{tokens.describe}: no token within {self._deadline.seconds:g} s"
            return Trouble(Fault.AUTH, problem, "try again with a longer --within").finding("token")
        issued, ends = _times(self._bearer)
        now, seconds = time.time(), time.monotonic() - began
        if self._offset is None and issued is not None and issued > now + TOLERATED:
            self._offset = issued - now  # at least: nobody knows how old the token is
        if ends is None:
            return Finding.fine("token", tokens.describe, seconds)
        if ends <= now + (self._offset or 0.0):
            trouble = Trouble(Fault.AUTH, f"{tokens.describe} has ended {_moment(ends)}", "sign in again", timely=True)
            return trouble.finding("token", seconds)
        return Finding.fine("token", f"{tokens.describe}; ends in {_duration(ends - now)}", seconds)

    def _clock(self) -> Finding:
        if self._offset is None:
            return Finding.skipped("clock", "nobody told the time")
        off = abs(self._offset)
        text = f"this machine's clock is {_duration(off)} {'behind' if self._offset > 0 else 'ahead of'} the issuer's"
        if off > TOLERATED:
            return Trouble(Fault.CLOCK, text, "set this machine's clock, e.g. by NTP").finding("clock")
        if off > _NOTEWORTHY:
            return Finding.warning("clock", text, "set this machine's clock, e.g. by NTP")
        return Finding.fine("clock", "this machine's clock is the issuer's" + (f", within {off:.0f} s" if off else ""))

    # --- calls

    def _calls(self) -> Iterator[Finding]:
        """Reflection, the tenant, and the schema. Without the token that was wanted, only reflection."""
        with self._channel() as channel:
            listed = self._listed(channel)
            yield listed if isinstance(listed, Finding) else _listing(listed)
            yield self._tenant(channel, listed)
            yield self._schema(channel, listed)

    def _channel(self) -> grpc.Channel:
        """A channel with the certificates that were given. They could be read before."""
        files = self._subject.files
        roots = None if files.cacert is None or not self._target.tls else Path(files.cacert).read_bytes()
        own = None
        if files.cert is not None and files.key is not None and self._target.tls:
            own = ClientCertificate((Path(files.key).read_bytes(), Path(files.cert).read_bytes()))
        return open_channel(self._target, root_certificates=roots, client_certificate=own)

    def _metadata(self, org: str | None, headers: tuple[Pair, ...]) -> tuple[Pair, ...]:
        bearer = () if self._bearer is None else (("authorization", f"Bearer {self._bearer.reveal()}"),)
        return (*bearer, *(((TARGET_ORG_KEY, org),) if org else ()), *headers)

    @property
    def _asking(self) -> tuple[Pair, ...]:
        """The metadata of questions for the schema."""
        return self._metadata(self._settings.org_id, self._subject.reflect_headers)

    def _listed(self, channel: grpc.Channel) -> Served | Finding:
        """What the gateway lists."""
        began, url = time.monotonic(), self._target.url
        left = self._deadline.left * (2 / 3 if self._bearer is not None else 1)  # the rest is for the probe
        try:
            return reflect(channel, metadata=self._asking, timeout=left, endpoint=url, services=())
        except ReflectionError as error:
            about_caller = error.reason == "unauthenticated"
            fault = Fault.AUTH if about_caller else Fault.REFLECTION
            if error.reason == "unreachable":
                fault = Fault.CALL
            subject = {Fault.AUTH: "token", Fault.CALL: "call"}.get(fault, "reflection")
            return Trouble(fault, str(error), error.hint).finding(subject, time.monotonic() - began)

    def _tenant(self, channel: grpc.Channel, listed: Served | Finding) -> Finding:
        """Whether the caller may act in the organization: one harmless call, and if in doubt another without it."""
        org, subject = self._settings.org_id, "tenant"
        if self._bearer is None:
            return Finding.skipped(subject, "there is no token to call with")
        if isinstance(listed, Served) and PROBE.split("/")[1] not in listed.listed:
            return Finding.skipped(subject, "this is no Invora gateway: there is no call to try")
        began, error = time.monotonic(), self._probed(channel, org)
        seconds = time.monotonic() - began
        if error is None:
            return Finding.fine(subject, f"a call in {_place(org)} is answered", seconds)
        code, reason = error.code, error.error_info.reason if error.error_info else ""
        if code is grpc.StatusCode.UNAUTHENTICATED:
            expired = "EXPIRED" in reason
            return Trouble(
                Fault.AUTH, f"the gateway refuses the token: {error.message}", error.hint, timely=expired
            ).finding("token", seconds)
        if reason in _TENANT_REASONS or (org is not None and self._only_there(channel, org, error)):
            hint = f"check the organization's id ({TARGET_ORG_KEY}), its state, and the caller's roles in it"
            return Trouble(Fault.TENANT, f"no call in {_place(org)}: {error.message}", hint).finding(subject, seconds)
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return Trouble(Fault.CALL, f"a call ends with {code.name}: {error.message}", error.hint).finding(
                "call", seconds
            )
        told = f"calls in {_place(org)} arrive; the one that was tried ends with {code.name}"
        if code is grpc.StatusCode.PERMISSION_DENIED:
            return Finding.warning(
                subject, f"{told}: {error.message}", "ask for a role, if you need such calls", seconds
            )
        return Finding.fine(subject, told, seconds)

    def _only_there(self, channel: grpc.Channel, org: str, error: RpcError) -> bool:
        """Whether a refusal is about the organization: without it, the same call ends in another way."""
        if error.code not in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND, _INVALID):
            return False
        other = self._probed(channel, None)
        return other is None or other.code is not error.code

    def _probed(self, channel: grpc.Channel, org: str | None) -> RpcError | None:
        """How the harmless call ends; None: well."""
        probe: Any = channel.unary_unary(PROBE)
        try:
            probe(b"", metadata=self._metadata(org, self._subject.headers), timeout=self._deadline.left)
        except grpc.RpcError as error:
            return from_rpc_error(error, method=PROBE, org=org)
        return None

    def _schema(self, channel: grpc.Channel, listed: Served | Finding) -> Finding:
        """Whether the schemas fit; not looked at if there is a fault already, since it takes the longest."""
        subject, began = "schema", time.monotonic()
        if self._faulty:
            return Finding.skipped(subject, "there is a fault to mend first")
        if isinstance(listed, Finding):
            return Finding.skipped(subject, "the gateway does not say what it serves")
        if self._deadline.left < _COMPARING:
            return _no_time(subject)
        ours = compiled_schema()
        if not any(name in ours.services for name in listed.listed):
            return Finding.skipped(subject, "the gateway serves nothing that this package was built for")
        try:
            served = reflect(
                channel,
                metadata=self._asking,
                timeout=self._deadline.left,
                endpoint=self._target.url,
                protocol=listed.protocol,
            )
        except ReflectionError as error:
            if error.reason == "timeout":
                return _no_time(subject)
            return Trouble(Fault.REFLECTION, str(error), error.hint).finding(subject, time.monotonic() - began)
        theirs = Schema(served.files, source=self._target.url, listed=served.listed, failures=served.failures)
        return _compared(survey(ours, theirs), time.monotonic() - began)


_INVALID: Final = grpc.StatusCode.INVALID_ARGUMENT


def _compared(rows: Sequence[Any], seconds: float) -> Finding:
    counts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in sorted(Verdict, reverse=True)}
    text = f"{len(rows)} RPCs: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    hint = "`invora schema verify` tells the differences"
    if counts[Verdict.INCOMPATIBLE]:
        return Trouble(Fault.SCHEMA, text, f"{hint}; update this package").finding("schema", seconds)
    if counts[Verdict.ADAPTABLE]:
        return Finding.warning("schema", text, f"{hint}; --schema adapt converts by name", seconds)
    return Finding.fine("schema", text, seconds)


def _no_time(subject: str) -> Finding:
    return Finding.skipped(subject, "no time was left; `invora schema verify` compares")


def _listing(served: Served) -> Finding:
    count = len(served.listed)
    return Finding.fine("reflection", f"{count} service{'s' * (count != 1)}, by {served.protocol}")


def _as_warning(one: Finding) -> Finding:
    if one.mark is not Mark.FAULT:
        return one
    return Finding.warning(one.subject, f"{one.text} (not needed for a ready token)", one.hint, one.seconds)


def _place(org: str | None) -> str:
    return f"organization {org}" if org else "the caller's own organization"


def _offset(date: str | None) -> float | None:
    """Seconds that the clock of an HTTP answer (RFC 9110, 6.6.1) is ahead; its second has begun half a second ago."""
    try:
        return None if date is None else _rounded(parsedate_to_datetime(date).timestamp() + 0.5 - time.time())
    except ValueError:
        return None


def _rounded(seconds: float) -> float:
    """Without what the header's whole seconds and the way take."""
    return 0.0 if abs(seconds) < 2 else seconds


def _times(bearer: Secret) -> tuple[float | None, float | None]:
    """When a token was issued and when it ends, if it is a JWT that says so (RFC 7519, 4.1). Not verified."""
    claims = _claims(bearer)
    issued, ends = claims.get("iat"), claims.get("exp")
    return issued if isinstance(issued, int | float) else None, ends if isinstance(ends, int | float) else None


def _claims(bearer: Secret) -> dict[str, Any]:
    """What a JWT says; {} for every other token. Never raises: its locals are plain."""
    parts = bearer.reveal().split(".")
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))) if len(parts) == 3 else {}
    except (ValueError, binascii.Error, RecursionError):
        found = {}
    return found if isinstance(found, dict) else {}


def _moment(seconds: float) -> str:
    try:
        return f"at {datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return "long ago"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
