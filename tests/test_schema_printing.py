"""Descriptors as .proto sources: protoc, which reads them again, says whether they mean the same."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc_tools
import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    OneofDescriptorProto,
)
from grpc_tools import protoc
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from proto_random import random_files

from invora_grpc.catalog import catalog
from invora_grpc.schema.files import DescriptorError, FileSet
from invora_grpc.schema.printing import Printer, proto_text
from invora_grpc.schema.survey import compiled_schema

PROTOBUF = Path(grpc_tools.__file__).parent / "_proto"


def compiled(sources: Mapping[str, str], *, info: bool = False) -> FileSet:
    """The descriptors that protoc makes of sources, and of what they import from protobuf."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in sources.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, "utf-8")
        arguments = [f"-I{folder}", f"-I{PROTOBUF}", f"--descriptor_set_out={folder / 'out'}"]
        arguments += ["--include_imports", "--retain_options", *(["--include_source_info"] if info else [])]
        assert protoc.main(["protoc", *arguments, *sources]) == 0, "\n".join(sources.values())
        return FileSet.of(FileDescriptorSet.FromString((folder / "out").read_bytes()).file)


def bare(file: FileDescriptorProto) -> FileDescriptorProto:
    """A file without comments, and without the JSON names that fields have anyway."""
    copy = FileDescriptorProto()
    copy.CopyFrom(file)
    copy.ClearField("source_code_info")
    waiting: list[Any] = [copy]
    while waiting:
        owner = waiting.pop()
        waiting.extend(owner.message_type if owner is copy else owner.nested_type)
        for field in [*owner.extension, *(() if owner is copy else owner.field)]:
            if field.json_name in (f"[{field.name}]", json_name(field.name)) or field.extendee:
                field.ClearField("json_name")
    return copy


def json_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def printed(files: FileSet) -> dict[str, str]:
    printer = Printer(files)
    return {name: printer.text(file) for name, file in files.files.items()}


def assert_same(files: FileSet, again: FileSet) -> None:
    for name, file in files.files.items():
        assert bare(again.files[name]) == bare(file)


def source(text: str, **others: str) -> str:
    """What is printed for a source, after it was seen to mean the same."""
    files = compiled({"a.proto": text, **{f"{name}.proto": other for name, other in others.items()}}, info=True)
    texts = printed(files)
    assert_same(files, compiled(texts))
    return texts["a.proto"]


def unread(file: FileDescriptorProto) -> str:
    """What is printed for a file that no compiler has made."""
    return proto_text(file, FileSet.of([file]))


# --- whole schemas ---


def test_every_file_of_the_compiled_schema_means_the_same_again() -> None:
    files = compiled_schema().files
    assert len(files.files) > 180
    assert_same(files, compiled(printed(files)))


def test_every_file_of_protobuf_itself_means_the_same_again() -> None:
    names = [str(path.relative_to(PROTOBUF)) for path in PROTOBUF.rglob("*.proto")]
    files = compiled({name: (PROTOBUF / name).read_text("utf-8") for name in names}, info=True)
    assert "google/protobuf/descriptor.proto" in files.files
    assert_same(files, compiled(printed(files)))


@settings(max_examples=40, phases=[Phase.generate])  # what is found says enough, and shrinking it takes minutes
@given(random_files())
def test_random_files_mean_the_same_again(files: list[FileDescriptorProto]) -> None:
    assert_same(FileSet.of(files), compiled(printed(FileSet.of(files))))


def test_a_file_alone_means_the_same_again() -> None:
    files = compiled_schema().files
    alone = {name: proto_text(file) for name, file in files.files.items()}
    assert_same(files, compiled(alone))


# --- one thing at a time ---


def test_a_source_comes_out_as_people_write_it() -> None:
    text = """syntax = "proto3";

package shop.v1;

import "google/protobuf/timestamp.proto";

option java_package = "com.shop";

// Takes orders.
service Orders {
  // Places one.
  rpc Place(Order) returns (stream Receipt);

  rpc Cancel(stream Order) returns (Receipt) {
    option deprecated = true;
  }
}

message Order {
  reserved 7, 9 to 12, 100 to max;
  reserved "old";

  string id = 1;
  optional int64 count = 2;  // How many.
  repeated Line lines = 3 [deprecated = true];

  oneof payment {
    string card = 4;
    bytes cash = 5 [json_name = "money"];
  }

  map<string, Line> by_name = 6;

  enum Kind {
    KIND_UNSPECIFIED = 0;
    KIND_LARGE = 1;
  }

  message Line {
    google.protobuf.Timestamp at = 1;
    Kind kind = 2;
  }
}

message Receipt {}
"""
    assert source(text) == text


