"""Lists of the sandbox: what filters, sorts, pages and masks mean."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from invora_api.billing.customers.v2 import service_pb2 as customers
from invora_api.billing.events.v2 import service_pb2 as events
from invora_api.documents.v2 import service_pb2 as documents
from invora_api.kernel import query_pb2 as query
from invora_api.parties.v2 import models_pb2 as parties
from invora_api.simple.invoices.v1 import models_pb2 as invoices
from invora_grpc.catalog import catalog
from invora_grpc.sandbox.idp import Caller
from invora_grpc.sandbox.listing import MAX_LIMIT, Page, apply_mask, copy_path, fill, page_of
from invora_grpc.sandbox.service import Call, Fault
from invora_grpc.sandbox.store import Store

START = datetime(2026, 1, 1, tzinfo=UTC)
SECRETS = {"cursors": b"s" * 32}
STORE = SimpleNamespace(key=lambda name, generate: SECRETS[name])


@dataclass(frozen=True)
class Item:
    """A row: what filters and sorts see of it, by name."""

    seq: int
    values: dict[str, object]


def item(seq: int, **values: object) -> Item:
    return Item(seq, {"key": f"k{seq}", "created_at": START + timedelta(days=seq), **values})


def call(org: str = "acme", method: str = "parties.list") -> Call:
    caller = Caller("user", "client", org, org, {}, None, 0.0)
    return Call(cast(Store, STORE), catalog().method(method), caller, org, "", START)


def value(row: Item, name: str) -> object:
    return row.values[name]


def text(row: Item) -> str:
    return str(row.values.get("text", ""))


def listed(rows: list[Item], request: Message, context: Call | None = None) -> Page[Item]:
    return page_of(context or call(), rows, request, value=value, text=text)


def kept(rows: list[Item], part: dict[str, Any]) -> list[int]:
    """Places of the rows that a filter on invoices lets through."""
    return [row.seq for row in listed(rows, invoices.ListRequest(filter={"part": part})).items]


def refused(rows: list[Item], request: Message, context: Call | None = None) -> Fault:
    with pytest.raises(Fault) as caught:
        listed(rows, request, context)
    return caught.value


TWO = [item(1), item(2)]


# Filters


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        ({}, [1, 2, 3]),
        ({"key": {"in_values": ["k1", "k3", "k9"]}}, [1, 3]),
        ({"key": {"in_values": []}}, []),
        ({"currency_code": {"in_values": ["SAR"]}}, [1]),
        ({"frozen": True}, [1]),
        ({"frozen": False}, [2, 3]),
        ({"number_contains": "inv"}, [1, 2]),
        ({"payable_amount": {"from_inclusive": {"units": 10}}}, [1, 2]),
        ({"payable_amount": {"from_inclusive": {"units": 10}, "to_exclusive": {"units": 10, "nanos": 1}}}, [1]),
        ({"created_at": {"exact": {"year": 2026, "month": 1, "day": 2}}}, [1]),
        ({"created_at": {"range": {"from_inclusive": {"year": 2026, "month": 1, "day": 3}}}}, [2, 3]),
        ({"created_at": {"range": {"to_exclusive": {"year": 2026, "month": 1, "day": 3}}}}, [1]),
        ({"created_at": {"range_timestamp": {"to_exclusive": START + timedelta(days=2)}}}, [1]),
        ({"issue_at": {}}, [1]),
    ],
)
def test_a_filter_lets_through_what_fits(part: dict[str, Any], wanted: list[int]) -> None:
    rows = [
        item(
            1, currency_code="SAR", frozen=True, number="INV-1", payable_amount=Decimal(10), issue_at=date(2026, 1, 1)
        ),
        item(2, currency_code=["USD", "AED"], frozen=False, number="Inv-2", payable_amount=Decimal("10.000000001")),
        item(3, currency_code=None, frozen=None, number=None, payable_amount=None),
    ]
    rows = [replace(row, values={"issue_at": None, **row.values}) for row in rows]
    assert kept(rows, part) == wanted


@pytest.mark.parametrize("zone", [0, 3, -11])
def test_a_day_is_a_day_of_utc(zone: int) -> None:
    moment = datetime(2026, 1, 1, 23, 59, 59, 999_999, tzinfo=UTC).astimezone(timezone(timedelta(hours=zone)))
    for day, wanted in ((1, [1]), (2, [])):
        part = {"created_at": {"exact": {"year": 2026, "month": 1, "day": day}}}
        assert kept([item(1, created_at=moment)], part) == wanted


def test_any_of_a_rows_values_may_fit() -> None:
    assert kept([item(1, currency_code=["SAR", "USD"])], {"currency_code": {"in_values": ["USD"]}}) == [1]


def test_a_filter_by_numbers_includes_its_bounds() -> None:
    rows = [item(i, active_subscriptions_count=i) for i in (1, 2, 3)]
    for name, wanted in (("from", [2, 3]), ("to", [1, 2])):
        part = {f"active_subscriptions_count_{name}": 2}
        page = listed(rows, customers.ListRequest(filter={"part": part}))
        assert [row.seq for row in page.items] == wanted


def test_pairs_of_key_and_value_are_members() -> None:
    rows = [item(1, metadata=[("tier", "gold")]), item(2, metadata=[("tier", "tin")])]
    part = {"metadata": {"in_values": [{"key": "tier", "value": "gold"}]}}
    assert listed(rows, customers.ListRequest(filter={"part": part})).total_count == 1


def test_an_enum_is_equal_by_number() -> None:
    rows = [item(1, customer_type=1), item(2, customer_type=2)]
    page = listed(rows, customers.ListRequest(filter={"part": {"customer_type": 2}}))
    assert [row.seq for row in page.items] == [2]


def test_a_date_that_does_not_exist_is_named() -> None:
    part = {"created_at": {"exact": {"year": 2026, "month": 2, "day": 30}}}
    fault = refused(TWO, invoices.ListRequest(filter={"part": {"and": {"operands": [{"not": part}]}}}))
    assert fault.violations[0][0] == "filter.part.and.operands[0].not.created_at.exact"


def test_a_filter_field_that_the_rows_do_not_know_is_unimplemented_by_name() -> None:
    fault = refused(TWO, invoices.ListRequest(filter={"part": {"buyer_name_contains": "a"}}))
    assert fault.code is grpc.StatusCode.UNIMPLEMENTED
    assert fault.metadata == {"field": "filter.part.buyer_name_contains"}


def test_an_unsupported_field_is_reported_whatever_stands_beside_it() -> None:
    operands = [{"key": {"in_values": []}}, {"buyer_name_contains": "a"}]
    assert refused(TWO, invoices.ListRequest(filter={"part": {"and": {"operands": operands}}})).reason == "NOT_SERVED"


def test_a_shape_of_filter_that_is_not_known_is_unimplemented() -> None:
    request = documents.ListRequest(filter={"part": {"field": {"field_path": "a"}}})
    assert refused(TWO, request).code is grpc.StatusCode.UNIMPLEMENTED


def test_text_search_finds_all_words_in_any_case() -> None:
    rows = [item(1, text="Blue Lagoon Ltd\ncus_1"), item(2, text="Blue Sky")]
    for words, wanted in (("LTD blue", [1]), ("blue", [1, 2]), ("  ", [1, 2]), ("red", [])):
        assert [row.seq for row in listed(rows, parties.ListRequest(filter={"text_search": words})).items] == wanted


def test_there_is_no_history() -> None:
    assert listed(TWO, parties.ListRequest(filter={"time_reference": {"historical_data": False}})).total_count == 2
    for reference in ({"historical_data": True}, {"reference_date": START}):
        fault = refused(TWO, parties.ListRequest(filter={"time_reference": reference}))
        assert fault.code is grpc.StatusCode.UNIMPLEMENTED and "time_reference" in fault.message


KEYS = st.lists(st.integers(1, 4).map(lambda i: f"k{i}"), max_size=3)
LEAVES = KEYS.map(lambda keys: {"key": {"in_values": keys}}) | st.just(cast("dict[str, Any]", {}))
PARTS = st.recursive(
    LEAVES,
    lambda parts: (
        st.builds(
            lambda word, few: {word: {"operands": few}}, st.sampled_from(["and", "or"]), st.lists(parts, max_size=3)
        )
        | parts.map(lambda part: {"not": part})
    ),
    max_leaves=8,
)


def truth(part: dict[str, Any], key: str) -> bool:
    """The same filter in Python's own words."""
    for word, content in part.items():
        if word == "key":
            return key in content["in_values"]
        if word == "not":
            return not truth(content, key)
        return {"and": all, "or": any}[word](truth(one, key) for one in content["operands"])
    return True


