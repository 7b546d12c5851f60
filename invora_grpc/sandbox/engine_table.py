"""The table of plain resources: which services serve which records, and how these differ from each other.

Data, and the few last touches that only one kind of record needs. Everything that all of them have in common is the
engine's. Nothing here reads or writes a record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from invora_api.billing.common.v2.models_pb2 import CurrencyEnum
from invora_grpc.exact import INT64_MAX
from invora_grpc.sandbox.engine_shapes import number_of, state_of, status_of
from invora_grpc.sandbox.service import Call, Wrong, echo, failed_precondition, invalid, refuse
from invora_grpc.sandbox.totals import decimals_of

Finish = Callable[[Call, Any, Any], None]
"""Last touches to an entity: (call, input, entity)."""

_CRUD: Final = MappingProxyType({name.lower(): name for name in ("Create", "Get", "List", "Update", "Delete")})
_LEDGER: Final = MappingProxyType({name: rpc for name, rpc in _CRUD.items() if name != "delete"})
_EXACT: Final = 160  # digits: room for the product of any two numbers that are accepted
_WALLET_CHANGES: Final = ("create", "update", "terminate")


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of record and the RPCs that serve it."""

    service: str
    """Full name of the service."""
    kind: str
    """Of the store's records; services that share records share it."""
    entity: str
    """Full name of the entity's message."""
    label: str
    """What errors call one of them."""
    prefix: str
    """Of generated ids and keys."""
    key: str = ""
    """The entity's unique field, dotted; "" if it has none."""
    required: tuple[str, ...] = ()
    """Input fields without which there is nothing to create."""
    methods: Mapping[str, str] = field(default_factory=lambda: _CRUD)
    """Operation → RPC."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Filter or sort field → path in the entity, where the name alone does not tell."""
    on_create: Finish | None = None
    on_write: Finish | None = None
    counts: tuple[tuple[str, str, str], ...] = ()
    """(entity field, kind whose active records are counted, their field that refers here)."""
    handled: frozenset[str] = frozenset()
    """Input fields that have no place in the entity because something else is made of them."""
    sole: str = ""
    """A flag that exactly one record of the tenant has."""

    @property
    def versioned(self) -> bool:
        """Whether the id is a kernel.KeyVersion, whose key the caller may choose."""
        return self.key == "id.key"


# What differs between resources


def _name_customer(call: Call, content: Any, entity: Any) -> None:
    entity.display_name = entity.name or entity.legal_name or entity.external_id


def _number_customer(call: Call, content: Any, entity: Any) -> None:
    number = call.store.next_number(call.org_id, "billing.customers")
    entity.sequential_id, entity.slug = str(number), f"CUS-{number:04d}"


def _count_charges(call: Call, content: Any, entity: Any) -> None:
    entity.charges_count, entity.has_charges = len(entity.charges), bool(entity.charges)
    entity.fixed_charges_count, entity.has_fixed_charges = len(entity.fixed_charges), bool(entity.fixed_charges)


def _start_subscription(call: Call, content: Any, entity: Any) -> None:
    entity.external_id = entity.external_id or entity.id
    now = Timestamp()
    now.FromDatetime(call.now)
    if not entity.HasField("subscription_at"):
        entity.subscription_at.CopyFrom(now)
    if entity.subscription_at.ToNanoseconds() > now.ToNanoseconds():
        entity.status = status_of(entity, "PENDING")
    else:
        entity.started_at.CopyFrom(entity.subscription_at)


