"""Proto files whose names are as bad as names can be for Python, each of which protoc takes."""

from __future__ import annotations

from typing import Final

FILES: Final = {
    "class/import.proto": """
syntax = "proto3";
package class.def;

message None {
  string from = 1;
  string self = 3;
  int32 str = 4;
  string name = 5;
  class.def.lambda lambda = 6;
  repeated string list = 7;
  message tuple {}
  tuple x = 8;
  map<string, string> dict = 9;
  bytes bytes = 10;
  bool bool = 11;
  bool other = 12;
  bytes another = 13;
  string Mapping = 14;
  map<string, None> more = 15;
  message Z { None Inner = 1; class.def.Inner other = 2; }
  Z Zz = 16;
  int32 __private = 17;
  string request = 18;
  string whole_request = 19;
  string options = 20;
  repeated int32 Iterable = 23;
  string foo = 24;
  string FOO = 25;
  string kwargs = 26;
  ValueError wrong = 27;
  repeated ValueError wrongs = 28;
}
message Inner { string DESCRIPTOR = 1; string SerializeToString = 2; int32 Clear = 3; }
message ValueError { string Any = 1; }
message lambda {
  enum pass { None = 0; True = 1; try = 2; real = 3; Name = 4; }
  pass yield = 1;
}
message FooBar {}
message Foo { message Bar {} Bar a = 1; FooBar b = 2; }
message Typed { Typed again = 1; }
enum global { raise = 0; int = 1; }

service async {
  rpc await(None) returns (lambda);
  rpc List(stream None) returns (stream lambda);
  rpc list(Foo) returns (Foo);
  rpc service(Typed) returns (None);
  rpc __init__(Inner) returns (Inner);
  rpc Async(stream Inner) returns (Inner);
}
service AsyncService { rpc Get(Foo) returns (stream Typed); }
service Rpc { rpc AsyncGet(Foo) returns (Foo); rpc Get(Foo) returns (Foo); }
service Stream { rpc Get(stream Foo) returns (stream Foo); }
""",
    "a.b/c.d-e.proto": """
syntax = "proto3";
package close;
import "class/import.proto";
import public "2x/sp ace.proto";
message M { class.def.None none = 1; class.def.lambda.pass p = 2; class.def.global g = 3; }
service Service { rpc Close(class.def.None) returns (M); }
""",
    "2x/sp ace.proto": 'syntax = "proto3"; package x; message P {} enum E { A = 0; }',
    "2x/sp_ace.proto": 'syntax = "proto3"; package y; message P {}',
    "catalog/client.proto": """
syntax = "proto3";
package acme.v1;
import "2x/sp_ace.proto";
service Shop { rpc Get(y.P) returns (y.P); }
""",
    "clients/likes.proto": """
syntax = "proto3";
package acme.v2;
import "2x/sp_ace.proto";
service Shop { rpc Get(y.P) returns (y.P); }
""",
    "alone.proto": """
edition = "2023";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/descriptor.proto";
import "google/protobuf/type.proto";
message Alone {
  message Group { int32 a = 1; }
  Group group = 1 [features.message_encoding = DELIMITED];
  google.protobuf.NullValue null = 2;
  repeated google.protobuf.NullValue nulls = 3;
  google.protobuf.Timestamp at = 4;
  google.protobuf.Field.Kind kind = 5;
  extensions 100 to 200;
}
extend Alone { Alone whole = 100; repeated string texts = 101; google.protobuf.NullValue void = 102; }
extend google.protobuf.MethodOptions { string rule = 54321; }
service Alone_Service {
  rpc Time(google.protobuf.Timestamp) returns (google.protobuf.Empty);
  rpc Any(google.protobuf.Struct) returns (google.protobuf.Value);
  rpc Nothing(google.protobuf.Empty) returns (Alone) { option (rule) = "say \\"\\"\\" \\\\N"; }
}
""",
    "old.proto": """
syntax = "proto2";
package old;
message Old {
  required string must = 1;
  optional int32 seven = 2 [default = 7];
  repeated group Item = 3 { optional Old again = 1; }
  optional string from = 6;
  optional string from_ = 7 [json_name = "from2"];
  oneof choice { string left = 4; bytes right = 5; }
  extensions 100 to max;
  extend Old { optional Old inner = 101; }
}
service Olds { rpc Get(Old) returns (Old); }
extend Old { optional group Extra = 100 { optional string text = 1; } }
""",
    "new.proto": """
edition = "2024";
package new;
option features.enforce_naming_style = STYLE_LEGACY;
message bad_name { int32 Field = 1; local message hidden {} hidden h = 2; }
service S { rpc G(bad_name) returns (bad_name); }
""",
}
"""Path → text."""
