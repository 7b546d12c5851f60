"""RPCs as HTTP requests: what a REST gateway that knows nothing of this package makes of them is what was meant."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_gateway import NotFound, Rest
from test_schema_printing import PROTOBUF, compiled
from values_random import TEXT, messages

from invora_grpc.call import bind
from invora_grpc.catalog import Method, catalog
from invora_grpc.errors import RequestError
from invora_grpc.schema.descriptors import Schema
from invora_grpc.transcoding import HttpRequest, Template, http_request, printable_json
from invora_grpc.values import build

LIBRARY = """syntax = "proto3";
package library;
import "google/api/annotations.proto";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
enum Genre { GENRE_UNSPECIFIED = 0; GENRE_POEMS = 1; }
message Author { string name = 1; repeated string aliases = 2; Genre genre = 3; }
message Book {
  string name = 1; int64 pages = 2; Author author = 3; map<string, string> labels = 4; repeated Author others = 5;
  google.protobuf.Value extra = 6;
}
message Find {
  string shelf = 1; int32 page = 2; bool new = 3; double price = 4; bytes cover = 5; Genre genre = 6;
  repeated int64 years = 7; repeated Genre genres = 8; Author author = 9; google.protobuf.Timestamp since = 10;
  google.protobuf.Duration loan = 11; google.protobuf.FieldMask mask = 12; google.protobuf.BoolValue lent = 13;
  google.protobuf.StringValue note = 14; optional string maybe_this = 15; optional int32 at_least = 16;
  oneof by { string title = 17; uint64 number = 18; } float weight = 19; google.protobuf.Int64Value count = 20;
  string odd = 21 [json_name = "oddName"];
  map<string, string> labels = 22; repeated Author others = 23; google.protobuf.Struct extra = 24;
}
message Change { Book book = 1; google.protobuf.FieldMask mask = 2; string shelf = 3; int32 number = 4; bool sure = 5; }
service Library {
  rpc List(Find) returns (Find) { option (google.api.http) = { get: "/v1/books" }; }
  rpc Get(Find) returns (Find) { option (google.api.http) = { get: "/v1/shelves/{shelf}/pages/{page}" }; }
  rpc ByGenre(Find) returns (Find) { option (google.api.http) = { get: "/v1/genres/{genre}/{new}" }; }
  rpc Read(Book) returns (Book) { option (google.api.http) = { get: "/v1/{name=rooms/*/books/**}:read" }; }
  rpc Update(Change) returns (Book) { option (google.api.http) = { patch: "/v1/{book.name=books/*}" body: "book" }; }
  rpc Move(Change) returns (Book) { option (google.api.http) = { post: "/v1/{shelf}/{book.pages}:move" body: "*" }; }
  rpc Wild(Find) returns (Find) { option (google.api.http) = { get: "/v1/wild/*" }; }
  rpc Plain(Find) returns (Find);
  rpc Many(stream Find) returns (Find) { option (google.api.http) = { post: "/v1/many" body: "*" }; }
  rpc New(Find) returns (Find) { option (google.api.http) = { get: "/v1/shelves/new/pages/{page}" }; }
  rpc Twin(Find) returns (Find) { option (google.api.http) = { delete: "/v1/{shelf}/twin" }; }
  rpc Other(Find) returns (Find) { option (google.api.http) = { delete: "/v1/{title}/twin" }; }
}
"""


@cache
def library() -> Schema:
    folder = PROTOBUF.parent.parent / "google" / "api"
    sources = {f"google/api/{name}": (folder / name).read_text() for name in ("annotations.proto", "http.proto")}
    return Schema(compiled({"library.proto": LIBRARY, **sources}), source="the library")


def rpc(name: str) -> Method:
    return library().service("library.Library").method(name)


@cache
def rest() -> Rest:
    return Rest(library().service("library.Library").methods)


def http(of: str, /, **fields: Any) -> HttpRequest:
    return http_request(rpc(of), build(bind(rpc(of)).request_class, fields))


def meant(sent: HttpRequest, gateway: Rest) -> tuple[str, bytes]:
    """What a gateway makes of it: RPC and bytes."""
    method, message = gateway.request(sent.verb, sent.target, sent.body)
    return method.path, message.SerializeToString(deterministic=True)


# --- the rules ----------------------------------------------------------------------------------------------------


def test_without_a_body_all_but_the_path_is_query() -> None:
    sent = http("Get", shelf="a b/c", page=3, author={"name": "x&y", "aliases": ["k", "l"]}, maybe_this="")
    assert (sent.verb, sent.path, sent.body) == ("GET", "/v1/shelves/a%20b%2Fc/pages/3", None)
    assert sent.query == (("author.name", "x&y"), ("author.aliases", "k"), ("author.aliases", "l"), ("maybeThis", ""))
    assert sent.target.endswith("?author.name=x%26y&author.aliases=k&author.aliases=l&maybeThis=")


def test_a_body_of_everything_leaves_out_what_the_path_has() -> None:
    sent = http("Move", shelf="s", book={"pages": 7, "name": "n"}, sure=True)
    assert (sent.path, sent.query) == ("/v1/s/7:move", ())
    assert sent.body == '{"book":{"name":"n"},"sure":true}'


def test_a_message_that_holds_nothing_but_what_the_path_has_is_left_out() -> None:
    assert http("Move", shelf="s", book={"pages": 7}).body == "{}"


def test_a_body_of_one_field_leaves_the_rest_to_the_query() -> None:
    sent = http("Update", book={"name": "books/1", "labels": {"a": "b"}}, mask=["labels"], sure=True)
    assert (sent.path, sent.body) == ("/v1/books/1", '{"labels":{"a":"b"}}')
    assert sent.query == (("mask", "labels"), ("sure", "true"))


def test_a_variable_of_several_segments_keeps_its_slashes() -> None:
    assert http("Read", name="rooms/1 a/books/b/c:d").path == "/v1/rooms/1%20a/books/b/c%3Ad:read"


def test_values_stand_in_a_url_as_in_json() -> None:
    sent = http(
        "List",
        since="2026-01-02T03:04:05Z",
        loan="90s",
        mask=["a.b_c", "d"],
        lent=False,
        count=2**60,
        genre="POEMS",
        years=[1, 2],
        cover=b"\xfb\xff",
        price=0.1,
    )
    assert dict(sent.query) == {
        "since": "2026-01-02T03:04:05Z",
        "loan": "90s",
        "mask": "a.bC,d",
        "lent": "false",
        "count": str(2**60),
        "genre": "GENRE_POEMS",
        "years": "2",
        "cover": "+/8=",
        "price": "0.1",
    }
    assert "cover=%2B%2F8%3D" in sent.target


def test_zero_false_and_unspecified_have_a_text_in_a_path() -> None:
    assert http("ByGenre").path == "/v1/genres/GENRE_UNSPECIFIED/false"


def test_a_path_of_its_own_goes_before_one_with_variables() -> None:
    assert http("New", page=1).path == "/v1/shelves/new/pages/1"
    with pytest.raises(RequestError, match=r"has the HTTP path of library\.Library/New too"):
        http("Get", shelf="new", page=1)


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fields", "told"),
    [
        ("Get", {"page": 1}, "shelf: '' is empty; give it: it is a part of the HTTP path"),
        ("Move", {"shelf": "s"}, "book.pages: None is missing"),
        ("Get", {"shelf": ".."}, r"shelf: '\.\.' has a step that HTTP leaves out"),
        ("Read", {"name": "rooms/1/books/a//b"}, "has a step that HTTP leaves out"),
        ("Read", {"name": "rooms/1"}, r"does not fit the HTTP path; give a value of the form rooms/\*/books/\*\*"),
        ("List", {"labels": {"a": "b"}}, "labels: .*cannot be a query parameter"),
        ("List", {"others": [{"name": "x"}]}, "others: .*cannot be a query parameter"),
        ("List", {"extra": {"a": 1}}, "extra: .*cannot be a query parameter"),
        ("List", {"author": {}}, "author: .*is an empty message"),
        ("Wild", {}, "has a wildcard that is no field"),
        ("Plain", {}, "library.Library/Plain' has no HTTP rule; use gRPC"),
        ("Many", {}, "streams its requests; use gRPC"),
        (
            "Twin",
            {"shelf": "x"},
            "has the HTTP path of library.Library/Other too, and a gateway cannot tell them apart",
        ),
    ],
)
def test_what_http_cannot_say_is_refused_by_name(name: str, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestError, match=told):
        http(name, **fields)


def test_what_json_would_change_is_refused() -> None:
    book = bind(rpc("Update")).request_class()
    filled: Any = book
    filled.book.name = "books/1"
    filled.book.extra.SetInParent()  # a Value without a value comes back from JSON as null
    with pytest.raises(RequestError, match="cannot be written as JSON"):
        http_request(rpc("Update"), book)


def test_fields_that_have_no_name_are_refused() -> None:
    newer = bind(rpc("List")).request_class.FromString(b"\xfa\x3f\x01x")
    with pytest.raises(RequestError, match="has fields that the schema does not know"):
        http_request(rpc("List"), newer)


@pytest.mark.parametrize(
    "text", ["v1/x", "/v1/{a", "/v1/{}", "/v1/{a.}", "/v1/{a=b", "/v1/a}", "/{1a}", "", "/a b", "/a\x1b[31m"]
)
def test_what_is_no_path_template_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="is no path template"):
        Template.parse(text)


# --- there and back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["List", "Get", "ByGenre", "Read", "Update", "Move", "New"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_a_gateway_reads_the_very_request_or_it_is_refused(name: str, data: st.DataObject) -> None:
    message = data.draw(messages(bind(rpc(name)).request_class))
    if name in ("Update", "Read"):
        holder = message.book if name == "Update" else message
        holder.name = {"Update": "books/", "Read": "rooms/ü/books/"}[name] + data.draw(TEXT)
    elif name in ("Get", "Move"):
        message.shelf = data.draw(TEXT)
    try:
        sent = http_request(rpc(name), message)
    except RequestError:
        return
    assert meant(sent, rest()) == (rpc(name).path, message.SerializeToString(deterministic=True))


@settings(max_examples=150)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8))
def test_a_path_holds_every_text(text: str) -> None:
    template = Template.parse("/v1/{id}/x:do")
    if text not in (".", ".."):
        path = template.expand({"id": text})
        assert path.isascii()
        assert template.match(path) == {"id": text}


def filled(method: Method) -> Any:
    """A request with all that the path needs, and one text besides."""
    assert method.http is not None
    request = bind(method).request_class()
    for path in Template.parse(method.http.path).variables:
        holder: Any = request
        *outer, last = path.split(".")
        for name in outer:
            holder = getattr(holder, name)
        field = holder.DESCRIPTOR.fields_by_name[last]
        setattr(holder, last, "a/b ü:c" if field.type == FieldDescriptor.TYPE_STRING else 1)
    for field in bind(method).request_class.DESCRIPTOR.fields:
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated and not getattr(request, field.name):
            setattr(request, field.name, "x y")
            break
    return request


def test_every_rpc_with_a_path_of_its_own_comes_back_as_itself_and_every_other_is_refused() -> None:
    gateway, told = Rest(catalog().methods), {"meant": 0, "shared": 0}
    for method in catalog().methods:
        if method.http is None:
            continue
        request = filled(method)
        try:
            sent = http_request(method, request)
        except RequestError as error:
            assert "has the HTTP path of" in str(error)
            told["shared"] += 1
        else:
            assert meant(sent, gateway) == (method.path, request.SerializeToString(deterministic=True))
            told["meant"] += 1
    assert told["meant"] > 300
    assert told["shared"] > 0


def test_what_is_refused_as_shared_is_shared() -> None:
    method = catalog().method("billing.alerts.list")
    with pytest.raises(NotFound):
        assert method.http is not None
        Rest(catalog().methods).request("GET", method.http.path, None)


def test_json_for_terminals_shows_every_script_and_no_control() -> None:
    assert printable_json({"a": "فاتورة\x1b\u202e\U000e0041é"}) == '{"a":"فاتورة\\u001b\\u202e\\udb40\\udc41é"}'
