"""Sources on a real broker: joining, sharing and leaving a consumer group, and what keeps one from starting."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions
from support.agent import kafka_settings, running, unique
from support.kafka import admin, create_topic, members, produce, read_topic, wait_until_consumed
from support.payments import Raw
from support.waiting import eventually

from streams.delivery import Outbox, Record
from streams.failure.errors import BrokerUnreachable, TopicMissing
from streams.sandbox import Cluster
from streams.sandbox.process import free_ports
from streams.settings import Guarantee


def _nothing(record: Record, outbox: Outbox) -> None:
    """Handle a record by doing nothing."""


async def test_a_source_reads_all_partitions_of_all_its_topics(kafka: Cluster) -> None:
    servers = kafka.bootstrap_servers
    topics = [await create_topic(servers, unique("many"), partitions) for partitions in (1, 3)]
    for topic, partitions in zip(topics, (1, 3), strict=True):
        await produce(servers, topic, [Raw(each, b"key", b"value") for each in range(partitions)])
    async with running(servers, topics, _nothing, dead_letters=False) as agent:
        await agent.consumed()
        assert set(agent.source.lanes) == {
            TopicPartition(topic, each) for topic, count in zip(topics, (1, 3), strict=True) for each in range(count)
        }
    assert agent.source.lanes == {}


@pytest.mark.parametrize("guarantee", list(Guarantee))
async def test_sources_that_join_and_leave_share_the_partitions_and_lose_or_double_nothing(
    kafka: Cluster, guarantee: Guarantee
) -> None:
    servers, group = kafka.bootstrap_servers, unique("group")
    topic = await create_topic(servers, unique("shared"), 4)
    out = await create_topic(servers, topic + ".out", 4)
    sent = [Raw(number % 4, b"%d" % number, b"value") for number in range(4_000)]

    def copy(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, record.value)

    async with AsyncExitStack() as first, AsyncExitStack() as second:
        member = partial(
            running, servers, [topic], copy, group=group, guarantee=guarantee, max_batch_records=50, dead_letters=False
        )
        one = await first.enter_async_context(member())
        await produce(servers, topic, sent[:1_000])
        two = await second.enter_async_context(member())
        await produce(servers, topic, sent[1_000:2_000])
        await eventually(lambda: len(one.source.lanes) == len(two.source.lanes) == 2, "the partitions to be shared")
        assert set(one.source.lanes).isdisjoint(two.source.lanes)
        await produce(servers, topic, sent[2_000:3_000])
        await first.aclose()
        await produce(servers, topic, sent[3_000:])
        await eventually(lambda: len(two.source.lanes) == 4, "the other one to take over")
        await two.consumed()
        assert not one.failures
    found = Counter(each.key for each in await read_topic(servers, out))
    assert found == Counter(each.key for each in sent)


async def test_a_source_that_stops_has_left_its_group(kafka: Cluster) -> None:
    servers, group = kafka.bootstrap_servers, unique("group")
    topic = await create_topic(servers, unique("left"))
    async with admin(servers) as client:
        async with running(servers, [topic], _nothing, group=group, dead_letters=False) as agent:
            await eventually(lambda: len(agent.source.lanes) == 4, "the partitions")
            assert len(await members(client, group)) == 1
        assert await members(client, group) == []


async def test_giving_partitions_up_is_over_before_the_group_loses_patience(kafka: Cluster) -> None:
    servers, group = kafka.bootstrap_servers, unique("group")
    topic = await create_topic(servers, unique("patience"))
    await produce(servers, topic, [Raw(each, b"key", b"value") for each in range(4)])
    go_on = asyncio.Event()

    async def hangs(record: Record, outbox: Outbox) -> None:
        await go_on.wait()

    settings = kafka_settings(servers)
    async with running(servers, [topic], hangs, group=group, actors=4, stop_timeout=60, dead_letters=False) as agent:
        await eventually(lambda: len(agent.batches) == 4, "all partitions to have a batch in hand")
        started = time.monotonic()
        await agent.source.revoke()
        assert time.monotonic() - started < settings.rebalance_timeout
        assert agent.source.lanes == {}
        assert not agent.failures
        go_on.set()


async def test_a_missing_topic_is_named_together_with_the_way_out(kafka: Cluster) -> None:
    there, missing = await create_topic(kafka.bootstrap_servers, unique("there")), unique("missing")
    async with running(kafka.bootstrap_servers, [there, missing], _nothing, dead_letters=False) as agent:
        (failure,) = agent.failures
        assert isinstance(failure, TopicMissing)
        assert missing in str(failure)
        assert there not in str(failure)
        assert "paystream topics apply" in str(failure)


async def test_where_nobody_answers_the_address_is_named(kafka: Cluster) -> None:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    async with running(nobody, ["any"], _nothing, dead_letters=False) as agent:
        (failure,) = agent.failures
        assert isinstance(failure, BrokerUnreachable)
        assert nobody in str(failure)


async def test_a_source_whose_topic_grows_reads_the_new_partitions_too(kafka: Cluster) -> None:
    servers, group = kafka.bootstrap_servers, unique("group")
    topic = await create_topic(servers, unique("grows"), 1)
    async with running(servers, [topic], _nothing, group=group, dead_letters=False) as agent, admin(servers) as client:
        await eventually(lambda: len(agent.source.lanes) == 1, "the partition")
        await client.create_partitions({topic: NewPartitions(3)})

        async def grown() -> bool:
            await agent.source._consumer._client.force_metadata_update()  # type: ignore[union-attr]
            return len(agent.source.lanes) == 3

        await eventually(grown, "the new partitions")
        await produce(servers, topic, [Raw(2, b"key", b"value")])
        await wait_until_consumed(servers, group, topic)


async def test_a_topic_that_somebody_deletes_is_missed_and_read_as_soon_as_it_is_there_again(kafka: Cluster) -> None:
    servers, group = kafka.bootstrap_servers, unique("group")
    topic = await create_topic(servers, unique("gone"), 1)
    async with running(servers, [topic], _nothing, group=group, dead_letters=False) as agent, admin(servers) as client:
        await eventually(lambda: agent.source.lanes, "the partition")
        assert agent.source.trouble == ""
        await client.delete_topics([topic])

        async def missed() -> bool:
            # Who has nothing to do learns it with the next look at the brokers, half a minute later at most.
            await agent.source._consumer._client.force_metadata_update()  # type: ignore[union-attr]
            return topic in agent.source.trouble

        await eventually(missed, "it to be missed")
        assert "paystream topics apply" in agent.source.trouble
        await create_topic(servers, topic, 1)
        await produce(servers, topic, [Raw(0, b"key", b"value")])
        began = time.monotonic()
        await wait_until_consumed(servers, group, topic)
        assert time.monotonic() - began < 20, "five minutes are the client's own pace"
        await eventually(lambda: agent.source.trouble == "", "that to have passed")


@pytest.mark.deadline(120)
async def test_brokers_that_are_away_are_said_to_be_and_said_to_be_back(caplog: pytest.LogCaptureFixture) -> None:
    async with Cluster() as cluster:
        servers, group = cluster.bootstrap_servers, unique("group")
        topic = await create_topic(servers, "orders", 1)
        async with running(servers, [topic], _nothing, group=group, dead_letters=False) as agent:
            await eventually(lambda: agent.source.lanes, "the partition")
            cluster.brokers[0].kill()
            await eventually(lambda: "Kafka is away" in agent.source.trouble, "them to be missed")
            await cluster.brokers[0].start()
            # Whether the lane goes on or ends its process is the lane's: that depends on what it had in hand.
            await eventually(lambda: agent.source.trouble == "", "them to be back", seconds=60)
    assert caplog.text.count("Kafka is away") == 2, "once when it begins, once when it is over"
