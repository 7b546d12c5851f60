"""Tenants never meet: over the wire, for every list and get RPC that the sandbox serves, derived from the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from conftest import client_of
from google.protobuf.message import Message
from sandbox_fixture import Running, running_sandbox

from invora_grpc import InvalidArgument, Invora, NotFound, PermissionDenied, RpcError
from invora_grpc.call import bind
from invora_grpc.catalog import Method, catalog
from invora_grpc.sandbox.engine import RESOURCES
from invora_grpc.sandbox.server import HANDLERS

MARK = "zebra"
"""In every text that the first tenant stores."""
SERVED = [method for method in catalog().methods if method.path in HANDLERS]
READING = [m for m in SERVED if m.http and (m.http.verb == "GET" or m.http.path.endswith("/list"))]
WITHOUT_TENANT_DATA = {
    "identity.public_registration.list_available_plans",
    *(f"invoicing.regulation_info.{rpc}" for rpc in ("list_regulations", "get_regulation", "list_validation_profiles")),
    "invoicing.regulation_enrollment.get_input_schema",
    "invoicing.zatca.get_integration_status",
}
"""Reads that answer the same to everybody, or numbers only."""
REGULATION = "zatca"


@dataclass
class World:
    """One tenant with data everywhere, and a stranger."""

    first: Invora
    stranger: Invora
    first_org: str
    identifiers: set[str]
    """Every id, key, code and stamp that the first tenant's data has."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with (
        running_sandbox(seed="empty") as sandbox,
        client_of(sandbox) as first,
        client_of(sandbox, *stranger_of(sandbox)) as stranger,
    ):
        yield World(first, stranger, sandbox.org_id, fill(first))


def stranger_of(sandbox: Running) -> tuple[str, str]:
    """Client id and secret of an organization that has nothing to do with the first."""

    async def make() -> tuple[str, str]:
        organization = sandbox.store.create_organization("Stranger", kind="platform")
        made: tuple[str, str] = sandbox.store.create_client(organization.org_id, roles=["owner"])
        return made

    return sandbox.run(make())


def fill(client: Invora) -> set[str]:
    """Create one record of everything; return all identifiers in the answers."""
    found: set[str] = set()

    def keep(response: Any) -> Any:
        found.update(texts_of(response))
        return response

    keep(register(client))
    made = {"customer_id": "", "plan_id": "", "coupon_id": ""}
    created: set[str] = set()
    for resource in RESOURCES:
        if "create" not in resource.methods or resource.kind in created:
            continue
        created.add(resource.kind)
        fields: dict[str, Any] = {name: f"{MARK}-{name}" for name in resource.required}
        fields |= {name: made[name] for name in made if name in fields}
        if "webhook_url" in fields:
            fields["webhook_url"] = f"https://{MARK}.example/hook"
        if resource.key == "code":
            fields["code"] = f"{MARK}-{resource.prefix}"
        changes = {"changes": named(resource.kind), "key": f"{MARK}-{resource.prefix}"}
        rpc = getattr(client.service(resource.service), attribute(resource.service, resource.methods["create"]))
        answer = keep(rpc(changes if resource.versioned else {"input": fields}))
        for name, message in answer.ListFields():
            made[f"{name.name}_id"] = getattr(message, "id", "")
    event = {"transaction_id": f"{MARK}-event", "code": f"{MARK}-bm", "external_subscription_id": f"{MARK}-sub"}
    client.billing.events.create(event=event)
    found.update(event.values())
    line = {"description": MARK, "quantity": {"value": 1, "unit_code": "C62"}, "unit_price": 9, "tax": {"tax_rate": 15}}
    base = {"currency_code": "SAR", "buyer": {"inline": {"legal_name": MARK}}, "lines": [line]}
    keep(client.simple.invoices.create(key=f"{MARK}-invoice", changes=base, freeze_immediately=True))
    found.update(step.request_id for step in client.invoicing.zatca.initiate_onboarding(otp="123456"))
    branch = {"regulation_id": REGULATION, "branch_id": f"{MARK}-branch", "config": {"otp": "123456"}}
    enrolling = client.invoicing.regulation_enrollment.begin_enrollment(branch)
    found.update(answer.step.request_id for answer in enrolling)
    note = {**base, "invoice_key": f"{MARK}-invoice", "reason": MARK}
    keep(client.simple.credit_notes.create(key=f"{MARK}-credit", changes=note))
    keep(client.simple.debit_notes.create(key=f"{MARK}-debit", changes=note))
    content = {"invoice": {"id": {"value": f"{MARK}-number"}, "note": [{"value": MARK}]}}
    keep(client.invoicing.documents.create(key=f"{MARK}-document", changes={"content": content}))
    keep(client.invoicing.documents.clone(source_key=f"{MARK}-document", new_key=f"{MARK}-clone"))
    business = client.identity.connected_business.create_connected_business(name=MARK, admin_email=f"{MARK}@a.example")
    found.update(texts_of(business.connected_business))
    inside = client.for_org(business.connected_business.tenant_id)
    keep(inside.invoicing.branches.create(changes={"name": f"{MARK} inside"}))
    keep(client.invoicing.settings.update_self_party(my_info={"signature_image": f"{MARK}.png"}))
    stamp = client.invoicing.settings.get_settings().details.concurrency_stamp
    prefix = {"invoice_prefix": MARK}
    keep(client.invoicing.settings.update_settings(concurrency_stamp=stamp, changes=prefix))
    return {text for text in found if len(text) > 5}


