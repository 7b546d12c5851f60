"""A shop's schema, nobody's but the tests': its names collide with Python's, and it keeps none of Invora's promises."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from foreign import packaged

PACKAGE = "acme_api"
STORE = "acme/store/v1/store-front.proto"
SOURCES = {
    STORE: """
        // Things to buy.
        syntax = "proto3";
        package acme.store.v1;
        import "acme/store/v1/things.proto";
        import "google/api/annotations.proto";
        import "google/protobuf/wrappers.proto";

        // What the shop does.
        service StoreService {
          // One thing, by its key.
          rpc Get(GetRequest) returns (Thing) { option (google.api.http) = {get: "/v1/things/{key}"}; }
          rpc Create(Thing) returns (Thing) { option (google.api.http) = {post: "/v1/things" body: "*"}; }
          rpc Buy(GetRequest) returns (Thing);
          rpc GetAndReserve(GetRequest) returns (Thing);
          rpc Appraise(GetRequest) returns (Thing) { option idempotency_level = NO_SIDE_EFFECTS; }
          rpc List(ListRequest) returns (ListResponse);
          rpc Search(GetRequest) returns (Found);
          rpc Watch(GetRequest) returns (stream Thing);
          rpc Upload(stream Thing) returns (Thing);
          rpc Haggle(stream Thing) returns (stream Thing);
          rpc Import(Thing) returns (Thing);
          rpc Service(Thing) returns (Thing);
        }

        service DepotService { rpc GetAndReserve(GetRequest) returns (Thing); }

        message GetRequest { string key = 1; }
        message Page { string cursor = 1; google.protobuf.Int32Value limit = 2; }
        message ListRequest { Page pagination = 1; }
        message ListResponse { repeated Thing items = 1; string next_page_cursor = 2; }
        message Found { repeated Thing things = 1; string next_page_token = 2; }
    """,
    "acme/store/v1/things.proto": """
        syntax = "proto2";
        package acme.store.v1;

        message Thing {
          optional string key = 1;
          optional string self = 2;
          optional string from = 3;
          map<string, int32> options = 4;
          optional string request = 5;
          optional group Part = 6 { optional bool class = 1; }
          repeated Thing given = 7;
          optional State None = 8 [default = SOLD];
          enum State { NEW = 0; SOLD = 1; }
        }
    """,
    "acme/desk/desk.proto": """
        syntax = "proto3";
        package service.v1;
        message Bell { string tone = 1; }
        service DeskService { rpc Ring(Bell) returns (Bell); }
    """,
}
PATH = "/acme.store.v1.StoreService/"


def shop(folder: Path, package: str = PACKAGE) -> ModuleType:
    """The clients of the shop, generated into the folder."""
    packaged(folder, package, SOURCES)
    return import_module(f"{package}.client")
