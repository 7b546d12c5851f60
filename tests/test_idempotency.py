"""Keyed creates: which requests have a key, what their payload is, and whether a stored record is what was sent."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from google.protobuf.message import Message
from sandbox_fixture import Running, running_sandbox

from invora_grpc.call import bind
from invora_grpc.catalog import catalog
from invora_grpc.idempotency import FINGERPRINT, KeyPlan, key_plan, new_key
from invora_grpc.likeness import holds
from invora_grpc.values import build

NAMED = {"assignments": [{"locale": "en", "value": "Acme"}, {"locale": "ar", "value": "أكمي"}]}
LINE = {"description": "Consulting", "quantity": {"value": 3, "unit_code": "HUR"}, "unit_price": "199.90"}
LINE |= {"tax": {"tax_rate": 15}}
INVOICE = {"currency_code": "SAR", "buyer": {"inline": {"legal_name": "Layla"}}, "supply_date": "2026-11-20"}
INVOICE |= {"issue_at": "2026-11-20T09:00:00.25Z", "notes": ["Thanks"], "lines": [LINE, {**LINE, "unit_price": 0}]}
NOTE = {
    "invoice_key": "corrected",
    "reason": "Returned",
    "lines": [{**LINE, "quantity": {"value": 1, "unit_code": "HUR"}}],
}
AMOUNT = {"charge_indicator": {"value": False}, "amount": {"value": "5.50", "currency_id": "SAR"}}
EVENT = {"code": "api_calls", "external_subscription_id": "sub-1", "timestamp": "2026-11-20T09:00:00Z"}
EVENT |= {"properties": {"bytes": 512, "region": "riyadh", "tags": ["a", "b"], "free": False}}
SERVED: dict[str, dict[str, Any]] = {
    "invoicing.parties.create": {"changes": {"name": NAMED}},
    "invoicing.branches.create": {"changes": {"name": "North", "invoice_prefix": "N-"}},
    "invoicing.people.create": {"changes": {"name": NAMED}},
    "invoicing.allowances.create": {"changes": {"name": NAMED, "coupon": "SPRING", "details": AMOUNT}},
    "invoicing.charges.create": {"changes": {"name": NAMED, "details": AMOUNT}},
    "invoicing.exchange_rates.create": {
        "changes": {"source_currency": "USD", "target_currency": "SAR", "rate": "3.75", "effective_date": "2026-11-20"}
    },
    "simple.invoices.create": {"changes": INVOICE},
    "simple.credit_notes.create": {"changes": NOTE},
    "simple.debit_notes.create": {"changes": NOTE},
    "billing.events.create": {"event": EVENT},
    "billing.events.batch_create": {"events": [EVENT, {**EVENT, "code": "storage"}]},
}
"""A request of every keyed create that the sandbox serves, without its key."""
FREEZES = [name for name in SERVED if name.startswith("simple.")]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Running]:
    with running_sandbox(seed="demo") as running:
        create = {"key": "corrected", "changes": INVOICE, "freeze_immediately": True}
        running.call("simple.invoices.create", request_of("simple.invoices.create", create))
        yield running


def plan_of(name: str) -> KeyPlan:
    plan = key_plan(catalog().method(name))
    assert plan is not None
    return plan


def request_of(name: str, values: dict[str, Any]) -> Any:
    return build(bind(catalog().method(name)).request_class, values)


def keyed(name: str, values: dict[str, Any]) -> Any:
    """A request with new keys."""
    plan, request = plan_of(name), request_of(name, values)
    return plan.with_keys(request, tuple(new_key() for _ in plan.keys(request)))


def found(running: Running, name: str, request: Message) -> tuple[Message, ...]:
    """What the Gets for its keys answer."""
    plan = plan_of(name)
    return tuple(running.call(plan.lookup.path, plan.lookup_request(key or "")) for key in plan.keys(request))


def answer(name: str, sent: Message, records: tuple[Message, ...]) -> Message | None:
    return plan_of(name).response_from(sent, records, bind(catalog().method(name)).response_class)


# --- which creates have keys ---


def test_the_keyed_creates_are_those_that_take_a_key_and_can_be_read_by_it() -> None:
    assert {method.attribute for method in catalog().methods if key_plan(method)} == {
        *SERVED,
        "invoicing.documents.create",
        "invoicing.imports.create",
    }


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("billing.customers.create", id="external_id is a name"),
        pytest.param("billing.plans.create", id="code is a name"),
        pytest.param("invoicing.documents.bulk_create", id="bulk has no keys that a Get takes"),
        pytest.param("simple.invoices.freeze", id="a change of a record"),
        pytest.param("simple.invoices.get", id="a read"),
    ],
)
def test_other_rpcs_have_no_plan(name: str) -> None:
    assert key_plan(catalog().method(name)) is None


# --- keys in requests ---


@pytest.mark.parametrize("name", SERVED)
def test_a_request_without_keys_gets_them_in_a_copy(name: str) -> None:
    plan, request = plan_of(name), request_of(name, SERVED[name])
    absent = plan.keys(request)
    keys = tuple(new_key() for _ in absent)
    with_keys = plan.with_keys(request, keys)
    assert set(absent) == {None}
    assert plan.keys(with_keys) == keys
    assert plan.keys(request) == absent


@pytest.mark.parametrize("name", SERVED)
def test_a_request_that_has_its_keys_stays_the_same_object(name: str) -> None:
    plan, request = plan_of(name), keyed(name, SERVED[name])
    assert plan.with_keys(request, plan.keys(request)) is request


def test_an_empty_key_is_no_key() -> None:
    request = request_of("simple.invoices.create", {"key": ""})
    assert plan_of("simple.invoices.create").keys(request) == (None,)


def test_each_event_of_a_batch_has_its_own_key() -> None:
    plan = plan_of("billing.events.batch_create")
    request = request_of("billing.events.batch_create", {"events": [{"transaction_id": "a"}, {"code": "x"}]})
    assert plan.keys(request) == ("a", None)
    assert plan.keys(plan.with_keys(request, ("a", "b"))) == ("a", "b")


def test_a_generated_key_is_a_uuid_that_sorts_by_time() -> None:
    keys = [new_key() for _ in range(1000)]
    parsed = [uuid.UUID(key) for key in keys]
    assert {(one.version, one.variant) for one in parsed} == {(7, uuid.RFC_4122)}
    assert len(set(keys)) == 1000
    assert [key[:13] for key in keys] == sorted(key[:13] for key in keys)
    assert len({key[14:] for key in keys}) == 1000


# --- fingerprints ---


@pytest.mark.parametrize("name", SERVED)
def test_the_key_is_no_part_of_the_fingerprint(name: str) -> None:
    plan, bare = plan_of(name), request_of(name, SERVED[name])
    assert plan.fingerprint(bare) == plan.fingerprint(keyed(name, SERVED[name])) == plan.fingerprint(bare)
    assert len(plan.fingerprint(bare)) == FINGERPRINT * len(plan.keys(bare))


def test_everything_else_is_part_of_the_fingerprint() -> None:
    plan = plan_of("simple.invoices.create")
    others = [{}, {"changes": INVOICE}, {"changes": INVOICE, "freeze_immediately": True}]
    others += [{"changes": {**INVOICE, "notes": ["Thanks!"]}}]
    assert len({plan.fingerprint(request_of("simple.invoices.create", one)) for one in others}) == 4


def test_a_batch_has_a_fingerprint_for_each_event_wherever_it_stands() -> None:
    plan, name = plan_of("billing.events.batch_create"), "billing.events.batch_create"
    first, second = EVENT, {**EVENT, "code": "storage"}
    ahead, behind = (plan.fingerprint(request_of(name, {"events": e})) for e in ([first, second], [second, first]))
    assert ahead[:FINGERPRINT] == behind[FINGERPRINT:] != ahead[FINGERPRINT:]


def test_a_fingerprint_is_the_same_in_another_process() -> None:
    code = "from test_idempotency import *; print(plan_of('billing.events.create').fingerprint(keyed(*ONE)).hex())"
    code = code.replace("ONE", "('billing.events.create', SERVED['billing.events.create'])")
    run = [
        subprocess.run([sys.executable, "-c", code], env=env_with(seed), capture_output=True, text=True, check=True)
        for seed in ("1", "2")
    ]
    own = plan_of("billing.events.create").fingerprint(
        request_of("billing.events.create", SERVED["billing.events.create"])
    )
    assert [one.stdout.strip() for one in run] == [own.hex()] * 2


def env_with(seed: str) -> dict[str, str]:
    """An environment in which Python hashes text in its own way, so that maps come in another order."""
    return {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}


# --- whether a record is what was sent ---


@pytest.mark.parametrize("name", SERVED)
def test_what_was_sent_is_found_again_and_makes_the_response_of_the_create(sandbox: Running, name: str) -> None:
    request = keyed(name, SERVED[name])
    response = sandbox.call(name, request)
    assert answer(name, request, found(sandbox, name, request)) == response


@pytest.mark.parametrize("name", FREEZES)
def test_a_document_that_was_frozen_at_once_is_found_again(sandbox: Running, name: str) -> None:
    request = keyed(name, {**SERVED[name], "freeze_immediately": True})
    response = sandbox.call(name, request)
    assert response.details.frozen
    assert answer(name, request, found(sandbox, name, request)) == response


@pytest.mark.parametrize("name", FREEZES)
def test_a_draft_is_not_the_frozen_document_that_was_sent(sandbox: Running, name: str) -> None:
    request = keyed(name, SERVED[name])
    sandbox.call(name, request)
    records = found(sandbox, name, request)
    request.freeze_immediately = True
    assert answer(name, request, records) is None


def test_a_draft_that_somebody_froze_since_is_still_what_was_sent(sandbox: Running) -> None:
    request = keyed("simple.invoices.create", SERVED["simple.invoices.create"])
    frozen = keyed("simple.invoices.create", {**SERVED["simple.invoices.create"], "freeze_immediately": True})
    sandbox.call("simple.invoices.create", frozen)
    assert answer("simple.invoices.create", request, found(sandbox, "simple.invoices.create", frozen)) is not None


ONE_MORE = "one more"
"""Stands for a list whose first item is there once more."""


def changed(values: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """The values with another one at a dotted path."""
    copy = deepcopy(values)
    at: Any = copy
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in parents:
        at = at[step]
    at[last] = [*at[last], at[last][0]] if value is ONE_MORE else value
    return copy


DIFFERENCES: list[tuple[str, str, Any]] = [
    ("invoicing.parties.create", "changes.name.assignments.0.value", "Acme Ltd"),
    ("invoicing.parties.create", "changes.name.assignments", ONE_MORE),
    ("invoicing.branches.create", "changes.name", "South"),
    ("invoicing.branches.create", "changes.invoice_prefix", ""),
    ("invoicing.people.create", "changes.name.assignments.1.locale", "he"),
    ("invoicing.allowances.create", "changes.details.amount.value", "5.51"),
    ("invoicing.allowances.create", "changes.coupon", "AUTUMN"),
    ("invoicing.charges.create", "changes.details.charge_indicator.value", True),
    ("invoicing.exchange_rates.create", "changes.rate", "3.750000001"),
    ("invoicing.exchange_rates.create", "changes.effective_date", "2026-11-21"),
    ("simple.invoices.create", "changes.lines.0.unit_price", "199.91"),
    ("simple.invoices.create", "changes.lines.1.unit_price", "0.01"),
    ("simple.invoices.create", "changes.lines.1.quantity.value", 4),
    ("simple.invoices.create", "changes.lines", ONE_MORE),
    ("simple.invoices.create", "changes.buyer.inline.legal_name", "Noura"),
    ("simple.invoices.create", "changes.buyer", {"party_key": ""}),
    ("simple.invoices.create", "changes.issue_at", "2026-11-20T09:00:00.250001Z"),
    ("simple.invoices.create", "changes.notes", ["Thanks", "again"]),
    ("simple.credit_notes.create", "changes.reason", "Broken"),
    ("simple.debit_notes.create", "changes.invoice_key", "another"),
    ("billing.events.create", "event.code", "storage"),
    ("billing.events.create", "event.properties.bytes", 513),
    ("billing.events.create", "event.properties.region", None),
    ("billing.events.create", "event.properties.tags", ["a"]),
    ("billing.events.create", "event.properties", {"bytes": 512}),
    ("billing.events.batch_create", "events.1.properties.bytes", 0),
]


@pytest.mark.parametrize(("name", "path", "value"), DIFFERENCES, ids=lambda value: str(value)[:60])
def test_a_record_that_differs_in_one_place_is_another_one(
    sandbox: Running, name: str, path: str, value: object
) -> None:
    request = keyed(name, SERVED[name])
    sandbox.call(name, request)
    other = plan_of(name).with_keys(
        request_of(name, changed(SERVED[name], path, value)), tuple(key or "" for key in plan_of(name).keys(request))
    )
    assert answer(name, other, found(sandbox, name, request)) is None


def test_what_a_request_leaves_to_the_server_makes_no_difference(sandbox: Running) -> None:
    request = keyed("simple.invoices.create", SERVED["simple.invoices.create"])
    sandbox.call("simple.invoices.create", request)
    less = deepcopy(request)
    for name in ("issue_at", "supply_date", "notes"):
        less.changes.ClearField(name)
    assert answer("simple.invoices.create", less, found(sandbox, "simple.invoices.create", request)) is not None


def test_zero_and_absent_are_the_same_amount() -> None:
    zero, absent = (
        request_of("simple.invoices.create", {"changes": {"lines": [one]}}).changes for one in ({"unit_price": 0}, {})
    )
    assert holds(absent, zero)
    assert not holds(absent, request_of("simple.invoices.create", {"changes": {"lines": [{"unit_price": 1}]}}).changes)


def test_an_amount_is_compared_by_its_value_however_it_is_split() -> None:
    record = request_of("simple.invoices.create", {"changes": {"lines": [{"unit_price": "1.5"}]}}).changes
    split = deepcopy(record)
    split.lines[0].unit_price.units, split.lines[0].unit_price.nanos = 2, -500_000_000
    assert holds(record, split)


def test_a_record_that_lacks_a_field_of_the_request_is_another_one() -> None:
    record = request_of("billing.events.create", {"event": {"code": "x"}}).event
    assert not holds(record, request_of("simple.invoices.create", {"changes": INVOICE}).changes)


@pytest.mark.parametrize("name", sorted({*SERVED, "invoicing.documents.create", "invoicing.imports.create"}))
def test_every_field_of_a_keyed_create_has_a_counterpart_in_the_record(name: str) -> None:
    """A field that had none would make every record another one."""
    plan, binding = plan_of(name), bind(catalog().method(name))
    request: Any = binding.request_class.DESCRIPTOR
    (record,) = (one.message_type for one in bind(plan.lookup).response_class.DESCRIPTOR.fields)
    holder = request.fields_by_name[plan.holder or "changes"].message_type
    absent = [one.name for one in holder.fields if one.name not in record.fields_by_name]
    assert absent == (["properties"] if "events" in name else [])


def test_no_answer_comes_out_of_records_that_are_missing_or_empty(sandbox: Running) -> None:
    name = "billing.events.batch_create"
    request = keyed(name, SERVED[name])
    sandbox.call(name, request)
    records = found(sandbox, name, request)
    assert answer(name, request, records[:1]) is None
    assert answer(name, request, (records[0], type(records[0])())) is None


@pytest.mark.parametrize("name", SERVED)
def test_a_request_of_keys_alone_asks_for_nothing_else(sandbox: Running, name: str) -> None:
    """For keys of the client's own making, under which nothing but its record can be."""
    request = keyed(name, SERVED[name])
    sandbox.call(name, request)
    plan = plan_of(name)
    bare = plan.with_keys(type(request)(), tuple(key or "" for key in plan.keys(request)))
    assert answer(name, bare, found(sandbox, name, request)) is not None
