"""Watching the pipeline from outside, with the means of any Kafka client."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.failure.errors import PaystreamError
from streams.kafka.clients import client_options, close_consumer
from streams.kafka.record import Record
from streams.kafka.topic_reader import Reader
from streams.settings import KafkaSettings
from streams.topics import ORDER_EVENTS, PLATFORM_ORDERS

_POLL: Final = 0.05
# A worker is ready in two seconds and an order through in a fraction of one; a busy laptop is no server.
_PATIENCE: Final = 60.0


@dataclass(slots=True)
class Sightings:
    """Everything a ``read_committed`` consumer of all topics has seen, and when.

    Attributes:
        dead_letter_topics: their names.
        orders: how often each order was seen, by topic.
        letters: the dead letters.
        first_at: when the first output came, by ``time.monotonic()``.
        last_at: when the last one came.
        on_settled: called with :meth:`settled` whenever something has come.
    """

    dead_letter_topics: tuple[str, ...]
    orders: dict[str, Counter[str]] = field(default_factory=dict)
    letters: list[Record] = field(default_factory=list)
    first_at: float | None = None
    last_at: float | None = None
    on_settled: Callable[[int], object] = lambda count: None
    _offsets: list[tuple[TopicPartition, int]] = field(default_factory=list)

    def see(self, records: Iterable[Record]) -> None:
        """Note records that have just come."""
        now = time.monotonic()
        for record in records:
            self._count(record)
            if record.topic in ORDER_EVENTS:
                self._offsets.append((TopicPartition(record.topic, record.partition), record.offset))
                continue
            self.first_at = self.first_at or now
            self.last_at = now
            if record.topic in self.dead_letter_topics:
                self.letters.append(record)
        self.on_settled(self.settled())

    def _count(self, record: Record) -> None:
        order = record.key.decode(errors="backslashreplace") if record.key is not None else "no key"
        self.orders.setdefault(record.topic, Counter())[order] += 1

    def settled(self) -> int:
        """How many orders have come out at the other end, as a platform record or as a dead letter."""
        return sum(self.seen(topic).total() for topic in (PLATFORM_ORDERS, *self.dead_letter_topics))

    def seen(self, topic: str) -> Counter[str]:
        """Return the orders seen in a topic."""
        return self.orders.get(topic, Counter())

    def consumed(self, committed: dict[TopicPartition, int]) -> int:
        """Count the shop's events before the offsets that its groups have committed."""
        return sum(offset < committed.get(partition, 0) for partition, offset in self._offsets)


async def watch(reader: Reader, sightings: Sightings, ends: asyncio.Future[dict[TopicPartition, int]]) -> None:
    """Note whatever comes; once it is known where the partitions end, go on to there and return."""
    while not ends.done():
        sightings.see(await reader.poll())
    async for record in reader.read_to(ends.result()):
        sightings.see([record])


async def last_offsets(kafka: KafkaSettings, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
    """Return where partitions end, transactions that are not yet marked as committed included.

    A group's offset may be visible a moment before the outputs of the same transaction: the brokers put
    their markers into one partition after the other. So what is to be read to the end is measured here.
    """
    consumer = AIOKafkaConsumer(**client_options(kafka), group_id=None, enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign(partitions)  # or it would learn of one topic after the other
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    finally:
        await close_consumer(consumer)
    return ends


Readers = dict[str, list[TopicPartition]]
"""What each consumer group reads."""


async def readers_of(address: str, partitions: Sequence[TopicPartition]) -> Readers:
    """Wait until a worker has a lane for each of some partitions; return them by the groups that read them.

    Arguments:
        address: of the worker's page.
        partitions: all that must be read.

    Raises:
        PaystreamError: that takes too long.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        readers = await _readers(address, partitions)
        unread = set(partitions).difference(*readers.values())
        if not unread:
            return readers
        if time.monotonic() > until:
            topics = ", ".join(sorted({each.topic for each in unread}))
            raise PaystreamError(f"within {_PATIENCE:.0f} s, no agent of the worker has begun to read {topics}")
        await asyncio.sleep(_POLL)


async def _readers(address: str, partitions: Sequence[TopicPartition]) -> Readers:
    readers: Readers = defaultdict(list)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_PATIENCE)) as session,
            session.get(f"{address}/status/") as answer,
        ):
            answer.raise_for_status()
            for lane in (await answer.json())["lanes"]:
                partition = TopicPartition(lane["topic"], lane["partition"])
                if partition in partitions:
                    readers[lane["group"]].append(partition)
    except (aiohttp.ClientError, asyncio.TimeoutError):  # a worker that has just started has no page yet
        return {}
    return readers


class Group:
    """A consumer group, as an administrator sees it. Made by :func:`open_group`."""

    def __init__(self, admin: AIOKafkaAdminClient, name: str) -> None:
        self._admin = admin
        self._name = name

    async def until_it_has_partitions(self) -> None:
        """Wait until the group has settled who reads what.

        Raises:
            PaystreamError: that takes too long.
        """
        until = time.monotonic() + _PATIENCE
        while await self._state() != "Stable":
            if time.monotonic() > until:
                raise PaystreamError(f"the worker has not joined the group {self._name} within {_PATIENCE:.0f} s")
            await asyncio.sleep(_POLL)

    async def _state(self) -> str:
        try:
            responses: list[Any] = await self._admin.describe_consumer_groups([self._name])
        except KafkaError:  # brokers that have just started have no coordinator yet
            return "unknown"
        return str(responses[0].groups[0][2])

    async def until_it_has_consumed(self, ends: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Wait until the group has committed everything before these ends; return what it has committed.

        Raises:
            PaystreamError: it has not moved for too long.
        """
        committed: dict[TopicPartition, int] = {}
        until = time.monotonic() + _PATIENCE
        while any(committed.get(partition, 0) < end for partition, end in ends.items()):
            before, committed = committed, await self._committed()
            if committed != before:
                until = time.monotonic() + _PATIENCE
            elif time.monotonic() > until:
                raise PaystreamError(f"the group {self._name} has committed nothing for {_PATIENCE:.0f} s")
            await asyncio.sleep(_POLL)
        return committed

    async def _committed(self) -> dict[TopicPartition, int]:
        offsets = await self._admin.list_consumer_group_offsets(self._name)
        return {partition: each.offset for partition, each in offsets.items()}


@asynccontextmanager
async def open_group(kafka: KafkaSettings, name: str) -> AsyncIterator[Group]:
    """Connect to look at a group."""
    admin = AIOKafkaAdminClient(**client_options(kafka))
    try:
        await admin.start()
        yield Group(admin, name)
    finally:
        await admin.close()
