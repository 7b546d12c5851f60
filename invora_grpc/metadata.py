"""The metadata of a call: what a caller and an observer may add to it.

On the ground floor: this room imports neither grpc nor protobuf. The token and the organization are the client's to
set, and nobody adds a second one: which of the two a gateway takes, nobody can tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from invora_grpc.errors import ConfigError

__all__ = ["LARGEST", "TARGET_ORG_KEY", "Pair", "checked", "fitting", "pairs_of"]

TARGET_ORG_KEY: Final = "x-target-org-id"
"""The metadata key that names the organization to act in."""
LARGEST: Final = 12 * 1024
"""Bytes of a caller's own metadata. A gRPC server refuses calls with over 16 KiB in all, and some of those with over 8
(GRPC_ARG_ABSOLUTE_MAX_METADATA_SIZE, GRPC_ARG_MAX_METADATA_SIZE); the rest is for token, organization and gRPC."""
_PAIR: Final = 32
"""Bytes that each pair counts beside its key and value (RFC 9113, 6.5.2)."""
_METADATA_KEY: Final = re.compile(r"[0-9a-z_.-]{1,200}")
_METADATA_TEXT: Final = re.compile(r"[\x20-\x7e]*")
_RESERVED: Final[Mapping[str, str]] = {
    "authorization": "the client's token source sets it: see tokens",
    TARGET_ORG_KEY: "use for_org",
    "te": "gRPC sets it itself",
    "content-type": "gRPC sets it itself",
    "user-agent": "set it as a channel option, grpc.primary_user_agent",
}

Pair = tuple[str, str | bytes]


def pairs_of(given: object) -> Iterable[Pair]:
    """The pairs of a mapping, or of pairs, each checked. Raises ConfigError."""
    pairs = given.items() if isinstance(given, Mapping) else given
    if not isinstance(pairs, Iterable) or isinstance(pairs, str | bytes):
        raise ConfigError("metadata", type(given).__name__, "give a mapping, or pairs of key and value")
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ConfigError("metadata", type(pair).__name__, "give pairs of key and value")
        yield checked(*pair)


def fitting(given: object) -> tuple[Pair, ...]:
    """All pairs, each checked, if together they leave room for what the client adds. Raises ConfigError."""
    pairs = tuple(pairs_of(given))
    sizes = [len(key) + len(value) + _PAIR for key, value in pairs]
    if sum(sizes) > LARGEST:
        largest = pairs[sizes.index(max(sizes))][0]
        hint = f"give at most {LARGEST} bytes in all, better far less; what is larger belongs into the request"
        raise ConfigError("metadata", None, hint, f"has {sum(sizes)} bytes, most of them in {largest}")
    return pairs


def checked(key: object, value: object) -> Pair:
    """One pair, if it is free to use and can be sent. Raises ConfigError, which shows no value: it may be secret."""
    if not isinstance(key, str) or not _METADATA_KEY.fullmatch(key):
        raise ConfigError("metadata", key, "keys are lower-case letters, digits, '-', '_' and '.'", "is no key")
    if key in _RESERVED or key.startswith("grpc-"):
        raise ConfigError("metadata", key, _RESERVED.get(key, "gRPC sets it itself"), "is not free to use")
    if key.endswith("-bin") != isinstance(value, bytes):
        raise ConfigError(f"metadata.{key}", type(value).__name__, "keys that end with -bin take bytes, others text")
    if isinstance(value, bytes) or (isinstance(value, str) and _METADATA_TEXT.fullmatch(value)):
        return key, value
    raise ConfigError(f"metadata.{key}", "***", "use printable ASCII, or a key that ends with -bin, and bytes")
