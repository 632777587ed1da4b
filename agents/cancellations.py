"""Turns each cancellation into what takes its order back everywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from agents.fan_out import fan_out
from models.cancellation import PaymentCancelled
from streams.app import app
from streams.delivery import Batch, Outbox, Record
from streams.topics import PAYMENT_CANCELLED

SOURCE: Final = b"/paystream/cancellations"


def on_cancellation(record: Record, out: Outbox) -> None:
    """Turn one cancellation into a platform record, a letter, pieces that come back, and a refund."""
    fan_out(record, out, PaymentCancelled, SOURCE)


@app.agent(app.batches(PAYMENT_CANCELLED), concurrency=app.settings.delivery.concurrency)
async def cancellations(stream: Any) -> AsyncIterator[Batch]:
    """Turn each cancellation into platform, notification, inventory and analytics records."""
    async for batch in stream:
        yield await batch.handle(on_cancellation)
