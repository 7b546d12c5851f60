"""Mutants of good tax documents, with something removed, repeated, moved, added or changed, and the oracle on them.

The oracle is the package fatoority, which carries the rules of ZATCA's SDK R3.4.8.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Final, TypeAlias

import fatoora
from hypothesis import strategies as st
from lxml import etree
from zatca_documents import SAMPLES

from invora_grpc.zatca.certificates import Unit, certificate, new_authority, new_key
from invora_grpc.zatca.checking import SCHEMA_RULE, check
from invora_grpc.zatca.elements import Model, Slot, models
from invora_grpc.zatca.rules_single import SINGLE_RULE
from invora_grpc.zatca.stamping import stamp
from invora_grpc.zatca.ubl import to_xml

NOW: Final = datetime(2026, 11, 2, 20, 0, tzinfo=UTC)
"""The instant of all checks: the evening of the day on which the samples are issued."""

Findings: TypeAlias = frozenset[tuple[str, str]]
"""Rule ids with their severities."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the oracle says of a document."""

    fits_schema: bool
    findings: Findings
    gave_up: str
    """Why it could not run all rules; "" if it could. Its findings are not complete then."""
    at: str
    """In which of the two sheets it gave up."""


def verdict(xml: str) -> Verdict:
    """Ask the oracle. It runs the rules only on what fits the schema."""
    gave_up = ""
    try:
        oracle = fatoora.Config(fatoora.Environment.NON_PRODUCTION)
        report = fatoora.validate_zatca_invoice_from_str(oracle, xml, evaluated_at=NOW.isoformat())
    except fatoora.FatooraError as error:
        report, gave_up = error.details["report"], str(error)
    stages = {stage["stage"]: stage for stage in report["stages"]}
    at = next((name for name in ("cen", "ksa") if stages[name]["status"] == "evaluation_failed"), "")
    findings = frozenset(
        (finding["code"], finding["severity"]) for name in ("cen", "ksa") for finding in stages[name]["findings"]
    )
    return Verdict(not stages["xsd"]["findings"], findings, gave_up if at else "", at)


def found(xml: str) -> Findings:
    """What `check` says of a document by ZATCA's rules: without its findings under ids of its own."""
    own = (SCHEMA_RULE, SINGLE_RULE)
    return frozenset(
        (finding.rule, finding.severity) for finding in check(xml.encode(), now=NOW) if finding.rule not in own
    )


# --- values

_TEXTS: Final = (
    "", " ", "x", "ab", "123", "abc", "1234567", "٠١٢", "x" * 127, "x" * 128, "ع" * 1000, "ع" * 1001,
    "S", "Z", "E", "O", "AE", "s", " S ", "VAT", "vat", " Vat", "SAR", "USD", "MRU", "sar", " SAR ", "SA", "AE", "1A",
    "sa", "1234", "12345", "300000000000003", "399999999800003", "399999999900003", "1234567890", "7009876541",
    "3109876541", "1090807065", "2090807065", "A123456789", "388", "381", "383", "386", "380", "999", "10", "30", "69",
    "ZZZ", "reporting:1.0", "VATEX-SA-32", "VATEX-SA-29", "VATEX-SA-OOS", "VATEX-SA-EDU", "VATEX-SA-HEA",
    "VATEX-SA-32(bis)", "AA", "CAP", "IAB", "95", "QR", "ICV", "PIH", "0", "-1", "+966500000000", "0112345678", "a b",
)  # fmt: skip
_NUMBERS: Final = (
    "0", "0.0", "-1", "0.01", "5", "15", "15.5", "100.01", "7.125", " 15.00 ", "+15", ".5", "1000000", "5.4", "101",
)  # fmt: skip
_DATES: Final = (
    "2026-11-20",
    "2026-11-21",
    "2099-01-01",
    "1999-01-01",
    "2026-10-15",
    "2026-11-02Z",
    "2026-11-02+03:00",
)
_TIMES: Final = ("00:00:00", "12:30:00Z", "12:30:00+03:00", "12:30:00.5", "23:59:59")
_BOOLEANS: Final = ("true", "false", "0", "1", " true ")
_NAMES: Final = (
    "", "0100000", "0200000", "0111010", "0100001", "0200001", "0100100", "0200100", "0100101", "0200010", "0100010",
    "010000", "01000000", "0300000", "01000x0", "0100002", "010000000", "010000001", "020000010"
)  # fmt: skip
_ATTRIBUTES: Final = {
    "currencyID": ("", "SAR", "USD", "BAD", "sar", " SAR ", "MRU"),
    "unitCode": ("", "x" * 127, "x" * 128, "HUR"),
    "schemeID": (
        "", "CRN", "crn", " CRN ", "MOM", "NAT", "TIN", "IQA", "700", "GCC", "PAS", "OTH", "XXX", "TIN NAT", "CR",
    ),
    "name": _NAMES,
    "mimeCode": ("", "text/plain", "x/y", "application/pdf"),
}  # fmt: skip


def _changed(text: str) -> list[str]:
    """Numbers close to another."""
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return []
    steps = ("0.01", "-0.01", "0.02", "0.005", "-0.005", "0.10")
    return [text + "0", text + "5", "-" + text, str(number * 2), *(str(number + Decimal(step)) for step in steps)]


def _values(element: etree._Element) -> tuple[str, ...]:
    name = etree.QName(element).localname
    if name.endswith(("Amount", "Quantity", "Numeric", "Percent", "Rate")):
        return (*_NUMBERS, *_changed(element.text or ""))
    if name.endswith("Date"):
        return _DATES
    if name.endswith("Time"):
        return _TIMES
    return _BOOLEANS if name.endswith("Indicator") else _TEXTS


