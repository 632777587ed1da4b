"""Effects and offset in one SQL transaction: what a crash, a zombie, an outage and a refusal leave behind."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import RequestTimedOutError
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection
from support.agent import lane_alone, running, unique
from support.damage import flip, segment, stored
from support.databases import opened, settings_for
from support.kafka import admin, create_topic, make_anew, produce, read_topic
from support.payments import Raw
from support.waiting import eventually

from streams.database.effects import Declined
from streams.database.engine import Database
from streams.database.in_database import InDatabase
from streams.database.offsets import LaneOffset, lane_offsets, seek
from streams.delivery import Outbox, Record
from streams.delivery.status import State
from streams.failure.errors import AgentContractBroken, EffectsRefused, InvalidRecord, LaneFenced, PermanentError
from streams.kafka.topic_id import _TopicIdRequest, topic_identity
from streams.sandbox import Cluster
from streams.settings import FailureSettings


@dataclass(slots=True)
class Notes:
    """Effects that any test can look at: each is a row of its own, so a repeat shows."""

    troubles: list[str] = field(default_factory=list)
    """Statements that fail, to be run once each, after the rows were written."""

    async def apply(self, connection: AsyncConnection, effects: Sequence[str]) -> None:
        await connection.execute(text("INSERT INTO notes VALUES (:note)"), [{"note": note} for note in effects])
        if self.troubles:
            await connection.execute(text(self.troubles.pop(0)))


async def _prepare(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE notes (note VARCHAR(40) NOT NULL CHECK (length(note) < 9))"))


async def _noted(database: Database) -> list[str]:
    async with database.reading() as connection:
        return list((await connection.execute(text("SELECT note FROM notes"))).scalars())


async def _topic(kafka: Cluster, partitions: int = 1) -> str:
    name = unique("effects")
    await create_topic(kafka.bootstrap_servers, name + ".DLT", partitions)
    return await create_topic(kafka.bootstrap_servers, name, partitions)


def _numbered(count: int, partitions: int = 1) -> list[Raw]:
    return [Raw(number % partitions, b"%d" % number, b"%d" % number) for number in range(count)]


def note(record: Record, out: Outbox) -> None:
    out.effect((record.value or b"").decode())


async def _offset(database: Database) -> int | None:
    lanes = await lane_offsets(database)
    return lanes[0].next_offset if lanes else None


async def _until(database: Database, offset: int) -> None:
    async def there() -> bool:
        return await _offset(database) == offset

    await eventually(there, f"offset {offset} in the database")


async def test_effects_and_offset_are_where_the_next_owner_finds_them(kafka: Cluster, database: Database) -> None:
    await _prepare(database)
    topic, group = await _topic(kafka, 2), unique("group")
    for part in (_numbered(400, 2), _numbered(300, 2)):
        await produce(kafka.bootstrap_servers, topic, part)
        async with running(
            kafka.bootstrap_servers, [topic], note, group=group, finish=InDatabase(database, Notes())
        ) as agent:
            await agent.consumed()
    assert sorted(await _noted(database), key=int) == sorted([str(n) for n in [*range(400), *range(300)]], key=int)
    assert await lane_offsets(database) == [LaneOffset(group, topic, each, 350, 2) for each in (0, 1)]


async def test_what_kafka_says_of_the_offset_does_not_count(kafka: Cluster, database: Database) -> None:
    await _prepare(database)
    topic, group = await _topic(kafka), unique("group")
    await produce(kafka.bootstrap_servers, topic, _numbered(10))
    async with running(kafka.bootstrap_servers, [topic], note, group=group, finish=InDatabase(database, Notes())) as on:
        await on.consumed()
    await seek(database, group, topic, 0, 7)
    async with running(kafka.bootstrap_servers, [topic], note, group=group, finish=InDatabase(database, Notes())):
        await _until(database, 10)
    assert await _noted(database) == [str(n) for n in (*range(10), 7, 8, 9)]


async def _three_done(kafka: Cluster, database: Database) -> tuple[str, str, InDatabase[str]]:
    """Have three records done; return their topic, the group, and how it finishes."""
    await _prepare(database)
    topic, group = await _topic(kafka), unique("group")
    await produce(kafka.bootstrap_servers, topic, _numbered(3))
    finish = InDatabase(database, Notes())
    async with running(kafka.bootstrap_servers, [topic], note, group=group, finish=finish) as agent:
        await agent.consumed()
    return topic, group, finish


async def _make_anew(kafka: Cluster, topic: str, records: int) -> None:
    """Let there be another topic of the name, with other records than it had."""
    await make_anew(kafka.bootstrap_servers, topic)
    await produce(kafka.bootstrap_servers, topic, [Raw(0, b"k", b"new %d" % number) for number in range(records)])


async def test_an_offset_of_a_topic_that_was_deleted_halts_the_lane_until_somebody_decides(
    kafka: Cluster, database: Database
) -> None:
    topic, group, finish = await _three_done(kafka, database)
    await _make_anew(kafka, topic, 5)  # more than there were, so that the offset alone looks right
    async with running(kafka.bootstrap_servers, [topic], note, group=group, finish=finish) as agent:
        await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.HALTED, "the lane to halt")
        assert f"is to go on at offset 3 of {topic}-0, but that was in a topic that was deleted" in agent.lane(0).reason
        assert await lane_offsets(database) == [LaneOffset(group, topic, 0, 3, 1)], "it owns nothing"
        await seek(database, group, topic, None, None)
        await _until(database, 5)  # it goes on by itself
        assert not agent.failures
    assert await _noted(database) == ["0", "1", "2", *(f"new {number}" for number in range(5))]


async def test_brokers_that_do_not_tell_a_topics_id_at_once_are_asked_again(
    kafka: Cluster, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, group, finish = await _three_done(kafka, database)
    await _make_anew(kafka, topic, 5)
    send, late = AIOKafkaClient.send, []

    async def late_once(client: AIOKafkaClient, node: int, request: object, **more: object) -> object:
        if isinstance(request, _TopicIdRequest) and not late:
            late.append(node)
            raise RequestTimedOutError
        return await send(client, node, request, **more)

    monkeypatch.setattr(AIOKafkaClient, "send", late_once)
    async with running(kafka.bootstrap_servers, [topic], note, group=group, finish=finish) as agent:
        await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.HALTED, "the lane to halt")
    assert late
    assert await _noted(database) == ["0", "1", "2"]


async def test_a_topic_that_is_made_anew_before_anything_of_it_was_committed_is_just_read(
    kafka: Cluster, database: Database
) -> None:
    await _prepare(database)
    topic, group = await _topic(kafka), unique("group")
    finish = InDatabase(database, Notes())
    async with lane_alone(kafka.bootstrap_servers, TopicPartition(topic, 0), note, group=group, finish=finish):
        await eventually(lambda: lane_offsets(database), "the lane to have an owner")
    await _make_anew(kafka, topic, 2)
    for end in (2, 3):
        async with running(kafka.bootstrap_servers, [topic], note, group=group, finish=finish) as agent:
            await _until(database, end)
            assert not agent.failures
        await produce(kafka.bootstrap_servers, topic, _numbered(1))
    assert await _noted(database) == ["new 0", "new 1", "0"]


async def test_an_offset_without_the_id_of_its_topic_is_of_the_one_there_is(kafka: Cluster, database: Database) -> None:
    topic, group, finish = await _three_done(kafka, database)
    async with database.transaction() as connection:  # as brokers before Kafka 2.8, and a former schema, leave it
        await connection.execute(text("UPDATE consumer_offsets SET topic_id = NULL"))
    await produce(kafka.bootstrap_servers, topic, _numbered(1))
    async with running(kafka.bootstrap_servers, [topic], note, group=group, finish=finish) as agent:
        await _until(database, 4)
        assert not agent.failures
    async with database.reading() as connection:
        written = (await connection.execute(text("SELECT topic_id FROM consumer_offsets"))).scalar_one()
    async with admin(kafka.bootstrap_servers) as client:
        known = await topic_identity(client._client, TopicPartition(topic, 0))
        assert known is not None
        assert written == str(known.id)


async def test_a_batch_that_cannot_be_read_is_passed_over_in_the_database_too(
    kafka: Cluster, database: Database
) -> None:
    await _prepare(database)
    topic, finish = await _topic(kafka), InDatabase(database, Notes())
    for first in (0, 3, 6):
        await produce(kafka.bootstrap_servers, topic, _numbered(9)[first : first + 3])
    file = segment(kafka, topic)
    flip(file, stored(file)[1], -1)
    place = TopicPartition(topic, 0)
    async with running(kafka.bootstrap_servers, [topic], note, finish=finish) as agent:
        await eventually(lambda: agent.source.damaged.of(place), "the lane to come upon it")
        await _until(database, 3)
        assert agent.source.give_up(place, 3, 6)
        await _until(database, 9)
        await eventually(lambda: agent.source.meter.tally.consumed == 9, "the counts")
        assert agent.source.meter.tally.skipped == {"lost": 3}
    assert sorted(await _noted(database)) == ["0", "1", "2", "6", "7", "8"]


async def test_a_former_owner_that_wakes_up_commits_nothing(kafka: Cluster, database: Database) -> None:
    await _prepare(database)
    topic, group = await _topic(kafka), unique("group")
    await produce(kafka.bootstrap_servers, topic, _numbered(10))
    held, go_on = asyncio.Event(), asyncio.Event()
    partition, finish = TopicPartition(topic, 0), InDatabase(database, Notes())

    async def slow(record: Record, out: Outbox) -> None:
        out.effect("zombie")
        held.set()
        await go_on.wait()

    async with lane_alone(kafka.bootstrap_servers, partition, slow, group=group, finish=finish) as old:
        await held.wait()
        async with lane_alone(kafka.bootstrap_servers, partition, note, group=group, finish=finish) as new:
            await _until(database, 10)
            go_on.set()
            await eventually(lambda: old.failures, "the old owner to find out")
            assert new.failures == []
    (failure,) = old.failures
    assert isinstance(failure, LaneFenced)
    assert f"{topic}-0" in str(failure)
    assert await _noted(database) == [str(n) for n in range(10)]
    assert await lane_offsets(database) == [LaneOffset(group, topic, 0, 10, 2)]


async def test_an_owner_whose_offset_happens_to_be_right_is_known_by_its_epoch(
    kafka: Cluster, database: Database
) -> None:
    await _prepare(database)
    topic, group = await _topic(kafka), unique("group")
    await produce(kafka.bootstrap_servers, topic, _numbered(1))
    held, go_on = asyncio.Event(), asyncio.Event()
    partition, finish = TopicPartition(topic, 0), InDatabase(database, Notes())

    async def slow(record: Record, out: Outbox) -> None:
        held.set()
        await go_on.wait()
        note(record, out)

    async with lane_alone(kafka.bootstrap_servers, partition, slow, group=group, finish=finish) as old:
        await held.wait()
        async with database.transaction() as connection:  # a successor that has come, and committed nothing yet
            await connection.execute(text("UPDATE consumer_offsets SET epoch = epoch + 1"))
        go_on.set()
        await eventually(lambda: old.failures, "the former owner to find out")
    assert isinstance(old.failures[0], LaneFenced)
    assert await _noted(database) == []


async def test_an_offset_that_somebody_moves_meanwhile_fences_the_owner(kafka: Cluster, database: Database) -> None:
    await _prepare(database)
    topic, group = await _topic(kafka), unique("group")
    await produce(kafka.bootstrap_servers, topic, _numbered(5))
    finish = InDatabase(database, Notes())
    async with lane_alone(kafka.bootstrap_servers, TopicPartition(topic, 0), note, group=group, finish=finish) as lane:
        await _until(database, 5)
        await seek(database, group, topic, None, None)
        await produce(kafka.bootstrap_servers, topic, _numbered(1))
        await eventually(lambda: lane.failures, "the owner to find out")
    assert isinstance(lane.failures[0], LaneFenced)
    assert await _noted(database) == [str(n) for n in range(5)]


async def test_a_dead_letter_is_written_and_the_effects_around_it_happen(kafka: Cluster, database: Database) -> None:
    await _prepare(database)
    topic = await _topic(kafka)
    await produce(kafka.bootstrap_servers, topic, _numbered(6))

    def picky(record: Record, out: Outbox) -> None:
        note(record, out)
        if record.value == b"3":
            raise PermanentError("never")

    async with running(kafka.bootstrap_servers, [topic], picky, finish=InDatabase(database, Notes())) as agent:
        await agent.consumed()
        assert (agent.source.meter.tally.processed, agent.source.meter.tally.dead_lettered) == (5, 1)
    assert await _noted(database) == ["0", "1", "2", "4", "5"]
    assert [each.value for each in await read_topic(kafka.bootstrap_servers, topic + ".DLT")] == [b"3"]


async def test_a_batch_that_is_refused_again_and_again_writes_none_of_its_dead_letters(
    kafka: Cluster, database: Database
) -> None:
    await _prepare(database)
    topic = await _topic(kafka)
    await produce(kafka.bootstrap_servers, topic, [*_numbered(2), Raw(0, b"k", b"too long to be noted")])

    def picky(record: Record, out: Outbox) -> None:
        note(record, out)
        if record.value == b"1":
            raise PermanentError("never")

    async with running(kafka.bootstrap_servers, [topic], picky, finish=InDatabase(database, Notes())) as agent:
        await eventually(lambda: len(agent.batches) > 3, "the lane to try again some times")
        assert await read_topic(kafka.bootstrap_servers, topic + ".DLT") == []
        async with database.transaction() as connection:
            await connection.execute(text("DROP TABLE notes"))
            await connection.execute(text("CREATE TABLE notes (note VARCHAR(40) NOT NULL)"))
        await agent.consumed()
    assert await _noted(database) == ["0", "too long to be noted"]
    assert [each.value for each in await read_topic(kafka.bootstrap_servers, topic + ".DLT")] == [b"1"]


@dataclass(slots=True)
class Numbers(Notes):
    """Effects of somebody's own: no number above 99, which it says only once it has written it."""

    async def apply(self, connection: AsyncConnection, effects: Sequence[str]) -> Sequence[Declined]:
        await Notes.apply(self, connection, effects)
        return [
            Declined(index, InvalidRecord("more than 99"))
            for index, number in enumerate(effects)
            if number.isdecimal() and int(number) > 99
        ]