@settings(deadline=None)
@given(PARTS)
def test_and_or_and_not_mean_what_they_mean_in_python(part: dict[str, Any]) -> None:
    rows = [item(i) for i in range(1, 6)]
    assert kept(rows, part) == [row.seq for row in rows if truth(part, str(row.values["key"]))]


# Filters of the kernel that no list of the schema has as yet


def kernel_request() -> type[Message]:
    """A list request whose filter has a part of every type of the kernel."""
    file = FileDescriptorProto(name="test/kernel_filters.proto", package="test.kernel_filters", syntax="proto3")
    file.dependency.append("kernel/query.proto")
    part = file.message_type.add(name="Part")
    part.oneof_decl.add(name="type")
    kinds = sorted(name for name in vars(query) if name.startswith("ListRequestFilterPart"))
    for number, kind in enumerate(kinds, 1):
        part.field.add(name=kind, number=number, label=1, type=11, type_name=f".kernel.{kind}", oneof_index=0)
    file.message_type.add(name="Filter").field.add(name="part", number=1, label=1, type=11, type_name="Part")
    file.message_type.add(name="Request").field.add(name="filter", number=1, label=1, type=11, type_name="Filter")
    pool = descriptor_pool.Default()
    return message_factory.GetMessageClass(
        pool.AddSerializedFile(file.SerializeToString()).message_types_by_name["Request"]
    )


