"""Where a command's schema comes from, and which RPC a name means there: real files, real servers, real compilers."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from gateway import running_gateway
from reflection_server import Reflecting, reflecting
from test_schema_printing import compiled

from invora_grpc import Invora
from invora_grpc.catalog import catalog
from invora_grpc.cli.sources import AUTO, Source, catalog_of, find_method, known_method, rpc_of, source_of
from invora_grpc.cli.sources import source_options as with_options
from invora_grpc.errors import ConfigError, RequestError
from invora_grpc.schema.files import DescriptorError, FileSet
from invora_grpc.schema.survey import compiled_schema

MONEY = 'syntax = "proto3"; package shop; message Money { int64 units = 1; }'
ORDERS = """syntax = "proto3";
package shop;
import "money.proto";
message Order { string id = 1; Money price = 2; }
service OrderService { rpc Place(Order) returns (Order); rpc PlaceAll(stream Order) returns (Order); }
service Depot { rpc Place(Order) returns (Order); rpc Service(Order) returns (Order); }
"""
FULL = "shop.OrderService/PlaceAll"


def shop_files() -> FileSet:
    return compiled({"orders.proto": ORDERS, "money.proto": MONEY})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("protos")
    (made / "orders.proto").write_text(ORDERS)
    (made / "money.proto").write_text(MONEY)
    return made


@pytest.fixture(scope="module")
def shop() -> Iterator[Reflecting]:
    with reflecting([*shop_files().files.values(), *compiled_schema().files.files.values()]) as running:
        yield running


@pytest.fixture
def client(shop: Reflecting) -> Iterator[Invora]:
    shop.requests.clear()
    with Invora(endpoint=shop.url, token="t") as client:
        yield client


@pytest.fixture(params=["descriptors", "proto", "file"])
def source(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Source:
    """The shop's schema from each kind of file."""
    if request.param == "descriptors":
        (tmp_path / "shop.binpb").write_bytes(shop_files().to_bytes())
        return source_of(descriptors=[str(tmp_path / "shop.binpb")])
    return source_of(proto=[str(folder if request.param == "proto" else folder / "orders.proto")])


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [FULL, f"/{FULL}", "shop.OrderService.PlaceAll", "OrderService.PlaceAll", "order.place_all", "PlaceAll"],
)
def test_an_rpc_of_files_is_found_by_any_unique_name(name: str, source: Source) -> None:
    found = known_method(name, source)
    assert found is not None
    assert (found.full_name, found.streaming, found.schema) == (FULL, "client", source.schema)


def test_a_name_that_fits_two_rpcs_of_a_file_is_refused_with_both(source: Source) -> None:
    with pytest.raises(RequestError, match=r"fits several RPCs; write one of shop\.order\.place, shop\.depot\.place"):
        find_method("place", source)


def test_a_name_that_a_file_has_not_is_refused_with_the_nearest(source: Source) -> None:
    with pytest.raises(RequestError, match=r"did you mean shop\.order\.place_all"):
        find_method("order.place_al", source)


def test_a_file_takes_the_place_of_the_compiled_stubs(source: Source) -> None:
    with pytest.raises(RequestError):
        find_method("simple.invoices.create", source)


def test_invoras_services_have_their_short_names_in_every_source(tmp_path: Path) -> None:
    (tmp_path / "all").write_bytes(compiled_schema().files.to_bytes())
    source = source_of(descriptors=[str(tmp_path / "all")])
    found = find_method("billing.customers.create", source)
    assert found.path == catalog().method("billing.customers.create").path
    assert found.schema is source.schema


def test_several_descriptor_files_are_one_schema(tmp_path: Path) -> None:
    for name, files in shop_files().files.items():
        (tmp_path / name).write_bytes(FileSet.of([files]).to_bytes())
    source = source_of(descriptors=[str(tmp_path / name) for name in ("orders.proto", "money.proto")])
    assert find_method(FULL, source).request == "shop.Order"


def test_sources_may_import_what_google_publishes(tmp_path: Path) -> None:
    (tmp_path / "a.proto").write_text(
        'syntax = "proto3"; package a; import "google/api/annotations.proto"; import "google/protobuf/empty.proto";'
        "service S { rpc Go(google.protobuf.Empty) returns (google.protobuf.Empty)"
        ' { option (google.api.http) = { get: "/v1/go" }; } }'
    )
    rule = find_method("s.go", source_of(proto=[str(tmp_path)])).http
    assert rule is not None
    assert (rule.verb, rule.path) == ("GET", "/v1/go")


def test_imports_are_found_in_other_folders(tmp_path: Path) -> None:
    for name, text in (("orders", ORDERS), ("money", MONEY)):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.proto").write_text(text)
    source = source_of(proto=[str(tmp_path / "orders"), str(tmp_path / "money")])
    assert find_method(FULL, source).name == "PlaceAll"


