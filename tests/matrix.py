"""Tests against both ends of what the package says that it runs with: `make test-matrix`.

For each end an environment of its own is made under build/matrix: the wheel of this tree, and the lowest, or the
highest, version of each dependency that its ranges allow, from the package index. In it runs the part of the tests that
depends on those packages, from the archive of sources without the package, so that only the wheel can be imported. This
is no test itself, and needs the index.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Final

from installed import ROOT, build
from packaging.requirements import Requirement

ENDS: Final = ("lowest", "highest")
EXTRAS: Final = ("cli", "sandbox", "telemetry", "webhooks", "codegen", "zatca")
TOOLS: Final = (
    "grpcio-channelz",
    "grpcio-status",
    "hypothesis",
    "opentelemetry-sdk",
    "packaging",
    "pexpect",
    "pyte",
    "pytest",
    "pytest-xdist",
)
"""What the tests themselves need of the extra `dev`."""
TESTS: Final = (
    "test_call_ends.py",
    "test_catalog.py",
    "test_channel.py",
    "test_cli_call.py",
    "test_cli_explore.py",
    "test_client.py",
    "test_codegen.py",
    "test_doors*.py",
    "test_drift.py",
    "test_errors.py",
    "test_foreign*.py",
    "test_fork_and_pickle.py",
    "test_gen*.py",
    "test_interceptors.py",
    "test_plugin*.py",
    "test_reflection*.py",
    "test_sandbox_server.py",
    "test_schema_adapting.py",
    "test_schema_compare.py",
    "test_schema_properties.py",
    "test_telemetry.py",
    "test_tls.py",
    "test_values*.py",
    "test_webhooks_jwt.py",
    "test_zatca_chain.py",
    "test_zatca_hash.py",
    "test_zatca_qr*.py",
    "test_zatca_stamping.py",
    "test_zatca_ubl.py",
)
"""Tests that meet grpcio, protobuf, httpx, click and the rest most closely; patterns in tests/."""
CHOICE: Final = "not typing and not mypy and not pyright"
"""Which of those: not the tests of type checkers, which are not installed here. For pytest's -k."""


def project() -> tuple[list[Requirement], list[Requirement]]:
    """Requirements of the package with all extras for users, and those of the extra `dev`."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = data["optional-dependencies"]
    own = [*data["dependencies"], *(text for name in EXTRAS for text in extras[name])]
    return [Requirement(text) for text in own], [Requirement(text) for text in extras["dev"]]


def lowest(requirement: Requirement) -> str:
    """The requirement with its lower bound as the only version."""
    (bound,) = [one.version for one in requirement.specifier if one.operator in (">=", "==")]
    return f"{requirement.name}=={bound}"


def prepare(python: str, end: str, folder: Path, wheel: Path) -> None:
    """Make the environment. Raises CalledProcessError if something cannot be installed."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    own, dev = project()
    pins = sorted({lowest(requirement) for requirement in own}) if end == "lowest" else []
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{pin}\n" for pin in pins))
    wanted = [f"{wheel}[{','.join(EXTRAS)}]", *(str(one) for one in dev if one.name in TOOLS)]
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", str(constraints), *wanted], check=True)


def tell(folder: Path, end: str) -> None:
    """Print what was installed of the packages that have a range."""
    names = sorted({requirement.name for requirement in project()[0]})
    code = "import platform, sys; from importlib.metadata import version; print('Python', platform.python_version())\n"
    code += "for name in sys.argv[1:]: print(name, version(name))"
    command = [str(folder / "bin" / "python"), "-c", code, *names]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(f"{end}: {', '.join(found.splitlines())}", flush=True)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the archive of sources, without the package, into this folder. Returns where the tests are to be run."""
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(archive) as opened:
        opened.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4
        opened.extractall(folder)
    (tree,) = folder.iterdir()
    shutil.rmtree(tree / "invora_grpc")
    return tree


def run(folder: Path, tree: Path, more: list[str]) -> int:
    """Run the tests of the tree in this environment; the exit code of pytest."""
    tests = sorted({str(path) for pattern in TESTS for path in (tree / "tests").glob(pattern)})
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    path = os.pathsep.join([str(folder / "bin"), variables.get("PATH", "")])
    command = [str(folder / "bin" / "pytest"), "-n", "auto", "--dist", "loadfile", "-k", CHOICE, *more, *tests]
    return subprocess.run(command, cwd=tree, env={**variables, "PATH": path}, check=False).returncode


def main() -> int:
    """Go through the matrix; the exit code is 0 if all tests pass at all ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", help="an interpreter; repeatable (default: this one)")
    parser.add_argument("--end", action="append", choices=ENDS, help="only this end; repeatable")
    parser.add_argument("more", nargs="*", help="arguments for pytest, after --")
    given = parser.parse_args()
    base = ROOT / "build" / "matrix"
    shutil.rmtree(base / "dist", ignore_errors=True)
    wheel, archive = build(ROOT, base / "dist")
    tree = unpack(archive, base / "tree")
    failed = []
    for python in given.python or [sys.executable]:
        for end in given.end or ENDS:
            folder = base / f"{Path(python).name}-{end}"
            prepare(python, end, folder, wheel)
            tell(folder, end)
            if run(folder, tree, given.more):
                failed.append(f"{python} {end}")
    print(f"failed: {', '.join(failed)}" if failed else "all ends pass")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
