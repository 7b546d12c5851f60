"""How sure the schema is: the origin of each file and RPC, from `proto/origins.json`.

`published`: taken from a published module. `derived`: numbers follow a rule that the published files follow.
`documented`: named by the public guides, numbers chosen here and provisional.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Origins:
    """Origins of files, and of the methods whose origin differs from their file's."""

    default: str
    """Origin of a file that is not listed."""
    files: Mapping[str, str]
    """Proto path → origin."""
    methods: Mapping[str, str]
    """"package.Service/Method" → origin."""
    folders: Mapping[str, str]
    """Proto path → the workspace module that holds it, e.g. "billing"."""

    @classmethod
    def load(cls, protos: Path) -> Origins:
        """Read origins.json in `protos`, the folder that holds one folder per module."""
        data = json.loads((protos / "origins.json").read_text("utf-8"))
        folders = {
            path.relative_to(module).as_posix(): module.name
            for module in sorted(protos.iterdir())
            if module.is_dir()
            for path in module.rglob("*.proto")
        }
        return cls(data["default"], data["files"], data["methods"], folders)

    def of_file(self, name: str) -> str:
        """The origin of a proto file by its path."""
        return self.files.get(name, self.default)

    def of_method(self, file: str, service: str, method: str) -> str:
        """The origin of a method of the service (full name) in the file (path)."""
        return self.methods.get(f"{service}/{method}", self.of_file(file))

    @property
    def added(self) -> frozenset[str]:
        """ "package.Service/Method" of methods that were added to a published service."""
        return frozenset(self.methods)
