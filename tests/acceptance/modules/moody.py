"""An agent whose handler fails as the environment tells it to.

``MOODY_FAILURES``
    ``o5:2,o9:99``: orders and how often each fails before it succeeds; ``o7:hang`` waits for ever.
``MOODY_DEPENDENCY``
    a file without which nothing can be handled.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from streams.app import app
from streams.delivery import Batch, Outbox, Record
from streams.failure.errors import DependencyUnavailable, TransientError
from streams.topics import PAYMENT_COMPLETED, PLATFORM_ORDERS

_LISTED = [each.split(":") for each in os.environ.get("MOODY_FAILURES", "").split(",") if each]
_HANGING = {key.encode() for key, how in _LISTED if how == "hang"}
_failures_left = {key.encode(): int(how) for key, how in _LISTED if how != "hang"}
_dependency = os.environ.get("MOODY_DEPENDENCY")


async def copy(record: Record, out: Outbox) -> None:
    """Pass the record on, unless this is one of the bad moments."""
    key = record.key or b""
    out.emit(PLATFORM_ORDERS, record.value)  # before it fails, so that it has to be taken back
    if _dependency is not None and not os.access(_dependency, os.F_OK):
        raise DependencyUnavailable("the file")
    if key in _HANGING:
        await asyncio.sleep(3600)
    if _failures_left.get(key, 0) > 0:
        _failures_left[key] -= 1
        raise TransientError("a bad moment")


@app.agent(app.batches(PAYMENT_COMPLETED), concurrency=app.settings.delivery.concurrency)
async def moody(stream: Any) -> AsyncIterator[Batch]:
    """Copy payments, in a mood."""
    async for batch in stream:
        yield await batch.handle(copy)
