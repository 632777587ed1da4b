"""Turns each paid order into what the rest of the shop must hear about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from agents.fan_out import fan_out
from models.payment import PaymentCompleted
from streams.app import app
from streams.delivery import Batch, Outbox, Record
from streams.topics import PAYMENT_COMPLETED

SOURCE: Final = b"/paystream/payments"


def on_payment(record: Record, out: Outbox) -> None:
    """Turn one payment into its platform record, notification, stock movement and sale fact."""
    fan_out(record, out, PaymentCompleted, SOURCE)


@app.agent(app.batches(PAYMENT_COMPLETED), concurrency=app.settings.delivery.concurrency)
async def payments(stream: Any) -> AsyncIterator[Batch]:
    """Turn each paid order into platform, notification, inventory and analytics records."""
    async for batch in stream:
        yield await batch.handle(on_payment)
