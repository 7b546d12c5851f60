"""What stubs are generated from: the same input whatever the source, and clear words where there is none."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from reflected import asked, file
from reflection_server import reflecting

from invora_grpc.codegen import buf
from invora_grpc.codegen.embedded import catalog_rows, descriptors_of, installed
from invora_grpc.codegen.inputs import Input, files_of, from_files, from_image, from_protos, from_schema, known_origins
from invora_grpc.codegen.origins import Origins
from invora_grpc.errors import ConfigError
from invora_grpc.schema.descriptors import Schema
from invora_grpc.schema.files import DescriptorError, FileSet

ROOT = Path(__file__).parent.parent
STORE = """syntax = "proto3";
package acme.store.v1;
import "google/protobuf/timestamp.proto";
import "acme/money.proto";
// Keeps things.
service StoreService { rpc Get(Thing) returns (Thing); }
message Thing { string id = 1; acme.Money price = 2; google.protobuf.Timestamp made = 3; }
"""
MONEY = 'syntax = "proto3"; package acme; message Money { int64 units = 1; }'
OTHER = 'syntax = "proto3"; package other.v1; message Alone {}'
SOURCES = {"acme/store.proto": STORE, "acme/money.proto": MONEY, "other/other.proto": OTHER}


@pytest.fixture
def protos(tmp_path: Path) -> Path:
    """A folder of .proto sources that buf knows nothing of."""
    return written(tmp_path / "protos", SOURCES)


@pytest.fixture(scope="module")
def own() -> Input:
    """Invora's own schema."""
    return from_protos(ROOT / "proto")


def written(folder: Path, sources: dict[str, str]) -> Path:
    for name, text in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def names(source: Input) -> list[str]:
    return [one.name for one in source.files]


def bare(files: Iterable[FileDescriptorProto]) -> list[FileDescriptorProto]:
    """The files without what one compiler tells and another does not: comments and JSON names."""
    found = [FileDescriptorProto.FromString(one.SerializeToString()) for one in files]
    for one in found:
        one.ClearField("source_code_info")
        waiting, fields = list(one.message_type), list(one.extension)
        while waiting:
            message = waiting.pop()
            waiting.extend(message.nested_type)
            fields += [*message.field, *message.extension]
        for field in fields:
            field.ClearField("json_name")
    return found


# --- sources ------------------------------------------------------------------------------------------------------


def test_a_plain_folder_of_protos_is_an_input_with_comments_and_imports_first(protos: Path) -> None:
    source = from_protos(protos)
    assert source.wanted == ("acme/money.proto", "acme/store.proto", "other/other.proto")
    assert names(source).index("acme/money.proto") < names(source).index("acme/store.proto")
    assert names(source).index("google/protobuf/timestamp.proto") < names(source).index("acme/store.proto")
    (store,) = (one for one in source.files if one.name == "acme/store.proto")
    assert " Keeps things.\n" in [at.leading_comments for at in store.source_code_info.location]


