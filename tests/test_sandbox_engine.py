"""The sandbox's plain resources: what create, get, list, update, delete and terminate do, for all of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from invora_grpc.call import message_class
from invora_grpc.catalog import catalog
from invora_grpc.sandbox.dispatch import load_messages
from invora_grpc.sandbox.engine import REGISTRY
from invora_grpc.sandbox.engine_table import RESOURCES, Resource
from invora_grpc.sandbox.idp import Caller
from invora_grpc.sandbox.service import Call, Fault
from invora_grpc.sandbox.store import Store

load_messages()
NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
CRUD = [one for one in RESOURCES if "create" in one.methods]
PATHS = {method.path: method for method in catalog().methods}


class World:
    """Two tenants of one store, and calls into the handlers the way the server makes them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.org = "acme"

    def __call__(self, method: str, request: Any = None, **fields: Any) -> Any:
        found = catalog().method(method)
        caller = Caller("user-1", "client-1", self.org, self.org, {}, None, 0.0)
        call = Call(self.store, found, caller, self.org, "https://issuer", NOW)
        with self.store.transaction():
            return REGISTRY[found.path](call, request or message_class(found.request)(**fields))

    def refused(self, method: str, **fields: Any) -> Fault:
        with pytest.raises(Fault) as caught:
            self(method, **fields)
        return caught.value

    def customer(self, external_id: str = "c-1", **more: Any) -> Any:
        return self("billing.customers.create", input={"external_id": external_id, **more}).customer

    def plan(self, code: str = "pro", **more: Any) -> Any:
        return self("billing.plans.create", input={"code": code, "name": code.title(), **more}).plan

    def subscription(self, **more: Any) -> Any:
        given = {"customer_id": self.customer().id, "plan_id": self.plan().id, **more}
        return self("billing.subscriptions.create", input=given).subscription

    def party(self, key: str | None = None, **changes: Any) -> Any:
        named = {"name": {"assignments": [{"locale": "en", "value": {"value": "Acme"}}]}, **changes}
        return self("invoicing.parties.create", key=key, changes=named).details


@pytest.fixture
def world() -> Iterator[World]:
    with Store.open(":memory:") as store:
        store.create_organization("Acme", org_id="acme")
        store.create_organization("Bolt", org_id="bolt")
        yield World(store)


# The table


@pytest.mark.parametrize("path", REGISTRY)
def test_every_served_rpc_is_in_the_catalog(path: str) -> None:
    assert not PATHS[path].streaming


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda one: f"{one.service}:{one.kind}")
def test_every_entity_is_in_its_responses(resource: Resource) -> None:
    for operation, rpc in resource.methods.items():
        response = message_class(catalog().service(resource.service).method(rpc).response).DESCRIPTOR
        held = [one.message_type.full_name for one in response.fields if one.message_type]
        assert resource.entity in held or operation in ("delete", "record", "record_all")


def test_no_rpc_is_served_twice() -> None:
    assert len(REGISTRY) == sum(len(one.methods) for one in RESOURCES)


# Every resource


MINIMAL: dict[str, Callable[[World], str]] = {
    "customer_id": lambda world: str(world.customer().id),
    "plan_id": lambda world: str(world.plan().id),
    "coupon_id": lambda world: str(world("coupons.create", input={"name": "Ten off"}).coupon.id),
}


def minimal(world: World, resource: Resource) -> dict[str, Any]:
    """The least that creates one: what is required, and what that refers to."""
    made = {name: MINIMAL[name](world) if name in MINIMAL else f"{name}-1" for name in resource.required}
    return {"changes" if resource.versioned else "input": made}


def only(response: Any) -> Any:
    """The entity in a response."""
    [(_, entity)] = [found for found in response.ListFields() if found[0].message_type]
    return entity


