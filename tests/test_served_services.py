"""Services that were never compiled in: found by reflection, called as all others are. Both doors."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from door import Door
from gateway import abort
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import error_details_pb2
from grpc_tools import protoc
from reflection_server import Reflecting, reflecting

from invora_grpc import AlreadyExists, ConfigError, NotFound, ReflectionError, RequestError, to_python
from invora_grpc.catalog import catalog
from invora_grpc.schema.descriptors import Schema
from invora_grpc.schema.files import DescriptorError, FileSet

PROTO = """
syntax = "proto3";
package acme.books.v1;
import "kernel/decimal.proto";
import "google/api/annotations.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/timestamp.proto";
message Book { string key = 1; kernel.DecimalValue price = 2; google.protobuf.Timestamp printed_at = 3; Kind kind = 4; }
enum Kind { KIND_UNSPECIFIED = 0; KIND_NOVEL = 1; }
message Pagination { google.protobuf.Int32Value limit = 1; optional string cursor = 2; }
message ListRequest { Pagination pagination = 1; }
message ListResponse { repeated Book items = 1; optional string next_page_cursor = 2; }
message GetRequest { string key = 1; }
message Count { int32 books = 1; }
service BookService {
  rpc Create(Book) returns (Book) { option (google.api.http) = {post: "/v1/books" body: "*"}; }
  rpc Get(GetRequest) returns (Book);
  rpc List(ListRequest) returns (ListResponse);
  rpc Watch(GetRequest) returns (stream Book);
  rpc Import(stream Book) returns (Count);
  rpc Chat(stream Book) returns (stream Book);
}
"""
SERVICE = "acme.books.v1.BookService"


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> FileSet:
    """The descriptors of PROTO, made by protoc, in no pool."""
    folder = tmp_path_factory.mktemp("books")
    (folder / "books.proto").write_text(PROTO)
    roots = [f"-I{folder}", f"-I{Path(__file__).parent.parent / 'proto' / 'common'}"]
    roots += [f"-I{Path(protoc.__file__).parent / '_proto'}", f"-I{Path(annotations_pb2.__file__).parents[2]}"]
    out = folder / "books.binpb"
    assert protoc.main(["protoc", *roots, "--include_imports", f"--descriptor_set_out={out}", "books.proto"]) == 0
    return FileSet.of(FileDescriptorSet.FromString(out.read_bytes()).file)


class Shop(grpc.GenericRpcHandler):
    """A shop of books: keeps what is created, by key."""

    def __init__(self, files: FileSet) -> None:
        self.schema = Schema(files, source="the shop")
        self.books: dict[str, Any] = {}
        self.metadata: dict[str, str] = {}

    def service(self, details: Any) -> Any:
        service, _, name = details.method.lstrip("/").partition("/")
        if service != SERVICE:
            return None
        (method,) = (one for one in self.schema.service(service).methods if one.name == name)
        take = self.schema.message_class(method.request).FromString

        def respond(request: Any, context: grpc.ServicerContext) -> Any:
            self.metadata = {key: str(value) for key, value in context.invocation_metadata()}
            return getattr(self, f"_{method.rpc}")(request, context)

        make = getattr(grpc, f"{method.arity}_rpc_method_handler")
        return make(respond, request_deserializer=take, response_serializer=lambda one: one.SerializeToString())

    def _create(self, book: Any, context: grpc.ServicerContext) -> Any:
        if book.key in self.books:
            info = error_details_pb2.ErrorInfo(reason="TAKEN", domain="books")
            abort(grpc.StatusCode.ALREADY_EXISTS, "taken", info)(book, context)
        self.books[book.key] = book
        return book

    def _get(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.key not in self.books:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such book")
        return self.books[request.key]

    def _list(self, request: Any, context: grpc.ServicerContext) -> Any:
        start, size = int(request.pagination.cursor or 0), request.pagination.limit.value or 2
        books = list(self.books.values())
        answer: Any = self.schema.message_class("acme.books.v1.ListResponse")(items=books[start : start + size])
        if start + size < len(books):
            answer.next_page_cursor = str(start + size)
        return answer

    def _watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield from (book for book in self.books.values() if book.key.startswith(request.key))

    def _import_(self, books: Iterator[Any], context: grpc.ServicerContext) -> Any:
        self.books.update((book.key, book) for book in books)
        return self.schema.message_class("acme.books.v1.Count")(books=len(self.books))

    def _chat(self, books: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        yield from books


@pytest.fixture
def shop(files: FileSet) -> Shop:
    return Shop(files)


@pytest.fixture
def server(files: FileSet, shop: Shop) -> Iterator[Reflecting]:
    with reflecting(files.files.values(), handlers=[shop]) as running:
        yield running


@pytest.fixture
def client(door: Door, server: Reflecting) -> Any:
    return door.open(endpoint=server.url, token="token", org_id="org-1")


@pytest.fixture
def books(door: Door, client: Any) -> Any:
    return door.call(client.service, SERVICE, schema="server")


def test_it_takes_and_gives_the_same_values_as_compiled_services(door: Door, books: Any) -> None:
    door.call(books.create, key="a", price=Decimal("20.50"), kind="NOVEL", printed_at="2026-01-02T03:04:05Z")
    book = to_python(door.call(books.get, {"key": "a"}))
    assert book["price"] == Decimal("20.50")
    assert (book["kind"], book["printed_at"].isoformat()) == ("KIND_NOVEL", "2026-01-02T03:04:05+00:00")


def test_what_does_not_fit_is_refused_before_it_is_sent(door: Door, books: Any, shop: Shop) -> None:
    with pytest.raises(RequestError, match="float is not exact"):
        door.call(books.create, key="a", price=20.5)
    assert shop.books == {}


def test_it_has_the_same_errors(door: Door, books: Any, shop: Shop) -> None:
    with pytest.raises(NotFound, match="no such book"):
        door.call(books.get, key="x")
    shop.books["a"] = object()
    with pytest.raises(AlreadyExists) as caught:
        door.call(books.create, key="a", price=2)
    assert caught.value.error_info is not None
    assert (caught.value.method, caught.value.error_info.reason) == (f"/{SERVICE}/Create", "TAKEN")


def test_a_create_with_a_key_is_safe_to_repeat_by_the_options_of_the_client(door: Door, client: Any) -> None:
    order = door.call(client.with_options(idempotency_key="order-1").service, SERVICE, schema="server")
    assert door.call(order.create, price=1) == door.call(order.create, price=1)


def test_its_lists_are_read_page_by_page(door: Door, books: Any) -> None:
    for key in "abcde":
        door.call(books.create, key=key)
    assert [book.key for book in door.every(books.list.items())] == list("abcde")
    assert [len(page.items) for page in door.every(books.list.pages())] == [2, 2, 1]


def test_it_streams_in_all_directions(door: Door, books: Any) -> None:
    assert door.call(books.import_, [{"key": "a1"}, {"key": "a2"}, {"key": "b1"}]).books == 3
    assert [book.key for book in door.every(books.watch(key="a"))] == ["a1", "a2"]
    assert [book.key for book in door.converse(books.chat(), {"key": "x"}, {"key": "y"})] == ["x", "y"]


def test_calls_and_the_question_for_the_schema_carry_token_and_organization(
    door: Door, books: Any, shop: Shop, server: Reflecting
) -> None:
    door.call(books.create, key="a")
    (_, asked) = server.streams[0]
    for metadata in (asked, shop.metadata):
        assert (metadata["authorization"], metadata["x-target-org-id"]) == ("Bearer token", "org-1")


def test_the_question_alone_may_carry_more_metadata(door: Door, client: Any, shop: Shop, server: Reflecting) -> None:
    schema = door.call(client.reflect, metadata={"x-admin": "yes"})
    door.call(client.service(SERVICE, schema=schema).create, key="a")
    assert server.streams[0][1]["x-admin"] == "yes"
    assert "x-admin" not in shop.metadata


def test_a_client_that_verifies_asks_once_and_then_calls(door: Door, server: Reflecting) -> None:
    client = door.open(endpoint=server.url, token="token", schema="verify")
    books = door.call(client.service, SERVICE, schema="server")
    door.call(books.create, key="a")
    door.call(books.get, key="a")
    assert len(server.streams) == 2  # reflect itself, and the verdict


def test_a_descriptor_file_serves_as_well_as_the_server(
    door: Door, client: Any, files: FileSet, tmp_path: Path, shop: Shop
) -> None:
    path = tmp_path / "books.binpb"
    path.write_bytes(files.to_bytes())
    books = client.service(SERVICE, schema=Schema(FileSet.read(path), source=str(path)))
    assert door.call(books.create, key="a").key == "a"
    assert list(shop.books) == ["a"]


def test_everything_that_a_gateway_has_is_in_its_schema(door: Door, client: Any) -> None:
    schema = door.call(client.reflect)
    assert list(schema.services) == [SERVICE]
    methods = {one.rpc: one for one in schema.service(SERVICE).methods}
    assert methods["import_"].streaming == "client"
    assert methods["get"].path == f"/{SERVICE}/Get"
    assert methods["get"].origin == "served"


def test_a_compiled_service_by_reflection_keeps_its_http_rules_and_scopes(door: Door, demo: Any) -> None:
    client = door.open(endpoint=f"http://{demo.grpc}", token=demo.token())
    compiled = catalog().method("simple.invoices.create")
    schema = door.call(client.reflect, [compiled.service])
    (served,) = (one for one in schema.service(compiled.service).methods if one.name == "Create")
    assert (served.http, served.scope) == (compiled.http, compiled.scope)
    assert door.call(client.service(compiled.service, schema=schema).list).items is not None


def test_a_service_that_is_not_there_is_named_with_its_neighbours(door: Door, client: Any) -> None:
    with pytest.raises(RequestError, match=f"did you mean {SERVICE}"):
        door.call(client.service, "acme.books.v1.BooksService", schema="server")


def test_a_gateway_without_reflection_says_so(door: Door, gateway: Any) -> None:
    client = door.open(endpoint=gateway.url, token="token")
    with pytest.raises(ReflectionError) as caught:
        door.call(client.reflect)
    assert caught.value.reason == "not-offered"


def test_what_is_no_schema_is_refused(client: Any) -> None:
    with pytest.raises(ConfigError, match='give "server"'):
        client.service(SERVICE, schema="gateway")


def test_a_service_whose_descriptors_cannot_be_used_is_listed_as_a_problem_and_refused(
    door: Door, files: FileSet
) -> None:
    broken = [one for name, one in files.files.items() if name != "books.proto"]
    changed = type(broken[0])()
    changed.CopyFrom(files.files["books.proto"])
    changed.message_type[0].field[0].number = 0
    with reflecting([*broken, changed]) as server:
        schema = door.call(door.open(endpoint=server.url, token="token").reflect)
    assert list(schema.problems) == [SERVICE]
    with pytest.raises(DescriptorError, match="cannot be used"):
        schema.service(SERVICE)
