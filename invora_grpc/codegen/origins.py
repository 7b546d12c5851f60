"""How sure the schema is: the origin of each file and RPC, and the module of the client that each file belongs to.

`published`: taken from a published module. `derived`: numbers follow a rule that the published files follow.
`documented`: named by the public guides, numbers chosen here and provisional. Of anybody's schema, nothing else is
known: then all is published, as its proto files are the truth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from google.protobuf import descriptor_pb2

from invora_grpc.catalog import MODULE_NAMES_TAKEN, attribute
from invora_grpc.errors import ConfigError

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


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
    """Proto path → the module that holds it, e.g. "billing"; see `module` for files that are not listed."""

    @classmethod
    def plain(cls) -> Origins:
        """What is known of anybody's schema."""
        return cls("published", _NOTHING, _NOTHING, _NOTHING)

    @classmethod
    def read(cls, path: Path) -> Origins:
        """Read what `text` writes; "modules" may be missing. Raises ConfigError."""
        try:
            data = json.loads(path.read_text("utf-8"))
            parts = [data["files"], data["methods"], data.get("modules", {})]
            texts = [text for part in parts for pair in part.items() for text in pair]
        except OSError as error:
            raise ConfigError("origins", str(path), "name a JSON file", f"cannot be read: {error.strerror}") from None
        except (ValueError, LookupError, AttributeError, TypeError):
            hint = 'write {"default": "published", "files": {…}, "methods": {…}, "modules": {…}}'
            raise ConfigError("origins", str(path), hint, "is no such JSON") from None
        if not all(isinstance(text, str) for text in [*texts, data["default"]]):
            raise ConfigError("origins", str(path), "write text only", "has values that are no text")
        return cls(data["default"], *parts)

    def text(self) -> str:
        """The JSON that `read` takes."""
        parts = {"files": self.files, "methods": self.methods, "modules": self.folders}
        data = {"default": self.default, **{name: dict(part) for name, part in parts.items()}}
        return json.dumps(data, indent=2, sort_keys=True) + "\n"

    @classmethod
    def load(cls, protos: Path) -> Origins:
        """Read origins.json in `protos`, the folder that holds one folder per module. Raises ConfigError."""
        listed = cls.read(protos / "origins.json")
        folders = {
            path.relative_to(module).as_posix(): module.name
            for module in sorted(protos.iterdir())
            if module.is_dir()
            for path in module.rglob("*.proto")
        }
        return cls(listed.default, listed.files, listed.methods, folders)

    def module(self, file: descriptor_pb2.FileDescriptorProto) -> str:
        """The module of a file: the listed one, else the first word of its package; `services` without a package."""
        listed = self.folders.get(file.name)
        if listed is None:
            return attribute(file.package.partition(".")[0] or "services", MODULE_NAMES_TAKEN)
        return listed

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
