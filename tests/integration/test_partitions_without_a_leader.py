"""A broker that keeps the only copy of some partitions is away: who needs these waits by name, all others work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from support.agent import Running, running, unique
from support.kafka import admin, produce, read_topic
from support.payments import Raw
from support.waiting import eventually

from streams.delivery import Outbox, Record
from streams.delivery.lane import Lane
from streams.delivery.status import State
from streams.failure.errors import PartitionUnserved, PermanentError
from streams.kafka.topic_admin import TopicSpec, known_everywhere
from streams.kafka.topic_reader import read_dead_letter_at, read_dead_letters
from streams.sandbox import Cluster
from streams.sandbox.broker import Broker
from streams.settings import FailureSettings, Guarantee, KafkaSettings
from streams.web.health import Health, judge

_SOON = FailureSettings(backoff="fixed", initial_interval=0.02, max_retries=0, pause_interval=0.5)
_VICTIM, _SAFE = 3, 1
"""Of three brokers: the one that goes away, and one that stays."""
_AWAY, _THERE = 0, 1
"""Partitions: the one that the victim keeps, and one that it does not."""


@asynccontextmanager
async def three_brokers() -> AsyncIterator[Cluster]:
    cluster = Cluster(
        brokers=3, properties={"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "1000"}
    )
    await cluster.start()
    try:
        yield cluster
    finally:
        for broker in cluster.brokers:
            broker.kill()
        await cluster.stop()


def victim(cluster: Cluster) -> Broker:
    return next(each for each in cluster.brokers if each.node_id == _VICTIM)


async def make_topic(cluster: Cluster, name: str, *, at_risk: bool) -> str:
    """Create a topic of two partitions and one copy; the victim keeps the first one's, if it is at risk."""
    places = {_AWAY: [_VICTIM if at_risk else _SAFE], _THERE: [_SAFE]}
    async with admin(cluster.bootstrap_servers) as client:
        await client.create_topics(
            [NewTopic(name, replica_assignments=places, num_partitions=-1, replication_factor=-1)]
        )
    await known_everywhere(KafkaSettings(bootstrap_servers=cluster.bootstrap_servers), [TopicSpec(name, 2, 1, {})])
    return name


def health_of(agent: Running) -> Health:
    source = agent.source
    return judge(
        [lane.status() for lane in source.lanes.values()],
        source._breakers.statuses(),
        joined=source.joined,
        stall_after=90,
        troubles=[source.trouble] if source.trouble else [],
    )


class Copying:
    """An agent that copies from a topic into another, and gives up what is bad; one of its three topics is at risk."""

    def __init__(self, cluster: Cluster, at_risk: str, guarantee: Guarantee) -> None:
        self.cluster, self.at_risk, self.guarantee = cluster, at_risk, guarantee
        name = unique(f"unled-{at_risk}-{guarantee.name.lower()}")
        self.topics = {"input": name, "output": name + ".out", "letters": name + ".DLT"}
        self.sent = 0

    async def prepare(self) -> None:
        for role, name in self.topics.items():
            await make_topic(self.cluster, name, at_risk=role == self.at_risk)

    @property
    def missing(self) -> str:
        """The partition that is without a leader."""
        return f"{self.topics[self.at_risk]}-{_AWAY}"

    def __call__(self, record: Record, outbox: Outbox) -> None:
        outbox.emit(self.topics["output"], record.value)
        if record.value == b"bad":
            raise PermanentError("it is bad")

    async def send(self, partition: int) -> None:
        records = [Raw(partition, b"%d" % (self.sent + each), b"bad" if each == 1 else b"good") for each in range(3)]
        self.sent += 3
        await produce(self.cluster.bootstrap_servers, self.topics["input"], records)

    async def run(self, stack: AsyncExitStack) -> Running:
        return await stack.enter_async_context(
            running(
                self.cluster.bootstrap_servers, [self.topics["input"]], self, failure=_SOON, guarantee=self.guarantee
            )
        )

    async def complete(self) -> bool:
        servers = self.cluster.bootstrap_servers
        done = [*await read_topic(servers, self.topics["output"]), *await read_topic(servers, self.topics["letters"])]
        # A record in hand when the leader went may have been written twice, in parts, with the weaker guarantee.
        found = sorted(int(each.key) for each in done)
        return (found if self.guarantee is Guarantee.EXACTLY_ONCE else sorted(set(found))) == list(range(self.sent))


