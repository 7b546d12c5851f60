"""What a call through the client costs: CPU time of the client's process, as a ratio to a raw grpcio stub.

The raw stub stands beside the client in the same process, calls the same server, and sends the same metadata, made by
hand. The variants are interleaved in small rounds, so that a noisy machine hits all of them, and each round gives one
ratio; the median counts. The server runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import grpc

from invora_api.simple.invoices.v1 import models_pb2, service_pb2_grpc
from invora_grpc import AsyncInvora, Invora
from invora_grpc.channel import channel_options
from invora_grpc.config import parse_endpoint

METADATA = (("authorization", "Bearer token"), ("x-target-org-id", "org"))
Figures = dict[str, dict[str, float]]


class _Invoices(service_pb2_grpc.SimpleInvoiceServiceServicer):
    """Answers at once; Freeze refuses with details."""

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        return models_pb2.CreateResponse()

    def Get(self, request: Any, context: grpc.ServicerContext) -> Any:
        return models_pb2.GetResponse()

    def Freeze(self, request: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("grpc-status-details-bin", _DETAILS), ("x-request-id", "r-1")))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "frozen already")


def _details() -> bytes:
    from google.rpc import error_details_pb2, status_pb2

    status = status_pb2.Status(code=9, message="frozen already")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="FROZEN", domain="invora", metadata={"key": "K"}))
    violation = error_details_pb2.BadRequest.FieldViolation(field="key", description="is frozen")
    status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    return status.SerializeToString()


_DETAILS = _details()


def serve(service: service_pb2_grpc.SimpleInvoiceServiceServicer) -> None:
    """The server process: prints its port and serves until its standard input ends."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    service_pb2_grpc.add_SimpleInvoiceServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None)


