"""`invora watch`: what changed between calls, and streams as they come."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import forked
import grpc
import pytest
from gateway import Gateway, abort, empty, in_turn

from invora_grpc.catalog import catalog

LIST = "simple.invoices.list"
STREAM = "invoicing.documents.list_stream"


def command(gateway: Gateway, *arguments: str) -> dict[str, Any]:
    """What starts the process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INVORA_")}
    environment |= {"INVORA_ENDPOINT": gateway.url, "INVORA_TOKEN": "t0k3n"}
    return {"args": [sys.executable, "-m", "invora_grpc.cli", "watch", *arguments], "env": environment, "text": True}


def watch(gateway: Gateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forked.run("watch", "--interval", "0.1", *arguments, environment=command(gateway)["env"])


def invoices(**buyers: str) -> Any:
    """A page of invoices: key and buyer."""
    page = empty(LIST)
    for key, buyer in buyers.items():
        page.items.add(id={"key": key}, buyer_name=buyer)
    return page


def answering(gateway: Gateway, *answers: Any) -> None:
    gateway.answers[catalog().method(LIST).path] = in_turn(*answers)


def test_only_what_changed_is_shown_after_the_first_answer(gateway: Gateway) -> None:
    same = invoices(A="old", B="قديم")
    answering(gateway, same, same, invoices(C="x", A="old", B="جديد"))
    result = watch(gateway, LIST, "--count", "4")
    assert (result.returncode, result.stderr) == (0, "")
    first, _, rest = result.stdout.partition("\n}\n")
    assert json.loads(first + "}")["items"][0]["id"]["key"] == "A"
    assert [line.split(" ", 1)[1] for line in rest.splitlines()] == [
        '+ items[id.key=C]: {"id": {"key": "C"}, "buyer_name": "x"}',
        '~ items[id.key=B].buyer_name: "قديم" → "جديد"',
    ]
    assert len(gateway.received) == 4


def test_machines_get_one_json_line_for_each_change(gateway: Gateway) -> None:
    answering(gateway, invoices(A="old"), invoices(A="new"))
    result = watch(gateway, LIST, "--count", "2", "-o", "json", "--query", "items[0]")
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["answer"] == {"id": {"key": "A"}, "buyer_name": "old"}
    assert second["changes"] == [{"path": "buyer_name", "before": "old", "after": "new"}]


def test_the_watch_ends_when_its_condition_holds(gateway: Gateway) -> None:
    answering(gateway, invoices(A="old"), invoices(A="new"), invoices(A="newer"))
    assert watch(gateway, LIST, "--until", "items[0].buyer_name == 'new'").returncode == 0
    assert len(gateway.received) == 2


def test_a_failure_that_passes_is_shown_once_and_the_watch_goes_on(gateway: Gateway) -> None:
    broken = abort(grpc.StatusCode.INTERNAL, "broken")
    answering(gateway, invoices(A="old"), broken, broken, invoices(A="new"))
    lines = watch(gateway, LIST, "--count", "4", "-o", "json").stdout.splitlines()
    assert [json.loads(line).get("error", {}).get("code") for line in lines] == [None, "INTERNAL", None, None]
    assert json.loads(lines[2])["answering"] is True
    assert json.loads(lines[3])["changes"][0]["after"] == "new"


def test_a_failure_that_stays_ends_the_watch_with_its_exit_code(gateway: Gateway) -> None:
    answering(gateway, invoices(A="old"), abort(grpc.StatusCode.PERMISSION_DENIED, "no more"))
    result = watch(gateway, LIST)
    assert result.returncode == 64 + grpc.StatusCode.PERMISSION_DENIED.value[0]
    assert "no more" in result.stderr


def test_the_first_call_must_succeed(gateway: Gateway) -> None:
    answering(gateway, abort(grpc.StatusCode.NOT_FOUND, "nothing"))
    assert watch(gateway, LIST).returncode == 64 + grpc.StatusCode.NOT_FOUND.value[0]
    assert len(gateway.received) == 1


def test_machines_get_errors_as_json_too(gateway: Gateway) -> None:
    answering(gateway, abort(grpc.StatusCode.NOT_FOUND, "nothing"))
    assert json.loads(watch(gateway, LIST, "-o", "json").stderr)["error"]["status"] == "NOT_FOUND"


def test_what_may_change_something_is_not_repeated_unasked(gateway: Gateway) -> None:
    result = watch(gateway, "simple.invoices.freeze", "key=A")
    assert (result.returncode, gateway.received) == (2, [])
    assert "--yes" in result.stderr
    assert watch(gateway, "simple.invoices.freeze", "key=A", "--yes", "--count", "2").returncode == 0
    assert len(gateway.received) == 2


@pytest.mark.parametrize("option", ["--query", "--until"])
def test_an_expression_that_is_none_is_refused_before_anything_is_sent(gateway: Gateway, option: str) -> None:
    result = watch(gateway, LIST, option, "items[")
    assert (result.returncode, gateway.received) == (2, [])
    assert "JMESPath" in result.stderr


def test_a_stream_is_shown_while_it_comes_and_has_no_deadline(gateway: Gateway) -> None:
    shown, remaining = threading.Event(), []

    def messages(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        remaining.append(context.time_remaining())
        message = empty(STREAM)
        message.initial.total_count = 1
        yield message
        assert shown.wait(20), "the first message must be on the screen before the second is sent"
        message.initial.total_count = 2
        yield message

    gateway.streams[catalog().method(STREAM).path] = messages
    options = command(gateway, STREAM, "--query", "initial.total_count")
    with subprocess.Popen(**options, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        shown.set()
        second = process.stdout.readline()
        assert process.stdout.read() == ""
    assert process.returncode == 0
    assert [line.split()[1] for line in (first, second)] == ["1", "2"]
    assert remaining[0] is None or remaining[0] > 1e6


def test_a_stream_ends_after_as_many_messages_as_asked(gateway: Gateway) -> None:
    def forever(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        while context.is_active():
            yield empty(STREAM)

    gateway.streams[catalog().method(STREAM).path] = forever
    result = watch(gateway, STREAM, "--count", "3", "-o", "json")
    assert result.returncode == 0
    assert [json.loads(line)["message"] for line in result.stdout.splitlines()] == [{}, {}, {}]