def _fund_wallet(call: Call, content: Any, entity: Any) -> None:
    """Granted credits are there at once; paid ones come with a payment, which the sandbox does not take."""
    wrong: Wrong = []
    credits, rate = _credits(content.granted_credits), _credits(content.rate_amount)
    if credits is None:
        wrong.append(("input.granted_credits", "must be a number of credits, zero or more"))
    if rate is None or (not rate and (content.rate_amount or credits)):
        wrong.append(("input.rate_amount", "must be the price of one credit, greater than zero"))
    refuse(wrong)
    assert credits is not None and rate is not None
    currency = CurrencyEnum.DESCRIPTOR.values_by_number.get(content.currency)
    with localcontext(prec=_EXACT):
        amount = (credits * rate).scaleb(decimals_of(currency.name.rpartition("_")[2] if currency else ""))
    if amount != amount.to_integral_value() or amount > INT64_MAX:
        raise invalid("input.granted_credits", "must come to a whole number of cents, in 64 bits, at this rate_amount")
    entity.credits_balance, entity.balance_cents = float(credits), int(amount)


def _credits(text: str) -> Decimal | None:
    with suppress(ValueError):
        return number if (number := number_of(text)) >= 0 else None
    return None


def _apply_coupon(call: Call, content: Any, entity: Any) -> None:
    """What the application does not say is as the coupon has it."""
    if state_of(entity.coupon) != "active":
        raise failed_precondition(f"the coupon {echo(entity.coupon.id)} is terminated", "COUPON_TERMINATED")
    given = {descriptor.name for descriptor, _ in content.ListFields()}
    known = {descriptor.name for descriptor, _ in entity.coupon.ListFields()}
    for name in ("amount_cents", "amount_currency", "percentage_rate", "frequency", "frequency_duration"):
        if name in known - given:
            setattr(entity, name, getattr(entity.coupon, name))


def _default_settings(call: Call, content: Any, entity: Any) -> None:
    entity.default_currency = "SAR"


def _billing(
    area: str, service: str, entity: str, label: str, prefix: str, key: str, required: tuple[str, ...], **rest: Any
) -> Resource:
    rest.setdefault("kind", f"billing.{area}")
    full = entity if "." in entity else f"invora.billing.common.v2.{entity}"
    path = f"invora.billing.{area}.v2.{service}"
    return Resource(path, entity=full, label=label, prefix=prefix, key=key, required=required, **rest)


def _invoicing(area: str, service: str, entity: str, label: str, **rest: Any) -> Resource:
    kind, full = f"invoicing.{area}", f"invora.{area}.v2.{entity}"
    return Resource(f"invora.{area}.v2.{service}", kind, full, label, label.replace(" ", "-"), "id.key", **rest)


def _subscribed(via: str) -> tuple[tuple[str, str, str], ...]:
    return (("active_subscriptions_count", "billing.subscriptions", via),)


