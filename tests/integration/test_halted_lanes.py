"""Lanes that halt: over their dead-letter budget, or because the brokers refuse what they write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from aiokafka import TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from support.agent import Running, running, unique
from support.kafka import admin, committed, create_topic, produce, read_topic
from support.payments import Raw
from support.waiting import eventually

from streams.delivery import Outbox, Record
from streams.delivery.lane import Lane
from streams.delivery.status import State
from streams.failure.errors import PermanentError
from streams.sandbox import Cluster
from streams.settings import FailureSettings, Guarantee
from streams.web.health import judge

# 0.02 s between attempts to write what is refused; budgets of three letters.
THREE_IN_A_ROW = FailureSettings(
    backoff="fixed", initial_interval=0.02, max_retries=0, pause_interval=0.02, max_consecutive_dead_letters=3
)
NEVER_AGAIN = FailureSettings(backoff="fixed", initial_interval=0.02, max_retries=0, pause_interval=900)
_LARGE = b"x" * 3_000


async def topics(
    kafka: Cluster, partitions: int = 2, letters: dict[str, str] | None = None, **output: str
) -> tuple[str, str]:
    """Create an input, and its dead-letter topic and an output with a configuration."""
    servers, name = kafka.bootstrap_servers, unique("halts")
    for topic, config in ((name, {}), (name + ".DLT", letters or {}), (name + ".out", output)):
        await create_topic(servers, topic, partitions, **config)
    return name, name + ".out"


async def configure(kafka: Cluster, topic: str, **config: str) -> None:
    options = {key.replace("_", "."): value for key, value in config.items()}
    async with admin(kafka.bootstrap_servers) as client:
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, options)])


def numbered(count: int, partitions: int = 2) -> list[Raw]:
    return [Raw(number % partitions, b"%d" % number, b"value") for number in range(count)]


async def offsets(kafka: Cluster, agent: Running, topic: str) -> dict[int, int]:
    async with admin(kafka.bootstrap_servers) as client:
        return await committed(client, agent.source.group, topic)


async def halted(agent: Running, partition: int, topic: str) -> Lane:
    def lane() -> Lane | None:
        assert not agent.failures, agent.failures
        found = agent.source.lanes.get(TopicPartition(topic, partition))
        return found if found is not None and found.state is State.HALTED else None

    found = await eventually(lane, f"the lane of partition {partition} to halt")
    assert found is not None
    return found


def keys(records: Sequence[object]) -> list[int]:
    return sorted(int(each.key) for each in records)  # type: ignore[attr-defined]


# -- over the budget -----------------------------------------------------------------------------------


def copier(out: str, bad: Callable[[int], bool]) -> Callable[[Record, Outbox], None]:
    """Make a handler that copies records, but for those whose number is bad."""

    def copy(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, record.value)
        if bad(int(record.key or b"")):
            raise PermanentError("a bad deploy")

    return copy


async def test_over_the_budget_a_lane_halts_after_exactly_the_letters_allowed_and_all_others_go_on(
    kafka: Cluster,
) -> None:
    source, out = await topics(kafka)
    await produce(kafka.bootstrap_servers, source, numbered(200))
    bad = copier(out, lambda number: not number % 2 and number >= 40)  # all of partition 0 from its 20th on
    async with running(kafka.bootstrap_servers, [source], bad, failure=THREE_IN_A_ROW, max_batch_records=7) as agent:
        lane = await halted(agent, 0, source)
        assert lane.reason == (
            "3 records in a row were dead-lettered (the limit is 3); the next would be for: a bad deploy. If it is "
            f"not the records' fault, mend what is; then, or to go on all the same: paystream lanes resume {source} 0"
        )

        async def others_done() -> bool:
            return (await offsets(kafka, agent, source)).get(1) == 100

        await eventually(others_done, "the other partition to be finished")
        assert await offsets(kafka, agent, source) == {0: 23, 1: 100}
        letters = await read_topic(kafka.bootstrap_servers, source + ".DLT", "read_uncommitted")
        assert keys(letters) == [40, 42, 44]
        done = await read_topic(kafka.bootstrap_servers, out)
        assert keys([each for each in done if each.partition == 0]) == list(range(0, 40, 2))
        assert lane is agent.source.lanes[TopicPartition(source, 0)], "it does not go on by itself"
        assert lane.status().state is State.HALTED


async def test_a_resumed_lane_goes_on_with_a_new_budget_and_skips_nothing(kafka: Cluster) -> None:
    source, out = await topics(kafka, 1)
    await produce(kafka.bootstrap_servers, source, numbered(20, 1))
    mended = False
    bad = copier(out, lambda number: number >= 5 and not mended)
    partition = TopicPartition(source, 0)
    async with running(kafka.bootstrap_servers, [source], bad, failure=THREE_IN_A_ROW) as agent:
        for reached in (8, 11):
            lane = await halted(agent, 0, source)
            assert await offsets(kafka, agent, source) == {0: reached}
            if reached == 11:
                mended = True
            assert agent.source.resume(partition)
            assert agent.source.lanes[partition] is not lane
            assert not agent.source.resume(partition), "it goes on already"
        await agent.consumed()
        monitor = agent.source.meter._monitor
        assert monitor.metric_counts["agent.halted"] == 2
    assert keys(await read_topic(kafka.bootstrap_servers, source + ".DLT")) == list(range(5, 11))
    assert keys(await read_topic(kafka.bootstrap_servers, out)) == [*range(5), *range(11, 20)]


async def test_a_record_is_counted_as_active_once_however_often_its_lane_halted(kafka: Cluster) -> None:
    source, out = await topics(kafka, 1)
    await produce(kafka.bootstrap_servers, source, numbered(20, 1))
    mended = False
    bad = copier(out, lambda number: number >= 5 and not mended)
    async with running(kafka.bootstrap_servers, [source], bad, failure=THREE_IN_A_ROW) as agent:
        await halted(agent, 0, source)
        mended = True
        agent.source.resume(TopicPartition(source, 0))
        await agent.consumed()
        await eventually(lambda: agent.source.meter.tally.consumed == 20, "the counts")
        assert agent.source.meter._monitor.messages_active == 0


async def test_the_next_owner_of_a_halted_partition_begins_with_a_new_budget(kafka: Cluster) -> None:
    source, out = await topics(kafka, 1)
    group = unique("group")
    await produce(kafka.bootstrap_servers, source, numbered(20, 1))
    run = partial(running, kafka.bootstrap_servers, [source], group=group, failure=THREE_IN_A_ROW)
    async with run(copier(out, lambda number: number >= 5)) as agent:
        await halted(agent, 0, source)
    async with run(copier(out, lambda number: 5 <= number < 11)) as agent:
        await agent.consumed()
    assert keys(await read_topic(kafka.bootstrap_servers, source + ".DLT")) == list(range(5, 11))


async def test_a_worker_with_a_halted_lane_stops_at_once_and_in_order(kafka: Cluster) -> None:
    source, out = await topics(kafka, 1)
    await produce(kafka.bootstrap_servers, source, numbered(20, 1))
    everything = copier(out, lambda number: True)
    async with running(kafka.bootstrap_servers, [source], everything, failure=THREE_IN_A_ROW) as agent:
        lane = await halted(agent, 0, source)
        started = asyncio.get_running_loop().time()
        await agent.source.revoke()
        assert asyncio.get_running_loop().time() - started < 3, "a batch in hand is waited for longer"
        assert not agent.source.resume(TopicPartition(source, 0)), "it is not ours any more"
        assert lane._task is not None
        assert lane._task.done()
        assert not agent.failures


# -- what the brokers refuse ---------------------------------------------------------------------------

NOTHING_SKIPPED = [Guarantee.EXACTLY_ONCE, Guarantee.AT_LEAST_ONCE]


@pytest.mark.parametrize("guarantee", NOTHING_SKIPPED)
async def test_an_output_too_large_for_its_topic_halts_the_lane_until_the_topic_is_mended(
    kafka: Cluster, guarantee: Guarantee
) -> None:
    source, out = await topics(kafka, max_message_bytes="1000")
    await produce(kafka.bootstrap_servers, source, numbered(40))

    def enlarge(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, _LARGE if record.key == b"10" else b"small")

    async with running(
        kafka.bootstrap_servers, [source], enlarge, guarantee=guarantee, failure=THREE_IN_A_ROW, max_batch_records=1
    ) as agent:
        lane = await halted(agent, 0, source)
        assert out in lane.reason
        assert "MessageSizeTooLarge" in lane.reason
        halts = agent.source.meter._monitor.metric_counts
        await eventually(lambda: halts["agent.halted"] >= 3, "it to have been tried again by itself, and again")

        async def others_done() -> bool:
            return (await offsets(kafka, agent, source)).get(1) == 20

        await eventually(others_done, "the other partition to be finished")
        assert await offsets(kafka, agent, source) == {0: 5, 1: 20}
        await configure(kafka, out, max_message_bytes="1000000")
        await agent.consumed()
    assert keys(await read_topic(kafka.bootstrap_servers, out)) == list(range(40)), "nothing skipped, nothing doubled"
    assert await read_topic(kafka.bootstrap_servers, source + ".DLT") == []


async def test_a_dead_letter_that_the_brokers_refuse_halts_the_lane_and_is_not_lost(kafka: Cluster) -> None:
    source, out = await topics(kafka, 1, letters={"max_message_bytes": "500"})
    await produce(kafka.bootstrap_servers, source, numbered(10, 1))
    bad = copier(out, lambda number: number == 5)
    async with running(kafka.bootstrap_servers, [source], bad, failure=THREE_IN_A_ROW) as agent:
        lane = await halted(agent, 0, source)
        assert source + ".DLT" in lane.reason
        assert await offsets(kafka, agent, source) == {}
        assert await read_topic(kafka.bootstrap_servers, out) == [], "its transaction was aborted"
        await configure(kafka, source + ".DLT", max_message_bytes="1000000")
        await agent.consumed()
    assert keys(await read_topic(kafka.bootstrap_servers, source + ".DLT")) == [5]
    assert keys(await read_topic(kafka.bootstrap_servers, out)) == [0, 1, 2, 3, 4, 6, 7, 8, 9]


async def test_such_a_lane_is_not_ready_but_alive_and_may_be_resumed_before_its_time(kafka: Cluster) -> None:
    source, out = await topics(kafka, 1, max_message_bytes="1000")
    await produce(kafka.bootstrap_servers, source, numbered(1, 1))

    def enlarge(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, _LARGE)

    async with running(kafka.bootstrap_servers, [source], enlarge, failure=NEVER_AGAIN) as agent:
        lane = await halted(agent, 0, source)
        health = judge([lane.status()], [], joined=True, stall_after=0.0)
        assert (health.live, health.ready) == (True, False)
        await configure(kafka, out, max_message_bytes="1000000")
        assert agent.source.resume(TopicPartition(source, 0))

        async def done() -> bool:
            agent.source.resume(TopicPartition(source, 0))  # the broker may go by the old size for a moment
            return await offsets(kafka, agent, source) == {0: 1}

        await eventually(done, "the lane to go on")
        await agent.consumed()


async def test_with_at_least_once_every_attempt_repeats_what_the_other_topics_took(kafka: Cluster) -> None:
    source, out = await topics(kafka, 1, max_message_bytes="1000")
    other = await create_topic(kafka.bootstrap_servers, source + ".other", 1)
    await produce(kafka.bootstrap_servers, source, numbered(1, 1))

    def both(record: Record, outbox: Outbox) -> None:
        outbox.emit(other, b"small")
        outbox.emit(out, _LARGE)

    for guarantee, seen in ((Guarantee.AT_LEAST_ONCE, True), (Guarantee.EXACTLY_ONCE, False)):
        before = len(await read_topic(kafka.bootstrap_servers, other))
        async with running(
            kafka.bootstrap_servers, [source], both, guarantee=guarantee, failure=THREE_IN_A_ROW
        ) as agent:
            counts = agent.source.meter._monitor.metric_counts
            await eventually(lambda counts=counts: counts["agent.halted"] >= 3, "three attempts")  # type: ignore[misc]
        repeats = len(await read_topic(kafka.bootstrap_servers, other)) - before
        assert (repeats >= 3) is seen, f"{guarantee}: {repeats}"


async def test_with_at_most_once_what_is_lost_to_a_refusal_is_counted_as_lost(kafka: Cluster) -> None:
    source, out = await topics(kafka, 1, max_message_bytes="1000")
    await produce(kafka.bootstrap_servers, source, numbered(5, 1))

    def enlarge(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, _LARGE)

    async with running(
        kafka.bootstrap_servers, [source], enlarge, guarantee=Guarantee.AT_MOST_ONCE, failure=THREE_IN_A_ROW
    ) as agent:
        counts = agent.source.meter._monitor.metric_counts
        await eventually(lambda: counts["agent.halted"], "the lane to halt")
        await agent.consumed()
        assert counts["agent.skipped.lost"] == 5
        assert agent.source.meter.tally.consumed == 5
