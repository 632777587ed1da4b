"""The ways to finish a batch.

=================  ============================================================  ======================
guarantee          order of events                                               after a crash
=================  ============================================================  ======================
``exactly_once``   outputs, dead letters and offset in one Kafka transaction     all of it, or none
``at_least_once``  outputs, each acknowledged; then the offset                   outputs may repeat
``at_most_once``   the offset; then handlers and outputs                         outputs may be missing
=================  ============================================================  ======================

All three write through an idempotent producer, await every acknowledgement, and leave what a failure
means to their lane.

An agent whose effect is not a record in Kafka brings a :class:`Finishing` of its own, which puts effects and
offset where they become visible together: in one SQL transaction, for example.
"""

from __future__ import annotations

import abc
import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaConnectionError,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
)
from aiokafka.partitioner import murmur2
from aiokafka.structs import OffsetAndMetadata

from streams.delivery.batch import Settled
from streams.delivery.crash_points import crash_point
from streams.delivery.outbox import Output
from streams.delivery.packing import Delivery, packed
from streams.delivery.same_topic import SameTopic
from streams.failure.errors import BrokerRefuses, OutputRefused, OutputUnserved
from streams.kafka.clients import close_hard, heed_failures, make_producer
from streams.kafka.forgotten import noticing_forgotten
from streams.kafka.group_offsets import committed_position
from streams.kafka.leaders import UNSERVED, any_unled, require_leaders
from streams.settings import Guarantee, KafkaSettings

# An abort waits for the leaders it wrote to, and they may be dead; the next owner's InitProducerId ends
# the transaction anyway.
_ABORT_SECONDS: Final = 2.0
_STOP_SECONDS: Final = 1.0
_CONNECT_AGAIN_SECONDS: Final = 0.25
# A delivery takes milliseconds; after this it is worth looking whether its topic still exists.
_LOOK_AGAIN_SECONDS: Final = 2.0
# After these nobody knows what the brokers hold; any other error of a delivery is their plain no.
_DOUBTFUL: Final = (ProducerFenced, InvalidProducerEpoch, OutOfOrderSequenceNumber, ProducerClosed)


