"""The table of files that take long names files that are there, each once."""

from __future__ import annotations

from pathlib import Path

from longest_first import LONGEST


def test_every_file_that_shall_begin_early_is_there() -> None:
    assert set(LONGEST) <= {path.stem for path in Path(__file__).parent.glob("test_*.py")}
    assert len(set(LONGEST)) == len(LONGEST)
