"""What the commit matrix is made of: faults, RPCs with a valid request for each, a sandbox that counts effects, rules.

Effects are counted where they happen: in the sandbox, as handlers that ended well and changed the database.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from commit_documents import AREAS, document_fields
from fault_proxy import (
    CANCEL,
    GOAWAY_UNPROCESSED,
    INTERNAL_ERROR,
    REPLY_LOST,
    RESET_BEFORE,
    TORN_REPLY,
    Fault,
    FaultProxy,
    rst_after,
    rst_before,
    running_proxy,
)
from google.protobuf.message import Message
from sandbox_fixture import Running, running_sandbox

from invora_grpc import OutcomeUnknown, RpcError
from invora_grpc.call import bind, message_class
from invora_grpc.catalog import Method, catalog
from invora_grpc.retry import Retry, RetryClass, retry_class
from invora_grpc.sandbox import server
from invora_grpc.sandbox.engine_table import RESOURCES, Resource
from invora_grpc.sandbox.service import Call, Handler
from invora_grpc.values import build

KEYED_WITHOUT_KEY = {"billing.events.create", "billing.events.batch_create"}
"""Their key is not the request's field `key` but the events' own `transaction_id`."""
QUICK = Retry(initial=0.001, cap=0.005, budget=False)
BEFORE = (RESET_BEFORE, GOAWAY_UNPROCESSED, rst_before(CANCEL), rst_before(INTERNAL_ERROR))
AFTER = (REPLY_LOST, TORN_REPLY, rst_after(CANCEL), rst_after(INTERNAL_ERROR))
SERVED = [method for method in catalog().methods if method.path in server.HANDLERS and not method.streaming]
"""The unary ones: a stream's outcome is not one reply that may be lost."""


def is_keyed(method: Method) -> bool:
    fields = bind(method).request_class.DESCRIPTOR.fields_by_name
    creates = method.rpc.startswith("create") and "key" in fields
    return creates or method.attribute in KEYED_WITHOUT_KEY


KEYED = [method for method in SERVED if is_keyed(method)]
NO_READS = [method for method in SERVED if retry_class(method, is_keyed(method)) is not RetryClass.READ]
PROPOSALS = [method for method in NO_READS if method.attribute == "invoicing.documents.fix"]
"""What the client takes for writes, by their names, and what changes nothing."""
CHANGING = [method for method in NO_READS if method not in PROPOSALS]
WRITES = [method for method in CHANGING if method not in KEYED]
WITH_KEY_FIELD = [method for method in KEYED if method.attribute not in KEYED_WITHOUT_KEY]


def named(fault: Fault) -> str:
    return fault.kind.name.lower() + (f"_{fault.code}" if fault.code else "")


# Counting effects


@dataclass(frozen=True, slots=True)
class Effect:
    """A handler that ended well, and changed something."""

    path: str
    request: Message
    response: Message


@dataclass
class World:
    """A sandbox that tells what its handlers did, and a client whose calls go through a proxy."""

    running: Running
    proxy: FaultProxy
    executed: list[str] = field(default_factory=list)
    """Paths of the handlers that were begun, however they ended."""
    effects: list[Effect] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def unique(self, prefix: str = "n") -> str:
        return f"{prefix}{next(self.numbers)}"

    def call(self, name: str, /, token: str | None = None, **fields: Any) -> Any:
        """Answer a call that needs no faults, past the proxy."""
        message = build(message_class(catalog().method(name).request), fields)
        return self.running.call(name, message, token=token)

    def watch(self, path: str, handler: Handler) -> Handler:
        """The handler, with its effects noted."""

        def watched(call: Call, request: Any) -> Message:
            self.executed.append(path)
            before = changes_of(call)
            response = handler(call, request)
            if changes_of(call) != before:
                self.effects.append(Effect(path, request, response))
            return response

        return watched


def changes_of(call: Call) -> int:
    """Rows that the database has changed so far."""
    return call.store._connection.total_changes


