"""`invora shell` without a terminal: lines from standard input, run in one process on one connection."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import forked
import pytest
from gateway import Gateway, empty

from invora_grpc.catalog import catalog
from invora_grpc.cli.app import main
from invora_grpc.cli.defaults import Defaults
from invora_grpc.cli.repl import Shell
from invora_grpc.cli.session import running

LIST, GET = "simple.invoices.list", "simple.invoices.get"


def shell(gateway: Gateway, *lines: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INVORA_")}
    environment |= {"INVORA_ENDPOINT": gateway.url, "INVORA_TOKEN": "t0k3n"}
    return forked.run("shell", *options, environment=environment, typed="".join(f"{line}\n" for line in lines))


def listing(gateway: Gateway, *keys: str) -> None:
    """Let the gateway answer with invoices of these keys."""
    page: Any = empty(LIST)
    for key in keys:
        page.items.add(id={"key": key}, buyer_name="شركة")
    gateway.answers[catalog().method(LIST).path] = lambda *_: page


def test_lines_are_commands_and_rpcs_and_all_of_them_go_over_one_connection(gateway: Gateway) -> None:
    listing(gateway, "A")
    peers = set()
    answer = gateway.answers[catalog().method(LIST).path]
    gateway.answers[catalog().method(LIST).path] = lambda request, context: (
        peers.add(context.peer()),
        answer(request, context),
    )[1]
    result = shell(gateway, "# a comment", "", "ls freeze", f"call {LIST}", f"invora call {LIST}", LIST, "exit", LIST)
    assert (result.returncode, len(gateway.received), len(peers)) == (0, 3, 1), result.stderr
    assert "  simple.invoices.freeze\n" in result.stdout


def test_the_last_answer_is_a_line_and_a_value(gateway: Gateway) -> None:
    listing(gateway, "A", "مفتاح 2")
    result = shell(gateway, LIST, "_.items[].id.key", f"{GET} key=_.items[1].id.key", f"{GET} key='_.items'")
    assert (result.returncode, result.stderr) == (0, "")
    assert '[\n  "A",\n  "مفتاح 2"\n]\n' in result.stdout
    assert [one.request.key for one in gateway.received[1:]] == ["مفتاح 2", "_.items"]


def test_what_a_server_sent_becomes_neither_an_option_nor_a_file(gateway: Gateway) -> None:
    listing(gateway, "@/etc/hostname", "--yes")
    assert shell(gateway, LIST, f"{GET} key=_.items[0].id.key").returncode == 0
    assert gateway.received[-1].request.key == "@/etc/hostname"
    for line in (f"{GET} _.items[1].id.key", f"{GET} key=1 --org _.items[1].id.key", f"{GET} -H _.items[0].id.key"):
        sent = len(gateway.received)
        result = shell(gateway, LIST, line)
        assert (result.returncode, len(gateway.received)) == (2, sent + 1), line


def test_what_is_set_holds_for_all_that_follows_until_it_is_written_otherwise(gateway: Gateway) -> None:
    result = shell(gateway, LIST, f"{LIST} --org 2", "org 3", LIST, "org -", LIST, "set", options=("--org", "1"))
    assert result.returncode == 0, result.stderr
    assert [one.metadata.get("x-target-org-id") for one in gateway.received] == ["1", "2", "3", None]
    assert result.stdout.endswith("nothing is set\n")


def test_a_time_limit_can_be_set_and_taken_back(gateway: Gateway) -> None:
    shell(gateway, "set timeout 7", LIST, "unset timeout", LIST)
    assert [round(one.time_remaining or 0, -1) for one in gateway.received] == [10, 30]


def test_what_is_set_is_shown_without_secrets(gateway: Gateway) -> None:
    options = ("-H", "authorization: Bearer abc.def", "-H", "x-trace: 1")
    result = shell(gateway, "set", LIST, options=options)
    assert result.stdout.startswith("header authorization: ***, x-trace: 1\n")
    assert gateway.received[0].metadata["authorization"] == "Bearer abc.def"
    assert gateway.received[0].metadata["x-trace"] == "1"


def test_the_first_line_that_fails_ends_the_shell_with_its_exit_code(gateway: Gateway) -> None:
    result = shell(gateway, LIST, "invora.no.such/Rpc", LIST)
    assert (result.returncode, len(gateway.received)) == (2, 1)
    assert result.stderr.splitlines()[-1] == "stopped at line 2 of the input"


def test_a_line_goes_on_within_quotes_and_after_a_backslash(gateway: Gateway) -> None:
    assert shell(gateway, f"{LIST} -d '{{", '"pagination": {"limit": 3}', "}'", f"{LIST} \\", "-d '{}'").returncode == 0
    assert [one.request.pagination.limit.value for one in gateway.received] == [3, 0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hlep", "did you mean help"),
        ("_", "call something first"),
        ("_[0]", "call something first"),
        ("set client-secret abc", "INVORA_CLIENT_SECRET"),
        ("set header 'authorization: Bearer abc'", "would keep a secret"),
        ("set data {}", "write --data on each line"),
        ("set yes true", "write --yes on each line"),
        ("set timout 5", "did you mean timeout"),
        ("set timeout soon", "is not a valid float"),
        ("set", "nothing is set"),
        ("set timeout 1 2", "set NAME VALUE"),
        ("org 1 2", "org ID"),
        ("org ''", "org"),
        ("shell", "go on in this one"),
        ("ls 'a", "close the '"),
    ],
)
def test_a_line_that_cannot_be_run_says_why(
    line: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVORA_ENDPOINT", "http://127.0.0.1:1")
    with running() as session:
        code = Shell(Defaults(main, {}), session).run(line)
    told = capsys.readouterr()
    assert words in told.out + told.err
    assert (code == 0) == (line == "set")
