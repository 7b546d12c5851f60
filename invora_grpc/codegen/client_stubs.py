"""Stubs of the clients' tree: a class per RPC, per service and per module, for the sync and the async client.

`clients.pyi` holds the two entries, `SyncTree` and `AsyncTree`; each proto file with services has a `*_client.pyi`
beside its generated module. They are for type checkers and editors only: at run time the tree comes from the catalog,
and so do the names of all attributes here.
"""

from __future__ import annotations

import itertools
import keyword
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from invora_grpc.codegen.catalog_source import MethodRow, ServiceRow
from invora_grpc.codegen.input_stubs import Fields, argument, field_docs, is_declarable
from invora_grpc.codegen.schema import Schema
from invora_grpc.codegen.stub_text import Imports, docstring, free, signature
from invora_grpc.kinds import is_map, kind_of

_TREES = (("SyncTree", ""), ("AsyncTree", "Async"))


def render(schema: Schema, services: Sequence[ServiceRow]) -> dict[str, str]:
    """Path → text of every `*_client.pyi`, and of `clients.pyi`."""
    outputs = {}
    by_file = sorted(services, key=lambda service: (service.file, service.name))
    groups = {file: list(group) for file, group in itertools.groupby(by_file, key=lambda service: service.file)}
    classes = {service.name: names for group in groups.values() for service, names in _classes(group)}
    for file, group in groups.items():
        outputs[f"{_module(schema, file).replace('.', '/')}.pyi"] = _file(schema, file, group, classes)
    outputs[f"{schema.package.replace('.', '/')}/clients.pyi"] = _trees(schema, services, classes)
    return outputs


def _module(schema: Schema, file: str) -> str:
    return schema.module(schema.file(file), "client")


@dataclass(frozen=True, slots=True)
class Classes:
    """What the classes of one service are called, in a stub where no other class is called so."""

    service: Mapping[str, str]
    """Prefix of the tree → class of the service."""
    rpcs: Mapping[tuple[str, str], str]
    """Prefix of the tree and name of the RPC → its class."""
    streams: Mapping[tuple[str, str], str]
    """The same for the class of its stream."""


def _classes(group: Sequence[ServiceRow]) -> Iterator[tuple[ServiceRow, Classes]]:
    """The names of the classes for the services of one file."""
    taken = set(keyword.kwlist)

    def claim(name: str) -> str:
        taken.add(found := free(name, taken))
        return found

    for service in group:
        head = _short(service.name).removesuffix("Service") if len(group) > 1 else ""
        own, rpcs, streams = {}, {}, {}
        for _, prefix in _TREES:
            own[prefix] = claim(prefix + _short(service.name))
            for method in service.methods:
                rpcs[prefix, method.name] = claim(f"{prefix}{head}{method.name}Rpc")
                if method.streaming in ("client", "bidi"):
                    streams[prefix, method.name] = claim(f"{prefix}{head}{method.name}Stream")
        yield service, Classes(own, rpcs, streams)


# --- the tree -----------------------------------------------------------------------------------------------------


def _trees(schema: Schema, services: Sequence[ServiceRow], classes: Mapping[str, Classes]) -> str:
    """clients.pyi: one class per module and tree, and the two entries."""
    imports = Imports()
    modules = {name: list(group) for name, group in itertools.groupby(services, key=lambda service: service.module)}
    taken = {*keyword.kwlist, *(tree for tree, _ in _TREES)}
    blocks = []
    for tree, prefix in _TREES:
        names = {}
        for module, group in modules.items():
            taken.add(name := free(prefix + _pascal(module), taken))
            names[module] = name
            blocks.append(f"class {name}:\n" + docstring(f"The services of {module}.", 4))
            for service in group:
                kind = imports.member(_module(schema, service.file), classes[service.name].service[prefix])
                blocks[-1] += f"    {service.area}: {kind}\n" + docstring(service.doc, 4)
        attributes = "".join(f"    {module}: {name}\n" for module, name in names.items())
        blocks.append(f"class {tree}:\n" + docstring("The modules, as attributes of a client.", 4) + attributes)
    head = '"""The tree of both clients, for type checkers only: `client.<module>.<area>.<rpc>`."""\n'
    return "\n".join([head, str(imports), *blocks])


def _pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _short(full_name: str) -> str:
    return full_name.rpartition(".")[2]


# --- the services of one file -------------------------------------------------------------------------------------


def _file(schema: Schema, file: str, services: Sequence[ServiceRow], classes: Mapping[str, Classes]) -> str:
    own = [classes[service.name] for service in services]
    taken = {name for one in own for names in (one.service, one.rpcs, one.streams) for name in names.values()}
    fields = Fields(schema, Imports(taken))
    blocks = []
    for _, prefix in _TREES:
        for service in services:
            rpcs = [Rpc(fields, service, method, classes[service.name], prefix) for method in service.methods]
            blocks += [rpc.text() for rpc in rpcs]
            blocks.append(_service(fields.imports, service, rpcs, classes[service.name].service[prefix]))
    head = docstring(f"The services of {file} on a client, for type checkers only.", 0)
    return "\n".join([head, str(fields.imports), *blocks])


def _service(imports: Imports, service: ServiceRow, rpcs: Iterable[Rpc], name: str) -> str:
    text = f"class {name}:\n" + docstring(service.doc, 4)
    text += f"    service: {imports.name('invora_grpc.catalog', 'Service')}\n"
    for rpc in rpcs:
        text += f"    {rpc.method.rpc}: {rpc.name}\n" + docstring(rpc.method.doc, 4)
    return text