@pytest.mark.parametrize("resource", CRUD, ids=lambda one: f"{one.service}:{one.kind}")
def test_a_record_lives_its_whole_life(world: World, resource: Resource) -> None:
    rpcs = {operation: f"{resource.service}/{rpc}" for operation, rpc in resource.methods.items()}
    made = only(world(rpcs["create"], **minimal(world, resource)))
    named = {"key": made.id.key} if resource.versioned else {"id": made.id}
    if "get" in rpcs:
        assert only(world(rpcs["get"], **named)).id == made.id
    listed = world(rpcs["list"])
    assert [one.id for one in listed.items] == [made.id]
    assert listed.total_count == 1
    if "update" in rpcs and resource.versioned:
        made = only(world(rpcs["update"], **named, concurrency_stamp=made.concurrency_stamp))
        assert made.id.version == 2
    elif "update" in rpcs:
        assert only(world(rpcs["update"], input=named)).id == made.id
    if "terminate" in rpcs:
        assert only(world(rpcs["terminate"], input=named)).terminated_at.ToDatetime(UTC) == NOW
    if "delete" in rpcs:
        world(rpcs["delete"], **({"keys": [made.id.key]} if resource.versioned else {"input": named}))
        assert world(rpcs["list"]).total_count == 0


@pytest.mark.parametrize("resource", CRUD, ids=lambda one: f"{one.service}:{one.kind}")
def test_a_record_belongs_to_its_tenant(world: World, resource: Resource) -> None:
    made = only(world(f"{resource.service}/{resource.methods['create']}", **minimal(world, resource)))
    world.org = "bolt"
    assert not world(f"{resource.service}/{resource.methods['list']}").items
    if "get" in resource.methods:
        named = {"key": made.id.key} if resource.versioned else {"id": made.id}
        theirs = world.refused(f"{resource.service}/{resource.methods['get']}", **named)
        assert theirs.code is grpc.StatusCode.NOT_FOUND
        assert "bolt" not in theirs.message and "acme" not in theirs.message


@pytest.mark.parametrize(
    ("resource", "name"), [pytest.param(one, name, id=one.kind) for one in CRUD for name in one.required]
)
def test_a_required_field_is_named(world: World, resource: Resource, name: str) -> None:
    given = minimal(world, resource)
    [root] = given
    del given[root][name]
    fault = world.refused(f"{resource.service}/{resource.methods['create']}", **given)
    assert (fault.code, fault.violations[0][0]) == (grpc.StatusCode.INVALID_ARGUMENT, f"{root}.{name}")


KEYED = [one for one in CRUD if one.key in one.required]


@pytest.mark.parametrize("resource", KEYED, ids=lambda one: one.service)
def test_a_key_is_unique_in_its_tenant(world: World, resource: Resource) -> None:
    create, given = f"{resource.service}/{resource.methods['create']}", minimal(world, resource)
    world(create, **given)
    assert world.refused(create, **given).code is grpc.StatusCode.ALREADY_EXISTS
    world.org = "bolt"
    assert only(world(create, **given))


# Billing


def test_a_customer_is_as_given_and_numbered(world: World) -> None:
    made = world.customer(name="Acme", country=1, metadata=[{"key": "tier", "value": "gold"}])
    assert (made.name, made.display_name, made.sequential_id, made.slug) == ("Acme", "Acme", "1", "CUS-0001")
    assert made.metadata[0].value == "gold" and made.metadata[0].id
    assert made.created_at.ToDatetime(UTC) == made.updated_at.ToDatetime(UTC) == NOW


def test_a_refused_create_gives_its_number_back(world: World) -> None:
    world.customer("a")
    world.refused("billing.customers.create", input={"external_id": "a"})
    assert world.customer("b").sequential_id == "2"


def test_a_customer_is_found_by_either_id_but_not_by_none(world: World) -> None:
    made = world.customer("c-9")
    assert world("billing.customers.get", external_id="c-9").customer == made
    assert world("billing.customers.get", id=made.id).customer == made
    assert world.refused("billing.customers.get").code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_read_mask_keeps_what_it_names(world: World) -> None:
    world.customer("c-1", name="Acme")
    got = world("billing.customers.get", external_id="c-1", read_mask={"paths": ["name"]}).customer
    assert [field.name for field, _ in got.ListFields()] == ["name"]


