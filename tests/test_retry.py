"""Which call is sent again, when, and what comes of an outcome in doubt. The generators are driven by hand, with a
clock of the test's own; what they ask for is compared step by step."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from threading import Barrier, Thread
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invora_grpc import AlreadyExists, ConfigError, OutcomeUnknown, Retry, RpcError
from invora_grpc.call import bind
from invora_grpc.catalog import catalog
from invora_grpc.idempotency import key_plan
from invora_grpc.retry import (
    GRACE,
    RECONNECT,
    Budget,
    Effect,
    Look,
    Outcome,
    Pause,
    Reconciliation,
    Renew,
    RetryClass,
    Send,
    effect_of,
    reconcile,
    recover,
    retry_class,
)
from invora_grpc.status import from_status

PORT = 443
CREATE = catalog().method("simple.invoices.create")
GET = catalog().method("simple.invoices.get")
CODES = {code.name: code for code in grpc.StatusCode}
REFUSED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:443: Failed to connect to remote host: "
    "Connection refused"
)


def no_connection() -> bool:
    """The channel is not up."""
    return False


def status(name: str, message: str = "", *, details: list[Any] | None = None, **facts: Any) -> RpcError:
    """An error as a call raises it."""
    from google.rpc import status_pb2

    packed = b""
    if details is not None:
        rich = status_pb2.Status(code=CODES[name].value[0], message=message)
        for detail in details:
            rich.details.add().Pack(detail)
        packed = rich.SerializeToString()
    return from_status(CODES[name], message, method=CREATE.path, details_bin=packed, **facts)


def wait_for(seconds: float) -> RpcError:
    """RESOURCE_EXHAUSTED of a server that says how long to wait."""
    from google.rpc import error_details_pb2

    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromMilliseconds(int(seconds * 1000))
    return status("RESOURCE_EXHAUSTED", "slow down", details=[info])


class Call:
    """A call in doubt, and what was asked for on its behalf. Its clock moves by the pauses only."""

    def __init__(self, kind: RetryClass, *, timeout: float | None = 30.0, retry: Retry | None = None, **facts: Any):
        self.now = 1000.0
        self.steps: list[Any] = []
        self.paused: list[float] = []
        plan = key_plan(CREATE)
        assert plan is not None
        keyed = {"plan": plan, "keys": ("K",), "response_class": bind(CREATE).response_class}
        keyed["sent"] = bind(CREATE).request_class(key="K", changes={"currency_code": "SAR"})
        deadline = None if timeout is None else self.now + timeout
        self.outcome = Outcome(
            **{"method": CREATE, "kind": kind, "retry": retry or Retry(), "budget": Budget(), "port": PORT}
            | {"connected": lambda: False, "closed": lambda: False}
            | {"deadline": deadline, "pause": self.paused.append, "clock": lambda: self.now, "random": lambda: 1.0}
            | (keyed if kind is RetryClass.KEYED else {})
            | facts
        )

    def play(self, steps: Any, *answers: Any) -> Any:
        """Answer every Send, Look and Renew by the next of `answers`; what the steps return or raise in the end."""
        told, given = None, iter(answers)
        while True:
            try:
                step = steps.send(told)
            except StopIteration as end:
                assert list(given) == []
                return end.value
            self.steps.append(step)
            if isinstance(step, Pause):
                self.now += step.seconds
                told = None
            else:
                told = next(given)

    def recover(self, error: RpcError, *answers: Any) -> Any:
        return self.play(recover(self.outcome, error), *answers)

    @property
    def kinds(self) -> list[str]:
        return [type(step).__name__ for step in self.steps]


def record(currency: str = "SAR") -> Any:
    return bind(GET).response_class(details={"id": {"key": "K"}, "currency_code": currency})


# --- classes ------------------------------------------------------------------------------------------------------


def test_a_get_and_a_list_are_reads() -> None:
    for name in (
        "simple.invoices.get",
        "simple.invoices.list",
        "billing.events.list",
        "invoicing.exchange_rates.get_rate",
    ):
        assert retry_class(catalog().method(name), False) is RetryClass.READ


def test_an_rpc_whose_name_says_that_it_changes_something_is_no_read_whatever_its_verb() -> None:
    for name in ("billing.invoices.lose_invoice_dispute", "billing.taxes.billing_entity_apply_taxes"):
        method = catalog().method(name)
        assert method.http is not None and method.http.verb == "GET"
        assert retry_class(method, False) is RetryClass.WRITE


def test_the_rpcs_that_count_as_reads_though_they_are_not_called_get_or_list_are_known() -> None:
    found = {
        method.rpc
        for method in catalog().methods
        if retry_class(method, False) is RetryClass.READ and not method.rpc.startswith(("get", "list"))
    }
    assert found == {
        *("api_keys", "applied_coupons", "billing_entity_taxes", "calculate", "check_connection_health"),
        *("customer_invoices", "explain_qr_code", "gross_revenues", "invoice_collections", "invoice_credit_notes"),
        *("invoiced_usages", "mrrs", "overdue_balances", "payment_methods", "plan", "preview", "preview_adjusted_fee"),
        *("subscription_alert", "subscription_alerts", "subscription_entitlement", "subscription_entitlements"),
        *("validate", "validate_content", "wallet_alert", "wallet_alerts", "webhook", "webhooks"),
    }


def test_every_keyed_create_of_the_catalog_is_keyed_and_no_other() -> None:
    keyed = {method.attribute for method in catalog().methods if key_plan(method) is not None}
    assert {"simple.invoices.create", "billing.events.create"} <= keyed
    assert not {name for name in keyed if not name.endswith(("create", "batch_create"))}
    assert "billing.customers.create" not in keyed


# --- what a failure says ------------------------------------------------------------------------------------------


def test_a_refused_connection_means_that_nothing_was_sent() -> None:
    assert effect_of(status("UNAVAILABLE", REFUSED), PORT, no_connection) is Effect.UNSENT


def test_the_same_words_about_a_server_behind_the_gateway_prove_nothing() -> None:
    assert effect_of(status("UNAVAILABLE", REFUSED.replace(":443:", ":5001:")), PORT, no_connection) is Effect.MAYBE
    assert effect_of(status("UNAVAILABLE", REFUSED), PORT, lambda: True) is Effect.MAYBE
    passed_on = status("UNAVAILABLE", REFUSED, trailing_metadata=(("server", "envoy"),))
    assert effect_of(passed_on, PORT, no_connection) is Effect.MAYBE


@pytest.mark.parametrize("name", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "CANCELLED", "DATA_LOSS"])
def test_a_broken_call_may_have_been_carried_out(name: str) -> None:
    assert effect_of(status(name), PORT, no_connection) is Effect.MAYBE


def test_resource_exhausted_is_a_refusal_only_if_the_server_gave_details() -> None:
    assert (
        effect_of(status("RESOURCE_EXHAUSTED", "CLIENT: Received message larger than max"), PORT, no_connection)
        is Effect.MAYBE
    )
    assert effect_of(wait_for(1), PORT, no_connection) is Effect.NONE


@pytest.mark.parametrize("name", ["INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "ABORTED", "UNIMPLEMENTED"])
def test_a_refusal_means_that_nothing_happened(name: str) -> None:
    assert effect_of(status(name), PORT, no_connection) is Effect.NONE


# --- reads --------------------------------------------------------------------------------------------------------


def test_a_read_is_sent_again_with_growing_pauses() -> None:
    call = Call(RetryClass.READ)
    broken = status("UNAVAILABLE", "reset")
    assert call.recover(broken, broken, broken, "answer") == "answer"
    assert call.steps == [Pause(0.25), Send(), Pause(0.5), Send(), Pause(1.0), Send()]


def test_a_read_is_given_up_after_four_tries_with_its_own_error() -> None:
    call = Call(RetryClass.READ)
    last = status("UNAVAILABLE", "last")
    with pytest.raises(RpcError) as caught:
        call.recover(status("UNAVAILABLE"), status("UNAVAILABLE"), status("UNAVAILABLE"), last)
    assert caught.value is last


def test_a_pause_that_does_not_fit_the_deadline_is_not_begun() -> None:
    call = Call(RetryClass.READ, timeout=0.2)
    with pytest.raises(RpcError):
        call.recover(status("UNAVAILABLE"))
    assert call.steps == []


def test_a_read_waits_as_long_as_the_server_says_and_so_does_its_tenant() -> None:
    call = Call(RetryClass.READ)
    assert call.recover(wait_for(3), "answer") == "answer"
    assert call.steps == [Pause(3.0), Send()]
    assert call.paused == [3.0]


def test_a_wait_of_more_than_a_minute_is_left_to_the_caller() -> None:
    call = Call(RetryClass.READ, timeout=None)
    with pytest.raises(RpcError) as caught:
        call.recover(wait_for(61))
    assert caught.value.retry_after == 61


def test_a_read_is_not_sent_again_for_what_stays_wrong() -> None:
    call = Call(RetryClass.READ)
    with pytest.raises(RpcError):
        call.recover(status("NOT_FOUND"))
    with pytest.raises(RpcError):
        call.recover(status("RESOURCE_EXHAUSTED", "plan limit", details=[]))
    assert call.steps == []


def test_a_pause_that_rounds_to_the_deadline_itself_is_not_begun() -> None:
    left = (1000 + 0.1) - 1000
    pause = left - 4e-14
    assert pause < left and 1000 + pause == 1000 + 0.1
    call = Call(RetryClass.READ, timeout=0.1, retry=Retry(initial=1.0, factor=1.0), random=lambda: pause)
    with pytest.raises(RpcError):
        call.recover(status("UNAVAILABLE"))
    assert call.steps == []


@given(st.lists(st.sampled_from(["UNAVAILABLE", "wait"]), min_size=1, max_size=8), st.floats(0.1, 100), st.randoms())
@settings(max_examples=60)
def test_no_call_is_ever_sent_after_its_deadline(failures: list[str], timeout: float, source: random.Random) -> None:
    call = Call(RetryClass.READ, timeout=timeout, random=source.random)
    errors = [status(name) if name == "UNAVAILABLE" else wait_for(source.random() * 20) for name in failures]
    with contextlib.suppress(RpcError, AssertionError):
        call.recover(errors[0], *errors[1:], *["answer"] * 10)
    assert call.now < 1000 + timeout
    assert call.kinds.count("Send") <= 3


# --- keyed creates ------------------------------------------------------------------------------------------------


def test_a_keyed_create_is_sent_again_after_an_ambiguous_failure() -> None:
    call = Call(RetryClass.KEYED)
    assert call.recover(status("UNAVAILABLE"), "answer") == "answer"
    assert call.kinds == ["Pause", "Send"]


def test_already_exists_on_a_repeat_is_resolved_by_reading_the_record_back() -> None:
    call = Call(RetryClass.KEYED)
    answer = call.recover(status("UNAVAILABLE"), status("ALREADY_EXISTS"), record())
    assert isinstance(answer, bind(CREATE).response_class)
    assert answer.details.currency_code == "SAR"
    assert call.kinds == ["Pause", "Send", "Look"]


def test_already_exists_with_another_content_stays_already_exists() -> None:
    call = Call(RetryClass.KEYED)
    with pytest.raises(AlreadyExists):
        call.recover(status("UNAVAILABLE"), status("ALREADY_EXISTS"), record("USD"))


def test_already_exists_on_the_first_try_is_not_looked_into() -> None:
    call = Call(RetryClass.KEYED)
    with pytest.raises(AlreadyExists):
        call.recover(status("ALREADY_EXISTS"))
    assert call.steps == []


def test_a_create_that_is_resumed_takes_already_exists_for_its_own_record() -> None:
    call = Call(RetryClass.KEYED, resumed=True)
    assert isinstance(call.recover(status("ALREADY_EXISTS"), record()), bind(CREATE).response_class)


def test_under_a_key_of_its_own_making_whatever_is_found_is_the_calls() -> None:
    call = Call(RetryClass.KEYED, generated=True)
    answer = call.recover(status("UNAVAILABLE"), status("ALREADY_EXISTS"), record("sar, as the server spells it"))
    assert answer.details.currency_code == "sar, as the server spells it"


def test_a_refusal_after_an_ambiguous_failure_is_no_proof_that_the_first_try_failed() -> None:
    call = Call(RetryClass.KEYED)
    refused = status("RESOURCE_EXHAUSTED", "plan limit reached", details=[])
    answer = call.recover(status("UNAVAILABLE"), refused, record())
    assert isinstance(answer, bind(CREATE).response_class)


def test_a_create_that_cannot_be_resolved_is_of_unknown_outcome_and_says_its_key() -> None:
    call = Call(RetryClass.KEYED, retry=Retry(tries=2))
    with pytest.raises(OutcomeUnknown, match="the key is K") as caught:
        call.recover(status("UNAVAILABLE"), status("UNAVAILABLE"), *[status("UNAVAILABLE")] * 2)
    assert (caught.value.key, caught.value.code) == ("K", grpc.StatusCode.UNAVAILABLE)
    assert call.kinds == ["Pause", "Send", "Look", "Pause", "Look"]


def test_a_look_up_that_finds_nothing_proves_nothing() -> None:
    call = Call(RetryClass.KEYED, retry=Retry(tries=1))
    with pytest.raises(OutcomeUnknown):
        call.recover(status("UNAVAILABLE"), status("NOT_FOUND"))


def test_a_create_that_ran_out_of_time_is_not_looked_up_beyond_its_deadline() -> None:
    call = Call(RetryClass.KEYED)
    call.now += 30
    with pytest.raises(OutcomeUnknown):
        call.recover(status("DEADLINE_EXCEEDED"))
    assert call.steps == []


def test_a_call_that_closing_the_client_broke_is_not_sent_again() -> None:
    call = Call(RetryClass.KEYED, closed=lambda: True)
    with pytest.raises(OutcomeUnknown):
        call.recover(status("CANCELLED"), *[status("UNAVAILABLE")] * 4)
    assert "Send" not in call.kinds


def test_a_call_that_the_server_cancelled_is_in_doubt_and_sent_again() -> None:
    assert Call(RetryClass.KEYED).recover(status("CANCELLED"), "answer") == "answer"


def test_a_look_up_is_made_again_as_any_read_is() -> None:
    call = Call(RetryClass.KEYED)
    answer = call.recover(status("UNAVAILABLE"), status("ALREADY_EXISTS"), status("UNAVAILABLE"), record())
    assert answer.details.currency_code == "SAR"
    assert call.kinds == ["Pause", "Send", "Look", "Pause", "Look"]


def test_a_record_that_exists_and_cannot_be_read_back_leaves_the_outcome_unknown() -> None:
    call = Call(RetryClass.KEYED, retry=Retry(tries=2))
    with pytest.raises(OutcomeUnknown):
        call.recover(status("UNAVAILABLE"), status("ALREADY_EXISTS"), *[status("UNAVAILABLE")] * 2)
    missing = Call(RetryClass.KEYED)
    with pytest.raises(OutcomeUnknown):
        missing.recover(status("UNAVAILABLE"), status("ALREADY_EXISTS"), status("NOT_FOUND"))


# --- other writes -------------------------------------------------------------------------------------------------


def test_a_write_is_never_sent_again_once_it_may_have_arrived() -> None:
    for name in ("UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "UNKNOWN"):
        call = Call(RetryClass.WRITE)
        with pytest.raises(OutcomeUnknown) as caught:
            call.recover(status(name))
        assert (call.steps, caught.value.code.name) == ([], name)


def test_a_write_that_was_refused_raises_the_refusal() -> None:
    call = Call(RetryClass.WRITE)
    with pytest.raises(RpcError) as caught:
        call.recover(wait_for(1))
    assert not isinstance(caught.value, OutcomeUnknown)
    assert call.steps == []


@pytest.mark.parametrize("kind", list(RetryClass))
def test_what_was_never_sent_is_sent_again_whatever_it_is(kind: RetryClass) -> None:
    call = Call(kind)
    assert call.recover(status("UNAVAILABLE", REFUSED), "answer") == "answer"


def test_the_last_try_without_a_connection_waits_until_the_channel_has_tried_again() -> None:
    call = Call(RetryClass.WRITE, random=lambda: 0.0)
    refused = status("UNAVAILABLE", REFUSED)
    assert call.recover(refused, refused, refused, "answer") == "answer"
    assert [step.seconds for step in call.steps if isinstance(step, Pause)] == [0.0, 0.0, RECONNECT]


def test_what_a_throttled_tenant_is_told_does_not_use_up_the_retries_of_others() -> None:
    budget = Budget()
    for _ in range(20):
        with contextlib.suppress(RpcError):
            Call(RetryClass.READ, budget=budget, retry=Retry(tries=2)).recover(wait_for(1), wait_for(1))
    assert budget.tokens == Budget.FULL


@pytest.mark.parametrize("kind", list(RetryClass))
def test_a_refused_token_is_renewed_once(kind: RetryClass) -> None:
    call = Call(kind)
    assert call.recover(status("UNAUTHENTICATED"), True, "answer") == "answer"
    assert call.steps == [Renew(), Send()]
    again = Call(kind)
    with pytest.raises(RpcError):
        again.recover(status("UNAUTHENTICATED"), True, status("UNAUTHENTICATED"))
    assert again.steps == [Renew(), Send()]


# --- budget -------------------------------------------------------------------------------------------------------


def test_a_hundred_callers_of_a_dead_server_send_no_more_than_the_budget_allows() -> None:
    budget, sent, barrier = Budget(), [0] * 100, Barrier(100)

    def caller(number: int) -> None:
        call = Call(RetryClass.READ, budget=budget)
        barrier.wait()
        with pytest.raises(RpcError):
            call.recover(status("UNAVAILABLE"), *[status("UNAVAILABLE")] * 3)
        sent[number] = call.kinds.count("Send")

    threads = [Thread(target=caller, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(sent) <= 5


def test_successes_fill_the_budget_again_up_to_its_size() -> None:
    budget = Budget()
    assert [budget.failed() for _ in range(6)] == [True] * 4 + [False] * 2
    for _ in range(200):
        budget.succeeded()
    assert budget.tokens == Budget.FULL


def test_a_policy_may_leave_the_budget_alone() -> None:
    budget = Budget()
    for _ in range(10):
        budget.failed()
    assert Call(RetryClass.READ, budget=budget, retry=Retry(budget=False)).recover(status("UNAVAILABLE"), "a") == "a"


@pytest.mark.parametrize(
    "make", [lambda: Retry(tries=0), lambda: Retry(tries=True), lambda: Retry(initial=-1), lambda: Retry(factor=0.5)]
)
def test_a_retry_policy_that_makes_no_sense_is_refused(make: Callable[[], Retry]) -> None:
    with pytest.raises(ConfigError, match=r"^retry\."):
        make()


# --- reconciling --------------------------------------------------------------------------------------------------


def test_a_write_whose_record_is_gone_may_be_a_delete_that_happened() -> None:
    call = Call(RetryClass.KEYED)
    call.outcome.kind = RetryClass.WRITE
    assert settle(call, status("NOT_FOUND"), after=GRACE + 1).happened is None


def settle(call: Call, *answers: Any, after: float = 0.0) -> Reconciliation:
    call.now += after
    found: Reconciliation = call.play(reconcile(call.outcome, 1000 + GRACE), *answers)
    return found


def test_a_record_that_is_found_is_the_answer() -> None:
    found = settle(Call(RetryClass.KEYED), record())
    assert (found.happened, found.response.details.currency_code) == (True, "SAR")


def test_a_record_of_another_content_decides_nothing_and_is_shown() -> None:
    found = settle(Call(RetryClass.KEYED), record("USD"))
    assert (found.happened, found.record.details.currency_code) == (None, "USD")


def test_a_missing_record_proves_something_only_when_nothing_can_land_any_more() -> None:
    early = settle(Call(RetryClass.KEYED), status("NOT_FOUND"), after=GRACE - 1)
    assert (early.happened, early.retry_after) == (None, pytest.approx(1))
    assert settle(Call(RetryClass.KEYED), status("NOT_FOUND"), after=GRACE).happened is False


def test_a_look_up_that_fails_raises_its_own_error() -> None:
    with pytest.raises(RpcError, match="UNAVAILABLE"):
        settle(Call(RetryClass.KEYED), *[status("UNAVAILABLE")] * 4)


def test_a_step_says_which_rpc_looks_the_record_up() -> None:
    call = Call(RetryClass.KEYED)
    settle(call, record())
    (look,) = call.steps
    assert isinstance(look, Look)
    assert (look.method.attribute, look.request.key) == ("simple.invoices.get", "K")
