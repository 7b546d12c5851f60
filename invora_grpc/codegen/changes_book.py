"""The book into which what has changed is written, with its place and with whom it breaks.

Also what holds for all elements alike: comments, deprecation and options. What differs, `changes_types` and
`changes_calls` find out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from invora_grpc.codegen.changes_kinds import KINDS, Breaks, Change
from invora_grpc.codegen.changes_model import Side
from invora_grpc.codegen.changes_names import Names
from invora_grpc.codegen.changes_shapes import Shapes

__all__ = ["Book", "Place"]

_LANGUAGES: Final = frozenset(
    {"ctype", "jstype", "no_standard_descriptor_accessor", "optimize_for", "swift_prefix", "objc_class_prefix"}
)
_LANGUAGE_PREFIXES: Final = ("java_", "go_", "csharp_", "php_", "ruby_", "cc_", "py_")
"""Options that decide what is generated for a language."""


class _Element(Protocol):
    """What files, types, fields, values, services and RPCs have in common."""

    @property
    def deprecated(self) -> bool: ...
    @property
    def options(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is: the parts of a `Change` that say so."""

    file: str = ""
    service: str = ""
    rpc: str = ""
    type: str = ""
    member: str = ""


@dataclass(frozen=True, slots=True)
class Book:
    """Two sides, what of one is what of the other, and what was found so far."""

    before: Side
    after: Side
    names: Names
    shapes: Shapes
    found: list[Change] = field(default_factory=list)
    formerly: dict[str, str] = field(default_factory=dict)
    """Full name after → before, of what is on both sides under two names."""

    def say(
        self,
        kind: str,
        symbol: str,
        place: Place,
        before: object = "",
        after: object = "",
        *,
        breaks: Iterable[Breaks] | None = None,
    ) -> None:
        """Write down a change. `breaks`: who, if it is not as always for the kind."""
        who = KINDS[kind].breaks if breaks is None else tuple(breaks)
        self.found.append(
            Change(
                kind,
                symbol,
                str(before),
                str(after),
                tuple(one for one in Breaks if one in who),
                file=place.file,
                service=place.service,
                rpc=place.rpc,
                type=place.type,
                member=place.member,
            )
        )

    def formerly_of(self, file: str) -> str:
        """The path that a file has after; its old one if it is gone."""
        return next((new for new, old in self.formerly.items() if old == file), file)

    def names_before(self, name: str) -> str:
        """What a type, service or file was called before that has this name after."""
        return self.formerly.get(name, name)

    def repackaged(self, before: str, after: str) -> bool:
        """Whether two paths are of one file, moved or not, of which is said that its package is another one now."""
        packages = self.before.files[before].package, self.after.files[after].package
        return self.names_before(after) == before and packages[0] != packages[1]

    def pair(self, before: str, after: str) -> None:
        """Note that two names are of one thing."""
        if before != after:
            self.formerly[after] = before

    def common(self, symbol: str, place: Place, before: _Element, after: _Element, options: str) -> None:
        """Deprecation and options of something. `options`: the message of descriptor.proto that its options are."""
        if before.deprecated != after.deprecated:
            self.say("deprecated" if after.deprecated else "undeprecated", symbol, place)
        for name in sorted(before.options.keys() | after.options.keys()):
            values = before.options.get(name), after.options.get(name)
            if values[0] != values[1]:
                known = self._option(name, options)
                told = (f"{known} = {value}" if value is not None else "" for value in values)
                self.say("option-changed", symbol, place, *told, breaks=(Breaks.SOURCE,) if _is_for_code(name) else ())

    def comments(self, symbol: str, place: Place, before: str | None, after: str | None) -> None:
        """The comments of something, if both sides have any."""
        if before is not None and after is not None and before != after:
            self.say("comment-changed", symbol, place)

    def _option(self, name: str, options: str) -> str:
        """The name of an option that is known by its number only, if the schema says it."""
        if name.startswith("("):
            for side in (self.after, self.before):
                for one in side.extensions.values():
                    if one.extends == f"google.protobuf.{options}" and name == f"({one.number})":
                        return f"({one.full})"
        return name

    def users(self) -> None:
        """Fill in the RPCs in which changed types can travel."""
        known: dict[str, tuple[str, ...]] = {}
        for index, change in enumerate(self.found):
            if change.type and not change.rpcs:
                if change.type not in known:
                    known[change.type] = self._users(change.type)
                self.found[index] = replace(change, rpcs=known[change.type])

    def _users(self, name: str) -> tuple[str, ...]:
        return self.after.users(self.names.now(name)) or self.before.users(name)


def _is_for_code(name: str) -> bool:
    return name in _LANGUAGES or name.startswith(_LANGUAGE_PREFIXES)
