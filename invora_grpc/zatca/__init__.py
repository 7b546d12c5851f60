"""ZATCA for platforms: which of the six cases is lawful, the documents that follow, and issuing them.

    from invora_grpc import Invora
    from invora_grpc.zatca import Customer, SpStatus, Supply, advise, issue, tenants

    option = advise(Supply(SpStatus.registered, Customer.consumer, disclosed=True, date=today)).option(1)
    issued = issue(tenants(client, provider_org_id), option, deal)

Every name below is loaded when it is first used (PEP 562). The advice, type codes and the data of documents need
nothing but Python; XML, hashes and stamps want the extra `zatca`. For asynchronous clients: `zatca.issuing_aio`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from invora_grpc.zatca.advice import Advice as Advice
    from invora_grpc.zatca.advice import DeemedVerdict as DeemedVerdict
    from invora_grpc.zatca.advice import Question as Question
    from invora_grpc.zatca.advice import Refusal as Refusal
    from invora_grpc.zatca.advice import advise as advise
    from invora_grpc.zatca.advice_options import Leg as Leg
    from invora_grpc.zatca.advice_options import Option as Option
    from invora_grpc.zatca.agreement import Agreement as Agreement
    from invora_grpc.zatca.agreement import PreconditionError as PreconditionError
    from invora_grpc.zatca.agreement import SelfBilling as SelfBilling
    from invora_grpc.zatca.agreement import ThirdParty as ThirdParty
    from invora_grpc.zatca.chain import check_chain as check_chain
    from invora_grpc.zatca.checking import Finding as Finding
    from invora_grpc.zatca.checking import check as check
    from invora_grpc.zatca.deal import Deal as Deal
    from invora_grpc.zatca.document import Address as Address
    from invora_grpc.zatca.document import Allowance as Allowance
    from invora_grpc.zatca.document import Document as Document
    from invora_grpc.zatca.document import Line as Line
    from invora_grpc.zatca.document import Party as Party
    from invora_grpc.zatca.document import Prepayment as Prepayment
    from invora_grpc.zatca.document import Reference as Reference
    from invora_grpc.zatca.document import Tax as Tax
    from invora_grpc.zatca.hashing import FIRST_HASH as FIRST_HASH
    from invora_grpc.zatca.hashing import invoice_hash as invoice_hash
    from invora_grpc.zatca.issuing import Issued as Issued
    from invora_grpc.zatca.issuing import IssuedLeg as IssuedLeg
    from invora_grpc.zatca.issuing import IssuingError as IssuingError
    from invora_grpc.zatca.issuing import KeyTaken as KeyTaken
    from invora_grpc.zatca.issuing import NotAccepted as NotAccepted
    from invora_grpc.zatca.issuing import NotFinal as NotFinal
    from invora_grpc.zatca.issuing import TotalsDiffer as TotalsDiffer
    from invora_grpc.zatca.issuing import issue as issue
    from invora_grpc.zatca.issuing import send as send
    from invora_grpc.zatca.issuing import stamped_xml as stamped_xml
    from invora_grpc.zatca.issuing import tenants as tenants
    from invora_grpc.zatca.monthly import summary as summary
    from invora_grpc.zatca.monthly import usage_events as usage_events
    from invora_grpc.zatca.notes import note as note
    from invora_grpc.zatca.qr import Qr as Qr
    from invora_grpc.zatca.rendering import render as render
    from invora_grpc.zatca.requests import Issuance as Issuance
    from invora_grpc.zatca.requests import NoDocument as NoDocument
    from invora_grpc.zatca.requests import RuleError as RuleError
    from invora_grpc.zatca.requests import build as build
    from invora_grpc.zatca.supply import Customer as Customer
    from invora_grpc.zatca.supply import Role as Role
    from invora_grpc.zatca.supply import SpStatus as SpStatus
    from invora_grpc.zatca.supply import Supply as Supply
    from invora_grpc.zatca.typecode import IllegalTypeCode as IllegalTypeCode
    from invora_grpc.zatca.typecode import TypeCode as TypeCode
    from invora_grpc.zatca.ubl import from_xml as from_xml
    from invora_grpc.zatca.ubl import to_xml as to_xml

_ROOMS = {
    "advice": ("Advice", "DeemedVerdict", "Question", "Refusal", "advise"),
    "advice_options": ("Leg", "Option"),
    "agreement": ("Agreement", "PreconditionError", "SelfBilling", "ThirdParty"),
    "chain": ("check_chain",),
    "checking": ("Finding", "check"),
    "deal": ("Deal",),
    "document": ("Address", "Allowance", "Document", "Line", "Party", "Prepayment", "Reference", "Tax"),
    "hashing": ("FIRST_HASH", "invoice_hash"),
    "issuing": (
        *("Issued", "IssuedLeg", "IssuingError", "KeyTaken", "NotAccepted", "NotFinal", "TotalsDiffer"),
        *("issue", "send", "stamped_xml", "tenants"),
    ),
    "monthly": ("summary", "usage_events"),
    "notes": ("note",),
    "qr": ("Qr",),
    "rendering": ("render",),
    "requests": ("Issuance", "NoDocument", "RuleError", "build"),
    "supply": ("Customer", "Role", "SpStatus", "Supply"),
    "typecode": ("IllegalTypeCode", "TypeCode"),
    "ubl": ("from_xml", "to_xml"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

if not TYPE_CHECKING:
    __all__ = sorted(_ROOM_OF)

    def __getattr__(name):
        room = _ROOM_OF.get(name)
        if room is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{room}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOM_OF})
