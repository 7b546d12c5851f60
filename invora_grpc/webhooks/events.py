"""A signed body as an event: strict JSON, the message that it stands for, and the key that tells repeats.

This room trusts the sender but not its version: fields that this schema does not have yet are left out and named, all
else that does not fit is refused. It knows no signatures and no clocks. Rules: the JSON mapping of protobuf, RFC 8259,
and the dedupe key of the platform's webhook guide.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from invora_grpc.errors import one_line
from invora_grpc.webhooks.errors import MalformedBody

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from invora_api.billing.webhooks.v2.events_pb2 import BillingWebhookEvent

__all__ = ["Delivery", "NotStrict", "dedupe_key", "parse_event", "strict_json"]

MAX_DEPTH: Final = 32
"""Levels of JSON. A `Struct` takes three levels of message for each, and protobuf parsers stop at 100."""
_SHOWN_NAME: Final = 100
_EVENT_TYPE: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_NUMERAL: Final = re.compile(r"-?[0-9]{1,10}")
_PLACE: Final = re.compile(r"(?:Failed to parse \w+ field: )+")
_HINT: Final = "the platform sends the JSON form of invora.billing.webhooks.v2.BillingWebhookEvent"


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that was verified. Its content is in no repr: it is personal data, and reprs are logged."""

    event: BillingWebhookEvent = field(repr=False)
    """What happened. `event.WhichOneof("payload")` is None for a kind of payload that is newer than this schema."""
    key: str
    """`{webhook_type}:{id}:{created_at}`, the same for every try to deliver it."""
    unknown: tuple[str, ...] = ()
    """Paths of what was left out, because this schema has no such field or no enum value of that name."""


class NotStrict(ValueError):
    """JSON that two parsers could read in two ways, or that is none; says what is wrong without quoting it."""


def strict_json(data: bytes) -> Any:
    """The JSON value in `data`: UTF-8, no name twice in an object, no NaN, at most 32 levels. Raises NotStrict."""
    value: Any = None
    problem = ""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except NotStrict:
        raise
    except RecursionError:
        problem = f"is nested deeper than {MAX_DEPTH} levels"
    except ValueError:
        problem = "is no JSON in UTF-8"
    if problem:
        raise NotStrict(problem)
    if _depth_exceeds(value, MAX_DEPTH):
        raise NotStrict(f"is nested deeper than {MAX_DEPTH} levels")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrict("has a name twice in one object")
    return members


def _no_constant(name: str) -> NoReturn:
    raise NotStrict(f"has {name}, which JSON does not know")


