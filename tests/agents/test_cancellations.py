from __future__ import annotations

import json
from typing import Any

from agents.cancellations import cancellations
from streams.testing import batch, record

CANCELLATION: dict[str, Any] = {
    "cancellationId": "can-C1", "orderId": "C1", "paymentId": None, "customerId": "17850", "currency": "GBP",
    "amount": "10.20", "cancelledAt": "2010-12-01T09:41:00Z", "country": "Eire",
    "lines": [{"sku": "HEART", "name": "A heart", "quantity": 4, "unitPrice": "2.55"}],
}  # fmt: skip


async def test_a_cancellation_takes_its_order_back_everywhere() -> None:
    taken = batch(record(CANCELLATION, key=b"C1", topic="payment.cancelled"))
    async with cancellations.test_context() as agent:
        await agent.put(taken)
    outputs = {output.topic: json.loads(output.value or b"") for output in taken.outputs}
    platform, notification = outputs.pop("platform.orders"), outputs.pop("notification.requests")
    movement, fact = outputs.pop("inventory.movements"), outputs.pop("analytics.sales")
    assert outputs == {}
    assert (platform["kind"], platform["amount"], platform["method"]) == ("cancellation", "10.20", None)
    assert (notification["template"], notification["customerId"]) == ("payment-cancelled", "17850")
    assert movement["lines"] == [{"sku": "HEART", "quantity": -4}]
    assert (fact["kind"], fact["revenue"], fact["units"]) == ("refund", "10.20", 4)
    ids = {dict(output.headers)["ce_id"].decode() for output in taken.outputs}
    assert ids == {f"can-C1:{kind}" for kind in ("platform", "notification", "inventory", "analytics")}


async def test_a_cancellation_that_contradicts_itself_is_a_dead_letter_of_its_own_topic() -> None:
    wrong: list[dict[str, Any]] = [{"amount": "10.21"}, {"lines": []}, {"cancellationId": ""}, {"amount": "-10.20"}]
    records = [
        record({**CANCELLATION, **change}, topic="payment.cancelled", offset=offset)
        for offset, change in enumerate(wrong)
    ]
    taken = batch(*records)
    async with cancellations.test_context() as agent:
        await agent.put(taken)
    assert {output.topic for output in taken.outputs} == {"payment.cancelled.DLT"}
    assert dict(taken.tally.dead_letters) == {"validate": 4}
