"""The work of `invora schema`: schemas from gateways, files and stubs, compared and told.

It decides nothing about what differs; that is `invora_grpc.schema.compare`.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import click
import grpc

from invora_grpc.call import seconds
from invora_grpc.catalog import catalog
from invora_grpc.channel import guard_bearer, open_channel
from invora_grpc.cli.targets import Target, resolve
from invora_grpc.cli.writing import text_of, write_folder
from invora_grpc.config import ENVIRONMENTS
from invora_grpc.errors import ConfigError, InvoraError, RequestError, closest, one_line
from invora_grpc.metadata import TARGET_ORG_KEY
from invora_grpc.schema.asking import reflect
from invora_grpc.schema.compare import Comparison, Verdict
from invora_grpc.schema.descriptors import Schema
from invora_grpc.schema.files import MAX_BYTES, FileSet
from invora_grpc.schema.reflection import ReflectionError, Served
from invora_grpc.schema.report import as_json, as_markdown, as_text
from invora_grpc.schema.survey import compiled_schema, survey

_STATUS: Final = {
    "not-offered": grpc.StatusCode.UNIMPLEMENTED,
    "denied": grpc.StatusCode.PERMISSION_DENIED,
    "unauthenticated": grpc.StatusCode.UNAUTHENTICATED,
    "unreachable": grpc.StatusCode.UNAVAILABLE,
    "timeout": grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""Reason of a ReflectionError → the status that the exit code is of."""
_SUFFIXES: Final = (".binpb", ".bin", ".pb", ".gz", ".protoset", ".desc", ".image")


class Unanswered(InvoraError):
    """A gateway did not say what it serves, as a shell is told it: with the status that the exit code is of."""

    code: grpc.StatusCode | None

    def __init__(self, error: ReflectionError) -> None:
        super().__init__(str(error))
        self.code = _STATUS.get(error.reason)


# --- the commands -------------------------------------------------------------------------------------------------


def fetch(services: Sequence[str], out: str, form: str, connection: Mapping[str, Any]) -> int:
    """Write descriptors; the exit code: 2 if some could not be written. Raises InvoraError if there are none."""
    served, _ = _ask(services or None, connection)
    for name in services:
        if name in served.failures:
            near = closest(name, served.listed) or served.listed[:6]
            raise RequestError("service", name, f"did you mean {' or '.join(near)}?", served.failures[name])
    complaints = {**served.failures, **served.files.problems}
    for name, importers in served.files.missing().items():
        complaints[name] = f"is imported by {', '.join(importers[:3])}, and not served"
    refused: Mapping[str, str] = {}
    if form == "binpb":
        _write_binary(out, served.files)
    elif out == "-":
        click.echo(text_of(served.files), nl=False)
    else:
        refused = write_folder(served.files, Path(out))
    for name, why in {**complaints, **refused}.items():
        click.echo(f"warning: {one_line(f'{name}: {why}', 500)}", err=True)
    count = len(served.files.files) - len(refused)
    click.echo(f"{count} file{'s' * (count != 1)} of {one_line(_listed(services, served), 300)}", err=True)
    return 2 if refused else 0


def diff(a: str, b: str, form: str, connection: Mapping[str, Any]) -> Verdict:
    """Print how B differs from A. Raises InvoraError if one of the two cannot be had."""
    if a == b == "-":
        raise ConfigError("schema", "-", "name a file for one of the two", "cannot be read twice")
    ours, theirs = _side(a, connection), _side(b, connection)
    rows = survey(ours, theirs)
    written: Mapping[str, Callable[[Sequence[Comparison]], str]]
    written = {"text": as_text, "json": as_json, "markdown": as_markdown}
    click.echo(written[form](rows))
    return _worst(rows)


def verify(form: str, connection: Mapping[str, Any]) -> Verdict:
    """Print every service and RPC of stubs and gateway. Raises InvoraError if the gateway does not say what it has."""
    served, url = _ask(None, connection)
    rows = survey(compiled_schema(), _schema(served, url))
    click.echo({"text": _table, "json": _json, "markdown": _markdown}[form](url, rows))
    return _worst(rows)


def _worst(rows: Iterable[Comparison]) -> Verdict:
    return max((row.verdict for row in rows), default=Verdict.IDENTICAL)


# --- where schemas come from --------------------------------------------------------------------------------------


def _side(text: str, connection: Mapping[str, Any]) -> Schema:
    """The schema that an argument of diff names."""
    if text == "compiled":
        return compiled_schema()
    if text == "-":
        data = sys.stdin.buffer.read(4 * MAX_BYTES + 1)
        return Schema(FileSet.parse(data, "standard input"), source="standard input")
    if _is_file(text):
        return Schema(FileSet.read(text), source=text)
    where = {"env": text, "endpoint": None} if text in ENVIRONMENTS else {"endpoint": text}
    served, url = _ask(None, {**connection, **where})
    return _schema(served, url)


def _schema(served: Served, url: str) -> Schema:
    return Schema(served.files, source=url, listed=served.listed, failures=served.failures)


