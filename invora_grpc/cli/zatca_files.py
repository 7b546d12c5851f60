"""The files that commands of `invora zatca` are given: read here, and understood elsewhere."""

from __future__ import annotations

import sys

from invora_grpc.errors import RequestError

__all__ = ["content"]


def content(file: str) -> bytes:
    """What is in a file, or comes by standard input for a hyphen; of too much, as many bytes as tell that it is so.

    Raises RequestError if it cannot be read.
    """
    from invora_grpc.zatca.hashing import MAX_BYTES

    if file == "-":
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        with open(file, "rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise RequestError("FILE", file, "give the path of a document", problem) from None
