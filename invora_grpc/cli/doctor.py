"""`invora doctor`: one page about what is between this machine and a gateway, what is wrong there, and what to do.

The command and its page. What is looked at is `invora_grpc.cli.checks`'s, which loads grpc and protobuf. The exit code
says which fault to begin with: see `invora_grpc.cli.findings.Fault`.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import click

from invora_grpc import __version__
from invora_grpc.cli.findings import Deadline, Fault, Finding, Mark, Trouble, root_cause
from invora_grpc.cli.options import Seconds, target_options
from invora_grpc.errors import ConfigError

if TYPE_CHECKING:
    from invora_grpc.cli.options import Target

__all__ = ["doctor"]

SECONDS: Final = 1.5
"""For all looks together, loading grpc included: with the start of Python, a fault is told within two."""
_COLOURS: Final = {Mark.OK: "green", Mark.WARNING: "yellow", Mark.FAULT: "red", Mark.SKIPPED: "bright_black"}
_CODES: Final = ", ".join(f"{fault.value} {fault.name.lower()}" for fault in Fault)


class _Doctor(click.Command):
    """Has a page also for options, variables and profiles that make no target."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            _show([Trouble(Fault.CONFIG, str(error), error.hint).finding("configuration"), _versions()], ctx)


@click.command(cls=_Doctor, epilog=f"Exit codes: 0 no fault, {_CODES}.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--within", type=Seconds(0.1, 600), default=SECONDS, show_default=True, help="Seconds for all looks.")
@target_options
def doctor(form: str, within: float, target: Target) -> None:
    """Look at configuration, DNS, TCP, TLS, HTTP/2, sign-in, clock, reflection, tenant, schema and versions.

    Each fault has an exit code of its own; of several, the code is that of the one to begin with. One call is sent,
    which only reads.

    \b
    Examples:
      invora doctor --within 10
      invora doctor -o json --within 10
      invora doctor --org nobody --within 10  # exit code 47
    """
    _show(_findings(target, Deadline(min(within, target.timeout))), click.get_current_context())


def _findings(target: Target, deadline: Deadline) -> Iterator[Finding]:
    """The configuration, then everything that it leads to, then versions. Raises ConfigError before any of them."""
    from invora_grpc.cli.checks import Subject, examine

    tokens = target.tokens()
    told = target.describe() if tokens is None else f"{target.describe()}, {tokens.describe}"
    yield Finding.fine("configuration", told)
    headers, files = (*target.headers, *target.reflect_headers), target.files
    yield from examine(Subject(target.settings, tokens, target.headers, headers, files), deadline)
    yield _versions()


def _show(found: Iterable[Finding], ctx: click.Context) -> None:
    """Print findings as they come, then what they come to; ends with the exit code."""
    machine, began, findings = ctx.params["form"] == "json", time.monotonic(), list[Finding]()
    for finding in found:
        findings.append(finding)
        if not machine:
            click.echo(_row(finding))
    cause, seconds = root_cause(findings), time.monotonic() - began
    click.echo(_json(findings, cause, seconds) if machine else _verdict(findings, cause, seconds))
    ctx.exit(0 if cause is None or cause.fault is None else int(cause.fault))


def _versions() -> Finding:
    found = {}
    for name in ("grpcio", "protobuf", "httpx"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    packages = ", ".join(f"{name} {version}" for name, version in found.items())
    return Finding.fine("versions", f"invora-grpc {__version__}, Python {platform.python_version()}, {packages}")


# --- the page -----------------------------------------------------------------------------------------------------


def _row(one: Finding) -> str:
    """A line of the page; the way out of what is wrong stands below it."""
    mark = click.style(f"{one.mark.value:<8}", fg=_COLOURS[one.mark])
    took = "" if one.seconds is None else f"  [{one.seconds * 1000:.0f} ms]"
    row = f"{mark} {one.subject:<20} {one.text}{took}"
    return f"{row}\n{'':30}→ {one.hint}" if one.hint else row


def _verdict(findings: Sequence[Finding], cause: Finding | None, seconds: float) -> str:
    if cause is None or cause.fault is None:
        warnings = sum(one.mark is Mark.WARNING for one in findings)
        told = f", {warnings} warning{'s' * (warnings != 1)}" if warnings else ""
        return click.style(f"\nno fault{told}, {seconds:.1f} s", fg="green")
    more = sum(one.mark is Mark.FAULT for one in findings) - 1
    others = f" (and {more} more fault{'s' * (more != 1)})" if more else ""
    first = click.style(f"\n{cause.fault.name.lower()} fault: {cause.subject}{others}", fg="red", bold=True)
    return f"{first}, exit code {cause.fault.value}, {seconds:.1f} s"


def _json(findings: Sequence[Finding], cause: Finding | None, seconds: float) -> str:
    fault = None if cause is None or cause.fault is None else cause.fault
    whole = {
        "ok": fault is None,
        "fault": fault and fault.name.lower(),
        "exit_code": 0 if fault is None else fault.value,
        "seconds": round(seconds, 3),
        "findings": [_fields(one) for one in findings],
    }
    return json.dumps(whole, ensure_ascii=False, indent=None if not sys.stdout.isatty() else 2)


def _fields(one: Finding) -> dict[str, Any]:
    said = {
        "subject": one.subject,
        "mark": one.mark.value,
        "text": one.text,
        "hint": one.hint or None,
        "fault": None if one.fault is None else one.fault.name.lower(),
        "seconds": None if one.seconds is None else round(one.seconds, 3),
    }
    return {name: value for name, value in said.items() if value is not None}
