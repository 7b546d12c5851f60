"""What the options of an RPC say: its google.api.http rule and its permission scope.

Read from descriptors, compiled or not; the scope's extension need not be compiled in. The room only reads.
"""

from __future__ import annotations

from typing import Any, Final, cast

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2, empty_pb2, unknown_fields
from google.protobuf.message import DecodeError, Message

__all__ = ["SCOPE_EXTENSION", "http_rule", "scope"]

SCOPE_EXTENSION: Final = 53036
"""The number of kernel.options in google.protobuf.MethodOptions."""
_HTTP: Final = cast(Any, annotations_pb2.http)  # its stubs call it a plain field, which takes no options' extension


def http_rule(method: descriptor_pb2.MethodDescriptorProto) -> list[str] | None:
    """[VERB, path] or [VERB, path, body] of the method's google.api.http option, None without one.

    What is rare follows as further words: "response_body=…", and one for each additional binding.
    """
    options = method.options
    if not options.HasExtension(_HTTP):  # what was parsed before this module was imported has its rule as bytes
        options = descriptor_pb2.MethodOptions.FromString(options.SerializeToString())
    if not options.HasExtension(_HTTP):
        return None
    rule = options.Extensions[_HTTP]
    if rule.WhichOneof("pattern") is None:
        return None
    rare = [f"response_body={rule.response_body}"] if rule.response_body else []
    rare += [
        "binding=" + " ".join(_binding(extra)) for extra in rule.additional_bindings if extra.WhichOneof("pattern")
    ]
    return _binding(rule) + ([""] if rare and not rule.body else []) + rare


def _binding(rule: http_pb2.HttpRule) -> list[str]:
    kind = rule.WhichOneof("pattern")
    if kind == "custom":
        verb, path = rule.custom.kind, rule.custom.path
    else:
        verb, path = kind.upper(), getattr(rule, kind)
    return [verb, path, rule.body] if rule.body else [verb, path]


def scope(method: descriptor_pb2.MethodDescriptorProto) -> str:
    """The permission scope in the method's (kernel.options), "" without one.

    Read from the wire form of the options: the extension need not be compiled in. In the schema of others its number
    may be that of something else, which is no scope.
    """
    unparsed = descriptor_pb2.MethodOptions.FromString(method.options.SerializeToString())
    for number, data in _unknown(unparsed):
        if number == SCOPE_EXTENSION:
            return _scope_in(data)
    return _known_scope(unparsed)


def _scope_in(data: bytes) -> str:
    try:
        return next((text.decode() for n, text in _unknown(empty_pb2.Empty.FromString(data)) if n == 1), "")
    except (DecodeError, UnicodeDecodeError):
        return ""


def _unknown(message: Message) -> list[tuple[int, bytes]]:
    """Number and payload of the unknown length-delimited fields."""
    fields: Any = unknown_fields.UnknownFieldSet(message)
    return [(field.field_number, field.data) for field in fields if field.wire_type == 2]


def _known_scope(options: descriptor_pb2.MethodOptions) -> str:
    """The scope where the extension is registered with the default pool, and so not unknown."""
    for field, value in options.ListFields():
        if field.number == SCOPE_EXTENSION:
            return str(getattr(value, "scope", ""))
    return ""