def test_comments_stay_where_they_were() -> None:
    text = source(
        """// License.

/* Detached. */

// About the syntax.
syntax = "proto3";
// Leads the message.
//
//   Indented.
message M {  // Trails the brace.
  // Leads the field.
  string a = 1; // Trails the field.
  oneof o { // Trails the oneof.
    /* A block
     * of lines. */
    int32 b = 2;
  }
}
// Leads the enum.
enum E {
  // Leads the value.
  Z = 0;
}
"""
    )
    for words in ("License.", "Detached.", "About the syntax.", "Leads the message.\n//\n//   Indented.\nmessage M"):
        assert f"// {words}" in text
    assert "  // Leads the field.\n  string a = 1;  // Trails the field.\n" in text
    assert "    // A block\n    // of lines.\n    int32 b = 2;\n" in text
    assert "message M {\n  // Trails the brace.\n\n  // Leads" in text
    assert "  oneof o {\n    // Trails the oneof.\n\n    // A block" in text
    assert "// Leads the enum.\nenum E {\n  // Leads the value.\n  Z = 0;\n}\n" in text


def test_proto2_has_its_labels_defaults_groups_and_extensions() -> None:
    text = source(
        r"""syntax = "proto2";
message M {
  required int32 a = 1 [default = -5];
  optional string s = 2 [default = "say \"\\\n\303\274\" 'x'"];
  optional bytes b = 3 [default = "\000\377\"\\"];
  optional double inf = 4 [default = inf];
  optional float nan = 5 [default = nan];
  optional double minus = 6 [default = -inf];
  optional float small = 7 [default = 1.5e-10];
  optional E e = 8 [default = B];
  optional bool yes = 9 [default = true];
  optional uint64 big = 10 [default = 18446744073709551615];
  message Before {}
  repeated group Items = 11 { optional int32 inner = 1; message Deep {} optional Deep deep = 2; }
  message Between {}
  map<int32, Before> map_field = 12;
  oneof choice { group Left = 13 { optional int32 x = 1; } int32 right = 14; }
  extensions 100 to 199, 500 to max;
  extend M { optional group Inside = 100 { optional int32 y = 1; } }
  message After {}
  extend M { optional string plain = 101; repeated int32 packed = 102 [packed = true]; }
}
message Set { option message_set_wire_format = true; extensions 4 to max; }
extend M { optional group Outside = 103 {} optional M self = 104; }
extend Set { optional M in_set = 2147483646; }
message Last {}
enum E { option allow_alias = true; A = -1; B = 7; C = 7 [deprecated = true];
  reserved -10 to -5, 100 to max; reserved "Z"; }
"""
    )
    assert "  repeated group Items = 11 {\n" in text
    assert "extensions 500 to max;" in text
    assert '[default = "say \\"\\\\\\n\\303\\274\\" \\\'x\\\'"]' in text


def test_editions_have_their_features() -> None:
    text = source(
        """edition = "2023";
import "google/protobuf/cpp_features.proto";
option features.field_presence = IMPLICIT;
option features.(pb.cpp).string_type = VIEW;
message M {
  int32 a = 1 [features.field_presence = EXPLICIT];
  M sub = 2 [features.message_encoding = DELIMITED];
  repeated int32 r = 3 [features.repeated_field_encoding = EXPANDED];
  map<string, string> m = 4 [features.utf8_validation = NONE];
  reserved foo, bar;
  E e = 5 [features.field_presence = EXPLICIT];
  string legacy = 6 [features.field_presence = LEGACY_REQUIRED];
}
enum E { option features.enum_type = CLOSED; A = 1; }
"""
    )
    assert text.startswith('edition = "2023";\n')
    assert "reserved foo, bar;" in text


OPTIONS = """syntax = "proto2";
package opts;
import "google/protobuf/descriptor.proto";
message Rule {
  optional string text = 1; repeated Rule more = 2; optional Level level = 3; map<string, int32> counts = 4;
  optional bytes raw = 5; extensions 10 to 20;
}
extend Rule { optional int64 extra = 10; }
enum Level { LOW = 0; HIGH = 1; }
extend google.protobuf.MethodOptions { optional Rule rule = 50001; repeated string tags = 50002; }
extend google.protobuf.FieldOptions { optional double weight = 50001; optional Level level = 50002; }
extend google.protobuf.MessageOptions { optional bytes raw = 50001; optional float limit = 50002; }
extend google.protobuf.FileOptions { optional string owner = 50001; repeated int32 codes = 50002; }
extend google.protobuf.EnumValueOptions { optional bool secret = 50001; }
extend google.protobuf.OneofOptions { optional bool strict = 50001; }
extend google.protobuf.ServiceOptions { optional sint32 shift = 50001; }
extend google.protobuf.EnumOptions { optional uint64 mask = 50001; }
extend google.protobuf.ExtensionRangeOptions { optional string why = 50001; }
"""
USES = r"""syntax = "proto2";
package uses;
import "opts.proto";
option (opts.owner) = "line\nbreak \"x\" \302\233";
option (opts.codes) = 1;
option (opts.codes) = -2;
message M {
  option (opts.raw) = "\000\001\377";
  option (opts.limit) = inf;
  optional int32 a = 1 [(opts.weight) = -1.5e-300, (opts.level) = HIGH, deprecated = true];
  oneof o { option (opts.strict) = true; int32 b = 2; }
  extensions 10 to 20 [(opts.why) = "later"];
}
enum E { option (opts.mask) = 18446744073709551615; A = 0 [(opts.secret) = false]; }
service S {
  option (opts.shift) = -3;
  rpc R(M) returns (M) {
    option (opts.tags) = "one";
    option (opts.tags) = "two";
    option (opts.rule) = {
      text: "a" more { text: "b" more { level: HIGH } } more {} counts { key: "k" value: 3 } [opts.extra]: 9 raw: "\377"
    };
  }
}
"""


