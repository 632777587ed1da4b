from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from models.order import MAX_LINES, Line, OrderEvent
from models.payment import PaymentCompleted
from streams.failure.policy import safe_reason

LINE: dict[str, Any] = {
    "sku": "85123A",
    "name": "WHITE HANGING HEART T-LIGHT HOLDER",
    "quantity": 6,
    "unitPrice": "2.55",
}
EVENT: dict[str, Any] = {
    "paymentId": "pay-536365",
    "orderId": "536365",
    "customerId": "17850",
    "method": "CARD",
    "currency": "GBP",
    "amount": "15.30",
    "paidAt": "2010-12-01T08:26:00Z",
    "country": "United Kingdom",
    "lines": [LINE],
}


def parse(**changes: Any) -> PaymentCompleted:
    return PaymentCompleted.model_validate_json(json.dumps(EVENT | changes))


def parse_line(**changes: Any) -> PaymentCompleted:
    return parse(lines=[LINE | changes])


def problem(raw: bytes | None = None, /, **changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        PaymentCompleted.model_validate_json(json.dumps(EVENT | changes) if raw is None else raw)
    return safe_reason(caught.value)


def test_an_event_as_jackson_writes_it_is_read_into_snake_case() -> None:
    payment = parse()
    assert payment.payment_id == "pay-536365"
    assert payment.amount == Decimal("15.30")
    assert payment.paid_at == datetime.datetime(2010, 12, 1, 8, 26, tzinfo=datetime.timezone.utc)
    assert payment.lines[0].unit_price == Decimal("2.55")


def test_it_is_an_order_that_takes_pieces_from_the_shelf_under_its_own_id_and_at_its_own_time() -> None:
    event: OrderEvent = parse()
    assert not event.takes_back
    assert (event.platform_kind, event.sale_kind) == ("order", "sale")
    assert (event.template, event.stock_sign) == ("payment-completed", 1)
    assert event.event_id == "pay-536365"
    assert event.occurred_at == datetime.datetime(2010, 12, 1, 8, 26, tzinfo=datetime.timezone.utc)


def test_a_payment_can_be_made_in_python_and_is_written_in_camel_case() -> None:
    payment = PaymentCompleted(
        payment_id="pay-1",
        order_id="1",
        method="CARD",
        currency="KRW",
        amount=Decimal(3000),
        paid_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        country="Korea",
        lines=(Line(sku="a", name="", quantity=2, unit_price=Decimal(1500)),),
    )
    written = json.loads(payment.model_dump_json(by_alias=True))
    assert (written["paymentId"], written["amount"], written["customerId"]) == ("pay-1", "3000", None)
    assert written["lines"][0]["unitPrice"] == "1500"
    assert PaymentCompleted.model_validate_json(payment.model_dump_json(by_alias=True)) == payment


def test_a_payment_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(parse(), "order_id", "1")  # noqa: B010


def test_fields_that_we_do_not_know_yet_are_ignored() -> None:
    assert parse(loyaltyPoints=12) == parse()


@pytest.mark.parametrize("customer", [{"customerId": None}, {}])
def test_a_guest_has_no_customer_id(customer: dict[str, None]) -> None:
    event = {name: value for name, value in EVENT.items() if name != "customerId"} | customer
    assert PaymentCompleted.model_validate_json(json.dumps(event)).customer_id is None


def test_a_gift_is_free_but_an_order_is_not() -> None:
    gift = LINE | {"sku": "gift", "unitPrice": "0.00"}
    assert parse(lines=[LINE, gift]).amount == Decimal("15.30")
    assert problem(lines=[gift], amount="0.00") == "amount must be greater than 0"


# -- the sum -------------------------------------------------------------------------------------


def test_an_amount_that_is_not_the_sum_of_the_lines_is_refused() -> None:
    assert problem(amount="15.40") == "amount is not the sum of the lines"
    assert problem(lines=[LINE | {"unitPrice": "0.0001"}], amount="0.01") == (
        "amount is above 0, and the sum of the lines is 0"
    )


SHEETS = [LINE | {"quantity": 1, "unitPrice": "0.005"}] * 3


@pytest.mark.parametrize(
    ("lines", "amount", "currency", "said"),
    [
        ([LINE], "15.31", "GBP", "0.01 GBP more, which looks like rounding"),
        ([LINE], "15.29", "GBP", "0.01 GBP less, which looks like rounding"),
        (SHEETS, "0.03", "GBP", "0.01 GBP more, as if each line were rounded"),
        (SHEETS, "0.01", "GBP", "0.01 GBP less, which looks like rounding"),
        ([LINE | {"unitPrice": "250.25"}], "1503", "KRW", "1 KRW more, which looks like rounding"),
        ([LINE | {"unitPrice": "1.2345"}], "7.408", "BHD", "0.001 BHD more, which looks like rounding"),
    ],
)
def test_an_amount_that_is_off_by_rounding_is_refused_and_told_so(
    lines: list[dict[str, Any]], amount: str, currency: str, said: str
) -> None:
    assert problem(lines=lines, amount=amount, currency=currency) == (
        f"amount is not the sum of the lines but {said}: "
        "lines are added up exactly, and the sum is rounded once, half up"
    )


def test_rounding_is_told_by_the_difference_alone_which_is_nobodys_data() -> None:
    assert "15.3" not in problem(amount="15.31")


def test_the_sum_is_rounded_once_half_up() -> None:
    assert parse(lines=SHEETS, amount="0.02").amount == Decimal("0.02")  # 0.015; line by line it were 0.03


def test_the_sum_is_exact_for_the_largest_order_there_can_be() -> None:
    lines = [LINE | {"quantity": 1, "unitPrice": "99999999.999999"}] * MAX_LINES
    assert parse(lines=lines, amount="999999999999.99").amount == Decimal("999999999999.99")
    assert problem(lines=lines, amount="999999999949.90") == "amount is not the sum of the lines"


def test_an_amount_finer_than_its_currency_is_refused() -> None:
    assert problem(amount="15.305") == "amount has more fraction digits than its currency"


@pytest.mark.parametrize("amount", ["15.3", "15.30", "15.300000"])
def test_equal_amounts_become_the_same_payment(amount: str) -> None:
    assert str(parse(amount=amount).amount) == "15.30"


# -- what is refused -----------------------------------------------------------------------------


def test_there_must_be_a_line() -> None:
    assert problem(lines=[]) == "there must be at least one line"
    assert "lines" in problem(lines=[LINE] * (MAX_LINES + 1))


@pytest.mark.parametrize("quantity", [True, "6", 6.5, 6.0, 0, -1, 2**31, None])
def test_a_quantity_is_a_positive_whole_number_and_nothing_that_looks_like_one(quantity: object) -> None:
    assert problem(lines=[LINE | {"quantity": quantity}]).startswith("lines.0.quantity: ")


def test_a_wrong_line_is_the_only_thing_said_to_be_wrong() -> None:
    assert problem(lines=[LINE | {"unitPrice": "-2.55"}]) == "lines.0.unitPrice: must not be negative"


@pytest.mark.parametrize("field", ["paymentId", "orderId", "customerId", "method", "country"])
@pytest.mark.parametrize("value", ["", 536365, "a\u0000b", "a\nb", "x" * 129])
def test_an_identifier_is_short_text_without_control_characters(field: str, value: object) -> None:
    assert problem(None, **{field: value}) == (
        f"{field}: must be text of 1 to 128 characters without control characters"
    )


@pytest.mark.parametrize("field", [name for name in EVENT if name != "customerId"])
def test_a_missing_field_is_named(field: str) -> None:
    event = {name: value for name, value in EVENT.items() if name != field}
    assert problem(json.dumps(event).encode()) == f"{field}: Field required"


@pytest.mark.parametrize(
    "moment",
    [
        "2010-12-01T08:26:00",  # whose time?
        "2010-12-01",
        "1291191960",
        1291191960,
        "2010-13-01T08:26:00Z",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
        None,
    ],
)
def test_a_time_without_an_offset_or_outside_the_calendar_is_refused(moment: object) -> None:
    assert problem(paidAt=moment).startswith("paidAt: must be a date and time with its offset from UTC")


@pytest.mark.parametrize(
    "moment",
    [
        "2010-12-01T08:26:00Z",
        "2010-12-01T09:26:00+01:00",
        "2010-12-01T09:26:00.000000000+0100",  # java.time with nanoseconds
        "2010-12-01T08:26Z",  # OffsetDateTime.toString() at a full minute
    ],
)
def test_the_same_moment_is_the_same_payment_however_it_is_written(moment: str) -> None:
    assert parse(paidAt=moment) == parse()
    assert b'"2010-12-01T08:26:00Z"' in parse(paidAt=moment).model_dump_json(by_alias=True).encode()


# -- what an operator reads ----------------------------------------------------------------------


def test_no_message_quotes_what_may_be_personal() -> None:
    secret = "Jane\u0000Doe"
    for field in EVENT:
        with pytest.raises(ValidationError) as caught:
            parse(**{field: secret})
        assert "Jane" not in safe_reason(caught.value) + str(caught.value)
    with pytest.raises(ValidationError) as caught:
        parse(lines=[LINE | {"name": secret, "sku": secret}])
    assert "Jane" not in safe_reason(caught.value) + str(caught.value)


def test_only_the_first_problems_are_told_and_the_others_counted() -> None:
    assert problem(b"{}") == ("paymentId: Field required; orderId: Field required; method: Field required; and 5 more")


@pytest.mark.parametrize(
    ("raw", "undecodable"),
    [
        (b"", True),
        (b"\xff\xfe", True),
        (b'{"orderId": "1"', True),
        (b"null", False),
        (b"[]", False),
        (b"{}", False),
    ],
)
def test_what_is_no_json_is_told_from_what_breaks_the_contract(raw: bytes, undecodable: bool) -> None:
    with pytest.raises(ValidationError) as caught:
        PaymentCompleted.model_validate_json(raw)
    assert any(each["type"] == "json_invalid" for each in caught.value.errors()) is undecodable


def test_brackets_without_end_are_undecodable_not_a_crash() -> None:
    with pytest.raises(ValidationError) as caught:
        PaymentCompleted.model_validate_json(b"[" * 100_000)
    assert any(each["type"] == "json_invalid" for each in caught.value.errors())
