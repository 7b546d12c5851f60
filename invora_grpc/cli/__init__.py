"""The `invora` command. This module only opens the door: it must stay as cheap as an empty one.

What is asked most, and by shells while somebody types, `quick` answers with what Python has loaded anyway. Everything
else is a command of `app`, which costs the import of click, and whatever that command needs.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, by default that of this process, and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if None in (sys.stdin, sys.stdout, sys.stderr) or not _wide(sys.stdout, sys.stderr):
        from invora_grpc.cli.streams import prepare

        prepare()
    try:
        from invora_grpc.cli.quick import answer

        code = answer(arguments)
        if code is not None:
            return code
        if argv is None:
            _hurry()
        from invora_grpc.cli import app

        return app.run(arguments)
    except KeyboardInterrupt:
        return 130


def _wide(*streams: TextIO) -> bool:
    """Whether these can be told in all scripts."""
    return all((stream.encoding or "utf-8").lower() in ("utf-8", "utf8") for stream in streams)


def _hurry() -> None:
    """Have a short process spend less on collecting garbage: measured, 45 of the 220 ms of a call.

    The modules of gRPC and protobuf make tens of thousands of objects that live to the end, and Python looks through
    all of them again and again while they are loaded, and once more when it ends.
    """
    import atexit
    import gc

    gc.set_threshold(10_000, 20, 20)
    atexit.register(gc.freeze)
