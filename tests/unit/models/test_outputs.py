from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from models.analytics import SaleFact
from models.cancellation import PaymentCancelled
from models.inventory import StockMovement
from models.money import rounded
from models.notification import NotificationRequest
from models.payment import PaymentCompleted
from models.platform import PlatformOrder

OUTPUTS: list[Any] = [PlatformOrder, NotificationRequest, StockMovement, SaleFact]

HEART = {"sku": "85123A", "name": "WHITE HANGING HEART", "quantity": 6, "unitPrice": "2.55"}
SHEET = {"sku": "PAPER", "name": "", "quantity": 5, "unitPrice": "0.001"}


def payment(amount: str, *lines: dict[str, Any], **changes: Any) -> PaymentCompleted:
    event = {
        "paymentId": "pay-536365",
        "orderId": "536365",
        "customerId": "17850",
        "method": "CARD",
        "currency": "GBP",
        "amount": amount,
        "paidAt": "2010-12-01T09:26:00+01:00",
        "country": "United Kingdom",
        "lines": lines,
    }
    return PaymentCompleted.model_validate_json(json.dumps(event | changes))


def cancellation(amount: str, *lines: dict[str, Any], **changes: Any) -> PaymentCancelled:
    event = {
        "cancellationId": "can-C536379",
        "orderId": "C536379",
        "paymentId": None,
        "customerId": "14527",
        "currency": "GBP",
        "amount": amount,
        "cancelledAt": "2010-12-01T09:41:00Z",
        "country": "United Kingdom",
        "lines": lines,
    }
    return PaymentCancelled.model_validate_json(json.dumps(event | changes))


def compact(value: dict[str, Any]) -> bytes:
    """Write an output's value byte for byte: its fields in this order, and no blanks."""
    return json.dumps(value, separators=(",", ":")).encode()


def test_the_platform_record_is_the_whole_order_with_its_sums() -> None:
    assert PlatformOrder.of(payment("15.31", HEART, SHEET)).to_json() == compact(
        {
            "kind": "order",
            "recordId": "pay-536365:order-platform",
            "paymentId": "pay-536365",
            "orderId": "536365",
            "customerId": "17850",
            "method": "CARD",
            "currency": "GBP",
            "amount": "15.31",
            "occurredAt": "2010-12-01T08:26:00Z",
            "country": "United Kingdom",
            "itemCount": 2,
            "units": 11,
            "lines": [
                {**HEART, "total": "15.30"},
                {**SHEET, "total": "0.005"},
            ],
        }
    )


def test_the_notification_names_customer_template_and_sum_but_no_language() -> None:
    assert NotificationRequest.of(payment("15.3", HEART)).to_json() == compact(
        {
            "requestId": "pay-536365:order-notification",
            "orderId": "536365",
            "customerId": "17850",
            "template": "payment-completed",
            "currency": "GBP",
            "amount": "15.30",
            "occurredAt": "2010-12-01T08:26:00Z",
            "country": "United Kingdom",
        }
    )


def test_a_guest_is_a_null_customer() -> None:
    guest = payment("15.30", HEART, customerId=None)
    assert json.loads(NotificationRequest.of(guest).to_json())["customerId"] is None
    assert json.loads(PlatformOrder.of(guest).to_json())["customerId"] is None


def test_the_stock_movement_has_one_entry_an_article() -> None:
    movement = StockMovement.of(payment("20.41", HEART, SHEET, {**HEART, "quantity": 2, "unitPrice": "2.55"}))
    assert movement.to_json() == compact(
        {
            "movementId": "pay-536365:order-inventory",
            "orderId": "536365",
            "occurredAt": "2010-12-01T08:26:00Z",
            "lines": [{"sku": "85123A", "quantity": 8}, {"sku": "PAPER", "quantity": 5}],
        }
    )


def test_the_sale_fact_adds_up_each_article_and_names_no_customer() -> None:
    fact = SaleFact.of(payment("17.81", HEART, SHEET, {**HEART, "quantity": 1, "unitPrice": "2.5"}))
    assert fact.to_json() == compact(
        {
            "kind": "sale",
            "factId": "pay-536365:order-analytics",
            "orderId": "536365",
            "occurredAt": "2010-12-01T08:26:00Z",
            "country": "United Kingdom",
            "currency": "GBP",
            "revenue": "17.81",
            "units": 12,
            "lines": [
                {"sku": "85123A", "quantity": 7, "revenue": "17.80"},
                {"sku": "PAPER", "quantity": 5, "revenue": "0.005"},
            ],
        }
    )


# -- of a cancellation ---------------------------------------------------------------------------


def test_a_cancellation_is_on_the_platform_as_such_with_figures_above_zero() -> None:
    assert PlatformOrder.of(cancellation("15.31", HEART, SHEET)).to_json() == compact(
        {
            "kind": "cancellation",
            "recordId": "can-C536379:cancellation-platform",
            "paymentId": None,
            "orderId": "C536379",
            "customerId": "14527",
            "method": None,
            "currency": "GBP",
            "amount": "15.31",
            "occurredAt": "2010-12-01T09:41:00Z",
            "country": "United Kingdom",
            "itemCount": 2,
            "units": 11,
            "lines": [
                {**HEART, "total": "15.30"},
                {**SHEET, "total": "0.005"},
            ],
        }
    )


