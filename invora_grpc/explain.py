"""What `help(client.<module>.<area>.<rpc>)` says: the words of the schema, and every field of the request.

At run time the comments of the schema are in the generated stubs only, so they are read from there, when somebody asks.
Nothing here loads grpc or protobuf, and nothing fails for want of a stub: then the catalog's words have to do.
"""

from __future__ import annotations

import ast
import functools
import importlib.resources
import re
from collections.abc import Iterator

from invora_grpc.catalog import Method, catalog, generated_path

__all__ = ["explain"]

_ALIAS = re.compile(r"\b_\w+\.")
"""A module's name in front of a type, as stubs write it."""
_SHORT = 88


@functools.lru_cache(4096)
def explain(method: Method) -> str:
    """The documentation of an RPC: what it does, path, scope, origin; how it is called, and what its fields mean."""
    found = _stub(method)
    if found is None:
        scope = f"Scope: {method.scope}\n" * bool(method.scope)
        return f"{method.doc}\n\n{method.path}\n{scope}Origin: {method.origin}".strip()
    return "\n\n".join([ast.get_docstring(found) or "", *_calls(found, method.rpc)]).strip()


def _stub(method: Method) -> ast.ClassDef | None:
    """The class of the RPC in the stub of its service; None if it is of no compiled schema, or without stubs."""
    if method.schema is not None:
        return None
    file = catalog(method.package).service(method.service).file
    folder, _, stub = generated_path(file, method.package).rpartition("/")
    try:
        classes = _classes(folder.replace("/", "."), f"{stub}_client.pyi")
    except (OSError, ModuleNotFoundError):
        return None
    area = classes.get(method.service.rpartition(".")[2])
    for item in area.body if area is not None else ():
        if isinstance(item, ast.AnnAssign) and ast.unparse(item.target) == method.rpc:
            return classes.get(ast.unparse(item.annotation))
    return None


@functools.lru_cache(maxsize=4)
def _classes(package: str, stub: str) -> dict[str, ast.ClassDef]:
    text = importlib.resources.files(package).joinpath(stub).read_text("utf-8")
    return {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}


def _calls(stub: ast.ClassDef, rpc: str) -> Iterator[str]:
    """How the RPC is called, and the ways to walk a list, each with its own words."""
    for item in stub.body:
        if not isinstance(item, ast.FunctionDef):
            continue
        words = (ast.get_docstring(item) or "").splitlines()
        if item.name == "__call__":
            yield "\n".join([_signature(rpc, item), *(f"    {line}" for line in words)])
        else:  # takes what the call takes
            yield "\n".join([f"{rpc}.{item.name}(…) -> {_type(item.returns)}", *(f"    {line}" for line in words[:1])])


def _signature(name: str, function: ast.FunctionDef) -> str:
    given = function.args
    parts = [f"{argument.arg}: {_type(argument.annotation)}" for argument in given.posonlyargs[1:]]
    parts += ["/"] * bool(parts)
    parts += ["*"] * bool(given.kwonlyargs)
    parts += [f"{argument.arg}: {_type(argument.annotation)}" for argument in given.kwonlyargs]
    line = f"{name}({', '.join(parts)}) -> {_type(function.returns)}"
    if len(line) <= _SHORT:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f") -> {_type(function.returns)}"


def _type(node: ast.expr | None) -> str:
    return _ALIAS.sub("", ast.unparse(node)).removesuffix(" | None") if node is not None else ""
