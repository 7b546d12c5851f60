"""What can happen to the schema of `changed_schema`, and what the change report has to say: calls, and the harmless.

Each case: what happens → the edits, and all changes that are to be found, in order, as "kind symbol: who breaks". Names
of the package acme.store.v1 are written without it.
"""

from __future__ import annotations

from collections.abc import Mapping

from changed_schema import Edit

Cases = Mapping[str, tuple[list[Edit], list[str]]]

ORDER_SERVICE = """service OrderService {
  rpc PlaceOrder(PlaceOrderRequest) returns (Order);
  rpc FindOrder(FindOrderRequest) returns (Order);
}"""
WATCH_ITEMS = "rpc WatchItems(WatchItemsRequest) returns (stream Item);"
GET_ITEM = """  rpc GetItem(GetItemRequest) returns (Item) {
    option (google.api.http) = {get: "/v1/items/{id}"};
    option (kernel.options) = {scope: "Acme.Items.Get"};
  }
"""

CALLS: Cases = {
    "a response becomes another message and the old one is gone": (
        [
            ("message ArchiveOrderResponse { bool done = 1; }", "message Other { string x = 4; }"),
            ("returns (ArchiveOrderResponse)", "returns (Other)"),
        ],
        [
            "response-type-changed ItemService/ArchiveOrder: wire json source",
            "message-removed ArchiveOrderResponse: source",
            "message-added Other: nobody",
        ],
    ),
    "a message that nobody uses is gone": (
        [("message Cash { int64 units = 1; int32 nanos = 2; string currency = 3; }", "")],
        ["message-removed Cash: source"],
    ),
    "a service is gone": (
        [
            (
                ORDER_SERVICE,
                "",
            )
        ],
        ["service-removed OrderService: wire source", "client-path-changed ItemService: source"],
    ),
    "a service gets a plural": (
        [("service OrderService", "service OrdersService")],
        ["service-renamed OrderService: wire source", "client-path-changed OrderService: source"],
    ),
    "an RPC is gone": (
        [("  rpc WatchItems(WatchItemsRequest) returns (stream Item);\n", "")],
        ["rpc-removed ItemService/WatchItems: wire source"],
    ),
    "an RPC with a URL is gone": (
        [
            (
                GET_ITEM,
                "",
            )
        ],
        ["rpc-removed ItemService/GetItem: wire rest source"],
    ),
    "an RPC is renamed": ([("rpc GetItem(", "rpc ReadItem(")], ["rpc-renamed ItemService/GetItem: wire source"]),
    "an RPC moves to another service": (
        [
            ("  rpc ArchiveOrder(GetItemRequest) returns (ArchiveOrderResponse);\n", ""),
            ("  rpc FindOrder", "  rpc ArchiveOrder(GetItemRequest) returns (ArchiveOrderResponse);\n  rpc FindOrder"),
        ],
        ["rpc-moved ItemService/ArchiveOrder: wire source"],
    ),
    "an RPC takes another message": (
        [("rpc FindOrder(FindOrderRequest)", "rpc FindOrder(GetItemRequest)")],
        ["request-type-changed OrderService/FindOrder: wire json source"],
    ),
    "an RPC gives a message of the same shape": (
        [
            ("message PlaceOrderRequest", "message Receipt { bool done = 1; }\nmessage PlaceOrderRequest"),
            ("returns (ArchiveOrderResponse)", "returns (Receipt)"),
        ],
        ["response-type-changed ItemService/ArchiveOrder: source", "message-added Receipt: nobody"],
    ),
    "a stream becomes one response": (
        [("returns (stream Item)", "returns (Item)")],
        ["streaming-changed ItemService/WatchItems: wire source"],
    ),
    "a request becomes a stream": (
        [("rpc PlaceOrder(PlaceOrderRequest)", "rpc PlaceOrder(stream PlaceOrderRequest)")],
        ["streaming-changed OrderService/PlaceOrder: wire source"],
    ),
    "a scope is gone": (
        [('    option (kernel.options) = {scope: "Acme.Items.Get"};\n', "")],
        ["scope-changed ItemService/GetItem: rights"],
    ),
    "a URL changes": (
        [('get: "/v1/items/{id}"', 'get: "/v1/item/{id}"')],
        ["http-rule-changed ItemService/GetItem: rest"],
    ),
    "the verb of a URL changes": (
        [('post: "/v1/items" body: "*"', 'put: "/v1/items" body: "*"')],
        ["http-rule-changed ItemService/CreateItem: rest"],
    ),
    "what the body of a URL is changes": (
        [('post: "/v1/items" body: "*"', 'post: "/v1/items" body: "item"')],
        ["http-rule-changed ItemService/CreateItem: rest"],
    ),
    "a URL is gone": (
        [('    option (google.api.http) = {get: "/v1/items/{id}"};\n', "")],
        ["http-rule-removed ItemService/GetItem: rest"],
    ),
    "an RPC is no longer idempotent": (
        [("option idempotency_level = IDEMPOTENT;", "")],
        ["idempotency-changed ItemService/DeleteItem: wire"],
    ),
    "a message is renamed": (
        [("FindOrderRequest", "SearchOrderRequest")],
        ["message-renamed FindOrderRequest: source"],
    ),
    "a message moves to another file": (
        [
            ("message Address { string street = 1; string city = 2; string country = 3; }", ""),
            (
                "message GetItemRequest {",
                "message Address { string street = 1; string city = 2; string country = 3; }\nmessage GetItemRequest {",
            ),
        ],
        ["message-moved Address: source"],
    ),
    "a nested message moves out": (
        [
            ("  message Part {\n    string label = 1;\n    Part inner = 2;\n  }\n", ""),
            ("// A thing.\n", "message Part { string label = 1; Part inner = 2; }\n// A thing.\n"),
        ],
        ["message-renamed Item.Part: source"],
    ),
    "a package is renamed": (
        [("package acme.legacy", "package acme.legacy2")],
        ["package-changed acme/legacy.proto: wire source"],
    ),
    "a package with services is renamed": (
        [("package acme.store.v1;", "package acme.store.v2;")],
        [
            "package-changed acme/store/v1/store.proto: wire source",
            "package-changed acme/store/v1/types.proto: wire source",
        ],
    ),
    "an edition becomes proto3": (
        [('edition = "2023";', 'syntax = "proto3";')],
        [
            "syntax-changed acme/modern.proto: source",
            "presence-changed acme.modern.Inner.a: source",
            "presence-changed acme.modern.Thing.mood: source",
            "presence-changed acme.modern.Thing.number: source",
            "presence-changed acme.modern.Thing.title: source",
        ],
    ),
    "an option for another language changes": (
        [('option go_package = "acme.com/store"', 'option go_package = "acme.com/stores"')],
        ["option-changed acme/store/v1/store.proto: source"],
    ),
}
"""About files, services, RPCs and where types are; each breaks somebody."""
HARMLESS: Cases = {
    "a service is new": (
        [
            (
                "message GetItemRequest {",
                "service NewService { rpc A(GetItemRequest) returns (Item); }\nmessage GetItemRequest {",
            )
        ],
        ["service-added NewService: nobody"],
    ),
    "a comment of a message changes": ([("// A thing.", "// A fine thing.")], ["comment-changed Item: nobody"]),
    "a comment of a field is gone": ([("// What it is called.", "")], ["comment-changed Item.name: nobody"]),
    "a field is new": (
        [("string note = 12", "string note = 12; string extra = 40")],
        ["field-added Item.extra: nobody"],
    ),
    "a message is new": (
        [("// A thing.\n", "message Fresh { string a = 1; }\n// A thing.\n")],
        ["message-added Fresh: nobody"],
    ),
    "an RPC is new": (
        [("  rpc FindOrder", "  rpc CancelOrder(FindOrderRequest) returns (Order);\n  rpc FindOrder")],
        ["rpc-added OrderService/CancelOrder: nobody"],
    ),
    "a value is new": (
        [("STATUS_SENT = 3", "STATUS_SENT = 3; STATUS_BACK = 4")],
        ["enum-value-added Status.STATUS_BACK: nobody"],
    ),
    "an enum is new": ([("enum Status", "enum Extra { EXTRA_NONE = 0; }\nenum Status")], ["enum-added Extra: nobody"]),
    "fields stand in another order": (
        [("  string note = 12;\n  bytes picture = 13;\n", "  bytes picture = 13;\n  string note = 12;\n")],
        ["layout-changed acme/store/v1/store.proto: nobody"],
    ),
    "a field is deprecated": (
        [("string note = 12", "string note = 12 [deprecated = true]")],
        ["deprecated Item.note: nobody"],
    ),
    "an RPC is deprecated": (
        [
            (
                "rpc WatchItems(WatchItemsRequest) returns (stream Item);",
                "rpc WatchItems(WatchItemsRequest) returns (stream Item) { option deprecated = true; }",
            )
        ],
        ["deprecated ItemService/WatchItems: nobody"],
    ),
    "more numbers are reserved": ([("reserved 20,", "reserved 20 to 25,")], ["reserved-added Item: nobody"]),
    "numbers are no longer packed": (
        [("repeated int32 sizes = 14", "repeated int32 sizes = 14 [packed = false]")],
        ["packing-changed Item.sizes: nobody"],
    ),
    "an RPC gets a second URL": (
        [('get: "/v1/items/{id}"', 'get: "/v1/items/{id}" additional_bindings {get: "/v2/items/{id}"}')],
        ["http-rule-added ItemService/GetItem: nobody"],
    ),
    "an RPC gets a URL": (
        [
            (
                WATCH_ITEMS,
                WATCH_ITEMS.replace(";", ' { option (google.api.http) = {get: "/v1/watch"}; }'),
            )
        ],
        ["http-rule-added ItemService/WatchItems: nobody"],
    ),
    "a oneof of new fields is added": (
        [("string note = 12;", "string note = 12; oneof fresh { string fa = 41; string fb = 42; }")],
        ["field-added Item.fa: nobody", "field-added Item.fb: nobody", "oneof-added Item.fresh: nobody"],
    ),
    "a oneof gets a new member": (
        [("    string isbn = 10;", "    string isbn = 10; string upc = 43;")],
        ["field-added Item.upc: nobody"],
    ),
    "a value gets an alias": (
        [("  STATUS_SENT = 3;", "  option allow_alias = true; STATUS_SENT = 3; STATUS_SHIPPED = 3;")],
        ["option-changed Status: nobody", "enum-value-added Status.STATUS_SHIPPED: nobody"],
    ),
    "only whitespace changes": ([("message Order {", "message   Order   {\n\n")], []),
    "a JSON name is written that was so anyway": (
        [("int32 page_size = 2", 'int32 page_size = 2 [json_name = "pageSize"]')],
        [],
    ),
    "a range of extensions grows": (
        [("extensions 100 to 199", "extensions 100 to 299")],
        ["extension-range-added acme.legacy.Record: nobody"],
    ),
    "a range of extensions is written as two": (
        [("extensions 100 to 199", "extensions 100 to 149, 150 to 199")],
        ["layout-changed acme/legacy.proto: nobody"],
    ),
    "a nested message is new": (
        [("  message Part {", "  message Spare { string a = 1; }\n  message Part {")],
        ["message-added Item.Spare: nobody"],
    ),
}
"""Nobody breaks by these."""