def test_the_platform_is_told_the_payment_that_is_cancelled_if_the_shop_knows_it() -> None:
    known = cancellation("15.30", HEART, paymentId="pay-1")
    assert json.loads(PlatformOrder.of(known).to_json())["paymentId"] == "pay-1"


def test_the_customer_is_told_of_a_cancellation_by_a_template_of_its_own() -> None:
    assert NotificationRequest.of(cancellation("15.3", HEART)).to_json() == compact(
        {
            "requestId": "can-C536379:cancellation-notification",
            "orderId": "C536379",
            "customerId": "14527",
            "template": "payment-cancelled",
            "currency": "GBP",
            "amount": "15.30",
            "occurredAt": "2010-12-01T09:41:00Z",
            "country": "United Kingdom",
        }
    )


def test_what_is_cancelled_comes_back_to_stock() -> None:
    movement = StockMovement.of(cancellation("20.41", HEART, SHEET, {**HEART, "quantity": 2}))
    assert movement.to_json() == compact(
        {
            "movementId": "can-C536379:cancellation-inventory",
            "orderId": "C536379",
            "occurredAt": "2010-12-01T09:41:00Z",
            "lines": [{"sku": "85123A", "quantity": -8}, {"sku": "PAPER", "quantity": -5}],
        }
    )


def test_a_cancellation_is_a_refund_with_figures_above_zero() -> None:
    fact = SaleFact.of(cancellation("17.81", HEART, SHEET, {**HEART, "quantity": 1, "unitPrice": "2.5"}))
    assert fact.to_json() == compact(
        {
            "kind": "refund",
            "factId": "can-C536379:cancellation-analytics",
            "orderId": "C536379",
            "occurredAt": "2010-12-01T09:41:00Z",
            "country": "United Kingdom",
            "currency": "GBP",
            "revenue": "17.81",
            "units": 12,
            "lines": [
                {"sku": "85123A", "quantity": 7, "revenue": "17.80"},
                {"sku": "PAPER", "quantity": 5, "revenue": "0.005"},
            ],
        }
    )


def test_a_payment_that_is_cancelled_whole_leaves_no_piece_and_no_penny() -> None:
    paid, back = payment("15.31", HEART, SHEET), cancellation("15.31", HEART, SHEET)
    left = zip(StockMovement.of(paid).lines, StockMovement.of(back).lines, strict=True)
    assert [(out.sku, out.quantity + into.quantity) for out, into in left] == [("85123A", 0), ("PAPER", 0)]
    assert SaleFact.of(paid).lines == SaleFact.of(back).lines
    assert SaleFact.of(paid).revenue == SaleFact.of(back).revenue


# -- of both -------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_same_payment_always_gives_the_same_bytes(output: Any) -> None:
    one = payment("15.30", HEART)
    other = payment("15.3", {**HEART, "unitPrice": "2.550"}, paidAt="2010-12-01T08:26:00.000Z")
    assert output.of(one).to_json() == output.of(other).to_json()


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_output_keeps_its_own_contract(output: Any) -> None:
    longest = "x" * 128
    for event in (
        payment("15.31", HEART, SHEET, paymentId=longest, customerId=None),
        cancellation("15.31", HEART, SHEET, cancellationId=longest, customerId=None),
    ):
        made = output.of(event)
        assert TypeAdapter(output).validate_json(made.to_json()) == made


lines = st.lists(
    st.fixed_dictionaries(
        {
            "sku": st.sampled_from(["a", "b", "c"]),
            "name": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5),
            "quantity": st.integers(1, 10_000_000),  # so that no amount has more than twelve digits
            "unitPrice": st.decimals(0, 1000, places=6).map(lambda price: format(price, "f")),
        }
    ),
    min_size=1,
    max_size=8,
)


@given(lines, st.sampled_from(["GBP", "KRW", "BHD", "CLF"]))
def test_nothing_is_lost_between_a_payment_and_its_outputs(drawn: list[dict[str, Any]], currency: str) -> None:
    exact = sum(Decimal(line["unitPrice"]) * line["quantity"] for line in drawn)
    amount = rounded(Decimal(exact), currency)
    if not amount:
        return
    paid = payment(str(amount), *drawn, currency=currency)
    order, fact, movement = PlatformOrder.of(paid), SaleFact.of(paid), StockMovement.of(paid)
    units = sum(line["quantity"] for line in drawn)
    assert sum(line.total for line in order.lines) == exact == sum(line.revenue for line in fact.lines)
    assert order.units == fact.units == units == sum(line.quantity for line in movement.lines)
    assert order.amount == fact.revenue == amount
    assert len({line.sku for line in movement.lines}) == len(movement.lines) == len(fact.lines)
    assert b"E+" not in order.to_json() + fact.to_json()
