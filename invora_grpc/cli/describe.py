"""Describe a symbol of the compiled schema in proto-like text. Services and RPCs need no protobuf, messages do."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from invora_grpc.catalog import Method, Service, catalog
from invora_grpc.errors import RequestError

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor


def text_of(symbol: str) -> str:
    """The description of a service, RPC, message or enum. Raises RequestError with the nearest names."""
    plain = symbol.lstrip(".")
    try:
        return _service(catalog().service(plain))
    except RequestError as error:
        not_a_service = error
    try:
        return _method_with_messages(catalog().method(plain))
    except RequestError as error:
        not_a_method = error
    if "fits" in str(not_a_method):
        raise not_a_method
    found = _type(plain)
    if found is None:
        near = [*_near(not_a_service), *_near(not_a_method)]
        hint = f"did you mean {' or '.join(near)}?" if near else "`invora ls` shows services and RPCs"
        raise RequestError("symbol", symbol, hint, "is no service, RPC, message or enum of the schema")
    return found


def _near(error: RequestError) -> list[str]:
    """The names that an error of the catalog suggests."""
    _, separator, names = error.hint.rstrip("?").partition("did you mean ")
    return names.split(" or ") if separator else []


def _service(service: Service) -> str:
    lines = [*_comment(service.doc), f"service {service.name} {{  // client.{service.module}.{service.area}"]
    for method in service.methods:
        lines += ["", *(f"  {line}" for line in _rpc(method))]
    return "\n".join([*lines, "}", "", f"origin: {service.origin}", f"file: {service.file}"])


def _rpc(method: Method) -> list[str]:
    request = f"{'stream ' if method.client_streaming else ''}{method.request}"
    response = f"{'stream ' if method.server_streaming else ''}{method.response}"
    lines = [*_comment(method.doc), f"rpc {method.name}({request}) returns ({response});"]
    if method.http:
        lines.append(
            f"  // {method.http.verb} {method.http.path}" + (f"  body {method.http.body}" if method.http.body else "")
        )
    lines.append(f"  // scope {method.scope}")
    if method.origin != "published":
        lines.append(f"  // {method.origin}: names are known, numbers are provisional")
    return lines


def _method_with_messages(method: Method) -> str:
    from invora_grpc.call import bind
    from invora_grpc.kinds import descriptor_of

    binding = bind(method)
    request, response = descriptor_of(binding.request_class), descriptor_of(binding.response_class)
    parts = [f"// {method.full_name}  client.{method.attribute}", *_rpc(method), ""]
    parts.append(_message(request))
    parts.append("")
    parts.append(_message(response))
    return "\n".join(parts)


def _type(name: str) -> str | None:
    """A message or enum by full name, looking through all compiled files."""
    import pkgutil
    from importlib import import_module

    from google.protobuf import descriptor_pool

    import invora_api

    for module in pkgutil.walk_packages(invora_api.__path__, "invora_api."):
        if module.name.endswith("_pb2"):
            import_module(module.name)
    pool = descriptor_pool.Default()
    with suppress(KeyError):
        return _message(pool.FindMessageTypeByName(name))
    with suppress(KeyError):
        return _enum(pool.FindEnumTypeByName(name))
    return None


def _message(message: Descriptor) -> str:
    lines = [f"message {message.full_name} {{"]
    done: set[str] = set()
    for field in message.fields:
        oneof = field.containing_oneof
        if oneof is None or _synthetic(field):
            lines.append(f"  {_field(field)}")
        elif oneof.name not in done:
            done.add(oneof.name)
            lines += [f"  oneof {oneof.name} {{", *(f"    {_field(f)}" for f in oneof.fields), "  }"]
    return "\n".join([*lines, "}"])


def _enum(enum: EnumDescriptor) -> str:
    return "\n".join([f"enum {enum.full_name} {{", *(f"  {v.name} = {v.number};" for v in enum.values), "}"])


def _synthetic(field: FieldDescriptor) -> bool:
    """Whether the field's oneof is only how proto3 spells `optional`."""
    oneof: Any = field.containing_oneof
    return len(oneof.fields) == 1 and oneof.name == f"_{field.name}"


def _field(field: FieldDescriptor) -> str:
    label = "optional " if field.containing_oneof and _synthetic(field) else ""
    kind = field.message_type or field.enum_type
    if field.message_type and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        return f"map<{_type_name(key)}, {_type_name(value)}> {field.name} = {field.number};"
    if field.is_repeated:
        label = "repeated "
    return f"{label}{kind.full_name if kind else _type_name(field)} {field.name} = {field.number};"


def _type_name(field: FieldDescriptor) -> str:
    kind = field.message_type or field.enum_type
    if kind:
        return str(kind.full_name)
    names = {getattr(field, n): n.removeprefix("TYPE_").lower() for n in dir(field) if n.startswith("TYPE_")}
    return names[field.type]


def _comment(doc: str) -> list[str]:
    return [f"// {line}" for line in doc.splitlines()]
