"""What the rules of a tax document work on: its XML as plain Python values, read in one walk, and how rules are told.

A rule is a small function from an `Invoice` to the nodes that break it, registered in the `Rulebook` of its module.
Nothing here knows a rule; `invora_grpc.zatca.checking` runs them. lxml is only used to walk the tree that it is given.
"""

from __future__ import annotations

import binascii
import gc
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, Protocol, cast

from invora_grpc.errors import one_line
from invora_grpc.zatca.elements import OPEN, PREFIXES, ROOT, Kind, Model, Slot, models

if TYPE_CHECKING:
    from lxml import etree

__all__ = [
    "MAX_DIGITS",
    "PRECISION",
    "Element",
    "Invoice",
    "Line",
    "Node",
    "Rule",
    "Rulebook",
    "Severity",
    "Tree",
    "is_charge",
    "is_vat",
    "lengths",
    "number",
    "read",
    "trimmed",
    "undisturbed",
]

Severity = Literal["error", "warning"]

MAX_DIGITS: Final = 60
"""The longest number that is read; the schema has no limit. Products of two must fit PRECISION."""
PRECISION: Final = 200
"""Digits that rules compute with: run them in a decimal context of it."""

_BLANKS: Final = " \t\r\n"
"""The white space of XML. Python knows more, which counts as text there."""
_LANGUAGE: Final = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*").fullmatch
_DECIMAL: Final = re.compile(r"[ \t\r\n]*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[ \t\r\n]*").fullmatch
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_ZONE: Final = r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))?"
_DATE: Final = re.compile(r"(-?[1-9]?[0-9]{4,}-[0-9]{2}-[0-9]{2})" + _ZONE).fullmatch
_TIME: Final = re.compile(
    r"(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?|24:00:00(?:\.0+)?)" + _ZONE
).fullmatch
_ABOUT_THE_SCHEMA: Final = "{http://www.w3.org/2001/XMLSchema-instance}"
_STANDARD: Final = re.compile(r"01\d{5}").search
_SIMPLIFIED: Final = re.compile(r"02\d{5}").search
_SUMMARY: Final = re.compile(r"02\d{3}1\d").search


class Node:
    """An element. Names carry the usual prefixes, whatever the document's are: `cac:Party`, `cbc:ID`."""

    __slots__ = ("attributes", "children", "name", "parent", "text")

    def __init__(
        self, name: str, text: str, attributes: dict[str, str], parent: Node | None, children: dict[str, list[Node]]
    ) -> None:
        self.name = name
        self.text = text
        self.attributes = attributes
        self.parent = parent
        self.children = children

    def all(self, *names: str) -> list[Node]:
        """The elements at the end of a path of names, in document order."""
        found = self.children.get(names[0], _NONE)
        for name in names[1:]:
            if len(found) == 1:
                found = found[0].children.get(name, _NONE)
            else:
                found = [child for node in found for child in node.children.get(name, _NONE)]
        return found

    def one(self, *names: str) -> Node | None:
        """The first element at the end of a path."""
        found = self.all(*names)
        return found[0] if found else None

    def value(self, *names: str) -> str:
        """The text of the first element at the end of a path, as it is written; "" if there is none."""
        found = self.all(*names)
        return found[0].text if found else ""

    def number(self, *names: str) -> Decimal | None:
        """The value at the end of a path as a decimal; None if there is none or it is not one."""
        found = self.all(*names)
        return number(found[0].text) if found else None

    @property
    def place(self) -> str:
        """Where it is, as XPath. A number tells apart siblings of one name."""
        if self.parent is None:
            return "/" + self.name
        siblings = self.parent.children.get(self.name, _NONE)
        count = f"[{siblings.index(self) + 1}]" if len(siblings) > 1 and self in siblings else ""
        return f"{self.parent.place}/{self.name}{count}"


_NONE: Final[list[Node]] = []
_NO_ATTRIBUTES: Final[dict[str, str]] = {}
_NO_CHILDREN: Final[dict[str, list[Node]]] = {}
"""Shared by all leaves: nobody adds to it."""


