"""All six cases, every parent, both kinds of customers, by the wire. Run it with `make demo-zatca`.

It ends with a table of every document and with the chain of each tenant; the exit code is 1 if anything is not final,
a QR code is wrong, or a chain is broken.
"""

from __future__ import annotations

import sys
import time

import case1
import case2
import case3
import case4
import case5
import case6
from scene import Scene, on_stage, table

from invora_grpc.zatca import Role, check_chain

TITLES = ("case", "customer", "leg", "seller → buyer", "tenant", "type", "status", "counter", "number", "QR")


def listed(scene: Scene) -> str:
    """Every document, in the order of issue."""
    rows: list[tuple[str, ...]] = []
    for row in scene.rows:
        issued = row.issued
        document = (
            str(row.type_code),
            issued.status,
            str(issued.counter),
            issued.number,
            "verified" if row.checked else "WRONG",
        )
        told = document if row.xml else ("–", issued.status, "–", "–", "–")
        rows.append((row.case, row.customer, row.leg, row.parties, row.role.upper() if row.xml else "–", *told))
    return table(TITLES, rows)


def chains(scene: Scene) -> list[tuple[str, ...]]:
    """Of each tenant: how many documents its branch has issued on both surfaces, and whether their chain is whole."""
    told: list[tuple[str, ...]] = []
    for role in (Role.P, Role.SP):
        rows = [row for row in scene.rows if row.role is role and row.xml]
        breaks = check_chain([row.xml for row in rows])
        counters = [row.issued.counter for row in rows]
        verdict = "; ".join(f"{one.kind}: {one.text}" for one in breaks) or "unbroken"
        told.append((role.upper(), scene.branches[role], str(len(rows)), f"{min(counters)}–{max(counters)}", verdict))
    return told


def main() -> int:
    """The exit code."""
    began = time.monotonic()
    with on_stage() as scene:
        for case in (case1, case2, case3, case4, case5, case6):
            case.run(scene)
    whole = chains(scene)
    print(f"\n{listed(scene)}\n")
    print(table(("tenant", "branch", "documents", "counters", "chain"), whole))
    wrong = [row for row in scene.rows if not row.issued.valid or (row.xml and not row.checked)]
    broken = [chain for chain in whole if chain[-1] != "unbroken"]
    print(f"\n{len(scene.rows)} legs, {len(wrong)} not final or with a wrong QR code, {len(broken)} chains broken")
    print(f"{time.monotonic() - began:.1f} seconds")
    return 1 if wrong or broken else 0


if __name__ == "__main__":
    sys.exit(main())
