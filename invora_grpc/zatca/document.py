"""What a tax document says, as plain data: parties, lines, taxes, references.

The rooms around it work on these: ``totals`` adds them up, ``problems`` says what is wrong with them, ``ubl`` writes
and reads them as XML, ``requests`` makes them from a deal. Nothing here computes or checks. Amounts are exact decimals
in the document's currency, in its main unit (riyals, not halalas); nothing that the platform assigns (counter, previous
hash, QR code, stamp) has a default.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Final, Literal

from invora_grpc.zatca.typecode import TypeCode

Category = Literal["S", "Z", "E", "O"]
"""UN/CL 5305: S standard rate, Z zero rate, E exempt, O outside the scope of tax."""

RIYADH: Final = timezone(timedelta(hours=3), "Asia/Riyadh")
"""The time of issue dates and times: Saudi Arabia keeps UTC+3 all year."""


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address. In SA ZATCA wants all of it (BR-KSA-09, BR-KSA-63)."""

    street: str = ""
    building_number: str = ""
    """Four digits in SA."""
    district: str = ""
    city: str = ""
    postal_code: str = ""
    """Five digits in SA."""
    country: str = "SA"
    """ISO 3166-1 alpha-2."""
    additional_street: str = ""
    province: str = ""


@dataclass(frozen=True, slots=True)
class Party:
    """A seller or a buyer."""

    name: str
    """Registered name."""
    vat_number: str = ""
    """15 digits, the first and the last a 3; "" for who is not registered."""
    id_scheme: str = ""
    """Of the other identifier: CRN, MOM, MLS, 700, SAG, OTH; TIN, NAT, IQA, PAS, GCC for buyers (BR-KSA-08, -14)."""
    id_value: str = ""
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class Tax:
    """A tax category with its rate."""

    category: Category = "S"
    rate: Decimal = Decimal(15)
    """Per cent."""
    exemption_code: str = ""
    """VATEX-SA-…, wanted of Z, E and O (BR-KSA-69)."""
    exemption_text: str = ""


@dataclass(frozen=True, slots=True)
class Allowance:
    """An amount off (or, as a charge, on top of) a line or the whole document."""

    amount: Decimal
    """Not negative."""
    reason: str = ""
    reason_code: str = ""
    """UN/CL 5189 for allowances, UN/CL 7161 for charges."""
    charge: bool = False
    tax: Tax | None = None
    """Category of an allowance on the document; on a line it is the line's."""
    base_amount: Decimal | None = None
    percent: Decimal | None = None
    """With ``base_amount``: ``amount`` is base × percent / 100, rounded half up. Both are left out of the XML where
    ZATCA's own check, which is not exact, would not confirm the amount."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Another document: what a note corrects, or the transaction that a line of a summary stands for."""

    id: str
    uuid: str = ""
    issue_date: date | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line, before tax."""

    name: str
    quantity: Decimal
    unit_price: Decimal
    """Net price of ``base_quantity`` units."""
    unit_code: str = "C62"
    """UN/ECE Recommendation 20."""
    tax: Tax = Tax()
    allowances: tuple[Allowance, ...] = ()
    base_quantity: Decimal = Decimal(1)
    source: Reference | None = None
    """The transaction that this line of a summary invoice stands for."""
    id: str = ""
    """Numbered from 1 by position if left out."""


@dataclass(frozen=True, slots=True)
class Prepayment:
    """An advance that was invoiced before (type code 386) and is taken off what is payable."""

    id: str
    """Number of the prepayment invoice."""
    issued_at: datetime
    taxable_amount: Decimal
    tax_amount: Decimal
    tax: Tax = Tax()
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """One invoice, credit note or debit note."""

    type_code: TypeCode
    id: str
    """The number that the buyer sees."""
    uuid: str
    issued_at: datetime
    """Aware; written as date and time of Riyadh."""
    seller: Party
    lines: tuple[Line, ...]
    buyer: Party | None = None
    supply_date: date | None = None
    supply_end: date | None = None
    """Last day of a continuous or summed-up supply."""
    currency: str = "SAR"
    sar_rate: Decimal | None = None
    """SAR per one unit of ``currency``; needed where that is not SAR (BR-KSA-EN16931-02, BR-53)."""
    allowances: tuple[Allowance, ...] = ()
    notes: tuple[str, ...] = ()
    """Written directly after the type code; the statement of self-billing is one (Art. 53(2))."""
    originals: tuple[Reference, ...] = ()
    """What a credit or debit note corrects (BR-KSA-56)."""
    reason: str = ""
    """Why a note is issued (BR-KSA-17)."""
    payment_means: str = "10"
    """UN/CL 4461."""
    purchase_order: str = ""
    contract: str = ""
    prepayments: tuple[Prepayment, ...] = ()
    rounding: Decimal = Decimal(0)
    """Added to what is payable (BT-114)."""
    counter: int | None = None
    """ICV. The platform assigns it: None leaves it out."""
    previous_hash: str | None = None
    """PIH, base64. The platform assigns it: None leaves it out."""