async def waits_by_name(agent: Running, copying: Copying) -> None:
    """The lane of the partition waits for what is missing, and readiness says so; the other one's does not."""

    lane_name = f"(waiting: {agent.source.group} {copying.topics['input']}-{_AWAY})"

    def lane(partition: int) -> Lane | None:
        return agent.source.lanes.get(TopicPartition(copying.topics["input"], partition))

    def waits() -> bool:
        assert not agent.failures, agent.failures
        away, there = lane(_AWAY), lane(_THERE)
        health = health_of(agent)
        return (
            away is not None
            and away.state is State.PAUSED
            and there is not None
            and there.state is not State.PAUSED
            and not health.ready
            and any(f"{copying.missing} is down" in reason and lane_name in reason for reason in health.reasons)
        )

    await eventually(waits, f"a lane to wait for {copying.missing}", seconds=60)
    assert health_of(agent).live


async def works(agent: Running, copying: Copying) -> None:
    """The other lane brings its records to their end."""
    before = agent.source.meter.tally.consumed
    await copying.send(_THERE)
    await eventually(lambda: agent.failures or agent.source.meter.tally.consumed >= before + 3, "the others' records")
    assert not agent.failures, agent.failures


CASES = [
    ("input", Guarantee.EXACTLY_ONCE),
    ("letters", Guarantee.EXACTLY_ONCE),
    ("output", Guarantee.AT_LEAST_ONCE),
]


async def disturbed(agent: Running, copying: Copying) -> None:
    if copying.at_risk != "input":
        await copying.send(_AWAY)  # or it would not be missed
    await waits_by_name(agent, copying)
    if copying.at_risk == "input":
        assert agent.lane(_AWAY).lag is None, "how much there is, nobody can say"
    await works(agent, copying)
    if copying.at_risk == "letters":
        await others_are_listed(copying)


async def others_are_listed(copying: Copying) -> None:
    """Dead letters of the other partition are read, and what was left out is named."""
    kafka = KafkaSettings(bootstrap_servers=copying.cluster.bootstrap_servers)
    found = []

    async def read() -> None:
        async for letter in read_dead_letters(kafka, [copying.topics["letters"]]):
            found.append(letter.partition)

    with pytest.raises(PartitionUnserved, match=f"{copying.missing}: it has no leader"):
        await read()
    assert found == [_THERE]
    with pytest.raises(PartitionUnserved, match=copying.missing):
        await read_dead_letter_at(kafka, copying.topics["letters"], _AWAY, 0)


async def recovers(agent: Running, copying: Copying) -> None:
    await agent.consumed()
    await eventually(lambda: health_of(agent).ready, "the worker to be ready")
    assert await copying.complete()


@pytest.mark.deadline(240)
async def test_lanes_that_run_and_lanes_that_start_wait_for_a_leader_by_name_and_go_on_when_it_is_back() -> None:
    async with three_brokers() as cluster, AsyncExitStack() as stack:
        at_work = [Copying(cluster, *case) for case in CASES]
        later = [Copying(cluster, *case) for case in CASES]
        await asyncio.gather(*(each.prepare() for each in [*at_work, *later]))
        running_ones = [(await each.run(stack), each) for each in at_work]
        await asyncio.gather(*(each.send(_AWAY) for each in [*at_work, *later]))
        await asyncio.gather(*(agent.consumed() for agent, _ in running_ones))
        victim(cluster).kill()
        await asyncio.gather(*(disturbed(*each) for each in running_ones))
        starting_ones = [(await each.run(stack), each) for each in later]
        await asyncio.gather(*(waits_by_name(*each) for each in starting_ones))
        await asyncio.gather(*(works(*each) for each in starting_ones))
        await victim(cluster).start()
        await victim(cluster).wait_until_ready(60, [each.node_id for each in cluster.brokers])
        await asyncio.gather(*(recovers(*each) for each in [*running_ones, *starting_ones]))