def _is_file(text: str) -> bool:
    """Whether this names a file and no endpoint. One that is not there is missed as a file, not as a host."""
    if "://" in text or text in ENVIRONMENTS:
        return False
    return Path(text).exists() or "/" in text or "\\" in text or text.endswith(_SUFFIXES)


def _ask(services: Sequence[str] | None, connection: Mapping[str, Any]) -> tuple[Served, str]:
    """What a gateway says of itself, and its URL. Asked with credentials if there are any."""
    timeout = seconds("timeout", connection["timeout"]) or 0.0
    names = ("profile", "env", "endpoint", "issuer", "org")
    target = resolve(*(connection[name] for name in names))
    channel = open_channel(target.settings.target)
    url = target.settings.target.url
    try:
        return reflect(channel, metadata=_metadata(target), timeout=timeout, endpoint=url, services=services), url
    except ReflectionError as error:
        raise Unanswered(error) from error
    finally:
        channel.close()


def _metadata(target: Target) -> tuple[tuple[str, str], ...]:
    settings = target.settings
    org = ((TARGET_ORG_KEY, settings.org_id),) if settings.org_id else ()
    own = any(each is not None for each in (settings.token, settings.client_id, settings.client_secret))
    source = target.tokens() if own or target.signed_in else None
    if source is None:
        return org
    guard_bearer(settings.target)
    return (("authorization", f"Bearer {source.token().reveal()}"), *org)


# --- binary output ------------------------------------------------------------------------------------------------


def _write_binary(out: str, files: FileSet) -> None:
    if out != "-":
        Path(out).write_bytes(files.to_bytes())
        return
    if sys.stdout.isatty():
        raise ConfigError("out", "-", "redirect it, or take --format proto", "would write binary data to a terminal")
    sys.stdout.buffer.write(files.to_bytes())
    sys.stdout.buffer.flush()


def _listed(services: Sequence[str], served: Served) -> str:
    return ", ".join(services) or f"{len(served.listed)} service{'s' * (len(served.listed) != 1)}"


# --- the table of verify ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Line:
    """An RPC, or a service of which no RPC is known, in words that are safe to print."""

    service: str
    rpc: str
    origin: str
    verdict: str
    words: str
    row: Comparison


def _lines(rows: Iterable[Comparison]) -> list[_Line]:
    origins = {method.path: method.origin for method in catalog().methods}
    lines = []
    for row in rows:
        service, _, rpc = row.subject.lstrip("/").partition("/")
        words = "; ".join(difference.text for difference in row.differences[:2])
        more = f"; and {len(row.differences) - 2} more" if len(row.differences) > 2 else ""
        origin = origins.get(row.subject, "served")
        lines.append(
            _Line(one_line(service, 200), one_line(rpc, 200), origin, str(row.verdict), one_line(words + more), row)
        )
    return lines


def _counts(rows: Sequence[Comparison]) -> str:
    """How many there are of each verdict, the worst first."""
    counts = Counter(row.verdict for row in rows)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in sorted(counts, reverse=True))
    return f"{len(rows)} RPC{'s' * (len(rows) != 1)}: {told}" if rows else "nothing to compare"


def _table(url: str, rows: Sequence[Comparison]) -> str:
    lines = _lines(rows)
    widths = [max((len(part(line)) for line in lines), default=0) for part in (_rpc, _origin, _verdict)]
    text = [f"{url} against {len(catalog())} compiled services"]
    for service, group in groupby(lines, key=lambda line: line.service):
        text += ["", service]
        for line in group:
            cells = (f"{part(line):<{width}}" for part, width in zip((_rpc, _origin, _verdict), widths, strict=True))
            text.append(f"  {'  '.join(cells)}  {line.words}".rstrip())
    return "\n".join([*text, "", _counts(rows)])


def _rpc(line: _Line) -> str:
    return line.rpc or "(no RPC is known)"


def _origin(line: _Line) -> str:
    return line.origin


def _verdict(line: _Line) -> str:
    return line.verdict


def _markdown(url: str, rows: Sequence[Comparison]) -> str:
    text = [f"### {_cell(url)}", "", _counts(rows), "", "| RPC | Origin | Verdict | Differences |", "|---|---|---|---|"]
    for line in _lines(rows):
        name = f"{line.service}/{line.rpc}" if line.rpc else line.service
        text.append(f"| {_cell(name)} | {line.origin} | {line.verdict} | {_cell(line.words)} |")
    return "\n".join(text)


def _cell(text: str) -> str:
    """Text that stays text in Markdown, and in its cell."""
    return "".join(f"\\{char}" if char in "\\|`*_[]<>#!~&" else char for char in text)


def _json(url: str, rows: Sequence[Comparison]) -> str:
    services = [
        {
            "name": service,
            "verdict": str(_worst(line.row for line in group)),
            "rpcs": [
                {
                    "name": line.rpc,
                    "origin": line.origin,
                    "verdict": line.verdict,
                    "differences": [difference.as_json() for difference in line.row.differences],
                }
                for line in group
            ],
        }
        for service, group in ((name, list(lines)) for name, lines in groupby(_lines(rows), lambda line: line.service))
    ]
    whole = {"endpoint": url, "verdict": str(_worst(rows)), "services": services}
    return json.dumps(whole, ensure_ascii=False, indent=2)
