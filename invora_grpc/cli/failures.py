"""What went wrong, as a person needs it and as a script needs it; and the exit code that says it in a number.

For people: one line, and on a terminal (or with -v) what the server told in detail, with the place in the input. For
scripts: one JSON object. Both come without control characters of the server's, and without tokens. Loads neither grpc
nor protobuf by itself: for mistakes in the input nothing of that is needed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from invora_grpc.cli.spoken import spoken
from invora_grpc.errors import InvoraError, RequestError, one_line

if TYPE_CHECKING:
    from invora_grpc.cli.requests import Written
    from invora_grpc.config import Secret

__all__ = ["EXIT_STATUS", "OWN", "exit_code", "explain", "facts", "masked", "report", "tell"]

EXIT_STATUS: Final = 64
"""Exit code of a call that ended with a status other than OK: this plus the status's number (NOT_FOUND: 69)."""
OWN: Final = 2
"""Exit code of everything that went wrong without a status, before anything was sent as a rule."""
_BEARER: Final = re.compile(
    r"\b(bearer|basic)\s+(?!(?:tokens?|auth|authentication|authorization|credentials?)(?:[\s\"',;)]|\.?\Z|\.\s))[^\s\"',;]+",
    re.IGNORECASE,
)
"""What stands behind these words, if it is no plain word itself: `a bearer token` tells nothing."""
_PLAIN_DETAILS: Final = ("google.rpc.BadRequest", "google.rpc.ErrorInfo", "google.rpc.RetryInfo")
"""Details whose content has a place of its own."""
_FACTS: Final = ("request_id", "retry_after", "retryable")


def masked(text: str, secrets: Iterable[Secret] = ()) -> str:
    """The text without these secrets, and without what stands behind the word Bearer, whoever wrote it.

    What is shorter than four characters is no secret, and stands in every other word.
    """
    for secret in secrets:
        text = text.replace(secret.reveal(), "***") if len(secret.reveal()) >= 4 else text
    return _BEARER.sub(r"\1 ***", text)


def exit_code(error: BaseException) -> int:
    """64 plus the number of the gRPC status, 2 for errors without one."""
    value = getattr(getattr(error, "code", None), "value", None)
    return EXIT_STATUS + int(value[0]) if isinstance(value, tuple) else OWN


def report(
    error: InvoraError,
    form: str | None = None,
    written: Written | None = None,
    *,
    full: bool = False,
    secrets: Iterable[Secret] = (),
) -> int:
    """Tell standard error what went wrong, and return the exit code. The `secrets` are masked in whatever it says.

    `form` is what was given for -o: "json" makes the error JSON too, and "envelope" an envelope. `written` is the
    request as it was typed, to name places in it. On a terminal, and with `full`, details are shown.
    """
    if form in ("json", "envelope"):
        tell(facts(error, written), form, secrets)
    else:
        from invora_grpc.cli.output import terminal_width

        text = explain(error, written=written, full=full or sys.stderr.isatty(), width=terminal_width(sys.stderr))
        print(masked(text, secrets), file=sys.stderr, flush=True)
    return exit_code(error)


def tell(error: dict[str, Any], form: str, secrets: Iterable[Secret] = ()) -> None:
    """Print an error that is JSON already: on standard error, or as the envelope of a call that was not made."""
    from invora_grpc.cli.output import dumps

    envelope = form == "envelope"
    whole = {"method": None, "status": None, "error": error} if envelope else {"error": error}
    print(masked(dumps(whole), secrets), file=sys.stdout if envelope else sys.stderr, flush=True)


def facts(error: InvoraError, written: Written | None = None) -> dict[str, Any]:
    """The error as JSON: what it is called, its words, its place in the input, its details, and the way out."""
    code = getattr(error, "code", None)
    told: dict[str, Any] = {"kind": getattr(error, "kind", type(error).__name__), "exit_code": exit_code(error)}
    if code is not None:
        told |= {"status": code.name, "code": code.value[0]}
    told["message"] = _safe(getattr(error, "message", "") or str(error))
    for name in ("hint", "method", "org"):
        told[name] = _safe(str(getattr(error, name, None) or "")) or None
    told |= {name: getattr(error, name) for name in _FACTS if getattr(error, name, None) is not None}
    told["scope"] = _scope(error)
    path = _path(error)
    if path:
        told |= {"field": path, "place": _place(path, written) or None}
    if info := getattr(error, "error_info", None):
        told["error_info"] = {"reason": info.reason, "domain": info.domain, "metadata": _all_safe(info.metadata)}
    violations = getattr(error, "field_violations", ())
    told["field_violations"] = [
        {
            "field": one.field,
            "description": _safe(one.description),
            "code": one.code,
            "place": _place(one.field, written),
        }
        for one in violations
    ]
    told["details"] = [_all_safe(_detail(detail)) for detail in getattr(error, "details", ())]
    told |= {name: list(getattr(error, name)) for name in ("keys", "differences") if getattr(error, name, ())}
    return {name: value for name, value in told.items() if value not in (None, [], "")}


