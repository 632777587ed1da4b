"""Reading topics as they stand, without a consumer group: nobody's offsets move, nobody is rebalanced.

What is read is what was committed when the reading began. The offset after the last record of a partition
proves nothing: a transaction's marker takes an offset too and is never delivered. So a partition has been
read when the reader's *position* is at the end, whatever the last record's offset was.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError

from streams.failure.errors import BrokerUnreachable, PaystreamError
from streams.kafka.clients import close_consumer, connect, make_reader
from streams.kafka.record import Record
from streams.settings import KafkaSettings

# A poll returns as soon as there is a record. It waits this long only where there is none left to come, so
# it is what a reading takes too long at its end: short. Not so short as to be a busy loop.
_POLL_MS: Final = 50
# As long as a connection may take at the start. Brokers that are there answer a fetch within milliseconds.
_STALL_SECONDS: Final = 20.0
_CLOSE_SECONDS: Final = 2.0


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

    async def read_to(self, ends: Mapping[TopicPartition, int]) -> AsyncGenerator[Record, None]:
        """Yield the records before `ends`, those of a partition in their order, and stop there.

        Raises:
            BrokerUnreachable: no partition has come nearer to its end for 20 seconds.
        """
        left = await self._unread(ends)
        moved_at = time.monotonic()
        while left:
            fetched = await self._consumer.getmany(*left, timeout_ms=_POLL_MS)
            for partition, messages in fetched.items():
                for message in messages:
                    if message.offset < ends[partition]:
                        yield Record.of(message)
            before, left = left, await self._unread(left)
            if fetched or left != before:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > _STALL_SECONDS:
                stuck = ", ".join(f"{topic}-{partition}" for topic, partition in sorted(left))
                raise BrokerUnreachable(f"the brokers have not delivered anything of {stuck} for too long")

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


async def read_dead_letters(kafka: KafkaSettings, topics: Iterable[str]) -> AsyncIterator[Record]:
    """Yield every dead letter that lies in the topics as this begins.

    Raises:
        BrokerUnreachable: nothing answers, or not any more.
        PaystreamError: a topic does not exist.
    """
    partitions = await partitions_of(kafka, topics)
    async with (
        open_reader(kafka, partitions) as reader,
        contextlib.aclosing(reader.read_to(await reader.committed_ends())) as records,
    ):
        async for record in records:
            yield record


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
