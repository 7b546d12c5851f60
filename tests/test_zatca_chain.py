"""The chain of documents: counters without gaps, each with the hash of the one before, and what to do if not."""

from __future__ import annotations

import functools
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from zatca_stamps import chained

from invora_grpc.zatca.chain import Break, check_chain
from invora_grpc.zatca.hashing import FIRST_HASH, invoice_hash


@functools.cache
def whole() -> tuple[bytes, ...]:
    return tuple(chained(6))


def told(found: tuple[Break, ...]) -> list[tuple[int, str]]:
    return [(one.index, one.kind) for one in found]


def without(xml: bytes, name: str) -> bytes:
    pattern = rb"<cac:AdditionalDocumentReference>\s*<cbc:ID>%s<.*?</cac:AdditionalDocumentReference>" % name.encode()
    changed, count = re.subn(pattern, b"", xml, flags=re.S)
    assert count == 1
    return changed


def changed(xml: bytes, old: str, new: str) -> bytes:
    assert old.encode() in xml
    return xml.replace(old.encode(), new.encode())


def test_a_whole_chain_has_no_breaks() -> None:
    assert check_chain(whole()) == ()
    assert check_chain(()) == ()


@settings(max_examples=20)
@given(some.randoms(use_true_random=False))
def test_the_order_does_not_matter(randomness: random.Random) -> None:
    mixed = list(whole())
    randomness.shuffle(mixed)
    assert check_chain(mixed) == ()


def test_the_first_document_begins_with_the_first_hash_and_counter_1() -> None:
    later = chained(2, invoice_hash(whole()[2]), 3)
    found = check_chain(later)
    assert told(found) == [(0, "gap"), (0, "previous-hash")]
    assert "no 1 to 3" in found[0].text
    assert "`previous_hash` and `previous_counter`" in found[0].hint
    assert check_chain(later, previous_hash=invoice_hash(whole()[2]), previous_counter=3) == ()


def test_a_part_of_a_chain_goes_on_from_what_is_said() -> None:
    start = invoice_hash(whole()[1])
    assert check_chain(whole()[2:], previous_hash=start, previous_counter=2) == ()
    assert told(check_chain(whole()[2:], previous_hash=FIRST_HASH, previous_counter=2)) == [(0, "previous-hash")]
    assert told(check_chain(whole()[2:], previous_hash=start, previous_counter=3)) == [(0, "gap")]


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_a_document_that_is_missing_is_named_by_its_counter(missing: int) -> None:
    found = check_chain([*whole()[:missing], *whole()[missing + 1 :]])
    assert told(found) == [(missing, "gap"), (missing, "previous-hash")]
    assert f"'SIM-{missing + 2}', which has the counter {missing + 2}, there is no {missing + 1}" in found[0].text


def test_a_document_that_was_changed_breaks_the_next_one() -> None:
    documents = [*whole()[:2], changed(whole()[2], "Tea, green", "Tea, black"), *whole()[3:]]
    (found,) = check_chain(documents)
    assert (found.index, found.kind) == (3, "previous-hash")
    assert "'SIM-3' was changed after it was issued" in found.hint
    assert invoice_hash(whole()[2]) in found.text


def test_documents_of_two_branches_are_a_fork() -> None:
    fork = chained(1, invoice_hash(whole()[1]), 2)
    uuid = "8e6000cf-1a98-4174-b3e7-000000000099"
    twin = changed(fork[0], "8e6000cf-1a98-4174-b3e7-000000000003", uuid)
    found = check_chain([*whole()[:3], twin])
    assert told(found) == [(3, "duplicate-counter"), (3, "fork")]
    assert "check the documents of each branch by themselves" in found[0].hint


def test_a_copy_is_told_as_the_same_document() -> None:
    found = check_chain([*whole(), whole()[2]])
    assert told(found) == [(6, "duplicate-uuid")]
    assert found[0].hint == "leave the copy out"


def test_two_documents_with_one_uuid_are_told() -> None:
    uuid = "8e6000cf-1a98-4174-b3e7-00000000000"
    twins = changed(whole()[5], f"{uuid}6", f"{uuid}2".upper())
    (found,) = check_chain([*whole()[:5], twins])
    assert (found.index, found.kind) == (5, "duplicate-uuid")
    assert "that of 'SIM-2' too" in found.text


def test_counters_that_were_swapped_are_told_by_their_hashes() -> None:
    number = "<cbc:UUID>{}</cbc:UUID>".format
    third, fourth = changed(whole()[2], number(3), number(4)), changed(whole()[3], number(4), number(3))
    found = check_chain([*whole()[:2], third, fourth])
    assert {one.kind for one in found} == {"previous-hash"}
    assert [one.index for one in found] == [3, 2]  # in the order of the counters


@pytest.mark.parametrize(
    ("counter", "words"),
    [("", "has no counter"), ("x3", "is 'x3', no number"), ("٣", "no number"), ("3.0", "no number")],
)
def test_a_counter_that_is_none_is_told(counter: str, words: str) -> None:
    odd = changed(whole()[5], "<cbc:UUID>6</cbc:UUID>", f"<cbc:UUID>{counter}</cbc:UUID>")
    (found,) = check_chain([*whole()[:5], odd])
    assert (found.index, found.kind) == (5, "counter")
    assert words in found.text


def test_what_a_document_lacks_is_told() -> None:
    first, second = whole()[:2]
    assert told(check_chain([first, without(second, "PIH")])) == [(1, "previous-hash")]
    assert told(check_chain([first, without(second, "ICV")])) == [(1, "counter")]
    bare = re.sub(rb"<cbc:UUID>[^<]{36}</cbc:UUID>", b"", second)
    assert told(check_chain([first, bare])) == [(1, "uuid")]


def test_a_file_that_is_no_document_does_not_hide_the_others() -> None:
    found = check_chain([whole()[0], b"<a", whole()[2]])
    assert told(found) == [(2, "gap"), (2, "previous-hash"), (1, "unreadable")]
    assert found[2].text.startswith("documents[1]: ")


def test_a_break_says_what_to_do_in_one_line() -> None:
    documents = [*whole()[1:4], whole()[2], b"", changed(whole()[5], ">6<", ">9<")]
    found = check_chain(documents)
    assert found
    for one in found:
        assert one.hint
        assert len(f"{one.text}{one.hint}".splitlines()) == 1
