"""Secrets out of requests and answers, before these go into a file that people keep and pass on.

What counts as one: a text under a name such as `client_secret` or `api_key`, a text that holds a secret which is known,
and what shows by its form that it is one (a JSON Web Token, a private key, a signed link). Pure: nothing is read here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from invora_grpc.config import Secret

__all__ = ["HIDDEN", "hidden", "is_secret_name"]

HIDDEN: Final = "***"
"""What stands in an answer where a secret was."""
_NAME: Final = re.compile(
    r"(?:^|_)(?:secret|password|passwd|passphrase|otp|pin|token|api_?key|secret_?key|private_?key|access_?key"
    r"|authorization|cookie|credentials?|assertion|bearer|csid)$"
)
_NO_SECRET: Final = re.compile(r"(?:^|_)(?:page|next|previous|sync|continuation|resume)_token$")
"""Names of tokens that open nothing but the next page."""
_FORM: Final = re.compile(
    r"\bey[JI][\w-]{8,}\.[\w-]+\.[\w-]*"  # a JSON Web Token begins with {" in base64
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=://)[^/\s@:]+:[^/\s@]+(?=@)"  # user and password of a URL
    r"|(?<=[?&])(?:[\w-]*signature|sig|token|access_token)=[^&\s#]+",
    re.DOTALL | re.IGNORECASE,
)

Replace = Callable[[str], str]
"""What stands in place of a whole secret, given its path: `input.client_secret` or `keys[0].value`."""


def is_secret_name(name: str) -> bool:
    """Whether what stands under this name is a secret; names of the schema, or of its JSON form (camelCase)."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")
    return _NAME.search(snake) is not None and _NO_SECRET.search(snake) is None


def hidden(value: Any, known: Iterable[Secret] = (), replace: Replace = lambda path: HIDDEN) -> Any:
    """A JSON value without secrets; what is under a secret's name is replaced whole, other text where it holds one."""
    return _hidden(value, "", False, tuple(known), replace)


def _hidden(value: Any, path: str, secret: bool, known: tuple[Secret, ...], replace: Replace) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _hidden(item, f"{path}.{name}".lstrip("."), secret or is_secret_name(name), known, replace)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_hidden(item, f"{path}[{index}]", secret, known, replace) for index, item in enumerate(value)]
    if not isinstance(value, str) or not value:
        return value
    return replace(path) if secret else _without(value, known)


def _without(text: str, known: tuple[Secret, ...]) -> str:
    """The text, with what is secret in it replaced."""
    for one in known:
        text = text.replace(one.reveal(), HIDDEN)
    return _FORM.sub(HIDDEN, text)
