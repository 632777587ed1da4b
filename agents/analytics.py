"""Counts sales and refunds, in the minute in which they happened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from models.analytics import ADAPTER
from streams.app import app
from streams.delivery import Batch, Outbox, Record
from streams.failure.errors import InvalidRecord
from streams.stores.known import Placed
from streams.stores.sales import MOST, SalesEffects
from streams.topics import ANALYTICS_SALES


def on_sale(record: Record, out: Outbox) -> None:
    """Have a sale or a refund counted."""
    fact = record.parse_as(ADAPTER)
    if fact.revenue >= MOST or any(line.revenue >= MOST for line in fact.lines):
        raise InvalidRecord(f"revenue: must be below {MOST:,}, or sums could not be kept exactly")
    out.effect(Placed(fact, record.place))


@app.agent(
    app.batches(ANALYTICS_SALES, finish=app.in_database(SalesEffects())),
    concurrency=app.settings.delivery.concurrency,
)
async def analytics(stream: Any) -> AsyncIterator[Batch]:
    """Count each fact once, in one SQL transaction with the offset."""
    async for batch in stream:
        yield await batch.handle(on_sale)
