"""Messages as JSON for people and scripts, with everything in that came: also what the schema does not know.

`to_json` leaves out fields without a name. Here they stay where they were found, under "@unknown", with number, wire
type and content; so does the content of an Any, and an Any of unknown type is kept with its bytes. Nothing here prints.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet

from invora_grpc.kinds import ANY, descriptor_of, inner_type, is_map, kind_of
from invora_grpc.reading import to_json
from invora_grpc.unknown import unknown_fields

__all__ = ["UNKNOWN", "Stranger", "json_of"]

UNKNOWN: Final = "@unknown"
"""The name under which a message's unknown fields stand."""
_WIRE: Final = {0: "varint", 1: "fixed64", 2: "bytes", 3: "group", 5: "fixed32"}

Find = Callable[[str], type[Message]]
"""The class of a message by its full name; raises KeyError."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """Something in an answer that the schema does not know."""

    path: str
    """Where: `items[3].audit`; empty for the message itself."""
    what: str
    """`field 7` or `an Any of type x.Y`."""
    content: str
    """Its value, or its bytes as base64."""

    def __str__(self) -> str:
        return f"{self.path or 'message'}: {self.what}: {self.content}"


def json_of(message: Message, found: list[Stranger] | None = None, find: Find | None = None) -> Any:
    """The message as `to_json` has it, its unknown fields added where they are.

    `found` is told each of them. `find`: where to look for the types of Any beside the message's own pool. Of types
    that are no JSON object (a decimal, a date), unknown fields stand at what holds them, with their `path`.
    """
    value = to_json(message)
    if unknown_fields(message) == 0 and not _may_hold_any(descriptor_of(message)):
        return value
    top = value if isinstance(value, dict) and kind_of(descriptor_of(message)) in ("", ANY) else {"value": value}
    _Walk([] if found is None else found, find).add(message, value, top, "", "")
    return top if UNKNOWN in top else value


@functools.lru_cache(1024)
def _may_hold_any(top: Descriptor) -> bool:
    """Whether a message of this type can hold an Any, at whatever depth."""
    seen: set[str] = set()
    waiting = [top]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name == ANY:
            return True
        if descriptor.full_name not in seen:
            seen.add(descriptor.full_name)
            waiting += [inner for field in descriptor.fields if (inner := inner_type(field)) is not None]
    return False


class _Walk:
    """One look through a message and its JSON, side by side."""

    def __init__(self, found: list[Stranger], find: Find | None) -> None:
        self._found, self._find = found, find

    def add(self, message: Message, value: Any, holder: dict[str, Any], path: str, within: str) -> None:
        """Add the unknown fields of a message. `holder`: the nearest object of JSON, `within` the path from there."""
        kind = kind_of(descriptor_of(message))
        if isinstance(value, dict) and kind in ("", ANY):
            holder, within = value, ""
        unknown: Any = UnknownFieldSet(message)
        for field in unknown:
            entry = {"path": within} if within else {}
            shown = _shown(field)
            holder.setdefault(UNKNOWN, []).append({**entry, **shown})
            content = shown.get("base64", shown.get("value", shown.get("fields")))
            self._found.append(Stranger(path, f"field {field.field_number} ({shown['wire']})", str(content)))
        if kind == ANY:
            self._look_into(message, value, holder, path)
            return
        for field, held in type(message).ListFields(message):
            name = f"[{field.full_name}]" if field.is_extension else field.name
            known = value.get(name) if isinstance(value, dict) and kind == "" else None
            for step, inner, plain in _inside(field, held, known):
                self.add(inner, plain, holder, f"{path}.{name}{step}".lstrip("."), f"{within}.{name}{step}".lstrip("."))

    def _look_into(self, packed: Any, value: dict[str, Any], holder: dict[str, Any], path: str) -> None:
        """The same for what an Any holds."""
        name = packed.type_url.rpartition("/")[2]
        try:
            inner = self._class(packed, name).FromString(packed.value)
        except (KeyError, DecodeError):
            if packed.type_url:
                content = base64.b64encode(packed.value).decode("ascii")
                self._found.append(Stranger(path, f"an Any of type {name}", content))
            return
        if "type_url" in value:  # its type is not in the pool of the message, but in the other one
            plain = to_json(inner)
            value.clear()
            value["@type"] = packed.type_url
            value.update(plain if isinstance(plain, dict) and not kind_of(descriptor_of(inner)) else {"value": plain})
        self.add(inner, value.get("value") if kind_of(descriptor_of(inner)) else value, holder, path, "")

    def _class(self, packed: Message, name: str) -> type[Message]:
        pool: Any = descriptor_of(packed).file.pool
        try:
            return GetMessageClass(pool.FindMessageTypeByName(name))
        except KeyError:
            if self._find is None:
                raise
            return self._find(name)


def _inside(field: FieldDescriptor, held: Any, known: Any) -> Iterator[tuple[str, Message, Any]]:
    """The messages that a field holds: step of the path, message, and its JSON if there is one."""
    if inner_type(field) is None:
        return
    if not field.is_repeated:
        yield "", held, known
    elif is_map(field):
        for key in held:
            name = key if isinstance(key, str) else str(key).lower()
            yield f"[{name!r}]", held[key], known.get(name) if isinstance(known, dict) else None
    else:
        for index, item in enumerate(held):
            yield f"[{index}]", item, known[index] if isinstance(known, list) and index < len(known) else None


def _shown(field: Any) -> dict[str, Any]:
    """An unknown field as JSON: bytes as base64, groups with their fields, all other wire types as a number."""
    entry: dict[str, Any] = {"number": field.field_number, "wire": _WIRE.get(field.wire_type, str(field.wire_type))}
    if isinstance(field.data, bytes):
        return {**entry, "base64": base64.b64encode(field.data).decode("ascii")}
    if isinstance(field.data, int):
        return {**entry, "value": field.data}
    return {**entry, "fields": [_shown(inner) for inner in field.data]}
