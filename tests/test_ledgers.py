"""What every ledger promises: the one in memory and the one on disk, side by side."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, multiple, rule

from invora_grpc.errors import ConfigError, RequestError
from invora_grpc.idempotency import FINGERPRINT, Claim, Keys, Ledger, RecentKeys
from invora_grpc.journal import Journal

SCOPE = "127.0.0.1:50551|org|/p.S/Create"
NAME = "/p.S/Create"


def payload(*things: str) -> bytes:
    """A fingerprint for each thing."""
    return b"".join(thing.encode().ljust(FINGERPRINT, b".") for thing in things)


@pytest.fixture(params=["memory", "disk"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "memory":
        yield RecentKeys()
    else:
        with Journal(tmp_path / "journal") as journal:
            yield journal


def take(ledger: Ledger, what: str = "A", key: str | None = None, scope: str = SCOPE) -> Claim:
    return ledger.claim(scope, NAME, (key,), payload(what))


# --- given keys ---


def test_a_given_key_is_used_as_it_is(ledger: Ledger) -> None:
    claim = take(ledger, key="order-1")
    assert (claim.keys, claim.generated, claim.resumed) == (("order-1",), False, False)


@pytest.mark.parametrize("end", [None, "done", "unknown"])
def test_a_key_with_another_payload_is_refused_with_the_way_out(ledger: Ledger, end: str | None) -> None:
    claim = take(ledger, key="order-1")
    if end:
        getattr(ledger, end)(claim)
    with pytest.raises(RequestError) as caught:
        take(ledger, "B", key="order-1")
    assert str(caught.value) == (
        "key: 'order-1' is in use by a /p.S/Create with other content; nothing was sent; "
        "give this one another key; to repeat the earlier call, send what it sent"
    )


def test_a_refusal_changes_nothing(ledger: Ledger) -> None:
    ledger.done(take(ledger, key="order-1"))
    ledger.unknown(parked := ledger.claim(SCOPE, NAME, ("fresh", None), payload("A", "B")))
    with pytest.raises(RequestError):
        ledger.claim(SCOPE, NAME, ("new", "order-1"), payload("C", "B"))
    assert not take(ledger, "D", key="new").resumed
    assert ledger.claim(SCOPE, NAME, ("fresh", None), payload("A", "B")).keys == parked.keys


def test_another_organization_or_method_has_keys_of_its_own(ledger: Ledger) -> None:
    ledger.done(take(ledger, key="order-1"))
    assert not take(ledger, "B", key="order-1", scope=SCOPE + "2").resumed


def test_a_key_under_which_nothing_came_about_is_free_for_another_payload(ledger: Ledger) -> None:
    ledger.failed(take(ledger, key="order-1"))
    assert not take(ledger, "B", key="order-1").resumed


def test_the_failure_of_a_repeat_does_not_free_the_key_of_a_record(ledger: Ledger) -> None:
    ledger.done(take(ledger, key="order-1"))
    ledger.failed(take(ledger, key="order-1"))
    with pytest.raises(RequestError):
        take(ledger, "B", key="order-1")


def test_the_failure_of_one_of_two_under_way_does_not_free_their_key(ledger: Ledger) -> None:
    first, second = take(ledger, key="order-1"), take(ledger, key="order-1")
    ledger.failed(second)
    with pytest.raises(RequestError):
        take(ledger, "B", key="order-1")
    ledger.done(first)


def test_a_given_key_in_doubt_is_resumed_until_it_is_settled(ledger: Ledger) -> None:
    ledger.unknown(take(ledger, key="order-1"))
    again = take(ledger, key="order-1")
    ledger.failed(again)
    last = take(ledger, key="order-1")
    assert (again.resumed, last.resumed, last.keys) == (True, True, ("order-1",))


def test_a_call_without_a_key_never_takes_one_that_its_caller_gave_before(ledger: Ledger) -> None:
    ledger.unknown(take(ledger, key="order-1"))
    claim = take(ledger)
    assert claim.keys != ("order-1",) and not claim.resumed


# --- generated keys ---


def test_two_equal_payloads_get_two_keys_one_after_the_other_and_at_once(ledger: Ledger) -> None:
    first = take(ledger)
    beside = take(ledger)
    ledger.done(first)
    after = take(ledger)
    assert len({first.keys, beside.keys, after.keys}) == 3
    assert [(one.generated, one.resumed) for one in (first, beside, after)] == [(True, False)] * 3


def test_a_call_in_doubt_is_resumed_under_its_key_and_by_one_call_only(ledger: Ledger) -> None:
    ledger.unknown(first := take(ledger))
    again, other = take(ledger), take(ledger)
    assert (again.keys, again.resumed, again.generated) == (first.keys, True, True)
    assert other.keys != first.keys and not other.resumed


def test_each_of_two_calls_in_doubt_is_resumed_once(ledger: Ledger) -> None:
    claims = [take(ledger), take(ledger)]
    for claim in claims:
        ledger.unknown(claim)
    assert {take(ledger).keys for _ in claims} == {claim.keys for claim in claims}
    assert not take(ledger).resumed


def test_another_payload_does_not_resume(ledger: Ledger) -> None:
    ledger.unknown(take(ledger))
    assert not take(ledger, "B").resumed
    assert not take(ledger, scope=SCOPE + "2").resumed


@pytest.mark.parametrize("end", ["failed", "unknown"])
def test_what_was_resumed_in_vain_stays_in_doubt(ledger: Ledger, end: str) -> None:
    ledger.unknown(first := take(ledger))
    getattr(ledger, end)(take(ledger))
    again = take(ledger)
    assert again.keys == first.keys and again.resumed


def test_what_was_resumed_and_done_is_over(ledger: Ledger) -> None:
    ledger.unknown(first := take(ledger))
    ledger.done(take(ledger))
    assert take(ledger).keys != first.keys


def test_a_failure_is_forgotten(ledger: Ledger) -> None:
    ledger.failed(first := take(ledger))
    again = take(ledger)
    assert again.keys != first.keys and not again.resumed


def test_the_key_of_a_call_in_doubt_can_be_given_by_hand_and_is_taken_then(ledger: Ledger) -> None:
    ledger.unknown(first := take(ledger))
    by_hand = take(ledger, key=first.keys[0])
    assert by_hand.resumed
    assert not take(ledger).resumed
    with pytest.raises(RequestError):
        take(ledger, "B", key=first.keys[0])


# --- news about a call in doubt ---


@pytest.mark.parametrize("key", [None, "order-1"])
def test_a_call_in_doubt_that_turns_out_done_is_not_resumed(ledger: Ledger, key: str | None) -> None:
    ledger.unknown(claim := take(ledger, key=key))
    ledger.done(claim)
    assert take(ledger).keys != claim.keys
    with pytest.raises(RequestError):
        take(ledger, "B", key=claim.keys[0])


@pytest.mark.parametrize("key", [None, "order-1"])
def test_a_call_in_doubt_that_turns_out_void_frees_its_key(ledger: Ledger, key: str | None) -> None:
    ledger.unknown(claim := take(ledger, key=key))
    ledger.failed(claim)
    assert take(ledger).keys != claim.keys
    assert not take(ledger, "B", key=claim.keys[0]).resumed


def test_a_call_that_resumed_keeps_its_key_whatever_turns_out_for_the_first(ledger: Ledger) -> None:
    ledger.unknown(first := take(ledger))
    second = take(ledger)
    ledger.failed(first)
    with pytest.raises(RequestError):
        take(ledger, "B", key=second.keys[0])
    ledger.unknown(second)
    assert take(ledger).keys == first.keys


# --- batches ---


def test_a_batch_gets_its_missing_keys_and_keeps_the_others(ledger: Ledger) -> None:
    claim = ledger.claim(SCOPE, NAME, ("a", None, ""), payload("A", "B", "C"))
    assert claim.keys[0] == "a" and all(claim.keys) and len(set(claim.keys)) == 3
    assert not claim.generated


def test_a_thing_may_come_again_in_another_batch_but_no_other_one_under_its_key(ledger: Ledger) -> None:
    ledger.done(ledger.claim(SCOPE, NAME, ("a", "b"), payload("A", "B")))
    ledger.done(ledger.claim(SCOPE, NAME, ("c", "a"), payload("C", "A")))
    with pytest.raises(RequestError, match="'b'"):
        ledger.claim(SCOPE, NAME, ("d", "b"), payload("D", "X"))


def test_one_key_for_two_things_in_one_batch_is_refused(ledger: Ledger) -> None:
    with pytest.raises(RequestError, match="'a'"):
        ledger.claim(SCOPE, NAME, ("a", "a"), payload("A", "B"))
    assert ledger.claim(SCOPE, NAME, ("a", "a"), payload("A", "A")).keys == ("a", "a")


def test_a_batch_in_doubt_is_resumed_only_with_the_same_given_keys(ledger: Ledger) -> None:
    ledger.unknown(first := ledger.claim(SCOPE, NAME, ("a", None), payload("A", "B")))
    assert not ledger.claim(SCOPE, NAME, (None, None), payload("A", "B")).resumed
    assert ledger.claim(SCOPE, NAME, ("a", None), payload("A", "B")).keys == first.keys


# --- many at once, and the limits of memory ---


def test_threads_share_a_ledger_and_one_of_them_resumes(ledger: Ledger) -> None:
    ledger.unknown(first := take(ledger))
    claims: list[Claim] = []

    def work() -> None:
        claims.append(claim := take(ledger))
        ledger.done(claim)

    together([work] * 8)
    assert len({claim.keys for claim in claims}) == 8
    assert [claim.keys for claim in claims if claim.resumed] == [first.keys]


def together(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_memory_forgets_the_keys_used_longest_ago() -> None:
    ledger = RecentKeys(limit=2)
    for key in ("a", "b", "a", "c"):
        ledger.done(take(ledger, key=key))
    assert take(ledger, "B", key="b").keys == ("b",)
    with pytest.raises(RequestError):
        take(ledger, "B", key="c")


def test_memory_forgets_the_oldest_call_in_doubt() -> None:
    ledger = RecentKeys(limit=1)
    ledger.unknown(take(ledger, "A"))
    ledger.unknown(take(ledger, "B"))
    assert (take(ledger, "A").resumed, take(ledger, "B").resumed) == (False, True)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "many"])
def test_a_limit_is_a_number_of_keys(limit: Any) -> None:
    with pytest.raises(ConfigError, match="limit"):
        RecentKeys(limit)


def test_a_key_whose_record_exists_is_resumed_on_disk_and_left_to_the_server_in_memory(ledger: Ledger) -> None:
    """A job that runs again with its journal gets what it created; in one process the second create is a mistake."""
    ledger.done(take(ledger, key="order-1"))
    assert take(ledger, key="order-1").resumed == isinstance(ledger, Journal)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_the_child_of_a_fork_resumes_nothing_of_its_parents_while_the_parent_does(ledger: Ledger) -> None:
    open_call = take(ledger, "B")
    if isinstance(ledger, RecentKeys):
        ledger.unknown(take(ledger))
    resumed = in_child(lambda: f"{take(ledger, 'A').resumed} {take(ledger, 'B').resumed}")
    assert resumed == "False False"
    ledger.unknown(open_call)
    assert take(ledger, "B").keys == open_call.keys


def in_child(work: Callable[[], str]) -> str:
    """What `work` says in the child of a fork."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, work().encode())
        except BaseException as error:
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


