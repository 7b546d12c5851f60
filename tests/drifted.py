"""A model of a schema, and the base of the family of drifted ones; what happens to it is in `drifting`.

The model knows types by what they were called in the base (their identity), so that a rename stays visible to a test
whatever the descriptors say. Descriptors are made from it, and so is the oracle of `drifted_truth`; nothing here looks
at `invora_grpc.schema`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

SCALARS = (
    *("double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64"),
    *("fixed32", "fixed64", "sfixed32", "sfixed64", "bool", "string", "bytes"),
)
KEYS = ("int32", "int64", "uint32", "sint64", "fixed32", "sfixed64", "bool", "string")
LOOKALIKES = {
    **dict.fromkeys(
        ("int32", "int64", "uint32", "uint64", "sint32", "sint64", "bool"), ("int64", "sint64", "bool", "uint32")
    ),
    **dict.fromkeys(("fixed32", "sfixed32", "float"), ("fixed32", "sfixed32", "float")),
    **dict.fromkeys(("fixed64", "sfixed64", "double"), ("fixed64", "sfixed64", "double")),
    **dict.fromkeys(("string", "bytes"), ("string", "bytes")),
}
"""Scalars that look alike on the wire: each kind → what it can be mistaken for."""
WELL_KNOWN = {
    **{
        f"google.protobuf.{kind}Value": "google/protobuf/wrappers.proto"
        for kind in ("String", "Int64", "Bool", "Double")
    },
    "google.protobuf.Timestamp": "google/protobuf/timestamp.proto",
    "google.protobuf.Duration": "google/protobuf/duration.proto",
}
SEPARATE = ("Money", "Status")
"""Types that live in a file of their own."""


@dataclass
class Field:
    name: str
    number: int
    kind: str
    """A scalar, "enum" or "message"."""
    of: str = ""
    """The identity of the enum or message."""
    label: str = "one"
    """one, optional, many or map."""
    key: str = ""
    """The kind of a map's keys."""
    oneof: str = ""

    @property
    def type(self) -> tuple[str, str, str]:
        """What has to be equal on both sides."""
        return (self.kind, self.of, self.key)

    @property
    def implicit(self) -> bool:
        """Whether its default value is the same as its absence."""
        return self.label == "one" and self.kind != "message" and not self.oneof


@dataclass
class Record:
    """A message type."""

    name: str
    fields: dict[str, Field]
    inside: str = ""
    """The identity of the message that it is nested in."""


@dataclass
class Choice:
    """An enum."""

    name: str
    values: dict[str, int]
    inside: str = ""


@dataclass
class Call:
    """An RPC."""

    service: str
    name: str
    request: str
    response: str
    streaming: str = ""


