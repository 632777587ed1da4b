from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from models.cancellation import PaymentCancelled
from models.order import OrderEvent
from streams.failure.policy import safe_reason

LINE: dict[str, Any] = {"sku": "22632", "name": "HAND WARMER RED RETROSPOT", "quantity": 10, "unitPrice": "2.75"}
EVENT: dict[str, Any] = {
    "cancellationId": "can-C536379",
    "orderId": "C536379",
    "paymentId": None,
    "customerId": "14527",
    "currency": "GBP",
    "amount": "27.50",
    "cancelledAt": "2010-12-01T09:41:00Z",
    "country": "United Kingdom",
    "lines": [LINE],
}


def parse(**changes: Any) -> PaymentCancelled:
    return PaymentCancelled.model_validate_json(json.dumps(EVENT | changes))


def without(*names: str) -> str:
    return json.dumps({name: value for name, value in EVENT.items() if name not in names})


def problem(raw: str | None = None, /, **changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        PaymentCancelled.model_validate_json(json.dumps(EVENT | changes) if raw is None else raw)
    return safe_reason(caught.value)


def test_an_event_as_jackson_writes_it_is_read_into_snake_case() -> None:
    cancelled = parse()
    assert cancelled.cancellation_id == "can-C536379"
    assert cancelled.amount == Decimal("27.50")
    assert cancelled.cancelled_at == datetime.datetime(2010, 12, 1, 9, 41, tzinfo=datetime.timezone.utc)
    assert cancelled.lines[0].quantity == 10


def test_it_is_written_as_it_was_read() -> None:
    written = json.loads(parse().model_dump_json(by_alias=True, exclude={"method"}))
    assert written == EVENT


def test_it_takes_an_order_back_under_its_own_id_and_at_its_own_time() -> None:
    event: OrderEvent = parse()
    assert event.takes_back
    assert (event.platform_kind, event.sale_kind) == ("cancellation", "refund")
    assert (event.template, event.stock_sign) == ("payment-cancelled", -1)
    assert event.event_id == "can-C536379"
    assert event.occurred_at == datetime.datetime(2010, 12, 1, 9, 41, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize(("payment", "known"), [({"paymentId": "pay-1"}, "pay-1"), ({"paymentId": None}, None)])
def test_the_payment_is_named_where_the_shop_knows_it(payment: dict[str, Any], known: str | None) -> None:
    assert parse(**payment).payment_id == known


def test_payment_and_customer_may_be_left_out() -> None:
    cancelled = PaymentCancelled.model_validate_json(without("paymentId", "customerId"))
    assert (cancelled.payment_id, cancelled.customer_id) == (None, None)


@pytest.mark.parametrize("field", [name for name in EVENT if name not in ("paymentId", "customerId")])
def test_a_missing_field_is_named(field: str) -> None:
    assert problem(without(field)) == f"{field}: Field required"


# -- figures are positive although goods and money go back -----------------------------------------


def test_an_amount_below_zero_is_refused() -> None:
    assert problem(amount="-27.50") == "amount: must not be negative"


@pytest.mark.parametrize("quantity", [-10, 0, "10", 2**31])
def test_a_quantity_that_is_no_positive_whole_number_is_refused(quantity: object) -> None:
    assert problem(lines=[LINE | {"quantity": quantity}]).startswith("lines.0.quantity: ")


def test_an_amount_that_is_not_the_sum_of_the_lines_is_refused() -> None:
    assert problem(amount="27.60") == "amount is not the sum of the lines"


def test_a_cancellation_that_gives_nothing_back_is_refused() -> None:
    assert problem(amount="0.00", lines=[LINE | {"unitPrice": "0"}]) == "amount must be greater than 0"
    assert problem(lines=[]) == "there must be at least one line"


# -- what else is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["cancellationId", "orderId", "paymentId", "customerId"])
@pytest.mark.parametrize("value", ["", 536379, "a\u0000b", "a\nb", "x" * 129])
def test_an_identifier_is_short_text_without_control_characters(field: str, value: object) -> None:
    said = problem(None, **{field: value})
    assert said == f"{field}: must be text of 1 to 128 characters without control characters"


@pytest.mark.parametrize("moment", ["2010-12-01T09:41:00", "1291196460", None])
def test_a_time_without_an_offset_is_refused(moment: object) -> None:
    assert problem(cancelledAt=moment).startswith("cancelledAt: must be a date and time with its offset from UTC")


def test_a_payment_is_no_cancellation() -> None:
    payment = EVENT | {"paymentId": "pay-1", "method": "CARD", "paidAt": EVENT["cancelledAt"]}
    del payment["cancellationId"], payment["cancelledAt"]
    assert problem(json.dumps(payment)) == "cancellationId: Field required; cancelledAt: Field required"


def test_no_message_quotes_what_may_be_personal() -> None:
    for field in EVENT:
        with pytest.raises(ValidationError) as caught:
            parse(**{field: "Jane\u0000Doe"})
        assert "Jane" not in safe_reason(caught.value) + str(caught.value)
