"""From what people type to what `build` takes: text becomes the type that the schema has at that place.

JSON has no bytes and proto3's JSON form writes 64-bit integers as text; on a command line everything is text. Only text
is touched here, and only where it can mean one thing; what does not fit is left for `build` to refuse by name.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from invora_grpc.errors import RequestError
from invora_grpc.kinds import ANY, LIST_VALUE, STRUCT, VALUE, WRAPPED, is_map, kind_of

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,20}")
_INTEGERS: Final = (
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
)
_REALS: Final = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)


def coerced(descriptor: Any, value: object, path: str = "") -> Any:
    """A value for a message of this type, its texts converted. Raises RequestError for bytes that are no base64."""
    kind = kind_of(descriptor)
    if kind in WRAPPED:
        return _field(descriptor.fields_by_name[WRAPPED[kind]], value, path)
    if isinstance(value, bytes):  # a file's
        return _decoded(value, path)
    if not isinstance(value, Mapping) or kind in (STRUCT, VALUE, LIST_VALUE, ANY):
        return value
    names = {name: field for field in descriptor.fields for name in (field.json_name, field.name)}
    return {key: _known(names, key, item, path) for key, item in value.items()}


def _known(names: Mapping[str, FieldDescriptor], key: str, item: object, path: str) -> object:
    field = names.get(key)
    return item if field is None else _field(field, item, f"{path}.{key}".lstrip("."))


def _field(field: FieldDescriptor, value: object, path: str) -> object:
    if is_map(field):
        entry: Any = field.message_type
        if not isinstance(value, Mapping):
            return value
        key_field, value_field = entry.fields_by_name["key"], entry.fields_by_name["value"]
        return {_one(key_field, k, path): _one(value_field, v, f"{path}[{k!r}]") for k, v in value.items()}
    if field.is_repeated:
        items = [value] if isinstance(value, str | bytes) else value
        if not isinstance(items, list):
            return value
        return [_one(field, item, f"{path}[{index}]") for index, item in enumerate(items)]
    return _one(field, value, path)


def _one(field: FieldDescriptor, value: Any, path: str) -> Any:
    message: Descriptor | None = field.message_type
    if message is not None:
        return coerced(message, value, path)
    if isinstance(value, bytes):
        return value if field.type == FieldDescriptor.TYPE_BYTES else _one(field, _decoded(value, path), path)
    if isinstance(value, Decimal) and field.cpp_type in _INTEGERS and value == value.to_integral_value():
        return int(value) if abs(value) < 2**64 else value
    if not isinstance(value, str):
        return value
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"true": True, "false": False}.get(value.lower(), value)
    if field.cpp_type in _INTEGERS:
        return int(value) if _INTEGER.fullmatch(value) else value
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return int(value) if _INTEGER.fullmatch(value) else value
    if field.cpp_type in _REALS:
        return _real(value)
    return _bytes(value, path) if field.type == FieldDescriptor.TYPE_BYTES else value


def _decoded(value: bytes, path: str) -> str:
    try:
        return value.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(path, value[:40], "give a UTF-8 file", str(error)) from None


def _real(text: str) -> object:
    if text in ("NaN", "Infinity", "-Infinity"):
        return float(text)
    try:
        return Decimal(text)
    except InvalidOperation:
        return text


def _bytes(text: str, path: str) -> bytes:
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise RequestError(path, text, "write bytes as base64", "is no base64") from None
