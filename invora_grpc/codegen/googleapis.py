"""Google's protos as they are installed: for buf as a module of a workspace, for protoc as folders of imports.

The registry would serve them as a dependency; offline they are copied into a workspace module that is
not committed. Only the files that the schema imports are copied, so that the set is stable.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
from pathlib import Path

__all__ = ["FILES", "bundled", "materialise"]

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


def bundled() -> list[Path]:
    """Folders with the sources of google.protobuf, google.api and google.type, as far as they are installed."""
    found = [place / "_proto" for place in _places("grpc_tools")]
    found += [place.parent.parent for place in _places("google.api")]
    return [folder for folder in found if folder.is_dir()]


def _places(package: str) -> list[Path]:
    """Where a package is installed; nowhere if it is not."""
    spec = importlib.util.find_spec(package)
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []
