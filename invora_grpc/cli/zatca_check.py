"""`invora zatca check`: documents against the rules of ZATCA, with what is wrong, where, and what to do.

Reads files and prints; the rules are `invora_grpc.zatca.checking`. Nothing here calls a gateway or changes a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from invora_grpc.cli.output import dumps
from invora_grpc.cli.zatca_files import content
from invora_grpc.errors import one_line

if TYPE_CHECKING:
    from invora_grpc.zatca.checking import Finding

__all__ = ["check"]

_COLOURS: Final = {"error": "red", "warning": "yellow"}


@dataclass(frozen=True, slots=True)
class _Checked:
    """A file with what was found in it."""

    file: str
    findings: tuple[Finding, ...]
    """What counts."""
    assigned: tuple[Finding, ...]
    """What the platform will see to."""

    def count(self, severity: str) -> int:
        return sum(finding.severity == severity for finding in self.findings)


@click.command(epilog="Exit codes: 0 no error was found, 1 there are errors, 2 it cannot be read.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--complete", is_flag=True, help="Let counter, previous hash, QR code and stamp count too.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def check(files: Sequence[str], complete: bool, form: str) -> None:
    """Check tax documents (UBL 2.1) against the rules of ZATCA. A hyphen reads standard input.

    Warnings are shown and do no harm to the exit code. Counter, previous hash, QR code and stamp are the platform's to
    add: what is wrong with them is shown apart, and counts with --complete only.

    \b
    Examples:
      invora zatca check invoice.xml
      invora zatca check -o json - <invoice.xml
      invora zatca check --complete invoice.xml
    """
    if files.count("-") > 1:
        raise click.UsageError("Standard input can be read only once.")
    found = []
    for file in files:
        checked = _checked(file, complete)
        found.append(checked)
        if form == "text":
            click.echo("\n".join(_rows(checked)))
    if form == "json":
        click.echo(dumps([_fields(checked) for checked in found], 2))
    if any(checked.count("error") for checked in found):
        click.get_current_context().exit(1)


def _checked(file: str, complete: bool) -> _Checked:
    """Raises RequestError if there is no such file, or no invoice in it."""
    from invora_grpc.zatca.checking import check as findings_of

    findings = findings_of(content(file), name="standard input" if file == "-" else file)
    apart = () if complete else tuple(finding for finding in findings if finding.assigned)
    return _Checked(file, tuple(finding for finding in findings if finding not in apart), apart)


def _fields(checked: _Checked) -> dict[str, Any]:
    return {
        "file": checked.file,
        "errors": checked.count("error"),
        "warnings": checked.count("warning"),
        "findings": [
            {"rule": f.rule, "severity": f.severity, "place": f.place, "text": f.text, "assigned": f.assigned}
            for f in (*checked.findings, *checked.assigned)
        ],
    }


def _rows(checked: _Checked) -> Iterator[str]:
    counts = [_counted(checked.count(severity), severity) for severity in ("error", "warning")]
    yield f"{one_line(checked.file, 200)}: {' and '.join(count for count in counts if count) or 'nothing is wrong'}"
    for finding in checked.findings:
        yield from _told(finding)
    if checked.assigned:
        yield "  left to the platform:"
        for finding in checked.assigned:
            yield f"    {finding.rule}  {finding.text}"


def _told(finding: Finding) -> Iterator[str]:
    severity = click.style(f"{finding.severity:7}", fg=_COLOURS[finding.severity])
    yield f"  {severity}  {finding.rule}  {one_line(finding.text)}"
    yield f"           {one_line(finding.place)}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}" if count else ""