def note_twice(record: Record, out: Outbox) -> None:
    """Ask for two effects and an output."""
    out.effect("first")
    note(record, out)
    out.emit(record.topic + ".seen", record.value)


async def test_effects_are_declined_one_by_one_and_become_dead_letters_like_any_other(
    kafka: Cluster, database: Database
) -> None:
    await _prepare(database)
    topic, group = await _topic(kafka), unique("group")
    await create_topic(kafka.bootstrap_servers, topic + ".seen", 1)
    values = [b"1", b"100", b"2", b"200", b"3"]
    await produce(kafka.bootstrap_servers, topic, [Raw(0, b"k", value) for value in values])
    finish = InDatabase(database, Numbers())
    async with running(kafka.bootstrap_servers, [topic], note_twice, group=group, finish=finish) as agent:
        await agent.consumed()
        tally = agent.source.meter.tally
        assert (tally.consumed, tally.processed, dict(tally.dead_letters)) == (5, 3, {"validate": 2})
    assert sorted(await _noted(database)) == ["1", "2", "3", "first", "first", "first"]
    assert await _offset(database) == 5
    assert [each.value for each in await read_topic(kafka.bootstrap_servers, topic + ".seen")] == [b"1", b"2", b"3"]
    letters = await read_topic(kafka.bootstrap_servers, topic + ".DLT")
    assert [each.value for each in letters] == [b"100", b"200"]
    headers = dict(letters[0].headers)
    assert headers["x-error-reason"] == b"more than 99"
    assert headers["x-error-stage"] == b"validate"
    assert headers["kafka_dlt-original-offset"] == (1).to_bytes(8, "big")
    assert headers["kafka_dlt-original-consumer-group"] == group.encode()


