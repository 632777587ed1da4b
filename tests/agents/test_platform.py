from __future__ import annotations

import pytest
from support.orders import ORDER

from agents.platform import platform
from streams.testing import batch, record


async def test_an_order_becomes_a_row_that_knows_where_it_came_from() -> None:
    taken = batch(record(ORDER, topic="platform.orders", partition=3, offset=41))
    async with platform.test_context() as agent:
        await agent.put(taken)
    (row,) = taken.effects
    assert (row.order.record_id, row.topic, row.partition, row.offset) == (
        "pay-1:order-platform",
        "platform.orders",
        3,
        41,
    )


async def test_what_is_no_order_is_a_dead_letter() -> None:
    taken = batch(record({**ORDER, "kind": ""}))
    async with platform.test_context() as agent:
        await agent.put(taken)
    assert taken.effects == []
    assert dict(taken.tally.dead_letters) == {"validate": 1}


@pytest.mark.parametrize("field", ["itemCount", "units"])
async def test_a_number_that_no_column_holds_is_a_dead_letter_and_not_the_end_of_the_worker(field: str) -> None:
    taken = batch(record({**ORDER, field: 2**63}), record(ORDER, offset=1))
    async with platform.test_context() as agent:
        await agent.put(taken)
    assert len(taken.effects) == 1
    assert dict(taken.tally.dead_letters) == {"validate": 1}
