"""Verdicts: how an RPC, with all that its messages refer to, differs between two schemas.

By name and by direction: a request is written with ours and read with theirs, a response the other way round. What
matters is what bytes mean, so packing, JSON names, comments, options and the layout of files do not count, and neither
does what is packed into an Any. The rules for two types are in `matching`; here they are followed through whole calls,
each pair of types once, however types refer to each other. Nothing here sends, and nothing decides what a verdict means
for a call.
"""

from __future__ import annotations

import enum
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FileDescriptor,
    MethodDescriptor,
)
from google.protobuf.descriptor_pb2 import MethodDescriptorProto

from invora_grpc.schema.annotations import http_rule, scope
from invora_grpc.schema.matching import Type, alike, enum_differences, message_differences
from invora_grpc.schema.verdicts import Comparison, Difference, Direction, Verdict

__all__ = [
    "Comparer",
    "Comparison",
    "Difference",
    "Direction",
    "Verdict",
    "compare_messages",
    "compare_methods",
    "same_files",
]

_ANY = "google/protobuf/any.proto"
_OPTIONS = "google/protobuf/descriptor.proto"  # all its types are extendable, and none travels in a call


class _Pair(NamedTuple):
    ours: Type
    theirs: Type
    direction: Direction


@dataclass(slots=True)
class _Node:
    """What is known of a pair of types."""

    differences: tuple[Difference, ...]
    steps: tuple[tuple[str, _Pair], ...]
    worst: Verdict
    """Of this pair and of all that it leads to."""
    opaque: bool
    """Whether it leads to a google.protobuf.Any, of which the descriptors do not say what is in it."""


class _Files(enum.Enum):
    SAME = "same"
    OPEN = "open"
    """The same, but what travels may be more than the files say: extensions, or an Any."""
    OTHER = "other"


class Comparer:
    """Compares, and remembers every pair of types that it has seen: for many RPCs of the same two schemas.

    Safe to share between threads.
    """

    def __init__(self) -> None:
        self._nodes: dict[_Pair, _Node] = {}
        self._files: dict[tuple[FileDescriptor, FileDescriptor], _Files] = {}

    def methods(self, ours: MethodDescriptor, theirs: MethodDescriptor) -> Comparison:
        """What differs between two RPCs, wherever they are and whatever they are called."""
        subject = _path(ours)
        if ours.full_name == theirs.full_name and self._same_files(_file(ours), _file(theirs)) is _Files.SAME:
            return Comparison(subject, Verdict.IDENTICAL)
        found = _around(ours, theirs)
        found += self._top(ours.input_type, theirs.input_type, Direction.REQUEST)
        found += self._top(ours.output_type, theirs.output_type, Direction.RESPONSE)
        return Comparison.of(subject, found)

    def messages(self, ours: Descriptor, theirs: Descriptor, direction: Direction) -> Comparison:
        """What differs between two message types, for messages that travel in this direction."""
        return Comparison.of(ours.full_name, self._top(ours, theirs, direction))

    def verdict(self, ours: Type, theirs: Type, direction: Direction) -> Verdict:
        """The worst that can be met from this pair of types on."""
        return self._node(_Pair(ours, theirs, direction)).worst

    def opaque(self, ours: Type, theirs: Type, direction: Direction) -> bool:
        """Whether an Any can be met from this pair of types on."""
        return self._node(_Pair(ours, theirs, direction)).opaque

    def _top(self, ours: Descriptor, theirs: Descriptor, direction: Direction) -> list[Difference]:
        names = ours.full_name, theirs.full_name
        if not alike(ours, theirs, bound=True):
            return [Difference(Verdict.INCOMPATIBLE, "type-changed", names[0], str(direction), *names)]
        found = self._collected(_Pair(ours, theirs, direction))
        if names[0] != names[1]:
            found.append(Difference(Verdict.ADAPTABLE, "type-renamed", names[0], str(direction), *names))
        return found

    def _collected(self, top: _Pair) -> list[Difference]:
        """All differences from a pair of types on, with the shortest path to each."""
        self._node(top)
        paths = {top: str(top.direction)}
        waiting = deque([top])
        found: list[Difference] = []
        while waiting:
            pair = waiting.popleft()
            node, path = self._nodes[pair], paths[pair]
            found += [replace(one, path=path + one.path) for one in node.differences]
            for step, inner in node.steps:
                if inner not in paths and self._nodes[inner].worst is not Verdict.IDENTICAL:
                    paths[inner] = path + step
                    waiting.append(inner)
        return found

    # --- the graph of pairs ---

    def _node(self, top: _Pair) -> _Node:
        """What is known of a pair. Two threads that find out at the same time find the same."""
        if top not in self._nodes:
            fresh: dict[_Pair, _Node] = {}
            waiting = [top]
            while waiting:
                pair = waiting.pop()
                if pair not in self._nodes and pair not in fresh:
                    node = fresh[pair] = self._compared(pair)
                    waiting.extend(inner for _, inner in node.steps)
            self._settle(fresh)
            self._nodes.update(fresh)
        return self._nodes[top]

    def _compared(self, pair: _Pair) -> _Node:
        ours, theirs, direction = pair
        if ours.full_name == theirs.full_name and self._same_files(ours.file, theirs.file) is _Files.SAME:
            return _Node((), (), Verdict.IDENTICAL, False)
        if isinstance(ours, EnumDescriptor):
            found = enum_differences(ours, cast(EnumDescriptor, theirs), direction)
        else:
            found = message_differences(ours, cast(Descriptor, theirs), direction)
        steps = tuple((step.path, _Pair(step.ours, step.theirs, direction)) for step in found.steps)
        worst = max((one.verdict for one in found.differences), default=Verdict.IDENTICAL)
        return _Node(found.differences, steps, worst, ours.full_name == "google.protobuf.Any")

    def _settle(self, fresh: Mapping[_Pair, _Node]) -> None:
        """Pass on what the new pairs lead to, from each to those that refer to it, in circles too."""
        parents: dict[_Pair, list[_Node]] = defaultdict(list)
        pairs = {id(node): pair for pair, node in fresh.items()}
        for node in fresh.values():
            for _, inner in node.steps:
                if inner in fresh:
                    parents[inner].append(node)
                else:
                    known = self._nodes[inner]
                    node.worst, node.opaque = max(node.worst, known.worst), node.opaque or known.opaque
        for verdict in (Verdict.INCOMPATIBLE, Verdict.ADAPTABLE, Verdict.ADDITIVE):
            waiting = [pair for pair, node in fresh.items() if node.worst is verdict]
            while waiting:
                for parent in parents[waiting.pop()]:
                    if parent.worst < verdict:
                        parent.worst = verdict
                        waiting.append(pairs[id(parent)])
        waiting = [pair for pair, node in fresh.items() if node.opaque]
        while waiting:
            for parent in parents[waiting.pop()]:
                if not parent.opaque:
                    parent.opaque = True
                    waiting.append(pairs[id(parent)])

    # --- files ---

    def _same_files(self, ours: FileDescriptor, theirs: FileDescriptor) -> _Files:
        known = self._files.get((ours, theirs))
        if known is None:
            known = self._files[ours, theirs] = self._walked(ours, theirs)
        return known

    def _walked(self, ours: FileDescriptor, theirs: FileDescriptor) -> _Files:
        """Whether two files and all that they import have the same bytes; noted for each of them."""
        seen = {(ours, theirs)}
        waiting = [(ours, theirs)]
        open_ = False
        while waiting:
            one, other = waiting.pop()
            known = self._files.get((one, other))
            if known is _Files.OTHER or (known is None and _content(one) != _content(other)):
                return _Files.OTHER
            open_ = open_ or known is _Files.OPEN or (known is None and _is_open(one))
            if known is None:
                inner = zip(one.dependencies, other.dependencies, strict=True)
                waiting.extend(pair for pair in inner if pair not in seen)
                seen.update(waiting)
        if not open_:
            self._files.update(dict.fromkeys(seen, _Files.SAME))
        return _Files.OPEN if open_ else _Files.SAME


