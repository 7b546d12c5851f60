"""A schema for tests of the change report, and versions of it made by editing its text."""

from __future__ import annotations

import importlib.resources
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from invora_grpc.codegen.googleapis import materialise

File = descriptor_pb2.FileDescriptorProto

STORE = """
syntax = "proto3";
package acme.store.v1;
import "acme/store/v1/types.proto";
import "google/api/annotations.proto";
import "kernel/options.proto";
option go_package = "acme.com/store";

// Sells things.
service ItemService {
  // Makes an item.
  rpc CreateItem(CreateItemRequest) returns (Item) {
    option (google.api.http) = {post: "/v1/items" body: "*"};
    option (kernel.options) = {scope: "Acme.Items.Create"};
  }
  rpc GetItem(GetItemRequest) returns (Item) {
    option (google.api.http) = {get: "/v1/items/{id}"};
    option (kernel.options) = {scope: "Acme.Items.Get"};
  }
  rpc DeleteItem(DeleteItemRequest) returns (DeleteItemResponse) {
    option idempotency_level = IDEMPOTENT;
  }
  rpc WatchItems(WatchItemsRequest) returns (stream Item);
  rpc ArchiveOrder(GetItemRequest) returns (ArchiveOrderResponse);
}

service OrderService {
  rpc PlaceOrder(PlaceOrderRequest) returns (Order);
  rpc FindOrder(FindOrderRequest) returns (Order);
}

message CreateItemRequest {
  Item item = 1;
  string request_id = 2;
}
message GetItemRequest { string id = 1; }
message DeleteItemRequest { string id = 1; }
message DeleteItemResponse {}
message WatchItemsRequest { repeated string ids = 1; int32 page_size = 2; }
message ArchiveOrderResponse { bool done = 1; }
message PlaceOrderRequest { Order order = 1; }
message FindOrderRequest { string id = 1; bool deep = 2; }

// A thing.
message Item {
  reserved 20, 30 to 35;
  reserved "old_name";
  // What it is called.
  string name = 1;
  int32 count = 2;
  int64 weight = 3;
  optional int32 size = 4;
  repeated string tags = 5;
  Color color = 6;
  Money price = 7;
  map<string, int32> stock = 8;
  oneof code {
    string ean = 9;
    string isbn = 10;
  }
  message Part {
    string label = 1;
    Part inner = 2;
  }
  repeated Part parts = 11;
  string note = 12;
  bytes picture = 13;
  repeated int32 sizes = 14;
}
message Order {
  string id = 1;
  repeated Item items = 2;
  Money total = 3;
  Status status = 4;
  double weight = 5;
}

enum Status {
  reserved 9;
  STATUS_UNSPECIFIED = 0;
  STATUS_OPEN = 1;
  STATUS_PAID = 2;
  STATUS_SENT = 3;
}
"""
TYPES = """
syntax = "proto3";
package acme.store.v1;

message Money { int64 units = 1; int32 nanos = 2; string currency = 3; }
message Cash { int64 units = 1; int32 nanos = 2; string currency = 3; }
message Address { string street = 1; string city = 2; string country = 3; }
enum Color { COLOR_UNSPECIFIED = 0; COLOR_RED = 1; COLOR_BLUE = 2; }
"""
LEGACY = """
syntax = "proto2";
package acme.legacy;

message Record {
  extensions 100 to 199;
  required string key = 1;
  optional int32 level = 2 [default = 3];
  optional Grade grade = 3;
  optional string text = 4;
  repeated int32 marks = 5;
}
extend Record { optional string remark = 100; }
enum Grade { GRADE_LOW = 1; GRADE_HIGH = 2; }
"""
MODERN = """
edition = "2023";
package acme.modern;

message Thing {
  int32 number = 1;
  Inner inner = 2;
  string title = 3;
  Mood mood = 4;
  repeated int32 points = 5;
}
message Inner { string a = 1; }
enum Mood { MOOD_NONE = 0; MOOD_GOOD = 1; }
"""
BASE: Mapping[str, str] = {
    "acme/store/v1/store.proto": STORE,
    "acme/store/v1/types.proto": TYPES,
    "acme/legacy.proto": LEGACY,
    "acme/modern.proto": MODERN,
}

Edit = tuple[str, str]
"""A text of the schema, and what stands there instead."""


def edited(*edits: Edit, sources: Mapping[str, str] = BASE) -> dict[str, str]:
    """The sources after the edits. Each must fit, and all its places are edited."""
    found = dict(sources)
    for old, new in edits:
        assert any(old in text for text in found.values()), old
        found = {name: text.replace(old, new) for name, text in found.items()}
    return found


def compiled(sources: Mapping[str, str]) -> list[File]:
    """The descriptors of the sources, with comments, and of all that they import."""
    return [File.FromString(data) for data in _compiled(tuple(sorted(sources.items())))]


@cache
def _compiled(sources: Iterable[tuple[str, str]]) -> tuple[bytes, ...]:
    bundled = str(importlib.resources.files("grpc_tools") / "_proto")
    with tempfile.TemporaryDirectory() as temporary:
        folder, google = Path(temporary, "src"), Path(temporary, "google")
        materialise(google)
        for name, text in sources:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        own = Path(__file__).parent.parent / "proto/common"
        places = [f"-I{place}" for place in (folder, google, own, bundled)]
        out = Path(temporary, "out.binpb")
        flags = ["--include_imports", "--include_source_info", f"--descriptor_set_out={out}"]
        if protoc.main(["protoc", *places, *flags, *(name for name, _ in sources)]) != 0:
            raise ValueError(sources)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
        return tuple(file.SerializeToString() for file in files)
