from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from models.currencies import MINOR_UNITS, WITHDRAWN
from models.money import EXACT, Amount, Currency, is_payable, rounded, written
from streams.failure.policy import safe_reason

AMOUNT: TypeAdapter[Decimal] = TypeAdapter(Amount)
CURRENCY: TypeAdapter[str] = TypeAdapter(Currency)

prices = st.decimals(min_value=0, max_value=10**11, places=6, allow_nan=False, allow_infinity=False)
currencies = st.sampled_from(sorted(MINOR_UNITS))


def problem_with(adapter: TypeAdapter[Any], json: str) -> str:
    with pytest.raises(ValidationError) as caught:
        adapter.validate_json(json)
    return safe_reason(caught.value)


# -- currencies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("currency", "digits"),
    [
        ("KRW", 0),
        ("JPY", 0),
        ("ISK", 0),
        ("GBP", 2),
        ("EUR", 2),
        ("MGA", 2),
        ("BHD", 3),
        ("TND", 3),
        ("CLF", 4),
    ],
)
def test_each_currency_has_its_own_number_of_fraction_digits(currency: str, digits: int) -> None:
    assert MINOR_UNITS[currency] == digits


def test_the_table_is_as_large_as_the_standards_list_and_every_code_is_three_capitals() -> None:
    assert 160 <= len(MINOR_UNITS.keys() - WITHDRAWN) <= 180
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in MINOR_UNITS)


@pytest.mark.parametrize(
    ("currency", "digits"),
    [
        ("DEM", 2), ("ITL", 0), ("HRK", 2), ("LTL", 2), ("LVL", 2), ("EEK", 2), ("SKK", 2), ("SIT", 2), ("CYP", 2),
        ("MTL", 2), ("TRL", 0), ("BYR", 0), ("ROL", 0), ("AZM", 2), ("GHC", 2), ("MZM", 2), ("SDD", 2), ("SRG", 2),
        ("VEB", 2), ("VEF", 2), ("ZMK", 2), ("ZWD", 2), ("ZWL", 2), ("STD", 2), ("MRO", 2), ("SLL", 2), ("ANG", 2),
        ("CUC", 2), ("BGN", 2), ("MGF", 0),
    ],
)  # fmt: skip
def test_a_currency_withdrawn_since_2002_is_taken_for_old_orders(currency: str, digits: int) -> None:
    assert CURRENCY.validate_json(f'"{currency}"') == currency
    assert MINOR_UNITS[currency] == digits
    assert currency in WITHDRAWN


@pytest.mark.parametrize("currency", ["XEU", "YUN", "PLZ", "BYB", "XFO", "XFU"])
def test_a_currency_withdrawn_before_and_one_that_nobody_pays_with_are_unknown(currency: str) -> None:
    assert problem_with(CURRENCY, f'"{currency}"').endswith("such as GBP, in use or withdrawn since 2002")


@pytest.mark.parametrize("json", ['"XXX"', '"gbp"', '""', "826", "null", '"XAU"'])
def test_what_is_not_a_currency_in_use_is_unknown(json: str) -> None:
    assert problem_with(CURRENCY, json).startswith("unknown currency")


# -- amounts on the wire -------------------------------------------------------------------------


def test_an_amount_is_text_and_keeps_every_digit() -> None:
    amount = AMOUNT.validate_json('"139.10"')
    assert str(amount) == "139.10"
    assert AMOUNT.dump_json(amount) == b'"139.10"'


@pytest.mark.parametrize("json", ["139.1", "139", "true", "null", "[]"])
def test_an_amount_that_is_not_text_is_refused_with_the_reason(json: str) -> None:
    assert "JSON number loses exactness" in problem_with(AMOUNT, json)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "1e3",
        "1E+3",
        "NaN",
        "Infinity",
        "+1",
        ".5",
        "5.",
        "1,50",
        "0x10",
        "1_000",
        "\uff11.5",
        "1\\n",
        "0E-8",
        "-0",
        "-0.00",
        "-1E+2",
        "-Infinity",
        "-NaN",
        "-",
        "--5",
        "-.5",
        "-5.",
        "-1.2.3",
        "-1,50",
        "\u22125",
        "1-2",
    ],
)
def test_only_plain_decimal_notation_is_an_amount(text: str) -> None:
    assert "plain decimal number" in problem_with(AMOUNT, f'"{text}"')