_ENDPOINT: Final = "invora.billing.common.v2.BillingWebhookEndpoint"
_BY_CUSTOMER: Final = MappingProxyType({"external_customer_id": "customer.external_id"})
_PARTY_NAMES: Final = MappingProxyType(
    {
        "tax_id": "details.party_tax_scheme.company_id.value",
        "country_code": "details.postal_address.country.identification_code.value",
    }
)
_BASE: Final = (
    _billing(
        *("customers", "CustomerService", "BillingCustomer", "customer", "cus", "external_id", ("external_id",)),
        on_create=_number_customer,
        on_write=_name_customer,
        names={"has_customer_type_filter": "has_customer_type"},
        counts=_subscribed("customer"),
    ),
    _billing(
        *("plans", "PlanService", "BillingPlan", "plan", "plan", "code", ("code", "name")),
        on_write=_count_charges,
        counts=_subscribed("plan"),
    ),
    _billing(
        *("metering", "BillableMetricService", "BillingBillableMetric", "billable metric", "bm"),
        *("code", ("code", "name")),
    ),
    _billing(
        *("subscriptions", "SubscriptionService", "BillingSubscription", "subscription", "sub", "external_id"),
        ("customer_id", "plan_id"),
        methods={**_LEDGER, "terminate": "Terminate"},
        names={**_BY_CUSTOMER, "plan_code": "plan.code"},
        on_create=_start_subscription,
    ),
    _billing("add_ons", "AddOnService", "BillingAddOn", "add-on", "addon", "code", ("code", "name")),
    _billing(
        *("coupons", "CouponService", "BillingCoupon", "coupon", "coup", "code", ("name",)),
        methods={**_CRUD, "terminate": "Terminate"},
    ),
    _billing(
        *("coupons", "CouponService", "AppliedCoupon", "applied coupon", "apc", "", ("coupon_id", "customer_id")),
        kind="billing.applied_coupons",
        methods={"create": "CreateAppliedCoupon", "list": "AppliedCoupons", "terminate": "TerminateAppliedCoupon"},
        names={**_BY_CUSTOMER, "coupon_code": "coupon.code"},
        on_create=_apply_coupon,
    ),
    _billing("taxes", "TaxService", "BillingTax", "tax", "tax", "code", ("code", "name")),
    _billing(
        *("wallets", "WalletService", "BillingWallet", "wallet", "wal", "", ("customer_id",)),
        methods={"get": "Get", "list": "List", **{op: f"{op.title()}CustomerWallet" for op in _WALLET_CHANGES}},
        on_create=_fund_wallet,
        handled=frozenset({"granted_credits"}),
    ),
    _billing(
        *("entitlements", "FeatureService", "FeatureObject", "feature", "feat", "code", ("code",)),
        kind="billing.features",
    ),
    _billing(
        *("webhooks", "WebhookEndpointService", _ENDPOINT, "webhook endpoint", "whe", "", ("webhook_url",)),
        kind="billing.webhook_endpoints",
    ),
    _billing(
        *("events", "EventService", "invora.billing.events.v2.Event", "event", "evt", "transaction_id"),
        ("transaction_id", "code", "external_subscription_id"),
        methods={"get": "Get", "list": "List", "record": "Create", "record_all": "BatchCreate"},
    ),
    _invoicing("parties", "PartiesService", "Party", "party", names=_PARTY_NAMES),
    _invoicing(
        *("branches", "BranchesService", "Branch", "branch"),
        required=("name",),
        methods={**_CRUD, "choose": "SetPrimary"},
        sole="is_primary",
    ),
    _invoicing("allowances", "AllowancesService", "Allowance", "allowance"),
    _invoicing("charges", "ChargesService", "Charge", "charge"),
    _invoicing("people", "PeopleService", "Person", "person"),
    _invoicing(
        *("exchange_rates", "ExchangeRateService", "ExchangeRateEntry", "exchange rate"),
        required=("source_currency", "target_currency"),
    ),
)
RESOURCE_OF: Final = MappingProxyType({resource.entity: resource for resource in _BASE})
_SETTINGS: Final = "invora.settings.v2"
_SINGLES: Final = (
    Resource(
        *(f"{_SETTINGS}.SettingsService", "invoicing.settings", f"{_SETTINGS}.InvoraSettings", "settings", ""),
        methods={"read_one": "GetSettings", "change_one": "UpdateSettings"},
        on_create=_default_settings,
    ),
    Resource(
        *(f"{_SETTINGS}.SettingsService", "invoicing.self_party", f"{_SETTINGS}.LegalInfo", "self party", ""),
        methods={"read_one": "GetSelfParty", "change_one": "UpdateSelfParty"},
    ),
)
_ALIASES: Final = (
    replace(
        RESOURCE_OF["invora.billing.common.v2.FeatureObject"],
        service="invora.billing.plans.v2.PlanService",
        methods={op: f"{rpc}Feature{'s' * (op == 'list')}" for op, rpc in _CRUD.items()},
    ),
    replace(
        RESOURCE_OF[_ENDPOINT],
        service="invora.billing.webhooks.v2.WebhookEndpointsService",
        methods={op: rpc for op, rpc in _CRUD.items() if op != "get"},
    ),
)
"""Services of other versions of the schema that serve the same records."""
RESOURCES: Final = (*_BASE, *_SINGLES, *_ALIASES)
