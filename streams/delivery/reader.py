"""Reading one partition: where to begin, what was fetched, and what the gaps between offsets mean."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from streams.delivery.meter import Meter
from streams.failure.errors import BatchDamaged, MachineryFailure, OffsetBeyondEnd
from streams.kafka.damage import DamagedBatch, is_unreadable, look_closer
from streams.kafka.leaders import require_answer, require_leaders
from streams.kafka.record import Record
from streams.kafka.tolerant_records import read_tolerantly

logger = logging.getLogger(__name__)

# One fetch call; ends empty-handed on a quiet topic, so that the lane is seen to be alive.
_FETCH_SECONDS: Final = 1.0
# An empty fetch is answered ten times a second. A leader that moves in a healthy cluster is found again in less than
# this many calls, and nobody is to be told of that.
_SILENT_FETCHES: Final = 3


class PartitionReader:
    """Reads a partition, in order and without missing anything unnoticed.

    Arguments:
        name: the lane's, for messages.
        source: the partition; nobody else reads or seeks it.
        consumer: the group's.
        meter: told what was fetched, and what was deleted unread.
        max_records: most records of one fetch.
        require_same_topic: raises if the topic was deleted and made anew.

    Attributes:
        source: as given.
        read_to: the offset up to which there was nothing left to read, if that was seen.
        damaged: what could not be read, when it was last said that something cannot.
    """

    def __init__(
        self,
        name: str,
        source: TopicPartition,
        consumer: AIOKafkaConsumer,
        meter: Meter,
        max_records: int,
        require_same_topic: Callable[[], Awaitable[None]],
    ) -> None:
        self.source = source
        self.read_to: int | None = None
        self.damaged: DamagedBatch | None = None
        self._name = name
        self._consumer = consumer
        self._meter = meter
        self._max_records = max_records
        self._require_same_topic = require_same_topic
        self._expected = 0
        self._answered_at: int | None = None
        self._position: int | None = None
        self._unanswered = 0

    async def begin(self, committed: int | None) -> int:
        """Go to the committed offset, or to the log's beginning; return where that is.

        Raises:
            DependencyUnavailable: no broker serves the partition.
            OffsetBeyondEnd: the log ends before it.
        """
        await require_leaders(self._consumer._client, [self.source])
        try:
            self._expected = await self._beginning(committed)
        except KafkaTimeoutError:
            await require_answer(self._consumer._client, self.source)
            raise
        self._consumer.seek(self.source, self._expected)
        self._consumer.resume(self.source)
        logger.info("%s starts at offset %d", self._name, self._expected)
        return self._expected

    async def _beginning(self, committed: int | None) -> int:
        first = await self._first()
        if committed is None:
            return first
        end = await self._end()
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
            BatchDamaged: they cannot be read; all before them have been returned.
            DependencyUnavailable: no broker serves the partition, though others are there.
            MachineryFailure: the log has gone back to before what was read.
            TopicMadeAnew: so it has, being another topic's.
        """
        consumer, source = self._consumer, self.source
        if self.silent:
            await require_answer(consumer._client, source)
            self._unanswered = 0
            # Or it is answered with an error, which aiokafka keeps to itself.
            return await self._look_closer()
        try:
            fetched = await consumer.getmany(
                source, timeout_ms=int(_FETCH_SECONDS * 1000), max_records=self._max_records
            )
        except UnicodeDecodeError as error:
            read_tolerantly(consumer, source, self._expected, error)
            return []
        except Exception as error:
            if not is_unreadable(error):
                raise
            return await self._look_closer()
        messages = fetched.get(source)
        highwater = consumer.highwater(source)
        self._meter.alive(source, highwater)
        if not messages:
            await self._heed_silence()
            return []
        self._unanswered = 0
        if not _are_in_order(messages, highwater):
            return await self._look_closer()
        return await self._take(messages)

    async def _take(self, messages: Sequence[ConsumerRecord]) -> list[Record]:
        first = messages[0].offset
        if first < self._expected:
            await self._require_same_topic()
            raise MachineryFailure(
                f"{self._name} was given offset {first} again after {self._expected}: the log was truncated"
            )
        if first > self._expected:
            await self._look_into_gap()
        self._expected = messages[-1].offset + 1
        self._meter.fetched(self.source, len(messages), messages[-1].offset)
        return [Record.of(message) for message in messages]

    @property
    def silent(self) -> bool:
        """Whether nothing has come for some seconds: no answer, or none with what is there."""
        return self._unanswered >= _SILENT_FETCHES

    async def nothing_is_left(self) -> bool:
        """Tell whether all that is committed has been read; what a transaction holds open is not there yet."""
        if self._unanswered:
            return False  # what there is now, nobody has said
        stable = self._consumer.last_stable_offset(self.source)
        position = await self._consumer.position(self.source)
        if stable is not None and position < stable:
            return False
        self.read_to = position  # behind a transaction's marker, which is no record
        return True

    async def _heed_silence(self) -> None:
        """Count the fetches without an answer, and those with one that holds nothing although something is there."""
        consumer, source = self._consumer, self.source
        answered_at, position = consumer.last_poll_timestamp(source), await consumer.position(source)
        answered = answered_at != self._answered_at
        stuck = position == self._position and position < (consumer.last_stable_offset(source) or 0)
        self._unanswered = self._unanswered + 1 if stuck or not answered else 0
        self._answered_at, self._position = answered_at, position

    # -- what cannot be read -----------------------------------------------------------------------

    async def _look_closer(self) -> list[Record]:
        """Read once more, batch by batch, from behind what was read last.

        Raises:
            BatchDamaged: there is nothing before what cannot be read.
        """
        try:
            looked = await look_closer(self._consumer._client, self.source, self._expected, await self._end())
        except KafkaError as error:
            if error.retriable or isinstance(error, KafkaTimeoutError):
                return []  # the leader moves, say: whoever asks again is told
            await self._require_same_topic()  # another one may end before the offset
            raise
        messages = looked.records[: self._max_records]
        if messages:
            cut = len(messages) < len(looked.records)
            self._consumer.seek(self.source, messages[-1].offset + 1 if cut else looked.next_offset)
            return await self._take(messages)
        if looked.damaged is not None:
            # aiokafka would fetch it again and again, without a pause.
            self._consumer.pause(self.source)
            self.damaged = looked.damaged
            raise BatchDamaged(self._what_is_damaged(looked.damaged))
        self._consumer.seek(self.source, looked.next_offset)
        return []

    def _what_is_damaged(self, damaged: DamagedBatch) -> str:
        topic, partition = self.source
        return (
            f"{damaged} cannot be read: {damaged.cause}. If another broker has a whole copy, make that one the leader: "
            "the lane goes on by itself. To go on without these records, which gives them up: "
            f"paystream lanes skip {topic} {partition}"
        )

    def go_on_at(self, offset: int) -> None:
        """Read on behind what cannot be read."""
        self._expected = offset
        self._consumer.seek(self.source, offset)
        self._consumer.resume(self.source)

    # -- where the log begins and ends -------------------------------------------------------------

    async def _look_into_gap(self) -> None:
        """Transactions leave gaps, and so does retention: then aiokafka has gone to the log's beginning unasked."""
        first = await self._first()
        if first > self._expected:
            self._report_deleted(self._expected, first)

    async def _first(self) -> int:
        return int((await self._consumer.beginning_offsets([self.source]))[self.source])

    async def _end(self) -> int:
        return int((await self._consumer.end_offsets([self.source]))[self.source])

    def _report_deleted(self, wanted: int, first: int) -> None:
        logger.error(
            "%s: offsets %d to %d were deleted from the log before they were read. Going on at %d.",
            self._name, wanted, first - 1, first,
        )  # fmt: skip
        self._meter.deleted(first - wanted)


def _are_in_order(messages: Sequence[ConsumerRecord], highwater: int | None) -> bool:
    """Tell whether offsets are the log's.

    Where a batch begins is not part of its checksum. If that number is damaged, aiokafka takes it for true, and passes
    over what follows without a word. Only where there are gaps is there anything to look for.
    """
    if highwater is not None and messages[-1].offset >= highwater:
        return False
    if messages[-1].offset - messages[0].offset == len(messages) - 1:
        return True
    return all(one.offset < other.offset for one, other in pairwise(messages))