KERNEL_REQUEST = kernel_request()
NOON = {"hours": 12}
DAY = {"year": 2026, "month": 1, "day": 1}
NUMBERS = [1, 2, None]
TIMES = [time(11, 59, 59, 999_999), time(12), datetime(2026, 1, 1, 23, 59, tzinfo=UTC), None]
MOMENTS = [START - timedelta(microseconds=1), START, date(2026, 1, 1), None]


@pytest.mark.parametrize(
    ("kind", "content", "values", "wanted"),
    [
        ("Time", {"range": {"from_inclusive": NOON, "to_exclusive": {"hours": 24}}}, TIMES, [1, 2]),
        ("Time", {"range": {"to_exclusive": NOON}}, TIMES, [0]),
        ("DateV2", {"exact": DAY}, MOMENTS, [1, 2]),
        ("Date", {"from_inclusive": START}, MOMENTS, [1, 2]),
        ("Date", {"to_exclusive": START}, MOMENTS, [0]),
        ("UInt64", {"from_inclusive": {"value": 2}}, NUMBERS, [1]),
        ("Int64", {"to_exclusive": {"value": 2}}, NUMBERS, [0]),
        ("UInt64Nullable", {}, NUMBERS, [2]),
        ("Int64Nullable", {"value": {}}, NUMBERS, [0, 1]),
        ("DecimalValueNullable", {"value": {"from_inclusive": {"units": 2}}}, NUMBERS, [1]),
        ("DateV2Nullable", {"value": {}}, MOMENTS, [0, 1, 2]),
        ("DateNullable", {}, MOMENTS, [3]),
    ],
)
def test_every_filter_of_the_kernel_is_understood(
    kind: str, content: dict[str, Any], values: list[object], wanted: list[int]
) -> None:
    name = f"ListRequestFilterPart{kind}"
    rows = [item(i, **{name: one}) for i, one in enumerate(values)]
    request = KERNEL_REQUEST(filter={"part": {name: content}})
    assert [row.seq for row in listed(rows, request).items] == wanted


