"""Money: ISO 4217 currencies, exact decimals, and the one rounding rule.

An amount is text on the wire, in plain decimal notation. A JSON number would be read as a binary
floating-point number by most programs, and 0.1 is not one of those.
"""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import GetPydanticSchema, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from models.currencies import MINOR_UNITS

_QUANTA = {code: Decimal(1).scaleb(-digits) for code, digits in MINOR_UNITS.items()}

MAX_INTEGER_DIGITS = 12
MAX_FRACTION_DIGITS = 6
"""Unit prices go below the minor unit (0.001 GBP for a sheet of paper); str() writes up to six fraction
digits without an exponent."""

# 10,000 lines of a ten-digit quantity times an eighteen-digit price need 32 digits: nothing is ever lost.
_PRECISION = 40
EXACT = decimal.Context(prec=_PRECISION, traps=[decimal.Inexact, decimal.InvalidOperation])
"""Arithmetic that raises rather than rounds."""
# Half up is what tills, invoices and Java's HALF_UP do. Half even avoids a drift over many roundings;
# here an order is rounded once.
_ROUNDING = decimal.Context(prec=_PRECISION, rounding=decimal.ROUND_HALF_UP, traps=[decimal.InvalidOperation])

_PLAIN = rf"[0-9]{{1,{MAX_INTEGER_DIGITS}}}(\.[0-9]{{1,{MAX_FRACTION_DIGITS}}})?"
# Finds all but a minus before a plain number that is not zero: 0E-8, -0.00 and -x are many things, but not below zero.
# It is written without "not", which the engine that runs it in linear time does not have.
_NOT_BELOW_ZERO: Final = r"^(?:[^-]|$|-[0.]*$|-.*[^0-9.]|-\.|-.*\.$|-.*\..*\.)"


def _amount_schema() -> CoreSchema:
    # Every step but the last runs in pydantic-core; Decimal() itself is C. This is on the hot path.
    text = core_schema.chain_schema(
        [
            core_schema.custom_error_schema(
                core_schema.str_schema(strict=True),
                custom_error_type="money_not_text",
                custom_error_message='must be text, such as "139.10": money as a JSON number loses exactness',
            ),
            core_schema.custom_error_schema(
                core_schema.str_schema(pattern=_NOT_BELOW_ZERO),
                custom_error_type="money_negative",
                custom_error_message="must not be negative",
            ),
            core_schema.custom_error_schema(
                core_schema.str_schema(pattern=f"^{_PLAIN}$"),
                custom_error_type="money_format",
                custom_error_message=(
                    'must be a plain decimal number such as "139.10", with at most '
                    f"{MAX_INTEGER_DIGITS} digits before the point and {MAX_FRACTION_DIGITS} after it"
                ),
            ),
        ]
    )
    from_json = core_schema.no_info_after_validator_function(Decimal, text)
    from_python = core_schema.no_info_before_validator_function(_written_out, from_json)
    return core_schema.json_or_python_schema(
        json_schema=from_json, python_schema=from_python, serialization=core_schema.to_string_ser_schema()
    )


def _written_out(value: Any) -> Any:
    return format(value, "f") if isinstance(value, Decimal) else value


_AMOUNT_SCHEMA = _amount_schema()
Amount = Annotated[
    Decimal,
    GetPydanticSchema(lambda _source, _handler: _AMOUNT_SCHEMA),
    WithJsonSchema({"type": "string", "pattern": f"^{_PLAIN}$"}),
]
"""A sum of money that is not negative; text on the wire, :class:`~decimal.Decimal` in Python."""

_CURRENCY_SCHEMA = core_schema.custom_error_schema(
    core_schema.literal_schema(sorted(MINOR_UNITS)),
    custom_error_type="currency",
    custom_error_message="unknown currency: expected an ISO 4217 code such as GBP, in use or withdrawn since 2002",
)
Currency = Annotated[str, GetPydanticSchema(lambda _source, _handler: _CURRENCY_SCHEMA)]
"""An alphabetic code of ISO 4217, in capitals."""


_quantize = _ROUNDING.quantize


def minor_unit(currency: str) -> Decimal:
    """Return the smallest amount that can be paid: 0.01 GBP.

    Raises:
        KeyError: the currency is not in :data:`models.currencies.MINOR_UNITS`.
    """
    return _QUANTA[currency]


def rounded(value: Decimal, currency: str) -> Decimal:
    """Round half up to the currency's minor unit, as an invoice's total is.

    Raises:
        KeyError: the currency is not in :data:`models.currencies.MINOR_UNITS`.
    """
    return _quantize(value, _QUANTA[currency])


def written(value: Decimal, currency: str) -> Decimal:
    """Give the one way to write a value: the currency's fraction digits, and more only where it needs them.

    2.5 GBP becomes 2.50, and 0.0010 GBP becomes 0.001. The value itself never changes.
    """
    payable = _quantize(value, _QUANTA[currency])
    return payable if payable == value else value.normalize(EXACT)


def is_payable(value: Decimal, currency: str) -> bool:
    """Tell whether the value needs no more fraction digits than the currency has; 1.500 GBP does not."""
    return rounded(value, currency) == value
