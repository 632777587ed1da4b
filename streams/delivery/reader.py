"""Reading one partition: where to begin, what was fetched, and what the gaps between offsets mean."""

from __future__ import annotations

import logging
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.delivery.meter import Meter
from streams.failure.errors import MachineryFailure, OffsetBeyondEnd
from streams.kafka.record import Record
from streams.kafka.tolerant_records import read_tolerantly

logger = logging.getLogger(__name__)

# One fetch call; ends empty-handed on a quiet topic, so that the lane is seen to be alive.
_FETCH_SECONDS: Final = 1.0


class PartitionReader:
    """Reads a partition, in order and without missing anything unnoticed.

    Arguments:
        name: the lane's, for messages.
        source: the partition; nobody else reads or seeks it.
        consumer: the group's.
        meter: told what was fetched, and what was deleted unread.
        max_records: most records of one fetch.

    Attributes:
        read_to: the offset up to which there was nothing left to read, if that was seen.
    """

    def __init__(
        self, name: str, source: TopicPartition, consumer: AIOKafkaConsumer, meter: Meter, max_records: int
    ) -> None:
        self.read_to: int | None = None
        self._name = name
        self._source = source
        self._consumer = consumer
        self._meter = meter
        self._max_records = max_records
        self._expected = 0

    async def begin(self, committed: int | None) -> int:
        """Go to the committed offset, or to the log's beginning; return where that is.

        Raises:
            OffsetBeyondEnd: the log ends before it.
        """
        self._expected = await self._beginning(committed)
        self._consumer.seek(self._source, self._expected)
        self._consumer.resume(self._source)
        logger.info("%s starts at offset %d", self._name, self._expected)
        return self._expected

    async def _beginning(self, committed: int | None) -> int:
        first = await self._first()
        if committed is None:
            return first
        end = (await self._consumer.end_offsets([self._source]))[self._source]
        if first <= committed <= end:
            return committed
        if committed > end:
            raise OffsetBeyondEnd(
                f"{self._name} is to go on at offset {committed}, but the log ends at {end}: the brokers have lost "
                "records, or the topic was made anew. Decide where to go on: stop the workers, set the group's offsets "
                "with Kafka's kafka-consumer-groups --reset-offsets, or, of an agent that keeps them in the database, "
                "with 'paystream database seek', and start them again"
            )
        self._report_deleted(committed, first)
        return first

    async def fetch(self) -> list[Record]:
        """Return the next records; none if a second has gone by without any.

        Raises:
            MachineryFailure: the log has gone back to before what was read.
        """
        consumer, source = self._consumer, self._source
        try:
            fetched = await consumer.getmany(
                source, timeout_ms=int(_FETCH_SECONDS * 1000), max_records=self._max_records
            )
        except UnicodeDecodeError as error:
            read_tolerantly(consumer, source, self._expected, error)
            return []
        messages = fetched.get(source)
        self._meter.alive(source, consumer.highwater(source))
        if not messages:
            return []
        first = messages[0].offset
        if first < self._expected:
            raise MachineryFailure(
                f"{self._name} was given offset {first} again after {self._expected}: the log was truncated or the "
                "topic made anew"
            )
        if first > self._expected:
            await self._look_into_gap()
        self._expected = messages[-1].offset + 1
        self._meter.fetched(source, len(messages), messages[-1].offset)
        return [Record.of(message) for message in messages]

    async def nothing_is_left(self) -> bool:
        """Tell whether all that is committed has been read; what a transaction holds open is not there yet."""
        stable = self._consumer.last_stable_offset(self._source)
        position = await self._consumer.position(self._source)
        if stable is not None and position < stable:
            return False
        self.read_to = position  # behind a transaction's marker, which is no record
        return True

    async def _look_into_gap(self) -> None:
        """Transactions leave gaps, and so does retention: then aiokafka has gone to the log's beginning unasked."""
        first = await self._first()
        if first > self._expected:
            self._report_deleted(self._expected, first)

    async def _first(self) -> int:
        return int((await self._consumer.beginning_offsets([self._source]))[self._source])

    def _report_deleted(self, wanted: int, first: int) -> None:
        logger.error(
            "%s: offsets %d to %d were deleted from the log before they were read. Going on at %d.",
            self._name, wanted, first - 1, first,
        )  # fmt: skip
        self._meter.deleted(first - wanted)
