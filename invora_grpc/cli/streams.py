"""Standard streams that are closed, or know no letters but those of one script: made fit to be used as all others.

Loaded only where one of them is like that.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Final

__all__ = ["prepare"]

_ESCAPED: Final = "invora-escaped"


def prepare() -> None:
    """Put the null device where a stream is closed, and have letters that an encoding has not written as JSON escapes
    them: an answer is not lost because a terminal cannot show a name in it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
    codecs.register_error(_ESCAPED, _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=_ESCAPED)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """What cannot be encoded, in units of UTF-16: \\u0634."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)), error.end