# --- any order of things ---


class Ledgers(RuleBasedStateMachine):
    """Claims that begin and end in any order, against a model that is a few sets."""

    claims = Bundle("claims")
    in_doubt = Bundle("in_doubt")
    KEYS = st.sampled_from([None, None, "k1", "k2"])
    THINGS = st.sampled_from(["A", "B"])

    def __init__(self) -> None:
        super().__init__()
        self.ledger: Ledger = self.make()
        self.payloads: dict[str, str] = {}
        """Key → the payload that it stands for; of generated keys once they came to light."""
        self.exists: set[str] = set()
        self.doubtful: set[str] = set()
        self.parked: dict[str, tuple[Keys, tuple[str, ...]]] = {}
        """Keys of a claim in doubt, joined → what it was sent with: payload and given keys, and its keys."""
        self.under_way: list[str] = []

    def make(self) -> Ledger:
        return RecentKeys()

    @rule(target=claims, things=st.lists(st.tuples(THINGS, KEYS), min_size=1, max_size=2))
    def claim(self, things: list[tuple[str, str | None]]) -> Any:
        whats, keys = tuple(what for what, _ in things), tuple(key for _, key in things)
        pairs = [(key, what) for what, key in things if key]
        clashing = any(self.payloads.get(key, what) != what for key, what in pairs) or len(dict(pairs)) < len(
            set(pairs)
        )
        try:
            claim = self.ledger.claim(SCOPE, NAME, keys, payload(*whats))
        except RequestError:
            assert clashing
            return multiple()
        assert not clashing
        assert all(given in (None, key) for given, key in zip(keys, claim.keys, strict=True))
        assert claim.generated == (not any(keys))
        sent = (*whats, *keys)
        waiting = {joined for joined, (as_sent, _) in self.parked.items() if as_sent == sent}
        joined = " ".join(claim.keys)
        assert joined in waiting if waiting and not all(keys) else joined not in waiting
        was_parked = self.parked.pop(joined, None)
        known = claim.keys if was_parked else [key for key in keys if key]
        doubtful = was_parked is not None or bool(self.doubtful.intersection(known))
        assert claim.resumed == (doubtful or (self.remembers() and bool(self.exists.intersection(known))))
        for key, what in zip(claim.keys, whats, strict=True):
            if key in known:
                self.payloads[key] = what
                self.under_way.append(key)
        return claim, whats, sent, was_parked, list(known)

    def remembers(self) -> bool:
        return False

    def over(self, known: list[str]) -> None:
        for key in known:
            self.under_way.remove(key)

    def forget(self, keys: Any) -> None:
        for key in keys:
            if key not in self.under_way and key not in self.exists and key not in self.doubtful:
                self.payloads.pop(key, None)

    @rule(taken=consumes(claims))
    def done(self, taken: Any) -> None:
        claim, _, _, _, known = taken
        self.ledger.done(claim)
        self.over(known)
        self.exists.update(known)
        self.doubtful.difference_update(known)

    @rule(taken=consumes(claims))
    def failed(self, taken: Any) -> None:
        claim, _, _, was_parked, known = taken
        self.ledger.failed(claim)
        self.over(known)
        self.forget(known)
        if was_parked:
            self.parked[" ".join(claim.keys)] = was_parked

    @rule(taken=consumes(claims), target=in_doubt)
    def unknown(self, taken: Any) -> Any:
        claim, whats, sent, was_parked, known = taken
        self.ledger.unknown(claim)
        self.over(known)
        self.doubtful.update(claim.keys)
        self.payloads.update(zip(claim.keys, whats, strict=True))
        if was_parked or not all(sent[len(whats) :]):
            self.parked[" ".join(claim.keys)] = was_parked or (sent, claim.keys)
        return claim, bool(was_parked or not all(sent[len(whats) :]))

    @rule(taken=consumes(in_doubt), exists=st.booleans())
    def news(self, taken: Any, exists: bool) -> None:
        claim, parkable = taken
        (self.ledger.done if exists else self.ledger.failed)(claim)
        waited = self.parked.pop(" ".join(claim.keys), None) is not None
        if exists or waited or not parkable:
            if exists:
                self.exists.update(key for key in claim.keys if key in self.payloads)
            self.doubtful.difference_update(claim.keys)
            self.forget(claim.keys)


class OnDisk(Ledgers):
    """The same in a file, into which others look in between: what is under way is none of their business."""

    def make(self) -> Ledger:
        self.folder = tempfile.TemporaryDirectory()
        return Journal(Path(self.folder.name) / "journal")

    def remembers(self) -> bool:
        return True

    @rule()
    def another_owner_looks_in(self) -> None:
        assert isinstance(self.ledger, Journal)
        with Journal(self.ledger.path) as other:
            other.failed(take(other, "C"))

    def teardown(self) -> None:
        assert isinstance(self.ledger, Journal)
        self.ledger.close()
        self.folder.cleanup()


TestLedgers = Ledgers.TestCase
TestLedgers.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestOnDisk = OnDisk.TestCase
TestOnDisk.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
