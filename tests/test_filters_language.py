"""Filter expressions as values: how they combine, what they refuse at once, how they look, copy and nest."""

from __future__ import annotations

import copy
import datetime as dt
import functools
import operator
import pickle
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invora_api.billing.customers.v2 import service_pb2 as customers
from invora_api.simple.invoices.v1 import models_pb2 as invoices
from invora_grpc.errors import RequestError
from invora_grpc.filters import DEEPEST, Expression, F, Field

DAY = date(2026, 1, 31)
MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def part(expression: Any, module: Any = invoices) -> Any:
    """The part of the filter that the expression becomes."""
    return expression.__invora_build__(module.ListFilter.DESCRIPTOR).part


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: F.created_at >= datetime(2026, 1, 1), "has no time zone; add a time zone"),
        (lambda: F.as_of(datetime(2026, 1, 1)), "has no time zone"),
        (lambda: F.as_of(DAY), "give an aware datetime"),
        (lambda: operator.eq(F.key, None), "is_null"),
        (lambda: F.key(["a"]), "one by one"),
        (lambda: F.key(), "at least one"),
        (lambda: F.key.in_([]), "at least one"),
        (lambda: F.key.in_("abc"), "give a list"),
        (lambda: F.content("a").has_all(), "at least one"),
        (lambda: F.a == F.b, "two fields"),
        (lambda: F.payable_amount >= Decimal("NaN"), "finite"),
        (lambda: F.content("x") == float("inf"), "finite"),
        (lambda: F.number.contains(""), "text to look for"),
        (lambda: F.number.contains(5), "text to look for"),
        (lambda: F.text(" "), "words to look for"),
    ],
)
def test_a_value_that_no_filter_can_hold_is_refused_at_once(make: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        make()


# Expressions as values


@pytest.mark.parametrize(
    "use",
    [
        lambda: bool(F.frozen(True)),
        lambda: F.frozen(True) and F.frozen(False),
        lambda: not F.frozen(True),
        lambda: DAY <= F.created_at < DAY,
        lambda: bool(F.frozen),
    ],
)
def test_nothing_here_has_a_truth_value(use: Any) -> None:
    with pytest.raises(TypeError, match="no truth value"):
        use()


def test_only_expressions_combine() -> None:
    for other in (True, F.frozen, {"frozen": True}):
        for sign in (operator.and_, operator.or_):
            with pytest.raises(TypeError, match="unsupported operand"):
                sign(F.frozen(True), other)


def test_an_expression_is_immutable_whatever_becomes_of_its_values() -> None:
    pair = {"key": "k", "value": "v"}
    expression = F.metadata(pair)
    pair["key"] = "other"
    assert part(expression, customers).metadata.in_values[0].key == "k"
    with pytest.raises(AttributeError):
        expression.name = "x"


VALUES = st.one_of(
    st.text(max_size=5),
    st.integers(-9, 9),
    st.booleans(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.dates(),
    st.datetimes(timezones=st.just(UTC)),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)
FIELDS = st.sampled_from(
    [F.status, F["and"], F["from x"], F["text"], F["_private"], F.content("a.b['c']"), F.created_at]
)
SIGNS = st.sampled_from([operator.ge, operator.gt, operator.le, operator.lt, operator.eq])
EXPRESSIONS: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.builds(lambda sign, field, value: sign(field, value), SIGNS, FIELDS, VALUES),
        st.builds(lambda field, values: field(*values), FIELDS, st.lists(VALUES, min_size=1, max_size=3)),
        st.builds(lambda field: field.is_null(), FIELDS),
        st.builds(lambda field: field.contains("x"), FIELDS),
        st.sampled_from([F.text("a 'b'"), F.as_of(MOMENT), F.history()]),
    ),
    lambda below: (
        st.builds(operator.and_, below, below) | st.builds(operator.or_, below, below) | below.map(operator.invert)
    ),
    max_leaves=6,
)


@given(EXPRESSIONS)
def test_the_repr_reads_as_the_expression_was_written(expression: Any) -> None:
    assert eval(repr(expression), {"F": F, "datetime": dt, "Decimal": Decimal}) == expression


def test_the_repr_is_for_people() -> None:
    expression = F.text("x") & (F.created_at >= DAY) & ~F.status("ACTIVE") & (F.a(1) | F.b.contains("c"))
    wanted = "F.text('x') & (F.created_at >= datetime.date(2026, 1, 31)) & ~F.status('ACTIVE')"
    assert repr(expression) == f"{wanted} & (F.a(1) | F.b.contains('c'))"


@given(EXPRESSIONS)
def test_expressions_pickle_and_copy(expression: Any) -> None:
    assert pickle.loads(pickle.dumps(expression)) == expression == copy.deepcopy(expression)


def test_expressions_hash_by_what_they_say() -> None:
    assert len({F.a(1) & F.b("x"), F.a(1) & F.b("x"), F.a(1) | F.b("x")}) == 2


def test_the_root_pretends_to_nothing_private() -> None:
    assert not hasattr(F, "__invora_build__") and not hasattr(F, "_repr_html_")
    assert copy.copy(F) is not None and repr(F) == "F"
    with pytest.raises(TypeError):
        F[3]


def test_the_language_loads_neither_grpc_nor_protobuf() -> None:
    code = "import sys; from invora_grpc.filters import F; F.a(1) & F.b(2); "
    code += "print({'grpc', 'google.protobuf'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_field_is_a_value_too() -> None:
    assert isinstance(F.status, Field) and repr(F.status) == "F.status" and repr(F["text"]) == "F['text']"


# Depth


def nested(levels: int) -> Expression:
    expression = F.frozen(True)
    for level in range(levels):
        leaf = F.number.contains(str(level))
        expression = (expression | leaf) if level % 2 else ~(expression & leaf) if level % 3 else (expression & leaf)
    return expression


def test_nesting_is_bounded_before_it_can_hurt() -> None:
    with pytest.raises(RequestError, match=f"31 levels deep; combine at most {DEEPEST} levels"):
        nested(10_000)


def test_the_deepest_expression_survives_the_wire() -> None:
    deepest: Any = F.issue_at >= DAY
    for level in range(DEEPEST):
        deepest = (deepest | F.frozen(True)) if level % 2 else (deepest & F.number.contains("x"))
    assert deepest.depth == DEEPEST
    request = invoices.ListRequest(filter=deepest.__invora_build__(invoices.ListFilter.DESCRIPTOR))
    assert invoices.ListRequest.FromString(request.SerializeToString()) == request


def test_a_thousand_alternatives_are_one_level() -> None:
    expression = functools.reduce(operator.or_, (F.number.contains(str(i)) for i in range(1000)))
    assert len(getattr(part(expression), "or").operands) == 1000
