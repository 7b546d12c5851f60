"""What it costs to begin: imports, the first call, and memory. Each figure comes from a fresh Python process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping

from call import Figures, serving

_SCRIPTS: Mapping[str, str] = {
    "nothing (python -c pass)": "",
    "import invora_grpc": "import invora_grpc",
    "import grpc": "import grpc",
    "client tree, one service": (
        "from invora_grpc import Invora\n"
        "from invora_grpc.call import bind\n"
        "bind(Invora(endpoint='http://' + address, token='token').simple.invoices.get.method)"
    ),
    "raw stub, first call": (
        "import grpc\n"
        "from invora_api.simple.invoices.v1 import models_pb2, service_pb2_grpc\n"
        "stub = service_pb2_grpc.SimpleInvoiceServiceStub(grpc.insecure_channel(address))\n"
        "stub.Get(models_pb2.GetRequest(key='K'), timeout=30)"
    ),
    "client, first call": (
        "from invora_grpc import Invora\n"
        "Invora(endpoint='http://' + address, token='token').simple.invoices.get(key='K')"
    ),
    "async client, first call": (
        "import asyncio\n"
        "from invora_grpc import AsyncInvora\n"
        "async def main():\n"
        "    async with AsyncInvora(endpoint='http://' + address, token='token') as client:\n"
        "        await client.simple.invoices.get(key='K')\n"
        "asyncio.run(main())"
    ),
}
_OVER = ("client tree, one service", "import grpc")
"""What the tree costs to one who has imported grpc: the difference of these two, round by round."""
_FRAME = """
import sys, time
address = sys.argv[1]
begun, used = time.perf_counter(), time.process_time()
{}
took = [(time.perf_counter() - begun) * 1e3, (time.process_time() - used) * 1e3]
import json, resource  # afterwards: half of what the standard library's modules load is shared with what is measured
try:  # the kernel's own count: getrusage remembers what the process was before exec
    peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([*took, peak]))
"""


def results(rounds: int = 15) -> dict[str, Figures]:
    """Milliseconds of wall and CPU time after the interpreter's own start, and peak MiB, as medians."""
    taken: dict[str, list[list[float]]] = {name: [] for name in _SCRIPTS}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with serving() as address:
        for number in range(rounds + 1):
            for name, script in _SCRIPTS.items():
                command = [sys.executable, "-c", _FRAME.format(script), address]
                answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
                if number:  # the first round writes byte code and fills caches
                    taken[name].append(json.loads(answer.stdout))
    table: Figures = {}
    for name, figures in taken.items():
        wall, cpu, memory = (statistics.median(column) for column in zip(*figures, strict=True))
        table[name] = {"ms": wall, "cpu_ms": cpu, "peak_mib": memory}
    for place, key in enumerate(("ms", "cpu_ms")):
        more, less = ([figures[place] for figures in taken[name]] for name in _OVER)
        differences = [one - other for one, other in zip(more, less, strict=True)]
        table.setdefault(" over ".join(_OVER), {})[key] = statistics.median(differences)
    return {"start": table}


if __name__ == "__main__":
    for title, figures in results().items():
        print(title)
        for name, figure in figures.items():
            print(f"  {name:40}", *(f"{key} {value:7.1f}" for key, value in figure.items()))
