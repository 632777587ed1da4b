"""Keeps the stock: what orders take from the shelf, what comes back, and what is owed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from models.inventory import ADAPTER
from streams.app import app
from streams.delivery import Batch, Outbox, Record
from streams.stores.known import Placed
from streams.stores.stock import StockEffects
from streams.topics import INVENTORY_MOVEMENTS


def on_movement(record: Record, out: Outbox) -> None:
    """Have a movement applied to the stock."""
    out.effect(Placed(record.parse_as(ADAPTER), record.place))


@app.agent(
    app.batches(INVENTORY_MOVEMENTS, finish=app.in_database(StockEffects())),
    concurrency=app.settings.delivery.concurrency,
)
async def inventory(stream: Any) -> AsyncIterator[Batch]:
    """Apply each stock movement once, in one SQL transaction with the offset."""
    async for batch in stream:
        yield await batch.handle(on_movement)
