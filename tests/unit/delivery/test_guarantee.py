from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaConnectionError
from aiokafka.partitioner import murmur2
from aiokafka.protocol.metadata import MetadataResponse_v1
from async_timeout import timeout
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery.guarantee import AtLeastOnce, AtMostOnce, ExactlyOnce, Finisher, Guaranteed
from streams.delivery.outbox import BY_KEY, Output
from streams.kafka.clients import close_hard, make_consumer
from streams.settings import Guarantee, KafkaSettings

KAFKA = KafkaSettings()
NOWHERE = KafkaSettings(bootstrap_servers="127.0.0.1:9")
SOURCE = TopicPartition("orders", 3)

# What Apache Kafka's own tests expect of org.apache.kafka.common.utils.Utils.murmur2 (UtilsTest.java).
JAVA_MURMUR2 = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@asynccontextmanager
async def finisher(counts: dict[str, int], guarantee: Guarantee = Guarantee.EXACTLY_ONCE) -> AsyncIterator[Finisher]:
    """A finisher that has connected to nothing, and knows how many partitions each topic has."""
    consumer = make_consumer(KAFKA, "shop.orders", 1024)
    made = Guaranteed(guarantee).make(KAFKA, consumer, "shop.orders", SOURCE)
    know(made._producer.client.cluster, counts)
    try:
        yield made
    finally:
        await close_hard(made._producer)
        await consumer.stop()


def know(cluster: ClusterMetadata, counts: dict[str, int]) -> None:
    topics = [
        (0, topic, False, [(0, partition, 1, [1], [1]) for partition in range(count)])
        for topic, count in counts.items()
    ]
    cluster.update_metadata(MetadataResponse_v1([(1, "127.0.0.1", 9092, None)], 1, topics))


def output(topic: str, key: bytes | None = b"k", partition: int = 3, value: bytes = b"") -> Output:
    return Output(topic, partition, key, value, ())


@pytest.mark.parametrize(("key", "java"), JAVA_MURMUR2.items())
@pytest.mark.parametrize("count", [1, 3, 6, 100])
async def test_where_counts_differ_the_key_goes_where_a_java_producer_would_send_it(
    key: bytes, java: int, count: int
) -> None:
    # Java: Utils.toPositive(Utils.murmur2(keyBytes)) % numPartitions
    expected = (java & 0x7FFFFFFF) % count
    async with finisher({"orders": 4, "mails": count}) as made:
        assert list(made._by_destination([output("mails", key)])) == [("mails", expected)]


@given(keys=st.lists(st.one_of(st.none(), st.binary(max_size=20)), max_size=20))
def test_where_counts_agree_every_output_keeps_the_partition_of_its_record(keys: list[bytes | None]) -> None:
    async def check() -> None:
        async with finisher({"orders": 4, "mails": 4}) as made:
            destinations = made._by_destination([output("mails", key) for key in keys])
            assert set(destinations) <= {("mails", 3)}

    asyncio.run(check())


@pytest.mark.parametrize(("partition", "expected"), [(0, 0), (1, 1), (2, 0), (3, 1)])
async def test_without_a_key_an_output_still_goes_to_a_partition_that_exists(partition: int, expected: int) -> None:
    async with finisher({"orders": 4, "mails": 2}) as made:
        assert list(made._by_destination([output("mails", None, partition)])) == [("mails", expected)]


async def test_an_empty_key_is_hashed_like_any_other() -> None:
    # murmur2 of no bytes is 275646681.
    async with finisher({"orders": 4, "mails": 7}) as made:
        assert list(made._by_destination([output("mails", b"")])) == [("mails", 275646681 % 7)]


@pytest.mark.parametrize("counts", [{"orders": 4}, {"mails": 9}, {}])
async def test_counts_that_are_not_known_are_taken_to_agree(counts: dict[str, int]) -> None:
    async with finisher(counts) as made:
        assert list(made._by_destination([output("mails")])) == [("mails", 3)]


