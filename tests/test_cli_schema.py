"""`invora schema`: what it writes, what it prints, and its exit codes."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from gateway import running_gateway
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from reflection_server import Reflecting, reflecting
from sandbox_fixture import Running
from test_schema_printing import bare, compiled

import invora_grpc
from invora_grpc.catalog import catalog
from invora_grpc.cli.app import main
from invora_grpc.cli.spoken import TERMS
from invora_grpc.schema.files import FileSet
from invora_grpc.schema.survey import compiled_schema

MONEY = 'syntax = "proto3"; package shop; message Money { int64 units = 1; int64 rest = 2; }'
ORDERS = """syntax = "proto3";
package shop;
import "money.proto";
message Order { string id = 1; Money price = 2; string note = 3; }
message Receipt { string id = 1; }
service OrderService { rpc Place(Order) returns (Receipt); rpc PlaceAll(stream Order) returns (Receipt); }
"""
OTHER = 'syntax = "proto3"; package other; message M { string a = 1; } service Lone { rpc Go(M) returns (M); }'
CHANGES = {
    "identical": (),
    "additive": ("string note = 3;", "string note = 3; bool urgent = 4;"),
    "adaptable": ("string note = 3;", "string note = 5;"),
    "incompatible": ("string note = 3;", "int64 note = 3;"),
}
CODES = {"identical": 0, "additive": 10, "adaptable": 20, "incompatible": 30}


def files_of(orders: str = ORDERS, other: str = OTHER) -> FileSet:
    return compiled({"orders.proto": orders, "money.proto": MONEY, "other.proto": other})


def changed(verdict: str) -> FileSet:
    return files_of(ORDERS.replace(*CHANGES[verdict]) if CHANGES[verdict] else ORDERS)


@pytest.fixture(scope="module")
def shop() -> Iterator[Reflecting]:
    with reflecting(files_of().files.values()) as running:
        yield running


def invora(*arguments: object, **variables: str) -> Result:
    """The command in this process, with no settings but these."""
    plain = {name: None for name in os.environ if name.startswith("INVORA_")}
    return CliRunner().invoke(main, ["schema", *map(str, arguments)], env={**plain, **variables})


def saved(path: Path, files: FileSet) -> Path:
    path.write_bytes(files.to_bytes())
    return path


def fetched(path: Path) -> dict[str, FileDescriptorProto]:
    return {file.name: bare(file) for file in FileDescriptorSet.FromString(path.read_bytes()).file}


# --- fetch ---


def test_fetch_writes_all_that_a_gateway_serves(shop: Reflecting, tmp_path: Path) -> None:
    result = invora("fetch", "--endpoint", shop.url, "--out", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "3 files of 2 services\n")
    assert fetched(tmp_path / "out") == {name: bare(file) for name, file in files_of().files.items()}


def test_fetch_of_a_service_writes_it_and_what_it_needs(shop: Reflecting, tmp_path: Path) -> None:
    result = invora("fetch", "shop.OrderService", "--endpoint", shop.url, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert list(fetched(tmp_path / "out")) == ["money.proto", "orders.proto"]


def test_fetch_of_a_service_that_is_not_there_suggests_the_nearest(shop: Reflecting, tmp_path: Path) -> None:
    result = invora("fetch", "shop.OrdersService", "--endpoint", shop.url, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: service: 'shop.OrdersService'")
    assert result.stderr.endswith("did you mean shop.OrderService?\n")
    assert not (tmp_path / "out").exists()


def test_fetch_writes_sources_that_mean_the_same(shop: Reflecting, tmp_path: Path) -> None:
    result = invora("fetch", "--endpoint", shop.url, "--format", "proto", "--out", tmp_path / "protos")
    assert result.exit_code == 0
    sources = {path.name: path.read_text("utf-8") for path in (tmp_path / "protos").iterdir()}
    again = compiled(sources)
    assert {name: bare(file) for name, file in again.files.items()} == {
        name: bare(file) for name, file in files_of().files.items()
    }


def test_fetch_prints_sources_one_after_the_other(shop: Reflecting) -> None:
    result = invora("fetch", "other.Lone", "--endpoint", shop.url, "--format", "proto", "--out", "-")
    assert result.stdout.startswith('// --- other.proto\n\nsyntax = "proto3";\n\npackage other;\n')


def test_what_fetch_writes_to_standard_output_diff_reads(shop: Reflecting, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "invora_grpc.cli", "schema"]
    fetch = [*command, "fetch", "--endpoint", shop.url, "--out", "-"]
    written = subprocess.run(fetch, check=True, capture_output=True).stdout
    diff = [*command, "diff", "-", str(saved(tmp_path / "a.binpb", files_of()))]
    assert subprocess.run(diff, check=True, input=written, capture_output=True).stdout == b"3 RPCs: 3 identical\n"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../out.proto", "is no plain path"),
        ("/tmp/out.proto", "is no plain path"),
        ("a/../../out.proto", "is no plain path"),
        ("a//out.proto", "is no plain path"),
        ("./out.proto", "is no plain path"),
        ("..\\out.proto", "characters that are not safe"),
        ("C:out.proto", "characters that are not safe"),
        ("a\x1b[31m.proto", "characters that are not safe"),
        ("a\n.proto", "characters that are not safe"),
        ("a\u202e.proto", "characters that are not safe"),
        ("x" * 300 + ".proto", "too long"),
        (".bashrc", "does not end with .proto"),
        ("link/out.proto", "a link leads out"),
    ],
)
def test_a_file_with_a_hostile_name_is_refused_and_the_others_are_written(
    name: str, problem: str, tmp_path: Path
) -> None:
    files = [FileDescriptorProto.FromString(file.SerializeToString()) for file in files_of().files.values()]
    next(file for file in files if file.name == "other.proto").name = name
    folder, outside = tmp_path / "in" / "protos", tmp_path / "elsewhere"
    folder.mkdir(parents=True)
    outside.mkdir()
    (folder / "link").symlink_to(outside)
    with reflecting(files) as running:
        result = invora("fetch", "--endpoint", running.url, "--format", "proto", "--out", folder)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stderr.replace("\n", "").isprintable()
    written = {path for path in tmp_path.rglob("*") if not path.is_dir()}
    assert written == {folder / "money.proto", folder / "orders.proto"}


def test_what_a_gateway_cannot_describe_is_told_and_the_rest_is_written(tmp_path: Path) -> None:
    files = [file for name, file in files_of().files.items() if name != "money.proto"]
    with reflecting(files, unfound=["other.Lone"]) as running:
        result = invora("fetch", "--endpoint", running.url, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "warning: other.Lone: " in result.stderr
    assert "money.proto: is imported by orders.proto, and not served" in result.stderr
    assert list(fetched(tmp_path / "out")) == ["orders.proto"]


# --- who asks, and what is said when there is no answer ---


def test_token_and_organization_are_sent_and_not_shown(shop: Reflecting, tmp_path: Path) -> None:
    arguments = ("fetch", "--endpoint", shop.url, "--out", tmp_path / "out", "--org", "org-7")
    result = invora(*arguments, INVORA_TOKEN="se-cret")
    metadata = shop.streams[-1][1]
    assert (metadata["authorization"], metadata["x-target-org-id"]) == ("Bearer se-cret", "org-7")
    assert "se-cret" not in result.output


def test_without_credentials_none_are_sent(shop: Reflecting, tmp_path: Path) -> None:
    assert invora("fetch", "--endpoint", shop.url, "--out", tmp_path / "out").exit_code == 0
    assert "authorization" not in shop.streams[-1][1]


def test_no_token_crosses_a_network_in_plaintext(tmp_path: Path) -> None:
    endpoint = "http://gateway.invalid"
    result = invora("fetch", "--endpoint", endpoint, "--out", tmp_path / "out", INVORA_TOKEN="se-cret")
    assert result.exit_code == 2
    assert "would send the token in plaintext" in result.stderr


def test_half_of_the_credentials_is_a_mistake(shop: Reflecting) -> None:
    result = invora("verify", shop.url, INVORA_CLIENT_ID="me")
    assert result.exit_code == 2
    assert "INVORA_CLIENT_SECRET" in result.stderr


def test_a_gateway_without_reflection_is_told_by_the_exit_code() -> None:
    with running_gateway() as gateway:
        result = invora("verify", gateway.url)
    assert result.exit_code == 64 + 12
    assert "offers no server reflection" in result.stderr


def test_a_gateway_that_is_not_there_or_silent_is_told_by_the_exit_code() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert invora("verify", url, "--timeout", "0.3").exit_code == 64 + 4
    result = invora("verify", url, "--timeout", "5")
    assert result.exit_code == 64 + 14
    assert result.stderr.startswith(f"error: {url} cannot be reached")


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf"])
def test_a_timeout_that_is_none_is_refused(timeout: str) -> None:
    result = invora("verify", "http://127.0.0.1:1", "--timeout", timeout)
    assert (result.exit_code, "is no timeout" in result.stderr) == (2, True)


# --- diff ---


@pytest.mark.parametrize("verdict", CHANGES)
def test_the_exit_code_of_diff_is_the_verdict(verdict: str, tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a.binpb", files_of()), saved(tmp_path / "b.binpb", changed(verdict))
    result = invora("diff", a, b)
    assert result.exit_code == CODES[verdict]
    assert result.stdout.startswith(f"3 RPCs: {'3 identical' if verdict == 'identical' else f'2 {verdict}'}")
    assert invora("diff", b, b).exit_code == 0


@pytest.mark.parametrize("verdict", CHANGES)
def test_what_is_allowed_exits_with_0(verdict: str, tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a.binpb", files_of()), saved(tmp_path / "b.binpb", changed("adaptable"))
    assert invora("diff", a, b, "--allow", verdict).exit_code == (0 if CODES[verdict] >= 20 else 20)


def test_a_is_what_clients_have_and_b_is_what_is_served(tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a.binpb", files_of()), saved(tmp_path / "b.binpb", changed("additive"))
    assert "shop.Order.urgent is new" in invora("diff", a, b).stdout
    back = invora("diff", b, a)
    assert (back.exit_code, "shop.Order.urgent is gone" in back.stdout) == (20, True)


def test_diff_takes_endpoints_files_images_and_what_is_compiled_in(shop: Reflecting, tmp_path: Path) -> None:
    plain = saved(tmp_path / "a.binpb", files_of())
    zipped = tmp_path / "a.binpb.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    for a in (shop.url, shop.address, plain, zipped):
        assert invora("diff", a, plain).exit_code == 0
    assert invora("diff", "compiled", "compiled").stdout == f"{len(list(catalog().methods))} RPCs: 461 identical\n"


def test_diff_for_programs_names_every_difference(tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a.binpb", files_of()), saved(tmp_path / "b.binpb", changed("adaptable"))
    told = json.loads(invora("diff", a, b, "--format", "json").stdout)
    assert told["verdict"] == "adaptable"
    assert {one["subject"] for one in told["differing"]} == {"/shop.OrderService/Place", "/shop.OrderService/PlaceAll"}
    (difference,) = told["differing"][0]["differences"]
    assert (difference["kind"], difference["symbol"]) == ("field-renumbered", "shop.Order.note")


def test_diff_for_a_pull_request_is_markdown(tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a.binpb", files_of()), saved(tmp_path / "b.binpb", changed("incompatible"))
    assert "### shop.OrderService: incompatible" in invora("diff", a, b, "--format", "markdown").stdout


def test_a_renamed_service_is_found(tmp_path: Path) -> None:
    renamed = files_of(ORDERS.replace("OrderService", "OrdersService"))
    result = invora("diff", saved(tmp_path / "a.binpb", files_of()), saved(tmp_path / "b.binpb", renamed))
    assert result.exit_code == 20
    assert "3 RPCs: 2 adaptable, 1 identical" in result.stdout


def test_what_is_gone_is_incompatible_and_what_is_new_is_additive(tmp_path: Path) -> None:
    fewer = files_of(ORDERS.replace(" rpc Place(Order) returns (Receipt);", ""), OTHER.partition(" service")[0])
    a, b = saved(tmp_path / "a.binpb", files_of()), saved(tmp_path / "b.binpb", fewer)
    gone = invora("diff", a, b)
    assert gone.exit_code == 30
    assert "shop.OrderService.Place is gone" in gone.stdout
    assert "other.Lone is gone" in gone.stdout
    new = invora("diff", b, a)
    assert new.exit_code == 10
    assert "shop.OrderService.Place is new" in new.stdout
    assert "other.Lone is new" in new.stdout


def test_an_rpc_of_a_file_with_unusable_descriptors_is_incompatible(tmp_path: Path) -> None:
    broken = [FileDescriptorProto.FromString(file.SerializeToString()) for file in files_of().files.values()]
    broken[-1].message_type[0].field.add(name="twice", number=1, label="LABEL_OPTIONAL", type="TYPE_STRING")
    result = invora(
        "diff", saved(tmp_path / "a", files_of()), saved(tmp_path / "b", FileSet.of(broken)), "--format", "json"
    )
    assert result.exit_code == 30
    assert '"kind": "service-undescribed"' in result.stdout


@pytest.mark.parametrize("name", ["missing.binpb", "no/such/file", "./compiled"])
def test_a_file_that_is_not_there_is_missed_as_a_file(name: str, tmp_path: Path) -> None:
    result = invora("diff", "compiled", tmp_path / name if name[0] != "." else name)
    assert result.exit_code == 2
    assert "cannot be read: No such file" in result.stderr


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("syntax = 'proto3';")
    result = invora("diff", "compiled", tmp_path / "a")
    assert (result.exit_code, "is no FileDescriptorSet" in result.stderr) == (2, True)


# --- verify ---


def test_verify_shows_every_rpc_of_a_gateway_of_the_same_schema(demo: Running) -> None:
    result = invora("verify", f"http://{demo.grpc}")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[-1] == "461 RPCs: 461 identical"
    assert len([line for line in lines if line.startswith("  ")]) == 461
    assert "  Freeze                                 documented  identical" in lines


@pytest.fixture(scope="module")
def drifted() -> Iterator[Reflecting]:
    """A gateway of the compiled schema, but: a field renumbered, a service gone, one new, and three not described."""
    plans, customers = catalog().service("billing.plans"), catalog().service("billing.customers")
    invoices = catalog().service("simple.invoices")
    files = []
    for file in compiled_schema().files.files.values():
        copy = FileDescriptorProto.FromString(file.SerializeToString())
        if file.name == customers.file:
            message = next(
                one for one in copy.message_type if f".{one.name}" in f".{customers.method('create').request}"
            )
            message.field[0].number = 77
        files.append(copy)
    with reflecting(
        [*files, *compiled({"other.proto": OTHER}).files.values()],
        listed=[
            *(service.name for service in catalog() if service.name != plans.name),
            *("other.Lone", "hidden.Service", "grpc.hidden.Service", "evil.\x1b[31mName\n"),
        ],
        unfound=["hidden.Service", "grpc.hidden.Service", invoices.name],
    ) as running:
        yield running


def rows(result: Result) -> dict[str, list[str]]:
    """Service/RPC → origin, verdict, and words, as the table has them."""
    found, service = {}, ""
    for line in result.stdout.splitlines()[1:-1]:
        if line.startswith("  "):
            rpc, origin, verdict, *words = line.replace("(no RPC is known)", "-").split()
            found[f"{service}/{rpc}"] = [origin, verdict, " ".join(words)]
        else:
            service = line
    return found


def test_a_call_that_another_schema_forbids_names_the_options_that_help(drifted: Reflecting) -> None:
    words = ["call", "billing.customers.create", "--endpoint", drifted.url, "--schema", "verify", "--no-auth"]
    words += ["input.external_id=a"]
    for form in ([], ["-o", "json"], ["--envelope"]):
        result = CliRunner().invoke(main, [*words, *form])
        assert result.exit_code == 2
        assert "`--schema adapt` converts by name, and refuses only what would be lost" in result.output
        assert "schema='adapt'" not in result.output


def test_the_words_that_a_command_replaces_are_still_those_of_the_library() -> None:
    package = Path(invora_grpc.__file__).parent
    source = "".join(file.read_text("utf-8") for file in package.rglob("*.py") if file.name != "spoken.py")
    assert [library for library, _ in TERMS if library not in source] == []


def test_verify_tells_what_differs_in_a_few_words(drifted: Reflecting) -> None:
    result = invora("verify", drifted.url)
    table = rows(result)
    assert result.exit_code == 30
    customers, plans = catalog().service("billing.customers").name, catalog().service("billing.plans").name
    origin, verdict, words = table[f"{customers}/Create"]
    assert (origin, verdict) == ("published", "adaptable")
    assert "had number 1 and has 77" in words
    assert table[f"{plans}/Create"] == ["published", "incompatible", f"{plans} is gone"]


def test_verify_shows_services_that_the_stubs_have_not(drifted: Reflecting) -> None:
    assert rows(invora("verify", drifted.url))["other.Lone/Go"] == ["served", "additive", "other.Lone is new"]


def test_verify_flags_services_that_are_listed_and_not_described(drifted: Reflecting) -> None:
    result = invora("verify", drifted.url)
    table = rows(result)
    assert table["hidden.Service/-"][:2] == ["served", "additive"]
    assert "hidden.Service cannot be described: " in table["hidden.Service/-"][2]
    invoices = catalog().service("simple.invoices").name
    assert table[f"{invoices}/Create"][1] == "incompatible"
    assert f"{invoices} cannot be described: " in table[f"{invoices}/Create"][2]
    assert not any(name.startswith("grpc.") for name in table)


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_what_a_gateway_says_does_nothing_to_a_terminal(drifted: Reflecting, form: str) -> None:
    result = invora("verify", drifted.url, "--format", form)
    assert result.stdout.replace("\n", "").isprintable()
    assert "Name" in result.stdout


def test_verify_for_programs_has_every_rpc(drifted: Reflecting) -> None:
    told = json.loads(invora("verify", drifted.url, "--format", "json").stdout)
    assert (told["endpoint"], told["verdict"]) == (drifted.url, "incompatible")
    services: dict[str, Any] = {one["name"]: one for one in told["services"]}
    assert {service.name for service in catalog()} <= set(services)
    customers = services[catalog().service("billing.customers").name]
    assert customers["verdict"] == "adaptable"
    create = next(one for one in customers["rpcs"] if one["name"] == "Create")
    assert create["origin"] == "published"
    assert create["differences"][0]["kind"] == "field-renumbered"


def test_verify_for_a_page_is_a_table(drifted: Reflecting) -> None:
    text = invora("verify", drifted.url, "--format", "markdown").stdout
    assert "| RPC | Origin | Verdict | Differences |\n|---|---|---|---|\n" in text
    lines = [line for line in text.splitlines() if line.startswith("| other.Lone/Go |")]
    assert lines == ["| other.Lone/Go | served | additive | other.Lone is new |"]


def test_an_endpoint_is_given_once() -> None:
    result = invora("verify", "http://127.0.0.1:1", "--endpoint", "http://127.0.0.1:2")
    assert result.exit_code == 2
    assert "say the same" in result.stderr
