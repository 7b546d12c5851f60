"""A type checker knows the tree of a generated package's client: right calls pass, and wrong ones are found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from shop import shop

ROOT = Path(__file__).parent.parent
RIGHT = """
from collections.abc import Iterator
from acme_api.acme.store.v1.store_front_pb2 import GetRequest
from acme_api.acme.store.v1.things_pb2 import Thing
from acme_api.client import AsyncClient, Client

def calls(client: Client) -> Thing:
    with client.for_org("7").with_options(timeout=5) as other:
        other.acme.store.get(GetRequest(key="k"))
        for thing in other.acme.store.watch(key="k"):
            thing.request.upper()
        for item in other.acme.store.list.items():
            item.options["a"] + 1
        with other.acme.store.haggle() as stream:
            stream.send(key="k", request="r")
            stream.done()
        return other.acme.store.get(key="k")

async def acalls(client: AsyncClient) -> Thing:
    async with client:
        async for item in client.acme.store.list.items():
            item.key.upper()
        await client.service_.desk.ring(tone="a")
        return await client.acme.store.create(key="k")
"""
WRONG = """
from acme_api.client import AsyncClient, Client

def calls(client: Client) -> None:
    client.acme.store.get(kye="k")
    client.acme.store.get(key=1)
    client.acme.stor.get(key="k")
    client.simple
    client.acme.store.search.items()
    Client("http://127.0.0.1:1", env="sandbox")

async def acalls(client: AsyncClient) -> str:
    return client.acme.store.get(key="k").key
"""
WRONG_LINES = [5, 6, 7, 8, 9, 10, 13]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shop's package and a program of each kind."""
    folder = tmp_path_factory.mktemp("project")
    shop(folder)
    (folder / "right.py").write_text(RIGHT)
    (folder / "wrong.py").write_text(WRONG)
    return folder


def lines_of(found: list[tuple[str, int]], name: str) -> list[int]:
    return sorted({line for file, line in found if Path(file).name == name})


def test_right_calls_pass_and_wrong_ones_are_found(project: Path) -> None:
    settings = {"include": ["right.py", "wrong.py"], "extraPaths": [str(project), str(ROOT), str(ROOT / "gen")]}
    config = project / "pyrightconfig.json"
    config.write_text(json.dumps({**settings, "typeCheckingMode": "standard", "pythonVersion": "3.11"}))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(config)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode in (0, 1), result.stdout + result.stderr
    said = json.loads(result.stdout)["generalDiagnostics"]
    found = [(one["file"], one["range"]["start"]["line"] + 1) for one in said if one["severity"] == "error"]
    assert lines_of(found, "right.py") == []
    assert lines_of(found, "wrong.py") == WRONG_LINES
