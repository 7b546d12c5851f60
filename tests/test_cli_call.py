"""`invora call` as a process: forms of answers, pages, streams, envelopes, errors, and what -v tells."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import forked
import grpc
import pytest
import yaml
from gateway import Gateway, abort, empty, in_turn, running_gateway
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2
from reflected import unused_port

from invora_grpc.catalog import catalog

LIST, GET, CREATE = "billing.customers.list", "simple.invoices.get", "simple.invoices.create"
TOKEN = "t0k3n-of-the-tests"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """One that knows no answers but those that a test gives it."""
    with running_gateway() as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(gateway: Gateway) -> None:
    """No test sees what another one has asked for."""
    gateway.answers.clear()
    gateway.streams.clear()
    gateway.received.clear()


def command(gateway: Gateway, *arguments: str) -> dict[str, Any]:
    """How to start `invora call` as a process, which calls this gateway."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INVORA_")}
    environment |= {"INVORA_ENDPOINT": gateway.url, "INVORA_TOKEN": TOKEN}
    return {"args": [sys.executable, "-m", "invora_grpc.cli", "call", *arguments], "env": environment, "text": True}


def call(gateway: Gateway, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return forked.run("call", *arguments, environment=command(gateway)["env"], typed=typed)


def answers(gateway: Gateway, name: str, *given: Any) -> None:
    """Let an RPC answer this; several in turn."""
    gateway.answers[catalog().method(name).path] = in_turn(*given)


def page(*names: str, cursor: str = "") -> Any:
    """A page of customers."""
    made = empty(LIST)
    for name in names:
        made.items.add(external_id=name)
    if cursor:
        made.next_page_cursor.value = cursor
    return made


def strange(name: str = GET) -> Any:
    """An answer with two fields that the schema does not know: number 7000 with 5, and 7001 with the bytes `hi`."""
    made = empty(name)
    made.MergeFromString(bytes.fromhex("c0b50305cab503026869"))
    return made


# --- forms --------------------------------------------------------------------------------------------------------


def test_an_answer_comes_in_the_form_that_is_asked_for(gateway: Gateway) -> None:
    answers(gateway, LIST, page("acme", "b"))
    assert yaml.safe_load(call(gateway, LIST, "-o", "yaml").stdout) == {
        "items": [{"external_id": "acme"}, {"external_id": "b"}]
    }
    assert call(gateway, LIST, "-o", "table").stdout == "external_id\nacme\nb\n"
    assert call(gateway, LIST, "-o", "text", "--query", "items[].external_id").stdout == "acme\nb\n"


def test_a_bad_query_is_told_before_anything_is_sent(gateway: Gateway) -> None:
    result = call(gateway, CREATE, "--query", "items[")
    assert result.returncode == 2 and "is no JMESPath" in result.stderr
    assert gateway.received == []


def test_fields_take_json_and_files(gateway: Gateway, tmp_path: Any) -> None:
    (tmp_path / "note.txt").write_text("from a file")
    (tmp_path / "lines.yaml").write_text("- unit_price: 20.10\n  description: no\n")
    fields = [f"changes.lines:=@{tmp_path}/lines.yaml", f"key=@{tmp_path}/note.txt", 'changes.currency_code:="SAR"']
    assert call(gateway, CREATE, *fields).returncode == 0
    request = gateway.received[0].request
    price = request.changes.lines[0].unit_price
    assert (request.key, price.units, price.nanos) == ("from a file", 20, 100_000_000)
    assert request.changes.lines[0].description == "no"


# --- pages --------------------------------------------------------------------------------------------------------


def test_all_pages_have_the_form_of_one(gateway: Gateway) -> None:
    answers(gateway, LIST, page("a", "b", cursor="x"), page("c"))
    everything = call(gateway, LIST, "--all")
    assert json.loads(everything.stdout) == {"items": [{"external_id": name} for name in "abc"]}
    answers(gateway, LIST, page("a", "b", "c"))
    assert call(gateway, LIST).stdout == everything.stdout


def test_what_a_list_says_besides_its_items_is_kept(gateway: Gateway) -> None:
    first, last = page("a", cursor="x"), page("b")
    first.total_count, last.total_count = 2, 3
    for one in (first, last):
        one.MergeFromString(bytes.fromhex("c0b50305"))  # field 7000: 5
    unknown = [{"number": 7000, "wire": "varint", "value": 5}]
    whole = {"items": [{"external_id": "a"}, {"external_id": "b"}], "total_count": 3, "@unknown": unknown}
    for form in ((), ("-o", "yaml"), ("--envelope",)):
        answers(gateway, LIST, first, last)
        told = yaml.safe_load(call(gateway, LIST, "--all", *form).stdout)
        assert told.get("response", told) == whole
    answers(gateway, LIST, first)
    cut = call(gateway, LIST, "--max-items", "0", "--query", "total_count")
    assert (json.loads(cut.stdout), gateway.received[6:]) == (None, [])
    answers(gateway, LIST, first, last)
    assert call(gateway, LIST, "--all", "--strict").returncode == 2


def test_no_more_items_come_than_are_wanted(gateway: Gateway) -> None:
    answers(gateway, LIST, page("a", "b", cursor="x"), page("c"))
    result = call(gateway, LIST, "--max-items", "1", "--query", "items[].external_id")
    assert json.loads(result.stdout) == ["a"]
    assert len(gateway.received) == 1


def test_a_list_that_breaks_off_is_no_whole_json(gateway: Gateway) -> None:
    answers(gateway, LIST, page("a", cursor="x"), abort(grpc.StatusCode.PERMISSION_DENIED, "no more"))
    result = call(gateway, LIST, "--all")
    assert result.returncode == 64 + 7
    assert '"external_id": "a"' in result.stdout
    with pytest.raises(json.JSONDecodeError):
        json.loads(result.stdout)


def test_what_is_no_list_has_no_pages(gateway: Gateway) -> None:
    result = call(gateway, GET, "--all")
    assert result.returncode == 2 and "is no list with pages" in result.stderr


# --- streams ------------------------------------------------------------------------------------------------------

STREAM, BOTH = "invoicing.documents.list_stream", "invoicing.documents.stream_freeze"


def three(*_: Any) -> Any:
    """Three messages of a server stream."""
    return iter([empty(STREAM)] * 3)


def test_a_stream_is_a_line_for_each_message(gateway: Gateway) -> None:
    answers(gateway, STREAM, three)
    assert call(gateway, STREAM).stdout == "{}\n{}\n{}\n"
    assert call(gateway, STREAM, "--max-items", "2").stdout == "{}\n{}\n"


def test_requests_of_a_stream_are_sent_as_they_are_typed(gateway: Gateway) -> None:
    def echo(requests: Any, context: Any) -> Iterator[Any]:
        for _ in requests:
            yield empty(BOTH)

    gateway.streams[catalog().method(BOTH).path] = echo
    how = command(gateway, BOTH, "-d", "-")
    with subprocess.Popen(**how, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(3):
            process.stdin.write('{\n "key": "}"\n}\n')
            process.stdin.flush()
            assert process.stdout.readline() == "{}\n"  # before the next one is typed
        process.stdin.close()
        assert process.wait(20) == 0


def test_a_bad_request_in_a_stream_says_what_is_wrong(gateway: Gateway) -> None:
    result = call(gateway, BOTH, "-d", "-", typed='{"key": "a"}\n{"key": }\n')
    assert result.returncode == 2
    assert result.stderr.startswith("error: standard input: ")


def test_ctrl_c_ends_a_stream_quietly_although_input_is_waited_for(gateway: Gateway) -> None:
    def greeting(requests: Any, context: Any) -> Iterator[Any]:
        yield empty(BOTH)
        yield from (empty(BOTH) for _ in requests)

    gateway.streams[catalog().method(BOTH).path] = greeting
    how = command(gateway, BOTH, "-d", "-")
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(**how, **pipes) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "{}\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert "Traceback" not in (said := process.stderr.read()) and "Fatal" not in said


# --- what the schema does not know ----------------------------------------------------------------------------------


def test_unknown_fields_are_shown_with_number_and_bytes(gateway: Gateway) -> None:
    answers(gateway, GET, strange())
    unknown = [{"number": 7000, "wire": "varint", "value": 5}, {"number": 7001, "wire": "bytes", "base64": "aGk="}]
    assert json.loads(call(gateway, GET).stdout) == {"@unknown": unknown}
    assert "field 7001 (bytes): aGk=" in call(gateway, GET, "-o", "text").stderr


def test_strict_makes_unknown_fields_an_error(gateway: Gateway) -> None:
    answers(gateway, GET, strange())
    result = call(gateway, GET, "--strict")
    assert result.returncode == 2
    assert json.loads(result.stdout)["@unknown"][0]["number"] == 7000
    assert "field 7000 (varint): 5" in result.stderr


# --- envelopes ----------------------------------------------------------------------------------------------------


def test_an_envelope_is_one_line_with_everything(gateway: Gateway) -> None:
    answers(gateway, LIST, page("acme"))
    result = call(gateway, LIST, "--envelope", "--org", "931", "pagination.limit=1")
    (line,) = result.stdout.splitlines()
    told = json.loads(line)
    assert told["status"] == {"code": 0, "name": "OK"}
    assert told["response"] == {"items": [{"external_id": "acme"}]}
    assert told["request_metadata"] == {"authorization": "Bearer ***", "x-target-org-id": "931"}
    assert told["sizes"]["request"] == gateway.received[0].request.ByteSize()
    assert told["target"]["organization"] == "931"
    assert told["schema"] == {"source": "the compiled stubs", "origin": "published"}
    assert {"dns", "connect", "token", "first_byte", "total"} <= set(told["timings_ms"])
    assert result.stderr == ""


def test_the_envelope_of_a_failure_has_its_details(gateway: Gateway) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field="changes.lines[0].unitPrice", description="is negative"
    )
    stranger = Packed(type_url="type.googleapis.com/acme.Strange", value=b"hi")
    refusal = abort(
        grpc.StatusCode.INVALID_ARGUMENT, "no", error_details_pb2.BadRequest(field_violations=[violation]), stranger
    )
    answers(gateway, CREATE, refusal)
    result = call(gateway, CREATE, "--envelope", "-d", '{"changes":\n  {"lines": [{"unit_price": 1}]}}')
    told = json.loads(result.stdout)
    assert result.returncode == 64 + 3
    assert told["status"] == {"code": 3, "name": "INVALID_ARGUMENT"}
    assert told["error"]["message"] == "no"
    (found,) = told["error"]["field_violations"]
    assert found["place"] == "-d, line 2, column 15"
    assert "x-request-id" not in told["trailers"] and "grpc-status-details-bin" in told["trailers"]


def test_a_dry_run_with_an_envelope_is_one_line_too(gateway: Gateway) -> None:
    result = call(gateway, GET, "key=a", "--dry-run", "--envelope")
    (line,) = result.stdout.splitlines()
    assert json.loads(line)["requests"] == [{"key": "a"}]
    assert gateway.received == []


def test_an_envelope_comes_also_where_nothing_was_sent(gateway: Gateway) -> None:
    result = call(gateway, GET, "--envelope", "kye=1")
    told = json.loads(result.stdout)
    assert (result.returncode, told["status"], told["error"]["kind"]) == (2, None, "RequestError")
    assert told["error"]["field"] == "kye" and told["error"]["place"] == "argument kye=…"


# --- errors -------------------------------------------------------------------------------------------------------


def test_errors_are_json_for_those_who_want_json(gateway: Gateway) -> None:
    stranger = Packed(type_url="type.googleapis.com/acme.Strange", value=b"hi")
    answers(gateway, GET, abort(grpc.StatusCode.PERMISSION_DENIED, "not\x1b[2J you", stranger))
    result = call(gateway, GET, "key=a", "-o", "json")
    error = json.loads(result.stderr)["error"]
    assert (result.returncode, error["exit_code"], error["status"]) == (71, 71, "PERMISSION_DENIED")
    assert error["scope"] == catalog().method(GET).scope != ""
    assert error["message"] == "not you"
    (detail,) = error["details"]
    assert detail == {"@type": "type.googleapis.com/acme.Strange", "base64": "aGk="}
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (("--endpoint", "ftp://x"), "ConfigError"),
        (("--nope",), "UsageError"),
        (("--timeout", "soon"), "UsageError"),
        (("--timeout", "-1"), "ConfigError"),
        (("--descriptors", "/nowhere"), "DescriptorError"),
        (("-d", "@/nowhere"), "RequestError"),
    ],
)
def test_errors_of_options_are_json_for_those_who_want_json(
    wrong: tuple[str, ...], kind: str, gateway: Gateway
) -> None:
    for form in (["-o", "json"], ["-ojson"], ["--output=json"]):
        result = call(gateway, GET, *wrong, *form)
        error = json.loads(result.stderr)["error"]
        assert (result.returncode, error["kind"], error["exit_code"], result.stdout) == (2, kind, 2, "")
    enveloped = call(gateway, GET, *wrong, "--envelope")
    told = json.loads(enveloped.stdout)
    assert (enveloped.returncode, enveloped.stderr, enveloped.stdout.count("\n")) == (2, "", 1)
    assert (told["status"], told["error"]["kind"], told["error"]["message"]) == (None, kind, error["message"])


