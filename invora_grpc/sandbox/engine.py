"""The sandbox's records: create, get, list, update, delete and terminate for every plain resource of the API.

`engine_table` says which services there are and how they differ; one function per operation serves them all, with the
rest told by descriptors. Documents, totals, identity and webhook deliveries are other rooms' work. A handler touches
records of `call.org_id` only, through the store.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from invora_grpc.call import message_class
from invora_grpc.sandbox.engine_shapes import (
    Copying,
    copy_fields,
    look,
    overwrite,
    readable,
    search_text,
    state_of,
    status_of,
    touch,
    unkept,
)
from invora_grpc.sandbox.engine_table import RESOURCE_OF, RESOURCES, Resource
from invora_grpc.sandbox.listing import apply_mask, check_mask, fill, page_of
from invora_grpc.sandbox.model import DuplicateKey, MissingRecord, Record
from invora_grpc.sandbox.service import (
    Call,
    Fault,
    Registry,
    Wrong,
    already_exists,
    echo,
    failed_precondition,
    first_of,
    invalid,
    not_found,
    noting,
    refuse,
    stale_stamp,
)

MOST_EVENTS: Final = 100
"""In one BatchCreate."""
_ONLY: Final = "only"
"""Id of a record that there is one of per tenant."""
_REFERABLE: Final = frozenset(RESOURCE_OF)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A record with its entity as the caller sees it."""

    record: Record
    entity: Any

    @property
    def seq(self) -> int:
        """Place in the order of creation."""
        return self.record.seq


# Finding and showing


class _Finder:
    """The records of one call's tenant by what refers to them, each read once."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._seen: dict[tuple[str, str], Any] = {}
        self._counted: dict[tuple[str, str], Counter[str]] = {}

    def refer(self, entity: str, by: str, value: str, path: str) -> Message:
        """The entity that an input names. NOT_FOUND names the input's field."""
        resource = RESOURCE_OF[entity]
        found = self.entity(resource, value) if by == "id" else None
        if by != "id" and (record := self._call.store.by_key(self._call.org_id, resource.kind, value)):
            found = _parsed(resource, record)
        if found is None:
            missing = not_found(resource.label, value)
            why, blamed = f"{path}: {missing.message}", [(path, missing.message)]
            raise Fault(missing.code, why, reason=missing.reason, violations=blamed, metadata=missing.metadata)
        return found

    def entity(self, resource: Resource, id: str) -> Message | None:
        """The live entity with this id."""
        place = (resource.kind, id)
        if place not in self._seen:
            try:
                self._seen[place] = _parsed(resource, self._call.store.get(self._call.org_id, *place))
            except MissingRecord:
                self._seen[place] = None
        found: Message | None = self._seen[place]
        return found

    def active(self, kind: str, via: str) -> Counter[str]:
        """How many active records of a kind refer to each id by the field ``via``."""
        if (kind, via) not in self._counted:
            resource = next(one for one in RESOURCES if one.kind == kind)
            records = self._call.store.all(self._call.org_id, kind)
            referred = (getattr(_parsed(resource, one), via).id for one in records if one.state == "active")
            self._counted[kind, via] = Counter(referred)
        return self._counted[kind, via]

    def shown(self, resource: Resource, record: Record) -> Loaded:
        """A record with what it refers to as that is now, or as it last was if that is gone."""
        entity = _parsed(resource, record)
        for descriptor, value in entity.ListFields():
            if descriptor.message_type is None or descriptor.is_repeated:
                continue
            other = RESOURCE_OF.get(descriptor.message_type.full_name)
            if other and (current := self.entity(other, value.id)):
                value.CopyFrom(current)
        for name, kind, via in resource.counts:
            setattr(entity, name, self.active(kind, via)[record.id])
        return Loaded(record, entity)


def _parsed(resource: Resource, record: Record) -> Any:
    return message_class(resource.entity).FromString(record.body)


def _find(call: Call, resource: Resource, request: Any) -> Record:
    """The record that a request names by whichever identifier it has; an input has an id for that."""
    fields = request.DESCRIPTOR.fields_by_name
    if "input" in fields:
        return _identified(call, resource, "id", request.input.id, "input.id")
    asked = [name for name in ("id", "key", "external_id", "code", "transaction_id") if name in fields]
    name = next((name for name in asked if getattr(request, name)), asked[0])
    return _identified(call, resource, name, getattr(request, name), name)