# Order


def test_rows_come_in_the_order_of_creation() -> None:
    assert [row.seq for row in listed([item(1), item(2), item(3)], parties.ListRequest()).items] == [1, 2, 3]


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"rules": [{name: f"SORT_DIRECTION_{way}ENDING"} for name, way in pairs]}


@pytest.mark.parametrize(("way", "wanted"), [("ASC", [2, 1, 4, 3, 5]), ("DESC", [1, 4, 2, 3, 5])])
def test_missing_values_come_last_and_ties_stay_in_order(way: str, wanted: list[int]) -> None:
    rows = [item(i, name=name) for i, name in enumerate(["b", "a", None, "b", None], 1)]
    assert [row.seq for row in listed(rows, parties.ListRequest(sort=rules(("name", way)))).items] == wanted


def test_rules_count_in_their_order() -> None:
    rows = [item(1, name="b"), item(2, name="a"), item(3, name="b")]
    request = parties.ListRequest(sort=rules(("name", "ASC"), ("created_at", "DESC")))
    assert [row.seq for row in listed(rows, request).items] == [2, 3, 1]


def test_a_rule_needs_a_direction() -> None:
    fault = refused(TWO, parties.ListRequest(sort={"rules": [{"created_at": "SORT_DIRECTION_UNSPECIFIED"}]}))
    assert fault.violations[0][0] == "sort.rules[0].created_at"


def test_a_sort_field_that_the_rows_do_not_know_is_unimplemented_by_name() -> None:
    fault = refused(TWO, parties.ListRequest(sort=rules(("name", "ASC"))))
    assert fault.metadata == {"field": "sort.rules[0].name"}


# Pages


def walk(rows: list[Item], request: Any) -> list[list[Item]]:
    """All pages, following the cursors."""
    pages = [listed(rows, request)]
    while pages[-1].next_cursor:
        request.pagination.cursor = pages[-1].next_cursor
        pages.append(listed(rows, request))
    return [page.items for page in pages]


NAMES = st.lists(st.none() | st.sampled_from(["a", "b", "c", "é", "A"]), max_size=12)
SORTS = st.lists(
    st.tuples(st.sampled_from(["name", "created_at", "updated_at"]), st.sampled_from(["ASC", "DESC"])), max_size=3
)


def table(names: list[str | None]) -> list[Item]:
    return [item(i, name=name, updated_at=START + timedelta(days=i % 3)) for i, name in enumerate(names, 1)]


@settings(deadline=None)
@given(NAMES, SORTS, st.integers(1, 5), KEYS)
def test_pages_put_together_are_the_whole_list(
    names: list[str | None], sort: list[tuple[str, str]], limit: int, keys: list[str]
) -> None:
    rows = table(names)
    part = {"part": {"key": {"in_values": keys}}} if keys else {}
    whole = listed(rows, parties.ListRequest(filter=part, sort=rules(*sort))).items
    request = parties.ListRequest(filter=part, sort=rules(*sort), pagination={"limit": {"value": limit}})
    pages = walk(rows, request)
    assert [row for page in pages for row in page] == whole
    assert all(len(page) == limit for page in pages[:-1])


