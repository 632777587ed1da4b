"""An agent without Faust's worker: a real source and its lanes, and plain tasks that apply a handler."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import TopicPartition
from faust.sensors import Monitor
from mode.utils.queues import FlowControlEvent

from streams.dead_letters.writing import Limits
from streams.delivery import Handler
from streams.delivery.batch import Batch, Rules
from streams.delivery.channel import Handoff
from streams.delivery.guarantee import Finishing, Guaranteed
from streams.delivery.lane import Lane
from streams.delivery.meter import Meter
from streams.delivery.source import Source
from streams.delivery.status import LaneStatus, State
from streams.delivery.surroundings import LaneLimits, Surroundings
from streams.failure.breaker import Breakers
from streams.failure.budget import BudgetLimits
from streams.failure.errors import PaystreamError
from streams.failure.policy import FailurePolicy
from streams.kafka.clients import make_consumer
from streams.settings import DeliverySettings, FailureSettings, Guarantee, KafkaSettings, TopicSettings
from streams.testing import batch, record
from support.kafka import wait_until_consumed
from support.waiting import eventually

_AT_ONCE = FailureSettings(backoff="fixed", initial_interval=0.02, max_retries=2, pause_interval=0.02)


def unique(name: str) -> str:
    """Return a name that no other test has."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


def kafka_settings(servers: str, **changes: object) -> KafkaSettings:
    """Return settings for the embedded broker, with its shortest session."""
    return KafkaSettings.model_validate({"bootstrap_servers": servers, "session_timeout": 6, **changes})


@dataclass(slots=True)
class Running:
    """A source that runs, and what became of it.

    Attributes:
        source: it.
        servers: of its topics.
        topics: what it reads.
        handoff: its actors' queue.
        failures: what would have ended the process.
        batches: what the actors have been handed, in order; a batch that is tried again is there again.
    """

    source: Source
    servers: str
    topics: Sequence[str]
    handoff: Handoff
    failures: list[PaystreamError] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    def lane(self, partition: int) -> LaneStatus:
        """Say how the lane of the first topic's partition stands."""
        return self.source.lanes[TopicPartition(self.topics[0], partition)].status()

    def handed_over(self) -> int:
        """Count the records that actors have been handed; one of a batch that is tried again counts once."""
        return len({(each.topic, each.partition, each.offset) for taken in self.batches for each in taken.records})

    async def consumed(self) -> None:
        """Wait until everything that its topics hold has been committed, and its lanes know it; nothing must fail."""
        waiting = [
            asyncio.ensure_future(wait_until_consumed(self.servers, self.source.group, topic)) for topic in self.topics
        ]
        try:
            while not all(each.done() for each in waiting) and not self.failures:
                await asyncio.wait(waiting, timeout=0.05)
            assert not self.failures, self.failures
            await asyncio.gather(*waiting)
            # The broker may tell us sooner than the lane that asked for it, which then has counts and files to see to.
            await eventually(lambda: self.failures or not self._in_hand(), "the lanes to have nothing in hand")
            assert not self.failures, self.failures
        finally:
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def caught_up(self) -> None:
        """Wait until the actors have dealt with every batch that is waiting for one."""
        last = batch(record(None))
        released = last.offer()
        last.revoke()  # no handler is to see it
        self.handoff.put_nowait(last)
        await released

    def _in_hand(self) -> list[Lane]:
        return [lane for lane in self.source.lanes.values() if lane.state in (State.HANDLING, State.FINISHING)]


@asynccontextmanager
async def running(
    servers: str,
    topics: Sequence[str],
    handler: Handler,
    *,
    group: str | None = None,
    actors: int = 1,
    guarantee: Guarantee = Guarantee.EXACTLY_ONCE,
    max_batch_records: int = 2_000,
    stop_timeout: float = 5.0,
    failure: FailureSettings = _AT_ONCE,
    kafka: KafkaSettings | None = None,
    dead_letters: bool = True,
    finish: Finishing | None = None,
    fail: Callable[[PaystreamError], None] | None = None,
) -> AsyncIterator[Running]:
    """Run a source and its actors for as long as the block lasts."""
    group = group or unique("group")
    rules = rules_for(group, failure, dead_letters=dead_letters)
    delivery = DeliverySettings(guarantee=guarantee, max_batch_records=max_batch_records, stop_timeout=stop_timeout)
    handoff = Handoff(flow_control=FlowControlEvent(initially_suspended=False))
    failures: list[PaystreamError] = []
    source = Source(
        topics, group, handoff, rules, Meter(Monitor(), "agent"), Breakers(), kafka or kafka_settings(servers),
        delivery, finishing=finish, reopen_after=failure.pause_interval, fail=fail or failures.append,
    )  # fmt: skip
    state = Running(source, servers, topics, handoff, failures)

    async def act() -> None:
        while True:
            taken = await handoff.get()
            state.batches.append(taken)
            await taken.handle(handler)

    tasks = [asyncio.create_task(act()) for _ in range(actors)]
    try:
        await source.start()
        yield state
    finally:
        await source.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(slots=True)
class Alone:
    """One lane and its actor, without a group around them.

    Attributes:
        lane: it.
        failures: what would have ended the process.
    """

    lane: Lane
    failures: list[PaystreamError]


@asynccontextmanager
async def lane_alone(
    servers: str,
    source: TopicPartition,
    handler: Handler,
    *,
    group: str,
    guarantee: Guarantee = Guarantee.EXACTLY_ONCE,
    failure: FailureSettings = _AT_ONCE,
    finish: Finishing | None = None,
) -> AsyncIterator[Alone]:
    """Run a lane of a partition that no coordinator assigns.

    Two lanes of one partition are two owners who know nothing of each other, as a zombie and its successor are.
    """
    kafka = kafka_settings(servers)
    consumer = make_consumer(kafka, group, 4_194_304)
    await consumer.start()
    consumer.assign([source])
    consumer.pause(source)
    handoff = Handoff(flow_control=FlowControlEvent(initially_suspended=False))
    failures: list[PaystreamError] = []
    surroundings = Surroundings(
        consumer,
        group,
        handoff,
        rules_for(group, failure),
        LaneLimits(records=2_000, deadline=kafka.deadline),
        Meter(Monitor(), "agent"),
        Breakers(),
        failures.append,
        lambda _, why: failures.append(why),
    )
    finisher = (finish or Guaranteed(guarantee)).make(kafka, consumer, group, source)
    lane = Lane(source, finisher, surroundings)

    async def act() -> None:
        while True:
            await (await handoff.get()).handle(handler)

    actor = asyncio.create_task(act())
    lane.start()
    try:
        yield Alone(lane, failures)
    finally:
        await lane.stop(grace=0)
        actor.cancel()
        await asyncio.gather(actor, return_exceptions=True)
        await consumer.stop()


def rules_for(group: str, failure: FailureSettings, *, dead_letters: bool = True) -> Rules:
    """Say how the records of an agent are treated."""
    return Rules(
        group=group,
        policy=FailurePolicy.of(failure),
        dead_letter_suffix=failure.dead_letter_suffix if dead_letters else None,
        limits=Limits.of(failure),
        max_output_bytes=TopicSettings().max_message_bytes,
        budget=BudgetLimits(
            failure.max_consecutive_dead_letters, failure.max_dead_letter_share, failure.dead_letter_window
        ),
    )
