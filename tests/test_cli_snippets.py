"""Snippets for other tools: each is run, by the real tool, and what arrives is compared byte for byte."""

from __future__ import annotations

import datetime
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
from certificates import authority
from click.testing import CliRunner
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rest_gateway import Pems, Recorder, Sent, recording
from test_schema_printing import compiled
from values_random import messages
from values_schema import Order

from invora_grpc import Invora
from invora_grpc.catalog import catalog
from invora_grpc.cli.forms import FORMS, snippet_options
from invora_grpc.cli.snippets import Call, call_of, dry_run, planned, text_of
from invora_grpc.cli.snippets_python import arguments, literal
from invora_grpc.cli.sources import AUTO, Source, find_method, rpc_of, source_of
from invora_grpc.cli.targets import Files
from invora_grpc.config import load_settings
from invora_grpc.errors import ConfigError, RequestError
from invora_grpc.reading import to_python
from invora_grpc.schema.descriptors import Schema
from invora_grpc.schema.files import FileSet
from invora_grpc.schema.survey import compiled_schema
from invora_grpc.values import build

PLANS = catalog().service("billing.plans").file
TOKEN = "eyJ-secret.token.x"
KEY = "p4ss-of-another-system"
KINDS = """syntax = "proto3"; package kinds;
import "google/protobuf/duration.proto"; import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto"; import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
enum Colour { COLOUR_UNSPECIFIED = 0; COLOUR_RED = 1; }
message All {
  string text = 1; int64 whole = 2; double real = 3; float small = 4; bool yes = 5; bytes raw = 6; Colour colour = 7;
  repeated int64 numbers = 8; repeated Colour colours = 9; optional string maybe = 10; optional bool told = 11;
  oneof one_of { uint64 big = 12; All inner = 13; } repeated All others = 14;
  google.protobuf.Timestamp at = 20; google.protobuf.Duration span = 21; google.protobuf.FieldMask mask = 22;
  google.protobuf.Struct extra = 23; google.protobuf.BoolValue bool_value = 25;
  google.protobuf.StringValue string_value = 26; google.protobuf.Int64Value int_value = 27;
  repeated google.protobuf.FieldMask masks = 28; map<int32, google.protobuf.FieldMask> mask_of = 29;
}
service Kinds { rpc Collect(stream All) returns (google.protobuf.Empty); }
"""
SHOP = {
    "money.proto": 'syntax = "proto3"; package shop; message Money { int64 units = 1; }',
    "kinds.proto": KINDS,
    "orders.proto": """syntax = "proto3"; package shop; import "money.proto"; import "google/protobuf/timestamp.proto";
message Order { string id = 1; Money price = 2; google.protobuf.Timestamp at = 3; string from = 4; }
service OrderService {
  rpc Place(Order) returns (Order); rpc PlaceAll(stream Order) returns (Order);
  rpc Watch(Order) returns (stream Order); rpc Talk(stream Order) returns (stream Order);
}
""",
}
ARABIC = "شركة الأمل \"للتجارة\" $HOME `id` 'x' \\ \u202e\n\x07é😀"
CALLS: dict[str, tuple[str, Any]] = {
    "an Arabic invoice": (
        "simple.invoices.create",
        {
            "key": "K-1",
            "changes": {
                "issue_at": "2026-03-04T05:06:07.000000008Z",
                "supply_date": datetime.date(2026, 3, 4),
                "buyer": {"inline": {"legal_name": ARABIC, "vat_registration_number": ""}},
                "lines": [{"description": "a", "unit_price": "20.50", "tax": {}}, {"unit_price": "-0.000000001"}],
            },
            "freeze_immediately": True,
        },
    ),
    "a get by a strange id": (
        "billing.plans.get",
        {"id": "a/b ü?&#%2F:x", "read_mask": ["id", "code_name"], "view": 1},
    ),
    "an event with a key of its own": (
        "billing.events.create",
        {
            "event": {
                "transaction_id": "T-1",
                "code": "calls",
                "timestamp": datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, datetime.UTC),
                "properties": {"a": "b"},
            }
        },
    ),
    "nothing at all": ("simple.invoices.list", {}),
    "an answer that streams": ("invoicing.regulation_info.export_artifacts", {}),
}
GRPC_ONLY: dict[str, tuple[str, Any]] = {
    "a stream of answers without REST": ("invoicing.documents.get_stream", {"key": "k"}),
    "streams both ways": ("invoicing.documents.stream_freeze", [{"key": "a"}, {"key": "it's b"}, {}]),
}


