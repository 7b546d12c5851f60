"""Objects that build themselves: what `__invora_build__` gives is built in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from values_schema import Kinds, Lists, Order, cls, refusal

from invora_grpc.errors import RequestError
from invora_grpc.values import build

Line = cls("Line")


class Quoted:
    """An expression: a line of an order, or an order with that line."""

    def __init__(self, price: object) -> None:
        self.price = price

    def __invora_build__(self, descriptor: Descriptor) -> Mapping[str, Any]:
        line = {"product_name": "Tea", "unit_price": self.price}
        return {"lines": [line]} if descriptor.full_name == "shop.Order" else line


class Gives:
    def __init__(self, result: Any) -> None:
        self.result = result

    def __invora_build__(self, descriptor: Descriptor) -> Any:
        return self.result


class Refuses:
    def __init__(self, path: str, problem: str = "") -> None:
        self.path, self.problem = path, problem

    def __invora_build__(self, descriptor: Descriptor) -> Any:
        raise RequestError(self.path, 5, "write text", self.problem)


def test_it_stands_for_the_mapping_that_it_gives() -> None:
    assert build(Order, {"parent": Quoted("1.5")}) == build(
        Order, {"parent": {"lines": [{"product_name": "Tea", "unit_price": "1.5"}]}}
    )


def test_it_stands_for_the_request_itself_and_for_items_of_lists_and_maps() -> None:
    assert build(Order, Quoted(1)).lines[0].product_name == "Tea"
    order = build(Order, {"lines": [Quoted(1), Quoted(2)], "lines_by_name": {"x": Quoted(3)}})
    assert [line.unit_price.units for line in order.lines] == [1, 2]
    assert order.lines_by_name["x"].unit_price.units == 3


def test_it_may_give_a_message() -> None:
    assert build(Order, {"parent": Gives(Order(order_id="A"))}).parent.order_id == "A"


def test_what_it_gives_is_checked_at_its_place() -> None:
    error = refusal(Order, {"parent": Quoted(1.5)})
    assert error.path == "parent.lines[0].unit_price"
    assert "float is not exact" in error.hint
    assert refusal(Order, {"parent": Gives(Line())}).path == "parent"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("price.units", "parent.price.units"), ("request", "parent"), ("[2].x", "parent[2].x"), ("", "parent")],
)
def test_its_own_refusal_gets_the_path_put_in_front(path: str, expected: str) -> None:
    error = refusal(Order, {"parent": Refuses(path, "is no text")})
    assert error.path == expected
    assert str(error) == f"{expected}: 5 is no text; write text"
    assert (error.value, error.hint) == (5, "write text")


def test_its_refusal_of_the_whole_request_keeps_its_path() -> None:
    assert str(refusal(Order, Refuses("price"))) == "price: 5; write text"


@pytest.mark.parametrize("result", [3, None, [1], "text"])
def test_it_must_give_a_mapping_or_a_message(result: object) -> None:
    error = refusal(Order, {"lines": [Gives(result)]})
    assert error.path == "lines[0]"
    assert "__invora_build__" in error.hint


def test_it_may_give_a_mapping_of_others_that_build_themselves() -> None:
    assert build(Order, {"parent": Gives({"parent": Quoted(4)})}).parent.parent.lines[0].unit_price.units == 4


def test_it_is_asked_of_the_class_not_of_the_object() -> None:
    class Plain:
        pass

    plain: Any = Plain()
    plain.__invora_build__ = lambda descriptor: {}
    assert "write a dict" in refusal(Order, {"parent": plain}).hint


def test_scalars_and_special_types_do_not_ask_for_it() -> None:
    assert "write a str" in refusal(Order, {"order_id": Gives({})}).hint
    assert refusal(Kinds, {"decimal": Gives({})}).path == "decimal"
    assert refusal(Lists, {"ints": [Gives({})]}).path == "ints[0]"
