"""The index of a schema: what it holds as text that is found and shown without protobuf.

Each service, RPC, message and enum is a record: a line that begins with "@", with tabs between its parts, and its text,
each line after a space. Services and RPCs come first, types after the line "@types". The room writes the index, for the
compiled schema when code is generated, and for a gateway's own when that was asked for; `cli.lookup` reads it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from invora_grpc.catalog import Method, Service
from invora_grpc.errors import escaped, one_line
from invora_grpc.kinds import map_entry
from invora_grpc.schema.skeleton import arguments, is_optional, path_variables, skeleton

__all__ = ["render", "types_of"]

_EXAMPLE: Final = 3
"""Fields that an example sets."""
_SCALARS: Final = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in dir(FieldDescriptor)
    if name.startswith("TYPE_")
}
Lines = list[str]


def render(
    services: Iterable[Service],
    types: Iterable[Descriptor | EnumDescriptor],
    message: Callable[[str], Descriptor],
    comment: Callable[[str], str],
    verdicts: Mapping[str, str],
) -> str:
    """The text of an index. `message` finds a message type by its full name (KeyError: there is none), `comment` what
    the source says of a type, field or enum value; `verdicts`: the :path of an RPC → how far it differs from the stubs.
    """
    parts = []
    for service in services:
        parts.append(_record("service", _service_head(service), _comment(service.doc)))
        for method in service.methods:
            head = [_dotted(method), _attribute(method), method.origin, verdicts.get(method.path, "")]
            head += [method.streaming, method.request, method.response]
            parts.append(_record("rpc", head, [*_rpc(method), *_example(method, message)]))
    parts.append("@types\n")
    for one in sorted(types, key=lambda one: one.full_name):
        body = _message(one, comment) if isinstance(one, Descriptor) else _enum(one, comment)
        parts.append(_record("message" if isinstance(one, Descriptor) else "enum", [one.full_name], body))
    return "".join(parts)


def types_of(messages: Iterable[Descriptor]) -> Iterator[Descriptor | EnumDescriptor]:
    """Messages with all that is defined inside of them; entries of maps are none of their own."""
    waiting = list(messages)
    while waiting:
        one = waiting.pop()
        if not (one.has_options and one.GetOptions().map_entry):
            yield one
            yield from one.enum_types
            waiting += one.nested_types


def _record(kind: str, head: Iterable[str], body: Lines) -> str:
    """One record. What it holds may come from a stranger: no line of it begins like another record."""
    told = "\t".join(one_line(part) for part in head)
    return f"@{kind} {told}\n" + "".join(f" {escaped(line.expandtabs(4))}\n" for line in body)


def _service_head(service: Service) -> Lines:
    return [service.name, f"{service.module}.{service.area}" if service.module else "", service.origin, service.file]


def _dotted(method: Method) -> str:
    return f"{method.service}.{method.name}"


def _attribute(method: Method) -> str:
    return method.attribute if method.module else ""


def _comment(text: str) -> Lines:
    return [f"// {line}".rstrip() for line in text.split("\n")] if text else []


def _rpc(method: Method) -> Lines:
    request = f"{'stream ' if method.client_streaming else ''}{method.request}"
    response = f"{'stream ' if method.server_streaming else ''}{method.response}"
    lines = [*_comment(method.doc), f"rpc {method.name}({request}) returns ({response});"]
    if method.http:
        lines.append(f"  // {method.http.verb} {method.http.path}  body {method.http.body}".removesuffix("  body "))
    if method.scope:
        lines.append(f"  // scope {method.scope}")
    if method.origin not in ("published", "served"):
        lines.append(f"  // {method.origin}: names are known, numbers are provisional")
    return lines


def _example(method: Method, message: Callable[[str], Descriptor]) -> Lines:
    """A call of an RPC: what its HTTP path names, and the first of what may not be missing."""
    try:
        request = message(method.request)
    except KeyError:
        return []
    named = path_variables(method.http.path) if method.http else []
    found = dict(arguments(skeleton(request, required_only=True, always=named, most=_EXAMPLE).values))
    found = found or dict(arguments(skeleton(request, most=_EXAMPLE).values))
    chosen = [*(name for name in found if name in named), *(name for name in found if name not in named)]
    fields = [shlex.quote(f"{name}={found[name]}") for name in chosen[: max(_EXAMPLE, len(named))]]
    return [f"  // invora call {' '.join([_attribute(method) or _dotted(method), *fields])}"]


# --- types --------------------------------------------------------------------------------------------------------


def _message(message: Descriptor, comment: Callable[[str], str]) -> Lines:
    lines = [*_comment(comment(message.full_name)), f"message {message.full_name} {{"]
    told: set[str] = set()
    for field in message.fields:
        oneof = cast(Any, field.containing_oneof)
        if oneof is None or is_optional(field):
            lines += [f"  {line}" for line in _field(field, comment)]
        elif oneof.name not in told:
            told.add(oneof.name)
            inside = [line for member in oneof.fields for line in _field(member, comment)]
            lines += [f"  oneof {oneof.name} {{", *(f"    {line}" for line in inside), "  }"]
    return [*lines, "}"]


def _field(field: FieldDescriptor, comment: Callable[[str], str]) -> Lines:
    name = f"{cast(Any, field.containing_type).full_name}.{field.name}"
    marks = "  // deprecated" if field.has_options and field.GetOptions().deprecated else ""
    return [*_comment(comment(name)), f"{_label(field)}{_type(field)} {field.name} = {field.number};{marks}"]


def _label(field: FieldDescriptor) -> str:
    if map_entry(field) is not None:
        return ""
    if field.is_repeated:
        return "repeated "
    if field.is_required:
        return "required "
    return "optional " if is_optional(field) else ""


def _type(field: FieldDescriptor) -> str:
    entry = map_entry(field)
    if entry is not None:
        return f"map<{_type(entry.fields_by_name['key'])}, {_type(entry.fields_by_name['value'])}>"
    kind = field.message_type or field.enum_type
    return str(kind.full_name) if kind else _SCALARS[field.type]


def _enum(enum: EnumDescriptor, comment: Callable[[str], str]) -> Lines:
    lines = [*_comment(comment(enum.full_name)), f"enum {enum.full_name} {{"]
    for value in enum.values:
        lines += [f"  {line}" for line in _comment(comment(f"{enum.full_name}.{value.name}"))]
        lines.append(f"  {value.name} = {value.number};")
    return [*lines, "}"]
