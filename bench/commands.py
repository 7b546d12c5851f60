"""What it costs to ask the command line: whole processes, from start to end, beside other tools asked the same.

"nothing" and "import grpc" are Python itself, which every command starts with. The tools take the schema of the same
sandbox, by reflection or from a file. Where a command answers from the cache of a gateway, an earlier one filled it.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from call import Figures

from invora_grpc import ClientCredentials

INVORA = [sys.executable, "-c", "import sys\nfrom invora_grpc.cli import main\nsys.exit(main())"]
"""What the installed script `invora` does."""
_CALL = [*INVORA, "call", "simple.invoices.list", "pagination.limit=1"]
SIGNS_IN = "invora call, signs in first"
"""The row whose process has a client's id and secret. All others have a token."""
ROOT = Path(__file__).parent.parent


@contextmanager
def sandbox(folder: Path) -> Iterator[Mapping[str, str]]:
    """A sandbox process on free ports; yields what its ready file says."""
    ready = folder / "ready.json"
    command = [*INVORA, "sandbox", "--grpc-port", "0", "--http-port", "0", "--ready-file", str(ready)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not ready.exists() and process.poll() is None:
            time.sleep(0.05)
        yield json.loads(ready.read_text())
    finally:
        process.terminate()
        process.wait()


def commands(gateway: str, image: Path) -> dict[str, Sequence[str]]:
    """What is measured, by its name in the table."""
    url = f"http://{gateway}"
    buf = ["buf", "curl", "--list-methods"]
    return {
        "nothing (python -c pass)": [sys.executable, "-c", "pass"],
        "import grpc": [sys.executable, "-c", "import grpc"],
        "invora --version": [*INVORA, "--version"],
        "invora ls": [*INVORA, "ls"],
        "invora describe RPC": [*INVORA, "describe", "simple.invoices.create"],
        "invora describe MESSAGE": [*INVORA, "describe", "SimpleLine"],
        "invora search": [*INVORA, "search", "vat"],
        "completion, RPC": [*INVORA, "__complete", "--", "call", "simple.invoices."],
        "completion, field": [*INVORA, "__complete", "--", "call", "simple.invoices.create", "changes."],
        "invora ls, cached gateway": [*INVORA, "ls", "--endpoint", url],
        "invora describe, cached gateway": [*INVORA, "describe", "simple.invoices.create", "--endpoint", url],
        "invora call, with a token": [*_CALL, "--endpoint", url],
        SIGNS_IN: [*_CALL, "--endpoint", url],
        "buf curl --list-methods, file": [*buf, "--schema", str(image), url],
        "buf curl --list-methods, reflection": [*buf, "--protocol", "grpc", "--http2-prior-knowledge", url],
        "grpcurl list": ["grpcurl", "-plaintext", gateway, "list"],
    }


def results(rounds: int = 15) -> dict[str, Figures]:
    """Milliseconds of wall and CPU time of each process, as medians."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = folder / "image.binpb"
        subprocess.run(["buf", "build", "-o", str(image)], check=True, cwd=ROOT)
        with sandbox(folder) as ready:
            plain, signed_in = _environments(ready, folder)
            measured = commands(ready["grpc"], image)
            taken: dict[str, list[tuple[float, float]]] = {command: [] for command in measured}
            for number in range(rounds + 1):
                for command, arguments in measured.items():
                    figures = _run(arguments, plain if command == SIGNS_IN else signed_in)
                    if number:  # the first round writes byte code and fills caches
                        taken[command].append(figures)
    table = {
        command: dict(zip(("ms", "cpu_ms"), map(statistics.median, zip(*rows, strict=True)), strict=True))
        for command, rows in taken.items()
    }
    return {"commands": table}


def _environments(ready: Mapping[str, str], folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """That of this process with a sandbox's credentials and caches of its own, and one with a token instead."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    own = {name: value for name, value in own.items() if not name.startswith("INVORA_")}
    own |= {"INVORA_CACHE_DIR": str(folder / "cache"), "INVORA_ISSUER": ready["issuer"]}
    token = ClientCredentials(ready["issuer"], ready["client_id"], ready["client_secret"]).token()
    credentials = {f"INVORA_{name.upper()}": ready[name] for name in ("client_id", "client_secret")}
    return {**own, **credentials}, {**own, "INVORA_TOKEN": token.reveal()}


def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Wall and CPU milliseconds of one process and all that it starts. Ends the program if it fails."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(arguments, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if result.returncode != 0:
        sys.exit(f"{' '.join(arguments)} failed: {result.stderr.decode()}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1e3, used * 1e3


if __name__ == "__main__":
    for name, figure in results()["commands"].items():
        print(f"  {name:44}", "  ".join(f"{key} {value:6.1f}" for key, value in figure.items()))
