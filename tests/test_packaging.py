"""What is published: the wheel and the archive of sources, and what they do on a machine that has only them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from installed import Installed, build, install
from packaging.requirements import Requirement
from sandbox_fixture import Running

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Wheel and archive of this tree."""
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(dist: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An environment with nothing of this project but the wheel."""
    return install(dist[0], tmp_path_factory.mktemp("installed"))


def sources(folder: str) -> set[str]:
    """Files of a package in this tree, by their names in a wheel."""
    top = ROOT / folder
    return {
        path.relative_to(top.parent).as_posix()
        for path in top.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_has_both_packages_whole_and_nothing_else(dist: tuple[Path, Path]) -> None:
    own = {name for name in names(dist[0]) if not name.startswith("invora_grpc-")}
    assert own == sources("invora_grpc") | sources("gen/invora_api")
    assert {"invora_grpc/py.typed", "invora_api/py.typed", "invora_api/index.txt", "invora_api/clients.pyi"} <= own


def test_beside_the_packages_the_wheel_has_licence_metadata_and_the_script_for_ci(dist: tuple[Path, Path]) -> None:
    other = {re.sub(r"^invora_grpc-[^/]*\.", "", name) for name in names(dist[0]) if name.startswith("invora_grpc-")}
    scripts = {"data/scripts/invora-regenerate"}
    about = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert other == scripts | {f"dist-info/{name}" for name in about}


def test_the_metadata_says_what_the_project_says(dist: tuple[Path, Path]) -> None:
    wheel = zipfile.ZipFile(dist[0])
    about = message_from_string(wheel.read(next(n for n in wheel.namelist() if n.endswith("/METADATA"))).decode())
    needed = [Requirement(text) for text in about.get_all("Requires-Dist", ())]
    assert {str(r) for r in needed if not r.marker} == {str(Requirement(text)) for text in PROJECT["dependencies"]}
    assert set(about.get_all("Provides-Extra", ())) == set(PROJECT["optional-dependencies"])
    assert (about["License-Expression"], about["Requires-Python"]) == ("Apache-2.0", ">=3.11")


def test_the_same_sources_elsewhere_make_the_same_bytes(dist: tuple[Path, Path], tmp_path: Path) -> None:
    """The archive is unpacked at another path, with other times and other rights of files."""
    with tarfile.open(dist[1]) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4
        archive.extractall(tmp_path)
    (tree,) = tmp_path.iterdir()
    for path in tree.rglob("*"):
        if path.is_file():
            os.utime(path, (1_000_000_000, 1_000_000_000))
            path.chmod(path.stat().st_mode & 0o700)
    again = build(tree, tmp_path / "dist")
    assert [path.name for path in again] == [path.name for path in dist]
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(again, dist, strict=True)] == [True, True]


def test_the_archive_has_what_the_targets_of_the_makefile_need(dist: tuple[Path, Path]) -> None:
    with tarfile.open(dist[1]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    proto = {f"proto/{name.partition('/')[2]}" for name in sources("proto")}
    needed = {"Makefile", "buf.gen.yaml", "buf.yaml", "requirements.txt", "ci/regenerate", "tests/installed.py"}
    assert proto | needed <= held
    assert not [name for name in held if re.search(r"__pycache__|\.hypothesis|_cache/|\.pyc$|\.whl$", name)]


def test_the_example_of_the_readme_runs_without_the_source_tree(
    installed: Installed, sandbox: Running, tmp_path: Path
) -> None:
    (tmp_path / "example.py").write_text(re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[0])
    result = installed.run(
        "python",
        "example.py",
        cwd=tmp_path,
        INVORA_ENV="sandbox",
        INVORA_ENDPOINT=f"http://{sandbox.grpc}",
        INVORA_ISSUER=sandbox.issuer,
        INVORA_CLIENT_ID=sandbox.client_id,
        INVORA_CLIENT_SECRET=sandbox.client_secret,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("INV-000001 689.66\n")


def test_what_is_imported_is_what_was_installed(installed: Installed, tmp_path: Path) -> None:
    code = "import invora_api, invora_grpc; print(invora_api.__file__, invora_grpc.__file__, sep='\\n')"
    places = installed.run("python", "-c", code, cwd=tmp_path).stdout.splitlines()
    assert len(places) == 2
    assert all(place.startswith(str(installed.folder)) for place in places)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("invora", "--version"), "0."),
        (("invora", "ls", "simple"), "simple.invoices"),
        (("invora", "gen", "--help"), "--source"),
        (("protoc-gen-invora-python", "--help"), "package="),
        (("invora-regenerate", "--help"), "--approved"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_the_programs_run(installed: Installed, tmp_path: Path, command: tuple[str, ...], said: str) -> None:
    result = installed.run(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert said in result.stdout


def test_importing_the_package_writes_nothing_into_the_working_directory(installed: Installed, tmp_path: Path) -> None:
    installed.run("python", "-c", "import invora_grpc; invora_grpc.Invora", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_type_checkers_read_the_types_from_the_wheel(installed: Installed, tmp_path: Path) -> None:
    code = (
        "from invora_grpc import Invora\n"
        "def number(client: Invora) -> int:\n"
        "    return client.simple.invoices.get(key='K').details.number\n"
    )
    (tmp_path / "use.py").write_text(code)
    checker = [str(Path(sys.executable).parent / "basedpyright"), "--level", "error", "--outputjson"]
    command = [*checker, "--pythonpath", str(installed.bin / "python"), "use.py"]
    result = subprocess.run(
        command, cwd=tmp_path, env=installed.environment(), capture_output=True, text=True, check=False
    )
    (error,) = json.loads(result.stdout)["generalDiagnostics"]
    assert (error["range"]["start"]["line"], error["rule"]) == (2, "reportReturnType")
    assert error["message"].startswith('Type "str" is not assignable to return type "int"')
