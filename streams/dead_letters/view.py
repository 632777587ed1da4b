"""A dead letter as people and scripts are shown it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Final

from models.dead_letter import DeadLetterView
from streams.dead_letters.reading import DeadLetterInfo, Hop, read_dead_letter
from streams.kafka.record import Record

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


def view_of(record: Record) -> DeadLetterView:
    """Put together what is shown of a record of a dead-letter topic."""
    return dead_letter_view(record.topic, record.partition, record.offset, record.key, read_dead_letter(record.headers))


def dead_letter_view(
    topic: str, partition: int, offset: int, key: bytes | None, info: DeadLetterInfo
) -> DeadLetterView:
    """Put together what is shown of the dead letter at a place of the dead-letter topic."""
    origin, last_hop = info.origin or Hop(), info.last_hop or Hop()
    return DeadLetterView(
        topic=topic,
        partition=partition,
        offset=offset,
        order_id=_order_id(key),
        origin_topic=origin.topic,
        origin_partition=origin.partition,
        origin_offset=origin.offset,
        origin_timestamp=_moment(origin.timestamp_ms),
        consumer_group=last_hop.consumer_group,
        stage=info.stage,
        disposition=info.disposition,
        attempts=info.attempts,
        reason=info.reason,
        exception_class=info.cause_class or info.exception_class or info.key_exception_class,
        first_failed_at=_moment(info.first_failed_at, per_second=1),
        failed_at=_moment(info.failed_at, per_second=1),
        fingerprint=info.fingerprint,
        replay_count=info.replay_count or 0,
    )


def is_dead_letter(info: DeadLetterInfo) -> bool:
    """Tell whether headers are those of a dead letter, whoever wrote it.

    Spring's ``DeadLetterPublishingRecoverer`` says where the record came from and what was thrown; it can be told to
    leave out one of them, though hardly both. Ours say at which stage and why. A record that was sent back and has
    nothing but the count of that is none.
    """
    told = (info.exception_class, info.cause_class, info.key_exception_class, info.stage, info.reason, info.fingerprint)
    return info.origin is not None or any(part is not None for part in told)


def _order_id(key: bytes | None) -> str | None:
    try:
        return None if key is None else key.decode()
    except UnicodeDecodeError:
        return None


def _moment(count: float | None, per_second: int = 1000) -> datetime | None:
    """Make a time of a count since the epoch; None for Kafka's -1 and for what no calendar has."""
    try:
        return None if count is None or count < 0 else _EPOCH + timedelta(seconds=count / per_second)
    except OverflowError:
        return None
