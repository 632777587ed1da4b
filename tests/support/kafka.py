"""Writing, reading and measuring whole topics of a real Kafka."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence, Set
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)

from streams.kafka.connecting import adopt
from streams.kafka.topic_admin import apply_topics
from streams.settings import KafkaSettings, Settings
from streams.topics import declared_topics
from support.payments import Raw
from support.waiting import PATIENCE, eventually

# A record of 900 KB fits, and a batch stays below what a topic accepts.
_BATCH_BYTES = 1_000_000


@asynccontextmanager
async def admin(servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Connect an admin client for as long as the block lasts."""
    client = AIOKafkaAdminClient(bootstrap_servers=servers)
    _never_create(client._client, servers)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def consumer(servers: str, isolation: str = "read_committed") -> AsyncIterator[AIOKafkaConsumer]:
    """Connect a consumer without a group for as long as the block lasts."""
    client = AIOKafkaConsumer(
        bootstrap_servers=servers,
        isolation_level=isolation,
        enable_auto_commit=False,
        max_partition_fetch_bytes=4_194_304,
    )
    _never_create(client._client, servers)
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


def _never_create(client: AIOKafkaClient, servers: str) -> None:
    """Keep a client from creating topics by asking for them: the broker of the tests would."""
    adopt(client, KafkaSettings(bootstrap_servers=servers))


# -- topics ------------------------------------------------------------------------------------------


async def create_topic(servers: str, name: str, partitions: int = 4, **config: str) -> str:
    """Create a topic, wait until it can be written to, and return its name.

    Arguments:
        servers: bootstrap address.
        name: of the topic.
        partitions: how many.
        config: Kafka's, with underscores for dots.
    """
    options = {key.replace("_", "."): value for key, value in config.items()}
    async with admin(servers) as client:
        await client.create_topics([NewTopic(name, partitions, 1, topic_configs=options)])
        await _until_led(client, {name: partitions})
    return name


async def recreate_declared_topics(servers: str, settings: Settings) -> None:
    """Delete the pipeline's topics, wait until they are gone, and create them anew.

    Their names are fixed, so this is what keeps tests on one broker apart.
    """
    specs = declared_topics(settings)
    async with admin(servers) as client:
        await _delete(client, {spec.name for spec in specs})
        await apply_topics(KafkaSettings(bootstrap_servers=servers), specs)
        await _until_led(client, {spec.name: spec.partitions for spec in specs})


async def make_anew(servers: str, topic: str, partitions: int = 1) -> None:
    """Delete a topic, wait until it is gone, and create another one of its name."""
    async with admin(servers) as client:
        await _delete(client, {topic})
    await create_topic(servers, topic, partitions)


async def topics_with(servers: str, partitions: int) -> list[str]:
    """Return the topics that have so many partitions."""
    async with admin(servers) as client:
        return sorted(
            shape["topic"] for shape in await client.describe_topics() if len(shape["partitions"]) == partitions
        )


async def delete_topics(servers: str, *names: str) -> None:
    """Delete topics, and wait until they are gone."""
    async with admin(servers) as client:
        await _delete(client, set(names))


async def _delete(client: AIOKafkaAdminClient, names: Set[str]) -> None:
    async def existing() -> set[str]:
        return set(names) & set(await client.list_topics())

    async def gone() -> bool:
        return not await existing()

    if there := await existing():
        await client.delete_topics(sorted(there))
        await eventually(gone, f"{', '.join(sorted(there))} to be gone")


async def _until_led(client: AIOKafkaAdminClient, wanted: Mapping[str, int]) -> None:
    async def led() -> bool:
        found = {
            shape["topic"]: sum(each["leader"] >= 0 for each in shape["partitions"])
            for shape in await client.describe_topics(list(wanted))
        }
        return found == wanted

    await eventually(led, f"{', '.join(wanted)} to have leaders")


# -- writing -----------------------------------------------------------------------------------------


