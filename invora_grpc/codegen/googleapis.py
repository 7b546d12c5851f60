"""google/api and google/type for buf, taken from the installed googleapis-common-protos.

The registry would serve them as a dependency; offline they are copied into a workspace module that is
not committed. Only the files that the schema imports are copied, so that the set is stable.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path

FILES = (
    "google/api/annotations.proto",
    "google/api/http.proto",
    "google/type/date.proto",
    "google/type/timeofday.proto",
)


def materialise(target: Path) -> None:
    """Write the proto files into `target`, leaving files that are already equal untouched."""
    root = importlib.resources.files("google")
    for name in FILES:
        source = root.joinpath(name.removeprefix("google/")).read_bytes()
        path = target / name
        if path.is_file() and path.read_bytes() == source:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source)
