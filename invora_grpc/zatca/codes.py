"""Code lists that ZATCA checks documents against, as sets of codes.

Facts only: what the rules of SDK R3.4.8 accept, which is not always today's edition of the list (MRO and ZMW are
currencies here, MRU is not). Nothing in this room knows XML, and none of the sets changes at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


def _codes(text: str) -> frozenset[str]:
    """The words of ``text``."""
    return frozenset(text.split())


CURRENCIES: Final = _codes(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD
    CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS
    GIP GMD GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD
    KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRO MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR
    NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLL SOS SRD SSP STD SVC
    SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UZS VEF VND VUV WST XAF XAG XAU XBA XBB
    XBC XBD XCD XDR XOF XPD XPF XPT XSU XTS XUA XXX YER ZAR ZMW ZWL
    """
)
"""ISO 4217 alpha-3 (BR-CL-03, -04, -05)."""

COUNTRIES: Final = _codes(
    """
    1A AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY
    BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM
    FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT
    JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN
    MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT
    PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL
    TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XI YE YT ZA ZM ZW
    """
)
"""ISO 3166-1 alpha-2, with 1A and XI (BR-CL-14)."""

DOCUMENT_TYPES: Final = _codes(
    """
    80 82 84 130 202 203 204 211 295 325 326 380 381 383 384 385 386 387 388 389 390 393 394 395 456 457 527 575 623
    633 751 780 935
    """
)
"""UN/CL 1001 (BR-CL-01). ZATCA itself takes only 388, 381, 383 and 386 of them (BR-KSA-05)."""

TAX_CATEGORIES: Final = _codes("AE L M E S Z G O K B")
"""UN/CL 5305 (BR-CL-18). ZATCA itself takes only S, Z, E and O of them."""

PAYMENT_MEANS: Final = frozenset(
    [*map(str, range(1, 69)), "70", *map(str, range(74, 79)), *map(str, range(91, 98)), "ZZZ"]
)
"""UN/CL 4461 as ZATCA takes it (BR-KSA-16)."""

PAYMENT_MEANS_EN: Final = PAYMENT_MEANS | {"69"}
"""UN/CL 4461 as EN 16931 takes it (BR-CL-16)."""

ALLOWANCE_REASONS: Final = _codes("41 42 60 62 63 64 65 66 67 68 70 71 88 95 100 102 103 104 105")
"""UN/CL 5189. No rule checks them."""

CHARGE_REASONS: Final = _codes(
    """
    AA AAA AAC AAD AAE AAF AAH AAI AAS AAT AAV AAY AAZ ABA ABB ABC ABD ABF ABK ABL ABN ABR ABS ABT ABU ACF ACG ACH
    ACI ACJ ACK ACL ACM ACS ADC ADE ADJ ADK ADL ADM ADN ADO ADP ADQ ADR ADT ADW ADY ADZ AEA AEB AEC AED AEF AEH
    AEI AEJ AEK AEL AEM AEN AEO AEP AES AET AEU AEV AEW AEX AEY AEZ AJ AU CA CAB CAD CAE CAF CAI CAJ CAK CAL CAM
    CAN CAO CAP CAQ CAR CAS CAT CAU CAV CAW CD CG CS CT DAB DAD DL EG EP ER FAA FAB FAC FC FH FI GAA HAA HD HH IAA
    ID IF IR IS KO L1 LA LAA LAB LF MAE MI ML NAA OA PA PAA PC PL RAB RAC RAD RAF RE RF RH RV SA SAA SAD SAE SAI
    SG SH SM SU TAB TT TV V1 V2 WH XAA YY ZZZ
    """
)
"""UN/CL 7161 as the rules have it, which is without IAB and TAC (BR-KSA-CL-06)."""

EXEMPTIONS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "Z": _codes(
            """
            VATEX-SA-32 VATEX-SA-32(bis) VATEX-SA-33 VATEX-SA-34-1 VATEX-SA-34-2 VATEX-SA-34-3 VATEX-SA-34-4
            VATEX-SA-34-5 VATEX-SA-35 VATEX-SA-36 VATEX-SA-EDU VATEX-SA-HEA VATEX-SA-MLTRY VATEX-SA-DIPLOMAT
            VATEX-SA-DUTYFREE VATEX-SA-ROYALDECREE
            """
        ),
        "E": _codes("VATEX-SA-29 VATEX-SA-29-7 VATEX-SA-30"),
        "O": _codes("VATEX-SA-OOS"),
    }
)
"""Exemption codes per tax category (BR-KSA-CL-04)."""