class Element(Protocol):
    """What of lxml's elements the walk uses, without comments: names and values are text."""

    @property
    def tag(self) -> str: ...
    @property
    def text(self) -> str | None: ...
    @property
    def tail(self) -> str | None: ...
    def items(self) -> list[tuple[str, str]]: ...
    def keys(self) -> list[str]: ...
    def __iter__(self) -> Iterator[Element]: ...
    def __len__(self) -> int: ...


class Tree:
    """A document as nodes, with what the UBL schema does not admit in it."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self.by_name: defaultdict[str, list[Node]] = defaultdict(list)
        """Name → all nodes of that name, in document order."""
        self.problems: list[tuple[Node, str]] = []
        """What the schema does not admit: where, and what is wrong, one line."""

    def release(self) -> None:
        """Cut the ways up, so that the nodes go as soon as nobody holds them instead of waiting for the collector."""
        for nodes in self.by_name.values():
            for node in nodes:
                node.parent = None

    def fill(self, element: Element, node: Node, model: Model) -> None:
        """Read what is below an element: the one walk."""
        children, slots, by_name = node.children, model.slots, self.by_name
        last, before = 0, ""
        for child in element:
            slot = slots.get(child.tag) or _stranger(child.tag)
            name, order, inner = slot.name, slot.order, slot.model
            text = child.text or ""
            if inner is None:
                attributes = dict(child.items()) or _NO_ATTRIBUTES
                kid = Node(name, text, attributes, node, _NO_CHILDREN)
                if attributes and (not slot.attributes.issuperset(attributes) or "languageID" in attributes):
                    self.check_attributes(kid, slot.attributes)
                if slot.kind != "text" or len(child):
                    self._check_value(kid, slot, len(child) > 0)
            else:
                kid = Node(name, text, _NO_ATTRIBUTES, node, {})
                if order and child.keys():
                    kid.attributes = dict(child.items())
                    self.check_attributes(kid, slot.attributes)
            siblings = children.get(name)
            if siblings is None:
                children[name] = [kid]
            else:
                siblings.append(kid)
            by_name[name].append(kid)
            if order > last:
                last, before = order, name
            elif order:
                self._misplaced(kid, order == last and slot.many, order == last, before)
            elif not model.is_open:
                self._unknown(kid, child.tag)
            if inner is not None:
                self.fill(child, kid, inner)
                if order and text:
                    self.check_blank(kid, text)
            if (tail := child.tail) and not model.is_open:
                self.check_blank(node, tail)
        for name in model.required:
            if name not in children:
                self.problems.append((node, f"{node.name} lacks {name}: add it"))

    def check_blank(self, node: Node, text: str) -> None:
        """Note text between elements."""
        if text.strip(_BLANKS):
            self.problems.append((node, f"{node.name} holds elements, not text: remove the text"))

    def _misplaced(self, node: Node, is_fine: bool, again: bool, before: str) -> None:
        if not is_fine:
            hint = "may stand here only once: remove the others" if again else f"must come before {before}: move it up"
            self.problems.append((node, f"{node.name} {hint}"))

    def _unknown(self, node: Node, tag: str) -> None:
        above = node.parent.name if node.parent else ""
        name = tag.rpartition("}")[2] if node.name.startswith("*") else node.name
        problem = f"UBL 2.1 has no {one_line(name, 80)} in {above}: remove it, or look for its right place"
        self.problems.append((node, problem))

    def check_attributes(self, node: Node, known: frozenset[str]) -> None:
        """Note the attributes that the schema does not admit. Those about the schema itself may stand anywhere."""
        for name in node.attributes:
            if name not in known and not name.startswith(_ABOUT_THE_SCHEMA):
                shown = one_line(name.rpartition("}")[2], 80)
                self.problems.append((node, f"{node.name} has no attribute {shown} in UBL 2.1: remove it"))
            elif name == "languageID" and not _LANGUAGE(node.attributes[name].strip(_BLANKS)):
                problem = f"{node.name} has a languageID that is no language: use a code such as ar or en"
                self.problems.append((node, problem))

    def _check_value(self, node: Node, slot: Slot, has_elements: bool) -> None:
        if has_elements:
            self.problems.append((node, f"{slot.name} holds a value, not elements: remove them"))
        if slot.kind == "text":
            return
        fits, form = _FORMS[slot.kind]
        if not fits(node.text) and not fits(node.text.strip(_BLANKS)):
            self.problems.append((node, f"{slot.name} must be {form}: correct it"))
        wanted = _ATTRIBUTES.get(slot.kind)
        if wanted is not None and wanted not in node.attributes:
            self.problems.append((node, f"{slot.name} lacks its {wanted}: add it"))


def _stranger(tag: str) -> Slot:
    """The part of an element that the schema does not have here. Its name leads to it, even without a known prefix."""
    namespace, _, local = tag[1:].partition("}") if tag.startswith("{") else ("", "", tag)
    name = f"{PREFIXES[namespace]}:{local}" if namespace in PREFIXES else f"*[local-name()='{local}']"
    return Slot(name, 0, model=OPEN)


class Line:
    """An invoice line with its numbers. A number that is missing or no decimal is None."""

    __slots__ = (
        "allowances",
        "base_quantity",
        "categories",
        "inclusive",
        "net",
        "node",
        "price",
        "quantity",
        "tax",
        "tax_total",
    )

    def __init__(self, node: Node) -> None:
        self.node = node
        self.quantity = node.number("cbc:InvoicedQuantity")
        self.net = node.number("cbc:LineExtensionAmount")
        price = node.one("cac:Price")
        self.price = price.number("cbc:PriceAmount") if price else None
        self.base_quantity = price.number("cbc:BaseQuantity") if price else None
        self.tax_total = node.one("cac:TaxTotal")
        self.tax = self.tax_total.number("cbc:TaxAmount") if self.tax_total else None
        self.inclusive = self.tax_total.number("cbc:RoundingAmount") if self.tax_total else None
        self.categories = node.all("cac:Item", "cac:ClassifiedTaxCategory")
        self.allowances = node.all("cac:AllowanceCharge")


class Invoice:
    """A document as the rules see it: the root and what several rules look for, found once."""

    type_code: Node | None
    """`cbc:InvoiceTypeCode`."""
    type_name: str
    """Its flags, the attribute `name`; "" if there is none."""
    seller: Node | None
    """The seller's `cac:Party`."""
    buyer: Node | None
    """The buyer's."""

    def __init__(self, tree: Tree, now: datetime) -> None:
        self.root = root = tree.root
        self._by_name = tree.by_name
        self.now = now
        """The instant of the check (aware)."""
        self.type_code = root.one("cbc:InvoiceTypeCode")
        self.type_name = self.type_code.attributes.get("name", "") if self.type_code else ""
        self.is_standard = _STANDARD(self.type_name) is not None
        self.is_simplified = _SIMPLIFIED(self.type_name) is not None
        self.is_simplified_summary = _SUMMARY(self.type_name) is not None
        self.is_note = self.type_code is not None and self.type_code.text in ("381", "383")
        self.seller = root.one("cac:AccountingSupplierParty", "cac:Party")
        self.buyer = root.one("cac:AccountingCustomerParty", "cac:Party")
        self.currency = trimmed(root.value("cbc:DocumentCurrencyCode"))
        self.tax_currency = trimmed(root.value("cbc:TaxCurrencyCode"))
        self.allowances = root.all("cac:AllowanceCharge")
        """Allowances and charges on the whole document."""
        self.tax_totals = root.all("cac:TaxTotal")
        self.breakdowns = root.all("cac:TaxTotal", "cac:TaxSubtotal")
        """The VAT breakdowns, one per category and rate."""
        self.totals = root.one("cac:LegalMonetaryTotal")
        self.lines = [Line(node) for node in root.all("cac:InvoiceLine")]

    def every(self, name: str) -> list[Node]:
        """All elements of a name, wherever they are, in document order."""
        return self._by_name.get(name, _NONE)

    @cached_property
    def line_allowances(self) -> list[Node]:
        """Allowances and charges on lines."""
        return [node for line in self.lines for node in line.allowances]

    @cached_property
    def line_subtotals(self) -> list[Node]:
        """The breakdowns on lines, which only lines that take a prepayment off have."""
        return [
            node for line in self.lines if line.tax_total for node in line.node.all("cac:TaxTotal", "cac:TaxSubtotal")
        ]

    @cached_property
    def line_categories(self) -> list[Node]:
        """The VAT categories of the lines' items."""
        return [node for line in self.lines for node in line.categories]

    @cached_property
    def allowance_categories(self) -> list[Node]:
        """The VAT categories of the document's allowances and charges."""
        return self.root.all("cac:AllowanceCharge", "cac:TaxCategory")

    @cached_property
    def breakdown_categories(self) -> list[Node]:
        """The VAT categories of the breakdowns."""
        return [node for breakdown in self.breakdowns for node in breakdown.all("cac:TaxCategory")]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule and how it is told."""

    id: str
    severity: Severity
    text: str
    """What is wrong and what to do, one line."""
    assigned: bool
    """Concerns only what the platform adds: counter, previous hash, QR code, stamp."""
    broken_by: Callable[[Invoice], Iterable[Node]]
    """The elements that break it."""


class Rulebook:
    """The rules of a module, in the order in which they were written."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def rule(
        self, rule_id: str, text: str, *, severity: Severity = "error", assigned: bool = False
    ) -> Callable[[Callable[[Invoice], Iterable[Node]]], Callable[[Invoice], Iterable[Node]]]:
        """Register the function below it: from an invoice to the nodes that break the rule."""

        def register(function: Callable[[Invoice], Iterable[Node]]) -> Callable[[Invoice], Iterable[Node]]:
            self.rules.append(Rule(rule_id, severity, text, assigned, function))
            return function

        return register