def test_a_wrong_command_line_is_one_line_for_people(gateway: Gateway) -> None:
    result = call(gateway, GET, "--zzz")
    assert re.fullmatch(  # the words in front are click's, and change
        r"error: No such option:? '?--zzz'? \(`invora call --help` tells what can be given\)\n", result.stderr
    )


def test_a_hint_is_given_once(gateway: Gateway) -> None:
    answers(gateway, GET, abort(grpc.StatusCode.UNAVAILABLE, "busy; try again later"))
    result = call(gateway, GET, "--timeout", "1")
    assert result.stderr.count("try again later") == 1
    nowhere = call(gateway, GET, "--schema", "verify", "--endpoint", f"http://127.0.0.1:{unused_port()}")
    assert nowhere.stderr.count("Connection refused") == 1
    assert nowhere.stderr.count("nothing listens there") == 1


def test_words_about_tokens_are_no_tokens(gateway: Gateway) -> None:
    answers(gateway, GET, abort(grpc.StatusCode.UNAUTHENTICATED, f"the bearer token, a Bearer {TOKEN}-x, is bad"))
    assert "the bearer token, a Bearer ***, is bad" in call(gateway, GET).stderr


def test_an_empty_request_says_how_to_send_one_without_fields(gateway: Gateway) -> None:
    for words in (["-d", ""], ["-d", "-"]):
        result = call(gateway, GET, *words)
        assert result.returncode == 2
        assert result.stderr == "error: data: '' is empty; write {} for a request without fields\n"
    assert gateway.received == []


