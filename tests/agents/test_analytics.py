from __future__ import annotations

from agents.analytics import analytics
from streams.testing import batch, record

FACT = {
    "kind": "sale", "factId": "pay-1:order-analytics", "orderId": "1", "occurredAt": "2010-12-01T08:26:00Z",
    "country": "Eire", "currency": "GBP", "revenue": "5.00", "units": 2,
    "lines": [{"sku": "HEART", "quantity": 2, "revenue": "5.00"}],
}  # fmt: skip


async def test_a_sale_and_a_refund_become_effects_in_the_database() -> None:
    taken = batch(record(FACT), record({**FACT, "kind": "refund", "factId": "can-1:cancellation-analytics"}, offset=1))
    async with analytics.test_context() as agent:
        await agent.put(taken)
    assert [(each.message.kind, each.message.fact_id) for each in taken.effects] == [
        ("sale", "pay-1:order-analytics"), ("refund", "can-1:cancellation-analytics"),
    ]  # fmt: skip


async def test_an_amount_whose_sums_could_not_be_kept_is_a_dead_letter() -> None:
    lines = [{"sku": "HEART", "quantity": 2, "revenue": "100000000000"}]
    taken = batch(record({**FACT, "revenue": "100000000000"}), record({**FACT, "lines": lines}, offset=1))
    async with analytics.test_context() as agent:
        await agent.put(taken)
    assert taken.effects == []
    assert dict(taken.tally.dead_letters) == {"validate": 2}
