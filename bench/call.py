"""What a call through the client costs, as a ratio to a raw grpcio stub in the same run. Run it with `make bench`.

CPU time of the client's process per unary call, against an echo-like server in a process of its own. The variants are
interleaved in small rounds, so that a noisy machine hits all of them; the median round counts.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc

from invora_api.billing.customers.v2 import service_pb2, service_pb2_grpc
from invora_grpc import Invora

ROUNDS = 60
CALLS = 100
FIELDS = {"external_id": "acme", "name": "Acme Trading", "currency": "SAR", "country": "SA", "email": "a@acme.example"}


class _Customers(service_pb2_grpc.CustomerServiceServicer):
    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        return service_pb2.CreateResponse()


def serve() -> None:
    """The server process: prints its port and serves until its standard input ends."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    service_pb2_grpc.add_CustomerServiceServicer_to_server(_Customers(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None)


def variants(address: str) -> dict[str, Callable[[], Any]]:
    """What is compared; the first is the yardstick."""
    channel = grpc.insecure_channel(address)
    stub = service_pb2_grpc.CustomerServiceStub(channel)
    metadata = (("authorization", "Bearer token"), ("x-target-org-id", "org"))
    client = Invora(endpoint=f"http://{address}", token="token", org_id="org")
    create = client.billing.customers.create
    message = service_pb2.CreateRequest(input=service_pb2.CreateCustomerInput(external_id="acme", name="Acme Trading"))
    return {
        "raw stub, ready message": lambda: stub.Create(message, timeout=30, metadata=metadata),
        "client, ready message": lambda: create(message),
        "client, keyword arguments": lambda: create(input=FIELDS),
        "client, from the root each time": lambda: client.billing.customers.create(message),
        "client, for_org each time": lambda: client.for_org("org").billing.customers.create(message),
    }


def measure(calls: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """CPU seconds per call, one figure a round."""
    figures: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(ROUNDS + 3):
        for name, call in calls.items():
            start = time.process_time()
            for _ in range(CALLS):
                call()
            if number >= 3:  # the first rounds warm up
                figures[name].append((time.process_time() - start) / CALLS)
    return figures


def main() -> None:
    """Start the server, measure, print a table."""
    server = subprocess.Popen(
        [sys.executable, __file__, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        figures = measure(variants(f"127.0.0.1:{server.stdout.readline().strip()}"))
    finally:
        server.communicate("")
    base = next(iter(figures.values()))
    print(f"{'CPU per unary call':34} {'µs':>8} {'ratio':>8}")
    for name, values in figures.items():
        ratio = statistics.median(value / raw for value, raw in zip(values, base, strict=True))
        print(f"{name:34} {statistics.median(values) * 1e6:8.1f} {ratio:8.3f}")


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
