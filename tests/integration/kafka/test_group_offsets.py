"""A group's committed offset, asked of a broker that is not its coordinator: once taken for "nothing committed"."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition
from support.agent import kafka_settings, unique
from support.kafka import create_topic

from streams.kafka.clients import make_consumer
from streams.kafka.group_offsets import committed_position
from streams.sandbox import Cluster


@pytest.mark.deadline(120)
async def test_another_brokers_no_is_not_taken_for_nothing_committed() -> None:
    async with Cluster(brokers=3) as cluster:
        topic, group = await create_topic(cluster.bootstrap_servers, unique("topic"), 1), unique("group")
        partition = TopicPartition(topic, 0)
        consumer = make_consumer(kafka_settings(cluster.bootstrap_servers), group, 1_000_000)
        await consumer.start()
        try:
            consumer.assign([partition])
            assert await committed_position(consumer, group, partition) is None
            await consumer.commit({partition: 3})
            coordinator = consumer._coordinator
            others = {broker.node_id for broker in cluster.brokers} - {coordinator.coordinator_id}
            for other in others:
                await coordinator._client.ready(other)
                coordinator.coordinator_id = other  # as after a failover that this client has not heard of
                position = await committed_position(consumer, group, partition)
                assert position is not None
                assert position.offset == 3
        finally:
            await consumer.stop()
