"""Clients of generated packages beside one another and beside Invora's, and in front of servers that have moved on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from door import AsyncDoor, Door
from foreign import INSTALLED, described, packaged, serving
from gateway import abort, in_turn, running_gateway
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from reflection_server import reflecting
from shop import PACKAGE, SOURCES, STORE, shop

from invora_grpc import Invora, Retry, SchemaDriftError
from invora_grpc.call import bind
from invora_grpc.schema.descriptors import Schema
from invora_grpc.schema.files import FileSet

Code = grpc.StatusCode
ROOT = Path(__file__).parent.parent
THINGS = "acme/store/v1/things.proto"
BAKERY = 'syntax = "proto3"; message Bun { string name = 1; } service Oven { rpc Bake(Bun) returns (Bun); }'


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="session")
def acme(folder: Path) -> ModuleType:
    return shop(folder)


@pytest.fixture(scope="session")
def files(folder: Path, acme: ModuleType) -> dict[str, FileDescriptorProto]:
    """The shop's descriptors, by path."""
    return {file.name: file for file in described(folder, SOURCES)}


# --- servers that have moved on -----------------------------------------------------------------------------------


@dataclass
class Moved(grpc.GenericRpcHandler):
    """A server of some other version of the shop: every RPC answers with the request that it got."""

    schema: Schema
    calls: list[tuple[str, Any]] = field(default_factory=list)

    def service(self, handler_call_details: Any) -> Any:
        """The handler of grpc's own interface."""
        path = handler_call_details.method
        name, _, rpc = path.lstrip("/").partition("/")
        found = self.schema.services.get(name)
        method = next((one for one in found.methods if one.name == rpc), None) if found is not None else None
        if method is None:
            return None

        def respond(request: Any, _: Any) -> Any:
            self.calls.append((path, request))
            return request.SerializeToString() if method.request == method.response else b""

        return grpc.unary_unary_rpc_method_handler(respond, self.schema.message_class(method.request).FromString)


@contextmanager
def moved(files: dict[str, FileDescriptorProto]) -> Iterator[tuple[str, Moved]]:
    """A server of these files that tells them by reflection: its endpoint, and what it got."""
    handler = Moved(Schema(FileSet.of(files.values()), source="the server"))
    with reflecting(files.values(), handlers=[handler]) as running:
        yield f"http://{running.address}", handler


def changed(files: dict[str, FileDescriptorProto], name: str) -> tuple[dict[str, FileDescriptorProto], Any]:
    """Copies of all files, and that of one of them, to be changed."""
    copies = {path: FileDescriptorProto.FromString(file.SerializeToString()) for path, file in files.items()}
    return copies, copies[name]


def client_of(door: Door, acme: ModuleType, url: str, schema: str) -> Any:
    door.client_class = acme.AsyncClient if isinstance(door, AsyncDoor) else acme.Client
    return door.open(endpoint=url, schema=schema)


def test_a_server_with_the_same_schema_is_called_once_that_is_known(
    door: Door, acme: ModuleType, files: dict[str, FileDescriptorProto]
) -> None:
    with moved(files) as (url, server):
        client = client_of(door, acme, url, "verify")
        assert door.call(client.acme.store.create, key="k").key == "k"
        assert len(server.calls) == 1


def test_a_renumbered_field_is_refused_or_converted_by_name_as_the_client_is_told(
    door: Door, acme: ModuleType, files: dict[str, FileDescriptorProto]
) -> None:
    theirs, file = changed(files, THINGS)
    next(one for one in file.message_type[0].field if one.name == "from").number = 30
    with moved(theirs) as (url, server):
        with pytest.raises(SchemaDriftError, match="from had number 3 and has 30"):
            door.call(client_of(door, acme, url, "verify").acme.store.import_, **{"from": "here"})
        assert server.calls == []
        answer = door.call(client_of(door, acme, url, "adapt").acme.store.import_, **{"from": "here"})
        assert getattr(answer, "from") == getattr(server.calls[0][1], "from") == "here"


def test_an_rpc_of_a_renamed_service_is_found_in_the_packages_own_schema(
    door: Door, acme: ModuleType, files: dict[str, FileDescriptorProto]
) -> None:
    theirs, file = changed(files, STORE)
    file.service[0].name = "StoresService"
    with moved(theirs) as (url, server):
        client = client_of(door, acme, url, "adapt")
        assert door.call(client.acme.store.create, key="k").key == "k"
        assert [path for path, _ in server.calls] == ["/acme.store.v1.StoresService/Create"]


def test_an_rpc_that_the_package_knows_as_another_one_is_never_taken_for_one_that_is_gone(
    door: Door, acme: ModuleType, files: dict[str, FileDescriptorProto]
) -> None:
    theirs, file = changed(files, STORE)
    gone = next(one for one in file.service[0].method if one.name == "GetAndReserve")
    file.service[0].method.remove(gone)
    with moved(theirs) as (url, server):
        client = client_of(door, acme, url, "adapt")
        with pytest.raises(SchemaDriftError, match="StoreService has no RPC GetAndReserve there") as caught:
            door.call(client.acme.store.get_and_reserve, key="k")
        assert "`invora gen --source reflection --package acme_api --report md`" in caught.value.hint
        door.call(client.acme.depot.get_and_reserve, key="k")
        assert [path for path, _ in server.calls] == ["/acme.store.v1.DepotService/GetAndReserve"]


