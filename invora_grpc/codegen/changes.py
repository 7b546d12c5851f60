"""What a new version of a schema changes, for the person who reviews it: what happened, where, and whom it breaks.

Two versions go in, as descriptors; out comes one `Change` for each thing that is not as it was. It rests on an analysis
of its own, which follows renamed and moved things and knows scopes, URLs and the client's tree, and on `buf breaking`:
what buf objects to is never missing and never harmless here. How it is shown is for `changes_report`, what is approved
for `approvals`. Nothing here knows where the two versions came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from invora_grpc.codegen import catalog_source
from invora_grpc.codegen.changes_book import Book
from invora_grpc.codegen.changes_buf import findings
from invora_grpc.codegen.changes_calls import compare_files, compare_services, compare_tree, tell_layout
from invora_grpc.codegen.changes_cover import covered
from invora_grpc.codegen.changes_kinds import KINDS, Breaks, Change
from invora_grpc.codegen.changes_model import Side
from invora_grpc.codegen.changes_names import follow
from invora_grpc.codegen.changes_shapes import Shapes
from invora_grpc.codegen.changes_types import compare_enums, compare_extensions, compare_messages
from invora_grpc.codegen.embedded import installed
from invora_grpc.codegen.inputs import known_origins
from invora_grpc.codegen.origins import Origins

__all__ = ["KINDS", "Breaks", "Change", "changes"]

_WORST: Final = {one: rank for rank, one in enumerate(Breaks)}


def changes(
    before: Iterable[FileDescriptorProto],
    after: Iterable[FileDescriptorProto],
    before_origins: Origins | None = None,
    after_origins: Origins | None = None,
) -> tuple[Change, ...]:
    """All that is not the same in two versions of a schema, the worst first.

    Both with all that they import, in any order. Files that protobuf and googleapis-common-protos install are not
    compared: nothing is generated from them. Comments and JSON names are compared where both sides have them, which
    generated code has not. Without origins, what is known of the files is taken.

    Starts buf. Raises ConfigError if it is not installed, BufError if it cannot read the descriptors.
    """
    old, new = [_reread(file) for file in before], [_reread(file) for file in after]
    skipped = {name for name in {file.name for file in (*old, *new)} if _is_installed(name)}
    own = [[file for file in side if file.name not in skipped] for side in (old, new)]
    origins = before_origins or known_origins(old), after_origins or known_origins(new)
    book = _compared(own[0], own[1], origins)
    covered(book, findings(old, new, skipped))
    book.users()
    return tuple(sorted((_in_module(one, origins) for one in book.found), key=_order))


def _reread(file: FileDescriptorProto) -> FileDescriptorProto:
    """The file as it is read at this moment: an option that has become known meanwhile stands in another order."""
    return FileDescriptorProto.FromString(file.SerializeToString())


@cache
def _is_installed(name: str) -> bool:
    return installed(name) is not None


def _compared(
    before: Sequence[FileDescriptorProto], after: Sequence[FileDescriptorProto], origins: tuple[Origins, Origins]
) -> Book:
    sides = Side.of(before), Side.of(after)
    names = follow(*sides)
    book = Book(*sides, names, Shapes(*sides, names))
    compare_files(book)
    compare_messages(book)
    compare_enums(book)
    compare_extensions(book)
    compare_services(book)
    compare_tree(book, origins, (catalog_source.rows(before, origins[0]), catalog_source.rows(after, origins[1])))
    tell_layout(book)
    return book


def _in_module(change: Change, origins: tuple[Origins, Origins]) -> Change:
    module = next((one.folders[change.file] for one in reversed(origins) if one.folders.get(change.file)), "")
    return replace(change, module=module)


def _order(change: Change) -> tuple[object, ...]:
    """The worst first, then by place."""
    worst = min((_WORST[one] for one in change.breaks), default=len(_WORST))
    return (worst, change.module, change.service, change.rpc, change.type, change.member, change.symbol, change.id)
