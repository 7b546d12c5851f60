"""What can happen to the schema of `changed_schema`, and what the change report has to say about it: types.

Each case: what happens → the edits, and all changes that are to be found, in order, as "kind symbol: who breaks". Names
of the package acme.store.v1 are written without it.
"""

from __future__ import annotations

from collections.abc import Mapping

from changed_schema import Edit

Cases = Mapping[str, tuple[list[Edit], list[str]]]

TYPES: Cases = {
    "a field is gone": ([("  string note = 12;\n", "")], ["field-removed Item.note: wire json source"]),
    "a field is gone and reserved": (
        [("  string note = 12;\n", '  reserved 12; reserved "note";\n')],
        ["field-removed Item.note: json source", "reserved-added Item: nobody"],
    ),
    "a field is renamed": ([("string note = 12", "string remark = 12")], ["field-renamed Item.note: json source"]),
    "a field is renumbered": ([("string note = 12", "string note = 16")], ["field-renumbered Item.note: wire"]),
    "two fields swap their numbers": (
        [("int32 count = 2", "int32 count = 3"), ("int64 weight = 3", "int64 weight = 2")],
        ["field-renumbered Item.count: wire", "field-renumbered Item.weight: wire"],
    ),
    "a field of another type takes the number of one that is gone": (
        [("string note = 12", "int64 stamp = 12")],
        ["field-removed Item.note: wire json source", "number-reused Item.stamp: wire"],
    ),
    "a field moves on and a new one takes its number": (
        [("string note = 12", "string note = 17; int64 stamp = 12")],
        ["field-renumbered Item.note: wire", "number-reused Item.stamp: wire"],
    ),
    "an int32 becomes an int64": ([("int32 count = 2", "int64 count = 2")], ["type-changed Item.count: json source"]),
    "an int32 becomes a uint32": ([("int32 count = 2", "uint32 count = 2")], ["type-changed Item.count: source"]),
    "an int32 becomes a sint32": ([("int32 count = 2", "sint32 count = 2")], ["type-changed Item.count: wire source"]),
    "a number becomes a string": (
        [("int32 count = 2", "string count = 2")],
        ["type-changed Item.count: wire json source"],
    ),
    "a string becomes bytes": ([("string note = 12", "bytes note = 12")], ["type-changed Item.note: json source"]),
    "bytes become a string": (
        [("bytes picture = 13", "string picture = 13")],
        ["type-changed Item.picture: wire json source"],
    ),
    "an enum becomes a number": ([("Color color = 6", "int32 color = 6")], ["type-changed Item.color: json source"]),
    "a message becomes bytes": ([("Money price = 7", "bytes price = 7")], ["type-changed Item.price: json source"]),
    "a field takes a message of the same shape": (
        [("Money price = 7", "Cash price = 7")],
        ["type-changed Item.price: source"],
    ),
    "a field takes another message": (
        [("Money price = 7", "Address price = 7")],
        ["type-changed Item.price: wire json source"],
    ),
    "a field takes another enum": (
        [("Color color = 6", "Status color = 6")],
        ["type-changed Item.color: wire json source"],
    ),
    "the values of a map change": (
        [("map<string, int32> stock", "map<string, string> stock")],
        ["type-changed Item.stock: wire json source"],
    ),
    "the keys of a map change": (
        [("map<string, int32> stock", "map<int32, int32> stock")],
        ["type-changed Item.stock: wire json source"],
    ),
    "a map becomes a list": (
        [("map<string, int32> stock", "repeated string stock")],
        ["type-changed Item.stock: wire json source"],
    ),
    "a string becomes many": (
        [("string note = 12", "repeated string note = 12")],
        ["cardinality-changed Item.note: json source"],
    ),
    "a number becomes many": (
        [("int32 count = 2", "repeated int32 count = 2")],
        ["cardinality-changed Item.count: wire json source"],
    ),
    "many messages become one": (
        [("repeated Part parts", "Part parts")],
        ["cardinality-changed Item.parts: json source"],
    ),
    "optional is dropped": ([("optional int32 size", "int32 size")], ["presence-changed Item.size: source"]),
    "optional is added": ([("int32 count = 2", "optional int32 count = 2")], ["presence-changed Item.count: source"]),
    "a field joins a oneof": (
        [
            ("    string isbn = 10;\n  }", "    string isbn = 10;\n    string note = 12;\n  }"),
            ("  }\n  repeated Part parts = 11;\n  string note = 12;", "  }\n  repeated Part parts = 11;"),
        ],
        ["oneof-joined Item.note: wire source"],
    ),
    "a field leaves a oneof": (
        [("    string isbn = 10;\n  }", "  }\n  string isbn = 10;")],
        ["oneof-left Item.isbn: wire source"],
    ),
    "a oneof is dissolved": (
        [
            (
                "  oneof code {\n    string ean = 9;\n    string isbn = 10;\n  }",
                "  string ean = 9;\n  string isbn = 10;\n",
            )
        ],
        ["oneof-left Item.ean: wire source", "oneof-left Item.isbn: wire source", "oneof-removed Item.code: source"],
    ),
    "a oneof is renamed": ([("oneof code", "oneof codes")], ["oneof-renamed Item.code: source"]),
    "a member of a oneof is gone": ([("    string isbn = 10;\n", "")], ["field-removed Item.isbn: wire json source"]),
    "a JSON name changes": (
        [("int32 page_size = 2", 'int32 page_size = 2 [json_name = "size"]')],
        ["json-name-changed WatchItemsRequest.page_size: json"],
    ),
    "a number is no longer reserved": (
        [("reserved 20, 30 to 35", "reserved 30 to 35")],
        ["reserved-removed Item: wire json"],
    ),
    "a range is reserved in part": (
        [("reserved 20, 30 to 35", "reserved 20, 30 to 33")],
        ["reserved-removed Item: wire json"],
    ),
    "a name is no longer reserved": ([('  reserved "old_name";\n', "")], ["reserved-removed Item: wire json"]),
    "a number of an enum is no longer reserved": ([("  reserved 9;\n", "")], ["reserved-removed Status: wire json"]),
    "a value is gone": ([("  STATUS_SENT = 3;\n", "")], ["enum-value-removed Status.STATUS_SENT: wire json source"]),
    "a value is gone and reserved": (
        [("  STATUS_SENT = 3;\n", '  reserved 3; reserved "STATUS_SENT";\n')],
        ["enum-value-removed Status.STATUS_SENT: json source", "reserved-added Status: nobody"],
    ),
    "a value is renamed": (
        [("STATUS_SENT = 3", "STATUS_SHIPPED = 3")],
        ["enum-value-renamed Status.STATUS_SENT: json source"],
    ),
    "a value is renumbered": (
        [("STATUS_SENT = 3", "STATUS_SENT = 4")],
        ["enum-value-renumbered Status.STATUS_SENT: wire"],
    ),
    "two values swap their numbers": (
        [("STATUS_SENT = 3", "STATUS_SENT = 2"), ("STATUS_PAID = 2", "STATUS_PAID = 3")],
        ["enum-value-renumbered Status.STATUS_PAID: wire", "enum-value-renumbered Status.STATUS_SENT: wire"],
    ),
    "a value moves on and a new one takes its number": (
        [("STATUS_SENT = 3", "STATUS_SENT = 5; STATUS_LOST = 3")],
        ["enum-number-reused Status.STATUS_LOST: wire", "enum-value-renumbered Status.STATUS_SENT: wire"],
    ),
    "an enum is gone": (
        [
            ("Color color = 6;", "int32 color = 6;"),
            ("enum Color { COLOR_UNSPECIFIED = 0; COLOR_RED = 1; COLOR_BLUE = 2; }", ""),
        ],
        ["type-changed Item.color: json source", "enum-removed Color: source"],
    ),
    "an enum is renamed": ([("Color", "Colour")], ["enum-renamed Color: source"]),
    "a default changes": (
        [("default = 3", "default = 4")],
        ["default-changed acme.legacy.Record.level: wire json source"],
    ),
    "a default is gone": ([(" [default = 3]", "")], ["default-changed acme.legacy.Record.level: wire json source"]),
    "a required field becomes optional": (
        [("required string key", "optional string key")],
        ["required-changed acme.legacy.Record.key: wire json source"],
    ),
    "an optional field becomes required": (
        [("optional string text", "required string text")],
        ["required-changed acme.legacy.Record.text: wire json source"],
    ),
    "a required field is new": (
        [("repeated int32 marks = 5", "repeated int32 marks = 5; required bool sure = 6")],
        ["required-field-added acme.legacy.Record.sure: wire json source"],
    ),
    "a required field is gone": (
        [("  required string key = 1;\n", "")],
        ["field-removed acme.legacy.Record.key: wire json source"],
    ),
    "a range of extensions is cut": (
        [("extensions 100 to 199", "extensions 100 to 149")],
        ["extension-range-removed acme.legacy.Record: wire source"],
    ),
    "an extension is gone": (
        [("extend Record { optional string remark = 100; }", "")],
        ["extension-removed acme.legacy.remark: wire json source"],
    ),
    "an extension is renumbered": ([("remark = 100", "remark = 101")], ["field-renumbered acme.legacy.remark: wire"]),
    "an extension changes its type": (
        [("optional string remark", "optional int32 remark")],
        ["type-changed acme.legacy.remark: wire json source"],
    ),
    "an extension is renamed": (
        [("optional string remark", "optional string comment")],
        ["extension-renamed acme.legacy.remark: json source"],
    ),
    "another value of a closed enum comes first": (
        [("GRADE_LOW = 1; GRADE_HIGH = 2;", "GRADE_HIGH = 2; GRADE_LOW = 1;")],
        ["enum-default-changed acme.legacy.Grade: wire json source"],
    ),
    "a closed enum gets a value": (
        [("GRADE_HIGH = 2;", "GRADE_HIGH = 2; GRADE_TOP = 3;")],
        ["closed-enum-value-added acme.legacy.Grade.GRADE_TOP: wire"],
    ),
    "a message is encoded as a group": (
        [("Inner inner = 2", "Inner inner = 2 [features.message_encoding = DELIMITED]")],
        ["encoding-changed acme.modern.Thing.inner: wire"],
    ),
    "a field of an edition loses presence": (
        [("string title = 3", "string title = 3 [features.field_presence = IMPLICIT]")],
        ["presence-changed acme.modern.Thing.title: source"],
    ),
    "a string may be any bytes": (
        [("string title = 3", "string title = 3 [features.utf8_validation = NONE]")],
        ["utf8-changed acme.modern.Thing.title: wire source"],
    ),
    "an enum is closed": (
        [("enum Mood {", "enum Mood { option features.enum_type = CLOSED;")],
        ["enum-openness-changed acme.modern.Mood: wire source"],
    ),
    "an enum is no longer sure to fit into JSON": (
        [("enum Mood {", "enum Mood { option features.json_format = LEGACY_BEST_EFFORT;")],
        ["json-format-changed acme.modern.Mood: json"],
    ),
    "an option for JavaScript changes": (
        [("int64 weight = 3", "int64 weight = 3 [jstype = JS_STRING]")],
        ["option-changed Item.weight: source"],
    ),
}
"""About messages, fields, oneofs, enums and extensions; each breaks somebody."""