def _identified(call: Call, resource: Resource, by: str, value: str, path: str) -> Record:
    if not value:
        raise invalid(path, f"is required to find the {resource.label}")
    try:
        read = call.store.get if by == "id" else call.store.by_key
        found = read(call.org_id, resource.kind, value)
    except MissingRecord:
        found = None
    if found is None:
        raise not_found(resource.label, value)
    return found


def _value(resource: Resource, row: Loaded, name: str) -> object:
    name = resource.names.get(name, name)
    entity = row.entity
    if "." in name:
        return look(entity, name)
    if name.startswith("has_") and name not in entity.DESCRIPTOR.fields_by_name:
        return any(look(entity, readable(entity.DESCRIPTOR, name.removeprefix("has_"))))
    return look(entity, readable(entity.DESCRIPTOR, name))


# Writing


def _store(call: Call, resource: Resource, entity: Any, held: Record | None) -> Record:
    """Stamp an entity and write it, as a new record or over the one that is held."""
    stamp = secrets.token_hex(16)
    touch(entity, stamp=stamp, now=call.now, by=call.caller.subject, new=held is None)
    key = next(iter(look(entity, resource.key)), None) if resource.key else None
    id = held.id if held else (getattr(entity, "id", _ONLY) if not resource.versioned else secrets.token_hex(10))
    body, search = entity.SerializeToString(), search_text(entity)
    record = Record(id, key or None, stamp, state_of(entity), body, search)
    try:
        write = call.store.replace if held else call.store.insert
        return write(call.org_id, resource.kind, record)
    except DuplicateKey as error:
        raise already_exists(resource.label, key or id) from error


def _claim(call: Call, resource: Resource, entity: Any, held: Record | None) -> None:
    """Give the resource's flag to an entity that is to be written, if no other record has it."""
    if not resource.sole:
        return
    others = [one for one in call.store.all(call.org_id, resource.kind) if held is None or one.id != held.id]
    if not any(getattr(_parsed(resource, one), resource.sole) for one in others):
        setattr(entity, resource.sole, True)


def _settle(call: Call, resource: Resource, chosen: str) -> None:
    """Leave the resource's flag to exactly one record: the chosen one if it has it, or else the oldest."""
    if not resource.sole:
        return
    entities = [(one, _parsed(resource, one)) for one in call.store.all(call.org_id, resource.kind)]
    flagged = [record.id for record, entity in entities if getattr(entity, resource.sole)]
    kept = chosen if chosen in flagged else next(iter(flagged or [record.id for record, _ in entities]), None)
    for record, entity in entities:
        if getattr(entity, resource.sole) != (record.id == kept):
            setattr(entity, resource.sole, record.id == kept)
            _store(call, resource, entity, record)


def _content(request: Any) -> tuple[Any, str]:
    """What a request wants written, and the path of it."""
    name = next(name for name in ("input", "changes", "my_info", "event") if name in request.DESCRIPTOR.fields_by_name)
    return getattr(request, name), name


def _require(resource: Resource, content: Any, path: str, wrong: Wrong) -> None:
    names = [name for name in resource.required if name in content.DESCRIPTOR.fields_by_name]
    wrong += [(f"{path}.{name}", "is required") for name in names if not getattr(content, name)]


def _refuse_unkept(resource: Resource, content: Any, path: str) -> None:
    """UNIMPLEMENTED for what the caller has set and a record would silently be without."""
    known = resource.handled | {"id"}
    target: Any = message_class(resource.entity).DESCRIPTOR
    lost = [f"{path}.{name}" for name in unkept(content, target, _REFERABLE) if name not in known]
    if lost:
        wrong = [(name, "the sandbox does not keep this field yet; leave it out") for name in lost]
        raise Fault(
            grpc.StatusCode.UNIMPLEMENTED,
            first_of(wrong),
            reason="FIELD_NOT_SERVED",
            violations=wrong,
            metadata={"field": lost[0]},
        )


def _copy(content: Any, entity: Any, call: Call, path: str, wrong: Wrong) -> None:
    """Fill a new entity. Raises INVALID_ARGUMENT with all wrong fields before it minds where references lead."""
    try:
        with noting(wrong):
            copy_fields(content, entity, _copying(call), path)
    except Fault:
        refuse(wrong)
        raise
    refuse(wrong)


def _copying(call: Call) -> Copying:
    return Copying(call.now, _Finder(call).refer, _REFERABLE)


