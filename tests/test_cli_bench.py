"""`invora bench`: how many calls are made, how they are counted, and what the times say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from gateway import Gateway, abort, empty, in_turn
from hypothesis import given
from hypothesis import strategies as st

from invora_grpc.call import bind
from invora_grpc.catalog import catalog
from invora_grpc.cli.app import main
from invora_grpc.cli.measuring import percentile

RPC = "billing.customers.get"
PATH = catalog().method(RPC).path


def bench(gateway: Gateway, *arguments: str) -> Result:
    settings: dict[str, str | None] = {name: None for name in os.environ if name.startswith("INVORA_")}
    settings |= {"INVORA_ENDPOINT": gateway.url, "INVORA_TOKEN": "t0k3n", "XDG_CONFIG_HOME": "/nowhere"}
    return CliRunner().invoke(main, ["bench", *arguments], env=settings)


def figures(gateway: Gateway, *arguments: str) -> dict[str, Any]:
    result = bench(gateway, *arguments, "-o", "json")
    found: dict[str, Any] = json.loads(result.stdout)
    return {**found, "exit_code": result.exit_code}


def test_so_many_calls_are_made_and_the_warm_up_is_not_counted(gateway: Gateway) -> None:
    found = figures(gateway, RPC, "external_id=acme", "-n", "25", "-c", "4", "--warm-up", "3")
    assert len(gateway.received) == 28
    assert {call.request.external_id for call in gateway.received} == {"acme"}
    assert (found["calls"], found["statuses"], found["exit_code"]) == (25, {"OK": 25}, 0)


def test_so_many_calls_are_under_way_at_the_same_time(gateway: Gateway) -> None:
    together = threading.Barrier(4)

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        together.wait(20)
        return empty(RPC)

    gateway.answers[PATH] = answer
    assert figures(gateway, RPC, "-n", "8", "-c", "4", "--warm-up", "0")["statuses"] == {"OK": 8}


def test_the_percentiles_are_in_order_and_within_the_times(gateway: Gateway) -> None:
    found = figures(gateway, RPC, "-n", "30")
    times = found["milliseconds"]
    names = ["fastest", "p50", "p75", "p90", "p95", "p99", "slowest"]
    assert [times[name] for name in names] == sorted(times[name] for name in names)
    assert times["fastest"] <= times["mean"] <= times["slowest"]
    assert found["rate"] == pytest.approx(30 / found["seconds"], rel=0.2)


def test_failures_are_counted_by_status_and_tell_the_exit_code(gateway: Gateway) -> None:
    refused, broken = abort(grpc.StatusCode.NOT_FOUND, "gone"), abort(grpc.StatusCode.INTERNAL, "broken")
    gateway.answers[PATH] = in_turn(empty(RPC), broken, refused, refused, empty(RPC))
    found = figures(gateway, RPC, "-n", "5", "-c", "1", "--warm-up", "0")
    assert found["statuses"] == {"OK": 2, "INTERNAL": 1, "NOT_FOUND": 2}
    assert found["exit_code"] == 64 + 5
    assert "broken" in found["first_failure"]


def test_nothing_is_tried_twice(gateway: Gateway) -> None:
    gateway.answers[PATH] = abort(grpc.StatusCode.UNAVAILABLE, "busy")
    assert figures(gateway, RPC, "-n", "3", "--warm-up", "0")["statuses"] == {"UNAVAILABLE": 3}
    assert len(gateway.received) == 3


def test_a_stream_is_measured_to_its_last_message(gateway: Gateway) -> None:
    stream = bind(catalog().method("invoicing.documents.list_stream"))
    gateway.answers[stream.method.path] = lambda request, context: iter([stream.response_class()] * 5)
    found = figures(gateway, "invoicing.documents.list_stream", "-n", "4", "-c", "2")
    assert (found["calls"], found["messages"]) == (4, 20)


def test_what_may_change_something_is_not_repeated_unless_that_is_said(gateway: Gateway) -> None:
    result = bench(gateway, "billing.customers.create", "input.external_id=a", "-n", "2")
    assert (result.exit_code, gateway.received) == (2, [])
    assert "--yes" in result.stderr
    assert bench(gateway, "billing.customers.create", "input.external_id=a", "-n", "2", "--yes").exit_code == 0


def test_the_page_for_people_has_figures_and_a_histogram(gateway: Gateway) -> None:
    result = bench(gateway, RPC, "-n", "20")
    assert result.exit_code == 0
    assert result.stdout.startswith("billing.customers.get: 20 calls, 10 at a time; ")
    assert [
        name for name in ("  p99 ", "calls per second", "■", "  OK                   20") if name not in result.stdout
    ] == []
    assert "t0k3n" not in result.output


def test_ctrl_c_shows_what_was_measured_until_then(gateway: Gateway) -> None:
    many = threading.Event()

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        if len(gateway.received) > 20:
            many.set()
        return empty(RPC)

    gateway.answers[PATH] = answer
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INVORA_")}
    environment |= {"INVORA_ENDPOINT": gateway.url, "INVORA_TOKEN": "t0k3n", "XDG_CONFIG_HOME": "/nowhere"}
    command = [sys.executable, "-m", "invora_grpc.cli", "bench", RPC, "-n", "10000000", "-o", "json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        assert many.wait(30)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (130, "")
    assert 0 < json.loads(out)["calls"] < 10_000_000


@given(st.lists(st.floats(0, 10), min_size=1), st.sampled_from([50, 75, 90, 95, 99]))
def test_a_percentile_is_a_measured_time_that_so_many_do_not_exceed(times: list[float], percent: int) -> None:
    times.sort()
    value = percentile(times, percent)
    assert value in times
    assert sum(one <= value for one in times) >= len(times) * percent / 100
    assert sum(one < value for one in times) < len(times) * percent / 100
