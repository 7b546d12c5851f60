"""``python -m invora_grpc.sandbox``: run the sandbox in the foreground."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from invora_grpc.sandbox.seeds import SEEDS
from invora_grpc.sandbox.server import GRPC_PORT, HTTP_PORT, main


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed command line; its names are those of ``main``."""
    parser = argparse.ArgumentParser(
        prog="python -m invora_grpc.sandbox",
        description="Run a gateway and an identity provider on 127.0.0.1, for development and tests.",
    )
    parser.add_argument("--grpc-port", type=int, default=GRPC_PORT, metavar="N", help="default %(default)s, 0: any")
    parser.add_argument("--http-port", type=int, default=HTTP_PORT, metavar="N", help="default %(default)s, 0: any")
    parser.add_argument("--data", default=":memory:", metavar="FILE", help="keep the data there; default in memory")
    parser.add_argument("--seed", choices=SEEDS, default="demo", help="what a new sandbox holds; default %(default)s")
    parser.add_argument("--ready-file", metavar="FILE", help="write addresses and credentials there once it answers")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(**vars(arguments())))
