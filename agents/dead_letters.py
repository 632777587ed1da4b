"""Watches every dead-letter topic, so that no letter lies there unnoticed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any, Final

from streams.app import app
from streams.dead_letters.view import view_of
from streams.delivery import Batch, Outbox, Record
from streams.failure.errors import Stage
from streams.failure.policy import one_line
from streams.topics import dead_letter_topics

logger = logging.getLogger(__name__)

_STAGES: Final = frozenset(stage.value for stage in Stage)
# A reason names three fields at most; what is longer was not written by us and is in the letter anyway.
_LONGEST_TEXT: Final = 400


def report(record: Record, out: Outbox) -> None:
    """Say in one line which order failed where and why; never its payload."""
    letter = view_of(record)
    origin = f"{letter.origin_topic}-{letter.origin_partition}@{letter.origin_offset}"
    logger.warning(
        "dead letter %s-%d@%d from %s order=%s stage=%s reason=%s attempts=%s",
        record.topic,
        record.partition,
        record.offset,
        _said(origin if letter.origin_topic else None),
        _said(letter.order_id),
        _said(letter.stage),
        _said(letter.reason or letter.exception_class),
        _said(letter.attempts),
    )
    # A letter may come from anybody: a counter for each stage that somebody names would grow without end.
    stage = letter.stage if letter.stage in _STAGES else "other" if letter.stage else "unknown"
    app.monitor.metric_counts[f"dead_letters.{stage}"] += 1


def _said(value: object) -> str:
    """Keep what others wrote into headers from writing log lines of its own."""
    return "unknown" if value is None else one_line(str(value))[:_LONGEST_TEXT]


@app.agent(app.batches(*dead_letter_topics(app.settings), dead_letters=False, finish=app.emits_nothing()))
async def dead_letters(stream: Any) -> AsyncIterator[Batch]:
    """Report each dead letter as one log line and as counters."""
    async for batch in stream:
        yield await batch.handle(report)
