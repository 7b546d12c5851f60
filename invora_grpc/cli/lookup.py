"""A schema as text: what it holds, found and shown without protobuf, click, or any other import that takes time.

Reads what `invora_grpc.schema.index` writes: the index of the compiled schema, and those of gateways that were asked
for theirs. It must import nothing that Python has not loaded by itself, and it writes nothing.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

__all__ = ["FRESH", "VERSION", "Ambiguous", "Index", "Record", "compiled", "index_path", "served"]

FRESH: Final = 3600.0
"""Seconds for which the index of a gateway is believed without asking again."""
VERSION: Final = "# invora-index 1"


class Ambiguous(Exception):
    """A name that fits several things: `args` are their names."""


class Record:
    """One service, RPC, message or enum."""

    __slots__ = ("_body", "kind", "parts")

    def __init__(self, text: str) -> None:
        head, _, self._body = text.partition("\n")
        self.kind, _, told = head.partition(" ")
        """service, rpc, message or enum."""
        self.parts = told.split("\t")
        """A service: name, module.area, origin, file. An RPC: name, attribute, origin, verdict, streaming, request and
        response. A type: its name."""

    @property
    def name(self) -> str:
        """The full name, with dots only."""
        return self.parts[0]

    @property
    def attribute(self) -> str:
        """What is written behind a client; "" for types, and for what was not compiled in."""
        return self.parts[1] if len(self.parts) > 1 else ""

    @property
    def lines(self) -> list[str]:
        """Its text."""
        return [line[1:] for line in self._body.rstrip("\n").split("\n")] if self._body else []


class Index:
    """What a schema holds."""

    __slots__ = ("_split", "_types", "data", "fetched_at", "source")

    def __init__(self, data: bytes, source: str = "", fetched_at: float = 0.0) -> None:
        self.data = data
        """The whole text."""
        self._types = data.find(b"\n@types\n") + 1
        self._split: list[Record] | None = None
        self.source = source
        """The endpoint that it is of; "" for the compiled schema."""
        self.fetched_at = fetched_at
        """When that was asked for it, in seconds since the epoch."""

    @property
    def records(self) -> list[Record]:
        """Services, each before its RPCs."""
        if self._split is None:
            self._split = [Record(text) for text in self.data[: self._types].decode().split("\n@")[1:]]
        return self._split

    @property
    def type_names(self) -> list[str]:
        """The full names of all messages and enums."""
        lines = self.data[self._types :].split(b"\n@")[1:]
        return [line.partition(b"\n")[0].partition(b" ")[2].decode() for line in lines]

    def type(self, name: str) -> Record | None:
        """A message or enum by its full name."""
        for kind in (b"message", b"enum"):
            at = self.data.find(b"\n@" + kind + b" " + name.encode() + b"\n", self._types - 1)
            if at >= 0:
                return self._record_at(at)
        return None

    def find(self, symbol: str) -> Record | None:
        """A service, RPC, message or enum by its full name, or by a short one that fits nothing else.

        Raises Ambiguous.
        """
        plain = symbol.lstrip("/.").replace("/", ".")
        exact = [one for one in self.records if plain in _names(one)]
        if len(exact) != 1:
            found = self.type(plain)
            if found is not None:
                return found
        near = exact or [one for one in self.records if any(name.endswith("." + plain) for name in _names(one))]
        if not near:
            ends = list(self._types_called(plain))
            if len(ends) > 1:
                raise Ambiguous(*ends)
            return self.type(ends[0]) if ends else None
        if len(near) > 1:
            raise Ambiguous(*(one.attribute or one.name for one in near))
        return near[0]

    def _types_called(self, last: str) -> Iterator[str]:
        """The full names of the types whose names end so."""
        needle = f".{last}\n".encode()
        at = self.data.find(needle, self._types)
        while at >= 0:
            start = self.data.rfind(b"\n", 0, at) + 1
            kind, space, name = self.data[start : at + len(needle) - 1].decode().partition(" ")
            if space and kind in ("@message", "@enum"):
                yield name
            at = self.data.find(needle, at + 1)

    def method(self, name: str) -> Record | None:
        """An RPC by any name that fits no other RPC."""
        plain = name.lstrip("/.").replace("/", ".")
        rpcs = [one for one in self.records if one.kind == "rpc"]
        found = [one for one in rpcs if plain in _names(one)]
        found = found or [one for one in rpcs if any(full.endswith("." + plain) for full in _names(one))]
        return found[0] if len(found) == 1 else None

    def holding(self, word: str) -> Iterator[Record]:
        """All records whose text has this word in it, in any case; ASCII letters only, other letters as they are."""
        lowered, needle = self.data.lower(), word.lower().encode()
        at = lowered.find(needle, lowered.find(b"\n@"))
        while at >= 0:
            start = lowered.rfind(b"\n@", 0, at + 1)
            if not lowered.startswith(b"\n@types\n", start):
                yield self._record_at(start)
            end = lowered.find(b"\n@", start + 2)
            at = lowered.find(needle, end) if end >= 0 else -1

    def _record_at(self, at: int) -> Record:
        end = self.data.find(b"\n@", at + 2)
        return Record(self.data[at + 2 : end if end >= 0 else len(self.data)].decode())


def _names(record: Record) -> tuple[str, ...]:
    if record.kind == "service":
        return record.name, record.attribute
    module_area = record.attribute.rpartition(".")[0]
    last = record.name.rpartition(".")[2]
    return record.name, record.attribute, f"{module_area}.{last}" if module_area else record.name


def compiled() -> Index:
    """The schema that this package was built with."""
    import invora_api

    with open(os.path.join(invora_api.__path__[0], "index.txt"), "rb") as file:
        return Index(file.read())


def index_path(endpoint: str) -> str | None:
    """The file that holds the index of a gateway, called as it was by the caller; None if nothing is to be kept."""
    said = os.environ.get("INVORA_CACHE_DIR")
    if said is not None:
        root = said if said != "off" else ""
    elif sys.platform == "darwin":
        root = os.path.expanduser("~/Library/Caches/invora-grpc")
    elif os.name == "nt":
        root = os.path.join(os.environ["LOCALAPPDATA"], "invora-grpc", "Cache") if "LOCALAPPDATA" in os.environ else ""
    else:
        root = os.path.join(
            os.environ.get("XDG_CACHE_HOME", "").strip() or os.path.expanduser("~/.cache"), "invora-grpc"
        )
    name = endpoint.encode("utf-8", "replace").hex()
    return os.path.join(os.path.abspath(root), "index", name) if root and 0 < len(name) <= 200 else None


def served(endpoint: str) -> Index | None:
    """What this gateway said when it was last asked; None if it was not, or if others could have written that."""
    path = index_path(endpoint)
    if path is None:
        return None
    try:
        for place in (os.path.dirname(path), path):
            found = os.lstat(place)
            kind = found.st_mode & 0o170000
            strange = hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022)
            if strange or kind != (0o100000 if place == path else 0o040000):
                return None
        with open(path, "rb") as file:
            data = file.read()
        version, source, fetched_at = data[: data.index(b"\n")].decode().split("\t")
        return Index(data, source, float(fetched_at)) if (version, source) == (VERSION, endpoint) else None
    except (OSError, ValueError):
        return None