def test_people_see_each_field_with_its_place(gateway: Gateway) -> None:
    named = [("changes.lines[0].unit_price", "is negative"), ("changes.buyer", "is required")]
    violations = [error_details_pb2.BadRequest.FieldViolation(field=name, description=why) for name, why in named]
    answers(
        gateway,
        CREATE,
        abort(grpc.StatusCode.INVALID_ARGUMENT, "no", error_details_pb2.BadRequest(field_violations=violations)),
    )
    result = call(gateway, CREATE, "-v", "changes.lines[0].unit_price=-1")
    line, head, first, second = result.stderr[result.stderr.index("error: ") :].splitlines()
    assert line.endswith(": no (correct the request; sent again unchanged it fails again)")
    assert head.split() == ["FIELD", "PROBLEM", "WHERE"]
    assert first.endswith("argument changes.lines[0].unit_price=…")
    assert second.split("  ")[1] == "changes.buyer" and second.endswith("is required")


# --- what -v tells --------------------------------------------------------------------------------------------------


def test_verbose_shows_metadata_and_sizes_but_no_secret(gateway: Gateway) -> None:
    def parrot(request: Any, context: grpc.ServicerContext) -> Any:
        sent = dict(context.invocation_metadata())["authorization"]
        context.send_initial_metadata((("x-heard", str(sent)), ("x-words", f"token={TOKEN}")))
        context.set_trailing_metadata((("x-end", "yes"), ("set-cookie", "s3cr3t")))
        return page("a")

    answers(gateway, LIST, parrot)
    result = call(gateway, LIST, "-v", "-H", "x-trace: 7", "-H", "x-api-key: s3cr3t")
    assert "> authorization: Bearer ***\n" in result.stderr
    assert "> x-trace: 7\n" in result.stderr and "> x-api-key: ***\n" in result.stderr
    assert "< x-heard: Bearer ***\n" in result.stderr and "< x-end: yes\n" in result.stderr
    assert "< OK\n" in result.stderr and "total " in result.stderr
    assert TOKEN not in result.stdout + result.stderr and "s3cr3t" not in result.stderr


