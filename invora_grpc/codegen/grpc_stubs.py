"""The text of `*_pb2_grpc.py`: a stub, a servicer and its registration for each service, as grpc's own plugin has them.

Written here, since that plugin puts comments and names into Python as they are: a comment with three quotation marks
would end its docstring, and an RPC called `await` would not compile. What is no Python name has an underscore behind it
as an attribute (`stub.await_`); on the wire nothing is renamed.
"""

from __future__ import annotations

import keyword
from collections.abc import Sequence

from google.protobuf.descriptor import Descriptor, FileDescriptor

from invora_grpc.codegen.catalog_source import MethodRow, ServiceRow, literal
from invora_grpc.codegen.schema import Schema, python_name
from invora_grpc.codegen.stub_text import Imports, docstring, free, is_importable

_ARITY = {"": "unary_unary", "client": "stream_unary", "server": "unary_stream", "bidi": "stream_stream"}


def render(schema: Schema, file: FileDescriptor, services: Sequence[ServiceRow]) -> str:
    """The text of the module for the services of one file."""
    types = _Types(schema)
    blocks = ["".join((_stub(types, one), _servicer(one), _registration(types, one))) for one in services]
    head = docstring(f"Clients and servers of the services in {file.name}, for grpc.", 0)
    return "".join([head, "\n", types.imports(), *blocks])


class _Types:
    """Expressions for message classes, and the imports that they need."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._imports = Imports()
        self._late: dict[str, str] = {}

    def message(self, name: str) -> str:
        """The generated class of a message."""
        message = self._schema.message(name)
        expression = self._module(message)
        for part in python_name(message).split("."):
            plain = not keyword.iskeyword(part) and not part.startswith("__")
            expression = f"{expression}.{part}" if plain else f"getattr({expression}, {literal(part)})"
        return expression

    def _module(self, message: Descriptor) -> str:
        module = self._schema.module(message.file)
        if is_importable(module):
            return self._imports.alias(module)
        return self._late.setdefault(module, f"_late_{len(self._late)}")

    def imports(self) -> str:
        """The lines that import all that was named."""
        late = [f"{alias} = importlib.import_module({literal(module)})\n" for module, alias in self._late.items()]
        return "".join(["import importlib\n\n" * bool(late), "import grpc\n", str(self._imports), *late])


def _attributes(service: ServiceRow) -> dict[str, MethodRow]:
    """What each RPC is called in Python → the RPC."""
    names: dict[str, MethodRow] = {}
    for method in service.methods:
        plain = not keyword.iskeyword(method.name) and not method.name.startswith("__")
        names[free(method.name if plain else f"{method.name.lstrip('_')}_", names)] = method
    return names


def _short(service: ServiceRow) -> str:
    return service.name.rpartition(".")[2]


def _stub(types: _Types, service: ServiceRow) -> str:
    lines = [f"\n\nclass {_short(service)}Stub:\n", docstring(service.doc, 4)]
    lines.append("\n" * bool(service.doc) + "    def __init__(self, channel):\n")
    lines.append(docstring("`channel`: a grpc.Channel.", 8))
    for name, method in _attributes(service).items():
        lines += [
            f"        self.{name} = channel.{_ARITY[method.streaming]}(\n",
            f'            "/{service.name}/{method.name}",\n',
            f"            request_serializer={types.message(method.request)}.SerializeToString,\n",
            f"            response_deserializer={types.message(method.response)}.FromString,\n",
            "            _registered_method=True,\n",
            "        )\n",
        ]
    return "".join(lines)


def _servicer(service: ServiceRow) -> str:
    lines = [f"\n\nclass {_short(service)}Servicer:\n", docstring(service.doc, 4)]
    for name, method in _attributes(service).items():
        given = "request_iterator" if method.streaming in ("client", "bidi") else "request"
        lines += [
            f"\n    def {name}(self, {given}, context):\n",
            docstring(method.doc, 8),
            "        context.set_code(grpc.StatusCode.UNIMPLEMENTED)\n",
            '        context.set_details("Method not implemented!")\n',
            '        raise NotImplementedError("Method not implemented!")\n',
        ]
    return "".join(lines if service.methods or service.doc else [*lines, "    pass\n"])


def _registration(types: _Types, service: ServiceRow) -> str:
    """The function that adds a servicer to a server."""
    lines = [f"\n\ndef add_{_short(service)}Servicer_to_server(servicer, server):\n", "    handlers = {\n"]
    for name, method in _attributes(service).items():
        lines += [
            f'        "{method.name}": grpc.{_ARITY[method.streaming]}_rpc_method_handler(\n',
            f"            servicer.{name},\n",
            f"            request_deserializer={types.message(method.request)}.FromString,\n",
            f"            response_serializer={types.message(method.response)}.SerializeToString,\n",
            "        ),\n",
        ]
    whole = f'"{service.name}", handlers'
    lines += [
        "    }\n",
        f"    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler({whole}),))\n",
        f"    server.add_registered_method_handlers({whole})\n",
    ]
    return "".join(lines)