async def test_a_flood_of_declined_effects_halts_the_lane_as_any_other_does(kafka: Cluster, database: Database) -> None:
    await _prepare(database)
    topic = await _topic(kafka)
    await produce(kafka.bootstrap_servers, topic, [Raw(0, b"k", b"%d" % n) for n in (1, *range(100, 120))])
    failure = FailureSettings(max_consecutive_dead_letters=7, pause_interval=0.02)
    finish = InDatabase(database, Numbers())
    async with running(kafka.bootstrap_servers, [topic], note, finish=finish, failure=failure) as agent:
        await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.HALTED, "the lane to halt")
        assert "7 records in a row were dead-lettered" in agent.lane(0).reason
    assert await _offset(database) == 8
    assert await _noted(database) == ["1"]
    assert len(await read_topic(kafka.bootstrap_servers, topic + ".DLT")) == 7


class Dying(Database):
    """A database that goes away once, before a commit that moves an offset, when letters are written already."""

    died = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        with self._seeing_trouble():
            async with super().transaction() as connection:
                yield connection
                lanes = await connection.execute(text("SELECT next_offset FROM consumer_offsets"))
                if not self.died and any(offset is not None for offset in lanes.scalars()):
                    self.died = True
                    raise ConnectionResetError("gone before the commit")