class Finisher(abc.ABC):
    """Finishes the batches of one partition.

    Arguments:
        producer: not started, this partition's alone.
        consumer: the group's consumer.
        group: its name.
        source: the partition.

    Attributes:
        topic: knows whether the partition's topic is still the one that the lane began with.
    """

    commits_first = False
    """Whether the offset moves before the records are handled."""

    fences = False
    """Whether its producer shuts a former owner out as it connects; if not, it connects when there is something to
    write."""

    takes_effects = False
    """Whether handlers may ask for effects, as :meth:`streams.delivery.outbox.Outbox.effect` does."""

    holding = False
    """Whether settled records wait to be committed along with later ones."""

    bounds_itself = False
    """Whether it limits by itself how long brokers may take, since its steps wait for more than brokers."""

    progressed: Callable[[], None] = staticmethod(lambda: None)
    """Called when a step that takes long has got somewhere; its lane's to set."""

    def __init__(
        self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, group: str, source: TopicPartition
    ) -> None:
        self._producer = producer
        self._consumer = consumer
        self._group = group
        self._source = source
        self._connected = False
        self._clean = True
        self.topic = SameTopic(consumer, group, source)

    async def open(self) -> None:
        """Shut out any former owner of the partition, if it is the producer that does so."""
        if self.fences:
            await self._connect()

    async def _connect(self) -> None:
        self._clean = False
        await self._producer.start()
        self._connected = self._clean = True

    async def _connect_if_need_be(self) -> None:
        while not self._connected:
            try:
                await self._connect()
            except (KafkaConnectionError, BrokerRefuses):
                # A producer that was connected before would wait for brokers, too; whoever awaits this has a deadline.
                await asyncio.sleep(_CONNECT_AGAIN_SECONDS)

    @property
    def _client(self) -> AIOKafkaClient:
        """A client that is connected, to ask brokers with."""
        return self._producer.client if self._connected else self._consumer._client

    async def committed(self) -> int | None:
        """Return the offset to go on at; None if there is none yet of this topic.

        Raises:
            DependencyUnavailable: what keeps it is down; ask again.
            LaneHalted: it cannot be gone on with.
        """
        await self.topic.begin()
        position = await committed_position(self._consumer, self._group, self._source)
        if position is None or not self.topic.is_ours(position):
            return None
        return int(position.offset)

    async def accept(self, next_offset: int) -> None:  # noqa: B027 - most guarantees do nothing here
        """Be told of a batch before the agent is, with the offset after it."""

    @abc.abstractmethod
    async def finish(self, settled: Settled) -> Sequence[Settled]:
        """Write what `settled` holds and move the group's offset to its next, or take it in hand until later.

        Returns:
            all that is committed now and was not before.

        Raises:
            DependencyUnavailable: what is to hold the effects is down; finish the same again.
            LaneHalted: it refuses them.
            EffectsDeclined: effects of some records must not happen, and those are to be dead letters. Nothing of
                `settled` was committed, nor is in hand: what is left of it comes again.
        """

    async def idle(self) -> Sequence[Settled]:
        """Be told, about once a second while nothing arrives, that what is held may be due.

        Returns:
            as :meth:`finish` does, and raises the same.
        """
        return ()

    async def flush(self) -> Sequence[Settled]:
        """Be told that nothing will arrive for a while: commit what is held, due or not.

        Returns:
            as :meth:`finish` does, and raises the same.
        """
        return ()

    async def close(self) -> None:
        """Let go of the producer, whatever state it is in, within some three seconds."""
        if self._clean:
            stopping = asyncio.ensure_future(self._producer.stop())
            await asyncio.wait({stopping}, timeout=_STOP_SECONDS)
            if stopping.done() and not stopping.cancelled() and stopping.exception() is None:
                return
            stopping.cancel()
        await close_hard(self._producer)

    async def _deliver_alone(self, outputs: Sequence[Output]) -> None:
        """Deliver outside of a transaction."""
        if not outputs:
            return
        await self._connect_if_need_be()
        await self._know(outputs)
        self._clean = False
        with noticing_forgotten(self._producer, f"{self._source.topic}-{self._source.partition}"):
            await self._deliver(outputs)
        self._clean = True

    async def _deliver(self, outputs: Sequence[Output]) -> None:
        """Write the outputs and await every acknowledgement: nothing else proves that they are there."""
        producer, deliveries = self._producer, []
        for (topic, partition), group in self._by_destination(outputs).items():
            for batch in packed(group, producer.create_batch, transactional=self.fences):
                size = batch.size()
                sent = await producer.send_batch(batch, topic, partition=partition)
                deliveries.append(Delivery(sent, topic, batch.record_count(), size))
        await self._acknowledged(deliveries, outputs)

    async def _acknowledged(self, deliveries: Sequence[Delivery], outputs: Sequence[Output]) -> None:
        waiting = {delivery.sent for delivery in deliveries}
        while waiting:
            _, waiting = await asyncio.wait(waiting, timeout=_LOOK_AGAIN_SECONDS)
            if waiting:
                # aiokafka tries for ever to write to a topic that was deleted meanwhile.
                await self._refuse_missing(outputs)
        failures = await asyncio.gather(*(delivery.sent for delivery in deliveries), return_exceptions=True)
        for delivery, failure in zip(deliveries, failures, strict=True):
            if isinstance(failure, UNSERVED):
                # Written in part: the lane begins anew, and waits by name before it writes again.
                raise OutputUnserved(f"what is to be written cannot be: {failure}") from failure
            if isinstance(failure, KafkaError) and not isinstance(failure, _DOUBTFUL):
                raise OutputRefused(delivery.refused(failure)) from failure
            if isinstance(failure, BaseException):
                raise failure

    def _by_destination(self, outputs: Iterable[Output]) -> dict[tuple[str, int], list[Output]]:
        """Group outputs by topic and partition.

        A topic with as many partitions as the source keeps its numbers, so that order per key holds end
        to end; where the counts differ, or the output has a key of its own, that decides, as Java's default
        partitioner would.
        """
        groups: dict[tuple[str, int], list[Output]] = defaultdict(list)
        counts: dict[str, int] = {}
        own = self._partitions(self._source.topic)
        for output in outputs:
            count = counts.get(output.topic)
            if count is None:
                count = counts[output.topic] = self._partitions(output.topic)
            partition = output.partition
            if partition < 0 or (count != own and count and own):
                key = output.key
                partition = ((murmur2(key) & 0x7FFFFFFF) if key is not None else max(partition, 0)) % (
                    count or own or 1
                )
            groups[output.topic, partition].append(output)
        return groups

    def _partitions(self, topic: str) -> int:
        """How many partitions a topic has; 0 if that is not known yet, and then they are taken to agree."""
        known = self._producer.client.cluster.partitions_for_topic(topic)
        return len(known) if known else 0

    async def _refuse_missing(self, outputs: Iterable[Output]) -> None:
        """Say which topic does not exist.

        Raises:
            OutputRefused: one does not.
        """
        try:
            there = (await self._producer.client.fetch_all_metadata()).topics()
        except KafkaError:
            return  # no broker can say; those who wait have a deadline
        for topic in sorted({output.topic for output in outputs} - set(there)):
            raise OutputRefused(
                f"{self._group} writes to {topic}, which does not exist: run 'paystream topics apply {topic}'"
            )

    async def _know(self, outputs: Sequence[Output]) -> None:
        """Make sure that the producer knows the partitions that it is to write to, and that these have leaders.

        Raises:
            DependencyUnavailable: one to be written to has no leader; nothing is written.
            OutputRefused: a topic does not exist.
        """
        client, topics = self._producer.client, {output.topic for output in outputs}
        for topic in topics | {self._source.topic}:
            if not self._partitions(topic):
                # aiokafka would wait for it to appear until the deadline, and then not say for what.
                await self._refuse_missing(outputs)
                await client._wait_on_metadata(topic)
        if any_unled(client, topics):
            await require_leaders(client, map(TopicPartition._make, self._by_destination(outputs)))