def test_options_of_ones_own_have_their_names() -> None:
    text = source(USES, opts=OPTIONS)
    assert "    option (opts.rule) = {\n" in text
    assert "[deprecated = true, (opts.weight) = -1.5e-300, (opts.level) = HIGH]" in text
    assert "//" not in text


def test_what_is_known_of_no_option_becomes_a_comment_with_its_number() -> None:
    files = compiled({"uses.proto": USES, "opts.proto": OPTIONS})
    text = unread(files.files["uses.proto"])
    assert "  // option 50001 (bytes) = 0001ff\n" in text
    assert "  // option 50001 (fixed64) = " in text
    assert "    // option 50002 (bytes) = 6f6e65\n    // option 50002 (bytes) = 74776f\n" in text
    assert text.count("// option 5000") == 15


def test_the_http_rule_and_the_scope_have_their_names_even_in_a_file_alone() -> None:
    service = catalog().service("simple.invoices")
    text = proto_text(compiled_schema().files.files[service.file])
    assert 'option (.google.api.http) = {\n      post: "/api/v1/simple/invoices/list"\n      body: "*"\n    };' in text
    assert 'option (.kernel.options) = {\n      scope: "Invora.Simple.Invoices.v1.List"\n    };' in text


def test_what_this_runtime_does_not_know_of_descriptors_is_told() -> None:
    file = FileDescriptorProto(name="a.proto", syntax="proto3")
    message = file.message_type.add(name="M")
    message.field.add(name="f", number=1, type=FieldDescriptorProto.TYPE_INT32)
    message.field[0].MergeFromString(b"\xa0\x06\x05")
    message.MergeFromString(b"\xa2\x06\x02hi")
    file.MergeFromString(b"\xa3\x06\x08\x01\xa4\x06")
    text = unread(file)
    for words in ("field 100 (varint) = 5", "field 100 (bytes) = 6869", "field 100 (group) = {1 = 1}"):
        assert f"// {words}\n" in text


def test_an_unknown_field_inside_a_known_option_is_told() -> None:
    files = compiled({"uses.proto": USES, "opts.proto": OPTIONS})
    uses = files.files["uses.proto"]
    rule = b"\xa2\x06\x02hi"
    uses.service[0].method[0].options.MergeFromString(b"\x8a\xb5\x18" + bytes([len(rule)]) + rule)
    assert "    // option (opts.rule): field 100 (bytes) = 6869\n" in printed(files)["uses.proto"]


def test_names_that_shadow_each_other_are_told_apart() -> None:
    source(
        """syntax = "proto3";
package a.b;
import "outer.proto";
message T { string x = 1; }
message Outer {
  message T { int32 y = 1; }
  T inner = 1;
  .a.b.T outer = 2;
  .a.T above = 3;
  .b.T other = 4;
  message Deep { T inner = 1; .a.b.T outer = 2; Outer.T same = 3; }
}
message b { .b.T t = 1; .a.b.b self = 2; }
service S { rpc T(.a.b.T) returns (.a.b.T); rpc Outer(.a.b.Outer.T) returns (.b.T); }
""",
        outer='syntax = "proto3"; package a; import public "third.proto"; message T {}',
        third='syntax = "proto3"; package b; message T {}',
    )


def test_types_that_are_called_like_keywords_keep_their_names() -> None:
    words = ("string", "message", "group", "optional", "map", "stream", "reserved", "oneof", "option", "extend", "enum")
    fields = "".join(f"  .{word} {word} = {number};\n" for number, word in enumerate(words, 1))
    types = "".join(f"message {word} {{ message Inner {{}} .{word}.Inner i = 1; }}\n" for word in words)
    service = "service rpc { rpc rpc(.stream) returns (stream .stream); }\n"
    source(f'syntax = "proto3";\nmessage M {{\n{fields}}}\n{types}{service}')


