"""`invora ls`, `describe`, `search` and `template`: what they show, of which schema, and what they load for it."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import pkgutil
import shlex
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pexpect
import pytest
import yaml
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import given
from hypothesis import strategies as st
from reflected import unused_port
from reflection_server import reflecting
from test_schema_printing import compiled as from_source

import invora_api
from invora_grpc import __version__
from invora_grpc.call import bind
from invora_grpc.catalog import Service, catalog
from invora_grpc.cli import main
from invora_grpc.cli.coercion import coerced
from invora_grpc.cli.lookup import FRESH, Index, Record, compiled, index_path, served
from invora_grpc.cli.protos import described
from invora_grpc.cli.requests import read_request
from invora_grpc.kinds import descriptor_of
from invora_grpc.schema.files import definitions
from invora_grpc.schema.index import render
from invora_grpc.schema.skeleton import as_json, path_variables, skeleton
from invora_grpc.schema.survey import compiled_schema
from invora_grpc.values import build

COMMENTED = """syntax = "proto3"; package shop;
// The message.
message Order { string id = 1; // The field.
}
// The enum.
enum Colour {
  // The value.
  COLOUR_UNSPECIFIED = 0; }
// The service.
service Till {
  // The rpc.
  rpc Pay(Order) returns (Order); }
"""
HEAVY = ("click", "grpc", "google.protobuf", "httpx")
SHOP = """syntax = "proto3";
package shop;
enum Colour { COLOUR_UNSPECIFIED = 0; COLOUR_RED = 1; }
message Order { string id = 1; optional string note = 2; repeated Line lines = 3; map<string, Colour> colours = 4; }
message Line { oneof what { string sku = 1; Order bundle = 2; } int32 count = 3 [deprecated = true]; }
message Receipt { string id = 1; message Inner { bytes proof = 1; } Inner inner = 2; }
service OrderService { rpc Place(Order) returns (Receipt); rpc PlaceAll(stream Order) returns (stream Receipt); }
"""


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command here, with a cache of the test's own: exit code, standard output and error."""
    for name in [name for name in os.environ if name.startswith("INVORA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INVORA_CACHE_DIR", str(tmp_path / "cache"))

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return run


def shop() -> list[FileDescriptorProto]:
    return list(from_source({"shop.proto": SHOP}).files.values())


# --- what is loaded ---


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["ls"],
        ["ls", "invoices"],
        ["describe", "simple.invoices.create"],
        ["describe", "SimpleLine"],
        ["search", "vat"],
        ["__complete", "--", "call", "simple.invoices.create", "changes."],
    ],
    ids=" ".join,
)
def test_what_needs_no_gateway_loads_nothing(arguments: list[str]) -> None:
    assert loaded(arguments) == []


def loaded(arguments: list[str], **variables: str) -> list[str]:
    """Which of the heavy packages a fresh process has loaded that ran this."""
    code = (
        "import sys; from invora_grpc.cli import main; assert main(sys.argv[1:]) == 0\n"
        f"print([name for name in {(*HEAVY, 're', 'typing', 'dataclasses')} if name in sys.modules])"
    )
    environment = {**os.environ, **variables}
    command = [sys.executable, "-c", code, *arguments]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    at_start = subprocess.run(
        [sys.executable, "-c", "import sys; print(list(sys.modules))"], check=True, capture_output=True, text=True
    ).stdout
    last = shown.splitlines()[-1]
    return [name for name in json.loads(last.replace("'", '"')) if repr(name) not in at_start]


def test_version_says_the_version(run: Callable[..., tuple[int, str, str]]) -> None:
    assert run("--version") == (0, f"invora, version {__version__}\n", "")


# --- the compiled schema ---


def test_the_index_knows_every_service_and_rpc_of_the_catalog() -> None:
    index = compiled()
    for service in catalog():
        assert named(index, service.name).attribute == f"{service.module}.{service.area}"
    for method in catalog().methods:
        record = named(index, method.attribute)
        assert record.name == f"{method.service}.{method.name}"
        assert record.parts[5:7] == [method.request, method.response]
        assert index.method(method.path) is not None
        text = "\n".join(record.lines)
        assert method.scope in text
        assert method.http is None or f"{method.http.verb} {method.http.path}" in text
        assert method.doc.split("\n")[0] in text


def named(index: Index, name: str) -> Record:
    found = index.find(name)
    assert found is not None, name
    return found


