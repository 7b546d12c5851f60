"""A line of the shell as words: quoted as in a POSIX shell, with their places, also while it is still being typed.

Nothing is expanded: no variables, no patterns, no commands. `shlex` knows neither places nor unfinished lines.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Word", "is_open", "split"]

_CONTINUED = "\\\n"
"""A line break that is none."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a line."""

    text: str
    """Without its quotes."""
    start: int
    """Where it begins in the line, quotes included."""
    plain: bool
    """Whether nothing in it was quoted."""
    open: str = ""
    """The quote that is not closed yet, or a backslash at the very end; "" if it is whole."""


def split(line: str) -> list[Word]:
    """The words of a line. Never raises: a last word that is not whole says so."""
    words: list[Word] = []
    at = 0
    while True:
        while at < len(line) and (line[at].isspace() or line.startswith(_CONTINUED, at)):
            at += 1
        if at == len(line):
            return words
        word, at = _word(line, at)
        words.append(word)


def is_open(line: str) -> bool:
    """Whether the line ends within quotes, or with a backslash, and hence goes on."""
    words = split(line)
    return bool(words) and bool(words[-1].open)


def _word(line: str, start: int) -> tuple[Word, int]:
    text, quote, plain, at = "", "", True, start
    while at < len(line):
        char = line[at]
        if quote == "'":
            text, quote = (text, "") if char == "'" else (text + char, quote)
        elif line.startswith(_CONTINUED, at):
            at += 1
        elif char == "\\":
            if at + 1 == len(line):
                return Word(text, start, False, "\\"), at + 1
            at += 1
            kept = quote and line[at] not in '"\\'  # within double quotes a backslash is one, but for these
            text += (char if kept else "") + line[at]
            plain = False
        elif quote:
            text, quote = (text, "") if char == '"' else (text + char, quote)
        elif char in "\"'":
            quote, plain = char, False
        elif char.isspace():
            break
        else:
            text += char
        at += 1
    return Word(text, start, plain, quote), at
