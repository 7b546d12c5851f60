"""The UBL schema as far as an invoice reaches: which elements stand where, in which order, how often, of which kind.

Read from the table `ubl_elements.txt`, which a test compares with the project's protos. Knows no document and no rule.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final, Literal, get_args

from invora_grpc.zatca.ubl_names import CAC, CBC, EXT, INVOICE

__all__ = ["OPEN", "PREFIXES", "ROOT", "ROOT_TAG", "Kind", "Model", "Slot", "models", "table"]

Kind = Literal["text", "amount", "decimal", "measure", "date", "time", "boolean", "binary"]
"""What an element without elements holds. An amount has a currencyID, a measure a unitCode, a binary a mimeCode."""

ROOT: Final = "ubl:Invoice"
ROOT_TAG: Final = f"{{{INVOICE}}}Invoice"
PREFIXES: Final = {
    INVOICE: "ubl",
    CAC: "cac",
    CBC: "cbc",
    EXT: "ext",
    "urn:oasis:names:specification:ubl:schema:xsd:CommonSignatureComponents-2": "sig",
    "urn:oasis:names:specification:ubl:schema:xsd:SignatureAggregateComponents-2": "sac",
    "urn:oasis:names:specification:ubl:schema:xsd:SignatureBasicComponents-2": "sbc",
    "http://www.w3.org/2000/09/xmldsig#": "ds",
    "http://uri.etsi.org/01903/v1.3.2#": "xades",
}
"""Namespace → the prefix that places are told with, whatever the document's own prefixes are."""


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """An element's part in the element around it."""

    name: str
    """With prefix."""
    order: int
    """Position among its siblings, from 1."""
    many: bool = True
    kind: Kind = "text"
    model: Model | None = None
    """What stands in it; None for an element with a value."""
    attributes: frozenset[str] = frozenset()
    """Those that it may have."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """What may stand in an element."""

    slots: dict[str, Slot] = field(default_factory=dict)
    """Full name, `{namespace}local` → its part."""
    required: list[str] = field(default_factory=list)
    """Names with prefix."""
    is_open: bool = False
    """Anything may stand here: the schema says nothing about the insides of a signature."""


_TEXT: Final = frozenset({"languageID", "languageLocaleID"})
_QUANTITY: Final = frozenset({"unitCode", "unitCodeListID", "unitCodeListAgencyID", "unitCodeListAgencyName"})
_IDENTIFIER: Final = frozenset(
    f"scheme{word}" for word in ("ID", "Name", "AgencyID", "AgencyName", "VersionID", "DataURI", "URI")
)
_CODE: Final = frozenset(
    {"name", "languageID"}
    | {f"list{word}" for word in ("ID", "Name", "AgencyID", "AgencyName", "VersionID", "URI", "SchemeURI")}
)
_OF_KIND: Final[dict[Kind, frozenset[str]]] = {
    "amount": frozenset({"currencyID", "currencyCodeListVersionID"}),
    "measure": frozenset({"unitCode", "unitCodeListVersionID"}),
    "binary": frozenset({"mimeCode", "encodingCode", "characterSetCode", "filename", "format", "uri"}),
}

OPEN: Final = Model(is_open=True)
"""Of UBLExtensions and all that is in them."""


@cache
def models() -> dict[str, Model]:
    """Type of the table, e.g. `Party`, → what may stand in it. `Invoice` is the root's."""
    types, kinds = table()
    known = {name: Model() for name in types}
    for name, words in types.items():
        model = known[name]
        for order, word in enumerate(words, start=1):
            if "!" in word:
                continue
            element, marks = word.rstrip("*1+"), word[len(word.rstrip("*1+")) :]
            local, _, kind_of = element.partition(":")
            tag, prefixed = _names(local, bool(kind_of))
            inner = OPEN if local == "UBLExtensions" else known[kind_of] if kind_of else None
            kind = kinds.get(local, "text")
            attributes = frozenset() if inner else _attributes(local, kind)
            model.slots[tag] = Slot(prefixed, order, "*" in marks, kind, inner, attributes)
            if "+" in marks:
                model.required.append(prefixed)
    return known


def table() -> tuple[dict[str, list[str]], dict[str, Kind]]:
    """The table as it is written: type → its words in order, and element → its kind, if that is not text."""
    types: dict[str, list[str]] = {}
    kinds: dict[str, Kind] = {}
    for line in Path(__file__).with_name("ubl_elements.txt").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, words = line.partition(" = ")
        for kind in get_args(Kind):
            if name == kind:
                for word in words.split():
                    kinds[word] = kind
                break
        else:
            types[name] = words.split()
    return types, kinds


def _attributes(local: str, kind: Kind) -> frozenset[str]:
    """The attributes of an element with a value: by its kind or, within one, by the last word of its name."""
    if kind == "decimal":
        return _QUANTITY if local.endswith("Quantity") else frozenset({"format"})
    if kind == "text":
        return _IDENTIFIER if local.endswith(("ID", "URI")) else _CODE if local.endswith("Code") else _TEXT
    return _OF_KIND.get(kind, frozenset())


def _names(local: str, aggregate: bool) -> tuple[str, str]:
    """Full name and name with prefix."""
    if local == "UBLExtensions":
        return f"{{{EXT}}}{local}", f"ext:{local}"
    return (f"{{{CAC}}}{local}", f"cac:{local}") if aggregate else (f"{{{CBC}}}{local}", f"cbc:{local}")