@pytest.mark.parametrize("text", ["-0.01", "-5", "-" + "9" * 400])
def test_an_amount_is_not_negative(text: str) -> None:
    assert problem_with(AMOUNT, f'"{text}"') == "must not be negative"


@pytest.mark.parametrize("text", ["1234567890123", "0.1234567", "9" * 400, "9" * 5000])
def test_an_amount_has_a_bounded_number_of_digits(text: str) -> None:
    assert "at most 12 digits before the point and 6 after it" in problem_with(AMOUNT, f'"{text}"')


def test_in_python_an_amount_is_a_decimal_never_a_float() -> None:
    assert AMOUNT.validate_python(Decimal("1E+3")) == 1000
    with pytest.raises(ValidationError, match="must be text"):
        AMOUNT.validate_python(139.1)
    with pytest.raises(ValidationError, match="plain decimal"):
        AMOUNT.validate_python(Decimal("NaN"))


def test_the_schema_of_an_amount_is_text_with_a_pattern() -> None:
    assert AMOUNT.json_schema()["type"] == "string"
    assert "GBP" in CURRENCY.json_schema()["enum"]


@given(prices)
def test_every_amount_survives_the_wire(price: Decimal) -> None:
    read = AMOUNT.validate_json(AMOUNT.dump_json(AMOUNT.validate_python(price)))
    assert (read, str(read)) == (price, format(price, "f"))


# -- rounding ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "currency", "expected"),
    [
        ("0.005", "GBP", "0.01"),  # half up, where half even would give 0.00
        ("0.015", "GBP", "0.02"),
        ("0.0149", "GBP", "0.01"),
        ("-0.005", "GBP", "-0.01"),  # away from zero
        ("2.5", "KRW", "3"),
        ("1.2345", "BHD", "1.235"),
        ("139.1", "GBP", "139.10"),
    ],
)
def test_rounding_is_half_up_to_the_minor_unit(value: str, currency: str, expected: str) -> None:
    assert str(rounded(Decimal(value), currency)) == expected


@pytest.mark.parametrize(
    ("value", "currency", "payable"),
    [
        ("1.500", "GBP", True),
        ("1.505", "GBP", False),
        ("1", "KRW", True),
        ("1.5", "KRW", False),
        ("1.505", "BHD", True),
    ],
)
def test_an_amount_with_more_digits_than_its_currency_is_not_payable(value: str, currency: str, payable: bool) -> None:
    assert is_payable(Decimal(value), currency) is payable


@pytest.mark.parametrize(
    ("value", "expected"),
    [("2.5", "2.50"), ("2.5000", "2.50"), ("0.0010", "0.001"), ("100", "100.00"), ("0", "0.00")],
)
def test_equal_values_are_written_alike(value: str, expected: str) -> None:
    assert str(written(Decimal(value), "GBP")) == expected


@given(prices, st.integers(1, 2**31 - 1), currencies)
def test_writing_never_changes_a_value_nor_uses_an_exponent(price: Decimal, quantity: int, currency: str) -> None:
    total = EXACT.multiply(price, quantity)
    result = written(total, currency)
    assert result == total
    assert "E" not in str(result)


@given(prices, currencies)
def test_rounding_moves_a_value_by_half_a_minor_unit_at_most(price: Decimal, currency: str) -> None:
    unit = Decimal(1).scaleb(-MINOR_UNITS[currency])
    assert abs(EXACT.subtract(rounded(price, currency), price)) * 2 <= unit
