"""What happens to schemas in the course of time, one thing at a time or several, and the family that comes of it."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator

from drifted import KEYS, LOOKALIKES, SCALARS, WELL_KNOWN, Call, Choice, Field, Record, World, base


class Drift:
    """Changes to a world, each at a random place. A method returns what it did, or "" if it found nothing to do."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng

    def happen(self, name: str) -> bool:
        """Let one thing happen, and write it into the world's story. Whether it could."""
        for _ in range(400):
            if told := getattr(self, name)():
                self.world.story.append(f"{name}: {told}")
                return True
        return False

    # fields

    def renumber(self) -> str:
        record, one = self._field()
        one.number = self._free_number(record)
        return f"{record.name}.{one.name} = {one.number}"

    def swap(self) -> str:
        record, one, other = self._pair()
        one.number, other.number = other.number, one.number
        return f"{record.name}.{one.name} and {other.name}"

    def shuffle(self) -> str:
        record = self._record()
        numbers = [one.number for one in record.fields.values()]
        self.rng.shuffle(numbers)
        for one, number in zip(record.fields.values(), numbers, strict=True):
            one.number = number
        return record.name

    def add_field(self) -> str:
        record = self._record()
        return self._add(record, self._free_number(record, far=False))

    def remove_field(self) -> str:
        record, one = self._field()
        del record.fields[one.name]
        return f"{record.name}.{one.name}"

    def reuse_number(self) -> str:
        record, one = self._field()
        del record.fields[one.name]
        alike = self.rng.choice(LOOKALIKES[one.kind]) if one.kind in LOOKALIKES else one.kind
        made = Field(self._new_name(), one.number, alike, one.of, one.label, one.key, one.oneof)
        record.fields[made.name] = made
        return f"{record.name}.{one.name} → {made.name}"

    def take_number(self) -> str:
        """A field moves on, and a new one of another kind takes its number."""
        record, one = self._field()
        number, one.number = one.number, self._free_number(record)
        return f"{record.name}.{one.name} = {one.number}, {self._add(record, number)}"

    def trade_names(self) -> str:
        """Two fields swap their names; numbers and all else stay."""
        record, one, other = self._pair()
        one.name, other.name = other.name, one.name
        record.fields = {field.name: field for field in record.fields.values()}
        return f"{record.name}.{one.name} and {other.name}"

    def change_type(self) -> str:
        record, one = self._field()
        if one.kind not in LOOKALIKES:
            return ""
        kind = self.rng.choice(LOOKALIKES[one.kind] if self.rng.random() < 0.7 else SCALARS)
        if kind == one.kind:
            return ""
        one.kind = kind
        return f"{record.name}.{one.name} to {kind}"

    def change_kind(self) -> str:
        """Between scalar, wrapper, enum and message."""
        record, one = self._field()
        before = one.kind, one.of
        wrapper = {"string": "String", "bytes": "String", "int64": "Int64", "bool": "Bool", "double": "Double"}
        if one.of in WELL_KNOWN and one.of.endswith("Value"):
            one.kind, one.of = one.of.removeprefix("google.protobuf.").removesuffix("Value").lower(), ""
        elif one.kind in wrapper:
            one.kind, one.of = "message", f"google.protobuf.{wrapper[one.kind]}Value"
        elif one.kind == "enum":
            one.kind, one.of = "int32", ""
        elif one.kind == "int32":
            one.kind, one.of = "enum", "Status"
        else:
            one.kind, one.of = self.rng.choice([("bytes", ""), ("string", ""), ("message", self._unlike(one.of))])
        if one.kind == "message" and one.label == "optional":
            one.label = "one"
        return f"{record.name}.{one.name} from {before} to {one.kind} {one.of}" if before != (one.kind, one.of) else ""

    def change_label(self) -> str:
        record, one = self._field()
        labels = ["one", "many"] + (["optional"] if one.kind != "message" else [])
        if one.label == "map" or one.oneof:
            return ""
        before, one.label = one.label, self.rng.choice(labels)
        return f"{record.name}.{one.name} from {before} to {one.label}" if before != one.label else ""

    def change_key(self) -> str:
        record, one = self._field()
        if one.label != "map":
            return ""
        before, one.key = one.key, self.rng.choice(KEYS)
        return f"{record.name}.{one.name} from {before} to {one.key}" if before != one.key else ""

    def unmap(self) -> str:
        """A map becomes a plain list of its values, or a list a map."""
        record, one = self._field()
        if one.label not in ("map", "many"):
            return ""
        one.label, one.key = ("many", "") if one.label == "map" else ("map", self.rng.choice(KEYS))
        return f"{record.name}.{one.name} is {one.label}"

    def into_oneof(self) -> str:
        record, one, other = self._pair()
        if {one.label, other.label} - {"one", "optional"} or one.oneof or other.oneof:
            return ""
        one.label = other.label = "one"
        one.oneof = other.oneof = self._new_name()
        return f"{record.name}.{one.name} and {other.name}"

    def out_of_oneof(self) -> str:
        record, one = self._field()
        if not one.oneof:
            return ""
        one.oneof = ""
        one.label = self.rng.choice(["one", "optional"]) if one.kind != "message" else "one"
        return f"{record.name}.{one.name}"

    # enums

    def renumber_value(self) -> str:
        choice, name = self._value()
        choice.values[name] = self._free_value(choice)
        self._need_zero(choice)
        return f"{name} = {choice.values[name]}"

    def swap_values(self) -> str:
        choice, name = self._value()
        other = self.rng.choice([one for one in choice.values if one != name])
        values = choice.values
        values[name], values[other] = values[other], values[name]
        return f"{name} and {other}"

    def add_value(self) -> str:
        choice, _ = self._value()
        name = self._new_name().upper()
        choice.values[name] = self._free_value(choice)
        return f"{choice.name}.{name} = {choice.values[name]}"

    def remove_value(self) -> str:
        choice, name = self._value()
        if len(choice.values) < 3:
            return ""
        del choice.values[name]
        self._need_zero(choice)
        return name

    def replace_value(self) -> str:
        choice, name = self._value()
        new = self._new_name().upper()
        choice.values[new] = choice.values.pop(name)
        return f"{name} → {new}"

    # types, services, files

    def rename_type(self) -> str:
        identity = self.rng.choice([name for name in self.world.records if not name.endswith(("Request", "Response"))])
        self.world.records[identity].name += "V2"
        return identity

    def nest_type(self) -> str:
        identity = self.rng.choice(["Money", "Tier", "Node", "Scalars"])
        record = self.world.records[identity]
        if record.inside:
            return ""
        record.inside = "Plan"
        self.world.separate = ()
        return identity

    def rename_service(self) -> str:
        service = self.rng.choice(["PlanService", "FeatureService"])
        return self._rename(service, service.replace("Service", "sService"))

    def rename_call(self) -> str:
        call = self.world.calls.get("Toggle")
        if call is None:
            return ""
        call.name = "ToggleFeature"
        return "Toggle"

    def move_call(self) -> str:
        call, other = (self.world.calls.get(name) for name in ("CreateFeature", "Watch"))
        if call is None or other is None or call.service == other.service:
            return ""
        call.service = other.service
        return "CreateFeature"

    def remove_call(self) -> str:
        name = self.rng.choice(list(self.world.calls))
        call = self.world.calls.pop(name)
        decoy = replace_name(call, f"{name}All")
        self.world.calls[decoy.name] = decoy
        return name

    def add_call(self) -> str:
        call = self.rng.choice(list(self.world.calls.values()))
        decoy = replace_name(call, self._new_name().capitalize())
        self.world.calls[decoy.name] = decoy
        return decoy.name

    def change_streaming(self) -> str:
        call = self.rng.choice(list(self.world.calls.values()))
        call.streaming = self.rng.choice([kind for kind in ("", "server", "client", "bidi") if kind != call.streaming])
        return f"{call.name} to {call.streaming or 'unary'}"

    def lay_out(self) -> str:
        if not self.world.separate or self.world.unserved:
            return ""
        self.world.separate = ()
        return "one file"

    def dress(self) -> str:
        self.world.dressed = True
        return "json names, options, packing"

    def unserve(self) -> str:
        if not self.world.separate:
            return ""
        self.world.unserved = True
        return "common.proto"

    # where

    def _record(self) -> Record:
        return self.rng.choice(list(self.world.records.values()))

    def _field(self) -> tuple[Record, Field]:
        record = self.rng.choice([record for record in self.world.records.values() if record.fields])
        return record, self.rng.choice(list(record.fields.values()))

    def _pair(self) -> tuple[Record, Field, Field]:
        """Two fields of one type."""
        while True:
            record, one = self._field()
            others = [other for other in record.fields.values() if other.type == one.type and other.label == one.label]
            if len(others) > 1:
                return record, one, self.rng.choice([other for other in others if other is not one])

    def _add(self, record: Record, number: int) -> str:
        kind, of = self.rng.choice([*((kind, "") for kind in SCALARS), ("enum", "Status"), ("message", "Money")])
        label = self.rng.choice(["one", "many", "map"] if kind == "message" else ["one", "optional", "many", "map"])
        made = Field(self._new_name(), number, kind, of, label, self.rng.choice(KEYS) if label == "map" else "")
        record.fields[made.name] = made
        return f"{record.name}.{made.name} = {number}"

    def _new_name(self) -> str:
        return "new_" + "".join(self.rng.choices("bcdfghjklmnpqrstvwxz", k=6))

    def _free_number(self, record: Record, *, far: bool = True) -> int:
        """A number that nobody uses: near, or, with `far`, as far up as there are numbers, or 2**28 above another's."""
        taken = {one.number for one in record.fields.values()}
        near = self.rng.randint(1, 90)
        numbers = [near, near, near, 2**28 + near, 2**28 + min(taken, default=1), 2**29 - 1 - near] if far else [near]
        return next(
            (one for one in self.rng.sample(numbers, len(numbers)) if one not in taken), max(taken, default=0) + 1
        )

    def _unlike(self, identity: str) -> str:
        return self.rng.choice([one for one in ("Money", "Node", "Tier", "Choices") if one != identity])

    def _value(self) -> tuple[Choice, str]:
        choice = self.rng.choice(list(self.world.choices.values()))
        return choice, self.rng.choice(list(choice.values))

    def _free_value(self, choice: Choice) -> int:
        return next(
            number for number in iter(lambda: self.rng.randint(-3, 40), None) if number not in choice.values.values()
        )

    def _need_zero(self, choice: Choice) -> None:
        """An open enum has a value 0."""
        if 0 not in choice.values.values():
            choice.values[self._new_name().upper()] = 0

    def _rename(self, service: str, new: str) -> str:
        for call in self.world.calls.values():
            if call.service == service:
                call.service = new
        return f"{service} → {new}"


def replace_name(call: Call, name: str) -> Call:
    return Call(call.service, name, call.request, call.response, call.streaming)


MUTATIONS = tuple(
    name for name, member in vars(Drift).items() if not name.startswith("_") and name != "happen" and callable(member)
)


def family(count: int) -> Iterator[tuple[World, World]]:
    """So many pairs: what the client was built with, and what is served. The same ones every time.

    First every change alone, in both directions, again and again at other places; in every third pair, two to four
    changes at once.
    """
    for number in range(count):
        rng = random.Random(f"drift {number}")
        before = base(f"drift.s{number:04}.v1")
        for _ in range(rng.randint(0, 3)):
            Drift(before, rng).shuffle()
        after = pickle.loads(pickle.dumps(before))  # ten times as fast as copying it part by part
        drift = Drift(after, rng)
        names = [MUTATIONS[number % len(MUTATIONS)]]
        if number % 3 == 2:
            names += rng.choices(MUTATIONS, k=rng.randint(1, 3))
        assert drift.happen(names[0]), names
        for name in names[1:]:
            drift.happen(name)
        backwards = (number // len(MUTATIONS)) % 3 == 2 and not after.unserved
        yield (after, before) if backwards else (before, after)