def _depth_exceeds(value: object, limit: int) -> bool:
    """Level by level, as recursion is what deep nesting breaks."""
    level = [value]
    for _ in range(limit):
        level = [
            part
            for one in level
            if isinstance(one, dict | list)
            for part in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return any(isinstance(one, dict | list) for one in level)


def parse_event(body: bytes) -> Delivery:
    """The event that a body stands for. Raises MalformedBody, which names the place and never quotes a value."""
    from google.protobuf.json_format import ParseDict

    from invora_api.billing.webhooks.v2.events_pb2 import BillingWebhookEvent

    try:
        document = strict_json(body)
    except NotStrict as error:
        raise MalformedBody(f"the body {error}", _HINT) from None
    if not isinstance(document, dict):
        raise MalformedBody("the body is no JSON object", _HINT)
    schema = cast("Descriptor", BillingWebhookEvent.DESCRIPTOR)  # the stubs also allow upb's own class
    spare_id = _spare_id(document, _names(schema), body)
    unknown: list[str] = []
    _prune(document, schema, "", unknown)
    event, place = BillingWebhookEvent(), None
    try:
        ParseDict(document, event, ignore_unknown_fields=True)
    except Exception as error:  # not only ParseError: what a stranger's values come to in setattr and int
        place = _place(error)
    if place is not None:
        raise MalformedBody(f"a value does not fit{place}", _HINT)
    if not _EVENT_TYPE.fullmatch(event.webhook_type):
        raise MalformedBody("webhookType is missing or no plain name", _HINT)
    if not event.HasField("created_at"):
        raise MalformedBody("createdAt is missing", _HINT)
    return Delivery(event, _key(event, _payload_id(event) or spare_id), tuple(unknown))


def _place(error: Exception) -> str:
    """The fields that protobuf's own words begin with; the rest of them quotes values."""
    beginning = _PLACE.match(str(error))
    return f" at {'.'.join(beginning[0].split()[3::5])}" if beginning else ""


def dedupe_key(event: BillingWebhookEvent) -> str:
    """`{webhook_type}:{id}:{created_at}`: the same for every try to deliver this event.

    The id is the payload's; a payload that has none, an event error, is known by its subscription and transaction.
    Raises MalformedBody if there is no id in the message; the key of a `Delivery` is always there.
    """
    known_as = _payload_id(event)
    if not known_as:
        raise MalformedBody("the event has no payload with an id", "use the key of the Delivery that receive() returns")
    return _key(event, known_as)


def _key(event: BillingWebhookEvent, known_as: str) -> str:
    return f"{event.webhook_type}:{known_as}:{event.created_at.ToJsonString()}"


def _payload_id(event: BillingWebhookEvent) -> str:
    member = event.WhichOneof("payload")
    if member is None:
        return ""
    if member == "event_error":
        failed = event.event_error
        return f"{failed.external_subscription_id}/{failed.transaction_id}" if failed.transaction_id else ""
    return str(getattr(event, member).id)


def _spare_id(document: dict[str, Any], names: dict[str, FieldDescriptor], body: bytes) -> str:
    """The id of a payload that this schema does not know; else the hash of the body."""
    ids = [
        member["id"]
        for name, member in document.items()
        if name not in names and isinstance(member, dict) and isinstance(member.get("id"), str) and member["id"]
    ]
    return ids[0] if len(ids) == 1 else f"sha256-{sha256(body).hexdigest()}"


@cache
def _names(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """Every name that JSON may have for a field."""
    return {name: field for field in descriptor.fields for name in (field.name, field.json_name)}


def _prune(document: dict[str, Any], descriptor: Descriptor, path: str, unknown: list[str]) -> None:
    """Takes out what the schema does not have and notes its path.

    Raises MalformedBody for two names of one field, and where protobuf's parser is lax: it takes any text or list for
    a message as if it were a mapping.
    """
    names, seen = _names(descriptor), set()
    for name in list(document):
        field = names.get(name)
        if field is None:
            del document[name]
            unknown.append(path + one_line(name, _SHOWN_NAME))
            continue
        if field.name in seen:
            raise MalformedBody(f"{path}{name} is there under two names", _HINT)
        seen.add(field.name)
        document[name] = _pruned(document[name], field, path + name, unknown)


def _pruned(value: Any, field: FieldDescriptor, path: str, unknown: list[str]) -> Any:
    """The value of a field without what the schema does not have. What does not fit at all is left to the parser."""
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        if isinstance(value, dict):
            for index, part in enumerate(value.values()):  # a path must not show the key, which is content
                _kept(part, inner.fields_by_name["value"], f"{path}[{index}]", unknown)
        return value
    if field.is_repeated:
        items = value if isinstance(value, list) else []
        kept = [item for index, item in enumerate(items) if _kept(item, field, f"{path}[{index}]", unknown)]
        return kept if isinstance(value, list) else value
    return value if _kept(value, field, path, unknown) else None


def _kept(value: Any, field: FieldDescriptor, path: str, unknown: list[str]) -> bool:
    """Prunes a message; False for an enum value that the schema does not have."""
    inner, enum = field.message_type, field.enum_type
    if inner is not None and value is not None and not inner.full_name.startswith("google.protobuf."):
        if not isinstance(value, dict):
            raise MalformedBody(f"a value does not fit at {path}: it is no object", _HINT)
        _prune(value, inner, f"{path}.", unknown)
    elif enum is not None and isinstance(value, str):
        if value in enum.values_by_name or _NUMERAL.fullmatch(value):
            return True
        unknown.append(path)
        return False
    return True
