"""Batches that nobody can read: one lane halts before them, and 'lanes skip' passes over exactly them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from support.agent import Running, running, unique
from support.damage import (
    ATTRIBUTES_AT,
    COUNT_AT,
    DELTA_AT,
    LENGTH_AT,
    RECORDS_AT,
    Stored,
    change,
    flip,
    segment,
    stored,
)
from support.kafka import admin, committed, create_topic, produce, read_topic
from support.payments import Raw
from support.waiting import eventually

from streams.delivery import Outbox, Record
from streams.delivery.status import State
from streams.kafka.damage import DamagedBatch
from streams.sandbox import Cluster
from streams.settings import FailureSettings, Guarantee

_SIZE = 5
"""Records in each batch: the second, with the offsets 5 to 9, is damaged; the third and fourth are not."""
_BATCHES = 4
_SOON = FailureSettings(backoff="fixed", initial_interval=0.02, max_retries=0, pause_interval=0.2)
Damage = Callable[[Path, Stored], None]


def in_header(at: int, value: int) -> Damage:
    """Write a byte, and a checksum that is right."""
    return lambda file, batch: change(file, batch, lambda data: data.__setitem__(at, value), mend_checksum=True)


def codec(number: int) -> Damage:
    return in_header(ATTRIBUTES_AT + 1, number)


def garbled(file: Path, batch: Stored) -> None:
    def alter(data: bytearray) -> None:
        data[RECORDS_AT:] = b"\xff" * (len(data) - RECORDS_AT)

    change(file, batch, alter, mend_checksum=True)


def last_garbled(file: Path, batch: Stored) -> None:
    def alter(data: bytearray) -> None:
        data[-8:] = b"\xff" * 8

    change(file, batch, alter, mend_checksum=True)


def byte(at: int) -> Damage:
    """Flip a byte, and leave the checksum as it was."""
    return lambda file, batch: flip(file, batch, at)


async def damaged_topic(kafka: Cluster, damage: Damage | None) -> str:
    """Write batches to the first of two partitions, and damage the second of these."""
    servers = kafka.bootstrap_servers
    topic = await create_topic(servers, unique("damaged"), 2)
    await create_topic(servers, topic + ".DLT", 2)
    await create_topic(servers, topic + ".out", 2)
    for first in range(0, _BATCHES * _SIZE, _SIZE):
        await produce(servers, topic, numbered(range(first, first + _SIZE)))
    await produce(servers, topic, numbered(range(100, 100 + _SIZE), 1))
    if damage is not None:
        damage(segment(kafka, topic), stored(segment(kafka, topic))[1])
    return topic


def numbered(numbers: range, partition: int = 0) -> list[Raw]:
    return [Raw(partition, b"%d" % number, b"value of %d" % number) for number in numbers]


def copying(topic: str) -> Callable[[Record, Outbox], None]:
    return lambda record, outbox: outbox.emit(topic + ".out", record.value)


async def copied(kafka: Cluster, topic: str, partition: int = 0) -> list[int]:
    done = await read_topic(kafka.bootstrap_servers, topic + ".out")
    return [int(each.key) for each in done if each.partition == partition]


async def halted(agent: Running, topic: str) -> DamagedBatch:
    """Wait until the lane has halted before what it cannot read, with the other one done; return what that is."""
    place = TopicPartition(topic, 0)

    def found() -> DamagedBatch | None:
        assert not agent.failures, agent.failures
        lane = agent.source.lanes.get(place)
        return agent.source.damaged.of(place) if lane is not None and lane.state is State.HALTED else None

    damaged = await eventually(found, "the lane to halt before what it cannot read")
    assert damaged is not None
    reason = agent.source.lanes[place].reason
    assert f"paystream lanes skip {topic} 0" in reason or not reason, reason
    return damaged


async def stands_at(kafka: Cluster, agent: Running, topic: str, offset: int) -> None:
    """Wait until the damaged partition's offset is this one."""
    async with admin(kafka.bootstrap_servers) as client:

        async def there() -> bool:
            return (await committed(client, agent.source.group, topic)).get(0) == offset

        await eventually(there, f"the lane to have committed {offset}")


async def pass_over(agent: Running, topic: str, damaged: DamagedBatch) -> None:
    assert agent.source.give_up(TopicPartition(topic, 0), damaged.first_offset, damaged.next_offset)
    await agent.consumed()


ALL = list(range(_BATCHES * _SIZE))


def without(first: int, last: int) -> list[int]:
    return [number for number in ALL if not first <= number <= last]