def test_imports_keep_their_kinds() -> None:
    text = source(
        'syntax = "proto3"; import public "b.proto"; import "c.proto"; import weak "d.proto";',
        **{name: f'syntax = "proto3"; message {name.upper()} {{}}' for name in "bcd"},
    )
    assert 'import public "b.proto";\nimport "c.proto";\nimport weak "d.proto";\n' in text


# --- what no compiler made ---


@pytest.mark.parametrize("name", ["", "a b", "x; } message Evil {", "a\nb", "é", "1a", 'quo"te', "\u202e", "a.b"])
def test_a_name_that_is_none_is_quoted(name: str) -> None:
    file = FileDescriptorProto(name="a.proto", syntax="proto3")
    message = file.message_type.add(name=name)
    message.field.add(name=name, number=1, type=FieldDescriptorProto.TYPE_INT32)
    message.field.add(name="f", number=2, type_name=f".{name}.{name}" if name != "a.b" else ". b")
    message.oneof_decl.add(name=name)
    file.enum_type.add(name=name).value.add(name=name, number=1)
    file.service.add(name=name).method.add(name=name, input_type=name.replace(".", " "), output_type="")
    text = unread(file)
    assert text.replace("\n", "").isprintable()
    assert "Evil" not in re.sub(r'"([^"\\]|\\.)*"', "", text)
    assert text.count('"') >= 14


def test_a_map_entry_that_no_map_makes_is_not_hidden_behind_one() -> None:
    file = FileDescriptorProto(name="a.proto", syntax="proto3")
    message = file.message_type.add(name="M")
    message.field.add(
        name="tags", number=1, type_name=".M.TagsEntry", label="LABEL_REPEATED", type="TYPE_MESSAGE"
    )  # a third field follows
    entry = message.nested_type.add(name="TagsEntry")
    entry.options.map_entry = True
    for number, name in enumerate(("key", "value", "third"), 1):
        entry.field.add(name=name, number=number, label="LABEL_OPTIONAL", type="TYPE_STRING")
    text = unread(file)
    assert "map<" not in text
    assert "string third = 3;" in text
    del entry.field[2]
    assert "map<string, string> tags = 1;" in unread(file)


def test_names_that_are_no_utf8_are_refused() -> None:
    file = FileDescriptorProto.FromString(b"\x0a\x07a.proto\x22\x04\x0a\x02\xff\xfe")
    with pytest.raises(DescriptorError, match=r"a\.proto: has names that are no UTF-8"):
        proto_text(file)


texts = st.text(max_size=5) | st.sampled_from(["a", ".a.M", "M", "inf", "\\", '"'])
numbers = st.integers(-(2**31), 2**31 - 1)
fields = st.builds(
    FieldDescriptorProto,
    **dict.fromkeys(("name", "type_name", "extendee", "default_value", "json_name"), texts),
    number=numbers,
    oneof_index=st.none() | numbers,
    label=st.none() | st.integers(1, 3),
    type=st.none() | st.integers(1, 18),
    proto3_optional=st.booleans(),
)
messages = st.recursive(
    st.builds(DescriptorProto, name=texts, field=st.lists(fields, max_size=3)),
    lambda inner: st.builds(
        DescriptorProto,
        name=texts,
        nested_type=st.lists(inner, max_size=3),
        field=st.lists(fields, max_size=3),
        extension=st.lists(fields, max_size=2),
        oneof_decl=st.lists(st.builds(OneofDescriptorProto, name=texts), max_size=2),
        reserved_name=st.lists(texts, max_size=2),
    ),
    max_leaves=5,
)


@settings(max_examples=30)
@given(
    st.builds(
        FileDescriptorProto,
        name=texts,
        package=texts,
        syntax=texts | st.sampled_from(["proto2", "proto3", "editions"]),
        dependency=st.lists(texts, max_size=2),
        public_dependency=st.lists(numbers, max_size=2),
        message_type=st.lists(messages, max_size=3),
        extension=st.lists(fields, max_size=3),
    )
)
def test_anything_can_be_printed_and_is_safe_to_print(file: FileDescriptorProto) -> None:
    assert unread(file).replace("\n", "").isprintable()


@settings(max_examples=60)
@given(st.data())
def test_broken_descriptors_are_printed_or_refused(data: st.DataObject) -> None:
    whole = compiled_schema().files.files["google/api/http.proto"].SerializeToString()
    at = data.draw(st.integers(0, len(whole)))
    cut = whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + data.draw(st.integers(0, 4)) :]
    file = FileDescriptorProto()
    try:
        file.MergeFromString(cut)
        text = proto_text(file)
    except Exception as error:
        assert type(error).__name__ in ("DecodeError", "DescriptorError")
    else:
        assert text.replace("\n", "").isprintable()
