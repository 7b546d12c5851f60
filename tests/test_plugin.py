"""protoc-gen-invora-python as buf and protoc run it: options, what it writes, and how it says no."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from foreign import described
from google.protobuf import descriptor_pb2
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import HealthCheck, given, settings
from proto_random import random_files

from invora_grpc import __version__
from invora_grpc.aio import AsyncInvora
from invora_grpc.catalog import MODULE_NAMES_TAKEN, RPC_NAMES_TAKEN
from invora_grpc.client import Invora
from invora_grpc.codegen import plugin
from invora_grpc.codegen.origins import Origins
from invora_grpc.tree import Area

ROOT = Path(__file__).parent.parent
START = "import sys; from invora_grpc.codegen.plugin import main; sys.exit(main())"
STORE = {
    "acme/store/v1/things.proto": """
syntax = "proto3";
package acme.store.v1;
// A thing.
message Thing { string key = 1; }
""",
    "acme/store/v1/service.proto": """
syntax = "proto3";
package acme.store.v1;
import "acme/store/v1/things.proto";
service StoreService { rpc Get(Thing) returns (Thing); }
""",
}
WHOLE = list(STORE)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    return described(tmp_path_factory.mktemp("store"), STORE)


def asked(files: list[FileDescriptorProto], parameter: str, wanted: list[str] = WHOLE) -> CodeGeneratorResponse:
    return plugin.generate(CodeGeneratorRequest(file_to_generate=wanted, parameter=parameter, proto_file=files))


def texts(files: list[FileDescriptorProto], parameter: str, wanted: list[str] = WHOLE) -> dict[str, str]:
    response = asked(files, parameter, wanted)
    assert not response.error
    return {file.name: file.content for file in response.file}


def services(catalog: str) -> list[Any]:
    """SERVICES in the text of a catalog."""
    names: dict[str, Any] = {}
    exec(catalog, names)
    return list(names["SERVICES"])


def script(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", START, *arguments], input=stdin, capture_output=True, check=False)


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A folder for PATH with the program, as an installation makes it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "protoc-gen-invora-python"
    program.write_text(f"#!{sys.executable}\n{START}\n")
    program.chmod(0o755)
    return folder


def run(command: list[str], folder: Path, bin_folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(bin_folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen")])}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def written(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text("utf-8") for p in folder.rglob("*") if p.is_file()}


def source_tree(folder: Path, sources: Mapping[str, str]) -> None:
    for name, text in sources.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


# --- run by protoc and buf --------------------------------------------------------------------------------------------


def test_protoc_and_buf_get_the_same_package(tmp_path: Path, bin_folder: Path) -> None:
    source_tree(tmp_path / "protos", STORE)
    (tmp_path / "protos/buf.yaml").write_text("version: v2\n")
    (tmp_path / "gen").mkdir()
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-Iprotos",
        "--invora-python_out=package=acme_api:gen",
        *WHOLE,
    ]
    made = run(command, tmp_path, bin_folder)
    assert made.returncode == 0, made.stderr
    entry = {"local": "protoc-gen-invora-python", "out": "buf", "strategy": "all", "opt": ["package=acme_api"]}
    made = run(
        ["buf", "generate", "protos", "--template", json.dumps({"version": "v2", "plugins": [entry]})],
        tmp_path,
        bin_folder,
    )
    assert made.returncode == 0, made.stderr
    assert written(tmp_path / "gen") == written(tmp_path / "buf")


def test_what_the_caller_can_put_right_comes_back_as_protocs_error(tmp_path: Path, bin_folder: Path) -> None:
    source_tree(tmp_path, STORE)
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--invora-python_out=pakage=acme_api:.", *WHOLE]
    made = run(command, tmp_path, bin_folder)
    assert made.returncode == 1
    assert (
        "--invora-python_out: opt: 'pakage=acme_api' is no option of this plugin; did you mean package?" in made.stderr
    )
    assert "Traceback" not in made.stderr


@pytest.mark.parametrize("argument", ["--help", "-h"])
def test_help_documents_every_option(argument: str) -> None:
    said = script(argument)
    assert said.returncode == 0
    for option in plugin._NAMES:
        assert f"\n  {option}=" in said.stdout.decode()


def test_version_is_the_packages() -> None:
    assert script("--version").stdout.decode() == f"protoc-gen-invora-python {__version__}\n"


def test_an_unknown_argument_is_refused_with_the_way_out() -> None:
    said = script("--out=gen")
    assert (said.returncode, said.stdout) == (2, b"")
    assert said.stderr == b"protoc-gen-invora-python: no argument '--out=gen' is known; see --help\n"


def test_only_the_answer_goes_to_standard_output() -> None:
    answer = CodeGeneratorResponse.FromString(script(stdin=CodeGeneratorRequest().SerializeToString()).stdout)
    assert not answer.error


def test_editions_from_proto2_to_2024_and_optional_fields_are_supported(files: list[FileDescriptorProto]) -> None:
    answer = asked(files, "package=acme_api")
    assert answer.supported_features == 3
    assert (answer.minimum_edition, answer.maximum_edition) == (
        descriptor_pb2.EDITION_PROTO2,
        descriptor_pb2.EDITION_2024,
    )


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "line"),
    [
        ("package=", "package: '' has no value; write package=…"),
        ("package=1x", "package: '1x' is no name of a Python package; write it like acme_api or acme.api"),
        (
            "package=a.class",
            "package: 'a.class' is no name of a Python package; write it like acme_api or acme.api",
        ),
        ("package=../x", "package: '../x' is no name of a Python package; write it like acme_api or acme.api"),
        ("package=grpc", "package: 'grpc' would hide the grpc that others import; write it like acme_api or acme.api"),
        (
            "package=typing.x",
            "package: 'typing.x' would hide the typing that others import; write it like acme_api or acme.api",
        ),
        (
            "package=google",
            "package: 'google' would hide the google that others import; write it like acme_api or acme.api",
        ),
        ("package=a,package=b", "package: 'b' is 'a' already; give it once"),
        ("parts=client+grcp", "parts: 'grcp' is no part; write some of messages, grpc, client with + between"),
        ("origins=none.json", "origins: 'none.json' cannot be read: No such file or directory; name a JSON file"),
        ("origins=x,protos=y", "protos: 'y' says the same as origins; give one of the two"),
        ("help", "opt: 'help' is no option of this plugin; did you mean package or parts or origins or protos?"),
    ],
)
def test_a_wrong_option_is_named_with_the_way_out(files: list[FileDescriptorProto], parameter: str, line: str) -> None:
    answer = asked(files, parameter)
    assert answer.error == line
    assert not answer.file


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"default": 1, "files": {}, "methods": {}}', '{"default": "a", "files": [], "methods": {}}'],
)
def test_origins_that_are_none_are_refused(files: list[FileDescriptorProto], tmp_path: Path, text: str) -> None:
    (tmp_path / "origins.json").write_text(text)
    assert asked(files, f"origins={tmp_path / 'origins.json'}").error.startswith("origins: ")


def test_origins_say_module_and_origin_of_files_and_methods(files: list[FileDescriptorProto], tmp_path: Path) -> None:
    method = {"acme.store.v1.StoreService/Get": "documented"}
    given = Origins("derived", {}, method, {"acme/store/v1/service.proto": "shop"})
    (tmp_path / "origins.json").write_text(given.text())
    assert Origins.read(tmp_path / "origins.json") == given
    catalog = texts(files, f"package=acme_api,origins={tmp_path / 'origins.json'}")["acme_api/catalog.py"]
    row = services(catalog)[0]
    assert (row[1], row[2], row[4], row[6][0][7]) == ("shop", "store", "derived", "documented")


def test_of_a_foreign_schema_all_is_published_and_modules_are_first_words(files: list[FileDescriptorProto]) -> None:
    catalog = texts(files, "package=acme_api")["acme_api/catalog.py"]
    row = services(catalog)[0]
    assert (row[1], row[2], row[4], row[6][0][7]) == ("acme", "store", "published", "published")


@pytest.mark.parametrize(
    ("parts", "tails"),
    [
        ("messages", {"_pb2.py", "_pb2.pyi", "__init__.py"}),
        ("grpc", {"_pb2_grpc.py"}),
        ("client", {"_client.pyi", "_dicts.pyi"}),
        ("grpc+messages", {"_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "__init__.py"}),
    ],
)
def test_only_the_parts_that_are_asked_for_are_written(
    files: list[FileDescriptorProto], parts: str, tails: set[str]
) -> None:
    names = [name.rpartition("/")[2] for name in texts(files, f"package=acme_api,parts={parts}") if "/acme/" in name]
    assert {name.removeprefix("things").removeprefix("service") for name in names} == tails


def test_runs_for_parts_write_what_one_run_for_all_does(files: list[FileDescriptorProto]) -> None:
    apart = [texts(files, f"package=acme_api,parts={part}") for part in plugin.PARTS]
    whole = texts(files, "package=acme_api")
    assert sum(map(len, apart)) == len(whole)
    assert apart[0] | apart[1] | apart[2] == whole


def test_messages_alone_need_nothing_of_invora(files: list[FileDescriptorProto]) -> None:
    found = texts(files, "package=acme_api,parts=messages+grpc")
    assert not any("import invora_grpc" in text or "from invora_grpc" in text for text in found.values())


# --- what is written --------------------------------------------------------------------------------------------------


def test_the_order_of_files_changes_no_byte(files: list[FileDescriptorProto]) -> None:
    first, second = asked(files, "package=acme_api", WHOLE), asked(files, "package=acme_api", WHOLE[::-1])
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_files_that_are_imported_and_not_generated_keep_their_plain_modules(files: list[FileDescriptorProto]) -> None:
    found = texts(files, "package=acme_api", ["acme/store/v1/service.proto"])
    assert "acme_api/acme/store/v1/things_pb2.py" not in found
    for name in ("service_pb2.py", "service_pb2_grpc.py", "service_client.pyi"):
        assert "from acme.store.v1 import things_pb2 as " in found[f"acme_api/acme/store/v1/{name}"]
    assert "acme_api/acme/store/v1/things_dicts.pyi" in found


def test_a_schema_without_services_still_has_both_trees(files: list[FileDescriptorProto]) -> None:
    found = texts(files, "package=acme_api", ["acme/store/v1/things.proto"])
    assert "class SyncTree:" in found["acme_api/clients.pyi"]
    assert "class AsyncTree:" in found["acme_api/clients.pyi"]


def test_a_file_that_protobuf_refuses_is_named(files: list[FileDescriptorProto]) -> None:
    answer = asked(files[1:], "package=acme_api")
    assert answer.error.startswith("'acme/store/v1/service.proto': ")


def test_a_path_that_would_be_code_is_no_code(tmp_path: Path) -> None:
    path = "x\nimport os; os.abort()#'''\"\"\".proto"
    file = FileDescriptorProto(name=path, syntax="proto3", package="p")
    file.message_type.add(name="M")
    file.service.add(name="S").method.add(name="G", input_type=".p.M", output_type=".p.M")
    found = texts([file], "package=acme_api", [path])
    for name, text in found.items():
        if name.endswith((".py", ".pyi")):
            code = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import)]
            assert not any(alias.name == "os" for node in code for alias in node.names)
    assert all(".." not in name and "\n" not in name for name in found)


def test_a_file_whose_name_is_not_ascii_is_generated_and_known_by_that_name() -> None:
    file = FileDescriptorProto(name="größe/日本.proto", syntax="proto3", package="p")
    file.message_type.add(name="M")
    file.service.add(name="S").method.add(name="G", input_type=".p.M", output_type=".p.M")
    found = texts([file], "package=acme_api", [file.name])
    assert "class M(" in found["acme_api/gr__e/___pb2.pyi"]
    assert services(found["acme_api/catalog.py"])[0][3] == file.name


COMMENTED = {
    "said.proto": '''
// Detached: of nobody.

syntax = "proto3";
package said;

/* A block \\N{x} with """ quotes.
 *
 *   set in
 */