def register(client: Invora) -> Message:
    """Make the first tenant a platform; returns its application."""
    client.identity.public_registration.complete_business_profile(
        business_name=f"{MARK} itself", country="SA", capabilities=["billing"]
    )
    statement = {"reason": MARK, "technical_contact_email": f"{MARK}@a.example", "terms_accepted": True}
    volumes = {"expected_connected_businesses": 1, "expected_monthly_volume": 1}
    application: Message = client.identity.platform_enrollment.submit_platform_application(
        input=statement | volumes
    ).application
    return application


def named(kind: str) -> dict[str, Any]:
    name = f"{MARK} {kind}"
    if kind == "invoicing.exchange_rates":
        return {"source_currency": "USD", "target_currency": "SAR", "rate": "3.75"}
    return {"name": name if kind == "invoicing.branches" else {"assignments": [{"locale": "en", "value": name}]}}


def attribute(service: str, rpc: str) -> str:
    return catalog().service(service).method(rpc).rpc


def texts_of(message: Message) -> Iterator[str]:
    """Every string in a message, at any depth."""
    for field, value in message.ListFields():
        for item in value if field.is_repeated else [value]:
            if isinstance(item, Message):
                yield from texts_of(item)
            elif isinstance(item, str):
                yield item


def rpc_of(client: Invora, method: Method) -> Any:
    return getattr(client.service(method.service), method.rpc)


def ask(client: Invora, method: Method) -> None:
    """Call with an empty request, or a stream of one, and wait for the end."""
    request: Any = [{}] if method.streaming in ("client", "bidi") else {}
    answer = rpc_of(client, method)(request)
    if method.streaming in ("server", "bidi"):
        list(answer)


def probes(method: Method, identifiers: set[str]) -> Iterator[dict[str, Any]]:
    """The empty request, and each identifier in each text field of the request; of a regulation, where it wants one."""
    fields = bind(method).request_class.DESCRIPTOR.fields
    always = {"regulation_id": REGULATION} if "regulation_id" in {field.name for field in fields} else {}
    yield always
    for field in fields:
        if field.type == field.TYPE_STRING and field.name not in always:
            for identifier in sorted(identifiers):
                yield {**always, field.name: [identifier] if field.is_repeated else identifier}


def answers(client: Invora, method: Method, identifiers: set[str]) -> Iterator[bytes]:
    """What the probes get, where they are answered; being told that there is no such thing is no answer."""
    for probe in probes(method, identifiers):
        try:
            yield rpc_of(client, method)(probe).SerializeToString()
        except (NotFound, InvalidArgument):
            continue
        except RpcError as error:
            assert error.code is grpc.StatusCode.FAILED_PRECONDITION, error


@pytest.mark.parametrize("method", READING, ids=lambda m: m.attribute)
def test_a_stranger_sees_nothing_of_the_first_tenant(world: World, method: Method) -> None:
    for answer in answers(world.stranger, method, world.identifiers):
        assert MARK.encode() not in answer.lower()
        if method.attribute not in WITHOUT_TENANT_DATA:
            assert [text for text in world.identifiers if text.encode() in answer] == []


@pytest.mark.parametrize("method", SERVED, ids=lambda m: m.attribute)
def test_a_stranger_cannot_act_in_the_first_tenant(world: World, method: Method) -> None:
    with pytest.raises(PermissionDenied) as caught:
        ask(world.stranger.for_org(world.first_org), method)
    assert MARK not in str(caught.value)


@pytest.mark.parametrize(
    "method", [m for m in READING if m.attribute not in WITHOUT_TENANT_DATA], ids=lambda m: m.attribute
)
def test_the_first_tenant_sees_its_own_by_the_same_rpc(world: World, method: Method) -> None:
    """Without this, the tests above could not fail."""
    seen = list(answers(world.first, method, world.identifiers))
    assert any(text.encode() in answer for answer in seen for text in {*world.identifiers, MARK})


def test_every_kind_of_read_is_covered() -> None:
    assert len(READING) >= 40
    assert {method.module for method in READING} == {"billing", "identity", "invoicing", "simple"}