async def test_outputs_are_grouped_by_destination_and_keep_their_order() -> None:
    outputs = [
        output("mails", value=b"1"),
        output("stock", b"foobar", value=b"2"),
        output("mails", value=b"3"),
        output("stock", b"21", value=b"4"),
        output("stock", b"foobar", value=b"5"),
    ]
    async with finisher({"orders": 4, "mails": 4, "stock": 5}) as made:
        groups = made._by_destination(outputs)
    foobar, twenty_one = ((JAVA_MURMUR2[key] & 0x7FFFFFFF) % 5 for key in (b"foobar", b"21"))
    assert foobar != twenty_one
    values = {place: [each.value for each in group] for place, group in groups.items()}
    assert values == {
        ("mails", 3): [b"1", b"3"],
        ("stock", foobar): [b"2", b"5"],
        ("stock", twenty_one): [b"4"],
    }


@pytest.mark.parametrize(
    ("guarantee", "kind", "transactional_id"),
    [
        (Guarantee.EXACTLY_ONCE, ExactlyOnce, "shop.orders-orders-3"),
        (Guarantee.AT_LEAST_ONCE, AtLeastOnce, None),
        (Guarantee.AT_MOST_ONCE, AtMostOnce, None),
    ],
)
async def test_each_guarantee_has_its_finisher_and_two_owners_of_a_partition_share_a_transactional_id(
    guarantee: Guarantee, kind: type[Finisher], transactional_id: str | None
) -> None:
    async with finisher({}, guarantee) as made:
        assert type(made) is kind
        assert made._producer._txn_manager.transactional_id == transactional_id


async def test_a_finisher_that_never_connected_can_be_closed() -> None:
    async with finisher({}) as made:
        await made.close()
        assert made._producer._closed


async def test_only_what_fences_connects_before_there_is_something_to_write() -> None:
    async with finisher({}, Guarantee.AT_LEAST_ONCE) as made:
        await made.open()
        assert made._client is made._consumer._client, "the one that is connected"
    nowhere = TopicPartition("orders", 0)
    consumer = make_consumer(NOWHERE, "shop.orders", 1024)
    first = Guaranteed(Guarantee.EXACTLY_ONCE).make(NOWHERE, consumer, "shop.orders", nowhere)
    with pytest.raises(KafkaConnectionError):
        await first.open()
    await first.close()
    await consumer.stop()


async def test_what_connects_when_it_is_needed_waits_for_brokers_as_long_as_it_may() -> None:
    consumer = make_consumer(NOWHERE, "shop.orders", 1024)
    made = Guaranteed(Guarantee.AT_LEAST_ONCE).make(NOWHERE, consumer, "shop.orders", SOURCE)
    await made._deliver_alone([])
    with pytest.raises(asyncio.TimeoutError):
        async with timeout(1):
            await made._deliver_alone([output("mails")])
    await made.close()
    await consumer.stop()


@pytest.mark.parametrize(
    ("finishing", "dead_letters", "connections"),
    [
        (Guaranteed(Guarantee.EXACTLY_ONCE), True, 5),
        (Guaranteed(Guarantee.AT_LEAST_ONCE), False, 3),
        (Guaranteed(Guarantee.AT_LEAST_ONCE, emits=False), True, 3),
        (Guaranteed(Guarantee.AT_LEAST_ONCE, emits=False), False, 0),
    ],
)
def test_each_way_to_finish_says_how_many_connections_a_partition_may_need(
    finishing: Guaranteed, dead_letters: bool, connections: int
) -> None:
    assert finishing.connections(3, dead_letters=dead_letters) == connections


async def test_an_output_with_a_key_of_its_own_goes_where_java_would_put_that_key() -> None:
    async with finisher({"orders": 4, "mails": 4}) as made:
        own_key = Output("mails", BY_KEY, b"21", b"", [])
        (destination,) = made._by_destination([own_key])
        assert destination == ("mails", (murmur2(b"21") & 0x7FFFFFFF) % 4)