def explain(error: InvoraError, *, written: Written | None = None, full: bool = False, width: int | None = None) -> str:
    """The error for people: one line that begins with `error:`; with `full`, tables of what the server told below."""
    path = _path(error)
    place = _place(path, written) if path and full else ""
    violations = getattr(error, "field_violations", ())
    if not full:
        return f"error: {_safe(str(error))}"
    line = _safe(str(error))
    if violations and (hint := f"({_safe(getattr(error, 'hint', ''))})") in line:  # the table has what is behind it
        line = line[: line.index(hint) + len(hint)]
    return "\n".join([f"error: {line}", *([f"  at {place}"] if place else []), *_sections(error, written, width)])


def _sections(error: InvoraError, written: Written | None, width: int | None) -> Iterator[str]:
    from invora_grpc.cli.tables import columns

    space = None if width is None else max(20, width - 2)
    violations = getattr(error, "field_violations", ())
    if violations:
        rows = [[one.field, _safe(one.description), one.code, _place(one.field, written)] for one in violations]
        names = ["FIELD", "PROBLEM", "CODE", "WHERE"]
        kept = [at for at in range(4) if at < 2 or any(row[at] for row in rows)]
        yield _indented(columns([[row[at] for at in kept] for row in rows], [names[at] for at in kept], space))
    rows = list(_rows(error))
    if rows:
        yield _indented(columns(rows, None, space))


def _rows(error: Any) -> Iterator[list[str]]:
    """Name and value of what the server told besides."""
    if info := getattr(error, "error_info", None):
        yield ["reason", f"{info.reason} ({info.domain})" if info.domain else info.reason]
        yield from ([name, _safe(value)] for name, value in info.metadata.items())
    if getattr(error, "retry_after", None) is not None:
        yield ["retry after", f"{error.retry_after:g} s"]
    if getattr(error, "request_id", None):
        yield ["request id", error.request_id]
    for detail in getattr(error, "details", ()):
        name = detail.DESCRIPTOR.full_name
        if name not in _PLAIN_DETAILS and not name.endswith(".ValidationError"):
            yield from _flat_rows(name.rpartition(".")[2], _detail(detail))
    if scope := _scope(error):
        yield ["scope needed", scope]
    if getattr(error, "org", None):
        yield ["organization", _safe(error.org)]


def _flat_rows(title: str, told: dict[str, Any]) -> Iterator[list[str]]:
    from invora_grpc.cli.tables import table

    name = str(told.pop("@type", title)).rpartition("/")[2].rpartition(".")[2]
    for line in table(told).split("\n"):
        field, _, value = line.partition("  ")
        yield [f"{name}.{field}" if value else name, _safe(value.strip() or field)]


def _detail(detail: Any) -> dict[str, Any]:
    """A detail as JSON with its type; of unknown type, its bytes as base64."""
    from invora_grpc.cli.answers import json_of

    value, name = json_of(detail), detail.DESCRIPTOR.full_name
    if name == "google.protobuf.Any":
        return {"@type": one_line(detail.type_url), "base64": value.get("value", "")}
    return {"@type": name, **(value if isinstance(value, dict) else {"value": value})}


def _scope(error: Any) -> str | None:
    """The scope that the caller may lack; None where that is not the matter, or no scope is known."""
    if getattr(getattr(error, "code", None), "name", "") != "PERMISSION_DENIED":
        return None
    from invora_grpc.catalog import catalog

    try:
        return catalog().method(error.method).scope or None
    except RequestError:  # an RPC that was not compiled in
        return None


def _path(error: InvoraError) -> str:
    return error.path if isinstance(error, RequestError) else ""


def _place(path: str, written: Written | None) -> str:
    return written.place(path) if written is not None else ""


def _safe(text: str) -> str:
    return one_line(masked(spoken(text)), 4000)


def _all_safe(value: Any) -> Any:
    """The same for all texts in a JSON value; as JSON, control characters are escaped when it is written."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, list):
        return [_all_safe(item) for item in value]
    return {name: _all_safe(held) for name, held in value.items()} if hasattr(value, "items") else value


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))
