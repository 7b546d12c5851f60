"""`invora record` and `invora replay`: calls kept in a file, made again, and compared; against real gateways."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from gateway import Gateway, abort, running_gateway
from google.rpc.error_details_pb2 import ErrorInfo
from sandbox_fixture import Running

from invora_grpc.call import bind
from invora_grpc.catalog import catalog
from invora_grpc.cli.app import main
from invora_grpc.cli.tape import read

TOKEN = "t0k3n-of-a-test"


def invora(*arguments: object, **variables: str) -> Result:
    """The command in this process, with no settings but these."""
    settings = {name: None for name in os.environ if name.startswith("INVORA_")} | {"XDG_CONFIG_HOME": "/nowhere"}
    settings |= variables
    return CliRunner().invoke(main, [str(one) for one in arguments], env=settings)


def of(running: Running) -> dict[str, str]:
    settings = {"INVORA_ENDPOINT": f"http://{running.grpc}", "INVORA_ISSUER": running.issuer}
    return settings | {"INVORA_CLIENT_ID": running.client_id, "INVORA_CLIENT_SECRET": running.client_secret}


def at(gateway: Gateway) -> dict[str, str]:
    return {"INVORA_ENDPOINT": gateway.url, "INVORA_TOKEN": TOKEN}


def answering(gateway: Gateway, rpc: str, **fields: Any) -> None:
    """Have the gateway answer an RPC with these fields."""
    binding = bind(catalog().method(rpc))
    gateway.answers[binding.method.path] = lambda request, context: binding.response_class(**fields)


def test_a_call_is_printed_as_by_call_and_kept_for_later(demo: Running, tmp_path: Path) -> None:
    file = tmp_path / "list.yaml"
    result = invora("record", file, "billing.customers.list", "pagination.limit=1", **of(demo))
    assert result.exit_code == 0, result.output
    (kept,) = read(file)
    assert kept.method == "invora.billing.customers.v2.CustomerService/List"
    assert (kept.request, kept.status) == ({"pagination": {"limit": 1}}, "OK")
    assert json.loads(result.stdout) == kept.answer
    assert result.stderr == f"recorded in {file}: {kept.method}, OK\n"


def test_a_replay_of_what_has_not_changed_ends_with_0(demo: Running, tmp_path: Path) -> None:
    file = tmp_path / "calls.yaml"
    invora("record", file, "billing.plans.list", **of(demo))
    invora("record", file, "simple.invoices.get", "key=nothing", **of(demo))
    result = invora("replay", file, "--check", **of(demo))
    assert (result.exit_code, result.stderr) == (0, "2 calls, none differs\n")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["same", "same"]


def test_a_replay_of_what_has_changed_ends_with_3_and_names_the_places(tmp_path: Path) -> None:
    file = tmp_path / "calls.yaml"
    with running_gateway() as gateway:
        answering(gateway, "billing.customers.get", customer={"external_id": "acme", "name": "Acme"})
        invora("record", file, "billing.customers.get", "external_id=acme", **at(gateway))
        answering(gateway, "billing.customers.get", customer={"external_id": "acme", "name": "Acme Ltd"})
        result = invora("replay", file, "--check", **at(gateway))
        assert (result.exit_code, result.stderr) == (3, "1 call, 1 differs\n")
        assert result.stdout.splitlines()[1] == '  ~ customer.name: "Acme" → "Acme Ltd"'
        allowed = invora("replay", file, "--check", "--ignore", "customer.name", **at(gateway))
        assert allowed.exit_code == 0
        for_programs = invora("replay", file, "--check", "-o", "json", **at(gateway))
    facts = json.loads(for_programs.stdout)
    assert (facts["ok"], facts["number"]) == (False, 1)
    assert facts["changes"] == [{"path": "customer.name", "before": "Acme", "after": "Acme Ltd"}]


def test_what_may_differ_is_kept_with_the_call(tmp_path: Path) -> None:
    file = tmp_path / "calls.yaml"
    with running_gateway() as gateway:
        answering(gateway, "billing.customers.get", customer={"id": "1", "name": "Acme"})
        invora("record", file, "billing.customers.get", "--ignore", "*.id", **at(gateway))
        answering(gateway, "billing.customers.get", customer={"id": "2", "name": "Acme"})
        assert invora("replay", file, "--check", **at(gateway)).exit_code == 0


def test_another_status_differs_and_another_wording_of_the_same_does_not(tmp_path: Path) -> None:
    file, path = tmp_path / "calls.yaml", catalog().method("billing.customers.get").path
    info = ErrorInfo(reason="GONE", domain="x")
    with running_gateway() as gateway:
        gateway.answers[path] = abort(grpc.StatusCode.NOT_FOUND, "no such thing", info)
        recorded = invora("record", file, "billing.customers.get", **at(gateway))
        assert recorded.exit_code == 64 + 5
        assert read(file)[0].error == {"message": "no such thing", "reason": "GONE"}
        gateway.answers[path] = abort(grpc.StatusCode.NOT_FOUND, "nothing of that name", info)
        assert invora("replay", file, "--check", **at(gateway)).exit_code == 0
        gateway.answers[path] = abort(grpc.StatusCode.NOT_FOUND, "no such thing", ErrorInfo(reason="OTHER"))
        assert "~ reason" in invora("replay", file, "--check", **at(gateway)).stdout
        del gateway.answers[path]
        result = invora("replay", file, "--check", **at(gateway))
    assert result.exit_code == 3
    assert '~ status: "NOT_FOUND" → "OK"' in result.stdout


def test_without_check_answers_are_printed_and_the_first_failure_ends_it(tmp_path: Path) -> None:
    file = tmp_path / "calls.yaml"
    with running_gateway() as gateway:
        answering(gateway, "billing.customers.get", customer={"name": "Acme"})
        for rpc in ("billing.customers.get", "billing.plans.get", "billing.customers.get"):
            invora("record", file, rpc, **at(gateway))
        gateway.answers[catalog().method("billing.plans.get").path] = abort(grpc.StatusCode.NOT_FOUND, "gone")
        before = len(gateway.received)
        result = invora("replay", file, **at(gateway))
        assert len(gateway.received) == before + 2
    assert result.exit_code == 64 + 5
    assert json.loads(result.stdout)["customer"]["name"] == "Acme"
    assert "NOT_FOUND" in result.stderr


def test_a_later_call_can_use_what_an_earlier_one_answered(tmp_path: Path) -> None:
    file = tmp_path / "calls.yaml"
    with running_gateway() as gateway:
        answering(gateway, "billing.customers.list", items=[{"external_id": "acme"}])
        invora("record", file, "billing.customers.list", **at(gateway))
        invora("record", file, "billing.customers.get", "external_id=X", **at(gateway))
        file.write_text(file.read_text().replace("external_id: X", "external_id: ${1.items[0].external_id}"))
        assert invora("replay", file, "--check", **at(gateway)).exit_code == 0
        assert gateway.received[-1].request.external_id == "acme"


def test_streams_are_kept_message_by_message(tmp_path: Path) -> None:
    file = tmp_path / "calls.yaml"
    stream = bind(catalog().method("invoicing.documents.list_stream"))
    with running_gateway() as gateway:
        gateway.answers[stream.method.path] = lambda request, context: iter([stream.response_class()] * 3)
        invora("record", file, "invoicing.documents.list_stream", **at(gateway))
        assert read(file)[0].answer == [{}, {}, {}]
        assert invora("replay", file, "--check", **at(gateway)).exit_code == 0
        gateway.answers[stream.method.path] = lambda request, context: iter([stream.response_class()] * 2)
        assert invora("replay", file, "--check", **at(gateway)).exit_code == 3


def test_the_requests_of_a_stream_are_sent_again(tmp_path: Path) -> None:
    file, data = tmp_path / "calls.yaml", '{"item": {"key": "a"}} {"item": {"key": "b"}}'
    with running_gateway() as gateway:
        result = invora("record", file, "invoicing.documents.stream_create", "-d", data, "--yes", **at(gateway))
        assert result.exit_code == 0, result.output
        assert [one["item"]["key"] for one in read(file)[0].request] == ["a", "b"]
        invora("replay", file, "--yes", **at(gateway))
        first, again = gateway.received
    assert first.request == again.request and len(again.request) == 2


def test_no_secret_gets_into_a_recording_nor_out_of_a_comparison(tmp_path: Path) -> None:
    file = tmp_path / "calls.yaml"
    rpc = "billing.netsuite.create"
    with running_gateway() as gateway:
        answering(gateway, rpc, integration={"client_secret": "pl41n-answer", "name": f"echo {TOKEN}"})
        fields = ("input.client_secret=pl41n-request", "input.name=n")
        recorded = invora("record", file, rpc, *fields, "--yes", **at(gateway))
        assert recorded.exit_code == 0, recorded.output
        text = file.read_text()
        assert [word for word in ("pl41n", TOKEN) if word in text] == []
        assert "${INVORA_SECRET_INPUT_CLIENT_SECRET}" in text
        missing = invora("replay", file, "--check", "--yes", **at(gateway))
        assert missing.exit_code == 2 and "INVORA_SECRET_INPUT_CLIENT_SECRET" in missing.stderr
        answering(gateway, rpc, integration={"client_secret": "an0ther", "name": f"echo {TOKEN}"})
        settings = at(gateway) | {"INVORA_SECRET_INPUT_CLIENT_SECRET": "pl41n-request"}
        again = invora("replay", file, "--check", "--yes", **settings)
        assert again.exit_code == 0, again.output
        assert gateway.received[-1].request.input.client_secret == "pl41n-request"
    assert [word for word in ("pl41n", "an0ther", TOKEN) if word in again.output] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("call: billing.customers.gett", "did you mean"),
        ("call: billing.customers.get\nrequest: {nope: 1}", "call 1: nope"),
        ("call: billing.customers.get\nrequest: [{}]", "write one mapping"),
        ("call: billing.customers.get\nrequest: {external_id: '${7.id}'}", "no earlier call"),
    ],
)
def test_a_recording_that_cannot_be_called_is_refused_in_one_line(
    gateway: Gateway, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "calls.yaml").write_text(text)
    result = invora("replay", tmp_path / "calls.yaml", **at(gateway))
    assert result.exit_code == 2
    assert words in result.stderr and result.stderr.count("\n") == 1
    assert gateway.received == []


def test_a_change_in_production_is_neither_recorded_nor_replayed_unless_that_is_said(tmp_path: Path) -> None:
    file, settings = tmp_path / "calls.yaml", {"INVORA_ENV": "production", "INVORA_TOKEN": TOKEN}
    recorded = invora("record", file, "billing.customers.create", "input.external_id=a", **settings)
    assert (recorded.exit_code, file.exists()) == (2, False)
    file.write_text("call: billing.customers.create\n")
    for result in (recorded, invora("replay", file, **settings)):
        assert result.exit_code == 2 and "give --yes" in result.stderr


def test_a_one_time_secret_is_neither_kept_nor_printed_and_that_is_said(gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "calls.yaml"
    rpc = "identity.connected_business.create_connected_business"
    answering(gateway, rpc, client_id="c", client_secret="t0ld-once")
    recorded = invora("record", file, rpc, "name=Corner", **at(gateway))
    assert recorded.exit_code == 0
    assert json.loads(recorded.stdout) == read(file)[0].answer == {"client_id": "c", "client_secret": "***"}
    note = "note: client_secret is left out as ***; `invora creds save` keeps what is told only once"
    assert note in recorded.stderr
    again = invora("replay", file, **at(gateway))
    assert json.loads(again.stdout)["client_secret"] == "***" and note in again.stderr
    assert "t0ld-once" not in recorded.output + again.output


def test_a_refusal_that_repeats_the_token_does_not_show_it(gateway: Gateway, tmp_path: Path) -> None:
    gateway.answers[catalog().method("billing.customers.get").path] = abort(grpc.StatusCode.INTERNAL, f"of {TOKEN}")
    recorded = invora("record", tmp_path / "calls.yaml", "billing.customers.get", **at(gateway))
    assert recorded.exit_code == 64 + 13 and "of ***" in recorded.stderr
    assert TOKEN not in recorded.output


def test_what_cannot_be_kept_is_not_called(gateway: Gateway, tmp_path: Path) -> None:
    before = len(gateway.received)
    result = invora("record", tmp_path / "gone" / "calls.yaml", "billing.customers.create", **at(gateway))
    assert (result.exit_code, len(gateway.received)) == (1, before)
    assert result.stderr.endswith("calls.yaml': No such file or directory\n") and "Errno" not in result.stderr


def test_a_call_that_is_not_sent_leaves_no_file_behind(tmp_path: Path) -> None:
    file = tmp_path / "calls.yaml"
    settings = {"INVORA_ENDPOINT": "http://127.0.0.1:1", "INVORA_TOKEN": TOKEN}
    assert invora("record", file, "billing.customers.get", "--timeout", "0", **settings).exit_code == 2
    assert not file.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_an_answer_that_could_not_be_kept_is_printed_all_the_same(gateway: Gateway) -> None:
    answering(gateway, "billing.customers.get", customer={"name": "Acme"})
    result = invora("record", "/dev/full", "billing.customers.get", **at(gateway))
    assert (result.exit_code, json.loads(result.stdout)) == (1, {"customer": {"name": "Acme"}})
    assert "No space left on device" in result.stderr


def test_a_recording_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = invora("replay", tmp_path / "calls.yaml")
    assert result.exit_code == 2
    assert "calls.yaml' No such file or directory; make one with `invora record`\n" in result.stderr


def test_nothing_is_added_to_a_file_that_is_no_recording(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "notes.yaml").write_text("my: notes\n")
    result = invora("record", tmp_path / "notes.yaml", "billing.customers.get", **at(gateway))
    assert result.exit_code == 2
    assert (tmp_path / "notes.yaml").read_text() == "my: notes\n"
    assert gateway.received == []