async def produce(servers: str, topic: str, records: Iterable[Raw]) -> None:
    """Write records to their partitions, in order, and return when all are acknowledged."""
    by_partition: dict[int, list[Raw]] = defaultdict(list)
    for record in records:
        by_partition[record.partition].append(record)
    producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True, max_batch_size=_BATCH_BYTES)
    _never_create(producer.client, servers)
    await producer.start()
    try:
        sent = []
        for partition, group in by_partition.items():
            builder = producer.create_batch()
            for record in group:
                fields = {"key": record.key, "value": record.value, "headers": list(record.headers)}
                if builder.append(timestamp=None, **fields) is None:
                    sent.append(await producer.send_batch(builder, topic, partition=partition))
                    builder = producer.create_batch()
                    builder.append(timestamp=None, **fields)
            sent.append(await producer.send_batch(builder, topic, partition=partition))
        for each in sent:
            await each
    finally:
        await producer.stop()


# -- reading -----------------------------------------------------------------------------------------


async def partitions_of(client: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """Return the partitions of a topic."""

    async def known() -> list[int]:
        await client._client.force_metadata_update()
        return sorted(client.partitions_for_topic(topic) or ())

    client._client.add_topic(topic)
    return [TopicPartition(topic, each) for each in await eventually(known, f"metadata of {topic}")]


async def end_offsets(servers: str, topic: str, isolation: str = "read_uncommitted") -> dict[int, int]:
    """Return the offset after the last record of each partition; read_committed stops at an open transaction."""
    async with consumer(servers, isolation) as client:
        ends = await client.end_offsets(await partitions_of(client, topic))
    return {each.partition: end for each, end in ends.items()}


async def read_topic(
    servers: str, topic: str, isolation: str = "read_committed", *, seconds: float = PATIENCE
) -> list[ConsumerRecord]:
    """Read a whole topic, in each partition's order, up to what is its end now.

    A transaction that is still open holds a read_committed reader up: it is waited for.

    Raises:
        AssertionError: the end was not reached in time.
    """
    ends = await end_offsets(servers, topic)
    wanted = {TopicPartition(topic, partition): end for partition, end in ends.items() if end}
    records: list[ConsumerRecord] = []
    if not wanted:
        return records
    async with consumer(servers, isolation) as client:
        client.assign(list(wanted))
        await client.seek_to_beginning()

        async def at_the_end() -> bool:
            fetched = await client.getmany(timeout_ms=200)
            for partition, messages in fetched.items():
                records.extend(each for each in messages if each.offset < wanted[partition])
            return all([await client.position(each) >= end for each, end in wanted.items()])

        await eventually(at_the_end, f"the end of {topic}", seconds=seconds, every=0)
    return records


# -- groups ------------------------------------------------------------------------------------------


async def committed(client: AIOKafkaAdminClient, group: str, topic: str) -> dict[int, int]:
    """Return the offsets that a group has committed, by partition."""
    try:
        offsets = await client.list_consumer_group_offsets(group)
    except (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError, GroupLoadInProgressError):
        return {}  # the broker is still making its topic of offsets, or loading it
    return {each.partition: meta.offset for each, meta in offsets.items() if each.topic == topic and meta.offset >= 0}


async def wait_until_consumed(
    servers: str, group: str, topic: str, ends: Mapping[int, int] | None = None, *, seconds: float = PATIENCE
) -> None:
    """Wait until a group has committed everything that a topic holds (or up to `ends`)."""
    goal = {each: end for each, end in (ends or await end_offsets(servers, topic)).items() if end}
    async with admin(servers) as client:

        async def done() -> bool:
            now = await committed(client, group, topic)
            return all(now.get(each, 0) >= end for each, end in goal.items())

        await eventually(done, f"{group} to consume {topic} up to {goal}", seconds=seconds, every=0.05)


async def members(client: AIOKafkaAdminClient, group: str) -> Sequence[str]:
    """Return the ids of a group's members."""
    responses = await client.describe_consumer_groups([group])
    return [str(member[0]) for response in responses for each in response.groups for member in each[5]]
