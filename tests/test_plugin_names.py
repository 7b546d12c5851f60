"""The plugin over names that Python cannot have, has already, or has twice: modules import, stubs pass checkers."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evil_names import FILES
from foreign import described
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from message_worker import Worker
from others import Others, grpc_schemas, protobuf_tests

from invora_grpc.codegen.plugin import generate

ROOT = Path(__file__).parent.parent
PACKAGE = "evil.api"
USE = """
from evil.api.class_.import_pb2 import Foo, FooBar
from evil.api.client import Client

def use(client: Client) -> Foo:
    client.class_.async_.await_(from_="a", self="b", bool=True, lambda_={"yield_": "True"}, whole_request="c")
    client.class_.async_.list([{"str": 1, "from": "a"}])
    client.services.alone_.time({"seconds": 1})
    client.class_.rpc.get(a=1)  # E
    client.class_.rpc.get(c=FooBar())  # E
    return client.class_.rpc.get(a=Foo.Bar(), b=FooBar())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package of all the bad names, within another package."""
    whole = tmp_path_factory.mktemp("evil")
    files = described(whole, FILES)
    written(whole / "out", PACKAGE, Others("", tuple(files), tuple(FILES), whole))
    return whole / "out"


def written(folder: Path, package: str, others: Others) -> None:
    response = generate(
        CodeGeneratorRequest(file_to_generate=others.wanted, parameter=f"package={package}", proto_file=others.files)
    )
    assert not response.error
    for file in response.file:
        (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.name).write_text(file.content, "utf-8")


@pytest.fixture(scope="module")
def worker(folder: Path) -> Iterator[Worker]:
    """A process that has imported every module of the package."""
    paths = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.py"))
    process = Worker([(path.replace("/", ".").removesuffix(".__init__"), "") for path in paths], folder)
    yield process
    process.end()


def ask(folder: Path, expression: str) -> Any:
    """What an expression gives in a process of its own that has imported the package's catalog as `catalog`."""
    code = f"import json, sys; sys.path.insert(0, {str(folder)!r}); from evil.api import catalog; "
    code += f"print(json.dumps({expression}))"
    return json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def rows(folder: Path) -> dict[str, list[Any]]:
    return {row[0]: row for row in ask(folder, "catalog.SERVICES")}


# --- modules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("class_.import_pb2", "None"),
        ("class_.import_pb2", "lambda"),
        ("class_.import_pb2", "ValueError"),
        ("a.b.c.d_e_pb2", "M"),
        ("_2x.sp_ace_pb2", "P"),
        ("_2x.sp_ace__pb2", "P"),
        ("alone_pb2", "Alone.Group"),
        ("old_pb2", "Old.Item"),
        ("new_pb2", "bad_name.hidden"),
    ],
)
def test_every_message_is_imported_from_its_module_and_pickles(worker: Worker, module: str, name: str) -> None:
    assert worker.read(f"{PACKAGE}.{module}", name, b"")[2:] == [True, f"{PACKAGE}.{module}"]


def test_of_two_files_with_one_module_name_the_one_that_has_it_keeps_it(folder: Path) -> None:
    assert ask(folder, "catalog.RENAMED") == {"2x/sp ace.proto": "evil/api/_2x/sp_ace_"}


def test_no_folder_of_the_schema_takes_the_place_of_a_module_of_the_package(folder: Path) -> None:
    found = {path.name for path in (folder / "evil/api").iterdir()}
    assert {"catalog.py", "catalog_", "client.py", "clients.pyi", "clients_"} <= found
    assert not {"catalog", "client", "clients"} & found


def test_folders_above_the_package_are_left_to_their_owner(folder: Path) -> None:
    assert not (folder / "evil/__init__.py").exists()
    assert (folder / "evil/api/__init__.py").exists()


# --- the client's tree ------------------------------------------------------------------------------------------------


def test_rpcs_are_called_so_that_python_and_the_client_let_them_be(folder: Path) -> None:
    methods = rows(folder)["class.def.async"][6]
    assert {method[0]: method[1] for method in methods} == {
        "await": "await_",
        "List": "list",
        "list": "list_",
        "service": "service_",
        "__init__": "init__",
        "Async": "async_",
    }


@pytest.mark.parametrize(
    ("service", "place"),
    [
        ("class.def.AsyncService", "class_.async_service"),
        ("class.def.Rpc", "class_.rpc"),
        ("close.Service", "close_.service"),
        ("Alone_Service", "services.alone_"),
        ("acme.v1.Shop", "acme.shop"),
        ("acme.v2.Shop", "acme.shop_v2"),
    ],
)
def test_every_service_has_a_place_of_its_own(folder: Path, service: str, place: str) -> None:
    row = rows(folder)[service]
    assert f"{row[1]}.{row[2]}" == place


def test_the_rpc_travels_under_its_own_name_whatever_python_calls_it(folder: Path) -> None:
    text = (folder / "evil/api/class_/import_pb2_grpc.py").read_text()
    assert 'self.await_ = channel.unary_unary(\n            "/class.def.async/await",' in text
    assert '"await": grpc.unary_unary_rpc_method_handler(\n            servicer.await_,' in text


# --- types ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of bad names, gRPC's and protobuf's own schemas, and a program that uses the first."""
    others = tmp_path_factory.mktemp("others")
    for source in (grpc_schemas, protobuf_tests):
        place = others / source.__name__
        place.mkdir()
        schema = source(place)
        written(folder, schema.name, schema)
    (folder / "use.py").write_text(USE)
    return folder


def stubs(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.rglob("*.pyi")) if "enormous" not in path.name]


def test_mypy_finds_nothing_wrong_with_the_stubs(project: Path, tmp_path: Path) -> None:
    config = configparser.ConfigParser()
    config["mypy"] = {"strict": "True", "mypy_path": str(project), "cache_dir": str(tmp_path / "cache")}
    config["mypy"]["explicit_package_bases"] = "True"
    config["mypy"]["disallow_subclassing_any"] = config["mypy"]["warn_unused_ignores"] = (
        "False"  # it sees the stubs only
    )
    config["mypy-invora_grpc.*"] = {"follow_imports": "skip"}
    config["mypy-google.protobuf.*"] = {"ignore_missing_imports": "True"}
    with (tmp_path / "mypy.ini").open("w") as file:
        config.write(file)
    command = [sys.executable, "-m", "mypy", "--config-file", str(tmp_path / "mypy.ini"), "--no-error-summary"]
    result = subprocess.run([*command, *stubs(project)], capture_output=True, text=True, timeout=300, check=False)
    assert result.stdout + result.stderr == ""


def test_pyright_finds_what_is_wrong_in_a_program_and_nothing_in_the_stubs(project: Path, tmp_path: Path) -> None:
    config = {
        "include": [str(project / "use.py"), *stubs(project / "evil"), *map(str, project.rglob("test_messages*.pyi"))],
        "extraPaths": [str(project), str(ROOT), str(ROOT / "gen")],
        "typeCheckingMode": "standard",
        "pythonVersion": "3.11",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    command = [
        sys.executable,
        "-m",
        "basedpyright",
        "--outputjson",
        "--pythonpath",
        sys.executable,
        "-p",
        str(tmp_path),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    said = json.loads(result.stdout)["generalDiagnostics"]
    found = {(Path(one["file"]).name, one["range"]["start"]["line"] + 1): one["message"] for one in said}
    wrong = {("use.py", number) for number, line in enumerate(USE.splitlines(), 1) if line.endswith("# E")}
    assert found.keys() == wrong, found
