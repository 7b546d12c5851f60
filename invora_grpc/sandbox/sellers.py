"""Who a tenant is on its documents: the particulars of its branch, its self-party, its organization, else made-up ones.

Each particular is taken from the first place that has it: the branch's ZATCA settings, the branch's party, the tenant's
self-party, the details of its registration, and last the sandbox's own defaults, so that a new tenant can issue at
once. This room reads records of the call's tenant; it writes nothing and judges nothing.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from invora_api.branches.v2.models_pb2 import Branch
from invora_api.settings.v2.service_pb2 import LegalInfo
from invora_grpc.sandbox.model import MissingRecord, Record
from invora_grpc.sandbox.service import Call
from invora_grpc.zatca.document import Address, Party

BRANCHES: Final = "invoicing.branches"
_SELF: Final = "invoicing.self_party"
REGULATION: Final = "zatca"
"""Id of the regulation, and key of its settings on a branch."""

SANDBOX_VAT: Final = "399999999900003"
"""The seller's VAT number where nothing tells another."""
_DEFAULT_ADDRESS: Final = Address("King Abdulaziz Road", "2322", "Al Murabba", "Riyadh", "12345", "SA")
_DEFAULT_CRN: Final = "1010010000"
_NOWHERE: Final = Address(country="")


def branch_of(call: Call, branch_id: str) -> Record | None:
    """The tenant's branch of this key or record id; for "" its primary branch. None if there is none."""
    if not branch_id:
        records = call.store.all(call.org_id, BRANCHES)
        return next((record for record in records if Branch.FromString(record.body).is_primary), None)
    try:
        found = call.store.by_key(call.org_id, BRANCHES, branch_id)
        return found or call.store.get(call.org_id, BRANCHES, branch_id)
    except MissingRecord:
        return None


def seller_of(call: Call, branch: Record | None) -> Party:
    """The tenant as the seller of what this branch issues (None: the tenant has no branch)."""
    organization = call.store.organization(call.org_id)
    told: list[Party] = []
    if branch is not None:
        kept = Branch.FromString(branch.body)
        if REGULATION in kept.regulation_configs:
            told.append(_of_settings(MessageToDict(kept.regulation_configs[REGULATION].config)))
        told.append(party_of(kept.party))
    told += [party_of(LegalInfo.FromString(one.body).party) for one in call.store.all(call.org_id, _SELF)[:1]]
    told.append(_of_details(organization.data.get("details", {})))
    told.append(Party(organization.name, SANDBOX_VAT, "CRN", _DEFAULT_CRN, _DEFAULT_ADDRESS))
    return _merged(told)


def party_of(ubl: Any) -> Party:
    """What a UBL party says of name, numbers and address."""
    names = [entity.registration_name.value for entity in ubl.party_legal_entity]
    names += [name.name.value for name in ubl.party_name]
    numbers = [scheme.company_id.value for scheme in ubl.party_tax_scheme]
    other = next((one.id for one in ubl.party_identification if one.id.value), None)
    place = ubl.postal_address
    address = Address(
        street=place.street_name.value,
        building_number=place.building_number.value,
        district=place.city_subdivision_name.value,
        city=place.city_name.value,
        postal_code=place.postal_zone.value,
        country=place.country.identification_code.value,
        additional_street=place.additional_street_name.value,
        province=place.country_subentity.value,
    )
    return Party(
        name=next(filter(None, names), ""),
        vat_number=next(filter(None, numbers), ""),
        id_scheme=other.scheme_id if other else "",
        id_value=other.value if other else "",
        address=None if address == _NOWHERE else address,
    )


def _of_settings(config: dict[str, Any]) -> Party:
    """What the ZATCA settings of a branch say, by the JSON names of ZatcaConfig."""
    given = {name: value for name, value in config.items() if isinstance(value, str)}
    address = Address(
        building_number=given.get("buildingNumber", ""),
        district=given.get("citySubdivision", ""),
        country="",
        additional_street=given.get("additionalStreet", ""),
    )
    crn = given.get("crn", "")
    return Party("", given.get("vatRegistrationNumber", ""), "CRN" if crn else "", crn, address)


def _of_details(details: dict[str, Any]) -> Party:
    """What a business told when it registered."""
    given = {name: value for name, value in details.items() if isinstance(value, str)}
    address = Address(
        street=given.get("address_line", ""),
        city=given.get("city", ""),
        postal_code=given.get("postal_code", ""),
        country=given.get("country", ""),
    )
    return Party("", given.get("tax_id", ""), address=address)


def _merged(parties: list[Party]) -> Party:
    """The first party, with what it leaves out taken from the next ones. Scheme and value of an id stay together."""
    identified = next(party for party in parties if party.id_value)
    addresses = [party.address for party in parties if party.address]
    return Party(
        name=next(party.name for party in parties if party.name),
        vat_number=next(party.vat_number for party in parties if party.vat_number),
        id_scheme=identified.id_scheme,
        id_value=identified.id_value,
        address=Address(**{one.name: _first(addresses, one.name) for one in fields(Address)}),
    )


def _first(addresses: list[Address], name: str) -> str:
    return next((value for address in addresses if (value := str(getattr(address, name)))), "")
