"""An agent whose handler always fails, and which notes when: a line of JSON for each delivery.

``UNWILLING_TOPIC``
    what it reads.
``UNWILLING_LOG``
    the file it appends to.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from streams.app import app
from streams.delivery import Batch, Outbox, Record
from streams.failure.errors import TransientError

_log = Path(os.environ["UNWILLING_LOG"])


def refuse(record: Record, out: Outbox) -> None:
    """Note the time, and fail."""
    now = time.monotonic()
    with _log.open("a") as log:
        log.write(json.dumps({"offset": record.offset, "milliseconds": now * 1000}) + "\n")
    raise TransientError("never")


@app.agent(app.batches(os.environ["UNWILLING_TOPIC"]))
async def unwilling(stream: Any) -> AsyncIterator[Batch]:
    """Refuse everything."""
    async for batch in stream:
        yield await batch.handle(refuse)