def test_verbose_shows_every_try(gateway: Gateway) -> None:
    answers(gateway, LIST, abort(grpc.StatusCode.UNAVAILABLE, "not now"), page("a"))
    result = call(gateway, LIST, "-v")
    assert result.returncode == 0
    assert result.stderr.index("< UNAVAILABLE: not now") < result.stderr.index("< OK")


def test_a_message_that_repeats_the_token_does_not_show_it(gateway: Gateway) -> None:
    answers(gateway, GET, abort(grpc.StatusCode.UNAUTHENTICATED, f"Bearer {TOKEN} is bad, {TOKEN}!"))
    for form in ([], ["-v"], ["-o", "json"], ["--envelope"]):
        result = call(gateway, GET, *form)
        assert result.returncode == 64 + 16
        assert TOKEN not in result.stdout + result.stderr


@pytest.mark.parametrize("own", [(), ("--idempotency-key", "mine"), ("key=mine",)])
def test_who_interrupts_a_create_is_told_how_to_look_it_up(own: tuple[str, ...], gateway: Gateway) -> None:
    come, over = threading.Event(), threading.Event()

    def wait(request: Any, context: Any) -> Any:
        come.set()
        over.wait(20)
        return empty(CREATE)

    answers(gateway, CREATE, wait)
    with subprocess.Popen(**command(gateway, CREATE, *own), stderr=subprocess.PIPE) as process:
        assert process.stderr is not None and come.wait(20)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        (line,) = process.stderr.read().splitlines()
    over.set()
    key = gateway.received[0].request.key
    assert key == "mine" if own else len(key) == 36
    assert line.startswith(f"interrupted: it may have been carried out; `invora call {GET} key={key}` looks it up")


def test_the_key_of_a_create_can_be_given_as_an_option(gateway: Gateway) -> None:
    assert call(gateway, CREATE, "--idempotency-key", "order-7", "changes.currency_code=SAR").returncode == 0
    assert gateway.received[0].request.key == "order-7"


# --- odd streams --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_letters_that_a_terminal_has_not_are_escaped_and_the_answer_is_whole(encoding: str, gateway: Gateway) -> None:
    answers(gateway, LIST, page("شركة", "😀", "é"))
    how = command(gateway, LIST)
    how["env"]["PYTHONIOENCODING"] = encoding
    ended = subprocess.run(**how | {"text": False}, check=True, capture_output=True, timeout=60)
    told = json.loads(ended.stdout.decode(encoding))
    assert [one["external_id"] for one in told["items"]] == ["شركة", "😀", "é"]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_keep_no_call_from_being_made(closed: str, gateway: Gateway) -> None:
    how = command(gateway, CREATE)
    line = f"{shlex.join(how['args'])} {closed}"
    ended = subprocess.run(
        ["bash", "-c", line], env=how["env"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr, len(gateway.received)) == (0, "", 1)
