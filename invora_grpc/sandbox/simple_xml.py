"""What a Simple document says, as a tax document that can be written as XML.

The seller is the tenant; a buyer with a VAT number makes a standard document, one without a simplified one. This room
translates and fills in what the XML needs and the Simple surface has no field for; it checks nothing and writes
nothing. Characters that XML cannot hold become U+FFFD.
"""

from __future__ import annotations

import re
from datetime import UTC, date
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from invora_api.exchange_rates.v2.models_pb2 import ExchangeRateEntry
from invora_api.parties.v2.models_pb2 import Party as StoredParty
from invora_grpc.sandbox.model import Record
from invora_grpc.sandbox.sellers import party_of, seller_of
from invora_grpc.sandbox.service import Call
from invora_grpc.values import to_decimal
from invora_grpc.zatca.document import RIYADH, Address, Category, Document, Line, Party, Reference, Tax
from invora_grpc.zatca.typecode import TypeCode

INVOICE: Final = 388
"""The type code of what is no note."""
PARTIES: Final = "invoicing.parties"
RATES: Final = "invoicing.exchange_rates"
SAR_RATES: Final = MappingProxyType(
    {
        "AED": Decimal("1.0211"),
        "BHD": Decimal("9.9734"),
        "EUR": Decimal("4.05"),
        "GBP": Decimal("4.75"),
        "KWD": Decimal("12.2"),
        "OMR": Decimal("9.7403"),
        "QAR": Decimal("1.0302"),
        "USD": Decimal("3.75"),
    }
)
"""SAR for one unit of a currency, where the tenant has no exchange rate of its own. Made up for the sandbox: about
right, and never updated. Any other currency counts as one riyal."""
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document_of(
    call: Call, content: Any, *, code: int, buyer: tuple[str, str], branch: Record | None, uuid: str
) -> Document:
    """A SimpleInvoice, SimpleCreditNote or SimpleDebitNote (`code` 388, 381 or 383) that has its number.

    `buyer` is name and VAT number, as the document's references led to them.
    """
    issued_at = content.issue_at.ToDatetime(UTC)
    issue_day = issued_at.astimezone(RIYADH).date()
    is_note = code != INVOICE
    return Document(
        type_code=TypeCode("standard" if buyer[1] else "simplified", code=code),
        id=content.number,
        uuid=uuid,
        issued_at=issued_at,
        seller=_writable_party(seller_of(call, branch)),
        buyer=_buyer(call, content.buyer, *buyer),
        lines=tuple(_line(line) for line in content.lines),
        supply_date=_supply_date(content, issue_day, is_note),
        currency=content.currency_code,
        sar_rate=None if content.currency_code == "SAR" else _sar_rate(call, content.currency_code, issue_day),
        notes=tuple(_writable(note) for note in content.notes if note.strip()),
        originals=(Reference(content.invoice_number),) if is_note else (),
        reason=_writable(content.reason) if is_note else "",
    )


def _supply_date(content: Any, issue_day: date, is_note: bool) -> date | None:
    """As given; an invoice that tells none was for a supply of its own day (BR-KSA-15 wants one)."""
    if content.HasField("supply_date"):
        day = content.supply_date
        return date(day.year, day.month, day.day)
    return None if is_note else issue_day


def _buyer(call: Call, buyer: Any, name: str, vat_number: str) -> Party:
    """The buyer with the address that the document, or the stored party, has."""
    if buyer.WhichOneof("type") == "party_key":
        stored = call.store.by_key(call.org_id, PARTIES, buyer.party_key)
        known = party_of(StoredParty.FromString(stored.body if stored else b"").details)
        return _writable_party(Party(name, vat_number, known.id_scheme, known.id_value, known.address))
    place = buyer.inline.address
    address = Address(
        street=place.street_name,
        building_number=place.building_number,
        district=place.city_subdivision_name,
        city=place.city_name,
        postal_code=place.postal_zone,
        country=place.country_code or "SA",
        additional_street=place.additional_street_name,
    )
    return _writable_party(Party(name, vat_number, address=address if buyer.inline.HasField("address") else None))


def _line(line: Any) -> Line:
    tax = line.tax
    category: Category = tax.category_code
    return Line(
        name=_writable(line.description),
        quantity=to_decimal(line.quantity.value) if line.quantity.HasField("value") else Decimal(1),
        unit_price=to_decimal(line.unit_price),
        unit_code=_writable(line.quantity.unit_code),
        tax=Tax(
            category, to_decimal(tax.tax_rate), _writable(tax.exemption_reason_code), _writable(tax.exemption_reason)
        ),
        id=_writable(line.id),
    )


def _sar_rate(call: Call, currency: str, day: date) -> Decimal:
    """The tenant's latest rate up to this day, else one of the sandbox's, else 1."""
    entries = [ExchangeRateEntry.FromString(record.body) for record in call.store.all(call.org_id, RATES)]
    rates = [
        (when, to_decimal(entry.rate))
        for entry in entries
        if (entry.source_currency, entry.target_currency) == (currency, "SAR")
        and (when := _day(entry.effective_date)) <= day.isoformat()
    ]
    latest = max(rates, default=None, key=lambda dated: dated[0])
    return latest[1] if latest and latest[1] > 0 else SAR_RATES.get(currency, Decimal(1))


def _day(day: Any) -> str:
    return f"{day.year:04}-{day.month:02}-{day.day:02}"


def _writable(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)


def _writable_party(party: Party) -> Party:
    place = party.address
    address = place and Address(
        *(_writable(part) for part in (place.street, place.building_number, place.district, place.city)),
        *(_writable(part) for part in (place.postal_code, place.country, place.additional_street, place.province)),
    )
    name, vat_number, scheme, value = map(_writable, (party.name, party.vat_number, party.id_scheme, party.id_value))
    return Party(name, vat_number, scheme, value, address)
