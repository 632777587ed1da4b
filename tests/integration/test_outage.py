"""An outage is not a poison pill: what lanes do while a dependency is down, and when the watchdog barks."""

from __future__ import annotations

import asyncio
import time

from aiokafka import TopicPartition
from support.agent import Running, kafka_settings, running, unique
from support.kafka import admin, committed, create_topic, produce, read_topic
from support.payments import Raw
from support.waiting import eventually

from streams.delivery import Outbox, Record
from streams.delivery.status import State
from streams.failure.breaker import Breaker, BreakerState
from streams.failure.errors import DependencyUnavailable, TransientError
from streams.kafka.clients import close_hard, make_producer
from streams.sandbox import Cluster
from streams.settings import FailureSettings
from streams.web.health import Health, judge

PATIENT = FailureSettings(backoff="fixed", initial_interval=0.02, max_retries=0, pause_interval=0.05)
ONE_PROBE = FailureSettings(backoff="fixed", initial_interval=0.02, max_retries=0, pause_interval=900)


class Database:
    """A dependency that can be down, and a handler that needs it in some partitions."""

    def __init__(self, out: str, needed_in: frozenset[int] = frozenset(range(4)), takes: float = 0.0) -> None:
        self.up = False
        self.calls = 0
        self.calling = 0
        self.most_calling = 0
        self.takes = takes
        self._out = out
        self._needed_in = needed_in

    async def store(self, record: Record, outbox: Outbox) -> None:
        outbox.emit(self._out, record.value)
        if record.partition not in self._needed_in:
            return
        self.calls += 1
        self.calling += 1
        self.most_calling = max(self.calling, self.most_calling)
        try:
            await asyncio.sleep(self.takes)
            if not self.up:
                raise DependencyUnavailable("database", "connection refused")
        finally:
            self.calling -= 1


async def topics(kafka: Cluster, partitions: int = 4) -> tuple[str, str]:
    servers, name = kafka.bootstrap_servers, unique("outage")
    for topic in (name, name + ".DLT", name + ".out"):
        await create_topic(servers, topic, partitions)
    return name, name + ".out"


def numbered(count: int, partitions: int = 4) -> list[Raw]:
    return [Raw(number % partitions, b"%d" % number, b"value") for number in range(count)]


def breaker(agent: Running) -> Breaker:
    return agent.source._breakers.of("database")


def in_state(agent: Running, state: State) -> list[int]:
    return sorted(source.partition for source, lane in agent.source.lanes.items() if lane.state is state)


def health(agent: Running, stall_after: float) -> Health:
    assert not agent.failures, agent.failures
    statuses = [lane.status() for lane in agent.source.lanes.values()]
    return judge(statuses, agent.source._breakers.statuses(), joined=agent.source.joined, stall_after=stall_after)


