"""What has changed about files, services, RPCs, and the client's tree over them.

An RPC is what callers hold on to: its path, its types, its kind of streaming, its URL, the right that it needs, and
what it is called on the generated client. Nothing here looks into a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from invora_grpc.codegen.catalog_source import ServiceRow
from invora_grpc.codegen.changes_book import Book, Place
from invora_grpc.codegen.changes_kinds import KINDS, Breaks
from invora_grpc.codegen.changes_model import File, Rpc, Service
from invora_grpc.codegen.origins import Origins

__all__ = ["compare_files", "compare_services", "compare_tree", "tell_layout"]

_UNSURE = "documented"
"""The origin of RPCs that clients refuse to call unless the gateway confirms their numbers."""


# --- files --------------------------------------------------------------------------------------------------------


def compare_files(book: Book) -> None:
    """Files of both sides; what is in them is compared elsewhere."""
    moved = _moved_files(book)
    for name, goal in moved.items():
        book.pair(name, goal)
    for name, file in book.before.files.items():
        place = Place(name)
        after = book.after.files.get(moved.get(name, name))
        if after is None:
            book.say("file-removed", name, place)
            continue
        if after.name != name:
            book.say("file-moved", name, Place(after.name), name, after.name)
        _file(book, file, after)
    for name in book.after.files:
        if name not in book.before.files and name not in moved.values():
            book.say("file-added", name, Place(name))


def _moved_files(book: Book) -> dict[str, str]:
    """File that is gone → new file with all that was in it, and nothing else that was elsewhere."""
    goals: dict[str, set[str]] = {}
    sources: dict[str, set[str]] = {}
    for was, names, now in (
        (book.before.messages, book.names.types, book.after.messages),
        (book.before.enums, book.names.types, book.after.enums),
        (book.before.services, book.names.services, book.after.services),
    ):
        for name, one in was.items():
            other = now.get(names.get(name, ""))
            goal = other.file if other is not None else ""
            goals.setdefault(one.file, set()).add(goal)
            sources.setdefault(goal, set()).add(one.file)
    gone = (name for name in book.before.files if name not in book.after.files)
    certain = ((name, next(iter(goals[name]))) for name in gone if len(goals.get(name, ())) == 1)
    return {
        name: goal
        for name, goal in certain
        if goal in book.after.files and goal not in book.before.files and sources[goal] == {name}
    }


def _file(book: Book, before: File, after: File) -> None:
    symbol, place = before.name, Place(after.name)
    if before.package != after.package:
        book.say("package-changed", symbol, place, before.package, after.package)
    if before.syntax != after.syntax:
        book.say("syntax-changed", symbol, place, before.syntax, after.syntax)
    public, imported = (frozenset(map(book.names_before, names)) for names in (after.public, after.imports))
    for one in sorted(before.public - public):
        book.say("public-import-removed", symbol, place, one)
    for one in sorted(before.imports - imported - before.public):
        book.say("import-removed", symbol, place, one)
    for one in sorted(after.imports - frozenset(map(book.formerly_of, before.imports))):
        book.say("import-added", symbol, place, "", one)
    book.common(symbol, place, before, after, "FileOptions")


def tell_layout(book: Book) -> None:
    """Files that are not the same although nothing was found in them. To be called last."""
    told = {change.file for change in book.found} | {one.before for one in book.found if one.kind.endswith("-moved")}
    told |= set(_renaming(book))
    for name, file in book.before.files.items():
        after = book.after.files.get(name)
        if after is not None and name not in told and after.content != file.content:
            book.say("layout-changed", name, Place(name))


def _renaming(book: Book) -> Iterable[str]:
    """The files after that refer to a type that is called otherwise now: they differ because of that."""
    names = {new for old, new in book.names.types.items() if old != new}
    for message in book.after.messages.values():
        if any(one.refers in names for one in message.fields.values()):
            yield message.file
    for service in book.after.services.values():
        if any({rpc.request, rpc.response} & names for rpc in service.rpcs.values()):
            yield service.file


# --- services -----------------------------------------------------------------------------------------------------


def compare_services(book: Book) -> None:
    """Services of both sides, with their RPCs."""
    for name, service in book.before.services.items():
        place = Place(service.file, name)
        after = book.after.services.get(book.names.services.get(name, ""))
        if after is None:
            who = _without_rest(book, "service-removed", service.rpcs.values())
            book.say("service-removed", name, place, len(service.rpcs), breaks=who)
        else:
            _service(book, service, after)
    for name, rpc in book.before.rpcs.items():
        other = book.after.rpcs.get(book.names.rpcs.get(name, ""))
        if other is not None:
            _rpc(book, rpc, other)
        elif _service_of(name) in book.names.services:
            who = _without_rest(book, "rpc-removed", [rpc])
            book.say("rpc-removed", name, _place(book, name, False), breaks=who)
    for name, service in book.after.services.items():
        if name not in book.names.services.values():
            book.say("service-added", name, Place(service.file, name))
    for name in book.after.rpcs:
        if name not in book.names.rpcs.values() and _service_of(name) in book.names.services.values():
            book.say("rpc-added", name, _place(book, name, True))


def _service(book: Book, before: Service, after: Service) -> None:
    place = Place(after.file, before.full)
    book.pair(before.full, after.full)
    if before.full != after.full:
        simple = [one.full.rpartition(".")[2] for one in (before, after)]
        if simple[0] != simple[1] or not book.repackaged(before.file, after.file):
            book.say("service-renamed", before.full, place, before.full, after.full)
    elif book.formerly_of(before.file) != after.file:
        book.say("service-moved", before.full, place, before.file, after.file)
    book.common(before.full, place, before, after, "ServiceOptions")
    book.comments(before.full, place, before.comment, after.comment)


def _rpc(book: Book, before: Rpc, after: Rpc) -> None:
    symbol, place = before.full, _place(book, before.full, False)
    book.pair(before.full, after.full)
    if book.names.services.get(_service_of(symbol)) != _service_of(after.full):
        book.say("rpc-moved", symbol, place, symbol, after.full)
    elif before.name != after.name:
        book.say("rpc-renamed", symbol, place, before.name, after.name)
    for kind, types in (
        ("request-type-changed", (before.request, after.request)),
        ("response-type-changed", (before.response, after.response)),
    ):
        if who := book.shapes.of_messages(*types):
            rest = (Breaks.REST,) if before.http and len(who) > 1 else ()
            book.say(kind, symbol, place, *types, breaks=(*who, *rest))
    if before.streaming != after.streaming:
        who = _without_rest(book, "streaming-changed", [before], gone=False)
        book.say("streaming-changed", symbol, place, before.streaming, after.streaming, breaks=who)
    _http(book, before, after, place)
    if before.scope != after.scope:
        book.say("scope-changed", symbol, place, before.scope, after.scope)
    if before.idempotency != after.idempotency:
        book.say("idempotency-changed", symbol, place, before.idempotency, after.idempotency)
    book.common(symbol, place, before, after, "MethodOptions")
    book.comments(symbol, place, before.comment, after.comment)


def _http(book: Book, before: Rpc, after: Rpc, place: Place) -> None:
    if before.http == after.http:
        return
    words = " ".join(before.http), " ".join(after.http)
    if _bindings(before.http) <= _bindings(after.http):
        book.say("http-rule-added", before.full, place, *words)
    else:
        book.say("http-rule-changed" if after.http else "http-rule-removed", before.full, place, *words)


def _bindings(rule: Sequence[str]) -> set[str]:
    """Each way to call it over HTTP, with how its response is cut."""
    if not rule:
        return set()
    rare = [word for word in rule if word.startswith(("response_body=", "binding="))]
    cut = next((word for word in rare if word.startswith("response_body=")), "")
    main = " ".join(word for word in rule if word not in rare).strip()
    return {f"{main} {cut}", *(f"{word.removeprefix('binding=')} {cut}" for word in rare if word != cut)}


def _without_rest(book: Book, kind: str, rpcs: Iterable[Rpc], *, gone: bool = True) -> tuple[Breaks, ...]:
    """Who breaks by a kind of change: callers over HTTP only if there are any, and if their paths are gone."""
    served = {binding for rpc in book.after.rpcs.values() for binding in _bindings(rpc.http)} if gone else set()
    broken = any(_bindings(rpc.http) - served for rpc in rpcs)
    return tuple(one for one in KINDS[kind].breaks if one is not Breaks.REST or broken)


def _place(book: Book, rpc: str, new: bool) -> Place:
    service = _service_of(rpc)
    side = book.after if new else book.before
    name = service if new else book.names.services.get(service, "")
    home = book.after.services.get(name) or side.services[service]
    return Place(home.file, service, rpc.partition("/")[2])


def _service_of(rpc: str) -> str:
    return rpc.partition("/")[0]


# --- the client's tree --------------------------------------------------------------------------------------------


def compare_tree(
    book: Book, origins: tuple[Origins, Origins], rows: tuple[Iterable[ServiceRow], Iterable[ServiceRow]]
) -> None:
    """Where files and services are on the generated client, and how sure the RPCs are. `rows`: the two catalogs."""
    for name in book.before.files:
        now = book.formerly_of(name)
        modules = origins[0].folders.get(name, ""), origins[1].folders.get(now, "")
        if now in book.after.files and modules[0] != modules[1]:
            book.say("module-changed", name, Place(now), *modules)
    after = {row.name: row for row in rows[1]}
    for row in rows[0]:
        other = after.get(book.names.services.get(row.name, ""))
        if other is not None:
            _branch(book, row, other)


def _branch(book: Book, before: ServiceRow, after: ServiceRow) -> None:
    paths = [f"client.{one.module}.{one.area}" if one.module else f"client.{one.area}" for one in (before, after)]
    if paths[0] != paths[1]:
        book.say("client-path-changed", before.name, Place(after.file, before.name), *paths)
    known = {f"{after.name}/{one.name}": one for one in after.methods}
    for method in before.methods:
        full = f"{before.name}/{method.name}"
        other = known.get(book.names.rpcs.get(full, ""))
        if other is not None and other.origin != method.origin:
            who = (Breaks.SOURCE,) if other.origin == _UNSURE else ()
            place = Place(after.file, before.name, method.name)
            book.say("origin-changed", full, place, method.origin, other.origin, breaks=who)
