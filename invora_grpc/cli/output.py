"""Answers on the screen and in pipes: JSON, YAML, tables, text; filtered by JMESPath; in colour on terminals only.

Values come in as JSON's own types and go out as text. Whatever a server sent, a terminal gets no escapes of it: in JSON
and YAML they are written as escapes, so that nothing is lost. Nothing here prints or calls.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import IO, Any, Final

from invora_grpc.errors import RequestError

__all__ = ["FORMS", "check_query", "colours", "dumps", "render", "searched", "terminal_width"]

FORMS: Final = ("json", "yaml", "table", "text")
"""What -o takes."""
_UNSAFE: Final = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What JSON's own escapes leave: C1 controls, marks that reorder text, lone surrogates."""
_TOKEN: Final = re.compile(
    r'(?P<key>"(?:\\.|[^"\\])*")(?=\s*:)|(?P<text>"(?:\\.|[^"\\])*")|(?P<number>-?\d[\d.eE+-]*)'
    r"|(?P<word>\b(?:true|false|null)\b)"
)
_COLOURS: Final = {"key": "34", "text": "32", "number": "36", "word": "35"}


def render(
    value: Any,
    form: str = "json",
    *,
    query: str | None = None,
    colour: bool = False,
    width: int | None = None,
    compact: bool = False,
) -> str:
    """The value in one of `FORMS`, without a line break at the end.

    `query` is a JMESPath expression, `width` the columns of a terminal to which tables are cut, and `compact` puts JSON
    on one line. Raises RequestError for a bad query, and ModuleNotFoundError if the
    extra `cli` is not installed.
    """
    if query is not None:
        value = searched(value, query)
    if form == "yaml":
        from invora_grpc.cli.yamls import dumped

        return dumped(value).rstrip("\n")
    if form == "table":
        from invora_grpc.cli.tables import table

        return table(value, width)
    if form == "text":
        from invora_grpc.cli.tables import plain

        return plain(value, safe=width is not None)
    text = dumps(value, None if compact else 2)
    return _TOKEN.sub(_coloured, text) if colour else text


def dumps(value: Any, indent: int | None = None) -> str:
    """The value as JSON that is safe on a terminal: letters of all scripts as they are, controls as escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def check_query(query: str | None) -> None:
    """Raises RequestError for a bad JMESPath expression: better before a call than after it."""
    if query is not None:
        _compiled(query)


def colours(stream: IO[str]) -> bool:
    """Whether to write in colour: on a terminal that can, unless NO_COLOR says otherwise (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width(stream: IO[str]) -> int | None:
    """The columns of the terminal; None if the stream is none."""
    if not stream.isatty():
        return None
    import shutil  # slow to load, and pipes need none of it

    return shutil.get_terminal_size((100, 24)).columns


def searched(value: Any, query: str) -> Any:
    """What a JMESPath expression finds in a JSON value; None if that is nothing. Raises as `render` does."""
    from jmespath.exceptions import JMESPathError

    try:
        return _compiled(query).search(value)
    except JMESPathError as error:
        raise RequestError("query", query, "see jmespath.org", f"cannot be used here: {error}") from None


def _compiled(query: str) -> Any:
    import jmespath  # of the extra `cli`
    from jmespath.exceptions import JMESPathError

    try:
        return jmespath.compile(query)
    except JMESPathError as error:
        first = str(error).partition("\n")[0]
        raise RequestError("query", query, "see jmespath.org", f"is no JMESPath: {first}") from None


def _coloured(match: re.Match[str]) -> str:
    codes: Mapping[str, str] = _COLOURS
    return f"\x1b[{codes[match.lastgroup or 'text']}m{match[0]}\x1b[0m"