def test_a_module_of_buf_is_built_by_buf(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules:\n  - path: inside\n")
    (tmp_path / "inside").mkdir()
    for name in ("orders.proto", "money.proto"):
        (tmp_path / "inside" / name).write_text((folder / name).read_text())
    assert find_method(FULL, source_of(proto=[str(tmp_path)])).name == "PlaceAll"


@pytest.mark.parametrize("tool", ["protoc", "buf"])
def test_any_compiler_that_is_installed_will_do(
    tool: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tool == "protoc":
        (tmp_path / "protoc").write_text(f'#!/bin/sh\nexec {sys.executable} -m grpc_tools.protoc "$@"\n')
        (tmp_path / "protoc").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    _forget_grpc_tools(monkeypatch)
    assert find_method(FULL, source_of(proto=[str(folder)])).name == "PlaceAll"


def test_without_a_compiler_the_way_out_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _forget_grpc_tools(monkeypatch)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DescriptorError, match="cannot be compiled here; pip install grpcio-tools"):
        source_of(proto=[str(folder)])


def _forget_grpc_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where it is not installed."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "grpc_tools" else real(name))


@pytest.mark.parametrize(
    ("text", "told"),
    [("syntax = 'proto3'; message {", "does not compile: .*bad.proto:1:"), (None, "holds no .proto file")],
)
def test_sources_that_do_not_compile_say_where(text: str | None, told: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "bad.proto").write_text(text)
    with pytest.raises(DescriptorError, match=told):
        source_of(proto=[str(tmp_path)])


def test_sources_and_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    with pytest.raises(DescriptorError, match="none: is no file and no folder"):
        source_of(proto=[missing])
    with pytest.raises(DescriptorError, match="none: cannot be read"):
        source_of(descriptors=[missing])


def test_a_source_that_the_compiler_would_take_for_an_option_is_refused(tmp_path: Path) -> None:
    (tmp_path / "--python_out=x.proto").write_text(MONEY)
    with pytest.raises(DescriptorError, match="as an option of the compiler"):
        source_of(proto=[str(tmp_path)])


# --- the gateway --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [FULL, "OrderService.PlaceAll", "order.place_all", "place_all"])
@pytest.mark.parametrize("kind", ["auto", "reflection"])
def test_what_was_never_compiled_is_found_by_reflection(name: str, kind: Any, client: Invora) -> None:
    found = find_method(name, Source(kind), client)
    assert (found.full_name, found.origin) == (FULL, "served")


def test_what_is_compiled_is_found_without_asking(client: Invora, shop: Reflecting) -> None:
    assert find_method("billing.customers.create", AUTO, client).origin == "published"
    assert shop.asked == []


def test_reflection_can_be_asked_for_what_is_compiled_too(client: Invora) -> None:
    found = find_method("billing.customers.create", Source("reflection"), client)
    assert (found.path, found.origin) == (catalog().method("billing.customers.create").path, "served")


def test_no_more_is_fetched_than_the_name_requires(client: Invora, shop: Reflecting) -> None:
    find_method(FULL, AUTO, client)
    assert {"shop.OrderService"} == {asked for asked in shop.asked if asked != "list" and not asked.endswith(".proto")}


def test_a_name_that_nobody_knows_gets_the_nearest_of_the_gateway(client: Invora) -> None:
    with pytest.raises(RequestError, match=r"is no RPC of http://127\.0\.0\.1:\d+; did you mean .*place_all"):
        find_method("OrderService.PlaceAl", AUTO, client)


def test_without_a_client_nothing_is_asked() -> None:
    assert known_method(FULL) is None
    with pytest.raises(RequestError, match="is not an RPC of the catalog"):
        find_method(FULL)
    with pytest.raises(ConfigError, match="name an endpoint"):
        find_method(FULL, Source("reflection"))


def test_an_ambiguous_compiled_name_is_refused_without_asking(client: Invora, shop: Reflecting) -> None:
    with pytest.raises(RequestError, match="fits"):
        find_method("create", AUTO, client)
    assert shop.asked == []


def test_where_the_gateway_does_not_tell_a_wrong_name_is_only_a_wrong_name() -> None:
    with (
        running_gateway() as silent,
        Invora(endpoint=silent.url, token="t") as client,
        pytest.raises(RequestError, match=r"did you mean .*create"),
    ):
        find_method("simple.invoices.creat", AUTO, client)


def test_every_rpc_can_be_called_whatever_it_is_called(client: Invora) -> None:
    assert rpc_of(client, find_method("shop.Depot/Service", AUTO, client)).method.path == "/shop.Depot/Service"


def test_short_names_are_made_of_package_and_service(source: Source) -> None:
    assert source.schema is not None
    names = {method.attribute for method in catalog_of(source.schema).methods}
    assert names == {"shop.order.place", "shop.order.place_all", "shop.depot.place", "shop.depot.service"}


# --- options ------------------------------------------------------------------------------------------------------


def test_the_options_make_a_source(folder: Path) -> None:
    seen: list[tuple[Source, str]] = []

    @click.command()
    @click.argument("name")
    @with_options
    def command(name: str, source: Source) -> None:
        seen.append((source, name))

    for arguments in ([], ["--reflect"], ["--proto", str(folder)]):
        assert CliRunner().invoke(command, ["x", *arguments]).exit_code == 0
    assert [(source.kind, name) for source, name in seen] == [("auto", "x"), ("reflection", "x"), ("proto", "x")]
    assert [source.described for source, _ in seen] == ["the compiled stubs", "server reflection", str(folder)]


def test_two_kinds_of_source_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match="leave --reflect or --proto away"):
        source_of(True, proto=["x"])
