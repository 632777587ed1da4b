"""An agent that breaks its contract, in the way that CARELESS_HOW names."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

from streams.app import app
from streams.delivery import Batch, Outbox, Record
from streams.topics import PAYMENT_COMPLETED

_HOW = os.environ["CARELESS_HOW"]


def nothing(record: Record, out: Outbox) -> None:
    """Handle a record by doing nothing."""


@app.agent(app.batches(PAYMENT_COMPLETED))
async def careless(stream: Any) -> AsyncIterator[Batch]:
    """Break the contract with the first batch."""
    async for batch in stream:
        if _HOW == "raises":
            raise KeyError(batch.records[0].value)
        if _HOW == "returns":
            return
        if _HOW == "takes another":
            continue
        yield await batch.handle(nothing)