def test_an_unknown_path_of_a_read_mask_is_named(world: World) -> None:
    fault = world.refused("billing.customers.list", read_mask={"paths": ["nmae"]})
    assert fault.violations[0][0] == "read_mask" and "nmae" in fault.message


def test_an_update_changes_only_what_is_set(world: World) -> None:
    made = world.customer(name="Acme", city="Riyadh")
    changed = world("billing.customers.update", input={"id": made.id, "city": ""}).customer
    assert (changed.name, changed.city, changed.HasField("city")) == ("Acme", "", True)


def test_an_update_cannot_take_anothers_key(world: World) -> None:
    world.plan("pro")
    other = world.plan("max")
    fault = world.refused("billing.plans.update", input={"id": other.id, "code": "pro"})
    assert fault.code is grpc.StatusCode.ALREADY_EXISTS


def test_a_plans_charges_refer_to_metrics_and_taxes(world: World) -> None:
    metric = world("metering.create", input={"code": "api", "name": "API"}).billable_metric
    world("taxes.create", input={"code": "vat", "name": "VAT", "rate": 15.0})
    charge = {"billable_metric_id": metric.id, "properties": {"amount": "0.001"}, "tax_codes": ["vat"]}
    plan = world.plan(charges=[charge])
    [kept] = plan.charges
    assert (plan.charges_count, plan.has_charges) == (1, True)
    assert (kept.billable_metric.code, kept.properties.amount) == ("api", "0.001")
    assert [tax.code for tax in kept.taxes] == ["vat"] and kept.id


@pytest.mark.parametrize("charge", [{"billable_metric_id": "bm_none"}, {"tax_codes": ["none"]}])
def test_a_reference_that_leads_nowhere_is_named(world: World, charge: dict[str, Any]) -> None:
    fault = world.refused("billing.plans.create", input={"code": "p", "name": "P", "charges": [charge]})
    assert fault.code is grpc.StatusCode.NOT_FOUND
    assert fault.violations[0][0].startswith(f"input.charges[0].{next(iter(charge))}")


@pytest.mark.parametrize("name", ["customer_id", "plan_id"])
def test_a_subscription_needs_its_customer_and_plan_in_the_same_tenant(world: World, name: str) -> None:
    world.org = "bolt"
    foreign = {"customer_id": world.customer().id, "plan_id": world.plan().id}[name]
    world.org = "acme"
    given = {"customer_id": world.customer().id, "plan_id": world.plan().id, name: foreign}
    fault = world.refused("billing.subscriptions.create", input=given)
    assert (fault.code, fault.violations[0][0]) == (grpc.StatusCode.NOT_FOUND, f"input.{name}")


def test_a_subscription_is_active_until_it_is_terminated(world: World) -> None:
    made = world.subscription()
    assert (made.status, made.external_id, made.started_at.ToDatetime(UTC)) == (1, made.id, NOW)
    assert world("billing.customers.get", external_id="c-1").customer.active_subscriptions_count == 1
    assert world("billing.subscriptions.terminate", input={"id": made.id}).subscription.status == 4
    assert world("billing.customers.get", external_id="c-1").customer.active_subscriptions_count == 0
    again = world.refused("billing.subscriptions.terminate", input={"id": made.id})
    assert again.code is grpc.StatusCode.FAILED_PRECONDITION


def test_a_subscription_that_begins_later_is_pending(world: World) -> None:
    assert world.subscription(subscription_at=datetime(2026, 4, 1, tzinfo=UTC)).status == 3


def test_a_subscription_shows_its_customer_as_it_is_now(world: World) -> None:
    made = world.subscription()
    world("billing.customers.update", input={"id": made.customer.id, "name": "New name"})
    assert world("billing.subscriptions.get", id=made.id).subscription.customer.name == "New name"
    world("billing.customers.delete", input={"id": made.customer.id})
    assert world("billing.subscriptions.get", id=made.id).subscription.customer.external_id == "c-1"


