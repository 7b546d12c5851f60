"""The work of `invora bench`: many calls by a few threads, each timed; and what the times say.

Percentiles are by nearest rank, so that each is a time that was measured. Failed calls have times of their own and are
not in the percentiles: a server that refuses quickly is not fast.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from invora_grpc.call import bind
from invora_grpc.call import request as built
from invora_grpc.catalog import Method
from invora_grpc.cli.failures import EXIT_STATUS
from invora_grpc.cli.guard import check
from invora_grpc.cli.output import dumps
from invora_grpc.cli.repeating import refuse_writes
from invora_grpc.cli.requests import read_request
from invora_grpc.cli.sources import Source, find_method, rpc_of
from invora_grpc.errors import one_line
from invora_grpc.status import RpcError

if TYPE_CHECKING:
    from invora_grpc.cli.options import Target

__all__ = ["Measured", "Plan", "percentile", "work"]

PERCENTILES: Final = (50, 75, 90, 95, 99)
_BARS: Final = 10
_BAR: Final = 40
"""Characters of the longest bar."""
_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to call."""

    calls: int
    workers: int
    warm_up: int
    machine: bool
    """Whether to print JSON."""
    yes: bool
    """Whether to repeat also what may change something."""


@dataclass(slots=True)
class Measured:
    """What came of it."""

    times: list[float] = field(default_factory=list)
    """Seconds of each call that was answered."""
    failures: Counter[str] = field(default_factory=Counter)
    """Status → how often."""
    codes: dict[str, int] = field(default_factory=dict)
    """Status → its number."""
    first: str = ""
    """The words of the first failure."""
    messages: int = 0
    """Of streams of the server."""
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def calls(self) -> int:
        """Answered and failed ones."""
        return len(self.times) + self.failures.total()

    @property
    def exit_code(self) -> int:
        """0 if all were answered, else that of the most frequent failure; 130 after Ctrl-C."""
        if self.interrupted:
            return _INTERRUPTED
        return EXIT_STATUS + self.codes[self.failures.most_common(1)[0][0]] if self.failures else 0


def work(name: str, fields: tuple[str, ...], data: str | None, plan: Plan, source: Source, target: Target) -> int:
    """Measure and print; the exit code. Raises InvoraError, also for a warm-up that fails."""
    with target.open() as client:
        method = find_method(name, source, client)
        call = _call(method, read_request(method, data, fields), rpc_of(client.with_options(retry=False), method))
        refuse_writes(method, plan.yes)
        check(target, method, plan.yes)
        for _ in range(plan.warm_up):
            call()
        measured = measure(call, plan.calls, plan.workers)
    where = target.describe()
    click.echo(
        _json(method, where, plan, measured) if plan.machine else "\n".join(_text(method, where, plan, measured))
    )
    return measured.exit_code


def _call(method: Method, given: Any, rpc: Any) -> Callable[[], int]:
    """One call, which returns how many messages came. Raises RequestError for a request that does not fit."""
    binding = bind(method)
    messages = [built(binding, one, {}) for one in (given if method.client_streaming else [given])]

    def call() -> int:
        answer = rpc(iter(messages) if method.client_streaming else messages[0])
        return sum(1 for _ in answer) if method.server_streaming else 1

    return call


def measure(call: Callable[[], int], calls: int, workers: int) -> Measured:
    """Make so many calls, so many at a time. Ends early with Ctrl-C, and with an error that is no status."""
    measured, lock, numbers, errors = Measured(), threading.Lock(), itertools.count(), list[BaseException]()
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set() and next(numbers) < calls:
            began = time.perf_counter()
            try:
                count = call()
            except RpcError as error:
                with lock:
                    measured.failures[error.code.name] += 1
                    measured.codes[error.code.name] = error.code.value[0]
                    measured.first = measured.first or one_line(str(error))
            except BaseException as error:
                errors.append(error)
                stop.set()
            else:
                took = time.perf_counter() - began
                with lock:
                    measured.times.append(took)
                    measured.messages += count

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(workers, calls))]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        measured.interrupted = True
        stop.set()
    measured.seconds = time.perf_counter() - began
    if errors:
        raise errors[0]
    return measured


def percentile(times: Sequence[float], percent: float) -> float:
    """The smallest of the sorted times that this part of all does not exceed (nearest rank)."""
    return times[max(math.ceil(len(times) * percent / 100) - 1, 0)]


# --- telling ------------------------------------------------------------------------------------------------------


def _figures(times: Sequence[float]) -> dict[str, float]:
    """Milliseconds by name; nothing if no call was answered."""
    if not times:
        return {}
    ranks = {f"p{percent}": percentile(times, percent) for percent in PERCENTILES}
    found = {"fastest": times[0], **ranks, "slowest": times[-1], "mean": sum(times) / len(times)}
    return {name: round(value * 1000, 3) for name, value in found.items()}


def _json(method: Method, where: str, plan: Plan, measured: Measured) -> str:
    statuses = {"OK": len(measured.times), **measured.failures}
    whole: dict[str, Any] = {
        "method": method.full_name,
        "target": where,
        "calls": measured.calls,
        "workers": plan.workers,
        "seconds": round(measured.seconds, 3),
        "rate": round(measured.calls / measured.seconds, 1) if measured.seconds else None,
        "milliseconds": _figures(sorted(measured.times)),
        "statuses": {name: count for name, count in statuses.items() if count},
    }
    if method.server_streaming:
        whole["messages"] = measured.messages
    if measured.first:
        whole["first_failure"] = measured.first
    return dumps(whole)


def _text(method: Method, where: str, plan: Plan, measured: Measured) -> Iterator[str]:
    times = sorted(measured.times)
    yield f"{method.attribute}: {measured.calls} call{'s' * (measured.calls != 1)}, {plan.workers} at a time; {where}"
    rate = measured.calls / measured.seconds if measured.seconds else 0.0
    stream = f", {measured.messages} message{'s' * (measured.messages != 1)}" if method.server_streaming else ""
    yield f"{measured.seconds:.2f} s, {rate:.1f} calls per second{stream}"
    yield ""
    for name, value in _figures(times).items():
        yield f"  {name:<8} {value:>10.2f} ms"
    if times:
        yield ""
        yield from _histogram(times)
    yield ""
    for name, count in {"OK": len(times), **measured.failures}.items():
        if count:
            yield f"  {name:<20} {count}"
    if measured.first:
        yield f"  first failure: {measured.first}"


def _histogram(times: Sequence[float]) -> Iterator[str]:
    """How many calls took how long, in equal steps from the fastest to the slowest."""
    low, step = times[0], (times[-1] - times[0]) / _BARS
    counts = Counter(min(int((one - low) / step), _BARS - 1) if step else 0 for one in times)
    most = max(counts.values())
    for bar in range(_BARS if step else 1):
        count = counts[bar]
        yield f"  {(low + step * (bar + 1)) * 1000:>8.2f} ms {count:>7}  {'■' * round(_BAR * count / most)}".rstrip()
