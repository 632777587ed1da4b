"""A topic that is deleted and made anew under a lane whose offset is in the database: somebody has to decide."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from aiokafka import TopicPartition
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from support.agent import Running, running, unique
from support.kafka import create_topic, produce
from support.payments import Raw
from support.swapping import PATIENT, POINTS, Swap, handler
from support.waiting import eventually

from streams.database import in_database
from streams.database.engine import Database
from streams.database.in_database import InDatabase
from streams.database.offsets import lane_offsets, seek
from streams.delivery import Outbox, Record
from streams.delivery.status import State
from streams.sandbox import Cluster

OLD, NEW = 40, 90  # more than there were: the former offset looks right


class Notes:
    """Effects that show a repeat: each is a row of its own."""

    async def apply(self, connection: AsyncConnection, effects: Sequence[str]) -> None:
        await connection.execute(text("INSERT INTO notes VALUES (:note)"), [{"note": note} for note in effects])


def note(record: Record, out: Outbox) -> None:
    out.effect((record.key or b"").decode())


async def _noted(database: Database) -> Counter[str]:
    async with database.reading() as connection:
        return Counter((await connection.execute(text("SELECT note FROM notes"))).scalars())


def _records(name: str, count: int) -> list[Raw]:
    return [Raw(0, f"{name} {number}".encode(), b"value") for number in range(count)]


async def _swap(kafka: Cluster, database: Database, old: int = OLD) -> Swap:
    """Make the former topic, and say what the swap is to be."""
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE notes (note VARCHAR(40) NOT NULL)"))
    topic = unique("anew")
    for name in (topic, topic + ".DLT"):
        await create_topic(kafka.bootstrap_servers, name, 1)
    records = _records("old", old)
    await produce(kafka.bootstrap_servers, topic, records)
    return Swap(kafka.bootstrap_servers, topic, [each.key or b"" for each in records[-4:]], _records("new", NEW))


async def _somebody_is_asked(agent: Running) -> None:
    def asked() -> bool:
        assert not agent.failures, agent.failures
        lane = agent.lane(0) if agent.source.lanes else None
        return lane is not None and lane.state is State.HALTED and "paystream database seek" in lane.reason

    await eventually(asked, "the lane to halt and to ask")


async def _until_new_is_done(database: Database) -> None:
    async def done() -> bool:
        found = await _noted(database)
        return all(found[f"new {number}"] for number in range(NEW))

    await eventually(done, "all of the new topic to be handled", every=0.1)
    assert set((await _noted(database)).values()) == {1}


@pytest.mark.parametrize("point", list(POINTS))
async def test_a_lane_halts_before_anything_of_the_new_topic_counts_and_goes_on_where_somebody_says(
    kafka: Cluster, postgresql_database: Database, point: str
) -> None:
    database = postgresql_database
    swap = await _swap(kafka, database)
    async with running(
        kafka.bootstrap_servers, [swap.topic], handler(swap, POINTS[point], note), failure=PATIENT,
        finish=InDatabase(database, Notes()), max_batch_records=10,
    ) as agent:  # fmt: skip
        await POINTS[point][1](swap, agent)
        await _somebody_is_asked(agent)
        assert not [each for each in await _noted(database) if each.startswith("new")]
        await seek(database, agent.source.group, swap.topic, None, None)
        await _until_new_is_done(database)
        assert not agent.failures


async def test_a_topic_that_is_swapped_during_a_commit_is_noticed_with_the_next(
    kafka: Cluster, postgresql_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = postgresql_database
    swap = await _swap(kafka, database)

    def at(point: str) -> None:
        if point == "after_send":  # the effects are written and not committed
            swap.swap_at_once()

    monkeypatch.setattr(in_database, "crash_point", at)
    async with running(
        kafka.bootstrap_servers, [swap.topic], note, failure=PATIENT, finish=InDatabase(database, Notes())
    ) as agent:
        await eventually(swap.done.is_set, "the swap")
        # It has no offset yet if the question was answered after the swap, and none to decide about.
        if (await lane_offsets(database))[0].next_offset is not None:
            await _somebody_is_asked(agent)
            await seek(database, agent.source.group, swap.topic, None, None)
        await _until_new_is_done(database)


async def test_a_lane_without_an_offset_begins_with_the_new_topic_by_itself(
    kafka: Cluster, postgresql_database: Database
) -> None:
    database = postgresql_database
    swap = await _swap(kafka, database, old=4)  # all of them meet the point, so nothing is committed before
    point = POINTS["while handling"]
    async with running(
        kafka.bootstrap_servers, [swap.topic], handler(swap, point, note), failure=PATIENT,
        finish=InDatabase(database, Notes()),
    ) as agent:  # fmt: skip
        await point[1](swap, agent)
        await _until_new_is_done(database)
        assert agent.source.lanes[TopicPartition(swap.topic, 0)].state is not State.HALTED


async def test_brokers_that_do_not_answer_keep_nobody_waiting_for_rows_that_a_lane_has_locked(
    database: Database,
) -> None:
    async with Cluster() as cluster:
        servers, topic = cluster.bootstrap_servers, unique("silent")
        async with database.transaction() as connection:
            await connection.execute(text("CREATE TABLE notes (note VARCHAR(40) NOT NULL)"))
        for name in (topic, topic + ".DLT"):
            await create_topic(servers, name, 1)
        await produce(servers, topic, _records("a", 5))
        (broker,) = cluster.brokers
        in_hand, go_on = asyncio.Event(), asyncio.Event()

        async def hold(record: Record, out: Outbox) -> None:
            in_hand.set()
            await go_on.wait()
            note(record, out)

        async with running(servers, [topic], hold, finish=InDatabase(database, Notes())) as agent:
            await in_hand.wait()
            broker.freeze()
            try:
                go_on.set()
                await eventually(lambda: agent.lane(0).state is State.PAUSED, "the lane to give its rows up")
                assert "no broker has said for 2 s which topic" in agent.lane(0).reason
            finally:
                broker.thaw()
            await agent.consumed()
        assert await _noted(database) == Counter(f"a {number}" for number in range(5))
