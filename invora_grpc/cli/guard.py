"""The tenant guard: before a change to real business, a person says yes.

What a call is bound to, and that nothing is sent elsewhere, `invora_grpc.cli.targets` checks. This room decides what is
a change and what is production, and asks; it sends nothing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from invora_grpc.errors import RequestError

if TYPE_CHECKING:
    from invora_grpc.catalog import Method
    from invora_grpc.cli.targets import Target

__all__ = ["changes", "check"]


def changes(method: Method) -> bool:
    """Whether calling it may change something: whatever is no look-up by its name and HTTP rule."""
    from invora_grpc.retry import RetryClass, retry_class

    return retry_class(method, keyed=False) is not RetryClass.READ


def check(target: Target, method: Method, yes: bool = False) -> None:
    """Let a call through, or have a person confirm it: a change in production asks, unless `yes`.

    Raises click.Abort if the answer is no, and RequestError where there is nobody to ask. Nothing was sent then.
    """
    if yes or not target.production or not changes(method):
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        hint = "give --yes if that is meant; nothing was sent"
        raise RequestError("method", method.attribute, hint, f"changes production ({target.describe()})")
    click.confirm(f"{method.attribute} changes production: {target.describe()}. Send it?", abort=True, err=True)