@dataclass
class World:
    """One side's schema."""

    package: str
    records: dict[str, Record]
    choices: dict[str, Choice]
    calls: dict[str, Call]
    separate: tuple[str, ...] = SEPARATE
    unserved: bool = False
    """Whether the file of the separate types is missing in the server's reflection."""
    dressed: bool = False
    """Whether everything is written that must not matter."""
    story: list[str] = field(default_factory=list)
    """What has happened to it."""

    def full_name(self, identity: str) -> str:
        """The name of a type in descriptors."""
        if identity in WELL_KNOWN:
            return identity
        found = self.records.get(identity) or self.choices[identity]
        return f"{self.full_name(found.inside) if found.inside else self.package}.{found.name}"

    def path(self, call: Call) -> str:
        return f"/{self.package}.{call.service}/{call.name}"

    def closure(self, identity: str) -> set[str]:
        """The identities of all types that a message is made of."""
        found: set[str] = set()
        waiting = [identity]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += (
                    [one.of for one in self.records[name].fields.values() if one.of] if name in self.records else []
                )
        return found

    # --- descriptors --------------------------------------------------------------------------------------------

    @property
    def common(self) -> str:
        """The name of the file for the separate types."""
        return f"{self.package.replace('.', '/')}/common.proto"

    @property
    def apart(self) -> tuple[str, ...]:
        """The types of the separate file: none if they need types of the other one."""
        needed = set().union(*(self.closure(name) for name in self.separate))
        return self.separate if needed <= {*self.separate, *WELL_KNOWN} else ()

    @property
    def unknown(self) -> tuple[str, ...]:
        """The types that reflection does not find."""
        return self.apart if self.unserved else ()

    def files(self) -> list[FileDescriptorProto]:
        """The files, dependencies first, without protobuf's own."""
        folder = self.package.replace(".", "/")
        common = FileDescriptorProto(name=self.common, package=self.package, syntax="proto3")
        main = FileDescriptorProto(name=f"{folder}/service.proto", package=self.package, syntax="proto3")
        apart = self.apart
        for identity, record in self.records.items():
            if not record.inside:
                self._fill((common if identity in apart else main).message_type.add(), identity)
        for identity, choice in self.choices.items():
            if not choice.inside:
                self._fill_enum((common if identity in apart else main).enum_type.add(), choice)
        for service in dict.fromkeys(call.service for call in self.calls.values()):
            found = main.service.add(name=service)
            for call in self.calls.values():
                if call.service == service:
                    made = found.method.add(name=call.name)
                    made.input_type, made.output_type = (
                        f".{self.full_name(one)}" for one in (call.request, call.response)
                    )
                    made.client_streaming = call.streaming in ("client", "bidi")
                    made.server_streaming = call.streaming in ("server", "bidi")
        for file in (common, main):
            file.dependency.extend(sorted(set(WELL_KNOWN.values())))
        if apart:
            main.dependency.append(common.name)
        return [common, main] if apart else [main]

    def _fill(self, made: DescriptorProto, identity: str) -> None:
        record = self.records[identity]
        made.name = record.name
        for one in record.fields.values():
            self._fill_field(made, one, identity)
        oneofs = list(dict.fromkeys(one.oneof for one in record.fields.values() if one.oneof))
        for name in oneofs:
            made.oneof_decl.add(name=name)
        for one in made.field:
            if oneof := record.fields[one.name].oneof:
                one.oneof_index = oneofs.index(oneof)
            elif one.proto3_optional:
                one.oneof_index = len(made.oneof_decl)
                made.oneof_decl.add(name=f"_{one.name}")
        for inner, nested in self.records.items():
            if nested.inside == identity:
                self._fill(made.nested_type.add(), inner)
        for choice in self.choices.values():
            if choice.inside == identity:
                self._fill_enum(made.enum_type.add(), choice)
        if self.dressed:
            made.reserved_name.append("formerly")
            made.options.deprecated = True

    def _fill_field(self, made: DescriptorProto, one: Field, identity: str) -> None:
        found = made.field.add(name=one.name, number=one.number)
        found.label = found.LABEL_REPEATED if one.label in ("many", "map") else found.LABEL_OPTIONAL
        found.proto3_optional = one.label == "optional"
        if one.label == "map":
            entry = made.nested_type.add(name="".join(word.capitalize() for word in one.name.split("_")) + "Entry")
            entry.options.map_entry = True
            key, value = (
                entry.field.add(name=name, number=number, label=1) for name, number in (("key", 1), ("value", 2))
            )
            key.type = _type(one.key)
            self._fill_type(value, one)
            found.type, found.type_name = found.TYPE_MESSAGE, f".{self.full_name(identity)}.{entry.name}"
        else:
            self._fill_type(found, one)
        if self.dressed:
            found.json_name = f"{one.name}Dressed"
            found.options.deprecated = True
            if one.label == "many" and one.kind not in ("string", "bytes", "message"):
                found.options.packed = False

    def _fill_type(self, made: FieldDescriptorProto, one: Field) -> None:
        made.type = _type(one.kind)
        if one.of:
            made.type_name = f".{self.full_name(one.of)}"

    def _fill_enum(self, made: EnumDescriptorProto, choice: Choice) -> None:
        made.name = choice.name
        for name, number in sorted(choice.values.items(), key=lambda value: value[1] != 0):
            made.value.add(name=name, number=number)


