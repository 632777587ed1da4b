"""A source: the consumer group of one agent, and the lanes of the partitions it is assigned."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError
from mode import Service

from streams.delivery.batch import Rules
from streams.delivery.channel import Handoff
from streams.delivery.damaged import DamagedBatches
from streams.delivery.guarantee import Finishing, Guaranteed, needs_transactions
from streams.delivery.lane import Lane
from streams.delivery.machinery import end_process
from streams.delivery.meter import Meter
from streams.delivery.status import State
from streams.delivery.surroundings import LaneLimits, Surroundings
from streams.failure.breaker import Breakers
from streams.failure.errors import (
    AgentContractBroken,
    BudgetExceeded,
    LaneHalted,
    MachineryFailure,
    PaystreamError,
    ProducerForgotten,
    SetupError,
    TopicMissing,
)
from streams.failure.open_files import OpenFiles, shortage
from streams.kafka.broker_step import describe
from streams.kafka.clients import close_consumer, connect, make_consumer
from streams.kafka.connecting import troubles
from streams.kafka.internal_topics import check_internal_topics
from streams.settings import DeliverySettings, KafkaSettings

logger = logging.getLogger(__name__)

# A lane's commit (1 s), abort (2 s) and close (1 s) must fit into the rebalance after its grace.
_LETTING_GO_SECONDS: Final = 4.0
_GROUP_CHECK_SECONDS: Final = 1.0
# A coordinator that moves to another broker is found again within about two seconds, and a broker that has just
# started may not know a topic for a moment.
_AWAY_SECONDS: Final = 5.0


class Source(Service):
    """Feeds one agent from Kafka.

    Arguments:
        topics: what to subscribe to.
        group: the consumer group.
        handoff: the agent's queue.
        rules: how its records are treated.
        meter: where its lanes report.
        breakers: of the worker's dependencies.
        kafka: how to reach the brokers.
        delivery: how to form and finish batches.
        finishing: how batches are finished; with the guarantee of `delivery` if not given.
        reopen_after: seconds until a lane whose output was refused is tried again.
        files: told how many its partitions may need to have open.
        fail: what to do with a failure of the machinery; ends the process.
    """

    def __init__(
        self,
        topics: Iterable[str],
        group: str,
        handoff: Handoff,
        rules: Rules,
        meter: Meter,
        breakers: Breakers,
        kafka: KafkaSettings,
        delivery: DeliverySettings,
        *,
        finishing: Finishing | None = None,
        reopen_after: float = 5.0,
        files: OpenFiles | None = None,
        fail: Callable[[PaystreamError], Any] = end_process,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.topics = tuple(topics)
        self.group = group
        self.meter = meter
        self.lanes: dict[TopicPartition, Lane] = {}
        self.damaged = DamagedBatches()
        self._handoff = handoff
        self._rules = rules
        self._breakers = breakers
        self._finishing = finishing or Guaranteed(delivery.guarantee)
        self._reopen_after = reopen_after
        self._files = files or OpenFiles()
        self._kafka = kafka
        self._delivery = delivery
        self._fail = fail
        self._consumer: AIOKafkaConsumer | None = None
        self._halts: dict[TopicPartition, str] = {}
        self._forgotten_at: dict[TopicPartition, int | None] = {}
        self.joined = False
        """Whether the group has given this member its partitions, if any."""
        self.trouble = ""
        """Why nothing arrives although nothing has failed; empty if there is no such reason."""
        self._coordinated_at = 0.0
        self._complete_at = 0.0

    async def on_start(self) -> None:
        """Check the topics and join the group; lanes start when partitions are assigned."""
        try:
            await self._check_topics()
            consumer = make_consumer(self._kafka, self.group, self._delivery.max_batch_bytes)
            self._consumer = consumer
            await consumer.start()
        except PaystreamError as error:
            self._fail(error)
            return
        except KafkaError as error:
            failure = MachineryFailure(f"{self.group} could not start: {shortage(error) or describe(error)}")
            failure.__cause__ = error
            self._fail(failure)
            return
        self._handoff.watch(self._agent_broke)
        self.add_future(self._watch_group(consumer))
        consumer.subscribe(list(self.topics), listener=_Listener(self))

    async def on_stop(self) -> None:
        """Finish the batches in hand, commit, and leave the group."""
        self._handoff.unwatch()
        await self._stop_lanes(self._delivery.stop_timeout)
        if self._consumer is not None:
            await close_consumer(self._consumer)

    def assign(self, assigned: Iterable[TopicPartition]) -> None:
        """Start a lane for each partition."""
        if self.should_stop:
            return
        consumer = self._consumer
        assert consumer is not None
        for source in sorted(assigned):
            if source in self.lanes:
                self._fail(MachineryFailure(f"{self.group}: {source} was assigned twice"))
                return
            # The lane resumes it at the right offset, after its predecessor is fenced.
            consumer.pause(source)
            lane = self.lanes[source] = self._make_lane(consumer, source)
            lane.start()
        self.joined = True
        logger.info("%s has partitions %s", self.group, _listing(self.lanes))

    async def revoke(self) -> None:
        """Stop all lanes; each is dead when this returns, or the process ends."""
        budget = max(self._kafka.rebalance_timeout - _LETTING_GO_SECONDS, 0.0)
        await self._stop_lanes(min(self._delivery.stop_timeout, budget))

    async def _stop_lanes(self, grace: float) -> None:
        lanes, self.lanes = self.lanes, {}
        stopped = await asyncio.gather(*(lane.stop(grace) for lane in lanes.values()), return_exceptions=True)
        for result in stopped:
            if isinstance(result, PaystreamError):
                self._fail(result)
            elif isinstance(result, BaseException):
                raise result
        for source in lanes:
            self.meter.released(source)
            self.damaged.passed(source)

    def resume(self, source: TopicPartition) -> bool:
        """Make a halted lane anew; False if there is none.

        The halted lane is dead, so this is no repair in place: its successor starts as after a rebalance.
        """
        lane, consumer = self.lanes.get(source), self._consumer
        if lane is None or lane.state is not State.HALTED or consumer is None or self.should_stop:
            return False
        consumer.pause(source)
        self.lanes[source] = self._make_lane(consumer, source)
        self.lanes[source].start()
        return True

    def give_up(self, source: TopicPartition, first_offset: int, next_offset: int) -> bool:
        """Have a lane pass over what it cannot read; False if that is not exactly these offsets."""
        if source not in self.lanes or not self.damaged.give_up(source, first_offset, next_offset):
            return False
        self.resume(source)  # if it is not being tried again by itself just now
        return True

    def _lane_halted(self, source: TopicPartition, why: LaneHalted) -> None:
        if isinstance(why, ProducerForgotten) and self._is_news(source):
            logger.info("%s: %s-%d is opened anew: %s", self.group, source.topic, source.partition, why)
            self.meter.opened_anew(source)
            self.loop.call_soon(self._reopen, self.lanes.get(source))
            return
        self.meter.halted(source)
        # A lane that is tried again by itself says so once, not every few seconds.
        level = logging.INFO if self._halts.get(source) == str(why) else logging.ERROR
        self._halts[source] = str(why)
        logger.log(level, "%s: %s-%d has halted: %s", self.group, source.topic, source.partition, why)
        if not isinstance(why, BudgetExceeded):
            self.loop.call_later(self._reopen_after, self._reopen, self.lanes.get(source))

    def _is_news(self, source: TopicPartition) -> bool:
        """Tell whether the lane has committed since its producer was last forgotten: if not, it was not the idling."""
        lane = self.lanes.get(source)
        at = lane.status().next_offset if lane is not None else None
        before = self._forgotten_at.get(source, -1)
        self._forgotten_at[source] = at
        return at != before

    def _reopen(self, lane: Lane | None) -> None:
        if lane is not None and self.lanes.get(lane.source) is lane:
            self.resume(lane.source)

    def _make_lane(self, consumer: AIOKafkaConsumer, source: TopicPartition) -> Lane:
        finisher = self._finishing.make(self._kafka, consumer, self.group, source)
        surroundings = Surroundings(
            consumer,
            self.group,
            self._handoff,
            self._rules,
            LaneLimits(records=self._delivery.max_batch_records, deadline=self._kafka.deadline),
            self.meter,
            self._breakers,
            self._fail,
            self._lane_halted,
            self.damaged,
        )
        return Lane(source, finisher, surroundings)

    async def _check_topics(self) -> None:
        client = await connect(self._kafka)
        try:
            cluster = await client.fetch_all_metadata()
            known = cluster.topics()
            await check_internal_topics(client, transactions=needs_transactions(self._finishing), name=self.group)
        finally:
            await client.close()
        self._files.expect(self._open_files(cluster))
        suffix = self._rules.dead_letter_suffix
        needed = [*self.topics, *(topic + suffix for topic in self.topics if suffix is not None)]
        missing = [topic for topic in needed if topic not in known]
        if missing:
            raise TopicMissing(
                f"{self.group} needs {', '.join(missing)}, which does not exist, or this user may not see it, on "
                f"{self._kafka.bootstrap_servers}: run 'paystream topics apply'"
            )

    def _open_files(self, cluster: ClusterMetadata) -> int:
        """Say how many connections there may be if all partitions are this worker's."""
        brokers, dead_letters = len(cluster.brokers()), self._rules.dead_letter_suffix is not None
        partitions = sum(len(cluster.partitions_for_topic(topic) or ()) for topic in self.topics)
        # The consumer has one with its coordinator, too.
        return brokers + 1 + partitions * self._finishing.connections(brokers, dead_letters=dead_letters)

    async def _watch_group(self, consumer: AIOKafkaConsumer) -> None:
        """Notice what aiokafka keeps to itself: that the group refuses this member, or that nobody serves it."""
        self._coordinated_at = self._complete_at = time.monotonic()
        while not self.should_stop:
            # Which aiokafka tells only those who fetch: no lane does yet.
            try:
                consumer._coordinator.check_errors()
            except KafkaError as error:
                self._fail(
                    SetupError(
                        f"{self.group} cannot join its consumer group: {type(error).__name__} ({error}); with an "
                        "authoriser, this user needs Read on the group"
                    )
                )
                return
            self._notice(self._trouble(consumer))
            await self.sleep(_GROUP_CHECK_SECONDS)

    def _trouble(self, consumer: AIOKafkaConsumer) -> str:
        known, now = consumer._client.cluster, time.monotonic()
        missing = [topic for topic in self.topics if not known.partitions_for_topic(topic)]
        if missing and self.joined:
            # What is made anew is to be read at once, and not when the brokers are asked the next time anyway.
            consumer._client.force_metadata_update()
        else:
            self._complete_at = now
        if consumer._coordinator.coordinator_id is not None:
            self._coordinated_at = now
        if now - self._coordinated_at > _AWAY_SECONDS:
            if short := shortage():
                return f"its consumer group is out of reach: {short}"
            why = troubles.lasting() or "Kafka is away, or has no coordinator for it"
            return f"no broker answers for its consumer group: {why}"
        if now - self._complete_at > _AWAY_SECONDS:
            if forbidden := known.unauthorized_topics.intersection(missing):
                return f"this user may not see {', '.join(sorted(forbidden))} any more: it needs Read on that"
            return f"{', '.join(missing)} is not there any more: 'paystream topics apply' creates it"
        return troubles.lasting()

    def _notice(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            logger.error("%s: %s", self.group, trouble)
        elif self.trouble and not trouble:
            logger.warning("%s: that has passed (%s)", self.group, self.trouble)
        self.trouble = trouble

    def _agent_broke(self, error: AgentContractBroken) -> None:
        self._fail(AgentContractBroken(f"{self.group}: {error}"))


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Passes aiokafka's calls on. aiokafka would log and forget an exception: none may leave here."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        try:
            await self._source.revoke()
        except Exception as error:
            self._fail("letting go of partitions", error)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        try:
            self._source.assign(assigned)
        except Exception as error:
            self._fail("taking partitions over", error)

    def _fail(self, doing: str, error: Exception) -> None:
        failure = MachineryFailure(f"{self._source.group} failed while {doing}: {type(error).__name__}")
        failure.__cause__ = error
        self._source._fail(failure)


def _listing(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(f"{topic}-{partition}" for topic, partition in sorted(partitions)) or "none"
