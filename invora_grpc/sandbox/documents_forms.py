"""Invoices and notes of UBL in the one form that ZATCA takes, and their sums.

UBL has a document type each for invoices, notes and self-billed documents; ZATCA takes only the Invoice, and tells them
apart by type code and flags. `as_invoice` turns typed content of the five types into it:

- a credit note becomes an invoice of code 381, a debit note 383, self-billed ones 388 and 381 with the seventh flag;
  what another code list calls them (380, 389, 261) is not kept;
- lines, quantities and the sum go to the invoice's own fields; the description of a discrepancy response becomes the
  reason of the note (PaymentMeans/InstructionNote, BR-KSA-17);
- where no flags are said, they are those of the corrected document, else standard for a buyer with a VAT number and
  simplified for any other.

The room must not check rules, assign numbers to stored documents or touch the store. All arithmetic is `zatca.totals`'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from invora_api.documents.v2 import models_pb2 as documents_v2
from invora_api.documents.v2.content_pb2 import DocumentContent
from invora_grpc.sandbox.service import Wrong
from invora_grpc.sandbox.ubl_content import UnreadableContent
from invora_grpc.values import from_decimal, to_decimal
from invora_grpc.zatca.document import Allowance, Document, Line, Party, Prepayment, Tax
from invora_grpc.zatca.totals import allowance_amount, totals
from invora_grpc.zatca.typecode import TypeCode


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the five document types that ZATCA knows."""

    code: int
    lines: str
    quantity: str
    total: str
    type_code: str = ""
    """Its own field for the type code; a debit note has none."""
    self_billed: bool = False


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "invoice": Kind(388, "invoice_line", "invoiced_quantity", "legal_monetary_total", "invoice_type_code"),
        "credit_note": Kind(
            381, "credit_note_line", "credited_quantity", "legal_monetary_total", "credit_note_type_code"
        ),
        "debit_note": Kind(383, "debit_note_line", "debited_quantity", "requested_monetary_total"),
        "self_billed_invoice": Kind(
            388, "invoice_line", "invoiced_quantity", "legal_monetary_total", "invoice_type_code", True
        ),
        "self_billed_credit_note": Kind(
            381, "credit_note_line", "credited_quantity", "legal_monetary_total", "credit_note_type_code", True
        ),
    }
)
"""By the field of the typed content."""
PREPAYMENT: Final = "386"
_SELF_BILLED: Final = 6  # place of the flag in the name of the type code
_INVOICE: Final = KINDS["invoice"]
_RESPONSE: Final = "discrepancy_response"
_CASH: Final = "10"  # UN/CL 4461; a reason needs payment means to stand in


def kind_of(content: DocumentContent) -> Kind | None:
    """The kind of typed content; None for what is no matter of ZATCA."""
    return KINDS.get(content.WhichOneof("type") or "")


def body_of(content: DocumentContent) -> Any:
    """The document in the content."""
    return getattr(content, content.WhichOneof("type") or "invoice")


def type_of(content: DocumentContent) -> Any:
    """The DocumentType (a number): of an invoice by its type code and flags, of any other by its own type."""
    name = content.WhichOneof("type") or "unspecified"
    if name == "invoice":
        code, self_billed = content.invoice.invoice_type_code, _is_self_billed(content.invoice.invoice_type_code.name)
        notes = {"381": "self_billed_credit_note" if self_billed else "credit_note", "383": "debit_note"}
        name = notes.get(code.value, "self_billed_invoice" if self_billed else "invoice")
    return documents_v2.DocumentType.Value(f"DOCUMENT_TYPE_{name.upper()}")


def _is_self_billed(flags: str) -> bool:
    return flags[_SELF_BILLED : _SELF_BILLED + 1] == "1"


# ZATCA's form


