"""How the command line starts a sandbox: the ready file is taken first, then what takes time is loaded.

This room imports nothing of the sandbox but the ready file, as importing the rest takes the better part of a second, in
which a former run's ready file would still tell of a sandbox that is gone.
"""

from __future__ import annotations

import sys
from typing import Final

from invora_grpc.sandbox.ready import ReadyFile

GRPC_PORT: Final = 50551
HTTP_PORT: Final = 50580
SEEDS: Final = ("demo", "empty")
AUTHORITY: Final = ("up", "down")
LONGEST_DELAY: Final = 366 * 24 * 3600  # seconds


def main(
    grpc_port: int = GRPC_PORT,
    http_port: int = HTTP_PORT,
    data: str = ":memory:",
    seed: str = "demo",
    ready_file: str | None = None,
    reporting_delay: float = 0.0,
    authority: str = AUTHORITY[0],
) -> int:
    """Run a sandbox until SIGINT or SIGTERM, and answer the process's exit code."""
    try:
        ready = None if ready_file is None else ReadyFile.take(ready_file, data)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    import asyncio

    from invora_grpc.sandbox.server import run

    return asyncio.run(run(grpc_port, http_port, data, seed, ready, reporting_delay, authority))
