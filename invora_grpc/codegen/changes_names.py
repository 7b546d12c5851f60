"""What has become of each type, service and RPC: kept, moved to another package, renamed, or gone.

By full name first, then by package (all of a file moved to another one), then by likeness. A wrong guess would hide
that something is gone, so a likeness counts only where it is strong and the only one in both directions. What has
changed inside of a pair is for `changes_types` and `changes_calls` to say.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from invora_grpc.catalog import snake_case
from invora_grpc.codegen.changes_model import Enum, Field, Message, Rpc, Service, Side

__all__ = ["Names", "follow"]

_SAME_NAME: Final = 0.5
"""Likeness from which two types of the same simple name in two places are one."""
_SAME_PLACE: Final = 0.7
"""Likeness from which two types of one package are one."""
_SIMILAR_WORDS: Final = 0.6
"""Likeness of two names."""
_FEW: Final = 2
"""Parts below which what two types hold says too little, and their names have to be similar too."""
_CANDIDATES: Final = 400
"""Pairs of one place that are looked at closely, so that a schema made of new names is told in time."""

T = TypeVar("T", Message, Enum, Service)


@dataclass(frozen=True, slots=True)
class Names:
    """Full name before → full name after, for all that is on both sides."""

    types: Mapping[str, str]
    """Messages and enums."""
    services: Mapping[str, str]
    rpcs: Mapping[str, str]
    extensions: Mapping[str, str]

    def now(self, name: str) -> str:
        """What a type is called after; its old name if it is gone."""
        return self.types.get(name, name)


def follow(before: Side, after: Side) -> Names:
    """What of one side is what of the other."""
    packages = _packages(before, after)
    messages = _same(before.messages, after.messages, packages)
    enums = _same(before.enums, after.enums, packages)
    _nested(messages, enums, before, after)
    messages |= _alike(before.messages, after.messages, messages, _parts_of_message)
    enums |= _alike(before.enums, after.enums, enums, _parts_of_enum)
    _nested(messages, enums, before, after)
    types = messages | enums
    services = _same(before.services, after.services, packages)
    services |= _alike(before.services, after.services, services, lambda one: _parts_of_service(one, types))
    rpcs = _rpcs(before, after, types, services)
    return Names(types, services, rpcs, _extensions(before, after, types, packages))


def _packages(before: Side, after: Side) -> dict[str, str]:
    """Package before → package after, where a file that is on both sides says so, and its old one is gone."""
    left = {file.package for file in after.files.values()}
    found: dict[str, set[str]] = defaultdict(set)
    for name, file in before.files.items():
        other = after.files.get(name)
        if other is not None and other.package != file.package and file.package not in left:
            found[file.package].add(other.package)
    return {package: next(iter(others)) for package, others in found.items() if len(others) == 1}


def _same(before: Mapping[str, T], after: Mapping[str, T], packages: Mapping[str, str]) -> dict[str, str]:
    """What has the same name, apart from a package that is called otherwise."""
    found = {name: name for name in before if name in after}
    for name in before:
        if name not in found:
            moved = _in_package(name, packages)
            if moved in after and moved not in before:
                found[name] = moved
    return found


def _in_package(name: str, packages: Mapping[str, str]) -> str:
    package = name
    while package:
        package = package.rpartition(".")[0]
        if package in packages:
            rest = name[len(package) :].lstrip(".")
            return f"{packages[package]}.{rest}".lstrip(".")
    return name


def _nested(messages: dict[str, str], enums: dict[str, str], before: Side, after: Side) -> None:
    """What is in a renamed message is called after it."""
    for found, side, other in ((messages, before.messages, after.messages), (enums, before.enums, after.enums)):
        taken = set(found.values())
        for name in side:
            outer, _, simple = name.rpartition(".")
            moved = f"{messages.get(outer, outer)}.{simple}"
            if name not in found and moved in other and moved not in taken:
                found[name] = moved


# --- by likeness --------------------------------------------------------------------------------------------------


def _alike(
    before: Mapping[str, T], after: Mapping[str, T], known: Mapping[str, str], parts: Callable[[T], frozenset[str]]
) -> dict[str, str]:
    """What is gone on one side and new on the other, and so like that it is the same."""
    taken = set(known.values())
    gone = {name: parts(one) for name, one in before.items() if name not in known}
    new = {name: parts(one) for name, one in after.items() if name not in taken}
    pairs = {
        (old, name): likeness
        for old, name in _candidates(gone, new)
        if (likeness := _likeness(old, name, gone[old], new[name])) > 0
    }
    return _mutual(pairs)


def _candidates(gone: Iterable[str], new: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Pairs of the same simple name, or of the same place."""
    by_name, by_place = _grouped(new)
    found: dict[tuple[str, str], None] = {}
    for old in gone:
        place, _, simple = old.rpartition(".")
        for name in (*by_name.get(simple, ())[:_CANDIDATES], *by_place.get(place, ())[:_CANDIDATES]):
            found[old, name] = None
    return found