async def test_a_commit_that_fails_loses_no_letter_of_a_declined_record(kafka: Cluster, database_url: str) -> None:
    database = Dying(settings_for(database_url))
    await _prepare(database)
    topic = await _topic(kafka)
    await produce(kafka.bootstrap_servers, topic, [Raw(0, b"k", value) for value in (b"1", b"100", b"2")])
    async with running(kafka.bootstrap_servers, [topic], note, finish=InDatabase(database, Numbers())) as agent:
        await agent.consumed()
        assert agent.source.meter.tally.dead_lettered == 1
    assert database.died
    assert await _noted(database) == ["1", "2"]
    assert {each.value for each in await read_topic(kafka.bootstrap_servers, topic + ".DLT")} == {b"100"}
    await database.close()


async def test_effects_that_the_database_refuses_halt_the_lane_and_change_nothing(
    kafka: Cluster, database: Database
) -> None:
    await _prepare(database)
    topic, group = await _topic(kafka), unique("group")
    await produce(kafka.bootstrap_servers, topic, [*_numbered(3), Raw(0, b"3", b"private and too long")])
    finish = InDatabase(database, Notes())
    async with lane_alone(kafka.bootstrap_servers, TopicPartition(topic, 0), note, group=group, finish=finish) as lane:
        await eventually(lambda: lane.failures, "the lane to halt")
        assert lane.lane.state is State.HALTED
    (failure,) = lane.failures
    assert isinstance(failure, EffectsRefused)
    assert "private" not in str(failure), "the parameters of a statement are payload"
    assert await _noted(database) == []
    assert await _offset(database) is None


