"""The `invora` command, run as people run it: a process with arguments, standard input, output and exit code."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import forked
import grpc
import pytest
from gateway import abort, running_gateway
from sandbox_fixture import Running

from invora_grpc.catalog import catalog
from invora_grpc.cli.calling import read_request
from invora_grpc.errors import RequestError


def invora(
    *arguments: str, demo: Running | None = None, input: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INVORA_")}
    if demo is not None:
        environment |= {"INVORA_ENDPOINT": f"http://{demo.grpc}", "INVORA_ISSUER": demo.issuer}
        environment |= {"INVORA_CLIENT_ID": demo.client_id, "INVORA_CLIENT_SECRET": demo.client_secret}
    return forked.run(*arguments, environment=environment | variables, typed=input)


def test_ls_keeps_what_the_pattern_names() -> None:
    result = invora("ls", "freeze")
    assert "  simple.invoices.freeze\n" in result.stdout
    assert "customers" not in result.stdout
    assert result.stderr == "6 RPCs in 4 services\n"


def test_ls_of_nothing_says_so() -> None:
    result = invora("ls", "nosuchthing")
    assert (result.returncode, result.stdout) == (1, "")
    assert "'nosuchthing'" in result.stderr


def test_ls_marks_what_is_not_published() -> None:
    assert "invora.simple.invoices.v1.SimpleInvoiceService  [documented]" in invora("ls", "simple.invoices").stdout
    assert "  billing.plans.create_feature  [documented]" in invora("ls", "plans").stdout


@pytest.mark.parametrize(
    ("symbol", "words"),
    [
        ("simple.invoices.freeze", ["POST /api/v1/simple/invoices/{key}/freeze", "scope Invora.Simple", "message"]),
        (
            "invora.simple.invoices.v1.SimpleInvoiceService",
            ["service invora.simple", "rpc Freeze(", "origin: documented"],
        ),
        ("kernel.DecimalValue", ["sfixed32 nanos = 2;"]),
        ("kernel.SortDirection", ["SORT_DIRECTION_ASCENDING = 1;"]),
        ("invora.simple.invoices.v1.SimpleBuyer", ["oneof type {", "string party_key = 1;"]),
    ],
)
def test_describe_shows_a_symbol_as_its_proto(symbol: str, words: list[str]) -> None:
    text = invora("describe", symbol).stdout
    assert [word for word in words if word not in text] == []


def test_describe_of_nothing_suggests_the_nearest() -> None:
    result = invora("describe", "simple.invoices.freeeze")
    assert result.returncode == 2
    assert "did you mean" in result.stderr
    assert "simple.invoices.freeze" in result.stderr


def test_call_takes_fields_and_prints_json(demo: Running) -> None:
    result = invora("call", "billing.customers.create", "input.external_id=a=b", "input.currency=SAR", demo=demo)
    assert json.loads(result.stdout)["customer"]["external_id"] == "a=b"


def test_call_takes_json_from_standard_input(demo: Running) -> None:
    result = invora("call", "simple.invoices.list", "-d", "-", demo=demo, input='{"pagination": {"limit": "2"}}')
    assert result.returncode == 0, result.stderr


def test_call_takes_json_from_a_file(demo: Running, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"filter": {"text_search": "x"}}')
    assert invora("call", "simple.invoices.list", "-d", f"@{tmp_path}/request.json", demo=demo).returncode == 0


def test_a_refused_call_ends_with_64_plus_the_status(demo: Running) -> None:
    result = invora("call", "simple.invoices.get", "key=nothing", demo=demo)
    assert (result.returncode, result.stdout) == (64 + 5, "")
    assert result.stderr.startswith("error: NOT_FOUND /invora.simple.invoices.v1.SimpleInvoiceService/Get: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["simple.invoices.list", "-d", "{"], ["data", "line 1, column 2"]),
        (["simple.invoices.list", "-d", "@/nowhere"], ["@/nowhere", "readable"]),
        (["simple.invoices.list", "-d", "[1]"], ["give one JSON object"]),
        (["simple.invoices.get", "key"], ["'key'", "path=value"]),
        (["simple.invoices.get", "kye=1"], ["kye", "did you mean key?"]),
        (["simple.invoices.list", "--endpoint", "ftp://x"], ["endpoint", "'ftp://x'", "https://host"]),
        (["simple.invoices.create", "changes.lines[1].description=x"], ["changes.lines[1].description", "[0]"]),
    ],
)
def test_bad_input_is_one_line_with_the_way_out(demo: Running, arguments: list[str], words: list[str]) -> None:
    result = invora("call", *arguments, demo=demo)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert [word for word in words if word not in result.stderr] == []


@pytest.mark.parametrize(
    ("rpc", "fields", "words"),
    [
        (
            "simple.invoices.create",
            ["key=order 1"],
            [
                "`invora call simple.invoices.get 'key=order 1'` looks it up",
                "with 'key=order 1' makes no second record",
            ],
        ),
        ("simple.invoices.create", ["changes.currency_code=SAR"], ["`invora call simple.invoices.get key=0"]),
        ("billing.events.create", ["event.transaction_id=T"], ["with event.transaction_id=T makes no second record"]),
        (
            "billing.events.batch_create",
            ["events[0].transaction_id=T", "events[1].transaction_id=U"],
            ["transaction_id=T` looks it up, and so on for 1 more)"],
        ),
        ("simple.invoices.update", ["key=K"], ["(`invora call simple.invoices.get key=K` looks it up)"]),
        ("billing.customers.create", ["input.external_id=a"], ["look at the record before you repeat it"]),
    ],
)
def test_a_write_in_doubt_says_what_to_run(rpc: str, fields: list[str], words: list[str]) -> None:
    with running_gateway() as gateway:
        gateway.answers[catalog().method(rpc).path] = abort(grpc.StatusCode.INTERNAL, "broken")
        result = invora("call", rpc, *fields, "--endpoint", gateway.url, INVORA_TOKEN="t0k3n")
    assert result.returncode == 64 + grpc.StatusCode.INTERNAL.value[0]
    assert result.stderr.startswith("error: outcome unknown") and result.stderr.count("\n") == 1
    assert [word for word in words if word not in result.stderr] == []
    assert "reconcile" not in result.stderr


def test_no_output_shows_a_secret(demo: Running) -> None:
    wrong = invora("call", "simple.invoices.list", demo=demo, INVORA_CLIENT_SECRET="s3cr3t-s3cr3t")
    assert wrong.returncode != 0
    assert "s3cr3t" not in wrong.stdout + wrong.stderr


def request(method: str, data: str | None = None, *fields: str) -> Any:
    return read_request(catalog().method(method), data, fields)


def test_text_becomes_the_type_of_the_field() -> None:
    assert request("simple.invoices.list", None, "pagination.limit=5") == {"pagination": {"limit": 5}}
    frozen = request("simple.invoices.create", None, "freeze_immediately=true")
    assert frozen == {"freeze_immediately": True}
    assert request("simple.invoices.delete", None, "keys=a") == {"keys": ["a"]}


def test_bytes_are_base64() -> None:
    assert request("invoicing.parties.import_", '{"data": "aGk="}') == {"data": b"hi"}
    with pytest.raises(RequestError, match="data: '!' is no base64"):
        request("invoicing.parties.import_", '{"data": "!"}')


def test_numbers_with_a_point_stay_exact() -> None:
    given = request("simple.invoices.create", '{"changes": {"lines": [{"unit_price": 0.1}]}}')
    assert str(given["changes"]["lines"][0]["unit_price"]) == "0.1"


def test_several_objects_in_a_row_are_the_requests_of_a_stream() -> None:
    assert request("invoicing.documents.stream_create", '{"key": "a"} {"key": "b"}') == [{"key": "a"}, {"key": "b"}]
    assert request("invoicing.documents.stream_create", '{"key": "a"}') == [{"key": "a"}]


def test_the_json_form_of_the_guides_is_understood() -> None:
    price = {"units": "200", "nanos": 0}
    given = request("simple.invoices.create", json.dumps({"changes": {"lines": [{"unitPrice": price}]}}))
    assert given == {"changes": {"lines": [{"unitPrice": {"units": 200, "nanos": 0}}]}}
    assert request("simple.invoices.create", None, "changes.supply_date.year=2026")["changes"]["supply_date"] == {
        "year": 2026
    }


@pytest.mark.parametrize(
    ("data", "fields", "words"),
    [
        (None, ("key=1", "key=2"), "key: 'key' is given twice|argument: 'key' is given twice"),
        ('{"key": "a"}', ("key=b",), "is given twice"),
        (None, ("key=1", "key.x=3"), "has a value on its way"),
        (None, ("key[0]=1", "key.x=3"), "has a value on its way"),
        ('"x"', ("key=1",), "has a value on its way"),
        ('{"key": null}', ("key.foo=1",), "has a value on its way"),
        ('{"changes": {"lines": {}}}', ("changes.lines[0].description=3",), "has a value on its way"),
        ("[" * 50_000, (), "is nested too deeply|is no JSON"),
    ],
)
def test_contradictions_are_refused(data: str | None, fields: tuple[str, ...], words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        request("simple.invoices.create", data, *fields)
    assert "\n" not in str(caught.value)


def test_a_whole_number_with_a_point_is_a_whole_number() -> None:
    assert request("simple.invoices.list", '{"pagination": {"limit": 1e1}}') == {"pagination": {"limit": 10}}


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "bom.json").write_bytes(b'\xef\xbb\xbf{"key": "a"}')
    assert request("simple.invoices.get", f"@{tmp_path}/bom.json") == {"key": "a"}


@pytest.mark.parametrize(
    "symbol",
    [
        "invora.billing.webhooks.v2.BillingWebhookEvent",
        "kernel.RemoteFile",
        "org.w3.www.v2000.v09.xmldsig.SignatureType",
    ],
)
def test_describe_finds_types_that_no_rpc_uses(symbol: str) -> None:
    assert f"message {symbol} {{\n" in invora("describe", symbol).stdout


def test_ls_accepts_the_names_that_it_prints() -> None:
    assert "  simple.invoices.create\n" in invora("ls", "simple.invoices.create").stdout
    assert invora("ls", "invora.simple.invoices.v1.SimpleInvoiceService/Create").returncode == 0


def test_a_full_disk_is_one_line() -> None:
    if not Path("/dev/full").exists():
        return
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "invora_grpc.cli", "ls"]
        result = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr


def test_the_deadline_of_a_call_holds_for_streams_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        arguments = ("call", "invoicing.documents.list_stream", "--timeout", "0.5", "--endpoint", endpoint)
        result = invora(*arguments, INVORA_TOKEN="x")
    assert result.returncode == 64 + 4
    assert result.stderr.startswith("error: DEADLINE_EXCEEDED")


def test_a_documented_rpc_is_not_sent_to_a_gateway_that_offers_no_reflection() -> None:
    with running_gateway() as gateway:
        options = ("--endpoint", gateway.url, "--schema", "verify")
        result = invora("call", "simple.invoices.list", *options, INVORA_TOKEN="x")
        assert gateway.received == []
    assert result.returncode == 2
    assert "provisional" in result.stderr
    assert "or `--schema trust` if you have compared them yourself" in result.stderr