@pytest.fixture(scope="module")
def shop() -> FileSet:
    return compiled(SHOP)


@pytest.fixture(scope="module")
def server(shop: FileSet) -> Iterator[Recorder]:
    files: dict[str, FileDescriptorProto] = {**shop.files, **compiled_schema().files.files}
    with recording(files.values(), catalog().methods) as running:
        yield running


def a_call(name: str, values: Any, server: Recorder, source: Source = AUTO, rest: bool = False, **others: Any) -> Call:
    with Invora(endpoint=server.url, token=TOKEN) as client:
        method = find_method(name, source, client)
    settings = load_settings(endpoint=server.http if rest else server.url, token=TOKEN, org_id=others.pop("org", None))
    return call_of(method, values, settings, source=source, timeout=20.0, **others)


def run(form: str, text: str, **variables: str) -> None:
    """Run a snippet with the secrets in variables: by a shell, or by the Python that runs the tests."""
    if form == "python":
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()):
            for name, value in {"INVORA_TOKEN": TOKEN, **variables}.items():
                patch.setenv(name, value)
            exec(compile(text, "<snippet>", "exec"), {"__name__": "__main__"})
    else:
        in_a_process(["sh"], text, **variables)


def in_a_process(command: list[str], text: str, **variables: str) -> str:
    """What a program prints that reads the snippet."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("INVORA_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        input=text.encode(),
        capture_output=True,
        env={**own, "PATH": path, "INVORA_TOKEN": TOKEN, "INVORA_CONFIG_DIR": "/nonexistent", **variables},
        timeout=30,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout!r}\n{done.stderr!r}"
    return done.stdout.decode()


def arrived(server: Recorder, form: str, call: Call, **variables: str) -> Sent:
    """What the server got from a snippet, which may hold no secret and nothing that a terminal would obey."""
    server.sent.clear()
    text = text_of(form, call)
    assert TOKEN not in text
    assert KEY not in text
    assert text.replace("\n", "").isprintable()
    run(form, text, **variables)
    (sent,) = server.sent
    return sent


def by_the_client(server: Recorder, call: Call) -> Sent:
    """What the server gets from the command itself."""
    server.sent.clear()
    with Invora(endpoint=server.url, token=TOKEN, org_id=call.settings.org_id) as client:
        method = call.method
        answer = rpc_of(client, method)(call.requests if method.client_streaming else call.requests[0])
        if method.server_streaming:
            list(answer)
    (sent,) = server.sent
    return sent


# --- the same bytes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["curl", "grpcurl", "python"])
@pytest.mark.parametrize("case", [*CALLS, *GRPC_ONLY])
def test_every_snippet_sends_what_the_command_sends(form: str, case: str, server: Recorder) -> None:
    name, values = {**CALLS, **GRPC_ONLY}[case]
    call = a_call(name, values, server, rest=form == "curl", org="org-7")
    if form == "curl" and case in GRPC_ONLY:
        with pytest.raises(RequestError, match="use gRPC"):
            text_of(form, call)
        return
    wanted, sent = by_the_client(server, call), arrived(server, form, call)
    assert (sent.path, sent.requests) == (wanted.path, wanted.requests)
    assert sent.metadata["authorization"] == f"Bearer {TOKEN}"
    assert sent.metadata["x-target-org-id"] == "org-7"
    assert sent.time_remaining is not None
    assert sent.time_remaining < 25.0


@pytest.mark.parametrize("form", ["grpcurl", "python"])
@pytest.mark.parametrize(
    ("kind", "rpc"),
    [
        *(("auto", rpc) for rpc in ("Place", "PlaceAll", "Watch", "Talk")),
        *((kind, "Place") for kind in ("reflection", "descriptors", "proto")),
    ],
)
def test_snippets_say_where_the_schema_comes_from(
    form: str, kind: str, rpc: str, server: Recorder, shop: FileSet, tmp_path: Path
) -> None:
    folder = tmp_path / "it's here"
    folder.mkdir()
    for name, text in SHOP.items():
        (folder / name).write_text(text)
    (folder / "shop.binpb").write_bytes(shop.to_bytes())
    source = {
        "auto": AUTO,
        "reflection": Source("reflection"),
        "descriptors": source_of(descriptors=[str(folder / "shop.binpb")]),
        "proto": source_of(proto=[str(folder)]),
    }[kind]
    one = {"id": "a", "price": {"units": 2**60}, "at": "2026-01-02T03:04:05.000000006Z", "from": "x"}
    call = a_call(
        f"shop.OrderService/{rpc}", [one, {"id": "b"}] if rpc in ("PlaceAll", "Talk") else one, server, source
    )
    wanted, sent = by_the_client(server, call), arrived(server, form, call)
    assert (sent.path, sent.requests) == (f"/shop.OrderService/{rpc}", wanted.requests)


def test_grpcurl_and_python_send_values_of_every_kind(server: Recorder, shop: FileSet) -> None:
    schema = Schema(shop, source="the test")
    method, kind = find_method("kinds.collect", Source("descriptors", schema)), schema.message_class("kinds.All")
    settings_ = load_settings(endpoint=server.url, token=TOKEN)
    requests: list[Any] = []

    @settings(max_examples=80, phases=[Phase.generate], database=None, suppress_health_check=[*HealthCheck])
    @given(message=messages(kind))
    def draw(message: Any) -> None:
        try:
            text_of("grpcurl", call_of(method, [message], settings_))
        except RequestError as error:
            assert re.search("longer duration|zero with a sign|value too large", str(error))
        else:
            requests.append(message)

    draw()
    call = call_of(method, requests, settings_)
    assert len(requests) > 40
    for form in ("grpcurl", "python"):
        assert list(map(kind.FromString, arrived(server, form, call).requests)) == requests


@pytest.mark.parametrize("fields", [{"span": {"seconds": 2**34}}, {"real": -0.0}])
def test_what_grpcurl_would_misread_is_refused(fields: dict[str, Any], server: Recorder) -> None:
    call = a_call("kinds.collect", [fields], server)
    with pytest.raises(RequestError, match="use --python"):
        text_of("grpcurl", call)
    assert arrived(server, "python", call).requests == [call.requests[0].SerializeToString()]


@pytest.mark.parametrize("form", ["curl", "grpcurl", "python"])
def test_a_create_without_a_key_gets_one_that_all_snippets_share(form: str, server: Recorder) -> None:
    call = a_call("billing.events.create", {"event": {"code": "calls"}}, server, rest=form == "curl")
    first, second = arrived(server, form, call), arrived(server, form, call)
    request: Any = type(call.requests[0]).FromString(first.requests[0])
    assert len(request.event.transaction_id) == 36
    assert first.requests == second.requests


def test_an_idempotency_key_becomes_part_of_the_request(server: Recorder) -> None:
    request: Any = a_call("billing.events.create", {"event": {"code": "c"}}, server, key="mine").requests[0]
    assert request.event.transaction_id == "mine"
    with pytest.raises(RequestError, match=r"cannot be the key of simple\.invoices\.freeze"):
        a_call("simple.invoices.freeze", {}, server, key="mine")


@pytest.mark.parametrize("form", ["curl", "grpcurl", "python"])
def test_metadata_travels_and_secret_metadata_by_a_variable(form: str, server: Recorder) -> None:
    headers = (("x-trace", "it's $1"), ("x-api-key", KEY))
    call = a_call("simple.invoices.list", {}, server, rest=form == "curl", headers=headers)
    sent = arrived(server, form, call, X_API_KEY=KEY)
    assert (sent.metadata["x-trace"], sent.metadata["x-api-key"]) == ("it's $1", KEY)


@pytest.mark.parametrize("form", ["grpcurl", "python"])
def test_metadata_of_questions_for_the_schema_goes_with_these_only(form: str, server: Recorder) -> None:
    headers = (("x-trace", "why"), ("x-api-key", KEY))
    call = a_call("shop.OrderService/Place", {}, server, reflect_headers=headers)
    assert not {"x-trace", "x-api-key"} & arrived(server, form, call, X_API_KEY=KEY).metadata.keys()
    assert {("x-trace", "why"), ("x-api-key", KEY)} <= server.questions[-1].items()


@pytest.mark.parametrize("form", ["curl", "grpcurl", "python"])
def test_certificates_are_named_by_their_files(form: str, tmp_path: Path, shop: FileSet) -> None:
    ours = authority()
    key, certificate = ours.issue("localhost", "127.0.0.1")
    pems = Pems(*(str(tmp_path / f"{name}.pem") for name in ("it's ca", "cert", "key")))
    for path, data in ((pems.cacert, ours.pem), (pems.cert, certificate), (pems.key, key)):
        Path(path).write_bytes(data)
    files, method = Files(pems.cacert, pems.cert, pems.key), catalog().method("billing.plans.get")
    with recording(compiled_schema().files.closure([PLANS]).files.values(), [method], pems) as server:
        settings = load_settings(endpoint=server.http if form == "curl" else server.url, token=TOKEN)
        call = call_of(method, {"id": "a"}, settings, files=files, policy="trust")
        assert arrived(server, form, call).requests == [b"\n\x01a"]


def test_metadata_that_a_call_would_refuse_is_in_no_snippet(server: Recorder) -> None:
    with pytest.raises(ConfigError, match="is no key"):
        a_call("simple.invoices.list", {}, server, headers=[('x-token"; touch /tmp/x; "', "v")])


@pytest.mark.parametrize("form", ["grpcurl", "python"])
def test_binary_metadata_travels(form: str, server: Recorder) -> None:
    call = a_call("simple.invoices.list", {}, server, headers=(("x-blob-bin", b"\x00\xff'"),))
    assert arrived(server, form, call).metadata["x-blob-bin"] == b"\x00\xff'"


def test_a_python_snippet_is_a_program_of_its_own(server: Recorder) -> None:
    call = a_call(*GRPC_ONLY["a stream of answers without REST"], server)
    server.sent.clear()
    assert in_a_process([sys.executable, "-"], text_of("python", call)) == "\n\n"
    assert server.sent[0].requests == [call.requests[0].SerializeToString()]


@pytest.mark.parametrize("form", ["curl", "grpcurl"])
def test_a_request_larger_than_an_argument_may_be_is_sent(form: str, server: Recorder) -> None:
    values = {"key": "K", "changes": {"buyer": {"inline": {"legal_name": "it's ü " * 30_000}}}}
    call = a_call("simple.invoices.create", values, server, rest=form == "curl")
    assert arrived(server, form, call).requests == [call.requests[0].SerializeToString()]


@pytest.mark.parametrize("form", ["grpcurl", "python"])
def test_without_a_token_none_is_sent_or_mentioned(form: str, server: Recorder) -> None:
    call = a_call("simple.invoices.list", {}, server, authorized=False)
    assert "authorization" not in arrived(server, form, call).metadata
    assert "TOKEN" not in text_of(form, call)


# --- what a form cannot do ----------------------------------------------------------------------------------------


def test_an_rpc_that_rest_cannot_tell_from_others_gets_no_curl(server: Recorder) -> None:
    call = a_call("billing.alerts.list", {}, server)
    with pytest.raises(RequestError, match="a gateway cannot tell them apart; use gRPC"):
        text_of("curl", call)


def test_sources_that_grpcurl_cannot_read_get_no_grpcurl(server: Recorder, tmp_path: Path) -> None:
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules:\n  - path: inside\n")
    (tmp_path / "inside").mkdir()
    for name, text in SHOP.items():
        (tmp_path / "inside" / name).write_text(text)
    call = a_call("shop.OrderService/Place", {}, server, source_of(proto=[str(tmp_path)]))
    with pytest.raises(RequestError, match="take that with --descriptors"):
        text_of("grpcurl", call)


# --- dry run ------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_sent_and_where(server: Recorder) -> None:
    server.sent.clear()
    headers = (("x-api-key", KEY),)
    name, values = CALLS["a get by a strange id"]
    call = a_call(name, values, server, org="7", headers=headers, where="profile demo, sandbox, organization 7")
    told = dry_run(call)
    for words in (
        "profile demo, sandbox, organization 7",
        "/invora.billing.plans.v2.PlanService/Get (unary)",
        "Bearer ***",
        "x-target-org-id  7",
        "20 s",
        f"{call.requests[0].ByteSize()} bytes",
        "GET /api/v2/billing/plans/a%2Fb%20%C3%BC%3F%26%23%252F%3Ax?readMask=id%2CcodeName",
        "nothing was sent",
    ):
        assert words in told
    assert KEY not in told
    assert TOKEN not in told
    assert server.sent == []


def test_a_dry_run_shows_no_secret_of_the_request_and_no_word_of_a_server_that_a_terminal_obeys(
    server: Recorder,
) -> None:
    call = a_call("simple.invoices.list", {}, server)
    told = dry_run(replace(call, method=replace(call.method, scope="evil\x1b[31m\n"), where="a\x1b[0m"))
    assert told.replace("\n", "").isprintable()
    assert KEY not in dry_run(a_call("invoicing.zatca.initiate_onboarding", {"otp": KEY}, server))


def test_a_dry_run_for_programs_is_plain_json_values(server: Recorder) -> None:
    plan = planned(a_call(*GRPC_ONLY["streams both ways"], server))
    assert (plan["method"], plan["streaming"]) == ("invora.documents.v2.DocumentsService/StreamFreeze", "bidi")
    assert plan["requests"] == [{"key": "a"}, {"key": "it's b"}, {}]
    assert (plan["bytes"], plan["http"], plan["timeout"]) == ([3, 8, 0], None, 20.0)


# --- Python literals ----------------------------------------------------------------------------------------------


def test_python_is_written_as_people_write_it() -> None:
    values = {"name": 'say "x"', "price": Decimal("20.50"), "on": datetime.date(2026, 1, 2), "lines": [{"a": 1}] * 12}
    assert arguments(values) == "\n".join(
        [
            "",
            "    name='say \"x\"',",
            '    price=Decimal("20.50"),',
            "    on=datetime.date(2026, 1, 2),",
            "    lines=[",
            *['        {"a": 1},'] * 12,
            "    ],",
            "",
        ]
    )
    assert arguments({"a": "it's", "b": None}) == 'a="it\'s", b=None'
    assert arguments({"from": 1}) == '{"from": 1}'


@settings(max_examples=150)
@given(message=messages(Order))
def test_literals_are_read_as_what_they_stand_for(message: Any) -> None:
    values = to_python(message)
    again = eval(literal(values), {"datetime": datetime, "Decimal": Decimal})
    assert build(Order, again) == build(Order, values)


@given(text=st.text())
def test_a_text_is_one_line_of_what_a_terminal_shows(text: str) -> None:
    assert literal(text).isprintable()
    assert eval(literal(text)) == text


# --- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_each_form_has_its_option(form: str) -> None:
    seen: list[str | None] = []

    @click.command()
    @snippet_options
    def command(snippet: str | None) -> None:
        seen.append(snippet)

    for arguments_ in ([], [f"--{form.replace('_', '-')}"]):
        assert CliRunner().invoke(command, arguments_).exit_code == 0
    assert seen == [None, form]


@pytest.mark.parametrize("form", ["curl", "grpcurl", "python"])
def test_the_command_prints_what_it_would_send_and_sends_nothing(form: str, server: Recorder) -> None:
    arguments_ = ["simple.invoices.create", "key=K-1", "changes.lines[0].unit_price=20.50"]
    variables = {"INVORA_ENDPOINT": server.http if form == "curl" else server.url, "INVORA_ORG_ID": "org-7"}
    command = [sys.executable, "-m", "invora_grpc.cli", "call", *arguments_]
    server.sent.clear()
    text = in_a_process([*command, f"--{form}"], "", **variables)
    assert server.sent == []
    assert TOKEN not in text
    run(form, text)
    in_a_process(command, "", **{**variables, "INVORA_ENDPOINT": server.url})
    snippet, call = server.sent
    assert (snippet.path, snippet.requests) == (call.path, call.requests)
    assert snippet.metadata["x-target-org-id"] == call.metadata["x-target-org-id"] == "org-7"
