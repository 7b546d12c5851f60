"""What it costs to know the gateway's own schema: per call when nothing has drifted, and before the first call.

The clients differ in nothing but their policy and call the same server, in small rounds in turn. "trust, again" is a
second client like the first: how far two equal figures lie apart on this machine.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from call import Figures, _Invoices, compare, serving, shown
from grpc_reflection.v1alpha import reflection

from invora_api.simple.invoices.v1 import models_pb2, service_pb2, service_pb2_grpc
from invora_grpc import AsyncInvora, Invora

POLICIES = {"trust": "trust", "trust, again": "trust", "verify": "verify", "adapt": "adapt"}
COPIES = 5
"""Clients of each policy."""
FIRST_CALL = """
import sys, time
started = time.perf_counter()
from invora_grpc import Invora
with Invora(endpoint=sys.argv[1], token="token", schema=sys.argv[2]) as client:
    client.simple.invoices.get(key="K")
    print((time.perf_counter() - started) * 1e6)
"""


def serve() -> None:
    """The server process, with reflection: prints its port and serves until its standard input ends."""
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1)])
    service_pb2_grpc.add_SimpleInvoiceServiceServicer_to_server(_Invoices(), server)
    names = [service_pb2.DESCRIPTOR.services_by_name["SimpleInvoiceService"].full_name, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None)


def per_call(address: str, rounds: int) -> Figures:
    """Unary calls of the synchronous client, one at a time.

    Two clients of the same policy differ by up to 0.8 %, for where their objects lie in memory: the mean of several.
    """
    get = models_pb2.GetRequest(key="K")
    clients = {
        (name, number): Invora(endpoint=f"http://{address}", token="token", schema=schema)
        for number in range(COPIES)
        for name, schema in POLICIES.items()
    }

    def called(client: Any) -> Callable[[], Any]:
        rpc = client.simple.invoices.get
        return lambda: rpc(get)

    variants = {f"{name} {number}": called(client) for (name, number), client in clients.items()}
    found = compare(variants, "trust 0", rounds, 40)
    for client in clients.values():
        client.close()
    means = {name: statistics.mean(found[f"{name} {number}"]["us"] for number in range(COPIES)) for name in POLICIES}
    return {name: {"us": mean, "ratio": mean / means["trust"]} for name, mean in means.items()}


def concurrent(address: str, rounds: int, count: int = 32) -> Figures:
    """Calls of the asynchronous client, `count` of them under way at once."""
    loop = asyncio.new_event_loop()
    get = models_pb2.GetRequest(key="K")
    clients = {
        name: AsyncInvora(endpoint=f"http://{address}", token="token", schema=schema)
        for name, schema in POLICIES.items()
    }

    def together(client: Any) -> Callable[[], None]:
        rpc = client.simple.invoices.get

        async def gathered() -> None:
            await asyncio.gather(*(rpc(get) for _ in range(count)))

        return lambda: loop.run_until_complete(gathered())

    figures = compare({name: together(one) for name, one in clients.items()}, "trust", rounds, 4, batch=count)
    for client in clients.values():
        loop.run_until_complete(client.close())
    loop.close()
    return figures


def first_call(address: str, rounds: int) -> Figures:
    """Wall time from the import to the answer of the first call, each time in a new process."""
    cases = {"trust": ("trust", False), "verify, asks": ("verify", False), "verify, from the disk": ("verify", True)}
    figures: dict[str, list[float]] = {name: [] for name in cases}
    with TemporaryDirectory() as kept:
        for number in range(rounds + 1):
            for name, (schema, disk) in cases.items():
                folder = kept if disk else "off"
                took = _first_call(address, schema, folder)
                if number:  # the first round fills the disk's caches, and ours
                    figures[name].append(took)
    ratios = {
        name: statistics.median(a / b for a, b in zip(took, figures["trust"], strict=True))
        for name, took in figures.items()
    }
    return {name: {"us": statistics.median(took), "ratio": ratios[name]} for name, took in figures.items()}


def _first_call(address: str, schema: str, folder: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["INVORA_CACHE_DIR"] = folder
    command = [sys.executable, "-c", FIRST_CALL, f"http://{address}", schema]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def question(address: str, rounds: int) -> Figures:
    """A first call in a process in which everything is loaded: a new client and its connection each time."""

    def one(schema: str) -> Callable[[], None]:
        def run() -> None:
            with Invora(endpoint=f"http://{address}", token="token", schema=schema) as client:
                client.simple.invoices.get(key="K")

        return run

    variants = {"trust": one("trust"), "verify": one("verify")}
    figures: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds * 3 + 2):
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            if number >= 2:
                figures[name].append((time.perf_counter() - start) * 1e6)
    medians = {name: statistics.median(took) for name, took in figures.items()}
    return {name: {"us": took, "ratio": took / medians["trust"]} for name, took in medians.items()}


def results(rounds: int = 61) -> dict[str, Figures]:
    """All comparisons, by the name of their table."""
    with serving(str(Path(__file__).resolve())) as address:
        return {
            "schema, unary, ready": per_call(address, 4 * rounds),
            "schema, async, 32 at once": concurrent(address, rounds),
            "schema, first call of a process, wall": first_call(address, max(5, rounds // 6)),
            "schema, first call of a client, wall": question(address, max(5, rounds // 6)),
        }


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        print("\n".join(shown(results(*map(int, sys.argv[1:])))))
