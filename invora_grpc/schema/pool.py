"""A private descriptor pool of files that were not compiled in, however broken some of them are.

The default pool is never touched, and two gateways whose files contradict each other live side by side. A file enters
the pool after everything that it imports; what is missing is found by symbol under another path, taken from protobuf's
own well-known types, or stood in for by empty types that are remembered as such. Files that the pool refuses are
problems, and so is what needs them; all others are usable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Final

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor

from invora_grpc.errors import one_line
from invora_grpc.schema.files import File, FileSet, definitions, ordered, references

__all__ = ["BUNDLED", "Pool", "pooled"]

BUNDLED: Final = MappingProxyType(
    {
        f"google/protobuf/{stem}.proto": f"google.protobuf.{stem}_pb2"
        for stem in (
            *("any", "api", "descriptor", "duration", "empty", "field_mask"),
            *("source_context", "struct", "timestamp", "type", "wrappers"),
        )
    }
)
"""The files that every protobuf runtime brings along, and the modules that have them."""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """A private pool, and what is wrong with what is, or is not, in it."""

    pool: descriptor_pool.DescriptorPool
    linked: Mapping[str, FileDescriptor]
    """The files in the pool, by the names under which they were given: it does not find those with other letters than
    ASCII's."""
    problems: Mapping[str, str]
    """File name → why it is not in the pool."""
    stand_ins: frozenset[str]
    """Full names of types that nobody defined, and that are in the pool as empty ones."""

    @property
    def files(self) -> frozenset[str]:
        """The names of the files in the pool."""
        return frozenset(self.linked)


def pooled(files: FileSet) -> Pool:
    """The pool of these files. Never raises for what is in them: see `Pool.problems`."""
    filling = _Filling(files)
    filling.fill()
    return Pool(
        filling.pool,
        MappingProxyType({name: file for name, file in filling.added.items() if name in files.files}),
        MappingProxyType(filling.problems),
        frozenset(filling.stand_ins),
    )


class _Filling:
    def __init__(self, files: FileSet) -> None:
        self.pool = descriptor_pool.DescriptorPool()
        self.problems = dict(files.problems)
        self.stand_ins: dict[str, File] = {}
        """Symbol that nobody defines → the file that was made for it."""
        self.added: dict[str, FileDescriptor] = {}
        self._files = _with_bundled(files.files)
        self._homes: dict[str, str] = {}
        """Symbol → the file that defines it."""
        self._same: set[str] = set()
        """Files that say the same as another one under another name, which is used in their place."""

    def fill(self) -> None:
        for name, file in self._files.items():
            self._settle(name, file)
        usable = {name: file for name, file in self._files.items() if name not in self._same}
        mended = {name: self._mended(file) for name, file in usable.items() if name not in self.problems}
        made = {file.name: file for file in self.stand_ins.values()}
        for name, file in ordered({**made, **mended}, self.problems).items():
            if name not in self.problems:
                self._add(name, file)
        for name in made:
            self.problems.pop(name, None)

    def _settle(self, name: str, file: File) -> None:
        """Note where each symbol is defined. Two files that define one in different ways are both unusable."""
        for symbol in definitions(file):
            home = self._homes.setdefault(symbol, name)
            if home == name or name in self._same:
                continue
            if _content(self._files[home]) == _content(file):
                self._same.add(name)
                continue
            for one, other in ((name, home), (home, name)):
                self.problems.setdefault(
                    one, f"defines {one_line(symbol, 200)}, and so does {one_line(other, 200)} in another way"
                )

    def _mended(self, file: File) -> File:
        """The file, as it is if all that it imports is there; else it imports what it refers to, wherever that is."""
        if all(imported in self._files and imported not in self._same for imported in file.dependency):
            return file
        imports = {name: None for name in file.dependency if name in self._files and name not in self._same}
        for symbol, is_enum in references(file):
            home = self._homes.get(symbol) or self._stand_in(symbol, is_enum)
            if home != file.name:
                imports[home] = None
        mended = File()
        mended.CopyFrom(file)
        for field in ("dependency", "public_dependency", "weak_dependency"):
            mended.ClearField(field)
        mended.dependency.extend(imports)
        return mended

    def _stand_in(self, symbol: str, is_enum: bool) -> str:
        """The name of the file that will define a symbol as an empty type."""
        file = self.stand_ins.get(symbol)
        if file is None:
            name = f"{symbol} (stand-in)"
            while name in self._files:
                name += "'"
            file = self.stand_ins[symbol] = _empty(name, symbol, is_enum)
        return file.name

    def _add(self, name: str, file: File) -> None:
        unmet = next((imported for imported in file.dependency if imported not in self.added), None)
        if unmet is not None:
            why = f"imports {unmet}, which {self.problems.get(unmet, 'is not there')}"
            self.problems[name] = one_line(why, 300)
            return
        try:
            self.added[name] = self.pool.AddSerializedFile(file.SerializeToString())
        except (TypeError, KeyError, ValueError, RecursionError) as error:
            self.problems[name] = f"is no valid descriptor: {one_line(str(error), 300)}"


def _empty(name: str, symbol: str, is_enum: bool) -> File:
    """A file that defines a symbol as an empty type."""
    package, _, simple = symbol.rpartition(".")
    file = File(name=name, package=package, syntax="proto3")
    if is_enum:
        file.enum_type.add(name=simple).value.add(name=f"{simple}_UNKNOWN", number=0)
    else:
        file.message_type.add(name=simple)
    return file


def _with_bundled(files: Mapping[str, File]) -> dict[str, File]:
    """The files, after those of protobuf's own that they need and do not bring."""
    found: dict[str, File] = {}
    waiting = [name for file in files.values() for name in file.dependency]
    waiting += _renamed(files)
    while waiting:
        name = waiting.pop()
        if name in BUNDLED and name not in found and name not in files:
            found[name] = _bundled(name)
            waiting.extend(found[name].dependency)
    return {**FileSet.of(found.values()).files, **files}


def _renamed(files: Mapping[str, File]) -> Iterable[str]:
    """Protobuf's own files that are imported under paths of somebody's own, and are not there."""
    homes: dict[str, str] = {}
    for file in files.values():
        if all(imported in files or imported in BUNDLED for imported in file.dependency):
            continue
        homes = homes or {symbol: name for name in BUNDLED for symbol in definitions(_bundled(name))}
        yield from (homes[symbol] for symbol, _ in references(file) if symbol in homes)


@cache
def _bundled(name: str) -> File:
    file = File()
    import_module(BUNDLED[name]).DESCRIPTOR.CopyToProto(file)
    return file


def _content(file: File) -> bytes:
    """What a file defines, whatever it is called."""
    bare = File()
    bare.CopyFrom(file)
    for field in ("name", "options", "source_code_info"):
        bare.ClearField(field)
    return bare.SerializeToString(deterministic=True)