# -- one lane halts, all others go on ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "first", "counted", "cause"),
    [
        pytest.param(byte(-2), 5, True, "its checksum is wrong", id="a byte of a value"),
        pytest.param(byte(DELTA_AT), 5, False, "its checksum is wrong", id="where it ends"),
        pytest.param(byte(DELTA_AT + 3), 5, False, "its checksum is wrong", id="where it ends, by a little"),
        pytest.param(codec(7), 5, True, "UnsupportedCodecError", id="an unknown codec"),
        pytest.param(codec(1), 5, True, "BadGzipFile", id="gzip that is none"),
        pytest.param(codec(2), 5, True, "its checksum is right", id="snappy that is none"),
        pytest.param(codec(3), 5, True, "its checksum is right", id="lz4 that is none"),
        pytest.param(codec(4), 5, True, "its checksum is right", id="zstd that is none"),
        pytest.param(garbled, 5, True, "CorruptRecordException", id="records that are none"),
        pytest.param(last_garbled, 9, False, "CorruptRecordException", id="one record that is none"),
        pytest.param(in_header(COUNT_AT + 3, 3), 8, False, "CorruptRecordException", id="fewer records than there are"),
        pytest.param(byte(2), 5, True, "CorruptRecordException", id="where it begins"),
    ],
)
async def test_a_lane_halts_before_what_nobody_can_read_and_passes_over_exactly_that(
    kafka: Cluster, damage: Damage, first: int, counted: bool, cause: str
) -> None:
    topic = await damaged_topic(kafka, damage)
    async with running(kafka.bootstrap_servers, [topic], copying(topic), failure=_SOON) as agent:
        damaged = await halted(agent, topic)
        assert (damaged.first_offset, damaged.next_offset) == (first, 10)
        assert cause in damaged.cause
        await eventually(lambda: agent.source.meter.tally.consumed == first + _SIZE, "all that can be read")
        await stands_at(kafka, agent, topic, first)
        await pass_over(agent, topic, damaged)
        tally = agent.source.meter.tally
        assert tally.skipped == {"lost": damaged.records}
        if counted:
            assert damaged.counted
            assert tally.consumed == tally.processed + damaged.records
        assert agent.source.meter._monitor.messages_active == 0
    assert await copied(kafka, topic) == without(first, 9)
    assert await copied(kafka, topic, 1) == list(range(100, 100 + _SIZE))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(byte(LENGTH_AT), id="a length below zero"),
        pytest.param(in_header(LENGTH_AT + 1, 0x40), id="a length beyond the log's end"),
        pytest.param(byte(LENGTH_AT + 3), id="a length that ends elsewhere"),
    ],
)
async def test_what_a_broker_itself_fails_at_is_passed_over_up_to_where_it_can_be_read_again(
    kafka: Cluster, damage: Damage
) -> None:
    topic = await damaged_topic(kafka, damage)
    async with running(kafka.bootstrap_servers, [topic], copying(topic), failure=_SOON) as agent:
        damaged = await halted(agent, topic)
        # By its length a broker finds the next one: nothing behind it in this segment can be reached.
        assert (damaged.first_offset, damaged.next_offset) == (5, 20)
        assert "up to 15 records" in str(damaged)
        await pass_over(agent, topic, damaged)
        assert agent.source.meter.tally.skipped == {"lost": 15}
    assert await copied(kafka, topic) == list(range(5))


# -- nothing else is passed over -----------------------------------------------------------------------


async def test_what_can_be_read_again_is_read_and_nothing_is_lost(kafka: Cluster) -> None:
    topic = await damaged_topic(kafka, byte(-2))
    async with running(kafka.bootstrap_servers, [topic], copying(topic), failure=_SOON) as agent:
        await halted(agent, topic)
        byte(-2)(segment(kafka, topic), stored(segment(kafka, topic))[1])
        await agent.consumed()
        assert agent.source.damaged.of(TopicPartition(topic, 0)) is None
        assert agent.source.meter.tally.skipped == {}
    assert await copied(kafka, topic) == ALL


async def test_only_what_was_shown_can_be_given_up_and_the_next_one_halts_again(kafka: Cluster) -> None:
    topic = await damaged_topic(kafka, byte(-2))
    file, place = segment(kafka, topic), TopicPartition(topic, 0)
    byte(-2)(file, stored(file)[2])
    async with running(kafka.bootstrap_servers, [topic], copying(topic), failure=_SOON) as agent:
        damaged = await halted(agent, topic)
        assert (damaged.first_offset, damaged.next_offset) == (5, 10)
        for first, behind in ((4, 10), (5, 11), (5, 15), (10, 15)):
            assert not agent.source.give_up(place, first, behind)
        assert not agent.source.give_up(TopicPartition(topic, 1), 5, 10)
        assert agent.source.give_up(place, 5, 10)
        await eventually(lambda: (agent.source.damaged.of(place) or damaged).first_offset == 10, "the next one")
        await stands_at(kafka, agent, topic, 10)
        await pass_over(agent, topic, await halted(agent, topic))
    assert await copied(kafka, topic) == without(5, 14)


async def test_what_is_given_up_is_not_for_a_later_owner(kafka: Cluster) -> None:
    topic, group = await damaged_topic(kafka, byte(-2)), unique("group")
    for _ in range(2):
        async with running(kafka.bootstrap_servers, [topic], copying(topic), failure=_SOON, group=group) as agent:
            await halted(agent, topic)
            await agent.source.revoke()
            assert agent.source.damaged.of(TopicPartition(topic, 0)) is None
            assert not agent.source.give_up(TopicPartition(topic, 0), 5, 10)
    assert await copied(kafka, topic) == list(range(5))


# -- with each guarantee -------------------------------------------------------------------------------


@pytest.mark.parametrize("guarantee", list(Guarantee))
async def test_with_each_guarantee_all_else_is_done_once_and_the_next_owner_goes_on_behind_it(
    kafka: Cluster, guarantee: Guarantee
) -> None:
    topic, group = await damaged_topic(kafka, garbled), unique("group")
    async with running(
        kafka.bootstrap_servers, [topic], copying(topic), failure=_SOON, guarantee=guarantee, group=group
    ) as agent:
        await pass_over(agent, topic, await halted(agent, topic))
        assert agent.source.meter.tally.skipped == {"lost": _SIZE}
    await produce(kafka.bootstrap_servers, topic, numbered(range(20, 25)))
    async with running(
        kafka.bootstrap_servers, [topic], copying(topic), failure=_SOON, guarantee=guarantee, group=group
    ) as agent:
        await agent.consumed()
    assert await copied(kafka, topic) == [*without(5, 9), *range(20, 25)]