@settings(max_examples=100, deadline=None)
@given(NAMES, SORTS, st.data())
def test_what_comes_and_goes_between_pages_disturbs_no_other_row(
    names: list[str | None], sort: list[tuple[str, str]], data: st.DataObject
) -> None:
    rows = table(names)
    lasting, seen, count = set(range(1, len(rows) + 1)), [], len(rows)
    request = parties.ListRequest(sort=rules(*sort), pagination={"limit": {"value": data.draw(st.integers(1, 4))}})
    page = listed(rows, request)
    seen += [row.seq for row in page.items]
    while page.next_cursor:
        gone = data.draw(st.sets(st.sampled_from([row.seq for row in rows]), max_size=3))
        lasting -= gone
        new = table([*names, *data.draw(NAMES)])[count : count + 2]
        count += len(new)
        names = [*names, *[cast("str | None", row.values["name"]) for row in new]]
        rows = [row for row in [*rows, *new] if row.seq not in gone]
        if not rows:
            break
        request.pagination.cursor = page.next_cursor
        page = listed(rows, request)
        seen += [row.seq for row in page.items]
    assert len(seen) == len(set(seen))
    assert lasting <= set(seen)


def test_a_row_made_between_pages_comes_last_in_the_default_order() -> None:
    request = parties.ListRequest(pagination={"limit": {"value": 2}})
    first = listed([item(i) for i in (1, 2, 3)], request)
    request.pagination.cursor = first.next_cursor
    assert [row.seq for row in listed([item(i) for i in (1, 3, 4)], request).items] == [3, 4]


def test_skip_leaves_out_the_first_rows() -> None:
    rows = [item(i) for i in (1, 2, 3)]
    page = listed(rows, parties.ListRequest(pagination={"skip": 2}))
    assert ([row.seq for row in page.items], page.total_count, page.next_cursor) == ([3], 3, "")
    assert listed(rows, parties.ListRequest(pagination={"skip": 2**64 - 1})).items == []


def test_fifty_are_a_page() -> None:
    page = listed([item(i) for i in range(1, 52)], parties.ListRequest())
    assert (len(page.items), page.total_count, bool(page.next_cursor)) == (50, 51, True)


def test_the_last_page_has_no_cursor() -> None:
    assert listed(TWO, parties.ListRequest(pagination={"limit": {"value": 2}})).next_cursor == ""


def test_a_list_without_pagination_gives_everything() -> None:
    assert len(listed([item(i) for i in range(1, 61)], events.ListRequest()).items) == 60


@pytest.mark.parametrize(
    ("limit", "code"), [(0, grpc.StatusCode.INVALID_ARGUMENT), (MAX_LIMIT + 1, grpc.StatusCode.OUT_OF_RANGE)]
)
def test_a_limit_has_its_limits(limit: int, code: grpc.StatusCode) -> None:
    fault = refused(TWO, parties.ListRequest(pagination={"limit": {"value": limit}}))
    assert (fault.code, fault.violations[0][0]) == (code, "pagination.limit")


def cursor() -> str:
    return listed(TWO, parties.ListRequest(pagination={"limit": {"value": 1}})).next_cursor


@pytest.mark.parametrize(
    ("request_", "context"),
    [
        (parties.ListRequest(), call("bolt")),
        (parties.ListRequest(), call(method="people.list")),
        (parties.ListRequest(filter={"text_search": "a"}), call()),
        (parties.ListRequest(sort=rules(("created_at", "ASC"))), call()),
    ],
)
def test_a_cursor_is_of_use_in_its_own_list_only(request_: parties.ListRequest, context: Call) -> None:
    request_.pagination.cursor = cursor()
    fault = refused(TWO, request_, context)
    assert fault.code is grpc.StatusCode.OUT_OF_RANGE and "begin the list again" in fault.message


@settings(deadline=None)
@given(st.text() | st.integers(0, 30).map(lambda i: cursor()[:i] + "x" + cursor()[i + 1 :]))
def test_a_tampered_cursor_is_refused(text: str) -> None:
    if text and text != cursor():
        fault = refused(TWO, parties.ListRequest(pagination={"cursor": text}))
        assert fault.code is grpc.StatusCode.OUT_OF_RANGE


