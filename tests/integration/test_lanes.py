"""Lanes on a real broker: order, batches, outputs, and what happens to an owner that has been succeeded."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections import Counter

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.partitioner import DefaultPartitioner
from support.agent import kafka_settings, lane_alone, running, unique
from support.kafka import (
    admin,
    committed,
    create_topic,
    end_offsets,
    make_anew,
    produce,
    read_topic,
    wait_until_consumed,
)
from support.payments import Raw
from support.waiting import eventually

from streams.delivery import Outbox, Record, Skip
from streams.delivery.status import State
from streams.failure.errors import LaneFenced, PaystreamError, PermanentError, TransientError
from streams.kafka.clients import close_hard, make_producer
from streams.sandbox import Cluster
from streams.settings import FailureSettings, Guarantee

_NEVER = FailureSettings(backoff="fixed", initial_interval=300, max_elapsed=900)


def _numbered(count: int, partitions: int = 2) -> list[Raw]:
    return [Raw(number % partitions, b"%d" % number, b"value %d" % number) for number in range(count)]


async def _topics(kafka: Cluster, partitions: int = 2, outputs: int | None = None) -> tuple[str, str]:
    """Create an input, its dead-letter topic and an output."""
    servers, name = kafka.bootstrap_servers, unique("lanes")
    await create_topic(servers, name + ".DLT", partitions, max_message_bytes="2097152")
    return (
        await create_topic(servers, name, partitions, max_message_bytes="2097152"),
        await create_topic(servers, name + ".out", outputs or partitions, max_message_bytes="2097152"),
    )


def _keys(records: list[ConsumerRecord], partition: int) -> list[bytes]:
    return [each.key for each in records if each.partition == partition]


async def _committed(kafka: Cluster, group: str, topic: str) -> dict[int, int]:
    async with admin(kafka.bootstrap_servers) as client:
        return await committed(client, group, topic)


# -- order and batches -------------------------------------------------------------------------------


async def test_the_order_of_a_partition_holds_however_many_actors_there_are(kafka: Cluster) -> None:
    source, out = await _topics(kafka)
    sent = _numbered(2_000)
    await produce(kafka.bootstrap_servers, source, sent)
    busy: Counter[int] = Counter()

    async def slowly(record: Record, outbox: Outbox) -> None:
        assert not busy[record.partition], "two batches of one partition were handled at once"
        busy[record.partition] += 1
        if record.offset % 10 == 0:
            await asyncio.sleep(0)
        outbox.emit(out, record.value)
        busy[record.partition] -= 1

    async with running(kafka.bootstrap_servers, [source], slowly, actors=4, max_batch_records=20) as agent:
        await agent.consumed()
        assert max(len(batch) for batch in agent.batches) <= 20
    done = await read_topic(kafka.bootstrap_servers, out)
    for partition in range(2):
        assert _keys(done, partition) == [each.key for each in sent if each.partition == partition]


async def test_every_record_ends_in_exactly_one_way_and_the_counters_add_up(kafka: Cluster) -> None:
    source, out = await _topics(kafka)
    await produce(kafka.bootstrap_servers, source, _numbered(900))

    def by_thirds(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, record.value)
        match int(record.key or b"0") % 3:
            case 1:
                raise Skip("not ours")
            case 2:
                raise PermanentError("never")

    async with running(kafka.bootstrap_servers, [source], by_thirds) as agent:
        await agent.consumed()
        tally = agent.source.meter.tally
    assert (tally.processed, tally.dead_lettered, dict(tally.skipped)) == (300, 300, {"not ours": 300})
    assert tally.consumed == 900
    done, dead = [await read_topic(kafka.bootstrap_servers, each) for each in (out, source + ".DLT")]
    assert {int(each.key) % 3 for each in done} == {0}
    assert {int(each.key) % 3 for each in dead} == {2}
    assert len(done) == len(dead) == 300


async def test_a_failing_records_outputs_are_taken_back_and_its_batch_goes_on_from_there(kafka: Cluster) -> None:
    source, out = await _topics(kafka, 1)
    await produce(kafka.bootstrap_servers, source, _numbered(10, 1))
    calls: Counter[bytes] = Counter()

    def twice(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, record.value)
        calls[record.key or b""] += 1
        if record.key == b"5" and calls[b"5"] < 3:
            raise TransientError("not yet")

    async with running(kafka.bootstrap_servers, [source], twice) as agent:
        await agent.consumed()
    assert calls == {b"%d" % number: 3 if number == 5 else 1 for number in range(10)}
    assert _keys(await read_topic(kafka.bootstrap_servers, out), 0) == [b"%d" % number for number in range(10)]


# -- outputs -----------------------------------------------------------------------------------------


async def test_outputs_without_headers_or_with_any_sequence_of_them_are_written(kafka: Cluster) -> None:
    source, out = await _topics(kafka, 1)
    await produce(kafka.bootstrap_servers, source, _numbered(1, 1))

    def three(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, b"none")
        outbox.emit(out, b"a tuple", headers=(("name", b"value"),))
        outbox.emit(out, None, key=b"a tombstone", headers=[("name", b"value")])

    async with running(kafka.bootstrap_servers, [source], three) as agent:
        await agent.consumed()
    found = await read_topic(kafka.bootstrap_servers, out)
    assert [(each.key, each.value, list(each.headers)) for each in found] == [
        (b"0", b"none", []),
        (b"0", b"a tuple", [("name", b"value")]),
        (b"a tombstone", None, [("name", b"value")]),
    ]


async def test_where_partition_counts_differ_the_key_decides_as_in_java(kafka: Cluster) -> None:
    source, out = await _topics(kafka, 2, outputs=5)
    await produce(kafka.bootstrap_servers, source, _numbered(200))

    def copy(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, record.value)

    async with running(kafka.bootstrap_servers, [source], copy) as agent:
        await agent.consumed()
    java = DefaultPartitioner()
    found = await read_topic(kafka.bootstrap_servers, out)
    assert len(found) == 200
    assert all(each.partition == java(each.key, list(range(5)), list(range(5))) for each in found)


async def test_outputs_larger_than_one_producer_batch_are_written_in_order(kafka: Cluster) -> None:
    source, out = await _topics(kafka, 1)
    await produce(kafka.bootstrap_servers, source, _numbered(40, 1))

    def enlarge(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, b"x" * 300_000)  # twelve megabytes in one transaction

    async with running(kafka.bootstrap_servers, [source], enlarge) as agent:
        await agent.consumed()
        assert len(agent.batches) == 1
    assert _keys(await read_topic(kafka.bootstrap_servers, out), 0) == [b"%d" % number for number in range(40)]


async def test_an_output_that_no_broker_would_take_is_a_dead_letter_of_its_record(kafka: Cluster) -> None:
    source, out = await _topics(kafka, 1)
    await produce(kafka.bootstrap_servers, source, _numbered(2, 1))

    def enlarge(record: Record, outbox: Outbox) -> None:
        # Noise: what brokers compare with their limit is compressed.
        outbox.emit(out, random.Random(0).randbytes(3_000_000) if record.key == b"0" else b"xxx")

    async with running(kafka.bootstrap_servers, [source], enlarge) as agent:
        await agent.consumed()
    (letter,) = await read_topic(kafka.bootstrap_servers, source + ".DLT")
    assert letter.key == b"0"
    assert dict(letter.headers)["x-error-stage"] == b"publish"
    assert _keys(await read_topic(kafka.bootstrap_servers, out), 0) == [b"1"]


@pytest.mark.parametrize("guarantee", list(Guarantee))
async def test_an_output_topic_that_does_not_exist_halts_the_lane_and_is_named(
    kafka: Cluster, guarantee: Guarantee
) -> None:
    source, _ = await _topics(kafka, 1)
    missing = unique("missing")
    await produce(kafka.bootstrap_servers, source, _numbered(1, 1))

    def misdirect(record: Record, outbox: Outbox) -> None:
        outbox.emit(missing, b"value")

    # At most once has given the record up, so its lane halts just once: for long enough to be seen.
    failure = FailureSettings(pause_interval=900 if guarantee is Guarantee.AT_MOST_ONCE else 0.05)
    async with running(kafka.bootstrap_servers, [source], misdirect, guarantee=guarantee, failure=failure) as agent:

        def reasons() -> list[str]:
            return [lane.reason for lane in agent.source.lanes.values() if lane.state is State.HALTED]

        (reason,) = await eventually(reasons, "the lane to halt", seconds=20)
        assert missing in reason, f"whoever reads {reason!r} at night has to know which topic"
        if guarantee is not Guarantee.AT_MOST_ONCE:
            assert await _committed(kafka, agent.source.group, source) == {}
            await create_topic(kafka.bootstrap_servers, missing, 1)
            await agent.consumed()  # it goes on by itself
        assert not agent.failures


# -- where a lane starts -----------------------------------------------------------------------------


async def test_a_lane_goes_on_where_its_predecessor_committed(kafka: Cluster) -> None:
    source, out = await _topics(kafka)
    group = unique("group")

    def copy(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, record.value)

    for start in (0, 100, 200):
        await produce(kafka.bootstrap_servers, source, _numbered(300)[start : start + 100])
        async with running(kafka.bootstrap_servers, [source], copy, group=group) as agent:
            await agent.consumed()
            assert agent.source.meter.tally.consumed == 100
    assert len(await read_topic(kafka.bootstrap_servers, out)) == 300


async def test_a_log_that_ends_before_the_committed_offset_halts_the_lane_for_somebody_to_decide(
    kafka: Cluster,
) -> None:
    source, out = await _topics(kafka, 1)
    group = unique("group")
    await produce(kafka.bootstrap_servers, source, _numbered(5, 1))
    await _commit(kafka, group, TopicPartition(source, 0), 1_000)

    def copy(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, record.value)

    async with running(kafka.bootstrap_servers, [source], copy, group=group) as agent:

        def reasons() -> list[str]:
            return [lane.reason for lane in agent.source.lanes.values() if lane.state is State.HALTED]

        (reason,) = await eventually(reasons, "the lane to halt")
        assert not agent.failures
    assert "is to go on at offset 1000, but the log ends at 5" in reason
    assert await _committed(kafka, group, source) == {0: 1_000}
    assert await read_topic(kafka.bootstrap_servers, out) == []


async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(kafka: Cluster) -> None:
    source, out = await _topics(kafka, 1)
    group = unique("group")

    def copy(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, record.value)

    for records in (3, 5):  # more than there were: the former offset would look right
        await produce(kafka.bootstrap_servers, source, _numbered(records, 1))
        async with running(kafka.bootstrap_servers, [source], copy, group=group) as agent:
            await agent.consumed()
        await make_anew(kafka.bootstrap_servers, source)
    assert len(await read_topic(kafka.bootstrap_servers, out)) == 3 + 5


async def test_records_deleted_before_they_were_read_are_reported(
    kafka: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    source, out = await _topics(kafka, 1)
    group = unique("group")
    await produce(kafka.bootstrap_servers, source, _numbered(5, 1))
    await _commit(kafka, group, TopicPartition(source, 0), 1)
    async with admin(kafka.bootstrap_servers) as client:
        await client.delete_records({TopicPartition(source, 0): RecordsToDelete(before_offset=3)})

    def copy(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, record.value)

    async with running(kafka.bootstrap_servers, [source], copy, group=group) as agent:
        await agent.consumed()
    assert "offsets 1 to 2 were deleted from the log before they were read" in caplog.text
    assert len(await read_topic(kafka.bootstrap_servers, out)) == 2


async def _commit(kafka: Cluster, group: str, partition: TopicPartition, offset: int) -> None:
    client = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, group_id=group, enable_auto_commit=False)
    await client.start()
    try:
        client.assign([partition])
        await client.commit({partition: offset})
    finally:
        await client.stop()


# -- owners that have been succeeded -----------------------------------------------------------------


async def _succeed(kafka: Cluster, group: str, source: str, out: str) -> list[PaystreamError]:
    """Let an owner be succeeded while its handler runs; return what it has failed with then."""
    partition = TopicPartition(source, 0)
    held, go_on = asyncio.Event(), asyncio.Event()

    async def slow(record: Record, outbox: Outbox) -> None:
        held.set()
        await go_on.wait()
        outbox.emit(out, b"old owner")

    def quick(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, b"new owner")

    async with lane_alone(kafka.bootstrap_servers, partition, slow, group=group) as old:
        await held.wait()
        async with lane_alone(kafka.bootstrap_servers, partition, quick, group=group):
            await wait_until_consumed(kafka.bootstrap_servers, group, source)
            go_on.set()
            await eventually(lambda: old.failures, "the old owner to find out")
    return old.failures


async def test_an_owner_that_was_succeeded_commits_nothing_of_what_it_had_in_hand(kafka: Cluster) -> None:
    (source, out), group = await _topics(kafka, 1), unique("group")
    await produce(kafka.bootstrap_servers, source, _numbered(10, 1))
    (failure,) = await _succeed(kafka, group, source, out)
    assert isinstance(failure, LaneFenced)
    assert f"{source}-0" in str(failure)
    assert [each.value for each in await read_topic(kafka.bootstrap_servers, out)] == [b"new owner"] * 10
    assert await _committed(kafka, group, source) == {0: 10}


async def test_the_failure_of_an_owner_that_was_succeeded_is_reported_by_its_lane_alone(kafka: Cluster) -> None:
    (source, out), forgotten = await _topics(kafka, 1), list[str]()
    await produce(kafka.bootstrap_servers, source, _numbered(10, 1))
    asyncio.get_running_loop().set_exception_handler(lambda _, context: forgotten.append(str(context)))
    assert await _succeed(kafka, unique("group"), source, out)
    gc.collect()  # only then asyncio knows that nobody will ever look at a future
    assert forgotten == []


async def test_a_successor_settles_the_transaction_that_a_dead_owner_left_open(kafka: Cluster) -> None:
    source, out = await _topics(kafka, 1)
    group, partition = unique("group"), TopicPartition(source, 0)
    await produce(kafka.bootstrap_servers, source, _numbered(10, 1))
    # The dead owner: it wrote, and died before it could commit or abort.
    dead = make_producer(kafka_settings(kafka.bootstrap_servers), transactional_id=f"{group}-{source}-0")
    await dead.start()
    await dead.begin_transaction()
    await dead.send_and_wait(out, b"never to be seen", partition=0)
    await close_hard(dead)
    assert await end_offsets(kafka.bootstrap_servers, out, "read_committed") == {0: 0}

    def copy(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, record.value)

    async with lane_alone(kafka.bootstrap_servers, partition, copy, group=group):
        await wait_until_consumed(kafka.bootstrap_servers, group, source)
    # Long before the broker itself would have aborted it, and so have let readers go on.
    assert _keys(await read_topic(kafka.bootstrap_servers, out, seconds=5), 0) == [b"%d" % each for each in range(10)]


# -- stopping ----------------------------------------------------------------------------------------


async def test_a_lane_that_is_stopped_while_it_backs_off_is_dead_at_once(kafka: Cluster) -> None:
    source, _ = await _topics(kafka, 1)
    group, partition = unique("group"), TopicPartition(source, 0)
    await produce(kafka.bootstrap_servers, source, _numbered(10, 1))

    def fail_on_5(record: Record, outbox: Outbox) -> None:
        if record.key == b"5":
            raise TransientError("not now")

    async with lane_alone(kafka.bootstrap_servers, partition, fail_on_5, group=group, failure=_NEVER) as alone:
        await eventually(lambda: alone.lane.state is State.RETRYING, "the back-off")
        started = time.monotonic()
        await alone.lane.stop(grace=60)
        assert time.monotonic() - started < 5
        assert alone.lane.state is State.STOPPED
        assert not alone.failures
    assert await _committed(kafka, group, source) == {0: 5}


async def test_a_lane_that_is_stopped_finishes_the_batch_in_hand_if_its_grace_allows(kafka: Cluster) -> None:
    source, out = await _topics(kafka, 1)
    group, partition = unique("group"), TopicPartition(source, 0)
    await produce(kafka.bootstrap_servers, source, _numbered(10, 1))
    held, go_on = asyncio.Event(), asyncio.Event()

    async def slow(record: Record, outbox: Outbox) -> None:
        held.set()
        await go_on.wait()
        outbox.emit(out, record.value)

    async with lane_alone(kafka.bootstrap_servers, partition, slow, group=group) as alone:
        await held.wait()
        stopping = asyncio.create_task(alone.lane.stop(grace=30))
        await asyncio.wait({stopping}, timeout=0.2)
        assert not stopping.done()
        go_on.set()
        await stopping
    assert await _committed(kafka, group, source) == {0: 10}
    assert len(await read_topic(kafka.bootstrap_servers, out)) == 10


async def test_a_lane_that_is_stopped_drops_a_batch_that_takes_too_long_and_its_actor_passes_it_over(
    kafka: Cluster,
) -> None:
    source, out = await _topics(kafka, 1)
    group, partition = unique("group"), TopicPartition(source, 0)
    await produce(kafka.bootstrap_servers, source, _numbered(10, 1))
    held, go_on, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()
    seen: list[bytes | None] = []

    async def hangs(record: Record, outbox: Outbox) -> None:
        seen.append(record.key)
        held.set()
        await go_on.wait()
        outbox.emit(out, record.value)
        finished.set()

    async with lane_alone(kafka.bootstrap_servers, partition, hangs, group=group) as alone:
        await held.wait()
        await alone.lane.stop(grace=0.1)
        assert alone.lane.state is State.STOPPED
        assert not alone.failures
        go_on.set()
        await finished.wait()
    assert seen == [b"0"], "nothing more of a partition that is somebody else's now"
    assert await _committed(kafka, group, source) == {}
    assert await end_offsets(kafka.bootstrap_servers, out) == {0: 0}


@pytest.mark.parametrize("guarantee", list(Guarantee))
async def test_no_record_is_handled_after_its_partition_is_gone_neither_in_hand_nor_waiting_for_an_actor(
    kafka: Cluster, guarantee: Guarantee
) -> None:
    source, _ = await _topics(kafka, 2)
    await produce(kafka.bootstrap_servers, source, _numbered(20))
    held, go_on = asyncio.Event(), asyncio.Event()
    seen: list[bytes | None] = []

    async def hangs(record: Record, outbox: Outbox) -> None:
        seen.append(record.key)
        held.set()
        await go_on.wait()

    async with running(
        kafka.bootstrap_servers, [source], hangs, guarantee=guarantee, stop_timeout=0.1, actors=1
    ) as agent:
        await held.wait()
        states = [State.HANDLING, State.HANDLING]
        await eventually(lambda: [lane.state for lane in agent.source.lanes.values()] == states, "two batches")
        await agent.source.revoke()
        go_on.set()
        await agent.caught_up()
    assert len(seen) == 1, "only the record that was in hand already"
