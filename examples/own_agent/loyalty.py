"""An agent of your own, which runs beside paystream's.

It writes to a topic of its own, which ``paystream topics apply`` creates if it is named::

    paystream topics apply loyalty.points
    PYTHONPATH=examples/own_agent PAYSTREAM_AGENTS=agents.payments,agents.dead_letters,loyalty \
        paystream worker -l info
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from models.payment import PaymentCompleted
from streams.app import app
from streams.delivery import Batch, Outbox, Record, Skip


def give_points(record: Record, out: Outbox) -> None:
    """Turn a payment into the customer's points, under the order's key."""
    payment = record.parse(PaymentCompleted)  # what is no payment becomes a dead letter
    if payment.customer_id is None:
        raise Skip("guest")  # passed over, and counted
    out.emit("loyalty.points", b"%s %d" % (payment.customer_id.encode(), payment.amount))


@app.agent(app.batches("payment.completed"))
async def loyalty(stream: Any) -> AsyncIterator[Batch]:
    """Give a loyalty point for every whole unit of money paid."""
    async for batch in stream:
        yield await batch.handle(give_points)
