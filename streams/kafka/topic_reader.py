"""Reading topics as they stand, without a consumer group: nobody's offsets move, nobody is rebalanced.

What is read is what was committed when the reading began. The offset after the last record of a partition
proves nothing: a transaction's marker takes an offset too and is never delivered. So a partition has been
read when the reader's *position* is at the end, whatever the last record's offset was.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError

from streams.failure.errors import BrokerUnreachable, DependencyUnavailable, PartitionUnserved, PaystreamError
from streams.kafka.clients import close_consumer, connect, make_reader
from streams.kafka.damage import DamagedBatch, is_unreadable, look_closer
from streams.kafka.leaders import require_leader
from streams.kafka.record import Record
from streams.settings import KafkaSettings

# A poll returns as soon as there is a record. It waits this long only where there is none left to come, so
# it is what a reading takes too long at its end: short. Not so short as to be a busy loop.
_POLL_MS: Final = 50
# As long as a connection may take at the start. Brokers that are there answer a fetch within milliseconds.
_STALL_SECONDS: Final = 20.0
_CLOSE_SECONDS: Final = 2.0
# After so long without anything it is worth asking what a broker answers: it may fail at a batch.
_LOOK_SECONDS: Final = 2.0


async def partitions_of(kafka: KafkaSettings, topics: Iterable[str]) -> list[TopicPartition]:
    """Return all partitions of the topics.

    Raises:
        BrokerUnreachable: nothing answers.
        PaystreamError: a topic does not exist; the message names those that may have been meant.
    """
    wanted = list(dict.fromkeys(topics))
    known = await _all_topics(kafka)
    for topic in wanted:
        if not known.partitions_for_topic(topic):
            raise PaystreamError(_no_such_topic(topic, known.topics(), kafka))
    return [
        TopicPartition(topic, partition)
        for topic in wanted
        for partition in sorted(known.partitions_for_topic(topic) or ())
    ]


async def _unled(kafka: KafkaSettings, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
    """Say why, of those partitions that have no leader."""
    known, found = await _all_topics(kafka), {}
    for partition in partitions:
        try:
            require_leader(known, partition)
        except DependencyUnavailable as error:
            found[partition] = f"{partition.topic}-{partition.partition}: {error.reason}"
    return found


async def _all_topics(kafka: KafkaSettings) -> ClusterMetadata:
    client = await connect(kafka)
    try:
        return await client.fetch_all_metadata()
    finally:
        await client.close()


def _no_such_topic(topic: str, known: Iterable[str], kafka: KafkaSettings) -> str:
    alike = sorted(other for other in known if other.startswith(topic) or topic.startswith(other))
    hint = f"did you mean {' or '.join(alike[:3])}?" if alike else "'paystream topics apply' creates ours"
    return f"there is no topic {topic} at {kafka.bootstrap_servers}: {hint}"


Passed = Callable[[TopicPartition, DamagedBatch], None]
"""Told what a reader passes over, since nobody can read it."""


def refuse_damaged(partition: TopicPartition, damaged: DamagedBatch) -> None:
    """Pass over nothing.

    Raises:
        PaystreamError: always, with what cannot be read.
    """
    raise PaystreamError(f"{partition.topic}-{partition.partition}: {damaged} cannot be read: {damaged.cause}")


class Reader:
    """Reads partitions from their beginning, as a ``read_committed`` consumer without a group sees them.

    Made by :func:`open_reader`.
    """

    def __init__(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        self._consumer = consumer
        self.partitions = partitions

    async def committed_ends(self) -> dict[TopicPartition, int]:
        """Return where each partition ends now; a transaction that is still open lies behind that."""
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(self.partitions)
        return ends

    async def beginnings(self) -> dict[TopicPartition, int]:
        """Return the first offset of each partition; what lay before has passed its retention."""
        beginnings: dict[TopicPartition, int] = await self._consumer.beginning_offsets(self.partitions)
        return beginnings

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on reading elsewhere."""
        self._consumer.seek(partition, offset)

    async def read_to(
        self, ends: Mapping[TopicPartition, int], passed: Passed = refuse_damaged
    ) -> AsyncGenerator[Record, None]:
        """Yield the records before `ends`, those of a partition in their order, and stop there.

        Arguments:
            ends: by partition.
            passed: told of each batch that cannot be read; then it is passed over, unless this raises.

        Raises:
            BrokerUnreachable: no partition has come nearer to its end for 20 seconds.
        """
        left = await self._unread(ends)
        moved_at = looked_at = time.monotonic()
        while left:
            fetched = await self._fetch(left, passed)
            for partition, messages in fetched.items():
                for message in messages:
                    if message.offset < ends[partition]:
                        yield Record.of(message)
            before, left = left, await self._unread(left)
            if fetched or left != before:
                moved_at = looked_at = time.monotonic()
            elif time.monotonic() - moved_at > _STALL_SECONDS:
                stuck = ", ".join(f"{topic}-{partition}" for topic, partition in sorted(left))
                raise BrokerUnreachable(f"the brokers have not delivered anything of {stuck} for too long")
            elif time.monotonic() - looked_at > _LOOK_SECONDS:
                looked_at = time.monotonic()
                for record in [each for found in (await self._look_closer(left, passed)).values() for each in found]:
                    yield Record.of(record)

    async def _fetch(self, left: Mapping[TopicPartition, int], passed: Passed) -> dict[TopicPartition, Any]:
        try:
            fetched: dict[TopicPartition, Any] = await self._consumer.getmany(*left, timeout_ms=_POLL_MS)
        except Exception as error:
            if not is_unreadable(error):
                raise
            return await self._look_closer(left, passed)
        return fetched

    async def _look_closer(self, left: Mapping[TopicPartition, int], passed: Passed) -> dict[TopicPartition, Any]:
        """Read each partition once more, batch by batch, and pass over what cannot be read."""
        found = {}
        for partition, end in left.items():
            position = await self._consumer.position(partition)
            try:
                looked = await look_closer(self._consumer._client, partition, position, end)
            except KafkaError as error:
                if not error.retriable:
                    raise
                continue
            go_on = looked.next_offset
            if looked.damaged is not None and looked.damaged.first_offset < end:
                passed(partition, looked.damaged)
                go_on = looked.damaged.next_offset
            self._consumer.seek(partition, go_on)
            if messages := [each for each in looked.records if each.offset < end]:
                found[partition] = messages
        return found

    async def poll(self) -> list[Record]:
        """Return what has been committed since the last call; empty if nothing came for a moment."""
        fetched = await self._consumer.getmany(timeout_ms=_POLL_MS)
        return [Record.of(message) for messages in fetched.values() for message in messages]

    async def _unread(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        try:
            return {
                partition: end
                for partition, end in ends.items()
                if await asyncio.wait_for(self._consumer.position(partition), _STALL_SECONDS) < end
            }
        except asyncio.TimeoutError:
            raise BrokerUnreachable("the brokers do not say where a partition begins") from None


@contextlib.asynccontextmanager
async def open_reader(kafka: KafkaSettings, partitions: list[TopicPartition]) -> AsyncIterator[Reader]:
    """Connect a reader that stands at the beginning of all these partitions.

    Raises:
        BrokerUnreachable: the brokers are not there, or have gone.
    """
    consumer = make_reader(
        kafka,
        # Should retention remove what is being read, the reader goes on behind it.
        auto_offset_reset="earliest",
        fetch_max_wait_ms=_POLL_MS,
        request_timeout_ms=int(_STALL_SECONDS * 1000),
    )
    try:
        await consumer.start()
        consumer.assign(partitions)
        for partition, offset in (await consumer.beginning_offsets(partitions)).items():
            consumer.seek(partition, offset)
        yield Reader(consumer, partitions)
    except KafkaError as error:
        raise BrokerUnreachable(
            f"the brokers at {kafka.bootstrap_servers} have gone: {type(error).__name__}"
        ) from error
    finally:
        await close_consumer(consumer)


async def read_dead_letters(
    kafka: KafkaSettings, topics: Iterable[str], passed: Passed = refuse_damaged
) -> AsyncIterator[Record]:
    """Yield every dead letter that lies in the topics as this begins.

    Arguments:
        kafka: where.
        topics: which.
        passed: as :meth:`Reader.read_to` has it.

    Raises:
        BrokerUnreachable: nothing answers, or not any more.
        PartitionUnserved: behind all others: partitions that have no leader were left out.
        PaystreamError: a topic does not exist.
    """
    partitions = await partitions_of(kafka, topics)
    unled = await _unled(kafka, partitions)
    async with (
        open_reader(kafka, [each for each in partitions if each not in unled]) as reader,
        contextlib.aclosing(reader.read_to(await reader.committed_ends(), passed)) as records,
    ):
        async for record in records:
            yield record
    if unled:
        raise PartitionUnserved(f"left out, since nobody can read it now: {'; '.join(unled.values())}")


async def read_dead_letter_at(kafka: KafkaSettings, topic: str, partition: int, offset: int) -> Record:
    """Return the dead letter at a place.

    Raises:
        BrokerUnreachable: nothing answers, or not any more.
        PaystreamError: there is no such topic, partition or letter, and why.
    """
    partitions = await partitions_of(kafka, [topic])
    place = TopicPartition(topic, partition)
    if place not in partitions:
        raise PaystreamError(f"{topic} has no partition {partition}: it has 0 to {len(partitions) - 1}")
    if unled := await _unled(kafka, [place]):
        raise PartitionUnserved(f"nobody can read that now: {unled[place]}")
    async with open_reader(kafka, [place]) as reader:
        beginning, end = (await reader.beginnings())[place], (await reader.committed_ends())[place]
        if not beginning <= offset < end:
            kept = f"what is kept lies from {beginning} to {end - 1}" if beginning < end else "it is empty"
            raise PaystreamError(f"there is no dead letter {topic}-{partition}@{offset}: {kept}")
        reader.seek(place, offset)
        async with contextlib.aclosing(reader.read_to({place: offset + 1})) as records:
            async for record in records:
                if record.offset == offset:
                    return record
    raise PaystreamError(
        f"there is no dead letter {topic}-{partition}@{offset}: that offset is a transaction's marker, "
        "or holds what was never committed"
    )