def as_invoice(content: DocumentContent, flags: str = "") -> DocumentContent:
    """The content as the UBL invoice that ZATCA takes; an invoice is answered as it is.

    ``flags`` are those of the document that a note corrects, "" where they are not known. Raises UnreadableContent for
    what an invoice has no place for.
    """
    kind, name = kind_of(content), content.WhichOneof("type")
    if kind is None or kind is _INVOICE:
        return content
    source, made, lost = body_of(content), DocumentContent(), list[str]()
    _transfer(source, made.invoice, _renames(kind), str(name), lost)
    lost = [path for path in lost if path != f"{name}.{_RESPONSE}"]
    if lost:
        why = "has no place in an invoice, the only form that ZATCA takes"
        raise UnreadableContent([(path, why) for path in lost])
    code = made.invoice.invoice_type_code
    code.name = _flags_of(kind, code.name or flags, made.invoice)
    code.value = str(kind.code)
    _give_reason(source, made.invoice)
    return made


def _renames(kind: Kind) -> dict[str, str]:
    names = {getattr(kind, part): getattr(_INVOICE, part) for part in ("lines", "quantity", "total", "type_code")}
    return names | {f"sub_{kind.lines}": f"sub_{_INVOICE.lines}"}


def _transfer(source: Any, target: Any, renames: Mapping[str, str], path: str, lost: list[str]) -> None:
    """Copy fields by their names into a message of another type; note those that it has no place for."""
    for given, value in source.ListFields():
        place = f"{path}.{given.name}"
        taken = target.DESCRIPTOR.fields_by_name.get(renames.get(given.name, given.name))
        values = value if given.is_repeated else [value]
        if taken is None or (len(values) > 1 and not taken.is_repeated):
            lost.append(place)
        elif taken.message_type is None:
            setattr(target, taken.name, value)
        else:
            for index, one in enumerate(values):
                into = getattr(target, taken.name).add() if taken.is_repeated else getattr(target, taken.name)
                into.SetInParent()
                if into.DESCRIPTOR is one.DESCRIPTOR:
                    into.CopyFrom(one)
                else:
                    _transfer(one, into, renames, f"{place}[{index}]" if given.is_repeated else place, lost)


def _flags_of(kind: Kind, flags: str, invoice: Any) -> str:
    if not flags:
        buyer = invoice.accounting_customer_party.party
        registered = any(scheme.company_id.value for scheme in buyer.party_tax_scheme)
        flags = TypeCode("standard" if registered or kind.self_billed else "simplified").name
    return flags[:_SELF_BILLED] + "1" + flags[_SELF_BILLED + 1 :] if kind.self_billed else flags


def _give_reason(source: Any, invoice: Any) -> None:
    given = getattr(source, _RESPONSE, ())
    reasons = [text.value for response in given for text in response.description if text.value]
    if not reasons:
        return
    if not invoice.payment_means:
        invoice.payment_means.add().payment_means_code.value = _CASH
    if not any(means.instruction_note for means in invoice.payment_means):
        for reason in reasons:
            invoice.payment_means[0].instruction_note.add().value = reason


def path_in(content: DocumentContent, path: str) -> str:
    """The path in this content of what has the other path in the invoice that it became."""
    kind, name = kind_of(content), content.WhichOneof("type")
    if kind is None or kind is _INVOICE or not path:
        return path
    back = {new: old for old, new in _renames(kind).items()}
    steps = [str(name), *path.split(".")[1:]]
    return ".".join(back.get(word, word) + mark + index for word, mark, index in (s.partition("[") for s in steps))


# Sums


@dataclass(slots=True)
class Calculation:
    """Content with its sums filled in, and which fields these are."""

    content: DocumentContent
    computed: list[tuple[str, Decimal]] = field(default_factory=list)
    """Paths inside the content, and their values."""

    def put(self, owner: Any, name: str, amount: Decimal, currency: str, path: str) -> None:
        """Set an amount of money."""
        target = getattr(owner, name)
        from_decimal(amount, target.value)
        target.currency_id = currency
        self.computed.append((f"{path}.{name}.value", amount))