def _is_date(text: str) -> bool:
    """Whether it is an xs:date. Years beyond 9999 and before 1 are taken as they come."""
    found = _DATE(text)
    if not found:
        return False
    try:
        date.fromisoformat(found[1])
    except ValueError:
        return len(found[1]) > 10
    return True


def _is_base64(text: str) -> bool:
    try:
        binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except ValueError:
        return False
    return True


def _is_number(text: str) -> bool:
    return _DECIMAL(text) is not None and len(text) <= MAX_DIGITS


_FORMS: Final[dict[Kind, tuple[Callable[[str], object], str]]] = {
    "decimal": (_is_number, "a decimal number"),
    "amount": (_is_number, "a decimal number"),
    "measure": (_is_number, "a decimal number"),
    "binary": (_is_base64, "base64"),
    "date": (_is_date, "a date that exists, YYYY-MM-DD"),
    "time": (_TIME, "a time, hh:mm:ss"),
    "boolean": (_BOOLEANS.__contains__, "true or false"),
}
_ATTRIBUTES: Final[dict[Kind, str]] = {"amount": "currencyID", "measure": "unitCode", "binary": "mimeCode"}


def number(text: str) -> Decimal | None:
    """An xs:decimal of at most MAX_DIGITS characters; None for anything else, the empty text too."""
    return Decimal(text) if _DECIMAL(text) is not None and len(text) <= MAX_DIGITS else None


