"""`ls`, `describe`, `search`, `--version` and what shells ask while somebody types, answered at once.

Only the plain forms of these commands, and only what an index already holds: for everything else, mistakes among it,
`answer` says None, and `app` has all options, the words for errors, and the way to the gateway. It must import nothing
that takes time.
"""

from __future__ import annotations

import os
import sys

from invora_grpc.cli.lookup import FRESH, Ambiguous, Index, compiled, served

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from invora_grpc.cli.lookup import Record

__all__ = ["answer", "described", "found", "listed", "tell", "told"]

_DIM, _BOLD, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"


def answer(arguments: Sequence[str]) -> int | None:
    """Do what the arguments ask and return the exit code; None, and nothing is done, if this is a matter for `app`."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", ())
    if command == "--version" and not rest:
        from invora_grpc import __version__

        return tell(f"invora, version {__version__}")
    if command == "__complete":
        return _complete(rest[1:] if rest[:1] == ["--"] else rest)
    shows = {"ls": _ls, "describe": _describe, "search": _search}.get(command)
    asked = _plain(rest) if shows is not None else None
    if shows is None or asked is None:
        return None
    words, endpoint = asked
    try:
        index = _index(endpoint)
        return None if index is None else shows(index, words)
    except (Ambiguous, OSError, ValueError):
        return None  # `app` has the words for it


def _complete(words: Sequence[str]) -> int:
    """What could be typed, a line each. Whatever goes wrong, a shell gets nothing, and its user no traceback."""
    try:
        from invora_grpc.cli.completing import completed

        text = completed(list(words))
    except (ImportError, LookupError, OSError, ValueError):
        return 1
    return tell(text) if text else 0


def _plain(rest: Sequence[str]) -> tuple[list[str], str | None] | None:
    """Words and endpoint ("" for the compiled schema); None if there are other options."""
    words: list[str] = []
    endpoint, reflect = "", False
    given = iter(rest)
    for one in given:
        if one == "--reflect":
            reflect = True
        elif one == "--endpoint":
            endpoint = next(given, "")
        elif one.startswith("--endpoint="):
            endpoint = one[len("--endpoint=") :]
        elif one.startswith("-"):
            return None
        else:
            words.append(one)
    if reflect and not endpoint:
        endpoint = os.environ.get("INVORA_ENDPOINT", "")
        if not endpoint:
            return None
    return words, endpoint


def _index(endpoint: str | None) -> Index | None:
    """The schema that is asked about, if it is here and not too old."""
    if not endpoint:
        return compiled()
    index = served(endpoint)
    return index if index is not None and 0 <= age(index) < FRESH else None


def age(index: Index) -> float:
    """Seconds since the gateway said so."""
    import time

    return time.time() - index.fetched_at


def _ls(index: Index, words: list[str]) -> int | None:
    if len(words) > 1:
        return None
    text, count = listed(index, "".join(words), colour=coloured())
    return tell(text, f"{count}{told(index)}") if text else None


def _describe(index: Index, words: list[str]) -> int | None:
    record = index.find(words[0]) if len(words) == 1 else None
    return tell(described(index, record, colour=coloured()), told(index).lstrip(" ")) if record is not None else None


def _search(index: Index, words: list[str]) -> int | None:
    text, count = found(index, words, colour=coloured()) if words else ("", "")
    return tell(text, f"{count}{told(index)}") if text else None


def told(index: Index) -> str:
    """Where an answer comes from, if that is not the compiled schema, and how old it is."""
    if not index.source:
        return ""
    seconds = int(age(index))
    ago = "just now" if seconds < 60 else f"{seconds // 60} min ago, --refresh asks again"
    return f" of {index.source}, asked {ago}"


# --- the texts ----------------------------------------------------------------------------------------------------


def listed(index: Index, pattern: str = "", *, colour: bool = False) -> tuple[str, str]:
    """The services and RPCs whose names contain a pattern, and how many they are; "" and "" if there are none.

    Marked are those that are not published, those that stream, and those in which a gateway differs from the stubs.
    """
    wanted = pattern.lower()
    lines: list[str] = []
    service: Record | None = None
    head = False
    shown = services = 0
    for record in index.records:
        if record.kind == "service":
            service, head = record, False
            continue
        dotted = record.name
        slashed = "/".join(dotted.rsplit(".", 1))
        if service is None or wanted not in f"{record.attribute} {dotted} {slashed}".lower():
            continue
        if not head:
            name = f"{_BOLD}{service.name}{_PLAIN}" if colour else service.name
            lines.append(f"{name}{_marks(_origin(service.parts[2]))}")
            head, services = True, services + 1
        origin, verdict, streaming = record.parts[2:5]
        text = f"  {record.attribute or slashed}" + (f"  ({streaming} streaming)" if streaming else "")
        lines.append(text + _marks(_origin(origin) if origin != service.parts[2] else "", _verdict(verdict)))
        shown += 1
    count = f"{shown} RPC{'s' * (shown != 1)} in {services} service{'s' * (services != 1)}"
    return ("\n".join(lines), count) if shown else ("", "")


def _origin(origin: str) -> str:
    return "" if origin in ("published", "served") else origin


def _verdict(verdict: str) -> str:
    return "" if verdict == "identical" else verdict


def _marks(*marks: str) -> str:
    said = ", ".join(mark for mark in marks if mark)
    return f"  [{said}]" if said else ""


def described(index: Index, record: Record, *, colour: bool = False) -> str:
    """A service with its RPCs, an RPC with its messages, or a type, in the words of its proto."""
    if record.kind == "service":
        lines = _service(index, record)
    elif record.kind == "rpc":
        lines = _rpc(index, record)
    else:
        lines = record.lines
    return "\n".join(_dimmed(line) if colour else line for line in lines)


def _service(index: Index, record: Record) -> list[str]:
    behind = f"  // client.{record.attribute}" if record.attribute else ""
    lines = [*record.lines, f"service {record.name} {{{behind}"]
    inside = False
    for one in index.records:
        if one.kind == "service":
            inside = one.name == record.name
        elif inside:
            lines += ["", *(f"  {line}" for line in one.lines)]
    return [*lines, "}", "", f"origin: {record.parts[2]}", f"file: {record.parts[3]}"]


def _rpc(index: Index, record: Record) -> list[str]:
    slashed = "/".join(record.name.rsplit(".", 1))
    lines = [f"// {slashed}" + (f"  client.{record.attribute}" if record.attribute else ""), *record.lines]
    if record.parts[3]:
        lines.append(f"  // {record.parts[3]} to the compiled schema")
    for name in dict.fromkeys(record.parts[5:7]):
        one = index.type(name)
        lines += ["", *(one.lines if one is not None else [f"// {name} is defined elsewhere"])]
    return lines


def found(index: Index, words: Sequence[str], *, colour: bool = False) -> tuple[str, str]:
    """Everything whose name, fields or comment contain all of the words, and how many it is."""
    wanted = [word.lower() for word in words]
    lines: list[str] = []
    count = 0
    for record in index.holding(max(wanted, key=len)):
        hits = _hits(record, lambda text: all(word in text.lower() for word in wanted))
        if hits is not None:
            count += 1
            name = record.attribute or record.name
            lines.append(f"{_BOLD}{name}{_PLAIN}" if colour else name)
            lines += [f"  {_dimmed(hit) if colour else hit}" for hit in hits]
    return "\n".join(lines), f"{count} symbol{'s' * (count != 1)}" if count else ""


def _hits(record: Record, fits: Callable[[str], bool]) -> list[str] | None:
    """The fields and comments that fit; None if nothing does, not even the name."""
    hits, comment = [], ""
    own = record.name.rpartition(".")[2] if record.kind != "rpc" else f"{record.attribute} {record.name}"
    for line in record.lines:
        text = line.strip()
        if text.startswith("//"):
            comment = text if fits(text) and not text.startswith("// invora call ") else comment
            continue
        is_field = text.endswith(";") or "; //" in text or ";  //" in text
        if is_field and record.kind in ("message", "enum") and (fits(text.split(" = ")[0]) or comment):
            hits.append(f"{text}  {comment}".rstrip())
        elif comment and not is_field:
            hits.append(comment)
        comment = "" if is_field or text.endswith("{") else comment
    hits += [comment] if comment and comment not in hits else []
    return hits if hits or fits(own) or (record.attribute and fits(record.attribute)) else None


def _dimmed(line: str) -> str:
    """A line whose comment stands back."""
    before, mark, comment = line.partition("//")
    return f"{before}{_DIM}{mark}{comment}{_PLAIN}" if mark else line


def coloured() -> bool:
    """Whether standard output is a terminal that wants colours (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout is not None and sys.stdout.isatty()


def tell(text: str, note: str = "") -> int:
    """Print the answer, a note about it to standard error, and return the exit code: 1 if it could not be written."""
    try:
        _write(sys.stdout, text)
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _write(sys.stderr, f"error: {error}")
        return 1
    if note:
        _write(sys.stderr, note)
    return 0


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return  # there is nobody to tell: pythonw, a daemon
    try:
        print(text, file=stream, flush=True)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
