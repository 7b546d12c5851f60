"""Keys, certificates and stamped documents for tests of ZATCA: one authority and one unit for a whole run."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from zatca_documents import SIMPLIFIED, STANDARD

from invora_grpc.zatca.document import Document
from invora_grpc.zatca.hashing import FIRST_HASH
from invora_grpc.zatca.stamping import Authority, Stamped, Unit, certificate, new_authority, new_key, stamp
from invora_grpc.zatca.ubl import to_xml

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

UNIT = Unit(
    "TST-886431145-399999999900003",
    "1-Invora|2-Sandbox|3-ed22f1d8",
    "399999999900003",
    "شركة توريد (Sons)",
    "Riyadh Branch",
    "RRRD2929",
    "Supply activities",
)


@cache
def authority() -> Authority:
    return new_authority()


@cache
def credentials() -> tuple[EllipticCurvePrivateKey, Certificate]:
    """The unit's key and certificate."""
    key = new_key()
    return key, certificate(key, UNIT, authority())


def xml_of(document: Document, counter: int = 1, previous_hash: str = FIRST_HASH) -> bytes:
    return to_xml(replace(document, counter=counter, previous_hash=previous_hash), checked=False)


def stamped(document: Document, counter: int = 1, previous_hash: str = FIRST_HASH) -> Stamped:
    return stamp(xml_of(document, counter, previous_hash), *credentials())


@cache
def simplified() -> Stamped:
    return stamped(SIMPLIFIED)


@cache
def standard() -> Stamped:
    return stamped(STANDARD)


def chained(count: int, previous_hash: str = FIRST_HASH, counter: int = 0) -> list[bytes]:
    """So many stamped documents, one after the other."""
    made: list[bytes] = []
    for number in range(counter + 1, counter + count + 1):
        uuid = f"8e6000cf-1a98-4174-b3e7-{number:012d}"
        one = stamped(replace(SIMPLIFIED, id=f"SIM-{number}", uuid=uuid), number, previous_hash)
        previous_hash = one.hash
        made.append(one.xml)
    return made
