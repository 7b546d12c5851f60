"""Random schemas, and copies of them to which something happened. All of it is deterministic in the seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor import MethodDescriptor

Proto = descriptor_pb2.FieldDescriptorProto
File = descriptor_pb2.FileDescriptorProto
SCALARS = [Proto.TYPE_INT32, Proto.TYPE_SINT32, Proto.TYPE_INT64, Proto.TYPE_UINT64, Proto.TYPE_FIXED32]
SCALARS += [Proto.TYPE_DOUBLE, Proto.TYPE_BOOL, Proto.TYPE_STRING, Proto.TYPE_BYTES]
WHOLE = (Proto.TYPE_INT32, Proto.TYPE_SINT32, Proto.TYPE_INT64, Proto.TYPE_UINT64, Proto.TYPE_FIXED32)
WRAPPERS = [".google.protobuf.StringValue", ".google.protobuf.Int64Value", ".google.protobuf.Timestamp"]
MESSAGES = ("Root", "Line", "Party")
ENUMS = ("Status", "Kind")
BUNDLED = (wrappers_pb2.DESCRIPTOR, timestamp_pb2.DESCRIPTOR)


@dataclass
class Side:
    """One of two schemas: two files, and a service with one RPC that takes and gives the root message."""

    types: File
    enums: File
    extensions: list[Proto] = field(default_factory=list)

    def copy(self) -> Side:
        twin = Side(File(), File())
        twin.types.CopyFrom(self.types)
        twin.enums.CopyFrom(self.enums)
        return twin

    def method(self) -> MethodDescriptor:
        """The RPC, in a pool of its own."""
        pool = descriptor_pool.DescriptorPool()
        for file in BUNDLED:
            pool.AddSerializedFile(file.serialized_pb)
        pool.Add(self.enums)
        pool.Add(self.types)
        return pool.FindServiceByName("p.Books").methods_by_name["Keep"]


# --- schemas ------------------------------------------------------------------------------------------------------


def schema(dice: random.Random) -> Side:
    """A schema of three messages, which may refer to each other in circles, and two enums."""
    syntax = dice.choice(["proto2", "proto3", "proto3"])
    types = File(name="types.proto", package="p", syntax=syntax, dependency=["enums.proto"])
    types.dependency.extend(file.name for file in BUNDLED)
    enums = File(
        name="enums.proto", package="p", syntax=syntax if syntax == "proto3" else dice.choice(["proto2", "proto3"])
    )
    for name in ENUMS:
        enum = enums.enum_type.add(name=name)
        for number in range(dice.randint(2, 5)):
            enum.value.add(name=f"{name.upper()}_{'ABCDE'[number]}", number=number)
    for name in MESSAGES:
        message = types.message_type.add(name=name)
        for index in range(dice.randint(2, 7)):
            made = _add_field(dice, types, message, f"f{index}", index + 1)
            if name == "Root" and index < 2 and not made.type_name.endswith("Entry"):
                for part in ("default_value", "proto3_optional"):
                    made.ClearField(part)
                made.label = dice.choice([Proto.LABEL_OPTIONAL, Proto.LABEL_REPEATED])
                made.type, made.type_name = Proto.TYPE_MESSAGE, f".p.{MESSAGES[index + 1]}"
        _add_oneof(dice, message)
        if syntax == "proto2" and dice.random() < 0.3:
            message.extension_range.add(start=100, end=200)
            types.extension.add(
                name=f"x_{name.lower()}", number=100, type=Proto.TYPE_INT32, label=1, extendee=f".p.{name}"
            )
    service = types.service.add(name="Books")
    service.method.add(name="Keep", input_type=".p.Root", output_type=".p.Root")
    return Side(types, enums)


def _add_field(dice: random.Random, file: File, message: Any, name: str, number: int) -> Any:
    made = message.field.add(name=name, number=number, label=Proto.LABEL_OPTIONAL, json_name=name)
    kind = dice.choice(["scalar", "scalar", "scalar", "enum", "message", "wrapper", "map"])
    if kind == "map":
        _make_map(dice, message, made)
        return made
    if kind == "scalar":
        made.type = dice.choice(SCALARS)
    elif kind == "enum":
        made.type, made.type_name = Proto.TYPE_ENUM, f".p.{dice.choice(ENUMS)}"
    else:
        made.type = Proto.TYPE_MESSAGE
        made.type_name = f".p.{dice.choice(MESSAGES)}" if kind == "message" else dice.choice(WRAPPERS)
    if dice.random() < 0.3:
        made.label = Proto.LABEL_REPEATED
    elif file.syntax == "proto3" and kind in ("scalar", "enum") and dice.random() < 0.4:
        _make_optional(message, made)
    elif file.syntax == "proto2" and made.type in WHOLE and dice.random() < 0.2:
        made.default_value = str(dice.randint(0, 3))
    elif file.syntax == "proto2" and kind in ("scalar", "enum") and dice.random() < 0.05:
        made.label = Proto.LABEL_REQUIRED
    return made


def _make_map(dice: random.Random, message: Any, made: Any) -> None:
    entry = message.nested_type.add(name=f"{made.name.title()}Entry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=1, type=dice.choice([Proto.TYPE_STRING, Proto.TYPE_INT32]))
    value = entry.field.add(name="value", number=2, label=1)
    value.type = dice.choice([Proto.TYPE_STRING, Proto.TYPE_INT32, Proto.TYPE_ENUM, Proto.TYPE_MESSAGE])
    if value.type == Proto.TYPE_ENUM:
        value.type_name = f".p.{dice.choice(ENUMS)}"
    elif value.type == Proto.TYPE_MESSAGE:
        value.type_name = f".p.{dice.choice(MESSAGES)}"
    made.type, made.label, made.type_name = Proto.TYPE_MESSAGE, Proto.LABEL_REPEATED, f".p.{message.name}.{entry.name}"


def _make_optional(message: Any, made: Any) -> None:
    made.proto3_optional = True


def _add_oneof(dice: random.Random, message: Any) -> None:
    free = [one for one in message.field if one.label == 1 and not one.proto3_optional and not one.default_value]
    if len(free) > 1 and dice.random() < 0.5:
        message.oneof_decl.add(name="choice")
        for one in dice.sample(free, dice.randint(2, len(free))):
            one.oneof_index = 0


def finished(side: Side) -> Side:
    """A copy as a compiler would make it: `optional` of proto3 has its oneof, and what nothing refers to is gone."""
    done = side.copy()
    for message in done.types.message_type:
        members = [one for one in message.field if one.HasField("oneof_index")]
        del message.oneof_decl[:]
        if members:
            message.oneof_decl.add(name="choice")
        for one in message.field:
            if one.proto3_optional:
                one.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{one.name}")
        used = [entry.type_name.rpartition(".")[2] for entry in message.field]
        kept = [nested for nested in message.nested_type if nested.name in used]
        del message.nested_type[:]
        message.nested_type.extend(kept)
    return done


# --- drift --------------------------------------------------------------------------------------------------------

Mutation = Callable[[random.Random, Side], str]


def drifted(dice: random.Random, side: Side) -> tuple[Side, list[str]]:
    """A copy of a schema that one to four things happened to, and what they were."""
    twin = side.copy()
    count = dice.choice([0, 1, 1, 1, 1, 2, 2, 3, 4])
    return twin, [dice.choice(MUTATIONS)(dice, twin) for _ in range(count)]


def _message(dice: random.Random, side: Side) -> Any:
    return dice.choice(side.types.message_type)


def _field(dice: random.Random, message: Any) -> Any:
    return dice.choice(message.field)


def _unused(message: Any) -> int:
    return 1 + max((one.number for one in message.field), default=0)


def renumber(dice: random.Random, side: Side) -> str:
    message = _message(dice, side)
    one = _field(dice, message)
    used = {other.number for other in message.field}
    one.number = dice.choice([number for number in range(1, 13) if number not in used])
    return f"renumber {message.name}.{one.name} to {one.number}"


def swap(dice: random.Random, side: Side) -> str:
    message = _message(dice, side)
    one, other = _field(dice, message), _field(dice, message)
    one.number, other.number = other.number, one.number
    return f"swap {message.name}.{one.name} {other.name}"


def add(dice: random.Random, side: Side) -> str:
    message = _message(dice, side)
    made = _add_field(dice, side.types, message, f"n{len(message.field)}{dice.randint(0, 9999)}", _unused(message))
    if made.label == 1 and not made.proto3_optional and len(message.oneof_decl) and dice.random() < 0.5:
        made.ClearField("default_value")
        made.oneof_index = 0
    return f"add {message.name}.{made.name} = {made.number}"


def remove(dice: random.Random, side: Side) -> str:
    message = _message(dice, side)
    if len(message.field) < 2:
        return "nothing"
    index = dice.randrange(len(message.field))
    name = message.field[index].name
    del message.field[index]
    return f"remove {message.name}.{name}"


def replace(dice: random.Random, side: Side) -> str:
    """Another field under a number that was in use."""
    message = _message(dice, side)
    index = dice.randrange(len(message.field))
    name, number = message.field[index].name, message.field[index].number
    del message.field[index]
    made = _add_field(dice, side.types, message, f"r{dice.randint(0, 9999)}", number)
    return f"replace {message.name}.{name} by {made.name}"


def rename(dice: random.Random, side: Side) -> str:
    message = _message(dice, side)
    one = _field(dice, message)
    told = f"rename {message.name}.{one.name}"
    one.name += "x"
    return told


def retype(dice: random.Random, side: Side) -> str:
    message = _message(dice, side)
    index = dice.randrange(len(message.field))
    old = Proto()
    old.CopyFrom(message.field[index])
    del message.field[index]
    made = _add_field(dice, side.types, message, old.name, old.number)
    return f"retype {message.name}.{made.name}"


def relabel(dice: random.Random, side: Side) -> str:
    message = _message(dice, side)
    one = _field(dice, message)
    if one.type_name.endswith("Entry"):
        return "nothing"
    for name in ("default_value", "oneof_index", "proto3_optional"):
        one.ClearField(name)
    one.label = Proto.LABEL_OPTIONAL if one.label == Proto.LABEL_REPEATED else Proto.LABEL_REPEATED
    return f"relabel {message.name}.{one.name} {one.label}"


def presence(dice: random.Random, side: Side) -> str:
    message = _message(dice, side)
    one = _field(dice, message)
    if one.label != 1 or one.HasField("oneof_index") or one.type == Proto.TYPE_MESSAGE:
        return "nothing"
    if side.types.syntax == "proto3":
        one.proto3_optional = not one.proto3_optional
    else:
        one.label = Proto.LABEL_REQUIRED
    return f"presence {message.name}.{one.name}"


def default(dice: random.Random, side: Side) -> str:
    message = _message(dice, side)
    one = _field(dice, message)
    if side.types.syntax == "proto3" or one.type not in WHOLE or one.label != 1 or one.HasField("oneof_index"):
        return "nothing"
    one.default_value = str(dice.randint(0, 3))
    return f"default {message.name}.{one.name} {one.default_value}"


def oneof(dice: random.Random, side: Side) -> str:
    message = _message(dice, side)
    one = _field(dice, message)
    if one.label != 1 or one.default_value:
        return "nothing"
    if one.HasField("oneof_index"):
        one.ClearField("oneof_index")
        return f"oneof {message.name} without {one.name}"
    one.ClearField("proto3_optional")
    one.oneof_index = 0
    return f"oneof {message.name} with {one.name}"


def _enum(dice: random.Random, side: Side) -> Any:
    return dice.choice(side.enums.enum_type)


def enum_swap(dice: random.Random, side: Side) -> str:
    enum = _enum(dice, side)
    one, other = dice.choice(enum.value), dice.choice(enum.value)
    one.name, other.name = other.name, one.name
    return f"enum {enum.name} swap {one.name} {other.name}"


def enum_renumber(dice: random.Random, side: Side) -> str:
    enum = _enum(dice, side)
    one = dice.choice(enum.value[1:]) if len(enum.value) > 1 else enum.value[0]
    used = {other.number for other in enum.value}
    if one.number == 0:
        return "nothing"
    one.number = dice.choice([number for number in range(1, 12) if number not in used])
    return f"enum {enum.name}.{one.name} = {one.number}"


def enum_add(dice: random.Random, side: Side) -> str:
    enum = _enum(dice, side)
    used = {other.number for other in enum.value}
    number = dice.choice([number for number in range(1, 12) if number not in used])
    enum.value.add(name=f"{enum.name.upper()}_N{number}_{dice.randint(0, 9999)}", number=number)
    return f"enum {enum.name} add {number}"


def enum_remove(dice: random.Random, side: Side) -> str:
    enum = _enum(dice, side)
    if len(enum.value) < 3:
        return "nothing"
    index = dice.randrange(1, len(enum.value))
    told = f"enum {enum.name} remove {enum.value[index].name}"
    if enum.options.allow_alias:
        return "nothing"
    del enum.value[index]
    return told


def enum_replace(dice: random.Random, side: Side) -> str:
    enum = _enum(dice, side)
    one = dice.choice(enum.value)
    told = f"enum {enum.name} replace {one.name}"
    one.name += "X"
    return told


def enum_alias(dice: random.Random, side: Side) -> str:
    enum = _enum(dice, side)
    one, name = dice.choice(enum.value), f"{enum.name.upper()}_ALIAS{dice.randint(0, 9999)}"
    if enum.options.allow_alias:
        return "nothing"
    enum.options.allow_alias = True
    enum.value.add(name=name, number=one.number)
    return f"enum {enum.name} alias {name} of {one.name}"


def enum_openness(dice: random.Random, side: Side) -> str:
    if (
        side.types.syntax == "proto3"
        or side.enums.enum_type[0].value[0].number
        or side.enums.enum_type[1].value[0].number
    ):
        return "nothing"
    side.enums.syntax = "proto3" if side.enums.syntax == "proto2" else "proto2"
    return f"enums {side.enums.syntax}"


def enum_reorder(dice: random.Random, side: Side) -> str:
    """Another first value, which is the default of a closed enum."""
    enum = _enum(dice, side)
    if side.enums.syntax == "proto3":
        return "nothing"
    values = list(enum.value)
    dice.shuffle(values)
    copies = [descriptor_pb2.EnumValueDescriptorProto.FromString(one.SerializeToString()) for one in values]
    del enum.value[:]
    enum.value.extend(copies)
    return f"enum {enum.name} starts with {enum.value[0].name}"


def rename_type(dice: random.Random, side: Side) -> str:
    message = _message(dice, side)
    old, new = f".p.{message.name}", f".p.{message.name}New"
    message.name += "New"
    for other in side.types.message_type:
        for one in [*other.field, *(inner for nested in other.nested_type for inner in nested.field)]:
            if one.type_name == old or one.type_name.startswith(f"{old}."):
                one.type_name = new + one.type_name.removeprefix(old)
    for extended in side.types.extension:
        if extended.extendee == old:
            extended.extendee = new
    method = side.types.service[0].method[0]
    if method.input_type == old:
        method.input_type = method.output_type = new
    return f"rename type {old}"


def retarget(dice: random.Random, side: Side) -> str:
    message = _message(dice, side)
    one = _field(dice, message)
    names = [f".p.{other.name}" for other in side.types.message_type]
    if one.type != Proto.TYPE_MESSAGE or one.type_name not in names:
        return "nothing"
    one.type_name = dice.choice(names)
    return f"retarget {message.name}.{one.name} {one.type_name}"


def extension(dice: random.Random, side: Side) -> str:
    if not side.types.extension:
        return "nothing"
    one = dice.choice(side.types.extension)
    what = dice.choice(["number", "name", "type"])
    if what == "number":
        one.number += 1
    elif what == "name":
        one.name += "n"
    else:
        one.type = Proto.TYPE_STRING
    return f"extension {one.name} {what}"


MUTATIONS: list[Mutation] = [
    *(renumber, swap, swap, add, add, remove, replace, rename, retype, relabel, presence, default, oneof, oneof),
    *(enum_swap, enum_renumber, enum_add, enum_remove, enum_replace, enum_alias, enum_openness, enum_reorder),
    *(rename_type, retarget, extension),
]


def pair(seed: int) -> tuple[random.Random, MethodDescriptor, MethodDescriptor]:
    """Two random schemas of which the second is the first after something happened to it."""
    while True:
        dice = random.Random(seed)
        base = schema(dice)
        twin, _ = drifted(dice, base)
        try:
            return dice, finished(base).method(), finished(twin).method()
        except TypeError:  # what happened made no valid schema
            seed += 1_000_003
