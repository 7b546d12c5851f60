"""What this package raises before and around a call.

The ground floor of the error types: it must import neither grpc nor protobuf nor httpx, so that reading settings or
building a request costs nothing. Failures that a server answered with live in `invora_grpc.status`.

Every message is one line, shows what was wrong and ends with the way out. No secret ever gets into one.
"""

from __future__ import annotations

import re
import reprlib
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

__all__ = [
    "ClosedError",
    "ConfigError",
    "InvoraError",
    "RequestError",
    "SchemaDriftError",
    "SchemaError",
    "SignInError",
    "UnconfirmedSchema",
    "closest",
    "escaped",
    "is_utf8",
    "one_line",
    "shown",
]

SHOWN_VALUE_LIMIT = 80
"""Characters of a value that a message shows."""

_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]")
_PORTABLE = (str, bytes, int, float, Decimal, date, time, timedelta, type(None))


def one_line(text: str, limit: int = 1000) -> str:
    """`text` as one line that is safe to print, cut to `limit` characters.

    For words that a server sent: terminal escapes, control characters, lone surrogates and the marks that reorder
    text are dropped; line breaks become a space. Letters of every script stay as they are.
    """
    if len(text) <= limit and text.isprintable() and "  " not in text:  # as nearly all of it is
        return text.strip()
    plain = _ESCAPE_SEQUENCE.sub("", text[: limit * 8])
    line = " ".join("".join(char for char in plain if char.isspace() or not _is_unsafe(char)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def escaped(text: str) -> str:
    """`text` with unsafe characters written as escapes: for words that a caller gave, where nothing may vanish."""
    if text.isprintable():
        return text
    return "".join(_escape(char) if _is_unsafe(char) or char in "\u2028\u2029" else char for char in text)


def shown(value: object, limit: int = SHOWN_VALUE_LIMIT) -> str:
    """The repr of `value` for a message: at most `limit` characters, one line, and never an exception."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = limit
    text = escaped(short.repr(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def is_utf8(text: str) -> bool:
    """Whether the text can be sent: a str may hold lone surrogates, which UTF-8 has no bytes for."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def closest(name: str, known: Iterable[str], count: int = 3, cutoff: float = 0.6) -> list[str]:
    """The most similar of the names that are known, for "did you mean": at most `count`."""
    import difflib  # only mistakes need it

    return difflib.get_close_matches(name, list(known), count, cutoff)


def _is_unsafe(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs") or "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069"


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


class InvoraError(Exception):
    """The base of everything that this package raises.

    Errors pickle and copy with their attributes, so that they cross process pools unharmed, and are equal if they say
    the same.
    """

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.args == other.args and self._state() == other._state()

    def __hash__(self) -> int:
        return hash((type(self), str(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self._state())

    def _state(self) -> dict[str, Any]:
        """The attributes that travel in a pickle."""
        return dict(self.__dict__)

    def _set_state(self, state: Mapping[str, Any]) -> None:
        """Take the attributes back."""
        self.__dict__.update(state)


def _restore(cls: type[InvoraError], args: tuple[Any, ...], state: Mapping[str, Any]) -> InvoraError:
    """Unpickle an error without asking its constructor, whose arguments are not what `args` holds."""
    error = cls.__new__(cls, *args)
    error.args = args
    error._set_state(state)
    return error


class ConfigError(InvoraError, ValueError):
    """A setting is bad or missing. Raised before anything is dialled."""

    setting: str
    """The setting's name, e.g. `endpoint`."""
    value: object
    """What it was; None if it was missing, `***` if it is a secret."""
    hint: str
    """The way out."""

    def __init__(self, setting: str, value: object, hint: str, problem: str = "") -> None:
        super().__init__(_line(setting, None if value is None else shown(value), problem, hint))
        self.setting, self.value, self.hint = setting, value, hint

    def _state(self) -> dict[str, Any]:
        return {**self.__dict__, "value": _portable(self.value)}


class RequestError(InvoraError, ValueError):
    """A request cannot be built from the values that were given. Nothing was sent."""

    path: str
    """Where in the request, e.g. `lines[0].unit_price`."""
    value: object
    """What was given there."""
    hint: str
    """The way out."""

    def __init__(self, path: str, value: object, hint: str, problem: str = "") -> None:
        super().__init__(_line(path, shown(value), problem, hint))
        self.path, self.value, self.hint = path, value, hint

    def _state(self) -> dict[str, Any]:
        return {**self.__dict__, "value": _portable(self.value)}


class SignInError(InvoraError):
    """No access token could be had. The client's secret and the issuer's own words are not in here."""

    issuer: str
    """The issuer's URL."""
    grant: str
    """The OAuth grant, e.g. `client_credentials`."""
    status: int | None
    """The HTTP status of the answer; None if there was none."""
    oauth_error: str | None
    """The OAuth error code of the answer (RFC 6749, 5.2), e.g. `invalid_client`."""
    hint: str
    """The way out."""

    def __init__(
        self,
        problem: str,
        *,
        issuer: str,
        grant: str,
        status: int | None = None,
        oauth_error: str | None = None,
        hint: str = "",
    ) -> None:
        facts = ", ".join(
            [*([f"HTTP {status}"] if status is not None else []), *([oauth_error] if oauth_error else [])]
        )
        text = f"sign-in at {issuer} ({grant}): {problem}" + (f" ({facts})" if facts else "")
        super().__init__(escaped(text + (f"; {hint}" if hint else "")))
        self.issuer, self.grant, self.status = issuer, grant, status
        self.oauth_error, self.hint = oauth_error, hint


class ClosedError(InvoraError):
    """A call on a client that was closed, or that shares its channel with one that was."""


class SchemaError(InvoraError):
    """A call is not sent, because of the gateway's schema or of what keeps it from being known."""


class UnconfirmedSchema(SchemaError):
    """A documented RPC was about to go to a gateway that does not confirm its field numbers by server reflection.

    The public guides name such RPCs without their numbers; a wrong one would put a value into another field. Nothing
    was sent.
    """

    method: str
    """The full path, `/package.Service/Method`."""

    def __init__(self, method: str) -> None:
        super().__init__(
            f"{method}: its field numbers are provisional, and this gateway offers no server reflection to confirm "
            "them; nothing was sent. Use the sandbox, or a client made with schema='trust' if you have compared them "
            "yourself"
        )
        self.method = method

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.method,))


class SchemaDriftError(SchemaError):
    """The gateway's schema is another than the compiled one, in a way that would lose or misplace values.

    Nothing was sent.
    """

    method: str
    """The full path, `/package.Service/Method`."""
    endpoint: str
    """The gateway's URL."""
    verdict: str
    """`adaptable` or `incompatible`."""
    differences: tuple[str, ...]
    """What differs, a sentence each, the worst first."""
    hint: str
    """The way out."""

    def __init__(self, method: str, endpoint: str, verdict: str, differences: Iterable[str], hint: str) -> None:
        self.method, self.endpoint, self.verdict, self.hint = method, endpoint, verdict, hint
        self.differences = tuple(one_line(text, 300) for text in differences)
        told = "; ".join(self.differences[:3])
        more = f"; and {len(self.differences) - 3} more" if len(self.differences) > 3 else ""
        text = f"{method}: not sent, since {endpoint} has another schema: {told}{more}. {hint}"
        super().__init__(one_line(text, 2000))


def _line(name: str, value: str | None, problem: str, hint: str) -> str:
    said = " ".join(part for part in (value, problem) if part)
    return escaped(f"{name}: {said}; {hint}" if said and hint else f"{name}: {said or hint}")


def _portable(value: object) -> object:
    return value if type(value) in _PORTABLE else shown(value)
