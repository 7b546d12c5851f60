"""A schema with every kind of field, compiled at test time into a pool of its own, and random messages of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc_tools
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc

from invora_grpc.errors import RequestError
from invora_grpc.values import build

KERNEL = """
syntax = "proto3";
package kernel;
message DecimalValue { int64 units = 1; sfixed32 nanos = 2; }
message StringList { repeated string items = 1; }
"""

SHOP = """
syntax = "proto3";
package shop;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "google/type/date.proto";
import "google/type/timeofday.proto";
import "kernel/decimal.proto";

enum CurrencyEnum {
  CURRENCY_ENUM_UNSPECIFIED = 0; CURRENCY_ENUM_SAR = 1; CURRENCY_ENUM_SEK = 2; CURRENCY_ENUM_EGP = 3;
}
enum Odd { ODD_NONE = 0; ODD_Kg = 1; ODD_ODD_NONE = 3; }
enum Shared { PIPE_ROUND = 0; PIPE_SQUARE = 1; PIPE_SQUARE_LONG = -7; }
enum Alias { option allow_alias = true; ALIAS_A = 0; ALIAS_B = 1; ALIAS_BEE = 1; }
enum Bare { RED = 0; GREEN = 1; }

message Scalars {
  double a_double = 1; float a_float = 2; int32 a_int32 = 3; int64 a_int64 = 4; uint32 a_uint32 = 5;
  uint64 a_uint64 = 6; sint32 a_sint32 = 7; sint64 a_sint64 = 8; fixed32 a_fixed32 = 9; fixed64 a_fixed64 = 10;
  sfixed32 a_sfixed32 = 11; sfixed64 a_sfixed64 = 12; bool a_bool = 13; string a_string = 14; bytes a_bytes = 15;
  CurrencyEnum a_enum = 16;
}
message Present {
  optional double a_double = 1; optional float a_float = 2; optional int32 a_int32 = 3; optional uint64 a_uint64 = 6;
  optional bool a_bool = 13; optional string a_string = 14; optional bytes a_bytes = 15;
  optional CurrencyEnum a_enum = 16;
}
message Lists {
  repeated double doubles = 1; repeated int32 ints = 2; repeated bool bools = 3; repeated string texts = 4;
  repeated bytes blobs = 5; repeated CurrencyEnum enums = 6; repeated kernel.DecimalValue decimals = 7;
  repeated Lists lists = 8; repeated google.protobuf.Timestamp instants = 9; repeated google.protobuf.Value values = 10;
}
message Maps {
  map<string, string> by_string = 1; map<int32, double> by_int32 = 2; map<int64, bytes> by_int64 = 3;
  map<uint32, bool> by_uint32 = 4; map<uint64, CurrencyEnum> by_uint64 = 5; map<sint32, float> by_sint32 = 6;
  map<sint64, Scalars> by_sint64 = 7; map<fixed32, kernel.DecimalValue> by_fixed32 = 8;
  map<fixed64, google.protobuf.Timestamp> by_fixed64 = 9; map<sfixed32, google.protobuf.Struct> by_sfixed32 = 10;
  map<sfixed64, Maps> by_sfixed64 = 11; map<bool, string> by_bool = 12; map<string, google.protobuf.Value> values = 13;
}
message Kinds {
  kernel.DecimalValue decimal = 1; google.protobuf.Timestamp instant = 2; google.type.Date day = 3;
  google.type.TimeOfDay clock = 4; google.protobuf.Duration span = 5; google.protobuf.FieldMask mask = 6;
  google.protobuf.Struct struct = 7; google.protobuf.Value value = 8; google.protobuf.ListValue list = 9;
  google.protobuf.Any any = 10; kernel.StringList names = 11;
}
message Wrapped {
  google.protobuf.DoubleValue double = 1; google.protobuf.FloatValue float = 2; google.protobuf.Int64Value int64 = 3;
  google.protobuf.UInt64Value uint64 = 4; google.protobuf.Int32Value int32 = 5; google.protobuf.UInt32Value uint32 = 6;
  google.protobuf.BoolValue bool = 7; google.protobuf.StringValue string = 8; google.protobuf.BytesValue bytes = 9;
}
message Choice {
  oneof pick {
    string text = 1; int32 number = 2; Choice nested = 3; kernel.DecimalValue amount = 4;
    google.protobuf.Value value = 5;
  }
  string note = 6;
}
message Order {
  string order_id = 1;
  repeated Line lines = 2;
  CurrencyEnum currency = 3;
  Order parent = 4;
  int64 from = 5;
  map<string, Line> lines_by_name = 6;
  Odd odd = 7; Shared shared = 8; Alias alias = 9; Bare bare = 10;
}
message Line { string product_name = 1; kernel.DecimalValue unit_price = 2; uint32 quantity = 3; }
message Nothing {}
message Everything {
  Scalars scalars = 1; Present present = 2; Lists lists = 3; Maps maps = 4; Kinds kinds = 5; Wrapped wrapped = 6;
  Choice choice = 7; Order order = 8; Nothing nothing = 9; Everything everything = 10;
}
"""


def _compiled() -> list[descriptor_pb2.FileDescriptorProto]:
    spec = importlib.util.find_spec("google.type")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    site = Path(next(iter(spec.submodule_search_locations))).parents[1]
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "kernel").mkdir()
        (root / "kernel/decimal.proto").write_text(KERNEL)
        (root / "shop.proto").write_text(SHOP)
        includes = [f"-I{root}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}", f"-I{site}"]
        output = f"--descriptor_set_out={root / 'set'}"
        assert protoc.main(["protoc", *includes, output, "--include_imports", "shop.proto"]) == 0
        return list(descriptor_pb2.FileDescriptorSet.FromString((root / "set").read_bytes()).file)


FILES = _compiled()


def private_pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in FILES:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = private_pool()


def cls(name: str) -> type[Any]:
    return GetMessageClass(POOL.FindMessageTypeByName(name if "." in name else f"shop.{name}"))


Decimals = cls("kernel.DecimalValue")
Order, Kinds, Scalars, Present, Lists, Maps = map(cls, ("Order", "Kinds", "Scalars", "Present", "Lists", "Maps"))
Wrapped, Choice, Nothing, Everything = map(cls, ("Wrapped", "Choice", "Nothing", "Everything"))


def refusal(message_class: type[Any], values: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        build(message_class, values)
    assert "\n" not in str(caught.value)
    return caught.value