def test_subscriptions_are_listed_by_customer_plan_and_status(world: World) -> None:
    made = world.subscription()
    hits = [{"external_customer_id": "c-1"}, {"plan_code": "pro"}, {"status": {"in_values": [1]}}]
    for part in hits:
        assert [one.id for one in world("billing.subscriptions.list", filter={"part": part}).items] == [made.id]
    for part in [{"external_customer_id": "c-2"}, {"plan_code": "max"}, {"status": {"in_values": [4]}}]:
        assert not world("billing.subscriptions.list", filter={"part": part}).items


def test_customers_are_listed_by_country_and_text(world: World) -> None:
    world.customer("a", country=3, name="Blue Ltd")
    world.customer("b", country=4)
    listed = world("billing.customers.list", filter={"part": {"countries": {"in_values": [3]}}})
    assert [one.external_id for one in listed.items] == ["a"]
    assert [one.external_id for one in world("billing.customers.list", filter={"text_search": "blue"}).items] == ["a"]


def test_a_filter_that_is_not_served_is_named(world: World) -> None:
    world.plan()
    fault = world.refused("billing.plans.list", filter={"part": {"with_deleted": True}})
    assert fault.code is grpc.StatusCode.UNIMPLEMENTED and "with_deleted" in fault.message


def test_a_wallet_has_its_granted_credits(world: World) -> None:
    given = {"customer_id": world.customer().id, "rate_amount": "1.5", "granted_credits": "10", "name": "W"}
    wallet = world("wallets.create_customer_wallet", input=given).wallet
    assert (wallet.rate_amount, wallet.credits_balance, wallet.balance_cents, wallet.status) == (1.5, 10.0, 1500, 1)


@pytest.mark.parametrize("name", ["rate_amount", "granted_credits"])
@pytest.mark.parametrize("text", ["ten", "NaN", "1e999"])
def test_a_wallets_numbers_are_numbers(world: World, name: str, text: str) -> None:
    given = {"customer_id": world.customer().id, "rate_amount": "1", name: text}
    fault = world.refused("wallets.create_customer_wallet", input=given)
    assert fault.violations[0][0] == f"input.{name}"


def test_a_coupon_is_applied_with_its_own_terms(world: World) -> None:
    coupon = world("coupons.create", input={"name": "Ten", "code": "TEN", "amount_cents": 1000, "frequency": 2}).coupon
    given = {"coupon_id": coupon.id, "customer_id": world.customer().id, "amount_cents": 700}
    applied = world("coupons.create_applied_coupon", input=given).applied_coupon
    assert (applied.amount_cents, applied.frequency, applied.coupon.code) == (700, 2, "TEN")
    listed = world("coupons.applied_coupons", filter={"part": {"coupon_code": {"in_values": ["TEN"]}}})
    assert [one.id for one in listed.items] == [applied.id]
    world("coupons.terminate", input={"id": coupon.id})
    fault = world.refused("coupons.create_applied_coupon", input=given)
    assert fault.code is grpc.StatusCode.FAILED_PRECONDITION


def test_a_coupon_is_limited_to_plans_that_exist(world: World) -> None:
    plan = world.plan()
    given = {"name": "Ten", "applies_to": {"plan_ids": [plan.id]}}
    assert world("coupons.create", input=given).coupon.plans[0].code == "pro"


def test_features_are_the_same_through_both_services(world: World) -> None:
    made = world("billing.plans.create_feature", input={"code": "sso"}).feature_object
    assert world("entitlements.get", code="sso").feature_object == made
    assert world("entitlements.delete", input={"id": made.id}).feature_object.code == "sso"
    assert not world("billing.plans.list_features").items


def test_webhook_endpoints_are_the_same_through_both_services(world: World) -> None:
    made = world("webhook_endpoints.create", input={"webhook_url": "https://example.com/a"}).webhook_endpoint
    assert world("billing.webhooks.get", id=made.id).webhook_endpoint == made


# Usage events

EVENT = {"transaction_id": "t-1", "code": "api", "external_subscription_id": "s-1", "properties": {"n": 1, "a": "b"}}


def test_an_event_is_stored_once_by_its_transaction(world: World) -> None:
    world("events.create", event=EVENT)
    world("events.create", event=dict(EVENT, properties={"a": "b", "n": 1}))
    assert world("events.list").total_count == 1