@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC in one of the two trees."""

    fields: Fields
    service: ServiceRow
    method: MethodRow
    classes: Classes
    prefix: str
    """"Async" or ""."""

    @property
    def name(self) -> str:
        """The name of its class."""
        return self.classes.rpcs[self.prefix, self.method.name]

    @property
    def _sending(self) -> str:
        """The name of the class of its stream."""
        return self.classes.streams[self.prefix, self.method.name]

    @property
    def _request(self) -> Descriptor:
        return self.fields.schema.message(self.method.request)

    @property
    def _response(self) -> Descriptor:
        return self.fields.schema.message(self.method.response)

    def text(self) -> str:
        """Its class, and the class of its stream where requests can be sent one by one."""
        method, imports = self.method, self.fields.imports
        path = f"/{self.service.name}/{method.name}"
        lines = [path, f"Scope: {method.scope}" * bool(method.scope), f"Origin: {method.origin}"]
        doc = docstring("\n\n".join(filter(None, [method.doc, "\n".join(filter(None, lines))])), 4)
        base = imports.name("invora_grpc.tree", "Rpc")
        if method.streaming in ("client", "bidi"):
            return f"{self._sender()}\nclass {self.name}({base}):\n{doc}{self._streaming_call()}"
        return f"class {self.name}({base}):\n{doc}{self._calls()}"

    def _calls(self) -> str:
        response = self.fields.message(self._response)
        if self.method.streaming:
            return self._call("__call__", f"{self._stream()}[{response}]")
        text = self._call("__call__", response, "async def" if self.prefix else "def")
        for name, item in self._listed():
            kind = self.fields.imports.name("invora_grpc.paging", f"{self.prefix}{name.capitalize()}")
            text += self._call(name, f"{kind}[{item}]")
        return text

    def _listed(self) -> list[tuple[str, str]]:
        """Ways to walk a list, with what they yield. A list is an answer that can name a next page."""
        answer = self._response.fields_by_name
        items, cursor = answer.get("items"), answer.get("next_page_cursor")
        if items is None or not items.is_repeated or is_map(items) or cursor is None or cursor.is_repeated:
            return []
        kind = cursor.message_type.full_name if cursor.message_type is not None else ""
        if kind != "google.protobuf.StringValue" and cursor.type != FieldDescriptor.TYPE_STRING:
            return []
        return [("items", self.fields.read(items)), ("pages", self.fields.message(self._response))]

    def _call(self, name: str, result: str, head: str = "def") -> str:
        """A call by the whole request or by its fields.

        One signature rather than two overloads: mypy then names the argument that is wrong, and what it takes. The
        price: both at once pass a type checker, and are refused by the client.
        """
        request = self._request
        takes = [] if kind_of(request) else [field for field in request.fields if is_declarable(argument(field))]
        parameters = [f"{argument(field)}: {self._field(field)} = ..." for field in takes]
        names = {*request.fields_by_name}
        whole = "request" if "request" not in names else free("whole_request", names)
        given = [f"{whole}: {self.fields.given(request)} = ...", "/", *(["*", *parameters] if parameters else [])]
        doc = docstring("\n".join([*_FIRST_WORDS.get(name, []), *field_docs(self.fields.schema, request)]), 8)
        return signature(name, given, result, head=head) + (f"\n{doc}" if doc else " ...\n")

    def _field(self, field: FieldDescriptor) -> str:
        kind = self.fields.type(field)
        if field.name != "filter" or field.message_type is None or "part" not in field.message_type.fields_by_name:
            return kind
        return f"{self.fields.imports.name('invora_grpc.filters', 'Expression')} | {kind}"

    def _stream(self) -> str:
        room = "invora_grpc.streaming_aio" if self.prefix else "invora_grpc.streaming"
        return self.fields.imports.name(room, f"{self.prefix}Stream")

    def _sender(self) -> str:
        head = "async def" if self.prefix else "def"
        sends = self._call("send", "None", head).replace("\n", _NARROWER + "\n", 1)
        return f"class {self._sending}({self._stream()}[{self.fields.message(self._response)}]):\n{sends}"

    def _streaming_call(self) -> str:
        imports = self.fields.imports
        overload = f"    @{imports.name('typing', 'overload')}\n"
        stream, response = self._sending, self.fields.message(self._response)
        given = self.fields.given(self._request)
        sources = f"{imports.name('collections.abc', 'Iterable')}[{given}]"
        if self.prefix:
            sources += f" | {imports.name('collections.abc', 'AsyncIterable')}[{given}]"
        bidi = self.method.streaming == "bidi"
        head = "async def" if self.prefix and not bidi else "def"
        result = f"{self._stream()}[{response}]" if bidi else response
        whole = signature("__call__", [f"requests: {sources}", "/"], result, head=head)
        doc = docstring("Without requests: a stream to send them on, one by one, until `done()`.", 8)
        return f"{overload}{signature('__call__', [], stream)}\n{doc}{overload}{whole} ...\n"


_NARROWER = "  # type: ignore[override]"
"""The `send` of any stream takes whatever its request takes; the `send` of this one takes this request only."""
_FIRST_WORDS = {
    "items": ["All items, page by page, as they are asked for.\n"],
    "pages": ["The answers page by page, as they are asked for.\n"],
}
