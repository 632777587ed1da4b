"""A broker that creates topics when somebody asks for them, as Kafka's does by default, is never asked so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from click.testing import CliRunner
from support.agent import kafka_settings, running, unique
from support.kafka import admin, create_topic, delete_topics, produce, read_topic
from support.payments import Raw
from support.waiting import eventually

from streams.commands.dead_letters import dead_letters
from streams.delivery.outbox import Outbox
from streams.failure.errors import PaystreamError, PermanentError, TopicMissing
from streams.kafka.clients import connect, make_admin, make_consumer, make_producer, make_reader
from streams.kafka.record import Record
from streams.sandbox import Cluster
from streams.settings import KafkaSettings


async def there(kafka: Cluster, *names: str) -> set[str]:
    """Return those of the topics that exist."""
    async with admin(kafka.bootstrap_servers) as client:
        return set(names) & set(await client.list_topics())


@pytest.mark.deadline(120)
async def test_topics_that_are_deleted_under_a_running_agent_stay_deleted(kafka: Cluster) -> None:
    servers = kafka.bootstrap_servers
    source, output = await create_topic(servers, unique("events"), 1), await create_topic(servers, unique("out"), 1)
    letters = await create_topic(servers, f"{source}.DLT", 1)

    def handle(record: Record, out: Outbox) -> None:
        if record.value == b"bad":
            raise PermanentError("bad")
        out.emit(output, record.value or b"")

    async with running(servers, [source], handle) as agent:
        await produce(servers, source, [Raw(0, b"key", b"good"), Raw(0, b"key", b"bad")])
        await agent.consumed()
        assert len(await read_topic(servers, letters)) == 1

        await delete_topics(servers, letters, output)
        await produce(servers, source, [Raw(0, b"key", b"bad")])
        await eventually(lambda: letters in agent.lane(0).reason, "the lane to miss its dead letters' topic")
        assert await there(kafka, letters, output) == set()

        await delete_topics(servers, source)
        await eventually(lambda: source in agent.source.trouble, "the source to miss its topic")
        for _ in range(3):  # each as a rebalance, a new member or the half minute does it
            consumer = agent.source._consumer
            assert consumer is not None
            await consumer._client.force_metadata_update()
        assert await there(kafka, source, letters, output) == set()


async def test_an_agent_that_starts_without_its_topics_does_not_create_them(kafka: Cluster) -> None:
    missing = unique("missing")
    async with running(kafka.bootstrap_servers, [missing], lambda record, out: None) as agent:
        await eventually(lambda: agent.failures, "the start to fail")
        assert isinstance(agent.failures[0], TopicMissing)
    assert await there(kafka, missing, f"{missing}.DLT") == set()


async def _by_a_consumer(kafka: KafkaSettings, topic: str) -> None:
    consumer = make_consumer(kafka, unique("group"), 1_000_000)
    await consumer.start()
    try:
        consumer.subscribe([topic])
        await consumer._client.force_metadata_update()
    finally:
        await consumer.stop()


async def _by_a_reader(kafka: KafkaSettings, topic: str) -> None:
    reader = make_reader(kafka)
    await reader.start()
    try:
        await reader._client.set_topics([topic])
    finally:
        await reader.stop()


async def _by_a_producer(kafka: KafkaSettings, topic: str) -> None:
    producer = make_producer(kafka)
    await producer.start()
    try:
        await producer.client.add_topic(topic)
    finally:
        await producer.stop()


async def _by_an_admin(kafka: KafkaSettings, topic: str) -> None:
    client = make_admin(kafka)
    await client.start()
    try:
        await client.describe_topics([topic])
    finally:
        await client.close()


async def _by_a_command(kafka: KafkaSettings, topic: str) -> None:
    client = await connect(kafka)
    try:
        await client.add_topic(topic)
    finally:
        await client.close()


@pytest.mark.parametrize("ask", [_by_a_consumer, _by_a_reader, _by_a_producer, _by_an_admin, _by_a_command])
async def test_no_client_of_ours_creates_what_it_asks_for(
    kafka: Cluster, ask: Callable[[KafkaSettings, str], Awaitable[None]]
) -> None:
    topic = unique("asked")
    await ask(kafka_settings(kafka.bootstrap_servers), topic)
    assert await there(kafka, topic) == set()


def test_commands_that_are_told_a_topic_that_there_is_not_do_not_create_it(kafka: Cluster) -> None:
    topic, environment = unique("absent"), {"PAYSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
    for command, arguments in ((dead_letters, ["list", "--topic", topic]), (dead_letters, ["show", topic, "0", "0"])):
        done = CliRunner().invoke(command, arguments, env=environment)
        assert done.exit_code == PaystreamError.exit_status
        assert topic in done.output
    assert asyncio.run(there(kafka, topic)) == set()
