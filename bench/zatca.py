"""Tax documents: how long writing, reading, adding up and checking take, in milliseconds of CPU."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from invora_grpc.zatca.checking import check
from invora_grpc.zatca.document import Address, Document, Line, Party, Reference
from invora_grpc.zatca.totals import totals
from invora_grpc.zatca.typecode import TypeCode
from invora_grpc.zatca.ubl import from_xml, to_xml

Figures = dict[str, dict[str, float]]
ADDRESS = Address("King Fahd Road", "2322", "Al Olaya", "Riyadh", "12214")
SELLER = Party("شركة المنصة", "399999999900003", "CRN", "1010010000", ADDRESS)
BUYER = Party("Salam Services LLC", "399999999800003", address=ADDRESS)
SIZES = (20, 1000)


def summary(count: int) -> Document:
    """A summary invoice of the platform's fees in October, one line for each transaction."""
    lines = tuple(
        Line(
            f"رسوم المنصة Platform fee {number}",
            Decimal(1),
            Decimal("12.345") + number,
            source=Reference(f"T-{number}"),
        )
        for number in range(count)
    )
    return Document(
        TypeCode(summary=True),
        "SUM-1",
        str(uuid.UUID(int=1)),
        datetime(2026, 11, 2, 9, 30, tzinfo=UTC),
        SELLER,
        lines,
        BUYER,
        date(2026, 10, 1),
        date(2026, 10, 31),
    )


def milliseconds(call: Callable[[], Any], rounds: int) -> float:
    """CPU time of one call, the median of several after one that warms up."""
    call()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append((time.process_time() - start) * 1e3)
    return statistics.median(times)


def results(rounds: int = 21) -> dict[str, Figures]:
    """Milliseconds for each step and number of lines, by the name of the table."""
    table: Figures = {}
    for count in SIZES:
        document = summary(count)
        xml = to_xml(document)
        steps: dict[str, Callable[[], Any]] = {
            "totals": lambda document=document: totals(document),
            "build": lambda document=document: to_xml(document),
            "check": lambda xml=xml: check(xml),
            "read": lambda xml=xml: from_xml(xml),
        }
        figures = {name: milliseconds(step, rounds) for name, step in steps.items()}
        table[f"{count:,} lines"] = figures | {"build_and_check": figures["build"] + figures["check"]}
    return {"zatca: documents, ms": table}


def main() -> None:
    """Measure and print."""
    for title, figures in results().items():
        print(title)
        for name, figure in figures.items():
            print(f"  {name:14}", "  ".join(f"{key} {value:.2f}" for key, value in figure.items()))


if __name__ == "__main__":
    main()