def is_charge(node: Node) -> bool | None:
    """Whether a `cac:AllowanceCharge` is a charge; None if it does not say."""
    return _BOOLEANS.get(node.value("cbc:ChargeIndicator").strip())


def is_vat(category: Node) -> bool:
    """Whether a tax category is of VAT, as its scheme says."""
    return any(trimmed(node.text).upper() == "VAT" for node in category.all("cac:TaxScheme", "cbc:ID"))


def trimmed(text: str) -> str:
    """XPath's normalize-space: no white space at the ends, single spaces between."""
    return " ".join(text.split()) if text else text


def lengths(found: Iterable[Node], least: int, most: int) -> Iterator[Node]:
    """The nodes whose text has fewer or more characters than that, as it is written."""
    return (node for node in found if not least <= len(node.text) <= most)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the cyclic garbage collector away: it would walk a growing tree over and over, and find nothing to free."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def read(root: etree._Element) -> Tree:
    """The document as nodes. Comments and processing instructions in `root` are taken out of it."""
    from lxml import etree

    etree.strip_tags(root, etree.Comment, etree.ProcessingInstruction)
    element = cast(Element, root)
    tree = Tree(Node(ROOT, "", dict(element.items()), None, {}))
    tree.check_attributes(tree.root, frozenset())
    tree.check_blank(tree.root, element.text or "")
    tree.fill(element, tree.root, models()["Invoice"])
    return tree