def calculated(content: DocumentContent) -> Calculation:
    """The content with lines, taxes and sums as its quantities, prices, allowances and rates make them.

    The sum in riyals is written where the currency is SAR or the content has a tax exchange rate; else it stays as it
    is. Exemption reasons come from the lines' categories, else from the breakdown that was there. Raises
    UnreadableContent for other document types and for numbers that cannot be added up.
    """
    kind, name = kind_of(content), content.WhichOneof("type")
    if kind is None or name is None:
        raise UnreadableContent([(name or "", "has no sums to calculate: only invoices and notes have")])
    done = Calculation(DocumentContent.FromString(content.SerializeToString()))
    body = body_of(done.content)
    wrong: Wrong = []
    facts = _facts(body, kind, name, wrong)
    if wrong:
        raise UnreadableContent(wrong)
    try:
        _write_sums(done, body, kind, name, facts)
    except ValueError as problem:
        raise UnreadableContent([(f"{name}.{kind.total}", f"cannot be calculated: {problem}")]) from problem
    return done


def _is_prepayment(line: Any) -> bool:
    references = getattr(line, "document_reference", ())
    return any(reference.document_type_code.value == PREPAYMENT for reference in references)


def _facts(body: Any, kind: Kind, name: str, wrong: Wrong) -> Document:
    """What the sums are made from; parties, dates and numbers are of no matter for them."""
    rows = list(enumerate(getattr(body, kind.lines)))
    lines = [_line(line, kind, f"{name}.{kind.lines}[{i}]", wrong) for i, line in rows if not _is_prepayment(line)]
    prepaid = [entry for _, line in rows if _is_prepayment(line) for entry in _prepayments(line)]
    allowances = _allowances(body, f"{name}.allowance_charge", wrong)
    currency = body.document_currency_code.value or "SAR"
    rate = body.tax_exchange_rate.calculation_rate
    return Document(
        TypeCode(),
        "",
        "",
        datetime(2000, 1, 1, tzinfo=UTC),
        Party(""),
        tuple(line for line in lines if line),
        currency=currency,
        sar_rate=to_decimal(rate.value) if currency != "SAR" and rate.HasField("value") else None,
        allowances=tuple(allowances),
        prepayments=tuple(prepaid),
        rounding=to_decimal(getattr(body, kind.total).payable_rounding_amount.value),
    )


def _line(line: Any, kind: Kind, path: str, wrong: Wrong) -> Line | None:
    quantity, price = getattr(line, kind.quantity), line.price
    missing = [
        (f"{path}.{where}", "is needed to calculate the line")
        for where, there in (
            (kind.quantity, quantity.HasField("value")),
            ("price.price_amount", price.price_amount.HasField("value")),
            ("item.classified_tax_category", len(line.item.classified_tax_category)),
        )
        if not there
    ]
    base = to_decimal(price.base_quantity.value) if price.base_quantity.HasField("value") else Decimal(1)
    if not base:
        missing.append((f"{path}.price.base_quantity", "must not be zero"))
    wrong += missing
    if missing:
        return None
    return Line(
        "",
        to_decimal(quantity.value),
        to_decimal(price.price_amount.value),
        tax=_tax(line.item.classified_tax_category[0]),
        allowances=tuple(_allowances(line, f"{path}.allowance_charge", wrong)),
        base_quantity=base,
    )


def _tax(category: Any) -> Tax:
    reason = next((one.value for one in category.tax_exemption_reason), "")
    code: Any = category.id.value or "S"
    return Tax(code, to_decimal(category.percent.value), category.tax_exemption_reason_code.value, reason)


def _allowances(owner: Any, path: str, wrong: Wrong) -> Iterator[Allowance]:
    """Allowances and charges; an amount that is not said is base × percent."""
    for index, entry in enumerate(owner.allowance_charge):
        amount = to_decimal(entry.amount.value)
        percent, base = entry.multiplier_factor_numeric, entry.base_amount
        if not entry.amount.HasField("value"):
            if not (percent.HasField("value") and base.HasField("value")):
                wrong.append((f"{path}[{index}].amount", "is needed, or a base amount and its share in per cent"))
                continue
            amount = allowance_amount(to_decimal(base.value), to_decimal(percent.value))
        category = _tax(entry.tax_category[0]) if entry.tax_category else None
        yield Allowance(amount, charge=entry.charge_indicator.value, tax=category)