message Block {
  string front = 1; // Behind it.
  // In front.
  string both = 2; // And behind.
  // Control \x07 and \u202a marks\x0c.
  string odd = 3;
  enum Kind {
    A = 0; // Value A.
  }
}
// Calls """ things\\
service S {
  // Gets.
  rpc Get(Block) returns (Block); // Behind get.
}
'''
}


def test_comments_of_all_kinds_become_docstrings(tmp_path: Path) -> None:
    found = texts(described(tmp_path, COMMENTED), "package=acme_api", list(COMMENTED))
    tree = ast.parse(found["acme_api/said_pb2.pyi"])
    block = next(node for node in tree.body if isinstance(node, ast.ClassDef))
    assert (ast.get_docstring(block, clean=False) or "").split("\n")[:3] == [
        'A block \\N{x} with """ quotes.',
        "",
        "      set in",
    ]
    said = [
        node.value.value for node in block.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    assert [text.strip() for text in said[1:]] == [
        "Behind it.",
        "In front.\n\n    And behind.",
        "Control  and \u202a marks.",
    ]
    assert '"""Value A."""' in found["acme_api/said_pb2.pyi"]
    assert "of nobody" not in "".join(found.values())
    servicer = found["acme_api/said_pb2_grpc.py"]
    assert '"""Calls \\"\\"\\" things\\\\"""' in servicer
    assert "Gets.\n\n        Behind get." in servicer


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_files())
def test_whatever_a_schema_says_the_text_is_python(files: list[FileDescriptorProto]) -> None:
    answer = asked(files, "package=acme_api", [file.name for file in files])
    if answer.error:  # protobuf refuses some: two fields of one JSON name
        assert "descriptor pool" in answer.error
        return
    for file in answer.file:
        if file.name.endswith((".py", ".pyi")):
            compile(file.content, file.name, "exec")


# --- what the client's tree has itself --------------------------------------------------------------------------------


@pytest.mark.parametrize("client", [Invora, AsyncInvora])
def test_no_module_can_be_called_like_something_that_a_client_has(client: type) -> None:
    assert {name for name in dir(client) if not name.startswith("_")} <= MODULE_NAMES_TAKEN


def test_no_rpc_can_be_called_like_something_that_a_service_has() -> None:
    assert {name for name in [*dir(Area), "service"] if not name.startswith("_")} <= RPC_NAMES_TAKEN