def _written(call: Call, resource: Resource, id: str) -> Message:
    record = call.store.get(call.org_id, resource.kind, id)
    return _respond(call, resource, _Finder(call).shown(resource, record).entity)


def _respond(call: Call, resource: Resource, entity: Message) -> Message:
    """The method's response, with the entity in whichever field takes it."""
    response: Message = message_class(call.method.response)()
    for descriptor in response.DESCRIPTOR.fields:
        if descriptor.message_type is not None and descriptor.message_type.full_name == resource.entity:
            getattr(response, descriptor.name).CopyFrom(entity)
    return response


# Operations


def _create(resource: Resource, call: Call, request: Any) -> Message:
    content, path = _content(request)
    wrong: Wrong = []
    _require(resource, content, path, wrong)
    _refuse_unkept(resource, content, path)
    entity: Any = message_class(resource.entity)()
    if resource.versioned:
        entity.id.key = request.key or f"{resource.prefix}-{secrets.token_hex(6)}"
    else:
        entity.id = f"{resource.prefix}_{secrets.token_hex(10)}"
    _copy(content, entity, call, path, wrong)
    if active := status_of(entity, "ACTIVE"):
        entity.status = active
    for finish in (resource.on_create, resource.on_write):
        if finish:
            finish(call, content, entity)
    _claim(call, resource, entity, None)
    record = _store(call, resource, entity, None)
    _settle(call, resource, record.id)
    return _written(call, resource, record.id)


def _get(resource: Resource, call: Call, request: Any) -> Message:
    shown = _Finder(call).shown(resource, _find(call, resource, request))
    return _respond(call, resource, _masked(request, shown.entity))


def _masked(request: Any, entity: Message) -> Message:
    names = [name for name in ("mask", "read_mask") if name in request.DESCRIPTOR.fields_by_name]
    return apply_mask(entity, getattr(request, names[0]), field=names[0]) if names else entity


def _list(resource: Resource, call: Call, request: Any) -> Message:
    _masked(request, message_class(resource.entity)())  # refuses an unknown path on an empty page, too
    finder = _Finder(call)
    rows = [finder.shown(resource, record) for record in call.store.all(call.org_id, resource.kind)]
    page = page_of(call, rows, request, value=partial(_value, resource), text=lambda row: row.record.search)
    return fill(message_class(call.method.response), page, [_masked(request, row.entity) for row in page.items])


def _update(resource: Resource, call: Call, request: Any) -> Message:
    held = _find(call, resource, request)
    if held.state == "terminated":
        raise failed_precondition(
            f"the {resource.label} {echo(held.id)} is terminated: it stays as it is", "TERMINATED"
        )
    return _change(resource, call, request, held)


def _change(resource: Resource, call: Call, request: Any, held: Record) -> Message:
    """Write what the request's mask names, or without one whatever its input has set."""
    content, path = _content(request)
    _check_stamp(resource, request, held)
    entity = _parsed(resource, held)
    if "mask" in request.DESCRIPTOR.fields_by_name and request.mask.paths:
        check_mask(content, request.mask)
        _refuse_unkept(resource, apply_mask(content, request.mask), path)
        overwrite(content, entity, request.mask, _copying(call), path)
    else:
        _refuse_unkept(resource, content, path)
        copy_fields(content, entity, _copying(call), path)
    wrong: Wrong = []
    _require(resource, entity, path, wrong)
    refuse(wrong)
    if resource.on_write:
        resource.on_write(call, content, entity)
    _claim(call, resource, entity, held)
    _store(call, resource, entity, held)
    _settle(call, resource, held.id)
    return _written(call, resource, held.id)


def _check_stamp(resource: Resource, request: Any, held: Record) -> None:
    if "concurrency_stamp" not in request.DESCRIPTOR.fields_by_name:
        return
    if not request.concurrency_stamp:
        raise invalid("concurrency_stamp", f"is required: take the one of the {resource.label} as last read")
    if request.concurrency_stamp != held.stamp:
        raise stale_stamp(resource.label, held.key or held.id)


def _delete(resource: Resource, call: Call, request: Any) -> Message:
    if "keys" not in request.DESCRIPTOR.fields_by_name:
        records = [_find(call, resource, request)]
    else:
        found = {key: call.store.by_key(call.org_id, resource.kind, key) for key in request.keys}
        records = [record for record in found.values() if record]
        if missing := [key for key, record in found.items() if not record]:
            raise not_found(resource.label, ", ".join(missing))
        if not records:
            raise invalid("keys", f"names no {resource.label} to delete")
    last = _Finder(call).shown(resource, records[-1]).entity
    for record in records:
        call.store.delete(call.org_id, resource.kind, record.id)
    _settle(call, resource, "")
    return _respond(call, resource, last)


