"""Watches every dead-letter topic, so that no letter lies there unnoticed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

from streams.app import app
from streams.delivery import Batch, Outbox, Record
from streams.failure.dead_letter import read_dead_letter
from streams.topics import dead_letter_topics

logger = logging.getLogger(__name__)


def report(record: Record, out: Outbox) -> None:
    """Say in one line which order failed where and why; never its payload."""
    letter = read_dead_letter(record.headers)
    origin = letter.origin
    logger.warning(
        "dead letter %s-%d@%d from %s order=%s stage=%s reason=%s attempts=%s",
        record.topic,
        record.partition,
        record.offset,
        f"{origin.topic}-{origin.partition}@{origin.offset}" if origin else "unknown",
        record.key.decode("utf-8", "replace") if record.key is not None else "unknown",
        letter.stage or "unknown",
        letter.reason or letter.exception_class or "unknown",
        letter.attempts if letter.attempts is not None else "unknown",
    )
    app.monitor.metric_counts[f"dead_letters.{letter.stage or 'unknown'}"] += 1


@app.agent(app.batches(*dead_letter_topics(app.settings), dead_letters=False))
async def dead_letters(stream: Any) -> AsyncIterator[Batch]:
    """Report each dead letter as one log line and as counters."""
    async for batch in stream:
        yield await batch.handle(report)