def test_the_index_knows_every_type_with_all_its_fields() -> None:
    index = compiled()
    names = set(index.type_names)
    for file in every_file():
        types = [name for name in definitions(file) if name.rpartition(".")[2] not in {s.name for s in file.service}]
        for name in types:
            if name not in names:
                assert message(name).GetOptions().map_entry
    for name in names:
        record = index.type(name)
        assert record is not None
        if record.kind == "message":
            text = "\n".join(record.lines)
            assert [one.name for one in message(name).fields if f" {one.name} = {one.number};" not in text] == []


def every_file() -> list[FileDescriptorProto]:
    """All files that were compiled in."""
    found = pkgutil.walk_packages(invora_api.__path__, "invora_api.")
    modules = [importlib.import_module(one.name) for one in found if one.name.endswith("_pb2")]
    return [FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb) for module in modules]


def message(name: str) -> Any:
    return descriptor_pool.Default().FindMessageTypeByName(name)


def test_a_short_name_that_fits_several_things_says_which(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = run("describe", "invoices.create")
    assert (code, out) == (2, "")
    assert "fits 2 things; write one of billing.invoices.create, simple.invoices.create" in err


def test_describe_shows_comments_and_a_call(run: Callable[..., tuple[int, str, str]]) -> None:
    _, out, _ = run("describe", "simple.invoices.freeze")
    assert "// Issues a draft invoice" in out
    assert "  // invora call simple.invoices.freeze key=KEY concurrency_stamp=text\n" in out
    assert "  // Net price of one unit" in run("describe", "SimpleLine")[1]


def test_the_call_that_describe_shows_is_one_that_call_understands() -> None:
    for record in compiled().records:
        for line in record.lines:
            if line.strip().startswith("// invora call "):
                name, *fields = shlex.split(line)[3:]
                method = catalog().method(name)
                build(bind(method).request_class, one(read_request(method, None, tuple(fields))))
                break
        else:
            assert record.kind == "service"


def one(request: Any) -> Any:
    return request[0] if isinstance(request, list) else request


def test_search_finds_names_fields_and_comments(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = run("search", "gross_amount")
    assert code == 0
    assert "invora.simple.invoices.v1.SimpleLineCalculation\n  kernel.DecimalValue gross_amount = 4;\n" in out
    assert err == "1 symbol\n"
    assert "simple.invoices.freeze\n" in run("search", "FREEZE")[1]
    found = run("search", "br-ksa-44")[1]
    assert "optional string vat_registration_number = 2;  // 15 digits" in found


def test_search_wants_all_words_in_one_place(run: Callable[..., tuple[int, str, str]]) -> None:
    assert "SimpleLineCalculation" in run("search", "gross", "decimal")[1]
    code, out, err = run("search", "gross", "nosuchword")
    assert (code, out) == (1, "")
    assert "'gross' and 'nosuchword'" in err


# --- other schemas ---


def test_a_plain_grpc_server_is_listed_described_and_searched(run: Callable[..., tuple[int, str, str]]) -> None:
    with reflecting(shop()) as server:
        code, out, err = run("ls", "--endpoint", server.url)
        assert code == 0, err
        assert out == "shop.OrderService\n  shop.order.place\n  shop.order.place_all  (bidi streaming)\n"
        assert err == f"2 RPCs in 1 service of {server.url}, asked just now\n"
        described = run("describe", "Order", "--endpoint", server.url)[1]
        assert described.startswith("message shop.Order {\n  string id = 1;\n  optional string note = 2;\n")
        assert "  map<string, shop.Colour> colours = 4;" in described
        line = run("describe", "shop.Line", "--endpoint", server.url)[1]
        assert "  oneof what {\n    string sku = 1;\n    shop.Order bundle = 2;\n  }\n" in line
        assert "  int32 count = 3;  // deprecated\n" in line
        assert "shop.Receipt.Inner\n  bytes proof = 1;\n" in run("search", "proof", "--endpoint", server.url)[1]
        place = run("describe", "place", "--endpoint", server.url)[1]
        assert "rpc Place(shop.Order) returns (shop.Receipt);" in place
        assert "// invora call shop.order.place id=text 'lines[0].sku=text'" in place


def test_a_gateway_that_was_asked_is_not_asked_again(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    with reflecting(shop()) as server:
        first = run("ls", "--endpoint", server.url)
        asked = len(server.requests)
        assert run("ls", "--endpoint", server.url) == first
        assert len(server.requests) == asked
        assert run("ls", "--endpoint", server.url, "--refresh")[0] == 0
        assert len(server.requests) > asked
    for arguments in (["ls"], ["describe", "shop.Order"], ["search", "sku"]):
        command = [*arguments, "--endpoint", server.url]
        assert loaded(command, INVORA_CACHE_DIR=str(tmp_path / "cache")) == []


def test_what_a_gateway_said_an_hour_ago_is_asked_anew(run: Callable[..., tuple[int, str, str]]) -> None:
    with reflecting(shop()) as server:
        run("ls", "--endpoint", server.url)
        path = kept(server.url)
        first, _, rest = path.read_text().partition("\n")
        version, source, _ = first.split("\t")
        path.write_text(f"{version}\t{source}\t{time.time() - FRESH - 1:.0f}\n{rest}")
        asked = len(server.requests)
        assert "asked just now" in run("ls", "--endpoint", server.url)[2]
        assert len(server.requests) > asked


def kept(endpoint: str) -> Path:
    path = index_path(endpoint)
    assert path is not None
    return Path(path)


@pytest.mark.parametrize("harm", ["writable file", "writable folder", "other version", "other endpoint", "link"])
def test_an_index_that_others_could_have_written_is_not_believed(
    run: Callable[..., tuple[int, str, str]], harm: str, tmp_path: Path
) -> None:
    with reflecting(shop()) as server:
        run("ls", "--endpoint", server.url)
    path = kept(server.url)
    assert served(server.url) is not None
    if harm == "writable file":
        path.chmod(0o666)
    elif harm == "writable folder":
        path.parent.chmod(0o777)
    elif harm == "other version":
        path.write_text(path.read_text().replace("# invora-index 1", "# invora-index 0"))
    elif harm == "other endpoint":
        path.write_text(path.read_text().replace(server.url, "http://other:1", 1))
    else:
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    assert served(server.url) is None
    assert run("ls", "--endpoint", server.url)[0] == 64 + 14


def test_nothing_is_kept_where_that_is_switched_off(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INVORA_CACHE_DIR", "off")
    monkeypatch.chdir(tmp_path)
    with reflecting(shop()) as server:
        assert run("ls", "--endpoint", server.url)[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_ls_marks_how_far_a_gateway_differs_from_the_stubs(run: Callable[..., tuple[int, str, str]]) -> None:
    files = compiled_schema().files.closure(["invora/simple/invoices/v1/service.proto"]).files
    changed = {name: FileDescriptorProto.FromString(file.SerializeToString()) for name, file in files.items()}
    models = changed["invora/simple/invoices/v1/models.proto"]
    freeze = next(message for message in models.message_type if message.name == "FreezeRequest")
    freeze.field[0].type = FileDescriptorProto.DESCRIPTOR.fields_by_name["public_dependency"].type  # int32
    with reflecting(changed.values()) as server:
        code, out, err = run("ls", "--reflect", "--endpoint", server.url)
        assert code == 0, err
        assert "invora.simple.invoices.v1.SimpleInvoiceService  [documented]\n" in out
        assert "  simple.invoices.freeze  [incompatible]\n" in out
        assert "  simple.invoices.get\n" in out
        described = run("describe", "simple.invoices.freeze", "--endpoint", server.url)[1]
        assert "  // incompatible to the compiled schema\n" in described
        assert "  int32 key = 1;\n" in described


def test_descriptor_files_are_a_schema_too(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "shop.binpb").write_bytes(from_source({"shop.proto": SHOP}).to_bytes())
    code, out, _ = run("ls", "--descriptors", str(tmp_path / "shop.binpb"))
    assert (code, out.splitlines()[1]) == (0, "  shop.order.place")
    template = run("template", "order.place", "--descriptors", str(tmp_path / "shop.binpb"))[1]
    assert json.loads(template) == {
        "id": "text",
        "note": "text",
        "lines": [{"sku": "text", "count": 1}],
        "colours": {"text": "RED"},
    }


def test_comments_come_from_sources_and_descriptor_files(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "shop.proto").write_text(COMMENTED)
    (tmp_path / "set.binpb").write_bytes(described([str(tmp_path / "shop.proto")]))
    (tmp_path / "set.gz").write_bytes(gzip.compress((tmp_path / "set.binpb").read_bytes()))
    for place in (("--proto", "shop.proto"), ("--descriptors", "set.binpb"), ("--descriptors", "set.gz")):
        where = (place[0], str(tmp_path / place[1]))
        shown = "".join(run("describe", name, *where)[1] for name in ("Till", "Colour", "Order"))
        told = [line.strip() for line in shown.splitlines() if line.lstrip().startswith("// The ")]
        assert sorted(told) == [f"// The {what}." for what in ("enum", "field", "message", "rpc", "service", "value")]
        assert "// The field." in run("search", "the", "field", *where)[1]


def test_a_gateway_that_is_not_there_is_one_line(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = run("ls", "--endpoint", f"http://127.0.0.1:{unused_port()}")
    assert (code, out) == (64 + 14, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@given(st.text(), st.text())
def test_no_text_of_a_schema_becomes_another_record(doc: str, more: str) -> None:
    method = next(iter(catalog().methods))
    services = [Service("a.S", "a", "s", "a.proto", "served", doc, (replace(method, doc=more, service="a.S"),))]
    text = render(services, [], lambda name: no_type(name), lambda _: "", {})
    records = Index(f"# index\n{text}".encode()).records
    assert [record.kind for record in records] == ["service", "rpc"]
    shown = "".join(line for record in records for line in record.lines)
    assert [char for char in shown if unicodedata.category(char) in ("Cc", "Cs")] == []


def no_type(name: str) -> Any:
    raise KeyError(name)


# --- template ---


def test_every_template_is_a_request(run: Callable[..., tuple[int, str, str]]) -> None:
    for method in catalog().methods:
        request = bind(method).request_class
        named = path_variables(method.http.path) if method.http else []
        for required_only in (False, True):
            values = skeleton(descriptor_of(request), required_only=required_only, always=named).values
            message = build(request, values)
            again = build(request, coerced(descriptor_of(request), json.loads(json.dumps(as_json(values)))))
            assert message == again
            assert {field.name for field, _ in message.ListFields()} <= set(values)


def test_a_template_without_what_may_be_missing_is_smaller(run: Callable[..., tuple[int, str, str]]) -> None:
    whole = json.loads(run("template", "simple.invoices.create")[1])
    needed = json.loads(run("template", "simple.invoices.create", "--required-only")[1])
    assert whole["changes"]["branch_id"] == "text"
    assert "branch_id" not in needed["changes"]
    assert needed["changes"]["lines"][0]["unit_price"] == "20.50"


def test_a_template_says_what_it_leaves_out(run: Callable[..., tuple[int, str, str]]) -> None:
    _, out, err = run("template", "invoicing.documents.create")
    json.loads(out)
    assert err.startswith("left out, since there is too much of it: changes.content")


def test_a_template_in_yaml_says_the_same(run: Callable[..., tuple[int, str, str]]) -> None:
    text = run("template", "simple.invoices.create", "-o", "yaml")[1]
    assert yaml.safe_load(text)["changes"]["lines"][0]["unit_price"] == "20.50"


@pytest.mark.parametrize(
    "method",
    ["simple.invoices.create", "simple.invoices.list", "invoicing.documents.stream_create", "billing.customers.create"],
)
def test_the_python_of_a_template_runs_and_sends_the_template(
    run: Callable[..., tuple[int, str, str]], gateway: Any, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = run("template", method, "--python")[1]
    values = json.loads(run("template", method)[1])
    monkeypatch.setenv("INVORA_ENDPOINT", gateway.url)
    monkeypatch.setenv("INVORA_TOKEN", "t0k3n")
    exec(compile(source, "template", "exec"), {})
    request = bind(catalog().method(method)).request_class
    sent = [received.request for received in gateway.received if received.path == catalog().method(method).path]
    assert one(sent[0]) == build(request, coerced(descriptor_of(request), values))


# --- terminals and pipes ---


def test_a_reader_that_has_seen_enough_is_no_failure_to_talk_about() -> None:
    command = f"{sys.executable} -m invora_grpc.cli ls | head -1"
    result = subprocess.run(command, check=False, shell=True, capture_output=True, text=True)
    assert result.stdout.startswith("invora.")
    assert result.stderr in ("", "461 RPCs in 51 services\n") or "RPCs in" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Broken" not in result.stderr


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_terminals(variables: dict[str, str], coloured: bool) -> None:
    environment = {**os.environ, "TERM": "xterm", **variables}
    environment.pop("NO_COLOR", None) if coloured else None
    command = [sys.executable, "-m", "invora_grpc.cli", "describe", "SimpleLine"]
    shown = pexpect.run(" ".join(command), env=environment).decode()
    assert "Net price" in shown
    assert ("\x1b[" in shown) is coloured


def test_a_terminal_without_unicode_gets_escapes_and_no_traceback() -> None:
    command = [sys.executable, "-m", "invora_grpc.cli", "search", "ubl"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    result = subprocess.run(command, check=False, capture_output=True, env=environment)
    assert result.returncode == 0, result.stderr
    result.stdout.decode("ascii")