async def test_a_table_that_is_missing_halts_the_lane_and_says_so(kafka: Cluster, database: Database) -> None:
    await _prepare(database)
    topic = await _topic(kafka)
    await produce(kafka.bootstrap_servers, topic, _numbered(1))
    async with database.transaction() as connection:
        await connection.execute(text("ALTER TABLE consumer_offsets RENAME TO elsewhere"))
    async with running(kafka.bootstrap_servers, [topic], note, finish=InDatabase(database, Notes())) as agent:
        await eventually(lambda: agent.source.lanes and agent.lane(0).state is State.HALTED, "the lane to halt")
        assert "consumer_offsets" in agent.lane(0).reason
        async with database.transaction() as connection:
            await connection.execute(text("ALTER TABLE elsewhere RENAME TO consumer_offsets"))
        await agent.consumed()
    assert await _noted(database) == ["0"]


async def test_a_defect_in_what_carries_effects_out_halts_the_lane(kafka: Cluster, database: Database) -> None:
    class Defective:
        async def apply(self, connection: AsyncConnection, effects: Sequence[str]) -> None:
            raise KeyError("sku")

    topic, group = await _topic(kafka), unique("group")
    await produce(kafka.bootstrap_servers, topic, _numbered(1))
    finish = InDatabase(database, Defective())
    async with lane_alone(kafka.bootstrap_servers, TopicPartition(topic, 0), note, group=group, finish=finish) as lane:
        await eventually(lambda: lane.failures, "the lane to halt")
    assert "KeyError" in str(lane.failures[0])


