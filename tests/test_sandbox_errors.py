"""What the sandbox's refusals carry: every wrong field at once, in as many bytes as a peer takes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_fixture import Running, running_sandbox

from invora_grpc.call import message_class
from invora_grpc.catalog import catalog
from invora_grpc.sandbox.dispatch import MOST_STATUS_BYTES, status_of
from invora_grpc.sandbox.engine_shapes import dropped
from invora_grpc.sandbox.engine_table import RESOURCE_OF, RESOURCES
from invora_grpc.sandbox.service import Fault, invalid_fields
from invora_grpc.values import build

Code = grpc.StatusCode
LINE = {"description": "x", "quantity": {"value": 1, "unit_code": "C62"}, "unit_price": 1, "tax": {"tax_rate": 15}}


@pytest.fixture(scope="module")
def demo() -> Iterator[Running]:
    with running_sandbox() as running:
        yield running


def request(name: str, /, **values: Any) -> Any:
    return build(message_class(catalog().method(name).request), values)


# Size


def test_five_thousand_wrong_lines_are_told_to_a_client_with_default_options(demo: Running) -> None:
    changes = {"currency_code": "SAR", "buyer": {"inline": {"legal_name": "L"}}, "lines": [{**LINE, "unit_price": -1}]}
    changes["lines"] = [{**LINE, "description": " "}] * 5000
    refusal = demo.refusal("simple.invoices.create", request("simple.invoices.create", changes=changes))
    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "INVALID_FIELD")
    assert refusal.message == "changes.lines[0].description: is required (and 4999 more)"
    *told, last = refusal.detail(error_details_pb2.BadRequest).field_violations
    assert [one.field for one in told] == [f"changes.lines[{i}].description" for i in range(len(told))]
    assert len(told) > 20 and (last.field, last.description) == ("changes", f"and {5000 - len(told)} more")


@pytest.mark.parametrize("key", ["ف" * 2000, "k" * 10_000, "\t" * 3000])
def test_a_long_key_is_repeated_in_part_only(demo: Running, key: str) -> None:
    refusal = demo.refusal("simple.invoices.get", request("simple.invoices.get", key=key))
    assert (refusal.code, refusal.reason) == (Code.NOT_FOUND, "NOT_FOUND")
    assert refusal.info.metadata["key"] == f"{key[:99]}…"
    assert len(refusal.message) < 500


TEXTS = st.text(st.sampled_from("aف%\n…"), max_size=700)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.lists(st.tuples(TEXTS, TEXTS), max_size=90), st.lists(TEXTS, max_size=3))
def test_a_status_fits_whatever_it_tells(text: str, violations: list[tuple[str, str]], own: list[str]) -> None:
    details = [error_details_pb2.LocalizedMessage(locale="en", message=one * 5) for one in own]
    fault = Fault(
        Code.INVALID_ARGUMENT, text * 3, reason="R", violations=violations, metadata={"k": text}, details=details
    )
    status = status_of(fault)
    encoded = len(base64.b64encode(status.SerializeToString())) + len(quote(status.message, safe=" "))
    assert encoded <= MOST_STATUS_BYTES
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info) and info.reason == "R"
    assert len(status.details) > 1 or not violations


def test_a_short_status_is_whole() -> None:
    wrong = [("a", "is required"), ("b.c", "must be less")]
    status = status_of(invalid_fields(wrong))
    told = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(told)
    assert [(one.field, one.description) for one in told.field_violations] == wrong
    assert status.message == "a: is required (and 1 more)"


def test_the_message_for_one_field_is_its_description() -> None:
    assert invalid_fields([("a", "is required")]).message == "a: is required"


# All at once


@pytest.mark.parametrize(
    ("name", "values", "fields"),
    [
        ("billing.plans.create", {"input": {}}, ["input.code", "input.name"]),
        ("create_customer_wallet", {"input": {"rate_amount": "x"}}, ["input.customer_id", "input.rate_amount"]),
        (
            "billing.events.batch_create",
            {"events": [{"code": "c"}, {"transaction_id": "t"}]},
            [
                *("events[0].transaction_id", "events[0].external_subscription_id"),
                *("events[1].code", "events[1].external_subscription_id"),
            ],
        ),
        ("CreateConnectedBusiness", {"name": " ", "admin_email": "x"}, ["name", "admin_email"]),
        (
            "UpdateBusinessDetails",
            {"country": "XX", "currency": "YYY", "timezone": "Mars"},
            ["country", "currency", "timezone"],
        ),
        (
            "SubmitPlatformApplication",
            {"input": {"technical_contact_email": "x"}},
            [
                *("input.reason", "input.expected_connected_businesses"),
                *("input.technical_contact_email", "input.terms_accepted"),
            ],
        ),
    ],
)
def test_all_wrong_fields_are_told_at_once(demo: Running, name: str, values: dict[str, Any], fields: list[str]) -> None:
    who = demo.token()
    if name == "SubmitPlatformApplication":  # a platform need not apply
        standalone = demo.store.create_organization("Alone")
        who = demo.token(*demo.store.create_client(standalone.org_id, roles=("owner",)))
    refusal = demo.refusal(name, request(name, **values), token=who)
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, fields)
    assert refusal.message.endswith(f" (and {len(fields) - 1} more)")


def test_a_profile_is_checked_at_once() -> None:
    with running_sandbox(seed="empty") as fresh:
        refusal = fresh.refusal("CompleteBusinessProfile", request("CompleteBusinessProfile", country="XX"))
        assert refusal.fields == ["business_name", "country", "capabilities"]


# What is not kept


@pytest.mark.parametrize(
    ("name", "values", "field"),
    [
        (
            "billing.webhook_endpoints.create",
            {"webhook_url": "https://x.example", "event_types": ["ALL"]},
            "event_types",
        ),
        ("billing.plans.create", {"code": "p", "name": "P", "fixed_charges": [{"apply_units_immediately": True}]}, ""),
        ("create_customer_wallet", {"customer_id": "c", "rate_amount": "1", "paid_credits": "5"}, "paid_credits"),
    ],
)
def test_a_field_that_would_be_lost_is_refused(demo: Running, name: str, values: dict[str, Any], field: str) -> None:
    refusal = demo.refusal(name, request(name, input=values))
    path = f"input.{field or 'fixed_charges[0].apply_units_immediately'}"
    assert (refusal.code, refusal.reason) == (Code.UNIMPLEMENTED, "FIELD_NOT_SERVED")
    assert (refusal.fields, refusal.info.metadata["field"]) == ([path], path)
    assert "does not keep this field yet" in refusal.message


def test_the_documentation_names_every_field_that_is_not_kept() -> None:
    told = (Path(__file__).parent.parent / "docs" / "sandbox.md").read_text()
    for resource in RESOURCES:
        entity: Any = message_class(resource.entity).DESCRIPTOR
        for operation in {"create", "update"} & set(resource.methods):
            method = catalog().method(f"{resource.service}/{resource.methods[operation]}")
            fields = message_class(method.request).DESCRIPTOR.fields_by_name
            content: Any = next(fields[name] for name in ("input", "changes", "event") if name in fields)
            for path in dropped(content.message_type, entity, frozenset(RESOURCE_OF)):
                assert path in resource.handled or f"`{path.rpartition('.')[2]}`" in told, path


def test_what_is_terminated_stays_as_it_is(demo: Running) -> None:
    given = {"external_id": "terminated"}
    customer = demo.call("billing.customers.create", request("billing.customers.create", input=given)).customer
    plan = demo.call("billing.plans.create", request("billing.plans.create", input={"code": "t", "name": "T"})).plan
    area = {
        "coupons": ("create", "terminate", "update", {"name": "Ten"}),
        "wallets": (
            *("create_customer_wallet", "terminate_customer_wallet", "update_customer_wallet"),
            {"customer_id": customer.id, "rate_amount": "1"},
        ),
        "billing.subscriptions": ("create", "terminate", "update", {"customer_id": customer.id, "plan_id": plan.id}),
    }
    for where, (create, terminate, update, content) in area.items():
        create, terminate, update = (f"{where}.{rpc}" for rpc in (create, terminate, update))
        [(_, made)] = demo.call(create, request(create, input=content)).ListFields()
        demo.call(terminate, request(terminate, input={"id": made.id}))
        refusal = demo.refusal(update, request(update, input={"id": made.id, "name": "New"}))
        assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "TERMINATED")
