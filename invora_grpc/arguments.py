"""What a constructor is given, checked where it is given: a slip shows there, and not as an AttributeError in a call.

On the ground floor: this room imports neither grpc nor protobuf. A value may be a secret in the wrong place, so its
type is shown and never itself.
"""

from __future__ import annotations

import os
from typing import Any

from invora_grpc.errors import ConfigError

__all__ = ["a_number", "a_path", "one_with"]


def one_with(methods: tuple[str, ...], setting: str, value: Any, hint: str) -> Any:
    """The value, if it is an object with these methods. Raises ConfigError, also for a class in place of an object."""
    kind = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
    if isinstance(value, type) or not all(callable(getattr(value, name, None)) for name in methods):
        raise ConfigError(setting, None, hint, f"is {kind}")
    return value


def a_number(setting: str, value: object, least: float = 0.0, *, above: bool = False) -> float:
    """The value, if it is a number from `least` on, or `above` it. Raises ConfigError."""
    hint = f"give a number {'above' if above else 'from'} {least:g}{'' if above else ' on'}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(setting, None, hint, f"is a {type(value).__name__}")
    if not (value > least if above else value >= least):
        raise ConfigError(setting, value, hint, "is too small")
    return value


def a_path(setting: str, value: Any) -> str:
    """The value, if it can be the path of a file. Raises ConfigError."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(setting, value, "give the path of a file, as a string or a pathlib.Path", "is no path")
    try:
        unusable = b"\0" in os.fsencode(text)
    except UnicodeEncodeError:
        unusable = True
    if unusable:
        raise ConfigError(setting, value, "give a path without it", "has a character that no path can have")
    return text
