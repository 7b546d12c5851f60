"""The options that several commands share."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["connection", "gateway"]


def gateway(command: Any) -> Any:
    """The options that every command takes that talks to a gateway."""
    for option in (
        click.option("--env", help="production, staging or sandbox."),
        click.option("--endpoint", help="Gateway: https://host, http://host or host:port."),
        click.option("--issuer", help="OpenID Connect issuer URL."),
        click.option("--org", help="Organization to act in (x-target-org-id)."),
        click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds until the deadline."),
    ):
        command = option(command)
    return command


def connection(command: Any) -> Any:
    """The same, and what a client does when its gateway has another schema."""
    policy = click.option(
        "--schema",
        type=click.Choice(["verify", "adapt", "trust"]),
        help="If the gateway has another schema: refuse, convert by name, or do not look.  [default: verify; trust on "
        "loopback]",
    )
    return gateway(policy(command))