def test_an_event_with_other_content_is_refused(world: World) -> None:
    world("events.create", event=EVENT)
    fault = world.refused("events.create", event=dict(EVENT, code="other"))
    assert fault.code is grpc.StatusCode.ALREADY_EXISTS


def test_an_event_is_found_by_its_transaction(world: World) -> None:
    world("events.create", event=EVENT)
    event = world("events.get", transaction_id="t-1").event
    assert (event.code, event.payload["n"], event.timestamp.ToDatetime(UTC)) == ("api", 1, NOW)
    assert event.match_billable_metric is False


@pytest.mark.parametrize("name", ["transaction_id", "code", "external_subscription_id"])
def test_an_event_names_what_it_lacks(world: World, name: str) -> None:
    fault = world.refused("events.batch_create", events=[EVENT, {**EVENT, "transaction_id": "t-2", name: ""}])
    assert fault.violations[0][0] == f"events[1].{name}"


def test_a_batch_is_stored_whole_or_not_at_all(world: World) -> None:
    world("events.create", event=EVENT)
    world.refused("events.batch_create", events=[{**EVENT, "transaction_id": "t-2"}, {**EVENT, "code": "other"}])
    assert [one.transaction_id for one in world("events.list").items] == ["t-1"]


def test_duplicates_in_a_batch_collapse(world: World) -> None:
    world("events.batch_create", events=[EVENT, EVENT])
    assert world("events.list").total_count == 1


@pytest.mark.parametrize("count", [0, 101])
def test_a_batch_holds_one_to_a_hundred_events(world: World, count: int) -> None:
    events = [{**EVENT, "transaction_id": str(i)} for i in range(count)]
    assert world.refused("events.batch_create", events=events).violations[0][0] == "events"


# Invoicing


def test_a_party_has_the_callers_key_and_an_audit(world: World) -> None:
    made = world.party("p-1", role=2)
    assert (made.id.key, made.id.version, made.role, made.name.value.value) == ("p-1", 1, 2, "Acme")
    assert made.audit.creation_info.creator_id.value == "user-1"
    assert made.concurrency_stamp and not made.audit.HasField("last_modification_time")


def test_a_key_is_made_up_if_none_is_given(world: World) -> None:
    assert world.party().id.key != world.party().id.key


def test_the_name_is_the_assignment_without_a_locale(world: World) -> None:
    assignments = [{"locale": "ar", "value": {"value": "Arabic"}}, {"locale": "", "value": {"value": "Default"}}]
    assert world.party(name={"assignments": assignments}).name.value.value == "Default"


def test_an_update_needs_the_latest_stamp(world: World) -> None:
    first = world.party("p-1")
    second = world("parties.update", key="p-1", concurrency_stamp=first.concurrency_stamp, changes={"role": 1}).details
    assert second.concurrency_stamp != first.concurrency_stamp
    assert second.audit.last_modifier_id.value == "user-1"
    stale = world.refused("parties.update", key="p-1", concurrency_stamp=first.concurrency_stamp)
    assert (stale.code, stale.reason) == (grpc.StatusCode.ABORTED, "STALE_STAMP")
    absent = world.refused("parties.update", key="p-1")
    assert (absent.code, absent.violations[0][0]) == (grpc.StatusCode.INVALID_ARGUMENT, "concurrency_stamp")


def test_an_updates_mask_says_what_is_written(world: World) -> None:
    made = world.party("p-1", role=2, details={"website_uri": {"value": "https://a"}})
    mask = {"paths": ["name", "details.website_uri"]}
    update = {"concurrency_stamp": made.concurrency_stamp, "mask": mask, "changes": {"role": 1}}
    changed = world("parties.update", key="p-1", **update).details
    assert changed.role == 2 and not changed.HasField("name") and not changed.details.HasField("website_uri")


def test_an_updates_mask_with_an_unknown_path_is_refused(world: World) -> None:
    made = world.party("p-1")
    update = {"concurrency_stamp": made.concurrency_stamp, "mask": {"paths": ["colour"]}}
    fault = world.refused("parties.update", key="p-1", **update)
    assert fault.violations[0][0] == "mask"