def _grouped(names: Iterable[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    by_name: dict[str, list[str]] = defaultdict(list)
    by_place: dict[str, list[str]] = defaultdict(list)
    for name in names:
        place, _, simple = name.rpartition(".")
        by_name[simple].append(name)
        by_place[place].append(name)
    return by_name, by_place


def _likeness(old: str, new: str, before: frozenset[str], after: frozenset[str]) -> float:
    """How sure it is that two are one; 0: not enough."""
    whole = before | after
    common = before & after
    share = len(common) / len(whole) if whole else 1.0
    if old.rpartition(".")[2] == new.rpartition(".")[2]:
        return share if share >= _SAME_NAME else 0
    words = _similar(old.rpartition(".")[2], new.rpartition(".")[2])
    if len(common) < _FEW:
        return words * share if share == 1 and words >= _SIMILAR_WORDS else 0
    return share * (1 + words) / 2 if share >= _SAME_PLACE else 0


def _similar(one: str, other: str) -> float:
    """Likeness of two names by their words, plural or not."""
    return difflib.SequenceMatcher(None, _words(one), _words(other)).ratio()


def _words(name: str) -> list[str]:
    return [word.removesuffix("s") for word in snake_case(name).split("_")]


def _mutual(pairs: Mapping[tuple[str, str], float]) -> dict[str, str]:
    """The pairs each of which is the only best for both."""
    best: dict[tuple[str, int], list[float]] = defaultdict(list)
    for (old, new), likeness in pairs.items():
        best[old, 0].append(likeness)
        best[new, 1].append(likeness)

    def only(name: str, side: int, likeness: float) -> bool:
        return max(best[name, side]) == likeness and best[name, side].count(likeness) == 1

    return {old: new for (old, new), likeness in pairs.items() if only(old, 0, likeness) and only(new, 1, likeness)}


def _parts_of_message(message: Message) -> frozenset[str]:
    return frozenset(f"{one.name} {one.number} {_kind(one)}" for one in message.fields.values())


def _kind(one: Field) -> str:
    """Its type, without names that may have changed with it."""
    return f"{one.cardinality} {one.type} {one.key} {one.value}"


def _parts_of_enum(enum: Enum) -> frozenset[str]:
    """Its values by number, with the last word of their names: their prefix is that of the enum."""
    return frozenset(f"{one.number} {one.name.rpartition('_')[2]}" for one in enum.values.values())


def _parts_of_service(service: Service, types: Mapping[str, str]) -> frozenset[str]:
    kinds = (
        (one.name, types.get(one.request, one.request), types.get(one.response, one.response))
        for one in service.rpcs.values()
    )
    return frozenset(" ".join((name, *(kind.rpartition(".")[2] for kind in found))) for name, *found in kinds)


# --- RPCs ---------------------------------------------------------------------------------------------------------


def _rpcs(before: Side, after: Side, types: Mapping[str, str], services: Mapping[str, str]) -> dict[str, str]:
    """RPCs by name in services that are on both sides; then those renamed in their service, or moved to another."""
    found = {}
    for name, service in before.services.items():
        other = after.services.get(services.get(name, ""))
        for rpc in service.rpcs.values() if other is not None else ():
            if other is not None and rpc.name in other.rpcs:
                found[rpc.full] = other.rpcs[rpc.name].full
    for fits in (_renamed, _moved):
        taken = set(found.values())
        gone = [rpc for full, rpc in before.rpcs.items() if full not in found]
        new = [rpc for full, rpc in after.rpcs.items() if full not in taken]
        pairs = {
            (old.full, one.full): 1.0
            for old in gone
            for one in new
            if _same_call(old, one, types) and fits(old, one, services)
        }
        found |= _mutual(pairs)
    return found


def _same_call(old: Rpc, new: Rpc, types: Mapping[str, str]) -> bool:
    kinds = (types.get(old.request, old.request), types.get(old.response, old.response), old.streaming)
    return kinds == (new.request, new.response, new.streaming)


def _renamed(old: Rpc, new: Rpc, services: Mapping[str, str]) -> bool:
    """Create → CreatePlan in one service."""
    if services.get(_service(old)) != _service(new):
        return False
    if old.http and new.http:
        return old.http == new.http or _extends(old.name, new.name)
    return _extends(old.name, new.name) or _similar(old.name, new.name) >= _SIMILAR_WORDS


def _moved(old: Rpc, new: Rpc, services: Mapping[str, str]) -> bool:
    """FeatureService/CreateFeature → PlanService/CreateFeature. A bare verb says too little, unless its URL is kept."""
    if old.name != new.name or services.get(_service(old)) == _service(new):
        return False
    return len(snake_case(old.name).split("_")) > 1 or (bool(old.http) and old.http == new.http)


def _extends(one: str, other: str) -> bool:
    short, long = sorted((snake_case(one).split("_"), snake_case(other).split("_")), key=len)
    return long[: len(short)] == short


def _service(rpc: Rpc) -> str:
    return rpc.full.partition("/")[0]


# --- extensions ---------------------------------------------------------------------------------------------------


def _extensions(before: Side, after: Side, types: Mapping[str, str], packages: Mapping[str, str]) -> dict[str, str]:
    """Extensions by name, then by what they extend and their number."""
    found = {name: name for name in before.extensions if name in after.extensions}
    taken = set(found)
    places = {(one.extends, one.number): one.full for one in after.extensions.values()}
    for name, one in before.extensions.items():
        if name in found:
            continue
        moved: Sequence[str | None] = (
            _in_package(name, packages),
            places.get((types.get(one.extends, one.extends), one.number)),
        )
        known = next((new for new in moved if new in after.extensions and new not in taken), None)
        if known is not None:
            found[name] = known
            taken.add(known)
    return found
