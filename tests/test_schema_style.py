"""The linter's exceptions: each is explained, and none is wider than what the published schema forces."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from invora_grpc.codegen.googleapis import materialise

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "buf.yaml").read_text()
MODULES: list[dict[str, Any]] = yaml.safe_load(TEXT)["modules"]


def findings(workspace: Path) -> list[dict[str, Any]]:
    buf = shutil.which("buf", path=str(Path(sys.executable).parent)) or "buf"
    command = [buf, "lint", "--error-format=json"]
    env = {"GOGC": "400", **os.environ}  # less garbage collection
    result = subprocess.run(command, cwd=workspace, env=env, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workspace without its settings, with Google's files in place."""
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copytree(ROOT / "proto", folder / "proto")
    materialise(folder / "build" / "googleapis")
    return folder


def test_the_schema_is_clean_with_the_exceptions(workspace: Path) -> None:
    (workspace / "buf.yaml").write_text(TEXT)
    assert findings(workspace) == []


def test_without_the_exceptions_each_rule_is_broken_in_its_module_and_no_other_rule_anywhere(workspace: Path) -> None:
    plain = [{key: value for key, value in module.items() if key != "lint"} for module in MODULES]
    (workspace / "buf.yaml").write_text(yaml.safe_dump({"version": "v2", "modules": plain}))
    broken = {
        (module["path"], finding["type"])
        for finding in findings(workspace)
        for module in MODULES
        if finding["path"].startswith(module["path"] + "/")
    }
    rules = {(m["path"], rule) for m in MODULES for rule in m.get("lint", {}).get("except", ())}
    ignored = {path for m in MODULES for path in m.get("lint", {}).get("ignore", ())}
    assert {(path, rule) for path, rule in broken if path not in ignored} == rules
    assert ignored == {path for path, _ in broken} & ignored == {"build/googleapis"}


def test_exceptions_are_the_module_s_own_and_explained() -> None:
    assert {"lint", "breaking"}.isdisjoint(yaml.safe_load(TEXT))
    first_lines = re.findall(r"^ {6}(?:except|ignore):\n(.*)$", TEXT, re.MULTILINE)
    assert len(first_lines) == len([module for module in MODULES if "lint" in module])
    assert all(line.lstrip().startswith("# ") for line in first_lines)