def test_a_delete_takes_all_keys_or_none(world: World) -> None:
    world.party("p-1")
    fault = world.refused("parties.delete", keys=["p-1", "p-2", "p-3"])
    assert fault.code is grpc.StatusCode.NOT_FOUND and "p-2, p-3" in fault.message
    assert world("parties.list").total_count == 1
    world("parties.delete", keys=["p-1", "p-1"])
    assert world("parties.list").total_count == 0


def test_a_deleted_key_is_free_again(world: World) -> None:
    world.party("p-1")
    world("parties.delete", keys=["p-1"])
    assert world.party("p-1").id.version == 1


def test_parties_are_listed_by_tax_id_country_and_role(world: World) -> None:
    scheme = {"party_tax_scheme": [{"company_id": {"value": "300000000000003"}}]}
    address = {"postal_address": {"country": {"identification_code": {"value": "SA"}}}}
    world.party("p-1", role=1, details={**scheme, **address})
    world.party("p-2", role=2)
    parts = [{"country_code": {"in_values": ["SA"]}}, {"role": {"in_values": [1]}}, {"key": {"in_values": ["p-1"]}}]
    for part in [{"tax_id_contains": "0003"}, *parts]:
        assert [one.id.key for one in world("parties.list", filter={"part": part}).items] == ["p-1"]


def test_money_and_rates_stay_exact(world: World) -> None:
    rate = {"units": 9_007_199_254_740_993, "nanos": 999_999_999}
    changes = {"source_currency": "USD", "target_currency": "SAR", "rate": rate}
    world("exchange_rates.create", key="r", changes=changes)
    kept = world("exchange_rates.get", key="r").details.rate
    assert (kept.units, kept.nanos) == (rate["units"], rate["nanos"])


def test_there_is_exactly_one_primary_branch(world: World) -> None:
    def primary() -> list[str]:
        return [one.id.key for one in world("branches.list").items if one.is_primary]

    assert world("branches.create", key="a", changes={"name": "A"}).details.is_primary
    for key, flag in (("b", False), ("c", True)):
        world("branches.create", key=key, changes={"name": key, "is_primary": flag})
    assert primary() == ["c"]
    assert world("branches.set_primary", key="b").details.is_primary
    assert primary() == ["b"]
    world("branches.delete", keys=["b"])
    assert primary() == ["a"]


def test_settings_are_there_from_the_start_and_one_per_tenant(world: World) -> None:
    first = world("settings.get_settings").details
    assert first.default_currency == "SAR" and first.concurrency_stamp
    update = {"concurrency_stamp": first.concurrency_stamp, "changes": {"default_currency": "AED"}}
    changed = world("settings.update_settings", **update).details
    assert world("settings.get_settings").details == changed
    stale = world.refused("settings.update_settings", concurrency_stamp=first.concurrency_stamp)
    assert stale.code is grpc.StatusCode.ABORTED
    world.org = "bolt"
    assert world("settings.get_settings").details.default_currency == "SAR"


def test_the_self_party_is_changed_by_mask(world: World) -> None:
    world("settings.update_self_party", my_info={"signature_image": "s", "stamp_image": "t"})
    world("settings.update_self_party", mask={"paths": ["stamp_image"]}, my_info={"signature_image": "x"})
    kept = world("settings.get_self_party").my_info
    assert (kept.signature_image, kept.HasField("stamp_image")) == ("s", False)


def test_pages_of_records_follow_each_other(world: World) -> None:
    keys = [world.party().id.key for _ in range(5)]
    seen: list[str] = []
    page = world("parties.list", pagination={"limit": {"value": 2}})
    while page.next_page_cursor:
        seen += [one.id.key for one in page.items]
        world("parties.delete", keys=[seen[-1]])
        page = world("parties.list", pagination={"limit": {"value": 2}, "cursor": page.next_page_cursor})
    seen += [one.id.key for one in page.items]
    assert seen == keys