@contextmanager
def serving(script: str = __file__) -> Iterator[str]:
    """The address of a server in a process of its own: what `script` does when it is told to serve."""
    command = [sys.executable, script, "serve"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield f"127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.communicate("")


# --- what is sent -------------------------------------------------------------------------------------------------


WHEN = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
PRICES = [Decimal("20.50"), Decimal("199.99"), Decimal("0.125")]


def by_hand(key: str) -> Any:
    """An invoice of three lines, as people build it with the generated classes."""
    from google.protobuf.timestamp_pb2 import Timestamp
    from google.type.date_pb2 import Date

    from invora_api.kernel.decimal_pb2 import DecimalValue

    def decimal(value: Decimal) -> Any:
        units = int(value)
        return DecimalValue(units=units, nanos=int((value - units) * 10**9))

    issue_at = Timestamp()
    issue_at.FromDatetime(WHEN)
    lines = [
        models_pb2.SimpleLine(
            description=f"Item {number}",
            quantity=models_pb2.SimpleQuantity(value=decimal(Decimal(number)), unit_code="PCE"),
            unit_price=decimal(price),
            tax=models_pb2.SimpleTax(tax_rate=decimal(Decimal("15"))),
        )
        for number, price in enumerate(PRICES, 1)
    ]
    buyer = models_pb2.SimpleBuyer(
        inline=models_pb2.SimpleInlineBuyer(legal_name="Acme Trading", vat_registration_number="300000000000003")
    )
    changes = models_pb2.ChangeBase(
        issue_at=issue_at, supply_date=Date(year=2026, month=11, day=20), currency_code="SAR", buyer=buyer, lines=lines
    )
    return models_pb2.CreateRequest(key=key, changes=changes)


def as_values() -> dict[str, Any]:
    """The same as plain Python values."""
    return {
        "issue_at": WHEN,
        "supply_date": WHEN.date().replace(day=20),
        "currency_code": "SAR",
        "buyer": {"inline": {"legal_name": "Acme Trading", "vat_registration_number": "300000000000003"}},
        "lines": [
            {
                "description": f"Item {number}",
                "quantity": {"value": Decimal(number), "unit_code": "PCE"},
                "unit_price": price,
                "tax": {"tax_rate": Decimal("15")},
            }
            for number, price in enumerate(PRICES, 1)
        ],
    }


# --- measuring ----------------------------------------------------------------------------------------------------


def compare(
    variants: Mapping[str, Callable[[], Any]],
    base: str,
    rounds: int,
    calls: int,
    batch: int = 1,
    second: str | None = None,
) -> Figures:
    """CPU microseconds per call and its ratio to `base` (and to `second`), in the median of the rounds.

    `calls` runs make a figure; each run makes `batch` calls.
    """
    figures: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for number in range(rounds + 2):
        for name in random.Random(number).sample(names, len(names)):  # none always follows the same other
            run = variants[name]
            start = time.process_time()
            for _ in range(calls):
                run()
            if number >= 2:  # the first rounds warm up
                figures[name].append((time.process_time() - start) / calls / batch * 1e6)
    bases = {"ratio": base} | ({"to our options": second} if second else {})
    return {
        name: {"us": statistics.median(values)}
        | {
            label: statistics.median(one / raw for one, raw in zip(values, figures[other], strict=True))
            for label, other in bases.items()
        }
        for name, values in figures.items()
    }


def _caught(call: Callable[[], Any]) -> None:
    try:
        call()
    except grpc.RpcError:
        return
    raise AssertionError("this call has to fail")


def _read(call: Callable[[], Any]) -> None:
    """A failing call of the raw stub, its code and details read as a careful caller does."""
    try:
        call()
    except grpc.RpcError as error:
        return _read_error(error)
    raise AssertionError("this call has to fail")


async def _error_of(call: Awaitable[Any]) -> Any:
    try:
        await call
    except grpc.RpcError as error:
        return error
    raise AssertionError("this call has to fail")


def _read_error(error: Any) -> None:
    from google.rpc import error_details_pb2, status_pb2

    code, _ = error.code(), error.details()
    packed = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
    for detail in status_pb2.Status.FromString(packed).details:
        for kind in (error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()):
            if detail.Is(kind.DESCRIPTOR):
                detail.Unpack(kind)
    assert code is grpc.StatusCode.FAILED_PRECONDITION


def unary(address: str, rounds: int) -> dict[str, Figures]:
    """Unary calls of the synchronous client, one at a time."""
    target = parse_endpoint(f"http://{address}")
    plain, ours = grpc.insecure_channel(address), grpc.insecure_channel(address, options=channel_options(target))
    raw, tuned = (service_pb2_grpc.SimpleInvoiceServiceStub(channel) for channel in (plain, ours))
    client = Invora(endpoint=target.url, token="token").for_org("org")
    invoices = client.simple.invoices
    get, create = models_pb2.GetRequest(key="K"), by_hand("K")
    sent = {"timeout": 30, "metadata": METADATA}
    values = as_values()
    ready = compare(
        {
            "raw stub, default channel": lambda: raw.Get(get, **sent),
            "raw stub, our channel options": lambda: tuned.Get(get, **sent),
            "client, ready message": lambda: invoices.get(get),
            "client, keyword argument": lambda: invoices.get(key="K"),
            "client, for_org each time": lambda: client.for_org("org").simple.invoices.get(get),
        },
        "raw stub, default channel",
        rounds,
        100,
        second="raw stub, our channel options",
    )
    building = compare(
        {
            "raw stub, built by hand": lambda: raw.Create(by_hand("K"), **sent),
            "client, ready message with key": lambda: invoices.create(create),
            "client, keyword arguments": lambda: invoices.create(key="K", changes=values),
            "client, keyword arguments, key generated": lambda: invoices.create(changes=values),
        },
        "raw stub, built by hand",
        rounds,
        100,
    )
    failing = compare(
        {
            "raw stub, code and details read": lambda: _read(lambda: raw.Freeze(models_pb2.FreezeRequest(), **sent)),
            "client, typed error": lambda: _caught(lambda: invoices.freeze(models_pb2.FreezeRequest())),
        },
        "raw stub, code and details read",
        rounds,
        50,
    )
    client.close()
    return {"unary, ready": ready, "unary, built": building, "unary, failing": failing}


def threads(address: str, rounds: int, count: int) -> Figures:
    """Calls from several threads at once over one channel."""
    raw = service_pb2_grpc.SimpleInvoiceServiceStub(grpc.insecure_channel(address))
    client = Invora(endpoint=f"http://{address}", token="token").for_org("org")
    get = models_pb2.GetRequest(key="K")
    rpc = client.simple.invoices.get

    def together(call: Callable[[], Any]) -> Callable[[], None]:
        def each() -> None:
            for _ in range(20):
                call()

        def run() -> None:
            workers = [threading.Thread(target=each) for _ in range(count)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()

        return run

    figures = compare(
        {
            "raw stub": together(lambda: raw.Get(get, timeout=30, metadata=METADATA)),
            "client": together(lambda: rpc(get)),
        },
        "raw stub",
        rounds,
        2,
        batch=20 * count,
    )
    client.close()
    return figures


def concurrent(address: str, rounds: int, count: int) -> dict[str, Figures]:
    """Calls of the asynchronous client, `count` of them under way at once."""
    loop = asyncio.new_event_loop()

    async def opened() -> tuple[Any, Any, Any, Any]:
        target = parse_endpoint(f"http://{address}")
        raw = service_pb2_grpc.SimpleInvoiceServiceStub(grpc.aio.insecure_channel(address))
        ours = grpc.aio.insecure_channel(address, options=channel_options(target))
        client = AsyncInvora(endpoint=target.url, token="token").for_org("org")
        return raw, service_pb2_grpc.SimpleInvoiceServiceStub(ours), client, ours

    raw, tuned, client, _ = loop.run_until_complete(opened())
    invoices = client.simple.invoices
    get, create, values = models_pb2.GetRequest(key="K"), by_hand("K"), as_values()
    sent = {"timeout": 30, "metadata": METADATA}

    def together(call: Callable[[], Any]) -> Callable[[], None]:
        async def one() -> None:
            await call()

        async def each() -> None:
            await asyncio.gather(*[one() for _ in range(count)])

        return lambda: loop.run_until_complete(each())

    calls = max(1, 64 // count)
    ready = compare(
        {
            "raw stub, default channel": together(lambda: raw.Get(get, **sent)),
            "raw stub, our channel options": together(lambda: tuned.Get(get, **sent)),
            "client, ready message": together(lambda: invoices.get(get)),
        },
        "raw stub, default channel",
        rounds,
        calls,
        batch=count,
        second="raw stub, our channel options",
    )
    building = compare(
        {
            "raw stub, built by hand": together(lambda: raw.Create(by_hand("K"), **sent)),
            "client, ready message with key": together(lambda: invoices.create(create)),
            "client, keyword arguments": together(lambda: invoices.create(key="K", changes=values)),
        },
        "raw stub, built by hand",
        rounds,
        calls,
        batch=count,
    )
    tables = {f"async, {count} at once, ready": ready, f"async, {count} at once, built": building}
    if count == 1:
        freeze = models_pb2.FreezeRequest()

        async def raw_failing() -> None:
            _read_error(await _error_of(raw.Freeze(freeze, **sent)))

        async def client_failing() -> None:
            await _error_of(invoices.freeze(freeze))

        tables["async, failing"] = compare(
            {
                "raw stub, code and details read": together(raw_failing),
                "client, typed error": together(client_failing),
            },
            "raw stub, code and details read",
            rounds,
            calls,
        )
    loop.run_until_complete(client.close())
    return tables


def derived(rounds: int) -> Figures:
    """What it costs to derive a client, without a call."""
    client = Invora(endpoint="http://127.0.0.1:1", token="token")
    return compare(
        {
            "for_org": lambda: client.for_org("org"),
            "with_options(timeout=5)": lambda: client.with_options(timeout=5),
            "for_org, to the RPC": lambda: client.for_org("org").simple.invoices.get,
        },
        "for_org",
        rounds,
        5000,
    )


def results(rounds: int = 41) -> dict[str, Figures]:
    """All comparisons, by the name of their table."""
    tables: dict[str, Figures] = {}
    with serving() as address:
        tables |= unary(address, rounds)
        for count in (1, 8):
            tables[f"threads, {count}"] = threads(address, max(9, rounds // 3), count)
        for count in (1, 32, 256):
            tables |= concurrent(address, max(9, rounds // (1 if count < 256 else 3)), count)
    tables["derived clients"] = derived(9)
    return tables


def shown(tables: Mapping[str, Figures]) -> Sequence[str]:
    """The tables as lines of text."""
    lines = []
    for title, figures in tables.items():
        lines.append(f"\n{title}")
        for name, figure in figures.items():
            rest = "".join(f"  {key} {value:.3f}" for key, value in figure.items() if key not in ("us", "ratio"))
            lines.append(f"  {name:44} {figure['us']:9.1f} µs {figure['ratio']:7.3f}{rest}")
    return lines


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve(_Invoices())
    else:
        print("\n".join(shown(results(*map(int, sys.argv[1:])))))