async def test_effects_that_nothing_would_carry_out_are_a_defect_and_not_forgotten(kafka: Cluster) -> None:
    topic = await _topic(kafka)
    await produce(kafka.bootstrap_servers, topic, _numbered(1))
    async with lane_alone(kafka.bootstrap_servers, TopicPartition(topic, 0), note, group=unique("group")) as lane:
        await eventually(lambda: lane.failures, "the lane to notice")
    assert isinstance(lane.failures[0], AgentContractBroken)


@pytest.mark.parametrize("state", ["40001", "40P01"], ids=["serialization failure", "deadlock"])
async def test_a_transaction_that_was_in_anothers_way_is_run_again(
    kafka: Cluster, postgresql_database: Database, state: str
) -> None:
    await _prepare(postgresql_database)
    topic = await _topic(kafka)
    await produce(kafka.bootstrap_servers, topic, _numbered(10))
    raising = f"DO $$ BEGIN RAISE SQLSTATE '{state}'; END $$"
    effects = Notes(troubles=[raising, raising])
    async with running(
        kafka.bootstrap_servers, [topic], note, finish=InDatabase(postgresql_database, effects)
    ) as agent:
        await agent.consumed()
    assert effects.troubles == []
    assert await _noted(postgresql_database) == [str(n) for n in range(10)]


class Forgetful(Database):
    """A database whose connection breaks after a commit, before its answer has arrived."""

    answers_lost = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        with self._seeing_trouble():
            moved = False
            async with super().transaction() as connection:
                yield connection
                lanes = await connection.execute(text("SELECT next_offset FROM consumer_offsets"))
                moved = any(offset is not None for offset in lanes.scalars())
            if moved and not self.answers_lost:
                self.answers_lost += 1
                raise ConnectionResetError("the answer is lost")


async def test_a_commit_whose_answer_is_lost_is_found_out_and_not_repeated(kafka: Cluster, database_url: str) -> None:
    database = Forgetful(settings_for(database_url))
    await _prepare(database)
    topic = await _topic(kafka)
    await produce(kafka.bootstrap_servers, topic, _numbered(10))
    async with running(kafka.bootstrap_servers, [topic], note, finish=InDatabase(database, Notes())) as agent:
        await agent.consumed()
    assert database.answers_lost == 1
    assert await _noted(database) == [str(n) for n in range(10)]
    await database.close()


async def test_while_the_database_is_down_the_lane_pauses_and_nothing_is_dead_lettered(
    kafka: Cluster, database_url: str
) -> None:
    topic = await _topic(kafka)
    async with opened(database_url) as preparing:
        await _prepare(preparing)
    database = Database(settings_for(database_url, timeout=0.3))
    async with running(kafka.bootstrap_servers, [topic], note, finish=InDatabase(database, Notes())) as agent:
        await produce(kafka.bootstrap_servers, topic, _numbered(10))
        await agent.consumed()
        async with _down(database_url):
            await produce(kafka.bootstrap_servers, topic, _numbered(10))
            await eventually(lambda: agent.lane(0).state is State.PAUSED, "the lane to pause")
            assert database.name in agent.lane(0).reason
        await agent.consumed()
        assert agent.source.meter.tally.dead_lettered == 0
    assert await _noted(database) == [str(n) for n in range(10)] * 2
    await database.close()


@asynccontextmanager
async def _down(url: str) -> AsyncIterator[None]:
    """Make the database unusable: a SQLite file is held by another, a PostgreSQL database has another name."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
        return
    name = make_url(url).database
    server = make_url(url).set(database="postgres").render_as_string(hide_password=False)
    async with opened(server) as admin, admin.engine.connect() as connection:
        committing = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await committing.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        await committing.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name}
        )
        yield
        await committing.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
