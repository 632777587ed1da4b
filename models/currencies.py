"""The currencies of ISO 4217 and their minor units: those in use, and those withdrawn since 2002.

A withdrawn currency is taken whatever the event's own date. An order is refunded, corrected and replayed years after
it was paid, in the currency in which it was paid; a refund that is refused is lost. A date of withdrawal is no last day
either: old money was taken for weeks, and card networks settle later still. Whoever still writes one by
mistake sees it in ``paystream analytics report``, which never adds up different currencies.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# List one, "current currency and funds code list", column "minor unit", published on 1 January 2026 by the standard's
# maintenance agency, SIX. Metals, bond units, special drawing rights and the codes for testing have no minor unit
# there, cannot be paid with, and are left out.
_IN_USE: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF
        CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL
        HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU
        MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR
        SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED
        VES WST XAD XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
# List three, "codes for historic denominations", of the same day: all that were withdrawn in 2002 or later, but for the
# gold franc and the railways' franc, which nobody paid with. That list gives no minor units. They are those of
# java.util.Currency (JDK 25), by which a shop in Java writes them; of CHC and GHP, which it does not know, CLDR's.
_WITHDRAWN: Final = {
    0: "ADP BEF BYR ESP GRD ITL LUF MGF PTE ROL TPE TRL",
    2: """
        AFA ANG ATS AYM AZM BGL BGN CHC CSD CUC CYP DEM EEK FIM FRF GHC GHP HRK IEP LTL LVL MRO MTL MZM NLG RUR
        SDD SIT SKK SLL SRG STD TMM USS VEB VEF YUM ZMK ZWD ZWL ZWN ZWR
    """,
}

WITHDRAWN: Final = frozenset(code for codes in _WITHDRAWN.values() for code in codes.split())
"""Currencies that are taken for old orders only."""

MINOR_UNITS: Final[Mapping[str, int]] = MappingProxyType(
    {code: digits for table in (_IN_USE, _WITHDRAWN) for digits, codes in table.items() for code in codes.split()}
)
"""Fraction digits of each currency, by alphabetic code."""