def test_services_that_only_the_server_knows_get_no_promises_either(
    acme: ModuleType, files: dict[str, FileDescriptorProto]
) -> None:
    theirs, file = changed(files, STORE)
    file.service[0].name = "WarehouseService"
    with moved(theirs) as (url, _), acme.Client(url) as client:
        area = client.service("acme.store.v1.WarehouseService", schema="server")
        assert area.create(request="r").key == "" and not area.create.method.promised


# --- several in one process ---------------------------------------------------------------------------------------


def test_two_packages_and_invora_are_called_side_by_side(folder: Path, acme: ModuleType) -> None:
    packaged(folder, "other.api", {"bakery.proto": BAKERY})
    other = import_module("other.api.client")
    with (
        serving(PACKAGE) as shop_server,
        serving("other.api") as bakery,
        running_gateway() as gateway,
        acme.Client(shop_server.url) as store,
        other.Client(bakery.url) as oven,
        Invora(endpoint=gateway.url, token="t") as invora,
    ):
        assert store.acme.store.import_(key="a").key == "a"
        assert oven.service("Oven").bake(name="b").name == "b"
        invora.simple.invoices.get(key="c")
    assert [len(one.calls) for one in (shop_server, bakery)] == [1, 1]
    assert [one.request.key for one in gateway.received] == ["c"]


def test_the_same_files_in_two_packages_are_one_schema(folder: Path, acme: ModuleType) -> None:
    twin = shop(folder, "acme_twin")
    with serving(PACKAGE) as server, acme.Client(server.url) as one, twin.Client(server.url) as two:
        thing = two.acme.store.import_(one.acme.store.import_(key="a"))
        assert thing.key == "a" and type(thing) is bind(one.acme.store.create.method).response_class
    assert import_module("acme_twin.acme.store.v1.things_pb2").Thing is type(thing)


def test_the_same_file_with_other_content_is_explained(folder: Path, acme: ModuleType) -> None:
    packaged(folder, "acme_next", {**SOURCES, THINGS: SOURCES[THINGS].replace("from = 3", "from = 33")})
    code = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "from acme_api.client import Client\n"
        "from acme_next.client import Client as Next\n"
        "from invora_grpc.call import bind\n"
        "bind(Client('http://127.0.0.1:1').acme.store.get.method)\n"
        "bind(Next('http://127.0.0.1:1').acme.store.get.method)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = result.stderr.strip().splitlines()[-1]
    assert said.startswith("ImportError: acme_next.acme.store.v1.store_front_pb2 cannot be loaded: another package")
    assert THINGS in said and "other stubs need a process of their own" in said


# --- Invora's own services in another package --------------------------------------------------------------------


def test_invoras_own_creates_keep_their_keys_in_another_package(folder: Path) -> None:
    by_protoc(folder, "mine_api", "invora/simple/invoices/v1/service.proto")
    mine = import_module("mine_api.client")
    with serving("mine_api") as server, mine.Client(server.url) as client:
        client = client.with_options(retry=Retry(tries=3, initial=0.001, budget=False))
        area = client.invora.invoices
        server.answers[area.create.method.path] = in_turn(*map(abort, (Code.UNAVAILABLE, Code.ALREADY_EXISTS)))
        server.answers[area.get.method.path] = lambda requests, _: bind(area.get.method).response_class(
            details={"id": {"key": requests[0].key}}
        )
        assert area.create().details.id.key
    assert [call.path.rpartition("/")[2] for call in server.calls] == ["Create", "Create", "Get"]
    assert len({call.requests[0].key for call in server.calls}) == 1 and server.calls[0].requests[0].key


def by_protoc(folder: Path, package: str, wanted: str) -> None:
    """A package with this file of Invora's and what it imports, as protoc makes it with the plugin. Through this
    process, which knows the extensions, the options would not come out byte for byte as they are in the other copy."""
    plugin = folder / "protoc-gen-invora-python"
    plugin.write_text(f"#!{sys.executable}\nfrom invora_grpc.codegen.plugin import main\n\nmain()\n")
    plugin.chmod(0o755)
    places = [f"-I{place}" for place in (*(ROOT / "proto").iterdir(), *INSTALLED) if place.is_dir()]
    names = [wanted]
    for name in names:
        source = next(path for module in (ROOT / "proto").iterdir() if (path := module / name).is_file())
        imports = re.findall(r'^import (?:public )?"([^"]+)"', source.read_text("utf-8"), re.MULTILINE)
        names += [one for one in imports if not one.startswith("google/") and one not in names]
    options = [f"--plugin=protoc-gen-invora-python={plugin}", f"--invora-python_out=package={package}:{folder}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", *places, *options, *names]
    subprocess.run(command, check=True, timeout=60)
    invalidate_caches()
