"""Tax documents for tests: good ones by hand, and strategies that draw good ones of every kind."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from invora_grpc.zatca.document import Address, Allowance, Document, Line, Party, Prepayment, Reference, Tax
from invora_grpc.zatca.hashing import FIRST_HASH
from invora_grpc.zatca.totals import allowance_amount, line_totals, rounded, tax_on, totals
from invora_grpc.zatca.typecode import TypeCode

D = Decimal
ISSUED = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
"""12:30 in Riyadh on 2 November 2026."""
SUPPLIED = date(2026, 11, 1)
STATEMENT = "Issued by the customer on behalf of the supplier (self-billing)"
SELF_BILLING_NOTES = (STATEMENT, "فاتورة ذاتية أصدرها العميل نيابة عن المورد")

STANDARD_RATE = Tax()
LOWER_RATE = Tax("S", D(5))
ZERO_RATE = Tax("Z", D(0), "VATEX-SA-32", "Export of goods")
EXEMPT = Tax("E", D(0), "VATEX-SA-29", "Financial services mentioned in Article 29 of the VAT Regulations")
OUT_OF_SCOPE = Tax("O", D(0), "VATEX-SA-OOS", "Not subject to VAT")

RIYADH_ADDRESS = Address("King Fahd Road", "2322", "Al Olaya", "Riyadh", "12214")
JEDDAH_ADDRESS = Address("شارع الأمير سلطان", "1111", "المرجان", "جدة", "23333")
DUBAI_ADDRESS = Address("Sheikh Zayed Road", city="Dubai", country="AE")

SELLER = Party("Salam Services LLC", "399999999900003", "CRN", "1010010000", RIYADH_ADDRESS)
ARABIC_SELLER = Party(
    "شركة توريد التكنولوجيا بأقصى سرعة المحدودة", "399999999900003", "CRN", "1010010000", JEDDAH_ADDRESS
)
BUYER = Party("Fatoora Samples LTD", "399999999800003", address=JEDDAH_ADDRESS)
BUYER_WITHOUT_VAT = Party("Charity of the North", id_scheme="700", id_value="7009876541", address=RIYADH_ADDRESS)
FOREIGN_BUYER = Party("Gulf Imports FZE", id_scheme="OTH", id_value="AE4455", address=DUBAI_ADDRESS)
CONSUMER = Party("محمد عبد الله")
CITIZEN = Party("Sara Ahmad", id_scheme="NAT", id_value="1090807065")

TEA = Line("Tea, green", D(2), D("20.50"))
HOURS = Line("استشارات فنية", D("1.5"), D("199.99"), "HUR")

STANDARD = Document(
    TypeCode(), "INV-1", "8e6000cf-1a98-4174-b3e7-b5d5954bc10d", ISSUED, SELLER, (TEA, HOURS), BUYER, SUPPLIED
)
SIMPLIFIED = replace(STANDARD, type_code=TypeCode("simplified"), id="SIM-1", buyer=None, supply_date=None)
ASSIGNED = replace(STANDARD, counter=10, previous_hash=FIRST_HASH)
"""With what the platform assigns before it stamps."""
ASSIGNED_SIMPLIFIED = replace(SIMPLIFIED, counter=11, previous_hash=FIRST_HASH)


def noted(document: Document, code: int) -> Document:
    """A note on a document, over its first line."""
    return replace(
        document,
        type_code=document.type_code.note(code),
        id=f"N-{document.id}",
        lines=document.lines[:1],
        originals=(Reference(document.id, document.uuid, SUPPLIED),),
        reason="Goods returned",
        prepayments=(),
    )


SAMPLES: dict[str, Document] = {
    "standard": STANDARD,
    "simplified": SIMPLIFIED,
    "simplified, named buyer": replace(SIMPLIFIED, buyer=CONSUMER),
    "assigned": ASSIGNED,
    "assigned, simplified": ASSIGNED_SIMPLIFIED,
    "arabic": replace(STANDARD, seller=ARABIC_SELLER, notes=("شكرا لكم",)),
    "buyer without a VAT number": replace(STANDARD, buyer=BUYER_WITHOUT_VAT),
    "third-party": replace(STANDARD, type_code=TypeCode(third_party=True)),
    "third-party, simplified": replace(SIMPLIFIED, type_code=TypeCode("simplified", third_party=True)),
    "nominal": replace(STANDARD, type_code=TypeCode(nominal=True)),
    "self-billed": replace(STANDARD, type_code=TypeCode(self_billed=True), notes=SELF_BILLING_NOTES),
    "summary": replace(
        STANDARD,
        type_code=TypeCode(summary=True),
        supply_date=date(2026, 10, 1),
        supply_end=date(2026, 10, 31),
        lines=tuple(
            replace(TEA, name=f"Platform fee, order {number}", source=Reference(f"ORDER-{number}"))
            for number in range(1, 6)
        ),
    ),
    "summary, simplified": replace(
        SIMPLIFIED,
        type_code=TypeCode("simplified", summary=True),
        buyer=CONSUMER,
        supply_date=date(2026, 10, 1),
        supply_end=date(2026, 10, 31),
    ),
    "export": replace(
        STANDARD, type_code=TypeCode(export=True), buyer=FOREIGN_BUYER, lines=(replace(TEA, tax=ZERO_RATE),)
    ),
    "zero rate": replace(STANDARD, lines=(replace(TEA, tax=ZERO_RATE),)),
    "exempt": replace(STANDARD, lines=(replace(TEA, tax=EXEMPT),)),
    "out of scope": replace(STANDARD, lines=(replace(TEA, tax=OUT_OF_SCOPE),)),
    "lower rate": replace(STANDARD, lines=(replace(TEA, tax=LOWER_RATE),)),
    "all categories": replace(
        STANDARD,
        lines=tuple(
            replace(TEA, tax=tax) for tax in (STANDARD_RATE, ZERO_RATE, EXEMPT, OUT_OF_SCOPE, LOWER_RATE, STANDARD_RATE)
        ),
    ),
    "private education": replace(
        SIMPLIFIED,
        buyer=CITIZEN,
        lines=(replace(TEA, name="School fee", tax=Tax("Z", D(0), "VATEX-SA-EDU", "Private education to citizen")),),
    ),
    "allowances": replace(
        STANDARD,
        lines=(
            replace(
                TEA,
                allowances=(
                    Allowance(D("4.10"), "Volume discount", "95", base_amount=D("41.00"), percent=D(10)),
                    Allowance(D("1.00"), "Packing", "PC", charge=True),
                ),
            ),
            HOURS,
        ),
        allowances=(
            Allowance(D("10.00"), "Loyal customer", "95", tax=STANDARD_RATE),
            Allowance(D("25.50"), "Freight", "FC", charge=True, tax=STANDARD_RATE),
        ),
    ),
    "prepayment": replace(STANDARD, type_code=TypeCode(code=386), id="PRE-1"),
    "prepaid": replace(
        STANDARD,
        prepayments=(
            Prepayment("PRE-1", ISSUED, D("100.00"), D("15.00"), uuid="0a3c5b6e-7a35-4d66-9f3e-0f7f6f2f2f6e"),
        ),
    ),
    "rounded": replace(STANDARD, rounding=D("-0.14")),
    "foreign currency": replace(STANDARD, currency="USD", sar_rate=D("3.75")),
    "base quantity": replace(STANDARD, lines=(replace(TEA, unit_price=D("99.9999"), base_quantity=D(12)),)),
    "references": replace(STANDARD, purchase_order="PO-7", contract="C-2026-1", payment_means="42"),
}
"""Good documents by what is particular about them."""
SAMPLES |= {
    f"{kind} on {name}": noted(SAMPLES[name], code)
    for name in ("standard", "simplified", "third-party", "self-billed", "export")
    for kind, code in (("credit note", 381), ("debit note", 383))
}


Draw = Any
"""What `st.composite` hands in."""
CENT = D("0.01")
NAMES = st.sampled_from(
    ["Consulting", "Tea & cakes <fresh>", "خدمات التوصيل", "رسوم المنصة - طلب ٧", "Œuvre №5 “été”", "Platform fee"]
)
WORDS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cn"], exclude_characters="\ufffe\uffff"), min_size=1, max_size=30
).filter(lambda text: bool(text.strip()))
ITEM_NAMES = NAMES | WORDS.filter(lambda text: len(text) >= 3 and not text.strip().isdecimal())
CODES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-/", min_size=1, max_size=20).map(lambda text: f"D{text}")
UNITS = st.sampled_from(["C62", "HUR", "KGM", "DAY", "MON"])
ZERO_REASONS = st.sampled_from(["VATEX-SA-32", "VATEX-SA-33", "VATEX-SA-34-1", "VATEX-SA-35", "VATEX-SA-36"])
EXEMPT_REASONS = st.sampled_from(["VATEX-SA-29", "VATEX-SA-29-7", "VATEX-SA-30"])
RATES = st.sampled_from([("USD", "3.75"), ("EUR", "4.0869"), ("KWD", "12.224938875"), ("JPY", "0.0249")])
SELLERS = st.sampled_from([SELLER, ARABIC_SELLER, replace(SELLER, id_scheme="700", id_value="7009876541")])
BUSINESSES = st.sampled_from([BUYER, BUYER_WITHOUT_VAT, FOREIGN_BUYER, replace(BUYER, name="مؤسسة الشرق")])
CONSUMERS = st.sampled_from([None, CONSUMER, CITIZEN, BUYER])
RATIOS = st.integers(0, 1000)
"""Per mille."""


def decimals(least: int, most: int, places: int) -> st.SearchStrategy[Decimal]:
    """Decimals between two whole numbers, with up to so many places."""
    return st.integers(0, places).flatmap(
        lambda places: st.integers(least * 10**places, most * 10**places).map(lambda units: D(units).scaleb(-places))
    )


QUANTITIES = decimals(0, 2000, 6).filter(bool)
PRICES = decimals(0, 5000, 10)


@st.composite
def type_codes(draw: Draw) -> TypeCode:
    """Every legal type code."""
    simplified = draw(st.booleans())
    third, nominal, export, summary, self_billed = (draw(st.integers(0, 4)) == 0 for _ in range(5))
    code = draw(st.sampled_from([388, 388, 388, 381, 383, 386]))
    subtype = "simplified" if simplified else "standard"
    self_billed = self_billed and not simplified and not export
    newer = draw(st.sampled_from([(False, False)] * 6 + [(True, False), (False, True), (True, True)]))
    nominal = nominal and not (simplified and any(newer))  # which ZATCA's rules would take for standard
    return TypeCode(subtype, third, nominal, export, summary, self_billed, code, *newer)


@st.composite
def allowances(draw: Draw, most: Decimal, tax: Tax | None = None) -> Allowance:
    """An allowance of at most an amount, or a charge."""
    charge = draw(st.booleans())
    reason, code = ("Freight", "FC") if charge else draw(st.sampled_from([("Discount", "95"), ("خصم", ""), ("", "")]))
    limit = rounded(most * draw(RATIOS) / 1000)
    if draw(st.booleans()):
        percent = draw(decimals(0, 100, 2))
        return Allowance(allowance_amount(limit, percent), reason, code, charge, tax, limit, percent)
    return Allowance(limit, reason, code, charge, tax)


@st.composite
def lines(draw: Draw, taxes: st.SearchStrategy[Tax], summary: bool = False) -> Line:
    """A line in one of the given categories."""
    base = draw(st.sampled_from([D(1)] * 4 + [D(12), D("0.25"), D(7)]))
    line = Line(draw(ITEM_NAMES), draw(QUANTITIES), draw(PRICES), draw(UNITS), draw(taxes), base_quantity=base)
    if draw(st.integers(0, 2)) == 0:
        first = draw(allowances(line_totals(line).net))
        line = replace(line, allowances=(first,))
        if draw(st.booleans()):
            line = replace(line, allowances=(first, draw(allowances(line_totals(line).net))))
    if summary and draw(st.booleans()):
        line = replace(line, source=Reference(draw(CODES), issue_date=date(2025, 1, 1)))
    return line


@st.composite
def tax_choices(draw: Draw) -> st.SearchStrategy[Tax]:
    """The categories of one document, each with one reason."""
    zero = replace(ZERO_RATE, exemption_code=draw(ZERO_REASONS))
    exempt = replace(EXEMPT, exemption_code=draw(EXEMPT_REASONS))
    known = [STANDARD_RATE, LOWER_RATE, zero, exempt, OUT_OF_SCOPE]
    return st.sampled_from(draw(st.lists(st.sampled_from(known), min_size=1, max_size=5)))


@st.composite
def documents(draw: Draw, most_lines: int = 40) -> Document:
    """Good documents of every kind."""
    code = draw(type_codes())
    taxes = draw(tax_choices())
    standard = code.subtype == "standard"
    party = (
        st.just(BUYER)
        if code.self_billed
        else BUSINESSES
        if standard
        else st.just(CONSUMER)
        if code.summary
        else CONSUMERS
    )
    issued = ISSUED - timedelta(seconds=draw(st.integers(0, 40_000_000)))
    count = draw(st.integers(1, 4) | st.integers(1, most_lines))
    dated = draw(st.booleans()) or code.summary or (standard and code.code == 388)
    supplied = (issued - timedelta(days=draw(st.integers(0, 40)))).date()
    document = Document(
        code,
        draw(CODES),
        str(draw(st.uuids())),
        issued,
        draw(SELLERS),
        tuple(draw(lines(taxes, code.summary)) for _ in range(count)),
        draw(party),
        supplied if dated else None,
        supplied + timedelta(days=draw(st.integers(0, 30)))
        if code.summary or (dated and draw(st.booleans()))
        else None,
        notes=SELF_BILLING_NOTES if code.self_billed else tuple(draw(st.lists(WORDS, max_size=2))),
        payment_means=draw(st.sampled_from(["10", "30", "42", "48"]))
        if code.is_note
        else draw(st.sampled_from(["10", ""])),
        purchase_order=draw(st.just("") | CODES),
        contract=draw(CODES if code.government else st.just("") | CODES),
    )
    if document.lines[0].source is not None:
        document = replace(document, lines=tuple(replace(each, source=None) for each in document.lines))
    if code.is_note:
        document = replace(document, originals=(Reference(draw(CODES)),), reason=draw(WORDS))
    if draw(st.integers(0, 3)) == 0:
        currency, rate = draw(RATES)
        document = replace(document, currency=currency, sar_rate=D(rate))
    return _paid(draw, _allowed(draw, document))


def _allowed(draw: Draw, document: Document) -> Document:
    """The document with allowances and charges on it."""
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        entry = draw(st.sampled_from(totals(document).breakdown))
        allowance = draw(allowances(entry.taxable, entry.tax))
        document = replace(document, allowances=(*document.allowances, allowance))
    return document


def _paid(draw: Draw, document: Document) -> Document:
    """The document with prepayments and rounding."""
    for number in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        sums = totals(document)
        entry = draw(st.sampled_from(sums.breakdown))
        taxable = rounded(max(D(0), min(entry.taxable, sums.payable / 2)) * draw(RATIOS) / 1000)
        if taxable:
            issued = document.issued_at - timedelta(days=number)
            amount = tax_on(taxable, entry.tax.rate)
            prepayment = Prepayment(f"PRE-{number}", issued, taxable, amount, entry.tax)
            document = replace(document, prepayments=(*document.prepayments, prepayment))
    if draw(st.booleans()) and totals(document).payable >= 1:
        document = replace(document, rounding=draw(decimals(-1, 1, 2)))
    return document


NASTY: dict[type, list[Any]] = {
    str: [
        *("", " ", "x", "ab", "7", "1234567890", "12345678901234567", "300000000000003", "A B", "A-B", "<&>", None, 5),
        *("x" * 128, "x" * 1001, "\0", "\x1b[0m", "\ud800", "\ufffe", "SA", "AE", "SAR", "NAT", "VATEX-SA-29", "Z"),
        *("\u0661\u0662\u0663\u0664", " 10", "10\n", "00000000"),
    ],
    Decimal: [
        *map(D, ("0", "-0", "-1", "0.001", "0.005", "5", "15", "1E+3", "1E+20", "1E-20", "1E+999999", "NaN", "sNaN")),
        *map(D, ("Infinity", "99999999999.99", "0.0000001", "1." + "3" * 60, "100.001")),
        *(1.5, 3, "1", None),
    ],
    date: [None, date(1999, 12, 31), date(2100, 1, 1), date(2026, 11, 30), ISSUED, "2026-11-01"],
    datetime: [None, ISSUED.replace(tzinfo=None), ISSUED + timedelta(days=365), datetime(1, 1, 1, tzinfo=UTC), "now"],
    int: [-1, 0, 10**30, "1"],
    bool: [True, False, None],
}
"""What somebody may put where a value of a type belongs: some of it good, most of it not."""


@st.composite
def doubtful(draw: Draw) -> Document:
    """A good document with one value, anywhere in it, changed for better or for worse."""
    return _changed(draw, draw(documents(most_lines=3) | st.sampled_from(list(SAMPLES.values()))))


def _changed(draw: Draw, value: Any) -> Any:
    if isinstance(value, tuple):
        if not value or draw(st.integers(0, 5)) == 0:
            return draw(st.sampled_from([(), value * 2]))
        index = draw(st.integers(0, len(value) - 1))
        return (*value[:index], _changed(draw, value[index]), *value[index + 1 :])
    if is_dataclass(value) and not isinstance(value, TypeCode):
        if not isinstance(value, Document) and draw(st.integers(0, 9)) == 0:
            return None
        names = [field.name for field in fields(value)]
        if isinstance(value, Document) and draw(st.booleans()):
            names = [
                *("lines", "seller", "buyer"),
                *(each for each in ("prepayments", "allowances") if getattr(value, each)),
            ]
        name = draw(st.sampled_from(names))
        return replace(value, **{name: _changed(draw, getattr(value, name))})
    if value is None:
        kinds = [kind for choices in NASTY.values() for kind in choices]
        return draw(st.sampled_from([*kinds, CONSUMER, BUYER, SELLER, ZERO_RATE]))
    return draw(st.sampled_from(NASTY.get(type(value), [value])))
