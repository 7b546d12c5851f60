"""Whatever is done to a good document, `check` says what the oracle says: the same rules with the same severities."""

from __future__ import annotations

import time
from copy import deepcopy

import pytest
from hypothesis import HealthCheck, example, given, settings
from lxml import etree
from zatca_mutants import BASES, NOW, base, found, mutants, verdict

from invora_grpc.zatca import rules_en
from invora_grpc.zatca.checking import SCHEMA_RULE, check
from invora_grpc.zatca.rules_single import SINGLE_RULE

STANDARD_RULES = {rule.id for rule in rules_en.BOOK.rules}

STOPS = {
    "expected zero or one value, found multiple values": SINGLE_RULE,
    "invalid XML Schema date or time": "BR-KSA-F-01",
}
"""Why ZATCA's sheets, and the oracle with them, stop in the middle, and what `check` says instead.

The first: two elements where they want one value. The second: an issue date with a time zone in a simplified document,
which BR-KSA-98 cannot add the time to.
"""


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(mutants())
@example(("nothing", base("standard").decode()))
def test_a_mutant_breaks_the_same_rules_here_and_there(mutant: tuple[str, str]) -> None:
    """Three cases: it does not fit the schema, ZATCA's sheet stops at it, or the rules are the same, to the last."""
    _, xml = mutant
    theirs = verdict(xml)
    own = {finding.rule for finding in check(xml.encode(), now=NOW)}

    assert (SCHEMA_RULE not in own) is theirs.fits_schema
    if SINGLE_RULE in own and theirs.fits_schema:
        assert theirs.gave_up
    if theirs.gave_up:
        assert STOPS[theirs.gave_up] in own
        if theirs.at == "ksa":
            ours = {finding for finding in found(xml) if finding[0] in STANDARD_RULES}
            assert ours == {finding for finding in theirs.findings if finding[0] in STANDARD_RULES}
    elif theirs.fits_schema:
        assert found(xml) == theirs.findings


@pytest.mark.parametrize("name", BASES)
def test_good_documents_break_at_most_what_the_platform_adds(name: str) -> None:
    xml = base(name)
    assert not [finding for finding in check(xml, now=NOW) if not finding.assigned]
    assert found(xml.decode()) == verdict(xml.decode()).findings


@pytest.mark.parametrize("name", ["assigned, stamped", "allowances", "credit note on standard", "references", "exempt"])
def test_a_repeated_element_is_told_wherever_zatcas_sheet_stops_at_it(name: str) -> None:
    """Every element of a document once more; what UBL refuses is not asked."""
    whole = etree.fromstring(base(name))
    for index in range(len([*whole.iter("{*}*")]) - 1):
        root = deepcopy(whole)
        element = [*root.iter("{*}*")][index + 1]
        element.addnext(deepcopy(element))
        xml = etree.tostring(root, encoding="unicode")
        own = {finding.rule for finding in check(xml.encode(), now=NOW)}
        if SCHEMA_RULE in own:
            continue
        if verdict(xml).gave_up:
            assert SINGLE_RULE in own, element.tag


@pytest.mark.parametrize(
    "attribute", ["currencyID", "schemeID", "listID", "languageID", "unitCodeListID", "format", "x"]
)
def test_an_attribute_fits_the_same_elements_here_and_there(attribute: str) -> None:
    """On one element of each name."""
    root = etree.fromstring(base("allowances"))
    seen = set()
    for element in root.iter("{*}*"):
        if element.tag in seen or element.get(attribute) is not None:
            continue
        seen.add(element.tag)
        element.set(attribute, "en")
        xml = etree.tostring(root, encoding="unicode")
        own = {finding.rule for finding in check(xml.encode(), now=NOW)}
        assert (SCHEMA_RULE not in own) is verdict(xml).fits_schema, element.tag
        del element.attrib[attribute]


def test_the_check_of_a_large_hostile_document_takes_no_ages() -> None:
    """5,000 breakdowns beside 100 lines: nothing is looked at once per pair."""
    root = etree.fromstring(base("standard"))
    breakdown = next(root.iter("{*}TaxSubtotal"))
    line = next(root.iter("{*}InvoiceLine"))
    for _ in range(5000):
        breakdown.addnext(deepcopy(breakdown))
    for _ in range(100):
        line.addnext(deepcopy(line))
    xml = etree.tostring(root)
    started = time.process_time()
    assert "BR-S-08" in {finding.rule for finding in check(xml, now=NOW)}
    assert time.process_time() - started < 10