def _prepayments(line: Any) -> Iterator[Prepayment]:
    for total in line.tax_total:
        for part in total.tax_subtotal:
            taxable, tax = to_decimal(part.taxable_amount.value), to_decimal(part.tax_amount.value)
            yield Prepayment("", datetime(2000, 1, 1, tzinfo=UTC), taxable, tax)


def _write_sums(done: Calculation, body: Any, kind: Kind, name: str, facts: Document) -> None:
    sums, currency = totals(facts), facts.currency
    rows = [(i, line) for i, line in enumerate(getattr(body, kind.lines)) if not _is_prepayment(line)]
    for (index, line), amounts in zip(rows, sums.lines, strict=True):
        path = f"{name}.{kind.lines}[{index}]"
        _write_allowances(done, line, currency, path)
        done.put(line, "line_extension_amount", amounts.net, currency, path)
        tax = line.tax_total[0] if line.tax_total else line.tax_total.add()
        done.put(tax, "tax_amount", amounts.tax, currency, f"{path}.tax_total[0]")
        done.put(tax, "rounding_amount", amounts.gross, currency, f"{path}.tax_total[0]")
    _write_allowances(done, body, currency, name)
    _write_taxes(done, body, name, facts)
    total, path = getattr(body, kind.total), f"{name}.{kind.total}"
    values = {
        "line_extension_amount": sums.line_total,
        "tax_exclusive_amount": sums.tax_exclusive,
        "tax_inclusive_amount": sums.tax_inclusive,
        "allowance_total_amount": sums.allowance_total,
        "charge_total_amount": sums.charge_total,
        "prepaid_amount": sums.prepaid,
        "payable_amount": sums.payable,
    }
    optional = {"allowance_total_amount", "charge_total_amount", "prepaid_amount"}
    for one, amount in values.items():
        if amount or one not in optional or total.HasField(one):
            done.put(total, one, amount, currency, path)


def _write_allowances(done: Calculation, owner: Any, currency: str, path: str) -> None:
    entries = zip(owner.allowance_charge, _allowances(owner, path, []), strict=True)
    for index, (entry, allowance) in enumerate(entries):
        if not entry.amount.HasField("value"):
            done.put(entry, "amount", allowance.amount, currency, f"{path}.allowance_charge[{index}]")


def _write_taxes(done: Calculation, body: Any, name: str, facts: Document) -> None:
    """The total with its breakdown, then the one in riyals alone."""
    sums, currency = totals(facts), facts.currency
    former = [_copied(part.tax_category) for total in body.tax_total for part in total.tax_subtotal]
    by_rate = {(category.id.value, to_decimal(category.percent.value)): category for category in former}
    in_riyals = [_copied(total) for total in body.tax_total if not total.tax_subtotal]
    del body.tax_total[:]
    main = body.tax_total.add()
    done.put(main, "tax_amount", sums.tax, currency, f"{name}.tax_total[0]")
    for index, entry in enumerate(sums.breakdown):
        part, path = main.tax_subtotal.add(), f"{name}.tax_total[0].tax_subtotal[{index}]"
        done.put(part, "taxable_amount", entry.taxable, currency, path)
        done.put(part, "tax_amount", entry.amount, currency, path)
        _write_category(part.tax_category, entry.tax, by_rate.get((entry.tax.category, entry.tax.rate)))
    if currency == "SAR" or facts.sar_rate is not None:
        done.put(body.tax_total.add(), "tax_amount", sums.tax_sar, "SAR", f"{name}.tax_total[1]")
    else:
        body.tax_total.extend(in_riyals)


def _copied(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _write_category(category: Any, tax: Tax, former: Any) -> None:
    """The category of a breakdown, with what was said of it before where the lines say less."""
    if former is not None:
        category.CopyFrom(former)
    category.id.value = tax.category
    from_decimal(tax.rate, category.percent.value)
    if tax.exemption_code:
        category.tax_exemption_reason_code.value = tax.exemption_code
    if tax.exemption_text:
        del category.tax_exemption_reason[:]
        category.tax_exemption_reason.add().value = tax.exemption_text
    category.tax_scheme.id.value = category.tax_scheme.id.value or "VAT"