async def stays_alive(agent: Running, seconds: float, stall_after: float) -> None:
    """Look many times for as long as a stuck lane would have needed to be noticed, and longer."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        now = health(agent, stall_after)
        assert now.live, now.reasons
        await asyncio.sleep(0.02)


# -- breakers ------------------------------------------------------------------------------------------


async def test_partitions_that_need_it_wait_others_go_on_and_all_is_made_up_for_by_itself(kafka: Cluster) -> None:
    source, out = await topics(kafka)
    await produce(kafka.bootstrap_servers, source, numbered(40))
    database = Database(out, needed_in=frozenset({0, 1, 2}))
    async with (
        running(kafka.bootstrap_servers, [source], database.store, failure=PATIENT, actors=4) as agent,
        admin(kafka.bootstrap_servers) as client,
    ):

        async def others_done() -> bool:
            return await committed(client, agent.source.group, source) == {3: 10}

        await eventually(others_done, "the partition that does not need it to be finished")
        await eventually(lambda: database.calls > 20, "many probes")
        assert await committed(client, agent.source.group, source) == {3: 10}
        status = breaker(agent).status()
        assert (status.reason, status.times_opened) == ("database is unavailable: connection refused", 1)
        assert agent.source.meter._monitor.metric_counts["breaker.database.opened"] == 1
        judged = health(agent, stall_after=30)
        assert (judged.live, judged.ready) == (True, False)
        assert any("database is down" in reason and "connection refused" in reason for reason in judged.reasons)

        database.up = True
        await agent.consumed()
        assert breaker(agent).state is BreakerState.CLOSED
        assert health(agent, stall_after=30) == Health(live=True, ready=True, reasons=())
        assert agent.source.meter.tally.processed == 40
    assert await read_topic(kafka.bootstrap_servers, source + ".DLT") == []
    done = await read_topic(kafka.bootstrap_servers, out)
    for partition in range(4):
        assert [int(each.key) for each in done if each.partition == partition] == list(range(partition, 40, 4))


async def test_exactly_one_lane_of_the_worker_probes_at_a_time_and_not_faster_than_the_interval(
    kafka: Cluster,
) -> None:
    source, out = await topics(kafka)
    await produce(kafka.bootstrap_servers, source, numbered(4))
    database = Database(out, takes=0.01)
    async with running(kafka.bootstrap_servers, [source], database.store, failure=PATIENT, actors=4) as agent:
        await eventually(lambda: in_state(agent, State.PAUSED) == [0, 1, 2, 3], "all lanes to have tried once")
        assert not database.calling
        database.most_calling, calls, began = 0, database.calls, time.monotonic()
        await eventually(lambda: database.calls >= calls + 10, "ten probes")
        assert database.most_calling == 1
        assert time.monotonic() - began >= 9 * PATIENT.pause_interval
        database.up = True
        await agent.consumed()


async def test_a_lane_that_is_stopped_while_it_probes_passes_the_probe_on_at_once(kafka: Cluster) -> None:
    source, out = await topics(kafka)
    await produce(kafka.bootstrap_servers, source, numbered(4))
    database = Database(out)
    async with running(kafka.bootstrap_servers, [source], database.store, failure=ONE_PROBE, actors=4) as agent:
        await eventually(lambda: in_state(agent, State.PAUSED) == [0, 1, 2, 3], "all to wait")
        database.takes = 3_600  # the probe hangs
        breaker(agent)._probe_at = 0  # as if the fifteen minutes were over
        breaker(agent)._wake()
        await eventually(lambda: database.calling == 1, "the probe")
        (first,) = in_state(agent, State.HANDLING)
        database.up, database.takes = True, 0
        await agent.source.lanes[TopicPartition(source, first)].stop(grace=0)
        await eventually(lambda: breaker(agent).state is BreakerState.CLOSED, "another to probe", seconds=5)
        assert not agent.failures


async def test_a_rebalance_during_an_outage_does_not_leave_the_worker_unready_for_ever(kafka: Cluster) -> None:
    source, out = await topics(kafka)
    await produce(kafka.bootstrap_servers, source, numbered(4))
    database = Database(out)
    async with running(kafka.bootstrap_servers, [source], database.store, failure=PATIENT, actors=4) as agent:
        await eventually(lambda: breaker(agent).status().waiting >= 3, "all lanes to have tried once")
        partitions = list(agent.source.lanes)
        await agent.source.revoke()
        database.up = True
        agent.source.assign(partitions)
        await agent.consumed()
        assert breaker(agent).state is BreakerState.CLOSED
        assert health(agent, stall_after=30).ready


async def test_a_probe_that_fails_for_another_reason_does_not_leave_the_breaker_open_for_ever(kafka: Cluster) -> None:
    source, _ = await topics(kafka, 1)
    await produce(kafka.bootstrap_servers, source, numbered(1, 1))
    errors = [DependencyUnavailable("database", "connection refused"), TransientError("a deadlock")]

    def recover(record: Record, outbox: Outbox) -> None:
        if errors:
            raise errors.pop(0)

    failure = PATIENT.model_copy(update={"max_retries": 3})
    async with running(kafka.bootstrap_servers, [source], recover, failure=failure) as agent:
        await agent.consumed()
        assert agent.source.meter.tally.processed == 1
        assert breaker(agent).state is BreakerState.CLOSED


async def test_a_record_that_needs_two_dependencies_leaves_neither_breaker_open(kafka: Cluster) -> None:
    source, _ = await topics(kafka, 1)
    await produce(kafka.bootstrap_servers, source, numbered(1, 1))
    errors = [DependencyUnavailable("database"), DependencyUnavailable("smtp"), DependencyUnavailable("smtp")]

    def recover(record: Record, outbox: Outbox) -> None:
        if errors:
            raise errors.pop(0)

    async with running(kafka.bootstrap_servers, [source], recover, failure=PATIENT) as agent:
        await agent.consumed()
        assert agent.source.meter.tally.processed == 1
        states = {each.dependency: each.state for each in agent.source._breakers.statuses()}
        assert states == {"database": BreakerState.CLOSED, "smtp": BreakerState.CLOSED}


async def test_once_it_is_back_a_record_that_fails_on_its_own_account_is_no_outage(kafka: Cluster) -> None:
    source, out = await topics(kafka, 2)
    await produce(kafka.bootstrap_servers, source, numbered(2, 2))
    database = Database(out)

    async def store(record: Record, outbox: Outbox) -> None:
        await database.store(record, outbox)
        if record.partition == 1:
            raise TransientError("a constraint is violated")

    failure = PATIENT.model_copy(update={"max_retries": 3})
    async with running(kafka.bootstrap_servers, [source], store, failure=failure, actors=2) as agent:
        await eventually(lambda: database.calls > 5, "both to have failed, and some probes")
        database.up = True
        await agent.consumed()
        tally = agent.source.meter.tally
        assert (tally.processed, tally.dead_lettered) == (1, 1)
        assert breaker(agent).status().times_opened == 1


# -- the watchdog --------------------------------------------------------------------------------------

STALL = 0.6
"""Seconds; shorter than the second for which a lane waits for records."""
QUIET = 2.0
"""A lane has many chances to be taken for stuck in that time."""


async def test_a_handler_that_never_comes_back_is_found_out(kafka: Cluster) -> None:
    source, out = await topics(kafka, 1)
    await produce(kafka.bootstrap_servers, source, numbered(1, 1))
    database = Database(out, takes=3_600)
    async with running(kafka.bootstrap_servers, [source], database.store, stop_timeout=0.1) as agent:
        await eventually(lambda: database.calling, "the handler to hang")
        assert health(agent, STALL).live
        (reason,) = await eventually(
            lambda: () if health(agent, STALL).live else health(agent, STALL).reasons, "it to be found out"
        )
        assert f"{source}-0 has got nowhere for" in reason
        assert "while handling" in reason


async def test_an_idle_topic_and_one_read_to_its_end_are_no_standstill(kafka: Cluster) -> None:
    source, out = await topics(kafka, 2)
    await produce(kafka.bootstrap_servers, source, numbered(1, 2))
    database = Database(out)
    database.up = True
    async with running(kafka.bootstrap_servers, [source], database.store) as agent:
        await agent.consumed()
        await stays_alive(agent, QUIET, STALL)


async def test_neither_back_off_nor_an_open_breaker_is_a_standstill(kafka: Cluster) -> None:
    source, _ = await topics(kafka, 2)
    await produce(kafka.bootstrap_servers, source, numbered(2, 2))
    failure = FailureSettings(backoff="fixed", initial_interval=900, max_elapsed=9_000, pause_interval=900)

    def fail(record: Record, outbox: Outbox) -> None:
        raise KeyError if record.partition else DependencyUnavailable("database")

    async with running(kafka.bootstrap_servers, [source], fail, failure=failure) as agent:
        await eventually(
            lambda: in_state(agent, State.PAUSED) == [0] and in_state(agent, State.RETRYING) == [1], "both"
        )
        await stays_alive(agent, QUIET, STALL)


async def test_markers_and_records_that_are_not_committed_are_no_work_left_undone(kafka: Cluster) -> None:
    source, out = await topics(kafka, 3)
    database = Database(out)
    database.up = True
    settings = kafka_settings(kafka.bootstrap_servers)
    writers = [make_producer(settings, transactional_id=unique("writer")) for _ in range(3)]
    async with running(kafka.bootstrap_servers, [source], database.store) as agent:
        await eventually(lambda: len(in_state(agent, State.FETCHING)) == 3, "the lanes")
        try:
            for partition, writer in enumerate(writers):
                await writer.start()
                await writer.begin_transaction()
                await writer.send_and_wait(source, b"value", partition=partition)
            await writers[0].commit_transaction()  # a record, and a marker nobody can read
            await writers[1].abort_transaction()  # nothing to read at all
            # ... and the third one stays open.
            await eventually(lambda: agent.source.meter.tally.processed == 1, "what was committed")

            def ends_seen() -> bool:
                return sorted(lane.status().end_offset or 0 for lane in agent.source.lanes.values()) == [1, 2, 2]

            await eventually(ends_seen, "the lanes to know that there is more in the log")

            def lags() -> list[int | None]:
                return [agent.source.lanes[TopicPartition(source, each)].status().lag for each in range(3)]

            await eventually(lambda: lags() == [0, 0, 1], "markers to be known for what they are")
            # An empty fetch, which is the sign of life, takes a second.
            await stays_alive(agent, 2 * QUIET, STALL + 2.0)
        finally:
            for writer in writers:
                await close_hard(writer)


async def test_the_probe_after_a_long_outage_is_no_standstill(kafka: Cluster) -> None:
    source, out = await topics(kafka, 2)
    await produce(kafka.bootstrap_servers, source, numbered(2, 2))
    database = Database(out)
    async with running(
        kafka.bootstrap_servers, [source], database.store, failure=ONE_PROBE, actors=2, stop_timeout=0.1
    ) as agent:
        await eventually(lambda: in_state(agent, State.PAUSED) == [0, 1], "both to wait")
        await stays_alive(agent, 2 * STALL, STALL)  # the outage takes longer than a standstill may
        database.takes = STALL / 2  # the probe, however, does not
        breaker(agent)._probe_at = 0
        breaker(agent)._wake()
        await eventually(lambda: database.calling == 1, "the probe")
        now = health(agent, STALL)
        assert now.live, now.reasons


async def test_a_batch_of_many_slow_records_is_no_standstill(kafka: Cluster) -> None:
    source, out = await topics(kafka, 1)
    await produce(kafka.bootstrap_servers, source, numbered(40, 1))
    database = Database(out, takes=0.1)
    database.up = True
    async with running(kafka.bootstrap_servers, [source], database.store) as agent:
        await eventually(lambda: database.calls, "the batch to be in hand")
        await stays_alive(agent, 3.0, stall_after=2.0)
        assert database.calls < 40, "it should have been at work all the time"
        assert agent.source.meter.tally.processed, "and to commit on the way"