def same_files(ours: FileDescriptor, theirs: FileDescriptor) -> bool:
    """Whether two files and all that they import are the same, byte for byte: then nothing in them differs.

    The cheap answer to most questions here: it looks at no type.
    """
    return Comparer()._same_files(ours, theirs) is not _Files.OTHER


def compare_methods(ours: MethodDescriptor, theirs: MethodDescriptor) -> Comparison:
    """What differs between two RPCs. For many of the same schemas, a `Comparer` does less work."""
    return Comparer().methods(ours, theirs)


def compare_messages(ours: Descriptor, theirs: Descriptor, direction: Direction) -> Comparison:
    """What differs between two message types, for messages that travel in this direction."""
    return Comparer().messages(ours, theirs, direction)


# --- methods ------------------------------------------------------------------------------------------------------


def _around(ours: MethodDescriptor, theirs: MethodDescriptor) -> list[Difference]:
    """What differs about an RPC itself."""
    found = []
    if _streaming(ours) != _streaming(theirs):
        words = _streaming(ours), _streaming(theirs)
        found.append(Difference(Verdict.INCOMPATIBLE, "streaming-changed", ours.full_name, "", *words))
    before, after = MethodDescriptorProto(), MethodDescriptorProto()
    ours.CopyToProto(before)
    theirs.CopyToProto(after)
    for kind, words in (
        ("http-changed", (" ".join(http_rule(before) or ()), " ".join(http_rule(after) or ()))),
        ("scope-changed", (scope(before), scope(after))),
    ):
        if words[0] != words[1]:
            found.append(Difference(Verdict.ADDITIVE, kind, ours.full_name, "", *words))
    return found


def _path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def _file(method: MethodDescriptor) -> FileDescriptor:
    return method.containing_service.file


def _streaming(method: MethodDescriptor) -> str:
    kinds = {(False, False): "unary", (True, False): "client streaming", (False, True): "server streaming"}
    return kinds.get((bool(method.client_streaming), bool(method.server_streaming)), "bidirectional streaming")


# --- files --------------------------------------------------------------------------------------------------------


def _content(file: FileDescriptor) -> bytes:
    return file.serialized_pb


def _is_open(file: FileDescriptor) -> bool:
    """Whether messages of a file may hold more than the file says."""
    if file.name == _ANY:
        return True
    waiting: list[Any] = [] if file.name == _OPTIONS else list(file.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        if message.is_extendable:
            return True
        waiting.extend(message.nested_types)
    return False
