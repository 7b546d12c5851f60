"""The documentation holds: its examples run, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sandbox_fixture import Running

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def environment_of(demo: Running) -> dict[str, str]:
    return {
        "INVORA_ENV": "sandbox",
        "INVORA_ENDPOINT": f"http://{demo.grpc}",
        "INVORA_ISSUER": demo.issuer,
        "INVORA_CLIENT_ID": demo.client_id,
        "INVORA_CLIENT_SECRET": demo.client_secret,
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_run_and_run_again_against_the_same_sandbox(
    page: Path, sandbox: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment_of(sandbox).items():
        monkeypatch.setenv(name, value)
    for source in 2 * blocks(page, "python"):
        exec(compile(source, str(page), "exec"), {"__name__": "example"})
    capsys.readouterr()


def test_the_first_example_is_an_invoice_and_an_error(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment_of(sandbox).items():
        monkeypatch.setenv(name, value)
    for _ in range(2):  # the second run finds the invoice of the first
        exec(compile(blocks(PAGES[0], "python")[0], "README.md", "exec"), {"__name__": "example"})
        first, *rest = capsys.readouterr().out.splitlines()
        assert first == "INV-000001 689.66"
        assert "FAILED_PRECONDITION" in "".join(rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_that_are_named_exist(page: Path) -> None:
    named = set(re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", page.read_text(), re.MULTILINE))
    assert {a or b for a, b in named} <= TARGETS


def test_paths_in_the_map_exist() -> None:
    table = (ROOT / "README.md").read_text().partition("## Map")[2]
    names = [
        name for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", cell)
    ]
    assert len(names) > 10
    missing = [n for n in names if not (ROOT / n).exists() and not (ROOT / "invora_grpc" / n).exists()]
    assert missing == []