def test_a_module_of_buf_a_plain_folder_and_both_kinds_of_images_are_the_same_input(protos: Path) -> None:
    plain = from_protos(protos)
    (protos / "buf.yaml").write_text("version: v2\n")
    (protos.parent / "image.binpb").write_bytes(buf.run("build", "-o", "-", cwd=protos))
    described = protos.parent / "descriptors"
    flags = ["--include_imports", "--include_source_info", "-I.", f"--descriptor_set_out={described}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *flags, *sorted(SOURCES)], check=True, cwd=protos)
    for source in (from_protos(protos), from_image(protos.parent / "image.binpb"), from_image(described)):
        assert (source.wanted, source.origins) == (plain.wanted, plain.origins)
        assert bare(one for one in source.files if one.name in source.wanted) == bare(
            one for one in plain.files if one.name in plain.wanted
        )


def test_of_a_workspace_above_the_folder_only_what_is_in_the_folder_is_wanted(tmp_path: Path) -> None:
    written(tmp_path / "proto/a", {"acme/store.proto": STORE.replace("store", "store")})
    written(tmp_path / "vendor", {"acme/money.proto": MONEY, "other/other.proto": OTHER})
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules:\n  - path: proto/a\n  - path: vendor\n")
    source = from_protos(tmp_path / "proto")
    assert source.wanted == ("acme/money.proto", "acme/store.proto"), "what is imported comes along, and no more"


def test_a_folder_that_the_workspace_above_it_does_not_know_is_told_as_that(tmp_path: Path) -> None:
    written(tmp_path / "vendor", {"acme/money.proto": MONEY})
    written(tmp_path / "mine", {"other/other.proto": OTHER})
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules:\n  - path: vendor\n")
    with pytest.raises(ConfigError, match=r"mine' is in no module of .*buf\.yaml"):
        from_protos(tmp_path / "mine")


def test_sources_that_do_not_compile_are_told_with_their_place(protos: Path) -> None:
    (protos / "acme/money.proto").write_text(MONEY + "message {")
    with pytest.raises(buf.BufError, match=r"protoc failed: acme/money\.proto:1:\d+: Expected message name"):
        from_protos(protos)
    (protos / "buf.yaml").write_text("version: v2\n")
    with pytest.raises(buf.BufError, match=r"buf build failed: acme/money\.proto:1:"):
        from_protos(protos)


@pytest.mark.parametrize(("name", "problem"), [("nowhere", "is no folder"), ("empty", "holds no .proto file")])
def test_a_folder_without_protos_is_no_source(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=problem):
        from_protos(tmp_path / name)


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image").write_text("syntax")
    with pytest.raises(DescriptorError, match=r"image: is no FileDescriptorSet and no buf image"):
        from_image(tmp_path / "image")
    with pytest.raises(ConfigError, match=r"cannot be read: No such file.*name a buf image"):
        from_image(tmp_path / "none")
    (tmp_path / "image").write_text("")
    with pytest.raises(DescriptorError, match="holds no descriptors"):
        from_image(tmp_path / "image")


def test_what_only_buf_says_of_a_file_is_taken_off(protos: Path) -> None:
    (protos / "buf.yaml").write_text("version: v2\nname: buf.build/acme/store\n")
    data = buf.run("build", "-o", "-", cwd=protos)
    assert b"buf.build" in data
    found = files_of(data)
    assert all(b"buf.build" not in one.SerializeToString() for one in found)
    assert any(one.source_code_info.location for one in found)


def test_an_import_that_is_not_in_the_source_is_named_with_its_importer() -> None:
    with pytest.raises(DescriptorError, match=r"shop\.proto: imports money\.proto, which is not in the source"):
        from_files([file("shop.proto", "money.proto", Thing="")], Origins("published", {}, {}, {}))


def test_imports_in_a_circle_are_refused() -> None:
    circle = [file("a.proto", "b.proto", A=""), file("b.proto", "a.proto", B="")]
    with pytest.raises(DescriptorError, match=r"a\.proto: imports itself: a\.proto → b\.proto → a\.proto"):
        from_files(circle, Origins("published", {}, {}, {}))


def test_the_order_in_which_files_come_does_not_matter(protos: Path) -> None:
    source = from_protos(protos)
    shuffled = list(source.files)
    for seed in range(5):
        random.Random(seed).shuffle(shuffled)
        assert from_files(shuffled, source.origins) == source


# --- modules and origins ------------------------------------------------------------------------------------------


def test_a_chosen_module_comes_with_what_it_imports_from_others() -> None:
    files = [
        file("a.proto", "c.proto", "b.proto", package="a", A="b.B"),
        file("b.proto", package="b", B=""),
        file("c.proto", package="c", C=""),
        file("d.proto", package="d", D=""),
    ]
    source = from_files(files, known_origins(files), ["a"])
    assert source.wanted == ("a.proto", "b.proto", "c.proto")
    assert names(source) == ["b.proto", "c.proto", "a.proto"], "imports first, and by name among themselves"


def test_a_module_that_is_not_there_is_told_with_the_nearest() -> None:
    files = [file("a.proto", package="acme", A="")]
    with pytest.raises(ConfigError, match=r"module: 'acne' is no module of this source; did you mean acme\?"):
        from_files(files, known_origins(files), ["acne"])
    with pytest.raises(ConfigError, match=r"choose from acme"):
        from_files(files, known_origins(files), ["zzz"])


def test_modules_of_strangers_are_the_first_words_of_their_packages() -> None:
    files = [file("x.proto", package="org.acme.v1", A=""), file("y.proto", package="", B="")]
    assert known_origins(files) == Origins("published", {}, {}, {"x.proto": "org", "y.proto": "services"})


def test_installed_files_of_googles_are_generated_only_if_they_are_asked_for() -> None:
    timestamp = installed("google/protobuf/timestamp.proto")
    assert timestamp is not None
    files = [timestamp, file("google/mine/x.proto", "google/protobuf/timestamp.proto", package="google.mine", X="")]
    assert from_files(files, known_origins(files)).wanted == ("google/mine/x.proto",)
    chosen = from_files(files, known_origins(files), ["google"])
    assert chosen.wanted == ("google/mine/x.proto", "google/protobuf/timestamp.proto")


def test_imports_of_googles_that_a_source_lacks_are_taken_as_they_are_installed() -> None:
    source = from_files([file("x.proto", "google/type/date.proto", X="")], Origins("published", {}, {}, {}))
    assert names(source) == ["google/type/date.proto", "x.proto"]
    assert installed("google/no/such.proto") is None
    assert installed("google/../google/type/date.proto") is None


def test_without_origins_json_invoras_files_are_in_the_same_modules_and_as_sure_as_with_it(own: Input) -> None:
    source, known = own, known_origins(own.files)
    for name in source.wanted:
        assert known.folders[name] == source.origins.folders[name]
    assert known.methods == source.origins.methods
    with_services = {one.name for one in source.files if one.service}
    assert {n: o for n, o in source.origins.files.items() if n in with_services} == known.files


# --- reflection ---------------------------------------------------------------------------------------------------


def test_what_a_server_reflects_is_an_input_without_the_services_of_grpc_itself() -> None:
    health = file("grpc/health.proto", package="grpc.health.v1", service="Health", Check="")
    shop = file("shop.proto", "money.proto", package="a", service="Shop", Buy="a.Money")
    files = [health, shop, file("money.proto", package="a", Money="")]
    with reflecting(files) as server:
        served = asked(server.address)
    source = from_schema(Schema(served.files, source="http://gateway", listed=served.listed))
    assert source.wanted == ("money.proto", "shop.proto")


def test_a_server_of_nothing_but_grpcs_own_services_has_nothing_to_generate() -> None:
    health = file("grpc/health.proto", package="grpc.health.v1", service="Health", Check="")
    with pytest.raises(DescriptorError, match="lists no services of an API"):
        from_schema(Schema(FileSet.of([health]), source="http://gateway", listed=("grpc.health.v1.Health",)))


def test_a_service_that_is_listed_and_cannot_be_described_is_not_left_out_in_silence() -> None:
    files = FileSet.of([file("shop.proto", package="a", service="Shop", Buy="")])
    schema = Schema(files, source="x", listed=("a.Shop", "b.Lost"), failures={"b.Lost": "NOT_FOUND"})
    with pytest.raises(DescriptorError, match=r"b\.Lost: cannot be generated: NOT_FOUND; choose modules without it"):
        from_schema(schema)
    assert from_schema(schema, ["a"]).wanted == ("shop.proto",)


# --- generated code -----------------------------------------------------------------------------------------------


def test_descriptors_are_read_back_from_generated_code_without_importing_it(own: Input) -> None:
    source = own
    before = set(sys.modules)
    found = {one.name: one for one in descriptors_of(ROOT / "gen/invora_api")}
    assert not {name for name in set(sys.modules) - before if name.endswith("_pb2")}
    assert bare(found[name] for name in source.wanted) == bare(
        one for one in sorted(source.files, key=lambda f: f.name) if one.name in source.wanted
    )
    assert {one for one in found if one not in source.wanted} == {one.name for one in source.files} - {*source.wanted}


def test_a_catalog_is_read_without_importing_it() -> None:
    from invora_api.catalog import SERVICES

    assert catalog_rows(ROOT / "gen/invora_api") == SERVICES
    assert catalog_rows(ROOT / "tests") == ()


def test_generated_code_that_is_broken_is_named(tmp_path: Path) -> None:
    (tmp_path / "x_pb2.py").write_text("DESCRIPTOR = pool.AddSerializedFile(b'\\xff')\n")
    with pytest.raises(ConfigError, match=r"x_pb2\.py' holds a broken descriptor"):
        descriptors_of(tmp_path)
    (tmp_path / "x_pb2.py").write_text("<<<<<<< ours\n")
    with pytest.raises(ConfigError, match=r"x_pb2\.py' cannot be read.*generate it anew"):
        descriptors_of(tmp_path)


# --- buf ----------------------------------------------------------------------------------------------------------


def test_without_buf_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ConfigError, match=r"buf: is not installed here; pip install 'invora-grpc\[codegen\]'"):
        buf.run("--version")


def test_a_token_that_buf_repeats_is_masked(monkeypatch: pytest.MonkeyPatch, protos: Path) -> None:
    (protos / "buf.yaml").write_text("version: v2\n")
    monkeypatch.setenv("BUF_TOKEN", "s3cret@one@two@three,0ther@")
    with pytest.raises(buf.BufError) as failure:
        from_protos(protos)
    assert "***" in str(failure.value)
    assert "s3cret" not in repr(failure.value) + str(failure.value.complaints)
