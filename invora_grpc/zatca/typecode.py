"""The invoice type code with its flags: `cbc:InvoiceTypeCode` and its `name` attribute (ZATCA's XML standard, NNPNESB).

Parses, builds and explains them, and refuses at once what ZATCA's rules refuse, each refusal naming its rule. Says
nothing about which code a supply needs (that is ``advice``) and nothing about the rest of a document (``checking``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal, Self

from invora_grpc.errors import RequestError

__all__ = ["FLAGS", "KINDS", "IllegalTypeCode", "Subtype", "TypeCode"]

Subtype = Literal["standard", "simplified"]

_SUBTYPES: Final[Mapping[str, Subtype]] = MappingProxyType({"01": "standard", "02": "simplified"})
_DIGITS: Final = MappingProxyType({subtype: digits for digits, subtype in _SUBTYPES.items()})

FLAGS: Final = ("third_party", "nominal", "export", "summary", "self_billed", "continuous", "government")
"""The flags in the order of positions 3 to 9. Names of seven characters, the usual form, have the first five."""

KINDS: Final[Mapping[int, str]] = MappingProxyType(
    {388: "tax invoice", 381: "credit note", 383: "debit note", 386: "prepayment invoice"}
)
"""UN/CL 1001, as far as ZATCA admits it (BR-KSA-05)."""

_NOTES: Final = (381, 383)
_USUAL: Final = 5  # flags of a name of seven characters
_MEANINGS: Final = MappingProxyType(
    {
        "standard": "standard: for a business buyer; cleared by ZATCA before it is handed over",
        "simplified": "simplified: for a consumer; reported to ZATCA within 24 hours",
        "third_party": "third-party: another issues it on behalf of the seller, who stays the supplier of record",
        "nominal": "nominal: a supply without consideration that counts as one for VAT",
        "export": "export: the supply leaves the country",
        "summary": "summary: several supplies to one customer within one calendar month",
        "self_billed": "self-billed: the buyer issues it on behalf of the seller; both are registered for VAT",
        "continuous": "continuous: the supply goes on over a period",
        "government": "government: under a contract with the government, whose number the document gives",
    }
)


class IllegalTypeCode(RequestError):
    """A type code, or a combination of its flags, that ZATCA refuses."""

    rule: str
    """The rule that refuses it, e.g. `BR-KSA-07`."""

    def __init__(self, rule: str, path: str, value: object, hint: str, problem: str) -> None:
        super().__init__(path, value, hint, f"{problem} ({rule})")
        self.rule = rule


@dataclass(frozen=True, slots=True)
class TypeCode:
    """One legal type code. An illegal one cannot be made: it raises `IllegalTypeCode`, which names the rule."""

    subtype: Subtype = "standard"
    third_party: bool = False
    nominal: bool = False
    export: bool = False
    summary: bool = False
    self_billed: bool = False
    code: int = 388
    """388 invoice, 381 credit note, 383 debit note, 386 prepayment invoice."""
    continuous: bool = False
    """Of newer standards, as `government` is: with one of them a name has nine characters."""
    government: bool = False
    """Wants the contract's number on the document (BR-KSA-92)."""

    def __post_init__(self) -> None:
        if not isinstance(self.subtype, str) or self.subtype not in _DIGITS:
            raise IllegalTypeCode(
                "BR-KSA-06", "type_code.subtype", self.subtype, "say 'standard' or 'simplified'", "is no subtype"
            )
        for flag in FLAGS:
            if not isinstance(getattr(self, flag), bool):
                value = getattr(self, flag)
                raise IllegalTypeCode("BR-KSA-06", f"type_code.{flag}", value, "say True or False", "is no flag")
        if type(self.code) is not int or self.code not in KINDS:
            raise IllegalTypeCode("BR-KSA-05", "type_code.code", self.code, f"use {_known_codes()}", "is no type code")
        if self.self_billed and self.subtype == "simplified":
            raise IllegalTypeCode(
                "BR-KSA-31",
                "type_code.name",
                self.name,
                "use the subtype standard (01), or leave the flag away (position 7)",
                "is self-billed and simplified: only a standard document can be self-billed",
            )
        if self.self_billed and self.export:
            raise IllegalTypeCode(
                "BR-KSA-07",
                "type_code.name",
                self.name,
                "let the seller issue the export, or leave the export flag away (position 5)",
                "is an export and self-billed: exports cannot be self-billed",
            )

    @property
    def name(self) -> str:
        """The `name` attribute: seven characters, e.g. `0100000`; nine where one of the newer flags is set."""
        said = FLAGS if self.continuous or self.government else FLAGS[:_USUAL]
        return _DIGITS[self.subtype] + "".join("1" if getattr(self, flag) else "0" for flag in said)

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that are set, in the order of their positions, e.g. `("third_party",)`."""
        return tuple(flag for flag in FLAGS if getattr(self, flag))

    @property
    def is_note(self) -> bool:
        """Whether this is a credit or a debit note."""
        return self.code in _NOTES

    def __str__(self) -> str:
        return f"{self.code} {self.name}"

    def explain(self) -> tuple[str, ...]:
        """What the code says, in words: first the kind, then the subtype, then a line for each flag that is set."""
        kind = f"{self.code}: {KINDS[self.code]}"
        return (kind, *(_MEANINGS[word] for word in (self.subtype, *self.flags)))

    @classmethod
    def parse(cls, name: str, code: int | str = 388) -> Self:
        """Read a `name` attribute, and the text of the element as `code`.

        Raises `IllegalTypeCode`: BR-KSA-06 for a name of another form, BR-KSA-05 for another code, BR-KSA-07 and -31
        for flags that exclude each other. Newer standards have a longer form, with continuous supply in position 8 and
        a government contract in 9.
        """
        if not (isinstance(name, str) and len(name) in (7, 9) and name[:2] in _SUBTYPES and set(name[2:]) <= set("01")):
            hint = "give 01 or 02 and five of 0 and 1, e.g. 0100000, or seven in the longer form"
            raise IllegalTypeCode("BR-KSA-06", "type_code.name", name, hint, "is not of the form NNPNESB")
        flags = dict(zip(FLAGS, (digit == "1" for digit in name[2:]), strict=False))
        return cls(_SUBTYPES[name[:2]], code=_code(code), **flags)

    def note(self, code: int) -> Self:
        """The same subtype and flags as a credit note (381) or debit note (383): a note inherits what it corrects."""
        if code not in _NOTES:
            raise IllegalTypeCode(
                "BR-KSA-05", "type_code.code", code, "use 381 (credit note) or 383 (debit note)", "is no note"
            )
        return replace(self, code=code)


def _code(code: int | str) -> int:
    """The number of a type code, which XML holds as text."""
    if isinstance(code, str) and len(code) == 3 and code.isascii() and code.isdigit():
        return int(code)
    if isinstance(code, str):
        raise IllegalTypeCode("BR-KSA-05", "type_code.code", code, f"use {_known_codes()}", "is no type code")
    return code


def _known_codes() -> str:
    return ", ".join(f"{code} ({kind})" for code, kind in KINDS.items())
