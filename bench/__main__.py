"""All measurements: a table on standard output, the figures as JSON in build/bench.json. Run it with `make bench`."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

import call
import commands
import schema
import startup
import tenants
import values
import zatca


def main() -> None:
    """Measure, print, write."""
    tables = startup.results() | commands.results() | zatca.results()
    for title, figures in tables.items():
        print(title)
        for name, figure in figures.items():
            print(f"  {name:44}", "  ".join(f"{key} {value:.1f}" for key, value in figure.items()))
    for part in (call.results(), schema.results(), tenants.results(), values.results()):
        tables |= part
        print("\n".join(call.shown(part)), flush=True)
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.system()}
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "build/bench.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"machine": machine, "tables": tables}, indent=2) + "\n", "utf-8")
    print(f"\nwritten to {target}")


if __name__ == "__main__":
    main()