_SIMPLE: Final = {
    "amount": "10.00",
    "decimal": "10",
    "measure": "10",
    "date": "2026-11-01",
    "time": "12:00:00",
    "boolean": "true",
    "binary": "eHl6",
}


def _made(tag: str, slot: Slot, depth: int) -> etree._Element:
    """A new element as small as the schema allows."""
    element = etree.Element(tag)
    if slot.model is None:
        element.text = _SIMPLE.get(slot.kind, "VAT" if slot.name == "cbc:ID" else "S")
        attribute = {"amount": "currencyID", "measure": "unitCode", "binary": "mimeCode"}.get(slot.kind)
        if attribute:
            element.set(attribute, {"currencyID": "SAR", "unitCode": "C62", "mimeCode": "text/plain"}[attribute])
        return element
    for inner_tag, inner in slot.model.slots.items():
        if inner.name in slot.model.required or (depth and inner.name in _FAVOURITES):
            element.append(_made(inner_tag, inner, depth - 1))
    return element


_FAVOURITES: Final = {
    "cac:TaxCategory",
    "cac:TaxScheme",
    "cbc:ID",
    "cbc:Percent",
    "cac:Country",
    "cbc:IdentificationCode",
}


# --- mutations

Change: TypeAlias = Callable[[etree._Element, st.DrawFn], str]
"""Changes an element, and says how; "" if it could not."""


def _model_of(element: etree._Element) -> Model | None:
    """What the schema lets stand in an element."""
    model: Model | None = models()["Invoice"]
    for ancestor in [*reversed([element, *element.iterancestors()])][1:]:
        slot = model.slots.get(ancestor.tag) if model else None
        model = slot.model if slot else None
    return model


def _remove(element: etree._Element, draw: st.DrawFn) -> str:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)
    return "remove"


def _repeat(element: etree._Element, draw: st.DrawFn) -> str:
    element.addnext(deepcopy(element))
    return "repeat"


def _move(element: etree._Element, draw: st.DrawFn) -> str:
    neighbour = element.getnext()
    if neighbour is None:
        return ""
    neighbour.addnext(element)
    return "move down"


def _write(element: etree._Element, draw: st.DrawFn) -> str:
    if len(element):
        return ""
    element.text = draw(st.sampled_from(_values(element)))
    return f"write {element.text[:20]!r}"


def _mark(element: etree._Element, draw: st.DrawFn) -> str:
    if not element.attrib:
        return ""
    name = draw(st.sampled_from(sorted(str(key) for key in element.attrib)))
    value = draw(st.sampled_from((*_ATTRIBUTES.get(name, ("x",)), None)))
    if value is None:
        del element.attrib[name]
    else:
        element.set(name, value)
    return f"@{name} = {value!r}"[:40]


def _add(element: etree._Element, draw: st.DrawFn) -> str:
    """Something that the schema has here, in its place."""
    model = _model_of(element)
    if not model or not model.slots:
        return ""
    tag, slot = draw(st.sampled_from([*model.slots.items()]))
    if slot.name == "ext:UBLExtensions":
        return ""
    new = _made(tag, slot, draw(st.integers(0, 2)))
    position = 0
    for index, child in enumerate(element, start=1):
        sibling = model.slots.get(child.tag)
        if sibling and sibling.order <= slot.order:
            position = index
    element.insert(position, new)
    return f"add {slot.name}"


CHANGES: Final[tuple[Change, ...]] = (_write, _write, _write, _write, _mark, _mark, _add, _add, _remove, _repeat, _move)
"""How often each stands here is how often it is drawn."""


_SIGNATURE: Final = "{http://www.w3.org/2000/09/xmldsig#}Signature"
STAMPED: Final = ("assigned", "assigned, simplified")
"""Samples that are also mutated with a stamp and a QR code in them."""
BASES: Final = (*sorted(SAMPLES), *(f"{name}, stamped" for name in STAMPED))


@cache
def base(name: str) -> bytes:
    """The XML of a good document."""
    plain = name.removesuffix(", stamped")
    xml = to_xml(SAMPLES[plain])
    if plain == name:
        return xml
    key = new_key()
    unit = Unit("TST-1", "1-TST|2-TST|3-1", "399999999900003", "Salam Services LLC", "Riyadh", "RRRD2929", "Services")
    return stamp(xml, key, certificate(key, unit, new_authority()), at=NOW).xml


def _changeable(root: etree._Element) -> list[etree._Element]:
    """All but the root and the frame of the stamp: `check` does not know the schemas of extensions and signatures."""
    frame: set[etree._Element] = set()
    for content in root.iter("{*}UBLExtension"):
        frame |= {inner for inner in content.iter("{*}*") if len(inner) or inner.tag.endswith("}ExtensionURI")}
        frame |= {inner for signature in content.iter(_SIGNATURE) for inner in signature.iter("{*}*")}
    return [element for element in root.iter("{*}*") if element is not root and element not in frame]


def _is_in_stamp(element: etree._Element) -> bool:
    return next(element.iterancestors("{*}UBLExtension"), None) is not None


@st.composite
def mutants(draw: st.DrawFn) -> tuple[str, str]:
    """A mutant of a good document: what was done to it, and its XML."""
    name = draw(st.sampled_from(BASES))
    root = etree.fromstring(base(name))
    done = [name]
    for _ in range(draw(st.integers(1, 3))):
        elements = _changeable(root)
        element = draw(st.sampled_from(elements))
        path = "/".join(etree.QName(step).localname for step in reversed([element, *element.iterancestors()]))
        changes = (_write,) if _is_in_stamp(element) else CHANGES
        how = draw(st.sampled_from(changes))(element, draw)
        if how:
            done.append(f"{path}: {how}")
    return "; ".join(done), etree.tostring(root, encoding="unicode")