def _terminate(resource: Resource, call: Call, request: Any) -> Message:
    held = _find(call, resource, request)
    entity = _parsed(resource, held)
    if held.state == "terminated":
        raise failed_precondition(f"the {resource.label} {echo(held.id)} is terminated already", "ALREADY_TERMINATED")
    copy_fields(request.input, entity, _copying(call), "input")
    entity.status = status_of(entity, "TERMINATED")
    entity.terminated_at.FromDatetime(call.now)
    _store(call, resource, entity, held)
    return _written(call, resource, held.id)


def _choose(resource: Resource, call: Call, request: Any) -> Message:
    held = _find(call, resource, request)
    entity = _parsed(resource, held)
    setattr(entity, resource.sole, True)
    _store(call, resource, entity, held)
    _settle(call, resource, held.id)
    return _written(call, resource, held.id)


# One per tenant


def _only(resource: Resource, call: Call) -> Record:
    """The tenant's one record of a kind, made when it is first asked for."""
    try:
        return call.store.get(call.org_id, resource.kind, _ONLY)
    except MissingRecord:
        entity = message_class(resource.entity)()
        if resource.on_create:
            resource.on_create(call, None, entity)
        return _store(call, resource, entity, None)


def _read_one(resource: Resource, call: Call, request: Any) -> Message:
    return _written(call, resource, _only(resource, call).id)


def _change_one(resource: Resource, call: Call, request: Any) -> Message:
    return _change(resource, call, request, _only(resource, call))


# Usage events


def _record_event(resource: Resource, call: Call, request: Any) -> Message:
    wrong: Wrong = []
    _require(resource, request.event, "event", wrong)
    refuse(wrong)
    _keep_event(resource, call, request.event, "event")
    return message_class(call.method.response)()


def _record_events(resource: Resource, call: Call, request: Any) -> Message:
    if not 0 < len(request.events) <= MOST_EVENTS:
        raise invalid("events", f"holds 1 to {MOST_EVENTS} events, not {len(request.events)}")
    wrong: Wrong = []
    for i, event in enumerate(request.events):
        _require(resource, event, f"events[{i}]", wrong)
    refuse(wrong)
    for i, event in enumerate(request.events):
        with noting(wrong):
            _keep_event(resource, call, event, f"events[{i}]")
    refuse(wrong)
    return message_class(call.method.response)()


def _keep_event(resource: Resource, call: Call, content: Any, path: str) -> None:
    """Store an event once by its transaction_id; the same again is no news, other content is refused."""
    _refuse_unkept(resource, content, path)
    digest = hashlib.sha256(content.SerializeToString(deterministic=True)).hexdigest()
    if held := call.store.by_key(call.org_id, resource.kind, content.transaction_id):
        if held.stamp != digest:
            raise already_exists(resource.label, content.transaction_id)
        return
    entity: Any = message_class(resource.entity)()
    copy_fields(content, entity, _copying(call), path)
    entity.id, entity.api_client = f"{resource.prefix}_{secrets.token_hex(10)}", call.caller.client_id
    entity.received_at.FromDatetime(call.now)
    if not entity.HasField("timestamp"):
        entity.timestamp.FromDatetime(call.now)
    metric = call.store.by_key(call.org_id, "billing.metering", content.code)
    subscription = call.store.by_key(call.org_id, "billing.subscriptions", content.external_subscription_id)
    entity.match_billable_metric = metric is not None
    entity.match_subscription = entity.match_customer = subscription is not None
    record = Record(entity.id, entity.transaction_id, digest, "", entity.SerializeToString(), search_text(entity))
    call.store.insert(call.org_id, resource.kind, record)


_OPERATIONS: Final = MappingProxyType(
    {
        "create": _create,
        "get": _get,
        "list": _list,
        "update": _update,
        "delete": _delete,
        "terminate": _terminate,
        "choose": _choose,
        "read_one": _read_one,
        "change_one": _change_one,
        "record": _record_event,
        "record_all": _record_events,
    }
)
REGISTRY: Final[Registry] = {
    f"/{resource.service}/{rpc}": partial(_OPERATIONS[operation], resource)
    for resource in RESOURCES
    for operation, rpc in resource.methods.items()
}
"""Every RPC that this room serves."""