@cache
def _type(kind: str) -> int:
    return int(FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}"))


# --- the base -----------------------------------------------------------------------------------------------------


def record(name: str, *fields: str, inside: str = "") -> Record:
    """A message of lines as in a .proto file, numbered as they come: `many Line lines`, `string name choice`."""
    made = {}
    for number, line in enumerate(fields, 1):
        words = line.split()
        label = words.pop(0) if words[0] in ("optional", "many", "map") else "one"
        key = words.pop(0) if label == "map" else ""
        kind, name_of, oneof = words[0], words[1], words[2] if len(words) > 2 else ""
        of = "" if kind in SCALARS else kind
        if of:
            kind = "enum" if of in ("Status", "Unit") else "message"
        made[name_of] = Field(name_of, number, kind, of, label, key, oneof)
    return Record(name, made, inside)


def base(package: str) -> World:
    """The schema of which each of the family is a variation: every kind of field, and pairs that are easily swapped."""
    google = "google.protobuf"
    records = [
        record("Money", "int64 units", "int32 nanos", "optional string currency"),
        record(
            "Plan",
            *("string name", "optional string title", "Money amount", "Money balance", "int64 net", "int64 gross"),
            *("Status status", "many Line lines", "map string string tags", "map string Money prices"),
            *("map int32 int64 counts", "int64 flat pricing", "double percent pricing", "Tier tiered pricing"),
            *(f"{google}.StringValue note", f"{google}.Int64Value limit", f"{google}.Timestamp begins"),
            *(f"{google}.Timestamp ends", f"{google}.Duration grace", "Node root", "Scalars scalars"),
            *("many Status history", "map string Status by_status", "many int32 numbers", "many string labels"),
            *("optional int32 floor", "optional int32 ceiling", "string remark", "bytes seal", "many Money steps"),
        ),
        record(
            "Line", "string sku", "Money price", "Money cost", "int32 count", "int32 size", "Unit unit", "Tier tier"
        ),
        record("Tier", "int64 start", "int64 end", "double rate", "many Line lines", "many double rates"),
        record("Node", "string name", "string label", "Node next", "many Node children", "int64 weight", "int64 depth"),
        record(
            "Scalars", *(f"{kind} a_{kind}" for kind in SCALARS), *(f"optional {kind} b_{kind}" for kind in SCALARS)
        ),
        record("ExchangeRequest", "Plan plan", "bool dry", "many Plan others"),
        record("ExchangeResponse", "Plan plan", "int64 version", "map int64 Plan earlier"),
        record("Feature", "string name", "Money price", "Status status", "Status before", "Choices choices"),
        record("Choices", "string text pick", "Money money pick", "Status status pick", "string other", "int32 weight"),
        record("FeatureRequest", "Feature feature", "optional bool force"),
        record("FeatureResponse", "Feature feature", f"{google}.BoolValue fresh"),
    ]
    calls = [
        Call("PlanService", "Exchange", "ExchangeRequest", "ExchangeResponse"),
        Call("PlanService", "Watch", "ExchangeRequest", "ExchangeResponse", "server"),
        Call("PlanService", "Gather", "FeatureRequest", "ExchangeResponse", "client"),
        Call("PlanService", "Sync", "FeatureRequest", "FeatureResponse", "bidi"),
        Call("FeatureService", "CreateFeature", "FeatureRequest", "FeatureResponse"),
        Call("FeatureService", "Toggle", "Feature", "FeatureResponse"),
    ]
    status = {f"STATUS_{name}": number for number, name in enumerate(("UNKNOWN", "DRAFT", "OPEN", "PAID", "VOID"))}
    unit = {"NONE": 0, "PIECE": 1, "BOX": 2, "NEGATIVE": -1, "LARGE": 2**31 - 1}
    return World(
        package,
        {record.name: record for record in records},
        {"Status": Choice("Status", status), "Unit": Choice("Unit", unit, inside="Line")},
        {call.name: call for call in calls},
    )
