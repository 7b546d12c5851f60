"""What commands that call an RPC again and again ask first: whether it only reads."""

from __future__ import annotations

from invora_grpc.catalog import Method
from invora_grpc.cli.guard import changes
from invora_grpc.errors import RequestError

__all__ = ["refuse_writes"]


def refuse_writes(method: Method, yes: bool) -> None:
    """Raises RequestError for an RPC that may change something, unless it was said that this is meant."""
    if not yes and changes(method):
        hint = "give --yes if it changes nothing, or if that is meant"
        raise RequestError("method", method.attribute, hint, "may change something each time that it is called")
