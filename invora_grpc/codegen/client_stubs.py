"""Stubs of the clients' tree: a class per RPC, per service and per module, for the sync and the async client.

`clients.pyi` holds the two entries, `SyncTree` and `AsyncTree`; each proto file with services has a `*_client.pyi`
beside its generated module. They are for type checkers and editors only: at run time the tree comes from the catalog,
and so do the names of all attributes here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from invora_grpc.codegen.catalog_source import MethodRow, ServiceRow
from invora_grpc.codegen.input_stubs import Fields, argument, field_docs
from invora_grpc.codegen.schema import Schema
from invora_grpc.codegen.stub_text import Imports, docstring, signature

_TREES = (("SyncTree", ""), ("AsyncTree", "Async"))


def render(schema: Schema, services: Sequence[ServiceRow]) -> dict[str, str]:
    """Path → text of every `*_client.pyi`, and of `clients.pyi`."""
    outputs = {}
    by_file = sorted(services, key=lambda service: (service.file, service.name))
    for file, group in itertools.groupby(by_file, key=lambda service: service.file):
        path = _module(schema, file).replace(".", "/")
        outputs[f"{path}.pyi"] = _file(schema, file, list(group))
    outputs[f"{schema.package}/clients.pyi"] = _trees(schema, services)
    return outputs


def _module(schema: Schema, file: str) -> str:
    return schema.module(schema.file(file), "client")


# --- the tree -----------------------------------------------------------------------------------------------------


def _trees(schema: Schema, services: Sequence[ServiceRow]) -> str:
    """clients.pyi: one class per module and tree, and the two entries."""
    imports = Imports()
    modules = {name: list(group) for name, group in itertools.groupby(services, key=lambda service: service.module)}
    blocks = []
    for tree, prefix in _TREES:
        for module, group in modules.items():
            blocks.append(f"class {prefix}{_pascal(module)}:\n" + docstring(f"The services of {module}.", 4))
            for service in group:
                kind = imports.member(_module(schema, service.file), prefix + _short(service.name))
                blocks[-1] += f"    {service.area}: {kind}\n" + docstring(service.doc, 4)
        attributes = "".join(f"    {module}: {prefix}{_pascal(module)}\n" for module in modules)
        blocks.append(f"class {tree}:\n" + docstring("The modules, as attributes of a client.", 4) + attributes)
    head = '"""The tree of both clients, for type checkers only: `client.<module>.<area>.<rpc>`."""\n'
    return "\n".join([head, str(imports), *blocks])


def _pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _short(full_name: str) -> str:
    return full_name.rpartition(".")[2]


# --- the services of one file -------------------------------------------------------------------------------------


def _file(schema: Schema, file: str, services: Sequence[ServiceRow]) -> str:
    fields = Fields(schema, Imports())
    blocks = []
    for _, prefix in _TREES:
        for service in services:
            head = _short(service.name).removesuffix("Service") if len(services) > 1 else ""
            rpcs = [Rpc(fields, service, method, head, prefix) for method in service.methods]
            blocks += [rpc.text() for rpc in rpcs]
            blocks.append(_service(fields.imports, service, rpcs, prefix))
    return "\n".join(
        [f'"""The services of {file} on a client, for type checkers only."""\n', str(fields.imports), *blocks]
    )


def _service(imports: Imports, service: ServiceRow, rpcs: Iterable[Rpc], prefix: str) -> str:
    text = f"class {prefix}{_short(service.name)}:\n" + docstring(service.doc, 4)
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
    head: str
    """In front of the class's name, where a file has several services."""
    prefix: str
    """"Async" or ""."""

    @property
    def name(self) -> str:
        """The name of its class."""
        return f"{self.prefix}{self.head}{self.method.name}Rpc"

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
        if "items" not in answer or "next_page_cursor" not in answer:
            return []
        items = answer["items"]
        item = self.fields.message(items.message_type) if items.message_type is not None else "str"
        return [("items", item), ("pages", self.fields.message(self._response))]

    def _call(self, name: str, result: str, head: str = "def") -> str:
        """A call by the whole request or by its fields.

        One signature rather than two overloads: mypy then names the argument that is wrong, and what it takes. The
        price: both at once pass a type checker, and are refused by the client.
        """
        request = self._request
        parameters = [f"{argument(field)}: {self._field(field)} = ..." for field in request.fields]
        whole = "request" if "request" not in request.fields_by_name else "whole_request"
        given = [f"{whole}: {self.fields.given(request)} = ...", "/", *(["*", *parameters] if parameters else [])]
        doc = docstring("\n".join([*_FIRST_WORDS.get(name, []), *field_docs(self.fields.schema, request)]), 8)
        return signature(name, given, result, head=head) + (f"\n{doc}" if doc else " ...\n")

    def _field(self, field: FieldDescriptor) -> str:
        kind = self.fields.type(field)
        if field.name != "filter" or field.message_type is None:
            return kind
        return f"{self.fields.imports.name('invora_grpc.filters', 'Expression')} | {kind}"

    def _stream(self) -> str:
        room = "invora_grpc.streaming_aio" if self.prefix else "invora_grpc.streaming"
        return self.fields.imports.name(room, f"{self.prefix}Stream")

    def _sender(self) -> str:
        name = self.name.removesuffix("Rpc") + "Stream"
        head = "async def" if self.prefix else "def"
        sends = self._call("send", "None", head).replace("\n", _NARROWER + "\n", 1)
        return f"class {name}({self._stream()}[{self.fields.message(self._response)}]):\n{sends}"

    def _streaming_call(self) -> str:
        imports = self.fields.imports
        overload = f"    @{imports.name('typing', 'overload')}\n"
        stream, response = self.name.removesuffix("Rpc") + "Stream", self.fields.message(self._response)
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
