"""Type checkers know the clients' tree: right calls pass, and in wrong ones the wrong line is found.

mypy and pyright each run once over `typing_cases/`, as a project that uses the client would run them: mypy strict,
pyright as it comes.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from google.protobuf.message import Message

from invora_grpc.call import bind
from invora_grpc.catalog import Service, catalog
from invora_grpc.explain import explain
from invora_grpc.kinds import descriptor_of
from invora_grpc.values import build

ROOT = Path(__file__).parent.parent
CASES = Path(__file__).parent / "typing_cases"
GEN = ROOT / "gen"
STUBS = sorted(path for tail in ("*_client.pyi", "*_dicts.pyi", "clients.pyi", "likes.pyi") for path in GEN.rglob(tail))
MYPY_LINE = re.compile(r"(?P<file>[^:]+):(?P<line>\d+): error: (?P<text>.*)")
FOREIGN = ("google.api.*", "google.rpc.*", "google.type.*", "grpc_status.*")


@dataclass(frozen=True, slots=True)
class Finding:
    """An error that a type checker has found."""

    file: Path
    line: int
    text: str


@pytest.fixture(scope="session")
def mypy() -> list[Finding]:
    """What mypy finds in the cases and in the stubs themselves. Its cache stays, a second run takes a second."""
    config = ROOT / "build" / "typing.ini"
    config.parent.mkdir(exist_ok=True)
    sections = [f"[mypy-{module}]\nignore_missing_imports = True\n" for module in FOREIGN]
    head = f"[mypy]\nstrict = True\nmypy_path = {GEN}:{ROOT}\ncache_dir = {config.parent / 'typing-cache'}\n"
    config.write_text(head + "explicit_package_bases = True\nshow_error_end = False\n" + "".join(sections))
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--no-error-summary"]
    command += map(str, [*CASES.glob("*.py"), *STUBS])
    result = subprocess.run(command, cwd=CASES, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode in (0, 1), result.stdout + result.stderr
    found = [match for line in result.stdout.splitlines() if (match := MYPY_LINE.match(line))]
    return [Finding((CASES / match["file"]).resolve(), int(match["line"]), match["text"]) for match in found]


@pytest.fixture(scope="session")
def pyright(tmp_path_factory: pytest.TempPathFactory) -> list[Finding]:
    """What pyright finds in the cases and in some stubs, one with streams among them."""
    project = tmp_path_factory.mktemp("pyright") / "pyrightconfig.json"
    stubs = [GEN / "invora_api" / name for name in ("clients.pyi", "likes.pyi", "documents/v2/service_client.pyi")]
    config = {
        "include": [str(path) for path in (CASES, *stubs)],
        "extraPaths": [str(GEN), str(ROOT)],
        "typeCheckingMode": "standard",
        "pythonVersion": "3.11",
    }
    project.write_text(json.dumps(config))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(project)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode in (0, 1), result.stdout + result.stderr
    said = [item for item in json.loads(result.stdout)["generalDiagnostics"] if item["severity"] == "error"]
    return [Finding(Path(item["file"]).resolve(), item["range"]["start"]["line"] + 1, item["message"]) for item in said]


def errors(findings: list[Finding], file: Path) -> dict[int, str]:
    return {finding.line: finding.text for finding in findings if finding.file == file}


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_right_calls_have_no_error(checker: str, request: pytest.FixtureRequest) -> None:
    assert errors(request.getfixturevalue(checker), CASES / "right.py") == {}


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_every_wrong_line_has_an_error_and_no_other_line_has_one(checker: str, request: pytest.FixtureRequest) -> None:
    file = CASES / "wrong.py"
    found = errors(request.getfixturevalue(checker), file)
    lines = dict(enumerate(file.read_text().splitlines(), 1))
    marked = {number for number, line in lines.items() if line.endswith("# E")}
    assert len(marked) > 60
    assert {number: lines[number] for number in marked - found.keys()} == {}, "not found"
    assert {number: found[number] for number in found.keys() - marked} == {}, "found by mistake"


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_stubs_themselves_have_no_error(checker: str, request: pytest.FixtureRequest) -> None:
    assert [found for found in request.getfixturevalue(checker) if found.file in STUBS] == []


# --- stubs and run time agree -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def right() -> ModuleType:
    """right.py as a module: its types are imported for type checkers only, so that it imports without stubs."""
    spec = importlib.util.spec_from_file_location("typing_cases_right", CASES / "right.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("case", "rpc", "field"),
    [
        ("invoice", "simple.invoices.create", "changes"),
        ("customer", "billing.customers.create", "input"),
        ("event", "billing.events.create", "event"),
        ("page", "simple.invoices.list", "pagination"),
        ("filtered", "simple.invoices.list", "filter"),
        ("filtered_without_reserved_words", "simple.invoices.list", "filter"),
        ("branch", "invoicing.branches.create", "changes"),
    ],
)
def test_what_type_checkers_accept_the_client_builds(right: ModuleType, case: str, rpc: str, field: str) -> None:
    request: Message = build(bind(catalog().method(rpc)).request_class, {field: getattr(right, case)()})
    assert getattr(request, field).ByteSize() > 0


def stub(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse((GEN / f"{module.replace('.', '/')}.pyi").read_text())
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def attributes(node: ast.ClassDef) -> dict[str, str]:
    """Name → annotation of the attributes of a class in a stub."""
    found = [item for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]
    return {ast.unparse(item.target): ast.unparse(item.annotation) for item in found}


def service_stub(service: Service) -> dict[str, ast.ClassDef]:
    return stub(
        "invora_api." + service.file.removeprefix("invora/").removesuffix(".proto").replace("/", ".") + "_client"
    )


@pytest.mark.parametrize(("tree", "prefix"), [("SyncTree", ""), ("AsyncTree", "Async")])
def test_both_trees_have_the_attributes_of_the_catalog(tree: str, prefix: str) -> None:
    classes = stub("invora_api.clients")
    modules = attributes(classes[tree])
    assert list(modules) == list(catalog().modules)
    for name, areas in catalog().modules.items():
        found = attributes(classes[modules[name]])
        assert list(found) == list(areas)
        for area, service in areas.items():
            kind = found[area].rpartition(".")[2]
            rpcs = attributes(service_stub(service)[kind])
            assert kind.startswith(prefix)
            assert [rpc for rpc in rpcs if rpc != "service"] == [method.rpc for method in service.methods]


def calls(service: Service, prefix: str) -> Iterator[tuple[Any, ast.ClassDef]]:
    classes = service_stub(service)
    rpcs = attributes(classes[prefix + service.name.rpartition(".")[2]])
    for method in service.methods:
        yield method, classes[rpcs[method.rpc]]


@pytest.mark.parametrize("prefix", ["", "Async"])
def test_every_rpc_takes_the_fields_of_its_request_and_lists_can_be_walked(prefix: str) -> None:
    walked = 0
    for service in catalog():
        for method, node in calls(service, prefix):
            binding = bind(method)
            functions = {
                item.name: item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            answer = descriptor_of(binding.response_class).fields_by_name
            listed = not method.streaming and "items" in answer and "next_page_cursor" in answer
            assert functions.keys() == ({"__call__", "items", "pages"} if listed else {"__call__"})
            walked += listed
            for function in functions.values():
                if not method.client_streaming:
                    names = [argument.arg.removesuffix("_") for argument in function.args.kwonlyargs]
                    assert names == [field.name for field in descriptor_of(binding.request_class).fields]
            assert isinstance(functions["__call__"], ast.AsyncFunctionDef) == (
                prefix == "Async" and not method.streaming
            )
    assert walked == 102


# --- help() -----------------------------------------------------------------------------------------------------------


def test_an_rpc_is_explained_with_the_fields_of_its_request() -> None:
    assert explain(catalog().method("simple.invoices.create")).splitlines() == [
        "Creates a draft invoice, or issues it at once with freeze_immediately.",
        "Safe to repeat with a key of the caller's: the second attempt answers ALREADY_EXISTS.",
        "",
        "/invora.simple.invoices.v1.SimpleInvoiceService/Create",
        "Scope: Invora.Simple.Invoices.v1.Modify.Create",
        "Origin: documented",
        "",
        "create(",
        "    request: CreateRequest | CreateRequestDict,",
        "    /,",
        "    *,",
        "    key: str | UUID,",
        "    changes: ChangeBase | ChangeBaseDict,",
        "    freeze_immediately: bool,",
        ") -> CreateResponse",
        "    key: The caller's own key, unique per tenant: the same key again answers ALREADY_EXISTS.",
        "    freeze_immediately: Freeze in the same transaction: created and frozen, or neither.",
    ]


def test_a_list_is_explained_with_the_ways_to_walk_it() -> None:
    text = explain(catalog().method("simple.invoices.list"))
    assert "list.items(…) -> Items[SimpleInvoiceSummary]" in text
    assert "list.pages(…) -> Pages[ListResponse]" in text


def test_every_rpc_is_explained_from_its_stub() -> None:
    for method in catalog().methods:
        text = explain(method)
        assert text.startswith(method.doc.splitlines()[0])
        assert f"\n{method.rpc}(" in text


def explained_elsewhere(api: Path) -> str:
    """What another interpreter explains, with the generated package of this folder; and which libraries it loads."""
    code = (
        "import sys; from invora_grpc.catalog import catalog; from invora_grpc.explain import explain; "
        "print(explain(catalog().method('simple.invoices.get'))); "
        "print(sorted({'grpc', 'google.protobuf'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": f"{api}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=api).stdout


def test_without_stubs_the_words_of_the_catalog_remain(tmp_path: Path) -> None:
    (tmp_path / "invora_api").mkdir()
    for name in ("__init__.py", "catalog.py"):
        shutil.copy(GEN / "invora_api" / name, tmp_path / "invora_api" / name)
    assert explained_elsewhere(tmp_path) == (
        "Reads one invoice by its key.\nNOT_FOUND if the tenant has none with this key.\n\n"
        "/invora.simple.invoices.v1.SimpleInvoiceService/Get\nScope: Invora.Simple.Invoices.v1.Get\n"
        "Origin: documented\n[]\n"
    )


def test_explaining_loads_neither_grpc_nor_protobuf() -> None:
    text = explained_elsewhere(GEN)
    assert "key: str | UUID" in text
    assert text.endswith("\n[]\n")