class ExactlyOnce(Finisher):
    """Outputs, dead letters and offset become visible together or not at all."""

    fences = True

    async def finish(self, settled: Settled) -> Sequence[Settled]:
        """One transaction; it is open only while writing, never while a handler runs or backs off."""
        await self._commit(settled.outputs, self.topic.note(settled.next_offset))
        return (settled,)

    async def _commit(self, outputs: Sequence[Output], offset: OffsetAndMetadata) -> None:
        with noticing_forgotten(self._producer, f"{self._source.topic}-{self._source.partition}"):
            await self._transact(outputs, offset)

    async def _transact(self, outputs: Sequence[Output], offset: OffsetAndMetadata) -> None:
        producer = self._producer
        await self._know(outputs)
        self._clean = False
        await producer.begin_transaction()
        async with self.topic.required():
            await self._deliver(outputs)
        crash_point("after_send")
        await producer.send_offsets_to_transaction({self._source: offset}, self._group)
        crash_point("after_offsets")
        await producer.commit_transaction()
        self._clean = True

    async def close(self) -> None:
        """Abort what is open, so that readers are not held up until the broker's own time-out."""
        if not self._clean:
            heed_failures(self._producer)  # an abort forgets how the transaction has failed
            aborting = asyncio.ensure_future(self._abort())
            await asyncio.wait({aborting}, timeout=_ABORT_SECONDS)
            aborting.cancel()
        await super().close()

    async def _abort(self) -> None:
        try:
            await self._producer.abort_transaction()
        except Exception:
            # Fenced, or not in a transaction after all: either way there is nothing of ours to abort.
            return
        self._clean = True


class AtLeastOnce(Finisher):
    """Every output is acknowledged before the offset moves: nothing is lost, a crash repeats outputs."""

    async def finish(self, settled: Settled) -> Sequence[Settled]:
        """Deliver, then commit."""
        async with self.topic.required():
            await self._deliver_alone(settled.outputs)
        crash_point("after_send")
        await self._consumer.commit({self._source: self.topic.note(settled.next_offset)})
        crash_point("after_offsets")
        return (settled,)


class AtMostOnce(Finisher):
    """The offset moves before the handler sees a record: nothing repeats, a crash loses outputs."""

    commits_first = True

    async def accept(self, next_offset: int) -> None:
        """Commit."""
        # Not beside the commit, as with the others: what is committed here is not handled yet.
        await self.topic.require()
        await self._consumer.commit({self._source: self.topic.note(next_offset)})
        crash_point("after_offsets")

    async def finish(self, settled: Settled) -> Sequence[Settled]:
        """Deliver."""
        await self._deliver_alone(settled.outputs)
        crash_point("after_send")
        return (settled,)


_FINISHERS: Final[dict[Guarantee, type[Finisher]]] = {
    Guarantee.EXACTLY_ONCE: ExactlyOnce,
    Guarantee.AT_LEAST_ONCE: AtLeastOnce,
    Guarantee.AT_MOST_ONCE: AtMostOnce,
}


class Finishing(Protocol):
    """How the batches of an agent are finished."""

    def make(self, kafka: KafkaSettings, consumer: AIOKafkaConsumer, group: str, source: TopicPartition) -> Finisher:
        """Make the finisher of one partition."""

    def connections(self, brokers: int, *, dead_letters: bool) -> int:
        """Say how many connections the producer of one partition may come to have with so many brokers.

        Arguments:
            brokers: how many there are.
            dead_letters: whether it writes any.
        """


def needs_transactions(finishing: Finishing) -> bool:
    """Whether it says that it needs Kafka's transactions: a worker then starts only on brokers that can have them."""
    return bool(getattr(finishing, "transactional", False))


@dataclass(frozen=True, slots=True)
class Guaranteed:
    """Outputs in Kafka, with one of the three guarantees.

    Attributes:
        guarantee: which.
        emits: whether there are outputs at all, beside dead letters.
    """

    guarantee: Guarantee
    emits: bool = True

    def connections(self, brokers: int, *, dead_letters: bool) -> int:
        """Say how many connections the producer of one partition may come to have."""
        if self.guarantee is Guarantee.EXACTLY_ONCE:
            return transactional_connections(brokers)
        return brokers if self.emits or dead_letters else 0

    @property
    def transactional(self) -> bool:
        """Only the strongest needs transactions."""
        return self.guarantee is Guarantee.EXACTLY_ONCE

    def make(self, kafka: KafkaSettings, consumer: AIOKafkaConsumer, group: str, source: TopicPartition) -> Finisher:
        """Make the finisher of one partition."""
        transactions = self.guarantee is Guarantee.EXACTLY_ONCE
        producer = make_producer(kafka, transactional_id=transactional_id(group, source) if transactions else None)
        return _FINISHERS[self.guarantee](producer, consumer, group, source)


def transactional_connections(brokers: int) -> int:
    """Say how many connections a producer has that writes anywhere, and with two coordinators."""
    return brokers + 2


def transactional_id(group: str, source: TopicPartition) -> str:
    """Name the producer of one partition's transactions.

    Brokers fence by it, so two owners of a partition meet there, whatever process they live in.
    """
    return f"{group}-{source.topic}-{source.partition}"