@settings(deadline=None)
@given(st.binary(max_size=80), st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5))
def test_a_forged_cursor_is_refused(noise: bytes, content: object) -> None:
    known = hashlib.sha256(f"acme\0{call().method.path}".encode() + bytes(16)).digest()  # what any caller can tell
    body = json.dumps(content).encode()
    for sealed in (noise or b"x", hashlib.blake2b(body, key=known, digest_size=12).digest() + body):
        forged = parties.ListRequest(pagination={"cursor": base64.urlsafe_b64encode(sealed)})
        assert refused(TWO, forged).code is grpc.StatusCode.OUT_OF_RANGE


def test_a_cursor_of_another_store_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    former = cursor()
    monkeypatch.setitem(SECRETS, "cursors", b"t" * 32)
    assert refused(TWO, parties.ListRequest(pagination={"cursor": former})).reason == "CURSOR_INVALID"


def test_a_cursor_is_url_safe_text_that_shows_no_tenant() -> None:
    assert set(cursor()) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert "acme" not in cursor()


def test_rows_without_a_place_need_one() -> None:
    rows, request = [{"name": "b"}, {"name": "a"}], parties.ListRequest(sort=rules(("name", "ASC")))
    with pytest.raises(TypeError, match="order="):
        page_of(call(), rows, request, value=dict.__getitem__, text=str)
    page = page_of(call(), rows, request, value=dict.__getitem__, text=str, order=rows.index)
    assert page.items == [{"name": "a"}, {"name": "b"}]


# Responses and masks


@pytest.mark.parametrize("text_cursor", ["", "more"])
def test_a_response_has_its_cursor_in_whichever_form(text_cursor: str) -> None:
    plain: Any = fill(parties.ListResponse, Page([], 7, text_cursor), [parties.Party()])
    wrapped: Any = fill(customers.ListResponse, Page([], 7, text_cursor), [])
    assert (plain.next_page_cursor, plain.HasField("next_page_cursor")) == (text_cursor, bool(text_cursor))
    assert (wrapped.next_page_cursor.value, wrapped.HasField("next_page_cursor")) == (text_cursor, bool(text_cursor))
    assert (len(plain.items), plain.total_count) == (1, 7)


PARTY = parties.Party(id={"key": "k", "version": 3}, role=parties.PARTY_ROLE_CUSTOMER, name={"value": {"value": "N"}})


@pytest.mark.parametrize(
    ("paths", "wanted"),
    [
        ([], PARTY),
        (["*"], PARTY),
        (["role"], parties.Party(role=parties.PARTY_ROLE_CUSTOMER)),
        (["id.key", "role"], parties.Party(id={"key": "k"}, role=parties.PARTY_ROLE_CUSTOMER)),
        (["id.key", "id"], parties.Party(id={"key": "k", "version": 3})),
        (["audit.creation_info", "billing_customer_external_id"], parties.Party()),
    ],
)
def test_a_mask_keeps_what_it_names(paths: list[str], wanted: Message) -> None:
    assert apply_mask(PARTY, FieldMask(paths=paths)) == wanted


@pytest.mark.parametrize("path", ["colour", "id.colour", "role.x", "", "name.assignments.locale"])
def test_an_unknown_path_is_named(path: str) -> None:
    with pytest.raises(Fault) as caught:
        apply_mask(PARTY, FieldMask(paths=["role", path]), field="read_mask")
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.violations == (("read_mask", f"{path!r} is not a field of Party"),)


def test_a_copied_path_is_unset_where_it_was_unset() -> None:
    target = parties.Party()
    target.CopyFrom(PARTY)
    copy_path(parties.Party(), target, ["name", "value"])
    assert target.HasField("name") and not target.name.HasField("value")
