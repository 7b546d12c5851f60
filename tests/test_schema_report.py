"""Comparisons of many RPCs, told to people and to programs."""

import json

from proto_text import rpc

from invora_grpc.schema.compare import compare_methods
from invora_grpc.schema.report import as_json, as_markdown, as_text
from invora_grpc.schema.verdicts import Comparison, Difference, Verdict

PRICE = Difference(Verdict.INCOMPATIBLE, "type-changed", "p.Plan.price", "request.plan.price", "string", "int64")
NOTE = Difference(Verdict.ADDITIVE, "field-added", "p.Plan.note", "response.note", "", "string = 9")
MOVED = Difference(Verdict.ADAPTABLE, "field-renumbered", "p.Fee.a", "request.a", "1", "2")
SAMPLES = [
    Comparison("/p.Fees/Get", Verdict.IDENTICAL),
    Comparison("/p.Fees/Set", Verdict.ADAPTABLE, (MOVED,)),
    Comparison("/p.Plans/Add", Verdict.INCOMPATIBLE, (PRICE, NOTE)),
    Comparison("/p.Plans/Get", Verdict.ADDITIVE, (NOTE,)),
    Comparison("/p.Plans/Set", Verdict.INCOMPATIBLE, (PRICE, MOVED, NOTE)),
    Comparison("/p.Tags/Get", Verdict.IDENTICAL),
]


def test_text_tells_each_difference_once_by_service_the_worst_first_and_counts_what_is_identical() -> None:
    assert as_text(SAMPLES) == (
        "6 RPCs: 2 incompatible, 1 adaptable, 1 additive, 2 identical\n"
        "\n"
        "incompatible  p.Plans\n"
        "  incompatible  Add\n"
        "      [1] incompatible: p.Plan.price was string and is int64, at request.plan.price\n"
        "      [2] additive: p.Plan.note is new: string = 9, at response.note\n"
        "  incompatible  Set\n"
        "      [3] adaptable: p.Fee.a had number 1 and has 2, at request.a\n"
        "      as told in [1], [2]\n"
        "  additive      Get\n"
        "      as told in [2]\n"
        "\n"
        "adaptable     p.Fees\n"
        "  adaptable     Set\n"
        "      as told in [3]"
    )


def test_markdown_says_the_same_with_headings_and_lists() -> None:
    assert as_markdown(SAMPLES[:3]) == (
        "**3 RPCs: 1 incompatible, 1 adaptable, 1 identical**\n"
        "\n"
        "### p.Plans: incompatible\n"
        "\n"
        "- Add: **incompatible**\n"
        "  - (1) incompatible: p.Plan.price was string and is int64, at request.plan.price\n"
        "  - (2) additive: p.Plan.note is new: string = 9, at response.note\n"
        "\n"
        "### p.Fees: adaptable\n"
        "\n"
        "- Set: **adaptable**\n"
        "  - (3) adaptable: p.Fee.a had number 1 and has 2, at request.a"
    )
    assert "- Get: **additive** (as told in 2)" in as_markdown(SAMPLES)


def test_json_has_the_counts_and_all_that_is_not_identical_the_worst_first() -> None:
    told = json.loads(as_json(SAMPLES))
    assert told["verdict"] == "incompatible"
    assert told["counts"] == {"identical": 2, "additive": 1, "adaptable": 1, "incompatible": 2}
    assert [one["subject"] for one in told["differing"]] == [
        "/p.Plans/Add",
        "/p.Plans/Set",
        "/p.Fees/Set",
        "/p.Plans/Get",
    ]
    assert told["differing"][0]["differences"][0] == PRICE.as_json()


def test_nothing_to_tell_is_said_in_a_line() -> None:
    assert as_text(SAMPLES[:1]) == "1 RPC: 1 identical"
    assert as_text([]) == "nothing to compare"
    assert as_markdown([]) == "**nothing to compare**"
    assert json.loads(as_json([]))["verdict"] == "identical"


def test_a_service_without_any_known_rpc_is_told_as_a_whole() -> None:
    gone = Difference(Verdict.INCOMPATIBLE, "service-removed", "p.Plans")
    samples = [Comparison("p.Plans", Verdict.INCOMPATIBLE, (gone,))]
    assert "  incompatible\n      [1] incompatible: p.Plans is gone" in as_text(samples)
    assert "- p.Plans: **incompatible**" in as_markdown(samples)


def test_words_of_a_gateway_can_do_nothing_to_a_terminal_or_a_page() -> None:
    evil = "\x1b[2J\x9b1m\u202e\r\n# <img src=x> [a](b) `c` *d* |"
    bad = Difference(Verdict.ADDITIVE, "http-changed", f"p.X{evil}", f"request{evil}", evil, evil)
    samples = [Comparison(f"/p.X{evil}/Get{evil}", Verdict.ADDITIVE, (bad,))]
    for line in as_text(samples).splitlines():
        assert line.isprintable()
    for line in as_markdown(samples).splitlines()[2:]:
        assert line.isprintable()
        assert line.count("#") == line.count("\\#") + (3 if line.startswith("###") else 0)
        for mark in "<[`|":
            assert line.count(mark) == line.count("\\" + mark)
    assert as_json(samples).isascii()


def test_what_is_compared_is_what_is_told() -> None:
    ours, theirs = rpc("message Root { int32 a = 1; }"), rpc("message Root { int32 a = 2; }")
    text = as_text([compare_methods(ours, theirs)])
    assert "[1] adaptable: p.Root.a had number 1 and has 2, at request.a" in text