@contextmanager
def a_sandbox() -> Iterator[World]:
    """A sandbox with the demo seed whose effects are counted, behind a proxy."""
    with pytest.MonkeyPatch.context() as patch:
        made: list[World] = []
        handlers = {
            path: (lambda call, request, path=path, own=own: made[0].watch(path, own)(call, request))
            for path, own in server.HANDLERS.items()
        }
        patch.setattr(server, "HANDLERS", handlers)
        with running_sandbox(seed="demo") as running, running_proxy(running.grpc) as proxy:
            made.append(World(running, proxy))
            yield made[0]


# A valid request for each RPC


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that will succeed, and whose token it needs; None: the main organization's owner's."""

    fields: dict[str, Any]
    token: str | None = None


LINE = {"description": "Goods", "quantity": {"value": 1, "unit_code": "C62"}, "unit_price": "9.99"}
BUYER = {"currency_code": "SAR", "buyer": {"inline": {"legal_name": "Layla"}}}
DRAFT = {**BUYER, "lines": [{**LINE, "tax": {"tax_rate": 15}}]}
SHORT_OF = {"customer_id": "billing.customers", "plan_id": "billing.plans", "coupon_id": "billing.coupons"}
APPLICATION = {
    "reason": "many",
    "expected_connected_businesses": 1,
    "technical_contact_email": "t@a.example",
    "terms_accepted": True,
}


def create_fields(world: World, resource: Resource) -> dict[str, Any]:
    """What a new record of a plain resource needs."""
    if resource.versioned:
        return {"key": world.unique("key-"), "changes": changes_for(world, resource)}
    fields: dict[str, Any] = {}
    for name in resource.required:
        if name in SHORT_OF:
            fields[name] = created(world, resource_of(SHORT_OF[name])).id
        else:
            fields[name] = "https://a.example/" + world.unique() if name == "webhook_url" else world.unique(name)
    return {"event" if resource.kind == "billing.events" else "input": fields}


def changes_for(world: World, resource: Resource) -> dict[str, Any]:
    if resource.kind == "invoicing.exchange_rates":
        return {"source_currency": "USD", "target_currency": "SAR", "rate": "3.75"}
    name = world.unique("name ")
    return {
        "name": name if resource.kind == "invoicing.branches" else {"assignments": [{"locale": "en", "value": name}]}
    }


def resource_of(kind: str) -> Resource:
    return next(one for one in RESOURCES if one.kind == kind)


def created(world: World, resource: Resource) -> Any:
    """A new record, as its create answers it."""
    original = resource if "create" in resource.methods else resource_of(resource.kind)
    response = world.call(f"{original.service}/{original.methods['create']}", **create_fields(world, original))
    return response.ListFields()[0][1]


def plain_request(world: World, resource: Resource, operation: str) -> Prepared:
    """For the operations that the engine has."""
    if operation in ("create", "record"):
        return Prepared(create_fields(world, resource))
    if operation == "record_all":
        return Prepared({"events": [create_fields(world, resource)["event"] for _ in range(3)]})
    if operation == "change_one":
        if resource.kind == "invoicing.self_party":
            return Prepared({"my_info": {"signature_image": world.unique() + ".png"}})
        stamp = world.call("invoicing.settings.get_settings").details.concurrency_stamp
        return Prepared({"concurrency_stamp": stamp, "changes": {"invoice_prefix": world.unique()}})
    record = created(world, resource)
    if not resource.versioned:
        return Prepared(of_record(world, resource, operation, record.id))
    if operation == "update":
        changes = changes_for(world, resource)
        return Prepared({"key": record.id.key, "concurrency_stamp": record.concurrency_stamp, "changes": changes})
    return Prepared({"keys": [record.id.key]} if operation == "delete" else {"key": record.id.key})


def of_record(world: World, resource: Resource, operation: str, id: str) -> dict[str, Any]:
    if operation != "update":
        return {"input": {"id": id}}
    request = message_class(catalog().method(f"{resource.service}/{resource.methods['update']}").request)
    known = request.DESCRIPTOR.fields_by_name["input"].message_type.fields_by_name
    changed = next(name for name in ("name", "description") if name in known)
    return {"input": {"id": id, changed: world.unique("other ")}}


def draft_request(world: World, area: str, rpc: str) -> Prepared:
    """For the six RPCs of the Simple surface."""
    content: dict[str, Any] = DRAFT
    if area != "invoices":
        invoice = world.call("simple.invoices.create", changes=DRAFT, freeze_immediately=True).details.id.key
        content = {"invoice_key": invoice, "reason": "Returned", "lines": DRAFT["lines"]}
    if rpc == "create":
        return Prepared({"key": world.unique("key-"), "changes": content})
    draft = world.call(f"simple.{area}.create", changes=content).details
    named = {"key": draft.id.key, "concurrency_stamp": draft.concurrency_stamp}
    if rpc == "update":
        return Prepared({**named, "changes": {**content, "supply_date": "2026-11-20"}})
    return Prepared({"keys": [draft.id.key]} if rpc == "delete" else named)


def newcomer(world: World) -> str:
    """The token of an organization that has told nothing yet."""
    store = world.running.store

    async def make() -> tuple[str, str]:
        organization = store.create_organization("Newcomer")
        made: tuple[str, str] = store.create_client(organization.org_id, roles=["owner"])
        return made

    return world.running.token(*world.running.run(make()))


def business(world: World) -> Any:
    name, mail = world.unique("Business "), "admin@a.example"
    return world.call("identity.connected_business.create_connected_business", name=name, admin_email=mail)


def identity_request(world: World, rpc: str) -> Prepared:
    match rpc:
        case "create_connected_business":
            return Prepared({"name": world.unique("Business "), "admin_email": "admin@a.example"})
        case "begin_impersonation":
            return Prepared({"target_user_id": business(world).client_id})
        case "end_impersonation":
            user = business(world).client_id
            begun = world.call("identity.impersonation.begin_impersonation", target_user_id=user)
            return Prepared({}, begun.access_token)
        case "submit_platform_application":
            return Prepared({"input": {**APPLICATION, "expected_monthly_volume": 9}}, newcomer(world))
        case "resubmit_platform_application":
            token = newcomer(world)
            world.call("identity.platform_enrollment.submit_platform_application", token=token, input=APPLICATION)
            return Prepared({"input": {**APPLICATION, "expected_monthly_volume": 9}}, token)
        case "complete_business_profile":
            fields = {"business_name": "New", "country": "SA", "capabilities": ["billing"]}
            return Prepared(fields, newcomer(world))
        case "update_business_details":
            return Prepared({"address_line": world.unique("Street ")})
        case "select_plan":
            return Prepared({"plan_code": "platform-monthly"})
    return connected_request(world, rpc)


def connected_request(world: World, rpc: str) -> Prepared:
    tenant = {"tenant_id": business(world).connected_business.tenant_id}
    more: dict[str, Any] = {}
    if rpc == "update_connected_business":
        more = {"name": world.unique("Renamed ")}
    elif rpc == "suspend_connected_business":
        more = {"reason": "unpaid"}
    elif rpc == "reactivate_connected_business":
        world.call("identity.connected_business.suspend_connected_business", **tenant, reason="unpaid")
    return Prepared({**tenant, **more})


PLAIN = {
    f"/{resource.service}/{rpc}": (resource, operation)
    for resource in RESOURCES
    for operation, rpc in resource.methods.items()
}


def prepare(world: World, method: Method) -> Prepared:
    """A request that this RPC answers well, for a record of its own."""
    if method.path in PLAIN:
        return plain_request(world, *PLAIN[method.path])
    if method.module == "simple":
        return draft_request(world, method.area, method.rpc)
    if method.module == "invoicing" and method.area in AREAS:
        return Prepared(document_fields(world, method.rpc))
    return identity_request(world, method.rpc)


# The rules


def judge(world: World, method: Method, outcome: Any) -> None:
    """What holds for every RPC, whatever has happened to it."""
    assert len(world.effects) <= 1, "it was done twice"
    if isinstance(outcome, OutcomeUnknown):
        assert outcome.method == method.path
    elif isinstance(outcome, RpcError):
        assert world.effects == [], f"it was done, and reported as {outcome!r}"
    else:
        assert [effect.response for effect in world.effects] == [outcome], "the answer is not what was done"
