"""Sets of descriptor files and the pools that they enter, whatever is wrong with them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from descriptor_worker import Worker
from google.protobuf import descriptor_pb2, descriptor_pool, timestamp_pb2
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from invora_grpc.schema.bounds import MAX_PARTS, TooManyParts, count_parts
from invora_grpc.schema.files import DescriptorError, FileSet, definitions, references
from invora_grpc.schema.pool import pooled
from invora_grpc.schema.protocol import response_class

File = FileDescriptorProto


def file(name: str, *imports: str, package: str = "", **types: str) -> File:
    """A file with a message per keyword, whose only field is of the type that is said, if any."""
    made = File(name=name, package=package, syntax="proto3", dependency=imports)
    for message, kind in types.items():
        one = made.message_type.add(name=message)
        if kind:
            one.field.add(name="x", number=1, type=11, label=1, type_name=f".{kind}")
    return made


def as_set(*files: File) -> bytes:
    return FileDescriptorSet(file=files).SerializeToString()


# --- order and identity ---


def test_files_come_after_what_they_import() -> None:
    found = FileSet.of([file("c", "b"), file("b", "a"), file("a"), file("d")])
    assert list(found.files) == ["a", "d", "b", "c"]


def test_a_file_that_comes_twice_counts_once() -> None:
    found = FileSet.of([file("a", A=""), file("a", A="")])
    assert (list(found.files), dict(found.problems)) == (["a"], {})


def test_a_file_that_comes_twice_with_other_content_is_a_problem() -> None:
    assert FileSet.of([file("a", A=""), file("a", B="")]).problems == {"a": "came twice, with different content"}


def test_imports_in_a_circle_are_told_from_each_file_of_it() -> None:
    found = FileSet.of([file("a", "b"), file("b", "a"), file("top", "a"), file("ok")])
    assert found.problems == {
        "a": "imports itself: a → b → a",
        "b": "imports itself: b → a → b",
        "top": "imports a, which cannot be used, since there are imports in a circle",
    }
    assert next(iter(found.files)) == "ok"


def test_a_long_circle_is_told_in_short() -> None:
    found = FileSet.of(file(f"f{number}", f"f{(number + 1) % 2000}") for number in range(2000))
    assert found.problems["f7"].startswith("imports itself: f7 → f8 → f9")
    assert found.problems["f7"].endswith("→ f5 → f6 → f7")
    assert max(map(len, found.problems.values())) < 200


def test_the_closure_is_a_file_and_what_it_imports() -> None:
    found = FileSet.of([file("c", "b", "gone"), file("b", "a"), file("a"), file("d")])
    assert list(found.closure(["c"]).files) == ["a", "b", "c"]
    assert found.missing() == {"gone": ("c",)}


def test_the_digest_is_that_of_the_files_in_any_order() -> None:
    first, second = file("a", A=""), file("b", B="")
    assert FileSet.of([first, second]).digest() == FileSet.of([second, first]).digest()
    assert FileSet.of([first]).digest() != FileSet.of([second]).digest()


def test_more_files_or_bytes_than_allowed_are_refused() -> None:
    with pytest.raises(DescriptorError, match="more than 2 files"):
        FileSet.of([file("a"), file("b"), file("c")], max_files=2)
    with pytest.raises(DescriptorError, match="larger than 10 bytes"):
        FileSet.of([file("a" * 20)], max_bytes=10)


# --- bytes ---


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    one = FileSet.of([file("b", "a", B="A"), file("a", A="")])
    for name, data in (("plain", one.to_bytes()), ("zipped", gzip.compress(one.to_bytes()))):
        (tmp_path / name).write_bytes(data)
        assert FileSet.read(tmp_path / name).files == one.files


def test_comments_are_left_out() -> None:
    commented = file("a", A="")
    commented.source_code_info.location.add(path=[4, 0], leading_comments="Words.")
    assert FileSet.parse(as_set(commented)).files["a"] == file("a", A="")


@pytest.mark.parametrize("data", [b"\x0a\x05abc", b'syntax = "proto3";', b"\x08\x01", b"\x0a\x03\x0a\x01\xff", b"\xff"])
def test_what_is_no_set_is_refused(data: bytes) -> None:
    with pytest.raises(DescriptorError, match="is no FileDescriptorSet and no buf image"):
        FileSet.parse(data)


@pytest.mark.parametrize(("data", "why"), [(b"", "holds no descriptors"), (b"\x1f\x8bxx", "is no readable gzip")])
def test_nothing_and_a_broken_gzip_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(DescriptorError, match=why):
        FileSet.parse(data, "some.binpb")


def test_options_that_no_compiler_leaves_behind_are_refused() -> None:
    odd = file("a", A="")
    odd.options.uninterpreted_option.add().name.add()
    with pytest.raises(DescriptorError, match="is no FileDescriptorSet"):
        FileSet.parse(FileDescriptorSet(file=[odd]).SerializePartialToString())


def test_a_gzip_that_unpacks_without_end_is_refused() -> None:
    with pytest.raises(DescriptorError, match="is larger than"):
        FileSet.parse(gzip.compress(bytes(70 * 1024 * 1024)))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DescriptorError, match="cannot be read: No such file or directory"):
        FileSet.read(tmp_path / "gone")


def parts_of(message: Message) -> int:
    """By the book: messages, and values of repeated fields."""
    count = 1
    for field, value in message.ListFields():
        if field.name == "source_code_info":
            continue
        values = value if field.is_repeated else [value]
        if field.message_type is not None:
            count += sum(map(parts_of, values))
        elif field.is_repeated:
            count += len(values)
    return count


@pytest.mark.parametrize("described", [descriptor_pb2.DESCRIPTOR, timestamp_pb2.DESCRIPTOR])
def test_parts_are_messages_and_repeated_values(described: FileDescriptor) -> None:
    one = File()
    described.CopyToProto(one)
    assert count_parts(one.SerializeToString(), File.DESCRIPTOR) == parts_of(one)


def test_parts_beyond_the_limit_are_not_counted() -> None:
    with pytest.raises(TooManyParts, match="more than 100000 parts"):
        count_parts(b"\x22\x00" * (MAX_PARTS + 1), File.DESCRIPTOR)
    with pytest.raises(TooManyParts, match="more than 1000000 fields"):
        count_parts(b"\x70\x01" * (10 * MAX_PARTS + 1), File.DESCRIPTOR)


def test_bytes_are_not_taken_for_packed_numbers() -> None:
    answer = response_class()(file_descriptor_response={"file_descriptor_proto": [bytes(5_000_000)]})
    assert count_parts(answer.SerializeToString(), answer.DESCRIPTOR) == 3
    with pytest.raises(TooManyParts):
        count_parts(b"\x52\x80\x89\x7a" + bytes(2_000_000), File.DESCRIPTOR)  # public_dependency


def test_definitions_and_references_are_full_names() -> None:
    one = file("a", package="p", A="q.B")
    one.message_type[0].nested_type.add(name="In").enum_type.add(name="E")
    one.service.add(name="S").method.add(name="Do", input_type=".p.A", output_type=".p.A.In")
    assert sorted(definitions(one)) == ["p.A", "p.A.In", "p.A.In.E", "p.S"]
    assert sorted(references(one)) == [("p.A", False), ("p.A.In", False), ("q.B", False)]


# --- pools ---


def test_the_pool_is_private() -> None:
    pool = pooled(FileSet.of([file("a", package="private_here", A="")])).pool
    assert pool.FindMessageTypeByName("private_here.A").file.name == "a"
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("private_here.A")


@pytest.mark.parametrize("turned", [False, True], ids=["before", "after"])
def test_a_type_is_found_in_a_file_of_another_name_wherever_that_comes(turned: bool) -> None:
    files = [file("a", "old/b", A="B"), file("new/b", B="")]
    found = pooled(FileSet.of(reversed(files) if turned else files))
    assert (found.files, dict(found.problems), found.stand_ins) == ({"a", "new/b"}, {}, frozenset())


def test_a_type_of_protobuf_is_found_under_an_import_path_of_somebody_else() -> None:
    found = pooled(FileSet.of([file("a", "protobuf/timestamp.proto", A="google.protobuf.Timestamp")]))
    assert (found.files, found.stand_ins) == ({"a"}, frozenset())
    kind = found.pool.FindMessageTypeByName("A").fields_by_name["x"].message_type
    assert [field.name for field in kind.fields] == ["seconds", "nanos"]


def test_a_copy_of_a_type_of_protobuf_under_another_path_takes_its_place() -> None:
    copy = File()
    timestamp_pb2.DESCRIPTOR.CopyToProto(copy)
    copy.name = "protobuf/timestamp.proto"
    users = [
        file("a", copy.name, A="google.protobuf.Timestamp"),
        file("b", "google/protobuf/timestamp.proto", B="google.protobuf.Timestamp"),
    ]
    found = pooled(FileSet.of([copy, *users]))
    assert {"a", "b"} <= found.files
    assert not found.problems


def test_a_type_that_nobody_has_is_stood_in_for_and_told() -> None:
    found = pooled(FileSet.of([file("a", "gone", A="p.Gone"), file("p.Gone (stand-in)", X="")]))
    assert found.stand_ins == {"p.Gone"}
    assert found.files == {"a", "p.Gone (stand-in)"}
    assert not found.pool.FindMessageTypeByName("p.Gone").fields


def test_two_files_that_define_a_type_differently_are_both_unusable_and_others_are_not() -> None:
    found = pooled(FileSet.of([file("a", M="M"), file("b", M=""), file("ok", O="")]))
    assert found.files == {"ok"}
    assert found.problems["a"] == "defines M, and so does b in another way"


def test_two_files_that_say_the_same_are_one() -> None:
    found = pooled(FileSet.of([file("x/a", A=""), file("y/a", A=""), file("u", "y/a", U="A")]))
    assert found.files == {"x/a", "u"}
    assert not found.problems


def test_what_needs_a_broken_file_is_told_why_and_the_words_do_not_grow() -> None:
    broken = file("f0", M0="")
    broken.message_type[0].field.add(name="bad", number=-1, type=9, label=1)
    chain = [file(f"f{number}", f"f{number - 1}", **{f"M{number}": ""}) for number in range(1, 500)]
    found = pooled(FileSet.of([broken, *chain, file("ok")]))
    assert found.files == {"ok"}
    assert found.problems["f1"].startswith("imports f0, which is no valid descriptor: ")
    assert max(map(len, found.problems.values())) <= 320


# --- whatever else: in a process that may die of it ---


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    started = Worker()
    yield started
    assert started.end() < 200


def message(name: str, count: int) -> DescriptorProto:
    fields = [FieldDescriptorProto(name=f"f{one}", number=one + 1, type=9, label=1) for one in range(count)]
    return DescriptorProto(name=name, field=fields)


def nested(depth: int) -> File:
    made = file("n", M="")
    inner = made.message_type[0]
    for _ in range(depth):
        inner = inner.nested_type.add(name="M")
    return made


SHAPES = {
    "itself": [file("a", "a")],
    "a circle": [file("a", "b"), file("b", "a")],
    "a deep chain": [file("f0", M0="")]
    + [file(f"f{n}", f"f{n - 1}", **{f"M{n}": f"M{n - 1}"}) for n in range(1, 2000)],
    "types in a circle of 2000": [file("a", **{f"M{n}": f"M{(n + 1) % 2000}" for n in range(2000)})],
    "public imports": [file("f0", M="")]
    + [File(name=f"f{n}", dependency=[f"f{n - 1}"], public_dependency=[0]) for n in range(1, 1999)]
    + [file("top", "f1998", T="M")],
    "nested as deep as bytes go": [nested(95)],
    "70000 fields": [File(name="a", message_type=[message("M", 70_000)])],
    "30000 messages": [File(name="a", message_type=[DescriptorProto(name=f"M{n}") for n in range(30_000)])],
    "names of a megabyte": [file("x" * 1_000_000, package=".".join("a" * 500_000), M="")],
    "no types": [file("a", A=""), file("b", "gone", B=""), file("c", "gone", C="."), file("d", "gone", D="a..b")],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_descriptors_of_this_shape_kill_nobody(worker: Worker, shape: str) -> None:
    assert worker.use_files(SHAPES[shape])


NAMES = st.sampled_from(["a", "A", "B", "M", "E", "GEntry", "", "x.y", "1", "a b", "é", ".", "a..b", "google"])
TYPES = st.sampled_from(
    [".a.A", ".a.B", "A", ".A", ".a.A.GEntry", ".a.E", ".a", ".", "", "..", ".nowhere.X", ".google.protobuf.Timestamp"]
)
FILE_NAMES = st.sampled_from(["a.proto", "b.proto", "google/protobuf/timestamp.proto", "gone.proto", ""])
NUMBERS = st.sampled_from([0, 1, 2, 3, 9, 19000, 536870911, 536870912, 2**31 - 1, -1, -(2**31)])


def sound() -> File:
    """A file with all that a file can have, to begin with."""
    made = file("a.proto", "google/protobuf/timestamp.proto", package="a", A="a.B", B="google.protobuf.Timestamp")
    for one in made.message_type:
        entry = one.nested_type.add(name="GEntry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=9, label=1)
        entry.field.add(name="value", number=2, type=5, label=1)
        one.field.add(name="g", number=2, type=11, label=3, type_name=f".a.{one.name}.GEntry")
        one.oneof_decl.add(name="o")
        one.field.add(name="i", number=3, type=5, label=1, oneof_index=0)
        one.field.add(name="e", number=4, type=14, label=1, type_name=".a.E")
    made.enum_type.add(name="E").value.add(name="ZERO", number=0)
    made.service.add(name="S").method.add(name="Do", input_type=".a.A", output_type=".a.B")
    return made


def descendants(one: Message) -> Iterator[Message]:
    """A message, and all that are in it."""
    yield one
    for field, value in one.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                yield from descendants(inner)


def values(field: FieldDescriptor) -> st.SearchStrategy[object]:
    """Values for a field of a descriptor, most of which mean trouble."""
    if field.type == field.TYPE_ENUM:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.type == field.TYPE_STRING:
        if field.name in ("type_name", "extendee", "input_type", "output_type"):
            return TYPES
        if field.name == "syntax":
            return st.sampled_from(["proto2", "proto3", "editions", "", "proto9"])
        return FILE_NAMES if field.name == "dependency" else NAMES
    if field.type == field.TYPE_BYTES:
        return st.binary(max_size=4)
    if field.type == field.TYPE_BOOL:
        return st.booleans()
    if field.type in (field.TYPE_INT32, field.TYPE_INT64):
        return NUMBERS
    return st.integers(0, 3)


def mutate(file: File, data: st.DataObject) -> None:
    """Change one thing somewhere in a file."""
    owner = data.draw(st.sampled_from(list(descendants(file))))
    field = data.draw(st.sampled_from(list(owner.DESCRIPTOR.fields)))
    held = getattr(owner, field.name)
    if field.message_type is not None:
        if field.is_repeated and held and data.draw(st.booleans()):
            held.add().CopyFrom(data.draw(st.sampled_from(list(held))))  # the same thing again
        else:
            (held.add() if field.is_repeated else held).SetInParent()
    elif field.is_repeated:
        held.append(data.draw(values(field)))
    elif data.draw(st.booleans()):
        setattr(owner, field.name, data.draw(values(field)))
    else:
        owner.ClearField(field.name)


FUZZED = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@FUZZED
@given(data=st.data())
def test_a_file_with_anything_changed_in_it_kills_nobody(worker: Worker, data: st.DataObject) -> None:
    first, second = sound(), sound()
    second.name, second.package = data.draw(FILE_NAMES), data.draw(st.sampled_from(["a", "b", "a.A", ""]))
    for one in (first, second):
        for _ in range(data.draw(st.integers(1, 4))):
            mutate(one, data)
    assert worker.use(FileDescriptorSet(file=[first, second]).SerializePartialToString())


@FUZZED
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_file_with_any_bytes_changed_kills_nobody(worker: Worker, changes: list[tuple[int, int]]) -> None:
    data = bytearray(as_set(sound()))
    for place, byte in changes:
        data[place % len(data)] = byte
    assert worker.use(bytes(data))


@FUZZED
@given(st.binary(max_size=200))
def test_any_bytes_kill_nobody(worker: Worker, data: bytes) -> None:
    assert worker.use(data)
