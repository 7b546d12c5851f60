"""The wire surface of a proto file: everything that a peer can observe, and nothing else.

Comments, order of declarations and file options do not belong to it; names, numbers, types, labels,
oneofs, JSON names, enum values, methods, streaming kinds, HTTP rules and scopes do. The form is plain
data (the same for descriptors and for recorded facts), so that it can be compared and hashed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2

from invora_grpc.schema.annotations import http_rule, scope
from invora_grpc.schema.files import camel_case

Surface = dict[str, Any]

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final[Mapping[int, str]] = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in _Field.Type.items()
    if name not in ("TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP")
}


def surface(file: descriptor_pb2.FileDescriptorProto, *, without: frozenset[str] = frozenset()) -> Surface:
    """The surface of one file; methods whose "service/Method" is in `without` are left out."""
    result: Surface = {
        "file": file.name,
        "package": file.package,
        "syntax": file.syntax or "proto2",
        "messages": {message.name: _message(message) for message in file.message_type},
        "enums": {enum.name: _enum(enum) for enum in file.enum_type},
        "services": {},
        "extensions": [
            {"extends": x.extendee.lstrip("."), "n": x.number, "name": x.name, "type": _type(x)} for x in file.extension
        ],
    }
    for service in file.service:
        full = f"{file.package}.{service.name}"
        result["services"][service.name] = [
            _method(method) for method in service.method if f"{full}/{method.name}" not in without
        ]
    return result


def additions(file: descriptor_pb2.FileDescriptorProto, methods: frozenset[str]) -> Surface:
    """The surface of those methods of a file that `methods` names as "service/Method"."""
    found: Surface = {}
    for service in file.service:
        full = f"{file.package}.{service.name}"
        chosen = [_method(method) for method in service.method if f"{full}/{method.name}" in methods]
        if chosen:
            found[service.name] = chosen
    return found


def fingerprint(value: Surface) -> str:
    """SHA-256 (hex) over the canonical JSON form of a surface."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def differences(expected: Any, actual: Any, path: str = "") -> Iterator[str]:
    """Say, one line each, where two surfaces differ."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in expected.keys() | actual.keys():
            here = f"{path}.{key}" if path else str(key)
            if key not in actual:
                yield f"{here}: missing, expected {expected[key]!r}"
            elif key not in expected:
                yield f"{here}: not expected, found {actual[key]!r}"
            else:
                yield from differences(expected[key], actual[key], here)
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for index, (left, right) in enumerate(zip(expected, actual, strict=True)):
            name = left.get("name", index) if isinstance(left, dict) else index
            yield from differences(left, right, f"{path}[{name}]")
    elif expected != actual:
        yield f"{path}: expected {expected!r}, found {actual!r}"


def from_facts(facts: Mapping[str, Any]) -> Surface:
    """Bring recorded wire facts (defaults left out) into the same form as `surface`."""
    return {
        "file": facts["file"],
        "package": facts["package"],
        "syntax": "proto3",
        "messages": {name: _message_facts(m) for name, m in facts.get("messages", {}).items()},
        "enums": dict(facts.get("enums", {})),
        "services": {name: [_method_facts(m) for m in methods] for name, methods in facts.get("services", {}).items()},
        "extensions": list(facts.get("extensions", [])),
    }


def _message(message: descriptor_pb2.DescriptorProto) -> Surface:
    entries = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    reserved = [[r.start, r.end - 1] for r in message.reserved_range]
    return {
        "fields": sorted((_field(f, message, entries) for f in message.field), key=lambda f: f["n"]),
        "messages": {n.name: _message(n) for n in message.nested_type if n.name not in entries},
        "enums": {e.name: _enum(e) for e in message.enum_type},
        "reserved": reserved,
    }


def _field(
    field: descriptor_pb2.FieldDescriptorProto,
    message: descriptor_pb2.DescriptorProto,
    entries: Mapping[str, descriptor_pb2.DescriptorProto],
) -> Surface:
    entry = entries.get(field.type_name.rpartition(".")[2]) if field.type == _Field.TYPE_MESSAGE else None
    is_map = entry is not None and field.label == _Field.LABEL_REPEATED
    real_oneof = field.HasField("oneof_index") and not field.proto3_optional
    unusual = {"packed": field.options.packed} if field.options.HasField("packed") else {}
    return {
        "n": field.number,
        "name": field.name,
        "type": f"map<{_type(entry.field[0])}, {_type(entry.field[1])}>" if entry and is_map else _type(field),
        "repeated": field.label == _Field.LABEL_REPEATED and not is_map,
        "optional": field.proto3_optional,
        "oneof": message.oneof_decl[field.oneof_index].name if real_oneof else "",
        "json": field.json_name or camel_case(field.name),
        "deprecated": field.options.deprecated,
        **unusual,
    }


def _type(field: descriptor_pb2.FieldDescriptorProto) -> str:
    return _SCALARS.get(field.type) or field.type_name.lstrip(".")


def _enum(enum: descriptor_pb2.EnumDescriptorProto) -> dict[str, int]:
    return {value.name: value.number for value in enum.value}


def _method(method: descriptor_pb2.MethodDescriptorProto) -> Surface:
    return {
        "name": method.name,
        "request": method.input_type.lstrip("."),
        "response": method.output_type.lstrip("."),
        "client_streaming": method.client_streaming,
        "server_streaming": method.server_streaming,
        "http": http_rule(method),
        "scope": scope(method),
    }


def _message_facts(facts: Mapping[str, Any]) -> Surface:
    return {
        "fields": sorted((_field_facts(f) for f in facts["fields"]), key=lambda f: f["n"]),
        "messages": {name: _message_facts(m) for name, m in facts.get("messages", {}).items()},
        "enums": dict(facts.get("enums", {})),
        "reserved": [list(r) for r in facts.get("reserved", [])],
    }


def _field_facts(facts: Mapping[str, Any]) -> Surface:
    is_map = facts["type"].startswith("map<")
    return {
        "n": facts["n"],
        "name": facts["name"],
        "type": facts["type"],
        "repeated": bool(facts.get("repeated")) and not is_map,
        "optional": bool(facts.get("optional")),
        "oneof": facts.get("oneof", ""),
        "json": facts.get("json", camel_case(facts["name"])),
        "deprecated": bool(facts.get("deprecated")),
    }


def _method_facts(facts: Mapping[str, Any]) -> Surface:
    return {
        "name": facts["name"],
        "request": facts["request"],
        "response": facts["response"],
        "client_streaming": bool(facts.get("client_streaming")),
        "server_streaming": bool(facts.get("server_streaming")),
        "http": facts.get("http"),
        "scope": facts.get("scope", ""),
    }
