from __future__ import annotations

from agents.inventory import inventory
from models.inventory import StockLine
from streams.testing import batch, record

MOVEMENT = {
    "movementId": "pay-1:order-inventory",
    "orderId": "1",
    "occurredAt": "2010-12-01T08:26:00Z",
    "lines": [{"sku": "HEART", "quantity": 6}, {"sku": "SHEET", "quantity": -2}],
}


async def test_a_movement_becomes_an_effect_in_the_database() -> None:
    taken = batch(record(MOVEMENT))
    async with inventory.test_context() as agent:
        await agent.put(taken)
    (effect,) = taken.effects
    movement = effect.message
    assert movement.movement_id == "pay-1:order-inventory"
    assert movement.lines == (StockLine("HEART", 6), StockLine("SHEET", -2))
    assert taken.tally.processed == 1
    assert taken.outputs == []


async def test_what_is_no_movement_is_a_dead_letter_without_effect() -> None:
    taken = batch(record(b"{}"), record({**MOVEMENT, "lines": [{"sku": "", "quantity": 1}]}, offset=1))
    async with inventory.test_context() as agent:
        await agent.put(taken)
    assert taken.effects == []
    assert dict(taken.tally.dead_letters) == {"validate": 2}
