"""Kinds of change: what each is called, whom it breaks, what the reviewer is told and can do about it.

Plain data, and the words for it. Nothing here looks at a descriptor; `changes_types` and `changes_calls` do.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from invora_grpc.errors import one_line

__all__ = ["KINDS", "Breaks", "Change", "Kind"]


class Breaks(enum.Enum):
    """Who breaks, the worst first."""

    WIRE = "wire"
    """Peers that speak the other version in protobuf: bytes mean something else, or a call is not answered."""
    JSON = "json"
    """Peers that write or read messages as JSON."""
    REST = "rest"
    """Callers of the HTTP paths."""
    RIGHTS = "rights"
    """Callers whose rights were enough."""
    SOURCE = "source"
    """Code that uses what is generated."""

    def __str__(self) -> str:
        return self.value


WIRE, JSON, REST, RIGHTS, SOURCE = Breaks
_ALL: Final = (WIRE, JSON, SOURCE)


class Kind(NamedTuple):
    """What is known of all changes of a kind."""

    breaks: tuple[Breaks, ...]
    """Who breaks, unless the change itself says otherwise."""
    text: str
    """What is said of the symbol."""
    advice: str = ""
    """What to do about it; "" where there is nothing to do."""


_KEEP_NAMES: Final = "Keep the old name, or give all users of it time: publish both, and mark the old one deprecated."
_NUMBERS: Final = (
    "Give the field its old number back. If that is too late, deploy both sides together, or let clients adapt by "
    "name; reserve the old number."
)
_REMOVED: Final = (
    "Reserve the number and the name, so that neither is given to something else; first mark it deprecated and see "
    "that nobody uses it."
)
_NEW_FIELD: Final = "Add a new field with the new type under a new number, and mark the old one deprecated."

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        # files and packages
        "file-added": Kind((), "is a new file"),
        "file-removed": Kind(
            (SOURCE,), "is gone, and so are its generated modules", "Change the imports that name it."
        ),
        "file-moved": Kind(
            (SOURCE,), "is {after} now, and its generated modules with it", "Change the imports that name it."
        ),
        "package-changed": Kind(
            (WIRE, SOURCE),
            "was of package {before} and is of {after}: all in it has another full name, and every RPC another path",
            "Serve both packages until nobody calls the old one.",
        ),
        "syntax-changed": Kind(
            (SOURCE,), "was {before} and is {after}", "Look at presence and defaults in the generated code."
        ),
        "public-import-removed": Kind(
            (SOURCE,), "no longer passes on what {before} defines", "Import that file where its types are used."
        ),
        "import-added": Kind((), "imports {after} now"),
        "import-removed": Kind((), "no longer imports {before}"),
        "module-changed": Kind(
            (SOURCE,),
            "was of module {before} and is of {after}",
            "Change the clients' paths, see what is said of the services.",
        ),
        "layout-changed": Kind((), "says the same in another order or form"),
        # services and RPCs
        "service-added": Kind((), "is new"),
        "service-removed": Kind(
            (WIRE, REST, SOURCE),
            "is gone with its {before} RPCs",
            "Calls will answer UNIMPLEMENTED: move the callers first.",
        ),
        "service-renamed": Kind(
            (WIRE, SOURCE),
            "is called {after} now: every RPC has another path",
            "Serve both names until nobody calls the old one.",
        ),
        "service-moved": Kind((SOURCE,), "was in {before} and is in {after}", "Change the imports that name the file."),
        "client-path-changed": Kind(
            (SOURCE,), "was {before} on the client and is {after}", "Change the calls. Nothing changes on the wire."
        ),
        "rpc-added": Kind((), "is new"),
        "rpc-removed": Kind(
            (WIRE, REST, SOURCE),
            "is gone",
            "Calls will answer UNIMPLEMENTED: mark it deprecated, and move the callers first.",
        ),
        "rpc-renamed": Kind(
            (WIRE, SOURCE), "is called {after} now", "Serve both names until nobody calls the old one."
        ),
        "rpc-moved": Kind((WIRE, SOURCE), "is {after} now", "Serve it in both places until nobody calls the old one."),
        "request-type-changed": Kind(
            _ALL, "took {before} and takes {after}", "Keep the message and change its fields, or add an RPC."
        ),
        "response-type-changed": Kind(
            _ALL, "gave {before} and gives {after}", "Keep the message and change its fields, or add an RPC."
        ),
        "streaming-changed": Kind(
            (WIRE, REST, SOURCE), "was {before} and is {after}", "Add a second RPC for the other kind of call."
        ),
        "idempotency-changed": Kind(
            (WIRE,),
            "was {before} and is {after}",
            "See whether clients or proxies repeat or cache calls because of it.",
        ),
        "scope-changed": Kind(
            (RIGHTS,),
            "needed {before} as its scope and needs {after}",
            "Grant the new scope to all roles that call it before this is deployed; see that nobody gets rights that "
            "were not meant.",
        ),
        "http-rule-added": Kind((), "can be called over HTTP now: {after}"),
        "http-rule-changed": Kind(
            (REST,), "was {before} over HTTP and is {after}", "Keep the old path as an additional binding."
        ),
        "http-rule-removed": Kind(
            (REST,), "was {before} over HTTP and has no path any more", "Keep the path until nobody calls it."
        ),
        "origin-changed": Kind(
            (),
            "was {before} and is {after}: how sure its names and numbers are",
            "See which calls clients will refuse or allow now.",
        ),
        # messages
        "message-added": Kind((), "is new"),
        "message-removed": Kind((SOURCE,), "is gone", "Change the code that makes or reads it."),
        "message-renamed": Kind(
            (SOURCE,),
            "is called {after} now; it travels as before, except inside of a google.protobuf.Any",
            _KEEP_NAMES,
        ),
        "message-moved": Kind((SOURCE,), "was in {before} and is in {after}", "Change the imports that name the file."),
        "reserved-added": Kind((), "reserves {after} now"),
        "reserved-removed": Kind(
            (WIRE, JSON),
            "no longer reserves {before}",
            "Reserve it again: something else may take it, and old peers would misread that.",
        ),
        "extension-range-added": Kind((), "can be extended at {after} now"),
        "extension-range-removed": Kind((WIRE, SOURCE), "can no longer be extended at {before}", "Keep the range."),
        "message-set-changed": Kind(
            (WIRE, SOURCE), "was a {before} on the wire and is a {after}", "Keep it as it was."
        ),
        "json-format-changed": Kind((JSON,), "was {before} as JSON and is {after}", "See whether it is sent as JSON."),
        # fields
        "field-added": Kind((), "is new: {after}"),
        "required-field-added": Kind(
            _ALL, "is new and required: {after}", "Make it optional: old peers do not send it."
        ),
        "field-removed": Kind(_ALL, "is gone; it was {before}", _REMOVED),
        "field-renamed": Kind(
            (JSON, SOURCE),
            "is called {after} now, with the same number and type",
            "See that its meaning is still the same: if not, old peers misread it: give it a new number. Else keep "
            "the old JSON name by json_name, and change the code.",
        ),
        "field-renumbered": Kind((WIRE,), "had number {before} and has {after}", _NUMBERS),
        "number-reused": Kind(
            (WIRE,), "is new and has the number of {before}: {after}", "Give it a number that nothing has had."
        ),
        "type-changed": Kind(_ALL, "was {before} and is {after}", _NEW_FIELD),
        "cardinality-changed": Kind(_ALL, "was {before} and is {after}", _NEW_FIELD),
        "required-changed": Kind(
            _ALL,
            "was {before} and is {after}",
            "One side refuses messages that the other one writes: leave it as it was.",
        ),
        "presence-changed": Kind(
            (SOURCE,),
            "was {before} and is {after}",
            "See whether anybody tells zero from unset: only with presence is there HasField, and is a zero sent.",
        ),
        "encoding-changed": Kind((WIRE,), "was {before} on the wire and is {after}", "Keep it as it was."),
        "packing-changed": Kind((), "was {before} and is {after}; every reader takes both"),
        "default-changed": Kind(
            _ALL,
            "had the default {before} and has {after}",
            "Set the value where it matters: each side reads its own default.",
        ),
        "json-name-changed": Kind((JSON,), "was {before} in JSON and is {after}", "Keep the old name by json_name."),
        "utf8-changed": Kind(
            (WIRE, SOURCE),
            "was {before} and is {after}",
            "See whether anything but UTF-8 is in it: one side would refuse it.",
        ),
        "extension-moved": Kind((WIRE, SOURCE), "extended {before} and extends {after}", "Define a second extension."),
        # oneofs
        "oneof-added": Kind((), "is new, of {after}"),
        "oneof-removed": Kind((SOURCE,), "is gone; it was of {before}", "Change the code that asks which one is set."),
        "oneof-renamed": Kind((SOURCE,), "is called {after} now", "Change the code that asks which one is set."),
        "oneof-joined": Kind(
            (WIRE, SOURCE),
            "was in no oneof and is in {after}",
            "Setting it clears the others now. If an old peer sets two of them, one is lost: then use a new field.",
        ),
        "oneof-left": Kind(
            (WIRE, SOURCE),
            "was in the oneof {before} and is in {after}",
            "Old peers keep the last one only if both are set: set one of them.",
        ),
        # enums
        "enum-added": Kind((), "is new"),
        "enum-removed": Kind((SOURCE,), "is gone", "Change the code that uses it."),
        "enum-renamed": Kind((SOURCE,), "is called {after} now", _KEEP_NAMES),
        "enum-moved": Kind((SOURCE,), "was in {before} and is in {after}", "Change the imports that name the file."),
        "enum-openness-changed": Kind(
            (WIRE, SOURCE), "was {before} and is {after}", "See what happens to numbers that one side does not know."
        ),
        "enum-default-changed": Kind(
            _ALL,
            "began with {before} and begins with {after}: that is what unset fields read as",
            "Keep the first value first.",
        ),
        "enum-value-added": Kind((), "is new: {after}"),
        "closed-enum-value-added": Kind(
            (WIRE,),
            "is new: {after}; old readers of a closed enum take it for unset, and miss it in lists",
            "Send it only when all readers know it.",
        ),
        "enum-value-removed": Kind(_ALL, "is gone; it was {before}", _REMOVED),
        "enum-value-renamed": Kind(
            (JSON, SOURCE),
            "is called {after} now, with the same number",
            "Keep the old name as an alias (allow_alias), in front of the new one, until nobody uses it.",
        ),
        "enum-alias-preferred": Kind(
            (JSON,),
            "has {after} before it, a new name of its number: this is what is written in JSON now, and old readers do "
            "not know it",
            "Put the new name behind the old one until nobody reads with the old version.",
        ),
        "enum-value-renumbered": Kind(
            (WIRE,),
            "had number {before} and has {after}",
            "Give it its old number back, or a new name with the new number.",
        ),
        "enum-number-reused": Kind(
            (WIRE,), "is new and has the number of {before}: {after}", "Give it a number that nothing has had."
        ),
        # extensions
        "extension-added": Kind((), "is new: {after}"),
        "extension-removed": Kind(
            _ALL, "is gone; it was {before}", "See who sets it: what is sent becomes an unknown field."
        ),
        "extension-renamed": Kind((JSON, SOURCE), "is called {after} now", _KEEP_NAMES),
        # everything
        "deprecated": Kind((), "is deprecated now"),
        "undeprecated": Kind((), "is no longer deprecated"),
        "comment-changed": Kind((), "has another comment"),
        "option-changed": Kind((), "had the option {before} and has {after}"),
        "buf-flagged": Kind((SOURCE,), "{after}", "Read what buf says about the rule: buf config ls-breaking-rules."),
    }
)
"""What happened → what is known about it. The names are part of the interface: approvals and programs rely on them."""

_HASHED: Final = 8
_NOTHING: Final = "nothing"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as it was."""

    kind: str
    """One of KINDS."""
    symbol: str
    """Full name of what changed, as it was called before, or of what is new: a file, service, "Service/Rpc", type,
    field, value or oneof."""
    before: str = ""
    after: str = ""
    breaks: tuple[Breaks, ...] = ()
    """Who breaks, the worst first; nobody if it is empty."""
    file: str = ""
    """Path of the proto file, of the later version if it is there."""
    module: str = ""
    """The module that the file is of, e.g. "billing"."""
    service: str = ""
    """Full name of the service that it is in."""
    rpc: str = ""
    """Its name in the service."""
    type: str = ""
    """Full name of the message or enum that it is in."""
    member: str = ""
    """The field, value or oneof in the type."""
    rpcs: tuple[str, ...] = ()
    """ "package.Service/Method" of the RPCs in which the type can travel."""
    rules: tuple[str, ...] = ()
    """The rules of buf that it breaks."""

    @property
    def id(self) -> str:
        """What approves it: the same in every run for the same change of the same thing, and for no other one."""
        content = "\0".join((self.kind, self.symbol, self.before, self.after))
        digest = hashlib.sha256(content.encode("utf-8", "backslashreplace")).hexdigest()
        return f"{self.kind}:{one_line(self.symbol, 300).replace(' ', '_')}:{digest[:_HASHED]}"

    @property
    def breaking(self) -> bool:
        """Whether anybody breaks."""
        return bool(self.breaks)

    @property
    def text(self) -> str:
        """A sentence without its subject, in one line that is safe to print."""
        return self.told(str)

    def told(self, quoted: Callable[[str], str]) -> str:
        """The same with what was, and what is, in quotes of some kind."""
        values = [quoted(one_line(value, 300)) if value else _NOTHING for value in (self.before, self.after)]
        return KINDS[self.kind].text.format(before=values[0], after=values[1])

    @property
    def advice(self) -> str:
        """What to do about it, "" if nothing."""
        return KINDS[self.kind].advice if self.breaking else ""

    def as_json(self) -> dict[str, object]:
        """For programs. The keys are part of the interface."""
        return {
            "id": self.id,
            "kind": self.kind,
            "symbol": self.symbol,
            "text": self.text,
            "breaks": [str(one) for one in self.breaks],
            "before": self.before,
            "after": self.after,
            "module": self.module,
            "file": self.file,
            "service": self.service,
            "rpc": self.rpc,
            "type": self.type,
            "member": self.member,
            "rpcs": list(self.rpcs),
            "rules": list(self.rules),
            "advice": self.advice,
        }
